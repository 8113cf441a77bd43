//! Values that people type: sizes, lifetimes, urgency.

use postrider_base::{Lifetime, Niceness};

/// A size: `2G`, `500M`, `64k`, `1000`. Powers of 1024, as restic, borg and dd take them.
pub(super) fn size(text: &str) -> Result<u64, String> {
    const HINT: &str = "give a size like 2G, 500M, 64k or 1000";
    let text = text.trim();
    let text = text.strip_suffix("iB").or_else(|| text.strip_suffix(['B', 'b'])).unwrap_or(text);
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        Some((at, 't' | 'T')) => (&text[..at], 1_u64 << 40),
        _ => (text, 1),
    };
    digits.trim().parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(|| HINT.into())
}

/// A lifetime: `30d`, `12h`, `90m`, `3600s`, or seconds.
pub(super) fn lifetime(text: &str) -> Result<Lifetime, String> {
    seconds(text)
        .and_then(|n| u32::try_from(n).ok())
        .and_then(Lifetime::new)
        .ok_or_else(|| "give a time like 30d, 12h, 90m or 3600s, up to 136 years".into())
}

/// Any span in whole seconds, in the same words.
pub(super) fn duration(text: &str) -> Result<std::time::Duration, String> {
    seconds(text)
        .map(std::time::Duration::from_secs)
        .ok_or_else(|| "give a time like 60s, 5m or 2h".into())
}

/// A niceness by number, 1 to 255; lower goes first.
pub(super) fn niceness(text: &str) -> Result<Niceness, String> {
    text.parse()
        .ok()
        .and_then(Niceness::new)
        .ok_or_else(|| "give a number from 1 (first) to 255 (last); 160 is normal".into())
}

fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = match text.char_indices().last()? {
        (at, 's') => (&text[..at], 1),
        (at, 'm') => (&text[..at], 60),
        (at, 'h') => (&text[..at], 3600),
        (at, 'd') => (&text[..at], 86_400),
        (at, 'w') => (&text[..at], 7 * 86_400),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("1000", 1000),
            ("64k", 65_536),
            ("500M", 500 << 20),
            ("500MB", 500 << 20),
            ("2G", 2 << 30),
            ("2GiB", 2 << 30),
            ("1 T", 1 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "G", "-1", "1.5G", "99999999999999999999", "99999999999T", "2X", "ü"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lifetimes_end_and_are_not_zero() {
        for (text, seconds) in
            [("30d", 2_592_000), ("12h", 43_200), ("90m", 5400), ("3600s", 3600), ("7", 7)]
        {
            assert_eq!(lifetime(text).map(Lifetime::seconds), Ok(seconds), "{text}");
        }
        for wrong in ["", "0", "0d", "d", "-1d", "1y", "60000d", "99999999999999999999w", "é"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn niceness_is_a_byte_above_zero() {
        assert_eq!(niceness("96"), Ok(Niceness::PRIORITY));
        for wrong in ["0", "256", "-1", "urgent"] {
            assert!(niceness(wrong).is_err(), "{wrong}");
        }
    }
}
