//! The curve points of node keys that were read lately.
//!
//! The same few keys stand in nearly every header: one's own and a neighbour's. Turning 32 bytes
//! into a point that is checked costs about a fifth of a signature check, several times a bundle;
//! finding it here costs next to nothing. Keys are public, so what the time tells is no secret.

use std::cell::RefCell;

use ed25519_dalek::VerifyingKey;

use crate::id::NodeIdError;

/// Keys that one thread remembers: a node has few neighbours at a time. 192 bytes each.
const REMEMBERED_MAX: usize = 8;

thread_local! {
    static SEEN: RefCell<Seen> = const { RefCell::new(Seen { keys: Vec::new(), next: 0 }) };
}

struct Seen {
    keys: Vec<VerifyingKey>,
    /// Which one makes room for the next: the oldest.
    next: usize,
}

/// The point behind a node key: canonical, and not of small order.
pub(crate) fn of(raw: &[u8; 32]) -> Result<VerifyingKey, NodeIdError> {
    SEEN.with_borrow_mut(|seen| {
        if let Some(key) = seen.keys.iter().find(|key| key.as_bytes() == raw) {
            return Ok(*key);
        }
        let key = check(raw)?;
        if seen.keys.len() < REMEMBERED_MAX {
            seen.keys.push(key);
        } else {
            let next = seen.next;
            seen.keys[next] = key;
            seen.next = (next + 1) % REMEMBERED_MAX;
        }
        Ok(key)
    })
}

fn check(raw: &[u8; 32]) -> Result<VerifyingKey, NodeIdError> {
    let key = VerifyingKey::from_bytes(raw).map_err(|_| NodeIdError::Point)?;
    // Decompression accepts y + p for the few y below 19, and "negative zero": one node, one id.
    if key.to_edwards().compress().to_bytes() != *raw {
        return Err(NodeIdError::Point);
    }
    if key.is_weak() {
        return Err(NodeIdError::Weak);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeSecret;

    #[test]
    fn a_remembered_point_is_the_one_that_the_key_has() {
        let keys: Vec<_> = (0..24).map(|n| NodeSecret::from_seed([n; 32]).id()).collect();
        assert!(keys.len() > REMEMBERED_MAX);
        for key in keys.iter().chain(keys.iter().rev()) {
            assert_eq!(of(key.as_bytes()), check(key.as_bytes()));
        }
    }

    #[test]
    fn what_is_no_key_is_refused_each_time() {
        for _ in 0..2 {
            assert_eq!(of(&[0; 32]), Err(NodeIdError::Weak));
            assert_eq!(of(&[0xff; 32]), Err(NodeIdError::Point));
        }
    }
}
