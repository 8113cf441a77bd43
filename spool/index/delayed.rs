//! A little memory in front of the tree on disk, and a thread between them.
//!
//! The log is durable before the index hears of anything, and the watermark travels with the rows,
//! so the tree may lag: rows gather here and reach it many at a time and in order, which costs a
//! fraction of one by one, and rows of bundles that are gone again by then never reach it. After a
//! crash the tree is older by that much and catches up from the log.
//!
//! A thread of its own passes them on while the next rows gather, so that commits do not wait for
//! the tree. It is one thread for another reason too: what sled allocates for a batch stays with
//! the allocator's arena of the thread that called it, and with 64 writers in turn that was 700 MB,
//! measured.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock, mpsc},
    thread,
};

use super::{Batch, Index, Row, merge};
use crate::error::SpoolError;

/// Rows gathered at most. More would be passed on a little more cheaply and cost more memory in
/// the tree: 8192 at a time took twice as much as 1024, measured.
const ROWS_MAX: usize = 1024;

/// An index whose changes reach another one later.
pub(crate) struct DelayedIndex<I: Index + 'static> {
    rows: RwLock<Rows>,
    /// `None` only while it is being closed.
    passing: Option<Passing>,
    behind: Arc<I>,
}

/// What the index behind does not have yet.
#[derive(Default)]
struct Rows {
    gathering: Batch,
    /// On their way; older than those gathering.
    leaving: Arc<Batch>,
}

struct Passing {
    work: mpsc::SyncSender<Arc<Batch>>,
    done: Mutex<mpsc::Receiver<Result<(), SpoolError>>>,
    thread: thread::JoinHandle<()>,
}

impl<I: Index + 'static> DelayedIndex<I> {
    /// Starts the thread that passes rows on.
    pub(crate) fn new(behind: I) -> std::io::Result<Self> {
        let behind = Arc::new(behind);
        let (work, batches) = mpsc::sync_channel::<Arc<Batch>>(1);
        let (tell, done) = mpsc::sync_channel(1);
        let index = behind.clone();
        let thread = thread::Builder::new().name("spool-index".to_owned()).spawn(move || {
            for batch in batches {
                if tell.send(index.apply(&batch)).is_err() {
                    return;
                }
            }
        })?;
        let passing = Some(Passing { work, done: Mutex::new(done), thread });
        Ok(Self { rows: RwLock::default(), passing, behind })
    }

    /// Sends what has gathered on its way, as soon as what is on its way has arrived.
    fn pass_on(&self, rows: &mut Rows) -> Result<(), SpoolError> {
        self.arrive(rows)?;
        if rows.gathering.is_empty() {
            return Ok(());
        }
        let leaving = Arc::new(std::mem::take(&mut rows.gathering));
        rows.leaving = leaving.clone();
        let sent = self.passing.as_ref().and_then(|passing| passing.work.send(leaving).ok());
        sent.ok_or_else(|| SpoolError::Index("its thread ended".to_owned()))
    }

    /// Waits until what is on its way has arrived.
    fn arrive(&self, rows: &mut Rows) -> Result<(), SpoolError> {
        if rows.leaving.is_empty() {
            return Ok(());
        }
        let arrived = self.passing.as_ref().and_then(|passing| {
            passing.done.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
        });
        arrived.unwrap_or_else(|| Err(SpoolError::Index("its thread ended".to_owned())))?;
        rows.leaving = Arc::default();
        Ok(())
    }
}

impl<I: Index + 'static> Index for DelayedIndex<I> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        match rows.gathering.get(key).or_else(|| rows.leaving.get(key)) {
            Some(value) => Ok(value.clone()),
            None => self.behind.get(key),
        }
    }

    fn range(&self, low: &[u8], high: &[u8], limit: usize) -> Result<Vec<Row>, SpoolError> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        merge(&rows.gathering, low, high, limit, |low, limit| {
            merge(&rows.leaving, low, high, limit, |low, limit| self.behind.range(low, high, limit))
        })
    }

    fn apply(&self, batch: &Batch) -> Result<(), SpoolError> {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        rows.gathering.extend(batch.iter().map(|(key, value)| (key.clone(), value.clone())));
        if rows.gathering.len() >= ROWS_MAX { self.pass_on(&mut rows) } else { Ok(()) }
    }

    fn flush(&self) -> Result<(), SpoolError> {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        self.pass_on(&mut rows)?;
        self.arrive(&mut rows)?;
        self.behind.flush()
    }
}

impl<I: Index + 'static> Drop for DelayedIndex<I> {
    fn drop(&mut self) {
        let mut rows =
            std::mem::take(&mut *self.rows.write().unwrap_or_else(PoisonError::into_inner));
        // Lost, the tree is merely older.
        let _ = self.pass_on(&mut rows).and_then(|()| self.arrive(&mut rows));
        if let Some(Passing { work, thread, .. }) = self.passing.take() {
            // Without work the thread ends, and with it the other handle of the index behind.
            drop(work);
            let _ = thread.join();
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
            let delayed = DelayedIndex::new(MemoryIndex::default()).unwrap();
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
                match chance.below(10) {
                    0 => delayed.flush().unwrap(),
                    1 => delayed.pass_on(&mut delayed.rows.write().unwrap()).unwrap(),
                    _ => {}
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
