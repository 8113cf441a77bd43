//! A body that arrives in pieces, before anybody knows whether it will be kept.
//!
//! Up to [`BLOB_FROM`] bytes stay in memory and end in the log; longer ones spill to a file in
//! `staging/`, which is written in large pieces, synced by [`Staging::finish`] and renamed by the
//! commit. Whatever is dropped on the way removes its file; what a crash leaves is removed when
//! the spool is next opened. Memory is at most [`BLOB_FROM`] plus one piece per body.

use std::{
    fmt,
    io::{self, Read},
    mem,
    path::{Path, PathBuf},
    sync::Arc,
};

use postrider_base::disk::{Disk, DiskFile};
use xxhash_rust::xxh3::Xxh3;

use crate::{contract::BLOB_FROM, error::SpoolError};

/// Where bodies in the making have their files.
pub(crate) const STAGING: &str = "staging";

/// A body being written.
pub struct Staging {
    /// `None`: everything stays in memory (the memory twin).
    spill: Option<Spill>,
    file: Option<StagingFile>,
    pending: Vec<u8>,
    written: u64,
    hash: Xxh3,
}

struct Spill {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

struct StagingFile {
    file: Box<dyn DiskFile>,
    guard: Leftover,
}

/// Removes a staging file that nobody adopted.
struct Leftover {
    disk: Arc<dyn Disk>,
    /// `None` once it has an owner.
    path: Option<PathBuf>,
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Best effort: the next open removes what stays.
            let _ = self.disk.remove(path);
        }
    }
}

impl Staging {
    pub(crate) fn on_disk(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { spill: Some(Spill { disk, path }), ..Self::in_memory() }
    }

    pub(crate) fn in_memory() -> Self {
        Self { spill: None, file: None, pending: Vec::new(), written: 0, hash: Xxh3::new() }
    }

    /// Adds the next bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.hash.update(bytes);
        if self.spill.is_some() && self.pending.is_empty() && bytes.len() >= BLOB_FROM {
            return self.write(bytes);
        }
        self.pending.extend_from_slice(bytes);
        if self.spill.is_some() && self.pending.len() >= BLOB_FROM {
            self.flush()?;
        }
        Ok(())
    }

    /// Bytes so far.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Reads from bytes that were added, whatever becomes of the whole; how many, which is less than
    /// asked for only at the end of what is here.
    pub fn read_at(&self, at: u64, out: &mut [u8]) -> Result<usize, SpoolError> {
        let reading = SpoolError::io("reading a staged body");
        let mut done = 0;
        if let Some(file) = &self.file
            && at < self.written
        {
            let here = usize::try_from(self.written - at).unwrap_or(usize::MAX);
            let most = out.len().min(here);
            while done < most {
                match file.file.read_at(at + done as u64, &mut out[done..most]) {
                    Ok(0) => return Ok(done),
                    Ok(n) => done += n,
                    Err(e) => return Err(reading(e)),
                }
            }
        }
        let behind = at.saturating_add(done as u64).saturating_sub(self.written);
        let start = usize::try_from(behind).unwrap_or(usize::MAX);
        let rest = self.pending.get(start..).unwrap_or_default();
        let n = rest.len().min(out.len() - done);
        out[done..done + n].copy_from_slice(&rest[..n]);
        Ok(done + n)
    }

    /// Ends the body; a long one is durable (though nameless) afterwards.
    pub fn finish(mut self) -> Result<Staged, SpoolError> {
        let len_bytes = self.len_bytes();
        let check = self.hash.digest();
        if self.file.is_some() {
            self.flush()?;
        }
        let body = match self.file {
            None => StagedBody::Memory(self.pending),
            Some(StagingFile { file, guard }) => {
                file.sync().map_err(SpoolError::io("syncing a staged body"))?;
                StagedBody::File(guard)
            }
        };
        Ok(Staged { body, len_bytes, check })
    }

    /// Ends a body that nobody will keep as it is, to be read once from its start: one that is for
    /// this node and is opened instead. Nothing of it is synced, and dropping the reader leaves
    /// nothing behind.
    pub fn into_reader(mut self) -> Result<StagedReader, SpoolError> {
        if self.file.is_some() {
            self.flush()?;
        }
        Ok(StagedReader { staging: self, at: 0 })
    }

    /// Writes what is pending, where there is a file for it.
    fn flush(&mut self) -> Result<(), SpoolError> {
        if self.spill.is_some() {
            let mut pending = mem::take(&mut self.pending);
            self.write(&pending)?;
            pending.clear();
            self.pending = pending;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        let Some(spill) = &self.spill else { return Ok(()) };
        let writing = SpoolError::io("writing a staged body");
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = match spill.disk.create(&spill.path) {
                    Ok(file) => file,
                    Err(e) => return Err(writing(e)),
                };
                let guard = Leftover { disk: spill.disk.clone(), path: Some(spill.path.clone()) };
                none.insert(StagingFile { file, guard })
            }
        };
        file.file.write_all_at(self.written, bytes).map_err(writing)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

impl fmt::Debug for Staging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staging").field("len_bytes", &self.len_bytes()).finish_non_exhaustive()
    }
}

/// Reads a staged body; see [`Staging::into_reader`].
#[derive(Debug)]
pub struct StagedReader {
    staging: Staging,
    at: u64,
}

impl Read for StagedReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = match &self.staging.file {
            Some(file) => file.file.read_at(self.at, out)?,
            None => {
                let start = usize::try_from(self.at).unwrap_or(usize::MAX);
                let mut rest = self.staging.pending.get(start..).unwrap_or_default();
                rest.read(out)?
            }
        };
        self.at += n as u64;
        Ok(n)
    }
}

/// A finished body that no bundle owns yet.
pub struct Staged {
    body: StagedBody,
    len_bytes: u64,
    check: u64,
}

enum StagedBody {
    Memory(Vec<u8>),
    File(Leftover),
}

impl Staged {
    /// Its length.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// What it will take in the log.
    pub(crate) fn inline_len(&self) -> usize {
        match &self.body {
            StagedBody::Memory(bytes) if bytes.len() < BLOB_FROM => bytes.len(),
            _ => 0,
        }
    }

    /// XXH3 of the bytes: against rot, not against people.
    pub(crate) fn check(&self) -> u64 {
        self.check
    }

    /// The bytes, when they never left memory.
    pub(crate) fn memory(&self) -> Option<&[u8]> {
        match &self.body {
            StagedBody::Memory(bytes) => Some(bytes),
            StagedBody::File(_) => None,
        }
    }

    /// The staging file, while nobody has adopted it.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.body {
            StagedBody::Memory(_) => None,
            StagedBody::File(leftover) => leftover.path.as_deref(),
        }
    }

    /// Whether the file has its final name.
    pub(crate) fn is_adopted(&self) -> bool {
        matches!(&self.body, StagedBody::File(leftover) if leftover.path.is_none())
    }

    /// Notes that the file has its final name.
    pub(crate) fn disarm(&mut self) {
        if let StagedBody::File(leftover) = &mut self.body {
            leftover.path = None;
        }
    }
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged").field("len_bytes", &self.len_bytes).finish_non_exhaustive()
    }
}
