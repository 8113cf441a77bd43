//! Cut through: a large body for others is offered, and goes on, while it still comes.
//!
//! ```text
//! more of it came -> Offer, once what is left comes sooner than the neighbour could have the whole
//! wanted          -> Begin, Data… out of what is staged, all but the last byte
//! durable here    -> the rest, out of the spool; from then on a bundle like any other
//! stopped         -> Withdraw: the neighbour keeps what it has, and goes on from there
//! ```
//!
//! The last byte waits for the commit here. So whatever a neighbour settles as kept is durable here
//! too, what does not match its hash is never passed on whole, and nobody downstream is blamed for
//! it. Only copies that cost no tokens go so: tokens are those of a bundle that is durable.

use std::collections::{BTreeSet, VecDeque};

use super::Sending;
use crate::{
    exchange::{
        limits::{HANDLE_MAX, OFFERS_OPEN},
        peer::{May, Peer},
        unit::{Offered, Unit},
    },
    node::{Loaded, Row, ShortId, core::Core, partials::Passing},
    router::Road,
};

/// The arrival number of a row that has none yet.
pub(super) const NO_ARRIVAL: u64 = 0;
/// Bodies that are offered to one neighbour while they come: more would share one link's rate, and
/// none of them gained.
const PASSING_MAX: usize = 4;
/// Those of which it is remembered that they were offered so: each is offered once, then when it is
/// durable.
const PASSED_MAX: usize = 64;

/// What one neighbour is offered before it is here.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// Offered, and not known to be durable.
    open: BTreeSet<ShortId>,
    /// Offered before; oldest first.
    before: VecDeque<ShortId>,
}

impl Passed {
    fn takes(&self, id: &ShortId) -> bool {
        self.open.len() < PASSING_MAX && !self.before.contains(id)
    }

    fn note(&mut self, id: ShortId) {
        self.open.insert(id);
        if self.before.len() == PASSED_MAX {
            self.before.pop_front();
        }
        self.before.push_back(id);
    }

    /// It is settled, withdrawn, or has its arrival number.
    pub fn close(&mut self, id: &ShortId) {
        self.open.remove(id);
    }
}

impl Sending {
    /// More came of a body for others.
    pub fn pass_on(&mut self, core: &mut Core, peer: &mut Peer, id: &ShortId) {
        let speaks = peer.hello.is_some() && peer.proven && !self.held;
        let has_room = self.open.len() < OFFERS_OPEN && self.next_handle <= HANDLE_MAX;
        if !speaks || !has_room || self.ids.contains_key(id) || !self.passed.takes(id) {
            return;
        }
        let Some(passing) = core.arrivals.passing(id, core.now.mono_ms) else { return };
        if passing.link == peer.link || !is_in_time(&passing, peer) || !goes(core, peer, &passing) {
            return;
        }
        let row = passing.row;
        let offered = Offered { id: *id, nice: row.nice, length: row.length };
        self.ids.insert(*id, self.next_handle);
        self.open.insert(self.next_handle, row);
        self.passed.note(*id);
        self.next_handle += 1;
        self.marking.note_offered();
        peer.send(core, &Unit::Offer(vec![offered]));
    }

    /// What came of it will not be whole, not over this way, or not be kept.
    pub fn stop_passing(&mut self, core: &mut Core, peer: &mut Peer, id: &ShortId) {
        self.passed.before.retain(|other| other != id);
        if self.passed.open.contains(id)
            && let Some(handle) = self.ids.get(id).copied()
        {
            self.gone(core, peer, handle);
        }
    }

    /// What was offered while it came has become durable: it has its arrival number.
    pub(super) fn arrived(&mut self, id: &ShortId, row: &Row) {
        let open = self.ids.get(id).and_then(|handle| self.open.get_mut(handle));
        if let Some(open) = open.filter(|open| open.arrival == NO_ARRIVAL) {
            *open = row.clone();
            self.passed.close(id);
        }
    }

    /// Hands out the heads of those that are wanted: the spool does not have them.
    pub(super) fn load_passing(&mut self, core: &mut Core, peer: &mut Peer) {
        let open: Vec<ShortId> = self.passed.open.iter().copied().collect();
        for id in open {
            let Some(handle) = self.ids.get(&id).copied() else { continue };
            if let Some(passing) = core.arrivals.passing(&id, core.now.mono_ms)
                && self.bodies.begin_loading(handle)
            {
                let loaded = Loaded {
                    head: passing.head,
                    hop: passing.row.hop,
                    arrived_held_ms: passing.row.arrived_held_ms,
                    payload: bytes::Bytes::new(),
                };
                self.take_loaded(core, peer, handle, Some(loaded));
            }
        }
    }
}

/// Whether a neighbour that begins to take it now would not have to wait for it: then nothing is
/// gained by a later beginning, and what else it wants is not kept from it.
fn is_in_time(passing: &Passing, peer: &Peer) -> bool {
    let whole_ms = u128::from(passing.row.length) * 8000 / u128::from(peer.pace.rate_bps().max(1));
    u128::from(passing.rest_ms) <= whole_ms
}

/// Whether a copy that costs nothing goes to the neighbour.
fn goes(core: &Core, peer: &Peer, passing: &Passing) -> bool {
    let row = &passing.row;
    let road = core.router.eligible(core.now, &peer.neighbour(), row);
    matches!(road, Ok(Road::Direct | Road::Flood | Road::Free))
        && peer.may_have(core, row) == May::Have
        && peer.may_carry(&passing.head)
        && !core.near.has(core.now.mono_ms, row, peer.node)
}
