//! The contract with scripts: the keys of every object, and the exit codes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::node::{Folder, in_both_modes, of_type, text, with_json};

in_both_modes! {
    every_object_has_its_keys
    exit_codes_tell_what_sort_of_failure_it_was
    a_contact_is_named_verified_hidden_blocked_and_forgotten
}

/// The object must have these keys; more may come.
#[track_caller]
fn has_keys(object: &Value, kind: &str, keys: &str) {
    assert_eq!(object["type"], kind, "{object}");
    let here: BTreeSet<&str> =
        object.as_object().unwrap().iter().map(|(key, _)| key.as_str()).collect();
    for key in keys.split_whitespace() {
        assert!(here.contains(key), "no {key} in {object}");
    }
}

const MESSAGE: &str = "id from kind text files age_s read";
const BUNDLE: &str = "id message to nice bytes age_s expires_in_s state tokens reason";
const TOSSED: &str = "verb in out bytes_in bytes_out skipped damaged safe_to_remove";

#[test]
fn init_is_idempotent() {
    let folder = Folder::new();
    let node = folder.nobody("home");
    let first = node.json(["init", "--name", "Alice"]).remove(0);
    has_keys(&first, "identity", "name id key address age");
    assert_eq!(first["name"], "Alice");
    let again = node.json(["init", "--name", "Mallory"]).remove(0);
    assert_eq!((&again["id"], &again["name"]), (&first["id"], &first["name"]));
    let id = node.json(["id", "--words"]).remove(0);
    has_keys(&id, "identity", "name id key address age words");
    assert_eq!(id["id"], first["id"]);
    assert!(text(&id, "id").starts_with("pr1") && text(&id, "age").starts_with("age1"));
    assert_eq!(node.run(["id", "--age"]).ok().out.trim(), text(&id, "age"));
}

#[test]
fn the_home_is_where_it_was_said_to_be() {
    let folder = Folder::new();
    let node = folder.nobody("of-variable");
    let home = folder.path("of-flag");
    node.run(["--home".as_ref(), home.as_os_str(), "init".as_ref()]).ok();
    assert!(home.join("key").exists() && !node.home().exists());

    // The XDG directory, and below HOME without one; a relative one is ignored.
    for (xdg, place) in [
        (folder.path("xdg"), "xdg/postrider"),
        ("relative".into(), ".local/share/postrider"),
        ("".into(), ".local/share/postrider"),
    ] {
        let mut init = node.command(["init"]);
        init.env("POSTRIDER_HOME", "").env("XDG_DATA_HOME", xdg);
        assert!(init.status().unwrap().success());
        assert!(folder.path(place).join("key").exists(), "{place}");
        std::fs::remove_dir_all(folder.path(place)).unwrap();
    }
    let nowhere = node.command(["id"]).env_remove("POSTRIDER_HOME").env_remove("HOME").status();
    assert_eq!(nowhere.unwrap().code(), Some(2));
}

