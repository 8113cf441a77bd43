//! Our frames inside those of amateur packet radio: AX.25 2.2 UI frames, whose source is a call sign.
//!
//! ```text
//! "PSTRDR" 7 | call sign 7 | control 03 | protocol F0 | our frame, 256 bytes at most
//! ```
//!
//! A call sign is six characters, each shifted by one bit, and a number. Whatever is not addressed to
//! `PSTRDR` is somebody else's. Up to eight repeaters may stand behind the source; we write none.

/// What our frames are addressed to: a name for the program, as is the custom.
const TO: &[u8; CALL_CHARS] = b"PSTRDR";
const CALL_CHARS: usize = 6;
const CALL_BYTES: usize = 7;
const CALLS_MAX: usize = 10;
const SSID_MAX: u8 = 15;
/// Unnumbered information; the bit beside it asks for an answer that we never give.
const UI: u8 = 0x03;
const POLL: u8 = 0x10;
/// No layer 3.
const PROTOCOL: u8 = 0xf0;
/// Bits of a number's byte that are always set, and that which says that it is a command.
const RESERVED: u8 = 0x60;
const COMMAND: u8 = 0x80;
/// The last call sign.
const LAST: u8 = 0x01;
/// What a frame of ours has in front of it.
pub(super) const HEAD_BYTES: u16 = 16;
/// AX.25 2.2, section 6.7.2.1: the longest information field that everybody takes.
pub(super) const INFO_MAX: u16 = 256;
/// With all repeaters.
pub(super) const HEAD_BYTES_MAX: usize = CALLS_MAX * CALL_BYTES + 2;

/// A call sign and its number, as in `DL1ABC-7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call([u8; CALL_BYTES]);

impl Call {
    /// Letters and digits, of both at least one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (sign, number) = text.split_once('-').unwrap_or((text, "0"));
        let number = number.parse::<u8>().ok().filter(|number| *number <= SSID_MAX)?;
        let is_sign = (3..=CALL_CHARS).contains(&sign.len())
            && sign.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && sign.bytes().any(|byte| byte.is_ascii_digit())
            && sign.bytes().any(|byte| byte.is_ascii_alphabetic());
        if !is_sign || text.contains('+') {
            return None;
        }
        let mut call = [b' '; CALL_BYTES];
        call[..sign.len()].copy_from_slice(sign.to_ascii_uppercase().as_bytes());
        Some(Self::shifted(call, number))
    }

    fn shifted(mut call: [u8; CALL_BYTES], number: u8) -> Self {
        for byte in &mut call[..CALL_CHARS] {
            *byte <<= 1;
        }
        call[CALL_CHARS] = RESERVED | number << 1;
        Self(call)
    }

    /// What stands in front of each frame from here.
    pub(super) fn head(&self) -> Vec<u8> {
        let mut to = [b' '; CALL_BYTES];
        to[..CALL_CHARS].copy_from_slice(TO);
        let Self(mut to) = Self::shifted(to, 0);
        let Self(mut from) = self.clone();
        to[CALL_CHARS] |= COMMAND;
        from[CALL_CHARS] |= LAST;
        [&to[..], &from[..], &[UI, PROTOCOL]].concat()
    }
}

/// Our frame within one of AX.25, if there is one.
pub(super) fn ours(frame: &[u8]) -> Option<&[u8]> {
    let to = frame.get(..CALL_CHARS)?;
    if !to.iter().zip(TO).all(|(shifted, byte)| *shifted == byte << 1) {
        return None;
    }
    let is_last = |call: &[u8]| call.last().is_some_and(|byte| byte & LAST != 0);
    let calls = frame.chunks_exact(CALL_BYTES).take(CALLS_MAX).position(is_last)? + 1;
    let rest = frame.get(calls * CALL_BYTES..)?;
    match rest {
        [control, PROTOCOL, ours @ ..] if control & !POLL == UI && calls >= 2 => Some(ours),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_as_the_standard_writes_it() {
        let head = Call::parse("dl1abc-7").unwrap().head();
        // P S T R D R, shifted; command; D L 1 A B C, shifted; 7, the last.
        let expected = [
            0xa0, 0xa6, 0xa8, 0xa4, 0x88, 0xa4, 0xe0, 0x88, 0x98, 0x62, 0x82, 0x84, 0x86, 0x6f,
            0x03, 0xf0,
        ];
        assert_eq!(head, expected);
        assert_eq!(head.len(), usize::from(HEAD_BYTES));
        assert_eq!(ours(&[&head[..], b"hello"].concat()), Some(&b"hello"[..]));
    }

    #[test]
    fn what_is_no_call_sign_is_refused() {
        for text in
            ["", "AB", "ABCDEF", "123", "DL1ABCD", "DL1ABC-16", "DL1ABC-", "DL1 BC", "DL1-+1"]
        {
            assert_eq!(Call::parse(text), None, "{text}");
        }
        for text in ["W1A", "DL1ABC", "DL1ABC-15"] {
            assert!(Call::parse(text).is_some(), "{text}");
        }
    }

    #[test]
    fn frames_of_others_are_not_ours() {
        let head = Call::parse("DL1ABC").unwrap().head();
        let whole = [&head[..], b"x"].concat();
        for length in 0..head.len() {
            assert_eq!(ours(&whole[..length]), None);
        }
        // Another destination, a numbered frame, another protocol, only one call sign.
        for (at, byte) in [(0, 0x82), (14, 0x00), (15, 0xcf), (6, 0xe1)] {
            let mut other = whole.clone();
            other[at] = byte;
            assert_eq!(ours(&other), None, "{at}");
        }
    }

    #[test]
    fn a_repeated_frame_is_ours_and_an_endless_row_of_repeaters_is_not() {
        let head = Call::parse("DL1ABC").unwrap().head();
        let mut calls = head[..14].to_vec();
        calls[13] &= !LAST;
        for repeaters in 1..=9 {
            let mut repeater = Call::parse("DB0XY-1").unwrap().0;
            repeater[CALL_CHARS] |= COMMAND;
            calls.extend(repeater);
            let mut last = calls.clone();
            *last.last_mut().unwrap() |= LAST;
            let frame = [&last[..], &[UI | POLL, PROTOCOL], b"x"].concat();
            assert_eq!(ours(&frame).is_some(), repeaters <= 8, "{repeaters}");
        }
    }
}
