//! Nodes and links in virtual time: the loop that a shell has, for many nodes at once.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    net::SocketAddr,
};

use bytes::Bytes;
use postrider_base::{
    BundleId, NodeId,
    bundle::Hop,
    link::{Ends, LinkFacts},
};
use postrider_engine::{
    carriage::length_prefix,
    exchange::Unit,
    node::{
        Answer, Class, Ending, Engine, Event, Input, Instance, LinkId, LinkPolicy, Local,
        NetworkId, Now, Output, Policy, Ticket,
    },
    router::{Delegation, Flood, Meeting, Spray, Tells},
};

use crate::store::{Made, Store, node};

/// No scenario lasts longer in steps: a test that does not end has failed.
const STEPS_MAX: usize = 3_000_000;

pub struct Node {
    pub engine: Engine,
    pub store: Store,
    pub events: Vec<Event>,
    /// Whom it was told to meet, and where.
    pub meetings: Vec<(NodeId, SocketAddr)>,
    /// What it was told to remember of meetings.
    pub met: Vec<(NodeId, Meeting)>,
    pub carried: Vec<(BundleId, NodeId)>,
    pub ended: Vec<Ending>,
    pub flushed: Vec<LinkId>,
    /// Answers to an engine that is gone are lost with it.
    life: u32,
}

/// One direction of a link.
#[derive(Clone, Debug)]
pub struct Way {
    pub from: usize,
    pub to: usize,
    to_link: LinkId,
    busy_until_ms: u64,
    /// Units with their length prefix.
    pub bytes: u64,
    /// When each unit was given to the carriage.
    pub units: Vec<(u64, &'static str, usize)>,
    /// Bytes of bodies that have left, also those that were lost under way.
    pub body_bytes: u64,
    /// What is under way: when it begins to leave, and when it has left.
    under_way: VecDeque<(u64, u64, Bytes)>,
}

#[derive(Clone, Copy, Debug)]
pub struct Wire {
    pub rate_bps: u64,
    pub latency_ms: u64,
    /// Whether the transport tells the rate.
    pub told: bool,
    /// Whether the ends prove who they are.
    pub proven: bool,
    /// Whether the second end hears of the link with the first unit, as of a handshake's payload.
    pub dialled: bool,
    /// Whether nothing sealed may go over it.
    pub clear_only: bool,
    /// The first end dialled, and the other one sees where from.
    pub seen: bool,
}

/// A narrow line that says so.
pub const SLOW: Wire = Wire {
    rate_bps: 1_000_000,
    latency_ms: 5,
    told: true,
    proven: true,
    dialled: false,
    clear_only: false,
    seen: false,
};

impl Default for Wire {
    fn default() -> Self {
        Self {
            rate_bps: 100_000_000,
            latency_ms: 5,
            told: false,
            proven: true,
            dialled: false,
            clear_only: false,
            seen: false,
        }
    }
}

enum Happening {
    Unit(usize, LinkId, Bytes),
    Room(usize, LinkId, u64),
    Down(LinkId),
    Answer(usize, u32, Output, Ticket),
    Worked(usize, u32, Input),
    Cast(usize, NetworkId, BundleId),
    Haves(usize, NetworkId, Bytes),
}

pub struct Net {
    pub nodes: Vec<Node>,
    pub ways: BTreeMap<LinkId, (Way, Wire)>,
    /// Ways that are gone, for counting.
    pub past: Vec<Way>,
    pub now_ms: u64,
    /// Answers take up to so long, each by itself.
    pub answer_ms: u64,
    /// Commits take so long in any case.
    pub commit_ms: u64,
    pub policy: LinkPolicy,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    next: u64,
    next_link: u64,
    /// From, to, which unit, which byte, which bit: changed under way.
    pub spoil: Option<(usize, usize, usize, usize, u8)>,
    /// Who cast what to all on the network, and how long what all said of what they have was.
    pub casts: Vec<(usize, BundleId)>,
    pub haves: Vec<usize>,
    /// Of a thousand that would hear something cast, so many do not.
    pub lost_permille: u64,
    muted: BTreeSet<LinkId>,
    held_back: Vec<(LinkId, &'static str)>,
    /// Ends that have not heard of their link.
    pending: BTreeSet<LinkId>,
    pub chance: Chance,
    steps: usize,
}

impl Net {
    /// So many nodes, numbered from 1 in keys and from 0 here.
    pub fn new(count: u8) -> Self {
        let nodes = (1..=count).map(|n| Node {
            engine: engine(n),
            store: Store::new(n),
            events: vec![],
            carried: vec![],
            ended: vec![],
            flushed: vec![],
            meetings: vec![],
            met: vec![],
            life: 0,
        });
        Self {
            nodes: nodes.collect(),
            ways: BTreeMap::new(),
            past: vec![],
            now_ms: 1000,
            answer_ms: 0,
            commit_ms: 0,
            policy: LinkPolicy { keepalive: false, ..LinkPolicy::default() },
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            next: 0,
            next_link: 0,
            pending: BTreeSet::new(),
            spoil: None,
            casts: vec![],
            haves: vec![],
            lost_permille: 0,
            muted: BTreeSet::new(),
            held_back: vec![],
            chance: Chance(1),
            steps: 0,
        }
    }

