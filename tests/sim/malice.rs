//! Malicious relays: whatever they do is noticed or harmless, and mail goes around them.

use std::sync::atomic::{AtomicU64, Ordering};

use postrider_world::{Broken, Caught, Malice, Nature, Scheme, Wire, World};

use crate::places::{CALM_MS, any_wire, any_wish, each_seed};

/// Of each kind; 2,000 with `POSTRIDER_STORM=2000`.
const SEEDS: u64 = 25;
/// How long it lasts: so many happenings, with at most so long between them.
const HAPPENINGS: u64 = 40;
const BETWEEN_MS: u64 = 3000;

/// What came of a kind of malice, over all seeds.
#[derive(Default)]
struct Sum {
    misdeeds: AtomicU64,
    halted: AtomicU64,
    declined: AtomicU64,
}

impl Sum {
    fn add(&self, world: &World) {
        let Caught { halted, declined } = world.caught();
        self.misdeeds.fetch_add(world.misdeeds(), Ordering::Relaxed);
        self.halted.fetch_add(halted, Ordering::Relaxed);
        self.declined.fetch_add(declined, Ordering::Relaxed);
    }

    fn all(self) -> [u64; 3] {
        [self.misdeeds, self.halted, self.declined].map(AtomicU64::into_inner)
    }
}

/// Nodes, of which the last one or two are malicious; the honest ones are a tree and some more, and
/// each malicious one lies between several of them.
fn town(seed: u64, malice: Malice) -> Result<(World, usize), Broken> {
    let mut world = World::new(seed, Nature::default());
    let chance = world.chance();
    let nature = Nature {
        answer_ms: chance.one_of(&[0, 3, 50]).unwrap(),
        commit_ms: chance.one_of(&[0, 10, 200]).unwrap(),
        tells_gone: chance.permille(500),
        ..Nature::default()
    };
    let (honest, liars) = (5 + chance.index(3), 1 + chance.index(2));
    let ours = chance.permille(500);
    let counted = chance.permille(500);
    world.set_nature(nature);
    world.set_look_every(500);
    world.set_scheme(if ours { Scheme::Ours { copies: 8 } } else { Scheme::Epidemic });
    world.settle_many(honest + liars);
    let road = |world: &mut World, a, b| {
        let mut wire = any_wire(world.chance());
        wire.rate_bps = wire.rate_bps.max(64_000);
        wire.policies.iter_mut().for_each(|policy| policy.counted = counted);
        world.road(a, b, wire)
    };
    let mut roads = Vec::new();
    for at in 1..honest {
        let to = world.chance().index(at);
        roads.push(road(&mut world, at, to));
    }
    for liar in honest..honest + liars {
        world.corrupt(liar, malice);
        // Quicker than the way around, mostly: what it brings comes first.
        let first = world.chance().index(honest);
        for next in 0..3 {
            roads.push(road(&mut world, liar, (first + next) % honest));
        }
    }
    for _ in 0..HAPPENINGS {
        match world.chance().below(8) {
            0..=4 => {
                let from = world.chance().index(honest);
                let to = (from + 1 + world.chance().index(honest - 1)) % honest;
                let wish = any_wish(world.chance());
                world.send(from, to, wish);
            }
            5..=6 => {
                let road = world.chance().one_of(&roads).unwrap();
                world.cut(road);
            }
            _ => {
                let (at, ms) = (world.chance().index(honest), world.chance().below(20_000));
                world.crash(at, ms);
            }
        }
        let ms = world.chance().below(BETWEEN_MS);
        world.pass(ms)?;
    }
    // Where copies are counted, and where hop data is a lie, one may wait for whom it is for.
    if ours || malice == Malice::Lies {
        world.heal();
        world.pass(60_000)?;
        world.look_closely();
        for a in 0..honest {
            (0..a).for_each(|b| {
                world.road(a, b, Wire::default());
            });
        }
    }
    Ok((world, honest))
}

/// In the end every letter has arrived, once, is proved, and freed at all honest nodes, while the
/// malicious ones go on.
fn story(seed: u64, malice: Malice) -> Result<World, Broken> {
    let (mut world, honest) = town(seed, malice)?;
    if malice == Malice::Holds {
        world.finish(CALM_MS)?;
        for liar in honest..honest + 2 {
            world.repent(liar);
        }
        world.pass(CALM_MS)?;
    }
    world.calm(CALM_MS)?;
    Ok(world)
}

/// How many misdeeds there were, links that were ended for them, bundles that were not believed.
fn told_of(malice: Malice) -> [u64; 3] {
    let sum = Sum::default();
    each_seed(SEEDS, |seed| {
        let world = story(seed, malice)?;
        sum.add(&world);
        Ok(world)
    });
    let all = sum.all();
    println!(
        "{malice:?}: misdeeds {}, links ended {}, bundles declined {}",
        all[0], all[1], all[2]
    );
    assert!(all[0] > 0, "{malice:?} never happened");
    all
}

#[test]
fn what_a_relay_drops_goes_around_it() {
    let [_, halted, declined] = told_of(Malice::Drops);
    // Nobody can see it, and nobody is blamed.
    assert_eq!([halted, declined], [0, 0]);
}

#[test]
fn what_a_relay_holds_and_offers_late_is_not_delivered_again() {
    told_of(Malice::Holds);
}

#[test]
fn a_changed_byte_is_noticed_wherever_it_is() {
    let [_, halted, declined] = told_of(Malice::Tampers);
    assert!(halted > 0 && declined > 0);
}

#[test]
fn units_that_end_early_end_the_link() {
    let [_, halted, _] = told_of(Malice::Truncates);
    assert!(halted > 0);
}

#[test]
fn parts_of_different_bundles_are_no_bundle() {
    let [_, _, declined] = told_of(Malice::Splices);
    assert!(declined > 0);
}

#[test]
fn what_was_said_once_means_nothing_twice() {
    let [_, halted, _] = told_of(Malice::Replays);
    assert!(halted > 0);
}

#[test]
fn units_out_of_order_lose_nothing() {
    told_of(Malice::Reorders);
}

#[test]
fn receipts_settles_marks_and_offers_that_are_made_up_free_nothing() {
    let [_, halted, declined] = told_of(Malice::Forges);
    assert!(halted > 0 && declined > 0);
}

#[test]
fn lies_about_hops_and_meetings_delay_at_worst() {
    told_of(Malice::Lies);
}
