//! The durable spool: log, blobs and index behind the contract.

use crate::{
    ballast::{BALLAST_BYTES, Ballast},
    blobs::Blobs,
    contract::{
        BundleId, Change, Cursor, Delivered, Destination, Entry, Envelope, Now, Numbering, Outcome,
        PAGE_MAX, Queue, Quotas, RESOLVE_MAX, Seen, Sequence, Spool, Stats, prefix_bounds,
    },
    error::SpoolError,
    fold::{Fold, decode_value},
    follow::open_index,
    index::{
        Index, after_prefix,
        keys::{self, Live, Tombstone, Totals},
    },
    log::{
        Log, SEGMENT_BYTES,
        record::{BodyPlace, Record},
        segments::Location,
    },
    place::Place,
    recovery::Recovery,
    staging::Staging,
    writer::Writer,
};

/// How often a read looks a place up again that compaction has just moved away. Each time means a
/// whole compaction between two lines of code, so a few are plenty.
const MOVED_RETRIES: usize = 4;

/// A spool on a disk, opened with its index.
pub struct DurableSpool {
    pub(crate) writer: Writer,
    /// As found at open.
    pub(crate) torn_bytes: u64,
}

/// What may be set when a spool is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Segments are closed at this size; smaller ones only make sense in tests. Bounded by 4 MiB.
    pub segment_bytes: usize,
    /// Space set aside for when the disk is full; 0 is none. Default 4 MiB.
    pub ballast_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, ballast_bytes: BALLAST_BYTES }
    }
}

impl DurableSpool {
    /// Opens the spool of a place, creating it when there is none, and brings its index up to the
    /// end of the log.
    pub fn open(place: Place, options: &Options) -> Result<(Self, Recovery), SpoolError> {
        let segment_bytes = options.segment_bytes.min(SEGMENT_BYTES * 2);
        let (mut log, counters, opened) =
            Log::open(place.disk.clone(), place.entropy.clone(), segment_bytes)?;
        // Queries answer from what is there, so it had better be durable. On a disk that refuses,
        // reading must still be possible; every commit tries again first.
        let _ = log.prove();
        let blobs = Blobs::open(place.disk.clone(), place.entropy.clone())?;
        blobs.sweep_staging()?;
        let mut recovery = Recovery {
            torn_bytes: opened.torn_bytes,
            damage: opened.damage,
            ..Recovery::default()
        };
        let index = open_index(&place, &log, &mut recovery)?;
        let ballast = Ballast::new(place.disk.clone(), options.ballast_bytes);
        ballast.refill();
        let writer = Writer::new(place, log, counters, index, blobs, ballast);
        Ok((Self { writer, torn_bytes: recovery.torn_bytes }, recovery))
    }

    /// Calls this after every commit, when what it brought can be seen, for as long as the spool is
    /// open. Whoever commits calls it and others wait meanwhile, so it must do no more than wake
    /// somebody. The first who listens is the only one; whether this one was.
    pub fn on_commit(&self, tell: impl Fn() + Send + Sync + 'static) -> bool {
        self.writer.listener.set(Box::new(tell)).is_ok()
    }

    fn index(&self) -> &dyn Index {
        &self.writer.index
    }

    fn live(&self, id: &BundleId) -> Result<Option<Live>, SpoolError> {
        Fold::new(self.index()).live(id)
    }

    fn tombstone(&self, id: &BundleId) -> Result<Option<Tombstone>, SpoolError> {
        let found = Fold::new(self.index()).tombstone(id)?;
        let now_ms = self.writer.latest_ms();
        Ok(found.filter(|tombstone| tombstone.until_held_ms > now_ms))
    }

    /// Reads the record a lookup leads to; looks again when compaction moved it meanwhile.
    pub(crate) fn record<T>(
        &self,
        look_up: impl Fn() -> Result<Option<(Location, T)>, SpoolError>,
    ) -> Result<Option<(Record, Vec<u8>, T)>, SpoolError> {
        let mut lost = None;
        for _ in 0..MOVED_RETRIES {
            let Some((at, with)) = look_up()? else { return Ok(None) };
            if let Some((record, bytes)) = self.writer.segments.record(at)? {
                return Ok(Some((record, bytes, with)));
            }
            lost = Some(at);
        }
        let at = lost.unwrap_or(Location { segment: 0, offset: 0, len: 0 });
        Err(SpoolError::DamagedRecord { segment: at.segment, offset: u64::from(at.offset) })
    }

