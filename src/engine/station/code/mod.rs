//! The rateless code: any so many frames of a form make it again, whichever were lost.
//!
//! ```text
//! piece    02 | key 4 | number 1 | last 1 | bytes       as docs/format.md has it
//! repair   05 | key 4 | last 1 | seed 2 | bytes         more follows
//!          06 | …                                       the last of a burst: others may speak
//! ```
//!
//! The pieces go out once. What got lost is repaired by sums of all pieces, over GF(256), with factors
//! that follow from key and seed: each one serves whoever lacks anything, so one transmission repairs
//! different losses at many receivers, and a receiver says how many it lacks, not which.
//!
//! - `field`: bytes that multiply, equations over them;
//! - `gather`: frames become forms again, within bounds, false ones among them.

mod field;
mod gather;

use postrider_base::radio::{CutError, FORM_MAX, PIECE_HEAD, cut};

pub(super) use gather::{Gathered, Gathering, Standing};

const PIECE: u8 = 2;
const REPAIR: u8 = 5;
const REPAIR_LAST: u8 = 6;
const REPAIR_HEAD: usize = 8;
/// Pieces of a form: the longest one makes 107 where frames are shortest. It bounds what a solution takes.
const PIECES_MAX: usize = 128;

/// What names a form in its frames: the first bytes of its hash.
pub(super) type Key = [u8; 4];

/// A form, ready to be sent in frames.
#[derive(Clone, Debug)]
pub(super) struct Coded {
    key: Key,
    /// The form itself, or its pieces.
    frames: Vec<Vec<u8>>,
}

/// Whether more follows at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    More,
    Nothing,
}

/// A frame of a form that is longer than a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fragment<'a> {
    key: Key,
    last: u8,
    sum: Sum,
    content: &'a [u8],
}

/// Of what a fragment is the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sum {
    /// One piece.
    Piece(u8),
    /// All, times what follows from a seed.
    Seed(u16),
}

impl Coded {
    pub fn new(form: &[u8], mtu_bytes: usize) -> Result<Self, CutError> {
        // A sum is as long as a piece, and its head a byte longer.
        let longer = REPAIR_HEAD - PIECE_HEAD;
        let mtu =
            if form.len() <= mtu_bytes { mtu_bytes } else { mtu_bytes.saturating_sub(longer) };
        Ok(Self { key: key_of(form), frames: cut(form, mtu)? })
    }

    pub fn key(&self) -> Key {
        self.key
    }

    /// The form, or its pieces in order.
    pub fn frames(&self) -> &[Vec<u8>] {
        &self.frames
    }

    /// Whether it is one frame: there is nothing to repair then, only to repeat.
    pub fn is_one(&self) -> bool {
        self.frames.len() == 1
    }

    /// What the pieces bring.
    pub fn contents(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.frames.iter().map(|frame| frame.get(PIECE_HEAD..).unwrap_or(&[]))
    }

    /// A sum of all pieces. A seed is used once.
    pub fn repair(&self, seed: u16, follows: Follows) -> Vec<u8> {
        let first = match follows {
            Follows::More => REPAIR,
            Follows::Nothing => REPAIR_LAST,
        };
        let sum = sum(self.key, seed, self.contents());
        let last = u8::try_from(self.frames.len() - 1).unwrap_or(u8::MAX);
        let mut frame = vec![first];
        frame.extend_from_slice(&self.key);
        frame.push(last);
        frame.extend_from_slice(&seed.to_be_bytes());
        frame.extend_from_slice(&sum);
        frame
    }
}

impl<'a> Fragment<'a> {
    /// Reads a frame; none if it is no fragment, or one of more than a form can be.
    fn of(frame: &'a [u8]) -> Option<Self> {
        let (first, rest) = frame.split_first()?;
        let (key, rest) = rest.split_first_chunk::<4>()?;
        let (last, sum, content) = match (*first, rest) {
            (PIECE, [number, last, content @ ..]) if number <= last => {
                (*last, Sum::Piece(*number), content)
            }
            (REPAIR | REPAIR_LAST, [last, high, low, content @ ..]) => {
                (*last, Sum::Seed(u16::from_be_bytes([*high, *low])), content)
            }
            _ => return None,
        };
        // Those before the last are as long as this one or longer: so much bounds what a form takes.
        let fits = usize::from(last) < PIECES_MAX && usize::from(last) * content.len() < FORM_MAX;
        (last >= 1 && !content.is_empty() && fits).then_some(Self { key: *key, last, sum, content })
    }

    /// Whether others may speak now.
    fn ends_burst(&self, first: u8) -> bool {
        first == REPAIR_LAST || self.sum == Sum::Piece(self.last)
    }
}

/// Whether a frame that begins so is a sum of pieces.
pub(super) fn is_sum(first: u8) -> bool {
    matches!(first, REPAIR | REPAIR_LAST)
}

/// Of which form a frame is, if it is a fragment.
pub(super) fn key_in(frame: &[u8]) -> Option<Key> {
    Fragment::of(frame).map(|fragment| fragment.key)
}

/// What names a form.
pub(super) fn key_of(form: &[u8]) -> Key {
    let [a, b, c, d, ..] = *blake3::hash(form).as_bytes();
    [a, b, c, d]
}

/// The sum of pieces that follows from a seed.
fn sum<'a>(key: Key, seed: u16, pieces: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    let (count, size) = (pieces.clone().count(), pieces.clone().map(<[u8]>::len).max());
    let mut sum = vec![0; size.unwrap_or(0)];
    for (factor, piece) in factors(key, seed, count).into_iter().zip(pieces) {
        field::add(&mut sum, factor, piece);
    }
    sum
}

/// What the pieces are multiplied by: the hash of key and seed, drawn out.
fn factors(key: Key, seed: u16, count: usize) -> Vec<u8> {
    let mut factors = vec![0; count];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key).update(&seed.to_be_bytes());
    hasher.finalize_xof().fill(&mut factors);
    factors
}
