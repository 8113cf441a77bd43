//! Who comes near, who goes, and what they lack: beacons at work.

use postrider_engine::{air::Lane, station::Output};

use super::{
    hidden::SF8,
    mail::{ALL, Mail, TEXT_BYTES},
    radio::HOUR_US,
    seeds,
    world::{Carries, Channel, World},
};

const MINUTE_US: u64 = 60_000_000;
const SECOND_US: u64 = 1_000_000;
const CLEAN: Channel = Channel { loss_permille: 0, duty_permille: Some(100), ..SF8 };

#[test]
fn whoever_comes_is_offered_what_it_lacks_by_one_of_many() {
    let (mut slowest_us, mut offers, mut worlds) = (0, 0, 0);
    for seed in seeds(40) {
        let mut world = World::new(CLEAN, 6, seed);
        world.silence(5);
        world.nodes[5].carries = Carries::Nothing;
        let mail = Mail::new(0, ALL, Lane::Normal, 1, TEXT_BYTES);
        let long = Mail::new(0, ALL, Lane::Normal, 2, 900);
        world.write_at(20 * MINUTE_US, mail.clone());
        world.write_at(21 * MINUTE_US, long.clone());
        world.run(50 * MINUTE_US);
        assert!((1..5).all(|n| world.nodes[n].delivered.len() == 2), "seed {seed}");
        let (begun_us, before) = (world.now_us, world.frames.len());
        world.start(5);
        let there = |world: &World| world.nodes[5].delivered.len() == 2;
        assert!(world.run_until(begun_us + 10 * MINUTE_US, there), "seed {seed}");
        slowest_us = slowest_us.max(world.now_us - begun_us);
        let forms = world.frames[before..].iter().filter(|(.., frame)| frame[0] == 0x80);
        offers += forms.count();
        worlds += 1;
    }
    println!(
        "a newcomer has all after {} s at most; the text was sent {:.1} times by five who have it",
        slowest_us / SECOND_US,
        offers as f64 / worlds as f64
    );
    assert!(slowest_us < 5 * MINUTE_US);
    assert!(offers <= 2 * worlds, "{offers} in {worlds}");
}

#[test]
fn contacts_are_found_and_gone_and_strangers_are_nobody() {
    let mut world = World::new(CLEAN, 3, 1);
    world.run(HOUR_US);
    let told = |world: &World, n: usize| {
        let outputs = world.nodes[n].outputs.iter().map(|(_, output)| output);
        let (mut come, mut gone) = (Vec::new(), Vec::new());
        for output in outputs {
            match output {
                Output::Neighbour { node, .. } => come.push(*node),
                Output::NeighbourGone { node } => gone.push(*node),
                _ => {}
            }
        }
        come.sort();
        (come, gone)
    };
    let mut others = vec![world.nodes[1].id, world.nodes[2].id];
    others.sort();
    assert_eq!(told(&world, 0), (others, vec![]));
    world.silence(2);
    world.run(4 * HOUR_US);
    assert_eq!(told(&world, 0).1, [world.nodes[2].id]);
    // Beacons went rarely.
    let beacons = world.frames.iter().filter(|(from, ..)| *from == 0).count();
    assert!((7..14).contains(&beacons), "{beacons} in four hours");
}

/// The relay has passed on a text and its receipt, and the author did not hear the receipt.
#[test]
fn a_receipt_that_got_lost_is_asked_for_and_not_waited_half_an_hour_for() {
    let (mut slowest_us, mut most) = (0, 0);
    for seed in seeds(40) {
        let mut world = World::new(CLEAN, 3, seed);
        world.hide(0, 2);
        world.run(10 * MINUTE_US);
        let mail = Mail::new(0, 2, Lane::Normal, 1, TEXT_BYTES);
        world.write(&mail);
        let taken = |world: &World| {
            world.nodes[0].outputs.iter().any(|(_, o)| matches!(o, Output::Taken { .. }))
        };
        assert!(world.run_until(world.now_us + MINUTE_US, taken), "seed {seed}");
        world.hears[1][0] = false;
        world.run(world.now_us + 10 * SECOND_US);
        assert!(world.nodes[2].delivered.contains_key(&mail.id()));
        assert!(world.nodes[0].ticked.is_empty(), "seed {seed}");
        world.hears[1][0] = true;
        let (begun_us, before) = (world.now_us, world.frames.len());
        let ticked = |world: &World| !world.nodes[0].ticked.is_empty();
        assert!(world.run_until(begun_us + 20 * MINUTE_US, ticked), "seed {seed}");
        slowest_us = slowest_us.max(world.now_us - begun_us);
        let bytes: usize = world.frames[before..].iter().map(|(.., frame)| frame.len()).sum();
        most = most.max(bytes);
    }
    println!(
        "a lost receipt is there after {} s at most, for {most} bytes",
        slowest_us / SECOND_US
    );
    assert!(slowest_us < 5 * MINUTE_US && most < TEXT_BYTES);
}

