//! One direction of an exchange: what this node has, to the neighbour.
//!
//! ```text
//! backlog -> Offer -> (Want) -> Load, Read -> Begin, Data… -> (Settle)
//! ```
//!
//! At every boundary of a chunk the most urgent wanted bundle goes next.

mod later;
mod offers;
mod proofs;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use postrider_base::bundle::SMALL_PAYLOAD_MAX;

use self::{
    later::Later,
    offers::{Backlog, PAGE_ROWS, Question},
    proofs::Proofs,
};
use super::{
    aged,
    limits::{HANDLE_MAX, OFFERS_MAX, OFFERS_OPEN, WANTS_OPEN},
    memory::Covered,
    peer::{May, Peer},
    unit::{Begin, Offered, Unit},
};
use crate::node::{
    Destination, Ending, Event, Loaded, Output, Reason, Row, Seen, ShortId, Verdict, Violation,
    core::{Core, Task, What},
    near::{LOOK_EVERY_MS, recipient},
};

/// Chunks of one bundle that lie ready or are being read, so that the disk and the link overlap.
const AHEAD_CHUNKS: usize = 3;
/// Bytes that are asked of the disk ahead of a fast link, over all wanted bundles.
const AHEAD_BYTES: usize = 1 << 20;
/// Bytes that lie ready at most; beyond, what is least urgent is read again later.
const READY_MAX: usize = 4 << 20;
/// What a load counts for, when nothing of the bundle is known but that it is small.
#[expect(clippy::cast_possible_truncation, reason = "4096")]
const LOAD_BYTES: usize = SMALL_PAYLOAD_MAX as usize;
/// Bytes of an offer in its unit, at most.
const OFFER_BYTES: usize = 26;
/// Numbers that a neighbour's cursor may lag when nothing was offered: a mark costs it a commit.
const MARK_LAG: u64 = 64;

/// The offers to one neighbour and what becomes of them.
#[derive(Debug)]
pub(crate) struct Sending {
    backlog: Backlog,
    /// The neighbour's cursor says nothing: a reconciliation is to say what it lacks.
    held: bool,
    /// Since then all rows have been counted.
    counted: bool,
    /// What a reconciliation has said.
    only: Option<Only>,
    proofs: Proofs,
    open: BTreeMap<u32, Open>,
    ids: BTreeMap<ShortId, u32>,
    next_handle: u32,
    /// Wanted bundles, most urgent first.
    wanted: BTreeSet<Turn>,
    later: Later,
    /// The neighbour's cursor as it was said, then as it was marked.
    marked: Seen,
    offered_since_mark: bool,
    /// The neighbour has no cursor, or not of this numbering.
    unmarked: bool,
    /// The first bundle that may go to this neighbour, but not over this link.
    not_here: Option<u64>,
    /// The first bundle that is to be offered again at the next contact.
    again: Option<u64>,
    /// Up to where all that this link carries is settled, as told to the core.
    covered: Option<u64>,
    /// What was marked is to be remembered when all is settled.
    remember: bool,
    ready_bytes: usize,
}

/// Of all rows up to an arrival number, the neighbour lacks these.
#[derive(Debug)]
struct Only {
    ids: BTreeSet<ShortId>,
    upto: u64,
}

/// Niceness, arrival, handle.
type Turn = (u8, u64, u32);

/// An offer without its answer.
#[derive(Debug)]
struct Open {
    row: Row,
    out: Option<Outgoing>,
}

/// A wanted bundle.
#[derive(Debug, Default)]
struct Outgoing {
    /// Next byte to be read.
    at: u64,
    loading: bool,
    loaded: Option<Loaded>,
    begun: bool,
    reading: usize,
    ready: VecDeque<Bytes>,
}

impl Sending {
    /// With the neighbour's cursor as last remembered, offers go before its Hello came.
    pub fn new(core: &Core, peer: &Peer, hint: Option<Seen>) -> Self {
        let (mut backlog, mut not_here) = (Backlog::new(), None);
        if let Some(seen) = hint {
            backlog.restart(begin_behind(core, peer, seen.bundles, &mut not_here));
        }
        Self {
            backlog,
            held: false,
            counted: false,
            only: None,
            proofs: Proofs::default(),
            open: BTreeMap::new(),
            ids: BTreeMap::new(),
            next_handle: 0,
            wanted: BTreeSet::new(),
            later: Later::default(),
            marked: Seen::default(),
            offered_since_mark: false,
            unmarked: true,
            not_here,
            again: None,
            covered: None,
            remember: false,
            ready_bytes: 0,
        }
    }

