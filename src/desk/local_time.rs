//! The minute of the day as a clock on the wall here shows it: for quiet hours, and nothing else.
//!
//! Time zones are read as the system keeps them: a file of changes (TZif, RFC 9636) that ends with the
//! rule for all later years, in the words of POSIX.

use std::{env, fs, path::Path};

const DAY_S: i64 = 86_400;
/// The longest of the usual ones has some 3,500 bytes.
const FILE_MAX: u64 = 1 << 20;

/// The minute of the day at a time of the Unix epoch, in this machine's time zone; UTC, if none is said.
pub(super) fn minute_of_day(unix_s: u64) -> u16 {
    let at = i64::try_from(unix_s).unwrap_or(i64::MAX / 2);
    let offset = offset_here(at).unwrap_or(0);
    u16::try_from((at + offset).rem_euclid(DAY_S) / 60).unwrap_or_default()
}

/// Seconds east of UTC at a time here.
fn offset_here(at: i64) -> Option<i64> {
    let read = |path: &Path| {
        let is_small = fs::metadata(path).is_ok_and(|file| file.len() <= FILE_MAX);
        is_small.then(|| fs::read(path).ok()).flatten().and_then(|file| offset_in(&file, at))
    };
    let Some(zone) = env::var("TZ").ok().filter(|zone| !zone.is_empty()) else {
        return read(Path::new("/etc/localtime"));
    };
    let name = zone.strip_prefix(':').unwrap_or(&zone);
    // A name is looked for first, as the C library does; whoever sets the variable owns this process.
    read(&Path::new("/usr/share/zoneinfo").join(name)).or_else(|| Rule::parse(name)?.offset(at))
}

/// The offset at a time, by a file of changes.
fn offset_in(file: &[u8], at: i64) -> Option<i64> {
    let (header, body) = file.split_at_checked(44)?;
    let counts = counts(header)?;
    if header.get(4) < Some(&b'2') {
        return offset_by(body, &counts, 4, at);
    }
    // What follows is the same once more, in numbers that are long enough.
    let (header, body) = body.get(length(&counts, 4)?..)?.split_at_checked(44)?;
    let counts = self::counts(header)?;
    let footer = body.get(length(&counts, 8)?..)?;
    let changes = body.get(..counts[3].checked_mul(8)?)?;
    let last = changes.last_chunk::<8>().map(|last| i64::from_be_bytes(*last));
    if last.is_none_or(|last| at >= last)
        && let Some(rule) =
            std::str::from_utf8(footer).ok().and_then(|text| Rule::parse(text.trim()))
    {
        return rule.offset(at);
    }
    offset_by(body, &counts, 8, at)
}

/// How many marks for UTC and standard time, leap seconds, changes, kinds of time and letters there are.
fn counts(header: &[u8]) -> Option<[usize; 6]> {
    header.starts_with(b"TZif").then_some(())?;
    let mut counts = [0; 6];
    for (count, bytes) in counts.iter_mut().zip(header.get(20..44)?.as_chunks::<4>().0) {
        *count = usize::try_from(u32::from_be_bytes(*bytes)).ok().filter(|n| *n < 1 << 20)?;
    }
    Some(counts)
}

fn length(counts: &[usize; 6], time: usize) -> Option<usize> {
    let [utc, standard, leaps, changes, kinds, letters] = *counts;
    Some(changes * (time + 1) + kinds * 6 + letters + leaps * (time + 4) + standard + utc)
}

fn offset_by(body: &[u8], counts: &[usize; 6], time: usize, at: i64) -> Option<i64> {
    let [.., changes, kinds, _] = *counts;
    let when = |n: usize| {
        let bytes = body.get(n * time..(n + 1) * time)?;
        Some(match time {
            4 => i64::from(i32::from_be_bytes(bytes.try_into().ok()?)),
            _ => i64::from_be_bytes(bytes.try_into().ok()?),
        })
    };
    let before = (0..changes).rev().find(|n| when(*n).is_some_and(|when| when <= at));
    let kind = match before {
        Some(n) => usize::from(*body.get(changes * time + n)?),
        None => 0,
    };
    let kind_at = changes * (time + 1) + (kind < kinds).then_some(kind)? * 6;
    let bytes = body.get(kind_at..kind_at + 4)?;
    Some(i64::from(i32::from_be_bytes(bytes.try_into().ok()?)))
}

