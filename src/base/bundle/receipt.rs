//! Receipts: 25 bytes that prove delivery to the sender, and to every holder that it may let go.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Header, LockField};
use crate::{domain, id::BundleId};

/// The length of a receipt on any wire.
pub const RECEIPT_BYTES: usize = 25;
const TYPE: u8 = 1;

/// What opens a bundle's lock. Known to the sender, and to whoever opened the bundle.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ReceiptSecret(pub [u8; 16]);

/// Says that the bundle was opened by its recipient, or called back by its sender.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt {
    /// The first 8 bytes of the bundle's id.
    pub id_prefix: [u8; 8],
    /// The secret; public from here on.
    pub r: [u8; 16],
}

/// Why bytes are not a receipt.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a receipt")]
pub struct ReceiptError;

impl Receipt {
    /// The receipt for a bundle.
    pub fn new(id: &BundleId, secret: &ReceiptSecret) -> Self {
        Self { id_prefix: id.prefix(), r: secret.0 }
    }

    /// The bytes on any wire.
    pub fn encode(&self) -> [u8; RECEIPT_BYTES] {
        let mut out = [TYPE; RECEIPT_BYTES];
        out[1..9].copy_from_slice(&self.id_prefix);
        out[9..].copy_from_slice(&self.r);
        out
    }

    /// Reads a receipt; whether it is true is for [`Receipt::opens`] to say.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let bytes: &[u8; RECEIPT_BYTES] = bytes.try_into().map_err(|_| ReceiptError)?;
        if bytes[0] != TYPE {
            return Err(ReceiptError);
        }
        let (mut id_prefix, mut r) = ([0; 8], [0; 16]);
        id_prefix.copy_from_slice(&bytes[1..9]);
        r.copy_from_slice(&bytes[9..]);
        Ok(Self { id_prefix, r })
    }

    /// Whether this receipt opens the lock of the bundle it names; any holder can tell.
    ///
    /// `payload_start` is the first 32 bytes of the payload (all that a compact lock needs).
    pub fn opens(&self, id: &BundleId, header: &Header, payload_start: &[u8]) -> bool {
        self.id_prefix == id.prefix() && ReceiptSecret(self.r).opens(&header.lock, payload_start)
    }
}

impl ReceiptSecret {
    /// The lock of a compact seal: bound to the encapsulated key, so that one trial tests one lock.
    pub(crate) fn compact_lock(&self, encapsulated: &[u8]) -> LockField {
        let digest = domain::derive(domain::LOCK, &[encapsulated, &self.0]);
        LockField::Compact(domain::prefix(&digest))
    }

    /// The lock of an age seal.
    pub(crate) fn age_lock(&self) -> LockField {
        LockField::Age(domain::prefix(&domain::derive(domain::LOCK, &[&self.0])))
    }

    /// Whether this secret opens `lock`, in constant time.
    pub(crate) fn opens(&self, lock: &LockField, payload_start: &[u8]) -> bool {
        let made = match lock {
            LockField::Compact(_) => match payload_start.get(..32) {
                Some(encapsulated) => self.compact_lock(encapsulated),
                None => return false,
            },
            LockField::Age(_) => self.age_lock(),
            LockField::None | LockField::Nonce(_) => return false,
        };
        match (made.as_bytes(), lock.as_bytes()) {
            (Some(made), Some(lock)) => made.ct_eq(lock).into(),
            _ => false,
        }
    }
}

impl fmt::Debug for ReceiptSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiptSecret(..)")
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({:016x})", u64::from_be_bytes(self.id_prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_other_types_and_lengths() {
        let receipt = Receipt { id_prefix: [1; 8], r: [2; 16] };
        assert_eq!(Receipt::decode(&receipt.encode()), Ok(receipt));
        let mut other = receipt.encode();
        other[0] = 2;
        assert_eq!(Receipt::decode(&other), Err(ReceiptError));
        assert_eq!(Receipt::decode(&receipt.encode()[..24]), Err(ReceiptError));
    }

    #[test]
    fn a_compact_lock_opens_only_beside_its_own_encapsulated_key() {
        let secret = ReceiptSecret([5; 16]);
        let lock = secret.compact_lock(&[1; 32]);
        assert!(secret.opens(&lock, &[1; 40]));
        assert!(!secret.opens(&lock, &[2; 40]));
        assert!(!secret.opens(&lock, &[1; 31]));
        assert!(!ReceiptSecret([6; 16]).opens(&lock, &[1; 40]));
        assert!(!secret.opens(&LockField::None, &[1; 40]));
    }
}
