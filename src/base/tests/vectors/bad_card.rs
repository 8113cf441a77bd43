//! Malformed: cards, the texts that people paste, receipts.

use bech32::{Bech32, Bech32m, Hrp};
use curve25519_dalek::{EdwardsPoint, Scalar, constants::EIGHT_TORSION};
use postrider_base::bundle::SmallBundle;
use serde_json::json;

use crate::{
    bad_header::BAD_KEYS,
    bad_outside::{basepoint_signature, challenge, scalar_of},
    cbor::{V, b, t},
    craft::{ALICE, BOB, Craft, MALLORY, dk, node, seed},
    decode,
    vector::{Vector, bad, hex, unhex},
};

pub(crate) fn all() -> Vec<Vector> {
    [cards(), card_signatures(), card_texts(), node_texts(), receipts()]
        .into_iter()
        .flatten()
        .collect()
}

fn public(n: u8) -> [u8; 32] {
    *node(n).first_seal_key().public().as_bytes()
}

pub(crate) fn body() -> Vec<V> {
    vec![
        V::U(1),
        b(node(ALICE).id().as_bytes()),
        V::U(3),
        V::A(vec![V::A(vec![V::U(1), b(public(ALICE))])]),
        t("Alice"),
        V::A(vec![]),
        V::U(0),
    ]
}

fn signature(domain: &[u8], body: &[u8], signer: u8) -> [u8; 64] {
    let mut padded = [0; 32];
    padded[..domain.len()].copy_from_slice(domain);
    node(signer).sign(&padded, &dk("postrider 2026 card v1", &[body]))
}

/// A card that is signed as it should be, whatever it says.
pub(crate) fn signed(body: &[u8]) -> Vec<u8> {
    V::A(vec![b(body), b(signature(b"postrider card v1", body, ALICE))]).bytes()
}

fn changed(change: impl Fn(&mut Vec<V>)) -> Vec<u8> {
    let mut body = body();
    change(&mut body);
    signed(&V::A(body).bytes())
}

fn cards() -> Vec<Vector> {
    let case = |name: &str, what: &str, bytes: &[u8]| {
        bad(&format!("card-{name}"), what, "card", bytes, "card")
    };
    let field = |name: &str, what: &str, at: usize, value: V| {
        case(name, what, &changed(|body| body[at] = value.clone()))
    };
    let keys = |name: &str, what: &str, numbers: &[u64]| {
        let keys = numbers.iter().zip(10..).map(|(n, k)| V::A(vec![V::U(*n), b(public(k))]));
        field(&format!("keys-{name}"), what, 3, V::A(keys.collect()))
    };
    let one_key = |name: &str, what: &str, number: V, key: &[u8]| {
        field(&format!("key-{name}"), what, 3, V::A(vec![V::A(vec![number, b(key)])]))
    };
    let mut top_bit = public(ALICE);
    top_bit[31] |= 0x80;
    let mut unreduced = [0xff; 32];
    unreduced[0] = 0xf6; // p + 9
    unreduced[31] = 0x7f;
    let good = changed(|_| {});
    let mut out = vec![
        case("trailing", "a byte behind the card", &[&good[..], &[0]].concat()),
        case("cut", "the last byte missing", &good[..good.len() - 1]),
        case("indefinite", "an array of indefinite length", &{
            [&[0x9f], &good[1..], &[0xff]].concat()
        }),
        case("3-elements", "a third element", &{
            let raw = V::A(body()).bytes();
            V::A(vec![b(&raw), b(signature(b"postrider card v1", &raw, ALICE)), V::Null]).bytes()
        }),
        case("6-fields", "a field missing", &changed(|body| drop(body.pop()))),
        case("8-fields", "a field too many", &changed(|body| body.push(V::U(0)))),
        case("body-trailing", "a byte behind the signed body", &{
            signed(&[&V::A(body()).bytes()[..], &[0]].concat())
        }),
        case("body-array", "the body not wrapped in a byte string", &{
            let raw = V::A(body()).bytes();
            let signature = signature(b"postrider card v1", &raw, ALICE);
            V::A(vec![V::Raw(raw), b(signature)]).bytes()
        }),
        field("version-0", "version 0", 0, V::U(0)),
        field("version-2", "version 2", 0, V::U(2)),
        field("node-31", "a node key of 31 bytes", 1, b([9; 31])),
        field("number-0", "number 0", 2, V::U(0)),
        field("number-long", "the number in two bytes", 2, V::U(3).long(1)),
        field("number-null", "no number", 2, V::Null),
        keys("none", "no seal key", &[]),
        keys("nine", "nine seal keys", &[9, 8, 7, 6, 5, 4, 3, 2, 1]),
        keys("rising", "key numbers that rise", &[1, 2]),
        keys("equal", "two keys of one number", &[2, 2]),
        keys("rising-late", "key numbers that fall and then rise", &[5, 3, 4]),
        one_key("number-33-bits", "key number 2^32", V::U(1 << 32), &public(ALICE)),
        one_key("number-null", "a key without number", V::Null, &public(ALICE)),
        one_key("31", "a seal key of 31 bytes", V::U(1), &public(ALICE)[..31]),
        one_key("zero", "a seal key of small order: all zero", V::U(1), &[0; 32]),
        one_key("order-8", "a seal key of order 8", V::U(1), &{
            unhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
        }),
        one_key("top-bit", "a seal key with its top bit set", V::U(1), &top_bit),
        one_key("unreduced", "a seal key that is not reduced", V::U(1), &unreduced),
        field("name-65", "a name of 65 bytes", 4, t("n".repeat(65))),
        field("name-escape", "a control character in the name", 4, t("Al\u{1b}[2Jice")),
        field("name-c1", "a control character beyond ASCII in the name", 4, t("Al\u{85}ice")),
        field("name-bytes", "the name as a byte string", 4, b("Alice")),
        field("name-latin-1", "a name that is not UTF-8", 4, V::Raw(vec![0x62, 0xc3, 0x28])),
        field("hints-nine", "nine hints", 5, V::A(vec![t("x"); 9])),
        field("hint-129", "a hint of 129 bytes", 5, V::A(vec![t("x".repeat(129))])),
        field("hint-line-feed", "a line feed in a hint", 5, V::A(vec![t("tls://a\nb")])),
        field("hint-number", "a number as hint", 5, V::A(vec![V::U(7)])),
        field("features-null", "null as features", 6, V::Null),
        field("too-long", "601 bytes and more", 5, V::A(vec![t("x".repeat(128)); 4])),
    ];
    out.push(case("node-mixed-order", "a node key outside the prime-order group", &mixed_order()));
    for (name, what, key) in BAD_KEYS {
        let mut body = body();
        body[1] = b(key);
        // Signed with the forgery that a weak key would accept.
        let bytes = V::A(vec![b(V::A(body).bytes()), b(basepoint_signature())]).bytes();
        out.push(case(&format!("node-{name}"), &format!("node key: {what}"), &bytes));
        let name = format!("node-id-{name}");
        out.push(bad(&name, &format!("a node key: {what}"), "node-id", &key, "node-id"));
    }
    out
}

