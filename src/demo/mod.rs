//! `postrider demo`: the main job, on real directories, as a short story.
//!
//! Alice and Bob never meet. Sam, who knows neither, carries a stick between them. A message and a
//! 64 MiB file go one way, the receipts the other. Then the two have a wire for a while.
//!
//! `radio` is another story, on simulated `air`.

pub mod air;
pub mod radio;

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{runtime::Runtime, sync::broadcast::Receiver, time::timeout};

use crate::{
    api,
    daemon::{Daemon, DaemonOptions, Happening},
    desk::{
        AddRequest, Desk, Failure, FailureKind, InitRequest, SendRequest, Silent, TossDirection,
        TossRequest, reply::Tossed,
    },
    home::{Config, replace},
};

/// The file that travels.
const FILE_BYTES: u64 = 64 << 20;
const TEXT: &str = "We are at the school, all safe. The map is in the file.";
/// Longer than a message takes over any loopback.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the demonstration in a temporary folder, which is removed afterwards.
pub fn run(out: &mut dyn Write) -> Result<(), Failure> {
    let folder = Folder::new()?;
    let mut story = Story { out, began: Instant::now() };
    story.tell("Alice and Bob never meet. Sam, whom neither knows, carries a stick.")?;
    story.tell("")?;
    let [alice, bob, sam] = ["Alice", "Bob", "Sam"].map(|name| node(&folder.0, name));
    let (alice, bob, sam) = (alice?, bob?, sam?);
    for (desk, other) in [(&alice, &bob), (&bob, &alice)] {
        desk.add(&AddRequest { card: other.home().card.clone(), name: None })?;
    }
    story.step("Alice and Bob have each other's cards; Sam has nobody's")?;

    let original = folder.0.join("map.bin");
    write_noise(&original)?;
    let mail = alice.send(&message(Some(TEXT), vec![]), &Silent)?;
    story.step(&format!("Alice writes to Bob: durable as {}", short(&mail.id)))?;
    let file = alice.send(&message(None, vec![original.clone()]), &Silent)?;
    story.step(&format!(
        "Alice sends a file of 64 MiB: sealed and durable as {}",
        short(&file.id)
    ))?;

    let stick = folder.0.join("stick");
    fs::create_dir(&stick).map_err(|error| Failure::file("create", &stick, error))?;
    let tossed = toss(&alice, &stick)?;
    story.step(&format!("Alice tosses onto the stick: {} bundles go out", tossed.out))?;
    let tossed = toss(&sam, &stick)?;
    story
        .step(&format!("Sam tosses: carries {} bundles and can read none of them", tossed.taken))?;
    check(tossed.messages.is_empty(), "Sam must read nothing")?;
    nobody_reads(&folder.0.join("Sam"), &stick)?;
    story.step("searched every byte of the stick and of Sam's disk: no text, no file name")?;

    // The stick is lost. Sam has copies, and another stick.
    let second = folder.0.join("second-stick");
    fs::create_dir(&second).map_err(|error| Failure::file("create", &second, error))?;
    toss(&sam, &second)?;
    story.step("Sam loses the stick, and tosses onto another one")?;
    let tossed = toss(&bob, &second)?;
    check(tossed.messages.len() == 2, "Bob must have two messages")?;
    story.step(&format!("Bob tosses: {} messages for him", tossed.messages.len()))?;
    let read = bob.read_message(&mail.id, &Silent)?;
    check(read.text == TEXT && read.from == "Alice", "the text must be Alice's")?;
    story.step(&format!("Bob reads: {}: {:?}", read.from, read.text))?;
    let saved = bob.save_message(&file.id, &folder.0, &Silent)?;
    let saved = saved.first().map(|saved| PathBuf::from(&saved.path)).unwrap_or_default();
    check(hash(&saved)? == hash(&original)?, "the file must be the same")?;
    story.step("Bob saves the file: every byte is the same (BLAKE3)")?;

    let again = toss(&bob, &second)?;
    check(again.messages.is_empty(), "nothing may be shown twice")?;
    toss(&sam, &second)?;
    let left = sam.status(&Silent)?;
    check(left.carried == 0, "Sam's copies must be free")?;
    story.step("Bob's receipts ride back with Sam, whose copies are freed by them")?;
    let tossed = toss(&alice, &second)?;
    check(tossed.delivered.len() == 2, "both messages must be ticked")?;
    for id in [&mail.id, &file.id] {
        check(alice.sent_state(id, &Silent)?.state == "delivered", "a tick is missing")?;
    }
    story.step(
        "Alice tosses: both messages are delivered, proven by receipts only Bob could make",
    )?;
    check(alice.status(&Silent)?.out == 0, "Alice's spool must be empty")?;
    story.tell("")?;
    over_a_wire(&mut story, &Arc::new(alice), &Arc::new(bob))?;
    story.tell("")?;
    story.tell(
        "All of it on real files and sockets, sealed, signed, synced. Try it by hand: README.md",
    )
}

