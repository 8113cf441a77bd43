//! Files on their way out: what a person named becomes a list of entries, then one stream.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
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
    pub source: PathBuf,
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
        found.push(Outgoing { entry, source: path.to_owned() });
    } else if meta.is_dir() {
        let mut children: Vec<_> =
            fs::read_dir(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
        // The same tree makes the same message, whatever order the disk lists it in.
        children.sort_by_key(fs::DirEntry::file_name);
        if children.is_empty() {
            found.push(Outgoing { entry, source: path.to_owned() });
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
/// A file that is not as long as it was listed is an error: the manifest would lie.
pub(super) struct Stream<'a> {
    files: &'a mut [Outgoing],
    at: usize,
    open: Option<(File, blake3::Hasher, u64)>,
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
        let failed = |error| Failure::file("read", &file.source, error);
        let (open, hasher, left) = match &mut self.open {
            Some(open) => open,
            none => {
                let opened = File::open(&file.source).map_err(failed)?;
                none.insert((opened, blake3::Hasher::new(), file.entry.bytes))
            }
        };
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(out.len());
        let n = match open.read(&mut out[..most]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
            read => read.map_err(failed)?,
        };
        hasher.update(&out[..n]);
        *left -= n as u64;
        let grown = *left == 0 && open.read(&mut [0]).map_err(failed)? != 0;
        if grown || n == 0 && *left > 0 {
            return Err(Failure::new(
                FailureKind::Failed,
                format!("{} changed while it was being read", file.source.display()),
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
}
