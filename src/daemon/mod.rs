//! The live node: it keeps links, and lets the same bundles that ride a stick ride a wire.
//!
//! ```text
//! transports ── links ──> link_task (one each) ── units ──> engine_task ──> stager ──> keeper
//!                                 ^                            │       └──> reader
//!                                 └────────── units ───────────┘
//! ```
//!
//! One task owns the engine, one task owns each link; four threads write bodies, keep what is whole,
//! read, and compute. Bounded channels between them. `board` is what the daemon shows of itself.

mod air_ledger;
#[cfg(all(feature = "bluetooth", target_os = "linux"))]
mod bluetooth;
mod bluetooth_state;
mod board;
mod cast;
mod contacts;
mod cut;
mod dialer;
mod engine_task;
mod fleets;
mod greeting;
#[cfg(target_os = "linux")]
mod hooks;
mod inbox;
mod introduce;
#[cfg(target_os = "linux")]
mod jobs;
mod keeper;
mod lan;
mod line_task;
mod link_task;
mod media;
mod neighbours;
mod node;
mod notify;
mod outbox;
mod peers;
mod plugs;
mod ports;
mod purse;
mod radio_state;
mod radio_task;
mod reader;
mod requests;
mod ripening;
mod roaming;
mod sketcher;
mod stager;
mod sticks;
mod ygg;

use std::{collections::HashMap, sync::Arc, thread};

#[cfg(all(feature = "bluetooth", target_os = "linux"))]
pub use bluetooth::probe_bluetooth;
pub use bluetooth_state::BluetoothState;
pub use board::{Board, LinkRow, Traffic};
pub use node::Node;
pub use notify::{Manager, watchdog_interval};
pub use peers::{Peers, check as check_peer, is_port_uri};
pub use ports::{Port, probe};
use postrider_base::{NodeId, bundle::Hop, link::Address};
use postrider_engine::{
    node::{Engine, Input, Now},
    router::{Delegation, Flood, Spray, Tells},
};
pub use postrider_transports::{
    contract as transport,
    media::{Labels, Udisks},
};
use postrider_transports::{
    contract::{Arrival, Transport},
    lan::{Lan, LanOptions},
    tls::{PORT, TlsOptions, TlsTransport},
};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Duration, Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    engine_task::{EngineTask, INPUTS_MAX},
    keeper::{Keeper, WAITING_MAX},
    lan::LanTask,
    node::LINKS_MAX,
    stager::Stager,
};
pub use crate::desk::reply::Happening;
use crate::{
    desk::{Desk, Failure, FailureKind, Silent},
    home::Bluetooth,
};

/// Links and sightings that wait to be taken in.
const ARRIVALS_MAX: usize = 64;
/// How long a shutdown waits for links to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// How a daemon is run.
#[derive(Clone, Debug, Default)]
pub struct DaemonOptions {
    /// Further ways to dial and to be dialled, beside `tls:` and `pipe:`. Of several with one scheme
    /// the first is dialled; all listen.
    pub transports: Vec<Arc<dyn Transport>>,
    /// Where to listen, beside what the settings say.
    pub listen: Vec<Address>,
    /// Whom to dial: an address, and behind a `#` a contact's name or a node's id.
    pub peers: Vec<String>,
    /// Speak on standard input and output, as the far end of a `pipe:`.
    pub stdio: bool,
    /// Meet neighbours on local networks, and how.
    pub lan: Option<LanOptions>,
    /// Meet whoever is near by Bluetooth, and how; on Linux, where that is built in.
    pub bluetooth: Option<Bluetooth>,
    /// Where sticks with our label are seen.
    pub labels: Labels,
    /// Who is asked to mount them.
    pub udisks: Udisks,
}

/// A daemon that runs.
pub struct Daemon {
    node: Arc<Node>,
    /// Hears of the end of the link on standard input and output.
    stdio: Option<node::LinkEnd>,
    tasks: JoinSet<()>,
    threads: Vec<thread::JoinHandle<()>>,
    /// Tells the dialers that the machine's addresses changed.
    changes: Arc<watch::Sender<u64>>,
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
        let (stager, orders) = mpsc::channel(WAITING_MAX);
        let (keeper, to_keep) = mpsc::channel(WAITING_MAX);
        let (reader, questions) = mpsc::channel(WAITING_MAX);
        let (meetings, orders_to_meet) = mpsc::channel(introduce::ORDERS_MAX);
        let mut threads = Vec::new();
        let mut tasks = JoinSet::new();

