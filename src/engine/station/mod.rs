//! A station: what one radio channel carries, on which all may hear every frame, and none need.
//!
//! - `contract` says what goes in and what comes out: read that first;
//! - `machine` is the station: what a frame means that was heard, the way of a frame onto the air;
//! - `items`: what there is to send, and when each of it is due; `fair`: whose airtime that is;
//! - `code`: forms longer than a frame, out of pieces and sums, whatever is lost or false; `wants`: what
//!   is said of those that lack something;
//! - [`beacon`]: who is there and what it has, in 24 bytes; `held` what this node has, `neighbours` whom
//!   it hears;
//! - `forms`: what was heard lately, and what the shell said of it; `pace`: how long things take here.
//!
//! The protocol, its limits and their reasons stand in `docs/station.md`.

pub mod beacon;
mod code;
mod contract;
mod fair;
mod forms;
mod held;
mod items;
mod machine;
mod neighbours;
mod pace;
mod wants;

pub use contract::{
    Asks, Beacons, Ending, FormNumber, Input, Item, ItemId, Listening, Now, Output, Refusal,
    Repeats, Settings, Source, To, Verdict, Waiting,
};
pub use machine::{SettingsError, Station};

/// Frames are at least this long: the longest form makes 107 pieces then. LoRaWAN's slowest rates take
/// 51 bytes.
pub const MTU_LEAST: usize = 48;
/// Contacts whose beacons are resolved: one hash each for every beacon heard, a millisecond for all.
pub const CONTACTS_MAX: usize = 4_096;
/// What a station knows that its node has: as many as beacons can speak of in slices of eight.
pub const HELD_MAX: usize = 1_024;
