//! Carriages: how units become the bytes of a pipe, and bytes units.

mod stream;

pub use stream::{Deframer, LENGTH_MAX, TooLong, length_prefix};
