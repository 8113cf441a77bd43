//! Which bundles are being opened: what a process that dies leaves behind, and what is done about
//! it.
//!
//! A bundle that ends the program when it is opened comes again, and would end it again: nobody's
//! mail would go on. So before a bundle for this node is opened or taken apart its id is written
//! into a small file, and wiped when that is over: two writes without a sync, because the file has
//! to outlive the process and not a power cut. Whoever opens the spool next finds the ids there:
//! 1. once, the bundle is a suspect: the next time it is opened alone, so that it is not mistaken
//!    for another that is opened beside it. When that ends well all is forgotten;
//! 2. twice in a row at the same place, it is set aside: for a day of this node's running time it
//!    is refused, and after that opened alone again.
//!
//! A process is also killed from outside. That hits a long body now here, now there, and what is to
//! blame ends the program where it did before: so the mark says how far a body has been read, and
//! beyond its beginning a third time is asked for.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
    sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use postrider_base::BundleId;
use postrider_spool::{Change, DurableSpool, Spool};

use super::{
    Desk, Failure, clock,
    inbox::note_keys,
    incoming::lock,
    ledger::{OpeningNote, remove_note, set_note, space},
};

/// Bundles that are marked at once; more than threads open any.
const SLOTS: usize = 64;
/// An id, and how far its body was read.
const SLOT_BYTES: usize = 40;
/// How exactly that is marked: as much as the seal reads at once.
const STEP_BYTES: u64 = 64 << 10;
/// So many deaths of the process at one place are the bundle's fault.
const DEATHS: u64 = 2;
/// The same beyond the first step of a body, where much more time is spent.
const DEATHS_WITHIN: u64 = 3;
/// For how long it is not tried again.
const ASIDE_MS: u64 = 24 * 3_600_000;

/// The file of one home, and the suspects.
pub(super) struct Opening {
    /// None where it cannot be written: then nothing is marked.
    file: Option<File>,
    /// Slots of the file in use.
    used: Mutex<u64>,
    known: Mutex<HashMap<BundleId, OpeningNote>>,
    /// What was opened well and is still called a suspect in the spool.
    cleared: Mutex<Vec<BundleId>>,
    /// Held shared by whoever opens something, and by nobody else while a suspect is opened.
    together: RwLock<()>,
}

/// A mark in the file. It stays when the thread unwinds: that is somebody's fault, too.
pub(super) struct Mark<'a> {
    opening: &'a Opening,
    slot: Option<usize>,
    _together: Together<'a>,
}

