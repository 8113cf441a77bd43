//! Hooks: they run once for what came, in a cage, whatever becomes of the daemon, and nothing waits for them.
#![cfg(target_os = "linux")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{SystemTime, UNIX_EPOCH},
};

use postrider_base::packet::{JobResult, State, Stream};

use crate::{
    jobs::{Voice, ask, ended, result},
    node::{Folder, Node, of_type, text, until},
};

/// What the hooks of a test wrote, a line each.
struct Log(PathBuf);

impl Log {
    /// A file that commands under any user may append to.
    fn new(folder: &Folder) -> Self {
        let path = folder.dir("log").join("log");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        Self(path)
    }

    fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.0).unwrap().lines().map(Into::into).collect()
    }
}

/// A script of the owner's.
fn script(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let path = folder.file(name, format!("#!/bin/sh\n{text}\n").as_bytes());
    open_to_all(&path);
    path
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Sets a node's hooks, for its next daemon.
fn set(node: &Node, log: &Log, keys: &str) {
    // Where no root of its own can be made, a command under another user must come through.
    open_to_all(node.home());
    open_to_all(node.home().parent().unwrap());
    let config = node.home().join("config.toml");
    let before = fs::read_to_string(&config).unwrap();
    let before = before.split("\n[hooks]").next().unwrap();
    let write = log.0.display().to_string();
    let table = format!("[hooks]\nbest-effort = true\nwrite = [{write:?}]\n{keys}\n");
    fs::write(&config, format!("{before}\n{table}")).unwrap();
}

fn on_message(script: &Path) -> String {
    format!("on-message = [{:?}, \"an argument\"]\n", script.display().to_string())
}

fn carry(from: &Node, to: &Node, stick: &Path) {
    from.toss(stick);
    to.toss(stick);
}

/// Whether no hook runs.
fn is_idle(node: &Node) -> bool {
    fs::read_dir(node.home().join("hooks")).is_ok_and(|mut left| left.next().is_none())
}

fn health(node: &Node) -> String {
    text(&node.json(["status"])[0], "health")
}

#[test]
fn a_hook_runs_once_for_each_message_with_facts_and_the_text_and_no_word_of_the_wire() {
    let folder = Folder::new();
    let (alice, mut bob) = folder.acquainted();
    let log = Log::new(&folder);
    let say = "input=$(cat | tr '\\n' ' ')\n\
        echo \"$# $1|$POSTRIDER_FROM|$POSTRIDER_KIND|$POSTRIDER_MESSAGE_ID|$POSTRIDER_SOS|\
        $POSTRIDER_URGENT|$POSTRIDER_FILES|$POSTRIDER_BYTES|$POSTRIDER_FOLDER|$POSTRIDER_JOB_ID|$input\" >>";
    let hook = script(&folder, "hook", &format!("{say} {}", log.0.display()));
    set(&bob, &log, &on_message(&hook));
    let hostile = "$(touch /tmp/owned); `id`\n\"'|&";
    let first = alice.send(["Bob", hostile]);
    let map = folder.file("$(reboot)", b"a map");
    let files = ["Bob", "a map", "--urgent", "-f"].map(Into::into).into_iter();
    let second = alice.send(files.chain([map.into_os_string()]));
    // Of no interest to a hook.
    ask(&alice, &["pump"]);
    let stick = folder.dir("stick");
    carry(&alice, &bob, &stick);
    bob.start_daemon(&[]);
    until("two runs", || log.lines().len() >= 2);
    let third = alice.send(["Bob", "--sos", "help"]);
    carry(&alice, &bob, &stick);
    until("three runs", || log.lines().len() >= 3);
    until("all of them over", || is_idle(&bob));
    let lines: BTreeMap<String, String> = log
        .lines()
        .into_iter()
        .map(|line| (line.split('|').nth(3).unwrap().to_owned(), line))
        .collect();
    assert_eq!(lines.len(), log.lines().len(), "once each");
    let inbox = bob.home().join("inbox/Alice").display().to_string();
    let facts = |kind, id, sos, urgent, files, bytes, said| {
        format!("1 an argument|Alice|{kind}|{id}|{sos}|{urgent}|{files}|{bytes}|{inbox}||{said}")
    };
    assert_eq!(
        lines[&first],
        facts("mail", &first, 0, 0, 0, 30, "$(touch /tmp/owned); `id` \"'|&")
    );
    assert_eq!(lines[&second], facts("file", &second, 0, 1, 1, 5, "a map"));
    assert_eq!(lines[&third], facts("mail", &third, 1, 1, 0, 4, "help"));
    assert!(!Path::new("/tmp/owned").exists());
    assert_eq!(health(&bob), "ok");
}

#[test]
fn a_hook_that_bombs_and_hangs_is_ended_and_delays_no_mail() {
    let folder = Folder::new();
    let (alice, mut bob) = folder.acquainted();
    let log = Log::new(&folder);
    let hook = format!("cat >> {}\nb() {{ b | b & }}; b; sleep 100", log.0.display());
    let hook = script(&folder, "hook", &hook);
    set(&bob, &log, &format!("{}timeout = 1\n", on_message(&hook)));
    bob.start_daemon(&[]);
    let stick = folder.dir("stick");
    for word in ["one\n", "two\n", "three\n"] {
        alice.send(["Bob", word]);
    }
    carry(&alice, &bob, &stick);
    assert_eq!(of_type(&bob.json(["inbox"]), "message").len(), 3, "mail waits for no hook");
    until("each has begun", || log.lines().len() == 3);
    until("each is over", || is_idle(&bob));
    assert!(health(&bob).contains("was ended: it took more time than it may"), "{}", health(&bob));
}

#[test]
fn a_hook_that_fails_is_said_until_one_does_well() {
    let folder = Folder::new();
    let (alice, mut bob) = folder.acquainted();
    let log = Log::new(&folder);
    let hook = "read word; case $word in fail) echo 'no such bell' >&2; exit 3;; esac";
    let hook = script(&folder, "hook", hook);
    set(&bob, &log, &on_message(&hook));
    bob.start_daemon(&[]);
    let stick = folder.dir("stick");
    alice.send(["Bob", "fail\n"]);
    carry(&alice, &bob, &stick);
    until("why it failed", || health(&bob).contains("ended with 3: no such bell"));
    alice.send(["Bob", "fine\n"]);
    carry(&alice, &bob, &stick);
    until("that all is well", || health(&bob) == "ok");
}

#[test]
fn a_hook_that_cannot_begin_is_said_and_runs_when_it_can() {
    let folder = Folder::new();
    let (alice, mut bob) = folder.acquainted();
    let log = Log::new(&folder);
    let hook = script(&folder, "hook", &format!("echo ran >> {}", log.0.display()));
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o644)).unwrap();
    set(&bob, &log, &on_message(&hook));
    bob.start_daemon(&[]);
    alice.send(["Bob", "one"]);
    carry(&alice, &bob, &folder.dir("stick"));
    until("a word of it", || health(&bob).contains("is not executable"));
    open_to_all(&hook);
    bob.kill_daemon();
    bob.start_daemon(&[]);
    until("its run", || log.lines() == ["ran"]);
}

