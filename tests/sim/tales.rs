//! Tales: one circumstance each.

use postrider_engine::node::{LinkPolicy, People};
use postrider_spool::Dropping;
use postrider_world::{Broken, Cover, Expectation, Nature, Wire, Wish, World, node_id};

use crate::places::{CALM_MS, any_letter, each_seed, line, told};

/// A little more than a spool shows at once.
const EACH_WAY: usize = 1100;

fn world_of(seed: u64, nodes: usize) -> World {
    let mut world = World::new(seed, Nature::default());
    world.settle_many(nodes);
    world
}

#[test]
fn along_a_line_of_six_letters_arrive_and_their_copies_are_freed() {
    let story = |seed| {
        let mut world = world_of(seed, 6);
        line(&mut world, &[0, 1, 2, 3, 4, 5], &Wire::default());
        for _ in 0..20 {
            any_letter(&mut world, 6);
        }
        world.send(0, 5, Wish::default());
        world.finish(CALM_MS)?;
        Ok(world)
    };
    assert_eq!(told(1, story).arrived(), 21);
}

#[test]
fn around_a_ring_the_other_way_serves_when_one_is_cut() {
    told(2, |seed| {
        let mut world = world_of(seed, 6);
        let roads = line(&mut world, &[0, 1, 2, 3, 4, 5, 0], &Wire::default());
        world.pass(5000)?;
        world.shut(roads[2]);
        let id = world.send(2, 3, Wish::default()).unwrap();
        world.finish(60_000)?;
        assert!(world.has_arrived(&id));
        Ok(world)
    });
}

#[test]
fn what_a_partition_stops_arrives_when_it_heals() {
    told(3, |seed| {
        let mut world = world_of(seed, 6);
        line(&mut world, &[0, 1, 2, 3, 4, 5, 0], &Wire::default());
        world.pass(3000)?;
        world.part(|at| at < 3);
        let here = world.send(0, 2, Wish::default()).unwrap();
        let across = world.send(0, 4, Wish::default()).unwrap();
        world.pass(120_000)?;
        assert!(world.has_arrived(&here) && !world.has_arrived(&across));
        world.calm(CALM_MS)?;
        assert!(world.has_arrived(&across));
        Ok(world)
    });
}

#[test]
fn a_ferry_takes_a_thousand_bundles_each_way() {
    told(4, |seed| {
        let mut world = world_of(seed, 3);
        let wire = Wire { rate_bps: 50_000_000, latency_ms: 2, ..Wire::default() };
        let roads = line(&mut world, &[0, 1, 2], &wire);
        world.shut(roads[0]);
        world.shut(roads[1]);
        for _ in 0..EACH_WAY {
            let wish = Wish { length: 300, ..Wish::default() };
            world.send(0, 2, wish);
            world.send(2, 0, wish);
        }
        // Node 1 is the ferry: never on both shores. The receipts take a voyage of their own.
        for _ in 0..3 {
            for road in &roads {
                world.open(*road);
                world.pass(60_000)?;
                world.shut(*road);
                world.pass(600_000)?;
            }
        }
        assert_eq!(world.arrived(), 2 * EACH_WAY);
        world.finish(0)?;
        Ok(world)
    });
}

#[test]
fn hidden_letters_go_as_open_ones_do() {
    told(5, |seed| {
        let mut world = world_of(seed, 4);
        line(&mut world, &[0, 1, 2, 3], &Wire::default());
        for (length, cover) in [
            (100, Cover::Hidden),
            (100, Cover::Sealed),
            (100, Cover::Clear),
            (50_000, Cover::Hidden),
            (50_000, Cover::Sealed),
            (50_000, Cover::Clear),
        ] {
            world.send(0, 3, Wish { length, cover, ..Wish::default() });
            world.send(3, 1, Wish { length, cover, ..Wish::default() });
        }
        world.finish(CALM_MS)?;
        Ok(world)
    });
}

#[test]
fn urgent_mail_overtakes_a_bulk_file_on_a_slow_road() {
    told(6, |seed| {
        let mut world = world_of(seed, 2);
        let wire = Wire { rate_bps: 9600, told: true, latency_ms: 300, ..Wire::default() };
        world.road(0, 1, wire);
        let file = Wish { nice: 224, length: 200_000, ..Wish::default() };
        let file = world.send(0, 1, file).unwrap();
        world.pass(30_000)?;
        let letter = Wish { nice: 32, length: 500, ..Wish::default() };
        let letter = world.send(0, 1, letter).unwrap();
        // Half a second of what lies in the carriage, an offer, a want, the letter.
        world.pass(4000)?;
        assert!(world.has_arrived(&letter) && !world.has_arrived(&file));
        world.finish(CALM_MS)?;
        Ok(world)
    });
}

