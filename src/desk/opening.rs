//! Which bundles are being opened: what a process that dies leaves behind, and what is done about
//! it.
//!
//! A bundle that ends the program when it is opened comes again, and would end it again: nobody's
//! mail would go on. So before a bundle for this node is opened or taken apart its id is written
//! into a small file, and wiped when that is over: two writes without a sync, because the file has
//! to outlive the process and not a power cut. Whoever opens the spool next finds the ids there:
//! 1. once, the bundle is a suspect: the next time it is opened alone, so that it is not mistaken
//!    for another that is opened beside it. When that ends well all is forgotten;
//! 2. twice, it is set aside: for a day of this node's running time it is refused, and after that
//!    opened alone again, for a process can also be killed twice by chance.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
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
const ID_BYTES: u64 = 32;
/// So many deaths of the process are the bundle's fault.
const DEATHS: u64 = 2;
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
            for id in left {
                let deaths = known.get(&id).map_or(0, |note| note.1);
                let note = OpeningNote::new(deaths.saturating_add(1), held_ms);
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
            // Half a mark is nobody's id.
            let marked = file.write_all_at(&id.0, slot as u64 * ID_BYTES);
            marked.is_ok().then_some(slot)
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

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        let (Some(slot), Some(file)) = (self.slot, &self.opening.file) else { return };
        if std::thread::panicking() {
            return;
        }
        if file.write_all_at(&[0; 32], slot as u64 * ID_BYTES).is_ok() {
            *lock(&self.opening.used) &= !(1 << slot);
        }
    }
}

fn is_aside(note: &OpeningNote, held_ms: u64) -> bool {
    note.1 >= DEATHS && held_ms.saturating_sub(note.2) < ASIDE_MS
}

/// The ids in a file of marks.
fn left_in(file: &File) -> Vec<BundleId> {
    let mut marks = [0; SLOTS * 32];
    let mut read = 0;
    while read < marks.len() {
        match file.read_at(&mut marks[read..], read as u64) {
            Ok(n) if n > 0 => read += n,
            _ => break,
        }
    }
    let (ids, _) = marks[..read].as_chunks::<32>();
    ids.iter().filter(|id| **id != [0; 32]).map(|id| BundleId(*id)).collect()
}

#[cfg(test)]
mod tests {
    use std::mem::forget;

    use super::*;
    use crate::desk::{InitRequest, Silent};

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
            drop(opening.begin(&culprit, held_ms + ASIDE_MS).unwrap());
            forget(opening.begin(&innocent, held_ms).unwrap());
        });
        life(&|opening, held_ms| assert_eq!(opening.aside(held_ms), [culprit]));
    }
}
