//! What this node allows: on all links, and on one.

use postrider_base::{Niceness, bundle::PAYLOAD_MAX, link::LinkFacts};

use super::{contract::NetworkId, ending::Reason, row::Class};

/// What holds for all links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Bytes of bodies that were cut and wait for a link to continue on.
    pub partial_bytes_max: u64,
    /// Silence after which a link is pinged.
    pub ping_after_ms: u64,
    /// A bundle that arrives over one link and stalls for this long is asked for over another.
    pub stall_ms: u64,
    /// When a peer says "later" without a time, and when this node does.
    pub later_s: u32,
    /// No longer body is taken to be carried, by whose it is.
    pub carried: CarriedMax,
}

/// The longest bodies that are carried: what the quota of their class has no room for, however
/// much is dropped, is refused before a byte of it comes. 0 carries none of a class. Own mail, from
/// here or for here, has no such limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CarriedMax {
    /// To or from contacts.
    pub contact_bytes: u64,
    /// To or from their friends.
    pub friend_bytes: u64,
    /// Carried blind.
    pub stranger_bytes: u64,
}

impl CarriedMax {
    /// Whatever a bundle can be.
    pub const ANY: Self =
        Self { contact_bytes: PAYLOAD_MAX, friend_bytes: PAYLOAD_MAX, stranger_bytes: PAYLOAD_MAX };

    /// Why a bundle of this length is not carried for this class.
    pub fn refuses(&self, class: Class, length: u64) -> Option<Reason> {
        let most = match class {
            Class::Own => return None,
            Class::Contact => self.contact_bytes,
            Class::Friend => self.friend_bytes,
            Class::Stranger => self.stranger_bytes,
        };
        match most {
            0 => Some(Reason::Transit),
            most => (length > most).then_some(Reason::Size),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            // Four of the largest bundles.
            partial_bytes_max: 4 * PAYLOAD_MAX,
            // Under the 30 s after which many home routers forget a flow.
            ping_after_ms: 15_000,
            stall_ms: 10_000,
            later_s: 60,
            carried: CarriedMax::ANY,
        }
    }
}

/// Of a hundred parts of a quota: with more, a node is under pressure.
const PRESSED_ABOVE: u64 = 70;
/// With no more, it no longer is: what is carried goes up and down by single bundles, and each end of
/// pressure has all neighbours compared.
const RELIEVED_AT: u64 = 60;

/// Whether a node is under pressure: carries nearly all that it has room for, of any of these: what is
/// carried, and the quota. `before`: whether it was.
pub fn is_pressed(carried: impl IntoIterator<Item = (u64, u64)>, before: bool) -> bool {
    let most = if before { RELIEVED_AT } else { PRESSED_ABOVE };
    let over = |(carried, quota): (u64, u64)| {
        quota > 0 && u128::from(carried) * 100 > u128::from(quota) * u128::from(most)
    };
    carried.into_iter().any(over)
}

/// A link is a radio where its rate is known beforehand and no higher: one bundle of 64 KiB takes ten
/// seconds of everybody's air.
const RADIO_BPS_MAX: u64 = 64_000;

/// What is allowed on one link, in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkPolicy {
    /// Whether bundles go over it that are neither for nor from the nodes at its ends.
    pub transit: bool,
    /// Nothing nicer than this goes over it.
    pub nice_max: Niceness,
    /// No body is longer than this.
    pub size_max: u64,
    /// Whether silence is filled with pings; off where bytes cost money.
    pub keepalive: bool,
    /// Whether what goes over it for others costs tokens: off where a copy costs nothing, as on a wire.
    pub counted: bool,
    /// Whether it is narrow: then few copies are made over it. An engine finds that for itself where
    /// the rate is known beforehand.
    pub radio: bool,
    /// A local network over which it runs, on which its other end hears what is sent to everybody.
    pub network: Option<NetworkId>,
}

impl Default for LinkPolicy {
    fn default() -> Self {
        Self {
            transit: true,
            nice_max: Niceness::new(u8::MAX).unwrap_or(Niceness::BULK),
            size_max: PAYLOAD_MAX,
            keepalive: true,
            counted: false,
            radio: false,
            network: None,
        }
    }
}

impl LinkPolicy {
    /// The same, for a link of which this is known.
    pub(crate) fn over(self, facts: &LinkFacts) -> Self {
        let narrow = facts.rate_bps.is_some_and(|rate_bps| rate_bps <= RADIO_BPS_MAX);
        Self { radio: self.radio || narrow, ..self }
    }

    /// For links on which every byte costs money: only what concerns the two ends, no pings.
    pub fn metered() -> Self {
        Self { transit: false, keepalive: false, counted: true, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_begins_above_what_ends_it() {
        for (carried, quota, before, pressed) in [
            (70, 100, false, false),
            (71, 100, false, true),
            (61, 100, true, true),
            (60, 100, true, false),
            (0, 0, false, false),
            (u64::MAX, u64::MAX, false, true),
            (5, u64::MAX, true, false),
        ] {
            assert_eq!(
                is_pressed([(0, 9), (carried, quota)], before),
                pressed,
                "{carried} {quota}"
            );
        }
    }

    #[test]
    fn a_link_that_says_beforehand_that_it_is_narrow_is_a_radio() {
        let address: postrider_base::link::Address = "serial:/dev/ttyUSB0".parse().unwrap();
        for (rate_bps, said, radio) in [
            (None, false, false),
            (Some(1200), false, true),
            (Some(64_000), false, true),
            (Some(64_001), false, false),
            (None, true, true),
        ] {
            let facts = LinkFacts { rate_bps, ..LinkFacts::stream(address.clone()) };
            let policy = LinkPolicy { radio: said, ..LinkPolicy::default() };
            assert_eq!(policy.over(&facts).radio, radio, "{rate_bps:?} {said}");
        }
    }
}
