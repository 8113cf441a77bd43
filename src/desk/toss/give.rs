//! Giving to a medium: obeying the planner.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use postrider_base::{
    BundleId, Lifetime, Niceness,
    bundle::Hop,
    disk::{Disk, DiskFile},
};
use postrider_engine::parcel::{
    Access, Budgets, CONTAINERS_DIR, Candidate, Class as Whose, ContainerWriter, FileKind,
    FileNumber, LeftOut, Leftover, MediumContainer, MediumCopy, NOTES_DIR, NewRecord, Notes,
    Planner, Room, Salt, Standing, Step, Verdict, VolumeId, Whose as LeftBy, record_bytes,
};
use postrider_spool::{
    Change, Class, Cursor, DurableSpool, Entry, Queue, Seen, Spool, SpoolError, Why,
};
use postrider_transports::media::MediumDisk;

use super::{
    Desk, Event, Failure, TossRequest, Watch, check_stopped, inventory::Inventory, medium_failure,
    rests::rest_path,
};
use crate::desk::{
    Unit, clock,
    held::{Held, all_held},
    hex,
    ledger::{OwnNote, event, space},
    people::Shut,
    receipts,
    reply::Tossed,
};

/// Entries of a queue read at once.
const PAGE: usize = 256;
/// Bodies are copied in pieces of this size.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;
/// Events are committed in groups of so many.
const EVENTS: usize = 1024;

/// Gives to one medium.
pub(super) struct Giver<'a> {
    pub desk: &'a Desk,
    pub spool: &'a DurableSpool,
    pub disk: &'a MediumDisk,
    pub volume: VolumeId,
    pub request: &'a TossRequest,
    pub shut: Shut,
    pub watch: &'a dyn Watch,
}

/// What obeying the planner has brought about so far.
pub(super) struct Progress<'r> {
    pub reply: &'r mut Tossed,
    notes: Notes,
    /// Copies that are on the medium now, for the notes on damage.
    pub copies: Vec<(BundleId, FileNumber)>,
    /// Rests that are on the medium now.
    pub rests: usize,
    events: Vec<Change>,
}

