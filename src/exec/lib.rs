//! What may be run on this node for others, and running it within bounds.
//!
//! - [`allow`]: which commands others may have run, and what becomes of what they send with it;
//! - [`schedule`]: which job begins when, and what each is answered;
//! - [`contract`]: the folder of a job, what is written there and what that proves. Read it first.
//! - [`cage`]: the supervisor of one job, and what its command is confined by. Linux alone.
//!
//! Nothing here knows bundles, links or the spool: whoever journals a job decides that it runs, and
//! this room runs it at most once, whatever crashes.
#![forbid(unsafe_code)]

pub mod allow;
#[cfg(target_os = "linux")]
pub mod cage;
pub mod contract;
pub mod schedule;
