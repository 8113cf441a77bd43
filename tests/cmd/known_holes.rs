//! Holes that others had, tried here: each test has the name of where it was, and the built command is
//! what is attacked. docs/threat-model.md has the whole list.

use std::{
    fs,
    path::{Path, PathBuf},
};

use postrider::home::Home;
use postrider_base::{
    Lifetime, Niceness,
    bundle::{Sequence, SmallBundle},
    compose::{Letter, Padding, Privacy, To, seal},
    packet::{Body, Packet, Request, TEXT_MAX, Tail, compress_part},
    wire,
};
use serde_bytes::Bytes;
use serde_json::Value;

use crate::node::{Folder, Node, of_type, text, until};

/// Whoever has a key seals what they like; it comes as a file.
struct Mallory<'a> {
    folder: &'a Folder,
    of: &'a Node,
    to: &'a Node,
    counter: u64,
    created: u64,
}

impl<'a> Mallory<'a> {
    fn new(folder: &'a Folder, of: &'a Node, to: &'a Node) -> Self {
        Self { folder, of, to, counter: 0, created: 0 }
    }

    /// A bundle with these bytes as its packet.
    fn bundle(&mut self, packet: &[u8]) -> PathBuf {
        self.counter += 1;
        let (of, to) = (Home::open(self.of.home()).unwrap(), Home::open(self.to.home()).unwrap());
        let letter = Letter {
            author: &of.key.node,
            to: To::One(to.card.node, *to.card.seal_key()),
            sequence: Sequence { epoch: 66, counter: self.counter },
            created: self.created,
            lifetime: Lifetime::DEFAULT,
            nice: Niceness::NORMAL,
            privacy: Privacy::Open,
            padding: Padding::Class,
        };
        let sealed = seal(&letter, packet, &[7; 32]).unwrap();
        let bytes = if sealed.head.header().is_small() {
            SmallBundle { head: sealed.head, payload: sealed.payload }.encode()
        } else {
            [sealed.head.encode(), sealed.payload].concat()
        };
        self.folder.file(&format!("bundle-{}", self.counter), &bytes)
    }

    fn mail(&mut self, text: &str) -> PathBuf {
        self.bundle(&Packet { body: Body::Mail(text.into()), tail: Tail::default() }.encode())
    }
}

/// Whether a node takes what is in a file.
fn takes(node: &Node, file: &Path) -> bool {
    let ended = node.run(["bundle".as_ref(), "import".as_ref(), file.as_os_str()]);
    assert!(ended.code.is_some(), "it was killed: {}", ended.err);
    assert!(!ended.err.contains("panicked"), "{}", ended.err);
    ended.code == Some(0)
}

fn texts(node: &Node) -> Vec<String> {
    of_type(&node.json(["inbox"]), "message").iter().map(|it| text(it, "text")).collect()
}

/// Bytes of all files below a directory.
fn bytes_in(dir: &Path) -> u64 {
    fs::read_dir(dir).unwrap().flatten().fold(0, |sum, entry| {
        let meta = entry.metadata().unwrap();
        sum + if meta.is_dir() { bytes_in(&entry.path()) } else { meta.len() }
    })
}

/// Hole 10, Bridgefy, 2020: one message that unpacks to very much ended every node that it reached.
#[test]
fn bridgefy_2020_a_bomb_ends_no_node_and_fills_no_disk() {
    let folder = Folder::new();
    let (mallory, mut bob) = folder.acquainted();
    bob.start_daemon(&[]);
    let mut mallory = Mallory::new(&folder, &mallory, &bob);
    let zeros = compress_part(&vec![0; 60 << 20]).unwrap();
    let stored = zeros.len() as u64;
    for plain in [1_u64, 1 << 20, u64::MAX] {
        let part = (5_u8, (Bytes::new(&[3; 16]), 0_u32, stored, plain));
        let bomb = mallory.bundle(&[&wire::encode(&part)[..], &zeros].concat());
        assert!(!takes(&bob, &bomb), "a part of {plain} bytes that has 60 MiB");
    }
    let inbox = bob.home().join("spool/inbox");
    let kept = if inbox.exists() { bytes_in(&inbox) } else { 0 };
    assert!(kept < 2 << 20, "{kept} bytes are left of what was refused");
    let honest = mallory.mail("still here");
    assert!(takes(&bob, &honest));
    assert_eq!(texts(&bob), ["still here"]);
}

