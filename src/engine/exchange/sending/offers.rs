//! What is still to be offered to one neighbour, most urgent first, and among the equally urgent in
//! turns.
//!
//! Everything comes from the spool by arrival number, behind the neighbour's cursor. When that is
//! little it is read at once and sorted. When it is much, the spool's queues are read by niceness,
//! page by page, and what the cursor covers is passed over: then turns are taken within what was read. What arrives later is asked for by
//! arrival number again, so that no order of events in the shell can hide a bundle.

use std::collections::BTreeMap;

use super::fair::Fair;
use crate::{
    exchange::limits::{ROWS_MAX, SORT_MAX},
    node::{Class, Place, Row},
};

/// Rows to be offered, and what of the spool has been looked at.
#[derive(Debug)]
pub(crate) struct Backlog {
    /// Who is at the other end, where that is proven.
    peer: Option<[u8; 32]>,
    sorted: Fair,
    paging: Option<Paging>,
    /// Where this catching up began.
    floor: u64,
    /// Everything up to here has been looked at, but for what paging still has to.
    covered: u64,
    /// There may be more behind `covered`.
    dirty: bool,
    asking: bool,
    /// The first look is not complete: nothing is offered before the order is known.
    first: bool,
    /// Whether it is known from where to look.
    begun: bool,
    /// Answers to questions from before a restart are void.
    generation: u32,
}

#[derive(Debug)]
struct Paging {
    upto: u64,
    rows: BTreeMap<Place, Row>,
    queues: [Queue; Class::ALL.len()],
    asking: bool,
}

#[derive(Clone, Copy, Debug)]
struct Queue {
    after: Option<Place>,
    ended: bool,
}

/// What the spool is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Since { after: u64, generation: u32 },
    Page { class: Class, after: Option<Place>, generation: u32 },
}

impl Backlog {
    /// Nothing is to be offered before [`Self::restart`] says from where.
    pub fn new(peer: Option<[u8; 32]>) -> Self {
        Self {
            peer,
            sorted: Fair::default(),
            paging: None,
            floor: 0,
            covered: 0,
            dirty: false,
            asking: false,
            first: true,
            begun: false,
            generation: 0,
        }
    }

    /// Begins to look, behind this arrival number.
    pub fn restart(&mut self, after: u64) {
        // A neighbour may say any number; there is always one behind this.
        let after = after.min(u64::MAX - 1);
        let generation = self.generation.wrapping_add(1);
        let (dirty, begun) = (true, true);
        *self =
            Self { floor: after, covered: after, dirty, begun, generation, ..Self::new(self.peer) };
    }

    /// Looks no further before the next restart; answers that are under way are void.
    pub fn hold(&mut self) {
        let generation = self.generation.wrapping_add(1);
        *self = Self { generation, ..Self::new(self.peer) };
    }

    /// Something arrived in the spool.
    pub fn note_arrival(&mut self) {
        // Before the first restart nothing is known of the neighbour.
        self.dirty = self.begun;
    }

    /// Which of all backlogs this is: a restart makes another.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether the order of what there is is known, and there is room for more.
    pub fn takes_more(&self) -> bool {
        self.begun && !self.first && self.sorted.len() < SORT_MAX
    }

    /// Where this catching up began.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The arrival number up to which all has been looked at and handed out; `None` while there is
    /// more.
    pub fn exhausted_to(&self) -> Option<u64> {
        let done = self.begun
            && !self.dirty
            && !self.asking
            && self.sorted.is_empty()
            && self.paging.is_none();
        done.then_some(self.covered)
    }

    /// The next thing to ask the spool; the caller does.
    pub fn question(&mut self) -> Option<Question> {
        let generation = self.generation;
        if self.dirty && !self.asking && self.sorted.len() < SORT_MAX {
            (self.dirty, self.asking) = (false, true);
            return Some(Question::Since { after: self.covered, generation });
        }
        if self.sorted.len() >= ROWS_MAX {
            return None;
        }
        let paging = self.paging.as_mut().filter(|paging| !paging.asking)?;
        let (at, queue) = paging.lowest()?;
        let after = queue.after;
        paging.asking = true;
        Some(Question::Page { class: Class::ALL[at], after, generation })
    }

