//! Commands in two phases: what an update or a new start of the machine changes is on trial, and is undone where
//! it does not stand the trial.
//!
//! ```text
//! the command ends with 0: what is new is there, and nothing uses it
//!   -> Arm -> Restart -> Check, again and again -> Keep -> Kept
//!                any of them fails, or takes too long -> Undo -> Back -> Undone
//! ```
//!
//! Each stage is durable before anything is done in it. What is done in one may be done again after a crash, but
//! for the command itself, which runs once as any other. Nothing here asks for a network.

use postrider_base::{BundleId, packet::Fact};

use super::{
    Scheduler, Step,
    contract::{How, Output, Phase},
};
use crate::contract::Outcome;

/// How often it is looked whether all is well.
const CHECK_MS: u64 = 10_000;
/// So often it is tried to undo something.
const UNDO_MAX: u8 = 5;
/// A reason is at most so long, in bytes.
const WHY_MAX: usize = 300;

/// What is to be proven, and how far that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// On which terms.
    pub terms: OnTrial,
    /// How far it is.
    pub stage: Stage,
    /// The custody clock when it was armed.
    pub since_ms: u64,
    /// Starts of this program since then.
    pub starts: u8,
    /// The last of them was counted by a guard, and is not counted again.
    pub guarded: bool,
    /// Why it is not kept, for a person.
    pub why: String,
}

/// Within which bounds something is on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnTrial {
    /// Seconds of uptime in which all must be well.
    pub within_s: u32,
    /// Starts after which it is undone, if all was never well.
    pub starts: u8,
    /// Whether something must be started anew, before all can be well.
    pub restarts: bool,
}

/// How far a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The command itself.
    Command,
    /// What is new takes the place of what was.
    Arm,
    /// It is started.
    Restart,
    /// Is all well?
    Check,
    /// It stays.
    Keep,
    /// What was takes its place again.
    Undo,
    /// That is started.
    Back,
    /// It stayed.
    Kept,
    /// It did not.
    Undone,
}

impl Stage {
    /// All, by their numbers on disk.
    pub(super) const ALL: [Self; 9] = [
        Self::Command,
        Self::Arm,
        Self::Restart,
        Self::Check,
        Self::Keep,
        Self::Undo,
        Self::Back,
        Self::Kept,
        Self::Undone,
    ];

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Arm => "arm",
            Self::Restart => "restart",
            Self::Check => "check",
            Self::Keep => "keep",
            Self::Undo => "undo",
            Self::Back => "back",
            Self::Kept => "kept",
            Self::Undone => "undone",
        }
    }

    /// Whether what is new may still stay.
    pub fn is_open(self) -> bool {
        (Self::Arm..=Self::Keep).contains(&self)
    }
}

impl Trial {
    /// Of a command that is about to begin.
    pub(super) fn new(terms: OnTrial) -> Self {
        let (stage, why) = (Stage::Command, String::new());
        Self { terms, stage, since_ms: 0, starts: 0, guarded: false, why }
    }

    /// A start is counted. Whether there were too many.
    pub(super) fn count_start(&mut self) -> bool {
        self.starts = self.starts.saturating_add(1);
        self.starts > self.terms.starts
    }

    /// It is not kept.
    pub(super) fn fails(&mut self, why: &str) {
        self.stage = Stage::Undo;
        add(&mut self.why, why);
    }

    /// A start that somebody counts who may have to undo what this program cannot: `true` then, and its stage is
    /// [`Stage::Undo`].
    pub fn guard(&mut self) -> bool {
        if !matches!(self.stage, Stage::Restart | Stage::Check | Stage::Keep) {
            return false;
        }
        self.guarded = true;
        let many = self.count_start();
        if many {
            self.fails(&too_many(self.starts));
        }
        many
    }
}

impl Scheduler {
    /// The command has put everything there.
    pub(super) fn arm(&mut self, job: BundleId) {
        let now_ms = self.now.held_ms;
        if let Some(trial) = self.trial(job) {
            trial.since_ms = now_ms;
        }
        self.enter(job, Stage::Arm);
    }

