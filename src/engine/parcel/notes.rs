//! Notes on a medium: what one visitor tells the next.
//!
//! ```text
//! "PRN1"  receipts 4  taken 4  damaged 4
//! receipts x 25      type 1, id prefix 8, r 16
//! taken    x 8       salted ids: no longer needed on this medium
//! damaged  x 8       salted (id, container): this copy is broken, whoever has the bundle may
//!                    write it again
//! check 8            keyed by the volume id
//! ```
//!
//! Nobody signs notes. They are hints, good for this medium and this visit: a receipt proves
//! itself against the bundle it opens; a lie in the marks costs a copy or a wait, never mail.
//!
//! Each visit reads all files, writes what they say together with its own as one new file, and
//! removes those that the new one replaces once that is durable. A visit that ends between the two
//! leaves both, and the next one merges them.

use std::collections::{BTreeSet, VecDeque};

use postrider_base::{
    BundleId,
    bundle::{RECEIPT_BYTES, Receipt},
};
use thiserror::Error;

use super::{FileNumber, VolumeId};

/// Files of notes that a visit reads and merges. One is usual; a synced folder visited by many at
/// once may have some, and what is beyond waits for the next visit. Full ones take 1.5 MB of memory
/// each while they are merged.
pub const NOTES_FILES_MAX: usize = 16;

/// Longest file of notes; the three bounds below stay under it together.
pub const NOTES_FILE_MAX_BYTES: u64 = 1 << 20;

/// Receipts in one file: 410 kB. They free copies elsewhere, so most of the room is theirs.
pub const RECEIPTS_MAX: usize = 16_384;

/// Marks of what was taken, in one file: 262 kB, as many bundles as fill a few hundred containers
/// of small mail.
pub const TAKEN_MAX: usize = 32_768;

/// Marks of what is damaged, in one file: 33 kB. A stick with more than that wants replacing.
pub const DAMAGED_MAX: usize = 4_096;

const MAGIC: [u8; 4] = *b"PRN1";
const FRONT_BYTES: usize = 16;
const MARK_BYTES: usize = 8;
const CHECK_BYTES: usize = 8;

/// Why a file of notes is not read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotesError {
    /// Longer than any.
    #[error("notes of {0} bytes are too long")]
    TooLong(u64),
    /// Written by another version: to be left alone.
    #[error("notes of an unknown version")]
    Version,
    /// Cut off, damaged, or of another volume: worth nothing to anybody, and may be removed.
    #[error("damaged notes")]
    Damaged,
}

/// All that the notes on one medium say, newest first within each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notes {
    volume: VolumeId,
    receipts: Newest<Receipt>,
    taken: Newest<[u8; MARK_BYTES]>,
    damaged: Newest<[u8; MARK_BYTES]>,
    changed: bool,
}

impl Notes {
    /// No notes at all.
    pub fn new(volume: VolumeId) -> Self {
        Self {
            volume,
            receipts: Newest::new(RECEIPTS_MAX),
            taken: Newest::new(TAKEN_MAX),
            damaged: Newest::new(DAMAGED_MAX),
            changed: false,
        }
    }

    /// Puts the notes of several files together.
    ///
    /// They take turns, so that a file filled to its bounds by somebody who wishes us harm crowds
    /// out no more than its share of the others.
    pub fn merge(volume: VolumeId, files: &[Self]) -> Self {
        let mut all = Self::new(volume);
        all.receipts.take_turns(files.iter().map(|file| &file.receipts));
        all.taken.take_turns(files.iter().map(|file| &file.taken));
        all.damaged.take_turns(files.iter().map(|file| &file.damaged));
        all.changed = files.len() > 1;
        all
    }