    /// The same, of nodes that count copies and go by meetings.
    pub fn delegating(count: u8) -> Self {
        let mut net = Self::new(count);
        net.policy.counted = true;
        for (n, at) in (1..).zip(&mut net.nodes) {
            let spray = Spray::new(Flood::new(node(n), vec![]), 8);
            let router = Delegation::new(spray, Tells::Everybody, Vec::new());
            let instance = at.store.instance;
            let local =
                Local { node: node(n), tag_keys: vec![], instance, policy: Policy::default() };
            at.engine = Engine::new(local, Box::new(router));
        }
        net
    }

    pub fn now(&self) -> Now {
        Now { mono_ms: self.now_ms, held_ms: self.now_ms }
    }

    /// A bundle is sent at a node.
    pub fn send(&mut self, at: usize, made: &Made) {
        let now = self.now();
        self.nodes[at].store.put(now, made, Hop::fresh(), Class::Own);
        self.feed(at, Input::Arrived { id: made.id });
    }

    /// A bundle lies in a spool before anything begins.
    pub fn lay(&mut self, at: usize, made: &Made, class: Class) {
        let now = self.now();
        self.nodes[at].store.put(now, made, Hop::fresh(), class);
    }

    /// A link comes up; the link's number at each end.
    pub fn connect(&mut self, a: usize, b: usize, wire: Wire) -> (LinkId, LinkId) {
        let ends = (LinkId(self.next_link + 1), LinkId(self.next_link + 2));
        self.next_link += 2;
        for (link, from, to, to_link) in [(ends.0, a, b, ends.1), (ends.1, b, a, ends.0)] {
            let way = Way {
                from,
                to,
                to_link,
                busy_until_ms: self.now_ms,
                bytes: 0,
                units: vec![],
                body_bytes: 0,
                under_way: VecDeque::new(),
            };
            self.ways.insert(link, (way, wire));
        }
        self.link_up(ends.0, a, b, wire);
        if wire.dialled {
            self.pending.insert(ends.1);
        } else {
            self.link_up(ends.1, b, a, wire);
        }
        ends
    }

    fn link_up(&mut self, link: LinkId, at: usize, other: usize, wire: Wire) {
        let peer = node(u8::try_from(other + 1).unwrap());
        let mut facts = LinkFacts::stream("pipe:".parse().unwrap());
        facts.rate_bps = wire.told.then_some(wire.rate_bps);
        facts.clear_only = wire.clear_only;
        facts.peer = wire.proven.then_some(peer);
        if wire.seen {
            facts.dialled = link.0 % 2 == 1;
            facts.ends = Some(Ends { here: address(at), there: address(other) });
        }
        let (mine, theirs) = self.nodes[at].store.cursors.get(&peer).copied().unwrap_or_default();
        let policy = self.policy.clone();
        let (room_bytes, mut random) = (1 << 20, [0; 16]);
        random[..8].copy_from_slice(&(link.0 ^ self.chance.0).to_be_bytes());
        self.feed(at, Input::LinkUp { link, facts, policy, room_bytes, mine, theirs, random });
    }

