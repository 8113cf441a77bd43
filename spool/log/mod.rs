//! The append-only log: the truth of the spool.
//!
//! Flow of the writer:
//! 1. [`Log::open`] reads the last segment only: where it ends, and our own counters. It writes
//!    nothing, so that a full or failing disk never stops a reader.
//! 2. The first write settles what a crash left: the last write is made durable; over its torn tail
//!    goes one group with a new checkpoint (of a redrawn epoch, because a lost tail may have held
//!    counters) that declares broken groups before the end void; the rest of the tail is cut.
//! 3. [`Log::push`] lays groups into a buffer, [`Log::flush`] writes and syncs it: one write and
//!    one sync for all groups of all waiting threads.
//! 4. [`Log::rotate`] seals the segment, writes the next under a staging name, and publishes it.
//! 5. [`Log::close`] appends a checkpoint, unsynced: it proves that what precedes was synced, so
//!    that rot in the last group is not taken for a torn write, and the next process finds the end
//!    and the counters in the last few KiB instead of reading the segment.
//!
//! A failed write or sync poisons the log: what the disk holds is unknown, and a second sync would
//! report success about pages that the system has given up on. Only "no space" while writing is
//! harmless: the tail is cut back, synced, and the log goes on.

pub(crate) mod bytes;
pub(crate) mod frame;
mod opening;
pub(crate) mod record;
pub(crate) mod scan;
pub(crate) mod segments;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use postrider_base::disk::{Disk, DiskFile};

use self::{
    frame::{BEGIN, CHECK_LEN, HEAD_LEN, MORE, SegmentHeader, WRITE, encode},
    opening::Left,
    record::{Kind, VERSION, encode_checkpoint, encode_point, encode_sealed},
    segments::{GOODBYE_MAX, Location, SEGMENT_LIMIT, Segments},
};
use crate::staging::STAGING;
use crate::{contract::GROUP_MAX, counters::Counters, error::SpoolError, place::Entropy};

/// Segments are closed at this size. A short process reads and checks the last one: 2 MiB cost it
/// under a millisecond, and a checkpoint of the largest table stays below 3 % of it.
pub(crate) const SEGMENT_BYTES: usize = 2 << 20;

const _: () = assert!(GROUP_MAX as u64 + (512 << 10) < SEGMENT_LIMIT);

/// A record on its way into the log.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) kind: u8,
    pub(crate) version: u8,
    /// Only [`frame::MOVED`]; the framing adds the others.
    pub(crate) flags: u8,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) fn new(kind: Kind, body: Vec<u8>) -> Self {
        Self { kind: kind.number(), version: VERSION, flags: 0, body }
    }

    /// Bytes it takes in a segment.
    pub(crate) fn len(&self) -> usize {
        self.body.len() + HEAD_LEN + CHECK_LEN
    }
}

/// A spot of the log that was good once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogDamage {
    /// The segment's number.
    pub segment: u32,
    /// Where the bad bytes begin.
    pub offset: u64,
    /// How many there are.
    pub len_bytes: u64,
}

/// The place up to which something has followed the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watermark {
    pub(crate) segment: u32,
    pub(crate) seed: u64,
    pub(crate) end: u32,
}

/// The writing end of the log.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    entropy: Entropy,
    pub(crate) segments: Segments,
    segment_bytes: usize,
    header: SegmentHeader,
    /// `None`: there is no segment to append to yet; the first write makes one.
    file: Option<Box<dyn DiskFile>>,
    end: usize,
    buffer: Vec<u8>,
    sealed: bool,
    /// What a crash left behind `end`, until the first write settles it.
    left: Option<Left>,
    poisoned: bool,
    wrote: bool,
    /// Where the last record begins when it was left unsynced (see [`Self::close`]): the next write
    /// then counts as one with it, because it cannot vouch for it.
    goodbye_at: Option<usize>,
}

impl Log {
    /// Whether a group of this length may still go into the current segment.
    pub(crate) fn fits(&self, len: usize) -> bool {
        self.file.is_some() && !self.sealed && self.position() + len <= self.segment_bytes
    }

    /// Where the next record goes.
    pub(crate) fn position(&self) -> usize {
        self.end + self.buffer.len()
    }

    /// Bytes waiting for [`Self::flush`].
    pub(crate) fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// The current segment's number.
    pub(crate) fn segment(&self) -> u32 {
        self.header.number
    }

    /// The end of what is durable; a goodbye is not, and says nothing an index would keep.
    pub(crate) fn watermark(&self) -> Watermark {
        Watermark {
            segment: self.header.number,
            seed: self.header.seed,
            end: u32::try_from(self.goodbye_at.unwrap_or(self.end)).unwrap_or(u32::MAX),
        }
    }

    /// Whether the log refuses to go on.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Lays a group into the buffer, at [`Self::position`].
    pub(crate) fn push(&mut self, group: &[Raw]) {
        for (i, raw) in group.iter().enumerate() {
            let mut flags = raw.flags;
            // What settles a torn write belongs to it (see `scan`).
            if self.buffer.is_empty() && self.goodbye_at.is_none() && self.left.is_none() {
                flags |= WRITE;
            }
            if i == 0 {
                flags |= BEGIN;
            }
            if i + 1 < group.len() {
                flags |= MORE;
            }
            let offset = self.position();
            encode(
                &mut self.buffer,
                self.header.seed,
                offset,
                (raw.kind, raw.version, flags),
                &raw.body,
            );
        }
    }

