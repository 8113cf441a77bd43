//! Whom to dial, and when: what the plan wants and no link reaches, most wanted first, when its turn
//! has come and the rate allows it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use postrider_base::NodeId;

use super::Meeting;
use crate::meeting::{
    contract::{InterfaceId, Output, Place, Role},
    limits::{
        DIALS_KEPT, FRESH_TURN_MS, RETRY_MS, SESSIONS_MAX, SETTLE_MS, TURN_MS, WANTED_TURN_MS,
    },
    neighbours::{Neighbour, Spot},
    plan::{Want, Worth, plan},
    segment::Segment,
    sessions::Session,
};

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
    /// Whom to have links with on one interface.
    pub(super) fn plan(
        &self,
        now_ms: u64,
        interface: InterfaceId,
        segment: &Segment,
    ) -> BTreeMap<Spot, Want> {
        let eligible = |spot: &Spot, neighbour: &Neighbour| {
            now_ms >= neighbour.retry_ms || self.sessions.reach(interface, spot, neighbour, false)
        };
        let neighbours = segment.neighbours.iter();
        plan(&self.guest, self.local.carrier, &self.wanted, neighbours, eligible)
    }

    /// Dials what the plan wants and what is due.
    pub(super) fn dial(&mut self, now_ms: u64) {
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

    /// Nothing came of a dial, or a link was over at once: the next one later each time.
    pub(super) fn failed(&mut self, now_ms: u64, interface: InterfaceId, spot: Spot) {
        let at = Place { interface, address: spot.0, port: spot.1 };
        let chance = self.chance.up_to(u64::MAX - 1);
        let Some(neighbour) = self.neighbour(at) else { return };
        let pause = RETRY_MS[neighbour.failures.min(RETRY_MS.len() - 1)];
        neighbour.failures = neighbour.failures.saturating_add(1);
        neighbour.retry_ms = now_ms + pause - chance % (pause / 4 + 1);
        self.changed = true;
    }
}
