//! Lines that swallow bytes, go deaf, make noise, are cut, or have an end that begins anew.

use std::collections::BTreeMap;

use postrider_engine::carriage::line::{Duplex, Ending, Line, Settings, State};

use super::wire::{Chance, Faults, Wire};

const FINISHED: [State; 2] = [State::Closed(Ending::Finished); 2];

/// 30 KB each way; the bytes that the first end gave its port.
fn completes(faults: Faults) -> u64 {
    let mut wire = Wire::new(faults, 7);
    let sent = [8, 9].map(|seed| Chance::new(seed).bytes(30_000));
    wire.to_write.clone_from(&sent);
    wire.closes = [true; 2];
    assert!(wire.run_until(120_000, |wire| wire.states() == FINISHED), "{:?}", wire.states());
    let [there, back] = sent;
    assert!(wire.came == [back, there]);
    wire.carried(0)
}

#[test]
fn a_line_that_obeys_xon_and_xoff_costs_a_few_percent_more() {
    let clean = completes(Faults::none());
    let eating = completes(Faults { swallowed: vec![0x11, 0x13], ..Faults::none() });
    assert!(eating < clean * 104 / 100, "{eating} {clean}");
}

#[test]
fn a_line_of_seven_bits_costs_a_quarter_more() {
    let clean = completes(Faults::none());
    let seven = completes(Faults { seven_bits: true, ..Faults::none() });
    assert!(seven < clean * 128 / 100, "{seven} {clean}");
}

#[test]
fn a_line_that_swallows_what_no_hello_tries_is_found_out_as_well() {
    completes(Faults { swallowed: vec![0x05, 0xc8, 0x7e], ..Faults::none() });
    // Line ends and more, on a line that damages as well.
    let swallowed = vec![0x03, 0x04, 0x0a, 0x0d, 0x11, 0x13, 0x1a, 0xff];
    completes(Faults { swallowed, bit_errors: 1e-4, ..Faults::none() });
}

#[test]
fn a_minute_of_noise_before_during_and_after_does_no_harm() {
    let mut wire = Wire::new(Faults::none(), 3);
    let mut chance = Chance::new(4);
    let mut noise = |wire: &mut Wire, ms: u64| {
        for _ in 0..ms {
            for end in [0, 1] {
                let bytes = chance.bytes(11);
                wire.inject(end, &bytes);
            }
            wire.step();
            assert!(wire.lines.iter().all(|line| line.held_bytes() < 20_000));
        }
    };
    noise(&mut wire, 60_000);
    assert!(wire.run_until(20_000, |wire| wire.states() == [State::Open; 2]), "never opened");
    wire.to_write[0] = Chance::new(5).bytes(10_000);
    noise(&mut wire, 60_000);
    assert!(wire.run_until(20_000, |wire| wire.came[1].len() == 10_000), "never arrived");
    assert!(wire.came[1] == Chance::new(5).bytes(10_000));
    // Then it is as good as before.
    let before = wire.now_ms;
    wire.to_write[0] = Chance::new(6).bytes(100_000);
    assert!(wire.run_until(20_000, |wire| wire.came[1].len() == 110_000));
    assert!(wire.now_ms - before < 9_500, "{}", wire.now_ms - before);
}

/// Bytes of one end, cut at 00: what it says once it is open.
fn frames_of(wire: &mut Wire, end: usize) -> Vec<u8> {
    let mut out = Vec::new();
    wire.lines[end].transmit(wire.now_ms, 1 << 20, &mut out);
    out
}

#[test]
fn one_lost_or_damaged_byte_costs_the_frames_that_it_touches_and_no_other() {
    let open = || {
        let mut wire = Wire::new(Faults::none(), 5);
        assert!(wire.run_until(1000, |wire| wire.states() == [State::Open; 2]));
        wire.run_until(1000, |_| false);
        wire
    };
    // Twenty frames that follow each other, and what came of them without the byte.
    let arrived = |spoil: &dyn Fn(&mut Vec<u8>)| -> usize {
        let mut wire = open();
        wire.to_write[0].clear();
        assert_eq!(wire.lines[0].write(&[7; 3200]), 3200);
        let mut bytes = frames_of(&mut wire, 0);
        spoil(&mut bytes);
        bytes.push(0);
        wire.inject(1, &bytes);
        wire.lines[1].held_bytes()
    };
    let all = arrived(&|_| {});
    assert_eq!(all, 3200);
    let length = {
        let mut wire = open();
        wire.lines[0].write(&[7; 3200]);
        frames_of(&mut wire, 0).len()
    };
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    for at in 0..length {
        for spoil in 0..3 {
            let left = arrived(&|bytes: &mut Vec<u8>| match spoil {
                0 => drop(bytes.remove(at)),
                1 => bytes[at] ^= 0x40,
                _ => bytes[at] = 0,
            });
            *seen.entry(3200 - left).or_default() += 1;
        }
    }
    println!("bytes that did not arrive, how often: {seen:?}");
    let frame = seen.keys().copied().filter(|lost| *lost > 0).min().unwrap();
    assert!(seen.keys().all(|lost| *lost <= 2 * 192), "{seen:?}");
    assert!(seen[&frame] > 0 && frame <= 192, "{seen:?}");
}

