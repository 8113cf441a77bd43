//! A form expands to the bundle that it was made of and to no other, for whoever can expand it.

use proptest::prelude::*;

use super::*;
use crate::{
    bundle::{Destination, Head, Header, Hop, LockField, Origin, SealKind, Sequence, SmallBundle},
    compose::{self, Letter, Padding, Privacy, To},
    id::NodeId,
    key::{NodeSecret, SealPublic, SealSecret},
    nice::Niceness,
    packet::{Body, Packet, Tail},
    time::Lifetime,
    unseal::{Keyring, open_small},
};

const HOP: Hop = Hop { tokens: 2, hops: 1, age_s: 0, level: 0 };
const GROUP: [u8; 16] = [0x67; 16];

fn node(n: u8) -> NodeSecret {
    NodeSecret::from_seed([n; 32])
}

/// Alice writes, Bob reads.
struct Two {
    alice: NodeSecret,
    bob: NodeId,
    keys: [SealSecret; 2],
    publics: [SealPublic; 2],
}

impl Two {
    fn new() -> Self {
        let bob = node(2);
        // The newest key comes first; mail may be under an older one.
        let keys = [node(77).first_seal_key(), bob.first_seal_key()];
        let publics = [keys[0].public(), keys[1].public()];
        Self { alice: node(1), bob: bob.id(), keys, publics }
    }

    fn letter(&self, to: compose::To, privacy: Privacy) -> Letter<'_> {
        Letter {
            author: &self.alice,
            to,
            sequence: Sequence { epoch: 0xdead_beef, counter: 300 },
            created: 1_800_000_000,
            lifetime: Lifetime::DEFAULT,
            nice: Niceness::NORMAL,
            privacy,
            padding: Padding::Class,
        }
    }

    /// To Bob, under his older key.
    fn to_bob(&self, privacy: Privacy) -> Letter<'_> {
        self.letter(To::One(self.bob, self.publics[1]), privacy)
    }

    fn ring(&self) -> Keyring<'_> {
        Keyring { node: &self.bob, keys: &self.keys, senders: &[] }
    }

    fn bob_reads(&self) -> Reader<'_> {
        Reader { node: Some(&self.bob), seal_keys: &self.publics, ..Reader::STRANGER }
    }

    fn bob_knows<'a>(&'a self, nodes: &'a [NodeId]) -> Knowledge<'a> {
        Knowledge { me: Some(self.ring()), nodes, groups: &[] }
    }
}

fn sealed(letter: &Letter<'_>, text: &str) -> SmallBundle {
    let packet = Packet { body: Body::Mail(text.into()), tail: Tail::default() }.encode();
    let sealed = compose::seal(letter, &packet, &[9; 32]).unwrap();
    SmallBundle { head: sealed.head, payload: sealed.payload }
}

const TEXT: &str =
    "The bridge at the mill is gone, so take the upper road and call us from the pass.";
const HINT: Privacy = Privacy::Hidden { known: true };
const FULL: Privacy = Privacy::Hidden { known: false };

/// A node whose last four bytes are those of another: what a hint cannot tell apart.
fn twin(of: &NodeId, n: u16) -> NodeId {
    (0..)
        .find_map(|i: u32| {
            let mut bytes = *of.as_bytes();
            bytes[..4].copy_from_slice(&i.to_be_bytes());
            bytes[4..6].copy_from_slice(&n.to_be_bytes());
            NodeId::from_bytes(&bytes).ok().filter(|node| node != of)
        })
        .unwrap()
}

