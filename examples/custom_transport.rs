//! A transport of one's own: links over Unix sockets, `unix:/path/to/socket`.
//!
//!     cargo run --example custom_transport
//!
//! A transport moves bytes and says what it knows of a link. This one proves nobody and hides
//! nothing, so the node proves and hides by itself, inside the link; whoever dials has to say whom
//! it expects, behind a `#`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use postrider::{
    daemon::{
        Daemon, DaemonOptions,
        transport::{
            Address, Arrival, BoxFuture, Link, LinkFacts, NodeId, Pipe, Stop, Transport,
            TransportError,
        },
    },
    desk::{AddRequest, Desk, Failure, FailureKind, InitRequest, SendRequest, Silent},
};
use tokio::{
    net::{UnixListener, UnixStream},
    runtime::Runtime,
    sync::mpsc,
};

/// Links over Unix sockets.
#[derive(Debug)]
struct Unix {
    /// Where this node is dialled; nowhere, if it only dials.
    listen: Option<PathBuf>,
}

impl Unix {
    fn link(stream: UnixStream, address: Address, dialled: bool) -> Link {
        let facts = LinkFacts { dialled, ..LinkFacts::stream(address) };
        Link { facts, pipe: Pipe::Stream(Box::new(stream)) }
    }
}

impl Transport for Unix {
    fn scheme(&self) -> &'static str {
        "unix"
    }

    fn run(
        self: Arc<Self>,
        arrivals: mpsc::Sender<Arrival>,
        stop: Stop,
    ) -> BoxFuture<'static, Result<(), TransportError>> {
        Box::pin(async move {
            let Some(path) = &self.listen else { return Ok(()) };
            let at = path.display().to_string();
            let listen = |source| TransportError::Listen { at: at.clone(), source };
            let listener = UnixListener::bind(path).map_err(listen)?;
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    accepted = listener.accept() => accepted,
                };
                // A listener that cannot accept now may do so later; a real one logs it.
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let address = "unix:".parse().expect("a scheme and nothing");
                // The channel is bounded: while the node takes nothing in, nobody is accepted.
                if arrivals.send(Arrival::Link(Self::link(stream, address, false))).await.is_err() {
                    return Ok(());
                }
            }
        })
    }

    fn dial<'a>(
        &'a self,
        to: &'a Address,
        _expect: Option<NodeId>,
    ) -> BoxFuture<'a, Result<Link, TransportError>> {
        Box::pin(async move {
            let connected = UnixStream::connect(to.rest()).await;
            let stream = connected
                .map_err(|source| TransportError::Connect { to: to.to_string(), source })?;
            Ok(Self::link(stream, to.clone(), true))
        })
    }
}

pub(crate) fn main() -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("postrider-transport-{}", std::process::id()));
    let outcome = run(&folder);
    std::fs::remove_dir_all(&folder).map_err(|error| Failure::file("remove", &folder, error))?;
    outcome
}

fn run(folder: &Path) -> Result<(), Failure> {
    let (alice, bob) = (node(folder, "Alice")?, node(folder, "Bob")?);
    for (one, other) in [(&alice, &bob), (&bob, &alice)] {
        one.add(&AddRequest { card: other.home().card.clone(), name: None })?;
    }
    let runtime = Runtime::new().map_err(|error| failed("no runtime").because(error))?;
    let socket = folder.join("bob.socket");
    let with = |listen, peers| DaemonOptions {
        transports: vec![Arc::new(Unix { listen })],
        peers,
        ..DaemonOptions::default()
    };
    let at_bob = Daemon::start(Arc::clone(&bob), &with(Some(socket.clone()), vec![]), &runtime)?;
    let to_bob = format!("unix:{}#Bob", socket.display());
    let at_alice = Daemon::start(Arc::clone(&alice), &with(None, vec![to_bob]), &runtime)?;

    let mut heard = at_alice.node().board.listen();
    let sent = alice.send(&letter("Bob", "through a socket of our own"), &Silent)?;
    runtime.block_on(async {
        while let Ok(happening) = heard.recv().await {
            if happening.what == "delivered" && happening.id.as_ref() == Some(&sent.id) {
                break;
            }
        }
        at_alice.stop().await;
        at_bob.stop().await;
    });
    println!("Bob reads: {}", bob.inbox(&Silent)?.remove(0).text);
    Ok(())
}

fn node(folder: &Path, name: &str) -> Result<Arc<Desk>, Failure> {
    let home = folder.join(name);
    let request =
        InitRequest { home: home.clone(), name: Some(name.into()), even_if_public: false };
    Desk::init(&request)?;
    let settings = "media = false\noutbox = false\nygg = false\n";
    let path = home.join("config.toml");
    std::fs::write(&path, settings).map_err(|error| Failure::file("write", &path, error))?;
    Ok(Arc::new(Desk::open(&home)?))
}

fn letter(to: &str, text: &str) -> SendRequest {
    SendRequest {
        to: to.into(),
        text: Some(text.into()),
        files: vec![],
        nice: None,
        lifetime: None,
        hidden: None,
        reply_to: None,
        supersede: None,
    }
}

fn failed(what: &str) -> Failure {
    Failure::new(FailureKind::Failed, what)
}
