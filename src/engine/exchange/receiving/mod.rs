//! The other direction of an exchange: what the neighbour has, to this node.
//!
//! ```text
//! (Offer) -> Look -> Want -> (Begin, Data…) -> Stage, Append -> Keep -> Settle
//! ```
//!
//! Nothing of a bundle is kept before its head has been verified, and nothing is settled as kept
//! before the commit has returned.

mod examine;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use blake3::Hasher;
use bytes::Bytes;
use postrider_base::bundle::SMALL_PAYLOAD_MAX;

use self::examine::examine;
use super::{
    aged,
    limits::{
        FORGED_MAX, HANDLE_MAX, KEEPING_BYTES, OFFERS_MAX, OFFERS_OPEN, WANTS_OPEN, WINDOW_BYTES,
    },
    peer::Peer,
    unit::{Begin, Offered, Unit},
};
use crate::node::{
    Body, Custody, Ending, Event, Instance, Kept, Known, NewBundle, Output, Reason, Row, Seen,
    ShortId, Verdict, Violation,
    core::{Core, Task, What},
    partials::{Claim, Partial},
};

/// Marks that wait for the answers to what was offered before them; two of one wait become one.
const MARKS_MAX: usize = 64;
/// Batches of receipts that the spool has not answered: 400 KiB.
const BATCHES_MAX: usize = 64;

/// The neighbour's offers and what becomes of them.
#[derive(Debug)]
pub(crate) struct Receiving {
    offers: BTreeMap<u32, Incoming>,
    next_handle: u32,
    /// Unknown here and not asked for yet, most urgent first.
    candidates: BTreeSet<(u8, u32)>,
    wants: usize,
    window_bytes: u64,
    /// Bytes of what is whole and not durable yet.
    keeping_bytes: u64,
    settles: Vec<(u32, Verdict)>,
    marks: VecDeque<Mark>,
    /// Bundles that must come again before the cursor may pass them.
    held_back: BTreeSet<ShortId>,
    /// More than can be remembered are held back: the cursor stays on this link.
    stuck: bool,
    cursor: Seen,
    /// The cursor is of a numbering that was not remembered yet.
    fresh: bool,
    forged: u32,
    next_batch: u64,
    batches: BTreeSet<u64>,
}

#[derive(Debug)]
struct Incoming {
    offer: Offered,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The spool is being asked.
    Looking,
    /// It is to be asked for when its turn comes.
    Candidate,
    /// Another link brings it.
    Waiting,
    /// Asked for, so many bytes of the window.
    Wanted(u64),
    /// Its body comes.
    Arriving(u64),
    /// Whole, on its way to the disk.
    Keeping,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    before: u32,
    before_batch: u64,
    bundles: u64,
    receipts: u64,
}

impl Receiving {
    /// With the cursor as last remembered.
    pub fn new(mine: Option<Seen>) -> Self {
        Self {
            offers: BTreeMap::new(),
            next_handle: 0,
            candidates: BTreeSet::new(),
            wants: 0,
            window_bytes: 0,
            keeping_bytes: 0,
            settles: Vec::new(),
            marks: VecDeque::new(),
            held_back: BTreeSet::new(),
            stuck: false,
            cursor: mine.unwrap_or_default(),
            fresh: mine.is_none(),
            forged: 0,
            next_batch: 0,
            batches: BTreeSet::new(),
        }
    }

    /// The neighbour said how its numbering is called.
    pub fn greeted(&mut self, instance: Instance) {
        if self.cursor.instance != instance {
            self.cursor = Seen { instance, ..Seen::default() };
            self.fresh = true;
        }
    }

    /// The neighbour offers bundles.
    pub fn offer(
        &mut self,
        core: &mut Core,
        peer: &Peer,
        entries: Vec<Offered>,
    ) -> Result<(), Ending> {
        if self.offers.len() + entries.len() > OFFERS_OPEN || self.next_handle > HANDLE_MAX {
            return Err(Ending::Protocol(Violation::Limit));
        }
        let (mut handles, mut ids) = (Vec::new(), Vec::new());
        for offer in entries {
            let handle = self.next_handle;
            self.next_handle += 1;
            self.offers.insert(handle, Incoming { offer, state: State::Looking });
            if offer.nice > peer.policy.nice_max.value() {
                self.resolve(core, peer, handle, Verdict::Refused(Reason::Nice));
            } else if offer.length > peer.policy.size_max {
                self.resolve(core, peer, handle, Verdict::Refused(Reason::Size));
            } else {
                handles.push(handle);
                ids.push(offer.id);
            }
        }
        if !ids.is_empty() {
            let ticket = core.ask(peer.link, What::Look { handles });
            core.outputs.push_back(Output::Look { ticket, ids });
        }
        Ok(())
    }