#[test]
fn a_line_that_is_cut_goes_on_and_sends_a_window_again_at_most() {
    let cuts = vec![(3_000, 33_000)];
    let mut wire = Wire::new(Faults { cuts, ..Faults::none() }, 11);
    let sent = Chance::new(12).bytes(100_000);
    wire.to_write[0].clone_from(&sent);
    wire.closes = [true; 2];
    assert!(wire.run_until(60_000, |wire| wire.states() == FINISHED), "{:?}", wire.states());
    assert!(wire.came[1] == sent);
    println!("cut: {} bytes, done at {} ms", wire.carried(0), wire.now_ms);
    assert!(wire.carried(0) < 108_000 && wire.now_ms < 46_000);
}

#[test]
fn a_line_that_is_cut_for_too_long_is_over() {
    let cuts = vec![(1_000, 1_000_000)];
    let mut wire = Wire::new(Faults { cuts, ..Faults::none() }, 11);
    wire.to_write[0] = Chance::new(12).bytes(100_000);
    let silent = State::Closed(Ending::Silent);
    assert!(!wire.run_until(110_000, |wire| wire.lines[0].state() == silent));
    assert!(wire.run_until(20_000, |wire| wire.lines[0].state() == silent));
    assert_eq!(wire.lines[0].next_timeout(), None);
}

#[test]
fn an_end_that_begins_anew_never_gets_what_was_for_the_one_before() {
    for seed in 0..40 {
        let mut wire = Wire::new(Faults { bit_errors: 1e-5, ..Faults::none() }, seed);
        // Each session writes bytes of its own.
        wire.to_write = [vec![1; 40_000], vec![2; 40_000]];
        let at = 100 + seed * 37;
        wire.run_until(at, |_| false);
        wire.restart(1);
        wire.to_write[1] = vec![3; 40_000];
        let restarted = State::Closed(Ending::Restarted);
        let noticed = wire.run_until(10_000, |wire| {
            assert!(wire.came[1].is_empty(), "seed {seed}: of an old session");
            wire.lines[0].state() == restarted
        });
        assert!(noticed, "seed {seed}");
        assert!(wire.came[0].iter().all(|byte| *byte == 2), "seed {seed}: of a new session");
        wire.restart(0);
        wire.to_write[0] = vec![4; 40_000];
        let all = |wire: &Wire| wire.came.iter().all(|came| came.len() == 40_000);
        assert!(wire.run_until(30_000, all), "seed {seed}: {:?}", wire.states());
        assert!(wire.came == [vec![3; 40_000], vec![4; 40_000]], "seed {seed}");
    }
}

#[test]
fn a_program_that_does_not_read_stops_the_other_and_nothing_is_lost() {
    let mut wire = Wire::new(Faults { losses: 1e-4, ..Faults::none() }, 21);
    let sent = Chance::new(22).bytes(600_000);
    wire.to_write[0].clone_from(&sent);
    wire.reads[1] = false;
    wire.run_until(60_000, |_| false);
    assert!(wire.lines[1].held_bytes() <= (256 << 10) + 2000);
    assert!(wire.lines[0].held_bytes() <= (256 << 10) + 2000);
    assert!(wire.to_write[0].len() > 60_000);
    // It asks now and then whether there is room.
    assert!(wire.carried(0) < 300_000, "{}", wire.carried(0));
    wire.reads[1] = true;
    assert!(wire.run_until(60_000, |wire| wire.came[1].len() == 600_000), "it never went on");
    assert!(wire.came[1] == sent);
}

#[test]
fn an_end_that_is_acknowledged_ends_at_once_whatever_gets_lost() {
    let mut slowest = 0;
    for seed in 0..300 {
        let mut wire = Wire::new(Faults { losses: 0.01, ..Faults::none() }, seed);
        wire.to_write = [vec![1; 500], vec![2; 500]];
        wire.closes = [true; 2];
        let all = |wire: &Wire| wire.lines.iter().all(Line::is_read_to_end);
        assert!(wire.run_until(60_000, all), "seed {seed}");
        let read_ms = wire.now_ms;
        assert!(wire.run_until(60_000, |wire| wire.states() == FINISHED), "seed {seed}");
        slowest = slowest.max(wire.now_ms - read_ms);
    }
    println!("slowest end: {slowest} ms");
    assert!(slowest < 2_000, "{slowest}");
}

#[test]
fn a_slow_line_is_used_as_well() {
    let mut wire = Wire::new(Faults { bits_per_s: 9600, latency_ms: 20, ..Faults::none() }, 31);
    wire.to_write[0] = Chance::new(32).bytes(20_000);
    assert!(wire.run_until(60_000, |wire| wire.came[1].len() == 20_000));
    println!("9600: {:.1}", wire.percent(1));
    assert!(wire.percent(1) >= 96.0);
    let mut wire = Wire::new(Faults { bits_per_s: 1200, latency_ms: 20, ..Faults::none() }, 31);
    wire.to_write[0] = Chance::new(32).bytes(2_000);
    assert!(wire.run_until(60_000, |wire| wire.came[1].len() == 2_000));
    assert!(wire.percent(1) >= 80.0, "{}", wire.percent(1));
}

#[test]
fn settings_out_of_bounds_are_brought_within() {
    for bits_per_s in [0, 1, u32::MAX] {
        let settings = Settings {
            bits_per_s,
            duplex: Duplex::Half { turn_ms: u64::MAX / 8 },
            sending_bytes: 0,
            receiving_bytes: usize::MAX,
            patience_ms: u64::MAX / 2,
            calls: true,
        };
        let mut line = Line::new(settings, [0; 16], 0);
        assert!(line.write(&[7; 5000]) >= 1024);
        let mut out = Vec::new();
        line.transmit(0, 100, &mut out);
        assert!(!out.is_empty() && out.len() <= 100);
    }
}
