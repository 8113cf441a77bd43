//! The durable spool and its memory twin, given the same random groups, must agree on everything
//! that can be asked, after each step and after each reopening.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at what they do not expect")]

mod common;

use std::{collections::BTreeSet, sync::Arc};

use common::{
    OnPanic, at, build, bundle, difference, entropy, id, picture, random_group, random_quotas,
};
use postrider_spool::{
    Body, Change, Class, DurableSpool, MemorySpool, NewBundle, Options, Outcome, Place, Quota,
    Quotas, Seen, Spool,
};
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
        let quotas = random_quotas(&mut chance);
        twin.set_quotas(quotas);
        durable.set_quotas(quotas);
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
                durable.set_quotas(quotas);
            }
            let (a, b) = (picture(&durable, now), picture(&twin, now));
            if let Some(line) = difference(&a, &b) {
                panic!("seed {seed} step {step} (left durable)\n{line}\n{group:?}");
            }
        }
    }
}

/// A bundle as the rules for dropping see it.
#[derive(Clone, Debug)]
struct Carried {
    n: u64,
    from: Option<u8>,
    source: Option<u8>,
    nice: u8,
    worth: u8,
    counted: u64,
    ends_s: u64,
}

/// The rules as they are written down: whoever must go goes one at a time, and all is looked at
/// again. `None` when the newcomer would be the one.
fn naive(
    before: &[Carried],
    new: &Carried,
    quota: Quota,
    now_s: u64,
    spool: &dyn Spool,
) -> Option<Vec<u64>> {
    let mut all = before.to_vec();
    all.push(new.clone());
    let fits = |all: &[Carried]| {
        let bytes: u64 = all.iter().map(|one| one.counted).sum();
        bytes <= quota.bytes && all.len() as u64 <= quota.bundles
    };
    if !fits(std::slice::from_ref(new)) {
        return None;
    }
    let mut gone = Vec::new();
    while !fits(&all) {
        let share = |is_of: &dyn Fn(&Carried) -> bool| {
            all.iter().filter(|one| is_of(one)).map(|one| one.counted).sum::<u64>()
        };
        let ended = all.iter().filter(|one| one.ends_s <= now_s && one.n != new.n);
        let victim = match ended.min_by_key(|one| (one.ends_s, one.n)) {
            Some(ended) => ended.n,
            None => {
                // Who has the most, among equals the one without a name, then the lower name, if that
                // is half as much again as a part of this, with one more to share it.
                let over = |shares: &[(u64, Option<u8>)], whole: u64| {
                    let larger = |a: &&(u64, Option<u8>), b: &&(u64, Option<u8>)| {
                        a.0.cmp(&b.0).then(b.1.cmp(&a.1))
                    };
                    let most = *shares.iter().max_by(larger).unwrap();
                    let parties = shares.iter().map(|one| one.1).collect::<BTreeSet<_>>().len() + 1;
                    (most.0 * 2 * parties as u64 > whole * 3).then_some(most)
                };
                let froms: Vec<_> =
                    all.iter().map(|a| (share(&|one| one.from == a.from), a.from)).collect();
                let from = over(&froms, share(&|_| true));
                let source = from.and_then(|(whole, from)| {
                    let theirs = all.iter().filter(|one| one.from == from);
                    let of = |source| share(&|one| one.from == from && one.source == source);
                    over(&theirs.map(|one| (of(one.source), one.source)).collect::<Vec<_>>(), whole)
                });
                let is_among = |one: &&Carried| {
                    from.is_none_or(|from| one.from == from.1)
                        && source.is_none_or(|source| one.source == source.1)
                };
                // A neighbour's newcomer gives way to its equals of other sources.
                let gives_way = from.is_some() && source.is_none();
                let arrival = |one: &Carried| match one.n == new.n {
                    true if gives_way => 0,
                    true => u64::MAX,
                    false => arrival(spool, one.n),
                };
                let value = |one: &Carried| {
                    i64::from(one.worth) - 8 * i64::from((one.counted / 512).ilog2())
                };
                let turn = |one: &&Carried| (u8::MAX - one.nice, value(one), arrival(one));
                all.iter().filter(is_among).min_by_key(turn).unwrap().n
            }
        };
        if victim == new.n {
            return None;
        }
        all.retain(|one| one.n != victim);
        gone.push(victim);
    }
    Some(gone)
}

/// Rises with every admission.
fn arrival(spool: &dyn Spool, n: u64) -> u64 {
    spool.entry(&id(n)).unwrap().map_or(u64::MAX, |entry| entry.arrival)
}

#[test]
fn what_goes_is_what_the_rules_say() {
    for seed in 0..12 {
        let _seed = OnPanic(seed);
        let mut chance = Seeded::new(seed);
        let disk = CrashDisk::new(Names::Atomic);
        let durable = open(&disk, seed);
        let twin = MemorySpool::new(entropy(seed));
        let quota = Quota { bytes: 4000 + chance.below(40_000), bundles: 5 + chance.below(40) };
        let quotas = Quotas { friend: quota, ..Quotas::UNLIMITED };
        let mut here: Vec<Carried> = Vec::new();
        let mut time_s = 0;
        for n in 0..150 {
            time_s += chance.below(20);
            let pick = |most: u64, chance: &mut Seeded| {
                let n = u8::try_from(chance.below(most)).unwrap();
                (n > 0).then_some(n)
            };
            let (from, source) = (pick(4, &mut chance), pick(4, &mut chance));
            let length = chance.index(2500);
            let lifetime_s = 30 + chance.below(3000);
            let new = Carried {
                n,
                from,
                source,
                nice: [32, 160, 160, 224][chance.index(4)],
                worth: [0, 0, 40, 41][chance.index(4)],
                counted: (length as u64).max(512),
                ends_s: time_s + lifetime_s,
            };
            let wanted = naive(&here, &new, quota, time_s, &twin);
            let mut outcomes = Vec::new();
            for spool in [&durable as &dyn Spool, &twin] {
                spool.set_quotas(quotas);
                let mut bundle = NewBundle { class: Class::Friend, ..bundle(n, b"") };
                bundle.from = from.map(|n| [n; 32]);
                bundle.summary.source = source.map(|n| [n; 32]);
                (bundle.summary.nice, bundle.worth) = (new.nice, new.worth);
                bundle.summary.length = length as u64;
                bundle.summary.lifetime_s = u32::try_from(lifetime_s).unwrap();
                bundle.body = Body::Inline(vec![1; length]);
                let now = at(1, time_s);
                outcomes.push(spool.commit(now, vec![Change::Bundle(bundle)]).unwrap()[0]);
            }
            let outcome = if wanted.is_some() { Outcome::Admitted } else { Outcome::Full };
            assert_eq!(outcomes, [outcome; 2], "seed {seed}, {n}");
            if let Some(gone) = wanted {
                here.push(new);
                here.retain(|one| !gone.contains(&one.n));
            }
            for n in 0..=n {
                let wanted = here.iter().any(|one| one.n == n);
                for spool in [&durable as &dyn Spool, &twin] {
                    let is_here = spool.seen(&id(n)).unwrap() == Some(Seen::Live);
                    assert_eq!(is_here, wanted, "seed {seed}, {n} at {time_s} s");
                }
            }
        }
    }
}
