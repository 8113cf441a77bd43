//! Which symbols an item is part of.
//!
//! An item is part of symbol 0 and of each later symbol i with the chance 1/(1 + i/2), each decided
//! by itself. Walking from one to the next without trying those between takes one draw: after
//! symbol i, the chance that the next one lies beyond n is
//!
//! ```text
//! product over j = i+1..n of (1 - 2/(j+2)) = product of j/(j+2) = (i+1)(i+2) / ((n+1)(n+2))
//! ```
//!
//! because numerators and denominators two steps apart cancel. With r drawn evenly from 0..2^64, the
//! next symbol is therefore the least n for which (n+1)(n+2) * r >= (i+1)(i+2) * 2^64. Everything
//! here is an integer, so that all machines agree; the paper's square roots of floats need not.

use super::{SYMBOLS_MAX, item::ItemHash};

/// Where an item's walk ends: no symbol has this index.
pub(super) const NEVER: u32 = SYMBOLS_MAX;

/// Of the last index there is, (n+1)(n+2): whatever asks for more, never comes.
const LEAST_MAX: u128 = SYMBOLS_MAX as u128 * (SYMBOLS_MAX as u128 + 1);

/// The index after `index` of a symbol that has the item, or [`NEVER`].
pub(super) fn next_index(item: ItemHash, index: u32) -> u32 {
    let draw = item.draw(index);
    if draw == 0 {
        return NEVER;
    }
    // Below 2^37: an index is below 2^18. Shifted, below 2^101.
    let product = (u64::from(index) + 1) * (u64::from(index) + 2);
    let least = (u128::from(product) << 64).div_ceil(u128::from(draw));
    if least > LEAST_MAX {
        return NEVER;
    }
    // The least m with m(m+1) >= least; it is the root of `least`, or one more. Now below 2^19.
    let least = u64::try_from(least).expect("compared just now");
    let root = least.isqrt();
    let next = if root * (root + 1) >= least { root - 1 } else { root };
    u32::try_from(next).expect("below NEVER, because least is")
}

/// All symbols below `end` that have the item, in order, and after them where the walk goes on.
pub(super) fn walk(item: ItemHash, end: u32, mut visit: impl FnMut(u32)) -> u32 {
    let mut index = 0;
    while index < end {
        visit(index);
        index = next_index(item, index);
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes as good as random ones, and the same in every run.
    fn items(count: u64) -> impl Iterator<Item = ItemHash> {
        (1..=count).map(|n| ItemHash::from_sum(ItemHash::from_sum(n).draw(0) | 1))
    }

    #[test]
    fn the_walk_starts_at_symbol_0_goes_up_and_ends() {
        for item in items(2_000) {
            let mut before = None;
            let end = walk(item, SYMBOLS_MAX, |index| {
                assert!(before < Some(index));
                before = Some(index);
            });
            assert_eq!(end, NEVER);
        }
    }

    #[test]
    fn symbol_i_has_an_item_with_the_chance_1_in_1_plus_half_i() {
        const ITEMS: u64 = 200_000;
        const SYMBOLS: u32 = 200;
        let mut counts = vec![0_u64; SYMBOLS as usize];
        for item in items(ITEMS) {
            walk(item, SYMBOLS, |index| counts[index as usize] += 1);
        }
        for (i, count) in (0_u64..).zip(counts) {
            // Binomial: mean n*p, and its variance is below the mean. Five deviations.
            let mean = 2 * ITEMS / (i + 2);
            let off = count.abs_diff(mean);
            assert!(off * off <= 25 * mean, "symbol {i}: {count}, expected {mean}");
        }
    }

    #[test]
    fn far_symbols_are_as_dense_as_they_should_be() {
        const ITEMS: u64 = 50_000;
        let mut count = 0_u64;
        for item in items(ITEMS) {
            walk(item, 200_000, |index| count += u64::from(index >= 100_000));
        }
        // The sum of 2/(i+2) over 100,000..200,000 is 2 ln 2.
        let mean = ITEMS * 1_386_294 / 1_000_000;
        assert!(count.abs_diff(mean).pow(2) <= 25 * mean, "{count}, expected {mean}");
    }

    #[test]
    fn whether_an_item_is_in_one_symbol_says_nothing_about_another() {
        const ITEMS: u64 = 200_000;
        let (mut both, mut ten, mut eleven) = (0_u64, 0_u64, 0_u64);
        for item in items(ITEMS) {
            let mut seen = [false; 12];
            walk(item, 12, |index| seen[index as usize] = true);
            ten += u64::from(seen[10]);
            eleven += u64::from(seen[11]);
            both += u64::from(seen[10] && seen[11]);
        }
        let mean = ten * eleven / ITEMS;
        assert!(both.abs_diff(mean).pow(2) <= 25 * mean, "{both}, expected {mean}");
    }
}
