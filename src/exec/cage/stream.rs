//! What comes out of one stream of a command: all of it hashed and counted, its beginning and its end kept,
//! in a file that never grows beyond the bound and with no memory that grows at all.
//!
//! The second half of the file is a ring while bytes come; at the end it is turned so that it reads in
//! order.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
};

use postrider_base::packet::SHOWN_MAX;
use rustix::{fs::OFlags, io::Errno};

use super::folder::private;
use crate::contract::Captured;

/// As much as a pipe holds.
const PIECE_BYTES: usize = 64 << 10;
/// What a pipe can hold at the most (1 MiB, fs.pipe-max-size), several times: whoever else has got hold of
/// it is not waited for.
const LEFT_PIECES_MAX: u32 = 64;
/// What is few enough to stand in the outcome, which saves a sync: as much as a result shows. Two streams of
/// it fit the outcome's reserve.
const FEW_BYTES: usize = SHOWN_MAX;

/// One stream on its way into its file.
#[derive(Debug)]
pub(super) struct Stream {
    /// Our end of the pipe; gone once the command's ends are.
    pipe: Option<OwnedFd>,
    kept: Kept,
    /// What was kept, once nothing more comes: it is made durable then, while the command may go on.
    done: Option<io::Result<Captured>>,
    buffer: Vec<u8>,
}

impl Stream {
    /// Keeps what comes out of `pipe` in the file at `path`, at most `bound` bytes of it.
    pub(super) fn new(pipe: OwnedFd, path: &Path, bound: u64) -> io::Result<Self> {
        rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        let kept = Kept::new(private(path, true)?, bound);
        Ok(Self { pipe: Some(pipe), kept, done: None, buffer: vec![0; PIECE_BYTES] })
    }

    /// What to wait for; `None` when nothing more comes.
    pub(super) fn waits(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Takes what is there, at most a piece; whether there was something.
    pub(super) fn take(&mut self) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        match rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut *self.buffer)) {
            Ok(0) => {
                self.pipe = None;
                self.done = Some(self.kept.finish());
            }
            Ok(n) => {
                self.kept.take(&self.buffer[..n]);
                return true;
            }
            Err(Errno::AGAIN) => {}
            // A pipe of ours that cannot be read has nothing more to give.
            Err(_) => self.pipe = None,
        }
        false
    }

    /// Whether more came than is kept.
    pub(super) fn is_over(&self) -> bool {
        self.kept.bytes > self.kept.head + self.kept.tail
    }

    /// Takes what is left in the pipe and makes the file durable.
    pub(super) fn finish(mut self) -> io::Result<Captured> {
        for _ in 0..LEFT_PIECES_MAX {
            if !self.take() {
                break;
            }
        }
        self.done.take().unwrap_or_else(|| self.kept.finish())
    }
}

/// The file of a stream.
#[derive(Debug)]
struct Kept {
    file: File,
    /// Bytes for the beginning, and for the end.
    head: u64,
    tail: u64,
    bytes: u64,
    /// The first of them, and one more than are few.
    first: Vec<u8>,
    hasher: blake3::Hasher,
    /// The disk took nothing more from this offset on; from then on nothing is kept.
    full_at: Option<u64>,
}

impl Kept {
    fn new(file: File, bound: u64) -> Self {
        let head = bound.div_ceil(2);
        let hasher = blake3::Hasher::new();
        let first = Vec::new();
        Self { file, head, tail: bound - head, bytes: 0, first, hasher, full_at: None }
    }

    fn take(&mut self, mut piece: &[u8]) {
        self.hasher.update(piece);
        let room = (FEW_BYTES + 1).saturating_sub(self.first.len()).min(piece.len());
        self.first.extend_from_slice(&piece[..room]);
        while !piece.is_empty() {
            // Where the next byte belongs, and how many fit there in a row.
            let (at, room) = match self.bytes.checked_sub(self.head) {
                None => (self.bytes, self.head - self.bytes),
                Some(_) if self.tail == 0 => (0, 0),
                Some(beyond) => {
                    let in_ring = beyond % self.tail;
                    (self.head + in_ring, self.tail - in_ring)
                }
            };
            let here = usize::try_from(room).unwrap_or(usize::MAX).min(piece.len());
            let (now, later) = if room == 0 { (piece, &[][..]) } else { piece.split_at(here) };
            if room > 0 && self.full_at.is_none() && self.file.write_all_at(now, at).is_err() {
                // A ring that went round holds a mixture from here on: only the beginning is true.
                let round = self.bytes >= self.head + self.tail;
                self.full_at = Some(if round { self.head } else { at });
            }
            self.bytes += now.len() as u64;
            piece = later;
        }
    }

