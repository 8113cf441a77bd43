//! Alarms: what a person must look at, and what no restart makes unseen.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use postrider_base::wire;
use postrider_spool::{DurableSpool, Spool};
use serde::{Deserialize, Serialize};

use super::{
    Desk, Failure, Watch, clock,
    inbox::note_keys,
    ledger::{remove_note, set_note, space},
    reply::Finding,
};

/// What there is to be alarmed about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This node's key is in two places, or the home was set back.
    Identity,
}

impl Kind {
    const fn key(self) -> &'static [u8] {
        match self {
            Self::Identity => b"identity",
        }
    }
}

/// What to do about a key in two places.
pub const IDENTITY_NEXT: &str = "find the other copy and end it (postrider down), or if there is none, this home was restored \
     from an older state; keep one of the two, then: postrider doctor --clear-alarm";

/// Tells those of this process who wait for alarms that there was one.
#[derive(Debug, Default)]
pub struct Alarms {
    raised: AtomicU64,
    /// Raising is one step.
    raising: Mutex<()>,
}

/// An alarm in the notes.
#[derive(Debug, Serialize, Deserialize)]
struct AlarmNote(
    u8,
    /// What happened first.
    String,
    /// The custody clock then.
    u64,
    /// How often it has happened.
    u64,
);

const VERSION: u8 = 1;

impl Alarms {
    /// Raises an alarm, durably. Numbers of bundles go on under a new epoch from then on: those of
    /// another who has the key, or of the time before, are never used twice.
    pub(super) fn raise(
        &self,
        spool: &DurableSpool,
        kind: Kind,
        what: &str,
    ) -> Result<(), Failure> {
        let _raising = self.raising.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        let before = spool.note(space::ALARM, kind.key())?;
        let before: Option<AlarmNote> = before.as_deref().and_then(|note| wire::decode(note).ok());
        if before.is_none() {
            spool.redraw_epoch(now)?;
        }
        let note = match before {
            Some(AlarmNote(_, first, held_ms, times)) => {
                AlarmNote(VERSION, first, held_ms, times.saturating_add(1))
            }
            None => AlarmNote(VERSION, what.to_owned(), spool.held_ms(now), 1),
        };
        spool.commit(now, vec![set_note(space::ALARM, kind.key(), wire::encode(&note))])?;
        self.raised.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// How many alarms this process has raised.
    pub fn raised(&self) -> u64 {
        self.raised.load(Ordering::Relaxed)
    }
}

impl Desk {
    /// Alarms that nobody has cleared, in words.
    pub fn alarms(&self, watch: &dyn Watch) -> Result<Vec<String>, Failure> {
        let spool = self.spool(watch)?;
        let held_ms = spool.held_ms(clock::now());
        let mut all = Vec::new();
        for key in note_keys(spool, space::ALARM)? {
            let note = spool.note(space::ALARM, &key)?;
            let Some(note) = note.as_deref().and_then(|note| wire::decode::<AlarmNote>(note).ok())
            else {
                continue;
            };
            let ago_h = held_ms.saturating_sub(note.2) / 3_600_000;
            let more = if note.3 > 1 { format!(", {} times", note.3) } else { String::new() };
            all.push(format!("{} ({ago_h} h ago{more})", note.1));
        }
        Ok(all)
    }

    /// Raises the alarm that this node's key is in two places.
    pub(super) fn alarm_of_identity(
        &self,
        spool: &DurableSpool,
        what: &str,
    ) -> Result<(), Failure> {
        self.alarms.raise(spool, Kind::Identity, what)
    }

    /// How many alarms this process has raised.
    pub(super) fn alarms_raised(&self) -> u64 {
        self.alarms.raised()
    }

    /// Clears every alarm; says which there were.
    pub fn clear_alarms(&self, watch: &dyn Watch) -> Result<Vec<Finding>, Failure> {
        let cleared = self.alarms(watch)?;
        let spool = self.spool(watch)?;
        let keys = note_keys(spool, space::ALARM)?;
        let changes: Vec<_> = keys.iter().map(|key| remove_note(space::ALARM, key)).collect();
        if !changes.is_empty() {
            spool.commit(clock::now(), changes)?;
        }
        let finding = |detail| Finding {
            check: "alarm".into(),
            verdict: "ok".into(),
            detail: format!("cleared: {detail}"),
            next: None,
        };
        Ok(cleared.into_iter().map(finding).collect())
    }
}
