//! Through the wall and back, and every documented attack on it (docs/format.md, "Attacks").
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};

use postrider_base::{
    BundleId, Lifetime, Niceness, NodeSecret, SealSecret,
    bundle::{
        Destination, Head, LockField, Origin, Receipt, ReceiptSecret, SealKind, Sequence,
        SmallBundle, resolve_tag,
    },
    compose::{AgeSealer, Letter, Padding, Privacy, Sealed, To, seal},
    id::SetId,
    packet::{Body, PART_BYTES, Packet, PartHead, Tail},
    unseal::{Keyring, OpenError, open_small, open_stream},
};

struct People {
    alice: NodeSecret,
    bob: NodeSecret,
    bob_keys: Vec<SealSecret>,
    mallory: NodeSecret,
}

fn people() -> People {
    let [alice, bob, mallory] = [1, 2, 6].map(|n| NodeSecret::from_seed([n; 32]));
    let bob_keys = vec![bob.first_seal_key()];
    People { alice, bob, bob_keys, mallory }
}

impl People {
    fn letter<'a>(&self, author: &'a NodeSecret, privacy: Privacy) -> Letter<'a> {
        Letter {
            author,
            to: To::One(self.bob.id(), self.bob_keys[0].public()),
            sequence: Sequence { epoch: 0xdead_beef, counter: 5 },
            created: 1_800_000_000,
            lifetime: Lifetime::DEFAULT,
            nice: Niceness::NORMAL,
            privacy,
            padding: Padding::Class,
        }
    }

    fn open(&self, sealed: &Sealed<Vec<u8>>) -> Result<(Packet, Vec<u8>), OpenError> {
        let (node, senders) = (self.bob.id(), [self.mallory.id(), self.alice.id()]);
        let ring = Keyring { node: &node, keys: &self.bob_keys, senders: &senders };
        assert!(ring.is_for_us(&sealed.head));
        if sealed.head.header().is_small() {
            assert_eq!(sealed.head.verify_small(&sealed.payload).unwrap(), sealed.id);
            let opened = open_small(&sealed.head, &sealed.payload, &ring)?;
            assert_eq!(opened.source, self.alice.id());
            assert_eq!(opened.sequence, Sequence { epoch: 0xdead_beef, counter: 5 });
            assert_eq!(opened.secret, sealed.secret);
            Ok((opened.packet, vec![]))
        } else {
            assert_eq!(sealed.head.verify_large().unwrap(), sealed.id);
            let opened = open_stream(&sealed.head, &sealed.payload[..], &ring, |_| Ok(Vec::new()))?;
            assert_eq!(opened.source, self.alice.id());
            assert_eq!(opened.secret, sealed.secret);
            let raw = opened.part.map_or(vec![], |(raw, hash)| {
                assert_eq!(blake3::hash(&raw).as_bytes(), &hash);
                raw
            });
            Ok((opened.packet, raw))
        }
    }
}

const HIDDEN: Privacy = Privacy::Hidden { known: true };
const HIDDEN_STRANGER: Privacy = Privacy::Hidden { known: false };

fn mail(text: &str) -> Packet {
    Packet { body: Body::Mail(text.into()), tail: Tail::default() }
}

/// Text that no dictionary shortens.
fn noise(bytes: usize) -> String {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut out);
    out.iter().map(|byte| char::from(b'!' + byte % 90)).collect()
}

fn part(raw: &[u8], compressed: Option<u64>) -> Vec<u8> {
    let head = PartHead {
        set: SetId([3; 16]),
        index: 7,
        stored_bytes: raw.len() as u64,
        plain_bytes: compressed.unwrap_or(raw.len() as u64),
        compressed: compressed.is_some(),
    };
    Packet { body: Body::Part(head), tail: Tail::default() }.encode()
}

fn seal_part(letter: &Letter<'_>, packet: &[u8], raw: &[u8]) -> Sealed<Vec<u8>> {
    let mut sealer = AgeSealer::new(letter, &[4; 32], packet, Vec::new()).unwrap();
    sealer.write_all(raw).unwrap();
    sealer.finish().unwrap()
}

