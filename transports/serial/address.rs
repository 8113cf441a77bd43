//! What a `serial:` address says: which port, how fast, and how it is spoken to.
//!
//! ```text
//! serial:///dev/serial/by-id/NAME?rate=115200&duplex=half&turn=50&flow=rtscts&driver=wire
//! serial+tcp://HOST:PORT?rate=9600                      the same options, without flow
//! kiss+tcp://HOST:PORT?call=DL1ABC-7                    serial+tcp: with driver=kiss
//! ```
//!
//! What else stands there is for the driver, which says what it does not know.

use std::path::PathBuf;

use crate::contract::{Address, TransportError};

/// As most adapters, boards and consoles are set when nobody says otherwise.
const RATE_DEFAULT: u32 = 115_200;
/// From teleprinters to the fastest adapters of today.
const RATE_RANGE: std::ops::RangeInclusive<u32> = 50..=12_000_000;
/// The cheap transparent radios turn within this.
const TURN_DEFAULT_MS: u32 = 50;
/// Voice radios with a mechanical relay need a second.
const TURN_MAX_MS: u32 = 10_000;

/// A port, as it was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortAddress {
    /// Where it is.
    pub place: Place,
    /// A byte takes ten of these bits.
    pub bits_per_s: u32,
    /// Where only one end is heard at a time: how long it takes to turn from sending to hearing.
    pub turn_ms: Option<u32>,
    /// Who stops a sender that is too fast.
    pub flow: Flow,
    /// What is at the port.
    pub driver: Driver,
    /// What is said to the driver: names and values, in the order in which they stand.
    pub options: Vec<(String, String)>,
}

/// Where a port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A device of this machine.
    Device(PathBuf),
    /// Behind a terminal server: a host and its TCP port.
    Tcp(String),
}

/// Who stops a sender that is too fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// Nobody: the rate is all there is.
    #[default]
    None,
    /// Two wires.
    RtsCts,
    /// Two characters, which then do not come through.
    XonXoff,
}

/// What is at the port. Each driver makes one kind of [`Pipe`](crate::contract::Pipe) out of it; a
/// further one, for a modem with a dialect of its own, is named here and chosen in `drivers`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// A cable, or a modem that passes bytes on as they are.
    #[default]
    Wire,
    /// A modem of packet radio, or a board, that speaks KISS.
    Kiss,
    /// A board with the firmware RNode.
    Rnode,
    /// A radio with the firmware Meshtastic.
    Meshtastic,
    /// A modem that is spoken to in lines, as its profile says.
    At,
    /// A modem of a telephone line.
    Hayes,
}

impl Driver {
    /// All there are, as they are written.
    const ALL: [(&str, Self); 6] = [
        ("wire", Self::Wire),
        ("kiss", Self::Kiss),
        ("rnode", Self::Rnode),
        ("meshtastic", Self::Meshtastic),
        ("at", Self::At),
        ("hayes", Self::Hayes),
    ];
}

impl PortAddress {
    /// Whether opening it makes a call, which costs money and rings somewhere.
    pub fn dials(&self) -> bool {
        self.driver == Driver::Hayes && self.options.iter().any(|(name, _)| name == "number")
    }

    /// Reads a `serial:` or `serial+tcp:` address.
    pub fn parse(address: &Address) -> Result<Self, TransportError> {
        let fault = |reason| TransportError::Address { address: shown(address), reason };
        let rest = address.rest();
        let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (place, driver) = match address.scheme() {
            "serial" => (device(place).map_err(fault)?, Driver::default()),
            "serial+tcp" => (over_tcp(place).map_err(fault)?, Driver::default()),
            "kiss+tcp" => (over_tcp(place).map_err(fault)?, Driver::Kiss),
            _ => return Err(fault("not a serial: address")),
        };
        let (bits_per_s, turn_ms) = (RATE_DEFAULT, None);
        let flow = Flow::default();
        let mut port = Self { place, bits_per_s, turn_ms, flow, driver, options: Vec::new() };
        let (mut is_half, mut turn_ms, mut rate) = (false, None, None);
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            match key {
                "rate" => {
                    let said = number(value).and_then(|rate| u32::try_from(rate).ok());
                    let said = said.filter(|rate| RATE_RANGE.contains(rate));
                    rate = Some(said.ok_or_else(|| fault("rate is in bits per second"))?);
                }
                "duplex" => {
                    is_half = match value {
                        "full" => false,
                        "half" => true,
                        _ => return Err(fault("duplex is full or half")),
                    }
                }
                "turn" => {
                    let turn = number(value).and_then(|ms| u32::try_from(ms).ok());
                    let turn = turn.filter(|ms| *ms <= TURN_MAX_MS);
                    turn_ms = Some(turn.ok_or_else(|| fault("turn is in ms, 10000 at most"))?);
                }
                "flow" => {
                    port.flow = match value {
                        "none" => Flow::None,
                        "rtscts" => Flow::RtsCts,
                        "xonxoff" => Flow::XonXoff,
                        _ => return Err(fault("flow is none, rtscts or xonxoff")),
                    }
                }
                "driver" if address.scheme() == "kiss+tcp" => {
                    return Err(fault("kiss+tcp has the driver kiss"));
                }
                "driver" => {
                    let found = Driver::ALL.iter().find(|(name, _)| *name == value);
                    port.driver = found.ok_or_else(|| fault("there is no such driver"))?.1;
                }
                _ => port.options.push((key.to_owned(), value.to_owned())),
            }
        }
        if turn_ms.is_some() && !is_half {
            return Err(fault("turn says something of duplex=half alone"));
        }
        if port.flow != Flow::None && matches!(port.place, Place::Tcp(_)) {
            return Err(fault("flow is set at the terminal server"));
        }
        port.turn_ms = is_half.then(|| turn_ms.unwrap_or(TURN_DEFAULT_MS));
        // Said before the port is opened.
        super::drivers::check(&port).map_err(fault)?;
        let usual = super::drivers::check_profile(&port)?;
        port.bits_per_s = rate.or(usual).unwrap_or(RATE_DEFAULT);
        Ok(port)
    }
}