    /// Reads one file.
    pub fn decode(volume: VolumeId, bytes: &[u8]) -> Result<Self, NotesError> {
        if bytes.len() as u64 > NOTES_FILE_MAX_BYTES {
            return Err(NotesError::TooLong(bytes.len() as u64));
        }
        let (content, check) =
            bytes.split_last_chunk::<CHECK_BYTES>().ok_or(NotesError::Damaged)?;
        let (front, rest) =
            content.split_first_chunk::<FRONT_BYTES>().ok_or(NotesError::Damaged)?;
        if !front.starts_with(&MAGIC) {
            let other = front.starts_with(b"PRN") && front[3].is_ascii_digit();
            return Err(if other { NotesError::Version } else { NotesError::Damaged });
        }
        if volume.check_of(&[content]) != *check {
            return Err(NotesError::Damaged);
        }
        // The check keeps rot away, not lies: the counts are compared before they are used.
        let count = |at: usize, most: usize| {
            let count = front.get(at..)?.first_chunk::<4>()?;
            usize::try_from(u32::from_be_bytes(*count)).ok().filter(|count| *count <= most)
        };
        let counts = (count(4, RECEIPTS_MAX), count(8, TAKEN_MAX), count(12, DAMAGED_MAX));
        let (Some(receipts), Some(taken), Some(damaged)) = counts else {
            return Err(NotesError::Damaged);
        };
        let marks_at = receipts * RECEIPT_BYTES;
        let damaged_at = marks_at + taken * MARK_BYTES;
        if rest.len() != damaged_at + damaged * MARK_BYTES {
            return Err(NotesError::Damaged);
        }
        let mut notes = Self::new(volume);
        for receipt in rest[..marks_at].chunks_exact(RECEIPT_BYTES) {
            notes.receipts.add_older(Receipt::decode(receipt).map_err(|_| NotesError::Damaged)?);
        }
        notes.taken.add_marks(&rest[marks_at..damaged_at]);
        notes.damaged.add_marks(&rest[damaged_at..]);
        Ok(notes)
    }

    /// The bytes of a file that says all this.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for count in [self.receipts.len(), self.taken.len(), self.damaged.len()] {
            // The bounds are far below: see the constants.
            out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
        }
        self.receipts.iter().for_each(|receipt| out.extend(receipt.encode()));
        self.taken.iter().for_each(|mark| out.extend(mark));
        self.damaged.iter().for_each(|mark| out.extend(mark));
        let check = self.volume.check_of(&[&out]);
        out.extend(check);
        out
    }

    /// Whether these notes say other things than the files that they were merged from, or say
    /// them in fewer files: otherwise writing them again would only wear the medium.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// The receipts, newest first. Each must still be tried on its bundle.
    pub fn receipts(&self) -> impl Iterator<Item = &Receipt> {
        self.receipts.iter()
    }

    /// Adds a receipt of ours, or one that we carry. True if it was not there.
    pub fn add_receipt(&mut self, receipt: Receipt) -> bool {
        let new = self.receipts.add_newest(receipt);
        self.changed |= new;
        new
    }

    /// Marks a bundle as no longer needed on this medium, by anyone.
    pub fn add_taken(&mut self, id: &BundleId) {
        self.changed |= self.taken.add_newest(self.volume.salted(id));
    }

    /// Marks one copy of a bundle as damaged.
    pub fn add_damaged(&mut self, id: &BundleId, container: FileNumber) {
        self.changed |= self.damaged.add_newest(self.volume.salted_copy(id, container));
    }

    /// Whether somebody marked the bundle as taken.
    pub fn says_taken(&self, id: &BundleId) -> bool {
        !self.taken.is_empty() && self.taken.contains(&self.volume.salted(id))
    }

    /// Whether somebody marked that copy of the bundle as damaged.
    pub fn says_damaged(&self, id: &BundleId, container: FileNumber) -> bool {
        !self.damaged.is_empty() && self.damaged.contains(&self.volume.salted_copy(id, container))
    }

    /// Drops the damage marks of copies that are no longer on the medium. Call it only with a
    /// whole inventory: a pulled stick has no copies at all.
    pub fn keep_damage_among<'i>(
        &mut self,
        copies: impl IntoIterator<Item = (&'i BundleId, FileNumber)>,
    ) {
        if self.damaged.is_empty() {
            return;
        }
        let there: BTreeSet<_> = copies
            .into_iter()
            .map(|(id, container)| self.volume.salted_copy(id, container))
            .collect();
        self.changed |= self.damaged.retain(|mark| there.contains(mark));
    }
}

