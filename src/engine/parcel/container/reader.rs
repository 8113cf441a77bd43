//! Reading a container that may be damaged, cut off or made to hurt.
//!
//! Two ways lead through it. With a trailer that holds, each bundle is found where the trailer
//! puts it, and a record that does not check is named by the trailer's id. Without one, the reader
//! walks from head to head, and where there is no head it searches for the next.

use std::{io, slice};

use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use super::{
    CONTAINER_MAX_BYTES, CONTAINER_RECORDS_MAX, Entry, HEADER_BYTES, HEADER_MAGIC, Keys, ReadAt,
    Record, Salt,
    record::{self, CHECK_BYTES, PROBE_BYTES, RECORD_MAX_BYTES},
    source::Window,
    trailer,
};
use postrider_base::BundleId;

/// Bytes searched for a next head, in all, per container: one record of the greatest length and
/// as much again, so that damage in any container of ours is got over, and a file of 4 GiB full
/// of nothing costs no more than a good one.
const SEARCH_MAX_BYTES: u64 = 2 * RECORD_MAX_BYTES;

/// Things that look like a head and are none, per container. The magic turns up by chance once in
/// 4 GiB; a file full of it would cost a keyed hash for each.
const FALSE_HEADS_MAX: u32 = 65_536;

/// Why a file cannot be read as a container at all.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// Neither the beginning nor the end of the file is that of a container.
    #[error("not a container")]
    NotAContainer,
    /// A container of another version than ours.
    #[error("a container of an unknown version")]
    Version,
    /// Longer than any container.
    #[error("{0} bytes are too long for a container")]
    TooLong(u64),
    /// The medium refused to be read.
    #[error("reading the container: {0}")]
    Read(#[from] io::Error),
}

/// Why a record's body does not come.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The record's check does not hold, or it is cut off. What was read of it is worthless.
    #[error("damaged on the medium")]
    Damaged,
    /// The medium refused to be read.
    #[error("reading the container: {0}")]
    Read(#[from] io::Error),
}

/// A stretch of a container in which no record could be found whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub len_bytes: u64,
    /// Which bundle was there, when the trailer tells.
    pub id: Option<BundleId>,
}

/// A record whose head checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The record.
    pub record: Record,
    /// What the trailer says of it; without a trailer the bundle has to tell by itself.
    pub entry: Option<Entry>,
}

/// A container opened for reading. Memory: 56 bytes for each bundle in the trailer.
pub struct Container<'a> {
    source: &'a dyn ReadAt,
    keys: Keys,
    entries: Option<Vec<Entry>>,
    /// Where the records end: at the trailer, or at the end of the file.
    end: u64,
}

impl<'a> Container<'a> {
    /// Reads the first 12 bytes and the trailer.
    pub fn open(source: &'a dyn ReadAt) -> Result<Self, ContainerError> {
        let file_bytes = source.len_bytes()?;
        if file_bytes > CONTAINER_MAX_BYTES {
            return Err(ContainerError::TooLong(file_bytes));
        }
        // A bad sector in the trailer is no worse than a damaged one; if the medium has gone, the
        // header will say so.
        if let Ok(Some(trailer)) = trailer::read(source, file_bytes) {
            // The salt stands in the trailer too, so a flipped byte in the header costs nothing.
            let entries = Some(trailer.entries);
            return Ok(Self { source, keys: trailer.keys, entries, end: trailer.offset });
        }
        let mut header = [0; 12];
        if source.read_full_at(0, &mut header)? != header.len() {
            return Err(ContainerError::NotAContainer);
        }
        let mut salt = [0; 8];
        salt.copy_from_slice(&header[4..]);
        match header.first_chunk() {
            Some(&HEADER_MAGIC) => {
                Ok(Self { source, keys: Keys::new(Salt(salt)), entries: None, end: file_bytes })
            }
            Some(b"PRC2" | b"PRC3" | b"PRC4" | b"PRC5" | b"PRC6" | b"PRC7" | b"PRC8" | b"PRC9") => {
                Err(ContainerError::Version)
            }
            _ => Err(ContainerError::NotAContainer),
        }
    }

