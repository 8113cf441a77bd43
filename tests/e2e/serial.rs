//! Live nodes at the ends of a cable: real ports, real spools, one process.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use postrider::{
    daemon::DaemonOptions,
    desk::{
        Desk, Silent,
        reply::{PortLine, Sent},
    },
};
use postrider_testkit::Seeded;
use tokio::{runtime::Runtime, time::timeout};

use crate::{
    cable::{Cable, Faults},
    live::{PATIENCE, Running, runtime},
    town::{Town, inbox, know_each_other, send, send_file, state, texts, toss},
};

/// A rate at which tests are short.
const FAST: &str = "rate=1000000";
/// As the radios and modems of old.
const SLOW: &str = "rate=9600";

/// Two who know each other, and a cable.
struct Pair {
    town: Town,
    alice: Arc<Desk>,
    bob: Arc<Desk>,
    runtime: Runtime,
    cable: Cable,
}

impl Pair {
    fn new(faults: Faults) -> Self {
        let town = Town::new();
        let (alice, bob) = (Arc::new(town.node("alice")), Arc::new(town.node("bob")));
        know_each_other(&alice, &bob);
        let cable = Cable::new(town.dir.path(), faults);
        Self { town, alice, bob, runtime: runtime(), cable }
    }

    fn alice(&self, options: &str) -> Running {
        let port = format!("{}#bob", self.cable.address(0, options));
        self.start(&self.alice, vec![port])
    }

    fn bob(&self, options: &str) -> Running {
        let port = format!("{}#alice", self.cable.address(1, options));
        self.start(&self.bob, vec![port])
    }

    fn start(&self, desk: &Arc<Desk>, peers: Vec<String>) -> Running {
        let options = DaemonOptions { peers, ..DaemonOptions::default() };
        Running::start(desk, &options, &self.runtime)
    }

    fn stop(&self, running: impl IntoIterator<Item = Running>) {
        self.runtime.block_on(async {
            for running in running {
                running.daemon.stop().await;
            }
        });
    }
}

/// Waits until a message came and its receipt did.
async fn arrives(sent: &Sent, from: &mut Running, to: &mut Running) {
    to.until("message", &sent.id).await;
    from.until("delivered", &sent.id).await;
}

/// How the one port of a daemon stands.
fn port(running: &Running) -> PortLine {
    let node = running.daemon.node();
    let ports = node.peers.ports();
    let links = node.board.links();
    let linked = links.iter().find(|row| row.facts.address == ports[0].address);
    ports[0].line(linked.map(|row| node.board.line(row).name).as_deref())
}

