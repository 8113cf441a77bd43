//! What comes over a link: the units of an exchange, the messages of Noise, the symbols of a
//! reconciliation, what a serial line gives. And what comes before there is one: beacons.

use std::net::Ipv6Addr;

use postrider_engine::{
    carriage::{
        line::{Line, Settings},
        noise::{
            HANDSHAKE_MESSAGE_MAX, Initiator, Introduction, LENGTH_BYTES, RECORD_MAX, Responder,
            Transport, first_message,
        },
    },
    exchange::{Hello, Offered, Unit},
    meeting::beacon::{Beacon, ContactKey, GroupKey, Head},
    node::{Instance, ShortId, Verdict},
    reconcile::{ItemId, Peeler, Progress, SessionKey, Sketcher, decode_batch, encode_batch},
};

use super::seeds::{alice, bob};

const KEY: SessionKey = SessionKey([7; 16]);
const GREETING: &[u8] = b"a hello and two offers";

/// One unit: what decodes has one form.
pub fn unit(data: &[u8]) -> bool {
    let Ok(unit) = Unit::decode(&data.to_vec().into()) else { return false };
    let (head, body) = unit.encode();
    assert_eq!([&head[..], &body[..]].concat(), data, "a unit has one form");
    true
}

/// A batch for a peeler with a few items of its own: what it finds never exceeds what came.
pub fn symbols(data: &[u8]) -> bool {
    let Ok(symbols) = decode_batch(data) else { return false };
    assert_eq!(encode_batch(&symbols), data, "a batch has one form");
    let mut peeler = Peeler::new(KEY, items(4..12)).unwrap();
    for symbol in symbols {
        match peeler.push(symbol) {
            Progress::More => {}
            Progress::Done(difference) => {
                let found = difference.only_theirs.len() + difference.only_ours.len();
                assert!(found <= peeler.symbols(), "more found than came");
                return true;
            }
            Progress::Failed(_) => return false,
        }
    }
    false
}

/// A first message, its length included, as somebody unproven sends it to Bob.
pub fn noise_first(data: &[u8]) -> bool {
    let Ok(Some(message)) = first_message(data, HANDSHAKE_MESSAGE_MAX) else { return false };
    let Ok((_, greeting)) = Responder::accept(&bob(), [4; 32], message) else { return false };
    assert!(greeting.payload.early);
    assert_eq!(greeting.peer, alice().id(), "a key was guessed");
    true
}

/// The answer to Alice's first message.
pub fn noise_second(data: &[u8]) -> bool {
    let Ok(Some(message)) = first_message(data, HANDSHAKE_MESSAGE_MAX) else { return false };
    let Ok((payload, _)) = dial(Introduction::Known).0.finish(message) else { return false };
    assert_eq!(payload.bytes, GREETING, "a payload was forged");
    true
}

/// Records, as Bob reads them after the handshake; whether at least one opened.
pub fn noise_records(data: &[u8]) -> bool {
    let (_, mut bob) = pair();
    let (mut rest, mut plain) = (data, Vec::new());
    while let Ok(Some(record)) = first_message(rest, RECORD_MAX) {
        if bob.open(record, &mut plain).is_err() {
            break;
        }
        rest = &rest[LENGTH_BYTES + record.len()..];
    }
    assert!(plain.len() <= data.len(), "more came out than in");
    !plain.is_empty()
}

/// Ten milliseconds of a port at 115,200 bits a second.
const TICK_BYTES: usize = 115;
/// What an end holds at most: both directions, a frame that is written, one that is read, and the
/// piece before that.
const LINE_HELD_MAX: usize = 2 * (256 << 10) + 6144;

/// One of two ends; both begin at the same time.
fn line_end(n: u8) -> Line {
    let mut line = Line::new(Settings::new(115_200), [n; 16], 0);
    line.write(&[n; 3000]);
    line.close();
    line
}

/// What a port gives to one end while the other may be gone; whether all came that the other wrote.
pub fn line(data: &[u8]) -> bool {
    let (mut line, mut came) = (line_end(1), Vec::new());
    for (tick, bytes) in (0..).zip(data.chunks(TICK_BYTES)) {
        let mut out = Vec::new();
        line.transmit(10 * tick, TICK_BYTES, &mut out);
        assert!(out.len() <= TICK_BYTES, "more than the port takes");
        line.receive(10 * tick + 5, bytes);
        assert!(line.held_bytes() <= LINE_HELD_MAX, "{}", line.held_bytes());
        let mut piece = [0; 100];
        let bytes = line.read(&mut piece);
        came.extend_from_slice(&piece[..bytes]);
    }
    came == [2; 3000]
}

