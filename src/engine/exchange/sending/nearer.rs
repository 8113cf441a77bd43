//! What a neighbour's cursor has passed and may go to it now, because it says that it is nearer to
//! those whom that is for. It is asked for by whom it is for, some thousand rows at a time.

use crate::{
    exchange::limits::ROWS_MAX,
    node::{Place, Row},
    router::{NodeHint, hint_of},
};

/// For whom rows are still to be asked.
#[derive(Debug, Default)]
pub(super) struct Nearer {
    all: Vec<NodeHint>,
    left: Vec<NodeHint>,
    /// Where the last answer ended in what is for the first of those left.
    after: Option<Place>,
    asking: bool,
    /// Answers to what was asked before the neighbour said something else are void.
    round: u32,
    /// The backlog that has what was answered; another one has forgotten it.
    backlog: u32,
}

impl Nearer {
    /// The neighbour is nearer to these, nearest first.
    pub fn begin(&mut self, all: Vec<NodeHint>) {
        self.left.clone_from(&all);
        self.all = all;
        (self.after, self.asking) = (None, false);
        self.round = self.round.wrapping_add(1);
    }

    /// What to ask next, if anything, for this backlog.
    pub fn question(&mut self, backlog: u32) -> Option<(Vec<NodeHint>, Option<Place>, u32)> {
        if self.backlog != backlog {
            self.backlog = backlog;
            let all = std::mem::take(&mut self.all);
            self.begin(all);
        }
        if self.asking || self.left.is_empty() {
            return None;
        }
        self.asking = true;
        Some((self.left.clone(), self.after, self.round))
    }

    /// Rows came: which of them are an answer to what was asked.
    pub fn take(&mut self, round: u32, rows: Vec<Row>, more: bool) -> Vec<Row> {
        if round != self.round || !self.asking {
            return Vec::new();
        }
        self.asking = false;
        let last = rows.last().filter(|_| more && rows.len() <= ROWS_MAX);
        let at = last.and_then(|row| {
            let hint = hint_of(&crate::node::near::recipient(row)?);
            self.left.iter().position(|left| *left == hint)
        });
        match (at, last) {
            (Some(at), Some(row)) => {
                self.left.drain(..at);
                self.after = Some(Place { nice: row.nice, arrival: row.arrival });
            }
            // An answer that does not go on is the last: no shell makes this loop.
            _ => self.left.clear(),
        }
        rows
    }
}
