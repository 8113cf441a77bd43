//! What comes over links of small frames: forms of bundles, receipts, call signs, and pieces.

use postrider_base::{
    bundle::{Hop, SmallBundle},
    radio::{
        FrameType, Knowledge, Pieces, Reader, Station, Taken, cut, expand, pack, shrink, unpack,
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

/// Frames, each behind a byte with its length, as one sender's: what becomes whole is what was cut.
pub fn radio_pieces(data: &[u8]) -> bool {
    let (mut pieces, mut rest, mut whole) = (Pieces::default(), data, false);
    while let Some((length, behind)) = rest.split_first() {
        let (frame, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = behind;
        match pieces.take(frame) {
            Taken::Whole(form) => {
                let last = usize::from(frame[6]);
                assert_eq!(blake3::hash(&form).as_bytes()[..4], frame[1..5]);
                assert!((last + 1..=postrider_base::radio::FORM_MAX).contains(&form.len()));
                assert!(pieces.lacking([frame[1], frame[2], frame[3], frame[4]]).is_empty());
                whole = true;
            }
            Taken::Waits(key) => {
                let lacking = pieces.lacking(key);
                assert!(!lacking.is_empty() && !lacking.contains(&frame[5]));
            }
            Taken::Known(_) | Taken::Refused => {}
        }
    }
    whole
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
    let framed = |frames: Vec<Vec<u8>>| -> Vec<u8> {
        let lengths = frames.iter().map(|frame| u8::try_from(frame.len()).unwrap());
        lengths.zip(&frames).flat_map(|(n, frame)| [&[n], &frame[..]].concat()).collect()
    };
    let cuts = |mtu| forms().into_iter().map(move |form| cut(&form, mtu).unwrap());
    cuts(100).chain(cuts(32)).map(framed).collect()
}
