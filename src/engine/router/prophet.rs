//! PRoPHET version 2, to compare: predictions of meetings that rise with each, age, and pass on over
//! one node (RFC 6693; the exponents of "The Evolution of a DTN Routing Protocol – PRoPHETv2", 2011).

use std::collections::BTreeMap;

use postrider_base::{Header, NodeId, bundle::Hop};

use super::{
    Contact, Flood, Neighbour, NoRoad, NodeHint, Placement, Road, Router,
    level::{amount, hint, hint_of, level},
    meetings::MEETS_MAX,
};
use crate::node::{Now, People, Row, near::recipient};

/// Certainty.
const SURE: u64 = 1 << 26;
/// A first meeting, and the most that another adds of what is left, in percent (RFC 6693 §3.3).
const FIRST_PERCENT: u64 = 50;
const AGAIN_PERCENT: u64 = 70;
/// Meetings closer together than this add less.
const TYPICAL_MS: u64 = 1_800_000;
/// How much a neighbour's prediction is worth here, in percent.
const OVER_PERCENT: u64 = 90;
/// Every so often a prediction is worth 999 of a thousand parts.
const AGE_MS: u64 = 30_000;
/// What has aged by so many steps is nothing.
const AGES_MAX: u64 = 20_000;

/// Copies go to whoever is likelier to meet their recipient.
#[derive(Debug)]
pub struct Prophet {
    flood: Flood,
    predictions: BTreeMap<NodeHint, u64>,
    met_ms: BTreeMap<NodeId, u64>,
    aged_ms: u64,
    told: BTreeMap<NodeId, BTreeMap<NodeHint, u8>>,
}

impl Prophet {
    /// Without predictions.
    pub fn new(flood: Flood) -> Self {
        Self {
            flood,
            predictions: BTreeMap::new(),
            met_ms: BTreeMap::new(),
            aged_ms: 0,
            told: BTreeMap::new(),
        }
    }

    fn age(&mut self, now: Now) {
        let steps = now.held_ms.saturating_sub(self.aged_ms) / AGE_MS;
        if steps == 0 {
            return;
        }
        self.aged_ms += steps * AGE_MS;
        for prediction in self.predictions.values_mut() {
            (0..steps.min(AGES_MAX)).for_each(|_| *prediction = *prediction * 999 / 1000);
        }
        self.predictions.retain(|_, prediction| *prediction > 0);
    }

    fn mine(&self, to: NodeHint) -> u8 {
        self.predictions.get(&to).map_or(0, |prediction| as_level(*prediction))
    }
}

fn as_level(prediction: u64) -> u8 {
    level(u32::try_from(prediction).unwrap_or(u32::MAX))
}

impl Router for Prophet {
    fn set_people(&mut self, people: People) {
        self.flood.set_people(people);
    }

    fn on_contact(&mut self, now: Now, neighbour: NodeId, contact: Contact) {
        if contact == Contact::Ended {
            return;
        }
        self.age(now);
        let before_ms = self.met_ms.insert(neighbour, now.held_ms);
        let prediction = self.predictions.entry(hint(&neighbour)).or_default();
        let left = SURE - (*prediction).min(SURE);
        *prediction += match before_ms {
            None => left * FIRST_PERCENT / 100,
            Some(at_ms) => {
                let since_ms = now.held_ms.saturating_sub(at_ms).min(TYPICAL_MS);
                left * AGAIN_PERCENT / 100 * since_ms / TYPICAL_MS
            }
        };
    }

    fn is_blocked(&self, node: &NodeId) -> bool {
        self.flood.is_blocked(node)
    }

    fn eligible(&self, now: Now, to: &Neighbour<'_>, row: &Row) -> Result<Road, NoRoad> {
        match self.flood.eligible(now, to, row)? {
            Road::Flood => {}
            road => return Ok(road),
        }
        let (Some(peer), Some(recipient)) = (to.node, recipient(row)) else {
            return Err(NoRoad::Stranger);
        };
        let hint = hint_of(&recipient);
        let theirs = self.told.get(&peer).and_then(|told| told.get(&hint)).copied().unwrap_or(0);
        if theirs > self.mine(hint) { Ok(Road::Delegate(theirs)) } else { Err(NoRoad::Stranger) }
    }

    fn tell(&mut self, now: Now, _: &Neighbour<'_>) -> Vec<(NodeHint, u8)> {
        self.age(now);
        let all = self.predictions.iter().map(|(to, prediction)| (*to, as_level(*prediction)));
        let mut list: Vec<_> = all.filter(|(_, level)| *level > 0).collect();
        list.sort_unstable_by_key(|(to, level)| (std::cmp::Reverse(*level), *to));
        list.truncate(MEETS_MAX);
        list
    }

    fn told(&mut self, now: Now, neighbour: NodeId, list: Vec<(NodeHint, u8)>) {
        self.age(now);
        let near = self.predictions.get(&hint(&neighbour)).copied().unwrap_or(0);
        for (to, level) in &list {
            let theirs = u64::from(amount(*level)).min(SURE);
            let over = near * theirs / SURE * OVER_PERCENT / 100;
            let mine = self.predictions.entry(*to).or_default();
            *mine = over.max(*mine);
        }
        self.told.insert(neighbour, list.into_iter().collect());
    }

    fn nearer(&self, _: Now, to: &Neighbour<'_>) -> Vec<NodeHint> {
        let Some(told) = to.node.and_then(|node| self.told.get(&node)) else { return Vec::new() };
        told.iter().filter(|(to, level)| **level > self.mine(**to)).map(|(to, _)| *to).collect()
    }

    fn place(&self, header: &Header, hop: Hop, from: &Neighbour<'_>) -> Placement {
        self.flood.place(header, hop, from)
    }
}
