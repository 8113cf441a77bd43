//! What a node does: to whom it is for, over the named neighbour, else spray, and when tokens are spent
//! up the gradient of meetings.
//!
//! A copy without tokens to spare goes on to whoever is nearer to its recipient than this node and
//! than everybody who was offered it so far ([`Hop::level`](postrider_base::bundle::Hop::level)): in a
//! crowd of N some square root of N copies, where flooding makes N.

use std::collections::BTreeSet;

use postrider_base::{Header, NodeId, bundle::Hop};

use super::{
    Contact, Meeting, Neighbour, NoRoad, NodeHint, Placement, Road, Router, Spray,
    level::hint_of, meetings::Meetings,
};
use crate::node::{Now, People, Row, near::recipient};

/// Who is told whom this node meets.
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
        let mut meetings = Meetings::default();
        meetings.restore(remembered);
        Self { spray, meetings, tells, contacts: BTreeSet::new() }
    }
}

impl Router for Delegation {
    fn set_people(&mut self, people: People) {
        self.contacts = people.contacts.iter().map(|c| *c.node.as_bytes()).collect();
        self.spray.set_people(people);
    }

    fn on_contact(&mut self, now: Now, neighbour: NodeId, contact: Contact) {
        match contact {
            Contact::Began => self.meetings.begin(now, &neighbour),
            Contact::Ended => self.meetings.end(now, &neighbour),
        }
        self.spray.on_contact(now, neighbour, contact);
    }

    fn is_blocked(&self, node: &NodeId) -> bool {
        self.spray.is_blocked(node)
    }

    fn eligible(&self, now: Now, to: &Neighbour<'_>, row: &Row) -> Result<Road, NoRoad> {
        let no_road = match self.spray.eligible(now, to, row) {
            Err(no_road @ NoRoad::Stranger) => no_road,
            road => return road,
        };
        let (Some(peer), Some(recipient)) = (to.node, recipient(row)) else { return Err(no_road) };
        let hint = hint_of(&recipient);
        let theirs = self.meetings.theirs(&peer, hint);
        let best = self.meetings.mine(hint).max(row.hop.level);
        if theirs > best { Ok(Road::Delegate(theirs)) } else { Err(no_road) }
    }

    fn share(&self, road: Road, nice: u8, tokens: u8) -> u8 {
        self.spray.share(road, nice, tokens)
    }

    fn tell(&mut self, now: Now, to: &Neighbour<'_>) -> Vec<(NodeHint, u8)> {
        let is_told = match self.tells {
            Tells::Nobody => false,
            Tells::Contacts => to.node.is_some_and(|n| self.contacts.contains(n.as_bytes())),
            Tells::Everybody => to.node.is_some(),
        };
        if is_told { self.meetings.list(now) } else { Vec::new() }
    }

    fn told(&mut self, now: Now, neighbour: NodeId, list: Vec<(NodeHint, u8)>) {
        self.meetings.tell(now, &neighbour, list);
    }

    fn nearer(&self, to: &Neighbour<'_>) -> Vec<NodeHint> {
        to.node.map(|node| self.meetings.nearer(&node)).unwrap_or_default()
    }

    fn changed(&mut self) -> Vec<(NodeId, Meeting)> {
        self.meetings.changed().into_iter().collect()
    }

    fn place(&self, header: &Header, hop: Hop, from: &Neighbour<'_>) -> Placement {
        self.spray.place(header, hop, from)
    }
}
