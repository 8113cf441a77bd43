//! Storms: whatever may happen, at any step. In the end all has arrived, once, and is freed.

use postrider_engine::node::LinkPolicy;
use postrider_world::{Broken, Expectation, Nature, RoadId, Scheme, Wire, Wish, World};

use crate::places::{CALM_MS, any_letter, any_wire, any_wish, each_seed, line, told};

/// Of each storm; `.ci/run` tells 2,000 (`POSTRIDER_STORM=2000`).
const SEEDS: u64 = 100;

fn any_nature(world: &mut World) -> Nature {
    let chance = world.chance();
    Nature {
        answer_ms: chance.one_of(&[0, 3, 50, 400]).unwrap(),
        commit_ms: chance.one_of(&[0, 10, 200]).unwrap(),
        failed_permille: chance.one_of(&[0, 0, 2]).unwrap(),
        lost_permille: chance.one_of(&[0, 0, 5]).unwrap(),
        tells_gone: chance.permille(500),
        notice_ms: chance.one_of(&[0, 100, 40_000]).unwrap(),
    }
}

/// A random town in which everything goes wrong that can.
fn town(seed: u64) -> Result<World, Broken> {
    let mut world = World::new(seed, Nature::default());
    let nature = any_nature(&mut world);
    world.set_nature(nature);
    let nodes = 3 + world.chance().index(10);
    world.settle_many(nodes);
    let mut roads = Vec::new();
    // A tree, so that all can be reached, and some more.
    for at in 1..nodes {
        let to = world.chance().index(at);
        let wire = any_wire(world.chance());
        roads.push(world.road(at, to, wire));
    }
    for _ in 0..world.chance().index(nodes) {
        let a = world.chance().index(nodes);
        let b = (a + 1 + world.chance().index(nodes - 1)) % nodes;
        let wire = any_wire(world.chance());
        roads.push(world.road(a, b, wire));
    }
    weather(&mut world, nodes, &roads)?;
    world.calm(CALM_MS)?;
    Ok(world)
}

/// Three minutes or less.
fn weather(world: &mut World, nodes: usize, roads: &[RoadId]) -> Result<(), Broken> {
    for _ in 0..60 {
        befall(world, nodes, roads);
        let ms = world.chance().below(3000);
        world.pass(ms)?;
    }
    Ok(())
}

fn befall(world: &mut World, nodes: usize, roads: &[RoadId]) {
    let road = world.chance().one_of(roads).unwrap();
    match world.chance().below(12) {
        0..=4 => any_letter(world, nodes),
        5..=6 => world.cut(road),
        7 => world.darken(road),
        8 => world.light(road),
        9 => {
            let (at, ms) = (world.chance().index(nodes), world.chance().below(20_000));
            world.crash(at, ms);
        }
        10 => world.shut(road),
        _ => world.open(road),
    }
}

#[test]
fn after_any_storm_all_has_arrived_once_and_is_freed() {
    each_seed(SEEDS, town);
}

/// Two lines of work on a short road, and a crash after every few steps, wherever they fall.
fn crashes(seed: u64) -> Result<World, Broken> {
    let mut world = World::new(seed, Nature::default());
    let nature = any_nature(&mut world);
    world.set_nature(nature);
    world.settle_many(3);
    let wire = any_wire(world.chance());
    line(&mut world, &[0, 1, 2], &wire);
    for _ in 0..12 {
        any_letter(&mut world, 3);
    }
    for _ in 0..40 {
        for _ in 0..world.chance().below(200) {
            let soon = world.now_ms() + 60_000;
            world.step_until(soon)?;
        }
        let at = world.chance().index(3);
        let ms = world.chance().below(5000);
        world.crash(at, ms);
    }
    world.calm(CALM_MS)?;
    Ok(world)
}

#[test]
fn a_crash_at_any_step_loses_nothing_that_was_acknowledged() {
    each_seed(SEEDS, crashes);
}

#[test]
fn a_seed_goes_the_same_way_every_time() {
    for seed in [1, 2, 3] {
        let runs = [told(seed, town), told(seed, town)];
        assert_eq!(runs[0].steps(), runs[1].steps());
        assert_eq!(runs[0].digest(), runs[1].digest(), "seed {seed}");
    }
    assert_ne!(told(1, town).digest(), told(2, town).digest());
}

/// Copies with tokens, on a town that loses links and power at any step, and where half of all worlds go
/// by meetings too. Not all arrives: a copy waits for whom it is for. But tokens never become more than they were, whatever is cut or forgotten, and
/// no copy is without one.
fn sprayed(seed: u64) -> Result<World, Broken> {
    let mut world = World::new(seed, Nature::default());
    let nature = any_nature(&mut world);
    world.set_nature(nature);
    let copies = world.chance().one_of(&[2, 4, 8, 16]).unwrap();
    let spray = world.chance().permille(500);
    world.set_scheme(if spray { Scheme::Spray { copies } } else { Scheme::Ours { copies } });
    world.set_look_every(200);
    let nodes = 5 + world.chance().index(8);
    world.settle_many(nodes);
    let mut roads = Vec::new();
    for _ in 0..2 * nodes {
        let a = world.chance().index(nodes);
        let b = (a + 1 + world.chance().index(nodes - 1)) % nodes;
        let mut wire = any_wire(world.chance());
        let counted = world.chance().permille(800);
        wire.policies.iter_mut().for_each(|policy| policy.counted = counted);
        roads.push(world.road(a, b, wire));
    }
    weather(&mut world, nodes, &roads)?;
    world.heal();
    world.pass(CALM_MS)?;
    world.look_closely();
    world.sound()?;
    Ok(world)
}

