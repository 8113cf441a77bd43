//! The memory twin: the contract in its plainest form.
//!
//! It shares no decision with the durable spool (only the clock's arithmetic, the limits, and what
//! goes when a quota is full), so that the two can be compared; it is also what simulations with
//! many nodes use. What their shells ask all the time goes by an ordered map; every other query
//! walks what it needs to.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    bounds::{
        Among, Carried, DROPS_MAX, EXPIRED_MAX, Newcomer, Owner, PARTIES_MAX, Party, Quota, Quotas,
        Rank, Room, Turn, counted_bytes, make_room, turn_of,
    },
    clock::{CustodyClock, POINT_EVERY_MS, TICK_EVERY_MS},
    contract::{
        Body, BundleId, Change, Class, Cursor, Delivered, Destination, Entry, Envelope, NewBundle,
        Now, Numbering, Outcome, PAGE_MAX, Queue, RESOLVE_MAX, Seen, Sequence, Spool, Stats, Why,
        check_group, first_bytes, prefix_bounds,
    },
    error::SpoolError,
    place::Entropy,
    staging::Staging,
};

/// A spool that keeps everything in memory and forgets it when dropped.
pub struct MemorySpool {
    state: Mutex<State>,
    entropy: Entropy,
}

/// How room is made where a quota is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dropping {
    /// As nodes do: [`bounds`](crate::bounds).
    #[default]
    Fair,
    /// The oldest goes and the newcomer is kept; what is this node's own is not counted, and what was
    /// dropped is remembered: for simulations, to compare with.
    Oldest,
    /// As flooding is published: the quota of strangers bounds all that is here, this node's own too;
    /// the oldest goes, whosever it is, and is not known any more: for simulations, to compare with.
    Published,
}

#[derive(Clone, Default)]
struct State {
    quotas: Option<Quotas>,
    dropping: Dropping,
    /// Dropped since somebody asked.
    dropped: Vec<(BundleId, Why)>,
    clock: CustodyClock,
    live: BTreeMap<BundleId, Held>,
    arrivals: BTreeMap<u64, BundleId>,
    /// By the first bytes of whom it is for, and by arrival.
    toward: BTreeMap<([u8; 8], u64), BundleId>,
    retired: BTreeMap<BundleId, (Why, u64)>,
    delivered: BTreeMap<([u8; 32], u32, u64), Vec<[u8; 8]>>,
    notes: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
    sequences: BTreeMap<Destination, u64>,
    epoch: u32,
    admitted: u64,
}

#[derive(Clone)]
struct Held {
    entry: Entry,
    head: Vec<u8>,
    own: Option<Vec<u8>>,
    body: Arc<[u8]>,
}

impl MemorySpool {
    /// An empty spool.
    #[must_use]
    pub fn new(entropy: Entropy) -> Self {
        let mut state = State::default();
        state.redraw(&entropy);
        Self { state: Mutex::new(state), entropy }
    }

    /// The spool as it would be opened after a crash at this moment: all that was committed, nothing
    /// that was staged, and a custody clock that may have lost what it showed since its last point.
    #[must_use]
    pub fn crash_image(&self) -> Self {
        let mut state = self.state().clone();
        let latest = state.live.values().map(|held| held.entry.arrived_held_ms).max();
        state.clock = CustodyClock::from_point(state.clock.last_point());
        state.clock.at_least(latest.unwrap_or(0));
        Self { state: Mutex::new(state), entropy: self.entropy.clone() }
    }

    /// From now on room is made so.
    pub fn set_dropping(&self, dropping: Dropping) {
        self.state().dropping = dropping;
    }

