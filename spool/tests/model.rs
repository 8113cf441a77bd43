//! The durable spool and its memory twin, given the same random groups, must agree on everything
//! that can be asked, after each step and after each reopening.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at what they do not expect")]

mod common;

use std::sync::Arc;

use common::{OnPanic, at, build, difference, entropy, picture, random_group};
use postrider_spool::{DurableSpool, MemorySpool, Options, Place, Spool};
use postrider_testkit::{CrashDisk, Names, Seeded};

fn options() -> Options {
    let mut options = Options::default();
    options.ballast_bytes = 0;
    options.segment_bytes = 24 << 10;
    options
}

fn open(disk: &CrashDisk, seed: u64) -> DurableSpool {
    let place = Place::on(Arc::new(disk.clone()), entropy(seed));
    DurableSpool::open(place, &options()).unwrap().0
}

#[test]
fn durable_and_memory_agree_after_every_step_and_every_reopening() {
    for seed in 0..25 {
        let _seed = OnPanic(seed);
        let mut chance = Seeded::new(seed);
        let disk = CrashDisk::new(Names::Atomic);
        let twin = MemorySpool::new(entropy(seed));
        let mut durable = open(&disk, seed);
        let mut time_s = 100;
        for step in 0..25 {
            time_s += chance.below(200);
            let now = at(1, time_s);
            let group = random_group(&mut chance);
            let a = durable.commit(now, build(&durable, &group).unwrap()).unwrap();
            let b = twin.commit(now, build(&twin, &group).unwrap()).unwrap();
            assert_eq!(a, b, "seed {seed} step {step}: {group:?}");
            if chance.chance(1, 8) {
                durable.compact(now).unwrap();
            }
            if chance.chance(1, 8) {
                drop(durable);
                durable = open(&disk, seed + 1000 + step);
            }
            let (a, b) = (picture(&durable, now), picture(&twin, now));
            if let Some(line) = difference(&a, &b) {
                panic!("seed {seed} step {step} (left durable)\n{line}\n{group:?}");
            }
        }
    }
}