#[test]
fn mail_of_every_size_arrives_through_both_envelopes() {
    let people = people();
    for privacy in [Privacy::Open, HIDDEN, HIDDEN_STRANGER] {
        for bytes in [0, 1, 100, 1000, 3900, 4000, 4096, 5000, 60_000] {
            let packet = mail(&noise(bytes));
            let letter = people.letter(&people.alice, privacy);
            let sealed = seal(&letter, &packet.encode(), &[4; 32]).unwrap();
            assert_eq!(people.open(&sealed).unwrap().0, packet, "{privacy:?} {bytes}");
            if sealed.head.header().is_small() {
                let bundle =
                    SmallBundle { head: sealed.head.clone(), payload: sealed.payload.clone() };
                assert_eq!(SmallBundle::decode(&bundle.encode()), Ok(bundle));
            }
        }
    }
}

#[test]
fn parts_stream_through_both_envelopes_and_a_full_part_pads_to_nothing() {
    let people = people();
    for privacy in [Privacy::Open, HIDDEN, HIDDEN_STRANGER] {
        let raw = noise(usize::try_from(PART_BYTES).unwrap()).into_bytes();
        let letter = people.letter(&people.alice, privacy);
        let sealed = seal_part(&letter, &part(&raw, None), &raw);
        let overhead = sealed.payload.len() - (8 << 20);
        assert!((2000..3000).contains(&overhead), "age's own: {overhead}");
        assert_eq!(people.open(&sealed).unwrap().1, raw, "{privacy:?}");

        let packed = zstd::bulk::compress(&raw, 1).unwrap();
        let packet = part(&packed, Some(PART_BYTES));
        let sealed = seal_part(&letter, &packet, &packed);
        assert_eq!(people.open(&sealed).unwrap().1, raw, "{privacy:?} compressed");
    }
}

#[test]
fn a_part_that_unpacks_to_another_length_is_refused() {
    let people = people();
    let packed = zstd::bulk::compress(&[0; 300_000], 1).unwrap();
    for said in [299_999, 300_001] {
        let letter = people.letter(&people.alice, Privacy::Open);
        let sealed = seal_part(&letter, &part(&packed, Some(said)), &packed);
        assert!(people.open(&sealed).is_err(), "{said}");
    }
}

#[test]
fn a_100_byte_text_is_as_small_as_the_format_promises() {
    let people = people();
    let sizes = [Privacy::Open, HIDDEN].map(|privacy| {
        [Padding::Bare, Padding::Class].map(|padding| {
            let letter = Letter { padding, ..people.letter(&people.alice, privacy) };
            let sealed = seal(&letter, &mail(&noise(100)).encode(), &[4; 32]).unwrap();
            SmallBundle { head: sealed.head, payload: sealed.payload }.encode().len()
        })
    });
    println!("open {:?}, hidden {:?} (bare, padded)", sizes[0], sizes[1]);
    assert!(sizes[0][0] <= 330 && sizes[0][1] <= 390, "open: {:?}", sizes[0]);
    assert!(sizes[1][0] <= 280, "hidden: {:?}", sizes[1]);
}

#[test]
fn a1_the_exported_seal_key_signs_nothing() {
    let people = people();
    let scalar_as_seed = NodeSecret::from_seed(*people.bob_keys[0].as_bytes());
    assert_ne!(scalar_as_seed.id(), people.bob.id());
}

#[test]
fn a3_a_forged_author_around_anothers_age_payload_is_found() {
    let people = people();
    let letter = people.letter(&people.alice, Privacy::Open);
    let stolen = seal(&letter, &mail(&noise(9000)).encode(), &[4; 32]).unwrap();
    let mut header = stolen.head.header().clone();
    header.origin = Origin::Open {
        source: people.mallory.id(),
        sequence: Sequence { epoch: 1, counter: 1 },
        created: 0,
    };
    let head = Head::sign(header, &[], &people.mallory);
    head.verify_large().expect("relays cannot tell");
    let (node, ring_keys) = (people.bob.id(), &people.bob_keys);
    let ring = Keyring { node: &node, keys: ring_keys, senders: &[] };
    let verdict = open_stream(&head, &stolen.payload[..], &ring, |_| Ok(Vec::new()));
    assert!(matches!(verdict, Err(OpenError::Binding)), "{verdict:?}");
}

