//! The manifest: which files a message holds, and where their bytes are.
//!
//! ```text
//! manifest = [set | null, text | null, [[path, bytes, blake3, mtime | null, flags], ...], content]
//! content  = bstr (all bytes, in order)  or  [part bytes, total bytes, bstr of part hashes]
//! ```
//!
//! A name here is a fact about the sender's disk, never a path on ours.

use serde_bytes::ByteBuf;

use super::{
    PacketError, TEXT_MAX,
    listing::{Bounded, EntryWire, Files},
};
use crate::{id::SetId, wire};

/// A manifest is at most this long: 8 MiB name 65,536 files with paths of 80 bytes, or hash the
/// parts of a 2 TiB file, and can be held in memory.
pub const MANIFEST_MAX: usize = 8 << 20;

/// No message has more files; a tree with more goes in several messages or as an archive.
pub const FILES_MAX: usize = 65_536;

/// Contents up to this ride in the manifest itself: one bundle, one commit.
pub const INLINE_MAX: u64 = 256 * 1024;

/// Bytes of the message in one part: 8 MiB of sealed plaintext, less what the seal and the packet
/// say first (at most 256 bytes, hidden envelopes included), so that a full part pads to nothing.
pub const PART_BYTES: u64 = (8 << 20) - 256;

/// No part stands for more; leaves room below the largest bundle.
pub(super) const PART_BYTES_MAX: u64 = (64 << 20) - (1 << 20);

/// A path has at most this many components.
pub const PATH_DEPTH_MAX: usize = 64;

/// The paths of a message have at most this many components together: eight a file, where every
/// file there may be is there. A component of one byte takes some fifty in memory, so these take
/// at most 30 MB.
pub const NAMES_MAX: usize = 8 * FILES_MAX;

const FLAG_EXECUTABLE: u8 = 1;
const FLAG_DIRECTORY: u8 = 2;

/// Which files a message holds, and where their bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The text that goes with the files.
    pub text: Option<String>,
    /// The files, in the order of their bytes.
    pub files: Vec<FileEntry>,
    /// Their bytes.
    pub content: Content,
}

/// One file or empty directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// The components of its path below what was sent; every one passes [`is_component`].
    pub path: Vec<String>,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 of its bytes.
    pub blake3: [u8; 32],
    /// Unix seconds of its last change, where known.
    pub mtime: Option<u64>,
    /// Whether it may be run.
    pub executable: bool,
    /// Whether it is a directory; listed only to keep an empty one.
    pub directory: bool,
}

/// Where the bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Here: all files one after the other, at most [`INLINE_MAX`].
    Inline(Vec<u8>),
    /// In parts that carry the same set id.
    Parts(PartList),
}

/// The parts of a large message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartList {
    /// What the parts have in common.
    pub set: SetId,
    /// Bytes per part; the last may have fewer.
    pub part_bytes: u64,
    /// Bytes of all files together.
    pub total_bytes: u64,
    /// BLAKE3 of each part's plain bytes.
    pub hashes: Vec<[u8; 32]>,
}

type InlineWire = (Option<ByteBuf>, Option<String>, Files, ByteBuf);
type PartsWire = (Option<ByteBuf>, Option<String>, Files, (u64, u64, ByteBuf));

