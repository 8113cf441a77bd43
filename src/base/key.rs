//! A node's secrets: the signing key that *is* the node, and the seal keys that open its mail.
//!
//! They are separate on purpose. A seal key may be exported to stock `age` and may rotate; had it
//! been the signing key in another form, its export would give the identity away.

use std::fmt;

use bech32::{Bech32, Hrp, primitives::decode::CheckedHrpstring};
use ed25519_dalek::{Signer, SigningKey};
use hpke::{Deserializable, Kem as _, Serializable, kem::X25519HkdfSha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{domain, id::NodeId};

/// The secret of a node: an Ed25519 seed. Wiped from memory when dropped, never printed.
#[derive(Clone, ZeroizeOnDrop)]
pub struct NodeSecret {
    #[zeroize(skip)] // wipes itself
    signing: SigningKey,
}

impl NodeSecret {
    /// From 32 random bytes.
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(&seed);
        seed.zeroize();
        Self { signing }
    }

    /// The seed, for the key file and for nothing else.
    pub fn seed(&self) -> &[u8; 32] {
        self.signing.as_bytes()
    }

    /// The public identity.
    pub fn id(&self) -> NodeId {
        NodeId::from_verifying_key(&self.signing.verifying_key())
    }

    /// Signs `D ‖ digest`; every signature of the format is of this shape.
    pub fn sign(&self, domain: &[u8; 32], digest: &[u8; 32]) -> [u8; 64] {
        self.signing.sign(&domain::signed_input(domain, digest)).to_bytes()
    }

    /// Signs what TLS 1.3 signs in a CertificateVerify, and nothing else: `None` if `message` is not
    /// of that shape. It begins with 64 spaces, so it is never the input of another signature of ours.
    pub fn sign_tls(&self, message: &[u8]) -> Option<[u8; 64]> {
        domain::is_tls_input(message).then(|| self.signing.sign(message).to_bytes())
    }

    /// The scalar behind the key, for agreements: as good as the seed to whoever wants to sign.
    pub(crate) fn scalar(&self) -> [u8; 32] {
        self.signing.to_scalar_bytes()
    }

    /// The first seal key, which follows from the seed, so that a backup of the seed opens mail.
    pub fn first_seal_key(&self) -> SealSecret {
        SealSecret::from_bytes(domain::derive(domain::SEAL_KEY, &[self.seed()]))
    }
}

impl fmt::Debug for NodeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeSecret({})", self.id())
    }
}

/// The secret half of a seal key: X25519, wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SealSecret([u8; 32]);

/// The public half of a seal key; in text, an `age1…` recipient.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealPublic([u8; 32]);

/// Why something is not a seal key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealKeyError {
    /// Not 32 bytes.
    #[error("a seal key has 32 bytes, this has {0}")]
    Length(usize),
    /// A point of small order: everybody could open what is sealed to it.
    #[error("a weak seal key: everybody could open what is sealed to it")]
    Weak,
    /// Not an `age1…` text.
    #[error("not an age recipient")]
    Text,
}

impl SealSecret {
    /// From 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw secret, for the key file.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public half.
    pub fn public(&self) -> SealPublic {
        let key = X25519HkdfSha256::sk_to_pk(&self.hpke());
        SealPublic(key.to_bytes().into())
    }

    /// `AGE-SECRET-KEY-1…`, which stock `age` takes as an identity file.
    pub fn to_age_text(&self) -> String {
        let hrp = Hrp::parse_unchecked("age-secret-key-");
        bech32::encode::<Bech32>(hrp, &self.0).expect("58 characters fit").to_uppercase()
    }

    pub(crate) fn hpke(&self) -> <X25519HkdfSha256 as hpke::Kem>::PrivateKey {
        Deserializable::from_bytes(&self.0).expect("any 32 bytes are an X25519 secret")
    }
}

impl fmt::Debug for SealSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealSecret({})", self.public())
    }
}

