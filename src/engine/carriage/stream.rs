//! Units on a stream: a length, then the unit.
//!
//! ```text
//! varint length (LEB128, shortest form, <= UNIT_MAX) ‖ unit
//! ```

use bytes::{Buf, Bytes, BytesMut};

use crate::exchange::{UNIT_MAX, Unit};

/// Bytes of the longest length: [`UNIT_MAX`] has 21 bits.
pub const LENGTH_MAX: usize = 3;

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
#[derive(Debug, Default)]
pub struct Deframer {
    buffer: BytesMut,
}

impl Deframer {
    /// Takes bytes as they come. Take all units out before the next, so that no more than one
    /// unit's bytes are held.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The buffer behind, to read into without a copy; what is appended counts as pushed.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Bytes that the unit which has begun still lacks; 0 while its length is not known. Whoever reads
    /// no more than these gets the next unit into a buffer of its own, and nothing is moved.
    pub fn missing_bytes(&self) -> usize {
        let begun = read_length(&self.buffer).ok().flatten();
        begun.map_or(0, |(length, prefix)| (prefix + length).saturating_sub(self.buffer.len()))
    }

    /// The next whole unit.
    pub fn next_unit(&mut self) -> Result<Option<Bytes>, TooLong> {
        let Some((length, prefix)) = read_length(&self.buffer)? else { return Ok(None) };
        if self.buffer.len() < prefix + length {
            self.buffer.reserve(prefix + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(prefix);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// What came of a unit when the stream ended inside it, if that is worth anything: the beginning
    /// of data is data. To be given to the engine before it is told that the link is down.
    pub fn cut_unit(&mut self) -> Option<Bytes> {
        let (_, prefix) = read_length(&self.buffer).ok()??;
        let unit = self.buffer.split_off(prefix.min(self.buffer.len())).freeze();
        self.buffer.clear();
        Unit::is_usable_when_cut(&unit).then_some(unit)
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

    #[test]
    fn what_a_unit_lacks_is_known_from_its_length_on() {
        let mut deframer = Deframer::default();
        assert_eq!(deframer.missing_bytes(), 0);
        let prefix = length_prefix(300);
        deframer.push(&prefix[..1]);
        assert_eq!(deframer.missing_bytes(), 0);
        deframer.push(&prefix[1..]);
        assert_eq!(deframer.missing_bytes(), 300);
        deframer.push(&[7; 299]);
        assert_eq!(deframer.missing_bytes(), 1);
        deframer.push(&[7; 2]);
        assert_eq!(deframer.missing_bytes(), 0);
        assert!(deframer.next_unit().unwrap().is_some() && !deframer.is_between_units());
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
    fn other_lengths_end_the_stream() {
        for bytes in [&[0][..], &[0x80, 0], &[0x81, 0x80, 0], &[0xff; 3], &[0xff, 0xff, 0x7f]] {
            let mut deframer = Deframer::default();
            deframer.push(bytes);
            assert_eq!(deframer.next_unit(), Err(TooLong), "{bytes:02x?}");
        }
    }
}
