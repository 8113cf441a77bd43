//! Holes that others had, one by one, on a disk that somebody prepared.

use std::{
    fs,
    io::Read,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use rustix::fs::{FileType as Kind, mknodat};
use std::os::unix::ffi::OsStrExt;

use super::*;

const WAYS: [Way; 2] = [Way::Kernel, Way::Plain];

/// A share with a file, a directory with a file, and a secret beside it.
struct Disk {
    dir: tempfile::TempDir,
    share: Share,
    home: PathBuf,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("share");
        fs::create_dir_all(top.join("sub/deeper")).unwrap();
        fs::write(top.join("a.txt"), "a").unwrap();
        fs::write(top.join("sub/b.txt"), "bb").unwrap();
        fs::write(top.join(".hidden"), "h").unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        fs::write(home.join("key"), "the key").unwrap();
        Self { share: Share::new(top), home, dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.share.path.join(name)
    }

    /// The length of a file, or why there is none.
    fn look(&self, names: &[&str], way: Way) -> Result<u64, Miss> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        match find(&self.share, &self.home, &names, way)? {
            Found::File(plain) => Ok(plain.file.len()),
            Found::Directory(_) => panic!("a directory"),
        }
    }

    fn all(&self, names: &[&str], expected: Result<u64, Miss>) {
        for way in WAYS {
            assert_eq!(self.look(names, way), expected, "{names:?} {way:?}");
        }
    }

    fn listed(&self, glob: Option<&str>, after: Option<&str>) -> (Vec<String>, bool) {
        let Found::Directory(dir) = find(&self.share, &self.home, &[], Way::Kernel).unwrap() else {
            panic!()
        };
        let (entries, more) = list(&dir, &self.share, glob, after).unwrap();
        (entries.into_iter().map(|it| it.name).collect(), more)
    }
}

#[test]
fn what_is_there_is_found_and_what_is_not_is_not() {
    let disk = Disk::new();
    disk.all(&["a.txt"], Ok(1));
    disk.all(&["sub", "b.txt"], Ok(2));
    disk.all(&["c.txt"], Err(Miss::NotFound));
    disk.all(&["a.txt", "b"], Err(Miss::NotFound));
    assert!(matches!(
        find(&disk.share, &disk.home, &["sub".into()], Way::Plain),
        Ok(Found::Directory(_))
    ));
    // A share that is one file.
    let one = Share::new(disk.at("a.txt"));
    for way in WAYS {
        let found = find(&one, &disk.home, &[], way).unwrap();
        assert!(matches!(found, Found::File(plain) if plain.name == "a.txt"));
        assert_eq!(find(&one, &disk.home, &["a.txt".into()], way).unwrap_err(), Miss::NotFound);
    }
    let gone = Share::new(disk.at("gone"));
    assert_eq!(find(&gone, &disk.home, &[], Way::Kernel).unwrap_err(), Miss::NotFound);
}

/// NNCP's CVE-2025-60020. A packet cannot say such names; if one ever could, they would mean nothing.
#[test]
fn nncp_cve_2025_60020_names_that_lead_up_or_away_mean_nothing() {
    let disk = Disk::new();
    let (long, absolute) = ("x".repeat(256), disk.dir.path().join("secret").display().to_string());
    for wrong in
        ["..", ".", "", "../secret", "sub/../../secret", "a\0", "sub\\b.txt", &long, &absolute]
    {
        disk.all(&[wrong], Err(Miss::NotFound));
        disk.all(&["sub", wrong], Err(Miss::NotFound));
    }
    disk.all(&["sub", "..", "..", "secret"], Err(Miss::NotFound));
    disk.all(&["n"; 65], Err(Miss::NotFound));
}

