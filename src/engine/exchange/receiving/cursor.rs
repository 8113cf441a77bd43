//! How far this node has dealt with what the neighbour has: its cursor into the other's numbering.
//!
//! The neighbour marks up to where all has been offered and told. The cursor passes a mark when all
//! that came before it is settled and nothing of it must come again.

use std::collections::{BTreeSet, VecDeque};

use crate::{
    exchange::{limits::OFFERS_OPEN, peer::Peer},
    node::{Instance, Output, Seen, ShortId, core::Core},
};

/// Marks that wait for the answers to what was offered before them; two of one wait become one.
const MARKS_MAX: usize = 64;
/// Batches of receipts that the spool has not answered: 400 KiB.
const BATCHES_MAX: usize = 64;

/// The cursor, and what it waits for.
#[derive(Debug)]
pub(super) struct Cursor {
    seen: Seen,
    /// It is of a numbering that was not remembered yet.
    fresh: bool,
    marks: VecDeque<Mark>,
    /// Bundles that must come again before it may pass them.
    held_back: BTreeSet<ShortId>,
    /// More than can be remembered must come again: it stays where it is on this link.
    stuck: bool,
    next_batch: u64,
    /// Receipts that the spool has not taken yet.
    batches: BTreeSet<u64>,
}

/// All up to two numbers has been offered before a handle, and told before a batch.
#[derive(Clone, Copy, Debug)]
struct Mark {
    before: u32,
    before_batch: u64,
    bundles: u64,
    receipts: u64,
}

impl Cursor {
    /// As last remembered.
    pub fn new(mine: Option<Seen>) -> Self {
        Self {
            seen: mine.unwrap_or_default(),
            fresh: mine.is_none(),
            marks: VecDeque::new(),
            held_back: BTreeSet::new(),
            stuck: false,
            next_batch: 0,
            batches: BTreeSet::new(),
        }
    }

    /// The neighbour said how its numbering is called.
    pub fn greeted(&mut self, instance: Instance) {
        if self.seen.instance != instance {
            self.seen = Seen { instance, ..Seen::default() };
            self.fresh = true;
        }
    }

    /// All up to these numbers has been offered, under handles below `before`.
    pub fn mark(&mut self, before: u32, bundles: u64, receipts: u64) {
        let mark = Mark { before, before_batch: self.next_batch, bundles, receipts };
        // What is set back holds for what was said before as well: nothing between may be passed.
        self.marks.iter_mut().for_each(|mark| mark.bundles = mark.bundles.min(bundles));
        let full = self.marks.len() == MARKS_MAX;
        match self.marks.back_mut() {
            Some(last) if full || last.before == mark.before => *last = mark,
            _ => self.marks.push_back(mark),
        }
    }

    /// Receipts come: the number of their batch, for the spool; `None` when the spool is behind.
    /// Then they are not taken, and the cursor does not pass them on this link.
    pub fn new_batch(&mut self) -> Option<u64> {
        let batch = self.next_batch;
        self.next_batch += 1;
        if self.batches.len() == BATCHES_MAX {
            self.stuck = true;
            return None;
        }
        self.batches.insert(batch);
        Some(batch)
    }

    /// The spool has taken a batch.
    pub fn batch_done(&mut self, batch: u64) {
        self.batches.remove(&batch);
    }

    /// A bundle must come again before it may be passed.
    pub fn hold_back(&mut self, id: ShortId) {
        self.stuck |= self.held_back.len() >= OFFERS_OPEN;
        if !self.stuck {
            self.held_back.insert(id);
        }
    }

    /// A bundle may be passed.
    pub fn let_pass(&mut self, id: &ShortId) {
        self.held_back.remove(id);
    }

    /// Passes every mark before which all is settled; `first_open` is the first handle that is not.
    pub fn advance(&mut self, core: &mut Core, peer: &Peer, first_open: Option<u32>) {
        let (before, marks) = (self.seen, self.marks.len());
        while let Some(mark) = self.marks.front().copied() {
            let open = first_open.is_some_and(|handle| handle < mark.before)
                || self.batches.first().is_some_and(|batch| *batch < mark.before_batch)
                || !self.held_back.is_empty()
                || self.stuck;
            if open {
                break;
            }
            self.marks.pop_front();
            (self.seen.bundles, self.seen.receipts) = (mark.bundles, mark.receipts);
        }
        let passed = self.marks.len() < marks;
        if (self.seen != before || self.fresh && passed)
            && let Some(node) = peer.node
        {
            self.fresh = false;
            let mine = Some(self.seen);
            core.outputs.push_back(Output::Remember { peer: node, mine, theirs: None });
        }
    }
}
