//! Taking from a medium: every record is checked, and one that is damaged costs only itself.

use std::{
    collections::{HashMap, HashSet},
    io, mem,
};

use postrider_base::{BundleId, Head, Niceness, bundle::Receipt, disk::Disk};
use postrider_engine::parcel::{
    Condition, Container, ContainerError, FileNumber, Listing, Record, RecordError,
};
use postrider_transports::media::{MediumDisk, Presence};

use super::{
    Event, Failure, Watch, check_stopped,
    inventory::{Copy, Inventory, OnMedium},
    parallel::{Batch, Large, Small},
};
use crate::desk::{
    FailureKind, Unit,
    early::bringer,
    incoming::{ASIDE, Intake, Refusal},
    reply::Tossed,
};

/// Bodies up to this are read and handled one by one; larger ones are worked on in parallel.
const LARGE_FROM: u64 = 1 << 20;
/// Damaged places named in a reply; more are only counted.
const NAMED_MAX: usize = 1000;

/// One visit to one medium.
pub(super) struct Visit<'a> {
    pub disk: &'a MediumDisk,
    pub intake: &'a Intake<'a>,
    pub watch: &'a dyn Watch,
}

/// Which copies are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Those that nothing speaks against.
    Good,
    /// Those that a note calls damaged and that did not come otherwise.
    NotedDamaged,
}

