//! Floor 1: ways of moving bytes.
