//! What is remembered of jobs beside the scheduler's records.

use postrider_base::{
    NodeId,
    bundle::Sequence,
    packet::{Fact, Word},
    wire,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

const VERSION: u8 = 1;

/// A job for this node, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::desk) struct CameNote(
    pub u8,
    /// How old it was, in seconds.
    pub u32,
    /// Its issuer's epoch and number.
    pub u32,
    pub u64,
    /// The custody clock then.
    pub u64,
);

/// A word about a job, by whom, and when it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::desk) struct WordNote(pub u8, pub ByteBuf, pub ByteBuf, pub u64);

/// A job that this node asked another to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::desk) struct IssuedNote(
    pub u8,
    /// Whom.
    pub ByteBuf,
    /// By which handle.
    pub String,
    /// In which queue.
    pub Option<String>,
    /// The custody clock when it was saved.
    pub u64,
);

/// How a job of mine stands, as its target said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::desk) struct FactNote(
    pub u8,
    /// What: held, admitted, started.
    pub String,
    /// Since how many seconds when it said so.
    pub u64,
    /// Why.
    pub Option<String>,
    /// The custody clock when that came.
    pub u64,
);

impl CameNote {
    pub fn new(age_s: u32, sequence: Sequence, held_ms: u64) -> Self {
        Self(VERSION, age_s, sequence.epoch, sequence.counter, held_ms)
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        wire::decode(bytes).ok()
    }

    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    pub fn sequence(&self) -> Sequence {
        Sequence { epoch: self.2, counter: self.3 }
    }
}

impl WordNote {
    pub fn new(author: &NodeId, word: &Word, held_ms: u64) -> Self {
        let author = ByteBuf::from(*author.as_bytes());
        Self(VERSION, author, ByteBuf::from(word.encode()), held_ms)
    }

    pub fn read(bytes: &[u8]) -> Option<(NodeId, Word, u64)> {
        let Self(_, author, word, held_ms) = wire::decode(bytes).ok()?;
        Some((NodeId::from_bytes(&author).ok()?, Word::decode(&word).ok()?, held_ms))
    }

    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }
}

impl IssuedNote {
    pub fn new(to: &NodeId, handle: &str, queue: Option<&str>, held_ms: u64) -> Self {
        let to = ByteBuf::from(*to.as_bytes());
        Self(VERSION, to, handle.into(), queue.map(Into::into), held_ms)
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
}

impl FactNote {
    pub fn new(fact: Fact, age_s: u64, why: Option<&str>, held_ms: u64) -> Self {
        let fact = match fact {
            Fact::Held => "held",
            Fact::Admitted => "admitted",
            Fact::Started => "running",
        };
        Self(VERSION, fact.into(), age_s, why.map(Into::into), held_ms)
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        wire::decode(bytes).ok()
    }

    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }
}
