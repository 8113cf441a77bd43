//! Where signatures are checked: each door takes whatever it is given in a signature's place.

use std::io::Write;

use postrider_base::{
    Head, Header, Lifetime, Niceness, NodeId, NodeSecret, SealSecret,
    bundle::{Destination, HeadError, LockField, Origin, SealKind, Sequence, SmallBundle, tag_of},
    card::{Card, CardError, Facts},
    domain,
    packet::{Body, Packet, Tail},
    seal::{age, compact},
    unseal::{Keyring, OpenError, open_small, open_stream},
    wire,
};
use serde_bytes::{ByteBuf, Bytes};

/// Alice signs, Bob reads.
pub(crate) const ALICE: u8 = 1;
pub(crate) const BOB: u8 = 2;

pub(crate) fn node(n: u8) -> NodeSecret {
    NodeSecret::from_seed([n; 32])
}

/// Makes a signature of the 64 bytes that are signed.
pub(crate) type Sign<'a> = &'a dyn Fn(&[u8; 64]) -> [u8; 64];

/// A door, and whether the signature passed; any refusal but "the signature does not hold" is a
/// mistake of the test.
pub(crate) type Door = (&'static str, fn(Sign<'_>) -> bool);

pub(crate) const DOORS: &[Door] = &[
    ("bare", bare),
    ("open small bundle", open_small_bundle),
    ("open large bundle", open_large_bundle),
    ("hidden compact bundle", hidden_compact),
    ("hidden age bundle", hidden_age),
    ("card", card),
];

fn bare(sign: Sign<'_>) -> bool {
    let signature = sign(&domain::signed_input(&domain::CARD, &[9; 32]));
    node(ALICE).id().verify(&domain::CARD, &[9; 32], &signature)
}

fn open_small_bundle(sign: Sign<'_>) -> bool {
    let payload = [0x55; 100];
    let header = header(SealKind::None, LockField::None, false, 100, None).encode();
    let id = domain::derive(domain::ID, &[&header, &payload]);
    let signature = sign(&domain::signed_input(&domain::BUNDLE_OPEN, &id));
    let bytes = wire::encode(&(Bytes::new(&header), Bytes::new(&signature), Bytes::new(&payload)));
    let bundle = SmallBundle::decode(&bytes).unwrap();
    match bundle.head.verify_small(&bundle.payload) {
        Ok(_) => true,
        Err(HeadError::Signature) => false,
        Err(other) => panic!("{other}"),
    }
}

fn open_large_bundle(sign: Sign<'_>) -> bool {
    let header = header(SealKind::None, LockField::None, false, 5000, Some([8; 32])).encode();
    let id = domain::derive(domain::ID, &[&header]);
    let signature = sign(&domain::signed_input(&domain::BUNDLE_OPEN, &id));
    let head = Head::decode(&wire::encode(&(Bytes::new(&header), Bytes::new(&signature)))).unwrap();
    match head.verify_large() {
        Ok(_) => true,
        Err(HeadError::Signature) => false,
        Err(other) => panic!("{other}"),
    }
}

fn hidden_compact(sign: Sign<'_>) -> bool {
    let (bob, key) = (node(BOB).id(), node(BOB).first_seal_key().public());
    let sealing = compact::Sealing::new(bob.as_bytes(), &key, [9; 32]).unwrap();
    let mut header = header(SealKind::Compact, sealing.lock(), true, 0, None);
    let core = header.core();
    let (payload, _) = sealing.seal(&core, &inner(&core, sign)).unwrap();
    header.length = payload.len() as u64;
    let head = Head::sign(header, &payload, &node(ALICE));
    with_ring(|ring| passed(open_small(&head, &payload, ring)))
}

