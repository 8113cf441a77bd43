//! `job`: what became of the jobs that this node asked others to run.

use postrider_base::{
    BundleId, Lifetime, NodeId,
    packet::{Body, Job, JobResult, Turn},
};
use postrider_spool::{DurableSpool, Spool, SpoolError};

use super::{
    FactNote, IssuedNote,
    asked::{Asked, AskedNote},
    issue::{Draft, asked_for, must_be_accepted},
    output::{Which, as_text},
    standing::{Known, Standing},
};
use crate::{
    desk::{
        Desk, Event, Failure, FailureKind, Watch, clock, hex,
        inbox::{find_note, kept_packet, note_keys},
        incoming::lock,
        ledger::{EventNote, event, space},
        people::name_of,
        reply::JobLine,
    },
    home::{Contact, Contacts},
};

const PAGE: usize = 256;

/// What happened to a job's bundle here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tracks {
    /// Whether anything shows that a copy left, over a link, on a medium or in a stream.
    pub left: bool,
    /// The custody clock when it was taken back last.
    pub taken_back_ms: Option<u64>,
}

/// Whether the outputs stand in a reply.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outputs {
    With,
    Without,
}

impl Desk {
    /// Every job that this node asked others to run by themselves, oldest first. Those of fleets stand
    /// with their fleet.
    pub fn jobs(&self, watch: &dyn Watch) -> Result<Vec<JobLine>, Failure> {
        let spool = self.spool(watch)?;
        let mut found = Vec::new();
        for key in note_keys(spool, space::ISSUED)? {
            let Ok(id) = key.as_slice().try_into().map(BundleId) else { continue };
            if self.asked(spool, &id).is_ok_and(|asked| asked.job.fleet.is_some()) {
                continue;
            }
            match self.line(spool, &id, Outputs::Without, watch) {
                Ok(line) => found.push(line),
                // One that cannot be read hides no other.
                Err(failure) if failure.kind == FailureKind::Damaged => {
                    watch.event(Event::Warn(failure.what));
                }
                Err(failure) => return Err(failure),
            }
        }
        found.sort_by(|a, b| (b.age_s, &a.id).cmp(&(a.age_s, &b.id)));
        Ok(found)
    }

    /// One of them, with what its command wrote.
    pub fn job(&self, id: &str, watch: &dyn Watch) -> Result<JobLine, Failure> {
        let spool = self.spool(watch)?;
        let id = find_note(spool, space::ISSUED, id, "job of mine")?;
        self.job_line(spool, &id, watch)
    }

    /// Asks for the same once more: a new job that names the old one.
    pub fn rerun(&self, id: &str, watch: &dyn Watch) -> Result<JobLine, Failure> {
        let spool = self.spool(watch)?;
        let id = find_note(spool, space::ISSUED, id, "job of mine")?;
        let asked = self.asked(spool, &id)?;
        if let Some(file) = asked.gone.first() {
            let what = format!(
                "its attachments went in parts and are not kept here: {}",
                file.path.join("/")
            );
            return Err(Failure::new(FailureKind::Failed, what)
                .next("nothing was sent; ask anew, with the files: postrider run WHO -f FILE"));
        }
        let contacts = self.home.contacts()?;
        let contact = self.target(&contacts, spool, &id)?;
        // When the old one was to run says nothing of when the new one is.
        let turn = Turn {
            supersedes: asked.job.turn.supersedes.clone(),
            ..Turn::now(asked.job.turn.age_s)
        };
        let lifetime = Lifetime::new(turn.age_s).unwrap_or(Lifetime::DEFAULT);
        must_be_accepted(contact)?;
        // Whoever repeats one does not repeat it for the others.
        let job = Job { turn, rerun_of: Some(id), fleet: None, ..asked.job };
        let beside = |_: &BundleId| Vec::new();
        let draft = Draft { job, files: &[], stdin: None, lifetime, beside: &beside };
        self.issue(spool, contact, draft, watch)
    }

    /// How a job of mine stands.
    pub(in crate::desk) fn job_line(
        &self,
        spool: &DurableSpool,
        id: &BundleId,
        watch: &dyn Watch,
    ) -> Result<JobLine, Failure> {
        self.line(spool, id, Outputs::With, watch)
    }

    /// The same, without what its command wrote.
    pub(super) fn job_in_list(
        &self,
        spool: &DurableSpool,
        id: &BundleId,
        watch: &dyn Watch,
    ) -> Result<JobLine, Failure> {
        self.line(spool, id, Outputs::Without, watch)
    }

