//! Introductions: two nodes that can only dial out open a link together, because a node that both
//! have dialled tells each where it sees the other.
//!
//! ```text
//! A -> M  Reach(B)              M is taking a bundle for B, and A has no link to B
//! M -> B  Reach(A)              M sees both
//! B -> M  Reach(A)              A is a contact of B's: only now B's address is told
//! M -> A  Introduce(B, where)   M -> B  Introduce(A, where)
//! A, B    Output::Meet          both at once, each from the port that its link to M has
//! ```
//!
//! Nobody is shown an address of somebody who has not asked for the same: both must say Reach. Who
//! writes hidden envelopes never asks, since that would name the recipient. The one between keeps
//! wishes for a minute and no addresses at all; an end keeps what it asked for. If nothing comes of
//! it nobody is told: bundles go on as they did.
//!
//! Values in, values out; time is an argument.

mod rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use postrider_base::{
    NodeId,
    link::{Ends, LinkFacts},
};

use crate::{exchange::Unit, node::LinkId};

use self::rules::may_be_dialled;

/// The bit of [`Hello::features`](crate::exchange::Hello::features) of those who know these units.
pub const FEATURE: u64 = 1 << 4;
/// Somebody is asked for, and introduced, once in so long: what a pair costs the one between.
pub const PAIR_EVERY_MS: u64 = 60_000;
/// From the first Reach to the second: two links' round trips, on the slowest a few seconds.
pub const CONSENT_MS: u64 = 30_000;
/// Pairs that the one between remembers for a minute: 16 for each link, 100 bytes each.
pub const WISHES_MAX: usize = 4096;
/// Meetings under way at one node: each is a few packets a second for as long as it lasts.
pub const MEETINGS_MAX: usize = 4;
/// After meetings that failed with somebody: the next one no sooner. NATs do not change often.
pub const BACK_OFF_MS: [u64; 3] = [60_000, 5 * 60_000, 30 * 60_000];

/// A node's key as it stands in units and headers.
type Key = [u8; 32];

/// What is to be said over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Reach(Key),
    Introduce { node: Key, at: SocketAddr },
}

impl Said {
    pub fn unit(self) -> Unit {
        match self {
            Self::Reach(node) => Unit::Reach(node),
            Self::Introduce { node, at } => Unit::Introduce { node, at },
        }
    }
}

/// What this node knows of introductions, as an end and as the one between.
#[derive(Debug, Default)]
pub(crate) struct Introductions {
    ways: BTreeMap<LinkId, Way>,
    contacts: BTreeMap<Key, NodeId>,
    /// Whom this node asked for, over which link and when.
    asked: BTreeMap<Key, Asked>,
    /// What became of meetings, by contact.
    tries: BTreeMap<Key, Tries>,
    /// As the one between: who asked for whom.
    wishes: BTreeMap<(Key, Key), Wish>,
}

/// A link to a node, which has proven itself once it has greeted.
#[derive(Debug)]
struct Way {
    node: Key,
    /// This end dialled: it can be introduced over it. The other one can introduce.
    dialled: bool,
    ends: Option<Ends>,
    /// Its Hello came, and was no recording. Before that the link counts for nothing.
    greeted: bool,
    /// The Hello said that it knows these units.
    able: bool,
}

#[derive(Debug)]
struct Asked {
    link: LinkId,
    at_ms: u64,
}

#[derive(Debug, Default)]
struct Tries {
    meeting: bool,
    failures: usize,
    not_before_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Wish {
    at_ms: u64,
    introduced: bool,
}

impl Introductions {
    /// Contacts are now these; what is remembered of others is forgotten.
    pub fn set_contacts(&mut self, contacts: impl Iterator<Item = NodeId>) {
        self.contacts = contacts.map(|node| (*node.as_bytes(), node)).collect();
        let known: BTreeSet<Key> = self.contacts.keys().copied().collect();
        self.asked.retain(|node, _| known.contains(node));
        self.tries.retain(|node, _| known.contains(node));
    }

    /// A link came up. Whose it is may be a claim as yet: a first message can have been recorded.
    pub fn link_up(&mut self, link: LinkId, facts: &LinkFacts) {
        let Some(peer) = facts.peer else { return };
        // What runs inside another network, or where bytes cost money, is no way to begin with.
        let ends = facts.ends.filter(|_| !facts.overlay && !facts.metered);
        let (node, dialled) = (*peer.as_bytes(), facts.dialled);
        self.ways.insert(link, Way { node, dialled, ends, greeted: false, able: false });
    }

    /// Its other end said what it can do, and is proven to be who it is.
    pub fn greeted(&mut self, link: LinkId, features: u64) {
        let Some(way) = self.ways.get_mut(&link) else { return };
        (way.greeted, way.able) = (true, features & FEATURE != 0);
        if let Some(tries) = self.tries.get_mut(&way.node) {
            tries.meeting = false;
            tries.failures = 0;
        }
    }

    /// A link is gone. If nobody has greeted over it and it was to come of a meeting, that failed.
    pub fn link_down(&mut self, now_ms: u64, link: LinkId) {
        if let Some(way) = self.ways.remove(&link).filter(|way| !way.greeted) {
            self.meeting_failed(now_ms, &way.node);
        }
    }

