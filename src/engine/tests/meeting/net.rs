//! Nodes on one Ethernet segment, in virtual time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    net::Ipv6Addr,
};

use postrider_base::{NodeId, NodeSecret};
use postrider_engine::{
    meeting::{
        Came, Input, InterfaceId, Known, Local, Meeting, Output, Place, Role,
        beacon::{ContactKey, GroupKey},
    },
    node::LinkId,
};

pub const LAN: InterfaceId = InterfaceId(2);
const PORT: u16 = 7531;
/// From one end of the segment to the other.
const WAY_MS: u64 = 1;
/// Until a dial to somebody who is there is a link at both ends.
const DIAL_MS: u64 = 5;
/// Until neighbour discovery gives up.
const NOBODY_MS: u64 = 3_000;

/// What a node is like.
#[derive(Clone, Default)]
pub struct Spec {
    pub carrier: bool,
    /// Whose cards it has.
    pub knows: Vec<usize>,
    pub blocks: Vec<usize>,
    pub groups: Vec<[u8; 32]>,
}

pub struct Node {
    pub meeting: Meeting,
    pub id: NodeId,
    spec: Spec,
    up: bool,
    guests: Vec<NodeId>,
    links: BTreeSet<LinkId>,
    pub beacons: Vec<(u64, Vec<u8>)>,
    pub dials: Vec<(u64, Place, Role)>,
    pub most_sessions: usize,
}

#[derive(Debug)]
enum Event {
    Wake(usize),
    Beacon { to: usize, from: Ipv6Addr, bytes: Vec<u8> },
    Arrive { from: usize, at: Place, expect: NodeId, role: Role },
    Nobody { from: usize, at: Place },
    Down { at: usize, link: LinkId },
}

/// The segment.
pub struct Net {
    pub now_ms: u64,
    pub nodes: Vec<Node>,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    waiting: BTreeMap<u64, Event>,
    number: u64,
    /// Who dialled, who was dialled.
    pub links: BTreeMap<LinkId, (usize, usize)>,
    /// Every link there ever was: when, who dialled, who was dialled.
    pub history: Vec<(u64, usize, usize)>,
    /// Loses one beacon in so many.
    pub loses: Option<u64>,
    /// Decides which.
    pub chance: u64,
}

pub fn secret(n: usize) -> NodeSecret {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(n as u64).to_be_bytes());
    NodeSecret::from_seed(seed)
}

pub fn address(n: usize) -> Ipv6Addr {
    Ipv6Addr::from((0xfe80_u128 << 112) | (n as u128 + 1))
}

fn known(spec: &Spec) -> Known {
    let contact = |n: &usize| (secret(*n).id(), secret(*n).first_seal_key().public());
    Known {
        contacts: spec.knows.iter().map(contact).collect(),
        blocked: spec.blocks.iter().map(|n| secret(*n).id()).collect(),
    }
}

fn meeting(n: usize, spec: &Spec, now_ms: u64) -> Meeting {
    let secret = secret(n);
    let local = Local {
        node: secret.id(),
        key: ContactKey::of(&secret.first_seal_key().public()),
        groups: spec.groups.iter().map(GroupKey::of).collect(),
        port: PORT,
        carrier: spec.carrier,
    };
    let mut seed = *secret.seed();
    seed[31] ^= now_ms.to_le_bytes()[0];
    seed[30] ^= now_ms.to_le_bytes()[1];
    let mut meeting = Meeting::new(local, seed, now_ms);
    meeting.handle(now_ms, Input::Known(known(spec)));
    meeting
}

impl Net {
    /// Nobody is up yet.
    pub fn new(specs: Vec<Spec>) -> Self {
        let nodes = specs.into_iter().enumerate().map(|(n, spec)| Node {
            meeting: meeting(n, &spec, 0),
            id: secret(n).id(),
            spec,
            up: false,
            guests: Vec::new(),
            links: BTreeSet::new(),
            beacons: Vec::new(),
            dials: Vec::new(),
            most_sessions: 0,
        });
        Self {
            now_ms: 1_000,
            nodes: nodes.collect(),
            events: BinaryHeap::new(),
            waiting: BTreeMap::new(),
            number: 0,
            links: BTreeMap::new(),
            history: Vec::new(),
            loses: None,
            chance: 1,
        }
    }

    /// The interface of `n` comes up.
    pub fn up(&mut self, n: usize) {
        self.nodes[n].up = true;
        let beacons = true;
        let up = Input::InterfaceUp { interface: LAN, address: address(n), priority: 1, beacons };
        self.handle(n, up);
    }

    /// The interface of `n` goes down, as it sees itself. Others notice nothing.
    pub fn down(&mut self, n: usize) {
        self.lose_links(n);
        self.handle(n, Input::InterfaceDown { interface: LAN });
    }

    /// The links of `n` are gone, and nobody at their other ends is told.
    fn lose_links(&mut self, n: usize) {
        self.nodes[n].up = false;
        for link in std::mem::take(&mut self.nodes[n].links) {
            self.links.remove(&link);
        }
    }

    /// `n` loses power and begins anew when it comes up. Others notice nothing.
    pub fn restart(&mut self, n: usize) {
        self.lose_links(n);
        self.nodes[n].meeting = meeting(n, &self.nodes[n].spec.clone(), self.now_ms);
    }

    /// `n` leaves and says so: its links end at both ends.
    pub fn leave(&mut self, n: usize) {
        for link in self.nodes[n].links.clone() {
            self.close(link);
        }
        self.down(n);
    }

