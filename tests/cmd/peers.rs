//! Hostile peers against a daemon that runs: it stays small, and its friends notice nothing.
//!
//! What each of them may cost is tested with the transport and with the engine; here it is all of
//! it together, in one process, seen from outside.

use std::{fs, net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use postrider::home::Home;
use postrider_base::NodeId;
use postrider_engine::{
    carriage::{Deframer, length_prefix},
    exchange::{Hello, OFFERS_OPEN, Offered, Unit},
    node::{Instance, ShortId},
};
use postrider_transports::{
    contract::{Link, Pipe, StreamPipe, Transport},
    tls::{TlsOptions, TlsTransport},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    runtime::Runtime,
    time::timeout,
};

use crate::node::{Folder, Node, PATIENCE, text, until};

/// Connections of strangers, if the system lets a process have so many.
const CROWD: u64 = 10_000;
/// Descriptors for everything else that a test process has open.
const OTHER_FILES: u64 = 500;
/// What hostile peers may cost beyond what a daemon with friends takes: 64 handshakes of 64 KiB, a
/// link's tables of 3 MiB, a carriage and what lies ready for it, 6 MiB; and what the allocator keeps.
const GROWTH_MAX_KIB: u64 = 24 << 10;

/// Alice with a daemon, Bob who is her friend, and Mallory, who is a contact too.
struct Town {
    folder: Folder,
    alice: Node,
    bob: Node,
    mallory: Node,
    at: SocketAddr,
    before_kib: u64,
}

impl Town {
    fn new() -> Self {
        let folder = Folder::new();
        let [mut alice, mut bob, mallory] =
            ["Alice", "Bob", "Mallory"].map(|name| folder.node(name));
        for other in [&bob, &mallory] {
            alice.meet(other);
            other.meet(&alice);
        }
        alice.start_daemon(&["--no-lan", "--listen", "tls://127.0.0.1:0"]);
        let listening = alice.json(["up"]).remove(0)["listening"][0].clone();
        let at: SocketAddr = listening.as_str().unwrap().parse().unwrap();
        bob.start_daemon(&["--no-lan", "--peer", &format!("tls://{at}#Alice")]);
        let mut town = Self { folder, alice, bob, mallory, at, before_kib: 0 };
        town.friends_are_served("before");
        town.before_kib = town.alice_kib();
        town
    }

    /// Bob's mail arrives and is receipted.
    fn friends_are_served(&self, when: &str) {
        let id = self.bob.send(["Alice", when]);
        until(&format!("Bob's mail, {when}"), || {
            let traced = self.bob.json(["trace", &id]);
            traced.iter().any(|event| event["what"] == "delivered")
        });
    }

    /// The memory of Alice's daemon.
    fn alice_kib(&mut self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.alice.daemon().id()));
        let status = status.unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn alice_stays_small(&mut self) {
        let grown = self.alice_kib().saturating_sub(self.before_kib);
        println!("{} KiB, grown by {grown} KiB", self.before_kib + grown);
        assert!(grown <= GROWTH_MAX_KIB, "grown by {grown} KiB from {} KiB", self.before_kib);
    }

    /// Mallory's own program instead of his daemon: a link on which it says what it likes.
    async fn mallory(&self) -> Box<dyn StreamPipe> {
        let home = Home::open(self.mallory.home()).unwrap();
        let key = Arc::new(home.key.node.clone());
        let tls = TlsTransport::new(key, TlsOptions::default()).unwrap();
        let alice: NodeId = text(&self.alice.json(["id"])[0], "id").parse().unwrap();
        let to = format!("tls://{}", self.at).parse().unwrap();
        let Link { pipe: Pipe::Stream(stream), .. } = tls.dial(&to, Some(alice)).await.unwrap()
        else {
            unreachable!("tls makes streams")
        };
        stream
    }
}

/// A connection from one of a thousand addresses: each is a place of its own for the door, and none
/// is that of a friend.
async fn stranger(n: u64, to: SocketAddr) -> std::io::Result<TcpStream> {
    let [low, high, ..] = (n % 1000).to_le_bytes();
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 1, high, low], 0)))?;
    timeout(PATIENCE, socket.connect(to)).await?
}

async fn say(stream: &mut Box<dyn StreamPipe>, units: &[Unit]) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    for unit in units {
        let (head, body) = unit.encode();
        bytes.extend_from_slice(&length_prefix(head.len() + body.len()));
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&body);
    }
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Reads until so many bundles are offered, or more.
async fn offered(stream: &mut Box<dyn StreamPipe>, least: u32) -> u32 {
    let (mut deframer, mut count) = (Deframer::default(), 0);
    while count < least {
        let read = timeout(PATIENCE, stream.read_buf(&mut deframer.inlet())).await.unwrap();
        assert!(read.unwrap() > 0, "the link must not end");
        while let Some(unit) = deframer.next_unit().unwrap() {
            if let Unit::Offer(offers) = Unit::decode(&unit).unwrap() {
                count += u32::try_from(offers.len()).unwrap();
            }
        }
    }
    count
}