impl Giver<'_> {
    /// Writes what the medium lacks and removes what nobody needs there.
    pub(super) fn give(&self, inventory: Inventory, reply: &mut Tossed) -> Result<(), Failure> {
        let facts = self.disk.facts().map_err(medium_failure)?;
        let room = Room {
            access: if facts.read_only { Access::ReadOnly } else { Access::ReadWrite },
            free_bytes: facts.free_bytes,
            total_bytes: facts.total_bytes,
            cluster_bytes: facts.cluster_bytes,
            file_max_bytes: facts.file_max_bytes,
        };
        let budgets = Budgets { visit_bytes: self.request.budget, ..Budgets::of(&room) };
        let mut planner = Planner::new(room, budgets, inventory.notes.clone());
        let copies = inventory
            .containers
            .iter()
            .flat_map(|container| container.copies.iter().map(|copy| (copy.id, container.number)));
        let copies = copies.collect();
        let mut progress =
            Progress { reply, notes: inventory.notes, copies, rests: 0, events: Vec::new() };
        let total = Some(self.spool.stats()?.bytes());
        let what = "writing to the medium".to_owned();
        self.watch.event(Event::Begin { what, total, unit: Unit::Bytes });
        for on_medium in inventory.containers {
            let mut bundles = Vec::with_capacity(on_medium.copies.len());
            for copy in &on_medium.copies {
                let standing =
                    if copy.receipted { Standing::Receipted } else { self.standing(&copy.id)? };
                bundles.push(MediumCopy {
                    id: copy.id,
                    record_bytes: copy.record_bytes,
                    nice: copy.nice,
                    standing,
                    condition: copy.condition,
                });
            }
            planner.container(MediumContainer {
                number: on_medium.number,
                file_bytes: on_medium.file_bytes,
                bundles,
                listing: on_medium.listing,
            });
            self.obey(&mut planner, &mut progress)?;
        }
        self.tell_rests(&inventory.rests, &mut planner, &mut progress)?;
        let ours = self.leftover_number();
        if room.access == Access::ReadWrite && inventory.rest_leftovers.contains(&ours) {
            self.remove(&rest_path(ours, FileKind::Leftover))?;
        }
        for (number, file_bytes) in inventory.leftovers {
            let whose = if number == ours { LeftBy::Ours } else { LeftBy::Others };
            planner.leftover(Leftover { number, file_bytes, whose });
            self.obey(&mut planner, &mut progress)?;
        }
        self.offer_all(&mut planner, &mut progress)?;
        planner.finish();
        self.obey(&mut planner, &mut progress)?;
        if room.access == Access::ReadWrite && !self.request.dry_run {
            self.write_notes(&mut progress, &inventory.notes_files, inventory.complete)?;
        }
        self.commit_events(&mut progress)?;
        self.watch.event(Event::End);
        Ok(())
    }

    /// Offers the spool's bundles: urgent ones of every class first, then class by class.
    fn offer_all(&self, planner: &mut Planner, progress: &mut Progress<'_>) -> Result<(), Failure> {
        let mut cursors: [Option<Cursor>; Class::ALL.len()] = [None; Class::ALL.len()];
        let held = all_held(self.spool)?;
        for up_to in [Niceness::PRIORITY.value(), u8::MAX] {
            for (class, cursor) in Class::ALL.into_iter().zip(&mut cursors) {
                self.offer_queue(planner, progress, (class, cursor), up_to, &held)?;
            }
        }
        Ok(())
    }

    fn offer_queue(
        &self,
        planner: &mut Planner,
        progress: &mut Progress<'_>,
        (class, cursor): (Class, &mut Option<Cursor>),
        up_to: u8,
        held: &BTreeMap<BundleId, Held>,
    ) -> Result<(), Failure> {
        loop {
            let page = self.spool.page(Queue::Class(class), *cursor, PAGE)?;
            let done = page.len() < PAGE;
            for entry in page {
                check_stopped(self.watch)?;
                if entry.summary.nice > up_to {
                    return Ok(());
                }
                *cursor = Some(entry.cursor());
                let Some((candidate, head_bytes)) = self.candidate(&entry)? else { continue };
                let verdict = match self.rest_of(&entry, head_bytes, held, progress) {
                    Some(bytes) => {
                        planner.offer_rest(Candidate { record_bytes: bytes, ..candidate })
                    }
                    None => planner.offer(candidate),
                };
                if let Verdict::LeftOut(why) = verdict
                    && let Some(reason) = reason(why)
                {
                    *progress.reply.left_out.entry(reason.to_owned()).or_default() += 1;
                    if matches!(why, LeftOut::NoRoom { .. } | LeftOut::Crowded) {
                        progress.reply.no_room += 1;
                    }
                }
                self.obey(planner, progress)?;
            }
            if done {
                return Ok(());
            }
        }
    }

    /// Also how long its head is.
    fn candidate(&self, entry: &Entry) -> Result<Option<(Candidate, usize)>, Failure> {
        let Some(envelope) = self.spool.envelope(&entry.id)? else { return Ok(None) };
        if self.shut.has(&entry.summary, &envelope.head) {
            return Ok(None);
        }
        let head_bytes = envelope.head.len();
        Ok(Niceness::new(entry.summary.nice).map(|nice| {
            let candidate = Candidate {
                id: entry.id,
                class: whose(entry.class),
                nice,
                record_bytes: record_bytes(head_bytes, entry.summary.length),
                for_me: false,
            };
            (candidate, head_bytes)
        }))
    }

    /// What we know for a fact of a bundle that lies on the medium.
    pub(super) fn standing(&self, id: &BundleId) -> Result<Standing, Failure> {
        if self.spool.note(space::DONE, &id.0)?.is_some() {
            return Ok(Standing::Delivered);
        }
        Ok(match self.spool.seen(id)? {
            Some(Seen::Live) => match self.spool.entry(id)? {
                Some(entry) => Standing::Held(whose(entry.class)),
                None => Standing::Unknown,
            },
            Some(Seen::Retired(Why::Receipt | Why::Cancelled)) => Standing::Receipted,
            Some(Seen::Retired(Why::Read)) => Standing::Delivered,
            Some(Seen::Retired(Why::Expired)) => Standing::Expired,
            Some(Seen::Retired(_)) | None => Standing::Unknown,
        })
    }

    pub(super) fn obey(
        &self,
        planner: &mut Planner,
        progress: &mut Progress<'_>,
    ) -> Result<(), Failure> {
        while let Some(step) = planner.poll() {
            match step {
                Step::Write(ids) => self.write(&ids, progress)?,
                Step::Remove { number, taken, .. } => {
                    progress.reply.removed += 1;
                    progress.copies.retain(|(_, container)| *container != number);
                    for id in &taken {
                        progress.notes.add_taken(id);
                    }
                    self.remove(&container_path(number, FileKind::Container))?;
                }
                Step::WriteRest(id) => self.write_rest(&id, progress)?,
                Step::RemoveRest { number, taken } => {
                    progress.reply.removed += 1;
                    progress.rests = progress.rests.saturating_sub(1);
                    progress.copies.retain(|(_, file)| *file != number);
                    if let Some(id) = taken {
                        progress.notes.add_taken(&id);
                    }
                    self.remove(&rest_path(number, FileKind::Rest))?;
                }
                Step::RemoveLeftover(number) => {
                    self.remove(&container_path(number, FileKind::Leftover))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn remove(&self, path: &Path) -> Result<(), Failure> {
        if self.request.dry_run {
            return Ok(());
        }
        match self.disk.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(medium_failure(error))
            }
            _ => Ok(()),
        }
    }

    /// Writes one container: whole and under its name, or not at all.
    fn write(&self, ids: &[BundleId], progress: &mut Progress<'_>) -> Result<(), Failure> {
        if self.request.dry_run {
            for id in ids {
                let entry = self.spool.entry(id)?;
                progress.reply.out += 1;
                progress.reply.bytes_out += entry.map_or(0, |entry| entry.summary.length);
            }
            return Ok(());
        }
        self.disk.create_dir(Path::new(CONTAINERS_DIR)).map_err(medium_failure)?;
        let temporary = container_path(self.leftover_number(), FileKind::Leftover);
        self.remove(&temporary)?;
        let file = self.disk.create(&temporary).map_err(medium_failure)?;
        let mut out = Out::new(&*file);
        let mut writer = ContainerWriter::new(Salt(clock::random()?));
        out.write(&writer.header())?;
        let (mut written, mut bytes) = (Vec::new(), 0);
        for id in ids {
            match self.write_record(id, &mut writer, &mut out) {
                Ok(Some(length)) => {
                    written.push(*id);
                    bytes += length;
                }
                // Retired since it was offered: nothing to do.
                Ok(None) => {}
                Err(Unwritten::Body(error)) => {
                    writer.cancel_record();
                    out.rewind(writer.position())?;
                    self.watch.event(Event::Warn(format!(
                        "bundle {id} cannot be read from the spool and was not written: {error}; \
                         see postrider spool check"
                    )));
                }
                Err(Unwritten::Failed(failure)) => return Err(failure),
            }
        }
        if written.is_empty() {
            drop(file);
            return self.remove(&temporary);
        }
        let tail = writer.finish().map_err(|error| writer_fault(&error))?;
        out.write(&tail)?;
        out.end()?;
        drop(file);
        let number = FileNumber(u32::from_be_bytes(clock::random()?));
        let path = container_path(number, FileKind::Container);
        self.disk.publish(&temporary, &path).map_err(medium_failure)?;
        progress.copies.extend(written.iter().map(|id| (*id, number)));
        progress.reply.out += written.len() as u64;
        progress.reply.bytes_out += bytes;
        self.remember(&written, progress)
    }

    /// Writes one record; returns the length of its payload, or `None` when it is gone.
    fn write_record(
        &self,
        id: &BundleId,
        writer: &mut ContainerWriter,
        out: &mut Out<'_>,
    ) -> Result<Option<u64>, Unwritten> {
        let (Some(entry), Some(envelope)) = (self.spool.entry(id)?, self.spool.envelope(id)?)
        else {
            return Ok(None);
        };
        if entry.class == Class::Own && !self.desk.may_leave(self.spool, id)? {
            return Ok(None);
        }
        let summary = &entry.summary;
        let (Some(nice), Some(lifetime)) =
            (Niceness::new(summary.nice), Lifetime::new(summary.lifetime_s))
        else {
            return Ok(None);
        };
        let held_ms = self.spool.held_ms(clock::now());
        let hop = Hop {
            tokens: 1,
            hops: entry.hop.hops,
            age_s: u32::try_from(entry.age_s(held_ms)).unwrap_or(u32::MAX),
            level: 0,
        };
        let record = NewRecord {
            id: *id,
            nice,
            lifetime,
            hop,
            head: &envelope.head,
            body_bytes: summary.length,
        };
        let fault = |error| Unwritten::Failed(writer_fault(&error));
        out.write(&writer.begin_record(&record).map_err(fault)?)?;
        let mut at = 0;
        let mut chunk = vec![0; CHUNK_BYTES];
        while at < entry.summary.length {
            check_stopped(self.watch)?;
            let n = match self.spool.read(id, at, &mut chunk) {
                Ok(Some(n)) if n > 0 => n,
                Ok(_) => return Err(Unwritten::Body(SpoolError::DamagedBlob(*id))),
                Err(error) => return Err(Unwritten::Body(error)),
            };
            writer.body(&chunk[..n]).map_err(fault)?;
            out.write(&chunk[..n])?;
            at += n as u64;
            self.watch.event(Event::Advance(n as u64));
        }
        out.write(&writer.end_record().map_err(fault)?)?;
        Ok(Some(at))
    }

    /// Notes in the history of own messages that they lie on this medium now.
    pub(super) fn remember(
        &self,
        written: &[BundleId],
        progress: &mut Progress<'_>,
    ) -> Result<(), Failure> {
        let via = format!("stick {}", &hex(self.volume.as_bytes())[..8]);
        let held_ms = self.spool.held_ms(clock::now());
        for id in written {
            let Some(envelope) = self.spool.envelope(id)? else { continue };
            let own = envelope.own.as_deref().and_then(OwnNote::read);
            if own.is_some_and(|own| !own.3) {
                progress.events.push(event(id, held_ms, 3, ("written", "", &via)));
            }
        }
        if progress.events.len() >= EVENTS {
            self.commit_events(progress)?;
        }
        Ok(())
    }

    fn commit_events(&self, progress: &mut Progress<'_>) -> Result<(), Failure> {
        let mut events = std::mem::take(&mut progress.events);
        while !events.is_empty() {
            let rest = events.split_off(events.len().min(EVENTS));
            self.spool.commit(clock::now(), events)?;
            events = rest;
        }
        Ok(())
    }

    /// Replaces the notes: ours and those that were there, as one new file.
    fn write_notes(
        &self,
        progress: &mut Progress<'_>,
        files: &[PathBuf],
        complete: bool,
    ) -> Result<(), Failure> {
        let held_ms = self.spool.held_ms(clock::now());
        let receipts = receipts::all(self.spool, held_ms)?;
        for (_, receipt) in receipts.list {
            if progress.notes.add_receipt(receipt) {
                progress.reply.receipts_out += 1;
            }
        }
        let mut over = receipts.over;
        while !over.is_empty() {
            let rest = over.split_off(over.len().min(EVENTS));
            self.spool.commit(clock::now(), over)?;
            over = rest;
        }
        if complete {
            progress
                .notes
                .keep_damage_among(progress.copies.iter().map(|(id, number)| (id, *number)));
        }
        if !progress.notes.is_changed() {
            return Ok(());
        }
        let dir = Path::new(NOTES_DIR);
        self.disk.create_dir(dir).map_err(medium_failure)?;
        let temporary = dir.join(self.leftover_number().name(FileKind::Leftover));
        let number = FileNumber(u32::from_be_bytes(clock::random()?));
        let path = dir.join(number.name(FileKind::Notes));
        super::write_file(self.disk, &temporary, &path, &progress.notes.encode())?;
        for old in files {
            self.remove(old)?;
        }
        Ok(())
    }

    /// Under which number we write on this medium until a file is whole.
    pub(super) fn leftover_number(&self) -> FileNumber {
        let secret =
            blake3::derive_key("postrider 2026 medium leftover v1", self.desk.home.key.node.seed());
        FileNumber::leftover_of(&secret, &self.volume)
    }
}

/// Why a record was not written.
enum Unwritten {
    /// Its body cannot be read from the spool.
    Body(SpoolError),
    /// The medium or the spool failed.
    Failed(Failure),
}

impl From<Failure> for Unwritten {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<SpoolError> for Unwritten {
    fn from(error: SpoolError) -> Self {
        Self::Failed(error.into())
    }
}

/// A file written in large pieces.
pub(super) struct Out<'a> {
    file: &'a dyn DiskFile,
    buffer: Vec<u8>,
    /// Where the next byte goes.
    at: u64,
}

impl<'a> Out<'a> {
    pub(super) fn new(file: &'a dyn DiskFile) -> Self {
        Self { file, buffer: Vec::new(), at: 0 }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.buffer.extend_from_slice(bytes);
        self.at += bytes.len() as u64;
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let start = self.at - self.buffer.len() as u64;
        self.file.write_all_at(start, &self.buffer).map_err(medium_failure)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left; the file ends here.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        self.flush()?;
        self.file.set_len(self.at).map_err(medium_failure)
    }

    fn rewind(&mut self, to: u64) -> Result<(), Failure> {
        self.flush()?;
        self.at = to;
        Ok(())
    }
}

fn container_path(number: FileNumber, kind: FileKind) -> PathBuf {
    Path::new(CONTAINERS_DIR).join(number.name(kind))
}

fn whose(class: Class) -> Whose {
    match class {
        Class::Own => Whose::Own,
        Class::Contact => Whose::Contact,
        // A medium knows three, and room for a contact's mail is not for its friends'.
        Class::Friend | Class::Stranger => Whose::Stranger,
    }
}

/// Why something was left out, for a person; what is there already needs no reason.
fn reason(why: LeftOut) -> Option<&'static str> {
    match why {
        LeftOut::ForMe | LeftOut::OnMedium | LeftOut::Taken => None,
        LeftOut::ReadOnly => Some("the medium is read-only"),
        LeftOut::TooLarge => Some("too large for the medium's file system"),
        LeftOut::ClassBudget => Some("others' share of the medium is used up"),
        LeftOut::VisitBudget => Some("over the budget of this toss"),
        LeftOut::Crowded => Some("the medium holds too many bundles"),
        LeftOut::NoRoom { .. } => Some("no room on the medium"),
        _ => Some("left out by the planner"),
    }
}

pub(super) fn writer_fault(error: &postrider_engine::parcel::WriterError) -> Failure {
    Failure::new(
        crate::desk::FailureKind::Fault,
        format!("the container could not be written: {error}"),
    )
    .next("nothing was lost; please report this")
}
