//! Two daemons with radios in one room, without any: what BlueZ and the air do is done in memory.

use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use postrider_engine::near::advert::Said;
use postrider_transports::contract::{BoxFuture, LinkFacts, Pipe};
use tokio::{io::AsyncReadExt, runtime::Runtime};

use super::*;
use crate::{
    daemon::{Daemon, DaemonOptions},
    demo::undisturbed,
    desk::{AddRequest, Desk, SendRequest, Silent},
};

const CHANNEL: u8 = 0x81;
const ADVERT: Duration = Duration::from_millis(100);
/// Everything here takes less than two seconds on a machine that has nothing else to do.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Room(Mutex<Vec<Device>>);

struct Device {
    said: Option<Said>,
    listening: bool,
    events: mpsc::Sender<BluetoothEvent>,
    taken: usize,
}

struct Fake {
    room: Arc<Room>,
    number: usize,
}

fn at(number: usize) -> Place {
    let address = [0xc0, 0, 0, 0, 0, u8::try_from(number).unwrap()];
    Place { address, kind: AddressKind::Random }
}

fn link(with: usize, stream: tokio::io::DuplexStream, dialled: bool) -> Link {
    let address = format!("bluetooth:hci0/{}", at(with)).parse().unwrap();
    let facts = LinkFacts { dialled, rate_bps: Some(1_000_000), ..LinkFacts::stream(address) };
    Link { facts, pipe: Pipe::Stream(Box::new(stream)) }
}

impl Room {
    fn devices(&self) -> MutexGuard<'_, Vec<Device>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>) -> (Arc<Fake>, mpsc::Receiver<BluetoothEvent>) {
        let (events, heard) = mpsc::channel(EVENTS_MAX);
        let up = BluetoothEvent::Up { adapter: 0, name: "hci0".into() };
        events.try_send(up).unwrap();
        let mut devices = self.devices();
        devices.push(Device { said: None, listening: false, events, taken: 0 });
        (Arc::new(Fake { room: Arc::clone(self), number: devices.len() - 1 }), heard)
    }

    /// Everybody who says something is heard by everybody who listens.
    async fn air(room: Weak<Self>) {
        while let Some(room) = room.upgrade() {
            {
                let devices = room.devices();
                for (from, said) in
                    devices.iter().enumerate().filter_map(|(n, d)| Some((n, d.said?)))
                {
                    for (_, to) in
                        devices.iter().enumerate().filter(|(n, d)| *n != from && d.listening)
                    {
                        let strength_dbm = Some(-50);
                        let from = at(from);
                        let heard = BluetoothEvent::Heard { adapter: 0, from, said, strength_dbm };
                        let _ = to.events.try_send(heard);
                    }
                }
            }
            drop(room);
            sleep(ADVERT).await;
        }
    }

    /// A link from somebody to a device, and the end that is not the device's.
    async fn open(&self, from: usize, to: usize) -> tokio::io::DuplexStream {
        let (here, there) = tokio::io::duplex(64 << 10);
        let events = {
            let mut devices = self.devices();
            devices[to].taken += 1;
            devices[to].events.clone()
        };
        let link = link(from, there, false);
        let _ = events.send(BluetoothEvent::Link { adapter: 0, from: at(from), link }).await;
        here
    }
}

impl Radio for Fake {
    fn say(&self, _: u16, said: Option<Said>) {
        self.room.devices()[self.number].said = said;
    }

    fn listen(&self, _: u16, on: bool) {
        self.room.devices()[self.number].listening = on;
    }

    fn channel(&self, _: u16) -> Option<u8> {
        Some(CHANNEL)
    }

    fn lacks(&self, _: u16) -> Vec<String> {
        Vec::new()
    }

    fn dial(&self, _: u16, to: Place, channel: u8) -> BoxFuture<'_, Result<Link, TransportError>> {
        Box::pin(async move {
            assert_eq!(channel, CHANNEL);
            let with = usize::from(to.address[5]);
            let stream = self.room.open(self.number, with).await;
            Ok(link(with, stream, true))
        })
    }
}

struct Nodes {
    runtime: Runtime,
    room: Arc<Room>,
    daemons: Vec<Daemon>,
    _folder: tempfile::TempDir,
}

