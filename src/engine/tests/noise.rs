//! A Noise link from outside: two ends, and somebody between them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use postrider_base::{
    NodeId, NodeSecret,
    agreement::{AgreementSecret, Sign},
};
use postrider_engine::carriage::noise::{
    FIRST_MESSAGE_BYTES, Greeting, HANDSHAKE_MESSAGE_MAX, HANDSHAKE_PAYLOAD_MAX,
    INTRODUCTION_BYTES, Initiator, Introduction, LENGTH_BYTES, NoiseError, Payload, RECORD_BYTES,
    RECORD_MAX, RECORD_PLAIN_MAX, Responder, SECOND_MESSAGE_BYTES, Transport, first_message,
};
use proptest::prelude::*;

const HELLO: &[u8] = b"hello";
const ANSWER: &[u8] = b"hello yourself";

fn here() -> NodeSecret {
    NodeSecret::from_seed([1; 32])
}

fn there() -> NodeSecret {
    NodeSecret::from_seed([2; 32])
}

/// A message without its length, which must be all there is.
fn only(bytes: &[u8]) -> &[u8] {
    let message = first_message(bytes, RECORD_MAX).unwrap().unwrap();
    assert_eq!(message.len() + LENGTH_BYTES, bytes.len());
    message
}

fn start(introduction: Introduction) -> (Initiator, Vec<u8>) {
    Initiator::start(&here(), there().id(), [3; 32], introduction, HELLO).unwrap()
}

fn accept(first: &[u8]) -> Result<(Responder, Greeting), NoiseError> {
    Responder::accept(&there(), [4; 32], first)
}

/// Both messages, and both ends after them.
fn greeted(introduction: Introduction) -> (Vec<u8>, Vec<u8>, Transport, Transport) {
    let (initiator, first) = start(introduction);
    let (responder, _) = accept(only(&first)).unwrap();
    let (second, there) = responder.reply(ANSWER).unwrap();
    let (_, here) = initiator.finish(only(&second)).unwrap();
    (first, second, here, there)
}

fn pair() -> (Transport, Transport) {
    let (_, _, here, there) = greeted(Introduction::Known);
    (here, there)
}

fn sealed(from: &mut Transport, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    from.seal(bytes, &mut out).unwrap();
    out
}

fn opened(to: &mut Transport, record: &[u8]) -> Result<Vec<u8>, NoiseError> {
    let mut out = Vec::new();
    to.open(record, &mut out).map(|()| out)
}