#[test]
fn a3_a_forged_author_around_anothers_compact_payload_is_found() {
    let people = people();
    let letter = people.letter(&people.alice, Privacy::Open);
    let stolen = seal(&letter, &mail("hi").encode(), &[4; 32]).unwrap();
    let mut header = stolen.head.header().clone();
    header.origin = Origin::Open {
        source: people.mallory.id(),
        sequence: Sequence { epoch: 1, counter: 1 },
        created: 0,
    };
    let head = Head::sign(header, &stolen.payload, &people.mallory);
    let node = people.bob.id();
    let ring = Keyring { node: &node, keys: &people.bob_keys, senders: &[] };
    let verdict = open_small(&head, &stolen.payload, &ring);
    assert!(matches!(verdict, Err(OpenError::Seal)), "{verdict:?}");
}

#[test]
fn a4_a_hidden_bundle_shows_no_stable_string_of_either_end() {
    let people = people();
    let bundles: Vec<Vec<u8>> = (0..2)
        .map(|n| {
            let letter = people.letter(&people.alice, HIDDEN);
            let sealed = seal(&letter, &mail("the same text").encode(), &[n; 32]).unwrap();
            SmallBundle { head: sealed.head, payload: sealed.payload }.encode()
        })
        .collect();
    let (alice, bob) = (people.alice.id(), people.bob.id());
    let key = people.bob_keys[0].public();
    for bundle in &bundles {
        for secret in [&alice.as_bytes()[..], bob.as_bytes(), key.as_bytes(), &[0xde, 0xad]] {
            assert!(!bundle.windows(secret.len()).any(|w| w == secret));
        }
    }
    // What two bundles between the same ends share is only what all bundles share.
    let common = bundles[0].iter().zip(&bundles[1]).take_while(|(a, b)| a == b).count();
    assert!(common <= 12, "the first {common} bytes are the same: version, flags, lengths");
}

#[test]
fn a5_group_bundles_have_no_lock_and_no_receipt() {
    let people = people();
    for bytes in [10, 9000] {
        let letter = Letter {
            to: To::Group([8; 16], vec![people.bob_keys[0].public()]),
            ..people.letter(&people.alice, Privacy::Open)
        };
        let sealed = seal(&letter, &mail(&noise(bytes)).encode(), &[4; 32]).unwrap();
        assert_eq!(sealed.head.header().lock, LockField::None);
        assert_eq!(sealed.secret, None);
        let node = people.bob.id();
        let ring = Keyring { node: &node, keys: &people.bob_keys, senders: &[] };
        let opened = open_stream_or_small(&sealed, &ring);
        assert_eq!(opened, Some(mail(&noise(bytes))));
    }
}

fn open_stream_or_small(sealed: &Sealed<Vec<u8>>, ring: &Keyring<'_>) -> Option<Packet> {
    if sealed.head.header().is_small() {
        Some(open_small(&sealed.head, &sealed.payload, ring).ok()?.packet)
    } else {
        let opened = open_stream(&sealed.head, &sealed.payload[..], ring, |_| Ok(Vec::new()));
        Some(opened.ok()?.packet)
    }
}

#[test]
fn a6_a_receipt_opens_its_own_bundle_only() {
    let people = people();
    let [one, two] = [10, 9000].map(|bytes| {
        let letter = people.letter(&people.alice, Privacy::Open);
        seal(&letter, &mail(&noise(bytes)).encode(), &[4; 32]).unwrap()
    });
    for (own, other) in [(&one, &two), (&two, &one)] {
        let receipt = Receipt::new(&own.id, own.secret.as_ref().unwrap());
        assert!(receipt.opens(&own.id, own.head.header(), &own.payload));
        assert!(!receipt.opens(&other.id, other.head.header(), &other.payload));
        let forged = Receipt::new(&own.id, &ReceiptSecret([0; 16]));
        assert!(!forged.opens(&own.id, own.head.header(), &own.payload));
        let moved = Receipt::new(&other.id, own.secret.as_ref().unwrap());
        assert!(!moved.opens(&other.id, other.head.header(), &other.payload));
    }
}

