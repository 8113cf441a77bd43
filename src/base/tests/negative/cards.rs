//! Cards that must not be taken: by their signature's form, and by the keys in them.

use curve25519_dalek::{EdwardsPoint, constants::EIGHT_TORSION};
use postrider_base::{
    NodeId, NodeSecret,
    card::{Card, CardError},
    domain,
    id::NodeIdError,
    key::SealKeyError,
    wire,
};
use serde_bytes::{ByteBuf, Bytes};

use crate::{
    doors::{ALICE, BOB, card_body, card_bytes, node},
    points::{Signer, misspelt_small_order_points, small_order_points, small_order_u},
};

type BodyWire = (u8, ByteBuf, u64, Vec<(u32, ByteBuf)>, String, Vec<String>, u64);

/// Alice's card with some of it changed, under a signature that covers the change.
fn resigned(change: impl FnOnce(&mut BodyWire), signer: &Signer) -> Vec<u8> {
    let mut body: BodyWire = wire::decode(&card_body(&node(ALICE))).unwrap();
    change(&mut body);
    let body = wire::encode(&body);
    let digest = domain::derive(domain::CARD_DIGEST, &[&body]);
    let signature = signer.sign(&domain::signed_input(&domain::CARD, &digest));
    wire::encode(&(Bytes::new(&body), Bytes::new(&signature)))
}

#[test]
fn a_cards_signature_has_64_bytes() {
    let body = card_body(&node(ALICE));
    let digest = domain::derive(domain::CARD_DIGEST, &[&body]);
    let good = node(ALICE).sign(&domain::CARD, &digest);
    for length in 0..130 {
        let signature: Vec<u8> = good.iter().copied().cycle().take(length).collect();
        let card = Card::decode(&wire::encode(&(Bytes::new(&body), Bytes::new(&signature))));
        match length {
            64 => assert!(card.is_ok()),
            _ => assert_eq!(card, Err(CardError::Signature), "{length}"),
        }
    }
}

#[test]
fn a_node_key_that_anybody_can_sign_for_has_no_card() {
    assert!(Card::decode(&resigned(|_| {}, &Signer::new(ALICE))).is_ok());
    let weak = small_order_points().into_iter().map(|point| (point, NodeIdError::Weak));
    let misspelt = misspelt_small_order_points().into_iter().map(|p| (p, NodeIdError::Point));
    for (point, why) in weak.chain(misspelt) {
        let card = resigned(|body| body.1 = ByteBuf::from(point), &Signer::new(ALICE));
        assert_eq!(Card::decode(&card), Err(CardError::Node(why)), "{point:02x?}");
    }
}

#[test]
fn a_node_key_that_shares_its_signatures_has_no_card() {
    // A + T: where the hash lets the small part vanish, the signature holds by the strict rules,
    // and one secret has eight names. Found by counting the number up until it does.
    for torsion in &EIGHT_TORSION[1..] {
        let alice = Signer::new(ALICE);
        let public = (EdwardsPoint::mul_base(&alice.scalar) + torsion).compress().to_bytes();
        let signer = Signer { public, ..alice };
        let mixed = NodeId::from_bytes(&public).unwrap();
        let held = (1..500).find_map(|number| {
            let card = resigned(|body| (body.1, body.2) = (ByteBuf::from(public), number), &signer);
            let (body, signature): (ByteBuf, ByteBuf) = wire::decode(&card).unwrap();
            let digest = domain::derive(domain::CARD_DIGEST, &[&body]);
            let signature = signature.as_slice().try_into().unwrap();
            mixed.verify(&domain::CARD, &digest, signature).then_some(card)
        });
        let card = held.expect("one number in eight");
        assert_eq!(Card::decode(&card), Err(CardError::Node(NodeIdError::Point)));
    }
}

#[test]
fn a_seal_key_that_everybody_can_open_has_no_card() {
    for u in small_order_u() {
        let mut high = u;
        high[31] |= 0x80;
        for key in [u, high] {
            let card = resigned(|body| body.3[0].1 = ByteBuf::from(key), &Signer::new(ALICE));
            let why = CardError::SealKey(SealKeyError::Weak);
            assert_eq!(Card::decode(&card), Err(why), "{key:02x?}");
        }
    }
}

#[test]
fn a_body_and_a_signature_of_two_cards_make_none() {
    let sign = |owner: NodeSecret| {
        card_bytes(&owner, &|message| {
            let (domain, digest) = message.split_at(32);
            owner.sign(domain.try_into().unwrap(), digest.try_into().unwrap())
        })
    };
    let [alice, bob]: [(ByteBuf, ByteBuf); 2] =
        [ALICE, BOB].map(|n| wire::decode(&sign(node(n))).unwrap());
    assert!(Card::decode(&wire::encode(&alice)).is_ok());
    for crossed in [(&alice.0, &bob.1), (&bob.0, &alice.1)] {
        assert_eq!(Card::decode(&wire::encode(&crossed)), Err(CardError::Signature));
    }
}
