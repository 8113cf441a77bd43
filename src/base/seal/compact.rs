//! The compact seal: HPKE (RFC 9180) base mode, X25519 / HKDF-SHA256 / ChaCha20-Poly1305.
//!
//! 48 bytes of overhead: the encapsulated key, then the tag. The receipt secret is an HPKE export,
//! so it costs nothing; the lock made of it stands in the header and is recomputed *before*
//! opening, which makes the seal committing although ChaCha20-Poly1305 alone is not.

use std::convert::Infallible;

use hpke::{
    Deserializable, OpModeR, OpModeS, Serializable,
    aead::ChaCha20Poly1305,
    kdf::HkdfSha256,
    kem::X25519HkdfSha256,
    rand_core::{TryCryptoRng, TryRng},
};
use zeroize::Zeroize;

use super::SealError;
use crate::{
    bundle::{LockField, ReceiptSecret},
    domain,
    key::{SealPublic, SealSecret},
};

/// Encapsulated key and tag.
pub const OVERHEAD: usize = 32 + 16;

/// A sender's half-made seal: the lock is known, the header that holds it is not built yet.
pub struct Sealing {
    context: hpke::aead::AeadCtxS<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>,
    encapsulated: [u8; 32],
    secret: ReceiptSecret,
}

impl Sealing {
    /// Starts a seal to `recipient`, bound to what it is addressed to. `ephemeral` must be unique per seal and unpredictable:
    /// `compose` derives it from fresh randomness hedged with the sender's secret and the content.
    pub fn new(
        binding: &[u8],
        recipient: &SealPublic,
        ephemeral: [u8; 32],
    ) -> Result<Self, SealError> {
        let key = recipient.hpke().ok_or(SealError)?;
        let (encapsulated, context) = hpke::setup_sender_with_rng(
            &OpModeS::Base,
            &key,
            &info(binding),
            &mut OneSeed(Some(ephemeral)),
        )
        .map_err(|_| SealError)?;
        let mut r = [0; 16];
        context.export(domain::RECEIPT_EXPORT, &mut r).map_err(|_| SealError)?;
        Ok(Self { context, encapsulated: encapsulated.to_bytes().into(), secret: ReceiptSecret(r) })
    }

    /// The lock that a receipt will open.
    pub fn lock(&self) -> LockField {
        self.secret.compact_lock(&self.encapsulated)
    }

    /// Seals `plain` under the header's core; returns the payload and the receipt secret.
    pub fn seal(
        mut self,
        core: &[u8],
        plain: &[u8],
    ) -> Result<(Vec<u8>, ReceiptSecret), SealError> {
        let sealed = self.context.seal(plain, core).map_err(|_| SealError)?;
        let mut payload = Vec::with_capacity(32 + sealed.len());
        payload.extend_from_slice(&self.encapsulated);
        payload.extend_from_slice(&sealed);
        Ok((payload, self.secret))
    }
}

/// Opens a payload: first the lock, then the seal.
pub fn open(
    binding: &[u8],
    key: &SealSecret,
    core: &[u8],
    lock: &LockField,
    payload: &[u8],
) -> Result<(Vec<u8>, Option<ReceiptSecret>), SealError> {
    let (mut context, sealed) = receive(binding, key, payload)?;
    let secret = match lock {
        LockField::Compact(_) => {
            let secret = receipt_secret(&context)?;
            if !secret.opens(lock, payload) {
                return Err(SealError);
            }
            Some(secret)
        }
        _ => None,
    };
    let plain = context.open(sealed, core).map_err(|_| SealError)?;
    Ok((plain, secret))
}

/// The lock of a payload that was sealed to this key. It says nothing of whether it was: whoever has
/// left the lock out must open the payload under the header that it makes.
pub fn lock_for(binding: &[u8], key: &SealSecret, payload: &[u8]) -> Result<LockField, SealError> {
    let (context, _) = receive(binding, key, payload)?;
    let encapsulated = payload.get(..32).ok_or(SealError)?;
    Ok(receipt_secret(&context)?.compact_lock(encapsulated))
}

