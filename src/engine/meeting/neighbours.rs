//! Who was heard on one segment: a bounded table.
//!
//! A neighbour is a place, an address and a port, whatever it calls itself at the moment. Beacons
//! are hearsay that anybody can make up. So one that resolves to nobody never takes the place of one
//! that did, and a flood of them pushes out only its like.

use std::{collections::BTreeMap, net::Ipv6Addr};

use postrider_base::NodeId;

use super::{
    beacon::Beacon,
    limits::{EXPIRES_MS, NEIGHBOURS_MAX},
};

/// Where on a segment.
pub(super) type Spot = (Ipv6Addr, u16);

/// Somebody who was heard.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub beacon: Beacon,
    /// Whom the beacon resolved to.
    pub known: Option<NodeId>,
    /// Its guest key before the one it has now: links under it may still come.
    pub guest_before: Option<NodeId>,
    pub heard_ms: u64,
    /// Since when a link has been planned and missed.
    pub missed_ms: Option<u64>,
    pub dialling: bool,
    pub failures: usize,
    /// Not dialled before this.
    pub retry_ms: u64,
}

impl Neighbour {
    fn new(beacon: Beacon, known: Option<NodeId>, now_ms: u64) -> Self {
        Self {
            beacon,
            known,
            guest_before: None,
            heard_ms: now_ms,
            missed_ms: None,
            dialling: false,
            failures: 0,
            retry_ms: 0,
        }
    }

    /// Whether a proven key is this neighbour's, as far as it is known.
    pub fn is(&self, node: &NodeId) -> bool {
        self.known.as_ref() == Some(node)
            || self.beacon.head.guest == *node
            || self.guest_before.as_ref() == Some(node)
    }
}

/// What a beacon told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing that matters.
    None,
    /// Another name for the same neighbour.
    Renamed,
    /// Somebody who was not here.
    New,
    /// Somebody who was here and has lost its links.
    Restarted,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Neighbours(BTreeMap<Spot, Neighbour>);

impl Neighbours {
    /// Whether exactly this was heard from there before; then it is still here.
    pub fn repeat(&mut self, from: Ipv6Addr, datagram: &[u8], now_ms: u64) -> bool {
        let port = datagram.get(10..12).map_or(0, |p| u16::from_be_bytes([p[0], p[1]]));
        let same = |neighbour: &&mut Neighbour| neighbour.beacon.as_bytes() == datagram;
        let known = self.0.get_mut(&(from, port)).filter(same);
        known.map(|neighbour| neighbour.heard_ms = now_ms).is_some()
    }

    /// Takes in a beacon. `keep` says of whom there is more than a beacon: a link.
    pub fn hear(
        &mut self,
        from: Ipv6Addr,
        beacon: Beacon,
        known: Option<NodeId>,
        now_ms: u64,
        keep: impl Fn(&Spot, &Neighbour) -> bool,
    ) -> News {
        let spot = (from, beacon.head.port);
        let Some(neighbour) = self.0.get_mut(&spot) else {
            if self.0.len() >= NEIGHBOURS_MAX && !self.make_room(known.is_some(), keep) {
                return News::None;
            }
            self.0.insert(spot, Neighbour::new(beacon, known, now_ms));
            return News::New;
        };
        if known.is_none() && neighbour.known.is_some() {
            // Anybody can say nothing from a forged address; whom we know is not forgotten for it.
            return News::None;
        }
        if known != neighbour.known {
            *neighbour = Neighbour::new(beacon, known, now_ms);
            return News::New;
        }
        let (was, is) = (&neighbour.beacon.head, &beacon.head);
        let renamed = was.nonce != is.nonce || was.guest != is.guest;
        // A beacon repeated was not passed on to here, so this is the first of another time that it
        // came up, even where the last one heard was fresh as well.
        let restarted = is.fresh;
        if was.guest != is.guest {
            neighbour.guest_before = Some(was.guest);
        }
        neighbour.beacon = beacon;
        neighbour.heard_ms = now_ms;
        if restarted {
            (neighbour.failures, neighbour.retry_ms) = (0, 0);
            News::Restarted
        } else if renamed {
            News::Renamed
        } else {
            News::None
        }
    }

    /// Pushes out the one that matters least; nobody who is known for somebody who is not.
    fn make_room(&mut self, for_known: bool, keep: impl Fn(&Spot, &Neighbour) -> bool) -> bool {
        let worth = |spot: &Spot, n: &Neighbour| {
            (keep(spot, n), n.known.is_some(), n.failures == 0, n.heard_ms)
        };
        let least = self.0.iter().min_by_key(|(spot, n)| worth(spot, n));
        let Some((spot, least)) = least else { return false };
        if keep(spot, least) || least.known.is_some() && !for_known {
            return false;
        }
        let spot = *spot;
        self.0.remove(&spot).is_some()
    }

    /// Forgets who was not heard for long; when it has to be looked at again.
    pub fn expire(&mut self, now_ms: u64) -> (bool, u64) {
        let before = self.0.len();
        self.0.retain(|_, neighbour| neighbour.heard_ms + EXPIRES_MS > now_ms);
        let next = self.0.values().map(|neighbour| neighbour.heard_ms + EXPIRES_MS).min();
        (before != self.0.len(), next.unwrap_or(u64::MAX))
    }

    /// Whom a link from `from` belongs to: by its key, or by its address where there is only one, whom we do not know.
    pub fn spot_of(&self, from: Ipv6Addr, node: &NodeId) -> Option<Spot> {
        let mut here = self.0.range((from, 0)..=(from, u16::MAX));
        if let Some((spot, _)) = here.clone().find(|(_, neighbour)| neighbour.is(node)) {
            return Some(*spot);
        }
        let (spot, only) = here.next()?;
        (here.next().is_none() && only.known.is_none()).then_some(*spot)
    }

