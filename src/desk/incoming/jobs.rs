//! What comes in about jobs: others' for this node, words about them, and what became of mine.

use postrider_base::{
    BundleId, NodeId,
    bundle::Sequence,
    packet::{Body, Fact, JobResult, Said, Stream, Word},
};
use postrider_spool::{Change, Spool};

use super::{Intake, lock};
use crate::desk::{
    Failure,
    hooks::for_job,
    inbox::kept_packet,
    jobs::{CameNote, FactNote, IssuedNote, WordNote},
    ledger::{set_note, space},
};

/// A packet that came, as far as it matters for jobs.
pub(super) struct Came {
    pub id: BundleId,
    pub author: NodeId,
    pub sequence: Sequence,
    pub age_s: u32,
    pub held_ms: u64,
    pub reused: bool,
}

impl Intake<'_> {
    /// Notes what a packet says of a job, in the group that delivers it. Returns that job.
    ///
    /// Nothing is decided here: what came is kept until the scheduler has seen it, whether it runs now
    /// or not.
    pub(super) fn note_job(
        &self,
        came: &Came,
        body: &Body,
        changes: &mut Vec<Change>,
    ) -> Result<Option<BundleId>, Failure> {
        match body {
            // One number for two jobs: which of them its issuer means nobody can tell.
            Body::Job(_) if came.reused => Ok(None),
            Body::Job(job) => {
                let Came { author, sequence, age_s, held_ms, .. } = came;
                let note = CameNote::new(author, *sequence, *age_s, &job.turn, *held_ms);
                changes.push(set_note(space::JOB_CAME, &came.id.0, note.encode()));
                Ok(Some(came.id))
            }
            Body::Result(result) => {
                // Nobody reads it as a message; it must not count among those that wait for that.
                changes.push(set_note(space::READ, &came.id.0, Vec::new()));
                self.note_result(came, result, changes)
            }
            Body::Word(word) => self.note_word(came, word, changes),
            _ => Ok(None),
        }
    }

    /// Whoever was asked says what became of it, and nobody else does. The first word stands: what
    /// comes later may only say the same with more of the output.
    fn note_result(
        &self,
        came: &Came,
        result: &JobResult,
        changes: &mut Vec<Change>,
    ) -> Result<Option<BundleId>, Failure> {
        if !self.is_target(&result.job, &came.author)? {
            return Ok(None);
        }
        let first = self.spool.note(space::JOB_RESULT, &result.job.0)?;
        if first.is_none() && cfg!(target_os = "linux") && !self.home.config.hooks.on_job.is_empty()
        {
            changes.push(for_job(&result.job, came.held_ms));
        }
        if let Some(first) = first
            && let Ok(first) = first.try_into().map(BundleId)
            && let Some(Body::Result(first)) =
                kept_packet(self.spool, &self.home.spool_dir().join("inbox"), first)?
            && !says_more(result, &first)
        {
            return Ok(None);
        }
        changes.push(set_note(space::JOB_RESULT, &result.job.0, came.id.0.to_vec()));
        Ok(Some(result.job))
    }

    fn note_word(
        &self,
        came: &Came,
        word: &Word,
        changes: &mut Vec<Change>,
    ) -> Result<Option<BundleId>, Failure> {
        let note = || WordNote::new(&came.author, word, came.held_ms).encode();
        match &word.said {
            Said::Cancel { .. } | Said::Approve(_) | Said::Ask(_) => {
                let key = [&word.job.0[..], &came.id.0].concat();
                changes.push(set_note(space::JOB_WORD, &key, note()));
            }
            Said::Notice { fact, age_s, why } => {
                if !self.is_target(&word.job, &came.author)? {
                    return Ok(None);
                }
                let before = self.spool.note(space::JOB_FACT, &word.job.0)?;
                let before = before.as_deref().and_then(FactNote::read);
                // Words overtake each other; what runs does not go back to waiting.
                if *fact != Fact::Started && before.is_some_and(|before| before.1 == "running") {
                    return Ok(None);
                }
                let note = FactNote::new(*fact, *age_s, why.as_deref(), came.held_ms);
                changes.push(set_note(space::JOB_FACT, &word.job.0, note.encode()));
            }
            Said::Propose(_) => {
                if !lock(&self.contacts).is_chosen(&came.author) {
                    return Ok(None);
                }
                changes.push(set_note(space::PROPOSAL, &word.job.0, note()));
            }
        }
        Ok(Some(word.job))
    }

    /// The job that a packet says something of.
    pub(super) fn told_of(body: &Body) -> Option<BundleId> {
        match body {
            Body::Result(result) => Some(result.job),
            Body::Word(word) => Some(word.job),
            _ => None,
        }
    }

    /// The job of which a message that became complete is a result: one that came with this packet, or
    /// before its last part.
    pub(super) fn result_in(
        &self,
        message: &BundleId,
        body: &Body,
    ) -> Result<Option<BundleId>, Failure> {
        let kept = match body {
            Body::Part(_) => {
                kept_packet(self.spool, &self.home.spool_dir().join("inbox"), *message)?
            }
            _ => None,
        };
        Ok(match kept.as_ref().unwrap_or(body) {
            Body::Result(result) => Some(result.job),
            _ => None,
        })
    }

    /// Whether this node asked that one to run this job.
    fn is_target(&self, job: &BundleId, author: &NodeId) -> Result<bool, Failure> {
        let issued = self.spool.note(space::ISSUED, &job.0)?;
        let issued = issued.as_deref().and_then(IssuedNote::read);
        Ok(issued.is_some_and(|issued| issued.to() == Some(*author)))
    }
}

/// Whether a later result says what the first one did, and brings more of the output.
fn says_more(later: &JobResult, first: &JobResult) -> bool {
    let same = |a: &Stream, b: &Stream| (a.bytes, a.blake3) == (b.bytes, b.blake3);
    later.state == first.state
        && same(&later.stdout, &first.stdout)
        && same(&later.stderr, &first.stderr)
        && later.files.is_some()
}
