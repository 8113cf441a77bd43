//! Large bodies: one file per bundle, `blobs/xx/<id in hexadecimal>`.
//!
//! A body is synced under its staging name, renamed, and its directory synced, all before the log
//! record that names it is written: a record never points at nothing. The other way round is
//! possible (a crash between the two, a removal that was not synced): such orphans are swept by
//! compaction and by a check.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use postrider_base::disk::{Disk, DiskFile, ListedKind};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    contract::{BLOB_FROM, BundleId},
    error::SpoolError,
    place::Entropy,
    staging::{STAGING, Staged, Staging},
};

pub(crate) const BLOBS: &str = "blobs";
/// Names taken from one directory at once: bounds memory, not what the spool may hold.
const LIST_MAX: usize = 1 << 20;

/// The blob store of one spool.
#[derive(Clone)]
pub(crate) struct Blobs {
    disk: Arc<dyn Disk>,
    entropy: Entropy,
}

impl Blobs {
    /// Prepares the directories. The caller owns the spool.
    pub(crate) fn open(disk: Arc<dyn Disk>, entropy: Entropy) -> Result<Self, SpoolError> {
        for dir in [STAGING, BLOBS] {
            disk.create_dir(Path::new(dir)).map_err(SpoolError::io("creating a directory"))?;
        }
        Ok(Self { disk, entropy })
    }

    /// Removes what crashed processes left in staging.
    pub(crate) fn sweep_staging(&self) -> Result<(), SpoolError> {
        let dir = Path::new(STAGING);
        let left = self.disk.list(dir, LIST_MAX).map_err(SpoolError::io("listing staging"))?;
        for item in left.iter().filter(|item| item.kind == ListedKind::File) {
            self.disk
                .remove(&dir.join(&item.name))
                .map_err(SpoolError::io("removing an old staging file"))?;
        }
        Ok(())
    }

    pub(crate) fn stage(&self) -> Staging {
        let mut random = [0; 16];
        (self.entropy)(&mut random);
        let path = Path::new(STAGING).join(hex(&random));
        Staging::on_disk(self.disk.clone(), path)
    }

    /// Stages a body that came in one piece.
    pub(crate) fn stage_whole(&self, bytes: &[u8]) -> Result<Staged, SpoolError> {
        let mut staging = self.stage();
        staging.append(bytes)?;
        staging.finish()
    }

    /// Gives a staged file its final name, durably.
    pub(crate) fn adopt(&self, staged: &Path, id: &BundleId) -> Result<(), SpoolError> {
        let (dir, path) = home(id);
        self.disk.create_dir(&dir).map_err(SpoolError::io("creating a directory"))?;
        self.disk.publish(staged, &path).map_err(SpoolError::io("storing a body"))
    }

    pub(crate) fn read_at(
        &self,
        id: &BundleId,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize, SpoolError> {
        let mut filled = 0;
        let file = self.open_one(id)?;
        while filled < out.len() {
            let got = file
                .read_at(offset + filled as u64, &mut out[filled..])
                .map_err(SpoolError::io("reading a body"))?;
            if got == 0 {
                return Err(SpoolError::DamagedBlob(*id));
            }
            filled += got;
        }
        Ok(filled)
    }

    fn open_one(&self, id: &BundleId) -> Result<Box<dyn DiskFile>, SpoolError> {
        self.disk.open(&home(id).1).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => SpoolError::DamagedBlob(*id),
            _ => SpoolError::io("opening a body")(e),
        })
    }

    /// Removes a body's file; the caller has made sure that no record needs it.
    pub(crate) fn remove(&self, id: &BundleId) {
        // A file that stays is an orphan, which compaction sweeps.
        let _ = self.disk.remove(&home(id).1);
    }

    /// Whether a body's file is there and as it was written.
    pub(crate) fn verify(
        &self,
        id: &BundleId,
        len_bytes: u64,
        check: u64,
    ) -> Result<bool, SpoolError> {
        let file = match self.open_one(id) {
            Ok(file) => file,
            Err(SpoolError::DamagedBlob(_)) => return Ok(false),
            Err(e) => return Err(e),
        };
        let reading = SpoolError::io("reading a body");
        let mut buffer = vec![0; BLOB_FROM];
        let mut hash = Xxh3::new();
        let mut offset = 0;
        loop {
            match file.read_at(offset, &mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    hash.update(&buffer[..n]);
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // A sector the disk cannot read is damage, not a reason to give up the check.
                Err(e) if e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
                    return Ok(false);
                }
                Err(e) => return Err(reading(e)),
            }
        }
        Ok(offset == len_bytes && hash.digest() == check)
    }

    /// Removes every file that `wanted` does not know; returns how many.
    pub(crate) fn sweep(
        &self,
        mut wanted: impl FnMut(&BundleId) -> Result<bool, SpoolError>,
    ) -> Result<u64, SpoolError> {
        let listing = SpoolError::io("listing bodies");
        let root = Path::new(BLOBS);
        let dirs = match self.disk.list(root, 256) {
            Ok(dirs) => dirs,
            Err(e) => return Err(listing(e)),
        };
        let mut removed = 0;
        for dir in dirs.iter().filter(|item| item.kind == ListedKind::Directory) {
            let dir = root.join(&dir.name);
            let items = self.disk.list(&dir, LIST_MAX).map_err(SpoolError::io("listing bodies"))?;
            for item in items {
                let keep = match from_hex(&item.name) {
                    Some(id) => wanted(&id)?,
                    // Not a name we give: not ours to remove.
                    None => true,
                };
                if !keep {
                    self.disk
                        .remove(&dir.join(&item.name))
                        .map_err(SpoolError::io("removing an orphaned body"))?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

fn home(id: &BundleId) -> (PathBuf, PathBuf) {
    let name = hex(&id.0);
    let dir = Path::new(BLOBS).join(&name[..2]);
    let path = dir.join(name);
    (dir, path)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn from_hex(name: &str) -> Option<BundleId> {
    let mut id = [0; 32];
    if name.len() != 64 || !name.is_ascii() {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(name.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(BundleId(id))
}
