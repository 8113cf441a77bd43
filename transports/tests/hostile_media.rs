//! A medium that somebody filled to hurt us: nothing of it is followed, opened or believed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::{
    ffi::OsStr,
    fs,
    io::{self, ErrorKind},
    os::unix::{ffi::OsStrExt as _, fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
    time::Instant,
};

use postrider_base::disk::{Disk as _, ListedKind};
use postrider_transports::media::{FOLDER, MediumDisk, MediumError};
use rustix::fs::{FileType, Mode};

fn medium() -> (tempfile::TempDir, MediumDisk) {
    let dir = tempfile::tempdir().unwrap();
    let disk = MediumDisk::create(dir.path()).unwrap();
    disk.create_dir(Path::new("C")).unwrap();
    (dir, disk)
}

fn containers(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join(FOLDER).join("C")
}

fn is_not_plain<T>(answer: io::Result<T>) -> bool {
    let Err(error) = answer else { return false };
    matches!(MediumError::of(&error), Some(MediumError::NotPlain { .. }))
}

#[test]
fn what_is_published_is_read_back_and_listed() {
    let (_dir, disk) = medium();
    let file = disk.create(Path::new("C/00000001.TMP")).unwrap();
    file.write_all_at(0, b"head").unwrap();
    file.write_all_at(4, b"body").unwrap();
    disk.publish(Path::new("C/00000001.TMP"), Path::new("C/0A1B2C3D.PRC")).unwrap();

    let again = disk.open(Path::new("C/0A1B2C3D.PRC")).unwrap();
    let mut bytes = [0; 8];
    again.read_exact_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"headbody");
    let listed = disk.list(Path::new("C"), 10).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].name.as_str(), listed[0].len_bytes), ("0A1B2C3D.PRC", 8));
    disk.remove(Path::new("C/0A1B2C3D.PRC")).unwrap();
    assert_eq!(disk.list(Path::new("C"), 10).unwrap(), []);
    assert_eq!(disk.open(Path::new("C/0A1B2C3D.PRC")).err().unwrap().kind(), ErrorKind::NotFound);
}

#[test]
fn a_medium_without_our_folder_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    assert!(MediumDisk::open(dir.path()).unwrap().is_none());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn links_are_never_followed() {
    let (dir, disk) = medium();
    let outside = dir.path().join("secret");
    fs::write(&outside, b"secret").unwrap();
    let there = containers(&dir);
    symlink(&outside, there.join("00000001.PRC")).unwrap();
    symlink("00000002.PRC", there.join("00000002.PRC")).unwrap();
    symlink("/dev/zero", there.join("00000003.PRC")).unwrap();
    symlink(dir.path(), dir.path().join(FOLDER).join("N")).unwrap();

    for name in ["C/00000001.PRC", "C/00000002.PRC", "C/00000003.PRC"] {
        assert!(is_not_plain(disk.open(Path::new(name))), "{name}");
        assert!(is_not_plain(disk.open_write(Path::new(name))), "{name}");
        let taken = disk.create(Path::new(name)).err().unwrap();
        assert_eq!(taken.kind(), ErrorKind::AlreadyExists, "{name}");
    }
    assert!(is_not_plain(disk.list(Path::new("N"), 10)));
    assert!(is_not_plain(disk.create(Path::new("N/00000001.TMP"))));
    assert!(is_not_plain(disk.create_dir(Path::new("N"))));
    let survey = disk.survey(Path::new("C"), 10).unwrap();
    assert_eq!((survey.found.len(), survey.ignored, survey.cut_short), (0, 3, false));
    disk.remove(Path::new("C/00000001.PRC")).unwrap();
    assert_eq!(fs::read(&outside).unwrap(), b"secret");
}

#[test]
fn our_folder_itself_must_not_be_a_link() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("elsewhere")).unwrap();
    symlink("elsewhere", dir.path().join(FOLDER)).unwrap();
    assert!(is_not_plain(MediumDisk::open(dir.path())));
    assert!(is_not_plain(MediumDisk::create(dir.path())));
    assert_eq!(fs::read_dir(dir.path().join("elsewhere")).unwrap().count(), 0);
}

/// Opening a fifo for reading waits for a writer for ever; a test that hangs here has failed.
#[test]
fn fifos_sockets_and_devices_are_never_opened() {
    let (dir, disk) = medium();
    let there = containers(&dir);
    let at = fs::File::open(&there).unwrap();
    rustix::fs::mkfifoat(&at, "00000001.PRC", Mode::RUSR).unwrap();
    let _socket = UnixListener::bind(there.join("00000002.PRC")).unwrap();
    fs::create_dir(there.join("00000003.PRC")).unwrap();
    let mut special = 2;
    let zero = rustix::fs::makedev(1, 5);
    match rustix::fs::mknodat(&at, "00000004.PRC", FileType::CharacterDevice, Mode::RUSR, zero) {
        Ok(()) => special += 1,
        Err(errno) => eprintln!("skipped: no device node could be made here ({errno})"),
    }
    for entry in fs::read_dir(&there).unwrap() {
        let name = entry.unwrap().file_name();
        let path = Path::new("C").join(&name);
        assert!(is_not_plain(disk.open(&path)), "{name:?}");
        assert!(is_not_plain(disk.open_write(&path)), "{name:?}");
    }
    let survey = disk.survey(Path::new("C"), 10).unwrap();
    assert_eq!(survey.ignored, special);
    // The directory under a file's name is listed as what it is.
    assert_eq!(survey.found.len(), 1);
    assert_eq!(survey.found[0].kind, ListedKind::Directory);
}

