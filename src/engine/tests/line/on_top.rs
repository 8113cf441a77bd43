//! What runs on any pipe runs on a line: Noise, and units in its records.

use postrider_base::NodeSecret;
use postrider_engine::carriage::{
    Deframer, length_prefix,
    noise::{
        HANDSHAKE_MESSAGE_MAX, Initiator, Introduction, LENGTH_BYTES, RECORD_MAX, Responder,
        Transport, first_message,
    },
};

use super::wire::{Chance, Faults, Wire};

/// Runs until a whole message came to an end, and takes it.
fn message(wire: &mut Wire, end: usize, most: usize) -> Vec<u8> {
    let is_whole = |wire: &Wire| first_message(&wire.came[end], most).unwrap().is_some();
    assert!(wire.run_until(60_000, is_whole), "{:?}", wire.states());
    let message = first_message(&wire.came[end], most).unwrap().unwrap().to_vec();
    wire.came[end].drain(..LENGTH_BYTES + message.len());
    message
}

fn unit(transport: &mut Transport, length: usize) -> Vec<u8> {
    let unit = Chance::new(length as u64).bytes(length);
    let mut out = Vec::new();
    for piece in [&length_prefix(length)[..], &unit].concat().chunks(4096) {
        transport.seal(piece, &mut out).unwrap();
    }
    out
}

#[test]
fn a_handshake_and_units_pass_a_bad_line_that_is_cut() {
    let cuts = vec![(1_500, 4_000)];
    let bad = Faults { bit_errors: 1e-4, losses: 1e-4, cuts, ..Faults::none() };
    let mut wire = Wire::new(Faults { swallowed: vec![0x11, 0x13], ..bad }, 42);
    let [alice, bob] = [1, 2].map(|n| NodeSecret::from_seed([n; 32]));

    let introduction = Introduction::Known;
    let (initiator, first) =
        Initiator::start(&alice, bob.id(), [3; 32], introduction, b"hello").unwrap();
    wire.to_write[0] = first;
    let first = message(&mut wire, 1, HANDSHAKE_MESSAGE_MAX);
    let (responder, greeting) = Responder::accept(&bob, [4; 32], &first).unwrap();
    assert_eq!((greeting.peer, &greeting.payload.bytes[..]), (alice.id(), &b"hello"[..]));
    let (second, mut bobs) = responder.reply(b"and you").unwrap();
    wire.to_write[1] = second;
    let second = message(&mut wire, 0, HANDSHAKE_MESSAGE_MAX);
    let (answer, mut alices) = initiator.finish(&second).unwrap();
    assert_eq!(&answer.bytes[..], b"and you");

    let lengths = [1, 300, 40_000, 5];
    for length in lengths {
        wire.to_write[0].extend(unit(&mut alices, length));
    }
    let (mut deframer, mut units) = (Deframer::default(), Vec::new());
    while units.len() < lengths.len() {
        let record = message(&mut wire, 1, RECORD_MAX);
        let mut plain = Vec::new();
        bobs.open(&record, &mut plain).unwrap();
        deframer.push(&plain);
        while let Some(unit) = deframer.next_unit().unwrap() {
            units.push(unit);
        }
    }
    for (unit, length) in units.iter().zip(lengths) {
        assert!(*unit == Chance::new(length as u64).bytes(length), "{length}");
    }
    assert!(deframer.is_between_units() && wire.now_ms > 4_000, "the cut came too late");
}
