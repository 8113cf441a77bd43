//! When a source sprays again (format, B9): copies that it gave away may have been lost with their
//! nodes, and nobody tells. So a bundle without a receipt whose tokens are spent, and of which nobody
//! nearer to its recipient was offered a copy here, gets them anew after an eighth and after half of its
//! lifetime. Where tokens are never spent, since a radio or a full node holds them back, after half of
//! it: there copies are dear. More often brings hardly more, and costs much: at a conference of 400 people
//! half a message in a hundred more arrives, for a tenth more copies.

use postrider_base::bundle::Hop;

/// Parts of a lifetime; at the end of the last it is over.
const PARTS: u64 = 8;
/// Only for so long after a part has ended: what is given away later in the next part waits until that
/// has ended too. And for a quarter of a part, so that a program that did not run misses little.
const LATE_MIN_S: u64 = 1800;

/// Which part of its lifetime has ended, if a bundle of that age is to be sprayed again. `all`: how many
/// tokens such a bundle begins with; `renewed`: the part after which it was last, or 0.
pub fn due_again(age_s: u64, lifetime_s: u32, (hop, all): (Hop, u8), renewed: u8) -> Option<u8> {
    let lifetime_s = u64::from(lifetime_s);
    let part = age_s.saturating_mul(PARTS).checked_div(lifetime_s)?;
    let late_s = age_s.saturating_sub((part * lifetime_s).div_ceil(PARTS));
    let Hop { tokens, level, .. } = hop;
    let is_turn = part == PARTS / 2 || part == 1 && tokens <= 1;
    let due = (1..PARTS).contains(&part)
        && tokens < all
        && is_turn
        // What goes up the gradient of meetings finds its way; this is for where there is none.
        && level == 0
        && part > u64::from(renewed)
        && late_s <= LATE_MIN_S.max(lifetime_s / PARTS / 4);
    u8::try_from(part).ok().filter(|_| due)
}

/// In how many seconds the next part ends, if that is not the last.
pub fn next_part_s(age_s: u64, lifetime_s: u32) -> Option<u64> {
    let lifetime_s = u64::from(lifetime_s);
    let part = age_s.saturating_mul(PARTS).checked_div(lifetime_s)?.saturating_add(1);
    (part < PARTS).then(|| (part * lifetime_s).div_ceil(PARTS).saturating_sub(age_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: u64 = 86_400;

    fn with(tokens: u8, level: u8) -> Hop {
        Hop { tokens, level, ..Hop::fresh() }
    }

    #[test]
    fn it_is_due_once_soon_after_an_eighth_and_half_of_its_lifetime() {
        let fortnight = 14 * 86_400;
        let eighth = u64::from(fortnight) / 8;
        for (age_s, lifetime_s, renewed, due) in [
            (0, fortnight, 0, None),
            (eighth - 1, fortnight, 0, None),
            (eighth, fortnight, 0, Some(1)),
            (eighth, fortnight, 1, None),
            (eighth + eighth / 4, fortnight, 0, Some(1)),
            (eighth + eighth / 4 + 1, fortnight, 0, None),
            (2 * eighth, fortnight, 1, None),
            (3 * eighth, fortnight, 0, None),
            (4 * eighth, fortnight, 1, Some(4)),
            (5 * eighth, fortnight, 0, None),
            (8 * eighth, fortnight, 0, None),
            (u64::MAX, fortnight, 0, None),
            // Where a part is short all of it will do.
            (899, 3600, 0, Some(1)),
            (899, 3600, 1, None),
            (7, 7, 0, None),
            (4, 7, 0, Some(4)),
            (5, 0, 0, None),
        ] {
            let got = due_again(age_s, lifetime_s, (with(1, 0), 8), renewed);
            assert_eq!(got, due, "{age_s} {lifetime_s} {renewed}");
        }
    }

    #[test]
    fn what_is_held_back_is_due_after_half_of_it_and_what_gave_nothing_away_never() {
        let due = |(tokens, all)| -> Vec<u8> {
            let left = (with(tokens, 0), all);
            (0..=8).filter_map(|part| due_again(part * 1000, 8000, left, 0)).collect()
        };
        assert_eq!(due((1, 8)), [1, 4]);
        assert_eq!(due((7, 8)), [4]);
        assert_eq!(due((2, 8)), [4]);
        assert_eq!(due_again(1000, 8000, (with(1, 1), 8), 0), None, "somebody nearer has one");
        assert!(due((8, 8)).is_empty() && due((16, 8)).is_empty() && due((1, 1)).is_empty());
    }

    #[test]
    fn the_next_part_ends_when_something_is_due() {
        for lifetime_s in [60, 100, 3601, 86_400, 30 * 86_400] {
            let (mut age_s, mut due) = (0, 0);
            while let Some(wait_s) = next_part_s(age_s, lifetime_s) {
                assert!(wait_s > 0 && wait_s <= 30 * DAY_S);
                age_s += wait_s;
                due += usize::from(due_again(age_s, lifetime_s, (with(1, 0), 8), 0).is_some());
            }
            assert_eq!(due, 2, "{lifetime_s}");
        }
        assert_eq!(next_part_s(5, 0), None);
    }
}
