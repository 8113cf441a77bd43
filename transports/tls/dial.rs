//! The dialling side: resolve, race, perhaps through a proxy, shake hands.
//!
//! An address that answers TCP but not as the expected node (a hotel's portal, a renumbered host)
//! is struck out and the race goes on among the others.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use rustls::Error as TlsError;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Inner, ends_of,
    identity::{Identity, UNEXPECTED, node_of},
    pacing::Paced,
    race::{in_turn, race},
    socks::SocksError,
    target::{Host, HostPort, Target},
};
use crate::contract::{Address, Link, NodeId, Pipe, TransportError};

/// A whole dial, with all its addresses. A satellite link with losses needs 5 s; above this the next
/// attempt is worth more than waiting.
pub const DIAL_TIME_MAX: Duration = Duration::from_secs(30);

impl Inner {
    /// Dials an address of text form.
    pub(super) async fn dial(
        &self,
        to: &Address,
        expect: Option<NodeId>,
    ) -> Result<Link, TransportError> {
        let target = Target::parse(to)?;
        within(&target.to, self.dial_target(&self.identity, &target, expect)).await
    }

    /// The same as a guest, to a guest.
    pub(super) async fn dial_as_guest(
        &self,
        to: &Address,
        expect: NodeId,
    ) -> Result<Link, TransportError> {
        let target = Target::parse(to)?;
        let guest = self.guests.newest().ok_or(TransportError::NoGuest)?;
        let mut link = within(&target.to, self.dial_target(&guest, &target, Some(expect))).await?;
        link.facts.guest = true;
        Ok(link)
    }

    /// Dials one socket address from a given local one.
    pub(super) async fn dial_from(
        &self,
        local: SocketAddr,
        to: SocketAddr,
        expect: Option<NodeId>,
    ) -> Result<Link, TransportError> {
        let shown = host_port(to);
        let dial = async {
            let connected = self.sockets.connect(Some(local), to).await;
            let stream = connected.map_err(|source| unreachable_host(&shown, source))?;
            let (node, stream, took) =
                self.shake_hands(&self.identity, &shown, stream, expect).await?;
            let ways = (Some(to.ip()), ends_of(stream.get_ref().0));
            let pipe = Pipe::Stream(Box::new(Paced::new(stream, took)));
            Ok(self.link(node, super::address_of(to), true, ways, pipe))
        };
        within(&shown, dial).await
    }

    async fn dial_target(
        &self,
        us: &Identity,
        target: &Target,
        expect: Option<NodeId>,
    ) -> Result<Link, TransportError> {
        let proxy = target.via.as_ref().or(self.options.via.as_ref());
        let first_hop = proxy.map_or(&target.to, |proxy| &proxy.at);
        let mut addresses = self.resolve(first_hop).await?;
        let mut failure = None;
        while !addresses.is_empty() {
            let connect = |to| -> crate::contract::BoxFuture<'_, _> {
                Box::pin(self.sockets.connect(self.options.bind, to))
            };
            let (at, mut stream) = match race(&addresses, connect).await {
                Ok(connected) => connected,
                Err(source) => {
                    // What answered but was somebody else says more than what did not answer.
                    return Err(failure.unwrap_or_else(|| unreachable_host(first_hop, source)));
                }
            };
            let ended = async {
                if let Some(proxy) = proxy {
                    proxy.connect(&mut stream, &target.to).await.map_err(|error| match error {
                        SocksError::Refused(reason) => {
                            TransportError::Proxy { proxy: proxy.at.to_string(), reason }
                        }
                        SocksError::Io(source) => unreachable_host(&proxy.at, source),
                    })?;
                }
                self.shake_hands(us, &target.to, stream, expect).await
            };
            match ended.await {
                Ok((node, stream, took)) => {
                    let ends = ends_of(stream.get_ref().0).filter(|_| proxy.is_none());
                    let pipe = Pipe::Stream(Box::new(Paced::new(stream, took)));
                    let remote = match (proxy, &target.to.host) {
                        (None, _) => Some(at.ip()),
                        (Some(_), Host::Ip(ip)) => Some(*ip),
                        (Some(_), _) => None,
                    };
                    return Ok(self.link(node, target.address(), true, (remote, ends), pipe));
                }
                Err(error) => failure = Some(error),
            }
            addresses.retain(|address| *address != at);
        }
        let host = first_hop.to_string();
        Err(failure.unwrap_or(TransportError::Unresolved { host, source: None }))
    }

    /// The addresses of a host, in the order in which they are tried.
    async fn resolve(&self, to: &HostPort) -> Result<Vec<SocketAddr>, TransportError> {
        let fixed = to
            .socket_address()
            .map_err(|reason| TransportError::Address { address: format!("tls://{to}"), reason })?;
        let found = match (&to.host, fixed) {
            (_, Some(address)) => vec![address],
            (Host::Name(name), None) => {
                let found = (self.options.resolver)(name.clone(), to.port).await;
                found.map_err(|source| TransportError::Unresolved {
                    host: name.clone(),
                    source: Some(source),
                })?
            }
            _ => Vec::new(),
        };
        // From a bound local address only its own family can be reached.
        let family = self.options.bind.map(|local| local.is_ipv6());
        let usable = |address: &SocketAddr| family.is_none_or(|v6| v6 == address.is_ipv6());
        Ok(in_turn(found.into_iter().filter(usable)))
    }

    /// The client's half of a handshake, and how long it took. The server proves itself before our key is shown.
    pub(super) async fn shake_hands(
        &self,
        us: &Identity,
        to: &HostPort,
        stream: TcpStream,
        expect: Option<NodeId>,
    ) -> Result<(NodeId, TlsStream<TcpStream>, Duration), TransportError> {
        let failed = |source| TransportError::Handshake { to: to.to_string(), source };
        let (config, name) = us.client(expect).map_err(|error| failed(io::Error::other(error)))?;
        let limit = self.options.handshake_time;
        let begun = Instant::now();
        let handshake = TlsConnector::from(config).connect(name, stream);
        let stream = match tokio::time::timeout(limit, handshake).await {
            Err(_) => return Err(TransportError::Timeout { to: to.to_string(), limit }),
            Ok(Err(source)) => return Err(handshake_failed(to, expect, source)),
            Ok(Ok(stream)) => stream,
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let node = shown.and_then(|spki| node_of(spki).ok());
        let node = node.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
        Ok((node, stream, begun.elapsed()))
    }
}

/// Bounds a dial in time.
pub(super) async fn within<T>(
    to: &HostPort,
    dial: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    let late = |_| TransportError::Timeout { to: to.to_string(), limit: DIAL_TIME_MAX };
    tokio::time::timeout(DIAL_TIME_MAX, dial).await.map_err(late)?
}

/// What a broken handshake means: a valid but unexpected key is told apart from everything else.
pub(super) fn handshake_failed(
    to: &HostPort,
    expect: Option<NodeId>,
    source: io::Error,
) -> TransportError {
    let told = source.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    match expect {
        Some(expected) if told == Some(&UNEXPECTED) => {
            TransportError::WrongPeer { to: to.to_string(), expected }
        }
        _ => TransportError::Handshake { to: to.to_string(), source },
    }
}

pub(super) fn host_port(to: SocketAddr) -> HostPort {
    let host = match to {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => {
            Host::Scoped(*v6.ip(), v6.scope_id().to_string())
        }
        _ => Host::Ip(to.ip()),
    };
    HostPort { host, port: to.port() }
}

fn unreachable_host(to: &HostPort, source: io::Error) -> TransportError {
    TransportError::Connect { to: to.to_string(), source }
}
