//! The index in memory: rebuilt from the log at every open. For doubles, for small spools, and
//! for when the disk has no room for another.

use std::sync::{PoisonError, RwLock};

use super::{Batch, Index, Row};
use crate::error::SpoolError;

#[derive(Default)]
pub(crate) struct MemoryIndex(RwLock<std::collections::BTreeMap<Vec<u8>, Vec<u8>>>);

impl Index for MemoryIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok(map.get(key).cloned())
    }

    fn range(&self, low: &[u8], high: &[u8], limit: usize) -> Result<Vec<Row>, SpoolError> {
        if low >= high {
            return Ok(Vec::new());
        }
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let rows = map.range(low.to_vec()..high.to_vec());
        Ok(rows.take(limit).map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn apply(&self, batch: &Batch) -> Result<(), SpoolError> {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in batch {
            match value {
                Some(value) => map.insert(key.clone(), value.clone()),
                None => map.remove(key),
            };
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), SpoolError> {
        Ok(())
    }
}
