//! From a group of changes to the records of the log: what each change comes to, given what is
//! known.

use std::path::Path;

use crate::{
    blobs::Blobs,
    bounds::{DROPS_MAX, Newcomer, Owner, Quotas, counted_bytes, make_room},
    clock::{POINT_EVERY_MS, Point},
    contract::{Body, BundleId, Change, Delivered, Entry, NewBundle, Now, Outcome, Why},
    counters::Counters,
    error::SpoolError,
    fold::Fold,
    log::{
        Raw, location,
        record::{
            BodyBytes, Kind, Record, Retired, decode, encode_bundle, encode_checkpoint,
            encode_delivered, encode_hop, encode_note, encode_point, encode_renewed,
            encode_retired, encode_sequence,
        },
    },
    staging::Staged,
};

/// What a group comes to.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) raws: Vec<Raw>,
    pub(crate) outcomes: Vec<Outcome>,
    /// The clock point among the records.
    pub(crate) point: Option<Point>,
    /// Bundles whose body files are free once the group is durable.
    pub(crate) freed: Vec<BundleId>,
    /// How many bundles it drops for others.
    pub(crate) dropped: usize,
}

/// Lays out one group.
pub(crate) struct Deciding<'a, 'i> {
    pub(crate) fold: &'a mut Fold<'i>,
    pub(crate) counters: &'a mut Counters,
    /// Where the group's first record will lie.
    pub(crate) segment: u32,
    pub(crate) offset: usize,
    pub(crate) group: Group,
    pub(crate) blobs: &'a Blobs,
    pub(crate) quotas: &'a Quotas,
}

/// Why a group could not be laid out.
pub(crate) enum Undecided {
    /// Its own body could not be stored; other groups are not concerned.
    Body(SpoolError),
    /// The spool is in trouble.
    Spool(SpoolError),
}

impl From<SpoolError> for Undecided {
    fn from(error: SpoolError) -> Self {
        Self::Spool(error)
    }
}

impl Deciding<'_, '_> {
    /// Decides the changes in order; each sees what those before it did. Bodies that are files get
    /// their final names on the way, before any record speaks of them.
    pub(crate) fn changes(mut self, now: Now, changes: &mut [Change]) -> Result<Group, Undecided> {
        let held_ms = self.counters.clock.read(now);
        if self.any_known_delivery(changes)? {
            self.group.outcomes = self.void(changes)?;
            return Ok(self.group);
        }
        self.checkpoint_if_due()?;
        let due = self.counters.clock.point_due(now, POINT_EVERY_MS);
        if let Some(point) = due {
            self.clock(point)?;
        }
        let before = self.group.raws.len();
        for change in changes {
            let outcome = self.change(change, held_ms)?;
            self.group.outcomes.push(outcome);
        }
        if self.group.raws.len() == before {
            // A clock point alone is not worth a sync.
            self.group.raws.retain(|raw| raw.kind != Kind::Clock.number());
            self.group.point = None;
        }
        Ok(self.group)
    }

    /// A clock point, when the last is `older_ms` old.
    pub(crate) fn tick(mut self, now: Now, older_ms: u64) -> Result<Group, Undecided> {
        if let Some(point) = self.counters.clock.point_due(now, older_ms) {
            self.checkpoint_if_due()?;
            self.clock(point)?;
        }
        Ok(self.group)
    }

    /// A checkpoint, when one is due.
    pub(crate) fn checkpoint(mut self) -> Result<Group, Undecided> {
        self.checkpoint_if_due()?;
        Ok(self.group)
    }

    fn checkpoint_if_due(&mut self) -> Result<(), SpoolError> {
        if std::mem::take(&mut self.counters.checkpoint_due) {
            let body = encode_checkpoint(&self.counters.checkpoint());
            self.add(Kind::Checkpoint, body)?;
        }
        Ok(())
    }

    fn clock(&mut self, point: Point) -> Result<(), SpoolError> {
        self.group.point = Some(point);
        self.add(Kind::Clock, encode_point(&point))
    }

    fn change(&mut self, change: &mut Change, held_ms: u64) -> Result<Outcome, Undecided> {
        match change {
            Change::Bundle(bundle) => self.bundle(bundle, held_ms),
            Change::Retire { id, why } => Ok(self.retire(id, *why)?),
            Change::Hop { id, hop, class } => {
                if self.fold.live(id)?.is_none() {
                    return Ok(Outcome::Unknown);
                }
                self.add(Kind::Hop, encode_hop(id, *hop, *class))?;
                Ok(Outcome::Done)
            }
            Change::Renew { id, hop } => {
                let Some(live) = self.fold.live(id)? else { return Ok(Outcome::Unknown) };
                let arrival = self.counters.next_arrival;
                self.counters.next_arrival += 1;
                let body = encode_renewed(id, *hop, live.entry.class, arrival);
                self.add(Kind::Renewed, body)?;
                Ok(Outcome::Done)
            }
            Change::Delivered(d) => {
                let known = !self.fold.delivered(d)?.is_empty();
                let body = encode_delivered(&d.source, d.epoch, &[(d.counter, d.id8)]);
                self.add(Kind::Delivered, body)?;
                Ok(if known { Outcome::Equivocation } else { Outcome::New })
            }
            Change::Note { space, key, value } => {
                self.add(Kind::Note, encode_note(*space, key, value.as_deref()))?;
                Ok(Outcome::Done)
            }
            Change::Sequence(sequence) => {
                if self.counters.is_current(sequence) {
                    let mut body = Vec::new();
                    encode_sequence(&mut body, sequence);
                    self.add(Kind::Sequence, body)?;
                }
                Ok(Outcome::Done)
            }
        }
    }

