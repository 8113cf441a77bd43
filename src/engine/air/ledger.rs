//! The ledger: what was spent of each account within a sliding span, and whether a frame may go.
//!
//! Airtime of each sub-band within an hour and money within a day are the same to it. It is never above
//! a limit, whatever is asked, and a crash does not make it forget:
//!
//! 1. [`Ledger::book`] counts a burst before it is sent, or says when there is room;
//! 2. the shell makes [`Ledger::encode`] durable, then sends;
//! 3. [`Ledger::settle`] says what was really spent; what was booked counts until then.
//!
//! So one write for each burst is enough, and whatever was booked before a crash is taken for spent in
//! full, at the moment at which the ledger was read again.
//!
//! Time is the custody clock: it runs while the machine does and never ahead of the true time, so what
//! is an hour by it was an hour at least. After a crash it may show less than before: what was spent
//! keeps its age, and ages on from there.

use std::collections::BTreeMap;

use super::{
    Lane, May, Span, Why,
    spent::Spent,
    stored::{self, StoredError},
};

/// Accounts of one ledger: more than one node has radios or tariffs.
pub(super) const ACCOUNTS_MAX: usize = 32;

/// An account, and what it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    key: u16,
    most: Option<u64>,
}

impl Limit {
    /// At most so much within the ledger's span, at most [`u32::MAX`]; none is no limit: it is only
    /// counted.
    pub fn new(key: u16, most: Option<u64>) -> Self {
        Self { key, most: most.map(|most| most.min(u64::from(u32::MAX))) }
    }

    /// The account.
    pub fn key(&self) -> u16 {
        self.key
    }

    /// What a lane may have of it.
    pub fn share(&self, lane: Lane) -> Option<u64> {
        self.most.map(|most| lane.share(most))
    }
}

/// What was booked. One that is dropped counts until the ledger is read again.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it counts until it is settled"]
pub struct Booking {
    key: u16,
    amount: u64,
}

impl Booking {
    /// How much.
    pub fn amount(&self) -> u64 {
        self.amount
    }
}

/// What was spent, by account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    pub(super) span: Span,
    /// Its own clock: goes on by what the custody clock goes on, and never back.
    pub(super) at_ms: u64,
    /// What the custody clock showed last.
    pub(super) seen_ms: u64,
    pub(super) accounts: BTreeMap<u16, Spent>,
}

impl Ledger {
    /// One of a node that has never sent anything. One whose file was lost or damaged is not that:
    /// see [`Ledger::exhaust`].
    pub fn new(span: Span, now_ms: u64) -> Self {
        // So far that every slot that counts has a number.
        Self { span, at_ms: span.ms() * 2, seen_ms: now_ms, accounts: BTreeMap::new() }
    }

    /// Reads what [`Self::encode`] wrote. What was not settled was spent now.
    pub fn decode(bytes: &[u8], span: Span, now_ms: u64) -> Result<Self, StoredError> {
        stored::decode(bytes, span, now_ms)
    }

    /// All of it, for the disk: at most 20 KiB, mostly some hundred bytes.
    pub fn encode(&self) -> Vec<u8> {
        stored::encode(self)
    }

    /// Takes all of an account for spent now, where what was spent is not known: nothing goes for a
    /// whole span of the custody clock.
    pub fn exhaust(&mut self, now_ms: u64, limit: Limit) {
        let Some(most) = limit.most else { return };
        let missing = most.saturating_sub(self.spent(now_ms, limit.key));
        let at_ms = self.at_ms;
        if let Some(spent) = self.account(limit.key) {
            spent.close(at_ms, 0, missing);
        }
    }

    /// What counts of an account.
    pub fn spent(&mut self, now_ms: u64, key: u16) -> u64 {
        self.look_at_clock(now_ms);
        self.accounts.get(&key).map_or(0, Spent::total)
    }

    /// What a lane may spend now; none if there is no limit.
    pub fn room(&mut self, now_ms: u64, limit: Limit, lane: Lane) -> Option<u64> {
        let spent = self.spent(now_ms, limit.key);
        limit.share(lane).map(|share| share.saturating_sub(spent))
    }

    /// Whether so much may be spent. Nothing is counted by asking.
    pub fn may(&mut self, now_ms: u64, limit: Limit, lane: Lane, amount: u64) -> May {
        self.look_at_clock(now_ms);
        if !self.accounts.contains_key(&limit.key) && self.accounts.len() >= ACCOUNTS_MAX {
            return May::Never(Why::Accounts);
        }
        let (Some(most), Some(share)) = (limit.most, limit.share(lane)) else { return May::Now };
        let Some(rest) = share.checked_sub(amount) else { return May::Never(Why::TooMuch) };
        let Some(spent) = self.accounts.get(&limit.key) else { return May::Now };
        let Some(free_ms) = spent.down_to(self.at_ms, rest) else { return May::Now };
        let fits = spent.total().checked_add(amount).is_some_and(|total| total <= most);
        let why = if fits { Why::Reserve } else { Why::Spent };
        May::At(now_ms.saturating_add(free_ms.saturating_sub(self.at_ms)), why)
    }