    /// The neighbour said how far it has seen. `true`: that says nothing, and nothing is offered
    /// before [`Self::offer_all`] or [`Self::offer_only`].
    pub fn greeted(&mut self, core: &Core, peer: &Peer, hinted: bool, seen: Option<Seen>) -> bool {
        let ours = seen.filter(|seen| seen.instance == core.local.instance);
        self.marked = ours.unwrap_or(Seen { instance: core.local.instance, ..Seen::default() });
        self.proofs.restart(self.marked.receipts);
        self.unmarked = ours.is_none();
        if ours.is_none() {
            self.give_up_cursor();
        } else {
            let mut not_here = None;
            let from = begin_behind(core, peer, self.marked.bundles, &mut not_here);
            if !hinted || self.backlog.floor() != from {
                self.backlog.restart(from);
                self.not_here = not_here;
                self.later.clear();
            }
        }
        self.held
    }

    /// What the neighbour has is to be found out anew: nothing is offered before that.
    pub fn give_up_cursor(&mut self) {
        (self.held, self.counted) = (true, false);
        self.not_here = None;
        self.backlog.hold();
    }

    /// While a reconciliation goes on, what arrives behind this number is offered as ever.
    pub fn offer_behind(&mut self, upto: u64) {
        if self.held {
            self.counted = true;
            self.backlog.restart(upto);
        }
    }

    /// Whether a row may be offered. Where no cursor tells that another link has dealt with it, one
    /// that only this link does not carry is remembered.
    pub fn counts(&mut self, core: &Core, peer: &Peer, row: &Row) -> bool {
        if self.held {
            may_offer(core, peer, row, &mut self.not_here)
        } else {
            peer.may_have(core, row) == May::Have
        }
    }

    /// The plain list: offers all, unless the neighbour's cursor is good.
    pub fn offer_all(&mut self) {
        if std::mem::take(&mut self.held) {
            self.only = None;
            self.later.clear();
            self.backlog.restart(0);
        }
    }

    /// Of all up to this number, the neighbour lacks these.
    pub fn offer_only(&mut self, ids: BTreeSet<ShortId>, upto: u64) {
        if self.held && !self.counted {
            // The cursor was given up in the middle of it: what this link does not carry is unknown.
            return self.offer_all();
        }
        self.held = false;
        if !ids.is_empty() {
            self.only = Some(Only { ids, upto });
            self.backlog.restart(0);
        }
    }

    /// The spool has something new.
    pub fn note_arrival(&mut self) {
        self.backlog.note_arrival();
    }

    /// The spool has new receipts.
    pub fn note_receipts(&mut self) {
        self.proofs.note_arrival();
    }

    /// What the neighbour has told is not told back.
    pub fn proofs(&mut self) -> &mut Proofs {
        &mut self.proofs
    }

    /// A node takes for itself what is for it: it need not go to this neighbour. Should it come to
    /// nothing there, it is offered here after all.
    pub fn leave_to(&mut self, core: &mut Core, peer: &mut Peer, node: &[u8; 32]) {
        if peer.node.is_some_and(|peer| peer.as_bytes() == node) {
            return;
        }
        // Before the neighbour has spoken, and proven itself, nothing has been asked for.
        if peer.hello.is_none() || !peer.proven {
            return;
        }
        let left = |(handle, open): (&u32, &Open)| {
            (recipient(&open.row).as_ref() == Some(node)).then_some((*handle, open.row.arrival))
        };
        let all: Vec<(u32, u64)> = self.open.iter().filter_map(left).collect();
        let Some(first) = all.iter().map(|(_, arrival)| *arrival).min() else { return };
        // First the cursor is set back: an offer that is withdrawn would let it pass.
        if self.marked.bundles >= first {
            self.marked.bundles = first.saturating_sub(1);
            let Seen { bundles, receipts, .. } = self.marked;
            peer.send(core, &Unit::Mark { bundles, receipts });
            self.offered_since_mark = true;
        }
        for part in all.chunks(OFFERS_MAX) {
            peer.send(core, &Unit::Withdraw(part.iter().map(|(handle, _)| *handle).collect()));
        }
        for (handle, _) in all {
            if let Some(open) = self.close(handle) {
                self.put_off(core, peer, open.row);
            }
        }
    }

