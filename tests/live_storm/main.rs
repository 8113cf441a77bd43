//! kill -9 at random moments, against three daemons in a line, with a ledger outside of all.
//!
//! Alice and Carol write to each other through Mid, whom both dial and who can read nothing. While
//! they send, and while bodies are under way, one of the three is killed, or two. The ledger is what
//! `send` printed: a promise. What must hold at the end: every promise is kept and ticked at its
//! sender, nothing is there or was told of twice, every file is whole, and the copies of the one in
//! the middle are free.
//!
//! 6 cycles by default; `POSTRIDER_STORM=300 cargo test --test live_storm` for the heavy run.
#![forbid(unsafe_code)]
// What a test stands on must be there; where it is not, the test has failed.
#![allow(clippy::unwrap_used, clippy::panic)]

#[cfg(target_os = "linux")]
mod jobs;
mod line;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use line::{Node, Sending, until};
use serde_json::Value;

/// A daemon that was killed answers again within this.
const RESTART_MAX: Duration = Duration::from_secs(2);
/// Whoever asks for a storm that takes minutes elsewhere would wait for hours here.
const CYCLES_MAX: u64 = 300;
/// From here on a run counts as the heavy one, whose times are measured.
const HEAVY_FROM: u64 = 100;
/// Of what each was promised, so much is asked for one by one; an empty queue speaks for the rest.
const TRACED_MAX: usize = 100;
/// Texts of one batch.
const BATCH: usize = 20;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

struct Storm {
    dir: tempfile::TempDir,
    random: Random,
    /// Alice, Mid, Carol.
    nodes: [Node; 3],
    /// The ids that each was promised.
    promised: [BTreeSet<String>; 3],
    /// What files hold, by their names.
    files: BTreeMap<String, blake3::Hash>,
}

const ALICE: usize = 0;
const MID: usize = 1;
const CAROL: usize = 2;
const ENDS: [(usize, &str); 2] = [(ALICE, "carol"), (CAROL, "alice")];

impl Storm {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut nodes = ["alice", "mid", "carol"].map(|name| Node::new(dir.path(), name));
        for (one, other) in [(ALICE, MID), (MID, CAROL), (ALICE, CAROL)] {
            nodes[one].meet(&nodes[other]);
        }
        // The system chooses the port; after a kill it is the same, as others know it.
        nodes[MID].with_args(&["--listen".into(), "tls://127.0.0.1:0".into()]);
        nodes[MID].start();
        let running = nodes[MID].run(&["up"]).remove(0);
        let address = running["listening"][0].as_str().unwrap().to_owned();
        nodes[MID].with_args(&["--listen".into(), format!("tls://{address}")]);
        for end in [ALICE, CAROL] {
            nodes[end].with_args(&["--peer".into(), format!("tls://{address}#mid")]);
            nodes[end].start();
        }
        let (promised, files) = Default::default();
        Self { dir, random: Random(seed), nodes, promised, files }
    }

    /// A file like no other.
    fn file(&mut self, name: &str, bytes: usize) -> PathBuf {
        let path = self.dir.path().join(name);
        let mut noise = vec![0; bytes];
        blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut noise);
        fs::write(&path, &noise).unwrap();
        self.files.insert(name.to_owned(), blake3::hash(&noise));
        path
    }

    /// What both ends send in a cycle: always texts, now and then a file of one part or of three.
    fn begin_sending(&mut self, cycle: u64) -> Vec<Sending> {
        let mut sending = Vec::new();
        for (from, to) in ENDS {
            let name = self.nodes[from].name;
            let lines: String = (0..BATCH)
                .map(|n| format!("{{\"to\":\"{to}\",\"text\":\"{name} {cycle} {n}\"}}\n"))
                .collect();
            let batch = self.dir.path().join(format!("{name}.batch"));
            fs::write(&batch, lines).unwrap();
            let alone = format!("{name} {cycle} alone");
            let node = &self.nodes[from];
            sending.push(Sending::begin(from, node, &["send", "--batch"], Some(&batch)));
            sending.push(Sending::begin(from, node, &["send", to, &alone], None));
        }
        let (from, to) = ENDS[usize::try_from(cycle / 2 % 2).unwrap()];
        let bytes = match cycle % 8 {
            1 | 3 | 5 => 3 << 20,
            7 => 18 << 20,
            _ => return sending,
        };
        let path = self.file(&format!("file {cycle}"), bytes).display().to_string();
        let node = &self.nodes[from];
        sending.push(Sending::begin(from, node, &["send", to, "-f", &path], None));
        sending
    }

    fn cycle(&mut self, cycle: u64) {
        let sending = self.begin_sending(cycle);
        // The moment is what is random here, while commands send or while bodies are under way;
        // nothing is waited for.
        let longest_ms = if self.random.below(2) == 0 { 60 } else { 900 };
        thread::sleep(Duration::from_millis(self.random.below(longest_ms)));
        let first = usize::try_from(self.random.below(3)).unwrap();
        let second = usize::try_from(self.random.below(15)).unwrap();
        let mut victims = BTreeSet::from([first]);
        if second < self.nodes.len() {
            victims.insert(second);
        }
        for victim in &victims {
            self.nodes[*victim].kill();
        }
        for victim in &victims {
            self.nodes[*victim].start();
        }
        for sending in sending {
            let (from, ids) = sending.promised();
            self.promised[from].extend(ids);
        }
        // A dialler waits longer after every failure; who is called is there at once.
        if victims.contains(&MID) {
            for end in [ALICE, CAROL] {
                self.nodes[end].command(&["call", "mid", "--once"]).output().unwrap();
            }
        }
    }

    /// Lets everything arrive that was promised.
    fn calm(&self) {
        for (from, to) in [(ALICE, CAROL), (CAROL, ALICE)] {
            let (sender, reader) = (&self.nodes[from], &self.nodes[to]);
            until(&format!("the arrival of what {} sent", sender.name), || {
                let here = complete(&reader.run(&["inbox"]));
                self.promised[from].iter().all(|id| here.contains(id))
            });
            // What was sent without being promised may be under way, so not all need be ours.
            until(&format!("the last receipt for {}", sender.name), || {
                sender.run(&["status"])[0]["out"] == 0
            });
        }
        until("the end of the copies in the middle", || {
            self.nodes[MID].run(&["status"])[0]["carried"] == 0
        });
    }

    /// Every message is there once, with what its sender put into it.
    fn check_inbox(&self, at: usize, from: &str) -> usize {
        let inbox = self.nodes[at].run(&["inbox"]);
        let (mut ids, mut contents) = (BTreeSet::new(), BTreeSet::new());
        for message in inbox.iter().filter(|object| object["type"] == "message") {
            let id = message["id"].as_str().unwrap();
            assert!(ids.insert(id), "{id} stands twice in the inbox of {}", self.nodes[at].name);
            assert!(message["complete"] == true && message["from"] == from, "{message}");
            let text = message["text"].as_str().unwrap();
            let name = message["files"][0]["name"].as_str().unwrap_or(text);
            assert!(contents.insert(name), "{name:?} was sent once and arrived twice");
            if text.is_empty() {
                let dir = self.dir.path().join(format!("saved-{id}"));
                fs::create_dir(&dir).unwrap();
                self.nodes[at].run(&["inbox", "save", id, &dir.display().to_string()]);
                let hash = blake3::hash(&fs::read(dir.join(Path::new(name))).unwrap());
                assert_eq!(Some(&hash), self.files.get(name), "{name} is not what was sent");
            } else {
                assert!(text.starts_with(from), "{message}");
            }
        }
        ids.len()
    }
}

