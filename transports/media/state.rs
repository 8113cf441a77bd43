//! A number that changes whenever something of ours changes on a medium.
//!
//! Cheap enough to ask every few seconds, where no kernel tells of changes: on a network share,
//! or when a watch has run over.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    mem::MaybeUninit,
    os::fd::OwnedFd,
    time::Instant,
};

use rustix::{
    fs::{self, AtFlags, RawDir},
    io::Errno,
};

use super::{name::folded, survey::SURVEY_TIME_MAX};

/// Names looked at: twice what a folder of ours may hold. Beyond it changes may be overlooked.
const NAMES_MAX: usize = 1 << 16;
/// One read of the kernel's directory buffer.
const BUFFER_BYTES: usize = 32 * 1024;

/// Names of ours in a directory with their lengths and times, in any order.
pub(super) fn state(dir: &OwnedFd) -> rustix::io::Result<u64> {
    let started = Instant::now();
    let mut sum = 0_u64;
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
    let mut raw = RawDir::new(dir, &mut buffer);
    for _ in 0..NAMES_MAX {
        let Some(entry) = raw.next() else { break };
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        if started.elapsed() > SURVEY_TIME_MAX {
            break;
        }
        let Some(name) = folded(entry.file_name().to_bytes()) else { continue };
        let Ok(stat) = fs::statat(dir, &*name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let mut hasher = DefaultHasher::new();
        (&name, stat.st_mode).hash(&mut hasher);
        // A directory's own time changes with what is in it, which is looked at by itself.
        if fs::FileType::from_raw_mode(stat.st_mode) == fs::FileType::RegularFile {
            (stat.st_size, stat.st_mtime, stat.st_mtime_nsec).hash(&mut hasher);
        }
        sum = sum.wrapping_add(hasher.finish());
    }
    Ok(sum)
}
