//! The live node: it keeps links, and lets the same bundles that ride a stick ride a wire.
//!
//! ```text
//! transports ── links ──> link_task (one each) ── units ──> engine_task ──> stager ──> keeper
//!                                 ^                            │       └──> reader
//!                                 └────────── units ───────────┘
//! ```
//!
//! One task owns the engine, one task owns each link; three threads write bodies, keep what is whole,
//! and read. Bounded channels between them. `board` is what the daemon shows of itself.

mod board;
mod dialer;
mod engine_task;
mod keeper;
mod link_task;
mod media;
mod node;
mod outbox;
mod reader;
mod ripening;
mod stager;
mod ygg;

use std::{collections::HashMap, sync::Arc, thread};

pub use board::{Board, Happening, LinkRow, Traffic};
pub use node::Node;
use postrider_base::{NodeId, link::Address};
use postrider_engine::{
    node::{Engine, Input, Now},
    router::Flood,
};
use postrider_transports::{
    contract::{Arrival, Transport},
    pipe::PipeTransport,
    tls::{TlsOptions, TlsTransport},
};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Duration, Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    dialer::Peer,
    engine_task::{EngineTask, INPUTS_MAX},
    keeper::{Keeper, WAITING_MAX},
    stager::Stager,
};
use crate::desk::{Desk, Failure, FailureKind, Silent};

/// Links and sightings that wait to be taken in.
const ARRIVALS_MAX: usize = 64;
/// How long a shutdown waits for links to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// How a daemon is run.
#[derive(Clone, Debug, Default)]
pub struct DaemonOptions {
    /// Where to listen, beside what the settings say.
    pub listen: Vec<Address>,
    /// Whom to dial: an address, and behind a `#` a contact's name or a node's id.
    pub peers: Vec<String>,
    /// Speak on standard input and output, as the far end of a `pipe:`.
    pub stdio: bool,
}

/// A daemon that runs.
pub struct Daemon {
    node: Arc<Node>,
    listening: Vec<std::net::SocketAddr>,
    tasks: JoinSet<()>,
    threads: Vec<thread::JoinHandle<()>>,
    /// Tells the dialers that the machine's addresses changed.
    changes: watch::Sender<u64>,
}

impl Daemon {
    /// Starts everything. Must be called within `runtime`'s context or given its handle.
    pub fn start(
        desk: Arc<Desk>,
        options: &DaemonOptions,
        runtime: &Runtime,
    ) -> Result<Self, Failure> {
        let _context = runtime.enter();
        let local = desk.local(&Silent)?;
        desk.open_live(&Silent)?.tidy()?;
        let (to_engine, inputs) = mpsc::channel(INPUTS_MAX);
        let stop = CancellationToken::new();
        let node = Arc::new(Node::new(Arc::clone(&desk), to_engine.clone(), stop.clone()));
        let (stager, orders) = mpsc::channel(WAITING_MAX);
        let (keeper, to_keep) = mpsc::channel(WAITING_MAX);
        let (reader, questions) = mpsc::channel(WAITING_MAX);
        let mut threads = Vec::new();
        let mut tasks = JoinSet::new();

        let secret = Arc::new(desk.home().key.node.clone());
        let tls = Arc::new(
            TlsTransport::new(secret, tls_options(&desk, options)?).map_err(transport_failure)?,
        );
        let listening = tls.listening().to_vec();

        let keep = {
            let (node, handle, engine) =
                (Arc::clone(&node), runtime.handle().clone(), to_engine.clone());
            move || {
                let kept = node
                    .desk
                    .open_live(&Silent)
                    .and_then(|live| Keeper::new(live, engine, &node.board));
                match kept {
                    Ok(keeper) => keeper.run(to_keep, &handle),
                    Err(failure) => node.board.trouble(&failure),
                }
            }
        };
        threads.push(spawn("keeper", keep)?);
        let stage = {
            let (node, engine) = (Arc::clone(&node), to_engine.clone());
            move || match node.desk.open_live(&Silent) {
                Ok(live) => {
                    let (board, bodies) = (&node.board, HashMap::new());
                    Stager { live, engine, keeper, board, bodies }.run(orders);
                }
                Err(failure) => node.board.trouble(&failure),
            }
        };
        threads.push(spawn("stager", stage)?);
        let read = {
            let (node, engine) = (Arc::clone(&node), to_engine.clone());
            move || match node.desk.open_live(&Silent) {
                Ok(live) => reader::run(live, questions, &engine, &node.board),
                Err(failure) => node.board.trouble(&failure),
            }
        };
        threads.push(spawn("reader", read)?);

        let router = Flood::new(local.node, local.tag_keys.clone());
        let mut engine = Engine::new(local, Box::new(router));
        engine.handle(Now::default(), Input::People(desk.known_people()?));
        {
            let (node, stop) = (Arc::clone(&node), stop.clone());
            tasks.spawn(async move {
                let desk = Arc::clone(&node.desk);
                let task = EngineTask {
                    engine,
                    stager,
                    reader,
                    board: &node.board,
                    held_ms: Box::new(move || desk.held_ms()),
                    links: HashMap::new(),
                    unasked: Vec::new(),
                    begun: Instant::now(),
                };
                task.run(inputs, stop).await;
            });
        }
        let (arrivals, arrived) = mpsc::channel(ARRIVALS_MAX);
        tasks.spawn(take_in(Arc::clone(&node), arrived));
        {
            let (tls, stop) = (Arc::clone(&tls), stop.clone());
            tasks.spawn(async move {
                if let Err(error) = tls.run(arrivals, stop).await {
                    tracing::error!(%error, "listening ended");
                }
            });
        }
        let (changes, changed) = watch::channel(0);
        for peer in &options.peers {
            let peer = parse_peer(&desk, peer)?;
            let transport: Arc<dyn Transport> = match peer.address.scheme() {
                "tls" => Arc::clone(&tls) as Arc<dyn Transport>,
                "pipe" => Arc::new(PipeTransport::new(Arc::new(|address, line| {
                    tracing::info!(%address, line);
                }))),
                _ => return Err(unusable(peer.address.as_str(), "no transport of that name here")),
            };
            tasks.spawn(dialer::keep(Arc::clone(&node), transport, peer, changed.clone()));
        }
        media::start(&node, &mut tasks, &mut threads)?;
        if desk.home().config.outbox {
            tasks.spawn(outbox::run(Arc::clone(&node)));
        }
        if desk.home().config.ygg {
            tasks.spawn(ygg::run(Arc::clone(&node), changed.clone()));
        }
        if options.stdio {
            drop(node.adopt(postrider_transports::pipe::stdio(), None));
        }
        Ok(Self { node, listening, tasks, threads, changes })
    }

