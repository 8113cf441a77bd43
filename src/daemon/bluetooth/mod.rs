//! The task that owns Bluetooth: feeds the machine of who is near, obeys it.
//!
//! The `bluetooth` transport says what is heard and which adapters there are, and makes the links;
//! what to say, when to listen and whom to dial is decided by [`Near`]. Its links prove nobody: the
//! greeting does, and the machine hears who it is.

mod probe;
mod radio;
#[cfg(test)]
mod room;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, atomic::Ordering},
};

use postrider_base::NodeId;
use postrider_engine::{
    near::{self, AdapterId, Came, End, Input, Known, Local, Near, Output, advert::NearKey},
    node::LinkId,
};
use postrider_transports::{
    bluetooth::{AddressKind, Bluetooth, BluetoothEvent, BluetoothOptions, Place, Trouble},
    contract::{Link, TransportError},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Duration, Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

pub use self::probe::probe_bluetooth;
use self::radio::Radio;
use super::{
    bluetooth_state::NearNow,
    board::LinkRow,
    node::{LinkEnd, Node},
};
use crate::{
    desk::Silent,
    home::{self, Contact, Contacts},
};

/// Events and notices that wait; the transport waits then.
const EVENTS_MAX: usize = 256;
/// How often contacts, links and traffic are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Contacts for whom mail is looked for: each is one look into the index.
const MAIL_LOOK_MAX: usize = 1_024;
/// An adapter that takes no links by then is used for dialling alone.
const CHANNEL_PATIENCE: Duration = Duration::from_secs(3);
/// Whoever was heard a moment ago is connected within three seconds: Linux waits for two adverts, which come
/// every 1.28 s, and hellos go there and back. While an adapter dials it hears nobody, so it does not wait for
/// as long as the transport would.
const DIAL_TIME_MAX: Duration = Duration::from_secs(6);
/// What a link moves within [`LOOK_EVERY`] beside mail: a ping and its answer, sealed.
const PING_BYTES: u64 = 128;
/// A link over which another way to the same node is no better.
const FAST_BPS: u64 = 1_000_000;
/// How long adverts of strangers count.
const STRANGERS_MS: u64 = 60_000;

/// Starts the tasks.
pub(super) fn start(
    node: &Arc<Node>,
    settings: &home::Bluetooth,
    seed: [u8; 32],
    tasks: &mut JoinSet<()>,
) {
    let radio = Arc::new(Bluetooth::new(options(settings)));
    let (events, heard) = mpsc::channel(EVENTS_MAX);
    let stop = node.stop.clone();
    meet(node, settings, seed, Arc::clone(&radio), heard, tasks);
    tasks.spawn(async move { radio.run(events, stop).await });
}

/// The same with a radio that is run elsewhere.
fn meet(
    node: &Arc<Node>,
    settings: &home::Bluetooth,
    seed: [u8; 32],
    radio: Arc<impl Radio>,
    heard: mpsc::Receiver<BluetoothEvent>,
    tasks: &mut JoinSet<()>,
) {
    let (notices, noticed) = mpsc::channel(EVENTS_MAX);
    node.bluetooth.now().on = true;
    let task = BluetoothTask::new(Arc::clone(node), radio, settings, seed, notices.clone());
    tasks.spawn(task.run(heard, noticed));
    tasks.spawn(watch_mail(Arc::clone(node), notices));
}

fn options(settings: &home::Bluetooth) -> BluetoothOptions {
    BluetoothOptions { adapters: settings.adapters.clone() }
}

/// What the task is told by others.
#[derive(Debug)]
enum Notice {
    /// It is certain who is at the other end of a link.
    Proven { link: LinkId, row: Box<LinkRow> },
    /// A link is gone.
    Down { link: LinkId, end: End },
    /// For whom something waits.
    Mail(Vec<NodeId>),
}

struct BluetoothTask<R> {
    node: Arc<Node>,
    radio: Arc<R>,
    near: Near,
    adapters: BTreeMap<u16, Up>,
    links: BTreeMap<LinkId, Watched>,
    /// Numbers of links, for the machine alone.
    next_link: u64,
    contacts: Option<Arc<Contacts>>,
    elsewhere: Vec<NodeId>,
    dials: JoinSet<Dialled>,
    notices: mpsc::Sender<Notice>,
    /// Each hears of one link's end.
    watching: JoinSet<()>,
    /// Trouble that was logged.
    logged: BTreeSet<(Option<u16>, String)>,
    begun: Instant,
}

/// An adapter that can be used.
struct Up {
    since: Instant,
    /// What the machine was told of its channel.
    told: Option<Option<u8>>,
}

/// A link that is up.
struct Watched {
    over: CancellationToken,
    row: Option<Box<LinkRow>>,
    /// Bytes that had passed when it was looked at last.
    bytes: u64,
}

/// How a dial ended.
struct Dialled {
    adapter: u16,
    to: Place,
    expect: NodeId,
    link: Result<Link, TransportError>,
}

impl<R: Radio> BluetoothTask<R> {
    fn new(
        node: Arc<Node>,
        radio: Arc<R>,
        settings: &home::Bluetooth,
        seed: [u8; 32],
        notices: mpsc::Sender<Notice>,
    ) -> Self {
        let card = &node.desk.home().card;
        let local = Local { node: card.node, key: NearKey::of_contact(card.seal_key()) };
        let mut near = Near::new(local, seed, 0);
        near.handle(0, Input::Profile(settings.profile.into()));
        Self {
            near,
            node,
            radio,
            adapters: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 1,
            contacts: None,
            elsewhere: Vec::new(),
            dials: JoinSet::new(),
            notices,
            watching: JoinSet::new(),
            logged: BTreeSet::new(),
            begun: Instant::now(),
        }
    }

    /// Runs until told to stop.
    async fn run(
        mut self,
        mut events: mpsc::Receiver<BluetoothEvent>,
        mut notices: mpsc::Receiver<Notice>,
    ) {
        let node = Arc::clone(&self.node);
        let mut looked = Instant::now();
        self.look();
        loop {
            self.obey();
            let due = self.begun.checked_add(Duration::from_millis(self.near.poll_timeout()));
            let look = looked + LOOK_EVERY;
            // Receiving, joining, sleeping and being rung lose nothing when another comes first.
            tokio::select! {
                () = node.stop.cancelled() => return,
                Some(event) = events.recv() => self.event(event),
                Some(notice) = notices.recv() => self.notice(notice),
                Some(dialled) = self.dials.join_next() => {
                    // One that panicked is forgotten by the machine after a while.
                    dialled.into_iter().for_each(|dialled| self.dialled(dialled));
                }
                () = node.bluetooth.search.notified() => self.handle(Input::Search),
                () = sleep_until(due.map_or(look, |due| due.min(look))) => {
                    self.handle(Input::Timeout);
                }
            }
            while self.watching.try_join_next().is_some() {}
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                self.look();
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn handle(&mut self, input: Input) {
        let now_ms = self.now_ms();
        self.near.handle(now_ms, input);
    }

    fn event(&mut self, event: BluetoothEvent) {
        match event {
            BluetoothEvent::Up { adapter, name } => {
                tracing::debug!(name, "a Bluetooth adapter is there");
                self.node.bluetooth.now().up(adapter, &name);
                self.logged.retain(|(of, _)| *of != Some(adapter) && of.is_some());
                self.adapters.insert(adapter, Up { since: Instant::now(), told: None });
                self.tell_channels();
            }
            BluetoothEvent::Down { adapter, trouble } => self.down(adapter, trouble),
            BluetoothEvent::Heard { adapter, from, said, strength_dbm } => {
                let (adapter, from) = (AdapterId(adapter), place(from));
                self.handle(Input::Heard { adapter, from, said, strength_dbm });
            }
            BluetoothEvent::Connected { adapter } => {
                self.handle(Input::Connected { adapter: AdapterId(adapter) });
            }
            BluetoothEvent::Silenced { adapter } => {
                self.handle(Input::Silenced { adapter: AdapterId(adapter) });
            }
            BluetoothEvent::Link { adapter, from, link } => {
                self.link(adapter, from, Came::Accepted, link, None);
            }
            _ => {}
        }
    }

    fn down(&mut self, adapter: Option<u16>, trouble: Trouble) {
        // Once: a machine without Bluetooth is none that is ill.
        let said = trouble.to_string();
        if self.logged.insert((adapter, said.clone())) {
            tracing::info!(adapter, "{said}");
        }
        self.node.bluetooth.now().down(adapter, trouble);
        let gone: Vec<u16> = match adapter {
            Some(adapter) => vec![adapter],
            None => self.adapters.keys().copied().collect(),
        };
        for adapter in gone {
            self.adapters.remove(&adapter);
            self.handle(Input::AdapterDown { adapter: AdapterId(adapter) });
        }
    }

    /// Tells the machine of adapters as soon as it is known where they take links.
    fn tell_channels(&mut self) {
        let mut news = Vec::new();
        for (adapter, up) in &mut self.adapters {
            let channel = self.radio.channel(*adapter);
            let known = channel.is_some() || up.since.elapsed() >= CHANNEL_PATIENCE;
            if known && up.told != Some(channel) {
                up.told = Some(channel);
                news.push((*adapter, channel));
                let mut lacks = self.radio.lacks(*adapter);
                if channel.is_none() {
                    lacks.push("it takes no links and only dials".to_owned());
                }
                self.node.bluetooth.now().lacks(*adapter, lacks);
            }
        }
        for (adapter, channel) in news {
            self.handle(Input::AdapterUp { adapter: AdapterId(adapter), channel });
        }
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Proven { link, row } => {
                let Some(node) = row.facts.peer else { return };
                if let Some(watched) = self.links.get_mut(&link) {
                    watched.row = Some(row);
                    self.handle(Input::Proven { link, node });
                }
            }
            Notice::Down { link, end } => {
                self.links.remove(&link);
                self.handle(Input::LinkDown { link, end });
            }
            Notice::Mail(nodes) => self.handle(Input::Wanted(nodes)),
        }
    }

    fn obey(&mut self) {
        while let Some(output) = self.near.poll() {
            match output {
                Output::Say { adapter, said } => self.radio.say(adapter.0, said),
                Output::Listen { adapter, on } => self.radio.listen(adapter.0, on),
                Output::Dial { adapter, to, channel, expect } => {
                    self.dial(adapter.0, place_there(to), channel, expect);
                }
                Output::Close { link } => {
                    if let Some(watched) = self.links.get(&link) {
                        watched.over.cancel();
                    }
                }
            }
        }
    }

    fn dial(&mut self, adapter: u16, to: Place, channel: u8, expect: NodeId) {
        tracing::debug!(adapter, %to, "a neighbour is dialled");
        let radio = Arc::clone(&self.radio);
        self.dials.spawn(async move {
            let late = |_| TransportError::Timeout { to: to.to_string(), limit: DIAL_TIME_MAX };
            let link = timeout(DIAL_TIME_MAX, radio.dial(adapter, to, channel)).await;
            let link = link.map_err(late).and_then(|link| link);
            Dialled { adapter, to, expect, link }
        });
    }

    fn dialled(&mut self, dialled: Dialled) {
        let Dialled { adapter, to, expect, link } = dialled;
        match link {
            Ok(link) => self.link(adapter, to, Came::Dialled, link, Some(expect)),
            Err(error) => {
                tracing::debug!(%to, %error, "no link to a neighbour");
                let (adapter, to) = (AdapterId(adapter), place(to));
                self.handle(Input::DialFailed { adapter, to });
            }
        }
    }

    /// A link is up; who is there is to be proven.
    fn link(&mut self, adapter: u16, from: Place, came: Came, link: Link, expect: Option<NodeId>) {
        let number = LinkId(self.next_link);
        self.next_link += 1;
        let over = CancellationToken::new();
        let (proven, proof) = oneshot::channel();
        self.links.insert(number, Watched { over: over.clone(), row: None, bytes: 0 });
        let (adapter, from) = (AdapterId(adapter), place(from));
        self.handle(Input::LinkUp { link: number, adapter, from, came });
        // It may be one too many, and is then over before anything is read from it.
        self.obey();
        let ended = self.node.adopt_watched(link, expect, over, proven);
        self.watching.spawn(watch(number, proof, ended, self.notices.clone()));
    }

    fn look(&mut self) {
        self.tell_channels();
        self.look_at_contacts();
        let rows = self.node.board.links();
        let mut elsewhere: Vec<NodeId> = rows.iter().filter_map(reached).collect();
        elsewhere.sort_unstable();
        elsewhere.dedup();
        if elsewhere != self.elsewhere {
            self.elsewhere = elsewhere.clone();
            self.handle(Input::Elsewhere(elsewhere));
        }
        let mut moved = Vec::new();
        for (link, watched) in &mut self.links {
            let Some(row) = &watched.row else { continue };
            let bytes = row.traffic.received_bytes.load(Ordering::Relaxed)
                + row.traffic.sent_bytes.load(Ordering::Relaxed);
            let caught_up = rows.iter().any(|now| now.link == row.link && now.caught_up);
            if bytes > watched.bytes + PING_BYTES || !caught_up {
                moved.push(*link);
            }
            watched.bytes = bytes;
        }
        moved.into_iter().for_each(|link| self.handle(Input::Moved { link }));
        self.show();
    }

    fn show(&self) {
        let now_ms = self.now_ms();
        let near = self.near.here(now_ms).map(|heard| NearNow {
            node: heard.node,
            name: self.node.desk.name_of(&heard.node),
            linked: heard.linked,
            ago_s: heard.ago_ms.map(|ms| ms / 1000),
            strength_dbm: heard.strength_dbm,
        });
        let near: Vec<NearNow> = near.collect();
        let mut now = self.node.bluetooth.now();
        now.near = near;
        now.strangers = self.near.strangers(now_ms.saturating_sub(STRANGERS_MS));
    }

    fn look_at_contacts(&mut self) {
        let Ok(contacts) = self.node.desk.home().contacts() else { return };
        if self.contacts.as_ref().is_some_and(|known| Arc::ptr_eq(known, &contacts)) {
            return;
        }
        let blocked = contacts.blocked().collect();
        let known = Known { keys: contacts.linked().map(key).collect(), blocked };
        self.contacts = Some(Arc::clone(&contacts));
        self.handle(Input::Known(known));
    }
}

/// What resolves the adverts of a contact.
fn key(contact: &Contact) -> (NodeId, NearKey) {
    (contact.card.node, NearKey::of_contact(contact.card.seal_key()))
}

/// Who is at the other end of a link over which mail goes as well as by Bluetooth.
fn reached(row: &LinkRow) -> Option<NodeId> {
    let facts = &row.facts;
    let slow = facts.metered || facts.rate_bps.is_some_and(|rate| rate < FAST_BPS);
    facts.peer.filter(|_| facts.address.scheme() != "bluetooth" && !slow)
}

/// Tells what becomes of a link.
async fn watch(
    link: LinkId,
    proof: oneshot::Receiver<Box<LinkRow>>,
    ended: LinkEnd,
    notices: mpsc::Sender<Notice>,
) {
    // The other end of this is dropped when the link ends unproven.
    if let Ok(row) = proof.await {
        let _ = notices.send(Notice::Proven { link, row }).await;
    }
    let end = match ended.await {
        Ok(Err(error)) if is_loss(&error) => End::Lost,
        _ => End::Closed,
    };
    // When nobody listens the daemon ends.
    let _ = notices.send(Notice::Down { link, end }).await;
}

/// Whether a link broke, other than by somebody's will: its controller heard nothing for too long.
fn is_loss(error: &io::Error) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut};
    [TimedOut, HostUnreachable, NetworkDown, NetworkUnreachable].contains(&error.kind())
}

