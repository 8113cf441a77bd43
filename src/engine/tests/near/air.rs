//! Nodes with a Bluetooth adapter each, in virtual time.
//!
//! What real ones do and this does too: an advert is said once a second and heard by nine in ten of
//! those who listen; connecting waits for two adverts of the other end and is given up after a
//! while; a link out of range breaks after a supervision time-out; whoever is connected with stops saying
//! what it said; every change of what is said comes with another address. What may differ between controllers is drawn or set: whether one that dials
//! can be dialled at the same time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use postrider_base::{NodeId, NodeSecret};
use postrider_engine::{
    near::{
        AdapterId, AddressKind, Came, End, Input, Known, Local, Near, Output, Place, Profile,
        advert::{NearKey, Said},
    },
    node::LinkId,
};

pub const HCI: AdapterId = AdapterId(0);
const CHANNEL: u8 = 0x81;
/// From one advert to the next, and up to so much later.
const ADVERT_MS: u64 = 1_000;
const ADVERT_JITTER_MS: u64 = 10;
/// Nine in ten adverts are heard.
const LOST_ONE_IN: u64 = 10;
/// A dial is given up.
const DIAL_MS: u64 = 6_000;
/// Nobody takes links on that channel.
const REFUSED_MS: u64 = 700;
/// After somebody connected a controller says nothing any more, which is told after this.
const SILENCED_MS: u64 = 500;
/// From when they are connected until bytes can go, unless it is set, and up to so much later: features, a
/// channel, hellos, and BlueZ looking at services on the same connection. A second was seen.
const CHANNEL_MS: u64 = 200;
const CHANNEL_JITTER_MS: u64 = 1_000;
/// A link out of range is gone after this, and up to so much later.
const SUPERVISION_MS: u64 = 6_000;

/// What a node is like.
#[derive(Clone, Default)]
pub struct Spec {
    pub profile: Profile,
    /// Whose cards it has.
    pub knows: Vec<usize>,
    pub blocks: Vec<usize>,
    /// How long it has something to say on every link.
    pub talks_ms: u64,
}

pub struct Node {
    pub near: Near,
    pub id: NodeId,
    spec: Spec,
    up: bool,
    pub said: Option<Said>,
    pub place: Place,
    pub listening: bool,
    pub listened_ms: u64,
    listen_ms: u64,
    advert: u64,
    pub dialling: bool,
    /// When, where to, whom.
    pub dials: Vec<(u64, Place, NodeId)>,
    pub most_links: usize,
    pub links: BTreeSet<LinkId>,
    wanted: Vec<usize>,
    /// All that it said, and from where.
    pub sayings: Vec<(u64, Said, Place)>,
}

#[derive(Debug)]
enum Event {
    Wake(usize),
    Advert {
        from: usize,
        number: u64,
    },
    /// A dial that began then looks whether it can be a link.
    Try {
        from: usize,
        to: Place,
        channel: u8,
        begun_ms: u64,
    },
    /// A dial is connected, and the channel is there.
    Open {
        from: usize,
        other: usize,
        to: Place,
    },
    Fail {
        from: usize,
        to: Place,
    },
    Prove {
        link: LinkId,
        at: usize,
    },
    Talk {
        link: LinkId,
        until_ms: u64,
    },
    Mail {
        link: LinkId,
    },
    Served {
        link: LinkId,
    },
    Down {
        at: usize,
        link: LinkId,
        end: End,
    },
    Break {
        link: LinkId,
    },
    Silenced(usize),
}

/// The room.
pub struct Air {
    pub now_ms: u64,
    pub nodes: Vec<Node>,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    waiting: BTreeMap<u64, Event>,
    number: u64,
    chance: u64,
    /// Who dialled, who was dialled.
    pub links: BTreeMap<LinkId, (usize, usize)>,
    /// Links that were proven at both ends: when, who dialled, who was dialled.
    pub history: Vec<(u64, usize, usize)>,
    proven: BTreeMap<LinkId, usize>,
    /// Since when both ends of a link talk.
    talking: BTreeMap<LinkId, u64>,
    /// How often a pair had enough time together, and for how long in all.
    pub served: BTreeMap<(usize, usize), (usize, u64)>,
    /// Who is out of range of everybody.
    pub away: BTreeSet<usize>,
    /// Whoever dials cannot be dialled meanwhile.
    pub exclusive: bool,
    /// How long a channel takes, at least.
    pub channel_ms: u64,
}