#[test]
fn whoever_knows_nobody_expands_the_form_for_strangers() {
    let two = Two::new();
    let group = To::Group(GROUP, vec![two.publics[1]]);
    let public = To::Public(Destination::Group(GROUP));
    let to_all = To::Public(Destination::Node(two.bob));
    for (letter, before_payload) in [
        (two.to_bob(HINT), 4 + 8 + 8),
        (two.to_bob(FULL), 4 + 8 + 8),
        (two.letter(group.clone(), HINT), 4 + 8 + 8),
        (two.to_bob(Privacy::Open), 4 + 32 + 32 + 8 + 11 + 64),
        (two.letter(group, Privacy::Open), 4 + 32 + 16 + 11 + 64),
        (two.letter(public, Privacy::Open), 4 + 32 + 16 + 11 + 64),
        (two.letter(to_all, Privacy::Open), 4 + 32 + 32 + 11 + 64),
    ] {
        let bundle = sealed(&letter, TEXT);
        let form = shrink(&bundle, HOP, &Reader::STRANGER).unwrap();
        assert_eq!(form.len(), before_payload + bundle.payload.len());
        assert_eq!(FrameType::of(form[0]), Some(FrameType::Bundle));
        assert_eq!(expand(&form, &Knowledge::default()), Ok((bundle, HOP)));
    }
}

#[test]
fn who_has_both_keys_reads_hints() {
    let two = Two::new();
    let bundle = sealed(&two.to_bob(Privacy::Open), TEXT);
    let both = [two.alice.id(), two.bob];
    let form = shrink(&bundle, HOP, &Reader { nodes: &both, ..Reader::STRANGER }).unwrap();
    assert_eq!(form.len(), 95 + bundle.payload.len());
    let knows = |nodes| Knowledge { nodes, ..Knowledge::default() };
    assert_eq!(expand(&form, &knows(&both)), Ok((bundle.clone(), HOP)));
    // Twins of both make four pairs, of which the signature finds the one.
    let twins = [twin(&both[0], 1), twin(&both[1], 1), both[0], both[1]];
    assert_eq!(expand(&form, &knows(&twins)), Ok((bundle.clone(), HOP)));
    for nodes in [&[][..], &both[..1], &both[1..], &twins[..2]] {
        assert_eq!(expand(&form, &knows(nodes)), Err(FormError::Unknown));
    }
    // A group by its hint.
    let public = two.letter(To::Public(Destination::Group(GROUP)), Privacy::Open);
    let bundle = sealed(&public, TEXT);
    let mut other = GROUP;
    other[0] = 1;
    let reader = Reader { nodes: &both, groups: &[GROUP], ..Reader::STRANGER };
    let form = shrink(&bundle, HOP, &reader).unwrap();
    assert_eq!(form.len(), 4 + 4 + 4 + 11 + 64 + bundle.payload.len());
    let known = Knowledge { groups: &[other, GROUP], ..knows(&both) };
    assert_eq!(expand(&form, &known), Ok((bundle, HOP)));
    assert_eq!(expand(&form, &knows(&both)), Err(FormError::Unknown));
}

#[test]
fn a_crowd_of_twins_costs_no_more_than_sixteen_signatures() {
    let two = Two::new();
    let bundle = sealed(&two.to_bob(Privacy::Open), TEXT);
    let reader = Reader { nodes: &[two.alice.id()], ..Reader::STRANGER };
    let form = shrink(&bundle, HOP, &reader).unwrap();
    let mut crowd: Vec<NodeId> = (0..16).map(|n| twin(&two.alice.id(), n)).collect();
    crowd.push(two.alice.id());
    let expanded = |nodes: &[NodeId]| expand(&form, &Knowledge { nodes, ..Knowledge::default() });
    assert_eq!(expanded(&crowd), Err(FormError::Unknown));
    assert_eq!(expanded(&crowd[1..]), Ok((bundle, HOP)));
}

