//! The index on disk: one sled tree, of [blocks](super::blocks).
//!
//! sled is quick and small but not to be trusted with anything that cannot be made again: a flipped
//! bit makes it panic or forget silently, a hang has been reported, and its `flush` is no fsync.
//! So:
//! - it is opened and looked over in a thread of its own, under `catch_unwind` and a deadline;
//! - when it was closed properly, a sum over its files lies beside it; when the sum is there the
//!   files must fit it, and when it is not, every row is read and counted against the totals;
//! - whatever fails, panics or does not fit is moved aside and made anew from the log;
//! - every later call is under `catch_unwind` too, and a failure is remembered in a mark beside
//!   the index, so that the next open does not believe it again.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use xxhash_rust::xxh3::Xxh3;

use super::{Batch, Index, Row, audit::audit, blocks::unpacked};
use crate::error::SpoolError;

/// The directory of the tree, within the spool's.
pub(crate) const INDEX: &str = "index";
const SUM: &str = "index.sum";
const DOUBT: &str = "index.doubt";
const ASIDE: &str = "index.bad-";

/// sled's page cache. Small, because memory must not grow with the number of bundles, and the
/// system caches the file anyway. sled only looks at it when one of 256 parts of its pages was asked
/// for 64 times, so that 16,384 pages may lie in memory before one is thrown out.
const CACHE_BYTES: u64 = 8 << 20;
/// How long opening may take before it counts as hanging, and how much longer for each further
/// 64 MiB: reading the whole file from a slow card takes that long.
const PATIENCE: Duration = Duration::from_secs(4);
/// Indices moved aside that are kept for whoever wants to look at them.
const ASIDE_KEPT: usize = 1;

/// A sled tree as an index.
pub(crate) struct TreeIndex {
    /// `None` only while it is being closed.
    db: Option<sled::Db>,
    root: PathBuf,
}

impl TreeIndex {
    /// Opens the index of a spool, or makes an empty one where there is none. The error says, for
    /// people, why an index that is there cannot be believed.
    pub(crate) fn open(root: &Path) -> Result<Self, String> {
        let dir = root.join(INDEX);
        let size = dir_bytes(&dir);
        let patience = PATIENCE * u32::try_from(1 + size / (64 << 20)).unwrap_or(u32::MAX);
        let (tell, told) = mpsc::sync_channel(1);
        let place = root.to_owned();
        let opening = thread::Builder::new().name("spool-index".to_owned()).spawn(move || {
            let opened = catch_unwind(AssertUnwindSafe(|| open_and_audit(&place)));
            // Nobody listens any more when this took too long.
            let _ = tell.send(opened.unwrap_or_else(|_| Err("opening it panicked".to_owned())));
        });
        if let Err(e) = opening {
            return Err(format!("no thread to open it: {e}"));
        }
        match told.recv_timeout(patience) {
            Ok(Ok(db)) => Ok(Self { db: Some(db), root: root.to_owned() }),
            Ok(Err(why)) => Err(why),
            Err(_) => Err(format!("opening it took more than {} s", patience.as_secs())),
        }
    }

    /// Moves a bad index out of the way, keeping the latest for inspection.
    pub(crate) fn move_aside(root: &Path) -> io::Result<()> {
        let mut aside: Vec<(u64, PathBuf)> = Vec::new();
        for item in fs::read_dir(root)? {
            let item = item?;
            let name = item.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(ASIDE));
            if let Some(number) = number.and_then(|digits| digits.parse().ok()) {
                aside.push((number, item.path()));
            }
        }
        aside.sort_unstable();
        let next = aside.last().map_or(1, |(number, _)| number + 1);
        let dir = root.join(INDEX);
        if dir.exists() {
            fs::rename(&dir, root.join(format!("{ASIDE}{next}")))?;
            let surplus = (aside.len() + 1).saturating_sub(ASIDE_KEPT);
            for (_, old) in aside.iter().take(surplus) {
                remove_any(old)?;
            }
        }
        for mark in [SUM, DOUBT] {
            remove_any(&root.join(mark))?;
        }
        Ok(())
    }

    fn guarded<T>(
        &self,
        work: impl FnOnce(&sled::Db) -> Result<T, sled::Error>,
    ) -> Result<T, SpoolError> {
        let Some(db) = &self.db else {
            return Err(SpoolError::Index("it is closed".to_owned()));
        };
        let why = match catch_unwind(AssertUnwindSafe(|| work(db))) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(e)) => e.to_string(),
            Err(_) => "it panicked".to_owned(),
        };
        self.doubt();
        Err(SpoolError::Index(why))
    }
}

