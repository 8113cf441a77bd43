//! Names and texts from outside, on the way to a terminal and to a disk.

use std::fs;

use crate::node::{Folder, text};

/// What no output for a person may hold.
fn moves_the_terminal(shown: &str) -> bool {
    shown.chars().any(|c| {
        (c.is_control() && c != '\n' && c != '\t') || ('\u{202a}'..='\u{202e}').contains(&c)
    })
}

#[test]
fn texts_and_names_cannot_draw_on_the_terminal() {
    let folder = Folder::new();
    let bob = folder.node("Bob");
    let mallory = folder.nobody("mallory");
    // Control characters in a name are refused; characters that turn a line around are not.
    mallory.run(["init", "--name", "Ma\u{202e}llory\u{1b}[2J"]).code(2);
    mallory.run(["init", "--name", "Ma\u{202e}llory"]).ok();
    mallory.meet(&bob);
    bob.meet(&mallory);
    let stick = folder.dir("stick");
    let file = folder.file("ordinary\u{202e}txt.exe", b"x");
    let text_id = mallory.send(["Bob", "hi\u{1b}[2J\u{9b}31m\r\nSafe to remove.\u{7}"]);
    let file_id = mallory.send(["Bob".as_ref(), "-f".as_ref(), file.as_os_str()]);
    mallory.toss(&stick);
    for args in [
        vec!["toss".into(), stick.clone().into_os_string()],
        vec!["inbox".into()],
        vec!["inbox".into(), "read".into(), text_id.clone().into()],
        vec!["inbox".into(), "read".into(), file_id.clone().into()],
        vec!["contact".into(), "ls".into()],
        vec!["contact".into(), "show".into(), "Ma\u{202e}llory".into()],
        vec!["send".into(), "no\u{1b}body".into(), "hi".into()],
        vec!["inbox".into(), "save".into(), file_id.into()],
    ] {
        let ended = bob.run(&args);
        assert!(!moves_the_terminal(&ended.out), "{args:?}: {:?}", ended.out);
        assert!(!moves_the_terminal(&ended.err), "{args:?}: {:?}", ended.err);
    }
    // A line of a message stands behind an indent: it cannot pass for one of ours.
    let read = bob.run(["inbox", "read", &text_id]).ok().out;
    assert!(read.lines().all(|line| line != "Safe to remove."), "{read}");
    // For a program it is whole, and still harmless to look at.
    let json = bob.run(["inbox", "read", &text_id, "--json"]).ok();
    assert!(!moves_the_terminal(&json.out), "{}", json.out);
    assert_eq!(text(&json.objects()[0], "text"), "hi\u{1b}[2J\u{9b}31m\r\nSafe to remove.\u{7}");
}

#[test]
fn saving_twice_overwrites_nothing_and_follows_no_link() {
    let folder = Folder::new();
    let (alice, bob) = folder.acquainted();
    let (stick, to) = (folder.dir("stick"), folder.dir("to"));
    let file = folder.file("notes.txt", b"from Alice");
    let id = alice.send(["Bob".as_ref(), "-f".as_ref(), file.as_os_str()]);
    alice.toss(&stick);
    bob.toss(&stick);
    let victim = folder.file("victim", b"mine");
    std::os::unix::fs::symlink(&victim, to.join("notes.txt")).unwrap();
    for _ in 0..2 {
        bob.run(["inbox".as_ref(), "save".as_ref(), id.as_ref(), to.as_os_str()]).ok();
    }
    assert_eq!(fs::read(&victim).unwrap(), b"mine");
    assert_eq!(fs::read_dir(&to).unwrap().count(), 3);
}
