//! Rests on a stick: taken to what a link has brought, refused without harm, given once.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use postrider_base::packet::PART_BYTES;
use postrider_engine::node::TransferId;

use super::*;
use crate::desk::{
    Silent, TossDirection, TossRequest, Watch,
    arriving::tests::{Sent, assert_kept, begin, is_opening, keep, noise, people, sent_as},
};

const MIB: u64 = 1 << 20;
const FILE: &[u64] = &[4 * MIB];
/// With its manifest there, such a part is opened while it comes; that of a single file is staged.
const TWO: &[u64] = &[4 * MIB, 90_000];
/// The first part of it fills more files than are written while a part comes: it is staged.
const MANY: &[u64] = &[PART_BYTES - 5, 1, 1, 1, 1, 1, 500_000];

/// Keeps one body that was cut.
struct Kept {
    id: BundleId,
    cut: CutBody,
    body: Mutex<Option<Arriving>>,
    /// A link begins to bring it as soon as it was looked at.
    overtaken: bool,
}

impl CutBodies for Kept {
    fn look(&self, id: &BundleId) -> Beginning {
        let is_here = *id == self.id && self.body.lock().unwrap().is_some();
        if is_here { Beginning::Cut(self.cut.clone()) } else { Beginning::Nothing }
    }

    fn hand_out(&self, id: &BundleId, cut: &CutBody) -> Option<Arriving> {
        let is_it = (*id, cut.transfer, cut.at) == (self.id, self.cut.transfer, self.cut.at);
        assert!(is_it, "what was not looked at");
        self.body.lock().unwrap().take_if(|_| !self.overtaken)
    }
}

impl Kept {
    fn is_here(&self) -> bool {
        self.body.lock().unwrap().is_some()
    }
}

/// Alice sends Bob files, and a link is cut when Bob has all but the rest of the first part.
struct Story {
    dir: tempfile::TempDir,
    alice: Desk,
    bob: Desk,
    id: BundleId,
    lengths: &'static [u64],
    part: Sent,
    kept: Arc<Kept>,
}

impl Story {
    fn new(lengths: &'static [u64], at: usize) -> Self {
        Self::told(lengths, at, false, None)
    }

    fn told(lengths: &'static [u64], at: usize, overtaken: bool, hidden: Option<bool>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [alice, bob] = people(dir.path());
        let (id, mut parts, manifest) = sent_as(dir.path(), &alice, lengths, hidden);
        let live = bob.open_live(&Silent).unwrap();
        assert_kept(&keep(live, &manifest, None));
        let part = parts.remove(0);
        let mut arrivals = live.arrivals_of_bodies();
        for other in &parts {
            let whole = begin(&mut arrivals, other, other.payload.len());
            assert_kept(&keep(live, other, Some(whole)));
        }
        let body = begin(&mut arrivals, &part, at);
        assert_eq!(is_opening(&body), lengths == TWO && at >= 128 << 10 && hidden.is_none());
        let mut hasher = Box::new(blake3::Hasher::new());
        hasher.update(&part.payload[..at]);
        let cut = CutBody { transfer: TransferId(1), at: at as u64, hasher };
        let body = Mutex::new(Some(body));
        let kept = Arc::new(Kept { id: part.row.id, cut, body, overtaken });
        drop(arrivals);
        bob.lend_cut_bodies(Some(Arc::clone(&kept) as Arc<dyn CutBodies>));
        Self { dir, alice, bob, id, lengths, part, kept }
    }

    /// So much is with Bob, as Alice knows.
    fn say(&self, at: u64) {
        let said = BTreeMap::from([(self.part.row.id, (self.bob.home().card.node, at))]);
        self.alice.open_live(&Silent).unwrap().remember_held(&said).unwrap();
    }

