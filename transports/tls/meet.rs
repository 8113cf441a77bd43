//! Two nodes behind NATs dial each other at the same moment, each from the local port that its NAT
//! has already opened (a TCP simultaneous open, RFC 9293, section 3.5).
//!
//! Each end connects again and again from that port and listens on it as well: where there is no
//! NAT the other end's SYN may come while nothing of ours is on the way. It makes no difference how
//! the connection came about, because between two ports there can only be one. Nobody dialled, so
//! TLS roles go by key: the lower [`NodeId`] is the client.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::net::{TcpListener, TcpStream};

use super::{
    Inner,
    dial::{handshake_failed, host_port, within},
    listen::{self, Door, Unwelcome},
    pacing::Paced,
    target::HostPort,
};
use crate::contract::{Link, NodeId, Pipe, TransportError};

/// Between two attempts: a refusal comes at once, and a NAT that sees a flood of SYNs closes.
const RETRY_AFTER: Duration = Duration::from_millis(100);

impl Inner {
    pub(super) async fn meet(
        &self,
        local: SocketAddr,
        to: SocketAddr,
        expect: NodeId,
    ) -> Result<Link, TransportError> {
        let shown = host_port(to);
        if self.identity.id() == expect {
            let reason = "a node cannot meet itself";
            return Err(TransportError::Address { address: format!("tls://{to}"), reason });
        }
        let meeting = async {
            let failed = |source| TransportError::Listen { at: local.to_string(), source };
            let listener = self.sockets.listen_shared(local).map_err(failed)?;
            let stream = self.connect_both_ways(&listener, to).await.map_err(failed)?;
            let ways = (Some(to.ip()), super::ends_of(&stream));
            let client = self.identity.id() < expect;
            let pipe = if client {
                let (_, stream, took) =
                    self.shake_hands(&self.identity, &shown, stream, Some(expect)).await?;
                Pipe::Stream(Box::new(Paced::new(stream, took)))
            } else {
                self.serve(&shown, stream, expect).await?
            };
            Ok(self.link(expect, super::address_of(to), client, ways, pipe))
        };
        within(&shown, meeting).await
    }

    async fn connect_both_ways(
        &self,
        listener: &TcpListener,
        to: SocketAddr,
    ) -> io::Result<TcpStream> {
        let local = listener.local_addr()?;
        let connected = async {
            loop {
                // It fails until the other end has begun; the whole is bounded by the caller.
                if let Ok(stream) = self.sockets.connect(Some(local), to).await {
                    return stream;
                }
                tokio::time::sleep(RETRY_AFTER).await;
            }
        };
        let accepted = async {
            loop {
                match listener.accept().await {
                    // Anybody else who knocks is not the one we came for.
                    Ok((stream, from)) if (from.ip(), from.port()) == (to.ip(), to.port()) => {
                        return stream;
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(RETRY_AFTER).await,
                }
            }
        };
        Ok(tokio::select! {
            stream = connected => stream,
            stream = accepted => stream,
        })
    }

    /// The server's half, for one expected client.
    async fn serve(
        &self,
        to: &HostPort,
        mut stream: TcpStream,
        expect: NodeId,
    ) -> Result<Pipe, TransportError> {
        let failed = |source| handshake_failed(to, Some(expect), source);
        let config = self.identity.server(Some(expect)).map_err(|e| failed(io::Error::other(e)))?;
        let limit = self.options.handshake_time;
        let begun = Instant::now();
        let handshake = async {
            let (accepted, door) = listen::greet(self, &mut stream).await?;
            if matches!(door, Door::Guest(_)) {
                return Err(Unwelcome::NoToken);
            }
            listen::prove(&config, accepted, stream).await
        };
        match tokio::time::timeout(limit, handshake).await {
            Err(_) => Err(TransportError::Timeout { to: to.to_string(), limit }),
            Ok(Ok((_, stream))) => Ok(Pipe::Stream(Box::new(Paced::new(stream, begun.elapsed())))),
            Ok(Err(Unwelcome::NoToken)) => Err(failed(io::ErrorKind::InvalidData.into())),
            Ok(Err(Unwelcome::Failed(source))) => Err(failed(source)),
        }
    }
}
