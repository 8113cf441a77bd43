//! Jobs while daemons die: Alice has commands run at Carol's, through Mid, and each of the three is
//! killed at any moment, while a job is sent, carried, begun, run, answered.
//!
//! The ledger is a file that the command itself writes. What must hold at the end: every job that
//! Alice was promised ran once, those of a queue in their order, and its true result is here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use super::{ALICE, CAROL, MID, Storm, line::until, number};

/// Whoever asks for a storm that takes minutes elsewhere would wait for hours here.
const CYCLES_MAX: u64 = 3000;
/// After so many all results are waited for: of one issuer no more than 1,024 jobs may wait.
const CALM_EVERY: u64 = 100;
/// Jobs whose records the chain certainly still has, of the 16,384 that it keeps.
const AUDITED_MAX: usize = 4000;

struct Jobs {
    storm: Storm,
    ledger: PathBuf,
    /// Ids that were promised, in order, and with which number.
    queued: Vec<(String, u64)>,
    alone: Vec<(String, u64)>,
    /// Of both, how many have a result.
    waited: (usize, usize),
}

impl Jobs {
    fn new(seed: u64) -> Self {
        let storm = Storm::new(seed);
        let dir = storm.dir.path();
        let open = dir.join("ledger");
        let ledger = open.join("lines");
        let script = dir.join("note.sh");
        fs::create_dir(&open).unwrap();
        fs::write(&ledger, "").unwrap();
        // The command may run under a user of its own, who is nobody here.
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        fs::set_permissions(&ledger, Permissions::from_mode(0o666)).unwrap();
        let text = format!(
            "echo \"begin $POSTRIDER_JOB_ID $1\" >> {0}\nsleep 0.0$(($1 % 7))\n\
             echo \"end $POSTRIDER_JOB_ID $1\" >> {0}\necho \"done $1\"\nexit $(($1 % 3))\n",
            ledger.display()
        );
        fs::write(&script, text).unwrap();
        fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&script, Permissions::from_mode(0o644)).unwrap();
        let (open, script) = (open.display().to_string(), script.display().to_string());
        storm.nodes[CAROL].run(&[
            "allow",
            "set",
            "note",
            "--for",
            "alice",
            "--best-effort",
            "--timeout",
            "60s",
            "--write",
            &open,
            "--read",
            &script,
            "--",
            "/bin/sh",
            &script,
            "{n:int(0..1000000)}",
        ]);
        Self { storm, ledger, queued: Vec::new(), alone: Vec::new(), waited: (0, 0) }
    }

    fn cycle(&mut self, cycle: u64) {
        let mut sending = Vec::new();
        for n in 0..3 {
            let number = cycle * 3 + n;
            let text = number.to_string();
            let in_queue = n < 2;
            let mut args = vec!["run", "carol", "--no-stdin"];
            args.extend(in_queue.then_some(["--queue", "q"]).into_iter().flatten());
            args.extend(["--", "note", &text]);
            let child = self.storm.nodes[ALICE].command(&args).spawn().unwrap();
            if in_queue {
                // One after the other: the order of a queue is that in which they were promised.
                self.take(child, number, true);
            } else {
                sending.push((child, number));
            }
        }
        let random = &mut self.storm.random;
        let longest_ms = [5, 40, 150, 500][usize::try_from(random.below(4)).unwrap()];
        thread::sleep(Duration::from_millis(random.below(longest_ms)));
        let first = usize::try_from(random.below(3)).unwrap();
        let second = usize::try_from(random.below(9)).unwrap();
        let victims: BTreeSet<usize> = [first, second].into_iter().filter(|n| *n < 3).collect();
        for victim in &victims {
            self.storm.nodes[*victim].kill();
        }
        for victim in &victims {
            self.storm.nodes[*victim].start();
        }
        for (child, number) in sending {
            self.take(child, number, false);
        }
        if victims.contains(&MID) {
            for end in [ALICE, CAROL] {
                self.storm.nodes[end].command(&["call", "mid", "--once"]).output().unwrap();
            }
        }
    }

    fn take(&mut self, child: std::process::Child, number: u64, in_queue: bool) {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let object = said
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .find(|object: &serde_json::Value| object["type"] == "job");
        // Whoever was killed before it said so promised nothing.
        if let Some(id) = object.and_then(|object| object["id"].as_str().map(str::to_owned)) {
            if in_queue { &mut self.queued } else { &mut self.alone }.push((id, number));
        }
    }

    /// Waits for the results of all that were not waited for before, which must be true.
    fn wait(&mut self, seed: u64) {
        let alice = &self.storm.nodes[ALICE];
        let (queued, alone) = self.waited;
        for (id, number) in self.queued[queued..].iter().chain(&self.alone[alone..]) {
            let mut shown = serde_json::Value::Null;
            until(&format!("the result of {id}"), || {
                shown = alice.run(&["job", "show", id]).remove(0);
                let open = ["queued", "admitted", "held", "running"];
                !open.contains(&shown["state"].as_str().unwrap())
            });
            assert_eq!(shown["state"], "exited", "seed {seed}: {shown}");
            assert_eq!(shown["exit_code"], number % 3, "seed {seed}: {shown}");
            assert_eq!(shown["stdout"], format!("done {number}\n"), "seed {seed}: {shown}");
        }
        self.waited = (self.queued.len(), self.alone.len());
    }

    /// How often each job began and ended, and in which order they began.
    fn ledger(&self) -> (BTreeMap<String, (u32, u32)>, Vec<String>) {
        let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
        let mut order: Vec<String> = Vec::new();
        for line in fs::read_to_string(&self.ledger).unwrap().lines() {
            let [what, id, _] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let count = counts.entry(id.to_owned()).or_default();
            match what {
                "begin" => {
                    count.0 += 1;
                    order.push(id.to_owned());
                }
                _ => count.1 += 1,
            }
        }
        (counts, order)
    }
}

