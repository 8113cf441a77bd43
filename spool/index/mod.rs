//! What can be found quickly, and can always be rebuilt from the log.
//!
//! The index is an ordered map of bytes to bytes; what the keys mean stands here, once, so that
//! where the map lives (memory, a tree on disk) changes nothing. Everything in it follows from the
//! log: it may be deleted, be older than the log or lie, and the spool comes back.
//!
//! ```text
//! e arrival                              live bundle: location, blob check, entry
//! i id                                   live bundle: arrival
//! t id                                   tombstone: location, why, end
//! q class nice arrival                   queue of a class
//! p first 8 bytes nice arrival           queue of destinations that begin so
//! x end arrival                          expiry of live bundles
//! a class neighbour                      what the bundles count that it brought
//! A class share neighbour                these, the largest first
//! b class neighbour source               what the bundles count that are by this source
//! B class neighbour share source         these, the largest first
//! c class neighbour source turn          carried bundle, in the order in which they are dropped; a turn
//!                                        is nice, worth for its bytes, arrival
//! k class neighbour turn                 the same, of all sources
//! l class turn                           the same, of all neighbours
//! y end id                               end of tombstones
//! d source epoch counter                 ids delivered, 8 bytes each
//! n space key                            note: location
//! g segment                              bytes of it that still count
//! s                                      totals
//! w3                                     watermark, and that the index looks as here
//! ```
//!
//! Bundles are keyed by the order of their admission, not by their id: ids are random, so that
//! rows sorted by them would be written all over a tree, and they are long.
//!
//! ```text
//! switch     the one in use, exchanged when it fails
//! delayed    what the tree does not have yet             overlay   both looked at as one
//! blocks     many rows in one                            audit     do they fit together?
//! tree       sled, which keeps blocks                    memory    a map, which does so as well
//! ```

mod audit;
mod blocks;
mod delayed;
pub(crate) mod keys;
mod memory;
mod overlay;
mod switch;
mod tree;

use std::collections::BTreeMap;

use crate::error::SpoolError;

pub(crate) use blocks::BlockIndex;
pub(crate) use delayed::DelayedIndex;
pub(crate) use memory::MemoryIndex;
pub(crate) use overlay::merge;
pub(crate) use switch::Switch;
pub(crate) use tree::TreeIndex;

/// Changes to apply together; `None` removes.
pub(crate) type Batch = BTreeMap<Vec<u8>, Option<Vec<u8>>>;
/// A key with its value.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// An ordered map of bytes to bytes.
pub(crate) trait Index: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError>;
    /// Rows from `low` (included) to `high` (excluded), in order, at most `limit`.
    fn range(&self, low: &[u8], high: &[u8], limit: usize) -> Result<Vec<Row>, SpoolError>;
    /// Applies a batch: all of it is visible afterwards, and all or nothing survives a crash.
    fn apply(&self, batch: &Batch) -> Result<(), SpoolError>;
    /// Makes everything applied survive a crash; only needed before the log forgets something.
    fn flush(&self) -> Result<(), SpoolError>;
    /// What was read from it cannot be right: the next open must not believe it either.
    fn doubt(&self) {}
}

/// The index of a process that has none and only appends.
pub(crate) struct NoIndex;

impl Index for NoIndex {
    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, SpoolError> {
        Ok(None)
    }

    fn range(&self, _: &[u8], _: &[u8], _: usize) -> Result<Vec<Row>, SpoolError> {
        Ok(Vec::new())
    }

    fn apply(&self, _: &Batch) -> Result<(), SpoolError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), SpoolError> {
        Ok(())
    }
}

/// The least key that is greater than every key with this prefix.
pub(crate) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    while let Some(last) = key.pop() {
        if last < u8::MAX {
            key.push(last + 1);
            return key;
        }
    }
    // Prefixes begin with a letter, so this is not reached; nothing is greater than all keys.
    vec![u8::MAX; 64]
}
