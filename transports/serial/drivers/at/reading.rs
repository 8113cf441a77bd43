//! What a modem says, in lines: bounded, whatever comes.
//!
//! Carriage return or line feed ends a line, empty ones do not count. Two things are no lines: a prompt, which has
//! no end, and an answer in binary, whose length stands before it. Which of them is waited for changes while
//! bytes come, so whoever reads takes one [`Piece`] after the other and says before each what it wants.

use super::{codec, words::Pattern};
use crate::frames::FRAME_MAX;

/// A frame in digits and what stands around it.
const LINE_MAX: usize = 2 * FRAME_MAX + 256;
/// What a line tells of a frame behind it.
const BEHIND_MAX: usize = 64;
/// The length before an answer in binary, and the sum behind it.
const AROUND_BINARY: usize = 4;

/// What is waited for beside lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want<'a> {
    Lines,
    /// This, with no end of line behind it.
    Prompt(&'a [u8]),
    /// The first of these, whatever comes before it.
    Bytes {
        wanted: &'a [u8],
        aborts: &'a [Vec<u8>],
    },
    /// A length of two bytes, so many bytes, their sum; the last command may stand before it.
    Binary {
        said: &'a [u8],
    },
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Line(Vec<u8>),
    Prompt,
    Bytes,
    /// Bytes that mean failure.
    Abort(Vec<u8>),
    /// In binary, and whole.
    Binary(Vec<u8>),
    /// In binary, and the sum or the length is wrong.
    Damaged,
}

/// Bytes that came and are not a piece yet.
#[derive(Debug, Default)]
pub(super) struct Reading {
    bytes: Vec<u8>,
    /// Lines that say how long the frame is that they hold: of anybody, and with whatever he likes in it.
    holding: Vec<Pattern>,
    /// Such a line is not waited for any longer.
    is_impatient: bool,
    /// Of a line that is too long, until it ends.
    skips: bool,
    /// A carriage return ended the last line; the line feed behind it belongs to that, not to what is binary.
    awaits_feed: bool,
}

impl Reading {
    /// Of a modem that tells frames in these lines.
    pub(super) fn holding(patterns: impl Iterator<Item = Pattern>) -> Self {
        Self { holding: patterns.collect(), ..Self::default() }
    }

    /// Whether a line may be taken as it came, though its beginning promises more: some modems cut frames.
    pub(super) fn impatient(&mut self, is_so: bool) {
        self.is_impatient = is_so;
    }