impl Manifest {
    /// The manifest's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let files = Bounded(self.files.iter().map(FileEntry::to_wire).collect::<Vec<_>>());
        match &self.content {
            Content::Inline(bytes) => {
                wire::encode(&(None::<ByteBuf>, &self.text, files, serde_bytes::Bytes::new(bytes)))
            }
            Content::Parts(parts) => {
                let hashes = ByteBuf::from(parts.hashes.concat());
                let list = (parts.part_bytes, parts.total_bytes, hashes);
                wire::encode(&(Some(ByteBuf::from(parts.set.0)), &self.text, files, list))
            }
        }
    }

    /// Reads a manifest and checks every name, length and sum in it.
    pub fn decode(bytes: &[u8]) -> Result<Self, PacketError> {
        if bytes.len() > MANIFEST_MAX {
            return Err(PacketError::TooLong { limit: MANIFEST_MAX, got: bytes.len() });
        }
        // A set id first means parts; null means that the bytes are here.
        let (text, files, content) = if bytes.get(1) == Some(&0xf6) {
            let (_, text, files, content): InlineWire = wire::decode(bytes)?;
            (text, files, Content::Inline(content.into_vec()))
        } else {
            let (set, text, files, list): PartsWire = wire::decode(bytes)?;
            (text, files, Content::Parts(PartList::checked(set, list)?))
        };
        let manifest = Self {
            text,
            files: files.0.into_iter().map(FileEntry::checked).collect::<Result<_, _>>()?,
            content,
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// Bytes of all files together.
    pub fn total_bytes(&self) -> u64 {
        match &self.content {
            Content::Inline(bytes) => bytes.len() as u64,
            Content::Parts(parts) => parts.total_bytes,
        }
    }

    /// The parts, where the bytes are not in the manifest itself.
    pub fn parts(&self) -> Option<&PartList> {
        match &self.content {
            Content::Parts(parts) => Some(parts),
            Content::Inline(_) => None,
        }
    }

    fn check(&self) -> Result<(), PacketError> {
        if self.files.is_empty() || self.files.len() > FILES_MAX {
            return Err(PacketError::Field("files"));
        }
        if self.text.as_ref().is_some_and(|text| text.len() > TEXT_MAX) {
            return Err(PacketError::Field("text"));
        }
        let sum = self.files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.bytes));
        if sum != Some(self.total_bytes()) {
            return Err(PacketError::Field("bytes"));
        }
        if let Content::Inline(bytes) = &self.content {
            if bytes.len() as u64 > INLINE_MAX {
                return Err(PacketError::Field("content"));
            }
            // The bytes are here: hashes that do not hold are found now, not when saving.
            let mut rest = &bytes[..];
            for file in &self.files {
                let length = usize::try_from(file.bytes).unwrap_or(usize::MAX).min(rest.len());
                let (own, after) = rest.split_at(length);
                if blake3::hash(own) != file.blake3 {
                    return Err(PacketError::Field("blake3"));
                }
                rest = after;
            }
        }
        Ok(())
    }
}

impl PartList {
    fn checked(
        set: Option<ByteBuf>,
        (part_bytes, total_bytes, hashes): (u64, u64, ByteBuf),
    ) -> Result<Self, PacketError> {
        let set = set.ok_or(PacketError::Field("set"))?;
        let set = SetId(set.as_slice().try_into().map_err(|_| PacketError::Field("set"))?);
        let (hashes, rest) = hashes.as_chunks::<32>();
        // One MiB keeps the number of parts of a hostile manifest in proportion to its bytes.
        if !rest.is_empty()
            || !(1 << 20..=PART_BYTES_MAX).contains(&part_bytes)
            || total_bytes == 0
            || total_bytes.div_ceil(part_bytes) != hashes.len() as u64
        {
            return Err(PacketError::Field("parts"));
        }
        Ok(Self { set, part_bytes, total_bytes, hashes: hashes.to_vec() })
    }

    /// Length of one part, or `None` beyond the last.
    pub fn bytes_of(&self, index: u32) -> Option<u64> {
        let start = u64::from(index).checked_mul(self.part_bytes)?;
        let left = self.total_bytes.checked_sub(start).filter(|left| *left > 0)?;
        Some(left.min(self.part_bytes))
    }
}

impl FileEntry {
    fn to_wire(&self) -> EntryWire {
        let flags = if self.executable { FLAG_EXECUTABLE } else { 0 }
            | if self.directory { FLAG_DIRECTORY } else { 0 };
        (Bounded(self.path.clone()), self.bytes, ByteBuf::from(self.blake3), self.mtime, flags)
    }

    fn checked((path, bytes, blake3, mtime, flags): EntryWire) -> Result<Self, PacketError> {
        let path = path.0;
        if !(1..=PATH_DEPTH_MAX).contains(&path.len()) || !path.iter().all(|c| is_component(c)) {
            return Err(PacketError::Field("path"));
        }
        let directory = flags & FLAG_DIRECTORY != 0;
        if flags & !(FLAG_EXECUTABLE | FLAG_DIRECTORY) != 0 || directory && bytes != 0 {
            return Err(PacketError::Field("flags"));
        }
        Ok(Self {
            path,
            bytes,
            blake3: blake3.as_slice().try_into().map_err(|_| PacketError::Field("blake3"))?,
            mtime,
            executable: flags & FLAG_EXECUTABLE != 0,
            directory,
        })
    }
}