/// Hole 17, Briar, 2023: a message that was too long ended the app, and again whenever it was started.
#[test]
fn briar_2023_a_message_that_is_too_long_ends_nothing_now_or_at_the_next_start() {
    let folder = Folder::new();
    let (mallory, mut bob) = folder.acquainted();
    bob.start_daemon(&[]);
    let mut mallory = Mallory::new(&folder, &mallory, &bob);
    let long = |bytes: usize| wire::encode(&(0_u8, Bytes::new(&vec![b'a'; bytes])));
    for bytes in [TEXT_MAX + 1, 8 << 20] {
        let refused = mallory.bundle(&long(bytes));
        assert!(!takes(&bob, &refused), "{bytes}");
    }
    let longest = mallory.bundle(&long(TEXT_MAX));
    assert!(takes(&bob, &longest), "the longest that may be");
    for _ in 0..2 {
        bob.kill_daemon();
        bob.start_daemon(&[]);
        assert_eq!(texts(&bob).len(), 1);
    }
    assert_eq!(text(&bob.json(["status"])[0], "health"), "ok");
}

/// Hole 18, Syncthing, CVE-2021-21404: a length that cannot be ended the relay.
#[test]
fn syncthing_cve_2021_21404_a_length_that_cannot_be_ends_nothing() {
    let folder = Folder::new();
    let (alice, mut bob) = folder.acquainted();
    bob.start_daemon(&[]);
    alice.send(["Bob", "hi"]);
    let whole = alice.run(["pack"]).ok().bytes;
    // Behind the magic, the kind and what changes per hop stands how long the head is.
    for wrong in [[0xff, 0xff], [0x80, 0], [0x7f, 0xff], [0, 0]] {
        let mut spoilt = whole.clone();
        spoilt[10..12].copy_from_slice(&wrong);
        let ended = bob.run_with(["unpack"], &spoilt).code(11);
        assert!(!ended.err.contains("panicked"), "{}", ended.err);
    }
    bob.run_with(["unpack"], &whole).ok();
    assert_eq!(texts(&bob), ["hi"]);
}

/// Hole 20, croc, GHSA-ppjh-xp5v-46wc: a new path as `.ssh/authorized_keys` was made in the home of whoever
/// took the files. Its CVE-2023-43616: what was there was replaced.
#[test]
fn croc_ghsa_ppjh_xp5v_46wc_a_directory_from_outside_never_becomes_one_that_programs_obey() {
    let folder = Folder::new();
    let (mallory, bob) = folder.acquainted();
    let evil = folder.dir("evil");
    for name in [".ssh/authorized_keys", ".config/autostart/x.desktop", ".bashrc", "notes.txt"] {
        fs::create_dir_all(evil.join(name).parent().unwrap()).unwrap();
        fs::write(evil.join(name), "mallory's").unwrap();
    }
    let id = mallory.send([
        "Bob".as_ref(),
        "-f".as_ref(),
        evil.join(".ssh").as_os_str(),
        "-f".as_ref(),
        evil.join(".config").as_os_str(),
        "-f".as_ref(),
        evil.join(".bashrc").as_os_str(),
        "-f".as_ref(),
        evil.join("notes.txt").as_os_str(),
    ]);
    let stick = folder.dir("stick");
    mallory.toss(&stick);
    bob.toss(&stick);
    // Named before anything is made.
    let shown = bob.run(["inbox", "read", &id]).ok().out;
    assert!(shown.contains("authorized_keys"), "{shown}");
    let home = folder.dir("home");
    fs::write(home.join("notes.txt"), "mine").unwrap();
    bob.run(["inbox".as_ref(), "save".as_ref(), id.as_ref(), home.as_os_str()]).ok();
    for obeyed in [".ssh", ".config", ".bashrc"] {
        assert!(!home.join(obeyed).exists(), "{obeyed} was made");
    }
    assert_eq!(fs::read(home.join("notes.txt")).unwrap(), b"mine");
    assert!(bytes_in(&home) > 30, "all of it was saved, under other names");
}

