//! Giving to a medium: obeying the planner.

use std::path::Path;

use postrider_base::{BundleId, Lifetime, Niceness, bundle::Hop, disk::DiskFile};
use postrider_engine::parcel::{
    Access, Budgets, CONTAINERS_DIR, Candidate, Class as Whose, ContainerWriter, FileKind,
    Leftover, MediumContainer, MediumCopy, NOTES_DIR, NewRecord, Planner, Room, Salt, Standing,
    Step, Whose as LeftBy, record_bytes,
};
use postrider_spool::{Class, Entry, Queue, Seen, Spool, Why};

use super::{Place, Trouble, Visit};
use crate::medium::{any_number, container_path, remove, write_file};

/// Entries of a queue that are offered in one step.
const PAGE: usize = 16;
/// Bodies are copied in pieces of this size.
const CHUNK_BYTES: usize = 16 << 10;
/// As FAT has it: what a file takes at least, and the longest.
const CLUSTER_BYTES: u64 = 4096;
const FILE_MAX_BYTES: u64 = (4 << 30) - 1;
/// What is urgent, of every class; then the rest, class by class.
const UP_TO: [u8; 2] = [Niceness::PRIORITY.value(), u8::MAX];

impl Visit {
    pub(super) fn begin_to_give(&mut self, place: &mut Place<'_>) -> Result<(), Trouble> {
        let room = Room {
            access: Access::ReadWrite,
            free_bytes: place.disk.free_bytes()?.min(place.total_bytes),
            total_bytes: place.total_bytes,
            cluster_bytes: CLUSTER_BYTES,
            file_max_bytes: FILE_MAX_BYTES,
        };
        self.planner = Some(Planner::new(room, Budgets::of(&room), self.notes.clone()));
        let of = |at: &super::OnMedium| at.copies.iter().map(|copy| (copy.id, at.number)).collect();
        self.copies = self.containers.iter().flat_map::<Vec<_>, _>(of).collect();
        Ok(())
    }

    /// Tells the planner of a container.
    pub(super) fn tell(&mut self, at: usize, place: &mut Place<'_>) -> Result<(), Trouble> {
        let on_medium = &self.containers[at];
        let mut bundles = Vec::with_capacity(on_medium.copies.len());
        for copy in &on_medium.copies {
            let receipted = copy.receipted.then_some(Standing::Receipted);
            let standing = receipted.map_or_else(|| standing(place, &copy.id), Ok)?;
            let (id, record_bytes) = (copy.id, copy.record_bytes);
            let (nice, condition) = (copy.nice, copy.condition);
            bundles.push(MediumCopy { id, record_bytes, nice, standing, condition });
        }
        let container = MediumContainer {
            number: on_medium.number,
            file_bytes: on_medium.file_bytes,
            bundles,
            listing: on_medium.listing,
        };
        self.with_planner(place, |planner| planner.container(container))
    }

    /// Tells the planner of unfinished files.
    pub(super) fn tell_leftovers(&mut self, place: &mut Place<'_>) -> Result<(), Trouble> {
        for (number, file_bytes) in std::mem::take(&mut self.leftovers) {
            let whose = if number == self.leftover { LeftBy::Ours } else { LeftBy::Others };
            let leftover = Leftover { number, file_bytes, whose };
            self.with_planner(place, |planner| planner.leftover(leftover))?;
        }
        Ok(())
    }

    /// Offers some bundles of a lane; the lane in which it goes on.
    pub(super) fn offer(
        &mut self,
        lane: usize,
        place: &mut Place<'_>,
    ) -> Result<Option<usize>, Trouble> {
        let classes = Class::ALL.len();
        let Some(&up_to) = UP_TO.get(lane / classes) else {
            self.with_planner(place, Planner::finish)?;
            return Ok(None);
        };
        let class = Class::ALL[lane % classes];
        let after = self.cursors[lane % classes];
        let page = place.node.spool.page(Queue::Class(class), after, PAGE)?;
        let mut over = page.len() < PAGE;
        for entry in page {
            if entry.summary.nice > up_to {
                over = true;
                break;
            }
            self.cursors[lane % classes] = Some(entry.cursor());
            let Some(candidate) = candidate(place, &entry)? else { continue };
            self.with_planner(place, |planner| {
                planner.offer(candidate);
            })?;
        }
        Ok(Some(if over { lane + 1 } else { lane }))
    }

    /// Tells the planner something and does what it wants done.
    fn with_planner(
        &mut self,
        place: &mut Place<'_>,
        tell: impl FnOnce(&mut Planner),
    ) -> Result<(), Trouble> {
        let Some(mut planner) = self.planner.take() else { return Ok(()) };
        tell(&mut planner);
        while let Some(step) = planner.poll() {
            match step {
                Step::Write(ids) => self.write(&ids, place)?,
                Step::Remove { number, taken, .. } => {
                    self.copies.retain(|(_, container)| *container != number);
                    for id in &taken {
                        self.notes.add_taken(id);
                    }
                    place.published.remove(&number);
                    remove(place.disk, &container_path(number, FileKind::Container))?;
                }
                Step::RemoveLeftover(number) => {
                    remove(place.disk, &container_path(number, FileKind::Leftover))?;
                }
                // Couriers here carry containers alone.
                Step::WriteRest(_) | Step::RemoveRest { .. } => {}
            }
        }
        self.planner = Some(planner);
        Ok(())
    }

