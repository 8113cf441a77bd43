//! Floor 1: ways of moving bytes. A transport knows bytes and facts about the way, never bundles.
#![deny(unsafe_code)]

#[cfg(all(feature = "bluetooth", target_os = "linux"))]
pub mod bluetooth;
#[cfg(feature = "lan")]
pub mod changes;
pub mod contract;
pub mod frames;
#[cfg(feature = "lan")]
pub mod lan;
pub mod media;
#[cfg(feature = "pipe")]
pub mod pipe;
#[cfg(feature = "serial")]
pub mod serial;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "ygg")]
pub mod ygg;

pub use contract::{Arrival, Link, Pipe, Stop, StreamPipe, Transport, TransportError};
