//! Strict canonical CBOR: the only door between bytes and values.
//!
//! The format uses a small part of RFC 8949: unsigned integers, byte strings, UTF-8 texts, arrays,
//! null, true and false, in core deterministic encoding (shortest heads, definite lengths). Serde
//! libraries accept far more than that, so [`decode`] first walks the bytes itself, then lets serde
//! build the value, then encodes it again and compares: what is accepted has exactly one form.

use serde::{Serialize, de::DeserializeOwned};

/// Arrays may nest this deep. The deepest value of the format is a path in a manifest (4).
pub const MAX_DEPTH: usize = 8;

/// Why bytes are not a value of the format.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end inside an item.
    #[error("the data ends too early")]
    Truncated,
    /// Bytes are left after the item.
    #[error("{0} bytes too many")]
    Trailing(usize),
    /// Not the one canonical form.
    #[error("not canonical at byte {0}")]
    NotCanonical(usize),
    /// A type that the format does not use.
    #[error("a type that is not part of the format at byte {0}")]
    Type(usize),
    /// Arrays nested deeper than [`MAX_DEPTH`].
    #[error("nested too deeply")]
    Depth,
    /// Well-formed, but not the expected fields.
    #[error("unexpected fields: {0}")]
    Shape(String),
}

/// Encodes a value that is built of the format's types.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_cbor::to_vec(value).expect("plain values of the format always encode")
}

/// Decodes exactly one item that fills `bytes`.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let length = item_len(bytes)?;
    if length != bytes.len() {
        return Err(WireError::Trailing(bytes.len() - length));
    }
    let value: T = serde_cbor::from_slice(bytes).map_err(|e| WireError::Shape(e.to_string()))?;
    if encode(&value) != bytes {
        return Err(WireError::NotCanonical(0));
    }
    Ok(value)
}

/// Decodes the item at the start of `bytes`; returns it and what follows.
pub fn decode_first<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
) -> Result<(T, &[u8]), WireError> {
    let (item, rest) = bytes.split_at(item_len(bytes)?);
    Ok((decode(item)?, rest))
}

/// The length of the item at the start of `bytes`, after checking that it is canonical.
pub fn item_len(bytes: &[u8]) -> Result<usize, WireError> {
    // Iterative: `open[d]` is how many items are still expected at depth d.
    let mut open = vec![1_u64];
    let mut at = 0;
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        let (major, argument, after) = head(bytes, at)?;
        let body = usize::try_from(argument).map_err(|_| WireError::Truncated);
        match major {
            0 => {}
            2 | 3 => {
                let end = after.checked_add(body?).ok_or(WireError::Truncated)?;
                let content = bytes.get(after..end).ok_or(WireError::Truncated)?;
                if major == 3 && std::str::from_utf8(content).is_err() {
                    return Err(WireError::NotCanonical(at));
                }
                at = end;
                continue;
            }
            4 => {
                // Every item takes at least a byte: a count beyond the rest is a lie.
                if argument > (bytes.len() - after) as u64 {
                    return Err(WireError::Truncated);
                }
                if open.len() > MAX_DEPTH {
                    return Err(WireError::Depth);
                }
                open.push(argument);
            }
            7 if (20..=22).contains(&argument) && after == at + 1 => {}
            _ => return Err(WireError::Type(at)),
        }
        at = after;
    }
    Ok(at)
}

/// Major type, argument and the offset after the head of the item at `at`.
fn head(bytes: &[u8], at: usize) -> Result<(u8, u64, usize), WireError> {
    let first = *bytes.get(at).ok_or(WireError::Truncated)?;
    let (major, info) = (first >> 5, first & 0x1f);
    let (size, least) = match info {
        0..24 => return Ok((major, u64::from(info), at + 1)),
        24 => (1, 24),
        25 => (2, 1 << 8),
        26 => (4, 1 << 16),
        27 => (8, 1 << 32),
        _ => return Err(WireError::NotCanonical(at)),
    };
    let raw = bytes.get(at + 1..at + 1 + size).ok_or(WireError::Truncated)?;
    let argument = raw.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    if argument < least {
        return Err(WireError::NotCanonical(at));
    }
    Ok((major, argument, at + 1 + size))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_bytes::ByteBuf;

    use super::*;

    type Sample = (u8, u64, Option<ByteBuf>, String, Vec<(u32, bool)>);

    #[test]
    fn refuses_every_other_form_of_the_same_value() {
        for (bytes, why) in [
            (&b"\x18\x17"[..], WireError::NotCanonical(0)),
            (b"\x19\x00\xff", WireError::NotCanonical(0)),
            (b"\x9f\x01\xff", WireError::NotCanonical(0)),
            (b"\x5f\x41\x00\xff", WireError::NotCanonical(0)),
            (b"\xc1\x01", WireError::Type(0)),
            (b"\x20", WireError::Type(0)),
            (b"\xa0", WireError::Type(0)),
            (b"\xf9\x00\x00", WireError::NotCanonical(0)),
            (b"\xf7", WireError::Type(0)),
            (b"\x61\xff", WireError::NotCanonical(0)),
            (b"\x82\x01", WireError::Truncated),
            (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", WireError::Truncated),
            (b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff", WireError::Truncated),
            (b"", WireError::Truncated),
        ] {
            assert_eq!(item_len(bytes), Err(why), "{bytes:02x?}");
        }
        assert_eq!(decode::<u8>(b"\x01\x01"), Err(WireError::Trailing(1)));
        assert_eq!(item_len(&[0x81; 1_000_000]), Err(WireError::Depth));
    }

    #[test]
    fn refuses_an_array_of_numbers_where_bytes_belong() {
        assert_eq!(decode::<ByteBuf>(b"\x82\x01\x02"), Err(WireError::NotCanonical(0)));
    }

    proptest! {
        #[test]
        fn decode_inverts_encode_and_no_prefix_decodes(
            a: u8, b: u64, c in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
            d: String, e in proptest::collection::vec(any::<(u32, bool)>(), 0..30)
        ) {
            let value: Sample = (a, b, c.map(ByteBuf::from), d, e);
            let bytes = encode(&value);
            prop_assert_eq!(decode::<Sample>(&bytes).unwrap(), value);
            for cut in 0..bytes.len() {
                prop_assert!(decode::<Sample>(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = decode::<Sample>(&bytes) {
                prop_assert_eq!(encode(&value), bytes);
            }
        }
    }
}
