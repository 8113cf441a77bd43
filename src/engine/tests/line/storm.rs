//! Storms: whatever a line does, what is read is the beginning of what was written.

use std::env;

use postrider_engine::carriage::line::{Ending, Line, Settings, State};
use proptest::prelude::*;

use super::wire::{Chance, Faults, Wire};

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| env::var(name).ok().and_then(|n| n.parse().ok());
    match number("POSTRIDER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("POSTRIDER_STORM").unwrap_or(1500),
    }
}

fn faults(chance: &mut Chance) -> Faults {
    let often = |chance: &mut Chance, worst: f64| -> f64 {
        if chance.below(2) == 0 { 0.0 } else { worst / (1 << chance.below(8)) as f64 }
    };
    let swallowed: [&[u8]; 4] = [&[], &[], &[0x11, 0x13], &[0x7e]];
    let mut cuts = Vec::new();
    for _ in 0..chance.below(4) {
        let from = chance.below(5_000);
        cuts.push((from, from + chance.below(3_000)));
    }
    Faults {
        bits_per_s: [9_600, 57_600, 115_200, 1_000_000][chance.below(4) as usize],
        latency_ms: [0, 1, 20, 400][chance.below(4) as usize],
        bit_errors: often(chance, 1e-3),
        losses: often(chance, 5e-3),
        bursts: often(chance, 1e-3),
        swallowed: swallowed[chance.below(4) as usize].to_vec(),
        seven_bits: chance.below(8) == 0,
        turn_ms: (chance.below(4) == 0).then_some(20),
        cuts,
    }
}

#[test]
fn what_is_read_is_always_the_beginning_of_what_was_written_and_in_the_end_all_of_it() {
    for seed in seeds() {
        let mut chance = Chance::new(seed ^ 0xabcd);
        let mut wire = Wire::new(faults(&mut chance), seed);
        let sent = [0, 1].map(|_| {
            let most = 1 << chance.below(14);
            let length = chance.below(most);
            chance.bytes(length as usize)
        });
        wire.to_write.clone_from(&sent);
        wire.closes = [true; 2];
        let [there, back] = sent;
        let finished = [State::Closed(Ending::Finished); 2];
        let done = wire.run_until(600_000, |wire| {
            assert!(back.starts_with(&wire.came[0]), "seed {seed}");
            assert!(there.starts_with(&wire.came[1]), "seed {seed}");
            wire.states() == finished
        });
        assert!(done, "seed {seed}: {:?} {:?}", wire.states(), wire.faults);
        assert!(wire.came[0] == back && wire.came[1] == there, "seed {seed}: an end that lied");
    }
}

/// The bytes of a good session, both ways.
fn good(seed: u64) -> [Vec<u8>; 2] {
    let settings = Settings::new(115_200);
    let mut lines = [1, 2].map(|n| Line::new(settings, [n; 16], 0));
    let mut said = [Vec::new(), Vec::new()];
    lines[0].write(&Chance::new(seed).bytes(3_000));
    lines[1].write(&Chance::new(seed).bytes(100));
    lines[0].close();
    for now_ms in 0..300 {
        for end in [0, 1] {
            let mut out = Vec::new();
            lines[end].transmit(now_ms, 100, &mut out);
            lines[1 - end].receive(now_ms, &out);
            said[end].extend(out);
        }
    }
    said
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Pieces of what a good end says, and of anything, in any order, to an end that is in the middle
    /// of a session; small reads; time that leaps.
    #[test]
    fn anything_may_come_and_memory_stays_bounded(
        pieces in proptest::collection::vec((0..4u8, any::<prop::sample::Index>(), any::<u16>()), 1..60),
        noise in proptest::collection::vec(any::<u8>(), 1..400),
    ) {
        let [_, theirs] = good(5);
        let mut line = Line::new(Settings::new(115_200), [1; 16], 0);
        line.write(&Chance::new(5).bytes(3_000));
        let mut now_ms = 0;
        for (kind, at, length) in pieces {
            let from = match kind {
                0 => &noise,
                _ => &theirs,
            };
            let at = if kind == 3 { 0 } else { at.index(from.len()) };
            let end = (at + usize::from(length) % 700).min(from.len());
            line.receive(now_ms, &from[at..end]);
            let mut out = Vec::new();
            line.transmit(now_ms, 50, &mut out);
            prop_assert!(out.len() <= 50);
            line.read(&mut [0; 10]);
            now_ms += u64::from(length);
            prop_assert!(line.held_bytes() < 520_000 + 4_000);
            prop_assert!(line.next_timeout().is_none_or(|at| at < now_ms + 400_000));
        }
    }
}
