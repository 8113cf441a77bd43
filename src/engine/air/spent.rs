//! What one account has spent within a sliding hour or day, in slots so few that all of it is written
//! each time.
//!
//! What was spent counts from the end of the slot in which it ended, so it counts up to one slot
//! longer than it must and never shorter. What is booked, and not known to have ended, counts always.

use std::collections::VecDeque;

/// Slots of a span; one more is held, which has begun to leave it.
pub(super) const SLOTS: u64 = 120;

/// How long what is spent counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// An hour, in slots of 30 s: airtime.
    Hour,
    /// A day, in slots of 12 minutes: money.
    Day,
}

impl Span {
    /// How long a slot is. A hundred and twentieth of what is spent in a span is lost by it at most.
    pub const fn slot_ms(self) -> u64 {
        match self {
            Self::Hour => 30_000,
            Self::Day => 720_000,
        }
    }

    /// How long it is.
    pub const fn ms(self) -> u64 {
        self.slot_ms() * SLOTS
    }

    /// When what was spent in a slot no longer counts.
    fn free_ms(self, slot: u64) -> u64 {
        slot.saturating_add(1 + SLOTS).saturating_mul(self.slot_ms())
    }
}

/// An account: amounts are microseconds or thousandths of money, as its owner likes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spent {
    span: Span,
    /// Slot and amount, the oldest first; at most 121, none empty.
    slots: VecDeque<(u64, u32)>,
    /// Booked, and not known to have ended.
    open: u64,
}

impl Spent {
    pub fn new(span: Span) -> Self {
        Self { span, slots: VecDeque::new(), open: 0 }
    }

    /// One that was read back.
    pub fn restore(span: Span, slots: VecDeque<(u64, u32)>) -> Self {
        Self { span, slots, open: 0 }
    }

    /// Lets go of what no longer counts.
    pub fn forget(&mut self, at_ms: u64) {
        while self.slots.front().is_some_and(|(slot, _)| self.span.free_ms(*slot) <= at_ms) {
            self.slots.pop_front();
        }
    }

    /// So much may be under way from now on.
    pub fn open(&mut self, amount: u64) {
        self.open = self.open.saturating_add(amount);
    }

    /// What was booked as `booked` has ended by now and was `amount`.
    pub fn close(&mut self, at_ms: u64, booked: u64, amount: u64) {
        self.open = self.open.saturating_sub(booked);
        self.note(at_ms, amount);
    }

    fn note(&mut self, at_ms: u64, amount: u64) {
        let amount = u32::try_from(amount).unwrap_or(u32::MAX);
        let slot = at_ms / self.span.slot_ms();
        match self.slots.back_mut() {
            _ if amount == 0 => {}
            // More than fits into a slot is more than any limit: it stays at the most.
            Some((last, held)) if *last >= slot => *held = held.saturating_add(amount),
            _ => self.slots.push_back((slot, amount)),
        }
    }

    /// All that counts.
    pub fn total(&self) -> u64 {
        let closed: u64 = self.slots.iter().map(|(_, amount)| u64::from(*amount)).sum();
        closed.saturating_add(self.open)
    }

    /// When so much at most counts, if nothing more is spent; none if that is now. What is open is
    /// taken as if it ended now.
    pub fn down_to(&self, at_ms: u64, most: u64) -> Option<u64> {
        let mut total = self.total();
        if total <= most {
            return None;
        }
        for (slot, amount) in &self.slots {
            total -= u64::from(*amount);
            if total <= most {
                return Some(self.span.free_ms(*slot));
            }
        }
        Some(self.span.free_ms(at_ms / self.span.slot_ms()))
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.open == 0
    }

    pub fn slots(&self) -> &VecDeque<(u64, u32)> {
        &self.slots
    }

    pub fn opened(&self) -> u64 {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_for_at_least_an_hour_and_at_most_a_slot_longer() {
        for ended_ms in [0, 1, 29_999, 30_000, 1_234_567] {
            let mut spent = Spent::new(Span::Hour);
            spent.open(9);
            spent.close(ended_ms, 9, 7);
            spent.forget(ended_ms + 3_600_000);
            assert_eq!(spent.total(), 7, "{ended_ms}");
            let free_ms = spent.down_to(ended_ms, 0).unwrap();
            assert!((ended_ms + 3_600_001..=ended_ms + 3_630_000).contains(&free_ms));
            spent.forget(free_ms - 1);
            assert_eq!(spent.total(), 7);
            spent.forget(free_ms);
            assert!(spent.is_empty());
        }
    }

    #[test]
    fn what_is_open_counts_however_long_it_takes() {
        let mut spent = Spent::new(Span::Hour);
        spent.open(5);
        spent.forget(u64::MAX);
        assert_eq!(spent.total(), 5);
        assert_eq!(spent.down_to(60_000, 4), Some(3_690_000));
        spent.close(60_000, 5, 3);
        assert_eq!(spent.total(), 3);
        assert_eq!(spent.down_to(60_000, 3), None);
    }

    #[test]
    fn says_when_enough_of_it_has_left() {
        let mut spent = Spent::new(Span::Hour);
        for (ms, amount) in [(0, 10), (40_000, 20), (70_000, 30)] {
            spent.close(ms, 0, amount);
        }
        assert_eq!(spent.down_to(70_000, 60), None);
        assert_eq!(spent.down_to(70_000, 50), Some(3_630_000));
        assert_eq!(spent.down_to(70_000, 49), Some(3_660_000));
        assert_eq!(spent.down_to(70_000, 30), Some(3_660_000));
        assert_eq!(spent.down_to(70_000, 0), Some(3_690_000));
    }

    #[test]
    fn holds_few_slots_however_much_is_spent() {
        let mut spent = Spent::new(Span::Hour);
        for ms in (0..20_000_000).step_by(997) {
            spent.forget(ms);
            spent.close(ms, 0, u64::MAX);
            assert!(spent.slots().len() <= 121);
        }
        assert_eq!(spent.slots().len(), 121);
        assert!(spent.total() >= u64::from(u32::MAX));
        assert_eq!(Span::Day.ms(), 86_400_000);
    }
}
