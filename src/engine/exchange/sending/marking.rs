//! How far the neighbour's cursor may move, and what is remembered of that.
//!
//! A mark says that all up to a number was offered and sent. The cursor is of the neighbour, not of
//! the link: it waits before what another link may carry, and before what another link takes, as
//! long as that may come to nothing. What is settled here beyond it is remembered on this side, so
//! that the next link of the same kind begins there.

use crate::{
    exchange::{
        memory::Covered,
        peer::{May, Peer},
        unit::Unit,
    },
    node::{Event, Output, Row, Seen, core::Core},
};

/// Numbers that a neighbour's cursor may lag when nothing was offered: a mark costs it a commit.
const MARK_LAG: u64 = 64;

/// The neighbour's cursor, and before what it waits.
#[derive(Debug)]
pub(super) struct Marking {
    /// The cursor as it was said, then as it was marked.
    marked: Seen,
    offered_since: bool,
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
}

/// What has been done so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    /// All bundles up to this arrival number have been offered.
    pub bundles: u64,
    /// All receipts up to this order number have been told.
    pub receipts: u64,
    /// Everything offered is settled, and nothing waits to be.
    pub settled: bool,
    /// The first that is left to another link.
    pub first_left: Option<u64>,
}

impl Marking {
    /// Nothing is known of a cursor.
    pub fn new() -> Self {
        Self {
            marked: Seen::default(),
            offered_since: false,
            unmarked: true,
            not_here: None,
            again: None,
            covered: None,
            remember: false,
        }
    }

    /// The neighbour said how far it has seen, if that is of this numbering: from where receipts are
    /// to be told.
    pub fn greeted(&mut self, core: &Core, seen: Option<Seen>) -> u64 {
        self.marked = seen.unwrap_or(Seen { instance: core.local.instance, ..Seen::default() });
        self.unmarked = seen.is_none();
        self.marked.receipts
    }

    /// The cursor as it stands.
    pub fn cursor(&self) -> u64 {
        self.marked.bundles
    }

    /// Rows are looked at anew, and this is the first that is passed over.
    pub fn restart(&mut self, not_here: Option<u64>) {
        self.not_here = not_here;
    }

    /// Whether a row may be offered; one that only this link does not carry is remembered.
    pub fn may_offer(&mut self, core: &Core, peer: &Peer, row: &Row) -> bool {
        let may = peer.may_have(core, row);
        if may == May::NotHere {
            self.note_not_here(row.arrival);
        }
        may == May::Have
    }

    /// A bundle does not go over this link.
    pub fn note_not_here(&mut self, arrival: u64) {
        note_first(&mut self.not_here, arrival);
    }

    /// A bundle is to be offered again at the next contact.
    pub fn note_again(&mut self, arrival: u64) {
        note_first(&mut self.again, arrival);
    }

    /// Something was offered.
    pub fn note_offered(&mut self) {
        self.offered_since = true;
    }

    /// Something that was passed is owed after all.
    pub fn note_owed(&mut self) {
        self.covered = None;
    }

    /// Offers from this number on are withdrawn: first the cursor is set back, otherwise they would
    /// let it pass.
    pub fn set_back(&mut self, core: &mut Core, peer: &mut Peer, first: u64) {
        if self.marked.bundles >= first {
            self.marked.bundles = first.saturating_sub(1);
            let Seen { bundles, receipts, .. } = self.marked;
            peer.send(core, &Unit::Mark { bundles, receipts });
            self.offered_since = true;
        }
    }

    /// All has been offered: says so, if that is worth a mark, and remembers it when all is settled.
    pub fn mark(&mut self, core: &mut Core, peer: &mut Peer, done: Done) {
        let Done { bundles, receipts, settled, first_left } = done;
        let upto = bundles.min(self.again.map_or(u64::MAX, |first| first - 1));
        let waits_before = [self.not_here, first_left].into_iter().flatten().min();
        let bundles = bundles.min(waits_before.map_or(u64::MAX, |first| first.saturating_sub(1)));
        let lag = bundles.abs_diff(self.marked.bundles);
        // One that stays at the beginning is worth a mark too: then it is remembered.
        let told = self.offered_since && (lag > 0 || self.unmarked);
        // A cursor from before a rollback of this spool is set back.
        let back = bundles < self.marked.bundles;
        if told || back || lag > MARK_LAG || receipts != self.marked.receipts {
            peer.send(core, &Unit::Mark { bundles, receipts });
            self.marked = Seen { instance: core.local.instance, bundles, receipts };
            // Where it waits for what is left to others, it is worth another mark when it moves on.
            self.offered_since &= first_left.is_some();
            (self.unmarked, self.remember) = (false, true);
        }
        if !settled {
            return;
        }
        if std::mem::take(&mut self.remember) {
            if let Some(node) = peer.node {
                let theirs = Some(self.marked);
                core.outputs.push_back(Output::Remember { peer: node, mine: None, theirs });
            }
            core.event(Event::CaughtUp { link: peer.link });
        }
        if self.not_here.is_some()
            && self.covered != Some(upto)
            && let Some(node) = peer.node
        {
            self.covered = Some(upto);
            let (limits, cursor) = (peer.limits(), self.marked.bundles);
            core.memory.note_covered(node, Covered { limits, cursor, upto });
        }
    }
}

/// Where to begin behind a neighbour's cursor. Over a link that does not carry everything that may be
/// further than the cursor; then also the first that is passed over, before which it waits.
pub(super) fn begin_behind(core: &Core, peer: &Peer, cursor: u64) -> (u64, Option<u64>) {
    let Some(node) = peer.node else { return (cursor, None) };
    let from = core.memory.begin_behind(&node, &peer.limits(), cursor);
    (from, (from > cursor).then(|| cursor + 1))
}

fn note_first(first: &mut Option<u64>, arrival: u64) {
    *first = Some(first.map_or(arrival, |first| first.min(arrival)).max(1));
}
