//! What is at a port makes a pipe of it: a cable passes bytes on, a modem has a dialect of its own.
//!
//! - `run`: the task that owns the port of a modem with frames; `options`: what is said to a driver; `replay`:
//!   what it makes of bytes without a port;
//! - `kiss`: packet radio, and boards with LoRa; `rnode`: boards that are told all about their LoRa;
//! - `meshtastic`: radios with a mesh of their own;
//! - `at`: whatever is spoken to in lines, as a profile says; `hayes`: a telephone line.

mod at;
mod hayes;
mod kiss;
mod meshtastic;
mod options;
mod replay;
mod rnode;
mod run;

use std::time::{SystemTime, UNIX_EPOCH};

use self::run::Dialect;
pub use self::{
    at::read_profile,
    replay::{Replay, replay},
};
use super::{
    address::{Driver, Place, PortAddress},
    wires::Wires,
};
use crate::contract::{Pipe, StreamPipe, TransportError};

/// Whether a driver understands what is said to it; nothing is opened for that.
pub(super) fn check(of: &PortAddress) -> Result<(), &'static str> {
    match of.driver {
        Driver::Wire if of.options.is_empty() => Ok(()),
        Driver::Wire => Err("its options are rate, duplex, turn, flow and driver"),
        // Their profiles know.
        Driver::At | Driver::Hayes => Ok(()),
        _ if of.turn_ms.is_some() => Err("duplex and turn say something of wires, not of radios"),
        _ => dialect(of, 0).map(drop),
    }
}

/// The same where a profile knows; and the rate of the port that it thinks usual.
pub(super) fn check_profile(of: &PortAddress) -> Result<Option<u32>, TransportError> {
    let checked = match of.driver {
        Driver::At => at::check(of),
        Driver::Hayes => hayes::check(of).map(|()| None),
        _ => Ok(None),
    };
    checked.map_err(|detail| TransportError::Profile { detail })
}

/// Makes a pipe of an open port.
pub(super) async fn start(
    port: Box<dyn StreamPipe>,
    of: &PortAddress,
    wires: Option<Wires>,
) -> Result<Pipe, TransportError> {
    let place = match &of.place {
        Place::Device(path) => path.display().to_string(),
        Place::Tcp(at) => at.clone(),
    };
    match of.driver {
        Driver::Wire => {
            return Ok(Pipe::Line { port, bits_per_s: of.bits_per_s, turn_ms: of.turn_ms });
        }
        Driver::At => return at::start(port, of, wires, &place).await,
        Driver::Hayes => return hayes::start(port, of, wires, &place).await,
        _ => {}
    }
    let dialect = dialect(of, first_id())
        .map_err(|reason| TransportError::Address { address: place.clone(), reason })?;
    run::open(port, dialect, &place).await
}

/// How a modem is spoken to.
fn dialect(of: &PortAddress, first_id: u32) -> Result<Box<dyn Dialect>, &'static str> {
    Ok(match of.driver {
        Driver::Wire | Driver::Hayes => return Err("it has no frames of its own"),
        Driver::At => Box::new(at::modem(of).map_err(|_| "its profile has no frames")?),
        Driver::Kiss => Box::new(kiss::Kiss::new(of)?),
        Driver::Rnode => Box::new(rnode::Rnode::new(of)?),
        Driver::Meshtastic => Box::new(meshtastic::Meshtastic::new(of, first_id)?),
    })
}

/// The number of the first packet of many that others remember for hours, over starts of this program too: it
/// grows with the time, and faster than packets go.
fn first_id() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_millis() & u128::from(u32::MAX)).unwrap_or(0)
}
