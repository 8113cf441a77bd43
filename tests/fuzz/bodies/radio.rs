//! What comes over links of small frames: forms of bundles, receipts, call signs, and pieces.

use postrider_base::{
    bundle::{Hop, SmallBundle},
    radio::{
        FORM_MAX, FrameType, Knowledge, MTU_MIN, PIECE_HEAD, Pieces, Reader, Station, Taken, cut,
        expand, pack, shrink, unpack,
    },
    unseal::Keyring,
};

use super::seeds::{alice, bob, mails};

const HOP: Hop = Hop { tokens: 3, hops: 2, age_s: 81_000, level: 0 };

/// A frame, as it comes to Bob, who knows Alice: what it says has this form, or one for everybody.
pub fn radio_frame(data: &[u8]) -> bool {
    match data.first().and_then(|first| FrameType::of(*first)) {
        Some(FrameType::Receipts) => {
            let Ok(receipts) = unpack(data) else { return false };
            assert_eq!(pack(&receipts, data.len()), [data]);
            true
        }
        Some(FrameType::Station) => {
            let Ok(station) = Station::of_frame(data) else { return false };
            assert_eq!(station.frame(), data);
            true
        }
        Some(FrameType::Bundle) => form(data),
        Some(FrameType::Piece) | None => {
            assert!(expand(data, &Knowledge::default()).is_err());
            false
        }
    }
}

fn form(data: &[u8]) -> bool {
    let (me, keys, nodes) = (bob().id(), [bob().first_seal_key()], [alice().id(), bob().id()]);
    let ring = Keyring { node: &me, keys: &keys, senders: &nodes };
    let known = Knowledge { me: Some(ring), nodes: &nodes, groups: &[[0x67; 16]] };
    let Ok((bundle, hop)) = expand(data, &known) else { return false };
    assert!(bundle.head.verify_small(&bundle.payload).is_ok(), "nobody signed it");
    assert_eq!(SmallBundle::decode(&bundle.encode()).as_ref(), Ok(&bundle));
    let again = shrink(&bundle, hop, &Reader::STRANGER).expect("what came as a form has one");
    assert_eq!(expand(&again, &Knowledge::default()), Ok((bundle, hop)));
    true
}

/// A form in pieces of which some come twice, spoiled, or made up: nothing else becomes whole, and two
/// true repetitions are enough after any of it. The script: how long it is, 3 bytes; then for each
/// frame two bytes that say what is done with it, and for one that is made up its bytes.
pub fn radio_pieces(data: &[u8]) -> bool {
    let Some(([mtu, high, low], mut script)) = data.split_first_chunk::<3>() else { return false };
    let length = usize::from(u16::from_be_bytes([*high, *low])) % (FORM_MAX + 1);
    let mut form = vec![0; length];
    blake3::Hasher::new().update(&data[..3]).finalize_xof().fill(&mut form);
    let Ok(frames) = cut(&form, MTU_MIN + usize::from(*mtu)) else { return false };
    if frames.len() == 1 {
        assert_eq!(frames, [form]);
        return false;
    }
    let (mut pieces, mut whole) = (Pieces::default(), false);
    while let Some(([what, at], rest)) = script.split_first_chunk::<2>() {
        let mut frame = frames[usize::from(*at) % frames.len()].clone();
        script = rest;
        match what % 4 {
            0 => {}
            1 => *frame.last_mut().expect("a piece has content") ^= what,
            2 => frame[usize::from(what / 4) % PIECE_HEAD] ^= 1 << (what % 7),
            _ => {
                let (made_up, rest) = script.split_at(usize::from(*at).min(script.len()));
                (frame, script) = ([&frame[..5], made_up].concat(), rest);
            }
        }
        whole |= taken(&mut pieces, &frame, &form);
    }
    for frame in frames.iter().chain(&frames) {
        whole |= taken(&mut pieces, frame, &form);
    }
    assert!(whole, "true pieces are kept out");
    true
}

fn taken(pieces: &mut Pieces, frame: &[u8], form: &[u8]) -> bool {
    match pieces.take(frame) {
        Taken::Whole(whole) => {
            assert_eq!(whole, form);
            true
        }
        Taken::Waits(key) => {
            let lacking = pieces.lacking(key);
            assert!(!lacking.is_empty() && !lacking.contains(&frame[5]));
            false
        }
        Taken::Known(_) | Taken::Refused => false,
    }
}

fn forms() -> Vec<Vec<u8>> {
    let (me, key, nodes) = (bob().id(), [bob().first_seal_key().public()], [alice().id()]);
    let readers = [
        Reader::STRANGER,
        Reader { nodes: &nodes, ..Reader::STRANGER },
        Reader { node: Some(&me), seal_keys: &key, nodes: &nodes, groups: &[] },
    ];
    let bundles = mails().into_iter().map(|m| SmallBundle { head: m.head, payload: m.payload });
    bundles
        .flat_map(|bundle| readers.map(|reader| shrink(&bundle, HOP, &reader).unwrap()))
        .collect()
}

pub(super) fn radio_frame_seeds() -> Vec<Vec<u8>> {
    let mail = super::seeds::sealed_mail();
    let receipt = postrider_base::bundle::Receipt::new(&mail.id, mail.secret.as_ref().unwrap());
    let station = Station { call: "DL1ABC-7".parse().unwrap() };
    let others = [station.frame(), pack(&[receipt; 3], 230).remove(0)];
    forms().into_iter().chain(others).collect()
}

pub(super) fn radio_pieces_seeds() -> Vec<Vec<u8>> {
    let scripts = [&[0, 0, 0, 1][..], &[0, 1, 1, 0, 0, 0], &[2, 1, 7, 8, 0, 1, 14, 9, 3, 2, 1, 9]];
    let starts = [[198, 1, 20], [0, 16, 174], [70, 0, 180]];
    starts.iter().flat_map(|start| scripts.map(|script| [start, script].concat())).collect()
}
