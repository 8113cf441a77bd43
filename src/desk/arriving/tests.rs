//! Parts that are opened while they come: cut, damaged, brought twice, with the manifest between.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{fs, path::Path};

use bytes::BytesMut;
use postrider_base::{
    BundleId, Head, Lifetime, Niceness,
    bundle::{Hop, Sequence},
    compose::{AgeSealer, Letter, Padding, Privacy, To},
    id::SetId,
    packet::{Body, PART_BYTES, Packet, PartHead, Tail},
};
use postrider_engine::node::{
    Answer, Body as Place, Class, Custody, Destination, Kept, NewBundle, Row, TransferId,
};
use std::io::Write;

use super::{Arriving, Way};
use crate::desk::{
    AddRequest, Desk, InitRequest, SendRequest, Silent,
    ledger::set_key,
    live::{Arrival, Arrivals, Live},
};

/// A bundle as it travels.
#[derive(Clone)]
pub(in crate::desk) struct Sent {
    pub row: Row,
    pub head: Vec<u8>,
    pub payload: Vec<u8>,
}

pub(in crate::desk) fn people(dir: &Path) -> [Desk; 2] {
    let [mut alice, bob] = ["Alice", "Bob"].map(|name| {
        let home = dir.join(name);
        Desk::init(&InitRequest { home, name: Some(name.into()), even_if_public: false }).unwrap().0
    });
    // Parts are sealed in their order.
    alice.home.config.workers = 1;
    alice.add(&AddRequest { card: bob.home().card.clone(), name: None }).unwrap();
    bob.add(&AddRequest { card: alice.home().card.clone(), name: None }).unwrap();
    [alice, bob]
}

pub(in crate::desk) fn noise(bytes: u64, seed: u8) -> Vec<u8> {
    let mut out = vec![0; usize::try_from(bytes).unwrap()];
    blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut out);
    out
}

/// Sends files of these lengths. The message's id, its parts in their order, and its manifest.
pub(in crate::desk) fn sent(
    dir: &Path,
    from: &Desk,
    lengths: &[u64],
) -> (BundleId, Vec<Sent>, Sent) {
    sent_as(dir, from, lengths, None)
}

/// In envelopes that are hidden, or as the settings say.
pub(in crate::desk) fn sent_as(
    dir: &Path,
    from: &Desk,
    lengths: &[u64],
    hidden: Option<bool>,
) -> (BundleId, Vec<Sent>, Sent) {
    let files = lengths.iter().zip(0..).map(|(length, n)| {
        let path = dir.join(format!("file-{n}"));
        fs::write(&path, noise(*length, n)).unwrap();
        path
    });
    let request = SendRequest {
        to: "Bob".into(),
        text: None,
        files: files.collect(),
        nice: None,
        lifetime: None,
        hidden,
        reply_to: None,
        supersede: None,
    };
    from.send(&request, &Silent).unwrap();
    let live = from.open_live(&Silent).unwrap();
    let Answer::Rows { rows, .. } = live.since(0, 100).unwrap() else { panic!() };
    let mut all: Vec<Sent> = rows
        .into_iter()
        .map(|row| {
            let head = live.load(&row.id).unwrap().unwrap().head.to_vec();
            let length = usize::try_from(row.length).unwrap();
            let payload = live.read(&row.id, 0, length, BytesMut::new()).unwrap().unwrap();
            Sent { row, head, payload: payload.to_vec() }
        })
        .collect();
    let manifest = all.pop().unwrap();
    (manifest.row.id, all, manifest)
}

/// The first `bytes` of a body come, in pieces of a link.
pub(in crate::desk) fn begin(arrivals: &mut Arrivals<'_>, of: &Sent, bytes: usize) -> Arriving {
    let mut arriving = arrivals.begin(&of.head, of.row.length, Custody::Deliver).unwrap();
    for piece in of.payload[..bytes].chunks(100_000) {
        arrivals.append(&mut arriving, piece).unwrap();
    }
    arriving
}

fn whole(arrivals: &mut Arrivals<'_>, of: &Sent) -> Arriving {
    begin(arrivals, of, of.payload.len())
}

pub(in crate::desk) fn keep(live: Live<'_>, of: &Sent, arriving: Option<Arriving>) -> Answer {
    let body = match &arriving {
        Some(_) => Place::Staged(TransferId(0)),
        None => Place::Inline(of.payload.clone().into()),
    };
    let (row, head) = (of.row.clone(), of.head.clone().into());
    let bundle = Box::new(NewBundle { row, head, custody: Custody::Deliver, worth: 0, body });
    live.keep(vec![Arrival { bundle, arriving }]).unwrap().0.pop().unwrap()
}

#[track_caller]
pub(in crate::desk) fn assert_kept(answer: &Answer) {
    assert!(matches!(answer, Answer::Kept(Kept::Kept)), "{answer:?}");
}

pub(in crate::desk) fn is_opening(arriving: &Arriving) -> bool {
    matches!(arriving.0, Way::Opening(_))
}

