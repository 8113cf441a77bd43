//! Carriage: what the two ends of a link say to each other, as bytes.
//!
//! - [`noise`]: proof and secrecy for links that have none of their own.

pub mod noise;
