//! Bluetooth — links to whoever is in the same room, without pairing, addresses or a network.
//!
//! On every adapter it says ten bytes into the room, hears what others say, takes links and dials them.
//! What the bytes mean, when to listen and whom to dial is decided elsewhere. The links prove nobody, so
//! the carriage has to.
//!
//! - `bus`: what BlueZ tells of adapters and devices; `adapters`: which are used, whatever happens to them;
//!   `adapter`: one in use; `air`: what it says and whether it hears;
//! - `channels`: links over LE, as streams with a `window`; `paired`: over RFCOMM, between machines that
//!   somebody paired; `gatt`: for telephones; `pipes`: what closing a socket takes; `slots`: how many links a
//!   stranger gets;
//! - `privacy`: whether addresses change with what is said; `troubles`: why there is none, for people.
//!
//! It needs BlueZ's daemon and no privileges. Nothing is switched on that somebody has switched off.

mod adapter;
mod adapters;
mod air;
mod bus;
mod channels;
mod gatt;
mod paired;
mod pipes;
mod places;
mod privacy;
mod slots;
mod troubles;
mod window;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bluer::Uuid;
use tokio::sync::{mpsc, watch};

use self::{adapter::Open, slots::Slots};
use crate::contract::{Link, LinkFacts, Pipe, Stop, StreamPipe, TransportError};

pub use self::{
    adapter::{DIALS_WAITING_MAX, NEUTRAL_NAME},
    adapters::ADAPTERS_MAX,
    channels::DIAL_TIME_MAX,
    gatt::{INDICATED, WRITTEN},
    paired::PROFILE,
    places::{AddressKind, Place},
    privacy::Addresses,
    slots::{TAKEN_MAX, TAKEN_OF_ONE_MAX},
    troubles::Trouble,
};

/// Under which service a node speaks: drawn by chance, once.
pub const SERVICE: Uuid = Uuid::from_u128(0x1a78_a0c3_cfd4_4b99_a7e5_817b_1874_be6c);
/// What a node says of itself into the room. A legacy advertisement holds 31 bytes: 3 for the flags,
/// 2 + 16 for a service's 128-bit UUID with data of its own, and these.
pub const SAID_BYTES: usize = 10;
/// What a link carries: LE at 1 Mbit/s on the air, and what is measured of it between machines of ten years
/// is from a third of that to all of LE at 2 Mbit/s.
const RATE_BPS: u64 = 1_000_000;
/// A packet waits for the next meeting of both ends, which the kernel sets to 30 to 50 ms.
const LATENCY_MS: u32 = 40;

/// What can be chosen about Bluetooth.
#[derive(Clone, Debug, Default)]
pub struct BluetoothOptions {
    /// Names of the adapters to use, such as `hci0`; none: all there are.
    pub adapters: Vec<String>,
}

/// What Bluetooth tells.
#[derive(Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "a link is moved once, and rare")]
pub enum BluetoothEvent {
    /// An adapter can be used.
    Up {
        /// The number in its name.
        adapter: u16,
        /// Its name, such as `hci0`.
        name: String,
    },
    /// An adapter, or all of Bluetooth, cannot be used. Told when that changes, and at the start.
    Down {
        /// Which one; `None` where there is none at all.
        adapter: Option<u16>,
        /// Why.
        trouble: Trouble,
    },
    /// Somebody of ours said something. Hearsay: only a link proves who it is.
    Heard {
        /// By which adapter it was heard.
        adapter: u16,
        /// Where it can be dialled, for as long as it keeps that address.
        from: Place,
        /// What it said.
        said: [u8; SAID_BYTES],
        /// How strongly it was heard, if the adapter tells.
        strength_dbm: Option<i16>,
    },
    /// Somebody has connected, or a dial of ours has. A link may come of it, a second later or so.
    Connected {
        /// With which adapter.
        adapter: u16,
    },
    /// Somebody had connected, with which a controller stops saying what it said. The same is not said again,
    /// which would be under another address and show whose that is: something else is to be
    /// [said](Bluetooth::say).
    Silenced {
        /// Which adapter says nothing.
        adapter: u16,
    },
    /// Somebody dialled us.
    Link {
        /// By which adapter.
        adapter: u16,
        /// From where.
        from: Place,
        /// The link.
        link: Link,
    },
}

