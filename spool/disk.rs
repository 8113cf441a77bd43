//! The real file layer under a spool: one directory of a local file system.
//!
//! Everything the spool keeps is private to its owner (files 0600, directories 0700), and every
//! path is made by the spool itself, so nothing here defends against hostile names: that is the
//! media transport's work.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use postrider_base::disk::{Disk, DiskFile, Listed, ListedKind};

/// A directory of the local file system, as a [`Disk`].
#[derive(Clone, Debug)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// Takes `root` as the tree's root and creates it when it is missing.
    pub fn create(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        if !root.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
            if let Some(parent) = root.parent().filter(|p| !p.as_os_str().is_empty()) {
                sync_names(parent)?;
            }
        }
        Ok(Self { root })
    }

    /// The directory that is this tree's root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.at(path))?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(File::open(self.at(path))?)))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.at(path))?;
        Ok(Box::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(self.at(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let path = self.at(path);
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => sync_names(path.parent().unwrap_or(&self.root)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        sync_names(&self.at(path))
    }

    fn list(&self, path: &Path, limit: usize) -> io::Result<Vec<Listed>> {
        let mut found = Vec::new();
        for item in fs::read_dir(self.at(path))? {
            if found.len() >= limit {
                break;
            }
            let item = item?;
            // A name that is no UTF-8 is not one of ours.
            let Ok(name) = item.file_name().into_string() else { continue };
            let kind = item.file_type()?;
            if kind.is_dir() {
                found.push(Listed { name, kind: ListedKind::Directory, len_bytes: 0 });
            } else if kind.is_file() {
                match item.metadata() {
                    Ok(facts) => {
                        found.push(Listed { name, kind: ListedKind::File, len_bytes: facts.len() })
                    }
                    // Removed while we looked: then it is not there.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(found)
    }

    fn file_names(&self, path: &Path, limit: usize) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in fs::read_dir(self.at(path))?.take(limit) {
            let item = item?;
            if let (true, Ok(name)) = (item.file_type()?.is_file(), item.file_name().into_string())
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let facts = rustix::fs::statvfs(&self.root)?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }
}

/// Opening a directory for reading is how POSIX lets us ask for its names to be made durable.
fn sync_names(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(out, offset)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        self.0.set_len(len_bytes)
    }

    /// `fdatasync`: bytes and length, not the times nobody reads.
    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_file_is_there_under_its_new_name_only() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::create(dir.path().join("tree")).unwrap();
        disk.create_dir(Path::new("a")).unwrap();
        disk.create_dir(Path::new("a")).unwrap();
        let file = disk.create(Path::new("a/new")).unwrap();
        file.write_all_at(3, b"word").unwrap();
        disk.publish(Path::new("a/new"), Path::new("a/done")).unwrap();

        let listed = disk.list(Path::new("a"), 10).unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].name.as_str(), listed[0].len_bytes), ("done", 7));
        let mut out = [0; 4];
        disk.open(Path::new("a/done")).unwrap().read_exact_at(3, &mut out).unwrap();
        assert_eq!(&out, b"word");
        assert!(disk.create(Path::new("a/done")).is_err(), "create never replaces");
        assert!(disk.free_bytes().unwrap() > 0);
    }
}
