//! What is durable of one job: enough to go on after any crash.

use postrider_base::{BundleId, NodeId, packet::Handle, wire};
use serde_bytes::ByteBuf;

use super::trial::{OnTrial, Stage, Trial};

/// Versions of the record: without a trial, and with one.
const VERSION: u8 = 1;
const WITH_TRIAL: u8 = 2;
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
    /// What its command changes is on trial.
    pub trial: Option<Trial>,
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
/// Seconds, starts, whether something restarts; stage, since when, starts, guarded, why.
type TrialWire = (u32, u8, bool, u8, u64, u8, bool, String);

impl Record {
    /// Of a job that just came.
    pub fn new() -> Self {
        Self { phase: Phase::Waiting, cancel: None, agreed: None, released: false, trial: None }
    }

    /// Where there is one that cannot be read: of a newer program, or damaged. Its job may have run.
    pub fn unread() -> Self {
        Self { phase: Phase::Starting { attempt: 0, reruns: 0 }, ..Self::new() }
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
        let version = if self.trial.is_some() { WITH_TRIAL } else { VERSION };
        let record: RecordWire = (version, kind, a, b, cancel, agreed, self.released);
        match &self.trial {
            None => wire::encode(&record),
            Some(trial) => wire::encode(&(record, trial.to_wire())),
        }
    }

    /// From bytes; nothing where they are of a version that this program does not know.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (record, trial): (RecordWire, Option<TrialWire>) = match wire::decode(bytes) {
            Ok(record) => (record, None),
            Err(_) => wire::decode(bytes).map(|(record, trial)| (record, Some(trial))).ok()?,
        };
        let (version, kind, a, b, cancel, agreed, released) = record;
        let trial = match (version, trial) {
            (VERSION, None) => None,
            (WITH_TRIAL, Some(trial)) => Some(Trial::from_wire(trial)?),
            _ => return None,
        };
        let node = |bytes: &ByteBuf| NodeId::from_bytes(bytes).ok();
        let phase = match kind {
            0 => Phase::Awaited { since_ms: a },
            1 => Phase::Waiting,
            2 => Phase::Starting { attempt: a.try_into().ok()?, reruns: b.try_into().ok()? },
            3 => Phase::Answered { well: a == 1, at_ms: b },
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
        Some(Self { phase, cancel, agreed, released, trial })
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

impl Trial {
    fn to_wire(&self) -> TrialWire {
        let OnTrial { within_s, starts, restarts } = self.terms;
        let stage = Stage::ALL.iter().position(|stage| *stage == self.stage).unwrap_or_default();
        let stage = u8::try_from(stage).unwrap_or_default();
        let why = self.why.clone();
        (within_s, starts, restarts, stage, self.since_ms, self.starts, self.guarded, why)
    }

    fn from_wire(wire: TrialWire) -> Option<Self> {
        let (within_s, most, restarts, stage, since_ms, starts, guarded, why) = wire;
        let stage = *Stage::ALL.get(usize::from(stage))?;
        let terms = OnTrial { within_s, starts: most, restarts };
        Some(Self { terms, stage, since_ms, starts, guarded, why })
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
            let terms = OnTrial { within_s: 600, starts: 3, restarts: true };
            let mut trial = Trial { starts: 2, since_ms: 9, ..Trial::new(terms) };
            trial.fails("why not");
            record.trial = Some(trial);
            assert_eq!(Record::decode(&record.encode()), Some(record.clone()));
            record.trial = None;
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
