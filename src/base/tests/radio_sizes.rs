//! What texts of a hundred characters cost on the air: `cargo test -p postrider-base --test radio_sizes -- --nocapture`.
#![allow(clippy::unwrap_used, missing_docs)]

use postrider_base::{
    Lifetime, Niceness, NodeId, NodeSecret, SealPublic,
    bundle::{Destination, Hop, Receipt, Sequence, SmallBundle},
    compose::{self, Letter, Padding, Privacy, To},
    packet::{Body, Packet, Tail},
    radio::{self, Knowledge, Pieces, Reader, Taken, expand, shrink},
    unseal::{Keyring, open_small},
};

/// 20 texts of 100 characters each in English, German, Spanish and French.
const HUNDRED: &str = include_str!("../dict/heldout/hundred.txt");
/// What a frame may have (LoRa modules take 240 and more, LoRaWAN 222).
const FRAME: usize = 230;
const LORAWAN: usize = 222;
const HOP: Hop = Hop { tokens: 2, hops: 0, age_s: 0, level: 0 };
const TO_CONTACT: Privacy = Privacy::Hidden { known: true };
const TO_STRANGER: Privacy = Privacy::Hidden { known: false };

fn node(n: u8) -> NodeSecret {
    NodeSecret::from_seed([n; 32])
}

/// Alice writes to Bob, by way of somebody who knows neither.
struct Road {
    alice: NodeSecret,
    bob: NodeSecret,
    both: [NodeId; 2],
    bobs_key: [SealPublic; 1],
}

impl Road {
    fn new() -> Self {
        let (alice, bob) = (node(1), node(2));
        let (both, bobs_key) = ([alice.id(), bob.id()], [bob.first_seal_key().public()]);
        Self { alice, bob, both, bobs_key }
    }

    fn letter(&self, to: To, privacy: Privacy) -> Letter<'_> {
        Letter {
            author: &self.alice,
            to,
            // The longest that a neighbour who writes every hour for seven years comes to.
            sequence: Sequence { epoch: 0xdead_beef, counter: 65_535 },
            created: 1_800_000_000,
            lifetime: Lifetime::DEFAULT,
            nice: Niceness::NORMAL,
            privacy,
            padding: Padding::Class,
        }
    }

    fn to_bob(&self, text: &str, privacy: Privacy) -> (SmallBundle, Receipt) {
        let to = To::One(self.bob.id(), self.bobs_key[0]);
        let packet = Packet { body: Body::Mail(text.into()), tail: Tail::default() }.encode();
        let sealed = compose::seal(&self.letter(to, privacy), &packet, &[9; 32]).unwrap();
        let receipt = Receipt::new(&sealed.id, &sealed.secret.unwrap());
        (SmallBundle { head: sealed.head, payload: sealed.payload }, receipt)
    }

    fn to_all(&self, text: &str) -> SmallBundle {
        let to = To::Public(Destination::Group([7; 16]));
        let packet = Packet { body: Body::Mail(text.into()), tail: Tail::default() }.encode();
        let sealed = compose::seal(&self.letter(to, Privacy::Open), &packet, &[9; 32]).unwrap();
        SmallBundle { head: sealed.head, payload: sealed.payload }
    }

    fn for_bob(&self) -> Reader<'_> {
        let nodes = &self.both[..1];
        Reader { node: Some(&self.both[1]), seal_keys: &self.bobs_key, nodes, groups: &[] }
    }
}

#[test]
fn a_hundred_characters_take_one_frame_between_contacts_and_two_to_a_stranger() {
    let road = Road::new();
    let knowing = Reader { nodes: &road.both, ..Reader::STRANGER };
    let forms = [
        ("hidden, to a contact, by a relay", TO_CONTACT, Reader::STRANGER),
        ("  the same to the recipient", TO_CONTACT, road.for_bob()),
        ("hidden, to a stranger, by a relay", TO_STRANGER, Reader::STRANGER),
        ("  the same to the recipient", TO_STRANGER, road.for_bob()),
        ("open, by a relay", Privacy::Open, Reader::STRANGER),
        ("  by a relay that knows both", Privacy::Open, knowing),
        ("  the same to the recipient", Privacy::Open, road.for_bob()),
    ];
    println!(
        "{:34} {:>9} {:>5} {:>5} {:>6} {:>6}",
        "", "canonical", "least", "most", "<= 230", "<= 222"
    );
    for (name, privacy, reader) in forms {
        let bundles = HUNDRED.lines().map(|text| road.to_bob(text, privacy).0);
        let forms = row(name, bundles, &reader);
        match privacy {
            TO_CONTACT => {
                assert!(forms.iter().all(|form| form.len() <= FRAME));
                let fit = forms.iter().filter(|form| form.len() <= LORAWAN).count();
                assert!(fit >= 76, "{fit} of 80 fit a frame of LoRaWAN");
            }
            _ => assert!(forms.iter().all(|form| radio::cut(form, FRAME).unwrap().len() <= 2)),
        }
    }
    let group = Reader { nodes: &road.both[..1], groups: &[[7; 16]], ..Reader::STRANGER };
    for (name, reader) in [("clear, to all", Reader::STRANGER), ("  to who knows both", group)] {
        let forms = row(name, HUNDRED.lines().map(|text| road.to_all(text)), &reader);
        assert!(forms.iter().all(|form| form.len() <= LORAWAN));
    }
}

