//! Who: [`NodeId`]; what: [`BundleId`]; which parts belong together: [`SetId`].

use std::{fmt, str::FromStr};

use bech32::{Bech32m, Hrp, primitives::decode::CheckedHrpstring};
use ed25519_dalek::VerifyingKey;

use crate::points;

/// The first byte of what a `pr1…` text holds, so that another kind of key can come later.
const TEXT_VERSION: u8 = 0;

/// A node: its Ed25519 public key.
///
/// Every value is a canonical encoding of a point that is not weak (not of small order), so that
/// one node has one id and nobody can sign for "any key".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; 32]);

/// Why something is not a [`NodeId`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeIdError {
    /// Not 32 bytes.
    #[error("a node key has 32 bytes, this has {0}")]
    Length(usize),
    /// Not the canonical encoding of a curve point.
    #[error("not a valid Ed25519 key")]
    Point,
    /// A key for which anybody can forge signatures.
    #[error("a weak key: anybody could sign for it")]
    Weak,
    /// The text's checksum or alphabet is wrong.
    #[error("not a Postrider id: a character is wrong or missing")]
    Text,
    /// A text of another version.
    #[error("an id of version {0}, which this program does not know")]
    Version(u8),
}

impl NodeId {
    /// Checks and takes 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NodeIdError> {
        let raw: [u8; 32] = bytes.try_into().map_err(|_| NodeIdError::Length(bytes.len()))?;
        points::of(&raw)?;
        Ok(Self(raw))
    }

    /// The public key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether the key lies in the prime-order group. Asked of contacts, once, when a card is read:
    /// keys that differ by a point of small order can share signatures.
    pub(crate) fn is_torsion_free(&self) -> bool {
        points::of(&self.0).is_ok_and(|key| key.to_edwards().is_torsion_free())
    }

    /// Whether `signature` over `D ‖ digest` is this node's, by the strict rules.
    pub fn verify(&self, domain: &[u8; 32], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        let Ok(key) = points::of(&self.0) else { return false };
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        key.verify_strict(&crate::domain::signed_input(domain, digest), &signature).is_ok()
    }

    /// Whether `signature` over a TLS 1.3 CertificateVerify input is this node's, by the strict rules.
    pub fn verify_tls(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let Ok(key) = points::of(&self.0) else { return false };
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        crate::domain::is_tls_input(message) && key.verify_strict(message, &signature).is_ok()
    }

    /// Only for keys that come out of a signing key, which are canonical and strong by birth.
    pub(crate) fn from_verifying_key(key: &VerifyingKey) -> Self {
        Self(key.to_bytes())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut data = [TEXT_VERSION; 33];
        data[1..].copy_from_slice(&self.0);
        let text = bech32::encode::<Bech32m>(Hrp::parse_unchecked("pr"), &data);
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        let checked =
            CheckedHrpstring::new::<Bech32m>(text.trim()).map_err(|_| NodeIdError::Text)?;
        if !checked.hrp().as_str().eq_ignore_ascii_case("pr") {
            return Err(NodeIdError::Text);
        }
        let data: Vec<u8> = checked.byte_iter().collect();
        let node = match data.split_first() {
            Some((&TEXT_VERSION, key)) => Self::from_bytes(key)?,
            Some((&version, _)) => return Err(NodeIdError::Version(version)),
            None => return Err(NodeIdError::Text),
        };
        // 53 characters carry one bit more than 33 bytes: it is zero, so that one node has one text.
        if !node.to_string().eq_ignore_ascii_case(text.trim()) {
            return Err(NodeIdError::Text);
        }
        Ok(node)
    }
}

/// A bundle: the hash of its header, and of its payload when that is small.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleId(pub [u8; 32]);

impl BundleId {
    /// The first 8 bytes: what receipts and remembered sequences hold.
    pub fn prefix(&self) -> [u8; 8] {
        crate::domain::prefix(&self.0)
    }
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the parts of one message have in common: 16 random bytes, seen only inside seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub [u8; 16]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::NodeSecret;

    #[test]
    fn text_form_round_trips_and_is_short_enough_to_dictate() {
        let id = NodeSecret::from_seed([7; 32]).id();
        let text = id.to_string();
        assert!(text.starts_with("pr1") && text.len() <= 66, "{text}");
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
    }

    #[test]
    fn one_wrong_character_is_noticed() {
        let text = NodeSecret::from_seed([7; 32]).id().to_string();
        for at in 3..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'q' { b'p' } else { b'q' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert_eq!(wrong.parse::<NodeId>(), Err(NodeIdError::Text), "{wrong}");
        }
    }

    #[test]
    fn weak_and_non_canonical_keys_are_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(NodeId::from_bytes(&identity), Err(NodeIdError::Weak));
        assert_eq!(NodeId::from_bytes(&[0; 32]), Err(NodeIdError::Weak));
        // y = p + 3: the same point as y = 3 would be, in a second spelling.
        let mut spelled_twice = [0xff; 32];
        spelled_twice[0] = 0xf0;
        spelled_twice[31] = 0x7f;
        assert!(NodeId::from_bytes(&spelled_twice).is_err());
        assert_eq!(NodeId::from_bytes(&[1; 31]), Err(NodeIdError::Length(31)));
    }
}
