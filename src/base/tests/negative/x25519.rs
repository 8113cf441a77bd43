//! Compact seals that must stay shut: the encapsulated key, and everything HPKE binds.

use postrider_base::{
    Head,
    bundle::{LockField, SealKind},
    domain,
    seal::compact,
    unseal::{Keyring, OpenError, open_small},
};

use crate::{
    doors::{ALICE, BOB, header, node},
    points::{P, add, small, small_order_u},
    seals::Hpke,
};

const CORE: &[u8] = b"the core of a header";
const PLAIN: &[u8] = b"\x82\x00\x41x";

struct Given {
    payload: Vec<u8>,
    lock: LockField,
}

fn info() -> Vec<u8> {
    [domain::COMPACT_INFO, node(BOB).id().as_bytes()].concat()
}

fn locked(hpke: &Hpke, payload: Vec<u8>) -> Given {
    let r = hpke.export(domain::RECEIPT_EXPORT);
    let digest = domain::derive(domain::LOCK, &[&hpke.encapsulated, &r]);
    Given { payload, lock: LockField::Compact(digest[..8].try_into().unwrap()) }
}

fn honest(ephemeral: [u8; 32]) -> Given {
    let key = node(BOB).first_seal_key().public();
    let hpke = Hpke::new(ephemeral, key.as_bytes(), &info());
    let payload = hpke.seal(CORE, PLAIN);
    locked(&hpke, payload)
}

impl Given {
    fn opens_as(&self, binding: &[u8], reader: u8, core: &[u8]) -> bool {
        let key = node(reader).first_seal_key();
        let with_lock = compact::open(binding, &key, core, &self.lock, &self.payload).is_ok();
        // A bundle without a lock leaves the check to the cipher alone.
        let without = compact::open(binding, &key, core, &LockField::None, &self.payload).is_ok();
        assert!(without || !with_lock, "a lock opens nothing by itself");
        without
    }

    fn opens(&self) -> bool {
        self.opens_as(node(BOB).id().as_bytes(), BOB, CORE)
    }

    fn spoiled(&self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut payload = self.payload.clone();
        change(&mut payload);
        Self { payload, lock: self.lock }
    }
}

#[test]
fn an_honest_seal_opens() {
    let given = honest([0x33; 32]);
    assert!(given.opens());
    let (bob, key) = (node(BOB).id(), node(BOB).first_seal_key());
    let opened = compact::open(bob.as_bytes(), &key, CORE, &given.lock, &given.payload);
    assert_eq!(opened.unwrap().0, PLAIN);
}

#[test]
fn an_encapsulated_key_of_small_order_is_refused_in_every_spelling() {
    // Everybody knows the shared secret, so the seal is perfect but for that.
    let key = node(BOB).first_seal_key().public();
    let mut spellings = Vec::new();
    for u in small_order_u() {
        let unreduced = [add(&u, &P), add(&add(&u, &P).0, &P)];
        let all = unreduced.iter().filter(|sum| !sum.1).map(|sum| sum.0).chain([u]);
        for mut raw in all.collect::<Vec<_>>() {
            spellings.push(raw);
            raw[31] ^= 0x80;
            spellings.push(raw);
        }
    }
    spellings.sort_unstable();
    spellings.dedup();
    assert!(spellings.len() >= 12);
    for encapsulated in spellings {
        let hpke = Hpke::from_shared(encapsulated, [0; 32], key.as_bytes(), &info());
        let given = locked(&hpke, hpke.seal(CORE, PLAIN));
        assert!(!given.opens(), "{encapsulated:02x?}");
    }
}

#[test]
fn an_encapsulated_key_cannot_be_respelled_on_the_way() {
    // X25519 ignores the top bit and reduces u, so the shared secret stays; HPKE's context has
    // the bytes, so nothing else does.
    let given = honest([0x33; 32]);
    assert!(!given.spoiled(|payload| payload[31] ^= 0x80).opens(), "the ignored bit");
    // The base point, u = 9: its owner's "shared secret" is the recipient's own public key.
    let key = node(BOB).first_seal_key().public();
    let hpke = Hpke::from_shared(small(9), *key.as_bytes(), key.as_bytes(), &info());
    let given = locked(&hpke, hpke.seal(CORE, PLAIN));
    assert!(given.opens(), "sealed with the secret one: unwise, and as good as any");
    let (respelled, _) = add(&small(9), &P);
    assert!(!given.spoiled(|payload| payload[..32].copy_from_slice(&respelled)).opens(), "9 + p");
}