#[test]
fn a_large_body_crosses_a_link_that_never_lives_long_enough() {
    told(7, |seed| {
        let mut world = world_of(seed, 2);
        let wire = Wire { rate_bps: 500_000, told: true, latency_ms: 50, ..Wire::default() };
        let road = world.road(0, 1, wire);
        let length = 1 << 20;
        world.send(0, 1, Wish { length, ..Wish::default() });
        // 17 s of sending, in lives of at most 3.
        for _ in 0..40 {
            let ms = world.chance().within(500, 3000);
            world.pass(ms)?;
            world.cut(road);
            world.pass(8000)?;
        }
        world.finish(60_000)?;
        let most = 2 * length as u64;
        assert!(world.bytes() < most, "{} bytes for a body of {length}", world.bytes());
        Ok(world)
    });
}

/// What commands and files for machines on mobile networks go through, in virtual time; the same for ten
/// real minutes, with all that a kernel adds, is `tests/lab/flaky.sh`.
#[test]
fn an_hour_of_flaky_4g_costs_a_quarter_more_than_what_is_sent() {
    each_seed(20, |seed| {
        let mut world = world_of(seed, 2);
        let wire = Wire {
            rate_bps: 64_000,
            latency_ms: 300,
            loss_permille: 50,
            room_bytes: 16 << 10,
            ..Wire::default()
        };
        let road = world.road(0, 1, wire);
        world.shut(road);
        let mut sent = 0;
        let mut send = |world: &mut World, from, length| {
            let wish = Wish { length, ..Wish::default() };
            sent += world.send(from, 1 - from, wish).map_or(0, |_| length as u64);
        };
        send(&mut world, 0, 2 << 20);
        send(&mut world, 1, 1 << 20);
        for minute in 0..60 {
            // A job's size, and that of its result.
            for _ in 0..if minute < 50 { 4 } else { 0 } {
                send(&mut world, 0, 1400);
                send(&mut world, 1, 1400);
            }
            world.open(road);
            world.pass(20_000)?;
            world.shut(road);
            world.pass(40_000)?;
        }
        assert_eq!(world.arrived(), 402);
        let bytes = world.bytes();
        assert!(bytes * 4 <= sent * 5, "seed {seed}: {bytes} bytes for {sent}");
        world.open(road);
        world.finish(CALM_MS)?;
        Ok(world)
    });
}

#[test]
fn nothing_passes_to_or_from_a_blocked_node() {
    told(8, |seed| {
        let mut world = world_of(seed, 3);
        line(&mut world, &[0, 1, 2, 0], &Wire::default());
        world.set_people(2, People { blocked: vec![node_id(0)], ..People::default() });
        for (from, to) in [(0, 2), (2, 0)] {
            let id = world.send(from, to, Wish::default()).unwrap();
            world.expect(&id, Expectation::Kept);
        }
        world.send(0, 1, Wish::default());
        world.send(1, 2, Wish::default());
        // What node 1 got of node 0 for itself is offered to nobody, and the rest arrives.
        world.pass(60_000)?;
        let by_blocked = world.send(0, 1, Wish { cover: Cover::Clear, ..Wish::default() }).unwrap();
        world.pass(60_000)?;
        assert!(!world.has_copy(2, &by_blocked));
        world.expect_copies_to_stay();
        world.finish(CALM_MS)?;
        Ok(world)
    });
}

#[test]
fn without_transit_a_bundle_goes_one_stop_and_no_further() {
    told(9, |seed| {
        let mut world = world_of(seed, 4);
        let policy = LinkPolicy { transit: false, ..LinkPolicy::default() };
        let wire = Wire { policies: [policy.clone(), policy], ..Wire::default() };
        line(&mut world, &[0, 1, 2, 3], &wire);
        let stop = world.send(0, 2, Wish::default()).unwrap();
        let far = world.send(0, 3, Wish::default()).unwrap();
        world.expect(&far, Expectation::Kept);
        world.finish(CALM_MS)?;
        world.pass(300_000)?;
        assert!(world.has_arrived(&stop));
        assert!(world.has_copy(1, &far) && !world.has_copy(2, &far));
        Ok(world)
    });
}

#[test]
fn a_full_node_is_tried_again_and_loses_nothing() {
    told(10, |seed| {
        let mut world = world_of(seed, 4);
        line(&mut world, &[0, 1, 2], &Wire::default());
        let away = world.road(1, 3, Wire::default());
        world.shut(away);
        world.set_carried_max(1, 3);
        for _ in 0..3 {
            world.send(0, 3, Wish { nice: 32, ..Wish::default() });
        }
        world.pass(60_000)?;
        // Nicer than what is there, it is the one that would go.
        let late = world.send(0, 2, Wish::default()).unwrap();
        world.pass(200_000)?;
        assert!(!world.has_copy(1, &late) && !world.has_arrived(&late));
        world.open(away);
        world.finish(CALM_MS)?;
        Ok(world)
    });
}

