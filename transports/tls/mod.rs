//! `tls:` — TCP with TLS 1.3 between node keys. The link that every IP network can carry.
//!
//! The way of a link:
//! 1. the dialler resolves a name, races the addresses (`race`), perhaps through a proxy
//!    (`socks`), and sends a ClientHello whose server name proves that it knows whom it dials
//!    (`door`);
//! 2. the listener has a slot for it or closes (`slots`), reads the ClientHello, and closes
//!    without a byte if the token does not fit (`listen`);
//! 3. the listener shows its key, the dialler compares it with the one it expects, and only then
//!    shows its own (`identity`);
//! 4. the admission may refuse the dialler; otherwise both ends have a [`Link`] whose `peer` is
//!    proven; on a slow line it minds how much is under way (`pacing`).
//!
//! What is deliberately absent: certificates, TLS 1.2, resumption, 0-RTT, retries.

mod dial;
mod door;
mod guests;
mod identity;
mod listen;
mod meet;
mod pacing;
mod race;
mod slots;
mod socket;
mod socks;
mod target;

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::TcpStream, sync::mpsc};

use postrider_base::{NodeSecret, link::Ends};

use self::{
    guests::Guests, identity::Identity, listen::Counters, socket::SocketOptions, target::Target,
};
use crate::contract::{
    Address, Arrival, BoxFuture, Link, LinkFacts, NodeId, Pipe, Stop, Transport, TransportError,
};

pub use self::{dial::DIAL_TIME_MAX, listen::Counts, socks::Socks5, target::PORT};

/// A whole handshake. Ten round trips on a bad satellite link; a slot is not held longer.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// Whether a node that has proven its key may have a link.
pub type Admission = Arc<dyn Fn(&NodeId) -> bool + Send + Sync>;
/// Looks up a host name.
pub type Resolver =
    Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// What can be chosen about the `tls:` transport.
#[derive(Clone)]
pub struct TlsOptions {
    /// Where to listen; nowhere by default. `tls://[::]:7531` takes IPv6 only, so that
    /// `tls://0.0.0.0:7531` can stand beside it. Port 0 lets the system choose.
    pub listen: Vec<Address>,
    /// Show the node's key to anybody who dials, not only to those who know it already.
    pub public: bool,
    /// Asked about every node that has proven its key; everybody is welcome by default.
    pub admission: Admission,
    /// The proxy for all dials; an address's own `?via=` goes first.
    pub via: Option<Socks5>,
    /// The local address of all dials. Port 0 lets the system choose.
    pub bind: Option<SocketAddr>,
    /// The only interface to use, for listening and dialling.
    pub interface: Option<String>,
    /// The kernel's send buffer, if not as the system likes it.
    pub send_buffer_bytes: Option<usize>,
    /// Ask now and then whether the other end is still there; off where bytes cost money.
    pub keepalive: bool,
    /// Bytes cost money: reported with every link.
    pub metered: bool,
    /// Looks up names; the system's resolver by default.
    pub resolver: Resolver,
    /// How long a handshake may take, [`HANDSHAKE_TIME_MAX`] by default.
    pub handshake_time: Duration,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            public: false,
            admission: Arc::new(|_| true),
            via: None,
            bind: None,
            interface: None,
            send_buffer_bytes: None,
            keepalive: true,
            metered: false,
            resolver: Arc::new(|name, port| {
                Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
            }),
            handshake_time: HANDSHAKE_TIME_MAX,
        }
    }
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("listen", &self.listen)
            .field("public", &self.public)
            .field("via", &self.via)
            .field("bind", &self.bind)
            .field("interface", &self.interface)
            .finish_non_exhaustive()
    }
}

/// The transport for `tls:` addresses.
#[derive(Debug)]
pub struct TlsTransport {
    inner: Arc<Inner>,
    addresses: Vec<SocketAddr>,
    /// Taken by `run`.
    listeners: Mutex<Option<Vec<std::net::TcpListener>>>,
}

/// What both sides of a handshake need.
#[derive(Debug)]
struct Inner {
    identity: Identity,
    guests: Guests,
    options: TlsOptions,
    sockets: SocketOptions,
    counters: Counters,
}

impl TlsTransport {
    /// Binds all listening addresses, so that a port that is taken is known at once; nothing is
    /// accepted before [`Transport::run`].
    pub fn new(secret: Arc<NodeSecret>, options: TlsOptions) -> Result<Self, TransportError> {
        let sockets = SocketOptions {
            interface: options.interface.clone(),
            send_buffer_bytes: options.send_buffer_bytes,
            keepalive: options.keepalive,
        };
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for at in &options.listen {
            let target = Target::parse(at)?;
            let at = target.address();
            let fault = |reason| TransportError::Address { address: at.to_string(), reason };
            if target.via.is_some() {
                return Err(fault("nobody can listen through a proxy"));
            }
            let local = target.to.socket_address().map_err(fault)?;
            let local = local.ok_or_else(|| fault("listening needs an IP address, not a name"))?;
            let failed = |source| TransportError::Listen { at: at.to_string(), source };
            let listener = sockets.listen(local).map_err(failed)?;
            addresses.push(listener.local_addr().map_err(failed)?);
            listeners.push(listener);
        }
        let counters = Counters::default();
        let (identity, guests) = (Identity::new(secret), Guests::default());
        let inner = Inner { identity, guests, options, sockets, counters };
        Ok(Self { inner: Arc::new(inner), addresses, listeners: Mutex::new(Some(listeners)) })
    }

