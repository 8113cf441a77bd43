//! Routing: which neighbour may have a bundle, and what becomes of one that arrives.
//!
//! The trait is all that the rest of the engine knows of routing. [`Flood`] is the first behind it.

mod direct;
mod flood;

use std::fmt;

use postrider_base::{Header, NodeId, bundle::Hop};

use crate::node::{Class, Custody, LinkPolicy, Now, People, Reason, Row};

pub use direct::Direct;
pub use flood::Flood;

/// Decides roads. It sees rows and headers, never bytes, and keeps no bundle.
pub trait Router: fmt::Debug + Send {
    /// Contacts, blocked nodes and routes are now these.
    fn set_people(&mut self, people: People);

    /// A proven neighbour came (or went).
    fn on_contact(&mut self, now: Now, neighbour: NodeId, contact: Contact);

    /// Whether nothing at all is exchanged with this node.
    fn is_blocked(&self, node: &NodeId) -> bool;

    /// Whether a neighbour may be offered a bundle, and why or why not. Also what `why` shows.
    fn eligible(&self, now: Now, to: &Neighbour<'_>, row: &Row) -> Result<Road, NoRoad>;

    /// What becomes of a bundle whose head has been verified; `hop` as admitted here.
    fn place(&self, header: &Header, hop: Hop, from: &Neighbour<'_>) -> Placement;
}

/// The other end of a link, as routing sees it.
#[derive(Clone, Copy, Debug)]
pub struct Neighbour<'a> {
    /// Who it is, where that is proven.
    pub node: Option<NodeId>,
    /// What is allowed on the link.
    pub policy: &'a LinkPolicy,
}

/// A neighbour came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// A link to it is up, the first.
    Began,
    /// Its last link is gone.
    Ended,
}

/// Why a bundle goes to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    /// It is for it.
    Direct,
    /// It is the way to whom it is for, so the owner says.
    Via,
    /// Everybody who lacks it may have it.
    Flood,
}

/// Why a bundle does not go to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoad {
    /// The neighbour wrote it.
    Source,
    /// The neighbour brought it.
    Brought,
    /// It is for this node.
    Arrived,
    /// It has passed too many nodes to be flooded further.
    Hops,
    /// The neighbour is neither whom it is for nor the way there, and no other carries it.
    Stranger,
    /// The link carries nothing that nice.
    Nice,
    /// The link carries nothing that long.
    Size,
    /// The link carries nothing for third nodes.
    Transit,
    /// Somebody involved is blocked.
    Blocked,
    /// Its lifetime has ended.
    Expired,
}

/// What becomes of a bundle that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// It is kept, so, and counts against this class.
    Keep(Custody, Class, Option<NodeId>),
    /// It is not kept.
    Refuse(Reason),
}
