//! What this node has, as others are told: in digests, and what was not said yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    HELD_MAX,
    beacon::{DIGEST_MOST, Slice},
    contract::ItemId,
};

/// What was not said yet; more than that is found in digests.
const UNSAID_MAX: usize = 64;

/// Ids, in the order in which they became known.
#[derive(Debug, Default)]
pub(super) struct Held {
    order: BTreeMap<u64, ItemId>,
    places: BTreeMap<ItemId, u64>,
    next: u64,
    newest: Option<ItemId>,
    /// What others may believe to be lacking here: neither passed on nor named nor receipted.
    unsaid: BTreeSet<ItemId>,
    /// What was said lately, and when.
    said: VecDeque<(ItemId, u64)>,
}

impl Held {
    /// All that is here, as the shell says.
    pub fn replace(&mut self, ids: Vec<ItemId>) {
        let unsaid = std::mem::take(&mut self.unsaid);
        (self.order, self.places) = Default::default();
        for id in ids {
            self.add(id);
        }
        self.unsaid = unsaid.into_iter().filter(|id| self.places.contains_key(id)).collect();
        self.newest = self.newest.filter(|id| self.places.contains_key(id));
    }

    /// This is here, or was.
    pub fn add(&mut self, id: ItemId) {
        if let Some(place) = self.places.insert(id, self.next) {
            self.order.remove(&place);
        }
        self.order.insert(self.next, id);
        self.next += 1;
        if self.order.len() > HELD_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.places.remove(&oldest);
            self.unsaid.remove(&oldest);
        }
    }

    /// It just came, and others do not know that.
    pub fn came(&mut self, id: ItemId) {
        self.add(id);
        self.newest = Some(id);
        self.unsay(id);
    }

    /// Others do not know that it is here.
    pub fn unsay(&mut self, id: ItemId) {
        if self.unsaid.len() < UNSAID_MAX {
            self.unsaid.insert(id);
        }
    }

    /// They do: somebody has said it.
    pub fn told(&mut self, id: &ItemId) {
        self.unsaid.remove(id);
    }

    /// This node has said it.
    pub fn said(&mut self, now_us: u64, id: &ItemId) {
        self.unsaid.remove(id);
        if self.said.len() >= UNSAID_MAX {
            self.said.pop_front();
        }
        self.said.push_back((*id, now_us));
    }

    /// Whether it has since then: what was heard meanwhile may have crossed that.
    pub fn said_since(&self, id: &ItemId, us: u64) -> bool {
        self.said.iter().any(|(said, at_us)| said == id && *at_us >= us)
    }

    /// A beacon named what is in that slice.
    pub fn said_in(&mut self, now_us: u64, slice: Slice) {
        let named = |id: &ItemId| slice.has(id) || Some(*id) == self.newest;
        let named: Vec<ItemId> = self.unsaid.iter().filter(|id| named(id)).copied().collect();
        named.iter().for_each(|id| self.said(now_us, id));
    }

    pub fn unsaid(&self) -> impl Iterator<Item = &ItemId> {
        self.unsaid.iter()
    }

    pub fn newest(&self) -> Option<ItemId> {
        self.newest
    }

    /// The largest slice around some first byte of which a digest can speak, and what is in it: of what
    /// is here and of what there is to send. What was not said goes before chance.
    pub fn slice(&self, chance: u8, beside: impl Iterator<Item = ItemId>) -> (Slice, Vec<ItemId>) {
        let first = self.unsaid.first().map_or(chance, |id| id.0[0]);
        let mut all: BTreeSet<ItemId> = self.places.keys().copied().collect();
        all.extend(beside);
        let within = |bits| {
            let slice = Slice::new(bits, first);
            let held: Vec<ItemId> = all.iter().filter(|id| slice.has(id)).copied().collect();
            (slice, held)
        };
        let fits = (0..7).map(within).find(|(_, held)| held.len() <= DIGEST_MOST);
        fits.unwrap_or_else(|| within(7))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> ItemId {
        ItemId(*blake3::hash(&n.to_be_bytes()).as_bytes().first_chunk().unwrap())
    }

    #[test]
    fn the_oldest_go_first_and_nothing_grows() {
        let mut held = Held::default();
        held.add(id(0));
        (0..5_000).for_each(|n| held.came(id(n % 3_000)));
        assert_eq!((held.order.len(), held.places.len()), (HELD_MAX, HELD_MAX));
        assert!(held.unsaid.len() <= UNSAID_MAX);
        assert!(held.places.contains_key(&id(1_999)) && !held.places.contains_key(&id(0)));
        assert_eq!(held.newest(), Some(id(1_999)));
    }

    #[test]
    fn slices_hold_what_a_digest_can_and_in_time_all_of_it() {
        let mut held = Held::default();
        (0..200).for_each(|n| held.add(id(n)));
        let mut named = BTreeSet::new();
        for first in 0..=255 {
            let (slice, ids) = held.slice(first, [id(999)].into_iter());
            assert!(ids.len() <= DIGEST_MOST && ids.iter().all(|id| slice.has(id)));
            named.extend(ids);
        }
        assert_eq!(named.len(), 201);
        assert_eq!(Held::default().slice(9, [].into_iter()), (Slice::new(0, 0), vec![]));
    }

    #[test]
    fn what_was_not_said_is_said_first() {
        let mut held = Held::default();
        (0..200).for_each(|n| held.add(id(n)));
        (0..5).for_each(|n| held.came(id(n)));
        for _ in 0..5 {
            let (slice, ids) = held.slice(77, [].into_iter());
            assert!(held.unsaid().next().is_none_or(|id| ids.contains(id)));
            held.said_in(3, slice);
        }
        assert_eq!(held.unsaid().count(), 0);
        assert!(held.said_since(&id(0), 3) && !held.said_since(&id(0), 4));
    }
}
