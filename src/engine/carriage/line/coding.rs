//! Four ways to write a frame without the byte 00, for lines that swallow other bytes too.
//!
//! - [`Coding::Repairable`]: 17 bytes in 255, for lines that damage bytes ([`repairing`]);
//! - [`Coding::Plain`]: COBS, at most one byte in 254;
//! - [`Coding::Avoiding`]: none of [`AVOIDED`] either, about 1.5 %; what a line puts in of those is
//!   skipped;
//! - [`Coding::SevenBit`]: five printable characters for four bytes, a quarter more.
//!
//! A reader tries all, for the checksum tells which it was: so a writer may change its coding
//! at any frame, and nothing has to be agreed.

use super::repairing;

/// What XON/XOFF, line ends and telnet live on, besides the 00 that ends a frame. In order.
pub const AVOIDED: [u8; 6] = [0x00, 0x0a, 0x0d, 0x11, 0x13, 0xff];
/// Values that are left for the codes of [`Coding::Avoiding`].
const CODES: usize = 256 - AVOIDED.len();
/// Codes below this say how many bytes follow, and which of [`AVOIDED`] comes behind them.
const ENDED: usize = 240;
/// One byte less than the shortest run that is written without an avoided byte behind it: so many
/// lengths are left for each of [`AVOIDED`].
const ENDED_MAX: usize = ENDED / AVOIDED.len() - 1;
/// By so much the codes from [`ENDED`] on differ in length: they reach 112 bytes.
const RUN_STEP: usize = 8;
/// The first character of [`Coding::SevenBit`], and how many there are.
const FIRST: u8 = b'!';
const DIGITS: u8 = 85;

/// How a frame is written; the higher, the more a line may swallow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coding {
    /// Only 00 does not occur, and some damage can be repaired.
    Repairable,
    /// Only 00 does not occur.
    Plain,
    /// None of [`AVOIDED`] occurs.
    Avoiding,
    /// Only `!` to `u` occur.
    SevenBit,
}

impl Coding {
    /// All, as a reader tries them.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Avoiding, Self::SevenBit, Self::Repairable];

    /// Writes bytes behind what is in `out`.
    pub fn encode(self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Repairable => repairing::encode(bytes, out),
            Self::Plain => encode_plain(bytes, out),
            Self::Avoiding => encode_avoiding(bytes, out),
            Self::SevenBit => encode_seven(bytes, out),
        }
    }

    /// Reads what [`Self::encode`] wrote, and how many bytes were damaged, as far as a coding can tell;
    /// `None` if it cannot be that. Never longer than the input.
    pub fn decode(self, coded: &[u8]) -> Option<(Vec<u8>, usize)> {
        let bytes = match self {
            Self::Repairable => return repairing::decode(coded),
            Self::Plain => decode_plain(coded),
            Self::Avoiding => decode_avoiding(coded),
            Self::SevenBit => decode_seven(coded),
        };
        Some((bytes?, 0))
    }

    /// The next that a line with more faults may let through.
    pub fn safer(self) -> Self {
        if self <= Self::Plain { Self::Avoiding } else { Self::SevenBit }
    }
}

fn byte(value: usize) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

fn encode_plain(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    loop {
        let run = rest.iter().take(254).take_while(|byte| **byte != 0).count();
        out.push(byte(run + 1));
        out.extend_from_slice(&rest[..run]);
        rest = &rest[run..];
        if rest.is_empty() {
            return;
        }
        // A run of 254 has no zero behind it.
        if run < 254 {
            rest = &rest[1..];
        }
    }
}

fn decode_plain(coded: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::with_capacity(coded.len()), coded);
    while let Some((code, after)) = rest.split_first() {
        let run = usize::from(*code).checked_sub(1)?;
        out.extend_from_slice(after.get(..run)?);
        rest = &after[run..];
        if run < 254 && !rest.is_empty() {
            out.push(0);
        }
    }
    Some(out)
}

/// The value that stands for a code: the code-th that is not avoided.
fn value_of(code: usize) -> u8 {
    let mut value = byte(code);
    for avoided in AVOIDED {
        if value >= avoided {
            value = value.saturating_add(1);
        }
    }
    value
}

fn code_of(value: u8) -> usize {
    usize::from(value) - AVOIDED.iter().filter(|avoided| **avoided < value).count()
}

fn encode_avoiding(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    loop {
        let mut run = rest.iter().take_while(|byte| !AVOIDED.contains(byte)).count();
        while run > ENDED_MAX {
            let step = (run - ENDED_MAX - 1) / RUN_STEP;
            let step = step.min(CODES - 1 - ENDED);
            let length = ENDED_MAX + 1 + step * RUN_STEP;
            out.push(value_of(ENDED + step));
            out.extend_from_slice(&rest[..length]);
            rest = &rest[length..];
            run -= length;
        }
        // The end counts as a 00.
        let ended = rest.get(run).copied();
        let which = AVOIDED.iter().position(|avoided| Some(*avoided) == ended).unwrap_or(0);
        out.push(value_of(run * AVOIDED.len() + which));
        out.extend_from_slice(&rest[..run]);
        if ended.is_none() {
            return;
        }
        rest = &rest[run + 1..];
    }
}

