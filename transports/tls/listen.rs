//! The listening side: accept, count, look at the door token, shake hands, hand over.
//!
//! Until its ClientHello has shown the token a connection hears nothing, not even a TLS alert, and
//! costs no more than a buffer. All of it, including the handing over, has to be done within one
//! deadline, so a handshake that never ends ends.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustls::{
    ServerConfig,
    server::{Accepted, Acceptor},
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_rustls::{StartHandshake, server::TlsStream};

use super::{
    Inner, door,
    identity::{Identity, node_of},
    pacing::Paced,
    slots::{Slot, Slots},
};
use crate::contract::{Arrival, Link, NodeId, Pipe, Stop, TransportError};

/// Longest ClientHello. Ours has about 300 bytes, a browser's with post-quantum keys 2 KiB; TLS
/// would allow 16 MiB.
const HELLO_MAX: usize = 16 << 10;
/// Read at once while waiting for the hello.
const READ_BYTES: usize = 4 << 10;
/// Pause after an accept that failed, mostly for want of file descriptors: trying again at once
/// would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What became of connections since the start. The figures only ever grow.
#[derive(Debug, Default)]
pub(super) struct Counters {
    accepted: AtomicU64,
    crowded: AtomicU64,
    no_token: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    welcomed: AtomicU64,
}

/// What became of connections to a listener since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Connections accepted from the kernel.
    pub accepted: u64,
    /// Closed because too many were shaking hands: at once, or to make room.
    pub crowded: u64,
    /// Closed without a byte: no ClientHello, or one without a fitting door token.
    pub no_token: u64,
    /// Handshakes that broke, were wrong, or took too long.
    pub failed: u64,
    /// Proven keys that the admission does not want.
    pub refused: u64,
    /// Links handed over.
    pub welcomed: u64,
}

impl Counters {
    pub(super) fn read(&self) -> Counts {
        let [accepted, crowded, no_token, failed, refused, welcomed] = [
            &self.accepted,
            &self.crowded,
            &self.no_token,
            &self.failed,
            &self.refused,
            &self.welcomed,
        ]
        .map(|counter| counter.load(Ordering::Relaxed));
        Counts { accepted, crowded, no_token, failed, refused, welcomed }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Accepts on all `listeners` until stopped, or until nobody takes arrivals any more.
pub(super) async fn run(
    inner: Arc<Inner>,
    listeners: Vec<std::net::TcpListener>,
    arrivals: mpsc::Sender<Arrival>,
    stop: Stop,
) -> Result<(), TransportError> {
    let config = inner
        .identity
        .server(None)
        .map_err(|error| TransportError::Listen { at: "tls:".into(), source: other(error) })?;
    let slots = Arc::new(Slots::default());
    let mut loops = JoinSet::new();
    for listener in listeners {
        let at = listener.local_addr().map_or_else(|_| "tls:".into(), |at| at.to_string());
        let listener = TcpListener::from_std(listener)
            .map_err(|source| TransportError::Listen { at, source })?;
        let welcome =
            Welcome { inner: inner.clone(), config: config.clone(), arrivals: arrivals.clone() };
        loops.spawn(accept(listener, slots.clone(), Arc::new(welcome)));
    }
    tokio::select! {
        () = stop.cancelled() => {}
        () = arrivals.closed() => {}
    }
    // Also ends the handshakes, which belong to the loops. Links that were handed over live on.
    loops.shutdown().await;
    Ok(())
}

async fn accept(listener: TcpListener, slots: Arc<Slots>, welcome: Arc<Welcome>) {
    let counters = &welcome.inner.counters;
    let mut handshakes = JoinSet::new();
    loop {
        // Accepting and joining are both cancel-safe.
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    count(&counters.accepted);
                    let Some(slot) = slots.take(from.ip()) else {
                        count(&counters.crowded);
                        continue;
                    };
                    let welcome = welcome.clone();
                    handshakes.spawn(async move { welcome.stranger(stream, from, slot).await });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = handshakes.join_next() => {}
        }
    }
}

/// What every handshake needs.
struct Welcome {
    inner: Arc<Inner>,
    config: Arc<ServerConfig>,
    arrivals: mpsc::Sender<Arrival>,
}

impl Welcome {
    async fn stranger(&self, stream: TcpStream, from: SocketAddr, slot: Slot) {
        let counters = &self.inner.counters;
        let handshake = async {
            match self.shake_hands(stream, from, &slot).await {
                Ok(Some(link)) => self.hand_over(link).await,
                Ok(None) => count(&counters.refused),
                Err(Unwelcome::NoToken) => count(&counters.no_token),
                Err(Unwelcome::Failed(_)) => count(&counters.failed),
            }
        };
        tokio::select! {
            ended = tokio::time::timeout(self.inner.options.handshake_time, handshake) => {
                if ended.is_err() {
                    count(&counters.failed);
                }
            }
            () = slot.lost() => count(&counters.crowded),
        }
    }