    fn line(
        &self,
        spool: &DurableSpool,
        id: &BundleId,
        outputs: Outputs,
        watch: &dyn Watch,
    ) -> Result<JobLine, Failure> {
        let issued = self.issued(spool, id)?;
        let asked = self.asked(spool, id)?;
        let result = self.result_message(spool, id)?;
        let fact = spool.note(space::JOB_FACT, &id.0)?.as_deref().and_then(FactNote::read);
        let sent = self.sent_state(&id.to_string(), watch)?;
        let tracks = self.tracks(spool, id)?;
        let held_ms = spool.held_ms(clock::now());
        let since_s = |ms: u64| held_ms.saturating_sub(ms) / 1000;
        let age_s = since_s(issued.4);
        let known = Known {
            result: result.as_ref().map(|(_, result)| (result.state, result.why.as_deref())),
            fact: fact.as_ref().map(|fact| (&*fact.1, fact.3.as_deref())),
            sent: &sent.state,
            left: tracks.left,
            taken_back: tracks.taken_back_ms.is_some(),
            late: age_s >= u64::from(asked.job.turn.age_s),
        };
        let Standing { state, how, exit_code, signal, why } = known.standing();
        let contacts = self.home.contacts()?;
        let line = JobLine {
            id: id.to_string(),
            to: issued.to().map_or_else(String::new, |to| name_of(&contacts, &to)),
            handle: issued.2,
            state: state.into(),
            how: how.into(),
            exit_code,
            signal,
            why,
            said: result.is_some() || fact.is_some(),
            said_s: fact.map(|fact| since_s(fact.4)),
            age_s,
            sent: sent.state,
            taken_back_s: tracks.taken_back_ms.map(since_s),
            ..asked_for(&asked.job, asked.files().collect())
        };
        let Some((message, result)) = result else { return Ok(line) };
        let came_ms = self.kept(spool, message)?.map(|kept| kept.note.3);
        let text = |which| match outputs {
            Outputs::With => self.output_of(spool, id, message, &result, which).map(as_text),
            Outputs::Without => Ok(None),
        };
        Ok(JobLine {
            stdout: text(Which::Stdout)?,
            stderr: text(Which::Stderr)?,
            ran_ms: Some(result.ran_ms),
            said_s: came_ms.map(since_s),
            waited_ms: Some(result.waited_ms),
            stdout_bytes: Some(result.stdout.bytes),
            stderr_bytes: Some(result.stderr.bytes),
            clock: result.clock,
            enforced: result.enforced,
            audit: result.audit.map(|head| hex(&head)),
            ..line
        })
    }

    /// The note that makes a job mine.
    pub(super) fn issued(
        &self,
        spool: &DurableSpool,
        id: &BundleId,
    ) -> Result<IssuedNote, Failure> {
        let note = spool.note(space::ISSUED, &id.0)?;
        note.as_deref().and_then(IssuedNote::read).ok_or_else(|| unreadable(id))
    }

    /// What it asked for.
    pub(super) fn asked(&self, spool: &DurableSpool, id: &BundleId) -> Result<Asked, Failure> {
        let note = spool.note(space::ASKED, &id.0)?;
        note.as_deref().and_then(AskedNote::read).ok_or_else(|| unreadable(id))
    }

    /// What became of it, if its target has said so.
    pub(super) fn result(
        &self,
        spool: &DurableSpool,
        id: &BundleId,
    ) -> Result<Option<JobResult>, Failure> {
        Ok(self.result_message(spool, id)?.map(|(_, result)| result))
    }

    /// As [`Self::result`], with the message that says so.
    pub(super) fn result_message(
        &self,
        spool: &DurableSpool,
        id: &BundleId,
    ) -> Result<Option<(BundleId, JobResult)>, Failure> {
        let Some(message) = spool.note(space::JOB_RESULT, &id.0)? else { return Ok(None) };
        let message = message.try_into().map(BundleId).map_err(|_| unreadable(id))?;
        match kept_packet(spool, &self.inbox_dir(), message)? {
            Some(Body::Result(result)) => Ok(Some((message, *result))),
            _ => Err(unreadable(id)),
        }
    }

    /// The contact that runs a job of mine.
    pub(super) fn target<'a>(
        &self,
        contacts: &'a Contacts,
        spool: &DurableSpool,
        id: &BundleId,
    ) -> Result<&'a Contact, Failure> {
        let node: NodeId = self.issued(spool, id)?.to().ok_or_else(|| unreadable(id))?;
        Ok(contacts.resolve(&node.to_string())?)
    }

    /// Whether a bundle may leave this node now.
    ///
    /// Of a job of mine it is durable before that it does. Whoever takes one back hears that no copy of
    /// it left, and does not look after it any more; what is on its way and not yet acknowledged runs
    /// all the same. One of which that cannot be written, as on a full disk, stays here.
    pub(in crate::desk) fn may_leave(
        &self,
        spool: &DurableSpool,
        id: &BundleId,
    ) -> Result<bool, Failure> {
        if spool.note(space::ISSUED, &id.0)?.is_none() {
            return Ok(true);
        }
        // It may be called back in this moment.
        let _leaving = lock(&self.leaving);
        if spool.entry(id)?.is_none() {
            return Ok(false);
        }
        if self.tracks(spool, id)?.left {
            return Ok(true);
        }
        let leaves = event(id, spool.held_ms(clock::now()), 7, ("leaves", "", ""));
        match spool.commit(clock::now(), vec![leaves]) {
            Ok(_) => Ok(true),
            Err(SpoolError::Full(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What happened to its bundle here.
    pub(super) fn tracks(&self, spool: &DurableSpool, id: &BundleId) -> Result<Tracks, Failure> {
        let mut tracks = Tracks::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = spool.notes(space::EVENT, &id.0, after.as_deref(), PAGE)?;
            for key in &page {
                let note = spool.note(space::EVENT, key)?;
                let Some(note) = note.as_deref().and_then(EventNote::read) else { continue };
                match &*note.1 {
                    "leaves" | "carried" | "written" | "delivered" => tracks.left = true,
                    "taken-back" => tracks.taken_back_ms = Some(note.4),
                    _ => {}
                }
            }
            let done = page.len() < PAGE;
            after = page.into_iter().next_back();
            if done {
                return Ok(tracks);
            }
        }
    }
}

fn unreadable(id: &BundleId) -> Failure {
    Failure::new(FailureKind::Damaged, format!("what is known of the job {id} cannot be read"))
        .next("postrider spool check says what is damaged")
}