/// An address without what opens a SIM card or a login.
fn shown(address: &Address) -> String {
    let text = address.as_str();
    let Some((place, options)) = text.split_once('?') else { return text.to_owned() };
    let options = options.split('&').map(|option| match option.split_once('=') {
        Some((name @ ("pin" | "chat"), _)) => format!("{name}=****"),
        _ => option.to_owned(),
    });
    format!("{place}?{}", options.collect::<Vec<_>>().join("&"))
}

fn device(place: &str) -> Result<Place, &'static str> {
    let path = place.strip_prefix("//").unwrap_or(place);
    if path.starts_with('/') && path.len() > 1 {
        Ok(Place::Device(path.into()))
    } else {
        Err("a port looks like serial:///dev/ttyUSB0")
    }
}

fn over_tcp(place: &str) -> Result<Place, &'static str> {
    let wrong = "a port behind a terminal server looks like serial+tcp://host:port";
    let (host, port) = place.strip_prefix("//").and_then(|at| at.rsplit_once(':')).ok_or(wrong)?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_bare_v6 = host.contains(':') && !host.starts_with('[');
    if host.is_empty() || host.contains('/') || is_bare_v6 || !is_port {
        return Err(wrong);
    }
    Ok(Place::Tcp(format!("{host}:{port}")))
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PortAddress, String> {
        PortAddress::parse(&text.parse().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_said_of_a_port_is_read() {
        let plain = parse("serial:///dev/serial/by-id/usb-FTDI_1-if00-port0").unwrap();
        let place = Place::Device("/dev/serial/by-id/usb-FTDI_1-if00-port0".into());
        assert_eq!((&plain.place, plain.bits_per_s), (&place, 115_200));
        assert_eq!((plain.turn_ms, plain.flow, plain.driver), (None, Flow::None, Driver::Wire));
        let all = "serial:/dev/ttyS0?rate=9600&duplex=half&turn=20&flow=rtscts&driver=wire";
        let all = parse(all).unwrap();
        assert_eq!((all.bits_per_s, all.turn_ms, all.flow), (9600, Some(20), Flow::RtsCts));
        assert_eq!(parse("serial:///dev/a?duplex=half").unwrap().turn_ms, Some(TURN_DEFAULT_MS));
        let short = parse("kiss+tcp://desk.example:8001?call=DL1ABC").unwrap();
        let long = "serial+tcp://desk.example:8001?driver=kiss&call=DL1ABC";
        assert_eq!((short.driver, short), (Driver::Kiss, parse(long).unwrap()));
        for (text, host) in [
            ("serial+tcp://desk.example:4001?rate=1200", "desk.example:4001"),
            ("serial+tcp://[2001:db8::1]:4001", "[2001:db8::1]:4001"),
        ] {
            assert_eq!(parse(text).unwrap().place, Place::Tcp(host.into()));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, word) in [
            ("serial:ttyUSB0", "/dev/ttyUSB0"),
            ("serial://", "/dev/ttyUSB0"),
            ("serial:///dev/a?rate=fast", "rate"),
            ("serial:///dev/a?rate=+9600", "rate"),
            ("serial:///dev/a?rate=1", "rate"),
            ("serial:///dev/a?speed=9600", "options"),
            ("serial:///dev/a?duplex=both", "duplex"),
            ("serial:///dev/a?turn=20", "duplex=half"),
            ("serial:///dev/a?duplex=half&turn=99999", "turn"),
            ("serial:///dev/a?flow=hard", "flow"),
            ("serial:///dev/a?driver=smoke", "driver"),
            ("kiss+tcp://host:8001?call=DL1ABC&driver=wire", "driver"),
            ("kiss+tcp:///dev/a?call=DL1ABC", "host:port"),
            ("serial+tcp://host", "host:port"),
            ("serial+tcp://::1:4001", "host:port"),
            ("serial+tcp://host:0", "host:port"),
            ("serial+tcp://host:1?flow=rtscts", "flow"),
            ("tls://host:1", "serial:"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