impl Index for TreeIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError> {
        self.guarded(|db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    fn range(&self, low: &[u8], high: &[u8], limit: usize) -> Result<Vec<Row>, SpoolError> {
        if low >= high {
            return Ok(Vec::new());
        }
        self.guarded(|db| {
            db.range(low..high)
                .take(limit)
                .map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())))
                .collect()
        })
    }

    fn apply(&self, batch: &Batch) -> Result<(), SpoolError> {
        let mut changes = sled::Batch::default();
        for (key, value) in batch {
            match value {
                Some(value) => changes.insert(key.as_slice(), value.as_slice()),
                None => changes.remove(key.as_slice()),
            }
        }
        self.guarded(|db| {
            db.apply_batch(changes)?;
            // Replaced pages are freed a few at a time by later calls, and a batch counts as one
            // call: so the calls are made up for, or memory would grow.
            for _ in 0..batch.len() {
                db.contains_key(b"w")?;
            }
            Ok(())
        })
    }

    fn flush(&self) -> Result<(), SpoolError> {
        self.guarded(|db| db.flush().map(drop))?;
        // sled only starts the write-out; the file's own fsync makes it durable.
        let file = self.root.join(INDEX).join("db");
        File::open(file)
            .and_then(|file| file.sync_all())
            .map_err(SpoolError::io("syncing the index"))
    }

    fn doubt(&self) {
        let _ = File::create(self.root.join(DOUBT));
    }
}

impl Drop for TreeIndex {
    fn drop(&mut self) {
        let Some(db) = self.db.take() else { return };
        let closed = catch_unwind(AssertUnwindSafe(|| {
            let flushed = db.flush().is_ok();
            drop(db);
            flushed
        }));
        let dir = self.root.join(INDEX);
        if matches!(closed, Ok(true)) && !self.root.join(DOUBT).exists() {
            // Without a sum the next open reads every row instead.
            let _ = sum_of(&dir).and_then(|sum| {
                let mut file = File::create(self.root.join(SUM))?;
                file.write_all(&sum.to_be_bytes())
            });
        }
    }
}

fn open_and_audit(root: &Path) -> Result<sled::Db, String> {
    let dir = root.join(INDEX);
    let fresh = !dir.exists();
    let sum = fs::read(root.join(SUM)).ok();
    if root.join(DOUBT).exists() {
        return Err("it failed when it was last used".to_owned());
    }
    let words = |e: io::Error| format!("its files cannot be read: {e}");
    if let Some(sum) = &sum {
        if !fresh && sum[..] != sum_of(&dir).map_err(words)?.to_be_bytes() {
            return Err("its files are not as they were left".to_owned());
        }
        // Durably: a sum that came back after a power cut would condemn a good index.
        remove_any(&root.join(SUM)).map_err(words)?;
        File::open(root).and_then(|names| names.sync_all()).map_err(words)?;
    }
    let db = sled::Config::new()
        .path(&dir)
        .cache_capacity(CACHE_BYTES)
        .mode(sled::Mode::LowSpace)
        .flush_every_ms(Some(1000))
        .open()
        .map_err(|e| e.to_string())?;
    if !fresh && sum.is_none() {
        audit(unpacked(one_by_one(&db)))?;
    }
    Ok(db)
}

/// All rows of the tree. Each is looked for anew: an iterator of sled's goes on within a page, and
/// what it does not hear of often enough it does not throw out of its cache.
fn one_by_one(db: &sled::Db) -> impl Iterator<Item = Result<Row, String>> {
    let mut after = Bound::Unbounded;
    std::iter::from_fn(move || {
        let row = db.range((after.clone(), Bound::Unbounded)).next()?;
        Some(row.map_err(|e| e.to_string()).map(|(key, value)| {
            after = Bound::Excluded(key.clone());
            (key.to_vec(), value.to_vec())
        }))
    })
}

/// XXH3 over names, lengths and bytes of all files of the index.
fn sum_of(dir: &Path) -> io::Result<u64> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for item in fs::read_dir(&dir)? {
            let item = item?;
            if item.file_type()?.is_dir() {
                dirs.push(item.path());
            } else {
                files.push(item.path());
            }
        }
    }
    files.sort_unstable();
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; 256 << 10];
    for path in files {
        hash.update(path.strip_prefix(dir).unwrap_or(&path).as_os_str().as_encoded_bytes());
        let mut file = File::open(&path)?;
        hash.update(&file.metadata()?.len().to_be_bytes());
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => hash.update(&buffer[..n]),
            }
        }
    }
    Ok(hash.digest())
}

fn dir_bytes(dir: &Path) -> u64 {
    fs::metadata(dir.join("db")).map_or(0, |facts| facts.len())
}

fn remove_any(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
