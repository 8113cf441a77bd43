//! The keys and values of the index: see the table in [`super`].

use std::cmp::Reverse;

use crate::{
    bounds::{Among, Owner, Party, Rank, Turn, counted_bytes, turn_of},
    contract::{BundleId, Class, Cursor, Entry, Queue, Share, Why, first_bytes},
    log::{
        Watermark,
        bytes::Fields,
        record::{self, class_number, decode_entry, encode_entry, why_from, why_number},
        segments::Location,
    },
};

/// A live bundle as the index keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) at: Location,
    /// XXH3 of the body, when it is a file of its own.
    pub(crate) blob: Option<u64>,
    pub(crate) entry: Entry,
}

/// A tombstone as the index keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) at: Location,
    pub(crate) why: Why,
    pub(crate) until_held_ms: u64,
}

pub(crate) const TOTALS: u8 = b's';
/// With the number of what the keys and values here look like: an index that looks otherwise has
/// none, and is built anew.
pub(crate) const WATERMARK: &[u8] = b"w3";
pub(crate) const CLASS_QUEUE: u8 = b'q';
pub(crate) const DESTINATION_QUEUE: u8 = b'p';
pub(crate) const LIVE: u8 = b'e';
pub(crate) const TOMBSTONE: u8 = b't';
pub(crate) const ID: u8 = b'i';
pub(crate) const EXPIRY: u8 = b'x';
pub(crate) const TOMBSTONE_END: u8 = b'y';
pub(crate) const SEGMENT: u8 = b'g';
pub(crate) const DELIVERED: u8 = b'd';
pub(crate) const NOTE: u8 = b'n';
pub(crate) const NEIGHBOUR: u8 = b'a';
pub(crate) const NEIGHBOUR_RANK: u8 = b'A';
pub(crate) const SOURCE: u8 = b'b';
pub(crate) const SOURCE_RANK: u8 = b'B';
pub(crate) const CARRIED: u8 = b'c';
pub(crate) const CARRIED_BY_NEIGHBOUR: u8 = b'k';
pub(crate) const CARRIED_BY_CLASS: u8 = b'l';

pub(crate) fn live(arrival: u64) -> Vec<u8> {
    key(LIVE, &[&arrival.to_be_bytes()])
}

pub(crate) fn id(id: &BundleId) -> Vec<u8> {
    key(ID, &[&id.0])
}

pub(crate) fn tombstone(id: &BundleId) -> Vec<u8> {
    key(TOMBSTONE, &[&id.0])
}

pub(crate) fn expiry(entry: &Entry) -> Vec<u8> {
    key(EXPIRY, &[&entry.expires_held_ms().to_be_bytes(), &entry.arrival.to_be_bytes()])
}

pub(crate) fn tombstone_end(until_held_ms: u64, id: &BundleId) -> Vec<u8> {
    key(TOMBSTONE_END, &[&until_held_ms.to_be_bytes(), &id.0])
}

pub(crate) fn delivered(source: &[u8; 32], epoch: u32, counter: u64) -> Vec<u8> {
    key(DELIVERED, &[source, &epoch.to_be_bytes(), &counter.to_be_bytes()])
}

pub(crate) fn note(space: u8, name: &[u8]) -> Vec<u8> {
    key(NOTE, &[&[space], name])
}

pub(crate) fn segment(number: u32) -> Vec<u8> {
    key(SEGMENT, &[&number.to_be_bytes()])
}

/// The part of a queue's keys that all its rows share.
pub(crate) fn queue(queue: &Queue) -> Vec<u8> {
    match queue {
        Queue::Class(class) => class_queue(*class),
        Queue::Destination(destination) => destination_queue(first_bytes(destination)),
        Queue::Toward(first) => destination_queue(*first),
    }
}

fn class_queue(class: Class) -> Vec<u8> {
    vec![CLASS_QUEUE, class_number(class)]
}

/// By its first bytes: rows of a queue are many, a key is long, and of another destination that
/// begins alike only the time to skip its rows is lost.
fn destination_queue(first: [u8; 8]) -> Vec<u8> {
    key(DESTINATION_QUEUE, &[&first])
}

/// A row of a queue.
pub(crate) fn queued(mut queue: Vec<u8>, cursor: &Cursor) -> Vec<u8> {
    queue.push(cursor.nice);
    queue.extend_from_slice(&cursor.arrival.to_be_bytes());
    queue
}

