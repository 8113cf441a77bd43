//! How much a command has written into its own folder.
//!
//! The size of each file is bounded by the kernel; their sum is watched, so it may be gone beyond for a
//! moment. A file that is deleted and still open counts, as long as one of its processes has it open.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, open, openat, statat},
    io,
};

use super::ending::descendants;

/// A file costs as much even when it is empty: a bound on bytes is a bound on names too.
const FILE_BYTES: u64 = 4096;
/// Deeper than any that is made for a purpose; each level holds a descriptor.
const DEPTH_MAX: usize = 200;

/// Watches the folder of one command.
#[derive(Debug)]
pub(super) struct Scratch {
    dir: File,
    bound: u64,
}

impl Scratch {
    pub(super) fn new(dir: &Path, bound: u64) -> io::Result<Self> {
        let dir = File::from(open(dir, FOLDER, Mode::empty())?);
        Ok(Self { dir, bound })
    }

    /// Whether there is too much.
    pub(super) fn is_over(&self) -> bool {
        count(&self.dir, self.bound, 0).and_then(|room| self.count_deleted(room)).is_none()
    }

    /// What is left of `room` after the files that have no name any more.
    fn count_deleted(&self, mut room: u64) -> Option<u64> {
        let Ok(own) = self.dir.metadata() else { return Some(room) };
        let mut counted = BTreeSet::new();
        for found in descendants() {
            let dir = format!("/proc/{}/fd", found.pid.as_raw_nonzero());
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                // Of the file that it leads to, wherever that is by now.
                let Ok(file) = fs::metadata(entry.path()) else { continue };
                let ours = file.is_file() && file.nlink() == 0 && file.dev() == own.dev();
                if ours && counted.insert(file.ino()) {
                    room = room.checked_sub(file.blocks().saturating_mul(512))?;
                }
            }
        }
        Some(room)
    }
}

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What is left of `room` after everything in `dir`; `None` when that is more.
fn count(dir: impl AsFd, mut room: u64, depth: usize) -> Option<u64> {
    let Ok(entries) = Dir::read_from(&dir) else { return Some(room) };
    for entry in entries {
        let Ok(entry) = entry else { break };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        // Gone between two looks: then it costs nothing.
        let Ok(stat) = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        // In blocks of 512 bytes on every system.
        let bytes = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        room = room.checked_sub(bytes.max(FILE_BYTES))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            if depth == DEPTH_MAX {
                return None;
            }
            // A link in its place by now, or one that is not to be read: not followed.
            if let Ok(inner) = openat(&dir, name, FOLDER, Mode::empty()) {
                room = count(inner, room, depth + 1)?;
            }
        }
    }
    Some(room)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn bytes_and_names_count_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let over = |bound| Scratch::new(dir.path(), bound).unwrap().is_over();
        assert!(!over(0));
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/c"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/usr", dir.path().join("usr")).unwrap();
        assert!(over(100_000));
        assert!(!over(200_000));
        for n in 0..100 {
            fs::write(dir.path().join(n.to_string()), "").unwrap();
        }
        assert!(over(400_000));
        assert!(!over(700_000));
    }

    #[test]
    fn what_is_nested_beyond_every_purpose_is_too_much() {
        let dir = tempfile::tempdir().unwrap();
        let deep: std::path::PathBuf = std::iter::repeat_n("d", DEPTH_MAX + 2).collect();
        fs::create_dir_all(dir.path().join(deep)).unwrap();
        assert!(Scratch::new(dir.path(), 1 << 40).unwrap().is_over());
    }
}
