//! Rests in `tests/vectors`: this crate and the Python decoder read the same files alike.
//!
//! `POSTRIDER_BLESS=1` writes those that are not there yet; one that is there is never rewritten.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{fs, path::PathBuf};

use postrider_base::{
    Head, Header, Lifetime, Niceness, NodeSecret,
    bundle::{Destination, Hop, LockField, Origin, SealKind, Sequence},
};
use postrider_engine::parcel::{NewRest, Rest, RestWriter, Salt};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const SALT: [u8; 8] = *b"vectors!";
const LENGTH: usize = 5000;
const OFFSET: usize = 4900;
/// Where fields stand.
const HEAD_LEN: usize = 18;
const BODY_LEN: usize = 20;
const OFFSET_AT: usize = 28;
const CHECK: usize = 36;
const HEAD: usize = 44;

fn body() -> Vec<u8> {
    let mut body = vec![0; LENGTH];
    blake3::Hasher::new().update(b"a rest").finalize_xof().fill(&mut body);
    body
}

fn head(length: usize) -> Head {
    let author = NodeSecret::from_seed([1; 32]);
    let body = &body()[..length];
    let header = Header {
        destination: Destination::Node(NodeSecret::from_seed([2; 32]).id()),
        lifetime: Lifetime::DEFAULT,
        nice: Niceness::NORMAL,
        seal: SealKind::None,
        lock: LockField::None,
        origin: Origin::Open {
            source: author.id(),
            sequence: Sequence { epoch: 7, counter: 1 },
            created: 1_800_000_000,
        },
        length: length as u64,
        hash: (length > 4096).then(|| *blake3::hash(body).as_bytes()),
    };
    Head::sign(header, body, &author)
}

/// A rest of this head, with the lengths said and the bytes given.
fn rest(head: &[u8], length: u64, offset: u64, bytes: &[u8]) -> Vec<u8> {
    let hop = Hop { tokens: 1, hops: 3, age_s: 86_400, level: 0 };
    let mut file = b"PRT1".to_vec();
    file.extend(SALT);
    file.extend([hop.tokens, hop.hops]);
    file.extend(hop.age_s.to_be_bytes());
    file.extend(u16::try_from(head.len()).unwrap().to_be_bytes());
    file.extend(length.to_be_bytes());
    file.extend(offset.to_be_bytes());
    file.extend([0; 8]);
    file.extend(head);
    file.extend(bytes);
    file.extend([0; 8]);
    checked(file)
}

/// With its checks made anew: only the one fault stays.
fn checked(mut file: Vec<u8>) -> Vec<u8> {
    let head_len = usize::from(u16::from_be_bytes([file[HEAD_LEN], file[HEAD_LEN + 1]]));
    let key = blake3::derive_key("postrider 2026 rest check v1", &SALT);
    let head_end = (HEAD + head_len).min(file.len());
    let parts = [&file[..CHECK], &file[HEAD..head_end]].concat();
    file[CHECK..HEAD].copy_from_slice(&blake3::keyed_hash(&key, &parts).as_bytes()[..8]);
    let end = file.len() - 8;
    let sum = xxh3_64_with_seed(&file[..end], u64::from_be_bytes(SALT));
    file[end..].copy_from_slice(&sum.to_be_bytes());
    file
}

fn good() -> Vec<u8> {
    rest(&head(LENGTH).encode(), LENGTH as u64, OFFSET as u64, &body()[OFFSET..])
}

fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = good();
    file[at..at + bytes.len()].copy_from_slice(bytes);
    checked(file)
}

/// One bit wrong, and nothing repaired.
fn flipped(from_end: usize) -> Vec<u8> {
    let mut file = good();
    let at = file.len() - from_end;
    file[at] ^= 1;
    file
}

