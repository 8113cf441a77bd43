//! The machine: beacons and links in, beacons and dials out.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    net::Ipv6Addr,
};

use postrider_base::{NodeId, NodeSecret};

use super::{
    beacon::{Beacon, ContactKey, Head},
    chance::{Chance, Rate},
    contract::{Came, Input, InterfaceId, Known, Local, Output, Place, Role},
    limits::{
        CONTACTS_MAX, DIALS_BURST, DIALS_KEPT, DIALS_PER_S, FRESH_MS, FRESH_TURN_MS, HOLD_MS,
        INTERFACES_MAX, NEWS_PLAN_MS, NONCE_LIFE_MS, RESTART_MS, RETRY_MS, SESSIONS_MAX, SETTLE_MS,
        SHORT_MS, TURN_MS, WANTED_MAX, WANTED_TURN_MS,
    },
    neighbours::{Neighbour, News, Resolved, Spot},
    plan::{Want, Worth, plan},
    segment::Segment,
    sessions::{Session, Sessions},
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

/// A dial that is due.
struct Due {
    rank: (bool, Worth),
    interface: InterfaceId,
    spot: Spot,
    worth: Worth,
    expect: NodeId,
    role: Role,
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

    fn link_up(&mut self, now_ms: u64, link: LinkId, node: NodeId, guest: bool, came: Came) {
        let (interface, from) = match came {
            Came::Dialled(at) => (at.interface, at.address),
            Came::Accepted { interface, from } => (interface, from),
        };
        let Some(segment) = self.segments.get_mut(&interface) else { return };
        let spot = match came {
            Came::Dialled(at) => Some((at.address, at.port)),
            Came::Accepted { .. } => segment.neighbours.spot_of(from, &node),
        };
        if let Some(neighbour) = spot.and_then(|spot| segment.neighbours.get_mut(&spot)) {
            neighbour.dialling &= !matches!(came, Came::Dialled(_));
            (neighbour.failures, neighbour.retry_ms) = (0, 0);
        }
        let dialled = matches!(came, Came::Dialled(_));
        let stale = false;
        let new = Session { interface, from, spot, node, guest, dialled, up_ms: now_ms, stale };
        self.changed = true;
        let spare = spot.and_then(|spot| self.spare(now_ms, link, &new, spot));
        self.sessions.0.insert(link, new);
        if let Some(spare) = spare {
            self.close(spare);
        }
        if self.sessions(interface) > SESSIONS_MAX
            && let Some(least) = self.least(now_ms, interface)
        {
            self.close(least);
        }
    }

    /// Which of two links to one neighbour goes. Both ends choose alike: a link between the nodes
    /// themselves stays before one between guests, then the one that the end dialled whose turn it
    /// was; of two equal ones the newer. Whoever dials although there has long been a link has lost
    /// that one. A key that is not the neighbour's, as far as we know, replaces none that is.
    fn spare(&self, now_ms: u64, link: LinkId, new: &Session, spot: Spot) -> Option<LinkId> {
        let (old_link, old) = self.sessions.at(new.interface, spot).next()?;
        let (_, neighbour) =
            self.segments.get(&new.interface)?.neighbours.iter().find(|(at, _)| **at == spot)?;
        if neighbour.is(&old.node) && !neighbour.is(&new.node) {
            return None;
        }
        if !new.dialled && now_ms >= old.up_ms + SHORT_MS {
            return Some(*old_link);
        }
        let first = self.guest < neighbour.beacon.head.guest;
        let good = |session: &Session| (!session.stale, !session.guest, session.dialled == first);
        Some(if good(new) >= good(old) { *old_link } else { link })
    }

    /// The link that goes when there are too many: the one worth least; among equals one that has
    /// had its time, else the newest.
    fn least(&self, now_ms: u64, interface: InterfaceId) -> Option<LinkId> {
        let segment = self.segments.get(&interface)?;
        let wants = self.plan(now_ms, interface, segment);
        let rank = |(link, session): &(&LinkId, &Session)| {
            let young = now_ms < session.up_ms + HOLD_MS;
            let order = if young { u64::MAX - session.up_ms } else { session.up_ms };
            // Of those that came in the same instant the last.
            (self.worth(&wants, segment, session), young, order, Reverse(**link))
        };
        let least = self.sessions.on(interface).min_by_key(rank);
        least.map(|(link, _)| *link)
    }

    fn worth(&self, wants: &BTreeMap<Spot, Want>, segment: &Segment, session: &Session) -> Worth {
        if session.stale {
            return Worth::Stranger;
        }
        let of = segment.neighbours.iter().find(|(spot, neighbour)| {
            session.spot.as_ref() == Some(*spot) || neighbour.is(&session.node)
        });
        let want = of.and_then(|(spot, _)| wants.get(spot));
        let known = of.is_some_and(|(_, neighbour)| neighbour.known.is_some());
        want.map_or(if known { Worth::Known } else { Worth::Stranger }, |want| want.worth)
    }

    fn link_down(&mut self, now_ms: u64, link: LinkId) {
        let Some(session) = self.sessions.0.remove(&link) else { return };
        self.changed = true;
        let Some(spot) = session.spot else { return };
        let last = self.sessions.at(session.interface, spot).next().is_none();
        if last && !session.stale && now_ms < session.up_ms + SHORT_MS {
            self.failed(now_ms, session.interface, spot);
        }
    }

    fn failed(&mut self, now_ms: u64, interface: InterfaceId, spot: Spot) {
        let at = Place { interface, address: spot.0, port: spot.1 };
        let chance = self.chance.up_to(u64::MAX - 1);
        let Some(neighbour) = self.neighbour(at) else { return };
        let pause = RETRY_MS[neighbour.failures.min(RETRY_MS.len() - 1)];
        neighbour.failures = neighbour.failures.saturating_add(1);
        neighbour.retry_ms = now_ms + pause - chance % (pause / 4 + 1);
        self.changed = true;
    }

    fn close(&mut self, link: LinkId) {
        if self.sessions.0.remove(&link).is_some() {
            self.outputs.push_back(Output::Close { link });
        }
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

    fn plan(&self, now_ms: u64, interface: InterfaceId, segment: &Segment) -> BTreeMap<Spot, Want> {
        let eligible = |spot: &Spot, neighbour: &Neighbour| {
            now_ms >= neighbour.retry_ms || self.sessions.reach(interface, spot, neighbour, false)
        };
        let neighbours = segment.neighbours.iter();
        plan(&self.guest, self.local.carrier, &self.wanted, neighbours, eligible)
    }

    /// Dials what the plan wants and what is due.
    fn dial(&mut self, now_ms: u64) {
        let mut order: Vec<(u8, InterfaceId)> = self
            .segments
            .iter()
            .map(|(interface, segment)| (segment.priority, *interface))
            .collect();
        order.sort_unstable();
        // Whoever is dialled on a better interface is not dialled here.
        let mut busy: BTreeSet<NodeId> = BTreeSet::new();
        for (_, neighbour) in self.segments.values().flat_map(|s| s.neighbours.iter()) {
            if neighbour.dialling {
                busy.insert(neighbour.known.unwrap_or(neighbour.beacon.head.guest));
            }
        }
        let mut due = Vec::new();
        for (_, interface) in order {
            due.extend(self.due(now_ms, interface, &mut busy));
        }
        due.sort_by_key(|due| Reverse(due.rank));
        for due in due {
            self.dial_one(now_ms, due);
        }
    }

    /// The dials on one interface whose time has come; notes when that of others comes.
    fn due(
        &mut self,
        now_ms: u64,
        interface: InterfaceId,
        busy: &mut BTreeSet<NodeId>,
    ) -> Vec<Due> {
        let Some(segment) = self.segments.get(&interface) else { return Vec::new() };
        let wants = self.plan(now_ms, interface, segment);
        let Some(segment) = self.segments.get_mut(&interface) else { return Vec::new() };
        let fresh = segment.fresh(now_ms);
        let mut due = Vec::new();
        for (spot, neighbour) in segment.neighbours.iter_mut() {
            if neighbour.retry_ms > now_ms {
                // It may come back into the plan then.
                self.replan_ms = self.replan_ms.min(neighbour.retry_ms);
                continue;
            }
            let want = wants.get(spot);
            let missed = want.filter(|want| {
                let mail = want.mail && neighbour.known.is_some();
                !self.sessions.reach(interface, spot, neighbour, mail)
            });
            let Some(want) = missed else {
                neighbour.missed_ms = None;
                continue;
            };
            let (expect, role) = match neighbour.known {
                Some(node) => (node, Role::Known),
                None => (neighbour.beacon.head.guest, Role::Guest),
            };
            let missed_ms = *neighbour.missed_ms.get_or_insert(now_ms);
            let turn_ms = if self.guest < neighbour.beacon.head.guest {
                0
            } else if want.mail {
                WANTED_TURN_MS
            } else if fresh {
                FRESH_TURN_MS
            } else {
                TURN_MS
            };
            let at_ms = missed_ms + SETTLE_MS + turn_ms;
            if at_ms > now_ms {
                self.replan_ms = self.replan_ms.min(at_ms);
            } else if !neighbour.dialling && busy.insert(expect) {
                let rank = (role == Role::Known, want.worth);
                due.push(Due { rank, interface, spot: *spot, worth: want.worth, expect, role });
            }
        }
        due
    }

    fn dial_one(&mut self, now_ms: u64, due: Due) {
        let Some(segment) = self.segments.get(&due.interface) else { return };
        let wants = self.plan(now_ms, due.interface, segment);
        let better = |session: &Session| self.worth(&wants, segment, session) >= due.worth;
        let sessions = self.sessions.on(due.interface).filter(|(_, session)| better(session));
        let dialling = segment.neighbours.iter().filter(|(_, neighbour)| neighbour.dialling);
        if sessions.count() + dialling.count() >= SESSIONS_MAX {
            return;
        }
        let kept = if due.role == Role::Known { 0 } else { DIALS_KEPT };
        if !self.dials.take(now_ms, kept) {
            self.replan_ms = self.replan_ms.min(self.dials.ready_ms(kept).max(now_ms + 1));
            return;
        }
        let (address, port) = due.spot;
        let at = Place { interface: due.interface, address, port };
        if let Some(neighbour) = self.neighbour(at) {
            neighbour.dialling = true;
            self.outputs.push_back(Output::Dial { at, expect: due.expect, role: due.role });
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
