//! `share` and `get`: files on request, between two nodes with a stick or a wire.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::node::{Folder, Node, PATIENCE, in_both_modes, of_type, text, until, with_json};

/// What one bundle of a file holds.
const PART: u64 = 8 << 20;

in_both_modes! {
    what_is_shared_is_listed_and_taken_away
}

/// Bob's files.
fn files(folder: &Folder) -> std::path::PathBuf {
    let files = folder.dir("files");
    fs::create_dir(files.join("north")).unwrap();
    fs::write(files.join("plan.txt"), "the plan").unwrap();
    fs::write(files.join("north/map.pdf"), vec![7; 300_000]).unwrap();
    files
}

fn what_is_shared_is_listed_and_taken_away(folder: &Folder) {
    let bob = folder.node("Bob");
    let empty = bob.run(["share", "ls"]).ok();
    assert!(empty.out.contains("postrider share set"), "{}", empty.out);
    // The path is mine, and need not be absolute.
    files(folder);
    let set = ["share", "set", "maps", "files", "--for", "Alice, @medic", "--max", "1M"];
    let line = bob.json(set).remove(0);
    assert_eq!((&line["type"], &line["done"]), (&"share".into(), &"new".into()));
    assert_eq!((&line["for"], &line["list"]), (&json!(["Alice", "@medic"]), &true.into()));
    assert_eq!(line["path"], folder.path("files").display().to_string());
    assert_eq!(bob.json(set)[0]["done"], "same");
    let shown = bob.run(["share", "ls"]).ok().out;
    assert!(shown.contains("Alice, @medic") && shown.contains("1.0 MB"), "{shown}");
    let unsaid = bob.run(["share", "set", "gone", "nowhere", "--unlisted"]).ok().out;
    assert!(unsaid.contains("nobody may ask") && unsaid.contains("nowhere"), "{unsaid}");
    let listed = bob.json(["share", "ls"]);
    assert_eq!(of_type(&listed, "share").len(), 2);
    assert_eq!(bob.json(["share", "rm", "gone"])[0]["done"], "removed");
    bob.run(["share", "rm", "gone"]).code(5);
    bob.run(["share", "set", "Maps", "files"]).code(2);
    let file = bob.home().join("shares.toml");
    fs::write(&file, "[maps]\npath = '/x'\nhiden = true\n").unwrap();
    let wrong = bob.run(["share", "ls"]).code(2);
    assert!(wrong.err.contains("hiden") && wrong.err.contains("docs/files.md"), "{}", wrong.err);
}

/// Bob's daemon answers when it runs, and not before: so a stick goes there and back twice.
#[test]
fn a_file_comes_by_stick_from_a_node_that_answers_when_its_daemon_runs() {
    let folder = Folder::new();
    let (alice, mut bob) = folder.acquainted();
    files(&folder);
    bob.run(["share", "set", "maps", "files", "--for", "Alice"]).ok();
    let stick = folder.dir("stick");
    let asked = alice.run(["get", "Bob", "maps/plan.txt"]).ok().out;
    let id = asked.split_whitespace().nth(1).unwrap().to_owned();
    assert!(asked.contains(&format!("postrider get --resume {}", &id[..8])), "{asked}");
    let waits = alice.run(["get", "Bob", "maps/x", "--wait"]).code(7);
    assert!(waits.err.contains("no daemon runs"), "{}", waits.err);
    alice.toss(&stick);
    bob.start_daemon(&[]);
    bob.toss(&stick);
    let answered = |node: &Node| {
        of_type(&node.json(["log"]), "event").iter().filter(|it| it["what"] == "asked").count()
    };
    until("the answers", || answered(&bob) == 2);
    bob.toss(&stick);
    assert!(bob.run(["inbox"]).ok().out.contains("Nothing has arrived"));
    alice.run(["get", "--resume", &id[..6]]).code(7);
    alice.toss(&stick);
    let out = folder.dir("out");
    let saved = alice.run([
        "get".as_ref(),
        "--resume".as_ref(),
        id.as_ref(),
        "-o".as_ref(),
        out.as_os_str(),
    ]);
    assert!(saved.ok().out.contains("plan.txt"));
    assert_eq!(fs::read(out.join("plan.txt")).unwrap(), b"the plan");
    let mine = alice.json(["get", "--ls"]);
    let states: Vec<_> = of_type(&mine, "request").iter().map(|it| text(it, "state")).collect();
    assert_eq!(states, ["here", "refused"]);
    assert_eq!(of_type(&alice.json(["inbox"]), "message").len(), 1);
}

