//! Media: sticks, cards, synced folders. A directory tree with nobody at the other end, and whoever
//! wrote it last may have wished us harm.
//!
//! The way of a visit:
//! 1. [`look`] says what kind of place a path is, so that the caller can warn "nothing is mounted
//!    here" before mail lands on the wrong disk;
//! 2. [`MediumDisk::open`] (or [`MediumDisk::create`]) takes hold of `<place>/POSTRIDER` by a
//!    directory descriptor; from then on every access is relative to it and nothing outside of it
//!    is ever touched, whatever the medium contains;
//! 3. [`MediumDisk::survey`] lists a directory within bounds of count and time;
//! 4. reading and writing go through [`postrider_base::disk::Disk`];
//! 5. what went wrong is told as a [`MediumError`], which [`MediumError::of`] finds inside any
//!    [`std::io::Error`] that came from here.
//!
//! With the feature `watch`: [`MountTable`] tells which mounts carry our marker and when that
//! changes, [`FolderWatch`] when something changes in a folder, [`Labels`] which sticks carry our
//! label, and [`Udisks`] asks for one of those to be mounted.
//!
//! What a medium may hold and what happens then:
//!
//! | on the medium | what we do |
//! |---|---|
//! | symlinks, fifos, sockets, devices | never followed, never opened; ignored and counted |
//! | names that are not ours (`..`, control characters, 255 bytes, RTL, `CON`) | never used; ignored and counted |
//! | two names that differ by case only | ours is the upper-case one; the other is ignored |
//! | a million names | the listing stops at a bound and says so |
//! | a stick pulled out, whose root still lists as empty | [`MediumDisk::presence`] knows; absence is never evidence |
//! | a vanished stick that claims to be full | [`MediumError::FullOrPulled`], unless the facts say which |

mod disk;
mod error;
#[cfg(feature = "watch")]
mod folder;
#[cfg(feature = "watch")]
mod labels;
#[cfg(feature = "watch")]
mod mounts;
mod name;
mod place;
mod state;
mod survey;
#[cfg(feature = "watch")]
mod udisks;

pub use disk::{FOLDER, MediumDisk, Presence};
pub use error::MediumError;
#[cfg(feature = "watch")]
pub use folder::{FolderWatch, Touched};
#[cfg(feature = "watch")]
pub use labels::{LABEL, Labels, Stick};
#[cfg(feature = "watch")]
pub use mounts::{Mount, MountTable, is_ours, ours};
pub use name::is_our_name;
pub use place::{FileSystem, MediumFacts, Mounted, Place, look};
pub use survey::{NAMES_LOOKED_AT_MAX, SURVEY_TIME_MAX, Survey};
#[cfg(feature = "watch")]
pub use udisks::{Refusal, Udisks};
