//! What the records of the log say: their numbers and the layout of their bodies.
//!
//! All fields are big-endian and of fixed size, or carry their length and stand last. A number or
//! version this build does not know is kept as it is, also by compaction: an older build must not
//! lose what a newer one wrote.
//!
//! ```text
//! 1 bundle     entry | own u8+1 B len, bytes | head u16 len, bytes | 0, body … or 1, check u64
//!   entry      id 32 | nice u8 | lifetime u32 | length u64 | class u8 | tokens u8 | hops u8 |
//!              age u32 | level u8 | worth u8 | arrived u64 | arrival u64 | destination | source |
//!              from
//! 2 retired    id 32 | why u8 | until u64 (custody clock at which the tombstone ends)
//! 3 hop        id 32 | tokens u8 | hops u8 | age u32 | level u8 | class u8
//! 4 sequence   destination | epoch u32 | counter u64
//! 5 delivered  source 32 | epoch u32 | (counter u64 | id 8)…
//! 6 note       space u8 | key u8 len, bytes | 0 (removed) or 1, value …
//! 7 clock      held u64 | boot 16 | boottime u64
//! 8 checkpoint clock | epoch u32 | next arrival u64 | n u16 | n sequences, least recent first
//! 9 sealed     end u32
//! 10 void      from u32 | to u32
//! 11 renewed   as hop | arrival u64 (its number from now on)
//! 16-19        reserved: rate, cursor, contact, job
//! destination, source, from: u8 length (0: none), bytes
//! class: 0 own, 1 contact, 2 stranger, 3 friend
//! level: not in version 1, worth: not in versions 1 and 2; there they are 0
//! ```

use std::ops::Range;

use super::bytes::Fields;
use crate::{
    clock::Point,
    contract::{BundleId, Class, Delivered, Destination, Entry, Hop, Sequence, Summary, Why},
};

/// The version of every record layout above.
pub(crate) const VERSION: u8 = 3;
/// The oldest that is read: its hop data knows no level.
const VERSION_MIN: u8 = 1;
/// The first in which bundles are worth something.
const VERSION_WORTH: u8 = 3;

/// The records this build understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bundle,
    Retired,
    Hop,
    Sequence,
    Delivered,
    Note,
    Clock,
    Checkpoint,
    Sealed,
    Void,
    Renewed,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Bundle,
        Self::Retired,
        Self::Hop,
        Self::Sequence,
        Self::Delivered,
        Self::Note,
        Self::Clock,
        Self::Checkpoint,
        Self::Sealed,
        Self::Void,
        Self::Renewed,
    ];

    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Bundle => 1,
            Self::Retired => 2,
            Self::Hop => 3,
            Self::Sequence => 4,
            Self::Delivered => 5,
            Self::Note => 6,
            Self::Clock => 7,
            Self::Checkpoint => 8,
            Self::Sealed => 9,
            Self::Void => 10,
            Self::Renewed => 11,
        }
    }
}

/// A decoded record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Bundle(BundleRecord),
    Retired(Retired),
    Hop {
        id: BundleId,
        hop: Hop,
        class: Class,
    },
    Renewed {
        id: BundleId,
        hop: Hop,
        class: Class,
        arrival: u64,
    },
    Sequence(Sequence),
    Delivered(Vec<Delivered>),
    Note(NoteRecord),
    Clock(Point),
    Checkpoint(Checkpoint),
    Sealed,
    Void,
    /// Of a type, a version or a content this build does not know: kept.
    Unknown,
}

/// A bundle's record; the ranges lie within the record's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BundleRecord {
    pub(crate) entry: Entry,
    pub(crate) own: Option<Range<usize>>,
    pub(crate) head: Range<usize>,
    pub(crate) body: BodyPlace,
}

/// Where a bundle's body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BodyPlace {
    Inline(Range<usize>),
    Blob { check: u64 },
}

/// A tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retired {
    pub(crate) id: BundleId,
    pub(crate) why: Why,
    pub(crate) until_held_ms: u64,
}

/// A note; the value is a range within the record's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoteRecord {
    pub(crate) space: u8,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Range<usize>>,
}

/// Our own numbers and the clock, repeated at the start of every segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) clock: Point,
    pub(crate) epoch: u32,
    pub(crate) next_arrival: u64,
    pub(crate) sequences: Vec<Sequence>,
}

/// Decodes a record's body.
pub(crate) fn decode(kind: u8, version: u8, body: &[u8]) -> Record {
    let is_read = (VERSION_MIN..=VERSION).contains(&version);
    let known = Kind::ALL.into_iter().find(|k| k.number() == kind && is_read);
    known.and_then(|kind| decode_known(kind, version, body)).unwrap_or(Record::Unknown)
}

