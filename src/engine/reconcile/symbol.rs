//! Coded symbols, and how a batch of them travels.
//!
//! ```text
//! batch    symbol, symbol, ...   their indices are implied: each batch goes on where the last ended
//! symbol   sum 8   check 4       XOR of the hashes, XOR of their checks, big-endian
//! ```
//!
//! There is no count of items, which the paper has: whose an item is, the peeling end sees in its
//! own table, and whether it is a single one, by the check.

use std::ops::BitXorAssign;

use super::{BATCH_SYMBOLS_MAX, item::ItemHash};

/// The length of a symbol on the wire.
pub const SYMBOL_BYTES: usize = 12;

/// One coded symbol: some items of a set, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Symbol {
    sum: u64,
    check: u32,
}

/// Why bytes are not a batch of symbols.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BatchError {
    /// Not a whole number of symbols, or none.
    #[error("{0} bytes are not a row of symbols")]
    Length(usize),
    /// More than [`BATCH_SYMBOLS_MAX`].
    #[error("{0} symbols in one batch")]
    Many(usize),
}

impl Symbol {
    /// The symbol of one item.
    pub(super) fn of(item: ItemHash) -> Self {
        Self { sum: item.value(), check: item.check() }
    }

    /// Whether nothing is left in it.
    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The item, if exactly one is left; wrong once in 2^32 symbols of several.
    pub(super) fn single(self) -> Option<ItemHash> {
        let item = ItemHash::from_sum(self.sum);
        (self.sum != 0 && item.check() == self.check).then_some(item)
    }

    fn to_bytes(self) -> [u8; SYMBOL_BYTES] {
        let mut out = [0; SYMBOL_BYTES];
        out[..8].copy_from_slice(&self.sum.to_be_bytes());
        out[8..].copy_from_slice(&self.check.to_be_bytes());
        out
    }
}

/// Adding and taking away are the same.
impl BitXorAssign for Symbol {
    fn bitxor_assign(&mut self, other: Self) {
        self.sum ^= other.sum;
        self.check ^= other.check;
    }
}

/// Writes a batch, [`SYMBOL_BYTES`] for each symbol.
pub fn encode_batch(symbols: &[Symbol]) -> Vec<u8> {
    symbols.iter().flat_map(|symbol| symbol.to_bytes()).collect()
}

/// Reads a batch. Every symbol is a possible one; what it is worth, peeling will show.
pub fn decode_batch(bytes: &[u8]) -> Result<Vec<Symbol>, BatchError> {
    let (rows, rest) = bytes.as_chunks::<SYMBOL_BYTES>();
    if rows.is_empty() || !rest.is_empty() {
        return Err(BatchError::Length(bytes.len()));
    }
    if rows.len() > BATCH_SYMBOLS_MAX {
        return Err(BatchError::Many(rows.len()));
    }
    let symbols = rows.iter().map(|&[a, b, c, d, e, f, g, h, i, j, k, l]| Symbol {
        sum: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        check: u32::from_be_bytes([i, j, k, l]),
    });
    Ok(symbols.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_round_trip() {
        let symbols: Vec<_> = (1..=BATCH_SYMBOLS_MAX as u64)
            .map(|n| Symbol::of(ItemHash::from_bytes(n.to_be_bytes())))
            .collect();
        assert_eq!(decode_batch(&encode_batch(&symbols)), Ok(symbols));
    }

    #[test]
    fn broken_empty_and_oversized_batches_are_refused() {
        assert_eq!(decode_batch(&[]), Err(BatchError::Length(0)));
        assert_eq!(decode_batch(&[0; 13]), Err(BatchError::Length(13)));
        let oversized = vec![0; (BATCH_SYMBOLS_MAX + 1) * SYMBOL_BYTES];
        assert_eq!(decode_batch(&oversized), Err(BatchError::Many(BATCH_SYMBOLS_MAX + 1)));
    }
}
