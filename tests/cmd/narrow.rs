//! What a contact costs on a narrow link: every byte through the pipe, both ways.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::Stdio,
};

use crate::node::{Folder, Node, of_type, until};

/// A message of 100 bytes, of the kind that people send.
const TEXT: &str = "Bridge at Mill Lane washed out. Take B4009 via Wexcombe, ask for Jo (blue van, 07:40). Radio ch 7 ok";

/// The lengths of the Noise messages in what went one way, each with its two bytes of length.
fn messages(path: &Path) -> Vec<usize> {
    let all = fs::read(path).unwrap_or_default();
    let (mut rest, mut found) = (&all[..], Vec::new());
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        found.push(2 + length);
        rest = behind.get(length..).unwrap_or_default();
    }
    assert_eq!(found.iter().sum::<usize>(), all.len(), "{} ends in a message", path.display());
    found
}

/// A record with the word that one bundle is kept, and nothing else. Whether the receipt makes it
/// into the same one is chance.
const SETTLED_BYTES: usize = 18 + 5;

/// Two who have written to each other over a pipe whose bytes are counted; the pipe's address.
fn met(folder: &Folder) -> (Node, Node, String) {
    let (mut alice, bob) = folder.acquainted();
    let uri = format!(
        "pipe:sh -c \"tee '{}' | '{}' --home '{}' daemon --stdio | tee '{}'\"#Bob",
        folder.path("up").display(),
        env!("CARGO_BIN_EXE_postrider"),
        bob.home().display(),
        folder.path("down").display(),
    );
    bob.send(["Alice", "I am here"]);
    alice.start_daemon(&[]);
    alice.run(["link", "add", &uri]).ok();
    alice.run(["send", "Bob", "So am I", "--wait", "delivered"]).ok();
    until("the first letter", || !alice.json(["inbox"]).is_empty());
    alice.run(["down"]).ok();
    alice.daemon().wait().unwrap();
    // The far end ends with its pipe, and gives its home back.
    bob.json(["inbox"]);
    (alice, bob, uri)
}

/// Alice's daemon, until what she sent before is delivered.
fn deliver(alice: &mut Node) {
    alice.start_daemon(&[]);
    until("delivery", || of_type(&alice.json(["queue"]), "bundle").is_empty());
    alice.run(["down"]).ok();
    alice.daemon().wait().unwrap();
}

/// The whole exchange is at most 600 bytes: both handshake messages, the message itself, and the
/// word that it is kept. The receipt comes back in the same contact, and costs some 60 bytes.
#[test]
fn a_message_to_a_known_neighbour_costs_at_most_600_bytes_on_a_pipe() {
    assert_eq!(TEXT.len(), 100);
    let folder = Folder::new();
    let (mut alice, bob, _) = met(&folder);
    alice.send(["Bob", TEXT]);
    deliver(&mut alice);
    let inbox = bob.json(["inbox"]);
    assert!(inbox.iter().any(|message| message["text"] == TEXT), "{inbox:?}");

    let (up, down) = (messages(&folder.path("up")), messages(&folder.path("down")));
    let message = up[0] + up[1] + down[0] + down[1].min(SETTLED_BYTES);
    let all: usize = up.iter().chain(&down).sum();
    println!("{up:?} up, {down:?} down: {message} B, {all} B with the receipt");
    assert!(message <= 600, "{message} bytes: {up:?} up, {down:?} down");
    assert!(all <= 675, "{all} bytes: {up:?} up, {down:?} down");
}

#[test]
fn a_recorded_first_message_gets_one_answer_and_no_link() {
    let folder = Folder::new();
    let (mut alice, bob, _) = met(&folder);
    alice.send(["Bob", TEXT]);
    deliver(&mut alice);
    let length = messages(&folder.path("up"))[0];
    let recorded = fs::read(folder.path("up")).unwrap();

    bob.send(["Alice", "for her alone"]);
    let mut far = bob.command(["daemon", "--stdio"]);
    let mut far = far.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = far.stdin.take().unwrap();
    stdin.write_all(&recorded[..length]).unwrap();
    let mut out = far.stdout.take().unwrap();
    let mut prefix = [0; 2];
    out.read_exact(&mut prefix).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(prefix))];
    out.read_exact(&mut answer).unwrap();
    // Who sends on what was recorded as well has the keys of another handshake.
    stdin.write_all(&recorded[length..]).unwrap();
    drop(stdin);
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    assert!(far.wait().unwrap().success());
    assert!(rest.is_empty(), "{} bytes behind the answer", rest.len());
    assert_eq!(of_type(&bob.json(["queue"]), "bundle").len(), 1);
}

/// A home that was made anew around the same key knows nobody, and nobody can know that.
#[test]
fn whoever_has_forgotten_a_neighbour_hears_its_signature_at_the_next_call() {
    let folder = Folder::new();
    let (mut alice, bob, counted) = met(&folder);
    fs::remove_dir_all(bob.home().join("spool")).unwrap();
    fs::remove_file(bob.home().join("contacts")).unwrap();
    alice.start_daemon(&[]);
    // Whoever is not let in sees the end of a command, not that of a part of it.
    alice.run(["link", "rm", &counted]).ok();
    let program = env!("CARGO_BIN_EXE_postrider");
    let uri = format!("pipe:{program} --home '{}' daemon --stdio#Bob", bob.home().display());
    alice.run(["link", "add", &uri]).ok();
    until("a link", || {
        of_type(&alice.json(["peers"]), "peer").iter().any(|peer| peer["up"] == true)
    });
}
