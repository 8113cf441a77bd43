//! `run --on`: one job for each of several targets, the canaries first.
//!
//! Who is meant is settled when it is asked for, and each target then gets a job that is sealed to it
//! alone, when its turn has come: what was not sent cannot run. [`plan`] decides; here that is obeyed,
//! each step in one durable group with the note that says so, by whoever looks first: the daemon, a
//! verb about jobs, or a toss.

mod line;
mod notes;
mod plan;
mod who;

use std::{cell::RefCell, path::PathBuf, str::FromStr};

use postrider_base::{
    BundleId, Lifetime,
    packet::{Body, FLEET_MAX, Fleet, Handle, Job, Manifest, State},
};
use postrider_spool::{Change, DurableSpool, Spool};

use self::{
    notes::{FleetNote, TargetNote, target_key},
    plan::{At, Back, Plan, Stop},
    who::meant,
};
use super::{
    RunRequest,
    issue::{Draft, NOTHING_SENT, attach, check_files, handle, unfit},
};
use crate::desk::{
    Desk, Event, Failure, FailureKind, SendRequest, Watch, clock, hex,
    inbox::note_keys,
    incoming::lock,
    introduce::letter,
    ledger::{set_note, space},
    reply::{FleetLine, TargetLine},
};

/// Targets that become durable in one group: well below what one may hold.
const GROUP: usize = 1024;

/// Something to be run by several.
#[derive(Clone, Debug)]
pub struct FleetRequest {
    /// On whom: role=ROLE, group=GROUP, label=LABEL, or names; each may be several between commas.
    pub on: Vec<String>,
    /// What it is called; by default the handle and some digits.
    pub name: Option<String>,
    /// How many of the first go ahead.
    pub canary: Option<Share>,
    /// After so many failures nobody else begins.
    pub failures: Option<Share>,
    /// What: whom it is for does not count.
    pub run: RunRequest,
}

/// So many of some, or of each hundred of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// So many.
    Count(u32),
    /// Of a hundred.
    Percent(u32),
}

impl Share {
    /// How many of so many, rounded up.
    fn of(self, all: u32) -> u32 {
        match self {
            Self::Count(n) => n.min(all),
            Self::Percent(percent) => {
                let n = (u64::from(all) * u64::from(percent)).div_ceil(100);
                u32::try_from(n).unwrap_or(all).min(all)
            }
        }
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse::<u32>().ok()).flatten()
        };
        match text.strip_suffix('%') {
            Some(digits) => number(digits).filter(|n| *n <= 100).map(Self::Percent),
            None => number(text).map(Self::Count),
        }
        .ok_or_else(|| format!("{text:?} is neither a number nor 0% to 100%"))
    }
}

