//! What hooks are to run for: mail of contacts, and results of jobs of mine, in the order of their turn.
//!
//! A note of each becomes durable in one group with what it is about. `run` has the rest: the folder of a
//! run, and what that proves.

#[cfg(target_os = "linux")]
mod run;

use postrider_base::{BundleId, Niceness};
use postrider_spool::Change;

#[cfg(target_os = "linux")]
pub use self::run::{Became, Begun, Hooks};
use super::ledger::{set_note, space};

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Message = b'm',
    Job = b'j',
}

/// Something that a hook is to run for. In the order of keys what cannot wait for the end of quiet hours
/// comes first, and then what came first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    key: Vec<u8>,
}

/// Its key: whether it may wait, the custody clock, what came, its id.
const MAY_WAIT: u8 = 1;
const CANNOT_WAIT: u8 = 0;
const KEY_BYTES: usize = 1 + 8 + 1 + 32;

/// The change that has a hook run for a message.
pub(super) fn for_message(message: &BundleId, nice: Niceness, held_ms: u64) -> Change {
    let class = if nice <= Niceness::FLASH { CANNOT_WAIT } else { MAY_WAIT };
    let key = key(class, held_ms, Kind::Message, message);
    set_note(space::TO_HOOK, &key, vec![nice.value()])
}

/// The change that has one run for the result of a job of mine. Whoever asked for it waits for it.
pub(super) fn for_job(job: &BundleId, held_ms: u64) -> Change {
    set_note(space::TO_HOOK, &key(CANNOT_WAIT, held_ms, Kind::Job, job), Vec::new())
}

fn key(class: u8, held_ms: u64, kind: Kind, id: &BundleId) -> Vec<u8> {
    [&[class][..], &held_ms.to_be_bytes(), &[kind as u8], &id.0].concat()
}

impl Due {
    fn of(key: Vec<u8>) -> Option<Self> {
        let sound = key.len() == KEY_BYTES && matches!(key[9], b'm' | b'j');
        sound.then_some(Self { key })
    }

    /// Whether it is no call for help, and nothing that this node asked for.
    pub fn may_wait(&self) -> bool {
        self.key[0] == MAY_WAIT
    }

    fn held_ms(&self) -> u64 {
        self.key[1..9].iter().fold(0, |ms, byte| ms << 8 | u64::from(*byte))
    }

    fn kind(&self) -> Kind {
        if self.key[9] == Kind::Job as u8 { Kind::Job } else { Kind::Message }
    }

    /// Which of the two commands runs for it.
    pub fn number(&self) -> usize {
        usize::from(self.kind() == Kind::Job)
    }

    /// Which message or job.
    pub fn id(&self) -> BundleId {
        BundleId(self.key[10..].try_into().unwrap_or_default())
    }

    /// What its run is called, and its user follows from.
    fn run(&self) -> [u8; 32] {
        *blake3::hash(&self.key).as_bytes()
    }

    /// What it is for, for a person.
    pub fn what(&self) -> String {
        let (hook, what) = match self.kind() {
            Kind::Message => ("on-message", "message"),
            Kind::Job => ("on-job", "job"),
        };
        format!("the hook {hook} for the {what} {}", &self.id().to_string()[..8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_for_help_come_first_and_then_what_came_first() {
        let id = |n| BundleId([n; 32]);
        let key = |change| match change {
            Change::Note { key, .. } => Due::of(key).unwrap(),
            other => panic!("{other:?}"),
        };
        let late = key(for_message(&id(1), Niceness::NORMAL, 900));
        let early = key(for_message(&id(2), Niceness::PRIORITY, 30));
        let help = key(for_message(&id(3), Niceness::FLASH, 1 << 40));
        let job = key(for_job(&id(4), 1 << 41));
        let mut all = vec![late.clone(), job.clone(), early.clone(), help.clone()];
        all.sort();
        assert_eq!(all, [help.clone(), job.clone(), early.clone(), late.clone()]);
        assert_eq!((help.may_wait(), job.may_wait(), early.may_wait()), (false, false, true));
        assert_eq!((help.held_ms(), help.id(), job.kind()), (1 << 40, id(3), Kind::Job));
        assert_ne!(help.run(), job.run());
        assert!(Due::of(vec![0; KEY_BYTES]).is_none() && Due::of(Vec::new()).is_none());
    }
}