#[test]
fn a8_clear_bundles_are_signed_and_open_for_everybody() {
    let people = people();
    let letter = Letter {
        to: To::Public(Destination::Group([8; 16])),
        ..people.letter(&people.alice, Privacy::Open)
    };
    let sealed = seal(&letter, &mail("water at the school").encode(), &[4; 32]).unwrap();
    assert_eq!(sealed.head.header().seal, SealKind::None);
    let node = people.mallory.id();
    let ring = Keyring { node: &node, keys: &[], senders: &[] };
    assert_eq!(open_small(&sealed.head, &sealed.payload, &ring).unwrap().source, people.alice.id());
    let hidden = Letter { privacy: HIDDEN, ..letter };
    assert!(seal(&hidden, &mail("x").encode(), &[4; 32]).is_err());
}

#[test]
fn a10_lengths_show_only_classes() {
    let people = people();
    for privacy in [Privacy::Open, HIDDEN] {
        let letter = people.letter(&people.alice, privacy);
        let mut lengths: Vec<usize> = (0..120)
            .map(|n| seal(&letter, &mail(&noise(n)).encode(), &[4; 32]).unwrap().payload.len())
            .collect();
        lengths.dedup();
        assert!(
            lengths.iter().all(|n| [114, 146, 178, 202, 210, 256, 512].contains(n)),
            "{lengths:?}"
        );
    }
}

#[test]
fn b1_a_repeated_generator_repeats_no_ephemeral_key() {
    let people = people();
    let letter = people.letter(&people.alice, Privacy::Open);
    let again = Letter { sequence: Sequence { epoch: 1, counter: 6 }, ..letter.clone() };
    let one = seal(&letter, &mail("one").encode(), &[0; 32]).unwrap();
    let other_text = seal(&letter, &mail("two").encode(), &[0; 32]).unwrap();
    let other_sequence = seal(&again, &mail("one").encode(), &[0; 32]).unwrap();
    assert_ne!(one.payload[..32], other_text.payload[..32]);
    assert_ne!(one.payload[..32], other_sequence.payload[..32]);
}

#[test]
fn b2_tags_differ_per_bundle_and_resolve_for_card_holders() {
    let people = people();
    let key = people.bob_keys[0].public();
    let tags: Vec<Destination> = (0..4)
        .map(|n| {
            let letter = people.letter(&people.alice, HIDDEN);
            let bytes = if n % 2 == 0 { 10 } else { 9000 };
            let sealed = seal(&letter, &mail(&noise(bytes)).encode(), &[n; 32]).unwrap();
            assert_eq!(resolve_tag(sealed.head.header(), [&key]), Some(&key));
            sealed.head.header().destination
        })
        .collect();
    for (i, tag) in tags.iter().enumerate() {
        assert!(!tags[i + 1..].contains(tag));
    }
}

#[test]
fn b5_a_variant_of_a_hidden_header_does_not_open() {
    let people = people();
    for bytes in [10, 9000] {
        let letter = people.letter(&people.alice, HIDDEN);
        let sealed = seal(&letter, &mail(&noise(bytes)).encode(), &[4; 32]).unwrap();
        let mut header = sealed.head.header().clone();
        header.nice = Niceness::FLASH;
        let head = Head::sign(header, &sealed.payload, &people.mallory);
        let variant = Sealed {
            id: head.id(&sealed.payload),
            head,
            secret: sealed.secret.clone(),
            payload: sealed.payload.clone(),
        };
        assert_ne!(variant.id, sealed.id);
        let verdict = people.open(&variant).map(|_| ());
        assert!(matches!(verdict, Err(OpenError::Seal | OpenError::Binding)), "{verdict:?}");
    }
}

