//! The age seal: the age v1 file format with X25519 recipients, streaming.
//!
//! age has no associated data, so `compose` puts a hash of the header's core first inside. The
//! library draws the file key and ephemerals from the system's randomness itself; it makes and reads
//! headers, and [`stream`] the payload behind them.

use std::{
    cell::Cell,
    collections::HashSet,
    io::{self, Read, Write},
};

use age::{DecryptError, EncryptError, x25519};
use age_core::{
    format::{FileKey, Stanza},
    primitives::hkdf,
    secrecy::ExposeSecret,
};
use zeroize::Zeroizing;

pub use super::stream::{Opener, SealWriter};
use super::{
    SealError,
    stream::{self, Chunks},
};
use crate::key::{SealPublic, SealSecret};

/// Nobody needs a header longer than this (a recipient takes some 100 bytes; the format allows at
/// most 64 recipients). Beyond it a hostile header could make the parser read a whole payload.
const HEADER_MAX: usize = 16 * 1024;
/// What stands behind the `--- ` of a header: 32 bytes in base64, a line feed, the payload's nonce.
const HEADER_END_BYTES: usize = 43 + 1 + NONCE_BYTES;
const NONCE_BYTES: usize = 16;

/// A reader of what was sealed: the file's start was read ahead to bound it.
pub type SealReader<R> = stream::SealReader<io::Chain<io::Cursor<Vec<u8>>, R>>;

/// Starts an age file to `recipients` in `out`. The writer must be finished to be complete.
pub fn seal_to<W: Write>(recipients: &[SealPublic], mut out: W) -> io::Result<SealWriter<W>> {
    let file_key = Cell::new(None);
    let recipients = recipients
        .iter()
        .map(|key| Ok(Noting { of: key.to_string().parse()?, file_key: &file_key }))
        .collect::<Result<Vec<Noting<'_, x25519::Recipient>>, &str>>()
        .map_err(io::Error::other)?;
    let mut start = Vec::with_capacity(512);
    age::Encryptor::with_recipients(recipients.iter().map(|r| r as &dyn age::Recipient))
        .map_err(io::Error::other)?
        .wrap_output(&mut start)?;
    let chunks = chunks(file_key.take(), &start)?;
    out.write_all(&start)?;
    Ok(SealWriter::new(out, chunks))
}

/// Opens an age file with whichever of `keys` fits.
///
/// A truncated or damaged file yields an error while reading, possibly after plaintext has been
/// given out: use nothing before the end was reached without one.
pub fn open_with<R: Read>(keys: &[SealSecret], mut input: R) -> Result<SealReader<R>, SealError> {
    let mut start = read_header(&mut input).map_err(|_| SealError)?;
    let (chunks, at) = open_header(keys, &start)?;
    let rest = start.split_off(at);
    Ok(stream::SealReader::new(io::Cursor::new(rest).chain(input), chunks))
}

/// As [`open_with`], for a file that comes in pieces, the first of which holds all of the header.
/// Also where in it the payload begins.
pub fn open_pieces(keys: &[SealSecret], start: &[u8]) -> Result<(Opener, usize), SealError> {
    let (chunks, at) = open_header(keys, &start[..start.len().min(HEADER_MAX)])?;
    Ok((Opener::new(chunks), at))
}

/// The key of the payload, and where it begins.
fn open_header(keys: &[SealSecret], start: &[u8]) -> Result<(Chunks, usize), SealError> {
    let file_key = Cell::new(None);
    let identities: Vec<Noting<'_, x25519::Identity>> = keys
        .iter()
        .map(|key| Ok(Noting { of: key.to_age_text().parse()?, file_key: &file_key }))
        .collect::<Result<_, &str>>()
        .map_err(|_| SealError)?;
    let mut rest = start;
    // Reads the header and the nonce and nothing more, and compares the header with its MAC.
    age::Decryptor::new(&mut rest)
        .and_then(|file| file.decrypt(identities.iter().map(|i| i as &dyn age::Identity)))
        .map_err(|_| SealError)?;
    let at = start.len() - rest.len();
    let chunks = chunks(file_key.take(), &start[..at]).map_err(|_| SealError)?;
    Ok((chunks, at))
}

