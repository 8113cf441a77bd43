//! Six words for comparing a key by voice.
//!
//! 66 bits: a fingerprint to compare, never a name to look up. Argon2id makes searching for a key
//! with somebody else's words cost 64 MiB and about 0.1 s a try.

use argon2::{Algorithm, Argon2, Params, Version};

use crate::id::NodeId;

/// Memory of one derivation, in KiB.
const MEMORY_KIB: u32 = 64 * 1024;
/// Passes over that memory.
const PASSES: u32 = 3;
const SALT: &[u8] = b"postrider words v1";

/// The six comparison words of a key, lower case. Costs 64 MiB and some 0.1 s.
pub fn words(node: &NodeId) -> [&'static str; 6] {
    let params = Params::new(MEMORY_KIB, PASSES, 1, Some(16)).expect("constants within bounds");
    let mut digest = [0_u8; 16];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(node.as_bytes(), SALT, &mut digest)
        .expect("constants within bounds");
    let bits = u128::from_be_bytes(digest);
    let list = bip39::Language::English.word_list();
    std::array::from_fn(|i| list[(bits >> (117 - 11 * i) & 0x7ff) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::NodeSecret;

    #[test]
    fn differ_between_keys_and_stay_the_same_for_one() {
        let [a, b] = [[1; 32], [2; 32]].map(|seed| NodeSecret::from_seed(seed).id());
        assert_eq!(words(&a), words(&a));
        assert_ne!(words(&a), words(&b));
    }
}
