//! What befalls a world: crashes, cuts, partitions, calm.

use crate::{
    history::Broken,
    roads::RoadId,
    shell::Nature,
    world::{Happening, World},
};

/// In a calm it is looked this often whether all has arrived.
const LOOK_MS: u64 = 5000;

impl World {
    /// A node dies in the midst of whatever it does, and runs again after a while. What its disk has
    /// is there; whether its machine starts anew, too, is for chance.
    pub fn crash(&mut self, at: usize, for_ms: u64) {
        if !self.nodes[at].up {
            return;
        }
        self.trace_plain(at, "crash");
        self.nodes[at].crash();
        let now_ms = self.now_ms();
        if self.chance.permille(500) {
            self.nodes[at].clock.reboot(now_ms);
        }
        let roads: Vec<usize> = (0..self.roads.roads.len())
            .filter(|road| self.roads.roads[*road].ends.contains(&at))
            .collect();
        roads.into_iter().for_each(|road| self.cut(RoadId(road)));
        self.time.after(for_ms, Happening::Revive { node: at });
    }

    /// Whether a node runs.
    pub fn is_up(&self, at: usize) -> bool {
        self.nodes[at].up
    }

    /// The link on a road is cut at whatever byte; another comes up soon.
    pub fn cut(&mut self, road: RoadId) {
        let ends = self.roads.roads[road.0].ends;
        ends.into_iter().for_each(|at| self.trace_plain(at, "cut"));
        let notice = ends.map(|_| self.chance.below(self.nature.notice_ms + 1));
        self.roads.cut(road.0, notice, &mut self.time);
        self.redial(road.0);
    }

    /// No link comes up on this road any more; the one that is up is cut.
    pub fn shut(&mut self, road: RoadId) {
        self.roads.roads[road.0].open = false;
        self.cut(road);
    }

    /// Links come up on this road again.
    pub fn open(&mut self, road: RoadId) {
        self.roads.roads[road.0].open = true;
        self.redial(road.0);
    }

    /// Nothing passes on this road, and nobody is told.
    pub fn darken(&mut self, road: RoadId) {
        self.laws.darkened = true;
        self.roads.roads[road.0].dark = true;
    }

    /// What waited on a dark road goes on.
    pub fn light(&mut self, road: RoadId) {
        self.roads.light(road.0, &mut self.time, &mut self.chance);
    }

    /// All roads, in the order in which they were built.
    pub fn all_roads(&self) -> Vec<RoadId> {
        (0..self.roads.roads.len()).map(RoadId).collect()
    }

    /// The nodes at the ends of a road.
    pub fn ends(&self, road: RoadId) -> [usize; 2] {
        self.roads.roads[road.0].ends
    }

    /// Shuts every road between two nodes of different sides.
    pub fn part(&mut self, side_of: impl Fn(usize) -> bool) {
        for road in self.all_roads() {
            let [a, b] = self.ends(road);
            if side_of(a) != side_of(b) {
                self.shut(road);
            }
        }
    }

    /// Opens and lights all roads, lets shells behave well, and tears out no medium any more.
    pub fn heal(&mut self) {
        self.nature = Nature { tells_gone: self.nature.tells_gone, ..Nature::default() };
        for road in self.all_roads() {
            self.light(road);
            self.roads.roads[road.0].open = true;
            self.redial(road.0);
        }
        for courier in &mut self.couriers {
            courier.walk.torn_permille = 0;
        }
    }

    /// Heals the world and waits, at most so long, until all has become as it should. Then looks
    /// closely.
    pub fn calm(&mut self, limit_ms: u64) -> Result<(), Broken> {
        self.heal();
        self.finish(limit_ms)
    }

    /// Waits, at most so long, until all has become as it should. Then looks closely.
    pub fn finish(&mut self, limit_ms: u64) -> Result<(), Broken> {
        let end_ms = self.now_ms().saturating_add(limit_ms);
        while let Some(what) = self.outstanding() {
            if self.now_ms() >= end_ms {
                let at = self.witness();
                self.fault(at, format!("not in {limit_ms} ms: {what}"));
                return self.sound();
            }
            self.pass(LOOK_MS)?;
        }
        self.look_closely();
        self.sound()
    }

    /// A node at which what is missing can be seen.
    fn witness(&self) -> usize {
        let missing = self.letters.iter().find(|letter| !self.has_arrived(&letter.id));
        missing.map_or(0, |letter| letter.to)
    }

    fn trace_plain(&mut self, at: usize, what: &'static str) {
        use postrider_engine::node::{LinkId, ShortId};
        self.trace(at, what, LinkId(0), ShortId([0; 16]), 0);
    }
}

#[cfg(test)]
mod tests {
    use postrider_spool::{Change, Spool, Why};

    use crate::{Nature, Wire, Wish, World};

    #[test]
    fn a_broken_law_shows_its_seed_and_what_happened_last() {
        let mut world = World::new(5, Nature::default());
        world.settle_many(2);
        let road = world.road(0, 1, Wire::default());
        world.shut(road);
        let id = world.send(0, 1, Wish::default()).unwrap();
        world.pass(1000).unwrap();
        world.look_closely();
        world.sound().unwrap();
        // Behind the back of all laws.
        let node = &world.nodes[0];
        let group = vec![Change::Retire { id, why: Why::Cancelled }];
        node.spool.commit(node.clock.spool_now(1000), group).unwrap();
        world.look_closely();
        let told = world.sound().unwrap_err().to_string();
        assert!(told.contains("seed 5, step") && told.contains("POSTRIDER_SEED=5"), "{told}");
        assert!(told.contains("node 0   send"), "{told}");
    }

    #[test]
    fn what_cannot_arrive_is_missed() {
        let mut world = World::new(6, Nature::default());
        world.settle_many(2);
        world.send(0, 1, Wish::default());
        let told = world.finish(60_000).unwrap_err().to_string();
        assert!(told.contains("has not arrived"), "{told}");
    }
}
