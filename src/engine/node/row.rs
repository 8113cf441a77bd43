//! A bundle as the engine sees it: a row of the spool, without its bytes.

use std::fmt;

use postrider_base::{BundleId, bundle::Hop};

/// The destination of a bundle in the spool. Its bytes were checked when it was admitted, so they
/// are not checked again: a curve point costs 10 µs, and there are pages of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// 8 bytes that only the recipient and holders of its card resolve.
    Tag([u8; 8]),
    /// A group.
    Group([u8; 16]),
    /// A node's key.
    Node([u8; 32]),
}

/// Whose quota a bundle counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// To or from this node.
    Own,
    /// To or from a contact.
    Contact,
    /// To or from a friend of a contact.
    Friend,
    /// Carried blind.
    Stranger,
}

impl Class {
    /// Every class, best first.
    pub const ALL: [Self; 4] = [Self::Own, Self::Contact, Self::Friend, Self::Stranger];
}

/// A live bundle of the spool, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: BundleId,
    /// For whom, as its header says.
    pub destination: Destination,
    /// Whom a tag resolves to, where the shell knows.
    pub tagged_for: Option<[u8; 32]>,
    /// By whom, where the header says.
    pub source: Option<[u8; 32]>,
    /// 1-255, lower goes first.
    pub nice: u8,
    /// Seconds it may live.
    pub lifetime_s: u32,
    /// Bytes of its body.
    pub length: u64,
    /// Hop data; the age is the one at arrival.
    pub hop: Hop,
    /// Whose quota.
    pub class: Class,
    /// Which neighbour brought it.
    pub from: Option<[u8; 32]>,
    /// The custody clock at its arrival.
    pub arrived_held_ms: u64,
    /// Rises with every admission; what [`Seen::bundles`](super::Seen::bundles) counts.
    pub arrival: u64,
}

impl Row {
    /// Its age in seconds when the custody clock shows `held_ms`.
    pub fn age_s(&self, held_ms: u64) -> u64 {
        u64::from(self.hop.age_s) + held_ms.saturating_sub(self.arrived_held_ms) / 1000
    }

    /// Whether its lifetime has ended by then.
    pub fn expired(&self, held_ms: u64) -> bool {
        self.age_s(held_ms) >= u64::from(self.lifetime_s)
    }

    /// Whom it is for, where that is one node and known here.
    pub fn recipient(&self) -> Option<[u8; 32]> {
        match self.destination {
            Destination::Node(node) => Some(node),
            Destination::Group(_) => None,
            Destination::Tag(_) => self.tagged_for,
        }
    }

    /// What offers name it by.
    pub fn short(&self) -> ShortId {
        ShortId::of(&self.id)
    }
}

/// A place in a class's queue: by niceness, then arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Niceness.
    pub nice: u8,
    /// Order of admission.
    pub arrival: u64,
}

/// The first 16 bytes of a bundle's id: what offers name it by. A second preimage of these is out
/// of reach, and the whole id is computed from the head before anything is kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId(pub [u8; 16]);

impl ShortId {
    /// Of a bundle's id.
    pub fn of(id: &BundleId) -> Self {
        let mut short = [0; 16];
        short.copy_from_slice(&id.0[..16]);
        Self(short)
    }
}

impl fmt::Debug for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