    /// A link goes down at both ends; what is under way is lost.
    pub fn cut(&mut self, link: LinkId) {
        let Some((way, wire)) = self.ways.remove(&link) else { return };
        let other = way.to_link;
        let Some((back, _)) = self.ways.remove(&other) else { return };
        let (from, to) = (way.from, way.to);
        for mut way in [way, back] {
            let now_ms = self.now_ms;
            // What has not left has cost nothing; what has come of a cut unit may be worth something.
            let came = |at_ms: u64, (start, end, unit): &(u64, u64, Bytes)| -> usize {
                let took = at_ms.saturating_sub(*start) * wire.rate_bps / 8000;
                let all = at_ms >= *end;
                if all { unit.len() } else { unit.len().min(usize::try_from(took).unwrap()) }
            };
            for unit in way.under_way.iter().filter(|(_, _, unit)| unit[0] == 4) {
                let left = unit.2.len() - came(now_ms, unit);
                way.body_bytes -= left.min(unit.2.len().saturating_sub(5)) as u64;
            }
            let there_ms = now_ms.saturating_sub(wire.latency_ms);
            let first = way.under_way.iter().find(|(_, end, _)| end + wire.latency_ms > now_ms);
            if let Some(unit) = first {
                let (to, link) = (way.to, way.to_link);
                let cut = unit.2.slice(..came(there_ms, unit));
                if Unit::is_usable_when_cut(&cut) {
                    self.feed(to, Input::Unit { link, unit: cut });
                }
            }
            self.past.push(way);
        }
        self.feed(from, Input::LinkDown { link });
        self.feed(to, Input::LinkDown { link: other });
    }

    /// A node dies and comes back: its engine, its links and what was staged are gone.
    pub fn restart(&mut self, at: usize) {
        let all: Vec<LinkId> =
            self.ways.iter().filter(|(_, (way, _))| way.from == at).map(|(l, _)| *l).collect();
        all.into_iter().for_each(|link| self.cut(link));
        let node = &mut self.nodes[at];
        node.life += 1;
        node.engine = engine(u8::try_from(at + 1).unwrap());
        node.store.staged.clear();
    }

    /// A node comes back with another name for its numbering.
    pub fn rename(&mut self, at: usize, instance: Instance) {
        self.restart(at);
        self.nodes[at].store.instance = instance;
        self.nodes[at].engine = engine_of(u8::try_from(at + 1).unwrap(), instance);
    }

    /// Units of a kind do not come over a link any more.
    pub fn hold_back(&mut self, link: LinkId, name: &'static str) {
        self.held_back.push((link, name));
    }

    /// The shell of a node loses what it staged.
    pub fn lose_staged(&mut self, at: usize) {
        let Some((transfer, _)) = self.nodes[at].store.staged.pop_first() else { return };
        self.feed(at, Input::StageLost { transfer, full: false });
    }

    pub fn cut_all(&mut self) {
        while let Some(link) = self.ways.keys().next().copied() {
            self.cut(link);
        }
    }

    /// Runs until nothing is under way (timers do not count), or until `until`.
    pub fn run(&mut self) {
        while self.step() {}
    }

    pub fn run_until(&mut self, done: impl Fn(&Self) -> bool) -> bool {
        while !done(self) {
            if !self.step() {
                return done(self);
            }
        }
        true
    }

    /// Lets time pass, with all that happens in it, and timers.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        loop {
            let timer = (0..self.nodes.len())
                .filter_map(|at| Some((self.nodes[at].engine.poll_timeout()?, at)))
                .min()
                .filter(|(due, _)| *due <= end);
            let next = self.queue.peek().map(|Reverse((at, _))| *at).filter(|at| *at <= end);
            match (timer, next) {
                (Some((due, at)), next) if next.is_none_or(|next| due <= next) => {
                    self.now_ms = self.now_ms.max(due);
                    self.feed(at, Input::Timeout);
                }
                (_, Some(_)) => {
                    self.step();
                }
                _ => break,
            }
        }
        self.now_ms = end;
    }

    /// One thing happens.
    pub fn step(&mut self) -> bool {
        let Some(Reverse((at, seq))) = self.queue.pop() else { return false };
        self.steps += 1;
        assert!(self.steps < STEPS_MAX, "this never ends");
        self.now_ms = self.now_ms.max(at);
        match self.happenings.remove(&seq).unwrap() {
            Happening::Unit(to, link, unit) => {
                if let Some((way, wire)) = self.ways.get(&link)
                    && !self.muted.contains(&link)
                    && !self.held_back.iter().any(|h| *h == (link, Unit::name(&unit).unwrap()))
                {
                    let (other, wire) = (way.to, *wire);
                    if self.pending.remove(&link) {
                        self.link_up(link, to, other, wire);
                    }
                    self.feed(to, Input::Unit { link, unit });
                }
            }
            Happening::Room(at, link, bytes) => self.feed(at, Input::Room { link, bytes }),
            Happening::Down(link) => self.cut(link),
            Happening::Worked(at, life, ..) if life != self.nodes[at].life => {}
            Happening::Worked(at, _, input) => self.feed(at, input),
            Happening::Answer(at, life, ..) if life != self.nodes[at].life => {}
            Happening::Answer(at, _, question, ticket) => {
                let now = self.now();
                let answer = self.nodes[at].store.answer(now, question);
                self.feed(at, Input::Done { ticket, answer });
            }
            Happening::Cast(from, network, id) => self.cast(from, network, id),
            Happening::Haves(from, network, said) => {
                for at in (0..self.nodes.len()).filter(|at| *at != from) {
                    self.feed(at, Input::Haves { network, said: said.clone() });
                }
            }
        }
        true
    }