fn decode_known(kind: Kind, version: u8, body: &[u8]) -> Option<Record> {
    let mut fields = Fields::new(body);
    let f = &mut fields;
    let record = match kind {
        Kind::Bundle => Record::Bundle(decode_bundle(f, version)?),
        Kind::Retired => Record::Retired(Retired {
            id: BundleId(f.array()?),
            why: why_from(f.u8()?)?,
            until_held_ms: f.u64()?,
        }),
        Kind::Hop => Record::Hop {
            id: BundleId(f.array()?),
            hop: decode_hop(f, version)?,
            class: class_from(f.u8()?)?,
        },
        Kind::Renewed => Record::Renewed {
            id: BundleId(f.array()?),
            hop: decode_hop(f, version)?,
            class: class_from(f.u8()?)?,
            arrival: f.u64()?,
        },
        Kind::Sequence => Record::Sequence(decode_sequence(f)?),
        Kind::Delivered => {
            let (source, epoch) = (f.array()?, f.u32()?);
            let mut all = Vec::new();
            while f.done().is_none() {
                all.push(Delivered { source, epoch, counter: f.u64()?, id8: f.array()? });
            }
            Record::Delivered(all)
        }
        Kind::Note => {
            let space = f.u8()?;
            let key_len = usize::from(f.u8()?);
            let key = f.take(key_len)?.to_vec();
            let value = match f.u8()? {
                0 => None,
                1 => {
                    let start = f.at();
                    f.rest();
                    Some(start..f.at())
                }
                _ => return None,
            };
            Record::Note(NoteRecord { space, key, value })
        }
        Kind::Clock => Record::Clock(decode_point(f)?),
        Kind::Checkpoint => {
            let (clock, epoch, next_arrival) = (decode_point(f)?, f.u32()?, f.u64()?);
            let n = f.u16()?;
            let mut sequences = Vec::new();
            for _ in 0..n {
                sequences.push(decode_sequence(f)?);
            }
            Record::Checkpoint(Checkpoint { clock, epoch, next_arrival, sequences })
        }
        Kind::Sealed => {
            f.u32()?;
            Record::Sealed
        }
        Kind::Void => {
            f.take(8)?;
            Record::Void
        }
    };
    fields.done().map(|()| record)
}

fn decode_hop(f: &mut Fields<'_>, version: u8) -> Option<Hop> {
    let (tokens, hops, age_s) = (f.u8()?, f.u8()?, f.u32()?);
    let level = if version == VERSION_MIN { 0 } else { f.u8()? };
    Some(Hop { tokens, hops, age_s, level })
}

fn push_hop(out: &mut Vec<u8>, hop: &Hop) {
    out.extend_from_slice(&[hop.tokens, hop.hops]);
    out.extend_from_slice(&hop.age_s.to_be_bytes());
    out.push(hop.level);
}

fn decode_bundle(f: &mut Fields<'_>, version: u8) -> Option<BundleRecord> {
    let entry = decode_entry(f, version)?;
    let own = match f.u8()? {
        0 => None,
        1 => {
            let len = usize::from(f.u16()?);
            let start = f.at();
            f.take(len)?;
            Some(start..f.at())
        }
        _ => return None,
    };
    let head_len = usize::from(f.u16()?);
    let start = f.at();
    f.take(head_len)?;
    let head = start..f.at();
    let body = match f.u8()? {
        0 => {
            let start = f.at();
            f.rest();
            BodyPlace::Inline(start..f.at())
        }
        1 => BodyPlace::Blob { check: f.u64()? },
        _ => return None,
    };
    Some(BundleRecord { entry, own, head, body })
}

/// The part of a bundle's record that the index keeps too.
pub(crate) fn decode_entry(f: &mut Fields<'_>, version: u8) -> Option<Entry> {
    let id = BundleId(f.array()?);
    let (nice, lifetime_s, length) = (f.u8()?, f.u32()?, f.u64()?);
    let class = class_from(f.u8()?)?;
    let hop = decode_hop(f, version)?;
    let worth = if version < VERSION_WORTH { 0 } else { f.u8()? };
    let (arrived_held_ms, arrival) = (f.u64()?, f.u64()?);
    let destination = decode_destination(f)?;
    let source = decode_key(f)?;
    let from = decode_key(f)?;
    let summary = Summary { destination, source, nice, lifetime_s, length };
    Some(Entry { id, summary, hop, class, worth, from, arrived_held_ms, arrival })
}