/// Of 30 places each of five neighbours has six. Three of them bring five letters each; behind the
/// other two, attackers write four times as much as all of these together, and more urgently; behind
/// one of them with three keys.
#[test]
fn a_flood_takes_the_places_of_those_who_bring_it_and_no_others() {
    each_seed(6, |seed| {
        let (relay, recipient, nobody) = (0, 6, 7);
        let attackers = [(8, 4), (9, 4), (10, 4), (11, 5)];
        let mut world = world_of(seed, 12);
        for neighbour in 1..=5 {
            world.road(relay, neighbour, Wire::default());
        }
        for (attacker, neighbour) in attackers {
            world.road(attacker, neighbour, Wire::default());
        }
        let away = world.road(relay, recipient, Wire::default());
        world.shut(away);
        world.set_carried_max(relay, 30);
        let mut writers: Vec<(usize, bool)> = (1..=3).flat_map(|at| [(at, true); 5]).collect();
        for at in [8, 9, 10, 11, 11, 11] {
            writers.extend([(at, false); 10]);
        }
        let mut honest = Vec::new();
        while !writers.is_empty() {
            let next = world.chance().index(writers.len());
            let (from, is_honest) = writers.swap_remove(next);
            let to = if is_honest { recipient } else { nobody };
            let nice = if is_honest { 160 } else { 1 };
            let id = world.send(from, to, Wish { nice, ..Wish::default() }).unwrap();
            match is_honest {
                true => honest.push(id),
                false => world.expect(&id, Expectation::Nothing),
            }
            world.pass(2000)?;
        }
        world.pass(300_000)?;
        let kept = honest.iter().filter(|id| world.has_copy(relay, id)).count();
        assert_eq!(kept, honest.len(), "seed {seed}");
        world.open(away);
        world.finish(CALM_MS)?;
        assert!(honest.iter().all(|id| world.has_arrived(id)), "seed {seed}");
        Ok(world)
    });
}

#[test]
fn what_outlives_its_time_is_dropped_and_not_before() {
    told(11, |seed| {
        let mut world = world_of(seed, 3);
        line(&mut world, &[0, 1], &Wire::default());
        let id = world.send(0, 2, Wish { lifetime_s: 1000, ..Wish::default() }).unwrap();
        world.pass(900_000)?;
        assert!(world.has_copy(0, &id) && world.has_copy(1, &id));
        world.pass(1_800_000)?;
        assert!(!world.has_copy(0, &id) && !world.has_copy(1, &id));
        world.finish(0)?;
        Ok(world)
    });
}

/// What went may come again, so full ones could pass the same letters around for as long as they
/// stand beside each other. It is the hops of a copy that end that.
#[test]
fn bounded_as_published_one_loses_what_it_wrote_and_those_who_stay_together_come_to_rest() {
    told(13, |seed| {
        let mut world = world_of(seed, 7);
        for at in 0..6 {
            (0..at).for_each(|other| {
                world.road(at, other, Wire::default());
            });
            world.set_carried_max(at, 2);
        }
        world.set_dropping(Dropping::Published);
        world.pass(5000)?;
        let letters: Vec<_> =
            (0..18).map(|n| world.send(n % 6, 6, Wish::default()).unwrap()).collect();
        letters.iter().for_each(|id| world.expect(id, Expectation::Nothing));
        world.pass(600_000)?;
        let passed = world.transmissions();
        // More than each of 18 to the five others: some came again.
        assert!(passed > 90, "{passed}");
        world.pass(3_600_000)?;
        assert_eq!(world.transmissions(), passed);
        for at in 0..6 {
            let copies = letters.iter().filter(|id| world.has_copy(at, id)).count();
            assert_eq!(copies, 2, "node {at}");
        }
        // Each wrote three.
        assert!((0..18).any(|n| !world.has_copy(n % 6, &letters[n])), "own letters stay");
        Ok(world)
    });
}

/// The speed of a busy town of 50; `--release --nocapture` shows it.
#[test]
fn fifty_nodes_live_for_an_hour() {
    let begun = std::time::Instant::now();
    let world = told(12, |seed| -> Result<World, Broken> {
        let mut world = world_of(seed, 50);
        let around: Vec<usize> = (0..50).chain([0]).collect();
        line(&mut world, &around, &Wire::default());
        for at in 0..25 {
            world.road(at, (at * 7 + 25) % 50, Wire::default());
        }
        for _ in 0..60 {
            let from = world.chance().index(50);
            let to = (from + 1 + world.chance().index(49)) % 50;
            world.send(from, to, Wish::default());
            let roads = world.all_roads();
            let road = world.chance().one_of(&roads).unwrap();
            world.cut(road);
            world.pass(60_000)?;
        }
        world.finish(CALM_MS)?;
        Ok(world)
    });
    let real_s = begun.elapsed().as_secs_f64();
    let ratio = world.now_ms() as f64 / 1000.0 / real_s;
    println!("50 nodes: {} steps, {ratio:.0} times as fast as life", world.steps());
    assert_eq!(world.arrived(), 60);
}
