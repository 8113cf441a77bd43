//! One direction of an exchange: what this node has, to the neighbour.
//!
//! ```text
//! backlog -> Offer -> (Want) -> Load, Read -> Begin, Data… -> (Settle)
//! ```
//!
//! What is small, new and for the neighbour itself goes without its Want.
//!
//! Here is what is offered and what is answered. What is to be offered is in `offers` and, put off
//! for a while, in `later`; what the neighbour's cursor has passed and it is nearer to now comes from
//! `nearer`, what still comes itself from `passing`; what is wanted goes out in `bodies`; when all is
//! offered, `marking` moves the neighbour's cursor. Receipts go by themselves, in `proofs`.

mod bodies;
mod fair;
mod later;
mod marking;
mod nearer;
mod offers;
mod passing;
mod proofs;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use postrider_base::bundle::SMALL_PAYLOAD_MAX;

use self::{
    bodies::{Along, Bodies, Taken},
    later::Later,
    marking::{Done, Marking, begin_behind},
    nearer::Nearer,
    offers::{Backlog, PAGE_ROWS, Question},
    passing::{NO_ARRIVAL, Passed},
    proofs::Proofs,
};
use super::{
    limits::{HANDLE_MAX, OFFERS_MAX, OFFERS_OPEN},
    peer::{May, Peer},
    unit::{Offered, Unit},
};
use crate::{
    node::{
        Class, Destination, Ending, Event, Loaded, Output, Reason, Row, Seen, ShortId, Verdict,
        Violation,
        core::{Core, Task, What},
        handover::Outcome,
        near::recipient,
    },
    router::Road,
};

/// Bytes of an offer in its unit, at most.
const OFFER_BYTES: usize = 26;

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
    /// Offers without their answer, by handle.
    open: BTreeMap<u32, Row>,
    ids: BTreeMap<ShortId, u32>,
    next_handle: u32,
    later: Later,
    nearer: Nearer,
    passed: Passed,
    bodies: Bodies,
    marking: Marking,
    /// What has a higher arrival number came while this link was up, or was renewed.
    fresh_from: Option<u64>,
    /// The custody clock when the link came up.
    since_held_ms: u64,
}

/// Of all rows up to an arrival number, the neighbour lacks these.
#[derive(Debug)]
struct Only {
    ids: BTreeSet<ShortId>,
    upto: u64,
}

impl Sending {
    /// With the neighbour's cursor as last remembered, offers go before its Hello came.
    pub fn new(core: &Core, peer: &Peer, hint: Option<Seen>) -> Self {
        let node = peer.node.map(|node| *node.as_bytes());
        let (mut backlog, mut marking) = (Backlog::new(node), Marking::new());
        if let Some(seen) = hint {
            let (from, not_here) = begin_behind(core, peer, seen.bundles);
            backlog.restart(from);
            marking.restart(not_here);
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
            later: Later::default(),
            nearer: Nearer::default(),
            passed: Passed::default(),
            bodies: Bodies::default(),
            marking,
            fresh_from: None,
            since_held_ms: core.now.held_ms,
        }
    }

    /// The neighbour said how far it has seen. `true`: that says nothing, and nothing is offered
    /// before [`Self::offer_all`] or [`Self::offer_only`].
    pub fn greeted(&mut self, core: &Core, peer: &Peer, hinted: bool, seen: Option<Seen>) -> bool {
        let ours = seen.filter(|seen| seen.instance == core.local.instance);
        self.proofs.restart(self.marking.greeted(core, ours));
        if ours.is_none() {
            self.give_up_cursor();
        } else {
            let (from, not_here) = begin_behind(core, peer, self.marking.cursor());
            if !hinted || self.backlog.floor() != from {
                self.backlog.restart(from);
                self.marking.restart(not_here);
                self.later.clear();
            }
        }
        self.held
    }

