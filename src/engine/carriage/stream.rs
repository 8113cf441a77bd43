//! Units on a stream: a length, then the unit.
//!
//! ```text
//! varint length (LEB128, shortest form, <= UNIT_MAX) ‖ unit
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut, buf::Limit};

use super::lent::Lent;
use crate::exchange::{CHUNK_MAX, UNIT_MAX, Unit};

/// Bytes of the longest length: [`UNIT_MAX`] has 21 bits.
pub const LENGTH_MAX: usize = 3;
/// Bytes read at once where the end of a unit is not known to be near: the longest chunk and what
/// stands around it.
const READ_BYTES: usize = CHUNK_MAX + 64;
/// Less room than this is not worth a read: what a record of TLS holds.
const ALONG_BYTES: usize = 16 << 10;
/// Type and handle, before the bytes of a Data unit.
const DATA_HEAD_BYTES: usize = 5;
/// A unit from this size on has a buffer of its own.
const LARGE_BYTES: usize = 64 << 10;

/// What is on the stream is not a unit; nothing behind it can be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a unit's length is too long or not in its shortest form")]
pub struct TooLong;

/// What goes before a unit of `length` bytes.
pub fn length_prefix(mut length: usize) -> Bytes {
    let mut out = Vec::with_capacity(LENGTH_MAX);
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or(0);
        length >>= 7;
        if length == 0 {
            out.push(low);
            return out.into();
        }
        out.push(low | 0x80);
    }
}

/// Cuts a stream into units. Holds at most one unit that is not whole, and what was pushed.
///
/// The memory of large units is used again once nobody holds them any more.
#[derive(Debug, Default)]
pub struct Deframer {
    buffer: BytesMut,
    lent: Lent,
    /// It is read into; what is pushed brings memory of its own.
    reads: bool,
}

impl Deframer {
    /// Takes bytes as they come. Take all units out before the next, so that no more than one
    /// unit's bytes are held.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Where to read into without a copy, once all units are out; what is written counts as pushed.
    ///
    /// It ends with the unit that has begun, if that is large: so the next has a buffer of its own,
    /// and nothing is moved. Small ones are read along with what follows them.
    pub fn inlet(&mut self) -> Limit<&mut BytesMut> {
        self.reads = true;
        let spare = self.buffer.capacity() - self.buffer.len();
        let most = match self.missing_bytes() {
            Some(missing) => missing,
            None if spare < ALONG_BYTES => READ_BYTES,
            None => spare,
        };
        if spare < most {
            if let Some(mut again) = self.lent.take() {
                again.clear();
                again.extend_from_slice(&self.buffer);
                self.buffer = again;
            }
            self.buffer.reserve(most);
        }
        (&mut self.buffer).limit(most)
    }

    /// Bytes of units that are not out yet.
    pub fn held_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes that a large unit which has begun still lacks.
    fn missing_bytes(&self) -> Option<usize> {
        let (length, prefix) = read_length(&self.buffer).ok()??;
        (length >= LARGE_BYTES).then(|| (prefix + length).saturating_sub(self.buffer.len()))
    }

    /// The next whole unit.
    pub fn next_unit(&mut self) -> Result<Option<Bytes>, TooLong> {
        let Some((length, prefix)) = read_length(&self.buffer)? else { return Ok(None) };
        if self.buffer.len() < prefix + length {
            return Ok(None);
        }
        self.buffer.advance(prefix);
        let unit = self.buffer.split_to(length).freeze();
        // Those beyond what this version sends are not worth keeping.
        if self.reads && (LARGE_BYTES..READ_BYTES).contains(&length) {
            self.lent.note(&unit);
        } else {
            self.lent.note_small();
        }
        Ok(Some(unit))
    }

    /// What came of a unit when the stream ended inside it, if that is worth anything: the beginning
    /// of data is data. To be given to the engine before it is told that the link is down.
    pub fn cut_unit(&mut self) -> Option<Bytes> {
        let (_, prefix) = read_length(&self.buffer).ok()??;
        let unit = self.buffer.split_off(prefix.min(self.buffer.len())).freeze();
        self.buffer.clear();
        Unit::is_usable_when_cut(&unit).then_some(unit)
    }

    /// What came of data that is not whole, as a unit of its own: what is still to come is then another. For a
    /// stream on which nothing comes any more, although nobody says that it ended.
    pub fn begun_unit(&mut self) -> Option<Bytes> {
        let (length, prefix) = read_length(&self.buffer).ok()??;
        let unit = self.buffer.get(prefix..)?;
        if unit.len() >= length || !Unit::is_usable_when_cut(unit) {
            return None;
        }
        let head = unit.get(..DATA_HEAD_BYTES)?;
        let missing = length - unit.len();
        let rest = [&length_prefix(head.len() + missing)[..], head].concat();
        let unit = std::mem::replace(&mut self.buffer, BytesMut::from(&rest[..])).freeze();
        Some(unit.slice(prefix..))
    }