impl Visit<'_> {
    /// Only learns what is there.
    pub(super) fn look(
        &self,
        inventory: &mut Inventory,
        reply: &mut Tossed,
    ) -> Result<(), Failure> {
        let receipts = by_prefix(inventory);
        self.learn_rests(inventory, &receipts, reply)?;
        self.look_at_rests(inventory, reply)?;
        for on_medium in &mut inventory.containers {
            let Some(file) = self.open(on_medium, reply)? else { continue };
            let container = match Container::open(&file) {
                Ok(container) => container,
                Err(error) => {
                    self.note_container(on_medium, &error, reply)?;
                    continue;
                }
            };
            let Some(entries) = container.listed().map(<[_]>::to_vec) else { continue };
            on_medium.listing = Listing::Whole;
            for entry in entries {
                if reply.dry_run && !self.intake.knows(&entry.id)? {
                    reply.taken += 1;
                    reply.bytes_in += entry.record_bytes;
                }
                let receipted = receipts.get(&entry.id.prefix()).is_some_and(|receipt| {
                    container.at(&entry).is_ok_and(|record| opens(&container, &record, receipt))
                });
                on_medium.copies.push(Copy {
                    id: entry.id,
                    record_bytes: entry.record_bytes,
                    nice: entry.nice,
                    condition: Condition::Good,
                    noted_damaged: false,
                    receipted,
                });
            }
        }
        Ok(())
    }

    /// Takes everything that is new.
    pub(super) fn take(
        &self,
        inventory: &mut Inventory,
        workers: usize,
        reply: &mut Tossed,
    ) -> Result<(), Failure> {
        let total: u64 = inventory.containers.iter().map(|container| container.file_bytes).sum();
        let what = "reading the medium".to_owned();
        self.watch.event(Event::Begin { what, total: Some(total), unit: Unit::Bytes });
        let receipts = by_prefix(inventory);
        self.intake.hear(inventory.notes.receipts().copied());
        self.learn_rests(inventory, &receipts, reply)?;
        let mut large = Vec::new();
        for at in 0..inventory.containers.len() {
            self.learn_listed(inventory, at, &receipts, reply)?;
        }
        // Copies that somebody found damaged come last: mostly a good one lies beside them by then,
        // and if that was a lie, they are read all the same.
        for pass in [Pass::Good, Pass::NotedDamaged] {
            for at in 0..inventory.containers.len() {
                self.take_small_ones(inventory, at, pass, workers, &mut large, reply)?;
            }
            self.intake.flush()?;
        }
        // Manifests are small: they are known before the parts that they name.
        self.intake.flush()?;
        let outcomes = self.take_large_ones(inventory, &large, workers)?;
        for (at, refusal) in outcomes {
            let Large { container, id, .. } = &large[at];
            let on_medium = &mut inventory.containers[*container];
            if self.account(refusal, Some(*id), on_medium.number, reply)? {
                mark_damaged(on_medium, id);
                inventory.notes.add_damaged(id, on_medium.number);
            }
        }
        self.intake.flush()?;
        self.watch.event(Event::End);
        Ok(())
    }

    /// Takes the receipts that lie there, when all else was taken.
    pub(super) fn take_receipts(&self, inventory: &Inventory) -> Result<(), Failure> {
        for receipt in inventory.notes.receipts() {
            self.intake.take_receipt(receipt, bringer(None))?;
        }
        Ok(())
    }

    /// Takes note of what a container's trailer lists.
    fn learn_listed(
        &self,
        inventory: &mut Inventory,
        at: usize,
        receipts: &HashMap<[u8; 8], Receipt>,
        reply: &mut Tossed,
    ) -> Result<(), Failure> {
        let on_medium = &mut inventory.containers[at];
        let Some(file) = self.open(on_medium, reply)? else { return Ok(()) };
        let container = match Container::open(&file) {
            Ok(container) => container,
            Err(error) => return self.note_container(on_medium, &error, reply),
        };
        for entry in container.listed().unwrap_or_default() {
            let receipted = match receipts.get(&entry.id.prefix()) {
                Some(receipt) => {
                    container.at(entry).is_ok_and(|record| opens(&container, &record, receipt))
                }
                None => false,
            };
            let damaged = inventory.notes.says_damaged(&entry.id, on_medium.number);
            on_medium.copies.push(Copy {
                id: entry.id,
                record_bytes: entry.record_bytes,
                nice: entry.nice,
                condition: if damaged { Condition::Damaged } else { Condition::Good },
                noted_damaged: damaged,
                receipted,
            });
        }
        Ok(())
    }

    fn take_small_ones(
        &self,
        inventory: &mut Inventory,
        at: usize,
        pass: Pass,
        workers: usize,
        large: &mut Vec<Large>,
        reply: &mut Tossed,
    ) -> Result<(), Failure> {
        let notes = &mut inventory.notes;
        let on_medium = &mut inventory.containers[at];
        let number = on_medium.number;
        let suspects: HashSet<BundleId> =
            on_medium.copies.iter().filter(|copy| copy.noted_damaged).map(|copy| copy.id).collect();
        if pass == Pass::NotedDamaged && suspects.is_empty() {
            return Ok(());
        }
        // What does not open was said when it was listed.
        let Ok(file) = self.disk.open(&on_medium.path) else { return Ok(()) };
        let Ok(container) = Container::open(&file) else { return Ok(()) };
        let listed = container.listed();
        let mut whole = listed.is_some();
        let mut unknown = Ok(());
        let before = on_medium.listing;
        let mut batch = Batch::default();
        let wanted = |id: &BundleId| match self.intake.knows(id) {
            Ok(known) => !known && suspects.contains(id) == (pass == Pass::NotedDamaged),
            Err(error) => {
                unknown = Err(error);
                false
            }
        };
        for content in container.contents(wanted) {
            check_stopped(self.watch)?;
            let found = match content {
                Ok(Ok(found)) => found,
                Ok(Err(damage)) => {
                    whole &= damage.id.is_some();
                    let refusal = Refusal::Damaged(format!("at byte {}", damage.offset));
                    self.account(Err(refusal), damage.id, number, reply)?;
                    if let Some(id) = damage.id {
                        mark_damaged(on_medium, &id);
                        notes.add_damaged(&id, number);
                    }
                    continue;
                }
                Err(error) => {
                    // A bad sector ends this container; a vanished medium ends the visit.
                    self.check_presence(&error)?;
                    let refusal = Refusal::Damaged(format!("it cannot be read: {error}"));
                    self.account(Err(refusal), None, number, reply)?;
                    whole = false;
                    break;
                }
            };
            let said = found.entry.map(|entry| entry.id);
            let record = found.record;
            let head = match Head::decode(&record.head) {
                Ok(head) if head.header().length == record.body_bytes => head,
                _ => {
                    let refusal = Refusal::Damaged("its head is not one".into());
                    self.account(Err(refusal), said, number, reply)?;
                    if let Some(id) = said {
                        mark_damaged(on_medium, &id);
                        notes.add_damaged(&id, number);
                    }
                    continue;
                }
            };
            if record.body_bytes > LARGE_FROM {
                let id = head.id(&[]);
                note_copy(on_medium, listed.is_none(), id, &head, &record);
                large.push(Large { container: at, id, record });
                continue;
            }
            self.watch.event(Event::Advance(record.body_bytes));
            match self.payload(&container, &record) {
                Ok(payload) => {
                    let id = head.id(&payload);
                    note_copy(on_medium, listed.is_none(), id, &head, &record);
                    batch.push(Small { id, said, head, hop: record.hop, payload });
                }
                Err(refusal) => {
                    let id = said.unwrap_or_else(|| head.id(&[]));
                    if self.account(Err(refusal), Some(id), number, reply)? {
                        mark_damaged(on_medium, &id);
                        notes.add_damaged(&id, number);
                    }
                }
            }
            if batch.is_full() {
                self.take_batch(mem::take(&mut batch), workers, on_medium, notes, reply)?;
            }
        }
        self.take_batch(batch, workers, on_medium, notes, reply)?;
        unknown?;
        let whole = whole && (pass == Pass::Good || before == Listing::Whole);
        on_medium.listing = if whole { Listing::Whole } else { Listing::Partial };
        Ok(())
    }

    fn payload(&self, container: &Container<'_>, record: &Record) -> Result<Vec<u8>, Refusal> {
        let most = usize::try_from(LARGE_FROM).unwrap_or(usize::MAX);
        match container.body(record).read_whole(most) {
            Ok(Some(payload)) => Ok(payload),
            Ok(None) => Err(Refusal::Damaged("it is longer than it says".into())),
            Err(RecordError::Damaged) => Err(Refusal::Damaged("its check does not hold".into())),
            Err(RecordError::Read(error)) => {
                self.check_presence(&error).map_err(Refusal::Failed)?;
                Err(Refusal::Damaged(format!("it cannot be read: {error}")))
            }
            Err(error) => Err(Refusal::Damaged(error.to_string())),
        }
    }

    fn open(
        &self,
        on_medium: &OnMedium,
        reply: &mut Tossed,
    ) -> Result<Option<Box<dyn postrider_base::disk::DiskFile>>, Failure> {
        match self.disk.open(&on_medium.path) {
            Ok(file) => Ok(Some(file)),
            Err(error) => {
                self.check_presence(&error)?;
                let refusal = Refusal::Damaged(format!("it cannot be opened: {error}"));
                self.account(Err(refusal), None, on_medium.number, reply)?;
                Ok(None)
            }
        }
    }

    fn note_container(
        &self,
        on_medium: &OnMedium,
        error: &ContainerError,
        reply: &mut Tossed,
    ) -> Result<(), Failure> {
        let refusal = Refusal::Damaged(error.to_string());
        self.account(Err(refusal), None, on_medium.number, reply)?;
        Ok(())
    }

    /// Counts what became of a record. Returns whether it is damaged on the medium.
    pub(super) fn account(
        &self,
        outcome: Result<BundleId, Refusal>,
        id: Option<BundleId>,
        container: FileNumber,
        reply: &mut Tossed,
    ) -> Result<bool, Failure> {
        let name = container.name(postrider_engine::parcel::FileKind::Container);
        self.account_in(outcome, id, name, reply)
    }

    /// As [`Self::account`], of what lies in a file of that name.
    pub(super) fn account_in(
        &self,
        outcome: Result<BundleId, Refusal>,
        id: Option<BundleId>,
        name: String,
        reply: &mut Tossed,
    ) -> Result<bool, Failure> {
        let place = || match id {
            Some(id) => format!("bundle {id} in {name}"),
            None => name.clone(),
        };
        let (damaged, text) = match outcome {
            Ok(_) | Err(Refusal::Known) => return Ok(false),
            Err(Refusal::Failed(failure)) => return Err(failure),
            Err(Refusal::Aside) => {
                *reply.left_out.entry(ASIDE.to_owned()).or_default() += 1;
                return Ok(false);
            }
            Err(Refusal::NotCarried(reason) | Refusal::Unwanted(reason)) => {
                *reply.left_out.entry(reason.to_owned()).or_default() += 1;
                return Ok(false);
            }
            Err(Refusal::Damaged(why)) => (true, format!("{}: damaged, {why}", place())),
            Err(Refusal::Forged(why)) => (false, format!("{}: {why}", place())),
            Err(Refusal::Unreadable(why)) => (false, format!("{}: {why}", place())),
        };
        reply.damaged += 1;
        if reply.damaged_list.len() < NAMED_MAX {
            reply.damaged_list.push(text);
        }
        Ok(damaged)
    }

    pub(super) fn check_presence(&self, error: &io::Error) -> Result<(), Failure> {
        if self.disk.presence() != Presence::Gone {
            return Ok(());
        }
        Err(Failure::new(FailureKind::Failed, "the medium was pulled out")
            .next("nothing was lost: what was taken is safe; plug it in and toss again")
            .because(io::Error::from(error.kind())))
    }
}

