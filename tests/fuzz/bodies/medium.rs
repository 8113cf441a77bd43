//! What lies on a medium: containers, notes, the volume's marker, names.

use postrider_engine::parcel::{
    CONTAINER_RECORDS_MAX, Container, Contents, FileNumber, Found, Notes, Rest, VolumeId,
    file_kind, rest_bytes,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::seeds::VOLUME;

const SALT: [u8; 8] = [7; 8];

pub fn container(data: &[u8]) -> bool {
    let Ok(container) = Container::open(&data) else { return false };
    let mut left = data.len() as u64;
    for entry in container.listed().unwrap_or_default() {
        left = left.checked_sub(entry.record_bytes).expect("records lie inside their container");
    }
    let listed = whole_bodies(&container, container.contents(|_| true), data.len());
    let walked = whole_bodies(&container, container.contents_by_walk(), data.len());
    if container.listed().is_some() {
        assert!(container.contents(|_| false).next().is_none(), "unwanted records come");
    }
    listed > 0 || walked > 0
}

/// Reads every body there is; returns how many were whole.
fn whole_bodies<W>(container: &Container<'_>, contents: Contents<'_, W>, file_bytes: usize) -> usize
where
    W: FnMut(&postrider_base::BundleId) -> bool,
{
    let (mut whole, mut answers, mut body_bytes, mut at) = (0, 0, 0, 0);
    for content in contents {
        answers += 1;
        assert!(answers <= 2 * CONTAINER_RECORDS_MAX + 2, "the way through does not end");
        match content.expect("memory cannot fail") {
            Ok(Found { record, .. }) => {
                assert!(record.offset >= at, "records overlap");
                at = record.end();
                assert!(at <= file_bytes as u64, "a record outside the file");
                let (mut body, mut chunk) = (container.body(&record), [0; 4096]);
                let mut read = 0;
                let checked = loop {
                    match body.read(&mut chunk) {
                        Ok(0) => break true,
                        Ok(n) => read += n as u64,
                        Err(_) => break false,
                    }
                };
                body_bytes += read;
                if checked {
                    assert_eq!(read, record.body_bytes);
                    whole += 1;
                }
            }
            Err(damage) => {
                assert!(damage.offset >= at, "damage where a record was found");
                at = damage.offset.saturating_add(damage.len_bytes);
            }
        }
    }
    assert!(body_bytes <= file_bytes as u64, "bytes were read twice");
    whole
}

/// A container by somebody who knows how to make the checks: the input says where it lies.
///
/// ```text
/// 0 n m  head and body of that many bytes        1 n m L  the same, with a length of 8 bytes
/// 2 n    n bytes of anything                     3 D      the trailer's next entry says D more
/// ```
pub fn forged_container(data: &[u8]) -> bool {
    let key = blake3::derive_key("postrider 2026 container check v1", &SALT);
    let check = |parts: &[&[u8]]| {
        let mut hasher = blake3::Hasher::new_keyed(&key);
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize().as_bytes()[..8].to_vec()
    };
    let mut script = Script(data);
    let mut file = [b"PRC1", &SALT[..]].concat();
    let (mut entries, mut count, mut lie) = (Vec::new(), 0_u32, 0_u64);
    while !script.0.is_empty() {
        let operation = script.byte() % 4;
        match operation {
            0 | 1 => {
                let length = usize::from(script.byte()).max(1);
                let head = script.bytes(length);
                let length = usize::from(script.byte());
                let body = script.bytes(length);
                let stated = if operation == 0 { body.len() as u64 } else { script.number() };
                let start = file.len();
                let mut fixed = b"PRR1\x01\x00\x00\x00\x00\x09".to_vec();
                fixed.extend(u16::try_from(head.len()).unwrap().to_be_bytes());
                fixed.extend(stated.to_be_bytes());
                fixed.extend(check(&[&fixed, &head]));
                file.extend(fixed);
                file.extend(head);
                file.extend(body);
                let sum = xxh3_64_with_seed(&file[start..], u64::from_be_bytes(SALT));
                file.extend(sum.to_be_bytes());
                entries.extend(blake3::hash(&count.to_be_bytes()).as_bytes());
                entries.extend(((file.len() - start) as u64).wrapping_add(lie).to_be_bytes());
                entries.extend([160, 20]);
                (count, lie) = (count + 1, 0);
            }
            2 => {
                let length = usize::from(script.byte());
                let bytes = script.bytes(length);
                file.extend(bytes);
            }
            _ => lie = script.number(),
        }
    }
    let front = [&b"PRX1"[..], &count.to_be_bytes()].concat();
    let sum = check(&[&front, &entries, &SALT]);
    let length = u32::try_from(32 + entries.len()).unwrap().to_be_bytes();
    file.extend([&front[..], &entries, &SALT, &sum, &length, b"PRCE"].concat());
    container(&file)
}

pub fn rest(data: &[u8]) -> bool {
    let Ok(rest) = Rest::open(&data) else { return false };
    let left = rest.body_bytes.checked_sub(rest.offset).expect("it begins inside");
    assert!(rest.offset > 0 && left > 0);
    assert_eq!(rest_bytes(rest.head.len(), rest.body_bytes, rest.offset), data.len() as u64);
    let (mut body, mut chunk, mut read) = (rest.body(), [0; 4096], 0);
    loop {
        match body.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => read += n as u64,
            Err(_) => return false,
        }
    }
    assert_eq!(read, left);
    true
}

