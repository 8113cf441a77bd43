//! Which of the jobs that others sent here begins when, and what each is answered.
//!
//! ```text
//! came -> waits (its time, those before it, who must agree, room)
//!      -> judged -> placed -> Starting recorded -> started -> its folder says how it ended
//!      -> answered, once
//! ```
//!
//! [`contract`] says how it is run. What is durable of a job is its [`Record`]; all else here is found
//! again from that and from the job's folder. Here is what comes in; what follows from how a job
//! stands is in `steps`, whether its time has come in `turn`, and what comes after a command whose work is on
//! trial in `trial`.

pub mod contract;
mod record;
mod steps;
mod trial;
mod turn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use postrider_base::{BundleId, NodeId, packet::Fact};

use self::{
    contract::{Asked, How, Input, Now, Output, Phase, Record, Stage, Terms},
    record::{Key, Newest},
    turn::{Readiness, readiness},
};

/// Jobs of one issuer that wait; beyond, they are refused.
pub const WAITING_EACH_MAX: usize = 1024;
/// Jobs that wait; beyond, they are refused. Each takes some 500 bytes.
pub const WAITING_MAX: usize = 16_384;
/// Answered jobs that are remembered, for those that wait for them and those who ask again.
pub const ANSWERED_MAX: usize = 16_384;
/// How long they are: as long as mail lives.
pub const ANSWERED_MS: u64 = 30 * 86_400_000;
/// Jobs that somebody took back before they came: so many are remembered, for as long.
const AWAITED_MAX: usize = 4096;
/// Of one who takes them back.
const AWAITED_EACH_MAX: usize = 256;

/// A job that is not done by then has its issuer told how it stands: sooner, the answer is faster.
const SAY_AFTER_MS: u64 = 10_000;

/// Decides about a node's jobs.
#[derive(Debug)]
pub struct Scheduler {
    /// Commands that run at once.
    running_max: usize,
    now: Now,
    began: bool,
    jobs: BTreeMap<BundleId, Job>,
    /// Those whose command runs, or that are about to begin.
    running: BTreeSet<BundleId>,
    /// Those that are not answered, as they came.
    waiting: BTreeSet<(u64, BundleId)>,
    /// Those that were answered, oldest first.
    answered: BTreeSet<(u64, BundleId)>,
    /// The newest of the jobs that take each other's places.
    newest: BTreeMap<Key, Newest>,
    outputs: VecDeque<Output>,
    /// Something changed that others may have waited for.
    dirty: bool,
}

#[derive(Debug)]
struct Job {
    asked: Option<Box<Asked>>,
    /// As it is durable, or will be when what was put out is obeyed.
    record: Record,
    step: Step,
    /// As last judged.
    terms: Option<Terms>,
    /// What is to be looked at again then.
    due_ms: Option<u64>,
    /// It is not judged again before, unless somebody agrees.
    quiet_until_ms: u64,
    /// What its issuer was told.
    said: Option<Fact>,
    /// Supervisors that were started for this run of it and began nothing.
    starts: u8,
    /// The run of it that is, or was last, under way.
    attempt: u8,
    /// What it is being answered.
    answer: Option<How>,
    /// Times that undoing it failed.
    undoes: u8,
    /// Its issuer was told that it is on trial.
    on_trial: bool,
}

/// What is under way for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Judging,
    Placing {
        attempt: u8,
        reruns: u8,
    },
    /// That it may have begun is becoming durable.
    Recording,
    /// Its folder is being asked, or its supervisor has it; `lives`: it was seen to run.
    Running {
        since_ms: u64,
        lives: bool,
    },
    /// The stage of its trial is becoming durable.
    Entering,
    /// That is being done, or is waited for.
    Trying {
        asked: bool,
    },
    Answering,
}

