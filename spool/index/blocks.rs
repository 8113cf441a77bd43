//! Many rows in one: what the tree keeps is blocks of neighbouring rows.
//!
//! sled holds at most 16 rows in a page, whatever their size, and pays some 400 bytes of memory for
//! every page, whether it is cached or not. With a row of its own for each of ours a million bundles
//! cost 250 MB of memory and 2 GB of disk, measured. So rows that follow each other share a block,
//! each with only what its key does not share with the one before.
//!
//! ```text
//! key     bound: no row of the block is above it, all of the next block are
//! value   LAYOUT (1), then rows: shared, own, length (LEB128 each), own bytes of the key, value
//! ```
//!
//! By its upper bound, because then the block of a key is the first from that key on, and the tree
//! is only ever asked forwards. A bound stays when the row that gave it goes.

use std::{
    iter::Peekable,
    sync::{Mutex, PoisonError},
};

use super::{Batch, Index, Row, keys};
use crate::{error::SpoolError, log::bytes::Fields};

/// Another one when blocks look otherwise. No value of an index from before blocks begins so.
const LAYOUT: u8 = 0xb1;
/// A block beyond this is split: of rows that mostly follow the last one of their kind.
const BLOCK_MAX: usize = 512;
/// The same, of rows that may land anywhere: each writes a block anew, so that larger ones would
/// save a little memory for a lot of disk.
const SCATTERED_MAX: usize = 256;
/// The bound of the last block, above all keys.
const LAST: &[u8] = &[u8::MAX];
const END: &[u8] = &[u8::MAX, 0];

/// An index whose rows lie in blocks of another.
pub(crate) struct BlockIndex<I: Index> {
    behind: I,
    /// One at a time: a change reads blocks before it writes them.
    changing: Mutex<()>,
}

impl<I: Index> BlockIndex<I> {
    pub(crate) fn new(behind: I) -> Self {
        Self { behind, changing: Mutex::new(()) }
    }

    /// The block that keys from `from` on lie in, and its bound.
    fn block(&self, from: &[u8]) -> Result<Option<Row>, SpoolError> {
        // One by one: each of these is a moment of the tree, two of them need not be the same.
        Ok(self.behind.range(from, END, 1)?.pop())
    }

    fn broken(&self, why: Broken) -> SpoolError {
        self.behind.doubt();
        SpoolError::Index(why.0.to_owned())
    }
}

impl<I: Index> Index for BlockIndex<I> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError> {
        let Some((_, block)) = self.block(key)? else { return Ok(None) };
        let mut rows = Rows::new(&block).map_err(|why| self.broken(why))?;
        while let Some(value) = rows.next().map_err(|why| self.broken(why))? {
            if *rows.key >= *key {
                return Ok((*rows.key == *key).then(|| value.to_vec()));
            }
        }
        Ok(None)
    }

    fn range(&self, low: &[u8], high: &[u8], limit: usize) -> Result<Vec<Row>, SpoolError> {
        let mut found = Vec::new();
        let mut from = low.to_vec();
        while found.len() < limit && *from < *high {
            let Some((bound, block)) = self.block(&from)? else { break };
            let mut rows = Rows::new(&block).map_err(|why| self.broken(why))?;
            while let Some(value) = rows.next().map_err(|why| self.broken(why))? {
                if *rows.key >= *high || found.len() == limit {
                    return Ok(found);
                }
                // What the last block had may meanwhile lie in this one.
                if rows.key >= from {
                    found.push((rows.key.clone(), value.to_vec()));
                }
            }
            from = after(bound);
        }
        Ok(found)
    }

    fn apply(&self, batch: &Batch) -> Result<(), SpoolError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = batch.iter().peekable();
        let mut blocks = Batch::new();
        // The rows of a block that became too small, and where the next one begins.
        let mut small: Option<(Vec<Row>, Vec<u8>)> = None;
        loop {
            let (mut rows, from) = match (small.take(), changes.peek()) {
                (Some(small), _) => small,
                (None, Some((key, _))) => (Vec::new(), key.to_vec()),
                (None, None) => break,
            };
            let block = self.block(&from)?;
            let (bound, block) = block.unwrap_or_else(|| (LAST.to_vec(), vec![LAYOUT]));
            change(&mut rows, &bound, &block, &mut changes).map_err(|why| self.broken(why))?;
            let Some(most) = rows.first().map(|(key, _)| most(key)) else {
                blocks.insert(bound, None);
                continue;
            };
            let packed = pack(&rows);
            if packed.len() < most / 4 && *bound != *LAST {
                blocks.insert(bound.clone(), None);
                small = Some((rows, after(bound)));
            } else if packed.len() <= most {
                blocks.insert(bound, Some(packed));
            } else {
                split(&rows, bound, &mut blocks);
            }
        }
        self.behind.apply(&blocks)
    }

    fn flush(&self) -> Result<(), SpoolError> {
        self.behind.flush()
    }
}