fn complete(inbox: &[Value]) -> BTreeSet<String> {
    let complete = inbox.iter().filter(|message| message["complete"] == true);
    complete.filter_map(|message| message["id"].as_str().map(str::to_owned)).collect()
}

#[test]
fn kill_9_on_a_live_line_loses_nothing_and_delivers_nothing_twice() {
    let seed = number("POSTRIDER_SEED").unwrap_or(20_261_120);
    let cycles = number("POSTRIDER_STORM").unwrap_or(6).min(CYCLES_MAX);
    println!("seed {seed}, {cycles} cycles");
    let begun = Instant::now();
    let mut storm = Storm::new(seed);
    for cycle in 0..cycles {
        storm.cycle(cycle);
    }
    println!("{cycles} cycles after {:?}", begun.elapsed());
    for end in [ALICE, CAROL] {
        storm.nodes[end].command(&["call", "mid", "--once"]).output().unwrap();
    }
    storm.calm();
    println!("calm after {:?}", begun.elapsed());
    let arrived = storm.check_inbox(CAROL, "alice") + storm.check_inbox(ALICE, "carol");
    for (node, promised) in storm.nodes.iter().zip(&storm.promised) {
        for id in promised.iter().take(TRACED_MAX) {
            let traced = node.run(&["trace", id]);
            let ticked = traced.iter().any(|event| event["what"] == "delivered");
            assert!(ticked, "seed {seed}: {id} arrived and is not ticked: {traced:?}");
        }
        let told = node.told.lock().unwrap().clone();
        let twice: Vec<_> = told.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "seed {seed}: {} told twice of {twice:?}", node.name);
        let checked = node.run(&["spool", "check"]).remove(0);
        assert_eq!(checked["damaged"], 0, "{}: {checked}", node.name);
    }
    assert!(storm.nodes[MID].told.lock().unwrap().is_empty(), "Mid has read something");
    let promised: usize = storm.promised.iter().map(BTreeSet::len).sum();
    let slowest = storm.nodes.iter().map(|node| node.slowest_start).max().unwrap_or_default();
    println!(
        "{promised} promised, {arrived} arrived, {} files, 0 lost, 0 twice; slowest restart {slowest:?}",
        storm.files.len()
    );
    // Where others use the machine time decides nothing; the heavy run is the one that is measured.
    if cycles >= HEAVY_FROM {
        assert!(slowest < RESTART_MAX, "seed {seed}: slowest restart {slowest:?}");
    }
}