    fn stick(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn rests(&self, stick: &str) -> Vec<PathBuf> {
        let dir = self.stick(stick).join("POSTRIDER").join(RESTS_DIR);
        let Ok(listed) = fs::read_dir(dir) else { return Vec::new() };
        listed.map(|entry| entry.unwrap().path()).collect()
    }

    /// Bytes on a stick.
    fn bytes(&self, stick: &str) -> u64 {
        let all = ["C", "N", RESTS_DIR].map(|dir| self.stick(stick).join("POSTRIDER").join(dir));
        let files = all.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }

    /// Alice writes; Bob takes, and answers on the stick.
    fn give(&self, stick: &str) -> Tossed {
        self.alice.toss(&request(self.stick(stick), TossDirection::Both), &Silent).unwrap()
    }

    fn take(&self, stick: &str) -> Tossed {
        self.bob.toss(&request(self.stick(stick), TossDirection::Both), &Silent).unwrap()
    }

    /// The message is whole, once, and its files are those that were sent.
    #[track_caller]
    fn is_there(&self) {
        assert_eq!(self.bob.inbox(&Silent).unwrap().len(), 1);
        let out = self.stick("out");
        self.bob.save_message(&self.id.to_string(), &out, &Silent).unwrap();
        for (length, n) in self.lengths.iter().zip(0..) {
            assert!(fs::read(out.join(format!("file-{n}"))).unwrap() == noise(*length, n), "{n}");
        }
    }

    /// Bytes of the file of a rest.
    fn rest_file_bytes(&self, from: u64) -> u64 {
        rest_bytes(self.part.head.len(), self.part.row.length, from)
    }

    /// Lays a rest by hand: of this head, a body of so many bytes, from there on, these bytes.
    fn lay(&self, stick: &str, head: &[u8], (body_bytes, offset): (u64, u64), bytes: &[u8]) {
        let hop = Hop { tokens: 1, hops: 0, age_s: 5, level: 0 };
        let new = NewRest { hop, head, body_bytes, offset };
        let mut writer = RestWriter::new(Salt([7; 8]), &new).unwrap();
        let mut file = writer.front().to_vec();
        writer.body(bytes).unwrap();
        file.extend(bytes);
        file.extend(writer.finish().unwrap());
        self.lay_file(stick, &file);
    }

    fn lay_file(&self, stick: &str, file: &[u8]) {
        // The marker is there before: a visit of somebody else.
        let marked = TossRequest { init: true, ..request(self.stick(stick), TossDirection::Both) };
        self.bob.toss(&marked, &Silent).unwrap();
        let dir = self.stick(stick).join("POSTRIDER").join(RESTS_DIR);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("0000000A.PRR"), file).unwrap();
    }
}

fn request(path: PathBuf, direction: TossDirection) -> TossRequest {
    TossRequest { path, direction, dry_run: false, budget: None, init: false, with_card: false }
}

#[test]
fn a_rest_goes_in_place_of_the_whole_and_the_message_is_there_once() {
    for (lengths, at) in
        [(FILE, 2_000_000), (TWO, 2_000_000), (TWO, 100_000), (MANY, 2_000_000), (TWO, 4_194_000)]
    {
        let story = Story::new(lengths, at);
        let said = (at as u64).saturating_sub(300_000).max(70_000);
        story.say(said);
        let planned =
            TossRequest { dry_run: true, ..request(story.stick("stick"), TossDirection::Both) };
        fs::create_dir(story.stick("stick").join("POSTRIDER")).unwrap();
        let planned = story.alice.toss(&planned, &Silent).unwrap();
        let written = story.give("stick");
        assert_eq!((planned.out, planned.bytes_out), (written.out, written.bytes_out));
        let [rest] = &story.rests("stick")[..] else { panic!("one rest") };
        assert_eq!(rest.metadata().unwrap().len(), story.rest_file_bytes(said));
        let taken = story.take("stick");
        assert_eq!((taken.messages.len(), taken.damaged), (1, 0), "{:?}", taken.damaged_list);
        assert!(taken.left_out.is_empty(), "{:?}", taken.left_out);
        story.is_there();
        // It is delivered, as Bob knows best: the rest goes, and its receipt comes back.
        assert_eq!(story.rests("stick"), [] as [PathBuf; 0]);
        assert_eq!(story.give("stick").delivered, [story.id.to_string()]);
        let again = story.take("stick");
        assert_eq!((again.taken, again.messages.len()), (0, 0));
    }
}