/// All parts but those in `but`, then what is saved of the message.
#[track_caller]
fn complete(bob: &Desk, parts: &[Sent], but: &[usize], dir: &Path, lengths: &[u64], id: BundleId) {
    let live = bob.open_live(&Silent).unwrap();
    let mut arrivals = live.arrivals_of_bodies();
    for (n, part) in parts.iter().enumerate().filter(|(n, _)| !but.contains(n)) {
        let arriving = whole(&mut arrivals, part);
        assert!(is_opening(&arriving) || n + 1 < parts.len(), "when the files are there");
        assert_kept(&keep(live, part, Some(arriving)));
    }
    let out = dir.join("out");
    fs::create_dir(&out).unwrap();
    bob.save_message(&id.to_string(), &out, &Silent).unwrap();
    for (length, n) in lengths.iter().zip(0..) {
        let saved = fs::read(out.join(format!("file-{n}"))).unwrap();
        assert!(saved == noise(*length, n), "file {n}");
    }
}

const THREE: &[u64] = &[2 * PART_BYTES + 1_000_000];
const SEVERAL: &[u64] = &[PART_BYTES + 5, 3, PART_BYTES - 100, 1_000_000];

#[test]
fn parts_are_opened_while_they_come_before_and_behind_their_manifest() {
    for lengths in [THREE, SEVERAL] {
        let dir = tempfile::tempdir().unwrap();
        let [alice, bob] = people(dir.path());
        let (id, parts, manifest) = sent(dir.path(), &alice, lengths);
        let live = bob.open_live(&Silent).unwrap();
        let mut arrivals = live.arrivals_of_bodies();
        let first = whole(&mut arrivals, &parts[0]);
        assert!(is_opening(&first));
        assert_kept(&keep(live, &parts[0], Some(first)));
        // Begun before the manifest and whole behind it, when others are in their files.
        let cut = begin(&mut arrivals, &parts[1], 300_000);
        assert!(is_opening(&cut));
        assert_kept(&keep(live, &manifest, None));
        let mut rest = cut;
        arrivals.append(&mut rest, &parts[1].payload[300_000..]).unwrap();
        assert_kept(&keep(live, &parts[1], Some(rest)));
        complete(&bob, &parts, &[0, 1], dir.path(), lengths, id);
    }
}

/// The file has its name and other parts before the one is whole that had begun in the stream.
#[test]
fn a_part_that_began_before_the_manifest_joins_files_that_are_there() {
    for lengths in [THREE, SEVERAL] {
        let dir = tempfile::tempdir().unwrap();
        let [alice, bob] = people(dir.path());
        let (id, parts, manifest) = sent(dir.path(), &alice, lengths);
        let live = bob.open_live(&Silent).unwrap();
        let mut arrivals = live.arrivals_of_bodies();
        let mut slow = begin(&mut arrivals, &parts[1], 300_000);
        assert!(is_opening(&slow));
        assert_kept(&keep(live, &manifest, None));
        let first = whole(&mut arrivals, &parts[0]);
        assert_eq!(is_opening(&first), lengths.len() > 1, "or the stream may become the only file");
        assert_kept(&keep(live, &parts[0], Some(first)));
        arrivals.append(&mut slow, &parts[1].payload[300_000..]).unwrap();
        assert_kept(&keep(live, &parts[1], Some(slow)));
        complete(&bob, &parts, &[0, 1], dir.path(), lengths, id);
    }
}

#[test]
fn a_part_of_many_files_is_staged() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, bob] = people(dir.path());
    let lengths = [PART_BYTES - 5, 1, 1, 1, 1, 1, 500_000];
    let (_, parts, manifest) = sent(dir.path(), &alice, &lengths);
    let live = bob.open_live(&Silent).unwrap();
    let mut arrivals = live.arrivals_of_bodies();
    assert_kept(&keep(live, &manifest, None));
    let [first, second] = [0, 1].map(|n| whole(&mut arrivals, &parts[n]));
    assert!(!is_opening(&first) && is_opening(&second));
    assert_kept(&keep(live, &parts[0], Some(first)));
    assert_kept(&keep(live, &parts[1], Some(second)));
    assert_eq!(bob.inbox(&Silent).unwrap().len(), 1);
}

/// The engine finds a wrong hash and drops such a body. Should one come through, the seal shows it.
#[test]
fn a_part_that_was_damaged_or_cut_is_not_believed_and_a_good_copy_is() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, bob] = people(dir.path());
    let (id, parts, manifest) = sent(dir.path(), &alice, THREE);
    let live = bob.open_live(&Silent).unwrap();
    let mut arrivals = live.arrivals_of_bodies();
    let mut damaged = parts[0].clone();
    damaged.payload[5_000_000] ^= 1;
    let arriving = whole(&mut arrivals, &damaged);
    assert!(is_opening(&arriving));
    assert!(matches!(keep(live, &damaged, Some(arriving)), Answer::Kept(Kept::Refused)));
    let short = begin(&mut arrivals, &parts[1], parts[1].payload.len() - 70_000);
    assert!(matches!(keep(live, &parts[1], Some(short)), Answer::Kept(Kept::Refused)));
    // Dropped with its link, and begun again.
    drop(begin(&mut arrivals, &parts[0], 3_000_000));
    assert_kept(&keep(live, &manifest, None));
    assert!(bob.save_message(&id.to_string(), dir.path(), &Silent).is_err(), "nothing counts yet");
    complete(&bob, &parts, &[], dir.path(), THREE, id);
}

