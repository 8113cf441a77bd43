//! The part of the contract that says how things end: links, offers, bundles; and what is told of it.

use postrider_base::{BundleId, NodeId};

use super::contract::{Custody, LinkId, ShortId};

/// Why the engine closed a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The peer sent what is not the protocol.
    Protocol(Violation),
    /// The peer halted it, with its number of a reason.
    Halted {
        /// As the peer says.
        reason: u8,
        /// When it wants to be called again.
        retry_after_s: u32,
    },
    /// Nothing came in answer to pings.
    Silent,
    /// The peer does not read what it asks for.
    Stuck,
    /// The peer is this node itself: it has dialled an address of its own.
    Myself,
    /// The peer is another node with this node's key.
    Duplicate,
    /// The peer is blocked.
    Blocked,
    /// The shell's disk does not answer.
    Disk,
    /// All places for links are taken.
    Crowded,
}

/// What a peer did that no honest one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A unit that does not decode.
    Malformed,
    /// A unit before Hello, or a second Hello.
    Order,
    /// Another version of the protocol.
    Version,
    /// More open offers, wants or bytes than allowed.
    Limit,
    /// A handle that means nothing.
    Handle,
    /// Too many forged or damaged bundles.
    Forged,
}

/// For logs, status and explanations.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The peer's Hello came.
    Greeted {
        /// Which link.
        link: LinkId,
        /// Its proven peer.
        peer: Option<NodeId>,
    },
    /// The peer answered a ping.
    Answered {
        /// Which link.
        link: LinkId,
        /// Of which ping, so it says.
        nonce: u64,
    },
    /// Everything that this peer may have has been offered and answered.
    CaughtUp {
        /// Which link.
        link: LinkId,
    },
    /// A bundle from outside is durable.
    Received {
        /// Which link brought it; it may be gone by now.
        link: LinkId,
        /// Which.
        id: BundleId,
        /// Bytes of its body.
        length: u64,
        /// What is done with it.
        custody: Custody,
    },
    /// A peer settled a bundle that was sent to it.
    Settled {
        /// Which link.
        link: LinkId,
        /// Which.
        id: BundleId,
        /// How.
        verdict: Verdict,
    },
    /// A bundle or an offer from this link was not taken.
    Declined {
        /// Which link.
        link: LinkId,
        /// Which.
        id: ShortId,
        /// How it was settled.
        verdict: Verdict,
    },
    /// A transfer was continued where another link left it.
    Resumed {
        /// Which link.
        link: LinkId,
        /// Which.
        id: ShortId,
        /// At which byte.
        at: u64,
    },
}

/// How an offer or a bundle was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is durable here.
    Kept,
    /// It was here before.
    Known,
    /// It will never be taken.
    Refused(Reason),
    /// Not now; worth another try after so many seconds.
    Later(u32),
    /// The bytes do not fit the head, or the head not the offer.
    Damaged,
    /// The author's signature does not hold.
    Forged,
}

/// Why a bundle is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not said, or not known to this program.
    Other,
    /// Nicer than this link carries.
    Nice,
    /// Larger than this link or node takes.
    Size,
    /// This node does not carry for strangers.
    Transit,
    /// Source, destination or neighbour is blocked.
    Blocked,
    /// It has passed too many nodes.
    Hops,
    /// Its lifetime has ended.
    Expired,
}