fn row(
    name: &str,
    bundles: impl Iterator<Item = SmallBundle>,
    reader: &Reader<'_>,
) -> Vec<Vec<u8>> {
    let mut canonical = 0;
    let forms: Vec<Vec<u8>> = bundles
        .map(|bundle| {
            canonical = canonical.max(bundle.encode().len());
            shrink(&bundle, HOP, reader).unwrap()
        })
        .collect();
    let within = |most| forms.iter().filter(|form| form.len() <= most).count();
    let (least, most) =
        (forms.iter().map(Vec::len).min().unwrap(), forms.iter().map(Vec::len).max().unwrap());
    let (frame, lorawan) = (within(FRAME), within(LORAWAN));
    println!("{name:34} {canonical:9} {least:5} {most:5} {frame:3}/80 {lorawan:3}/80");
    forms
}

/// Over one relay that knows nobody, stored there in its canonical form, and receipted all the way.
#[test]
fn over_one_relay_with_receipts_it_is_four_frames_and_at_most_530_bytes() {
    let road = Road::new();
    let (mut dearest, mut sum) = (0, 0);
    for text in HUNDRED.lines() {
        let (bundle, receipt) = road.to_bob(text, TO_CONTACT);
        let up = radio::cut(&shrink(&bundle, HOP, &Reader::STRANGER).unwrap(), FRAME).unwrap();
        let (kept, hop) = expand(&received(&up), &Knowledge::default()).unwrap();
        assert_eq!(kept.encode(), bundle.encode());

        let hop = hop.admitted(kept.head.header().nice).unwrap();
        let down = radio::cut(&shrink(&kept, hop, &Reader::STRANGER).unwrap(), FRAME).unwrap();
        let (there, _) = expand(&received(&down), &Knowledge::default()).unwrap();
        let (id, keys) = (road.bob.id(), [road.bob.first_seal_key()]);
        let ring = Keyring { node: &id, keys: &keys, senders: &road.both };
        let opened = open_small(&there.head, &there.payload, &ring).unwrap();
        assert_eq!((opened.source, opened.packet.body), (road.both[0], Body::Mail(text.into())));

        // Two receipts: to the relay, which may let go, and from there to Alice.
        let receipts = radio::pack(&[receipt], FRAME);
        assert!(radio::unpack(&receipts[0]).unwrap()[0].opens(
            &kept.head.verify_small(&kept.payload).unwrap(),
            kept.head.header(),
            &kept.payload,
        ));
        let frames: Vec<&Vec<u8>> =
            up.iter().chain(&down).chain(&receipts).chain(&receipts).collect();
        let bytes = frames.iter().map(|frame| frame.len()).sum::<usize>();
        assert!(
            frames.len() == 4 && bytes <= 530,
            "{} frames, {bytes} bytes: {text}",
            frames.len()
        );
        dearest = dearest.max(bytes);
        sum += bytes;
    }
    println!(
        "over a relay and receipted: 4 frames, {} bytes on average, {dearest} at most",
        sum / 80
    );
}

/// What arrives of frames: the one, or their form.
fn received(frames: &[Vec<u8>]) -> Vec<u8> {
    let [frame] = frames else {
        let mut pieces = Pieces::default();
        let mut taken = frames.iter().map(|frame| pieces.take(frame));
        let whole = taken.find_map(|taken| match taken {
            Taken::Whole(form) => Some(form),
            _ => None,
        });
        return whole.unwrap();
    };
    frame.clone()
}
