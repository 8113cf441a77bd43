//! Reading a segment back: which records count, what is damaged, where the log ends.
//!
//! 1. Walk record by record. A bad head: search on, byte by byte, for the next record whose both
//!    checks hold. A bad body under a good head: skip it by its length. So one flipped bit costs
//!    one record.
//! 2. Everything before the last write was synced before that write began (the `WRITE` flag marks
//!    where it did), so a bad spot there is rot: it is reported, and all good records count, each
//!    by itself.
//! 3. Within the last write of the last segment a bad spot is most likely a power cut: groups that
//!    are not whole do not count at all, because half a group ("delivered" without the message)
//!    would be worse than none. They were never acknowledged.
//! 4. The log ends after the last whole group; what follows is cut by the next writer. A broken
//!    group *before* that end is not touched but declared void by a record of the next writer, so
//!    that rule 2 never revives its half. What declares it goes on with the last write, without the
//!    mark of a new one: until it is whole, rule 3 still holds for all of it.

use std::ops::Range;

use super::{
    frame::{At, BEGIN, Found, MORE, RECORDS_FROM, WRITE, look},
    record::{Kind, decode_void},
};

/// What a segment holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The records that count, in order.
    pub(crate) records: Vec<Found>,
    /// Rotten spots.
    pub(crate) damage: Vec<Range<usize>>,
    /// Groups of the last write that are not whole, before `end`, and not declared void yet.
    pub(crate) torn: Vec<Range<usize>>,
    /// Where the last write begins: what lies before was synced.
    pub(crate) last_write: usize,
    /// Where the next record goes.
    pub(crate) end: usize,
    /// Whether the segment is closed for good.
    pub(crate) sealed: bool,
}

/// Whether a segment may end in a torn write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// The segment being written.
    Last,
    /// Followed by another, so everything in it was synced.
    Earlier,
}

enum Item {
    Good(Found),
    Bad(Range<usize>),
}

impl Item {
    fn range(&self) -> Range<usize> {
        match self {
            Self::Good(found) => found.offset..found.end(),
            Self::Bad(range) => range.clone(),
        }
    }
}

/// Scans a segment's bytes.
pub(crate) fn scan(segment: &[u8], seed: u64, position: Position) -> Scan {
    let mut items = walk(segment, seed);
    let is_write = |item: &Item| matches!(item, Item::Good(f) if f.flags & WRITE != 0);
    let proven = match position {
        Position::Earlier => items.len(),
        Position::Last => items.iter().rposition(is_write).unwrap_or(0),
    };
    let last_write = items.get(proven).map_or(RECORDS_FROM, |item| item.range().start);
    let voids = voids(segment, &items, proven);
    let void = |at: usize| voids.iter().any(|range| range.contains(&at));
    items.retain(|item| !void(item.range().start));
    let proven = match position {
        Position::Earlier => items.len(),
        Position::Last => items.partition_point(|item| item.range().start < last_write),
    };
    let mut out = Scan { end: RECORDS_FROM, last_write, ..Scan::default() };
    let unproven = items.split_off(proven);
    for item in items {
        out.end = item.range().end;
        match item {
            Item::Good(found) => out.records.push(found),
            Item::Bad(range) => out.damage.push(range),
        }
    }
    take_whole_groups(&unproven, &mut out);
    out.sealed = out.records.last().is_some_and(|f| f.kind == Kind::Sealed.number());
    out
}

/// What was declared void: by any record that was synced, and within the last write only by a whole
/// group, since the next writer writes over another.
fn voids(segment: &[u8], items: &[Item], proven: usize) -> Vec<Range<usize>> {
    let mut voids = Vec::new();
    // Of the group so far; `None` when its beginning is not there.
    let mut group: Option<Vec<Range<usize>>> = None;
    for (i, item) in items.iter().enumerate() {
        let Item::Good(found) = item else {
            group = None;
            continue;
        };
        let range = (found.kind == Kind::Void.number())
            .then(|| decode_void(found.version, found.body(segment)))
            .flatten();
        if i < proven {
            voids.extend(range);
            continue;
        }
        if found.flags & BEGIN != 0 {
            group = Some(Vec::new());
        }
        if let Some(group) = &mut group {
            group.extend(range);
        }
        if found.flags & MORE == 0 {
            voids.extend(group.take().unwrap_or_default());
        }
    }
    voids
}

