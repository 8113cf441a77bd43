//! What of others' jobs stands in the audit chain: in the group of the record that it speaks of.

use std::collections::BTreeMap;

use postrider_base::{
    BundleId, NodeId,
    packet::{Said, State},
};
use postrider_exec::schedule::contract::{Phase, Record};
use postrider_spool::{Change, DurableSpool, Spool};

use super::{RELEASED, WordNote};
use crate::desk::{
    Desk, Failure,
    audit::{Audit, Entry},
    clock,
    ledger::space,
};

/// A command that is about to begin: whose, by which handle, and what it is, as it is agreed to.
pub(super) type Placed = (NodeId, String, [u8; 32]);
/// Those whose folders were made; each is asked for once, a moment later.
pub(super) type AllPlaced = std::cell::RefCell<BTreeMap<BundleId, Placed>>;

/// Adds what records say that are about to become durable, and the word that led to them.
pub(super) fn note(
    audit: &mut Audit<'_>,
    spool: &DurableSpool,
    placed: &AllPlaced,
    notes: &[(BundleId, Record)],
    word: Option<&[u8]>,
) -> Result<(), Failure> {
    if let Some(key) = word {
        let mut entry = of_word(spool, key)?;
        if let Some(entry) = &mut entry
            && notes.is_empty()
        {
            entry.why = Some("nothing follows from it".into());
        }
        entry.map_or(Ok(()), |entry| audit.add(entry))?;
    }
    for (job, record) in notes {
        let Phase::Starting { attempt, .. } = record.phase else { continue };
        // Only the record that comes before a command has one; what is noted later of one that runs
        // has none.
        let Some((who, handle, what)) = placed.borrow_mut().remove(job) else { continue };
        audit.add(Entry {
            what: "started".into(),
            job: Some(*job),
            who: Some(who),
            handle: Some(handle),
            hash: Some(what),
            why: (attempt > 0).then(|| format!("run {} of it", attempt + 1)),
            ..Entry::default()
        })?;
    }
    Ok(())
}

/// Adds what a job is answered.
pub(super) fn answer(
    audit: &mut Audit<'_>,
    job: BundleId,
    whose: Option<(NodeId, String)>,
    (state, why): (State, Option<&str>),
) -> Result<(), Failure> {
    let (what, how) = match state {
        State::Exited(code) => ("ended", Some(format!("exited with {code}"))),
        State::Signalled(signal) => ("ended", Some(format!("by signal {signal}"))),
        State::Overran => ("ended", Some("overran".into())),
        State::Killed => ("ended", Some("killed".into())),
        State::Unknown => ("unknown", None),
        State::Refused => ("refused", None),
        State::UnknownHandle => ("unknown-handle", None),
        State::NotBegun => ("not-begun", None),
        State::Expired => ("expired", None),
        State::Cancelled => ("cancelled", None),
        State::Superseded => ("superseded", None),
        State::Skipped => ("skipped", None),
        State::Undone => ("undone", None),
    };
    let why = match (how, why) {
        (Some(how), Some(why)) => Some(format!("{how}: {why}")),
        (how, why) => how.or_else(|| why.map(Into::into)),
    };
    let (what, job, (who, handle)) = (what.to_owned(), Some(job), whose.unzip());
    audit.add(Entry { what, job, who, handle, why, ..Entry::default() })
}

/// Makes durable that a job is held, before anybody is told.
pub(super) fn held(
    desk: &Desk,
    spool: &DurableSpool,
    job: BundleId,
    (who, handle): (NodeId, String),
    why: Option<String>,
) -> Result<(), Failure> {
    let mut audit = desk.audit(spool)?;
    let (what, job, who, handle) = ("held".to_owned(), Some(job), Some(who), Some(handle));
    audit.add(Entry { what, job, who, handle, why, ..Entry::default() })?;
    let changes: Vec<Change> = audit.changes();
    Spool::commit(spool, clock::now(), changes)?;
    audit.done();
    Ok(())
}

/// What a word says, if that is anything that decides.
fn of_word(spool: &DurableSpool, key: &[u8]) -> Result<Option<Entry>, Failure> {
    let job = key.get(..32).and_then(|job| job.try_into().ok()).map(BundleId);
    if key.ends_with(RELEASED) && key.len() == 32 + RELEASED.len() {
        return Ok(Some(Entry { what: "released".into(), job, ..Entry::default() }));
    }
    let note = spool.note(space::JOB_WORD, key)?;
    let Some((by, word, _)) = note.as_deref().and_then(WordNote::read) else { return Ok(None) };
    let (what, hash, why) = match word.said {
        Said::Cancel { force } => ("taken-back", None, force.then(|| "also if it runs".to_owned())),
        Said::Approve(what) => ("approved", Some(what), None),
        _ => return Ok(None),
    };
    let (what, who, job) = (what.to_owned(), Some(by), Some(word.job));
    Ok(Some(Entry { what, job, who, hash, why, ..Entry::default() }))
}