#[test]
fn the_recipient_computes_tag_and_lock() {
    let two = Two::new();
    let alice = [two.alice.id()];
    for (privacy, before_payload) in [(HINT, 4), (FULL, 4), (Privacy::Open, 4 + 4 + 11 + 64)] {
        let bundle = sealed(&two.to_bob(privacy), TEXT);
        let reader = Reader { nodes: &alice, ..two.bob_reads() };
        let form = shrink(&bundle, HOP, &reader).unwrap();
        assert_eq!(form.len(), before_payload + bundle.payload.len());
        assert_eq!(expand(&form, &two.bob_knows(&alice)), Ok((bundle, HOP)));
        assert_eq!(expand(&form, &Knowledge::default()), Err(FormError::Unknown));
        // Another recipient makes another tag and lock of it, under which nothing opens or holds.
        let (mallory, keys) = (node(6).id(), [node(6).first_seal_key()]);
        let me = Some(Keyring { node: &mallory, keys: &keys, senders: &[] });
        let other = Knowledge { me, nodes: &alice, groups: &[] };
        assert_eq!(expand(&form, &other), Err(FormError::Unknown));
    }
    // Hidden and without a lock: the nonce stays, the tag is left out.
    let header = |lock| Header {
        lock,
        destination: Destination::Tag(crate::bundle::tag_of(&two.publics[1], &lock).unwrap()),
        ..sealed(&two.to_bob(HINT), TEXT).head.header().clone()
    };
    let header = header(LockField::Nonce([5; 8]));
    let sealing =
        crate::seal::compact::Sealing::new(two.bob.as_bytes(), &two.publics[1], [3; 32]).unwrap();
    let (payload, _) = sealing.seal(&header.core(), &[0; 162]).unwrap();
    let head = Head::sign(Header { length: payload.len() as u64, ..header }, &payload, &two.alice);
    let bundle = SmallBundle { head, payload };
    let form = shrink(&bundle, HOP, &two.bob_reads()).unwrap();
    assert_eq!(form.len(), 4 + 8 + bundle.payload.len());
    assert_eq!(expand(&form, &two.bob_knows(&[])), Ok((bundle, HOP)));
}

#[test]
fn what_expands_opens_like_the_bundle_that_came_another_way() {
    let two = Two::new();
    let alice = [two.alice.id()];
    let bundle = sealed(&two.to_bob(HINT), TEXT);
    let form = shrink(&bundle, HOP, &two.bob_reads()).unwrap();
    let (there, _) = expand(&form, &two.bob_knows(&[])).unwrap();
    assert_eq!(there.encode(), bundle.encode());
    let ring = Keyring { senders: &alice, ..two.ring() };
    let opened = open_small(&there.head, &there.payload, &ring).unwrap();
    assert_eq!((opened.source, opened.packet.body), (alice[0], Body::Mail(TEXT.into())));
}

#[test]
fn a_changed_byte_never_makes_another_bundle_of_what_somebody_decides_about() {
    let two = Two::new();
    let nodes = [two.alice.id(), two.bob];
    let known = two.bob_knows(&nodes);
    let bundles = [
        sealed(&two.to_bob(HINT), TEXT),
        sealed(&two.to_bob(Privacy::Open), TEXT),
        sealed(&two.letter(To::Public(Destination::Group(GROUP)), Privacy::Open), TEXT),
    ];
    for bundle in &bundles {
        for reader in
            [Reader::STRANGER, Reader { nodes: &nodes, ..Reader::STRANGER }, two.bob_reads()]
        {
            let form = shrink(bundle, Hop { level: 9, ..HOP }, &reader).unwrap();
            for at in 0..form.len() * 8 {
                let mut spoiled = form.clone();
                spoiled[at / 8] ^= 1 << (at % 8);
                let Ok((there, _)) = expand(&spoiled, &known) else { continue };
                if there != *bundle {
                    // Only a hidden form that anybody can expand; the recipient finds out.
                    assert_eq!(there.head.header().origin, Origin::Hidden, "bit {at}");
                    assert!(open_small(&there.head, &there.payload, &two.ring()).is_err());
                    let guessed = form[0] & 0x1f >= 18;
                    assert!(!guessed, "bit {at} of what only its recipient can expand");
                } else {
                    assert!((8..24).contains(&at) || (32..40).contains(&at), "bit {at}");
                }
            }
            for cut in 0..form.len() {
                let there = expand(&form[..cut], &known);
                assert!(there.is_err() || bundle.head.header().origin == Origin::Hidden);
            }
        }
    }
}