    /// What the trailer lists; `None` when it is missing or damaged.
    pub fn listed(&self) -> Option<&[Entry]> {
        self.entries.as_deref()
    }

    /// The records, in order: those that `wanted` asks for by id where the trailer tells ids, and
    /// all of them where it does not.
    ///
    /// An error of the source is a bad sector, or the end of the medium; the caller knows which.
    /// With a trailer the next record can still be tried; a walk ends there.
    pub fn contents<W: FnMut(&BundleId) -> bool>(&self, wanted: W) -> Contents<'_, W> {
        let way = match &self.entries {
            Some(entries) => Way::Listed(entries.iter()),
            None => Way::Walk(self.walk()),
        };
        Contents { container: self, way, wanted, window: Window::new(self.source) }
    }

    /// All records, found without the trailer's help: for a trailer that proved to lie.
    pub fn contents_by_walk(&self) -> Contents<'_, fn(&BundleId) -> bool> {
        Contents {
            container: self,
            way: Way::Walk(self.walk()),
            wanted: |_| true,
            window: Window::new(self.source),
        }
    }

    /// The record that the trailer puts there, its head checked.
    pub fn at(&self, entry: &Entry) -> Result<Record, RecordError> {
        self.look(&mut Window::new(self.source), entry)
    }

    /// The payload of a record, from its beginning.
    pub fn body(&self, record: &Record) -> Body<'a> {
        Body {
            source: self.source,
            front: Record::encode_front(&self.keys, record.hop, &record.head, record.body_bytes),
            check: self.keys.record_check(),
            at: record.body_offset(),
            left: record.body_bytes,
            fits: record.end() <= self.end,
            checked: false,
        }
    }

    fn look(&self, window: &mut Window<'_>, entry: &Entry) -> Result<Record, RecordError> {
        // No further than the record goes: behind it may be a bad sector.
        let least =
            usize::try_from(entry.record_bytes).map_or(PROBE_BYTES, |all| all.min(PROBE_BYTES));
        let bytes = window.at(entry.offset, least)?;
        let record = Record::decode_front(&self.keys, entry.offset, bytes);
        record
            .filter(|record| record.end() == entry.offset + entry.record_bytes)
            .ok_or(RecordError::Damaged)
    }

    fn walk(&self) -> Walk {
        Walk { at: HEADER_BYTES, records: 0, search_left: SEARCH_MAX_BYTES, false_heads: 0 }
    }
}

/// Iterates over what a container holds: records, and stretches where there should be one.
pub struct Contents<'c, W> {
    container: &'c Container<'c>,
    way: Way<'c>,
    wanted: W,
    window: Window<'c>,
}

enum Way<'c> {
    Listed(slice::Iter<'c, Entry>),
    Walk(Walk),
    Ended,
}

impl<W: FnMut(&BundleId) -> bool> Iterator for Contents<'_, W> {
    type Item = io::Result<Result<Found, Damage>>;

    fn next(&mut self) -> Option<Self::Item> {
        let answer = match &mut self.way {
            Way::Listed(entries) => {
                let entry = entries.find(|entry| (self.wanted)(&entry.id))?;
                match self.container.look(&mut self.window, entry) {
                    Ok(record) => Ok(Ok(Found { record, entry: Some(*entry) })),
                    Err(RecordError::Damaged) => Ok(Err(Damage {
                        offset: entry.offset,
                        len_bytes: entry.record_bytes,
                        id: Some(entry.id),
                    })),
                    Err(RecordError::Read(error)) => Err(error),
                }
            }
            Way::Walk(walk) => {
                let answer = walk.next(self.container, &mut self.window).transpose()?;
                if answer.is_err() {
                    self.way = Way::Ended;
                }
                answer
            }
            Way::Ended => return None,
        };
        Some(answer)
    }
}

/// The way from head to head.
struct Walk {
    at: u64,
    records: usize,
    search_left: u64,
    false_heads: u32,
}