    /// Rows by arrival number came; `keep` says which may be offered. `true`: the cursor was beyond
    /// our numbering, which says nothing of what we have, and it is to be begun otherwise.
    #[must_use]
    pub fn take_since(
        &mut self,
        generation: u32,
        rows: Vec<Row>,
        more: bool,
        upto: u64,
        mut keep: impl FnMut(&Row) -> bool,
    ) -> bool {
        if generation != self.generation {
            return false;
        }
        self.asking = false;
        if upto < self.covered && rows.is_empty() {
            return self.covered == self.floor && self.floor > 0;
        }
        let last = rows.last().map_or(0, |row| row.arrival);
        self.covered = self.covered.max(if more { last } else { upto.max(last) });
        self.dirty |= more;
        for row in rows.into_iter().filter(|row| keep(row)) {
            self.sorted.push(row, self.peer);
        }
        if self.first && more && self.sorted.len() >= SORT_MAX {
            self.sorted.clear();
            self.covered = self.covered.max(upto);
            self.paging = Some(Paging::new(upto));
        }
        self.first &= more && self.paging.is_none();
        false
    }

    /// A page of a class came.
    pub fn take_page(
        &mut self,
        (generation, class): (u32, Class),
        rows: Vec<Row>,
        more: bool,
        mut keep: impl FnMut(&Row) -> bool,
    ) {
        let floor = self.floor;
        let Some(paging) = self.paging.as_mut().filter(|_| generation == self.generation) else {
            return;
        };
        paging.asking = false;
        let queue = &mut paging.queues[Class::ALL.iter().position(|c| *c == class).unwrap_or(0)];
        match rows.last() {
            Some(last) if more && queue.after < Some(place(last)) => {
                queue.after = Some(place(last));
            }
            // A page that does not go on is the last: no shell makes this loop.
            _ => queue.ended = true,
        }
        let upto = paging.upto;
        let mut fits = |row: &Row| row.arrival > floor && row.arrival <= upto && keep(row);
        paging.rows.extend(rows.into_iter().filter(|row| fits(row)).map(|row| (place(&row), row)));
        for row in paging.take_certain() {
            self.sorted.push(row, self.peer);
        }
        self.end_paging();
    }

    /// Takes the most urgent row that is certain to be the most urgent.
    pub fn next(&mut self) -> Option<Row> {
        if self.first {
            return None;
        }
        // What a page can still show is less urgent than what was certain, or as urgent.
        let certain = self.paging.as_ref().map_or(u8::MAX, Paging::certain);
        self.sorted.pop(certain)
    }

    /// Whether there is a next one.
    pub fn has_next(&self) -> bool {
        let certain = self.paging.as_ref().map_or(u8::MAX, Paging::certain);
        !self.first && self.sorted.has(certain)
    }

    /// One more, that was put off or is found again.
    pub fn add(&mut self, row: Row) {
        self.sorted.push(row, self.peer);
    }

    fn end_paging(&mut self) {
        let ended = |p: &Paging| p.rows.is_empty() && p.queues.iter().all(|queue| queue.ended);
        if self.paging.as_ref().is_some_and(ended) {
            self.paging = None;
        }
    }
}

impl Paging {
    fn new(upto: u64) -> Self {
        let queue = Queue { after: None, ended: false };
        Self { upto, rows: BTreeMap::new(), queues: [queue; Class::ALL.len()], asking: false }
    }

    /// The queue that has been read least far.
    fn lowest(&self) -> Option<(usize, &Queue)> {
        let open = self.queues.iter().enumerate().filter(|(_, queue)| !queue.ended);
        open.min_by_key(|(_, queue)| queue.after)
    }

    /// Up to which niceness all has been read, but for more of the same.
    fn certain(&self) -> u8 {
        match self.lowest() {
            None => u8::MAX,
            Some((_, queue)) => queue.after.map_or(0, |after| after.nice),
        }
    }

    /// The rows than which no queue can show a more urgent one.
    fn take_certain(&mut self) -> Vec<Row> {
        let after = match self.lowest() {
            None => return std::mem::take(&mut self.rows).into_values().collect(),
            Some((_, queue)) => queue.after,
        };
        let Some(after) = after else { return Vec::new() };
        let beyond = Place { arrival: after.arrival.saturating_add(1), ..after };
        let rest = self.rows.split_off(&beyond);
        std::mem::replace(&mut self.rows, rest).into_values().collect()
    }
}

