//! Frames that can be repaired, but for the 00 around them: one that damage made, or one that it took.
//!
//! A 00 in the middle of a frame is one wrong byte of it, once both halves are together again. Where the
//! 00 between two frames is gone, the first is most likely as long as the one before it.

use super::framing::PIECE_MAX;

/// What is remembered of a bad line for it.
#[derive(Debug, Default)]
pub struct Mending {
    /// The piece before, if nothing could be read in it.
    broken: Vec<u8>,
    /// The length of the last frame that could be repaired; 0: the line is not one of those.
    usual: usize,
}

impl Mending {
    /// A piece of that length was read.
    pub fn note_read(&mut self, length: usize, repairable: bool) {
        self.broken.clear();
        if repairable {
            self.usual = length;
        }
    }

    /// What a piece may have been in which nothing could be read, the likeliest first. Several of them
    /// may hold a frame.
    pub fn guesses(&mut self, piece: &[u8]) -> Vec<Vec<u8>> {
        if self.usual == 0 {
            return Vec::new();
        }
        let mut guesses = Vec::new();
        if piece.len() > self.usual {
            let (first, rest) = piece.split_at(self.usual);
            guesses.push(first.to_vec());
            if let Some((_, second)) = rest.split_first() {
                guesses.push(second.to_vec());
            }
            if rest.len() != self.usual + 1 {
                guesses.push(piece[piece.len() - self.usual..].to_vec());
            }
        }
        if !self.broken.is_empty() && self.broken.len() + piece.len() < PIECE_MAX {
            guesses.push([&self.broken[..], &[0], piece].concat());
        }
        self.broken = piece.to_vec();
        guesses
    }

    /// Bytes that are held.
    pub fn held_bytes(&self) -> usize {
        self.broken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_guessed_before_a_frame_was_repairable() {
        let mut mending = Mending::default();
        mending.note_read(5, false);
        assert!(mending.guesses(&[7; 20]).is_empty());
        assert_eq!(mending.held_bytes(), 0);
    }

    #[test]
    fn two_pieces_are_one_and_one_is_two() {
        let mut mending = Mending::default();
        mending.note_read(5, true);
        assert!(mending.guesses(&[1, 2]).is_empty());
        assert_eq!(mending.guesses(&[4, 5]), [[1, 2, 0, 4, 5]]);
        mending.note_read(5, true);
        let merged = [1, 2, 3, 4, 5, 9, 6, 7, 8, 9, 10];
        assert_eq!(mending.guesses(&merged), [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]);
        // With a shorter one before it, or behind it.
        mending.note_read(5, true);
        let merged = [1, 2, 9, 4, 5, 6, 7, 8];
        assert_eq!(
            mending.guesses(&merged),
            [vec![1, 2, 9, 4, 5], vec![7, 8], vec![4, 5, 6, 7, 8]]
        );
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut mending = Mending::default();
        mending.note_read(5, true);
        for length in [0, 1, PIECE_MAX, PIECE_MAX - 1] {
            let guesses = mending.guesses(&vec![7; length]);
            assert!(guesses.iter().all(|guess| guess.len() <= PIECE_MAX));
            assert!(mending.held_bytes() <= PIECE_MAX);
        }
    }
}
