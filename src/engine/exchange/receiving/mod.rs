//! The other direction of an exchange: what the neighbour has, to this node.
//!
//! ```text
//! (Offer) -> Look -> Want -> (Begin, Data…) -> Stage, Append -> Keep -> Settle
//! ```
//!
//! Here is what is offered and what is answered. What was asked for comes in `bodies`, and is judged
//! by its head in `examine`; `cursor` says how far all is settled.
//!
//! Nothing of a bundle is kept before its head has been verified, and nothing is settled as kept
//! before the commit has returned.

mod bodies;
mod cursor;
mod examine;

use std::collections::{BTreeMap, BTreeSet};

use postrider_base::bundle::SMALL_PAYLOAD_MAX;

use self::cursor::Cursor;
use super::{
    limits::{
        FORGED_MAX, HANDLE_MAX, KEEPING_BYTES, OFFERS_MAX, OFFERS_OPEN, WANTS_OPEN, WINDOW_BYTES,
    },
    peer::Peer,
    unit::{Offered, Unit},
};
use crate::node::{
    Ending, Event, Instance, Known, Output, Reason, Seen, ShortId, Verdict, Violation,
    core::{Core, Task, What},
    partials::Claim,
};

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
    cursor: Cursor,
    forged: u32,
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

impl Incoming {
    fn is_small(&self) -> bool {
        self.offer.length <= SMALL_PAYLOAD_MAX
    }
}

impl State {
    /// Nothing of it was asked for, at least not here.
    fn is_unasked(self) -> bool {
        matches!(self, Self::Looking | Self::Candidate | Self::Waiting)
    }
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
            cursor: Cursor::new(mine),
            forged: 0,
        }
    }

    /// The neighbour said how its numbering is called.
    pub fn greeted(&mut self, instance: Instance) {
        self.cursor.greeted(instance);
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
            // It may have come without being asked for; then its commit says.
            if self.offers.get(handle).is_none_or(|incoming| incoming.state != State::Looking) {
                continue;
            }
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
                self.cursor.let_pass(&id);
            }
        }
        self.move_cursor(core, peer);
        Ok(())
    }

    /// All up to these numbers has been offered.
    pub fn mark(&mut self, core: &mut Core, peer: &Peer, bundles: u64, receipts: u64) {
        self.cursor.mark(self.next_handle, bundles, receipts);
        self.move_cursor(core, peer);
    }

    /// Receipts come: the number of their batch, for the spool; `None` when the spool is behind.
    /// Then they are not taken, and the cursor does not pass them on this link.
    pub fn new_batch(&mut self) -> Option<u64> {
        self.cursor.new_batch()
    }

    /// The spool has taken a batch.
    pub fn batch_done(&mut self, core: &mut Core, peer: &Peer, batch: u64) {
        self.cursor.batch_done(batch);
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
        fits: impl Fn(&Incoming) -> bool,
    ) -> Result<Option<Offered>, Ending> {
        match self.offers.get(&handle) {
            Some(incoming) if fits(incoming) => Ok(Some(incoming.offer)),
            None if handle < self.next_handle => Ok(None),
            _ => Err(Ending::Protocol(Violation::Handle)),
        }
    }

    /// A small bundle comes that was not asked for yet: whether it is taken. Not while another link
    /// brings it; should that come to nothing, it is offered again.
    fn take_given(&mut self, core: &mut Core, peer: &Peer, handle: u32, offer: &Offered) -> bool {
        self.candidates.remove(&(offer.nice, handle));
        if core.arrivals.is_claimed(&offer.id) {
            self.release(core, peer, offer.id, handle);
            self.resolve(core, peer, handle, Verdict::Later(1));
            return false;
        }
        // A body that had begun under this id is another: one of the two is a lie.
        match core.arrivals.claim(offer.id, (peer.link, handle), core.now.mono_ms) {
            Claim::From(0) => true,
            Claim::From(_) | Claim::Wait => {
                self.release(core, peer, offer.id, handle);
                self.resolve(core, peer, handle, Verdict::Damaged);
                false
            }
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
        let spot = (peer.link, handle);
        if core.arrivals.is_brought(&id, spot) {
            core.tasks.push_back(Task::Stopped(id));
        }
        let waiting = core.arrivals.release(&id, spot);
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
                self.cursor.hold_back(id);
            }
            _ => {
                self.cursor.let_pass(&id);
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

    /// The cursor passes what is settled.
    fn move_cursor(&mut self, core: &mut Core, peer: &Peer) {
        let first_open = self.offers.first_key_value().map(|(handle, _)| *handle);
        self.cursor.advance(core, peer, first_open);
    }
}
