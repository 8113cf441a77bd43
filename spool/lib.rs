//! Floor 1: the durable home of bundles.
#![forbid(unsafe_code)]

mod disk;

pub use disk::RealDisk;
