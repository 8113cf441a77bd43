//! What a node does: to whom it is for, over the named neighbour, else spray, and when tokens are spent
//! up the gradient of meetings. Where a link costs nothing, everybody on it may have a copy without
//! tokens: wires that always stand are crossed at once, however many there are in a row.
//!
//! A copy without tokens to spare goes on to whoever is nearer to its recipient than this node and
//! than everybody who was offered it so far ([`Hop::level`](postrider_base::bundle::Hop::level)): in a
//! crowd of N some square root of N copies, where flooding makes N.

use std::collections::BTreeSet;

use postrider_base::{Header, NodeId, bundle::Hop};

use super::{
    Contact, Meeting, Neighbour, NoRoad, NodeHint, Placement, Road, Router, Spray,
    level::{hint, hint_of},
    meetings::Meetings,
};
use crate::node::{Now, People, Row, near::recipient};

/// Who is told whom this node meets, and believed about whom it meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tells {
    /// Nobody: then others cannot hand on what this node would be near to.
    Nobody,
    /// Contacts.
    #[default]
    Contacts,
    /// Every neighbour.
    Everybody,
}

/// Direct, via, spray, then delegation.
#[derive(Debug)]
pub struct Delegation {
    spray: Spray,
    meetings: Meetings,
    tells: Tells,
    contacts: BTreeSet<[u8; 32]>,
}

impl Delegation {
    /// With what was remembered of meetings.
    pub fn new(spray: Spray, tells: Tells, remembered: Vec<(NodeId, Meeting)>) -> Self {
        let mut meetings = Meetings::new(spray.node());
        meetings.restore(remembered);
        Self { spray, meetings, tells, contacts: BTreeSet::new() }
    }

    fn trusts(&self, node: &NodeId) -> bool {
        match self.tells {
            Tells::Nobody => false,
            Tells::Contacts => self.contacts.contains(node.as_bytes()),
            Tells::Everybody => true,
        }
    }
}

impl Router for Delegation {
    fn set_people(&mut self, people: People) {
        self.contacts = people.contacts.iter().map(|c| *c.node.as_bytes()).collect();
        let said = people.contacts.iter().map(|c| (c.node, c.meets_per_month));
        self.meetings.expect(said);
        self.spray.set_people(people);
    }

    fn on_contact(&mut self, now: Now, neighbour: NodeId, contact: Contact) {
        match contact {
            Contact::Began => self.meetings.begin(now, neighbour),
            Contact::Ended => self.meetings.end(now, &neighbour),
        }
        self.spray.on_contact(now, neighbour, contact);
    }

    fn is_blocked(&self, node: &NodeId) -> bool {
        self.spray.is_blocked(node)
    }

    fn eligible(&self, now: Now, to: &Neighbour<'_>, row: &Row) -> Result<Road, NoRoad> {
        if !to.policy.counted {
            let road = self.spray.flood().eligible(now, to, row)?;
            return Ok(if road == Road::Flood { Road::Free } else { road });
        }
        let no_road = match self.spray.eligible(now, to, row) {
            Err(no_road @ NoRoad::Stranger) => no_road,
            road => return road,
        };
        let (Some(peer), Some(recipient)) = (to.node, recipient(row)) else { return Err(no_road) };
        let hint = hint_of(&recipient);
        let theirs = self.meetings.theirs(&peer, hint);
        let best = self.meetings.mine(now, hint).max(row.hop.level);
        if theirs > best { Ok(Road::Delegate(theirs)) } else { Err(no_road) }
    }

    fn share(&self, to: &Neighbour<'_>, road: Road, nice: u8, tokens: u8) -> u8 {
        self.spray.share(to, road, nice, tokens)
    }

    fn holds_back(&self, now: Now, to: &Neighbour<'_>, row: &Row) -> bool {
        to.policy.counted && self.spray.holds_back(now, to, row)
    }

    fn set_pressed(&mut self, pressed: bool) -> bool {
        self.spray.set_pressed(pressed)
    }

    fn tell(&mut self, now: Now, to: &Neighbour<'_>) -> Vec<(NodeHint, u8)> {
        let is_told = to.node.is_some_and(|node| self.trusts(&node));
        let mut list = if is_told { self.meetings.list(now) } else { Vec::new() };
        // How often they meet it knows itself.
        list.retain(|(node, _)| to.node.as_ref().map(hint) != Some(*node));
        list
    }

    fn told(&mut self, now: Now, neighbour: NodeId, list: Vec<(NodeHint, u8)>) {
        if self.trusts(&neighbour) {
            self.meetings.tell(now, neighbour, list);
        }
    }

    fn nearer(&self, now: Now, to: &Neighbour<'_>) -> Vec<NodeHint> {
        to.node.map(|node| self.meetings.nearer(now, &node)).unwrap_or_default()
    }

    fn near(&self, now: Now, row: &Row) -> Option<u8> {
        Some(self.meetings.mine(now, hint_of(&recipient(row)?)))
    }

    fn changed(&mut self) -> Vec<(NodeId, Meeting)> {
        self.meetings.changed().into_iter().collect()
    }

    fn believed(&self, header: &Header, hop: Hop, from: &Neighbour<'_>) -> Hop {
        self.spray.flood().believed(header, hop, from)
    }