    /// The spool says which of them it knows.
    pub fn take_looked(&mut self, core: &mut Core, peer: &Peer, handles: &[u32], known: &[Known]) {
        for (at, handle) in handles.iter().enumerate() {
            // What is not answered is not known: then its commit will say.
            match known.get(at) {
                Some(Known::Known) => self.resolve(core, peer, *handle, Verdict::Known),
                _ => self.set_candidate(*handle),
            }
        }
    }

    /// Nobody else brings it any more.
    pub fn retry(&mut self, handle: u32) {
        if self.offers.get(&handle).is_some_and(|incoming| incoming.state == State::Waiting) {
            self.set_candidate(handle);
        }
    }

    /// It came by another way, or will: this link need not bring it.
    pub fn came_elsewhere(&mut self, core: &mut Core, peer: &mut Peer, handle: u32, id: ShortId) {
        let Some(incoming) = self.offers.get(&handle).filter(|i| i.offer.id == id) else { return };
        if matches!(incoming.state, State::Wanted(_) | State::Arriving(_)) {
            peer.send(core, &Unit::Stop(vec![handle]));
        }
        self.resolve(core, peer, handle, Verdict::Known);
    }

    /// Another link brings it from now on, since it stalled here. The neighbour offers it again
    /// later, under a new handle: what it still sends for this one means nothing.
    pub fn overtaken(&mut self, core: &mut Core, peer: &mut Peer, handle: u32, id: ShortId) {
        let Some(incoming) = self.offers.get(&handle).filter(|i| i.offer.id == id) else { return };
        if matches!(incoming.state, State::Wanted(_) | State::Arriving(_)) {
            peer.send(core, &Unit::Stop(vec![handle]));
            let later = Verdict::Later(core.local.policy.later_s);
            self.resolve(core, peer, handle, later);
        }
    }

    /// The neighbour does not have them any more.
    pub fn withdraw(
        &mut self,
        core: &mut Core,
        peer: &Peer,
        handles: &[u32],
    ) -> Result<(), Ending> {
        for handle in handles.iter().copied() {
            if handle >= self.next_handle {
                return Err(Ending::Protocol(Violation::Handle));
            }
            let Some(incoming) = self.offers.get(&handle) else { continue };
            if incoming.state != State::Keeping {
                let id = incoming.offer.id;
                self.release(core, peer, id, handle);
                self.forget(handle);
                self.held_back.remove(&id);
            }
        }
        self.move_cursor(core, peer);
        Ok(())
    }

    /// A bundle begins.
    pub fn begin(&mut self, core: &mut Core, peer: &Peer, begin: Begin) -> Result<(), Ending> {
        let handle = begin.handle;
        let Some(offer) = self.expected(handle, |state| matches!(state, State::Wanted(_)))? else {
            return Ok(());
        };
        match examine(core, peer, &offer, &begin) {
            Ok((row, custody, _)) if offer.length <= SMALL_PAYLOAD_MAX => {
                core.arrivals.set_keeping(&offer.id);
                self.set_state(handle, State::Keeping);
                let body = Body::Inline(begin.payload);
                let bundle = NewBundle { row, head: begin.head, custody, body };
                core.keep(peer.link, handle, bundle);
            }
            Ok((row, custody, hash)) => {
                self.begin_body(core, peer, handle, (begin.head, row, custody, hash));
            }
            Err(verdict) => self.reject(core, peer, handle, verdict)?,
        }
        Ok(())
    }

