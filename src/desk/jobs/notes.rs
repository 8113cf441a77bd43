//! What is remembered of jobs beside the scheduler's records.

use postrider_base::{
    NodeId,
    bundle::Sequence,
    packet::{Fact, Turn, Word},
    wire,
};
use postrider_exec::schedule::contract::Asked;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

const VERSION: u8 = 1;

/// A job for this node, as it came; what matters of one that was answered is here, so that thousands of
/// those cost a start next to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::desk) struct CameNote(
    pub u8,
    /// How old it was, in seconds.
    pub u32,
    /// Its issuer's epoch and number.
    pub u32,
    pub u64,
    /// The custody clock then.
    pub u64,
    /// Its issuer.
    pub ByteBuf,
    /// Whose places it takes.
    pub Option<String>,
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
    pub fn new(issuer: &NodeId, sequence: Sequence, age_s: u32, turn: &Turn, held_ms: u64) -> Self {
        let issuer = ByteBuf::from(*issuer.as_bytes());
        let supersedes = turn.supersedes.as_ref().map(ToString::to_string);
        Self(VERSION, age_s, sequence.epoch, sequence.counter, held_ms, issuer, supersedes)
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        wire::decode(bytes).ok().or_else(|| {
            // As it was written before it had the last two.
            let (version, age_s, epoch, counter, held_ms) = wire::decode(bytes).ok()?;
            Some(Self(version, age_s, epoch, counter, held_ms, ByteBuf::new(), None))
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    pub fn sequence(&self) -> Sequence {
        Sequence { epoch: self.2, counter: self.3 }
    }

    /// What matters of it once it was answered, if the note tells.
    pub fn answered(&self) -> Option<Asked> {
        let supersedes = self.6.as_ref().and_then(|key| key.parse().ok());
        Some(Asked {
            issuer: NodeId::from_bytes(&self.5).ok()?,
            sequence: self.sequence(),
            turn: Turn { supersedes, ..Turn::now(1) },
            arrived_ms: self.4,
            age_s: self.1,
        })
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