/// All rows of all blocks, in order; an error where they are not.
pub(crate) fn unpacked(
    blocks: impl Iterator<Item = Result<Row, String>>,
) -> impl Iterator<Item = Result<Row, String>> {
    // Of the block before. No key is empty.
    let mut before = Vec::new();
    blocks.flat_map(move |block| {
        let rows = block.and_then(|(bound, block)| {
            let mut rows = Vec::new();
            append(&mut rows, &block).map_err(|why| why.0.to_owned())?;
            let first = rows.first().is_none_or(|(key, _)| *key > before);
            let last = rows.last().is_none_or(|(key, _)| *key <= bound);
            if !first || !last || !rows.is_sorted_by(|a, b| a.0 < b.0) {
                return Err("its rows are not in order".to_owned());
            }
            before = bound;
            Ok(rows)
        });
        match rows {
            Ok(rows) => rows.into_iter().map(Ok).collect(),
            Err(why) => vec![Err(why)],
        }
    })
}

/// Appends a block's rows with their changes, up to its bound.
fn change<'a>(
    rows: &mut Vec<Row>,
    bound: &[u8],
    block: &[u8],
    changes: &mut Peekable<impl Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)>>,
) -> Result<(), Broken> {
    let mut old = Vec::new();
    append(&mut old, block)?;
    let mut old = old.into_iter().peekable();
    while let Some((key, value)) = changes.next_if(|(key, _)| ***key <= *bound) {
        while let Some(row) = old.next_if(|(old, _)| old < key) {
            rows.push(row);
        }
        old.next_if(|(old, _)| old == key);
        if let Some(value) = value {
            rows.push((key.clone(), value.clone()));
        }
    }
    rows.extend(old);
    Ok(())
}

/// Puts rows into as many blocks as they need; the last one keeps the bound.
fn split(rows: &[Row], bound: Vec<u8>, blocks: &mut Batch) {
    let mut block = vec![LAYOUT];
    let mut last: &[u8] = &[];
    for (key, value) in rows {
        let before = block.len();
        push(&mut block, last, key, value);
        // Not to the brim: a block that grows at its end stays as it is left.
        if block.len() > most(key) / 4 * 3 && before > 1 {
            block.truncate(before);
            blocks.insert(last.to_vec(), Some(block));
            block = vec![LAYOUT];
            push(&mut block, &[], key, value);
        }
        last = key;
    }
    blocks.insert(bound, Some(block));
}

/// How large the block of a key may be.
fn most(key: &[u8]) -> usize {
    match key.first() {
        Some(&(keys::LIVE | keys::CLASS_QUEUE | keys::EXPIRY)) => BLOCK_MAX,
        _ => SCATTERED_MAX,
    }
}

fn pack(rows: &[Row]) -> Vec<u8> {
    let mut block = vec![LAYOUT];
    let mut last: &[u8] = &[];
    for (key, value) in rows {
        push(&mut block, last, key, value);
        last = key;
    }
    block
}

fn push(block: &mut Vec<u8>, last: &[u8], key: &[u8], value: &[u8]) {
    let shared = last.iter().zip(key).take_while(|(a, b)| a == b).count();
    let own = &key[shared..];
    for number in [shared, own.len(), value.len()] {
        push_number(block, number);
    }
    block.extend_from_slice(own);
    block.extend_from_slice(value);
}

fn append(rows: &mut Vec<Row>, block: &[u8]) -> Result<(), Broken> {
    let mut block = Rows::new(block)?;
    while let Some(value) = block.next()? {
        rows.push((block.key.clone(), value.to_vec()));
    }
    Ok(())
}

/// The least key above another.
fn after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// What is wrong with a block.
struct Broken(&'static str);

/// Reads a block, which may be anything.
struct Rows<'a> {
    fields: Fields<'a>,
    /// Of the row that was read last.
    key: Vec<u8>,
}

impl<'a> Rows<'a> {
    fn new(block: &'a [u8]) -> Result<Self, Broken> {
        let mut fields = Fields::new(block);
        match fields.u8() {
            Some(LAYOUT) => Ok(Self { fields, key: Vec::new() }),
            _ => Err(Broken("its rows are laid out in another way")),
        }
    }

