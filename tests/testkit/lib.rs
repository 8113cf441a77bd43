//! What the tests of several crates share.
#![forbid(unsafe_code)]

mod crash_disk;
mod seeded;

pub use crash_disk::{CrashDisk, Fault, Names};
pub use seeded::Seeded;
