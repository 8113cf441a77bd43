//! The format's proof: `tests/vectors` holds golden and malformed files, one fault each.
//!
//! Two decoders read them, this crate's here and the Python one in `tests/decoder`; they were
//! written independently, from docs/format.md. `POSTRIDER_BLESS=1` writes vectors that are not there
//! yet. One that is there is never rewritten: what was once sealed must stay readable.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod bad_card;
mod bad_header;
mod bad_outside;
mod bad_packet;
mod bad_roster;
mod bad_seal;
mod cbor;
mod craft;
mod decode;
mod differential;
mod good;
mod jobs;
mod radio;
mod requests;
mod seals;
mod vector;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Once,
};

use serde_json::Value;

use crate::vector::Vector;

/// The stages of docs/format.md in their order; a refusal may come early, never late.
const STAGES: [&str; 8] =
    ["envelope", "header", "signature", "payload", "tag", "seal", "inner", "packet"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

fn all() -> Vec<Vector> {
    let bad = [
        bad_outside::all(),
        bad_header::all(),
        bad_seal::all(),
        bad_packet::all(),
        bad_card::all(),
        bad_roster::all(),
        jobs::malformed(),
        requests::malformed(),
        radio::malformed(),
    ];
    let good = good::all().into_iter().chain(radio::golden());
    let all: Vec<_> = good.chain(bad.into_iter().flatten()).collect();
    let names: BTreeSet<_> = all.iter().map(|vector| &vector.name).collect();
    assert_eq!(names.len(), all.len(), "two vectors of one name");
    all
}

/// Writes what is not there yet, once, before any test reads.
fn bless() {
    static BLESSED: Once = Once::new();
    BLESSED.call_once(|| {
        if std::env::var_os("POSTRIDER_BLESS").is_none() {
            return;
        }
        for vector in all() {
            let path = root().join(format!("{}.json", vector.name));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if !path.exists() {
                let text = serde_json::to_string_pretty(&vector.json).unwrap() + "\n";
                fs::write(&path, text).unwrap();
            }
        }
    });
}

fn committed(folder: &str) -> Vec<(String, Value)> {
    bless();
    let mut out: Vec<_> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), json)
        })
        .collect();
    // What lies on a medium is the engine's: its `tests/rest_vectors.rs` reads it.
    out.retain(|(_, json): &(String, Value)| json["kind"] != "rest");
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

/// Every vector in the code is on disk; where its bytes follow from fixed secrets they are the same.
#[test]
fn the_generator_and_the_files_agree() {
    bless();
    for vector in all() {
        let path = root().join(format!("{}.json", vector.name));
        let text = fs::read(&path).unwrap_or_else(|_| panic!("{} is missing", vector.name));
        let file: Value = serde_json::from_slice(&text).unwrap();
        // The age library draws its own randomness; only hand-made age files repeat.
        let by_library = vector.name.contains("age") && vector.json["expect"]["epoch"].is_u64()
            || vector.name.contains("receipt-age");
        if !by_library {
            assert_eq!(file, vector.json, "{}: the encoder writes other bytes now", vector.name);
        }
    }
}

#[test]
fn golden_vectors_decode_to_what_they_say() {
    let vectors = committed("good");
    assert!(vectors.len() >= 20, "{} golden vectors", vectors.len());
    for (name, vector) in vectors {
        let got = decode::run(&vector).unwrap_or_else(|stage| panic!("{name}: refused by {stage}"));
        let expect = vector["expect"].as_object().unwrap();
        // Padding, hints and compression are facts of the encoding that the crate does not report.
        let unreported = ["padding", "hint", "compressed"];
        let mut compared = 0;
        for (key, wanted) in expect {
            match got.get(key) {
                Some(value) => assert_eq!(value, wanted, "{name}: {key}"),
                None => assert!(unreported.contains(&key.as_str()), "{name}: no {key}"),
            }
            compared += 1;
        }
        assert!(compared > 0, "{name} expects nothing");
    }
}

#[test]
fn malformed_vectors_are_refused_where_they_say() {
    let vectors = committed("bad");
    assert!(vectors.len() >= 60, "{} malformed vectors", vectors.len());
    let mut wrong = Vec::new();
    for (name, vector) in vectors {
        let wanted = vector["refused_by"].as_str().unwrap();
        let rank = |stage: &str| STAGES.iter().position(|s| *s == stage);
        match decode::run(&vector) {
            Ok(_) => wrong.push(format!("{name}: accepted, should be refused by {wanted}")),
            Err(got) if got == wanted || rank(got) < rank(wanted) => {}
            Err(got) => wrong.push(format!("{name}: refused by {got}, should be by {wanted}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each malformed bundle but for its fault would be a good one: the hand-made bundle without a
/// fault opens, in every form.
#[test]
fn the_hand_made_bundle_is_good_until_it_is_spoiled() {
    for (seal, hidden) in [(0, false), (1, false), (2, false), (1, true), (2, true)] {
        let bytes = craft::Craft::new(seal, hidden).build();
        let vector =
            vector::good("x", "x", "bundle", &bytes, Value::Null).for_seed(craft::seed(craft::BOB));
        let got = decode::run(&vector.json);
        let got = got.unwrap_or_else(|s| panic!("seal {seal}, hidden {hidden}: refused by {s}"));
        assert_eq!(got["text"], "meet me at the old mill");
    }
}
