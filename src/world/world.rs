//! The world itself: what happens next, and the loop that a shell has, for many nodes at once.

use std::collections::{BTreeMap, BTreeSet};

use postrider_base::{BundleId, NodeId, link::LinkFacts};
use postrider_engine::{
    node::{Answer, Ending, Event, Input, LinkId, Output, People, ShortId, Ticket},
    router::Meeting,
};
use postrider_spool::{Change, Dropping, Outcome, Quota, Quotas, Spool, Why};

use crate::{
    chance::Chance,
    couriers::Courier,
    history::{Broken, Digest},
    laws::Laws,
    letters::{Letter, Letters, NODES_MAX, Wish, node_id},
    malice::{Caught, Liar},
    node::{Clock, Node, Scheme},
    roads::{RoadId, Roads, Wire},
    shell::{Deed, Nature, Order, Turn, admission},
    tally::Tally,
    telling::{describe, unit_name},
    timeline::Timeline,
};

/// Cursors are written down this late, as the daemon does.
const REMEMBER_AFTER_MS: u64 = 2000;
/// What has outlived its time is dropped this often.
const TIDY_EVERY_MS: u64 = 600_000;
/// Wait before a link that went down comes up again.
const REDIAL_MS: (u64, u64) = (500, 8000);
/// Clocks count at most so many seconds too many or too few in a million.
const DRIFT_MAX_PPM: u64 = 500;
/// The slow laws are looked at every so many steps.
const LOOK_EVERY: u64 = 8192;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Happening {
    Left { link: LinkId, bytes: u64 },
    There { link: LinkId },
    Up { link: LinkId, dialled: bool },
    Down { link: LinkId },
    Echo { link: LinkId, node: usize },
    Asked { node: usize, life: u32, question: Box<Output>, ticket: Ticket },
    Told { node: usize, life: u32, input: Box<Input> },
    Write { node: usize, life: u32 },
    Remember { node: usize, life: u32 },
    Timer { node: usize, life: u32, at_ms: u64 },
    Tidy { node: usize, life: u32 },
    Dial { road: usize },
    Meet { road: usize },
    Part { road: usize },
    Revive { node: usize },
    Courier { courier: usize },
}

/// Many nodes, the roads between them, and everything that one seed decides.
pub struct World {
    pub(crate) seed: u64,
    pub(crate) chance: Chance,
    pub(crate) nature: Nature,
    pub(crate) time: Timeline<Happening>,
    pub(crate) scheme: Scheme,
    pub(crate) nodes: Vec<Node>,
    numbers: BTreeMap<NodeId, usize>,
    pub(crate) roads: Roads,
    pub(crate) couriers: Vec<Courier>,
    pub(crate) letters: Letters,
    pub(crate) laws: Laws,
    pub(crate) liars: BTreeMap<usize, Liar>,
    pub(crate) caught: Caught,
    /// Links whose other end is malicious; of those that are over, too.
    pub(crate) facing: BTreeSet<LinkId>,
    pub(crate) step: u64,
    look_every: u64,
    pub(crate) tally: Tally,
    pub(crate) digest: Digest,
    pub(crate) broken: Option<Broken>,
    renews: bool,
}

impl World {
    /// An empty one.
    pub fn new(seed: u64, nature: Nature) -> Self {
        Self {
            seed,
            chance: Chance::new(seed),
            nature,
            time: Timeline::default(),
            scheme: Scheme::default(),
            nodes: Vec::new(),
            numbers: BTreeMap::new(),
            roads: Roads::default(),
            couriers: Vec::new(),
            letters: Letters::default(),
            laws: Laws::default(),
            liars: BTreeMap::new(),
            caught: Caught::default(),
            facing: BTreeSet::new(),
            step: 0,
            look_every: LOOK_EVERY,
            tally: Tally::default(),
            digest: Digest::default(),
            broken: None,
            renews: true,
        }
    }

    /// Whether authors spray again what has no receipt; they do unless this says otherwise.
    pub fn set_renews(&mut self, renews: bool) {
        self.renews = renews;
    }

