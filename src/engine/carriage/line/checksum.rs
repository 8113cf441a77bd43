//! CRC-32C, whose beginning says whom a frame is for.
//!
//! A frame of another session must not be taken for one of this. So what is not sent, but known at
//! both ends, is hashed before the frame: the sessions, and the whole number of a cell.

/// Castagnoli's polynomial, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = table();

#[allow(clippy::cast_possible_truncation, reason = "n is below 256; try_from is not const")]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let (mut rest, mut bit) = (n as u32, 0);
        while bit < 8 {
            rest = if rest & 1 == 1 { rest >> 1 ^ POLYNOMIAL } else { rest >> 1 };
            bit += 1;
        }
        table[n] = rest;
        n += 1;
    }
    table
}

/// The CRC of what came before, gone on with more bytes; it begins with 0.
pub fn crc(before: u32, bytes: &[u8]) -> u32 {
    let step = |rest: u32, byte: &u8| {
        let [low, ..] = rest.to_le_bytes();
        TABLE[usize::from(low ^ byte)] ^ rest >> 8
    };
    !bytes.iter().fold(!before, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_one_that_others_compute() {
        assert_eq!(crc(0, b"123456789"), 0xe306_9283);
        assert_eq!(crc(crc(0, b"1234"), b"56789"), 0xe306_9283);
        assert_eq!(crc(0, &[0; 32]), 0x8a91_36aa, "RFC 3720, B.4");
    }
}