    /// What was dropped for others since this was last asked: simulations tell of it. Beyond
    /// [`PAGE_MAX`] the oldest are forgotten.
    #[must_use]
    pub fn take_dropped(&self) -> Vec<(BundleId, Why)> {
        std::mem::take(&mut self.state().dropped)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spool for MemorySpool {
    fn commit(&self, now: Now, changes: Vec<Change>) -> Result<Vec<Outcome>, SpoolError> {
        check_group(&changes)?;
        let mut state = self.state();
        let held_ms = state.clock.read(now);
        if let Some(void) = state.void(&changes) {
            return Ok(void);
        }
        state.store_point(now, POINT_EVERY_MS);
        let mut most = DROPS_MAX;
        changes.into_iter().map(|change| state.change(change, held_ms, &mut most)).collect()
    }

    fn set_quotas(&self, quotas: Quotas) {
        self.state().quotas = Some(quotas);
    }

    fn quotas(&self) -> Quotas {
        self.state().quotas.unwrap_or(Quotas::UNLIMITED)
    }

    fn stage(&self) -> Result<Staging, SpoolError> {
        Ok(Staging::in_memory())
    }

    fn take_sequence(&self, destination: &Destination) -> Result<Sequence, SpoolError> {
        let mut state = self.state();
        let epoch = state.epoch;
        let counter = state.sequences.entry(*destination).or_default();
        *counter += 1;
        Ok(Sequence { destination: *destination, epoch, counter: *counter })
    }

    fn redraw_epoch(&self, _: Now) -> Result<(), SpoolError> {
        self.state().redraw(&self.entropy);
        Ok(())
    }

    fn tick(&self, now: Now) -> Result<(), SpoolError> {
        self.state().store_point(now, TICK_EVERY_MS);
        Ok(())
    }

    fn held_ms(&self, now: Now) -> u64 {
        self.state().clock.read(now)
    }

    fn entry(&self, id: &BundleId) -> Result<Option<Entry>, SpoolError> {
        Ok(self.state().live.get(id).map(|held| held.entry.clone()))
    }

    fn envelope(&self, id: &BundleId) -> Result<Option<Envelope>, SpoolError> {
        let state = self.state();
        let held = state.live.get(id);
        Ok(held.map(|held| Envelope { head: held.head.clone(), own: held.own.clone() }))
    }

    fn seen(&self, id: &BundleId) -> Result<Option<Seen>, SpoolError> {
        let state = self.state();
        if state.live.contains_key(id) {
            return Ok(Some(Seen::Live));
        }
        Ok(state.remembered(id).map(Seen::Retired))
    }

    fn read(
        &self,
        id: &BundleId,
        offset: u64,
        out: &mut [u8],
    ) -> Result<Option<usize>, SpoolError> {
        let state = self.state();
        let Some(held) = state.live.get(id) else { return Ok(None) };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(held.body.len());
        let n = out.len().min(held.body.len() - start);
        out[..n].copy_from_slice(&held.body[start..start + n]);
        Ok(Some(n))
    }

    fn page(
        &self,
        queue: Queue,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Entry>, SpoolError> {
        let state = self.state();
        let after = |entry: &&Entry| after.is_none_or(|after| entry.cursor() > after);
        let mut page: Vec<Entry> = match queue {
            Queue::Class(class) => {
                let all = state.live.values().map(|held| &held.entry);
                all.filter(|entry| entry.class == class).filter(after).cloned().collect()
            }
            Queue::Destination(to) => {
                state.toward(first_bytes(&to), queue).filter(after).cloned().collect()
            }
            Queue::Toward(first) => state.toward(first, queue).filter(after).cloned().collect(),
        };
        page.sort_by_key(Entry::cursor);
        page.truncate(limit.min(PAGE_MAX));
        Ok(page)
    }

    fn since(&self, after: u64, limit: usize) -> Result<Vec<Entry>, SpoolError> {
        let state = self.state();
        let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
        let ids = state.arrivals.range(first..).map(|(_, id)| id);
        let since = ids.filter_map(|id| Some(state.live.get(id)?.entry.clone()));
        Ok(since.take(limit.min(PAGE_MAX)).collect())
    }

    fn numbering(&self) -> Numbering {
        let state = self.state();
        Numbering { epoch: state.epoch, latest: state.admitted }
    }

    fn note(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError> {
        Ok(self.state().notes.get(&(space, key.to_vec())).cloned())
    }

    fn notes(
        &self,
        space: u8,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, SpoolError> {
        let state = self.state();
        let from = after.map_or(prefix, |after| after.max(prefix));
        let keys = state.notes.range((space, from.to_vec())..).map(|(key, _)| key);
        let keys = keys.take_while(|(s, key)| *s == space && key.starts_with(prefix));
        let keys = keys.filter(|(_, key)| after.is_none_or(|after| &key[..] > after));
        Ok(keys.take(limit.min(PAGE_MAX)).map(|(_, key)| key.clone()).collect())
    }

    fn delivered(
        &self,
        source: &[u8; 32],
        epoch: u32,
        counter: u64,
    ) -> Result<Vec<[u8; 8]>, SpoolError> {
        let state = self.state();
        let ids = state.delivered.get(&(*source, epoch, counter));
        let mut ids = ids.cloned().unwrap_or_default();
        ids.sort_unstable();
        Ok(ids)
    }

    fn resolve(&self, prefix: &str) -> Result<Vec<BundleId>, SpoolError> {
        let (low, high) = prefix_bounds(prefix)?;
        let state = self.state();
        let retired = state.retired.range(low..=high).map(|(id, _)| id);
        let retired = retired.filter(|id| state.remembered(id).is_some());
        let live = state.live.range(low..=high).map(|(id, _)| id);
        let mut found: Vec<BundleId> = live.chain(retired).copied().collect();
        found.sort_unstable();
        found.truncate(RESOLVE_MAX);
        Ok(found)
    }

    fn stats(&self) -> Result<Stats, SpoolError> {
        let state = self.state();
        let mut stats = Stats::default();
        for held in state.live.values() {
            let share = &mut stats.classes[held.entry.class as usize];
            share.bundles += 1;
            share.bytes += held.body.len() as u64;
            share.counted_bytes += counted_bytes(held.body.len() as u64);
        }
        let oldest = state.live.values().min_by_key(|held| held.entry.arrival);
        stats.oldest_held_ms = oldest.map(|held| held.entry.arrived_held_ms);
        Ok(stats)
    }

    fn expired(&self, now: Now, limit: usize) -> Result<Vec<BundleId>, SpoolError> {
        let mut state = self.state();
        let held_ms = state.clock.read(now);
        let ended = state.ended_entries(held_ms).into_iter();
        Ok(ended.take(limit.min(PAGE_MAX)).map(|entry| entry.id).collect())
    }
}

impl State {
    fn remembered(&self, id: &BundleId) -> Option<Why> {
        let (why, until_ms) = self.retired.get(id)?;
        (*until_ms > self.clock.latest_ms()).then_some(*why)
    }

    /// The outcomes of a group in which a delivery is known already.
    fn void(&self, changes: &[Change]) -> Option<Vec<Outcome>> {
        let mut earlier: Vec<Delivered> = Vec::new();
        let outcomes: Vec<Outcome> = changes
            .iter()
            .map(|change| {
                let Change::Delivered(d) = change else { return Outcome::Void };
                let ids = self.delivered.get(&(d.source, d.epoch, d.counter));
                if earlier.contains(d) || ids.is_some_and(|ids| ids.contains(&d.id8)) {
                    return Outcome::Duplicate;
                }
                earlier.push(*d);
                Outcome::Void
            })
            .collect();
        outcomes.contains(&Outcome::Duplicate).then_some(outcomes)
    }

    fn change(
        &mut self,
        change: Change,
        held_ms: u64,
        most: &mut usize,
    ) -> Result<Outcome, SpoolError> {
        Ok(match change {
            Change::Bundle(bundle) => self.admit(bundle, held_ms, most)?,
            Change::Retire { id, why } => self.retire(id, why),
            Change::Hop { id, hop, class } => {
                let Some(held) = self.live.get_mut(&id) else { return Ok(Outcome::Unknown) };
                let age_s = held.entry.hop.age_s.max(hop.age_s);
                let level = held.entry.hop.level.max(hop.level);
                held.entry.hop = crate::contract::Hop { age_s, level, ..hop };
                held.entry.class = class;
                Outcome::Done
            }
            Change::Renew { id, hop } => {
                let Some(held) = self.live.get_mut(&id) else { return Ok(Outcome::Unknown) };
                let age_s = held.entry.hop.age_s.max(hop.age_s);
                let level = held.entry.hop.level.max(hop.level);
                held.entry.hop = crate::contract::Hop { age_s, level, ..hop };
                self.admitted += 1;
                let before = std::mem::replace(&mut held.entry.arrival, self.admitted);
                let first = first_bytes(&held.entry.summary.destination);
                self.arrivals.remove(&before);
                self.arrivals.insert(self.admitted, id);
                self.toward.remove(&(first, before));
                self.toward.insert((first, self.admitted), id);
                Outcome::Done
            }
            Change::Delivered(Delivered { source, epoch, counter, id8 }) => {
                let ids = self.delivered.entry((source, epoch, counter)).or_default();
                ids.push(id8);
                if ids.len() > 1 { Outcome::Equivocation } else { Outcome::New }
            }
            Change::Note { space, key, value } => {
                match value {
                    Some(value) => self.notes.insert((space, key), value),
                    None => self.notes.remove(&(space, key)),
                };
                Outcome::Done
            }
            Change::Sequence(_) => Outcome::Done,
        })
    }

    fn retire(&mut self, id: BundleId, why: Why) -> Outcome {
        let Some(held) = self.live.remove(&id) else { return Outcome::Unknown };
        self.arrivals.remove(&held.entry.arrival);
        self.toward.remove(&(first_bytes(&held.entry.summary.destination), held.entry.arrival));
        let lifetime_ms = u64::from(held.entry.summary.lifetime_s) * 1000;
        let is_forgotten = self.dropping == Dropping::Published && why == Why::Dropped;
        if why != Why::Damaged && !is_forgotten {
            self.retired.insert(id, (why, held.entry.arrived_held_ms + lifetime_ms));
        }
        Outcome::Done
    }

    fn admit(
        &mut self,
        new: NewBundle,
        held_ms: u64,
        most: &mut usize,
    ) -> Result<Outcome, SpoolError> {
        let id = new.id;
        if self.live.contains_key(&id) || self.remembered(&id).is_some() {
            return Ok(Outcome::Duplicate);
        }
        let entry = Entry {
            id,
            summary: new.summary,
            hop: new.hop,
            class: new.class,
            worth: new.worth,
            from: new.from,
            arrived_held_ms: held_ms,
            arrival: self.admitted + 1,
        };
        let newcomer = Newcomer {
            owner: Owner::of(&entry),
            nice: entry.summary.nice,
            worth: entry.worth,
            counted: counted_bytes(entry.summary.length),
        };
        let (quotas, class) = (self.quotas.unwrap_or(Quotas::UNLIMITED), entry.class);
        let room = match self.dropping {
            Dropping::Fair => make_room(self, quotas.of(class), &newcomer, held_ms, *most)?,
            Dropping::Oldest => self.without_the_oldest(quotas.of(class), &[class], &newcomer)?,
            Dropping::Published => {
                self.without_the_oldest(quotas.stranger, &Class::ALL, &newcomer)?
            }
        };
        *most = most.saturating_sub(room.drops.len());
        for (id, why) in room.drops {
            self.retire(id, why);
            self.dropped.push((id, why));
        }
        let surplus = self.dropped.len().saturating_sub(PAGE_MAX);
        self.dropped.drain(..surplus);
        if !room.keeps {
            return Ok(Outcome::Full);
        }
        self.retired.remove(&id);
        self.admitted += 1;
        let body = match new.body {
            Body::Inline(bytes) => bytes.into(),
            Body::Staged(staged) => staged.memory().unwrap_or_default().into(),
        };
        self.arrivals.insert(self.admitted, id);
        self.toward.insert((first_bytes(&entry.summary.destination), self.admitted), id);
        self.live.insert(id, Held { entry, head: new.head, own: new.own, body });
        Ok(Outcome::Admitted)
    }

    /// Room in a quota of these classes together.
    fn without_the_oldest(
        &self,
        quota: Quota,
        classes: &[Class],
        new: &Newcomer,
    ) -> Result<Room, SpoolError> {
        let (mut bytes, mut bundles) = (new.counted, 1);
        for class in classes {
            let counted = self.counted(*class)?;
            (bytes, bundles) = (bytes + counted.0, bundles + counted.1);
        }
        let entries = self.arrivals.values().filter_map(|id| Some(&self.live.get(id)?.entry));
        let mut oldest = entries.filter(|entry| classes.contains(&entry.class));
        let mut drops = Vec::new();
        while !quota.allows(bytes, bundles) {
            let Some(entry) = oldest.next() else { return Ok(Room::default()) };
            bytes -= counted_bytes(entry.summary.length);
            bundles -= 1;
            drops.push((entry.id, Why::Dropped));
        }
        Ok(Room { keeps: true, drops })
    }

    /// What has ended by then, first ended first.
    fn ended_entries(&self, held_ms: u64) -> Vec<&Entry> {
        let entries = self.live.values().map(|held| &held.entry);
        let mut ended: Vec<_> = entries.filter(|e| e.expires_held_ms() <= held_ms).collect();
        ended.sort_by_key(|entry| (entry.expires_held_ms(), entry.arrival));
        ended
    }

    /// What the bundles count that `is_among`, by something of theirs; in order of that.
    fn shares(
        &self,
        is_among: impl Fn(&Owner) -> bool,
        by: impl Fn(&Owner) -> Party,
    ) -> BTreeMap<Party, u64> {
        let mut shares = BTreeMap::new();
        for entry in self.live.values().map(|held| &held.entry) {
            let owner = Owner::of(entry);
            if is_among(&owner) {
                let share: &mut u64 = shares.entry(by(&owner)).or_default();
                *share += counted_bytes(entry.summary.length);
            }
        }
        shares
    }

    /// What a queue by destination holds, in no order.
    fn toward(&self, first: [u8; 8], queue: Queue) -> impl Iterator<Item = &Entry> {
        let ids = self.toward.range((first, 0)..=(first, u64::MAX)).map(|(_, id)| id);
        let entries = ids.filter_map(|id| Some(&self.live.get(id)?.entry));
        entries.filter(move |entry| queue.holds(entry))
    }

    fn store_point(&mut self, now: Now, older_ms: u64) {
        if let Some(point) = self.clock.point_due(now, older_ms) {
            self.clock.stored(point);
        }
    }

    fn redraw(&mut self, entropy: &Entropy) {
        let mut bytes = [0; 4];
        entropy(&mut bytes);
        self.epoch = u32::from_be_bytes(bytes);
        self.sequences.clear();
    }
}

fn ranks(shares: BTreeMap<Party, u64>, after: Option<Rank>) -> Vec<Rank> {
    let ranks = shares.into_iter().map(|(party, share)| (Reverse(share), party));
    let mut ranks: Vec<_> = ranks.filter(|rank| after.is_none_or(|after| *rank > after)).collect();
    ranks.sort_unstable();
    ranks.truncate(PARTIES_MAX);
    ranks
}

impl Carried for State {
    fn counted(&self, class: Class) -> Result<(u64, u64), SpoolError> {
        let entries = self.live.values().map(|held| &held.entry);
        let of_class = entries.filter(|entry| entry.class == class);
        Ok(of_class.fold((0, 0), |(bytes, bundles), entry| {
            (bytes + counted_bytes(entry.summary.length), bundles + 1)
        }))
    }

    fn ended(&self, held_ms: u64) -> Result<Vec<Entry>, SpoolError> {
        Ok(self.ended_entries(held_ms).into_iter().take(EXPIRED_MAX).cloned().collect())
    }

    fn of_neighbour(&self, class: Class, neighbour: Party) -> Result<u64, SpoolError> {
        let is_among = |owner: &Owner| owner.class == class && owner.neighbour == neighbour;
        Ok(self.shares(is_among, |owner| owner.neighbour).into_values().sum())
    }

    fn of_source(&self, owner: Owner) -> Result<u64, SpoolError> {
        Ok(self.shares(|other| *other == owner, |owner| owner.source).into_values().sum())
    }

    fn neighbours(&self, class: Class, after: Option<Rank>) -> Result<Vec<Rank>, SpoolError> {
        Ok(ranks(self.shares(|owner| owner.class == class, |owner| owner.neighbour), after))
    }

    fn sources(
        &self,
        class: Class,
        neighbour: Party,
        after: Option<Rank>,
    ) -> Result<Vec<Rank>, SpoolError> {
        let is_among = |owner: &Owner| owner.class == class && owner.neighbour == neighbour;
        Ok(ranks(self.shares(is_among, |owner| owner.source), after))
    }

    fn next_bundle(&self, among: Among, after: Option<Turn>) -> Result<Option<Entry>, SpoolError> {
        let entries = self.live.values().map(|held| &held.entry);
        let theirs = entries.filter(|entry| among.holds(Owner::of(entry)));
        let behind = theirs.filter(|entry| after.is_none_or(|after| turn_of(entry) > after));
        Ok(behind.min_by_key(|entry| turn_of(entry)).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Class, Hop, Summary};

    fn at(boot: u8, boottime_ms: u64) -> Now {
        Now { boot: [boot; 16], boottime_ms }
    }

    fn admit(spool: &MemorySpool, n: u8, now: Now) -> Outcome {
        admit_of(spool, n, now, Class::Own)
    }

    fn admit_of(spool: &MemorySpool, n: u8, now: Now, class: Class) -> Outcome {
        let summary = Summary {
            destination: Destination::Node([9; 32]),
            source: None,
            nice: 160,
            lifetime_s: 1000,
            length: 4,
        };
        let new = NewBundle {
            id: BundleId([n; 32]),
            head: vec![n],
            summary,
            hop: Hop::fresh(),
            class,
            worth: 0,
            from: None,
            own: None,
            body: Body::Inline(b"body".to_vec()),
        };
        spool.commit(now, vec![Change::Bundle(new)]).unwrap().remove(0)
    }

    fn live(spool: &MemorySpool) -> Vec<u8> {
        spool.since(0, PAGE_MAX).unwrap().iter().map(|entry| entry.id.0[0]).collect()
    }

    #[test]
    fn a_crash_image_has_what_was_committed_and_stands_alone() {
        let spool = MemorySpool::new(Arc::new(|out| out.fill(1)));
        admit(&spool, 1, at(1, 0));
        spool.stage().unwrap().append(b"half").unwrap();
        let image = spool.crash_image();
        admit(&spool, 2, at(1, 10));
        assert_eq!(image.seen(&BundleId([1; 32])).unwrap(), Some(Seen::Live));
        assert_eq!(image.seen(&BundleId([2; 32])).unwrap(), None);
        assert_eq!(image.numbering(), Numbering { latest: 1, ..spool.numbering() });
    }

    #[test]
    fn as_published_ones_own_counts_and_goes_in_its_turn_and_what_went_may_come_again() {
        let (own, other) = (Class::Own, Class::Stranger);
        let quota = Quota { bundles: 2, bytes: u64::MAX };
        let quotas = Quotas { contact: quota, friend: quota, stranger: quota };
        for (dropping, kept, went, seen, again) in [
            (Dropping::Published, &[3, 4][..], &[1, 2][..], None, Outcome::Admitted),
            // Of what is carried for others two are here, and one that went is remembered.
            (
                Dropping::Oldest,
                &[1, 3, 4],
                &[2],
                Some(Seen::Retired(Why::Dropped)),
                Outcome::Duplicate,
            ),
        ] {
            let spool = MemorySpool::new(Arc::new(|out| out.fill(1)));
            spool.set_quotas(quotas);
            spool.set_dropping(dropping);
            for (n, class) in [(1, own), (2, other), (3, other), (4, other)] {
                assert_eq!(admit_of(&spool, n, at(1, 0), class), Outcome::Admitted);
            }
            assert_eq!(live(&spool), kept, "{dropping:?}");
            let dropped = spool.take_dropped().into_iter().map(|(id, _)| id.0[0]);
            assert_eq!(dropped.collect::<Vec<_>>(), went, "{dropping:?}");
            assert_eq!(spool.seen(&BundleId([2; 32])).unwrap(), seen, "{dropping:?}");
            assert_eq!(admit_of(&spool, 2, at(1, 0), other), again, "{dropping:?}");
        }
        // Where there is no room at all, one's own is not kept either.
        let spool = MemorySpool::new(Arc::new(|out| out.fill(1)));
        let none = Quota { bundles: 0, bytes: 0 };
        spool.set_quotas(Quotas { contact: none, friend: none, stranger: none });
        spool.set_dropping(Dropping::Published);
        assert_eq!(admit(&spool, 1, at(1, 0)), Outcome::Full);
    }

    #[test]
    fn after_a_crash_and_a_boot_the_clock_goes_on_from_its_last_point() {
        let spool = MemorySpool::new(Arc::new(|out| out.fill(1)));
        admit(&spool, 1, at(1, 0));
        admit(&spool, 2, at(1, 70_000));
        assert_eq!(spool.held_ms(at(1, 100_000)), 100_000);
        let image = spool.crash_image();
        assert_eq!(image.held_ms(at(2, 500)), 70_000);
        assert_eq!(image.held_ms(at(2, 600)), 70_100);
        // Without a boot between, nothing is lost.
        assert_eq!(spool.crash_image().held_ms(at(1, 110_000)), 110_000);
    }
}
