//! What is said once, as soon as the other end is known.

use postrider_engine::carriage::line::State;

use super::wire::{Chance, Faults, Wire};

fn letters(wire: &mut Wire, end: usize) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| wire.lines[end].take_letter()).collect()
}

#[test]
fn a_letter_passes_before_anything_that_is_written_and_an_answer_with_the_opening() {
    let mut wire = Wire::new(Faults { bits_per_s: 1200, ..Faults::none() }, 3);
    let said = Chance::new(1).bytes(230);
    wire.lines[0].post(said.clone());
    wire.to_write[0] = vec![7; 100];
    assert!(wire.run_until(10_000, |wire| !wire.came[1].is_empty()));
    assert_eq!(letters(&mut wire, 1), [said]);
    wire.lines[1].post(b"receipt".to_vec());
    assert!(wire.run_until(15_000, |wire| wire.came[1].len() == 100));
    wire.run_until(16_000, |_| false);
    assert_eq!(letters(&mut wire, 0), [b"receipt".to_vec()]);
    assert_eq!(wire.states(), [State::Open; 2]);
}

#[test]
fn nothing_depends_on_a_letter() {
    for seed in 0..200 {
        let faults = Faults { bit_errors: 3e-4, bits_per_s: 9600, ..Faults::none() };
        let mut wire = Wire::new(faults, seed);
        let said = Chance::new(seed).bytes(1024);
        wire.lines[0].post(said.clone());
        let sent = Chance::new(seed + 1).bytes(3_000);
        wire.to_write[0].clone_from(&sent);
        assert!(wire.run_until(100_000, |wire| wire.came[1].len() == sent.len()), "{seed}");
        assert!(wire.came[1] == sent);
        // Whole or not at all, and once.
        let came = letters(&mut wire, 1);
        assert!(came.is_empty() || came == [said], "{seed}: {}", came.len());
    }
}

#[test]
fn no_more_are_said_or_taken_than_a_few_and_none_that_is_too_long() {
    let mut wire = Wire::new(Faults::none(), 5);
    wire.lines[0].post(vec![1; 1025]);
    wire.lines[0].post(Vec::new());
    for n in 0..10 {
        wire.lines[0].post(vec![n; 9]);
    }
    wire.run_until(3_000, |_| false);
    // Those that are posted later are beyond what the other end takes of a session.
    for n in 10..20 {
        wire.lines[0].post(vec![n; 9]);
    }
    wire.run_until(6_000, |_| false);
    let first: Vec<Vec<u8>> = (0..4).map(|n| vec![n; 9]).collect();
    assert_eq!(letters(&mut wire, 1), first);
}

#[test]
fn where_one_is_heard_at_a_time_none_are_said() {
    let mut wire = Wire::new(Faults { turn_ms: Some(20), ..Faults::none() }, 5);
    wire.lines[0].post(b"letter".to_vec());
    wire.to_write[0] = vec![7; 100];
    assert!(wire.run_until(10_000, |wire| wire.came[1].len() == 100));
    assert!(letters(&mut wire, 1).is_empty());
}