    /// All on the network hear a bundle, but those whom chance keeps from it.
    fn cast(&mut self, from: usize, network: NetworkId, id: BundleId) {
        let Some(cast) = self.nodes[from].store.get(&id).cloned() else { return };
        for at in (0..self.nodes.len()).filter(|at| *at != from) {
            if self.chance.below(1000) < self.lost_permille {
                continue;
            }
            let here = self.nodes[at].store.has(&id);
            self.feed(at, Input::CastHeard { network, id, here });
            if !here {
                let now = self.now();
                self.nodes[at].store.put_heard(now, &cast);
                self.feed(at, Input::Arrived { id });
            }
        }
    }

    /// Nothing goes over a link any more, and nobody says so.
    pub fn mute(&mut self, link: LinkId) {
        let other = self.ways[&link].0.to_link;
        self.muted.extend([link, other]);
    }

    /// A unit comes that no engine sent.
    pub fn inject(&mut self, to: usize, link: LinkId, unit: &Unit) {
        let (head, body) = unit.encode();
        self.feed(to, Input::Unit { link, unit: [head, body].concat().into() });
    }

    pub fn feed(&mut self, at: usize, input: Input) {
        let now = self.now();
        self.nodes[at].engine.handle(now, input);
        while let Some(output) = self.nodes[at].engine.poll() {
            self.obey(at, output);
        }
    }

    fn obey(&mut self, at: usize, output: Output) {
        let life = self.nodes[at].life;
        let store = &mut self.nodes[at].store;
        match output {
            Output::Send { link, head, body } => {
                self.transmit(link, [head, body].concat().into());
            }
            Output::Close { link, why } => {
                self.nodes[at].ended.push(why);
                let end_ms = self
                    .ways
                    .get(&link)
                    .map_or(0, |(way, wire)| way.busy_until_ms.max(self.now_ms) + wire.latency_ms);
                self.later(end_ms, Happening::Down(link));
            }
            Output::Flushed { link } => self.nodes[at].flushed.push(link),
            Output::Stage { transfer, .. } => {
                assert!(store.staged.insert(transfer, vec![]).is_none());
            }
            Output::Append { transfer, bytes } => {
                if let Some(staged) = store.staged.get_mut(&transfer) {
                    staged.extend_from_slice(&bytes);
                }
            }
            Output::ReadStaged { ticket, transfer, at: from, bytes } => {
                let from = usize::try_from(from).unwrap();
                let piece = store.staged.get(&transfer).map(|staged| {
                    let piece = staged.get(from..from + bytes).expect("what was appended");
                    Bytes::copy_from_slice(piece)
                });
                let input = Input::Done { ticket, answer: Answer::Read(piece) };
                let delay = self.chance.below(self.answer_ms + 1);
                self.later(self.now_ms + delay, Happening::Worked(at, life, input));
            }
            Output::Drop { transfer } => {
                store.staged.remove(&transfer);
            }
            Output::Remember { peer, mine, theirs } => {
                let cursor = store.cursors.entry(peer).or_default();
                cursor.0 = mine.or(cursor.0);
                cursor.1 = theirs.or(cursor.1);
            }
            Output::Carried { id, peer } => {
                // No tick without a durable copy at whoever settled it.
                let there = (1..).find(|n| node(*n) == peer).unwrap();
                assert!(self.nodes[usize::from(there) - 1].store.has(&id), "settled before kept");
                self.nodes[at].carried.push((id, peer));
            }
            Output::Meet { node, at: seen, .. } => self.nodes[at].meetings.push((node, seen)),
            Output::Raise { id, level } => store.raise(&id, level),
            Output::Met { node, meeting } => self.nodes[at].met.push((node, meeting)),
            Output::Event(event) => self.nodes[at].events.push(event),
            Output::Cast { network, id } => {
                self.casts.push((at, id));
                self.later(self.now_ms + 1, Happening::Cast(at, network, id));
            }
            Output::Haves { network, said } => {
                self.haves.push(said.len());
                self.later(self.now_ms + 1, Happening::Haves(at, network, said.into()));
            }
            Output::Since { ticket, .. }
            | Output::Page { ticket, .. }
            | Output::Toward { ticket, .. }
            | Output::Look { ticket, .. }
            | Output::Load { ticket, .. }
            | Output::Read { ticket, .. }
            | Output::TakeReceipts { ticket, .. }
            | Output::ReceiptsSince { ticket, .. } => {
                let delay = self.chance.below(self.answer_ms + 1);
                self.later(self.now_ms + delay, Happening::Answer(at, life, output, ticket));
            }
            Output::Sketch { ticket, work } => {
                let delay = self.chance.below(self.answer_ms + 1);
                let answer = Answer::Sketched(Box::new(work.run()));
                let input = Input::Done { ticket, answer };
                self.later(self.now_ms + delay, Happening::Worked(at, life, input));
            }
            Output::Change { ticket, id, hop } => {
                let answer = Answer::Changed(store.change(&id, hop));
                let delay = self.commit_ms + self.chance.below(self.answer_ms + 1);
                let input = Input::Done { ticket, answer };
                self.later(self.now_ms + delay, Happening::Worked(at, life, input));
            }
            Output::Keep { ticket, .. } => {
                let delay = self.commit_ms + self.chance.below(self.answer_ms + 1);
                self.later(self.now_ms + delay, Happening::Answer(at, life, output, ticket));
            }
        }
    }

