//! `toss`: an exchange with a medium, both ways.
//!
//! The engine's parcel planner decides; this loop moves the bytes. Order: what is on the medium is
//! looked through, what is new is taken and made durable, then what the medium lacks is written,
//! then notes (receipts, marks) are replaced. At every moment the medium may be pulled: what was
//! published is whole, what was taken is safe, the rest is done by the next toss.

mod give;
mod inventory;
mod parallel;
mod rests;
mod take;

use std::path::{Path, PathBuf};

use postrider_base::{Card, disk::Disk};
use postrider_engine::parcel::{CARDS_DIR, FileKind, FileNumber, VOLUME_FILE, VolumeId};
use postrider_transports::media::{MediumDisk, MediumError, Mounted, Place, Presence, look};

use super::{
    Desk, Event, Failure, FailureKind, Watch, clock,
    incoming::{Intake, lock},
    people::Shut,
    reply::Tossed,
};

/// What to exchange with what.
#[derive(Clone, Debug)]
pub struct TossRequest {
    /// Where the medium is mounted.
    pub path: PathBuf,
    /// Both ways, or one.
    pub direction: TossDirection,
    /// Only look and plan.
    pub dry_run: bool,
    /// Write at most so many bytes.
    pub budget: Option<u64>,
    /// Make the folder and the marker even when there is nothing to write.
    pub init: bool,
    /// Leave my card on the medium, in clear.
    pub with_card: bool,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TossDirection {
    /// Take, then give.
    Both,
    /// Only take.
    In,
    /// Only give.
    Out,
}

/// Deliveries after which the log is worth looking through for space to give back.
const COMPACT_FROM: usize = 256;
/// Cards shown from one medium; more than a person will choose from.
const CARDS_MAX: usize = 256;
/// A card as text is under a thousand bytes.
const CARD_FILE_MAX: usize = 4096;

impl Desk {
    /// Exchanges with a medium.
    pub fn toss(&self, request: &TossRequest, watch: &dyn Watch) -> Result<Tossed, Failure> {
        check_place(&request.path, watch)?;
        let _tossing = lock(&self.tossing);
        let taking = lock(&self.taking);
        let spool = self.spool(watch)?;
        self.tidy(spool)?;
        let mut reply =
            Tossed { verb: "toss".into(), dry_run: request.dry_run, ..Tossed::default() };
        let gives = request.direction != TossDirection::In;
        let disk = match MediumDisk::open(&request.path).map_err(medium_failure)? {
            Some(disk) => disk,
            None if !gives || request.dry_run => {
                watch.event(Event::Note("there is nothing of Postrider's on it".into()));
                reply.safe_to_remove = true;
                return Ok(reply);
            }
            None => MediumDisk::create(&request.path).map_err(medium_failure)?,
        };
        let read_only = disk.facts().map_err(medium_failure)?.read_only;
        if gives && read_only {
            watch.event(Event::Warn("the medium is read-only: nothing is written".into()));
        }
        reply.read_only = read_only;
        let writes = gives && !request.dry_run && !read_only;
        let volume = volume_id(&disk, writes)?;
        let mut inventory = inventory::read(&disk, volume, watch)?;
        reply.cards = inventory.cards;

        let intake = Intake::new(self, spool)?;
        let visit = take::Visit { disk: &disk, intake: &intake, watch };
        if request.direction == TossDirection::Out || request.dry_run {
            visit.look(&mut inventory, &mut reply)?;
        } else {
            visit.take(&mut inventory, self.home.config.worker_count(), &mut reply)?;
            visit.take_rests(self, spool, &mut inventory, &mut reply)?;
            visit.take_receipts(&inventory)?;
        }
        let gains = intake.finish()?;
        reply.taken += gains.taken;
        reply.bytes_in += gains.bytes;
        gains.note_left_out(&mut reply.left_out);
        reply.delivered = gains.delivered.iter().map(ToString::to_string).collect();
        if gains.delivered.len() >= COMPACT_FROM {
            spool.compact(clock::now())?;
        }
        // Links need not wait while a slow medium is written.
        drop(taking);
        let contacts = self.home.contacts()?;
        for id in &gains.messages {
            if let Some(kept) = self.kept(spool, *id)? {
                reply.messages.push(self.describe(spool, &contacts, &kept)?);
            }
        }
        if gives {
            // What came may let the rest of a fleet go, or halt it: that goes along.
            if !request.dry_run {
                self.advance_fleets(watch)?;
                // So it is with who is asked next for a file.
                self.settle_gets(&gains.messages, watch)?;
            }
            let (disk, shut) = (&disk, Shut::new(&contacts));
            let giver = give::Giver { desk: self, spool, disk, volume, request, shut, watch };
            giver.give(inventory, &mut reply)?;
            if request.with_card && writes {
                self.leave_card(disk)?;
            }
        }
        reply.skipped = reply.left_out.values().sum();
        if disk.presence() == Presence::Gone {
            return Err(medium_failure(std::io::Error::other(MediumError::Pulled)));
        }
        reply.safe_to_remove = true;
        Ok(reply)
    }

