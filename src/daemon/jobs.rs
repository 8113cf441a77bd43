//! The thread that runs others' jobs: hands the scheduler what happens, obeys what it says.
//!
//! Each command that runs has a thread that waits for its supervisor and nothing else; they are as many
//! as may run at once. When the daemon ends, supervisors go on: the next one finds their folders.
//!
//! Where jobs come, a supervisor is ready for the next of them: that saves half of what a short command
//! costs.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use postrider_base::BundleId;
use postrider_exec::{
    cage::{self, Ahead},
    contract::Standing,
    schedule::{
        Scheduler,
        contract::{Input, Output, Stage, Verdict},
    },
};
use tokio_util::sync::CancellationToken;

use super::node::Node;
use crate::desk::{Failure, Jobs, Silent, Touched, WaitingWord, do_stage};

/// Commands that run at once: some for each processor of a small machine, since most of them wait.
const RUNNING_MAX: usize = 4;
/// Nothing is due for longer than this without a look.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Supervisors that are ready: one for the next job, one that becomes ready while that runs, since joining
/// a control group takes the kernel 10 ms. Each is two processes, which wait.
const READY_MAX: usize = 2;
/// They are started, and what jobs left is cleared away, so long after there is nothing else to do: what was
/// answered is on its way first.
const QUIET: Duration = Duration::from_millis(3);
/// Jobs that left something; beyond, it is cleared away at once.
const TO_TIDY_MAX: usize = 16;
/// So long after a job they are kept.
const READY_FOR: Duration = Duration::from_secs(600);

/// What a thread that waited has learnt.
enum Learnt {
    /// How a job stands.
    Stands(BundleId, Standing),
    /// What came of a stage of its trial.
    Tried(BundleId, Stage, Result<(), String>),
}

/// Runs others' jobs until told to stop.
pub(super) fn run(node: &Arc<Node>, stop: &CancellationToken) {
    let jobs = match node.desk.open_jobs(&Silent) {
        Ok(jobs) => jobs,
        Err(failure) => return node.board.trouble(&failure),
    };
    let (ended, endings) = channel();
    let mut clerk = Clerk {
        node,
        jobs,
        scheduler: Scheduler::new(RUNNING_MAX),
        inputs: VecDeque::new(),
        watched: BTreeSet::new(),
        unsettled: BTreeMap::new(),
        to_tidy: Vec::new(),
        active: Instant::now(),
        ended,
        ahead: Vec::new(),
        prepared: BTreeMap::new(),
        last: None,
    };
    if let Err(failure) = clerk.begin() {
        return node.board.trouble(&failure);
    }
    while !stop.is_cancelled() {
        clerk.work();
        clerk.wait(&endings);
    }
    clerk.tidy();
}

struct Clerk<'a> {
    node: &'a Arc<Node>,
    jobs: Jobs<'a>,
    scheduler: Scheduler,
    inputs: VecDeque<(Input, Option<WaitingWord>)>,
    /// Jobs whose folders somebody waits for.
    watched: BTreeSet<BundleId>,
    /// Gone when a job's answer is on its way: until then its supervisor leaves the disk to that.
    unsettled: BTreeMap<BundleId, Sender<()>>,
    /// Answered jobs that left a folder, of which run.
    to_tidy: Vec<(BundleId, u8)>,
    /// When something was there to do.
    active: Instant,
    ended: Sender<Learnt>,
    /// Ready for the next jobs.
    ahead: Vec<Ahead>,
    /// Those that wait for their jobs to be started, and for which run. Ends whatever it was where that
    /// comes to nothing.
    prepared: BTreeMap<BundleId, (u8, Ahead)>,
    /// When the last one was started.
    last: Option<Instant>,
}