/// The receipts on a medium, by the bundles that they name.
fn by_prefix(inventory: &Inventory) -> HashMap<[u8; 8], Receipt> {
    inventory.notes.receipts().map(|receipt| (receipt.id_prefix, *receipt)).collect()
}

/// Whether a receipt opens the lock of the bundle that lies on the medium, itself verified.
fn opens(container: &Container<'_>, record: &Record, receipt: &Receipt) -> bool {
    let Ok(head) = Head::decode(&record.head) else { return false };
    let verified = if head.header().is_small() {
        let most = usize::try_from(head.header().length).unwrap_or(0);
        let Ok(Some(payload)) = container.body(record).read_whole(most) else { return false };
        head.verify_small(&payload).map(|id| (id, payload))
    } else {
        head.verify_large().map(|id| (id, Vec::new()))
    };
    verified.is_ok_and(|(id, payload)| receipt.opens(&id, head.header(), &payload))
}

fn note_copy(on_medium: &mut OnMedium, unlisted: bool, id: BundleId, head: &Head, record: &Record) {
    if unlisted {
        let nice: Niceness = head.header().nice;
        on_medium.copies.push(Copy {
            id,
            record_bytes: record.end() - record.offset,
            nice,
            condition: Condition::Good,
            noted_damaged: false,
            receipted: false,
        });
    }
}

pub(super) fn mark_damaged(on_medium: &mut OnMedium, id: &BundleId) {
    for copy in on_medium.copies.iter_mut().filter(|copy| copy.id == *id) {
        copy.condition = Condition::Damaged;
    }
}
