//! Where a daemon in the background writes: one file and its predecessor, of bounded size.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A file larger than this becomes the predecessor. Two of them hold some weeks of a quiet node.
pub(super) const LOG_BYTES_MAX: u64 = 1 << 20;

/// A log file that turns over.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl LogFile {
    /// Opens it, behind what is there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if fs::metadata(path).is_ok_and(|file| file.len() >= LOG_BYTES_MAX) {
            fs::rename(path, predecessor(path))?;
        }
        // Who talked with whom is nobody else's business.
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, bytes })
    }

    /// The file as it is now, for what writes to a descriptor.
    pub(super) fn into_file(self) -> File {
        self.file
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.bytes >= LOG_BYTES_MAX {
            *self = Self::open(&self.path)?;
        }
        let n = self.file.write(line)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn predecessor(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_turns_over_and_keeps_one_predecessor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::open(&path).unwrap();
        let line = [b'x'; 1 << 16];
        for _ in 0..40 {
            log.write_all(&line).unwrap();
        }
        drop(log);
        let sizes = [&path, &predecessor(&path)].map(|path| fs::metadata(path).unwrap().len());
        assert!(sizes.iter().all(|size| *size <= LOG_BYTES_MAX), "{sizes:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        let mut again = LogFile::open(&path).unwrap();
        again.write_all(b"end").unwrap();
        assert!(fs::read(&path).unwrap().ends_with(b"xend"));
    }
}