fn every_object_has_its_keys(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let (stick, film) = (folder.dir("stick"), folder.file("film", &[7; 5000]));
    has_keys(&alice.json(["contact", "ls"])[0], "contact", "name id trust");
    has_keys(&alice.json(["contact", "show", "Bob"])[0], "contact", "name id trust words");

    let sent = alice.json(["send", "bob", "hi"]).remove(0);
    has_keys(&sent, "message", "id to state bytes");
    assert_eq!(
        (&sent["state"], &sent["bytes"], &sent["to"]),
        (&"saved".into(), &2.into(), &"Bob".into())
    );
    let id = text(&sent, "id");
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()));
    let film = alice.send(["Bob".as_ref(), "-f".as_ref(), film.as_os_str()]);

    let queue = alice.json(["queue", "ls"]);
    has_keys(&queue[0], "bundle", BUNDLE);
    has_keys(queue.last().unwrap(), "summary", "verb");
    has_keys(&alice.json(["queue", "show", &id[..8]])[0], "bundle", BUNDLE);
    has_keys(&alice.json(["bundle", "ls"])[0], "bundle", BUNDLE);
    has_keys(&alice.json(["bundle", "show", &id])[0], "bundle", "id envelope to from seal");
    let verified = alice.json(["bundle", "verify", &id]).remove(0);
    assert_eq!(verified["verified"], true, "{verified}");
    has_keys(
        &alice.json(["status"])[0],
        "status",
        "name id links out in carried carried_bytes oldest_s disk_free health classes",
    );
    has_keys(&alice.toss(&stick), "summary", TOSSED);
    let tossed = bob.toss(&stick);
    has_keys(&tossed, "summary", TOSSED);
    assert_eq!((&tossed["verb"], &tossed["in"]), (&"toss".into(), &2.into()));

    let inbox = bob.json(["inbox"]);
    has_keys(inbox.last().unwrap(), "summary", "verb");
    assert_eq!(of_type(&inbox, "message").len(), 2);
    let find = |id: &str| inbox.iter().find(|m| m["id"] == id).unwrap();
    has_keys(find(&id), "message", MESSAGE);
    assert_eq!((&find(&id)["text"], &find(&id)["from"]), (&"hi".into(), &"Alice".into()));
    assert_eq!((&find(&id)["kind"], &find(&film)["kind"]), (&"mail".into(), &"file".into()));
    for key in ["name", "bytes", "blake3"] {
        assert!(!find(&film)["files"][0][key].is_null());
    }
    let read = bob.json(["inbox", "read", &id[..4]]).remove(0);
    has_keys(&read, "message", MESSAGE);
    // Both came with one toss, so either may be listed first.
    let again = bob.json(["inbox", "ls"]);
    assert_eq!(again.iter().find(|m| m["id"] == id).unwrap()["read"], true);
    let saved = bob.json(["inbox", "save", &film]);
    has_keys(&saved[0], "saved", "id path bytes");
    has_keys(&saved[1], "summary", "verb");

    bob.toss(&stick);
    assert_eq!(alice.toss(&stick)["delivered"].as_array().unwrap().len(), 2);
    let traced = alice.json(["trace", &id]);
    has_keys(&traced[0], "event", "id what who via age_s");
    let whats: Vec<&Value> = of_type(&traced, "event").iter().map(|e| &e["what"]).collect();
    assert_eq!(whats, ["saved", "written", "delivered"]);
    has_keys(&alice.json(["why", &id])[0], "reason", "id reason");
    for (args, verb) in
        [(["spool", "check"], "check"), (["spool", "rebuild"], "rebuild"), (["spool", "gc"], "gc")]
    {
        let checked = alice.json(args).remove(0);
        has_keys(&checked, "summary", "verb bundles damaged repaired");
        assert_eq!(checked["verb"], verb);
    }
    has_keys(&alice.json(["spool", "stats"])[0], "finding", "check verdict detail");
    has_keys(&alice.json(["doctor"])[0], "finding", "check verdict detail");
    has_keys(&alice.json(["config", "show"])[0], "config", "name hidden lifetime-days");
    has_keys(&alice.json(["version"])[0], "version", "version");
    let key = alice.json(["key", "export", "--age"]).remove(0);
    assert!(text(&key, "age").contains("AGE-SECRET-KEY-1"));
}

fn exit_codes_tell_what_sort_of_failure_it_was(folder: &Folder) {
    let (alice, _) = folder.acquainted();
    folder.nobody("nobody").run(["inbox"]).code(2);
    for args in [
        &["send", "Carol", "hi"][..],
        &["contact", "show", "Carol"],
        &["inbox", "read", "1234"],
        &["queue", "show", "1234"],
        &["queue", "cancel", "1234"],
        &["trace", "1234"],
        &["why", "1234"],
        &["bundle", "show", "1234"],
        &["add", "1234"],
    ] {
        let ended = alice.run(args).code(5);
        assert!(ended.err.starts_with("error: "), "{args:?}: {}", ended.err);
        let error = alice.run(with_json(args)).code(5).objects().remove(0);
        has_keys(&error, "error", "code what next");
        assert_eq!(error["code"], "unknown");
    }
    for args in [&["toss", "nowhere"][..], &["add", "nowhere"], &["inbox", "read", "xyz"]] {
        let ended = alice.run(args).code(2);
        assert!(ended.err.contains("  next: "), "{args:?}: {}", ended.err);
    }
    std::fs::write(alice.home().join("config.toml"), "nmae = 'x'").unwrap();
    let ended = alice.run(["config", "check"]).code(2);
    assert!(ended.err.contains("nmae"), "{}", ended.err);
}

