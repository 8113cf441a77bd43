//! One part on its way to disk: which files it fills, and making it durable.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use postrider_base::packet::PART_BYTES;

/// Descriptors that one part keeps open, however many small files it holds.
const OPEN_MAX: usize = 64;

/// Where a part's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the files of its set.
    InFiles,
    /// In a file of its own.
    Loose(PathBuf),
    /// At its place in one file of all parts.
    InStream(PathBuf),
}

/// Where in the files of a set some bytes belong.
#[derive(Debug)]
pub(super) struct Layout {
    /// Where each file begins in the stream of all.
    pub starts: Arc<[u64]>,
    /// Where the last ends.
    pub end: u64,
    /// Where the next byte belongs in the stream.
    pub at: u64,
}

impl Layout {
    /// Into how many files so many bytes go.
    pub(super) fn files_of(&self, bytes: u64) -> usize {
        let end = self.at.saturating_add(bytes);
        let from = self.starts.partition_point(|start| *start <= self.at);
        let to = self.starts.partition_point(|start| *start < end);
        to.saturating_sub(from) + 1
    }

    /// Which file holds the next byte, where in it, and how much of it is left from there.
    fn file(&self) -> (usize, u64, u64) {
        let n = self.starts.partition_point(|start| *start <= self.at).saturating_sub(1);
        let end = self.starts.get(n + 1).copied().unwrap_or(self.end);
        (n, self.at - self.starts[n], end - self.at)
    }
}

/// Writes one part to where it belongs.
#[derive(Debug)]
pub(super) struct PartWriter {
    target: Target,
    open: Option<(PathBuf, File)>,
    touched: Vec<(PathBuf, File)>,
}

#[derive(Debug)]
enum Target {
    Files { dir: PathBuf, layout: Layout },
    One { place: Place, path: PathBuf, at: u64 },
}

impl PartWriter {
    pub(super) fn into_files(dir: PathBuf, layout: Layout) -> Self {
        Self { target: Target::Files { dir, layout }, open: None, touched: Vec::new() }
    }

    pub(super) fn into_loose(path: PathBuf) -> Self {
        // What an interrupted visit left of the same bundle.
        let _ = fs::remove_file(&path);
        let target = Target::One { place: Place::Loose(path.clone()), path, at: 0 };
        Self { target, open: None, touched: Vec::new() }
    }

    /// Opens the file at once: it may get another name while the part is written.
    pub(super) fn into_stream(path: PathBuf, index: u32) -> io::Result<Self> {
        let open = Some((path.clone(), create(&path)?));
        let at = u64::from(index) * PART_BYTES;
        let target = Target::One { place: Place::InStream(path.clone()), path, at };
        Ok(Self { target, open, touched: Vec::new() })
    }

    /// Makes all of it durable. Of several parts of one file a single sync is enough, so files and
    /// directories in `synced` (by now, after all of their bytes were written) are passed over.
    pub(super) fn sync(&mut self, synced: &mut HashSet<PathBuf>) -> io::Result<()> {
        self.touched.extend(self.open.take());
        for (path, file) in self.touched.drain(..) {
            if synced.insert(path) {
                file.sync_all()?;
            }
        }
        let dir = match &self.target {
            Target::Files { dir, .. } => dir.as_path(),
            Target::One { path, .. } => path.parent().unwrap_or(Path::new(".")),
        };
        if synced.insert(dir.to_owned()) {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }

    /// Where its bytes are.
    pub(super) fn place(&self) -> Place {
        match &self.target {
            Target::Files { .. } => Place::InFiles,
            Target::One { place, .. } => place.clone(),
        }
    }

    fn file_for_next(&mut self) -> io::Result<(&File, u64, u64)> {
        let (path, offset, left) = match &self.target {
            Target::One { path, at, .. } => (path.clone(), *at, u64::MAX),
            Target::Files { dir, layout } => {
                let (n, offset, left) = layout.file();
                (dir.join(format!("f{n}")), offset, left)
            }
        };
        if self.open.as_ref().is_none_or(|(opened, _)| *opened != path) {
            self.touched.extend(self.open.take());
            self.open = Some((path.clone(), create(&path)?));
            if self.touched.len() >= OPEN_MAX {
                for (_, file) in self.touched.drain(..) {
                    file.sync_all()?;
                }
            }
        }
        match &self.open {
            Some((_, file)) => Ok((file, offset, left)),
            None => Err(io::ErrorKind::Other.into()),
        }
    }
}

impl Write for PartWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (file, offset, left) = self.file_for_next()?;
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        file.write_all_at(&bytes[..n], offset)?;
        match &mut self.target {
            Target::Files { layout: Layout { at, .. }, .. } | Target::One { at, .. } => {
                *at += n as u64;
            }
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}
