//! The socket: who may connect, how many, and how long a request may take.

use std::{
    fs, io, net::SocketAddr, os::unix::fs::PermissionsExt, path::PathBuf, pin::pin, sync::Arc,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    runtime::Handle,
    sync::Semaphore,
    time::{Duration, sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::{
    body::error_line,
    route::{Service, answer},
    socket_path,
};
use crate::{
    daemon::Node,
    desk::{Failure, FailureKind},
};

/// A request that is not a stream: the longest text of a message (256 KiB) with every character
/// escaped, and the rest of its object.
pub(super) const BODY_MAX: usize = 2 << 20;
/// How long that may take to come, from a program on the same machine.
pub(super) const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// How long the head of a request may take, also the next one of a connection that is kept.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// The head of a request, with everything that a client may find worth saying.
const HEAD_MAX: usize = 32 << 10;
/// Connections at once; more are told so and closed.
const CONNECTIONS_MAX: usize = 64;
/// How long the end waits for verbs that run; what is durable is safe without it.
const FAREWELL: Duration = Duration::from_secs(10);
/// After an accept that failed for want of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// The API on the socket of a home.
pub struct Server {
    listener: std::os::unix::net::UnixListener,
    path: PathBuf,
    service: Arc<Service>,
}

impl Server {
    /// Takes the socket of the node's home. The caller owns the spool, so what lies there is left
    /// over from a daemon that is gone.
    pub fn bind(node: &Arc<Node>, handle: &Handle) -> Result<Self, Failure> {
        let path = socket_path(node.desk.home().dir())?;
        let failed = |what| {
            let path = path.clone();
            move |error| Failure::file(what, &path, error)
        };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove")(error));
            }
            _ => {}
        }
        let listener =
            std::os::unix::net::UnixListener::bind(&path).map_err(failed("listen on"))?;
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&path, private).map_err(failed("protect"))?;
        listener.set_nonblocking(true).map_err(failed("listen on"))?;
        let service = Arc::new(Service {
            node: Arc::clone(node),
            handle: handle.clone(),
            running: TaskTracker::new(),
            metrics_only: false,
        });
        Ok(Self { listener, path, service })
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Serves until the node is asked to stop, then waits for what runs. The socket's file stays;
    /// whoever gives up the spool removes it before.
    pub async fn run(self) -> Result<(), Failure> {
        let failed = |error| Failure::file("listen on", &self.path, error);
        let listener = UnixListener::from_std(self.listener).map_err(failed)?;
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = self.service.node.stop_requested() => break,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(BREATH).await;
                    continue;
                }
            };
            let refused = match stream.peer_cred() {
                Ok(peer) if peer.uid() == rustix::process::geteuid().as_raw() => None,
                _ => Some(Failure::new(
                    FailureKind::NotAuthorised,
                    "only the owner of this home may ask its daemon",
                )),
            };
            let place = Arc::clone(&places).try_acquire_owned();
            match (refused, place) {
                (None, Ok(place)) => {
                    let service = Arc::clone(&self.service);
                    connections.spawn(async move {
                        serve(service, stream).await;
                        drop(place);
                    });
                }
                (Some(failure), _) => {
                    refuse(stream, "403 Forbidden", &failure).await;
                }
                (None, Err(_)) => {
                    let what = format!("there are {CONNECTIONS_MAX} connections already");
                    let failure = Failure::new(FailureKind::Failed, what).next("try again");
                    refuse(stream, "503 Service Unavailable", &failure).await;
                }
            }
        }
        drop(listener);
        connections.close();
        self.service.running.close();
        let ended = async {
            self.service.running.wait().await;
            connections.wait().await;
        };
        if timeout(FAREWELL, ended).await.is_err() {
            tracing::warn!("some who asked were not answered to the end");
        }
        Ok(())
    }
}

/// Figures for Prometheus over TCP, and nothing else, until the node is asked to stop.
pub async fn serve_metrics(node: Arc<Node>, listener: std::net::TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let service = Arc::new(Service {
        node: Arc::clone(&node),
        handle: Handle::current(),
        running: TaskTracker::new(),
        metrics_only: true,
    });
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = node.stop_requested() => break,
            accepted = listener.accept() => accepted,
        };
        let place = Arc::clone(&places).try_acquire_owned();
        match (accepted, place) {
            (Ok((stream, _)), Ok(place)) => {
                let service = Arc::clone(&service);
                connections.spawn(async move {
                    serve(service, stream).await;
                    drop(place);
                });
            }
            // A stranger may hold all places: others are closed, nothing waits for them.
            (Ok(_), Err(_)) => {}
            (Err(_), _) => sleep(BREATH).await,
        }
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

/// Where figures are to be served.
pub(crate) fn bind_metrics(at: SocketAddr) -> Result<std::net::TcpListener, Failure> {
    std::net::TcpListener::bind(at).map_err(|error| {
        Failure::new(FailureKind::Failed, format!("could not listen on {at}")).because(error)
    })
}

/// Serves one connection to its end.
async fn serve(service: Arc<Service>, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let node = Arc::clone(&service.node);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_MAX)
        .half_close(true)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| answer(Arc::clone(&service), request)),
        );
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = node.stop_requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the socket ended");
    }
}

/// Says why without reading a byte, and closes.
async fn refuse(mut stream: tokio::net::UnixStream, status: &str, failure: &Failure) {
    let body = error_line(failure);
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    // It fits the socket's buffer; whoever does not read it learns nothing.
    let _ = timeout(BREATH, stream.write_all(&[head.as_bytes(), &body].concat())).await;
}
