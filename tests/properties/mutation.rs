//! Input for a decoder: good input a little spoiled, two good inputs crossed, or noise.

use postrider_testkit::Seeded;

/// Bytes that mean something to a decoder: CBOR's null, long heads, empty strings and arrays, true,
/// a negative number, the largest and the sign-changing bytes, text's line ends and quotes.
const TELLING: [u8; 16] =
    [0, 0xff, 0x7f, 0x80, 0xf6, 0x18, 0x1b, 0x5b, 0x9b, 0x40, 0xf5, 0x20, 0x81, b'\n', b'"', b'0'];
/// Nothing grows beyond this by being doubled.
const LENGTH_MAX: usize = 64 * 1024;

pub fn spoiled(chance: &mut Seeded, seeds: &[Vec<u8>]) -> Vec<u8> {
    if chance.chance(1, 8) {
        let length = 1_u64 << chance.below(11);
        let length = chance.index(usize::try_from(length).unwrap());
        return chance.bytes(length);
    }
    let mut bytes = seeds[chance.index(seeds.len())].clone();
    if chance.chance(1, 12) {
        let other = &seeds[chance.index(seeds.len())];
        bytes.truncate(chance.index(bytes.len() + 1));
        bytes.extend(&other[chance.index(other.len() + 1)..]);
    }
    for _ in 0..=chance.below(4) {
        edit(chance, &mut bytes);
    }
    bytes
}

fn edit(chance: &mut Seeded, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return bytes.push(TELLING[chance.index(TELLING.len())]);
    }
    // Half of all edits near the start, where lengths and kinds stand.
    let span = if chance.chance(1, 2) { bytes.len().min(64) } else { bytes.len() };
    let at = chance.index(span);
    let value = TELLING[chance.index(TELLING.len())];
    match chance.below(10) {
        0 | 1 => bytes[at] ^= 1 << chance.below(8),
        2 => bytes[at] = value,
        3 => bytes[at] = bytes[at].wrapping_add(1),
        4 => bytes[at] = bytes[at].wrapping_sub(1),
        5 => bytes.insert(at, value),
        6 => drop(bytes.remove(at)),
        7 => bytes.truncate(at),
        8 => {
            let end = (at + 1 + chance.index(32)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            if bytes.len() + piece.len() <= LENGTH_MAX {
                let to = chance.index(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
        }
        _ => {
            let end = (at + 1 + chance.index(8)).min(bytes.len());
            bytes[at..end].fill(value);
        }
    }
}
