//! The door token: a dialler shows that it knows whom it dials before the listener shows its key.
//!
//! In TLS 1.3 the server proves itself first, to anybody who asks. A listener with a stable key
//! would therefore tell every scanner who lives there. So the server name of the ClientHello
//! carries a nonce and a token that only somebody who knows the [`NodeId`] can compute:
//!
//! ```text
//! server name = base32(nonce (8) ‖ token (16)), 39 characters, then ".door.invalid"
//! token       = BLAKE3 derive_key("postrider 2026 door v1", NodeId ‖ nonce)[..16]
//! ```
//!
//! It hides the key, it proves nothing else: the name is in clear, so who watched a dialler can
//! repeat it. The nonce keeps two dials from looking alike to those who do not know the key.

use postrider_base::{NodeId, domain};
use subtle::ConstantTimeEq;

/// What is behind the token; a name that can never be looked up by mistake (RFC 6761, 6.4).
const SUFFIX: &str = ".door.invalid";
const NONCE: usize = 8;
const TOKEN: usize = 16;
/// 24 bytes in base32 without padding: 192 bits, five to a character.
const LABEL: usize = 39;
/// RFC 4648, section 6, in lower case as host names are.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The server name that opens the door of `node`.
pub(super) fn server_name(node: &NodeId, nonce: [u8; NONCE]) -> String {
    let mut bytes = [0; NONCE + TOKEN];
    bytes[..NONCE].copy_from_slice(&nonce);
    bytes[NONCE..].copy_from_slice(&token(node, &nonce));
    encode(&bytes) + SUFFIX
}

/// Whether `name` opens the door of `node`. Takes as long for a wrong token as for a right one.
pub(super) fn opens(name: &str, node: &NodeId) -> bool {
    let Some(bytes) = name.strip_suffix(SUFFIX).and_then(decode) else { return false };
    let (nonce, shown) = bytes.split_at(NONCE);
    token(node, nonce).ct_eq(shown).into()
}

fn token(node: &NodeId, nonce: &[u8]) -> [u8; TOKEN] {
    let full = domain::derive(domain::DOOR, &[node.as_bytes(), nonce]);
    let mut token = [0; TOKEN];
    token.copy_from_slice(&full[..TOKEN]);
    token
}

fn encode(bytes: &[u8; NONCE + TOKEN]) -> String {
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| usize::from(byte >> (7 - at % 8) & 1));
    let character = |at: usize| (0..5).fold(0, |value, i| value << 1 | bit(at * 5 + i));
    (0..LABEL).map(|at| char::from(ALPHABET[character(at)])).collect()
}

fn decode(label: &str) -> Option<[u8; NONCE + TOKEN]> {
    if label.len() != LABEL {
        return None;
    }
    let mut bytes = [0; NONCE + TOKEN];
    for (at, character) in label.bytes().enumerate() {
        let value = ALPHABET.iter().position(|c| *c == character.to_ascii_lowercase())?;
        for i in (0..5).filter(|i| value >> (4 - i) & 1 == 1) {
            let to = at * 5 + i;
            // Bits that are left over in the last character are zero.
            *bytes.get_mut(to / 8)? |= 0x80 >> (to % 8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postrider_base::NodeSecret;

    fn node(seed: u8) -> NodeId {
        NodeSecret::from_seed([seed; 32]).id()
    }

    #[test]
    fn opens_only_the_door_it_was_made_for() {
        let name = server_name(&node(1), [7; 8]);
        assert!(opens(&name, &node(1)));
        assert!(opens(&name.to_ascii_uppercase().replace(".DOOR.INVALID", SUFFIX), &node(1)));
        assert!(!opens(&name, &node(2)));
        assert!(opens(&server_name(&node(1), [8; 8]), &node(1)));
        assert_ne!(name, server_name(&node(1), [8; 8]));
    }

    #[test]
    fn any_other_character_closes_it() {
        let name = server_name(&node(1), *b"12345678");
        for at in 0..LABEL {
            for other in *b"a7z1-." {
                let mut changed = name.clone().into_bytes();
                if changed[at] != other {
                    changed[at] = other;
                    assert!(!opens(&String::from_utf8(changed).unwrap(), &node(1)), "at {at}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_door_name_closes_it() {
        let name = server_name(&node(1), [7; 8]);
        for wrong in ["", SUFFIX, "example.org", &name[1..], &name[..LABEL], &format!("a{name}")] {
            assert!(!opens(wrong, &node(1)), "{wrong}");
        }
    }

    #[test]
    fn agrees_with_an_independent_implementation() {
        // Made by the Python decoder's BLAKE3 and Python's base32; also in docs/links.md.
        let node = node(0);
        let name = "aaaqeayeaudap3efia7iyalcuwdfjbr2loezhqq.door.invalid";
        assert_eq!(server_name(&node, [0, 1, 2, 3, 4, 5, 6, 7]), name);
        assert!(opens(name, &node));
    }
}
