//! Whom an advert is from: look-ups that are bounded, and remembered.

use std::collections::{BTreeMap, VecDeque};

use postrider_base::NodeId;

use super::{
    advert::{Mark, NearKey, Said, Told, channel, mark},
    limits::{CONTACTS_MAX, LOOKUPS_BURST, LOOKUPS_PER_S, RESOLVED_MAX, STRANGERS_MAX},
};
use crate::meeting::chance::Rate;

/// An advert that was resolved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resolved {
    pub node: NodeId,
    pub channel: Option<u8>,
    /// When it was heard first.
    pub first_ms: u64,
    /// It was never heard before.
    pub new: bool,
}

#[derive(Debug)]
pub(super) struct Resolver {
    keys: BTreeMap<NodeId, NearKey>,
    /// Whose, when heard first, and what the channel is hidden with.
    resolved: Cache<(NodeId, u64, u8)>,
    /// When each was heard last.
    strangers: Cache<u64>,
    lookups: Rate,
}

impl Resolver {
    pub fn new() -> Self {
        Self {
            keys: BTreeMap::new(),
            resolved: Cache::new(RESOLVED_MAX),
            strangers: Cache::new(STRANGERS_MAX),
            lookups: Rate::new(LOOKUPS_BURST, LOOKUPS_PER_S),
        }
    }

    /// From now on these keys resolve, and no others.
    pub fn know(&mut self, keys: impl IntoIterator<Item = (NodeId, NearKey)>) {
        self.keys = keys.into_iter().take(CONTACTS_MAX).collect();
        let keys = &self.keys;
        self.resolved.retain(|(node, ..)| keys.contains_key(node));
        self.strangers.retain(|_| false);
    }

    pub fn knows(&self, node: &NodeId) -> bool {
        self.keys.contains_key(node)
    }

    /// Whether anybody can be found at all.
    pub fn knows_any(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Whom it is from; `None`: nobody we know, or there is no time to find out.
    pub fn resolve(&mut self, now_ms: u64, said: &Said) -> Option<Resolved> {
        let mark = mark(said);
        if let Some((node, first_ms, hidden_with)) = self.resolved.map.get(&mark) {
            let channel = channel(said, *hidden_with);
            return Some(Resolved { node: *node, channel, first_ms: *first_ms, new: false });
        }
        if let Some(heard_ms) = self.strangers.map.get_mut(&mark) {
            *heard_ms = now_ms;
            return None;
        }
        let hashes = self.keys.len() as u64;
        if !self.lookups.take_many(now_ms, hashes, 0) {
            return None;
        }
        let found = self.keys.iter().find_map(|(node, key)| Some((*node, key.read(said)?)));
        let Some((node, Told { channel, hidden_with })) = found else {
            self.strangers.insert(mark, now_ms);
            return None;
        };
        self.resolved.insert(mark, (node, now_ms, hidden_with));
        Some(Resolved { node, channel, first_ms: now_ms, new: true })
    }

    /// Adverts of ours or others, of nobody we know, that were heard since then.
    pub fn strangers(&self, since_ms: u64) -> usize {
        self.strangers.map.values().filter(|heard_ms| **heard_ms >= since_ms).count()
    }
}

/// What was found out about adverts; the oldest goes first.
#[derive(Debug)]
struct Cache<T> {
    map: BTreeMap<Mark, T>,
    order: VecDeque<Mark>,
    most: usize,
}

impl<T> Cache<T> {
    fn new(most: usize) -> Self {
        Self { map: BTreeMap::new(), order: VecDeque::new(), most }
    }

    fn insert(&mut self, mark: Mark, what: T) {
        if self.map.insert(mark, what).is_some() {
            return;
        }
        self.order.push_back(mark);
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
        }
    }

    fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.map.retain(|_, what| keep(what));
        self.order.retain(|mark| self.map.contains_key(mark));
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;

    use super::*;

    fn card(seed: u8) -> (NodeId, NearKey) {
        let secret = NodeSecret::from_seed([seed; 32]);
        (secret.id(), NearKey::of_contact(&secret.first_seal_key().public()))
    }

    #[test]
    fn what_was_resolved_once_costs_nothing_and_is_new_once() {
        let mut resolver = Resolver::new();
        resolver.know([card(1), card(2)]);
        let said = card(2).1.say([1; 4], Some(0x80));
        let first = resolver.resolve(5, &said).unwrap();
        assert!(first.new && first.node == card(2).0 && first.first_ms == 5);
        let again = resolver.resolve(9, &said).unwrap();
        assert!(!again.new && again.first_ms == 5);
        // Another channel proves nothing new.
        let mut other = said;
        other[9] ^= 1;
        let other = resolver.resolve(9, &other).unwrap();
        assert!(!other.new && (first.channel, other.channel) == (Some(0x80), Some(0x81)));
    }

    #[test]
    fn a_new_contact_is_found_in_what_was_a_strangers() {
        let mut resolver = Resolver::new();
        resolver.know([card(1)]);
        let said = card(2).1.say([1; 4], Some(0x80));
        assert!(resolver.resolve(0, &said).is_none());
        assert_eq!(resolver.strangers(0), 1);
        resolver.know([card(1), card(2)]);
        assert!(resolver.resolve(0, &said).is_some());
        resolver.know([card(1)]);
        assert!(resolver.resolve(0, &said).is_none(), "forgotten with the contact");
    }

    #[test]
    fn a_flood_is_looked_up_as_fast_as_is_allowed_and_remembered_within_bounds() {
        let mut resolver = Resolver::new();
        let many = (0..200_u8).map(card);
        resolver.know(many);
        for n in 0..100_000_u64 {
            let mut said = [0xee; 10];
            said[..8].copy_from_slice(&n.to_be_bytes());
            let _ = resolver.resolve(n / 10, &said);
        }
        assert_eq!(resolver.strangers.map.len(), STRANGERS_MAX);
        assert_eq!(resolver.strangers.order.len(), STRANGERS_MAX);
        // Of a thousand in a second it looks into all, with so few contacts.
        let said = card(7).1.say([1; 4], Some(0x80));
        assert!(resolver.resolve(20_000, &said).is_some());
    }
}