    /// The value of the next row.
    fn next(&mut self) -> Result<Option<&'a [u8]>, Broken> {
        if self.fields.done().is_some() {
            return Ok(None);
        }
        self.row().map(Some).ok_or(Broken("a block of it does not decode"))
    }

    fn row(&mut self) -> Option<&'a [u8]> {
        let [shared, own, length] =
            [number(&mut self.fields)?, number(&mut self.fields)?, number(&mut self.fields)?];
        if shared > self.key.len() {
            return None;
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(self.fields.take(own)?);
        self.fields.take(length)
    }
}

fn push_number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn number(fields: &mut Fields<'_>) -> Option<usize> {
    let mut number = 0;
    // Four of them hold more than any value is long.
    for shift in [0, 7, 14, 21] {
        let byte = fields.u8()?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, VecDeque},
        sync::atomic::{AtomicBool, Ordering},
    };

    use postrider_testkit::Seeded;

    use super::{super::MemoryIndex, *};

    /// A tree that tells what is done to it, and changes whenever it is asked.
    #[derive(Default)]
    struct Tree {
        rows: MemoryIndex,
        applied: Mutex<Vec<Batch>>,
        next: Mutex<VecDeque<Batch>>,
        doubted: AtomicBool,
    }

    impl Index for Tree {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError> {
            self.rows.get(key)
        }

        fn range(&self, low: &[u8], high: &[u8], limit: usize) -> Result<Vec<Row>, SpoolError> {
            if let Some(batch) = self.next.lock().unwrap().pop_front() {
                self.rows.apply(&batch)?;
            }
            self.rows.range(low, high, limit)
        }

        fn apply(&self, batch: &Batch) -> Result<(), SpoolError> {
            self.applied.lock().unwrap().push(batch.clone());
            self.rows.apply(batch)
        }

        fn flush(&self) -> Result<(), SpoolError> {
            Ok(())
        }

        fn doubt(&self) {
            self.doubted.store(true, Ordering::Relaxed);
        }
    }

    fn blocks_of(index: &BlockIndex<Tree>) -> Vec<Row> {
        index.behind.rows.range(&[], END, usize::MAX).unwrap()
    }

    fn rows_of(index: &BlockIndex<Tree>) -> Result<Vec<Row>, String> {
        unpacked(blocks_of(index).into_iter().map(Ok)).collect()
    }

    fn row(kind: u8, number: u64, value: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
        ([&[kind][..], &number.to_be_bytes()].concat(), Some(value.to_vec()))
    }

    #[test]
    fn blocks_look_like_the_map_that_they_hold() {
        for seed in 0..30 {
            let mut chance = Seeded::new(seed);
            let index = BlockIndex::new(Tree::default());
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            for step in 0..120 {
                let mut batch = Batch::new();
                // Now it grows, now it shrinks.
                let keeps = if step / 30 % 2 == 0 { 9 } else { 2 };
                for _ in 0..chance.below(60) {
                    let kind = [keys::LIVE, keys::ID, keys::NOTE][chance.index(3)];
                    let (key, _) = row(kind, chance.below(300), &[]);
                    let length = if chance.chance(1, 40) { 2000 } else { chance.index(90) };
                    let value = chance.chance(keeps, 10).then(|| chance.bytes(length));
                    match &value {
                        Some(value) => model.insert(key.clone(), value.clone()),
                        None => model.remove(&key),
                    };
                    batch.insert(key, value);
                }
                index.apply(&batch).unwrap();
                let all: Vec<Row> = model.clone().into_iter().collect();
                assert_eq!(rows_of(&index).unwrap(), all, "seed {seed} step {step}");
                for (bound, block) in blocks_of(&index) {
                    let mut rows = Vec::new();
                    append(&mut rows, &block).ok().unwrap();
                    let alone = rows.len() == 1 || *bound == *LAST;
                    assert!(!rows.is_empty() && (alone || block.len() <= BLOCK_MAX));
                }
                let [(low, _), (high, _)] =
                    [0, 1].map(|_| row(chance.bytes(1)[0], chance.below(300), &[]));
                let limit = chance.index(40);
                let within = |row: &&Row| row.0 >= low && row.0 < high;
                let wanted: Vec<Row> = all.iter().filter(within).take(limit).cloned().collect();
                assert_eq!(index.range(&low, &high, limit).unwrap(), wanted);
                let some = row(keys::ID, chance.below(300), &[]).0;
                assert_eq!(index.get(&some).unwrap(), model.get(&some).cloned());
            }
        }
    }

    #[test]
    fn rows_that_follow_each_other_fill_blocks_and_leave_none_behind() {
        let index = BlockIndex::new(Tree::default());
        let batch = |from: u64| (from..from + 10).map(|n| row(keys::CLASS_QUEUE, n, &[]));
        for from in (0..10_000).step_by(10) {
            index.apply(&batch(from).collect()).unwrap();
        }
        let blocks = blocks_of(&index);
        let bytes: usize = blocks.iter().map(|(_, block)| block.len()).sum();
        assert!(bytes < 60_000, "four bytes each, of nine: {bytes}");
        assert!(bytes / blocks.len() > BLOCK_MAX / 2, "{} blocks", blocks.len());
        for from in (0..10_000).step_by(10) {
            index.apply(&batch(from).map(|(key, _)| (key, None)).collect()).unwrap();
        }
        assert_eq!(blocks_of(&index), []);
    }

    #[test]
    fn who_reads_while_blocks_split_and_join_misses_nothing_that_stays() {
        for seed in 0..8 {
            let mut chance = Seeded::new(seed);
            let index = BlockIndex::new(Tree::default());
            let stays = (0..4000).step_by(8).map(|n| row(keys::LIVE, n, &[7; 20]));
            index.apply(&stays.clone().collect()).unwrap();
            let before = blocks_of(&index).into_iter().map(|(key, value)| (key, Some(value)));
            index.behind.applied.lock().unwrap().clear();
            for _ in 0..200 {
                let from = chance.below(3000);
                let full = chance.chance(1, 2);
                let others = (from..from + 1000).filter(|n| n % 8 != 0);
                let changes = others.map(|n| row(keys::LIVE, n, &[8; 20]));
                let changes = changes.map(|(key, value)| (key, value.filter(|_| full)));
                index.apply(&changes.collect()).unwrap();
            }
            let read = BlockIndex::new(Tree::default());
            read.behind.rows.apply(&before.collect()).unwrap();
            *read.behind.next.lock().unwrap() =
                std::mem::take(&mut *index.behind.applied.lock().unwrap()).into();
            let found = read.range(&[], END, usize::MAX).unwrap();
            assert!(found.is_sorted_by(|a, b| a.0 < b.0), "seed {seed}");
            let found: Batch = found.into_iter().map(|(key, value)| (key, Some(value))).collect();
            assert!(stays.into_iter().all(|(key, value)| found.get(&key) == Some(&value)));
            assert!(read.behind.next.lock().unwrap().len() < 180, "it changed meanwhile");
        }
    }

    #[test]
    fn a_block_that_is_none_is_told_and_doubted() {
        let good = pack(&[(vec![keys::ID, 1], vec![9; 40]), (vec![keys::ID, 2], vec![9; 40])]);
        let mut bad: Vec<Vec<u8>> = (0..good.len()).map(|end| good[..end].to_vec()).collect();
        // The first row alone is a block, and one without rows is; both lie.
        bad.retain(|block| block.len() != 1 && block.len() != 46);
        bad.push(vec![LAYOUT, 1, 1, 0, 7]);
        bad.push(vec![LAYOUT, 0, 0xff, 0xff, 0xff, 0xff, 0xff]);
        for block in bad {
            let index = BlockIndex::new(Tree::default());
            index.behind.rows.apply(&[(LAST.to_vec(), Some(block))].into()).unwrap();
            assert!(index.get(&[keys::ID, 3]).is_err());
            assert!(index.behind.doubted.swap(false, Ordering::Relaxed));
            assert!(index.range(&[], END, 9).is_err());
            assert!(index.apply(&[(vec![keys::ID], None)].into()).is_err());
            assert!(rows_of(&index).is_err());
        }
        let block = |keys: &[u8]| {
            let rows: Vec<Row> = keys.iter().map(|n| (vec![keys::ID, *n], vec![])).collect();
            Some(pack(&rows))
        };
        let bound = |n: u8| vec![keys::ID, n];
        for lies in [
            vec![(LAST.to_vec(), block(&[2, 1]))],
            vec![(LAST.to_vec(), block(&[1, 1]))],
            vec![(bound(5), block(&[1, 6])), (LAST.to_vec(), block(&[7]))],
            vec![(bound(5), block(&[1])), (LAST.to_vec(), block(&[4]))],
        ] {
            let index = BlockIndex::new(Tree::default());
            index.behind.rows.apply(&lies.into_iter().collect()).unwrap();
            assert_eq!(rows_of(&index), Err("its rows are not in order".to_owned()));
        }
    }
}