    /// How it stands with the first frame of each lane, by its amount: at most one may go now. Who has
    /// to wait is not overtaken by a lane behind it: short frames would keep a long one from ever
    /// having room.
    pub fn outlook(
        &mut self,
        now_ms: u64,
        limit: Limit,
        waiting: [Option<u64>; 4],
    ) -> [Option<May>; 4] {
        let mut ahead: Option<(Lane, u64)> = None;
        let mut told = [None; 4];
        for ((lane, amount), told) in Lane::ALL.into_iter().zip(waiting).zip(&mut told) {
            let Some(amount) = amount else { continue };
            let own = self.may(now_ms, limit, lane, amount);
            *told = Some(match (own, ahead) {
                (May::Never(_), _) | (_, None) => own,
                (May::At(at_ms, _), Some((_, until_ms))) if at_ms > until_ms => own,
                (_, Some((lane, until_ms))) => May::At(until_ms, Why::Behind(lane)),
            });
            ahead = ahead.or(match own {
                May::Now => Some((lane, now_ms)),
                May::At(at_ms, _) => Some((lane, at_ms)),
                May::Never(_) => None,
            });
        }
        told
    }

    /// Counts what is about to be spent, if it may be. Make the ledger durable before it is.
    pub fn book(
        &mut self,
        now_ms: u64,
        limit: Limit,
        lane: Lane,
        amount: u64,
    ) -> Result<Booking, May> {
        match self.may(now_ms, limit, lane, amount) {
            May::Now => {}
            not => return Err(not),
        }
        match self.account(limit.key) {
            Some(spent) => spent.open(amount),
            None => return Err(May::Never(Why::Accounts)),
        }
        Ok(Booking { key: limit.key, amount })
    }

    /// What was booked has ended, and was so much. If that is more than was booked it counts too: it
    /// was spent.
    pub fn settle(&mut self, now_ms: u64, booking: Booking, spent: u64) {
        self.look_at_clock(now_ms);
        if let Some(account) = self.accounts.get_mut(&booking.key) {
            account.close(self.at_ms, booking.amount, spent);
        }
    }

    /// An account, a new one if there is room.
    fn account(&mut self, key: u16) -> Option<&mut Spent> {
        if !self.accounts.contains_key(&key) && self.accounts.len() >= ACCOUNTS_MAX {
            return None;
        }
        Some(self.accounts.entry(key).or_insert_with(|| Spent::new(self.span)))
    }

