//! How records lie in a segment, and what makes a record believable.
//!
//! ```text
//! segment  = header copy A (at 0) | zeros | header copy B (at 4096) | records from 4160 on
//! header   = "PRSPLOG1" 8 | format u16 | number u32 | seed 8 | check 8          (big-endian)
//! record   = type u8 | version u8 | flags u8 | 0 | length u32 | head check u32 | body | check u64
//! ```
//!
//! Both checks are XXH3 with the segment's random seed over the record's offset and what precedes
//! the check. A bundle's body comes from strangers and lies in the log as it is: without the seed
//! its author could put a perfect record into it, and a scan that lost its way in a damaged spot
//! would believe it. The seed is drawn when the segment is made, after which nobody outside ever
//! sees it, and the offset binds a record to its place, so that not even a copy of a real record
//! counts anywhere else.
//!
//! The header stands twice, a page apart, because without the seed every record of the segment
//! would be lost to one bad sector.

use xxhash_rust::xxh3::xxh3_64_with_seed;

const MAGIC: &[u8; 8] = b"PRSPLOG1";
/// The one segment format there is.
pub(crate) const FORMAT: u16 = 1;
const HEADER_LEN: usize = 30;
const COPY_B: usize = 4096;
/// Where records begin.
pub(crate) const RECORDS_FROM: usize = COPY_B + 64;
/// Bytes before a record's body.
pub(crate) const HEAD_LEN: usize = 12;
/// Bytes after a record's body.
pub(crate) const CHECK_LEN: usize = 8;

/// First record of a group.
pub(crate) const BEGIN: u8 = 1;
/// The group goes on with the next record.
pub(crate) const MORE: u8 = 2;
/// First record of a write. The log writes only after the write before it was synced, so every
/// record before this one was durable: damage there is rot, not a torn write.
pub(crate) const WRITE: u8 = 4;
/// Rewritten by compaction: replaces the record of the same bundle instead of repeating it.
pub(crate) const MOVED: u8 = 8;

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u32,
    pub(crate) seed: u64,
}

impl SegmentHeader {
    /// Everything before the first record.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(HEADER_LEN);
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&FORMAT.to_be_bytes());
        copy.extend_from_slice(&self.number.to_be_bytes());
        copy.extend_from_slice(&self.seed.to_be_bytes());
        let check = xxh3_64_with_seed(&copy, self.seed);
        copy.extend_from_slice(&check.to_be_bytes());
        let mut out = vec![0; RECORDS_FROM];
        out[..HEADER_LEN].copy_from_slice(&copy);
        out[COPY_B..COPY_B + HEADER_LEN].copy_from_slice(&copy);
        out
    }
}

/// What the header copies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadHeader {
    /// At least one copy is good; `both` when both are.
    Good { header: SegmentHeader, both: bool },
    /// A good copy of a format this build does not know.
    Newer(u16),
    /// No good copy.
    Bad,
}

/// Reads the header of a segment from its first bytes.
pub(crate) fn read_header(bytes: &[u8]) -> ReadHeader {
    let a = read_copy(bytes.get(..HEADER_LEN));
    let b = read_copy(bytes.get(COPY_B..COPY_B + HEADER_LEN));
    match (a, b) {
        (Some((FORMAT, header)), other) | (other, Some((FORMAT, header))) => {
            ReadHeader::Good { header, both: other == Some((FORMAT, header)) }
        }
        (Some((format, _)), _) | (_, Some((format, _))) => ReadHeader::Newer(format),
        (None, None) => ReadHeader::Bad,
    }
}

fn read_copy(copy: Option<&[u8]>) -> Option<(u16, SegmentHeader)> {
    let copy = copy?;
    let format = u16::from_be_bytes(copy[8..10].try_into().ok()?);
    let number = u32::from_be_bytes(copy[10..14].try_into().ok()?);
    let seed = u64::from_be_bytes(copy[14..22].try_into().ok()?);
    let check = u64::from_be_bytes(copy[22..30].try_into().ok()?);
    let good = copy.starts_with(MAGIC) && xxh3_64_with_seed(&copy[..22], seed) == check;
    good.then_some((format, SegmentHeader { number, seed }))
}

/// A record that passed both checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: u8,
    pub(crate) version: u8,
    pub(crate) flags: u8,
    /// Where the record begins in its segment.
    pub(crate) offset: usize,
    /// Length of the body.
    pub(crate) body_len: usize,
}

impl Found {
    /// Where the next record begins.
    pub(crate) fn end(&self) -> usize {
        self.offset + HEAD_LEN + self.body_len + CHECK_LEN
    }

