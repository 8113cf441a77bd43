//! What this node says of jobs: taken back, say it again.

use postrider_base::{
    BundleId, Lifetime, Niceness,
    packet::{Answer, Body, Packet, Said, Word},
};
use postrider_spool::{Change, DurableSpool, Spool};

use super::{RELEASED, asked::AskedNote};
use crate::{
    desk::{
        Desk, Failure, FailureKind, SendRequest, Watch, clock,
        inbox::find_note,
        introduce::letter,
        ledger::{event, set_note, space},
        reply::{JobLine, JobReleased},
        send::{Small, refuse_revoked},
    },
    home::Contact,
};

impl Desk {
    /// Takes a job of mine back. Also which bundles are gone by it.
    ///
    /// One that is not known to have left ends here. Its target is told in any case, before everything
    /// else: a copy may have left unseen, as over a link that broke.
    pub fn cancel_job(
        &self,
        id: &str,
        force: bool,
        watch: &dyn Watch,
    ) -> Result<(JobLine, Vec<BundleId>), Failure> {
        let spool = self.spool(watch)?;
        let id = find_note(spool, space::ISSUED, id, "job of mine")?;
        let before = self.job_line(spool, &id, watch)?;
        if self.result(spool, &id)?.is_some() {
            let what = format!("that job is over: {}", before.state);
            return Err(Failure::new(FailureKind::Ended, what)
                .next(format!("nothing was changed; see postrider job show {id}")));
        }
        let gone = self.take_back(spool, &id, force, Vec::new(), watch)?;
        Ok((self.job_line(spool, &id, watch)?, gone))
    }

    /// Tells the target of a job to let it be, in one group with what stands beside that; one that is not
    /// known to have left is called back. Which bundles are gone by it.
    pub(super) fn take_back(
        &self,
        spool: &DurableSpool,
        id: &BundleId,
        force: bool,
        mut beside: Vec<Change>,
        watch: &dyn Watch,
    ) -> Result<Vec<BundleId>, Failure> {
        let contacts = self.home.contacts()?;
        let contact = self.target(&contacts, spool, id)?;
        let word = Word { job: *id, said: Said::Cancel { force } };
        let how = if force { "force" } else { "" };
        let held_ms = spool.held_ms(clock::now());
        let told = event(id, held_ms, 6, ("taken-back", &contact.name, how));
        // It must be there for as long as the job may come.
        let asked = spool.note(space::ASKED, &id.0)?.as_deref().and_then(AskedNote::read);
        let age_s = asked.map_or(0, |asked| asked.job.turn.age_s);
        let lifetime = self.lifetime().seconds().max(age_s);
        beside.push(told);
        self.say(spool, contact, word, Lifetime::new(lifetime), beside)?;
        let sent = self.sent_state(&id.to_string(), watch)?;
        let mut gone = Vec::new();
        if sent.state == "saved" && !self.tracks(spool, id)?.left {
            match self.cancel_bundles(&id.to_string(), watch) {
                Ok((_, bundles)) => gone = bundles,
                // It has come to its end meanwhile.
                Err(failure) if failure.kind == FailureKind::Ended => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(gone)
    }

    /// Asks the target of a job once more what became of it, with all of its output.
    pub fn ask_again(&self, id: &str, watch: &dyn Watch) -> Result<JobLine, Failure> {
        let spool = self.spool(watch)?;
        let id = find_note(spool, space::ISSUED, id, "job of mine")?;
        let contacts = self.home.contacts()?;
        let contact = self.target(&contacts, spool, &id)?;
        let word = Word { job: id, said: Said::Ask(Answer::Full) };
        self.say(spool, contact, word, None, Vec::new())?;
        self.job_line(spool, &id, watch)
    }

    /// Sends a word, urgently; what stands beside it becomes durable with it.
    pub(super) fn say(
        &self,
        spool: &DurableSpool,
        contact: &Contact,
        word: Word,
        lifetime: Option<Lifetime>,
        beside: Vec<Change>,
    ) -> Result<(), Failure> {
        refuse_revoked(&*self.home.contacts()?, contact)?;
        let request = SendRequest { nice: Some(Niceness::PRIORITY), lifetime, ..letter(contact) };
        let preview = match &word.said {
            Said::Cancel { .. } => "takes a job back",
            Said::Approve(_) => "agrees to a job",
            _ => "asks about a job",
        };
        let body = Body::Word(Box::new(word));
        let packet = Packet { body, tail: self.tail(contact, &request) };
        let small = Small { packet, bytes: 0, preview: preview.into() };
        let mut changes = Vec::new();
        self.seal_small(spool, contact, &request, small, &mut changes)?;
        changes.extend(beside);
        spool.commit(clock::now(), changes)?;
        Ok(())
    }

    /// Lets a job of somebody else's go on that is held here: because the clock cannot be trusted, or a
    /// job before it did not come. Whether that is so the daemon sees; what nobody may have run is
    /// not run for that.
    pub fn release_job(&self, id: &str, watch: &dyn Watch) -> Result<JobReleased, Failure> {
        let spool = self.spool(watch)?;
        let id = find_note(spool, space::JOB_CAME, id, "job for this node")?;
        let kept = self.kept(spool, id)?;
        let Some((author, Body::Job(job))) = kept.map(|kept| (kept.author, kept.packet.body))
        else {
            let what = format!("the job {id} cannot be read back");
            return Err(Failure::new(FailureKind::Damaged, what).next("nothing was changed"));
        };
        let key = [&id.0[..], RELEASED].concat();
        spool.commit(clock::now(), vec![set_note(space::JOB_WORD, &key, Vec::new())])?;
        self.job_news.tell([id]);
        let (from, handle) = (self.name_of(&author), job.handle.to_string());
        Ok(JobReleased { id: id.to_string(), from, handle })
    }
}
