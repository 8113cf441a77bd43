//! A node that runs jobs, crashes at any step and comes back, in virtual time. One seed decides all.

use postrider_base::{
    NodeSecret,
    bundle::Sequence,
    packet::{Then, Turn},
};

use super::{
    contract::{OnTrial, Stage, Terms, Trial, Verdict},
    *,
};
use crate::contract::{Captured, End, Outcome, Standing};

/// Jobs that run at once.
const ROOM: usize = 3;

struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        // SplitMix64, as in its authors' paper.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % most.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A job's folder for one run, as a disk keeps it.
#[derive(Debug, Default)]
struct Folder {
    started: bool,
    forbidden: bool,
    kill: bool,
    outcome: Option<Outcome>,
    /// When its supervisor does its next step, if it lives.
    supervisor_ms: Option<u64>,
    /// A supervisor was started and does not have the folder yet.
    coming_ms: Option<u64>,
}

#[derive(Clone, Debug)]
enum Word {
    Cancel { by: NodeId, force: bool },
    Approve { by: NodeId },
}

struct World {
    chance: Chance,
    now_ms: u64,
    /// Nothing breaks any more.
    calm: bool,
    scheduler: Option<Scheduler>,
    inputs: VecDeque<(Input, Option<usize>)>,
    /// What is durable.
    asked: BTreeMap<BundleId, Asked>,
    records: BTreeMap<BundleId, Record>,
    words: Vec<Option<(BundleId, Word)>>,
    folders: BTreeMap<(BundleId, u8), Folder>,
    /// What was said and cannot be taken back.
    answers: BTreeMap<BundleId, Vec<How>>,
    runs: BTreeMap<BundleId, u32>,
    began: Vec<BundleId>,
    ended: BTreeSet<BundleId>,
    killed_supervisors: BTreeSet<BundleId>,
    verdicts: BTreeMap<BundleId, Verdict>,
    /// Those whose folders are watched.
    watched: BTreeMap<BundleId, u8>,
    /// What is being done for trials, and when it is done.
    tries: Vec<(u64, BundleId, Stage)>,
    /// What was done for each, and whether it went well.
    tried: BTreeMap<BundleId, Vec<(Stage, bool)>>,
    /// How often in ten the check of a job ends well.
    health: BTreeMap<BundleId, u64>,
}

fn node(n: u8) -> NodeId {
    NodeSecret::from_seed([n; 32]).id()
}

fn id(n: u64) -> BundleId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&n.to_be_bytes());
    BundleId(id)
}