impl SealPublic {
    /// Checks and takes 32 bytes. Weak points are refused here, once, for all uses.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealKeyError> {
        let raw: [u8; 32] = bytes.try_into().map_err(|_| SealKeyError::Length(bytes.len()))?;
        // RFC 7748 ignores the top bit and accepts y + p: two spellings of one key are refused.
        let mut canonical = raw;
        canonical[31] &= 0x7f;
        let above_p = canonical[31] == 0x7f
            && canonical[1..31].iter().all(|byte| *byte == 0xff)
            && canonical[0] >= 0xed;
        if raw != canonical || above_p || SMALL_ORDER.contains(&raw) {
            return Err(SealKeyError::Weak);
        }
        Ok(Self(raw))
    }

    /// The raw key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn hpke(&self) -> Option<<X25519HkdfSha256 as hpke::Kem>::PublicKey> {
        Deserializable::from_bytes(&self.0).ok()
    }
}

impl std::str::FromStr for SealPublic {
    type Err = SealKeyError;

    fn from_str(text: &str) -> Result<Self, SealKeyError> {
        let checked =
            CheckedHrpstring::new::<Bech32>(text.trim()).map_err(|_| SealKeyError::Text)?;
        if checked.hrp().as_str() != "age" {
            return Err(SealKeyError::Text);
        }
        let key = Self::from_bytes(&checked.byte_iter().collect::<Vec<_>>())?;
        // Bits that are left over in the last character are zero.
        if key.to_string().eq_ignore_ascii_case(text.trim()) {
            Ok(key)
        } else {
            Err(SealKeyError::Text)
        }
    }
}

impl fmt::Display for SealPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = bech32::encode::<Bech32>(Hrp::parse_unchecked("age"), &self.0);
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SealPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The canonical u-coordinates of order 1, 2, 4 and 8 on Curve25519 and its twist (RFC 7748 §7;
/// the list is the one in "May the Fourth Be With You", 2017). Their products are always zero.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    {
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        minus_one
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seal_key_is_not_the_node_key_in_another_form() {
        let node = NodeSecret::from_seed([3; 32]);
        let scalar = node.signing.to_scalar_bytes();
        assert_ne!(node.first_seal_key().as_bytes(), &scalar);
        assert_ne!(
            node.first_seal_key().public().as_bytes(),
            &node.signing.verifying_key().to_montgomery().to_bytes()
        );
    }

    #[test]
    fn for_tls_only_what_tls_signs_is_signed() {
        let node = NodeSecret::from_seed([3; 32]);
        let input = |spaces: usize, context: &str, hash: usize| {
            [&vec![b' '; spaces], context.as_bytes(), &[0], &vec![7; hash]].concat()
        };
        for context in ["TLS 1.3, server CertificateVerify", "TLS 1.3, client CertificateVerify"] {
            for hash in [32, 48] {
                let message = input(64, context, hash);
                let signature = node.sign_tls(&message).unwrap();
                assert!(node.id().verify_tls(&message, &signature));
                assert!(!node.id().verify_tls(&message[1..], &signature));
            }
            for (spaces, hash) in [(63, 32), (65, 32), (0, 32), (64, 0), (64, 33), (64, 64)] {
                assert_eq!(node.sign_tls(&input(spaces, context, hash)), None);
            }
        }
        assert_eq!(node.sign_tls(&input(64, "TLS 1.3, other", 32)), None);
        assert_eq!(node.sign_tls(&domain::signed_input(&domain::CARD, &[b' '; 32])), None);
    }

    #[test]
    fn texts_are_those_of_age() {
        let secret = NodeSecret::from_seed([3; 32]).first_seal_key();
        let identity: age::x25519::Identity = secret.to_age_text().parse().unwrap();
        assert_eq!(identity.to_public().to_string(), secret.public().to_string());
        assert_eq!(secret.public().to_string().parse(), Ok(secret.public()));
    }

    #[test]
    fn weak_points_and_second_spellings_are_refused() {
        for raw in SMALL_ORDER {
            assert_eq!(SealPublic::from_bytes(&raw), Err(SealKeyError::Weak));
        }
        let mut top_bit = *NodeSecret::from_seed([3; 32]).first_seal_key().public().as_bytes();
        top_bit[31] |= 0x80;
        assert_eq!(SealPublic::from_bytes(&top_bit), Err(SealKeyError::Weak));
    }

    #[test]
    fn debug_forms_show_no_secret() {
        let node = NodeSecret::from_seed([0xab; 32]);
        let text = format!("{node:?} {:?}", node.first_seal_key());
        assert!(!text.contains("171, 171") && !text.contains("abab"), "{text}");
    }
}