/// Hole 20, croc, GHSA-7g3v: a secret among the arguments is read by whoever else is on the machine.
#[test]
fn croc_ghsa_7g3v_no_secret_is_an_argument_or_in_the_environment() {
    let folder = Folder::new();
    let (alice, mut bob) = folder.acquainted();
    bob.start_daemon(&["--listen", "tls://127.0.0.1:0", "--no-lan"]);
    let key = fs::read(bob.home().join("key")).unwrap();
    let of_key: Vec<String> = String::from_utf8_lossy(&key)
        .split_whitespace()
        .filter(|word| word.len() > 30)
        .map(ToOwned::to_owned)
        .collect();
    assert!(!of_key.is_empty(), "the key is a text");
    let process = bob.daemon().id();
    for place in ["cmdline", "environ"] {
        let shown = fs::read(format!("/proc/{process}/{place}")).unwrap();
        let shown = String::from_utf8_lossy(&shown).into_owned();
        assert!(shown.contains("postrider") || place == "environ", "{shown}");
        assert!(of_key.iter().all(|word| !shown.contains(word)), "{place}");
    }
    // Nor is there an option that would take one.
    for verb in ["init", "key", "id", "add", "daemon", "up", "send", "get", "run", "link"] {
        let help = alice.run([verb, "--help"]).ok().out.to_lowercase();
        for word in ["<passphrase", "<password", "<secret", "--password", "--passphrase", "--seed"]
        {
            assert!(!help.contains(word), "{verb}: {word}");
        }
    }
}

/// Hole 21, NNCP, CVE-2025-60020: `../../` in what is asked for, and in the names of files. Also 19,
/// Syncthing's CVE-2017-1000420: a link that leads out.
#[test]
fn nncp_cve_2025_60020_a_request_cannot_climb_out() {
    let folder = Folder::new();
    let (alice, mut bob) = folder.acquainted();
    let files = folder.dir("files");
    fs::create_dir(files.join("open")).unwrap();
    fs::write(files.join("open/plan.txt"), "the plan").unwrap();
    fs::write(files.join("secret"), "a secret").unwrap();
    let secret = files.join("secret");
    std::os::unix::fs::symlink(&secret, files.join("open/link")).unwrap();
    std::os::unix::fs::symlink(&files, files.join("open/up")).unwrap();
    bob.run(["share", "set", "maps", "files/open", "--for", "Alice"]).ok();
    bob.start_daemon(&[]);
    let mut mallory = Mallory::new(&folder, &alice, &bob);
    // What our own command would not even ask.
    for wrong in ["..", "../secret", "../../secret", "/etc/passwd", ".", ""] {
        let path = ["maps", wrong, "secret"].map(ToOwned::to_owned).to_vec();
        let get = Request::Get { path: path.clone(), glob: None, range: None, known: vec![] };
        let list = Request::List { path: path.clone(), glob: None, after: None };
        let rest = Request::Rest { path, bytes: 8, blake3: [0; 32], ranges: vec![(0, 1)] };
        for request in [get, list, rest] {
            let body = Body::Request(Box::new(request));
            let asked = mallory.bundle(&Packet { body, tail: Tail::default() }.encode());
            assert!(!takes(&bob, &asked), "{wrong}");
        }
    }
    // And what can be said, and leads out by a link.
    let stick = folder.dir("stick");
    let ids: Vec<String> = ["maps/link", "maps/up/secret", "maps/plan.txt"]
        .iter()
        .map(|path| text(&alice.json(["get", "Bob", path])[0], "id"))
        .collect();
    let lines = || {
        alice.toss(&stick);
        bob.toss(&stick);
        ids.iter()
            .map(|id| {
                let ls = alice.json(["get", "--ls"]);
                let line = of_type(&ls, "request").into_iter().find(|it| it["id"] == **id).cloned();
                line.unwrap()
            })
            .collect::<Vec<Value>>()
    };
    until("the answers", || {
        lines().iter().all(|line| line["state"] == "refused" || line["state"] == "here")
    });
    let states: Vec<_> = lines().iter().map(|line| text(line, "state")).collect();
    assert_eq!(states, ["refused", "refused", "here"]);
}

