//! What a record of the log means for the index.
//!
//! The same code runs when a group is committed, when the log is read again from a watermark, and
//! when it is read from its beginning, so all three must agree. That needs these rules:
//! - The first admission of an id counts; a second one is the work of a process that had no index,
//!   and is ignored, unless compaction marked it as moved: then only the place changes.
//! - A change to a bundle that is not live is ignored (its record was dropped with the bundle).
//! - A tombstone ends by the custody clock at the time of the next admission, not at the time of
//!   reading.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::HashMap,
};

use crate::{
    bounds::{Among, Carried, EXPIRED_MAX, Owner, PARTIES_MAX, Party, Rank, Turn, counted_bytes},
    contract::{BundleId, Class, Delivered, Entry, Hop},
    error::SpoolError,
    index::{
        Batch, Index, Row, after_prefix,
        keys::{self, Live, Tombstone, Totals},
        merge,
    },
    log::{
        Watermark,
        frame::MOVED,
        record::{BodyPlace, NoteRecord, Record, Retired},
        segments::Location,
    },
};

/// Changes to an index that are not applied yet, visible through this view only.
pub(crate) struct Fold<'a> {
    index: &'a dyn Index,
    changed: Batch,
    totals: Option<Totals>,
    counting: HashMap<u32, u64>,
    /// Rows as they were read: while these changes gather nobody makes others, and one bundle's are
    /// asked for several times.
    read: RefCell<HashMap<Vec<u8>, Option<Vec<u8>>>>,
    /// Up to when it is known that nothing has ended.
    none_ended_ms: Cell<Option<u64>>,
}

impl<'a> Fold<'a> {
    pub(crate) fn new(index: &'a dyn Index) -> Self {
        Self {
            index,
            changed: Batch::new(),
            totals: None,
            counting: HashMap::new(),
            read: RefCell::default(),
            none_ended_ms: Cell::new(None),
        }
    }

    /// A live bundle.
    pub(crate) fn live(&self, id: &BundleId) -> Result<Option<Live>, SpoolError> {
        match self.decoded(&keys::id(id), keys::arrival_of)? {
            Some(arrival) => self.arrived(arrival),
            None => Ok(None),
        }
    }

    /// A bundle that was live before these changes.
    pub(crate) fn stored(&self, id: &BundleId) -> Result<Option<Live>, SpoolError> {
        Fold::new(self.index).live(id)
    }

    /// The live bundle with this number in the order of admission.
    pub(crate) fn arrived(&self, arrival: u64) -> Result<Option<Live>, SpoolError> {
        self.decoded(&keys::live(arrival), Live::decode)
    }

    /// A tombstone, ended or not.
    pub(crate) fn tombstone(&self, id: &BundleId) -> Result<Option<Tombstone>, SpoolError> {
        self.decoded(&keys::tombstone(id), Tombstone::decode)
    }

    /// Whether an id may not be admitted when the custody clock shows `held_ms`.
    pub(crate) fn known(&self, id: &BundleId, held_ms: u64) -> Result<bool, SpoolError> {
        Ok(self.live(id)?.is_some()
            || self.tombstone(id)?.is_some_and(|t| t.until_held_ms > held_ms))
    }

    /// The ids delivered with a sequence.
    pub(crate) fn delivered(&self, d: &Delivered) -> Result<Vec<u8>, SpoolError> {
        let key = keys::delivered(&d.source, d.epoch, d.counter);
        Ok(self.get(&key)?.unwrap_or_default())
    }

    /// Takes one record into account.
    pub(crate) fn apply(
        &mut self,
        record: &Record,
        flags: u8,
        at: Location,
    ) -> Result<(), SpoolError> {
        match record {
            Record::Bundle(bundle) => {
                let blob = match bundle.body {
                    BodyPlace::Inline(_) => None,
                    BodyPlace::Blob { check } => Some(check),
                };
                let new = Live { at, blob, entry: bundle.entry.clone() };
                self.bundle(new, flags & MOVED != 0)
            }
            Record::Retired(retired) => self.retired(retired, at),
            Record::Hop { id, hop, class } => self.hop(id, (*hop, *class), None),
            Record::Renewed { id, hop, class, arrival } => {
                self.hop(id, (*hop, *class), Some(*arrival))
            }
            Record::Delivered(all) => {
                for d in all {
                    let mut ids = self.delivered(d)?;
                    self.totals()?.delivered += u64::from(ids.is_empty());
                    if !ids.chunks(8).any(|id8| id8 == d.id8) {
                        ids.extend_from_slice(&d.id8);
                        self.put(keys::delivered(&d.source, d.epoch, d.counter), ids);
                    }
                }
                self.count(at)
            }
            Record::Note(note) => self.note(note, at),
            Record::Unknown => self.count(at),
            Record::Sequence(_)
            | Record::Clock(_)
            | Record::Checkpoint(_)
            | Record::Sealed
            | Record::Void => Ok(()),
        }
    }