/// Alice and Bob with a daemon each, and a link.
fn linked(folder: &Folder) -> (Node, Node) {
    let (mut alice, mut bob) = folder.acquainted();
    bob.start_daemon(&["--listen", "tls://127.0.0.1:0", "--no-lan"]);
    alice.start_daemon(&["--no-lan"]);
    let uri = format!("tls://{}#Bob", listening(&bob));
    alice.run(["link", "add", &uri]).ok();
    (alice, bob)
}

fn listening(node: &Node) -> String {
    node.json(["up"])[0]["listening"][0].as_str().unwrap().to_owned()
}

#[test]
fn a_file_is_asked_for_waited_for_and_saved_over_a_wire() {
    let folder = Folder::new();
    let (alice, bob) = linked(&folder);
    files(&folder);
    bob.run(["share", "set", "maps", "files", "--for", "Alice", "--max", "300k"]).ok();
    let get =
        |args: &[&str]| alice.run(["get", "Bob"].iter().chain(args).chain(&["--timeout", "60s"]));
    let shares = get(&["--list"]).ok().out;
    assert!(shares.contains("maps/"), "{shares}");
    let objects = alice.run(with_json(["get", "Bob", "maps", "--list", "--wait"])).ok().objects();
    let listed = objects.last().unwrap();
    assert_eq!(
        listed["entries"][0],
        json!({"name":"north","kind":"directory","bytes":0,"mtime":listed["entries"][0]["mtime"]})
    );
    assert_eq!(listed["entries"][1]["bytes"], 8);

    let saved = get(&["maps/plan.txt"]).ok().out;
    assert!(saved.contains("plan.txt"), "{saved}");
    assert_eq!(fs::read(folder.path("plan.txt")).unwrap(), b"the plan");
    // A second time: nothing is sent, nothing is overwritten, and that is said.
    let again = get(&["maps/plan.txt"]).ok().out;
    assert!(again.contains("has not changed") && again.contains("plan (2).txt"), "{again}");
    assert!(again.contains("was there already"), "{again}");
    get(&["maps/plan.txt", "--range", "4-", "-o", "rest"]).ok();
    assert_eq!(fs::read(folder.path("rest")).unwrap(), b"plan");
    let objects = alice.run(with_json(["get", "Bob", "maps/north/*", "-o", "."])).ok().objects();
    assert_eq!(of_type(&objects, "saved").len(), 1);
    assert_eq!(fs::metadata(folder.path("map.pdf")).unwrap().len(), 300_000);

    assert!(get(&["maps/none"]).code(5).err.contains("Bob has no maps/none"));
    assert!(get(&["maps/north"]).code(12).err.contains("--list"));
    bob.run(["share", "set", "maps", "files", "--for", "Alice", "--max", "3"]).ok();
    let large = get(&["maps/plan.txt", "--again"]).code(12);
    assert!(large.err.contains("--range"), "{}", large.err);
    bob.run(["share", "set", "maps", "files", "--for", "Carol"]).ok();
    assert!(get(&["maps/plan.txt"]).code(4).err.contains("lets you ask for nothing"));
    alice.run(["get", "Bob"]).code(2);
    alice.run(["get", "Bob", "../x"]).code(2);
    alice.run(["get", "Nobody", "maps/x"]).code(5);
    alice.run(["get", "--resume", "abcd"]).code(5);
}

