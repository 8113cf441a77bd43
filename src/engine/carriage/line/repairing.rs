//! A frame that can be repaired: Reed-Solomon blocks, interleaved, and none of their bytes is 00.
//!
//! ```text
//! block   mask, turned 1   said, xor mask   check 16      at most 255 bytes, up to 8 wrong ones are found
//! coded   byte i is of block i mod n                      n = length / 255, rounded up
//! ```
//!
//! COBS would not do around a code that repairs: one wrong length byte of it changes bytes all over the
//! frame. Here each block is free of 00 by itself. Its mask is a value that the said bytes do not have,
//! and one with which the check bytes have no 00 either; it is said in the block, and repaired with it.
//! It is said turned by a bit: as it is, each check byte would be a multiple of it where all that is
//! said is 00, and one that is 00 would be so with every mask.

use reed_solomon::{Decoder, Encoder};

/// Wrong bytes of a block that are found and put right are half as many. RS(255, 239): at one damaged
/// bit in 1,000 one block in 4,000 has more.
const CHECK_BYTES: usize = 16;
const BLOCK_MAX: usize = 255;
const BESIDE: usize = 1 + CHECK_BYTES;
/// What a block says at most.
pub const SAID_MAX: usize = BLOCK_MAX - BESIDE;

/// Writes bytes behind what is in `out`.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let count = bytes.len().div_ceil(SAID_MAX).max(1);
    let length = bytes.len() + count * BESIDE;
    let encoder = Encoder::new(CHECK_BYTES);
    let (begin, mut rest) = (out.len(), bytes);
    out.resize(begin + length, 0);
    for nth in 0..count {
        let (said, behind) = rest.split_at(block_bytes(length, count, nth) - BESIDE);
        rest = behind;
        let block = block_of(&encoder, said);
        for (at, byte) in block.into_iter().enumerate() {
            out[begin + at * count + nth] = byte;
        }
    }
}

/// Reads what [`encode`] wrote, and how many bytes of it were wrong; `None` if it cannot be that.
pub fn decode(coded: &[u8]) -> Option<(Vec<u8>, usize)> {
    let count = coded.len().div_ceil(BLOCK_MAX);
    if coded.len() < count * BESIDE || coded.is_empty() {
        return None;
    }
    let decoder = Decoder::new(CHECK_BYTES);
    let (mut out, mut wrong) = (Vec::with_capacity(coded.len()), 0);
    for nth in 0..count {
        let block: Vec<u8> = coded.iter().skip(nth).step_by(count).copied().collect();
        let (block, repaired) = decoder.correct_err_count(&block, None).ok()?;
        let (turned, said) = block.data().split_first()?;
        let mask = turned.rotate_right(1);
        out.extend(said.iter().map(|byte| byte ^ mask));
        wrong += repaired;
    }
    Some((out, wrong))
}

fn block_bytes(length: usize, count: usize, nth: usize) -> usize {
    length / count + usize::from(nth < length % count)
}

/// A block without 00. Of 255 masks at least 17 leave no 00 in what is said, and of those each leaves
/// none in the check bytes in 15 of 16 cases.
fn block_of(encoder: &Encoder, said: &[u8]) -> Vec<u8> {
    let mut taken = [false; 256];
    said.iter().for_each(|byte| taken[usize::from(*byte)] = true);
    let mut block = Vec::new();
    for mask in (1..=u8::MAX).filter(|mask| !taken[usize::from(*mask)]) {
        block.clear();
        block.push(mask.rotate_left(1));
        block.extend(said.iter().map(|byte| byte ^ mask));
        let checked = encoder.encode(&block);
        block.extend_from_slice(checked.ecc());
        if !block.contains(&0) {
            break;
        }
    }
    block
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn coded(bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![9];
        encode(bytes, &mut out);
        out.split_off(1)
    }

    /// Bytes that leave a block no more masks than it must.
    fn many_values(length: usize) -> Vec<u8> {
        (0..=u8::MAX).cycle().take(length).collect()
    }

    #[test]
    fn eight_wrong_bytes_of_each_block_are_put_right_and_so_is_a_burst() {
        for length in [1, 6, 237, 238, 239, 476, 934, 952, 1030] {
            let bytes = many_values(length);
            let good = coded(&bytes);
            let count = good.len().div_ceil(BLOCK_MAX);
            assert_eq!(good.len(), length + count * BESIDE);
            assert_eq!(count, length.div_ceil(SAID_MAX));
            assert!(!good.contains(&0));
            assert_eq!(decode(&good), Some((bytes.clone(), 0)));
            for begin in [0, good.len() / 2, good.len() - 8 * count] {
                let mut burst = good.clone();
                burst[begin..begin + 8 * count].iter_mut().for_each(|byte| *byte ^= 0x55);
                assert_eq!(decode(&burst), Some((bytes.clone(), 8 * count)), "{length} {begin}");
            }
            let mut beyond = good.clone();
            beyond.iter_mut().step_by(count).take(9).for_each(|byte| *byte ^= 0x55);
            assert!(decode(&beyond).is_none_or(|(read, _)| read != bytes));
        }
    }

    #[test]
    fn blocks_of_one_value_find_a_mask_too() {
        for length in 1..=SAID_MAX {
            for value in [0, 1, 0x80, 0xff] {
                let good = coded(&vec![value; length]);
                assert!(!good.contains(&0), "{length} times {value}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_byte_is_00_whatever_is_said(bytes in proptest::collection::vec(any::<u8>(), 1..1200), few: bool) {
            let bytes: Vec<u8> = bytes.iter().map(|byte| if few { byte & 0x81 } else { *byte }).collect();
            let good = coded(&bytes);
            prop_assert!(!good.contains(&0));
            prop_assert_eq!(decode(&good), Some((bytes, 0)));
        }

        #[test]
        fn anything_can_be_read_and_does_not_grow(bytes in proptest::collection::vec(any::<u8>(), 0..2300)) {
            let read = decode(&bytes).map_or(0, |(read, _)| read.len());
            prop_assert!(read <= bytes.len());
            let mut spoiled = coded(&bytes[..bytes.len().min(300)]);
            for (to, from) in spoiled.iter_mut().zip(&bytes) {
                *to ^= from & (from >> 4);
            }
            decode(&spoiled);
            decode(&spoiled[..spoiled.len() / 2]);
        }
    }
}
