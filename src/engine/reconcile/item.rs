//! Items: ids become keyed hashes, and a table leads back from hash to id.

use std::fmt;

use super::ITEMS_MAX;

/// What a set consists of: the first 16 bytes of a bundle's id.
pub type ItemId = [u8; 16];

/// The key of one session: 16 random bytes, known to the two ends and to nobody else.
#[derive(Clone, Copy)]
pub struct SessionKey(pub [u8; 16]);

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

/// The keyed hash of an item: what symbols are made of, and how an item is asked for.
///
/// Never zero, which is what an empty symbol holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemHash(u64);

impl ItemHash {
    /// The form on the wire.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// From the wire. Any value will do: one that no item has is found nowhere.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }

    pub(super) fn from_sum(sum: u64) -> Self {
        Self(sum)
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }

    /// What tells a symbol of one item from a symbol of several.
    ///
    /// Not keyed a second time: the hash itself is unknown to whoever lacks the key. It has to be
    /// far from linear in XOR, or the check of several items would be that of their sum.
    pub(super) fn check(self) -> u32 {
        (mix(self.0 ^ CHECK) >> 32) as u32
    }

    /// 64 bits that depend on the item and on an index.
    pub(super) fn draw(self, index: u32) -> u64 {
        mix(mix(self.0 ^ DRAW).wrapping_add(u64::from(index).wrapping_mul(GOLDEN)))
    }
}

/// A set too large for one session.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("more than {ITEMS_MAX} items")]
pub struct TooManyItems;

/// The hashes of a set with the ids behind them, in the order of the hashes.
pub(super) struct Table {
    entries: Vec<(ItemHash, ItemId)>,
}

impl Table {
    /// Hashes each id once. Of two ids with the same hash, a chance of 2^-64 for each pair, the lower
    /// one is kept: the other waits for another key.
    pub(super) fn new(
        key: SessionKey,
        items: impl IntoIterator<Item = ItemId>,
    ) -> Result<Self, TooManyItems> {
        let key = blake3::derive_key("postrider 2026 reconcile v1", &key.0);
        let mut entries = Vec::new();
        for id in items {
            if entries.len() == ITEMS_MAX {
                return Err(TooManyItems);
            }
            let [a, b, c, d, e, f, g, h, ..] = *blake3::keyed_hash(&key, &id).as_bytes();
            let hash = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            entries.push((ItemHash(hash.max(1)), id));
        }
        entries.sort_unstable();
        entries.dedup_by_key(|(hash, _)| *hash);
        Ok(Self { entries })
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn hashes(&self) -> impl Iterator<Item = ItemHash> {
        self.entries.iter().map(|(hash, _)| *hash)
    }

    pub(super) fn id_of(&self, hash: ItemHash) -> Option<ItemId> {
        let at = self.entries.binary_search_by_key(&hash, |(hash, _)| *hash).ok()?;
        Some(self.entries[at].1)
    }
}

/// Odd, and 2^64 over the golden ratio: multiples of it are spread evenly.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// Different starting points, so that check and draws have nothing in common. Digits of pi.
const CHECK: u64 = 0x243f_6a88_85a3_08d3;
const DRAW: u64 = 0x1319_8a2e_0370_7344;

/// The finalizer of SplitMix64: every bit of the input changes half of the output.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(key: u8, ids: &[u8]) -> Vec<ItemHash> {
        let table = Table::new(SessionKey([key; 16]), ids.iter().map(|id| [*id; 16])).unwrap();
        table.hashes().collect()
    }

    #[test]
    fn order_and_repetition_of_the_ids_make_no_difference() {
        assert_eq!(hashes(1, &[1, 2, 3]), hashes(1, &[3, 1, 2, 1, 3]));
    }

    #[test]
    fn another_key_makes_other_hashes() {
        assert!(hashes(1, &[1, 2, 3]).iter().all(|hash| !hashes(2, &[1, 2, 3]).contains(hash)));
    }

    #[test]
    fn a_hash_leads_back_to_its_id_and_a_strange_one_nowhere() {
        let table = Table::new(SessionKey([1; 16]), [[1; 16], [2; 16]]).unwrap();
        let found: Vec<_> = table.hashes().filter_map(|hash| table.id_of(hash)).collect();
        assert_eq!(found.len(), 2);
        assert!(found.contains(&[1; 16]) && found.contains(&[2; 16]));
        assert_eq!(table.id_of(ItemHash(1)), None);
    }

    #[test]
    fn a_set_beyond_the_limit_is_refused() {
        let endless = (0..u128::MAX).map(u128::to_be_bytes);
        assert_eq!(Table::new(SessionKey([1; 16]), endless).err(), Some(TooManyItems));
    }

    #[test]
    fn the_check_of_several_items_is_not_that_of_their_sum() {
        let all = hashes(1, &(0..=255).collect::<Vec<_>>());
        for triple in all.chunks_exact(3) {
            let sum = triple.iter().fold(0, |sum, hash| sum ^ hash.value());
            let checks = triple.iter().fold(0, |sum, hash| sum ^ hash.check());
            assert_ne!(ItemHash(sum).check(), checks);
        }
    }
}
