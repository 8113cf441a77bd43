//! Couriers: mail that goes by media alone, or by media and links.

use postrider_base::disk::Disk;
use postrider_testkit::{CrashDisk, Fault, Names};
use postrider_world::{
    Broken, CourierId, Cover, Expectation, Medium, Nature, RoadId, Walk, Wire, Wish, World,
};

use crate::places::{any_letter, any_wire, any_wish, each_seed, line, told};

/// Four days: the longest way takes a few rounds of some hours, and its receipt as many.
const ROUNDS_MS: u64 = 4 * 86_400_000;
const HOUR_MS: u64 = 3_600_000;
/// As [`storms`](super::storms).
const SEEDS: u64 = 60;

/// A stick of either kind of file system.
struct Stick(CrashDisk);

impl Medium for Stick {
    fn disk(&self) -> &dyn Disk {
        &self.0
    }

    fn doom(&self, ops: u64) {
        self.0.fail_from(self.0.ops() + ops, Fault::Power);
    }

    fn spare(&self) {
        self.0.heal();
    }

    fn tear(&self, seed: u64) {
        self.0.power_cut(seed);
    }
}

fn stick(names: Names) -> (CrashDisk, Box<dyn Medium>) {
    let disk = CrashDisk::new(names);
    (disk.clone(), Box::new(Stick(disk)))
}

/// Files of a kind on a stick.
fn files(disk: &CrashDisk, ending: &str) -> usize {
    let is_one = |path: &std::path::Path| path.extension().is_some_and(|it| it == ending);
    disk.files().iter().filter(|(path, _)| is_one(path)).count()
}

fn walk(route: &[usize]) -> Walk {
    Walk { route: route.to_vec(), ..Walk::default() }
}

fn world_of(seed: u64, nodes: usize) -> World {
    let mut world = World::new(seed, Nature::default());
    world.settle_many(nodes);
    world
}

#[test]
fn between_islands_without_any_link_a_mule_carries_mail_and_receipts() {
    told(20, |seed| {
        let mut world = world_of(seed, 6);
        line(&mut world, &[0, 1, 2], &Wire::default());
        line(&mut world, &[3, 4, 5], &Wire::default());
        let (disk, medium) = stick(Names::Fat);
        let mule = world.courier(medium, walk(&[1, 4]));
        for (length, cover) in [
            (100, Cover::Sealed),
            (100, Cover::Hidden),
            (100, Cover::Clear),
            (90_000, Cover::Sealed),
        ] {
            world.send(0, 5, Wish { length, cover, ..Wish::default() });
            world.send(5, 0, Wish { length, cover, ..Wish::default() });
        }
        world.finish(ROUNDS_MS)?;
        // What is settled leaves the stick with the next visits, but for what nobody proves.
        world.pass(2 * HOUR_MS)?;
        let (visits, torn) = world.visits(mule);
        assert!(visits >= 3 && torn == 0, "{visits} {torn}");
        assert_eq!(files(&disk, "PRN"), 1, "{:?}", disk.files());
        Ok(world)
    });
}

#[test]
fn where_nobody_walks_nothing_arrives() {
    told(21, |seed| {
        let mut world = world_of(seed, 3);
        let (_, medium) = stick(Names::Atomic);
        world.courier(medium, walk(&[0, 1]));
        let near = world.send(0, 1, Wish::default()).unwrap();
        let far = world.send(0, 2, Wish::default()).unwrap();
        assert!(world.can_reach(0, 1) && !world.can_reach(0, 2));
        world.expect(&far, Expectation::Kept);
        world.pass(24 * HOUR_MS)?;
        world.finish(0)?;
        assert!(world.has_arrived(&near) && world.has_copy(1, &far));
        Ok(world)
    });
}

#[test]
fn what_is_settled_everywhere_leaves_the_stick() {
    told(22, |seed| {
        let mut world = world_of(seed, 2);
        let (disk, medium) = stick(Names::Fat);
        world.courier(medium, walk(&[0, 1]));
        for _ in 0..5 {
            world.send(0, 1, Wish::default());
            world.send(1, 0, Wish { length: 50_000, ..Wish::default() });
        }
        world.finish(ROUNDS_MS)?;
        world.pass(HOUR_MS)?;
        assert_eq!(files(&disk, "PRC"), 0, "{:?}", disk.files());
        Ok(world)
    });
}

#[test]
fn a_stick_that_is_torn_out_of_every_other_visit_loses_nothing() {
    for names in [Names::Atomic, Names::Fat] {
        told(23, |seed| {
            let mut world = world_of(seed, 3);
            let torn = |route: &[usize]| Walk { torn_permille: 500, ..walk(route) };
            let (_, medium) = stick(names);
            let mule = world.courier(medium, torn(&[0, 1, 2, 1]));
            for _ in 0..200 {
                any_letter(&mut world, 3);
                world.pass(HOUR_MS / 4)?;
            }
            world.calm(ROUNDS_MS)?;
            let (visits, torn) = world.visits(mule);
            assert!(visits > 50 && torn > 20, "{visits} {torn}");
            Ok(world)
        });
    }
}