/// Every key a live bundle has beside its own two.
pub(crate) fn places(entry: &Entry) -> impl Iterator<Item = Vec<u8>> {
    let cursor = entry.cursor();
    let owner = Owner::of(entry);
    let among = [
        Among::Owner(owner),
        Among::Neighbour(owner.class, owner.neighbour),
        Among::Class(owner.class),
    ];
    let carried = among.into_iter().filter(move |_| owner.class != Class::Own);
    let turn_of = turn_of(entry);
    [
        queued(class_queue(entry.class), &cursor),
        queued(destination_queue(first_bytes(&entry.summary.destination)), &cursor),
        expiry(entry),
    ]
    .into_iter()
    .chain(carried.map(move |among| turn(turns(among), turn_of)))
}

/// What a neighbour's bundles of a class count.
pub(crate) fn neighbour(class: Class, neighbour: Party) -> Vec<u8> {
    key(NEIGHBOUR, &[&[class_number(class)], &neighbour.0])
}

/// What all rows share that rank the neighbours of a class.
pub(crate) fn neighbour_ranks(class: Class) -> Vec<u8> {
    vec![NEIGHBOUR_RANK, class_number(class)]
}

/// What a source's bundles from a neighbour count.
pub(crate) fn source(owner: Owner) -> Vec<u8> {
    let Owner { class, neighbour, source } = owner;
    key(SOURCE, &[&[class_number(class)], &neighbour.0, &source.0])
}

/// What all rows share that rank the sources of a neighbour.
pub(crate) fn source_ranks(class: Class, neighbour: Party) -> Vec<u8> {
    key(SOURCE_RANK, &[&[class_number(class)], &neighbour.0])
}

/// A row of a ranking: the largest share comes first.
pub(crate) fn ranked(mut ranks: Vec<u8>, (share, party): Rank) -> Vec<u8> {
    ranks.extend_from_slice(&(!share.0).to_be_bytes());
    ranks.extend_from_slice(&party.0);
    ranks
}

/// The rank that a row of a ranking stands for.
pub(crate) fn rank_of(key: &[u8]) -> Option<Rank> {
    let (_, rank) = key.split_last_chunk::<17>()?;
    let (share, party) = rank.split_first_chunk::<8>()?;
    Some((Reverse(!u64::from_be_bytes(*share)), Party(party.try_into().ok()?)))
}

/// What all rows share of bundles in the order in which they go.
pub(crate) fn turns(among: Among) -> Vec<u8> {
    match among {
        Among::Owner(Owner { class, neighbour, source }) => {
            key(CARRIED, &[&[class_number(class)], &neighbour.0, &source.0])
        }
        Among::Neighbour(class, neighbour) => {
            key(CARRIED_BY_NEIGHBOUR, &[&[class_number(class)], &neighbour.0])
        }
        Among::Class(class) => key(CARRIED_BY_CLASS, &[&[class_number(class)]]),
    }
}

/// A carried bundle's row, in the order of turns.
pub(crate) fn turn(mut turns: Vec<u8>, (nice, value, arrival): Turn) -> Vec<u8> {
    turns.push(!nice.0);
    turns.extend_from_slice(&value.to_be_bytes());
    turns.extend_from_slice(&arrival.to_be_bytes());
    turns
}

/// A share, from the value of its row.
pub(crate) fn share_from(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(value.try_into().ok()?))
}

/// The order of admission at the end of a key, or a value that is nothing else.
pub(crate) fn arrival_of(bytes: &[u8]) -> Option<u64> {
    let start = bytes.len().checked_sub(8)?;
    Some(u64::from_be_bytes(bytes[start..].try_into().ok()?))
}

/// The id at the end of a key.
pub(crate) fn id_of(key: &[u8]) -> Option<BundleId> {
    let start = key.len().checked_sub(32)?;
    Some(BundleId(key[start..].try_into().ok()?))
}

/// Source, epoch and counter of a delivery's key.
pub(crate) fn sequence_of(key: &[u8]) -> Option<([u8; 32], u32, u64)> {
    let mut f = Fields::new(key.get(1..)?);
    let sequence = (f.array()?, f.u32()?, f.u64()?);
    f.done()?;
    Some(sequence)
}

fn key(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|p| p.len()).sum::<usize>());
    key.push(first);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

impl Live {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = encode_location(self.at);
        match self.blob {
            None => out.push(0),
            Some(check) => {
                out.push(1);
                out.extend_from_slice(&check.to_be_bytes());
            }
        }
        encode_entry(&mut out, &self.entry);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut f = Fields::new(bytes);
        let at = decode_location(&mut f)?;
        let blob = match f.u8()? {
            0 => None,
            _ => Some(f.u64()?),
        };
        let entry = decode_entry(&mut f, record::VERSION)?;
        f.done()?;
        Some(Self { at, blob, entry })
    }
}

impl Tombstone {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = encode_location(self.at);
        out.push(why_number(self.why));
        out.extend_from_slice(&self.until_held_ms.to_be_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut f = Fields::new(bytes);
        let tombstone =
            Self { at: decode_location(&mut f)?, why: why_from(f.u8()?)?, until_held_ms: f.u64()? };
        f.done()?;
        Some(tombstone)
    }
}