    pub fn want(&mut self, n: usize, wanted: &[usize]) {
        let wanted = wanted.iter().map(|n| self.nodes[*n].id).collect();
        self.handle(n, Input::Wanted(wanted));
    }

    /// A datagram that nobody's machine made.
    pub fn forge(&mut self, to: usize, from: Ipv6Addr, bytes: &[u8]) {
        self.handle(to, Input::Heard { interface: LAN, from, datagram: bytes });
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

    pub fn linked(&self, a: usize, b: usize) -> bool {
        self.links.values().any(|ends| *ends == (a, b) || *ends == (b, a))
    }

    /// Whether everybody in `nodes` reaches everybody over links.
    pub fn connected(&self, nodes: &BTreeSet<usize>) -> bool {
        let Some(start) = nodes.first() else { return true };
        let (mut seen, mut open) = (BTreeSet::from([*start]), vec![*start]);
        while let Some(at) = open.pop() {
            for (a, b) in self.links.values() {
                for (from, to) in [(*a, *b), (*b, *a)] {
                    if from == at && seen.insert(to) {
                        open.push(to);
                    }
                }
            }
        }
        nodes.is_subset(&seen)
    }

    fn handle(&mut self, n: usize, input: Input<'_>) {
        let now_ms = self.now_ms;
        self.nodes[n].meeting.handle(now_ms, input);
        while let Some(output) = self.nodes[n].meeting.poll() {
            self.output(n, output);
        }
        let node = &mut self.nodes[n];
        node.most_sessions = node.most_sessions.max(node.meeting.sessions(LAN));
        let wake_ms = node.meeting.poll_timeout();
        if wake_ms < u64::MAX {
            self.later(wake_ms.max(now_ms), Event::Wake(n));
        }
    }

    fn output(&mut self, n: usize, output: Output) {
        let now_ms = self.now_ms;
        match output {
            Output::Guest(secret) => {
                self.nodes[n].guests.push(secret.id());
                let valid = self.nodes[n].guests.len().saturating_sub(2);
                self.nodes[n].guests.drain(..valid);
            }
            Output::SendBeacon { interface, datagram } => {
                assert_eq!(interface, LAN);
                self.nodes[n].beacons.push((now_ms, datagram.to_vec()));
                if !self.nodes[n].up {
                    return;
                }
                for to in (0..self.nodes.len()).filter(|to| *to != n) {
                    if self.nodes[to].up && !self.lost() {
                        let event =
                            Event::Beacon { to, from: address(n), bytes: datagram.to_vec() };
                        self.later(now_ms + WAY_MS, event);
                    }
                }
            }
            Output::Dial { at, expect, role } => {
                self.nodes[n].dials.push((now_ms, at, role));
                self.later(now_ms + DIAL_MS, Event::Arrive { from: n, at, expect, role });
            }
            Output::Close { link } => self.close(link),
        }
    }

    fn close(&mut self, link: LinkId) {
        let Some((a, b)) = self.links.remove(&link) else { return };
        for at in [a, b] {
            self.nodes[at].links.remove(&link);
            self.later(self.now_ms + WAY_MS, Event::Down { at, link });
        }
    }

    fn obey(&mut self, event: Event) {
        match event {
            Event::Wake(n) => {
                // Others may have been due earlier and have done it.
                if self.nodes[n].meeting.poll_timeout() <= self.now_ms {
                    self.handle(n, Input::Timeout);
                }
            }
            Event::Beacon { to, from, bytes } => {
                if self.nodes[to].up {
                    let heard = Input::Heard { interface: LAN, from, datagram: &bytes };
                    self.handle(to, heard);
                }
            }
            Event::Arrive { from, at, expect, role } => self.arrive(from, at, expect, role),
            Event::Nobody { from, at } => self.handle(from, Input::DialFailed { at }),
            Event::Down { at, link } => self.handle(at, Input::LinkDown { link }),
        }
    }

    fn arrive(&mut self, from: usize, at: Place, expect: NodeId, role: Role) {
        let to = (0..self.nodes.len()).find(|to| address(*to) == at.address);
        let to = to.filter(|to| self.nodes[*to].up && self.nodes[from].up);
        let Some(to) = to else {
            return self.later(self.now_ms + NOBODY_MS, Event::Nobody { from, at });
        };
        let there = match role {
            Role::Known => self.nodes[to].id == expect,
            Role::Guest => self.nodes[to].guests.contains(&expect) && self.nodes[to].spec.carrier,
        };
        let blocked = role == Role::Known && self.nodes[to].spec.blocks.contains(&from);
        if !there || blocked {
            return self.handle(from, Input::DialFailed { at });
        }
        let link = LinkId(self.number);
        self.number += 1;
        self.links.insert(link, (from, to));
        self.history.push((self.now_ms, from, to));
        self.nodes[from].links.insert(link);
        self.nodes[to].links.insert(link);
        let guest = role == Role::Guest;
        let shown =
            if guest { *self.nodes[from].guests.last().unwrap() } else { self.nodes[from].id };
        let dialled = Came::Dialled(at);
        self.handle(from, Input::LinkUp { link, node: expect, guest, came: dialled });
        let came = Came::Accepted { interface: LAN, from: address(from) };
        // It may have been closed at once.
        self.handle(to, Input::LinkUp { link, node: shown, guest, came });
    }

    fn later(&mut self, at_ms: u64, event: Event) {
        self.number += 1;
        self.waiting.insert(self.number, event);
        self.events.push(Reverse((at_ms, self.number)));
    }

    fn lost(&mut self) -> bool {
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.loses.is_some_and(|one_in| (self.chance >> 33).is_multiple_of(one_in))
    }
}