pub(crate) fn encode_entry(out: &mut Vec<u8>, entry: &Entry) {
    let Entry { id, summary, hop, class, worth, from, arrived_held_ms, arrival } = entry;
    out.extend_from_slice(&id.0);
    out.push(summary.nice);
    out.extend_from_slice(&summary.lifetime_s.to_be_bytes());
    out.extend_from_slice(&summary.length.to_be_bytes());
    out.push(class_number(*class));
    push_hop(out, hop);
    out.push(*worth);
    out.extend_from_slice(&arrived_held_ms.to_be_bytes());
    out.extend_from_slice(&arrival.to_be_bytes());
    short(out, summary.destination.as_bytes());
    short(out, summary.source.as_ref().map_or(&[], |key| key));
    short(out, from.as_ref().map_or(&[], |key| key));
}

/// What becomes of a body when its bundle's record is written.
pub(crate) enum BodyBytes<'a> {
    Inline(&'a [u8]),
    Blob { check: u64 },
}

pub(crate) fn encode_bundle(
    entry: &Entry,
    own: Option<&[u8]>,
    head: &[u8],
    body: &BodyBytes<'_>,
) -> Vec<u8> {
    let inline = match body {
        BodyBytes::Inline(bytes) => bytes.len(),
        BodyBytes::Blob { .. } => 8,
    };
    let mut out = Vec::with_capacity(192 + head.len() + own.map_or(0, <[u8]>::len) + inline);
    encode_entry(&mut out, entry);
    match own {
        None => out.push(0),
        Some(own) => {
            out.push(1);
            medium(&mut out, own);
        }
    }
    medium(&mut out, head);
    match body {
        BodyBytes::Inline(bytes) => {
            out.push(0);
            out.extend_from_slice(bytes);
        }
        BodyBytes::Blob { check } => {
            out.push(1);
            out.extend_from_slice(&check.to_be_bytes());
        }
    }
    out
}

pub(crate) fn encode_retired(retired: &Retired) -> Vec<u8> {
    let mut out = retired.id.0.to_vec();
    out.push(why_number(retired.why));
    out.extend_from_slice(&retired.until_held_ms.to_be_bytes());
    out
}

pub(crate) fn encode_hop(id: &BundleId, hop: Hop, class: Class) -> Vec<u8> {
    let mut out = id.0.to_vec();
    push_hop(&mut out, &hop);
    out.push(class_number(class));
    out
}

pub(crate) fn encode_renewed(id: &BundleId, hop: Hop, class: Class, arrival: u64) -> Vec<u8> {
    let mut out = encode_hop(id, hop, class);
    out.extend_from_slice(&arrival.to_be_bytes());
    out
}

pub(crate) fn encode_sequence(out: &mut Vec<u8>, sequence: &Sequence) {
    short(out, sequence.destination.as_bytes());
    out.extend_from_slice(&sequence.epoch.to_be_bytes());
    out.extend_from_slice(&sequence.counter.to_be_bytes());
}

fn decode_sequence(f: &mut Fields<'_>) -> Option<Sequence> {
    let destination = decode_destination(f)?;
    Some(Sequence { destination, epoch: f.u32()?, counter: f.u64()? })
}

/// Deliveries of one source and epoch.
pub(crate) fn encode_delivered(source: &[u8; 32], epoch: u32, all: &[(u64, [u8; 8])]) -> Vec<u8> {
    let mut out = source.to_vec();
    out.extend_from_slice(&epoch.to_be_bytes());
    for (counter, id8) in all {
        out.extend_from_slice(&counter.to_be_bytes());
        out.extend_from_slice(id8);
    }
    out
}

pub(crate) fn encode_note(space: u8, key: &[u8], value: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + value.map_or(0, <[u8]>::len) + 3);
    out.push(space);
    short(&mut out, key);
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            out.extend_from_slice(value);
        }
    }
    out
}

pub(crate) fn encode_point(point: &Point) -> Vec<u8> {
    let mut out = point.held_ms.to_be_bytes().to_vec();
    out.extend_from_slice(&point.boot);
    out.extend_from_slice(&point.boottime_ms.to_be_bytes());
    out
}

fn decode_point(f: &mut Fields<'_>) -> Option<Point> {
    Some(Point { held_ms: f.u64()?, boot: f.array()?, boottime_ms: f.u64()? })
}

