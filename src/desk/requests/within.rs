//! What a list of names means inside a share, and nothing outside of it.
//!
//! Every name is opened in the directory that the name before it opened: no path is ever put together,
//! so there is none that could lead elsewhere. No link is followed, inside a share neither: what a link
//! means changes while it is looked at. The path of the share itself is the owner's, links and all.
//! Nothing but plain files and directories is opened.

use std::{
    fs::{self, File},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use postrider_base::packet::{LISTED_MAX, Listed, is_component};
#[cfg(target_os = "linux")]
use rustix::fs::{ResolveFlags, fstatfs, openat2};
use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat},
    io::Errno,
};

use crate::{desk::message_files::OpenFile, home::Share};

/// Files that one request gets by a pattern: each of them is open until it is sent.
pub(super) const MANY_MAX: usize = 256;
/// Names of a directory that are looked at; others are not there for whoever asks.
const NAMES_MAX: usize = 65_536;
/// Bytes of a listing, with what stands beside each name in one: well below what a packet holds.
const LISTING_BYTES: usize = 60 * 1024;
const ENTRY_BYTES: usize = 24;

/// How names are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The kernel is told to stay in the directory and to follow nothing, where it can be told.
    Kernel,
    /// One name at a time is opened without following it, on every system.
    Plain,
}

/// What names mean.
#[derive(Debug)]
pub(super) enum Found {
    /// A plain file, open.
    File(Plain),
    /// A directory, open.
    Directory(OwnedFd),
}

/// An open file, and what else is known of it.
#[derive(Clone, Debug)]
pub(super) struct Plain {
    /// Its last name.
    pub name: String,
    /// Its content.
    pub file: OpenFile,
    /// Unix seconds of its last change.
    pub mtime: Option<u64>,
    /// Whether it may be run.
    pub executable: bool,
}

/// Why names mean nothing that is given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// There is no such thing.
    NotFound,
    /// A link, a device, a pipe, a socket, a file of the kernel, or one with a second name where
    /// others may put one.
    Special,
    /// It is there, and this node may not read it.
    Unreadable,
}

/// What names mean in a share. Nothing in this node's own home is ever found: the key is there.
pub(super) fn find(share: &Share, home: &Path, names: &[String], way: Way) -> Result<Found, Miss> {
    // The share's own path is whatever its owner says it is.
    let real =
        |path: &Path| fs::canonicalize(path).map_err(|error| miss(Errno::from_io_error(&error)));
    let (root, home) = (real(&share.path)?, real(home)?);
    if root.starts_with(&home) {
        return Err(Miss::NotFound);
    }
    let home = identity(&open_root(&home)?)?;
    let mut at = match root.parent().zip(root.file_name().and_then(|name| name.to_str())) {
        Some((parent, name)) if !fs::metadata(&root).is_ok_and(|meta| meta.is_dir()) => {
            if !names.is_empty() {
                return Err(Miss::NotFound);
            }
            return open_file(&open_root(parent)?, name, way).map(Found::File);
        }
        _ => open_root(&root)?,
    };
    for (n, name) in names.iter().enumerate() {
        if !is_shown(name, share) {
            return Err(Miss::NotFound);
        }
        match kind_of(&at, name)? {
            FileType::Directory => {
                at = step(&at, name, OFlags::DIRECTORY, way).map_err(miss)?;
                if identity(&at)? == home {
                    return Err(Miss::NotFound);
                }
            }
            FileType::RegularFile if n + 1 == names.len() => {
                return open_file(&at, name, way).map(Found::File);
            }
            FileType::RegularFile => return Err(Miss::NotFound),
            _ => return Err(Miss::Special),
        }
    }
    Ok(Found::Directory(at))
}

/// Plain files and directories in a directory that fit a pattern and sort behind a name; whether there
/// may be more.
pub(super) fn list(
    dir: &OwnedFd,
    share: &Share,
    glob: Option<&str>,
    after: Option<&str>,
) -> Result<(Vec<Listed>, bool), Miss> {
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for name in names_in(dir, share, glob)? {
        if after.is_some_and(|after| name.as_str() <= after) {
            continue;
        }
        // What went away meanwhile, and what is no file, is not there.
        let Ok(stat) = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let directory = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => true,
            FileType::RegularFile => false,
            _ => continue,
        };
        bytes += name.len() + ENTRY_BYTES;
        if entries.len() == LISTED_MAX || bytes > LISTING_BYTES {
            return Ok((entries, true));
        }
        let length = if directory { 0 } else { u64::try_from(stat.st_size).unwrap_or(0) };
        entries.push(Listed { name, directory, bytes: length, mtime: mtime(&stat) });
    }
    Ok((entries, false))
}

/// Plain files in a directory that fit a pattern, open; `None` when they are more than one gets.
pub(super) fn many(
    dir: &OwnedFd,
    share: &Share,
    glob: &str,
    way: Way,
) -> Result<Option<Vec<Plain>>, Miss> {
    let mut files = Vec::new();
    for name in names_in(dir, share, Some(glob))? {
        if !kind_of(dir, &name).is_ok_and(|kind| kind == FileType::RegularFile) {
            continue;
        }
        // What is kept back, or went away meanwhile, does not keep back the others.
        let Ok(file) = open_file(dir, &name, way) else { continue };
        if files.len() == MANY_MAX {
            return Ok(None);
        }
        files.push(file);
    }
    Ok(Some(files))
}

