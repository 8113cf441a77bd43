//! The inbox folders: what comes is laid there once, whatever happens to the daemon, and nowhere else.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
};

use crate::node::{Folder, Node, text, until};

/// Files in a folder and below, with what they say.
fn all(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(at) = open.pop() {
        let Ok(entries) = fs::read_dir(&at) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else {
                // What is being laid may be elsewhere by now.
                let Ok(said) = fs::read(&path) else { continue };
                let said = String::from_utf8_lossy(&said).into_owned();
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), said);
            }
        }
    }
    found
}

fn names(dir: &Path) -> Vec<String> {
    all(dir).into_keys().map(|path| path.display().to_string()).collect()
}

/// What one wrote is with the other.
fn carry(from: &Node, to: &Node, stick: &Path) {
    from.toss(stick);
    to.toss(stick);
}

/// How the daemon is.
fn health(node: &Node) -> String {
    text(&node.json(["status"])[0], "health")
}

#[test]
fn what_came_by_stick_while_no_daemon_ran_is_laid_by_the_next_and_stays_unread() {
    let folder = Folder::new();
    let (alice, mut bob) = folder.acquainted();
    let tree = folder.dir("photos");
    fs::create_dir(tree.join("tuesday")).unwrap();
    fs::write(tree.join("tuesday/bridge.jpg"), "a bridge").unwrap();
    let run = folder.file("run.sh", b"#!/bin/sh\n");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
    let big = folder.file("big.bin", &vec![b'x'; 700_000]);
    let id = alice.send(["Bob", "are you well?"]);
    let files = ["Bob", "as promised", "-f"].map(Into::into).into_iter();
    alice.send(files.chain([tree.into_os_string(), "-f".into(), run.into_os_string()]));
    alice.send(["Bob".into(), "-f".into(), big.into_os_string()]);
    carry(&alice, &bob, &folder.dir("stick"));
    assert!(!bob.home().join("inbox").exists(), "no daemon, no folders");
    bob.start_daemon(&[]);
    let inbox = bob.home().join("inbox/Alice");
    until("five files", || all(&inbox).len() == 5);
    let found = all(&inbox);
    let letter = format!("message-{}.txt", &id[..8]);
    assert_eq!(found[Path::new(&letter)], "are you well?");
    assert_eq!(found[Path::new("photos/tuesday/bridge.jpg")], "a bridge");
    assert!(found.values().any(|said| said == "as promised"), "{found:?}");
    assert_eq!(fs::metadata(inbox.join("big.bin")).unwrap().len(), 700_000);
    // What nobody has looked at is not made to be run.
    assert_eq!(fs::metadata(inbox.join("run.sh")).unwrap().mode() & 0o777, 0o644);
    let messages = bob.json(["inbox"]);
    assert!(messages.len() >= 3 && messages.iter().all(|it| it["read"] != true), "{messages:?}");
    // Taken away, it is not laid again, and the message stays.
    fs::remove_file(inbox.join(&letter)).unwrap();
    bob.kill_daemon();
    bob.start_daemon(&[]);
    alice.send(["Bob", "the last one"]);
    carry(&alice, &bob, &folder.path("stick"));
    until("the last one", || all(&inbox).values().any(|said| said == "the last one"));
    assert!(!inbox.join(&letter).exists());
    assert!(bob.run(["inbox", "read", &id[..8]]).ok().out.contains("are you well?"));
    assert_eq!(names(&bob.home().join("inbox/.new")), [""; 0]);
}

