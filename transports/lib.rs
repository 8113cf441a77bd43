//! Floor 1: ways of moving bytes. A transport knows bytes and facts about the way, never bundles.
#![deny(unsafe_code)]

pub mod media;