/// Reads on until the other end has ended the link.
async fn ends(stream: &mut Box<dyn StreamPipe>) {
    let mut heard = BytesMut::new();
    let end = async {
        while stream.read_buf(&mut heard).await.is_ok_and(|n| n > 0) {
            heard.clear();
        }
    };
    timeout(PATIENCE, end).await.expect("the link must end");
}

fn hello() -> Unit {
    Unit::Hello(Hello {
        features: 0,
        instance: Instance([7; 4]),
        seen: None,
        chunk_log2: 18,
        nice_max: 0,
    })
}

fn offers(from: u32, count: u32) -> Unit {
    let offer = |n: u32| {
        let mut id = [0x5a; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        Offered { id: ShortId(id), nice: 32, length: 64 << 20 }
    };
    Unit::Offer((from..from + count).map(offer).collect())
}

#[test]
fn ten_thousand_strangers_cost_little_and_keep_no_friend_out() {
    let mut town = Town::new();
    let limit = getrlimit(Resource::Nofile);
    // Beyond what the system allows it stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(OTHER_FILES);
    let crowd = CROWD.min(most);
    let mut strangers = Vec::new();
    let runtime = Runtime::new().unwrap();
    for n in 0..crowd {
        let Ok(mut stranger) = runtime.block_on(stranger(n, town.at)) else { continue };
        // The beginning of a record: it is waited for what it announces.
        if n % 2 == 0 {
            let _ = runtime.block_on(stranger.write_all(b"\x16\x03\x01\x02\x00\x01"));
        }
        strangers.push(stranger);
    }
    println!("{} of {crowd} connections", strangers.len());
    assert!(strangers.len() as u64 >= crowd / 2, "the crowd must be one");
    town.friends_are_served("in the crowd");
    town.alice_stays_small();
    // Somebody who comes now is let in as well.
    runtime.block_on(async {
        let mut stream = timeout(PATIENCE, town.mallory()).await.unwrap();
        say(&mut stream, &[hello()]).await.unwrap();
        stream.read_u8().await.unwrap();
    });
    drop(strangers);
    town.friends_are_served("after the crowd");
}

#[test]
fn a_contact_that_reads_nothing_costs_a_carriage_and_no_more() {
    let mut town = Town::new();
    let mut noise = vec![0; 24 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let file = town.folder.file("large", &noise);
    town.alice.send(["Mallory".as_ref(), "-f".as_ref(), file.as_os_str()]);
    // What sealing the file took is not Mallory's doing.
    town.before_kib = town.alice_kib();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let mut stream = town.mallory().await;
        say(&mut stream, &[hello()]).await.unwrap();
        // All parts and what they belong to are asked for, and then nothing more is read.
        let wants = (0..offered(&mut stream, 4).await).map(|handle| (handle, 0)).collect();
        say(&mut stream, &[Unit::Want(wants)]).await.unwrap();
        tokio::task::block_in_place(|| {
            town.friends_are_served("beside one who does not read");
            town.alice_stays_small();
        });
        drop(stream);
    });
}

#[test]
fn a_contact_that_breaks_the_protocol_loses_its_link_and_nothing_else_happens() {
    let mut town = Town::new();
    let runtime = Runtime::new().unwrap();
    let never_given: Vec<(u32, u64)> = (0..256).map(|handle| (handle, 0)).collect();
    let offered = u32::try_from(OFFERS_OPEN).unwrap();
    let floods: Vec<Unit> = (0..=offered / 128).map(|n| offers(n * 128, 128)).collect();
    for (what, units) in [
        ("wants of what was not offered", vec![hello(), Unit::Want(never_given)]),
        ("two hellos", vec![hello(), hello()]),
        ("no hello", vec![offers(0, 1)]),
        ("offers without end", [vec![hello()], floods].concat()),
        ("settles of nothing", vec![hello(), Unit::Stop(vec![9])]),
    ] {
        println!("{what}");
        runtime.block_on(async {
            let mut stream = town.mallory().await;
            // It may end before everything was said.
            let _ = say(&mut stream, &units).await;
            ends(&mut stream).await;
        });
    }
    for (what, bytes) in [
        ("a unit of no type", &b"\x02\x7f\x00"[..]),
        ("no CBOR", b"\x03\x00\xff\xff"),
        ("a length beyond all units", b"\xff\xff\xff\x7f"),
        ("a length that is not shortest", b"\x80\x00"),
    ] {
        println!("{what}");
        runtime.block_on(async {
            let mut stream = town.mallory().await;
            let _ = stream.write_all(bytes).await;
            let _ = stream.flush().await;
            ends(&mut stream).await;
        });
    }
    town.friends_are_served("after all that");
    town.alice_stays_small();
}
