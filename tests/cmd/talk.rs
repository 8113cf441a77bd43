//! Answers, threads, search and drafts, as a person types them.

use std::{process::Stdio, thread, time::Duration};

use crate::node::{Folder, in_both_modes, of_type, text, with_json};

in_both_modes! {
    an_answer_goes_to_whoever_wrote_and_after_one_of_mine_to_whom_i_wrote
    a_thread_fits_a_screen_and_names_what_is_answered
    a_draft_that_is_sent_in_spite_of_kills_is_sent_once
}

fn an_answer_goes_to_whoever_wrote_and_after_one_of_mine_to_whom_i_wrote(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let stick = folder.dir("stick");
    let first = alice.send(["Bob", "where are you?"]);
    alice.toss(&stick);
    bob.toss(&stick);
    let answer = bob.json(["reply", &first[..4], "at the school"]).remove(0);
    assert_eq!((&answer["to"], &answer["state"]), (&"Alice".into(), &"saved".into()));
    let more = bob.json(["reply", &text(&answer, "id"), "and well"]).remove(0);
    assert_eq!(more["to"], "Alice");
    bob.toss(&stick);
    alice.toss(&stick);

    let said = alice.json(["thread", &first]);
    let said = of_type(&said, "message");
    let texts: Vec<String> = said.iter().map(|said| text(said, "text")).collect();
    assert_eq!(texts, ["where are you?", "at the school", "and well"]);
    for said in &said {
        for key in
            ["id", "from", "to", "kind", "files", "age_s", "read", "state", "reply_to", "mine"]
        {
            assert!(said.get(key).is_some(), "{key}: {said}");
        }
    }
    assert_eq!(said[1]["reply_to"], first.as_str());
    assert_eq!((&said[0]["mine"], &said[0]["state"]), (&true.into(), &"delivered".into()));
    let found = alice.json(["search", "SCHOOL", "--from", "bob"]);
    assert_eq!(of_type(&found, "message").len(), 1);
    alice.run(["search", "school", "--to", "Bob"]).ok();
    alice.run(["reply", "ffff0000", "x"]).code(5);
    alice.run(["thread", "Nobody"]).code(5);
    alice.run(["search"]).code(2);
}

fn a_thread_fits_a_screen_and_names_what_is_answered(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let stick = folder.dir("stick");
    let file = folder.file("a list of all who are in the school and of what they need.txt", b"x");
    let question = "a question that is as long as questions in a hurry are, and longer than a line";
    let first = alice.send(["Bob", question]);
    alice.toss(&stick);
    bob.toss(&stick);
    bob.run(["reply", &first, "-f", file.to_str().unwrap()]).ok();
    let shown = bob.run(["thread", "Alice"]).ok().out;
    assert!(shown.contains(&format!("answers {}: a question that", &first[..8])), "{shown}");
    let own = shown.lines().filter(|line| !line.contains(question));
    assert!(own.clone().all(|line| line.chars().count() <= 80), "{shown}");
    let gone = "77".repeat(32);
    bob.run(["send", "Alice", "x", "--reply", &gone]).code(5);
    let shown = bob.run(["search", "need"]).ok().out;
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
}

/// Wherever the kill falls: before, there is a draft; after, a message. Never both, and never two.
fn a_draft_that_is_sent_in_spite_of_kills_is_sent_once(folder: &Folder) {
    let (alice, _bob) = folder.acquainted();
    for round in 0..6 {
        let words = format!("round {round}");
        let kept = alice.json(["send", "Bob", &words, "--draft"]).remove(0);
        assert_eq!((&kept["type"], &kept["text"]), (&"draft".into(), &words.as_str().into()));
        let id = text(&kept, "id");
        for wait_ms in [0, 4 * round, 40 * round] {
            let mut send = alice.command(["draft", "send", &id]);
            let mut send = send.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(Duration::from_millis(wait_ms));
            // It may have ended.
            let _ = send.kill();
            send.wait().unwrap();
        }
        let sent = alice.json(["draft", "send", &id]).remove(0);
        assert_eq!(sent["type"], "message");
        let again = alice.json(["draft", "send", &id]).remove(0);
        assert_eq!(again["id"], sent["id"]);
        let found = alice.json(["search", &words]);
        let found = of_type(&found, "message");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0]["id"], sent["id"]);
    }
    assert_eq!(of_type(&alice.json(["draft", "ls"]), "draft").len(), 0);
    let waits = alice.json(["queue", "ls"]);
    assert_eq!(of_type(&waits, "bundle").len(), 6);
    let id = text(&alice.json(["draft", "write", "Bob", "never"])[0], "id");
    assert!(alice.run(["draft", "show", &id[..6]]).ok().out.contains("never"));
    alice.run(["draft", "rm", &id]).ok();
    alice.run(with_json(["draft", "send", &id])).code(5);
}
