//! Standard input, standard output, and what is said on neither.

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use serde_json::{Value, json};

use crate::node::{Folder, in_both_modes, of_type, with_json};

in_both_modes! {
    a_text_comes_from_standard_input_when_nothing_else_is_to_be_sent
    a_batch_answers_every_line_and_ends_as_its_worst_line
    a_batch_of_large_messages_is_committed_in_several_groups
    a_batch_answers_a_program_that_waits_for_each_answer
    following_shows_what_another_command_brings
    a_reader_who_has_seen_enough_is_no_failure
    quiet_says_what_was_asked_for_and_nothing_else
}

fn a_text_comes_from_standard_input_when_nothing_else_is_to_be_sent(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let stick = folder.dir("stick");
    alice.run_with(["send", "Bob"], b"one\n").ok();
    alice.run_with(["send", "Bob", "-"], b"two").ok();
    let file = folder.file("film", b"x");
    let with_file = ["send".as_ref(), "Bob".as_ref(), "-f".as_ref(), file.as_os_str()];
    alice.run_with(with_file, b"not read").ok();
    alice.toss(&stick);
    bob.toss(&stick);
    let inbox = bob.json(["inbox"]);
    let mut texts: Vec<&Value> = of_type(&inbox, "message").iter().map(|m| &m["text"]).collect();
    texts.sort_by_key(|text| text.to_string());
    assert_eq!(texts, ["", "one\n", "two"]);

    for (input, args) in [(&b""[..], ["send", "Bob"]), (b"\xff\xfe", ["send", "Bob"])] {
        let ended = alice.run_with(args, input).code(2);
        assert!(ended.err.contains("  next: "), "{}", ended.err);
    }
}

fn a_batch_answers_every_line_and_ends_as_its_worst_line(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let stick = folder.dir("stick");
    let file = folder.file("film", &[1; 9000]);
    let mut input: String = (0..200)
        .map(|n| format!("{}\n", json!({"to": "Bob", "text": format!("number {n}")})))
        .collect();
    input += &format!("{}\n", json!({"to": "Bob", "file": file}));
    let good = alice.run_with(["send", "--batch"], input.as_bytes()).ok().objects();
    assert_eq!(good.len(), 201);
    assert!(good.iter().all(|line| line["type"] == "message" && line["state"] == "saved"));

    input += "{\"to\":\"Carol\",\"text\":\"hi\"}\nnonsense\n\n{\"to\":\"Bob\",\"text\":\"last\"}";
    let ended = alice.run_with(with_json(["send", "--batch"]), input.as_bytes()).code(3);
    let lines = ended.objects();
    assert_eq!(lines.len(), 205);
    assert_eq!((&lines[201]["code"], &lines[202]["code"]), (&"unknown".into(), &"usage".into()));
    assert_eq!((&lines[204]["sent"], &lines[204]["failed"]), (&202.into(), &2.into()));
    alice.toss(&stick);
    assert_eq!(bob.toss(&stick)["messages"].as_array().unwrap().len(), 403);
}

fn a_batch_of_large_messages_is_committed_in_several_groups(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let stick = folder.dir("stick");
    let input: String = (0..30_u8)
        .map(|n| {
            let file = folder.file(&format!("photo{n}"), &noise(n, 200 << 10));
            format!("{}\n", json!({"to": "Bob", "file": file}))
        })
        .collect();
    assert_eq!(alice.run_with(["send", "--batch"], input.as_bytes()).ok().objects().len(), 30);
    alice.toss(&stick);
    assert_eq!(bob.toss(&stick)["messages"].as_array().unwrap().len(), 30);
}

/// Bytes that do not compress.
pub(crate) fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn a_batch_answers_a_program_that_waits_for_each_answer(folder: &Folder) {
    let (alice, _) = folder.acquainted();
    let mut child = alice.command(["send", "--batch"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap());
    for n in 0..3 {
        writeln!(to, "{}", json!({"to": "Bob", "text": format!("{n}")})).unwrap();
        let mut answer = String::new();
        from.read_line(&mut answer).unwrap();
        assert!(answer.contains("\"saved\""), "{answer}");
    }
    drop(to);
    assert!(child.wait().unwrap().success());
}

fn following_shows_what_another_command_brings(folder: &Folder) {
    let (alice, bob) = folder.acquainted();
    let stick = folder.dir("stick");
    let mut follower = bob.command(["inbox", "--follow", "--json"]).spawn().unwrap();
    let mut shown = BufReader::new(follower.stdout.take().unwrap());
    for text in ["first", "second"] {
        let id = alice.send(["Bob", text]);
        alice.toss(&stick);
        // The follower has the spool only while it looks.
        bob.toss(&stick);
        let mut line = String::new();
        shown.read_line(&mut line).unwrap();
        assert!(line.contains(&id), "{line}");
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
}

fn a_reader_who_has_seen_enough_is_no_failure(folder: &Folder) {
    let (alice, _) = folder.acquainted();
    for n in 0..3 {
        alice.send(["Bob", &format!("message {n}")]);
    }
    for args in [
        &["queue", "--json"][..],
        &["queue"],
        &["pack"],
        &["--help"],
        &["send", "--help"],
        &["man"],
        &["completion", "bash"],
        &["send", "Bob", "hi"],
    ] {
        let mut child = alice.command(args).spawn().unwrap();
        // Closed before the first byte: the write finds nobody.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(!err.contains("error"), "{args:?}: {err}");
    }
}

fn quiet_says_what_was_asked_for_and_nothing_else(folder: &Folder) {
    let (alice, _) = folder.acquainted();
    let id = alice.run(["-q", "send", "Bob", "hi"]).ok();
    assert_eq!(id.out.trim().len(), 64);
    assert_eq!(id.err, "");
    assert_eq!(alice.run(["-q", "contact", "verify", "Bob"]).ok().out, "");
    let stick = folder.dir("stick");
    assert_eq!(alice.run(["-q".as_ref(), "toss".as_ref(), stick.as_os_str()]).ok().out, "");
    let carol = folder.nobody("Carol").run(["-q", "init"]).ok().out;
    assert!(carol.starts_with("pr1") && carol.lines().count() == 1, "{carol}");
}

#[test]
fn colours_are_for_terminals_unless_asked_for() {
    let folder = Folder::new();
    let alice = folder.node("Alice");
    assert!(!alice.run(["id"]).ok().out.contains('\u{1b}'));
    assert!(alice.run(["--color", "always", "id"]).ok().out.contains("\u{1b}[1m"));
    assert!(!alice.run(["--color", "always", "--json", "id"]).ok().out.contains('\u{1b}'));
    let error = alice.run(["send", "Carol", "hi", "--color", "always"]).code(5).err;
    assert!(error.starts_with("\u{1b}[1;31merror:"), "{error:?}");
}
