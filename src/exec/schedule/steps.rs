//! What follows from how a job stands: judged, placed, begun, answered.

use std::collections::BTreeMap;

use postrider_base::{
    BundleId, NodeId,
    packet::{Fact, Handle},
};

use super::{
    SAY_AFTER_MS, Scheduler, Step,
    contract::{Asked, How, Output, Phase, Stage, Trial, Verdict},
    turn::{Readiness, readiness},
};
use crate::contract::{End, Standing};

/// What could not be done (a disk that is full), or is not allowed at this hour, is tried again after
/// this.
const RETRY_MS: u64 = 30_000;
/// A supervisor that ends without having begun anything is started so often.
const STARTS_MAX: u8 = 5;

impl Scheduler {
    /// Looks at all that are not answered. Issuers take turns: of one, those that run count first.
    pub(super) fn look_at_all(&mut self) {
        let mut ahead: BTreeMap<NodeId, usize> = BTreeMap::new();
        let mut turns = Vec::with_capacity(self.waiting.len());
        for place in &self.waiting {
            let asked = self.jobs.get(&place.1).and_then(|job| job.asked.as_deref());
            let Some(asked) = asked else { continue };
            let ahead = ahead.entry(asked.issuer).or_default();
            turns.push((*ahead, *place));
            *ahead += 1;
        }
        turns.sort_unstable();
        for (_, (_, job)) in turns {
            self.look_at(job);
        }
        self.forget_old();
    }

    /// Does what can be done for a job now.
    pub(super) fn look_at(&mut self, job: BundleId) {
        let now_ms = self.now.held_ms;
        let Some(known) = self.jobs.get_mut(&job) else { return };
        let overdue = known.due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        if overdue {
            known.due_ms = None;
        }
        let Some(known) = self.jobs.get(&job) else { return };
        let Some(asked) = known.asked.as_deref() else { return };
        match (known.step, known.record.phase) {
            (Step::Nothing, Phase::Waiting) => {}
            (Step::Answering, _) if overdue => {
                if let Some(how) = known.answer.clone() {
                    self.answer(job, how);
                }
                return;
            }
            (Step::Running { lives: true, .. }, _) if overdue => {
                return self.say(job, Fact::Started, "");
            }
            (Step::Entering, _) if overdue => return self.enter_again(job),
            (Step::Trying { asked: false }, _) if overdue => return self.look_at_trial(job),
            // Its supervisor should have it by now.
            (Step::Running { lives: false, .. }, Phase::Starting { attempt, .. }) if overdue => {
                self.wake(job, Some(now_ms.saturating_add(SAY_AFTER_MS)));
                return self.outputs.push_back(Output::Look { job, attempt });
            }
            _ => return,
        }
        if known.record.cancel.is_some() {
            return self.answer(job, How::Cancelled);
        }
        if self.is_superseded(job, asked) {
            return self.answer(job, How::Superseded);
        }
        match readiness(self.now, asked, &known.record, &self.before(asked)) {
            Readiness::Over(how) => self.answer(job, how),
            Readiness::Wait { fact, why, until_ms } => {
                self.wake(job, until_ms);
                self.say(job, fact, why);
            }
            Readiness::Ready { until_ms } => {
                let group = known.terms.as_ref().and_then(|terms| terms.group.clone());
                let quiet = now_ms < known.quiet_until_ms;
                if quiet {
                    let until_ms = until_ms.map(|ms| ms.min(known.quiet_until_ms));
                    self.wake(job, until_ms);
                } else if self.has_room(group.as_ref()) {
                    self.wake(job, until_ms);
                    // What an operator has changed meanwhile counts, so it is asked for now.
                    self.set_step(job, Step::Judging);
                    self.outputs.push_back(Output::Judge { job });
                } else {
                    self.wake(job, until_ms);
                    self.say(job, Fact::Admitted, "others run before it");
                }
            }
        }
    }

    pub(super) fn judged(&mut self, job: BundleId, verdict: Verdict) {
        let now_ms = self.now.held_ms;
        if !self.is_at(job, |step| step == Step::Judging) {
            return;
        }
        self.set_step(job, Step::Nothing);
        let Some(known) = self.jobs.get_mut(&job) else { return };
        // It took up room while it was judged.
        self.dirty = true;
        let quiet_until_ms = now_ms.saturating_add(RETRY_MS);
        match verdict {
            Verdict::Refused(why) => self.answer(job, How::Refused(why)),
            Verdict::NoSuchHandle => self.answer(job, How::NoSuchHandle),
            Verdict::NotNow => {
                known.quiet_until_ms = quiet_until_ms;
                self.wake(job, Some(quiet_until_ms));
                self.say(job, Fact::Admitted, "it is not run at this time of the day");
            }
            Verdict::Run(terms) => {
                let agreed = known.record.agreed.as_ref();
                let count = agreed.filter(|(what, _)| *what == terms.what).map_or(0, |a| a.1.len());
                if count < usize::from(terms.approvals) {
                    known.quiet_until_ms = quiet_until_ms;
                    let asked_for = known.said == Some(Fact::Held);
                    known.said = Some(Fact::Held);
                    self.wake(job, Some(quiet_until_ms));
                    if !asked_for {
                        let why = Some(format!("{count} of {} have agreed", terms.approvals));
                        self.outputs.push_back(Output::Propose { job });
                        self.outputs.push_back(Output::Say { job, fact: Fact::Held, why });
                    }
                    return;
                }
                let (group, reruns) = (terms.group.clone(), terms.reruns);
                known.terms = Some(terms);
                if self.has_room(group.as_ref()) {
                    self.place(job, 0, reruns);
                }
            }
        }
    }

