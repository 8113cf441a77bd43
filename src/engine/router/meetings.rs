//! Whom this node meets how often, and what its neighbours say of whom they meet.
//!
//! ```text
//! rate(k)   distinct meetings with k, each worth half after seven days
//! near(d) = rate(d) + 1/16 of the sum over neighbours k of min(rate(k), near of k to d, as k says)
//! ```
//!
//! Two meetings less than half an hour apart are one; a meeting that lasts counts every half hour.
//! Time is the custody clock: it runs while the node does, no wall clock is asked, and it goes on
//! after a restart.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use postrider_base::NodeId;

use super::level::{NodeHint, ONE, amount, hint, level};
use crate::node::Now;

/// After so long a meeting is worth half (PRoPHET's usual ageing forgets over night).
pub(super) const HALF_LIFE_MS: u64 = 7 * 24 * 3600 * 1000;
/// A half-life in so many steps.
const DECAY_STEPS: u64 = 64;
/// 2^(-1/DECAY_STEPS) in parts of 2^16.
const DECAY: u64 = 64_830;
/// Who is met this often a month is worth one meeting in the long run: a half-life over the logarithm of
/// two is a third of a month.
const ONCE_A_MONTH: u32 = 3;
/// What is closer together is one meeting.
pub(crate) const DISTINCT_MS: u64 = 30 * 60 * 1000;
/// What it is worth to meet somebody who meets a third is one part of so many of that: of 1, 4, 16
/// and 64 the one with which most mail arrives in made-up towns and after disasters, at least cost.
const OVER: u32 = 16;
/// What a neighbour says at most: 9 KiB.
pub const MEETS_MAX: usize = 1024;
/// Of whom this node tells, and of whom it believes a neighbour: as many as meet at a conference.
const LIST_MAX: usize = 512;
/// Nodes whose meetings are remembered; beyond, the one met least goes.
const OWN_MAX: usize = 1024;
/// Neighbours whose word is kept; beyond, that of the one met least goes: 512 KiB.
const TOLD_MAX: usize = 64;

/// What it is worth to carry what names nobody, a hidden bundle or one for a group: as if its recipient
/// had been met once, so that it neither goes first of all nor stays before what is known to arrive.
pub const WORTH_UNKNOWN: u8 = 49;

/// Meetings with one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meeting {
    /// What they were worth at `counted_ms`, in parts of 1024.
    pub worth: u32,
    /// When the last one counted, by the custody clock.
    pub counted_ms: u64,
}

/// All that is known of who meets whom.
#[derive(Debug, Default)]
pub(super) struct Meetings {
    /// Whose they are: what others say of it tells it nothing.
    me: NodeHint,
    own: BTreeMap<NodeHint, (NodeId, Meeting)>,
    /// What the owner says that meetings are worth.
    expected: BTreeMap<NodeHint, u32>,
    /// Who is here now.
    here: BTreeSet<NodeId>,
    told: BTreeMap<NodeId, Told>,
    /// The sums over neighbours, as of the moments in which they spoke.
    over: BTreeMap<NodeHint, u32>,
    /// When all sums were made anew.
    summed_ms: u64,
    /// What has changed and is not remembered yet.
    changed: BTreeMap<NodeId, Meeting>,
}

/// What a neighbour says, by hint.
#[derive(Debug)]
struct Told {
    list: Vec<(NodeHint, u8)>,
    /// The rate with which it went into the sums.
    rate: u32,
}

impl Meeting {
    /// What the owner says: so many a month, from now on and in the long run.
    pub fn expected(per_month: u16) -> u8 {
        level(u32::from(per_month) * ONE / ONCE_A_MONTH)
    }

    /// What they are worth by the custody clock, as a level.
    pub fn level_at(&self, held_ms: u64) -> u8 {
        level(self.worth_at(held_ms))
    }