    /// Where it listens, with the ports that the system chose.
    pub fn listening(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What became of connections so far.
    pub fn counts(&self) -> Counts {
        self.inner.counters.read()
    }

    /// From now on links are also taken under this guest key, beside the node's own and the guest
    /// key before; `None` forgets them all. Guests are let in without asking the admission, and
    /// their links' `facts.guest` says so.
    pub fn set_guest(&self, secret: Option<NodeSecret>) {
        self.inner.guests.set(secret);
    }

    /// Dials `to`, where somebody takes links under the guest key `expect`, and shows the newest
    /// guest key instead of the node's.
    pub async fn dial_as_guest(
        &self,
        to: &Address,
        expect: NodeId,
    ) -> Result<Link, TransportError> {
        self.inner.dial_as_guest(to, expect).await
    }

    /// Dials `to` from the local address `local`, which other sockets made here may share.
    pub async fn dial_from(
        &self,
        local: SocketAddr,
        to: SocketAddr,
        expect: Option<NodeId>,
    ) -> Result<Link, TransportError> {
        self.inner.dial_from(local, to, expect).await
    }

    /// Opens a link together with `expect`, which does the same towards `local` as the world sees
    /// it. Both must begin within [`DIAL_TIME_MAX`] of each other. One end's `facts.dialled` is
    /// true, the other's false, by the order of their keys.
    pub async fn meet(
        &self,
        local: SocketAddr,
        to: SocketAddr,
        expect: NodeId,
    ) -> Result<Link, TransportError> {
        self.inner.meet(local, to, expect).await
    }
}

impl Transport for TlsTransport {
    fn scheme(&self) -> &'static str {
        "tls"
    }

    fn run(
        self: Arc<Self>,
        arrivals: mpsc::Sender<Arrival>,
        stop: Stop,
    ) -> BoxFuture<'static, Result<(), TransportError>> {
        Box::pin(async move {
            let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).take();
            let listeners = listeners.ok_or(TransportError::AlreadyStarted)?;
            listen::run(self.inner.clone(), listeners, arrivals, stop).await
        })
    }

    fn dial<'a>(
        &'a self,
        to: &'a Address,
        expect: Option<NodeId>,
    ) -> BoxFuture<'a, Result<Link, TransportError>> {
        Box::pin(self.inner.dial(to, expect))
    }
}

impl Inner {
    /// `remote` and `ends` are `None` where only a proxy knows who is at the other end.
    fn link(
        &self,
        peer: NodeId,
        address: Address,
        dialled: bool,
        (remote, ends): (Option<IpAddr>, Option<Ends>),
        pipe: Pipe,
    ) -> Link {
        let facts = LinkFacts {
            peer: Some(peer),
            dialled,
            ends,
            metered: self.options.metered,
            overlay: remote.is_some_and(is_overlay),
            ..LinkFacts::stream(address)
        };
        Link { facts, pipe }
    }
}

/// Between which addresses a connection runs.
fn ends_of(stream: &TcpStream) -> Option<Ends> {
    Some(Ends { here: stream.local_addr().ok()?, there: stream.peer_addr().ok()? })
}

/// The `tls:` address of a socket address.
fn address_of(at: SocketAddr) -> Address {
    format!("tls://{at}").parse().expect("a socket address is short and printable")
}

/// Whether this is an address of Yggdrasil's 200::/7: a link to it runs inside another mesh.
fn is_overlay(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.octets()[0] & 0xfe == 0x02)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_mesh_are_overlays() {
        for (ip, overlay) in [
            ("202:24ae:c219:8a4a::1", true),
            ("3ff:ffff::1", true),
            ("400::1", false),
            ("1ff::1", false),
            ("2001:db8::1", false),
            ("fe80::1", false),
            ("2.3.4.5", false),
        ] {
            assert_eq!(is_overlay(ip.parse().unwrap()), overlay, "{ip}");
        }
    }

    #[test]
    fn listening_needs_an_address_of_this_machine() {
        let node = Arc::new(NodeSecret::from_seed([1; 32]));
        for at in ["tls://hub:1", "pipe:cat", "tls://127.0.0.1:0?via=socks5://me:secret@proxy"] {
            let options = TlsOptions { listen: vec![at.parse().unwrap()], ..TlsOptions::default() };
            let error = TlsTransport::new(node.clone(), options).unwrap_err();
            assert!(matches!(error, TransportError::Address { .. }), "{at}: {error}");
            assert!(!format!("{error:?}").contains("secret"));
        }
    }
}