/// A wire between Alice and Bob that goes dead after so many bytes from Bob, and may be mended.
struct Wire {
    at: SocketAddr,
    bob: Arc<Mutex<String>>,
    /// Bytes from Bob that still pass.
    left: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
    /// It holds back what does not pass, and is not dead yet.
    holds: Arc<AtomicBool>,
    dead: Receiver<()>,
}

impl Wire {
    fn new(bob: String, bytes: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (tell, dead) = channel();
        let bob = Arc::new(Mutex::new(bob));
        let [left, passed] = [bytes, 0].map(|n| Arc::new(AtomicU64::new(n)));
        let holds = Arc::new(AtomicBool::new(false));
        let (to, may, count) = (Arc::clone(&bob), Arc::clone(&left), Arc::clone(&passed));
        let held = Arc::clone(&holds);
        thread::spawn(move || {
            for alice in listener.incoming().flatten() {
                let to = to.lock().unwrap().clone();
                let Ok(bob) = TcpStream::connect(to) else { continue };
                let (mut from, mut back) = (alice.try_clone().unwrap(), bob.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut back);
                    let _ = back.shutdown(Shutdown::Both);
                });
                let (may, count, tell) = (Arc::clone(&may), Arc::clone(&count), tell.clone());
                let held = Arc::clone(&held);
                thread::spawn(move || pass(bob, alice, &may, &count, (&held, &tell)));
            }
        });
        Self { at, bob, left, passed, holds, dead }
    }

    fn mend(&self, bob: String) {
        *self.bob.lock().unwrap() = bob;
        self.passed.store(0, Ordering::SeqCst);
        self.left.store(u64::MAX, Ordering::SeqCst);
    }
}

fn pass(
    mut bob: TcpStream,
    mut alice: TcpStream,
    left: &AtomicU64,
    passed: &AtomicU64,
    (holds, tell): (&AtomicBool, &Sender<()>),
) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(n @ 1..) = bob.read(&mut piece) {
        let n = n as u64;
        while holds.load(Ordering::SeqCst) && left.load(Ordering::SeqCst) < n {
            thread::sleep(Duration::from_millis(2));
        }
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(n)).is_err() {
            // Bob is about to be killed: what he has sent and nobody has is lost.
            let _ = tell.send(());
            let _ = bob.read(&mut [0]);
            break;
        }
        passed.fetch_add(n, Ordering::SeqCst);
        if alice.write_all(&piece[..usize::try_from(n).unwrap()]).is_err() {
            break;
        }
    }
    let _ = alice.shutdown(Shutdown::Both);
}

/// The source goes away at half and comes back: what is here is not sent again.
#[test]
fn a_file_whose_source_is_killed_at_half_goes_on_where_it_was() {
    const BYTES: u64 = 48 << 20;
    let folder = Folder::new();
    let (mut alice, mut bob) = folder.acquainted();
    let mut content = vec![0; usize::try_from(BYTES).unwrap()];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    let files = folder.dir("files");
    fs::write(files.join("film"), &content).unwrap();
    bob.run(["share", "set", "films", "files", "--for", "Alice"]).ok();
    bob.start_daemon(&["--listen", "tls://127.0.0.1:0", "--no-lan"]);
    let wire = Wire::new(listening(&bob), BYTES / 2);
    alice.start_daemon(&["--no-lan"]);
    alice.run(["link", "add", &format!("tls://{}#Bob", wire.at)]).ok();
    let asked = alice.json(["get", "Bob", "films/film"]).remove(0);
    let id = text(&asked, "id");
    wire.dead.recv_timeout(PATIENCE).unwrap();
    // What it sends later it must not have to seal anew.
    until("all is sealed", || has_answered(&bob));
    bob.kill_daemon();
    let state = || -> Value {
        let ended = alice.run(with_json(["get", "--ls"])).ok();
        of_type(&ended.objects(), "request")[0].clone()
    };
    assert_ne!(state()["state"], "here");
    assert!(!folder.path("film").exists());
    bob.start_daemon(&["--listen", "tls://127.0.0.1:0", "--no-lan"]);
    wire.mend(listening(&bob));
    alice.run(["get", "--resume", &id, "--wait", "--timeout", "60s", "-o", "film"]).ok();
    assert!(fs::read(folder.path("film")).unwrap() == content);
    let again = wire.passed.load(Ordering::SeqCst);
    // Two whole parts of 8 MiB at the least had come; of the third what had come is in its place, too.
    assert!(again < BYTES - (16 << 20) + (1 << 20), "{again} bytes came after the half");
    only(&folder.path("film"));
}

