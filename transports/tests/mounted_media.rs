//! Real file systems behind loop devices: full, read-only, another kind, gone. Each test says why
//! it was skipped where the machine lacks the rights or the tools.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use postrider_base::disk::Disk as _;
use postrider_transports::media::{
    FileSystem, MediumDisk, MediumError, Mounted, Place, Presence, look,
};

/// An image file with a file system, mounted for as long as this lives.
struct Loop {
    dir: tempfile::TempDir,
    device: Option<String>,
}

impl Loop {
    fn new(kind: &str, size_bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(size_bytes).unwrap();
        std::fs::create_dir(dir.path().join("mnt")).unwrap();
        let made = match kind {
            "ext4" => run("mkfs.ext4", &["-qF", "-m0", path(&image)]),
            "exfat" => run("mkfs.exfat", &[path(&image)]),
            _ => None,
        };
        let mut medium = Self { dir, device: None };
        made?;
        medium.plug(kind, "rw")?;
        Some(medium)
    }

    fn place(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    fn plug(&mut self, kind: &str, mode: &str) -> Option<()> {
        let image = self.dir.path().join("image");
        let device = run("losetup", &["-f", "--show", path(&image)])?;
        let device = device.trim().to_owned();
        self.device = Some(device.clone());
        let place = self.place();
        let mounted = match kind {
            "exfat" => run("mount.exfat-fuse", &["-o", mode, &device, path(&place)]),
            _ => run("mount", &["-o", mode, &device, path(&place)]),
        };
        mounted.map(drop)
    }

    fn unplug(&mut self) {
        run("umount", &[path(&self.place())]);
        if let Some(device) = self.device.take() {
            run("losetup", &["-d", &device]);
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.unplug();
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn run(tool: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(tool).args(args).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

macro_rules! medium_or_skip {
    ($kind:literal, $size_bytes:expr) => {
        match Loop::new($kind, $size_bytes) {
            Some(medium) => medium,
            None => {
                eprintln!("skipped: no {} image can be mounted here (root and tools?)", $kind);
                return;
            }
        }
    };
}

fn said(error: &io::Error) -> String {
    MediumError::of(error).map_or_else(|| format!("not typed: {error}"), ToString::to_string)
}

#[test]
fn a_mounted_stick_is_told_from_an_empty_mount_point() {
    let mut medium = medium_or_skip!("ext4", 8 << 20);
    let place = medium.place();
    let here = look(&place).unwrap();
    let Place::Directory { mounted, facts } = here else { panic!("{here:?}") };
    assert_eq!(mounted, Mounted::Here);
    assert_eq!(facts.file_system, FileSystem::Local);
    assert!(!facts.read_only && facts.total_bytes < 8 << 20);
    assert_eq!(MediumDisk::create(&place).unwrap().presence(), Presence::There);
    medium.unplug();
    let here = look(&place).unwrap();
    assert!(matches!(here, Place::Directory { mounted: Mounted::Within, .. }), "{here:?}");
}

#[test]
fn a_read_only_medium_is_read_and_says_that_it_cannot_be_written() {
    let mut medium = medium_or_skip!("ext4", 8 << 20);
    let disk = MediumDisk::create(&medium.place()).unwrap();
    disk.create_dir(Path::new("C")).unwrap();
    disk.create(Path::new("C/00000001.PRC")).unwrap().write_all_at(0, b"kept").unwrap();
    drop(disk);
    medium.unplug();
    medium.plug("ext4", "ro").unwrap();

    let disk = MediumDisk::open(&medium.place()).unwrap().unwrap();
    assert!(disk.facts().unwrap().read_only);
    assert_eq!(disk.list(Path::new("C"), 10).unwrap().len(), 1);
    assert_eq!(disk.open(Path::new("C/00000001.PRC")).unwrap().len_bytes().unwrap(), 4);
    let answers = [
        disk.create(Path::new("C/00000002.TMP")).err().unwrap(),
        disk.open_write(Path::new("C/00000001.PRC")).err().unwrap(),
        disk.remove(Path::new("C/00000001.PRC")).err().unwrap(),
        disk.create_dir(Path::new("N")).err().unwrap(),
    ];
    for error in answers {
        assert_eq!(said(&error), "the medium is read-only");
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    }
    drop(disk);
}

#[test]
fn a_read_only_medium_without_our_folder_says_so_on_creation() {
    let mut medium = medium_or_skip!("ext4", 8 << 20);
    medium.unplug();
    medium.plug("ext4", "ro").unwrap();
    assert!(MediumDisk::open(&medium.place()).unwrap().is_none());
    assert_eq!(
        said(&MediumDisk::create(&medium.place()).err().unwrap()),
        "the medium is read-only"
    );
}

#[test]
fn a_full_medium_says_that_it_is_full() {
    let medium = medium_or_skip!("ext4", 4 << 20);
    let disk = MediumDisk::create(&medium.place()).unwrap();
    let file = disk.create(Path::new("00000001.TMP")).unwrap();
    let chunk = vec![7; 256 << 10];
    let mut offset = 0;
    let error = loop {
        match file.write_all_at(offset, &chunk) {
            Ok(()) => offset += 256 << 10,
            Err(error) => break error,
        }
        assert!(offset < 8 << 20, "a 4 MiB medium took 8 MiB");
    };
    assert_eq!(said(&error), "the medium is full");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    // Room comes back with the file that took it.
    drop(file);
    disk.remove(Path::new("00000001.TMP")).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    assert!(disk.free_bytes().unwrap() > 1 << 20);
}

/// No room for one more file although there are free bytes.
#[test]
fn a_medium_without_free_inodes_says_that_it_is_full() {
    let medium = medium_or_skip!("ext4", 4 << 20);
    let disk = MediumDisk::create(&medium.place()).unwrap();
    let error = (0..1_000_000)
        .find_map(|number| disk.create(Path::new(&format!("{number:08X}.TMP"))).err())
        .unwrap();
    assert!(disk.free_bytes().unwrap() > 1 << 20, "the test must run out of inodes first");
    assert_eq!(said(&error), "the medium is full");
}

#[test]
fn exfat_ignores_case_and_keeps_what_was_published() {
    let mut medium = medium_or_skip!("exfat", 16 << 20);
    let place = medium.place();
    let Place::Directory { mounted, facts } = look(&place).unwrap() else { panic!("a directory") };
    assert_eq!(mounted, Mounted::Here);
    assert!(matches!(facts.file_system, FileSystem::FuseOnDevice | FileSystem::ExFat), "{facts:?}");
    // Somebody made our folders in lower case, as some systems show them.
    std::fs::create_dir_all(place.join("postrider/c")).unwrap();
    std::fs::write(place.join("postrider/c/0000000a.prc"), b"old").unwrap();

    let disk = MediumDisk::create(&place).unwrap();
    disk.create_dir(Path::new("C")).unwrap();
    let survey = disk.survey(Path::new("C"), 10).unwrap();
    assert_eq!(survey.found.len(), 1, "{survey:?}");
    assert_eq!(survey.found[0].name, "0000000A.PRC");
    let file = disk.create(Path::new("C/00000001.TMP")).unwrap();
    file.write_all_at(0, b"new").unwrap();
    drop(file);
    disk.publish(Path::new("C/00000001.TMP"), Path::new("C/00000001.PRC")).unwrap();
    drop(disk);
    medium.unplug();
    medium.plug("exfat", "rw").unwrap();
    let disk = MediumDisk::open(&place).unwrap().unwrap();
    let mut bytes = [0; 3];
    disk.open(Path::new("C/00000001.PRC")).unwrap().read_exact_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"new");
    assert_eq!(disk.list(Path::new("C"), 10).unwrap().len(), 2);
}

/// The driver answers EIO from one moment to the next, as when a stick leaves its port.
#[test]
fn a_medium_that_dies_is_never_taken_for_a_full_one() {
    let medium = medium_or_skip!("ext4", 8 << 20);
    let disk = MediumDisk::create(&medium.place()).unwrap();
    let file = disk.create(Path::new("00000001.TMP")).unwrap();
    file.write_all_at(0, b"some").unwrap();
    // FS_IOC_SHUTDOWN with "do not flush the log" (2).
    let shutdown = "import fcntl,os,struct,sys\n\
                    f=os.open(sys.argv[1],os.O_RDONLY)\n\
                    fcntl.ioctl(f,0x8004587d,struct.pack('I',2))";
    if run("python3", &["-c", shutdown, path(&medium.place())]).is_none() {
        eprintln!("skipped: no python3 to shut the file system down");
        return;
    }
    for error in [
        file.sync().err().unwrap(),
        disk.create(Path::new("00000002.TMP")).err().unwrap(),
        disk.publish(Path::new("00000001.TMP"), Path::new("00000001.PRC")).err().unwrap(),
    ] {
        assert_eq!(said(&error), "the medium is damaged, or was pulled out");
    }
}
