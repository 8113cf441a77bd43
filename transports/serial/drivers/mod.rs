//! What is at a port makes a pipe of it: a cable passes bytes on, a modem has a dialect of its own.
//!
//! - `run`: the task that owns the port of a modem with frames; `options`: what is said to a driver;
//! - `kiss`: packet radio, and boards with LoRa; `rnode`: boards that are told all about their LoRa.

mod kiss;
mod options;
mod rnode;
mod run;

use self::run::Dialect;
use super::address::{Driver, Place, PortAddress};
use crate::contract::{Pipe, StreamPipe, TransportError};

/// Whether a driver understands what is said to it; nothing is opened for that.
pub(super) fn check(of: &PortAddress) -> Result<(), &'static str> {
    match of.driver {
        Driver::Wire if of.options.is_empty() => Ok(()),
        Driver::Wire => Err("its options are rate, duplex, turn, flow and driver"),
        _ if of.turn_ms.is_some() => Err("duplex and turn say something of wires, not of radios"),
        _ => dialect(of).map(drop),
    }
}

/// Makes a pipe of an open port.
pub(super) async fn start(
    port: Box<dyn StreamPipe>,
    of: &PortAddress,
) -> Result<Pipe, TransportError> {
    if of.driver == Driver::Wire {
        return Ok(Pipe::Line { port, bits_per_s: of.bits_per_s, turn_ms: of.turn_ms });
    }
    let place = match &of.place {
        Place::Device(path) => path.display().to_string(),
        Place::Tcp(at) => at.clone(),
    };
    let dialect =
        dialect(of).map_err(|reason| TransportError::Address { address: place.clone(), reason })?;
    run::open(port, dialect, &place).await
}

/// How a modem is spoken to.
fn dialect(of: &PortAddress) -> Result<Box<dyn Dialect>, &'static str> {
    Ok(match of.driver {
        Driver::Wire => return Err("a wire has no frames"),
        Driver::Kiss => Box::new(kiss::Kiss::new(of)?),
        Driver::Rnode => Box::new(rnode::Rnode::new(of)?),
    })
}
