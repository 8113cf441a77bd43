//! Malformed: rosters, and introductions inside a seal.

use crate::{
    bad_card,
    cbor::{V, b, t},
    craft::{ALICE, BOB, Craft, MALLORY, dk, node, seed},
    vector::{Vector, bad},
};

pub(crate) fn all() -> Vec<Vector> {
    [rosters(), signatures(), introductions()].into_iter().flatten().collect()
}

fn entry(n: u8) -> Vec<V> {
    vec![b(node(n).id().as_bytes()), t("Bob"), t(""), V::A(vec![]), V::Null, V::U(0)]
}

/// Two entries in their order.
fn entries() -> [u8; 2] {
    let mut both = [BOB, MALLORY];
    both.sort_by_key(|n| *node(*n).id().as_bytes());
    both
}

pub(crate) fn body() -> Vec<V> {
    vec![
        V::U(1),
        b(node(ALICE).id().as_bytes()),
        V::U(3),
        V::U(20_800),
        t("Relief"),
        V::A(entries().map(|n| V::A(entry(n))).into()),
    ]
}

fn signature(domain: &[u8], body: &[u8], signer: u8) -> [u8; 64] {
    let mut padded = [0; 32];
    padded[..domain.len()].copy_from_slice(domain);
    node(signer).sign(&padded, &dk("postrider 2026 roster v1", &[body]))
}

/// A roster that is signed as it should be, whatever it says.
pub(crate) fn signed(body: &[u8]) -> Vec<u8> {
    V::A(vec![b(body), b(signature(b"postrider roster v1", body, ALICE))]).bytes()
}

fn changed(change: impl Fn(&mut Vec<V>)) -> Vec<u8> {
    let mut body = body();
    change(&mut body);
    signed(&V::A(body).bytes())
}

fn rosters() -> Vec<Vector> {
    let case = |name: &str, what: &str, bytes: &[u8]| {
        bad(&format!("roster-{name}"), what, "roster", bytes, "roster")
    };
    let field = |name: &str, what: &str, at: usize, value: V| {
        case(name, what, &changed(|body| body[at] = value.clone()))
    };
    // In the first entry.
    let inside = |name: &str, what: &str, at: usize, value: V| {
        let bytes = changed(|body| {
            let [first, second] = entries().map(entry);
            let mut first = first;
            first[at] = value.clone();
            body[5] = V::A(vec![V::A(first), V::A(second)]);
        });
        case(&format!("entry-{name}"), what, &bytes)
    };
    let listed = |name: &str, what: &str, list: &[u8]| {
        let list = list.iter().map(|n| V::A(entry(*n))).collect();
        field(&format!("entries-{name}"), what, 5, V::A(list))
    };
    let good = changed(|_| {});
    let [first, second] = entries();
    let mut spoiled_card = bad_card::signed(&V::A(bad_card::body()).bytes());
    let last = spoiled_card.len() - 1;
    spoiled_card[last] ^= 1;
    vec![
        case("trailing", "a byte behind the roster", &[&good[..], &[0]].concat()),
        case("cut", "the last byte missing", &good[..good.len() - 1]),
        case("5-fields", "a field missing", &changed(|body| drop(body.pop()))),
        case("7-fields", "a field too many", &changed(|body| body.push(V::U(0)))),
        field("version-2", "version 2", 0, V::U(2)),
        field("key-31", "a key of 31 bytes", 1, b([9; 31])),
        field("number-0", "number 0", 2, V::U(0)),
        field("issued-33-bits", "a day beyond 32 bits", 3, V::U(1 << 32)),
        field("issued-null", "no day", 3, V::Null),
        field("name-empty", "an empty name", 4, t("")),
        field("name-65", "a name of 65 bytes", 4, t("n".repeat(65))),
        field("name-escape", "a control character in the name", 4, t("Rel\u{1b}[2Jief")),
        field("name-blank", "a name that ends in a blank", 4, t("Relief ")),
        listed("falling", "entries that do not rise", &[second, first]),
        listed("twice", "a key twice", &[first, first]),
        field("entries-null", "no list of entries", 5, V::Null),
        inside("key-weak", "a key for which anybody can sign", 0, b([0; 32])),
        inside("key-31", "a key of 31 bytes", 0, b([9; 31])),
        inside("card-forged", "a card whose signature does not hold", 0, b(&spoiled_card)),
        inside("card-601", "a card of 601 bytes", 0, b([0x82; 601])),
        inside("name-empty", "a member without a name", 1, t("")),
        inside("role-upper-case", "a role in capitals", 2, t("Admin")),
        inside("role-33", "a role of 33 bytes", 2, t("x".repeat(33))),
        inside("groups-empty-word", "a group without a name", 3, V::A(vec![t("")])),
        inside("groups-blank", "a blank in a group", 3, V::A(vec![t("a b")])),
        inside("groups-nine", "nine groups", 3, V::A(vec![t("a"); 9])),
        inside("until-33-bits", "a last day beyond 32 bits", 4, V::U(1 << 32)),
        inside("flags-2", "an unknown flag", 5, V::U(2)),
        inside("flags-null", "no flags", 5, V::Null),
    ]
}

fn signatures() -> Vec<Vector> {
    let raw = V::A(body()).bytes();
    let case = |name: &str, what: &str, signature: [u8; 64]| {
        let bytes = V::A(vec![b(&raw), b(signature)]).bytes();
        bad(&format!("roster-signature-{name}"), what, "roster", &bytes, "signature")
    };
    let mut flipped = signature(b"postrider roster v1", &raw, ALICE);
    flipped[40] ^= 1;
    vec![
        case("flipped", "one bit of S flipped", flipped),
        case("other", "signed by another key", signature(b"postrider roster v1", &raw, MALLORY)),
        case("card-domain", "signed as a card", signature(b"postrider card v1", &raw, ALICE)),
        case("zero", "64 zero bytes", [0; 64]),
    ]
}

fn introductions() -> Vec<Vector> {
    let card = bad_card::signed(&V::A(bad_card::body()).bytes());
    let case = |name: &str, what: &str, body: &V| {
        let craft = Craft::open().packet(vec![V::U(18), b(body.bytes())]);
        let name = format!("packet-introduction-{name}");
        bad(&name, what, "bundle", &craft.build(), "packet").for_seed(seed(BOB))
    };
    vec![
        case("1-element", "a card and no place for a note", &V::A(vec![b(&card)])),
        case("no-card", "an empty card", &V::A(vec![b([]), V::Null])),
        case("card-601", "a card of 601 bytes", &V::A(vec![b([0x82; 601]), V::Null])),
        case("note-empty", "an empty note instead of none", &V::A(vec![b(&card), t("")])),
        case("note-1025", "a note of 1,025 bytes", &V::A(vec![b(&card), t("n".repeat(1025))])),
        case("note-bytes", "a note that is no text", &V::A(vec![b(&card), b("hi")])),
    ]
}