    /// Drops up to `limit` tombstones that have ended.
    pub(crate) fn purge(&mut self, held_ms: u64, limit: usize) -> Result<(), SpoolError> {
        let high = keys::tombstone_end(held_ms.saturating_add(1), &BundleId([0; 32]));
        for (key, _) in self.index.range(&[keys::TOMBSTONE_END], &high, limit)? {
            if let Some(id) = keys::id_of(&key)
                && let Some(ended) = self.tombstone(&id)?
                && ended.until_held_ms <= held_ms
            {
                self.drop_tombstone(&id, &ended)?;
            }
        }
        Ok(())
    }

    /// Forgets a segment that is about to be removed.
    pub(crate) fn forget_segment(&mut self, number: u32) {
        self.counting.remove(&number);
        self.changed.insert(keys::segment(number), None);
    }

    /// How large the batch has become.
    pub(crate) fn len(&self) -> usize {
        self.changed.len()
    }

    /// Applies everything, with the place in the log it follows from.
    pub(crate) fn finish(mut self, mark: &Watermark) -> Result<(), SpoolError> {
        for (segment, bytes) in &self.counting {
            self.changed.insert(keys::segment(*segment), Some(bytes.to_be_bytes().to_vec()));
        }
        if let Some(totals) = &self.totals {
            self.changed.insert(vec![keys::TOTALS], Some(totals.encode()));
        }
        self.changed.insert(keys::WATERMARK.to_vec(), Some(keys::encode_watermark(mark)));
        self.index.apply(&self.changed)
    }

    fn bundle(&mut self, mut new: Live, moved: bool) -> Result<(), SpoolError> {
        let id = new.entry.id;
        if let Some(old) = self.live(&id)? {
            if moved && old.at != new.at {
                self.uncount(old.at)?;
                self.count(new.at)?;
                new.entry.arrival = old.entry.arrival;
                self.replace(&old, &new)?;
            }
            return Ok(());
        }
        if let Some(tombstone) = self.tombstone(&id)? {
            if tombstone.until_held_ms > new.entry.arrived_held_ms {
                return Ok(());
            }
            self.drop_tombstone(&id, &tombstone)?;
        }
        new.entry.arrival = self.free_number(new.entry.arrival)?;
        self.count(new.at)?;
        self.gain(&new.entry)?;
        self.insert(&new);
        Ok(())
    }

    fn hop(
        &mut self,
        id: &BundleId,
        (hop, class): (Hop, Class),
        arrival: Option<u64>,
    ) -> Result<(), SpoolError> {
        let Some(old) = self.live(id)? else { return Ok(()) };
        let mut new = old.clone();
        new.entry.class = class;
        new.entry.hop = hop;
        new.entry.hop.age_s = hop.age_s.max(old.entry.hop.age_s);
        new.entry.hop.level = hop.level.max(old.entry.hop.level);
        // What compaction has written again says the number that the bundle has.
        if let Some(arrival) = arrival.filter(|arrival| *arrival > old.entry.arrival) {
            new.entry.arrival = self.free_number(arrival)?;
        }
        self.replace(&old, &new)
    }

    /// Numbers are only ever given twice after damage to the log; the row must still be its own.
    fn free_number(&self, mut arrival: u64) -> Result<u64, SpoolError> {
        while self.arrived(arrival)?.is_some() {
            arrival += 1;
        }
        Ok(arrival)
    }

    fn retired(&mut self, retired: &Retired, at: Location) -> Result<(), SpoolError> {
        let id = retired.id;
        if let Some(old) = self.live(&id)? {
            self.uncount(old.at)?;
            self.lose(&old.entry)?;
            self.remove(&old.entry);
        }
        if let Some(old) = self.tombstone(&id)? {
            self.drop_tombstone(&id, &old)?;
        }
        // Without an end there is no tombstone: the id is simply not known any more.
        if retired.until_held_ms > 0 {
            let new = Tombstone { at, why: retired.why, until_held_ms: retired.until_held_ms };
            self.totals()?.tombstones += 1;
            self.put(keys::tombstone(&id), new.encode());
            self.put(keys::tombstone_end(new.until_held_ms, &id), Vec::new());
            self.count(at)?;
        }
        Ok(())
    }

    fn drop_tombstone(&mut self, id: &BundleId, old: &Tombstone) -> Result<(), SpoolError> {
        let totals = self.totals()?;
        totals.tombstones = totals.tombstones.saturating_sub(1);
        self.changed.insert(keys::tombstone(id), None);
        self.changed.insert(keys::tombstone_end(old.until_held_ms, id), None);
        self.uncount(old.at)
    }

