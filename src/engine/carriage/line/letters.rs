//! Letters: what stands for itself and is said once as soon as the other end is known, before there is a
//! pipe. On a slow line a short message and its receipt pass while others still shake hands.
//!
//! Nothing depends on one: who writes it sends the same on the pipe as well, and one that is lost is not
//! said again.

use std::collections::VecDeque;

use super::framing::LETTER_MAX;

/// Of each direction so many wait, and so many are taken in a session: what comes on the pipe is paced,
/// this is not.
const LETTERS_MAX: usize = 4;

#[derive(Debug, Default)]
pub struct Letters {
    out: VecDeque<Vec<u8>>,
    came: VecDeque<Vec<u8>>,
    taken: usize,
}

impl Letters {
    pub fn post(&mut self, letter: Vec<u8>) {
        if (1..=LETTER_MAX).contains(&letter.len()) && self.out.len() < LETTERS_MAX {
            self.out.push_back(letter);
        }
    }

    pub fn next(&mut self) -> Option<Vec<u8>> {
        self.out.pop_front()
    }

    pub fn has_some(&self) -> bool {
        !self.out.is_empty()
    }

    pub fn handle(&mut self, letter: Vec<u8>) {
        if self.taken < LETTERS_MAX {
            self.taken += 1;
            self.came.push_back(letter);
        }
    }

    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.came.pop_front()
    }

    pub fn held_bytes(&self) -> usize {
        self.out.iter().chain(&self.came).map(Vec::len).sum()
    }
}