/// Local time, whatever that is here: all of the day is quiet but for a minute that is far from now, as
/// clocks of all zones agree on the quarter of an hour.
fn quiet_now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 60;
    let loud = (now + 7) % 15;
    format!("quiet = \"00:{:02}-00:{:02}\"\n", loud + 1, loud)
}

#[test]
fn in_quiet_hours_only_a_call_for_help_runs_it_and_the_rest_when_they_end() {
    let folder = Folder::new();
    let (alice, mut bob) = folder.acquainted();
    let log = Log::new(&folder);
    let hook = script(&folder, "hook", &format!("cat >> {}", log.0.display()));
    set(&bob, &log, &format!("{}{}", on_message(&hook), quiet_now()));
    bob.start_daemon(&[]);
    let stick = folder.dir("stick");
    alice.send(["Bob", "good night\n"]);
    alice.send(["Bob", "--urgent", "are you asleep?\n"]);
    carry(&alice, &bob, &stick);
    alice.send(["Bob", "--sos", "water is coming\n"]);
    carry(&alice, &bob, &stick);
    until("the call for help", || !log.lines().is_empty());
    assert_eq!(log.lines(), ["water is coming"]);
    bob.kill_daemon();
    set(&bob, &log, &on_message(&hook));
    bob.start_daemon(&[]);
    until("all of them", || log.lines().len() >= 3);
    let mut lines = log.lines();
    lines.sort();
    assert_eq!(lines, ["are you asleep?", "good night", "water is coming"]);
}