enum Together<'a> {
    Shared { _held: RwLockReadGuard<'a, ()> },
    Alone { _held: RwLockWriteGuard<'a, ()> },
}

impl Desk {
    /// What this home was opening when a process died, and what it is opening now.
    pub(super) fn opening(&self, spool: &DurableSpool) -> Result<&Opening, Failure> {
        if let Some(opening) = self.opening.get() {
            return Ok(opening);
        }
        let opened = Opening::open(&self.home.spool_dir().join("opening"), spool)?;
        Ok(self.opening.get_or_init(|| opened))
    }
}

impl Opening {
    fn open(path: &Path, spool: &DurableSpool) -> Result<Self, Failure> {
        let mut known = HashMap::new();
        for key in note_keys(spool, space::OPENING)? {
            let note = spool.note(space::OPENING, &key)?;
            let note = note.as_deref().and_then(OpeningNote::read);
            if let (Ok(id), Some(note)) = (key.try_into(), note) {
                known.insert(BundleId(id), note);
            }
        }
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).ok();
        let left = file.as_ref().map(left_in).unwrap_or_default();
        if !left.is_empty() {
            let held_ms = spool.held_ms(clock::now());
            let mut changes = Vec::new();
            for (id, step) in left {
                let before = known.get(&id).filter(|note| note.3 == step);
                let deaths = before.map_or(0, |note| note.1);
                let note = OpeningNote::new(deaths.saturating_add(1), held_ms, step);
                changes.push(set_note(space::OPENING, &id.0, note.encode()));
                known.insert(id, note);
            }
            // What cannot be noted is believed all the same, and found again next time.
            if spool.commit(clock::now(), changes).is_err() {
                file = None;
            }
        }
        // Empty only once it is said elsewhere.
        let emptied = file.as_ref().map(|file| file.set_len(0));
        Ok(Self {
            file: file.filter(|_| matches!(emptied, Some(Ok(())))),
            used: Mutex::new(0),
            known: Mutex::new(known),
            cleared: Mutex::default(),
            together: RwLock::new(()),
        })
    }

    /// Marks a bundle as being opened; `None` when it is set aside.
    pub(super) fn begin(&self, id: &BundleId, held_ms: u64) -> Option<Mark<'_>> {
        let suspect = lock(&self.known).get(id).copied();
        if suspect.is_some_and(|note| is_aside(&note, held_ms)) {
            return None;
        }
        let together = match suspect {
            None => Together::Shared {
                _held: self.together.read().unwrap_or_else(PoisonError::into_inner),
            },
            Some(_) => Together::Alone {
                _held: self.together.write().unwrap_or_else(PoisonError::into_inner),
            },
        };
        let slot = self.file.as_ref().and_then(|file| {
            let slot = self.take_slot()?;
            let mut mark = [0; SLOT_BYTES];
            mark[..32].copy_from_slice(&id.0);
            file.write_all_at(&mark, (slot * SLOT_BYTES) as u64).is_ok().then_some(slot)
        });
        Some(Mark { opening: self, slot, _together: together })
    }

    /// All that is done with a bundle has ended well.
    pub(super) fn acquit(&self, id: &BundleId) {
        if lock(&self.known).remove(id).is_some() {
            lock(&self.cleared).push(*id);
        }
    }

    /// What says in the spool that nobody is a suspect any more who was acquitted.
    pub(super) fn acquittals(&self) -> Vec<Change> {
        let cleared = std::mem::take(&mut *lock(&self.cleared));
        cleared.iter().map(|id| remove_note(space::OPENING, &id.0)).collect()
    }

    /// The bundles that are set aside.
    pub(super) fn aside(&self, held_ms: u64) -> Vec<BundleId> {
        let known = lock(&self.known);
        let aside = known.iter().filter(|(_, note)| is_aside(note, held_ms));
        aside.map(|(id, _)| *id).collect()
    }

    fn take_slot(&self) -> Option<usize> {
        let mut used = lock(&self.used);
        let slot = (0..SLOTS).find(|slot| *used & 1 << slot == 0)?;
        *used |= 1 << slot;
        Some(slot)
    }
}

impl Mark<'_> {
    /// A body that is read while it is marked how far.
    pub(super) fn follow<R: Read>(&self, body: R) -> Followed<'_, R> {
        Followed { body, mark: self, read: 0, step: 0 }
    }

    fn note_step(&self, step: u64) {
        if let (Some(slot), Some(file)) = (self.slot, &self.opening.file) {
            // Without it a death counts for another place.
            let _ = file.write_all_at(&step.to_be_bytes(), (slot * SLOT_BYTES + 32) as u64);
        }
    }
}

/// See [`Mark::follow`].
pub(super) struct Followed<'a, R> {
    body: R,
    mark: &'a Mark<'a>,
    read: u64,
    step: u64,
}

impl<R: Read> Read for Followed<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let step = self.read / STEP_BYTES;
        if step != self.step {
            self.step = step;
            self.mark.note_step(step);
        }
        let n = self.body.read(out)?;
        self.read += n as u64;
        Ok(n)
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        let (Some(slot), Some(file)) = (self.slot, &self.opening.file) else { return };
        if std::thread::panicking() {
            return;
        }
        if file.write_all_at(&[0; SLOT_BYTES], (slot * SLOT_BYTES) as u64).is_ok() {
            *lock(&self.opening.used) &= !(1 << slot);
        }
    }
}

fn is_aside(note: &OpeningNote, held_ms: u64) -> bool {
    let deaths = if note.3 == 0 { DEATHS } else { DEATHS_WITHIN };
    note.1 >= deaths && held_ms.saturating_sub(note.2) < ASIDE_MS
}

