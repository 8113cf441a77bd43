//! Nodes on loopback for the tests of links.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "every test file uses its own part")]

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use postrider_base::{NodeId, NodeSecret};
use postrider_transports::{
    Arrival, Link, Pipe, Stop, StreamPipe, Transport as _, TransportError,
    contract::Address,
    tls::{TlsOptions, TlsTransport},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    task::JoinHandle,
};

/// A test that takes longer hangs. It never decides what is right.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// A node that listens.
pub struct Node {
    pub id: NodeId,
    pub tls: Arc<TlsTransport>,
    pub arrivals: mpsc::Receiver<Arrival>,
    pub stop: Stop,
    pub run: JoinHandle<Result<(), TransportError>>,
}

pub fn secret(seed: u8) -> Arc<NodeSecret> {
    Arc::new(NodeSecret::from_seed([seed; 32]))
}

pub fn id(seed: u8) -> NodeId {
    secret(seed).id()
}

/// A node that only dials.
pub fn dialler(seed: u8, options: TlsOptions) -> TlsTransport {
    TlsTransport::new(secret(seed), options).unwrap()
}

impl Node {
    /// Listens on a free port of 127.0.0.1.
    pub fn start(seed: u8, options: TlsOptions) -> Self {
        Self::start_with_room(seed, options, 16)
    }

    /// The same with `room` for arrivals.
    pub fn start_with_room(seed: u8, mut options: TlsOptions, room: usize) -> Self {
        if options.listen.is_empty() {
            options.listen = vec!["tls://127.0.0.1:0".parse().unwrap()];
        }
        let tls = Arc::new(TlsTransport::new(secret(seed), options).unwrap());
        let (sender, arrivals) = mpsc::channel(room);
        let stop = Stop::new();
        let run = tokio::spawn(tls.clone().run(sender, stop.clone()));
        Self { id: id(seed), tls, arrivals, stop, run }
    }

    pub fn at(&self) -> SocketAddr {
        self.tls.listening()[0]
    }

    pub fn address(&self) -> Address {
        format!("tls://{}", self.at()).parse().unwrap()
    }

    pub async fn link(&mut self) -> Link {
        match soon(self.arrivals.recv()).await.unwrap() {
            Arrival::Link(link) => link,
            other => unreachable!("{other:?}"),
        }
    }

    /// Waits until the counters are as wanted.
    pub async fn counted(&self, wanted: impl Fn(postrider_transports::tls::Counts) -> bool) {
        soon(async {
            while !wanted(self.tls.counts()) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANGS_AFTER, work).await.expect("the test hangs")
}

pub fn stream(link: Link) -> Box<dyn StreamPipe> {
    match link.pipe {
        Pipe::Stream(stream) => stream,
        other => unreachable!("{other:?}"),
    }
}

/// What `near` sends arrives at `far`, and the other way round.
pub async fn assert_talks(near: &mut dyn StreamPipe, far: &mut dyn StreamPipe) {
    assert_hears(near, far).await;
    assert_hears(far, near).await;
}

async fn assert_hears(from: &mut dyn StreamPipe, to: &mut dyn StreamPipe) {
    let mut heard = [0; 5];
    soon(async {
        from.write_all(b"hello").await.unwrap();
        from.flush().await.unwrap();
        to.read_exact(&mut heard).await.unwrap();
    })
    .await;
    assert_eq!(&heard, b"hello");
}

/// Everything that still comes; a reset is an end like any other.
pub async fn heard_until_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut heard = Vec::new();
    let _ = soon(stream.read_to_end(&mut heard)).await;
    heard
}
