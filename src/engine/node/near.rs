//! Who is at the other end of a link that works at this moment.
//!
//! What is for such a node goes to it, and to nobody else meanwhile: not to the neighbours who would
//! carry it, and not a second time through whoever introduced the two. If nothing has come of a link
//! for a while, it may be dead and only not known to be: then its bundles go every way again.

use std::collections::BTreeMap;

use postrider_base::{NodeId, bundle::PAYLOAD_MAX, link::LinkFacts};

use super::{
    contract::{LinkId, Row},
    policy::LinkPolicy,
};

/// When nothing has come for so long others may carry what is for a node again. A ping and its
/// answer fit in, behind a chunk and a full buffer each way.
pub(crate) const NEAR_MS: u64 = 4_000;
/// Somebody on whom a bundle is left to wait is asked for a sign of life when none came for so long.
const ASK_AFTER_MS: u64 = 1_500;
/// How often it is looked whether what was left to a link may still be.
pub(crate) const LOOK_EVERY_MS: u64 = 1_000;

/// When something last came from nodes. Only links that carry everything count. What leaves a
/// carriage is no sign: a socket takes bytes long after the other end is gone.
#[derive(Debug, Default)]
pub(crate) struct Near {
    links: BTreeMap<LinkId, [u8; 32]>,
    lives: BTreeMap<[u8; 32], Life>,
}

#[derive(Debug)]
struct Life {
    heard_ms: u64,
    asked_ms: u64,
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
            self.lives.remove(&node);
        }
    }

    /// Something came over a link; the node, if that is news.
    pub fn heard(&mut self, now_ms: u64, link: LinkId) -> Option<[u8; 32]> {
        let node = *self.links.get(&link)?;
        let life = Life { heard_ms: now_ms, asked_ms: now_ms };
        let before = self.lives.insert(node, life);
        before.is_none_or(|life| now_ms >= life.heard_ms.saturating_add(NEAR_MS)).then_some(node)
    }

    /// Whether a bundle is on its own way to whom it is for, and `peer` is somebody else.
    pub fn has(&self, now_ms: u64, row: &Row, peer: Option<NodeId>) -> bool {
        let Some(recipient) = recipient(row) else { return false };
        let life = self.lives.get(&recipient);
        peer.map(|peer| *peer.as_bytes()) != Some(recipient)
            && life.is_some_and(|life| now_ms < life.heard_ms.saturating_add(NEAR_MS))
    }

    /// A bundle is left to wait for its recipient: whom to ask for a sign of life.
    pub fn left(&mut self, now_ms: u64, row: &Row) -> Option<[u8; 32]> {
        let node = recipient(row)?;
        let life = self.lives.get_mut(&node)?;
        let due_ms = life.heard_ms.max(life.asked_ms).saturating_add(ASK_AFTER_MS);
        (now_ms >= due_ms).then(|| {
            life.asked_ms = now_ms;
            node
        })
    }
}

/// Whom a bundle is for, where this node can tell.
pub(crate) fn recipient(row: &Row) -> Option<[u8; 32]> {
    row.recipient()
}

#[cfg(test)]
mod tests {
    use postrider_base::{BundleId, Niceness, NodeSecret, bundle::Hop};

    use super::*;
    use crate::node::{Class, contract::Destination};

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
        assert_eq!(near.heard(0, LinkId(1)), Some(*node(2).as_bytes()));
        assert_eq!(near.heard(1, LinkId(1)), None, "no news");
        assert!(near.has(NEAR_MS, &row(2), other));
        assert!(!near.has(NEAR_MS, &row(2), Some(node(2))), "but to itself it goes");
        assert!(!near.has(NEAR_MS, &row(4), other), "for somebody else");
        assert!(!near.has(NEAR_MS + 1, &row(2), other), "silent for too long");
    }

    #[test]
    fn whoever_is_waited_for_is_asked_for_a_sign_of_life_now_and_then() {
        let mut near = Near::default();
        near.link_up(LinkId(1), &facts(2), &LinkPolicy::default());
        let _ = near.heard(0, LinkId(1));
        let asked = [1_499, 1_500, 1_501, 2_999, 3_000].map(|at| near.left(at, &row(2)).is_some());
        assert_eq!(asked, [false, true, false, false, true]);
        assert_eq!(near.left(9_000, &row(3)), None);
    }

    #[test]
    fn the_last_link_that_goes_takes_it_along() {
        let mut near = Near::default();
        for link in [1, 2] {
            near.link_up(LinkId(link), &facts(2), &LinkPolicy::default());
        }
        let _ = near.heard(0, LinkId(1));
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
            assert_eq!(near.heard(0, LinkId(1)), None);
        }
    }
}