fn hidden_age(sign: Sign<'_>) -> bool {
    let r = [0x52; 16];
    let mut lock = [0; 16];
    lock.copy_from_slice(&domain::derive(domain::LOCK, &[&r])[..16]);
    let mut header = header(SealKind::Age, LockField::Age(lock), true, 0, None);
    let core = header.core();
    let mut writer = age::seal_to(&[node(BOB).first_seal_key().public()], Vec::new()).unwrap();
    writer.write_all(blake3::hash(&core).as_bytes()).unwrap();
    writer.write_all(&r).unwrap();
    writer.write_all(&inner(&core, sign)).unwrap();
    let payload = writer.finish().unwrap();
    header.length = payload.len() as u64;
    let head = Head::sign(header, &payload, &node(ALICE));
    with_ring(|ring| passed(open_stream(&head, &payload[..], ring, |_| Ok(std::io::sink()))))
}

fn card(sign: Sign<'_>) -> bool {
    match Card::decode(&card_bytes(&node(ALICE), sign)) {
        Ok(_) => true,
        Err(CardError::Signature) => false,
        Err(other) => panic!("{other}"),
    }
}

/// A card with any signature.
pub(crate) fn card_bytes(owner: &NodeSecret, sign: Sign<'_>) -> Vec<u8> {
    let body = card_body(owner);
    let digest = domain::derive(domain::CARD_DIGEST, &[&body]);
    let signature = sign(&domain::signed_input(&domain::CARD, &digest));
    wire::encode(&(Bytes::new(&body), Bytes::new(&signature)))
}

/// The part of a card that is signed.
pub(crate) fn card_body(owner: &NodeSecret) -> Vec<u8> {
    let facts = Facts {
        node: owner.id(),
        number: 3,
        seal_keys: vec![(1, owner.first_seal_key().public())],
        name: "Alice".into(),
        hints: vec![],
        features: 0,
    };
    let honest = Card::sign(facts, owner).unwrap();
    let (body, _): (ByteBuf, ByteBuf) = wire::decode(honest.as_bytes()).unwrap();
    body.into_vec()
}

/// A hidden plaintext with its signature.
fn inner(core: &[u8], sign: Sign<'_>) -> Vec<u8> {
    let packet = Packet { body: Body::Mail("x".into()), tail: Tail::default() }.encode();
    let sender = wire::encode(&Bytes::new(node(ALICE).id().as_bytes()));
    let mut said = vec![packet[0] + 4];
    said.extend([sender, wire::encode(&7), wire::encode(&5), wire::encode(&0)].concat());
    said.extend(&packet[1..]);
    let digest = domain::derive(domain::HIDDEN, &[node(BOB).id().as_bytes(), core, &said]);
    let signature = sign(&domain::signed_input(&domain::BUNDLE_HIDDEN, &digest));
    said.extend(signature);
    said
}

fn passed<W>(opened: Result<postrider_base::unseal::Opened<W>, OpenError>) -> bool {
    match opened {
        Ok(_) => true,
        Err(OpenError::Author) => false,
        Err(other) => panic!("{other}"),
    }
}

fn with_ring<T>(run: impl FnOnce(&Keyring<'_>) -> T) -> T {
    let (bob, keys): (NodeId, [SealSecret; 1]) = (node(BOB).id(), [node(BOB).first_seal_key()]);
    run(&Keyring { node: &bob, keys: &keys, senders: &[] })
}

/// From Alice to Bob.
pub(crate) fn header(
    seal: SealKind,
    lock: LockField,
    hidden: bool,
    length: u64,
    hash: Option<[u8; 32]>,
) -> Header {
    let key = node(BOB).first_seal_key().public();
    let (destination, origin) = if hidden {
        (Destination::Tag(tag_of(&key, &lock).unwrap()), Origin::Hidden)
    } else {
        let sequence = Sequence { epoch: 7, counter: 5 };
        let origin = Origin::Open { source: node(ALICE).id(), sequence, created: 0 };
        (Destination::Node(node(BOB).id()), origin)
    };
    let (lifetime, nice) = (Lifetime::DEFAULT, Niceness::NORMAL);
    Header { destination, lifetime, nice, seal, lock, origin, length, hash }
}
