//! Crash storms: random groups on a disk that loses power (or only the process) at a random
//! operation. Afterwards everything acknowledged is there, nothing is there twice or in part, and
//! no sequence is handed out again.
//!
//! 300 seeds by default; `POSTRIDER_STORM=20000` for the heavy run, `POSTRIDER_SEED=n` for one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at what they do not expect")]

mod common;

use std::{collections::HashSet, sync::Arc, thread};

use common::{
    OnPanic, Spec, at, build, bundle, difference, entropy, id, node, picture, random_group,
    random_quotas, wrote,
};
use postrider_spool::{
    Appender, Change, DurableSpool, MemorySpool, Now, Options, Outcome, Place, Quotas, Seen,
    Sequence, Spool, SpoolError, contract::Destination,
};
use postrider_testkit::{CrashDisk, Fault, Names, Seeded};

/// Seeds that once found something: a body replaced before its record, a torn write settled by a
/// torn write, a seal that was not the end.
const FOUND: [u64; 3] = [398, 4250, 15346];

fn seeds(default: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("POSTRIDER_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("POSTRIDER_STORM").unwrap_or(default)).chain(FOUND).collect(),
    }
}

fn options() -> Options {
    let mut options = Options::default();
    options.ballast_bytes = 0;
    options.segment_bytes = 20 << 10;
    options
}

fn place(disk: &CrashDisk, seed: u64) -> Place {
    Place::on(Arc::new(disk.clone()), entropy(seed))
}

/// What must be there: the acknowledged groups, and perhaps the one that was cut off.
struct Ledger {
    acked: Vec<(Now, Vec<Spec>)>,
    used: HashSet<(Destination, u32, u64)>,
    quotas: Quotas,
}

impl Ledger {
    fn twin(&self, more: Option<&(Now, Vec<Spec>)>) -> MemorySpool {
        let twin = MemorySpool::new(entropy(0));
        twin.set_quotas(self.quotas);
        for (now, group) in self.acked.iter().chain(more) {
            twin.commit(*now, build(&twin, group).unwrap()).unwrap();
        }
        twin
    }

    fn take(&mut self, seed: u64, sequence: Sequence) {
        let number = (sequence.destination, sequence.epoch, sequence.counter);
        assert!(self.used.insert(number), "seed {seed}: {number:?} was used before");
    }
}

/// The group that a cut interrupted, and the sequence it carried.
type Cut = ((Now, Vec<Spec>), Option<Sequence>);

/// One life of a spool: groups until the disk stops it or the steps are done. Returns the group
/// that was cut off, with the sequence it carried.
fn live(
    spool: &DurableSpool,
    chance: &mut Seeded,
    ledger: &mut Ledger,
    clock: &mut (u8, u64),
    seed: u64,
) -> Option<Cut> {
    for step in 0..40 {
        // Every group stores a clock point, so that the twin knows where the clock goes on.
        clock.1 += 61 + chance.below(300);
        let now = at(clock.0, clock.1);
        // The first group of a life is always written: the clock goes on from its first reading in
        // a boot, and the twin reads it only for groups that were written.
        let group = match step {
            0 => vec![Spec::Note(0, b"abc".to_vec(), Some(clock.1.to_be_bytes().to_vec()))],
            _ => random_group(chance),
        };
        let sequence = chance.chance(1, 2).then(|| {
            let to = node(u8::try_from(chance.below(3)).unwrap());
            spool.take_sequence(&to).unwrap()
        });
        let Ok(mut changes) = build(spool, &group) else {
            return Some(((now, group), None));
        };
        // A known delivery voids the sequence too, so it is recorded on its own then.
        let delivers = group.iter().any(|spec| matches!(spec, Spec::Delivered(_)));
        changes.extend(sequence.filter(|_| !delivers).map(Change::Sequence));
        let sequence = sequence.filter(|_| !delivers);
        match spool.commit(now, changes) {
            Ok(outcomes) => {
                if let Some(sequence) = sequence {
                    ledger.take(seed, sequence);
                }
                if wrote(&outcomes) {
                    ledger.acked.push((now, group));
                    // At a time that is stored: what a later reading ended would be gone, while
                    // the twin, whose clock a crash sets back, still remembers it.
                    if chance.chance(1, 12) && spool.compact(now).is_err() {
                        return None;
                    }
                }
            }
            Err(SpoolError::TooLarge { .. }) => panic!("seed {seed}: groups are small"),
            Err(_) => return Some(((now, group), sequence)),
        }
    }
    None
}

fn storm(seed: u64, names: Names) {
    let _seed = OnPanic(seed);
    let mut chance = Seeded::new(seed);
    let disk = CrashDisk::new(names);
    let quotas = random_quotas(&mut chance);
    let mut ledger = Ledger { acked: Vec::new(), used: HashSet::new(), quotas };
    let mut clock = (1, 1000);
    for life in 0..5 {
        disk.fail_at(disk.ops() + chance.below(160), Fault::Power);
        let entropy_seed = chance.next_u64();
        let mut cut = None;
        if let Ok((spool, _)) = DurableSpool::open(place(&disk, entropy_seed), &options()) {
            spool.set_quotas(quotas);
            cut = live(&spool, &mut chance, &mut ledger, &mut clock, seed);
        }
        if chance.chance(1, 4) && !disk.is_off() {
            disk.kill();
        } else {
            disk.power_cut(chance.next_u64());
            clock = (clock.0 + 1, 10);
        }
        disk.heal();

        let (spool, recovery) =
            DurableSpool::open(place(&disk, chance.next_u64()), &options()).unwrap();
        assert!(recovery.damage.is_empty(), "seed {seed} life {life}: {:?}", recovery.damage);
        let now = at(clock.0, clock.1);
        let found = picture(&spool, now);
        let without = difference(&found, &picture(&ledger.twin(None), now));
        if let Some(line) = without.clone() {
            let Some((group, sequence)) = cut else {
                panic!("seed {seed} life {life} (left found, right acknowledged)\n{line}");
            };
            if let Some(line) = difference(&found, &picture(&ledger.twin(Some(&group)), now)) {
                let acked = without.unwrap_or_default();
                panic!(
                    "seed {seed} life {life}: found, with the cut group\n{line}\nfound, acknowledged\n{acked}"
                );
            }
            ledger.acked.push(group);
            if let Some(sequence) = sequence {
                ledger.take(seed, sequence);
            }
        }
        if chance.chance(1, 2) {
            spool.compact(now).unwrap();
            if let Some(line) = difference(&found, &picture(&spool, now)) {
                panic!("seed {seed} life {life}: compaction changed something\n{line}");
            }
        }
        let report = spool.check(now).unwrap();
        assert!(report.damaged.is_empty(), "seed {seed} life {life}: {report:?}");
        if let Some(line) = difference(&found, &picture(&spool, now)) {
            panic!("seed {seed} life {life}: the check changed something\n{line}");
        }
    }
}