fn outcome(end: End) -> Outcome {
    let (stdout, stderr) = (Captured::default(), Captured::default());
    Outcome { end, ran_ms: 1, stdout, stderr, enforced: BTreeMap::new() }
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            chance: Chance(seed),
            now_ms: 1000,
            calm: false,
            scheduler: None,
            inputs: VecDeque::new(),
            asked: BTreeMap::new(),
            records: BTreeMap::new(),
            words: Vec::new(),
            folders: BTreeMap::new(),
            answers: BTreeMap::new(),
            runs: BTreeMap::new(),
            began: Vec::new(),
            ended: BTreeSet::new(),
            killed_supervisors: BTreeSet::new(),
            verdicts: BTreeMap::new(),
            watched: BTreeMap::new(),
            tries: Vec::new(),
            tried: BTreeMap::new(),
            health: BTreeMap::new(),
        }
    }

    fn now(&self) -> Now {
        Now { held_ms: self.now_ms, wall_s: Some(1_800_000_000 + self.now_ms / 1000) }
    }

    /// A job arrives, perhaps not for the first time: then the intake knows it.
    fn arrive(&mut self, job: BundleId, asked: Asked) {
        if self.asked.contains_key(&job) {
            return;
        }
        let asked = Asked { arrived_ms: self.now_ms, ..asked };
        self.asked.insert(job, asked.clone());
        self.feed(Input::Arrived { job, asked: Box::new(asked) });
    }

    fn say(&mut self, job: BundleId, word: Word) {
        self.words.push(Some((job, word)));
        self.hear(self.words.len() - 1);
    }

    fn hear(&mut self, at: usize) {
        let Some((job, word)) = self.words[at].clone() else { return };
        let input = match word {
            Word::Cancel { by, force } => Input::Cancel { job, by, admin: false, force },
            Word::Approve { by } => Input::Approve { job, by, what: [7; 32] },
        };
        self.inputs.push_back((input, Some(at)));
    }

    fn feed(&mut self, input: Input) {
        self.inputs.push_back((input, None));
    }

    fn start(&mut self) {
        self.scheduler = Some(Scheduler::new(ROOM));
        self.inputs.clear();
        self.watched.clear();
        let jobs: BTreeSet<BundleId> =
            self.asked.keys().chain(self.records.keys()).copied().collect();
        for job in jobs {
            let asked = self.asked.get(&job).cloned().map(Box::new);
            let record = self.records.get(&job).cloned().unwrap_or_default();
            self.feed(Input::Known { job, asked, record });
        }
        self.feed(Input::Began);
        (0..self.words.len()).for_each(|at| self.hear(at));
    }

    fn crash(&mut self, power: bool) {
        self.scheduler = None;
        self.inputs.clear();
        self.tries.clear();
        if power {
            for ((job, _), folder) in &mut self.folders {
                if folder.supervisor_ms.take().is_some() && folder.started {
                    self.killed_supervisors.insert(*job);
                }
                folder.coming_ms = None;
            }
        }
    }

    /// Deals with one input; a crash may come between any two things that it leads to.
    fn step(&mut self) -> bool {
        let Some((input, word)) = self.inputs.pop_front() else { return false };
        let now = self.now();
        let Some(scheduler) = &mut self.scheduler else { return false };
        scheduler.handle(now, input);
        let outputs: Vec<Output> = std::iter::from_fn(|| scheduler.poll()).collect();
        // A word is forgotten in one group with the notes that it led to.
        let notes = outputs.iter().filter_map(|output| match output {
            Output::Note { job, record } => Some((*job, record.clone())),
            _ => None,
        });
        let notes: Vec<_> = notes.collect();
        if !self.calm && self.chance.one_in(40) {
            self.crash(self.now_ms.is_multiple_of(2));
            return true;
        }
        self.records.extend(notes);
        word.into_iter().for_each(|at| self.words[at] = None);
        for output in outputs {
            if !self.calm && self.chance.one_in(60) {
                let power = self.chance.one_in(2);
                self.crash(power);
                return true;
            }
            self.obey(output);
        }
        true
    }

    fn obey(&mut self, output: Output) {
        let fails = !self.calm && self.chance.one_in(30);
        match output {
            Output::Judge { job } => {
                let verdict = self.verdicts[&job].clone();
                self.feed(Input::Judged { job, verdict });
            }
            Output::Place { job, attempt } => {
                if !fails {
                    assert!(!self.folders.get(&(job, attempt)).is_some_and(|f| f.started));
                    self.folders.entry((job, attempt)).or_default();
                }
                let result = if fails { Err("full".into()) } else { Ok(()) };
                self.feed(Input::Placed { job, result });
            }
            Output::Record { job, record } => {
                if !fails {
                    self.records.insert(job, record);
                }
                self.feed(Input::Recorded { job, durable: !fails });
            }
            Output::Note { .. } | Output::Say { .. } | Output::Propose { .. } => {}
            Output::Start { job, attempt } => {
                let late_ms = self.now_ms + self.chance.below(50);
                let fails = fails || self.chance.one_in(10) && !self.calm;
                let folder = self.folders.get_mut(&(job, attempt)).expect("placed before");
                if !fails {
                    folder.coming_ms = Some(late_ms);
                }
                self.watched.insert(job, attempt);
            }
            Output::Look { job, attempt } => self.look(job, attempt),
            Output::Forbid { job, attempt } => {
                let folder = self.folders.get_mut(&(job, attempt)).expect("placed before");
                let standing = standing(folder);
                folder.forbidden |= standing == Standing::NotStarted;
                if standing == Standing::Running {
                    self.watched.insert(job, attempt);
                }
                self.feed(Input::Forbidden { job, standing });
            }
            Output::Try { job, stage, .. } => {
                let done_ms = self.now_ms + self.chance.below(300);
                self.tries.push((done_ms, job, stage));
            }
            Output::End { job, attempt } => {
                self.folders.entry((job, attempt)).and_modify(|folder| folder.kill = true);
            }
            Output::Answer { job, how, record, .. } => {
                if !fails {
                    self.records.insert(job, record);
                    self.answers.entry(job).or_default().push(how);
                    self.ended.insert(job);
                }
                self.feed(Input::Answered { job, durable: !fails });
            }
            Output::Repeat { job, .. } => assert!(self.answers.contains_key(&job)),
            Output::Forget { job } => {
                self.records.remove(&job);
            }
        }
    }

    fn look(&mut self, job: BundleId, attempt: u8) {
        let standing = self.folders.get(&(job, attempt)).map_or(Standing::Unknown, standing);
        if standing == Standing::Running {
            self.watched.insert(job, attempt);
        }
        self.feed(Input::Stands { job, standing });
    }

    /// Time passes: supervisors do what they do, whoever lives.
    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let now_ms = self.now_ms;
        for ((job, _), folder) in &mut self.folders {
            let comes = folder.coming_ms.is_some_and(|at_ms| at_ms <= now_ms);
            if comes {
                folder.coming_ms = None;
                // The lock, and then what the folder says.
                if folder.supervisor_ms.is_none()
                    && !folder.started
                    && !folder.forbidden
                    && folder.outcome.is_none()
                {
                    folder.supervisor_ms = Some(now_ms + self.chance.below(20));
                }
            } else if folder.supervisor_ms.is_some_and(|at_ms| at_ms <= now_ms) {
                if !folder.started {
                    folder.started = true;
                    *self.runs.entry(*job).or_default() += 1;
                    self.began.push(*job);
                    folder.supervisor_ms = Some(now_ms + self.chance.below(400));
                } else if !self.calm && self.chance.one_in(50) {
                    folder.supervisor_ms = None;
                    self.killed_supervisors.insert(*job);
                } else {
                    let end = match folder.kill {
                        true => End::Killed,
                        false => End::Exited(u8::from(self.chance.one_in(4))),
                    };
                    folder.outcome = Some(outcome(end));
                    folder.supervisor_ms = None;
                }
            }
        }
        for (job, attempt) in self.watched.clone() {
            let folder = &self.folders[&(job, attempt)];
            let over = folder.supervisor_ms.is_none() && folder.coming_ms.is_none();
            let standing = standing(folder);
            if over || standing == Standing::Running {
                self.feed(Input::Stands { job, standing });
            }
            if over {
                self.watched.remove(&job);
            }
        }
        let done = self.tries.extract_if(.., |(done_ms, ..)| *done_ms <= now_ms);
        for (_, job, stage) in done.collect::<Vec<_>>() {
            let health = self.health.get(&job).copied().unwrap_or(10);
            let well = match stage {
                Stage::Check => self.chance.below(10) < health,
                _ => self.calm || !self.chance.one_in(6),
            };
            self.tried.entry(job).or_default().push((stage, well));
            let result = if well { Ok(()) } else { Err("ended with 1".into()) };
            self.feed(Input::Tried { job, stage, result });
            if matches!(stage, Stage::Restart | Stage::Back) && well && !self.chance.one_in(4) {
                // The machine starts anew.
                self.crash(true);
                self.start();
                break;
            }
        }
        let due = self.scheduler.as_ref().and_then(Scheduler::poll_timeout);
        if due.is_some_and(|due_ms| due_ms <= self.now_ms) {
            self.feed(Input::Timeout);
        }
    }

    /// How many jobs of a node that never ran are over.
    fn until_quiet(&mut self) {
        self.calm = true;
        if self.scheduler.is_none() {
            self.start();
        }
        for _ in 0..400 {
            while self.step() {}
            self.pass(1000);
        }
        while self.step() {}
    }
}

