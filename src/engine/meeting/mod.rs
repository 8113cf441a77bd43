//! Meeting: who is near on a local network, and whom to dial.
//!
//! The way from a cable to a link:
//! 1. an interface comes up, and a [`beacon`] goes out at once, then ever more rarely;
//! 2. whoever hears an unknown one answers within 100 ms, so that a newcomer soon knows all
//!    (`segment`); contacts and members of a group see who it is, others a guest (`neighbours`);
//! 3. all who hear each other stand on the same ring, from which each one reads whom it should have
//!    a link with (`ring`, `plan`), so that few sessions each reach everybody;
//! 4. one of two ends dials, by the order of their guest keys; the other one only after a while
//!    (`machine`).
//!
//! The bytes go through the `lan` transport, the links through `tls`; the layout of beacons and the
//! limits with their reasons stand in `docs/lan.md`.

pub mod beacon;
pub(crate) mod chance;
mod contract;
pub mod limits;
mod machine;
mod neighbours;
mod plan;
mod ring;
mod segment;
mod sessions;

pub use chance::Rate;
pub use contract::{Came, Input, InterfaceId, Known, Local, Output, Place, Role};
pub use machine::Meeting;
