//! The rest of a bundle whose beginning its recipient has from a link that was cut.
//!
//! ```text
//! front   magic, salt, hop data, lengths, offset, head check, head
//! body    the payload from the offset on
//! check   over all before
//! ```
//!
//! One file holds one rest, and is for one node alone: nobody else can do anything with it. Like a
//! container it is written once, and nothing in it is believed before the bundle verifies: its head by
//! itself, its bytes together with those that are there.

use std::io;

use postrider_base::bundle::{HEAD_MAX, Hop, PAYLOAD_MAX};
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use super::{ReadAt, RecordError, Salt, WriterError, volume::first_8};

/// Rests on one medium that a visit looks at, with a read of some hundred bytes and a signature each.
pub const RESTS_MAX: usize = 1024;

const MAGIC: [u8; 4] = *b"PRT1";
/// Before the head: magic 4, salt 8, tokens 1, hops 1, age 4, lengths 2 + 8, offset 8, check 8.
const FIXED_BYTES: usize = 44;
/// What the head check covers of it, beside the head.
const CHECKED_BYTES: usize = 36;
/// The check at the end.
const CHECK_BYTES: usize = 8;

/// How long the file of a rest is; saturates for lengths that no bundle has.
pub const fn rest_bytes(head_bytes: usize, body_bytes: u64, offset: u64) -> u64 {
    let around = (head_bytes as u64).saturating_add((FIXED_BYTES + CHECK_BYTES) as u64);
    body_bytes.saturating_sub(offset).saturating_add(around)
}

/// A rest about to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewRest<'a> {
    /// Hop data of the bundle as of now; its tokens are written as 1: a stick can be copied.
    pub hop: Hop,
    /// The envelope without its payload.
    pub head: &'a [u8],
    /// The length of the whole payload.
    pub body_bytes: u64,
    /// The first byte of it that is written: at least 1, less than the whole.
    pub offset: u64,
}

/// Writes one rest: [`front`](Self::front), then the payload's bytes through [`body`](Self::body), then
/// what [`finish`](Self::finish) returns.
pub struct RestWriter {
    front: Vec<u8>,
    check: Xxh3,
    announced: u64,
    got: u64,
}

impl RestWriter {
    /// Begins one. The salt must be fresh and random.
    pub fn new(salt: Salt, rest: &NewRest<'_>) -> Result<Self, WriterError> {
        let NewRest { hop, head, body_bytes, offset } = *rest;
        let fault = || WriterError::Length { head_bytes: head.len(), body_bytes };
        let head_len = u16::try_from(head.len()).map_err(|_| fault())?;
        let fits = (1..=HEAD_MAX).contains(&head.len()) && body_bytes <= PAYLOAD_MAX;
        if !fits || !(1..body_bytes).contains(&offset) {
            return Err(fault());
        }
        let mut front = Vec::with_capacity(FIXED_BYTES + head.len());
        front.extend(MAGIC);
        front.extend(salt.0);
        front.extend([1, hop.hops]);
        front.extend(hop.age_s.to_be_bytes());
        front.extend(head_len.to_be_bytes());
        front.extend(body_bytes.to_be_bytes());
        front.extend(offset.to_be_bytes());
        let check = head_check(&salt, &front, head);
        front.extend(check);
        front.extend(head);
        let mut check = body_check(&salt);
        check.update(&front);
        Ok(Self { front, check, announced: body_bytes - offset, got: 0 })
    }

    /// The first bytes of the file.
    pub fn front(&self) -> &[u8] {
        &self.front
    }

    /// Takes note of the next bytes of the payload, which go to the file as they are.
    pub fn body(&mut self, chunk: &[u8]) -> Result<(), WriterError> {
        self.got = self.got.saturating_add(chunk.len() as u64);
        if self.got > self.announced {
            return Err(WriterError::Body { announced: self.announced, got: self.got });
        }
        self.check.update(chunk);
        Ok(())
    }

    /// The last bytes of the file.
    pub fn finish(self) -> Result<[u8; CHECK_BYTES], WriterError> {
        if self.got != self.announced {
            return Err(WriterError::Body { announced: self.announced, got: self.got });
        }
        Ok(self.check.digest().to_be_bytes())
    }
}

