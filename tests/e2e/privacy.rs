//! What a finder of a stick learns.

use std::fs;

use postrider::desk::{SendRequest, Silent, TossRequest};

use super::town::{Town, all_files, know_each_other, letter, request, send, toss};

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn a_found_stick_names_nobody_and_no_file() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice-Longname"), town.node("Bob-Longname"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    let file = town.path("secret-plan.pdf");
    fs::write(&file, "the plan is secret".repeat(20_000)).unwrap();
    for hidden in [false, true] {
        let request = SendRequest {
            hidden: Some(hidden),
            files: vec![file.clone()],
            ..letter("Bob-Longname", "meet me at the old mill")
        };
        alice.send(&request, &Silent).unwrap();
        send(&alice, "Bob-Longname", "and bring the map with you");
    }
    toss(&alice, &stick);
    for (path, bytes) in all_files(&stick) {
        let name = path.strip_prefix(&stick).unwrap().display().to_string();
        for secret in ["Longname", "secret-plan", "plan is secret", "old mill", "bring the map"] {
            assert!(!holds(&bytes, secret.as_bytes()), "{name} shows {secret}");
            assert!(!name.contains(secret));
        }
    }
}

#[test]
fn hidden_mail_shows_no_key_and_no_stable_string_of_either_end() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let sticks = [town.stick("one"), town.stick("two")];
    for stick in &sticks {
        let hidden = SendRequest { hidden: Some(true), ..letter("Bob", "the same words") };
        alice.send(&hidden, &Silent).unwrap();
        toss(&alice, stick);
    }
    let images = sticks.map(|stick| all_files(&stick));
    for desk in [&alice, &bob] {
        let identity = desk.identity(false);
        let key = desk.home().card.node;
        let seal = *desk.home().card.seal_key().as_bytes();
        for (path, bytes) in images.iter().flatten() {
            for secret in [&key.as_bytes()[..], &seal, identity.id.as_bytes()] {
                assert!(!holds(bytes, secret), "{}", path.display());
            }
        }
    }
    // Two sticks of the same people share no run of 8 bytes but what every stick has.
    let strangers = Town::new();
    let (carol, dora) = (strangers.node("Carol"), strangers.node("Dora"));
    know_each_other(&carol, &dora);
    let theirs = strangers.stick("stick");
    let hidden = SendRequest { hidden: Some(true), ..letter("Dora", "other words") };
    carol.send(&hidden, &Silent).unwrap();
    toss(&carol, &theirs);
    let runs = |image: &[(std::path::PathBuf, Vec<u8>)]| -> std::collections::HashSet<Vec<u8>> {
        image.iter().flat_map(|(_, bytes)| bytes.windows(8).map(<[u8]>::to_vec)).collect()
    };
    let everybodys = runs(&all_files(&theirs));
    // The second stick also holds the first message: look only at the second alone.
    let first: std::collections::HashSet<_> = runs(&images[0]);
    let second_only: Vec<_> = images[1]
        .iter()
        .flat_map(|(_, bytes)| bytes.windows(8).map(<[u8]>::to_vec))
        .filter(|run| first.contains(run) && !everybodys.contains(run))
        .collect();
    // The first message itself rides on both sticks, once each: its bytes are no pseudonym. All
    // shared runs must lie within it.
    let message: std::collections::HashSet<_> = images[0]
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|e| e == "PRC"))
        .flat_map(|(_, bytes)| bytes.windows(8).map(<[u8]>::to_vec))
        .collect();
    assert!(second_only.iter().all(|run| message.contains(run)));
}

#[test]
fn a_card_is_left_only_when_asked() {
    let town = Town::new();
    let alice = town.node("Alice-Longname");
    let stick = town.stick("stick");
    toss(&alice, &stick);
    assert!(!all_files(&stick).iter().any(|(_, bytes)| holds(bytes, b"prcard1")));
    let with_card =
        TossRequest { with_card: true, ..request(&stick, postrider::desk::TossDirection::Both) };
    alice.toss(&with_card, &Silent).unwrap();
    let cards = postrider::desk::Desk::cards_on(&stick).unwrap();
    assert_eq!(cards.len(), 1);
    assert_eq!(cards[0], alice.home().card);
}
