//! Where a container's bytes come from.

use std::io;

use postrider_base::disk::DiskFile;

/// Bytes that can be read from anywhere: a file on a medium, or a container in memory.
pub trait ReadAt {
    /// The whole length.
    fn len_bytes(&self) -> io::Result<u64>;
    /// Reads up to `out.len()` bytes at `offset`; 0 means the end.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize>;

    /// Fills as much of `out` as there is; less than all of it only at the end.
    fn read_full_at(&self, mut offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            match self.read_at(offset, &mut out[filled..]) {
                Ok(0) => break,
                Ok(n) => {
                    filled += n;
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }
}

impl ReadAt for &[u8] {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let n = rest.len().min(out.len());
        out[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

impl ReadAt for dyn DiskFile {
    fn len_bytes(&self) -> io::Result<u64> {
        DiskFile::len_bytes(self)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        DiskFile::read_at(self, offset, out)
    }
}

impl ReadAt for Box<dyn DiskFile> {
    fn len_bytes(&self) -> io::Result<u64> {
        DiskFile::len_bytes(&**self)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        DiskFile::read_at(&**self, offset, out)
    }
}

/// A source with a buffer in front, for walking from head to head without a read for each.
pub(super) struct Window<'a> {
    source: &'a dyn ReadAt,
    start: u64,
    buffer: Vec<u8>,
    filled: usize,
}

/// Holds a few hundred small records, and is small beside what one visit allocates anyway.
const WINDOW_BYTES: usize = 64 * 1024;

impl<'a> Window<'a> {
    pub(super) fn new(source: &'a dyn ReadAt) -> Self {
        Self { source, start: 0, buffer: Vec::new(), filled: 0 }
    }

    /// The bytes at `offset`: `least` of them or more, unless the source ends before.
    /// `least` must not exceed the window.
    ///
    /// A bad sector further on does not matter yet: what could be read before it is served, and
    /// the error comes when somebody needs the rest.
    pub(super) fn at(&mut self, offset: u64, least: usize) -> io::Result<&[u8]> {
        debug_assert!(least <= WINDOW_BYTES);
        let have = offset
            .checked_sub(self.start)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| *skip <= self.filled && self.filled - skip >= least);
        let skip = match have {
            Some(skip) => skip,
            None => {
                self.buffer.resize(WINDOW_BYTES, 0);
                self.start = offset;
                self.filled = 0;
                self.fill(least)?;
                0
            }
        };
        Ok(&self.buffer[skip..self.filled])
    }

    fn fill(&mut self, least: usize) -> io::Result<()> {
        while self.filled < self.buffer.len() {
            let at = self.start.saturating_add(self.filled as u64);
            match self.source.read_at(at, &mut self.buffer[self.filled..]) {
                Ok(0) => break,
                Ok(n) => self.filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if self.filled >= least => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
