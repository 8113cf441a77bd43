//! Carriage: how units become the bytes of a pipe, and bytes units.
//!
//! - `stream`: a length before each unit; `lent`: memory that comes back;
//! - [`noise`]: proof and secrecy for links that have none of their own.

mod lent;
pub mod noise;
mod stream;

pub use lent::Lent;
pub use stream::{Deframer, LENGTH_MAX, TooLong, length_prefix};
