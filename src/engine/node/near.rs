//! Who is at the other end of a link that works at this moment.
//!
//! What is for such a node goes to it, and to nobody else meanwhile: not to the neighbours who would
//! carry it, and not a second time through whoever introduced the two. If nothing has come of a link
//! for a while, it may be dead and only not known to be: then its bundles go every way again.

use std::collections::BTreeMap;

use postrider_base::{NodeId, bundle::PAYLOAD_MAX, link::LinkFacts};

use super::{
    contract::{Destination, LinkId, Row},
    policy::LinkPolicy,
};

/// Without a sign of life for so long others may carry what is for a node again. Over a link that
/// works an answer, or room for more, comes sooner unless it is very slow or idle.
pub(crate) const NEAR_MS: u64 = 5_000;

/// When links to nodes last gave a sign of life. Only links that carry everything count.
#[derive(Debug, Default)]
pub(crate) struct Near {
    links: BTreeMap<LinkId, [u8; 32]>,
    alive_ms: BTreeMap<[u8; 32], u64>,
}

impl Near {
    /// A link came up. One that is known to be slow, costs money, or leaves something out does not
    /// count: then other ways may be better.
    pub fn link_up(&mut self, link: LinkId, facts: &LinkFacts, policy: &LinkPolicy) {
        let whole = policy.nice_max.value() == u8::MAX && policy.size_max >= PAYLOAD_MAX;
        let plain = facts.rate_bps.is_none() && !facts.metered && !facts.clear_only;
        if let Some(peer) = facts.peer.filter(|_| whole && plain) {
            self.links.insert(link, *peer.as_bytes());
        }
    }

    /// Its other end takes less than everything.
    pub fn leave_out(&mut self, link: LinkId) {
        self.link_down(link);
    }

    /// A link is gone.
    pub fn link_down(&mut self, link: LinkId) {
        let Some(node) = self.links.remove(&link) else { return };
        if !self.links.values().any(|other| *other == node) {
            self.alive_ms.remove(&node);
        }
    }

    /// Something came over a link or left on it; the node, if that is news.
    pub fn alive(&mut self, now_ms: u64, link: LinkId) -> Option<[u8; 32]> {
        let node = *self.links.get(&link)?;
        let before = self.alive_ms.insert(node, now_ms);
        before.is_none_or(|at| now_ms >= at.saturating_add(NEAR_MS)).then_some(node)
    }

    /// Whether a bundle is on its own way to whom it is for, and `peer` is somebody else.
    pub fn has(&self, now_ms: u64, row: &Row, peer: Option<NodeId>) -> bool {
        let Some(recipient) = recipient(row) else { return false };
        let alive = self.alive_ms.get(&recipient);
        peer.map(|peer| *peer.as_bytes()) != Some(recipient)
            && alive.is_some_and(|at| now_ms < at.saturating_add(NEAR_MS))
    }
}

/// Whom a bundle is for, where this node can tell.
pub(crate) fn recipient(row: &Row) -> Option<[u8; 32]> {
    match row.destination {
        Destination::Node(node) => Some(node),
        Destination::Group(_) => None,
        Destination::Tag(_) => row.tagged_for,
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::{BundleId, Niceness, NodeSecret, bundle::Hop};

    use super::*;
    use crate::node::Class;

    fn node(n: u8) -> NodeId {
        NodeSecret::from_seed([n; 32]).id()
    }

    fn row(to: u8) -> Row {
        Row {
            id: BundleId([9; 32]),
            destination: Destination::Node(*node(to).as_bytes()),
            tagged_for: None,
            source: None,
            nice: 160,
            lifetime_s: 1000,
            length: 100,
            hop: Hop::fresh(),
            class: Class::Own,
            from: None,
            arrived_held_ms: 0,
            arrival: 1,
        }
    }

    fn facts(to: u8) -> LinkFacts {
        LinkFacts { peer: Some(node(to)), ..LinkFacts::stream("tls://a:1".parse().unwrap()) }
    }

    #[test]
    fn a_bundle_is_left_to_a_link_that_works() {
        let mut near = Near::default();
        near.link_up(LinkId(1), &facts(2), &LinkPolicy::default());
        let other = Some(node(3));
        assert!(!near.has(0, &row(2), other), "nothing has come yet");
        assert_eq!(near.alive(0, LinkId(1)), Some(*node(2).as_bytes()));
        assert_eq!(near.alive(1, LinkId(1)), None, "no news");
        assert!(near.has(NEAR_MS, &row(2), other));
        assert!(!near.has(NEAR_MS, &row(2), Some(node(2))), "but to itself it goes");
        assert!(!near.has(NEAR_MS, &row(4), other), "for somebody else");
        assert!(!near.has(NEAR_MS + 1, &row(2), other), "silent for too long");
    }

    #[test]
    fn the_last_link_that_goes_takes_it_along() {
        let mut near = Near::default();
        for link in [1, 2] {
            near.link_up(LinkId(link), &facts(2), &LinkPolicy::default());
        }
        let _ = near.alive(0, LinkId(1));
        near.link_down(LinkId(1));
        assert!(near.has(1, &row(2), None));
        near.link_down(LinkId(2));
        assert!(!near.has(1, &row(2), None));
    }

    #[test]
    fn a_link_that_leaves_something_out_does_not_count() {
        let narrow = LinkPolicy { nice_max: Niceness::PRIORITY, ..LinkPolicy::default() };
        let slow = LinkFacts { rate_bps: Some(1200), ..facts(2) };
        let dear = LinkFacts { metered: true, ..facts(2) };
        for (facts, policy) in
            [(facts(2), narrow), (slow, LinkPolicy::default()), (dear, LinkPolicy::default())]
        {
            let mut near = Near::default();
            near.link_up(LinkId(1), &facts, &policy);
            assert_eq!(near.alive(0, LinkId(1)), None);
        }
    }
}
