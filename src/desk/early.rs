//! Receipts that came before their bundles.
//!
//! Whether a receipt is true only its bundle tells, so one whose bundle is not here is not handed on.
//! It is kept, though, within bounds: when the bundle comes by another way, it is over. So a message
//! that was called back is not shown to whoever hears of that first.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use postrider_base::{NodeId, bundle::Receipt};
use postrider_spool::{Change, DurableSpool, Spool};

use super::{
    Failure,
    inbox::note_keys,
    incoming::lock,
    ledger::{EarlyNote, remove_note, set_note, space},
};

/// Receipts that are kept so: 100 bytes each in memory, and about as much in the log.
const EARLY_MAX: usize = 4096;
/// Kept no longer than this by the custody clock: most bundles have lived their time by then.
const KEPT_MS: u64 = 90 * 24 * 3_600_000;

/// Where room is shared evenly nothing younger than this gives way: whoever makes receipts up costs the
/// disk no more than one table an hour.
const STAYS_MS: u64 = 3_600_000;

/// Who brought a receipt, as far as fairness asks: the first bytes of a key, or zeros where nobody is
/// proven and for all media.
pub(super) type Bringer = [u8; 8];

/// The key of a note: prefix, then secret.
type Key = [u8; 24];

/// The early receipts of one home.
#[derive(Debug, Default)]
pub(super) struct EarlyReceipts(Mutex<Option<Table>>);

#[derive(Debug, Default)]
struct Table {
    all: BTreeMap<Key, (Bringer, u64)>,
    /// What each brought, oldest first.
    by: BTreeMap<Bringer, BTreeSet<(u64, Key)>>,
}

/// Who brought it, where that is proven.
pub(super) fn bringer(from: Option<&NodeId>) -> Bringer {
    let mut bringer = Bringer::default();
    if let Some(node) = from {
        bringer.copy_from_slice(&node.as_bytes()[..8]);
    }
    bringer
}

impl EarlyReceipts {
    /// The changes that keep one more, if there is room or something gives way.
    pub(super) fn note(
        &self,
        spool: &DurableSpool,
        receipt: &Receipt,
        by: Bringer,
        held_ms: u64,
    ) -> Result<Vec<Change>, Failure> {
        self.with(spool, |table| {
            let key = key(receipt);
            if table.all.contains_key(&key) {
                return Vec::new();
            }
            let mut changes = Vec::new();
            if table.all.len() >= EARLY_MAX {
                let Some(old) = table.gives_way(by, held_ms) else { return Vec::new() };
                table.remove(&old);
                changes.push(remove_note(space::EARLY, &old));
            }
            table.insert(key, by, held_ms);
            changes.push(set_note(space::EARLY, &key, EarlyNote::new(by, held_ms).encode()));
            changes
        })
    }

    /// Those that name a bundle with this prefix.
    pub(super) fn of(
        &self,
        spool: &DurableSpool,
        prefix: [u8; 8],
    ) -> Result<Vec<Receipt>, Failure> {
        self.with(spool, |table| {
            let of = table.all.range(edge(prefix, 0)..=edge(prefix, u8::MAX));
            of.map(|(key, _)| receipt(key)).collect()
        })
    }

    /// The change that forgets one, if it is here.
    pub(super) fn forget(
        &self,
        spool: &DurableSpool,
        receipt: &Receipt,
    ) -> Result<Option<Change>, Failure> {
        let key = key(receipt);
        self.with(spool, |table| table.remove(&key).then(|| remove_note(space::EARLY, &key)))
    }

    /// The changes that forget what has been here for long.
    pub(super) fn over(&self, spool: &DurableSpool, held_ms: u64) -> Result<Vec<Change>, Failure> {
        self.with(spool, |table| {
            let is_old = |(_, at): &(Bringer, u64)| held_ms.saturating_sub(*at) > KEPT_MS;
            let old: Vec<Key> =
                table.all.iter().filter(|(_, of)| is_old(of)).map(|(key, _)| *key).collect();
            let forget = |key: &Key| {
                table.remove(key);
                remove_note(space::EARLY, key)
            };
            old.iter().map(forget).collect()
        })
    }

    fn with<T>(
        &self,
        spool: &DurableSpool,
        act: impl FnOnce(&mut Table) -> T,
    ) -> Result<T, Failure> {
        let mut table = lock(&self.0);
        if table.is_none() {
            *table = Some(Table::load(spool)?);
        }
        Ok(act(table.get_or_insert_default()))
    }
}