    /// After a start, wherever it was.
    pub(super) fn resume(&mut self, job: BundleId) {
        let Some(trial) = self.trial(job) else { return };
        let many = if std::mem::take(&mut trial.guarded) {
            trial.starts > trial.terms.starts
        } else {
            trial.count_start()
        };
        let starts = trial.starts;
        match trial.stage {
            Stage::Restart | Stage::Check | Stage::Keep if many => {
                self.undo(job, &too_many(starts));
            }
            Stage::Restart => self.enter(job, Stage::Check),
            // It was to be started, and so it is.
            Stage::Back => self.enter(job, Stage::Undone),
            stage => self.enter(job, stage),
        }
    }

    /// The answer to [`Output::Try`].
    pub(super) fn tried(&mut self, job: BundleId, stage: Stage, result: Result<(), String>) {
        let now_ms = self.now.held_ms;
        let forced = self.forced(job);
        let Some(known) = self.jobs.get_mut(&job) else { return };
        let Some(trial) = known.record.trial.as_mut() else { return };
        if known.step != (Step::Trying { asked: true }) || trial.stage != stage {
            return;
        }
        known.step = Step::Trying { asked: false };
        let end_ms = trial.since_ms.saturating_add(u64::from(trial.terms.within_s) * 1000);
        let restarts = trial.terms.restarts;
        match (stage, result) {
            (Stage::Arm | Stage::Restart | Stage::Check | Stage::Keep, _) if forced => {
                self.undo(job, "it was taken back");
            }
            (Stage::Arm, Ok(())) if restarts => self.enter(job, Stage::Restart),
            (Stage::Arm, Ok(())) => self.enter(job, Stage::Check),
            (Stage::Arm, Err(why)) => self.undo(job, &format!("arming it {why}")),
            (Stage::Restart, Err(why)) => self.undo(job, &format!("starting it {why}")),
            // It ends this program, or the time is over.
            (Stage::Restart, Ok(())) => known.due_ms = Some(end_ms),
            (Stage::Check, Ok(())) => self.enter(job, Stage::Keep),
            (Stage::Keep, Ok(())) => self.enter(job, Stage::Kept),
            (Stage::Check | Stage::Keep, Err(why)) if now_ms >= end_ms => {
                let within = trial.terms.within_s;
                self.undo(job, &format!("within {within} s the {} {why}", stage.word()));
            }
            (Stage::Check | Stage::Keep, Err(_)) => {
                known.due_ms = Some(now_ms.saturating_add(CHECK_MS).min(end_ms.max(now_ms + 1)));
            }
            (Stage::Undo, Ok(())) if restarts => self.enter(job, Stage::Back),
            (Stage::Undo, Ok(())) => self.enter(job, Stage::Undone),
            (Stage::Undo, Err(why)) => {
                known.undoes += 1;
                if known.undoes < UNDO_MAX {
                    known.due_ms = Some(now_ms.saturating_add(CHECK_MS));
                } else {
                    add(&mut trial.why, &format!("and it could not be undone: that {why}"));
                    self.enter(job, Stage::Undone);
                }
            }
            (Stage::Back, Ok(())) => {
                let within_ms = u64::from(trial.terms.within_s) * 1000;
                known.due_ms = Some(now_ms.saturating_add(within_ms));
            }
            (Stage::Back, Err(why)) => {
                add(&mut trial.why, &format!("it was undone; starting what was before {why}"));
                self.enter(job, Stage::Undone);
            }
            (Stage::Command | Stage::Kept | Stage::Undone, _) => {}
        }
    }

    /// Records a stage again that could not be recorded.
    pub(super) fn enter_again(&mut self, job: BundleId) {
        if let Some(stage) = self.trial(job).map(|trial| trial.stage) {
            self.enter(job, stage);
        }
    }