    fn worth_at(&self, held_ms: u64) -> u32 {
        const STEP_MS: u64 = HALF_LIFE_MS / DECAY_STEPS;
        let age_ms = held_ms.saturating_sub(self.counted_ms);
        let steps = age_ms / STEP_MS;
        let halves = u32::try_from(steps / DECAY_STEPS).unwrap_or(u32::MAX);
        let mut worth = u64::from(self.worth).checked_shr(halves).unwrap_or(0);
        (0..steps % DECAY_STEPS).for_each(|_| worth = (worth * DECAY) >> 16);
        // In between evenly: every meeting begins a new step, and who is met within one would never age.
        let part = ((age_ms % STEP_MS) << 16) / STEP_MS;
        worth -= (worth * ((1 << 16) - DECAY) * part) >> 32;
        u32::try_from(worth).unwrap_or(u32::MAX)
    }
}

impl Meetings {
    /// Of this node, which has met nobody.
    pub fn new(me: &NodeId) -> Self {
        Self { me: hint(me), ..Self::default() }
    }

    /// What was remembered.
    pub fn restore(&mut self, list: impl IntoIterator<Item = (NodeId, Meeting)>) {
        let list = list.into_iter().take(OWN_MAX);
        self.own.extend(list.map(|(node, meeting)| (hint(&node), (node, meeting))));
    }

    /// How often a month the owner says that nodes are met, and of nobody else.
    pub fn expect(&mut self, said: impl IntoIterator<Item = (NodeId, u16)>) {
        let said = said.into_iter().filter(|(_, per_month)| *per_month > 0);
        let worth = |per_month: u16| u32::from(per_month) * ONE / ONCE_A_MONTH;
        self.expected = said.map(|(node, n)| (hint(&node), worth(n))).collect();
    }

    /// Somebody came.
    pub fn begin(&mut self, now: Now, node: NodeId) {
        self.here.insert(node);
        self.count(now, node);
    }

    /// Somebody went.
    pub fn end(&mut self, now: Now, node: &NodeId) {
        self.count(now, *node);
        self.here.remove(node);
    }

    /// A neighbour says whom it meets.
    pub fn tell(&mut self, now: Now, node: NodeId, mut list: Vec<(NodeHint, u8)>) {
        list.truncate(LIST_MAX);
        list.retain(|(to, _)| *to != self.me);
        list.sort_unstable();
        list.dedup_by_key(|(hint, _)| *hint);
        self.forget(&node);
        if self.told.len() >= TOLD_MAX {
            let least = self.told.keys().min_by_key(|other| self.rate(hint(other), now)).copied();
            least.iter().for_each(|least| self.forget(least));
        }
        let told = Told { list, rate: self.rate(hint(&node), now) };
        add(&mut self.over, &told);
        self.told.insert(node, told);
    }

    /// How near this node is to another.
    pub fn mine(&self, now: Now, to: NodeHint) -> u8 {
        let over = self.over.get(&to).map_or(0, |over| over / OVER);
        level(self.rate(to, now).saturating_add(over))
    }

    /// How near a neighbour is to another, as it says.
    pub fn theirs(&self, neighbour: &NodeId, to: NodeHint) -> u8 {
        let Some(Told { list, .. }) = self.told.get(neighbour) else { return 0 };
        let at = list.binary_search_by_key(&to, |(known, _)| *known);
        at.ok().and_then(|at| list.get(at)).map_or(0, |(_, level)| *level)
    }

    /// To whom a neighbour is nearer than this node, nearest first.
    pub fn nearer(&self, now: Now, neighbour: &NodeId) -> Vec<NodeHint> {
        let Some(Told { list, .. }) = self.told.get(neighbour) else { return Vec::new() };
        let nearer = list.iter().filter(|(to, level)| *level > self.mine(now, *to));
        let mut nearer: Vec<_> = nearer.collect();
        nearer.sort_unstable_by_key(|(to, level)| (Reverse(*level), *to));
        nearer.into_iter().map(|(to, _)| *to).collect()
    }

