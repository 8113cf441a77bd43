//! What is sent arrives, once, and its receipt comes back.

use std::fs;

use postrider::desk::{AddRequest, Desk, FailureKind, SendRequest, Silent, TossDirection};
use postrider_base::{Lifetime, Niceness};

use super::town::{
    Town, containers, inbox, know_each_other, letter, request, send, send_file, state, texts, toss,
    try_toss,
};

#[test]
fn mail_arrives_once_and_is_ticked_by_its_receipt() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    for hidden in [false, true] {
        let request = SendRequest { hidden: Some(hidden), ..letter("bob", "hello") };
        let sent = alice.send(&request, &Silent).unwrap();
        assert_eq!((&*sent.state, &*state(&alice, &sent)), ("saved", "saved"));
        toss(&alice, &stick);
        assert_eq!(state(&alice, &sent), "saved", "a copy on a stick proves nothing");
        let tossed = toss(&bob, &stick);
        assert_eq!((tossed.taken, tossed.messages.len()), (1, 1));
        assert_eq!(tossed.messages[0].id, sent.id, "the id is the same at both ends");
        assert_eq!(toss(&bob, &stick).messages.len(), 0, "shown once");
        assert_eq!(toss(&alice, &stick).delivered, std::slice::from_ref(&sent.id));
        assert_eq!(state(&alice, &sent), "delivered");
        assert_eq!(alice.status(&Silent).unwrap().out, 0, "the sender's copy is free");
    }
    assert_eq!(texts(&bob), ["hello", "hello"]);
}

#[test]
fn the_first_message_brings_the_senders_card() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    alice.add(&AddRequest { card: bob.home().card.clone(), name: None }).unwrap();
    let stick = town.stick("stick");
    let sent = send(&alice, "Bob", "do you read me?");
    toss(&alice, &stick);
    let message = toss(&bob, &stick).messages.remove(0);
    assert_eq!(message.from, alice.home().card.node.to_string(), "no contact, so no name");
    assert!(!message.known_sender);
    let card = bob.card_from_message(&message.id, &Silent).unwrap();
    bob.add(&AddRequest { card, name: None }).unwrap();
    send(&bob, "Alice", "loud and clear");
    toss(&bob, &stick);
    toss(&alice, &stick);
    assert_eq!(texts(&alice), ["loud and clear"]);
    assert_eq!(state(&alice, &sent), "delivered");
}

#[test]
fn files_and_directories_of_every_size_arrive_whole() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    let part = usize::try_from(postrider_base::packet::PART_BYTES).unwrap();
    for (n, bytes) in [0, 1, 300, 262_144, 262_145, part - 1, part, part + 1, 2 * part + 77]
        .into_iter()
        .enumerate()
    {
        let file = town.file(&format!("file-{bytes}"), bytes, u8::try_from(n).unwrap());
        let sent = send_file(&alice, "Bob", &file);
        toss(&alice, &stick);
        let tossed = toss(&bob, &stick);
        assert_eq!(tossed.messages.len(), 1, "{bytes} bytes");
        let saved = bob.save_message(&sent.id, town.dir.path(), &Silent).unwrap();
        assert_eq!(fs::read(&saved[0].path).unwrap(), fs::read(&file).unwrap(), "{bytes} bytes");
        toss(&alice, &stick);
        assert_eq!(state(&alice, &sent), "delivered", "{bytes} bytes");
    }
    let tree = town.path("tree");
    fs::create_dir_all(tree.join("a/empty")).unwrap();
    for n in 0..40_u8 {
        let path = tree.join("a").join(format!("f{n}"));
        fs::write(path, vec![n; usize::from(n) * 20_000]).unwrap();
    }
    fs::write(tree.join("zero"), "").unwrap();
    let sent = send_file(&alice, "Bob", &tree);
    toss(&alice, &stick);
    toss(&bob, &stick);
    let out = town.stick("out");
    bob.save_message(&sent.id, &out, &Silent).unwrap();
    for n in 0..40_u8 {
        let saved = fs::read(out.join("tree/a").join(format!("f{n}"))).unwrap();
        assert_eq!(saved, vec![n; usize::from(n) * 20_000]);
    }
    assert!(out.join("tree/a/empty").is_dir() && out.join("tree/zero").is_file());
}