/// Rows asked for at once.
pub(crate) const PAGE_ROWS: usize = ROWS_MAX;

fn place(row: &Row) -> Place {
    Place { nice: row.nice, arrival: row.arrival }
}

#[cfg(test)]
mod tests {
    use postrider_base::{BundleId, bundle::Hop};

    use super::*;
    use crate::node::Destination;

    fn row(arrival: u64) -> Row {
        let nice = u8::try_from(arrival * 37 % 255 + 1).unwrap();
        let mut id = [0; 32];
        id[..8].copy_from_slice(&arrival.to_be_bytes());
        Row {
            id: BundleId(id),
            destination: Destination::Group([0; 16]),
            tagged_for: None,
            source: None,
            nice,
            lifetime_s: 100,
            length: 1,
            hop: Hop::fresh(),
            class: Class::ALL[usize::try_from(arrival % 4).unwrap()],
            from: None,
            arrived_held_ms: 0,
            arrival,
        }
    }

    /// Answers all questions from a spool with these arrivals; all rows in the order given out.
    fn drain(backlog: &mut Backlog, spool: &[Row], upto: u64) -> Vec<Place> {
        let mut out = Vec::new();
        loop {
            while let Some(row) = backlog.next() {
                out.push(place(&row));
            }
            match backlog.question() {
                Some(Question::Since { after, generation }) => {
                    let mut rows: Vec<Row> =
                        spool.iter().filter(|r| r.arrival > after).cloned().collect();
                    let more = rows.len() > PAGE_ROWS;
                    rows.truncate(PAGE_ROWS);
                    if backlog.take_since(generation, rows, more, upto, |_| true) {
                        backlog.restart(0);
                    }
                }
                Some(Question::Page { class, after, generation }) => {
                    let mut rows: Vec<Row> = spool
                        .iter()
                        .filter(|r| r.class == class && after.is_none_or(|a| place(r) > a))
                        .cloned()
                        .collect();
                    rows.sort_by_key(place);
                    let more = rows.len() > PAGE_ROWS;
                    rows.truncate(PAGE_ROWS);
                    backlog.take_page((generation, class), rows, more, |_| true);
                }
                None => return out,
            }
        }
    }

    #[test]
    fn every_row_behind_the_cursor_is_offered_once_in_order() {
        for count in [0_u64, 1, 1024, 1025, 4096, 5000, 20_000] {
            let spool: Vec<Row> = (1..=count).map(row).collect();
            for after in [0, count / 3] {
                let mut backlog = Backlog::new(None);
                backlog.restart(after);
                let out = drain(&mut backlog, &spool, count);
                let mut expected: Vec<Place> =
                    spool.iter().filter(|r| r.arrival > after).map(place).collect();
                expected.sort();
                assert!(out.is_sorted_by_key(|place| place.nice), "{count} rows after {after}");
                let mut out = out;
                out.sort();
                assert!(out == expected, "{count} rows after {after}");
                assert_eq!(backlog.exhausted_to(), Some(count));
            }
        }
    }

    #[test]
    fn what_arrives_later_is_offered_and_nothing_twice() {
        let spool: Vec<Row> = (1..=6000).map(row).collect();
        let mut backlog = Backlog::new(None);
        backlog.restart(0);
        assert_eq!(drain(&mut backlog, &spool[..5000], 5000).len(), 5000);
        backlog.note_arrival();
        assert_eq!(drain(&mut backlog, &spool, 6000).len(), 1000);
    }

    #[test]
    fn a_cursor_beyond_our_numbering_counts_for_nothing() {
        let spool: Vec<Row> = (1..=10).map(row).collect();
        let mut backlog = Backlog::new(None);
        backlog.restart(99);
        assert_eq!(drain(&mut backlog, &spool, 10).len(), 10);
    }

    #[test]
    fn an_answer_to_an_older_question_is_void() {
        let mut backlog = Backlog::new(None);
        backlog.restart(0);
        let Some(Question::Since { generation, .. }) = backlog.question() else { panic!() };
        backlog.restart(5);
        assert!(!backlog.take_since(generation, vec![row(1)], false, 9, |_| true));
        assert!(backlog.next().is_none() && backlog.exhausted_to().is_none());
    }
}
