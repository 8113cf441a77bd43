//! The keys and values of the index: see the table in [`super`].

use crate::{
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
pub(crate) const WATERMARK: &[u8] = b"w2";
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
pub(crate) fn places(entry: &Entry) -> [Vec<u8>; 3] {
    let cursor = entry.cursor();
    [
        queued(class_queue(entry.class), &cursor),
        queued(destination_queue(first_bytes(&entry.summary.destination)), &cursor),
        expiry(entry),
    ]
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
    pub(crate) classes: [Share; 3],
    pub(crate) tombstones: u64,
    pub(crate) notes: u64,
    pub(crate) delivered: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, entry: &Entry) {
        let share = self.share(entry.class);
        share.bundles += 1;
        share.bytes += entry.summary.length;
    }

    pub(crate) fn take(&mut self, entry: &Entry) {
        let share = self.share(entry.class);
        share.bundles = share.bundles.saturating_sub(1);
        share.bytes = share.bytes.saturating_sub(entry.summary.length);
    }

    fn share(&mut self, class: Class) -> &mut Share {
        &mut self.classes[usize::from(class_number(class))]
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(72);
        for share in &self.classes {
            out.extend_from_slice(&share.bundles.to_be_bytes());
            out.extend_from_slice(&share.bytes.to_be_bytes());
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
            *share = Share { bundles: f.u64()?, bytes: f.u64()? };
        }
        (totals.tombstones, totals.notes, totals.delivered) = (f.u64()?, f.u64()?, f.u64()?);
        f.done()?;
        Some(totals)
    }
}

pub(crate) fn encode_watermark(mark: &Watermark) -> Vec<u8> {
    let mut out = mark.segment.to_be_bytes().to_vec();
    out.extend_from_slice(&mark.seed.to_be_bytes());
    out.extend_from_slice(&mark.end.to_be_bytes());
    out
}

pub(crate) fn decode_watermark(bytes: &[u8]) -> Option<Watermark> {
    let mut f = Fields::new(bytes);
    let mark = Watermark { segment: f.u32()?, seed: f.u64()?, end: f.u32()? };
    f.done()?;
    Some(mark)
}
