//! The file layer on a medium: everything relative to one directory descriptor, nothing followed.

use std::{
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path},
    sync::Arc,
};

use postrider_base::disk::{Disk, DiskFile, Listed};
use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    error::{Evidence, MediumError, Room, explain},
    is_our_name,
    place::{MediumFacts, facts, has_device},
    state::state,
    survey::{Survey, survey},
};

/// Our folder on every medium. The root of a small FAT holds 512 entries; a folder has no such
/// limit, so one entry is all we take of it.
pub const FOLDER: &str = "POSTRIDER";

/// Deepest path that we use: a folder and a file in it.
const DEPTH_MAX: usize = 2;

/// Free bytes below which "no space left" is believed: writers come in chunks smaller than this.
const FULL_BELOW_BYTES: u64 = 1 << 20;

/// Whether the device behind a medium still exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Its block device is there.
    There,
    /// Its block device has gone: what lists as an empty directory is a ghost, and what was
    /// written since the last sync is lost.
    Gone,
    /// No block device of its own (a network share, memory, a subvolume): nobody can tell.
    Unknown,
}

/// The folder [`FOLDER`] of a medium, as a file layer.
///
/// Paths are made of names for which [`is_our_name`] holds, at most two deep; anything else is
/// refused before the medium is asked. Links are never followed and nothing but plain files and
/// directories is ever opened. Descriptors: one per medium and one per open file.
#[derive(Clone)]
pub struct MediumDisk {
    folder: Arc<Folder>,
}

impl MediumDisk {
    /// Takes hold of our folder at `place`; `None` when there is none, which says nothing about
    /// what has been there before.
    pub fn open(place: &Path) -> io::Result<Option<Self>> {
        let place = open_place(place)?;
        match open_dir(&place, FOLDER) {
            Ok(dir) => Ok(Some(Self::hold(dir)?)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(at_place(&place, errno, FOLDER)),
        }
    }

    /// The same, making the folder when it is not there.
    pub fn create(place: &Path) -> io::Result<Self> {
        let place = open_place(place)?;
        make_dir(&place, FOLDER).map_err(|errno| at_place(&place, errno, FOLDER))?;
        let dir = open_dir(&place, FOLDER).map_err(|errno| at_place(&place, errno, FOLDER))?;
        Self::hold(dir)
    }

    /// What the file system can do, and how much room it has left.
    pub fn facts(&self) -> io::Result<MediumFacts> {
        facts(&self.folder.dir, &self.folder.stat).map_err(|errno| self.folder.told(errno, ""))
    }

    /// Whether the device is still there. Ask it whenever something is missing.
    pub fn presence(&self) -> Presence {
        presence(&self.folder.stat)
    }

    /// Lists a directory: at most `limit` entries, within
    /// [`NAMES_LOOKED_AT_MAX`](super::NAMES_LOOKED_AT_MAX) and
    /// [`SURVEY_TIME_MAX`](super::SURVEY_TIME_MAX). Memory grows with `limit`, not with the
    /// directory.
    pub fn survey(&self, path: &Path, limit: usize) -> io::Result<Survey> {
        let names = names_of(path)?;
        let said = names.join("/");
        self.folder
            .open_dirs(&names)
            .and_then(|dir| survey(&dir, limit))
            .map_err(|errno| self.folder.told(errno, &said))
    }

    /// A number that changes whenever a plain file of ours appears, goes or changes in one of these
    /// folders, which need not be there. It means nothing to another process.
    pub fn state(&self, folders: &[&str]) -> io::Result<u64> {
        let mut sum = 0_u64;
        for (at, folder) in (1..).zip(folders) {
            let names = names_of(Path::new(folder))?;
            let state = match self.folder.open_dirs(&names).and_then(|dir| state(&dir)) {
                Err(Errno::NOENT) => Ok(0),
                state => state,
            };
            let state = state.map_err(|errno| self.folder.told(errno, folder))?;
            // The same file in another folder is another state.
            sum = sum.wrapping_add(state.wrapping_mul(2 * at + 1));
        }
        Ok(sum)
    }

    fn hold(dir: OwnedFd) -> io::Result<Self> {
        let stat = fs::fstat(&dir)?;
        Ok(Self { folder: Arc::new(Folder { dir, stat }) })
    }

    fn open_file(&self, path: &Path, flags: OFlags) -> io::Result<Box<dyn DiskFile>> {
        let names = names_of(path)?;
        let said = names.join("/");
        let fd = self.folder.in_parent(&names, |dir, name| open_plain(dir, name, flags));
        let fd = fd.map_err(|errno| self.folder.told(errno, &said))?;
        Ok(Box::new(MediumFile { fd, name: said, folder: Arc::clone(&self.folder) }))
    }
}

impl fmt::Debug for MediumDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MediumDisk").field("presence", &self.presence()).finish_non_exhaustive()
    }
}