#[test]
fn every_flipped_bit_and_every_other_length_keeps_it_shut() {
    let given = honest([0x33; 32]);
    for bit in 0..given.payload.len() * 8 {
        assert!(!given.spoiled(|payload| payload[bit / 8] ^= 1 << (bit % 8)).opens(), "bit {bit}");
    }
    for length in 0..given.payload.len() {
        assert!(!given.spoiled(|payload| payload.truncate(length)).opens(), "cut to {length}");
    }
    for more in [1, 16, 48] {
        let extended = given.spoiled(|payload| payload.resize(payload.len() + more, 0));
        assert!(!extended.opens(), "{more} bytes more");
        let doubled = given.spoiled(|payload| payload.extend(given.payload[..more].to_vec()));
        assert!(!doubled.opens(), "{more} bytes again");
    }
    let tag_at = given.payload.len() - 16;
    for tag in [[0; 16], [0xff; 16]] {
        assert!(!given.spoiled(|payload| payload[tag_at..].copy_from_slice(&tag)).opens());
    }
    assert!(!given.spoiled(|payload| payload[32..].reverse()).opens());
}

#[test]
fn the_halves_of_two_seals_do_not_open() {
    let [one, other] = [[0x33; 32], [0x44; 32]].map(honest);
    for (front, back) in [(&one, &other), (&other, &one)] {
        let spliced = front.spoiled(|payload| {
            payload.truncate(32);
            payload.extend(&back.payload[32..]);
        });
        assert!(!spliced.opens());
    }
}

#[test]
fn the_seal_binds_its_recipient_and_its_header() {
    let given = honest([0x33; 32]);
    let (bob, mallory) = (*node(BOB).id().as_bytes(), *node(6).id().as_bytes());
    assert!(given.opens_as(&bob, BOB, CORE));
    for (what, binding) in [
        ("another recipient", &mallory[..]),
        ("nobody", &[]),
        ("a group", &bob[..16]),
        ("more than the recipient", &[bob, bob].concat()),
    ] {
        assert!(!given.opens_as(binding, BOB, CORE), "{what}");
    }
    assert!(!given.opens_as(&bob, ALICE, CORE), "another key");
    for bit in 0..CORE.len() * 8 {
        let mut core = CORE.to_vec();
        core[bit / 8] ^= 1 << (bit % 8);
        assert!(!given.opens_as(&bob, BOB, &core), "bit {bit} of the core");
    }
    assert!(!given.opens_as(&bob, BOB, &CORE[1..]), "a shorter core");
    assert!(!given.opens_as(&bob, BOB, &[]), "no core");
}

#[test]
fn the_lock_is_checked_whatever_the_seal_says() {
    let (bob, key) = (node(BOB).id(), node(BOB).first_seal_key());
    let given = honest([0x33; 32]);
    let LockField::Compact(lock) = given.lock else { panic!("compact") };
    let opens = |lock| compact::open(bob.as_bytes(), &key, CORE, &lock, &given.payload).is_ok();
    for bit in 0..64 {
        let mut other = lock;
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(LockField::Compact(other)), "bit {bit}");
    }
    // Nothing is a receipt for a bundle without a lock, though it opens.
    let opened = compact::open(bob.as_bytes(), &key, CORE, &LockField::None, &given.payload);
    assert!(opened.unwrap().1.is_none());
}

#[test]
fn a_seal_of_small_order_is_no_mail_for_its_reader() {
    let (bob, keys) = (node(BOB).id(), [node(BOB).first_seal_key()]);
    let ring = Keyring { node: &bob, keys: &keys, senders: &[] };
    for u in small_order_u() {
        let hpke = Hpke::from_shared(u, [0; 32], keys[0].public().as_bytes(), &info());
        let lock = locked(&hpke, Vec::new()).lock;
        let mut header = header(SealKind::Compact, lock, false, 0, None);
        let payload = hpke.seal(&header.core(), PLAIN);
        header.length = payload.len() as u64;
        let head = Head::sign(header, &payload, &node(ALICE));
        head.verify_small(&payload).expect("relays cannot tell");
        let verdict = open_small(&head, &payload, &ring).map(|_| ());
        assert!(matches!(verdict, Err(OpenError::Seal)), "{u:02x?}: {verdict:?}");
    }
}