fn standing(folder: &Folder) -> Standing {
    match (&folder.outcome, folder.supervisor_ms, folder.started) {
        (Some(outcome), _, _) => Standing::Ended(Box::new(outcome.clone())),
        (None, Some(_), _) => Standing::Running,
        (None, None, true) => Standing::Unknown,
        (None, None, false) => Standing::NotStarted,
    }
}

fn terms(approvals: u8, reruns: u8, group: Option<&str>) -> Verdict {
    let group = group.map(|group| group.parse().unwrap());
    Verdict::Run(Terms { group, reruns, approvals, what: [7; 32], trial: None })
}

fn on_trial(restarts: bool) -> Verdict {
    let trial = Some(OnTrial { within_s: 60, starts: 3, restarts });
    Verdict::Run(Terms { group: None, reruns: 0, approvals: 0, what: [7; 32], trial })
}

/// A story: jobs of two issuers, in queues and not, that come out of order and twice, are taken back and
/// agreed to, on a node that crashes and loses power.
fn story(seed: u64) -> World {
    let mut world = World::new(seed);
    let mut letters = Vec::new();
    for issuer in 1..=2_u8 {
        let mut last: Option<BundleId> = None;
        for n in 0..8_u64 {
            let job = id(u64::from(issuer) * 100 + n);
            let mut turn = Turn { patience_s: 100_000, ..Turn::now(300_000) };
            if n < 5 {
                turn.queue = Some("pump".parse().unwrap());
                turn.after = last.into_iter().collect();
                last = Some(job);
            }
            let sequence = Sequence { epoch: 1, counter: n + 1 };
            let verdict = match world.chance.below(12) {
                0 => Verdict::Refused("no".into()),
                1 => Verdict::NoSuchHandle,
                2 => terms(1, 0, None),
                3 => terms(0, 0, Some("disk")),
                4 if n >= 5 => terms(0, 2, None),
                5..=7 if n >= 5 => {
                    let health = world.chance.below(11);
                    world.health.insert(job, health);
                    on_trial(world.chance.one_in(2))
                }
                _ => terms(0, 0, None),
            };
            world.verdicts.insert(job, verdict);
            let asked = Asked { issuer: node(issuer), sequence, turn, arrived_ms: 0, age_s: 5 };
            letters.push((job, asked));
        }
    }
    world.start();
    for _ in 0..400 {
        match world.chance.below(14) {
            0..=3 => {
                let at = usize::try_from(world.chance.below(letters.len() as u64)).unwrap();
                let (job, asked) = letters[at].clone();
                world.arrive(job, asked);
            }
            4 => {
                let at = usize::try_from(world.chance.below(letters.len() as u64)).unwrap();
                let (job, asked) = letters[at].clone();
                let by = if world.chance.one_in(4) { node(9) } else { asked.issuer };
                let force = world.chance.one_in(2);
                if world.chance.one_in(4) {
                    world.say(job, Word::Cancel { by, force });
                }
            }
            5 => {
                let at = usize::try_from(world.chance.below(letters.len() as u64)).unwrap();
                let by = if world.chance.one_in(4) { letters[at].1.issuer } else { node(8) };
                world.say(letters[at].0, Word::Approve { by });
            }
            6 if world.scheduler.is_none() => world.start(),
            _ => {
                let ms = world.chance.below(60);
                world.pass(ms);
            }
        }
        if world.chance.one_in(3) && world.scheduler.is_none() {
            world.start();
        }
        while world.chance.below(4) != 0 && world.step() {}
    }
    for (job, asked) in letters {
        world.arrive(job, asked);
        world.say(job, Word::Approve { by: node(8) });
    }
    world.until_quiet();
    world
}

