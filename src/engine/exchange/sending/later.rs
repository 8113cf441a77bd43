//! Rows that are offered to one neighbour later: it asked for a while, or another link takes them
//! meanwhile. What is left to another link may come to nothing there, so the neighbour's cursor waits
//! before it until all has been settled or retired.
//!
//! More may be left than can wait here. Those that do wait stand for the others: they are tried every
//! second, and when none is left any more, the spool is read again for the rest. Should the others be
//! for somebody else, the spool is read again in any case, ever more seldom.

use std::collections::{BTreeMap, BTreeSet};

use crate::node::{Row, ShortId, near::LOOK_EVERY_MS};

/// Rows that wait for their next try: 300 KiB for each link.
const LATER_MAX: usize = 1024;
/// The spool is read again for what does not fit after a second, then after twice as long each time,
/// and at least so often: a link that works seldom ends, and all behind the first row is read.
const LOOK_AGAIN_MAX_MS: u64 = 60_000;

/// What waits, and for what the cursor does.
#[derive(Debug, Default)]
pub(super) struct Later {
    /// By arrival number, with when it is tried.
    rows: BTreeMap<u64, (u64, Row)>,
    /// When each is tried, and its arrival number.
    order: BTreeSet<(u64, u64)>,
    /// Those that were left to another link.
    left: BTreeSet<u64>,
    /// The first that was left to another link since all was settled last.
    first_left: Option<u64>,
    /// More was left than can wait here: when the spool is read again at the latest.
    look_ms: Option<u64>,
    /// How often it was, and nothing had changed.
    looks: u32,
}

impl Later {
    /// Whether another row can wait.
    pub fn has_room(&self) -> bool {
        self.rows.len() < LATER_MAX
    }

    /// Whether this row waits here, so that it need not be offered although it was read again.
    pub fn holds(&self, row: &Row) -> bool {
        self.rows.contains_key(&row.arrival)
    }

    /// The neighbour wants to be offered this then, if there is room.
    pub fn wait(&mut self, due_ms: u64, row: Row) {
        if self.has_room() {
            let arrival = row.arrival;
            self.remove(arrival);
            self.order.insert((due_ms, arrival));
            self.rows.insert(arrival, (due_ms, row));
        }
    }

    /// Another link takes this; whether it has is looked at in a second.
    pub fn leave(&mut self, now_ms: u64, row: Row) {
        let arrival = row.arrival;
        self.first_left = Some(self.first_left.map_or(arrival, |first| first.min(arrival)));
        if self.has_room() {
            self.wait(now_ms.saturating_add(LOOK_EVERY_MS), row);
            self.left.insert(arrival);
        } else if self.look_ms.is_none() {
            let pause_ms = LOOK_EVERY_MS.saturating_mul(1 << self.looks.min(16));
            self.look_ms = Some(now_ms.saturating_add(pause_ms.min(LOOK_AGAIN_MAX_MS)));
            self.looks = self.looks.saturating_add(1);
        }
    }

    /// It was retired.
    pub fn forget(&mut self, id: &ShortId) {
        let same = |(_, (_, row)): &(&u64, &(u64, Row))| row.short() == *id;
        if let Some(arrival) = self.rows.iter().find(same).map(|(arrival, _)| *arrival) {
            self.remove(arrival);
        }
    }

    /// The neighbour's cursor is elsewhere, and all behind it is looked at anew.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// A row whose time has come.
    pub fn next(&mut self, now_ms: u64) -> Option<Row> {
        let (_, arrival) = *self.order.first().filter(|(due_ms, _)| *due_ms <= now_ms)?;
        self.remove(arrival)
    }

    /// When something that was left does not wait here, and its time has come or all that waited for
    /// it is gone: behind which arrival number the spool is to be read again.
    pub fn look_again(&mut self, now_ms: u64) -> Option<u64> {
        let look_ms = self.look_ms?;
        let changed = self.left.is_empty();
        if !changed && now_ms < look_ms {
            return None;
        }
        self.looks = if changed { 0 } else { self.looks };
        self.look_ms = None;
        self.first_left.map(|first| first.saturating_sub(1))
    }

    /// All that was looked at has been settled.
    pub fn settled(&mut self) {
        (self.first_left, self.looks) = (None, 0);
    }

    /// Before which arrival number the cursor waits.
    pub fn first_left(&self) -> Option<u64> {
        self.first_left
    }

