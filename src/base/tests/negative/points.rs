//! The points and numbers that implementations disagree about.

use curve25519_dalek::{EdwardsPoint, Scalar, constants::EIGHT_TORSION};
use sha2::{Digest, Sha512};

/// p = 2^255 - 19, little-endian.
pub(crate) const P: [u8; 32] = {
    let mut p = [0xff; 32];
    p[0] = 0xed;
    p[31] = 0x7f;
    p
};

/// `a + b` modulo 2^256, little-endian; whether it overflowed.
pub(crate) fn add(a: &[u8; 32], b: &[u8; 32]) -> ([u8; 32], bool) {
    let (mut sum, mut carry) = ([0; 32], 0_u16);
    for ((out, a), b) in sum.iter_mut().zip(a).zip(b) {
        carry += u16::from(*a) + u16::from(*b);
        [*out, _] = carry.to_le_bytes();
        carry >>= 8;
    }
    (sum, carry != 0)
}

pub(crate) fn small(value: u8) -> [u8; 32] {
    let mut out = [0; 32];
    out[0] = value;
    out
}

/// ℓ, the order of the base point (RFC 8032 §5.1).
pub(crate) fn order() -> [u8; 32] {
    add(&(-Scalar::ONE).to_bytes(), &small(1)).0
}

/// The eight points of small order, as they should be written.
pub(crate) fn small_order_points() -> Vec<[u8; 32]> {
    EIGHT_TORSION.map(|point| point.compress().to_bytes()).into()
}

/// Further spellings of points of small order that lenient decoders take: "negative zero" for
/// x = 0, and y + p where that fits into 255 bits.
pub(crate) fn misspelt_small_order_points() -> Vec<[u8; 32]> {
    let mut out = Vec::new();
    for canonical in small_order_points() {
        let mut y = canonical;
        y[31] &= 0x7f;
        for sign in [0, 0x80] {
            for mut raw in [Some(y), unreduced(&y)].into_iter().flatten() {
                raw[31] |= sign;
                out.push(raw);
            }
        }
    }
    // y = ±1 has x = 0, so both signs are the same point; the other points are their own spelling.
    out.retain(|raw| !small_order_points().contains(raw));
    out.sort_unstable();
    out.dedup();
    assert_eq!(out.len(), 6, "−0 of 1 and −1; p and p + 1, with and without sign bit");
    out
}

/// `value + p`, if it fits into 255 bits.
pub(crate) fn unreduced(value: &[u8; 32]) -> Option<[u8; 32]> {
    let (sum, overflow) = add(value, &P);
    (!overflow && sum[31] & 0x80 == 0).then_some(sum)
}

/// The u of small order on the curve and on its twist: from RFC 7748's map of the torsion points,
/// and −1, which lies on the twist.
pub(crate) fn small_order_u() -> Vec<[u8; 32]> {
    let mut out: Vec<[u8; 32]> =
        EIGHT_TORSION.iter().map(|point| point.to_montgomery().to_bytes()).collect();
    out.push(add(&P, &[0xff; 32]).0);
    out.sort_unstable();
    out.dedup();
    assert_eq!(out.len(), 5);
    out
}

/// A signing key whose secret scalar is known, for signatures that no honest signer makes.
pub(crate) struct Signer {
    pub(crate) seed: [u8; 32],
    pub(crate) scalar: Scalar,
    pub(crate) public: [u8; 32],
}

impl Signer {
    /// RFC 8032 §5.1.5.
    pub(crate) fn new(n: u8) -> Self {
        let seed = [n; 32];
        let digest = Sha512::digest(seed);
        let mut raw: [u8; 32] = digest[..32].try_into().unwrap();
        raw[0] &= 248;
        raw[31] = raw[31] & 127 | 64;
        let scalar = Scalar::from_bytes_mod_order(raw);
        let public = EdwardsPoint::mul_base(&scalar).compress().to_bytes();
        Self { seed, scalar, public }
    }

    /// The equation of RFC 8032 §5.1.6 with any R and any prefix of the hash (dom2).
    pub(crate) fn respond(&self, r: Scalar, big_r: [u8; 32], dom: &[u8], m: &[u8]) -> [u8; 64] {
        let k = challenge(dom, &big_r, &self.public, m);
        joined(big_r, (r + k * self.scalar).to_bytes())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let r = Scalar::from_bytes_mod_order(self.seed);
        let big_r = EdwardsPoint::mul_base(&r).compress().to_bytes();
        self.respond(r, big_r, &[], message)
    }
}

pub(crate) fn challenge(dom: &[u8], big_r: &[u8; 32], public: &[u8; 32], m: &[u8]) -> Scalar {
    let hash = Sha512::new().chain_update(dom).chain_update(big_r);
    Scalar::from_bytes_mod_order_wide(&hash.chain_update(public).chain_update(m).finalize().into())
}

pub(crate) fn joined(r: [u8; 32], s: [u8; 32]) -> [u8; 64] {
    let mut out = [0; 64];
    out[..32].copy_from_slice(&r);
    out[32..].copy_from_slice(&s);
    out
}

pub(crate) fn halves(signature: &[u8; 64]) -> ([u8; 32], [u8; 32]) {
    (signature[..32].try_into().unwrap(), signature[32..].try_into().unwrap())
}