    /// Whether one more command may run, and one of this group.
    fn has_room(&self, group: Option<&Handle>) -> bool {
        let same = |id: &BundleId| {
            let of = self.jobs.get(id).and_then(|job| job.terms.as_ref()?.group.as_ref());
            group.is_some() && of == group
        };
        self.running.len() < self.running_max && !self.running.iter().any(same)
    }

    fn place(&mut self, job: BundleId, attempt: u8, reruns: u8) {
        self.set_step(job, Step::Placing { attempt, reruns });
        if let Some(known) = self.jobs.get_mut(&job) {
            known.starts = 0;
            self.outputs.push_back(Output::Place { job, attempt });
        }
    }

    pub(super) fn placed(&mut self, job: BundleId, result: Result<(), String>) {
        let Some(known) = self.jobs.get_mut(&job) else { return };
        let Step::Placing { attempt, reruns } = known.step else { return };
        let first = known.record.phase == Phase::Waiting;
        if first && known.record.cancel.is_some() {
            return self.answer(job, How::Cancelled);
        }
        match result {
            // It is not run again for somebody who has taken it back.
            Ok(()) if !first && known.record.cancel.is_some() => self.answer(job, How::Unknown),
            Ok(()) => {
                known.record.phase = Phase::Starting { attempt, reruns };
                if first {
                    let trial = known.terms.as_ref().and_then(|terms| terms.trial);
                    known.record.trial = trial.map(Trial::new);
                }
                known.attempt = attempt;
                self.outputs.push_back(Output::Record { job, record: known.record.clone() });
                self.set_step(job, Step::Recording);
            }
            // What ran before nobody can tell, and it does not run again.
            Err(_) if !first => self.answer(job, How::Unknown),
            Err(_) => {
                let quiet_until_ms = self.now.held_ms.saturating_add(RETRY_MS);
                known.quiet_until_ms = quiet_until_ms;
                self.set_step(job, Step::Nothing);
                self.wake(job, Some(quiet_until_ms));
                self.say(job, Fact::Admitted, "this node has no room for it");
                self.dirty = true;
            }
        }
    }

    pub(super) fn recorded(&mut self, job: BundleId, durable: bool) {
        if self.is_at(job, |step| step == Step::Entering) {
            return self.entered(job, durable);
        }
        let Some(known) = self.jobs.get_mut(&job).filter(|job| job.step == Step::Recording) else {
            return;
        };
        let Phase::Starting { attempt, .. } = known.record.phase else { return };
        if durable {
            let since_ms = self.now.held_ms;
            known.due_ms = Some(since_ms.saturating_add(SAY_AFTER_MS));
            self.set_step(job, Step::Running { since_ms, lives: false });
            return self.outputs.push_back(Output::Start { job, attempt });
        }
        if attempt > 0 {
            return self.answer(job, How::Unknown);
        }
        let quiet_until_ms = self.now.held_ms.saturating_add(RETRY_MS);
        (known.record.phase, known.quiet_until_ms) = (Phase::Waiting, quiet_until_ms);
        known.record.trial = None;
        self.set_step(job, Step::Nothing);
        self.wake(job, Some(quiet_until_ms));
        self.dirty = true;
    }

    pub(super) fn stands(&mut self, job: BundleId, standing: Standing) {
        let Some(known) = self.jobs.get_mut(&job) else { return };
        let Step::Running { since_ms, .. } = known.step else { return };
        let Phase::Starting { attempt, reruns } = known.record.phase else { return };
        let cancel = known.record.cancel;
        let stage = known.record.trial.as_ref().map(|trial| trial.stage);
        if stage.is_some_and(|stage| stage != Stage::Command) && standing != Standing::Running {
            let outcome = match standing {
                Standing::Ended(outcome) => Some(outcome),
                _ => None,
            };
            return self.trial_over(job, outcome);
        }
        match standing {
            Standing::Ended(outcome) if stage.is_some() && outcome.end == End::Exited(0) => {
                self.arm(job);
            }
            Standing::Running => {
                known.due_ms = Some(since_ms.saturating_add(SAY_AFTER_MS));
                self.set_step(job, Step::Running { since_ms, lives: true });
                // Somebody wanted it to end, and that may not have been heard.
                if cancel.is_some_and(|(_, force)| force) {
                    self.outputs.push_back(Output::End { job, attempt });
                }
            }
            Standing::NotStarted if cancel.is_some() || known.starts >= STARTS_MAX => {
                // One that was started before may still be on its way.
                self.outputs.push_back(Output::Forbid { job, attempt });
            }
            Standing::NotStarted => {
                known.starts += 1;
                self.outputs.push_back(Output::Start { job, attempt });
            }
            Standing::Ended(outcome) => self.answer(
                job,
                match &outcome.end {
                    // Of a run before this one nobody can tell.
                    End::NotBegun(_) if attempt > 0 => How::Unknown,
                    End::NotBegun(_) if cancel.is_some() => How::Cancelled,
                    End::NotBegun(why) => How::NotBegun(why.clone()),
                    _ => How::Ended(outcome),
                },
            ),
            Standing::Unknown if reruns > 0 && cancel.is_none() => {
                self.place(job, attempt.saturating_add(1), reruns - 1);
            }
            Standing::Unknown => self.answer(job, How::Unknown),
        }
    }

