//! Sticks that were pulled, scratched or filled by somebody hostile.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::Path,
};

use postrider::desk::Silent;

use super::town::{
    Town, all_files, containers, inbox, know_each_other, send, send_file, state, texts, toss,
};

/// A small generator of test places, printed by the assertions that use it.
struct Places(u64);

impl Places {
    fn next(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below.max(1)
    }
}

fn flip(path: &Path, at: u64) {
    let bytes = fs::read(path).unwrap();
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[bytes[usize::try_from(at).unwrap()] ^ 0x20]).unwrap();
}

#[test]
fn one_flipped_byte_costs_one_bundle_until_the_next_visit() {
    let mut places = Places(7);
    for round in 0..40 {
        let town = Town::new();
        let (alice, bob) = (town.node("Alice"), town.node("Bob"));
        know_each_other(&alice, &bob);
        let stick = town.stick("stick");
        let expected: Vec<String> = (0..12).map(|n| format!("message {n:02}")).collect();
        let sent: Vec<_> = expected.iter().map(|text| send(&alice, "Bob", text)).collect();
        toss(&alice, &stick);
        let container = &containers(&stick)[0];
        let at = places.next(fs::metadata(container).unwrap().len());
        flip(container, at);
        let first = toss(&bob, &stick);
        let arrived = texts(&bob).len();
        assert!(arrived >= 11, "round {round}, byte {at}: {arrived} arrived");
        if arrived == 11 {
            assert!(first.damaged >= 1, "round {round}, byte {at}: damage is said");
            assert!(!first.damaged_list.is_empty());
        }
        // The sender still has it; its next visit repairs it.
        toss(&alice, &stick);
        toss(&bob, &stick);
        assert_eq!(texts(&bob), expected, "round {round}, byte {at}");
        toss(&alice, &stick);
        assert!(sent.iter().all(|sent| state(&alice, sent) == "delivered"), "round {round}");
    }
}

#[test]
fn a_flipped_byte_in_a_part_is_named_and_repaired() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    let file = town.file("big", 30 << 20, 1);
    let sent = send_file(&alice, "Bob", &file);
    toss(&alice, &stick);
    let largest =
        containers(&stick).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len());
    flip(&largest.unwrap(), 12_000_000);
    let tossed = toss(&bob, &stick);
    assert_eq!((tossed.damaged, tossed.messages.len()), (1, 0));
    assert!(tossed.damaged_list[0].contains("bundle "), "{:?}", tossed.damaged_list);
    assert_eq!(toss(&alice, &stick).out, 1, "only the damaged one is written again");
    let tossed = toss(&bob, &stick);
    assert_eq!((tossed.taken, tossed.messages.len()), (1, 1));
    let saved = bob.save_message(&sent.id, town.dir.path(), &Silent).unwrap();
    assert_eq!(fs::read(&saved[0].path).unwrap(), fs::read(&file).unwrap());
}

#[test]
fn a_stick_pulled_at_any_point_loses_nothing() {
    // What a pull leaves: files up to some point whole, one cut, later ones missing.
    let mut places = Places(11);
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let file = town.file("big", 70 << 20, 2);
    let mut sent = vec![send_file(&alice, "Bob", &file)];
    sent.extend((0..20).map(|n| send(&alice, "Bob", &format!("text {n}"))));
    let whole = town.stick("whole");
    let other = whole.join("holiday.jpg");
    fs::write(&other, b"somebody's picture").unwrap();
    toss(&alice, &whole);
    for round in 0..50 {
        let stick = town.stick(&format!("cut-{round}"));
        let files = all_files(&whole);
        let total: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let mut left = places.next(total);
        for (path, bytes) in &files {
            let to = stick.join(path.strip_prefix(&whole).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            let n = usize::try_from(left.min(bytes.len() as u64)).unwrap();
            if n < bytes.len() && places.next(2) == 0 {
                // Not renamed yet: it still has its temporary name.
                fs::write(to.with_extension("TMP"), &bytes[..n]).unwrap();
            } else {
                fs::write(&to, &bytes[..n]).unwrap();
            }
            left -= n as u64;
            if left == 0 {
                break;
            }
        }
        let reader = town.node(&format!("reader-{round}"));
        toss(&reader, &stick);
        assert_eq!(inbox(&reader).len(), 0, "round {round}: a stranger reads nothing");
        if round % 10 == 0 {
            toss(&bob, &stick);
        }
        drop(reader);
        fs::remove_dir_all(town.path(&format!("reader-{round}"))).unwrap();
        fs::remove_dir_all(&stick).unwrap();
    }
    // The next toss finishes the work.
    toss(&bob, &whole);
    assert_eq!(inbox(&bob).len(), 21);
    assert!(inbox(&bob).iter().all(|message| message.complete));
    let saved = bob.save_message(&sent[0].id, town.dir.path(), &Silent).unwrap();
    assert_eq!(fs::read(&saved[0].path).unwrap(), fs::read(&file).unwrap());
    assert_eq!(fs::read(&other).unwrap(), b"somebody's picture");
    toss(&alice, &whole);
    assert!(sent.iter().all(|sent| state(&alice, sent) == "delivered"));
}

#[test]
fn an_unfinished_file_of_ours_is_removed_and_the_work_done() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    send(&alice, "Bob", "one");
    toss(&alice, &stick);
    // As if the stick had gone before the rename.
    let container = containers(&stick).remove(0);
    fs::rename(&container, container.with_extension("TMP")).unwrap();
    toss(&alice, &stick);
    toss(&bob, &stick);
    assert_eq!(texts(&bob), ["one"]);
}