#[test]
fn whatever_crashes_a_job_runs_once_at_most_and_is_answered_once() {
    let seeds = std::env::var("POSTRIDER_STORM").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let (mut unknown, mut all, mut cancelled, mut killed) = (0, 0, 0, 0);
    let (mut undone, mut kept) = (0, 0);
    for seed in 0..seeds {
        let world = story(seed);
        for (job, asked) in &world.asked {
            let runs = world.runs.get(job).copied().unwrap_or(0);
            let answers = world.answers.get(job).map_or(&[][..], Vec::as_slice);
            let [answer] = answers else {
                panic!("seed {seed}: {job} was answered {answers:?}, {:?}", world.records.get(job));
            };
            let reruns = match &world.verdicts[job] {
                Verdict::Run(terms) => u32::from(terms.reruns),
                _ => 0,
            };
            assert!(runs <= 1 + reruns, "seed {seed}: {job} ran {runs} times");
            let lost = world.killed_supervisors.contains(job);
            assert!(runs <= 1 || lost, "seed {seed}: {job} ran again and was not lost");
            let ran = matches!(answer, How::Ended(_) | How::Unknown | How::Undone(..));
            check_trial(seed, &world, *job, answer);
            undone += u32::from(matches!(answer, How::Undone(..)));
            kept += u32::from(world.tried.contains_key(job) && matches!(answer, How::Ended(_)));
            assert_eq!(runs > 0, ran, "seed {seed}: {job} ran {runs} times: {answer:?}");
            assert!(!matches!(answer, How::Unknown) || lost, "seed {seed}: {job} is known");
            all += 1;
            unknown += u32::from(matches!(answer, How::Unknown));
            cancelled += u32::from(matches!(answer, How::Cancelled));
            killed += u32::from(matches!(answer, How::Ended(o) if o.end == End::Killed));
            // A queue is in order: none begins before the one before it has begun, or never will.
            for before in &asked.turn.after {
                let at = |job: &BundleId| world.began.iter().position(|other| other == job);
                if let (Some(first), Some(second)) = (at(before), at(job)) {
                    assert!(first < second, "seed {seed}: {job} overtook {before}");
                }
            }
        }
        assert_eq!(world.asked.len(), 16);
    }
    println!(
        "{all} jobs: {unknown} unknown, {cancelled} taken back, {killed} ended by force; on trial {kept} kept, {undone} undone"
    );
    assert!(unknown > 0 && cancelled > 0 && killed > 0, "the storm is no storm");
    assert!(undone > 0 && kept > 0, "the storm is no storm");
}

