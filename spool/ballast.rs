//! A file that holds nothing: space set aside for the day the disk is full.
//!
//! Making room needs room: a retirement is a record, compaction writes before it removes. When the
//! disk is full the ballast is dropped, and what it held is for records that are no admissions.
//! Admissions are refused until there is so much space again that the ballast could be restored.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use postrider_base::disk::Disk;

const BALLAST: &str = "ballast";
/// Two segments: one being rewritten, one to go on with. A judgement.
pub(crate) const BALLAST_BYTES: u64 = 4 << 20;
/// The ballast is only (re)filled when this many times its size is free, so that filling it is
/// never what fills the disk, and a disk at its brim does not flap.
const ROOM_TIMES: u64 = 4;

pub(crate) struct Ballast {
    disk: Arc<dyn Disk>,
    bytes: u64,
    held: AtomicBool,
}

impl Ballast {
    /// Ballast of a size; 0 is none, and then a full disk is simply full.
    pub(crate) fn new(disk: Arc<dyn Disk>, bytes: u64) -> Self {
        let there = disk.open(Path::new(BALLAST)).and_then(|file| file.len_bytes());
        let held = bytes > 0 && there.is_ok_and(|len| len >= bytes);
        Self { disk, bytes, held: AtomicBool::new(held) }
    }

    /// Whether admissions may use what space there is.
    pub(crate) fn allows_admissions(&self) -> bool {
        self.bytes == 0 || self.held.load(Ordering::Acquire) || self.refill()
    }

    /// Gives up the space; `false` when there is none to give.
    pub(crate) fn release(&self) -> bool {
        self.held.swap(false, Ordering::AcqRel) && self.disk.remove(Path::new(BALLAST)).is_ok()
    }

    /// Sets the space aside again if there is plenty; whether it is set aside now.
    pub(crate) fn refill(&self) -> bool {
        if self.bytes == 0 || self.held.load(Ordering::Acquire) {
            return true;
        }
        let free = self.disk.free_bytes().unwrap_or(0);
        if free < self.bytes.saturating_mul(ROOM_TIMES) {
            return false;
        }
        let filled = self.fill().is_ok();
        if !filled {
            let _ = self.disk.remove(Path::new(BALLAST));
        }
        self.held.store(filled, Ordering::Release);
        filled
    }

    fn fill(&self) -> io::Result<()> {
        let path = Path::new(BALLAST);
        match self.disk.remove(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = self.disk.create(path)?;
        // Not zeros: some file systems store those for nothing.
        let mut state = 1u64;
        let mut piece = vec![0; 64 << 10];
        let mut at = 0;
        while at < self.bytes {
            for word in piece.chunks_mut(8) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                word.copy_from_slice(&state.to_be_bytes()[..word.len()]);
            }
            let left = usize::try_from(self.bytes - at).unwrap_or(piece.len());
            let len = piece.len().min(left);
            file.write_all_at(at, &piece[..len])?;
            at += len as u64;
        }
        file.sync()
    }
}
