//! What every task of the daemon shares: the desk, the board, and the way to the engine.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use postrider_base::{
    BundleId, Niceness, NodeId, NodeSecret,
    link::{Address, LinkFacts},
};
use postrider_engine::{
    air::{Lane, Span},
    meeting::Came,
    node::{Engine, Input, LinkId, LinkPolicy, Seen},
};
use postrider_transports::contract::Link;
use tokio::{
    sync::{OnceCell, mpsc, oneshot},
    task::JoinSet,
    time::{Duration, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    air_ledger::AirLedger,
    bluetooth_state::BluetoothState,
    board::{Board, LinkRow},
    engine_task::{Look, ToEngine},
    lan::{self, Notice},
    link_task::{self, Role},
    peers::{Peers, is_port},
    roaming,
};
use crate::desk::{Desk, Failure, FailureKind, Silent};

/// Links at once; the engine refuses more.
pub(super) const LINKS_MAX: usize = postrider_engine::exchange::LINKS_MAX;

/// Peers that are remembered as not answering without a signature.
const SIGN_TO_MAX: usize = 1024;

/// Hears how a link ended; nothing where there was no place for it.
pub(super) type LinkEnd = oneshot::Receiver<io::Result<()>>;

/// The running node.
pub struct Node {
    /// What people ask for.
    pub desk: Arc<Desk>,
    /// What is shown of the daemon.
    pub board: Board,
    /// To whom links are kept.
    pub peers: Peers,
    /// How Bluetooth stands.
    pub bluetooth: BluetoothState,
    /// Where it listens, with the ports that the system chose.
    pub listening: Vec<SocketAddr>,
    pub(super) engine: mpsc::Sender<ToEngine>,
    pub(super) stop: CancellationToken,
    links: Mutex<JoinSet<()>>,
    /// Links that are being asked whether they are there; each ends within its patience.
    doubts: Mutex<JoinSet<()>>,
    /// The way to the task of the local network, where there is one.
    pub(super) meeting: OnceLock<mpsc::Sender<Notice>>,
    /// Links that were told of there.
    met: AtomicU64,
    /// The ledgers of this node's radios, once there is one: of airtime, and of money.
    air: OnceCell<Arc<AirLedger>>,
    money: OnceCell<Arc<AirLedger>>,
    /// To whom this node signs its introduction, although they should know it.
    sign_to: Mutex<BTreeSet<NodeId>>,
}

impl Node {
    pub(super) fn new(
        desk: Arc<Desk>,
        peers: Peers,
        listening: Vec<SocketAddr>,
        engine: mpsc::Sender<ToEngine>,
        stop: CancellationToken,
    ) -> Self {
        let board = Board::new(Arc::clone(&desk));
        Self {
            board,
            peers,
            bluetooth: BluetoothState::default(),
            listening,
            desk,
            engine,
            stop,
            links: Mutex::default(),
            doubts: Mutex::default(),
            meeting: OnceLock::new(),
            met: AtomicU64::new(0),
            air: OnceCell::new(),
            money: OnceCell::new(),
            sign_to: Mutex::default(),
        }
    }

    /// Asks the daemon to end; [`Daemon::stop`](super::Daemon::stop) does it.
    pub fn request_stop(&self) {
        self.stop.cancel();
    }

    /// Waits until somebody asked for the end.
    pub async fn stop_requested(&self) {
        self.stop.cancelled().await;
    }

    /// Looks at the engine; `None` when it has ended.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let ask = Look(Box::new(move |engine| {
            // Whoever asked may have gone.
            let _ = answer.send(look(engine));
        }));
        self.engine.send(ToEngine::Look(ask)).await.ok()?;
        answered.await.ok()
    }

    /// Tells the engine that contacts changed: who is blocked loses its link at once.
    pub async fn people_changed(&self) -> Result<(), Failure> {
        let people = self.ask(|desk| desk.known_people()).await?;
        let _ = self.engine.send(ToEngine::input(Input::People(people))).await;
        Ok(())
    }

    /// Tells the engine of bundles that were called back.
    pub async fn gone(&self, ids: Vec<BundleId>) {
        for id in ids {
            let _ = self.engine.send(ToEngine::input(Input::Gone { id })).await;
        }
    }

    /// The round trip over a link; `None` when it does not answer in time.
    pub async fn ping(&self, link: LinkId, patience: Duration) -> Option<Duration> {
        let (nonce, answered) = self.board.begin_ping(link)?;
        let input = Input::Ping { link, nonce };
        self.engine.send(ToEngine::input(input)).await.ok()?;
        timeout(patience, answered).await.ok()?.ok()
    }

    /// Closes a link unless it answers soon. Where bytes cost money nothing is asked; and at a port neither,
    /// where an answer may wait behind seconds of mail: its line knows whether somebody is there.
    pub(super) fn doubt(self: &Arc<Self>, row: LinkRow) {
        if row.facts.metered || is_port(&row.facts.address) {
            return;
        }
        let (node, stop) = (Arc::clone(self), self.stop.clone());
        let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        while doubts.try_join_next().is_some() {}
        // Beyond, the link's own pings find out.
        if doubts.len() >= LINKS_MAX {
            return;
        }
        doubts.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = row.closing.clone().cancelled_owned() => {}
                () = roaming::doubt(node, row) => {}
            }
        });
    }

    /// Takes a link over and runs it in a task of its own. `expect` is who must be at the other end
    /// of a link that proves nobody, where this end calls.
    /// The receiver hears how the link ended.
    pub(super) fn adopt(self: &Arc<Self>, link: Link, expect: Option<NodeId>) -> LinkEnd {
        let came = lan::accepted(&link.facts);
        self.adopt_from(link, expect, came)
    }

    /// As [`Self::adopt`]; `came` says how it came over a local network, if it did.
    pub(super) fn adopt_from(
        self: &Arc<Self>,
        link: Link,
        expect: Option<NodeId>,
        came: Option<Came>,
    ) -> LinkEnd {
        self.adopt_as(link, expect.into(), came)
    }

    /// As [`Self::adopt_from`], where who calls does not follow from who is expected.
    pub(super) fn adopt_as(
        self: &Arc<Self>,
        link: Link,
        role: Role,
        came: Option<Came>,
    ) -> LinkEnd {
        let node = Arc::clone(self);
        let meeting = self.meeting.get().cloned().zip(came).zip(link.facts.peer);
        self.run_link(link.facts.address.clone(), async move {
            let (over, guest) = (CancellationToken::new(), link.facts.guest);
            let number = LinkId(node.met.fetch_add(1, Ordering::Relaxed));
            if let Some(((meeting, came), peer)) = &meeting {
                let (came, end) = (*came, over.clone());
                let up = Notice::Up { link: number, node: *peer, guest, came, end };
                let _ = meeting.send(up).await;
            }
            let how = link_task::run(node, link, role, over, None).await;
            if let Some(((meeting, _), _)) = &meeting {
                let _ = meeting.send(Notice::Down { link: number }).await;
            }
            how
        })
    }

    /// As [`Self::adopt`], for whoever watches it: `over` ends it at any time, and `proven` hears when
    /// it is certain who is at its other end.
    #[cfg(all(feature = "bluetooth", target_os = "linux"))]
    pub(super) fn adopt_watched(
        self: &Arc<Self>,
        link: Link,
        expect: Option<NodeId>,
        over: CancellationToken,
        proven: oneshot::Sender<Box<LinkRow>>,
    ) -> LinkEnd {
        let (node, address) = (Arc::clone(self), link.facts.address.clone());
        self.run_link(address, link_task::run(node, link, expect.into(), over, Some(proven)))
    }

    fn run_link(
        &self,
        address: Address,
        running: impl Future<Output = io::Result<()>> + Send + 'static,
    ) -> LinkEnd {
        let (ended, end) = oneshot::channel();
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        while links.try_join_next().is_some() {}
        if links.len() >= LINKS_MAX {
            tracing::warn!(%address, "all places for links are taken");
            return end;
        }
        links.spawn(async move {
            let how = running.await;
            if let Err(error) = &how {
                tracing::debug!(%address, %error, "a link ended");
            }
            // Whoever waited may have gone.
            let _ = ended.send(how);
        });
        end
    }

    /// Waits for all links to end.
    pub(super) async fn drained(&self) {
        let mut links = {
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *links)
        };
        while links.join_next().await.is_some() {}
    }

    pub(super) fn secret(&self) -> &NodeSecret {
        &self.desk.home().key.node
    }

    /// Whether this node may have a link at all.
    pub(super) fn admits(&self, peer: &NodeId) -> bool {
        self.desk.admits(peer)
    }

    /// Whether an introduction without a signature is enough for this peer. It must have met us, and
    /// one that did not answer such an introduction may have forgotten it.
    pub(super) fn is_known_to(&self, peer: &NodeId, met: bool) -> bool {
        met && self.desk.is_contact(peer) && !self.lock_sign_to().contains(peer)
    }

    /// Notes whether a peer answered an introduction without a signature.
    pub(super) fn note_introduced(&self, peer: NodeId, answered: bool) {
        let mut sign_to = self.lock_sign_to();
        if answered {
            sign_to.remove(&peer);
        } else {
            // Whoever is forgotten here costs one call in vain.
            if sign_to.len() >= SIGN_TO_MAX {
                sign_to.clear();
            }
            sign_to.insert(peer);
        }
    }

    fn lock_sign_to(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.sign_to.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What may go over a link, as the settings say.
    pub(super) fn link_policy(&self, facts: &LinkFacts) -> Result<LinkPolicy, Failure> {
        let config = &self.desk.home().config;
        let rule = self.desk.link_rule(facts)?;
        let metered = facts.metered || rule.metered;
        let usual = LinkPolicy::default();
        Ok(LinkPolicy {
            // Where nothing may be enciphered nobody's mail passes but that of the two ends.
            transit: config.carry_strangers && rule.relay && !facts.clear_only,
            nice_max: rule.nicest.and_then(Niceness::new).unwrap_or(usual.nice_max),
            size_max: rule.longest.unwrap_or(usual.size_max),
            keepalive: !metered,
            counted: config.carry.count_copies || metered || facts.rate_bps.is_some(),
            network: lan::network(facts).filter(|_| config.lan_cast),
            ..usual
        })
    }

    pub(super) async fn recall(
        &self,
        peer: NodeId,
    ) -> Result<(Option<Seen>, Option<Seen>), Failure> {
        self.ask(move |desk| desk.open_live(&Silent)?.recall(&peer)).await
    }

    /// Whether a peer is a contact or remembered from another link.
    pub(super) async fn has_met(&self, peer: NodeId) -> bool {
        let met = || async { self.recall(peer).await.is_ok_and(|(a, b)| a.or(b).is_some()) };
        self.desk.is_contact(&peer) || met().await
    }

    /// What a form of so many bytes would take on the air: for each radio that may send, its address, a
    /// sentence, and how long; nothing where there is none.
    pub fn air_previews(
        &self,
        form_bytes: u64,
        lane: Lane,
    ) -> Vec<(Address, String, Option<Duration>)> {
        let Some(air) = self.air.get() else { return Vec::new() };
        let (ledger, now_ms) = (air.lock().clone(), self.desk.held_ms());
        let ports = self.peers.ports();
        let told = ports.iter().filter_map(|port| {
            let (said, took) = port.preview(form_bytes, lane, &ledger, now_ms)?;
            Some((port.address.clone(), said, took))
        });
        told.collect()
    }

    /// The ledger of this node's radios: of airtime, or of money.
    pub(super) async fn air(&self, span: Span) -> Result<Arc<AirLedger>, Failure> {
        let cell = match span {
            Span::Hour => &self.air,
            Span::Day => &self.money,
        };
        let open = || async { Ok(Arc::new(AirLedger::open(self, span).await?)) };
        cell.get_or_try_init(open).await.map(Arc::clone)
    }

    /// Asks the desk, which may wait for the disk, without stopping the others.
    pub async fn ask<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&Desk) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let desk = Arc::clone(&self.desk);
        let asked = tokio::task::spawn_blocking(move || verb(&desk)).await;
        asked.unwrap_or_else(|_| Err(Failure::new(FailureKind::Fault, "a verb panicked")))
    }
}