/// As above, and nobody waits for it to come back: what it did not send comes from somebody else.
#[test]
fn a_file_whose_source_is_killed_at_half_comes_from_another_holder() {
    const BYTES: u64 = 48 << 20;
    let folder = Folder::new();
    let (mut alice, mut bob) = folder.acquainted();
    let mut carol = folder.node("Carol");
    alice.meet(&carol);
    carol.meet(&alice);
    let mut content = vec![0; usize::try_from(BYTES).unwrap()];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    fs::write(folder.dir("files").join("film"), &content).unwrap();
    fs::write(folder.dir("more").join("film"), &content).unwrap();
    fs::write(folder.path("more/notes"), "Carol's").unwrap();
    for (node, dir) in [(&bob, "files"), (&carol, "more")] {
        node.run(["share", "set", "films", dir, "--for", "Alice"]).ok();
    }
    bob.start_daemon(&["--listen", "tls://127.0.0.1:0", "--no-lan"]);
    carol.start_daemon(&["--listen", "tls://127.0.0.1:0", "--no-lan"]);
    let bobs = Wire::new(listening(&bob), BYTES / 4);
    bobs.holds.store(true, Ordering::SeqCst);
    let carols = Wire::new(listening(&carol), u64::MAX);
    alice.start_daemon(&["--no-lan"]);
    for (name, wire) in [("Bob", &bobs), ("Carol", &carols)] {
        alice.run(["link", "add", &format!("tls://{}#{name}", wire.at)]).ok();
    }
    // Bob has none of that, and says so.
    let get = ["get", "Bob,Carol", "films/notes", "--timeout", "60s"];
    assert!(alice.run(get).ok().out.contains("asked") && folder.path("notes").exists());

    let before = carols.passed.load(Ordering::SeqCst);
    let asked = alice.json(["get", "Bob,Carol", "films/film"]).remove(0);
    // All of it is sealed; then half of it comes.
    until("Bob has answered", || has_answered(&bob));
    bobs.left.fetch_add(BYTES / 4, Ordering::SeqCst);
    bobs.holds.store(false, Ordering::SeqCst);
    bobs.dead.recv_timeout(PATIENCE).unwrap();
    bob.kill_daemon();
    let id = text(&asked, "id");
    alice.run(["get", "--resume", &id, "--wait", "--timeout", "60s", "-o", "film"]).ok();
    assert!(fs::read(folder.path("film")).unwrap() == content);
    let carol_sent = carols.passed.load(Ordering::SeqCst) - before;
    let sent = bobs.passed.load(Ordering::SeqCst) + carol_sent;
    assert!(sent <= BYTES + PART + (1 << 20), "{sent} bytes, of them {carol_sent} by Carol");
    let shown = of_type(&alice.json(["inbox"]), "message").len();
    assert_eq!(shown, 2, "the notes, and one film");
    only(&folder.path("film"));
}