/// What is to be known about an adapter beside that it is up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdapterFacts {
    /// The name that a person gave it, which everybody near can read. `None`: it has none, and
    /// [`NEUTRAL_NAME`] is shown while it is used.
    pub name: Option<String>,
    /// How its address changes.
    pub addresses: Addresses,
}

/// The Bluetooth adapters of this machine.
pub struct Bluetooth {
    shared: Arc<Shared>,
}

impl fmt::Debug for Bluetooth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bluetooth").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Bluetooth {
    /// Opens nothing yet.
    pub fn new(options: BluetoothOptions) -> Self {
        Self { shared: Arc::new(Shared { options, ..Shared::default() }) }
    }

    /// Tells what happens until stopped, or until nobody listens any more. It survives adapters that are
    /// switched off, blocked and unplugged, and a service that ends and comes back. When it returns nothing
    /// is said any more and names are as they were; links live on. To be run once at a time.
    pub async fn run(&self, events: mpsc::Sender<BluetoothEvent>, stop: Stop) {
        adapters::run(self.shared.clone(), events, stop).await;
    }

    /// Says this from now on, under an address that was not used before, as far as the machine is set up
    /// for that ([`AdapterFacts::addresses`]); `None`: nothing. Saying the same again changes nothing. It is
    /// remembered for an adapter that is not up.
    pub fn say(&self, adapter: u16, said: Option<[u8; SAID_BYTES]>) {
        self.shared.wish(adapter, |wish| wish.said = said);
    }

    /// Whether to hear what others say. It is remembered for an adapter that is not up.
    pub fn listen(&self, adapter: u16, on: bool) {
        self.shared.wish(adapter, |wish| wish.listen = on);
    }

    /// On which channel an adapter takes links (0x80 to 0xff), once it does: what others give to
    /// [`dial`](Self::dial).
    pub fn channel(&self, adapter: u16) -> Option<u8> {
        self.shared.open(adapter).map(|open| open.channel)
    }

    /// What is to be known about an adapter that is up.
    pub fn facts(&self, adapter: u16) -> Option<AdapterFacts> {
        self.shared.open(adapter).map(|open| open.facts.clone())
    }

    /// One attempt at a link: over RFCOMM if the device is paired with this machine and has our profile,
    /// else, or if that fails, over LE.
    ///
    /// An adapter makes one connection at a time: others wait for their turn, [`DIALS_WAITING_MAX`] of them
    /// with the first; more fail at once. It hears nothing meanwhile. Connections of links that have ended
    /// are ended before, which takes some three seconds after the last. The attempt itself takes
    /// [`DIAL_TIME_MAX`] at most. Dropping the future cancels it.
    pub async fn dial(&self, adapter: u16, to: Place, channel: u8) -> Result<Link, TransportError> {
        let failed = |kind: io::ErrorKind| TransportError::Connect {
            to: to.to_string(),
            source: kind.into(),
        };
        let open = self.shared.open(adapter).ok_or_else(|| failed(io::ErrorKind::NotConnected))?;
        let _waiting =
            open.waiting.try_acquire().map_err(|_| failed(io::ErrorKind::ResourceBusy))?;
        let _turn = open.turn.lock().await;
        let _hush = open.hush().await;
        open.ended().await;
        let known = open.calls.device(adapter, to.address).await.unwrap_or_default();
        if known.paired == Some(true) && known.rfcomm {
            let slot = open.slots.dial(to.address);
            if let Ok(link) = paired::dial(open.own.address, adapter, to, slot).await {
                return Ok(link);
            }
        }
        channels::dial(open.own, adapter, to, channel, open.slots.dial(to.address)).await
    }
}

/// What is wished of an adapter.
#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    said: Option<[u8; SAID_BYTES]>,
    listen: bool,
}