fn malformed() -> Vec<(&'static str, &'static str, &'static str, Vec<u8>)> {
    let (file, whole) = (good(), body());
    let head_bytes = head(LENGTH).encode();
    let mut forged = head_bytes.clone();
    *forged.last_mut().unwrap() ^= 1;
    let small = head(4096).encode();
    let (length, offset) = (LENGTH as u64, OFFSET as u64);
    let most = (64_u64 << 20) + 1;
    vec![
        ("magic", "another magic", "rest", with(0, b"PRT2")),
        ("no-head", "a head of 0 bytes", "rest", with(HEAD_LEN, &[0, 0])),
        ("head-513", "a head of 513 bytes", "rest", with(HEAD_LEN, &[2, 1])),
        ("too-long", "a payload of 64 MiB and a byte", "rest", with(BODY_LEN, &most.to_be_bytes())),
        ("huge", "a payload of 2^64 - 1 bytes", "rest", with(BODY_LEN, &[0xff; 8])),
        ("offset-0", "begins at the beginning", "rest", rest(&head_bytes, length, 0, &whole)),
        ("offset-end", "begins at the end", "rest", rest(&head_bytes, length, length, &[])),
        ("offset-beyond", "begins beyond the end", "rest", with(OFFSET_AT, &[0xff; 8])),
        ("cut", "a byte is lacking", "rest", file[..file.len() - 1].to_vec()),
        ("longer", "a byte too many", "rest", [&file[..], &[0]].concat()),
        ("head-check", "the head check does not hold", "rest", flipped(8 + LENGTH - OFFSET + 1)),
        ("body", "a bit of the payload is wrong", "rest", flipped(9)),
        ("check", "the check at the end is wrong", "rest", flipped(1)),
        ("length", "another length than the header's", "rest", {
            rest(&head_bytes, length - 1, offset, &whole[OFFSET + 1..])
        }),
        (
            "small",
            "of a bundle that is taken whole",
            "rest",
            rest(&small, 4096, 4000, &whole[..96]),
        ),
        ("signature", "nobody signed its head", "signature", {
            rest(&forged, length, offset, &whole[OFFSET..])
        }),
    ]
}

fn path(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    root.join(format!("{name}.json"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file of that name is this.
fn compare(name: &str, json: &Value) {
    let path = path(name);
    if std::env::var_os("POSTRIDER_BLESS").is_some() && !path.exists() {
        fs::write(&path, serde_json::to_string_pretty(json).unwrap() + "\n").unwrap();
    }
    let file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(file, *json, "{name}: the encoder writes other bytes now");
}

/// Where a rest is refused, or nothing.
fn refused_by(file: &[u8]) -> Option<&'static str> {
    let Ok(rest) = Rest::open(&file) else { return Some("rest") };
    let Ok(head) = Head::decode(&rest.head) else { return Some("rest") };
    if head.header().length != rest.body_bytes || head.header().is_small() {
        return Some("rest");
    }
    if head.verify_large().is_err() {
        return Some("signature");
    }
    let (mut body, mut chunk) = (rest.body(), [0; 64]);
    loop {
        match body.read(&mut chunk) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(_) => return Some("rest"),
        }
    }
}

#[test]
fn a_golden_rest_is_what_it_says() {
    let (file, head) = (good(), head(LENGTH));
    let encoded = head.encode();
    let hop = Hop { tokens: 9, hops: 3, age_s: 86_400, level: 0 };
    let new = NewRest { hop, head: &encoded, body_bytes: LENGTH as u64, offset: OFFSET as u64 };
    let mut writer = RestWriter::new(Salt(SALT), &new).unwrap();
    let (front, bytes) = (writer.front().to_vec(), &body()[OFFSET..]);
    writer.body(bytes).unwrap();
    assert_eq!([&front, bytes, &writer.finish().unwrap()].concat(), file);
    assert_eq!(refused_by(&file), None);
    let expect = json!({
        "id": hex(&head.verify_large().unwrap().0), "tokens": 1, "hops": 3, "age": 86_400,
        "length": LENGTH, "offset": OFFSET, "bytes": hex(bytes),
    });
    let what = "the last hundred bytes of a bundle of 5000";
    let json = json!({ "what": what, "kind": "rest", "hex": hex(&file), "expect": expect });
    compare("good/rest", &json);
}

#[test]
fn malformed_rests_are_refused_where_they_say() {
    for (name, what, stage, file) in malformed() {
        assert_eq!(refused_by(&file), Some(stage), "{name}");
        let json = json!({ "what": what, "kind": "rest", "hex": hex(&file), "refused_by": stage });
        compare(&format!("bad/rest-{name}"), &json);
    }
}
