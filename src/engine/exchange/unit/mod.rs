//! One unit: what two nodes say to each other, one message at a time.
//!
//! Here is what can be said; what it means is for the two sides of an exchange. How a unit becomes
//! bytes, and which bytes are one, is in `codec`.

mod codec;

use std::net::SocketAddr;

use bytes::Bytes;
use postrider_base::{
    bundle::{Hop, Receipt},
    wire::WireError,
};

use super::limits::CHUNK_MAX;
use crate::{
    node::{Instance, Seen, ShortId, Verdict},
    router::NodeHint,
};

/// The version that is spoken here.
pub const VERSION: u8 = 1;
/// In [`Hello::features`]: reconciles by sketches.
pub const FEATURE_SKETCH: u64 = 1;
/// In [`Hello::features`]: takes [`Unit::Meets`].
pub const FEATURE_MEETS: u64 = 1 << 5;

/// In [`Hello::features`]: takes [`Unit::Brief`].
pub const FEATURE_BRIEF: u64 = 1 << 6;

/// In [`Hello::features`]: takes [`Unit::Ear`].
pub const FEATURE_CAST: u64 = 1 << 7;

/// One message of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Who speaks and what it has seen; the first of each direction.
    Hello(Hello),
    /// Bundles that may be had: at least one, at most [`OFFERS_MAX`](super::OFFERS_MAX). Each has the next handle of
    /// its direction, from 0 up.
    Offer(Vec<Offered>),
    /// Bundles that are asked for: handles, and the byte to begin at.
    Want(Vec<(u32, u64)>),
    /// A bundle begins.
    Begin(Begin),
    /// A small bundle, whole, in its radio form.
    Brief {
        /// Which offer.
        handle: u32,
        /// As [`postrider_base::radio`] makes it, of keys that both ends have.
        form: Bytes,
    },
    /// The next bytes of a large one.
    Data {
        /// Whose.
        handle: u32,
        /// At least one byte.
        bytes: Bytes,
    },
    /// What became of offers.
    Settle(Vec<(u32, Verdict)>),
    /// Proofs of delivery.
    Receipt(Vec<Receipt>),
    /// All that the peer may have up to these numbers of mine has been offered and sent.
    Mark {
        /// An arrival number.
        bundles: u64,
        /// An order number.
        receipts: u64,
    },
    /// A step of a reconciliation, as in `reconciling/sketch.rs`.
    Sketch(Bytes),
    /// Whom the sender meets: hints, and how near it is to each, which is never 0. At least one, at most
    /// [`MEETS_MAX`](crate::router::MEETS_MAX).
    Meets(Vec<(NodeHint, u8)>),
    /// On a local network: what you tell all there, and me with it, is to be tagged under this.
    Ear([u8; 16]),
    /// Are you there?
    Ping(u64),
    /// Yes.
    Pong(u64),
    /// The link ends.
    Halt {
        /// Why.
        reason: u8,
        /// When to call again.
        retry_after_s: u32,
    },
    /// The receiver no longer wants these now.
    Stop(Vec<u32>),
    /// The sender no longer has these.
    Withdraw(Vec<u32>),
    /// To whom was dialled: I want to meet this node. From there: this node wants to meet you.
    Reach([u8; 32]),
    /// This node opens a link with you now; so it is seen.
    Introduce {
        /// Who.
        node: [u8; 32],
        /// Where.
        at: SocketAddr,
    },
}

/// The first unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the sender can do beyond what all can: bits such as [`FEATURE_SKETCH`]; unknown ones are
    /// ignored.
    pub features: u64,
    /// The sender's numbering.
    pub instance: Instance,
    /// The sender's cursor into the other's numbering.
    pub seen: Option<Seen>,
    /// The longest chunk it takes is 2 to this power.
    pub chunk_log2: u8,
    /// It takes nothing nicer than this; 0: it takes all.
    pub nice_max: u8,
}

/// One offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// What.
    pub id: ShortId,
    /// How urgent, 1-255.
    pub nice: u8,
    /// Bytes of its body.
    pub length: u64,
}

/// A bundle's beginning. A small one is whole in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Which offer.
    pub handle: u32,
    /// Hop data, with its age now.
    pub hop: Hop,
    /// The envelope head.
    pub head: Bytes,
    /// The payload of a small one, else empty.
    pub payload: Bytes,
}

/// Why bytes are not a unit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnitError {
    /// No type byte.
    #[error("an empty unit")]
    Empty,
    /// Longer than its type may be.
    #[error("a unit of type {0} with {1} bytes is too long")]
    TooLong(u8, usize),
    /// A type this program does not know.
    #[error("a unit of unknown type {0}")]
    Type(u8),
    /// Not the canonical CBOR of its type.
    #[error("the unit is malformed: {0}")]
    Wire(#[from] WireError),
    /// Another version of the protocol.
    #[error("version {0} of the protocol")]
    Version(u8),
    /// A field has a value that it cannot have.
    #[error("the field {0} has an impossible value")]
    Field(&'static str),
}

impl Hello {
    /// Bytes of the longest chunk that both ends take.
    pub fn chunk_max(&self) -> usize {
        1_usize.checked_shl(u32::from(self.chunk_log2)).unwrap_or(CHUNK_MAX).min(CHUNK_MAX)
    }
}