        let tls = Arc::new(listen(&desk, options)?);
        let (changes, changed) = watch::channel(0);
        let changes = Arc::new(changes);
        let node = Arc::new(Node::new(
            Arc::clone(&desk),
            Peers::new(Arc::clone(&tls), &options.transports, changed.clone()),
            tls.listening().to_vec(),
            to_engine.clone(),
            stop.clone(),
        ));

        desk.lend_cut_bodies(Some(Arc::new(cut::Asking(to_engine.clone()))));
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
                    let arrivals = live.arrivals_of_bodies();
                    Stager { arrivals, engine, keeper, board, bodies }.run(orders);
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

        #[cfg(target_os = "linux")]
        {
            let (node, stop) = (Arc::clone(&node), stop.clone());
            threads.push(spawn("jobs", move || jobs::run(&node, &stop))?);
        }

        {
            let (node, handle, stop) = (Arc::clone(&node), runtime.handle().clone(), stop.clone());
            let fleets = (Arc::clone(&node), runtime.handle().clone(), stop.clone());
            threads.push(spawn("fleets", move || fleets::run(&fleets.0, &fleets.1, &fleets.2))?);
            threads.push(spawn("requests", move || requests::run(&node, &handle, &stop))?);
        }

        let (sketcher, to_sketch) = mpsc::channel(LINKS_MAX);
        let compute = {
            let engine = to_engine.clone();
            move || sketcher::run(to_sketch, &engine)
        };
        threads.push(spawn("sketcher", compute)?);