/// A bounded set that remembers the order in which things came, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Newest<T> {
    order: VecDeque<T>,
    known: BTreeSet<T>,
    most: usize,
}

impl<T: Ord + Copy> Newest<T> {
    fn new(most: usize) -> Self {
        Self { order: VecDeque::new(), known: BTreeSet::new(), most }
    }

    /// Adds at the front; the oldest gives way. True if it was not there.
    fn add_newest(&mut self, item: T) -> bool {
        let new = self.known.insert(item);
        if new {
            self.order.push_front(item);
            if self.order.len() > self.most
                && let Some(oldest) = self.order.pop_back()
            {
                self.known.remove(&oldest);
            }
        }
        new
    }

    /// Adds at the back, if there is room.
    fn add_older(&mut self, item: T) {
        if self.order.len() < self.most && self.known.insert(item) {
            self.order.push_back(item);
        }
    }

    fn take_turns<'a>(&mut self, sets: impl Iterator<Item = &'a Self>)
    where
        T: 'a,
    {
        let mut sets: Vec<_> = sets.map(Newest::iter).collect();
        while !sets.is_empty() && self.order.len() < self.most {
            sets.retain_mut(|set| match set.next() {
                Some(item) => {
                    self.add_older(*item);
                    true
                }
                None => false,
            });
        }
    }

    fn retain(&mut self, keep: impl Fn(&T) -> bool) -> bool {
        let before = self.order.len();
        self.order.retain(&keep);
        self.known.retain(keep);
        self.order.len() != before
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.order.iter()
    }

    fn contains(&self, item: &T) -> bool {
        self.known.contains(item)
    }

    fn len(&self) -> usize {
        self.order.len()
    }

    fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

impl Newest<[u8; MARK_BYTES]> {
    fn add_marks(&mut self, bytes: &[u8]) {
        for mark in bytes.as_chunks().0 {
            self.add_older(*mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VOLUME: VolumeId = VolumeId([4; 16]);

    fn receipt(n: u32) -> Receipt {
        let mut r = [0; 16];
        r[..4].copy_from_slice(&n.to_be_bytes());
        Receipt { id_prefix: [7; 8], r }
    }

    fn id(n: u32) -> BundleId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        BundleId(id)
    }

    fn some(from: u32, count: u32) -> Notes {
        let mut notes = Notes::new(VOLUME);
        for n in (from..from + count).rev() {
            notes.add_receipt(receipt(n));
            notes.add_taken(&id(n));
            notes.add_damaged(&id(n), FileNumber(n));
        }
        notes
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn notes_round_trip_and_the_bytes_are_canonical(count in 0..50_u32) {
            let bytes = some(0, count).encode();
            let notes = Notes::decode(VOLUME, &bytes).unwrap();
            prop_assert!(!notes.is_changed());
            prop_assert_eq!(notes.encode(), bytes);
            prop_assert_eq!(notes.receipts().copied().collect::<Vec<_>>(), (0..count).map(receipt).collect::<Vec<_>>());
            for n in 0..count {
                prop_assert!(notes.says_taken(&id(n)));
                prop_assert!(notes.says_damaged(&id(n), FileNumber(n)));
                prop_assert!(!notes.says_damaged(&id(n), FileNumber(n + 1)));
            }
            prop_assert!(!notes.says_taken(&id(count)));
        }

        #[test]
        fn bytes_of_any_kind_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Notes::decode(VOLUME, &bytes).is_err());
            let well_begun = [&MAGIC[..], &bytes].concat();
            prop_assert!(Notes::decode(VOLUME, &well_begun).is_err());
        }
    }