/// The same, and the relay did not hear it either.
#[test]
fn a_receipt_that_the_relay_missed_comes_with_its_next_repetition() {
    let mut slowest_us = 0;
    for seed in seeds(20) {
        let mut world = World::new(CLEAN, 3, seed);
        world.hide(0, 2);
        world.run(10 * MINUTE_US);
        let mail = Mail::new(0, 2, Lane::Normal, 1, TEXT_BYTES);
        world.write(&mail);
        let there = |world: &World| world.nodes[2].delivered.contains_key(&mail.id());
        assert!(world.run_until(world.now_us + MINUTE_US, there), "seed {seed}");
        world.hears[2][1] = false;
        world.run(world.now_us + 4 * SECOND_US);
        world.hears[2][1] = true;
        let begun_us = world.now_us;
        let ticked = |world: &World| !world.nodes[0].ticked.is_empty();
        assert!(world.run_until(begun_us + 25 * MINUTE_US, ticked), "seed {seed}");
        slowest_us = slowest_us.max(world.now_us - begun_us);
    }
    println!("one that the relay did not hear either after {} s at most", slowest_us / SECOND_US);
}

/// Five messages of two pieces at once, and a relay that knows neither end: what got lost where is found
/// out by asking.
#[test]
fn a_relay_that_knows_nobody_brings_all_and_every_receipt() {
    let fast = Channel {
        spreading: 7,
        bandwidth_hz: 500_000,
        mtu_bytes: 255,
        duty_permille: None,
        loss_permille: 150,
    };
    let mut took_s = Vec::new();
    for seed in seeds(100) {
        let mut world = World::new(fast, 3, seed);
        world.silence(1);
        world.nodes[1].stranger = true;
        world.start(1);
        world.hide(0, 2);
        world.run(2 * SECOND_US);
        (0..5).for_each(|number| world.write(&Mail::new(0, 2, Lane::Normal, number, 290)));
        let ticked = |world: &World| world.nodes[0].ticked.len() == 5;
        assert!(world.run_until(HOUR_US, ticked), "seed {seed}");
        took_s.push(world.now_us / SECOND_US);
    }
    took_s.sort_unstable();
    let at = |percent: usize| took_s[(took_s.len() - 1) * percent / 100];
    println!(
        "five over a stranger, all ticked: p50 {} s, p95 {} s, at most {} s",
        at(50),
        at(95),
        at(100)
    );
    assert!(at(95) <= 120);
}

#[test]
fn who_keeps_and_says_nothing_else_says_so_in_a_beacon() {
    let (mut all, mut worlds) = (0, 0);
    for seed in seeds(40) {
        let mut world = World::new(CLEAN, 2, seed);
        world.nodes[1].carries = Carries::Nothing;
        world.run(30 * MINUTE_US);
        let before = world.frames.len();
        // For somebody who is not here.
        let mail = Mail::new(0, 77, Lane::Normal, 1, TEXT_BYTES);
        world.write(&mail);
        world.run(world.now_us + 10 * MINUTE_US);
        let forms = world.frames[before..].iter().filter(|(.., frame)| frame[0] == 0x80).count();
        // A minute must pass between two beacons.
        assert!(forms <= 5, "seed {seed}: sent {forms} times");
        (all, worlds) = (all + forms, worlds + 1);
        let taken = world.nodes[0].outputs.iter().any(|(_, output)| {
            *output == Output::Taken { id: mail.id(), by: Some(world.nodes[1].id) }
        });
        assert!(taken, "seed {seed}");
    }
    println!("{all} times for {worlds} texts that somebody keeps");
    assert!(all <= 3 * worlds / 2);
}