    /// How nodes that settle from now on route.
    pub fn set_scheme(&mut self, scheme: Scheme) {
        self.scheme = scheme;
    }

    /// The slow laws are looked at every so many steps; in large worlds that takes most of the time.
    pub fn set_look_every(&mut self, steps: u64) {
        self.look_every = steps.max(1);
    }

    /// One more node, at most [`NODES_MAX`]; its number.
    pub fn settle(&mut self) -> usize {
        let at = self.nodes.len();
        let drift = i64::try_from(self.chance.below(2 * DRIFT_MAX_PPM + 1)).unwrap_or(0);
        let drift_ppm = drift - i64::try_from(DRIFT_MAX_PPM).unwrap_or(0);
        let base_ms = self.chance.below(1 << 40);
        let clock = Clock::new(self.time.now_ms(), drift_ppm, base_ms);
        if at < NODES_MAX {
            self.numbers.insert(node_id(at), at);
            self.nodes.push(Node::new(at, clock, self.seed, self.scheme));
            self.time.after(TIDY_EVERY_MS, Happening::Tidy { node: at, life: 0 });
        }
        at
    }

    /// So many more.
    pub fn settle_many(&mut self, count: usize) {
        (0..count).for_each(|_| {
            self.settle();
        });
    }

    /// A road on which a link comes up at once, and again whenever it went down.
    pub fn road(&mut self, a: usize, b: usize, wire: Wire) -> RoadId {
        let road = self.roads.add([a, b], wire);
        self.dial_after(road.0, 0);
        road
    }