#[test]
fn a_source_that_is_killed_while_it_answers_sends_no_part_twice() {
    const BYTES: u64 = 96 << 20;
    let folder = Folder::new();
    let (mut alice, mut bob) = folder.acquainted();
    let mut content = vec![0; usize::try_from(BYTES).unwrap()];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    fs::write(folder.dir("files").join("film"), &content).unwrap();
    bob.run(["share", "set", "films", "files", "--for", "Alice"]).ok();
    bob.start_daemon(&["--listen", "tls://127.0.0.1:0", "--no-lan"]);
    // A moment after its first part has left, while others are being sealed.
    let first = Wire::new(listening(&bob), PART / 2);
    alice.start_daemon(&["--no-lan"]);
    alice.run(["link", "add", &format!("tls://{}#Bob", first.at)]).ok();
    let asked = alice.json(["get", "Bob", "films/film"]).remove(0);
    first.dead.recv_timeout(PATIENCE).unwrap();
    bob.kill_daemon();
    let sealed = of_type(&bob.json(["queue", "ls"]), "bundle").len();
    assert!(sealed < 11, "it had sealed all of it already: {sealed} bundles");

    // Twice more, so that what is gone on with is gone on with.
    let mut passed = first.passed.load(Ordering::SeqCst);
    for bytes in [PART / 2, u64::MAX] {
        bob.start_daemon(&["--listen", "tls://127.0.0.1:0", "--no-lan"]);
        let wire = Wire::new(listening(&bob), bytes);
        alice.run(["link", "add", &format!("tls://{}#Bob", wire.at)]).ok();
        if bytes < u64::MAX {
            wire.dead.recv_timeout(PATIENCE).unwrap();
            bob.kill_daemon();
        } else {
            let id = text(&asked, "id");
            alice.run(["get", "--resume", &id, "--wait", "--timeout", "60s", "-o", "film"]).ok();
        }
        passed += wire.passed.load(Ordering::SeqCst);
    }
    assert!(fs::read(folder.path("film")).unwrap() == content);
    assert!(passed <= BYTES + 2 * PART + (2 << 20), "{passed} bytes");
    assert_eq!(of_type(&alice.json(["inbox"]), "message").len(), 1);
}

/// A source that is away for good before it has sealed all that it sends has said first what that is: what
/// it sent need not come from somebody else. `POSTRIDER_GET_MIB=1024` has it go away at half of so much.
#[test]
fn what_a_source_sent_before_it_had_sealed_all_is_not_sent_by_another_holder() {
    let mib = std::env::var("POSTRIDER_GET_MIB").ok().map(|mib| mib.parse::<u64>().unwrap());
    let before_all_was_sealed = match mib {
        // A moment after its first part has left, while others are being sealed.
        None => [128, 384].into_iter().any(|mib| another_sends_the_rest(mib << 20, PART * 9 / 8)),
        Some(mib) => another_sends_the_rest(mib << 20, mib << 19),
    };
    assert!(before_all_was_sealed, "each time all of it was sealed when its source went away");
}

/// Whether a source of so many bytes that goes away after some had not sealed all of them by then.
fn another_sends_the_rest(length: u64, dies: u64) -> bool {
    let folder = Folder::new();
    let (mut alice, mut bob) = folder.acquainted();
    let mut carol = folder.node("Carol");
    alice.meet(&carol);
    carol.meet(&alice);
    let mut content = vec![0; usize::try_from(length).unwrap()];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    for (node, dir) in [(&bob, "files"), (&carol, "more")] {
        fs::write(folder.dir(dir).join("film"), &content).unwrap();
        node.run(["share", "set", "films", dir, "--for", "Alice"]).ok();
    }
    seal_with_one_thread(&bob);
    bob.start_daemon(&["--listen", "tls://127.0.0.1:0", "--no-lan"]);
    carol.start_daemon(&["--listen", "tls://127.0.0.1:0", "--no-lan"]);
    let bobs = Wire::new(listening(&bob), dies);
    let carols = Wire::new(listening(&carol), u64::MAX);
    alice.start_daemon(&["--no-lan"]);
    for (name, wire) in [("Bob", &bobs), ("Carol", &carols)] {
        alice.run(["link", "add", &format!("tls://{}#{name}", wire.at)]).ok();
    }
    let asked = alice.json(["get", "Bob,Carol", "films/film"]).remove(0);
    bobs.dead.recv_timeout(PATIENCE).unwrap();
    bob.kill_daemon();
    let sealed = of_type(&bob.json(["queue", "ls"]), "bundle").len();
    if (sealed as u64) >= length / PART {
        return false;
    }
    let came = (dies - PART / 8) / PART;
    until("what came is a part of something", || {
        let line = of_type(&alice.json(["get", "--ls"]), "request")[0].clone();
        line["parts"][0].as_u64() >= Some(came - came / 16)
    });
    let id = text(&asked, "id");
    alice.run(["get", "--resume", &id, "--wait", "--timeout", "600s", "-o", "film"]).ok();
    assert!(fs::read(folder.path("film")).unwrap() == content);
    let sent = [&bobs, &carols].map(|wire| wire.passed.load(Ordering::SeqCst));
    println!("{length} bytes: {sent:?}, {} in all", sent[0] + sent[1]);
    assert!(sent[0] + sent[1] <= length + PART + (2 << 20) + length / 500, "{sent:?} bytes");
    true
}

