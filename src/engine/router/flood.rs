//! The first router: to whom it is for, over the named neighbour, else to everybody who lacks it.
//!
//! Flooding ends by hops, by receipts, and because nobody takes a bundle twice.

use std::collections::{BTreeMap, BTreeSet};

use postrider_base::{
    Header, Lifetime, Niceness, NodeId, SealPublic,
    bundle::{self, Hop, resolve_tag},
};

use super::{Contact, Neighbour, NoRoad, Placement, Road, Router};
use crate::{
    exchange::FLOOD_HOPS_MAX,
    node::{Class, Custody, Destination, Now, People, Reason, Row},
};

/// Direct, via, flooding.
#[derive(Debug)]
pub struct Flood {
    node: NodeId,
    tag_keys: Vec<SealPublic>,
    contacts: BTreeSet<[u8; 32]>,
    friends: BTreeSet<[u8; 32]>,
    seal_keys: Vec<(SealPublic, NodeId)>,
    blocked: BTreeSet<[u8; 32]>,
    via: BTreeMap<[u8; 32], BTreeSet<[u8; 32]>>,
    groups: BTreeSet<[u8; 16]>,
}

impl Flood {
    /// For a node with these seal keys.
    pub fn new(node: NodeId, tag_keys: Vec<SealPublic>) -> Self {
        Self {
            node,
            tag_keys,
            contacts: BTreeSet::new(),
            friends: BTreeSet::new(),
            seal_keys: Vec::new(),
            blocked: BTreeSet::new(),
            via: BTreeMap::new(),
            groups: BTreeSet::new(),
        }
    }

    /// Whose router it is.
    pub(super) fn node(&self) -> &NodeId {
        &self.node
    }

    /// Whether anybody may have written a header: nobody but its recipient can check a hidden one, and
    /// no contact brings it.
    fn is_anybodys(&self, header: &Header, from: &Neighbour<'_>) -> bool {
        let by_contact = from.node.is_some_and(|node| self.contacts.contains(node.as_bytes()));
        header.source().is_none() && !by_contact && self.recipient(header) != Some(self.node)
    }

    /// Whom a header is for, where that is this node or a contact or said in clear.
    fn recipient(&self, header: &Header) -> Option<NodeId> {
        match header.destination {
            bundle::Destination::Node(node) => Some(node),
            bundle::Destination::Group(_) => None,
            bundle::Destination::Tag(_) => {
                if resolve_tag(header, &self.tag_keys).is_some() {
                    return Some(self.node);
                }
                let key = resolve_tag(header, self.seal_keys.iter().map(|(key, _)| key))?;
                self.seal_keys.iter().find(|(known, _)| known == key).map(|(_, node)| *node)
            }
        }
    }
}

impl Router for Flood {
    fn set_people(&mut self, people: People) {
        self.contacts = people.contacts.iter().map(|c| *c.node.as_bytes()).collect();
        self.friends = people.friends.iter().map(|node| *node.as_bytes()).collect();
        self.seal_keys =
            people.contacts.iter().flat_map(|c| c.seal_keys.iter().map(|k| (*k, c.node))).collect();
        self.blocked = people.blocked.iter().map(|node| *node.as_bytes()).collect();
        self.groups = people.groups.iter().copied().collect();
        self.via.clear();
        for (destination, neighbour) in &people.via {
            self.via.entry(*destination.as_bytes()).or_default().insert(*neighbour.as_bytes());
        }
    }

    fn on_contact(&mut self, _now: Now, _neighbour: NodeId, _contact: Contact) {}

    fn is_blocked(&self, node: &NodeId) -> bool {
        self.blocked.contains(node.as_bytes())
    }

