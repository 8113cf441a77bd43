//! A disk that takes no more, in the middle of mail that comes in over a link.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;

use crate::node::{Folder, Node, of_type, text, until};

/// More than one group of what comes in, so that an earlier group can fail while a later succeeds.
const MESSAGES: usize = 400;
/// A part of what they take.
const ROOM_BYTES: u64 = 500 << 10;

/// The largest file that the daemon may have from now on.
fn limit(node: &mut Node, bytes: u64) {
    let limit = Rlimit { current: Some(bytes), maximum: None };
    prlimit(Some(Pid::from_child(node.daemon())), Resource::Fsize, limit).unwrap();
}

#[test]
fn what_a_full_disk_could_not_keep_is_not_answered_as_kept() {
    let folder = Folder::new();
    let mut nodes = ["Alice", "Bob", "Carol"].map(|name| folder.node(name));
    for one in &nodes {
        nodes.iter().filter(|other| other.home() != one.home()).for_each(|other| one.meet(other));
    }
    let [alice, bob, carol] = &mut nodes;
    let noise = |n: usize| -> String {
        let bytes = (0..300_u16).map(|m| blake3::hash(format!("{n} {m}").as_bytes()).to_hex());
        bytes.map(|hex| hex.to_string()).collect()
    };
    let line =
        |n: usize| json!({"to": "Carol", "text": format!("{n} {}", noise(n))}).to_string() + "\n";
    let lines: String = (0..MESSAGES).map(line).collect();
    alice.run_with(["send", "--batch"], lines.as_bytes()).ok();

    bob.start_limitable_daemon(&["--listen", "tls://127.0.0.1:0"]);
    limit(bob, ROOM_BYTES);
    let way_to = |bob: &Node| {
        let up = bob.json(["up"]).remove(0);
        format!("tls://{}#Bob", up["listening"][0].as_str().unwrap())
    };
    alice.start_daemon(&["--peer", &way_to(bob)]);
    until("trouble at Bob's", || {
        of_type(&bob.json(["log"]), "event").iter().any(|event| event["what"] == "trouble")
    });

    // And without any warning he is gone, and comes back with room.
    bob.kill_daemon();
    bob.start_limitable_daemon(&["--listen", "tls://127.0.0.1:0"]);
    let way = way_to(bob);
    alice.run(["link", "add", &way]).ok();
    carol.start_daemon(&["--peer", &way]);
    let number = |text: &String| text.split(' ').next().unwrap().parse().unwrap();
    let came = || -> Vec<String> {
        of_type(&carol.json(["inbox"]), "message").iter().map(|m| text(m, "text")).collect()
    };
    until("everything", || came().len() >= MESSAGES);
    let mut numbers: Vec<usize> = came().iter().map(number).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..MESSAGES), "each once");
}
