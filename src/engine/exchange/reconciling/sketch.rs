//! What is in a Sketch unit: one step of a reconciliation.
//!
//! ```text
//! 0 open     share 16   items 4        let us reconcile; this is my share of the key, and so many
//! 1 answer   share 16   items 4        agreed: symbols follow
//! 2 symbols  symbol 12, ...            1 to 1,024
//! 3 more                               not enough
//! 4 ask      hash 8, ...               offer me these: 1 to 1,024
//! 5 done                               that was all
//! 6 plain                              the plain list must do
//! ```

use bytes::Bytes;

use crate::reconcile::{ItemHash, Symbol, decode_batch, encode_batch};

/// Hashes in one unit: 8 KiB.
pub(super) const ASKED_MAX: usize = 1024;
const SHARE_BYTES: usize = 16;
const HASH_BYTES: usize = 8;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Open(Side),
    Answer(Side),
    Symbols(Vec<Symbol>),
    More,
    Ask(Vec<ItemHash>),
    Done,
    Plain,
}

/// What each end brings to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Side {
    /// Random: half of the key.
    pub share: [u8; SHARE_BYTES],
    /// How large its set is.
    pub items: u32,
}

impl Step {
    pub fn encode(&self) -> Bytes {
        let (kind, rest) = match self {
            Self::Open(side) => (0, side.encode()),
            Self::Answer(side) => (1, side.encode()),
            Self::Symbols(symbols) => (2, encode_batch(symbols)),
            Self::More => (3, Vec::new()),
            Self::Ask(hashes) => (4, hashes.iter().flat_map(|hash| hash.to_bytes()).collect()),
            Self::Done => (5, Vec::new()),
            Self::Plain => (6, Vec::new()),
        };
        [&[kind][..], &rest].concat().into()
    }

    /// `None` for what is no step.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let step = match kind {
            0 => Self::Open(Side::decode(rest)?),
            1 => Self::Answer(Side::decode(rest)?),
            2 => Self::Symbols(decode_batch(rest).ok()?),
            4 => {
                let (hashes, odd) = rest.as_chunks::<HASH_BYTES>();
                if !odd.is_empty() || hashes.is_empty() || hashes.len() > ASKED_MAX {
                    return None;
                }
                Self::Ask(hashes.iter().map(|hash| ItemHash::from_bytes(*hash)).collect())
            }
            3 | 5 | 6 if !rest.is_empty() => return None,
            3 => Self::More,
            5 => Self::Done,
            6 => Self::Plain,
            _ => return None,
        };
        Some(step)
    }
}

impl Side {
    fn encode(self) -> Vec<u8> {
        [&self.share[..], &self.items.to_be_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (share, items) = bytes.split_first_chunk()?;
        Some(Self { share: *share, items: u32::from_be_bytes(items.try_into().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn each_step_has_one_spelling() {
        let side = Side { share: [7; 16], items: 100_000 };
        let hashes: Vec<ItemHash> =
            (1..=ASKED_MAX as u64).map(|n| ItemHash::from_bytes(n.to_be_bytes())).collect();
        for step in [
            Step::Open(side),
            Step::Answer(side),
            Step::Symbols(vec![Symbol::default(); 3]),
            Step::More,
            Step::Ask(hashes),
            Step::Done,
            Step::Plain,
        ] {
            assert_eq!(Step::decode(&step.encode()), Some(step));
        }
    }

    #[test]
    fn more_than_a_unit_may_ask_is_refused() {
        let many = vec![ItemHash::from_bytes([1; 8]); ASKED_MAX + 1];
        assert_eq!(Step::decode(&Step::Ask(many).encode()), None);
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same(kind in 0_u8..8, rest in vec(any::<u8>(), 0..60)) {
            let bytes = [&[kind][..], &rest].concat();
            if let Some(step) = Step::decode(&bytes) {
                prop_assert_eq!(step.encode(), bytes);
            }
        }
    }
}