    /// What the neighbour has is to be found out anew: nothing is offered before that.
    pub fn give_up_cursor(&mut self) {
        (self.held, self.counted) = (true, false);
        self.marking.restart(None);
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
            self.marking.may_offer(core, peer, row)
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
        let left = |(handle, row): (&u32, &Row)| {
            (recipient(row).as_ref() == Some(node)).then_some((*handle, row.arrival))
        };
        let mut all: Vec<(u32, u64)> = self.open.iter().filter_map(left).collect();
        for (handle, _) in all.extract_if(.., |(_, arrival)| *arrival == NO_ARRIVAL) {
            self.gone(core, peer, handle);
        }
        let Some(first) = all.iter().map(|(_, arrival)| *arrival).min() else { return };
        self.marking.set_back(core, peer, first);
        for part in all.chunks(OFFERS_MAX) {
            peer.send(core, &Unit::Withdraw(part.iter().map(|(handle, _)| *handle).collect()));
        }
        for (handle, _) in all {
            if let Some(row) = self.close(core, peer, handle, Outcome::Unsaid) {
                self.put_off(core, peer, row);
            }
        }
    }

    /// A row that is left to another link waits, and the neighbour's cursor before it.
    fn put_off(&mut self, core: &mut Core, peer: &Peer, row: Row) {
        let now_ms = core.now.mono_ms;
        core.tasks.extend(core.near.left(now_ms, &row).map(Task::Ask));
        if let Some(node) = peer.node.filter(|_| peer.proven) {
            core.memory.note_owed(&node, row.arrival);
            self.marking.note_owed();
        }
        self.later.leave(now_ms, row);
    }

    /// A bundle was retired: whoever was offered it is told.
    pub fn withdraw(&mut self, core: &mut Core, peer: &mut Peer, id: &ShortId) {
        self.later.forget(id);
        if let Some(handle) = self.ids.get(id).copied() {
            self.close(core, peer, handle, Outcome::Unsaid);
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
            let Some(row) = self.open.get(&handle) else { continue };
            let road = core.router.eligible(core.now, &peer.neighbour(), row);
            let along = match Along::over(road) {
                // There are no tokens of what is not durable.
                Along::Tokens(_) | Along::Level(_) if row.arrival == NO_ARRIVAL => Along::Bare,
                along => along,
            };
            self.bodies.want(handle, row, from, along)?;
            // Of what its header does not say openly nothing is asked.
            if let Destination::Node(node) = row.destination
                && row.source == Some(*core.local.node.as_bytes())
            {
                let said = core.introductions.wish(core.now.mono_ms, peer.link, node);
                said.into_iter().for_each(|said| peer.send(core, &said.unit()));
            }
        }
        Ok(())
    }

    /// The neighbour does not want them now; they stay offered.
    pub fn stop(&mut self, core: &mut Core, peer: &Peer, handles: &[u32]) -> Result<(), Ending> {
        for handle in handles {
            if *handle >= self.next_handle {
                return Err(Ending::Protocol(Violation::Handle));
            }
            self.bodies.forget(core, peer, *handle, Outcome::Unsaid);
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
            let there = matches!(verdict, Verdict::Kept | Verdict::Known);
            let how = if there { Outcome::There } else { Outcome::Refused };
            let Some(row) = self.close(core, peer, handle, how) else { continue };
            let id = row.id;
            match verdict {
                // It is offered again when it is durable.
                _ if row.arrival == NO_ARRIVAL && verdict != Verdict::Kept => {}
                Verdict::Kept | Verdict::Known => {
                    let road = core.router.eligible(core.now, &peer.neighbour(), &row);
                    if let Ok(Road::Delegate(level)) = road {
                        core.outputs.push_back(Output::Raise { id, level });
                    }
                    if let Some(peer) = peer.node {
                        core.outputs.push_back(Output::Carried { id, peer });
                    }
                }
                // Beyond, the neighbour's cursor brings it back.
                Verdict::Later(seconds) if self.later.has_room() => {
                    let wait_ms = u64::from(seconds.max(1)) * 1000;
                    self.later.wait(core.now.mono_ms.saturating_add(wait_ms), row);
                }
                Verdict::Later(_)
                | Verdict::Damaged
                | Verdict::Refused(Reason::Nice | Reason::Size | Reason::Transit) => {
                    self.marking.note_again(row.arrival);
                }
                Verdict::Forged | Verdict::Refused(_) => {}
            }
            core.event(Event::Settled { link: peer.link, id, verdict });
        }
        Ok(())
    }

