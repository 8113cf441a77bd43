//! Live nodes on loopback: real sockets, real spools, one process.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use postrider::{
    daemon::{
        Daemon, DaemonOptions, Happening,
        transport::{
            Address, Arrival, BoxFuture, Link, LinkFacts, NodeId, Pipe, Stop, Transport,
            TransportError,
        },
    },
    desk::{Desk, SendRequest, Silent},
};
use tokio::{
    io::{BufWriter, DuplexStream},
    runtime::Runtime,
    sync::{broadcast::Receiver, mpsc},
    time::timeout,
};

use crate::town::{Town, inbox, know_each_other, letter, send, send_file, state, texts, toss};

/// Nothing here takes longer on a machine that does anything at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A daemon, and what it tells.
pub(crate) struct Running {
    pub(crate) daemon: Daemon,
    pub(crate) heard: Receiver<Happening>,
}

impl Running {
    pub(crate) fn start(desk: &Arc<Desk>, options: &DaemonOptions, runtime: &Runtime) -> Self {
        let daemon = Daemon::start(Arc::clone(desk), options, runtime).unwrap();
        Self { heard: daemon.node().board.listen(), daemon }
    }

    pub(crate) fn listening(desk: &Arc<Desk>, runtime: &Runtime) -> Self {
        let listen = vec!["tls://127.0.0.1:0".parse().unwrap()];
        Self::start(desk, &DaemonOptions { listen, ..DaemonOptions::default() }, runtime)
    }

    /// Listens too, so that it can stand in the middle.
    pub(crate) fn dialling(desk: &Arc<Desk>, to: &Running, name: &str, runtime: &Runtime) -> Self {
        let listen = vec!["tls://127.0.0.1:0".parse().unwrap()];
        let peers = vec![format!("tls://{}#{name}", to.daemon.listening()[0])];
        Self::start(desk, &DaemonOptions { listen, peers, ..DaemonOptions::default() }, runtime)
    }