    /// A row that is left to another link waits, and the neighbour's cursor before it.
    fn put_off(&mut self, core: &mut Core, peer: &Peer, row: Row) {
        let now_ms = core.now.mono_ms;
        core.tasks.extend(core.near.left(now_ms, &row).map(Task::Ask));
        if let Some(node) = peer.node.filter(|_| peer.proven) {
            core.memory.note_owed(&node, row.arrival);
            self.covered = None;
        }
        self.later.leave(now_ms.saturating_add(LOOK_EVERY_MS), row);
    }

    /// A bundle was retired: whoever was offered it is told.
    pub fn withdraw(&mut self, core: &mut Core, peer: &mut Peer, id: &ShortId) {
        self.later.forget(id);
        if let Some(handle) = self.ids.get(id).copied() {
            self.close(handle);
            peer.send(core, &Unit::Withdraw(vec![handle]));
        }
    }

    /// The neighbour wants bundles.
    pub fn want(
        &mut self,
        core: &mut Core,
        peer: &mut Peer,
        list: &[(u32, u64)],
    ) -> Result<(), Ending> {
        for (handle, from) in list.iter().copied() {
            if handle >= self.next_handle {
                return Err(Ending::Protocol(Violation::Handle));
            }
            // One that was withdrawn meanwhile is no fault.
            let Some(open) = self.open.get_mut(&handle) else { continue };
            let small = open.row.length <= SMALL_PAYLOAD_MAX;
            if open.out.is_some() || from >= open.row.length || small && from > 0 {
                return Err(Ending::Protocol(Violation::Handle));
            }
            if self.wanted.len() == WANTS_OPEN {
                return Err(Ending::Protocol(Violation::Limit));
            }
            open.out = Some(Outgoing { at: from, ..Outgoing::default() });
            self.wanted.insert(turn(&open.row, handle));
            // Of what its header does not say openly nothing is asked.
            if let Destination::Node(node) = open.row.destination
                && open.row.source == Some(*core.local.node.as_bytes())
            {
                let said = core.introductions.wish(core.now.mono_ms, peer.link, node);
                said.into_iter().for_each(|said| peer.send(core, &said.unit()));
            }
        }
        Ok(())
    }

    /// The neighbour does not want them now; they stay offered.
    pub fn stop(&mut self, handles: &[u32]) -> Result<(), Ending> {
        for handle in handles {
            if *handle >= self.next_handle {
                return Err(Ending::Protocol(Violation::Handle));
            }
            self.unwant(*handle);
        }
        Ok(())
    }

    /// The neighbour says what became of offers.
    pub fn settle(
        &mut self,
        core: &mut Core,
        peer: &Peer,
        list: &[(u32, Verdict)],
    ) -> Result<(), Ending> {
        for (handle, verdict) in list.iter().copied() {
            if handle >= self.next_handle {
                return Err(Ending::Protocol(Violation::Handle));
            }
            let Some(open) = self.close(handle) else { continue };
            let id = open.row.id;
            match verdict {
                Verdict::Kept | Verdict::Known => {
                    if let Some(peer) = peer.node {
                        core.outputs.push_back(Output::Carried { id, peer });
                    }
                }
                // Beyond, the neighbour's cursor brings it back.
                Verdict::Later(seconds) if self.later.has_room() => {
                    let wait_ms = u64::from(seconds.max(1)) * 1000;
                    self.later.wait(core.now.mono_ms.saturating_add(wait_ms), open.row);
                }
                Verdict::Later(_)
                | Verdict::Damaged
                | Verdict::Refused(Reason::Nice | Reason::Size | Reason::Transit) => {
                    note_first(&mut self.again, open.row.arrival);
                }
                Verdict::Forged | Verdict::Refused(_) => {}
            }
            core.event(Event::Settled { link: peer.link, id, verdict });
        }
        Ok(())
    }

    /// When something waits for the clock.
    pub fn deadline(&self) -> Option<u64> {
        self.later.due().filter(|_| self.may_offer_some())
    }

    /// Rows by arrival number. `true`: the neighbour's cursor was beyond our numbering, and nothing
    /// is offered as after [`Self::greeted`].
    pub fn take_since(
        &mut self,
        core: &Core,
        peer: &Peer,
        generation: u32,
        (rows, more, upto): (Vec<Row>, bool, u64),
    ) -> bool {
        let (not_here, only) = (&mut self.not_here, &self.only);
        let keep = |row: &Row| is_due(only, row) && may_offer(core, peer, row, not_here);
        let beyond = self.backlog.take_since(generation, rows, more, upto, keep);
        if beyond {
            self.give_up_cursor();
        }
        beyond
    }

