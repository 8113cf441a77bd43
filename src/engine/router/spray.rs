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
    /// This node carries nearly all that it has room for; others may be no better off.
    pressed: bool,
}

/// Over a radio a bundle becomes a quarter of its copies, and no fewer than two.
const RADIO_PART: u8 = 4;
/// Of a node that has little room left, half of them.
const PRESSED_PART: u8 = 2;

impl Spray {
    /// So many copies of a normal bundle, twice as many of an urgent one.
    pub fn new(flood: Flood, copies: u8) -> Self {
        Self { flood, copies, pressed: false }
    }

    /// Who may have what at all.
    pub(super) fn flood(&self) -> &Flood {
        &self.flood
    }

    /// Whose router it is.
    pub(super) fn node(&self) -> &NodeId {
        self.flood.node()
    }

    /// How many copies such a bundle becomes where nothing is scarce, and how many by what goes over
    /// this link now. The tokens between the two are kept for better links and better times.
    fn limits(&self, to: &Neighbour<'_>, nice: u8) -> (u8, u8) {
        let urgent = nice <= Niceness::PRIORITY.value();
        let all = if urgent { self.copies.saturating_mul(2) } else { self.copies };
        let part = if to.policy.radio {
            RADIO_PART
        } else if self.pressed {
            PRESSED_PART
        } else {
            1
        };
        (all, (all / part).max(2).min(all))
    }