    /// The world's time.
    pub fn now_ms(&self) -> u64 {
        self.time.now_ms()
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Bytes that all links have carried.
    pub fn bytes(&self) -> u64 {
        self.roads.bytes
    }

    /// Over everything that has happened: equal for equal seeds.
    pub fn digest(&self) -> [u8; 32] {
        self.digest.value()
    }

    /// The world's chance, for whoever writes its story.
    pub fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// How shells behave from now on.
    pub fn set_nature(&mut self, nature: Nature) {
        self.nature = nature;
    }

    /// Whom a node knows from now on: contacts, blocked nodes.
    pub fn set_people(&mut self, at: usize, people: People) {
        self.nodes[at].people = people.clone();
        self.feed(at, Input::People(people));
    }

    /// Whether receipts are handed on from now on, and free copies: without them, a bundle stays until
    /// its lifetime ends.
    pub fn set_receipts(&mut self, receipts: bool) {
        self.nodes.iter_mut().for_each(|node| node.receipts = receipts);
    }

    /// How many bundles of each class a node carries for others.
    pub fn set_carried_max(&mut self, at: usize, bundles: u64) {
        let quota = Quota { bytes: u64::MAX, bundles };
        let quotas = Quotas { contact: quota, friend: quota, stranger: quota };
        self.nodes[at].spool.set_quotas(quotas);
        self.nodes[at].carried_max = Some(bundles);
        self.weigh(at);
    }

    /// Says so when a node has little room left for what it carries, or has room again.
    fn weigh(&mut self, at: usize) {
        // Published ways of routing know nothing of it.
        if self.is_published() || !self.nodes[at].up {
            return;
        }
        let node = &mut self.nodes[at];
        let pressed = node.weighs_too_much();
        if std::mem::replace(&mut node.pressed, pressed) != pressed {
            self.feed(at, Input::Pressure(pressed));
        }
    }

    /// How nodes make room from now on.
    pub fn set_dropping(&mut self, dropping: Dropping) {
        self.nodes.iter().for_each(|node| node.spool.set_dropping(dropping));
        self.laws.dropping = dropping;
    }

    /// Whether nodes know no more than what lies in their buffers, their own mail among it.
    fn is_published(&self) -> bool {
        self.laws.dropping == Dropping::Published
    }

    /// A letter is written and durable; its engine hears of it soon. `None` while the node is down.
    pub fn send(&mut self, from: usize, to: usize, wish: Wish) -> Option<BundleId> {
        self.post(from, from, to, wish)
    }

    /// A node fills the spools of others: a letter that `author` signs, whoever that may be, and that
    /// is not counted.
    pub fn flood(&mut self, at: usize, author: usize, to: usize, wish: Wish) {
        self.post(at, author.min(NODES_MAX - 1), to, wish);
    }

    fn post(&mut self, from: usize, author: usize, to: usize, wish: Wish) -> Option<BundleId> {
        if !self.nodes[from].up {
            return None;
        }
        let number = self.laws.letters_count();
        let letter = Letter::write(author, to, number, wish);
        let noise = author != from;
        let id = letter.id;
        let mut row = letter.row();
        row.hop.tokens = self.scheme.tokens().unwrap_or(row.hop.tokens);
        let own = letter.secret.map(|r| r.to_vec());
        let new = admission((&row, 0), &letter.head, letter.body.to_vec(), own);
        let now_ms = self.time.now_ms();
        let node = &mut self.nodes[from];
        let group = vec![Change::Bundle(new)];
        let done = node.spool.commit(node.clock.spool_now(now_ms), group);
        let Ok(outcomes) = done else {
            self.fault(from, format!("node {from} cannot send: {done:?}"));
            return None;
        };
        let mut gone: Vec<_> = node.spool.take_dropped();
        if outcomes.first() == Some(&Outcome::Full) {
            gone.push((id, Why::Dropped));
        }
        self.laws.sent(from, &letter, noise, now_ms);
        if noise {
            self.tally.ignore(id);
        } else {
            self.tally.sent(now_ms);
        }
        self.letters.add(letter);
        self.trace(from, "send", LinkId(0), ShortId::of(&id), to as u64);
        for (id, why) in gone {
            self.done_deed(from, Deed::Retired(id, why));
        }
        let wait_ms = self.chance.below(self.nature.answer_ms + 1);
        self.tell_after(wait_ms, from, Input::Arrived { id });
        Some(id)
    }

    /// Lets time pass, with all that happens in it.
    pub fn pass(&mut self, ms: u64) -> Result<(), Broken> {
        let end_ms = self.now_ms().saturating_add(ms);
        while self.step_until(end_ms)? {}
        self.time.pass_to(end_ms);
        Ok(())
    }

    /// One thing happens, unless nothing does until then.
    pub fn step_until(&mut self, until_ms: u64) -> Result<bool, Broken> {
        let Some(happening) = self.time.next_until(until_ms) else { return Ok(false) };
        self.step += 1;
        self.happen(happening);
        if self.step.is_multiple_of(self.look_every) {
            self.look_closely();
        }
        self.sound().map(|()| true)
    }

    /// The first law that did not hold.
    pub fn sound(&self) -> Result<(), Broken> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Left { link, bytes } => {
                if let Some(node) = self.roads.left(link, bytes) {
                    self.feed(node, Input::Room { link, bytes });
                }
            }
            Happening::There { link } => {
                let now_ms = self.time.now_ms();
                if let Some((node, link, unit)) = self.roads.arrived(link, now_ms) {
                    self.overhear(node, link, &unit);
                    self.feed(node, Input::Unit { link, unit });
                }
            }
            Happening::Up { link, dialled } => self.link_up(link, dialled),
            Happening::Down { link } => {
                let Some(end) = self.roads.ends.get(&link) else { return };
                let road = end.road;
                if let Some((node, words)) = self.roads.down(link) {
                    if let Some(unit) = words {
                        self.feed(node, Input::Unit { link, unit });
                    }
                    self.feed(node, Input::LinkDown { link });
                }
                self.redial(road);
            }
            Happening::Echo { link, node } => self.feed(node, Input::LinkDown { link }),
            Happening::Asked { node, life, question, ticket } => {
                if self.nodes[node].life == life {
                    self.answer(node, &question, ticket);
                }
            }
            Happening::Told { node, life, input } => {
                if self.nodes[node].life == life {
                    self.feed(node, *input);
                }
            }
            Happening::Write { node, life } => {
                if self.nodes[node].life == life {
                    self.write(node);
                }
            }
            Happening::Remember { node, life } => {
                let node = &mut self.nodes[node];
                if node.life == life {
                    for (peer, (mine, theirs)) in std::mem::take(&mut node.cursors) {
                        let cursors = node.remembered.entry(peer).or_default();
                        *cursors = (mine.or(cursors.0), theirs.or(cursors.1));
                    }
                }
            }
            Happening::Timer { node, life, at_ms } => {
                let this = &mut self.nodes[node];
                if this.life == life && this.timer_ms == Some(at_ms) {
                    this.timer_ms = None;
                    self.feed(node, Input::Timeout);
                }
            }
            Happening::Tidy { node, life } => {
                if self.nodes[node].life == life {
                    self.tidy(node);
                    self.time.after(TIDY_EVERY_MS, Happening::Tidy { node, life });
                }
            }
            Happening::Dial { road } => self.dial(road),
            Happening::Meet { road } => {
                self.roads.roads[road].open = true;
                self.dial_after(road, 0);
            }
            Happening::Part { road } => self.shut(RoadId(road)),
            Happening::Revive { node } => self.revive(node),
            Happening::Courier { courier } => self.courier_goes_on(courier),
        }
    }

    fn link_up(&mut self, link: LinkId, dialled: bool) {
        let Some(end) = self.roads.ends.get(&link).filter(|end| !end.down) else { return };
        let (at, road) = (end.node, &self.roads.roads[end.road]);
        let side = usize::from(road.ends[0] != at);
        let peer = node_id(road.ends[1 - side]);
        let Ok(address) = "pipe:".parse() else { return };
        let wire = &road.wire;
        let facts = LinkFacts {
            peer: wire.proven.then_some(peer),
            dialled,
            rate_bps: wire.told.then_some(wire.rate_bps),
            half_duplex: wire.half_duplex,
            clear_only: wire.clear_only,
            ..LinkFacts::stream(address)
        };
        let policy = wire.policies[side].clone();
        let room_bytes = wire.room_bytes;
        // A summary says what lies in a buffer now, and knows of no earlier one.
        let recalls = wire.proven && !self.is_published();
        let (mine, theirs) = if recalls { self.nodes[at].recall(&peer) } else { (None, None) };
        let mut random = [0; 16];
        self.chance.fill(&mut random);
        self.feed(at, Input::LinkUp { link, facts, policy, room_bytes, mine, theirs, random });
    }

    /// Hands an engine an input and obeys it until it has nothing more to say.
    pub(crate) fn feed(&mut self, at: usize, input: Input) {
        if !self.nodes[at].up {
            return;
        }
        let (what, link, id, number) = describe(&input);
        self.trace(at, what, link, id, number);
        let timeout = matches!(input, Input::Timeout);
        let now_ms = self.time.now_ms();
        let node = &mut self.nodes[at];
        let now = node.now(now_ms);
        node.engine.handle(now, input);
        let mut outputs = 0;
        while let Some(output) = self.nodes[at].engine.poll() {
            outputs += 1;
            self.obey(at, output);
        }
        if let Some(fault) = Laws::bounds(&mut self.nodes[at], outputs, timeout, now.mono_ms) {
            self.blame(at, fault);
        }
        self.arm(at);
    }

    /// Sets the alarm for the engine's next deadline.
    fn arm(&mut self, at: usize) {
        let now_ms = self.time.now_ms();
        let node = &mut self.nodes[at];
        let Some(due) = node.engine.poll_timeout() else { return };
        let at_ms = node.clock.when(due).max(now_ms);
        if node.timer_ms.is_none_or(|set| at_ms < set) {
            node.timer_ms = Some(at_ms);
            self.time.at(at_ms, Happening::Timer { node: at, life: node.life, at_ms });
        }
    }

    fn obey(&mut self, at: usize, output: Output) {
        if let Some(fault) = Laws::question(&output) {
            self.blame(at, fault);
        }
        let life = self.nodes[at].life;
        self.note_caught(at, &output);
        match output {
            Output::Send { link, head, body } => {
                let number = (head.len() + body.len()) as u64;
                self.trace(at, unit_name(&head), link, ShortId([0; 16]), number);
                if let Some(fault) = self.say(at, link, (head, body)) {
                    self.blame(at, format!("node {at}: {fault}"));
                }
            }
            Output::Close { link, why } => {
                self.trace(at, "close", link, ShortId([0; 16]), 0);
                let earned = self.faces_liar(link);
                if let Some(fault) = self.laws.ending(at, &why).filter(|_| !earned) {
                    self.blame(at, fault);
                }
                let road = self.roads.ends.get(&link).map(|end| end.road);
                let notice_ms = self.chance.below(self.nature.notice_ms + 1);
                self.roads.close(link, notice_ms, &mut self.time);
                if let Some(road) = road
                    && !matches!(why, Ending::Blocked | Ending::Halted { reason: 17, .. })
                {
                    self.redial(road);
                }
            }
            Output::Stage { transfer, length, .. } => {
                self.order(at, Order::Stage { transfer, length });
            }
            Output::Append { transfer, bytes } => {
                self.order(at, Order::Append { transfer, bytes });
            }
            Output::ReadStaged { ticket, transfer, at: from, bytes } => {
                self.nodes[at].asked.insert(ticket);
                self.order(at, Order::Read { ticket, transfer, at: from, bytes });
            }
            Output::Drop { transfer } => self.order(at, Order::Drop { transfer }),
            Output::Keep { ticket, bundle } => {
                self.trace(at, "keep", LinkId(0), bundle.row.short(), bundle.row.length);
                let now_ms = self.time.now_ms();
                if let Some(fault) = self.laws.keeping(at, &bundle, now_ms) {
                    self.blame(at, fault);
                }
                self.nodes[at].asked.insert(ticket);
                self.order(at, Order::Keep { ticket, bundle });
            }
            Output::Change { ticket, id, hop } => {
                self.trace(at, "change", LinkId(0), ShortId::of(&id), u64::from(hop.tokens));
                self.nodes[at].asked.insert(ticket);
                self.order(at, Order::Change { ticket, id, hop });
            }
            Output::Raise { id, level } => self.order(at, Order::Raise { id, level }),
            Output::Met { node, meeting } => {
                let meetings = &mut self.nodes[at].meetings;
                if meeting == Meeting::default() {
                    meetings.remove(&node);
                } else {
                    meetings.insert(node, meeting);
                }
            }
            Output::TakeReceipts { ticket, list, .. } => {
                self.nodes[at].asked.insert(ticket);
                self.order(at, Order::Take { ticket, list });
            }
            Output::Remember { peer, mine, theirs } => {
                let node = &mut self.nodes[at];
                if node.cursors.is_empty() {
                    self.time.after(REMEMBER_AFTER_MS, Happening::Remember { node: at, life });
                }
                let cursors = node.cursors.entry(peer).or_default();
                *cursors = (mine.or(cursors.0), theirs.or(cursors.1));
            }
            Output::Sketch { ticket, work } => {
                self.nodes[at].asked.insert(ticket);
                let ms = self.chance.below(self.nature.answer_ms + 1);
                let failed = self.chance.permille(self.nature.failed_permille);
                let worked = || Answer::Sketched(Box::new(work.run()));
                let answer = if failed { Answer::Failed } else { worked() };
                self.tell_after(ms, at, Input::Done { ticket, answer });
            }
            // Only whoever packs units asks for it.
            Output::Flushed { .. } => {}
            // No road here is a local network.
            Output::Cast { .. } | Output::Haves { .. } => {}
            Output::Carried { id, peer } => self.carried(at, &id, peer),
            // Roads have no sockets, so nobody is introduced here; were it otherwise, it would fail.
            Output::Meet { node, .. } => self.tell_after(0, at, Input::MeetFailed { node }),
            Output::Event(event) => self.event(at, &event),
            Output::Since { ticket, .. }
            | Output::Page { ticket, .. }
            | Output::Toward { ticket, .. }
            | Output::Look { ticket, .. }
            | Output::Load { ticket, .. }
            | Output::Read { ticket, .. }
            | Output::ReceiptsSince { ticket, .. } => {
                self.nodes[at].asked.insert(ticket);
                let ms = self.chance.below(self.nature.answer_ms + 1);
                let question = Box::new(output);
                self.time.after(ms, Happening::Asked { node: at, life, question, ticket });
            }
        }
    }

    fn event(&mut self, at: usize, event: &Event) {
        let (what, link, id, number) = match event {
            Event::Greeted { link, .. } => ("greeted", *link, ShortId([0; 16]), 0),
            Event::CaughtUp { link } => ("caught up", *link, ShortId([0; 16]), 0),
            Event::Received { link, id, length, .. } => {
                ("received", *link, ShortId::of(id), *length)
            }
            Event::Settled { link, id, .. } => ("settled", *link, ShortId::of(id), 0),
            Event::Declined { link, id, .. } => ("declined", *link, *id, 0),
            Event::Resumed { link, id, at } => ("resumed", *link, *id, *at),
            _ => ("event", LinkId(0), ShortId([0; 16]), 0),
        };
        self.trace(at, what, link, id, number);
    }

    /// A question is answered from what is there now; the answer may be on its way for long.
    fn answer(&mut self, at: usize, question: &Output, ticket: Ticket) {
        let answer = if self.chance.permille(self.nature.failed_permille) {
            Answer::Failed
        } else {
            self.nodes[at].answer(question)
        };
        let input = Input::Done { ticket, answer };
        if self.chance.permille(200) {
            let ms = self.chance.below(self.nature.answer_ms + 1);
            self.tell_after(ms, at, input);
        } else {
            self.done(at, input);
        }
    }

    fn done(&mut self, at: usize, input: Input) {
        if let Input::Done { ticket, .. } = &input {
            self.nodes[at].asked.remove(ticket);
        }
        self.feed(at, input);
    }

    pub(crate) fn tell_after(&mut self, ms: u64, at: usize, input: Input) {
        if let Input::Done { ticket, .. } = &input {
            self.nodes[at].asked.remove(ticket);
        }
        let life = self.nodes[at].life;
        self.time.after(ms, Happening::Told { node: at, life, input: Box::new(input) });
    }

    fn order(&mut self, at: usize, order: Order) {
        let node = &mut self.nodes[at];
        node.orders.push_back(order);
        if !node.keeper_due {
            node.keeper_due = true;
            let ms = self.chance.below(self.nature.commit_ms + 1);
            self.time.after(ms, Happening::Write { node: at, life: node.life });
        }
    }

    /// The writer's turn: some of what waits, or all of it.
    fn write(&mut self, at: usize) {
        let now_ms = self.time.now_ms();
        let waiting = self.nodes[at].orders.len();
        let most = if self.chance.permille(300) { 1 + self.chance.index(waiting) } else { waiting };
        let with = (&mut self.chance, &self.nature);
        let node = &mut self.nodes[at];
        let turn = node.write(now_ms, most, &self.letters, with);
        node.keeper_due = !node.orders.is_empty();
        if node.keeper_due {
            let ms = self.chance.below(self.nature.commit_ms + 1);
            self.time.after(ms, Happening::Write { node: at, life: node.life });
        }
        self.take_turn(at, turn);
        self.weigh(at);
    }

    /// What became durable, and the answers; these may overtake one another.
    pub(crate) fn take_turn(&mut self, at: usize, turn: Turn) {
        for fault in turn.faults {
            self.blame(at, fault);
        }
        for deed in turn.deeds {
            self.done_deed(at, deed);
        }
        if turn.receipts {
            // Whoever writes looks around later: deliveries do not pass through the engine.
            let ms = self.chance.below(self.nature.commit_ms + 1);
            self.tell_after(ms, at, Input::Receipts);
        }
        for input in turn.answers {
            let ms = self.chance.below(self.nature.answer_ms + 1);
            self.tell_after(ms, at, input);
        }
    }

    pub(crate) fn done_deed(&mut self, at: usize, deed: Deed) {
        let (what, id) = match &deed {
            Deed::Admitted(id, _) => ("admitted", id),
            Deed::Delivered(id) => ("delivered", id),
            Deed::Retired(id, _) => ("retired", id),
            Deed::Proved(id) => ("proved", id),
            Deed::Renewed(id) => ("renewed", id),
        };
        self.trace(at, what, LinkId(0), ShortId::of(id), 0);
        if let Deed::Retired(id, _) = deed
            && self.nature.tells_gone
        {
            self.tell_after(0, at, Input::Gone { id });
        }
        let now_ms = self.time.now_ms();
        self.tally.deed(&deed, now_ms);
        if let Some(fault) = self.laws.deed(at, deed, now_ms) {
            self.blame(at, fault);
        }
    }

    /// A settle says that a neighbour has a bundle: then it must be durable there, between honest ones.
    fn carried(&mut self, at: usize, id: &BundleId, peer: NodeId) {
        self.trace(at, "carried", LinkId(0), ShortId::of(id), 0);
        let there = self.numbers.get(&peer).map(|at| &self.nodes[*at]);
        let honest = |there: &&Node| ![at, there.at].iter().any(|at| self.liars.contains_key(at));
        let knows = |there: &&Node| self.is_published() || there.knows(id);
        if let Some(there) = there.filter(honest).filter(|there| !knows(there)) {
            let fault = format!("node {} settled {id} and does not have it", there.at);
            self.fault(at, fault);
        }
    }

    fn tidy(&mut self, at: usize) {
        self.weigh(at);
        if let Some(all) = self.scheme.tokens().filter(|_| self.renews) {
            for id in self.nodes[at].renew(self.time.now_ms(), all, &self.letters) {
                self.done_deed(at, Deed::Renewed(id));
                let ms = self.chance.below(self.nature.commit_ms + 1);
                self.tell_after(ms, at, Input::Arrived { id });
            }
        }
        for id in self.nodes[at].expire(self.time.now_ms()) {
            self.done_deed(at, Deed::Retired(id, Why::Expired));
            if !self.nature.tells_gone {
                self.tell_after(0, at, Input::Gone { id });
            }
        }
    }

    fn dial_after(&mut self, road: usize, ms: u64) {
        if !std::mem::replace(&mut self.roads.roads[road].dialling, true) {
            self.time.after(ms, Happening::Dial { road });
        }
    }

    pub(crate) fn redial(&mut self, road: usize) {
        if self.roads.roads[road].open {
            let ms = self.chance.within(REDIAL_MS.0, REDIAL_MS.1);
            self.dial_after(road, ms);
        }
    }

    fn dial(&mut self, road: usize) {
        let this = &mut self.roads.roads[road];
        this.dialling = false;
        let ends = this.ends;
        if !this.open || this.live.is_some() {
            return;
        }
        if this.dark || ends.iter().any(|at| !self.nodes[*at].up) {
            return self.redial(road);
        }
        let latency_ms = this.wire.latency_ms;
        let links = self.roads.connect(road, self.time.now_ms());
        let facing = [1, 0].map(|other: usize| self.liars.contains_key(&ends[other]));
        self.facing
            .extend(links.into_iter().zip(facing).filter_map(|(link, bad)| bad.then_some(link)));
        // Who dialled knows first; the other hears of it with the first bytes.
        self.time.after(0, Happening::Up { link: links[0], dialled: true });
        self.time.after(latency_ms, Happening::Up { link: links[1], dialled: false });
    }

    fn revive(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.up {
            return;
        }
        node.up = true;
        let (life, people) = (node.life, node.people.clone());
        self.time.after(TIDY_EVERY_MS, Happening::Tidy { node: at, life });
        self.feed(at, Input::People(people));
    }
}
