//! Words and numbers for a person's eyes.
//!
//! Names, texts and file names come from outside. On a terminal a control character moves the
//! cursor and a direction mark turns a line around, so a hostile name could draw another output
//! over ours: here they become a visible replacement.

/// What stands for a character that must not reach the terminal.
const REPLACED: char = '\u{fffd}';
/// A second, a minute, an hour, a day; the largest two that fit are told.
const SPANS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
/// SI steps: sticks and disks are sold by them.
const SIZES: [(u64, &str); 4] =
    [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
/// Digits of an id that are shown in lists. 2^32 of them: two messages of one home hardly share
/// eight, and a command that is given a shared prefix says so.
const ID_DIGITS: usize = 8;

/// A text from outside on one line.
pub(super) fn line(text: &str) -> String {
    text.chars().map(|c| if is_shown(c) { c } else { REPLACED }).collect()
}

/// A text from outside on its own lines, each behind an indent, so that it cannot pass for ours.
pub(super) fn paragraph(text: &str, indent: &str) -> String {
    let lines = text.lines().map(|l| {
        let shown: String =
            l.chars().map(|c| if c == '\t' || is_shown(c) { c } else { REPLACED }).collect();
        format!("{indent}{shown}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The beginning of a text from outside, on one line.
pub(super) fn beginning(text: &str, chars: usize) -> String {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let shown: String = line(first).chars().take(chars).collect();
    if shown.chars().count() < line(text.trim_end()).chars().count() {
        format!("{shown}…")
    } else {
        shown
    }
}

/// Whether a character may go to a terminal as it is.
pub(super) fn is_shown(c: char) -> bool {
    // Direction marks, embeddings, overrides and isolates; line and paragraph separators; the
    // invisible characters that make two names look alike. Joiners stay: Persian and emoji need them.
    !c.is_control()
        && !matches!(
            c,
            '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
        )
}

/// An id, short enough to type.
pub(super) fn short_id(id: &str) -> &str {
    id.get(..ID_DIGITS).unwrap_or(id)
}

/// A number of bytes.
pub(super) fn bytes(n: u64) -> String {
    for (unit, name) in SIZES {
        if n >= unit {
            let tenths = n / (unit / 10);
            return if tenths < 100 {
                format!("{}.{} {name}", tenths / 10, tenths % 10)
            } else {
                format!("{} {name}", tenths / 10)
            };
        }
    }
    format!("{n} B")
}

/// A span of time, rounded down to its two largest units.
pub(super) fn span(seconds: u64) -> String {
    let Some(at) = SPANS.iter().position(|(unit, _)| seconds >= *unit) else {
        return "0 s".to_owned();
    };
    let (unit, name) = SPANS[at];
    let first = format!("{} {name}", seconds / unit);
    match SPANS.get(at + 1) {
        Some((unit2, name2)) if seconds % unit / unit2 > 0 => {
            format!("{first} {} {name2}", seconds % unit / unit2)
        }
        _ => first,
    }
}

/// How long ago something was.
pub(super) fn ago(seconds: u64) -> String {
    if seconds < 5 { "just now".to_owned() } else { format!("{} ago", span(seconds)) }
}

/// "1 bundle", "2 bundles".
pub(super) fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Pads or cuts to a column's width.
pub(super) fn column(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length > width {
        let cut: String = text.chars().take(width.saturating_sub(1)).collect();
        format!("{cut}…")
    } else {
        format!("{text}{}", " ".repeat(width - length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_or_turns_a_line_is_replaced() {
        for hostile in
            ["\u{1b}[2J", "a\rb", "a\nb", "\u{7}", "\u{9b}31m", "\u{202e}cod.exe", "\u{2066}x"]
        {
            let shown = line(hostile);
            assert!(shown.contains(REPLACED), "{hostile:?} became {shown:?}");
            assert!(shown.chars().all(|c| c == REPLACED || is_shown(c)));
        }
        for harmless in ["Zoë", "می‌خواهم", "👩‍🚒", "日本語", "a b"] {
            assert_eq!(line(harmless), harmless);
        }
    }

    #[test]
    fn a_text_cannot_pass_for_our_own_lines() {
        let shown = paragraph("hello\nSafe to remove.\r\n\u{1b}[1A\tx", "  ");
        assert_eq!(shown, "  hello\n  Safe to remove.\n  \u{fffd}[1A\tx");
    }

    #[test]
    fn numbers_read_well() {
        let sizes = [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345, "12 kB")];
        for (n, text) in sizes {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(bytes(1 << 30), "1.0 GB");
        for (n, text) in [(0, "0 s"), (61, "1 min 1 s"), (3600, "1 h"), (90_000, "1 d 1 h")] {
            assert_eq!(span(n), text);
        }
        assert_eq!(ago(2), "just now");
        assert_eq!(count(1, "bundle"), "1 bundle");
    }

    #[test]
    fn columns_keep_their_width() {
        for text in ["", "abc", "a very long name"] {
            assert_eq!(column(text, 6).chars().count(), 6);
        }
    }

    #[test]
    fn a_beginning_says_that_there_is_more() {
        assert_eq!(beginning("one", 10), "one");
        assert_eq!(beginning("one\ntwo", 10), "one…");
        assert_eq!(beginning("\n\n  one two three", 5), "  one…");
    }
}