    fn begin_body(
        &mut self,
        core: &mut Core,
        peer: &Peer,
        handle: u32,
        (head, mut row, custody, hash): (Bytes, Row, Custody, [u8; 32]),
    ) {
        let short = row.short();
        let (now, link) = (core.now, peer.link);
        if let Some(partial) = core.arrivals.body(&short, now.mono_ms) {
            // The head is the same, since the id is. Its hop data may differ: the older age holds.
            let had = aged(partial.row.hop, now.held_ms.saturating_sub(partial.begun_held_ms));
            row.hop.age_s = row.hop.age_s.max(had.age_s);
            let at = partial.at;
            partial.mixed = true;
            (partial.row, partial.custody, partial.begun_held_ms) = (row, custody, now.held_ms);
            partial.head = head;
            core.event(Event::Resumed { link, id: short, at });
        } else {
            let transfer = core.new_transfer();
            let (id, length) = (row.id, row.length);
            let partial = Partial {
                transfer,
                at: 0,
                mixed: false,
                hasher: Box::new(Hasher::new()),
                hash,
                head,
                row,
                custody,
                begun_held_ms: now.held_ms,
            };
            core.arrivals.begin(&short, partial);
            core.outputs.push_back(Output::Stage { transfer, id, length });
        }
        if let Some(incoming) = self.offers.get_mut(&handle)
            && let State::Wanted(bytes) = incoming.state
        {
            incoming.state = State::Arriving(bytes);
        }
    }

    /// The next bytes of a body.
    pub fn data(
        &mut self,
        core: &mut Core,
        peer: &Peer,
        handle: u32,
        bytes: Bytes,
    ) -> Result<(), Ending> {
        let Some(offer) = self.expected(handle, |state| matches!(state, State::Arriving(_)))?
        else {
            return Ok(());
        };
        let (now, short) = (core.now, offer.id);
        let Some(partial) = core.arrivals.body(&short, now.mono_ms) else { return Ok(()) };
        let length = bytes.len() as u64;
        if partial.at + length > partial.row.length {
            return Err(Ending::Protocol(Violation::Limit));
        }
        partial.hasher.update(&bytes);
        partial.at += length;
        let whole = partial.at == partial.row.length;
        // Bytes that another link brought are not this one's fault.
        let mixed = partial.mixed;
        let sound = !whole || partial.hasher.finalize() == blake3::Hash::from(partial.hash);
        let transfer = partial.transfer;
        self.shrink_window(handle, length);
        core.outputs.push_back(Output::Append { transfer, bytes });
        if !sound {
            core.outputs.push_back(Output::Drop { transfer });
            let (_, waiting, _) = core.arrivals.finish(&short);
            core.tasks.extend(waiting.into_iter().map(Task::Retry));
            let verdict = if mixed { Verdict::Later(1) } else { Verdict::Damaged };
            return self.reject(core, peer, handle, verdict);
        }
        if whole && let Some(partial) = core.arrivals.set_keeping(&short) {
            self.set_state(handle, State::Keeping);
            let held_ms = now.held_ms.saturating_sub(partial.begun_held_ms);
            let row = Row { hop: aged(partial.row.hop, held_ms), ..partial.row };
            let body = Body::Staged(transfer);
            let bundle = NewBundle { row, head: partial.head, custody: partial.custody, body };
            core.keep(peer.link, handle, bundle);
        }
        Ok(())
    }

    /// The commit of a bundle from this link returned.
    pub fn take_kept(&mut self, core: &mut Core, peer: &Peer, handle: u32, kept: Option<Kept>) {
        let verdict = match kept {
            Some(Kept::Kept) => Verdict::Kept,
            Some(Kept::Known) => Verdict::Known,
            Some(Kept::Refused) => Verdict::Refused(Reason::Other),
            Some(Kept::Full) | None => Verdict::Later(core.local.policy.later_s),
        };
        self.resolve(core, peer, handle, verdict);
    }

    /// What was staged for it is lost.
    pub fn lost(&mut self, core: &mut Core, peer: &mut Peer, handle: u32) {
        peer.send(core, &Unit::Stop(vec![handle]));
        let later = Verdict::Later(core.local.policy.later_s);
        self.resolve(core, peer, handle, later);
    }

