//! Standard output: sentences for a person, or one JSON object per line for a program.

use std::io::{self, Write};

use serde::Serialize;

use super::{Stop, text::is_shown};
use crate::desk::reply::{Line, Summary};

/// For whom standard output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Sentences and tables.
    Human,
    /// CLI.md's objects, one per line.
    Json,
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Loudness {
    /// Results only.
    Quiet,
    /// Results, and what to do with them.
    Normal,
    /// Where and how, too.
    Verbose,
}

/// Standard output.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) form: Form,
    pub(super) loudness: Loudness,
    /// Whether results may be coloured.
    pub(super) colors: bool,
}

impl Output {
    pub(super) fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    /// A reply as an object; nothing in human form.
    pub(super) fn object<T: Serialize>(&self, reply: &T) -> Result<(), Stop> {
        if self.is_json() { write_object(reply) } else { Ok(()) }
    }

    /// A list as objects and a summary; nothing in human form.
    pub(super) fn list<T: Serialize>(&self, verb: &'static str, all: &[T]) -> Result<(), Stop> {
        if self.is_json() {
            all.iter().try_for_each(write_object)?;
            write_object(&Summary { verb: verb.into(), count: all.len() })?;
        }
        Ok(())
    }

    /// A result, as a line; nothing in JSON form. What stands in it from outside went through
    /// [`super::text`].
    pub(super) fn say(&self, line: impl AsRef<str>) -> Result<(), Stop> {
        if self.is_json() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(line.as_ref().as_bytes())?;
        out.write_all(b"\n")?;
        Ok(())
    }

    /// Worth knowing beside the result: not in JSON form, not when quiet.
    pub(super) fn hint(&self, line: impl AsRef<str>) -> Result<(), Stop> {
        if self.loudness == Loudness::Quiet { Ok(()) } else { self.say(line) }
    }

    /// Something that stands out, where colours may be used.
    pub(super) fn strong(&self, text: &str) -> String {
        paint(text, "1", self.colors && !self.is_json())
    }
}

/// A text in an ANSI style.
pub(super) fn paint(text: &str, style: &str, colors: bool) -> String {
    if colors { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// One object on a line of its own, whatever the form.
pub(super) fn write_object<T: Serialize>(reply: &T) -> Result<(), Stop> {
    let mut line = harmless(&serde_json::to_string(&Line::new(reply)).map_err(io::Error::other)?);
    line.push('\n');
    io::stdout().lock().write_all(line.as_bytes())?;
    Ok(())
}

/// JSON that may be shown on a terminal. The encoder escapes only what is below the blank; here so
/// is all that [`is_shown`] refuses. Outside of strings JSON has nothing of the kind.
fn harmless(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if is_shown(c) {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_escapes_what_a_terminal_would_obey_and_reads_back_the_same() {
        let hostile = "a\u{1b}[2J\u{9b}31m\u{202e}\u{2028}\n\"\\ü👩‍🚒";
        let json = harmless(&serde_json::to_string(hostile).unwrap());
        assert!(json.chars().all(is_shown), "{json:?}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
    }
}
