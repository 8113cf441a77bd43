//! `ygg:` — links through a Yggdrasil network that this machine is in already.
//!
//! A neighbour's address follows from its key, if its Yggdrasil runs under the key of its node; so
//! there is nothing to look up and nothing to type. Below is the same TLS between node keys as
//! everywhere: the address is a hint, the handshake decides. Nothing of Yggdrasil's own protocol is
//! here; `admin` asks it who it is, for people to read.
//!
//! When the machine leaves the network, its links end at once instead of when they time out.

mod admin;

use std::{
    fmt, fs,
    future::Future,
    io::{self, Read},
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use postrider_base::NodeSecret;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::{
    contract::{
        Address, Arrival, BoxFuture, Link, NodeId, Pipe, Stop, StreamPipe, Transport,
        TransportError,
    },
    tls::{PORT, TlsOptions, TlsTransport},
};

pub use admin::{ADMIN_SOCKETS, AdminError, AdminSocket, Itself, ask};

/// A way through the network is found within this or not soon: lookup and session took 0.1 s.
pub const DIAL_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest list of addresses that is read: 64 bytes each, so far more than there are.
const LIST_MAX_BYTES: u64 = 256 << 10;
/// `IFA_F_DADFAILED` and `IFA_F_TENTATIVE` of `<linux/if_addr.h>`: not ours, or not yet.
const UNUSABLE: u8 = 0x08 | 0x40;

/// This machine's address in a Yggdrasil network, if it is in one.
pub fn own_address() -> Option<Ipv6Addr> {
    let mut text = String::new();
    let file = fs::File::open("/proc/net/if_inet6").ok()?;
    file.take(LIST_MAX_BYTES).read_to_string(&mut text).ok()?;
    find(&text)
}

/// Whether an address is that of a node: 200::/8. The other half of 200::/7 is for the subnets
/// behind nodes.
pub fn is_node_address(address: &Ipv6Addr) -> bool {
    address.octets()[0] == 0x02
}

/// Where the node of this key is dialled.
pub fn address_of(node: &NodeId) -> Address {
    let at = SocketAddrV6::new(postrider_base::address::address(node), PORT, 0, 0);
    format!("ygg://{at}").parse().expect("a socket address is short and printable")
}

/// One address to a line: address, number, prefix length, scope, flags, name.
fn find(list: &str) -> Option<Ipv6Addr> {
    list.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|word| word.len() == 32)?;
        let address = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
        let flags = u8::from_str_radix(words.nth(3)?, 16).ok()?;
        words.next()?;
        (is_node_address(&address) && flags & UNUSABLE == 0).then_some(address)
    })
}

/// The transport for `ygg:` addresses, for as long as the machine has one address.
pub struct YggTransport {
    tls: Arc<TlsTransport>,
    own: Ipv6Addr,
    gone: Stop,
}

impl YggTransport {
    /// Listens on `own`, unless `listen` says that another listener takes what comes there, and
    /// dials from it. `gone` ends every link. Of `options` what says where is not used.
    pub fn new(
        secret: Arc<NodeSecret>,
        own: Ipv6Addr,
        listen: Listen,
        options: TlsOptions,
        gone: Stop,
    ) -> Result<Self, TransportError> {
        let at = SocketAddrV6::new(own, PORT, 0, 0);
        let fault = || TransportError::Address {
            address: at.to_string(),
            reason: "not an address of this network",
        };
        let listen = match listen {
            Listen::Here => vec![format!("tls://{at}").parse().map_err(|_| fault())?],
            Listen::Elsewhere => Vec::new(),
        };
        let bind = Some(SocketAddr::new(IpAddr::V6(own), 0));
        let options = TlsOptions { listen, bind, via: None, interface: None, ..options };
        Ok(Self { tls: Arc::new(TlsTransport::new(secret, options)?), own, gone })
    }

    /// The same link, ended with the address.
    fn tied(&self, mut link: Link) -> Link {
        if let Ok(address) = format!("ygg:{}", link.facts.address.rest()).parse() {
            link.facts.address = address;
        }
        link.facts.overlay = true;
        let Pipe::Stream(stream) = link.pipe else { return link };
        let gone = Box::pin(self.gone.clone().cancelled_owned());
        link.pipe = Pipe::Stream(Box::new(Tied { stream, gone }));
        link
    }

    fn target(&self, to: &Address) -> Result<Address, TransportError> {
        let fault = |reason| TransportError::Address { address: to.to_string(), reason };
        let at = to.rest().strip_prefix("//").filter(|_| to.scheme() == "ygg");
        let at: SocketAddrV6 = at
            .and_then(|at| at.parse().ok())
            .ok_or_else(|| fault("it looks like ygg://[200::1]:7531"))?;
        if !is_node_address(at.ip()) {
            return Err(fault("outside of 200::/8"));
        }
        if *at.ip() == self.own {
            return Err(fault("this is ourselves"));
        }
        format!("tls://{at}").parse().map_err(|_| fault("not an address"))
    }
}

/// Whether a [`YggTransport`] listens itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// It does.
    Here,
    /// Somebody listens on all addresses already.
    Elsewhere,
}