impl Disk for MediumDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        // Exclusive creation never follows a link, and never opens what lies there already.
        self.open_file(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open_file(path, OFlags::RDONLY)
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open_file(path, OFlags::RDWR)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (names_of(from)?, names_of(to)?);
        let said = to.join("/");
        self.folder
            .in_parent(&from, |from_dir, from_name| {
                self.folder.in_parent(&to, |to_dir, to_name| {
                    fs::renameat(from_dir, from_name, to_dir, to_name)
                })
            })
            .map_err(|errno| self.folder.told(errno, &said))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let names = names_of(path)?;
        let said = names.join("/");
        self.folder
            .in_parent(&names, |dir, name| fs::unlinkat(dir, name, AtFlags::empty()))
            .map_err(|errno| self.folder.told(errno, &said))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let names = names_of(path)?;
        let said = names.join("/");
        self.folder.in_parent(&names, make_dir).map_err(|errno| self.folder.told(errno, &said))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let names = names_of(path)?;
        let said = names.join("/");
        self.folder
            .open_dirs(&names)
            .and_then(|dir| sync_names(&dir))
            .map_err(|errno| self.folder.told(errno, &said))
    }

    fn list(&self, path: &Path, limit: usize) -> io::Result<Vec<Listed>> {
        Ok(self.survey(path, limit)?.found)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.facts()?.free_bytes)
    }
}

/// The folder that everything is relative to, and what is needed to explain a failure in it.
struct Folder {
    dir: OwnedFd,
    stat: Stat,
}

impl Folder {
    /// Opens the directory that `names` lead to, each step by itself and never through a link.
    fn open_dirs(&self, names: &[&str]) -> rustix::io::Result<OwnedFd> {
        // A fresh descriptor even for the folder itself: a listing moves the position.
        let mut dir = open_dir(&self.dir, ".")?;
        for name in names {
            dir = open_dir(&dir, name)?;
        }
        Ok(dir)
    }

    /// Calls `act` with the directory that holds the last of `names`, and that name.
    fn in_parent<T>(
        &self,
        names: &[&str],
        act: impl FnOnce(&OwnedFd, &str) -> rustix::io::Result<T>,
    ) -> rustix::io::Result<T> {
        match names {
            [] => Err(Errno::ISDIR),
            [name] => act(&self.dir, name),
            [parents @ .., name] => act(&self.open_dirs(parents)?, name),
        }
    }

    fn told(&self, errno: Errno, name: &str) -> io::Error {
        told(&self.dir, &self.stat, errno, name)
    }
}

/// A plain file on a medium.
struct MediumFile {
    fd: OwnedFd,
    name: String,
    folder: Arc<Folder>,
}

impl MediumFile {
    fn told(&self, errno: Errno) -> io::Error {
        self.folder.told(errno, &self.name)
    }
}

impl DiskFile for MediumFile {
    fn len_bytes(&self) -> io::Result<u64> {
        let stat = fs::fstat(&self.fd).map_err(|errno| self.told(errno))?;
        u64::try_from(stat.st_size).map_err(io::Error::other)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        rustix::io::retry_on_intr(|| rustix::io::pread(&self.fd, &mut *out, offset))
            .map_err(|errno| self.told(errno))
    }

    fn write_all_at(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.fd, bytes, offset))
                .map_err(|errno| self.told(errno))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[written..];
            offset += written as u64;
        }
        Ok(())
    }

    fn set_len(&self, len_bytes: u64) -> io::Result<()> {
        fs::ftruncate(&self.fd, len_bytes).map_err(|errno| self.told(errno))
    }

    fn sync(&self) -> io::Result<()> {
        // Not fdatasync: FAT keeps a file's length and first cluster in its directory entry, and
        // that is the very thing which must be written.
        fs::fsync(&self.fd).map_err(|errno| self.told(errno))
    }
}

