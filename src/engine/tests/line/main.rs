//! A line in simulated time: what it carries however bad it is, and that it never lies.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "figures of a test are small"
)]

mod bad_lines;
mod figures;
mod letters;
mod on_top;
mod storm;
mod wire;
