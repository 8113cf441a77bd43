//! An older map with newer changes over it, looked at as one.

use std::{iter::Peekable, ops::Bound};

use super::{Batch, Row};
use crate::error::SpoolError;

/// Rows of the older map that are asked for at once beyond a limit.
const ASK_MAX: usize = 256;

/// Up to `limit` rows from `low` to `high` of an older map with newer changes over it.
pub(crate) fn merge(
    newer: &Batch,
    low: &[u8],
    high: &[u8],
    limit: usize,
    older: impl Fn(&[u8], usize) -> Result<Vec<Row>, SpoolError>,
) -> Result<Vec<Row>, SpoolError> {
    if low >= high {
        return Ok(Vec::new());
    }
    let bounds = (Bound::Included(low), Bound::Excluded(high));
    let mut newer = newer.range::<[u8], _>(bounds).peekable();
    let mut out = Vec::new();
    let mut from = low.to_vec();
    let mut ask = limit;
    while out.len() < limit {
        let rows = older(&from, ask)?;
        let last = rows.last().map(|(key, _)| key.clone()).filter(|_| rows.len() == ask);
        // What was shown is gone by now: where one row is, there may be many.
        ask = ask.max((ask * 4).min(ASK_MAX));
        for row in rows {
            take_until(&mut newer, Some(&row.0), limit, &mut out);
            match newer.peek() {
                Some((key, _)) if **key == row.0 => {
                    if let Some((key, Some(value))) = newer.next() {
                        out.push((key.clone(), value.clone()));
                    }
                }
                _ => out.push(row),
            }
        }
        let Some(last) = last else {
            take_until(&mut newer, None, limit, &mut out);
            break;
        };
        from = last;
        from.push(0);
    }
    out.truncate(limit);
    Ok(out)
}

type Newer<'a> = Peekable<std::collections::btree_map::Range<'a, Vec<u8>, Option<Vec<u8>>>>;

/// Takes the newer rows before a key (or all), while there is room.
fn take_until(newer: &mut Newer<'_>, before: Option<&Vec<u8>>, limit: usize, out: &mut Vec<Row>) {
    while out.len() < limit {
        let Some((key, value)) = newer.next_if(|(key, _)| before.is_none_or(|end| *key < end))
        else {
            return;
        };
        if let Some(value) = value {
            out.push((key.clone(), value.clone()));
        }
    }
}
