//! Modems without radios, for programs of others: pseudo terminals, or TCP ports, that hear each other.
//!
//! ```text
//! cargo run -p postrider-transports --example modems -- rnode 2            two boards at /dev/pts/N
//! cargo run -p postrider-transports --example modems -- meshtastic+tcp 2   two radios at 127.0.0.1:N
//! ```
//!
//! Prints the place of each as a line of its own, and runs until it is ended. They are those of the tests.

#[path = "../tests/modems/mod.rs"]
mod modems;

use std::{error::Error, io::Write as _};

use modems::{Air, Kind};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().ok_or("modems kiss|rnode|meshtastic|rylr998[+tcp] HOW-MANY")?;
    let many: usize = args.next().unwrap_or_else(|| "2".into()).parse()?;
    let (name, at_tcp) = name.strip_suffix("+tcp").map_or((&*name, false), |name| (name, true));
    let kind = Kind::named(name).ok_or("there are kiss, rnode, meshtastic and rylr998")?;
    let air = Air::default();
    let stations: Vec<_> = (0..many)
        .map(|_| if at_tcp { air.station_at_tcp(kind) } else { air.station(kind) })
        .collect();
    for station in &stations {
        println!("{}", station.place);
    }
    std::io::stdout().flush()?;
    stations.into_iter().for_each(modems::Station::wait);
    Ok(())
}
