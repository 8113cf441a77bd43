//! What comes from outside: checked, opened when it is for us, kept for others within bounds.
//!
//! [`Intake`] is fed by whoever has bundles (a medium, a stream). It verifies each before it
//! believes anything of it, and gathers what became of them in groups, so that many small messages
//! share one sync. A message, the mark that it was delivered and its receipt are one group: either
//! all of them are durable or none.

mod carry;
mod deliver;
mod jobs;
mod own;
mod refusal;
mod requests;
mod rosters;

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, Read},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use postrider_base::{
    BundleId, Card, Head, NodeId, Roster, SealSecret,
    bundle::{HeadError, Hop, Receipt, SealKind},
    packet::PartHead,
    roster::Day,
    unseal::{Keyring, Opened, PartOpening, open_hashed_stream, open_small, open_stream},
};
use postrider_spool::{Body as SpoolBody, Change, Class, DurableSpool, Outcome, Spool, Staging};

use self::refusal::{head_refusal, open_refusal, read_failure, write_refusal};
pub(super) use self::{
    refusal::Refusal,
    rosters::{is_here, roster_of, whole},
};
use super::{
    Desk, Failure, FailureKind,
    alarm::Alarms,
    clock,
    early::{EarlyReceipts, Heard},
    jobs::JobNews,
    ledger::space,
    opening::{Mark, Opening},
    parts::{PartWriter, Place},
    places::{LeasedWriter, Places},
    receipts::{Numbered, ReceiptNumbers},
    requests::RequestNews,
    sets::SetBook,
};
use crate::home::{Acl, Contacts, Home};

/// A group is committed when it has so many changes or bytes: small enough to lose little time at
/// a crash, large enough that a sync is shared.
const GROUP_CHANGES: usize = 512;
const GROUP_BYTES: usize = 1 << 20;

/// What a visit brought.
#[derive(Debug, Default)]
pub(super) struct Gains {
    /// Bundles taken.
    pub taken: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Messages for us that became complete.
    pub messages: Vec<BundleId>,
    /// Our messages whose receipts came.
    pub delivered: Vec<BundleId>,
    /// Jobs of which something was said, mine and those of others.
    pub jobs: Vec<BundleId>,
    /// Messages that answer something that this node asked for.
    pub answers: Vec<BundleId>,
    /// Whether somebody asks for files.
    pub asked: bool,
    /// Bundles for others that there was no room for after all.
    pub full: HashSet<BundleId>,
}

impl Gains {
    /// Counts what there was no room for among what was not taken.
    pub(super) fn note_left_out(&self, left_out: &mut BTreeMap<String, u64>) {
        if !self.full.is_empty() {
            *left_out.entry(NO_ROOM.to_owned()).or_default() += self.full.len() as u64;
        }
    }
}

/// Said of what is set aside.
pub(super) const ASIDE: &str = "set aside: this program died twice when it was opened";
/// Said of what was not carried because others have their part.
pub(super) const NO_ROOM: &str = "no room for more of others' bundles";

/// A bundle that was read and checked, and is not durable yet.
pub(super) struct Ready {
    id: BundleId,
    head: Head,
    hop: Hop,
    brought: Brought,
    work: Work,
    /// What it brings to those who follow its key.
    roster: Option<Box<Roster>>,
}

impl Ready {
    /// It came over a link, from a neighbour if that is proven; its hop data was admitted there, and
    /// it was said whose it is and what it is worth.
    pub(super) fn brought_by(mut self, from: Option<[u8; 32]>, class: Class, worth: u8) -> Self {
        self.brought = Brought::ByLink(from, class, worth);
        self
    }
}

/// How a bundle came here.
#[derive(Clone, Copy)]
enum Brought {
    /// By a medium or a stream, with hop data of which nothing was checked.
    Unchecked,
    /// By a link.
    ByLink(Option<[u8; 32]>, Class, u8),
}

enum Work {
    /// For us, and whole in memory.
    Small(Box<Opened<io::Sink>>),
    /// For us: a part's bytes are in their files.
    Opened(Box<Opened<PartWriter>>),
    /// For somebody else, in memory.
    Inline(Vec<u8>),
    /// For somebody else, on disk.
    Staged(Box<Staging>),
}