#[test]
fn kill_9_while_jobs_run_loses_none_and_runs_none_twice() {
    let seed = number("POSTRIDER_SEED").unwrap_or(20_261_129);
    let cycles = number("POSTRIDER_STORM").unwrap_or(6).min(CYCLES_MAX);
    println!("seed {seed}, {cycles} cycles");
    let begun = Instant::now();
    let mut jobs = Jobs::new(seed);
    for cycle in 0..cycles {
        jobs.cycle(cycle);
        // No more may wait at Carol's than she takes of one issuer.
        if cycle % CALM_EVERY == CALM_EVERY - 1 {
            jobs.wait(seed);
        }
    }
    for end in [ALICE, CAROL] {
        jobs.storm.nodes[end].command(&["call", "mid", "--once"]).output().unwrap();
    }
    jobs.wait(seed);
    let nodes = &jobs.storm.nodes;
    let all: Vec<&(String, u64)> = jobs.queued.iter().chain(&jobs.alone).collect();
    println!("{} jobs promised, {cycles} cycles after {:?}", all.len(), begun.elapsed());
    let (counts, order) = jobs.ledger();
    for (id, _) in &all {
        assert_eq!(counts.get(id.as_str()), Some(&(1, 1)), "seed {seed}: {id}");
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count != (1, 1)).collect();
    assert!(twice.is_empty(), "seed {seed}: {twice:?}");
    let queued: BTreeSet<&str> = jobs.queued.iter().map(|(id, _)| id.as_str()).collect();
    let began: Vec<&str> =
        order.iter().map(String::as_str).filter(|id| queued.contains(id)).collect();
    let promised: Vec<&str> = jobs.queued.iter().map(|(id, _)| id.as_str()).collect();
    assert!(began == promised, "seed {seed}: a queue is out of order");
    // What Carol recorded holds, says each once, and has every link that went out with a result.
    nodes[CAROL].run(&["log", "--audit", "--verify"]);
    let records = nodes[CAROL].run(&["log", "--audit"]);
    let links: BTreeSet<&str> =
        records.iter().filter_map(|record| record["link"].as_str()).collect();
    let newest = [&jobs.queued, &jobs.alone].map(|list| list.iter().rev().take(AUDITED_MAX / 2));
    for (id, _) in newest.into_iter().flatten() {
        let told = |what: &str| {
            let is = |record: &&serde_json::Value| record["job"] == **id && record["what"] == what;
            records.iter().filter(is).count()
        };
        assert_eq!((told("started"), told("ended")), (1, 1), "seed {seed}: {id}");
        let shown = nodes[ALICE].run(&["job", "show", id]).remove(0);
        assert!(links.contains(shown["audit"].as_str().unwrap()), "seed {seed}: {id}");
    }
    println!(
        "{} jobs ran once each, 0 lost, 0 twice, 0 unknown, after {:?}",
        counts.len(),
        begun.elapsed()
    );
}
