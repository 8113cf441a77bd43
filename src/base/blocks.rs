//! Bulk bytes in blocks, each hashed as it passes.
//!
//! A seal cuts its bytes at places that fit neither the tree of BLAKE3 nor the pages of a disk: hashed
//! and written as they come they take half as long again. Here they are gathered into blocks that do.

use std::io::{self, Read, Write};

/// Bytes of a block: enough for every lane of a processor to hash, and still in its cache.
const BLOCK_BYTES: usize = 256 << 10;

/// Writes whole blocks, and hashes them. [`BlockWriter::finish`] writes the rest.
pub(crate) struct BlockWriter<W> {
    out: W,
    hasher: blake3::Hasher,
    block: Vec<u8>,
    failed: Option<io::Error>,
}

impl<W: Write> BlockWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out, hasher: blake3::Hasher::new(), block: Vec::new(), failed: None }
    }

    /// Why writing failed, if it did: whoever wrote may have made something else of it.
    pub fn failed(&mut self) -> Option<io::Error> {
        self.failed.take()
    }

    /// Writes what is left, and says what all of it hashes to.
    pub fn finish(mut self) -> io::Result<(W, [u8; 32])> {
        self.out.write_all(&self.block)?;
        self.hasher.update(&self.block);
        Ok((self.out, *self.hasher.finalize().as_bytes()))
    }

    fn emit(&mut self, bytes: Option<&[u8]>) -> io::Result<()> {
        let bytes = bytes.unwrap_or(&self.block);
        if let Err(error) = self.out.write_all(bytes) {
            let again = io::Error::from(error.kind());
            self.failed = Some(error);
            return Err(again);
        }
        self.hasher.update(bytes);
        Ok(())
    }
}

impl<W: Write> Write for BlockWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.is_empty() && bytes.len() >= BLOCK_BYTES {
            self.emit(Some(&bytes[..BLOCK_BYTES]))?;
            return Ok(BLOCK_BYTES);
        }
        let n = bytes.len().min(BLOCK_BYTES - self.block.len());
        self.block.extend_from_slice(&bytes[..n]);
        if self.block.len() == BLOCK_BYTES {
            self.emit(None)?;
            self.block.clear();
        }
        Ok(n)
    }

    /// A block that is not full stays until [`BlockWriter::finish`].
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads whole blocks, and hashes them, up to a limit.
pub(crate) struct BlockReader<R> {
    inner: R,
    left: u64,
    /// Boxed: it is two kilobytes, and readers are moved about.
    hasher: Box<blake3::Hasher>,
    block: Vec<u8>,
    at: usize,
}

impl<R: Read> BlockReader<R> {
    /// Reads no more than `limit` bytes of `inner`.
    pub fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit, hasher: Box::default(), block: Vec::new(), at: 0 }
    }

    /// What everything hashes to that was read from within, given out or not.
    pub fn hash(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }

    fn fill(&mut self) -> io::Result<()> {
        let want = usize::try_from(self.left).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
        self.at = 0;
        self.block.resize(want, 0);
        let mut got = 0;
        while got < want {
            match self.inner.read(&mut self.block[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.block.clear();
                    return Err(error);
                }
            }
        }
        self.block.truncate(got);
        self.left -= got as u64;
        self.hasher.update(&self.block);
        Ok(())
    }
}

impl<R: Read> Read for BlockReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() {
            self.fill()?;
        }
        let n = out.len().min(self.block.len() - self.at);
        out[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect()
    }

    #[test]
    fn whatever_the_pieces_all_is_written_and_hashed() {
        for length in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 7] {
            let all = bytes(length);
            for piece in [7777, 65_552, BLOCK_BYTES, 2 * BLOCK_BYTES + 1] {
                let mut writer = BlockWriter::new(Vec::new());
                all.chunks(piece).for_each(|piece| writer.write_all(piece).unwrap());
                let (out, hash) = writer.finish().unwrap();
                assert!(out == all && hash == *blake3::hash(&all).as_bytes(), "{length}, {piece}");
            }
        }
    }

    #[test]
    fn a_failure_to_write_is_remembered() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::StorageFull, "no more"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut writer = BlockWriter::new(Full);
        assert!(writer.write_all(&bytes(2 * BLOCK_BYTES)).is_err());
        assert_eq!(writer.failed().unwrap().to_string(), "no more");
        let mut writer = BlockWriter::new(Full);
        writer.write_all(&[1]).unwrap();
        assert!(writer.finish().is_err());
    }

    #[test]
    fn no_more_is_read_than_the_limit() {
        let all = bytes(2 * BLOCK_BYTES + 100);
        for limit in [0, 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 99, 3 * BLOCK_BYTES] {
            let mut rest = &all[..];
            let mut reader = BlockReader::new(&mut rest, limit as u64);
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            let expected = &all[..limit.min(all.len())];
            assert!(read == expected && reader.hash() == *blake3::hash(expected).as_bytes());
            assert_eq!(rest.len(), all.len() - read.len());
        }
    }
}
