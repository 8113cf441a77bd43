//! The one way into the log: commits of all threads, decided, written, synced, folded.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use postrider_base::disk::Disk;

use crate::{
    ballast::Ballast,
    blobs::Blobs,
    bounds::{Carried, DROP_BYTES, DROPS_MAX, Quota, Quotas, counted_bytes},
    clock::{Point, TICK_EVERY_MS},
    commits::Commits,
    contract::{
        BLOB_FROM, Body, Change, Class, Destination, GROUP_MAX, Now, Numbering, Outcome, Sequence,
        check_group,
    },
    counters::Counters,
    error::SpoolError,
    fold::Fold,
    follow::follow,
    group::{Deciding, Group, Undecided},
    index::{BlockIndex, Index, MemoryIndex, Switch, keys},
    log::{Log, Raw, location, record::decode, segments::Segments},
    place::{Entropy, Place},
};

/// Ended tombstones dropped with every write: more than a write adds on average, few enough not
/// to be noticed.
const PURGE_PER_WRITE: usize = 64;

/// What one write of the spool's own records takes at most: bounds memory.
const APPEND_BYTES: usize = 1 << 20;

/// The writing half of a spool.
pub(crate) struct Writer {
    /// Locked by the thread that leads.
    log: Mutex<Log>,
    counters: Mutex<Counters>,
    commits: Commits<Request, Answer>,
    quotas: Mutex<Quotas>,
    /// The highest arrival number that queries can see.
    latest: AtomicU64,
    /// Told after every write.
    pub(crate) listener: OnceLock<Listener>,
    pub(crate) index: Switch,
    pub(crate) segments: Segments,
    pub(crate) blobs: Blobs,
    pub(crate) entropy: Entropy,
    pub(crate) ballast: Ballast,
    /// The lock lives as long as the writer.
    place: Place,
}

/// Somebody who wants to know that something was committed.
pub(crate) type Listener = Box<dyn Fn() + Send + Sync>;

type Answer = Result<Vec<Outcome>, SpoolError>;

struct Request {
    now: Now,
    work: Work,
    /// Upper bound of what it writes.
    bound: usize,
    done: Option<Answer>,
}

enum Work {
    Changes(Vec<Change>),
    Tick,
    Redraw,
}

impl Writer {
    pub(crate) fn new(
        place: Place,
        log: Log,
        counters: Counters,
        index: Arc<dyn Index>,
        blobs: Blobs,
        ballast: Ballast,
    ) -> Self {
        Self {
            segments: log.segments.clone(),
            log: Mutex::new(log),
            latest: AtomicU64::new(counters.next_arrival - 1),
            listener: OnceLock::new(),
            counters: Mutex::new(counters),
            commits: Commits::new(GROUP_MAX),
            quotas: Mutex::new(Quotas::UNLIMITED),
            index: Switch::new(index),
            blobs,
            entropy: place.entropy.clone(),
            ballast,
            place,
        }
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.place.disk
    }

    pub(crate) fn commit(&self, now: Now, mut changes: Vec<Change>) -> Answer {
        let bound = check_group(&changes)?;
        for change in &mut changes {
            let Change::Bundle(bundle) = change else { continue };
            let bytes = match &bundle.body {
                Body::Inline(bytes) => Some(bytes.as_slice()),
                Body::Staged(staged) => staged.memory(),
            };
            if let Some(bytes) = bytes.filter(|bytes| bytes.len() >= BLOB_FROM) {
                bundle.body = Body::Staged(self.blobs.stage_whole(bytes)?);
            }
        }
        self.submit(Request { now, work: Work::Changes(changes), bound, done: None })
    }

    pub(crate) fn quotas(&self) -> Quotas {
        *self.quotas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_quotas(&self, quotas: Quotas) {
        *self.quotas.lock().unwrap_or_else(PoisonError::into_inner) = quotas;
    }

    pub(crate) fn tick(&self, now: Now) -> Result<(), SpoolError> {
        self.submit(Request { now, work: Work::Tick, bound: 128, done: None }).map(drop)
    }

    pub(crate) fn redraw_epoch(&self, now: Now) -> Result<(), SpoolError> {
        self.submit(Request { now, work: Work::Redraw, bound: 128, done: None }).map(drop)
    }

    pub(crate) fn take_sequence(&self, destination: &Destination) -> Sequence {
        self.counters().take(destination, &self.entropy)
    }

    pub(crate) fn numbering(&self) -> Numbering {
        let latest = self.latest.load(Ordering::Acquire);
        Numbering { epoch: self.counters().epoch(), latest }
    }

    pub(crate) fn held_ms(&self, now: Now) -> u64 {
        self.counters().clock.read(now)
    }

    pub(crate) fn latest_ms(&self) -> u64 {
        self.counters().clock.latest_ms()
    }

    pub(crate) fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops all commits for as long as the answer lives.
    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, request: Request) -> Answer {
        let weight = request.bound;
        self.commits
            .submit(request, weight, |requests| self.lead(requests))
            .unwrap_or(Err(SpoolError::Poisoned))
    }