/// The components of a path, all of them names of ours.
fn names_of(path: &Path) -> Result<Vec<&str>, MediumError> {
    let refuse = || MediumError::BadName { path: path.to_string_lossy().into_owned() };
    let mut names = Vec::with_capacity(DEPTH_MAX);
    for component in path.components() {
        match component {
            Component::Normal(name) if is_our_name(name.as_encoded_bytes()) => {
                names.push(name.to_str().ok_or_else(refuse)?);
            }
            _ => return Err(refuse()),
        }
    }
    if names.len() > DEPTH_MAX { Err(refuse()) } else { Ok(names) }
}

/// The user's own path: links in it are the user's own.
fn open_place(place: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(fs::open(place, flags, Mode::empty())?)
}

/// `O_DIRECTORY` makes the kernel refuse anything else before its driver hears of it.
fn open_dir(at: impl AsFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags =
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    fs::openat(at, name, flags, Mode::empty())
}

/// Opens or creates a plain file. What exists is looked at first, because opening a device is an
/// act by itself (a tape rewinds, a modem dials), and once more afterwards.
fn open_plain(at: &OwnedFd, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    if !flags.contains(OFlags::CREATE) {
        refuse_special(&fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?)?;
    }
    let careful = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    // For everyone, within the umask: the next reader of a stick is another user on another
    // machine, and what lies here is sealed.
    let fd = fs::openat(at, name, flags | careful, Mode::from_raw_mode(0o666))?;
    refuse_special(&fs::fstat(&fd)?)?;
    Ok(fd)
}

/// Anything but a plain file answers like a link would: `told` turns that into words.
fn refuse_special(stat: &Stat) -> rustix::io::Result<()> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        _ => Err(Errno::LOOP),
    }
}

fn make_dir(at: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    match fs::mkdirat(at, name, Mode::from_raw_mode(0o777)) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let stat = fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Err(Errno::NOTDIR);
            }
        }
        Err(errno) => return Err(errno),
    }
    // Also when it was there: whoever made it may have been stopped before this.
    sync_names(at)
}

/// Some file systems (CIFS, several FUSE ones) do not sync a directory; syncing all of them does.
fn sync_names(dir: &OwnedFd) -> rustix::io::Result<()> {
    match fs::fsync(dir) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::syncfs(dir),
        answer => answer,
    }
}

fn presence(stat: &Stat) -> Presence {
    let devices = Path::new("/sys/dev/block");
    if !has_device(stat) || !devices.is_dir() {
        return Presence::Unknown;
    }
    let device = format!("{}:{}", fs::major(stat.st_dev), fs::minor(stat.st_dev));
    match devices.join(device).try_exists() {
        Ok(true) => Presence::There,
        Ok(false) => Presence::Gone,
        Err(_) => Presence::Unknown,
    }
}

fn at_place(place: &OwnedFd, errno: Errno, name: &str) -> io::Error {
    match fs::fstat(place) {
        Ok(stat) => told(place, &stat, errno, name),
        Err(_) => errno.into(),
    }
}

fn told(dir: &OwnedFd, stat: &Stat, errno: Errno, name: &str) -> io::Error {
    if matches!(errno, Errno::LOOP | Errno::NOTDIR | Errno::ISDIR) {
        return MediumError::NotPlain { name: name.to_owned() }.into();
    }
    explain(errno, || Evidence {
        device_gone: presence(stat) == Presence::Gone,
        room: fs::fstatvfs(dir).ok().map(|figures| {
            let free_bytes = figures.f_bavail.saturating_mul(figures.f_frsize);
            // File systems without a table of files say that they have 0 of 0.
            let no_files = figures.f_files > 0 && figures.f_favail == 0;
            if free_bytes < FULL_BELOW_BYTES || no_files { Room::None } else { Room::Some }
        }),
    })
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_checked_before_the_medium_is_asked() {
        for good in ["", "C", "VOLUME.PR", "C/0A1B2C3D.PRC"] {
            assert!(names_of(Path::new(good)).is_ok(), "{good}");
        }
        for bad in ["/C", "..", "C/..", "C/../N", "./C", "c", "C/D/E", "C/a.prc", "C/A\n"] {
            assert!(matches!(names_of(Path::new(bad)), Err(MediumError::BadName { .. })), "{bad}");
        }
    }
}
