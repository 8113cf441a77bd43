//! Where the log ends, what a crash left behind the end, and what has rotted before it: steps 1 and 2
//! of the writer's flow.

use std::{ops::Range, path::Path, sync::Arc};

use postrider_base::disk::Disk;

use super::{
    Log, LogDamage, Raw,
    frame::{RECORDS_FROM, ReadHeader, SegmentHeader},
    record::{Kind, Record, decode, encode_checkpoint, encode_void},
    scan::{Position, Scan, scan},
    segments::{LOG, Loaded, Segments},
};
use crate::{counters::Counters, error::SpoolError, place::Entropy, staging::STAGING};

/// What a crash left behind the end.
pub(super) struct Left {
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
            Record::Checkpoint(_)
                | Record::Clock(_)
                | Record::Sequence(_)
                | Record::Bundle(_)
                | Record::Renewed { .. }
        ) {
            records.push((record, found.flags));
        }
    }
    let rot_after = scan.damage.iter().any(|range| range.start >= checkpoint_at);
    (records, rot_after)
}