    /// All up to these numbers has been offered.
    pub fn mark(&mut self, core: &mut Core, peer: &Peer, bundles: u64, receipts: u64) {
        let mark =
            Mark { before: self.next_handle, before_batch: self.next_batch, bundles, receipts };
        // What is set back holds for what was said before as well: nothing between may be passed.
        self.marks.iter_mut().for_each(|mark| mark.bundles = mark.bundles.min(bundles));
        let full = self.marks.len() == MARKS_MAX;
        match self.marks.back_mut() {
            Some(last) if full || last.before == mark.before => *last = mark,
            _ => self.marks.push_back(mark),
        }
        self.move_cursor(core, peer);
    }

    /// Receipts come: the number of their batch, for the spool; `None` when the spool is behind.
    /// Then they are not taken, and the cursor does not pass them on this link.
    pub fn new_batch(&mut self) -> Option<u64> {
        let batch = self.next_batch;
        self.next_batch += 1;
        self.batches.insert(batch);
        if self.batches.len() > BATCHES_MAX {
            self.stuck = true;
            self.batches.remove(&batch);
            return None;
        }
        Some(batch)
    }

    /// The spool has taken a batch.
    pub fn batch_done(&mut self, core: &mut Core, peer: &Peer, batch: u64) {
        self.batches.remove(&batch);
        self.move_cursor(core, peer);
    }

    /// The link is gone: what it was bringing is for others.
    pub fn end(&mut self, core: &mut Core, peer: &Peer) {
        let all: Vec<(u32, ShortId)> =
            self.offers.iter().map(|(handle, incoming)| (*handle, incoming.offer.id)).collect();
        for (handle, id) in all {
            self.release(core, peer, id, handle);
        }
    }

    /// Asks for what is next and tells what was decided.
    pub fn pump(&mut self, core: &mut Core, peer: &mut Peer) {
        if peer.hello.is_none() {
            return;
        }
        let mut wants = Vec::new();
        while let Some((nice, handle)) = self.candidates.first().copied() {
            let full = self.window_is_full(nice);
            let Some(incoming) = self.offers.get_mut(&handle) else { break };
            let length = incoming.offer.length;
            // The next is asked for before the last has come whole, so that no link stands idle; a
            // disk that is slower than the link holds it back.
            let behind = self.keeping_bytes > 0 && self.keeping_bytes + length > KEEPING_BYTES;
            if self.wants == WANTS_OPEN || full || behind {
                break;
            }
            self.candidates.pop_first();
            let spot = (peer.link, handle);
            match core.arrivals.claim(incoming.offer.id, spot, core.now.mono_ms) {
                Claim::Wait => incoming.state = State::Waiting,
                Claim::From(from) if from < length => {
                    let bytes = length - from;
                    incoming.state = State::Wanted(bytes);
                    self.wants += 1;
                    self.window_bytes += bytes;
                    wants.push((handle, from));
                }
                // Its length is not that of the body that had begun: one of the two is a lie.
                Claim::From(_) => {
                    let id = incoming.offer.id;
                    self.release(core, peer, id, handle);
                    self.resolve(core, peer, handle, Verdict::Damaged);
                }
            }
        }
        for part in wants.chunks(OFFERS_MAX) {
            peer.send(core, &Unit::Want(part.to_vec()));
        }
        for part in std::mem::take(&mut self.settles).chunks(OFFERS_MAX) {
            peer.send(core, &Unit::Settle(part.to_vec()));
        }
    }

    /// The offer of a handle, if its state is that; `None` when what comes was for a handle that
    /// is settled or stopped, which may cross with what was sent before.
    fn expected(
        &self,
        handle: u32,
        fits: impl Fn(State) -> bool,
    ) -> Result<Option<Offered>, Ending> {
        match self.offers.get(&handle) {
            Some(incoming) if fits(incoming.state) => Ok(Some(incoming.offer)),
            None if handle < self.next_handle => Ok(None),
            _ => Err(Ending::Protocol(Violation::Handle)),
        }
    }

    /// A bundle is bad, or is not taken: it is over, and whoever waits for it may bring it.
    fn reject(
        &mut self,
        core: &mut Core,
        peer: &Peer,
        handle: u32,
        verdict: Verdict,
    ) -> Result<(), Ending> {
        if let Some(id) = self.offers.get(&handle).map(|incoming| incoming.offer.id) {
            self.release(core, peer, id, handle);
        }
        self.resolve(core, peer, handle, verdict);
        if matches!(verdict, Verdict::Damaged | Verdict::Forged) {
            self.forged += 1;
            if self.forged >= FORGED_MAX {
                return Err(Ending::Protocol(Violation::Forged));
            }
        }
        Ok(())
    }

