//! Jobs between nodes that run: replayed, taken back at any moment, by stick alone, and whatever of the
//! daemon is killed while a command runs.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    process::Child,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::line::{Node, until};

/// Alice, who asks, and Bob, who runs; a script writes down what it did.
pub struct Pair {
    dir: tempfile::TempDir,
    pub alice: Node,
    pub bob: Node,
    pub ledger: PathBuf,
}

impl Pair {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (alice, bob) = (Node::new(dir.path(), "alice"), Node::new(dir.path(), "bob"));
        alice.meet(&bob);
        let open = dir.path().join("ledger");
        let ledger = open.join("lines");
        fs::create_dir(&open).unwrap();
        fs::write(&ledger, "").unwrap();
        // The command may run under a user of its own, who is nobody here.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(&ledger, Permissions::from_mode(0o666)).unwrap();
        let pair = Self { dir, alice, bob, ledger };
        pair.allow("note", "echo \"$1\" >> LEDGER; echo \"noted $1\"; exit $(($1 % 5))", &[]);
        pair
    }

    /// Bob allows a script with one number.
    pub fn allow(&self, handle: &str, script: &str, more: &[&str]) {
        let path = self.dir.path().join(format!("{handle}.sh"));
        let text = script.replace("LEDGER", &self.ledger.display().to_string());
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let open = self.ledger.parent().unwrap().display().to_string();
        let path = path.display().to_string();
        let mut args = vec!["allow", "set", handle, "--for", "alice", "--best-effort"];
        args.extend(["--write", &open, "--read", &path]);
        args.extend(more);
        args.extend(["--", "/bin/sh", &path, "{n:int(0..1000000)}"]);
        self.bob.run(&args);
    }

    /// A link between the two.
    pub fn link(&mut self) {
        self.bob.with_args(&["--listen".into(), "tls://127.0.0.1:0".into()]);
        self.bob.start();
        let running = self.bob.run(&["up"]).remove(0);
        let address = running["listening"][0].as_str().unwrap().to_owned();
        self.bob.with_args(&["--listen".into(), format!("tls://{address}")]);
        self.alice.with_args(&["--peer".into(), format!("tls://{address}#bob")]);
        self.alice.start();
        until("the link", || self.alice.run(&["peers"])[0]["up"] == true);
    }

    /// Asks for a job; its id.
    pub fn job(&self, handle: &str, number: u64, more: &[&str]) -> String {
        let text = number.to_string();
        let mut args = vec!["run", "bob", "--no-stdin"];
        args.extend(more);
        args.extend(["--", handle, &text]);
        let said = self.alice.run(&args);
        said[0]["id"].as_str().unwrap().to_owned()
    }

    pub fn shown(&self, id: &str) -> Value {
        self.alice.run(&["job", "show", id]).remove(0)
    }

    pub fn ended(&self, id: &str) -> Value {
        let mut shown = Value::Null;
        until(&format!("the end of {id}"), || {
            shown = self.shown(id);
            !["queued", "admitted", "held", "running"].contains(&shown["state"].as_str().unwrap())
        });
        shown
    }

    /// How often each number was noted.
    fn noted(&self) -> BTreeMap<u64, u32> {
        let mut noted = BTreeMap::new();
        for line in fs::read_to_string(&self.ledger).unwrap().lines() {
            *noted.entry(line.parse().unwrap()).or_default() += 1;
        }
        noted
    }

    fn toss(&self, node: &Node, stick: &std::path::Path) -> Value {
        let said = node.run(&["toss", &stick.display().to_string()]);
        said.into_iter().find(|object| object["type"] == "summary").unwrap()
    }
}

fn storm(usual: u64, heavy: u64) -> u64 {
    if std::env::var_os("POSTRIDER_STORM").is_some() { heavy } else { usual }
}

