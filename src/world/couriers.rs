//! Couriers: who walks a medium from node to node, and what befalls it.
//!
//! At each node the medium is exchanged with ([`visit`](crate::visit)), step by step. A node that
//! crashes takes the visit with it, and what the medium had not synced; and a medium is torn out
//! at whatever byte. Then the courier walks on.

use std::collections::BTreeSet;

use postrider_engine::{
    node::{LinkId, ShortId},
    parcel::FileNumber,
};

use crate::{
    medium::Medium,
    shell::Turn,
    visit::{Place, Trouble, Visit},
    world::{Happening, World},
};

/// Operations after which a medium is torn out, at most: a visit with something to do has some 30.
const DOOM_OPS_MAX: u64 = 60;

/// A courier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CourierId(usize);

/// Where a courier goes, and how.
#[derive(Clone, Debug)]
pub struct Walk {
    /// The nodes, one after the other, then again from the first.
    pub route: Vec<usize>,
    /// From one to the next.
    pub walk_ms: (u64, u64),
    /// Between two steps of a visit, at most.
    pub step_ms: u64,
    /// Of a thousand visits, in how many the medium is torn out.
    pub torn_permille: u64,
    /// Bytes that the medium has in all.
    pub total_bytes: u64,
}

impl Default for Walk {
    fn default() -> Self {
        let (walk_ms, step_ms) = ((60_000, 600_000), 50);
        Self { route: Vec::new(), walk_ms, step_ms, torn_permille: 0, total_bytes: 1 << 30 }
    }
}

pub(crate) struct Courier {
    medium: Box<dyn Medium>,
    pub walk: Walk,
    /// Which place of the route comes next.
    next: usize,
    /// At which node, in which of its lives.
    visit: Option<(usize, u32, Visit)>,
    /// The medium will be torn out in this visit.
    doomed: bool,
    /// Containers that must be there: written to the end, and removed by nobody.
    published: BTreeSet<FileNumber>,
    /// Those that went to their end, and those that did not.
    visits: u64,
    torn: u64,
}

impl World {
    /// Somebody walks a medium around from now on.
    pub fn courier(&mut self, medium: Box<dyn Medium>, walk: Walk) -> CourierId {
        let courier = self.couriers.len();
        self.couriers.push(Courier {
            medium,
            walk,
            next: 0,
            visit: None,
            doomed: false,
            published: BTreeSet::new(),
            visits: 0,
            torn: 0,
        });
        self.walk_on(courier);
        CourierId(courier)
    }

    /// Visits of a courier that went to their end, and those that did not.
    pub fn visits(&self, courier: CourierId) -> (u64, u64) {
        let courier = &self.couriers[courier.0];
        (courier.visits, courier.torn)
    }

    /// Whether mail can go from one node to another in time, over roads that are open and with
    /// couriers: a walk leads from each of its places to all others.
    pub fn can_reach(&self, from: usize, to: usize) -> bool {
        let roads = self.roads.roads.iter().filter(|road| road.open).map(|road| &road.ends[..]);
        let routes = self.couriers.iter().map(|courier| &courier.walk.route[..]);
        let ways: Vec<&[usize]> = roads.chain(routes).collect();
        let mut reached = BTreeSet::from([from]);
        loop {
            let before = reached.len();
            for way in &ways {
                if way.iter().any(|at| reached.contains(at)) {
                    reached.extend(way.iter());
                }
            }
            if reached.len() == before {
                return reached.contains(&to);
            }
        }
    }

    /// A courier arrives at a node, or a visit goes on.
    pub(crate) fn courier_goes_on(&mut self, courier: usize) {
        let this = &mut self.couriers[courier];
        let Some((at, life, mut visit)) = this.visit.take() else {
            return self.courier_arrives(courier);
        };
        if self.nodes[at].life != life {
            return self.tear(courier, at);
        }
        let (ended, turn) = self.at_node(courier, at, |place| visit.step(place));
        self.take_turn(at, turn);
        match ended {
            Ok(true) => {
                self.couriers[courier].visit = Some((at, life, visit));
                self.next_step(courier);
            }
            Ok(false) => {
                self.trace_courier(courier, at, "leaves");
                let this = &mut self.couriers[courier];
                this.medium.spare();
                this.visits += 1;
                self.walk_on(courier);
            }
            Err(trouble) => self.courier_fails(courier, at, &trouble),
        }
    }

    fn courier_arrives(&mut self, courier: usize) {
        let this = &mut self.couriers[courier];
        let length = this.walk.route.len().max(1);
        let place = this.walk.route.get(this.next % length).copied();
        this.next = (this.next + 1) % length;
        let Some(at) = place.filter(|at| self.nodes.get(*at).is_some_and(|node| node.up)) else {
            return self.walk_on(courier);
        };
        self.trace_courier(courier, at, "comes");
        let this = &mut self.couriers[courier];
        this.doomed = self.chance.permille(this.walk.torn_permille);
        if this.doomed {
            this.medium.doom(self.chance.below(DOOM_OPS_MAX));
        }
        let (begun, turn) = self.at_node(courier, at, Visit::begin);
        self.take_turn(at, turn);
        match begun {
            Ok(visit) => {
                let life = self.nodes[at].life;
                self.couriers[courier].visit = Some((at, life, visit));
                self.next_step(courier);
            }
            Err(trouble) => self.courier_fails(courier, at, &trouble),
        }
    }

    /// Does something with the medium at a node; what came of it, and what is durable by it.
    fn at_node<T>(
        &mut self,
        courier: usize,
        at: usize,
        act: impl FnOnce(&mut Place<'_>) -> Result<T, Trouble>,
    ) -> (Result<T, Trouble>, Turn) {
        let this = &mut self.couriers[courier];
        let mut place = Place {
            node: &mut self.nodes[at],
            disk: this.medium.disk(),
            total_bytes: this.walk.total_bytes,
            published: &mut this.published,
            letters: &self.letters,
            laws: &self.laws,
            chance: &mut self.chance,
            now_ms: self.time.now_ms(),
            turn: Turn::default(),
        };
        let done = act(&mut place);
        (done, place.turn)
    }

    /// A medium that nobody tears out does not fail, and neither does a spool.
    fn courier_fails(&mut self, courier: usize, at: usize, trouble: &Trouble) {
        if !self.couriers[courier].doomed || !matches!(trouble, Trouble::Medium(_)) {
            self.fault(at, format!("a courier fails at node {at}: {trouble}"));
        }
        self.tear(courier, at);
    }

    /// What was not synced is lost or not.
    fn tear(&mut self, courier: usize, at: usize) {
        self.trace_courier(courier, at, "is torn out");
        let seed = self.chance.draw();
        let this = &mut self.couriers[courier];
        this.medium.tear(seed);
        this.torn += 1;
        self.walk_on(courier);
    }

    fn walk_on(&mut self, courier: usize) {
        let (least_ms, most_ms) = self.couriers[courier].walk.walk_ms;
        let ms = self.chance.within(least_ms, most_ms);
        self.time.after(ms, Happening::Courier { courier });
    }

    fn next_step(&mut self, courier: usize) {
        let ms = self.chance.below(self.couriers[courier].walk.step_ms + 1);
        self.time.after(ms, Happening::Courier { courier });
    }

    fn trace_courier(&mut self, courier: usize, at: usize, what: &'static str) {
        self.trace(at, what, LinkId(0), ShortId([0; 16]), courier as u64);
    }
}
