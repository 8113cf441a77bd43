//! Chance and rates: what is drawn, and how often something may happen.

use postrider_base::domain;
use zeroize::ZeroizeOnDrop;

/// Draws from one random seed, which it replaces with every draw: what was drawn does not follow
/// from what is in memory later.
#[derive(ZeroizeOnDrop)]
pub(crate) struct Chance([u8; 32]);

impl Chance {
    pub fn new(seed: [u8; 32]) -> Self {
        Self(domain::derive(domain::BEACON_CHANCE, &[&seed]))
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        let mut reader = blake3::Hasher::new_keyed(&self.0).finalize_xof();
        reader.fill(&mut self.0);
        reader.fill(out);
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A number of milliseconds up to `most`.
    pub fn up_to(&mut self, most: u64) -> u64 {
        u64::from_be_bytes(self.bytes()) % (most + 1)
    }
}

/// Something that may happen so often: a bucket of `burst` that fills at `per_s`.
#[derive(Debug)]
pub struct Rate {
    burst: u64,
    per_s: u64,
    /// Thousandths.
    left: u64,
    at_ms: u64,
}

impl Rate {
    /// A full bucket.
    pub fn new(burst: u64, per_s: u64) -> Self {
        Self { burst, per_s, left: burst * 1000, at_ms: 0 }
    }

    /// Takes one, unless fewer than `kept` would stay.
    pub fn take(&mut self, now_ms: u64, kept: u64) -> bool {
        self.take_many(now_ms, 1, kept)
    }

    /// Takes so many together, unless fewer than `kept` would stay.
    pub fn take_many(&mut self, now_ms: u64, many: u64, kept: u64) -> bool {
        self.fill(now_ms);
        let enough = self.left >= (kept + many) * 1000;
        if enough {
            self.left -= many * 1000;
        }
        enough
    }

    /// When there will be one and `kept` beside it.
    pub fn ready_ms(&self, kept: u64) -> u64 {
        let missing = ((kept + 1) * 1000).saturating_sub(self.left);
        self.at_ms.saturating_add(missing.div_ceil(self.per_s))
    }

    fn fill(&mut self, now_ms: u64) {
        let since = now_ms.saturating_sub(self.at_ms);
        self.left = since.saturating_mul(self.per_s).saturating_add(self.left);
        self.left = self.left.min(self.burst * 1000);
        self.at_ms = self.at_ms.max(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_allows_its_burst_and_then_its_pace() {
        let mut rate = Rate::new(5, 4);
        assert_eq!((0..100).filter(|_| rate.take(1_000, 0)).count(), 5);
        assert_eq!(rate.ready_ms(0), 1_250);
        assert!(!rate.take(1_249, 0));
        assert!(rate.take(1_250, 0));
        assert_eq!((2_000..12_000).filter(|now| rate.take(*now, 0)).count(), 42);
    }

    #[test]
    fn what_is_kept_is_there_for_others() {
        let mut rate = Rate::new(5, 4);
        assert_eq!((0..100).filter(|_| rate.take(1_000, 2)).count(), 3);
        assert_eq!((0..100).filter(|_| rate.take(1_000, 0)).count(), 2);
    }

    #[test]
    fn the_same_seed_draws_the_same_and_never_twice() {
        let (mut a, mut b) = (Chance::new([1; 32]), Chance::new([1; 32]));
        let first: [u8; 8] = a.bytes();
        assert_eq!(first, b.bytes());
        assert_ne!(first, a.bytes());
        assert_ne!(first, Chance::new([2; 32]).bytes());
        assert!((0..100).all(|_| a.up_to(7) <= 7));
    }
}
