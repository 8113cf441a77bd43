//! How a run over a fleet stands, for whoever asks.

use std::collections::BTreeMap;

use postrider_spool::{DurableSpool, Spool};

use super::{
    notes::FleetNote,
    plan::{At, Phase, Stop},
};
use crate::desk::{
    Desk, Event, Failure, Watch, clock,
    inbox::note_keys,
    jobs::issue::asked_for,
    ledger::space,
    people::name_of,
    reply::{FleetLine, JobLine, Word},
};

impl Desk {
    /// All runs over fleets, oldest first.
    pub fn fleets(&self, watch: &dyn Watch) -> Result<Vec<FleetLine>, Failure> {
        let spool = self.spool(watch)?;
        let mut all = Vec::new();
        for key in note_keys(spool, space::FLEET)? {
            let Ok(name) = std::str::from_utf8(&key) else { continue };
            match self.fleet_line(spool, name, watch) {
                Ok(line) => all.push(line),
                // One that cannot be read hides no other.
                Err(failure) => watch.event(Event::Warn(failure.what)),
            }
        }
        all.sort_by(|a, b| (b.age_s, &a.name).cmp(&(a.age_s, &b.name)));
        Ok(all)
    }

    /// One of them.
    pub fn fleet(&self, name: &str, watch: &dyn Watch) -> Result<FleetLine, Failure> {
        let spool = self.spool(watch)?;
        let name = self.fleet_called(spool, name)?;
        self.fleet_line(spool, &name, watch)
    }

    /// The jobs of one, in the order of its places, without what they wrote; those that were not sent
    /// have no id.
    pub fn fleet_jobs(&self, name: &str, watch: &dyn Watch) -> Result<Vec<JobLine>, Failure> {
        let spool = self.spool(watch)?;
        let name = self.fleet_called(spool, name)?;
        let note = self.fleet_note(spool, &name)?;
        let template = self.fleet_template(spool, &name)?;
        let contacts = self.home.contacts()?;
        let mut jobs = Vec::new();
        for place in 0..note.of {
            let target = self.target_note(spool, &name, place)?;
            if let Some(job) = target.job() {
                jobs.push(self.job_in_list(spool, &job, watch)?);
                continue;
            }
            let (state, why) = match (&target.refused, note.stop()) {
                (Some(why), _) => ("refused", why.clone()),
                (None, Some(_)) => ("not-sent", "nothing was sent to it".to_owned()),
                (None, None) => ("waiting", "it waits for the canaries".to_owned()),
            };
            jobs.push(JobLine {
                to: target.node().map_or_else(String::new, |node| name_of(&contacts, &node)),
                handle: note.handle.clone(),
                state: state.into(),
                how: state.into(),
                why: Some(why),
                sent: "not-sent".into(),
                fleet: Some(name.clone()),
                place: Some(place),
                ..asked_for(&template, Vec::new())
            });
        }
        Ok(jobs)
    }

    pub(super) fn fleet_line(
        &self,
        spool: &DurableSpool,
        name: &str,
        watch: &dyn Watch,
    ) -> Result<FleetLine, Failure> {
        let note = self.fleet_note(spool, name)?;
        let targets = self.fleet_at(spool, name, note.of)?;
        let held_ms = spool.held_ms(clock::now());
        let phase = note.run(held_ms).plan(&targets).phase;
        let template = self.fleet_template(spool, name)?;
        let count = |is: &dyn Fn(At) -> bool| {
            u32::try_from(targets.iter().filter(|at| is(**at)).count()).unwrap_or(u32::MAX)
        };
        let (well, failed) = (count(&|at| at == At::Well), count(&|at| at == At::Badly));
        let (mut states, mut sent): (BTreeMap<Word, u32>, u32) = Default::default();
        for job in self.fleet_jobs(name, watch)? {
            sent += u32::from(!job.id.is_empty());
            *states.entry(job.state).or_default() += 1;
        }
        Ok(FleetLine {
            name: name.to_owned(),
            args: asked_for(&template, Vec::new()).args,
            state: phase.word().into(),
            why: why(&note, phase, failed),
            over: phase.is_over(),
            of: note.of,
            canary: note.canary,
            max_failures: (note.failures < note.of).then_some(note.failures),
            sent,
            well,
            failed,
            taken_back: count(&|at| at == At::Back),
            states,
            age_s: held_ms.saturating_sub(note.begun_ms) / 1000,
            ends_s: note.left_ms(held_ms) / 1000,
            on: note.on,
            handle: note.handle,
        })
    }
}

/// Why it stands like that, for a person.
fn why(note: &FleetNote, phase: Phase, failed: u32) -> Option<String> {
    Some(match (phase, note.stop()) {
        (Phase::Canaries, _) => match note.canary {
            1 => "the others wait until the first has ended well".to_owned(),
            n => format!("the others wait until the first {n} have ended well"),
        },
        (Phase::Waits, _) => {
            "not every canary ended well: job release lets the others go, job cancel ends it".into()
        }
        (Phase::Halting | Phase::Halted, _) => {
            format!("{failed} failed, and after {} nobody else begins", note.failures)
        }
        (Phase::Cancelling | Phase::Cancelled, _) => "it was taken back here".into(),
        (Phase::Expired, Some(Stop::Late)) => "its time was over before all were sent to".into(),
        (Phase::Expired, _) => "its time is over, and not all have said what became of it".into(),
        _ => return None,
    })
}