pub(crate) fn encode_location(at: Location) -> Vec<u8> {
    [at.segment.to_be_bytes(), at.offset.to_be_bytes(), at.len.to_be_bytes()].concat()
}

fn decode_location(f: &mut Fields<'_>) -> Option<Location> {
    Some(Location { segment: f.u32()?, offset: f.u32()?, len: f.u32()? })
}

pub(crate) fn location_from(bytes: &[u8]) -> Option<Location> {
    let mut f = Fields::new(bytes);
    let at = decode_location(&mut f)?;
    f.done()?;
    Some(at)
}

/// Totals over all rows, kept in the batches that change them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) classes: [Share; Class::ALL.len()],
    pub(crate) tombstones: u64,
    pub(crate) notes: u64,
    pub(crate) delivered: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, entry: &Entry) {
        let share = self.share(entry.class);
        share.bundles += 1;
        share.bytes += entry.summary.length;
        share.counted_bytes += counted_bytes(entry.summary.length);
    }

    pub(crate) fn take(&mut self, entry: &Entry) {
        let share = self.share(entry.class);
        share.bundles = share.bundles.saturating_sub(1);
        share.bytes = share.bytes.saturating_sub(entry.summary.length);
        let counted = counted_bytes(entry.summary.length);
        share.counted_bytes = share.counted_bytes.saturating_sub(counted);
    }

    fn share(&mut self, class: Class) -> &mut Share {
        &mut self.classes[class as usize]
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(120);
        for share in &self.classes {
            out.extend_from_slice(&share.bundles.to_be_bytes());
            out.extend_from_slice(&share.bytes.to_be_bytes());
            out.extend_from_slice(&share.counted_bytes.to_be_bytes());
        }
        for count in [self.tombstones, self.notes, self.delivered] {
            out.extend_from_slice(&count.to_be_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut f = Fields::new(bytes);
        let mut totals = Self::default();
        for share in &mut totals.classes {
            *share = Share { bundles: f.u64()?, bytes: f.u64()?, counted_bytes: f.u64()? };
        }
        (totals.tombstones, totals.notes, totals.delivered) = (f.u64()?, f.u64()?, f.u64()?);
        f.done()?;
        Some(totals)
    }
}

/// Of the rows in the table: an index with others is made anew.
const LAYOUT: u8 = 3;

pub(crate) fn encode_watermark(mark: &Watermark) -> Vec<u8> {
    let mut out = vec![LAYOUT];
    out.extend_from_slice(&mark.segment.to_be_bytes());
    out.extend_from_slice(&mark.seed.to_be_bytes());
    out.extend_from_slice(&mark.end.to_be_bytes());
    out
}

pub(crate) fn decode_watermark(bytes: &[u8]) -> Option<Watermark> {
    let (_, mark) = bytes.split_first().filter(|(layout, _)| **layout == LAYOUT)?;
    let mut f = Fields::new(mark);
    let mark = Watermark { segment: f.u32()?, seed: f.u64()?, end: f.u32()? };
    f.done()?;
    Some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_and_turns_are_keys_in_their_order() {
        let [a, b] = [Party::of(None), Party::of(Some(&[3; 32]))];
        let ranks = [(Reverse(9), a), (Reverse(9), b), (Reverse(256), a), (Reverse(0), b)];
        for x in ranks {
            assert_eq!(rank_of(&ranked(neighbour_ranks(Class::Friend), x)), Some(x));
            for y in ranks {
                let key = |rank| ranked(source_ranks(Class::Stranger, a), rank);
                assert_eq!(key(x).cmp(&key(y)), x.cmp(&y), "{x:?} {y:?}");
            }
        }
        let in_turn = [(1, 0, 7), (255, 9, 300), (160, 300, 2), (160, 7, 3), (160, 7, 1)];
        let in_turn = in_turn.map(|(nice, value, arrival)| (Reverse(nice), value, arrival));
        let owner = Owner { class: Class::Contact, neighbour: b, source: a };
        for among in [Among::Owner(owner), Among::Neighbour(Class::Contact, b)] {
            for (x, y) in in_turn.into_iter().zip(in_turn.into_iter().skip(1)) {
                assert_eq!(turn(turns(among), x).cmp(&turn(turns(among), y)), x.cmp(&y));
            }
        }
    }

    #[test]
    fn an_index_with_other_rows_does_not_say_what_it_follows() {
        let mark = Watermark { segment: 3, seed: 4, end: 5 };
        let value = encode_watermark(&mark);
        assert_eq!(decode_watermark(&value), Some(mark));
        // As it was before there was a layout.
        assert_eq!(decode_watermark(&value[1..]), None);
    }
}
