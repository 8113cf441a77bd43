//! A form that is longer than a frame is cut into pieces, and put together again within bounds.
//!
//! ```text
//! piece = 02 | key 4 | number 1 | last 1 | bytes        key = H(form)[..4]; numbers count from 0 to last
//! ```
//!
//! All pieces but the last are equally long, the last is no longer. The key names the form and checks
//! it when it is whole: whoever repeats a piece sends it unchanged, and it does not matter from where
//! the rest comes.

use std::collections::VecDeque;

use super::{FORM_MAX, PIECE};

/// Bytes of a piece before its content.
pub const PIECE_HEAD: usize = 7;

/// Frames are at least this long: half of what the slowest LoRaWAN rates take (51 bytes). The longest
/// form makes 171 pieces then; a number has room for 256.
pub const MTU_MIN: usize = 32;

/// So many forms are put together at the same time for one sender. A sender ends one before it begins
/// the next but for something urgent; the rest is for pieces of forms that were given up.
const SETS_MAX: usize = 8;

/// So many forms are remembered that became whole, so that a repeated piece begins no new one.
const DONE_MAX: usize = 16;

/// Why a form cannot be cut.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CutError {
    /// Frames below [`MTU_MIN`].
    #[error("frames of {0} bytes are too short")]
    Mtu(usize),
    /// Not a form: longer than [`FORM_MAX`].
    #[error("{0} bytes are too many for a form")]
    TooLong(usize),
}

/// What became of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The form is whole. It was compared with its key, four bytes, and with nothing else.
    Whole(Vec<u8>),
    /// There are pieces lacking still.
    Waits([u8; 4]),
    /// Its form became whole before.
    Known([u8; 4]),
    /// Not a piece, or the last one of a form that does not fit its key and was dropped.
    Refused,
}

/// Cuts a form into frames; one that fits is its own frame.
pub fn cut(form: &[u8], mtu: usize) -> Result<Vec<Vec<u8>>, CutError> {
    if mtu < MTU_MIN {
        return Err(CutError::Mtu(mtu));
    }
    if form.len() > FORM_MAX {
        return Err(CutError::TooLong(form.len()));
    }
    if form.len() <= mtu {
        return Ok(vec![form.to_vec()]);
    }
    let count = form.len().div_ceil(mtu - PIECE_HEAD);
    // Equally long: of two frames the shorter is the less likely to be lost.
    let size = form.len().div_ceil(count);
    let key = key_of(form);
    let contents = form.chunks(size);
    let last = u8::try_from(contents.len() - 1).map_err(|_| CutError::Mtu(mtu))?;
    let pieces = (0..=last).zip(contents).map(|(number, content)| {
        let head = [&[PIECE][..], &key, &[number, last]].concat();
        [&head[..], content].concat()
    });
    Ok(pieces.collect())
}

/// The forms of one sender that are not whole yet.
///
/// Each sender has its own, so that nobody pushes out another's. Memory is bounded: eight forms of
/// at most twice [`FORM_MAX`]; what was not touched for longest goes first.
#[derive(Debug, Default)]
pub struct Pieces {
    /// The one touched last stands last.
    sets: VecDeque<Set>,
    done: VecDeque<[u8; 4]>,
}

#[derive(Debug)]
struct Set {
    key: [u8; 4],
    contents: Vec<Option<Vec<u8>>>,
}

struct Piece<'a> {
    key: [u8; 4],
    number: u8,
    last: u8,
    content: &'a [u8],
}