    /// The link is over.
    pub fn end(&self, core: &mut Core, peer: &Peer) {
        self.bodies.end(core, peer);
    }

    /// When something waits for the clock.
    pub fn deadline(&self) -> Option<u64> {
        let tried = self.later.due().filter(|_| self.may_offer_some());
        let looked = self.later.look_due().filter(|_| self.may_look_again());
        [tried, looked].into_iter().flatten().min()
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
        self.fresh_from.get_or_insert(upto);
        let (marking, only) = (&mut self.marking, &self.only);
        let keep = |row: &Row| is_due(only, row) && marking.may_offer(core, peer, row);
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
        page: (u32, Class),
        (rows, more): (Vec<Row>, bool),
    ) {
        let (marking, only) = (&mut self.marking, &self.only);
        let keep = |row: &Row| is_due(only, row) && marking.may_offer(core, peer, row);
        self.backlog.take_page(page, rows, more, keep);
    }

    /// The neighbour has said to whom it is near.
    pub fn look_nearer(&mut self, core: &Core, peer: &Peer) {
        self.nearer.begin(core.router.nearer(core.now, &peer.neighbour()));
    }

    /// Rows for those to whom it is nearer.
    pub fn take_nearer(
        &mut self,
        core: &Core,
        peer: &Peer,
        round: u32,
        (rows, more): (Vec<Row>, bool),
    ) {
        let rows = self.nearer.take(round, rows, more).into_iter();
        let due = rows.filter(|row| peer.may_have(core, row) == May::Have);
        due.for_each(|row| self.backlog.add(row));
    }

    /// A head came from the disk.
    pub fn take_loaded(
        &mut self,
        core: &mut Core,
        peer: &mut Peer,
        handle: u32,
        loaded: Option<Loaded>,
    ) {
        let taken = self.bodies.take_loaded(core, peer, handle, loaded);
        let Some(open) = self.open.get(&handle).filter(|_| taken != Taken::Goes) else { return };
        if taken == Taken::NotHere && open.arrival != NO_ARRIVAL {
            self.marking.note_not_here(open.arrival);
        }
        self.gone(core, peer, handle);
    }

    /// Tokens were taken off for a neighbour.
    pub fn take_changed(&mut self, core: &mut Core, peer: &mut Peer, handle: u32, live: bool) {
        if !self.bodies.take_changed(handle, live) {
            self.gone(core, peer, handle);
        }
    }

    /// A piece of a body came from the disk.
    pub fn take_read(
        &mut self,
        core: &mut Core,
        peer: &mut Peer,
        asked: (u32, u64, usize),
        bytes: Option<Bytes>,
    ) {
        if !self.bodies.take_read(asked, bytes) {
            self.gone(core, peer, asked.0);
        }
    }

    /// Sends what may be sent, and asks for what is needed next.
    pub fn pump(&mut self, core: &mut Core, peer: &mut Peer) {
        self.retry_later(core.now.mono_ms);
        if peer.hello.is_some() {
            self.proofs.pump(core, peer);
        }
        self.offer(core, peer);
        self.look_again(core.now.mono_ms);
        if peer.hello.is_some() {
            if peer.proven {
                self.mark(core, peer);
            }
            self.bodies.send(core, peer);
            self.load_passing(core, peer);
            self.bodies.read_ahead(core, peer);
        }
        while let Some(question) = self.backlog.question() {
            ask(core, peer, question);
        }
        if !self.held
            && self.backlog.takes_more()
            && let Some((nodes, after, round)) = self.nearer.question(self.backlog.generation())
        {
            let ticket = core.ask(peer.link, What::Toward { round });
            core.outputs.push_back(Output::Toward { ticket, nodes, after, limit: PAGE_ROWS });
        }
    }