impl Walk {
    fn next(
        &mut self,
        container: &Container<'_>,
        window: &mut Window<'_>,
    ) -> io::Result<Option<Result<Found, Damage>>> {
        let from = self.at;
        if from >= container.end {
            return Ok(None);
        }
        let bytes = window.at(from, PROBE_BYTES)?;
        if bytes.starts_with(&trailer::MAGIC) {
            // The trailer, damaged or cut off: no record was lost with it.
            self.at = container.end;
            return Ok(None);
        }
        let record = Record::decode_front(&container.keys, from, bytes);
        let next = match record {
            // More than any container has: the rest is somebody's joke.
            Some(_) if self.records == CONTAINER_RECORDS_MAX => container.end,
            Some(record) if record.end() <= container.end => {
                self.records += 1;
                self.at = record.end();
                return Ok(Some(Ok(Found { record, entry: None })));
            }
            // Cut off: its head is true, so there is nothing behind it.
            Some(_) => container.end,
            None => self.search(container, window)?,
        };
        self.at = next;
        Ok(Some(Err(Damage { offset: from, len_bytes: next - from, id: None })))
    }

    /// Where the next head is, or the end.
    fn search(&mut self, container: &Container<'_>, window: &mut Window<'_>) -> io::Result<u64> {
        let mut at = self.at + 1;
        while at < container.end && self.search_left > 0 && self.false_heads < FALSE_HEADS_MAX {
            let bytes = window.at(at, PROBE_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            // A magic that begins in the last bytes of the window is looked at with the next.
            let reach = bytes.len().saturating_sub(PROBE_BYTES).max(1);
            let candidate =
                bytes.windows(4).take(reach).position(|four| four == record::MAGIC.as_slice());
            let step = match candidate {
                Some(skip) => {
                    let place = at + skip as u64;
                    if Record::decode_front(&container.keys, place, &bytes[skip..]).is_some() {
                        return Ok(place);
                    }
                    self.false_heads += 1;
                    skip + 1
                }
                None => reach,
            } as u64;
            self.search_left = self.search_left.saturating_sub(step);
            at += step;
        }
        Ok(container.end)
    }
}

/// A payload, read in chunks of the caller's size.
pub struct Body<'a> {
    source: &'a dyn ReadAt,
    front: Option<Vec<u8>>,
    check: Xxh3,
    at: u64,
    left: u64,
    fits: bool,
    checked: bool,
}

impl Body<'_> {
    /// Bytes still to come.
    pub fn left_bytes(&self) -> u64 {
        self.left
    }

    /// Reads the next bytes. 0 for a non-empty `out` means the end, and comes only after the check
    /// over the whole record held; until then nothing that was read may be kept for good.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, RecordError> {
        if !self.fits {
            return Err(RecordError::Damaged);
        }
        if let Some(front) = self.front.take() {
            self.check.update(&front);
        }
        if self.left == 0 {
            return self.end().map(|()| 0);
        }
        let most = usize::try_from(self.left).map_or(out.len(), |left| left.min(out.len()));
        let n = self.source.read_full_at(self.at, &mut out[..most])?;
        if n < most {
            return Err(RecordError::Damaged);
        }
        self.check.update(&out[..n]);
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }

    /// The whole payload, if it is no longer than `most`: for bundles that are taken whole.
    pub fn read_whole(mut self, most: usize) -> Result<Option<Vec<u8>>, RecordError> {
        let Some(len) = usize::try_from(self.left).ok().filter(|len| *len <= most) else {
            return Ok(None);
        };
        let mut bytes = vec![0; len];
        if len > 0 {
            self.read(&mut bytes)?;
        }
        self.read(&mut [0])?;
        Ok(Some(bytes))
    }

    fn end(&mut self) -> Result<(), RecordError> {
        if self.checked {
            return Ok(());
        }
        let mut stated = [0; CHECK_BYTES];
        let whole = self.source.read_full_at(self.at, &mut stated)? == CHECK_BYTES;
        if whole && stated == self.check.digest().to_be_bytes() {
            self.checked = true;
            Ok(())
        } else {
            Err(RecordError::Damaged)
        }
    }
}