    /// A page of rows.
    pub fn take_page(
        &mut self,
        core: &Core,
        peer: &Peer,
        page: (u32, crate::node::Class),
        (rows, more): (Vec<Row>, bool),
    ) {
        let (not_here, only) = (&mut self.not_here, &self.only);
        let keep = |row: &Row| is_due(only, row) && may_offer(core, peer, row, not_here);
        self.backlog.take_page(page, rows, more, keep);
    }

    /// A head came from the disk.
    pub fn take_loaded(
        &mut self,
        core: &mut Core,
        peer: &mut Peer,
        handle: u32,
        loaded: Option<Loaded>,
    ) {
        let Some(open) = self.open.get_mut(&handle) else { return };
        let small = open.row.length <= SMALL_PAYLOAD_MAX;
        let length = open.row.length;
        let Some(out) = open.out.as_mut().filter(|out| out.loading) else { return };
        out.loading = false;
        match loaded {
            Some(loaded)
                if peer.may_carry(&loaded.head)
                    && (!small || loaded.payload.len() as u64 == length) =>
            {
                self.ready_bytes += loaded.payload.len();
                out.loaded = Some(loaded);
            }
            _ => {
                note_first(&mut self.not_here, open.row.arrival);
                self.gone(core, peer, handle);
            }
        }
    }

    /// A piece of a body came from the disk.
    pub fn take_read(
        &mut self,
        core: &mut Core,
        peer: &mut Peer,
        (handle, at, asked): (u32, u64, usize),
        bytes: Option<Bytes>,
    ) {
        let Some(out) = self.open.get_mut(&handle).and_then(|open| open.out.as_mut()) else {
            return;
        };
        // An answer to a question from before a stop.
        if (out.at, out.reading) != (at, asked) {
            return;
        }
        out.reading = 0;
        match bytes {
            Some(bytes) if bytes.len() == asked => {
                out.at += bytes.len() as u64;
                self.ready_bytes += bytes.len();
                out.ready.push_back(bytes);
            }
            _ => self.gone(core, peer, handle),
        }
    }

    /// Sends what may be sent, and asks for what is needed next.
    pub fn pump(&mut self, core: &mut Core, peer: &mut Peer) {
        self.retry_later(core.now.mono_ms);
        if peer.hello.is_some() {
            self.proofs.pump(core, peer);
        }
        self.offer(core, peer);
        if peer.hello.is_some() {
            if peer.proven {
                self.mark(core, peer);
            }
            self.send_bodies(core, peer);
            self.read_ahead(core, peer);
        }
        while let Some(question) = self.backlog.question() {
            ask(core, peer, question);
        }
    }

    fn retry_later(&mut self, now_ms: u64) {
        if !self.may_offer_some() {
            return;
        }
        while let Some(row) = self.later.next(now_ms) {
            self.backlog.put_back(row);
        }
        // While a reconciliation goes on, what has arrived before it waits for the outcome.
        if !self.held
            && let Some(after) = self.later.look_again()
        {
            self.backlog.restart(after);
        }
    }

    /// Not between the moment when a cursor is given up and the one when all rows have been counted:
    /// then the backlog begins anew, and would forget them.
    fn may_offer_some(&self) -> bool {
        !self.held || self.counted
    }

    fn offer(&mut self, core: &mut Core, peer: &mut Peer) {
        loop {
            let free = OFFERS_OPEN - self.open.len();
            let fit = peer.chunk_bytes() / OFFER_BYTES;
            let most = free.min(fit).min(OFFERS_MAX);
            let Some(first) = self.backlog.next() else { return };
            // The wait is for an answer or for room; both come with an input.
            let worst = OFFER_BYTES * (most + 1);
            if most == 0 || self.next_handle > HANDLE_MAX || !peer.pace.may_send(worst) {
                self.backlog.put_back(first);
                return;
            }
            let mut entries = Vec::new();
            let mut next = Some(first);
            while let Some(row) = next {
                let id = row.short();
                if core.near.has(core.now.mono_ms, &row, peer.node) {
                    self.put_off(core, peer, row);
                } else if !self.ids.contains_key(&id) && !row.expired(core.now.held_ms) {
                    entries.push(Offered { id, nice: row.nice, length: row.length });
                    self.ids.insert(id, self.next_handle);
                    self.open.insert(self.next_handle, Open { row, out: None });
                    self.next_handle += 1;
                }
                next = if entries.len() < most { self.backlog.next() } else { None };
            }
            if !entries.is_empty() {
                self.offered_since_mark = true;
                peer.send(core, &Unit::Offer(entries));
            }
        }
    }