/// Daemons of nodes that all know each other, or none.
fn nodes(names: &[&str], friends: bool) -> Nodes {
    let folder = tempfile::tempdir().unwrap();
    let desks: Vec<Arc<Desk>> = names
        .iter()
        .map(|name| Arc::new(undisturbed(&folder.path().join(name), name).unwrap()))
        .collect();
    for one in desks.iter().filter(|_| friends) {
        for other in desks.iter().filter(|other| !Arc::ptr_eq(one, other)) {
            one.add(&AddRequest { card: other.home().card.clone(), name: None }).unwrap();
        }
    }
    let runtime = Runtime::new().unwrap();
    let room = Arc::new(Room::default());
    let mut daemons = Vec::new();
    for (n, desk) in desks.iter().enumerate() {
        let options = DaemonOptions::default();
        let mut daemon = Daemon::start(Arc::clone(desk), &options, &runtime).unwrap();
        let _context = runtime.enter();
        let (radio, heard) = room.enter();
        let settings = home::Bluetooth::default();
        let seed = [u8::try_from(n).unwrap(); 32];
        let node = Arc::clone(&daemon.node);
        meet(&node, &settings, seed, radio, heard, &mut daemon.tasks);
        daemons.push(daemon);
    }
    runtime.spawn(Room::air(Arc::downgrade(&room)));
    Nodes { runtime, room, daemons, _folder: folder }
}

impl Nodes {
    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let waited = self.runtime.block_on(async {
            timeout(PATIENCE, async {
                while !done() {
                    sleep(Duration::from_millis(20)).await;
                }
            })
            .await
        });
        assert!(waited.is_ok(), "it did not happen: {what}");
    }

    fn stop(self) {
        self.runtime.block_on(async {
            for daemon in self.daemons {
                daemon.stop().await;
            }
        });
    }
}

fn letter(to: &str) -> SendRequest {
    SendRequest {
        to: to.into(),
        text: Some("in hall 2".into()),
        files: Vec::new(),
        nice: None,
        lifetime: None,
        hidden: None,
        reply_to: None,
        supersede: None,
    }
}

#[test]
fn two_in_one_room_find_each_other_and_mail_goes_both_ways() {
    let nodes = nodes(&["Alice", "Bob"], true);
    let [alice, bob] = [0, 1].map(|n| Arc::clone(&nodes.daemons[n].node));
    let sent = alice.desk.send(&letter("Bob"), &Silent).unwrap().id;
    let answer = bob.desk.send(&letter("Alice"), &Silent).unwrap().id;
    let delivered = |node: &Arc<Node>, id: &str| {
        node.desk.sent_state(id, &Silent).is_ok_and(|sent| sent.state == "delivered")
    };
    nodes.until("both are delivered", || delivered(&alice, &sent) && delivered(&bob, &answer));
    let links = alice.board.links();
    assert_eq!(links.len(), 1, "one of both ends dialled");
    assert_eq!(links[0].facts.peer, Some(bob.desk.home().card.node));
    assert!(links[0].facts.address.as_str().starts_with("bluetooth:hci0/"));
    let linked = || {
        let line = alice.bluetooth.line();
        line.state == "on" && line.near.iter().any(|near| near.name == "Bob" && near.linked)
    };
    nodes.until("the link is shown", linked);
    assert_eq!(alice.bluetooth.line().why, "by hci0; linked to Bob");
    nodes.stop();
}

#[test]
fn strangers_are_heard_and_not_dialled() {
    let nodes = nodes(&["Alice", "Bob"], false);
    let alice = Arc::clone(&nodes.daemons[0].node);
    let bob = nodes.daemons[1].node.desk.home().card.clone();
    nodes.until("both say something", || nodes.room.devices().iter().all(|d| d.said.is_some()));
    // Who has no contacts does not listen; one who is not here is enough for that.
    let other = undisturbed(&tempfile::tempdir().unwrap().path().join("Sam"), "Sam").unwrap();
    alice.desk.add(&AddRequest { card: other.home().card.clone(), name: None }).unwrap();
    nodes.until("the other is heard", || alice.bluetooth.line().strangers == 1);
    assert!(alice.board.links().is_empty());
    // A card is enough.
    alice.desk.add(&AddRequest { card: bob, name: None }).unwrap();
    nodes.until("they are linked", || !alice.board.links().is_empty());
    nodes.stop();
}

#[test]
fn of_links_that_say_nothing_one_too_many_is_over_at_once() {
    let nodes = nodes(&["Alice"], true);
    let ended = nodes.runtime.block_on(async {
        let mut open = Vec::new();
        for from in [7, 8, 9] {
            open.push(nodes.room.open(from, 0).await);
        }
        // The last one; the others have some seconds to say who they are.
        let last = timeout(PATIENCE, open[2].read_u8()).await;
        let first = timeout(Duration::from_millis(200), open[0].read_u8()).await;
        (last.is_ok_and(|read| read.is_err()), first.is_err())
    });
    assert_eq!(ended, (true, true));
    nodes.stop();
}

#[test]
fn what_breaks_is_told_from_what_is_closed() {
    assert!(is_loss(&io::Error::from(io::ErrorKind::TimedOut)));
    assert!(!is_loss(&io::Error::from(io::ErrorKind::UnexpectedEof)));
    assert!(!is_loss(&io::Error::from(io::ErrorKind::ConnectionReset)));
}
