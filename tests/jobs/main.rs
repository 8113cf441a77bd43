//! Jobs as real processes: what a command may, what becomes of it, and what is known of that afterwards.
//!
//! Nothing here is simulated: the supervisor is the built command, the commands are the system's own. Each
//! test runs as whoever runs it, root or not; what this machine cannot enforce is said and skipped.
//!
//! `POSTRIDER_STORM=N cargo test --test jobs` for the heavy run: 10 GB of output, N kills of supervisors.
#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]
// What a test stands on must be there; where it is not, the test has failed.
#![allow(clippy::unwrap_used, clippy::panic)]

mod ahead;
mod between;
mod bounds;
mod crashes;
mod endings;
mod job;
#[path = "../live_storm/line.rs"]
mod line;
mod narrow;
mod pace;
mod reach;
mod trial;
mod what_runs;
