//! Thousands of spoiled bundles, cards and rosters, for both decoders to judge.
//!
//! Vectors hold the faults somebody thought of; here are those that nobody did. Bytes are spoiled
//! *before* they are sealed and signed, so that both decoders come to the deep checks.
//!
//! ```text
//! POSTRIDER_DIFFERENTIAL=DIR [POSTRIDER_CASES=N] cargo test -p postrider-base --test vectors spoiled
//! python3 tests/decoder/compare.py DIR
//! ```
//!
//! Without the variable a few hundred cases only have to end without a panic.

use std::{env, fs, path::Path};

use serde_json::{Value, json};

use crate::{
    bad_card,
    bad_packet::short_block,
    bad_roster,
    cbor::{V, b, t},
    craft::{BOB, Craft, mail, seed},
    decode, jobs, requests,
    vector::{hex, unhex},
};

/// Everything about case `i` follows from `i`.
struct Draw(blake3::OutputReader);

impl Draw {
    fn new(case: u64) -> Self {
        Self(blake3::Hasher::new().update(&case.to_be_bytes()).finalize_xof())
    }

    fn below(&mut self, bound: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::try_from(u64::from_be_bytes(bytes) % bound as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.0.fill(&mut byte);
        byte[0]
    }
}

/// One to three changed, added or removed bytes.
#[derive(Clone)]
struct Edits(Vec<(usize, usize, u8)>);

impl Edits {
    fn draw(draw: &mut Draw) -> Self {
        Self(
            (0..=draw.below(3))
                .map(|_| (draw.below(1 << 20), draw.below(6), draw.byte()))
                .collect(),
        )
    }

    /// Within the first `span` bytes.
    fn spoil(&self, bytes: &mut Vec<u8>, span: usize) {
        // Bytes that mean something in CBOR: null, long heads, empty strings and arrays, true, -1.
        const TELLING: [u8; 8] = [0, 0xff, 0xf6, 0x18, 0x40, 0x80, 0xf5, 0x20];
        for (at, what, value) in &self.0 {
            if bytes.is_empty() {
                return;
            }
            let at = at % bytes.len().min(span);
            match what {
                0 => bytes[at] = *value,
                1 => bytes[at] ^= 1 << (value % 8),
                2 => bytes[at] = bytes[at].wrapping_add(1),
                3 => bytes.insert(at, *value),
                4 => drop(bytes.drain(at..=at)),
                _ => bytes[at] = TELLING[usize::from(value % 8)],
            }
        }
    }
}

fn packet(draw: &mut Draw) -> Vec<V> {
    let hash = *blake3::hash(b"x").as_bytes();
    let path = V::A(vec![t("a"), t("b")]);
    let files = V::A(vec![V::A(vec![path, V::U(1), b(hash), V::Null, V::U(0)])]);
    let parts = V::A(vec![V::U(1 << 20), V::U(1), b([3; 32])]);
    let compressed = [&[0x20, 5, 0x29, 0, 0][..], b"hello"].concat();
    match draw.below(12) {
        10 => vec![V::U(1), b(short_block(b"Zwx needs 27 kg of rice and Qvortrup has it. ", 90))],
        9 => {
            let said = draw.below(5) as u64;
            vec![V::U(10), b(V::A(requests::elements(said)).bytes())]
        }
        0 => mail("hello"),
        1 => vec![V::U(1), b(compressed)],
        2 => vec![V::U(2), b(V::A(vec![V::Null, t("hi"), files, b("x")]).bytes())],
        3 => vec![V::U(2), b(V::A(vec![b([1; 16]), V::Null, files, parts]).bytes())],
        kind @ 6..9 => {
            let kind = [12, 14, 22][kind - 6];
            vec![V::U(kind), b(V::A(jobs::elements(kind)).bytes())]
        }
        5 => vec![V::U(18), b(V::A(vec![b([9; 40]), t("a friend")]).bytes())],
        4 => vec![V::U(0), b("x"), V::A(vec![b([1; 32]), b([9; 40])])],
        _ => vec![V::U(4), V::A(vec![b([1; 16]), V::U(0), V::U(10), V::U(10)])],
    }
}

fn bundle(draw: &mut Draw) -> Value {
    let edits = Edits::draw(draw);
    let (seal, hidden) = [(0, false), (1, false), (2, false), (1, true), (2, true)][draw.below(5)];
    let place = draw.below(4);
    let craft = Craft::new(seal, hidden).packet(packet(draw)).with(|c| {
        if matches!(c.packet[0], V::U(4)) {
            c.after = [&[0xaa; 10][..], &[0; 9]].concat();
        }
        let edits = edits.clone();
        match place {
            0 => c.header_bytes = Some(Box::new(move |h| edits.spoil(h, 4096))),
            1 => c.plain = Some(Box::new(move |p| edits.spoil(p, 200))),
            2 => c.age_start = Some(Box::new(move |p| edits.spoil(p, 200))),
            _ => c.plain = Some(Box::new(move |p| edits.spoil(p, 24))),
        }
    });
    let mut bytes = craft.build();
    if draw.below(8) == 0 {
        edits.spoil(&mut bytes, 60);
    }
    json!({ "kind": "bundle", "hex": hex(bytes), "recipient_seed": hex(seed(BOB)) })
}

fn card(draw: &mut Draw) -> Value {
    let mut body = V::A(bad_card::body()).bytes();
    Edits::draw(draw).spoil(&mut body, 4096);
    json!({ "kind": "card", "hex": hex(bad_card::signed(&body)) })
}

fn roster(draw: &mut Draw) -> Value {
    let mut body = V::A(bad_roster::body()).bytes();
    Edits::draw(draw).spoil(&mut body, 4096);
    json!({ "kind": "roster", "hex": hex(bad_roster::signed(&body)) })
}

fn committed(draw: &mut Draw, golden: &[(String, Value)]) -> Value {
    let mut vector = golden[draw.below(golden.len())].1.clone();
    let mut bytes = unhex(vector["hex"].as_str().unwrap());
    Edits::draw(draw).spoil(&mut bytes, 4096);
    vector["hex"] = json!(hex(bytes));
    vector
}

#[test]
fn spoiled_bundles_and_cards_are_judged_without_a_panic() {
    let out = env::var_os("POSTRIDER_DIFFERENTIAL");
    let cases = env::var("POSTRIDER_CASES").map_or(300, |n| n.parse().unwrap());
    let mut golden = crate::committed("good");
    golden.retain(|(_, v)| {
        let kind = v["kind"].as_str().unwrap();
        kind.starts_with("radio") || ["bundle", "card", "roster", "receipt"].contains(&kind)
    });
    let mut forms = golden.clone();
    forms.retain(|(_, v)| v["kind"].as_str().unwrap().starts_with("radio"));
    for case in 0..cases {
        let mut draw = Draw::new(case);
        let mut vector = match draw.below(11) {
            0 => committed(&mut draw, &golden),
            10 => committed(&mut draw, &forms),
            1 => card(&mut draw),
            2 => roster(&mut draw),
            _ => bundle(&mut draw),
        };
        let verdict = std::panic::catch_unwind(|| decode::run(&vector));
        vector["judged"] = match verdict.unwrap_or_else(|_| panic!("case {case} panics")) {
            Ok(said) => json!({ "accepted": said }),
            Err(stage) => json!({ "refused_by": stage }),
        };
        if let Some(out) = &out {
            fs::write(Path::new(out).join(format!("{case}.json")), vector.to_string()).unwrap();
        }
    }
}
