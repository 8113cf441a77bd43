//! The spool as the desk uses it: opened late, with or without its index.

use std::{
    io::{self, Write},
    sync::Arc,
};

use postrider_base::{BundleId, Head, bundle::Origin};
use postrider_spool::{
    Appender, Body, Change, Class, Destination, DurableSpool, Entropy, Hop, IndexState, NewBundle,
    Now, Options, Outcome, Place, Quota, Quotas, Sequence, Spool, SpoolError, Staged, Staging,
    Stats, Summary,
};

use super::{Desk, Event, Failure, LOCK_WAIT, Watch, clock, sets::SetBook};

/// Most that strangers' bundles take unasked, and those of friends of contacts again (DESIGN, 6).
const STRANGERS_BYTES: u64 = 2_000_000_000;

/// What sending needs of a spool: no index, only the end of the log.
pub(super) trait Post: Sync {
    fn take_sequence(&self, destination: &Destination) -> Result<Sequence, SpoolError>;
    fn stage(&self) -> Result<Staging, SpoolError>;
    fn commit(&self, now: Now, changes: Vec<Change>) -> Result<Vec<Outcome>, SpoolError>;
    fn held_ms(&self, now: Now) -> u64;
}

impl Post for Appender {
    fn take_sequence(&self, destination: &Destination) -> Result<Sequence, SpoolError> {
        Ok(Appender::take_sequence(self, destination))
    }

    fn stage(&self) -> Result<Staging, SpoolError> {
        Ok(Appender::stage(self))
    }

    fn commit(&self, now: Now, changes: Vec<Change>) -> Result<Vec<Outcome>, SpoolError> {
        Appender::commit(self, now, changes)
    }

    fn held_ms(&self, now: Now) -> u64 {
        Appender::held_ms(self, now)
    }
}

impl Post for DurableSpool {
    fn take_sequence(&self, destination: &Destination) -> Result<Sequence, SpoolError> {
        Spool::take_sequence(self, destination)
    }

    fn stage(&self) -> Result<Staging, SpoolError> {
        Spool::stage(self)
    }

    fn commit(&self, now: Now, changes: Vec<Change>) -> Result<Vec<Outcome>, SpoolError> {
        Spool::commit(self, now, changes)
    }

    fn held_ms(&self, now: Now) -> u64 {
        Spool::held_ms(self, now)
    }
}

impl Desk {
    /// The spool with its index, opened now if it is not open yet.
    pub(super) fn spool(&self, watch: &dyn Watch) -> Result<&DurableSpool, Failure> {
        if let Some(spool) = self.spool.get() {
            return Ok(spool);
        }
        let (opened, recovery) = DurableSpool::open(self.place(watch)?, &Options::default())?;
        // A new spool has none; what was there and did not fit is worth a word.
        if let IndexState::Rebuilt { why } = &recovery.index
            && why != "there was none"
        {
            watch.event(Event::Note(format!("the index was made anew from the log: {why}")));
        }
        for damage in &recovery.damage {
            watch.event(Event::Warn(format!(
                "the spool is damaged ({damage:?}); postrider spool check says what it cost"
            )));
        }
        Ok(self.spool.get_or_init(|| opened))
    }