/// What is kept was found well, then kept, and nobody began to undo it; what is undone was, or could not be.
fn check_trial(seed: u64, world: &World, job: BundleId, answer: &How) {
    let on_trial = matches!(&world.verdicts[&job], Verdict::Run(terms) if terms.trial.is_some());
    let tried = world.tried.get(&job).map_or(&[][..], Vec::as_slice);
    let says = || format!("seed {seed}: {job} {answer:?} {tried:?}");
    let well = |stage| tried.iter().position(|tried| *tried == (stage, true));
    let over = tried.iter().position(|(stage, _)| matches!(stage, Stage::Undo | Stage::Back));
    match answer {
        How::Ended(outcome) if on_trial && outcome.end == End::Exited(0) => {
            assert!(well(Stage::Arm) < well(Stage::Check), "{}", says());
            assert!(well(Stage::Check) < well(Stage::Keep), "{}", says());
            assert_eq!(over, None, "{}", says());
        }
        How::Undone(why, outcome) => {
            assert!(outcome.as_ref().is_some_and(|it| it.end == End::Exited(0)), "{}", says());
            let failed = tried.iter().filter(|tried| **tried == (Stage::Undo, false)).count();
            let gave_up = why.contains("could not be undone");
            assert!(gave_up != well(Stage::Undo).is_some(), "{}", says());
            assert!(!gave_up || failed >= 5, "{}", says());
            let begun = over.map_or(0, |at| at + 1);
            let late = tried[begun..].iter().find(|(stage, _)| stage.is_open());
            assert_eq!(late, None, "{}", says());
        }
        _ => assert_eq!(tried, [], "{}", says()),
    }
}

