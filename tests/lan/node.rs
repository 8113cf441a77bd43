//! A small node: the machine of meeting, the local network, TLS links, and nothing else.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use postrider_base::NodeSecret;
use postrider_engine::{
    meeting::{Came, Input, InterfaceId, Known, Local, Meeting, Output, Place, Role, beacon},
    node::LinkId,
};
use postrider_transports::{
    Arrival, Link, Pipe, Stop, Transport as _,
    lan::{self, Lan, LanEvent, LanOptions},
    tls::{TlsOptions, TlsTransport},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};

/// Where a process reads which part it has.
pub const PART: &str = "POSTRIDER_TEST_LAN_PART";

/// What a process is.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// Number 0 or 1, which know each other and nobody else.
    Contact(u8),
    /// Number 0 or 1, which know nobody.
    Stranger(u8),
}

impl Part {
    pub fn name(self) -> String {
        match self {
            Self::Contact(n) => format!("contact {n}"),
            Self::Stranger(n) => format!("stranger {n}"),
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        let (kind, n) = name.split_once(' ')?;
        let n = n.parse().ok()?;
        Some(if kind == "contact" { Self::Contact(n) } else { Self::Stranger(n) })
    }
}

fn secret(n: u8) -> NodeSecret {
    NodeSecret::from_seed([n + 1; 32])
}

/// What the tasks of the node tell its loop.
enum Event {
    Link(Box<Link>, Option<Place>),
    Failed(Place),
    Ended(LinkId),
}

/// Runs until it is killed.
pub fn run(part: Part) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(node(part));
}

async fn node(part: Part) {
    let (n, carrier) = match part {
        Part::Contact(n) => (n, false),
        Part::Stranger(n) => (n, true),
    };
    let start = Instant::now();
    let now = || u64::try_from(start.elapsed().as_millis()).unwrap();
    let me = secret(n);
    let listen = vec!["tls://[::]:0".parse().unwrap()];
    let options = TlsOptions { listen, ..TlsOptions::default() };
    let tls = Arc::new(TlsTransport::new(Arc::new(me.clone()), options).unwrap());
    let local = Local {
        node: me.id(),
        key: beacon::ContactKey::of(&me.first_seal_key().public()),
        groups: Vec::new(),
        port: tls.listening()[0].port(),
        carrier,
    };
    let mut meeting = Meeting::new(local, [n; 32], now());
    if let Part::Contact(n) = part {
        let other = secret(1 - n);
        let contacts = vec![(other.id(), other.first_seal_key().public())];
        meeting.handle(now(), Input::Known(Known { contacts, blocked: Vec::new() }));
    }
    let stop = Stop::new();
    let (arrivals_in, mut arrivals) = mpsc::channel(16);
    tokio::spawn(tls.clone().run(arrivals_in, stop.clone()));
    let local_net = Arc::new(Lan::new(LanOptions::default()));
    let (lan_in, mut lan_events) = mpsc::channel(256);
    tokio::spawn({
        let local_net = local_net.clone();
        async move { local_net.run(lan_in, stop).await }
    });
    let (events_in, mut events) = mpsc::channel(16);
    let mut links: BTreeMap<LinkId, Stop> = BTreeMap::new();
    let mut next = 0;
    println!("ready");
    loop {
        while let Some(output) = meeting.poll() {
            match output {
                Output::Guest(secret) => tls.set_guest(carrier.then_some(secret)),
                Output::SendBeacon { interface, datagram } => {
                    let _ = local_net.say(interface.0, &datagram[..]);
                }
                Output::Dial { at, expect, role } => {
                    let (tls, events) = (tls.clone(), events_in.clone());
                    tokio::spawn(async move {
                        let to = lan::address(at.interface.0, at.address, at.port);
                        let dial = match role {
                            Role::Known => tls.dial(&to, Some(expect)).await,
                            Role::Guest => tls.dial_as_guest(&to, expect).await,
                        };
                        let told =
                            dial.map_or(Event::Failed(at), |l| Event::Link(Box::new(l), Some(at)));
                        let _ = events.send(told).await;
                    });
                }
                Output::Close { link } => {
                    if let Some(stop) = links.remove(&link) {
                        stop.cancel();
                    }
                }
            }
        }
        let wait = meeting.poll_timeout().saturating_sub(now());
        let event = tokio::select! {
            event = lan_events.recv() => {
                tell(&mut meeting, now(), event.unwrap());
                continue;
            }
            arrival = arrivals.recv() => match arrival.unwrap() {
                Arrival::Link(link) => Event::Link(Box::new(link), None),
                _ => continue,
            },
            event = events.recv() => event.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(wait)) => {
                meeting.handle(now(), Input::Timeout);
                continue;
            }
        };
        match event {
            Event::Failed(at) => meeting.handle(now(), Input::DialFailed { at }),
            Event::Ended(link) => {
                links.remove(&link);
                meeting.handle(now(), Input::LinkDown { link });
            }
            Event::Link(up, dialled) => {
                let link = LinkId(next);
                next += 1;
                let stop = Stop::new();
                links.insert(link, stop.clone());
                let (node, guest) = (up.facts.peer.unwrap(), up.facts.guest);
                let came = dialled.map_or_else(|| accepted(&up), Came::Dialled);
                meeting.handle(now(), Input::LinkUp { link, node, guest, came });
                tokio::spawn(talk(*up, link, stop, events_in.clone()));
            }
        }
    }
}

fn tell(meeting: &mut Meeting, now_ms: u64, event: LanEvent) {
    match event {
        LanEvent::Up { interface, name, address, priority, beacons } => {
            println!("up {name} {address}");
            let interface = InterfaceId(interface);
            let up = Input::InterfaceUp { interface, address, priority, beacons };
            meeting.handle(now_ms, up);
        }
        LanEvent::Down { interface } => {
            println!("down {interface}");
            meeting.handle(now_ms, Input::InterfaceDown { interface: InterfaceId(interface) });
        }
        LanEvent::Heard { interface, from, datagram } => {
            println!("heard {} bytes", datagram.len());
            let (interface, datagram) = (InterfaceId(interface), &datagram[..]);
            meeting.handle(now_ms, Input::Heard { interface, from, datagram });
        }
        other => panic!("{other:?}"),
    }
}

/// Where a link that we accepted comes from, as its address says.
fn accepted(link: &Link) -> Came {
    let from: SocketAddr = link.facts.address.rest().trim_start_matches('/').parse().unwrap();
    let SocketAddr::V6(from) = from else { panic!("{from}") };
    Came::Accepted { interface: InterfaceId(from.scope_id()), from: *from.ip() }
}

/// Says a word and hears one; then holds the link until it ends or is to end.
async fn talk(link: Link, number: LinkId, stop: Stop, events: mpsc::Sender<Event>) {
    let how = if link.facts.guest { "as a guest" } else { "as itself" };
    let Pipe::Stream(mut stream) = link.pipe else { panic!("no stream") };
    let work = async {
        stream.write_all(b"word").await?;
        stream.flush().await?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        println!("talked {how}");
        stream.read_exact(&mut word).await
    };
    tokio::select! {
        _ = work => {}
        () = stop.cancelled() => {}
    }
    let _ = events.send(Event::Ended(number)).await;
}