    /// When all has been offered, says so: the neighbour's cursor can move.
    fn mark(&mut self, core: &mut Core, peer: &mut Peer) {
        let (Some(bundles), Some(receipts)) =
            (self.backlog.exhausted_to(), self.proofs.exhausted_to())
        else {
            return;
        };
        if self.held {
            return;
        }
        let settled = self.open.is_empty() && self.later.is_empty();
        if settled {
            self.later.settled();
        }
        if self.later.is_empty() {
            self.only = None;
        }
        let upto = bundles.min(self.again.map_or(u64::MAX, |first| first - 1));
        // The cursor is of the neighbour, not of the link: it waits before what another may carry,
        // and before what another takes, as long as that may come to nothing.
        let waits_before = [self.not_here, self.later.first_left()].into_iter().flatten().min();
        let bundles = bundles.min(waits_before.map_or(u64::MAX, |first| first.saturating_sub(1)));
        let lag = bundles.abs_diff(self.marked.bundles);
        // One that stays at the beginning is worth a mark too: then it is remembered.
        let told = self.offered_since_mark && (lag > 0 || self.unmarked);
        // A cursor from before a rollback of this spool is set back.
        let back = bundles < self.marked.bundles;
        if told || back || lag > MARK_LAG || receipts != self.marked.receipts {
            peer.send(core, &Unit::Mark { bundles, receipts });
            self.marked = Seen { instance: core.local.instance, bundles, receipts };
            // Where it waits for what is left to others, it is worth another mark when it moves on.
            self.offered_since_mark &= self.later.first_left().is_some();
            (self.unmarked, self.remember) = (false, true);
        }
        if self.remember && settled {
            self.remember = false;
            if let Some(node) = peer.node {
                let theirs = Some(self.marked);
                core.outputs.push_back(Output::Remember { peer: node, mine: None, theirs });
            }
            core.event(Event::CaughtUp { link: peer.link });
        }
        if settled
            && self.not_here.is_some()
            && self.covered != Some(upto)
            && let Some(node) = peer.node
        {
            self.covered = Some(upto);
            let (limits, cursor) = (peer.limits(), self.marked.bundles);
            core.memory.note_covered(node, Covered { limits, cursor, upto });
        }
    }

    fn send_bodies(&mut self, core: &mut Core, peer: &mut Peer) {
        loop {
            let ready = |turn: &&Turn| {
                let out = self.open.get(&turn.2).and_then(|open| open.out.as_ref());
                out.is_some_and(|o| o.loaded.is_some() || o.begun && !o.ready.is_empty())
            };
            let Some(turn) = self.wanted.iter().find(ready).copied() else { return };
            let Some(open) = self.open.get_mut(&turn.2) else { return };
            let Some(out) = open.out.as_mut() else { return };
            let bytes = match (&out.loaded, out.ready.front()) {
                (Some(loaded), _) => loaded.head.len() + loaded.payload.len() + 32,
                (None, Some(chunk)) => chunk.len() + 5,
                (None, None) => return,
            };
            if !peer.pace.may_send(bytes) {
                return;
            }
            let handle = turn.2;
            if let Some(loaded) = out.loaded.take() {
                let Loaded { head, hop, arrived_held_ms, payload } = loaded;
                self.ready_bytes -= payload.len();
                out.begun = true;
                let hop = aged(hop, core.now.held_ms.saturating_sub(arrived_held_ms));
                peer.send(core, &Unit::Begin(Begin { handle, hop, head, payload }));
            } else if let Some(bytes) = out.ready.pop_front() {
                self.ready_bytes -= bytes.len();
                peer.send(core, &Unit::Data { handle, bytes });
            }
            let small = open.row.length <= SMALL_PAYLOAD_MAX;
            if small || out.at == open.row.length && out.ready.is_empty() {
                // All is sent; the answer is a settle.
                self.wanted.remove(&turn);
            }
        }
    }