    fn note(&mut self, note: &NoteRecord, at: Location) -> Result<(), SpoolError> {
        let key = keys::note(note.space, &note.key);
        if let Some(old) = self.decoded(&key, keys::location_from)? {
            self.uncount(old)?;
            let totals = self.totals()?;
            totals.notes = totals.notes.saturating_sub(1);
        }
        match note.value {
            Some(_) => {
                self.totals()?.notes += 1;
                self.put(key, keys::encode_location(at));
                self.count(at)
            }
            None => {
                self.changed.insert(key, None);
                Ok(())
            }
        }
    }

    fn replace(&mut self, old: &Live, new: &Live) -> Result<(), SpoolError> {
        if old.entry.class != new.entry.class {
            self.lose(&old.entry)?;
            self.gain(&new.entry)?;
        }
        self.remove(&old.entry);
        self.insert(new);
        Ok(())
    }

    fn gain(&mut self, entry: &Entry) -> Result<(), SpoolError> {
        self.totals()?.add(entry);
        self.move_shares(entry, |share, counted| share.saturating_add(counted))
    }

    fn lose(&mut self, entry: &Entry) -> Result<(), SpoolError> {
        self.totals()?.take(entry);
        self.move_shares(entry, u64::saturating_sub)
    }

    fn move_shares(
        &mut self,
        entry: &Entry,
        change: impl Fn(u64, u64) -> u64,
    ) -> Result<(), SpoolError> {
        if entry.class == Class::Own {
            return Ok(());
        }
        let owner @ Owner { class, neighbour, source } = Owner::of(entry);
        let change = |share| change(share, counted_bytes(entry.summary.length));
        let ranks = keys::neighbour_ranks(class);
        self.move_share(keys::neighbour(class, neighbour), ranks, neighbour, &change)?;
        let ranks = keys::source_ranks(class, neighbour);
        self.move_share(keys::source(owner), ranks, source, &change)
    }

    fn move_share(
        &mut self,
        sum: Vec<u8>,
        ranks: Vec<u8>,
        party: Party,
        change: &impl Fn(u64) -> u64,
    ) -> Result<(), SpoolError> {
        let stored = decode_value(self.stored_row(&sum)?, keys::share_from)?;
        let before = self.decoded(&sum, keys::share_from)?;
        let rank = |share| keys::ranked(ranks.clone(), (Reverse(share), party));
        if let Some(share) = before {
            // A rank that only these changes know leaves nothing behind: with every bundle of a
            // group there comes another.
            match stored == before {
                true => self.changed.insert(rank(share), None),
                false => self.changed.remove(&rank(share)),
            };
        }
        match change(before.unwrap_or(0)) {
            0 => {
                self.changed.insert(sum, None);
            }
            share => {
                self.put(rank(share), Vec::new());
                self.put(sum, share.to_be_bytes().to_vec());
            }
        }
        Ok(())
    }

    fn insert(&mut self, new: &Live) {
        let ends_ms = new.entry.expires_held_ms();
        self.none_ended_ms.set(self.none_ended_ms.get().filter(|upto_ms| ends_ms > *upto_ms));
        self.put(keys::live(new.entry.arrival), new.encode());
        self.put(keys::id(&new.entry.id), new.entry.arrival.to_be_bytes().to_vec());
        for key in keys::places(&new.entry) {
            self.put(key, Vec::new());
        }
    }

    fn remove(&mut self, entry: &Entry) {
        self.changed.insert(keys::live(entry.arrival), None);
        self.changed.insert(keys::id(&entry.id), None);
        for key in keys::places(entry) {
            self.changed.insert(key, None);
        }
    }

    fn totals(&mut self) -> Result<&mut Totals, SpoolError> {
        let totals = match self.totals.take() {
            Some(totals) => totals,
            None => self.decoded(&[keys::TOTALS], Totals::decode)?.unwrap_or_default(),
        };
        Ok(self.totals.insert(totals))
    }

    fn count(&mut self, at: Location) -> Result<(), SpoolError> {
        *self.counted(at.segment)? += u64::from(at.len);
        Ok(())
    }

    fn uncount(&mut self, at: Location) -> Result<(), SpoolError> {
        let bytes = self.counted(at.segment)?;
        *bytes = bytes.saturating_sub(u64::from(at.len));
        Ok(())
    }

    fn counted(&mut self, segment: u32) -> Result<&mut u64, SpoolError> {
        if !self.counting.contains_key(&segment) {
            let bytes = segment_bytes(self.get(&keys::segment(segment))?.as_deref());
            self.counting.insert(segment, bytes);
        }
        Ok(self.counting.entry(segment).or_default())
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changed.insert(key, Some(value));
    }