#[test]
fn what_has_no_class_is_said_in_full_and_what_is_large_not_at_all() {
    let two = Two::new();
    let extreme = Letter {
        sequence: Sequence { epoch: u32::MAX, counter: u64::MAX },
        created: u64::MAX,
        lifetime: Lifetime::new(u32::MAX).unwrap(),
        nice: Niceness::new(1).unwrap(),
        ..two.to_bob(Privacy::Open)
    };
    let bundle = sealed(&extreme, TEXT);
    let form = shrink(&bundle, HOP, &Reader::STRANGER).unwrap();
    assert_eq!(form.len(), 4 + 5 + 64 + 8 + 4 + 8 + 8 + 64 + bundle.payload.len());
    assert_eq!(expand(&form, &Knowledge::default()), Ok((bundle, HOP)));

    let noise: String =
        (0..6000_u32).map(|n| blake3::hash(&n.to_be_bytes()).to_hex()[..2].to_owned()).collect();
    let large = sealed(&two.to_bob(Privacy::Open), &noise);
    assert!(large.payload.len() > 4096);
    assert_eq!(shrink(&large, HOP, &Reader::STRANGER), Err(NoForm::Payload));
    let far = Hop { hops: 32, ..HOP };
    assert_eq!(shrink(&sealed(&extreme, TEXT), far, &Reader::STRANGER), Err(NoForm::Hops));
    let mut long = form;
    long.resize(FORM_MAX + 1, 0);
    assert_eq!(expand(&long, &Knowledge::default()), Err(FormError::TooLong(FORM_MAX + 1)));
}

/// What makes a header one of its kind: open or hidden, destination, seal, lock.
#[derive(Clone, Copy, Debug)]
struct Kind {
    open: bool,
    to: Destination,
    seal: SealKind,
    lock: LockField,
}

impl Kind {
    fn header(self) -> Header {
        let sequence = Sequence { epoch: 1, counter: 1 };
        Header {
            destination: self.to,
            lifetime: Lifetime::DEFAULT,
            nice: Niceness::NORMAL,
            seal: self.seal,
            lock: self.lock,
            origin: if self.open {
                Origin::Open { source: node(1).id(), sequence, created: 0 }
            } else {
                Origin::Hidden
            },
            length: 300,
            hash: None,
        }
    }

    /// All that a decoder accepts.
    fn all() -> Vec<Self> {
        let locks = [
            LockField::None,
            LockField::Compact([8; 8]),
            LockField::Age([16; 16]),
            LockField::Nonce([9; 8]),
        ];
        let to =
            [Destination::Node(node(2).id()), Destination::Group(GROUP), Destination::Tag([7; 8])];
        let seals = [SealKind::None, SealKind::Compact, SealKind::Age];
        let mut all = Vec::new();
        for open in [true, false] {
            for (to, seal) in to.iter().flat_map(|to| seals.map(|seal| (*to, seal))) {
                all.extend(locks.map(|lock| Self { open, to, seal, lock }));
            }
        }
        all.retain(|kind| Header::decode(&kind.header().encode()) == Ok(kind.header()));
        all
    }
}

