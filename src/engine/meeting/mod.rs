//! Meeting: who is near on a local network, and whom to dial.
//!
//! - [`beacon`]: the datagram by which nodes find each other.

pub mod beacon;
