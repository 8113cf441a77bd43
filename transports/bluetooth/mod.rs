//! Bluetooth — links to whoever is in the same room, without pairing, addresses or a network.
//!
//! It says ten bytes into the room, hears what others say, takes links and dials them. What the bytes
//! mean, when to listen and whom to dial is decided elsewhere.

mod places;
mod troubles;

use std::fmt;

use tokio::sync::mpsc;

pub use self::{
    places::{AddressKind, Place},
    troubles::Trouble,
};
use crate::contract::{Link, Stop, TransportError};

/// What a node says of itself into the room. A legacy advertisement holds 31 bytes: 3 for the flags,
/// 2 + 16 for a service's 128-bit UUID with data of its own, and these.
pub const SAID_BYTES: usize = 10;

/// What can be chosen about Bluetooth.
#[derive(Clone, Debug, Default)]
pub struct BluetoothOptions {
    /// Names of the adapters to use, such as `hci0`; none: all there are.
    pub adapters: Vec<String>,
}

/// What Bluetooth tells.
#[derive(Debug)]
#[non_exhaustive]
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

/// The Bluetooth adapters of this machine.
pub struct Bluetooth {
    options: BluetoothOptions,
}

impl fmt::Debug for Bluetooth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bluetooth").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Bluetooth {
    /// Opens nothing yet.
    pub fn new(options: BluetoothOptions) -> Self {
        Self { options }
    }

    /// Tells what happens until stopped, or until nobody listens any more; survives adapters and a
    /// Bluetooth service that come and go.
    pub async fn run(&self, events: mpsc::Sender<BluetoothEvent>, stop: Stop) {
        let _ =
            events.send(BluetoothEvent::Down { adapter: None, trouble: Trouble::NoService }).await;
        stop.cancelled().await;
    }

    /// Says this from now on, under an address that was not used before; `None`: nothing. It is
    /// remembered for an adapter that is not there.
    pub fn say(&self, adapter: u16, said: Option<[u8; SAID_BYTES]>) {
        let _ = (adapter, said);
    }

    /// Whether to hear what others say. It is remembered for an adapter that is not there.
    pub fn listen(&self, adapter: u16, on: bool) {
        let _ = (adapter, on);
    }

    /// On which channel an adapter takes links, once it does: what others give to [`dial`](Self::dial).
    pub fn channel(&self, adapter: u16) -> Option<u8> {
        let _ = adapter;
        None
    }

    /// One attempt at a link.
    pub async fn dial(&self, adapter: u16, to: Place, channel: u8) -> Result<Link, TransportError> {
        let _ = (adapter, channel);
        Err(TransportError::Connect {
            to: to.to_string(),
            source: std::io::ErrorKind::NotConnected.into(),
        })
    }
}
