//! Bringing an index up to the end of the log.

use std::{path::Path, sync::Arc};

use crate::{
    error::SpoolError,
    fold::{Fold, decode_value},
    index::{BlockIndex, DelayedIndex, Index, MemoryIndex, TreeIndex, keys},
    log::{
        Log, LogDamage, Watermark,
        frame::ReadHeader,
        record::{Record, decode},
        scan::Scan,
        segments::{Loaded, Location},
    },
    place::Place,
    recovery::{IndexState, Recovery},
};

/// Changes gathered before they are applied: bounds memory while a large log is read.
const BATCH_ROWS: usize = 1 << 12;

/// With less space than this the index stays in memory: it is the one thing that can be made again,
/// and what is left belongs to the log.
const ROOM_BYTES: u64 = 16 << 20;

/// Opens the index that belongs to a log and brings it up to its end. An index that cannot be
/// believed is moved aside and made anew; one that cannot be made is kept in memory.
pub(crate) fn open_index(
    place: &Place,
    log: &Log,
    recovery: &mut Recovery,
) -> Result<Arc<dyn Index>, SpoolError> {
    let room = place.disk.free_bytes().map_err(SpoolError::io("asking for free space"))?;
    let why = match place.root.as_deref() {
        None => "the disk is not a directory".to_owned(),
        Some(_) if room < ROOM_BYTES => "the disk is nearly full".to_owned(),
        Some(root) => match on_disk_or_anew(root, log, recovery)? {
            Ok(index) => return Ok(index),
            Err(why) => why,
        },
    };
    let index = BlockIndex::new(MemoryIndex::default());
    follow(log, &index, &mut recovery.damage)?;
    recovery.index = IndexState::InMemory { why };
    Ok(Arc::new(index))
}

fn on_disk_or_anew(
    root: &Path,
    log: &Log,
    recovery: &mut Recovery,
) -> Result<Result<Arc<dyn Index>, String>, SpoolError> {
    let why = match on_disk(root, log, recovery)? {
        Ok(index) => return Ok(Ok(index)),
        Err(why) => why,
    };
    if let Err(e) = TreeIndex::move_aside(root) {
        return Ok(Err(format!("{why}, and it cannot be moved aside: {e}")));
    }
    let again = on_disk(root, log, recovery)?;
    if again.is_ok() {
        recovery.index = IndexState::Rebuilt { why };
    }
    Ok(again)
}

/// The inner error says why the index there is not to be believed.
fn on_disk(
    root: &Path,
    log: &Log,
    recovery: &mut Recovery,
) -> Result<Result<Arc<dyn Index>, String>, SpoolError> {
    let opened = TreeIndex::open(root).map(BlockIndex::new).and_then(|index| {
        trusted(log, &index).map_err(|e| e.to_string())??;
        Ok(index)
    });
    let index = match opened {
        Ok(index) => index,
        Err(why) => return Ok(Err(why)),
    };
    match follow(log, &index, &mut recovery.damage) {
        Ok(state) => {
            recovery.index = state;
            Ok(match DelayedIndex::new(index) {
                Ok(index) => Ok(Arc::new(index)),
                Err(e) => Err(format!("no thread for it: {e}")),
            })
        }
        Err(SpoolError::Index(why)) => Ok(Err(why)),
        Err(e) => Err(e),
    }
}

/// Whether an index stems from this log and from no later state of it. It may be older, as long
/// as everything it lacks is still there: no segment from its watermark on may be missing.
fn trusted(log: &Log, index: &dyn Index) -> Result<Result<(), String>, SpoolError> {
    let refuse = |why: &str| Ok(Err(why.to_owned()));
    let value = index.get(keys::WATERMARK)?;
    if value.as_deref().is_some_and(|value| keys::decode_watermark(value).is_none()) {
        return refuse("its rows are laid out in another way");
    }
    let Some(mark) = decode_value(value, keys::decode_watermark)? else {
        let empty = index.range(&[], &[u8::MAX], 1)?.is_empty();
        return if empty { Ok(Ok(())) } else { refuse("it does not say what it follows") };
    };
    let numbers = log.segments.numbers()?;
    let Some(from) = numbers.iter().position(|number| *number == mark.segment) else {
        return refuse("it follows a segment that is not there");
    };
    if numbers[from..].windows(2).any(|pair| pair[0] + 1 != pair[1]) {
        return refuse("it lacks segments that are gone");
    }
    if log.segments.seed_of(mark.segment)? != Some(mark.seed) {
        return refuse("it follows another log");
    }
    let here = log.watermark();
    if mark.segment == here.segment && mark.end > here.end {
        return refuse("it is ahead of the log");
    }
    Ok(Ok(()))
}

/// Folds what the log has beyond the index's watermark into it. The index must be empty or have a
/// watermark that [`trusted`] accepts.
pub(crate) fn follow(
    log: &Log,
    index: &dyn Index,
    damage: &mut Vec<LogDamage>,
) -> Result<IndexState, SpoolError> {
    let mark = decode_value(index.get(keys::WATERMARK)?, keys::decode_watermark)?;
    let mut records = 0;
    for number in log.segments.numbers()? {
        if mark.is_some_and(|mark| number < mark.segment) {
            continue;
        }
        if mark.is_some_and(|mark| mark == log.watermark()) {
            break;
        }
        let (loaded, scan, found) = log.scan_segment(number)?;
        for spot in found {
            if !damage.contains(&spot) {
                damage.push(spot);
            }
        }
        if let (Some(scan), ReadHeader::Good { header, .. }) = (scan, loaded.header) {
            let from = mark.filter(|mark| mark.segment == number).map_or(0, |mark| mark.end);
            let last = log.watermark();
            let end = if number == last.segment {
                last
            } else {
                let end = u32::try_from(scan.end).unwrap_or(u32::MAX);
                Watermark { segment: number, seed: header.seed, end }
            };
            records += fold_segment(index, &end, &loaded, &scan, from)?;
        }
    }
    Ok(match (mark, records) {
        (None, 0) => IndexState::Current,
        (None, _) => IndexState::Rebuilt { why: "there was none".to_owned() },
        (Some(_), 0) => IndexState::Current,
        (Some(_), records) => IndexState::CaughtUp { records },
    })
}

fn fold_segment(
    index: &dyn Index,
    end: &Watermark,
    loaded: &Loaded,
    scan: &Scan,
    from: u32,
) -> Result<u64, SpoolError> {
    let mut records = 0;
    let mut fold = Fold::new(index);
    for found in &scan.records {
        let Some(at) = Location::of(end.segment, found) else { continue };
        if at.offset < from {
            continue;
        }
        let record = decode(found.kind, found.version, found.body(&loaded.bytes));
        fold.apply(&record, found.flags, at)?;
        records +=
            u64::from(!matches!(record, Record::Clock(_) | Record::Checkpoint(_) | Record::Sealed));
        if fold.len() >= BATCH_ROWS {
            fold.finish(&Watermark { end: at.offset.saturating_add(at.len), ..*end })?;
            fold = Fold::new(index);
        }
    }
    fold.finish(end)?;
    Ok(records)
}