impl Pieces {
    /// Takes a frame that is a piece.
    pub fn take(&mut self, frame: &[u8]) -> Taken {
        let Some(piece) = Piece::of(frame) else { return Taken::Refused };
        let key = piece.key;
        if self.done.contains(&key) {
            return Taken::Known(key);
        }
        let at = self.sets.iter().position(|set| set.key == key);
        // What comes last counts, and where it cannot be of what is there, that begins anew: else a
        // single false piece would keep the true ones out.
        let mut set = at
            .and_then(|at| self.sets.remove(at))
            .filter(|set| set.fits(&piece))
            .unwrap_or_else(|| Set::new(&piece));
        set.contents[usize::from(piece.number)] = Some(piece.content.to_vec());
        let Some(form) = set.whole() else {
            if self.sets.len() == SETS_MAX {
                self.sets.pop_front();
            }
            self.sets.push_back(set);
            return Taken::Waits(key);
        };
        if form.len() > FORM_MAX || key_of(&form) != key {
            return Taken::Refused;
        }
        if self.done.len() == DONE_MAX {
            self.done.pop_front();
        }
        self.done.push_back(key);
        Taken::Whole(form)
    }

    /// The numbers of the pieces that a form lacks, for whoever asks for them again; none of one of
    /// which nothing came.
    pub fn lacking(&self, key: [u8; 4]) -> Vec<u8> {
        let set = self.sets.iter().find(|set| set.key == key);
        let contents = set.map_or(&[][..], |set| &set.contents[..]);
        let numbers = (0..=u8::MAX).zip(contents);
        numbers.filter(|(_, content)| content.is_none()).map(|(number, _)| number).collect()
    }
}

impl Set {
    fn new(piece: &Piece<'_>) -> Self {
        Self { key: piece.key, contents: vec![None; usize::from(piece.last) + 1] }
    }

    /// Whether a piece can be one of these, by its length and the number of pieces.
    fn fits(&self, piece: &Piece<'_>) -> bool {
        let last = usize::from(piece.last);
        let length = piece.content.len();
        self.contents.len() == last + 1
            && self.contents.iter().enumerate().all(|(number, there)| {
                let Some(there) = there else { return true };
                if number == usize::from(piece.number) {
                    return true;
                }
                match (number == last, piece.number == piece.last) {
                    (true, _) => there.len() <= length,
                    (_, true) => length <= there.len(),
                    _ => length == there.len(),
                }
            })
    }

    /// All of it, be it a form or not, and then at most twice as long as one.
    fn whole(&self) -> Option<Vec<u8>> {
        let mut form = Vec::new();
        for content in &self.contents {
            form.extend_from_slice(content.as_ref()?);
        }
        Some(form)
    }
}

impl<'a> Piece<'a> {
    fn of(frame: &'a [u8]) -> Option<Self> {
        let (head, content) = frame.split_first_chunk::<PIECE_HEAD>()?;
        let [PIECE, a, b, c, d, number, last] = *head else { return None };
        // What is cut makes two pieces at least. Those before the last are as long as this one or
        // longer, so this bounds what a set may take.
        let fine = (1..=last).contains(&last)
            && number <= last
            && !content.is_empty()
            && usize::from(last) * content.len() < FORM_MAX;
        fine.then_some(Self { key: [a, b, c, d], number, last, content })
    }
}