#[test]
fn names_that_are_not_ours_are_ignored_and_counted() {
    let (dir, disk) = medium();
    let there = containers(&dir);
    let long = vec![b'A'; 255];
    let strange: [&[u8]; 14] = [
        b"CON",
        b"NUL.PRC",
        b"a\nb",
        b"\x1b[2J",
        b"\x7f",
        b"A B",
        b"...",
        b"-rf\t",
        b"A\\B",
        "\u{202e}CRP.1".as_bytes(),
        "\u{ff21}.PRC".as_bytes(),
        b"\xff\xfe",
        &long,
        b"A.PRC.EXE",
    ];
    for name in strange {
        fs::write(there.join(OsStr::from_bytes(name)), b"x").unwrap();
    }
    fs::write(there.join("00000001.PRC"), b"ours").unwrap();
    let survey = disk.survey(Path::new("C"), 100).unwrap();
    assert_eq!(survey.found.len(), 1);
    assert_eq!(survey.found[0].name, "00000001.PRC");
    assert_eq!(survey.ignored, 14);
    for name in strange {
        let path = Path::new("C").join(OsStr::from_bytes(name));
        let error = disk.open(&path).err().unwrap();
        assert!(matches!(MediumError::of(&error), Some(MediumError::BadName { .. })), "{path:?}");
    }
}

/// On a file system that minds case, `abc` is not `ABC`, and no name is listed twice.
#[test]
fn names_that_clash_by_case_never_stand_for_ours() {
    let (dir, disk) = medium();
    let there = containers(&dir);
    fs::write(there.join("0000000a.prc"), b"lower").unwrap();
    if there.join("0000000A.PRC").exists() {
        eprintln!("skipped: this file system ignores case");
        return;
    }
    assert_eq!(disk.list(Path::new("C"), 10).unwrap(), []);
    fs::write(there.join("0000000A.PRC"), b"UPPER").unwrap();
    fs::write(there.join("0000000A.prc"), b"mixed").unwrap();
    // Two names of one file: the only way in which a lower-case name passes for ours.
    fs::hard_link(there.join("0000000A.PRC"), there.join("0000000a.PRC")).unwrap();
    let survey = disk.survey(Path::new("C"), 10).unwrap();
    assert_eq!(survey.found.len(), 1);
    assert_eq!(survey.ignored, 3);
    let file = disk.open(Path::new("C/0000000A.PRC")).unwrap();
    let mut bytes = [0; 5];
    file.read_exact_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"UPPER");
}

#[test]
fn a_listing_stops_at_its_limit_and_says_so() {
    let (dir, disk) = medium();
    let there = containers(&dir);
    for number in 0..20 {
        fs::write(there.join(format!("{number:08X}.PRC")), b"").unwrap();
    }
    let survey = disk.survey(Path::new("C"), 7).unwrap();
    assert!(survey.cut_short);
    assert_eq!(survey.found.len(), 7);
    let survey = disk.survey(Path::new("C"), 20).unwrap();
    assert!(!survey.cut_short);
    assert_eq!(survey.found.len(), 20);
}

/// `POSTRIDER_STORM=1` makes it a million.
#[test]
fn a_storm_of_names_costs_neither_memory_nor_minutes() {
    let (dir, disk) = medium();
    let there = containers(&dir);
    let storm = std::env::var_os("POSTRIDER_STORM").is_some();
    let names: u64 = if storm { 1_000_000 } else { 100_000 };
    let first = there.join("not ours 0");
    fs::write(&first, b"").unwrap();
    // Hard links are several times cheaper to make than files; ext4 allows 65,000 to one of them.
    let mut file = first;
    for number in 1..names {
        let path = there.join(format!("not ours {number}"));
        if number % 50_000 == 0 {
            fs::write(&path, b"").unwrap();
            file = path;
        } else {
            fs::hard_link(&file, path).unwrap();
        }
    }
    fs::write(there.join("00000001.PRC"), b"").unwrap();
    let before_kb = peak_rss_kb();
    let started = Instant::now();
    let survey = disk.survey(Path::new("C"), 1000).unwrap();
    let took = started.elapsed();
    let grew_kb = peak_rss_kb() - before_kb;
    eprintln!("{names} names listed in {took:?}, peak memory grew by {grew_kb} kB");
    assert_eq!(survey.found.len(), 1);
    assert_eq!(survey.ignored, names);
    assert!(took.as_secs() < 10, "{took:?}");
    assert!(grew_kb < 64 * 1024, "{grew_kb} kB");
}

fn peak_rss_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
