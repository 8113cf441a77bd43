//! The trailer: what a container says of itself, at its end, in one read.

use std::io;

use super::{
    CONTAINER_RECORDS_MAX, HEADER_BYTES, Keys, ReadAt, Salt,
    record::{RECORD_MAX_BYTES, RECORD_MIN_BYTES},
};
use postrider_base::{BundleId, Lifetime, Niceness};

/// Begins the trailer, where a record would begin otherwise.
pub(super) const MAGIC: [u8; 4] = *b"PRX1";
const END_MAGIC: [u8; 4] = *b"PRCE";

/// One entry: id 32, record length 8, niceness 1, lifetime class 1.
pub(in crate::parcel) const ENTRY_BYTES: u64 = 42;
/// The rest: magic 4, count 4, salt 8, check 8, length 4, end magic 4.
pub(in crate::parcel) const TRAILER_FIXED_BYTES: u64 = 32;
/// What stands before the entries, and after them.
const FRONT_BYTES: usize = 8;
const BACK_BYTES: usize = 24;

/// Read at once from the end: the trailers of up to 1,500 bundles fit.
const FIRST_READ_BYTES: u64 = 64 * 1024;
/// The least that says how long the trailer is.
const LAST_READ_BYTES: u64 = 8;

/// A lifetime to the next power of two: enough to see what will soon be worthless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LifetimeClass(u8);

impl LifetimeClass {
    /// The class of a lifetime: the smallest `c` with `lifetime <= 2^c` seconds, 0 to 32.
    pub const fn of(lifetime: Lifetime) -> Self {
        let bits = u32::BITS - (lifetime.seconds() - 1).leading_zeros();
        #[allow(clippy::cast_possible_truncation, reason = "at most 32")]
        Self(bits as u8)
    }

    /// The longest lifetime of the class, in seconds.
    pub const fn longest_s(self) -> u64 {
        1 << self.0
    }
}

/// What the trailer says of one bundle. A hint until the bundle verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bundle's id.
    pub id: BundleId,
    /// Where its record begins.
    pub offset: u64,
    /// How long its record is.
    pub record_bytes: u64,
    /// Its niceness.
    pub nice: Niceness,
    /// How long it lives, roughly.
    pub lifetime: LifetimeClass,
}

pub(super) fn encode(keys: &Keys, entries: &[Entry]) -> Option<Vec<u8>> {
    let count = u32::try_from(entries.len()).ok()?;
    let length = TRAILER_FIXED_BYTES + ENTRY_BYTES * u64::from(count);
    let mut out = Vec::with_capacity(usize::try_from(length).ok()?);
    out.extend(MAGIC);
    out.extend(count.to_be_bytes());
    for entry in entries {
        out.extend(entry.id.0);
        out.extend(entry.record_bytes.to_be_bytes());
        out.extend([entry.nice.value(), entry.lifetime.0]);
    }
    out.extend(keys.salt.0);
    out.extend(keys.check(&[&out]));
    out.extend(u32::try_from(length).ok()?.to_be_bytes());
    out.extend(END_MAGIC);
    Some(out)
}

/// A trailer that fits its container.
pub(super) struct Trailer {
    pub(super) keys: Keys,
    pub(super) entries: Vec<Entry>,
    /// Where it begins, and the records end.
    pub(super) offset: u64,
}

/// Reads the trailer of a container of `file_bytes`; `None` when it has none that holds.
pub(super) fn read(source: &dyn ReadAt, file_bytes: u64) -> io::Result<Option<Trailer>> {
    // One read for most containers; when that hits a bad sector, which may lie in the records
    // before, exactly what is needed.
    match read_from(source, file_bytes, FIRST_READ_BYTES) {
        Err(_) => read_from(source, file_bytes, LAST_READ_BYTES),
        answer => answer,
    }
}

fn read_from(
    source: &dyn ReadAt,
    file_bytes: u64,
    first_bytes: u64,
) -> io::Result<Option<Trailer>> {
    let Some(mut bytes) = last_bytes(source, file_bytes, file_bytes.min(first_bytes))? else {
        return Ok(None);
    };
    let Some(length) = stated_length(&bytes, file_bytes) else { return Ok(None) };
    if length > bytes.len() as u64 {
        // Bounded by the greatest count, so by 2.7 MB.
        match last_bytes(source, file_bytes, length)? {
            Some(all) => bytes = all,
            None => return Ok(None),
        }
    }
    let start = usize::try_from(bytes.len() as u64 - length).map_err(io::Error::other)?;
    Ok(decode(&bytes[start..], file_bytes - length))
}

fn last_bytes(source: &dyn ReadAt, file_bytes: u64, length: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    let got = source.read_full_at(file_bytes - length, &mut bytes)?;
    Ok((got == bytes.len()).then_some(bytes))
}

/// The length that the last bytes state, if a trailer of that length can be.
fn stated_length(bytes: &[u8], file_bytes: u64) -> Option<u64> {
    let (rest, end) = bytes.split_last_chunk::<4>()?;
    let (_, length) = rest.split_last_chunk::<4>()?;
    let length = u64::from(u32::from_be_bytes(*length));
    let entries_bytes = length.checked_sub(TRAILER_FIXED_BYTES)?;
    let possible = *end == END_MAGIC
        && entries_bytes % ENTRY_BYTES == 0
        && (1..=CONTAINER_RECORDS_MAX as u64).contains(&(entries_bytes / ENTRY_BYTES))
        && length <= file_bytes.saturating_sub(HEADER_BYTES);
    possible.then_some(length)
}

/// Decodes a trailer that begins at `offset`, where the records must end exactly.
fn decode(bytes: &[u8], offset: u64) -> Option<Trailer> {
    let (front, rest) = bytes.split_first_chunk::<FRONT_BYTES>()?;
    let (entry_bytes, back) = rest.split_last_chunk::<BACK_BYTES>()?;
    let (magic, count) = front.split_first_chunk::<4>()?;
    let count = u64::from(u32::from_be_bytes(*count.first_chunk()?));
    let (salt, back) = back.split_first_chunk::<8>()?;
    let keys = Keys::new(Salt(*salt));
    let check = keys.check(&[front, entry_bytes, salt]);
    // The count is compared, never used to allocate: what there is to read is already in memory.
    if *magic != MAGIC || count * ENTRY_BYTES != entry_bytes.len() as u64 || back[..8] != check {
        return None;
    }
    let mut entries = Vec::with_capacity(entry_bytes.len() / 42);
    let mut at = HEADER_BYTES;
    for bytes in entry_bytes.chunks_exact(42) {
        let entry = decode_entry(bytes, at)?;
        at = at.checked_add(entry.record_bytes)?;
        entries.push(entry);
    }
    (at == offset).then_some(Trailer { keys, entries, offset })
}

fn decode_entry(bytes: &[u8], offset: u64) -> Option<Entry> {
    let (id, rest) = bytes.split_first_chunk::<32>()?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let [nice, lifetime] = *rest.first_chunk()?;
    let record_bytes = u64::from_be_bytes(*length);
    let possible = (RECORD_MIN_BYTES..=RECORD_MAX_BYTES).contains(&record_bytes) && lifetime <= 32;
    possible.then_some(Entry {
        id: BundleId(*id),
        offset,
        record_bytes,
        nice: Niceness::new(nice)?,
        lifetime: LifetimeClass(lifetime),
    })
}
