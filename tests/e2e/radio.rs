//! Live nodes with radios: real daemons, spools and KISS ports, on simulated air.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use postrider::{
    daemon::{
        DaemonOptions,
        transport::{
            Address, Arrival, BoxFuture, Link, LinkFacts, NodeId, Pipe, Stop, Transport,
            TransportError,
        },
    },
    demo::air::{Air, AirSettings},
    desk::{Desk, SendRequest, Silent, reply::Sent},
};
use postrider_base::air::{RadioFacts, Tariff};
use postrider_engine::air::Span;
use postrider_transports::{
    contract::{FramePort, Heard},
    frames,
};
use tokio::{runtime::Runtime, sync::mpsc, time::timeout};

use crate::{
    live::{PATIENCE, Running, runtime},
    town::{Town, inbox, know_each_other, letter, send, texts},
};

/// Of a frame that gets lost nobody knows before somebody asks: of 5,000 simulated runs with 15 % lost
/// the slowest took 578 s (docs/station.md), half of them 21 s.
const RADIO_PATIENCE: Duration = Duration::from_secs(600);

/// Alice, Pat and Bob, who do not all hear each other.
struct Three {
    town: Town,
    desks: [Arc<Desk>; 3],
    runtime: Runtime,
    air: Air,
}

impl Three {
    /// Alice and Bob know each other and are out of each other's reach; Pat hears both and knows nobody.
    fn new(lost_percent: u64, seed: u64) -> Self {
        let town = Town::new();
        let desks = ["alice", "bob", "pat"].map(|name| Arc::new(town.node(name)));
        know_each_other(&desks[0], &desks[1]);
        let deaf = vec![(0, 1)];
        let air = Air::start(AirSettings { stations: 3, deaf, lost_percent, seed }).unwrap();
        Self { town, desks, runtime: runtime(), air }
    }

    fn start(&self) -> [Running; 3] {
        [0, 1, 2].map(|n| {
            let peers = vec![self.air.address(n)];
            let options = DaemonOptions { peers, ..DaemonOptions::default() };
            Running::start(&self.desks[n], &options, &self.runtime)
        })
    }

    fn stop(&self, running: impl IntoIterator<Item = Running>) {
        self.runtime.block_on(async {
            for running in running {
                running.daemon.stop().await;
            }
        });
    }
}

/// Mail that does not say who wrote it is shortest where relays know nobody.
fn hidden(desk: &Arc<Desk>, to: &str, text: &str) -> Sent {
    desk.send(&SendRequest { hidden: Some(true), ..letter(to, text) }, &Silent).unwrap()
}

async fn arrives(sent: &Sent, from: &mut Running, to: &mut Running) {
    let both = async {
        for (running, what) in [(to, "message"), (from, "delivered")] {
            loop {
                let happening = running.heard.recv().await.unwrap();
                if happening.what == what && happening.id.as_deref() == Some(&*sent.id) {
                    break;
                }
            }
        }
    };
    timeout(RADIO_PATIENCE, both).await.unwrap_or_else(|_| panic!("{sent:?} is not there"));
}

/// Frames that are no beacons, and their bytes.
fn said(air: &Air, from: usize) -> (usize, usize) {
    let tally = air.tally();
    let frames = tally.frames[from..].iter().map(|(_, frame)| frame).filter(|it| it[0] != 4);
    let frames: Vec<usize> = frames.map(Vec::len).collect();
    (frames.len(), frames.iter().sum())
}

#[test]
fn a_text_and_its_receipt_go_by_way_of_one_who_knows_neither() {
    let three = Three::new(0, 1);
    let [mut alice, mut bob, pat] = three.start();
    three.runtime.block_on(async {
        let there = hidden(&three.desks[0], "bob", "hello");
        arrives(&there, &mut alice, &mut bob).await;
        let back = hidden(&three.desks[1], "alice", "hello");
        arrives(&back, &mut bob, &mut alice).await;
        let before = three.air.tally().frames.len();
        let text = "Bridge at the mill is out. Come by the upper road; we have water and two beds.";
        let sent = hidden(&three.desks[0], "bob", text);
        arrives(&sent, &mut alice, &mut bob).await;
        let (frames, bytes) = said(&three.air, before);
        println!("over a relay, with receipts: {frames} frames, {bytes} bytes");
        // Four, and what those do who cannot hear that another speaks.
        assert!(frames <= 8, "{:?}", &three.air.tally().frames[before..]);
    });
    three.stop([alice, bob, pat]);
    assert_eq!(texts(&three.desks[1]).len(), 2);
    assert!(inbox(&three.desks[2]).is_empty());
    for (_, frame) in three.air.tally().frames {
        assert!(!frame.windows(5).any(|it| it == b"alice" || it == b"Bridg"), "readable");
    }
    // What was sent is in the book, and stays there.
    let ledger =
        three.desks[0].air_ledger(Span::Hour).unwrap().unwrap().spent(three.desks[0].held_ms(), 0);
    assert!(ledger > 0, "nothing was booked");
}