    /// Waits until the newest roster that is followed has this number.
    async fn until_roster(&mut self, number: u64) {
        let wait = async {
            while self.daemon.node().desk.rosters().unwrap()[0].number < number {
                while self.heard.recv().await.unwrap().what != "roster" {}
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no roster {number}"));
    }

    /// Waits for something to happen.
    pub(crate) async fn until(&mut self, what: &str, id: &str) {
        self.until_all(&[(what, id)]).await;
    }

    /// Waits for all of this to happen, in any order.
    pub(crate) async fn until_all(&mut self, list: &[(&str, &str)]) {
        let mut open = list.to_vec();
        let wait = async {
            while !open.is_empty() {
                let it = self.heard.recv().await.unwrap();
                open.retain(|(what, id)| it.what != *what || it.id.as_deref() != Some(*id));
            }
        };
        let ended = timeout(PATIENCE, wait).await;
        ended.unwrap_or_else(|_| panic!("{open:?} did not happen"));
    }
}

#[test]
fn a_message_goes_over_a_wire_and_its_receipt_comes_back() {
    let town = Town::new();
    let (alice, bob) = (Arc::new(town.node("alice")), Arc::new(town.node("bob")));
    know_each_other(&alice, &bob);
    let runtime = runtime();
    let mut at_bob = Running::listening(&bob, &runtime);
    let mut at_alice = Running::dialling(&alice, &at_bob, "bob", &runtime);
    let sent = send(&alice, "bob", "over the wire");
    runtime.block_on(async {
        at_bob.until("message", &sent.id).await;
        at_alice.until("delivered", &sent.id).await;
        at_alice.daemon.stop().await;
        at_bob.daemon.stop().await;
    });
    assert_eq!(texts(&bob), ["over the wire"]);
    assert_eq!(state(&alice, &sent), "delivered");
}

#[test]
fn what_waited_goes_when_the_link_comes_up_and_a_large_file_is_whole() {
    let town = Town::new();
    let (alice, bob) = (Arc::new(town.node("alice")), Arc::new(town.node("bob")));
    know_each_other(&alice, &bob);
    let file = town.file("film", 20 << 20, 7);
    let film = send_file(&alice, "bob", &file);
    let back = send(&bob, "alice", "and back");
    let runtime = runtime();
    let mut at_bob = Running::listening(&bob, &runtime);
    let mut at_alice = Running::dialling(&alice, &at_bob, "bob", &runtime);
    runtime.block_on(async {
        at_alice.until("message", &back.id).await;
        at_alice.until("delivered", &film.id).await;
        at_bob.until("message", &film.id).await;
        at_alice.daemon.stop().await;
        at_bob.daemon.stop().await;
    });
    let out = town.stick("out");
    let saved = bob.save_message(&film.id, &out, &Silent).unwrap();
    assert!(std::fs::read(&saved[0].path).unwrap() == std::fs::read(&file).unwrap());
    assert_eq!(inbox(&bob).len(), 1);
}

/// Bob hears over a link that a message was called back which he never had; then somebody brings it.
#[test]
fn what_was_superseded_over_a_link_is_not_taken_from_others() {
    let town = Town::new();
    let [alice, bob, sam] = ["alice", "bob", "sam"].map(|name| Arc::new(town.node(name)));
    know_each_other(&alice, &bob);
    know_each_other(&sam, &bob);
    let stick = town.stick("stick");
    let old = send(&alice, "bob", "at six");
    toss(&alice, &stick);
    toss(&sam, &stick);
    let newer = SendRequest { supersede: Some(old.id.clone()), ..letter("bob", "at seven") };
    let new = alice.send(&newer, &Silent).unwrap();
    let runtime = runtime();
    let mut at_bob = Running::listening(&bob, &runtime);
    let mut at_alice = Running::dialling(&alice, &at_bob, "bob", &runtime);
    runtime.block_on(async {
        at_bob.until("message", &new.id).await;
        at_alice.until("delivered", &new.id).await;
        at_alice.daemon.stop().await;
    });
    assert_eq!(sam.status(&Silent).unwrap().carried, 1);
    let mark = send(&sam, "bob", "from sam");
    let mut at_sam = Running::dialling(&sam, &at_bob, "bob", &runtime);
    runtime.block_on(async {
        at_sam.until_all(&[("carried", &old.id), ("delivered", &mark.id)]).await;
        at_sam.daemon.stop().await;
        at_bob.daemon.stop().await;
    });
    assert_eq!(texts(&bob), ["at seven", "from sam"]);
}

/// What a stick has brought is not offered again when the two meet for the first time.
#[test]
fn what_came_by_stick_costs_no_offer_on_the_wire() {
    const MANY: u64 = 150;
    let town = Town::new();
    let desks: Vec<Arc<Desk>> =
        ["alice", "bob", "carol"].iter().map(|name| Arc::new(town.node(name))).collect();
    let [alice, bob, carol] = &desks[..] else { unreachable!() };
    know_each_other(alice, bob);
    know_each_other(alice, carol);
    (0..MANY).for_each(|n| drop(send(alice, "carol", &format!("letter {n}"))));
    let stick = town.stick("stick");
    toss(alice, &stick);
    toss(bob, &stick);
    let runtime = runtime();
    let mut at_bob = Running::listening(bob, &runtime);
    let sent = send(alice, "bob", "over the wire");
    let mut at_alice = Running::dialling(alice, &at_bob, "bob", &runtime);
    runtime.block_on(async {
        at_bob.until("message", &sent.id).await;
        at_alice.until("delivered", &sent.id).await;
        let row = at_bob.daemon.node().board.links().pop().unwrap();
        let bytes = row.traffic.received_bytes.load(Ordering::Relaxed);
        assert!(bytes < 1500, "{bytes} bytes; the offers alone would be {}", 24 * MANY);
        at_alice.daemon.stop().await;
        at_bob.daemon.stop().await;
    });
}

#[test]
fn two_who_never_meet_write_through_a_third_who_cannot_read() {
    let town = Town::new();
    let desks: Vec<Arc<Desk>> =
        ["alice", "middle", "carol"].iter().map(|name| Arc::new(town.node(name))).collect();
    let [alice, middle, carol] = &desks[..] else { unreachable!() };
    know_each_other(alice, carol);
    know_each_other(alice, middle);
    know_each_other(carol, middle);
    let runtime = runtime();
    let in_the_middle = Running::listening(middle, &runtime);
    let mut at_alice = Running::dialling(alice, &in_the_middle, "middle", &runtime);
    let mut at_carol = Running::dialling(carol, &in_the_middle, "middle", &runtime);
    let sent = send(alice, "carol", "through the middle");
    runtime.block_on(async {
        at_carol.until("message", &sent.id).await;
        at_alice.until("delivered", &sent.id).await;
        for running in [at_alice, at_carol, in_the_middle] {
            running.daemon.stop().await;
        }
    });
    assert_eq!(texts(carol), ["through the middle"]);
    assert!(inbox(middle).is_empty());
}

/// Too large for a small bundle: it is staged, hashed, and looked at before it is kept. Bob carries
/// nothing for strangers, and the roster all the same.
#[test]
fn a_large_roster_comes_over_a_wire_and_goes_on() {
    let town = Town::new();
    let (anna, carol) = (Arc::new(town.node("anna")), Arc::new(town.node("carol")));
    let bob = town.set(town.node("bob"), "carry-strangers = true", "carry-strangers = false");
    let bob = Arc::new(bob);
    know_each_other(&anna, &bob);
    know_each_other(&bob, &carol);
    anna.take_roster(&crate::trust::large_roster(&anna), &Silent).unwrap_err();
    anna.begin_roster("Relief", None).unwrap();
    let key = anna.home().card.node;
    for desk in [&bob, &carol] {
        desk.follow_roster(key, None, &Silent).unwrap();
    }
    let runtime = runtime();
    let mut at_bob = Running::listening(&bob, &runtime);
    let at_anna = Running::dialling(&anna, &at_bob, "bob", &runtime);
    let mut at_carol = Running::dialling(&carol, &at_bob, "bob", &runtime);
    runtime.block_on(async {
        at_bob.until_roster(1).await;
        at_carol.until_roster(1).await;
    });
    anna.take_roster(&crate::trust::large_roster(&anna), &Silent).unwrap();
    runtime.block_on(async {
        at_bob.until_roster(2).await;
        at_carol.until_roster(2).await;
        for running in [at_anna, at_carol, at_bob] {
            running.daemon.stop().await;
        }
    });
    for desk in [&bob, &carol] {
        let line = &desk.rosters().unwrap()[0];
        assert_eq!((&*line.name, line.members), ("Relief", 200));
        let queue = desk.queue(&Silent).unwrap();
        assert_eq!(queue.len(), 1, "{queue:?}");
        assert!(queue[0].bytes > 4096);
    }
}

/// Keeps what is written until it is told to let go, as a cipher on a full socket does.
#[derive(Debug)]
struct Withholding {
    listens: std::sync::Mutex<Option<mpsc::Receiver<DuplexStream>>>,
    other: mpsc::Sender<DuplexStream>,
    peer: NodeId,
}

impl Withholding {
    fn link(&self, stream: DuplexStream, dialled: bool) -> Link {
        let address = "held:".parse().unwrap();
        // On a metered link no ping pushes the end of a body out.
        let facts = LinkFacts {
            peer: Some(self.peer),
            dialled,
            metered: true,
            rate_bps: Some(1_000_000_000),
            ..LinkFacts::stream(address)
        };
        let all = BufWriter::with_capacity(8 << 20, stream);
        Link { facts, pipe: Pipe::Stream(Box::new(all)) }
    }
}

impl Transport for Withholding {
    fn scheme(&self) -> &'static str {
        "held"
    }

    fn run(
        self: Arc<Self>,
        arrivals: mpsc::Sender<Arrival>,
        stop: Stop,
    ) -> BoxFuture<'static, Result<(), TransportError>> {
        let listens = self.listens.lock().unwrap().take();
        Box::pin(async move {
            let Some(mut listens) = listens else { return Ok(()) };
            loop {
                let stream = tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    stream = listens.recv() => stream,
                };
                let Some(stream) = stream else { return Ok(()) };
                let _ = arrivals.send(Arrival::Link(self.link(stream, false))).await;
            }
        })
    }

    fn dial<'a>(
        &'a self,
        _to: &'a Address,
        _expect: Option<NodeId>,
    ) -> BoxFuture<'a, Result<Link, TransportError>> {
        Box::pin(async move {
            let (here, there) = tokio::io::duplex(64 << 10);
            let _ = self.other.send(there).await;
            Ok(self.link(here, true))
        })
    }
}

