//! Hop data: what changes from node to node and is believed only within bounds.

/// Rides beside a bundle, outside every signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// How many copies this one may still become; at least 1.
    pub tokens: u8,
    /// How many nodes it has passed.
    pub hops: u8,
    /// How old it was when it left the node before, in seconds; a node only ever adds to it.
    pub age_s: u32,
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
        Self { tokens: Self::TOKENS_NORMAL, hops: 0, age_s: 0 }
    }

    /// What a medium carries: one token, since a stick can be copied; a grown age.
    pub const fn on_medium(self, held_s: u32) -> Self {
        Self { tokens: 1, hops: self.hops, age_s: self.age_s.saturating_add(held_s) }
    }

    /// What a node believes of hop data from outside, or `None` past the hop limit.
    pub fn admitted(self) -> Option<Self> {
        (self.hops < Self::HOPS_MAX).then(|| Self {
            tokens: self.tokens.clamp(1, Self::TOKENS_MAX),
            hops: self.hops + 1,
            age_s: self.age_s,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_data_from_outside_is_bounded() {
        let wild = Hop { tokens: 255, hops: 0, age_s: 9 };
        assert_eq!(wild.admitted(), Some(Hop { tokens: 16, hops: 1, age_s: 9 }));
        assert_eq!(Hop { tokens: 0, hops: 31, age_s: 0 }.admitted().map(|h| h.tokens), Some(1));
        assert_eq!(Hop { tokens: 1, hops: 32, age_s: 0 }.admitted(), None);
    }

    #[test]
    fn a_medium_carries_one_token() {
        assert_eq!(Hop::fresh().on_medium(60), Hop { tokens: 1, hops: 0, age_s: 60 });
    }
}