#[test]
fn what_is_lost_on_the_air_is_said_again_and_nothing_comes_twice() {
    let three = Three::new(15, 7);
    let [mut alice, mut bob, pat] = three.start();
    let long = "All of it is here. ".repeat(60);
    three.runtime.block_on(async {
        let sent: Vec<Sent> = (0..4)
            .map(|n| send(&three.desks[0], "bob", &format!("{n}")))
            .chain([send(&three.desks[0], "bob", &long)])
            .collect();
        let ids: Vec<_> = sent.iter().map(|sent| ("delivered", &*sent.id)).collect();
        let all = async {
            let mut open = ids.clone();
            while !open.is_empty() {
                let it = alice.heard.recv().await.unwrap();
                open.retain(|(what, id)| it.what != *what || it.id.as_deref() != Some(*id));
            }
        };
        timeout(RADIO_PATIENCE, all).await.unwrap();
        let back = send(&three.desks[1], "alice", "all five");
        arrives(&back, &mut bob, &mut alice).await;
    });
    three.stop([alice, bob, pat]);
    let mut came = texts(&three.desks[1]);
    came.sort();
    assert_eq!(came, ["0", "1", "2", "3", &long]);
}

#[test]
fn a_radio_on_a_known_frequency_is_mute_until_it_is_said_whose_rules_hold() {
    let three = Three::new(0, 1);
    let state = |desk: &Arc<Desk>| {
        let peers = vec![format!("{}&freq=868.3MHz", three.air.address(0))];
        let options = DaemonOptions { peers, ..DaemonOptions::default() };
        let running = Running::start(desk, &options, &three.runtime);
        let line = three.runtime.block_on(async {
            let ready = async {
                loop {
                    let line = running.daemon.node().peers.ports()[0].line(None);
                    if line.state == "mute" || line.state == "radio" {
                        return line;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(PATIENCE, ready).await.unwrap()
        });
        three.stop([running]);
        line
    };
    let desk = three.town.node("dora");
    let home = desk.home().dir().to_owned();
    let desk = Arc::new(desk);
    let line = state(&desk);
    assert!(line.state == "mute" && line.why.contains("region in [air]"), "{line:?}");
    drop(desk);
    let config = home.join("config.toml");
    let text = fs::read_to_string(&config).unwrap() + "\n[air]\nregion = \"europe\"\n";
    fs::write(&config, text).unwrap();
    let desk = Arc::new(Desk::open(&home).unwrap());
    assert_eq!(state(&desk).state, "radio");
    assert!(three.air.tally().frames.iter().all(|(n, _)| *n == 0));
}

/// A modem whose frames cost a coin each: what it is given is here to be seen.
#[derive(Debug)]
struct Coins(Mutex<Option<FramePort>>);

impl Transport for Coins {
    fn scheme(&self) -> &'static str {
        "coins"
    }

    fn run(
        self: Arc<Self>,
        _: mpsc::Sender<Arrival>,
        stop: Stop,
    ) -> BoxFuture<'static, Result<(), TransportError>> {
        Box::pin(async move {
            stop.cancelled().await;
            Ok(())
        })
    }

    fn dial<'a>(
        &'a self,
        to: &'a Address,
        _: Option<NodeId>,
    ) -> BoxFuture<'a, Result<Link, TransportError>> {
        let port = self.0.lock().unwrap().take().unwrap();
        let link = Link { facts: LinkFacts::stream(to.clone()), pipe: Pipe::Frames(port) };
        Box::pin(async { Ok(link) })
    }

    fn opens_ports(&self) -> bool {
        true
    }
}

#[test]
fn a_radio_that_costs_money_sends_no_more_than_a_day_allows_over_new_starts_too() {
    let town = Town::new();
    let (alice, bob) = (town.node("alice"), town.node("bob"));
    know_each_other(&alice, &bob);
    let (alice, runtime) = (Arc::new(alice), runtime());
    let facts = RadioFacts {
        mtu_bytes: 140,
        modulation: None,
        bits_per_s: 100_000,
        frequency_hz: None,
        bandwidth_hz: None,
        listens: true,
        tells_sent: true,
        broadcasts: false,
        clear_only: false,
        signs: false,
        tariff: Some(Tariff { frame: 90, unit_bytes: 0, unit: 0, day_most: 300 }),
    };
    // More than can be paid for.
    for n in 0..4 {
        hidden(&alice, "bob", &format!("message {n}"));
    }
    let sent = |most: usize| {
        let (port, mut driver) = frames::port(facts.clone());
        let coins = Arc::new(Coins(Mutex::new(Some(port))));
        let options = DaemonOptions {
            transports: vec![coins],
            peers: vec!["coins://here?day=300#bob".into()],
            ..DaemonOptions::default()
        };
        let running = Running::start(&alice, &options, &runtime);
        let said = || running.daemon.node().peers.ports()[0].line(None).why;
        let sent = runtime.block_on(async {
            let mut sent = 0;
            let all = async {
                while sent < most {
                    let frame = driver.to_air.recv().await.unwrap();
                    sent += 1;
                    driver.heard.send(Heard::Sent { number: frame.number }).await.unwrap();
                }
                while !said().contains("as much money was spent") {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("{}", said()));
            assert!(driver.to_air.try_recv().is_err(), "another one is paid for");
            sent
        });
        runtime.block_on(running.daemon.stop());
        sent
    };
    assert_eq!(sent(3), 3);
    // It is in the book.
    assert_eq!(sent(0), 0);
}