/// Hole 25, MeshCore #1551, #1889, #2834: what a clock says was what kept old mail out, so a clock that was
/// wrong kept good mail out. wadamesh #374: a clock in the year 2069.
#[test]
fn meshcore_1551_no_clock_of_a_sender_loses_mail_or_lets_it_in_twice() {
    let folder = Folder::new();
    let (alice, bob) = folder.acquainted();
    let mut sender = Mallory::new(&folder, &alice, &bob);
    let mut sent = Vec::new();
    for (n, created) in
        [3_124_224_000, 1_700_000_000, 0, 1, 1 << 33, 1_600_000_000].into_iter().enumerate()
    {
        sender.created = created;
        sent.push(sender.mail(&format!("{n}")));
    }
    for file in sent.iter().chain(sent.iter().rev()) {
        takes(&bob, file);
    }
    let mut shown = texts(&bob);
    shown.sort();
    assert_eq!(
        shown,
        ["0", "1", "2", "3", "4", "5"],
        "each once, whatever its sender's clock says"
    );
}

/// Hole 28, Salt, CVE-2020-11651: whoever reached the port had commands run. CVE-2020-16846: what they said
/// went through a shell.
#[test]
fn salt_cve_2020_11651_and_16846_nobody_unnamed_runs_anything_and_no_shell_reads_an_argument() {
    let folder = Folder::new();
    let (alice, mut bob) = folder.acquainted();
    let mallory = folder.node("Mallory");
    mallory.meet(&bob);
    bob.meet(&mallory);
    let allow = ["allow", "set", "say", "--for", "Alice", "--best-effort"];
    bob.run(allow.iter().chain(&["--", "/bin/echo", "{word:text(1000)}"])).ok();
    bob.start_daemon(&[]);
    let stick = folder.dir("stick");
    let owned = folder.path("owned");
    let hostile =
        format!("x; touch {0} $(touch {0}) `touch {0}` && touch {0} | touch {0}", owned.display());
    let of_mallory = mallory.json(["run", "Bob", "--no-stdin", "--", "say", "mallory was here"]);
    let of_mallory = text(&of_mallory[0], "id");
    let job = text(&alice.json(["run", "Bob", "--no-stdin", "--", "say", &hostile])[0], "id");
    let state = |node: &Node, id: &str| text(&node.json(["job", "show", id])[0], "state");
    until("the answers", || {
        for node in [&mallory, &alice, &bob, &alice, &mallory] {
            node.toss(&stick);
        }
        state(&alice, &job) == "exited" && state(&mallory, &of_mallory) != "queued"
    });
    // One word, as it was said.
    assert_eq!(alice.run(["job", "log", &job]).ok().out, format!("{hostile}\n"));
    assert!(!owned.exists(), "a shell has read it");
    // To whom nothing is allowed a handle is not even there.
    let refused = mallory.json(["job", "show", &of_mallory]).remove(0);
    assert!(["refused", "unknown-handle"].contains(&&*text(&refused, "state")), "{refused}");
    let out = mallory.run(["job", "log", &of_mallory]);
    assert!(!out.out.contains("mallory was here"), "{}", out.out);
}

/// Hole 31, rncp and rnx: `-n` takes what anybody sends and runs what anybody says.
#[test]
fn rncp_and_rnx_no_option_takes_from_or_runs_for_everybody_at_once() {
    let folder = Folder::new();
    let node = folder.node("Alice");
    for verb in ["daemon", "up", "toss", "unpack"] {
        let help = node.run([verb, "--help"]).ok().out;
        for word in ["--no-auth", "--allow-all", "--accept-all", "--anyone", "--trust-all", "-n,"] {
            assert!(!help.contains(word), "{verb}: {word}");
        }
        node.run([verb, "-n"]).code(2);
    }
    // Nothing is shared and nothing is run unless somebody is named, and `*` says what it means.
    let line = node.json(["allow", "set", "date", "--", "/bin/date"]).remove(0);
    assert!(line["warnings"].to_string().contains("nobody"), "{line}");
    let line = node.json(["allow", "set", "date", "--for", "*", "--", "/bin/date"]).remove(0);
    assert!(line["warnings"].to_string().contains("anybody"), "{line}");
}