#[test]
fn a_rest_of_a_hidden_bundle_finds_its_beginning() {
    let story = Story::told(TWO, 2_000_000, false, Some(true));
    story.say(2_000_000);
    story.give("stick");
    assert_eq!(story.rests("stick").len(), 1);
    assert_eq!(story.take("stick").messages.len(), 1);
    story.is_there();
}

#[test]
fn a_rest_is_given_once_and_lies_there_for_the_whole() {
    let story = Story::new(TWO, 2_000_000);
    story.say(2_000_000);
    story.give("one");
    let bytes = story.bytes("one");
    assert!(bytes < 3 * MIB, "{bytes}");
    let again = story.give("one");
    assert_eq!((again.out, again.removed), (0, 0));
    assert_eq!(story.bytes("one"), bytes);
    // On another stick the whole goes, though more is said to be there.
    story.say(3_000_000);
    story.give("two");
    assert!(story.bytes("two") > 4 * MIB && story.rests("two").is_empty());
    story.take("two");
    story.is_there();
    // Who has it by another way settles the rest too.
    let taken = story.take("one");
    assert_eq!((taken.taken, taken.left_out.len(), taken.damaged), (0, 0, 0));
    assert!(story.rests("one").is_empty());
}

/// The program that had the beginning has ended, or forgot it, or less is there than was said.
#[test]
fn a_rest_without_its_beginning_is_left_and_the_whole_comes_next() {
    for lost in [true, false] {
        let story = Story::new(TWO, 2_000_000);
        story.say(if lost { 2_000_000 } else { 2_100_000 });
        story.give("stick");
        if lost {
            story.bob.lend_cut_bodies(None);
        }
        let taken = story.take("stick");
        assert_eq!((taken.messages.len(), taken.damaged, taken.skipped), (0, 0, 1));
        assert_eq!(taken.left_out.get(NO_BEGINNING), Some(&1));
        assert_eq!(story.rests("stick").len(), 1, "it is not Bob's to remove");
        assert!(story.kept.is_here());
        let written = story.give("stick");
        assert_eq!((written.out, written.removed), (1, 1));
        assert!(story.rests("stick").is_empty() && story.bytes("stick") > 4 * MIB);
        assert_eq!(story.take("stick").messages.len(), 1);
        story.is_there();
    }
}

#[test]
fn a_rest_that_a_link_overtakes_waits() {
    let story = Story::told(FILE, 2_000_000, true, None);
    story.say(2_000_000);
    story.give("stick");
    let taken = story.take("stick");
    assert_eq!(taken.left_out.get(COMES_BY_LINK), Some(&1));
    // Nobody called it useless.
    assert_eq!(story.give("stick").out, 0);
    assert_eq!(story.rests("stick").len(), 1);
}