pub fn secret(n: usize) -> NodeSecret {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(n as u64).to_be_bytes());
    NodeSecret::from_seed(seed)
}

pub fn card(n: usize) -> (NodeId, NearKey) {
    (secret(n).id(), NearKey::of_contact(&secret(n).first_seal_key().public()))
}

pub fn place(n: u64) -> Place {
    let bytes = n.to_be_bytes();
    let mut address = [0xc0; 6];
    address[1..].copy_from_slice(&bytes[3..]);
    Place { address, kind: AddressKind::Random }
}

impl Air {
    /// Nobody is up yet.
    pub fn new(specs: Vec<Spec>, seed: u64) -> Self {
        let mut air = Self {
            now_ms: 1_000,
            nodes: Vec::new(),
            events: BinaryHeap::new(),
            waiting: BTreeMap::new(),
            number: 0,
            chance: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            links: BTreeMap::new(),
            history: Vec::new(),
            proven: BTreeMap::new(),
            talking: BTreeMap::new(),
            served: BTreeMap::new(),
            away: BTreeSet::new(),
            exclusive: seed % 2 == 1,
            channel_ms: CHANNEL_MS,
        };
        for (n, spec) in specs.into_iter().enumerate() {
            let id = card(n).0;
            let near = air.machine(n, &spec);
            air.nodes.push(Node {
                near,
                id,
                spec,
                up: false,
                said: None,
                place: place(0),
                listening: false,
                listened_ms: 0,
                listen_ms: 0,
                advert: 0,
                dialling: false,
                dials: Vec::new(),
                most_links: 0,
                links: BTreeSet::new(),
                wanted: Vec::new(),
                sayings: Vec::new(),
            });
        }
        air
    }