#[test]
fn waiting_without_a_daemon_says_that_the_message_is_saved() {
    let folder = Folder::new();
    let (alice, _) = folder.acquainted();
    alice.run(["send", "Bob", "hi", "--wait", "saved"]).ok();
    let ended = alice.run(["send", "Bob", "hi", "--wait", "delivered", "--timeout", "1s"]).code(7);
    assert!(ended.err.contains("saved"), "{}", ended.err);
    let ended = alice.run(with_json(["send", "Bob", "hi", "--wait", "carried"])).code(7);
    let objects = ended.objects();
    assert_eq!((&objects[0]["state"], &objects[1]["type"]), (&"saved".into(), &"error".into()));
    assert_eq!(of_type(&alice.json(["queue"]), "bundle").len(), 3);
}

fn a_contact_is_named_verified_hidden_blocked_and_forgotten(folder: &Folder) {
    let (alice, _) = folder.acquainted();
    let line = |args: &[&str]| alice.json(args).remove(0);
    assert_eq!(line(&["contact", "rename", "Bob", "Robert"])["name"], "Robert");
    assert_eq!(line(&["contact", "verify", "Robert"])["trust"], "verified");
    assert_eq!(line(&["contact", "set", "Robert", "hidden=on"])["hidden"], true);
    let id = alice.send(["Robert", "hi"]);
    assert_eq!(line(&["bundle", "show", &id])["envelope"], "hidden");
    assert_eq!(line(&["contact", "set", "Robert", "hidden=auto"])["hidden"], false);
    assert_eq!(line(&["contact", "block", "Robert"])["blocked"], true);
    assert_eq!(line(&["contact", "block", "Robert", "--off"])["blocked"], false);
    line(&["contact", "rm", "Robert"]);
    assert_eq!(alice.json(["contact", "ls"]).len(), 1);
}

#[test]
fn several_cards_on_a_stick_are_listed_and_not_taken_unasked() {
    let folder = Folder::new();
    let (stick, alice) = (folder.dir("stick"), folder.node("Alice"));
    for name in ["Bob", "Carol"] {
        let node = folder.node(name);
        node.run(["toss".as_ref(), stick.as_os_str(), "--with-card".as_ref()]).ok();
    }
    let add = |more: &[&str]| {
        let args = ["add".as_ref(), stick.as_os_str()];
        alice.run(args.into_iter().chain(more.iter().map(AsRef::as_ref)))
    };
    let asked = add(&[]).code(2);
    assert!(asked.out.contains("Bob") && asked.out.contains("Carol"), "{}", asked.out);
    assert!(asked.err.contains("--yes"), "{}", asked.err);
    assert_eq!(alice.json(["contact", "ls"]).len(), 1);
    add(&["--yes", "--as", "Both"]).code(2);
    add(&["--yes"]).ok();
    assert_eq!(of_type(&alice.json(["contact", "ls"]), "contact").len(), 2);
}

#[test]
fn every_setting_is_described() {
    let folder = Folder::new();
    let config = folder.node("Alice").json(["config", "show"]).remove(0);
    let page = include_str!("../../docs/config.md");
    for key in config.as_object().unwrap().keys().filter(|key| !["v", "type"].contains(&&***key)) {
        assert!(page.contains(&format!("| `{key}` |")), "{key} is not in docs/config.md");
    }
}
