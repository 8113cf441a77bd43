//! Bundles that come in while commits fail.

#![allow(clippy::unwrap_used)]

use postrider_base::{Head, bundle::Hop};

use super::{Intake, Refusal};
use crate::desk::{AddRequest, Desk, FailureKind, InitRequest, SendRequest, Silent};

fn person(dir: &std::path::Path, name: &str) -> Desk {
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
    };
    from.send(&request, &Silent).unwrap();
    let live = from.open_live(&Silent).unwrap();
    let id = live.arrivals(0).unwrap().0.pop().unwrap();
    let loaded = live.load(&id).unwrap().unwrap();
    (Head::decode(&loaded.head).unwrap(), loaded.payload.to_vec())
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