fn decode_avoiding(coded: &[u8]) -> Option<Vec<u8>> {
    let came: Vec<u8> = coded.iter().copied().filter(|byte| !AVOIDED.contains(byte)).collect();
    let (mut out, mut rest) = (Vec::with_capacity(came.len()), &came[..]);
    let mut ended = false;
    while let Some((value, after)) = rest.split_first() {
        let code = code_of(*value);
        ended = code < ENDED;
        let run =
            if ended { code / AVOIDED.len() } else { ENDED_MAX + 1 + (code - ENDED) * RUN_STEP };
        out.extend_from_slice(after.get(..run)?);
        rest = &after[run..];
        if ended {
            out.push(AVOIDED[code % AVOIDED.len()]);
        }
    }
    // The 00 that counted as the end.
    (ended && out.pop() == Some(0)).then_some(out)
}

fn encode_seven(bytes: &[u8], out: &mut Vec<u8>) {
    for four in bytes.chunks(4) {
        let mut value = 0;
        for at in 0..4 {
            value = value << 8 | u32::from(four.get(at).copied().unwrap_or(0));
        }
        let mut digits = [0; 5];
        for digit in digits.iter_mut().rev() {
            let [low, ..] = (value % u32::from(DIGITS)).to_le_bytes();
            *digit = FIRST + low;
            value /= u32::from(DIGITS);
        }
        out.extend_from_slice(&digits[..=four.len()]);
    }
}

fn decode_seven(coded: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = coded
        .iter()
        .map(|byte| byte & 0x7f)
        .filter(|byte| (FIRST..FIRST + DIGITS).contains(byte))
        .collect();
    let mut out = Vec::with_capacity(digits.len());
    for five in digits.chunks(5) {
        let mut value = 0;
        for at in 0..5 {
            let digit = five.get(at).map_or(DIGITS - 1, |byte| byte - FIRST);
            value = value * u64::from(DIGITS) + u64::from(digit);
        }
        let value = u32::try_from(value).ok()?.to_be_bytes();
        out.extend_from_slice(&value[..five.len() - 1]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes with many that are avoided, and long runs without.
    fn bodies() -> impl Strategy<Value = Vec<u8>> {
        let mixed = proptest::collection::vec(any::<u8>(), 0..1100);
        let avoided = proptest::collection::vec(proptest::sample::select(&AVOIDED[..]), 0..600);
        let runs = (0..1100usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]);
        prop_oneof![mixed, avoided, runs]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_holds_nothing_that_is_avoided(bytes in bodies()) {
            for coding in Coding::ALL {
                let mut coded = Vec::new();
                coding.encode(&bytes, &mut coded);
                prop_assert!(coding.decode(&coded) == Some((bytes.clone(), 0)), "{:?}", coding);
                let fine = |byte: &u8| match coding {
                    Coding::Plain | Coding::Repairable => *byte != 0,
                    Coding::Avoiding => !AVOIDED.contains(byte),
                    Coding::SevenBit => (b'!'..=b'u').contains(byte),
                };
                prop_assert!(coded.iter().all(fine), "{:?}", coding);
            }
        }

        #[test]
        fn anything_can_be_read_and_does_not_grow(coded in bodies()) {
            for coding in Coding::ALL {
                let read = coding.decode(&coded).map_or(0, |(bytes, _)| bytes.len());
                prop_assert!(read <= coded.len(), "{:?}", coding);
            }
        }
    }

    #[test]
    fn codes_and_values_are_each_others_reverse() {
        for code in 0..CODES {
            assert_eq!(code_of(value_of(code)), code);
            assert!(!AVOIDED.contains(&value_of(code)));
        }
    }

    #[test]
    fn what_a_line_puts_in_is_skipped() {
        for coding in [Coding::Avoiding, Coding::SevenBit] {
            let (bytes, mut coded) = ([5, 0, 0x11, 200, 7, 0xff], Vec::new());
            coding.encode(&bytes, &mut coded);
            coded.insert(2, 0x13);
            coded.push(0x11);
            assert_eq!(coding.decode(&coded).unwrap().0, bytes);
        }
    }

    #[test]
    fn bytes_of_all_values_cost_what_is_claimed() {
        // Multiplying by an odd number permutes; the upper byte is mixed enough for a count.
        let mixed = |n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes()[0];
        let bytes: Vec<u8> = (0..100_000).map(mixed).collect();
        for (coding, most) in [(Coding::Plain, 400), (Coding::Avoiding, 1700)] {
            let mut coded = Vec::new();
            coding.encode(&bytes, &mut coded);
            assert!(coded.len() - bytes.len() <= most, "{coding:?}: {}", coded.len());
        }
    }
}