/// Jobs on a node where nothing breaks.
fn calm(jobs: &[(u64, Turn, Verdict)]) -> World {
    let mut world = World::new(1);
    world.calm = true;
    world.start();
    for (n, turn, verdict) in jobs {
        let sequence = Sequence { epoch: 1, counter: *n };
        let (turn, arrived_ms) = (turn.clone(), 0);
        world.verdicts.insert(id(*n), verdict.clone());
        world.arrive(id(*n), Asked { issuer: node(1), sequence, turn, arrived_ms, age_s: 0 });
        while world.step() {}
    }
    world
}

fn answers(world: &World, n: u64) -> &[How] {
    world.answers.get(&id(n)).map_or(&[], Vec::as_slice)
}

#[test]
fn the_newest_of_a_key_takes_the_place_of_those_that_have_not_begun() {
    let newest = |n| {
        let supersedes = Some("config".parse().unwrap());
        (n, Turn { supersedes, ..Turn::now(1000) }, terms(1, 0, None))
    };
    // The newest comes in the middle.
    let mut world = calm(&[newest(1), newest(5), newest(3)]);
    world.say(id(5), Word::Approve { by: node(8) });
    world.until_quiet();
    assert_eq!(answers(&world, 1), [How::Superseded]);
    assert_eq!(answers(&world, 3), [How::Superseded]);
    assert!(matches!(answers(&world, 5), [How::Ended(_)]));
}

#[test]
fn nobody_agrees_to_his_own_job_and_two_are_two() {
    let mut world = calm(&[(1, Turn::now(1000), terms(2, 0, None))]);
    for by in [node(1), node(8), node(8)] {
        world.say(id(1), Word::Approve { by });
        while world.step() {}
    }
    world.pass(100_000);
    while world.step() {}
    assert!(answers(&world, 1).is_empty());
    world.say(id(1), Word::Approve { by: node(7) });
    world.until_quiet();
    assert!(matches!(answers(&world, 1), [How::Ended(_)]));
}

#[test]
fn what_is_too_old_or_comes_too_late_is_said_to_be() {
    let held = terms(1, 0, None);
    let after = |then, patience_s| Turn { after: vec![id(99)], patience_s, then, ..Turn::now(200) };
    let hour = |from: Option<u64>, to: Option<u64>| Turn {
        not_before: from.map(|s| 1_800_000_000 + s),
        not_after: to.map(|s| 1_800_000_000 + s),
        ..Turn::now(200)
    };
    let mut world = calm(&[
        (1, Turn::now(100), held.clone()),
        (2, after(Then::Skip, 20), terms(0, 0, None)),
        (3, after(Then::Run, 20), terms(0, 0, None)),
        (4, after(Then::Hold, 20), terms(0, 0, None)),
        (5, hour(None, Some(0)), terms(0, 0, None)),
        (6, hour(Some(60), None), terms(0, 0, None)),
    ]);
    assert!((1..=4).all(|n| answers(&world, n).is_empty()));
    assert!(matches!(answers(&world, 5), [How::Expired(_)]));
    for _ in 0..40 {
        world.pass(1000);
        while world.step() {}
    }
    assert!(matches!(answers(&world, 2), [How::Skipped(_)]));
    assert!(matches!(answers(&world, 3), [How::Ended(_)]));
    assert!(answers(&world, 6).is_empty());
    world.until_quiet();
    assert!(matches!(answers(&world, 1), [How::Expired(_)]));
    assert!(matches!(answers(&world, 4), [How::Expired(_)]));
    assert!(matches!(answers(&world, 6), [How::Ended(_)]));
}

