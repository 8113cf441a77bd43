//! Getting space back: segments that are mostly dead are rewritten and removed.
//!
//! One segment at a time, oldest first, never the one being written:
//! 1. What still counts is appended to the current segment, durably; bundles are marked as moved
//!    and carry their present hop data.
//! 2. The index, which has followed, is made durable, so that it never needs the old segment.
//! 3. The segment is removed.
//!
//! A crash between two steps leaves the same things twice, which folds to the same state.
//!
//! What must not be dropped although it is dead: a tombstone or a removal hides older records of
//! its bundle or note, so it may only go when no older segment is left. What must not be moved: a
//! tombstone whose bundle is back; its segment waits until it is the oldest. Records this build
//! does not know are copied as they are. A segment with rot in it is left alone, as evidence.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use postrider_base::disk::Disk;

use crate::{
    contract::{BundleId, Entry, Now},
    durable::DurableSpool,
    error::SpoolError,
    fold::{Fold, decode_value, segment_bytes},
    index::{Index, keys},
    log::{
        Log, Raw,
        frame::{Found, MOVED},
        record::{
            BodyBytes, BodyPlace, BundleRecord, Kind, Record, Retired, decode, encode_bundle,
            encode_delivered, encode_hop, encode_renewed,
        },
        segments::{LOG, Location, Segments},
    },
};

/// A segment is rewritten when at most this share of it counts, in percent: rewriting costs what
/// counts and frees the rest, so at one half each byte written frees one.
const WORTH_PERCENT: u64 = 50;
/// The oldest segment goes sooner: what is dead but hides something older can only be dropped when
/// nothing older is left, so the oldest must keep moving.
const WORTH_PERCENT_OLDEST: u64 = 95;
/// Deliveries in one record when they are gathered: 1 KiB.
const DELIVERED_PER_RECORD: usize = 64;

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactReport {
    /// Segments removed.
    pub segments: u64,
    /// Bytes of the log given back.
    pub freed_bytes: u64,
    /// Body files removed that no bundle owned.
    pub orphans: u64,
}

impl DurableSpool {
    /// Rewrites segments that are mostly dead and removes them, and body files nobody owns.
    /// Commits wait for one segment at a time.
    pub fn compact(&self, now: Now) -> Result<CompactReport, SpoolError> {
        let mut report = CompactReport::default();
        self.writer.held_ms(now);
        let candidates = self.writer.segments.numbers()?;
        for number in candidates {
            let mut log = self.writer.log();
            if number == log.segment() {
                break;
            }
            if self.writer.index.has_failed() {
                self.writer.heal(&log)?;
            }
            if let Some(freed) = self.compact_segment(&mut log, number)? {
                report.segments += 1;
                report.freed_bytes += freed;
            }
        }
        report.orphans = self.sweep_bodies()?;
        self.writer.ballast.refill();
        Ok(report)
    }

    /// Removes body files nobody owns; commits wait, because they name their files first.
    pub(crate) fn sweep_bodies(&self) -> Result<u64, SpoolError> {
        let _log = self.writer.log();
        self.writer.blobs.sweep(|id| Ok(self.writer.index.get(&keys::id(id))?.is_some()))
    }

    fn compact_segment(&self, log: &mut Log, number: u32) -> Result<Option<u64>, SpoolError> {
        let index: &dyn Index = &self.writer.index;
        let (loaded, scan, damage) = log.scan_segment(number)?;
        let size = loaded.bytes.len() as u64;
        let counting = segment_bytes(index.get(&keys::segment(number))?.as_deref());
        let Some(scan) = scan.filter(|_| damage.is_empty()) else { return Ok(None) };
        let oldest = self.writer.segments.numbers()?.first() == Some(&number);
        let worth = if oldest { WORTH_PERCENT_OLDEST } else { WORTH_PERCENT };
        if counting * 100 > size * worth {
            return Ok(None);
        }
        let mut survivors = Survivors {
            fold: Fold::new(index),
            number,
            oldest,
            held_ms: self.writer.latest_ms(),
            raws: Vec::new(),
            hops: HashSet::new(),
            renewals: HashSet::new(),
            delivered: BTreeMap::new(),
        };
        for found in &scan.records {
            if !survivors.take(found, &loaded.bytes)? {
                return Ok(None);
            }
        }
        let raws = survivors.finish();
        let rewritten: u64 = raws.iter().map(|raw| raw.len() as u64).sum();
        // Tombstones and removals count for nothing but may have to be kept.
        if rewritten * 100 > size * worth {
            return Ok(None);
        }
        self.append_with_ballast(log, &raws)?;
        index.flush()?;
        let disk: &dyn Disk = self.writer.disk();
        disk.remove(&Segments::path(number)).map_err(SpoolError::io("removing a segment"))?;
        disk.sync_dir(Path::new(LOG)).map_err(SpoolError::io("removing a segment"))?;
        self.writer.segments.forget(number);
        let mut fold = Fold::new(index);
        fold.forget_segment(number);
        // An error is remembered by the index and healed by the next write.
        let _ = fold.finish(&log.watermark());
        Ok(Some(size.saturating_sub(rewritten)))
    }

    fn append_with_ballast(&self, log: &mut Log, raws: &[Raw]) -> Result<(), SpoolError> {
        match self.writer.append(log, raws) {
            Err(SpoolError::Full(_)) if !log.is_poisoned() && self.writer.ballast.release() => {
                self.writer.append(log, raws)
            }
            other => other,
        }
    }
}