    /// The body, out of the bytes it was found in.
    pub(crate) fn body<'a>(&self, segment: &'a [u8]) -> &'a [u8] {
        let start = self.offset + HEAD_LEN;
        segment.get(start..start + self.body_len).unwrap_or_default()
    }
}

/// Appends one record to `out`; `offset` is where it will lie in the segment.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    seed: u64,
    offset: usize,
    (kind, version, flags): (u8, u8, u8),
    body: &[u8],
) {
    let start = out.len();
    // Bodies are bounded far below 4 GiB by the contract's limits.
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&[kind, version, flags, 0]);
    out.extend_from_slice(&length.to_be_bytes());
    let check = head_check(&out[start..], seed, offset);
    out.extend_from_slice(&check);
    out.extend_from_slice(body);
    let check = full_check(&out[start..], seed, offset);
    out.extend_from_slice(&check);
}

/// What stands at an offset of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// A good record.
    Record(Found),
    /// A good head whose body is damaged; it ends there.
    BadBody { end: usize },
    /// No head, or one whose record does not fit into the file.
    Nothing,
}

/// Looks at the place `at` in `bytes`, which is `offset` in the segment. The answer counts in
/// `bytes`. Constant work unless a good head stands there.
pub(crate) fn look(bytes: &[u8], seed: u64, offset: usize, at: usize) -> At {
    let Some(head) = bytes.get(at..).and_then(|rest| rest.get(..HEAD_LEN)) else {
        return At::Nothing;
    };
    if head[3] != 0 || head[8..] != head_check(&head[..8], seed, offset) {
        return At::Nothing;
    }
    let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    let Ok(body_len) = usize::try_from(length) else { return At::Nothing };
    let found = Found { kind: head[0], version: head[1], flags: head[2], offset: at, body_len };
    let Some(checked) = body_len
        .checked_add(HEAD_LEN)
        .and_then(|len| at.checked_add(len))
        .and_then(|end| bytes.get(at..end))
    else {
        return At::Nothing;
    };
    let Some(check) = bytes.get(found.end() - CHECK_LEN..found.end()) else {
        return At::Nothing;
    };
    if check == full_check(checked, seed, offset) {
        At::Record(found)
    } else {
        At::BadBody { end: found.end() }
    }
}

fn head_check(head: &[u8], seed: u64, offset: usize) -> [u8; 4] {
    let mut input = [0; 16];
    input[..8].copy_from_slice(&(offset as u64).to_be_bytes());
    input[8..].copy_from_slice(&head[..8]);
    let [.., a, b, c, d] = xxh3_64_with_seed(&input, seed).to_be_bytes();
    [a, b, c, d]
}

/// The offset enters through the head check that is part of `bytes`, and through the seed.
fn full_check(bytes: &[u8], seed: u64, offset: usize) -> [u8; 8] {
    xxh3_64_with_seed(bytes, seed.wrapping_add(offset as u64)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let mut segment = vec![0; 100];
        encode(&mut segment, 77, 100, (6, 1, BEGIN | WRITE), b"a body of some bytes");
        let At::Record(found) = look(&segment, 77, 100, 100) else { panic!("the record is good") };
        assert_eq!(found.body(&segment), b"a body of some bytes");
        assert_eq!((found.kind, found.flags, found.end()), (6, BEGIN | WRITE, segment.len()));
        for bit in 800..segment.len() * 8 {
            let mut bad = segment.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(look(&bad, 77, 100, 100), At::Record(_)), "bit {bit}");
        }
    }

    #[test]
    fn a_record_counts_only_at_its_place_and_under_its_seed() {
        let mut record = Vec::new();
        encode(&mut record, 1, 5000, (1, 1, 0), b"body");
        let mut segment = vec![0; 5000];
        segment.extend_from_slice(&record);
        assert!(matches!(look(&segment, 1, 5000, 5000), At::Record(_)));
        assert_eq!(look(&segment, 2, 5000, 5000), At::Nothing);
        segment.insert(0, 0);
        assert_eq!(look(&segment, 1, 5001, 5001), At::Nothing);
    }

    #[test]
    fn one_good_copy_of_the_header_is_enough() {
        let header = SegmentHeader { number: 9, seed: 0x0123_4567_89ab_cdef };
        let good = header.encode();
        assert_eq!(read_header(&good), ReadHeader::Good { header, both: true });
        for at in [0, COPY_B] {
            let mut bad = good.clone();
            bad[at..at + 64].fill(0xff);
            assert_eq!(read_header(&bad), ReadHeader::Good { header, both: false });
        }
        assert_eq!(read_header(&good[..20]), ReadHeader::Bad);
        assert_eq!(read_header(&[]), ReadHeader::Bad);
    }
}
