//! How much of the line's capacity is left for the program, and what little things cost.

use postrider_engine::carriage::line::{Ending, State};

use super::wire::{Chance, Faults, Wire};

/// 200 KB in one direction; percent, and the bytes that the sender gave its port.
fn one_way(faults: Faults, seed: u64) -> (f64, u64) {
    let mut wire = Wire::new(faults, seed);
    let sent = Chance::new(seed + 1000).bytes(200_000);
    wire.to_write[0].clone_from(&sent);
    wire.closes = [true; 2];
    let finished = [State::Closed(Ending::Finished); 2];
    assert!(wire.run_until(300_000, |wire| wire.states() == finished), "{:?}", wire.states());
    assert!(wire.came[1] == sent && wire.came[0].is_empty());
    (wire.percent(1), wire.carried(0))
}

/// The mean over a few seeds.
fn mean(faults: &Faults) -> f64 {
    let figures: Vec<_> = (1..=5).map(|seed| one_way(faults.clone(), seed)).collect();
    println!("{faults:?}: {figures:.1?}");
    figures.iter().map(|(percent, _)| percent).sum::<f64>() / 5.0
}

#[test]
fn a_clean_line_is_used_to_98_percent() {
    assert!(mean(&Faults::none()) >= 98.0);
}

#[test]
fn one_damaged_bit_in_100_000_leaves_94_percent() {
    assert!(mean(&Faults { bit_errors: 1e-5, ..Faults::none() }) >= 94.0);
}

#[test]
fn one_in_10_000_leaves_84_percent() {
    assert!(mean(&Faults { bit_errors: 1e-4, ..Faults::none() }) >= 84.0);
}

#[test]
fn one_in_1_000_leaves_55_percent() {
    assert!(mean(&Faults { bit_errors: 1e-3, ..Faults::none() }) >= 55.0);
}

#[test]
fn a_way_of_300_ms_leaves_96_percent() {
    assert!(mean(&Faults { latency_ms: 300, ..Faults::none() }) >= 96.0);
}

#[test]
fn both_directions_are_used_to_95_percent_at_once() {
    let mut wire = Wire::new(Faults::none(), 1);
    let sent = [2, 3].map(|seed| Chance::new(seed).bytes(100_000));
    wire.to_write.clone_from(&sent);
    wire.closes = [true; 2];
    let finished = [State::Closed(Ending::Finished); 2];
    assert!(wire.run_until(60_000, |wire| wire.states() == finished), "{:?}", wire.states());
    let [there, back] = sent;
    assert!(wire.came == [back, there]);
    println!("both ways: {:.1} and {:.1}", wire.percent(0), wire.percent(1));
    assert!(wire.percent(0) >= 95.0 && wire.percent(1) >= 95.0);
}

#[test]
fn a_hundred_bytes_cost_what_the_document_says() {
    let mut wire = Wire::new(Faults::none(), 1);
    assert!(wire.run_until(2000, |wire| wire.states() == [State::Open; 2]));
    wire.run_until(2000, |_| false);
    let opening = [wire.carried(0), wire.carried(1)];
    wire.to_write[0] = Chance::new(5).bytes(100);
    assert!(wire.run_until(1000, |wire| wire.came[1].len() == 100));
    wire.run_until(2000, |_| false);
    assert!(wire.lines[0].has_all_arrived());
    let all = [wire.carried(0), wire.carried(1)];
    println!("opening {opening:?}, with 100 bytes {all:?}");
}