#[test]
fn tokens_never_become_more_than_they_were() {
    each_seed(SEEDS, sprayed);
    let world = told(3, sprayed);
    assert!(world.transmissions() > 20 && world.arrived() > 5);
}

const MINUTE_MS: u64 = 60_000;

/// The same, for hours, with letters that live for some of them: their authors spray them again while
/// all goes wrong. No more tokens come of it than are given anew, and no letter is without one.
fn sprayed_again(seed: u64) -> Result<World, Broken> {
    let mut world = World::new(seed, Nature::default());
    let nature = any_nature(&mut world);
    world.set_nature(nature);
    let copies = world.chance().one_of(&[2, 4, 8]).unwrap();
    let spray = world.chance().permille(500);
    world.set_scheme(if spray { Scheme::Spray { copies } } else { Scheme::Ours { copies } });
    world.set_look_every(200);
    let nodes = 4 + world.chance().index(5);
    world.settle_many(nodes);
    let mut roads = Vec::new();
    for _ in 0..2 * nodes {
        let a = world.chance().index(nodes);
        let b = (a + 1 + world.chance().index(nodes - 1)) % nodes;
        let mut wire = any_wire(world.chance());
        wire.policies.iter_mut().for_each(|policy| policy.counted = true);
        let road = world.road(a, b, wire);
        world.shut(road);
        roads.push(road);
    }
    for _ in 0..40 {
        if world.chance().permille(400) {
            let from = world.chance().index(nodes);
            let to = (from + 1 + world.chance().index(nodes - 1)) % nodes;
            let lifetime_s = u32::try_from(world.chance().within(3600, 14_400)).unwrap();
            let wish = Wish { lifetime_s, ..any_wish(world.chance()) };
            if let Some(id) = world.send(from, to, wish) {
                world.expect(&id, Expectation::Nothing);
            }
        }
        // Mostly they are apart.
        let road = world.chance().one_of(&roads).unwrap();
        match world.chance().below(6) {
            0 => {
                let (at, ms) = (world.chance().index(nodes), world.chance().below(20_000));
                world.crash(at, ms);
            }
            1 => world.cut(road),
            2 => world.darken(road),
            _ => world.open(road),
        }
        let ms = world.chance().below(MINUTE_MS);
        world.pass(ms)?;
        world.light(road);
        if world.chance().permille(700) {
            world.shut(road);
        }
        let ms = world.chance().below(10 * MINUTE_MS);
        world.pass(ms)?;
    }
    world.heal();
    world.pass(CALM_MS)?;
    world.look_closely();
    world.sound()?;
    Ok(world)
}

#[test]
fn what_is_sprayed_again_has_no_more_tokens_than_it_was_given() {
    each_seed(SEEDS / 2, sprayed_again);
    let renewals: u64 = (0..5).map(|seed| told(seed, sprayed_again).renewals()).sum();
    assert!(renewals > 20, "it happens: {renewals}");
}

/// Whoever got the only token to spare is never seen again. A neighbour whose cursor has passed the
/// letter by then is offered it once more, and meets whom it is for.
fn lost_copies(seed: u64, renews: bool) -> Result<World, Broken> {
    let mut world = World::new(seed, Nature::default());
    world.set_scheme(Scheme::Spray { copies: 2 });
    world.set_renews(renews);
    let (author, lost, neighbour, recipient) = (0, 1, 2, 3);
    world.settle_many(4);
    let counted = LinkPolicy { counted: true, ..LinkPolicy::default() };
    let wire = Wire { policies: [counted.clone(), counted], ..Wire::default() };
    let id = world.send(author, recipient, Wish { lifetime_s: 16 * 3600, ..Wish::default() });
    let id = id.unwrap();
    let road = world.road(author, lost, wire.clone());
    world.pass(MINUTE_MS)?;
    world.shut(road);
    let road = world.road(author, neighbour, wire.clone());
    world.pass(3600 * 1000)?;
    assert!(world.has_copy(lost, &id) && !world.has_copy(neighbour, &id));
    world.pass(2 * 3600 * 1000)?;
    assert_eq!(world.has_copy(neighbour, &id), renews, "its author sprays it again");
    world.shut(road);
    let away = world.road(neighbour, recipient, wire.clone());
    world.pass(MINUTE_MS)?;
    assert_eq!(world.has_arrived(&id), renews);
    // The receipt goes back the same way, and ends it.
    world.shut(away);
    world.open(road);
    world.pass(MINUTE_MS)?;
    assert_eq!(world.has_copy(author, &id), !renews);
    world.look_closely();
    world.sound()?;
    Ok(world)
}

#[test]
fn a_letter_whose_copies_were_lost_arrives_because_its_author_sprays_it_again() {
    each_seed(10, |seed| lost_copies(seed, true));
    each_seed(2, |seed| lost_copies(seed, false));
}