    /// Writes one container: whole and under its name, or not at all.
    fn write(&mut self, ids: &[BundleId], place: &mut Place<'_>) -> Result<(), Trouble> {
        place.disk.create_dir(Path::new(CONTAINERS_DIR))?;
        let temporary = container_path(self.leftover, FileKind::Leftover);
        remove(place.disk, &temporary)?;
        let file = place.disk.create(&temporary)?;
        let mut salt = [0; 8];
        place.chance.fill(&mut salt);
        let mut writer = ContainerWriter::new(Salt(salt));
        let mut out = Out { file: &*file, at: 0 };
        out.write(&writer.header())?;
        let mut written = Vec::new();
        for id in ids {
            if write_record(id, &mut writer, &mut out, place)? {
                written.push(*id);
            }
        }
        if written.is_empty() {
            drop(file);
            return Ok(remove(place.disk, &temporary)?);
        }
        out.write(&writer.finish()?)?;
        drop(file);
        let number = any_number(place.chance);
        place.disk.publish(&temporary, &container_path(number, FileKind::Container))?;
        place.published.insert(number);
        self.copies.extend(written.iter().map(|id| (*id, number)));
        Ok(())
    }

    /// Replaces the notes: ours and those that were there, as one new file.
    pub(super) fn write_notes(&mut self, place: &mut Place<'_>) -> Result<(), Trouble> {
        for receipt in place.node.receipts()? {
            self.notes.add_receipt(receipt);
        }
        if self.complete {
            self.notes.keep_damage_among(self.copies.iter().map(|(id, number)| (id, *number)));
        }
        if !self.notes.is_changed() {
            return Ok(());
        }
        let dir = Path::new(NOTES_DIR);
        place.disk.create_dir(dir)?;
        let temporary = dir.join(self.leftover.name(FileKind::Leftover));
        let path = dir.join(any_number(place.chance).name(FileKind::Notes));
        write_file(place.disk, &temporary, &path, &self.notes.encode())?;
        for old in &self.notes_files {
            remove(place.disk, old)?;
        }
        Ok(())
    }
}

/// What a node knows for a fact of a bundle that lies on the medium.
fn standing(place: &Place<'_>, id: &BundleId) -> Result<Standing, Trouble> {
    if place.node.has_delivered(id) {
        return Ok(Standing::Delivered);
    }
    let spool = &place.node.spool;
    Ok(match spool.seen(id)? {
        Some(Seen::Live) => {
            spool.entry(id)?.map_or(Standing::Unknown, |entry| Standing::Held(whose(entry.class)))
        }
        Some(Seen::Retired(Why::Receipt | Why::Cancelled)) => Standing::Receipted,
        Some(Seen::Retired(Why::Read)) => Standing::Delivered,
        Some(Seen::Retired(Why::Expired)) => Standing::Expired,
        Some(Seen::Retired(_)) | None => Standing::Unknown,
    })
}

fn candidate(place: &Place<'_>, entry: &Entry) -> Result<Option<Candidate>, Trouble> {
    let Some(envelope) = place.node.spool.envelope(&entry.id)? else { return Ok(None) };
    Ok(Niceness::new(entry.summary.nice).map(|nice| Candidate {
        id: entry.id,
        class: whose(entry.class),
        nice,
        record_bytes: record_bytes(envelope.head.len(), entry.summary.length),
        for_me: false,
    }))
}

/// Writes one record; whether its bundle is still there.
fn write_record(
    id: &BundleId,
    writer: &mut ContainerWriter,
    out: &mut Out<'_>,
    place: &Place<'_>,
) -> Result<bool, Trouble> {
    let spool = &place.node.spool;
    let (Some(entry), Some(envelope)) = (spool.entry(id)?, spool.envelope(id)?) else {
        return Ok(false);
    };
    let (nice, lifetime) =
        (Niceness::new(entry.summary.nice), Lifetime::new(entry.summary.lifetime_s));
    let (Some(nice), Some(lifetime)) = (nice, lifetime) else { return Ok(false) };
    let held_ms = spool.held_ms(place.node.clock.spool_now(place.now_ms));
    let age_s = u32::try_from(entry.age_s(held_ms)).unwrap_or(u32::MAX);
    let hop = Hop { tokens: 1, hops: entry.hop.hops, age_s, level: 0 };
    let (head, body_bytes) = (&envelope.head[..], entry.summary.length);
    let record = NewRecord { id: *id, nice, lifetime, hop, head, body_bytes };
    out.write(&writer.begin_record(&record)?)?;
    let mut at = 0;
    let mut chunk = vec![0; CHUNK_BYTES];
    while at < body_bytes {
        let n = spool.read(id, at, &mut chunk)?.unwrap_or(0);
        // A body that ends early does not fit its record; the writer says so.
        if n == 0 {
            break;
        }
        writer.body(&chunk[..n])?;
        out.write(&chunk[..n])?;
        at += n as u64;
    }
    out.write(&writer.end_record()?)?;
    Ok(true)
}

/// A file that is written from its beginning to its end.
struct Out<'a> {
    file: &'a dyn DiskFile,
    at: u64,
}

impl Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.file.write_all_at(self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

fn whose(class: Class) -> Whose {
    match class {
        Class::Own => Whose::Own,
        Class::Contact => Whose::Contact,
        // A medium knows three, and room for a contact's mail is not for its friends'.
        Class::Friend | Class::Stranger => Whose::Stranger,
    }
}