    /// The sets of parts in the inbox.
    pub(super) fn set_book<'a>(&self, spool: &'a DurableSpool) -> SetBook<'a> {
        SetBook::new(spool, self.inbox_dir(), Arc::clone(&self.places))
    }

    /// Only the end of the log: what a process that sends and ends needs.
    pub(super) fn appender(&self, watch: &dyn Watch) -> Result<Appender, Failure> {
        Ok(Appender::open(self.place(watch)?)?.0)
    }

    /// Bytes that can still be written where the home is.
    pub(crate) fn free_bytes(&self) -> Result<u64, Failure> {
        let dir = self.home.dir();
        let stat = rustix::fs::statvfs(dir)
            .map_err(|error| Failure::file("look at", dir, error.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// How much is carried for others now: as the settings say, or as much as the disk has room for.
    pub(super) fn quotas(&self, stats: &Stats) -> Result<Quotas, Failure> {
        let config = &self.home.config;
        let carry = &config.carry;
        let free = self.free_bytes()?;
        // Of what would be free without what is carried already.
        let part = |class: Class, percent: u64| {
            free.saturating_add(stats.classes[class as usize].bytes) / 100 * percent
        };
        let said_mib = |mib: Option<u64>| mib.map_or(u64::MAX, |mib| mib.saturating_mul(1 << 20));
        let strangers = part(Class::Stranger, 10).min(STRANGERS_BYTES);
        let strangers = strangers.min(said_mib(config.strangers_mib));
        let friends = part(Class::Friend, 10).min(STRANGERS_BYTES);
        let contacts = part(Class::Contact, 30).min(said_mib(config.contacts_mib));
        let quota =
            |said: Option<u64>, bytes, bundles| Quota { bytes: said.unwrap_or(bytes), bundles };
        Ok(Quotas {
            contact: quota(carry.contacts, contacts, carry.contacts_bundles),
            friend: quota(carry.friends, friends, carry.friends_bundles),
            stranger: match config.carry_strangers {
                true => quota(carry.strangers, strangers, carry.strangers_bundles),
                false => Quota { bytes: 0, bundles: 0 },
            },
        })
    }

    /// The longest bundle of a class that is carried.
    pub(super) fn longest(&self, quotas: &Quotas, class: Class) -> u64 {
        match (quotas.of(class), class) {
            (Quota { bundles: 0, .. }, _) => 0,
            (quota, Class::Stranger) => quota.bytes.min(self.home.config.carry.strangers_longest),
            (quota, _) => quota.bytes,
        }
    }

    /// Waits until no other process has the spool.
    pub fn wait_until_free(&self, watch: &dyn Watch) -> Result<(), Failure> {
        self.place(watch).map(drop)
    }

    fn place(&self, watch: &dyn Watch) -> Result<Place, Failure> {
        // Asked once where a failure can be told; the kernel's generator does not run dry later.
        clock::random::<32>()?;
        let entropy: Entropy = Arc::new(|out| {
            getrandom::fill(out).expect("the system gave random numbers a moment ago");
        });
        let dir = self.home.spool_dir();
        let mut told = false;
        let mut go_on = || {
            if self.give_up.as_ref().is_some_and(|give_up| give_up()) {
                return false;
            }
            if !told {
                told = true;
                watch.event(Event::Waiting);
            }
            true
        };
        Ok(Place::take(&dir, entropy, LOCK_WAIT, &mut go_on)?)
    }
}

/// What the spool sorts by, from a header.
pub(super) fn summary(head: &Head) -> Summary {
    let header = head.header();
    Summary {
        destination: spool_destination(&header.destination),
        source: match &header.origin {
            Origin::Open { source, .. } => Some(*source.as_bytes()),
            Origin::Hidden => None,
        },
        nice: header.nice.value(),
        lifetime_s: header.lifetime.seconds(),
        length: header.length,
    }
}

fn spool_destination(destination: &postrider_base::bundle::Destination) -> Destination {
    use postrider_base::bundle::Destination as Base;
    match destination {
        Base::Node(node) => Destination::Node(*node.as_bytes()),
        Base::Group(group) => Destination::Group(*group),
        Base::Tag(tag) => Destination::Tag(*tag),
    }
}

/// A bundle of our own, fresh from the seal.
pub(super) fn own_bundle(id: BundleId, head: &Head, body: Body, own: Vec<u8>) -> NewBundle {
    NewBundle {
        id,
        head: head.encode(),
        summary: summary(head),
        hop: Hop::fresh_for(head.header().nice),
        class: Class::Own,
        worth: 0,
        from: None,
        own: Some(own),
        body,
    }
}

/// Whether a commit took the bundle with this id as its `at`th change.
pub(super) fn must_admit(outcomes: &[Outcome], at: usize, id: &BundleId) -> Result<(), Failure> {
    match outcomes.get(at) {
        Some(Outcome::Admitted) => Ok(()),
        // A fresh id cannot be known: 256 bits of hash over a fresh seal.
        other => Err(Failure::new(
            super::FailureKind::Fault,
            format!("the spool did not admit the new bundle {id}: {other:?}"),
        )),
    }
}

/// A staging body as a writer, for what seals while it writes.
pub(super) struct StagingWriter {
    staging: Staging,
    error: Option<SpoolError>,
}

impl StagingWriter {
    pub(super) fn new(staging: Staging) -> Self {
        Self { staging, error: None }
    }

    /// Ends the body, or gives back the spool's own error that a write met.
    pub(super) fn finish(self) -> Result<Staged, SpoolError> {
        match self.error {
            Some(error) => Err(error),
            None => self.staging.finish(),
        }
    }
}

impl Write for StagingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.staging.append(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                let kind = match &error {
                    SpoolError::Full(_) => io::ErrorKind::StorageFull,
                    _ => io::ErrorKind::Other,
                };
                self.error = Some(error);
                Err(kind.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
