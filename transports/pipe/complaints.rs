//! What a command writes to its standard error, as a bounded number of bounded, harmless lines.

/// Longest line that is told in one piece.
const LINE_MAX: usize = 1024;
/// Lines told of one process; a command that has said so much is repeating itself.
const LINES_MAX: usize = 1000;

/// Cuts a byte stream into lines.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    line: Vec<u8>,
    told: usize,
}

impl Complaints {
    /// Takes the next bytes and tells every line that is whole.
    pub(super) fn take(&mut self, bytes: &[u8], mut tell: impl FnMut(&str)) {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
            }
            if byte == b'\n' || self.line.len() == LINE_MAX {
                self.end(&mut tell);
            }
        }
    }

    /// Tells what is left; an empty line says nothing.
    pub(super) fn end(&mut self, mut tell: impl FnMut(&str)) {
        // Whoever is behind the command may try to write to the terminal that shows this.
        let text =
            String::from_utf8_lossy(&self.line).trim_end().replace(char::is_control, "\u{fffd}");
        self.line.clear();
        if text.is_empty() || self.told > LINES_MAX {
            return;
        }
        self.told += 1;
        if self.told > LINES_MAX {
            tell("(what else it says is not shown)");
        } else {
            tell(&text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pieces: &[&[u8]]) -> Vec<String> {
        let (mut complaints, mut lines) = (Complaints::default(), Vec::new());
        for piece in pieces {
            complaints.take(piece, |line| lines.push(line.to_owned()));
        }
        complaints.end(|line| lines.push(line.to_owned()));
        lines
    }

    #[test]
    fn lines_are_put_together_and_empty_ones_left_out() {
        assert_eq!(told(&[b"no ro", b"ute\r\n\n  \nto h", b"ost"]), ["no route", "to host"]);
        assert_eq!(told(&[]), [""; 0]);
    }

    #[test]
    fn a_terminal_cannot_be_written_to() {
        assert_eq!(
            told(&[b"\x1b]0;owned\x07 \xff\xc2\x9b31m"]),
            ["\u{fffd}]0;owned\u{fffd} \u{fffd}\u{fffd}31m"]
        );
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let lines = told(&[&[b'x'; 2 * LINE_MAX + 1]]);
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [LINE_MAX, LINE_MAX, 1]);
    }

    #[test]
    fn a_command_that_never_stops_talking_is_heard_no_more() {
        let lines = told(&[&b"again\n".repeat(3 * LINES_MAX)]);
        assert_eq!(lines.len(), LINES_MAX + 1);
        assert!(lines.last().unwrap().contains("not shown"));
    }
}
