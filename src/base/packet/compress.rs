//! Compression of one packet at a time, with the shipped dictionary and a hard cap on the output.
//!
//! A compressed body is a zstd frame (RFC 8878) without magic, dictionary id or checksum: the packet
//! already names the format and the seal checks the bytes. Its header states the content size, which
//! is compared with the cap before anything is allocated.
//!
//! A short body is the one block of such a frame, without frame and block header: these five bytes
//! decide whether a text of a hundred letters fits a radio frame. The first byte tells which it is.

use std::{
    io::{self, BufReader, Read, Write},
    sync::LazyLock,
};

use zstd::{
    dict::{DecoderDictionary, EncoderDictionary},
    zstd_safe::{CParameter, DParameter, FrameFormat},
};

use super::PacketError;

/// Dictionary 1, trained on short messages in several languages (see `dict/README.md`). Frozen:
/// every node of version 1 has it.
const DICTIONARY: &[u8] = include_bytes!("../dict/postrider-1.dict");

/// Level for bodies. Building the dictionary's tables dominates a process that sends one message;
/// level 3 keeps that near 0.2 ms.
const LEVEL: i32 = 3;
/// Level that is tried as well where that may save a size class, which counts more than the millisecond
/// that its tables take: on 80 texts of 100 characters it saves 1.8 bytes of 60, and 4 of the longest.
const SHORT_LEVEL: i32 = 19;
/// The longest bodies that fit the classes 178, 202 and 210 of a hidden bundle, with a long counter.
const FIT: [usize; 3] = [40, 64, 72];
/// What that level saves at most of such a body.
const SAVES: usize = 8;

/// A block without its frame yields at most this much: the least window of a frame, which that block
/// is given back for decoding.
const SHORT_MAX: usize = 1024;

/// Compresses a body, or `None` when that would not make it smaller.
pub(super) fn compress(plain: &[u8]) -> Option<Vec<u8>> {
    let packed = compressor(&PACKING).ok()?.compress(plain).ok()?;
    let packed = if plain.len() <= SHORT_MAX { short(plain, packed)? } else { packed };
    (packed.len() < plain.len()).then_some(packed)
}

/// A short body from its frame, or better.
fn short(plain: &[u8], frame: Vec<u8>) -> Option<Vec<u8>> {
    let packed = without_frame(frame);
    if FIT.iter().any(|fit| (fit + 1..=fit + SAVES).contains(&packed.len())) {
        let other = without_frame(compressor(&PACKING_SHORT).ok()?.compress(plain).ok()?);
        return [packed, other].into_iter().min_by_key(Vec::len);
    }
    Some(packed)
}

/// The one compressed block of a frame that has just that, if it cannot be taken for a frame; else
/// the frame.
fn without_frame(mut frame: Vec<u8>) -> Vec<u8> {
    if let Some(at) = first_block(&frame)
        && let Some((head, content)) = frame[at..].split_first_chunk::<3>()
        && *head == block_head(content.len())
        && content.first().is_some_and(|first| !begins_frame(*first))
    {
        frame.drain(..at + 3);
    }
    frame
}

/// Whether a body that begins with this byte is a frame: of a frame's descriptor the low five bits
/// are refused unless they are zero. In a block's first byte they are zero only where it has next to
/// no literals.
const fn begins_frame(first: u8) -> bool {
    first & 0x1f == 0
}

/// The header of the last block, compressed to so many bytes (RFC 8878 §3.1.1.2).
const fn block_head(content: usize) -> [u8; 3] {
    let [low, middle, high, ..] = (content << 3 | 2 << 1 | 1).to_le_bytes();
    [low, middle, high]
}

/// Undoes [`compress`]; a body that claims or yields more than `cap` bytes is refused.
pub(super) fn decompress(body: &[u8], cap: usize) -> Result<Vec<u8>, PacketError> {
    if body.first().is_some_and(|first| !begins_frame(*first)) {
        return decompress_block(body, cap);
    }
    let length = content_size(body).ok_or(PacketError::Compression)?;
    let length = usize::try_from(length).map_err(|_| PacketError::Compression)?;
    if length > cap {
        return Err(PacketError::TooLong { limit: cap, got: length });
    }
    // The library would take any number of frames; a body has one spelling less to hide in.
    if frame_len(body) != Some(body.len()) {
        return Err(PacketError::Compression);
    }
    let plain = decompressor()
        .and_then(|mut z| z.decompress(body, length))
        .map_err(|_| PacketError::Compression)?;
    if plain.len() != length {
        return Err(PacketError::Compression);
    }
    Ok(plain)
}

/// Undoes [`without_frame`].
fn decompress_block(block: &[u8], cap: usize) -> Result<Vec<u8>, PacketError> {
    // A block is shorter than what it yields.
    if block.len() >= SHORT_MAX {
        return Err(PacketError::Compression);
    }
    // No single segment, no content size; the least window, which bounds what comes out.
    let frame = [&[0, 0], &block_head(block.len())[..], block].concat();
    decompressor()
        .and_then(|mut z| z.decompress(&frame, cap.min(SHORT_MAX)))
        .map_err(|_| PacketError::Compression)
}

