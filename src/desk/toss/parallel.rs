//! Opening what lies on a medium, on as many cores as there are.
//!
//! Verifying and opening need no lock; what they give is settled by one thread, in order, so that
//! what arrives is the same with any number of workers.

use std::{
    collections::HashSet,
    io::{self, Read},
    iter,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use postrider_base::{BundleId, Head, bundle::Hop, disk::Disk};
use postrider_engine::parcel::{Body, Container, Notes, Record, RecordError};

use super::{
    Event, Failure, check_stopped,
    inventory::{Inventory, OnMedium},
    take::{Visit, mark_damaged},
};
use crate::desk::{
    incoming::{Ready, Refusal, lock},
    parallel::in_parallel,
    reply::Tossed,
};

/// Small bundles are opened together until there are so many, or so many bytes of them: enough to
/// make a thread worth its start, few enough to hold in memory.
const BATCH_MAX: usize = 128;
const BATCH_BYTES: usize = 2 << 20;
/// Large bundles that were read and wait for the disk: few, since each keeps files open and what was
/// written of it takes page cache.
const READY_MAX: usize = 4;

/// Small bundles that are opened together.
#[derive(Default)]
pub(super) struct Batch {
    list: Vec<Small>,
    bytes: usize,
}

/// A small bundle that was read and not yet checked.
pub(super) struct Small {
    pub id: BundleId,
    /// What the container's trailer calls it.
    pub said: Option<BundleId>,
    pub head: Head,
    pub hop: Hop,
    pub payload: Vec<u8>,
}

impl Batch {
    pub(super) fn push(&mut self, small: Small) {
        self.bytes += small.payload.len();
        self.list.push(small);
    }

    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= BATCH_MAX || self.bytes >= BATCH_BYTES
    }
}

/// A large record to be taken: from which container, where.
pub(super) struct Large {
    pub container: usize,
    pub id: BundleId,
    pub record: Record,
}

/// What became of the large record in that place of the list.
type Outcome = (usize, Result<BundleId, Refusal>);

impl Visit<'_> {
    /// Opens small ones in parallel, then settles them in the order in which they came.
    pub(super) fn take_batch(
        &self,
        batch: Batch,
        workers: usize,
        on_medium: &mut OnMedium,
        notes: &mut Notes,
        reply: &mut Tossed,
    ) -> Result<(), Failure> {
        let open = |small: &Small| self.intake.read_small(&small.head, small.hop, &small.payload);
        let mut synced = HashSet::new();
        let opened = in_parallel(batch.list.iter().collect(), workers, open);
        for (small, opened) in batch.list.iter().zip(opened) {
            let settled = opened.and_then(|ready| self.intake.settle(ready, &mut synced));
            if self.account(settled, Some(small.id), on_medium.number, reply)? {
                let id = small.said.unwrap_or(small.id);
                mark_damaged(on_medium, &id);
                notes.add_damaged(&id, on_medium.number);
            }
        }
        Ok(())
    }

    /// Reads large records in parallel and settles each; returns what became of them.
    ///
    /// Workers decipher while this thread waits for the disk, which takes together what has become
    /// ready meanwhile: parts of one file share a sync.
    pub(super) fn take_large_ones(
        &self,
        inventory: &Inventory,
        large: &[Large],
        workers: usize,
    ) -> Result<Vec<Outcome>, Failure> {
        let next = Mutex::new(0..large.len());
        let stop = AtomicBool::new(false);
        let (read, ready) = mpsc::sync_channel(READY_MAX);
        let mut outcomes = Vec::with_capacity(large.len());
        let mut failed = None;
        thread::scope(|scope| {
            for _ in 0..workers.min(large.len()) {
                let (read, next, stop) = (read.clone(), &next, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let Some(at) = lock(next).next() else { return };
                        let outcome = self.read_large(inventory, &large[at]);
                        self.watch.event(Event::Advance(large[at].record.body_bytes));
                        if read.send((at, outcome)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(read);
            while let Ok(first) = ready.recv() {
                let mut synced = HashSet::new();
                // Taken out first: whatever is synced now was written before.
                let batch: Vec<_> =
                    iter::once(first).chain(ready.try_iter().take(READY_MAX)).collect();
                for (at, outcome) in batch {
                    match outcome.and_then(|ready| self.intake.settle(ready, &mut synced)) {
                        Err(Refusal::Failed(failure)) => {
                            stop.store(true, Ordering::Relaxed);
                            failed.get_or_insert(failure);
                        }
                        outcome => outcomes.push((at, outcome)),
                    }
                }
            }
        });
        if let Some(failure) = failed {
            // What was opened before is made durable all the same, if it can be; the first failure
            // is the one to tell.
            let _ = self.intake.flush();
            return Err(failure);
        }
        Ok(outcomes)
    }

    fn read_large(&self, inventory: &Inventory, large: &Large) -> Result<Ready, Refusal> {
        check_stopped(self.watch).map_err(Refusal::Failed)?;
        let on_medium = &inventory.containers[large.container];
        let unreadable = |error: io::Error| match self.check_presence(&error) {
            Err(gone) => Refusal::Failed(gone),
            Ok(()) => Refusal::Damaged(format!("it cannot be read: {error}")),
        };
        let file = self.disk.open(&on_medium.path).map_err(unreadable)?;
        let container =
            Container::open(&file).map_err(|error| Refusal::Damaged(error.to_string()))?;
        let head = Head::decode(&large.record.head)
            .map_err(|error| Refusal::Damaged(error.to_string()))?;
        let mut body = BodyReader { body: container.body(&large.record), error: None };
        let ready = self.intake.read_large(&head, large.record.hop, &mut body);
        match (body.error, ready) {
            (Some(error), Err(_)) => Err(unreadable(error)),
            (_, ready) => ready,
        }
    }
}

/// A record's body as a reader. Where the record's own check fails it just ends: the bundle's hash
/// decides whether the payload is whole.
struct BodyReader<'a> {
    body: Body<'a>,
    error: Option<io::Error>,
}

impl Read for BodyReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.body.read(out) {
            Ok(n) => Ok(n),
            Err(RecordError::Read(error)) => {
                let again = io::Error::from(error.kind());
                self.error = Some(error);
                Err(again)
            }
            Err(_) => Ok(0),
        }
    }
}
