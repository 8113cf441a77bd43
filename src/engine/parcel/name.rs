//! Names of files on a medium: a number and an ending, so that they say nothing of anybody.

use std::fmt;

use super::volume::VolumeId;

/// The marker, in our folder.
pub const VOLUME_FILE: &str = "VOLUME.PR";
/// The folder of containers.
pub const CONTAINERS_DIR: &str = "C";
/// The folder of rests.
pub const RESTS_DIR: &str = "R";
/// The folder of notes.
pub const NOTES_DIR: &str = "N";
/// The folder of contact cards.
pub const CARDS_DIR: &str = "CARDS";

/// What kind of file an ending stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// `.PRC`, in [`CONTAINERS_DIR`].
    Container,
    /// `.PRR`, in [`RESTS_DIR`].
    Rest,
    /// `.PRN`, in [`NOTES_DIR`].
    Notes,
    /// `.PRK`, in [`CARDS_DIR`].
    Card,
    /// `.TMP`: a file that was being written, and perhaps still is.
    Leftover,
}

impl FileKind {
    const ALL: [Self; 5] = [Self::Container, Self::Rest, Self::Notes, Self::Card, Self::Leftover];

    const fn ending(self) -> &'static str {
        match self {
            Self::Container => "PRC",
            Self::Rest => "PRR",
            Self::Notes => "PRN",
            Self::Card => "PRK",
            Self::Leftover => "TMP",
        }
    }
}

/// The number of a file: 32 random bits, written as 8 hexadecimal digits in upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileNumber(pub u32);

impl FileNumber {
    /// The number under which one home writes its unfinished files on one volume.
    ///
    /// Derived from a secret of the home, so that it recognises what it left behind when the stick
    /// was pulled, and nobody else learns from two sticks that the same home wrote to them.
    pub fn leftover_of(home_secret: &[u8; 32], volume: &VolumeId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("postrider 2026 parcel leftover v1");
        hasher.update(home_secret).update(volume.as_bytes());
        let [a, b, c, d, ..] = *hasher.finalize().as_bytes();
        Self(u32::from_be_bytes([a, b, c, d]))
    }

    /// The name of a file of some kind under this number.
    pub fn name(self, kind: FileKind) -> String {
        format!("{self}.{}", kind.ending())
    }
}

/// Reads a name; `None` for what we would not have written.
pub fn file_kind(name: &str) -> Option<(FileNumber, FileKind)> {
    let (stem, ending) = name.split_once('.')?;
    let kind = FileKind::ALL.into_iter().find(|kind| kind.ending() == ending)?;
    let digits = |byte: &u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(byte);
    if stem.len() != 8 || !stem.as_bytes().iter().all(digits) {
        return None;
    }
    Some((FileNumber(u32::from_str_radix(stem, 16).ok()?), kind))
}

impl fmt::Display for FileNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}", self.0)
    }
}

impl fmt::Debug for FileNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_refused() {
        for kind in FileKind::ALL {
            let name = FileNumber(0x0a1b_2c3d).name(kind);
            assert_eq!(file_kind(&name), Some((FileNumber(0x0a1b_2c3d), kind)), "{name}");
        }
        assert_eq!(FileNumber(10).name(FileKind::Container), "0000000A.PRC");
        let bad = [
            "",
            ".",
            "0000000A",
            "0000000a.PRC",
            "000000A.PRC",
            "0000000A.prc",
            "0000000A.PRX",
            "+000000A.PRC",
            "0000000G.PRC",
            "0000000A.PRC.PRC",
            "00000000A.PRC",
            "é000000.PRC",
        ];
        for name in bad {
            assert_eq!(file_kind(name), None, "{name}");
        }
    }

    #[test]
    fn a_home_finds_its_leftovers_again_and_two_volumes_cannot_be_linked_by_them() {
        let (one, other) = (VolumeId([1; 16]), VolumeId([2; 16]));
        let number = FileNumber::leftover_of(&[9; 32], &one);
        assert_eq!(number, FileNumber::leftover_of(&[9; 32], &one));
        assert_ne!(number, FileNumber::leftover_of(&[9; 32], &other));
        assert_ne!(number, FileNumber::leftover_of(&[8; 32], &one));
    }
}