/// Names in a directory that are shown and fit a pattern, sorted by their bytes.
fn names_in(dir: &OwnedFd, share: &Share, glob: Option<&str>) -> Result<Vec<String>, Miss> {
    let read = Dir::read_from(dir).map_err(miss)?;
    let mut names = Vec::new();
    for entry in read.take(NAMES_MAX) {
        let entry = entry.map_err(miss)?;
        // A name that no packet can say is not there.
        let Ok(name) = entry.file_name().to_str() else { continue };
        if is_shown(name, share) && glob.is_none_or(|glob| fits(glob, name)) {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn is_shown(name: &str, share: &Share) -> bool {
    is_component(name) && (share.hidden || !name.starts_with('.'))
}

/// What a directory is, whatever its name.
fn identity(dir: &OwnedFd) -> Result<(u64, u64), Miss> {
    let stat = fstat(dir).map_err(miss)?;
    // Other systems have other widths here.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, clippy::cast_sign_loss)]
    Ok((stat.st_dev as u64, stat.st_ino.into()))
}

/// Opens the directory that a share is, or that its file is in.
fn open_root(path: &Path) -> Result<OwnedFd, Miss> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(miss)
}

/// Opens one name in a directory; a link is never followed.
fn step(dir: impl AsFd, name: &str, flags: OFlags, way: Way) -> Result<OwnedFd, Errno> {
    // Should a pipe be there by now, nobody waits for its other end.
    let flags = flags
        | OFlags::RDONLY
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    if way == Way::Kernel {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        return match openat2(&dir, name, flags, Mode::empty(), resolve) {
            // An old kernel, or a filter that does not know the call. A single name that is not
            // followed cannot leave its directory either.
            Err(Errno::NOSYS | Errno::PERM) => step(dir, name, flags, Way::Plain),
            opened => opened,
        };
    }
    let _ = way;
    openat(dir, name, flags, Mode::empty())
}

/// What a name is, without opening it: opening a device can do something to it.
fn kind_of(dir: impl AsFd, name: &str) -> Result<FileType, Miss> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(miss)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn open_file(dir: &OwnedFd, name: &str, way: Way) -> Result<Plain, Miss> {
    if kind_of(dir, name)? != FileType::RegularFile {
        return Err(Miss::Special);
    }
    let fd = step(dir, name, OFlags::empty(), way).map_err(miss)?;
    // Asked again of what was opened: the name may mean something else by now.
    let stat = fstat(&fd).map_err(miss)?;
    let plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !plain || is_of_kernel(&fd) || has_a_doubtful_name(dir, &stat)? {
        return Err(Miss::Special);
    }
    let file = OpenFile::new(File::from(fd), name.into()).map_err(|_| Miss::Unreadable)?;
    let executable = stat.st_mode & 0o100 != 0;
    Ok(Plain { name: name.to_owned(), file, mtime: mtime(&stat), executable })
}

/// Whether a file has several names, and one of them is where others could have put it: then it may be
/// a file of its owner's that was never shared. Linux forbids to make such a name
/// (`fs.protected_hardlinks`), other systems and settings do not.
fn has_a_doubtful_name(dir: &OwnedFd, file: &Stat) -> Result<bool, Miss> {
    if file.st_nlink <= 1 {
        return Ok(false);
    }
    let dir = fstat(dir).map_err(miss)?;
    let mine = rustix::process::geteuid().as_raw();
    let by_others = dir.st_mode & 0o022 != 0 || dir.st_uid != mine && dir.st_uid != 0;
    Ok(by_others)
}

/// Whether a file is none that somebody wrote, but made up by the kernel when it is read.
#[cfg(target_os = "linux")]
fn is_of_kernel(file: &OwnedFd) -> bool {
    // Linux, include/uapi/linux/magic.h: proc, sysfs, debugfs, tracefs, cgroup, cgroup2, securityfs,
    // selinuxfs, bpf, configfs, pstore.
    const MADE_UP: [u32; 11] = [
        0x9fa0,
        0x6265_6572,
        0x6462_6720,
        0x7472_6163,
        0x0027_e0eb,
        0x6367_7270,
        0x7363_6673,
        0xf97c_ff8c,
        0xcafe_4a11,
        0x6265_6570,
        0x6165_676c,
    ];
    // The width of the field differs between machines; the numbers have 32 bits.
    #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation)]
    fstatfs(file).is_ok_and(|fs| MADE_UP.contains(&(fs.f_type as u32)))
}

#[cfg(not(target_os = "linux"))]
fn is_of_kernel(_: &OwnedFd) -> bool {
    false
}

fn mtime(stat: &Stat) -> Option<u64> {
    u64::try_from(stat.st_mtime).ok()
}

fn miss(errno: impl Into<Option<Errno>>) -> Miss {
    match errno.into() {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => Miss::NotFound,
        Some(Errno::LOOP | Errno::XDEV | Errno::NXIO) => Miss::Special,
        _ => Miss::Unreadable,
    }
}

/// Whether a name fits a pattern, in which `*` is any text and `?` any character.
pub(super) fn fits(glob: &str, name: &str) -> bool {
    let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), name.chars().collect());
    // The last `*`, and how much of the name it stood for: trying that anew is enough, so this takes
    // time in proportion to the product of both lengths at most.
    let (mut g, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match glob.get(g) {
            Some('*') => {
                star = Some((g, n));
                g += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => (g, n) = (g + 1, n + 1),
            _ => match star {
                None => return false,
                Some((at, stood)) => {
                    star = Some((at, stood + 1));
                    (g, n) = (at + 1, stood + 1);
                }
            },
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests;
