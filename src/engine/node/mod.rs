//! The live node: every decision about links, as values in and values out.

pub mod contract;
mod policy;

pub use contract::{
    Answer, Body, Class, Contact, Custody, Destination, Ending, Event, Input, Instance, Kept,
    Known, LinkId, Loaded, Local, NewBundle, Now, Output, People, Place, Reason, Row, Seen,
    ShortId, Ticket, TransferId, Verdict, Violation,
};
pub use policy::{LinkPolicy, Policy};
