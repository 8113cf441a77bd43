//! How much of the line's capacity is left for the program, and what little things cost.

use postrider_engine::carriage::line::{Ending, Line, State};

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
fn one_in_10_000_leaves_90_percent() {
    assert!(mean(&Faults { bit_errors: 1e-4, ..Faults::none() }) >= 90.0);
}

#[test]
fn one_in_1_000_leaves_88_percent() {
    assert!(mean(&Faults { bit_errors: 1e-3, ..Faults::none() }) >= 88.0);
}

/// Where repairing begins neither way is much better; where there is more damage than one block in
/// many can take, bodies become short.
#[test]
fn between_and_beyond_there_is_no_gap() {
    for (bit_errors, least) in [(2e-5, 90.0), (3e-5, 89.0), (5e-5, 89.0), (3e-3, 70.0)] {
        let percent = mean(&Faults { bit_errors, ..Faults::none() });
        assert!(percent >= least, "{bit_errors}: {percent:.1}");
    }
}

/// A line that damages bytes for a while and then no more is as good as before.
#[test]
fn repairing_ends_when_the_line_is_good_again() {
    let mut wire = Wire::new(Faults { bit_errors: 1e-3, ..Faults::none() }, 1);
    wire.to_write[0] = Chance::new(1).bytes(300_000);
    assert!(wire.run_until(60_000, |wire| wire.came[1].len() > 50_000));
    wire.faults.bit_errors = 0.0;
    assert!(wire.run_until(60_000, |wire| wire.came[1].len() > 200_000));
    let (came, carried) = (wire.came[1].len(), wire.carried(0));
    assert!(wire.run_until(60_000, |wire| wire.came[1].len() > 290_000));
    let share = (wire.came[1].len() - came) as f64 / (wire.carried(0) - carried) as f64;
    println!("good again: {share:.3}");
    assert!(share > 0.98);
}

#[test]
fn a_way_of_300_ms_leaves_96_percent() {
    assert!(mean(&Faults { latency_ms: 300, ..Faults::none() }) >= 96.0);
}

#[test]
fn one_channel_for_both_leaves_95_percent() {
    let half = Faults { turn_ms: Some(20), ..Faults::none() };
    assert!(mean(&half) >= 95.0);
    assert!(mean(&Faults { bit_errors: 1e-4, ..half }) >= 87.0);
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

/// Bytes that each end gave its port, once there is nothing more to say.
fn carried(wire: &mut Wire) -> [u64; 2] {
    wire.run_until(3000, |_| false);
    assert!(wire.lines.iter().all(Line::has_all_arrived));
    [wire.carried(0), wire.carried(1)]
}

#[test]
fn a_hundred_bytes_cost_what_the_document_says() {
    let mut wire = Wire::new(Faults::none(), 1);
    assert!(wire.run_until(2000, |wire| wire.states() == [State::Open; 2]));
    assert_eq!(carried(&mut wire), [65, 65], "both say hello at the same time");

    // The first hellos find nobody; then one end is heard first.
    let mut wire = Wire::new(Faults { cuts: vec![(0, 50)], ..Faults::none() }, 1);
    wire.run_until(600, |_| false);
    let before = wire.carried(0) + wire.carried(1);
    assert!(wire.run_until(2000, |wire| wire.states() == [State::Open; 2]));
    let [there, back] = carried(&mut wire);
    assert_eq!(there + back - before, 65, "an opening");

    let mut wire = Wire::new(Faults::none(), 1);
    wire.run_until(2000, |_| false);
    let before = carried(&mut wire);
    wire.to_write[0] = Chance::new(5).bytes(100);
    assert!(wire.run_until(1000, |wire| wire.came[1].len() == 100));
    let after = carried(&mut wire);
    assert_eq!([after[0] - before[0], after[1] - before[1]], [109, 11]);
}

/// What two nodes say to each other for a message of 100 bytes (`docs/noise.md`): a first message, its
/// answer, the bundle, what settles it.
#[test]
fn a_sealed_message_costs_what_the_document_says() {
    let mut wire = Wire::new(Faults::none(), 1);
    for (turn, length) in [143, 74, 352, 23].into_iter().enumerate() {
        let end = turn % 2;
        let before = wire.came[1 - end].len();
        wire.to_write[end] = Chance::new(length).bytes(length as usize);
        let came = |wire: &Wire| wire.came[1 - end].len() == before + length as usize;
        assert!(wire.run_until(1000, came));
    }
    let [there, back] = carried(&mut wire);
    println!("a sealed message: {there} and {back}, {} beside 592", there + back - 592);
    assert!(there + back <= 592 + 220);
}