    /// Asks again whom every beacon is from; forgets the blocked.
    pub fn resolve_again(&mut self, who: impl Fn(Ipv6Addr, &Beacon) -> Resolved) {
        self.0.retain(|(from, _), neighbour| match who(*from, &neighbour.beacon) {
            Resolved::Known(node) => {
                neighbour.known = Some(node);
                true
            }
            Resolved::Nobody => {
                neighbour.known = None;
                true
            }
            Resolved::Ignore => false,
        });
    }

    pub fn get_mut(&mut self, spot: &Spot) -> Option<&mut Neighbour> {
        self.0.get_mut(spot)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Spot, &Neighbour)> + Clone {
        self.0.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&Spot, &mut Neighbour)> {
        self.0.iter_mut()
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Whom a beacon is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// A contact, or a member of a group.
    Known(NodeId),
    /// Somebody who is nobody to us.
    Nobody,
    /// Ourselves, or somebody who is blocked.
    Ignore,
}

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;

    use super::*;
    use crate::meeting::beacon::{ContactKey, Head};

    fn address(n: usize) -> Ipv6Addr {
        Ipv6Addr::from(0xfe80_u128 << 112 | n as u128)
    }

    fn id(seed: u8) -> NodeId {
        NodeSecret::from_seed([seed; 32]).id()
    }

    fn beacon(nonce: usize, fresh: bool) -> Beacon {
        filled(nonce, fresh, 0)
    }

    fn filled(nonce: usize, fresh: bool, filler: u8) -> Beacon {
        let nonce = (nonce as u64).to_be_bytes();
        let head = Head { carrier: true, fresh, nonce, port: 7531, guest: id(1) };
        let key = ContactKey::of(&NodeSecret::from_seed([2; 32]).first_seal_key().public());
        Beacon::new(head, address(1), &id(2), &key, &[], &[filler; 128])
    }

    fn flooded() -> Neighbours {
        let mut table = Neighbours::default();
        table.hear(address(1), beacon(0, false), Some(id(2)), 0, |_, _| false);
        table.hear(address(2), beacon(0, false), None, 0, |_, _| false);
        for n in 3..3 * NEIGHBOURS_MAX {
            table
                .hear(address(n), beacon(0, false), None, n as u64, |spot, _| spot.0 == address(2));
        }
        table
    }

    #[test]
    fn a_flood_pushes_out_neither_the_known_nor_the_linked() {
        let table = flooded();
        assert_eq!(table.len(), NEIGHBOURS_MAX);
        let here = |n: usize| table.iter().any(|(spot, _)| spot.0 == address(n));
        assert!(here(1) && here(2) && !here(3) && here(3 * NEIGHBOURS_MAX - 1));
    }

    #[test]
    fn a_known_one_finds_room_in_a_flood() {
        let mut table = flooded();
        let news = table.hear(address(0), beacon(0, false), Some(id(3)), 9, |_, _| false);
        assert_eq!((news, table.len()), (News::New, NEIGHBOURS_MAX));
    }

    #[test]
    fn a_full_table_of_known_ones_takes_no_strangers() {
        let mut table = Neighbours::default();
        for n in 0..NEIGHBOURS_MAX {
            table.hear(address(n), beacon(0, false), Some(id(3)), 0, |_, _| false);
        }
        let news = table.hear(address(NEIGHBOURS_MAX), beacon(0, false), None, 9, |_, _| false);
        assert_eq!((news, table.len()), (News::None, NEIGHBOURS_MAX));
    }

    #[test]
    fn a_forged_address_does_not_hide_whom_we_know() {
        let mut table = Neighbours::default();
        table.hear(address(1), beacon(0, false), Some(id(2)), 0, |_, _| false);
        assert_eq!(table.hear(address(1), beacon(1, true), None, 1, |_, _| false), News::None);
        assert_eq!(table.iter().next().unwrap().1.known, Some(id(2)));
    }

    #[test]
    fn an_address_is_enough_only_for_somebody_unknown() {
        for (known, found) in [(None, true), (Some(id(2)), false)] {
            let mut table = Neighbours::default();
            table.hear(address(1), beacon(0, false), known, 0, |_, _| false);
            assert_eq!(table.spot_of(address(1), &id(9)).is_some(), found);
            assert!(table.spot_of(address(1), &id(1)).is_some(), "its guest key");
            assert_eq!(table.spot_of(address(2), &id(1)), None);
        }
    }

    #[test]
    fn news_are_told_apart() {
        let mut table = Neighbours::default();
        let mut hear = |beacon, now| table.hear(address(1), beacon, None, now, |_, _| false);
        assert_eq!(hear(beacon(0, true), 0), News::New);
        assert_eq!(hear(filled(0, true, 1), 0), News::Restarted, "it came up once more");
        assert_eq!(hear(beacon(0, false), 1), News::None);
        assert_eq!(hear(beacon(1, false), 2), News::Renamed);
        assert_eq!(hear(beacon(1, true), 3), News::Restarted);
        assert_eq!(hear(beacon(2, true), 4), News::Restarted);
        assert!(table.repeat(address(1), beacon(2, true).as_bytes(), 5));
        assert!(!table.repeat(address(2), beacon(2, true).as_bytes(), 5));
        assert!(!table.repeat(address(1), b"", 5));
        assert_eq!(table.expire(EXPIRES_MS + 4), (false, EXPIRES_MS + 5));
        assert_eq!(table.expire(EXPIRES_MS + 5), (true, u64::MAX));
    }
}