    fn bundle_record(
        &self,
        id: &BundleId,
    ) -> Result<Option<(crate::log::record::BundleRecord, Vec<u8>)>, SpoolError> {
        let found = self.record(|| Ok(self.live(id)?.map(|live| (live.at, live.at))))?;
        match found {
            None => Ok(None),
            Some((Record::Bundle(bundle), bytes, _)) if bundle.entry.id == *id => {
                Ok(Some((bundle, bytes)))
            }
            Some(_) => Err(SpoolError::Index("a bundle's place holds something else".to_owned())),
        }
    }
}

impl Spool for DurableSpool {
    fn commit(&self, now: Now, changes: Vec<Change>) -> Result<Vec<Outcome>, SpoolError> {
        self.writer.commit(now, changes)
    }

    fn set_quotas(&self, quotas: Quotas) {
        self.writer.set_quotas(quotas);
    }

    fn quotas(&self) -> Quotas {
        self.writer.quotas()
    }

    fn stage(&self) -> Result<Staging, SpoolError> {
        Ok(self.writer.blobs.stage())
    }

    fn take_sequence(&self, destination: &Destination) -> Result<Sequence, SpoolError> {
        Ok(self.writer.take_sequence(destination))
    }

    fn redraw_epoch(&self, now: Now) -> Result<(), SpoolError> {
        self.writer.redraw_epoch(now)
    }

    fn tick(&self, now: Now) -> Result<(), SpoolError> {
        self.writer.tick(now)
    }

    fn held_ms(&self, now: Now) -> u64 {
        self.writer.held_ms(now)
    }

    fn entry(&self, id: &BundleId) -> Result<Option<Entry>, SpoolError> {
        Ok(self.live(id)?.map(|live| live.entry))
    }

    fn envelope(&self, id: &BundleId) -> Result<Option<Envelope>, SpoolError> {
        let Some((bundle, bytes)) = self.bundle_record(id)? else { return Ok(None) };
        let part = |range: std::ops::Range<usize>| bytes.get(range).unwrap_or_default().to_vec();
        Ok(Some(Envelope { head: part(bundle.head), own: bundle.own.map(part) }))
    }

    fn seen(&self, id: &BundleId) -> Result<Option<Seen>, SpoolError> {
        if self.live(id)?.is_some() {
            return Ok(Some(Seen::Live));
        }
        Ok(self.tombstone(id)?.map(|tombstone| Seen::Retired(tombstone.why)))
    }