pub(crate) fn encode_checkpoint(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut out = encode_point(&checkpoint.clock);
    out.extend_from_slice(&checkpoint.epoch.to_be_bytes());
    out.extend_from_slice(&checkpoint.next_arrival.to_be_bytes());
    // The table is bounded far below this.
    let n = u16::try_from(checkpoint.sequences.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&n.to_be_bytes());
    for sequence in checkpoint.sequences.iter().take(usize::from(n)) {
        encode_sequence(&mut out, sequence);
    }
    out
}

pub(crate) fn encode_sealed(end: usize) -> Vec<u8> {
    offset_bytes(end).to_vec()
}

pub(crate) fn encode_void(range: &Range<usize>) -> Vec<u8> {
    [offset_bytes(range.start), offset_bytes(range.end)].concat()
}

pub(crate) fn decode_void(version: u8, body: &[u8]) -> Option<Range<usize>> {
    let mut f = Fields::new(body);
    let (from, to) = (usize::try_from(f.u32()?).ok()?, usize::try_from(f.u32()?).ok()?);
    let is_read = (VERSION_MIN..=VERSION).contains(&version);
    (is_read && f.done().is_some()).then_some(from..to)
}

/// Offsets fit: a segment is at most a few MiB.
fn offset_bytes(offset: usize) -> [u8; 4] {
    u32::try_from(offset).unwrap_or(u32::MAX).to_be_bytes()
}

/// Up to 255 bytes with their length; all callers' limits are below.
fn short(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(bytes);
}

