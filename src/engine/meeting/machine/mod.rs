//! The machine: beacons and links in, beacons and dials out.
//!
//! Here is what comes in and when what is due: interfaces, beacons, the clock. Which links stay is
//! in `links`; whom to dial, and when it is its turn, in `dials`.

mod dials;
mod links;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    net::Ipv6Addr,
};

use postrider_base::{NodeId, NodeSecret};

use super::{
    beacon::{Beacon, ContactKey, Head},
    chance::{Chance, Rate},
    contract::{Input, InterfaceId, Known, Local, Output, Place},
    limits::{
        CONTACTS_MAX, DIALS_BURST, DIALS_PER_S, FRESH_MS, INTERFACES_MAX, NEWS_PLAN_MS,
        NONCE_LIFE_MS, RESTART_MS, WANTED_MAX,
    },
    neighbours::{Neighbour, News, Resolved, Spot},
    segment::Segment,
    sessions::Sessions,
};
use crate::node::LinkId;

/// Finds neighbours and decides whom to dial, on all local interfaces. Values in, values out: after
/// each input take outputs until there are none, and come back when `poll_timeout` says.
pub struct Meeting {
    local: Local,
    contacts: Vec<(NodeId, ContactKey)>,
    blocked: BTreeSet<NodeId>,
    wanted: Vec<NodeId>,
    chance: Chance,
    nonce: [u8; 8],
    guest: NodeId,
    guest_before: Option<NodeId>,
    rotate_ms: u64,
    segments: BTreeMap<InterfaceId, Segment>,
    /// The last address of every interface that was up.
    addresses: BTreeMap<InterfaceId, Ipv6Addr>,
    sessions: Sessions,
    dials: Rate,
    /// Something has changed that the plan depends on.
    changed: bool,
    /// When the plan has to be made again even if nothing changes.
    replan_ms: u64,
    outputs: VecDeque<Output>,
}

