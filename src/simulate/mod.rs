//! `postrider simulate`: what a crowd that meets as a trace lists would get of its mail.
//!
//! Nothing is modelled but people and wires: every node runs the real engine with its exchange, over
//! a spool in memory, in the deterministic world that the tests use. One seed decides everything.

mod plot;
mod run;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;
use postrider_base::Lifetime;
use postrider_spool::Dropping;
use postrider_world::{Meetings, Mobility, Scheme, TraceError};
use serde::Serialize;

use crate::desk::{Failure, FailureKind};

pub use self::{plot::plot, run::run};

/// Bytes of a trace, unpacked: twenty million meetings.
const TRACE_MAX: u64 = 1 << 30;
/// Bundles are small: what two who pass each other can exchange.
pub const BYTES_DEFAULT: u32 = 600;
/// What is let through when two meet, unless told: a local network's.
pub const RATE_DEFAULT: u64 = 100_000_000;

/// What is to be simulated, beside the trace.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// How nodes route, and what that is called.
    pub scheme: (&'static str, Scheme),
    /// Messages, born in the middle half of the trace between random pairs.
    pub messages: usize,
    /// How long each lives.
    pub ttl: Lifetime,
    /// Bundles that a node has room for.
    pub buffer: Option<u64>,
    /// What that bounds and how room is made for a further one; as each scheme is known, if not said.
    pub dropping: Option<Dropping>,
    /// Whether receipts free copies.
    pub receipts: bool,
    /// Nodes that write much only to fill the spools of others.
    pub attackers: usize,
    /// Keys with which each of them writes.
    pub keys: usize,
    /// Bytes of a bundle's body.
    pub bytes: usize,
    /// Bits per second between two who meet, each way.
    pub rate_bps: u64,
    /// What decides everything.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename = "summary")]
pub struct Simulated {
    /// Always "simulate".
    pub verb: &'static str,
    /// How nodes routed.
    pub scheme: &'static str,
    /// The share of messages that arrived in time, 0 to 1.
    pub delivered: f64,
    /// How often a message went from node to node, on average.
    pub transmissions_per_message: f64,
    /// Of those that arrived, how long half took at most.
    pub delay_p50_s: Option<f64>,
    /// And 95 of a hundred.
    pub delay_p95_s: Option<f64>,
    /// Copies in all spools together, on average over the whole time.
    pub copies_mean: f64,
    /// Bytes over all links, all told.
    pub bytes: u64,
    /// Nodes of the trace.
    pub nodes: usize,
    /// Meetings of the trace.
    pub meetings: usize,
    /// Messages that were written.
    pub messages: usize,
    /// How long each lived.
    pub ttl_s: u32,
    /// Bits per second of each link.
    pub rate_bps: u64,
    /// Nodes that wrote four times as much as all others together, which is not counted.
    pub attackers: usize,
    /// What decided everything.
    pub seed: u64,
    /// After how many seconds each that arrived did, ascending; not in the JSON.
    #[serde(skip)]
    pub delays_s: Vec<f64>,
}

/// Reads a trace from a file, or with `-` from standard input; packed by gzip or not.
pub fn read_trace(path: &Path) -> Result<Meetings, Failure> {
    let from: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(|error| Failure::file("read", path, error))?)
    };
    let mut from = BufReader::new(from);
    let start = from.fill_buf().map_err(|error| Failure::file("read", path, error))?;
    let meetings = if start.starts_with(&[0x1f, 0x8b]) {
        Meetings::read(BufReader::new(MultiGzDecoder::new(from).take(TRACE_MAX)))
    } else {
        Meetings::read(from.take(TRACE_MAX))
    };
    meetings.map_err(|error| {
        let what = format!("{} is no trace of meetings: {error}", path.display());
        let kind = match error {
            TraceError::Read(_) => FailureKind::Failed,
            _ => FailureKind::Usage,
        };
        Failure::new(kind, what)
            .next("each line says `start end a b`: when two meet, in seconds, and who they are")
    })
}

/// Makes up a crowd.
pub fn crowd(of: Mobility, people: usize, hours: u64, seed: u64) -> Result<Meetings, Failure> {
    of.meetings(people, hours, seed).map_err(|error| {
        Failure::new(FailureKind::Usage, format!("there is no such crowd: {error}"))
            .next("say, for example, town:200:2d: two hundred people, two days")
    })
}

#[cfg(test)]
mod tests;