impl Scheduler {
    /// For a node that runs so many commands at once.
    pub fn new(running_max: usize) -> Self {
        Self {
            running_max: running_max.max(1),
            now: Now::default(),
            began: false,
            jobs: BTreeMap::new(),
            running: BTreeSet::new(),
            waiting: BTreeSet::new(),
            answered: BTreeSet::new(),
            newest: BTreeMap::new(),
            outputs: VecDeque::new(),
            dirty: false,
        }
    }

    /// Takes an input; then [`Self::poll`] until there is nothing.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = now;
        match input {
            Input::Known { job, asked, record } => self.know(job, asked, record),
            Input::Began => self.begin(),
            Input::Arrived { job, asked } => self.arrive(job, asked),
            Input::Cancel { job, by, admin, force } => self.cancel(job, by, admin, force),
            Input::Approve { job, by, what } => self.approve(job, by, what),
            Input::Again { job, by, full } => self.again(job, by, full),
            Input::Release { job } => self.release(job),
            Input::Judged { job, verdict } => self.judged(job, verdict),
            Input::Placed { job, result } => self.placed(job, result),
            Input::Recorded { job, durable } => self.recorded(job, durable),
            Input::Stands { job, standing } => self.stands(job, standing),
            Input::Forbidden { job, standing } => self.forbidden(job, standing),
            Input::Tried { job, stage, result } => self.tried(job, stage, result),
            Input::Answered { job, durable } => self.was_answered(job, durable),
            Input::Timeout => self.dirty = true,
        }
        if self.began && std::mem::take(&mut self.dirty) {
            self.look_at_all();
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due, by the custody clock.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.jobs.values().filter_map(|job| job.due_ms).min()
    }

    /// How a job stands: its record, whether its command runs, and what it waits for.
    pub fn standing(&self, job: &BundleId) -> Option<(&Record, bool, Option<&'static str>)> {
        let known = self.jobs.get(job)?;
        let runs = matches!(known.step, Step::Running { lives: true, .. });
        let waits = known.asked.as_deref().filter(|_| known.record.phase == Phase::Waiting);
        let why = waits.and_then(|asked| {
            match readiness(self.now, asked, &known.record, &self.before(asked)) {
                Readiness::Wait { why, .. } => Some(why),
                _ => None,
            }
        });
        Some((&known.record, runs, why))
    }

    fn know(&mut self, job: BundleId, asked: Option<Box<Asked>>, mut record: Record) {
        // It was taken back, then it came, and nothing followed from that yet.
        if let (Phase::Awaited { .. }, Some(asked)) = (record.phase, &asked) {
            record = Record::arrived(Some(record), &asked.issuer);
        }
        match (record.phase, &asked) {
            (Phase::Waiting | Phase::Starting { .. }, Some(asked)) => {
                self.waiting.insert((asked.arrived_ms, job));
            }
            (Phase::Answered { at_ms, .. }, _) => {
                self.answered.insert((at_ms, job));
            }
            _ => {}
        }
        if let Some(asked) = &asked {
            self.note_newest(job, asked);
        }
        self.jobs.insert(job, Job::new(asked, record));
    }

    /// After a start: of whatever may have been run, the folder is asked.
    fn begin(&mut self) {
        let mut on_trial = Vec::new();
        for (id, job) in &mut self.jobs {
            if let Phase::Starting { attempt, .. } = job.record.phase {
                let trial = job.record.trial.as_ref();
                if trial.is_some_and(|trial| trial.stage != Stage::Command) {
                    on_trial.push(*id);
                    continue;
                }
                job.step = Step::Running { since_ms: self.now.held_ms, lives: false };
                job.due_ms = Some(self.now.held_ms.saturating_add(SAY_AFTER_MS));
                self.running.insert(*id);
                self.outputs.push_back(Output::Look { job: *id, attempt });
            }
        }
        on_trial.into_iter().for_each(|job| self.resume(job));
        (self.began, self.dirty) = (true, true);
    }

