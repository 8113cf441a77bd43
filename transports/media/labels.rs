//! Which sticks carry our label, mounted or not.
//!
//! udev keeps a link for every label that it reads from a file system. What stands there was written
//! by whoever had the stick last: a name is compared and shown, never used as a path, and what it
//! links to counts as far as the kernel's own tree confirms it.
//!
//! Of several sticks with one label udev links one. So [`LABEL`] may go on: `POSTRIDER2`.

use std::{
    fs,
    io::Read,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::mounts::is_removable;

/// How a label of ours begins, in any case: FAT keeps upper case only. 9 of the 11 characters that
/// FAT and exFAT have.
pub const LABEL: &str = "POSTRIDER";
/// The longest label: ext4's. Of those that may be longer none is ours.
const LABEL_MAX_BYTES: usize = 16;
/// Links that are looked at. A disk has some; a hostile one has as many as it has partitions.
const LINKS_MAX: usize = 1024;
/// Sticks of ours that are told of: more than a hub has sockets.
const STICKS_MAX: usize = 16;
/// Longest answer of the kernel that is read: two numbers of ten digits and a colon have 21.
const ANSWER_MAX_BYTES: u64 = 64;

/// A stick or card with our label on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stick {
    /// Its number: major and minor.
    pub device: (u32, u32),
    /// Its device, as `/dev/sdb1`.
    pub node: PathBuf,
    /// What stands on it, without bytes that could harm a terminal.
    pub label: String,
    /// Counts what was plugged in since the machine was switched on; 0 where the kernel does not
    /// tell (before 5.15).
    pub plug: u64,
}

/// Where the system says which labels there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Links to devices, named by labels.
    pub links: PathBuf,
    /// Block devices by name, in the kernel's tree.
    pub blocks: PathBuf,
}

impl Default for Labels {
    fn default() -> Self {
        Self { links: "/dev/disk/by-label".into(), blocks: "/sys/class/block".into() }
    }
}

impl Labels {
    /// The sticks with our label at this moment, in the order of their numbers. None where there is
    /// no udev.
    pub fn look(&self) -> Vec<Stick> {
        let Ok(links) = fs::read_dir(&self.links) else { return Vec::new() };
        let mut sticks: Vec<Stick> = links
            .take(LINKS_MAX)
            .filter_map(|link| {
                let link = link.ok()?;
                let label = our_label(link.file_name().as_bytes())?;
                self.stick(&link.path(), label)
            })
            .take(STICKS_MAX)
            .collect();
        sticks.sort();
        sticks
    }

    fn stick(&self, link: &Path, label: String) -> Option<Stick> {
        let node = fs::canonicalize(link).ok()?;
        let block = fs::canonicalize(self.blocks.join(node.file_name()?)).ok()?;
        if !is_removable(&block) {
            return None;
        }
        let number = answer(&block.join("dev"))?;
        let (major, minor) = number.split_once(':')?;
        // A partition has no count of its own.
        let plug = [Some(&*block), block.parent()]
            .into_iter()
            .flatten()
            .find_map(|block| answer(&block.join("diskseq"))?.parse().ok());
        Some(Stick {
            device: (major.parse().ok()?, minor.parse().ok()?),
            node,
            label,
            plug: plug.unwrap_or(0),
        })
    }
}

/// What the kernel says in a file of its tree.
fn answer(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(ANSWER_MAX_BYTES).read_to_string(&mut text).ok()?;
    Some(text.trim_end().to_owned())
}

/// The label that a link is named by, if it is one of ours: it begins with [`LABEL`], and what
/// follows are letters, digits, spaces, hyphens, underscores.
fn our_label(name: &[u8]) -> Option<String> {
    let label = unescaped(name)?;
    let (begin, rest) = label.split_at_checked(LABEL.len())?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let is_ours = label.len() <= LABEL_MAX_BYTES
        && begin.eq_ignore_ascii_case(LABEL)
        && rest.chars().all(is_plain);
    is_ours.then_some(label)
}