#[test]
fn replayed_by_file_by_stick_and_by_link_each_job_runs_once() {
    let (jobs, times) = (storm(6, 200), storm(4, 100));
    let mut pair = Pair::new();
    let stick = pair.dir.path().join("stick");
    let old = pair.dir.path().join("old");
    fs::create_dir(&stick).unwrap();
    pair.alice.run(&["toss", &stick.display().to_string(), "--init"]);
    let ids: Vec<String> = (0..jobs).map(|n| pair.job("note", n, &[])).collect();
    for id in &ids {
        let file = pair.dir.path().join(format!("{id}.bundle"));
        let shown = file.display().to_string();
        pair.alice.run(&["bundle", "export", id, "--output", &shown]);
    }
    pair.toss(&pair.alice, &stick);
    // What is on the stick now will be found in three years.
    copy(&stick, &old);
    pair.toss(&pair.bob, &stick);
    pair.link();
    for (number, id) in ids.iter().enumerate() {
        let shown = pair.ended(id);
        assert_eq!(shown["state"], "exited", "{shown}");
        assert_eq!(shown["exit_code"], number % 5, "{shown}");
        assert_eq!(shown["stdout"], format!("noted {number}\n"), "{shown}");
    }
    for time in 0..times {
        for id in &ids {
            let file = pair.dir.path().join(format!("{id}.bundle")).display().to_string();
            pair.bob.run(&["bundle", "import", &file]);
        }
        let again = pair.dir.path().join(format!("again-{time}"));
        copy(&old, &again);
        pair.toss(&pair.bob, &again);
        if time % 8 == 0 {
            // A node that forgot nothing but its links.
            pair.bob.kill();
            pair.bob.start();
        }
        fs::remove_dir_all(again).unwrap();
    }
    // One more goes through all of that, and comes behind it.
    let last = pair.job("note", jobs, &[]);
    pair.ended(&last);
    let noted = pair.noted();
    assert_eq!(noted.len() as u64, jobs + 1);
    assert!(noted.values().all(|times| *times == 1), "{noted:?}");
}