    /// Takes as many bytes as it has room for, and says how many. Take the pieces, then give it the rest.
    pub(super) fn handle(&mut self, bytes: &[u8]) -> usize {
        let room = LINE_MAX + AROUND_BINARY - self.bytes.len();
        let taken = room.min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// The next piece.
    pub(super) fn poll(&mut self, want: Want<'_>) -> Option<Piece> {
        if let Some(first) = self.bytes.first()
            && std::mem::take(&mut self.awaits_feed)
            && *first == b'\n'
        {
            self.bytes.remove(0);
        }
        match want {
            Want::Binary { said } => return self.binary(said),
            Want::Bytes { wanted, aborts } => return self.wanted(wanted, aborts),
            Want::Prompt(prompt) => {
                let begin = self.bytes.iter().position(|byte| !is_end(*byte)).unwrap_or(0);
                if self.bytes[begin..].starts_with(prompt) && !self.skips {
                    self.bytes.drain(..begin + prompt.len());
                    return Some(Piece::Prompt);
                }
            }
            Want::Lines => {}
        }
        self.line()
    }

    /// What came and was not asked for.
    pub(super) fn into_rest(self) -> Vec<u8> {
        self.bytes
    }

    fn line(&mut self) -> Option<Piece> {
        while let Some(end) = self.line_end() {
            self.awaits_feed = self.bytes[end] == b'\r';
            let line: Vec<u8> = self.bytes.drain(..=end).take(end).collect();
            let was_skipped = std::mem::take(&mut self.skips);
            if !line.is_empty() && !was_skipped {
                return Some(Piece::Line(line));
            }
        }
        if self.bytes.len() >= LINE_MAX {
            self.bytes.clear();
            self.skips = true;
        }
        None
    }

    fn line_end(&self) -> Option<usize> {
        let end = |from: usize| {
            let behind = self.bytes.get(from..)?;
            behind.iter().position(|byte| is_end(*byte)).map(|at| from + at)
        };
        let mut promised = self.holding.iter().filter_map(|it| it.up_to_data(&self.bytes));
        let promised = promised.next().filter(|length| length + BEHIND_MAX < LINE_MAX);
        let Some(length) = promised.filter(|_| !self.skips) else { return end(0) };
        match end(length) {
            Some(at) => {
                let line = &self.bytes[..at];
                let fits = self.holding.iter().any(|pattern| pattern.take(line).is_some());
                if fits { Some(at) } else { end(0) }
            }
            None if self.is_impatient || self.bytes.len() > length + BEHIND_MAX => end(0),
            None => None,
        }
    }

    fn wanted(&mut self, wanted: &[u8], aborts: &[Vec<u8>]) -> Option<Piece> {
        let place = |of: &[u8]| {
            let mut windows = self.bytes.windows(of.len().max(1));
            windows.position(|window| window == of).map(|at| at + of.len())
        };
        let aborted = aborts.iter().filter_map(|of| Some((place(of)?, Some(of))));
        let came = place(wanted).map(|end| (end, None)).into_iter().chain(aborted);
        if let Some((end, abort)) = came.min_by_key(|(end, _)| *end) {
            self.bytes.drain(..end);
            return Some(abort.map_or(Piece::Bytes, |of| Piece::Abort(of.clone())));
        }
        // What may still be the beginning of one.
        let longest = aborts.iter().map(Vec::len).chain([wanted.len()]).max().unwrap_or(0);
        let keep = longest.saturating_sub(1).min(self.bytes.len());
        self.bytes.drain(..self.bytes.len() - keep);
        None
    }

    fn binary(&mut self, said: &[u8]) -> Option<Piece> {
        // A modem that repeats what it is told.
        if !said.is_empty() && self.bytes.starts_with(said) {
            self.bytes.drain(..said.len());
        } else if said.starts_with(&self.bytes) {
            return None;
        }
        let (head, rest) = self.bytes.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*head));
        if length > FRAME_MAX {
            self.bytes.clear();
            return Some(Piece::Damaged);
        }
        let (body, rest) = rest.split_at_checked(length)?;
        let sum = rest.first_chunk::<2>()?;
        let piece = match codec::sum(body) == *sum {
            true => Piece::Binary(body.to_vec()),
            false => Piece::Damaged,
        };
        self.bytes.drain(..length + AROUND_BINARY);
        Some(piece)
    }
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(reading: &mut Reading, bytes: &[u8], want: Want<'_>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        loop {
            let taken = reading.handle(rest);
            rest = &rest[taken..];
            pieces.extend(std::iter::from_fn(|| reading.poll(want)));
            if rest.is_empty() {
                return pieces;
            }
        }
    }

    fn line(text: &str) -> Piece {
        Piece::Line(text.into())
    }

    #[test]
    fn lines_end_somehow_and_come_in_any_pieces() {
        let text = b"\r\n\r\n+OK\r\n+RCV=1\n\rOK\rha";
        let whole = all(&mut Reading::default(), text, Want::Lines);
        assert_eq!(whole, [line("+OK"), line("+RCV=1"), line("OK")]);
        let mut reading = Reading::default();
        let single = text.iter().flat_map(|byte| all(&mut reading, &[*byte], Want::Lines));
        assert_eq!(single.collect::<Vec<_>>(), whole);
    }

    #[test]
    fn an_endless_line_is_left_out_and_takes_no_room() {
        let mut reading = Reading::default();
        assert_eq!(all(&mut reading, &vec![b'a'; 1_000_000], Want::Lines), []);
        assert!(reading.bytes.len() <= LINE_MAX + AROUND_BINARY);
        assert_eq!(all(&mut reading, b"aa\r\nOK\r\n", Want::Lines), [line("OK")]);
        let longest = vec![b'b'; LINE_MAX - 1];
        let pieces = all(&mut reading, &[&longest[..], b"\n"].concat(), Want::Lines);
        assert_eq!(pieces, [Piece::Line(longest)]);
    }

    #[test]
    fn what_somebody_sends_ends_no_line() {
        let heard = Pattern::parse("+RCV={from},{len},{data},{rssi}").unwrap();
        let forged = b"+RCV=5,12,\r\n+READY\r\nx\r,-5\r\n+OK\r\n";
        let whole = [line("+RCV=5,12,\r\n+READY\r\nx\r,-5"), line("+OK")];
        let mut reading = Reading::holding([heard.clone()].into_iter());
        assert_eq!(all(&mut reading, forged, Want::Lines), whole);
        let mut reading = Reading::holding([heard.clone()].into_iter());
        let single = forged.iter().flat_map(|byte| all(&mut reading, &[*byte], Want::Lines));
        assert_eq!(single.collect::<Vec<_>>(), whole);
        // A modem that cuts: what it promised does not come, and is not waited for when time is up.
        let mut reading = Reading::holding([heard].into_iter());
        assert_eq!(all(&mut reading, b"+RCV=5,12,ab\r\n+OK\r\n", Want::Lines), []);
        reading.impatient(true);
        assert_eq!(all(&mut reading, b"", Want::Lines), [line("+RCV=5,12,ab"), line("+OK")]);
        reading.impatient(false);
        let lie = [b"+RCV=5,9,ab\r\n", &[b'x'; BEHIND_MAX + 9][..], b"\r\n"].concat();
        assert_eq!(all(&mut reading, &lie, Want::Lines)[0], line("+RCV=5,9,ab"));
    }

    #[test]
    fn a_prompt_has_no_end() {
        let mut reading = Reading::default();
        let want = Want::Prompt(b"> ");
        assert_eq!(all(&mut reading, b"\r\n>", want), []);
        assert_eq!(all(&mut reading, b" \r\nOK\r\n", want), [Piece::Prompt, line("OK")]);
    }

    #[test]
    fn bytes_are_found_behind_whatever_comes_before() {
        let mut reading = Reading::default();
        let aborts = [b"NO CARRIER".to_vec()];
        let want = Want::Bytes { wanted: b"\xc1\x07", aborts: &aborts };
        for _ in 0..LINE_MAX {
            assert_eq!(all(&mut reading, b"\xc1\x00", want), []);
        }
        assert_eq!(all(&mut reading, b"\xc1\x07", want), [Piece::Bytes]);
        let gone = all(&mut reading, b"NO CARRIER\xc1\x07", want);
        assert_eq!(gone, [Piece::Abort(aborts[0].clone()), Piece::Bytes]);
        assert!(reading.bytes.is_empty());
    }

    #[test]
    fn binary_is_whole_or_damaged() {
        let answer = [&[0, 5][..], b"he\r\no", &codec::sum(b"he\r\no"), b"\r\nOK\r\n"].concat();
        let want = Want::Binary { said: b"AT+SBDRB\r" };
        for before in [&b""[..], b"AT+SBDRB\r"] {
            let mut reading = Reading::default();
            let bytes = [before, &answer].concat();
            let came = bytes.iter().find_map(|byte| {
                reading.handle(&[*byte]);
                reading.poll(want)
            });
            assert_eq!(came, Some(Piece::Binary(b"he\r\no".to_vec())));
        }
        let mut reading = Reading::default();
        reading.handle(&answer);
        assert!(reading.poll(want).is_some());
        assert_eq!(reading.poll(Want::Lines), Some(line("OK")));
        // Of the line before it the end may still be to come.
        let mut reading = Reading::default();
        reading.handle(b"OK\r");
        assert_eq!(reading.poll(Want::Lines), Some(line("OK")));
        assert_eq!(reading.poll(want), None);
        reading.handle(b"\n");
        assert_eq!(reading.poll(want), None);
        reading.handle(&answer);
        assert_eq!(reading.poll(want), Some(Piece::Binary(b"he\r\no".to_vec())));
        for wrong in [&[0xff, 0xff, 1][..], &[0, 1, 65, 0, 66]] {
            let mut reading = Reading::default();
            reading.handle(wrong);
            assert_eq!(reading.poll(want), Some(Piece::Damaged));
        }
    }
}