    fn eligible(&self, now: Now, to: &Neighbour<'_>, row: &Row) -> Result<Road, NoRoad> {
        let me = Some(*self.node.as_bytes());
        let peer = to.node.map(|node| *node.as_bytes());
        let recipient = match row.destination {
            Destination::Node(node) => Some(node),
            Destination::Group(_) => None,
            Destination::Tag(_) => row.tagged_for,
        };
        let blocked = |node: Option<[u8; 32]>| node.is_some_and(|n| self.blocked.contains(&n));
        // Of what goes to those who follow a group, its author is of no account.
        let followed = matches!(row.destination, Destination::Group(g) if self.groups.contains(&g));
        let is_peer = |node: Option<[u8; 32]>| peer.is_some() && node == peer;
        if row.expired(now.held_ms) {
            Err(NoRoad::Expired)
        } else if is_peer(row.source) {
            Err(NoRoad::Source)
        } else if is_peer(row.from) {
            Err(NoRoad::Brought)
        } else if recipient == me {
            Err(NoRoad::Arrived)
        } else if blocked(recipient) || !followed && blocked(row.source) || blocked(peer) {
            Err(NoRoad::Blocked)
        } else if row.nice > to.policy.nice_max.value() {
            Err(NoRoad::Nice)
        } else if row.length > to.policy.size_max {
            Err(NoRoad::Size)
        } else if is_peer(recipient) {
            Ok(Road::Direct)
        } else if !to.policy.transit && row.class != Class::Own && !followed {
            Err(NoRoad::Transit)
        } else if let (Some(recipient), Some(peer)) = (recipient, peer)
            && self.via.get(&recipient).is_some_and(|via| via.contains(&peer))
        {
            Ok(Road::Via)
        } else if row.hop.hops >= FLOOD_HOPS_MAX && !followed {
            Err(NoRoad::Hops)
        } else {
            Ok(Road::Flood)
        }
    }

    fn believed(&self, header: &Header, hop: Hop, from: &Neighbour<'_>) -> Hop {
        if !self.is_anybodys(header, from) {
            return hop;
        }
        let over_s = header.lifetime.seconds().saturating_sub(Lifetime::DEFAULT.seconds());
        let tokens = hop.tokens.min(Hop::tokens_of(header.nice.max(Niceness::NORMAL)));
        Hop { tokens, age_s: hop.age_s.max(over_s), ..hop }
    }