/// Somebody restores a home from before, again and again, and is heard over two kinds of link.
#[test]
fn what_a_restored_home_sends_again_runs_no_more() {
    let (jobs, times) = (storm(6, 200), storm(4, 100));
    let mut pair = Pair::new();
    let before = pair.dir.path().join("before");
    let ids: Vec<String> = (0..jobs).map(|n| pair.job("note", n, &[])).collect();
    copy(pair.alice.home(), &before);
    pair.link();
    ids.iter().for_each(|id| assert_eq!(pair.ended(id)["state"], "exited"));
    pair.alice.kill();
    let once: BTreeMap<u64, u32> = (0..jobs).map(|n| (n, 1)).collect();
    assert_eq!(pair.noted(), once);

    let mut restored = Node::new(pair.dir.path(), "restored");
    let tls = pair.alice.args().to_vec();
    let program = env!("CARGO_BIN_EXE_postrider");
    let bob = pair.bob.home().display();
    let pipe = format!("pipe:{program} --home '{bob}' daemon --no-lan --stdio#bob");
    let pipe = vec!["--peer".to_owned(), pipe];
    for time in 0..times {
        fs::remove_dir_all(restored.home()).unwrap();
        copy(&before, restored.home());
        // Its other end is a daemon that runs, or one that is started for it.
        if time % 2 == 0 {
            restored.with_args(&tls);
        } else {
            pair.bob.kill();
            restored.with_args(&pipe);
        }
        assert_eq!(restored.run(&["status"])[0]["out"], jobs, "all of them wait there");
        restored.start();
        until("all is settled", || restored.run(&["status"])[0]["out"] == 0);
        restored.kill();
        if time % 2 == 1 {
            // The one behind the pipe ends with it.
            until("its end", || UnixStream::connect(pair.bob.socket()).is_err());
            pair.bob.start();
        }
    }
    // One more goes the same way, and comes behind all that was replayed.
    pair.alice.start();
    let last = pair.job("note", jobs, &[]);
    pair.ended(&last);
    let mut noted = pair.noted();
    assert_eq!(noted.remove(&jobs), Some(1));
    assert_eq!(noted, once);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Two who have no network at all, and a stick.
#[test]
fn a_stick_brings_a_job_and_its_result_back() {
    let mut pair = Pair::new();
    let stick = pair.dir.path().join("stick");
    fs::create_dir(&stick).unwrap();
    pair.alice.run(&["toss", &stick.display().to_string(), "--init"]);
    let id = pair.job("note", 7, &[]);
    pair.toss(&pair.alice, &stick);
    pair.bob.start();
    pair.toss(&pair.bob, &stick);
    until("the command", || pair.noted().contains_key(&7));
    // Its result waits for the stick when it is durable.
    until("the result", || pair.bob.run(&["status"])[0]["out"] != 0);
    pair.toss(&pair.bob, &stick);
    pair.toss(&pair.alice, &stick);
    let shown = pair.shown(&id);
    assert_eq!((&shown["state"], &shown["exit_code"]), (&"exited".into(), &2.into()), "{shown}");
    assert_eq!(shown["stdout"], "noted 7\n");
}

#[test]
fn a_daemon_that_is_killed_while_a_command_runs_sends_its_true_result() {
    let mut pair = Pair::new();
    let gate = pair.ledger.with_file_name("gate");
    let script = format!(
        "echo \"$1\" >> LEDGER; while [ ! -e {} ]; do sleep 0.05; done; echo through; exit 4",
        gate.display()
    );
    pair.allow("wait", &script, &[]);
    pair.link();
    let id = pair.job("wait", 1, &[]);
    until("the command", || pair.noted().contains_key(&1));
    for _ in 0..3 {
        pair.bob.kill();
        pair.bob.start();
    }
    pair.bob.kill();
    fs::write(&gate, "").unwrap();
    // It ends while nobody is there.
    thread::sleep(Duration::from_millis(300));
    pair.bob.start();
    pair.alice.command(&["call", "bob", "--once"]).output().unwrap();
    let shown = pair.ended(&id);
    assert_eq!((&shown["state"], &shown["exit_code"]), (&"exited".into(), &4.into()), "{shown}");
    assert_eq!(shown["stdout"], "through\n");
    assert_eq!(pair.noted(), BTreeMap::from([(1, 1)]));
}

/// At every point of a job's life there is an answer, and it is true.
#[test]
fn taken_back_at_any_moment_a_job_says_what_became_of_it() {
    let points = storm(12, 200);
    let mut pair = Pair::new();
    pair.allow("slow", "echo \"$1\" >> LEDGER; sleep 0.1; echo slept", &[]);
    // The first while there is no link: it waits here, and its target hears of both at once.
    let early = pair.job("slow", 0, &[]);
    let output = pair.alice.command(&["job", "cancel", &early]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    pair.link();
    assert_eq!(pair.ended(&early)["state"], "cancelled");
    let mut told: BTreeMap<String, u32> = BTreeMap::new();
    for point in 1..=points {
        let id = pair.job("slow", point, &[]);
        // Before it has left, while it begins, while it runs, when it is over.
        thread::sleep(Duration::from_millis(point * 5 % 300));
        let force: &[&str] = if point % 2 == 0 { &["--force"] } else { &[] };
        let args = [&["job", "cancel", &id][..], force].concat();
        let output = pair.alice.command(&args).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!([Some(0), Some(13)].contains(&output.status.code()), "{point}: {complaint}");
        let shown = pair.ended(&id);
        let ran = pair.noted().get(&point).copied().unwrap_or(0);
        let state = shown["state"].as_str().unwrap().to_owned();
        match &*state {
            "cancelled" => assert_eq!(ran, 0, "{point}: it ran, and says that it did not: {shown}"),
            "exited" | "killed" => assert!(ran <= 1, "{point}: {shown}"),
            other => panic!("{point}: {other}: {shown}"),
        }
        if state == "exited" && shown["exit_code"] == 0 {
            assert_eq!((ran, &shown["stdout"]), (1, &"slept\n".into()), "{point}: {shown}");
        }
        *told.entry(state).or_default() += 1;
    }
    println!("{points} points: {told:?}");
    assert!(told.contains_key("exited"), "{told:?}: the points say nothing");
    assert!(!pair.noted().contains_key(&0));
    assert!(pair.noted().values().all(|times| *times == 1));
}

#[test]
fn a_command_runs_when_another_has_agreed_to_it_word_for_word() {
    let mut pair = Pair::new();
    let carol = Node::new(pair.dir.path(), "carol");
    carol.meet(&pair.bob);
    pair.allow("valve", "echo \"$1\" >> LEDGER", &["--approvals", "1", "--approvers", "carol"]);
    let stick = pair.dir.path().join("stick");
    fs::create_dir(&stick).unwrap();
    pair.alice.run(&["toss", &stick.display().to_string(), "--init"]);
    pair.link();
    let id = pair.job("valve", 3, &[]);
    until("the question", || {
        pair.toss(&pair.bob, &stick);
        pair.toss(&carol, &stick);
        carol.run(&["job", "approve"]).iter().any(|object| id == object["id"])
    });
    assert!(pair.noted().is_empty());
    carol.run(&["--yes", "job", "approve", &id]);
    pair.toss(&carol, &stick);
    pair.toss(&pair.bob, &stick);
    let shown = pair.ended(&id);
    assert_eq!(shown["state"], "exited", "{shown}");
    assert_eq!(pair.noted(), BTreeMap::from([(3, 1)]));
}

#[test]
fn in_a_queue_one_comes_after_the_other_and_the_newest_of_a_key_is_left() {
    let mut pair = Pair::new();
    let ids: Vec<String> = (0..8).map(|n| pair.job("note", n, &["--queue", "q"])).collect();
    let keyed: Vec<String> =
        (100..104).map(|n| pair.job("note", n, &["--supersede", "config"])).collect();
    pair.link();
    ids.iter().for_each(|id| assert_eq!(pair.ended(id)["state"], "exited"));
    let states: Vec<Value> = keyed.iter().map(|id| pair.ended(id)["state"].clone()).collect();
    // Those that were here before a newer one may have run already.
    assert_eq!(states.last(), Some(&"exited".into()), "{states:?}");
    let lines = fs::read_to_string(&pair.ledger).unwrap();
    let order: Vec<u64> = lines.lines().map(|line| line.parse().unwrap()).collect();
    let queue: Vec<u64> = order.into_iter().filter(|n| *n < 100).collect();
    assert_eq!(queue, (0..8).collect::<Vec<_>>());
}

/// A command that a person waits for is as if it were here.
#[test]
fn a_job_that_is_waited_for_ends_as_its_command_did() {
    let mut pair = Pair::new();
    pair.allow("loud", "cat; echo out; echo err >&2; exit $1", &["--stdin", "64k"]);
    pair.link();
    for (code, expected) in [(0, 0), (7, 7), (130, 130)] {
        let text = code.to_string();
        let mut command = pair.alice.command(&["run", "bob", "--wait", "--", "loud", &text]);
        let input = pair.dir.path().join("input");
        fs::write(&input, "from here\n").unwrap();
        let command = command.stdin(fs::File::open(&input).unwrap());
        let child: Child = command.spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(expected), "{output:?}");
    }
    let refused = pair.alice.command(&["run", "bob", "--wait", "--", "nothing"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(127));
    let refused =
        pair.alice.command(&["run", "bob", "--wait", "--", "note", "--", "-1"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(126), "{refused:?}");
}

#[test]
fn what_was_done_and_what_was_refused_stands_in_a_chain_that_results_speak_for() {
    let mut pair = Pair::new();
    pair.allow("agreed", "exit 0", &["--approvals", "1"]);
    pair.link();
    let ran = pair.job("note", 7, &[]);
    assert_eq!(pair.ended(&ran)["exit_code"], 2);
    let unknown = pair.job("nothing", 1, &[]);
    pair.ended(&unknown);
    let held = pair.job("agreed", 1, &[]);
    let records = || -> Vec<Value> {
        let all = pair.bob.run(&["log", "--audit"]);
        all.into_iter().filter(|object| object["type"] == "audit").collect()
    };
    let of = |job: &str| -> Vec<String> {
        let its = records().into_iter().filter(|record| record["job"] == *job);
        its.map(|record| record["what"].as_str().unwrap().to_owned()).collect()
    };
    until("it is held", || of(&held) == ["held"]);
    pair.alice.run(&["job", "cancel", &held]);
    pair.ended(&held);
    assert_eq!(of(&ran), ["started", "ended"]);
    assert_eq!(of(&unknown), ["unknown-handle"]);
    assert_eq!(of(&held), ["held", "taken-back", "cancelled"]);
    let all = records();
    let first = all.iter().position(|record| record["job"] == *ran).unwrap();
    assert!(all[..first].iter().any(|record| record["what"] == "allow-list"), "{all:?}");
    assert_eq!(all[first]["who"], "alice");
    // Alice keeps what Bob's results said; it is in his chain.
    let head = pair.shown(&ran)["audit"].as_str().unwrap().to_owned();
    let found = pair.bob.run(&["log", "--audit", "--verify", "--has", &head]).remove(0);
    assert_eq!(found["last"], all.len());
    let ended = all.iter().find(|it| it["job"] == *ran && it["what"] == "ended").unwrap();
    assert_eq!((&found["has"], &ended["link"]), (&ended["number"], &Value::from(head)));
    let none = "0".repeat(64);
    let missing =
        pair.bob.command(&["log", "--audit", "--verify", "--has", &none]).output().unwrap();
    assert_eq!(missing.status.code(), Some(11));
}
