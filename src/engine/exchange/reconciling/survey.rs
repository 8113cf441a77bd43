//! The rows are read: of what the two sets consist.
//!
//! The sets are all live rows that may pass between these two at all, not only those that either
//! would offer: a row that one has from the other is in both, and so costs nothing. What is retired
//! is in neither; when the neighbour has it still, it is offered, and settled as known.

use super::{Reconciling, Role, State};
use crate::{
    exchange::{limits::ROWS_MAX, peer::Peer, sending::Sending},
    node::{
        Output, Row,
        core::{Core, What},
        near::recipient,
    },
    reconcile::ITEMS_MAX,
};

impl Reconciling {
    /// Begins a session: reads all rows.
    pub(super) fn survey(&mut self, core: &mut Core, peer: &Peer, role: Role) {
        core.sketching += 1;
        self.session = self.session.wrapping_add(1);
        (self.items, self.covered) = (Vec::new(), 0);
        self.state = State::Surveying { role, offerable: 0 };
        self.ask_rows(core, peer);
    }

    fn ask_rows(&mut self, core: &mut Core, peer: &Peer) {
        self.be_patient(core);
        let ticket = core.ask(peer.link, What::Survey { session: self.session });
        let (after, limit) = (self.covered, ROWS_MAX);
        core.outputs.push_back(Output::Since { ticket, after, limit });
    }

    /// Rows of the spool.
    pub fn take_rows(
        &mut self,
        core: &mut Core,
        peer: &mut Peer,
        sending: &mut Sending,
        session: u32,
        (rows, more, upto): (Vec<Row>, bool, u64),
    ) {
        let State::Surveying { role, offerable } = &mut self.state else { return };
        if session != self.session {
            return;
        }
        let last = rows.last().map_or(0, |row| row.arrival);
        let further = more && last > self.covered;
        self.covered = self.covered.max(if further { last } else { upto.max(last) });
        for row in &rows {
            *offerable += usize::from(sending.counts(core, peer, row));
            if belongs(core, peer, row) {
                self.items.push(row.short().0);
            }
        }
        let (role, offerable) = (*role, *offerable);
        if self.items.len() > ITEMS_MAX {
            self.give_up(core, peer, sending);
        } else if further {
            self.ask_rows(core, peer);
        } else {
            sending.offer_behind(self.covered);
            self.surveyed(core, peer, sending, role, offerable);
        }
    }
}

/// Whether a row is in the set: only by what both ends see alike.
fn belongs(core: &Core, peer: &Peer, row: &Row) -> bool {
    let nice_max = match peer.hello.map_or(0, |hello| hello.nice_max) {
        0 => u8::MAX,
        theirs => theirs,
    };
    let (us, them) = (*core.local.node.as_bytes(), peer.node.map(|node| *node.as_bytes()));
    let an_end = |node: Option<[u8; 32]>| node.is_some() && (node == Some(us) || node == them);
    !row.expired(core.now.held_ms)
        && row.nice <= nice_max.min(peer.policy.nice_max.value())
        && row.length <= peer.policy.size_max
        && (peer.policy.transit || an_end(recipient(row)) || an_end(row.source))
}
