//! Postrider: mail, files and commands between people and machines that are rarely online at the
//! same time.
//!
//! Floor plan, from the top:
//! - [`cli`] speaks with a person, [`desk`] does what is asked, [`home`] is where a node lives;
//! - [`api`] is every verb as a request, and how a running daemon is asked;
//! - [`daemon`] keeps links to other nodes, as long as it runs;
//! - [`simulate`] predicts what a crowd would get, in the world of `postrider-world`;
//! - `postrider-engine` decides, `postrider-spool` keeps, `postrider-transports` moves bytes;
//! - `postrider-base` has the values and codecs that all of them share.
//!
//! `docs/architecture.md` is the map.
#![forbid(unsafe_code)]

pub mod api;
pub mod bench;
pub mod cli;
pub mod daemon;
pub mod demo;
pub mod desk;
pub mod home;
pub mod simulate;