    /// No copies: the least that a scheme can do, to compare others with.
    pub fn direct(flood: Flood) -> Self {
        Self { flood, copies: 1, pressed: false }
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
            Road::Flood
                if to.node.is_some()
                    && self.share(to, Road::Spray, row.nice, row.hop.tokens) > 0 =>
            {
                Ok(Road::Spray)
            }
            Road::Flood => Err(NoRoad::Stranger),
            road => Ok(road),
        }
    }

    /// Half of what is not held back, but no more than a quarter of all that such a bundle has here:
    /// one neighbour, or one key with many names, must not swallow them (format, B9). Over the way that
    /// the owner names they go whole.
    fn share(&self, to: &Neighbour<'_>, road: Road, nice: u8, tokens: u8) -> u8 {
        if road == Road::Via {
            return tokens.saturating_sub(1);
        }
        let (all, here) = self.limits(to, nice);
        let usable = tokens.saturating_sub(all - here);
        (usable / 2).min((here / 4).max(1))
    }

    fn holds_back(&self, now: Now, to: &Neighbour<'_>, row: &Row) -> bool {
        // Pressure is of the node, not of the link: its end is told to all.
        let (true, Some(_), true) = (to.policy.radio, to.node, self.copies > 1) else {
            return false;
        };
        row.hop.tokens > 1
            && !matches!(row.destination, Destination::Group(_))
            && self.share(to, Road::Spray, row.nice, row.hop.tokens) == 0
            && self.flood.eligible(now, to, row) == Ok(Road::Flood)
    }

    fn set_pressed(&mut self, pressed: bool) -> bool {
        std::mem::replace(&mut self.pressed, pressed) != pressed
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
        let mut router = Spray::new(Flood::new(node, vec![]), Hop::TOKENS_NORMAL);
        let [normal, urgent] = [Niceness::NORMAL, Niceness::PRIORITY].map(Niceness::value);
        let [wire, radio] =
            [false, true].map(|radio| LinkPolicy { radio, ..LinkPolicy::default() });
        for (pressed, policy, nice, tokens, share) in [
            (false, &wire, normal, 8, 2),
            (false, &wire, normal, 3, 1),
            (false, &wire, normal, 1, 0),
            (false, &wire, normal, 255, 2),
            (false, &wire, urgent, 16, 4),
            (false, &wire, urgent, 5, 2),
            (true, &wire, normal, 8, 1),
            (true, &wire, normal, 6, 1),
            (true, &wire, normal, 5, 0),
            (true, &wire, urgent, 16, 2),
            (true, &wire, urgent, 9, 0),
            (false, &radio, normal, 8, 1),
            (false, &radio, normal, 7, 0),
            (false, &radio, urgent, 16, 1),
            (false, &radio, urgent, 14, 1),
            (false, &radio, urgent, 13, 0),
            (true, &radio, normal, 8, 1),
            (true, &radio, normal, 7, 0),
        ] {
            router.set_pressed(pressed);
            let to = Neighbour { node: Some(node), policy };
            let got = router.share(&to, Road::Spray, nice, tokens);
            assert_eq!(got, share, "{pressed} {} {nice} {tokens}", policy.radio);
            assert_eq!(
                router.share(&to, Road::Via, nice, tokens),
                tokens - 1,
                "named by the owner"
            );
        }
    }

    /// How many copies exist when the source alone has sprayed: the receivers' tokens stay with them.
    #[test]
    fn a_radio_and_a_full_node_make_fewer_copies_and_keep_the_rest() {
        let me = NodeSecret::from_seed([1; 32]).id();
        for (pressed, radio, nice, copies, kept) in [
            (false, false, Niceness::NORMAL, 5, 1),
            (true, false, Niceness::NORMAL, 4, 5),
            (false, true, Niceness::NORMAL, 2, 7),
            (true, true, Niceness::NORMAL, 2, 7),
            (false, true, Niceness::PRIORITY, 4, 13),
        ] {
            let mut router = Spray::new(Flood::new(me, vec![]), Hop::TOKENS_NORMAL);
            router.set_pressed(pressed);
            let policy = LinkPolicy { radio, ..LinkPolicy::default() };
            let to = Neighbour { node: Some(me), policy: &policy };
            let urgent = nice == Niceness::PRIORITY;
            let mut tokens = if urgent { 16 } else { Hop::TOKENS_NORMAL };
            let mut made = 1;
            while let share @ 1.. = router.share(&to, Road::Spray, nice.value(), tokens) {
                (tokens, made) = (tokens - share, made + 1);
            }
            assert_eq!((made, tokens), (copies, kept), "{pressed} {radio} {nice:?}");
        }
    }

    #[test]
    fn what_a_radio_holds_back_may_go_to_the_same_neighbour_over_a_better_link() {
        let [me, friend, stranger] = [1, 2, 3].map(|n| NodeSecret::from_seed([n; 32]).id());
        let mut router = Spray::new(Flood::new(me, vec![]), Hop::TOKENS_NORMAL);
        let [wire, radio] =
            [false, true].map(|radio| LinkPolicy { radio, ..LinkPolicy::default() });
        let row = |tokens| Row {
            hop: Hop { tokens, ..Hop::fresh() },
            ..crate::router::tests::row(&friend, None)
        };
        let now = Now::default();
        for (policy, node, tokens, road, held) in [
            (&radio, Some(stranger), 8, Ok(Road::Spray), false),
            (&radio, Some(stranger), 7, Err(NoRoad::Stranger), true),
            (&wire, Some(stranger), 7, Ok(Road::Spray), false),
            (&radio, Some(stranger), 1, Err(NoRoad::Stranger), false),
            (&radio, None, 7, Err(NoRoad::Stranger), false),
            (&radio, Some(friend), 7, Ok(Road::Direct), false),
        ] {
            let to = Neighbour { node, policy };
            assert_eq!(router.eligible(now, &to, &row(tokens)), road, "{node:?} {tokens}");
            assert_eq!(router.holds_back(now, &to, &row(tokens)), held, "{node:?} {tokens}");
        }
        // Pressure ends for all links at once, and is told.
        assert!(router.set_pressed(true) && !router.set_pressed(true));
        let to = Neighbour { node: Some(stranger), policy: &wire };
        assert_eq!(router.eligible(now, &to, &row(5)), Err(NoRoad::Stranger));
        assert!(!router.holds_back(now, &to, &row(5)) && router.set_pressed(false));
        assert_eq!(router.eligible(now, &to, &row(5)), Ok(Road::Spray));
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