/// The key of a payload whose nonce ends `start`.
fn chunks(file_key: Option<Zeroizing<[u8; 16]>>, start: &[u8]) -> io::Result<Chunks> {
    let (Some(file_key), Some((_, nonce))) = (file_key, start.split_last_chunk::<NONCE_BYTES>())
    else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    Chunks::new(&Zeroizing::new(hkdf(nonce, b"payload", &file_key[..])))
}

/// A recipient or an identity that notes the file's key as it passes: the library reads and writes
/// the header, and the payload is ours.
struct Noting<'a, T> {
    of: T,
    file_key: &'a Cell<Option<Zeroizing<[u8; 16]>>>,
}

impl<T> Noting<'_, T> {
    fn note(&self, file_key: &FileKey) {
        self.file_key.set(Some(Zeroizing::new(*file_key.expose_secret())));
    }
}

impl<T: age::Recipient> age::Recipient for Noting<'_, T> {
    fn wrap_file_key(
        &self,
        file_key: &FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        self.note(file_key);
        self.of.wrap_file_key(file_key)
    }
}

impl<T: age::Identity> age::Identity for Noting<'_, T> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        let unwrapped = self.of.unwrap_stanza(stanza);
        if let Some(Ok(file_key)) = &unwrapped {
            self.note(file_key);
        }
        unwrapped
    }
}

/// Reads a header with the nonce behind it, and perhaps more; what is none, not far.
fn read_header(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(1024);
    let mut chunk = [0; 512];
    let mut end = None;
    loop {
        let got = input.read(&mut chunk)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let from = start.len().saturating_sub(4);
        start.extend_from_slice(&chunk[..got]);
        end = end.or_else(|| {
            let mac = start[from..].windows(5).position(|w| w == b"\n--- ")?;
            Some(from + mac + 5 + HEADER_END_BYTES)
        });
        if end.is_some_and(|end| start.len() >= end) {
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

    /// What the library makes of a payload is what is made of it here.
    #[test]
    fn the_library_opens_what_was_sealed_here_and_the_other_way_round() {
        let (key, identity) = (keys(2), keys(2).to_age_text().parse::<x25519::Identity>().unwrap());
        for bytes in [1, 16, 65_535, 65_536, 65_537, 131_072, 200_000] {
            let plain: Vec<u8> = (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let (mut theirs, mut ours) = (Vec::new(), Vec::new());
            let file = sealed(&plain);
            let file = age::Decryptor::new(&file[..]).unwrap();
            let mut reader = file.decrypt([&identity as &dyn age::Identity].into_iter()).unwrap();
            reader.read_to_end(&mut theirs).unwrap();
            let recipient = identity.to_public();
            let recipients = [&recipient as &dyn age::Recipient].into_iter();
            let file = age::Encryptor::with_recipients(recipients).unwrap();
            let mut writer = file.wrap_output(Vec::new()).unwrap();
            writer.write_all(&plain).unwrap();
            let file = writer.finish().unwrap();
            let mut reader = open_with(std::slice::from_ref(&key), &file[..]).unwrap();
            reader.read_to_end(&mut ours).unwrap();
            assert!(theirs == plain && ours == plain, "{bytes} bytes");
        }
    }

    /// As a body comes: in pieces that end anywhere, and with an error in the middle.
    #[test]
    fn pieces_of_any_length_are_one_file_and_an_error_is_final() {
        struct Pieces<'a>(&'a [u8], usize, bool);
        impl Read for Pieces<'_> {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                if self.0.len() < 70_000 && std::mem::take(&mut self.2) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                let n = self.1.min(out.len());
                self.0.read(&mut out[..n])
            }
        }
        let file = sealed(&[7; 200_000]);
        for piece in [1, 700, 65_552] {
            let mut plain = Vec::new();
            let mut reader = open_with(&[keys(2)], Pieces(&file, piece, false)).unwrap();
            reader.read_to_end(&mut plain).unwrap();
            assert_eq!(plain, [7; 200_000], "{piece}");
            let mut reader = open_with(&[keys(2)], Pieces(&file, piece, true)).unwrap();
            assert!(reader.read_to_end(&mut Vec::new()).is_err());
            assert!(reader.read(&mut [0]).is_err(), "what was lost does not come again");
        }
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