/// Tells for whom something waits, whenever that may have changed.
async fn watch_mail(node: Arc<Node>, notices: mpsc::Sender<Notice>) {
    let mut commits = node.board.commits();
    let mut before = Vec::new();
    loop {
        let found = node
            .ask(|desk| {
                let contacts = desk.home().contacts()?;
                let nodes = contacts.linked().map(|contact| contact.card.node);
                let nodes: BTreeSet<NodeId> = nodes.take(MAIL_LOOK_MAX).collect();
                desk.open_live(&Silent)?.mail_for(&nodes)
            })
            .await;
        // What cannot be read now is told of elsewhere; the next look comes.
        if let Ok(nodes) = found
            && nodes != before
        {
            before = nodes.clone();
            if notices.send(Notice::Mail(nodes)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = node.stop.cancelled() => return,
            () = sleep(LOOK_EVERY) => {}
        }
        tokio::select! {
            () = node.stop.cancelled() => return,
            changed = commits.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

fn place(at: Place) -> near::Place {
    let kind = match at.kind {
        AddressKind::Public => near::AddressKind::Public,
        AddressKind::Random => near::AddressKind::Random,
    };
    near::Place { address: at.address, kind }
}

fn place_there(at: near::Place) -> Place {
    let kind = match at.kind {
        near::AddressKind::Public => AddressKind::Public,
        near::AddressKind::Random => AddressKind::Random,
    };
    Place { address: at.address, kind }
}