    pub(super) fn forbidden(&mut self, job: BundleId, standing: Standing) {
        let Some(known) = self.jobs.get(&job) else { return };
        if !matches!(known.step, Step::Running { .. }) {
            return;
        }
        if standing != Standing::NotStarted {
            return self.stands(job, standing);
        }
        // It certainly never ran, and never will.
        let why = "its supervisor ends before anything begins";
        let not_begun = || How::NotBegun(why.into());
        let how = known.record.cancel.map_or_else(not_begun, |_| How::Cancelled);
        let first = matches!(known.record.phase, Phase::Starting { attempt: 0, .. });
        // Of a run before this one nobody can tell.
        self.answer(job, if first { how } else { How::Unknown });
    }

    /// Answers a job; nothing else becomes of it.
    pub(super) fn answer(&mut self, job: BundleId, how: How) {
        let at_ms = self.now.held_ms;
        let Some(known) = self.jobs.get_mut(&job) else { return };
        known.record.phase = Phase::Answered { well: is_well(&how), at_ms };
        (known.answer, known.due_ms) = (Some(how.clone()), None);
        let (attempt, record) = (known.attempt, known.record.clone());
        self.outputs.push_back(Output::Answer { job, how, attempt, record });
        self.set_step(job, Step::Answering);
    }

    pub(super) fn was_answered(&mut self, job: BundleId, durable: bool) {
        let now_ms = self.now.held_ms;
        if !self.is_at(job, |step| step == Step::Answering) {
            return;
        }
        if !durable {
            return self.wake(job, Some(now_ms.saturating_add(RETRY_MS)));
        }
        let Some(known) = self.jobs.get_mut(&job) else { return };
        (known.answer, known.terms) = (None, None);
        if let Some(asked) = &known.asked {
            self.waiting.remove(&(asked.arrived_ms, job));
        }
        if let Phase::Answered { at_ms, .. } = known.record.phase {
            self.answered.insert((at_ms, job));
        }
        self.set_step(job, Step::Nothing);
        self.dirty = true;
    }

    /// Tells the issuer how its job stands, once for each fact, if it takes long.
    fn say(&mut self, job: BundleId, fact: Fact, why: &str) {
        let now_ms = self.now.held_ms;
        let Some(known) = self.jobs.get_mut(&job) else { return };
        let Some(asked) = &known.asked else { return };
        let soon_ms = asked.arrived_ms.saturating_add(SAY_AFTER_MS);
        if known.said == Some(fact) {
            return;
        }
        if now_ms < soon_ms {
            return self.wake(job, Some(soon_ms));
        }
        known.said = Some(fact);
        let why = (!why.is_empty()).then(|| why.to_owned());
        self.outputs.push_back(Output::Say { job, fact, why });
    }

    /// A job is looked at again then, if not sooner.
    pub(super) fn wake(&mut self, job: BundleId, at_ms: Option<u64>) {
        if let Some(known) = self.jobs.get_mut(&job) {
            known.due_ms = [known.due_ms, at_ms].into_iter().flatten().min();
        }
    }

    pub(super) fn set_step(&mut self, job: BundleId, step: Step) {
        let Some(known) = self.jobs.get_mut(&job) else { return };
        known.step = step;
        match step {
            Step::Nothing | Step::Answering => self.running.remove(&job),
            // Whoever is being judged has its place already: else all would be, for one place.
            _ => self.running.insert(job),
        };
    }

    pub(super) fn is_at(&self, job: BundleId, step: impl Fn(Step) -> bool) -> bool {
        self.jobs.get(&job).is_some_and(|known| step(known.step))
    }

    fn is_superseded(&self, job: BundleId, asked: &Asked) -> bool {
        let key = asked.turn.supersedes.as_ref().map(|key| (asked.issuer, key.clone()));
        let newest = key.and_then(|key| self.newest.get(&key));
        newest.is_some_and(|newest| newest.job != job)
    }
}

fn is_well(how: &How) -> bool {
    matches!(how, How::Ended(outcome) if outcome.end == End::Exited(0))
}
