//! Hop data: what changes from node to node and is believed only within bounds.

use crate::nice::Niceness;

/// Rides beside a bundle, outside every signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// How many copies this one may still become, itself included; 0 for one that was handed on to
    /// somebody nearer to its recipient, beyond those that tokens allow.
    pub tokens: u8,
    /// How many nodes it has passed.
    pub hops: u8,
    /// How old it was when it left the node before, in seconds; a node only ever adds to it.
    pub age_s: u32,
    /// How near to its recipient, on the scale of the router, the nearest node is that this copy has
    /// been offered to; 0: none. It is handed on to nearer ones only.
    pub level: u8,
}

impl Hop {
    /// No bundle passes more nodes than this (DESIGN §3).
    pub const HOPS_MAX: u8 = 32;
    /// Copies of an urgent bundle; no class has more (DESIGN §6).
    pub const TOKENS_MAX: u8 = 16;
    /// Copies of a normal bundle (DESIGN §6).
    pub const TOKENS_NORMAL: u8 = 8;

    /// As a fresh bundle starts at its source.
    pub const fn fresh() -> Self {
        Self { tokens: Self::TOKENS_NORMAL, hops: 0, age_s: 0, level: 0 }
    }

    /// As one of this niceness does.
    pub fn fresh_for(nice: Niceness) -> Self {
        Self { tokens: Self::tokens_of(nice), ..Self::fresh() }
    }

    /// Copies of a bundle of this niceness.
    pub fn tokens_of(nice: Niceness) -> u8 {
        if nice <= Niceness::PRIORITY { Self::TOKENS_MAX } else { Self::TOKENS_NORMAL }
    }

    /// What a medium carries: one token, since a stick can be copied, and no level, since nobody knows
    /// who finds it; a grown age.
    pub const fn on_medium(self, held_s: u32) -> Self {
        Self { tokens: 1, hops: self.hops, age_s: self.age_s.saturating_add(held_s), level: 0 }
    }

    /// What a node believes of hop data from outside, with a bundle of this niceness, or `None` past the
    /// hop limit.
    pub fn admitted(self, nice: Niceness) -> Option<Self> {
        (self.hops < Self::HOPS_MAX).then(|| Self {
            tokens: self.tokens.min(Self::tokens_of(nice)),
            hops: self.hops + 1,
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_data_from_outside_is_bounded() {
        let wild = Hop { tokens: 255, hops: 0, age_s: 9, level: 3 };
        for (nice, tokens) in [
            (Niceness::FLASH, 16),
            (Niceness::PRIORITY, 16),
            (Niceness::NORMAL, 8),
            (Niceness::BULK, 8),
        ] {
            let admitted = Hop { tokens, hops: 1, age_s: 9, level: 3 };
            assert_eq!(wild.admitted(nice), Some(admitted));
            assert_eq!(Hop::fresh_for(nice).tokens, tokens);
            assert!(Hop { hops: 31, ..wild }.admitted(nice).is_some());
            assert_eq!(Hop { hops: 32, ..wild }.admitted(nice), None);
        }
    }

    #[test]
    fn a_medium_carries_one_token() {
        let hop = Hop { level: 9, ..Hop::fresh() };
        assert_eq!(hop.on_medium(60), Hop { tokens: 1, hops: 0, age_s: 60, level: 0 });
    }
}