    fn transmit(&mut self, link: LinkId, unit: Bytes) {
        let now_ms = self.now_ms;
        let Some((way, wire)) = self.ways.get_mut(&link) else { return };
        let mut unit = unit;
        if let Some((from, to, which, at, bit)) = self.spoil
            && (way.from, way.to, way.units.len()) == (from, to, which)
        {
            let mut bytes = unit.to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            unit = bytes.into();
        }
        let bytes = unit.len() + length_prefix(unit.len()).len();
        way.bytes += bytes as u64;
        way.units.push((now_ms, Unit::name(&unit).unwrap_or("?"), unit.len()));
        if self.muted.contains(&link) {
            return;
        }
        let took_ms = bytes as u64 * 8000 / wire.rate_bps;
        let start_ms = way.busy_until_ms.max(now_ms);
        way.busy_until_ms = start_ms + took_ms;
        if unit[0] == 4 {
            way.body_bytes += unit.len().saturating_sub(5) as u64;
        }
        way.under_way.retain(|(_, end, _)| end + wire.latency_ms > now_ms);
        way.under_way.push_back((start_ms, start_ms + took_ms, unit.clone()));
        let (sent, there) = (way.busy_until_ms, way.busy_until_ms + wire.latency_ms);
        let (from, to, to_link) = (way.from, way.to, way.to_link);
        self.later(sent, Happening::Room(from, link, unit.len() as u64));
        self.later(there, Happening::Unit(to, to_link, unit));
    }

    fn later(&mut self, at_ms: u64, happening: Happening) {
        self.next += 1;
        self.queue.push(Reverse((at_ms, self.next)));
        self.happenings.insert(self.next, happening);
    }

    /// All bytes that went from one node to another, framing included.
    pub fn bytes(&self, from: usize, to: usize) -> u64 {
        let ways = self.ways.values().map(|(way, _)| way).chain(&self.past);
        ways.filter(|way| (way.from, way.to) == (from, to)).map(|way| way.bytes).sum()
    }

    pub fn units(&self, from: usize, to: usize) -> Vec<(u64, &'static str, usize)> {
        let ways = self.past.iter().chain(self.ways.values().map(|(way, _)| way));
        let ways = ways.filter(|way| (way.from, way.to) == (from, to));
        ways.flat_map(|way| way.units.iter().copied()).collect()
    }

    pub fn has(&self, at: usize, made: &Made) -> bool {
        self.nodes[at].store.get(&made.id).is_some_and(|stored| stored.body == made.body)
    }
}

/// Where a node is seen.
fn address(at: usize) -> SocketAddr {
    format!("198.51.100.{}:4000{}", at + 1, at + 1).parse().unwrap()
}

pub fn engine(n: u8) -> Engine {
    engine_of(n, Store::new(n).instance)
}

pub fn engine_of(n: u8, instance: Instance) -> Engine {
    engine_with(n, instance, Policy::default())
}

/// With what it allows.
pub fn engine_with(n: u8, instance: Instance, policy: Policy) -> Engine {
    let local = Local { node: node(n), tag_keys: vec![], instance, policy };
    Engine::new(local, Box::new(Flood::new(node(n), vec![])))
}

/// SplitMix64: one seed decides all.
#[derive(Clone, Copy, Debug)]
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        if n <= 1 { 0 } else { self.next() % n }
    }
}
