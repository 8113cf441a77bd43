//! A spool for a process that only adds: it reads the end of the log and nothing else.
//!
//! What a `send` does must cost the same with a hundred thousand bundles queued as with none, so
//! it opens no index. The price is that it cannot know what is known: it is for bundles that this
//! node has just made (whose ids are new by construction), for notes and for sequences. What it
//! appended is indexed by the next process that opens the whole spool.

use std::sync::Arc;

use crate::{
    ballast::Ballast,
    blobs::Blobs,
    contract::{Change, Destination, Now, Outcome, Sequence},
    error::SpoolError,
    index::NoIndex,
    log::{Log, SEGMENT_BYTES},
    place::Place,
    recovery::Recovery,
    staging::Staging,
    writer::Writer,
};

/// The appending end of a spool.
pub struct Appender {
    writer: Writer,
}

impl Appender {
    /// Finds the end of the log. Cost: the last segment is read.
    pub fn open(place: Place) -> Result<(Self, Recovery), SpoolError> {
        let (log, counters, opened) =
            Log::open(place.disk.clone(), place.entropy.clone(), SEGMENT_BYTES)?;
        let blobs = Blobs::open(place.disk.clone(), place.entropy.clone())?;
        let recovery = Recovery {
            torn_bytes: opened.torn_bytes,
            damage: opened.damage,
            ..Recovery::default()
        };
        // Making room is not its work; the ballast belongs to those with an index.
        let ballast = Ballast::new(place.disk.clone(), 0);
        let writer = Writer::new(place, log, counters, Arc::new(NoIndex), blobs, ballast);
        Ok((Self { writer }, recovery))
    }

    /// Like `Spool::commit`, for [`Change::Bundle`], [`Change::Note`] and [`Change::Sequence`];
    /// anything else is refused with [`SpoolError::NeedsIndex`], because deciding it needs the
    /// index. A bundle is always `Admitted`: should its id be known already, the first stays.
    pub fn commit(&self, now: Now, changes: Vec<Change>) -> Result<Vec<Outcome>, SpoolError> {
        let appends = |change: &Change| {
            matches!(change, Change::Bundle(_) | Change::Note { .. } | Change::Sequence(_))
        };
        if !changes.iter().all(appends) {
            return Err(SpoolError::NeedsIndex);
        }
        self.writer.commit(now, changes)
    }

    /// Starts a body that arrives in pieces.
    #[must_use]
    pub fn stage(&self) -> Staging {
        self.writer.blobs.stage()
    }

    /// Like `Spool::take_sequence`.
    #[must_use]
    pub fn take_sequence(&self, destination: &Destination) -> Sequence {
        self.writer.take_sequence(destination)
    }

    /// What the custody clock shows.
    #[must_use]
    pub fn held_ms(&self, now: Now) -> u64 {
        self.writer.held_ms(now)
    }
}
