//! The two sockets of an interface: an ear on the group, and a mouth at its link-local address.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// Where beacons go: a transient group (RFC 4291, section 2.7) on one link only, with a number from
/// the range that nobody assigns (RFC 3307, section 4.3).
pub const GROUP: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x8050, 0x7531);

/// Hears what comes to the group on one interface. Bound to the group, so that nothing else comes.
pub(super) fn ear(interface: u32, port: u16) -> io::Result<UdpSocket> {
    let socket = udp()?;
    // Several nodes on one machine hear the same beacons.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddrV6::new(GROUP, port, 0, interface).into())?;
    socket.join_multicast_v6(&GROUP, interface)?;
    UdpSocket::from_std(socket.into())
}

/// Speaks on one interface from one address.
#[derive(Debug)]
pub(super) struct Mouth {
    socket: std::net::UdpSocket,
    to: SocketAddr,
}

impl Mouth {
    pub fn new(interface: u32, from: Ipv6Addr, port: u16, hears_itself: bool) -> io::Result<Self> {
        let socket = udp()?;
        socket.bind(&SocketAddrV6::new(from, 0, 0, interface).into())?;
        socket.set_multicast_if_v6(interface)?;
        socket.set_multicast_hops_v6(1)?;
        socket.set_multicast_loop_v6(hears_itself)?;
        let to = SocketAddrV6::new(GROUP, port, 0, interface).into();
        Ok(Self { socket: socket.into(), to })
    }

    /// Sends one datagram at once, or not at all.
    pub fn say(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send_to(datagram, self.to).map(drop)
    }
}

fn udp() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_only_v6(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A datagram's sender, if it is a neighbour on that very interface.
pub(super) fn neighbour(from: SocketAddr, interface: u32) -> Option<Ipv6Addr> {
    match from {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == interface => {
            Some(*v6.ip())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_neighbours_on_the_interface_are_heard() {
        for (from, heard) in [
            ("[fe80::1%2]:1", true),
            ("[fe80::1%3]:1", false),
            ("[fe80::1]:1", false),
            ("[2001:db8::1]:1", false),
            ("[::1]:1", false),
            ("192.0.2.1:1", false),
        ] {
            assert_eq!(neighbour(from.parse().unwrap(), 2).is_some(), heard, "{from}");
        }
    }
}
