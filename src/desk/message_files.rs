//! Files on their way out: what a person named becomes a list of entries, then one stream.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::UNIX_EPOCH,
};

use postrider_base::packet::{FILES_MAX, FileEntry, NAMES_MAX, PATH_DEPTH_MAX, is_component};

use super::{Event, Failure, FailureKind, Watch};

/// A file to send, as it was when it was listed.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    /// What the recipient will read; its hash is filled in while sending.
    pub entry: FileEntry,
    /// Where it is here.
    pub source: Source,
}

/// Where the bytes of a file are.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Under this name, which is opened when its turn comes.
    Named(PathBuf),
    /// In a file that is open, and stays the one that was looked at whatever becomes of its name.
    Open(OpenFile),
}

/// An open file, or some of its bytes.
#[derive(Clone, Debug)]
pub(super) struct OpenFile {
    file: Arc<File>,
    shown: PathBuf,
    from: u64,
    mark: Mark,
    trouble: Arc<AtomicU8>,
}

/// What changes with a file's content: its length, and the time when that was last written. The time
/// at which anything about it changed is left out: a file that is given another name, or none, is the
/// same.
type Mark = (u64, i64, i64);

/// Why an open file was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It changed since it was opened.
    Changed,
    /// It could not be read.
    Unreadable,
}

impl OpenFile {
    /// A file as it is now; `shown` is what people are told of.
    pub fn new(file: File, shown: PathBuf) -> io::Result<Self> {
        let mark = mark(&file.metadata()?);
        let trouble = Arc::new(AtomicU8::new(0));
        Ok(Self { file: Arc::new(file), shown, from: 0, mark, trouble })
    }

    /// Its length when it was opened.
    pub fn len(&self) -> u64 {
        self.mark.0
    }

    /// The same without its first bytes.
    pub fn from(self, from: u64) -> Self {
        Self { from, ..self }
    }

    /// What kept it from being sent.
    pub fn trouble(&self) -> Option<Trouble> {
        match self.trouble.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Trouble::Changed),
            _ => Some(Trouble::Unreadable),
        }
    }

    /// BLAKE3 of all of it.
    pub fn hash(&self) -> Option<[u8; 32]> {
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; 64 * 1024];
        let mut at = 0;
        loop {
            match self.read_at(&mut piece, at).ok()? {
                0 => break,
                n => {
                    hasher.update(&piece[..n]);
                    at += n as u64;
                }
            }
        }
        (at == self.len() && self.is_as_it_was().ok()?).then(|| *hasher.finalize().as_bytes())
    }

    fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(out, self.from.saturating_add(at)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    fn is_as_it_was(&self) -> io::Result<bool> {
        Ok(mark(&self.file.metadata()?) == self.mark)
    }

    fn note(&self, trouble: Trouble) {
        let number = if trouble == Trouble::Changed { 1 } else { 2 };
        self.trouble.store(number, Ordering::Relaxed);
    }
}

fn mark(meta: &Metadata) -> Mark {
    (meta.len(), meta.mtime(), meta.mtime_nsec())
}

impl Source {
    fn shown(&self) -> &Path {
        match self {
            Self::Named(path) => path,
            Self::Open(open) => &open.shown,
        }
    }
}

/// Lists files and, recursively, directories. Links are not followed, and special files left out;
/// both are said.
pub(super) fn list(paths: &[PathBuf], watch: &dyn Watch) -> Result<Vec<Outgoing>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        // "." and ".." have no name of their own.
        let absolute = fs::canonicalize(path).map_err(|e| Failure::file("read", path, e))?;
        let name = absolute.file_name().map_or("root".into(), |n| n.to_string_lossy());
        let name = component(&name, watch);
        if found.iter().any(|f: &Outgoing| f.entry.path[0] == name) {
            return Err(Failure::new(
                FailureKind::Usage,
                format!("two of the files are called {name}"),
            )
            .next("nothing was sent; send them in two messages, or rename one"));
        }
        walk(&absolute, vec![name], &mut found, watch)?;
    }
    if found.iter().map(|file| file.entry.path.len()).sum::<usize>() > NAMES_MAX {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("the paths of these files have more than {NAMES_MAX} names together"),
        )
        .next("nothing was sent; send the directories one by one, or as an archive"));
    }
    Ok(found)
}

