//! Memory of large pieces that comes back.
//!
//! On a fast link, asking the system for new pages takes longer than hashing what is written to
//! them. So whoever hands out a large piece remembers it here, and takes its memory again once
//! nobody else holds it.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Pieces that are waited for: 4 MiB of the longest chunks. More are not on their way to a disk or
/// to a link.
const LENT_MAX: usize = 16;
/// After so many small pieces in a row a link has become quiet.
const QUIET_AFTER: u32 = 8;

/// Pieces that were handed out, oldest first.
#[derive(Debug, Default)]
pub struct Lent {
    pieces: VecDeque<Bytes>,
    small: u32,
}

impl Lent {
    /// Remembers a large piece that is handed out.
    pub fn note(&mut self, piece: &Bytes) {
        self.small = 0;
        if self.pieces.len() < LENT_MAX {
            self.pieces.push_back(piece.clone());
        }
    }

    /// A small piece was handed out. After several in a row nothing is waited for any more, so that
    /// what has become quiet holds no memory.
    pub fn note_small(&mut self) {
        self.small += 1;
        if self.small >= QUIET_AFTER {
            self.small = 0;
            self.pieces = VecDeque::new();
        }
    }

    /// The memory of the oldest piece, if nobody else holds it: its bytes are whatever they were.
    pub fn take(&mut self) -> Option<BytesMut> {
        match self.pieces.pop_front()?.try_into_mut() {
            Ok(memory) => Some(memory),
            Err(held) => {
                self.pieces.push_front(held);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece() -> Bytes {
        BytesMut::zeroed(1000).freeze()
    }

    #[test]
    fn memory_comes_back_when_nobody_else_holds_it() {
        let mut lent = Lent::default();
        let first = piece();
        let (place, part) = (first.as_ptr(), first.slice(900..));
        lent.note(&first);
        drop(first);
        assert_eq!(lent.take(), None);
        drop(part);
        let again = lent.take().unwrap();
        assert_eq!((again.as_ptr(), again.len()), (place, 1000));
        assert_eq!(lent.take(), None);
    }

    #[test]
    fn what_has_become_quiet_holds_no_memory() {
        let mut lent = Lent::default();
        for _ in 0..2 * LENT_MAX {
            lent.note(&piece());
        }
        assert_eq!(lent.pieces.len(), LENT_MAX);
        // As between two parts of a file.
        (1..QUIET_AFTER).for_each(|_| lent.note_small());
        lent.note(&piece());
        (1..QUIET_AFTER).for_each(|_| lent.note_small());
        assert_eq!(lent.pieces.len(), LENT_MAX);
        lent.note_small();
        assert_eq!(lent.pieces.capacity(), 0);
    }
}
