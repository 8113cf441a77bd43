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
        self.after = None;
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
        // One question is out at a time, however often the neighbour says something else.
        self.asking = false;
        if round != self.round {
            return Vec::new();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A neighbour that says something else with every unit must not fill the shell with questions.
    #[test]
    fn one_question_is_out_whatever_the_neighbour_says() {
        let mut nearer = Nearer::default();
        nearer.begin(vec![[1; 8]]);
        let (_, _, first) = nearer.question(1).unwrap();
        for n in 2..9 {
            nearer.begin(vec![[n; 8]]);
            assert_eq!(nearer.question(1), None);
        }
        let to = postrider_base::NodeSecret::from_seed([1; 32]).id();
        let row = crate::router::tests::row(&to, None);
        assert!(nearer.take(first, vec![row.clone()], false).is_empty(), "void by now");
        let (nodes, after, last) = nearer.question(1).unwrap();
        assert_eq!((nodes, after), (vec![[8; 8]], None));
        assert_eq!(nearer.take(last, vec![row.clone()], false), [row]);
        assert_eq!(nearer.question(1), None);
    }
}
