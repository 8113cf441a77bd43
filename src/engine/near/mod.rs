//! Near: who is near by Bluetooth, and whom to dial.
//!
//! The way from two radios to a link:
//! 1. an adapter comes up and says ten bytes, again and again, that only those resolve who hold the
//!    card of whoever says them (`advert`, `resolver`);
//! 2. now and then it listens, oftener while nobody was found (`duty`);
//! 3. of two that hear each other one dials at once, by an order that both read from what was said;
//!    the other after some seconds (`machine/dials`);
//! 4. a link stays while there is room; when more want one than there is room for, those that have
//!    nothing to say make it (`machine/links`).
//!
//! The bytes go through the `bluetooth` transport, and all of it is hearsay until a link proves who
//! is there. Figures and what they rest on stand in `docs/near.md`.

pub mod advert;
mod contract;
mod duty;
pub mod limits;
mod machine;
mod neighbours;
mod resolver;
mod sessions;

pub use contract::{
    AdapterId, AddressKind, Came, End, Heard, Input, Known, Local, Output, Place, Profile,
};
pub use machine::Near;