    fn place(&self, header: &Header, hop: Hop, from: &Neighbour<'_>) -> Placement {
        let source = header.source().map(|(source, _)| source);
        let recipient = self.recipient(header);
        let among = |people: &BTreeSet<[u8; 32]>| {
            [recipient, source].iter().flatten().any(|node| people.contains(node.as_bytes()))
        };
        let blocked = |node: Option<NodeId>| node.is_some_and(|node| self.is_blocked(&node));
        let followed = matches!(
            header.destination,
            bundle::Destination::Group(group) if self.groups.contains(&group)
        );
        if blocked(recipient) || !followed && blocked(source) || blocked(from.node) {
            return Placement::Refuse(Reason::Blocked);
        }
        if header.nice > from.policy.nice_max {
            return Placement::Refuse(Reason::Nice);
        }
        if header.length > from.policy.size_max {
            return Placement::Refuse(Reason::Size);
        }
        if u64::from(hop.age_s) >= u64::from(header.lifetime.seconds()) {
            return Placement::Refuse(Reason::Expired);
        }
        if recipient == Some(self.node) {
            return Placement::Keep(Custody::Deliver, Class::Own, recipient);
        }
        let by_peer = source.is_some() && source == from.node;
        if !from.policy.transit && !by_peer && !followed {
            return Placement::Refuse(Reason::Transit);
        }
        // A bundle of ours that comes back is ours; an unproven neighbour is a stranger, whatever
        // the bundle says.
        let class = if source == Some(self.node) {
            Class::Own
        } else if followed || from.node.is_some() && among(&self.contacts) {
            Class::Contact
        } else if from.node.is_some() && among(&self.friends) {
            Class::Friend
        } else {
            Class::Stranger
        };
        Placement::Keep(Custody::Carry, class, recipient)
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::{NodeSecret, SealSecret};

    use super::*;
    use crate::node::LinkPolicy;

    fn node(n: u8) -> NodeId {
        NodeSecret::from_seed([n; 32]).id()
    }

    fn row(to: u8, from: Option<u8>) -> Row {
        let source = Some(*node(7).as_bytes());
        Row { source, ..crate::router::tests::row(&node(to), from.map(node)) }
    }

    #[test]
    fn whose_a_bundle_is_counts_for_proven_neighbours_only() {
        let (contact, friend, stranger) = (node(3), node(4), node(5));
        let mut router = Flood::new(node(1), vec![]);
        router.set_people(People {
            contacts: vec![crate::node::Contact {
                node: contact,
                seal_keys: vec![],
                meets_per_month: 0,
            }],
            friends: vec![friend],
            ..People::default()
        });
        let policy = LinkPolicy::default();
        let header = |source: NodeId, to: NodeId| Header {
            destination: bundle::Destination::Node(to),
            lifetime: Lifetime::DEFAULT,
            nice: Niceness::NORMAL,
            seal: bundle::SealKind::None,
            lock: bundle::LockField::None,
            origin: bundle::Origin::Open {
                source,
                sequence: bundle::Sequence { epoch: 1, counter: 1 },
                created: 0,
            },
            length: 10,
            hash: None,
        };
        for (source, to, proven, class) in [
            (stranger, contact, true, Class::Contact),
            (contact, stranger, true, Class::Contact),
            (friend, contact, true, Class::Contact),
            (friend, stranger, true, Class::Friend),
            (stranger, friend, true, Class::Friend),
            (stranger, node(6), true, Class::Stranger),
            (friend, contact, false, Class::Stranger),
            (node(1), friend, true, Class::Own),
        ] {
            let from = Neighbour { node: proven.then(|| node(9)), policy: &policy };
            let placed = router.place(&header(source, to), Hop::fresh(), &from);
            assert_eq!(placed, Placement::Keep(Custody::Carry, class, Some(to)));
        }
    }

    /// Only its recipient can check a hidden header, and anybody can write one: what it says of urgency
    /// and lifetime is believed where a contact brings it, and by its recipient.
    #[test]
    fn a_hidden_bundle_from_a_stranger_gets_no_more_copies_than_others_and_lives_no_longer() {
        let seal = SealSecret::from_bytes([4; 32]).public();
        let mut router = Flood::new(node(1), vec![seal]);
        router.set_people(People {
            contacts: vec![crate::node::Contact {
                node: node(3),
                seal_keys: vec![],
                meets_per_month: 0,
            }],
            ..People::default()
        });
        let policy = LinkPolicy::default();
        let header = |nice, days: u32, for_me: bool| {
            let lock = bundle::LockField::Nonce([9; 8]);
            let tag = if for_me { bundle::tag_of(&seal, &lock).unwrap() } else { [7; 8] };
            Header {
                destination: bundle::Destination::Tag(tag),
                lifetime: Lifetime::new(days * 86_400).unwrap(),
                nice,
                seal: bundle::SealKind::Age,
                lock,
                origin: bundle::Origin::Hidden,
                length: 10,
                hash: None,
            }
        };
        let hop = Hop { tokens: Hop::TOKENS_MAX, age_s: 600, ..Hop::fresh() };
        let (day_s, many, few) = (86_400, Hop::TOKENS_MAX, Hop::TOKENS_NORMAL);
        for (what, from, nice, days, for_me, tokens, age_s) in [
            ("urgent, a stranger's", Some(5), Niceness::PRIORITY, 30, false, few, 600),
            ("urgent, nobody's", None, Niceness::FLASH, 30, false, few, 600),
            ("urgent, a contact's", Some(3), Niceness::FLASH, 30, false, many, 600),
            ("long lived, a stranger's", Some(5), Niceness::FLASH, 90, false, few, 60 * day_s),
            ("long lived, a contact's", Some(3), Niceness::FLASH, 90, false, many, 600),
            ("for this node", Some(5), Niceness::FLASH, 90, true, many, 600),
        ] {
            let from = Neighbour { node: from.map(node), policy: &policy };
            let header = header(nice, days, for_me);
            let believed = router.believed(&header, hop, &from);
            assert_eq!(believed, Hop { tokens, age_s, ..hop }, "{what}");
            let placed = router.place(&header, believed, &from);
            assert!(matches!(placed, Placement::Keep(..)), "{what}: {placed:?}");
        }
        // It stays so old: whoever gets it from here knows no more than this node does.
        let stranger = Neighbour { node: Some(node(5)), policy: &policy };
        let aged = Hop { age_s: 80 * day_s, ..Hop::fresh() };
        assert_eq!(router.believed(&header(Niceness::NORMAL, 90, false), aged, &stranger), aged);
    }

    #[test]
    fn a_bundle_goes_to_its_recipient_over_its_via_and_to_whoever_lacks_it() {
        let mut router = Flood::new(node(1), vec![]);
        router.set_people(People {
            via: vec![(node(3), node(4))],
            blocked: vec![node(6)],
            ..People::default()
        });
        let open = LinkPolicy::default();
        let closed = LinkPolicy { transit: false, ..LinkPolicy::default() };
        let strict = LinkPolicy { nice_max: Niceness::PRIORITY, ..LinkPolicy::default() };
        let far = |mut row: Row| {
            row.hop.hops = 16;
            row
        };
        let late = Now { mono_ms: 0, held_ms: 1_000_000 };
        let early = Now { mono_ms: 0, held_ms: 999_999 };
        for (what, peer, policy, row, now, expected) in [
            ("its recipient", 3, &closed, far(row(3, None)), early, Ok(Road::Direct)),
            ("its via, however far", 4, &open, far(row(3, None)), early, Ok(Road::Via)),
            ("anybody", 5, &open, row(3, None), early, Ok(Road::Flood)),
            ("not too far", 5, &open, far(row(3, None)), early, Err(NoRoad::Hops)),
            ("not its author", 7, &open, row(3, None), early, Err(NoRoad::Source)),
            ("not back", 5, &open, row(3, Some(5)), early, Err(NoRoad::Brought)),
            ("not what is ours", 5, &open, row(1, None), early, Err(NoRoad::Arrived)),
            ("not transit", 5, &closed, row(3, None), early, Err(NoRoad::Transit)),
            ("not so nice", 3, &strict, row(3, None), early, Err(NoRoad::Nice)),
            ("not for the blocked", 5, &open, row(6, None), early, Err(NoRoad::Blocked)),
            ("not too late", 3, &open, row(3, None), late, Err(NoRoad::Expired)),
        ] {
            let to = Neighbour { node: Some(node(peer)), policy };
            assert_eq!(router.eligible(now, &to, &row), expected, "{what}");
        }
    }

    /// What a group is for comes through where nothing else is carried for others, whoever wrote it.
    #[test]
    fn a_group_that_is_followed_is_carried_over_any_link_and_any_distance() {
        let mut router = Flood::new(node(1), vec![]);
        router.set_people(People {
            blocked: vec![node(7)],
            groups: vec![[9; 16]],
            ..People::default()
        });
        let closed = LinkPolicy { transit: false, ..LinkPolicy::default() };
        let to = Neighbour { node: Some(node(5)), policy: &closed };
        let now = Now::default();
        let for_group = |group| {
            let mut row = Row { destination: Destination::Group(group), ..row(3, None) };
            row.hop.hops = 20;
            row
        };
        assert_eq!(router.eligible(now, &to, &for_group([9; 16])), Ok(Road::Flood));
        assert_eq!(router.eligible(now, &to, &for_group([8; 16])), Err(NoRoad::Blocked));
        let blocked = Neighbour { node: Some(node(7)), policy: &closed };
        let from_it = Row { source: None, ..for_group([9; 16]) };
        assert_eq!(router.eligible(now, &blocked, &from_it), Err(NoRoad::Blocked));
    }
}
