//! Do the rows of an index fit together?
//!
//! For an index that was not closed properly: the rows are counted by kind and compared with the
//! totals that were written in the same batches. A store that lost some rows and kept others does
//! not pass; one that fell back to an earlier state as a whole does, and then catches up from its
//! (equally earlier) watermark.

use std::collections::HashMap;

use super::{
    Row,
    keys::{self, Live, Totals},
};

/// Reads all rows; the error says what does not fit.
pub(crate) fn audit(rows: impl Iterator<Item = Result<Row, String>>) -> Result<(), String> {
    let mut counts: HashMap<u8, u64> = HashMap::new();
    let mut totals = None;
    let (mut of_neighbours, mut of_sources) = (0, 0);
    let mut found = Totals::default();
    let mut empty = true;
    for row in rows {
        let (key, value) = row?;
        let Some(kind) = key.first() else { return Err("it has a row without a key".to_owned()) };
        empty = false;
        *counts.entry(*kind).or_default() += 1;
        match *kind {
            keys::LIVE => {
                let live = Live::decode(&value).ok_or("a row of it does not decode")?;
                found.add(&live.entry);
            }
            keys::TOTALS => totals = Some(Totals::decode(&value).ok_or("its totals are broken")?),
            keys::NEIGHBOUR => of_neighbours += share(&value)?,
            keys::SOURCE => of_sources += share(&value)?,
            _ => {}
        }
    }
    if empty {
        return Ok(());
    }
    let count = |kind: u8| counts.get(&kind).copied().unwrap_or(0);
    found.tombstones = count(keys::TOMBSTONE);
    found.notes = count(keys::NOTE);
    found.delivered = count(keys::DELIVERED);
    let live = count(keys::LIVE);
    let queues = [keys::CLASS_QUEUE, keys::DESTINATION_QUEUE, keys::ID, keys::EXPIRY];
    let carried = found.classes.iter().skip(1);
    let counted: u64 = carried.clone().map(|share| share.counted_bytes).sum();
    let complete = queues.into_iter().all(|kind| count(kind) == live)
        && count(keys::TOMBSTONE_END) == count(keys::TOMBSTONE)
        && count(keys::CARRIED) == carried.map(|share| share.bundles).sum::<u64>()
        && count(keys::NEIGHBOUR_RANK) == count(keys::NEIGHBOUR)
        && count(keys::SOURCE_RANK) == count(keys::SOURCE)
        && (of_neighbours, of_sources) == (counted, counted);
    if totals.unwrap_or_default() == found && complete {
        Ok(())
    } else {
        Err("its rows do not add up".to_owned())
    }
}

fn share(value: &[u8]) -> Result<u64, &'static str> {
    keys::share_from(value).ok_or("a share of it does not decode")
}