    /// `None`: a proven node that is not wanted.
    async fn shake_hands(
        &self,
        mut stream: TcpStream,
        from: SocketAddr,
        slot: &Slot,
    ) -> Result<Option<Link>, Unwelcome> {
        let begun = Instant::now();
        let (accepted, door) = greet(&self.inner, &mut stream).await?;
        if !matches!(door, Door::Public) {
            slot.keep();
        }
        let (guest, config) = match door {
            Door::Guest(identity) => {
                let config = identity.server(None).map_err(|e| Unwelcome::Failed(other(e)))?;
                (true, config)
            }
            Door::Node | Door::Public => (false, self.config.clone()),
        };
        let (node, stream) = prove(&config, accepted, stream).await?;
        slot.keep();
        // Guests are nobody in particular, so nobody can be asked about them.
        let welcome = guest || (self.inner.options.admission)(&node);
        let ways = (Some(from.ip()), super::ends_of(stream.get_ref().0));
        let pipe = Pipe::Stream(Box::new(Paced::new(stream, begun.elapsed())));
        let address = super::address_of(from);
        let mut link = self.inner.link(node, address, false, ways, pipe);
        link.facts.guest = guest;
        Ok(welcome.then_some(link))
    }

    /// Waits for room in the channel: a node that is busy takes nobody in.
    async fn hand_over(&self, link: Link) {
        if self.arrivals.send(Arrival::Link(link)).await.is_ok() {
            count(&self.inner.counters.welcomed);
        }
    }
}

/// Why there is no link.
#[derive(Debug)]
pub(super) enum Unwelcome {
    NoToken,
    Failed(io::Error),
}

/// Under which of our keys somebody looks for us.
#[derive(Debug)]
pub(super) enum Door {
    /// The node's.
    Node,
    /// A guest key.
    Guest(Arc<Identity>),
    /// None, and the node's is public.
    Public,
}

/// Reads the ClientHello, and says whose door token it came with. Not a byte is sent; without a
/// token only a public listener goes on.
pub(super) async fn greet(
    inner: &Inner,
    stream: &mut TcpStream,
) -> Result<(Accepted, Door), Unwelcome> {
    inner.sockets.tune(stream).map_err(Unwelcome::Failed)?;
    let accepted = read_hello(stream).await.map_err(|_| Unwelcome::NoToken)?;
    let name = accepted.client_hello().server_name().map(str::to_owned);
    let name = name.unwrap_or_default();
    if door::opens(&name, &inner.identity.id()) {
        Ok((accepted, Door::Node))
    } else if let Some(guest) = inner.guests.opened_by(&name) {
        Ok((accepted, Door::Guest(guest)))
    } else if inner.options.public {
        Ok((accepted, Door::Public))
    } else {
        Err(Unwelcome::NoToken)
    }
}

fn other(error: rustls::Error) -> io::Error {
    io::Error::other(error)
}

/// The rest of the server's half: both ends prove their keys.
pub(super) async fn prove(
    config: &Arc<ServerConfig>,
    accepted: Accepted,
    stream: TcpStream,
) -> Result<(NodeId, TlsStream<TcpStream>), Unwelcome> {
    let handshake = StartHandshake::from_parts(accepted, stream).into_stream(config.clone());
    let stream = handshake.await.map_err(Unwelcome::Failed)?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let node = shown.and_then(|spki| node_of(spki).ok());
    let node = node.ok_or_else(|| Unwelcome::Failed(io::ErrorKind::InvalidData.into()))?;
    Ok((node, stream))
}

/// Reads until the ClientHello is whole. rustls would like to send an alert when it is not one;
/// nobody hears it.
async fn read_hello(stream: &mut TcpStream) -> io::Result<Accepted> {
    let mut acceptor = Acceptor::default();
    let mut buffer = [0; READ_BYTES];
    let mut room = HELLO_MAX;
    while room > 0 {
        let most = room.min(READ_BYTES);
        let got = stream.read(&mut buffer[..most]).await?;
        room -= got;
        let mut bytes = &buffer[..got];
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !bytes.is_empty() {
            if acceptor.read_tls(&mut bytes)? == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) => {}
            Err((error, _)) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}
