//! Signatures and seals that must not hold, in the manner of Wycheproof: tables of faults, each
//! behind everything else being right, at every door where such a check stands.
//!
//! The special points are computed, not copied: from the torsion points of the curve and from the
//! encoding rules of RFC 8032 §5.1.2-3 and RFC 7748 §5. Which ones matter is told by "Taming the
//! many EdDSAs" (Chalkias, Garillot, Nikolaenko, 2020, table 1 and §3) for Ed25519 and by "May the
//! Fourth Be With You" (Genkin, Valenta, Yarom, 2017) for X25519.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "negative/age.rs"]
mod age;
#[path = "negative/cards.rs"]
mod cards;
#[path = "negative/doors.rs"]
mod doors;
#[path = "negative/keys.rs"]
mod keys;
#[path = "negative/points.rs"]
mod points;
#[path = "negative/receipts.rs"]
mod receipts;
#[path = "vectors/seals.rs"]
mod seals;
#[path = "negative/signatures.rs"]
mod signatures;
#[path = "negative/x25519.rs"]
mod x25519;