    /// Whether nothing waits, here or in the spool.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.look_ms.is_none()
    }

    /// When the first is to be tried.
    pub fn due(&self) -> Option<u64> {
        self.order.first().map(|(due_ms, _)| *due_ms)
    }

    /// When the spool is to be read again at the latest.
    pub fn look_due(&self) -> Option<u64> {
        self.look_ms
    }

    fn remove(&mut self, arrival: u64) -> Option<Row> {
        let (due_ms, row) = self.rows.remove(&arrival)?;
        self.order.remove(&(due_ms, arrival));
        self.left.remove(&arrival);
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::{BundleId, bundle::Hop};

    use super::*;
    use crate::node::{Class, Destination};

    fn row(arrival: u64) -> Row {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&arrival.to_be_bytes());
        Row {
            id: BundleId(id),
            destination: Destination::Node([2; 32]),
            tagged_for: None,
            source: None,
            nice: 160,
            lifetime_s: 100,
            length: 1,
            hop: Hop::fresh(),
            class: Class::Own,
            from: None,
            arrived_held_ms: 0,
            arrival,
        }
    }

    #[test]
    fn rows_come_when_they_are_due() {
        let mut later = Later::default();
        later.wait(2000, row(1));
        later.leave(0, row(2));
        assert_eq!(later.due(), Some(LOOK_EVERY_MS));
        assert_eq!(later.next(LOOK_EVERY_MS - 1), None);
        assert_eq!(later.next(LOOK_EVERY_MS), Some(row(2)));
        assert_eq!(later.next(LOOK_EVERY_MS), None);
        later.forget(&row(1).short());
        assert_eq!((later.next(9999), later.due()), (None, None));
    }

    #[test]
    fn a_row_waits_once() {
        let mut later = Later::default();
        later.leave(0, row(1));
        later.wait(50, row(1));
        assert!(later.holds(&row(1)) && !later.holds(&row(2)));
        assert_eq!(later.next(50), Some(row(1)));
        assert_eq!((later.next(9999), later.holds(&row(1))), (None, false));
    }

    #[test]
    fn the_cursor_waits_before_the_first_that_was_left_until_all_is_settled() {
        let mut later = Later::default();
        later.wait(10, row(1));
        assert_eq!(later.first_left(), None);
        later.leave(0, row(7));
        later.leave(0, row(5));
        later.leave(0, row(6));
        while later.next(LOOK_EVERY_MS).is_some() {}
        assert_eq!(later.first_left(), Some(5));
        later.settled();
        assert_eq!(later.first_left(), None);
    }

    /// Two more than fit, from the third on.
    fn overflown() -> Later {
        let mut later = Later::default();
        leave_all(&mut later, 0);
        later
    }

    fn leave_all(later: &mut Later, now_ms: u64) {
        let count = u64::try_from(LATER_MAX).unwrap() + 2;
        (3..3 + count).for_each(|arrival| later.leave(now_ms, row(arrival)));
    }

    #[test]
    fn what_does_not_fit_is_looked_for_when_the_rest_has_gone() {
        let mut later = overflown();
        assert_eq!(later.look_again(0), None);
        let rows = std::iter::from_fn(|| later.next(LOOK_EVERY_MS)).count();
        assert_eq!((rows, later.is_empty()), (LATER_MAX, false));
        assert_eq!(later.look_again(0), Some(2));
        assert_eq!((later.look_again(9999), later.is_empty()), (None, true));
    }

    #[test]
    fn what_the_neighbour_wants_later_does_not_keep_the_rest_from_being_looked_for() {
        let mut later = Later::default();
        later.wait(u64::MAX, row(1));
        leave_all(&mut later, 0);
        while later.next(LOOK_EVERY_MS).is_some() {}
        assert_eq!(later.look_again(0), Some(2));
    }

    #[test]
    fn while_nothing_changes_it_is_looked_for_ever_more_seldom() {
        let mut later = Later::default();
        let (mut looks, mut now_ms) = (Vec::new(), 0);
        for _ in 0..9 {
            leave_all(&mut later, now_ms);
            let due_ms = later.look_due().unwrap();
            assert_eq!(later.look_again(due_ms - 1), None);
            assert_eq!(later.look_again(due_ms), Some(2));
            looks.push((due_ms - now_ms) / 1000);
            now_ms = due_ms;
        }
        assert_eq!(looks, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        while later.next(u64::MAX).is_some() {}
        leave_all(&mut later, now_ms);
        while later.next(u64::MAX).is_some() {}
        assert_eq!(later.look_again(now_ms), Some(2), "something has changed");
        leave_all(&mut later, now_ms);
        assert_eq!(later.look_due(), Some(now_ms + 1000));
    }
}
