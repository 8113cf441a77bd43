//! What a command sees of the disk, where a mount namespace can be made: a root of its own with the
//! system's programs, its own folder and what it was granted, and nothing else. No other user's files, and no
//! socket that somebody listens on.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{MetadataExt, symlink},
    },
    path::{Component, Path, PathBuf},
};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::{
    fs::{Mode, OFlags},
    mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
        mount_change, mount_remount, unmount,
    },
    process::pivot_root,
};

use super::{
    folder::{GIVEN, WORK},
    program::Seen,
};
use crate::contract::Reach;

/// What a command has for itself beside its processes and its network.
pub(super) const OWN: CloneFlags =
    CloneFlags::CLONE_NEWNS.union(CloneFlags::CLONE_NEWIPC).union(CloneFlags::CLONE_NEWUTS);
/// The system's programs, libraries and their settings.
pub(super) const SYSTEM: &[&str] =
    &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/nix", "/gnu"];
/// Devices that only give or swallow bytes.
pub(super) const DEVICES: &[&str] =
    &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
/// What programs expect beside them.
const LINKS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];
/// Where programs write that nobody told otherwise: there they find their own folder.
const SCRATCH: &[&str] = &["/tmp", "/var/tmp", "/dev/shm"];

/// Where the folders of all jobs are while there is no job: no longer than that.
const JOBS: &str = "/.jobs";

/// Builds the root in a mount namespace that this process has for itself already, and enters it; `false`
/// where that cannot be done, and then everything is as it was.
pub(super) fn enter(dir: &Path, program: &Seen, reach: &Reach, own_proc: bool) -> io::Result<bool> {
    let everything = Path::new("/");
    if reach.read.iter().chain(&reach.write).any(|path| path == everything) {
        return Ok(false);
    }
    let build = || {
        let (root, folder) = begin(dir, own_proc)?;
        root.grant(&program.path, reach)?;
        root.give(dir, &beneath(&folder))?;
        if reach.net {
            // Where names are looked up is often a link to where something keeps it up to date.
            for name in ["/etc/resolv.conf", "/etc/hosts"] {
                if let Ok(path) = fs::canonicalize(name) {
                    root.show(&path, &path)?;
                }
            }
        }
        root.scratch(dir)
    };
    if build().is_err() {
        // Nothing but the root itself hides anything. Where not even that was mounted there is nothing
        // to take away.
        let _ = unmount(dir, UnmountFlags::DETACH);
        return Ok(false);
    }
    if !turn(dir)? {
        return Ok(false);
    }
    close()?;
    Ok(true)
}

/// A root for a job that is to come, which this process has entered: all is there but what is the job's. What
/// was mounted elsewhere is not in use by it.
pub(super) struct Ahead {
    /// Where the jobs' folders are.
    under: PathBuf,
    /// The namespace of mounts that was left.
    left: OwnedFd,
}

impl Ahead {
    /// Leaves namespaces, builds the root and enters it; nothing where that cannot be done, and then
    /// everything is as it was but for these namespaces.
    pub(super) fn enter(under: &Path) -> Option<Self> {
        let left = File::open("/proc/self/ns/mnt").ok()?.into();
        unshare(OWN).ok()?;
        let ahead = Self { under: under.to_owned(), left };
        let build = || {
            let (root, folder) = begin(under, true)?;
            let jobs = root.inside(Path::new(JOBS));
            root.make_dir(Path::new(JOBS))?;
            io::Result::Ok(mount_bind(beneath(&folder), &jobs)?)
        };
        // A root that was built in part goes with its namespace.
        if build().is_ok() && turn(under).is_ok_and(|turned| turned) {
            return Some(ahead);
        }
        let _ = ahead.leave();
        None
    }

    /// Whether a job needs no more than what is there, and what is its own.
    pub(super) fn suits(&self, dir: &Path, program: &Seen, reach: &Reach) -> bool {
        let system = SYSTEM.iter().any(|path| program.path.starts_with(path));
        system
            && reach.read.is_empty()
            && reach.write.is_empty()
            && !reach.net
            && dir.starts_with(&self.under)
    }

    /// Where a job's folder is meanwhile.
    pub(super) fn folder(&self, dir: &Path) -> PathBuf {
        Path::new(JOBS).join(dir.strip_prefix(&self.under).unwrap_or(dir))
    }

