//! TCP sockets with the options that links need.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};

/// Connections the kernel keeps for us while the accept loop is busy; it cuts this to its own limit.
const BACKLOG: i32 = 1024;
/// Bytes that may wait unsent in the kernel: what is in flight comes on top. Enough to keep a fast
/// link busy between two wakings, and half a second at 1 Mb/s for an urgent unit behind it.
pub(super) const UNSENT_BYTES: u32 = 64 << 10;
/// As long as the line may be slow: a second at 64 kbit/s.
const UNSENT_AT_FIRST: u32 = 8 << 10;
/// Silence after which the kernel asks whether the other end is still there. Below the two minutes
/// after which the worse home routers forget a connection.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Between two such questions; after [`KEEPALIVE_PROBES`] of them without answer the link is dead.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;
/// Bytes sent and not acknowledged for so long mean a dead link, as long as silence would.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(120);

/// What is set on every socket.
#[derive(Clone, Debug, Default)]
pub(super) struct SocketOptions {
    pub(super) interface: Option<String>,
    pub(super) send_buffer_bytes: Option<usize>,
    pub(super) keepalive: bool,
}

impl SocketOptions {
    /// Listens at `at`. An IPv6 socket takes IPv6 only, so that `0.0.0.0` can be bound beside it.
    pub(super) fn listen(&self, at: SocketAddr) -> io::Result<std::net::TcpListener> {
        let socket = self.socket(at)?;
        if at.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // A restarted daemon must not wait for old connections to be forgotten.
        socket.set_reuse_address(true)?;
        socket.bind(&at.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    }

    /// A listener that shares its port with sockets that dial from it.
    pub(super) fn listen_shared(&self, at: SocketAddr) -> io::Result<tokio::net::TcpListener> {
        let socket = self.shared(at)?;
        socket.listen(BACKLOG)?;
        tokio::net::TcpListener::from_std(socket.into())
    }

    /// Connects to `to`, from `local` if given. Others of ours may share the port that it gets: a
    /// NAT that knows it lets a second connection from there through.
    pub(super) async fn connect(
        &self,
        local: Option<SocketAddr>,
        to: SocketAddr,
    ) -> io::Result<TcpStream> {
        let socket = match local {
            Some(local) => self.shared(local)?,
            None => {
                let socket = self.socket(to)?;
                share(&socket)?;
                socket
            }
        };
        let socket = TcpSocket::from_std_stream(socket.into());
        let stream = socket.connect(to).await?;
        // Linux connects a socket to itself if the port it picks is the one it dials.
        if stream.local_addr()? == stream.peer_addr()? {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.tune(&stream)?;
        Ok(stream)
    }

    /// Sets what can only be set now on a live connection.
    pub(super) fn tune(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        if let Some(bytes) = self.send_buffer_bytes {
            socket.set_send_buffer_size(bytes)?;
        }
        if self.keepalive {
            socket.set_tcp_keepalive(
                &TcpKeepalive::new()
                    .with_time(KEEPALIVE_AFTER)
                    .with_interval(KEEPALIVE_EVERY)
                    .with_retries(KEEPALIVE_PROBES),
            )?;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            set_unsent(stream, UNSENT_AT_FIRST)?;
            socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
        }
        Ok(())
    }

    /// A socket bound to `local` that others of ours may share.
    fn shared(&self, local: SocketAddr) -> io::Result<Socket> {
        let socket = self.socket(local)?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        share(&socket)?;
        socket.bind(&local.into())?;
        Ok(socket)
    }

    fn socket(&self, family_of: SocketAddr) -> io::Result<Socket> {
        let domain = Domain::for_address(family_of);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        if let Some(interface) = &self.interface {
            bind_to(&socket, interface)?;
        }
        Ok(socket)
    }
}

/// Bounds what may wait unsent.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn set_unsent(stream: &TcpStream, bytes: u32) -> io::Result<()> {
    SockRef::from(stream).set_tcp_notsent_lowat(bytes)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn set_unsent(_: &TcpStream, _: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn share(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn bind_to(socket: &Socket, interface: &str) -> io::Result<()> {
    socket.bind_device(Some(interface.as_bytes()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bind_to(_: &Socket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