/// The ids in a file of marks, and how far each was read.
fn left_in(file: &File) -> Vec<(BundleId, u64)> {
    let mut marks = [0; SLOTS * SLOT_BYTES];
    let mut read = 0;
    while read < marks.len() {
        match file.read_at(&mut marks[read..], read as u64) {
            Ok(n) if n > 0 => read += n,
            _ => break,
        }
    }
    let (slots, _) = marks[..read].as_chunks::<SLOT_BYTES>();
    let mark = |slot: &[u8; SLOT_BYTES]| {
        let (id, step) = slot.split_first_chunk::<32>()?;
        Some((BundleId(*id), u64::from_be_bytes(step.try_into().ok()?)))
    };
    slots.iter().filter_map(mark).filter(|(id, _)| id.0 != [0; 32]).collect()
}

#[cfg(test)]
mod tests {
    use std::mem::forget;

    use super::*;
    use crate::desk::{InitRequest, Silent};

    /// What ends the program ends it where it did before; who is killed from outside is killed
    /// somewhere.
    #[test]
    fn deaths_at_different_places_of_a_body_are_no_fault_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let request = InitRequest { home: home.clone(), name: None, even_if_public: false };
        drop(Desk::init(&request).unwrap());
        let id = BundleId([1; 32]);
        let mut deaths = Vec::new();
        for bytes in [200_000_u64, 900_000, 0, 900_000, 900_000, 900_000] {
            let desk = Desk::open(&home).unwrap();
            let spool = desk.spool(&Silent).unwrap();
            let opening = desk.opening(spool).unwrap();
            assert!(opening.aside(0).is_empty(), "{bytes}");
            let mark = opening.begin(&id, 0).unwrap();
            let body = io::repeat(1).take(bytes);
            io::copy(&mut mark.follow(body), &mut io::sink()).unwrap();
            forget(mark);
            deaths.push(bytes);
        }
        let desk = Desk::open(&home).unwrap();
        let opening = desk.opening(desk.spool(&Silent).unwrap()).unwrap();
        assert_eq!(opening.aside(0), [id], "{deaths:?}");
    }

    #[test]
    fn who_was_opened_beside_the_culprit_is_opened_alone_and_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let request = InitRequest { home: home.clone(), name: None, even_if_public: false };
        drop(Desk::init(&request).unwrap());
        let [culprit, innocent] = [BundleId([1; 32]), BundleId([2; 32])];
        // Every life ends without wiping what is still marked.
        let life = |work: &dyn Fn(&Opening, u64)| {
            let desk = Desk::open(&home).unwrap();
            let spool = desk.spool(&Silent).unwrap();
            let held_ms = spool.held_ms(clock::now());
            let opening = desk.opening(spool).unwrap();
            work(opening, held_ms);
            let changes = opening.acquittals();
            spool.commit(clock::now(), changes).unwrap();
        };
        life(&|opening, held_ms| {
            drop(opening.begin(&BundleId([3; 32]), held_ms).unwrap());
            forget(opening.begin(&culprit, held_ms).unwrap());
            forget(opening.begin(&innocent, held_ms).unwrap());
        });
        life(&|opening, held_ms| {
            assert!(opening.aside(held_ms).is_empty());
            let mark = opening.begin(&innocent, held_ms).unwrap();
            assert!(opening.together.try_read().is_err(), "it is opened alone");
            drop(mark);
            opening.acquit(&innocent);
            forget(opening.begin(&culprit, held_ms).unwrap());
        });
        life(&|opening, held_ms| {
            assert_eq!(opening.aside(held_ms), [culprit]);
            assert!(opening.begin(&culprit, held_ms).is_none());
            // A day later it gets another chance; the innocent one has to fear nothing.
            drop(opening.begin(&culprit, held_ms + 2 * ASIDE_MS).unwrap());
            forget(opening.begin(&innocent, held_ms).unwrap());
        });
        life(&|opening, held_ms| assert_eq!(opening.aside(held_ms), [culprit]));
    }
}