/// Why a file is not a rest.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RestError {
    /// Its front is not one.
    #[error("it is not the rest of a bundle")]
    Front,
    /// It has more or fewer bytes than its front says.
    #[error("it has {got} bytes and not {stated}")]
    Length {
        /// What its front says.
        stated: u64,
        /// What it has.
        got: u64,
    },
    /// The medium could not be read.
    #[error(transparent)]
    Read(#[from] io::Error),
}

/// The front of a rest, whose head check and length held. The bundle is not to be believed before it
/// verifies.
pub struct Rest<'a> {
    source: &'a dyn ReadAt,
    salt: Salt,
    front: Vec<u8>,
    /// Hop data, as stated; believed only within bounds.
    pub hop: Hop,
    /// The envelope without its payload.
    pub head: Vec<u8>,
    /// The length of the whole payload.
    pub body_bytes: u64,
    /// The first byte of it that is here.
    pub offset: u64,
}

impl<'a> Rest<'a> {
    /// Reads the front of a file.
    pub fn open(source: &'a dyn ReadAt) -> Result<Self, RestError> {
        let mut front = vec![0; FIXED_BYTES + HEAD_MAX];
        let n = source.read_full_at(0, &mut front)?;
        front.truncate(n);
        let rest = Self::decode(source, front).ok_or(RestError::Front)?;
        let stated = rest_bytes(rest.head.len(), rest.body_bytes, rest.offset);
        let got = source.len_bytes()?;
        if stated != got {
            return Err(RestError::Length { stated, got });
        }
        Ok(rest)
    }

    fn decode(source: &'a dyn ReadAt, mut front: Vec<u8>) -> Option<Self> {
        let fixed: &[u8; FIXED_BYTES] = front.first_chunk()?;
        let (checked, check) = fixed.split_at(CHECKED_BYTES);
        let (magic, rest) = checked.split_first_chunk::<4>()?;
        let (salt, rest) = rest.split_first_chunk::<8>()?;
        let ([tokens, hops], rest) = rest.split_first_chunk::<2>()?;
        let (age, rest) = rest.split_first_chunk::<4>()?;
        let (head_len, rest) = rest.split_first_chunk::<2>()?;
        let (body_len, rest) = rest.split_first_chunk::<8>()?;
        let offset = u64::from_be_bytes(*rest.first_chunk()?);
        let head_len = usize::from(u16::from_be_bytes(*head_len));
        let body_bytes = u64::from_be_bytes(*body_len);
        let fits = (1..=HEAD_MAX).contains(&head_len) && body_bytes <= PAYLOAD_MAX;
        if *magic != MAGIC || !fits || !(1..body_bytes).contains(&offset) {
            return None;
        }
        let salt = Salt(*salt);
        let head = front.get(FIXED_BYTES..FIXED_BYTES + head_len)?.to_vec();
        if head_check(&salt, checked, &head) != *check {
            return None;
        }
        let hop = Hop { tokens: *tokens, hops: *hops, age_s: u32::from_be_bytes(*age), level: 0 };
        front.truncate(FIXED_BYTES + head_len);
        Some(Self { source, salt, front, hop, head, body_bytes, offset })
    }

    /// The payload from the offset on.
    pub fn body(&self) -> RestBody<'_> {
        let mut check = body_check(&self.salt);
        check.update(&self.front);
        let (at, left) = (self.front.len() as u64, self.body_bytes - self.offset);
        RestBody { source: self.source, check, at, left }
    }
}

/// The bytes of a rest, read in chunks of the caller's size.
pub struct RestBody<'a> {
    source: &'a dyn ReadAt,
    check: Xxh3,
    at: u64,
    left: u64,
}