    fn release(&mut self, core: &mut Core, peer: &Peer, id: ShortId, handle: u32) {
        let waiting = core.arrivals.release(&id, (peer.link, handle));
        core.tasks.extend(waiting.into_iter().map(Task::Retry));
    }

    fn resolve(&mut self, core: &mut Core, peer: &Peer, handle: u32, verdict: Verdict) {
        let Some(incoming) = self.forget(handle) else { return };
        let id = incoming.offer.id;
        self.settles.push((handle, verdict));
        match verdict {
            // What this link does not carry, another may: the cursor is of the neighbour.
            Verdict::Later(_)
            | Verdict::Damaged
            | Verdict::Refused(Reason::Nice | Reason::Size | Reason::Transit) => {
                self.stuck |= self.held_back.len() >= OFFERS_OPEN;
                if !self.stuck {
                    self.held_back.insert(id);
                }
            }
            _ => {
                self.held_back.remove(&id);
            }
        }
        if !matches!(verdict, Verdict::Kept | Verdict::Known) {
            core.event(Event::Declined { link: peer.link, id, verdict });
        }
        self.move_cursor(core, peer);
    }

    fn forget(&mut self, handle: u32) -> Option<Incoming> {
        self.set_state(handle, State::Waiting);
        let incoming = self.offers.remove(&handle)?;
        self.candidates.remove(&(incoming.offer.nice, handle));
        Some(incoming)
    }

    fn set_candidate(&mut self, handle: u32) {
        if let Some(incoming) = self.offers.get_mut(&handle) {
            incoming.state = State::Candidate;
            self.candidates.insert((incoming.offer.nice, handle));
        }
    }

    /// Changes a state; what is no longer wanted leaves the window.
    fn set_state(&mut self, handle: u32, state: State) {
        let Some(incoming) = self.offers.get_mut(&handle) else { return };
        if let State::Wanted(bytes) | State::Arriving(bytes) = incoming.state {
            self.wants -= 1;
            self.window_bytes -= bytes;
        }
        let length = incoming.offer.length;
        self.keeping_bytes -= if incoming.state == State::Keeping { length } else { 0 };
        self.keeping_bytes += if state == State::Keeping { length } else { 0 };
        incoming.state = state;
    }

    /// Whether what is wanted already leaves no room for something of this niceness. What is less
    /// urgent does not count: it would keep an urgent message waiting for minutes on a narrow link.
    fn window_is_full(&self, nice: u8) -> bool {
        let bytes = |incoming: &Incoming| match incoming.state {
            State::Wanted(bytes) | State::Arriving(bytes) if incoming.offer.nice <= nice => bytes,
            _ => 0,
        };
        self.window_bytes >= WINDOW_BYTES
            && self.offers.values().map(bytes).sum::<u64>() >= WINDOW_BYTES
    }

    fn shrink_window(&mut self, handle: u32, by: u64) {
        if let Some(incoming) = self.offers.get_mut(&handle)
            && let State::Arriving(bytes) = &mut incoming.state
        {
            let by = by.min(*bytes);
            *bytes -= by;
            self.window_bytes -= by;
        }
    }

    /// The cursor passes every mark before which all is settled.
    fn move_cursor(&mut self, core: &mut Core, peer: &Peer) {
        let (before, marks) = (self.cursor, self.marks.len());
        while let Some(mark) = self.marks.front().copied() {
            let open = self.offers.first_key_value().is_some_and(|(h, _)| *h < mark.before)
                || self.batches.first().is_some_and(|batch| *batch < mark.before_batch)
                || !self.held_back.is_empty()
                || self.stuck;
            if open {
                break;
            }
            self.marks.pop_front();
            (self.cursor.bundles, self.cursor.receipts) = (mark.bundles, mark.receipts);
        }
        let passed = self.marks.len() < marks;
        if (self.cursor != before || self.fresh && passed)
            && let Some(node) = peer.node
        {
            self.fresh = false;
            let mine = Some(self.cursor);
            core.outputs.push_back(Output::Remember { peer: node, mine, theirs: None });
        }
    }
}
