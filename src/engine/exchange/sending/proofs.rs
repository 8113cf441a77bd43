//! Receipts to one neighbour: every one behind its cursor, but not those it told us.

use std::collections::{BTreeSet, VecDeque};

use postrider_base::bundle::Receipt;

use crate::{
    exchange::{limits::RECEIPTS_MAX, peer::Peer, unit::Unit},
    node::{
        Output,
        core::{Core, What},
    },
};

/// Receipts remembered as told by the neighbour; when full they are forgotten, and some are told
/// back at 25 bytes each.
const TOLD_MAX: usize = 4096;
/// Bytes of a receipt in its unit.
const RECEIPT_BYTES: usize = postrider_base::bundle::RECEIPT_BYTES;

/// What is still to be told.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    queue: VecDeque<Receipt>,
    told: BTreeSet<Receipt>,
    covered: u64,
    dirty: bool,
    asking: bool,
    /// Answers to questions from before a restart are void; 0: not begun.
    generation: u32,
}

impl Proofs {
    /// Begins behind this order number.
    pub fn restart(&mut self, after: u64) {
        self.queue.clear();
        // A neighbour may say any number; there is always one behind this.
        let after = after.min(u64::MAX - 1);
        (self.covered, self.dirty, self.asking) = (after, true, false);
        self.generation = self.generation.wrapping_add(1);
    }

    /// There are new ones.
    pub fn note_arrival(&mut self) {
        self.dirty = self.generation != 0;
    }

    /// The neighbour told these.
    pub fn note_told(&mut self, list: &[Receipt]) {
        if self.told.len() + list.len() > TOLD_MAX {
            self.told.clear();
        }
        self.told.extend(list);
    }

    /// The order number up to which all are told.
    pub fn exhausted_to(&self) -> Option<u64> {
        let done = self.generation != 0 && !self.dirty && !self.asking && self.queue.is_empty();
        done.then_some(self.covered)
    }

    /// Receipts from the spool.
    pub fn take(&mut self, generation: u32, list: Vec<(u64, Receipt)>, more: bool, upto: u64) {
        if generation != self.generation {
            return;
        }
        self.asking = false;
        if upto < self.covered && list.is_empty() {
            // A cursor beyond our numbering says nothing.
            if self.covered > 0 {
                self.restart(0);
            }
            return;
        }
        let last = list.last().map_or(0, |(order, _)| *order);
        self.covered = self.covered.max(if more { last } else { upto.max(last) });
        self.dirty |= more && !list.is_empty();
        let told = &self.told;
        self.queue.extend(list.into_iter().map(|(_, r)| r).filter(|r| !told.contains(r)));
    }

    /// Tells what may be told now and asks for more.
    pub fn pump(&mut self, core: &mut Core, peer: &mut Peer) {
        while !self.queue.is_empty() {
            let fit = (peer.chunk_bytes() / RECEIPT_BYTES).clamp(1, RECEIPTS_MAX);
            let count = self.queue.len().min(fit);
            if !peer.pace.may_send(count * RECEIPT_BYTES + 4) {
                return;
            }
            let list: Vec<Receipt> = self.queue.drain(..count).collect();
            peer.send(core, &Unit::Receipt(list));
        }
        if self.dirty && !self.asking {
            (self.dirty, self.asking) = (false, true);
            let ticket = core.ask(peer.link, What::Receipts { generation: self.generation });
            let (after, limit) = (self.covered, RECEIPTS_MAX);
            core.outputs.push_back(Output::ReceiptsSince { ticket, after, limit });
        }
    }
}