fn card_signatures() -> Vec<Vector> {
    let raw = V::A(body()).bytes();
    let case = |name: &str, what: &str, signature: [u8; 64]| {
        let bytes = V::A(vec![b(&raw), b(signature)]).bytes();
        bad(&format!("card-signature-{name}"), what, "card", &bytes, "signature")
    };
    let mut flipped = signature(b"postrider card v1", &raw, ALICE);
    flipped[40] ^= 1;
    vec![
        case("flipped", "a bit of the signature flipped", flipped),
        case("by-another", "signed by somebody else", {
            signature(b"postrider card v1", &raw, MALLORY)
        }),
        case("bundle-domain", "signed under the domain of open bundles", {
            signature(b"postrider bundle open v1", &raw, ALICE)
        }),
        case("zero", "all zero", [0; 64]),
    ]
}

fn card_texts() -> Vec<Vector> {
    let good = changed(|_| {});
    let case = |name: &str, what: &str, text: &str| {
        bad(&format!("card-text-{name}"), what, "card-text", text.as_bytes(), "card")
    };
    let hrp = |text: &str| Hrp::parse_unchecked(text);
    let text = bech32::encode::<Bech32m>(hrp("prcard"), &good).unwrap();
    vec![
        case("bech32", "the checksum of bech32, not bech32m", &{
            bech32::encode::<Bech32>(hrp("prcard"), &good).unwrap()
        }),
        case(
            "prefix",
            "the prefix of a node",
            &bech32::encode::<Bech32m>(hrp("pr"), &good).unwrap(),
        ),
        case("one-wrong", "one character wrong", &{
            let mut wrong = text.clone().into_bytes();
            wrong[50] = if wrong[50] == b'q' { b'p' } else { b'q' };
            String::from_utf8(wrong).unwrap()
        }),
        case("mixed-case", "upper and lower case mixed", &{
            let (head, rest) = text.split_at(20);
            format!("{head}{}", rest.to_uppercase())
        }),
        case("cut", "the last character missing", &text[..text.len() - 1]),
        case("padding", "a bit set in the padding", &padded_text("prcard", &good)),
    ]
}