/// Syncthing's CVE-2017-1000420 and CVE-2022-46165, croc's GHSA-ppjh-xp5v-46wc: links.
#[test]
fn syncthing_cve_2017_1000420_no_link_is_followed_out_of_a_share_or_within_it() {
    let disk = Disk::new();
    symlink(disk.dir.path().join("secret"), disk.at("out")).unwrap();
    symlink(disk.dir.path(), disk.at("up")).unwrap();
    symlink("a.txt", disk.at("within")).unwrap();
    symlink("sub", disk.at("dir")).unwrap();
    symlink("loop", disk.at("loop")).unwrap();
    symlink("/proc/self/root/etc/passwd", disk.at("magic")).unwrap();
    for link in ["out", "within", "loop", "magic"] {
        disk.all(&[link], Err(Miss::Special));
    }
    disk.all(&["up", "secret"], Err(Miss::Special));
    disk.all(&["dir", "b.txt"], Err(Miss::Special));
    assert_eq!(disk.listed(None, None).0, ["a.txt", "sub"]);
    // The opening itself refuses them, whatever was looked at before.
    let dir = open_root(&disk.share.path).unwrap();
    for way in WAYS {
        for link in ["out", "within", "magic", "up"] {
            assert!(step(&dir, link, OFlags::empty(), way).is_err(), "{link} {way:?}");
        }
    }
    // A share's own path is its owner's, though.
    symlink(&disk.share.path, disk.dir.path().join("way")).unwrap();
    let by_link = Share::new(disk.dir.path().join("way"));
    assert!(matches!(
        find(&by_link, &disk.home, &["a.txt".into()], Way::Kernel),
        Ok(Found::File(_))
    ));
}

/// Somebody swaps a file for a link, and a directory for one, as fast as they can.
#[test]
fn a_name_that_is_swapped_for_a_link_while_it_is_read_gives_nothing_else() {
    let disk = Disk::new();
    let done = AtomicBool::new(false);
    let (target, other) = (disk.at("swapped"), disk.at("sub/swap"));
    let (dir, moved) = (disk.at("dir"), disk.at("sub/moved"));
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("secret"), "public").unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = fs::remove_file(&other);
                symlink(disk.dir.path().join("secret"), &other).unwrap();
                fs::rename(&other, &target).unwrap();
                fs::write(&other, "public").unwrap();
                fs::rename(&other, &target).unwrap();
                fs::rename(&dir, &moved).unwrap();
                symlink(disk.dir.path(), &dir).unwrap();
                fs::remove_file(&dir).unwrap();
                fs::rename(&moved, &dir).unwrap();
            }
        });
        let mut seen = 0;
        for n in 0..4000 {
            for names in [&["swapped"][..], &["dir", "secret"]] {
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                if let Ok(Found::File(plain)) = find(&disk.share, &disk.home, &names, WAYS[n % 2]) {
                    // "public" and "secret" are equally long: the content tells.
                    assert_eq!(plain.file.hash(), Some(*blake3::hash(b"public").as_bytes()));
                    seen += 1;
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(seen > 0, "nothing was ever found");
    });
}

