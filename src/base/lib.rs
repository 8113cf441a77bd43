//! Floor 0: values and codecs. No clock, no files, no sockets, no async.
#![forbid(unsafe_code)]

pub mod disk;