/// The groups of the last write that are whole; what lies between them is torn.
fn take_whole_groups(items: &[Item], out: &mut Scan) {
    let mut group: Vec<Found> = Vec::new();
    let mut broken_from: Option<usize> = None;
    for item in items {
        let start = item.range().start;
        let first = group.first().map_or(start, |f| f.offset);
        match item {
            Item::Good(found) if (found.flags & BEGIN != 0) == group.is_empty() => {
                group.push(*found);
                if found.flags & MORE == 0 {
                    if let Some(from) = broken_from.take() {
                        out.torn.push(from..first);
                    }
                    out.records.append(&mut group);
                    out.end = found.end();
                }
            }
            Item::Good(found) if found.flags & BEGIN != 0 => {
                // A group that never ended, then a new one.
                broken_from.get_or_insert(first);
                group = vec![*found];
                if found.flags & MORE == 0 {
                    if let Some(from) = broken_from.take() {
                        out.torn.push(from..found.offset);
                    }
                    out.records.append(&mut group);
                    out.end = found.end();
                }
            }
            Item::Good(_) | Item::Bad(_) => {
                broken_from.get_or_insert(first);
                group.clear();
            }
        }
    }
}

fn walk(segment: &[u8], seed: u64) -> Vec<Item> {
    let mut items = Vec::new();
    let mut at = RECORDS_FROM;
    while at < segment.len() {
        match look(segment, seed, at, at) {
            At::Record(found) => {
                at = found.end();
                items.push(Item::Good(found));
            }
            At::BadBody { end } => {
                items.push(Item::Bad(at..end));
                at = end;
            }
            At::Nothing => {
                let next = resync(segment, seed, at + 1);
                items.push(Item::Bad(at..next));
                at = next;
            }
        }
    }
    items
}

/// The next offset at which a good record stands, or the end.
fn resync(segment: &[u8], seed: u64, from: usize) -> usize {
    // A file that grew before its bytes arrived ends in zeros: no need to hash each of them.
    let end = segment.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    (from..end)
        .find(|at| matches!(look(segment, seed, *at, *at), At::Record(_)))
        .unwrap_or(segment.len())
}

#[cfg(test)]
mod tests {
    use super::{super::frame::encode, *};

    const SEED: u64 = 42;

    struct Segment(Vec<u8>);

    impl Segment {
        fn new() -> Self {
            Self(vec![0; RECORDS_FROM])
        }

        fn add(&mut self, flags: u8, body: &[u8]) -> Range<usize> {
            let at = self.0.len();
            encode(&mut self.0, SEED, at, (Kind::Note.number(), 1, flags), body);
            at..self.0.len()
        }

        fn scan(&self) -> Scan {
            scan(&self.0, SEED, Position::Last)
        }
    }

    fn starts(scan: &Scan) -> Vec<usize> {
        scan.records.iter().map(|f| f.offset).collect()
    }

    #[test]
    fn an_incomplete_group_at_the_end_does_not_count() {
        let mut segment = Segment::new();
        let a = segment.add(WRITE | BEGIN, b"one");
        segment.add(WRITE | BEGIN | MORE, b"two");
        let scan = segment.scan();
        assert_eq!((starts(&scan), scan.end), (vec![a.start], a.end));
        assert!(scan.damage.is_empty() && scan.torn.is_empty());
    }

    #[test]
    fn rot_before_the_last_write_costs_one_record_and_is_reported() {
        for damage_at in [0, 14] {
            let mut segment = Segment::new();
            let a = segment.add(WRITE | BEGIN | MORE, b"one");
            let b = segment.add(MORE, b"two, and it is longer");
            let c = segment.add(0, b"three");
            let d = segment.add(WRITE | BEGIN, b"four");
            segment.0[b.start + damage_at] ^= 1;
            let scan = segment.scan();
            assert_eq!(starts(&scan), [a.start, c.start, d.start]);
            assert_eq!(scan.damage, std::slice::from_ref(&b));
            assert_eq!(scan.end, d.end);
        }
    }

    #[test]
    fn a_torn_group_counts_not_even_in_part() {
        for torn in 0..3 {
            let mut segment = Segment::new();
            let a = segment.add(WRITE | BEGIN, b"before");
            let parts = [
                segment.add(WRITE | BEGIN | MORE, b"one"),
                segment.add(MORE, b"two"),
                segment.add(0, b"three"),
            ];
            let b = segment.add(BEGIN, b"whole, in the same write");
            segment.0[parts[torn].start] ^= 1;
            let scan = segment.scan();
            assert_eq!(starts(&scan), [a.start, b.start], "part {torn}");
            if torn == 0 {
                // With the mark of the last write gone too, nothing proves the first write either.
                assert_eq!(scan.torn, std::slice::from_ref(&(parts[0].start..b.start)));
            }
            assert!(scan.damage.is_empty());
            assert_eq!(scan.end, b.end);
        }
    }