/// Up to 65,535 bytes with their length; all callers' limits are below.
fn medium(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn decode_destination(f: &mut Fields<'_>) -> Option<Destination> {
    let len = usize::from(f.u8()?);
    Destination::from_bytes(f.take(len)?)
}

fn decode_key(f: &mut Fields<'_>) -> Option<Option<[u8; 32]>> {
    match f.u8()? {
        0 => Some(None),
        32 => Some(Some(f.array()?)),
        _ => None,
    }
}

pub(crate) fn class_number(class: Class) -> u8 {
    match class {
        Class::Own => 0,
        Class::Contact => 1,
        Class::Stranger => 2,
        // Came later: the numbers of the others stand in logs.
        Class::Friend => 3,
    }
}

fn class_from(number: u8) -> Option<Class> {
    Class::ALL.into_iter().find(|class| class_number(*class) == number)
}

const WHYS: [Why; 7] = [
    Why::Read,
    Why::Receipt,
    Why::Expired,
    Why::Cancelled,
    Why::Dropped,
    Why::Refused,
    Why::Damaged,
];

pub(crate) fn why_number(why: Why) -> u8 {
    let at = WHYS.iter().position(|w| *w == why).unwrap_or_default();
    u8::try_from(at).unwrap_or_default()
}

pub(crate) fn why_from(number: u8) -> Option<Why> {
    WHYS.get(usize::from(number)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            id: BundleId([7; 32]),
            summary: Summary {
                destination: Destination::Group([3; 16]),
                source: Some([4; 32]),
                nice: 160,
                lifetime_s: 86_400,
                length: 5,
            },
            hop: Hop { tokens: 8, hops: 1, age_s: 60, level: 7 },
            class: Class::Contact,
            worth: 90,
            from: None,
            arrived_held_ms: 1 << 40,
            arrival: 12,
        }
    }

    fn all() -> Vec<(Kind, Vec<u8>, Record)> {
        let id = BundleId([7; 32]);
        let hop = Hop { tokens: 4, hops: 2, age_s: 70, level: 9 };
        let retired = Retired { id, why: Why::Receipt, until_held_ms: 99 };
        let sequence =
            Sequence { destination: Destination::Node([9; 32]), epoch: 0xdead_beef, counter: 41 };
        let mut sequence_body = Vec::new();
        encode_sequence(&mut sequence_body, &sequence);
        let point = Point { held_ms: 5, boot: [1; 16], boottime_ms: 6 };
        let checkpoint =
            Checkpoint { clock: point, epoch: 2, next_arrival: 3, sequences: vec![sequence; 2] };
        let delivered = |counter| Delivered { source: [5; 32], epoch: 6, counter, id8: [8; 8] };
        let inline = BodyBytes::Inline(b"bytes");
        let bundle = encode_bundle(&entry(), Some(b"own"), b"head", &inline);
        let at = bundle.len() - 5 - 1 - 4;
        vec![
            (
                Kind::Bundle,
                bundle.clone(),
                Record::Bundle(BundleRecord {
                    entry: entry(),
                    own: Some(at - 5..at - 2),
                    head: at..at + 4,
                    body: BodyPlace::Inline(bundle.len() - 5..bundle.len()),
                }),
            ),
            (Kind::Retired, encode_retired(&retired), Record::Retired(retired)),
            (
                Kind::Hop,
                encode_hop(&id, hop, Class::Stranger),
                Record::Hop { id, hop, class: Class::Stranger },
            ),
            (
                Kind::Renewed,
                encode_renewed(&id, hop, Class::Own, 9),
                Record::Renewed { id, hop, class: Class::Own, arrival: 9 },
            ),
            (Kind::Sequence, sequence_body, Record::Sequence(sequence)),
            (
                Kind::Delivered,
                encode_delivered(&[5; 32], 6, &[(1, [8; 8]), (2, [8; 8])]),
                Record::Delivered(vec![delivered(1), delivered(2)]),
            ),
            (
                Kind::Note,
                encode_note(3, b"key", Some(b"value")),
                Record::Note(NoteRecord { space: 3, key: b"key".to_vec(), value: Some(6..11) }),
            ),
            (
                Kind::Note,
                encode_note(3, b"key", None),
                Record::Note(NoteRecord { space: 3, key: b"key".to_vec(), value: None }),
            ),
            (Kind::Clock, encode_point(&point), Record::Clock(point)),
            (Kind::Checkpoint, encode_checkpoint(&checkpoint), Record::Checkpoint(checkpoint)),
            (Kind::Sealed, encode_sealed(5), Record::Sealed),
            (Kind::Void, encode_void(&(4..9)), Record::Void),
        ]
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for (kind, body, record) in all() {
            assert_eq!(decode(kind.number(), VERSION, &body), record);
            assert_eq!(decode(kind.number(), VERSION + 1, &body), Record::Unknown);
        }
        assert_eq!(decode(16, VERSION, b"a rate"), Record::Unknown);
    }

    /// Logs from before levels are read; they have none.
    #[test]
    fn hop_data_of_version_1_has_no_level() {
        let id = BundleId([7; 32]);
        let hop = Hop { tokens: 4, hops: 2, age_s: 70, level: 0 };
        let body = encode_hop(&id, hop, Class::Stranger);
        let (before, after) = body.split_at(32 + 2 + 4);
        let old = [before, &after[1..]].concat();
        let record = Record::Hop { id, hop, class: Class::Stranger };
        assert_eq!(decode(3, 1, &old), record);
        assert_eq!(decode(3, VERSION, &old), Record::Unknown);
        assert_eq!(decode(3, 0, &old), Record::Unknown);
    }

    /// Logs from before bundles were worth something are read.
    #[test]
    fn a_bundle_of_version_2_is_worth_nothing() {
        let entry = Entry { worth: 0, ..entry() };
        let body = encode_bundle(&entry, None, b"head", &BodyBytes::Inline(b"body"));
        let (before, after) = body.split_at(32 + 1 + 4 + 8 + 1 + 7);
        let old = [before, &after[1..]].concat();
        let Record::Bundle(read) = decode(1, 2, &old) else { panic!("not read") };
        assert_eq!((read.entry, &old[read.head]), (entry, &b"head"[..]));
        assert_eq!(decode(1, VERSION, &old), Record::Unknown);
    }

    #[test]
    fn classes_have_the_numbers_they_always_had_and_others_are_not_guessed_at() {
        let id = BundleId([7; 32]);
        let hop = Hop { tokens: 4, hops: 2, age_s: 70, level: 9 };
        for (number, class) in
            [(0, Class::Own), (1, Class::Contact), (2, Class::Stranger), (3, Class::Friend)]
        {
            let mut body = encode_hop(&id, hop, class);
            assert_eq!(body.last(), Some(&number));
            body.pop();
            body.push(number);
            assert_eq!(decode(3, VERSION, &body), Record::Hop { id, hop, class });
        }
        let mut body = encode_hop(&id, hop, Class::Friend);
        *body.last_mut().unwrap() = 4;
        assert_eq!(decode(3, VERSION, &body), Record::Unknown);
    }

    #[test]
    fn no_prefix_of_a_record_with_a_fixed_end_decodes() {
        for (kind, body, _) in all() {
            for len in 0..body.len() {
                let short = decode(kind.number(), VERSION, &body[..len]);
                // Bundles, notes and deliveries end in a part without a length of its own; the
                // frame's length and check guard that.
                let open_end = matches!(kind, Kind::Bundle | Kind::Note | Kind::Delivered);
                assert!(open_end || short == Record::Unknown, "{kind:?} cut to {len}");
            }
        }
    }
}