    /// Adds what is a job's own, and takes away what is not.
    pub(super) fn finish(&self, dir: &Path) -> io::Result<()> {
        let root = Root { at: Path::new("/") };
        root.give(dir, &self.folder(dir))?;
        root.scratch(dir)?;
        unmount(JOBS, UnmountFlags::DETACH)?;
        fs::remove_dir(JOBS)?;
        close()
    }

    /// Goes back to where everything is.
    pub(super) fn leave(self) -> io::Result<()> {
        Ok(setns(self.left, CloneFlags::CLONE_NEWNS)?)
    }
}

/// Makes the root the root.
fn turn(at: &Path) -> io::Result<bool> {
    rustix::process::chdir(at)?;
    if pivot_root(".", ".").is_err() {
        unmount(at, UnmountFlags::DETACH)?;
        return Ok(false);
    }
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(true)
}

/// Nothing is written in the root itself any more.
fn close() -> io::Result<()> {
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount_remount("/", flags, c"")?)
}

/// What is in every root. It is built on top of a folder, a place that is certainly there and certainly ours;
/// what is under it stays in reach by the descriptor.
fn begin(at: &Path, own_proc: bool) -> io::Result<(Root<'_>, OwnedFd)> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let folder = rustix::fs::open(at, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    mount("postrider", at, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"size=1m,mode=755")?;
    let root = Root { at };
    for path in SYSTEM.iter().map(Path::new) {
        root.show(path, path)?;
    }
    for path in DEVICES.iter().map(Path::new) {
        root.show(path, path)?;
    }
    for (name, target) in LINKS {
        symlink(target, root.inside(Path::new(name)))?;
    }
    root.make_dir(Path::new("/proc"))?;
    let proc = root.inside(Path::new("/proc"));
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if !own_proc || mount("proc", &proc, "proc", flags, None).is_err() {
        mount_bind_recursive("/proc", &proc)?;
    }
    Ok((root, folder))
}

fn beneath(folder: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

struct Root<'a> {
    at: &'a Path,
}

impl Root<'_> {
    /// Shows the program and what was granted. Parents first, so that what is beneath something that is shown
    /// is shown with it.
    fn grant(&self, program: &Path, reach: &Reach) -> io::Result<()> {
        let mut granted: Vec<&Path> = reach.read.iter().chain(&reach.write).map(|p| &**p).collect();
        granted.push(program);
        granted.sort_unstable();
        granted.into_iter().try_for_each(|path| self.show(path, path))
    }

    /// Shows what is the job's own, after what may lie around it, or that would be in its place.
    fn give(&self, dir: &Path, from: &Path) -> io::Result<()> {
        for name in [WORK, GIVEN] {
            self.make_dir(&dir.join(name))?;
            mount_bind(from.join(name), self.inside(&dir.join(name)))?;
        }
        Ok(())
    }

    fn scratch(&self, dir: &Path) -> io::Result<()> {
        for name in SCRATCH.iter().map(Path::new) {
            let at = self.inside(name);
            // Something granted may be beneath it: then it is a directory, of that alone.
            if fs::symlink_metadata(&at).is_err() {
                self.make_dir(name.parent().unwrap_or(Path::new("/")))?;
                symlink(dir.join(WORK), &at)?;
            }
        }
        Ok(())
    }

    fn inside(&self, path: &Path) -> PathBuf {
        self.at.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Shows what is at `from` at the same place inside; what is not there is not shown.
    fn show(&self, from: &Path, at: &Path) -> io::Result<()> {
        let Ok(found) = fs::symlink_metadata(from) else { return Ok(()) };
        let inside = self.inside(at);
        if at == Path::new("/") || at.components().any(|part| part == Component::ParentDir) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if let (Ok(there), Ok(whole)) = (fs::metadata(&inside), fs::metadata(from))
            && (there.dev(), there.ino()) == (whole.dev(), whole.ino())
        {
            return Ok(());
        }
        if found.is_symlink() && SYSTEM.iter().any(|path| Path::new(path) == from) {
            return symlink(fs::read_link(from)?, inside);
        }
        // Whatever a link points to is shown under the link's name: under that it was granted.
        let Ok(whole) = fs::metadata(from) else { return Ok(()) };
        if whole.is_dir() {
            self.make_dir(at)?;
            Ok(mount_bind_recursive(from, &inside)?)
        } else {
            self.make_dir(at.parent().unwrap_or(Path::new("/")))?;
            if !inside.exists() {
                fs::File::create(&inside)?;
            }
            Ok(mount_bind(from, &inside)?)
        }
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(self.inside(path))
    }
}
