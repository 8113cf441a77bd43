//! The wall between what relays see and what only the recipient sees.
//!
//! [`compact`] is HPKE for small mail to one recipient; [`age`] is the age file format for
//! everything else. Neither knows what it carries. `compose` and `unseal` bind them to a header.

pub mod age;
pub mod compact;
mod stream;

/// Why a seal did not open. One answer for every cause, so that it tells an attacker nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the seal does not open with this key: damaged, or sealed to another key")]
pub struct SealError;
