//! Signatures that must not hold, at every door.

use curve25519_dalek::{
    EdwardsPoint, Scalar, constants::EIGHT_TORSION, edwards::CompressedEdwardsY,
};
use postrider_base::{
    Head, NodeId,
    bundle::{HeadError, LockField, SealKind},
    domain, wire,
};
use serde_bytes::Bytes;
use sha2::{Digest, Sha512};

use crate::{
    doors::{ALICE, DOORS, header, node},
    points::{
        Signer, add, challenge, halves, joined, misspelt_small_order_points, order,
        small_order_points,
    },
};

fn alice() -> Signer {
    Signer::new(ALICE)
}

#[test]
fn an_honest_signature_passes_every_door() {
    for (name, door) in DOORS {
        assert!(door(&|message| node(ALICE).sign(&half(message, 0), &half(message, 1))), "{name}");
        assert!(door(&|message| alice().sign(message)), "{name}: any r will do");
    }
}

#[test]
fn no_signature_of_the_table_passes_any_door() {
    for (fault, forge) in FAULTS {
        for (name, door) in DOORS {
            assert!(!door(&|message| forge(message)), "{fault} passes: {name}");
        }
    }
}

type Fault = (&'static str, fn(&[u8; 64]) -> [u8; 64]);

const FAULTS: &[Fault] = &[
    ("all zero", |_| [0; 64]),
    ("all ones", |_| [0xff; 64]),
    ("R zero", |m| joined([0; 32], halves(&alice().sign(m)).1)),
    ("S zero", |m| joined(halves(&alice().sign(m)).0, [0; 32])),
    ("S = ℓ", |m| joined(halves(&alice().sign(m)).0, order())),
    ("S negated", |m| {
        let (r, s) = halves(&alice().sign(m));
        joined(r, (-Scalar::from_bytes_mod_order(s)).to_bytes())
    }),
    ("R negated", |m| {
        let mut signature = alice().sign(m);
        signature[31] ^= 0x80;
        signature
    }),
    ("R and S in each other's place", |m| {
        let (r, s) = halves(&alice().sign(m));
        joined(s, r)
    }),
    ("by another key", |m| Signer::new(6).sign(m)),
    ("by another key, with our key in the hash", |m| {
        let (alice, other) = (alice(), Signer::new(6));
        Signer { public: alice.public, ..other }.sign(m)
    }),
    ("of another message", |m| {
        let mut other = *m;
        other[63] ^= 1;
        alice().sign(&other)
    }),
    ("of domain and digest in each other's place", |m| {
        alice().sign(&[half(m, 1), half(m, 0)].concat())
    }),
    ("of the digest alone", |m| alice().sign(&m[32..])),
    ("of the domain alone", |m| alice().sign(&m[..32])),
    ("of the domain without its zeros", |m| {
        let end = m[..32].iter().position(|byte| *byte == 0).unwrap();
        alice().sign(&[&m[..end], &m[32..]].concat())
    }),
    ("of nothing", |_| alice().sign(&[])),
    ("under the domain of open bundles or hidden ones", |m| {
        let other = if half(m, 0) == domain::BUNDLE_OPEN {
            domain::BUNDLE_HIDDEN
        } else {
            domain::BUNDLE_OPEN
        };
        node(ALICE).sign(&other, &half(m, 1))
    }),
    ("under the domain of cards or hidden bundles", |m| {
        let other = if half(m, 0) == domain::CARD { domain::BUNDLE_HIDDEN } else { domain::CARD };
        node(ALICE).sign(&other, &half(m, 1))
    }),
    ("Ed25519ph of RFC 8032", |m| {
        let r = Scalar::from(77_u8);
        let big_r = EdwardsPoint::mul_base(&r).compress().to_bytes();
        let dom = b"SigEd25519 no Ed25519 collisions\x01\x00";
        alice().respond(r, big_r, dom, &Sha512::digest(m))
    }),
    ("Ed25519ctx of RFC 8032", |m| {
        let r = Scalar::from(77_u8);
        let big_r = EdwardsPoint::mul_base(&r).compress().to_bytes();
        alice().respond(r, big_r, b"SigEd25519 no Ed25519 collisions\x00\x01x", m)
    }),
    ("a hash without the key", |m| {
        let (alice, r) = (alice(), Scalar::from(77_u8));
        let big_r = EdwardsPoint::mul_base(&r).compress().to_bytes();
        let hash = Sha512::new().chain_update(big_r).chain_update(m).finalize();
        let k = Scalar::from_bytes_mod_order_wide(&hash.into());
        joined(big_r, (r + k * alice.scalar).to_bytes())
    }),
];

fn half(message: &[u8; 64], which: usize) -> [u8; 32] {
    message[32 * which..][..32].try_into().unwrap()
}

#[test]
fn s_has_one_spelling() {
    // The equation holds for S + nℓ as well: whoever reduces S accepts a second signature, under
    // which an id could be seen as another.
    for (name, door) in DOORS {
        let mut spellings = 0;
        for n in 1..16_u8 {
            let verdict = door(&|message| {
                let (r, s) = halves(&alice().sign(message));
                let mut sum = s;
                for _ in 0..n {
                    sum = add(&sum, &order()).0;
                }
                joined(r, sum)
            });
            assert!(!verdict, "S + {n}ℓ passes: {name}");
            spellings += 1;
        }
        assert_eq!(spellings, 15);
        for bit in [0x10, 0x20, 0x40, 0x80] {
            let verdict = door(&|message| {
                let mut signature = alice().sign(message);
                signature[63] |= bit;
                signature
            });
            assert!(!verdict, "S with the high bit {bit:#x} passes: {name}");
        }
    }
}

#[test]
fn r_is_not_of_small_order_in_any_spelling() {
    // With R = 0 and S = kA the equation holds; with R of small order it holds times eight.
    let points = [small_order_points(), misspelt_small_order_points()].concat();
    for point in points {
        for (name, door) in DOORS {
            let forged = |message: &[u8; 64]| alice().respond(Scalar::ZERO, point, &[], message);
            assert!(!door(&forged), "R = {point:02x?} passes: {name}");
        }
    }
}

#[test]
fn r_with_a_part_of_small_order_does_not_pass_for_the_rest_of_it() {
    // "Taming", table 1, cases 3 and 4: verifiers that multiply by the cofactor accept these.
    let r = Scalar::from(77_u8);
    for torsion in &EIGHT_TORSION[1..] {
        let mixed = (EdwardsPoint::mul_base(&r) + torsion).compress().to_bytes();
        for (name, door) in DOORS {
            let forged = |message: &[u8; 64]| alice().respond(r, mixed, &[], message);
            let message = [3; 64];
            let (big_r, s) = halves(&forged(&message));
            let k = challenge(&[], &big_r, &alice().public, &message);
            let gap = EdwardsPoint::mul_base(&Scalar::from_bytes_mod_order(s))
                - k * EdwardsPoint::mul_base(&alice().scalar)
                - CompressedEdwardsY(big_r).decompress().unwrap();
            assert!(gap.is_small_order(), "a cofactored verifier would accept");
            assert!(!door(&forged), "mixed R passes: {name}");
        }
    }
}

#[test]
fn a_key_with_a_part_of_small_order_does_not_pass_for_the_rest_of_it() {
    let alice = alice();
    let mut refused = 0;
    for torsion in &EIGHT_TORSION[1..] {
        let public = (EdwardsPoint::mul_base(&alice.scalar) + torsion).compress().to_bytes();
        let mixed = NodeId::from_bytes(&public).expect("of full order, if not of prime order");
        for n in 0..16 {
            let digest = [n; 32];
            let message = domain::signed_input(&domain::CARD, &digest);
            let signer = Signer { public, ..Signer::new(ALICE) };
            let signature = signer.sign(&message);
            let k = challenge(&[], &halves(&signature).0, &public, &message);
            // Whether k swallows the small part is for the hash to say.
            let exact = (k * torsion).compress() == EIGHT_TORSION[0].compress();
            let verdict = mixed.verify(&domain::CARD, &digest, &signature);
            assert_eq!(verdict, exact, "only the exact equation counts");
            assert!(!node(ALICE).id().verify(&domain::CARD, &digest, &signature));
            refused += u8::from(!exact);
        }
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn every_flipped_bit_breaks_a_signature() {
    let (id, digest) = (node(ALICE).id(), [9; 32]);
    let good = node(ALICE).sign(&domain::CARD, &digest);
    let flip = |bytes: &mut [u8], bit: usize| bytes[bit / 8] ^= 1 << (bit % 8);
    for bit in 0..512 {
        let mut signature = good;
        flip(&mut signature, bit);
        assert!(!id.verify(&domain::CARD, &digest, &signature), "bit {bit} of the signature");
    }
    for bit in 0..256 {
        let (mut domain, mut other, mut key) = (domain::CARD, digest, *id.as_bytes());
        flip(&mut domain, bit);
        flip(&mut other, bit);
        flip(&mut key, bit);
        assert!(!id.verify(&domain, &digest, &good), "bit {bit} of the domain");
        assert!(!id.verify(&domain::CARD, &other, &good), "bit {bit} of the digest");
        let verdict =
            NodeId::from_bytes(&key).is_ok_and(|id| id.verify(&domain::CARD, &digest, &good));
        assert!(!verdict, "bit {bit} of the key");
    }
}

#[test]
fn a_signature_has_64_bytes() {
    let bytes = header(SealKind::None, LockField::None, false, 5000, Some([8; 32])).encode();
    let id = domain::derive(domain::ID, &[&bytes]);
    let good = node(ALICE).sign(&domain::BUNDLE_OPEN, &id);
    for length in 0..130 {
        let signature: Vec<u8> = good.iter().copied().cycle().take(length).collect();
        let head = Head::decode(&wire::encode(&(Bytes::new(&bytes), Bytes::new(&signature))));
        match length {
            64 => assert!(head.unwrap().verify_large().is_ok()),
            _ => assert_eq!(head, Err(HeadError::Shape), "{length}"),
        }
    }
}
