//! Receipts that must not free a copy or show a tick.

use postrider_base::{
    Lifetime, Niceness,
    bundle::{LockField, RECEIPT_BYTES, Receipt, ReceiptSecret, Sequence},
    compose::{Letter, Padding, Privacy, Sealed, To, seal},
    packet::{Body, Packet, Tail},
};

use crate::doors::{ALICE, BOB, node};

/// A compact bundle and an age one.
fn bundles() -> [Sealed<Vec<u8>>; 2] {
    let (alice, bob) = (node(ALICE), node(BOB));
    [10, 9000].map(|bytes| {
        let mut text = vec![0; bytes];
        blake3::Hasher::new().finalize_xof().fill(&mut text);
        let text = text.iter().map(|byte| char::from(b'!' + byte % 90)).collect();
        let packet = Packet { body: Body::Mail(text), tail: Tail::default() };
        let letter = Letter {
            author: &alice,
            to: To::One(bob.id(), bob.first_seal_key().public()),
            sequence: Sequence { epoch: 7, counter: 5 },
            created: 0,
            lifetime: Lifetime::DEFAULT,
            nice: Niceness::NORMAL,
            privacy: Privacy::Open,
            padding: Padding::Class,
        };
        seal(&letter, &packet.encode(), &[4; 32]).unwrap()
    })
}

fn honest(bundle: &Sealed<Vec<u8>>) -> Receipt {
    Receipt::new(&bundle.id, bundle.secret.as_ref().unwrap())
}

fn opens(receipt: &Receipt, bundle: &Sealed<Vec<u8>>) -> bool {
    receipt.opens(&bundle.id, bundle.head.header(), &bundle.payload)
}

#[test]
fn every_flipped_bit_makes_another_receipt_that_opens_nothing() {
    for bundle in bundles() {
        let good = honest(&bundle);
        assert!(opens(&good, &bundle));
        for bit in 0..RECEIPT_BYTES * 8 {
            let mut bytes = good.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let opened = Receipt::decode(&bytes).is_ok_and(|receipt| opens(&receipt, &bundle));
            assert!(!opened, "bit {bit}");
        }
    }
}

#[test]
fn a_receipt_of_one_bundle_opens_no_other() {
    let [one, other] = bundles();
    for (own, foreign) in [(&one, &other), (&other, &one)] {
        assert!(!opens(&honest(own), foreign));
        let renamed = Receipt { id_prefix: foreign.id.prefix(), ..honest(own) };
        assert!(!opens(&renamed, foreign), "the secret of another bundle");
        assert!(!opens(&renamed, own), "the name of another bundle");
    }
    for guess in [[0; 16], [0xff; 16]] {
        assert!(!opens(&Receipt::new(&one.id, &ReceiptSecret(guess)), &one));
    }
}

#[test]
fn a_bundle_without_a_lock_is_opened_by_no_receipt() {
    for bundle in bundles() {
        let r = bundle.secret.as_ref().unwrap().0;
        let mut nonce = [0; 8];
        nonce.copy_from_slice(&bundle.head.header().lock.as_bytes().unwrap()[..8]);
        // The lock's own bytes as a nonce: a header that only looks locked.
        for lock in [LockField::None, LockField::Nonce(nonce), LockField::Nonce([0; 8])] {
            let header = postrider_base::Header { lock, ..bundle.head.header().clone() };
            let receipt = Receipt { id_prefix: bundle.id.prefix(), r };
            assert!(!receipt.opens(&bundle.id, &header, &bundle.payload), "{lock:?}");
        }
    }
}

#[test]
fn a_lock_of_one_seal_is_not_opened_by_the_rule_of_the_other() {
    let [compact, age] = bundles();
    let compact_header = compact.head.header();
    let (LockField::Compact(short), LockField::Age(long)) =
        (compact_header.lock, age.head.header().lock)
    else {
        panic!("one of each")
    };
    let mut stretched = [0; 16];
    stretched[..8].copy_from_slice(&short);
    let mut cut = [0; 8];
    cut.copy_from_slice(&long[..8]);
    for (bundle, lock) in [(&compact, LockField::Age(stretched)), (&age, LockField::Compact(cut))] {
        let header = postrider_base::Header { lock, ..bundle.head.header().clone() };
        assert!(!honest(bundle).opens(&bundle.id, &header, &bundle.payload), "{lock:?}");
    }
}

#[test]
fn a_compact_lock_needs_the_very_key_it_was_made_beside() {
    let [compact, age] = bundles();
    let receipt = honest(&compact);
    let header = compact.head.header();
    assert!(receipt.opens(&compact.id, header, &compact.payload[..32]), "32 bytes are enough");
    for length in 0..32 {
        assert!(!receipt.opens(&compact.id, header, &compact.payload[..length]), "{length}");
    }
    for bit in 0..256 {
        let mut payload = compact.payload.clone();
        payload[bit / 8] ^= 1 << (bit % 8);
        assert!(!receipt.opens(&compact.id, header, &payload), "bit {bit}");
    }
    assert!(honest(&age).opens(&age.id, age.head.header(), &[]), "an age lock needs none");
}

#[test]
fn only_25_bytes_of_type_1_are_a_receipt() {
    let good = honest(&bundles()[0]).encode();
    for length in (0..80).filter(|length| *length != RECEIPT_BYTES) {
        let bytes: Vec<u8> = good.iter().copied().cycle().take(length).collect();
        assert!(Receipt::decode(&bytes).is_err(), "{length}");
    }
    for kind in (0..=255).filter(|kind| *kind != 1) {
        let mut bytes = good;
        bytes[0] = kind;
        assert!(Receipt::decode(&bytes).is_err(), "type {kind}");
    }
}
