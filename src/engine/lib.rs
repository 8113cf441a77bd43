//! Floor 1: every decision and every protocol, without input or output.
//!
//! - [`node`]: the live node; its `contract.rs` says what runs it and how;
//! - [`air`]: when a radio may speak, and what that costs;
//! - [`carriage`]: how units become the bytes of a pipe; Noise where a link has no security;
//! - [`exchange`]: the protocol that two nodes speak over a link;
//! - [`introduce`]: two who cannot be dialled open a link together;
//! - [`meeting`]: who is near on a local network, and whom to dial;
//! - [`near`]: who is near by Bluetooth, and whom to dial;
//! - [`reconcile`]: in what two sets differ, for few bytes;
//! - [`router`]: which neighbour may have what;
//! - [`station`]: what one radio channel carries, and when;
//! - [`parcel`]: what is written to a medium and what is taken from it.
#![forbid(unsafe_code)]

pub mod air;
pub mod carriage;
pub mod exchange;
pub mod introduce;
pub mod meeting;
pub mod near;
pub mod node;
pub mod parcel;
pub mod reconcile;
pub mod router;
pub mod station;