#[test]
fn power_cuts_lose_nothing_acknowledged() {
    for seed in seeds(300) {
        storm(seed, Names::Atomic);
    }
}

#[test]
fn power_cuts_on_fat_lose_nothing_acknowledged() {
    for seed in seeds(100) {
        storm(seed, Names::Fat);
    }
}

#[test]
fn threads_that_share_a_write_lose_nothing_acknowledged() {
    for seed in seeds(60) {
        let _seed = OnPanic(seed);
        let mut chance = Seeded::new(seed);
        let disk = CrashDisk::new(Names::Atomic);
        let (spool, _) = DurableSpool::open(place(&disk, seed), &options()).unwrap();
        disk.fail_at(disk.ops() + 5 + chance.below(60), Fault::Power);
        let mut acked: Vec<(u64, bool)> = Vec::new();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..6u64)
                .map(|t| {
                    let spool = &spool;
                    scope.spawn(move || {
                        let mut acked = Vec::new();
                        for n in (0..50).map(|i| t * 1000 + i) {
                            let body = vec![7; 100 + usize::try_from(n % 900).unwrap()];
                            let pair = vec![
                                Change::Bundle(bundle(n, &body)),
                                Change::Bundle(bundle(n + 500, &body)),
                            ];
                            if spool.commit(at(1, 10), pair).is_err() {
                                return acked;
                            }
                            acked.push((n, false));
                            if n % 3 == 0 {
                                let why = postrider_spool::Why::Read;
                                let retire = vec![Change::Retire { id: id(n), why }];
                                if spool.commit(at(1, 10), retire).is_err() {
                                    // It may or may not have happened.
                                    acked.pop();
                                    return acked;
                                }
                                acked.last_mut().unwrap().1 = true;
                            }
                        }
                        acked
                    })
                })
                .collect();
            acked = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        });
        drop(spool);
        disk.power_cut(chance.next_u64());
        let (spool, _) = DurableSpool::open(place(&disk, seed + 1), &options()).unwrap();
        for (n, retired) in acked {
            let seen = spool.seen(&id(n)).unwrap();
            assert_eq!(seen == Some(Seen::Live), !retired, "seed {seed} bundle {n}: {seen:?}");
            assert!(seen.is_some(), "seed {seed}: bundle {n} was acknowledged");
            assert!(spool.entry(&id(n + 500)).unwrap().is_some(), "seed {seed}: half a group");
        }
        for t in 0..6 {
            for n in (0..50).map(|i| t * 1000 + i) {
                let halves = [n, n + 500].map(|n| spool.seen(&id(n)).unwrap().is_some());
                assert_eq!(halves[0], halves[1], "seed {seed}: half of group {n}");
            }
        }
    }
}

#[test]
fn appenders_and_full_spools_take_turns_through_power_cuts() {
    for seed in seeds(100) {
        let _seed = OnPanic(seed);
        let mut chance = Seeded::new(seed);
        let disk = CrashDisk::new(Names::Atomic);
        let mut acked = Vec::new();
        let mut used = HashSet::new();
        for life in 0..12u64 {
            let now = at(u8::try_from(life).unwrap(), 100);
            disk.fail_at(disk.ops() + chance.below(40), Fault::Power);
            if let Ok((appender, _)) = Appender::open(place(&disk, chance.next_u64())) {
                for n in (0..4).map(|i| life * 10 + i) {
                    let sequence = appender.take_sequence(&node(1));
                    let group =
                        vec![Change::Bundle(bundle(n, b"mail")), Change::Sequence(sequence)];
                    if appender.commit(now, group).is_err() {
                        break;
                    }
                    acked.push(n);
                    let fresh = used.insert((sequence.epoch, sequence.counter));
                    assert!(fresh, "seed {seed} life {life}: {sequence:?} again");
                }
            }
            if chance.chance(1, 3) && !disk.is_off() {
                disk.kill();
            } else {
                disk.power_cut(chance.next_u64());
            }
            if chance.chance(1, 2) {
                let (spool, _) =
                    DurableSpool::open(place(&disk, chance.next_u64()), &options()).unwrap();
                for n in &acked {
                    let seen = spool.seen(&id(*n)).unwrap();
                    assert!(seen.is_some(), "seed {seed} life {life}: lost {n}");
                }
                if let Some(n) = acked.last() {
                    let read = postrider_spool::Why::Read;
                    let retire = Change::Retire { id: id(*n), why: read };
                    let outcome = spool.commit(now, vec![retire]).unwrap();
                    assert!(matches!(outcome[0], Outcome::Done | Outcome::Unknown));
                }
            }
        }
    }
}
