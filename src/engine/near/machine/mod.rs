//! The machine: what is heard and linked in, what is said and dialled out.
//!
//! Here is what comes in and when what is due: adapters, adverts, the clock. Which links stay is in
//! `links`; whom to dial, and when it is its turn, in `dials`.

mod dials;
mod links;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
};

use postrider_base::NodeId;

use super::{
    advert::{NONCE, Said, nonce},
    contract::{AdapterId, Heard, Input, Known, Local, Output, Place, Profile},
    duty::{Duty, Pace},
    limits::{
        ADAPTERS_MAX, BELIEVED_MS, CALLER_MS, DIAL_MS, NONCE_LIFE_MS, VAIN_MS, VAIN_ONE_IN,
        WANTED_MAX,
    },
    neighbours::{Neighbours, Sighting},
    resolver::Resolver,
    sessions::Sessions,
};
use crate::{meeting::chance::Chance, node::LinkId};

/// Finds who is near and decides whom to dial, on all adapters. Values in, values out: after each
/// input take outputs until there are none, and come back when `poll_timeout` says.
pub struct Near {
    local: Local,
    profile: Profile,
    resolver: Resolver,
    blocked: BTreeSet<NodeId>,
    /// With their places in the order of urgency.
    wanted: BTreeMap<NodeId, usize>,
    elsewhere: BTreeSet<NodeId>,
    chance: Chance,
    adapters: BTreeMap<AdapterId, Adapter>,
    neighbours: Neighbours,
    sessions: Sessions,
    /// Somebody is here.
    company: bool,
    /// Something has changed that decisions depend on.
    changed: bool,
    /// When they have to be made again even if nothing changes.
    next_ms: u64,
    outputs: VecDeque<Output>,
}

/// One adapter that is up.
#[derive(Debug)]
struct Adapter {
    channel: Option<u8>,
    nonce: [u8; NONCE],
    /// Since when that is said.
    since_ms: u64,
    rotate_ms: u64,
    said: Option<Said>,
    duty: Duty,
    listening: bool,
    /// How long it has listened in all, up to `counted_ms`.
    listened_ms: u64,
    counted_ms: u64,
    dialling: Option<Dialling>,
    /// Until when dials in vain would last, were they spread over all time that they may have.
    vain_until_ms: u64,
    /// After the last one it listens until then, whoever is due.
    pause_until_ms: u64,
    /// Somebody has connected, and until then it may turn out who...
    caller_until_ms: u64,
    /// ...which counts again from here on.
    caller_next_ms: u64,
}

/// A dial that is under way.
#[derive(Clone, Copy, Debug)]
struct Dialling {
    node: NodeId,
    to: Place,
    begun_ms: u64,
}

impl Adapter {
    fn listened_ms(&self, now_ms: u64) -> u64 {
        let since = if self.listening { now_ms.saturating_sub(self.counted_ms) } else { 0 };
        self.listened_ms + since
    }

    /// A dial that was begun then was in vain.
    fn note_vain(&mut self, begun_ms: u64, now_ms: u64, pause_ms: u64) {
        let took_ms = now_ms.saturating_sub(begun_ms);
        self.vain_until_ms = self.vain_until_ms.max(begun_ms) + took_ms * VAIN_ONE_IN;
        self.pause_until_ms = now_ms + pause_ms;
    }

    /// When there is time for another dial, which `may_be_vain`.
    fn free_ms(&self, may_be_vain: bool) -> u64 {
        let spread_ms = self.vain_until_ms.saturating_sub(VAIN_MS * VAIN_ONE_IN);
        let from_ms = self.pause_until_ms.max(self.caller_until_ms);
        from_ms.max(if may_be_vain { spread_ms } else { 0 })
    }

    /// Somebody has connected who was not dialled.
    fn expect_caller(&mut self, now_ms: u64) {
        if now_ms >= self.caller_next_ms {
            self.caller_until_ms = now_ms + CALLER_MS;
            self.caller_next_ms = self.caller_until_ms + CALLER_MS;
        }
    }

    /// It is known who.
    fn caller_came(&mut self, now_ms: u64) {
        (self.caller_until_ms, self.caller_next_ms) = (now_ms, now_ms);
    }

    fn set_listening(&mut self, now_ms: u64, on: bool) {
        self.listened_ms = self.listened_ms(now_ms);
        (self.counted_ms, self.listening) = (now_ms, on);
    }
}