/// The content size that a frame without magic states in its header (RFC 8878 §3.1.1.1); `None`
/// when it states none, or has a checksum, a dictionary id or reserved bits.
fn content_size(frame: &[u8]) -> Option<u64> {
    let (descriptor, rest) = frame.split_first()?;
    let single_segment = descriptor & 0x20 != 0;
    if descriptor & 0x1f != 0 {
        return None;
    }
    // Without a single segment a window descriptor stands between.
    let field = if single_segment { rest } else { rest.get(1..)? };
    let little_endian = |n: usize| {
        let raw = field.get(..n)?;
        Some(raw.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    match descriptor >> 6 {
        0 if single_segment => little_endian(1),
        0 => None,
        1 => little_endian(2).map(|size| size + 256),
        2 => little_endian(4),
        _ => little_endian(8),
    }
}

/// Compresses the raw bytes of a part, or `None` when a sample shows that it would not pay: media
/// and archives do not shrink, and trying costs more than sealing them.
pub fn compress_part(plain: &[u8]) -> Option<Vec<u8>> {
    /// How much is tried first, from the middle, where headers no longer mislead.
    const SAMPLE_BYTES: usize = 64 * 1024;
    // Below a twentieth saved, the work is not worth it.
    let pays = |packed: usize, plain: usize| packed * 20 < plain * 19;
    let start = plain.len().saturating_sub(SAMPLE_BYTES) / 2;
    let sample = &plain[start..plain.len().min(start + SAMPLE_BYTES)];
    if !pays(zstd::bulk::compress(sample, 1).ok()?.len(), sample.len()) {
        return None;
    }
    let packed = zstd::bulk::compress(plain, LEVEL).ok()?;
    pays(packed.len(), plain.len()).then_some(packed)
}

/// How long the frame at the start of these bytes is, by its chain of blocks (RFC 8878 §3.1.1.2).
///
/// Only for frames whose header [`content_size`] has accepted.
fn frame_len(frame: &[u8]) -> Option<usize> {
    let mut at = first_block(frame)?;
    loop {
        let head = frame.get(at..at.checked_add(3)?)?;
        let head = u32::from_le_bytes([head[0], head[1], head[2], 0]);
        let content = match head >> 1 & 3 {
            // A block that repeats one byte holds that byte.
            1 => 1,
            0 | 2 => usize::try_from(head >> 3).ok()?,
            _ => return None,
        };
        at = at.checked_add(3)?.checked_add(content)?;
        if head & 1 == 1 {
            return (at <= frame.len()).then_some(at);
        }
    }
}

/// Where the first block of a frame begins: behind descriptor, window and content size.
fn first_block(frame: &[u8]) -> Option<usize> {
    let descriptor = *frame.first()?;
    let single_segment = descriptor & 0x20 != 0;
    let size_bytes = match descriptor >> 6 {
        0 => usize::from(single_segment),
        width => 1 << width,
    };
    Some(1 + usize::from(!single_segment) + size_bytes)
}

/// Decompresses a part into `out`: `stored` is one zstd frame and nothing else, and yields exactly
/// `plain_bytes`.
pub(crate) fn decompress_part(
    stored: impl Read,
    out: &mut impl Write,
    plain_bytes: u64,
) -> io::Result<()> {
    // A single frame: the library would otherwise go on to the next, and skip those it may skip.
    let mut decoder = zstd::stream::read::Decoder::new(stored)?.single_frame();
    // 2^23 = 8 MiB, the default part: the decoder's window is its only large buffer.
    decoder.window_log_max(23)?;
    let mut capped = Capped { out, left: plain_bytes };
    io::copy(&mut decoder, &mut capped)?;
    let rest: BufReader<_> = decoder.finish();
    if capped.left != 0 || !rest.buffer().is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not the part that was announced"));
    }
    Ok(())
}

/// Passes on at most so many bytes.
struct Capped<W> {
    out: W,
    left: u64,
}

impl<W: Write> Write for Capped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => {
                self.out.write_all(bytes)?;
                self.left = left;
                Ok(bytes.len())
            }
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "more bytes than announced")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The dictionary's tables, made once per process: making them takes longer than a short text.
static PACKING: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(DICTIONARY, LEVEL));
static PACKING_SHORT: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(DICTIONARY, SHORT_LEVEL));
static UNPACKING: LazyLock<DecoderDictionary<'static>> =
    LazyLock::new(|| DecoderDictionary::copy(DICTIONARY));

fn compressor(
    tables: &'static EncoderDictionary<'static>,
) -> io::Result<zstd::bulk::Compressor<'static>> {
    let mut z = zstd::bulk::Compressor::with_prepared_dictionary(tables)?;
    z.set_parameter(CParameter::Format(FrameFormat::Magicless))?;
    z.set_parameter(CParameter::ContentSizeFlag(true))?;
    z.set_parameter(CParameter::DictIdFlag(false))?;
    z.set_parameter(CParameter::ChecksumFlag(false))?;
    Ok(z)
}

