//! Keys that are none: a node's and a seal's.

use curve25519_dalek::{MontgomeryPoint, edwards::CompressedEdwardsY};
use postrider_base::{NodeId, NodeSecret, SealPublic, id::NodeIdError, key::SealKeyError};

use crate::points::{
    P, Signer, add, misspelt_small_order_points, small, small_order_points, small_order_u,
    unreduced,
};

#[test]
fn a_node_key_of_small_order_is_weak_in_every_right_spelling() {
    for point in small_order_points() {
        assert_eq!(NodeId::from_bytes(&point), Err(NodeIdError::Weak), "{point:02x?}");
    }
}

#[test]
fn a_node_key_has_one_spelling() {
    for point in misspelt_small_order_points() {
        assert!(CompressedEdwardsY(point).decompress().is_some(), "a lenient decoder takes it");
        assert_eq!(NodeId::from_bytes(&point), Err(NodeIdError::Point), "{point:02x?}");
    }
    // All 19 values of y that have a second spelling, whether they lie on the curve or not.
    let mut on_the_curve = 0;
    for y in 0..19 {
        for sign in [0, 0x80] {
            let mut raw = unreduced(&small(y)).unwrap();
            raw[31] |= sign;
            on_the_curve += u8::from(CompressedEdwardsY(raw).decompress().is_some());
            assert_eq!(NodeId::from_bytes(&raw), Err(NodeIdError::Point), "p + {y}");
        }
    }
    assert!(on_the_curve > 10, "only {on_the_curve} were refused for their spelling");
}

#[test]
fn what_is_no_point_is_no_node_key() {
    let mut seen = 0;
    for y in 2..60 {
        let raw = small(y);
        if CompressedEdwardsY(raw).decompress().is_none() {
            seen += 1;
            assert_eq!(NodeId::from_bytes(&raw), Err(NodeIdError::Point), "y = {y}");
        }
    }
    assert!(seen > 20, "half of all y are on no point");
    assert_eq!(NodeId::from_bytes(&[0xff; 32]), Err(NodeIdError::Point));
}

#[test]
fn a_key_of_another_length_is_no_key() {
    let (public, secret) = (Signer::new(1).public, NodeSecret::from_seed([1; 32]));
    assert_eq!(*secret.id().as_bytes(), public, "the tests' signer is the crate's");
    let seal = *secret.first_seal_key().public().as_bytes();
    for length in (0..80).filter(|length| *length != 32) {
        let stretched =
            |key: [u8; 32]| -> Vec<u8> { key.iter().copied().cycle().take(length).collect() };
        let node = NodeId::from_bytes(&stretched(public));
        assert_eq!(node, Err(NodeIdError::Length(length)));
        let key = SealPublic::from_bytes(&stretched(seal));
        assert_eq!(key, Err(SealKeyError::Length(length)));
    }
}

#[test]
fn a_seal_key_of_small_order_is_refused_in_every_spelling() {
    let mut all = Vec::new();
    for u in small_order_u() {
        all.push(u);
        // The list of the paper goes to 2p + 1; RFC 7748 takes the low 255 bits of all of them.
        all.extend([add(&u, &P), add(&add(&u, &P).0, &P)].iter().filter(|s| !s.1).map(|s| s.0));
    }
    for u in all.clone() {
        let mut high = u;
        high[31] |= 0x80;
        all.push(high);
    }
    all.sort_unstable();
    all.dedup();
    assert!(all.len() >= 12, "the paper lists 12, here are {}", all.len());
    for u in all {
        let mut low = u;
        low[31] &= 0x7f;
        let shared = MontgomeryPoint(low).mul_clamped([7; 32]);
        let zero = shared.to_bytes() == [0; 32];
        assert_eq!(SealPublic::from_bytes(&u), Err(SealKeyError::Weak), "{u:02x?}, {zero}");
    }
    for u in small_order_u() {
        let shared = MontgomeryPoint(u).mul_clamped([7; 32]).to_bytes();
        assert_eq!(shared, [0; 32], "{u:02x?} is of small order");
    }
}

#[test]
fn a_seal_key_has_one_spelling() {
    for u in 0..19 {
        assert!(SealPublic::from_bytes(&unreduced(&small(u)).unwrap()).is_err(), "p + {u}");
    }
    let key = *NodeSecret::from_seed([2; 32]).first_seal_key().public().as_bytes();
    assert!(SealPublic::from_bytes(&key).is_ok());
    let mut high = key;
    high[31] |= 0x80;
    assert!(SealPublic::from_bytes(&high).is_err(), "the bit that RFC 7748 ignores");
}