/// The same two, with a daemon each.
fn over_a_wire(story: &mut Story<'_>, alice: &Arc<Desk>, bob: &Arc<Desk>) -> Result<(), Failure> {
    let runtime = Runtime::new().map_err(|error| fault("no runtime").because(error))?;
    let listen = "tls://127.0.0.1:0".parse().map_err(|_| fault("no address"))?;
    let options = DaemonOptions { listen: vec![listen], ..DaemonOptions::default() };
    let at_bob = Daemon::start(Arc::clone(bob), &options, &runtime)?;
    let to = at_bob.listening().first().ok_or_else(|| fault("nobody listens"))?;
    let peers = vec![format!("tls://{to}#Bob")];
    let options = DaemonOptions { peers, ..DaemonOptions::default() };
    let at_alice = Daemon::start(Arc::clone(alice), &options, &runtime)?;
    let mut alice_hears = at_alice.node().board.listen();
    let mut bob_hears = at_bob.node().board.listen();
    story.step("Now there is a wire: two daemons on loopback, TLS between their keys")?;

    let question = message(Some("Did you get the map?"), vec![]);
    let begun = Instant::now();
    let asked = alice.send(&question, &Silent)?.id;
    until(&runtime, &mut bob_hears, "message", &asked, PATIENCE)?;
    story.step(&format!("Alice asks; Bob has it {} ms later", begun.elapsed().as_millis()))?;
    let answer = SendRequest {
        to: "Alice".into(),
        reply_to: api::bundle_id(&asked),
        ..message(Some("Yes. On our way."), vec![])
    };
    let begun = Instant::now();
    let answered = bob.send(&answer, &Silent)?.id;
    until(&runtime, &mut alice_hears, "message", &answered, PATIENCE)?;
    story.step(&format!("Bob answers; Alice has it {} ms later", begun.elapsed().as_millis()))?;
    let read = alice.read_message(&answered, &Silent)?;
    check(read.text == "Yes. On our way." && read.from == "Bob", "the answer must be Bob's")?;
    until(&runtime, &mut bob_hears, "delivered", &answered, PATIENCE)?;
    story.step("both durable before they were shown, and the receipts are back too")?;
    runtime.block_on(async {
        at_alice.stop().await;
        at_bob.stop().await;
    });
    Ok(())
}

/// Waits for something to happen to a message.
fn until(
    runtime: &Runtime,
    heard: &mut Receiver<Happening>,
    what: &str,
    id: &str,
    patience: Duration,
) -> Result<(), Failure> {
    let wait = async {
        while let Ok(happening) = heard.recv().await {
            if happening.what == what && happening.id.as_deref() == Some(id) {
                return true;
            }
        }
        false
    };
    let came = runtime.block_on(async { timeout(patience, wait).await });
    let told = format!("{what}: it did not happen within {} s", patience.as_secs());
    check(came == Ok(true), &told)
}

fn fault(what: &str) -> Failure {
    Failure::new(FailureKind::Fault, what)
}

