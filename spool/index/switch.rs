//! The index in use, which may be exchanged for another while the spool runs.
//!
//! When the tree on disk fails, the spool does not: an index in memory is folded from the log and
//! takes over until the next open.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use super::{Batch, Index, Row};
use crate::error::SpoolError;

pub(crate) struct Switch {
    used: RwLock<Arc<dyn Index>>,
    failed: AtomicBool,
}

impl Switch {
    pub(crate) fn new(index: Arc<dyn Index>) -> Self {
        Self { used: RwLock::new(index), failed: AtomicBool::new(false) }
    }

    /// Whether the index in use has failed or fallen behind the log.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Puts another index in its place.
    pub(crate) fn replace(&self, index: Arc<dyn Index>) {
        *self.used.write().unwrap_or_else(PoisonError::into_inner) = index;
        self.failed.store(false, Ordering::Release);
    }

    fn with<T>(
        &self,
        ask: impl FnOnce(&dyn Index) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        let used = self.used.read().unwrap_or_else(PoisonError::into_inner).clone();
        ask(&*used).inspect_err(|_| self.failed.store(true, Ordering::Release))
    }
}

impl Index for Switch {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError> {
        self.with(|index| index.get(key))
    }

    fn range(&self, low: &[u8], high: &[u8], limit: usize) -> Result<Vec<Row>, SpoolError> {
        self.with(|index| index.range(low, high, limit))
    }

    fn apply(&self, batch: &Batch) -> Result<(), SpoolError> {
        self.with(|index| index.apply(batch))
    }

    fn flush(&self) -> Result<(), SpoolError> {
        self.with(|index| index.flush())
    }
}