/// Takes bundles into one spool.
pub(super) struct Intake<'a> {
    spool: &'a DurableSpool,
    home: &'a Home,
    node: NodeId,
    keys: Vec<SealSecret>,
    senders: Vec<NodeId>,
    contacts: Mutex<Contacts>,
    /// What was learnt of contacts: that they know us, and perhaps a newer card.
    learnt: Mutex<Vec<(NodeId, Option<Card>)>>,
    sets: SetBook<'a>,
    _end: EndOfIntake,
    receipt_numbers: &'a ReceiptNumbers,
    early_receipts: &'a EarlyReceipts,
    /// Receipts that are to be taken when the bundles have been.
    heard: Mutex<Heard>,
    opening: &'a Opening,
    /// The longest bundle of each class that is carried.
    longest: [u64; Class::ALL.len()],
    group: Mutex<Group>,
    alarms: &'a Alarms,
    job_news: &'a JobNews,
    request_news: &'a RequestNews,
    acl: &'a Acl,
    today: Day,
}

/// What the intake took of places is free when it ends.
struct EndOfIntake(Arc<Places>);

impl Drop for EndOfIntake {
    fn drop(&mut self) {
        self.0.end_intake();
    }
}

/// Changes that wait for the next commit, and what they will mean.
#[derive(Default)]
struct Group {
    changes: Vec<Change>,
    bytes: usize,
    ids: HashSet<BundleId>,
    sequences: HashSet<(NodeId, u32, u64)>,
    /// Which changes are bundles to carry, and how long those are.
    carried: Vec<(usize, BundleId, u64)>,
    /// Numbers of the receipts among the changes.
    numbered: Vec<Numbered>,
    /// Whom contacts introduced, and which contact.
    introduced: Vec<(Card, NodeId)>,
    /// A commit has failed: what was in its group was answered as taken and is not durable, so
    /// nothing may follow, and whoever ends the intake must hear of it.
    broken: Option<(FailureKind, String)>,
    gains: Gains,
    pending: Gains,
}

impl<'a> Intake<'a> {
    pub(super) fn new(desk: &'a Desk, spool: &'a DurableSpool) -> Result<Self, Failure> {
        let contacts = desk.home.contacts()?;
        let stats = spool.stats()?;
        let quotas = desk.quotas(&stats)?;
        spool.set_quotas(quotas);
        Ok(Self {
            spool,
            home: &desk.home,
            node: desk.home.card.node,
            keys: desk.home.key.seal_secrets(),
            senders: contacts.iter().map(|contact| contact.card.node).collect(),
            contacts: Mutex::new((*contacts).clone()),
            learnt: Mutex::default(),
            sets: desk.set_book(spool),
            _end: EndOfIntake(Arc::clone(&desk.places)),
            receipt_numbers: &desk.receipt_numbers,
            early_receipts: &desk.early_receipts,
            heard: Mutex::default(),
            opening: desk.opening(spool)?,
            longest: Class::ALL.map(|class| desk.longest(&quotas, class)),
            group: Mutex::default(),
            alarms: &desk.alarms,
            job_news: &desk.job_news,
            request_news: &desk.request_news,
            acl: &desk.home.config.acl,
            today: clock::today(),
        })
    }

    /// Says which receipts lie beside the bundles that are taken next. They are not taken by this.
    pub(super) fn hear(&self, receipts: impl IntoIterator<Item = Receipt>) {
        let mut heard = lock(&self.heard);
        receipts.into_iter().for_each(|receipt| heard.add(&receipt));
    }

    /// Whether a bundle need not even be read.
    pub(super) fn knows(&self, id: &BundleId) -> Result<bool, Failure> {
        Ok(lock(&self.group).ids.contains(id)
            || self.spool.seen(id)?.is_some()
            || self.spool.note(space::DONE, &id.0)?.is_some())
    }

    /// Takes a bundle whose payload is in memory.
    pub(super) fn take_small(
        &self,
        head: &Head,
        hop: Hop,
        payload: &[u8],
    ) -> Result<BundleId, Refusal> {
        self.settle(self.read_small(head, hop, payload)?, &mut HashSet::new())
    }