fn key_of(form: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = *blake3::hash(form).as_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        blake3::Hasher::new().update(&bytes.to_be_bytes()).finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn pieces_in_any_order_make_the_form_again() {
        for (bytes, mtu) in [(231, 230), (283, 230), (4270, 32), (4270, 230), (141, 140), (33, 32)]
        {
            let form = form(bytes);
            let mut frames = cut(&form, mtu).unwrap();
            assert!(frames.iter().all(|frame| frame.len() <= mtu));
            assert_eq!(frames.len(), bytes.div_ceil(mtu - PIECE_HEAD));
            for turn in 0..frames.len().min(9) {
                frames.rotate_left(1);
                let order = frames.iter().rev().skip(turn % 2).chain(&frames);
                let mut pieces = Pieces::default();
                let taken = order.map(|frame| pieces.take(frame));
                let whole = taken.filter(|taken| *taken == Taken::Whole(form.clone())).count();
                assert_eq!(whole, 1, "{bytes} bytes in frames of {mtu}");
                assert!(pieces.sets.is_empty());
            }
        }
    }

    #[test]
    fn what_fits_is_its_own_frame() {
        assert_eq!(cut(&form(230), 230), Ok(vec![form(230)]));
        assert_eq!(cut(&form(40), 31), Err(CutError::Mtu(31)));
        assert_eq!(cut(&form(FORM_MAX + 1), 230), Err(CutError::TooLong(FORM_MAX + 1)));
    }

    #[test]
    fn lacking_pieces_are_told() {
        let frames = cut(&form(1000), 230).unwrap();
        let mut pieces = Pieces::default();
        let Taken::Waits(key) = pieces.take(&frames[2]) else { panic!("it is whole") };
        assert_eq!(pieces.lacking(key), [0, 1, 3, 4]);
        assert_eq!(pieces.lacking([0; 4]), []);
        for frame in &frames {
            pieces.take(frame);
        }
        assert_eq!(pieces.lacking(key), []);
        assert_eq!(pieces.take(&frames[0]), Taken::Known(key));
    }

    /// Found by ten million spoiled inputs: two pieces, each shorter than a form, that together are longer
    /// waited for ever, with nothing lacking.
    #[test]
    fn pieces_that_are_longer_than_any_form_are_refused_when_they_are_whole() {
        let piece = |number| [&[PIECE, 1, 2, 3, 4, number, 1][..], &[7; FORM_MAX - 1]].concat();
        let mut pieces = Pieces::default();
        assert_eq!(pieces.take(&piece(0)), Taken::Waits([1, 2, 3, 4]));
        assert_eq!(pieces.take(&piece(1)), Taken::Refused);
        assert!(pieces.sets.is_empty());
    }

    #[test]
    fn a_false_piece_costs_no_more_than_a_repetition() {
        let form = form(600);
        let frames = cut(&form, 230).unwrap();
        let mut pieces = Pieces::default();
        let lies = [
            [&frames[0][..8], &[7; 99]].concat(),
            [&frames[1][..6], &[9][..], &frames[1][7..]].concat(),
            [&frames[1][..7], &[7; 200]].concat(),
        ];
        for lie in &lies {
            for frame in &frames[..2] {
                assert!(matches!(pieces.take(frame), Taken::Waits(_)));
            }
            assert!(matches!(pieces.take(lie), Taken::Waits(_)));
        }
        let whole: Vec<_> = frames.iter().map(|frame| pieces.take(frame)).collect();
        assert_eq!(whole.last(), Some(&Taken::Whole(form)));
        let mut spoiled = frames.clone();
        *spoiled[1].last_mut().unwrap() ^= 1;
        let mut pieces = Pieces::default();
        let taken: Vec<_> = spoiled.iter().map(|frame| pieces.take(frame)).collect();
        assert_eq!(taken.last(), Some(&Taken::Refused), "the key decides");
        assert!(pieces.sets.is_empty());
    }

    #[test]
    fn what_is_no_piece_is_refused_and_what_waits_is_bounded() {
        let mut pieces = Pieces::default();
        let no_pieces: [&[u8]; 6] = [
            b"",
            b"\x02key!\x00\x01",
            b"\x02key!\x02\x01content",
            b"\x02key!\x00\x00content",
            b"\x03key!\x00\x01content",
            &[&b"\x02key!\x00\xff"[..], &[7; 17]].concat(),
        ];
        for frame in no_pieces {
            assert_eq!(pieces.take(frame), Taken::Refused, "{frame:02x?}");
        }
        for n in 0..1000_u32 {
            let head = [&[PIECE][..], &n.to_be_bytes(), &[1, 9]].concat();
            assert!(matches!(pieces.take(&[&head[..], &[7; 400]].concat()), Taken::Waits(_)));
        }
        assert_eq!(pieces.sets.len(), SETS_MAX);
        assert_eq!(pieces.lacking(999_u32.to_be_bytes()).len(), 9);
        assert_eq!(pieces.lacking(900_u32.to_be_bytes()), [], "pushed out");
    }
}
