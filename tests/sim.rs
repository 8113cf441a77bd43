//! Simulations: real engines in a deterministic world, one seed a story.
//!
//! `POSTRIDER_STORM=N` raises the seeds of the storms; `POSTRIDER_SEED=N` runs one alone. What fails
//! prints its seed and what happened last.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "sim/couriers.rs"]
mod couriers;
#[path = "sim/malice.rs"]
mod malice;
#[path = "sim/places.rs"]
mod places;
#[path = "sim/storms.rs"]
mod storms;
#[path = "sim/tales.rs"]
mod tales;
