//! Radios that keep a ledger, in simulated time: never above the law, whatever happens to them; no
//! airtime wasted; the urgent first.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod duty;
mod lanes;
mod radio;
