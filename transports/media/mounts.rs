//! The table of mounts, and being told when it changes.
//!
//! The kernel tells of a mount by marking `/proc/self/mountinfo` with `POLLPRI`; inotify is silent
//! about it. What the table says is only read. A mount is looked into when there is a disk or memory
//! of this machine behind it: a network share may hang whoever looks, an automounter would mount.
//! Those are for the settings to name.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    time::Duration,
};

use postrider_base::disk::Disk;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{MediumDisk, Stick};

/// Longest table that is read. The kernel's own limit is 100,000 mounts in a namespace; a line has
/// about 150 bytes.
const TABLE_MAX_BYTES: u64 = 16 << 20;
/// File systems that have no device number of a disk and yet lie on this machine.
const WITHOUT_DEVICE: [&[u8]; 3] = [b"tmpfs", b"ramfs", b"btrfs"];
/// The file that makes a folder ours; its content is for others to judge.
const MARKER: &str = "VOLUME.PR";

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mount {
    /// The kernel's number for it; used again when it is gone.
    pub id: u64,
    /// The device behind it: major and minor number.
    pub device: (u32, u32),
    /// Which directory of the file system is its root.
    pub root: PathBuf,
    /// Where it is.
    pub place: PathBuf,
    /// The kind of file system.
    kind: Vec<u8>,
    /// What was mounted, as whoever did it called it.
    source: PathBuf,
}

impl Mount {
    /// Whether it is this stick that is mounted here.
    pub fn is_of(&self, stick: &Stick) -> bool {
        // btrfs makes up a device number of its own.
        self.device == stick.device || self.source == stick.node
    }

    /// Whether looking into it can neither hang nor mount something.
    fn is_local(&self) -> bool {
        self.device.0 != 0 || WITHOUT_DEVICE.contains(&&*self.kind)
    }

    /// Whether it is a stick or a card, as far as `devices` (`/sys/dev/block`) tells.
    fn is_removable(&self, devices: &Path) -> bool {
        let (major, minor) = self.device;
        let device = fs::canonicalize(devices.join(format!("{major}:{minor}")));
        device.is_ok_and(|device| is_removable(&device))
    }
}

/// Whether a device of the kernel's tree, under its true path there, is a stick or a card.
pub(super) fn is_removable(device: &Path) -> bool {
    // A disk in a USB case calls itself fixed; a partition says nothing, its disk does.
    let way = device.to_string_lossy();
    way.contains("/usb")
        || way.contains("/mmc")
        || [Some(device), device.parent()].into_iter().flatten().any(|device| {
            fs::read(device.join("removable")).is_ok_and(|text| text.starts_with(b"1"))
        })
}

/// The table of this process's mounts.
#[derive(Debug)]
pub struct MountTable(File);

impl MountTable {
    /// Opens it; an error where there is none, as on systems other than Linux.
    pub fn open() -> io::Result<Self> {
        File::open("/proc/self/mountinfo").map(Self)
    }

    /// The mounts at this moment, as long as they are visible: of several at one place the last.
    pub fn read(&mut self) -> io::Result<Vec<Mount>> {
        let mut table = Vec::new();
        self.0.seek(SeekFrom::Start(0))?;
        (&self.0).take(TABLE_MAX_BYTES).read_to_end(&mut table)?;
        Ok(visible(parse(&table)))
    }

