//! Serial ports: what the commands say of them, and what they leave alone.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    cable::{Answer, Cable, Faults},
    node::{Ended, Folder, Node, PATIENCE, of_type, text, until},
};

const FAST: &str = "rate=1000000";

/// Tests a port; how it ended, and the one object.
fn tested(node: &Node, args: &[&str]) -> (Ended, Value) {
    let ended = node.run(["--json", "link", "test"].iter().chain(args));
    let object = ended.objects().remove(0);
    (ended, object)
}

#[test]
fn a_port_is_listened_to_and_not_written_to_unless_asked() {
    let folder = Folder::new();
    let alice = folder.node("Alice");
    let cable = Cable::new(&folder.dir("cable"), Faults::default());
    let port = cable.address(0, FAST);
    let (ended, found) = tested(&alice, &[&port]);
    ended.code(1);
    assert_eq!((&found["state"], &found["port"]["state"]), (&"tested".into(), &"silent".into()));
    assert!(text(&found, "detail").contains("nothing was written"), "{found}");
    assert_eq!(cable.carried(0), 0);
    let (ended, found) = tested(&alice, &["--speak", &port]);
    ended.code(1);
    assert_eq!(text(&found, "detail"), "nobody answers");
    assert!(cable.carried(0) > 0);
}

#[test]
fn what_speaks_at_a_port_is_said() {
    let folder = Folder::new();
    let alice = folder.node("Alice");
    let talks: Answer = |_| b"$GPGGA,123519,4807.038,N\r\n".to_vec();
    let cable =
        Cable::new(&folder.dir("cable"), Faults { modem: Some(talks), ..Faults::default() });
    let (ended, found) = tested(&alice, &["--speak", &cable.address(0, FAST)]);
    ended.code(1);
    assert_eq!(found["port"]["state"], "noise");
    assert!(text(&found, "detail").contains("satellite receiver: $GPGGA"), "{found}");
}

#[test]
fn a_node_at_the_other_end_is_found_and_told_in_words_once_there_is_a_link() {
    let folder = Folder::new();
    let (mut alice, mut bob) = folder.acquainted();
    let cable = Cable::new(&folder.dir("cable"), Faults::default());
    let ports = [0, 1].map(|end| cable.address(end, FAST));
    bob.start_daemon(&["--no-lan", "--peer", &format!("{}#Alice", ports[1])]);
    let (ended, heard) = tested(&alice, &[&ports[0]]);
    ended.code(0);
    assert_eq!((&heard["state"], &heard["port"]["state"]), (&"reached".into(), &"node".into()));
    assert_eq!(cable.carried(0), 0);
    let (ended, met) = tested(&alice, &["--speak", &ports[0]]);
    ended.code(0);
    assert!(met["port"]["rtt_ms"].is_number() && met["port"]["damaged"] == 0, "{met}");

    alice.start_daemon(&["--no-lan"]);
    alice.run(["link", "add", &format!("{}#Bob", ports[0])]).ok();
    until("the link", || alice.json(["link", "ls"])[0]["up"] == true);
    let (ended, linked) = tested(&alice, &[&ports[0]]);
    ended.code(0);
    let words = alice.json(["contact", "show", "Bob"])[0]["words"].clone();
    assert_eq!((&linked["port"]["words"], &linked["up"]), (&words, &true.into()));
    assert!(text(&linked, "detail").starts_with("Bob answers ("), "{linked}");
    let status = alice.json(["status"]).remove(0);
    assert_eq!(status["ports"][0]["state"], "open");
    alice.run(["send", "Bob", "by cable", "--wait", "delivered"]).ok();
}

#[test]
fn a_port_that_is_not_there_is_said_by_every_command_that_is_asked() {
    let folder = Folder::new();
    let (mut alice, _bob) = folder.acquainted();
    let path = folder.path("ttyUSB0").display().to_string();
    let uri = format!("serial://{path}#Bob");
    alice.run(["link", "add", &uri]).ok();
    let missing = format!("{path} is not there");
    let warns = |alice: &Node| {
        let found = alice.json(["doctor"]);
        of_type(&found, "finding").iter().any(|finding| {
            finding["check"] == "port" && text(finding, "detail").ends_with(&missing)
        })
    };
    assert!(warns(&alice));
    alice.run(["link", "test", &uri]).code(1);
    alice.start_daemon(&["--no-lan"]);
    until("the look at the port", || alice.json(["status"])[0]["ports"][0]["state"] == "absent");
    assert!(warns(&alice));
    assert!(alice.run(["status"]).ok().out.contains(&missing));
    assert!(alice.run(["link", "ls"]).ok().out.contains(&missing));
    let id = alice.send(["Bob", "it waits"]);
    assert!(alice.run(["why", &id]).ok().out.contains(&missing));
    assert!(alice.run(["call", &uri, "--once"]).code(1).err.contains(&missing));
    // It comes, and is used at once.
    let cable = Cable::new(&folder.dir("cable"), Faults::default());
    std::os::unix::fs::symlink(folder.path("cable").join("a"), &path).unwrap();
    until("the port", || alice.json(["status"])[0]["ports"][0]["state"] != "absent");
    cable.until_carried(0, 0, 1, PATIENCE);
    alice.run(["link", "rm", &uri]).ok();
    assert!(alice.json(["status"])[0]["ports"].is_null());
}

