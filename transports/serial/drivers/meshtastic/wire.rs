//! Fields of a protobuf message, read and written by hand: a number and a value each.
//!
//! ```text
//! varint(number << 3 | kind) value        kind 0: varint   1: 8 bytes   2: varint length, bytes   5: 4 bytes
//! ```
//!
//! Reading borrows and allocates nothing. What is nested is read when somebody asks for it.

/// A varint has at most ten bytes of seven bits.
const VARINT_BYTES_MAX: usize = 10;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Fixed32(u32),
    Fixed64(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// As a number of 32 bits; larger ones lose what is above, as protobuf has it.
    pub(super) fn number(self) -> u32 {
        let wide = match self {
            Self::Number(number) | Self::Fixed64(number) => number,
            Self::Fixed32(number) => number.into(),
            Self::Bytes(_) => 0,
        };
        u32::try_from(wide & u64::from(u32::MAX)).unwrap_or(0)
    }

    /// As a number that may be below zero.
    pub(super) fn signed(self) -> i32 {
        self.number().cast_signed()
    }

    /// As bytes: text, or a message within.
    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => &[],
        }
    }
}

/// The fields of a message, in the order in which they stand. It ends at its end, or at what is no field.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The last value of that number: of several the last one counts.
    pub(super) fn last(message: &'a [u8], number: u32) -> Option<Value<'a>> {
        Self::of(message).filter(|(found, _)| *found == number).last().map(|(_, value)| value)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for n in 0..VARINT_BYTES_MAX {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            // Of the tenth byte one bit is left.
            number |= u64::from(byte & 0x7f).checked_shl(u32::try_from(7 * n).ok()?)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let length = usize::try_from(length).ok()?;
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u32, Value<'a>)> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0)?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            // Groups are long gone.
            _ => return None,
        };
        Some((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        field
    }
}

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// A number; 0 need not be written, and is not.
    pub(super) fn number(mut self, number: u32, value: u64) -> Self {
        if value != 0 {
            self.varint(u64::from(number) << 3);
            self.varint(value);
        }
        self
    }

    pub(super) fn fixed32(mut self, number: u32, value: u32) -> Self {
        self.varint(u64::from(number) << 3 | 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Bytes, or a message within; those are written even if they are empty.
    pub(super) fn bytes(mut self, number: u32, bytes: &[u8]) -> Self {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        loop {
            let low = value.to_le_bytes()[0] & 0x7f;
            value >>= 7;
            if value == 0 {
                return self.0.push(low);
            }
            self.0.push(low | 0x80);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for number in [1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let message = Message::default()
                .number(3, number)
                .fixed32(7, 0x0102_0304)
                .bytes(500, b"text")
                .bytes(8, b"")
                .number(4, 0)
                .done();
            let fields: Vec<_> = Fields::of(&message).collect();
            assert_eq!(
                fields,
                [
                    (3, Value::Number(number)),
                    (7, Value::Fixed32(0x0102_0304)),
                    (500, Value::Bytes(b"text")),
                    (8, Value::Bytes(b"")),
                ]
            );
        }
    }

    #[test]
    fn a_message_of_another_program_is_read() {
        // From the description of the format: field 1 is 150, field 2 is "testing", field 3 a message.
        let message = b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01";
        assert_eq!(Fields::last(message, 1), Some(Value::Number(150)));
        assert_eq!(Fields::last(message, 2).unwrap().bytes(), b"testing");
        let within = Fields::last(message, 3).unwrap().bytes();
        assert_eq!(Fields::last(within, 1).unwrap().number(), 150);
        // An int32 of -1 is written as ten bytes.
        let below = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(Fields::last(below, 1).unwrap().signed(), -1);
        assert_eq!(Fields::last(b"\x08\x01\x08\x02", 1), Some(Value::Number(2)));
    }

    #[test]
    fn what_is_cut_or_wrong_ends_the_message() {
        let endless = [0xff; 20];
        let cases: [(&[u8], usize); 8] = [
            (b"", 0),
            (b"\x08", 0),
            (b"\x12\x05four", 0),
            (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", 0),
            (&endless, 0),
            (b"\x00\x01", 0),
            (b"\x0b\x01", 0),
            (b"\x08\x01\x0d\x01\x02\x03", 1),
        ];
        for (message, good) in cases {
            assert_eq!(Fields::of(message).count(), good, "{message:?}");
        }
    }
}