impl Clerk<'_> {
    /// What is durable, and the words that nothing followed from yet.
    fn begin(&mut self) -> Result<(), Failure> {
        let known = self.jobs.known()?;
        self.inputs.extend(known.into_iter().map(|input| (input, None)));
        self.inputs.push_back((Input::Began, None));
        self.hear(None)
    }

    fn hear(&mut self, job: Option<BundleId>) -> Result<(), Failure> {
        for mut word in self.jobs.words(job)? {
            match word.input.take() {
                Some(input) => self.inputs.push_back((input, Some(word))),
                None => self.jobs.note(Vec::new(), Some(&word))?,
            }
        }
        Ok(())
    }

    /// Deals with all that has happened.
    fn work(&mut self) {
        while let Some((input, word)) = self.inputs.pop_front() {
            self.scheduler.handle(self.jobs.now(), input);
            let outputs: Vec<Output> = std::iter::from_fn(|| self.scheduler.poll()).collect();
            let mut notes = Vec::new();
            for output in &outputs {
                if let Output::Note { job, record } = output {
                    notes.push((*job, record.clone()));
                }
            }
            // A word is forgotten in one group with what it led to. Where that fails it is heard again
            // after the next start.
            self.tell(|clerk| clerk.jobs.note(notes, word.as_ref()));
            for output in outputs {
                self.obey(output);
            }
        }
    }

    /// Has a supervisor ready where jobs come, and none where none come any more.
    fn prepare(&mut self) {
        // Without it the next job takes a little longer.
        let _ = self.jobs.make_next();
        while self.lacks_one() {
            match self.jobs.start_ahead() {
                Ok(ahead) => self.ahead.insert(0, ahead),
                // That it does then, too; not tried again before it.
                Err(_) => self.last = None,
            }
        }
    }

    fn lacks_one(&self) -> bool {
        let wanted = self.last.is_some_and(|last| last.elapsed() < READY_FOR);
        wanted && self.watched.is_empty() && self.ahead.len() < READY_MAX
    }

    /// Waits for news, for the end of a command, or for the clock.
    fn wait(&mut self, endings: &Receiver<Learnt>) {
        let now_ms = self.jobs.now().held_ms;
        let due = self.scheduler.poll_timeout();
        let wait_ms = due.map_or(u64::MAX, |due_ms| due_ms.saturating_sub(now_ms));
        let mut wait = Duration::from_millis(wait_ms).min(LOOK_EVERY);
        if self.last.is_some_and(|last| last.elapsed() >= READY_FOR) {
            self.ahead.clear();
        }
        let lacks_one = self.lacks_one();
        if lacks_one || !self.to_tidy.is_empty() {
            wait = wait.min(QUIET);
        }
        let touched = self.jobs.wait(wait);
        while let Ok(learnt) = endings.try_recv() {
            match learnt {
                Learnt::Stands(job, standing) => {
                    self.watched.remove(&job);
                    self.feed(Input::Stands { job, standing });
                }
                Learnt::Tried(job, stage, result) => {
                    self.feed(Input::Tried { job, stage, result });
                }
            }
        }
        self.look(touched);
        if due.is_some_and(|due_ms| due_ms <= self.jobs.now().held_ms) {
            self.feed(Input::Timeout);
        }
        if !self.inputs.is_empty() {
            self.active = Instant::now();
        } else if self.active.elapsed() >= QUIET {
            self.tidy();
            if lacks_one {
                self.prepare();
            }
        }
    }

    /// Clears away what answered jobs left.
    fn tidy(&mut self) {
        for (job, attempt) in std::mem::take(&mut self.to_tidy) {
            self.unsettled.remove(&job);
            self.tell(|clerk| clerk.jobs.tidy(&job, attempt));
        }
    }

    /// Something came in about jobs, others' and mine.
    fn look(&mut self, touched: Touched) {
        if touched.all {
            self.tell(|clerk| {
                let known = clerk.jobs.known()?;
                for input in known {
                    // Those that are known already are no news.
                    if let Input::Known { job, asked: Some(asked), .. } = input {
                        clerk.feed(Input::Arrived { job, asked });
                    }
                }
                clerk.hear(None)
            });
        }
        for job in touched.jobs {
            self.tell(|clerk| {
                let arrived = clerk.jobs.arrived(job)?;
                clerk.inputs.extend(arrived.map(|input| (input, None)));
                clerk.hear(Some(job))
            });
            // Complete messages are named too: a job's last part may have come.
            if self.jobs.concerns(&job) {
                self.happened(job, None);
            }
        }
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Judge { job } => {
                let verdict = self.jobs.judge(job).unwrap_or_else(|failure| {
                    self.node.board.trouble(&failure);
                    Verdict::NotNow
                });
                self.feed(Input::Judged { job, verdict });
            }
            Output::Place { job, attempt } => {
                self.prepared.remove(&job);
                let mut ahead = self.ahead.pop();
                let result = self.jobs.place(job, attempt, &mut ahead).map_err(|failure| {
                    self.node.board.trouble(&failure);
                    failure.to_string()
                });
                if let Some(ahead) = ahead.filter(|_| result.is_ok()) {
                    self.prepared.insert(job, (attempt, ahead));
                }
                self.feed(Input::Placed { job, result });
            }
            Output::Record { job, record } => {
                let durable = self.tell(|clerk| clerk.jobs.note(vec![(job, record)], None));
                self.feed(Input::Recorded { job, durable });
            }
            // In one group with the word that led to them.
            Output::Note { .. } => {}
            Output::Start { job, attempt } => {
                let dir = self.jobs.dir(&job, attempt);
                self.last = Some(Instant::now());
                let prepared = self.prepared.remove(&job).filter(|(run, _)| *run == attempt);
                match self.jobs.start(&job, attempt, prepared.map(|(_, ahead)| ahead)) {
                    Ok(mut supervisor) => {
                        self.happened(job, Some("started"));
                        self.watch(job, move |tell, answered| {
                            tell(supervisor.wait(&dir));
                            // Whoever holds it open makes the folder wait, for a second at most.
                            let _ = answered.recv();
                        });
                    }
                    Err(failure) => {
                        self.node.board.trouble(&failure);
                        self.feed(Input::Stands { job, standing: Standing::NotStarted });
                    }
                }
            }
            Output::Look { job, attempt } => {
                self.prepared.remove(&job);
                let standing = self.jobs.look(&job, attempt);
                self.watch_if_running(job, attempt, &standing);
                self.feed(Input::Stands { job, standing });
            }
            Output::Forbid { job, attempt } => {
                self.prepared.remove(&job);
                let standing = self.jobs.forbid(&job, attempt);
                self.watch_if_running(job, attempt, &standing);
                self.feed(Input::Forbidden { job, standing });
            }
            Output::Try { job, attempt, stage } => self.try_stage(job, attempt, stage),
            Output::End { job, attempt } => {
                self.tell(|clerk| clerk.jobs.end(&job, attempt));
            }
            Output::Answer { job, how, attempt, record } => {
                self.prepared.remove(&job);
                let durable = self.tell(|clerk| clerk.jobs.answer(job, &how, &record, attempt));
                self.feed(Input::Answered { job, durable });
                if durable {
                    self.happened(job, Some("answered"));
                    self.to_tidy.push((job, attempt));
                    if self.to_tidy.len() > TO_TIDY_MAX {
                        self.tidy();
                    }
                }
            }
            Output::Repeat { job, full } => {
                self.tell(|clerk| clerk.jobs.repeat(job, full));
            }
            Output::Say { job, fact, why } => {
                self.tell(|clerk| clerk.jobs.say(job, fact, why));
            }
            Output::Propose { job } => {
                self.tell(|clerk| clerk.jobs.propose(job));
            }
            Output::Forget { job } => {
                self.tell(|clerk| clerk.jobs.forget(&job));
            }
        }
    }

    /// Does what belongs to a stage of a trial, which may take long.
    fn try_stage(&mut self, job: BundleId, attempt: u8, stage: Stage) {
        tracing::info!(job = %job, stage = stage.word(), "on trial");
        self.happened(job, Some(stage.word()));
        let dir = self.jobs.dir(&job, attempt);
        let (node, ended) = (Arc::clone(self.node), self.ended.clone());
        let act = move || {
            let result = do_stage(&dir, stage);
            // Nobody hears it when the daemon has ended; the next one finds what was done.
            let _ = ended.send(Learnt::Tried(job, stage, result));
            node.desk.ring_jobs();
        };
        if let Err(error) = thread::Builder::new().name("trial".into()).spawn(act) {
            let result = Err(format!("could not be begun: {error}"));
            self.feed(Input::Tried { job, stage, result });
        }
    }

    /// A supervisor of before has it: somebody waits for its end.
    fn watch_if_running(&mut self, job: BundleId, attempt: u8, standing: &Standing) {
        if *standing == Standing::Running && !self.watched.contains(&job) {
            let dir = self.jobs.dir(&job, attempt);
            self.watch(job, move |tell, _| tell(cage::wait(&dir)));
        }
    }

    fn watch(
        &mut self,
        job: BundleId,
        wait: impl FnOnce(&dyn Fn(Result<Standing, cage::FolderError>), Receiver<()>) + Send + 'static,
    ) {
        let (answers, answered) = channel();
        self.watched.insert(job);
        self.unsettled.insert(job, answers);
        let (node, ended) = (Arc::clone(self.node), self.ended.clone());
        let wait = move || {
            wait(
                &|standing| {
                    // A folder that cannot be read says nothing.
                    let standing = standing.unwrap_or(Standing::Unknown);
                    // Nobody hears it when the daemon has ended; the next one asks the folder.
                    let _ = ended.send(Learnt::Stands(job, standing));
                    node.desk.ring_jobs();
                },
                answered,
            );
        };
        if let Err(error) = thread::Builder::new().name("job".into()).spawn(wait) {
            self.watched.remove(&job);
            tracing::warn!(%error, "nobody waits for a job; it is looked at later");
        }
    }

    fn feed(&mut self, input: Input) {
        self.inputs.push_back((input, None));
    }

    fn happened(&self, job: BundleId, detail: Option<&str>) {
        self.node.board.happened("job", Some(job.to_string()), None, detail.map(Into::into));
    }

    /// Does something that may fail; whether it did not.
    fn tell(&mut self, act: impl FnOnce(&mut Self) -> Result<(), Failure>) -> bool {
        let done = act(self);
        if let Err(failure) = &done {
            self.node.board.trouble(failure);
        }
        done.is_ok()
    }
}