#[test]
fn a_copy_by_every_road_is_shown_once() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    let (sam, tom) = (town.node("Sam"), town.node("Tom"));
    know_each_other(&alice, &bob);
    let file = town.file("big", 9 << 20, 1);
    send(&alice, "Bob", "one");
    let sent = send_file(&alice, "Bob", &file);
    let sticks = ["s1", "s2", "s3"].map(|name| town.stick(name));
    for stick in &sticks {
        toss(&alice, stick);
    }
    toss(&sam, &sticks[0]);
    toss(&tom, &sticks[1]);
    let (by_sam, by_tom) = (town.stick("by-sam"), town.stick("by-tom"));
    toss(&sam, &by_sam);
    toss(&tom, &by_tom);
    let mut shown = 0;
    for stick in [&by_sam, &sticks[2], &by_tom, &sticks[0], &by_sam] {
        shown += toss(&bob, stick).messages.len();
    }
    assert_eq!((shown, inbox(&bob).len()), (2, 2));
    // The receipts free every carrier's copies.
    for (carrier, stick) in [(&sam, &by_sam), (&tom, &by_tom)] {
        toss(carrier, stick);
        assert_eq!(carrier.status(&Silent).unwrap().carried, 0);
    }
    toss(&alice, &by_tom);
    assert_eq!(state(&alice, &sent), "delivered");
}

#[test]
fn a_second_visit_writes_only_what_is_new() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    send(&alice, "Bob", "one");
    assert_eq!(toss(&alice, &stick).out, 1);
    assert_eq!(toss(&alice, &stick).out, 0);
    send(&alice, "Bob", "two");
    assert_eq!(toss(&alice, &stick).out, 1);
    assert_eq!(toss(&bob, &stick).messages.len(), 2);
    toss(&bob, &stick);
    assert_eq!(containers(&stick).len(), 0, "what is delivered is removed from the stick");
    assert_eq!(toss(&alice, &stick).out, 0);
}

#[test]
fn parts_on_different_sticks_meet_in_any_order() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let file = town.file("big", 40 << 20, 3);
    let sent = send_file(&alice, "Bob", &file);
    let mut sticks = Vec::new();
    let all = town.stick("all");
    toss(&alice, &all);
    for (n, container) in containers(&all).into_iter().enumerate() {
        let stick = town.stick(&format!("s{n}"));
        fs::create_dir_all(stick.join("POSTRIDER/C")).unwrap();
        let name = container.file_name().unwrap();
        fs::copy(&container, stick.join("POSTRIDER/C").join(name)).unwrap();
        sticks.push((fs::metadata(&container).unwrap().len(), stick));
    }
    assert!(sticks.len() >= 2, "parts and manifest lie in different containers");
    // The largest containers first: parts come before their manifest.
    sticks.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let mut bob = bob;
    for (n, (_, stick)) in sticks.iter().enumerate() {
        let arrived = toss(&bob, stick).messages.len();
        assert_eq!(arrived, usize::from(n + 1 == sticks.len()), "complete with the last only");
        bob = town.again(bob);
    }
    let saved = bob.save_message(&sent.id, town.dir.path(), &Silent).unwrap();
    assert_eq!(fs::read(&saved[0].path).unwrap(), fs::read(&file).unwrap());
}

#[test]
fn urgent_mail_always_fits() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    send_file(&alice, "Bob", &town.file("bulk", 20 << 20, 1));
    let urgent =
        SendRequest { nice: Some(Niceness::FLASH), ..letter("Bob", "the dam is breaking") };
    alice.send(&urgent, &Silent).unwrap();
    let stick = town.stick("stick");
    let small = super::town::request(&stick, TossDirection::Both);
    let small = postrider::desk::TossRequest { budget: Some(100_000), ..small };
    let tossed = alice.toss(&small, &Silent).unwrap();
    assert!(tossed.skipped > 0 && tossed.out >= 1);
    let messages = toss(&bob, &stick).messages;
    assert!(messages.iter().any(|message| message.text == "the dam is breaking"));
}

#[test]
fn a_dry_run_changes_nothing() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    send(&alice, "Bob", "one");
    let dry =
        postrider::desk::TossRequest { dry_run: true, ..request(&stick, TossDirection::Both) };
    alice.toss(&dry, &Silent).unwrap();
    assert!(!stick.join("POSTRIDER").exists());
    toss(&alice, &stick);
    let before = super::town::all_files(&stick);
    assert_eq!(bob.toss(&dry, &Silent).unwrap().taken, 1);
    assert_eq!(super::town::all_files(&stick), before);
    assert_eq!(inbox(&bob).len(), 0);
}

