//! Floor 0: values and codecs. No clock, no files, no sockets, no async.
//!
//! Everything here is a function of its arguments; time and randomness come in as arguments. The
//! one exception is the `age` seal, whose library draws its own randomness from the system.
//!
//! - [`id`], [`key`], [`address`], [`words`], [`card`]: who somebody is; [`roster`]: who
//!   belongs together; [`agreement`]: with whom a link agrees on its keys;
//! - [`nice`], [`time`]: how urgent, how long; [`link`]: where a link leads and what it can do;
//!   [`air`]: what a radio is like;
//! - [`bundle`]: what relays see; [`packet`]: what only the recipient sees; [`seal`]: the wall
//!   between; [`compose`] and [`unseal`]: through that wall, out and in; [`radio`]: what relays see,
//!   in as few bytes as can be;
//! - [`wire`]: strict canonical CBOR; [`domain`]: every hash and signature domain;
//! - [`disk`]: the contract of a file layer.
#![forbid(unsafe_code)]

pub mod address;
pub mod agreement;
pub mod air;
mod blocks;
pub mod bundle;
pub mod card;
pub mod compose;
pub mod disk;
pub mod domain;
pub mod id;
pub mod key;
pub mod link;
pub mod lora;
pub mod nice;
pub mod packet;
mod points;
pub mod radio;
pub mod roster;
pub mod seal;
pub mod time;
pub mod unseal;
pub mod wire;
pub mod words;

pub use bundle::{Head, Header};
pub use card::Card;
pub use id::{BundleId, NodeId};
pub use key::{NodeSecret, SealPublic, SealSecret};
pub use link::{Address, LinkFacts};
pub use nice::Niceness;
pub use roster::Roster;
pub use time::Lifetime;