/// Any header that a decoder accepts around any payload, signed by Alice where it is open.
fn any_bundle() -> impl Strategy<Value = SmallBundle> {
    let kinds = Kind::all();
    // Open: a node with none, two each under two seals, a group with none each. Hidden: a node with
    // three each under two seals, a group with two each, a tag with two each.
    assert_eq!(kinds.len(), 1 + 2 * 2 + 3 + 2 * 3 + 2 * 2 + 2 * 2);
    let lifetimes = prop_oneof![Just(Lifetime::DEFAULT.seconds()), Just(86_400), 1..=u32::MAX];
    let nice = prop_oneof![Just(160_u8), Just(32), Just(95), 1..=u8::MAX];
    let counter = prop_oneof![1..300_u64, 0xff_fff0..0x100_0010_u64, 1..=u64::MAX];
    let created = prop_oneof![0..2_000_000_000_u64, any::<u64>()];
    let length = prop_oneof![1..400_usize, 4000..=4096_usize];
    let numbers = (lifetimes, nice, any::<u32>(), counter, created);
    (proptest::sample::select(kinds), numbers, length, any::<u64>()).prop_map(
        |(kind, (lifetime, nice, epoch, counter, created), length, salt)| {
            let alice = node(1);
            let least = [(SealKind::None, 1), (SealKind::Compact, 49), (SealKind::Age, 200)];
            let (_, least) = least.into_iter().find(|(seal, _)| *seal == kind.seal).unwrap();
            let mut payload = vec![0; length.max(least)];
            blake3::Hasher::new().update(&salt.to_be_bytes()).finalize_xof().fill(&mut payload);
            let mut header = Header {
                lifetime: Lifetime::new(lifetime).unwrap(),
                nice: Niceness::new(nice).unwrap(),
                length: payload.len() as u64,
                ..kind.header()
            };
            if let Origin::Open { sequence, created: at, .. } = &mut header.origin {
                (*sequence, *at) = (Sequence { epoch, counter }, created);
            }
            SmallBundle { head: Head::sign(header, &payload, &alice), payload }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn every_valid_small_bundle_comes_back(
        bundle in any_bundle(), tokens: u8, hops in 0..32_u8, age_s: u32, level: u8,
        knows in 0..4_usize, tells in 0..2_usize,
    ) {
        let hop = Hop { tokens, hops, age_s, level };
        let nodes = [node(1).id(), node(2).id()];
        let groups: Vec<[u8; 16]> = match bundle.head.header().destination {
            Destination::Group(group) => vec![group],
            _ => vec![],
        };
        let nodes = [&nodes[..0], &nodes[..1], &nodes[1..], &nodes[..]][knows];
        let groups = &groups[..groups.len().min(tells)];
        let reader = Reader { nodes, groups, ..Reader::STRANGER };
        let form = shrink(&bundle, hop, &reader).unwrap();
        prop_assert!(form.len() <= FORM_MAX);
        prop_assert!(form.len() <= bundle.encode().len() + 16, "no longer than it was, and hop data");
        let (there, came) = expand(&form, &Knowledge { me: None, nodes, groups }).unwrap();
        prop_assert_eq!(&there, &bundle);
        prop_assert_eq!(there.encode(), bundle.encode());
        prop_assert_eq!(Some(came), carried(hop, bundle.head.header().lifetime));
        // Handed on as it came, it says the same.
        prop_assert_eq!(shrink(&there, came, &reader).unwrap(), form);
    }

    #[test]
    fn whatever_expands_is_a_bundle(
        start in prop_oneof![0x40..=0xff_u8, any::<u8>()],
        class in prop_oneof![0..0xc0_u8, Just(0xff)],
        mut bytes in proptest::collection::vec(any::<u8>(), 2..600),
        keys: bool,
    ) {
        let two = Two::new();
        let nodes = [two.alice.id(), two.bob];
        bytes[0] = start;
        bytes.insert(2, class);
        if keys && bytes.len() > 100 {
            bytes[4..36].copy_from_slice(nodes[0].as_bytes());
            bytes[36..68].copy_from_slice(nodes[1].as_bytes());
        }
        if let Ok((bundle, hop)) = expand(&bytes, &two.bob_knows(&nodes)) {
            prop_assert!(bundle.head.verify_small(&bundle.payload).is_ok());
            prop_assert!(SmallBundle::decode(&bundle.encode()).as_ref() == Ok(&bundle));
            let form = shrink(&bundle, hop, &Reader::STRANGER).unwrap();
            prop_assert_eq!(expand(&form, &Knowledge::default()), Ok((bundle, hop)));
        }
    }
}
