//! The node that runs: how it starts and ends, and that nothing acknowledged is lost by it.

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixDatagram, process::CommandExt},
    process::{Child, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::node::{Folder, Node, PATIENCE, of_type, text, until, with_json};

/// Ends what `up` started, also when the test fails.
struct Background<'a>(&'a Node);

impl Drop for Background<'_> {
    fn drop(&mut self) {
        self.0.run(["down"]);
    }
}

fn signal(daemon: &Child, signal: Signal) {
    kill_process(Pid::from_child(daemon), signal).unwrap();
}

#[test]
fn up_makes_a_home_starts_once_and_down_stops_once() {
    let folder = Folder::new();
    let node = folder.nobody("home");
    let _background = Background(&node);
    let started = node.json(["up", "--name", "Alice"]);
    assert_eq!((&started[0]["type"], &started[0]["name"]), (&"identity".into(), &"Alice".into()));
    assert_eq!((&started[1]["type"], &started[1]["state"]), (&"daemon".into(), &"started".into()));
    let again = node.json(["up", "--name", "Mallory"]).remove(0);
    assert_eq!((&again["state"], &again["pid"]), (&"running".into(), &started[1]["pid"]));
    let mode = fs::metadata(node.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(node.json(["down"])[0]["state"], "stopped");
    assert!(!node.socket().exists());
    assert_eq!(node.json(["down"])[0]["state"], "stopped");
    // The home is free at once.
    node.run(["queue"]).ok();
    let log = fs::read_to_string(node.home().join("log")).unwrap();
    assert!(log.contains("answering") && log.contains("stopped"), "{log}");
}

#[test]
fn a_second_daemon_says_so_and_leaves_the_first_alone() {
    let folder = Folder::with_daemons();
    let node = folder.node("Alice");
    let second = node.run(["daemon"]).code(1);
    assert!(second.err.contains("a daemon runs in this home already"), "{}", second.err);
    node.run(["status"]).ok();
}

#[test]
fn a_daemon_that_is_told_to_end_ends_well() {
    let folder = Folder::with_daemons();
    for end in [Signal::TERM, Signal::INT] {
        let mut node = folder.node(&format!("node {}", end.as_raw()));
        let socket = node.socket();
        signal(node.daemon(), end);
        assert_eq!(node.daemon().wait().unwrap().code(), Some(0));
        assert!(!socket.exists());
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_the_home_goes_on() {
    let folder = Folder::with_daemons();
    let (mut alice, _bob) = folder.acquainted();
    let sent: Vec<String> = (0..10).map(|n| alice.send(["Bob", &format!("{n}")])).collect();
    alice.daemon().kill().unwrap();
    alice.daemon().wait().unwrap();
    assert!(alice.socket().exists(), "what is left over is what this is about");
    let here = |node: &Node| {
        let queue = node.json(["queue"]);
        let waiting = of_type(&queue, "bundle");
        sent.iter().all(|id| waiting.iter().any(|bundle| bundle["message"] == **id))
    };
    assert!(here(&alice), "without a daemon");
    alice.start_daemon(&[]);
    assert!(here(&alice), "with the next daemon");
}

#[test]
fn a_kill_in_the_middle_of_a_batch_loses_nothing_that_was_answered() {
    let folder = Folder::with_daemons();
    let (mut alice, _bob) = folder.acquainted();
    let mut batch = alice.command(["send", "--batch"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut to = batch.stdin.take().unwrap();
    let writer = thread::spawn(move || {
        // It ends when nobody reads any more.
        for n in 0..100_000 {
            if writeln!(to, "{{\"to\":\"Bob\",\"text\":\"{n}\"}}").is_err() {
                return;
            }
        }
    });
    let mut answered = Vec::new();
    for line in BufReader::new(batch.stdout.take().unwrap()).lines() {
        let object: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        if object["type"] == "message" {
            answered.push(text(&object, "id"));
        }
        if answered.len() == 200 {
            alice.daemon().kill().unwrap();
        }
    }
    assert_eq!(batch.wait().unwrap().code(), Some(1), "it says that it could not go on");
    writer.join().unwrap();
    alice.daemon().wait().unwrap();
    let queue = alice.json(["queue"]);
    let here: HashSet<&str> =
        of_type(&queue, "bundle").iter().filter_map(|bundle| bundle["message"].as_str()).collect();
    assert!(answered.len() >= 200 && answered.iter().all(|id| here.contains(&**id)));
}

#[test]
fn a_command_that_began_before_the_daemon_asks_it_once_it_has_the_home() {
    let folder = Folder::new();
    let (mut alice, _bob) = folder.acquainted();
    let mut batch = alice.command(["send", "--batch"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut to = batch.stdin.take().unwrap();
    let mut answers = BufReader::new(batch.stdout.take().unwrap()).lines();
    let mut sent = |words: &str| {
        writeln!(to, "{{\"to\":\"Bob\",\"text\":\"{words}\"}}").unwrap();
        let line = answers.next().unwrap().unwrap();
        text(&serde_json::from_str(&line).unwrap(), "id")
    };
    let ids = {
        // From the first answer on it has made up its mind: nobody else had the home.
        let first = sent("before");
        alice.start_daemon(&[]);
        [first, sent("while it runs")]
    };
    drop(to);
    assert!(batch.wait().unwrap().success());
    let queue = alice.json(["queue"]);
    for id in ids {
        assert!(of_type(&queue, "bundle").iter().any(|bundle| bundle["message"] == *id));
    }
}

#[test]
fn a_home_whose_path_is_too_long_for_a_socket_says_what_to_do() {
    let folder = Folder::new();
    let node = folder.nobody(&"x".repeat(120));
    let up = node.command(["up"]).env_remove("XDG_RUNTIME_DIR").output().unwrap();
    assert_eq!(up.status.code(), Some(2));
    let said = String::from_utf8_lossy(&up.stderr).into_owned();
    assert!(said.contains("XDG_RUNTIME_DIR") && said.contains("--home"), "{said}");
    // Everything else works as ever.
    node.run(["status"]).ok();

    let runtime = folder.dir("runtime");
    let with_runtime = |args: &[&str]| {
        let output = node.command(args).env("XDG_RUNTIME_DIR", &runtime).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    with_runtime(&["up"]);
    assert_eq!(fs::read_dir(&runtime).unwrap().count(), 1);
    assert!(with_runtime(&["up", "--json"]).contains("\"running\""));
    with_runtime(&["down"]);
    assert_eq!(fs::read_dir(&runtime).unwrap().count(), 0);
}

#[test]
fn nobody_but_the_owner_is_answered() {
    if !geteuid().is_root() {
        // Only root can be somebody else.
        return;
    }
    const NOBODY: u32 = 65_534;
    let folder = Folder::with_daemons();
    let node = folder.node("Alice");
    // Even where the permissions are as wrong as they can be.
    for (path, mode) in
        [(folder.path(""), 0o755), (node.home().to_owned(), 0o755), (node.socket(), 0o666)]
    {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let program = folder.path("postrider");
    // What is being written by another thread at its fork cannot be run: linked where it can be.
    let built = env!("CARGO_BIN_EXE_postrider");
    fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(drop)).unwrap();
    let mut command = std::process::Command::new(program);
    command.arg("--home").arg(node.home()).args(["--json", "status"]).uid(NOBODY).current_dir("/");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("not-authorised"), "{said}");
    node.run(["status"]).ok();
}

#[test]
fn the_service_manager_hears_of_the_beginning_the_life_and_the_end() {
    let folder = Folder::new();
    let node = folder.node("Alice");
    let path = folder.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = node.command(["daemon"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "20000").env_remove("WATCHDOG_PID");
    let mut daemon = command.spawn().unwrap();
    let hear = || {
        let mut said = [0; 64];
        let n = manager.recv(&mut said).unwrap();
        String::from_utf8_lossy(&said[..n]).into_owned()
    };
    assert_eq!(hear(), "READY=1");
    assert_eq!(hear(), "WATCHDOG=1");
    signal(&daemon, Signal::TERM);
    let mut last = hear();
    while last == "WATCHDOG=1" {
        last = hear();
    }
    assert_eq!(last, "STOPPING=1");
    assert!(daemon.wait().unwrap().success());
}

#[test]
fn what_needs_a_daemon_says_so() {
    let folder = Folder::new();
    let (alice, _bob) = folder.acquainted();
    for args in
        [&["ping", "Bob"][..], &["call", "Bob"], &["log"], &["link", "test", "tls://127.0.0.1:1"]]
    {
        let ended = alice.run(args).code(6);
        assert!(ended.err.contains("postrider up"), "{args:?}: {}", ended.err);
        let error = alice.run(with_json(args)).code(6).objects().remove(0);
        assert_eq!(text(&error, "code"), "needs-daemon");
    }
    assert_eq!(alice.json(["peers"])[0]["count"], 0);
}

#[test]
fn a_log_for_programs_is_objects_and_holds_no_message() {
    let folder = Folder::new();
    let (mut alice, _bob) = folder.acquainted();
    alice.start_daemon(&["--log", "json", "--verbose"]);
    alice.send(["Bob", "a secret word"]);
    alice.run(["down"]).ok();
    let log = fs::read_to_string(folder.path("daemon.log")).unwrap();
    assert!(log.lines().count() > 1);
    for line in log.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
    assert!(!log.contains("secret") && !log.contains("AGE-SECRET"), "{log}");
}

#[test]
fn settings_are_read_again_when_asked() {
    let folder = Folder::with_daemons();
    let mut node = folder.node("Alice");
    let uri = "tls://127.0.0.1:1";
    assert_eq!(node.json(["link", "ls"]).len(), 1);
    let path = node.home().join("config.toml");
    let settings = fs::read_to_string(&path).unwrap();
    fs::write(&path, settings.replace("peers = []", &format!("peers = [\"{uri}\"]"))).unwrap();
    signal(node.daemon(), Signal::HUP);
    until("the new peer", || node.json(["link", "ls"])[0]["uri"] == uri);
    fs::write(&path, &settings).unwrap();
    signal(node.daemon(), Signal::HUP);
    until("the end of it", || node.json(["link", "ls"]).len() == 1);
    // A file that is wrong changes nothing and ends nothing.
    fs::write(&path, "nonsense").unwrap();
    signal(node.daemon(), Signal::HUP);
    node.run(["link", "ls"]).ok();
}

#[test]
fn a_peer_who_is_no_contact_any_more_does_not_keep_the_node_from_starting() {
    let folder = Folder::new();
    let mut node = folder.node("Alice");
    let path = node.home().join("config.toml");
    let settings = fs::read_to_string(&path).unwrap();
    let peers = "peers = [\"tls://127.0.0.1:1#Carol\"]";
    fs::write(&path, settings.replace("peers = []", peers)).unwrap();
    node.start_daemon(&[]);
    let log = node.json(["log"]);
    let trouble = of_type(&log, "event");
    assert_eq!(trouble[0]["what"], "trouble");
    assert!(text(trouble[0], "detail").contains("Carol"), "{trouble:?}");
    // Named on the command line it is a mistake that somebody is there to hear of.
    let folder = Folder::new();
    let refused = folder.node("Bob").run(["daemon", "--peer", "tls://127.0.0.1:1#Carol"]).code(5);
    assert!(refused.err.contains("Carol"), "{}", refused.err);
}

/// Each message once, and only messages on standard output, whoever answers in between.
#[test]
fn a_follower_shows_everything_once_across_a_restart_and_says_that_the_daemon_ended() {
    let folder = Folder::new();
    let (alice, mut bob) = folder.acquainted();
    let stick = folder.dir("stick");
    bob.start_daemon(&[]);
    let mut follower = bob.command(["inbox", "--follow", "--json"]);
    let mut follower = follower.stderr(Stdio::piped()).spawn().unwrap();
    let mut shown = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut ids = Vec::new();
    for words in ["first", "second", "third", "fourth"] {
        ids.push(alice.send(["Bob", words]));
        alice.toss(&stick);
        bob.toss(&stick);
        let line = shown.next().unwrap().unwrap();
        assert!(line.contains(ids.last().unwrap()), "{words}: {line}");
        bob.run(["down"]).ok();
        bob.start_daemon(&[]);
    }
    // The next that is shown is the next that came: nothing was shown again in between.
    bob.run(["down"]).ok();
    ids.push(alice.send(["Bob", "fifth"]));
    alice.toss(&stick);
    bob.toss(&stick);
    assert!(shown.next().unwrap().unwrap().contains(&ids[4]));
    follower.kill().unwrap();
    let told = follower.wait_with_output().unwrap();
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.contains("the daemon has ended"), "{told}");
}

#[test]
fn a_follower_goes_on_when_a_daemon_comes_and_goes() {
    let folder = Folder::new();
    let (alice, mut bob) = folder.acquainted();
    let stick = folder.dir("stick");
    let mut follower = bob.command(["inbox", "--follow", "--json"]).spawn().unwrap();
    let mut shown = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut arrives = |bob: &Node, words: &str| {
        let id = alice.send(["Bob", words]);
        alice.toss(&stick);
        bob.toss(&stick);
        let line = shown.next().unwrap().unwrap();
        assert!(line.contains(&id), "{words}: {line}");
    };
    arrives(&bob, "before");
    bob.start_daemon(&[]);
    arrives(&bob, "meanwhile");
    bob.run(["down"]).ok();
    arrives(&bob, "after");
    follower.kill().unwrap();
    follower.wait().unwrap();
}