fn decompressor() -> io::Result<zstd::bulk::Decompressor<'static>> {
    let mut z = zstd::bulk::Decompressor::with_prepared_dictionary(&UNPACKING)?;
    z.set_parameter(DParameter::Format(FrameFormat::Magicless))?;
    Ok(z)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::TEXT_MAX;

    #[test]
    fn short_texts_shrink_and_come_back() {
        for text in [
            "We are at the school, all safe. Please bring water and blankets tomorrow.",
            "Wir sind in der Schule, alle sind gesund. Bitte morgen Wasser und Decken bringen.",
        ] {
            let packed = compress(text.as_bytes()).expect("dictionary 1 helps");
            assert!(packed.len() * 10 < text.len() * 9, "{} of {}", packed.len(), text.len());
            assert_eq!(decompress(&packed, 1000).unwrap(), text.as_bytes());
        }
        assert_eq!(compress(b"x"), None);
    }

    #[test]
    fn a_short_body_is_a_block_without_its_frame() {
        let text = "We are all at the school. Please bring water and blankets tomorrow. ";
        let texts = (1..40).map(|n| text.repeat(n)[..n * 30].to_owned()).chain(["e".repeat(1000)]);
        for text in texts {
            let packed = compress(text.as_bytes()).unwrap();
            let frame = compressor(&PACKING).unwrap().compress(text.as_bytes()).unwrap();
            if text.len() > SHORT_MAX {
                assert_eq!(packed, frame);
            } else if !begins_frame(packed[0]) {
                assert!(packed.len() + 5 <= frame.len());
            }
            assert_eq!(decompress(&packed, TEXT_MAX).unwrap(), text.as_bytes());
            assert!(decompress(&packed, text.len() - 1).is_err(), "the cap holds");
        }
        let packed = compress(&text.repeat(16).as_bytes()[..SHORT_MAX]).unwrap();
        assert!(!begins_frame(packed[0]));
        // What a block yields is bounded by more than the cap: here by the window that it is given.
        let longer = compressor(&PACKING).unwrap().compress(text.repeat(30).as_bytes()).unwrap();
        let block = without_frame(longer);
        assert!(!begins_frame(block[0]));
        assert_eq!(decompress(&block, TEXT_MAX), Err(PacketError::Compression));
        assert_eq!(decompress(&[0x55; SHORT_MAX], TEXT_MAX), Err(PacketError::Compression));
    }

    #[test]
    fn a_bomb_is_refused_before_it_grows() {
        let packed = compress(&[0; 1 << 20]).unwrap();
        assert!(matches!(decompress(&packed, 65_536), Err(PacketError::TooLong { .. })));
        assert_eq!(content_size(&packed), Some(1 << 20));
        for at in 0..packed.len() {
            for bit in 0..8 {
                let mut lying = packed.clone();
                lying[at] ^= 1 << bit;
                let verdict = decompress(&lying, 65_536);
                assert!(verdict.is_err(), "byte {at} bit {bit}");
            }
            assert!(decompress(&packed[..at], 1 << 21).is_err());
        }
    }

    #[test]
    fn the_content_size_of_every_width_is_read() {
        for bytes in [1, 255, 256, 65_791, 65_792, 5 << 20] {
            let frame = compressor(&PACKING).unwrap().compress(&vec![7; bytes]).unwrap();
            assert_eq!(content_size(&frame), Some(bytes as u64));
            assert_eq!(decompress(&frame, 8 << 20).unwrap().len(), bytes);
        }
    }

    #[test]
    fn a_part_that_grows_beyond_its_length_is_stopped() {
        let packed = zstd::bulk::compress(&[0; 100_000], 1).unwrap();
        let mut sink = Vec::new();
        assert!(decompress_part(&packed[..], &mut sink, 99_999).is_err());
        assert!(sink.len() < 100_000);
    }

    #[test]
    fn one_frame_is_taken_and_nothing_behind_it() {
        let text = b"We are all at the school. Please bring water and blankets tomorrow.";
        let packed = compressor(&PACKING).unwrap().compress(text).unwrap();
        assert_eq!(decompress(&packed, 1000).unwrap(), text);
        assert_eq!(frame_len(&packed), Some(packed.len()));
        // An empty second frame: single segment, size 0, one empty last block.
        let second = [0x20, 0, 1, 0, 0];
        for more in [&[0][..], &second] {
            assert!(decompress(&[&packed[..], more].concat(), 1000).is_err());
        }
        let part = zstd::bulk::compress(text, 1).unwrap();
        let mut out = Vec::new();
        decompress_part(&part[..], &mut out, 67).unwrap();
        assert_eq!(out, text);
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9];
        for more in [&[0][..], &part, &skippable] {
            let stored = [&part[..], more].concat();
            assert!(decompress_part(&stored[..], &mut Vec::new(), 67).is_err());
        }
        for cut in 0..part.len() {
            assert!(decompress_part(&part[..cut], &mut Vec::new(), 67).is_err(), "cut at {cut}");
        }
    }
}
