//! The contract of a file layer: what the spool and the media ask of a file system.
//!
//! Only the contract lives here, so that floor 1 can share it: the spool implements it on real
//! files, the media transport on a directory it does not trust, and the test kit on a double that
//! loses power at a chosen step.
//!
//! What an implementation promises, and all that its users may rely on:
//! - bytes written are readable at once, and durable only after [`DiskFile::sync`] returned;
//! - a created, renamed or removed *name* is durable only after [`Disk::sync_dir`] of its directory
//!   returned; on FAT a renamed file must also be synced once more (its new directory entry says
//!   "0 bytes" until then), so [`Disk::publish`] does both;
//! - a failed sync means that the data is lost: never retry it and believe the second answer.

use std::{io, path::Path};

/// What [`Disk::list`] found under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name within the directory; never `.`, `..` or with a separator.
    pub name: String,
    /// Whether it is a plain file or a directory.
    pub kind: ListedKind,
    /// Length in bytes; 0 for a directory.
    pub len_bytes: u64,
}

/// The two kinds of directory entry that matter; everything else is never listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedKind {
    /// A plain file.
    File,
    /// A directory.
    Directory,
}

/// A tree of directories and files. Paths are relative to the root of the tree, with `/` between
/// components that the caller made itself (never a name from outside).
pub trait Disk: Send + Sync {
    /// Creates a new file for reading and writing; `AlreadyExists` when the name is taken.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Renames a file or directory, replacing a file that is there. Not durable by itself.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Not durable by itself.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory and makes its name durable; succeeds when it exists already.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Plain files and directories in a directory, in no order, at most `limit` of them.
    fn list(&self, path: &Path, limit: usize) -> io::Result<Vec<Listed>>;
    /// Names of plain files in a directory, in no order, at most `limit` of them: for callers that
    /// do not need what [`Self::list`] must ask about each.
    fn file_names(&self, path: &Path, limit: usize) -> io::Result<Vec<String>> {
        let mut listed = self.list(path, limit)?;
        listed.retain(|item| item.kind == ListedKind::File);
        Ok(listed.into_iter().map(|item| item.name).collect())
    }
    /// Bytes that can still be written.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Gives a finished file its final name, durably: sync, rename, sync the directory, and sync
    /// the file again for FAT's sake.
    ///
    /// Both paths must be on this disk; `to` may be in another directory than `from`. That one is
    /// synced first: FAT keeps both names at a cut between the two, and whoever then clears away
    /// the old name frees the clusters of the new one.
    fn publish(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.open_write(from)?;
        file.sync()?;
        self.rename(from, to)?;
        let (old, new) = (from.parent().unwrap_or(Path::new("")), to.parent());
        let new = new.unwrap_or(Path::new(""));
        if old != new {
            self.sync_dir(old)?;
        }
        self.sync_dir(new)?;
        file.sync()
    }
}

/// One open file. Reads and writes say where; there is no cursor to share or to lose.
pub trait DiskFile: Send + Sync {
    /// The file's length in bytes.
    fn len_bytes(&self) -> io::Result<u64>;
    /// Reads up to `out.len()` bytes at `offset`; 0 means end of file.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`, growing the file when needed.
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts or grows (with zeros) the file.
    fn set_len(&self, len_bytes: u64) -> io::Result<()>;
    /// Makes the file's bytes and length durable. An error is final: treat the data as lost.
    fn sync(&self) -> io::Result<()>;

    /// Fills `out` from `offset`, or `UnexpectedEof`.
    fn read_exact_at(&self, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            match self.read_at(offset, out) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    out = &mut out[n..];
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