/// Waits until the port of a daemon stands like this.
async fn until_port(running: &Running, state: &str) -> PortLine {
    let wait = async {
        loop {
            let line = port(running);
            if line.state == state {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{:?}, not {state}", port(running)))
}

/// Mail both ways, a file, their receipts, each once.
fn carries(faults: Faults, options: &str) -> Pair {
    let pair = Pair::new(faults);
    let waits = send(&pair.alice, "bob", "this waited for the cable");
    let (mut at_alice, mut at_bob) = (pair.alice(options), pair.bob(options));
    pair.runtime.block_on(async {
        arrives(&waits, &mut at_alice, &mut at_bob).await;
        let back = send(&pair.bob, "alice", "and back");
        arrives(&back, &mut at_bob, &mut at_alice).await;
        let file = pair.town.file("photo", 20_000, 5);
        let photo = send_file(&pair.alice, "bob", &file);
        arrives(&photo, &mut at_alice, &mut at_bob).await;
    });
    pair.stop([at_alice, at_bob]);
    assert_eq!(texts(&pair.bob), ["", "this waited for the cable"]);
    assert_eq!(texts(&pair.alice), ["and back"]);
    pair
}

/// The case: a short message that is sealed and signed, to somebody who is known, from the moment
/// in which the line is up until its receipt is here.
#[test]
fn a_short_message_and_its_receipt_pass_while_the_ends_still_shake_hands() {
    let pair = Pair::new(Faults::default());
    let (mut at_alice, mut at_bob) = (pair.alice(SLOW), pair.bob(SLOW));
    pair.runtime.block_on(async {
        let there = send(&pair.alice, "bob", "hello");
        arrives(&there, &mut at_alice, &mut at_bob).await;
        let back = send(&pair.bob, "alice", "hello");
        arrives(&back, &mut at_bob, &mut at_alice).await;
    });
    pair.stop([at_alice, at_bob]);
    let text = "Bridge at the mill is out. Come by the upper road; we have water, two beds, a stove. Alice at ten.";
    let sent = send(&pair.alice, "bob", text);
    let before = pair.cable.carried(0) + pair.cable.carried(1);
    let (mut at_alice, mut at_bob) = (pair.alice(SLOW), pair.bob(SLOW));
    let bytes = pair.runtime.block_on(async {
        arrives(&sent, &mut at_alice, &mut at_bob).await;
        pair.cable.carried(0) + pair.cable.carried(1) - before
    });
    pair.stop([at_alice, at_bob]);
    assert!(bytes <= 600, "{bytes} bytes");
    assert_eq!(texts(&pair.bob).iter().filter(|came| *came == text).count(), 1);
}

#[test]
fn mail_goes_both_ways_over_a_cable() {
    let pair = carries(Faults::default(), FAST);
    // What is said for the link layer's own sake is little beside the handshake and the receipts.
    assert!(pair.cable.carried(1) < 2_500, "{}", pair.cable.carried(1));
}

#[test]
fn mail_goes_over_a_line_that_damages_one_bit_in_ten_thousand() {
    carries(Faults { bit_errors: 10_000, ..Faults::default() }, FAST);
}

#[test]
fn mail_goes_over_a_line_that_swallows_xon_and_xoff() {
    carries(Faults { swallowed: vec![0x11, 0x13], ..Faults::default() }, FAST);
}

#[test]
fn mail_goes_over_a_line_of_seven_bits() {
    carries(Faults { seven_bits: true, ..Faults::default() }, FAST);
}

#[test]
fn mail_goes_over_a_slow_way() {
    carries(Faults { delay: Duration::from_millis(300), ..Faults::default() }, FAST);
}

#[test]
fn mail_goes_where_only_one_is_heard_at_a_time() {
    carries(Faults::default(), "rate=1000000&duplex=half&turn=5");
}

#[test]
fn noise_before_during_and_after_does_no_harm() {
    let pair = Pair::new(Faults::default());
    pair.cable.noise(3_000);
    let (mut at_alice, mut at_bob) = (pair.alice(FAST), pair.bob(FAST));
    pair.cable.noise(3_000);
    let file = pair.town.file("photo", 100_000, 5);
    let photo = send_file(&pair.alice, "bob", &file);
    pair.runtime.block_on(async {
        for n in 1..=10 {
            pair.cable.until_carried(0, n * 9_000, 0, PATIENCE);
            pair.cable.noise(300);
        }
        arrives(&photo, &mut at_alice, &mut at_bob).await;
        pair.cable.noise(3_000);
        let after = send(&pair.bob, "alice", "after it");
        arrives(&after, &mut at_bob, &mut at_alice).await;
    });
    pair.stop([at_alice, at_bob]);
    assert_eq!((inbox(&pair.bob).len(), inbox(&pair.alice).len()), (1, 1));
}

/// A reader that takes every second flag for an end is deaf after the loss of one.
#[test]
fn a_lost_delimiter_leaves_nobody_deaf() {
    let pair = Pair::new(Faults::default());
    let (mut at_alice, mut at_bob) = (pair.alice(FAST), pair.bob(FAST));
    pair.runtime.block_on(async {
        until_port(&at_alice, "open").await;
        for n in 0..8 {
            pair.cable.faults(|faults| faults.loses_a_zero = [n % 2 == 0, n % 2 == 1]);
            let sent = send(&pair.alice, "bob", &format!("letter {n}"));
            arrives(&sent, &mut at_alice, &mut at_bob).await;
        }
    });
    pair.stop([at_alice, at_bob]);
    assert_eq!(inbox(&pair.bob).len(), 8);
}

#[test]
fn a_modem_that_answers_is_not_taken_for_a_node_and_one_that_comes_after_it_is() {
    let pair =
        Pair::new(Faults { modem: Some(|_| b"\r\nERROR\r\n".to_vec()), ..Faults::default() });
    let mut at_alice = pair.alice(FAST);
    let mut at_bob = pair.bob(FAST);
    pair.runtime.block_on(async {
        let line = until_port(&at_alice, "noise").await;
        assert!(line.why.contains("AT commands"), "{line:?}");
        pair.cable.faults(|faults| faults.modem = Some(<[u8]>::to_vec));
        until_port(&at_alice, "echo").await;
        assert!(at_alice.daemon.node().board.links().is_empty());
        pair.cable.faults(|faults| faults.modem = None);
        let sent = send(&pair.alice, "bob", "to a node");
        arrives(&sent, &mut at_alice, &mut at_bob).await;
    });
    pair.stop([at_alice, at_bob]);
}

/// The end of the cable without a name answers whoever calls; two without one call nobody, and say so.
#[test]
fn one_end_that_knows_whom_to_call_is_enough_and_none_is_not() {
    let pair = Pair::new(Faults::default());
    let ports = [0, 1].map(|end| pair.cable.address(end, FAST));
    let nameless = pair.start(&pair.bob, vec![ports[1].clone()]);
    let silent = pair.start(&pair.alice, vec![ports[0].clone()]);
    pair.runtime.block_on(async {
        let line = until_port(&silent, "nobody-calls").await;
        assert!(line.why.contains("#NAME"), "{line:?}");
        silent.daemon.stop().await;
    });
    let mut at_alice = pair.alice(FAST);
    let mut at_bob = nameless;
    let sent = send(&pair.bob, "alice", "from the end without a name");
    pair.runtime.block_on(arrives(&sent, &mut at_bob, &mut at_alice));
    pair.stop([at_alice, at_bob]);
}

#[test]
fn another_node_than_was_named_makes_no_link_and_is_said() {
    let pair = Pair::new(Faults::default());
    let carol = Arc::new(pair.town.node("carol"));
    for desk in [&pair.alice, &pair.bob] {
        know_each_other(desk, &carol);
    }
    // Bob's end of the cable is Carol's.
    let at_carol = pair.start(&carol, vec![format!("{}#alice", pair.cable.address(1, FAST))]);
    let at_alice = pair.alice(FAST);
    pair.runtime.block_on(async {
        let lines =
            [until_port(&at_alice, "refused").await, until_port(&at_carol, "refused").await];
        let whys = lines.map(|line| line.why);
        assert!(whys.iter().all(|why| why.contains("another node")), "{whys:?}");
    });
    assert!(at_alice.daemon.node().board.links().is_empty());
    pair.stop([at_alice, at_carol]);
}

#[test]
fn a_second_daemon_at_a_port_is_refused_with_a_line_and_goes_on() {
    let pair = Pair::new(Faults::default());
    let mut at_alice = pair.alice(FAST);
    let carol = Arc::new(pair.town.node("carol"));
    know_each_other(&pair.bob, &carol);
    pair.runtime.block_on(until_port(&at_alice, "silent"));
    let second = pair.start(&carol, vec![format!("{}#bob", pair.cable.address(0, FAST))]);
    pair.runtime.block_on(async {
        let line = until_port(&second, "busy").await;
        assert!(line.why.contains("is in use by"), "{line:?}");
        if cfg!(target_os = "linux") {
            assert!(line.why.contains(&format!("process {}", std::process::id())), "{line:?}");
        }
    });
    // The first is not disturbed, and what it leaves is taken.
    let mut at_bob = pair.bob(FAST);
    let sent = send(&pair.alice, "bob", "undisturbed");
    pair.runtime.block_on(async {
        arrives(&sent, &mut at_alice, &mut at_bob).await;
        at_alice.daemon.stop().await;
        at_bob.daemon.stop().await;
        until_port(&second, "silent").await;
    });
    pair.stop([second]);
}

#[test]
fn what_a_cut_cable_brought_is_not_sent_again_over_another_link() {
    let pair = Pair::new(Faults::default());
    // Small enough to be one bundle.
    let film = send_file(&pair.alice, "bob", &pair.town.file("film", 250_000, 3));
    let whole = pair.alice.queue(&Silent).unwrap()[0].bytes;
    let at_alice = pair.alice(FAST);
    let listen = vec!["tls://127.0.0.1:0".parse().unwrap()];
    let peers = vec![format!("{}#alice", pair.cable.address(1, FAST))];
    let options = DaemonOptions { listen, peers, ..DaemonOptions::default() };
    let mut at_bob = Running::start(&pair.bob, &options, &pair.runtime);
    pair.cable.until_carried(0, 0, whole / 2, PATIENCE);
    let node = Arc::clone(at_bob.daemon.node());
    let by_cable = node.board.links()[0].traffic.clone();
    pair.cable.unplug(0);
    let to_bob = format!("tls://{}#bob", at_bob.daemon.listening()[0]);
    {
        let _context = pair.runtime.enter();
        at_alice.daemon.node().peers.keep(at_alice.daemon.node(), &to_bob).unwrap();
    }
    let by_wire = pair.runtime.block_on(async {
        let is_wire = |row: &&postrider::daemon::LinkRow| row.facts.address.scheme() == "tls";
        let wire = async {
            loop {
                if let Some(row) = node.board.links().iter().find(is_wire) {
                    return row.traffic.clone();
                }
                tokio::task::yield_now().await;
            }
        };
        let traffic = timeout(PATIENCE, wire).await.unwrap();
        at_bob.until("message", &film.id).await;
        traffic
    });
    let bytes = [by_cable, by_wire].map(|of| of.received_bytes.load(Ordering::Relaxed));
    pair.stop([at_alice, at_bob]);
    assert!(bytes[0] > whole / 3, "{bytes:?} of {whole}");
    // What that line carries in half a second, which is the longest record, and what hellos and heads take.
    let window = 50_000 + 5_000;
    assert!(bytes[0] + bytes[1] < whole + window, "{bytes:?} of {whole}");
}

#[test]
fn what_a_cut_cable_left_goes_by_stick_and_what_it_brought_does_not() {
    let pair = Pair::new(Faults::default());
    let files = [1, 2, 3].map(|n| {
        let file = pair.town.file(&format!("film {n}"), 100_000, n);
        send_file(&pair.alice, "bob", &file)
    });
    let (mut at_alice, at_bob) = (pair.alice(FAST), pair.bob(FAST));
    let first = pair.runtime.block_on(async {
        let first = async {
            loop {
                let happening = at_alice.heard.recv().await.unwrap();
                if happening.what == "delivered" {
                    return happening.id.unwrap();
                }
            }
        };
        timeout(PATIENCE, first).await.unwrap()
    });
    let carried = pair.cable.carried(0);
    pair.cable.until_carried(0, carried, 30_000, PATIENCE);
    pair.cable.unplug(0);
    pair.stop([at_alice, at_bob]);
    let left = files.iter().filter(|sent| state(&pair.alice, sent) != "delivered").count();
    assert!(left < 3 && files.iter().any(|sent| sent.id == first), "{left}");
    let stick = pair.town.stick("stick");
    assert_eq!(toss(&pair.alice, &stick).out, left as u64);
    toss(&pair.bob, &stick);
    toss(&pair.alice, &stick);
    assert_eq!(inbox(&pair.bob).len(), 3);
    assert!(files.iter().all(|sent| state(&pair.alice, sent) == "delivered"));
}

/// Whenever it is pulled: in the middle of a hello, of a handshake, of mail, or of its receipt.
#[test]
fn a_port_that_is_pulled_and_plugged_in_fifty_times_loses_nothing_and_doubles_nothing() {
    const TIMES: u64 = 50;
    let pair = Pair::new(Faults::default());
    let (mut at_alice, mut at_bob) = (pair.alice(FAST), pair.bob(FAST));
    let mut chance = Seeded::new(11);
    let mut sent = Vec::new();
    let mut carried = 0;
    for n in 0..TIMES {
        sent.push(send(&pair.alice, "bob", &format!("letter {n:02}")));
        // Of what Alice says in each session, some 600 bytes.
        pair.cable.until_carried(0, carried, 10 + chance.below(500), PATIENCE);
        let end = chance.index(2);
        pair.cable.unplug(end);
        carried = pair.cable.carried(0);
        pair.cable.plug(end);
    }
    sent.push(send(&pair.alice, "bob", "the last"));
    pair.runtime.block_on(async {
        for sent in &sent {
            let wait = async {
                while state(&pair.alice, sent) != "delivered" {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{sent:?} is not there"));
        }
        let after = send(&pair.bob, "alice", "still here");
        arrives(&after, &mut at_bob, &mut at_alice).await;
    });
    pair.stop([at_alice, at_bob]);
    let mut wanted: Vec<String> = (0..TIMES).map(|n| format!("letter {n:02}")).collect();
    wanted.push("the last".into());
    // A letter that came at once may be before an older one that goes on the pipe.
    let mut came = texts(&pair.bob);
    came.sort_by_key(|text| wanted.iter().position(|it| it == text));
    assert_eq!(came, wanted);
}