    /// Waits until the table changed since it was waited for last, or until the time is over.
    pub fn wait(&self, longest: Duration) -> io::Result<bool> {
        let longest = Timespec::try_from(longest).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&self.0, PollFlags::PRI)];
        match poll(&mut fds, Some(&longest)) {
            Ok(n) => Ok(n > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The mounts that carry our marker, removable ones first.
pub fn ours(mut mounts: Vec<Mount>) -> Vec<Mount> {
    mounts.retain(|mount| mount.is_local() && is_ours(&mount.place));
    let devices = Path::new("/sys/dev/block");
    mounts.sort_by_cached_key(|mount| (!mount.is_removable(devices), mount.id));
    mounts
}

/// Whether a directory carries our marker. Without it nothing is written there unasked.
pub fn is_ours(place: &Path) -> bool {
    let Ok(Some(disk)) = MediumDisk::open(place) else { return false };
    disk.open(Path::new(MARKER)).is_ok()
}

/// What others do not hide; and what shows in several places only once.
fn visible(mounts: Vec<Mount>) -> Vec<Mount> {
    let mut at: BTreeMap<PathBuf, Mount> = BTreeMap::new();
    for mount in mounts {
        at.insert(mount.place.clone(), mount);
    }
    let mut shown: BTreeMap<((u32, u32), PathBuf), Mount> = BTreeMap::new();
    for mount in at.into_values() {
        let whole = (mount.device, mount.root.clone());
        match shown.get(&whole) {
            Some(other) if other.id < mount.id => {}
            _ => drop(shown.insert(whole, mount)),
        }
    }
    shown.into_values().collect()
}

/// The lines of a table; those that do not look as `proc_pid_mountinfo(5)` says are passed over.
fn parse(table: &[u8]) -> Vec<Mount> {
    table.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|&byte| byte == b' ');
    let id = number(words.next()?)?;
    let _parent: u64 = number(words.next()?)?;
    let mut device = words.next()?.split(|&byte| byte == b':');
    let device = (number(device.next()?)?, number(device.next()?)?, device.next().is_none());
    let (root, place) = (unescaped(words.next()?)?, unescaped(words.next()?)?);
    let _options = words.next()?;
    // Any number of optional fields, up to a hyphen.
    words.find(|word| *word == b"-")?;
    let kind = unescaped(words.next()?)?;
    let (source, _options) = (unescaped(words.next()?).unwrap_or_default(), words.next()?);
    if !device.2 || !place.starts_with(b"/") {
        return None;
    }
    let path = |bytes| PathBuf::from(OsString::from_vec(bytes));
    Some(Mount {
        id,
        device: (device.0, device.1),
        root: path(root),
        place: path(place),
        kind,
        source: path(source),
    })
}

fn number<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(word).ok()?.parse().ok()).flatten()
}