/// The end of a body lay behind the cipher of a full link until the next unit pushed it out, which on
/// a narrow line was the ping after 15 seconds.
#[test]
fn the_end_of_a_long_body_leaves_with_its_body() {
    let town = Town::new();
    let (alice, bob) = (Arc::new(town.node("alice")), Arc::new(town.node("bob")));
    know_each_other(&alice, &bob);
    let photo = send_file(&alice, "bob", &town.file("photo", 200_000, 3));
    let runtime = runtime();
    let (other, listens) = mpsc::channel(1);
    let start = |desk: &Arc<Desk>, peer: &Arc<Desk>, listens, peers| {
        let listens = std::sync::Mutex::new(listens);
        let peer = peer.home().card.node;
        let held = Withholding { listens, other: other.clone(), peer };
        let transports: Vec<Arc<dyn Transport>> = vec![Arc::new(held)];
        Running::start(
            desk,
            &DaemonOptions { transports, peers, ..DaemonOptions::default() },
            &runtime,
        )
    };
    let mut at_bob = start(&bob, &alice, Some(listens), vec![]);
    let at_alice = start(&alice, &bob, None, vec!["held:#bob".into()]);
    runtime.block_on(async {
        at_bob.until("message", &photo.id).await;
        at_alice.daemon.stop().await;
        at_bob.daemon.stop().await;
    });
}
