//! What may be run on this node for others, and running it within bounds.
//!
//! - [`allow`]: which commands others may have run, and what becomes of what they send with it;
//! - [`contract`]: the folder of a job, what is written there and what that proves. Read it first.
//!
//! Nothing here knows bundles, links or the spool: whoever journals a job decides that it runs, and
//! this room runs it at most once, whatever crashes.
#![forbid(unsafe_code)]

pub mod allow;
pub mod contract;
pub mod schedule;
