//! kill -9 at random moments, against writer, tosser and reader, with a ledger outside of all.
//!
//! The ledger is what the processes said on their standard output before they died: an id printed by
//! `send` is a promise, a message printed by `toss` was shown. What must hold at the end: every
//! promise is kept, nothing was shown twice, and every restart was quick.
//!
//! 30 cycles by default; `POSTRIDER_STORM=500 cargo test --test storm` for the heavy run.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A restart, kill and recovery included, is done within this (the figure).
const RESTART_MAX: Duration = Duration::from_secs(2);

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

struct Storm {
    dir: tempfile::TempDir,
    random: Random,
    slowest: Duration,
}

fn cycles() -> u64 {
    std::env::var("POSTRIDER_STORM")
        .ok()
        .and_then(|n| n.parse().ok())
        .map_or(30, |n: u64| n.min(5000))
}

impl Storm {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, node: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
        command.arg("--home").arg(self.path(node)).arg("--json").args(args);
        command.stderr(Stdio::null());
        command
    }

    fn run(&self, node: &str, args: &[&str]) -> Vec<String> {
        let mut command = self.command(node, args);
        let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
        let code = output.status.code();
        let complaint =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(matches!(code, Some(0 | 11)), "{node} {args:?}: {code:?} {complaint}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// Runs a command and kills it after some milliseconds; what it had said by then.
    fn kill(
        &mut self,
        node: &str,
        args: &[&str],
        stdin: Option<&Path>,
        most_ms: u64,
    ) -> Vec<String> {
        let stdin = stdin.map_or_else(Stdio::null, |path| fs::File::open(path).unwrap().into());
        let mut child =
            self.command(node, args).stdin(stdin).stdout(Stdio::piped()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let said = std::thread::spawn(move || {
            // A line without its end was not said.
            let mut lines = Vec::new();
            let mut reader = BufReader::new(out);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 0) && line.ends_with('\n') {
                lines.push(std::mem::take(&mut line));
            }
            lines
        });
        let patience = Duration::from_millis(self.random.below(most_ms));
        let begun = Instant::now();
        while begun.elapsed() < patience && child.try_wait().unwrap().is_none() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let _ = child.kill();
        child.wait().unwrap();
        said.join().unwrap()
    }

    /// Opens the whole home once more, as the next command after a crash does.
    fn restart(&mut self, node: &str) {
        let begun = Instant::now();
        self.run(node, &["status"]);
        self.slowest = self.slowest.max(begun.elapsed());
    }
}

fn field(line: &str, key: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(value.get(key)?.as_str()?.to_owned())
}

#[test]
fn kill_9_loses_nothing_and_shows_nothing_twice() {
    let seed =
        std::env::var("POSTRIDER_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_120);
    println!("seed {seed}, {} cycles", cycles());
    let mut storm =
        Storm { dir: tempfile::tempdir().unwrap(), random: Random(seed), slowest: Duration::ZERO };
    for node in ["alice", "bob"] {
        storm.run(node, &["init", "--name", node]);
        let card = storm.path(&format!("{node}.card")).display().to_string();
        storm.run(node, &["id", "--card", &card]);
    }
    storm.run("alice", &["add", &storm.path("bob.card").display().to_string()]);
    storm.run("bob", &["add", &storm.path("alice.card").display().to_string()]);
    let stick = storm.path("stick");
    fs::create_dir(&stick).unwrap();
    let stick = stick.display().to_string();
    let file = storm.path("file");
    let mut noise = vec![0; 9 << 20];
    blake3::Hasher::new().update(b"storm").finalize_xof().fill(&mut noise);
    fs::write(&file, &noise).unwrap();
    let file = file.display().to_string();

    let (mut promised, mut shown) = (BTreeMap::new(), BTreeMap::<String, u32>::new());
    for cycle in 0..cycles() {
        let batch = storm.path("batch");
        let lines: String = (0..200)
            .map(|n| format!("{{\"to\":\"bob\",\"text\":\"cycle {cycle} message {n}\"}}\n"))
            .collect();
        fs::write(&batch, lines).unwrap();
        let said = match cycle % 3 {
            0 => storm.kill("alice", &["send", "--batch"], Some(&batch), 120),
            1 => storm.kill("alice", &["send", "bob", "-f", &file], None, 400),
            _ => storm.kill("alice", &["send", "bob", "just one"], None, 30),
        };
        for line in said {
            if let Some(id) = field(&line, "id") {
                promised.insert(id, cycle);
            }
        }
        storm.restart("alice");
        storm.kill("alice", &["toss", &stick], None, 300);
        let said = storm.kill("bob", &["toss", &stick], None, 400);
        count_shown(&said, &mut shown);
        storm.restart("bob");
        storm.kill("bob", &["toss", &stick], None, 400);
    }
    for _ in 0..2 {
        storm.run("alice", &["toss", &stick]);
        storm.run("bob", &["toss", &stick]);
    }
    storm.run("alice", &["toss", &stick]);
    let inbox = storm.run("bob", &["inbox"]);
    let mut here = BTreeMap::<String, bool>::new();
    for line in &inbox {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        if value["type"] == "message" {
            let complete = value["complete"] == true;
            let twice = here.insert(value["id"].as_str().unwrap().to_owned(), complete);
            assert!(twice.is_none(), "seed {seed}: {} stands twice in the inbox", value["id"]);
        }
    }
    let lost: Vec<_> = promised.iter().filter(|(id, _)| here.get(*id) != Some(&true)).collect();
    assert!(lost.is_empty(), "seed {seed}: {} of {} lost: {lost:?}", lost.len(), promised.len());
    let twice: Vec<_> = shown.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "seed {seed}: shown twice: {twice:?}");
    for id in promised.keys().take(300) {
        let state = storm.run("alice", &["trace", id]).join("\n");
        assert!(
            state.contains("delivered"),
            "seed {seed}: {id} arrived but is not ticked: {state}"
        );
    }
    let checked = storm.run("alice", &["spool", "check"]).join("\n");
    assert!(checked.contains("\"damaged\":0"), "{checked}");
    println!(
        "{} promised, {} in the inbox, 0 lost, 0 twice; slowest restart {:?}",
        promised.len(),
        here.len(),
        storm.slowest
    );
    // On a busy machine time decides nothing; the heavy run is the one that is measured.
    if cycles() >= 500 {
        assert!(storm.slowest < RESTART_MAX, "slowest restart {:?}", storm.slowest);
    }
}

fn count_shown(said: &[String], shown: &mut BTreeMap<String, u32>) {
    for line in said {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        for message in value["messages"].as_array().into_iter().flatten() {
            if let Some(id) = message["id"].as_str() {
                *shown.entry(id.to_owned()).or_default() += 1;
            }
        }
    }
}
