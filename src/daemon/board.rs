//! What the daemon shows of itself: links, traffic, and what happens.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use postrider_base::{BundleId, NodeId, link::LinkFacts};
use postrider_engine::node::{Ending, Event, LinkId, Verdict};
use tokio::sync::{broadcast, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::desk::{
    Desk, Failure, Neighbour,
    live::News,
    reply::{Happening, MediumLine, PeerLine},
    wall_s,
};

/// Happenings that a slow listener may be behind before it misses some.
const HAPPENINGS_MAX: usize = 1024;
/// Pings that wait for an answer: some for every link.
const PINGS_MAX: usize = 1024;
/// Neighbours that came or went within a minute and are remembered.
const SEEN_MAX: usize = 1024;

/// A live link.
#[derive(Clone, Debug)]
pub struct LinkRow {
    /// Its number.
    pub link: LinkId,
    /// What is known of it.
    pub facts: LinkFacts,
    /// When it came up.
    pub since: Instant,
    /// Bytes in and out.
    pub traffic: Arc<Traffic>,
    /// Whether everything due has been offered and answered.
    pub caught_up: bool,
    /// The last round trip that was measured.
    pub rtt: Option<Duration>,
    /// Ends the link.
    pub(super) closing: CancellationToken,
}

/// Bytes that passed a link.
#[derive(Debug, Default)]
pub struct Traffic {
    /// In.
    pub received_bytes: AtomicU64,
    /// Out.
    pub sent_bytes: AtomicU64,
}

/// Shared by all tasks; nothing waits while it is locked.
pub struct Board {
    desk: Arc<Desk>,
    links: Mutex<BTreeMap<LinkId, LinkRow>>,
    next_link: AtomicU64,
    happenings: broadcast::Sender<Happening>,
    /// The last of them, for those who come later.
    past: Mutex<VecDeque<Happening>>,
    next_ping: AtomicU64,
    pings: Mutex<HashMap<(LinkId, u64), Ping>>,
    /// A link led to another node with this node's key, and nobody was told yet.
    duplicate: Mutex<Option<String>>,
    /// Sticks that were seen and not mounted.
    media: Mutex<Vec<MediumLine>>,
    /// What a part of the daemon cannot do at present, by that part.
    ills: Mutex<BTreeMap<&'static str, String>>,
    /// Counts commits, for whoever looks at the spool when something changed.
    commits: watch::Sender<u64>,
    /// Neighbours that came or went since it was written down: where, if this end dialled.
    seen: Mutex<BTreeMap<NodeId, (String, Instant)>>,
}

/// A ping that waits for its answer.
type Ping = (Instant, Option<oneshot::Sender<Duration>>);

impl Board {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        let (happenings, _) = broadcast::channel(HAPPENINGS_MAX);
        Self {
            desk,
            links: Mutex::default(),
            next_link: AtomicU64::new(1),
            happenings,
            past: Mutex::default(),
            next_ping: AtomicU64::new(1 << 32),
            pings: Mutex::default(),
            duplicate: Mutex::default(),
            media: Mutex::default(),
            ills: Mutex::default(),
            commits: watch::Sender::new(0),
            seen: Mutex::default(),
        }
    }

    /// Wakes after commits.
    pub(super) fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Who tells of commits.
    pub(super) fn commit_bell(&self) -> watch::Sender<u64> {
        self.commits.clone()
    }

    /// The live links.
    pub fn links(&self) -> Vec<LinkRow> {
        lock(&self.links).values().cloned().collect()
    }

    /// Sticks with our label that are plugged in and not mounted.
    pub fn media(&self) -> Vec<MediumLine> {
        lock(&self.media).clone()
    }

    pub(super) fn set_media(&self, lines: Vec<MediumLine>) {
        *lock(&self.media) = lines;
    }

    /// What parts of the daemon cannot do at present, a line for each.
    pub fn ills(&self) -> Vec<String> {
        lock(&self.ills).values().cloned().collect()
    }

    /// What a part of the daemon cannot do, or that it can again. The same is told of once.
    pub(super) fn ill(&self, part: &'static str, what: Option<String>) {
        let before = match &what {
            Some(what) => lock(&self.ills).insert(part, what.clone()),
            None => lock(&self.ills).remove(part),
        };
        if what != before && what.is_some() {
            self.tell(Happening { who: Some(part.into()), detail: what, ..happening("trouble") });
        }
    }

    /// That a link led to another node with this node's key, once.
    pub(super) fn take_duplicate(&self) -> Option<String> {
        lock(&self.duplicate).take()
    }

    /// Everything that happens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Happening> {
        self.happenings.subscribe()
    }

    /// What happened after a number, as far as it is remembered, oldest first. Whoever listened
    /// before misses nothing, and may see something twice.
    pub fn since(&self, number: u64) -> Vec<Happening> {
        let past = lock(&self.past);
        past.iter().filter(|happening| happening.number > number).cloned().collect()
    }

    /// Who is at the other end of a link, and how it is.
    pub fn line(&self, row: &LinkRow) -> PeerLine {
        PeerLine {
            id: row.facts.peer.map(|peer| peer.to_string()),
            name: row.facts.peer.map_or_else(String::new, |peer| self.name(&peer)),
            link: Some(row.link.0),
            address: row.facts.address.to_string(),
            rtt_ms: row.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            last_seen_s: Some(0),
            up: true,
            received_bytes: row.traffic.received_bytes.load(Ordering::Relaxed),
            sent_bytes: row.traffic.sent_bytes.load(Ordering::Relaxed),
            caught_up: row.caught_up,
            overlay: row.facts.overlay,
        }
    }

    /// Ends the links that are meant.
    pub(super) fn close(&self, is_meant: impl Fn(&LinkRow) -> bool) {
        lock(&self.links).values().filter(|row| is_meant(row)).for_each(|row| row.closing.cancel());
    }

    /// The first ping of a link, unless its bytes cost money or its handshake told the round trip.
    pub(super) fn begin_first_ping(&self, link: LinkId) -> Option<u64> {
        let known = lock(&self.links).get(&link).map(|row| row.facts.metered || row.rtt.is_some());
        if known? {
            return None;
        }
        self.begin(link, None)
    }

    /// A ping that is to be sent, and who hears of its answer.
    pub(super) fn begin_ping(&self, link: LinkId) -> Option<(u64, oneshot::Receiver<Duration>)> {
        let (answer, answered) = oneshot::channel();
        Some((self.begin(link, Some(answer))?, answered))
    }

    fn begin(&self, link: LinkId, answer: Option<oneshot::Sender<Duration>>) -> Option<u64> {
        let nonce = self.next_ping.fetch_add(1, Ordering::Relaxed);
        let mut pings = lock(&self.pings);
        // Those that nobody waits for any more make room.
        pings.retain(|_, (_, answer)| answer.as_ref().is_none_or(|answer| !answer.is_closed()));
        if pings.len() >= PINGS_MAX {
            return None;
        }
        pings.insert((link, nonce), (Instant::now(), answer));
        Some(nonce)
    }

    /// Who came, went or is here since this was asked last, for the notes.
    pub(super) fn take_seen(&self) -> Vec<Neighbour> {
        for row in self.links() {
            self.note_seen(&row);
        }
        let seen = std::mem::take(&mut *lock(&self.seen));
        let neighbour = |(node, (address, at)): (NodeId, (String, Instant))| Neighbour {
            node,
            address,
            last_seen_s: at.elapsed().as_secs(),
        };
        seen.into_iter().map(neighbour).collect()
    }

    /// Seconds since neighbours went whose going is not written down yet.
    pub fn unwritten(&self) -> BTreeMap<NodeId, u64> {
        let seen = lock(&self.seen);
        seen.iter().map(|(node, (_, at))| (*node, at.elapsed().as_secs())).collect()
    }

    fn note_seen(&self, row: &LinkRow) {
        let Some(peer) = row.facts.peer else { return };
        let mut seen = lock(&self.seen);
        if seen.len() >= SEEN_MAX && !seen.contains_key(&peer) {
            return;
        }
        let facts = &row.facts;
        // An address of Bluetooth is somebody else's soon.
        let lasts = facts.dialled && facts.address.scheme() != "bluetooth";
        let address = if lasts { facts.address.to_string() } else { String::new() };
        seen.insert(peer, (address, Instant::now()));
    }

    /// A number for a link, new.
    pub(super) fn next_link(&self) -> LinkId {
        LinkId(self.next_link.fetch_add(1, Ordering::Relaxed))
    }

    /// Notes a new link, and its round trip if that is known.
    pub(super) fn link_up(
        &self,
        link: LinkId,
        facts: &LinkFacts,
        rtt: Option<Duration>,
    ) -> LinkRow {
        let traffic = Arc::new(Traffic::default());
        let row = LinkRow {
            link,
            facts: facts.clone(),
            since: Instant::now(),
            traffic,
            caught_up: false,
            rtt,
            closing: CancellationToken::new(),
        };
        lock(&self.links).insert(link, row.clone());
        self.note_seen(&row);
        self.tell(Happening {
            who: facts.peer.map(|peer| self.name(&peer)),
            detail: Some(facts.address.to_string()),
            ..happening("link-up")
        });
        row
    }

    pub(super) fn link_down(&self, link: LinkId) {
        let Some(row) = lock(&self.links).remove(&link) else { return };
        lock(&self.pings).retain(|(of, _), _| *of != link);
        self.note_seen(&row);
        self.tell(Happening {
            who: row.facts.peer.map(|peer| self.name(&peer)),
            detail: Some(row.facts.address.to_string()),
            ..happening("link-down")
        });
    }

    /// Whether a link to this peer is up.
    pub(super) fn is_linked(&self, peer: &NodeId) -> bool {
        lock(&self.links).values().any(|row| row.facts.peer.as_ref() == Some(peer))
    }

    pub(super) fn closed(&self, link: LinkId, why: &Ending) {
        let row = lock(&self.links).get(&link).cloned();
        if *why == Ending::Duplicate {
            let at = row.as_ref().map_or_else(String::new, |row| row.facts.address.to_string());
            let what = format!("a link to {at} led to another node with this node's key");
            *lock(&self.duplicate) = Some(what);
        }
        self.tell(Happening {
            who: row.and_then(|row| row.facts.peer).map(|peer| self.name(&peer)),
            detail: Some(format!("closed: {why:?}")),
            ..happening("trouble")
        });
    }

    /// What ends a link's task.
    pub(super) fn closing(&self, link: LinkId) -> Option<CancellationToken> {
        lock(&self.links).get(&link).map(|row| row.closing.clone())
    }

    pub(super) fn event(&self, event: &Event) {
        match event {
            Event::Answered { link, nonce } => {
                let Some((begun, answer)) = lock(&self.pings).remove(&(*link, *nonce)) else {
                    return;
                };
                let rtt = begun.elapsed();
                if let Some(row) = lock(&self.links).get_mut(link) {
                    row.rtt = Some(rtt);
                }
                // Whoever asked may have gone.
                let _ = answer.map(|answer| answer.send(rtt));
            }
            Event::CaughtUp { link } => {
                if let Some(row) = lock(&self.links).get_mut(link) {
                    row.caught_up = true;
                }
            }
            Event::Received { link, id, .. } => {
                let peer = lock(&self.links).get(link).and_then(|row| row.facts.peer);
                self.tell(Happening {
                    id: Some(id.to_string()),
                    who: peer.map(|peer| self.name(&peer)),
                    ..happening("received")
                });
            }
            Event::Declined { verdict: verdict @ (Verdict::Forged | Verdict::Damaged), .. } => {
                self.tell(Happening {
                    detail: Some(format!("a bundle that came over a link is {verdict:?}")),
                    ..happening("trouble")
                });
            }
            _ => {}
        }
    }

    pub(super) fn carried(&self, id: BundleId, peer: NodeId) {
        self.tell(Happening {
            id: Some(id.to_string()),
            who: Some(self.name(&peer)),
            ..happening("carried")
        });
    }

    pub(super) fn news(&self, news: News) {
        let ids = |ids: Vec<BundleId>| ids.iter().map(ToString::to_string).collect();
        self.tell_news(ids(news.messages), ids(news.delivered));
    }

    /// Messages that became complete, and messages of ours whose receipts came.
    pub(crate) fn tell_news(&self, messages: Vec<String>, delivered: Vec<String>) {
        for id in messages {
            self.tell(Happening { id: Some(id), ..happening("message") });
        }
        for id in delivered {
            self.tell(Happening { id: Some(id), ..happening("delivered") });
        }
    }

    /// Tells what a medium, a folder or another network brought.
    pub(super) fn happened(
        &self,
        what: &'static str,
        id: Option<String>,
        who: Option<String>,
        detail: Option<String>,
    ) {
        self.tell(Happening { id, who, detail, ..happening(what) });
    }

    pub(super) fn trouble(&self, failure: &Failure) {
        self.tell(Happening { detail: Some(failure.to_string()), ..happening("trouble") });
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.desk.free_bytes().unwrap_or(0)
    }

    fn name(&self, node: &NodeId) -> String {
        self.desk.name_of(node)
    }

    fn tell(&self, mut happening: Happening) {
        let Happening { what, id, who, detail, .. } = &happening;
        if what == "trouble" || what == "alarm" {
            tracing::warn!(%what, id, who, detail);
        } else {
            tracing::info!(%what, id, who, detail);
        }
        happening.time = wall_s();
        let mut past = lock(&self.past);
        happening.number = past.back().map_or(1, |last| last.number + 1);
        if past.len() >= HAPPENINGS_MAX {
            past.pop_front();
        }
        past.push_back(happening.clone());
        // Nobody may be listening.
        let _ = self.happenings.send(happening);
    }
}

fn happening(what: &'static str) -> Happening {
    Happening { number: 0, what: what.into(), id: None, who: None, detail: None, time: 0 }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
