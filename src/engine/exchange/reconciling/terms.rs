//! On what terms a session is held: its key, and what it may cost.

use super::sketch::Side;
use crate::{
    exchange::peer::Peer,
    reconcile::{BATCH_SYMBOLS_MAX, SYMBOL_BYTES, SessionKey, batch_symbols},
};

/// Bytes of an offer: what the plain list costs for each row.
const OFFER_BYTES: usize = 24;
/// The plain list is taken when symbols cost more than this part of it.
const PART: usize = 4;
/// So many symbols may always be tried: fewer tell nothing.
const SYMBOLS_LEAST: usize = 32;

/// Made of both shares, so that neither end alone chooses which items collide.
pub(super) fn session_key(opener: [u8; 16], other: [u8; 16]) -> SessionKey {
    let whole =
        blake3::derive_key("postrider 2026 reconcile session v1", &[opener, other].concat());
    let mut key = [0; 16];
    key.copy_from_slice(&whole[..16]);
    SessionKey(key)
}

/// How many symbols may be spent; `None` where the sizes alone say that it does not pay: a symbol
/// and a third for each difference.
pub(super) fn symbols_max(a: Side, b: Side) -> Option<usize> {
    let (a, b) = (a.items as usize, b.items as usize);
    let most = (a.max(b) * OFFER_BYTES / PART / SYMBOL_BYTES).max(SYMBOLS_LEAST);
    (a.abs_diff(b) * 4 / 3 <= most).then_some(most)
}

/// Symbols to send next: no more than lie in a chunk of the link, so that they hold nothing up.
pub(super) fn batch(peer: &Peer, sent: usize) -> usize {
    let fit = (peer.chunk_bytes() / SYMBOL_BYTES).clamp(1, BATCH_SYMBOLS_MAX);
    batch_symbols(sent).min(fit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_cost_at_most_a_quarter_of_the_list_and_differences_that_are_seen_must_fit() {
        for (a, b, most) in [
            (0, 0, Some(32)),
            (24, 0, Some(32)),
            (25, 0, None),
            (1000, 1000, Some(500)),
            (1000, 625, Some(500)),
            (1000, 624, None),
            (0, u32::MAX, None),
        ] {
            let side = |items| Side { share: [0; 16], items };
            assert_eq!(symbols_max(side(a), side(b)), most, "{a} and {b}");
            assert_eq!(symbols_max(side(b), side(a)), most, "{b} and {a}");
        }
    }

    #[test]
    fn each_share_and_their_order_change_the_key() {
        let keys = [(1, 2), (2, 1), (1, 3), (3, 2)].map(|(a, b)| session_key([a; 16], [b; 16]).0);
        for (n, key) in keys.iter().enumerate() {
            assert!(!keys[..n].contains(key));
        }
    }
}