    /// Checks and opens a bundle whose payload is in memory.
    pub(super) fn read_small(
        &self,
        head: &Head,
        hop: Hop,
        payload: &[u8],
    ) -> Result<Ready, Refusal> {
        if !head.header().is_small() {
            return self.read_large(head, hop, payload);
        }
        let id = head.verify_small(payload).map_err(|error| head_refusal(&error))?;
        self.read_verified_small(id, head, hop, payload)
    }

    /// As [`Self::read_small`], of a small bundle whose head was verified before.
    pub(super) fn read_verified_small(
        &self,
        id: BundleId,
        head: &Head,
        hop: Hop,
        payload: &[u8],
    ) -> Result<Ready, Refusal> {
        if self.knows(&id)? {
            return Err(Refusal::Known);
        }
        let roster = self.roster_in(head, payload)?;
        let work = if !self.ring().is_for_us(head) {
            Work::Inline(payload.to_vec())
        } else if head.header().seal == SealKind::Age {
            // Small as it is, it may be the last part of something large.
            Work::Opened(Box::new(self.open_age(id, head, payload)?))
        } else {
            let opened = self
                .marked(&id, |_| open_small(head, payload, &self.ring()).map_err(open_refusal))?;
            Work::Small(Box::new(opened))
        };
        Ok(Ready { id, head: head.clone(), hop, brought: Brought::Unchecked, work, roster })
    }

    /// Takes a bundle whose payload streams. For us, it is opened while it is read.
    pub(super) fn take_large(
        &self,
        head: &Head,
        hop: Hop,
        payload: impl Read,
    ) -> Result<BundleId, Refusal> {
        if head.header().is_small() {
            let mut bytes = Vec::new();
            payload
                .take(head.header().length + 1)
                .read_to_end(&mut bytes)
                .map_err(|error| Refusal::Failed(read_failure(error)))?;
            return self.take_small(head, hop, &bytes);
        }
        self.settle(self.read_large(head, hop, payload)?, &mut HashSet::new())
    }