impl Desk {
    /// Whom a run would be for; nothing is sent.
    pub fn fleet_targets(&self, request: &FleetRequest) -> Result<Vec<TargetLine>, Failure> {
        let contacts = self.home.contacts()?;
        let all = meant(&contacts, &request.on, clock::today())?;
        let of = u32::try_from(all.iter().filter(|it| it.left_out.is_none()).count());
        let canary = request.canary.map_or(0, |share| share.of(of.unwrap_or(FLEET_MAX)));
        let mut place = 0;
        let line = |it: who::Meant<'_>| {
            let goes = it.left_out.is_none();
            place += u32::from(goes);
            TargetLine {
                name: it.contact.name.clone(),
                id: it.contact.card.node.to_string(),
                canary: goes && place <= canary,
                left_out: it.left_out.map(Into::into),
            }
        };
        Ok(all.into_iter().map(line).collect())
    }

    /// Asks several to run something. When this returns, that is durable, and the first were sent
    /// their jobs.
    pub fn run_fleet(
        &self,
        request: &FleetRequest,
        watch: &dyn Watch,
    ) -> Result<FleetLine, Failure> {
        let run = &request.run;
        if run.queue.is_some() || !run.after.is_empty() {
            let what = "jobs of a fleet come after no others";
            return Err(Failure::new(FailureKind::Usage, what).next(NOTHING_SENT));
        }
        let contacts = self.home.contacts()?;
        let nodes: Vec<_> = meant(&contacts, &request.on, clock::today())?
            .into_iter()
            .filter(|it| it.left_out.is_none())
            .map(|it| it.contact)
            .collect();
        let of = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        let Some(first) = nodes.first().filter(|_| of <= FLEET_MAX) else {
            let what = format!("that would be for {of}; a fleet has 1 to {FLEET_MAX}");
            return Err(Failure::new(FailureKind::Unknown, what)
                .next(format!("{NOTHING_SENT}; see who is left out: --dry-run")));
        };
        let failures = request.failures.map(|share| share.of(of));
        if failures == Some(0) {
            let what = "after no failure at all nobody would begin: --max-failures is 1 or more";
            return Err(Failure::new(FailureKind::Usage, what).next(NOTHING_SENT));
        }
        let lifetime = run.lifetime.unwrap_or_else(|| self.lifetime());
        let job = self.fleet_job(letter(first), run, lifetime, watch)?;
        let spool = self.spool(watch)?;
        let _fleeting = lock(&self.fleeting);
        let name = self.fleet_name(spool, request.name.as_deref(), &job.handle)?;
        let begun = (spool.held_ms(clock::now()), lifetime.seconds());
        let note = FleetNote {
            canary: request.canary.map_or(0, |share| share.of(of)),
            failures: failures.unwrap_or(of),
            of,
            ..FleetNote::new(&request.on, job.handle.as_str(), begun)
        };
        // The run itself comes last: without it the others are nothing, and the next of that name
        // writes over them.
        let target = |(place, contact): (u32, &&crate::home::Contact)| {
            let value = TargetNote::new(&contact.card.node).encode();
            set_note(space::FLEET_TARGET, &target_key(name.as_str(), place), value)
        };
        let targets: Vec<Change> = (0..).zip(&nodes).map(target).collect();
        let mut groups = targets.into_iter().peekable();
        while groups.peek().is_some() {
            let mut group: Vec<Change> = groups.by_ref().take(GROUP).collect();
            if groups.peek().is_none() {
                let key = name.as_str().as_bytes();
                group.push(set_note(space::FLEET_JOB, key, job.encode()));
                group.push(set_note(space::FLEET, key, note.encode()));
            }
            spool.commit(clock::now(), group)?;
        }
        // What cannot be sent now goes later; that it will is durable.
        if let Err(failure) = self.advance(spool, name.as_str(), watch) {
            watch
                .event(Event::Warn(format!("{failure}; the fleet {name} is safe, and goes later")));
        }
        self.fleet_line(spool, name.as_str(), watch)
    }

    /// All runs over fleets take their next steps. Which bundles are gone by it.
    pub fn advance_fleets(&self, watch: &dyn Watch) -> Result<Vec<BundleId>, Failure> {
        let spool = self.spool(watch)?;
        let _fleeting = lock(&self.fleeting);
        let mut gone = Vec::new();
        for key in note_keys(spool, space::FLEET)? {
            let Ok(name) = std::str::from_utf8(&key) else { continue };
            match self.advance(spool, name, watch) {
                Ok(more) => gone.extend(more),
                // One that cannot go on keeps no other.
                Err(failure) => {
                    watch.event(Event::Warn(format!("the fleet {name} waits: {failure}")));
                }
            }
        }
        Ok(gone)
    }

    /// Lets those go that wait for the canaries.
    pub fn release_fleet(&self, name: &str, watch: &dyn Watch) -> Result<FleetLine, Failure> {
        let spool = self.spool(watch)?;
        let _fleeting = lock(&self.fleeting);
        let name = self.fleet_called(spool, name)?;
        self.advance(spool, &name, watch)?;
        let note = self.fleet_note(spool, &name)?;
        if note.over || note.stop().is_some() {
            return Err(self.over(spool, &name, watch)?);
        }
        self.change_fleet(spool, &name, FleetNote { released: true, ..note })?;
        self.advance(spool, &name, watch)?;
        self.fleet_line(spool, &name, watch)
    }

    /// Takes a run over a fleet back. Also which bundles are gone by it.
    pub fn cancel_fleet(
        &self,
        name: &str,
        force: bool,
        watch: &dyn Watch,
    ) -> Result<(FleetLine, Vec<BundleId>), Failure> {
        let spool = self.spool(watch)?;
        let _fleeting = lock(&self.fleeting);
        let name = self.fleet_called(spool, name)?;
        let mut gone = self.advance(spool, &name, watch)?;
        let note = self.fleet_note(spool, &name)?;
        let firmer = match note.stop() {
            Some(Stop::Late | Stop::Person { force: true }) => false,
            Some(Stop::Failures | Stop::Person { force: false }) => force,
            None => true,
        };
        if note.over || !firmer {
            return Err(self.over(spool, &name, watch)?);
        }
        self.change_fleet(spool, &name, note.stopped(Stop::Person { force }))?;
        gone.extend(self.advance(spool, &name, watch)?);
        Ok((self.fleet_line(spool, &name, watch)?, gone))
    }

    /// One of them takes its next steps, until there is none.
    fn advance(
        &self,
        spool: &DurableSpool,
        name: &str,
        watch: &dyn Watch,
    ) -> Result<Vec<BundleId>, Failure> {
        let mut gone = Vec::new();
        loop {
            let note = self.fleet_note(spool, name)?;
            if note.over {
                return Ok(gone);
            }
            let targets = self.fleet_at(spool, name, note.of)?;
            let Plan { stop, send, back, firmly, phase } =
                note.run(spool.held_ms(clock::now())).plan(&targets);
            if let Some(stop) = stop {
                self.change_fleet(spool, name, note.stopped(stop))?;
                continue;
            }
            if send.is_empty() && back.is_empty() {
                if phase.is_over() {
                    self.change_fleet(spool, name, FleetNote { over: true, ..note })?;
                }
                return Ok(gone);
            }
            for place in send {
                self.send_to(spool, name, &note, place, watch)?;
            }
            for place in back {
                let firmly = firmly.unwrap_or(Back::Told);
                gone.extend(self.take_back_from(spool, name, place, firmly, watch)?);
            }
        }
    }

    /// Sends one target its job: that, and that it was, are one group.
    fn send_to(
        &self,
        spool: &DurableSpool,
        name: &str,
        note: &FleetNote,
        place: u32,
        watch: &dyn Watch,
    ) -> Result<(), Failure> {
        let target = self.target_note(spool, name, place)?;
        let left_s = note.left_ms(spool.held_ms(clock::now())) / 1000;
        let Some(lifetime) = u32::try_from(left_s).ok().and_then(Lifetime::new) else {
            return Ok(());
        };
        let mut job = self.fleet_template(spool, name)?;
        job.turn.age_s = lifetime.seconds();
        job.turn.patience_s = job.turn.patience_s.min(job.turn.age_s);
        let fleet: Handle = name.parse().map_err(|_| unreadable(name))?;
        let FleetNote { of, canary, failures, .. } = *note;
        job.fleet = Some(Fleet { name: fleet, place, of, canary, failures });
        let key = target_key(name, place);
        let beside = |id: &BundleId| {
            vec![set_note(space::FLEET_TARGET, &key, target.clone().sent(id).encode())]
        };
        let draft = Draft { job, files: &[], stdin: None, lifetime, beside: &beside };
        let contacts = self.home.contacts()?;
        let node = target.node().ok_or_else(|| unreadable(name))?;
        let issued = match contacts.of(&node) {
            Some(contact) => self.issue(spool, contact, draft, watch).map(drop),
            None => Err(Failure::new(FailureKind::Unknown, "they are no contact any more")),
        };
        match issued {
            // A key that was revoked, a contact that was forgotten: so it stays.
            Err(failure) if matches!(failure.kind, FailureKind::Refused | FailureKind::Unknown) => {
                let note = TargetNote { refused: Some(failure.what), ..target };
                let change = set_note(space::FLEET_TARGET, &key, note.encode());
                spool.commit(clock::now(), vec![change])?;
                Ok(())
            }
            issued => issued,
        }
    }

    /// Tells one target to let it be: the word, and that it was said, are one group.
    fn take_back_from(
        &self,
        spool: &DurableSpool,
        name: &str,
        place: u32,
        firmly: Back,
        watch: &dyn Watch,
    ) -> Result<Vec<BundleId>, Failure> {
        let target = self.target_note(spool, name, place)?;
        let Some(job) = target.job() else { return Ok(Vec::new()) };
        let told = target.told(firmly).encode();
        let told = || set_note(space::FLEET_TARGET, &target_key(name, place), told.clone());
        match self.take_back(spool, &job, firmly == Back::Forced, vec![told()], watch) {
            // There is nobody to tell any more.
            Err(failure) if matches!(failure.kind, FailureKind::Refused | FailureKind::Unknown) => {
                spool.commit(clock::now(), vec![told()])?;
                Ok(Vec::new())
            }
            gone => gone,
        }
    }

    /// How far all of its targets are.
    fn fleet_at(&self, spool: &DurableSpool, name: &str, of: u32) -> Result<Vec<At>, Failure> {
        let at = |place| {
            let target = self.target_note(spool, name, place)?;
            let Some(job) = target.job() else {
                return Ok(if target.refused.is_some() { At::Badly } else { At::Unsent });
            };
            let back = target.back();
            let taken_back = || {
                Ok::<_, Failure>(
                    back != Back::No || self.tracks(spool, &job)?.taken_back_ms.is_some(),
                )
            };
            if let Some(result) = self.result(spool, &job)? {
                return Ok(match result.state {
                    State::Exited(0) => At::Well,
                    State::Cancelled | State::Killed if taken_back()? => At::Back,
                    _ => At::Badly,
                });
            }
            let ended = spool.note(space::ENDED, &job.0)?;
            let undelivered = ended.as_deref().filter(|end| *end != b"delivered");
            Ok(match undelivered {
                Some(_) if self.tracks(spool, &job)?.left => At::Open(back),
                Some(end) if end == b"cancelled" => At::Back,
                Some(_) => At::Badly,
                None => At::Open(back),
            })
        };
        (0..of).map(at).collect::<Result<_, Failure>>()
    }

    /// The job that each of them gets, without its fleet.
    fn fleet_job(
        &self,
        letter: SendRequest,
        run: &RunRequest,
        lifetime: Lifetime,
        watch: &dyn Watch,
    ) -> Result<Job, Failure> {
        let job = run.job(lifetime)?;
        job.check().map_err(|error| unfit(&error))?;
        let files: Vec<PathBuf> = run.files.iter().chain(&run.stdin).cloned().collect();
        if files.is_empty() {
            return Ok(job);
        }
        check_files(&files)?;
        let contacts = self.home.contacts()?;
        let contact = contacts.resolve(&letter.to)?;
        let job = RefCell::new(job);
        let wrap = |manifest: Manifest| {
            attach(&mut job.borrow_mut(), manifest, run.stdin.is_some());
            Body::Job(Box::new(job.borrow().clone()))
        };
        let request = SendRequest { files, ..letter };
        // They are kept until the last was sent, and each gets all of them.
        if self.small(contact, &request, &wrap, watch)?.is_none() {
            let what = "what comes along with a run over a fleet has at most 256 KiB";
            return Err(Failure::new(FailureKind::Usage, what).next(format!(
                "{NOTHING_SENT}; let the command fetch the rest: postrider get, or send -f before"
            )));
        }
        let job = job.into_inner();
        job.check().map_err(|error| unfit(&error))?;
        Ok(job)
    }

    /// A name that no run has yet.
    fn fleet_name(
        &self,
        spool: &DurableSpool,
        wanted: Option<&str>,
        of: &Handle,
    ) -> Result<Handle, Failure> {
        let name = match wanted {
            Some(name) => handle(name, "name")?,
            None => {
                let digits = hex(&clock::random::<2>()?);
                let short: String = of.as_str().chars().take(48).collect();
                handle(&format!("{short}-{digits}"), "name")?
            }
        };
        let wrong =
            if name.as_str().len() >= 4 && name.as_str().bytes().all(|b| b.is_ascii_hexdigit()) {
                "looks like an id"
            } else if spool.note(space::FLEET, name.as_str().as_bytes())?.is_some() {
                "is the name of an earlier run"
            } else {
                return Ok(name);
            };
        let what = format!("{name} {wrong}");
        Err(Failure::new(FailureKind::Usage, what).next(format!("{NOTHING_SENT}; choose another")))
    }

    /// Which run is meant: its name, or how that alone begins.
    fn fleet_called(&self, spool: &DurableSpool, name: &str) -> Result<String, Failure> {
        let unknown = || {
            Failure::new(FailureKind::Unknown, format!("no run over a fleet is called {name:?}"))
                .next("nothing was changed; see postrider job ls")
        };
        let _: Handle = name.parse().map_err(|_| unknown())?;
        if spool.note(space::FLEET, name.as_bytes())?.is_some() {
            return Ok(name.to_owned());
        }
        let found = spool.notes(space::FLEET, name.as_bytes(), None, 2)?;
        match &found[..] {
            [one] => String::from_utf8(one.clone()).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }

    fn fleet_note(&self, spool: &DurableSpool, name: &str) -> Result<FleetNote, Failure> {
        let note = spool.note(space::FLEET, name.as_bytes())?;
        note.as_deref().and_then(FleetNote::read).ok_or_else(|| unreadable(name))
    }

    fn target_note(
        &self,
        spool: &DurableSpool,
        name: &str,
        place: u32,
    ) -> Result<TargetNote, Failure> {
        let note = spool.note(space::FLEET_TARGET, &target_key(name, place))?;
        note.as_deref().and_then(TargetNote::read).ok_or_else(|| unreadable(name))
    }

    fn fleet_template(&self, spool: &DurableSpool, name: &str) -> Result<Job, Failure> {
        let job = spool.note(space::FLEET_JOB, name.as_bytes())?;
        job.and_then(|job| Job::decode(&job).ok()).ok_or_else(|| unreadable(name))
    }

    fn change_fleet(
        &self,
        spool: &DurableSpool,
        name: &str,
        note: FleetNote,
    ) -> Result<(), Failure> {
        let change = set_note(space::FLEET, name.as_bytes(), note.encode());
        spool.commit(clock::now(), vec![change])?;
        Ok(())
    }

    fn over(
        &self,
        spool: &DurableSpool,
        name: &str,
        watch: &dyn Watch,
    ) -> Result<Failure, Failure> {
        let line = self.fleet_line(spool, name, watch)?;
        Ok(Failure::new(FailureKind::Ended, format!("the fleet {name} is {} already", line.state))
            .next(format!("nothing was changed; see postrider job show {name}")))
    }
}

fn unreadable(name: &str) -> Failure {
    let what = format!("what is known of the fleet {name} cannot be read");
    Failure::new(FailureKind::Damaged, what).next("postrider spool check says what is damaged")
}

#[cfg(test)]
mod tests;
