//! What a command elsewhere wrote, on its way to our own standard output or error: byte for byte into a
//! pipe or a file, and harmless on a terminal.

use std::{
    io::{self, IsTerminal, Read, Write},
    str,
};

use super::text::is_shown;

const PIECE_BYTES: usize = 64 << 10;
const REPLACED: &str = "\u{fffd}";

/// Copies everything. Where `to` is a terminal nothing in it is obeyed.
pub(super) fn pour(mut from: impl Read, to: &mut (impl Write + IsTerminal)) -> io::Result<()> {
    if to.is_terminal() {
        return pour_shown(from, to);
    }
    io::copy(&mut from, to)?;
    to.flush()
}

/// Copies text: a control character or a direction mark becomes a mark that can be seen; lines and
/// tabs stay.
fn pour_shown(mut from: impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    // The beginning of a character, or of the end of a line, that the next piece may complete.
    let mut held = Vec::new();
    loop {
        let n = match from.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        held.extend_from_slice(&piece[..n]);
        let whole = if n == 0 { held.len() } else { held.len() - unfinished(&held) };
        to.write_all(shown(&held[..whole]).as_bytes())?;
        held.drain(..whole);
        if n == 0 {
            return to.flush();
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let mut chars = chunk.valid().chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '\n' | '\t' => out.push(c),
                // The end of a line as some systems write it.
                '\r' if chars.peek() == Some(&'\n') => {}
                c if is_shown(c) => out.push(c),
                _ => out.push_str(REPLACED),
            }
        }
        if !chunk.invalid().is_empty() {
            out.push_str(REPLACED);
        }
    }
    out
}

/// How many bytes at the end may belong to what comes next.
fn unfinished(bytes: &[u8]) -> usize {
    if bytes.last() == Some(&b'\r') {
        return 1;
    }
    (1..=3.min(bytes.len()))
        .find(|n| {
            let end = &bytes[bytes.len() - n..];
            // Cut off, and not wrong.
            end[0] >= 0xc0 && str::from_utf8(end).is_err_and(|error| error.error_len().is_none())
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(1).min(to.len());
            to[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    #[test]
    fn a_terminal_obeys_nothing_however_it_was_cut() {
        for (bytes, wanted) in [
            (&b"plain\ttext\n"[..], "plain\ttext\n"),
            ("Grüße 日本語 👩\u{200d}🚒".as_bytes(), "Grüße 日本語 👩\u{200d}🚒"),
            (b"\x1b[2J\x07", "\u{fffd}[2J\u{fffd}"),
            (b"one\r\ntwo\rthree\r", "one\ntwo\u{fffd}three\u{fffd}"),
            ("\u{9b}31m\u{202e}x".as_bytes(), "\u{fffd}31m\u{fffd}x"),
            (b"a\xff\xe6\x97b\xe6\x97", "a\u{fffd}\u{fffd}b\u{fffd}"),
            (b"", ""),
        ] {
            for whole in [true, false] {
                let mut out = Vec::new();
                if whole {
                    pour_shown(bytes, &mut out).unwrap();
                } else {
                    pour_shown(Drops(bytes), &mut out).unwrap();
                }
                assert_eq!(String::from_utf8(out).unwrap(), wanted, "{bytes:?} {whole}");
            }
        }
    }
}
