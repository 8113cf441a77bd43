//! The segments on the disk: their names, their seeds, reading single records.

use std::{
    collections::HashMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use postrider_base::disk::{Disk, DiskFile};

use super::{
    frame::{
        At, BEGIN, CHECK_LEN, Found, HEAD_LEN, MORE, RECORDS_FROM, ReadHeader, SegmentHeader,
        WRITE, look, read_header,
    },
    record::{Checkpoint, Record, decode},
};
use crate::error::SpoolError;

pub(crate) const LOG: &str = "log";
/// No segment is written longer than this; a longer file is not read into memory.
pub(crate) const SEGMENT_LIMIT: u64 = 4 << 20;
/// How long a checkpoint may be that a process leaves at its end: short enough to be found at once,
/// and not to fill the log when every message is sent by a process of its own.
pub(crate) const GOODBYE_MAX: usize = 4096;
/// Segments one log may have: at 2 MiB each, 2 TiB. Bounds the listing.
const SEGMENTS_MAX: usize = 1 << 20;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    /// With head and check.
    pub(crate) len: u32,
}

/// A segment in memory.
pub(crate) struct Loaded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) header: ReadHeader,
}

/// Reads segments; any number of threads at once.
#[derive(Clone)]
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    /// Seeds of segments read before: saves reading a header per record.
    seeds: Arc<Mutex<HashMap<u32, u64>>>,
}

impl Segments {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, seeds: Arc::default() }
    }

    pub(crate) fn path(number: u32) -> PathBuf {
        Path::new(LOG).join(format!("{number:08}.seg"))
    }

    /// The numbers of all segments, rising.
    pub(crate) fn numbers(&self) -> Result<Vec<u32>, SpoolError> {
        let names = self
            .disk
            .file_names(Path::new(LOG), SEGMENTS_MAX)
            .map_err(SpoolError::io("listing the log"))?;
        let mut numbers: Vec<u32> = names
            .iter()
            .filter_map(|name| name.strip_suffix(".seg").filter(|n| n.len() >= 8))
            .filter_map(|digits| digits.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Reads a whole segment; a file too long to be one counts as having no header.
    pub(crate) fn load(&self, number: u32) -> Result<Loaded, SpoolError> {
        let file = self.open(number)?;
        let reading = "reading a segment";
        let len = file.len_bytes().map_err(SpoolError::io(reading))?;
        // Twice the limit: a group may have been begun just below it.
        let len = usize::try_from(len.min(2 * SEGMENT_LIMIT)).unwrap_or(0);
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match file.read_at(filled as u64, &mut bytes[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(SpoolError::io(reading)(e)),
            }
        }
        bytes.truncate(filled);
        let header = match read_header(&bytes) {
            ReadHeader::Good { header, .. } if header.number != number => ReadHeader::Bad,
            ReadHeader::Newer(version) => {
                return Err(SpoolError::NewerFormat { segment: number, version });
            }
            other => other,
        };
        if let ReadHeader::Good { header, .. } = header {
            self.seeds().insert(number, header.seed);
        }
        Ok(Loaded { bytes, header })
    }

    /// The checkpoint with which the last process that wrote to this segment said goodbye, when it
    /// is the very last thing in it, and where it lies. It is a write of its own, so everything
    /// before it was synced and nothing needs to be read to know that.
    pub(crate) fn goodbye(
        &self,
        number: u32,
        file: &dyn DiskFile,
    ) -> Result<Option<(SegmentHeader, Checkpoint, Range<usize>)>, SpoolError> {
        let reading = || SpoolError::io("reading the end of a segment");
        let len = file.len_bytes().map_err(reading())?;
        let Some(seed) = self.seed(number, file)? else { return Ok(None) };
        let from = len.saturating_sub(GOODBYE_MAX as u64).max(RECORDS_FROM as u64);
        let (Ok(len), Ok(from)) = (usize::try_from(len), usize::try_from(from)) else {
            return Ok(None);
        };
        let mut tail = vec![0; len.saturating_sub(from)];
        match file.read_exact_at(from as u64, &mut tail) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(reading()(e)),
        }
        for at in 0..tail.len() {
            if let At::Record(found) = look(&tail, seed, from + at, at)
                && found.end() == tail.len()
                && found.flags & (WRITE | BEGIN | MORE) == WRITE | BEGIN
                && let Record::Checkpoint(checkpoint) =
                    decode(found.kind, found.version, found.body(&tail))
            {
                return Ok(Some((SegmentHeader { number, seed }, checkpoint, from + at..len)));
            }
        }
        Ok(None)
    }

    /// Reads one record; `Ok(None)` when its segment is gone (compaction moved the record).
    pub(crate) fn record(&self, at: Location) -> Result<Option<(Record, Vec<u8>)>, SpoolError> {
        let damaged =
            SpoolError::DamagedRecord { segment: at.segment, offset: u64::from(at.offset) };
        let file = match self.disk.open(&Self::path(at.segment)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(SpoolError::io("opening a segment")(e)),
        };
        let Some(seed) = self.seed(at.segment, &*file)? else { return Err(damaged) };
        let len = usize::try_from(at.len).unwrap_or(0);
        let offset = usize::try_from(at.offset).unwrap_or(0);
        if len < HEAD_LEN + CHECK_LEN || u64::from(at.len) > SEGMENT_LIMIT {
            return Err(damaged);
        }
        let mut bytes = vec![0; len];
        match file.read_exact_at(u64::from(at.offset), &mut bytes) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged),
            Err(e) => return Err(SpoolError::io("reading a record")(e)),
        }
        let At::Record(found) = look(&bytes, seed, offset, 0) else { return Err(damaged) };
        if found.end() != len {
            return Err(damaged);
        }
        bytes.truncate(len - CHECK_LEN);
        bytes.drain(..HEAD_LEN);
        Ok(Some((decode(found.kind, found.version, &bytes), bytes)))
    }

    /// A segment's seed, when its header can be read.
    pub(crate) fn seed_of(&self, number: u32) -> Result<Option<u64>, SpoolError> {
        let file = self.open(number)?;
        self.seed(number, &*file)
    }

    fn seed(&self, number: u32, file: &dyn DiskFile) -> Result<Option<u64>, SpoolError> {
        if let Some(seed) = self.seeds().get(&number) {
            return Ok(Some(*seed));
        }
        let mut start = vec![0; RECORDS_FROM];
        match file.read_exact_at(0, &mut start) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(SpoolError::io("reading a segment's header")(e)),
        }
        match read_header(&start) {
            ReadHeader::Good { header, .. } if header.number == number => {
                self.seeds().insert(number, header.seed);
                Ok(Some(header.seed))
            }
            _ => Ok(None),
        }
    }

    /// Forgets a segment that was removed or replaced.
    pub(crate) fn forget(&self, number: u32) {
        self.seeds().remove(&number);
    }

    fn open(&self, number: u32) -> Result<Box<dyn DiskFile>, SpoolError> {
        self.disk.open(&Self::path(number)).map_err(SpoolError::io("opening a segment"))
    }

    fn seeds(&self) -> std::sync::MutexGuard<'_, HashMap<u32, u64>> {
        self.seeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Location {
    /// Where a record found in a segment lies; `None` only for offsets no segment has.
    pub(crate) fn of(segment: u32, found: &Found) -> Option<Self> {
        Some(Self {
            segment,
            offset: u32::try_from(found.offset).ok()?,
            len: u32::try_from(found.end() - found.offset).ok()?,
        })
    }
}