    fn machine(&mut self, n: usize, spec: &Spec) -> Near {
        let (node, key) = card(n);
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.below(u64::MAX).to_be_bytes());
        let mut near = Near::new(Local { node, key }, seed, self.now_ms);
        let known = Known {
            keys: spec.knows.iter().map(|n| card(*n)).collect(),
            blocked: spec.blocks.iter().map(|n| card(*n).0).collect(),
        };
        near.handle(self.now_ms, Input::Profile(spec.profile));
        near.handle(self.now_ms, Input::Known(known));
        near
    }

    pub fn up(&mut self, n: usize) {
        self.nodes[n].up = true;
        self.handle(n, Input::AdapterUp { adapter: HCI, channel: Some(CHANNEL) });
    }

    pub fn down(&mut self, n: usize) {
        self.handle(n, Input::AdapterDown { adapter: HCI });
        let node = &mut self.nodes[n];
        (node.up, node.said, node.listening, node.dialling) = (false, None, false, false);
        node.advert += 1;
    }

    /// `n` loses power and begins anew when it comes up. Others find out.
    pub fn restart(&mut self, n: usize) {
        let spec = self.nodes[n].spec.clone();
        self.nodes[n].near = self.machine(n, &spec);
        let links: Vec<LinkId> = self.nodes[n].links.iter().copied().collect();
        links.into_iter().for_each(|link| self.later(SUPERVISION_MS, Event::Break { link }));
        let node = &mut self.nodes[n];
        (node.up, node.said, node.listening, node.dialling) = (false, None, false, false);
        node.advert += 1;
    }

    pub fn profile(&mut self, n: usize, profile: Profile) {
        self.handle(n, Input::Profile(profile));
    }

    pub fn elsewhere(&mut self, n: usize, nodes: &[usize]) {
        let nodes = nodes.iter().map(|n| self.nodes[*n].id).collect();
        self.handle(n, Input::Elsewhere(nodes));
    }

    /// Mail for these; it goes within a second of a link to each.
    pub fn mail(&mut self, n: usize, to: &[usize]) {
        self.nodes[n].wanted = to.to_vec();
        let wanted = to.iter().map(|n| card(*n).0).collect();
        self.handle(n, Input::Wanted(wanted));
    }

    pub fn has_mail(&self, n: usize) -> bool {
        !self.nodes[n].wanted.is_empty()
    }

    /// Words that come from nobody's machine, if `n` listens.
    pub fn forge(&mut self, n: usize, from: Place, said: Said, strength_dbm: Option<i16>) {
        if self.nodes[n].listening {
            self.handle(n, Input::Heard { adapter: HCI, from, said, strength_dbm });
        }
    }

    /// Somebody, be it a stranger, is connected with `n`.
    pub fn connect(&mut self, n: usize) {
        self.later(SILENCED_MS, Event::Silenced(n));
        self.handle(n, Input::Connected { adapter: HCI });
    }

    /// A stranger opens a link to `n` and says nothing.
    pub fn knock(&mut self, n: usize, from: Place) -> LinkId {
        self.number += 1;
        let link = LinkId(self.number);
        self.nodes[n].links.insert(link);
        self.handle(n, Input::LinkUp { link, adapter: HCI, from, came: Came::Accepted });
        link
    }

    pub fn leave(&mut self, n: usize) {
        self.away.insert(n);
        let links: Vec<LinkId> = self.nodes[n].links.iter().copied().collect();
        links.into_iter().for_each(|link| self.later(SUPERVISION_MS, Event::Break { link }));
    }

    pub fn come_back(&mut self, n: usize) {
        self.away.remove(&n);
    }

    pub fn run(&mut self, for_ms: u64) {
        let end = self.now_ms + for_ms;
        while let Some(Reverse((at, number))) = self.events.peek().copied()
            && at <= end
        {
            self.events.pop();
            self.now_ms = at;
            let event = self.waiting.remove(&number).unwrap();
            self.obey(event);
        }
        self.now_ms = end;
    }

    /// Runs until `done`, at most `most_ms`; how long it took.
    pub fn until(&mut self, most_ms: u64, done: impl Fn(&Self) -> bool) -> Option<u64> {
        let start = self.now_ms;
        while !done(self) {
            let Reverse((at, _)) = *self.events.peek()?;
            if at > start + most_ms {
                return None;
            }
            self.run(at - self.now_ms);
        }
        Some(self.now_ms - start)
    }

    /// Whether there is a link between them that both know is theirs.
    pub fn linked(&self, a: usize, b: usize) -> bool {
        let between = |ends: &(usize, usize)| *ends == (a, b) || *ends == (b, a);
        self.links.iter().any(|(link, ends)| between(ends) && self.proven.get(link) == Some(&2))
    }

    /// How often a pair had time for all that it has to say, or a few seconds of it.
    pub fn meetings(&self, a: usize, b: usize) -> usize {
        self.served.get(&(a.min(b), a.max(b))).map_or(0, |served| served.0)
    }

    /// For how long a pair was linked, in seconds.
    pub fn together_s(&self, a: usize, b: usize) -> u64 {
        let between = |link: &LinkId| {
            let ends = self.links.get(link);
            ends.is_some_and(|ends| *ends == (a, b) || *ends == (b, a))
        };
        let open = self.talking.iter().filter(|(link, _)| between(link));
        let open: u64 = open.map(|(_, since)| self.now_ms - since).sum();
        let past = self.served.get(&(a.min(b), a.max(b))).map_or(0, |served| served.1);
        (open + past) / 1_000
    }

    /// A link is over.
    fn cut(&mut self, link: LinkId) -> Option<(usize, usize)> {
        let ends = self.links.remove(&link)?;
        if let Some(since) = self.talking.remove(&link) {
            self.served.entry((ends.0.min(ends.1), ends.0.max(ends.1))).or_default().1 +=
                self.now_ms - since;
        }
        Some(ends)
    }

    fn handle(&mut self, n: usize, input: Input) {
        let now_ms = self.now_ms;
        self.nodes[n].near.handle(now_ms, input);
        while let Some(output) = self.nodes[n].near.poll() {
            self.output(n, output);
        }
        let node = &mut self.nodes[n];
        node.most_links = node.most_links.max(node.near.links());
        let wake_ms = node.near.poll_timeout();
        if wake_ms < u64::MAX {
            self.later(wake_ms.saturating_sub(now_ms), Event::Wake(n));
        }
    }

    fn output(&mut self, n: usize, output: Output) {
        let now_ms = self.now_ms;
        match output {
            Output::Say { said, .. } => {
                let fresh = place(self.below(1 << 40));
                let node = &mut self.nodes[n];
                node.said = said;
                node.place = fresh;
                node.advert += 1;
                let number = node.advert;
                if let Some(said) = said {
                    node.sayings.push((now_ms, said, fresh));
                    let wait = self.below(ADVERT_MS);
                    self.later(wait, Event::Advert { from: n, number });
                }
            }
            Output::Listen { on, .. } => {
                let node = &mut self.nodes[n];
                assert!(node.listening != on && !(on && node.dialling));
                if node.listening {
                    node.listened_ms += now_ms - node.listen_ms;
                }
                (node.listening, node.listen_ms) = (on, now_ms);
            }
            Output::Dial { to, channel, expect, .. } => {
                let node = &mut self.nodes[n];
                assert!(!node.dialling, "one dial at a time");
                assert!(!node.listening, "nobody listens and dials");
                node.dialling = true;
                node.dials.push((now_ms, to, expect));
                // One advert shows that the other is there, at the next one it is connected with.
                let wait = 100 + ADVERT_MS + self.below(ADVERT_MS + 200);
                let begun_ms = now_ms;
                self.later(wait, Event::Try { from: n, to, channel, begun_ms });
            }
            Output::Close { link } => self.close(n, link),
        }
    }

    fn close(&mut self, by: usize, link: LinkId) {
        self.nodes[by].links.remove(&link);
        self.later(1, Event::Down { at: by, link, end: End::Closed });
        if let Some((a, b)) = self.cut(link) {
            let other = if a == by { b } else { a };
            self.nodes[other].links.remove(&link);
            self.later(60, Event::Down { at: other, link, end: End::Closed });
        }
    }

    fn obey(&mut self, event: Event) {
        match event {
            Event::Wake(n) => {
                // Others may have been due earlier and have done it.
                if self.nodes[n].near.poll_timeout() <= self.now_ms {
                    self.handle(n, Input::Timeout);
                }
            }
            Event::Advert { from, number } => self.advert(from, number),
            Event::Try { from, to, channel, begun_ms } => self.attempt(from, to, channel, begun_ms),
            Event::Open { from, other, to } => self.open(from, other, to),
            Event::Fail { from, to } => {
                self.nodes[from].dialling = false;
                self.handle(from, Input::DialFailed { adapter: HCI, to });
            }
            Event::Prove { link, at } => self.prove(link, at),
            Event::Silenced(n) => {
                // Unless it was switched off meanwhile.
                if self.nodes[n].said.take().is_some() {
                    self.nodes[n].advert += 1;
                    self.handle(n, Input::Silenced { adapter: HCI });
                    assert!(self.nodes[n].said.is_some(), "it says something else");
                }
            }
            Event::Talk { link, until_ms } => {
                let Some((a, b)) = self.links.get(&link).copied() else { return };
                self.handle(a, Input::Moved { link });
                self.handle(b, Input::Moved { link });
                if self.now_ms < until_ms {
                    self.later(1_000, Event::Talk { link, until_ms });
                }
            }
            Event::Mail { link } => self.mail_moves(link),
            Event::Served { link } => {
                if let Some((a, b)) = self.links.get(&link) {
                    self.served.entry((*a.min(b), *a.max(b))).or_default().0 += 1;
                }
            }
            Event::Down { at, link, end } => self.handle(at, Input::LinkDown { link, end }),
            Event::Break { link } => {
                let Some((a, b)) = self.links.get(&link).copied() else { return };
                // Back in range in time.
                if self.nodes[a].up && self.nodes[b].up && self.reach(a, b) {
                    return;
                }
                self.cut(link);
                for at in [a, b] {
                    if self.nodes[at].links.remove(&link) {
                        let wait = self.below(500);
                        self.later(wait, Event::Down { at, link, end: End::Lost });
                    }
                }
            }
        }
    }

    fn reach(&self, a: usize, b: usize) -> bool {
        !self.away.contains(&a) && !self.away.contains(&b)
    }

    fn advert(&mut self, from: usize, number: u64) {
        let node = &self.nodes[from];
        let Some(said) = node.said.filter(|_| node.advert == number) else { return };
        let at = node.place;
        for to in 0..self.nodes.len() {
            let hears = to != from && self.nodes[to].listening && self.reach(from, to);
            if hears && self.below(LOST_ONE_IN) != 0 {
                let strength_dbm = i16::try_from(self.below(10)).ok().map(|noise| -70 + noise);
                self.handle(to, Input::Heard { adapter: HCI, from: at, said, strength_dbm });
            }
        }
        let wait = ADVERT_MS + self.below(ADVERT_JITTER_MS);
        self.later(wait, Event::Advert { from, number });
    }

    fn attempt(&mut self, from: usize, to: Place, channel: u8, begun_ms: u64) {
        if !self.nodes[from].up {
            return;
        }
        let there = (0..self.nodes.len()).find(|n| {
            let node = &self.nodes[*n];
            node.said.is_some() && node.place == to && self.reach(from, *n)
        });
        let free = there.filter(|n| !(self.exclusive && self.nodes[*n].dialling));
        let Some(other) = free else {
            if self.now_ms >= begun_ms + DIAL_MS {
                return self.later(0, Event::Fail { from, to });
            }
            let wait = 100 + self.below(500);
            return self.later(wait, Event::Try { from, to, channel, begun_ms });
        };
        if channel != CHANNEL {
            return self.later(REFUSED_MS, Event::Fail { from, to });
        }
        self.connect(from);
        self.connect(other);
        let wait = self.channel_ms + self.below(CHANNEL_JITTER_MS);
        self.later(wait, Event::Open { from, other, to });
    }

    fn open(&mut self, from: usize, other: usize, to: Place) {
        if !self.nodes[from].dialling {
            return;
        }
        if !self.nodes[other].up || !self.reach(from, other) {
            return self.later(0, Event::Fail { from, to });
        }
        self.number += 1;
        let link = LinkId(self.number);
        self.links.insert(link, (from, other));
        self.nodes[from].links.insert(link);
        self.nodes[other].links.insert(link);
        self.nodes[from].dialling = false;
        let seen = place(self.below(1 << 40));
        self.handle(from, Input::LinkUp { link, adapter: HCI, from: to, came: Came::Dialled });
        if self.nodes[other].links.contains(&link) {
            let came = Came::Accepted;
            self.handle(other, Input::LinkUp { link, adapter: HCI, from: seen, came });
        }
        let wait = 150 + self.below(400);
        self.later(wait, Event::Prove { link, at: from });
        let wait = wait + self.below(100);
        self.later(wait, Event::Prove { link, at: other });
    }

    fn prove(&mut self, link: LinkId, at: usize) {
        let Some((a, b)) = self.links.get(&link).copied() else { return };
        let other = if a == at { b } else { a };
        let ends = self.proven.entry(link).or_default();
        *ends += 1;
        if *ends == 2 {
            self.history.push((self.now_ms, a, b));
            let talks_ms = self.nodes[a].spec.talks_ms.max(self.nodes[b].spec.talks_ms);
            let until_ms = self.now_ms + talks_ms;
            self.later(300, Event::Talk { link, until_ms });
            self.later(500, Event::Mail { link });
            self.later(talks_ms.min(3_000), Event::Served { link });
            self.talking.insert(link, self.now_ms);
        }
        let node = self.nodes[other].id;
        self.handle(at, Input::Proven { link, node });
    }

    fn mail_moves(&mut self, link: LinkId) {
        let Some((a, b)) = self.links.get(&link).copied() else { return };
        for (from, to) in [(a, b), (b, a)] {
            let wanted: Vec<usize> =
                self.nodes[from].wanted.iter().copied().filter(|n| *n != to).collect();
            if wanted.len() < self.nodes[from].wanted.len() {
                self.mail(from, &wanted);
            }
        }
    }

    fn later(&mut self, wait_ms: u64, event: Event) {
        self.number += 1;
        self.waiting.insert(self.number, event);
        self.events.push(Reverse((self.now_ms + wait_ms, self.number)));
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance >> 11) % bound
    }
}