impl fmt::Debug for YggTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("YggTransport").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Transport for YggTransport {
    fn scheme(&self) -> &'static str {
        "ygg"
    }

    fn run(
        self: Arc<Self>,
        arrivals: mpsc::Sender<Arrival>,
        stop: Stop,
    ) -> BoxFuture<'static, Result<(), TransportError>> {
        Box::pin(async move {
            // No room of its own: what waits is bounded by whoever takes arrivals.
            let (sender, mut arrived) = mpsc::channel(1);
            let listening = Arc::clone(&self.tls).run(sender, stop.clone());
            let forwarding = async {
                while let Some(arrival) = arrived.recv().await {
                    let arrival = match arrival {
                        Arrival::Link(link) => Arrival::Link(self.tied(link)),
                        other => other,
                    };
                    if arrivals.send(arrival).await.is_err() {
                        break;
                    }
                }
                drop(arrived);
            };
            tokio::join!(listening, forwarding).0
        })
    }

    fn dial<'a>(
        &'a self,
        to: &'a Address,
        expect: Option<NodeId>,
    ) -> BoxFuture<'a, Result<Link, TransportError>> {
        Box::pin(async move {
            let target = self.target(to)?;
            let dialled = tokio::time::timeout(DIAL_TIME_MAX, self.tls.dial(&target, expect)).await;
            let link = dialled.map_err(|_| TransportError::Timeout {
                to: to.to_string(),
                limit: DIAL_TIME_MAX,
            })??;
            Ok(self.tied(link))
        })
    }
}

/// A stream that ends with an error when its network has gone.
struct Tied {
    stream: Box<dyn StreamPipe>,
    gone: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Tied {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.gone.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::NetworkDown.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Tied {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

/// Only reading waits for the end of the network: a link is always read, and one future cannot
/// wake two tasks.
impl AsyncWrite for Tied {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn the_address_of_the_network_is_found_among_others() {
        let others = "00000000000000000000000000000001 01 80 10 80       lo\n\
                      fe8000000000000000000000000000aa 02 40 20 80     eth0\n\
                      030024aec2198a4a0000000000000001 03 40 00 80     eth1\n";
        assert_eq!(find(others), None);
        let with = |flags: &str| {
            format!("{others}020224aec2198a4ade94eae2b97eac87 05 07 00 {flags}     tun0\n")
        };
        let own = "202:24ae:c219:8a4a:de94:eae2:b97e:ac87".parse().unwrap();
        assert_eq!(find(&with("80")), Some(own));
        for not_yet in ["c0", "88", "x"] {
            assert_eq!(find(&with(not_yet)), None, "{not_yet}");
        }
    }

    #[test]
    fn what_is_no_list_of_addresses_holds_none() {
        for text in ["", "\n\n", "0202", "0202 05 07 00 80 tun0", "zz 05 07 00 80 tun0"] {
            assert_eq!(find(text), None, "{text}");
        }
        let short = "020224aec2198a4ade94eae2b97eac87 05 07 00 80";
        assert_eq!(find(short), None);
    }

    fn transport(own: &str) -> YggTransport {
        let secret = Arc::new(NodeSecret::from_seed([1; 32]));
        let own = own.parse().unwrap();
        let options = TlsOptions::default();
        YggTransport::new(secret, own, Listen::Elsewhere, options, Stop::new()).unwrap()
    }

    #[test]
    fn neither_ourselves_nor_anything_outside_is_dialled() {
        let transport = transport("200::1");
        let target = |to: &str| transport.target(&to.parse().unwrap());
        assert_eq!(target("ygg://[200::2]:7531").unwrap().as_str(), "tls://[200::2]:7531");
        for to in [
            "ygg://[200::1]:7531",
            "ygg://[300::1]:7531",
            "ygg://[2001:db8::1]:7531",
            "ygg://[fe80::1%3]:7531",
            "ygg://[200::2]",
            "ygg://host:7531",
            "ygg:[200::2]:7531",
            "tls://[200::2]:7531",
        ] {
            assert!(target(to).is_err(), "{to}");
        }
    }

    #[test]
    fn a_neighbours_address_follows_from_its_key() {
        let node = NodeSecret::from_seed([0; 32]).id();
        let address = address_of(&node);
        assert_eq!(address.as_str(), "ygg://[202:24ae:c219:8a4a:de94:eae2:b97e:ac87]:7531");
        assert!(transport("200::1").target(&address).is_ok());
    }

    #[tokio::test]
    async fn a_link_ends_when_its_network_has_gone() {
        let transport = transport("200::1");
        let (here, _there) = tokio::io::duplex(64);
        let facts = crate::contract::LinkFacts::stream("tls://[200::2]:7531".parse().unwrap());
        let link = transport.tied(Link { facts, pipe: Pipe::Stream(Box::new(here)) });
        assert_eq!(link.facts.address.as_str(), "ygg://[200::2]:7531");
        assert!(link.facts.overlay);
        let Pipe::Stream(mut stream) = link.pipe else { unreachable!() };
        let reading = tokio::spawn(async move { stream.read_u8().await });
        transport.gone.cancel();
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), io::ErrorKind::NetworkDown);
    }
}