    /// Reads and checks a large bundle; its bytes are written and not yet durable.
    pub(super) fn read_large(
        &self,
        head: &Head,
        hop: Hop,
        mut payload: impl Read,
    ) -> Result<Ready, Refusal> {
        let id = head.verify_large().map_err(|error| head_refusal(&error))?;
        if self.knows(&id)? {
            return Err(Refusal::Known);
        }
        let mut roster = None;
        let work = if self.ring().is_for_us(head) {
            Work::Opened(Box::new(self.open_age(id, head, payload)?))
        } else if self.is_for_followers(head) {
            let payload = self.read_for_followers(head, payload)?;
            roster = self.roster_in(head, &payload)?;
            Work::Inline(payload)
        } else {
            let length = head.header().length;
            self.check_length(self.class_of(head), length)?;
            let mut staging = self.spool.stage()?;
            let mut hasher = blake3::Hasher::new();
            let mut chunk = vec![0; 64 * 1024];
            let mut got = 0_u64;
            loop {
                let n = match payload.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(n) => n,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(Refusal::Failed(read_failure(error))),
                };
                got += n as u64;
                if got > length {
                    return Err(Refusal::Damaged("it is longer than it says".into()));
                }
                hasher.update(&chunk[..n]);
                staging.append(&chunk[..n])?;
            }
            if got != length || head.header().hash != Some(*hasher.finalize().as_bytes()) {
                return Err(Refusal::Damaged(HeadError::Hash.to_string()));
            }
            Work::Staged(Box::new(staging))
        };
        Ok(Ready { id, head: head.clone(), hop, brought: Brought::Unchecked, work, roster })
    }

    /// Opens a large bundle for us that was verified and staged before.
    pub(super) fn open_staged(
        &self,
        id: BundleId,
        head: &Head,
        hop: Hop,
        payload: impl Read,
    ) -> Result<Ready, Refusal> {
        if self.knows(&id)? {
            return Err(Refusal::Known);
        }
        let source = head.header().source().map(|(source, _)| source);
        let begin = |part: &PartHead| self.sets.writer(&id, part, source.as_ref());
        let opened = self.marked(&id, |mark| {
            let payload = mark.follow(payload);
            open_hashed_stream(head, payload, &self.ring(), begin).map_err(open_refusal)
        })?;
        let work = Work::Opened(Box::new(opened));
        let brought = Brought::Unchecked;
        Ok(Ready { id, head: head.clone(), hop, brought, work, roster: None })
    }

    /// A part for us that was verified, and opened while it came.
    pub(super) fn opened(
        &self,
        id: BundleId,
        head: &Head,
        hop: Hop,
        part: PartOpening<LeasedWriter>,
    ) -> Result<Ready, Refusal> {
        if self.knows(&id)? {
            return Err(Refusal::Known);
        }
        let opened = self.marked(&id, |_| part.finish().map_err(open_refusal))?;
        let Opened { source, sequence, created, secret, packet, packet_bytes, part } = opened;
        let part = match part {
            Some((writer, hash)) => Some((writer.settle().map_err(write_refusal)?, hash)),
            None => None,
        };
        let opened = Opened { source, sequence, created, secret, packet, packet_bytes, part };
        let work = Work::Opened(Box::new(opened));
        Ok(Ready { id, head: head.clone(), hop, brought: Brought::Unchecked, work, roster: None })
    }

    /// A large bundle for somebody else that was verified and staged before.
    pub(super) fn staged(&self, id: BundleId, head: &Head, hop: Hop, staging: Staging) -> Ready {
        let work = Work::Staged(Box::new(staging));
        Ready { id, head: head.clone(), hop, brought: Brought::Unchecked, work, roster: None }
    }

    /// Makes a bundle's bytes durable and puts it into the group. `synced` has what was synced
    /// since the bundle was read; see [`PartWriter::sync`].
    pub(super) fn settle(
        &self,
        ready: Ready,
        synced: &mut HashSet<PathBuf>,
    ) -> Result<BundleId, Refusal> {
        lock(&self.group).sound()?;
        let Ready { id, head, hop, brought, work, roster } = ready;
        self.refuse_what_is_over(id, &head, hop, &work)?;
        if let Some(roster) = &roster {
            self.take_roster(roster)?;
        }
        let followed = roster.is_some();
        match work {
            Work::Small(opened) => self.deliver_marked(id, &head, hop, *opened, None)?,
            Work::Inline(payload) => {
                self.carry(id, &head, (hop, brought), followed, SpoolBody::Inline(payload))?;
            }
            Work::Staged(staging) => {
                let body = SpoolBody::Staged(staging.finish()?);
                self.carry(id, &head, (hop, brought), followed, body)?;
            }
            Work::Opened(mut opened) => {
                let place = match &mut opened.part {
                    Some((writer, _)) => {
                        writer.sync(synced).map_err(write_refusal)?;
                        Some(writer.place())
                    }
                    None => None,
                };
                self.deliver_marked(id, &head, hop, *opened, place)?;
            }
        }
        Ok(id)
    }

    /// Delivers with the bundle marked as being worked on; not while others' commits are waited for.
    fn deliver_marked<W>(
        &self,
        id: BundleId,
        head: &Head,
        hop: Hop,
        opened: Opened<W>,
        place: Option<Place>,
    ) -> Result<(), Refusal> {
        let mark = self.mark(&id)?;
        self.deliver(id, head, hop, opened, place)?;
        drop(mark);
        self.opening.acquit(&id);
        Ok(self.flush_if_full(&mut lock(&self.group))?)
    }

    fn mark(&self, id: &BundleId) -> Result<Mark<'a>, Refusal> {
        self.opening.begin(id, self.spool.held_ms(clock::now())).ok_or(Refusal::Aside)
    }

    /// Opens a bundle that is marked meanwhile. One that is refused ended nothing.
    fn marked<T>(
        &self,
        id: &BundleId,
        open: impl FnOnce(&Mark<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mark = self.mark(id)?;
        let opened = open(&mark);
        drop(mark);
        opened.inspect_err(|_| self.opening.acquit(id))
    }

    fn open_age(
        &self,
        id: BundleId,
        head: &Head,
        payload: impl Read,
    ) -> Result<Opened<PartWriter>, Refusal> {
        // Verified with the head.
        let source = head.header().source().map(|(source, _)| source);
        let begin = |part: &PartHead| self.sets.writer(&id, part, source.as_ref());
        self.marked(&id, |mark| {
            let payload = mark.follow(payload);
            open_stream(head, payload, &self.ring(), begin).map_err(open_refusal)
        })
    }

    /// Commits what is gathered; what it means counts only from here on.
    pub(super) fn flush(&self) -> Result<(), Failure> {
        let mut group = lock(&self.group);
        self.flush_locked(&mut group)
    }

    /// Ends the intake: commits, writes changed contacts, and says what it all brought.
    pub(super) fn finish(self) -> Result<Gains, Failure> {
        lock(&self.group).changes.extend(self.opening.acquittals());
        self.flush()?;
        let learnt = std::mem::take(&mut *lock(&self.learnt));
        if !learnt.is_empty() {
            // The file may have changed since this intake began.
            self.home.edit_contacts(|contacts| {
                for (node, card) in learnt {
                    contacts.change(&node, |contact| {
                        contact.answered = true;
                        let newer = card.filter(|card| card.number > contact.card.number);
                        contact.card = newer.unwrap_or_else(|| contact.card.clone());
                    });
                }
                Ok(())
            })?;
        }
        Ok(std::mem::take(&mut lock(&self.group).gains))
    }

    /// Whether a bundle is for this node.
    pub(super) fn is_for_us(&self, head: &Head) -> bool {
        self.ring().is_for_us(head)
    }

    fn ring(&self) -> Keyring<'_> {
        Keyring { node: &self.node, keys: &self.keys, senders: &self.senders }
    }

    fn commit(&self, changes: Vec<Change>) -> Result<Vec<Outcome>, Failure> {
        let outcomes = self.spool.commit(clock::now(), changes)?;
        if outcomes.contains(&Outcome::Void) {
            let what = "a delivery was known although it was asked for";
            return Err(Failure::new(FailureKind::Fault, what));
        }
        Ok(outcomes)
    }

    fn flush_if_full(&self, group: &mut Group) -> Result<(), Failure> {
        if group.changes.len() >= GROUP_CHANGES || group.bytes >= GROUP_BYTES {
            self.flush_locked(group)?;
        }
        Ok(())
    }

    fn flush_locked(&self, group: &mut Group) -> Result<(), Failure> {
        group.sound()?;
        // Over when this returns, whether it succeeds or not.
        let _numbered = std::mem::take(&mut group.numbered);
        // Before what brought them counts as known.
        let introduced = std::mem::take(&mut group.introduced);
        if !introduced.is_empty() {
            self.home.edit_contacts(|contacts| {
                for (card, by) in introduced {
                    contacts.introduce(card, &by);
                }
                Ok(())
            })?;
        }
        if !group.changes.is_empty() {
            let changes = std::mem::take(&mut group.changes);
            let outcomes = match self.commit(changes) {
                Ok(outcomes) => outcomes,
                Err(failure) => {
                    group.broken = Some((failure.kind, failure.what.clone()));
                    self.sets.abandoned();
                    return Err(failure);
                }
            };
            for (at, id, length) in std::mem::take(&mut group.carried) {
                if outcomes.get(at) == Some(&Outcome::Full) {
                    group.pending.taken -= 1;
                    group.pending.bytes -= length;
                    group.gains.full.insert(id);
                }
            }
        }
        group.bytes = 0;
        group.ids.clear();
        group.sequences.clear();
        let pending = std::mem::take(&mut group.pending);
        group.gains.taken += pending.taken;
        group.gains.bytes += pending.bytes;
        // A job whose last part came is news as a message.
        self.job_news.tell(pending.messages.iter().chain(&pending.jobs).copied());
        self.request_news.tell(pending.messages.iter().chain(&pending.answers).copied());
        if pending.asked {
            self.request_news.ring();
        }
        group.gains.messages.extend(pending.messages);
        group.gains.delivered.extend(pending.delivered);
        self.sets.committed()?;
        Ok(())
    }
}

impl Group {
    /// Whether every commit so far has succeeded.
    fn sound(&self) -> Result<(), Failure> {
        match &self.broken {
            None => Ok(()),
            Some((kind, what)) => Err(Failure::new(*kind, what.clone())),
        }
    }
}

fn change_bytes(change: &Change) -> usize {
    match change {
        Change::Note { value: Some(value), .. } => 128 + value.len(),
        _ => 128,
    }
}

/// The lock of a table that is whole at every moment, whatever happened to another thread.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
