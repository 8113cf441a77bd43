//! What a command sees of the disk, where a mount namespace can be made: a root of its own with the
//! system's programs, its own folder and what it was granted, and nothing else. No other user's files, and no
//! socket that somebody listens on.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, symlink},
    path::{Component, Path, PathBuf},
};

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

/// Builds the root in a mount namespace that this process has for itself already, and enters it; `false`
/// where that cannot be done, and then everything is as it was.
pub(super) fn enter(dir: &Path, program: &Seen, reach: &Reach, own_proc: bool) -> io::Result<bool> {
    let everything = Path::new("/");
    if reach.read.iter().chain(&reach.write).any(|path| path == everything) {
        return Ok(false);
    }
    if build(dir, program, reach, own_proc).is_err() {
        // Nothing but the root itself hides anything. Where not even that was mounted there is nothing
        // to take away.
        let _ = unmount(dir, UnmountFlags::DETACH);
        return Ok(false);
    }
    rustix::process::chdir(dir)?;
    if pivot_root(".", ".").is_err() {
        unmount(dir, UnmountFlags::DETACH)?;
        return Ok(false);
    }
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount_remount("/", flags, c"")?;
    Ok(true)
}

fn build(dir: &Path, program: &Seen, reach: &Reach, own_proc: bool) -> io::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    // The root is built on top of the job's folder, a place that is certainly there and certainly ours;
    // what is under it stays in reach by these.
    let folder = rustix::fs::open(dir, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let beneath =
        PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder)));
    mount("postrider", dir, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"size=1m,mode=755")?;
    let root = Root { at: dir };

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
    // Parents first, so that what is beneath something that is shown is shown with it.
    let mut granted: Vec<&Path> = reach.read.iter().chain(&reach.write).map(|p| &**p).collect();
    granted.push(&program.path);
    granted.sort_unstable();
    for path in granted {
        root.show(path, path)?;
    }
    // After what may lie around them, or that would be in their place.
    for name in [WORK, GIVEN] {
        root.make_dir(&dir.join(name))?;
        mount_bind(beneath.join(name), root.inside(&dir.join(name)))?;
    }
    if reach.net {
        // Where names are looked up is often a link to where something keeps it up to date.
        for name in ["/etc/resolv.conf", "/etc/hosts"] {
            if let Ok(path) = fs::canonicalize(name) {
                root.show(&path, &path)?;
            }
        }
    }
    for name in SCRATCH.iter().map(Path::new) {
        let at = root.inside(name);
        // Something granted may be beneath it: then it is a directory, of that alone.
        if fs::symlink_metadata(&at).is_err() {
            root.make_dir(name.parent().unwrap_or(Path::new("/")))?;
            symlink(dir.join(WORK), &at)?;
        }
    }
    Ok(())
}

struct Root<'a> {
    at: &'a Path,
}

impl Root<'_> {
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