    /// Goes on with the clock. One that stands still or goes back frees nothing.
    pub(super) fn look_at_clock(&mut self, now_ms: u64) {
        self.at_ms = self.at_ms.saturating_add(now_ms.saturating_sub(self.seen_ms));
        self.seen_ms = now_ms;
        for spent in self.accounts.values_mut() {
            spent.forget(self.at_ms);
        }
        self.accounts.retain(|_, spent| !spent.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;
    const HOUR_MS: u64 = 60 * MINUTE_MS;
    const SECOND: u64 = 1_000_000;

    /// One percent of an hour.
    fn limit() -> Limit {
        Limit::new(5, Some(36 * SECOND))
    }

    fn spend(ledger: &mut Ledger, now_ms: u64, lane: Lane, amount: u64) -> Result<(), May> {
        let booking = ledger.book(now_ms, limit(), lane, amount)?;
        ledger.settle(now_ms, booking, amount);
        Ok(())
    }

    #[test]
    fn each_lane_stops_at_its_reserve_and_says_why() {
        let mut ledger = Ledger::new(Span::Hour, 7);
        for (lane, seconds) in
            [(Lane::Bulk, 18), (Lane::Normal, 28), (Lane::Urgent, 32), (Lane::Sos, 36)]
        {
            while spend(&mut ledger, 7, lane, SECOND).is_ok() {}
            assert_eq!(ledger.spent(7, 5), seconds * SECOND, "{lane:?}");
        }
        // Of the slot that began with the clock of the ledger itself.
        let free_ms = 7 + HOUR_MS + 30_000;
        let may = |ledger: &mut Ledger, now_ms| ledger.may(now_ms, limit(), Lane::Sos, SECOND);
        assert_eq!(may(&mut ledger, 7), May::At(free_ms, Why::Spent));
        assert_eq!(may(&mut ledger, free_ms - 1), May::At(free_ms, Why::Spent));
        assert_eq!(may(&mut ledger, free_ms), May::Now);
        let sos = Lane::Sos;
        assert_eq!(ledger.may(free_ms, limit(), sos, 36 * SECOND + 1), May::Never(Why::TooMuch));
        assert_eq!(ledger.may(0, limit(), sos, u64::MAX), May::Never(Why::TooMuch));
    }

    #[test]
    fn what_is_kept_for_others_is_named_as_that() {
        let mut ledger = Ledger::new(Span::Hour, 0);
        spend(&mut ledger, 0, Lane::Bulk, 18 * SECOND).unwrap();
        let may = |lane| ledger.clone().may(0, limit(), lane, SECOND);
        assert_eq!(may(Lane::Bulk), May::At(HOUR_MS + 30_000, Why::Reserve));
        assert_eq!(may(Lane::Normal), May::Now);
        assert_eq!(ledger.room(0, limit(), Lane::Urgent), Some(14_400_000));
        assert_eq!(ledger.room(0, Limit::new(5, None), Lane::Bulk), None);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_frees_nothing() {
        let mut ledger = Ledger::new(Span::Hour, HOUR_MS);
        spend(&mut ledger, HOUR_MS, Lane::Sos, 36 * SECOND).unwrap();
        for _ in 0..1_000 {
            assert_eq!(ledger.spent(HOUR_MS, 5), 36 * SECOND);
        }
        // Half an hour passes, then it goes back to zero: half an hour and a slot are left.
        assert_eq!(ledger.spent(HOUR_MS * 3 / 2, 5), 36 * SECOND);
        assert_eq!(ledger.spent(0, 5), 36 * SECOND);
        let may = ledger.may(0, limit(), Lane::Sos, SECOND);
        assert_eq!(may, May::At(HOUR_MS / 2 + 30_000, Why::Spent));
    }

    #[test]
    fn what_was_booked_before_a_crash_was_spent_when_the_node_came_back() {
        let mut ledger = Ledger::new(Span::Hour, 0);
        let booking = ledger.book(0, limit(), Lane::Sos, 30 * SECOND).unwrap();
        let disk = ledger.encode();
        // Known to have been shorter, which was not written.
        assert_eq!(booking.amount(), 30 * SECOND);
        ledger.settle(1, booking, SECOND);
        assert_eq!(ledger.spent(1, 5), SECOND);

        let back_ms = 50 * MINUTE_MS;
        let mut ledger = Ledger::decode(&disk, Span::Hour, back_ms).unwrap();
        assert_eq!(ledger.spent(back_ms + HOUR_MS, 5), 30 * SECOND);
        assert_eq!(ledger.spent(back_ms + HOUR_MS + 30_000, 5), 0);
    }

    #[test]
    fn a_ledger_that_was_lost_is_taken_for_used_up() {
        let mut ledger = Ledger::new(Span::Hour, 9);
        ledger.exhaust(9, limit());
        ledger.exhaust(9, limit());
        assert_eq!(ledger.spent(9, 5), 36 * SECOND);
        assert!(matches!(ledger.may(9, limit(), Lane::Sos, 1), May::At(_, Why::Spent)));
    }

    #[test]
    fn accounts_know_nothing_of_each_other_and_end_when_they_are_empty() {
        let mut ledger = Ledger::new(Span::Hour, 0);
        spend(&mut ledger, 0, Lane::Sos, 36 * SECOND).unwrap();
        assert_eq!(ledger.may(0, Limit::new(6, Some(SECOND)), Lane::Sos, SECOND), May::Now);
        // Nothing was spent of these, and they can be written and read.
        let nothing = ledger.book(0, Limit::new(7, None), Lane::Sos, 0).unwrap();
        let unused = ledger.book(0, Limit::new(8, None), Lane::Sos, 9).unwrap();
        ledger.settle(0, nothing, 0);
        ledger.settle(0, unused, 0);
        let read = Ledger::decode(&ledger.encode(), Span::Hour, 0).unwrap();
        assert_eq!(read.accounts.keys().collect::<Vec<_>>(), [&5]);
        assert_eq!(ledger.spent(2 * HOUR_MS, 5), 0);
        assert!(ledger.accounts.is_empty());
    }

    #[test]
    fn who_waits_is_not_overtaken_by_those_behind_it() {
        let mut ledger = Ledger::new(Span::Hour, 0);
        spend(&mut ledger, 0, Lane::Normal, 20 * SECOND).unwrap();
        spend(&mut ledger, MINUTE_MS, Lane::Normal, 5 * SECOND).unwrap();
        let now_ms = 2 * MINUTE_MS;
        // A long urgent one needs the first minute's; a short normal one would fit now.
        let waiting = [None, Some(10 * SECOND), Some(SECOND), Some(15 * SECOND)];
        let told = ledger.outlook(now_ms, limit(), waiting);
        let first_ms = HOUR_MS + 30_000;
        let behind = May::At(first_ms, Why::Behind(Lane::Urgent));
        assert_eq!(told[..3], [None, Some(May::At(first_ms, Why::Reserve)), Some(behind)]);
        // Bulk waits for longer than that: its own reason stands.
        assert_eq!(told[3], Some(May::At(first_ms + MINUTE_MS, Why::Spent)));
        // What can never go keeps nobody waiting.
        let told = ledger.outlook(now_ms, limit(), [Some(99 * SECOND), None, Some(SECOND), None]);
        assert_eq!(told[0], Some(May::Never(Why::TooMuch)));
        assert_eq!(told[2], Some(May::Now));
        // Of several that could go, the most urgent does.
        let told = ledger.outlook(now_ms, limit(), [Some(1), Some(1), None, Some(1)]);
        assert_eq!(told[0], Some(May::Now));
        assert_eq!(told[1], Some(May::At(now_ms, Why::Behind(Lane::Sos))));
        assert!(matches!(told[3], Some(May::At(_, Why::Reserve))));
    }
}