#[test]
fn a_restart_in_the_middle_loses_what_was_not_whole_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, bob] = people(dir.path());
    let (id, parts, manifest) = sent(dir.path(), &alice, THREE);
    let live = bob.open_live(&Silent).unwrap();
    let mut arrivals = live.arrivals_of_bodies();
    let first = whole(&mut arrivals, &parts[0]);
    assert_kept(&keep(live, &parts[0], Some(first)));
    drop(begin(&mut arrivals, &parts[1], 3_000_000));
    drop(arrivals);
    drop(bob);
    let bob = Desk::open(&dir.path().join("Bob")).unwrap();
    let live = bob.open_live(&Silent).unwrap();
    assert_kept(&keep(live, &manifest, None));
    complete(&bob, &parts, &[0], dir.path(), THREE, id);
}

#[test]
fn the_same_part_over_two_links_is_kept_once() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, bob] = people(dir.path());
    let (id, parts, manifest) = sent(dir.path(), &alice, THREE);
    let live = bob.open_live(&Silent).unwrap();
    let mut arrivals = live.arrivals_of_bodies();
    let mut slow = begin(&mut arrivals, &parts[0], 3_000_000);
    let fast = whole(&mut arrivals, &parts[0]);
    assert!(is_opening(&slow) && !is_opening(&fast), "one of them has the place");
    assert_kept(&keep(live, &parts[0], Some(fast)));
    arrivals.append(&mut slow, &parts[0].payload[3_000_000..]).unwrap();
    assert!(matches!(keep(live, &parts[0], Some(slow)), Answer::Kept(Kept::Known)));
    let again = whole(&mut arrivals, &parts[0]);
    assert!(!is_opening(&again), "it counts already");
    assert!(matches!(keep(live, &parts[0], Some(again)), Answer::Kept(Kept::Known)));
    assert_kept(&keep(live, &manifest, None));
    complete(&bob, &parts, &[0], dir.path(), THREE, id);
}

/// A part by hand: its author may seal two for one place.
fn crafted(from: &Desk, to: &Desk, counter: u64, set: SetId, content: &[u8]) -> Sent {
    let bytes = content.len() as u64;
    let part =
        PartHead { set, index: 0, stored_bytes: bytes, plain_bytes: bytes, compressed: false };
    let packet = Packet { body: Body::Part(part), tail: Tail::default() }.encode();
    let card = &to.home().card;
    let letter = Letter {
        author: &from.home().key.node,
        to: To::One(card.node, *card.seal_key()),
        sequence: Sequence { epoch: 9, counter },
        created: 0,
        lifetime: Lifetime::DEFAULT,
        nice: Niceness::BULK,
        privacy: Privacy::Open,
        padding: Padding::Class,
    };
    let mut sealer = AgeSealer::new(&letter, &[7; 32], &packet, Vec::new()).unwrap();
    sealer.write_all(content).unwrap();
    let sealed = sealer.finish().unwrap();
    let row = Row {
        id: sealed.id,
        destination: Destination::Node(*card.node.as_bytes()),
        tagged_for: None,
        source: Some(*from.home().card.node.as_bytes()),
        nice: 224,
        lifetime_s: 1000,
        length: sealed.payload.len() as u64,
        hop: Hop::fresh(),
        class: Class::Own,
        from: None,
        arrived_held_ms: 0,
        arrival: 0,
    };
    Sent { row, head: Head::encode(&sealed.head), payload: sealed.payload }
}

/// Its author says of two bundles that they are the same part. The one that is whole first counts,
/// and the other, which had the place, writes nothing there any more.
#[test]
fn what_counts_is_not_written_by_a_part_that_had_begun() {
    let dir = tempfile::tempdir().unwrap();
    let [alice, bob] = people(dir.path());
    let set = SetId([3; 16]);
    let (one, two) = (noise(PART_BYTES, 1), noise(PART_BYTES, 2));
    let slow = crafted(&alice, &bob, 1, set, &one);
    let fast = crafted(&alice, &bob, 2, set, &two);
    let live = bob.open_live(&Silent).unwrap();
    let mut arrivals = live.arrivals_of_bodies();
    let mut arriving = begin(&mut arrivals, &slow, 3_000_000);
    assert!(is_opening(&arriving));
    let other = whole(&mut arrivals, &fast);
    assert_kept(&keep(live, &fast, Some(other)));
    arrivals.append(&mut arriving, &slow.payload[3_000_000..]).unwrap();
    assert!(matches!(keep(live, &slow, Some(arriving)), Answer::Failed), "it may come again");
    let key = set_key(alice.home().card.node.as_bytes(), &set);
    let stream = bob.inbox_dir().join(crate::desk::hex(&key)).join("s");
    assert!(fs::read(stream).unwrap() == two);
}
