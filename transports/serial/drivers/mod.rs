//! What is at a port makes a pipe of it: a cable passes bytes on, a modem has a dialect of its own.

#[allow(dead_code, reason = "drivers of frames come next")]
mod run;

use super::address::{Driver, PortAddress};
use crate::contract::{Pipe, StreamPipe, TransportError};

/// Whether a driver understands what is said to it; nothing is opened for that.
pub(super) fn check(of: &PortAddress) -> Result<(), &'static str> {
    match of.driver {
        Driver::Wire if of.options.is_empty() => Ok(()),
        Driver::Wire => Err("its options are rate, duplex, turn, flow and driver"),
    }
}

/// Makes a pipe of an open port.
pub(super) async fn start(
    port: Box<dyn StreamPipe>,
    of: &PortAddress,
) -> Result<Pipe, TransportError> {
    match of.driver {
        Driver::Wire => Ok(Pipe::Line { port, bits_per_s: of.bits_per_s, turn_ms: of.turn_ms }),
    }
}