#[test]
fn only_in_and_only_out_do_only_that() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    send(&alice, "Bob", "to Bob");
    send(&bob, "Alice", "to Alice");
    assert_eq!(alice.toss(&request(&stick, TossDirection::In), &Silent).unwrap().out, 0);
    alice.toss(&request(&stick, TossDirection::Out), &Silent).unwrap();
    bob.toss(&request(&stick, TossDirection::Out), &Silent).unwrap();
    assert_eq!(inbox(&bob).len(), 0);
    let before = super::town::all_files(&stick);
    bob.toss(&request(&stick, TossDirection::In), &Silent).unwrap();
    assert_eq!(texts(&bob), ["to Bob"]);
    assert_eq!(super::town::all_files(&stick), before, "taking leaves the stick as it is");
}

#[test]
fn cancelled_mail_is_not_carried_on_and_its_copies_are_freed() {
    let town = Town::new();
    let (alice, bob, sam) = (town.node("Alice"), town.node("Bob"), town.node("Sam"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    let sent = send(&alice, "Bob", "never mind");
    toss(&alice, &stick);
    toss(&sam, &stick);
    assert_eq!(sam.status(&Silent).unwrap().carried, 1);
    assert_eq!(alice.cancel(&sent.id, &Silent).unwrap().state, "cancelled");
    toss(&alice, &stick);
    toss(&sam, &stick);
    assert_eq!(sam.status(&Silent).unwrap().carried, 0);
    toss(&bob, &stick);
    assert_eq!(inbox(&bob).len(), 0);
}

fn instead(to: &str, text: &str, of: &str) -> SendRequest {
    SendRequest { supersede: Some(of.into()), ..letter(to, text) }
}

/// The old one is under way with Sam. Bob hears of the end of it beside the newer one, then meets Sam.
#[test]
fn a_newer_message_takes_the_place_of_an_older_one_wherever_its_copies_are() {
    let town = Town::new();
    let (alice, bob, sam) = (town.node("Alice"), town.node("Bob"), town.node("Sam"));
    know_each_other(&alice, &bob);
    let [direct, by_sam] = ["direct", "by Sam"].map(|name| town.stick(name));
    let old = send(&alice, "Bob", "at six");
    toss(&alice, &by_sam);
    toss(&sam, &by_sam);
    let new = alice.send(&instead("Bob", "at seven", &old.id[..8]), &Silent).unwrap();
    assert_eq!(new.supersedes.as_ref(), Some(&old.id));
    assert_eq!((state(&alice, &old), state(&alice, &new)), ("cancelled".into(), "saved".into()));
    let traced = alice.trace(&old.id, &Silent).unwrap();
    let last = traced.last().unwrap();
    assert_eq!((&*last.what, &last.via), ("superseded", &new.id));
    assert!(alice.why(&old.id, &Silent).unwrap()[0].contains(&new.id));
    toss(&alice, &direct);
    assert_eq!(toss(&bob, &direct).messages.len(), 1);
    let bob = town.again(bob);
    assert_eq!(toss(&sam, &by_sam).out, 0, "it lies there already");
    assert_eq!(toss(&bob, &by_sam).messages.len(), 0);
    assert_eq!(texts(&bob), ["at seven"]);
    // Bob says so where the old one lies, and Sam's copy is free.
    toss(&sam, &by_sam);
    assert_eq!(sam.status(&Silent).unwrap().carried, 0);
    toss(&alice, &direct);
    assert_eq!(state(&alice, &new), "delivered");
}

/// All of it on one stick, by the hand of somebody who only adds.
#[test]
fn an_older_message_is_not_shown_where_its_end_lies_beside_it() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    let file = town.file("old plan", 3 << 20, 5);
    let old = send_file(&alice, "Bob", &file);
    toss(&alice, &stick);
    let kept: Vec<_> = containers(&stick).into_iter().map(|p| (fs::read(&p).unwrap(), p)).collect();
    alice.send(&instead("Bob", "no plan", &old.id), &Silent).unwrap();
    toss(&alice, &stick);
    kept.iter().for_each(|(bytes, path)| fs::write(path, bytes).unwrap());
    toss(&bob, &stick);
    assert_eq!(texts(&bob), ["no plan"]);
}

#[test]
fn what_has_ended_is_superseded_by_nothing_and_then_nothing_is_sent() {
    let town = Town::new();
    let (alice, bob, sam) = (town.node("Alice"), town.node("Bob"), town.node("Sam"));
    know_each_other(&alice, &bob);
    know_each_other(&alice, &sam);
    let stick = town.stick("stick");
    let old = send(&alice, "Bob", "read at once");
    let refused = |request: &SendRequest| alice.send(request, &Silent).unwrap_err();
    assert_eq!(refused(&instead("Sam", "x", &old.id)).kind, FailureKind::Usage);
    assert_eq!(refused(&instead("Bob", "x", "abcd1234")).kind, FailureKind::Unknown);
    let gone = SendRequest {
        text: None,
        files: vec![town.path("no such file")],
        ..instead("Bob", "", &old.id)
    };
    refused(&gone);
    assert_eq!(state(&alice, &old), "saved", "as long as nothing took its place");
    for desk in [&alice, &bob, &alice] {
        toss(desk, &stick);
    }
    let failure = refused(&instead("Bob", "too late", &old.id));
    assert_eq!(failure.kind, FailureKind::Ended);
    assert!(failure.what.contains("delivered"), "{}", failure.what);
    assert!(failure.next.unwrap().contains("without --supersede"));
    assert_eq!(alice.queue(&Silent).unwrap().len(), 0, "nothing was sent");
}

/// A large message in parts takes the place of another such, and both ends know it.
#[test]
fn a_message_in_parts_takes_the_place_of_another() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    let [first, second] = [3, 4].map(|n| town.file(&format!("plan {n}"), 9 << 20, n));
    let old = send_file(&alice, "Bob", &first);
    let request =
        SendRequest { text: None, files: vec![second.clone()], ..instead("Bob", "", &old.id) };
    let new = alice.send(&request, &Silent).unwrap();
    assert_eq!((state(&alice, &old), state(&alice, &new)), ("cancelled".into(), "saved".into()));
    let waiting = alice.queue(&Silent).unwrap();
    assert!(waiting.iter().all(|row| row.message.as_ref() == Some(&new.id)), "{waiting:?}");
    for desk in [&alice, &bob, &alice] {
        toss(desk, &stick);
    }
    let arrived = inbox(&bob);
    assert_eq!(arrived.iter().map(|m| &*m.files[0].name).collect::<Vec<_>>(), ["plan 4"]);
    assert_eq!(state(&alice, &new), "delivered");
}