#[test]
fn a_node_that_loses_power_in_the_middle_of_a_visit_loses_nothing() {
    told(25, |seed| {
        let mut world = world_of(seed, 3);
        let (_, medium) = stick(Names::Fat);
        let hasty = Walk { walk_ms: (1000, 5000), step_ms: 1000, ..walk(&[0, 1, 2]) };
        let mule = world.courier(medium, hasty);
        for _ in 0..100 {
            any_letter(&mut world, 3);
            let (at, ms) = (world.chance().index(3), world.chance().below(10_000));
            world.pass(ms)?;
            world.crash(at, 3000);
        }
        let (_, torn) = world.visits(mule);
        assert!(torn > 20, "{torn}");
        world.finish(HOUR_MS)?;
        Ok(world)
    });
}

#[test]
fn a_stick_and_a_link_bring_the_same_letter_and_it_arrives_once() {
    told(24, |seed| {
        let mut world = world_of(seed, 2);
        let slow = Wire { rate_bps: 9600, latency_ms: 300, ..Wire::default() };
        world.road(0, 1, slow);
        for _ in 0..3 {
            let (_, medium) = stick(Names::Fat);
            let quick = Walk { walk_ms: (500, 5000), step_ms: 20, ..walk(&[0, 1]) };
            world.courier(medium, quick);
        }
        for _ in 0..40 {
            let wish = any_wish(world.chance());
            world.send(0, 1, wish);
            let wish = any_wish(world.chance());
            world.send(1, 0, wish);
            world.pass(3000)?;
        }
        world.finish(HOUR_MS)?;
        assert_eq!(world.arrived(), 80);
        Ok(world)
    });
}

/// Islands of a few nodes, mules between some of them, and everything that befalls both.
fn islands(seed: u64) -> Result<World, Broken> {
    let mut world = World::new(seed, Nature::default());
    let nature = Nature {
        answer_ms: world.chance().one_of(&[0, 3, 50]).unwrap(),
        commit_ms: world.chance().one_of(&[0, 10, 200]).unwrap(),
        tells_gone: world.chance().permille(500),
        notice_ms: world.chance().one_of(&[0, 100, 40_000]).unwrap(),
        ..Nature::default()
    };
    world.set_nature(nature);
    let nodes = 2 + world.chance().index(9);
    world.settle_many(nodes);
    let mut roads = Vec::new();
    for at in 1..nodes {
        // Most are islands by themselves.
        if world.chance().permille(400) {
            let to = world.chance().index(at);
            let wire = any_wire(world.chance());
            roads.push(world.road(at, to, wire));
        }
    }
    let mules: Vec<CourierId> =
        (0..=world.chance().index(3)).map(|_| mule(&mut world, nodes)).collect();
    for _ in 0..40 {
        befall(&mut world, nodes, &roads);
        let ms = world.chance().below(HOUR_MS / 6);
        world.pass(ms)?;
    }
    world.calm(ROUNDS_MS)?;
    assert!(mules.iter().any(|mule| world.visits(*mule).0 > 0));
    Ok(world)
}

fn mule(world: &mut World, nodes: usize) -> CourierId {
    let chance = world.chance();
    let route = (0..2 + chance.index(4)).map(|_| chance.index(nodes)).collect();
    let least_ms = chance.one_of(&[20_000, 60_000, 600_000]).unwrap();
    let walk = Walk {
        route,
        walk_ms: (least_ms, 6 * least_ms),
        step_ms: chance.one_of(&[0, 50, 5000]).unwrap(),
        torn_permille: chance.one_of(&[0, 100, 400]).unwrap(),
        ..Walk::default()
    };
    let names = chance.one_of(&[Names::Atomic, Names::Fat]).unwrap();
    let (_, medium) = stick(names);
    world.courier(medium, walk)
}

fn befall(world: &mut World, nodes: usize, roads: &[RoadId]) {
    match world.chance().below(10) {
        0..=5 => {
            let from = world.chance().index(nodes);
            let to = (from + 1 + world.chance().index(nodes - 1)) % nodes;
            let wish = any_wish(world.chance());
            let sent = world.send(from, to, wish);
            // Roads stay open here, so what cannot be reached now never can.
            if let Some(id) = sent.filter(|_| !world.can_reach(from, to)) {
                world.expect(&id, Expectation::Kept);
            }
        }
        6..=7 => {
            let (at, ms) = (world.chance().index(nodes), world.chance().below(HOUR_MS / 6));
            world.crash(at, ms);
        }
        _ => {
            if let Some(road) = world.chance().one_of(roads) {
                world.cut(road);
            }
        }
    }
}

#[test]
fn between_islands_all_that_can_arrive_arrives_once_and_is_freed() {
    each_seed(SEEDS, islands);
}

#[test]
fn a_seed_with_couriers_goes_the_same_way_every_time() {
    for seed in [1, 2, 3] {
        let runs = [told(seed, islands), told(seed, islands)];
        assert_eq!(runs[0].steps(), runs[1].steps());
        assert_eq!(runs[0].digest(), runs[1].digest(), "seed {seed}");
    }
}
