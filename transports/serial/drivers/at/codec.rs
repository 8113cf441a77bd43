//! How a frame stands in what is said to a modem.
//!
//! `plain`: modules whose commands are lines cut them at 00, 0A or 0D, so those must not stand in a frame.
//! What is in between is kept, and before each piece stands one byte that says how long it is and which of the
//! three ends it:
//!
//! ```text
//! c = nth allowed byte, n in 0..=252    (all bytes but 00 0A 0D, ascending)
//! n <= 251:  n / 3 bytes as they are, then the (n % 3)th of 00 0A 0D
//! n == 252:  84 bytes as they are, then nothing
//! ```
//!
//! One of the three is thought behind the frame (00), and goes without saying. A frame of `n` bytes becomes at
//! most `n + n / 84 + 1`: 237 become 240, 1.3 %; base64 would make 316 of them, hexadecimal digits 474.
//! Only what encoding yields is accepted.

/// What must not stand there.
const STOPS: [u8; 3] = [0x00, 0x0a, 0x0d];
/// The longest piece that ends with one of them, and what goes without any: one more.
const RUN_MAX: usize = 84;
/// Says that [`RUN_MAX`] bytes follow and no stop.
const FULL: u8 = 252;

/// How a frame stands in a line or behind a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Data {
    /// As it is but for three bytes.
    #[default]
    Plain,
    /// Hexadecimal digits.
    Hex,
    /// As an SMS, in hexadecimal digits.
    Sms,
    /// As it is, and the sum of its bytes.
    Sum,
}

impl Data {
    /// The longest frame of which `bytes` are what the modem takes.
    pub(super) fn room(self, bytes: usize) -> usize {
        match self {
            Self::Plain => (0..=bytes).rev().find(|n| n + n / RUN_MAX < bytes).unwrap_or(0),
            Self::Hex | Self::Sum | Self::Sms => bytes,
        }
    }
}

/// A frame without the three bytes.
pub(super) fn plain(frame: &[u8]) -> Vec<u8> {
    let mut coded = Vec::with_capacity(frame.len() + frame.len() / RUN_MAX + 1);
    let mut rest = frame;
    loop {
        let run = rest.iter().position(|byte| STOPS.contains(byte)).unwrap_or(rest.len());
        if run >= RUN_MAX {
            let (piece, behind) = rest.split_at(RUN_MAX);
            coded.push(allowed(FULL));
            coded.extend_from_slice(piece);
            rest = behind;
            continue;
        }
        let stop = rest.get(run).and_then(|byte| STOPS.iter().position(|stop| stop == byte));
        let code = u8::try_from(run * STOPS.len() + stop.unwrap_or(0)).unwrap_or(FULL);
        coded.push(allowed(code));
        coded.extend_from_slice(&rest[..run]);
        match stop {
            Some(_) => rest = &rest[run + 1..],
            None => return coded,
        }
    }
}

/// What such a frame was; `None` if it is none.
pub(super) fn from_plain(coded: &[u8]) -> Option<Vec<u8>> {
    if coded.iter().any(|byte| STOPS.contains(byte)) {
        return None;
    }
    let mut frame = Vec::with_capacity(coded.len());
    let mut rest = coded;
    loop {
        let (first, behind) = rest.split_first()?;
        let code = usize::from(number(*first));
        let (run, stop) = match code < usize::from(FULL) {
            true => (code / STOPS.len(), Some(STOPS[code % STOPS.len()])),
            false => (RUN_MAX, None),
        };
        let (piece, behind) = behind.split_at_checked(run)?;
        frame.extend_from_slice(piece);
        rest = behind;
        match stop {
            // The one that was thought behind it.
            Some(stop) if rest.is_empty() => return (stop == STOPS[0]).then_some(frame),
            Some(stop) => frame.push(stop),
            None => {}
        }
    }
}

/// The nth byte that may stand there.
fn allowed(n: u8) -> u8 {
    // 01..=09, 0b, 0c, 0e..=ff
    match n {
        0..=8 => n + 1,
        9..=10 => n + 2,
        _ => n + 3,
    }
}

fn number(byte: u8) -> u8 {
    match byte {
        0..=9 => byte.saturating_sub(1),
        10..=12 => byte - 2,
        _ => byte - 3,
    }
}

/// Digits as modems write them.
pub(super) fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |four: u8| DIGITS[usize::from(four & 15)];
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Bytes from digits of either case; `None` if there is anything else.
pub(super) fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|four| u8::try_from(four).ok());
    let (pairs, rest) = text.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    rest.is_empty().then(|| bytes.collect())?
}

/// The sum of bytes, as satellite modems count it.
pub(super) fn sum(bytes: &[u8]) -> [u8; 2] {
    bytes.iter().fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte))).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_comes_back_and_is_no_longer_than_was_promised() {
        let mut state = 1_u32;
        let mut chance = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        for length in 0..600 {
            let random: Vec<u8> = (0..length).map(|_| chance()).collect();
            let stops: Vec<u8> = (0..length).map(|_| STOPS[usize::from(chance() % 3)]).collect();
            for frame in [random, stops, vec![0x41; length], vec![0; length]] {
                let coded = plain(&frame);
                assert!(!coded.iter().any(|byte| STOPS.contains(byte)));
                assert!(coded.len() <= length + length / RUN_MAX + 1, "{length}");
                assert_eq!(from_plain(&coded), Some(frame));
            }
        }
        // As docs/modems.md has it.
        assert_eq!(plain(b"Hi\r\nA"), [0x09, 0x48, 0x69, 0x02, 0x04, 0x41]);
        assert_eq!((Data::Plain.room(240), plain(&[0x41; 237]).len()), (237, 240));
        assert_eq!((Data::Plain.room(0), Data::Plain.room(1), Data::Hex.room(7)), (0, 0, 7));
    }

    #[test]
    fn a_frame_is_written_in_one_way_only() {
        // Whatever is accepted is what encoding would have made of it.
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                let coded = [first, second];
                if let Some(frame) = from_plain(&coded) {
                    assert_eq!(plain(&frame), coded);
                }
            }
        }
        let not_ended = [allowed(3), 0x41];
        assert_eq!(from_plain(&not_ended), Some(vec![0x41]));
        for wrong in [&[][..], &[allowed(4), 0x41], &[allowed(6), 0x41], &[allowed(FULL)], &[0]] {
            assert_eq!(from_plain(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_code_bytes_are_all_that_may_stand_there() {
        let all: Vec<u8> = (0..=FULL).map(allowed).collect();
        let may: Vec<u8> = (0..=255).filter(|byte| !STOPS.contains(byte)).collect();
        assert_eq!(all, may);
        assert!((0..=FULL).all(|n| number(allowed(n)) == n));
    }

    #[test]
    fn digits_and_sums() {
        assert_eq!(hex(&[0, 0x7f, 0xaf]), b"007FAF");
        assert_eq!(from_hex(b"007faF"), Some(vec![0, 0x7f, 0xaf]));
        for wrong in ["0", "0g", "+1", " 00"] {
            assert_eq!(from_hex(wrong.as_bytes()), None);
        }
        assert_eq!(sum(b"hello"), [0x02, 0x14]);
        assert_eq!(sum(&[0xff; 300]), 76_500_u32.to_be_bytes()[2..]);
    }
}