impl Table {
    fn load(spool: &DurableSpool) -> Result<Self, Failure> {
        let mut table = Self::default();
        for key in note_keys(spool, space::EARLY)? {
            let note = spool.note(space::EARLY, &key)?;
            let note = note.as_deref().and_then(EarlyNote::read);
            if let (Ok(key), Some((by, at))) = (Key::try_from(&key[..]), note.map(EarlyNote::parts))
            {
                table.insert(key, by, at);
            }
        }
        Ok(table)
    }

    fn insert(&mut self, key: Key, by: Bringer, held_ms: u64) {
        self.all.insert(key, (by, held_ms));
        self.by.entry(by).or_default().insert((held_ms, key));
    }

    fn remove(&mut self, key: &Key) -> bool {
        let Some((by, at)) = self.all.remove(key) else { return false };
        if let Some(of) = self.by.get_mut(&by) {
            of.remove(&(at, *key));
            if of.is_empty() {
                self.by.remove(&by);
            }
        }
        true
    }

    /// What gives way to one more of this bringer: the oldest of whoever brought the most, if that makes
    /// it fairer, or if it has had its time.
    fn gives_way(&self, by: Bringer, held_ms: u64) -> Option<Key> {
        let (_, of) = self.by.iter().min_by_key(|(by, of)| (Reverse(of.len()), **by))?;
        let has = self.by.get(&by).map_or(0, BTreeSet::len);
        let (at, key) = of.first()?;
        let is_old = held_ms.saturating_sub(*at) >= STAYS_MS;
        (of.len() > has + 1 || is_old).then_some(*key)
    }
}

/// Receipts in the order of their prefixes: what one visit to a medium brings.
#[derive(Debug, Default)]
pub(super) struct Heard(BTreeSet<Key>);

impl Heard {
    /// Takes note of one.
    pub(super) fn add(&mut self, receipt: &Receipt) {
        self.0.insert(key(receipt));
    }

    /// Those that name a bundle with this prefix.
    pub(super) fn of(&self, prefix: [u8; 8]) -> impl Iterator<Item = Receipt> {
        self.0.range(edge(prefix, 0)..=edge(prefix, u8::MAX)).map(receipt)
    }
}

fn key(receipt: &Receipt) -> Key {
    let mut key = edge(receipt.id_prefix, 0);
    key[8..].copy_from_slice(&receipt.r);
    key
}

/// The first or last key of a prefix.
fn edge(prefix: [u8; 8], fill: u8) -> Key {
    let mut key = [fill; 24];
    key[..8].copy_from_slice(&prefix);
    key
}

fn receipt(key: &Key) -> Receipt {
    let (mut id_prefix, mut r) = ([0; 8], [0; 16]);
    id_prefix.copy_from_slice(&key[..8]);
    r.copy_from_slice(&key[8..]);
    Receipt { id_prefix, r }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: u64) -> Key {
        key(&Receipt { id_prefix: n.to_be_bytes(), r: [7; 16] })
    }

    #[test]
    fn a_prefix_finds_all_its_receipts_and_no_others() {
        let mut heard = Heard::default();
        let all = [(1, 0), (1, 255), (2, 3)];
        let of = |(n, r): (u64, u8)| Receipt { id_prefix: n.to_be_bytes(), r: [r; 16] };
        all.iter().for_each(|receipt| heard.add(&of(*receipt)));
        let found = |n: u64| heard.of(n.to_be_bytes()).collect::<Vec<_>>();
        assert_eq!(found(1), [of(all[0]), of(all[1])]);
        assert_eq!((found(2), found(3)), (vec![of(all[2])], vec![]));
    }

    #[test]
    fn whoever_brings_the_most_loses_the_oldest_and_nobody_replaces_everything_at_once() {
        let mut table = Table::default();
        table.insert(numbered(1), [1; 8], 5);
        (2..6).for_each(|n| table.insert(numbered(n), [2; 8], 100 - n));
        assert_eq!(table.gives_way([1; 8], 100), Some(numbered(5)), "four against one");
        assert_eq!(table.gives_way([2; 8], 100), None, "its own, and too young");
        assert_eq!(table.gives_way([2; 8], 95 + STAYS_MS), Some(numbered(5)));
        assert!(table.remove(&numbered(5)) && !table.remove(&numbered(5)));
        assert!(table.remove(&numbered(4)));
        assert_eq!(table.gives_way([1; 8], 100), None, "two and one are even with one more");
        assert_eq!(table.gives_way([3; 8], 100), Some(numbered(3)));
        assert!((1..4).all(|n| table.remove(&numbered(n))));
        assert!(table.by.is_empty() && table.gives_way([1; 8], u64::MAX).is_none());
    }
}