    /// What its tasks share.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Where it listens, with the ports that the system chose.
    pub fn listening(&self) -> &[std::net::SocketAddr] {
        &self.listening
    }

    /// Dials everybody again at once.
    pub fn redial(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    /// Ends every link and task, and writes what is due.
    pub async fn stop(mut self) {
        self.node.stop.cancel();
        let ended = async {
            self.node.drained().await;
            while self.tasks.join_next().await.is_some() {}
        };
        if timeout(FAREWELL, ended).await.is_err() {
            self.tasks.abort_all();
        }
        drop(self.tasks);
        // The engine is gone, and with it the only ones that order anything of the threads.
        let threads = self.threads;
        let _ = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        })
        .await;
    }
}

async fn take_in(node: Arc<Node>, mut arrived: mpsc::Receiver<Arrival>) {
    while let Some(arrival) = arrived.recv().await {
        if let Arrival::Link(link) = arrival {
            drop(node.adopt(link, None));
        }
    }
}

fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, Failure> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| {
        Failure::new(FailureKind::Failed, "no thread for the daemon").because(error)
    })
}

fn tls_options(desk: &Arc<Desk>, options: &DaemonOptions) -> Result<TlsOptions, Failure> {
    let config = &desk.home().config;
    let mut listen = options.listen.clone();
    for address in &config.listen {
        listen.push(address.parse().map_err(|_| unusable(address, "not an address"))?);
    }
    let asked = Arc::clone(desk);
    Ok(TlsOptions {
        listen,
        public: config.public,
        admission: Arc::new(move |node: &NodeId| asked.admits(node)),
        ..TlsOptions::default()
    })
}

/// An address, and behind a `#` who is there: a contact or an id.
fn parse_peer(desk: &Desk, text: &str) -> Result<Peer, Failure> {
    let (address, who) = match text.rsplit_once('#') {
        Some((address, who)) => (address, Some(who)),
        None => (text, None),
    };
    let address = address.parse().map_err(|_| unusable(text, "not an address"))?;
    let node = match who {
        Some(who) => Some(match who.parse::<NodeId>() {
            Ok(node) => node,
            Err(_) => desk.home().contacts()?.resolve(who)?.card.node,
        }),
        None => None,
    };
    Ok(Peer { address, node })
}

fn unusable(text: &str, why: &str) -> Failure {
    Failure::new(FailureKind::Usage, format!("{text} cannot be used: {why}"))
        .next("nothing was changed; an address looks like tls://host:7531#NAME")
}

fn transport_failure(error: postrider_transports::contract::TransportError) -> Failure {
    Failure::new(FailureKind::Failed, error.to_string()).because(error)
}
