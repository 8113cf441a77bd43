//! A bundle waits for whom it is for: the least that a scheme can do, to compare others with.

use postrider_base::{Header, NodeId, bundle::Hop};

use super::{Contact, Flood, Neighbour, NoRoad, Placement, Road, Router};
use crate::node::{Now, People, Row};

/// Direct and via; nobody carries for others.
#[derive(Debug)]
pub struct Direct(Flood);

impl Direct {
    /// As that router, but for its flooding.
    pub fn new(flood: Flood) -> Self {
        Self(flood)
    }
}

impl Router for Direct {
    fn set_people(&mut self, people: People) {
        self.0.set_people(people);
    }

    fn on_contact(&mut self, now: Now, neighbour: NodeId, contact: Contact) {
        self.0.on_contact(now, neighbour, contact);
    }

    fn is_blocked(&self, node: &NodeId) -> bool {
        self.0.is_blocked(node)
    }

    fn eligible(&self, now: Now, to: &Neighbour<'_>, row: &Row) -> Result<Road, NoRoad> {
        match self.0.eligible(now, to, row)? {
            Road::Flood => Err(NoRoad::Stranger),
            road => Ok(road),
        }
    }

    fn place(&self, header: &Header, hop: Hop, from: &Neighbour<'_>) -> Placement {
        self.0.place(header, hop, from)
    }
}
