//! The plan of a visit: what to write to a medium, in which containers, and what to remove.
//!
//! The [`Planner`] is told what is on the medium, then offered bundles one by one in the order of
//! [`Rank`], and answers for each at once, so that a spool of a million bundles can be streamed
//! past it. What is to be done comes out of [`Planner::poll`] as soon as it is certain.
//!
//! The rules:
//! - what the medium has whole is not written again; what nobody needs there is not written;
//! - urgent mail of everyone comes first, then one's own, then contacts', then strangers', each
//!   class within its budget;
//! - a container goes when every bundle in it is settled: a receipt opens it, it was for us and is
//!   delivered, or it has expired. Nothing goes because something is missing: a pulled stick looks
//!   like an empty one;
//! - when there is no room for a bundle, containers of less urgent bundles that *we still hold*
//!   make room; nobody else's copies are ever removed;
//! - writing to a medium spends no tokens, and removes nothing from the spool.

mod planner;
mod rank;
mod room;

pub use planner::{
    BUNDLES_ON_MEDIUM_MAX, CONTAINERS_MAX, Candidate, Condition, LeftOut, Leftover, Listing,
    MediumContainer, MediumCopy, Planner, Removal, Standing, Step, Verdict, Whose,
};
pub use rank::{Class, Rank};
pub use room::{Access, Budgets, Room};

#[cfg(test)]
mod tests;