/// A rest by somebody who knows how to make the checks: the fields behind the salt, then head and bytes.
pub fn forged_rest(data: &[u8]) -> bool {
    let Some((fields, behind)) = data.split_first_chunk::<24>() else { return false };
    let head_bytes = usize::from(u16::from_be_bytes([fields[6], fields[7]]));
    let head = &behind[..head_bytes.min(behind.len())];
    let key = blake3::derive_key("postrider 2026 rest check v1", &SALT);
    let mut file = [b"PRT1", &SALT[..], fields].concat();
    let check = blake3::keyed_hash(&key, &[&file, head].concat());
    file.extend(&check.as_bytes()[..8]);
    file.extend(behind);
    let sum = xxh3_64_with_seed(&file, u64::from_be_bytes(SALT));
    file.extend(sum.to_be_bytes());
    rest(&file)
}

pub fn notes(data: &[u8]) -> bool {
    let Ok(notes) = Notes::decode(VOLUME, data) else { return false };
    // Marks that stand twice collapse; after that the bytes are fixed.
    let bytes = notes.encode();
    assert_eq!(Notes::decode(VOLUME, &bytes).as_ref(), Ok(&notes));
    assert!(bytes.len() <= data.len());
    let merged = Notes::merge(VOLUME, &[notes.clone(), notes.clone()]);
    assert_eq!(merged.receipts().count(), notes.receipts().count());
    true
}

/// The content of notes; the check, which anybody can make, is added.
pub fn forged_notes(data: &[u8]) -> bool {
    let key = blake3::derive_key("postrider 2026 parcel check v1", VOLUME.as_bytes());
    let check = blake3::keyed_hash(&key, data);
    notes(&[data, &check.as_bytes()[..8]].concat())
}

pub fn volume(data: &[u8]) -> bool {
    let Some(volume) = VolumeId::decode(data) else { return false };
    assert_eq!(volume.encode()[..], *data);
    true
}

pub fn file_name(data: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(data) else { return false };
    let Some((number, kind)) = file_kind(name) else { return false };
    let FileNumber(_) = number;
    assert_eq!(number.name(kind), name);
    true
}

/// Input read as instructions; zeros when it ends.
pub(super) struct Script<'a>(pub(super) &'a [u8]);

impl Script<'_> {
    pub(super) fn byte(&mut self) -> u8 {
        self.bytes(1)[0]
    }

    pub(super) fn number(&mut self) -> u64 {
        self.bytes(8).iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let (now, later) = self.0.split_at(length.min(self.0.len()));
        self.0 = later;
        let mut out = now.to_vec();
        out.resize(length, 0);
        out
    }
}