    /// Forgets what was not flushed.
    pub(crate) fn discard(&mut self) {
        self.buffer.clear();
    }

    /// Makes everything pushed durable.
    pub(crate) fn flush(&mut self) -> Result<(), SpoolError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        let result = self.write_at_end(&buffer);
        // The allocation is worth keeping, not its largest size ever.
        if buffer.capacity() <= 1 << 20 {
            self.buffer = buffer;
            self.buffer.clear();
        }
        result
    }

    fn write_at_end(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        if self.poisoned {
            return Err(SpoolError::Poisoned);
        }
        let Some(file) = &self.file else { return Err(SpoolError::Poisoned) };
        if let Err(e) = file.write_all_at(self.end as u64, bytes) {
            if e.kind() == io::ErrorKind::StorageFull || e.kind() == io::ErrorKind::QuotaExceeded {
                if self.left.is_some() {
                    // Still the tail that the crash left, only more broken: settled next time.
                    return Err(SpoolError::Full(e));
                }
                // The whole groups in what did reach the file must not come back after a crash,
                // now that their writers hear they failed.
                let cut = file.set_len(self.end as u64).and_then(|()| file.sync());
                self.poisoned = cut.is_err();
                return Err(SpoolError::Full(e));
            }
            self.poisoned = true;
            return Err(SpoolError::io("writing the log")(e));
        }
        if let Err(source) = file.sync() {
            // Never "full", which would promise that the group is not there.
            self.poisoned = true;
            return Err(SpoolError::Io { what: "syncing the log", source });
        }
        self.end += bytes.len();
        self.wrote = true;
        self.goodbye_at = None;
        Ok(())
    }

    /// Starts the next segment. Nothing may be pending.
    pub(crate) fn rotate(&mut self, counters: &mut Counters) -> Result<(), SpoolError> {
        self.settle(counters)?;
        self.seal()?;
        let mut seed = [0; 8];
        (self.entropy)(&mut seed);
        let number = self.header.number + 1;
        let header = SegmentHeader { number, seed: u64::from_be_bytes(seed) };
        let mut bytes = header.encode();
        let offset = bytes.len();
        let checkpoint = encode_checkpoint(&counters.checkpoint());
        let kind = (Kind::Checkpoint.number(), VERSION, BEGIN | WRITE);
        encode(&mut bytes, header.seed, offset, kind, &checkpoint);

        let staged: PathBuf = Path::new(STAGING).join(format!("segment-{number:08}"));
        let path = Segments::path(number);
        self.publish_segment(&staged, &path, &bytes).inspect_err(|_| {
            let _ = self.disk.remove(&staged);
        })?;
        self.segments.forget(number);
        let file = self.disk.open_write(&path).map_err(SpoolError::io("opening a segment"))?;
        self.header = header;
        self.end = bytes.len();
        self.file = Some(file);
        self.sealed = false;
        self.goodbye_at = None;
        self.wrote = true;
        counters.checkpoint_due = false;
        Ok(())
    }

    fn publish_segment(&self, staged: &Path, path: &Path, bytes: &[u8]) -> Result<(), SpoolError> {
        let starting = || SpoolError::io("starting a segment");
        match self.disk.remove(staged) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(starting()(e)),
            _ => {}
        }
        let file = self.disk.create(staged).map_err(starting())?;
        file.write_all_at(0, bytes).map_err(starting())?;
        self.disk.publish(staged, path).map_err(starting())
    }

    /// Closes the current segment, so that one that was cut short later can be told.
    fn seal(&mut self) -> Result<(), SpoolError> {
        if self.sealed || self.file.is_none() {
            return Ok(());
        }
        self.push(&[Raw::new(Kind::Sealed, encode_sealed(self.end))]);
        self.flush()?;
        self.sealed = true;
        Ok(())
    }

    /// Ends a process that wrote: see the module's step 5.
    pub(crate) fn close(&mut self, counters: &Counters) {
        let silent = self.poisoned || !self.wrote || self.sealed;
        if silent || self.left.is_some() || !self.buffer.is_empty() {
            return;
        }
        self.poisoned = true;
        let checkpoint = Raw::new(Kind::Checkpoint, encode_checkpoint(&counters.checkpoint()));
        let goodbye = if checkpoint.len() <= GOODBYE_MAX {
            checkpoint
        } else {
            Raw::new(Kind::Clock, encode_point(&counters.clock.last_point()))
        };
        self.push(&[goodbye]);
        let bytes = std::mem::take(&mut self.buffer);
        if let Some(file) = &self.file {
            // Not synced: a lost or torn one says nothing wrong.
            if file.write_all_at(self.end as u64, &bytes).is_err() {
                let _ = file.set_len(self.end as u64);
            }
        }
    }
}

/// The location a record pushed at `offset` of the current segment has.
pub(crate) fn location(segment: u32, offset: usize, raw: &Raw) -> Location {
    // Segments are a few MiB.
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Location { segment, offset: small(offset), len: small(raw.len()) }
}