    /// A value as it will be.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError> {
        match self.changed.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.stored_row(key),
        }
    }

    /// A value as it is without these changes.
    fn stored_row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError> {
        if let Some(value) = self.read.borrow().get(key) {
            return Ok(value.clone());
        }
        let value = self.index.get(key)?;
        self.read.borrow_mut().insert(key.to_vec(), value.clone());
        Ok(value)
    }

    fn decoded<T>(
        &self,
        key: &[u8],
        decode: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, SpoolError> {
        decode_value(self.get(key)?, decode)
    }
}

/// What is carried, with these changes.
impl Carried for Fold<'_> {
    fn counted(&self, class: Class) -> Result<(u64, u64), SpoolError> {
        let stored = match &self.totals {
            Some(_) => None,
            None => self.decoded(&[keys::TOTALS], Totals::decode)?,
        };
        let totals = self.totals.as_ref().or(stored.as_ref());
        let share = totals.map(|totals| totals.classes[class as usize]).unwrap_or_default();
        Ok((share.counted_bytes, share.bundles))
    }

    fn ended(&self, held_ms: u64) -> Result<Vec<Entry>, SpoolError> {
        if self.none_ended_ms.get().is_some_and(|upto_ms| held_ms <= upto_ms) {
            return Ok(Vec::new());
        }
        let mut high = vec![keys::EXPIRY];
        high.extend_from_slice(&held_ms.saturating_add(1).to_be_bytes());
        let rows = self.range(&[keys::EXPIRY], &high, EXPIRED_MAX)?;
        if rows.is_empty() {
            self.none_ended_ms.set(Some(held_ms));
        }
        let arrivals = rows.iter().filter_map(|(key, _)| keys::arrival_of(key));
        let entries = arrivals.map(|arrival| Ok(self.arrived(arrival)?.map(|live| live.entry)));
        entries.filter_map(Result::transpose).collect()
    }

    fn of_neighbour(&self, class: Class, neighbour: Party) -> Result<u64, SpoolError> {
        let share = self.decoded(&keys::neighbour(class, neighbour), keys::share_from)?;
        Ok(share.unwrap_or(0))
    }

    fn of_source(&self, owner: Owner) -> Result<u64, SpoolError> {
        Ok(self.decoded(&keys::source(owner), keys::share_from)?.unwrap_or(0))
    }

    fn neighbours(&self, class: Class, after: Option<Rank>) -> Result<Vec<Rank>, SpoolError> {
        self.ranks(keys::neighbour_ranks(class), after)
    }

    fn sources(
        &self,
        class: Class,
        neighbour: Party,
        after: Option<Rank>,
    ) -> Result<Vec<Rank>, SpoolError> {
        self.ranks(keys::source_ranks(class, neighbour), after)
    }

    fn next_bundle(&self, among: Among, after: Option<Turn>) -> Result<Option<Entry>, SpoolError> {
        let turns = keys::turns(among);
        let after = after.map(|after| keys::turn(turns.clone(), after));
        let Some((key, _)) = self.behind(turns, after, 1)?.pop() else { return Ok(None) };
        let arrival = keys::arrival_of(&key);
        let live = arrival.map(|arrival| self.arrived(arrival)).transpose()?.flatten();
        match live {
            Some(live) => Ok(Some(live.entry)),
            None => Err(SpoolError::Index("a carried bundle is not there".to_owned())),
        }
    }
}

impl Fold<'_> {
    fn ranks(&self, ranks: Vec<u8>, after: Option<Rank>) -> Result<Vec<Rank>, SpoolError> {
        let after = after.map(|after| keys::ranked(ranks.clone(), after));
        let rows = self.behind(ranks, after, PARTIES_MAX)?;
        Ok(rows.iter().filter_map(|(key, _)| keys::rank_of(key)).collect())
    }

    /// The first rows with a prefix, or the first behind another.
    fn behind(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<Row>, SpoolError> {
        let end = after_prefix(&prefix);
        let low = match after {
            None => prefix,
            Some(mut key) => {
                key.push(0);
                key
            }
        };
        self.range(&low, &end, limit)
    }

    fn range(&self, low: &[u8], high: &[u8], limit: usize) -> Result<Vec<Row>, SpoolError> {
        merge(&self.changed, low, high, limit, |low, limit| self.index.range(low, high, limit))
    }
}

/// Decodes a value of the index; one that does not decode is a broken index.
pub(crate) fn decode_value<T>(
    value: Option<Vec<u8>>,
    decode: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, SpoolError> {
    match value {
        None => Ok(None),
        Some(bytes) => match decode(&bytes) {
            Some(decoded) => Ok(Some(decoded)),
            None => Err(SpoolError::Index("a value does not decode".to_owned())),
        },
    }
}

/// The bytes that count in a segment, from its row.
pub(crate) fn segment_bytes(value: Option<&[u8]>) -> u64 {
    value.and_then(|v| v.try_into().ok()).map_or(0, u64::from_be_bytes)
}
