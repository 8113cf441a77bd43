//! `serial:` — a port, and whatever passes bytes on behind it: a null modem, a cable of two wires, a
//! transparent radio modem, a terminal server.
//!
//! A port is neither dialled nor listened on: it is opened, for as long as it is there, and both ends
//! are equal. A cable yields a [`Pipe::Line`](crate::contract::Pipe::Line), whose bytes may be lost,
//! damaged and late; what makes a reliable pipe of that knows nothing of ports, and this nothing of that.
//! A modem with a dialect of its own yields [`Pipe::Frames`], which many may hear.
//!
//! - `address`: what is said of a port, and by which driver it is spoken to;
//! - `tty`: one of this machine's, opened for us alone; `holder`: who has it otherwise;
//! - `paced`: little of what is written waits in the kernel; `system`: how much does;
//! - `wires`: the two that a program raises and lowers, and the one by which a modem says that it is connected;
//! - `plug`: until it is plugged in; `looks`: what something else looks like.
//!
//! - `drivers`: what is at the port makes a pipe of it.

mod address;
mod drivers;
mod holder;
mod looks;
mod paced;
mod plug;
mod system;
mod tty;
mod wires;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

pub use self::{
    address::{Driver, Flow, Place, PortAddress},
    drivers::{Replay, read_profile, replay},
    looks::{SAMPLE_BYTES, looks_like},
};
use self::{
    paced::{Paced, Waiting},
    tty::Tty,
};
use crate::contract::{
    Address, Arrival, BoxFuture, FramePort, Link, LinkFacts, NodeId, Pipe, Stop, StreamPipe,
    Transport, TransportError, listen_to_nobody,
};

/// A terminal server answers within this or is not there.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(30);
/// A terminal server that was switched off says nothing, and a line may be silent for hours.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// What the kernel is asked to hold of a connection to one; it takes twice that.
const TCP_HELD_BYTES: usize = 2 << 10;

/// The transport for `serial:`, `serial+tcp:` or `kiss+tcp:` addresses. It has nothing to listen to.
#[derive(Clone, Copy, Debug)]
pub struct SerialTransport {
    scheme: &'static str,
}

impl SerialTransport {
    /// Those for ports of this machine, for ports behind terminal servers, and for modems of packet radio that are
    /// programs.
    pub fn all() -> [Self; 3] {
        ["serial", "serial+tcp", "kiss+tcp"].map(|scheme| Self { scheme })
    }

    async fn open(&self, to: &Address) -> Result<Link, TransportError> {
        let of = PortAddress::parse(to)?;
        let in_turns = of.turn_ms.is_some();
        let mut wires = None;
        let port: Box<dyn StreamPipe> = match &of.place {
            Place::Device(path) => {
                let tty = Tty::open(path, &of).await?;
                wires = tty.wires();
                Box::new(Paced::new(tty, of.bits_per_s, in_turns))
            }
            Place::Tcp(at) => {
                Box::new(Paced::new(Remote::open(at).await?, of.bits_per_s, in_turns))
            }
        };
        let pipe = drivers::start(port, &of, wires).await?;
        Ok(Link { facts: facts(&pipe, to), pipe })
    }
}

fn facts(pipe: &Pipe, to: &Address) -> LinkFacts {
    let plain = LinkFacts::stream(to.clone());
    match pipe {
        Pipe::Frames(FramePort { facts, .. }) => LinkFacts {
            rate_bps: Some(facts.bits_per_s.into()),
            mtu_bytes: Some(facts.mtu_bytes.into()),
            half_duplex: true,
            metered: facts.tariff.is_some(),
            clear_only: facts.clear_only,
            ..plain
        },
        Pipe::Line { bits_per_s, turn_ms, .. } => LinkFacts {
            // Of ten bits eight are of the byte.
            rate_bps: Some(u64::from(*bits_per_s) * 8 / 10),
            half_duplex: turn_ms.is_some(),
            ..plain
        },
        Pipe::Stream(_) => plain,
    }
}

/// Whether a port could be opened, as far as that shows without opening it.
pub fn look(at: &Address) -> Result<(), TransportError> {
    match PortAddress::parse(at)?.place {
        Place::Device(path) => tty::look(&path),
        Place::Tcp(_) => Ok(()),
    }
}

impl Transport for SerialTransport {
    fn scheme(&self) -> &'static str {
        self.scheme
    }

    fn run(
        self: Arc<Self>,
        arrivals: mpsc::Sender<Arrival>,
        stop: Stop,
    ) -> BoxFuture<'static, Result<(), TransportError>> {
        Box::pin(listen_to_nobody(arrivals, stop))
    }

    fn dial<'a>(
        &'a self,
        to: &'a Address,
        _: Option<NodeId>,
    ) -> BoxFuture<'a, Result<Link, TransportError>> {
        Box::pin(self.open(to))
    }

    fn opens_ports(&self) -> bool {
        true
    }

    fn until_changed(&self, to: &Address) -> BoxFuture<'static, ()> {
        match PortAddress::parse(to).map(|of| of.place) {
            Ok(Place::Device(path)) => Box::pin(plug::until_changed(path)),
            Ok(Place::Tcp(_)) | Err(_) => Box::pin(std::future::pending()),
        }
    }
}

/// A port behind a terminal server that passes bytes on as they are.
struct Remote(TcpStream);

impl Remote {
    async fn open(at: &str) -> Result<Self, TransportError> {
        let failed = |source| TransportError::Connect { to: at.to_owned(), source };
        let connected = timeout(CONNECT_TIME_MAX, TcpStream::connect(at)).await;
        let stream = connected
            .map_err(|_| TransportError::Timeout { to: at.to_owned(), limit: CONNECT_TIME_MAX })?
            .map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let socket = SockRef::from(&stream);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        socket.set_tcp_keepalive(&keepalive).map_err(failed)?;
        // A server whose line is slower than was said is then noticed soon.
        socket.set_send_buffer_size(TCP_HELD_BYTES).map_err(failed)?;
        Ok(Self(stream))
    }
}

impl Waiting for Remote {
    fn waiting_bytes(&self) -> u64 {
        system::waiting_bytes(&self.0)
    }
}

impl AsyncRead for Remote {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Remote {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