#[test]
fn a_restored_home_reuses_numbers_and_its_mail_is_shown_with_an_alarm() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    send(&alice, "Bob", "before the backup");
    toss(&alice, &stick);
    let (home, copy) = (town.path("Alice"), town.path("Alice-backup"));
    drop(alice);
    copy_dir(&home, &copy);
    let [first, second] = [&home, &copy].map(|home| postrider::desk::Desk::open(home).unwrap());
    send(&first, "Bob", "from the real one");
    toss(&first, &stick);
    send(&second, "Bob", "from the restored one");
    toss(&second, &stick);
    toss(&bob, &stick);
    let all = ["before the backup", "from the real one", "from the restored one"];
    assert_eq!(texts(&bob), all, "mail is never lost");
    assert_eq!(inbox(&bob).iter().filter(|message| message.alarm.is_some()).count(), 1);
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_changed_card_goes_along_with_the_next_message() {
    let town = Town::new();
    let (alice, bob) = (town.node("alice"), town.node("bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    let exchange = |alice: &Desk, bob: &Desk| {
        for desk in [alice, bob, alice] {
            toss(desk, &stick);
        }
    };
    send(&bob, "alice", "so that Alice knows I have her card");
    toss(&bob, &stick);
    exchange(&alice, &bob);
    let alice = town.set(alice, "addresses = []", "addresses = [\"tls://alice.example\"]");
    send(&alice, "bob", "I have moved");
    exchange(&alice, &bob);
    let known = bob.home().contacts().unwrap();
    let card = &known.of(&alice.home().card.node).unwrap().card;
    assert_eq!((card.number, &*card.hints), (2, &["tls://alice.example".to_owned()][..]));
}

#[test]
fn blocked_senders_are_neither_shown_nor_answered() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    let block = postrider::desk::ContactChange::Block(true);
    bob.change_contact("Alice", &block).unwrap();
    let sent = send(&alice, "Bob", "let me in");
    toss(&alice, &stick);
    assert_eq!(toss(&bob, &stick).messages.len(), 0);
    toss(&alice, &stick);
    assert_eq!(state(&alice, &sent), "saved", "no receipt tells that it was read");
}

