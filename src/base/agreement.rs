//! The node key as a key of agreement: X25519, for links that prove who is at the other end.
//!
//! Ed25519 and X25519 live on one curve in two forms, so a node's id says with which point its
//! neighbour agrees, and no second key has to be published. In X25519's form a point lost its sign:
//! two ids lead to the same key, and whoever names an id by that key also says the sign.
//!
//! Signing and agreeing with one key are safe side by side: what is signed starts with a domain of
//! ours, and the other end of an agreement learns nothing but a hash of the shared point.

use std::fmt;

use curve25519_dalek::montgomery::MontgomeryPoint;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    id::{NodeId, NodeIdError},
    key::NodeSecret,
    points,
};

/// The secret half of an agreement: X25519, wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct AgreementSecret([u8; 32]);

/// Which of the two ids behind one agreement key: the sign bit of the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The bit is clear.
    Even,
    /// The bit is set.
    Odd,
}

impl AgreementSecret {
    /// From 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw secret. That of a node gives its identity away, like its seed: only for a library that
    /// must hold it.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        MontgomeryPoint::mul_base_clamped(self.0).to_bytes()
    }

    /// What only the two ends know; `None` for a point of small order, where everybody would.
    pub fn agree(&self, theirs: &[u8; 32]) -> Option<[u8; 32]> {
        let shared = MontgomeryPoint(*theirs).mul_clamped(self.0).to_bytes();
        (shared != [0; 32]).then_some(shared)
    }
}

impl fmt::Debug for AgreementSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgreementSecret(..)")
    }
}

impl NodeSecret {
    /// The node key in the form that agrees.
    pub fn agreement_secret(&self) -> AgreementSecret {
        AgreementSecret(self.scalar())
    }
}

impl NodeId {
    /// With which X25519 key to agree with this node.
    pub fn agreement_public(&self) -> [u8; 32] {
        points::of(self.as_bytes())
            .expect("checked when the id was made")
            .to_montgomery()
            .to_bytes()
    }

    /// The sign that [`agreement_public`](Self::agreement_public) leaves out.
    pub fn agreement_sign(&self) -> Sign {
        if self.as_bytes()[31] & 0x80 == 0 { Sign::Even } else { Sign::Odd }
    }

    /// The node that agrees with this X25519 key. Refused: keys that no node has, because they are
    /// on the twist of the curve, weak, or a second spelling.
    pub fn from_agreement(public: &[u8; 32], sign: Sign) -> Result<Self, NodeIdError> {
        let bit = u8::from(sign == Sign::Odd);
        let point = MontgomeryPoint(*public).to_edwards(bit).ok_or(NodeIdError::Point)?;
        let node = Self::from_bytes(&point.compress().to_bytes())?;
        if node.agreement_public() == *public && node.agreement_sign() == sign {
            Ok(node)
        } else {
            Err(NodeIdError::Point)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(seed: u8) -> NodeSecret {
        NodeSecret::from_seed([seed; 32])
    }

    #[test]
    fn two_nodes_agree_by_their_ids() {
        let (a, b) = (secret(1), secret(2));
        let of_a = a.agreement_secret().agree(&b.id().agreement_public()).unwrap();
        let of_b = b.agreement_secret().agree(&a.id().agreement_public()).unwrap();
        assert_eq!(of_a, of_b);
        assert_eq!(a.agreement_secret().public(), a.id().agreement_public());
    }

    #[test]
    fn an_id_follows_from_its_agreement_key_and_sign() {
        for seed in 0..32 {
            let id = secret(seed).id();
            assert_eq!(NodeId::from_agreement(&id.agreement_public(), id.agreement_sign()), Ok(id));
        }
    }

    #[test]
    fn the_other_sign_is_another_node() {
        let id = secret(1).id();
        let other = if id.agreement_sign() == Sign::Even { Sign::Odd } else { Sign::Even };
        let twin = NodeId::from_agreement(&id.agreement_public(), other).unwrap();
        assert_ne!(twin, id);
        assert_eq!(twin.agreement_public(), id.agreement_public());
    }

    #[test]
    fn keys_that_no_node_has_are_refused() {
        let mut twice = secret(1).id().agreement_public();
        twice[31] |= 0x80;
        let mut on_the_twist = [0; 32];
        on_the_twist[0] = 2;
        let mut minus_one = [0xff; 32];
        (minus_one[0], minus_one[31]) = (0xec, 0x7f);
        for public in [twice, on_the_twist, minus_one, [0; 32], [0xff; 32]] {
            assert!(NodeId::from_agreement(&public, Sign::Even).is_err(), "{public:02x?}");
        }
    }

    #[test]
    fn nothing_is_agreed_with_a_weak_point() {
        let mut one = [0; 32];
        one[0] = 1;
        for weak in [[0; 32], one] {
            assert_eq!(secret(1).agreement_secret().agree(&weak), None);
        }
    }

    #[test]
    fn x25519_agrees_with_another_implementation() {
        // Made with OpenSSL by way of Python.
        let (a, b) = (AgreementSecret::from_bytes([1; 32]), AgreementSecret::from_bytes([2; 32]));
        let shared = a.agree(&b.public()).map(hex);
        assert_eq!(
            hex(a.public()),
            "a4e09292b651c278b9772c569f5fa9bb13d906b46ab68c9df9dc2b4409f8a209"
        );
        assert_eq!(
            shared.as_deref(),
            Some("2ed76ab549b1e73c031eb49c9448f0798aea81b698279a0c3dc3e49fbfc4b953")
        );
    }

    fn hex(bytes: [u8; 32]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
