//! Who writes where while parts come: two must never write one place, nor anybody one that counts.
//!
//! Bundles are taken in by one intake at a time. Beside it, parts are opened while they come over
//! links: each has a lease of its place (set and index). An intake that needs a place takes it: the
//! lease is over, and its holder writes nothing from then on. No place is leased that an intake has
//! taken; what an intake has committed shows in the log.

use std::{
    collections::{HashMap, HashSet},
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard},
};

use super::{incoming::lock, parts::PartWriter};

/// A set's key, and the number of a part in it.
type Spot = ([u8; 24], u32);

/// The places that somebody writes, of one desk.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    leased: HashMap<Spot, Arc<Mutex<Held>>>,
    taken: HashSet<Spot>,
    /// Sets whose manifest the intake takes: which of their files are which is about to change.
    closed: HashSet<[u8; 24]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Yes,
    No,
}

impl Table {
    /// Ends a lease by its holder; whether nobody had ended it before.
    fn gives_back(&mut self, lease: &Lease) -> bool {
        let has = self.leased.get(&lease.spot).is_some_and(|held| Arc::ptr_eq(held, &lease.held));
        if has {
            self.leased.remove(&lease.spot);
        }
        has
    }
}

impl Places {
    /// An intake writes a part's place, or says that something else is the part. Whether it does so
    /// for the first time.
    pub fn take(&self, key: &[u8; 24], index: u32) -> bool {
        let mut table = lock(&self.0);
        let spot = (*key, index);
        if let Some(lease) = table.leased.remove(&spot) {
            // Waits for a write that has begun.
            *lock(&lease) = Held::No;
        }
        table.taken.insert(spot)
    }

    /// An intake takes the manifest of a set with so many parts. Leases of others are over.
    pub fn close(&self, key: &[u8; 24], parts: usize) {
        let mut table = lock(&self.0);
        table.closed.insert(*key);
        table.leased.retain(|(of, index), lease| {
            let named = usize::try_from(*index).is_ok_and(|index| index < parts);
            if of == key && !named {
                *lock(lease) = Held::No;
            }
            of != key || named
        });
    }

    /// An intake has ended: what it did shows in the log.
    pub fn end_intake(&self) {
        let mut table = lock(&self.0);
        table.taken.clear();
        table.closed.clear();
    }

    /// A lease for what `writer` writes, unless somebody has that place. `writer` looks into the
    /// log whether it is free there; no intake can take the place meanwhile.
    pub fn lease(
        self: &Arc<Self>,
        key: &[u8; 24],
        index: u32,
        writer: impl FnOnce() -> Option<PartWriter>,
    ) -> Option<LeasedWriter> {
        let mut table = lock(&self.0);
        let spot = (*key, index);
        let in_use = table.leased.contains_key(&spot) || table.taken.contains(&spot);
        if in_use || table.closed.contains(key) {
            return None;
        }
        let held = Arc::new(Mutex::new(Held::Yes));
        let writer = writer()?;
        table.leased.insert(spot, Arc::clone(&held));
        Some(LeasedWriter { writer, lease: Lease { places: Arc::clone(self), spot, held } })
    }
}

/// Writes a part to its place for as long as nobody else needs that.
#[derive(Debug)]
pub(super) struct LeasedWriter {
    writer: PartWriter,
    lease: Lease,
}

impl LeasedWriter {
    /// All is written, and an intake goes on with it.
    pub fn settle(self) -> io::Result<PartWriter> {
        let mut table = lock(&self.lease.places.0);
        if !table.gives_back(&self.lease) {
            return Err(overtaken());
        }
        table.taken.insert(self.lease.spot);
        drop(table);
        Ok(self.writer)
    }
}

impl Write for LeasedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _held = self.lease.hold()?;
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[derive(Debug)]
struct Lease {
    places: Arc<Places>,
    spot: Spot,
    held: Arc<Mutex<Held>>,
}

impl Lease {
    /// Keeps others from taking the place while this lives.
    fn hold(&self) -> io::Result<MutexGuard<'_, Held>> {
        let held = lock(&self.held);
        match *held {
            Held::Yes => Ok(held),
            Held::No => Err(overtaken()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.places.0).gives_back(self);
    }
}

fn overtaken() -> io::Error {
    io::Error::other("the part came by another way meanwhile")
}

#[cfg(test)]
mod tests {
    use super::*;
    use postrider_base::packet::PART_BYTES;

    const KEY: [u8; 24] = [1; 24];

    fn lease(places: &Arc<Places>, dir: &std::path::Path, index: u32) -> Option<LeasedWriter> {
        places.lease(&KEY, index, || PartWriter::into_stream(dir.join("s"), index).ok())
    }

    #[test]
    fn a_place_has_one_writer_and_an_intake_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let places = Arc::new(Places::default());
        let mut first = lease(&places, dir.path(), 0).unwrap();
        assert!(lease(&places, dir.path(), 0).is_none(), "somebody has it");
        let other = lease(&places, dir.path(), 1).unwrap();
        first.write_all(b"one").unwrap();

        assert!(places.take(&KEY, 0) && !places.take(&KEY, 0));
        assert!(first.write_all(b"two").is_err() && first.settle().is_err());
        assert!(lease(&places, dir.path(), 0).is_none(), "the intake has it");
        drop(other);
        assert!(lease(&places, dir.path(), 1).is_some(), "given back");
        places.end_intake();
        assert!(lease(&places, dir.path(), 0).is_some());
        let written = std::fs::read(dir.path().join("s")).unwrap();
        assert_eq!(written, b"one");
    }

    #[test]
    fn a_manifest_ends_the_leases_of_parts_that_it_does_not_name() {
        let dir = tempfile::tempdir().unwrap();
        let places = Arc::new(Places::default());
        let [mut named, mut beyond] = [0, 2].map(|n| lease(&places, dir.path(), n).unwrap());
        places.close(&KEY, 2);
        assert!(named.write_all(b"one").is_ok() && beyond.write_all(b"two").is_err());
        assert!(lease(&places, dir.path(), 1).is_none(), "not while files get their names");
        assert!(named.settle().is_ok() && !places.take(&KEY, 0), "the intake has it now");
        assert!(std::fs::metadata(dir.path().join("s")).unwrap().len() < PART_BYTES);
    }

    #[test]
    fn a_lease_that_is_over_frees_nothing_of_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let places = Arc::new(Places::default());
        let old = lease(&places, dir.path(), 0).unwrap();
        places.take(&KEY, 0);
        places.end_intake();
        let _new = lease(&places, dir.path(), 0).unwrap();
        drop(old);
        assert!(lease(&places, dir.path(), 0).is_none());
    }
}