        let flood = Flood::new(local.node, local.tag_keys.clone());
        let spray = Spray::new(flood, Hop::TOKENS_NORMAL);
        let remembered = desk.open_live(&Silent)?.meetings()?;
        let router = Delegation::new(spray, Tells::Contacts, remembered);
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
                    sketcher,
                    meetings,
                    board: &node.board,
                    lan: &node.meeting,
                    held_ms: Box::new(move || desk.held_ms()),
                    links: HashMap::new(),
                    unasked: Vec::new(),
                    permit: None,
                    taker: None,
                    begun: Instant::now(),
                };
                task.run(inputs, stop).await;
            });
        }
        tasks.spawn(introduce::run(Arc::clone(&node), Arc::clone(&tls), orders_to_meet));
        let (arrivals, arrived) = mpsc::channel(ARRIVALS_MAX);
        tasks.spawn(take_in(Arc::clone(&node), arrived));
        let listening = options.transports.iter().map(Arc::clone);
        for transport in listening.chain([Arc::clone(&tls) as Arc<dyn Transport>]) {
            let (arrivals, stop) = (arrivals.clone(), stop.clone());
            tasks.spawn(async move {
                let scheme = transport.scheme();
                if let Err(error) = transport.run(arrivals, stop).await {
                    tracing::error!(scheme, %error, "listening ended");
                }
            });
        }
        drop(arrivals);
        for peer in &options.peers {
            node.peers.keep(&node, peer)?;
        }
        for peer in &desk.home().config.peers {
            // A contact that was forgotten must not keep the node from starting.
            if let Err(failure) = node.peers.keep(&node, peer) {
                node.board.trouble(&failure);
            }
        }
        tasks.spawn(neighbours::remember(Arc::clone(&node)));
        tasks.spawn(roaming::run(Arc::clone(&node), Arc::clone(&changes)));
        if let Some(options) = &options.lan
            && let Some(at) = tls.listening().iter().find(|at| at.is_ipv6())
        {
            let seed = seed()?;
            let lan = Arc::new(Lan::new(options.clone()));
            let (events, heard) = mpsc::channel(lan::EVENTS_MAX);
            let (notices, noticed) = mpsc::channel(lan::EVENTS_MAX);
            // Set once: this is the only place.
            let _ = node.meeting.set(notices);
            let task = LanTask::new(
                Arc::clone(&node),
                Arc::clone(&tls),
                Arc::clone(&lan),
                at.port(),
                seed,
            );
            tasks.spawn(task.run(heard, noticed));
            let stop = stop.clone();
            tasks.spawn(async move { lan.run(events, stop).await });
        }
        #[cfg(all(feature = "bluetooth", target_os = "linux"))]
        if let Some(settings) = options.bluetooth.as_ref().filter(|settings| settings.is_on()) {
            bluetooth::start(&node, settings, seed()?, &mut tasks);
        }
        media::start(&node, options, &mut tasks, &mut threads)?;
        #[cfg(target_os = "linux")]
        {
            let (node, stop) = (Arc::clone(&node), stop.clone());
            threads.push(spawn("hooks", move || hooks::run(&node, &stop))?);
        }
        if desk.home().config.inbox {
            let (node, stop) = (Arc::clone(&node), stop.clone());
            threads.push(spawn("inbox", move || inbox::run(&node, &stop))?);
        }
        if desk.home().config.outbox {
            tasks.spawn(outbox::run(Arc::clone(&node)));
        }
        if desk.home().config.dial_contacts {
            tasks.spawn(contacts::run(Arc::clone(&node), Arc::clone(&tls), changed.clone()));
        }
        if desk.home().config.ygg {
            tasks.spawn(ygg::run(Arc::clone(&node), changed.clone()));
        }
        let stdio = options.stdio.then(|| node.adopt(postrider_transports::pipe::stdio(), None));
        Ok(Self { node, stdio, tasks, threads, changes })
    }

    /// Waits for the end of the link on standard input and output; forever, if there is none.
    pub async fn stdio_ended(&mut self) {
        match &mut self.stdio {
            // Either way it has ended.
            Some(ended) => drop(ended.await),
            None => std::future::pending().await,
        }
    }

    /// What its tasks share.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Where it listens, with the ports that the system chose.
    pub fn listening(&self) -> &[std::net::SocketAddr] {
        &self.node.listening
    }

    /// Dials everybody again at once.
    pub fn redial(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    /// Ends every link and task, and writes what is due.
    pub async fn stop(mut self) {
        self.node.stop.cancel();
        self.node.desk.ring_jobs();
        self.node.desk.ring_requests();
        self.node.desk.lend_cut_bodies(None);
        let ended = async {
            self.node.peers.ended().await;
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

/// Chance for a machine that draws from it.
fn seed() -> Result<[u8; 32], Failure> {
    let mut seed = [0; 32];
    let filled = getrandom::fill(&mut seed);
    filled.map_err(|error| {
        Failure::new(FailureKind::Failed, "the system gives no random numbers").because(error)
    })?;
    Ok(seed)
}

/// What Bluetooth is good for where it is not built in.
#[cfg(not(all(feature = "bluetooth", target_os = "linux")))]
pub async fn probe_bluetooth(_: &Desk, _: Duration) -> crate::desk::reply::BluetoothLine {
    BluetoothState::default().line()
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

/// Binds what the settings and options say. Neighbours need an IPv6 socket of ours: the usual port,
/// or any when somebody has that.
fn listen(desk: &Arc<Desk>, options: &DaemonOptions) -> Result<TlsTransport, Failure> {
    let mut chosen = tls_options(desk, options)?;
    let is_v6 = |address: &Address| address.rest().starts_with("//[");
    let open = |chosen: TlsOptions| {
        TlsTransport::new(Arc::new(desk.home().key.node.clone()), chosen).map_err(transport_failure)
    };
    if options.lan.is_none() || chosen.listen.iter().any(is_v6) {
        return open(chosen);
    }
    for port in [PORT, 0] {
        let Ok(address) = format!("tls://[::]:{port}").parse() else { continue };
        chosen.listen.push(address);
        match open(chosen.clone()) {
            Err(failure) if port != 0 => tracing::debug!(%failure, "the usual port is taken"),
            // A machine without IPv6 has no neighbours there, and may have others.
            Err(failure) => tracing::warn!(%failure, "no local networks"),
            opened => return opened,
        }
        chosen.listen.pop();
    }
    open(chosen)
}

fn tls_options(desk: &Arc<Desk>, options: &DaemonOptions) -> Result<TlsOptions, Failure> {
    let config = &desk.home().config;
    let mut listen = options.listen.clone();
    for address in &config.listen {
        listen.push(address.parse().map_err(|_| unusable(address, "not an address"))?);
    }
    if let Some(port) = listen.iter().find(|at| peers::is_port(at)) {
        return Err(unusable(port.as_str(), "a port is not listened on, it stands in peers"));
    }
    let asked = Arc::clone(desk);
    Ok(TlsOptions {
        listen,
        public: config.public,
        admission: Arc::new(move |node: &NodeId| asked.admits(node)),
        ..TlsOptions::default()
    })
}

fn unusable(text: &str, why: &str) -> Failure {
    Failure::new(FailureKind::Usage, format!("{text} cannot be used: {why}"))
        .next("nothing was changed; an address looks like tls://host:7531#NAME")
}

fn transport_failure(error: postrider_transports::contract::TransportError) -> Failure {
    Failure::new(FailureKind::Failed, error.to_string()).because(error)
}
