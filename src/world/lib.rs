//! Floor 2: a deterministic world in which many real engines run.
//!
//! ```text
//! chance     one generator, one seed          timeline   one queue of what will happen
//! letters    bundles with real heads, ids, locks and signatures, cheaply
//! node       an engine, a memory spool, clocks of its own
//! shell      answers questions, writes what is to be written, as the daemon and the desk do
//! roads      streams with rate, latency, stalls, half duplex, darkness, cuts at any byte
//! meetings   crowds that meet as a contact trace lists     mobility   made-up ones
//! couriers   media that are walked from node to node        medium     how one is read and written
//! visit      an exchange with a medium, as the desk's, by the engine's planner
//! world      what happens next: the loop that a shell has, for all nodes at once
//! story      crashes, cuts, partitions, calm         malice     what leaves a node that lies
//! laws       what must hold after every step  history    the last events, and a digest of all
//! telling    what goes there           tally      what it all costs
//! ```
//!
//! A seed decides everything: links, delays, crashes, the order of answers. When a law does not
//! hold, [`Broken`] shows the seed, the step and what the nodes involved did last; the same story
//! with the same seed goes the same way, event by event ([`World::digest`]).
//!
//! All links are streams, as those of the engine are so far.
#![forbid(unsafe_code)]

mod chance;
mod couriers;
mod history;
mod laws;
mod letters;
mod malice;
mod medium;
mod meetings;
mod mobility;
mod node;
mod roads;
mod shell;
mod story;
mod tally;
mod telling;
mod timeline;
mod visit;
mod world;

pub use chance::Chance;
pub use couriers::{CourierId, Walk};
pub use history::Broken;
pub use laws::{Expectation, Told};
pub use letters::{Cover, NODES_MAX, Wish, node_id, seal_key};
pub use malice::{Caught, Malice};
pub use medium::Medium;
pub use meetings::{MEETINGS_MAX, Meeting, Meetings, TraceError};
pub use mobility::Mobility;
pub use node::Scheme;
pub use roads::{RoadId, Wire};
pub use shell::Nature;
pub use world::World;