    fn lead(&self, mut requests: Vec<Request>) -> Vec<Answer> {
        let mut log = self.log();
        let mut result = self.write(&mut log, &mut requests);
        let undone = requests.iter().filter(|request| request.done.is_none()).count();
        let again = undone > 1 || matches!(result, Err(SpoolError::Full(_)));
        if result.is_err() && again && !log.is_poisoned() {
            // Perhaps only one of them is at fault: each gets its own chance and answer.
            for request in requests.iter_mut().filter(|request| request.done.is_none()) {
                if let Err(e) = self.write_alone(&mut log, request) {
                    request.done = Some(Err(e));
                }
            }
            result = Ok(());
        }
        if let (Err(e), Some(first)) =
            (result, requests.iter_mut().find(|request| request.done.is_none()))
        {
            first.done = Some(Err(e));
        }
        if !log.is_poisoned() {
            requests.iter().for_each(|request| self.disown(request));
        }
        requests
            .into_iter()
            .map(|request| request.done.unwrap_or(Err(SpoolError::Poisoned)))
            .collect()
    }

    /// A second chance for one request: with the ballast's space, when it makes room or notes
    /// what must not be forgotten.
    fn write_alone(&self, log: &mut Log, request: &mut Request) -> Result<(), SpoolError> {
        let result = self.write(log, std::slice::from_mut(request));
        match result {
            Err(SpoolError::Full(_))
                if !request.admits() && !log.is_poisoned() && self.ballast.release() =>
            {
                self.write(log, std::slice::from_mut(request))
            }
            other => other,
        }
    }

    /// Writes all requests that have no answer yet, with one sync unless a segment ends between.
    fn write(&self, log: &mut Log, requests: &mut [Request]) -> Result<(), SpoolError> {
        if self.index.has_failed() {
            self.heal(log)?;
        }
        loop {
            let turn = self.write_turn(log, requests);
            if matches!(turn, Ok(Turn::Finished)) {
                return Ok(());
            }
            log.discard();
            // What a lost group said about our counters is said again by the next.
            self.counters().checkpoint_due = true;
            turn?;
        }
    }

    fn write_turn(&self, log: &mut Log, requests: &mut [Request]) -> Result<Turn, SpoolError> {
        log.settle(&mut self.counters())?;
        let mut window = Window::default();
        let mut fold = Fold::new(&self.index);
        let quotas = self.quotas();
        for i in 0..requests.len() {
            if requests[i].done.is_some() {
                continue;
            }
            if requests[i].admits() && !self.ballast.allows_admissions() {
                let full = std::io::ErrorKind::StorageFull.into();
                requests[i].done = Some(Err(SpoolError::Full(full)));
                continue;
            }
            let drops =
                if requests[i].may_drop(&fold, &quotas)? { DROPS_MAX * DROP_BYTES } else { 0 };
            let bound = requests[i].bound + drops + self.counters().checkpoint_bound();
            if !log.fits(bound) {
                self.finish(log, fold, window, requests)?;
                log.rotate(&mut self.counters())?;
                (window, fold) = (Window::default(), Fold::new(&self.index));
            }
            let request = &mut requests[i];
            let group = match self.decide(log, &mut fold, &quotas, request) {
                Ok(group) => group,
                Err(Undecided::Spool(e)) => return Err(e),
                Err(Undecided::Body(e)) => {
                    // Never tried again: a second sync of its file would claim success. The rest
                    // starts anew, because the group has left traces in the fold.
                    request.done = Some(Err(e));
                    return Ok(Turn::Again);
                }
            };
            log.push(&group.raws);
            window.point = group.point.or(window.point);
            window.freed.extend(group.freed);
            window.outcomes.push((i, group.outcomes));
        }
        self.finish(log, fold, window, requests)?;
        Ok(Turn::Finished)
    }

    fn decide(
        &self,
        log: &Log,
        fold: &mut Fold<'_>,
        quotas: &Quotas,
        request: &mut Request,
    ) -> Result<Group, Undecided> {
        let mut counters = self.counters();
        if matches!(request.work, Work::Redraw) {
            counters.redraw(&self.entropy);
        }
        let deciding = Deciding {
            fold,
            counters: &mut counters,
            segment: log.segment(),
            offset: log.position(),
            group: Group::default(),
            blobs: &self.blobs,
            quotas,
        };
        match &mut request.work {
            Work::Changes(changes) => deciding.changes(request.now, changes),
            Work::Tick => deciding.tick(request.now, TICK_EVERY_MS),
            Work::Redraw => deciding.checkpoint(),
        }
    }

