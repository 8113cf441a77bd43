//! What opening a spool found and put right.

pub use crate::log::LogDamage;

/// The state of a spool as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of unfinished writes at the end of the log. They were never acknowledged; the next
    /// write replaces them. Normal after a crash.
    pub torn_bytes: u64,
    /// Rot in the segments that had to be read. Not normal: `check` says what it cost.
    pub damage: Vec<LogDamage>,
    /// What happened to the index.
    pub index: IndexState,
}

/// What happened to the index at open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IndexState {
    /// None was opened.
    #[default]
    Unused,
    /// It had everything.
    Current,
    /// It lacked this many records that others had appended.
    CaughtUp {
        /// How many.
        records: u64,
    },
    /// There is none on disk; one in memory was folded from the log.
    InMemory {
        /// Why.
        why: String,
    },
    /// It was made anew from the log.
    Rebuilt {
        /// Why the old one would not do.
        why: String,
    },
}