#[test]
fn a_wrong_place_is_named_and_nothing_is_written() {
    let town = Town::new();
    let alice = town.node("Alice");
    let missing = try_toss(&alice, &town.path("nowhere")).unwrap_err();
    assert!(missing.what.contains("there is nothing at"), "{missing}");
    let file = town.file("file", 10, 1);
    assert!(try_toss(&alice, &file).is_err());
}

#[test]
fn pack_and_unpack_carry_the_same_mail_as_a_stream() {
    let town = Town::new();
    let (alice, bob, carol) = (town.node("Alice"), town.node("Bob"), town.node("Carol"));
    know_each_other(&alice, &bob);
    know_each_other(&alice, &carol);
    let file = town.file("big", 9 << 20, 7);
    let sent = send_file(&alice, "Bob", &file);
    send(&alice, "Carol", "not for Bob");
    let mut stream = Vec::new();
    let packed = alice.pack(&["Bob".into()], &mut stream, &Silent).unwrap();
    assert_eq!(packed.out, 3);
    let unpacked = bob.unpack(&mut &stream[..], &Silent).unwrap();
    assert_eq!((unpacked.messages.len(), unpacked.damaged), (1, 0));
    let mut back = Vec::new();
    bob.pack(&[], &mut back, &Silent).unwrap();
    alice.unpack(&mut &back[..], &Silent).unwrap();
    assert_eq!(state(&alice, &sent), "delivered");
    // A stream that breaks off costs what was not read, and is no panic.
    let dora = town.node("Dora");
    for cut in [0, 3, 5, 100, 5000, stream.len() / 2, stream.len() - 1] {
        let unpacked = dora.unpack(&mut &stream[..cut], &Silent).unwrap();
        assert!(unpacked.damaged >= 1, "cut at {cut}");
    }
}

#[test]
fn a_short_life_ends_and_is_said() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let short = SendRequest { lifetime: Lifetime::new(1), ..letter("Bob", "quick") };
    let sent = alice.send(&short, &Silent).unwrap();
    let stick = town.stick("stick");
    // Expiry goes by the custody clock: look until it has passed, at most a minute.
    for _ in 0..600 {
        toss(&alice, &stick);
        if state(&alice, &sent) == "expired" {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    panic!("it never expired");
}

#[test]
fn threads_of_one_process_send_and_toss_at_the_same_time() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    alice.status(&Silent).unwrap();
    let file = town.file("big", 9 << 20, 5);
    let sticks = ["one", "two"].map(|name| town.stick(name));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| send_file(&alice, "Bob", &file));
        }
        for stick in &sticks {
            let alice = &alice;
            scope.spawn(move || (0..4).for_each(|_| drop(toss(alice, stick))));
        }
    });
    for stick in &sticks {
        toss(&alice, stick);
    }
    bob.status(&Silent).unwrap();
    std::thread::scope(|scope| {
        for stick in &sticks {
            let bob = &bob;
            scope.spawn(move || toss(bob, stick));
        }
    });
    let inbox = inbox(&bob);
    assert_eq!(inbox.len(), 3);
    assert!(inbox.iter().all(|message| message.complete));
}

/// A stick that had gathered more receipts than one group of the spool takes was refused for ever.
#[test]
fn thousands_of_receipts_come_back_at_once() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    // Three changes each: above the 4,096 of a group.
    let mut letters = (0..1500).map(|n| Ok(letter("Bob", &format!("number {n}"))));
    let mut sent = Vec::new();
    alice.send_batch(&mut letters, &mut |one| sent.push(one.unwrap()), &Silent).unwrap();
    toss(&alice, &stick);
    assert_eq!(toss(&bob, &stick).messages.len(), 1500);
    toss(&alice, &stick);
    assert!(sent.iter().all(|one| state(&alice, one) == "delivered"));
    assert_eq!(alice.status(&Silent).unwrap().out, 0);
}