    fn place(&self, header: &Header, hop: Hop, from: &Neighbour<'_>) -> Placement {
        self.spray.place(header, hop, from)
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;

    use super::*;
    use crate::{
        node::{Contact as Known, LinkPolicy},
        router::{Flood, hint, tests::row},
    };

    fn node(n: u8) -> NodeId {
        NodeSecret::from_seed([n; 32]).id()
    }

    fn router(tells: Tells) -> Delegation {
        Delegation::new(Spray::new(Flood::new(node(1), vec![]), 8), tells, Vec::new())
    }

    fn with(tokens: u8, level: u8) -> Row {
        Row { hop: Hop { tokens, level, ..Hop::fresh() }, ..row(&node(9), None) }
    }

    #[test]
    fn a_copy_without_tokens_goes_to_whoever_is_nearer_than_all_before() {
        let mut router = router(Tells::Everybody);
        let policy = LinkPolicy { counted: true, ..LinkPolicy::default() };
        let to = Neighbour { node: Some(node(2)), policy: &policy };
        let now = Now::default();
        let road = |router: &Delegation, row: &Row| router.eligible(now, &to, row);
        assert_eq!(road(&router, &with(8, 0)), Ok(Road::Spray));
        assert_eq!(road(&router, &with(1, 0)), Err(NoRoad::Stranger), "it says nothing");
        router.told(now, node(2), vec![(hint(&node(9)), 40)]);
        assert_eq!(road(&router, &with(1, 0)), Ok(Road::Delegate(40)));
        assert_eq!(road(&router, &with(0, 39)), Ok(Road::Delegate(40)));
        assert_eq!(road(&router, &with(0, 40)), Err(NoRoad::Stranger), "somebody as near has one");
        assert_eq!(router.nearer(now, &to), [hint(&node(9))]);
        // This node is nearer itself.
        assert_eq!(
            router.near(now, &with(1, 0)),
            Some(0),
            "what others say of theirs is not its own"
        );
        router.on_contact(now, node(9), Contact::Began);
        assert!(router.near(now, &with(1, 0)) > Some(5));
        router.told(now, node(2), vec![(hint(&node(9)), 5)]);
        assert_eq!(road(&router, &with(1, 0)), Err(NoRoad::Stranger));
        assert!(router.nearer(now, &to).is_empty());
        // A tag that nobody resolves, and a neighbour that proves nothing, have no gradient.
        let tagged = Row { destination: crate::node::Destination::Tag([1; 8]), ..with(1, 0) };
        assert_eq!(road(&router, &tagged), Err(NoRoad::Stranger));
        assert_eq!(router.near(now, &tagged), None);
        let wire = LinkPolicy::default();
        let over_wire = Neighbour { node: None, policy: &wire };
        assert_eq!(router.eligible(now, &over_wire, &with(1, 0)), Ok(Road::Free));
        let nobody = Neighbour { node: None, policy: &policy };
        assert_eq!(router.eligible(now, &nobody, &with(8, 0)), Err(NoRoad::Stranger));
    }

    #[test]
    fn whom_this_node_meets_is_told_to_those_who_may_know() {
        let policy = LinkPolicy::default();
        let now = Now::default();
        let contact = Known { node: node(2), seal_keys: vec![], meets_per_month: 0 };
        for (tells, friend, stranger) in [
            (Tells::Nobody, false, false),
            (Tells::Contacts, true, false),
            (Tells::Everybody, true, true),
        ] {
            let mut router = router(tells);
            router.set_people(People { contacts: vec![contact.clone()], ..People::default() });
            router.on_contact(now, node(9), Contact::Began);
            let mut told = |n| {
                let to = Neighbour { node: Some(node(n)), policy: &policy };
                !router.tell(now, &to).is_empty()
            };
            assert_eq!((told(2), told(3)), (friend, stranger), "{tells:?}");
            for (n, believed) in [(2, friend), (3, stranger)] {
                router.told(now, node(n), vec![(hint(&node(8)), 40)]);
                let to = Neighbour { node: Some(node(n)), policy: &policy };
                assert_eq!(!router.nearer(now, &to).is_empty(), believed, "{tells:?} {n}");
            }
        }
    }

    #[test]
    fn what_the_owner_says_counts_before_anything_has_happened() {
        let mut router = router(Tells::Contacts);
        let [friend, other] = [node(2), node(3)].map(|n| (n, hint(&n)));
        let known = |node, meets_per_month| Known { node, seal_keys: vec![], meets_per_month };
        let contacts = vec![known(friend.0, 4), known(other.0, 0)];
        router.set_people(People { contacts, ..People::default() });
        let now = Now::default();
        assert!(router.meetings.mine(now, friend.1) > 0);
        assert_eq!(router.meetings.mine(now, other.1), 0);
        let policy = LinkPolicy::default();
        let to = Neighbour { node: Some(other.0), policy: &policy };
        let told = router.tell(now, &to);
        assert_eq!(told, [(friend.1, router.meetings.mine(now, friend.1))]);
        router.set_people(People::default());
        assert_eq!(router.meetings.mine(now, friend.1), 0);
    }

    #[test]
    fn meetings_are_remembered_over_a_restart() {
        let mut before = router(Tells::Everybody);
        before.on_contact(Now::default(), node(9), Contact::Began);
        let remembered = before.changed();
        assert_eq!(remembered.len(), 1);
        assert!(before.changed().is_empty());
        let spray = Spray::new(Flood::new(node(1), vec![]), 8);
        let after = Delegation::new(spray, Tells::Everybody, remembered);
        let hint = hint(&node(9));
        assert!(after.meetings.mine(Now::default(), hint) > 0);
        assert_eq!(
            after.meetings.mine(Now::default(), hint),
            before.meetings.mine(Now::default(), hint)
        );
    }
}