    fn read(
        &self,
        id: &BundleId,
        offset: u64,
        out: &mut [u8],
    ) -> Result<Option<usize>, SpoolError> {
        let Some(live) = self.live(id)? else { return Ok(None) };
        let left = live.entry.summary.length.saturating_sub(offset);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        if wanted == 0 {
            return Ok(Some(0));
        }
        if live.blob.is_some() {
            return match self.writer.blobs.read_at(id, offset, &mut out[..wanted]) {
                // Retired since we looked.
                Err(SpoolError::DamagedBlob(_)) if self.live(id)?.is_none() => Ok(None),
                other => other.map(Some),
            };
        }
        let Some((bundle, bytes)) = self.bundle_record(id)? else { return Ok(None) };
        let BodyPlace::Inline(range) = bundle.body else {
            return Err(SpoolError::Index("a body's place changed its kind".to_owned()));
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let body = bytes.get(range).and_then(|body| body.get(start..)).unwrap_or_default();
        let n = body.len().min(wanted);
        out[..n].copy_from_slice(&body[..n]);
        Ok(Some(n))
    }

    fn page(
        &self,
        queue: Queue,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Entry>, SpoolError> {
        let prefix = keys::queue(&queue);
        let mut low = match after {
            None => prefix.clone(),
            Some(cursor) => {
                let mut key = keys::queued(prefix.clone(), &cursor);
                key.push(0);
                key
            }
        };
        let (end, limit) = (after_prefix(&prefix), limit.min(PAGE_MAX));
        let mut page = Vec::new();
        while page.len() < limit {
            let rows = self.index().range(&low, &end, limit - page.len())?;
            let Some((last, _)) = rows.last() else { break };
            low.clone_from(last);
            low.push(0);
            for (key, _) in rows {
                if let Some(arrival) = keys::arrival_of(&key)
                    && let Some(live) = Fold::new(self.index()).arrived(arrival)?
                    && queue.holds(&live.entry)
                {
                    page.push(live.entry);
                }
            }
        }
        Ok(page)
    }

    fn since(&self, after: u64, limit: usize) -> Result<Vec<Entry>, SpoolError> {
        let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
        let rows =
            self.index().range(&keys::live(first), &[keys::LIVE + 1], limit.min(PAGE_MAX))?;
        let mut entries = Vec::with_capacity(rows.len());
        for (_, value) in rows {
            entries.extend(decode_value(Some(value), Live::decode)?.map(|live| live.entry));
        }
        Ok(entries)
    }

    fn numbering(&self) -> Numbering {
        self.writer.numbering()
    }

    fn note(&self, space: u8, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError> {
        let index_key = keys::note(space, key);
        let found = self.record(|| {
            let at = decode_value(self.index().get(&index_key)?, keys::location_from)?;
            Ok(at.map(|at| (at, ())))
        })?;
        match found {
            None => Ok(None),
            Some((Record::Note(note), mut bytes, ())) if note.key == key => {
                let range = note.value.unwrap_or(0..0);
                bytes.truncate(range.end);
                bytes.drain(..range.start);
                Ok(Some(bytes))
            }
            Some(_) => Err(SpoolError::Index("a note's place holds something else".to_owned())),
        }
    }

    fn notes(
        &self,
        space: u8,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, SpoolError> {
        let first = keys::note(space, prefix);
        let mut low = first.clone();
        if let Some(after) = after {
            let mut key = keys::note(space, after);
            key.push(0);
            low = low.max(key);
        }
        let rows = self.index().range(&low, &after_prefix(&first), limit.min(PAGE_MAX))?;
        Ok(rows.into_iter().map(|(key, _)| key[2..].to_vec()).collect())
    }

    fn delivered(
        &self,
        source: &[u8; 32],
        epoch: u32,
        counter: u64,
    ) -> Result<Vec<[u8; 8]>, SpoolError> {
        let wanted = Delivered { source: *source, epoch, counter, id8: [0; 8] };
        let ids = Fold::new(self.index()).delivered(&wanted)?;
        let mut ids: Vec<[u8; 8]> =
            ids.chunks_exact(8).filter_map(|id8| id8.try_into().ok()).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    fn resolve(&self, prefix: &str) -> Result<Vec<BundleId>, SpoolError> {
        let (low, high) = prefix_bounds(prefix)?;
        let mut found = Vec::new();
        for (first, last) in
            [(keys::id(&low), keys::id(&high)), (keys::tombstone(&low), keys::tombstone(&high))]
        {
            let mut end = last;
            end.push(0);
            let mut low = first;
            // Ended tombstones may stand between those that count.
            loop {
                let rows = self.index().range(&low, &end, RESOLVE_MAX)?;
                let full = rows.len() == RESOLVE_MAX;
                for (key, _) in rows {
                    if let Some(id) = keys::id_of(&key)
                        && (key[0] == keys::ID || self.tombstone(&id)?.is_some())
                    {
                        found.push(id);
                    }
                    low = key;
                    low.push(0);
                }
                if !full || found.len() >= 2 * RESOLVE_MAX {
                    break;
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found.truncate(RESOLVE_MAX);
        Ok(found)
    }

    fn stats(&self) -> Result<Stats, SpoolError> {
        let totals = decode_value(self.index().get(&[keys::TOTALS])?, Totals::decode)?;
        let classes = totals.unwrap_or_default().classes;
        let mut stats = Stats { classes, oldest_held_ms: None };
        let oldest = self.index().range(&[keys::LIVE], &[keys::LIVE + 1], 1)?;
        if let Some((_, value)) = oldest.into_iter().next() {
            let live = decode_value(Some(value), Live::decode)?;
            stats.oldest_held_ms = live.map(|live| live.entry.arrived_held_ms);
        }
        Ok(stats)
    }

    fn expired(&self, now: Now, limit: usize) -> Result<Vec<BundleId>, SpoolError> {
        let held_ms = self.writer.held_ms(now);
        let mut high = vec![keys::EXPIRY];
        high.extend_from_slice(&held_ms.saturating_add(1).to_be_bytes());
        let rows = self.index().range(&[keys::EXPIRY], &high, limit.min(PAGE_MAX))?;
        let mut ids = Vec::with_capacity(rows.len());
        for (key, _) in rows {
            if let Some(arrival) = keys::arrival_of(&key)
                && let Some(live) = Fold::new(self.index()).arrived(arrival)?
            {
                ids.push(live.entry.id);
            }
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use postrider_testkit::{CrashDisk, Names};

    use super::*;
    use crate::{
        contract::{Body, Class, Hop, NewBundle, Summary},
        follow::follow,
        index::{Batch, BlockIndex, MemoryIndex, Row},
    };

    /// Counts what is read of the rows that the tree would keep.
    struct Counted {
        rows: MemoryIndex,
        read: Arc<AtomicUsize>,
    }

    impl Index for Counted {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, SpoolError> {
            self.read.fetch_add(1, Ordering::Relaxed);
            self.rows.get(key)
        }

        fn range(&self, low: &[u8], high: &[u8], limit: usize) -> Result<Vec<Row>, SpoolError> {
            let rows = self.rows.range(low, high, limit)?;
            self.read.fetch_add(rows.len(), Ordering::Relaxed);
            Ok(rows)
        }

        fn apply(&self, batch: &Batch) -> Result<(), SpoolError> {
            self.rows.apply(batch)
        }

        fn flush(&self) -> Result<(), SpoolError> {
            self.rows.flush()
        }
    }

    fn bundle(n: u64) -> Change {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        Change::Bundle(NewBundle {
            id: BundleId(id),
            head: Vec::new(),
            summary: Summary {
                destination: Destination::Node([1; 32]),
                source: Some([2; 32]),
                nice: [96, 160, 224][usize::from(id[0] % 3)],
                lifetime_s: 86_400,
                length: 0,
            },
            hop: Hop { tokens: 8, hops: 0, age_s: 0, level: 0 },
            class: Class::Contact,
            worth: 0,
            from: None,
            own: None,
            body: Body::Inline(Vec::new()),
        })
    }

    #[test]
    fn the_next_to_send_is_read_from_as_few_rows_however_many_wait() {
        let disk = CrashDisk::new(Names::Atomic);
        let place = Place::on(Arc::new(disk), Arc::new(|out| out.fill(7)));
        let options = Options { ballast_bytes: 0, ..Options::default() };
        let (spool, _) = DurableSpool::open(place, &options).unwrap();
        let now = Now { boot: [1; 16], boottime_ms: 1000 };
        let mut there = 0;
        for many in [30, 300, 3000, 30_000] {
            for from in (there..many).step_by(1000) {
                let upto = many.min(from + 1000);
                spool.commit(now, (from..upto).map(bundle).collect()).unwrap();
            }
            there = many;
            let read = Arc::new(AtomicUsize::new(0));
            let rows = MemoryIndex::default();
            let index = BlockIndex::new(Counted { rows, read: read.clone() });
            follow(&spool.writer.log(), &index, &mut Vec::new()).unwrap();
            spool.writer.index.replace(Arc::new(index));

            let queue = Queue::Class(Class::Contact);
            let end = spool.page(queue, Some(Cursor { nice: 224, arrival: many }), 1).unwrap();
            assert_eq!(end, []);
            let places = (0..many).step_by(usize::try_from(many / 30).unwrap());
            let places = places.map(|n| Some(Cursor { nice: 160, arrival: n }));
            for place in std::iter::once(None).chain(places) {
                read.store(0, Ordering::Relaxed);
                assert_eq!(spool.page(queue, place, 1).unwrap().len(), 1);
                let read = read.load(Ordering::Relaxed);
                // The queue's, the next one where a place is at the end of its own, the bundle's.
                assert!(read <= 3, "{read} of {many} at {place:?}");
            }
        }
    }
}