    /// To whom this node is nearest.
    pub fn list(&mut self, now: Now) -> Vec<(NodeHint, u8)> {
        let here: Vec<_> = self.here.iter().copied().collect();
        here.into_iter().for_each(|node| self.count(now, node));
        if now.held_ms >= self.summed_ms.saturating_add(DISTINCT_MS) {
            self.sum(now);
        }
        let known = self
            .own
            .keys()
            .chain(self.over.keys())
            .chain(self.expected.keys())
            .collect::<BTreeSet<_>>();
        let levels = known.into_iter().map(|to| (*to, self.mine(now, *to)));
        let mut list: Vec<_> = levels.filter(|(_, level)| *level > 0).collect();
        let order = |(to, level): &(NodeHint, u8)| (Reverse(*level), *to);
        if list.len() > LIST_MAX {
            list.select_nth_unstable_by_key(LIST_MAX, order);
            list.truncate(LIST_MAX);
        }
        list.sort_unstable_by_key(order);
        list
    }

    /// What is to be remembered.
    pub fn changed(&mut self) -> BTreeMap<NodeId, Meeting> {
        std::mem::take(&mut self.changed)
    }

    fn rate(&self, to: NodeHint, now: Now) -> u32 {
        let met = self.own.get(&to).map_or(0, |(_, meeting)| meeting.worth_at(now.held_ms));
        met.max(self.expected.get(&to).copied().unwrap_or(0))
    }

    fn count(&mut self, now: Now, node: NodeId) {
        let before = self.own.get(&hint(&node)).map(|(_, meeting)| *meeting);
        if before.is_some_and(|m| now.held_ms < m.counted_ms.saturating_add(DISTINCT_MS)) {
            return;
        }
        if before.is_none() && self.own.len() >= OWN_MAX {
            let worth = |(_, (_, m)): &(&NodeHint, &(NodeId, Meeting))| m.worth_at(now.held_ms);
            let least = self.own.iter().min_by_key(worth).map(|(hint, _)| *hint);
            if let Some((node, _)) = least.and_then(|least| self.own.remove(&least)) {
                self.changed.insert(node, Meeting::default());
            }
        }
        let worth = before.map_or(0, |m| m.worth_at(now.held_ms)).saturating_add(ONE);
        let meeting = Meeting { worth, counted_ms: now.held_ms };
        self.own.insert(hint(&node), (node, meeting));
        self.changed.insert(node, meeting);
    }

    fn forget(&mut self, node: &NodeId) {
        let Some(told) = self.told.remove(node) else { return };
        for (to, level) in &told.list {
            if let Some(over) = self.over.get_mut(to) {
                *over = over.saturating_sub(told.rate.min(amount(*level)));
                if *over == 0 {
                    self.over.remove(to);
                }
            }
        }
    }

    /// Makes all sums anew: meetings have aged.
    fn sum(&mut self, now: Now) {
        self.summed_ms = now.held_ms;
        self.over.clear();
        let mut told = std::mem::take(&mut self.told);
        for (node, told) in &mut told {
            told.rate = self.rate(hint(node), now);
            add(&mut self.over, told);
        }
        self.told = told;
    }
}