#[test]
fn whatever_lies_on_the_stick_what_a_link_brought_stays_and_a_good_rest_completes_it() {
    let story = Story::new(TWO, 2_000_000);
    let (head, payload) = (&story.part.head[..], &story.part.payload[..]);
    let whole = payload.len() as u64;
    let rest = &payload[1_900_000..];
    let mut false_bytes = rest.to_vec();
    false_bytes[500_000] ^= 1;
    story.lay("false", head, (whole, 1_900_000), &false_bytes);
    story.lay("elsewhere", head, (whole, 1_900_001), &payload[1_900_000..payload.len() - 1]);
    story.lay("longer", head, (whole + 1, 1_900_000), &payload[1_899_999..]);
    story.lay("shorter", head, (whole - 1, 1_900_000), &rest[1..]);
    let mut forged = head.to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    story.lay("forged", &forged, (whole, 1_900_000), rest);
    story.lay("source", head, (whole, 1_900_000), rest);
    let good = fs::read(story.rests("source").pop().unwrap()).unwrap();
    story.lay_file("cut", &good[..good.len() - 1]);
    story.lay_file("more", &[&good[..], &[0]].concat());
    let mut flipped = good.clone();
    flipped[1_000_000] ^= 1;
    story.lay_file("flipped", &flipped);
    story.lay_file("noise", &noise(10_000, 9));
    for stick in
        ["false", "elsewhere", "longer", "shorter", "forged", "cut", "more", "flipped", "noise"]
    {
        let taken = story.take(stick);
        assert_eq!((taken.taken, taken.damaged), (0, 1), "{stick}: {taken:?}");
        assert!(story.kept.is_here(), "{stick}");
    }
    assert_eq!(story.take("source").messages.len(), 1);
    story.is_there();
}

#[test]
fn a_rest_for_somebody_else_is_left_as_it_is() {
    let story = Story::new(FILE, 2_000_000);
    let part = &story.part;
    story.lay("stick", &part.head, (part.row.length, 1_900_000), &part.payload[1_900_000..]);
    story.bob.lend_cut_bodies(None);
    // Alice wrote the bundle and does not know of that file: nothing is removed, and the whole goes.
    let written = story.give("stick");
    assert_eq!((written.taken, written.damaged, written.removed), (0, 0, 0));
    assert_eq!(story.rests("stick").len(), 1);
    assert!(story.bytes("stick") > 6 * MIB);
    // A third, who carries for nobody here, leaves it too.
    let home = story.dir.path().join("Carol");
    let init = crate::desk::InitRequest { home, name: Some("Carol".into()), even_if_public: false };
    let carol = Desk::init(&init).unwrap().0;
    let taken = carol.toss(&request(story.stick("stick"), TossDirection::Both), &Silent).unwrap();
    assert_eq!((taken.damaged, taken.removed), (0, 0));
    assert_eq!(story.rests("stick").len(), 1);
}

/// Says after so many questions that the visit is to end, as whoever pulls the stick does.
struct EndsAfter(AtomicUsize);

impl Watch for EndsAfter {
    fn event(&self, _: Event) {}

    fn is_stopped(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_err()
    }
}

#[test]
fn a_visit_that_ends_while_a_rest_is_read_leaves_everything_as_it_was() {
    let story = Story::new(FILE, 2_000_000);
    story.say(2_000_000);
    story.give("stick");
    let mut ended = 0;
    for questions in 0..40 {
        let watch = EndsAfter(AtomicUsize::new(questions));
        match story.bob.toss(&request(story.stick("stick"), TossDirection::In), &watch) {
            Err(failure) => {
                assert_eq!(failure.kind, FailureKind::Interrupted);
                assert!(story.kept.is_here(), "after {questions}");
                ended += 1;
            }
            Ok(taken) => {
                assert_eq!(taken.messages.len(), 1);
                break;
            }
        }
    }
    assert!(ended > 5, "it was never in the middle: {ended}");
    story.is_there();
}

#[test]
fn a_rest_takes_its_part_of_the_budget() {
    let story = Story::new(FILE, 2_000_000);
    story.say(2_000_000);
    let budget = Some(MIB);
    let small = TossRequest { budget, ..request(story.stick("stick"), TossDirection::Out) };
    let written = story.alice.toss(&small, &Silent).unwrap();
    assert_eq!(written.left_out.get("over the budget of this toss"), Some(&1));
    assert!(story.rests("stick").is_empty());
    // Nothing was given, so it may be still.
    story.give("stick");
    assert_eq!(story.rests("stick").len(), 1);
}