#[test]
fn the_result_of_a_job_of_mine_runs_a_hook_once() {
    let folder = Folder::new();
    let (mut alice, bob) = folder.acquainted();
    let log = Log::new(&folder);
    let say = "echo \"$POSTRIDER_EVENT|$POSTRIDER_FROM|$POSTRIDER_JOB_ID|$POSTRIDER_HANDLE|\
        $POSTRIDER_STATE|$POSTRIDER_EXIT_CODE|$(cat)\" >>";
    let hook = script(&folder, "hook", &format!("{say} {}", log.0.display()));
    set(&alice, &log, &format!("on_job = [{:?}]\n", hook.display().to_string()));
    let id = ask(&alice, &["pump"]);
    alice.start_daemon(&[]);
    let mut bob_says = Voice::new(&folder, &bob, &alice);
    let said =
        JobResult { stdout: Stream::whole(b"level 3".to_vec()), ..ended(&id, State::Exited(4)) };
    // Twice the same: it is told of once.
    bob_says.says(result(said.clone()));
    bob_says.says(result(said));
    let other = ask(&alice, &["lamp"]);
    bob_says.says(result(ended(&other, State::Refused)));
    until("two runs", || log.lines().len() >= 2);
    let mut lines = log.lines();
    lines.sort_by_key(|line| !line.contains("pump"));
    assert_eq!(lines[0], format!("job|Bob|{id}|pump|exited|4|level 3"));
    assert!(lines[1].contains("|lamp|refused||"), "{lines:?}");
}

#[test]
fn a_hook_that_cannot_begin_holds_up_no_other() {
    let folder = Folder::new();
    let (mut alice, bob) = folder.acquainted();
    let log = Log::new(&folder);
    let hook = script(&folder, "hook", &format!("echo job >> {}", log.0.display()));
    let job = format!("on_job = [{:?}]\n", hook.display().to_string());
    set(&alice, &log, &format!("{}{job}", on_message(Path::new("/nowhere/at/all"))));
    let id = ask(&alice, &["pump"]);
    alice.start_daemon(&[]);
    bob.send(["Alice", "first"]);
    carry(&bob, &alice, &folder.dir("stick"));
    until("a word of it", || health(&alice).contains("could not begin"));
    let mut bob_says = Voice::new(&folder, &bob, &alice);
    bob_says.says(result(ended(&id, State::Exited(0))));
    until("the other one", || log.lines() == ["job"]);
}

/// Supervisors outlive the daemon, so whatever begins ends, too.
#[test]
fn a_daemon_that_is_killed_amid_hooks_runs_each_once() {
    let (folder, kills) = (Folder::new(), 15);
    let (alice, bob) = folder.acquainted();
    let log = Log::new(&folder);
    let hook = script(&folder, "hook", &format!("cat >> {}", log.0.display()));
    set(&bob, &log, &on_message(&hook));
    let wanted = kills * 3;
    let lines: Vec<String> =
        (0..wanted).map(|n| format!("{{\"to\":\"Bob\",\"text\":\"{n:03}\\n\"}}")).collect();
    alice.run_with(["send", "--batch"], lines.join("\n").as_bytes()).ok();
    carry(&alice, &bob, &folder.dir("stick"));
    for kill in 0..kills {
        let before = log.lines().len();
        let mut daemon = bob.command(["daemon"]).stderr(Stdio::null()).spawn().unwrap();
        until("something run", || log.lines().len() > before + kill % 3);
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }
    let mut daemon = bob.command(["daemon"]).stderr(Stdio::null()).spawn().unwrap();
    until("all of them", || log.lines().len() >= wanted && is_idle(&bob));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let mut said = log.lines();
    said.sort();
    assert_eq!(said, (0..wanted).map(|n| format!("{n:03}")).collect::<Vec<_>>());
}
