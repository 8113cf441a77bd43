//! A little memory in front of the tree on disk.
//!
//! The log is durable before the index hears of anything, and the watermark travels with the rows,
//! so the tree may lag: rows gather here and reach it many at a time and in order, which costs a
//! fraction of one by one, and rows of bundles that are gone again by then never reach it. After a
//! crash the tree is older by that much and catches up from the log.

use std::{
    iter::Peekable,
    ops::Bound,
    sync::{PoisonError, RwLock},
};

use super::{Batch, Index, Row};
use crate::error::SpoolError;

/// Rows gathered at most: about 1 MB of memory and some ten milliseconds when they are passed on.
const ROWS_MAX: usize = 1024;

/// An index whose changes reach another one later.
pub(crate) struct DelayedIndex<I: Index> {
    waiting: RwLock<Batch>,
    behind: I,
}

impl<I: Index> DelayedIndex<I> {
    pub(crate) fn new(behind: I) -> Self {
        Self { waiting: RwLock::default(), behind }
    }

    fn pass_on(&self, waiting: &mut Batch) -> Result<(), SpoolError> {
        if !waiting.is_empty() {
            self.behind.apply(waiting)?;
            waiting.clear();
        }
        Ok(())
    }
}

impl<I: Index> Index for DelayedIndex<I> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError> {
        let waiting = self.waiting.read().unwrap_or_else(PoisonError::into_inner);
        match waiting.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.behind.get(key),
        }
    }

    fn range(&self, low: &[u8], high: &[u8], limit: usize) -> Result<Vec<Row>, SpoolError> {
        if low >= high {
            return Ok(Vec::new());
        }
        let waiting = self.waiting.read().unwrap_or_else(PoisonError::into_inner);
        let bounds = (Bound::Included(low), Bound::Excluded(high));
        let mut new = waiting.range::<[u8], _>(bounds).peekable();
        let mut out = Vec::new();
        let mut from = low.to_vec();
        while out.len() < limit {
            let old = self.behind.range(&from, high, limit)?;
            let last = old.last().map(|(key, _)| key.clone());
            let more = old.len() == limit;
            for row in old {
                take_until(&mut new, Some(&row.0), limit, &mut out);
                match new.peek() {
                    Some((key, _)) if **key == row.0 => {
                        if let Some((key, Some(value))) = new.next() {
                            out.push((key.clone(), value.clone()));
                        }
                    }
                    _ => out.push(row),
                }
            }
            let Some(last) = last.filter(|_| more) else {
                take_until(&mut new, None, limit, &mut out);
                break;
            };
            from = last;
            from.push(0);
        }
        out.truncate(limit);
        Ok(out)
    }

    fn apply(&self, batch: &Batch) -> Result<(), SpoolError> {
        let mut waiting = self.waiting.write().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(batch.iter().map(|(key, value)| (key.clone(), value.clone())));
        if waiting.len() >= ROWS_MAX { self.pass_on(&mut waiting) } else { Ok(()) }
    }

    fn flush(&self) -> Result<(), SpoolError> {
        let mut waiting = self.waiting.write().unwrap_or_else(PoisonError::into_inner);
        self.pass_on(&mut waiting)?;
        self.behind.flush()
    }
}

impl<I: Index> Drop for DelayedIndex<I> {
    fn drop(&mut self) {
        let waiting =
            std::mem::take(self.waiting.get_mut().unwrap_or_else(PoisonError::into_inner));
        // Lost, the tree is merely older.
        let _ = self.behind.apply(&waiting);
    }
}

type Waiting<'a> = Peekable<std::collections::btree_map::Range<'a, Vec<u8>, Option<Vec<u8>>>>;

/// Takes the waiting rows before a key (or all), while there is room.
fn take_until(new: &mut Waiting<'_>, before: Option<&Vec<u8>>, limit: usize, out: &mut Vec<Row>) {
    while out.len() < limit {
        let Some((key, value)) = new.next_if(|(key, _)| before.is_none_or(|end| *key < end)) else {
            return;
        };
        if let Some(value) = value {
            out.push((key.clone(), value.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use postrider_testkit::Seeded;

    use super::{super::MemoryIndex, *};

    #[test]
    fn what_waits_and_what_has_arrived_look_like_one_map() {
        for seed in 0..50 {
            let mut chance = Seeded::new(seed);
            let delayed = DelayedIndex::new(MemoryIndex::default());
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            for step in 0..200 {
                let mut batch = Batch::new();
                for _ in 0..chance.below(6) {
                    let key = chance.bytes(1);
                    let value = chance.chance(2, 3).then(|| chance.bytes(2));
                    match &value {
                        Some(value) => model.insert(key.clone(), value.clone()),
                        None => model.remove(&key),
                    };
                    batch.insert(key, value);
                }
                delayed.apply(&batch).unwrap();
                if chance.chance(1, 10) {
                    delayed.flush().unwrap();
                }
                let (low, high) = (chance.bytes(1), chance.bytes(1));
                let limit = chance.index(12);
                let wanted: Vec<Row> = model
                    .iter()
                    .filter(|(key, _)| **key >= low && **key < high)
                    .take(limit)
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                let found = delayed.range(&low, &high, limit).unwrap();
                assert_eq!(found, wanted, "seed {seed} step {step}");
                assert_eq!(delayed.get(&low).unwrap(), model.get(&low).cloned());
            }
        }
    }
}
