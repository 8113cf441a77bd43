//! The live node: every decision about links, as values in and values out.

mod casts;
pub mod contract;
pub(crate) mod core;
mod ending;
mod engine;
pub(crate) mod handover;
pub(crate) mod near;
pub(crate) mod partials;
mod policy;
mod row;

pub use casts::{CAST_WAIT_MS, EARS_MIN, HAVES_MAX};
pub use contract::{
    Answer, Body, Class, Contact, Custody, Destination, Ending, Event, Input, Instance, Kept,
    Known, LinkId, Loaded, Local, NetworkId, NewBundle, Now, Output, People, Place, Reason, Row,
    Seen, ShortId, Ticket, TransferId, Verdict, Violation,
};
pub use engine::Engine;
pub use policy::{CarriedMax, LinkPolicy, Policy, is_pressed};
