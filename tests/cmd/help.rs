//! Help, wrong usage, and words that are reserved.

use crate::node::{Folder, with_json};

#[test]
fn the_first_screen_is_as_it_was_read_and_approved() {
    let node = Folder::new().nobody("x");
    for args in [&["--help"][..], &["help"], &["-h"]] {
        let help = command(args);
        assert_eq!(help, include_str!("help.txt"), "{args:?}");
    }
    assert!(!node.home().exists());
}

#[test]
fn every_verb_of_the_first_screen_explains_itself() {
    for verb in "reply thread search draft roster allow run job get share up down daemon link call peers ping log init id add send toss inbox demo status queue trace why contact pack unpack key \
                 bundle spool config doctor completion man version"
        .split_whitespace()
    {
        let help = command(&[verb, "--help"]);
        assert!(help.contains("Examples:"), "{verb}");
    }
}

fn command(args: &[&str]) -> String {
    let folder = Folder::new();
    folder.nobody("x").run(args).ok().out
}

#[test]
fn wrong_usage_is_exit_2_and_says_what_was_meant() {
    let folder = Folder::new();
    let node = folder.nobody("x");
    let typo = node.run(["sned", "Bob", "hi"]).code(2);
    assert!(typo.err.contains("'send'"), "{}", typo.err);
    assert_eq!(typo.out, "");
    for args in [
        &["toss"][..],
        &["send"],
        &["send", "Bob", "hi", "--nice", "0"],
        &["send", "Bob", "hi", "--urgent", "--bulk"],
        &["send", "Bob", "hi", "--ttl", "soon"],
        &["send", "Bob", "hi", "--wait", "forever"],
        &["send", "--batch", "Bob"],
        &["send", "--batch", "--supersede", "1234"],
        &["toss", "x", "--in", "--out"],
        &["toss", "x", "--budget", "much"],
        &["contact", "set", "Bob", "trust=on"],
        &["key", "export"],
        &["inbox", "--follow", "read", "1234"],
        &["--quiet", "--verbose", "version"],
    ] {
        node.run(args).code(2);
    }
}

#[test]
fn wrong_usage_is_an_object_for_those_who_read_objects() {
    let folder = Folder::new();
    let ended = folder.nobody("x").run(with_json(["sned"])).code(2);
    let errors = ended.objects();
    assert_eq!(errors.len(), 1);
    assert_eq!((&errors[0]["type"], &errors[0]["code"]), (&"error".into(), &"usage".into()));
    assert_eq!(ended.err, "");
}

#[test]
fn reserved_verbs_say_so_whatever_follows_them() {
    let folder = Folder::new();
    let node = folder.node("Alice");
    for verb in "group board checkin".split_whitespace() {
        let error = node.run(with_json([verb])).code(1).objects().remove(0);
        assert_eq!(error["type"], "error", "{verb}");
    }
    // A way through others needs routing.
    let via = node.run(["send", "Bob", "hi", "--via", "A,B"]).code(2);
    assert!(via.err.contains("nothing was sent"), "{}", via.err);
}

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(command(&["completion", shell]).contains("toss"), "{shell}");
    }
    assert!(command(&["man"]).contains(".TH postrider 1"));
    assert!(command(&["man", "toss"]).contains("postrider\\-toss"));
    let folder = Folder::new();
    folder.nobody("x").run(["man", "board"]).code(2);
}