/// A zone in the words of POSIX, as `CET-1CEST,M3.5.0,M10.5.0/3`.
struct Rule {
    standard_s: i64,
    /// Seconds east of UTC in summer; when that begins and ends.
    summer: Option<(i64, Change, Change)>,
}

/// When in a year the time changes, by the time that holds until then.
struct Change {
    day: YearDay,
    second: i64,
}

enum YearDay {
    /// The week of a month, and the day of that; the fifth is the last one.
    OfMonth(i64, i64, i64),
    /// Counted from 1 without the day that leap years have, or from 0 with it.
    Plain(i64),
    Leap(i64),
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        let rest = after_name(text)?;
        let (west, rest) = seconds(rest)?;
        let standard_s = -west;
        if rest.is_empty() {
            return Some(Self { standard_s, summer: None });
        }
        let rest = after_name(rest)?;
        let (zone, dates) = rest.split_once(',').unwrap_or((rest, "M3.2.0,M11.1.0"));
        let summer_s = if zone.is_empty() {
            standard_s + 3600
        } else {
            -seconds(zone).filter(|(_, rest)| rest.is_empty())?.0
        };
        let (begin, end) = dates.split_once(',')?;
        Some(Self { standard_s, summer: Some((summer_s, change(begin)?, change(end)?)) })
    }

    fn offset(&self, at: i64) -> Option<i64> {
        let Some((summer_s, begin, end)) = &self.summer else { return Some(self.standard_s) };
        let year = year_of((at + self.standard_s).div_euclid(DAY_S));
        let begin = begin.at(year)? - self.standard_s;
        let end = end.at(year)? - summer_s;
        let is_summer =
            if begin < end { (begin..end).contains(&at) } else { at >= begin || at < end };
        Some(if is_summer { *summer_s } else { self.standard_s })
    }
}

impl Change {
    /// Seconds of the epoch as a clock on the wall counts them.
    fn at(&self, year: i64) -> Option<i64> {
        let first = days_to(year, 1, 1);
        let is_leap = days_to(year, 3, 1) - first == 60;
        let day = match self.day {
            YearDay::Plain(day) => first + day - 1 + i64::from(is_leap && day > 59),
            YearDay::Leap(day) => first + day,
            YearDay::OfMonth(month, week, weekday) => {
                let begin = days_to(year, month, 1);
                let next =
                    if month == 12 { days_to(year + 1, 1, 1) } else { days_to(year, month + 1, 1) };
                // The epoch began on a Thursday.
                let mut day = begin + (weekday - (begin + 4)).rem_euclid(7) + (week - 1) * 7;
                while day >= next {
                    day -= 7;
                }
                day
            }
        };
        day.checked_mul(DAY_S)?.checked_add(self.second)
    }
}

fn change(text: &str) -> Option<Change> {
    let (day, time) = text.split_once('/').unwrap_or((text, "2"));
    let second = seconds(time).filter(|(_, rest)| rest.is_empty())?.0;
    let number = |text: &str, most: i64| text.parse().ok().filter(|n| (0..=most).contains(n));
    let day = if let Some(day) = day.strip_prefix('M') {
        let mut parts = day.splitn(3, '.');
        let (month, week) = (number(parts.next()?, 12)?, number(parts.next()?, 5)?);
        let weekday = number(parts.next()?, 6)?;
        (month > 0 && week > 0).then_some(YearDay::OfMonth(month, week, weekday))?
    } else if let Some(day) = day.strip_prefix('J') {
        YearDay::Plain(number(day, 365)?)
    } else {
        YearDay::Leap(number(day, 365)?)
    };
    Some(Change { day, second })
}

/// What stands behind a zone's name, which is letters, or anything in angle brackets.
fn after_name(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('<') {
        return Some(quoted.split_once('>')?.1);
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    (text.len() - rest.len() >= 3).then_some(rest)
}

/// Hours, and perhaps minutes and seconds, with a sign or without; and what stands behind them.
fn seconds(text: &str) -> Option<(i64, &str)> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(rest.len());
    let (time, rest) = rest.split_at(end);
    let mut total = 0;
    let mut unit = 3600;
    for part in time.split(':') {
        let number: i64 = part.parse().ok().filter(|n| *n <= 167)?;
        total += number * unit;
        unit /= 60;
    }
    Some((sign * total, rest))
}