    /// Appends records that the spool itself decided on (compaction, repair), each a group of its
    /// own, durably. The caller holds the log and so knows that nothing changes meanwhile.
    pub(crate) fn append(&self, log: &mut Log, raws: &[Raw]) -> Result<(), SpoolError> {
        let appended = self.append_all(log, raws);
        if appended.is_err() {
            log.discard();
            self.counters().checkpoint_due = true;
        }
        appended
    }

    fn append_all(&self, log: &mut Log, raws: &[Raw]) -> Result<(), SpoolError> {
        log.settle(&mut self.counters())?;
        let mut fold = Fold::new(&self.index);
        for raw in raws {
            let full = log.pending() > 0 && log.pending() + raw.len() > APPEND_BYTES;
            let fits = log.fits(raw.len());
            if full || !fits {
                self.finish(log, fold, Window::default(), &mut [])?;
                fold = Fold::new(&self.index);
            }
            if !fits {
                log.rotate(&mut self.counters())?;
            }
            let at = location(log.segment(), log.position(), raw);
            fold.apply(&decode(raw.kind, raw.version, &raw.body), raw.flags, at)?;
            log.push(std::slice::from_ref(raw));
        }
        self.finish(log, fold, Window::default(), &mut [])
    }

    /// Replaces an index that failed by one in memory, folded from the log.
    pub(crate) fn heal(&self, log: &Log) -> Result<(), SpoolError> {
        let fresh = BlockIndex::new(MemoryIndex::default());
        follow(log, &fresh, &mut Vec::new())?;
        self.index.replace(Arc::new(fresh));
        Ok(())
    }

    /// Makes a window durable, then visible, then answers its requests.
    fn finish(
        &self,
        log: &mut Log,
        mut fold: Fold<'_>,
        window: Window,
        requests: &mut [Request],
    ) -> Result<(), SpoolError> {
        if log.pending() > 0 {
            log.flush()?;
            if let Some(point) = window.point {
                self.counters().clock.stored(point);
            }
            // The log has the groups, so they are done, whatever the index says. One that fails
            // remembers it, and the next write begins by healing it.
            let _ = fold
                .purge(self.latest_ms(), PURGE_PER_WRITE)
                .and_then(|()| fold.finish(&log.watermark()));
            // Every number given out so far is in what was just folded, or was lost with its group.
            self.latest.store(self.counters().next_arrival - 1, Ordering::Release);
            for id in &window.freed {
                // A damaged bundle may have come again in the same window.
                if matches!(self.index.get(&keys::id(id)), Ok(None)) {
                    self.blobs.remove(id);
                }
            }
            if let Some(tell) = self.listener.get() {
                tell();
            }
        }
        for (i, outcomes) in window.outcomes {
            requests[i].done = Some(Ok(outcomes));
        }
        Ok(())
    }

    /// Removes the body files of a group that was not written; whoever kills the process first
    /// leaves orphans, which are swept later.
    fn disown(&self, request: &Request) {
        let (Some(Err(_)), Work::Changes(changes)) = (&request.done, &request.work) else {
            return;
        };
        for change in changes {
            if let Change::Bundle(bundle) = change
                && let Body::Staged(staged) = &bundle.body
                && staged.is_adopted()
                && matches!(self.index.get(&keys::id(&bundle.id)), Ok(None))
            {
                self.blobs.remove(&bundle.id);
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let counters = self.counters();
        self.log().close(&counters);
    }
}

impl Request {
    fn admits(&self) -> bool {
        let admits = |change: &Change| matches!(change, Change::Bundle(_));
        matches!(&self.work, Work::Changes(changes) if changes.iter().any(admits))
    }
}

impl Request {
    /// Whether a class would be over its quota with what this brings.
    fn may_drop(&self, fold: &Fold<'_>, quotas: &Quotas) -> Result<bool, SpoolError> {
        let Work::Changes(changes) = &self.work else { return Ok(false) };
        for class in Class::ALL.into_iter().filter(|class| quotas.of(*class) != Quota::UNLIMITED) {
            let brought = changes.iter().filter_map(|change| match change {
                Change::Bundle(new) if new.class == class => Some(new.summary.length),
                _ => None,
            });
            let (mut bytes, mut bundles) = (0, 0);
            for length in brought {
                bytes += counted_bytes(length);
                bundles += 1;
            }
            let (held_bytes, held_bundles) = fold.counted(class)?;
            let quota = quotas.of(class);
            if bundles > 0 && !quota.allows(held_bytes + bytes, held_bundles + bundles) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// How a turn ended that did not fail.
enum Turn {
    Finished,
    /// One request got its error; the others are to be done again without it.
    Again,
}

/// Groups that share a write.
#[derive(Default)]
struct Window {
    outcomes: Vec<(usize, Vec<Outcome>)>,
    point: Option<Point>,
    freed: Vec<crate::contract::BundleId>,
}
