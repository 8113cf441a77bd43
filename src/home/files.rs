//! Writing a file so that it is there whole or not at all, and only for its owner where it matters.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

/// Replaces a file's contents durably: new file, sync, rename, sync of the directory, and sync of
/// the file again (FAT writes the new name with length 0 until then).
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let new = dir.join(name);
    // A leftover of a crash, perhaps with wider permissions.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()?;
    file.sync_all()
}

/// Holds off others who change a file of this home by commands, until it is closed, however that
/// happens; not a person with an editor.
pub(super) fn lock_for(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let lock =
        options.create(true).truncate(false).write(true).open(path.with_extension("lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    Ok(lock)
}

/// A text that a person keeps; none where there is no file. At most so many bytes and one are read, so
/// that whoever asks sees that it is too long.
pub(super) fn text_of(path: &Path, most: usize) -> io::Result<String> {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(most as u64 + 1).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(text),
    }
}

/// Creates a directory, and those above it, for its owner only.
pub(super) fn create_private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Whether files in this directory keep the permissions they are given (FAT ignores them).
pub fn is_private(dir: &Path) -> io::Result<bool> {
    let probe = dir.join(".probe");
    let _ = fs::remove_file(&probe);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&probe)?;
    let mode = file.metadata()?.permissions().mode();
    fs::remove_file(&probe)?;
    Ok(mode & 0o077 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_keeps_the_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(dir.path().join("key.new"), "leftover").unwrap();
        for text in ["one", "two"] {
            replace(&path, text.as_bytes(), 0o600).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(is_private(dir.path()).unwrap());
    }
}