#[test]
fn a_flood_of_one_issuer_waits_behind_itself() {
    let mut world = World::new(1);
    world.calm = true;
    world.start();
    let flood = u64::try_from(WAITING_EACH_MAX).unwrap() + 50;
    for n in 1..=flood + 1 {
        let issuer = node(if n > flood { 2 } else { 1 });
        let sequence = Sequence { epoch: 1, counter: n };
        world.verdicts.insert(id(n), terms(0, 0, None));
        let turn = Turn::now(1_000_000);
        world.arrive(id(n), Asked { issuer, sequence, turn, arrived_ms: 0, age_s: 0 });
        while world.step() {}
    }
    let refused = world.answers.values().flatten().filter(|how| matches!(how, How::Refused(_)));
    assert_eq!(refused.count(), 50);
    for _ in 0..20 {
        world.pass(500);
        while world.step() {}
    }
    assert!(matches!(answers(&world, flood + 1), [How::Ended(_)]), "the other issuer waits");
    let ended = world.answers.values().flatten().filter(|how| matches!(how, How::Ended(_)));
    assert!(ended.count() < 100);
}

#[test]
fn a_stage_that_could_not_be_recorded_is_recorded_again_before_it_is_done() {
    for stage in [Stage::Arm, Stage::Restart, Stage::Check, Stage::Keep, Stage::Undo, Stage::Back] {
        let mut scheduler = Scheduler::new(ROOM);
        let mut trial = Trial::new(OnTrial { within_s: 60, starts: 9, restarts: true });
        // As it was before a start, after which that stage is entered.
        trial.stage = match stage {
            Stage::Check => Stage::Restart,
            stage => stage,
        };
        let phase = Phase::Starting { attempt: 0, reruns: 0 };
        let record = Record { phase, trial: Some(trial), ..Record::new() };
        let sequence = Sequence { epoch: 1, counter: 1 };
        let turn = Turn::now(1000);
        let asked = Asked { issuer: node(1), sequence, turn, arrived_ms: 0, age_s: 0 };
        let asked = Some(Box::new(asked));
        let mut held_ms = 1000;
        let mut tell = |input, ms| {
            held_ms += ms;
            scheduler.handle(Now { held_ms, wall_s: None }, input);
            std::iter::from_fn(|| scheduler.poll()).collect::<Vec<_>>()
        };
        tell(Input::Known { job: id(1), asked, record }, 0);
        let recorded = |outputs: &[Output]| {
            outputs.iter().find_map(|output| match output {
                Output::Record { record, .. } => record.trial.as_ref().map(|trial| trial.stage),
                _ => None,
            })
        };
        let entered = recorded(&tell(Input::Began, 0));
        let outputs = tell(Input::Recorded { job: id(1), durable: false }, 0);
        assert_eq!(outputs, []);
        assert_eq!(recorded(&tell(Input::Timeout, 10_000)), entered, "{stage:?}");
        let outputs = tell(Input::Recorded { job: id(1), durable: true }, 0);
        let done = outputs.iter().find_map(|output| match output {
            Output::Try { stage, .. } => Some(*stage),
            Output::Look { .. } => Some(Stage::Undone),
            _ => None,
        });
        assert_eq!(done, entered, "{stage:?}");
        // So is the one that follows: nothing is taken for a start that was not asked for.
        let next = match stage {
            Stage::Arm => Stage::Restart,
            Stage::Undo => Stage::Back,
            _ => continue,
        };
        let outputs = tell(Input::Tried { job: id(1), stage, result: Ok(()) }, 0);
        assert_eq!(recorded(&outputs), Some(next));
        assert_eq!(tell(Input::Recorded { job: id(1), durable: false }, 0), []);
        assert_eq!(recorded(&tell(Input::Timeout, 10_000)), Some(next), "{stage:?}");
    }
}