/// A source and one of its epochs.
type Source = ([u8; 32], u32);

/// What of a segment must be written again.
struct Survivors<'a> {
    fold: Fold<'a>,
    number: u32,
    oldest: bool,
    held_ms: u64,
    raws: Vec<Raw>,
    hops: HashSet<BundleId>,
    renewals: HashSet<BundleId>,
    delivered: BTreeMap<Source, Vec<(u64, [u8; 8])>>,
}

impl Survivors<'_> {
    /// `false` when the segment must stay.
    fn take(&mut self, found: &Found, segment: &[u8]) -> Result<bool, SpoolError> {
        let body = found.body(segment);
        let as_it_is = || Raw {
            kind: found.kind,
            version: found.version,
            flags: found.flags & MOVED,
            body: body.to_vec(),
        };
        let Some(at) = Location::of(self.number, found) else { return Ok(false) };
        match decode(found.kind, found.version, body) {
            Record::Bundle(bundle) => self.bundle(&bundle, body, at)?,
            Record::Retired(retired) => match self.keeps_tombstone(&retired, at)? {
                Keep::Move => self.raws.push(as_it_is()),
                Keep::Drop => {}
                Keep::Stay => return Ok(false),
            },
            Record::Hop { id, .. } => self.hop(&id)?,
            Record::Renewed { id, .. } => self.renewed(&id)?,
            Record::Delivered(all) => {
                for d in all {
                    let ids = self.delivered.entry((d.source, d.epoch)).or_default();
                    ids.push((d.counter, d.id8));
                }
            }
            Record::Note(note) => {
                let key = keys::note(note.space, &note.key);
                let current = decode_value(self.fold.get(&key)?, keys::location_from)?;
                let keep = match note.value {
                    Some(_) => current == Some(at),
                    None => current.is_none() && !self.oldest,
                };
                if keep {
                    self.raws.push(as_it_is());
                }
            }
            Record::Unknown => self.raws.push(as_it_is()),
            Record::Sequence(_)
            | Record::Clock(_)
            | Record::Checkpoint(_)
            | Record::Sealed
            | Record::Void => {}
        }
        Ok(true)
    }

    fn bundle(&mut self, old: &BundleRecord, body: &[u8], at: Location) -> Result<(), SpoolError> {
        let Some(live) = self.fold.live(&old.entry.id)?.filter(|live| live.at == at) else {
            return Ok(());
        };
        let part = |range: std::ops::Range<usize>| body.get(range).unwrap_or_default();
        let bytes = match &old.body {
            BodyPlace::Inline(range) => BodyBytes::Inline(part(range.clone())),
            BodyPlace::Blob { check } => BodyBytes::Blob { check: *check },
        };
        let own = old.own.clone().map(part);
        let body = encode_bundle(&live.entry, own, part(old.head.clone()), &bytes);
        self.raws.push(Raw { flags: MOVED, ..Raw::new(Kind::Bundle, body) });
        Ok(())
    }

    fn hop(&mut self, id: &BundleId) -> Result<(), SpoolError> {
        if let Some(entry) = self.behind(id)?.filter(|_| self.hops.insert(*id)) {
            let body = encode_hop(id, entry.hop, entry.class);
            self.raws.push(Raw::new(Kind::Hop, body));
        }
        Ok(())
    }

    fn renewed(&mut self, id: &BundleId) -> Result<(), SpoolError> {
        if let Some(entry) = self.behind(id)?.filter(|_| self.renewals.insert(*id)) {
            let body = encode_renewed(id, entry.hop, entry.class, entry.arrival);
            self.raws.push(Raw::new(Kind::Renewed, body));
        }
        Ok(())
    }

    /// A bundle that lies in an earlier segment: one in this or a later one carries its hop data and
    /// its number itself.
    fn behind(&self, id: &BundleId) -> Result<Option<Entry>, SpoolError> {
        let live = self.fold.live(id)?.filter(|live| live.at.segment < self.number);
        Ok(live.map(|live| live.entry))
    }

    fn keeps_tombstone(&self, retired: &Retired, at: Location) -> Result<Keep, SpoolError> {
        if self.fold.live(&retired.id)?.is_some() {
            return Ok(if self.oldest { Keep::Drop } else { Keep::Stay });
        }
        let current = self.fold.tombstone(&retired.id)?;
        let counts = current.is_some_and(|t| t.at == at && t.until_held_ms > self.held_ms);
        let superseded = current.is_some_and(|t| t.at != at);
        Ok(match (counts, self.oldest) {
            (true, _) => Keep::Move,
            (false, true) => Keep::Drop,
            // A later tombstone hides everything this one hides.
            (false, false) if superseded => Keep::Drop,
            (false, false) => Keep::Move,
        })
    }

    fn finish(mut self) -> Vec<Raw> {
        for ((source, epoch), mut ids) in self.delivered {
            ids.sort_unstable();
            ids.dedup();
            for some in ids.chunks(DELIVERED_PER_RECORD) {
                let body = encode_delivered(&source, epoch, some);
                self.raws.push(Raw::new(Kind::Delivered, body));
            }
        }
        self.raws
    }
}

/// What becomes of a tombstone's record.
enum Keep {
    Move,
    Drop,
    Stay,
}
