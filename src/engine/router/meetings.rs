//! Whom this node meets how often, and what its neighbours say of whom they meet.
//!
//! ```text
//! rate(k)   distinct meetings with k, each worth half after seven days
//! near(d) = rate(d) + 1/4 of the sum over neighbours k of min(rate(k), near of k to d, as k says)
//! ```
//!
//! Two meetings less than half an hour apart are one; a meeting that lasts counts every half hour.
//! Time is the custody clock: it runs while the node does, no wall clock is asked, and it goes on
//! after a restart.

use std::collections::{BTreeMap, BTreeSet};

use postrider_base::NodeId;

use super::level::{NodeHint, ONE, amount, hint, level};
use crate::node::Now;

/// After so long a meeting is worth half (PRoPHET's usual ageing forgets over night).
const HALF_LIFE_MS: u64 = 7 * 24 * 3600 * 1000;
/// A half-life in so many steps.
const DECAY_STEPS: u64 = 64;
/// 2^(-1/DECAY_STEPS) in parts of 2^16.
const DECAY: u64 = 64_830;
/// What is closer together is one meeting.
pub(crate) const DISTINCT_MS: u64 = 30 * 60 * 1000;
/// What a neighbour says at most: 9 KiB.
pub const MEETS_MAX: usize = 1024;
/// Whom this node tells of: some 600 bytes.
const LIST_MAX: usize = 64;
/// Nodes whose meetings are remembered; beyond, the one met least goes.
const OWN_MAX: usize = 1024;
/// Neighbours whose tables are kept; beyond, that of the one met least goes: 45 KiB.
const TOLD_MAX: usize = 64;

/// Meetings with one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meeting {
    /// How many, as they were worth at `counted_ms`, in parts of 1024.
    pub worth: u32,
    /// When the last one counted, by the custody clock.
    pub counted_ms: u64,
}

/// All that is known of who meets whom.
#[derive(Debug, Default)]
pub(super) struct Meetings {
    own: BTreeMap<NodeId, Meeting>,
    /// Who is here now.
    here: BTreeSet<NodeId>,
    /// What neighbours say, by hint.
    told: BTreeMap<NodeId, Vec<(NodeHint, u8)>>,
    /// How near this node is to everybody.
    near: BTreeMap<NodeHint, u8>,
    /// What has changed and is not remembered yet.
    changed: BTreeMap<NodeId, Meeting>,
}

impl Meeting {
    fn worth_at(&self, held_ms: u64) -> u32 {
        let steps = held_ms.saturating_sub(self.counted_ms) / (HALF_LIFE_MS / DECAY_STEPS);
        let halves = u32::try_from(steps / DECAY_STEPS).unwrap_or(u32::MAX);
        let mut worth = u64::from(self.worth).checked_shr(halves).unwrap_or(0);
        (0..steps % DECAY_STEPS).for_each(|_| worth = worth * DECAY >> 16);
        u32::try_from(worth).unwrap_or(u32::MAX)
    }
}

impl Meetings {
    /// What was remembered.
    pub fn restore(&mut self, list: impl IntoIterator<Item = (NodeId, Meeting)>) {
        self.own.extend(list.into_iter().take(OWN_MAX));
    }

    /// Somebody came.
    pub fn begin(&mut self, now: Now, node: &NodeId) {
        self.here.insert(*node);
        self.count(now, *node);
        self.refresh(now);
    }

    /// Somebody went.
    pub fn end(&mut self, now: Now, node: &NodeId) {
        self.count(now, *node);
        self.here.remove(node);
    }

    /// A neighbour says whom it meets.
    pub fn tell(&mut self, now: Now, node: &NodeId, mut list: Vec<(NodeHint, u8)>) {
        list.truncate(LIST_MAX);
        list.sort_unstable();
        self.told.insert(*node, list);
        if self.told.len() > TOLD_MAX {
            let rate = |key: &NodeId| self.own.get(key).map_or(0, |m| m.worth_at(now.held_ms));
            let least = self.told.keys().filter(|key| *key != node).min_by_key(|key| rate(key));
            if let Some(least) = least.copied() {
                self.told.remove(&least);
            }
        }
        self.refresh(now);
    }

