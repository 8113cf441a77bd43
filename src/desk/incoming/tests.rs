//! Bundles that come in while commits fail, and such that end the program.

#![allow(clippy::unwrap_used)]

use std::{env, fs, io, path::Path, process::Command};

use bytes::BytesMut;
use postrider_base::{
    Head,
    bundle::{Hop, Receipt},
};

use super::{Intake, Refusal};
use crate::desk::{
    AddRequest, Desk, FailureKind, InitRequest, SendRequest, Silent, clock, inbox::note_keys,
    ledger::space, receipts,
};

fn person(dir: &Path, name: &str) -> Desk {
    let request =
        InitRequest { home: dir.join(name), name: Some(name.into()), even_if_public: false };
    Desk::init(&request).unwrap().0
}

fn know(desk: &Desk, other: &Desk) {
    desk.add(&AddRequest { card: other.home().card.clone(), name: None }).unwrap();
}

/// A message as it travels.
fn written(from: &Desk, text: &str) -> (Head, Vec<u8>) {
    let request = SendRequest {
        to: "Bob".into(),
        text: Some(text.into()),
        files: Vec::new(),
        nice: None,
        lifetime: None,
        hidden: None,
        reply_to: None,
        supersede: None,
    };
    from.send(&request, &Silent).unwrap();
    let live = from.open_live(&Silent).unwrap();
    let id = live.arrivals(0).unwrap().0.pop().unwrap();
    let head = Head::decode(&live.load(&id).unwrap().unwrap().head).unwrap();
    let length = usize::try_from(head.header().length).unwrap();
    let payload = live.read(&id, 0, length, BytesMut::new()).unwrap().unwrap();
    (head, payload.to_vec())
}

/// What is answered as taken is durable when the intake has ended well, and not otherwise: also when
/// the commit that failed was not the last.
#[test]
fn after_a_failed_commit_nothing_is_taken_and_the_end_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = (person(dir.path(), "Alice"), person(dir.path(), "Bob"));
    know(&alice, &bob);
    know(&bob, &alice);
    let (first, second) = (written(&alice, "first"), written(&alice, "second"));
    let spool = bob.spool(&Silent).unwrap();
    let hop = Hop::fresh();

    // Two at once have the same message: the spool refuses the second group whole.
    let intake = Intake::new(&bob, spool).unwrap();
    intake.take_small(&first.0, hop, &first.1).unwrap();
    let other = Intake::new(&bob, spool).unwrap();
    other.take_small(&first.0, hop, &first.1).unwrap();
    assert_eq!(other.finish().unwrap().messages.len(), 1);
    assert_eq!(intake.flush().unwrap_err().kind, FailureKind::Fault);

    let refused = intake.take_small(&second.0, hop, &second.1);
    assert!(matches!(refused, Err(Refusal::Failed(failure)) if failure.kind == FailureKind::Fault));
    assert_eq!(intake.finish().unwrap_err().kind, FailureKind::Fault);

    // Whoever begins again gets it in.
    let again = Intake::new(&bob, spool).unwrap();
    again.take_small(&second.0, hop, &second.1).unwrap();
    assert_eq!(again.finish().unwrap().messages.len(), 1);
}

/// Names the home in which a process of [`dies_while_it_opens_a_bundle`] works.
const DYING_HOME: &str = "POSTRIDER_TEST_DYING_HOME";

/// A body that ends the program when it is read: so may any bug behind it.
struct Deadly;

impl io::Read for Deadly {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        std::process::abort()
    }
}

/// The process of its own: [`dies`] runs this test alone.
#[test]
fn dies_while_it_opens_a_bundle() {
    let Some(home) = env::var_os(DYING_HOME) else { return };
    let desk = Desk::open(Path::new(&home)).unwrap();
    let head = Head::decode(&fs::read(Path::new(&home).join("head")).unwrap()).unwrap();
    let spool = desk.spool(&Silent).unwrap();
    let intake = Intake::new(&desk, spool).unwrap();
    let _ = intake.take_large(&head, Hop::fresh(), Deadly);
    unreachable!("it was not opened");
}

/// Another process opens the spool of a home, begins to open a bundle, and dies of it.
fn dies(home: &Path, head: &Head) {
    use std::os::unix::process::ExitStatusExt;
    fs::write(home.join("head"), head.encode()).unwrap();
    let mut me = Command::new(env::current_exe().unwrap());
    let of = "desk::incoming::tests::dies_while_it_opens_a_bundle";
    let ended = me.args([of, "--exact"]).env(DYING_HOME, home).output().unwrap();
    let abort = 6;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.status.signal(), Some(abort), "{said}");
}

