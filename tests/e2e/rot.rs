//! Two hundred flipped bits and two hundred cuts for the files that a person's node consists of
//! beside its spool (the spool's own are tested there): no panic, no hang, and the loss of at most
//! what was damaged.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use postrider::desk::{Desk, Silent};

use super::town::{Town, containers, know_each_other, send, texts, toss};

/// Of each kind of damage (the figure).
const DAMAGES: u64 = 200;
/// Nothing takes longer, whatever is damaged.
const HANG: Duration = Duration::from_secs(5);

/// Damage of one kind at a place that a seed decides.
fn damaged(good: &[u8], seed: u64, cut: bool) -> Vec<u8> {
    let hash = blake3::hash(&[&seed.to_be_bytes()[..], &[u8::from(cut)]].concat());
    let number = u64::from_be_bytes(hash.as_bytes()[..8].try_into().unwrap());
    let at = usize::try_from(number % good.len() as u64).unwrap();
    let mut bytes = good.to_vec();
    if cut {
        bytes.truncate(at);
    } else {
        bytes[at] ^= 1 << (hash.as_bytes()[8] % 8);
    }
    bytes
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_damaged_container_costs_one_bundle_and_the_next_good_copy_brings_it() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    for n in 0..12 {
        send(&alice, "Bob", &format!("message {n:02}"));
    }
    toss(&alice, &stick);
    let container = containers(&stick).remove(0);
    let container = container.strip_prefix(&stick).unwrap().to_owned();
    let good = fs::read(stick.join(&container)).unwrap();
    let home = bob.home().dir().to_owned();
    drop(bob);
    for cut in [false, true] {
        for seed in 0..DAMAGES {
            let (node, medium) = (town.path(&format!("b{cut}{seed}")), town.path("medium"));
            copy(&home, &node);
            let _ = fs::remove_dir_all(&medium);
            copy(&stick, &medium);
            fs::write(medium.join(&container), damaged(&good, seed, cut)).unwrap();
            let begun = Instant::now();
            let bob = Desk::open(&node).unwrap();
            let tossed = toss(&bob, &medium);
            let arrived = texts(&bob).len();
            assert!(begun.elapsed() < HANG, "seed {seed}");
            if !cut {
                assert!(arrived >= 11, "seed {seed}: {arrived} arrived");
                assert!(arrived == 12 || tossed.damaged >= 1, "seed {seed}: damage is said");
            }
            fs::create_dir_all(medium.join(&container).parent().unwrap()).unwrap();
            fs::write(medium.join(&container), &good).unwrap();
            toss(&bob, &medium);
            assert_eq!(texts(&bob).len(), 12, "seed {seed}, cut {cut}");
            drop(bob);
            fs::remove_dir_all(&node).unwrap();
        }
    }
}

#[test]
fn damage_to_the_files_of_a_home_is_refused_or_harmless() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let sent = send(&alice, "Bob", "kept");
    let (id, card) = (alice.home().card.node, alice.home().card.clone());
    let home = alice.home().dir().to_owned();
    drop(alice);
    for file in ["key", "card", "config.toml", "contacts"] {
        let good = fs::read(home.join(file)).unwrap();
        for cut in [false, true] {
            let mut refused = 0;
            for seed in 0..DAMAGES {
                fs::write(home.join(file), damaged(&good, seed, cut)).unwrap();
                let begun = Instant::now();
                match Desk::open(&home) {
                    Err(failure) => {
                        refused += 1;
                        assert!(!failure.to_string().is_empty());
                    }
                    Ok(desk) => {
                        assert_eq!(desk.home().card.node, id, "{file}, seed {seed}");
                        if file == "card" {
                            assert_eq!(desk.home().card, card, "made again, seed {seed}");
                        }
                        // Who is known may be fewer by one line, and never somebody else.
                        let known = desk.contacts().unwrap();
                        assert!(known.iter().all(|contact| contact.name == "Bob"), "{seed}");
                        assert_eq!(desk.sent_state(&sent.id, &Silent).unwrap().state, "saved");
                    }
                }
                assert!(begun.elapsed() < HANG, "{file}, seed {seed}");
            }
            if file == "key" {
                // The rest fell on the words for people at its beginning.
                assert!(refused > 50, "a damaged key is refused: {refused}");
            }
        }
        fs::write(home.join(file), &good).unwrap();
    }
    let desk = Desk::open(&home).unwrap();
    assert_eq!(desk.sent_state(&sent.id, &Silent).unwrap().state, "saved");
    assert_eq!(desk.contacts().unwrap().len(), 1);
}
