//! Floor 1: every decision and every protocol, without input or output.
//!
//! - [`carriage`]: a link as bytes; Noise where it brings no security of its own.
//! - [`parcel`]: what is written to a medium and what is taken from it.
//! - [`reconcile`]: in what two sets differ, for few bytes.
#![forbid(unsafe_code)]

pub mod carriage;
pub mod parcel;
pub mod reconcile;
