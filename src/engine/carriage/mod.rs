//! Carriage: how units become the bytes of a pipe, and bytes units.
//!
//! - `stream`: a length before each unit; `lent`: memory that comes back;
//! - [`line`]: a pipe out of a port that loses and damages bytes;
//! - [`noise`]: proof and secrecy for links that have none of their own.

mod lent;
pub mod line;
pub mod noise;
mod stream;

pub use lent::Lent;
pub use stream::{Deframer, LENGTH_MAX, TooLong, length_prefix};
