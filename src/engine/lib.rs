//! Floor 1: every decision and every protocol, without input or output.
#![forbid(unsafe_code)]