#[test]
fn a_bundle_of_which_the_program_died_twice_is_set_aside_and_other_mail_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = (person(dir.path(), "Alice"), person(dir.path(), "Bob"));
    know(&alice, &bob);
    know(&bob, &alice);
    let text =
        |seed: u8| (0..200).map(|n| blake3::hash(&[seed, n]).to_string()).collect::<String>();
    let (poison, innocent) = (written(&alice, &text(1)), written(&alice, &text(2)));
    let small = written(&alice, "small");
    let home = dir.path().join("Bob");
    let again = |desk: Desk| {
        drop(desk);
        Desk::open(&home).unwrap()
    };
    drop(bob);

    // Once may be chance: it is tried again, and what ends well is forgotten.
    dies(&home, &innocent.0);
    let bob = Desk::open(&home).unwrap();
    assert_eq!(bob.status(&Silent).unwrap().health, "ok");
    let intake = Intake::new(&bob, bob.spool(&Silent).unwrap()).unwrap();
    intake.take_large(&innocent.0, Hop::fresh(), &innocent.1[..]).unwrap();
    assert_eq!(intake.finish().unwrap().messages.len(), 1);
    assert!(note_keys(bob.spool(&Silent).unwrap(), space::OPENING).unwrap().is_empty());
    drop(bob);

    dies(&home, &poison.0);
    dies(&home, &poison.0);
    let bob = again(Desk::open(&home).unwrap());
    let id = poison.0.verify_large().unwrap();
    assert!(bob.status(&Silent).unwrap().health.contains("1 bundle is set aside"));
    assert!(bob.why(&id.to_string(), &Silent).unwrap()[0].contains("set aside"));
    let intake = Intake::new(&bob, bob.spool(&Silent).unwrap()).unwrap();
    let refused = intake.take_large(&poison.0, Hop::fresh(), Deadly);
    assert!(matches!(refused, Err(Refusal::Aside)), "{refused:?}");
    intake.take_small(&small.0, Hop::fresh(), &small.1).unwrap();
    assert_eq!(intake.finish().unwrap().messages.len(), 1);
    // Also to whoever comes after this process.
    let bob = again(bob);
    assert!(bob.status(&Silent).unwrap().health.contains("1 bundle is set aside"));
}

/// What a node hands on of receipts.
fn handed_on(desk: &Desk) -> Vec<Receipt> {
    let spool = desk.spool(&Silent).unwrap();
    let listed =
        receipts::all(spool, postrider_spool::Spool::held_ms(spool, clock::now())).unwrap();
    listed.list.into_iter().map(|(_, receipt)| receipt).collect()
}

/// A sender called its message back, and its recipient and a relay hear of that before the message
/// comes: the one does not show it, the other does not carry it, and both hand the receipt on.
#[test]
fn a_bundle_whose_receipt_came_first_is_over_when_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = (person(dir.path(), "Alice"), person(dir.path(), "Bob"));
    drop(person(dir.path(), "Sam"));
    know(&alice, &bob);
    know(&bob, &alice);
    drop(bob);
    let long: String = (0..300_u32).map(|n| blake3::hash(&n.to_be_bytes()).to_string()).collect();
    let short = "never mind".to_owned();
    let cases = [(&short, true), (&long, true), (&short, false), (&long, false)];
    for (at, name) in
        ["Bob", "Sam"].iter().flat_map(|name| (0..cases.len()).map(move |at| (at, name)))
    {
        let (text, is_true) = &cases[at];
        let (head, payload) = written(&alice, text);
        let id = head.id(&payload);
        assert_eq!(head.header().is_small(), at % 2 == 0);
        alice.cancel(&id.to_string(), &Silent).unwrap();
        let called_back = handed_on(&alice).into_iter().find(|r| r.id_prefix == id.prefix());
        let mut receipt = called_back.unwrap();
        receipt.r[15] ^= u8::from(!is_true);
        let open = || Desk::open(&dir.path().join(name)).unwrap();
        let take = |desk: &Desk| {
            let intake = Intake::new(desk, desk.spool(&Silent).unwrap()).unwrap();
            let taken = intake.take_large(&head, Hop::fresh(), &payload[..]);
            (taken, intake.finish().unwrap())
        };
        let desk = open();
        let live = desk.open_live(&Silent).unwrap();
        assert_eq!(live.take_receipts(None, &[receipt]).unwrap().0, 0, "there is nothing to free");
        assert!(!handed_on(&desk).contains(&receipt), "it may be false");
        // As another process finds it.
        drop(desk);
        let desk = open();
        let (taken, gains) = take(&desk);
        let what = format!("{name} {at}");
        assert_eq!(matches!(taken, Err(Refusal::Known)), *is_true, "{what}: {taken:?}");
        assert_eq!(gains.taken, u64::from(!is_true), "{what}");
        assert_eq!(handed_on(&desk).contains(&receipt), *is_true, "{what}");
        assert!(matches!(take(&desk).0, Err(Refusal::Known)), "{what}: and it stays known");
        let early = note_keys(desk.spool(&Silent).unwrap(), space::EARLY).unwrap();
        assert_eq!(early.len(), at.saturating_sub(1), "{what}: a false one waits on");
        // Its own receipt comes back to whoever opened it: that is nothing to wait for.
        let live = desk.open_live(&Silent).unwrap();
        live.take_receipts(None, &[Receipt { r: [1; 16], ..receipt }]).unwrap();
        let after = note_keys(desk.spool(&Silent).unwrap(), space::EARLY).unwrap();
        assert_eq!(after, early, "{what}");
    }
}
