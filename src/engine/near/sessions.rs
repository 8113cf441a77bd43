//! The links that are up over Bluetooth.

use std::collections::BTreeMap;

use postrider_base::NodeId;

use super::{
    contract::{AdapterId, Came, Place},
    limits::{CALLER_MS, HOLD_MS, IDLE_MS, IDLE_WANTED_MS, SLICE_MS},
};
use crate::node::LinkId;

/// One link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    pub adapter: AdapterId,
    pub from: Place,
    pub came: Came,
    /// Who was dialled.
    pub expect: Option<NodeId>,
    /// Who has proven to be at the other end.
    pub node: Option<NodeId>,
    pub up_ms: u64,
    pub moved_ms: u64,
}

impl Session {
    /// Who is there, or should be.
    pub fn with(&self) -> Option<NodeId> {
        self.node.or(self.expect)
    }

    /// Whether it holds a place that is kept: all do but those who came and have proven nobody.
    pub fn is_kept(&self) -> bool {
        self.with().is_some()
    }

    /// When it has nothing more to say, so that it may give its place; never before it had its time.
    pub fn idle_ms(&self, wanted: bool) -> u64 {
        let idle_ms = if wanted { IDLE_WANTED_MS } else { IDLE_MS };
        (self.up_ms + HOLD_MS).max(self.moved_ms + idle_ms)
    }

    /// When its time is over, whatever it has to say.
    pub fn over_ms(&self) -> u64 {
        self.up_ms + SLICE_MS
    }

    /// Where it was dialled, if it was.
    pub fn dialled(&self) -> Option<(AdapterId, Place)> {
        (self.came == Came::Dialled).then_some((self.adapter, self.from))
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Sessions(pub BTreeMap<LinkId, Session>);

impl Sessions {
    /// Whether there is a link to this node, or one that should become one.
    pub fn reach(&self, node: &NodeId) -> bool {
        self.0.values().any(|session| session.with().as_ref() == Some(node))
    }

    /// Whether there is a link that proved this node.
    pub fn proven(&self, node: &NodeId) -> bool {
        self.0.values().any(|session| session.node.as_ref() == Some(node))
    }

    pub fn on(&self, adapter: AdapterId) -> impl Iterator<Item = (&LinkId, &Session)> {
        self.0.iter().filter(move |(_, session)| session.adapter == adapter)
    }

    /// Whether it is known already who has connected: a link has come up that was dialled, or that proved
    /// somebody.
    pub fn came_lately(&self, now_ms: u64, adapter: AdapterId) -> bool {
        self.on(adapter).any(|(_, session)| session.is_kept() && now_ms < session.up_ms + CALLER_MS)
    }

    /// Links on an adapter whose places are kept.
    pub fn kept(&self, adapter: AdapterId) -> usize {
        self.on(adapter).filter(|(_, session)| session.is_kept()).count()
    }
}