impl RestBody<'_> {
    /// Reads the next bytes. 0 for a non-empty `out` means the end, and comes only after the check over
    /// the whole file held; until then nothing that was read may be kept for good.
    pub fn read(&mut self, out: &mut [u8]) -> Result<usize, RecordError> {
        if self.left == 0 {
            let mut stated = [0; CHECK_BYTES];
            let whole = self.source.read_full_at(self.at, &mut stated)? == CHECK_BYTES;
            let holds = whole && stated == self.check.digest().to_be_bytes();
            return if holds { Ok(0) } else { Err(RecordError::Damaged) };
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
}

/// Nobody who does not know the salt can make one.
fn head_check(salt: &Salt, checked: &[u8], head: &[u8]) -> [u8; 8] {
    let key = blake3::derive_key("postrider 2026 rest check v1", &salt.0);
    first_8(&blake3::Hasher::new_keyed(&key).update(checked).update(head).finalize())
}

/// Against rot alone: the bundle's own hash finds everything else.
fn body_check(salt: &Salt) -> Xxh3 {
    Xxh3::with_seed(u64::from_be_bytes(salt.0))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const HOP: Hop = Hop { tokens: 9, hops: 3, age_s: 70, level: 0 };

    fn file(salt: [u8; 8], head: &[u8], body: &[u8], offset: usize) -> Vec<u8> {
        let new = NewRest { hop: HOP, head, body_bytes: body.len() as u64, offset: offset as u64 };
        let mut writer = RestWriter::new(Salt(salt), &new).unwrap();
        let mut file = writer.front().to_vec();
        for chunk in body[offset..].chunks(7) {
            writer.body(chunk).unwrap();
            file.extend(chunk);
        }
        file.extend(writer.finish().unwrap());
        file
    }

    /// Hop data, head, whole length, offset, and the bytes from there on.
    type Read = (Hop, Vec<u8>, u64, u64, Vec<u8>);

    /// All of a file, or `None` where anything is wrong.
    fn read(file: &[u8]) -> Option<Read> {
        let rest = Rest::open(&file).ok()?;
        let (mut body, mut bytes, mut chunk) = (rest.body(), Vec::new(), [0; 11]);
        loop {
            match body.read(&mut chunk).ok()? {
                0 => return Some((rest.hop, rest.head, rest.body_bytes, rest.offset, bytes)),
                n => bytes.extend(&chunk[..n]),
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_no_change_of_it_is(
            salt: [u8; 8],
            head in vec(any::<u8>(), 1..=HEAD_MAX),
            body in vec(any::<u8>(), 2..300),
            at: usize,
            bit in 0_u8..8,
        ) {
            let offset = 1 + at % (body.len() - 1);
            let file = file(salt, &head, &body, offset);
            let (whole, from) = (body.len() as u64, offset as u64);
            prop_assert_eq!(file.len() as u64, rest_bytes(head.len(), whole, from));
            let hop = Hop { tokens: 1, ..HOP };
            let rest = body[offset..].to_vec();
            prop_assert_eq!(read(&file), Some((hop, head, whole, from, rest)));
            let place = at % file.len();
            prop_assert_eq!(read(&file[..place]), None, "cut");
            prop_assert_eq!(read(&[&file[..], &[0]].concat()), None, "longer");
            let mut flipped = file;
            flipped[place] ^= 1 << bit;
            prop_assert_eq!(read(&flipped), None, "flipped");
        }

        #[test]
        fn noise_never_panics(mut bytes in vec(any::<u8>(), 0..700), magic: bool) {
            if magic && bytes.len() > 4 {
                bytes[..4].copy_from_slice(&MAGIC);
            }
            prop_assert_eq!(read(&bytes), None);
        }
    }

    #[test]
    fn no_rest_is_written_that_would_not_be_read() {
        for (head, body_bytes, offset) in [
            (0, 10, 1),
            (HEAD_MAX + 1, 10, 1),
            (1, 10, 0),
            (1, 10, 10),
            (1, 10, u64::MAX),
            (1, PAYLOAD_MAX + 1, 1),
            (1, u64::MAX, 1),
        ] {
            let head = vec![0; head];
            let new = NewRest { hop: HOP, head: &head, body_bytes, offset };
            assert!(RestWriter::new(Salt([0; 8]), &new).is_err(), "{new:?}");
        }
        let new = NewRest { hop: HOP, head: &[1], body_bytes: 10, offset: 4 };
        let mut writer = RestWriter::new(Salt([0; 8]), &new).unwrap();
        assert!(writer.body(&[0; 7]).is_err());
        let mut writer = RestWriter::new(Salt([0; 8]), &new).unwrap();
        writer.body(&[0; 5]).unwrap();
        assert!(writer.finish().is_err());
    }
}
