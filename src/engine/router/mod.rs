//! Routing: which neighbour may have a bundle, and what becomes of one that arrives.
//!
//! The trait is all that the rest of the engine knows of routing. Behind it stand schemes that build
//! on one another: [`Flood`] knows who may have what at all, [`Spray`] adds tokens, [`Delegation`]
//! adds meetings and is what a node does; [`Prophet`] is there to compare.

mod delegation;
mod flood;
mod level;
mod meetings;
mod outlook;
mod prophet;
mod renewal;
mod spray;

use std::fmt;

use postrider_base::{Header, NodeId, bundle::Hop};

use crate::node::{Class, Custody, LinkPolicy, Now, People, Reason, Row};

pub use delegation::{Delegation, Tells};
pub use flood::Flood;
pub use level::{NodeHint, hint, hint_of};
pub use meetings::{MEETS_MAX, Meeting, WORTH_UNKNOWN};
pub use outlook::{Holder, Outlook};
pub use prophet::Prophet;
pub use renewal::{due_again, next_part_s};
pub use spray::Spray;

pub(crate) use meetings::DISTINCT_MS;

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

    /// Of so many tokens of a bundle of this niceness, how many go along with a copy to a neighbour
    /// over [`Road::Spray`] or [`Road::Via`]. One stays in any case.
    fn share(&self, to: &Neighbour<'_>, road: Road, nice: u8, tokens: u8) -> u8 {
        let _ = (to, road, nice, tokens);
        0
    }

    /// Whether a bundle without a road has tokens to spare, but not for a link of this kind: over
    /// another one the same neighbour may have it.
    fn holds_back(&self, now: Now, to: &Neighbour<'_>, row: &Row) -> bool {
        let _ = (now, to, row);
        false
    }

    /// This node carries nearly all that it has room for, or no longer: whether that is news.
    fn set_pressed(&mut self, pressed: bool) -> bool {
        let _ = pressed;
        false
    }

    /// How near this node is to whom, for this neighbour to know; at most [`MEETS_MAX`], or nothing.
    fn tell(&mut self, now: Now, to: &Neighbour<'_>) -> Vec<(NodeHint, u8)> {
        let _ = (now, to);
        Vec::new()
    }

    /// A proven neighbour says how near it is to whom.
    fn told(&mut self, now: Now, neighbour: NodeId, list: Vec<(NodeHint, u8)>) {
        let _ = (now, neighbour, list);
    }

    /// To whom a neighbour is nearer than this node: it may have what waits here for them, although
    /// its cursor has passed it.
    fn nearer(&self, now: Now, to: &Neighbour<'_>) -> Vec<NodeHint> {
        let _ = (now, to);
        Vec::new()
    }

    /// How near this node is to whom a row is for, as a level: for people who ask, and
    /// what it is worth to carry it here. `None` where nobody
    /// is named, or meetings are not counted.
    fn near(&self, now: Now, row: &Row) -> Option<u8> {
        let _ = (now, row);
        None
    }

    /// Meetings that have changed since this was asked last, to be remembered.
    fn changed(&mut self) -> Vec<(NodeId, Meeting)> {
        Vec::new()
    }

    /// What is believed of a bundle's hop data, as admitted here; its age may grow by it.
    fn believed(&self, header: &Header, hop: Hop, from: &Neighbour<'_>) -> Hop {
        let _ = (header, from);
        hop
    }

    /// What becomes of a bundle whose head has been verified; `hop` as believed here.
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
    /// A copy goes, without tokens: on this link it costs nothing.
    Free,
    /// A copy goes, with some of the tokens.
    Spray,
    /// A copy goes, without tokens: the neighbour is nearer to whom it is for, so much.
    Delegate(u8),
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
    /// The neighbour is neither whom it is for nor the way there, there are no tokens to spare, and it
    /// is no nearer than somebody who has a copy.
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

#[cfg(test)]
pub(crate) mod tests {
    use postrider_base::BundleId;

    use super::*;
    use crate::node::Destination;

    /// A stranger's small bundle for somebody.
    pub(crate) fn row(to: &NodeId, from: Option<NodeId>) -> Row {
        Row {
            id: BundleId([9; 32]),
            destination: Destination::Node(*to.as_bytes()),
            tagged_for: None,
            source: None,
            nice: 160,
            lifetime_s: 1000,
            length: 100,
            hop: Hop::fresh(),
            class: Class::Stranger,
            from: from.map(|node| *node.as_bytes()),
            arrived_held_ms: 0,
            arrival: 1,
        }
    }
}