    #[test]
    fn any_damage_cut_or_other_volume_is_noticed() {
        let bytes = some(0, 3).encode();
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 0x04;
            assert!(Notes::decode(VOLUME, &flipped).is_err(), "byte {place}");
            assert!(Notes::decode(VOLUME, &bytes[..place]).is_err(), "cut at {place}");
        }
        assert_eq!(Notes::decode(VolumeId([5; 16]), &bytes), Err(NotesError::Damaged));
        let mut newer = bytes.clone();
        newer[3] = b'2';
        assert_eq!(Notes::decode(VOLUME, &newer), Err(NotesError::Version));
    }

    #[test]
    fn counts_that_lie_are_refused_even_with_a_good_check() {
        let good = some(0, 3).encode();
        for (place, count) in [(4, u32::MAX), (8, u32::MAX), (12, u32::MAX), (4, 4), (12, 2)] {
            let mut content = good[..good.len() - 8].to_vec();
            content[place..place + 4].copy_from_slice(&count.to_be_bytes());
            let check = VOLUME.check_of(&[&content]);
            content.extend(check);
            assert_eq!(
                Notes::decode(VOLUME, &content),
                Err(NotesError::Damaged),
                "{place} {count}"
            );
        }
        let long = vec![0; (1 << 20) + 1];
        assert_eq!(Notes::decode(VOLUME, &long), Err(NotesError::TooLong((1 << 20) + 1)));
    }

    #[test]
    fn the_fullest_notes_fit_into_their_file() {
        let mut notes = some(0, u32::try_from(TAKEN_MAX).unwrap() + 10);
        let bytes = notes.encode();
        assert!(bytes.len() as u64 <= NOTES_FILE_MAX_BYTES, "{}", bytes.len());
        let again = Notes::decode(VOLUME, &bytes).unwrap();
        assert_eq!(again.receipts().count(), RECEIPTS_MAX);
        // The newest are kept.
        assert!(
            again.says_taken(&id(0)) && !again.says_taken(&id(u32::try_from(TAKEN_MAX).unwrap()))
        );
        notes.add_taken(&id(u32::MAX));
        assert!(notes.says_taken(&id(u32::MAX)));
        assert_eq!(notes.encode().len(), bytes.len());
    }

    #[test]
    fn files_take_turns_so_that_a_full_one_does_not_crowd_out_the_rest() {
        let full = some(1_000, u32::try_from(RECEIPTS_MAX).unwrap());
        let small = some(0, 5);
        for files in [[full.clone(), small.clone()], [small, full]] {
            let all = Notes::merge(VOLUME, &files);
            assert_eq!(all.receipts().count(), RECEIPTS_MAX);
            assert!((0..5).all(|n| all.receipts().any(|r| *r == receipt(n))));
            assert!(all.is_changed(), "two files become one");
        }
    }

    #[test]
    fn one_file_with_nothing_new_is_not_written_again() {
        let file = Notes::decode(VOLUME, &some(0, 5).encode()).unwrap();
        let mut all = Notes::merge(VOLUME, &[file]);
        assert!(!all.add_receipt(receipt(3)));
        all.add_taken(&id(2));
        all.keep_damage_among(
            (0..5).map(|n| (id(n), FileNumber(n))).collect::<Vec<_>>().iter().map(|(i, n)| (i, *n)),
        );
        assert!(!all.is_changed());
        assert!(all.add_receipt(receipt(9)));
        assert!(all.is_changed());
    }

    #[test]
    fn damage_is_forgotten_with_the_copy_that_had_it() {
        let mut notes = Notes::decode(VOLUME, &some(0, 2).encode()).unwrap();
        notes.keep_damage_among([(&id(0), FileNumber(0)), (&id(1), FileNumber(77))]);
        assert!(notes.says_damaged(&id(0), FileNumber(0)));
        assert!(!notes.says_damaged(&id(1), FileNumber(1)));
        assert!(notes.is_changed());
    }
}