#[test]
fn nothing_is_overwritten_and_hostile_names_are_laid_under_safe_ones() {
    let folder = Folder::new();
    let (alice, mut bob) = folder.acquainted();
    let inbox = bob.home().join("inbox/Alice");
    fs::create_dir_all(&inbox).unwrap();
    fs::write(inbox.join("map.txt"), "mine").unwrap();
    symlink("/etc/passwd", inbox.join("note.txt")).unwrap();
    let long = format!("{}.txt", "n".repeat(251));
    let hostile = folder.dir("hostile");
    let names_sent =
        ["map.txt", "note.txt", ".ssh", "-rf", "CON", "x\u{202e}gpj.exe", "a:b", &*long];
    for (n, name) in names_sent.iter().enumerate() {
        fs::write(hostile.join(name), format!("{n}")).unwrap();
        alice.send(["Bob".into(), "-f".into(), hostile.join(name).into_os_string()]);
    }
    // Below a folder, too; and a folder that is called like what nobody may see.
    let below = folder.dir(".new");
    fs::create_dir(below.join(".git")).unwrap();
    fs::write(below.join(".git/config\n"), "8").unwrap();
    alice.send(["Bob".into(), "-f".into(), below.into_os_string()]);
    carry(&alice, &bob, &folder.dir("stick"));
    bob.start_daemon(&[]);
    until("all of them", || all(&inbox).len() == 2 + 9);
    let found = all(&inbox);
    assert_eq!(found[Path::new("map.txt")], "mine");
    assert!(inbox.join("note.txt").is_symlink());
    let cut = "n".repeat(240);
    for (name, said) in [
        ("map (2).txt", "0"),
        ("note (2).txt", "1"),
        ("_ssh", "2"),
        ("_rf", "3"),
        ("_CON", "4"),
        ("x_gpj.exe", "5"),
        ("a_b", "6"),
        (&*cut, "7"),
        ("_new/_git/config_", "8"),
    ] {
        assert_eq!(found.get(Path::new(name)).map(String::as_str), Some(said), "{name}: {found:?}");
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_said_and_nothing_is_lost() {
    let folder = Folder::with_daemons();
    let (alice, bob) = folder.acquainted();
    let elsewhere = folder.dir("elsewhere");
    let inbox = bob.home().join("inbox/Alice");
    let stick = folder.dir("stick");
    alice.send(["Bob", "first"]);
    carry(&alice, &bob, &stick);
    until("the first one", || all(&inbox).len() == 1);
    for (n, spoil) in ["link", "file"].into_iter().enumerate() {
        fs::remove_dir_all(&inbox).unwrap();
        match spoil {
            "link" => symlink(&elsewhere, &inbox).unwrap(),
            _ => fs::write(&inbox, "in the way").unwrap(),
        }
        alice.send(["Bob".to_owned(), format!("letter {n}")]);
        carry(&alice, &bob, &stick);
        until("a word of it", || health(&bob).contains("inbox/Alice"));
        assert_eq!(names(&elsewhere), [""; 0], "nothing is laid where a link leads");
        fs::remove_file(&inbox).unwrap();
        until("the letter", || all(&inbox).into_values().any(|it| it == format!("letter {n}")));
        until("that all is well", || health(&bob) == "ok");
    }
    // Taken away, it is made again.
    fs::remove_dir_all(bob.home().join("inbox")).unwrap();
    alice.send(["Bob", "last"]);
    carry(&alice, &bob, &stick);
    until("the last one", || all(&inbox).into_values().any(|said| said == "last"));
}

#[test]
fn of_strangers_and_without_the_setting_nothing_is_laid() {
    let folder = Folder::new();
    let (alice, mut bob) = folder.acquainted();
    let carol = folder.node("Carol");
    carol.meet(&bob);
    carol.send(["Bob", "you do not know me"]);
    alice.send(["Bob", "hello"]);
    let stick = folder.dir("stick");
    carol.toss(&stick);
    carry(&alice, &bob, &stick);
    bob.start_daemon(&[]);
    let inbox = bob.home().join("inbox");
    let from = inbox.join("Alice");
    until("a letter", || all(&from).len() == 1 && all(&inbox.join(".new")).is_empty());
    assert_eq!(all(&inbox).into_values().collect::<Vec<_>>(), ["hello"]);
    // A new name is a new folder; the old one stays with what is in it.
    bob.run(["contact", "rename", "Alice", "Al"]).ok();
    alice.send(["Bob", "again"]);
    carry(&alice, &bob, &stick);
    until("a letter for the new name", || all(&inbox.join("Al")).len() == 1);
    assert_eq!(all(&from).len(), 1);
    bob.kill_daemon();
    let config = bob.home().join("config.toml");
    let changed = fs::read_to_string(&config).unwrap().replace("inbox = true", "inbox = false");
    fs::write(&config, changed).unwrap();
    fs::remove_dir_all(&inbox).unwrap();
    alice.send(["Bob", "not in a folder"]);
    carry(&alice, &bob, &stick);
    bob.start_daemon(&[]);
    until("the letter in the inbox", || bob.json(["inbox"]).len() >= 4);
    assert!(!inbox.exists());
}

/// Each time it is killed in the midst of laying.
#[test]
fn a_daemon_that_is_killed_while_it_lays_loses_nothing_and_lays_nothing_twice() {
    let (folder, kills, each) = (Folder::new(), 50, 4);
    let (alice, bob) = folder.acquainted();
    let wanted = kills * each + 8;
    let mut lines = String::new();
    for n in 0..wanted {
        // All files have one name, so every second message is laid beside another one's.
        let path = folder.dir(&format!("{n}")).join("same.txt");
        fs::write(&path, format!("file {n}")).unwrap();
        lines += &match n % 2 {
            0 => format!("{{\"to\":\"Bob\",\"text\":\"text {n}\"}}\n"),
            _ => format!("{{\"to\":\"Bob\",\"file\":{:?}}}\n", path.display().to_string()),
        };
    }
    alice.run_with(["send", "--batch"], lines.as_bytes()).ok();
    carry(&alice, &bob, &folder.dir("stick"));
    let (inbox, new) = (bob.home().join("inbox/Alice"), bob.home().join("inbox/.new"));
    let is_amid = || fs::read_dir(&new).is_ok_and(|mut entries| entries.next().is_some());
    let (mut laid, mut killed) = (0, 0);
    for kill in 0..kills {
        // A fast machine lays more between two kills than a slow one.
        if laid + each >= wanted {
            break;
        }
        killed += 1;
        let mut daemon = bob.command(["daemon"]).stderr(Stdio::null()).spawn().unwrap();
        // At a moment that is another one each time.
        until("something laid", || all(&inbox).len() > laid + kill % each);
        while all(&inbox).len() < wanted && !is_amid() {
            thread::yield_now();
        }
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        laid = all(&inbox).len();
    }
    let mut daemon = bob.command(["daemon"]).stderr(Stdio::null()).spawn().unwrap();
    until("all of them", || all(&inbox).len() >= wanted && !is_amid());
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let mut said: Vec<String> = all(&inbox).into_values().collect();
    said.sort();
    let mut sent: Vec<String> = (0..wanted)
        .map(|n| if n % 2 == 0 { format!("text {n}") } else { format!("file {n}") })
        .collect();
    sent.sort();
    assert_eq!(said, sent);
    assert!(killed >= 5, "it was killed {killed} times");
}
