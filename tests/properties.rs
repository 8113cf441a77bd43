//! The twins of the fuzz targets: every decoder of bytes from outside meets valid, spoiled and
//! random input in `cargo test`, with nothing installed. `POSTRIDER_STORM=N` makes N times as many.
//!
//! The bodies themselves, and what they assert, stand in `tests/fuzz/bodies`.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "fuzz/bodies/mod.rs"]
mod bodies;
#[path = "properties/mutation.rs"]
mod mutation;

use std::{env, fs, panic::catch_unwind, path::Path};

use bodies::{
    BODIES, Cost,
    reconciliation::{played, reconciliation_seeds},
};
use mutation::spoiled;
use postrider_base::{
    NodeSecret,
    bundle::SmallBundle,
    unseal::{Keyring, open_small},
};
use postrider_testkit::Seeded;

fn storm() -> u64 {
    env::var("POSTRIDER_STORM").map_or(1, |n| n.parse().expect("POSTRIDER_STORM is a number"))
}

fn twin(name: &str) {
    let (_, cost, _, seeds) = BODIES.iter().find(|body| body.0 == name).unwrap();
    let seeds = seeds();
    for (n, seed) in seeds.iter().enumerate() {
        assert!(bodies::run(name, seed), "{name}: good input {n} is refused");
    }
    let cases = storm()
        * match cost {
            Cost::Light => 6000,
            Cost::Keys => 800,
            Cost::Files => 120,
        };
    let (mut accepted, mut refused) = (0, 0);
    for case in 0..cases {
        let input = spoiled(&mut Seeded::new(case), &seeds);
        match catch_unwind(|| bodies::run(name, &input)) {
            Ok(true) => accepted += 1,
            Ok(false) => refused += 1,
            Err(_) => panic!("{name}: case {case} panics on {}", hex(&input)),
        }
    }
    println!("{name}: {accepted} accepted, {refused} refused");
    // Records of kinds that a build does not know are kept, so their log refuses nothing.
    assert!(refused > 0 || name == "log_records", "{name}: nothing is ever refused");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One test for each body, so that they run side by side and a failure names the decoder.
macro_rules! twins {
    ($($name:ident)*) => {
        $(#[test] fn $name() { twin(stringify!($name)); })*
        const TWINS: &[&str] = &[$(stringify!($name)),*];
    };
}

twins! {
    wire header head small_bundle receipt card card_body roster roster_body node_text seal_key_text
    packet compressed manifest file_request job job_result job_word compact_inside age_inside compact_payload age_file
    container forged_container rest forged_rest notes forged_notes volume file_name
    unit beacon symbols reconciliation noise_first noise_second noise_records line
    radio_frame radio_pieces station
    kiss_modem rnode_board meshtastic_radio at_modem modem_profile
    config allow_list allowed shares key_file contacts stream trace log_segment log_records
}

#[test]
fn every_body_has_a_twin_and_a_target_and_none_is_left_over() {
    let names: Vec<&str> = BODIES.iter().map(|body| body.0).collect();
    assert_eq!(names, TWINS);
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let mut targets: Vec<String> = fs::read_dir(fuzz.join("targets"))
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    targets.sort();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(targets, sorted);
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("\"targets/{name}.rs\"")), "{name} is not built");
    }
}

/// The scripts of good peers lead where they should, so that spoiled ones come from deep inside.
#[test]
fn a_reconciliation_of_each_kind_comes_to_its_end() {
    let offered = reconciliation_seeds().iter().map(|script| played(script)).collect::<Vec<_>>();
    // By the cursor, and none twice; what only the engine has, and what came meanwhile; what was made
    // up; and everything, where it comes to nothing.
    let all = [100, 9, 1, 100, 100].map(|offered| Some((offered, false)));
    assert_eq!(offered, all);
}

#[test]
#[ignore = "writes tests/fuzz/corpus, where cargo-fuzz looks for good input"]
fn writes_the_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (name, _, _, seeds) in BODIES {
        let dir = corpus.join(name);
        fs::create_dir_all(&dir).unwrap();
        for (n, seed) in seeds().iter().enumerate() {
            fs::write(dir.join(format!("seed-{n}")), seed).unwrap();
        }
    }
}

/// Relays verify open bundles: no change at all passes. Of hidden ones they can only see that the
/// id is another; the recipient opens none of them.
#[test]
fn a_changed_bundle_never_verifies_or_never_opens() {
    let originals = bodies::seeds::mails();
    let (node, alice) = (NodeSecret::from_seed([2; 32]), NodeSecret::from_seed([1; 32]).id());
    let (me, keys, senders) = (node.id(), [node.first_seal_key()], [alice]);
    let ring = Keyring { node: &me, keys: &keys, senders: &senders };
    let mut decoded = 0;
    for original in originals {
        let whole = SmallBundle { head: original.head, payload: original.payload };
        let bytes = whole.encode();
        let opened = open_small(&whole.head, &whole.payload, &ring).unwrap();
        assert_eq!(opened.source, alice);
        let flips = (0..bytes.len() * 8).map(|bit| {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        });
        let seeds = [bytes.clone()];
        let edits = (0..500 * storm()).map(|case| spoiled(&mut Seeded::new(case), &seeds));
        for (n, changed) in flips.chain(edits).enumerate().filter(|(_, c)| *c != bytes) {
            let Ok(bundle) = SmallBundle::decode(&changed) else { continue };
            decoded += 1;
            let Ok(id) = bundle.head.verify_small(&bundle.payload) else { continue };
            assert!(bundle.head.signature().is_none(), "change {n} verifies: {}", hex(&changed));
            assert_ne!(id, original.id, "change {n} keeps the id");
            let verdict = open_small(&bundle.head, &bundle.payload, &ring);
            assert!(verdict.is_err(), "change {n} opens: {}", hex(&changed));
        }
    }
    assert!(decoded > 1000, "only {decoded} changed bundles got as far as their checks");
}