/// The other id that has the same agreement key.
fn twin(id: NodeId) -> NodeId {
    let other = if id.agreement_sign() == Sign::Odd { Sign::Even } else { Sign::Odd };
    NodeId::from_agreement(&id.agreement_public(), other).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn two_ends_prove_themselves_and_talk_both_ways() {
    for introduction in [Introduction::Known, Introduction::Signed] {
        let (initiator, first) = start(introduction);
        let (responder, greeting) = accept(only(&first)).unwrap();
        let payload = Payload { bytes: HELLO.to_vec(), early: true };
        assert_eq!(greeting, Greeting { peer: here().id(), introduction, payload });
        let (second, mut b) = responder.reply(ANSWER).unwrap();
        let (payload, mut a) = initiator.finish(only(&second)).unwrap();
        assert_eq!(payload, Payload { bytes: ANSWER.to_vec(), early: false });
        assert_eq!((a.peer(), b.peer()), (there().id(), here().id()));
        for n in 0..10_u8 {
            assert_eq!(opened(&mut b, only(&sealed(&mut a, &[n]))), Ok(vec![n]));
            assert_eq!(opened(&mut a, only(&sealed(&mut b, &[n, n]))), Ok(vec![n, n]));
        }
    }
}

#[test]
fn a_greeting_takes_149_bytes_beside_its_payloads() {
    let (first, second, ..) = greeted(Introduction::Known);
    let beside = first.len() + second.len() - HELLO.len() - ANSWER.len();
    println!("first {} + payload, second {} + payload", FIRST_MESSAGE_BYTES, SECOND_MESSAGE_BYTES);
    assert_eq!(first.len(), FIRST_MESSAGE_BYTES + HELLO.len());
    assert_eq!(second.len(), SECOND_MESSAGE_BYTES + ANSWER.len());
    assert_eq!((FIRST_MESSAGE_BYTES, SECOND_MESSAGE_BYTES, beside), (99, 50, 149));
    let (introduced, ..) = greeted(Introduction::Signed);
    assert_eq!(introduced.len(), first.len() + INTRODUCTION_BYTES);
}

#[test]
fn many_small_units_in_one_record_cost_18_bytes() {
    let (mut a, mut b) = pair();
    let units = b"unit".repeat(100);
    let record = sealed(&mut a, &units);
    assert_eq!((RECORD_BYTES, record.len()), (18, 18 + units.len()));
    assert_eq!(opened(&mut b, only(&record)), Ok(units));
}

#[test]
fn bytes_follow_the_protocol_as_another_program_made_them() {
    // By a program in Python, over OpenSSL's primitives, from docs/noise.md.
    for (introduction, known) in [
        (
            Introduction::Known,
            [
                "006615dd6d7bb1e8a6f8c32ddc695cab2c51b061e17e83bbff35902efd683bf7a0075c07eb42282e\
                 7742c834a5d9ab4ce9de54434dd7615a3978211849f13cb160da9562dc07835b5b405466b8e80a56\
                 4de15cb4ec696e90dbd90c8e8ba31792d040cab789827c9c",
                "003ea11fbe7b302a6aacc4be6df47b98f37d764e10d5bb8ae29e68e566063317ce231828b5c838d8\
                 2d2a0773ad402ff8f087a3dfcf4dbff0b0a3a5658c2ebbab",
                "001abeaf6c88b0a81a7a069fe8c2950d628dbd7affdccd6262dd7a54",
            ],
        ),
        (
            Introduction::Signed,
            [
                "00a61e06a5112b96f08f99a76510ad85ad63c096d66fe636ff45a139f0ede2826230de28fdd282a8\
                 57df7705790fca5edeb4bfcefd0f2567e3f7e617649c66bc25274adecf0dfb3636d89dec96c6de84\
                 d03d71080fa57c2c47ecf6de55c92c9ae0859301bb5986cb4d7a72eb3c96c5c8d8ef4db1181eee7d\
                 df983d432348e59259537b23dd4c0ee1ead7595eb68a6d6a51bcb98dda9acd91b8cd53e6b20a032f\
                 ed2706ae670899dd",
                "003e073615a0ca19de5f3addd58b08cfd7f61f7720cb1e363cf1a217011d9da66405a8af339a983c\
                 bf8d2ab3f66769c7f8247716d5190e8f34308d3ac7436a67",
                "001aed8deddc11ea3540bfd0b063b4811c4402f0fb2aa1a9e9fc1224",
            ],
        ),
    ] {
        let (first, second, mut a, _) = greeted(introduction);
        let record = sealed(&mut a, b"some units");
        assert_eq!([hex(&first), hex(&second), hex(&record)], known);
    }
}

#[test]
fn another_node_than_the_one_dialled_cannot_answer() {
    let (_, first) = start(Introduction::Known);
    let other = NodeSecret::from_seed([5; 32]);
    let refused = Responder::accept(&other, [4; 32], only(&first)).map(|_| ());
    assert_eq!(refused, Err(NoiseError::Forged));
}

#[test]
fn an_answer_to_another_handshake_is_refused() {
    let (initiator, _) = start(Introduction::Known);
    let (_, other) =
        Initiator::start(&here(), there().id(), [6; 32], Introduction::Known, HELLO).unwrap();
    let (second, _) = accept(only(&other)).unwrap().0.reply(ANSWER).unwrap();
    assert_eq!(initiator.finish(only(&second)).map(|_| ()), Err(NoiseError::Forged));
}

#[test]
fn a_responder_is_dialled_by_its_own_id_and_not_by_the_other_id_of_its_key() {
    let wrong = twin(there().id());
    let (_, first) = Initiator::start(&here(), wrong, [3; 32], Introduction::Known, HELLO).unwrap();
    assert_eq!(accept(only(&first)).map(|_| ()), Err(NoiseError::Forged));
}

#[test]
fn a_changed_bit_anywhere_in_the_first_message_is_refused() {
    for introduction in [Introduction::Known, Introduction::Signed] {
        let (_, first) = start(introduction);
        let message = only(&first).to_vec();
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] ^= 1 << (at % 8);
            assert_eq!(accept(&changed).map(|_| ()), Err(NoiseError::Forged), "byte {at}");
        }
    }
}