fn walk(
    path: &Path,
    components: Vec<String>,
    found: &mut Vec<Outgoing>,
    watch: &dyn Watch,
) -> Result<(), Failure> {
    let failed = |error| Failure::file("read", path, error);
    if components.len() > PATH_DEPTH_MAX {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("{} lies deeper than {PATH_DEPTH_MAX} directories", path.display()),
        )
        .next("nothing was sent; pack the tree into an archive first"));
    }
    if found.len() >= FILES_MAX {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("more than {FILES_MAX} files for one message"),
        )
        .next("nothing was sent; send the directories one by one, or as an archive"));
    }
    let meta = fs::symlink_metadata(path).map_err(failed)?;
    let entry = FileEntry {
        path: components.clone(),
        bytes: if meta.is_file() { meta.len() } else { 0 },
        blake3: *blake3::hash(b"").as_bytes(),
        mtime: meta
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .map(|time| time.as_secs()),
        executable: meta.is_file() && meta.permissions().mode() & 0o100 != 0,
        directory: meta.is_dir(),
    };
    if meta.is_file() {
        found.push(Outgoing { entry, source: Source::Named(path.to_owned()) });
    } else if meta.is_dir() {
        let mut children: Vec<_> =
            fs::read_dir(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
        // The same tree makes the same message, whatever order the disk lists it in.
        children.sort_by_key(fs::DirEntry::file_name);
        if children.is_empty() {
            found.push(Outgoing { entry, source: Source::Named(path.to_owned()) });
        }
        for child in children {
            let mut below = components.clone();
            below.push(component(&child.file_name().to_string_lossy(), watch));
            walk(&child.path(), below, found, watch)?;
        }
    } else {
        let kind =
            if meta.is_symlink() { "a link, which is not followed" } else { "no plain file" };
        watch.event(Event::Warn(format!("left out {}: {kind}", path.display())));
    }
    Ok(())
}

/// A file's name as a component that every recipient accepts.
fn component(name: &str, watch: &dyn Watch) -> String {
    if is_component(name) {
        return name.to_owned();
    }
    let mapped: String = name
        .chars()
        .map(|c| if c.is_control() || c == '\\' || c == '/' { '_' } else { c })
        .collect();
    watch.event(Event::Warn(format!("{name:?} is sent as {mapped:?}")));
    mapped
}

/// All files one after the other, hashing each on the way.
///
/// A file that is not as long as it was listed is an error: the manifest would lie. An open file must
/// not have changed at all.
pub(super) struct Stream<'a> {
    files: &'a mut [Outgoing],
    at: usize,
    open: Option<Reading>,
}

/// A file that is being read.
struct Reading {
    bytes: Bytes,
    hasher: blake3::Hasher,
    left: u64,
}

enum Bytes {
    Named(File),
    Open(OpenFile),
}

impl<'a> Stream<'a> {
    pub(super) fn new(files: &'a mut [Outgoing]) -> Self {
        Self { files, at: 0, open: None }
    }

    /// Fills `out` unless the end comes first; returns how much.
    pub(super) fn fill(&mut self, out: &mut [u8]) -> Result<usize, Failure> {
        let mut got = 0;
        while got < out.len() && self.at < self.files.len() {
            got += self.read_some(&mut out[got..])?;
        }
        // Empty files at the very end are opened, found empty, and hashed as such.
        while self.at < self.files.len() && self.files[self.at].entry.bytes == 0 {
            self.read_some(&mut [0])?;
        }
        Ok(got)
    }

    fn read_some(&mut self, out: &mut [u8]) -> Result<usize, Failure> {
        let file = &mut self.files[self.at];
        if file.entry.directory {
            self.at += 1;
            return Ok(0);
        }
        let failed = |error| Failure::file("read", file.source.shown(), error);
        let total = file.entry.bytes;
        let Reading { bytes, hasher, left } = match &mut self.open {
            Some(open) => open,
            none => none.insert(Reading {
                bytes: Bytes::of(&file.source).map_err(failed)?,
                hasher: blake3::Hasher::new(),
                left: total,
            }),
        };
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(out.len());
        let n = match bytes.read(&mut out[..most], total - *left) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
            read => read.map_err(failed)?,
        };
        hasher.update(&out[..n]);
        *left -= n as u64;
        if n == 0 && *left > 0 || *left == 0 && !bytes.end_here().map_err(failed)? {
            return Err(Failure::new(
                FailureKind::Failed,
                format!("{} changed while it was being read", file.source.shown().display()),
            )
            .next("nothing was sent; do it again when the file is complete"));
        }
        if *left == 0 {
            file.entry.blake3 = *hasher.finalize().as_bytes();
            self.open = None;
            self.at += 1;
        }
        Ok(n)
    }
}

