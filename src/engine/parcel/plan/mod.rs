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
//! - the rest of a bundle, for a recipient who has its beginning, counts as a copy for whoever left it
//!   there and for nobody else; it goes when the bundle is settled, and for want of room never;
//! - when there is no room for a bundle, containers of less urgent bundles that *we still hold*
//!   make room; nobody else's copies are ever removed;
//! - writing to a medium spends no tokens, and removes nothing from the spool.
//!
//! ```
//! use postrider_base::{BundleId, Niceness};
//! use postrider_engine::parcel::{
//!     Access, Budgets, Candidate, Class, LeftOut, Notes, Planner, Room, Step, Verdict, VolumeId,
//!     record_bytes,
//! };
//!
//! let room = Room {
//!     access: Access::ReadWrite,
//!     free_bytes: 900 << 20,
//!     total_bytes: 1 << 30,
//!     cluster_bytes: 4096,
//!     file_max_bytes: u32::MAX.into(),
//! };
//! let notes = Notes::new(VolumeId([1; 16]));
//! let mut planner = Planner::new(room, Budgets::of(&room), notes);
//! // planner.container(..) for each container on the medium, planner.leftover(..) for each .TMP;
//! // then the spool's bundles in the order of `Rank`.
//! let letter = Candidate {
//!     id: BundleId([1; 32]),
//!     class: Class::Own,
//!     nice: Niceness::NORMAL,
//!     record_bytes: record_bytes(190, 514),
//!     for_me: false,
//! };
//! assert_eq!(planner.offer(letter), Verdict::Write);
//! assert_eq!(planner.offer(letter), Verdict::LeftOut(LeftOut::OnMedium));
//! planner.finish();
//! assert_eq!(planner.poll(), Some(Step::Write(vec![BundleId([1; 32])])));
//! assert_eq!(planner.poll(), None);
//! ```

mod planner;
mod rank;
mod room;

pub use planner::{
    BUNDLES_ON_MEDIUM_MAX, CONTAINERS_MAX, Candidate, Condition, LeftOut, Leftover, Listing,
    MediumContainer, MediumCopy, MediumRest, Planner, Removal, Standing, Step, Verdict, Whose,
};
pub use rank::{Class, Rank};
pub use room::{Access, Budgets, Room};

#[cfg(test)]
mod tests;
