//! Who has a port: for the line that says that it is in use.

use std::{fmt, fs, os::unix::fs::MetadataExt as _, path::Path};

/// A process that has locked a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Holder {
    process: u32,
    /// Empty where it may not be known.
    name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "another program" } else { &self.name };
        write!(f, "{name} (process {})", self.process)
    }
}

/// Who has locked the file behind a path, as far as the kernel tells.
pub(super) fn of(path: &Path) -> Option<Holder> {
    let file = fs::metadata(path).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let device = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
    let process = find(&locks, device, file.ino())?;
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    let name = name.chars().filter(|c| c.is_ascii_graphic()).collect();
    Some(Holder { process, name })
}

/// `1: FLOCK  ADVISORY  WRITE 4711 00:05:123 0 EOF`: device in hexadecimal, inode in decimal.
fn find(locks: &str, (major, minor): (u32, u32), inode: u64) -> Option<u32> {
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word == "->").skip(4);
        let process = words.next()?;
        (words.next()? == file).then(|| process.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_found_by_its_file() {
        let locks = "1: POSIX  ADVISORY  WRITE 12 00:19:9 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 4711 00:05:123 0 EOF\n3: -> \ngarbage";
        assert_eq!(find(locks, (0, 5), 123), Some(4711));
        assert_eq!(find(locks, (0, 6), 123), None);
        assert_eq!(find(locks, (0, 5), 12), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_found_by_what_it_locks() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(of(file.path()), None);
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert_eq!(of(file.path()).map(|holder| holder.process), Some(std::process::id()));
    }
}