/// Days from the epoch to a date. Years begin with March here, so that leap days come last.
fn days_to(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = (153 * month + 2) / 5 + day - 1;
    let leap = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap + days - 719_468
}

fn year_of(day: i64) -> i64 {
    // 146097 days are 400 years; the guess is right, or one too many or too few.
    let guess = 1970 + day.saturating_mul(400).div_euclid(146_097);
    let later = |year: i64| days_to(year, 1, 1) > day;
    (guess - 1..=guess + 1).rev().find(|year| !later(*year)).unwrap_or(guess)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-07-01 12:00 and 2026-12-01 12:00, UTC.
    const SUMMER: i64 = 1_782_907_200;
    const WINTER: i64 = 1_796_126_400;

    #[test]
    fn the_words_of_posix_are_understood() {
        for (zone, summer_min, winter_min) in [
            ("CET-1CEST,M3.5.0,M10.5.0/3", 120, 60),
            ("EST5EDT,M3.2.0,M11.1.0", -240, -300),
            ("EST5EDT", -240, -300),
            ("<+0545>-5:45", 345, 345),
            ("UTC0", 0, 0),
            // South of the equator summer goes over the end of the year.
            ("AEST-10AEDT,M10.1.0,M4.1.0/3", 600, 660),
            ("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", -60, -120),
            ("ABC3DEF,J100,J300", -120, -180),
        ] {
            let rule = Rule::parse(zone).unwrap();
            assert_eq!(rule.offset(SUMMER), Some(summer_min * 60), "{zone}");
            assert_eq!(rule.offset(WINTER), Some(winter_min * 60), "{zone}");
        }
        for wrong in ["", "A1", "CET", "CET-1CEST,M13.1.0,M10.5.0", "CET-1CEST,M3", "CET-1x"] {
            assert!(Rule::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_hour_of_a_change_is_right_to_the_second() {
        // 2026-03-29 01:00:00 UTC.
        let rule = Rule::parse("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(rule.offset(1_774_745_999), Some(3600));
        assert_eq!(rule.offset(1_774_746_000), Some(7200));
    }

    /// A file with one change, at a time, from one offset to another.
    fn zone(version: u8, at: i64, from: i32, to: i32, footer: &str) -> Vec<u8> {
        let block = |time: usize| {
            let mut block = b"TZif".to_vec();
            block.push(version);
            block.extend([0; 15]);
            for count in [0_u32, 0, 0, 1, 2, 4] {
                block.extend(count.to_be_bytes());
            }
            block.extend(&at.to_be_bytes()[8 - time..]);
            block.push(1);
            for offset in [from, to] {
                block.extend(offset.to_be_bytes());
                block.extend([0, 0]);
            }
            block.extend(b"ABC\0");
            block
        };
        match version {
            0 => block(4),
            _ => [block(4), block(8), format!("\n{footer}\n").into_bytes()].concat(),
        }
    }

    #[test]
    fn files_of_the_system_are_read_and_damaged_ones_believed_nothing() {
        for version in [0, b'2'] {
            let file = zone(version, 1000, 60, -7200, "");
            assert_eq!(offset_in(&file, 999), Some(60));
            assert_eq!(offset_in(&file, 1000), Some(-7200));
        }
        let file = zone(b'3', 1000, 60, -7200, "CET-1CEST,M3.5.0,M10.5.0/3");
        assert_eq!(offset_in(&file, 999), Some(60));
        assert_eq!(offset_in(&file, SUMMER), Some(7200));
        // What stands behind the offset is of no use here.
        for cut in 0..zone(0, 1000, 60, 1, "").len() - 6 {
            assert_eq!(offset_in(&zone(0, 1000, 60, 1, "")[..cut], 1000), None, "{cut}");
        }
        let mut lies = zone(b'2', 1000, 60, 1, "");
        lies[32..36].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(offset_in(&lies, 1000), None);
    }

    #[test]
    fn days_and_years_agree() {
        for (year, month, day, days) in
            [(1970, 1, 1, 0), (2000, 3, 1, 11_017), (2026, 1, 1, 20_454)]
        {
            assert_eq!(days_to(year, month, day), days);
            assert_eq!(year_of(days), year);
            assert_eq!(year_of(days_to(year, 1, 1) - 1), year - 1);
        }
    }
}