/// What the public face and the adapters' tasks share.
#[derive(Default)]
struct Shared {
    options: BluetoothOptions,
    wishes: Mutex<BTreeMap<u16, watch::Sender<Wish>>>,
    open: Mutex<BTreeMap<u16, Arc<Open>>>,
    /// Adapters that were told to be up, and not to be down since.
    up: Mutex<BTreeSet<u16>>,
}

impl Shared {
    /// Changes what is wished of an adapter; of so many that there cannot be, nothing can be wished.
    fn wish(&self, adapter: u16, change: impl FnOnce(&mut Wish)) {
        let mut wishes = locked(&self.wishes);
        if wishes.contains_key(&adapter) || wishes.len() < ADAPTERS_MAX {
            wishes.entry(adapter).or_default().send_modify(change);
        }
    }

    fn wishes(&self, adapter: u16) -> watch::Receiver<Wish> {
        locked(&self.wishes).entry(adapter).or_default().subscribe()
    }

    fn open(&self, adapter: u16) -> Option<Arc<Open>> {
        locked(&self.open).get(&adapter).cloned()
    }

    /// Which adapter has an address.
    fn adapter_at(&self, address: [u8; 6]) -> Option<(u16, Arc<Slots>)> {
        let open = locked(&self.open);
        let found = open.iter().find(|(_, open)| open.own.address == address);
        found.map(|(adapter, open)| (*adapter, open.slots.clone()))
    }

    fn opened(&self, adapter: u16, open: Arc<Open>) {
        locked(&self.open).insert(adapter, open);
        locked(&self.up).insert(adapter);
    }

    fn closed(&self, adapter: u16) {
        locked(&self.open).remove(&adapter);
    }

    /// An adapter is told to be down; whether it was up.
    fn down(&self, adapter: u16) -> bool {
        locked(&self.up).remove(&adapter)
    }

    fn all_up(&self) -> Vec<u16> {
        locked(&self.up).iter().copied().collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream with somebody, as a link.
fn link(adapter: u16, with: Place, dialled: bool, stream: impl StreamPipe + 'static) -> Link {
    let address = format!("bluetooth:hci{adapter}/{with}").parse().expect("short and printable");
    let facts = LinkFacts {
        dialled,
        rate_bps: Some(RATE_BPS),
        latency_ms: Some(LATENCY_MS),
        ..LinkFacts::stream(address)
    };
    Link { facts, pipe: Pipe::Stream(Box::new(stream)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOMEBODY: Place = Place { address: [0xc0, 0xde, 0, 0, 0, 1], kind: AddressKind::Random };

    #[tokio::test]
    async fn a_links_facts_say_where_and_prove_nobody() {
        let link = link(1, SOMEBODY, true, tokio::io::duplex(1).0);
        assert_eq!(link.facts.address.as_str(), "bluetooth:hci1/C0:DE:00:00:00:01");
        assert_eq!((link.facts.peer, link.facts.metered), (None, false));
    }

    #[tokio::test]
    async fn nothing_is_dialled_where_nothing_is_open() {
        let bluetooth = Bluetooth::new(BluetoothOptions::default());
        assert_eq!((bluetooth.channel(0), bluetooth.facts(0)), (None, None));
        let dialled = bluetooth.dial(0, SOMEBODY, 0x80).await;
        assert!(matches!(dialled, Err(TransportError::Connect { .. })), "{dialled:?}");
    }

    #[test]
    fn wishes_are_remembered_for_adapters_that_are_not_there_and_not_for_any_number_of_them() {
        let bluetooth = Bluetooth::new(BluetoothOptions::default());
        for adapter in 0..40 {
            bluetooth.say(adapter, Some([1; SAID_BYTES]));
        }
        bluetooth.listen(3, true);
        assert_eq!(locked(&bluetooth.shared.wishes).len(), ADAPTERS_MAX);
        let wish = *bluetooth.shared.wishes(3).borrow();
        assert_eq!((wish.said, wish.listen), (Some([1; SAID_BYTES]), true));
    }
}
