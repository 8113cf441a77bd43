//! Whom to dial, and when: those whose visit is due and whom no link reaches, when it is this end's
//! turn, one at a time on each adapter.

use std::cmp::Reverse;

use postrider_base::NodeId;

use super::{Dialling, Near};
use crate::{
    near::{
        advert::dials_first,
        contract::{AdapterId, Output, Place},
        duty::Pace,
        limits::{LINKS_KEPT, OVERDUE_MS, PATIENCE_MS, TURN_MS, VAIN_PAUSE_MS},
        neighbours::Spot,
        sessions::Session,
    },
    node::LinkId,
};

/// A dial that is due.
struct Due {
    rank: Rank,
    node: NodeId,
    adapter: AdapterId,
    to: Place,
    channel: u8,
    missed_ms: u64,
}

/// Who comes first; less is sooner. Whoever waits too long; then those whose dials were not in vain, so
/// that nobody is kept waiting for somebody who only seems to be there; those with mail; those longest
/// without a link.
type Rank = (bool, bool, usize, u64, Reverse<u64>, NodeId);

impl Near {
    /// Dials whoever is due.
    pub(super) fn dial(&mut self, now_ms: u64, pace: Pace) {
        let mut due = self.due(now_ms, pace);
        due.sort_by_key(|due| due.rank);
        for due in due {
            self.dial_one(now_ms, pace, due);
        }
    }

    /// The dials whose time has come; notes when that of others comes.
    fn due(&mut self, now_ms: u64, pace: Pace) -> Vec<Due> {
        let mut due = Vec::new();
        let mut next_ms = u64::MAX;
        for (node, neighbour) in self.neighbours.iter_mut() {
            let dialled = |node| {
                let mut dialling = self.adapters.values().filter_map(|adapter| adapter.dialling);
                dialling.any(|dialling| dialling.node == node)
            };
            if self.elsewhere.contains(node) {
                neighbour.missed_ms = None;
                continue;
            }
            if self.sessions.reach(node) || dialled(*node) {
                continue;
            }
            let Some(spot) = neighbour.best().cloned() else { continue };
            let mail = self.wanted.get(node).copied();
            let due_ms = neighbour.due_ms(mail.is_some(), pace);
            if due_ms > now_ms {
                next_ms = next_ms.min(due_ms);
                neighbour.missed_ms = None;
                continue;
            }
            let missed_ms = *neighbour.missed_ms.get_or_insert(now_ms);
            let Some(up) = self.adapters.get(&spot.adapter) else { continue };
            let first = dials_first((&self.local.node, up.nonce), (node, spot.nonce));
            let turn_ms = if first { 0 } else { TURN_MS };
            // Who is first follows from what both say now: not before both may have heard it.
            let said_ms = missed_ms.max(spot.since_ms).max(up.since_ms);
            let turn_at_ms = (said_ms + turn_ms).min(missed_ms + OVERDUE_MS);
            let free_ms = up.free_ms(neighbour.failures > 0);
            let at_ms = turn_at_ms.max(neighbour.retry_ms(turn_ms)).max(free_ms);
            if at_ms > now_ms {
                next_ms = next_ms.min(at_ms);
                continue;
            }
            let Spot { adapter, place: to, channel: Some(channel), .. } = spot else { continue };
            let rank = (
                now_ms < missed_ms + OVERDUE_MS,
                neighbour.failures > 0,
                mail.unwrap_or(usize::MAX),
                neighbour.visited_ms(),
                Reverse(now_ms - missed_ms),
                *node,
            );
            due.push(Due { rank, node: *node, adapter, to, channel, missed_ms });
        }
        self.wake_at(next_ms);
        due
    }

    fn dial_one(&mut self, now_ms: u64, pace: Pace, due: Due) {
        let busy =
            |near: &Self| near.adapters.get(&due.adapter).is_none_or(|a| a.dialling.is_some());
        if busy(self) || self.sessions.reach(&due.node) {
            return;
        }
        if self.sessions.kept(due.adapter) >= LINKS_KEPT
            && !self.make_place(now_ms, pace, due.adapter, due.missed_ms)
        {
            return;
        }
        let Some(adapter) = self.adapters.get_mut(&due.adapter) else { return };
        adapter.dialling = Some(Dialling { node: due.node, to: due.to, begun_ms: now_ms });
        let Due { adapter, to, channel, node, .. } = due;
        // Before the dial: many controllers do not listen and dial at the same time.
        self.listen(now_ms);
        self.outputs.push_back(Output::Dial { adapter, to, channel, expect: node });
    }

    /// Ends the link that needs its place least, for somebody who has waited since `missed_ms`; whether
    /// there was one.
    fn make_place(&mut self, now_ms: u64, pace: Pace, adapter: AdapterId, missed_ms: u64) -> bool {
        let gives_ms = |session: &Session| {
            let wanted = session.node.is_some_and(|node| self.wanted.contains_key(&node));
            let over_ms = session.over_ms().max(missed_ms + PATIENCE_MS);
            session.idle_ms(wanted).min(over_ms)
        };
        let sessions = self.sessions.on(adapter).filter(|(_, session)| session.node.is_some());
        let first = sessions.map(|(link, s)| (gives_ms(s), s.moved_ms, *link)).min();
        let Some((at_ms, _, link)) = first else { return false };
        if at_ms > now_ms {
            self.wake_at(at_ms);
            return false;
        }
        self.end(now_ms, pace, link);
        true
    }

    /// A dial led nowhere.
    pub(super) fn dial_failed(&mut self, now_ms: u64, adapter: AdapterId, to: Option<Place>) {
        let Some(up) = self.adapters.get_mut(&adapter) else { return };
        let Some(dialling) = up.dialling.take_if(|d| to.is_none_or(|to| d.to == to)) else {
            return;
        };
        let pause_ms = VAIN_PAUSE_MS + self.chance.up_to(VAIN_PAUSE_MS);
        up.note_vain(dialling.begun_ms, now_ms, pause_ms);
        self.failed(now_ms, dialling.node, Some((adapter, dialling.to)));
    }

    /// Nothing came of a dial or a link: the next one later each time.
    pub(super) fn failed(&mut self, now_ms: u64, node: NodeId, at: Option<(AdapterId, Place)>) {
        let chance = self.chance.up_to(u64::MAX - 1);
        if let Some(neighbour) = self.neighbours.get_mut(&node) {
            neighbour.failed(now_ms, at, chance);
        }
        self.changed = true;
    }

    /// The dial that a link came from.
    pub(super) fn dialled(&mut self, adapter: AdapterId, to: Place) -> Option<NodeId> {
        let dialling = &mut self.adapters.get_mut(&adapter)?.dialling;
        dialling.take_if(|dialling| dialling.to == to).map(|dialling| dialling.node)
    }

    /// Ends a link from this side without a word to those who are remembered.
    pub(super) fn drop_link(&mut self, link: LinkId) {
        if self.sessions.0.remove(&link).is_some() {
            self.changed = true;
            self.outputs.push_back(Output::Close { link });
        }
    }
}