    fn arrive(&mut self, job: BundleId, asked: Box<Asked>) {
        let mut record = Record::new();
        if let Some(known) = self.jobs.get(&job) {
            if known.asked.is_some() {
                return;
            }
            record = Record::arrived(Some(known.record.clone()), &asked.issuer);
            self.outputs.push_back(Output::Note { job, record: record.clone() });
        }
        self.note_newest(job, &asked);
        let its = |(_, id): &&(u64, BundleId)| {
            let other = self.jobs.get(id).and_then(|job| job.asked.as_deref());
            other.is_some_and(|other| other.issuer == asked.issuer)
        };
        let each = self.waiting.iter().filter(its).count();
        let full = self.waiting.len() >= WAITING_MAX || each >= WAITING_EACH_MAX;
        let older = asked.turn.supersedes.is_some();
        self.waiting.insert((asked.arrived_ms, job));
        self.jobs.insert(job, Job::new(Some(asked), record));
        if full {
            self.answer(job, How::Refused("too many jobs wait here; send it again later".into()));
        } else if self.began {
            // Those whose place it takes, and those that waited for it, wait no longer.
            self.dirty |= older;
            self.look_at(job);
        }
    }

    fn note_newest(&mut self, job: BundleId, asked: &Asked) {
        let Some(key) = &asked.turn.supersedes else { return };
        let (epoch, counter) = (asked.sequence.epoch, asked.sequence.counter);
        let new = Newest { job, epoch, counter };
        let old = self.newest.entry((asked.issuer, key.clone())).or_insert(new);
        // Numbers of different epochs cannot be compared: what comes later counts.
        if old.epoch != epoch || old.counter < counter {
            *old = new;
        }
    }

    fn cancel(&mut self, job: BundleId, by: NodeId, admin: bool, force: bool) {
        let Some(known) = self.jobs.get_mut(&job) else { return self.cancel_early(job, by) };
        let its = known.asked.as_deref().is_some_and(|asked| asked.issuer == by);
        if !its && !admin {
            return;
        }
        if known.step == Step::Answering {
            // That answer is the answer to this, too.
            return;
        }
        let force = force || known.record.cancel.is_some_and(|(_, force)| force);
        match known.record.phase {
            Phase::Awaited { .. } => {}
            // The answer that it was given says what became of it.
            Phase::Answered { .. } => {
                self.outputs.push_back(Output::Repeat { job, full: false });
            }
            Phase::Waiting => {
                known.record.cancel = Some((by, force));
                let nothing_yet = matches!(known.step, Step::Nothing | Step::Judging);
                self.note(job);
                // While its folder is being made, that is waited for.
                if nothing_yet {
                    self.answer(job, How::Cancelled);
                }
            }
            Phase::Starting { attempt, .. } => {
                known.record.cancel = Some((by, force));
                self.note(job);
                if force {
                    self.outputs.push_back(Output::End { job, attempt });
                    self.end_trial(job);
                } else {
                    let why = Some("too late to take it back: it has begun".to_owned());
                    self.outputs.push_back(Output::Say { job, fact: Fact::Started, why });
                }
            }
        }
    }

    /// Remembers, within bounds, that a job which has not come is taken back.
    fn cancel_early(&mut self, job: BundleId, by: NodeId) {
        let awaited = |job: &&Job| matches!(job.record.phase, Phase::Awaited { .. });
        let its = |job: &&Job| job.record.cancel.is_some_and(|(who, _)| who == by);
        let all = self.jobs.values().filter(awaited);
        if all.clone().count() >= AWAITED_MAX || all.filter(its).count() >= AWAITED_EACH_MAX {
            return;
        }
        let phase = Phase::Awaited { since_ms: self.now.held_ms };
        let record = Record { phase, cancel: Some((by, false)), ..Record::new() };
        self.jobs.insert(job, Job::new(None, record));
        self.note(job);
    }