/// A space, tab, line end or backslash stands there as three octal digits behind a backslash.
fn unescaped(word: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(3)?;
        let code = digits
            .iter()
            .try_fold(0_u32, |code, digit| Some(code * 8 + char::from(*digit).to_digit(8)?))?;
        // A path holds no zero byte.
        out.push(u8::try_from(code).ok().filter(|code| *code != 0)?);
        rest = after;
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(table: &str) -> Vec<String> {
        let mounts = visible(parse(table.as_bytes()));
        mounts.iter().map(|mount| mount.place.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_line_is_read_with_its_escapes() {
        let line =
            br"36 35 8:17 /a\134b /media/My\040Stick\012 rw shared:1 master:2 - vfat /dev/sdb1 rw";
        let mount = parse_line(line).unwrap();
        assert_eq!((mount.id, mount.device), (36, (8, 17)));
        assert_eq!(mount.root, Path::new("/a\\b"));
        assert_eq!(mount.place, Path::new("/media/My Stick\n"));
        assert!(mount.is_local());
    }

    #[test]
    fn a_stick_is_known_by_its_number_or_by_what_was_mounted() {
        let stick =
            |device| Stick { device, node: "/dev/sdb1".into(), label: "POSTRIDER".into(), plug: 1 };
        let mounted = |line: &str| parse_line(line.as_bytes()).unwrap();
        let fat = mounted("36 35 8:17 / /m rw - vfat /dev/disk/by-label/POSTRIDER rw");
        assert!(fat.is_of(&stick((8, 17))) && !fat.is_of(&stick((8, 18))));
        let btrfs = mounted("36 35 0:45 / /m rw - btrfs /dev/sdb1 rw");
        assert!(btrfs.is_of(&stick((8, 17))));
        let nothing = mounted("36 35 0:46 / /m rw - tmpfs  rw");
        assert!(!nothing.is_of(&stick((8, 17))));
    }

    #[test]
    fn what_is_no_line_of_the_table_is_passed_over() {
        for line in [
            "",
            "36 35 8:17 / /media rw - vfat /dev/sdb1",
            "36 35 8:17 / /media rw shared:1 vfat /dev/sdb1 rw",
            "x 35 8:17 / /media rw - vfat /dev/sdb1 rw",
            "36 35 8 / /media rw - vfat /dev/sdb1 rw",
            "36 35 8:17:1 / /media rw - vfat /dev/sdb1 rw",
            "36 35 +8:17 / /media rw - vfat /dev/sdb1 rw",
            "36 35 8:17 / media rw - vfat /dev/sdb1 rw",
            r"36 35 8:17 / /me\04 rw - vfat /dev/sdb1 rw",
            r"36 35 8:17 / /me\000dia rw - vfat /dev/sdb1 rw",
            r"36 35 8:17 / /me\777dia rw - vfat /dev/sdb1 rw",
            r"36 35 8:17 / /me\089dia rw - vfat /dev/sdb1 rw",
            "36 35 8:99999999999 / /media rw - vfat /dev/sdb1 rw",
        ] {
            assert_eq!(parse_line(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn shares_and_automounters_are_not_looked_into() {
        for (device, kind, local) in [
            ("8:17", "vfat", true),
            ("0:40", "tmpfs", true),
            ("0:41", "btrfs", true),
            ("0:42", "nfs4", false),
            ("0:43", "autofs", false),
            ("0:44", "fuse.sshfs", false),
            ("0:45", "proc", false),
        ] {
            let line = format!("1 2 {device} / /m rw - {kind} x rw");
            assert_eq!(parse_line(line.as_bytes()).unwrap().is_local(), local, "{line}");
        }
    }

    #[test]
    fn only_the_last_mount_at_a_place_shows_and_one_place_of_each_tree() {
        let table = "1 0 8:1 / / rw - ext4 a rw\n\
                     2 1 8:2 / /hidden rw - ext4 b rw\n\
                     3 2 8:3 / /hidden rw - ext4 c rw\n\
                     4 1 8:3 / /again rw - ext4 c rw\n\
                     5 1 8:3 /below /part rw - ext4 c rw\n";
        let mut shown = places(table);
        shown.sort();
        assert_eq!(shown, ["/", "/hidden", "/part"]);
    }

    #[test]
    fn a_stick_is_told_from_a_disk_by_what_the_kernel_says_of_its_device() {
        let sys = tempfile::tempdir().unwrap();
        let devices = sys.path().join("dev");
        fs::create_dir(&devices).unwrap();
        let mount = |minor| Mount {
            id: 1,
            device: (8, minor),
            root: "/".into(),
            place: "/m".into(),
            kind: b"vfat".to_vec(),
            source: PathBuf::new(),
        };
        for (minor, disk, removable) in [(1, "pci/sda", "0"), (2, "pci/sdb", "1")] {
            let part = sys.path().join(disk).join("part");
            fs::create_dir_all(&part).unwrap();
            fs::write(sys.path().join(disk).join("removable"), removable).unwrap();
            std::os::unix::fs::symlink(&part, devices.join(format!("8:{minor}"))).unwrap();
        }
        let usb = sys.path().join("usb1/sdc");
        fs::create_dir_all(&usb).unwrap();
        std::os::unix::fs::symlink(&usb, devices.join("8:3")).unwrap();
        let removable = [1, 2, 3, 4].map(|minor| mount(minor).is_removable(&devices));
        assert_eq!(removable, [false, true, true, false]);
    }

    #[test]
    fn only_a_folder_with_a_marker_in_it_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_ours(dir.path()));
        fs::create_dir(dir.path().join(super::super::FOLDER)).unwrap();
        assert!(!is_ours(dir.path()));
        let marker = dir.path().join(super::super::FOLDER).join(MARKER);
        std::os::unix::fs::symlink("/etc/passwd", &marker).unwrap();
        assert!(!is_ours(dir.path()));
        fs::remove_file(&marker).unwrap();
        fs::write(&marker, b"").unwrap();
        assert!(is_ours(dir.path()));
    }
}