fn add(over: &mut BTreeMap<NodeHint, u32>, told: &Told) {
    for (to, level) in &told.list {
        let over = over.entry(*to).or_default();
        *over = over.saturating_add(told.rate.min(amount(*level)));
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;

    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn node(n: u8) -> NodeId {
        NodeSecret::from_seed([n; 32]).id()
    }

    fn at(hours: u64) -> Now {
        Now { mono_ms: 0, held_ms: hours * HOUR_MS }
    }

    fn rate(meetings: &Meetings, n: u8, hours: u64) -> u32 {
        meetings.rate(hint(&node(n)), at(hours))
    }

    #[test]
    fn what_names_nobody_is_worth_one_meeting() {
        assert_eq!(WORTH_UNKNOWN, level(ONE));
        assert_eq!(WORTH_UNKNOWN, Meeting { worth: ONE, counted_ms: 5 }.level_at(5));
    }

    #[test]
    fn meetings_count_every_half_hour_and_are_worth_half_after_a_week() {
        let mut meetings = Meetings::default();
        let minutes = |m: u64| Now { mono_ms: 0, held_ms: m * 60_000 };
        meetings.begin(minutes(0), node(1));
        meetings.end(minutes(5), &node(1));
        meetings.begin(minutes(29), node(1));
        assert_eq!(rate(&meetings, 1, 0), ONE, "one meeting so far");
        meetings.end(minutes(31), &node(1));
        assert!(rate(&meetings, 1, 1).abs_diff(2 * ONE) <= ONE / 100);
        let after_a_week = rate(&meetings, 1, 7 * 24 + 1);
        assert!(after_a_week.abs_diff(ONE) <= ONE / 100, "{after_a_week}");
        assert_eq!(rate(&meetings, 1, u64::MAX / HOUR_MS), 0);
        // Somebody who stays is met again and again, also when nobody asks for long.
        meetings.begin(at(1), node(2));
        let _ = meetings.list(at(2));
        let _ = meetings.list(at(3));
        assert!(rate(&meetings, 2, 3) > 2 * ONE, "{}", rate(&meetings, 2, 3));
    }

    /// Whoever is here always is worth as much as that comes to, and not more with every half hour.
    #[test]
    fn frequent_meetings_age_as_well() {
        let mut meetings = Meetings::default();
        meetings.begin(at(0), node(1));
        let mut after = |days: u64| {
            (0..days * 48).for_each(|n| {
                let now = Now { mono_ms: 0, held_ms: (n + 1) * DISTINCT_MS };
                let _ = meetings.list(now);
            });
            rate(&meetings, 1, days * 24) / ONE
        };
        // 336 half hours in a half-life, over the logarithm of two.
        let (long, longer) = (after(100), after(200));
        assert!((475..=490).contains(&long), "{long}");
        assert!(longer.abs_diff(long) <= 1, "{longer}");
    }

    #[test]
    fn what_a_neighbour_says_counts_as_much_as_it_is_met_and_no_longer_than_it_says_so() {
        let mut meetings = Meetings::default();
        let far = hint(&node(9));
        let said = |meetings: u32| vec![(far, level(meetings * ONE))];
        meetings.begin(at(0), node(1));
        meetings.tell(at(0), node(1), said(50));
        let one = meetings.mine(at(0), far);
        assert_eq!(one, level(ONE / OVER), "met once: no more than one");
        meetings.begin(at(0), node(2));
        meetings.tell(at(0), node(2), said(1));
        assert!(meetings.mine(at(0), far) > one);
        assert_eq!(meetings.theirs(&node(1), far), level(50 * ONE));
        assert_eq!(meetings.nearer(at(0), &node(1)), [far]);
        meetings.tell(at(0), node(1), Vec::new());
        assert_eq!(meetings.mine(at(0), far), one);
        assert!(meetings.nearer(at(0), &node(1)).is_empty());
        // Nobody who was never met counts.
        meetings.tell(at(0), node(3), said(50));
        assert_eq!(meetings.mine(at(0), far), one);
    }

    #[test]
    fn sums_follow_what_ages() {
        let mut meetings = Meetings::default();
        let far = hint(&node(9));
        meetings.begin(at(0), node(1));
        meetings.end(at(0), &node(1));
        meetings.tell(at(0), node(1), vec![(far, level(50 * ONE))]);
        let fresh = meetings.mine(at(0), far);
        let told = meetings.list(at(7 * 24));
        assert!(meetings.mine(at(7 * 24), far) < fresh);
        assert!(told.contains(&(far, meetings.mine(at(7 * 24), far))));
        meetings.tell(at(7 * 24), node(1), Vec::new());
        assert_eq!(meetings.mine(at(7 * 24), far), 0, "what was added is taken away");
    }

    #[test]
    fn everything_is_bounded() {
        let mut meetings = Meetings::default();
        let hints: Vec<_> = (1..2000_u64).map(|n| (n.to_be_bytes(), 9)).collect();
        for n in 0..=u8::MAX {
            meetings.begin(at(n.into()), node(n));
            meetings.tell(at(n.into()), node(n), hints.clone());
        }
        assert_eq!(meetings.told.len(), TOLD_MAX);
        assert!(meetings.told.contains_key(&node(u8::MAX)), "the last one stays");
        assert!(meetings.told.values().all(|told| told.list.len() == LIST_MAX));
        assert!(meetings.over.len() <= LIST_MAX);
        assert_eq!(meetings.list(at(256)).len(), LIST_MAX);
        assert!(meetings.list(at(256)).is_sorted_by_key(|(_, level)| Reverse(*level)));
    }
}
