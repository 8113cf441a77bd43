//! Storms: links come and go, answers are late and out of order, nodes die, stages are lost. In the
//! end everybody has everything, once, and nothing was settled that was not durable.
//!
//! `POSTRIDER_STORM` raises the number of seeds; a seed that fails is printed.

use crate::{
    net::{Net, Wire},
    store::{Made, made},
};

const SEEDS: u64 = 500;
const SENT_MAX: u64 = 12;

fn storm(seed: u64) {
    let count = 2 + u8::try_from(seed % 4).unwrap();
    let mut net = Net::new(count);
    net.chance.0 = seed;
    net.answer_ms = net.chance.below(200);
    net.commit_ms = net.chance.below(100);
    net.policy.keepalive = net.chance.below(2) == 0;
    let mut sent: Vec<(usize, Made)> = Vec::new();
    let mut links = Vec::new();
    for counter in 0..40 {
        let at = usize::try_from(net.chance.below(u64::from(count))).unwrap();
        let other = (at + 1 + usize::try_from(net.chance.below(u64::from(count) - 1)).unwrap())
            % usize::from(count);
        match net.chance.below(10) {
            0..=2 if (sent.len() as u64) < SENT_MAX => {
                let length = match net.chance.below(3) {
                    0 => 1 + net.chance.below(4096),
                    1 => 4097 + net.chance.below(40_000),
                    _ => 100_000 + net.chance.below(200_000),
                };
                let nice = 1 + u8::try_from(net.chance.below(255)).unwrap();
                let key = |at: usize| u8::try_from(at + 1).unwrap();
                let length = usize::try_from(length).unwrap();
                let bundle = made(key(at), key(other), nice, length, counter + 1);
                net.send(at, &bundle);
                sent.push((at, bundle));
            }
            0..=4 => {
                let wire = Wire {
                    rate_bps: [100_000, 1_000_000, 50_000_000][net.chance.below(3) as usize],
                    latency_ms: net.chance.below(300),
                    told: net.chance.below(2) == 0,
                    proven: net.chance.below(8) != 0,
                    dialled: net.chance.below(2) == 0,
                    clear_only: false,
                    seen: net.chance.below(2) == 0,
                };
                links.push(net.connect(at, other, wire).0);
            }
            5..=6 if !links.is_empty() => {
                let which = net.chance.below(links.len() as u64) as usize;
                net.cut(links.swap_remove(which));
            }
            7 => net.lose_staged(at),
            8 if net.chance.below(4) == 0 => net.restart(at),
            _ => {}
        }
        let ms = net.chance.below(1500);
        net.pass(ms);
    }
    net.cut_all();
    net.run();
    // Calm: a line of good links.
    for at in 1..usize::from(count) {
        net.connect(at - 1, at, Wire::default());
    }
    net.pass(400_000);
    for (from, bundle) in &sent {
        for at in 0..usize::from(count) {
            // Where it has arrived it goes no further, and beyond may be nobody who has it.
            let to = usize::from(bundle_to(bundle));
            let between = (*from <= at && at <= to) || (to <= at && at <= *from);
            assert!(!between || net.has(at, bundle), "node {at} lacks {}", bundle.id);
        }
    }
    for (at, node) in net.nodes.iter().enumerate() {
        let idle = node.engine.partials().0;
        assert_eq!(node.store.staged.len(), idle, "node {at} leaks staged bodies");
        let mut once = node.store.admitted.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), node.store.admitted.len(), "node {at} admitted twice");
        assert!(node.ended.is_empty(), "node {at} ended links: {:?}", node.ended);
    }
}

fn bundle_to(bundle: &Made) -> u8 {
    (1..)
        .find(|n| bundle.header.destination.as_bytes() == crate::store::node(*n).as_bytes())
        .unwrap()
        - 1
}

#[test]
fn after_any_storm_everybody_has_everything_once() {
    let seeds = std::env::var("POSTRIDER_STORM").ok().and_then(|n| n.parse().ok());
    for seed in 0..seeds.unwrap_or(SEEDS) {
        let outcome = std::panic::catch_unwind(|| storm(seed));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
