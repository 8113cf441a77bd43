//! Links come and go: which of two to one neighbour stays, and which goes when there are too many.

use std::{cmp::Reverse, collections::BTreeMap};

use postrider_base::NodeId;

use super::Meeting;
use crate::{
    meeting::{
        contract::{Came, InterfaceId, Output},
        limits::{HOLD_MS, SESSIONS_MAX, SHORT_MS},
        neighbours::Spot,
        plan::{Want, Worth},
        segment::Segment,
        sessions::Session,
    },
    node::LinkId,
};

impl Meeting {
    /// A link is up; it takes the place of another, or another keeps it.
    pub(super) fn link_up(
        &mut self,
        now_ms: u64,
        link: LinkId,
        node: NodeId,
        guest: bool,
        came: Came,
    ) {
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

    /// What a link is worth by the plan.
    pub(super) fn worth(
        &self,
        wants: &BTreeMap<Spot, Want>,
        segment: &Segment,
        session: &Session,
    ) -> Worth {
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

    /// A link is gone.
    pub(super) fn link_down(&mut self, now_ms: u64, link: LinkId) {
        let Some(session) = self.sessions.0.remove(&link) else { return };
        self.changed = true;
        let Some(spot) = session.spot else { return };
        let last = self.sessions.at(session.interface, spot).next().is_none();
        if last && !session.stale && now_ms < session.up_ms + SHORT_MS {
            self.failed(now_ms, session.interface, spot);
        }
    }

    /// Ends a link from this side.
    pub(super) fn close(&mut self, link: LinkId) {
        if self.sessions.0.remove(&link).is_some() {
            self.outputs.push_back(Output::Close { link });
        }
    }
}
