//! The audit chain: what was done here for others, and who said so, each record linked to the one
//! before it.
//!
//! It lies in the spool and not in a file of its own: so a record is durable in the very group that
//! makes durable what it speaks of, without a sync more, and after any crash there is either both or
//! neither. Whoever changes the chain holds [`Auditing`] from reading its head to its commit.

mod chain;

use std::{
    fs,
    sync::{Mutex, MutexGuard},
};

use postrider_base::domain;
use postrider_spool::{Change, DurableSpool, Spool};

use self::chain::{Broken, Head, Holds, Record, SIGNED, link};
use super::{
    Desk, Failure, FailureKind, Watch, clock, hex,
    inbox::note_keys,
    incoming::lock,
    ledger::{remove_note, set_note, space},
    people::name_of,
    reply::{AuditChecked, AuditLine},
};

pub(super) use chain::Entry;

/// Records that are kept: some 5 MB, a year of forty jobs a day.
const KEPT_MAX: u64 = 16_384;
/// So many are forgotten at once: more would not fit one group with what else is in it.
const FORGET: u64 = 256;
/// The head is signed so often, if there is anything new.
const SIGN_EVERY_MS: u64 = 3_600_000;
const HEAD: &[u8] = b"head";

/// The head as it is durable; nothing where that must be read.
#[derive(Debug, Default)]
pub(super) struct Auditing(Mutex<Option<Head>>);

/// Records about to become durable.
pub(super) struct Audit<'a> {
    desk: &'a Desk,
    spool: &'a DurableSpool,
    known: MutexGuard<'a, Option<Head>>,
    head: Head,
    /// Keys and values of notes; of one without a value, that it goes.
    notes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Desk {
    /// Begins to add to the chain. What is due by itself comes first: that the allow-list was changed,
    /// by whatever way, and a signature.
    pub(super) fn audit<'a>(&'a self, spool: &'a DurableSpool) -> Result<Audit<'a>, Failure> {
        let mut known = lock(&self.auditing.0);
        // Until what is added now is durable it is not known how it stands.
        let head = match known.take() {
            Some(head) => head,
            None => read_head(spool)?,
        };
        let mut audit = Audit { desk: self, spool, known, head, notes: Vec::new() };
        let list = audit.list();
        if list != audit.head.list {
            audit.head.list = list;
            let entry = Entry { what: "allow-list".into(), hash: Some(list), ..Entry::default() };
            audit.add(entry)?;
        }
        let since_ms = spool.held_ms(clock::now()).saturating_sub(audit.head.signed_ms);
        if since_ms >= SIGN_EVERY_MS {
            audit.sign()?;
        }
        Ok(audit)
    }

    /// Makes durable what is due by itself; `now`, a signature under whatever has none.
    pub(crate) fn keep_audit(&self, now: bool, watch: &dyn Watch) -> Result<(), Failure> {
        let spool = self.spool(watch)?;
        let mut audit = self.audit(spool)?;
        if now {
            audit.sign()?;
        }
        let changes = audit.changes();
        if !changes.is_empty() {
            Spool::commit(spool, clock::now(), changes)?;
        }
        audit.done();
        Ok(())
    }

    /// All that is kept, oldest first.
    pub fn audit_log(&self, watch: &dyn Watch) -> Result<Vec<AuditLine>, Failure> {
        let spool = self.spool(watch)?;
        let contacts = self.home.contacts()?;
        let line = |(number, bytes): (u64, Vec<u8>)| {
            let Some(record) = Record::decode(&bytes) else {
                let what = "damaged".to_owned();
                return AuditLine {
                    number,
                    what,
                    link: hex(&link(&bytes)),
                    ..AuditLine::default()
                };
            };
            let Record { before, number, held_ms, wall_s, entry } = record;
            AuditLine {
                number,
                what: entry.what,
                job: entry.job.map(|job| job.to_string()),
                who: entry.who.map(|who| name_of(&contacts, &who)),
                who_id: entry.who.map(|who| who.to_string()),
                handle: entry.handle,
                blake3: entry.hash.map(|hash| hex(&hash)),
                why: entry.why,
                clock: wall_s,
                held_ms,
                before: hex(&before),
                link: hex(&link(&bytes)),
                signature: entry.signature.map(|signature| hex(&signature)),
            }
        };
        Ok(records(spool)?.into_iter().map(line).collect())
    }

    /// Whether all of it holds; and whether it has a link that somebody else has kept.
    pub fn check_audit(
        &self,
        has: Option<&[u8; 32]>,
        watch: &dyn Watch,
    ) -> Result<AuditChecked, Failure> {
        let spool = self.spool(watch)?;
        // Nobody adds to it meanwhile.
        let _known = lock(&self.auditing.0);
        let records = records(spool)?;
        let head = spool.note(space::AUDIT_HEAD, HEAD)?;
        let head = match head.as_deref().map(Head::decode) {
            None if records.is_empty() => Some(Head::default()),
            None => None,
            Some(head) => head,
        };
        let broken = |number: u64, why: &str| {
            let what = format!("the audit chain is broken at record {number}: {why}");
            Failure::new(FailureKind::Damaged, what).next(
                "what stands before it holds; somebody has changed this home, or its disk is \
                 damaged: postrider spool check",
            )
        };
        let Some(head) = head else { return Err(broken(0, "its head cannot be read")) };
        let Holds { signed, has: found } = head
            .check(&self.home.card.node, &records, has)
            .map_err(|at: Broken| broken(at.number, &at.why))?;
        if let (Some(wanted), None) = (has, found) {
            let what = format!(
                "the audit chain of {} records up to {} does not have {}",
                records.len(),
                head.number,
                hex(wanted)
            );
            return Err(Failure::new(FailureKind::Damaged, what).next(
                "if that link is from a result of this node, what came behind it was cut off, or it \
                 is older than what is kept: postrider log --audit",
            ));
        }
        Ok(AuditChecked {
            records: records.len() as u64,
            first: head.base_number + 1,
            last: head.number,
            head: hex(&head.link),
            signed,
            has: found,
        })
    }
}

