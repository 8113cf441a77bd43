//! What can go wrong in a spool, in the caller's terms.

use std::{io, time::Duration};

use crate::contract::BundleId;

/// An error of a spool. What is no failure (a duplicate, an unknown id) is an outcome instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The disk has no space; nothing of the group was kept, and the spool goes on working.
    #[error("the disk is full")]
    Full(#[source] io::Error),
    /// The disk refused an operation.
    #[error("the disk failed while {what}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The disk's answer.
        #[source]
        source: io::Error,
    },
    /// An earlier write or sync failed, so that nobody knows what the disk holds: the spool must
    /// be opened again, which reads the truth back. Repeating the sync would lie.
    #[error("the spool stopped after a write error and must be opened again")]
    Poisoned,
    /// Another process owns the spool.
    #[error("another process has been using the spool for {} s", waited.as_secs())]
    Locked {
        /// How long we waited for it.
        waited: Duration,
    },
    /// A change is larger than the contract allows.
    #[error("{what} is too large: {got} of at most {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// What was asked for.
        got: usize,
    },
    /// A body is not as long as its summary says.
    #[error("body of {got} bytes where {declared} are declared")]
    LengthMismatch {
        /// The summary's length.
        declared: u64,
        /// The body's length.
        got: u64,
    },
    /// A record that was good when it was written cannot be read back.
    #[error("damaged record in segment {segment} at byte {offset}")]
    DamagedRecord {
        /// The segment's number.
        segment: u32,
        /// Where the record begins.
        offset: u64,
    },
    /// A body's file is missing, short or changed.
    #[error("damaged body of bundle {0}")]
    DamagedBlob(BundleId),
    /// The start of an id is 4 to 64 hexadecimal digits.
    #[error("an id is named by 4 to 64 hexadecimal digits")]
    BadPrefix,
    /// The log is of a format this build does not know.
    #[error("segment {segment} is of log format {version}, newer than this program")]
    NewerFormat {
        /// The segment's number.
        segment: u32,
        /// Its format.
        version: u16,
    },
    /// This change cannot be decided by a process that only appends.
    #[error("this change needs the spool's index")]
    NeedsIndex,
    /// The index failed; it is rebuilt from the log when the spool is opened again.
    #[error("the spool's index failed: {0}")]
    Index(String),
}

impl SpoolError {
    /// Whether lack of space is behind this error, also where it struck too late to go on.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            _ => false,
        }
    }

    /// Wraps a disk's error; a full disk is its own variant.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(source),
            _ => Self::Io { what, source },
        }
    }
}