impl Near {
    /// Begins. `seed` is random: nonces are drawn from it.
    pub fn new(local: Local, seed: [u8; 32], now_ms: u64) -> Self {
        Self {
            local,
            profile: Profile::default(),
            resolver: Resolver::new(),
            blocked: BTreeSet::new(),
            wanted: BTreeMap::new(),
            elsewhere: BTreeSet::new(),
            chance: Chance::new(seed),
            adapters: BTreeMap::new(),
            neighbours: Neighbours::default(),
            sessions: Sessions::default(),
            company: false,
            changed: false,
            next_ms: now_ms,
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now_ms: u64, input: Input) {
        match input {
            Input::AdapterUp { adapter, channel } => self.adapter_up(now_ms, adapter, channel),
            Input::AdapterDown { adapter } => self.adapter_down(adapter),
            Input::Connected { adapter } => self.connected(now_ms, adapter),
            Input::Silenced { adapter } => self.silenced(now_ms, adapter),
            Input::Heard { adapter, from, said, strength_dbm } => {
                self.heard(now_ms, adapter, from, said, strength_dbm);
            }
            Input::LinkUp { link, adapter, from, came } => {
                self.link_up(now_ms, link, adapter, from, came);
            }
            Input::Proven { link, node } => self.proven(now_ms, link, node),
            Input::Moved { link } => {
                if let Some(session) = self.sessions.0.get_mut(&link) {
                    session.moved_ms = now_ms;
                }
            }
            Input::LinkDown { link, end } => self.link_down(now_ms, link, end),
            Input::DialFailed { adapter, to } => self.dial_failed(now_ms, adapter, Some(to)),
            Input::Known(known) => self.know(now_ms, known),
            Input::Wanted(wanted) => self.want(now_ms, wanted),
            Input::Elsewhere(nodes) => self.reach_elsewhere(nodes),
            Input::Profile(profile) => self.set_profile(now_ms, profile),
            Input::Search => self.search(now_ms),
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
        self.next_ms
    }

    /// Links that are up, those included that have proven nobody.
    pub fn links(&self) -> usize {
        self.sessions.0.len()
    }

    /// Whom we know and who is heard or linked.
    pub fn here(&self, now_ms: u64) -> impl Iterator<Item = Heard> {
        let here = self.neighbours.iter().map(move |(node, neighbour)| {
            let last = neighbour.last();
            Heard {
                node: *node,
                linked: self.sessions.proven(node),
                ago_ms: last.map(|spot| now_ms.saturating_sub(spot.heard_ms)),
                strength_dbm: last.and_then(|spot| spot.strength_dbm),
                failures: neighbour.failures,
            }
        });
        here.filter(|heard| heard.linked || heard.ago_ms.is_some())
    }

    /// How many adverts of nobody we know were heard since then.
    pub fn strangers(&self, since_ms: u64) -> usize {
        self.resolver.strangers(since_ms)
    }

    /// Neighbours that are remembered: for tests of what is bounded.
    pub fn remembered(&self) -> usize {
        self.neighbours.len()
    }

    fn adapter_up(&mut self, now_ms: u64, adapter: AdapterId, channel: Option<u8>) {
        if let Some(up) = self.adapters.get_mut(&adapter) {
            if up.channel != channel {
                // A channel always comes with a nonce of its own.
                (up.channel, up.rotate_ms) = (channel, now_ms);
                self.changed = true;
            }
            return;
        }
        if self.adapters.len() >= ADAPTERS_MAX {
            return;
        }
        let duty = Duty::new(now_ms, self.profile.pace());
        self.adapters.insert(
            adapter,
            Adapter {
                channel,
                nonce: [0; NONCE],
                since_ms: now_ms,
                rotate_ms: now_ms,
                said: None,
                duty,
                listening: false,
                listened_ms: 0,
                counted_ms: now_ms,
                dialling: None,
                vain_until_ms: now_ms,
                pause_until_ms: 0,
                caller_until_ms: 0,
                caller_next_ms: 0,
            },
        );
        self.changed = true;
    }

    fn adapter_down(&mut self, adapter: AdapterId) {
        if self.adapters.remove(&adapter).is_none() {
            return;
        }
        self.neighbours.adapter_down(adapter);
        let gone: Vec<LinkId> = self.sessions.on(adapter).map(|(link, _)| *link).collect();
        gone.into_iter().for_each(|link| self.drop_link(link));
        self.changed = true;
    }

    /// Whoever that is, it may be who this end would dial; and soon both say something else, which makes
    /// another order of turns.
    fn connected(&mut self, now_ms: u64, adapter: AdapterId) {
        let is_known = self.sessions.came_lately(now_ms, adapter);
        let up = self.adapters.get_mut(&adapter);
        if let Some(up) = up.filter(|up| up.dialling.is_none() && !is_known) {
            up.expect_caller(now_ms);
            self.changed = true;
        }
    }

    /// The same words under another address would show that both are one.
    fn silenced(&mut self, now_ms: u64, adapter: AdapterId) {
        if let Some(up) = self.adapters.get_mut(&adapter) {
            up.rotate_ms = now_ms;
            self.changed = true;
        }
    }

    fn heard(
        &mut self,
        now_ms: u64,
        adapter: AdapterId,
        place: Place,
        said: Said,
        strength_dbm: Option<i16>,
    ) {
        let Some(pace) = self.profile.pace() else { return };
        let Some(up) = self.adapters.get(&adapter) else { return };
        let listened_ms = up.listened_ms(now_ms);
        if self.adapters.values().any(|adapter| adapter.said == Some(said)) {
            return;
        }
        let Some(resolved) = self.resolver.resolve(now_ms, &said) else { return };
        let node = resolved.node;
        let believed = now_ms < resolved.first_ms + BELIEVED_MS;
        if node == self.local.node || self.blocked.contains(&node) || !believed {
            return;
        }
        let (nonce, channel, new) = (nonce(&said), resolved.channel, resolved.new);
        let heard = Sighting { adapter, place, channel, nonce, listened_ms, strength_dbm, new };
        let sessions = &self.sessions;
        let keep = |node: &NodeId| sessions.reach(node);
        self.changed |= self.neighbours.hear(now_ms, node, heard, pace, keep);
    }

    fn know(&mut self, now_ms: u64, known: Known) {
        let own = self.local.node;
        self.resolver.know(known.keys.into_iter().filter(|(node, _)| *node != own));
        self.blocked = known.blocked.into_iter().collect();
        let (resolver, blocked) = (&self.resolver, &self.blocked);
        self.neighbours.retain(|node| resolver.knows(node) && !blocked.contains(node));
        let unwanted = |node: Option<NodeId>| node.is_some_and(|node| blocked.contains(&node));
        let links: Vec<LinkId> = self
            .sessions
            .0
            .iter()
            .filter(|(_, session)| unwanted(session.with()))
            .map(|(link, _)| *link)
            .collect();
        links.into_iter().for_each(|link| self.drop_link(link));
        self.search(now_ms);
    }

    fn search(&mut self, now_ms: u64) {
        let pace = self.profile.pace();
        self.adapters.values_mut().for_each(|adapter| adapter.duty.search(now_ms, pace));
        self.changed = true;
    }

    fn want(&mut self, now_ms: u64, wanted: Vec<NodeId>) {
        let mut places = BTreeMap::new();
        for (place, node) in wanted.into_iter().take(WANTED_MAX).enumerate() {
            places.entry(node).or_insert(place);
        }
        let before = std::mem::replace(&mut self.wanted, places);
        if before == self.wanted {
            return;
        }
        self.changed = true;
        let mut unheard = false;
        let elsewhere = &self.elsewhere;
        let new = |node: &&NodeId| !before.contains_key(node) && !elsewhere.contains(node);
        for node in self.wanted.keys().filter(new) {
            match self.neighbours.get_mut(node) {
                Some(neighbour) => {
                    neighbour.has_mail();
                    unheard |= neighbour.spots.is_empty() && !self.sessions.reach(node);
                }
                None => unheard |= self.resolver.knows(node),
            }
        }
        if let Some(pace) = self.profile.pace().filter(|_| unheard) {
            self.adapters.values_mut().for_each(|adapter| adapter.duty.mail(now_ms, pace));
        }
    }

    fn reach_elsewhere(&mut self, nodes: Vec<NodeId>) {
        let nodes: BTreeSet<NodeId> = nodes.into_iter().take(WANTED_MAX).collect();
        let before = std::mem::replace(&mut self.elsewhere, nodes);
        self.changed |= before != self.elsewhere;
        // Whoever has lost its other way is not to wait for the next visit.
        for node in before.difference(&self.elsewhere) {
            if let Some(neighbour) = self.neighbours.get_mut(node) {
                neighbour.is_due();
            }
        }
    }

    fn set_profile(&mut self, now_ms: u64, profile: Profile) {
        if self.profile == profile {
            return;
        }
        let before = std::mem::replace(&mut self.profile, profile);
        self.changed = true;
        for adapter in self.adapters.values_mut() {
            adapter.duty.begin(now_ms, profile.pace());
            // Whoever hears of it again is to know that something has changed.
            adapter.rotate_ms = if before == Profile::Off { now_ms } else { adapter.rotate_ms };
        }
        if profile.pace().is_none() {
            let links: Vec<LinkId> = self.sessions.0.keys().copied().collect();
            links.into_iter().for_each(|link| self.drop_link(link));
            self.neighbours = Neighbours::default();
        }
    }

    /// Does what time and the input have made due.
    fn settle(&mut self, now_ms: u64) {
        if !self.changed && now_ms < self.next_ms {
            return;
        }
        self.changed = false;
        self.next_ms = u64::MAX;
        self.time_out_dials(now_ms);
        if let Some(pace) = self.profile.pace() {
            let sessions = &self.sessions;
            let keep = |node: &NodeId| sessions.reach(node);
            let next_ms = self.neighbours.expire(now_ms, pace, keep);
            self.wake_at(next_ms);
            self.miss(now_ms, pace);
            self.end_links(now_ms, pace);
            self.speak(now_ms);
            self.dial(now_ms, pace);
        }
        self.speak(now_ms);
        self.listen(now_ms);
        // What was decided may have made something else due: soon, but not in the same instant.
        self.next_ms = if self.changed { now_ms + 1 } else { self.next_ms.max(now_ms + 1) };
    }

    fn wake_at(&mut self, at_ms: u64) {
        self.next_ms = self.next_ms.min(at_ms);
    }

    fn time_out_dials(&mut self, now_ms: u64) {
        let late = |adapter: &Adapter| adapter.dialling.map(|dialling| dialling.begun_ms + DIAL_MS);
        let over: Vec<AdapterId> = self
            .adapters
            .iter()
            .filter(|(_, adapter)| late(adapter).is_some_and(|at| at <= now_ms))
            .map(|(id, _)| *id)
            .collect();
        over.into_iter().for_each(|adapter| self.dial_failed(now_ms, adapter, None));
        if let Some(at) = self.adapters.values().filter_map(late).min() {
            self.wake_at(at);
        }
    }

    /// When the last one has gone, the next one is looked for.
    fn miss(&mut self, now_ms: u64, pace: Pace) {
        let heard = self.neighbours.iter().any(|(_, neighbour)| !neighbour.spots.is_empty());
        let company = heard || self.sessions.0.values().any(|session| session.node.is_some());
        if self.company && !company {
            self.adapters.values_mut().for_each(|a| a.duty.search(now_ms, Some(pace)));
        }
        self.company = company;
    }

    /// Says what is to be said.
    fn speak(&mut self, now_ms: u64) {
        for (id, adapter) in &mut self.adapters {
            if adapter.rotate_ms <= now_ms {
                (adapter.nonce, adapter.since_ms) = (self.chance.bytes(), now_ms);
                // Not all that came up together at once.
                let life_ms = NONCE_LIFE_MS - self.chance.up_to(NONCE_LIFE_MS / 8);
                adapter.rotate_ms = now_ms + life_ms;
            }
            self.next_ms = self.next_ms.min(adapter.rotate_ms);
            let say = || self.local.key.say(adapter.nonce, adapter.channel);
            let said = self.profile.pace().map(|_| say());
            if said != adapter.said {
                adapter.said = said;
                self.outputs.push_back(Output::Say { adapter: *id, said });
            }
        }
    }

    /// Listens where that is due. While a dial is under way it does not: many controllers need that.
    fn listen(&mut self, now_ms: u64) {
        let pace = self.profile.pace().filter(|_| self.resolver.knows_any());
        for (id, adapter) in &mut self.adapters {
            let due = pace.map(|pace| adapter.duty.listens(now_ms, pace));
            let (due, next_ms) = due.unwrap_or((false, u64::MAX));
            self.next_ms = self.next_ms.min(next_ms);
            let on = due && adapter.dialling.is_none();
            if on != adapter.listening {
                adapter.set_listening(now_ms, on);
                self.outputs.push_back(Output::Listen { adapter: *id, on });
            }
        }
    }
}

impl fmt::Debug for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Near")
            .field("profile", &self.profile)
            .field("adapters", &self.adapters)
            .field("neighbours", &self.neighbours)
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}
