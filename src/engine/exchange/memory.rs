//! What is remembered of neighbours from one link to the next, for as long as the engine lives. All
//! of it saves bytes or finds what cursors hide sooner; a new start forgets it.

use std::collections::{BTreeMap, BTreeSet};

use postrider_base::NodeId;

use super::limits::NEIGHBOURS_MAX;
use crate::node::{LinkPolicy, People};

/// All neighbours.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Milliseconds of links since what two nodes have was last compared.
    link_times: BTreeMap<NodeId, u64>,
    covered: BTreeMap<NodeId, Covered>,
    /// Whom we know, as said last; `None` before the first time.
    people: Option<Known>,
    /// Since more became allowed: with whom has been compared what cursors had passed before.
    /// `None`: nothing became allowed.
    compared: Option<BTreeSet<NodeId>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Known {
    blocked: BTreeSet<NodeId>,
    via: BTreeSet<(NodeId, NodeId)>,
    groups: BTreeSet<[u8; 16]>,
}

/// How far a neighbour was offered all that a restricted link carries, although its cursor could not
/// follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Covered {
    /// Over which kind of link.
    pub limits: Limits,
    /// Where the cursor stands.
    pub cursor: u64,
    /// Everything up to here that such a link carries is settled.
    pub upto: u64,
}

/// What decides which rows a link does not carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub policy: LinkPolicy,
    pub clear_only: bool,
    /// The neighbour takes nothing nicer; 0: no bound.
    pub their_nice_max: u8,
}

impl Memory {
    /// How long there were links to a neighbour since [`Self::forget_link_time`].
    pub fn link_time_ms(&self, node: &NodeId) -> u64 {
        self.link_times.get(node).copied().unwrap_or(0)
    }

    /// A link to a neighbour was up for so long.
    pub fn note_link_time(&mut self, node: NodeId, ms: u64) {
        let time = self.link_times.entry(node).or_default();
        *time = time.saturating_add(ms);
        if self.link_times.len() > NEIGHBOURS_MAX
            && let Some(least) = self.link_times.iter().min_by_key(|(_, ms)| **ms)
        {
            let least = *least.0;
            self.link_times.remove(&least);
        }
    }

    /// What two nodes have has been compared.
    pub fn forget_link_time(&mut self, node: &NodeId) {
        self.link_times.remove(node);
    }

    /// Where to begin behind a cursor, over such a link.
    pub fn begin_behind(&self, node: &NodeId, limits: &Limits, cursor: u64) -> u64 {
        let covered = self.covered.get(node);
        let fits = |c: &&Covered| c.limits == *limits && c.cursor == cursor && c.upto > cursor;
        covered.filter(fits).map_or(cursor, |covered| covered.upto)
    }

    /// All that such a link carries is settled up to a number.
    pub fn note_covered(&mut self, node: NodeId, covered: Covered) {
        // Whoever is forgotten is offered some bundles again.
        if self.covered.len() >= NEIGHBOURS_MAX && !self.covered.contains_key(&node) {
            self.covered.clear();
        }
        self.covered.insert(node, covered);
    }

    /// A row that was settled may be offered to a neighbour again: the next contact must not begin
    /// behind it.
    pub fn note_owed(&mut self, node: &NodeId, arrival: u64) {
        if let Some(covered) = self.covered.get_mut(node) {
            covered.upto = covered.upto.min(arrival.saturating_sub(1));
        }
    }

    /// Whom we know has changed; whether something is allowed that was not.
    pub fn note_people(&mut self, people: &People) -> bool {
        self.covered.clear();
        let blocked = people.blocked.iter().copied().collect();
        let via = people.via.iter().copied().collect();
        let groups = people.groups.iter().copied().collect();
        let now = Known { blocked, via, groups };
        let before = self.people.replace(now);
        let widened = before.zip(self.people.as_ref()).is_some_and(|(before, now)| {
            !before.blocked.is_subset(&now.blocked)
                || !now.via.is_subset(&before.via)
                || !now.groups.is_subset(&before.groups)
        });
        if widened {
            self.note_widened();
        }
        widened
    }

    /// Something is allowed that was not, and cursors have passed it.
    pub fn note_widened(&mut self) {
        self.compared = Some(BTreeSet::new());
    }

    /// Whether the cursors between us and a neighbour have passed what is allowed now.
    pub fn must_compare(&self, node: &NodeId) -> bool {
        // Beyond the bound nobody is compared twice; a day of link time does it.
        let due = |done: &BTreeSet<NodeId>| done.len() < NEIGHBOURS_MAX && !done.contains(node);
        self.compared.as_ref().is_some_and(due)
    }

    /// That has begun.
    pub fn note_compared(&mut self, node: NodeId) {
        if let Some(done) = &mut self.compared {
            done.insert(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;

    use super::*;

    fn node(n: u8) -> NodeId {
        NodeSecret::from_seed([n; 32]).id()
    }

    fn limits(their_nice_max: u8) -> Limits {
        Limits { policy: LinkPolicy::metered(), clear_only: false, their_nice_max }
    }

    #[test]
    fn what_was_covered_counts_for_the_same_limits_and_the_same_cursor() {
        let mut memory = Memory::default();
        let (cursor, upto) = (5, 90);
        memory.note_covered(node(1), Covered { limits: limits(0), cursor, upto });
        assert_eq!(memory.begin_behind(&node(1), &limits(0), 5), 90);
        assert_eq!(memory.begin_behind(&node(1), &limits(160), 5), 5);
        assert_eq!(memory.begin_behind(&node(1), &limits(0), 4), 4);
        assert_eq!(memory.begin_behind(&node(2), &limits(0), 5), 5);
        memory.note_owed(&node(1), 40);
        assert_eq!(memory.begin_behind(&node(1), &limits(0), 5), 39);
        memory.note_people(&People::default());
        assert_eq!(memory.begin_behind(&node(1), &limits(0), 5), 5);
    }

    #[test]
    fn only_what_allows_more_calls_for_a_comparison() {
        let people = |blocked: &[u8], via: &[(u8, u8)]| People {
            contacts: vec![],
            friends: vec![],
            blocked: blocked.iter().map(|n| node(*n)).collect(),
            via: via.iter().map(|(a, b)| (node(*a), node(*b))).collect(),
            groups: vec![],
        };
        let mut memory = Memory::default();
        for (blocked, via, widened) in [
            (&[3, 4][..], &[][..], false), // the first time
            (&[3, 4, 5], &[], false),
            (&[3, 5], &[], true),
            (&[3, 5], &[(3, 6)], true),
            (&[3, 5], &[], false),
        ] {
            assert_eq!(memory.note_people(&people(blocked, via)), widened, "{blocked:?} {via:?}");
        }
        assert!(memory.must_compare(&node(1)));
        memory.note_compared(node(1));
        assert!(!memory.must_compare(&node(1)));
    }
}
