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
pub(crate) mod record;
pub(crate) mod scan;
pub(crate) mod segments;

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use postrider_base::disk::{Disk, DiskFile};

use self::{
    frame::{
        BEGIN, CHECK_LEN, HEAD_LEN, MORE, RECORDS_FROM, ReadHeader, SegmentHeader, WRITE, encode,
    },
    record::{
        Kind, Record, VERSION, decode, encode_checkpoint, encode_point, encode_sealed, encode_void,
    },
    scan::{Position, Scan, scan},
    segments::{GOODBYE_MAX, LOG, Loaded, Location, SEGMENT_LIMIT, Segments},
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

struct Left {
    /// Broken groups before the end, to be declared void.
    torn: Vec<Range<usize>>,
    /// Whether anything after the end must be cut.
    cut: bool,
    /// Where the last write begins, which nobody knows to be durable; `None` once it is proven.
    unproven_from: Option<usize>,
}

/// What opening found.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// Bytes after the last whole group: writes that were never acknowledged.
    pub(crate) torn_bytes: u64,
    /// Rot in the segments that were read.
    pub(crate) damage: Vec<LogDamage>,
}

impl Log {
    /// Finds the end of the log and our counters. Writes nothing.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        entropy: Entropy,
        segment_bytes: usize,
    ) -> Result<(Self, Counters, Opened), SpoolError> {
        for dir in [LOG, STAGING] {
            disk.create_dir(Path::new(dir)).map_err(SpoolError::io("creating a directory"))?;
        }
        let segments = Segments::new(disk.clone());
        let mut log = Self {
            disk,
            entropy,
            segments,
            segment_bytes,
            header: SegmentHeader { number: 0, seed: 0 },
            file: None,
            end: 0,
            buffer: Vec::new(),
            sealed: false,
            left: None,
            poisoned: false,
            wrote: false,
            goodbye_at: None,
        };
        let mut opened = Opened::default();
        let counters = log.find_end(&mut opened)?;
        Ok((log, counters, opened))
    }

    fn find_end(&mut self, opened: &mut Opened) -> Result<Counters, SpoolError> {
        let mut numbers = self.segments.numbers()?;
        let mut counters = Counters::fresh(&self.entropy);
        let Some(last) = numbers.pop() else { return Ok(counters) };
        self.header.number = last;
        if let Some(counters) = self.quick_end(last)? {
            return Ok(counters);
        }
        let loaded = self.segments.load(last)?;
        let mut current = match loaded.header {
            // Cut so short that not even the header is whole: nothing is appended to that.
            ReadHeader::Good { header, .. } if loaded.bytes.len() >= RECORDS_FROM => {
                self.header = header;
                let path = Segments::path(last);
                let file =
                    self.disk.open_write(&path).map_err(SpoolError::io("opening a segment"))?;
                self.file = Some(file);
                let scan = scan(&loaded.bytes, header.seed, Position::Last);
                self.end = scan.end;
                self.sealed = scan.sealed;
                let torn = loaded.bytes.len().saturating_sub(scan.end);
                opened.torn_bytes = torn as u64;
                self.left = Some(Left {
                    torn: scan.torn.clone(),
                    cut: torn > 0,
                    unproven_from: Some(scan.last_write),
                });
                Some((last, loaded, scan))
            }
            // FAT shows a name before its length: this one was never used, it is replaced.
            _ if loaded.bytes.is_empty() => {
                self.header.number = last.saturating_sub(1);
                None
            }
            // Nothing can be read without the seed, and nothing can be appended.
            _ => {
                opened.damage.push(whole_segment(last, &loaded));
                None
            }
        };
        let torn = |left: &Left| left.cut || !left.torn.is_empty();
        let mut doubtful = self.left.as_ref().is_none_or(torn);

        // Counters stand in the last checkpoint and after it; it opens the last segment unless
        // that one is damaged.
        let mut chain: Vec<(Vec<(Record, u8)>, bool)> = Vec::new();
        loop {
            let complete = match &current {
                Some((number, loaded, scan)) => {
                    let position = if *number == last { Position::Last } else { Position::Earlier };
                    opened.damage.extend(damages(*number, loaded, scan, position));
                    let (records, rot_after) = counting_records(loaded, scan);
                    doubtful |= rot_after;
                    let complete = records.iter().any(|(r, _)| matches!(r, Record::Checkpoint(_)));
                    chain.push((records, complete));
                    complete
                }
                None => false,
            };
            let Some(number) = numbers.pop().filter(|_| !complete) else {
                doubtful |= !complete;
                break;
            };
            doubtful = true;
            let loaded = self.segments.load(number)?;
            current = match loaded.header {
                ReadHeader::Good { header, .. } => {
                    let scan = scan(&loaded.bytes, header.seed, Position::Earlier);
                    Some((number, loaded, scan))
                }
                _ => {
                    opened.damage.push(whole_segment(number, &loaded));
                    None
                }
            };
        }
        for (records, _) in chain.iter().rev() {
            for (record, flags) in records {
                counters.replay(record, *flags);
            }
        }
        if doubtful || counters.doubtful {
            counters.redraw(&self.entropy);
        }
        Ok(counters)
    }

    /// The end as the last process left it, when it ended properly.
    fn quick_end(&mut self, last: u32) -> Result<Option<Counters>, SpoolError> {
        let opening = SpoolError::io("opening a segment");
        let file = self.disk.open_write(&Segments::path(last)).map_err(opening)?;
        let Some((header, checkpoint, goodbye)) = self.segments.goodbye(last, &*file)? else {
            return Ok(None);
        };
        let mut counters = Counters::fresh(&self.entropy);
        counters.replay(&Record::Checkpoint(checkpoint), 0);
        self.header = header;
        self.file = Some(file);
        self.end = goodbye.end;
        self.goodbye_at = Some(goodbye.start);
        Ok(Some(counters))
    }

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

    /// Makes the last write of a process that did not end properly durable, before anybody is told
    /// what it says: it may never have been synced, or its sync may have failed, in which case the
    /// system believes its pages to be clean. So they are written again and synced.
    pub(crate) fn prove(&mut self) -> Result<(), SpoolError> {
        let (Some(left), Some(file)) = (&mut self.left, &self.file) else { return Ok(()) };
        let Some(from) = left.unproven_from else { return Ok(()) };
        if self.poisoned {
            return Err(SpoolError::Poisoned);
        }
        // The first write of a segment is its birth: header and name are no surer than the rest.
        let from = if from == RECORDS_FROM { 0 } else { from };
        let mut bytes = vec![0; self.end.saturating_sub(from)];
        file.read_exact_at(from as u64, &mut bytes)
            .and_then(|()| file.write_all_at(from as u64, &bytes))
            .map_err(SpoolError::io("writing the log's last write again"))?;
        if let Err(source) = file.sync().and_then(|()| self.disk.sync_dir(Path::new(LOG))) {
            self.poisoned = true;
            return Err(SpoolError::Io { what: "syncing the log", source });
        }
        left.unproven_from = None;
        if !left.cut && left.torn.is_empty() {
            self.left = None;
        }
        Ok(())
    }

    /// Before the first write: deals with what a crash left (see the module's step 2).
    pub(crate) fn settle(&mut self, counters: &mut Counters) -> Result<(), SpoolError> {
        if self.poisoned {
            return Err(SpoolError::Poisoned);
        }
        self.prove()?;
        let Some(left) = &self.left else { return Ok(()) };
        let mut group = vec![Raw::new(Kind::Checkpoint, encode_checkpoint(&counters.checkpoint()))];
        group.extend(left.torn.iter().map(|range| Raw::new(Kind::Void, encode_void(range))));
        self.push(&group);
        self.flush()?;
        // A seal that the crash left is no longer the last word.
        self.sealed = false;
        // Only now: cut first and a crash would show a clean end with the old counters.
        let Some(file) = &self.file else { return Err(SpoolError::Poisoned) };
        if let Err(e) = file.set_len(self.end as u64).and_then(|()| file.sync()) {
            self.poisoned = true;
            return Err(SpoolError::Io { what: "cutting a torn tail", source: e });
        }
        self.left = None;
        counters.checkpoint_due = false;
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

    /// Everything that counts in one segment, and its rot.
    pub(crate) fn scan_segment(
        &self,
        number: u32,
    ) -> Result<(Loaded, Option<Scan>, Vec<LogDamage>), SpoolError> {
        let loaded = self.segments.load(number)?;
        let position =
            if number == self.header.number { Position::Last } else { Position::Earlier };
        match loaded.header {
            ReadHeader::Good { header, both } => {
                let scan = scan(&loaded.bytes, header.seed, position);
                let mut damage = damages(number, &loaded, &scan, position);
                if !both {
                    damage.push(LogDamage { segment: number, offset: 0, len_bytes: 0 });
                }
                Ok((loaded, Some(scan), damage))
            }
            _ if loaded.bytes.is_empty() => Ok((loaded, None, Vec::new())),
            _ => {
                let damage = whole_segment(number, &loaded);
                Ok((loaded, None, vec![damage]))
            }
        }
    }
}

