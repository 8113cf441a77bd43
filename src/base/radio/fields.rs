//! The bytes of a form that stand for something: hop data, age, lifetime and niceness, levels.

use crate::{bundle::Hop, nice::Niceness, time::Lifetime};

/// The class byte of a bundle whose lifetime, niceness, counter or time has no short form: they
/// follow in full.
pub(super) const IN_FULL: u8 = 0xff;

/// Lifetimes with a class, in seconds: what people say when they are asked how long something is
/// worth. Classes 24 to 30 are refused, 31 would run into [`IN_FULL`].
const LIFETIMES: [u32; 24] = {
    const MINUTE: u32 = 60;
    const HOUR: u32 = 60 * MINUTE;
    const DAY: u32 = 24 * HOUR;
    [
        10 * MINUTE,
        30 * MINUTE,
        HOUR,
        2 * HOUR,
        3 * HOUR,
        6 * HOUR,
        12 * HOUR,
        DAY,
        2 * DAY,
        3 * DAY,
        4 * DAY,
        5 * DAY,
        7 * DAY,
        10 * DAY,
        14 * DAY,
        21 * DAY,
        30 * DAY,
        45 * DAY,
        60 * DAY,
        90 * DAY,
        180 * DAY,
        365 * DAY,
        730 * DAY,
        3650 * DAY,
    ]
};

/// The four named ones, and one step nicer each, as manifests are.
const NICENESSES: [u8; 8] = [32, 96, 160, 224, 31, 95, 159, 223];

/// Copies that can be handed on together. Other numbers are rounded down: who hands on keeps the rest.
const TOKENS: [u8; 8] = [0, 1, 2, 3, 4, 6, 8, 16];

/// The class byte, where both have a class.
pub(super) fn class_byte(lifetime: Lifetime, nice: Niceness) -> Option<u8> {
    let lifetime = LIFETIMES.iter().position(|s| *s == lifetime.seconds())?;
    let nice = NICENESSES.iter().position(|n| *n == nice.value())?;
    u8::try_from(lifetime << 3 | nice).ok()
}

/// What a class byte means, if anything.
pub(super) fn of_class(byte: u8) -> Option<(Lifetime, Niceness)> {
    let lifetime = LIFETIMES.get(usize::from(byte >> 3))?;
    let nice = NICENESSES[usize::from(byte & 7)];
    Some((Lifetime::new(*lifetime)?, Niceness::new(nice)?))
}

/// Tokens above, hops below; `None` for one that has passed too many nodes to be taken.
pub(super) fn hop_byte(hop: &Hop) -> Option<u8> {
    let tokens = TOKENS.iter().rposition(|n| *n <= hop.tokens)?;
    let tokens = u8::try_from(tokens).ok()?;
    (hop.hops < Hop::HOPS_MAX).then_some(tokens << 5 | hop.hops)
}

/// How much of its lifetime a bundle has behind it, in 256ths, rounded down: never early.
pub(super) fn age_byte(age_s: u32, lifetime: Lifetime) -> u8 {
    let part = (u64::from(age_s) << 8) / u64::from(lifetime.seconds());
    u8::try_from(part).unwrap_or(u8::MAX)
}

/// What hop and age bytes mean.
pub(super) fn of_hop(hop: u8, age: u8, lifetime: Lifetime, level: u8) -> Hop {
    // Rounded up: the true age was no less, and a node that hands on at once says the same again.
    let age_s = (u64::from(age) * u64::from(lifetime.seconds())).div_ceil(256);
    Hop {
        tokens: TOKENS[usize::from(hop >> 5)],
        hops: hop & 0x1f,
        age_s: u32::try_from(age_s).unwrap_or(u32::MAX),
        level,
    }
}

/// What arrives of hop data: tokens rounded down to 0, 1, 2, 3, 4, 6, 8 or 16, the age to 256ths of
/// the lifetime. Who hands tokens on gives away these, and keeps the rest. `None` past the hop limit.
pub fn carried(hop: Hop, lifetime: Lifetime) -> Option<Hop> {
    let age = age_byte(hop.age_s, lifetime);
    Some(of_hop(hop_byte(&hop)?, age, lifetime, hop.level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_told_apart_and_come_back() {
        let mut meant = 0;
        for byte in 0..=u8::MAX {
            let Some((lifetime, nice)) = of_class(byte) else { continue };
            assert_eq!(class_byte(lifetime, nice), Some(byte));
            meant += 1;
        }
        assert_eq!(meant, 24 * 8);
        assert_eq!(of_class(IN_FULL), None);
        assert!(LIFETIMES.is_sorted());
        assert!(class_byte(Lifetime::DEFAULT, Niceness::NORMAL).is_some());
        assert!(class_byte(Lifetime::new(86_401).unwrap(), Niceness::NORMAL).is_none());
    }

    #[test]
    fn an_age_never_grows_on_the_way_and_stays_as_it_is_when_handed_on_at_once() {
        for lifetime in [1, 2, 100, 255, 256, 257, 86_400, 2_592_000, u32::MAX] {
            let lifetime = Lifetime::new(lifetime).unwrap();
            let of =
                |part: u64| u32::try_from(u64::from(lifetime.seconds()) * part / 1000).unwrap();
            for age_s in (0..1000).map(of).chain([lifetime.seconds() - 1]) {
                let hop = Hop { age_s, ..Hop::fresh() };
                let once = carried(hop, lifetime).unwrap();
                assert!(once.age_s <= age_s && once.age_s < lifetime.seconds());
                assert!(age_s - once.age_s <= lifetime.seconds() / 256 + 1);
                assert_eq!(carried(once, lifetime), Some(once));
            }
        }
        let old = Hop { age_s: u32::MAX, ..Hop::fresh() };
        assert!(carried(old, Lifetime::DEFAULT).unwrap().age_s < Lifetime::DEFAULT.seconds());
    }

    #[test]
    fn tokens_are_never_made_of_nothing() {
        for tokens in 0..=u8::MAX {
            let hop = Hop { tokens, ..Hop::fresh() };
            let there = carried(hop, Lifetime::DEFAULT).unwrap();
            assert!(there.tokens <= tokens && (there.tokens > 0) == (tokens > 0));
        }
        assert!(carried(Hop { hops: 31, ..Hop::fresh() }, Lifetime::DEFAULT).is_some());
        assert_eq!(carried(Hop { hops: 32, ..Hop::fresh() }, Lifetime::DEFAULT), None);
    }
}
