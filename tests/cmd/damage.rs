//! Damage on a stick and on the disk, as a person meets it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::node::{Folder, of_type};

/// The largest file below a directory.
fn largest(dir: &Path) -> PathBuf {
    let mut files = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

#[test]
fn a_flipped_byte_is_named_and_repaired_by_the_next_visit() {
    let folder = Folder::new();
    let (alice, bob) = folder.acquainted();
    let stick = folder.dir("stick");
    let film =
        folder.file("film", &(0..400_000_u32).map(|n| n.to_le_bytes()[1]).collect::<Vec<_>>());
    alice.send(["Bob", "a message beside it"]);
    alice.send(["Bob".as_ref(), "-f".as_ref(), film.as_os_str()]);
    alice.toss(&stick);
    let container = largest(&stick);
    let mut bytes = fs::read(&container).unwrap();
    let at = bytes.len() * 3 / 4;
    bytes[at] ^= 1;
    fs::write(&container, bytes).unwrap();

    let ended = bob.run(["toss".as_ref(), stick.as_os_str()]).code(11);
    assert!(ended.out.contains("Damaged: 1"), "{}", ended.out);
    assert!(ended.out.contains("a message beside it"), "{}", ended.out);
    alice.toss(&stick);
    let repaired = bob.toss(&stick);
    assert_eq!((&repaired["in"], &repaired["damaged"]), (&1.into(), &0.into()), "{repaired}");
    let inbox = bob.json(["inbox"]);
    assert!(of_type(&inbox, "message").iter().all(|message| message["complete"] == true));
}

#[test]
fn a_damaged_stream_is_exit_11_and_what_came_before_counts() {
    let folder = Folder::new();
    let (alice, bob) = folder.acquainted();
    for n in 0..3 {
        alice.send(["Bob", &format!("message {n}")]);
    }
    let mut packed = alice.run(["pack"]).ok().bytes;
    packed.truncate(packed.len() * 2 / 3);
    bob.run_with(["unpack"], &packed).code(11);
    assert!(!of_type(&bob.json(["inbox"]), "message").is_empty());
}

#[test]
fn a_deleted_index_is_made_again_without_a_word_from_the_user() {
    let folder = Folder::new();
    let (alice, _) = folder.acquainted();
    let id = alice.send(["Bob", "hi"]);
    alice.json(["queue"]);
    fs::remove_dir_all(alice.home().join("spool/index")).unwrap();
    assert_eq!(alice.json(["queue"])[0]["message"], *id);
}

#[test]
fn a_damaged_key_is_said_and_nothing_is_made_in_its_place() {
    let folder = Folder::new();
    let (alice, _) = folder.acquainted();
    let key = alice.home().join("key");
    let text = fs::read_to_string(&key).unwrap();
    let damaged = text.replace("prsecret1", "prsecret1q");
    fs::write(&key, &damaged).unwrap();
    let ended = alice.run(["id"]).code(11);
    assert!(ended.err.contains("key file is damaged"), "{}", ended.err);
    alice.run(["init"]).code(11);
    assert_eq!(fs::read_to_string(&key).unwrap(), damaged);
}

#[test]
fn a_damaged_card_is_refused() {
    let folder = Folder::new();
    let (alice, bob) = (folder.node("Alice"), folder.node("Bob"));
    let card = bob.run(["id", "--card", "-"]).ok().out;
    let mut flipped = card.clone();
    let other = if card.as_bytes()[20] == b'q' { "p" } else { "q" };
    flipped.replace_range(20..21, other);
    alice.run_with(["add", "-"], flipped.as_bytes()).code(11);
    alice.run_with(["add", "-"], b"hello").code(11);
    // Mail programs break lines.
    let broken: String = card
        .chars()
        .collect::<Vec<_>>()
        .chunks(40)
        .map(|c| c.iter().collect::<String>() + "\r\n")
        .collect();
    alice.run_with(["add", "-"], broken.as_bytes()).ok();
    let again = alice.json(["add".to_owned(), card.trim().to_owned()]).remove(0);
    assert_eq!(again["added"], "known");
    bob.run(["add", card.trim()]).code(2);
}