impl Bytes {
    fn of(source: &Source) -> io::Result<Self> {
        Ok(match source {
            Source::Named(path) => Self::Named(File::open(path)?),
            Source::Open(open) => Self::Open(open.clone()),
        })
    }

    fn read(&mut self, out: &mut [u8], at: u64) -> io::Result<usize> {
        match self {
            Self::Named(file) => file.read(out),
            Self::Open(open) => {
                let read = open.read_at(out, at);
                match &read {
                    Err(_) => open.note(Trouble::Unreadable),
                    Ok(0) if !out.is_empty() => open.note(Trouble::Changed),
                    Ok(_) => {}
                }
                read
            }
        }
    }

    /// Whether all that was read is what was listed.
    fn end_here(&mut self) -> io::Result<bool> {
        match self {
            Self::Named(file) => Ok(file.read(&mut [0])? == 0),
            Self::Open(open) => {
                let same = open.is_as_it_was()?;
                if !same {
                    open.note(Trouble::Changed);
                }
                Ok(same)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::Silent;

    #[test]
    fn a_tree_is_listed_in_order_without_links() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir_all(top.join("b/empty")).unwrap();
        fs::write(top.join("b/two"), "2").unwrap();
        fs::write(top.join("a"), "1").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", top.join("link")).unwrap();
        let found = list(std::slice::from_ref(&top), &Silent).unwrap();
        let names: Vec<String> = found.iter().map(|f| f.entry.path.join("/")).collect();
        assert_eq!(names, ["top/a", "top/b/empty", "top/b/two"]);
        assert!(list(&[top.clone(), top], &Silent).is_err(), "the same name twice");
    }

    #[test]
    fn a_stream_hashes_every_file_and_notices_one_that_changed() {
        let dir = tempfile::tempdir().unwrap();
        let contents = [&b"alpha"[..], b"", b"gamma", b""];
        for (n, content) in contents.iter().enumerate() {
            fs::write(dir.path().join(n.to_string()), content).unwrap();
        }
        let mut files = list(&[dir.path().to_owned()], &Silent).unwrap();
        let mut again = files.clone();
        let mut out = [0; 7];
        let mut stream = Stream::new(&mut files);
        assert_eq!(stream.fill(&mut out).unwrap(), 7);
        assert_eq!(&out, b"alphaga");
        assert_eq!(stream.fill(&mut out).unwrap(), 3);
        for (file, content) in files.iter().zip(contents) {
            assert_eq!(file.entry.blake3, *blake3::hash(content).as_bytes());
        }
        for changed in ["longer than before", "x"] {
            fs::write(dir.path().join("0"), changed).unwrap();
            assert!(Stream::new(&mut again).fill(&mut [0; 100]).is_err(), "{changed}");
        }
    }

    /// Syncthing's and croc's holes: a name that is another file by the time it is read.
    #[test]
    fn an_open_file_is_sent_as_it_was_opened_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let open = || {
            fs::write(&path, "as it was").unwrap();
            let file = OpenFile::new(File::open(&path).unwrap(), path.clone()).unwrap();
            let mut listed = list(std::slice::from_ref(&path), &Silent).unwrap();
            listed[0].source = Source::Open(file.clone());
            (file, listed)
        };
        let (mut out, (file, mut files)) = ([0; 100], open());
        // Its name is now a link to something else: what was opened is what is sent.
        fs::rename(&path, dir.path().join("b")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert_eq!(Stream::new(&mut files).fill(&mut out).unwrap(), 9);
        assert_eq!(&out[..9], b"as it was");
        assert_eq!(file.hash().unwrap(), files[0].entry.blake3);
        fs::remove_file(&path).unwrap();
        for changed in ["another!!", "longer than before", "x"] {
            let (file, mut files) = open();
            // The clock of a file system has ticks, and a test writes within one.
            let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
            fs::write(&path, changed).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
            assert!(Stream::new(&mut files).fill(&mut out).is_err(), "{changed}");
            assert_eq!(file.trouble(), Some(Trouble::Changed), "{changed}");
            assert_eq!(file.hash(), None);
        }
        let (file, mut files) = open();
        files[0].source = Source::Open(file.from(3));
        files[0].entry.bytes = 2;
        assert_eq!(Stream::new(&mut files).fill(&mut out).unwrap(), 2);
        assert_eq!(&out[..2], b"it");
    }
}
