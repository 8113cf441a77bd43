//! What strangers can do by sending whatever they like: cost a share, delay, and no more.

use postrider_base::radio::MTU_MIN;
use postrider_engine::{air::Lane, station::Output};

use super::{
    hidden::{SF8, all_there, outer_pair},
    mail::{ALL, Mail, TEXT_BYTES},
    radio::{Chance, HOUR_US},
    seeds,
    world::{Carries, Channel, World},
};

const MINUTE_US: u64 = 60_000_000;
const SECOND_US: u64 = 1_000_000;

/// What it sends next, of what it has heard and of what it makes up.
fn lie(world: &World, chance: &mut Chance) -> Vec<u8> {
    let mut noise = vec![0; 10 + usize::try_from(chance.below(200)).unwrap()];
    let salt = chance.below(u64::MAX).to_be_bytes();
    blake3::Hasher::new().update(&salt).finalize_xof().fill(&mut noise);
    let heard = || world.frames.iter().rev().take(40).map(|(.., frame)| frame);
    let some = |chance: &mut Chance, of: &[u8]| {
        let fitting: Vec<&Vec<u8>> = heard().filter(|frame| of.contains(&frame[0])).collect();
        let at = chance.below(fitting.len().max(1) as u64);
        fitting.get(usize::try_from(at).unwrap()).map(|frame| frame.to_vec())
    };
    match chance.below(10) {
        // A form that somebody seems to have passed on.
        0 | 1 => {
            let mut form = some(chance, &[0x80]).unwrap_or_else(|| noise.clone());
            form[1] = form[1].wrapping_add(1);
            form
        }
        // A beacon that somebody sent, again; or one of nobody that has everything, or nothing.
        2 => some(chance, &[4]).unwrap_or(noise),
        3 => {
            let digest = if chance.one_in(2) { [0xff; 8] } else { [0; 8] };
            [&[4, noise[0], noise[1], 0, 1][..], &noise[2..8], &digest, &noise[..5]].concat()
        }
        // Wants of whatever is sent in pieces.
        4 => {
            let piece = some(chance, &[2, 5, 6]).unwrap_or_else(|| noise.clone());
            [&[7][..], &noise[..4], &piece[1..5], &[255]].concat()
        }
        // A piece that is false.
        5 | 6 => {
            let mut piece = some(chance, &[2, 5, 6]).unwrap_or_else(|| noise.clone());
            *piece.last_mut().unwrap() ^= 0x55;
            piece
        }
        // The beginning of a form that never comes.
        7 => [&[2][..], &noise[..4], &[0, 9], &noise[4..]].concat(),
        // A form of nobody.
        8 => [&[0x80][..], &noise].concat(),
        _ => noise,
    }
}

#[test]
fn honest_mail_arrives_though_somebody_lies_all_the_time() {
    let (mut texts, mut lies, mut slowest_us) = (0, 0, 0);
    for seed in seeds(25) {
        let mut chance = Chance::new(seed ^ 0xbad);
        // The liar stands where all hear it, and does not care for any law.
        let mut world = World::new(SF8, 4, seed);
        world.silence(3);
        let mut written = outer_pair(&mut world, 2, 10);
        let long = Mail::new(0, 2, Lane::Normal, 99, 1_500);
        world.write_at(HOUR_US / 2, long.clone());
        written.push(long);
        while world.now_us < 20 * HOUR_US && !all_there(&world, &written) {
            let pause_us = SECOND_US + chance.below(4 * SECOND_US);
            world.run(world.now_us + pause_us);
            let frame = lie(&world, &mut chance);
            world.transmit(3, 0, frame);
            lies += 1;
        }
        assert!(all_there(&world, &written), "seed {seed}: something did not arrive");
        slowest_us = slowest_us.max(world.now_us);
        texts += written.len();
        // The judge does not judge the liar.
        world.nodes[3].aired.clear();
        world.assert_duty(seed);
    }
    println!(
        "{texts} texts, {lies} lies: all arrived, the last after {} min",
        slowest_us / MINUTE_US
    );
}