    /// How near this node is to another.
    pub fn mine(&self, hint: NodeHint) -> u8 {
        self.near.get(&hint).copied().unwrap_or(0)
    }

    /// How near a neighbour is to another, as it says.
    pub fn theirs(&self, neighbour: &NodeId, hint: NodeHint) -> u8 {
        let Some(told) = self.told.get(neighbour) else { return 0 };
        let at = told.binary_search_by_key(&hint, |(known, _)| *known);
        at.ok().and_then(|at| told.get(at)).map_or(0, |(_, level)| *level)
    }

    /// To whom a neighbour is nearer than this node, nearest first.
    pub fn nearer(&self, neighbour: &NodeId) -> Vec<NodeHint> {
        let Some(told) = self.told.get(neighbour) else { return Vec::new() };
        let nearer = told.iter().filter(|(hint, level)| *level > self.mine(*hint));
        let mut nearer: Vec<_> = nearer.map(|(hint, level)| (*level, *hint)).collect();
        nearer.sort_unstable_by(|a, b| b.cmp(a));
        nearer.into_iter().map(|(_, hint)| hint).collect()
    }

    /// To whom this node is nearest.
    pub fn list(&mut self, now: Now) -> Vec<(NodeHint, u8)> {
        let here: Vec<_> = self.here.iter().copied().collect();
        here.into_iter().for_each(|key| self.count(now, key));
        self.refresh(now);
        let mut list: Vec<_> = self.near.iter().map(|(hint, level)| (*hint, *level)).collect();
        list.sort_unstable_by_key(|(hint, level)| (std::cmp::Reverse(*level), *hint));
        list.truncate(LIST_MAX);
        list
    }

    /// What is to be remembered.
    pub fn changed(&mut self) -> BTreeMap<NodeId, Meeting> {
        std::mem::take(&mut self.changed)
    }

    fn count(&mut self, now: Now, key: NodeId) {
        let before = self.own.get(&key).copied();
        if before.is_some_and(|m| now.held_ms < m.counted_ms.saturating_add(DISTINCT_MS)) {
            return;
        }
        let worth = before.map_or(0, |m| m.worth_at(now.held_ms)).saturating_add(ONE);
        let meeting = Meeting { worth, counted_ms: now.held_ms };
        self.own.insert(key, meeting);
        self.changed.insert(key, meeting);
        if self.own.len() > OWN_MAX {
            let others = self.own.iter().filter(|(other, _)| **other != key);
            let least = others.min_by_key(|(_, m)| m.worth_at(now.held_ms)).map(|(key, _)| *key);
            if let Some(least) = least {
                self.own.remove(&least);
                self.changed.insert(least, Meeting::default());
            }
        }
    }

    /// Computes anew how near this node is to everybody.
    fn refresh(&mut self, now: Now) {
        let rates: BTreeMap<_, _> =
            self.own.iter().map(|(key, m)| (*key, m.worth_at(now.held_ms))).collect();
        let mut near: BTreeMap<NodeHint, u32> = BTreeMap::new();
        for (neighbour, told) in &self.told {
            let rate = rates.get(neighbour).copied().unwrap_or(0);
            for (hint, level) in told {
                let over = near.entry(*hint).or_default();
                *over = over.saturating_add(rate.min(amount(*level)));
            }
        }
        near.values_mut().for_each(|over| *over /= 4);
        for (key, rate) in &rates {
            let direct = near.entry(hint(key)).or_default();
            *direct = direct.saturating_add(*rate);
        }
        let levels = near.into_iter().map(|(hint, amount)| (hint, level(amount)));
        self.near = levels.filter(|(_, level)| *level > 0).collect();
    }
}
