//! How many strangers may shake hands at once, altogether and from one place.
//!
//! A handshake costs memory (at most 64 KiB: a ClientHello of 16 KiB and what rustls buffers beside
//! it) and a signature; whoever is not let in costs an accept and a close.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// Handshakes at once: 4 MiB at worst, and more than a broker sees in a second.
const HANDSHAKES_MAX: usize = 64;
/// Handshakes at once from one IPv4 address or one IPv6 /64, which is what one subscriber has: a
/// household behind one address may come back at once after a power cut.
const FROM_ONE_PLACE_MAX: usize = 8;

/// Who is shaking hands at the moment.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<BTreeMap<IpAddr, usize>>);

/// The right to shake hands; ends when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    of: Arc<Slots>,
    place: IpAddr,
}

impl Slots {
    /// A slot for somebody who comes from `from`, unless there are too many already.
    pub(super) fn take(self: &Arc<Self>, from: IpAddr) -> Option<Slot> {
        let place = place(from);
        let mut busy = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = busy.get(&place).copied().unwrap_or_default();
        if here >= FROM_ONE_PLACE_MAX || busy.values().sum::<usize>() >= HANDSHAKES_MAX {
            return None;
        }
        busy.insert(place, here + 1);
        Some(Slot { of: self.clone(), place })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut busy = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        match busy.get_mut(&self.place) {
            Some(here) if *here > 1 => *here -= 1,
            _ => drop(busy.remove(&self.place)),
        }
    }
}

/// The part of an address that one subscriber cannot change at will.
fn place(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(slots: &Arc<Slots>, from: &str) -> Option<Slot> {
        slots.take(from.parse().unwrap())
    }

    #[test]
    fn one_place_gets_no_more_than_its_share() {
        let slots = Arc::default();
        let held: Vec<_> = (0..FROM_ONE_PLACE_MAX)
            .map(|i| take(&slots, &format!("2001:db8:0:1::{i}")).unwrap())
            .collect();
        assert!(take(&slots, "2001:db8:0:1:ffff::").is_none());
        assert!(take(&slots, "2001:db8:0:2::").is_some(), "the next /64 is another place");
        drop(held);
        assert!(take(&slots, "2001:db8:0:1::").is_some());
    }

    #[test]
    fn every_ipv4_address_is_a_place() {
        let slots = Arc::default();
        let held: Vec<_> =
            (0..FROM_ONE_PLACE_MAX).map(|_| take(&slots, "192.0.2.1").unwrap()).collect();
        assert!(take(&slots, "192.0.2.1").is_none());
        assert!(take(&slots, "::ffff:192.0.2.1").is_none(), "the same in other clothes");
        assert!(take(&slots, "192.0.2.2").is_some());
        drop(held);
    }

    #[test]
    fn all_places_together_have_an_end_and_nothing_is_remembered() {
        let slots = Arc::default();
        let held: Vec<_> = (0..1000)
            .filter_map(|i| take(&slots, &format!("10.0.{}.{}", i / 256, i % 256)))
            .collect();
        assert_eq!(held.len(), HANDSHAKES_MAX);
        drop(held);
        assert!(slots.0.lock().unwrap().is_empty());
    }
}
