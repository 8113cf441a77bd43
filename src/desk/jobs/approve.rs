//! `job approve`: what others want run elsewhere, and this node's yes to exactly that.

use postrider_base::{
    BundleId, NodeId,
    packet::{Proposal, Said, Word, approval_of},
};
use postrider_exec::allow::shown;
use postrider_spool::{DurableSpool, Spool};

use super::WordNote;
use crate::desk::{
    Desk, Failure, FailureKind, Watch, clock, hex,
    inbox::{find_note, note_keys},
    ledger::{set_note, space},
    people::name_of,
    reply::ProposalLine,
};

/// A proposal as it came.
struct Proposed {
    job: BundleId,
    target: NodeId,
    proposal: Proposal,
    came_ms: u64,
}

impl Desk {
    /// Jobs of others that somebody here may agree to, oldest first.
    pub fn proposals(&self, watch: &dyn Watch) -> Result<Vec<ProposalLine>, Failure> {
        let spool = self.spool(watch)?;
        let mut found = Vec::new();
        for key in note_keys(spool, space::PROPOSAL)? {
            let Ok(job) = key.as_slice().try_into().map(BundleId) else { continue };
            if let Some(proposed) = proposed(spool, job)? {
                found.push(self.proposal_line(spool, &proposed)?);
            }
        }
        found.sort_by(|a, b| (b.age_s, &a.id).cmp(&(a.age_s, &b.id)));
        Ok(found)
    }

    /// One of them.
    pub fn proposal(&self, id: &str, watch: &dyn Watch) -> Result<ProposalLine, Failure> {
        let spool = self.spool(watch)?;
        self.proposal_line(spool, &self.find_proposal(spool, id)?)
    }

    /// Agrees to a job. `approval` is what was shown: if something else is proposed by now, nothing is
    /// agreed to.
    pub fn approve(
        &self,
        id: &str,
        approval: Option<&str>,
        watch: &dyn Watch,
    ) -> Result<ProposalLine, Failure> {
        let spool = self.spool(watch)?;
        let proposed = self.find_proposal(spool, id)?;
        let line = self.proposal_line(spool, &proposed)?;
        if line.mine {
            return Err(Failure::new(
                FailureKind::NotAuthorised,
                "nobody agrees to a job of their own",
            )
            .next("nothing was sent; somebody else must agree to it"));
        }
        if approval.is_some_and(|approval| approval != line.approval) {
            let what = "something else is proposed by now than what was shown";
            return Err(Failure::new(FailureKind::Failed, what)
                .next(format!("nothing was sent; look again: postrider job approve {id}")));
        }
        let contacts = self.home.contacts()?;
        let contact = contacts.resolve(&proposed.target.to_string())?;
        let what = approval_of(&proposed.job, &proposed.proposal.argv);
        let word = Word { job: proposed.job, said: Said::Approve(what) };
        let agreed = set_note(space::APPROVED, &proposed.job.0, what.to_vec());
        self.say(spool, contact, word, None, vec![agreed])?;
        Ok(ProposalLine { agreed: true, ..line })
    }

    fn find_proposal(&self, spool: &DurableSpool, id: &str) -> Result<Proposed, Failure> {
        let job = find_note(spool, space::PROPOSAL, id, "job to agree to")?;
        proposed(spool, job)?.ok_or_else(|| {
            Failure::new(FailureKind::Damaged, "what is proposed there cannot be read")
        })
    }

    fn proposal_line(
        &self,
        spool: &DurableSpool,
        proposed: &Proposed,
    ) -> Result<ProposalLine, Failure> {
        let Proposed { job, target, proposal, came_ms } = proposed;
        let contacts = self.home.contacts()?;
        let approval = approval_of(job, &proposal.argv);
        let agreed = spool.note(space::APPROVED, &job.0)?.is_some_and(|it| it == approval);
        let lossy = |word: &Vec<u8>| String::from_utf8_lossy(word).into_owned();
        let mine = proposal.issuer == self.home.card.node;
        Ok(ProposalLine {
            id: job.to_string(),
            from: if mine { "me".into() } else { name_of(&contacts, &proposal.issuer) },
            from_id: proposal.issuer.to_string(),
            to: name_of(&contacts, target),
            handle: proposal.handle.to_string(),
            argv: proposal.argv.iter().map(lossy).collect(),
            shown: proposal.argv.iter().map(|word| shown(word)).collect(),
            given: proposal.given.iter().map(|hash| hex(hash)).collect(),
            needed: proposal.needed,
            approval: hex(&approval),
            age_s: spool.held_ms(clock::now()).saturating_sub(*came_ms) / 1000,
            mine,
            agreed,
        })
    }
}

fn proposed(spool: &DurableSpool, job: BundleId) -> Result<Option<Proposed>, Failure> {
    let note = spool.note(space::PROPOSAL, &job.0)?;
    let read = note.as_deref().and_then(WordNote::read);
    Ok(read.and_then(|(target, word, came_ms)| match word.said {
        Said::Propose(proposal) => Some(Proposed { job, target, proposal, came_ms }),
        _ => None,
    }))
}