    fn finish(&mut self) -> io::Result<Captured> {
        let bound = self.head + self.tail;
        let cut_at = match self.full_at {
            Some(at) => {
                self.file.set_len(at)?;
                Some(at)
            }
            None if self.bytes <= bound => None,
            None => {
                if self.tail > 0 {
                    let oldest = (self.bytes - self.head) % self.tail;
                    self.turn(oldest)?;
                }
                Some(self.head)
            }
        };
        let few = cut_at.is_none() && self.first.len() <= FEW_BYTES;
        let few = few.then(|| std::mem::take(&mut self.first));
        if few.is_none() {
            self.file.sync_all()?;
        }
        let blake3 = *self.hasher.finalize().as_bytes();
        Ok(Captured { bytes: self.bytes, blake3, cut_at, few })
    }

    /// Turns the ring so that the byte at `oldest` comes first: both parts backwards, then all of it,
    /// which needs no room of its own.
    fn turn(&mut self, oldest: u64) -> io::Result<()> {
        if oldest == 0 {
            return Ok(());
        }
        let (start, middle, end) = (self.head, self.head + oldest, self.head + self.tail);
        self.reverse(start, middle)?;
        self.reverse(middle, end)?;
        self.reverse(start, end)
    }

    fn reverse(&mut self, mut start: u64, mut end: u64) -> io::Result<()> {
        let mut front = vec![0; PIECE_BYTES];
        let mut back = vec![0; PIECE_BYTES];
        while end - start >= 2 {
            let half = usize::try_from((end - start) / 2).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let (front, back) = (&mut front[..half], &mut back[..half]);
            let from = end - half as u64;
            self.file.read_exact_at(front, start)?;
            self.file.read_exact_at(back, from)?;
            front.reverse();
            back.reverse();
            self.file.write_all_at(back, start)?;
            self.file.write_all_at(front, from)?;
            start += half as u64;
            end = from;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What is kept of `all` when it comes in pieces of `piece` bytes.
    fn keep(all: &[u8], bound: u64, piece: usize) -> (Captured, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout");
        let mut kept = Kept::new(private(&path, true).unwrap(), bound);
        for piece in all.chunks(piece) {
            kept.take(piece);
        }
        let captured = kept.finish().unwrap();
        (captured, std::fs::read(&path).unwrap())
    }

    #[test]
    fn keeps_the_beginning_and_the_end_and_hashes_everything() {
        let all: Vec<u8> = (0_u32..100_000).flat_map(u32::to_le_bytes).collect();
        for bound in [0, 1, 2, 3, 1000, 65_537, 150_001, 399_999, 400_000, 400_001] {
            for piece in [1000, 65_536] {
                let (captured, file) = keep(&all, bound, piece);
                assert_eq!(captured.bytes, all.len() as u64);
                assert_eq!(captured.blake3, *blake3::hash(&all).as_bytes());
                if bound >= all.len() as u64 {
                    assert_eq!((captured.cut_at, &file), (None, &all), "{bound}");
                    continue;
                }
                let bound = usize::try_from(bound).unwrap();
                let head = bound.div_ceil(2);
                assert_eq!(captured.cut_at, Some(head as u64));
                assert_eq!(file.len(), bound);
                assert!(file[..head] == all[..head], "{bound}: the beginning");
                assert!(file[head..] == all[all.len() - (bound - head)..], "{bound}: the end");
            }
        }
    }

    #[test]
    fn nothing_at_all_is_an_empty_file_that_misses_nothing() {
        let (captured, file) = keep(&[], 10, 1);
        assert_eq!((captured.bytes, captured.cut_at, file.len()), (0, None, 0));
        assert_eq!(captured.blake3, *blake3::hash(b"").as_bytes());
    }
}