#[test]
fn a_formatted_stick_is_written_again() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    let sent = send(&alice, "Bob", "one");
    toss(&alice, &stick);
    fs::remove_dir_all(stick.join("POSTRIDER")).unwrap();
    toss(&alice, &stick);
    assert_eq!(state(&alice, &sent), "saved", "an empty stick is no evidence");
    toss(&bob, &stick);
    assert_eq!(texts(&bob), ["one"]);
}

#[test]
fn hostile_content_costs_nothing_and_is_left_alone() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    send(&alice, "Bob", "one");
    toss(&alice, &stick);
    let folder = stick.join("POSTRIDER");
    let secret = town.path("secret");
    fs::write(&secret, "not yours").unwrap();
    for name in ["C/DEADBEEF.PRC", "N/DEADBEEF.PRN", "CARDS/DEADBEEF.PRK", "C/link"] {
        fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&secret, folder.join(name)).unwrap();
    }
    fs::create_dir_all(folder.join("C/00000000.PRC")).unwrap();
    for (name, bytes) in [
        ("C/00000001.PRC", &b""[..]),
        ("C/00000002.PRC", b"PRC1"),
        ("C/00000003.PRC", &[0xff; 5000]),
        ("N/00000004.PRN", &[0xff; 5000]),
        ("C/na\nme\u{1b}[2J.PRC", b"x"),
        ("C/aaaaaaaa.prc", b"lower case"),
    ] {
        fs::write(folder.join(name), bytes).unwrap();
    }
    toss(&bob, &stick);
    assert_eq!(texts(&bob), ["one"]);
    assert_eq!(fs::read(&secret).unwrap(), b"not yours");
}

#[test]
fn forged_receipts_tick_nothing_and_free_nothing() {
    let town = Town::new();
    let (alice, bob, sam) = (town.node("Alice"), town.node("Bob"), town.node("Sam"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    let sent = send(&alice, "Bob", "one");
    toss(&alice, &stick);
    toss(&sam, &stick);
    // A stream is the easiest way to hand somebody a receipt.
    let mut id_prefix = [0; 8];
    for (byte, pair) in id_prefix.iter_mut().zip(sent.id.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    }
    for r in [[0; 16], [0xff; 16], [7; 16]] {
        let receipt = postrider_base::bundle::Receipt { id_prefix, r }.encode();
        let stream = [&b"PRS1"[..], &[2], &receipt, &[0]].concat();
        for desk in [&alice, &sam] {
            desk.unpack(&mut &stream[..], &Silent).unwrap();
        }
    }
    assert_eq!(state(&alice, &sent), "saved");
    assert_eq!(sam.status(&Silent).unwrap().carried, 1);
}

#[test]
fn every_cut_of_a_container_is_survived() {
    let town = Town::new();
    let (alice, bob) = (town.node("Alice"), town.node("Bob"));
    know_each_other(&alice, &bob);
    let stick = town.stick("stick");
    for n in 0..6 {
        send(&alice, "Bob", &format!("text {n}"));
    }
    toss(&alice, &stick);
    let container = containers(&stick).remove(0);
    let bytes = fs::read(&container).unwrap();
    let mut seen = BTreeSet::new();
    for cut in (0..bytes.len()).step_by(101) {
        fs::write(&container, &bytes[..cut]).unwrap();
        for message in toss(&bob, &stick).messages {
            assert!(seen.insert(message.id.clone()), "shown twice: {}", message.id);
        }
        // Bob may have removed what he found settled.
        fs::write(&container, &bytes).unwrap();
    }
    toss(&bob, &stick);
    assert_eq!(texts(&bob).len(), 6);
}