impl Meeting {
    /// Begins. `seed` is random: guest keys are drawn from it.
    pub fn new(local: Local, seed: [u8; 32], now_ms: u64) -> Self {
        let mut meeting = Self {
            guest: local.node,
            local,
            contacts: Vec::new(),
            blocked: BTreeSet::new(),
            wanted: Vec::new(),
            chance: Chance::new(seed),
            nonce: [0; 8],
            guest_before: None,
            rotate_ms: now_ms,
            segments: BTreeMap::new(),
            addresses: BTreeMap::new(),
            sessions: Sessions::default(),
            dials: Rate::new(DIALS_BURST, DIALS_PER_S),
            changed: false,
            replan_ms: u64::MAX,
            outputs: VecDeque::new(),
        };
        meeting.rotate(now_ms);
        meeting.guest_before = None;
        meeting
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now_ms: u64, input: Input<'_>) {
        match input {
            Input::InterfaceUp { interface, address, priority, beacons } => {
                self.interface_up(now_ms, interface, address, priority, beacons);
            }
            Input::InterfaceDown { interface } => self.interface_down(interface),
            Input::Heard { interface, from, datagram } => {
                self.heard(now_ms, interface, from, datagram);
            }
            Input::LinkUp { link, node, guest, came } => {
                self.link_up(now_ms, link, node, guest, came);
            }
            Input::LinkDown { link } => self.link_down(now_ms, link),
            Input::DialFailed { at } => {
                if let Some(neighbour) = self.neighbour(at) {
                    neighbour.dialling = false;
                    self.failed(now_ms, at.interface, (at.address, at.port));
                }
            }
            Input::Known(known) => self.know(known),
            Input::Wanted(mut wanted) => {
                wanted.truncate(WANTED_MAX);
                self.changed |= wanted != self.wanted;
                self.wanted = wanted;
            }
            Input::Timeout => {}
        }
        self.settle(now_ms);
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due.
    pub fn poll_timeout(&self) -> u64 {
        let beacons = self.segments.values().map(Segment::next_ms).min();
        beacons.unwrap_or(u64::MAX).min(self.replan_ms).min(self.rotate_ms)
    }

    /// Links on an interface that count against its cap.
    pub fn sessions(&self, interface: InterfaceId) -> usize {
        self.sessions.on(interface).count()
    }

    /// Who is heard on an interface at the moment: where, and who it is if that is known.
    pub fn heard_on(
        &self,
        interface: InterfaceId,
    ) -> impl Iterator<Item = (Place, Option<NodeId>)> {
        let neighbours = self.segments.get(&interface).map(|segment| segment.neighbours.iter());
        neighbours.into_iter().flatten().map(move |((address, port), neighbour)| {
            (Place { interface, address: *address, port: *port }, neighbour.known)
        })
    }

    fn interface_up(
        &mut self,
        now_ms: u64,
        interface: InterfaceId,
        address: Ipv6Addr,
        priority: u8,
        beacons: bool,
    ) {
        if let Some(segment) = self.segments.get_mut(&interface) {
            if segment.address == address {
                (segment.priority, segment.beacons) = (priority, beacons);
                return;
            }
            self.interface_down(interface);
        }
        if self.segments.len() >= INTERFACES_MAX {
            return;
        }
        if self.addresses.len() >= INTERFACES_MAX {
            self.addresses.retain(|interface, _| self.segments.contains_key(interface));
        }
        let before = self.addresses.insert(interface, address);
        if before.is_some_and(|before| before != address) {
            // A new address should not carry the marks of the old one.
            self.rotate(now_ms);
        }
        self.segments.insert(interface, Segment::new(address, priority, beacons, now_ms));
        self.changed = true;
    }

    fn interface_down(&mut self, interface: InterfaceId) {
        if self.segments.remove(&interface).is_none() {
            return;
        }
        let gone: Vec<LinkId> = self.sessions.on(interface).map(|(link, _)| *link).collect();
        gone.into_iter().for_each(|link| self.close(link));
        self.changed = true;
    }

    fn heard(&mut self, now_ms: u64, interface: InterfaceId, from: Ipv6Addr, datagram: &[u8]) {
        let Some(segment) = self.segments.get_mut(&interface) else { return };
        if segment.neighbours.repeat(from, datagram, now_ms) || !segment.news.take(now_ms, 0) {
            return;
        }
        let Ok(beacon) = Beacon::decode(datagram) else { return };
        let resolved = self.resolve(from, &beacon);
        let known = match resolved {
            Resolved::Known(node) => Some(node),
            Resolved::Nobody => None,
            Resolved::Ignore => return,
        };
        let (spot, guest, fresh) = ((from, beacon.head.port), beacon.head.guest, beacon.head.fresh);
        let Some(segment) = self.segments.get_mut(&interface) else { return };
        let sessions = &self.sessions;
        let keep = |spot: &Spot, neighbour: &Neighbour| {
            neighbour.dialling || sessions.reach(interface, spot, neighbour, false)
        };
        let news = segment.neighbours.hear(from, beacon, known, now_ms, keep);
        if matches!(news, News::New | News::Restarted) {
            segment.answer(now_ms, &mut self.chance);
        }
        for session in self.sessions.0.values_mut().filter(|s| s.interface == interface) {
            // A link may come before the beacon that says whose it is.
            let whose = session.node == guest || Some(session.node) == known;
            if session.spot.is_none() && session.from == from && whose {
                session.spot = Some(spot);
            }
            let before_ms = match news {
                News::Restarted => RESTART_MS,
                News::New if fresh => FRESH_MS + RESTART_MS,
                _ => continue,
            };
            session.stale |= session.spot == Some(spot) && now_ms >= session.up_ms + before_ms;
        }
        if news != News::None {
            self.replan_ms = self.replan_ms.min(now_ms + NEWS_PLAN_MS);
        }
    }

    fn resolve(&self, from: Ipv6Addr, beacon: &Beacon) -> Resolved {
        let guest = beacon.head.guest;
        if guest == self.guest || Some(guest) == self.guest_before {
            return Resolved::Ignore;
        }
        let contact = beacon.contact(from, &self.contacts);
        match contact.or_else(|| beacon.member(from, &self.local.groups)) {
            Some(node) if node == self.local.node || self.blocked.contains(&node) => {
                Resolved::Ignore
            }
            Some(node) => Resolved::Known(node),
            None => Resolved::Nobody,
        }
    }

    fn know(&mut self, known: Known) {
        let keys = known.contacts.iter().take(CONTACTS_MAX);
        self.contacts = keys.map(|(node, key)| (*node, ContactKey::of(key))).collect();
        self.blocked = known.blocked.into_iter().collect();
        let mut segments = std::mem::take(&mut self.segments);
        for segment in segments.values_mut() {
            segment.neighbours.resolve_again(|from, beacon| self.resolve(from, beacon));
        }
        self.segments = segments;
        self.changed = true;
    }

    fn neighbour(&mut self, at: Place) -> Option<&mut Neighbour> {
        self.segments.get_mut(&at.interface)?.neighbours.get_mut(&(at.address, at.port))
    }

    /// Takes a new guest key and a new nonce.
    fn rotate(&mut self, now_ms: u64) {
        let guest = NodeSecret::from_seed(self.chance.bytes());
        self.guest_before = Some(self.guest);
        self.guest = guest.id();
        self.nonce = self.chance.bytes();
        // Not all nodes that came up together at once.
        self.rotate_ms = now_ms + NONCE_LIFE_MS - self.chance.up_to(NONCE_LIFE_MS / 8);
        self.outputs.push_back(Output::Guest(guest));
        self.segments.values_mut().for_each(|segment| segment.announce(now_ms));
        self.changed = true;
    }

    /// Does what time and the input have made due.
    fn settle(&mut self, now_ms: u64) {
        if self.rotate_ms <= now_ms {
            self.rotate(now_ms);
        }
        self.send_beacons(now_ms);
        if self.changed || self.replan_ms <= now_ms {
            self.changed = false;
            self.replan_ms = u64::MAX;
            for segment in self.segments.values_mut() {
                let (_, next_ms) = segment.neighbours.expire(now_ms);
                self.replan_ms = self.replan_ms.min(next_ms);
            }
            self.dial(now_ms);
        }
    }

    fn send_beacons(&mut self, now_ms: u64) {
        for (interface, segment) in &mut self.segments {
            if !segment.due(now_ms, &mut self.chance) {
                continue;
            }
            let fresh = segment.fresh(now_ms);
            if segment.beacon.as_ref().is_none_or(|beacon| beacon.head.fresh != fresh) {
                let head = Head {
                    carrier: self.local.carrier,
                    fresh,
                    nonce: self.nonce,
                    port: self.local.port,
                    guest: self.guest,
                };
                let (node, key, groups) = (&self.local.node, &self.local.key, &self.local.groups);
                let filler = self.chance.bytes();
                let beacon = Beacon::new(head, segment.address, node, key, groups, &filler);
                segment.beacon = Some(beacon);
            }
            let datagram = segment.beacon.as_ref().map(|beacon| Box::new(*beacon.as_bytes()));
            let beacon =
                datagram.map(|datagram| Output::SendBeacon { interface: *interface, datagram });
            self.outputs.extend(beacon);
        }
    }
}

impl fmt::Debug for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meeting")
            .field("segments", &self.segments)
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}