    /// Cards that lie on a medium (or the one in a file), for `add`.
    pub fn cards_on(path: &Path) -> Result<Vec<Card>, Failure> {
        if path.is_file() {
            return Ok(vec![Card::read(&read_card_file(path)?)?]);
        }
        let Some(disk) = MediumDisk::open(path).map_err(medium_failure)? else {
            return Ok(Vec::new());
        };
        let dir = Path::new(CARDS_DIR);
        let Ok(listed) = disk.list(dir, CARDS_MAX) else { return Ok(Vec::new()) };
        let mut cards: Vec<Card> = Vec::new();
        for found in listed {
            let Ok(file) = disk.open(&dir.join(&found.name)) else { continue };
            let mut bytes = vec![0; CARD_FILE_MAX];
            let n = file.read_at(0, &mut bytes).unwrap_or(0);
            // Anybody may drop a card: only whole and signed ones are shown.
            if let Ok(card) = Card::read(&bytes[..n])
                && !cards.iter().any(|known| known.node == card.node)
            {
                cards.push(card);
            }
        }
        Ok(cards)
    }

    fn leave_card(&self, disk: &MediumDisk) -> Result<(), Failure> {
        let dir = Path::new(CARDS_DIR);
        disk.create_dir(dir).map_err(medium_failure)?;
        // One file per identity, so that a second visit replaces it.
        let digest = blake3::hash(self.home.card.node.as_bytes());
        let number = FileNumber(u32::from_be_bytes(first_four(digest.as_bytes())));
        let to = dir.join(number.name(FileKind::Card));
        let text = format!("{}\n", self.home.card);
        write_file(disk, &dir.join(number.name(FileKind::Leftover)), &to, text.as_bytes())
    }
}

fn read_card_file(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(CARD_FILE_MAX as u64).read_to_end(&mut bytes))
        .map_err(|error| Failure::file("read", path, error))?;
    Ok(bytes)
}

fn first_four(digest: &[u8; 32]) -> [u8; 4] {
    [digest[0], digest[1], digest[2], digest[3]]
}

/// Writes a small file under a name of its own, then publishes it.
fn write_file(disk: &MediumDisk, temporary: &Path, to: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let _ = disk.remove(temporary);
    let file = disk.create(temporary).map_err(medium_failure)?;
    file.write_all_at(0, bytes).map_err(medium_failure)?;
    drop(file);
    disk.publish(temporary, to).map_err(medium_failure)
}

/// The medium's id; a new one when it has none or its marker is damaged.
fn volume_id(disk: &MediumDisk, may_write: bool) -> Result<VolumeId, Failure> {
    let path = Path::new(VOLUME_FILE);
    if let Ok(file) = disk.open(path) {
        let mut bytes = [0; 64];
        let n = file.read_at(0, &mut bytes).map_err(medium_failure)?;
        if let Some(volume) = VolumeId::decode(&bytes[..n]) {
            return Ok(volume);
        }
    }
    let volume = VolumeId(clock::random()?);
    if may_write {
        let temporary = FileNumber(u32::from_be_bytes(clock::random()?)).name(FileKind::Leftover);
        write_file(disk, Path::new(&temporary), path, &volume.encode())?;
    }
    Ok(volume)
}

/// Says what is wrong with a path before anything is written there.
fn check_place(path: &Path, watch: &dyn Watch) -> Result<(), Failure> {
    match look(path).map_err(|error| Failure::file("look at", path, error))? {
        Place::Directory { mounted, .. } => {
            let empty = std::fs::read_dir(path).is_ok_and(|mut dir| dir.next().is_none());
            let usual = ["/media", "/mnt", "/run/media"].iter().any(|top| path.starts_with(top));
            if mounted == Mounted::Within && empty && usual {
                watch.event(Event::Warn(format!(
                    "nothing is mounted at {}: this goes to the disk of this machine",
                    path.display()
                )));
            }
            Ok(())
        }
        Place::Missing => {
            let what = format!("there is nothing at {}", path.display());
            Err(Failure::new(FailureKind::Usage, what).next(
                "nothing was lost; is the stick plugged in and mounted? name the directory where \
                 it appears",
            ))
        }
        _ => {
            let what = format!("{} is not a directory", path.display());
            Err(Failure::new(FailureKind::Usage, what)
                .next("name the directory where the medium is mounted"))
        }
    }
}

/// An error when whoever watches wants the visit to end.
fn check_stopped(watch: &dyn Watch) -> Result<(), Failure> {
    if !watch.is_stopped() {
        return Ok(());
    }
    Err(Failure::new(FailureKind::Interrupted, "the visit was ended before everything was done")
        .next("nothing was lost; toss again"))
}

/// What went wrong with a medium, for the person who holds it.
fn medium_failure(error: std::io::Error) -> Failure {
    let (kind, next) = match MediumError::of(&error) {
        Some(MediumError::Full) => (
            FailureKind::Full,
            "what is on it is whole; make room on it, or use another, and toss again",
        ),
        Some(MediumError::FullOrPulled) => (
            FailureKind::Full,
            "nothing was lost; look whether it is still plugged in, and toss again",
        ),
        Some(MediumError::ReadOnly) => (
            FailureKind::Failed,
            "nothing was lost; slide its switch or mount it for writing, or take only: toss --in",
        ),
        Some(MediumError::Pulled | MediumError::Broken) => (
            FailureKind::Failed,
            "nothing was lost: what was taken is safe, what was not written waits; plug it in and \
             toss again",
        ),
        _ => (FailureKind::Failed, "nothing was lost; toss again"),
    };
    let what = match MediumError::of(&error) {
        Some(medium) => medium.to_string(),
        None => "the medium could not be used".to_owned(),
    };
    Failure::new(kind, what).next(next).because(error)
}
