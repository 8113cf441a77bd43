//! The payload of an age file: chunks of 64 KiB, each sealed and opened where it lies.
//!
//! ```text
//! chunk:  ChaCha20-Poly1305(key, nonce, up to 64 KiB) ‖ tag 16
//! nonce:  number of the chunk, 11 bytes big-endian ‖ 1 if it is the last, else 0
//! ```
//!
//! The format is age's ("Payload" in its specification). The age crate seals and opens it, too, but
//! through a new buffer for every chunk, each of which it wipes byte by byte: for a gigabyte that
//! takes as long again as the cipher.

use std::io::{self, Read, Write};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::SealError;

/// Plain bytes of every chunk but the last.
const CHUNK_BYTES: usize = 64 << 10;
const TAG_BYTES: usize = 16;
const SEALED_BYTES: usize = CHUNK_BYTES + TAG_BYTES;

/// The key of one payload, and which chunk comes next.
pub(super) struct Chunks {
    key: LessSafeKey,
    next: u64,
}

impl Chunks {
    /// `key` must never be used for a second payload.
    pub fn new(key: &Zeroizing<[u8; 32]>) -> io::Result<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key[..]).map_err(|_| broken())?;
        Ok(Self { key: LessSafeKey::new(key), next: 0 })
    }

    /// Opens the next chunk where it lies.
    fn open<'a>(&mut self, chunk: &'a mut [u8], last: bool) -> Result<&'a [u8], SealError> {
        let is_first = self.next == 0;
        let nonce = self.nonce(last);
        let plain = self.key.open_in_place(nonce, Aad::empty(), chunk).map_err(|_| SealError)?;
        // What ends with a full chunk has one way to say so.
        if plain.is_empty() && !is_first { Err(SealError) } else { Ok(plain) }
    }

    fn nonce(&mut self, last: bool) -> Nonce {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&self.next.to_be_bytes());
        nonce[11] = u8::from(last);
        // 2^64 chunks are more than any bundle has.
        self.next = self.next.wrapping_add(1);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Seals what is written into it. [`SealWriter::finish`] must be called: without its last chunk a
/// payload does not open.
pub struct SealWriter<W> {
    out: W,
    chunks: Chunks,
    chunk: Vec<u8>,
}

impl<W: Write> SealWriter<W> {
    pub(super) fn new(out: W, chunks: Chunks) -> Self {
        Self { out, chunks, chunk: Vec::with_capacity(SEALED_BYTES) }
    }

    /// Seals the last chunk.
    pub fn finish(mut self) -> io::Result<W> {
        self.emit(true)?;
        Ok(self.out)
    }

    fn emit(&mut self, last: bool) -> io::Result<()> {
        let nonce = self.chunks.nonce(last);
        let sealed =
            self.chunks.key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut self.chunk);
        self.chunk.extend_from_slice(sealed.map_err(|_| broken())?.as_ref());
        self.out.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }
}

impl<W: Write> Write for SealWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Not before more comes: a full chunk may be the last.
        if self.chunk.len() == CHUNK_BYTES && !bytes.is_empty() {
            self.emit(false)?;
        }
        let n = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    /// A chunk that is not full stays until [`SealWriter::finish`].
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Opens what it reads. An error may come after plaintext was given out: use nothing before the end
/// was reached without one.
pub struct SealReader<R> {
    inner: R,
    chunks: Chunks,
    /// A chunk, and the byte behind it that shows whether it is the last.
    chunk: Vec<u8>,
    /// What of it is plaintext that was not given out.
    plain: std::ops::Range<usize>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was read.
    Fresh,
    /// The first byte of the next chunk was read with the last one.
    Ahead(u8),
    Ended,
    Broken,
}

impl<R: Read> SealReader<R> {
    pub(super) fn new(inner: R, chunks: Chunks) -> Self {
        let chunk = vec![0; SEALED_BYTES + 1];
        Self { inner, chunks, chunk, plain: 0..0, state: State::Fresh }
    }

    /// Opens the next chunk, if there is one.
    fn open_next(&mut self) -> io::Result<()> {
        let mut filled = match self.state {
            State::Fresh => 0,
            State::Ahead(first) => {
                self.chunk[0] = first;
                1
            }
            State::Ended => return Ok(()),
            State::Broken => return Err(broken()),
        };
        self.state = State::Broken;
        while filled < self.chunk.len() {
            match self.inner.read(&mut self.chunk[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let last = filled <= SEALED_BYTES;
        let after = if last { State::Ended } else { State::Ahead(self.chunk[SEALED_BYTES]) };
        let sealed = &mut self.chunk[..filled.min(SEALED_BYTES)];
        let plain_bytes = self.chunks.open(sealed, last).map_err(|_| broken())?.len();
        self.plain = 0..plain_bytes;
        self.state = after;
        Ok(())
    }
}

impl<R: Read> Read for SealReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.plain.is_empty() {
            self.open_next()?;
        }
        let n = out.len().min(self.plain.len());
        out[..n].copy_from_slice(&self.chunk[self.plain.start..self.plain.start + n]);
        self.plain.start += n;
        Ok(n)
    }
}

/// Opens what comes in pieces. The same holds as for [`SealReader`].
pub struct Opener {
    chunks: Chunks,
    chunk: Vec<u8>,
}

impl Opener {
    pub(super) fn new(chunks: Chunks) -> Self {
        Self { chunks, chunk: Vec::with_capacity(SEALED_BYTES) }
    }

    /// Takes the next bytes, and gives `out` what is open by them.
    pub fn push<E: From<SealError>>(
        &mut self,
        mut bytes: &[u8],
        mut out: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            // Not before more comes: a full chunk may be the last.
            if self.chunk.len() == SEALED_BYTES {
                out(self.chunks.open(&mut self.chunk, false)?)?;
                self.chunk.clear();
            }
            let n = bytes.len().min(SEALED_BYTES - self.chunk.len());
            self.chunk.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// No more comes. Without an error, all was there and nothing was changed.
    pub fn finish<E: From<SealError>>(
        mut self,
        out: impl FnOnce(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        out(self.chunks.open(&mut self.chunk, true)?)
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a sealed payload is damaged or cut")
}