#[test]
fn a_changed_bit_anywhere_in_the_second_message_is_refused() {
    let (_, second, ..) = greeted(Introduction::Known);
    let message = only(&second).to_vec();
    for at in 0..message.len() {
        let (initiator, _) = start(Introduction::Known);
        let mut changed = message.clone();
        changed[at] ^= 1 << (at % 8);
        let refused = initiator.finish(&changed).map(|_| ());
        assert_eq!(refused, Err(NoiseError::Forged), "byte {at}");
    }
}

#[test]
fn the_unused_top_bit_of_an_ephemeral_key_cannot_be_changed() {
    let (_, first) = start(Introduction::Known);
    let mut message = only(&first).to_vec();
    message[31] ^= 0x80;
    assert_eq!(accept(&message).map(|_| ()), Err(NoiseError::Forged));
}

#[test]
fn messages_cut_short_are_refused() {
    let (first, second, mut a, _) = greeted(Introduction::Known);
    let record = sealed(&mut a, b"some units");
    for cut in 0..only(&first).len() {
        assert!(accept(&only(&first)[..cut]).is_err(), "first, {cut}");
    }
    for cut in 0..only(&second).len() {
        let (initiator, _) = start(Introduction::Known);
        assert!(initiator.finish(&only(&second)[..cut]).is_err(), "second, {cut}");
    }
    for cut in 0..only(&record).len() {
        let (_, mut b) = pair();
        assert!(opened(&mut b, &only(&record)[..cut]).is_err(), "record, {cut}");
    }
}

#[test]
fn a_first_message_sent_again_is_early_and_whoever_sent_it_can_say_nothing_more() {
    let (first, second, mut a, mut b) = greeted(Introduction::Known);
    let record = sealed(&mut a, b"from the first time");
    assert!(opened(&mut b, only(&record)).is_ok());

    let (responder, greeting) = Responder::accept(&there(), [7; 32], only(&first)).unwrap();
    assert!(greeting.payload.early);
    let (again, mut b) = responder.reply(ANSWER).unwrap();
    assert_ne!(again, second);
    assert_eq!(opened(&mut b, only(&record)), Err(NoiseError::Forged));
}

#[test]
fn weak_ephemeral_keys_are_refused() {
    let (_, first) = start(Introduction::Known);
    let mut message = only(&first).to_vec();
    message[..32].fill(0);
    assert_eq!(accept(&message).map(|_| ()), Err(NoiseError::Forged));
    let (initiator, _) = start(Introduction::Known);
    assert_eq!(initiator.finish(&[0; 48]).map(|_| ()), Err(NoiseError::Forged));
}

#[test]
fn records_repeated_left_out_or_exchanged_are_refused() {
    let orders: [&[usize]; 4] = [&[0, 0], &[1], &[0, 2], &[1, 0]];
    for order in orders {
        let (mut a, mut b) = pair();
        let records: Vec<_> = (0..3).map(|n| sealed(&mut a, &[n])).collect();
        let last = order.iter().map(|n| opened(&mut b, only(&records[*n]))).find(Result::is_err);
        assert_eq!(last, Some(Err(NoiseError::Forged)), "{order:?}");
    }
}

#[test]
fn a_record_does_not_come_back_to_its_sender() {
    let (mut a, _) = pair();
    let record = sealed(&mut a, b"some units");
    assert_eq!(opened(&mut a, only(&record)), Err(NoiseError::Forged));
}

#[test]
fn a_record_of_nothing_is_not_made_and_not_taken() {
    let (mut a, mut b) = pair();
    assert!(sealed(&mut a, b"").is_empty());
    assert_eq!(opened(&mut b, &[0; 16]), Err(NoiseError::Length(16)));
}