type Context = hpke::aead::AeadCtxR<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>;

/// The recipient's side of a seal, and what it opens.
fn receive<'a>(
    binding: &[u8],
    key: &SealSecret,
    payload: &'a [u8],
) -> Result<(Context, &'a [u8]), SealError> {
    let (encapsulated, sealed) = payload.split_at_checked(32).ok_or(SealError)?;
    let encapsulated = Deserializable::from_bytes(encapsulated).map_err(|_| SealError)?;
    let context = hpke::setup_receiver(&OpModeR::Base, &key.hpke(), &encapsulated, &info(binding))
        .map_err(|_| SealError)?;
    Ok((context, sealed))
}

fn receipt_secret(context: &Context) -> Result<ReceiptSecret, SealError> {
    let mut r = [0; 16];
    context.export(domain::RECEIPT_EXPORT, &mut r).map_err(|_| SealError)?;
    Ok(ReceiptSecret(r))
}

/// The HPKE info binds the recipient: its NodeId, or a group's 16 bytes.
fn info(binding: &[u8]) -> Vec<u8> {
    [domain::COMPACT_INFO, binding].concat()
}

/// A generator that gives out one seed, once: HPKE draws exactly 32 bytes for an X25519 key.
struct OneSeed(Option<[u8; 32]>);

impl TryRng for OneSeed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("an X25519 key pair is drawn as 32 bytes at once")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("an X25519 key pair is drawn as 32 bytes at once")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let mut seed = self.0.take().expect("an X25519 key pair is drawn once");
        out.copy_from_slice(&seed);
        seed.zeroize();
        Ok(())
    }
}

impl TryCryptoRng for OneSeed {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::NodeSecret;

    fn sealed() -> (NodeSecret, Vec<u8>, LockField) {
        let bob = NodeSecret::from_seed([2; 32]);
        let sealing =
            Sealing::new(bob.id().as_bytes(), &bob.first_seal_key().public(), [9; 32]).unwrap();
        let lock = sealing.lock();
        let (payload, secret) = sealing.seal(b"core", b"hello").unwrap();
        assert_eq!(payload.len(), OVERHEAD + 5);
        assert!(secret.opens(&lock, &payload));
        (bob, payload, lock)
    }

    #[test]
    fn opens_for_the_recipient_and_gives_the_receipt_secret() {
        let (bob, payload, lock) = sealed();
        let key = bob.first_seal_key();
        let (plain, secret) = open(bob.id().as_bytes(), &key, b"core", &lock, &payload).unwrap();
        assert_eq!(plain, b"hello");
        assert!(secret.unwrap().opens(&lock, &payload));
    }

    #[test]
    fn every_changed_input_keeps_it_shut() {
        let (bob, payload, lock) = sealed();
        let (id, key) = (bob.id(), bob.first_seal_key());
        let other = NodeSecret::from_seed([3; 32]);
        assert!(open(other.id().as_bytes(), &key, b"core", &lock, &payload).is_err());
        assert!(open(&[], &key, b"core", &lock, &payload).is_err());
        assert!(
            open(id.as_bytes(), &other.first_seal_key(), b"core", &lock, &payload).is_err(),
            "another key"
        );
        assert!(open(id.as_bytes(), &key, b"Core", &lock, &payload).is_err());
        assert!(open(id.as_bytes(), &key, b"core", &LockField::Compact([0; 8]), &payload).is_err());
        for at in 0..payload.len() {
            let mut spoiled = payload.clone();
            spoiled[at] ^= 1;
            assert!(open(id.as_bytes(), &key, b"core", &lock, &spoiled).is_err(), "byte {at}");
            assert!(open(id.as_bytes(), &key, b"core", &lock, &payload[..at]).is_err());
        }
    }

    #[test]
    fn an_encapsulated_key_of_small_order_is_refused() {
        let (bob, mut payload, lock) = sealed();
        payload[..32].fill(0);
        assert!(
            open(bob.id().as_bytes(), &bob.first_seal_key(), b"core", &lock, &payload).is_err(),
            "all-zero shared secret"
        );
    }
}
