//! The other end of one link, and the way to it.

use postrider_base::{Head, NodeId, bundle::SealKind};

use super::{
    limits::CHUNK_MAX,
    memory::Limits,
    pace::Pace,
    unit::{FEATURE_BRIEF, FEATURE_HAVE, FEATURE_SKETCH, Hello, Unit},
};
use crate::{
    node::{LinkId, LinkPolicy, Row, core::Core},
    router::{Neighbour, NoRoad},
};

/// What both directions of an exchange ask of its link.
#[derive(Debug)]
pub(crate) struct Peer {
    pub link: LinkId,
    /// Who it is, where that is proven.
    pub node: Option<NodeId>,
    /// Nothing but what may have been recorded has come: it is answered, and no more.
    pub proven: bool,
    pub policy: LinkPolicy,
    /// Nothing sealed may go over the link.
    pub clear_only: bool,
    pub pace: Pace,
    /// What it said first.
    pub hello: Option<Hello>,
}

impl Peer {
    /// Sends a unit now, whatever lies in the carriage: for what is small and urgent.
    pub fn send(&mut self, core: &mut Core, unit: &Unit) {
        let bytes = core.send(self.link, unit);
        self.pace.sent(bytes, core.now.mono_ms);
    }

    /// Bytes of a chunk for this peer now.
    pub fn chunk_bytes(&self) -> usize {
        self.pace.chunk_bytes(self.hello.map_or(CHUNK_MAX, |hello| hello.chunk_max()))
    }

    /// Whether the law of the link lets a bundle with this head pass: only the head says whether
    /// the payload is sealed.
    pub fn may_carry(&self, head: &[u8]) -> bool {
        let open = |head: Head| head.header().seal == SealKind::None;
        !self.clear_only || Head::decode(head).is_ok_and(open)
    }

    /// What decides which rows this link does not carry.
    pub fn limits(&self) -> Limits {
        Limits {
            policy: self.policy.clone(),
            clear_only: self.clear_only,
            their_nice_max: self.hello.map_or(0, |hello| hello.nice_max),
        }
    }

    /// Whether it knows how to reconcile by sketches.
    pub fn can_sketch(&self) -> bool {
        self.hello.is_some_and(|hello| hello.features & FEATURE_SKETCH != 0)
    }

    /// Whether it wants to know how much of a body has come.
    pub fn takes_have(&self) -> bool {
        self.hello.is_some_and(|hello| hello.features & FEATURE_HAVE != 0)
    }

    /// Whether small bundles go to it in their radio form: where a second is few bytes, and it takes them.
    pub fn is_brief(&self) -> bool {
        let takes = |hello: Hello| hello.features & FEATURE_BRIEF != 0;
        self.policy.radio && self.node.is_some() && self.hello.is_some_and(takes)
    }

    /// The keys that both ends have.
    pub fn keys(&self, core: &Core) -> Vec<NodeId> {
        self.node.into_iter().chain([core.local.node]).collect()
    }

    /// As the router sees it.
    pub fn neighbour(&self) -> Neighbour<'_> {
        Neighbour { node: self.node, policy: &self.policy }
    }

    /// Whether it may be offered this bundle.
    pub fn may_have(&self, core: &Core, row: &Row) -> May {
        let nice_max = self.hello.map_or(0, |hello| hello.nice_max);
        if nice_max != 0 && row.nice > nice_max {
            return May::NotHere;
        }
        match core.router.eligible(core.now, &self.neighbour(), row) {
            Ok(_) => May::Have,
            Err(NoRoad::Nice | NoRoad::Size | NoRoad::Transit) => May::NotHere,
            Err(NoRoad::Stranger) if core.router.holds_back(core.now, &self.neighbour(), row) => {
                May::NotHere
            }
            Err(_) => May::Never,
        }
    }
}

/// Whether a neighbour may be offered a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum May {
    /// Yes.
    Have,
    /// Not over this link; over another, perhaps. Its cursor must not pass it.
    NotHere,
    /// It has it, or must not have it.
    Never,
}
