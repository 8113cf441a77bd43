//! Writing a container: which bytes go around the bodies, in order.

use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use super::{
    CONTAINER_RECORDS_MAX, Entry, HEADER_BYTES, HEADER_MAGIC, Keys, LifetimeClass, Record, Salt,
    record::record_bytes, trailer,
};
use postrider_base::{
    BundleId, Lifetime, Niceness,
    bundle::{HEAD_MAX, Hop, PAYLOAD_MAX},
};

/// A bundle about to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Its id; names it when the record is found damaged.
    pub id: BundleId,
    /// Its niceness.
    pub nice: Niceness,
    /// Its lifetime.
    pub lifetime: Lifetime,
    /// Its hop data as of now. The token count is written as 1 whatever it says: a stick can be
    /// copied.
    pub hop: Hop,
    /// The envelope without its payload.
    pub head: &'a [u8],
    /// The length of the payload.
    pub body_bytes: u64,
}

/// A fault of the caller, never of the medium.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriterError {
    /// The container has all the records that it may have.
    #[error("a container holds at most {CONTAINER_RECORDS_MAX} bundles")]
    Full,
    /// A head or body that no bundle has.
    #[error(
        "no bundle has a head of {head_bytes} bytes and a payload of {body_bytes} (at most \
         {HEAD_MAX} and {PAYLOAD_MAX})"
    )]
    Length {
        /// Length of the head given.
        head_bytes: usize,
        /// Length of the body announced.
        body_bytes: u64,
    },
    /// More or less body than was announced.
    #[error("{got} bytes of a payload of {announced}")]
    Body {
        /// What [`ContainerWriter::begin_record`] was told.
        announced: u64,
        /// What came.
        got: u64,
    },
    /// A call out of order: a record within a record, or a body outside of one.
    #[error("records are begun and ended one after the other")]
    Order,
    /// Nothing was written: an empty container is not worth a file.
    #[error("a container without a bundle")]
    Empty,
}

/// Writes one container; holds 58 bytes for each record and nothing of any body.
///
/// The order of calls: [`header`](Self::header); for each bundle
/// [`begin_record`](Self::begin_record), [`body`](Self::body) as often as it takes,
/// [`end_record`](Self::end_record); then [`finish`](Self::finish). What they return goes to the
/// file in that order, and the chunks of the bodies between.
pub struct ContainerWriter {
    keys: Keys,
    entries: Vec<Entry>,
    position: u64,
    open: Option<Open>,
}

struct Open {
    entry: Entry,
    body_bytes: u64,
    got: u64,
    check: Xxh3,
}

impl ContainerWriter {
    /// Begins a container. The salt must be fresh and random: see the module's documentation.
    pub fn new(salt: Salt) -> Self {
        Self { keys: Keys::new(salt), entries: Vec::new(), position: HEADER_BYTES, open: None }
    }

    /// The first bytes of the file.
    pub fn header(&self) -> [u8; 12] {
        let mut out = [0; 12];
        out[..4].copy_from_slice(&HEADER_MAGIC);
        out[4..].copy_from_slice(&self.keys.salt.0);
        out
    }

    /// Begins a record; what it returns goes before the body.
    pub fn begin_record(&mut self, record: &NewRecord<'_>) -> Result<Vec<u8>, WriterError> {
        if self.open.is_some() {
            return Err(WriterError::Order);
        }
        if self.entries.len() == CONTAINER_RECORDS_MAX {
            return Err(WriterError::Full);
        }
        let hop = Hop { tokens: 1, ..record.hop };
        let front = Record::encode_front(&self.keys, hop, record.head, record.body_bytes).ok_or(
            WriterError::Length { head_bytes: record.head.len(), body_bytes: record.body_bytes },
        )?;
        let entry = Entry {
            id: record.id,
            offset: self.position,
            record_bytes: record_bytes(record.head.len(), record.body_bytes),
            nice: record.nice,
            lifetime: LifetimeClass::of(record.lifetime),
        };
        let mut check = self.keys.record_check();
        check.update(&front);
        self.open = Some(Open { entry, body_bytes: record.body_bytes, got: 0, check });
        Ok(front)
    }

    /// Takes note of the next chunk of the body, which the caller writes itself.
    pub fn body(&mut self, chunk: &[u8]) -> Result<(), WriterError> {
        let open = self.open.as_mut().ok_or(WriterError::Order)?;
        open.got = open.got.saturating_add(chunk.len() as u64);
        if open.got > open.body_bytes {
            return Err(WriterError::Body { announced: open.body_bytes, got: open.got });
        }
        open.check.update(chunk);
        Ok(())
    }

    /// Ends a record; what it returns goes after the body.
    pub fn end_record(&mut self) -> Result<[u8; 8], WriterError> {
        let open = self.open.as_ref().ok_or(WriterError::Order)?;
        if open.got != open.body_bytes {
            return Err(WriterError::Body { announced: open.body_bytes, got: open.got });
        }
        let tail = open.check.digest().to_be_bytes();
        self.entries.push(open.entry);
        self.position += open.entry.record_bytes;
        self.open = None;
        Ok(tail)
    }

    /// Gives the open record up, when its body could not be read to the end. The caller goes on
    /// writing at [`position`](Self::position), over what it had written of that record.
    pub fn cancel_record(&mut self) {
        self.open = None;
    }

    /// Where the next record begins, or the trailer.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Records ended so far.
    pub fn records(&self) -> usize {
        self.entries.len()
    }

    /// The last bytes of the file.
    pub fn finish(self) -> Result<Vec<u8>, WriterError> {
        if self.open.is_some() {
            return Err(WriterError::Order);
        }
        if self.entries.is_empty() {
            return Err(WriterError::Empty);
        }
        trailer::encode(&self.keys, &self.entries).ok_or(WriterError::Full)
    }
}