#[test]
fn much_at_once_becomes_full_records() {
    let (mut a, mut b) = pair();
    let bytes: Vec<u8> = (0..=250).cycle().take(2 * RECORD_PLAIN_MAX + 1).collect();
    let sent = sealed(&mut a, &bytes);
    assert_eq!(sent.len(), bytes.len() + 3 * RECORD_BYTES);
    let (mut rest, mut received) = (&sent[..], Vec::new());
    while let Some(record) = first_message(rest, RECORD_MAX).unwrap() {
        b.open(record, &mut received).unwrap();
        rest = &rest[LENGTH_BYTES + record.len()..];
    }
    assert_eq!(received, bytes);
}

#[test]
fn payloads_up_to_the_limit_fit_and_longer_ones_are_refused() {
    let start = |length: usize| {
        let payload = vec![7; length];
        Initiator::start(&here(), there().id(), [3; 32], Introduction::Signed, &payload)
    };
    let (initiator, first) = start(HANDSHAKE_PAYLOAD_MAX).unwrap();
    assert_eq!(only(&first).len(), HANDSHAKE_MESSAGE_MAX);
    let (responder, greeting) = accept(only(&first)).unwrap();
    assert_eq!(greeting.payload.bytes.len(), HANDSHAKE_PAYLOAD_MAX);
    let (second, _) = responder.reply(&[7; HANDSHAKE_PAYLOAD_MAX]).unwrap();
    assert!(initiator.finish(only(&second)).is_ok());

    let too_long = HANDSHAKE_PAYLOAD_MAX + 1;
    assert_eq!(start(too_long).map(|_| ()), Err(NoiseError::Payload(too_long)));
    let (responder, _) = accept(only(&first)).unwrap();
    let refused = responder.reply(&vec![7; too_long]).map(|_| ());
    assert_eq!(refused, Err(NoiseError::Payload(too_long)));
}

#[test]
fn a_handshake_message_that_is_too_long_is_refused_by_its_length_alone() {
    let length = u16::try_from(HANDSHAKE_MESSAGE_MAX + 1).unwrap();
    let refused = Err(NoiseError::Length(HANDSHAKE_MESSAGE_MAX + 1));
    assert_eq!(first_message(&length.to_be_bytes(), HANDSHAKE_MESSAGE_MAX), refused);
    let message = vec![0; HANDSHAKE_MESSAGE_MAX + 1];
    assert_eq!(accept(&message).map(|_| ()), refused.map(|_| ()));
}

#[test]
fn a_message_is_found_once_it_is_whole() {
    let (_, first) = start(Introduction::Known);
    for cut in 0..first.len() {
        assert_eq!(first_message(&first[..cut], HANDSHAKE_MESSAGE_MAX), Ok(None), "{cut}");
    }
    let more = [&first[..], b"the next"].concat();
    assert_eq!(first_message(&more, HANDSHAKE_MESSAGE_MAX), Ok(Some(only(&first))));
}

#[test]
fn debug_forms_show_no_secret() {
    let secret = AgreementSecret::from_bytes([0xab; 32]);
    let (initiator, first) = start(Introduction::Known);
    let (responder, _) = accept(only(&first)).unwrap();
    let text = format!("{secret:?} {initiator:?} {responder:?} {:?}", pair().0);
    assert!(!text.contains("171") && !text.contains("abab"), "{text}");
}

proptest! {
    #[test]
    fn whatever_bytes_come_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = first_message(&bytes, RECORD_MAX);
        prop_assert!(accept(&bytes).is_err());
        prop_assert!(start(Introduction::Known).0.finish(&bytes).is_err());
        prop_assert!(opened(&mut pair().1, &bytes).is_err());
    }
}

#[test]
#[ignore = "a measurement"]
fn bytes_per_second() {
    let (mut a, mut b) = pair();
    let chunk = vec![7; 256 << 10];
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    let start = std::time::Instant::now();
    for _ in 0..4096 {
        sent.clear();
        received.clear();
        a.seal(&chunk, &mut sent).unwrap();
        let mut rest = &sent[..];
        while let Some(record) = first_message(rest, RECORD_MAX).unwrap() {
            b.open(record, &mut received).unwrap();
            rest = &rest[LENGTH_BYTES + record.len()..];
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("sealed and opened 1 GiB in {seconds:.2} s: {:.0} MB/s", 1_073.741_824 / seconds);
    let start = std::time::Instant::now();
    for _ in 0..1_000 {
        pair();
    }
    println!("a handshake, both ends: {:?}", start.elapsed() / 1_000);
}