#[test]
fn hidden_mail_of_an_unknown_hint_is_refused_and_named_so() {
    let people = people();
    let sealed =
        seal(&people.letter(&people.alice, HIDDEN), &mail("hi").encode(), &[4; 32]).unwrap();
    let node = people.bob.id();
    let strangers = [people.mallory.id()];
    let ring = Keyring { node: &node, keys: &people.bob_keys, senders: &strangers };
    let verdict = open_small(&sealed.head, &sealed.payload, &ring).map(|_| ());
    assert!(matches!(verdict, Err(OpenError::Author)));
}

#[test]
fn another_recipient_opens_nothing() {
    let people = people();
    let mallory_keys = [people.mallory.first_seal_key()];
    let node = people.mallory.id();
    let ring = Keyring { node: &node, keys: &mallory_keys, senders: &[] };
    for (privacy, bytes) in
        [(Privacy::Open, 10), (HIDDEN, 10), (Privacy::Open, 9000), (HIDDEN, 9000)]
    {
        let letter = people.letter(&people.alice, privacy);
        let sealed = seal(&letter, &mail(&noise(bytes)).encode(), &[4; 32]).unwrap();
        assert!(!ring.is_for_us(&sealed.head));
        assert_eq!(open_stream_or_small(&sealed, &ring), None);
    }
}

#[test]
fn a_rotated_seal_key_still_opens_old_mail() {
    let mut people = people();
    let letter = people.letter(&people.alice, HIDDEN);
    let sealed =
        [10, 9000].map(|bytes| seal(&letter, &mail(&noise(bytes)).encode(), &[4; 32]).unwrap());
    people.bob_keys.insert(0, SealSecret::from_bytes([77; 32]));
    for sealed in &sealed {
        people.open(sealed).expect("the old key is still on the ring");
    }
}

#[test]
fn every_damaged_byte_of_a_payload_is_found_and_called_damage_where_the_hash_tells() {
    let people = people();
    let letter = people.letter(&people.alice, Privacy::Open);
    let raw = noise(70_000).into_bytes();
    let sealed = seal_part(&letter, &part(&raw, None), &raw);
    let node = people.bob.id();
    let ring = Keyring { node: &node, keys: &people.bob_keys, senders: &[] };
    for at in (0..sealed.payload.len()).step_by(997) {
        let mut payload = sealed.payload.clone();
        payload[at] ^= 0x10;
        let verdict = open_stream(&sealed.head, &payload[..], &ring, |_| Ok(Vec::new()));
        assert!(matches!(verdict, Err(OpenError::Damaged)), "byte {at}: {verdict:?}");
        let verdict = open_stream(&sealed.head, &payload[..at], &ring, |_| Ok(Vec::new()));
        assert!(matches!(verdict, Err(OpenError::Damaged)), "cut at {at}: {verdict:?}");
    }
}

#[test]
fn a_failing_disk_is_not_called_damage() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("input/output error"))
        }
    }
    let people = people();
    let letter = people.letter(&people.alice, Privacy::Open);
    let raw = noise(70_000).into_bytes();
    let sealed = seal_part(&letter, &part(&raw, None), &raw);
    let node = people.bob.id();
    let ring = Keyring { node: &node, keys: &people.bob_keys, senders: &[] };
    for good in [0, 100, 40_000] {
        let payload = sealed.payload[..good].chain(Failing);
        let verdict = open_stream(&sealed.head, payload, &ring, |_| Ok(Vec::new()));
        assert!(matches!(verdict, Err(OpenError::Read(_))), "after {good}: {verdict:?}");
    }
}

#[test]
fn replies_and_cards_travel_in_the_tail() {
    let people = people();
    let tail = Tail { reply_to: Some(BundleId([9; 32])), card: Some(vec![1; 170]) };
    let packet = Packet { tail, ..mail("hello") };
    for privacy in [Privacy::Open, HIDDEN_STRANGER] {
        let letter = people.letter(&people.alice, privacy);
        let sealed = seal(&letter, &packet.encode(), &[4; 32]).unwrap();
        assert_eq!(people.open(&sealed).unwrap().0, packet);
    }
}
