//! How a Meshtastic radio puts messages on a line of bytes, between whatever else it prints there.
//!
//! ```text
//! 94 C3 length (2 bytes, the high one first) message, 512 bytes at most
//! ```

const START: [u8; 2] = [0x94, 0xc3];
const HEAD_BYTES: usize = 4;
/// What either end takes.
pub(super) const MESSAGE_MAX: usize = 512;
/// What wakes a radio that sleeps, and ends whatever it took for the middle of a message.
pub(super) const WAKE: [u8; 32] = [START[1]; 32];

/// A message as it goes to the radio, or nothing if it is too long.
pub(super) fn enframe(message: &[u8]) -> Vec<u8> {
    let Some(length) = u16::try_from(message.len()).ok().filter(|_| message.len() <= MESSAGE_MAX)
    else {
        return Vec::new();
    };
    [&START[..], &length.to_be_bytes(), message].concat()
}

/// Finds messages in what a radio says, however it is cut.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    /// From the start of what may be a message.
    come: Vec<u8>,
}

impl Deframer {
    /// The message that ends with this byte, if one does.
    pub(super) fn push(&mut self, byte: u8) -> Option<Vec<u8>> {
        self.come.push(byte);
        if self.come.len() <= HEAD_BYTES {
            self.seek();
        }
        let [_, _, high, low, message @ ..] = &self.come[..] else { return None };
        if message.len() < usize::from(u16::from_be_bytes([*high, *low])) {
            return None;
        }
        let message = message.to_vec();
        self.come = Vec::new();
        (!message.is_empty()).then_some(message)
    }

    /// Lets go of what is not the start of a message; in what is given up another may begin.
    fn seek(&mut self) {
        while !self.is_start() {
            self.come.remove(0);
        }
    }

    fn is_start(&self) -> bool {
        let start = self.come.iter().zip(START).all(|(byte, start)| *byte == start);
        let fits = match &self.come[..] {
            [_, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])) <= MESSAGE_MAX,
            [_, _, high] => usize::from(*high) <= MESSAGE_MAX >> 8,
            _ => true,
        };
        start && fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(deframer: &mut Deframer, said: &[u8]) -> Vec<Vec<u8>> {
        said.iter().filter_map(|byte| deframer.push(*byte)).collect()
    }

    #[test]
    fn messages_are_found_between_text_and_however_they_are_cut() {
        let all: Vec<u8> = (0..=255).chain(0..=255).collect();
        let said = [
            b"INFO  | booted\r\n\x94\x94".to_vec(),
            enframe(&all),
            b"DEBUG | \x94 sent\r\n\x94\xc3\x02\x01 too long".to_vec(),
            enframe(b"\x94\xc3"),
            enframe(b""),
            enframe(b"x"),
        ];
        let said = said.concat();
        for cut in 0..said.len() {
            let mut deframer = Deframer::default();
            let mut messages = found(&mut deframer, &said[..cut]);
            messages.extend(found(&mut deframer, &said[cut..]));
            assert_eq!(messages, [&all[..], b"\x94\xc3", b"x"]);
        }
        assert_eq!(enframe(&[0; 513]), [0; 0]);
    }

    #[test]
    fn what_never_becomes_a_message_takes_no_room() {
        let mut deframer = Deframer::default();
        for n in 0..100_000_usize {
            deframer.push(b"\x94\xc3\xff\x94\x94\xc3\x02\xff"[n % 8]);
            assert!(deframer.come.len() <= HEAD_BYTES);
        }
        // Waking ends a message that began long ago.
        let mut deframer = Deframer::default();
        found(&mut deframer, b"\x94\xc3\x00\x10");
        assert_eq!(found(&mut deframer, &WAKE).len(), 1);
        assert_eq!(found(&mut deframer, &enframe(b"x")), [b"x"]);
    }
}
