//! The other end of one link, and the way to it.

use postrider_base::NodeId;

use super::{
    limits::CHUNK_MAX,
    pace::Pace,
    unit::{Hello, Unit},
};
use crate::{
    node::{LinkId, LinkPolicy, Row, core::Core},
    router::Neighbour,
};

/// What both directions of an exchange ask of its link.
#[derive(Debug)]
pub(crate) struct Peer {
    pub link: LinkId,
    /// Who it is, where that is proven.
    pub node: Option<NodeId>,
    pub policy: LinkPolicy,
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

    /// As the router sees it.
    pub fn neighbour(&self) -> Neighbour<'_> {
        Neighbour { node: self.node, policy: &self.policy }
    }

    /// Whether it may be offered this bundle.
    pub fn may_have(&self, core: &Core, row: &Row) -> bool {
        let nice_max = self.hello.map_or(0, |hello| hello.nice_max);
        (nice_max == 0 || row.nice <= nice_max)
            && core.router.eligible(core.now, &self.neighbour(), row).is_ok()
    }
}