#[test]
fn an_address_that_cannot_be_meant_is_refused_before_anything_is_kept() {
    let folder = Folder::new();
    let (alice, _bob) = folder.acquainted();
    for (wrong, word) in [
        ("serial:///dev/ttyUSB0?speed=9600#Bob", "rate, duplex"),
        ("serial:///dev/ttyUSB0?driver=morse#Bob", "driver"),
        ("serial+tcp://desk.example", "host:port"),
        ("serial:///dev/ttyUSB0#Carol", "Carol"),
    ] {
        let refused = alice.run(["link", "add", wrong]);
        assert!(refused.code == Some(2) || refused.code == Some(5), "{refused:?}");
        assert!(refused.err.contains(word), "{refused:?}");
    }
    assert!(
        alice.json(["link", "ls"]).is_empty() || alice.json(["link", "ls"])[0]["uri"].is_null()
    );
    let listening = alice.run(["daemon", "--no-lan", "--listen", "serial:///dev/ttyUSB0"]).code(2);
    assert!(listening.err.contains("it stands in peers"), "{}", listening.err);
}

/// The same line, reached over TCP as a terminal server passes it on.
#[test]
fn a_port_behind_a_terminal_server_is_as_good() {
    let folder = Folder::new();
    let (mut alice, mut bob) = folder.acquainted();
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = server.local_addr().unwrap();
    let carries = std::thread::spawn(move || {
        // Two who connect are the two ends.
        let ends = [0, 1].map(|_| server.accept().unwrap().0);
        let copy = |from: &std::net::TcpStream, to: &std::net::TcpStream| {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            std::thread::spawn(move || drop(std::io::copy(&mut from, &mut to)))
        };
        let ways = [copy(&ends[0], &ends[1]), copy(&ends[1], &ends[0])];
        ways.into_iter().for_each(|way| way.join().unwrap());
    });
    let uri = |name: &str| format!("serial+tcp://{at}?{FAST}#{name}");
    bob.start_daemon(&["--no-lan", "--peer", &uri("Alice")]);
    alice.start_daemon(&["--no-lan", "--peer", &uri("Bob")]);
    alice.run(["send", "Bob", "by terminal server", "--wait", "delivered"]).ok();
    for node in [&alice, &bob] {
        node.run(["down"]).ok();
    }
    carries.join().unwrap();
}

/// Hellos grow rare, and nothing is written about them.
#[test]
fn nobody_at_the_other_end_costs_nothing() {
    let folder = Folder::new();
    let (mut alice, _bob) = folder.acquainted();
    let cable = Cable::new(&folder.dir("cable"), Faults::default());
    alice.start_daemon(&["--no-lan", "--peer", &format!("{}#Bob", cable.address(0, FAST))]);
    cable.until_carried(0, 0, 1, PATIENCE);
    let log = folder.path("daemon.log");
    let lines = || std::fs::read_to_string(&log).unwrap().lines().count();
    let before = lines();
    // Hellos of 25 bytes, ever more slowly.
    let (begun, said) = (Instant::now(), cable.carried(0));
    cable.until_carried(0, said, 3 * 25, PATIENCE);
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(lines(), before, "{}", std::fs::read_to_string(&log).unwrap());
}

/// What may go over a port is said as for other links; the list of ports is read again at SIGHUP.
#[test]
fn rules_for_ports_hold_and_a_port_may_come_with_the_settings() {
    let folder = Folder::new();
    let (mut alice, mut bob) = folder.acquainted();
    let cable = Cable::new(&folder.dir("cable"), Faults::default());
    bob.start_daemon(&["--no-lan", "--peer", &format!("{}#Alice", cable.address(1, FAST))]);
    let settings = alice.home().join("config.toml");
    let before = std::fs::read_to_string(&settings).unwrap();
    let rule = "\n[[links]]\nfor = ['serial:']\nlongest = 4096\n";
    std::fs::write(&settings, format!("{before}{rule}")).unwrap();
    alice.start_daemon(&["--no-lan"]);
    assert!(alice.json(["status"])[0]["ports"].is_null());
    let peers = format!("peers = ['{}#Bob']", cable.address(0, FAST));
    let text = format!("{}{rule}", before.replace("peers = []", &peers));
    std::fs::write(&settings, text).unwrap();
    let daemon = rustix::process::Pid::from_child(alice.daemon());
    rustix::process::kill_process(daemon, rustix::process::Signal::HUP).unwrap();
    until("the link", || alice.json(["status"])[0]["ports"][0]["state"] == "open");
    let film = folder.file("film", &crate::streams::noise(1, 20_000)).display().to_string();
    let id = alice.send(["Bob", "see", "-f", &film]);
    alice.run(["send", "Bob", "after it", "--wait", "delivered"]).ok();
    let why = alice.run(["why", &id]).ok().out;
    assert!(why.contains("that link carries nothing so long"), "{why}");
}
