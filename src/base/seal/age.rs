//! The age seal: the age v1 file format with X25519 recipients, streaming.
//!
//! age has no associated data, so `compose` puts a hash of the header's core first inside. The
//! library draws the file key and ephemerals from the system's randomness itself.

use std::io::{self, Read, Write};

use age::x25519;

use super::SealError;
use crate::key::{SealPublic, SealSecret};

/// Nobody needs a header longer than this (a recipient takes some 100 bytes; the format allows at
/// most 64 recipients). Beyond it a hostile header could make the parser read a whole payload.
const HEADER_MAX: usize = 16 * 1024;

/// A writer that seals what is written into it.
pub type SealWriter<W> = age::stream::StreamWriter<W>;
/// A reader of what was sealed: the file's start was read ahead to bound it.
pub type SealReader<R> = age::stream::StreamReader<io::Chain<io::Cursor<Vec<u8>>, R>>;

/// Starts an age file to `recipients` in `out`. The writer must be finished to be complete.
pub fn seal_to<W: Write>(recipients: &[SealPublic], out: W) -> io::Result<SealWriter<W>> {
    let recipients = recipients
        .iter()
        .map(|key| key.to_string().parse::<x25519::Recipient>())
        .collect::<Result<Vec<_>, _>>()
        .map_err(io::Error::other)?;
    age::Encryptor::with_recipients(recipients.iter().map(|r| r as &dyn age::Recipient))
        .map_err(io::Error::other)?
        .wrap_output(out)
}

/// Opens an age file with whichever of `keys` fits.
///
/// A truncated or damaged file yields an error while reading, possibly after plaintext has been
/// given out: use nothing before the end was reached without one.
pub fn open_with<R: Read>(keys: &[SealSecret], mut input: R) -> Result<SealReader<R>, SealError> {
    let start = read_header(&mut input).map_err(|_| SealError)?;
    let identities: Vec<x25519::Identity> = keys
        .iter()
        .map(|key| key.to_age_text().parse())
        .collect::<Result<_, _>>()
        .map_err(|_| SealError)?;
    age::Decryptor::new(io::Cursor::new(start).chain(input))
        .map_err(|_| SealError)?
        .decrypt(identities.iter().map(|i| i as &dyn age::Identity))
        .map_err(|_| SealError)
}

/// Reads until the header's last line has begun, so that the parser never sees an endless one.
fn read_header(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(512);
    let mut chunk = [0; 512];
    loop {
        let got = input.read(&mut chunk)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let from = start.len().saturating_sub(4);
        start.extend_from_slice(&chunk[..got]);
        if start[from..].windows(5).any(|w| w == b"\n--- ") {
            return Ok(start);
        }
        if start.len() > HEADER_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::NodeSecret;

    fn keys(n: u8) -> SealSecret {
        NodeSecret::from_seed([n; 32]).first_seal_key()
    }

    fn sealed(plain: &[u8]) -> Vec<u8> {
        let mut writer = seal_to(&[keys(2).public()], Vec::new()).unwrap();
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn opens_with_any_of_several_keys() {
        let file = sealed(&[7; 200_000]);
        let mut plain = Vec::new();
        let mut reader = open_with(&[keys(1), keys(2)], &file[..]).unwrap();
        reader.read_to_end(&mut plain).unwrap();
        assert_eq!(plain, [7; 200_000]);
        assert!(open_with(&[keys(1)], &file[..]).is_err());
    }

    #[test]
    fn truncation_is_an_error_at_the_end() {
        let file = sealed(&[7; 200_000]);
        for cut in [file.len() - 1, file.len() - 20, 70_000, 300] {
            let read = open_with(&[keys(2)], &file[..cut])
                .ok()
                .map(|mut reader| reader.read_to_end(&mut Vec::new()));
            assert!(!matches!(read, Some(Ok(_))), "cut at {cut}");
        }
    }

    #[test]
    fn an_endless_header_is_refused_early() {
        let mut endless = b"age-encryption.org/v1\n".to_vec();
        endless.extend_from_slice(b"-> x AAAA\n\n".repeat(1 << 20).as_slice());
        let mut input = &endless[..];
        assert!(open_with(&[keys(2)], &mut input).is_err());
        assert!(endless.len() - input.len() < 2 * HEADER_MAX, "stopped reading early");
    }
}
