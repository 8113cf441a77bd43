//! Places where stories happen, and how a story is told with many seeds.

use std::{
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use postrider_world::{Broken, Chance, Cover, RoadId, Wire, Wish, World};

/// Half an hour: far more than any calm needs, and less than a bundle lives.
pub const CALM_MS: u64 = 1_800_000;

/// Runs a story with the seed of `POSTRIDER_SEED`, or with so many, or with `POSTRIDER_STORM`; on
/// every processor, since each seed is a world of its own.
pub fn each_seed(usual: u64, story: impl Fn(u64) -> Result<World, Broken> + Sync) {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let seeds = match number("POSTRIDER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("POSTRIDER_STORM").unwrap_or(usual),
    };
    let next = AtomicU64::new(seeds.start);
    let some = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(());
            }
            story(seed)?;
        }
    };
    let broken: Vec<Broken> = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        all.into_iter().filter_map(|one| one.join().unwrap().err()).collect()
    });
    assert!(broken.is_empty(), "{}", broken[0]);
}

/// Runs a story with one seed.
pub fn told(seed: u64, story: impl Fn(u64) -> Result<World, Broken>) -> World {
    match story(seed) {
        Ok(world) => world,
        Err(broken) => panic!("{broken}"),
    }
}

/// Roads from each to the next.
pub fn line(world: &mut World, nodes: &[usize], wire: &Wire) -> Vec<RoadId> {
    nodes.windows(2).map(|pair| world.road(pair[0], pair[1], wire.clone())).collect()
}

/// Some road or other.
pub fn any_wire(chance: &mut Chance) -> Wire {
    let rates = [9_600, 64_000, 1_000_000, 20_000_000, 300_000_000];
    Wire {
        rate_bps: chance.one_of(&rates).unwrap(),
        latency_ms: chance.within(0, 600),
        jitter_ms: chance.below(100),
        loss_permille: chance.one_of(&[0, 0, 10, 100]).unwrap(),
        half_duplex: chance.permille(200),
        told: chance.permille(500),
        proven: !chance.permille(100),
        room_bytes: chance.one_of(&[8 << 10, 256 << 10, 1 << 20]).unwrap(),
        ..Wire::default()
    }
}

/// Some letter or other; the longest would keep the slowest roads busy for minutes.
pub fn any_wish(chance: &mut Chance) -> Wish {
    let length = match chance.below(8) {
        0..=4 => chance.within(1, 4096),
        5..=6 => chance.within(4097, 30_000),
        _ => chance.within(30_000, 200_000),
    };
    let covers = [Cover::Clear, Cover::Sealed, Cover::Sealed, Cover::Hidden];
    Wish {
        nice: u8::try_from(chance.within(1, 255)).unwrap(),
        length: usize::try_from(length).unwrap(),
        cover: chance.one_of(&covers).unwrap(),
        ..Wish::default()
    }
}

/// A letter from one to another of the nodes.
pub fn any_letter(world: &mut World, nodes: usize) {
    let from = world.chance().index(nodes);
    let to = (from + 1 + world.chance().index(nodes - 1)) % nodes;
    let wish = any_wish(world.chance());
    world.send(from, to, wish);
}
