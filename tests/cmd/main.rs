//! The built command, run as a person or a script runs it.
//!
//! What is checked here is what only a process shows: exit codes, streams, and the keys of the JSON
//! that scripts depend on. What a verb does is tested with the desk.
#![forbid(unsafe_code)]
// What a test stands on must be there; where it is not, the test has failed.
#![allow(clippy::unwrap_used, clippy::panic)]

mod allow;
#[path = "../e2e/cable.rs"]
#[allow(dead_code, reason = "other tests pull and damage it as well")]
mod cable;
mod contract;
mod daemon;
mod damage;
mod folders;
mod full;
mod get;
mod help;
mod hooks;
mod hostile;
mod jobs;
mod known_holes;
mod links;
mod narrow;
mod node;
mod peers;
mod ports;
mod simulate;
mod socket;
mod streams;
mod talk;
mod trust;
mod walk;