/// Whether a text can be one component of a path in a manifest.
///
/// That does not make it a safe file name: saving maps names once more, for the disk at hand.
pub fn is_component(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text != "."
        && text != ".."
        && !text.chars().any(|c| c == '/' || c == '\\' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &[&str], bytes: &[u8]) -> FileEntry {
        FileEntry {
            path: path.iter().map(ToString::to_string).collect(),
            bytes: bytes.len() as u64,
            blake3: *blake3::hash(bytes).as_bytes(),
            mtime: Some(1_800_000_000),
            executable: false,
            directory: false,
        }
    }

    fn inline() -> Manifest {
        Manifest {
            text: Some("see these".into()),
            files: vec![file(&["a.txt"], b"alpha"), file(&["b", "c.txt"], b"be")],
            content: Content::Inline(b"alphabe".to_vec()),
        }
    }

    fn in_parts() -> Manifest {
        let total = 2 * PART_BYTES + 5;
        Manifest {
            text: None,
            files: vec![FileEntry { bytes: total, ..file(&["big"], b"") }],
            content: Content::Parts(PartList {
                set: SetId([1; 16]),
                part_bytes: PART_BYTES,
                total_bytes: total,
                hashes: vec![[1; 32]; 3],
            }),
        }
    }

    fn inline_empty() -> Manifest {
        Manifest { text: None, files: vec![], content: Content::Inline(vec![]) }
    }

    #[test]
    fn manifests_round_trip() {
        for manifest in [inline(), in_parts()] {
            assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
        }
    }

    #[test]
    fn hostile_paths_are_refused() {
        for bad in ["..", ".", "", "a/b", "a\\b", "a\0b", "a\nb", "\u{1b}[2J", &"x".repeat(256)] {
            let mut manifest = inline();
            manifest.files[0].path = vec![bad.to_string()];
            let verdict = Manifest::decode(&manifest.encode());
            assert_eq!(verdict, Err(PacketError::Field("path")), "{bad:?}");
        }
    }

    #[test]
    fn more_names_than_a_reader_has_memory_for_are_refused() {
        // A text's worth of compressed bytes once became 400 MB of one path's names.
        let with = |files: usize, depth: usize| {
            let entry = file(&vec!["n"; depth], b"");
            let manifest = Manifest { files: vec![entry; files], ..inline_empty() };
            Manifest::decode(&manifest.encode()).map(|manifest| manifest.files.len())
        };
        assert_eq!(with(8192, 64), Ok(8192), "as many names as there may be");
        for (files, depth) in [(1, 65), (8193, 64), (FILES_MAX + 1, 1)] {
            let verdict = with(files, depth);
            assert!(matches!(verdict, Err(PacketError::Wire(_))), "{files} {depth}: {verdict:?}");
        }
    }

    #[test]
    fn sums_hashes_and_part_counts_must_hold() {
        let mut manifest = inline();
        manifest.files[0].bytes += 1;
        assert_eq!(Manifest::decode(&manifest.encode()), Err(PacketError::Field("bytes")));
        let mut manifest = inline();
        manifest.files[1].blake3[0] ^= 1;
        assert_eq!(Manifest::decode(&manifest.encode()), Err(PacketError::Field("blake3")));
        let mut manifest = in_parts();
        if let Content::Parts(parts) = &mut manifest.content {
            parts.hashes.pop();
        }
        assert_eq!(Manifest::decode(&manifest.encode()), Err(PacketError::Field("parts")));
    }

    #[test]
    fn the_last_part_is_what_is_left() {
        let Content::Parts(parts) = in_parts().content else { unreachable!() };
        assert_eq!(parts.bytes_of(1), Some(PART_BYTES));
        assert_eq!(parts.bytes_of(2), Some(5));
        assert_eq!(parts.bytes_of(3), None);
        assert_eq!(parts.bytes_of(u32::MAX), None);
    }
}