impl Audit<'_> {
    /// Adds a record; the oldest make room.
    pub(super) fn add(&mut self, entry: Entry) -> Result<(), Failure> {
        let held_ms = self.spool.held_ms(clock::now());
        let (number, bytes) = self.head.next(held_ms, clock::trusted_wall_s(), entry);
        self.notes.push((number.to_be_bytes().to_vec(), Some(bytes)));
        if number - self.head.base_number >= KEPT_MAX + FORGET {
            self.forget()?;
        }
        Ok(())
    }

    /// The link of the newest record.
    pub(super) fn link(&self) -> [u8; 32] {
        self.head.link
    }

    /// What is to become durable; then [`Self::done`]. Whoever does not get there leaves the head to be
    /// read again.
    pub(super) fn changes(&self) -> Vec<Change> {
        if self.notes.is_empty() {
            return Vec::new();
        }
        let note = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| match value {
            Some(value) => set_note(space::AUDIT, key, value.clone()),
            None => remove_note(space::AUDIT, key),
        };
        let head = set_note(space::AUDIT_HEAD, HEAD, self.head.encode());
        self.notes.iter().map(note).chain([head]).collect()
    }

    /// It is durable.
    pub(super) fn done(mut self) {
        *self.known = Some(self.head);
    }

    /// Signs for everything up to now, if there is anything new.
    fn sign(&mut self) -> Result<(), Failure> {
        if self.head.number <= self.head.signed_number {
            return Ok(());
        }
        let signature = self.desk.home.key.node.sign(&domain::AUDIT, &self.head.link);
        self.head.signed_ms = self.spool.held_ms(clock::now());
        // It speaks for those before it, and needs no signature of its own.
        self.head.signed_number = self.head.number + 1;
        let entry = Entry { what: SIGNED.into(), signature: Some(signature), ..Entry::default() };
        self.add(entry)
    }

    /// Forgets the oldest: the link of the last of them is carried on in the head, and in a record.
    fn forget(&mut self) -> Result<(), Failure> {
        let from = self.head.base_number + 1;
        let last = self.head.base_number + FORGET;
        let bytes = self.spool.note(space::AUDIT, &last.to_be_bytes())?;
        // One that is not there is no reason to keep all; the check will say so.
        let base = bytes.as_deref().map(link).unwrap_or_default();
        self.notes.extend((from..=last).map(|number| (number.to_be_bytes().to_vec(), None)));
        (self.head.base_number, self.head.base_link) = (last, base);
        self.add(Entry {
            what: "forgotten".into(),
            hash: Some(base),
            why: Some(format!("{from} to {last}")),
            ..Entry::default()
        })
    }

    /// BLAKE3 of the allow-list as it is now, however it came to be so; of nothing where there is none.
    fn list(&self) -> [u8; 32] {
        match fs::read(self.desk.home.dir().join("allow.toml")) {
            Ok(bytes) => *blake3::hash(&bytes).as_bytes(),
            // One that cannot be read allows nothing.
            Err(_) => [0; 32],
        }
    }
}

fn read_head(spool: &DurableSpool) -> Result<Head, Failure> {
    let Some(bytes) = spool.note(space::AUDIT_HEAD, HEAD)? else { return Ok(Head::default()) };
    // A head that cannot be read must stop nobody's jobs: what follows begins behind the last number,
    // and the check says that it does not follow from anything.
    match Head::decode(&bytes) {
        Some(head) => Ok(head),
        None => {
            let last = records(spool)?.last().map_or(0, |record| record.0);
            Ok(Head { number: last, ..Head::default() })
        }
    }
}

/// All that is kept, by number.
fn records(spool: &DurableSpool) -> Result<Vec<(u64, Vec<u8>)>, Failure> {
    let mut records = Vec::new();
    for key in note_keys(spool, space::AUDIT)? {
        let Ok(number) = key.as_slice().try_into().map(u64::from_be_bytes) else { continue };
        if let Some(bytes) = spool.note(space::AUDIT, &key)? {
            records.push((number, bytes));
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests;