    #[test]
    fn what_settles_a_torn_write_counts_whole_or_not_at_all() {
        let void = |segment: &mut Segment, flags: u8, range: &Range<usize>| {
            let at = segment.0.len();
            let body = super::super::record::encode_void(range);
            encode(&mut segment.0, SEED, at, (Kind::Void.number(), 1, flags), &body);
            at
        };
        // Which of the three records that settle is lost in the next cut; of none it is whole.
        for lost in [Some(0), Some(1), Some(2), None] {
            let mut segment = Segment::new();
            let a = segment.add(WRITE | BEGIN, b"before");
            let one = segment.add(WRITE | BEGIN | MORE, b"half");
            let two = segment.add(0, b"of it");
            let b = segment.add(BEGIN, b"whole");
            let three = segment.add(BEGIN | MORE, b"half");
            let four = segment.add(0, b"of this");
            let c = segment.add(BEGIN, b"whole too");
            segment.0[two.start] ^= 1;
            segment.0[four.start] ^= 1;
            let torn = [one.start..b.start, three.start..c.start];
            assert_eq!(segment.scan().torn, torn);

            let checkpoint = segment.add(BEGIN | MORE, b"counters").start;
            let first = void(&mut segment, MORE, &torn[0]);
            let second = void(&mut segment, 0, &torn[1]);
            let settling = [checkpoint, first, second];
            if let Some(lost) = lost {
                segment.0[settling[lost] + 1] ^= 1;
            }
            let scan = segment.scan();
            assert!(scan.damage.is_empty(), "{lost:?}: {:?}", scan.damage);
            let kept = [a.start, b.start, c.start];
            if lost.is_some() {
                assert_eq!((starts(&scan), scan.end), (kept.to_vec(), c.end), "{lost:?}");
                assert_eq!(scan.torn, torn, "{lost:?}: to be settled again");
            } else {
                assert_eq!(starts(&scan), [&kept[..], &settling].concat());
                assert!(scan.torn.is_empty());
            }
        }
    }

    #[test]
    fn a_void_group_stays_void_when_later_writes_prove_it_synced() {
        let mut segment = Segment::new();
        let one = segment.add(WRITE | BEGIN | MORE, b"one");
        let two = segment.add(0, b"two");
        let b = segment.add(BEGIN, b"whole");
        segment.0[two.start] ^= 1;
        assert_eq!(segment.scan().torn, std::slice::from_ref(&(one.start..b.start)));

        let at = segment.0.len();
        let body = super::super::record::encode_void(&(one.start..b.start));
        encode(&mut segment.0, SEED, at, (Kind::Void.number(), 1, WRITE | BEGIN), &body);
        let c = segment.add(WRITE | BEGIN, b"later");
        let scan = segment.scan();
        assert_eq!(starts(&scan), [b.start, at, c.start]);
        assert!(scan.damage.is_empty() && scan.torn.is_empty());
    }

    #[test]
    fn zeros_and_garbage_after_the_end_are_cut() {
        let mut segment = Segment::new();
        let a = segment.add(WRITE | BEGIN, b"one");
        for tail in [vec![0; 3000], vec![0xa5; 700], b"PRSPLOG1".to_vec()] {
            let mut torn = Segment(segment.0.clone());
            torn.0.extend_from_slice(&tail);
            let scan = torn.scan();
            assert_eq!((starts(&scan), scan.end), (vec![a.start], a.end));
            assert!(scan.damage.is_empty());
        }
    }

    #[test]
    fn a_body_that_looks_like_a_record_is_never_taken_for_one() {
        // What a stranger can know: the format, a guess at the offset, not the seed.
        let mut segment = Segment::new();
        let mut hostile = Vec::new();
        for offset in 4100..4300 {
            encode(&mut hostile, SEED + 1, offset, (Kind::Note.number(), 1, BEGIN | WRITE), b"x");
        }
        let a = segment.add(WRITE | BEGIN, &hostile);
        let b = segment.add(WRITE | BEGIN, b"next");
        segment.0[a.start] ^= 1;
        let scan = segment.scan();
        assert_eq!(starts(&scan), [b.start]);
        assert_eq!(scan.damage, [a]);
    }
}