    /// The other end of a link is taking a bundle of ours for `node`: what it is to be asked.
    pub fn wish(&mut self, now_ms: u64, link: LinkId, node: Key) -> Option<Said> {
        let may = self.may_meet(now_ms, link, node).is_some();
        let asked = |asked: &Asked| now_ms < asked.at_ms.saturating_add(PAIR_EVERY_MS);
        if !may || self.asked.get(&node).is_some_and(asked) {
            return None;
        }
        self.asked.insert(node, Asked { link, at_ms: now_ms });
        Some(Said::Reach(node))
    }

    /// A Reach came.
    pub fn reach(&mut self, now_ms: u64, link: LinkId, node: Key) -> Vec<(LinkId, Said)> {
        match self.ways.get(&link) {
            Some(way) if way.dialled => self.consent(now_ms, link, node),
            Some(_) => self.mediate(now_ms, link, node),
            None => Vec::new(),
        }
    }

    /// As an end: whoever we dialled says that `node` wants to meet us.
    fn consent(&mut self, now_ms: u64, link: LinkId, node: Key) -> Vec<(LinkId, Said)> {
        if self.may_meet(now_ms, link, node).is_none() {
            return Vec::new();
        }
        let fresh = |a: &Asked| a.link == link && now_ms < a.at_ms.saturating_add(CONSENT_MS);
        // Both asked at the same time: what was said is enough.
        if self.asked.get(&node).is_some_and(fresh) {
            return Vec::new();
        }
        self.asked.insert(node, Asked { link, at_ms: now_ms });
        vec![(link, Said::Reach(node))]
    }

    /// As the one between: whoever dialled us wants to meet `node`.
    fn mediate(&mut self, now_ms: u64, link: LinkId, node: Key) -> Vec<(LinkId, Said)> {
        let Some((from, seen)) = self.seen(link) else { return Vec::new() };
        let family = |(at, _): &(LinkId, SocketAddr)| *at != link;
        let to = self.ways.iter().filter(|(_, way)| way.node == node);
        let to = to.filter_map(|(link, _)| Some((*link, self.seen(*link)?.1)));
        let to = to.filter(family).find(|(_, at)| at.is_ipv4() == seen.is_ipv4());
        let Some((there, at)) = to.filter(|_| node != from) else { return Vec::new() };

        let over = |wish: &Wish| now_ms >= wish.at_ms.saturating_add(PAIR_EVERY_MS);
        self.wishes.retain(|_, wish| !over(wish));
        let other = self.wishes.get(&(node, from)).copied();
        if self.wishes.contains_key(&(from, node)) || self.wishes.len() >= WISHES_MAX {
            return Vec::new();
        }
        let agreed = other.is_some_and(|w| !w.introduced && now_ms < w.at_ms + CONSENT_MS);
        self.wishes.insert((from, node), Wish { at_ms: now_ms, introduced: agreed });
        if agreed {
            self.wishes.insert((node, from), Wish { at_ms: now_ms, introduced: true });
            return vec![
                (link, Said::Introduce { node, at }),
                (there, Said::Introduce { node: from, at: seen }),
            ];
        }
        // Who has asked already is not asked again.
        if other.is_some() { Vec::new() } else { vec![(there, Said::Reach(from))] }
    }

    /// Who dialled us over a link, and where from; `None` if nobody is introduced over it.
    fn seen(&self, link: LinkId) -> Option<(Key, SocketAddr)> {
        let way = self.ways.get(&link).filter(|way| way.able && !way.dialled)?;
        let Ends { here, there } = way.ends?;
        may_be_dialled(there, here.ip()).then_some((way.node, there))
    }

    /// An Introduce came: whom to meet, if this node asked for it.
    pub fn introduce(
        &mut self,
        now_ms: u64,
        link: LinkId,
        node: Key,
        at: SocketAddr,
    ) -> Option<NodeId> {
        let fresh = |a: &Asked| a.link == link && now_ms < a.at_ms.saturating_add(CONSENT_MS);
        if !self.asked.get(&node).is_some_and(fresh) {
            return None;
        }
        let (contact, ends) = self.may_meet(now_ms, link, node)?;
        let meetings = self.tries.values().filter(|tries| tries.meeting).count();
        let same_family = ends.here.is_ipv4() == at.is_ipv4();
        if meetings >= MEETINGS_MAX || !same_family || !may_be_dialled(at, ends.there.ip()) {
            return None;
        }
        self.tries.entry(node).or_default().meeting = true;
        Some(contact)
    }

    /// A meeting came to nothing. Where a link has come of it, nothing failed.
    pub fn failed(&mut self, now_ms: u64, node: &NodeId) {
        self.meeting_failed(now_ms, node.as_bytes());
    }

    fn meeting_failed(&mut self, now_ms: u64, node: &Key) {
        let Some(tries) = self.tries.get_mut(node).filter(|tries| tries.meeting) else { return };
        let pause = BACK_OFF_MS[tries.failures.min(BACK_OFF_MS.len() - 1)];
        tries.meeting = false;
        tries.failures = tries.failures.saturating_add(1);
        tries.not_before_ms = now_ms.saturating_add(pause);
    }

    /// The contact, and the link's ends, if an introduction over it makes sense.
    fn may_meet(&self, now_ms: u64, link: LinkId, node: Key) -> Option<(NodeId, Ends)> {
        let way = self.ways.get(&link).filter(|way| way.able && way.dialled)?;
        let contact = self.contacts.get(&node)?;
        let linked = self.ways.values().any(|way| way.node == node && way.greeted);
        let early = |t: &Tries| t.meeting || now_ms < t.not_before_ms;
        if linked || self.tries.get(&node).is_some_and(early) {
            return None;
        }
        Some((*contact, way.ends?))
    }
}

#[cfg(test)]
mod tests;
