//! How many strangers may shake hands at once, altogether and from one place.
//!
//! A handshake costs memory (at most 64 KiB: a ClientHello of 16 KiB and what rustls buffers beside
//! it) and a signature; whoever is not let in costs an accept and a close.
//!
//! Closing whoever comes last would let eight hosts that say nothing keep everybody out for good. So
//! when all slots are taken somebody who has shown no door token yet goes: from the place that has
//! most of them, the oldest. A dialler who shows its token in its first flight hardly notices.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::contract::Stop;

/// Handshakes at once: 4 MiB at worst, and more than a broker sees in a second.
const HANDSHAKES_MAX: usize = 64;
/// Handshakes at once from one IPv4 address or one IPv6 /64, which is what one subscriber has: a
/// household behind one address may come back at once after a power cut.
const FROM_ONE_PLACE_MAX: usize = 8;

/// Who is shaking hands at the moment, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<Busy>);

#[derive(Debug, Default)]
struct Busy {
    next: u64,
    guests: BTreeMap<u64, Guest>,
}

#[derive(Debug)]
struct Guest {
    place: IpAddr,
    known: bool,
    out: Stop,
}

/// The right to shake hands; ends when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    of: Arc<Slots>,
    number: u64,
    out: Stop,
}

impl Slots {
    /// A slot for somebody who comes from `from`, unless too many come from there or everybody who
    /// is here has shown a token.
    pub(super) fn take(self: &Arc<Self>, from: IpAddr) -> Option<Slot> {
        let place = place(from);
        let mut busy = self.busy();
        if busy.from(place) >= FROM_ONE_PLACE_MAX {
            return None;
        }
        if busy.guests.len() >= HANDSHAKES_MAX {
            let strangers = busy.guests.iter().filter(|(_, guest)| !guest.known);
            // The last of the greatest is the first that came.
            let leaves = strangers.rev().max_by_key(|(_, guest)| busy.from(guest.place));
            let leaves = leaves.map(|(number, _)| *number)?;
            busy.guests.remove(&leaves)?.out.cancel();
        }
        let number = busy.next;
        busy.next += 1;
        let out = Stop::new();
        busy.guests.insert(number, Guest { place, known: false, out: out.clone() });
        Some(Slot { of: self.clone(), number, out })
    }

    fn busy(&self) -> MutexGuard<'_, Busy> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Busy {
    fn from(&self, place: IpAddr) -> usize {
        self.guests.values().filter(|guest| guest.place == place).count()
    }
}

impl Slot {
    /// From now on nobody takes this slot away.
    pub(super) fn keep(&self) {
        if let Some(guest) = self.of.busy().guests.get_mut(&self.number) {
            guest.known = true;
        }
    }

    /// Waits until somebody else has got this slot.
    pub(super) async fn lost(&self) {
        self.out.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.of.busy().guests.remove(&self.number);
    }
}

/// The part of an address that one subscriber cannot change at will. On a local network all have
/// the same /64, so there every address is a place.
fn place(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => IpAddr::V6(v6),
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
    fn a_local_network_is_not_one_place() {
        let slots = Arc::default();
        let held = (0..2 * FROM_ONE_PLACE_MAX).map(|i| take(&slots, &format!("fe80::{i:x}")));
        assert!(held.collect::<Vec<_>>().iter().all(Option::is_some));
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
        let held: Vec<_> = (0..=255)
            .filter_map(|i| {
                let slot = take(&slots, &format!("10.0.0.{i}"))?;
                slot.keep();
                Some(slot)
            })
            .collect();
        assert_eq!(held.len(), HANDSHAKES_MAX);
        drop(held);
        assert!(slots.busy().guests.is_empty());
    }

    #[test]
    fn the_oldest_stranger_from_the_fullest_place_goes_first() {
        let slots = Arc::default();
        let first = take(&slots, "10.0.0.1").unwrap();
        let crowd: Vec<_> = (0..3).map(|_| take(&slots, "10.0.0.2").unwrap()).collect();
        crowd[0].keep();
        let rest: Vec<_> =
            (4..HANDSHAKES_MAX).map(|i| take(&slots, &format!("10.0.1.{i}")).unwrap()).collect();
        let lost = |slot: &Slot| slot.out.is_cancelled();
        let mut late = vec![take(&slots, "10.0.2.1").unwrap()];
        assert!(lost(&crowd[1]), "not the one that is kept");
        late.push(take(&slots, "10.0.2.2").unwrap());
        assert!(lost(&crowd[2]), "that place still has most");
        late.push(take(&slots, "10.0.2.3").unwrap());
        assert!(lost(&first), "all have one: the oldest");
        assert!(!lost(&crowd[0]) && !rest.iter().chain(&late).any(lost));
        assert_eq!(slots.busy().guests.len(), HANDSHAKES_MAX);
        drop((first, crowd));
        assert_eq!(
            slots.busy().guests.len(),
            HANDSHAKES_MAX - 1,
            "a lost slot is not given back twice"
        );
    }
}