    fn retry_later(&mut self, now_ms: u64) {
        if !self.may_offer_some() {
            return;
        }
        while let Some(row) = self.later.next(now_ms) {
            self.backlog.add(row);
        }
    }

    /// Reads the spool again for what was left to other links and could not wait here.
    fn look_again(&mut self, now_ms: u64) {
        if self.may_look_again()
            && let Some(after) = self.later.look_again(now_ms)
        {
            self.backlog.restart(after);
        }
    }

    /// While a reconciliation goes on, what has arrived before it waits for the outcome. And what was
    /// read is offered first: a backlog that begins anew behind some row would forget the rows before
    /// it, and the neighbour's cursor would pass them.
    fn may_look_again(&self) -> bool {
        !self.held && self.backlog.exhausted_to().is_some()
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
            // The wait is for an answer or for room; both come with an input. A row that is taken has
            // had its turn.
            let worst = OFFER_BYTES * (most + 1);
            let has_room = most > 0 && self.next_handle <= HANDLE_MAX;
            if !self.backlog.has_next() || !has_room || !peer.pace.may_send(worst) {
                return;
            }
            let mut entries = Vec::new();
            let mut next = self.backlog.next();
            while let Some(row) = next {
                let id = row.short();
                let known = self.ids.contains_key(&id) || self.later.holds(&row);
                self.arrived(&id, &row);
                // What it has told all that it has is as good as settled.
                let has = core.casts.has(peer.link, &id);
                let goes = !known && !has && !row.expired(core.now.held_ms);
                if goes && is_left(core, peer, &row) {
                    self.put_off(core, peer, row);
                } else if goes {
                    entries.push(Offered { id, nice: row.nice, length: row.length });
                    self.ids.insert(id, self.next_handle);
                    if self.is_to_be_given(peer, &row) {
                        self.bodies.give(core, self.next_handle, &row);
                    }
                    self.open.insert(self.next_handle, row);
                    self.next_handle += 1;
                }
                next = if entries.len() < most { self.backlog.next() } else { None };
            }
            if !entries.is_empty() {
                self.marking.note_offered();
                peer.send(core, &Unit::Offer(entries));
            }
        }
    }

    /// What is small, for the neighbour itself, and was just sent here: it can hardly have it, and
    /// asking for it would take longer than the bundle. What came from elsewhere may come to it by
    /// other ways as well.
    fn is_to_be_given(&self, peer: &Peer, row: &Row) -> bool {
        let is_fresh = self.fresh_from.is_some_and(|from| row.arrival > from)
            && row.arrived_held_ms >= self.since_held_ms;
        let is_for_peer = peer.node.is_some_and(|node| recipient(row) == Some(*node.as_bytes()));
        let is_there = peer.hello.is_some() && peer.proven;
        let is_small = row.length <= SMALL_PAYLOAD_MAX;
        is_fresh && is_for_peer && is_there && is_small && row.class == Class::Own
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
        let first_left = self.later.first_left();
        self.marking.mark(core, peer, Done { bundles, receipts, settled, first_left });
    }

    /// What was offered cannot be sent: the disk has lost it, or the link may not carry it.
    fn gone(&mut self, core: &mut Core, peer: &mut Peer, handle: u32) {
        self.close(core, peer, handle, Outcome::Unsaid);
        peer.send(core, &Unit::Withdraw(vec![handle]));
    }

    fn close(&mut self, core: &mut Core, peer: &Peer, handle: u32, how: Outcome) -> Option<Row> {
        self.bodies.forget(core, peer, handle, how);
        let row = self.open.remove(&handle)?;
        self.ids.remove(&row.short());
        self.passed.close(&row.short());
        Some(row)
    }
}

/// Whether another link takes a row, or it goes to all on a network at once.
fn is_left(core: &mut Core, peer: &Peer, row: &Row) -> bool {
    core.near.has(core.now.mono_ms, row, peer.node)
        || core.casts.takes(core.now, peer.link, row, &mut core.outputs)
}

fn is_due(only: &Option<Only>, row: &Row) -> bool {
    only.as_ref().is_none_or(|only| row.arrival > only.upto || only.ids.contains(&row.short()))
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
