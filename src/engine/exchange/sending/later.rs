//! Rows that are offered to one neighbour later: it asked for a while, or another link takes them
//! meanwhile. What is left to another link may come to nothing there, so the neighbour's cursor waits
//! before it until all has been settled or retired.

use std::collections::BTreeMap;

use crate::node::{Row, ShortId};

/// Rows that wait for their next try: 256 KiB for each link.
const LATER_MAX: usize = 1024;

/// What waits, and for what the cursor does.
#[derive(Debug, Default)]
pub(crate) struct Later {
    /// When it is tried, and the arrival number.
    rows: BTreeMap<(u64, u64), Row>,
    /// The first that was left to another link since all was settled last.
    first_left: Option<u64>,
    /// More was left than can wait here: the spool is to be read again.
    overflown: bool,
}

impl Later {
    /// Whether another row can wait.
    pub fn has_room(&self) -> bool {
        self.rows.len() < LATER_MAX
    }

    /// The neighbour wants to be offered this then, if there is room.
    pub fn wait(&mut self, due_ms: u64, row: Row) {
        if self.has_room() {
            self.rows.insert((due_ms, row.arrival), row);
        }
    }

    /// Another link takes this; whether it has is looked at then.
    pub fn leave(&mut self, due_ms: u64, row: Row) {
        let arrival = row.arrival;
        self.first_left = Some(self.first_left.map_or(arrival, |first| first.min(arrival)));
        self.overflown |= !self.has_room();
        self.wait(due_ms, row);
    }

    /// It was retired.
    pub fn forget(&mut self, id: &ShortId) {
        self.rows.retain(|_, row| row.short() != *id);
    }

    /// The neighbour's cursor is elsewhere, and all behind it is looked at anew.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// A row whose time has come.
    pub fn next(&mut self, now_ms: u64) -> Option<Row> {
        let entry = self.rows.first_entry().filter(|entry| entry.key().0 <= now_ms)?;
        Some(entry.remove())
    }

    /// When nothing waits here any more but something does in the spool: behind which arrival number.
    pub fn look_again(&mut self) -> Option<u64> {
        let due = self.rows.is_empty() && std::mem::take(&mut self.overflown);
        self.first_left.filter(|_| due).map(|first| first.saturating_sub(1))
    }

    /// All that was looked at has been settled.
    pub fn settled(&mut self) {
        self.first_left = None;
    }

    /// Before which arrival number the cursor waits.
    pub fn first_left(&self) -> Option<u64> {
        self.first_left
    }

    /// Whether nothing waits, here or in the spool.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && !self.overflown
    }

    /// When the first is to be tried.
    pub fn due(&self) -> Option<u64> {
        self.rows.first_key_value().map(|((due, _), _)| *due)
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
        later.wait(20, row(1));
        later.leave(10, row(2));
        assert_eq!(later.due(), Some(10));
        assert_eq!(later.next(9), None);
        assert_eq!(later.next(10), Some(row(2)));
        assert_eq!(later.next(10), None);
        later.forget(&row(1).short());
        assert_eq!((later.next(99), later.due()), (None, None));
    }

    #[test]
    fn the_cursor_waits_before_the_first_that_was_left_until_all_is_settled() {
        let mut later = Later::default();
        later.wait(10, row(1));
        assert_eq!(later.first_left(), None);
        later.leave(10, row(7));
        later.leave(10, row(5));
        later.leave(10, row(6));
        while later.next(10).is_some() {}
        assert_eq!(later.first_left(), Some(5));
        later.settled();
        assert_eq!(later.first_left(), None);
    }

    #[test]
    fn what_does_not_fit_is_looked_for_again_when_the_rest_has_gone() {
        let mut later = Later::default();
        let count = u64::try_from(LATER_MAX).unwrap() + 2;
        for arrival in 3..3 + count {
            later.leave(10, row(arrival));
        }
        assert_eq!(later.look_again(), None);
        let rows = std::iter::from_fn(|| later.next(10)).count();
        assert_eq!((rows, later.is_empty()), (LATER_MAX, false));
        assert_eq!(later.look_again(), Some(2));
        assert_eq!((later.look_again(), later.is_empty()), (None, true));
    }
}
