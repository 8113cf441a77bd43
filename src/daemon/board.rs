//! What the daemon shows of itself: links, traffic, and what happens.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use postrider_base::{BundleId, NodeId, link::LinkFacts};
use postrider_engine::node::{Ending, Event, LinkId, Verdict};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::desk::{Desk, Failure, live::News};

/// Happenings that a slow listener may be behind before it misses some.
const HAPPENINGS_MAX: usize = 1024;

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
}

/// Bytes that passed a link.
#[derive(Debug, Default)]
pub struct Traffic {
    /// In.
    pub received_bytes: AtomicU64,
    /// Out.
    pub sent_bytes: AtomicU64,
}

/// Something that happened, as it is told to whoever listens.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Happening {
    /// Always 1.
    pub v: u8,
    /// `event`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What: `link-up`, `link-down`, `received`, `carried`, `message`, `delivered`, `trouble`; of a
    /// medium `media-seen`, `media-progress`, `safe-to-remove`, `media-tossed`, `media-trouble`; of
    /// the outbox `sent`, `outbox-trouble`; of another network `overlay-up`, `overlay-down`.
    pub what: &'static str,
    /// Of which bundle or message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// With whom, or at which medium or file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// In words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Happening {
    fn new(what: &'static str) -> Self {
        Self { v: 1, kind: "event", what, id: None, who: None, detail: None }
    }
}

/// Shared by all tasks; nothing waits while it is locked.
pub struct Board {
    desk: Arc<Desk>,
    links: Mutex<BTreeMap<LinkId, LinkRow>>,
    next_link: AtomicU64,
    happenings: broadcast::Sender<Happening>,
}

impl Board {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        let (happenings, _) = broadcast::channel(HAPPENINGS_MAX);
        Self { desk, links: Mutex::default(), next_link: AtomicU64::new(1), happenings }
    }

    /// The live links.
    pub fn links(&self) -> Vec<LinkRow> {
        self.lock().values().cloned().collect()
    }

    /// Everything that happens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Happening> {
        self.happenings.subscribe()
    }

    /// Notes a new link, unless one to the same peer is there that is kept instead.
    pub(super) fn link_up(&self, facts: &LinkFacts) -> (LinkId, Arc<Traffic>) {
        let link = LinkId(self.next_link.fetch_add(1, Ordering::Relaxed));
        let traffic = Arc::new(Traffic::default());
        let row = LinkRow {
            link,
            facts: facts.clone(),
            since: Instant::now(),
            traffic: Arc::clone(&traffic),
            caught_up: false,
        };
        self.lock().insert(link, row);
        self.tell(Happening {
            who: facts.peer.map(|peer| self.name(&peer)),
            detail: Some(facts.address.to_string()),
            ..Happening::new("link-up")
        });
        (link, traffic)
    }

    pub(super) fn link_down(&self, link: LinkId) {
        let Some(row) = self.lock().remove(&link) else { return };
        self.tell(Happening {
            who: row.facts.peer.map(|peer| self.name(&peer)),
            detail: Some(row.facts.address.to_string()),
            ..Happening::new("link-down")
        });
    }

    /// Whether a link to this peer is up.
    pub(super) fn is_linked(&self, peer: &NodeId) -> bool {
        self.lock().values().any(|row| row.facts.peer.as_ref() == Some(peer))
    }

    pub(super) fn closed(&self, link: LinkId, why: &Ending) {
        let row = self.lock().get(&link).cloned();
        self.tell(Happening {
            who: row.and_then(|row| row.facts.peer).map(|peer| self.name(&peer)),
            detail: Some(format!("closed: {why:?}")),
            ..Happening::new("trouble")
        });
    }

    pub(super) fn event(&self, event: &Event) {
        match event {
            Event::CaughtUp { link } => {
                if let Some(row) = self.lock().get_mut(link) {
                    row.caught_up = true;
                }
            }
            Event::Received { link, id, .. } => {
                let peer = self.lock().get(link).and_then(|row| row.facts.peer);
                self.tell(Happening {
                    id: Some(id.to_string()),
                    who: peer.map(|peer| self.name(&peer)),
                    ..Happening::new("received")
                });
            }
            Event::Declined { verdict: verdict @ (Verdict::Forged | Verdict::Damaged), .. } => {
                self.tell(Happening {
                    detail: Some(format!("a bundle that came over a link is {verdict:?}")),
                    ..Happening::new("trouble")
                });
            }
            _ => {}
        }
    }

    pub(super) fn carried(&self, id: BundleId, peer: NodeId) {
        self.tell(Happening {
            id: Some(id.to_string()),
            who: Some(self.name(&peer)),
            ..Happening::new("carried")
        });
    }

    pub(super) fn news(&self, news: News) {
        for id in news.messages {
            self.tell(Happening { id: Some(id.to_string()), ..Happening::new("message") });
        }
        for id in news.delivered {
            self.tell(Happening { id: Some(id.to_string()), ..Happening::new("delivered") });
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
        self.tell(Happening { id, who, detail, ..Happening::new(what) });
    }

    pub(super) fn trouble(&self, failure: &Failure) {
        self.tell(Happening { detail: Some(failure.to_string()), ..Happening::new("trouble") });
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.desk.free_bytes().unwrap_or(0)
    }

    fn name(&self, node: &NodeId) -> String {
        self.desk.name_of(node)
    }

    fn tell(&self, happening: Happening) {
        tracing::info!(
            what = happening.what,
            id = happening.id,
            who = happening.who,
            detail = happening.detail
        );
        // Nobody may be listening.
        let _ = self.happenings.send(happening);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkId, LinkRow>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
