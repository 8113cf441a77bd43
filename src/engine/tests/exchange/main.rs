//! The engine among its like: nodes, links and spools in virtual time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers of a scenario are small")]

mod bytes_spent;
mod casting;
mod cuts;
mod delegating;
mod directly;
mod duplicate;
mod early;
mod flooding;
mod hostile;
mod left;
mod measure;
mod net;
mod pair;
mod passing;
mod sketches;
mod store;
mod storm;