fn node_texts() -> Vec<Vector> {
    let id = node(ALICE).id();
    let case = |name: &str, what: &str, text: &str| {
        bad(&format!("node-text-{name}"), what, "node-id-text", text.as_bytes(), "node-id")
    };
    let encoded = |prefix: &str, data: &[u8]| {
        bech32::encode::<Bech32m>(Hrp::parse_unchecked(prefix), data).unwrap()
    };
    let versioned = |version: u8, key: &[u8]| [&[version], key].concat();
    let text = id.to_string();
    let key = id.as_bytes();
    vec![
        case("bech32", "the checksum of bech32, not bech32m", &{
            bech32::encode::<Bech32>(Hrp::parse_unchecked("pr"), &versioned(0, key)).unwrap()
        }),
        case("prefix", "another prefix", &encoded("prcard", &versioned(0, key))),
        case("version-1", "version 1", &encoded("pr", &versioned(1, key))),
        case("unversioned", "a key without version", &encoded("pr", key)),
        case("31", "a key of 31 bytes", &encoded("pr", &versioned(0, &key[..31]))),
        case("33", "a key of 33 bytes", &encoded("pr", &versioned(0, &[&key[..], &[0]].concat()))),
        case("empty", "no data", &encoded("pr", &[])),
        case("weak", "a weak key", &encoded("pr", &versioned(0, &BAD_KEYS[0].2))),
        case("mixed-case", "upper and lower case mixed", &{
            format!("{}{}", &text[..10], text[10..].to_uppercase())
        }),
        case("one-wrong", "one character wrong", &{
            let wrong = if &text[20..21] == "q" { "p" } else { "q" };
            format!("{}{wrong}{}", &text[..20], &text[21..])
        }),
        case("cut", "the last character missing", &text[..text.len() - 1]),
        case("padding", "a bit set in the padding", &padded_text("pr", &versioned(0, key))),
    ]
}

/// The last character holds bits that the data does not fill: zero, but here one of them is set.
fn padded_text(prefix: &str, data: &[u8]) -> String {
    use bech32::{Fe32, primitives::iter::ByteIterExt, primitives::iter::Fe32IterExt};
    assert!(!data.len().is_multiple_of(5), "no bits are left over");
    let mut values: Vec<Fe32> = data.iter().copied().bytes_to_fes().collect();
    let last = values.last_mut().unwrap();
    *last = Fe32::try_from(last.to_u8() | 1).unwrap();
    let hrp = Hrp::parse_unchecked(prefix);
    values.into_iter().with_checksum::<Bech32m>(&hrp).chars().collect()
}

/// A card of Alice's key with a point of order 8 added to it. The signature holds: its challenge was
/// tried until it is a multiple of eight, which makes the added point vanish.
fn mixed_order() -> Vec<u8> {
    let point = EdwardsPoint::mul_base(&scalar_of(ALICE)) + EIGHT_TORSION[1];
    let key = point.compress().to_bytes();
    let mut body = body();
    body[1] = b(key);
    let raw = V::A(body).bytes();
    let mut message = [0; 64];
    message[..b"postrider card v1".len()].copy_from_slice(b"postrider card v1");
    message[32..].copy_from_slice(&dk("postrider 2026 card v1", &[&raw]));
    let signature = (1_u64..)
        .map(Scalar::from)
        .find_map(|r| {
            let start = EdwardsPoint::mul_base(&r).compress().to_bytes();
            let k = challenge(&start, &key, &message);
            let s = r + k * scalar_of(ALICE);
            k.as_bytes()[0].is_multiple_of(8).then(|| [start, s.to_bytes()].concat())
        })
        .unwrap();
    V::A(vec![b(&raw), b(signature)]).bytes()
}

fn receipts() -> Vec<Vector> {
    let held = Craft::open().build();
    let vector = bad("x", "", "bundle", &held, "").for_seed(seed(BOB));
    let opened = decode::run(&vector.json).unwrap();
    let (id, r) = (unhex(opened["id"].as_str().unwrap()), unhex(opened["r"].as_str().unwrap()));
    let receipt = |kind: u8, prefix: &[u8], r: &[u8]| [&[kind], prefix, r].concat();
    let case = |name: &str, what: &str, bytes: &[u8], held: &[u8]| {
        bad(&format!("receipt-{name}"), what, "receipt", bytes, "receipt")
            .set("bundle", json!(hex(held)))
    };
    let mut wrong_r = r.clone();
    wrong_r[15] ^= 1;
    let mut wrong_id = id.clone();
    wrong_id[7] ^= 1;
    let age = Craft::new(2, false).build();
    let age_id = SmallBundle::decode(&age).map(|small| small.head.id(&small.payload)).unwrap();
    let unlocked = Craft::new(0, false).build();
    let public = SmallBundle::decode(&unlocked).map(|small| small.head.id(&small.payload)).unwrap();
    vec![
        case("24", "a byte missing", &receipt(1, &id[..8], &r[..15]), &held),
        case("26", "a byte more", &receipt(1, &id[..8], &[&r[..], &[0]].concat()), &held),
        case("type-0", "type 0", &receipt(0, &id[..8], &r), &held),
        case("type-2", "an unknown type", &receipt(2, &id[..8], &r), &held),
        case("forged", "an r that does not open the lock", &receipt(1, &id[..8], &wrong_r), &held),
        case("zero", "an r of zeros", &receipt(1, &id[..8], &[0; 16]), &held),
        case(
            "other-bundle",
            "the right r, another bundle's id",
            &receipt(1, &wrong_id[..8], &r),
            &held,
        ),
        case(
            "age-forged",
            "an r that does not open an age lock",
            &receipt(1, &age_id.prefix(), &r),
            &age,
        ),
        case(
            "no-lock",
            "a receipt for a bundle without a lock",
            &receipt(1, &public.prefix(), &r),
            &unlocked,
        ),
    ]
}
