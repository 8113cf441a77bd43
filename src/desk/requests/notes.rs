//! What is remembered of requests.

use postrider_base::{BundleId, Lifetime, Niceness, NodeId, packet::Request, wire};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

const VERSION: u8 = 1;

/// A request of somebody else that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::desk) struct CameNote(
    pub u8,
    /// The packet's body.
    pub ByteBuf,
    /// The custody clock when it came.
    pub u64,
);

/// A request of mine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::desk) struct AskedNote(
    pub u8,
    /// Whom.
    pub ByteBuf,
    /// The packet's body.
    pub ByteBuf,
    /// The first of those that were asked the same in one go, with whoever is asked.
    pub Option<ByteBuf>,
    /// The custody clock when it was saved.
    pub u64,
);

/// Sources that are to be asked when those before them do not send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::desk) struct SourcesNote(
    pub u8,
    /// Whom, the next first.
    pub Vec<ByteBuf>,
    /// For how long nothing may come before the next is asked, in ms.
    pub u64,
    /// Niceness and lifetime of the requests, where they are not the usual.
    pub Option<u8>,
    pub Option<u32>,
    /// What had come when something came last.
    pub u64,
    /// The custody clock then.
    pub u64,
);

/// What came of a request of mine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::desk) struct AnswerNote(
    pub u8,
    /// The message that has the files.
    pub Option<ByteBuf>,
    /// Or the body of the packet that says something else.
    pub Option<ByteBuf>,
    /// The custody clock when it came.
    pub u64,
);

/// What somebody got lately: a measure that runs empty within a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SpentNote(
    pub u8,
    /// How full it was, in bytes.
    pub u64,
    /// The custody clock then.
    pub u64,
);

/// Under what a request of somebody is kept.
pub(in crate::desk) fn key(author: &NodeId, id: &BundleId) -> Vec<u8> {
    [&author.as_bytes()[..], &id.0].concat()
}

/// Who, and which.
pub(super) fn parts(key: &[u8]) -> Option<(NodeId, BundleId)> {
    let (author, id) = key.split_at_checked(32)?;
    Some((NodeId::from_bytes(author).ok()?, BundleId(id.try_into().ok()?)))
}

impl CameNote {
    pub fn new(request: &Request, held_ms: u64) -> Self {
        Self(VERSION, ByteBuf::from(request.encode()), held_ms)
    }

    pub fn read(bytes: &[u8]) -> Option<(Request, u64)> {
        let Self(_, request, held_ms) = wire::decode(bytes).ok()?;
        Some((Request::decode(&request).ok()?, held_ms))
    }

    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }
}

impl AskedNote {
    pub fn new(to: &NodeId, request: &Request, first: Option<BundleId>, held_ms: u64) -> Self {
        let to = ByteBuf::from(*to.as_bytes());
        let first = first.map(|first| ByteBuf::from(first.0));
        Self(VERSION, to, ByteBuf::from(request.encode()), first, held_ms)
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        wire::decode(bytes).ok()
    }

    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    pub fn to(&self) -> Option<NodeId> {
        NodeId::from_bytes(&self.1).ok()
    }

    pub fn request(&self) -> Option<Request> {
        Request::decode(&self.2).ok()
    }

    /// What those have in common that were asked in one go.
    pub fn first(&self) -> Option<BundleId> {
        Some(BundleId(self.3.as_ref()?.as_slice().try_into().ok()?))
    }
}

impl SourcesNote {
    pub fn new(
        nodes: &[NodeId],
        patience_ms: u64,
        nice: Option<Niceness>,
        lifetime: Option<Lifetime>,
        held_ms: u64,
    ) -> Self {
        let nodes = nodes.iter().map(|node| ByteBuf::from(*node.as_bytes())).collect();
        let (nice, lifetime) = (nice.map(Niceness::value), lifetime.map(Lifetime::seconds));
        Self(VERSION, nodes, patience_ms, nice, lifetime, 0, held_ms)
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        wire::decode(bytes).ok()
    }

    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    pub fn nodes(&self) -> Vec<NodeId> {
        self.1.iter().filter_map(|node| NodeId::from_bytes(node).ok()).collect()
    }
}

impl AnswerNote {
    pub fn files(message: &BundleId, held_ms: u64) -> Self {
        Self(VERSION, Some(ByteBuf::from(message.0)), None, held_ms)
    }

    pub fn said(answer: &Request, held_ms: u64) -> Self {
        Self(VERSION, None, Some(ByteBuf::from(answer.encode())), held_ms)
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        wire::decode(bytes).ok()
    }

    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    pub fn message(&self) -> Option<BundleId> {
        Some(BundleId(self.1.as_ref()?.as_slice().try_into().ok()?))
    }

    pub fn answer(&self) -> Option<Request> {
        Request::decode(self.2.as_ref()?).ok()
    }
}

impl SpentNote {
    pub fn new(level: u64, held_ms: u64) -> Self {
        Self(VERSION, level, held_ms)
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        wire::decode(bytes).ok()
    }

    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }
}
