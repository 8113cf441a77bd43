//! Time: one queue of what will happen, ordered by time, then by who asked first.

use std::{cmp::Ordering, collections::BinaryHeap};

/// Everything that is still to happen. Nothing else in a world has a clock.
#[derive(Debug)]
pub struct Timeline<E> {
    heap: BinaryHeap<Due<E>>,
    next: u64,
    now_ms: u64,
}

#[derive(Debug)]
struct Due<E> {
    at_ms: u64,
    order: u64,
    event: E,
}

impl<E> Default for Timeline<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), next: 0, now_ms: 0 }
    }
}

impl<E> Timeline<E> {
    /// The world's time.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Something will happen at this time, or now if that has passed.
    pub fn at(&mut self, at_ms: u64, event: E) {
        self.next += 1;
        self.heap.push(Due { at_ms: at_ms.max(self.now_ms), order: self.next, event });
    }

    /// Something will happen so much later.
    pub fn after(&mut self, ms: u64, event: E) {
        self.at(self.now_ms.saturating_add(ms), event);
    }

    /// The next thing that happens, if it does until then. The time is then its time.
    pub fn next_until(&mut self, until_ms: u64) -> Option<E> {
        if self.heap.peek()?.at_ms > until_ms {
            return None;
        }
        let due = self.heap.pop()?;
        self.now_ms = due.at_ms;
        Some(due.event)
    }

    /// Nothing happens until then.
    pub fn pass_to(&mut self, at_ms: u64) {
        self.now_ms = self.now_ms.max(at_ms);
    }
}

// The heap gives the greatest first: the earliest is the greatest.
impl<E> Ord for Due<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ms, other.order).cmp(&(self.at_ms, self.order))
    }
}

impl<E> PartialOrd for Due<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Due<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Due<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_first_comes_first_and_of_equals_what_was_asked_first() {
        let mut time = Timeline::default();
        time.at(20, "c");
        time.at(10, "a");
        time.at(20, "d");
        time.at(10, "b");
        let mut seen = Vec::new();
        while let Some(event) = time.next_until(15) {
            seen.push((time.now_ms(), event));
        }
        assert_eq!(seen, [(10, "a"), (10, "b")]);
        time.pass_to(18);
        time.at(3, "late");
        let mut rest = Vec::new();
        while let Some(event) = time.next_until(100) {
            rest.push((time.now_ms(), event));
        }
        assert_eq!(rest, [(18, "late"), (20, "c"), (20, "d")]);
    }
}
