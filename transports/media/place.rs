//! What kind of place a path is: the question asked before anything is written there.

use std::{io, path::Path};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, Stat, StatVfsMountFlags},
    io::Errno,
};

/// Largest file on FAT, and on anything that may have FAT beneath: 4 GiB − 1.
const FAT_FILE_MAX_BYTES: u64 = u32::MAX as u64;

/// What lies at a path that somebody gave us.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// Nothing: the stick is not plugged in, or the path is mistyped.
    Missing,
    /// A plain file, which may be a container or a stream by itself.
    File,
    /// A device, fifo or socket. Never opened: a device node would be written to past its file
    /// system.
    Special,
    /// A directory.
    Directory {
        /// Whether something is mounted exactly here. A directory that is not a mount point may
        /// be a synced folder, or the empty place where a stick should have been.
        mounted: Mounted,
        /// What holds it.
        facts: MediumFacts,
    },
}

/// Whether a directory is the root of a mounted file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounted {
    /// It is: its device differs from its parent's.
    Here,
    /// It lies within the file system of its parent.
    Within,
}

/// What a file system can do, as far as it matters to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediumFacts {
    /// Its kind.
    pub file_system: FileSystem,
    /// Mounted read-only.
    pub read_only: bool,
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Its whole size.
    pub total_bytes: u64,
    /// Every file takes a multiple of this.
    pub cluster_bytes: u64,
    /// Longest file it can hold.
    pub file_max_bytes: u64,
}

/// Kinds of file systems that differ in what we may expect of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileSystem {
    /// FAT12, FAT16 or FAT32: ignores case, 4 GiB − 1 per file, a small root directory.
    Fat,
    /// exFAT: ignores case.
    ExFat,
    /// NTFS, by either kernel driver.
    Ntfs,
    /// A file system in a user's process on a local block device (exFAT and NTFS often are).
    FuseOnDevice,
    /// A file system in a user's process with no device of ours behind it: sshfs, a cloud.
    Fuse,
    /// NFS, SMB, 9p, Ceph, AFS.
    Network,
    /// In memory: gone at the next start.
    Memory,
    /// Any other file system of a local machine.
    Local,
}

/// Looks at a path without opening what it names, but for directories. Symbolic links are followed
/// here, and only here: the path is the user's own word.
pub fn look(path: &Path) -> io::Result<Place> {
    let stat = match fs::stat(path) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Place::Missing),
        Err(errno) => return Err(errno.into()),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(Place::File),
        FileType::Directory => {}
        _ => return Ok(Place::Special),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let dir = fs::open(path, flags, Mode::empty())?;
    let here = fs::fstat(&dir)?;
    let above = fs::statat(&dir, "..", AtFlags::empty())?;
    // `/` is its own parent.
    let is_root = here.st_dev == above.st_dev && here.st_ino == above.st_ino;
    let mounted =
        if is_root || here.st_dev != above.st_dev { Mounted::Here } else { Mounted::Within };
    Ok(Place::Directory { mounted, facts: facts(&dir, &here)? })
}

pub(super) fn facts(dir: impl std::os::fd::AsFd, stat: &Stat) -> rustix::io::Result<MediumFacts> {
    let magic = fs::fstatfs(&dir)?.f_type;
    let figures = fs::fstatvfs(&dir)?;
    let file_system = file_system(i128::from(magic), has_device(stat));
    // An answer of zero would divide by zero further up; 512 is the smallest sector there is.
    let cluster_bytes = figures.f_frsize.max(512);
    Ok(MediumFacts {
        file_system,
        read_only: figures.f_flag.contains(StatVfsMountFlags::RDONLY),
        free_bytes: figures.f_bavail.saturating_mul(figures.f_frsize),
        total_bytes: figures.f_blocks.saturating_mul(figures.f_frsize),
        cluster_bytes,
        file_max_bytes: match file_system {
            FileSystem::Fat | FileSystem::Fuse | FileSystem::FuseOnDevice => FAT_FILE_MAX_BYTES,
            _ => i64::MAX.unsigned_abs(),
        },
    })
}

/// Whether a block device stands behind a file: file systems without one have the major number 0.
pub(super) fn has_device(stat: &Stat) -> bool {
    fs::major(stat.st_dev) != 0
}

/// The magic numbers are those of `statfs(2)` and of the kernel's `magic.h`.
fn file_system(magic: i128, device: bool) -> FileSystem {
    // The field is signed and differs in width between machines; the numbers are 32 bits wide.
    match magic & 0xffff_ffff {
        0x4d44 => FileSystem::Fat,
        0x2011_bab0 => FileSystem::ExFat,
        0x5346_544e | 0x7366_746e => FileSystem::Ntfs,
        0x6573_5546 if device => FileSystem::FuseOnDevice,
        0x6573_5546 => FileSystem::Fuse,
        // nfs, smb, cifs, smb2, 9p, ceph, afs (two drivers), coda
        0x6969 | 0x517b | 0xff53_4d42 | 0xfe53_4d42 | 0x0102_1997 | 0x00c3_6400 | 0x5346_414f
        | 0x6b41_4653 | 0x7375_7245 => FileSystem::Network,
        // tmpfs, ramfs
        0x0102_1994 | 0x8584_58f6 => FileSystem::Memory,
        _ => FileSystem::Local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_told_apart_by_their_magic() {
        let cases = [
            (0x4d44, true, FileSystem::Fat),
            (0x2011_bab0, true, FileSystem::ExFat),
            (0x6573_5546, true, FileSystem::FuseOnDevice),
            (0x6573_5546, false, FileSystem::Fuse),
            (0x6969, false, FileSystem::Network),
            // The same number where the field has 32 bits and a sign.
            (0xff53_4d42, false, FileSystem::Network),
            (i128::from(0xff53_4d42_u32.cast_signed()), false, FileSystem::Network),
            (0x0102_1994, false, FileSystem::Memory),
            (0xef53, true, FileSystem::Local),
        ];
        for (magic, device, want) in cases {
            assert_eq!(file_system(magic, device), want, "{magic:#x}");
        }
    }

    #[test]
    fn missing_files_and_special_places_are_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(&dir.path().join("no/such")).unwrap(), Place::Missing);
        let file = dir.path().join("f");
        std::fs::write(&file, b"x").unwrap();
        assert_eq!(look(&file).unwrap(), Place::File);
        assert_eq!(look(&file.join("below")).unwrap(), Place::Missing);
        assert_eq!(look(Path::new("/dev/null")).unwrap(), Place::Special);
    }

    #[test]
    fn a_folder_within_a_disk_is_no_mount_point_and_the_root_is() {
        let dir = tempfile::tempdir().unwrap();
        let Place::Directory { mounted, facts } = look(dir.path()).unwrap() else {
            panic!("a directory")
        };
        assert_eq!(mounted, Mounted::Within);
        assert!(facts.total_bytes >= facts.free_bytes && facts.cluster_bytes >= 512);
        let root = look(Path::new("/")).unwrap();
        assert!(matches!(root, Place::Directory { mounted: Mounted::Here, .. }), "{root:?}");
        let proc = look(Path::new("/proc")).unwrap();
        assert!(matches!(proc, Place::Directory { mounted: Mounted::Here, .. }), "{proc:?}");
    }
}
