//! Three stations of which the outer two do not hear each other, a tenth of all frames lost, one percent
//! of duty: everything arrives, the judge sees no hour above the law, and what is urgent is quick.

use postrider_engine::{air::Lane, station::Output};

use super::{
    mail::{Mail, TEXT_BYTES},
    radio::{Chance, HOUR_US},
    seeds,
    world::{Channel, World},
};

pub const SF8: Channel = Channel {
    spreading: 8,
    bandwidth_hz: 125_000,
    mtu_bytes: 230,
    duty_permille: Some(10),
    loss_permille: 100,
};
const MINUTE_US: u64 = 60_000_000;

/// Both ends write to each other: of which lane, and when.
pub fn outer_pair(world: &mut World, hours: u64, texts: u64) -> Vec<Mail> {
    world.hide(0, 2);
    let mut written = Vec::new();
    for number in 0..texts * hours {
        let at_us = MINUTE_US + world.chance.below(hours * HOUR_US);
        let (from, to) = if world.chance.one_in(2) { (0, 2) } else { (2, 0) };
        let lane = match world.chance.below(10) {
            0..3 => Lane::Urgent,
            3..9 => Lane::Normal,
            _ => Lane::Bulk,
        };
        let number = u32::try_from(number).unwrap();
        let mail = Mail::new(from, to, lane, number, TEXT_BYTES);
        world.write_at(at_us, mail.clone());
        written.push(mail);
    }
    written
}

pub fn all_there(world: &World, written: &[Mail]) -> bool {
    written.iter().all(|mail| world.nodes[usize::from(mail.to)].delivered.contains_key(&mail.id()))
}

/// How long two hops take by airtime alone, if whoever sends knows at once what was lost.
fn least_us(chance: &mut Chance) -> u64 {
    let frame_us = SF8.modulation().air_us(TEXT_BYTES as u64);
    let mut us = 0;
    for _ in 0..2 {
        us += frame_us;
        while chance.below(1_000) < SF8.loss_permille {
            us += frame_us;
        }
    }
    us
}

fn percentile(mut of: Vec<u64>, percent: usize) -> u64 {
    of.sort_unstable();
    of.get((of.len() * percent / 100).min(of.len().saturating_sub(1))).copied().unwrap_or(0)
}

#[test]
fn everything_arrives_over_a_hidden_pair_and_the_urgent_is_quick() {
    let (mut urgent, mut least, mut normal) = (Vec::new(), Vec::new(), Vec::new());
    let (mut fullest, mut texts, mut frames, mut ticked) = (0, 0, 0, 0);
    for seed in seeds(40) {
        let mut world = World::new(SF8, 3, seed);
        let written = outer_pair(&mut world, 3, 12);
        let there = world.run_until(30 * HOUR_US, |world| all_there(world, &written));
        assert!(there, "seed {seed}: something did not arrive in {} s", world.now_us / 1_000_000);
        world.run(world.now_us + 6 * HOUR_US);
        for mail in &written {
            let (id, n) = (mail.id(), usize::from(mail.to));
            let took_us = world.nodes[n].delivered[&id] - world.written[&id];
            ticked += usize::from(world.nodes[usize::from(mail.from)].ticked.contains_key(&id));
            if mail.lane == Lane::Urgent {
                urgent.push(took_us);
                least.push(least_us(&mut world.chance));
            } else {
                normal.push(took_us);
            }
        }
        fullest = fullest.max(world.assert_duty(seed));
        texts += written.len();
        frames += world.frames.len();
        let ended = world.nodes.iter().flat_map(|node| &node.outputs);
        let ended = ended.filter(|(_, output)| matches!(output, Output::Ended { .. }));
        assert_eq!(ended.count(), 0, "seed {seed}");
    }
    let (p95, p95_least) = (percentile(urgent.clone(), 95), percentile(least, 95));
    println!(
        "{texts} texts, all there, {ticked} ticked; {:.2} frames for each; fullest hour {fullest} of 1000; \
         urgent p50 {} ms, p95 {} ms, by airtime alone {} ms; others p50 {} ms, p95 {} ms",
        frames as f64 / texts as f64,
        percentile(urgent, 50) / 1_000,
        p95 / 1_000,
        p95_least / 1_000,
        percentile(normal.clone(), 50) / 1_000,
        percentile(normal, 95) / 1_000,
    );
    assert!(p95 <= 2 * p95_least, "{p95} of {p95_least}");
}