/// What the other end says to it.
pub(super) fn line_seeds() -> Vec<Vec<u8>> {
    let (mut near, mut far, mut said) = (line_end(1), line_end(2), Vec::new());
    for tick in 0..100 {
        let mut out = [Vec::new(), Vec::new()];
        near.transmit(10 * tick, TICK_BYTES, &mut out[0]);
        far.transmit(10 * tick, TICK_BYTES, &mut out[1]);
        // The far end says nothing on some ticks, but a chunk is as long as a tick.
        out[1].resize(TICK_BYTES, 0);
        near.receive(10 * tick + 5, &out[1]);
        far.receive(10 * tick + 5, &out[0]);
        said.extend_from_slice(&out[1]);
    }
    vec![said]
}

const HERE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

fn group() -> [GroupKey; 1] {
    [GroupKey::of(&[6; 32])]
}

/// A datagram on the port of beacons.
pub fn beacon(data: &[u8]) -> bool {
    let Ok(beacon) = Beacon::decode(data) else { return false };
    assert_eq!(beacon.as_bytes(), data, "a beacon has one form");
    let alice_key = ContactKey::of(&alice().first_seal_key().public());
    let contact = beacon.contact(HERE, &[(alice().id(), alice_key)]);
    let member = beacon.member(HERE, &group());
    for found in contact.into_iter().chain(member) {
        assert_eq!(found, alice().id(), "a tag was guessed");
    }
    true
}

/// One to a contact, one to a group, one to nobody.
pub(super) fn beacon_seeds() -> Vec<Vec<u8>> {
    let (alice, bob) = (alice(), bob());
    let seeds = [(&alice, &[][..]), (&alice, &group()), (&bob, &[])];
    let beacons = seeds.map(|(node, groups)| {
        let guest = bob.id();
        let head = Head { carrier: true, fresh: false, nonce: [7; 8], port: 7531, guest };
        let key = ContactKey::of(&node.first_seal_key().public());
        Beacon::new(head, HERE, &node.id(), &key, groups, &[5; 128]).as_bytes().to_vec()
    });
    beacons.into()
}

/// The first messages of a neighbour and of a stranger.
pub(super) fn first_seeds() -> Vec<Vec<u8>> {
    [Introduction::Known, Introduction::Signed].map(|who| dial(who).1).into()
}

/// The one answer that Alice waits for.
pub(super) fn second_seeds() -> Vec<Vec<u8>> {
    let first = dial(Introduction::Known).1;
    let (responder, _) = Responder::accept(&bob(), [4; 32], &first[LENGTH_BYTES..]).unwrap();
    vec![responder.reply(GREETING).unwrap().0]
}

/// One record, and three.
pub(super) fn record_seeds() -> Vec<Vec<u8>> {
    let (mut alice, _) = pair();
    let mut one = Vec::new();
    alice.seal(b"some units", &mut one).unwrap();
    let mut three = one.clone();
    alice.seal(b"more", &mut three).unwrap();
    alice.seal(&[7; 300], &mut three).unwrap();
    vec![one, three]
}

/// The beginning of an exchange, and its end.
pub fn unit_seeds() -> Vec<Vec<u8>> {
    let instance = Instance([7; 4]);
    let hello = Hello { features: 0, instance, seen: None, chunk_log2: 18, nice_max: 0 };
    let offered = Offered { id: ShortId([3; 16]), nice: 160, length: 142 };
    let units = [
        Unit::Hello(hello),
        Unit::Offer(vec![offered]),
        Unit::Want(vec![(0, 0)]),
        Unit::Data { handle: 0, bytes: vec![5; 40].into() },
        Unit::Settle(vec![(0, Verdict::Kept), (1, Verdict::Later(60))]),
        Unit::Mark { bundles: 300, receipts: 2 },
        Unit::Halt { reason: 1, retry_after_s: 600 },
    ];
    units
        .iter()
        .map(|unit| {
            let (head, body) = unit.encode();
            [&head[..], &body[..]].concat()
        })
        .collect()
}

/// The symbols of a set that differs from the peeler's, and of an equal one.
pub(super) fn symbol_seeds() -> Vec<Vec<u8>> {
    [0..8, 4..12].map(|set| encode_batch(&sketch(set).next_symbols(40))).into()
}

fn items(set: std::ops::Range<u8>) -> impl Iterator<Item = ItemId> {
    set.map(|n| [n; 16])
}

fn sketch(set: std::ops::Range<u8>) -> Sketcher {
    Sketcher::new(KEY, items(set)).unwrap()
}

fn dial(introduction: Introduction) -> (Initiator, Vec<u8>) {
    Initiator::start(&alice(), bob().id(), [3; 32], introduction, GREETING).unwrap()
}

/// Alice's end and Bob's.
fn pair() -> (Transport, Transport) {
    let (initiator, first) = dial(Introduction::Known);
    let (responder, _) = Responder::accept(&bob(), [4; 32], &first[LENGTH_BYTES..]).unwrap();
    let (second, there) = responder.reply(GREETING).unwrap();
    (initiator.finish(&second[LENGTH_BYTES..]).unwrap().1, there)
}