fn node(folder: &Path, name: &str) -> Result<Desk, Failure> {
    undisturbed(&folder.join(name), name)
}

/// A new node that keeps away from the sticks and networks of this machine.
pub(crate) fn undisturbed(home: &Path, name: &str) -> Result<Desk, Failure> {
    let (home, name) = (home.to_owned(), name.to_owned());
    let request =
        InitRequest { home: home.clone(), name: Some(name.clone()), even_if_public: true };
    Desk::init(&request)?;
    let config = Config { name, media: false, ygg: false, outbox: false, ..Config::default() };
    let path = home.join("config.toml");
    replace(&path, config.to_text().as_bytes(), 0o644)
        .map_err(|error| Failure::file("write", &path, error))?;
    Desk::open(&home)
}

fn message(text: Option<&str>, files: Vec<PathBuf>) -> SendRequest {
    SendRequest {
        to: "Bob".into(),
        text: text.map(str::to_owned),
        files,
        nice: None,
        lifetime: None,
        hidden: Some(true),
        reply_to: None,
        supersede: None,
    }
}

fn toss(desk: &Desk, stick: &Path) -> Result<Tossed, Failure> {
    let request = TossRequest {
        path: stick.to_owned(),
        direction: TossDirection::Both,
        dry_run: false,
        budget: None,
        init: false,
        with_card: false,
    };
    let tossed = desk.toss(&request, &Silent)?;
    check(tossed.damaged == 0, &format!("nothing may be damaged: {:?}", tossed.damaged_list))?;
    Ok(tossed)
}

fn check(holds: bool, what: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(fault(what)) }
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// Bytes that no compression shortens.
fn write_noise(path: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::file("write", path, error);
    let mut file = File::create(path).map_err(failed)?;
    let mut noise = blake3::Hasher::new().update(b"postrider demo").finalize_xof();
    let mut chunk = vec![0; 1 << 20];
    for _ in 0..FILE_BYTES >> 20 {
        noise.fill(&mut chunk);
        file.write_all(&chunk).map_err(failed)?;
    }
    Ok(())
}

fn hash(path: &Path) -> Result<blake3::Hash, Failure> {
    let failed = |error| Failure::file("read", path, error);
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path).map_err(failed)?;
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk).map_err(failed)? {
            0 => return Ok(hasher.finalize()),
            n => hasher.update(&chunk[..n]),
        };
    }
}

/// Looks for the text and the file's name in every file below these directories.
fn nobody_reads(carrier: &Path, stick: &Path) -> Result<(), Failure> {
    let mut waiting = vec![carrier.to_owned(), stick.to_owned()];
    while let Some(path) = waiting.pop() {
        let failed = |error| Failure::file("read", &path, error);
        if path.is_dir() {
            for entry in fs::read_dir(&path).map_err(failed)? {
                waiting.push(entry.map_err(failed)?.path());
            }
            continue;
        }
        let bytes = fs::read(&path).map_err(failed)?;
        let secrets = [&TEXT.as_bytes()[..20], b"map.bin"];
        for (at, byte) in bytes.iter().enumerate() {
            let seen = secrets.iter().any(|s| *byte == s[0] && bytes[at..].starts_with(s));
            check(!seen, "a carrier's disk shows what it carries")?;
        }
    }
    Ok(())
}

/// A temporary folder that is removed when the story ends, however it ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("postrider-demo-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| Failure::file("create", &path, error))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Story<'a> {
    out: &'a mut dyn Write,
    began: Instant,
}

impl Story<'_> {
    fn step(&mut self, what: &str) -> Result<(), Failure> {
        let elapsed = self.began.elapsed().as_secs_f64();
        self.tell(&format!("{elapsed:6.2} s  {what}"))
    }

    fn tell(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.out, "{line}").and_then(|()| self.out.flush()).map_err(told)
    }
}

fn told(error: io::Error) -> Failure {
    Failure::new(FailureKind::Failed, "could not write the story").because(error)
}