    /// A trial whose time has come.
    pub(super) fn look_at_trial(&mut self, job: BundleId) {
        let Some(trial) = self.trial(job) else { return };
        match trial.stage {
            Stage::Restart => self.undo(job, "nothing started it"),
            Stage::Back => {
                add(&mut trial.why, "it was undone, and nothing has started what was before");
                self.enter(job, Stage::Undone);
            }
            stage => self.enter(job, stage),
        }
    }

    /// Somebody who may wants it to end: it is undone, unless that has begun, or the opposite.
    pub(super) fn end_trial(&mut self, job: BundleId) {
        let idle = self.is_at(job, |step| step == Step::Trying { asked: false });
        if idle && self.trial(job).is_some_and(|trial| trial.stage.is_open()) {
            self.undo(job, "it was taken back");
        }
    }

    /// The record of a stage is durable, or not now.
    pub(super) fn entered(&mut self, job: BundleId, durable: bool) {
        if !durable {
            // Nothing of this stage is done before; it is recorded again.
            let again_ms = self.now.held_ms.saturating_add(CHECK_MS);
            return self.wake(job, Some(again_ms));
        }
        let Some(known) = self.jobs.get(&job) else { return };
        let (Phase::Starting { attempt, .. }, Some(trial)) =
            (known.record.phase, &known.record.trial)
        else {
            return;
        };
        let stage = trial.stage;
        if let Stage::Kept | Stage::Undone = stage {
            // What the command itself wrote and did.
            self.set_step(job, Step::Running { since_ms: self.now.held_ms, lives: true });
            return self.outputs.push_back(Output::Look { job, attempt });
        }
        self.set_step(job, Step::Trying { asked: true });
        self.outputs.push_back(Output::Try { job, attempt, stage });
        if stage == Stage::Check && self.jobs.get(&job).is_some_and(|known| !known.on_trial) {
            if let Some(known) = self.jobs.get_mut(&job) {
                known.on_trial = true;
            }
            let why = Some("it is on trial".to_owned());
            self.outputs.push_back(Output::Say { job, fact: Fact::Started, why });
        }
    }

    /// What a job on trial is answered when that is over.
    pub(super) fn trial_over(&mut self, job: BundleId, outcome: Option<Box<Outcome>>) {
        let Some(trial) = self.trial(job) else { return };
        let (kept, why) = (trial.stage == Stage::Kept, trial.why.clone());
        self.answer(
            job,
            match outcome {
                Some(outcome) if kept => How::Ended(outcome),
                // Its folder is damaged.
                None if kept => How::Unknown,
                outcome => How::Undone(why, outcome),
            },
        );
    }

    /// It is over with what is new.
    fn undo(&mut self, job: BundleId, why: &str) {
        if let Some(trial) = self.trial(job) {
            trial.fails(why);
        }
        self.enter(job, Stage::Undo);
    }

    fn enter(&mut self, job: BundleId, stage: Stage) {
        let Some(known) = self.jobs.get_mut(&job) else { return };
        let Some(trial) = known.record.trial.as_mut() else { return };
        trial.stage = stage;
        known.due_ms = None;
        self.outputs.push_back(Output::Record { job, record: known.record.clone() });
        self.set_step(job, Step::Entering);
    }

    fn trial(&mut self, job: BundleId) -> Option<&mut Trial> {
        self.jobs.get_mut(&job)?.record.trial.as_mut()
    }

    fn forced(&self, job: BundleId) -> bool {
        self.jobs.get(&job).is_some_and(|job| job.record.cancel.is_some_and(|(_, force)| force))
    }
}

fn too_many(starts: u8) -> String {
    format!("after {starts} starts it was never found well")
}

fn add(to: &mut String, why: &str) {
    if !to.is_empty() {
        to.push_str("; ");
    }
    to.push_str(why);
    let mut at = WHY_MAX.min(to.len());
    while !to.is_char_boundary(at) {
        at -= 1;
    }
    to.truncate(at);
}
