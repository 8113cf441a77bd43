//! Whether what somebody sent may fill a slot.
//!
//! For every slot: a text that is not empty, in which everything can be seen. A newline in a value
//! would be a line of its own in a log or a file that the command writes; a character that turns the
//! direction of a line or takes no room would be another value to the eye than to the command.

use super::template::{Kind, Slot};

/// No value that a pattern is asked about is longer, in bytes.
const MATCHED_MAX: usize = 1024;
/// A name that a contact or an attachment may have is no longer, in bytes.
const NAME_MAX: usize = 255;
/// Of a value that is refused so many characters are said back.
const SAID_MAX: usize = 40;

/// What the caller knows and this room does not.
pub(super) trait Known {
    /// The id of the one contact of that name.
    fn contact(&self, name: &str) -> Option<String>;
    /// The path at which the command finds the attachment of that name.
    fn file(&self, name: &str) -> Option<String>;
}

/// What stands in the command for an argument, or why it may not stand there.
pub(super) fn filled(slot: &Slot, arg: &[u8], known: &dyn Known) -> Result<String, String> {
    let text = std::str::from_utf8(arg).map_err(|_| "it is not UTF-8")?;
    if text.is_empty() {
        return Err("it is empty".into());
    }
    let most = match slot.kind {
        Kind::Text(chars) => chars.saturating_mul(4),
        Kind::Pattern(_) => MATCHED_MAX,
        _ => NAME_MAX,
    };
    // Before anything else is done with it: it may have any length.
    if text.len() > most {
        return Err(format!("it has {} bytes, and at most {most} are taken", text.len()));
    }
    if let Some(c) = text.chars().find(|c| is_hidden(*c)) {
        return Err(format!("it has the character U+{:04X}, which cannot be seen", u32::from(c)));
    }
    let said = || said(text);
    match &slot.kind {
        Kind::Text(chars) => {
            let count = text.chars().count();
            if count > *chars {
                return Err(format!("it has {count} characters, and at most {chars} are taken"));
            }
            Ok(text.to_owned())
        }
        Kind::Int(low, high) => {
            // One spelling: what a command makes of +1, 01 or 0x1 is its own affair.
            let number: i64 = text.parse().map_err(|_| format!("{} is no whole number", said()))?;
            if number.to_string() != text {
                return Err(format!("{} is not written as {number}", said()));
            }
            if !(*low..=*high).contains(&number) {
                return Err(format!("{number} is not from {low} to {high}"));
            }
            Ok(text.to_owned())
        }
        Kind::Choice(choices) => {
            if !choices.iter().any(|choice| choice == text) {
                return Err(format!("{} is none of {}", said(), choices.join(", ")));
            }
            Ok(text.to_owned())
        }
        Kind::Pattern(pattern) => {
            if !pattern.is_match(text) {
                return Err(format!("{} does not have the form that is asked for", said()));
            }
            Ok(text.to_owned())
        }
        Kind::Contact => {
            known.contact(text).ok_or_else(|| format!("{} is no contact here", said()))
        }
        Kind::File => known
            .file(text)
            .ok_or_else(|| format!("{} is not among what came along with the job", said())),
    }
}

/// Whether everything in a text can be seen.
pub(super) fn is_plain(text: &str) -> bool {
    !text.chars().any(is_hidden)
}

/// Whether a word that begins so may be taken for an option. Other scripts have strokes that look
/// like a hyphen, and some programs take them for one.
pub(super) fn starts_like_an_option(text: &str) -> bool {
    text.starts_with([
        '-', '\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2015}', '\u{2212}',
        '\u{fe58}', '\u{fe63}', '\u{ff0d}',
    ])
}

/// Control characters, and what Unicode has that takes no room, turns a line or ends one.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{17b4}'
                | '\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{ffff}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e000}'..='\u{f8ff}'
                | '\u{e0000}'..='\u{10ffff}'
        )
}

/// The beginning of a value, to be said back: printable ASCII, the rest replaced.
fn said(text: &str) -> String {
    let mut out: String = text
        .chars()
        .take(SAID_MAX)
        .map(|c| if (' '..='~').contains(&c) { c } else { '?' })
        .collect();
    if text.chars().nth(SAID_MAX).is_some() {
        out.push_str("...");
    }
    format!("\"{out}\"")
}