    fn read_ahead(&mut self, core: &mut Core, peer: &Peer) {
        let chunk = peer.chunk_bytes();
        let mut budget = AHEAD_BYTES.min(AHEAD_CHUNKS * chunk);
        for turn in &self.wanted {
            let Some(open) = self.open.get_mut(&turn.2) else { continue };
            let (id, length) = (open.row.id, open.row.length);
            let Some(out) = open.out.as_mut() else { continue };
            let handle = turn.2;
            if !out.begun && out.loaded.is_none() && !out.loading {
                out.loading = true;
                let ticket = core.ask(peer.link, What::Load { handle });
                core.outputs.push_back(Output::Load { ticket, id });
            }
            let mut held = LOAD_BYTES.min(usize::try_from(length).unwrap_or(LOAD_BYTES));
            if length > SMALL_PAYLOAD_MAX {
                if out.reading == 0 && out.at < length && out.ready.len() < AHEAD_CHUNKS - 1 {
                    let left = usize::try_from(length - out.at).unwrap_or(chunk);
                    out.reading = left.min(chunk);
                    let (at, bytes) = (out.at, out.reading);
                    let ticket = core.ask(peer.link, What::Read { handle, at, bytes });
                    core.outputs.push_back(Output::Read { ticket, id, at, bytes });
                }
                held += out.reading + out.ready.iter().map(Bytes::len).sum::<usize>();
            }
            budget = budget.saturating_sub(held);
            if budget == 0 {
                break;
            }
        }
        self.let_go();
    }

    /// Chunks that more urgent ones overtook do not pile up: they are read again.
    fn let_go(&mut self) {
        for turn in self.wanted.iter().rev() {
            if self.ready_bytes <= READY_MAX {
                return;
            }
            let Some(out) = self.open.get_mut(&turn.2).and_then(|open| open.out.as_mut()) else {
                continue;
            };
            let ready: usize = out.ready.iter().map(Bytes::len).sum();
            // A read under way will follow what is ready.
            if out.reading == 0 && ready > 0 {
                out.ready.clear();
                out.at -= ready as u64;
                self.ready_bytes -= ready;
            }
        }
    }

    /// What was offered cannot be sent: the disk has lost it, or the link may not carry it.
    fn gone(&mut self, core: &mut Core, peer: &mut Peer, handle: u32) {
        self.close(handle);
        peer.send(core, &Unit::Withdraw(vec![handle]));
    }

    fn close(&mut self, handle: u32) -> Option<Open> {
        self.unwant(handle);
        let open = self.open.remove(&handle)?;
        self.ids.remove(&open.row.short());
        Some(open)
    }

    fn unwant(&mut self, handle: u32) {
        let Some(open) = self.open.get_mut(&handle) else { return };
        let Some(out) = open.out.take() else { return };
        self.wanted.remove(&turn(&open.row, handle));
        self.ready_bytes -= out.ready.iter().map(Bytes::len).sum::<usize>();
        self.ready_bytes -= out.loaded.map_or(0, |loaded| loaded.payload.len());
    }
}

/// Whether a row may be offered; remembers the first that only this link does not carry.
fn may_offer(core: &Core, peer: &Peer, row: &Row, not_here: &mut Option<u64>) -> bool {
    let may = peer.may_have(core, row);
    if may == May::NotHere {
        note_first(not_here, row.arrival);
    }
    may == May::Have
}

/// Where to begin behind a neighbour's cursor. Over a link that does not carry everything that may be
/// further than the cursor, which then waits for the rest.
fn begin_behind(core: &Core, peer: &Peer, cursor: u64, not_here: &mut Option<u64>) -> u64 {
    let Some(node) = peer.node else { return cursor };
    let from = core.memory.begin_behind(&node, &peer.limits(), cursor);
    if from > cursor {
        note_first(not_here, cursor + 1);
    }
    from
}

fn is_due(only: &Option<Only>, row: &Row) -> bool {
    only.as_ref().is_none_or(|only| row.arrival > only.upto || only.ids.contains(&row.short()))
}

fn note_first(first: &mut Option<u64>, arrival: u64) {
    *first = Some(first.map_or(arrival, |first| first.min(arrival)).max(1));
}

fn turn(row: &Row, handle: u32) -> Turn {
    (row.nice, row.arrival, handle)
}

fn ask(core: &mut Core, peer: &Peer, question: Question) {
    let limit = PAGE_ROWS;
    match question {
        Question::Since { after, generation } => {
            let ticket = core.ask(peer.link, What::Since { generation });
            core.outputs.push_back(Output::Since { ticket, after, limit });
        }
        Question::Page { class, after, generation } => {
            let ticket = core.ask(peer.link, What::Page { generation, class });
            core.outputs.push_back(Output::Page { ticket, class, after, limit });
        }
    }
}
