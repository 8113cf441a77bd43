//! What is durable of one job: enough to go on after any crash.

use postrider_base::{BundleId, NodeId, packet::Handle, wire};
use serde_bytes::ByteBuf;

/// Versions of the record.
const VERSION: u8 = 1;
/// At most so many agree to one job.
pub(super) const APPROVALS_MAX: usize = 32;

/// What is durable of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// How far it is.
    pub phase: Phase,
    /// Who takes it back, and whether its command is to be ended.
    pub cancel: Option<(NodeId, bool)>,
    /// To what was agreed, and by whom.
    pub agreed: Option<([u8; 32], Vec<NodeId>)>,
    /// Somebody here let it go on.
    pub released: bool,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not come; somebody took it back beforehand.
    Awaited {
        /// The custody clock then.
        since_ms: u64,
    },
    /// It came, and certainly never ran.
    Waiting,
    /// It may have been run: its folder knows.
    Starting {
        /// Which run of it, from 0.
        attempt: u8,
        /// How often it may be run again.
        reruns: u8,
    },
    /// It was answered.
    Answered {
        /// Whether its command ended with status 0.
        well: bool,
        /// The custody clock then.
        at_ms: u64,
    },
}

type RecordWire =
    (u8, u8, u64, u64, Option<(ByteBuf, bool)>, Option<(ByteBuf, Vec<ByteBuf>)>, bool);

impl Record {
    /// Of a job that just came.
    pub fn new() -> Self {
        Self { phase: Phase::Waiting, cancel: None, agreed: None, released: false }
    }

    /// Of a job that just came, of which this was recorded before: somebody may have taken it back, and
    /// whoever that was counts only if it is the issuer.
    pub fn arrived(before: Option<Self>, issuer: &NodeId) -> Self {
        let early = before.filter(|before| matches!(before.phase, Phase::Awaited { .. }));
        let cancel = early.and_then(|early| early.cancel).filter(|(by, _)| by == issuer);
        Self { cancel, ..Self::new() }
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, a, b) = match self.phase {
            Phase::Awaited { since_ms } => (0, since_ms, 0),
            Phase::Waiting => (1, 0, 0),
            Phase::Starting { attempt, reruns } => (2, u64::from(attempt), u64::from(reruns)),
            Phase::Answered { well, at_ms } => (3, u64::from(well), at_ms),
        };
        let node = |node: &NodeId| ByteBuf::from(*node.as_bytes());
        let cancel = self.cancel.as_ref().map(|(by, force)| (node(by), *force));
        let agreed = self
            .agreed
            .as_ref()
            .map(|(what, by)| (ByteBuf::from(*what), by.iter().map(node).collect()));
        wire::encode::<RecordWire>(&(VERSION, kind, a, b, cancel, agreed, self.released))
    }

    /// From bytes; nothing where they are of a version that this program does not know.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, kind, a, b, cancel, agreed, released): RecordWire =
            wire::decode(bytes).ok()?;
        let node = |bytes: &ByteBuf| NodeId::from_bytes(bytes).ok();
        let phase = match (version, kind) {
            (VERSION, 0) => Phase::Awaited { since_ms: a },
            (VERSION, 1) => Phase::Waiting,
            (VERSION, 2) => {
                Phase::Starting { attempt: a.try_into().ok()?, reruns: b.try_into().ok()? }
            }
            (VERSION, 3) => Phase::Answered { well: a == 1, at_ms: b },
            _ => return None,
        };
        let cancel = match cancel {
            Some((by, force)) => Some((node(&by)?, force)),
            None => None,
        };
        let agreed = match agreed {
            Some((what, by)) => {
                let by: Option<Vec<NodeId>> = by.iter().map(node).collect();
                Some((what.as_slice().try_into().ok()?, by?))
            }
            None => None,
        };
        Some(Self { phase, cancel, agreed, released })
    }

    /// Notes that somebody agrees to this; whether that is news.
    pub(super) fn agree(&mut self, by: NodeId, to: [u8; 32]) -> bool {
        let (what, all) = self.agreed.get_or_insert((to, Vec::new()));
        if *what != to {
            // The command is another now: what was agreed to before counts for nothing.
            (*what, *all) = (to, Vec::new());
        }
        let news = !all.contains(&by) && all.len() < APPROVALS_MAX;
        if news {
            all.push(by);
        }
        news
    }
}

impl Default for Record {
    fn default() -> Self {
        Self::new()
    }
}

/// Of the jobs of one issuer with one key the newest counts.
pub(super) type Key = (NodeId, Handle);

/// Which job that is, and its place among the issuer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newest {
    pub job: BundleId,
    pub epoch: u32,
    pub counter: u64,
}

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;

    use super::*;

    #[test]
    fn a_record_reads_back_as_it_was() {
        let node = |n: u8| NodeSecret::from_seed([n; 32]).id();
        for phase in [
            Phase::Awaited { since_ms: 7 },
            Phase::Waiting,
            Phase::Starting { attempt: 2, reruns: 3 },
            Phase::Answered { well: true, at_ms: u64::MAX },
            Phase::Answered { well: false, at_ms: 0 },
        ] {
            let mut record = Record { phase, ..Record::new() };
            assert_eq!(Record::decode(&record.encode()), Some(record.clone()));
            record.cancel = Some((node(1), true));
            assert!(record.agree(node(2), [1; 32]) && record.agree(node(3), [1; 32]));
            assert!(!record.agree(node(2), [1; 32]));
            assert_eq!(Record::decode(&record.encode()), Some(record.clone()));
            let bytes = record.encode();
            assert!((0..bytes.len()).all(|end| Record::decode(&bytes[..end]).is_none()));
            assert!(record.agree(node(2), [2; 32]));
            assert_eq!(record.agreed, Some(([2; 32], vec![node(2)])));
        }
    }
}
