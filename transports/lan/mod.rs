//! `lan:` — datagrams to everybody on a local network, without addresses, DHCP or routers.
//!
//! On every interface that the rules allow and that has an IPv6 link-local address it hears what
//! comes to a multicast group, and says what it is told to say. What the datagrams mean, and whom to
//! dial because of them, is decided elsewhere; the links are those of `tls:`, to [`address`].
//!
//! - Interfaces that come, go or change their address are noticed at once ([`crate::changes`]).
//! - Only datagrams from link-local addresses of that same interface are passed on; one that finds
//!   the channel full is dropped, as multicast may always lose some.
//! - It needs no privileges.

mod interfaces;
mod rules;
mod sockets;

use std::{
    collections::BTreeMap,
    io,
    net::Ipv6Addr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{
    net::UdpSocket,
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use self::{interfaces::Interface, rules::rule_for, sockets::Mouth};
use crate::{
    changes::{About, Changes},
    contract::{Address, Stop},
};

pub use self::{
    rules::{Pattern, PatternError, Rule},
    sockets::GROUP,
};

/// The UDP port of beacons if nobody says otherwise; the number of the TCP port of links.
pub const PORT: u16 = 7531;
/// Interfaces used at once; more are left out. A machine with containers has a dozen.
pub const INTERFACES_MAX: usize = 64;
/// Longest datagram: in one packet on every link that carries IPv6 (RFC 8200, 5: 1280 bytes, less 40 of
/// IPv6 and 8 of UDP). Longer ones are dropped.
pub const DATAGRAM_MAX: usize = 1_232;

/// What can be chosen about the local network.
#[derive(Clone, Debug)]
pub struct LanOptions {
    /// The first rule that fits an interface's name decides; one that no rule fits takes no part.
    pub rules: Vec<Rule>,
    /// The UDP port of beacons: all nodes of a network share it.
    pub port: u16,
    /// Also be heard on this machine, by tests and by other nodes on it.
    pub hears_itself: bool,
}

impl Default for LanOptions {
    fn default() -> Self {
        Self { rules: vec![Rule::default()], port: PORT, hears_itself: false }
    }
}

/// What the local network tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LanEvent {
    /// An interface can be used, or is used with another address than before.
    Up {
        /// Its number.
        interface: u32,
        /// Its name.
        name: String,
        /// Its link-local address, from which datagrams are sent.
        address: Ipv6Addr,
        /// What the rules say.
        priority: u8,
        /// Whether anything may be said there.
        beacons: bool,
    },
    /// It cannot be used any more.
    Down {
        /// Its number.
        interface: u32,
    },
    /// A datagram came.
    Heard {
        /// On which interface.
        interface: u32,
        /// From which link-local address.
        from: Ipv6Addr,
        /// At most [`DATAGRAM_MAX`] bytes.
        datagram: Vec<u8>,
    },
}

/// The local networks of this machine.
#[derive(Debug)]
pub struct Lan {
    options: LanOptions,
    used: Mutex<BTreeMap<u32, Used>>,
}

/// An interface in use; ends when dropped.
#[derive(Debug)]
struct Used {
    address: Ipv6Addr,
    mouth: Option<Mouth>,
    ear: Option<AbortHandle>,
}

impl Drop for Used {
    fn drop(&mut self) {
        if let Some(ear) = &self.ear {
            ear.abort();
        }
    }
}

impl Lan {
    /// Opens nothing yet.
    pub fn new(options: LanOptions) -> Self {
        Self { options, used: Mutex::default() }
    }

    /// Tells what happens until stopped, or until nobody listens any more.
    pub async fn run(&self, events: mpsc::Sender<LanEvent>, stop: Stop) {
        let mut changes = Changes::new(About::LinkLocal);
        let mut ears = JoinSet::new();
        loop {
            let Ok(all_open) = self.look(&events, &mut ears).await else { break };
            // Both are cancel-safe.
            tokio::select! {
                _ = changes.next(!all_open) => {}
                () = stop.cancelled() => break,
                () = events.closed() => break,
            }
            while ears.try_join_next().is_some() {}
        }
        self.used().clear();
        ears.shutdown().await;
    }

    /// Sends a datagram to everybody on an interface, now or not at all.
    pub fn say(&self, interface: u32, datagram: &[u8]) -> io::Result<()> {
        let used = self.used();
        let mouth = used.get(&interface).and_then(|used| used.mouth.as_ref());
        mouth.ok_or(io::ErrorKind::NotConnected)?.say(datagram)
    }

    /// Compares what there is with what is used; whether all of it could be opened.
    async fn look(
        &self,
        events: &mpsc::Sender<LanEvent>,
        ears: &mut JoinSet<()>,
    ) -> Result<bool, mpsc::error::SendError<LanEvent>> {
        let mut here = interfaces::list();
        here.retain(|interface| rule_for(&self.options.rules, &interface.name).is_some());
        here.truncate(INTERFACES_MAX);
        let kept = |index: &u32, used: &Used| {
            let interface = here.iter().find(|interface| interface.index == *index);
            interface.is_some_and(|interface| interface.addresses.contains(&used.address))
        };
        let gone: Vec<u32> = {
            let mut used = self.used();
            let gone = used.iter().filter(|(index, used)| !kept(index, used));
            let gone: Vec<u32> = gone.map(|(index, _)| *index).collect();
            gone.iter().for_each(|index| drop(used.remove(index)));
            gone
        };
        for interface in gone {
            events.send(LanEvent::Down { interface }).await?;
        }
        let mut all_open = true;
        for interface in here {
            if self.used().contains_key(&interface.index) {
                continue;
            }
            // It may vanish at this very moment.
            match self.open(&interface, events, ears) {
                Ok(up) => events.send(up).await?,
                Err(_) => all_open = false,
            }
        }
        Ok(all_open)
    }

    fn open(
        &self,
        interface: &Interface,
        events: &mpsc::Sender<LanEvent>,
        ears: &mut JoinSet<()>,
    ) -> io::Result<LanEvent> {
        let rule = rule_for(&self.options.rules, &interface.name);
        let rule = rule.ok_or(io::ErrorKind::NotFound)?;
        let (index, port) = (interface.index, self.options.port);
        let address = *interface.addresses.first().ok_or(io::ErrorKind::NotFound)?;
        let mouth = || Mouth::new(index, address, port, self.options.hears_itself);
        let mouth = rule.beacons.then(mouth).transpose()?;
        let ear = rule.listen.then(|| sockets::ear(index, port)).transpose()?;
        let ear = ear.map(|ear| ears.spawn(hear(ear, index, events.clone())));
        self.used().insert(index, Used { address, mouth, ear });
        let (priority, beacons) = (rule.priority, rule.beacons);
        let name = interface.name.clone();
        Ok(LanEvent::Up { interface: index, name, address, priority, beacons })
    }

    fn used(&self) -> MutexGuard<'_, BTreeMap<u32, Used>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes on what comes until the interface is gone.
async fn hear(ear: UdpSocket, interface: u32, events: mpsc::Sender<LanEvent>) {
    // One more than that tells what was longer.
    let mut buffer = [0; DATAGRAM_MAX + 1];
    while let Ok((length, from)) = ear.recv_from(&mut buffer).await {
        if length > DATAGRAM_MAX {
            continue;
        }
        let Some(from) = sockets::neighbour(from, interface) else { continue };
        let datagram = buffer[..length].to_vec();
        // Full: lost, like any other datagram.
        let _ = events.try_send(LanEvent::Heard { interface, from, datagram });
    }
}

/// Where `tls:` dials a neighbour.
pub fn address(interface: u32, neighbour: Ipv6Addr, port: u16) -> Address {
    let text = format!("tls://[{neighbour}%{interface}]:{port}");
    text.parse().expect("short and printable")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbours_address_names_its_interface() {
        let at = address(3, "fe80::1".parse().unwrap(), 7531);
        assert_eq!(at.as_str(), "tls://[fe80::1%3]:7531");
    }

    #[test]
    fn the_group_is_transient_and_stays_on_the_link() {
        assert!(GROUP.is_multicast());
        assert_eq!(GROUP.segments()[0], 0xff12);
        assert!(GROUP.segments()[6] >= 0x8000, "a dynamic number");
    }

    #[tokio::test]
    async fn nothing_is_said_where_nothing_is_open() {
        let lan = Lan::new(LanOptions::default());
        assert!(lan.say(1, b"hello").is_err());
    }
}