/// The rot of a segment, an end that is missing included: a segment begins with a checkpoint, and
/// one that is followed by another ends with a seal.
fn damages(number: u32, loaded: &Loaded, scan: &Scan, position: Position) -> Vec<LogDamage> {
    let spot = |range: &Range<usize>| LogDamage {
        segment: number,
        offset: range.start as u64,
        len_bytes: range.len() as u64,
    };
    let mut damage: Vec<LogDamage> = scan.damage.iter().map(spot).collect();
    let short = scan.records.is_empty() || (position == Position::Earlier && !scan.sealed);
    if damage.is_empty() && short {
        let end = loaded.bytes.len();
        damage.push(spot(&(end..end)));
    }
    damage
}

fn whole_segment(segment: u32, loaded: &Loaded) -> LogDamage {
    LogDamage { segment, offset: 0, len_bytes: loaded.bytes.len() as u64 }
}

/// The records that carry counters, and whether rot may have hidden one after the last checkpoint.
fn counting_records(loaded: &Loaded, scan: &Scan) -> (Vec<(Record, u8)>, bool) {
    let mut records = Vec::new();
    let mut checkpoint_at = 0;
    for found in &scan.records {
        let record = decode(found.kind, found.version, found.body(&loaded.bytes));
        if matches!(record, Record::Checkpoint(_)) {
            checkpoint_at = found.offset;
            records.clear();
        }
        if matches!(
            record,
            Record::Checkpoint(_) | Record::Clock(_) | Record::Sequence(_) | Record::Bundle(_)
        ) {
            records.push((record, found.flags));
        }
    }
    let rot_after = scan.damage.iter().any(|range| range.start >= checkpoint_at);
    (records, rot_after)
}

/// The location a record pushed at `offset` of the current segment has.
pub(crate) fn location(segment: u32, offset: usize, raw: &Raw) -> Location {
    // Segments are a few MiB.
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Location { segment, offset: small(offset), len: small(raw.len()) }
}
