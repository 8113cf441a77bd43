//! The whole contract of a transport: how links arise, what they carry, how they end.
//!
//! What holds for every transport:
//! - A transport moves bytes and reports facts; it never looks at what it carries.
//! - [`Transport::run`] listens until it is told to stop and hands over what arrives. The channel is
//!   bounded: when it is full the transport takes no more in, it does not queue.
//! - [`Transport::dial`] is one attempt. Retries, back-off and schedules are decided elsewhere.
//!   Dropping its future cancels it and leaves nothing half-open.
//! - A [`Link`] is owned by whoever receives it; stopping the transport does not end its links.
//!   Dropping the link ends it and frees whatever stood behind it (a socket, a process).
//! - A stream whose other end was dropped without a shutdown ends like a broken one: with an error
//!   or without, and perhaps early.
//! - `facts.peer` is set only if the link's own security has proven it.

use std::{fmt, future::Future, io, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

pub use crate::frames::{FramePort, Heard, OutFrame, Refusal};
pub use postrider_base::{
    NodeId,
    air::{Modulated, RadioFacts, Strength, Tariff},
    link::{Address, AddressError, LinkFacts},
};
/// Told to stop from outside; clones belong together.
pub use tokio_util::sync::CancellationToken as Stop;

/// A boxed future, because a trait object cannot have `async` methods.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One way of moving bytes.
pub trait Transport: fmt::Debug + Send + Sync {
    /// The scheme of the addresses this transport dials.
    fn scheme(&self) -> &'static str;

    /// Listens, hands arrivals over, and returns when stopped or when nobody takes arrivals any
    /// more. An error means that listening has ended; links that were handed over live on.
    fn run(
        self: Arc<Self>,
        arrivals: mpsc::Sender<Arrival>,
        stop: Stop,
    ) -> BoxFuture<'static, Result<(), TransportError>>;

    /// Dials `to`. If `expect` is given, a link to anybody else is refused before anything about
    /// us is shown; a transport whose links prove nobody ignores it and reports no peer.
    fn dial<'a>(
        &'a self,
        to: &'a Address,
        expect: Option<NodeId>,
    ) -> BoxFuture<'a, Result<Link, TransportError>>;

    /// Whether what is dialled are ports: they are opened and stay open whoever is linked already,
    /// nobody dials and nobody is dialled, and their links are [`Pipe::Line`] or [`Pipe::Frames`].
    fn opens_ports(&self) -> bool {
        false
    }

    /// Waits until what is at `to` is no more as it was when this was called, so that a dial in vain
    /// may go well now. Never ends where nobody can tell.
    fn until_changed(&self, to: &Address) -> BoxFuture<'static, ()> {
        let _ = to;
        Box::pin(std::future::pending())
    }
}

/// What a transport that has nothing to listen to does when it is run.
#[cfg(any(feature = "pipe", feature = "serial"))]
pub(crate) async fn listen_to_nobody(
    arrivals: mpsc::Sender<Arrival>,
    stop: Stop,
) -> Result<(), TransportError> {
    tokio::select! {
        () = stop.cancelled() => {}
        () = arrivals.closed() => {}
    }
    Ok(())
}

/// What a listening transport has to tell.
#[derive(Debug)]
#[non_exhaustive]
pub enum Arrival {
    /// Somebody dialled us.
    Link(Link),
    /// Somebody is near and could be dialled. Hearsay: only dialling proves it.
    Sighting {
        /// Who it seems to be.
        node: NodeId,
        /// Where.
        at: Address,
    },
}

/// A live link: what is known about it, and its bytes.
#[derive(Debug)]
pub struct Link {
    /// What was known when it came up.
    pub facts: LinkFacts,
    /// Where its bytes go in and out.
    pub pipe: Pipe,
}

/// How a link's bytes go in and out.
#[non_exhaustive]
pub enum Pipe {
    /// An ordered, reliable stream both ways.
    Stream(Box<dyn StreamPipe>),
    /// A port whose bytes may be lost, damaged and late, but come in order and never twice. It takes
    /// no more than it can send within a quarter of a second. When it ends the port is gone.
    Line {
        /// Its bytes.
        port: Box<dyn StreamPipe>,
        /// What it carries; a byte takes ten bits.
        bits_per_s: u32,
        /// Where only one end is heard at a time: how long it takes to turn from sending to hearing.
        turn_ms: Option<u32>,
    },
    /// A radio, or whatever else sends frames that come whole or not at all, in any order, and may be
    /// heard by many.
    Frames(FramePort),
}

/// A stream in both directions.
pub trait StreamPipe: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> StreamPipe for T {}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(_) => f.write_str("Stream"),
            Self::Line { bits_per_s, turn_ms, .. } => f
                .debug_struct("Line")
                .field("bits_per_s", bits_per_s)
                .field("turn_ms", turn_ms)
                .finish_non_exhaustive(),
            Self::Frames(port) => f.debug_tuple("Frames").field(&port.facts).finish(),
        }
    }
}

/// Why a transport could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The address is not one this transport can use.
    #[error("{address} is not an address that can be used here: {reason}")]
    Address {
        /// The address, without anything secret in it.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What an address says to the modem behind a port is not what its profile takes.
    #[error("{detail}")]
    Profile {
        /// What is wrong, and what there is instead; nothing secret.
        detail: String,
    },
    /// The name leads nowhere.
    #[error("{host} has no address")]
    Unresolved {
        /// The name.
        host: String,
        /// What the resolver said, if it said anything.
        #[source]
        source: Option<io::Error>,
    },
    /// Nobody answers there.
    #[error("no connection to {to}")]
    Connect {
        /// Where to.
        to: String,
        /// The last failure.
        #[source]
        source: io::Error,
    },
    /// It took too long.
    #[error("no answer from {to} within {limit:?}")]
    Timeout {
        /// Where to.
        to: String,
        /// What was waited.
        limit: Duration,
    },
    /// Somebody else answers there than was expected.
    #[error("{to} is not {expected}")]
    WrongPeer {
        /// Where to.
        to: String,
        /// Who should have been there.
        expected: NodeId,
    },
    /// Whoever answers there closed without showing a key: it is not the node that was expected,
    /// or it does not want us, or it does not speak this protocol.
    #[error("{to} does not complete the handshake")]
    Handshake {
        /// Where to.
        to: String,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The proxy refuses.
    #[error("the proxy at {proxy} refuses: {reason}")]
    Proxy {
        /// The proxy, without credentials.
        proxy: String,
        /// Its words.
        reason: &'static str,
    },
    /// Listening is not possible here.
    #[error("listening on {at} is not possible")]
    Listen {
        /// Where.
        at: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// This transport already listens, or has done so: its sockets are used up.
    #[error("this transport was already started")]
    AlreadyStarted,
    /// There is no guest key under which to dial a guest.
    #[error("this node meets no strangers")]
    NoGuest,
    /// A port cannot be opened.
    #[error("{detail}")]
    Port {
        /// What kind of trouble it is.
        trouble: PortTrouble,
        /// For people: which port, why not, and what helps.
        detail: String,
    },
    /// A command cannot be started.
    #[error("{command} cannot be started")]
    Spawn {
        /// Its first word.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why a port cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PortTrouble {
    /// It is not plugged in.
    Absent,
    /// This user may not use it.
    Forbidden,
    /// Another program has it.
    Busy,
    /// Something else.
    Other,
}
