//! Binary spray and wait: a bundle becomes so many copies and no more, each of which waits for whom it
//! is for. Without spraying, its author's waits.

use postrider_base::{Header, Niceness, NodeId, bundle::Hop};

use super::{Contact, Flood, Neighbour, NoRoad, Placement, Road, Router};
use crate::node::{Destination, Now, People, Row};

/// Direct and via; else half of what tokens are left goes along with a copy, or nobody carries for
/// others. In all else as a router that floods.
#[derive(Debug)]
pub struct Spray {
    flood: Flood,
    /// How many a normal bundle begins with; an urgent one has twice as many.
    copies: u8,
}

impl Spray {
    /// So many copies of a normal bundle, twice as many of an urgent one.
    pub fn new(flood: Flood, copies: u8) -> Self {
        Self { flood, copies }
    }

    /// Who may have what at all.
    pub(super) fn flood(&self) -> &Flood {
        &self.flood
    }

    /// Whose router it is.
    pub(super) fn node(&self) -> &NodeId {
        self.flood.node()
    }

    /// No copies: the least that a scheme can do, to compare others with.
    pub fn direct(flood: Flood) -> Self {
        Self { flood, copies: 1 }
    }
}

impl Router for Spray {
    fn set_people(&mut self, people: People) {
        self.flood.set_people(people);
    }

    fn on_contact(&mut self, now: Now, neighbour: NodeId, contact: Contact) {
        self.flood.on_contact(now, neighbour, contact);
    }

    fn is_blocked(&self, node: &NodeId) -> bool {
        self.flood.is_blocked(node)
    }

    fn eligible(&self, now: Now, to: &Neighbour<'_>, row: &Row) -> Result<Road, NoRoad> {
        match self.flood.eligible(now, to, row)? {
            // A group has no recipient to wait for.
            Road::Flood if matches!(row.destination, Destination::Group(_)) => Ok(Road::Flood),
            Road::Flood if self.copies <= 1 => Err(NoRoad::Stranger),
            // Only a proven neighbour's word counts for where tokens are.
            Road::Flood if row.hop.tokens > 1 && to.node.is_some() => Ok(Road::Spray),
            Road::Flood => Err(NoRoad::Stranger),
            road => Ok(road),
        }
    }

    /// Half, but no more than a quarter of all that such a bundle has: one neighbour, or one key with
    /// many names, must not swallow them (format, B9). Over the way that the owner names they go whole.
    fn share(&self, road: Road, nice: u8, tokens: u8) -> u8 {
        if road == Road::Via {
            return tokens.saturating_sub(1);
        }
        let urgent = nice <= Niceness::PRIORITY.value();
        let all = if urgent { self.copies.saturating_mul(2) } else { self.copies };
        (tokens / 2).min((all / 4).max(1))
    }

    fn place(&self, header: &Header, hop: Hop, from: &Neighbour<'_>) -> Placement {
        self.flood.place(header, hop, from)
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;

    use super::*;
    use crate::node::LinkPolicy;

    #[test]
    fn no_neighbour_gets_more_than_a_quarter_and_half_of_what_is_left() {
        let node = NodeSecret::from_seed([1; 32]).id();
        let router = Spray::new(Flood::new(node, vec![]), Hop::TOKENS_NORMAL);
        let [normal, urgent] = [Niceness::NORMAL, Niceness::PRIORITY].map(Niceness::value);
        for (nice, tokens, share) in [
            (normal, 8, 2),
            (normal, 3, 1),
            (normal, 1, 0),
            (normal, 255, 2),
            (urgent, 16, 4),
            (urgent, 5, 2),
        ] {
            assert_eq!(router.share(Road::Spray, nice, tokens), share, "{nice} {tokens}");
        }
        assert_eq!(router.share(Road::Via, normal, 8), 7, "the way that the owner names");
    }

    #[test]
    fn a_copy_without_spare_tokens_waits_for_whom_it_is_for() {
        let [me, friend, stranger] = [1, 2, 3].map(|n| NodeSecret::from_seed([n; 32]).id());
        let policy = LinkPolicy::default();
        let over = |node| Neighbour { node, policy: &policy };
        let row = |tokens| Row {
            hop: Hop { tokens, ..Hop::fresh() },
            ..crate::router::tests::row(&friend, None)
        };
        let sprays = Spray::new(Flood::new(me, vec![]), 8);
        let waits = Spray::direct(Flood::new(me, vec![]));
        for (router, to, tokens, expected) in [
            (&sprays, Some(stranger), 2, Ok(Road::Spray)),
            (&sprays, Some(stranger), 1, Err(NoRoad::Stranger)),
            (&sprays, None, 8, Err(NoRoad::Stranger)),
            (&sprays, Some(friend), 1, Ok(Road::Direct)),
            (&waits, Some(stranger), 8, Err(NoRoad::Stranger)),
            (&waits, Some(friend), 8, Ok(Road::Direct)),
        ] {
            let road = router.eligible(Now::default(), &over(to), &row(tokens));
            assert_eq!(road, expected, "{to:?} {tokens}");
        }
        let group = Row { destination: Destination::Group([1; 16]), ..row(1) };
        for router in [&sprays, &waits] {
            let road = router.eligible(Now::default(), &over(None), &group);
            assert_eq!(road, Ok(Road::Flood), "a group has no recipient to wait for");
        }
    }
}