    fn approve(&mut self, job: BundleId, by: NodeId, what: [u8; 32]) {
        let Some(known) = self.jobs.get_mut(&job) else { return };
        let own = known.asked.as_deref().is_none_or(|asked| asked.issuer == by);
        if !own && known.record.phase == Phase::Waiting && known.record.agree(by, what) {
            known.quiet_until_ms = 0;
            self.note(job);
            self.look_at(job);
        }
    }

    fn again(&mut self, job: BundleId, by: NodeId, full: bool) {
        let Some(known) = self.jobs.get(&job) else { return };
        let its = known.asked.as_deref().is_some_and(|asked| asked.issuer == by);
        if !its || known.step == Step::Answering {
            return;
        }
        let fact = match (known.record.phase, known.said) {
            (Phase::Answered { .. }, _) => {
                return self.outputs.push_back(Output::Repeat { job, full });
            }
            (Phase::Starting { .. }, _) => Fact::Started,
            (_, Some(Fact::Held)) => Fact::Held,
            _ => Fact::Admitted,
        };
        self.outputs.push_back(Output::Say { job, fact, why: None });
    }

    fn release(&mut self, job: BundleId) {
        if let Some(known) = self.jobs.get_mut(&job)
            && known.record.phase == Phase::Waiting
        {
            known.record.released = true;
            self.note(job);
            self.look_at(job);
        }
    }

    /// Makes durable what is recorded of a job.
    fn note(&mut self, job: BundleId) {
        if let Some(known) = self.jobs.get(&job) {
            self.outputs.push_back(Output::Note { job, record: known.record.clone() });
        }
    }

    /// How those before a job stand: whether each ended well, or did not end; nothing if it is not
    /// known here.
    fn before(&self, asked: &Asked) -> Vec<Option<Option<bool>>> {
        let stands = |id: &BundleId| {
            let job = self.jobs.get(id)?;
            // Others' jobs are nobody's to wait for: they would tell how those end.
            let its = job.asked.as_deref().is_some_and(|other| other.issuer == asked.issuer);
            its.then_some(match job.record.phase {
                Phase::Answered { well, .. } => Some(well),
                _ => None,
            })
        };
        asked.turn.after.iter().map(stands).collect()
    }

    fn forget_old(&mut self) {
        let now_ms = self.now.held_ms;
        let old = |at_ms: u64| now_ms >= at_ms.saturating_add(ANSWERED_MS);
        while let Some((at_ms, job)) = self.answered.first().copied()
            && (old(at_ms) || self.answered.len() > ANSWERED_MAX)
        {
            self.answered.remove(&(at_ms, job));
            self.forget(job);
        }
        let awaited = |(id, job): (&BundleId, &Job)| match job.record.phase {
            Phase::Awaited { since_ms } if old(since_ms) => Some(*id),
            _ => None,
        };
        let over: Vec<BundleId> = self.jobs.iter().filter_map(awaited).collect();
        over.into_iter().for_each(|job| self.forget(job));
    }

    fn forget(&mut self, job: BundleId) {
        if let Some(known) = self.jobs.remove(&job) {
            let key = known.asked.and_then(|asked| Some((asked.issuer, asked.turn.supersedes?)));
            if let Some(key) = key
                && self.newest.get(&key).is_some_and(|newest| newest.job == job)
            {
                self.newest.remove(&key);
            }
        }
        self.outputs.push_back(Output::Forget { job });
    }
}

impl Job {
    fn new(asked: Option<Box<Asked>>, record: Record) -> Self {
        Self {
            asked,
            step: Step::Nothing,
            terms: None,
            due_ms: None,
            quiet_until_ms: 0,
            said: None,
            starts: 0,
            attempt: match record.phase {
                Phase::Starting { attempt, .. } => attempt,
                _ => 0,
            },
            answer: None,
            undoes: 0,
            on_trial: false,
            record,
        }
    }
}

#[cfg(test)]
mod tests;
