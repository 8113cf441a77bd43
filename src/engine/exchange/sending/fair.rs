//! Rows in the order in which a neighbour is offered them: by niceness; among the equally nice what is
//! this node's own or for the neighbour itself; then in turns by who brought them, and for each of
//! those in turns by who wrote them. So whoever floods waits for itself, whatever names it takes.

use std::collections::{BTreeMap, BTreeSet};

use crate::node::{Class, Row, near::recipient};

/// A row counts as so many bytes at least: offering it costs something.
const COST_MIN: u64 = 512;

/// Who brought a row, or who wrote it; `None` where nobody is proven or named.
type Key = Option<[u8; 32]>;

/// Rows by turns.
#[derive(Debug, Default)]
pub(super) struct Fair {
    levels: BTreeMap<u8, Level>,
    count: usize,
}

/// The rows of one niceness.
#[derive(Debug, Default)]
struct Level {
    /// By arrival: what takes no turns.
    ahead: BTreeMap<u64, Row>,
    turns: Turns<Turns<BTreeMap<u64, Row>>>,
}

/// Some that take turns: whoever had least so far is next.
#[derive(Debug)]
struct Turns<T> {
    order: BTreeSet<(u64, Key)>,
    members: BTreeMap<Key, (u64, T)>,
    /// What the last one had had when it was its turn: where a newcomer begins.
    now: u64,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { order: BTreeSet::new(), members: BTreeMap::new(), now: 0 }
    }
}

impl<T: Default> Turns<T> {
    fn member(&mut self, key: Key) -> &mut T {
        let now = self.now;
        let (_, member) = self.members.entry(key).or_insert_with(|| {
            self.order.insert((now, key));
            (now, T::default())
        });
        member
    }

    /// Whose turn it is takes something: `take` says what it cost, and whether anything is left.
    fn take(&mut self, take: impl FnOnce(&mut T) -> Option<(Row, bool)>) -> Option<(Row, bool)> {
        let (had, key) = self.order.pop_first()?;
        self.now = had;
        let (_, member) = self.members.get_mut(&key)?;
        let (row, is_left) = take(member)?;
        if is_left {
            let had = had.saturating_add(row.length.max(COST_MIN));
            self.members.entry(key).and_modify(|(before, _)| *before = had);
            self.order.insert((had, key));
        } else {
            self.members.remove(&key);
        }
        Some((row, !self.order.is_empty()))
    }
}

impl Fair {
    /// One more row; once only.
    pub fn push(&mut self, row: Row, peer: Key) {
        let level = self.levels.entry(row.nice).or_default();
        let is_ahead = row.class == Class::Own || peer.is_some() && recipient(&row) == peer;
        let by_arrival = if is_ahead {
            &mut level.ahead
        } else {
            level.turns.member(row.from).member(row.source)
        };
        if by_arrival.insert(row.arrival, row).is_none() {
            self.count += 1;
        }
    }

    /// The next row, if there is any as urgent as this or more.
    pub fn pop(&mut self, nice_max: u8) -> Option<Row> {
        let mut first = self.levels.first_entry().filter(|level| *level.key() <= nice_max)?;
        let level = first.get_mut();
        let row = match level.ahead.pop_first() {
            Some((_, row)) => row,
            None => {
                let by_source = |sources: &mut Turns<_>| {
                    sources.take(|rows: &mut BTreeMap<u64, Row>| {
                        let (_, row) = rows.pop_first()?;
                        Some((row, !rows.is_empty()))
                    })
                };
                level.turns.take(by_source)?.0
            }
        };
        if level.ahead.is_empty() && level.turns.order.is_empty() {
            first.remove();
        }
        self.count -= 1;
        Some(row)
    }

    /// Whether there is any as urgent as this or more.
    pub fn has(&self, nice_max: u8) -> bool {
        self.levels.first_key_value().is_some_and(|(nice, _)| *nice <= nice_max)
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;

    use super::*;

    fn key(n: u8) -> [u8; 32] {
        *NodeSecret::from_seed([n; 32]).id().as_bytes()
    }

    fn row(arrival: u64, from: u8, source: u8) -> Row {
        let to = NodeSecret::from_seed([99; 32]).id();
        let source = Some(key(source));
        Row { arrival, from: Some(key(from)), source, ..crate::router::tests::row(&to, None) }
    }

    fn drain(fair: &mut Fair) -> Vec<u64> {
        std::iter::from_fn(|| fair.pop(u8::MAX)).map(|row| row.arrival).collect()
    }

    #[test]
    fn a_flood_waits_for_itself_whatever_names_it_takes() {
        let mut fair = Fair::default();
        // Neighbour 1 brings 100 bundles of 100 authors, neighbour 2 three of one, then comes more.
        (0..100).for_each(|n| fair.push(row(n.into(), 1, n), None));
        (100..103).for_each(|n| fair.push(row(n, 2, 200), None));
        let order = drain(&mut fair);
        let at = |arrival: u64| order.iter().position(|a| *a == arrival).unwrap();
        assert!(at(102) <= 5, "{order:?}");
        assert_eq!(order.len(), 103);
        assert!(fair.is_empty() && fair.levels.is_empty());
    }

    #[test]
    fn of_one_neighbour_every_author_has_its_turn() {
        let mut fair = Fair::default();
        (0..50).for_each(|n| fair.push(row(n, 1, 10), None));
        fair.push(row(50, 1, 11), None);
        assert!(drain(&mut fair).iter().position(|a| *a == 50).unwrap() <= 1);
    }

    #[test]
    fn long_ones_take_longer_turns_and_a_newcomer_owes_nothing() {
        let mut fair = Fair::default();
        (0..4).for_each(|n| fair.push(Row { length: 4096, ..row(n, 1, 1) }, None));
        (10..30).for_each(|n| fair.push(row(n, 2, 2), None));
        let first: Vec<_> = (0..9).map(|_| fair.pop(u8::MAX).unwrap().arrival).collect();
        let long = first.iter().filter(|arrival| **arrival < 4).count();
        assert_eq!(long, 1, "{first:?}");
        (40..45).for_each(|n| fair.push(row(n, 3, 3), None));
        let rest = drain(&mut fair);
        let at = |arrival: u64| rest.iter().position(|a| *a == arrival).unwrap();
        assert!(at(44) < at(29) && at(19) < at(44), "{rest:?}");
    }

    #[test]
    fn urgent_goes_first_then_own_and_what_is_for_the_neighbour() {
        let mut fair = Fair::default();
        let peer = Some(key(99));
        fair.push(row(1, 1, 1), None);
        fair.push(Row { class: Class::Own, ..row(2, 1, 1) }, None);
        fair.push(row(3, 1, 1), peer);
        fair.push(Row { nice: 96, ..row(4, 1, 1) }, None);
        assert_eq!(fair.pop(95), None);
        assert_eq!(drain(&mut fair), [4, 2, 3, 1]);
        // The same row again is no other.
        fair.push(row(1, 1, 1), None);
        fair.push(row(1, 1, 1), None);
        assert_eq!((fair.len(), drain(&mut fair)), (1, vec![1]));
    }
}
