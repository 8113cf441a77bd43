//! Bringing an index up to the end of the log.

use crate::{
    error::SpoolError,
    fold::{Fold, decode_value},
    index::{Index, keys},
    log::{
        Log, LogDamage, Watermark,
        frame::{ReadHeader, SegmentHeader},
        record::decode,
        scan::Scan,
        segments::{Loaded, Location},
    },
    recovery::IndexState,
};

/// Changes gathered before they are applied: bounds memory while a large log is read.
const BATCH_ROWS: usize = 8192;

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
            records += fold_segment(index, header, &loaded, &scan, from)?;
        }
    }
    Ok(match (mark, records) {
        (None, _) => IndexState::Rebuilt { why: "there was none".to_owned() },
        (Some(_), 0) => IndexState::Current,
        (Some(_), records) => IndexState::CaughtUp { records },
    })
}

fn fold_segment(
    index: &dyn Index,
    header: SegmentHeader,
    loaded: &Loaded,
    scan: &Scan,
    from: u32,
) -> Result<u64, SpoolError> {
    let mark = |end: usize| Watermark {
        segment: header.number,
        seed: header.seed,
        end: u32::try_from(end).unwrap_or(u32::MAX),
    };
    let mut records = 0;
    let mut fold = Fold::new(index);
    for found in &scan.records {
        let Some(at) = Location::of(header.number, found) else { continue };
        if at.offset < from {
            continue;
        }
        let record = decode(found.kind, found.version, found.body(&loaded.bytes));
        fold.apply(&record, found.flags, at)?;
        records += 1;
        if fold.len() >= BATCH_ROWS {
            fold.finish(&mark(found.end()))?;
            fold = Fold::new(index);
        }
    }
    fold.finish(&mark(scan.end))?;
    Ok(records)
}