#[test]
fn a_pipe_is_not_opened_and_nobody_waits_for_its_other_end() {
    let disk = Disk::new();
    let dir = open_root(&disk.share.path).unwrap();
    mknodat(&dir, "pipe", Kind::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    disk.all(&["pipe"], Err(Miss::Special));
    // Were it swapped in behind our back: it opens at once, and is found to be none.
    for way in WAYS {
        assert!(step(&dir, "pipe", OFlags::empty(), way).is_ok());
    }
}

#[test]
fn sockets_and_devices_are_not_opened() {
    let disk = Disk::new();
    let _socket = UnixListener::bind(disk.at("socket")).unwrap();
    disk.all(&["socket"], Err(Miss::Special));
    let devices = Disk { share: Share::new("/dev".into()), ..Disk::new() };
    devices.all(&["null"], Err(Miss::Special));
    devices.all(&["tty"], Err(Miss::Special));
}

#[cfg(target_os = "linux")]
#[test]
fn files_that_the_kernel_makes_up_are_no_files() {
    let disk = Disk { share: Share::new("/proc".into()), ..Disk::new() };
    disk.all(&["version"], Err(Miss::Special));
    disk.all(&["self", "environ"], Err(Miss::Special));
    let own = std::process::id().to_string();
    disk.all(&[&own, "environ"], Err(Miss::Special));
    disk.all(&[&own, "root", "etc", "passwd"], Err(Miss::Special));
    disk.all(&[&own, "fd", "0"], Err(Miss::Special));
}

#[test]
fn what_this_node_may_not_read_is_said_to_be_so_and_a_directory_is_a_directory() {
    let disk = Disk::new();
    let names = ["sub".to_owned()];
    assert!(matches!(find(&disk.share, &disk.home, &names, Way::Kernel), Ok(Found::Directory(_))));
    if rustix::process::geteuid().is_root() {
        // To root everything is readable.
        return;
    }
    fs::set_permissions(disk.at("a.txt"), fs::Permissions::from_mode(0o000)).unwrap();
    disk.all(&["a.txt"], Err(Miss::Unreadable));
}

#[test]
fn a_second_name_counts_only_where_nobody_else_could_have_put_it() {
    let disk = Disk::new();
    fs::hard_link(disk.dir.path().join("secret"), disk.at("linked")).unwrap();
    disk.all(&["linked"], Ok(6));
    fs::set_permissions(&disk.share.path, fs::Permissions::from_mode(0o777)).unwrap();
    disk.all(&["linked"], Err(Miss::Special));
    disk.all(&["a.txt"], Ok(1));
}

/// croc's GHSA-ppjh-xp5v-46wc wrote `.ssh/authorized_keys`; here nobody reads what makes this node itself.
#[test]
fn this_nodes_own_home_is_in_no_share() {
    let mut disk = Disk::new();
    disk.share = Share::new(disk.dir.path().to_owned());
    disk.all(&["secret"], Ok(6));
    disk.all(&["home", "key"], Err(Miss::NotFound));
    symlink(&disk.home, disk.dir.path().join("way")).unwrap();
    for inside in ["home", "way", "home/key"] {
        disk.share = Share::new(disk.dir.path().join(inside));
        let names = if inside.ends_with("key") { &[][..] } else { &["key"] };
        disk.all(names, Err(Miss::NotFound));
    }
}

#[test]
fn hidden_names_are_there_only_where_that_is_said() {
    let mut disk = Disk::new();
    disk.all(&[".hidden"], Err(Miss::NotFound));
    disk.share.hidden = true;
    disk.all(&[".hidden"], Ok(1));
    assert_eq!(disk.listed(None, None).0, [".hidden", "a.txt", "sub"]);
}

#[test]
fn a_listing_goes_on_where_the_last_one_ended_and_skips_what_no_packet_can_say() {
    let disk = Disk::new();
    for name in ["b\nc", "d\\e"] {
        fs::write(disk.at(name), "").unwrap();
    }
    let bad = std::ffi::OsStr::from_bytes(b"\xff");
    fs::write(disk.share.path.join(bad), "").unwrap();
    for n in 0..1500 {
        fs::write(disk.at(&format!("f{n:04}")), "").unwrap();
    }
    let (first, more) = disk.listed(None, None);
    assert_eq!((first.len(), more), (LISTED_MAX, true));
    let (second, more) = disk.listed(None, first.last().map(String::as_str));
    assert!(!more);
    let all: Vec<String> = [first, second].concat();
    assert_eq!(all.len(), 1502);
    assert!(all.is_sorted() && all.contains(&"sub".into()));
    assert_eq!(
        disk.listed(Some("f149?"), Some("f1497")),
        (vec!["f1498".into(), "f1499".into()], false)
    );
    let Found::Directory(dir) = find(&disk.share, &disk.home, &[], Way::Plain).unwrap() else {
        panic!()
    };
    let names = |glob| many(&dir, &disk.share, glob, Way::Plain).unwrap();
    assert!(names("f*").is_none(), "more than one gets");
    let few = names("f000*").unwrap();
    assert_eq!(few.len(), 10);
    assert_eq!(names("s*").unwrap().len(), 0, "a directory is no file");
}

#[test]
fn patterns_fit_what_they_should_in_a_time_that_is_bounded() {
    for (glob, name, does) in [
        ("*", "a", true),
        ("*.jpg", "a.jpg", true),
        ("*.jpg", "a.jpeg", false),
        ("?", "ä", true),
        ("?", "ab", false),
        ("a*b*c", "aXbXbYc", true),
        ("a*b*c", "aXbXbY", false),
        ("**", "x", true),
        ("a", "a", true),
        ("[a]", "a", false),
    ] {
        assert_eq!(fits(glob, name), does, "{glob} {name}");
    }
    assert!(!fits(&"*a".repeat(127), &"a".repeat(126)));
    assert!(!fits(&format!("{}b", "a*".repeat(127)), &"a".repeat(255)));
}

#[test]
fn what_was_opened_is_read_and_nothing_is_ever_written() {
    let disk = Disk::new();
    let Ok(Found::File(plain)) = find(&disk.share, &disk.home, &["a.txt".into()], Way::Kernel)
    else {
        panic!()
    };
    assert_eq!(plain.file.hash(), Some(*blake3::hash(b"a").as_bytes()));
    let mut text = String::new();
    fs::File::open(disk.at("a.txt")).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "a");
}