/// udev writes what could not stand in a name as `\x` and two hexadecimal digits.
fn unescaped(name: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let (digits, after) = rest.strip_prefix(b"x")?.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        // from_str_radix takes a sign.
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        out.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
        rest = after;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::fs::symlink};

    use super::*;

    /// `/dev` and `/sys` as they would be, in a directory.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            for dir in ["dev/disk/by-label", "class", "tree"] {
                fs::create_dir_all(machine.0.path().join(dir)).unwrap();
            }
            machine
        }

        fn labels(&self) -> Labels {
            let links = self.0.path().join("dev/disk/by-label");
            Labels { links, blocks: self.0.path().join("class") }
        }

        /// A device at `way` in the kernel's tree; what `facts` say stands in files there.
        fn device(&self, way: &str, facts: &[(&str, &str)]) -> &Self {
            let block = self.0.path().join("tree").join(way);
            fs::create_dir_all(&block).unwrap();
            for (name, text) in facts {
                fs::write(block.join(name), format!("{text}\n")).unwrap();
            }
            let name = Path::new(way).file_name().unwrap();
            fs::write(self.0.path().join("dev").join(name), "").unwrap();
            symlink(&block, self.0.path().join("class").join(name)).unwrap();
            self
        }

        fn label(&self, label: &[u8], name: &str) -> &Self {
            let link = self.labels().links.join(OsStr::from_bytes(label));
            symlink(format!("../../{name}"), link).unwrap();
            self
        }

        fn found(&self) -> Vec<String> {
            let name = |stick: Stick| {
                let node = stick.node.file_name().unwrap().to_string_lossy().into_owned();
                format!("{node} {} {:?} {}", stick.label, stick.device, stick.plug)
            };
            self.labels().look().into_iter().map(name).collect()
        }
    }

    #[test]
    fn a_partition_on_a_usb_stick_is_found_with_its_number_and_plug() {
        let machine = Machine::new();
        machine
            .device("usb1/block/sdb", &[("dev", "8:16"), ("removable", "1"), ("diskseq", "7")])
            .device("usb1/block/sdb/sdb1", &[("dev", "8:17")])
            .label(b"POSTRIDER", "sdb1");
        assert_eq!(machine.found(), ["sdb1 POSTRIDER (8, 17) 7"]);
    }

    #[test]
    fn an_old_kernel_that_counts_no_plugs_is_no_obstacle() {
        let machine = Machine::new();
        machine.device("usb1/sdb", &[("dev", "8:16")]).label(b"postrider\\x202", "sdb");
        assert_eq!(machine.found(), ["sdb postrider 2 (8, 16) 0"]);
    }

    #[test]
    fn disks_that_stay_and_loops_are_left_alone() {
        let machine = Machine::new();
        machine
            .device("pci/sda", &[("dev", "8:0"), ("removable", "0")])
            .device("virtual/loop0", &[("dev", "7:0"), ("removable", "0")])
            .label(b"POSTRIDER", "sda")
            .label(b"POSTRIDER2", "loop0");
        assert!(machine.found().is_empty());
    }

    #[test]
    fn a_link_that_leads_nowhere_or_to_no_device_is_passed_over() {
        let machine = Machine::new();
        machine
            .device("usb1/sdb", &[("dev", "none")])
            .device("usb1/sdc", &[])
            .device("usb1/sdd", &[("dev", "99999999999:1")])
            .label(b"POSTRIDER1", "sdb")
            .label(b"POSTRIDER2", "sdc")
            .label(b"POSTRIDER3", "sdd")
            .label(b"POSTRIDER4", "gone")
            .label(b"POSTRIDER5", "../../../../etc/passwd");
        assert!(machine.found().is_empty());
    }

    #[test]
    fn without_udev_there_is_nothing() {
        let machine = Machine::new();
        fs::remove_dir(machine.labels().links).unwrap();
        assert!(machine.found().is_empty());
    }

    #[test]
    fn more_sticks_than_a_hub_holds_are_not_told_of() {
        let machine = Machine::new();
        machine.device("usb1/sdb", &[("dev", "8:16")]);
        for n in 0..=STICKS_MAX {
            machine.label(format!("POSTRIDER{n}").as_bytes(), "sdb");
        }
        assert_eq!(machine.found().len(), STICKS_MAX);
    }

    #[test]
    fn names_are_ours_or_not_whatever_bytes_they_have() {
        for (name, label) in [
            (&b"POSTRIDER"[..], Some("POSTRIDER")),
            (b"Postrider", Some("Postrider")),
            (b"POSTRIDER-A", Some("POSTRIDER-A")),
            (br"POSTRIDER\x20A", Some("POSTRIDER A")),
            (br"\x50OSTRIDER", Some("POSTRIDER")),
            (b"POSTRIDER1234567", Some("POSTRIDER1234567")),
            (b"POSTRIDER12345678", None),
            (b"POSTRIDE", None),
            (b"MY POSTRIDER", None),
            (b"", None),
            (br"POSTRIDER\x1b[2J", None),
            (br"POSTRIDER\x0a", None),
            (br"POSTRIDER\x2f..", None),
            (br"POSTRIDER\x2", None),
            (br"POSTRIDER\x+1", None),
            (br"POSTRIDER\x", None),
            (br"POSTRIDER\", None),
            (b"POSTRIDER\\\xff", None),
            (b"POSTRIDER\xff", None),
            ("POSTRIDER\u{202e}".as_bytes(), None),
            ("POSTRIDEÜ".as_bytes(), None),
        ] {
            assert_eq!(our_label(name).as_deref(), label, "{}", String::from_utf8_lossy(name));
        }
    }
}