/// Airtime that a station spends in two hours because of what strangers send.
fn spent_us(seed: u64, mut ask: impl FnMut(&mut World, &mut Chance)) -> u64 {
    let channel = Channel { duty_permille: Some(100), loss_permille: 0, ..SF8 };
    let mut world = World::new(channel, 3, seed);
    world.silence(2);
    world.nodes[1].carries = Carries::Nothing;
    let mut chance = Chance::new(seed);
    world.write(&Mail::new(0, ALL, Lane::Normal, 1, 4_000));
    world.write(&Mail::new(0, ALL, Lane::Normal, 2, TEXT_BYTES));
    world.run(10 * MINUTE_US);
    let begun_us = world.now_us;
    while world.now_us < begun_us + 2 * HOUR_US {
        ask(&mut world, &mut chance);
        world.run(world.now_us + SECOND_US + chance.below(SECOND_US));
    }
    let aired = &world.nodes[0].aired;
    aired.iter().filter(|(us, _)| *us > begun_us).map(|(begin, end)| end - begin).sum()
}

#[test]
fn strangers_cost_a_quarter_of_the_airtime_and_no_more() {
    // A tenth of two hours.
    let may_us = 2 * HOUR_US / 10;
    let key = Mail::new(0, ALL, Lane::Normal, 1, 4_000).form();
    let key = blake3::hash(&key).as_bytes()[..4].to_vec();
    let quiet_us = spent_us(1, |_, _| {});
    let wants_us = spent_us(1, |world, chance| {
        let noise = chance.below(u64::MAX).to_be_bytes();
        world.transmit(2, 0, [&[7][..], &noise[..4], &key, &[255]].concat());
    });
    let beacons_us = spent_us(1, |world, chance| {
        let noise = chance.below(u64::MAX).to_be_bytes();
        let lacks = [&[4][..], &noise[..2], &[0, 1], &noise[2..8], &[0; 8], &noise[..5]].concat();
        world.transmit(2, 0, lacks);
    });
    println!(
        "of {} s in two hours: {} s if nobody asks, {} s for wants, {} s for beacons of nobody",
        may_us / SECOND_US,
        quiet_us / SECOND_US,
        wants_us / SECOND_US,
        beacons_us / SECOND_US
    );
    assert!(wants_us > 4 * quiet_us, "they do not even cost what they may");
    // What there was at once, and what came back within two hours.
    for us in [wants_us, beacons_us] {
        assert!(us <= quiet_us + 3 * may_us / 8 + may_us / 20, "{us} of {may_us}");
    }
}

#[test]
fn a_forged_word_that_it_arrived_delays_and_loses_nothing() {
    for seed in 0..20 {
        let mut world = World::new(Channel { loss_permille: 0, ..SF8 }, 3, seed);
        world.silence(2);
        // Nobody is there but the liar, who passes on what it hears, so that only the author hears it.
        let mail = Mail::new(0, 1, Lane::Normal, 1, TEXT_BYTES);
        world.hide(0, 1);
        world.hide(1, 2);
        world.run(MINUTE_US);
        world.write(&mail);
        let mut heard = world.frames.len();
        while world.now_us < 4 * HOUR_US {
            world.run(world.now_us + SECOND_US);
            let forms: Vec<Vec<u8>> = world.frames[heard..]
                .iter()
                .filter(|(from, _, frame)| *from == 0 && frame[0] == 0x80)
                .map(|(.., frame)| frame.clone())
                .collect();
            heard = world.frames.len();
            for mut form in forms {
                form[1] = form[1].wrapping_add(1);
                world.transmit(2, 0, form);
                world.run(world.now_us + SECOND_US);
            }
        }
        let outputs = &world.nodes[0].outputs;
        let taken = outputs.iter().filter(|(_, output)| matches!(output, Output::Taken { .. }));
        assert_eq!(taken.count(), 1, "it was believed once");
        assert!(world.nodes[0].ticked.is_empty());
        assert!(world.nodes[1].delivered.is_empty());
        // Now they hear each other, and the liar goes on.
        (world.hears[0][1], world.hears[1][0]) = (true, true);
        let there = |world: &World| world.nodes[1].delivered.contains_key(&mail.id());
        assert!(world.run_until(8 * HOUR_US, there), "seed {seed}");
    }
}

#[test]
fn no_frame_hurts_and_nothing_grows() {
    for seed in seeds(30) {
        let mut chance = Chance::new(seed);
        let mut world = World::new(SF8, 2, seed);
        world.write(&Mail::new(0, ALL, Lane::Normal, 1, 2_000));
        for round in 0..2_000 {
            let mut frame = lie(&world, &mut chance);
            if chance.one_in(3) {
                frame[0] = u8::try_from(chance.below(9)).unwrap();
            }
            if chance.one_in(5) {
                frame.truncate(usize::try_from(chance.below(MTU_MIN as u64)).unwrap());
            }
            world.give_frame(0, &frame);
            if round % 50 == 0 {
                world.run(world.now_us + SECOND_US);
            }
        }
        world.assert_duty(seed);
    }
}
