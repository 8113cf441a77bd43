//! Floor 1: the durable home of bundles.
//!
//! Truth is an append-only log with large bodies beside it; an index that can always be rebuilt
//! makes it quick to ask. [`contract`] says what a spool promises; everything else is how.
//!
//! ```text
//! contract     what can be committed and asked, and what that means
//! bounds       how much is carried for others, and what goes when it is too much
//! place        the disk, the lock, chance        disk       real files
//! log/         frame, record, scan, segments     blobs      large bodies, staging
//! writer       group commit: commits, group, fold, counters, clock
//! durable      the spool with its index          appender   the spool of a process that only adds
//! index/       the map behind the queries        follow     index catches up with the log
//! check        is each byte still what was written?   compact   space back   ballast   room for that
//! memory       the twin for simulation
//! ```
#![forbid(unsafe_code)]

mod appender;
mod ballast;
mod blobs;
pub mod bounds;
mod check;
mod clock;
mod commits;
mod compact;
pub mod contract;
mod counters;
mod disk;
mod durable;
mod error;
mod fold;
mod follow;
mod group;
mod index;
mod log;
mod memory;
mod place;
mod recovery;
mod staging;
mod writer;

pub use appender::Appender;
pub use check::{CheckReport, Damage};
pub use compact::CompactReport;
pub use contract::{
    Body, BundleId, Change, Class, Cursor, Delivered, Destination, Entry, Envelope, Hop, NewBundle,
    Now, Numbering, Outcome, Queue, Quota, Quotas, Seen, Sequence, Share, Spool, Stats, Summary,
    Why,
};
pub use disk::RealDisk;
pub use durable::{DurableSpool, Options};
pub use error::SpoolError;
pub use memory::{Dropping, MemorySpool};
pub use place::{Entropy, Place};
pub use recovery::{IndexState, LogDamage, Recovery};
pub use staging::{Staged, StagedReader, Staging};