    fn bundle(&mut self, new: &mut NewBundle, held_ms: u64) -> Result<Outcome, Undecided> {
        if self.fold.known(&new.id, held_ms)? {
            return Ok(Outcome::Duplicate);
        }
        let arrival = self.counters.next_arrival;
        let entry = Entry {
            id: new.id,
            summary: new.summary,
            hop: new.hop,
            class: new.class,
            worth: new.worth,
            from: new.from,
            arrived_held_ms: held_ms,
            arrival,
        };
        if !self.makes_room(&entry)? {
            return Ok(Outcome::Full);
        }
        if let Body::Staged(staged) = &mut new.body
            && let Some(path) = staged.path().map(Path::to_owned)
            && !self.has_file(&new.id, staged)?
        {
            self.blobs.adopt(&path, &new.id).map_err(Undecided::Body)?;
            staged.disarm();
        }
        self.counters.next_arrival += 1;
        let body = match &new.body {
            Body::Inline(bytes) => BodyBytes::Inline(bytes),
            Body::Staged(staged) => match staged.memory() {
                Some(bytes) => BodyBytes::Inline(bytes),
                None => BodyBytes::Blob { check: staged.check() },
            },
        };
        self.add(Kind::Bundle, encode_bundle(&entry, new.own.as_deref(), &new.head, &body))?;
        Ok(Outcome::Admitted)
    }

    /// Drops what must go for a newcomer; whether it is kept.
    fn makes_room(&mut self, new: &Entry) -> Result<bool, SpoolError> {
        let newcomer = Newcomer {
            owner: Owner::of(new),
            nice: new.summary.nice,
            worth: new.worth,
            counted: counted_bytes(new.summary.length),
        };
        let quota = self.quotas.of(new.class);
        let most = DROPS_MAX.saturating_sub(self.group.dropped);
        let room = make_room(self.fold, quota, &newcomer, new.arrived_held_ms, most)?;
        for (id, why) in &room.drops {
            self.retire(id, *why)?;
        }
        self.group.dropped += room.drops.len();
        Ok(room.keeps)
    }

    /// Whether the file of a bundle that comes again is still there, whole: the log owns it until
    /// this group is durable, so it stays as it is.
    fn has_file(&self, id: &BundleId, staged: &Staged) -> Result<bool, Undecided> {
        let check = self.fold.stored(id)?.and_then(|live| live.blob);
        if check != Some(staged.check()) {
            return Ok(false);
        }
        self.blobs.verify(id, staged.len_bytes(), staged.check()).map_err(Undecided::Body)
    }

    fn retire(&mut self, id: &BundleId, why: Why) -> Result<Outcome, SpoolError> {
        let Some(live) = self.fold.live(id)? else { return Ok(Outcome::Unknown) };
        if live.blob.is_some() {
            self.group.freed.push(*id);
        }
        let lifetime_ms = u64::from(live.entry.summary.lifetime_s) * 1000;
        let until_held_ms = match why {
            Why::Damaged => 0,
            _ => live.entry.arrived_held_ms.saturating_add(lifetime_ms).max(1),
        };
        self.add(Kind::Retired, encode_retired(&Retired { id: *id, why, until_held_ms }))?;
        Ok(Outcome::Done)
    }

    fn any_known_delivery(&self, changes: &[Change]) -> Result<bool, SpoolError> {
        let mut earlier: Vec<&Delivered> = Vec::new();
        for change in changes {
            let Change::Delivered(d) = change else { continue };
            if earlier.contains(&d) || self.is_known(d)? {
                return Ok(true);
            }
            earlier.push(d);
        }
        Ok(false)
    }

    fn void(&self, changes: &[Change]) -> Result<Vec<Outcome>, SpoolError> {
        let mut earlier: Vec<&Delivered> = Vec::new();
        let mut outcomes = Vec::with_capacity(changes.len());
        for change in changes {
            outcomes.push(match change {
                Change::Delivered(d) if earlier.contains(&d) || self.is_known(d)? => {
                    Outcome::Duplicate
                }
                Change::Delivered(d) => {
                    earlier.push(d);
                    Outcome::Void
                }
                _ => Outcome::Void,
            });
        }
        Ok(outcomes)
    }

    fn is_known(&self, d: &Delivered) -> Result<bool, SpoolError> {
        Ok(self.fold.delivered(d)?.chunks(8).any(|id8| id8 == d.id8))
    }

    fn add(&mut self, kind: Kind, body: Vec<u8>) -> Result<(), SpoolError> {
        let raw = Raw::new(kind, body);
        let at = location(self.segment, self.offset, &raw);
        let record: Record = decode(raw.kind, raw.version, &raw.body);
        self.fold.apply(&record, raw.flags, at)?;
        self.offset += raw.len();
        self.group.raws.push(raw);
        Ok(())
    }
}
