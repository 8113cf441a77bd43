//! Two nodes and a link: what the commands show of it.

use std::{
    fs::OpenOptions,
    io::Write,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::node::{Folder, Node, of_type, text, until, with_json};
use crate::streams::noise;

/// Bob listens; both have a daemon and each other's cards. And the way from Alice to Bob.
fn neighbours(folder: &Folder) -> (Node, Node, String) {
    let (mut alice, mut bob) = folder.acquainted();
    bob.start_daemon(&["--listen", "tls://127.0.0.1:0"]);
    alice.start_daemon(&[]);
    let bobs = bob.json(["up"]).remove(0);
    let uri = format!("tls://{}#Bob", bobs["listening"][0].as_str().unwrap());
    (alice, bob, uri)
}

fn is_up(node: &Node) -> bool {
    of_type(&node.json(["peers"]), "peer").iter().any(|peer| peer["up"] == true)
}

#[test]
fn a_message_is_carried_and_delivered_while_its_sender_waits() {
    let folder = Folder::new();
    let (alice, bob, uri) = neighbours(&folder);
    assert_eq!(alice.json(["link", "add", &uri])[0]["state"], "added");
    let states = |args: &[&str]| -> Vec<Value> {
        alice.json(args).iter().map(|object| object["state"].clone()).collect()
    };
    let delivered = states(&["send", "Bob", "by wire", "--wait", "delivered"]);
    assert_eq!((&delivered[0], delivered.last().unwrap()), (&"saved".into(), &"delivered".into()));
    let carried = states(&["send", "Bob", "again", "--wait", "carried", "--timeout", "60s"]);
    assert!(["carried", "delivered"].iter().any(|state| carried.last().unwrap() == state));
    let inbox = bob.json(["inbox"]);
    assert_eq!(of_type(&inbox, "message")[0]["text"], "by wire");

    let id = text(&bob.json(["inbox"])[0], "id");
    let traced = alice.json(["trace", &id]);
    let whats: Vec<String> = of_type(&traced, "event").iter().map(|e| text(e, "what")).collect();
    assert_eq!(whats.first().map(String::as_str), Some("saved"));
    // Whoever is told of the delivery first need not be told that it was carried.
    assert!(whats.iter().any(|what| what == "delivered"), "{whats:?}");
}

/// It neither reads nor closes, and the writer waits for it. A minute of silence ends that; so this is one
/// of the tests that run where `POSTRIDER_STORM` is set.
#[test]
fn a_link_whose_other_end_stands_still_ends_though_much_waits_for_it() {
    if std::env::var_os("POSTRIDER_STORM").is_none() {
        println!("skipped: it takes a minute; set POSTRIDER_STORM");
        return;
    }
    let folder = Folder::new();
    let (alice, mut bob, uri) = neighbours(&folder);
    alice.json(["call", &uri]);
    until("the link", || is_up(&alice));
    let stopped = Pid::from_child(bob.daemon());
    kill_process(stopped, Signal::STOP).unwrap();
    // More than the system holds for a reader.
    let film = folder.file("film", &noise(5, 64 << 20));
    alice.run(["send", "Bob", "-f", &film.display().to_string()]).code(0);
    let begun = Instant::now();
    while is_up(&alice) {
        assert!(begun.elapsed() < Duration::from_secs(120), "the link is up");
        thread::sleep(Duration::from_millis(100));
    }
    kill_process(stopped, Signal::CONT).unwrap();
    until("the link again", || is_up(&alice));
}

#[test]
fn neighbours_are_shown_pinged_and_remembered() {
    let folder = Folder::new();
    let (alice, bob, uri) = neighbours(&folder);
    let nobody = alice.run(["ping", "Bob"]).code(1);
    assert!(nobody.err.contains("there is no link to Bob"), "{}", nobody.err);
    let called = alice.json(["call", &uri, "--once"]).remove(0);
    assert_eq!((&called["name"], &called["up"]), (&"Bob".into(), &true.into()));
    let pong = alice.json(["ping", "Bob"]).remove(0);
    assert_eq!((&pong["type"], &pong["name"]), (&"pong".into(), &"Bob".into()));
    assert!(pong["rtt_ms"].as_f64().unwrap() > 0.0);
    let peers = alice.json(["peers"]);
    let peer = of_type(&peers, "peer")[0];
    for key in ["id", "name", "link", "address", "rtt_ms", "last_seen_s", "up"] {
        assert!(!peer[key].is_null(), "no {key} in {peer}");
    }
    let status = alice.json(["status"]).remove(0);
    assert_eq!(status["links"][0]["name"], "Bob");
    until("Bob sees Alice", || is_up(&bob));
    let log = alice.json(["log"]);
    assert!(of_type(&log, "event").iter().any(|event| event["what"] == "link-up"), "{log:?}");
    let sent = alice.send(["Bob", "hi"]);
    let why = alice.json(["why", &sent]);
    assert!(!of_type(&why, "reason").is_empty());

    alice.run(["down"]).ok();
    let peers = alice.json(["peers"]);
    let peer = of_type(&peers, "peer")[0];
    assert_eq!((&peer["name"], &peer["up"]), (&"Bob".into(), &false.into()));
    assert!(peer["last_seen_s"].as_u64().unwrap() < 600);
    until("Bob sees that Alice is gone", || !is_up(&bob));
}

#[test]
fn a_contact_is_called_where_it_was_last() {
    let folder = Folder::new();
    let (mut alice, bob, uri) = neighbours(&folder);
    alice.run(["call", "Bob"]).code(1);
    alice.run(["call", &uri, "--once"]).ok();
    alice.run(["down"]).ok();
    alice.start_daemon(&[]);
    assert_eq!(alice.json(["call", "Bob"])[0]["up"], true);
    until("Bob sees Alice", || is_up(&bob));
}

#[test]
fn a_link_is_kept_over_a_new_start_and_ends_when_it_is_removed() {
    let folder = Folder::new();
    let (mut alice, _bob, uri) = neighbours(&folder);
    alice.run(["link", "add", &uri]).ok();
    until("the link", || is_up(&alice));
    alice.run(["down"]).ok();
    // Without a daemon the list is the same.
    assert_eq!(alice.json(["link", "ls"])[0]["uri"], uri);
    alice.start_daemon(&[]);
    until("the link again", || is_up(&alice));
    assert_eq!(alice.json(["link", "rm", &uri])[0]["state"], "removed");
    until("the end of the link", || !is_up(&alice));
    alice.run(["link", "rm", &uri]).code(5);
    for wrong in ["Bob", "nowhere://x", "tls://127.0.0.1:1#Carol", "pipe:cat"] {
        let code = alice.run(["link", "add", wrong]).code;
        assert!(code == Some(2) || code == Some(5), "{wrong}: {code:?}");
    }
    assert_eq!(alice.json(["link", "ls"]).len(), 1);
}

#[test]
fn whoever_is_blocked_loses_the_link_at_once() {
    let folder = Folder::new();
    let (alice, bob, uri) = neighbours(&folder);
    alice.run(["link", "add", &uri]).ok();
    until("the link", || is_up(&alice) && is_up(&bob));
    bob.run(["contact", "block", "Alice"]).ok();
    until("the end of the link", || !is_up(&bob));
    bob.run(["contact", "block", "Alice", "--off"]).ok();
    until("the link again", || is_up(&bob));
}

/// Whoever was met once is met again, some time: that is said, as far as it is known, and who has never
/// been met gets no promise.
#[test]
fn when_a_message_arrives_is_told_from_meetings_and_not_without_any() {
    let folder = Folder::new();
    let (alice, bob, uri) = neighbours(&folder);
    let last = |id: &str| {
        let why = alice.json(["why", id]);
        (*of_type(&why, "reason").last().unwrap()).clone()
    };
    let early = alice.send(["Bob", "before we met"]);
    assert!(text(&last(&early), "reason").contains("nobody here has met Bob"));
    assert!(last(&early)["eta_s"].is_null());
    assert!(alice.json(["queue", "show", &early])[0]["eta_s"].is_null());
    alice.run(["link", "add", &uri]).ok();
    alice.run(["send", "Bob", "now", "--wait", "delivered"]).ok();
    alice.run(["link", "rm", &uri]).ok();
    until("the end of the link", || !is_up(&alice) && !is_up(&bob));
    let late = alice.send(["Bob", "until we meet"]);
    let said = last(&late);
    let reason = text(&said, "reason");
    assert!(reason.contains("this node meets Bob about every 10 days"), "{reason}");
    assert!(reason.contains("within about 7 days"), "{reason}");
    // One meeting, worth half after seven days; the meeting is some seconds ago.
    let eta_s = said["eta_s"].as_u64().unwrap();
    assert!((604_800..700_000).contains(&eta_s), "{eta_s}");
    let shown = alice.json(["queue", "show", &late]).remove(0);
    assert!(shown["eta_s"].as_u64().unwrap().abs_diff(eta_s) < 70_000, "{shown}");
    assert_eq!((&shown["tokens"], &shown["level"]), (&8.into(), &0.into()));
    let traced = alice.run(["trace", &late]).ok().out;
    assert!(traced.contains("waits") && traced.contains("7 more may leave here"), "{traced}");
    let of_what_is_there = alice.run(["why", &early]).ok().out;
    assert!(!of_what_is_there.contains("expect"), "{of_what_is_there}");
}

#[test]
fn a_message_called_back_while_the_link_is_up_stays_here() {
    let folder = Folder::new();
    let (alice, bob, uri) = neighbours(&folder);
    // Nobody listens there yet, so it waits.
    let sent = alice.send(["Bob", "never mind"]);
    assert_eq!(alice.json(["queue", "cancel", &sent])[0]["state"], "cancelled");
    alice.run(["link", "add", &uri]).ok();
    alice.run(["send", "Bob", "but this", "--wait", "delivered"]).ok();
    let inbox = bob.json(["inbox"]);
    let texts: Vec<&Value> = of_type(&inbox, "message").iter().map(|m| &m["text"]).collect();
    assert_eq!(texts, ["but this"]);
}

#[test]
fn waiting_ends_when_its_time_is_over_and_the_message_stays_queued() {
    let folder = Folder::with_daemons();
    let (alice, _bob) = folder.acquainted();
    let ended =
        alice.run(["--json", "send", "Bob", "hi", "--wait", "delivered", "--timeout", "1s"]);
    let objects = ended.code(7).objects();
    assert_eq!(
        (&objects[0]["state"], &objects[1]["code"]),
        (&"saved".into(), &"wait-ran-out".into())
    );
    assert_eq!(of_type(&alice.json(["queue"]), "bundle").len(), 1);
}

/// What costs too much there: the words come at once, what is attached comes another way.
#[test]
fn what_is_too_long_for_a_link_waits_for_another_way() {
    let folder = Folder::new();
    let (mut alice, mut bob) = folder.acquainted();
    let mut settings =
        OpenOptions::new().append(true).open(alice.home().join("config.toml")).unwrap();
    settings.write_all(b"\n[[links]]\nfor = ['Bob']\nlongest = 65536\nmetered = true\n").unwrap();
    bob.start_daemon(&["--listen", "tls://127.0.0.1:0"]);
    alice.start_daemon(&[]);
    let bobs = bob.json(["up"]).remove(0);
    let uri = format!("tls://{}#Bob", bobs["listening"][0].as_str().unwrap());
    alice.run(["link", "add", &uri]).ok();
    let film = folder.file("film", &noise(1, 1 << 20));
    let film = film.display().to_string();
    let id = alice.send(["Bob", "see for yourself", "-f", &film]);
    alice.run(["send", "Bob", "after it", "--wait", "delivered"]).ok();
    let inbox = bob.json(["inbox"]);
    let texts: Vec<_> = of_type(&inbox, "message").iter().map(|it| it["text"].clone()).collect();
    assert!(texts.contains(&"after it".into()), "{inbox:?}");
    let left = alice.json(["queue"]);
    assert!(of_type(&left, "bundle").iter().any(|row| row["message"] == *id), "{left:?}");
    let why = alice.run(["why", &id]).ok().out;
    assert!(why.contains("that link carries nothing so long"), "{why}");

    let stick = folder.dir("stick");
    alice.toss(&stick);
    bob.toss(&stick);
    until("the film", || {
        let inbox = bob.json(["inbox"]);
        of_type(&inbox, "message").iter().any(|it| it["text"] == "see for yourself")
    });
}

#[test]
fn two_nodes_speak_through_the_streams_of_a_command() {
    let folder = Folder::new();
    let (mut alice, bob) = folder.acquainted();
    alice.start_daemon(&[]);
    let program = env!("CARGO_BIN_EXE_postrider");
    let uri = format!("pipe:{program} --home '{}' daemon --stdio#Bob", bob.home().display());
    alice.run(["link", "add", &uri]).ok();
    alice.run(["send", "Bob", "by pipe", "--wait", "delivered"]).ok();
    alice.run(["down"]).ok();
    // The far end ends with its pipe, and gives its home back.
    assert_eq!(bob.json(["inbox"])[0]["text"], "by pipe");
}

/// Where Bluetooth is not used that is said in one line, and is no illness.
#[test]
fn bluetooth_that_is_off_is_said_to_be_and_disturbs_nobody() {
    let folder = Folder::new();
    let mut alice = folder.node("Alice");
    let settings = alice.home().join("config.toml");
    std::fs::write(settings, "name = 'Alice'\n[bluetooth]\nprofile = 'off'\n").unwrap();
    let tested = alice.run(with_json(["link", "test", "bluetooth"])).code(1).objects().remove(0);
    assert_eq!(tested["bluetooth"]["state"], "off");
    alice.start_daemon(&["--no-lan"]);
    let status = alice.json(["status"]).remove(0);
    assert_eq!((&status["bluetooth"]["state"], &status["health"]), (&"off".into(), &"ok".into()));
    let doctor = alice.json(["doctor"]);
    let bluetooth = doctor.iter().find(|finding| finding["check"] == "bluetooth").unwrap();
    assert_eq!(bluetooth["verdict"], "ok");
    let shown = alice.run(["status"]).ok().out;
    assert!(shown.contains("nearby   off, "), "{shown}");
}
