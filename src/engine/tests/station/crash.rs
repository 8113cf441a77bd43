//! Stations that die at any moment, between booking and sending too: nothing is lost that was durable, and
//! no hour has more than the law allows.

use postrider_engine::station::Output;

use super::{
    hidden::{SF8, all_there, outer_pair},
    radio::{Chance, HOUR_US},
    seeds,
    world::World,
};

#[test]
fn nothing_is_lost_and_the_duty_holds_whoever_dies_when() {
    let (mut deaths, mut booked, mut on_air, mut fullest) = (0, 0, 0, 0);
    for seed in seeds(120) {
        let mut chance = Chance::new(seed ^ 0xdead);
        let mut world = World::new(SF8, 3, seed);
        world.nodes.iter_mut().for_each(|node| node.refuses = 20);
        let written = outer_pair(&mut world, 2, 15);
        let mut next_us = chance.below(HOUR_US / 8);
        while world.now_us < 3 * HOUR_US {
            world.run(next_us);
            let n = usize::try_from(chance.below(3)).unwrap();
            if chance.one_in(2) {
                // In the middle of something: behind a write, or a frame.
                let at = world.nodes[n].outputs.len();
                let sends = |world: &World| {
                    world.nodes[n].outputs[at..].iter().any(|(_, output)| {
                        matches!(output, Output::WriteLedger { .. } | Output::Transmit { .. })
                    })
                };
                world.run_until(next_us + HOUR_US / 20, sends);
                world.run(world.now_us + chance.below(200_000));
            }
            match world.nodes[n].outputs.last() {
                Some((_, Output::WriteLedger { .. })) => booked += 1,
                Some((_, Output::Transmit { .. })) => on_air += 1,
                _ => {}
            }
            world.crash(n);
            deaths += 1;
            next_us = world.now_us + chance.below(HOUR_US / 8);
        }
        let there = world.run_until(40 * HOUR_US, |world| all_there(world, &written));
        assert!(there, "seed {seed}: something did not arrive");
        fullest = fullest.max(world.assert_duty(seed));
    }
    println!(
        "{deaths} deaths, {booked} with frames booked, {on_air} with one on the air: all arrived; fullest \
         hour {fullest} of 1000"
    );
    assert!(booked > 10 && on_air > 10);
}