/// Whether all that a node was asked for is sealed.
fn has_answered(node: &Node) -> bool {
    node.json(["log"]).iter().any(|it| it["what"] == "asked" && it["detail"] == "files")
}

#[test]
fn a_file_that_changed_while_its_source_was_away_comes_as_it_is_now() {
    // A source that had sealed all of it when it was killed has answered: then a longer one.
    let before_all_was_sealed = [64, 256, 512].into_iter().any(changes_while_its_source_is_away);
    assert!(before_all_was_sealed, "each time all of it was sealed when its source was killed");
}

/// Whether the source was killed before it had sealed all of a film of so many MiB.
fn changes_while_its_source_is_away(mib: usize) -> bool {
    let folder = Folder::new();
    let (mut alice, mut bob) = folder.acquainted();
    let mut content = vec![0; mib << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    let film = folder.dir("files").join("film");
    fs::write(&film, &content).unwrap();
    bob.run(["share", "set", "films", "files", "--for", "Alice"]).ok();
    seal_with_one_thread(&bob);
    bob.start_daemon(&["--listen", "tls://127.0.0.1:0", "--no-lan"]);
    // When half of its first part has left.
    let first = Wire::new(listening(&bob), PART / 2);
    alice.start_daemon(&["--no-lan"]);
    alice.run(["link", "add", &format!("tls://{}#Bob", first.at)]).ok();
    let asked = alice.json(["get", "Bob", "films/film"]).remove(0);
    first.dead.recv_timeout(PATIENCE).unwrap();
    bob.kill_daemon();
    let sealed = of_type(&bob.json(["queue", "ls"]), "bundle").len();
    println!("{mib} MiB: {sealed} bundles had been sealed");
    let was = content[5];
    content[5] ^= 1;
    fs::write(&film, &content).unwrap();
    bob.start_daemon(&["--listen", "tls://127.0.0.1:0", "--no-lan"]);
    alice.run(["link", "add", &format!("tls://{}#Bob", listening(&bob))]).ok();
    let id = text(&asked, "id");
    alice.run(["get", "--resume", &id, "--wait", "--timeout", "300s", "-o", "film"]).ok();
    let came = fs::read(folder.path("film")).unwrap();
    let early = (sealed as u64) < (content.len() as u64).div_ceil(PART);
    if !early && came[5] == was {
        content[5] = was;
    }
    assert!(came == content, "of {mib} MiB {sealed} bundles had been sealed");
    early
}

/// So that it takes its time.
fn seal_with_one_thread(node: &Node) {
    let config = node.home().join("config.toml");
    let settings = fs::read_to_string(&config).unwrap();
    fs::write(&config, settings.replace("workers = 0", "workers = 1")).unwrap();
}

/// Nothing unfinished is left beside what was saved.
fn only(file: &Path) {
    let beside = fs::read_dir(file.parent().unwrap()).unwrap();
    let names: Vec<_> = beside.map(|it| it.unwrap().file_name()).collect();
    assert!(!names.iter().any(|it| it.to_string_lossy().starts_with(".postrider-")), "{names:?}");
}
