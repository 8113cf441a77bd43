//! Values that people type: sizes, lifetimes, urgency.

use postrider_base::{Lifetime, Niceness};

use crate::desk::{day_of, wall_s};

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

/// A time in Unix seconds: `2026-12-31T22:00Z` as in RFC 3339, where seconds may be left out; or from
/// now on: `+2h`.
pub(super) fn time(text: &str) -> Result<u64, String> {
    time_from(text, wall_s())
        .ok_or_else(|| "give a time like 2026-12-31T22:00Z, with its zone, or +2h".into())
}

fn time_from(text: &str, now_s: u64) -> Option<u64> {
    let text = text.trim();
    if let Some(span) = text.strip_prefix('+') {
        return now_s.checked_add(seconds(span)?);
    }
    let (day, rest) = text.split_once(['T', 't', ' '])?;
    let (clock, zone_s) = match rest.strip_suffix(['Z', 'z']) {
        Some(clock) => (clock, 0),
        None => {
            let at = rest.rfind(['+', '-'])?;
            let (clock, zone) = rest.split_at(at);
            let zone_s = i64::from(of_day(&zone[1..], 2)?);
            (clock, if zone.starts_with('-') { -zone_s } else { zone_s })
        }
    };
    // A part of a second is none.
    let clock = match clock.split_once('.') {
        Some((clock, part)) if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) => {
            clock
        }
        Some(_) => return None,
        None => clock,
    };
    let local_s = i64::from(day_of(day)?.0) * 86_400 + i64::from(of_day(clock, 3)?);
    u64::try_from(local_s - zone_s).ok()
}

/// Seconds since midnight: `22:00` or, where three numbers may stand, `22:00:05`.
fn of_day(text: &str, numbers: usize) -> Option<u32> {
    let mut all = 0;
    let parts: Vec<&str> = text.split(':').collect();
    if !(2..=numbers).contains(&parts.len()) {
        return None;
    }
    for (part, (most, worth)) in parts.iter().zip([(23, 3600), (59, 60), (59, 1)]) {
        let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        let n: u32 = part.parse().ok().filter(|n| digits && *n <= most)?;
        all += n * worth;
    }
    Some(all)
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

    #[test]
    fn times_have_their_zone_or_count_from_now() {
        for (text, wanted) in [
            ("+2h", 7300),
            ("+90", 190),
            ("1970-01-01T00:00:00Z", 0),
            ("2026-12-31T22:00Z", 1_798_754_400),
            ("2026-12-31 22:00:07.25z", 1_798_754_407),
            ("2026-12-31T22:00:00+02:00", 1_798_747_200),
            ("2026-12-31T22:00-05:30", 1_798_774_200),
        ] {
            assert_eq!(time_from(text, 100), Some(wanted), "{text}");
        }
        for wrong in [
            "",
            "2h",
            "+",
            "2026-12-31",
            "2026-12-31T22:00",
            "2026-13-31T22:00Z",
            "2026-12-31T24:00Z",
            "2026-12-31T22:60Z",
            "2026-12-31T2:00Z",
            "2026-12-31T22Z",
            "2026-12-31T22:00:00.Z",
            "2026-12-31T22:00:00+1:00",
            "2026-12-31T22:00:00+01:00:00",
            "1970-01-01T00:00+01:00",
            "+99999999999999999999d",
            "é",
        ] {
            assert_eq!(time_from(wrong, 100), None, "{wrong}");
        }
    }
}
