//! How near somebody is to somebody, as a byte: the scale on which nodes compare what they know of
//! each other, and on which a copy remembers whom it has met.
//!
//! Only whole numbers, so that every machine comes to the same result.

use postrider_base::NodeId;

/// The first 8 bytes of a node's key: by them a neighbour says whom it meets, and the spool finds what
/// is for somebody. Keys that begin alike only cost a look at each other's mail.
pub type NodeHint = [u8; 8];

/// Amounts are in parts of one: a meeting, or certainty.
pub(super) const ONE: u32 = 1 << 10;

/// Levels to a doubling. Finer, and copies go to somebody hardly nearer; coarser, and they wait.
const STEPS: usize = 8;
/// What is less than this is nothing: a meeting of six half-lives ago.
const LEAST: u32 = ONE >> 6;
/// 2^(i/STEPS) in parts of 2^16.
const ROOTS: [u32; STEPS] = [65_536, 71_468, 77_936, 84_990, 92_682, 101_070, 110_218, 120_194];

/// The hint for a node.
pub fn hint(node: &NodeId) -> NodeHint {
    hint_of(node.as_bytes())
}

/// The hint for a node's key.
pub fn hint_of(key: &[u8; 32]) -> NodeHint {
    let mut first = [0; 8];
    first.copy_from_slice(&key[..8]);
    first
}

/// The level of an amount; 0: none.
#[expect(clippy::cast_possible_truncation, reason = "at most 28 doublings of eight steps")]
pub(super) fn level(amount: u32) -> u8 {
    if amount < LEAST {
        return 0;
    }
    let doublings = amount.ilog2() - LEAST.ilog2();
    let mantissa = u64::from(amount) << 16 >> amount.ilog2();
    let steps = ROOTS.iter().filter(|root| u64::from(**root) <= mantissa).count();
    (doublings as usize * STEPS + steps) as u8
}

/// The least amount that has this level.
pub(super) fn amount(level: u8) -> u32 {
    let Some(steps) = usize::from(level).checked_sub(1) else { return 0 };
    let amount = u64::from(ROOTS[steps % STEPS]) << (steps / STEPS);
    u32::try_from((amount * u64::from(LEAST)).div_ceil(1 << 16)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_never_a_lower_level_and_levels_come_back() {
        assert_eq!((level(0), level(LEAST - 1), level(LEAST)), (0, 0, 1));
        let highest = level(u32::MAX);
        for step in 1..=highest {
            assert_eq!(level(amount(step)), step);
            assert!(step == 1 || level(amount(step) - 1) == step - 1, "{step}");
        }
        assert_eq!(amount(0), 0);
        assert_eq!(amount(u8::MAX), u32::MAX, "a level from outside may be any");
    }
}