    /// Whether the stream may end here without a unit being cut.
    pub fn is_between_units(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// The length at the start, and how many bytes it takes; `None` until it is whole.
fn read_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, TooLong> {
    let mut length = 0;
    for (at, byte) in bytes.iter().take(LENGTH_MAX).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let shortest = at == 0 || *byte != 0;
            return if shortest && (1..=UNIT_MAX).contains(&length) {
                Ok(Some((length, at + 1)))
            } else {
                Err(TooLong)
            };
        }
    }
    if bytes.len() < LENGTH_MAX { Ok(None) } else { Err(TooLong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_survive_any_cut_of_the_stream() {
        let units: Vec<Vec<u8>> = [1, 127, 128, 16_383, 16_384, 70_000, UNIT_MAX]
            .iter()
            .map(|length| vec![7; *length])
            .collect();
        let stream: Vec<u8> = units
            .iter()
            .flat_map(|u| [length_prefix(u.len()).to_vec(), u.clone()].concat())
            .collect();
        for piece in [1, 2, 3, 1000, 65_536] {
            let (mut deframer, mut found) = (Deframer::default(), Vec::new());
            for bytes in stream.chunks(piece) {
                deframer.push(bytes);
                while let Some(unit) = deframer.next_unit().unwrap() {
                    found.push(unit.to_vec());
                }
            }
            assert!(found == units && deframer.is_between_units(), "pieces of {piece}");
        }
    }

    /// Reads one chunk the way a link does, in pieces; where in memory it came to lie.
    fn chunk_through(deframer: &mut Deframer, piece: usize) -> Bytes {
        let unit = vec![7; CHUNK_MAX];
        let stream = [&length_prefix(unit.len())[..], &unit].concat();
        let mut left = &stream[..];
        while !left.is_empty() {
            let mut inlet = deframer.inlet();
            let bytes = left.len().min(piece).min(inlet.remaining_mut());
            inlet.put_slice(&left[..bytes]);
            left = &left[bytes..];
            if let Some(unit) = deframer.next_unit().unwrap() {
                assert!(left.is_empty());
                return unit;
            }
        }
        unreachable!("a whole unit was pushed")
    }

    #[test]
    fn the_memory_of_large_units_is_used_again_when_nobody_holds_them() {
        let mut deframer = Deframer::default();
        let held: Vec<Bytes> = (0..3).map(|_| chunk_through(&mut deframer, 16 << 10)).collect();
        let places: Vec<*const u8> = held.iter().map(|unit| unit.as_ptr()).collect();
        let body = held[0].slice(5..);
        drop(held);
        let other = chunk_through(&mut deframer, 16 << 10);
        assert!(!places.contains(&other.as_ptr()), "a piece of the first is still held");
        assert!(body.iter().all(|byte| *byte == 7));
        drop((body, other));
        for place in places {
            // It may begin a length's bytes farther on than before.
            let again = chunk_through(&mut deframer, 10_000).as_ptr();
            assert!((place..place.wrapping_add(8)).contains(&again), "{again:?}, not {place:?}");
        }
    }

    #[test]
    fn a_large_unit_is_read_to_its_end_and_no_further() {
        let mut deframer = Deframer::default();
        let prefix = length_prefix(100_000);
        deframer.push(&prefix[..2]);
        assert!(deframer.inlet().remaining_mut() >= ALONG_BYTES);
        deframer.push(&prefix[2..]);
        assert_eq!(deframer.inlet().remaining_mut(), 100_000);
        deframer.push(&[7; 99_999]);
        assert_eq!(deframer.inlet().remaining_mut(), 1);
        deframer.push(&[7]);
        assert!(deframer.next_unit().unwrap().is_some() && deframer.is_between_units());
        deframer.push(&[200]);
        assert!(deframer.inlet().remaining_mut() >= ALONG_BYTES);
    }

    #[test]
    fn the_beginning_of_data_survives_a_cut_and_nothing_else_does() {
        for (unit, usable) in [(&[4, 0, 0, 0, 1, 9, 9, 9][..], true), (&[5, 1, 2, 3, 4, 5], false)]
        {
            let mut deframer = Deframer::default();
            deframer.push(&length_prefix(100));
            deframer.push(unit);
            assert_eq!(deframer.next_unit(), Ok(None));
            assert_eq!(deframer.cut_unit().as_deref(), usable.then_some(unit));
            assert!(deframer.is_between_units());
        }
        let mut deframer = Deframer::default();
        deframer.push(&[0x80]);
        assert_eq!(deframer.cut_unit(), None);
    }

    #[test]
    fn data_that_does_not_go_on_is_handed_out_as_far_as_it_came_and_goes_on_later() {
        let head = [4, 0, 0, 0, 1];
        let body: Vec<u8> = (0..200).collect();
        let stream = [&length_prefix(205)[..], &head, &body, &length_prefix(1), &[5]].concat();
        for (cut, again) in [(8, 9), (9, 150), (100, 206), (2, 100), (7, 8)] {
            let (mut deframer, mut found) = (Deframer::default(), Vec::new());
            for piece in [&stream[..cut], &stream[cut..again], &stream[again..]] {
                deframer.push(piece);
                found.extend(std::iter::from_fn(|| deframer.next_unit().unwrap()));
                found.extend(deframer.begun_unit());
                assert_eq!(deframer.begun_unit(), None, "twice the same");
            }
            assert_eq!(found.pop().as_deref(), Some(&[5][..]));
            assert!(deframer.is_between_units() && found.iter().all(|unit| unit[..5] == head));
            let came: Vec<u8> = found.iter().flat_map(|unit| unit[5..].to_vec()).collect();
            assert!(came == body, "{cut} {again}: {found:?}");
        }
        let mut deframer = Deframer::default();
        deframer.push(&length_prefix(100));
        deframer.push(&[5, 1, 2, 3, 4, 5]);
        assert_eq!(deframer.begun_unit(), None, "not data");
        assert_eq!(deframer.held_bytes(), 7);
    }

    #[test]
    fn other_lengths_end_the_stream() {
        for bytes in [&[0][..], &[0x80, 0], &[0x81, 0x80, 0], &[0xff; 3], &[0xff, 0xff, 0x7f]] {
            let mut deframer = Deframer::default();
            deframer.push(bytes);
            assert_eq!(deframer.next_unit(), Err(TooLong), "{bytes:02x?}");
        }
    }
}
