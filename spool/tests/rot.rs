//! Single flipped bits, zeroed blocks and truncations behind the spool's back: no panic, the loss
//! is at most the damaged record, and a check says so.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at what they do not expect")]

mod common;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{at, body_of, bundle, entropy, id, node};
use postrider_spool::{
    Change, CheckReport, Damage, Delivered, DurableSpool, Options, Place, Seen, Sequence, Spool,
    SpoolError, Why, contract::BLOB_FROM,
};
use postrider_testkit::{CrashDisk, Names, Seeded};

const BUNDLES: u64 = 40;
const DAMAGES: u64 = 200;

fn options() -> Options {
    let mut options = Options::default();
    options.ballast_bytes = 0;
    options.segment_bytes = 16 << 10;
    options
}

fn try_open(disk: &CrashDisk, seed: u64) -> Result<DurableSpool, SpoolError> {
    let place = Place::on(Arc::new(disk.clone()), entropy(seed));
    DurableSpool::open(place, &options()).map(|(spool, _)| spool)
}

/// A closed spool with a bit of everything, and the sequences it used.
fn made() -> (CrashDisk, Vec<Sequence>) {
    let disk = CrashDisk::new(Names::Atomic);
    let spool = try_open(&disk, 1).unwrap();
    let now = at(1, 10);
    let mut used = Vec::new();
    for n in 0..BUNDLES {
        let len = if n % 20 == 7 { BLOB_FROM + 9 } else { 200 + usize::try_from(n).unwrap() * 20 };
        let sequence = spool.take_sequence(&node(1)).unwrap();
        used.push(sequence);
        let admit = Change::Bundle(bundle(n, &vec![n.to_le_bytes()[0]; len]));
        spool.commit(now, vec![admit, Change::Sequence(sequence)]).unwrap();
        let delivered =
            Change::Delivered(Delivered { source: [1; 32], epoch: 1, counter: n, id8: [1; 8] });
        let note =
            Change::Note { space: 1, key: n.to_be_bytes().to_vec(), value: Some(vec![1; 50]) };
        spool.commit(now, vec![delivered, note]).unwrap();
        if n % 4 == 1 {
            spool.commit(now, vec![Change::Retire { id: id(n), why: Why::Read }]).unwrap();
        }
    }
    drop(spool);
    (disk, used)
}

/// How many things are not as they were made.
fn lost(spool: &DurableSpool) -> Vec<String> {
    let mut lost = Vec::new();
    for n in 0..BUNDLES {
        let seen = spool.seen(&id(n)).unwrap();
        let wanted = if n % 4 == 1 { Seen::Retired(Why::Read) } else { Seen::Live };
        if seen != Some(wanted) {
            lost.push(format!("bundle {n}: {seen:?}"));
        } else if wanted == Seen::Live {
            let body = body_of(spool, &id(n)).unwrap();
            assert!(body.iter().all(|b| *b == n.to_le_bytes()[0]), "a changed body was shown");
        }
        if spool.delivered(&[1; 32], 1, n).unwrap().is_empty() {
            lost.push(format!("delivery {n}"));
        }
        match spool.note(1, &n.to_be_bytes()).unwrap() {
            Some(value) => assert_eq!(value, [1; 50]),
            None => lost.push(format!("note {n}")),
        }
    }
    lost
}

/// Damage at the very end of the log looks like a write that a crash cut off, and is said so.
fn said(report: &CheckReport) -> bool {
    !report.damaged.is_empty() || report.torn_bytes > 0
}

fn log_files(disk: &CrashDisk) -> Vec<(PathBuf, usize)> {
    let files = disk.files().into_iter().filter(|(path, _)| path.starts_with("log"));
    files.map(|(path, len)| (path, usize::try_from(len).unwrap())).collect()
}

fn fresh_numbers(spool: &DurableSpool, used: &[Sequence], what: &str) {
    let used: HashSet<(u32, u64)> = used.iter().map(|s| (s.epoch, s.counter)).collect();
    let next = spool.take_sequence(&node(1)).unwrap();
    assert!(!used.contains(&(next.epoch, next.counter)), "{what}: {next:?} was used before");
}

#[test]
fn a_flipped_bit_in_the_log_costs_at_most_one_record_and_is_said() {
    let (disk, used) = made();
    let files = log_files(&disk);
    assert!(files.len() > 3, "several segments");
    let mut costs = [0; 2];
    for seed in 0..DAMAGES {
        let mut chance = Seeded::new(seed);
        let disk = disk.fork();
        let (path, len) = &files[chance.index(files.len())];
        let (byte, bit) = (chance.index(*len), chance.below(8));
        disk.rot(path, |bytes| bytes[byte] ^= 1 << bit);
        let what = format!("seed {seed}: bit {bit} of byte {byte} of {}", path.display());

        let spool = try_open(&disk, seed).unwrap();
        let lost = lost(&spool);
        assert!(lost.len() <= 1, "{what}: {lost:?}");
        costs[lost.len()] += 1;
        fresh_numbers(&spool, &used, &what);
        let report = spool.check(at(1, 20)).unwrap();
        assert!(lost.is_empty() || said(&report), "{what}: {lost:?} unsaid");
        // And it goes on working.
        spool.commit(at(1, 20), vec![Change::Bundle(bundle(999, b"new"))]).unwrap();
        drop(spool);
        let spool = try_open(&disk, seed).unwrap();
        assert!(spool.entry(&id(999)).unwrap().is_some(), "{what}");
    }
    assert!(costs[0] > 5 && costs[1] > 50, "both kinds of damage were met: {costs:?}");
}

#[test]
fn a_bad_sector_in_the_log_costs_only_what_it_touches() {
    let (disk, used) = made();
    let files = log_files(&disk);
    for seed in 0..DAMAGES {
        let mut chance = Seeded::new(seed);
        let disk = disk.fork();
        let (path, len) = &files[chance.index(files.len())];
        let from = chance.index(*len) / 512 * 512;
        disk.rot(path, |bytes| {
            let upto = (from + 512).min(bytes.len());
            bytes[from..upto].fill(0);
        });
        let what = format!("seed {seed}: sector at {from} of {}", path.display());
        let spool = try_open(&disk, seed).unwrap();
        // 512 bytes touch at most: a bundle, a delivery, a note, two tombstones and what is cut.
        let lost = lost(&spool);
        assert!(lost.len() <= 8, "{what}: {lost:?}");
        fresh_numbers(&spool, &used, &what);
        let report = spool.check(at(1, 20)).unwrap();
        assert!(lost.is_empty() || said(&report), "{what}: {lost:?} unsaid");
    }
}

#[test]
fn a_cut_segment_costs_only_what_was_cut_off() {
    let (disk, used) = made();
    let files = log_files(&disk);
    for seed in 0..DAMAGES {
        let mut chance = Seeded::new(seed);
        let disk = disk.fork();
        let (path, len) = &files[chance.index(files.len() - 1)];
        let at_byte = chance.index(*len);
        disk.rot(path, |bytes| bytes.truncate(at_byte));
        let what = format!("seed {seed}: {} cut at {at_byte}", path.display());
        let spool = try_open(&disk, seed).unwrap();
        fresh_numbers(&spool, &used, &what);
        let lost = lost(&spool);
        let report = spool.check(at(1, 20)).unwrap();
        assert!(lost.is_empty() || said(&report), "{what}: {lost:?} unsaid");
        // The other segments gave what they have: the first and the last bundle are elsewhere.
        let whole = (0..BUNDLES).filter(|n| spool.seen(&id(*n)).unwrap().is_some()).count();
        assert!(whole >= 20, "{what}: only {whole} left");
    }
}

#[test]
fn a_torn_last_segment_costs_only_its_end() {
    let (disk, _) = made();
    let files = log_files(&disk);
    let (path, len) = files.last().unwrap();
    for at_byte in (0..*len).step_by(37) {
        let disk = disk.fork();
        disk.rot(path, |bytes| bytes.truncate(at_byte));
        let spool = try_open(&disk, 5).unwrap();
        spool.check(at(1, 20)).unwrap();
        spool.commit(at(1, 20), vec![Change::Bundle(bundle(999, b"new"))]).unwrap();
        drop(spool);
        let spool = try_open(&disk, 6).unwrap();
        assert!(spool.entry(&id(999)).unwrap().is_some(), "cut at {at_byte}");
        assert!(spool.seen(&id(0)).unwrap().is_some());
    }
}

#[test]
fn a_damaged_body_file_is_named_and_only_its_bundle_is_lost() {
    let (disk, _) = made();
    let blobs: Vec<PathBuf> =
        disk.files().into_iter().map(|(p, _)| p).filter(|p| p.starts_with("blobs")).collect();
    assert_eq!(blobs.len(), 2);
    for seed in 0..DAMAGES {
        let mut chance = Seeded::new(seed);
        let disk = disk.fork();
        let path = &blobs[chance.index(2)];
        let at_byte = chance.index(BLOB_FROM + 9);
        disk.rot(path, |bytes| match seed % 3 {
            0 => bytes[at_byte] ^= 1 << chance.below(8),
            1 => bytes.truncate(at_byte),
            _ => bytes.push(0),
        });
        let spool = try_open(&disk, seed).unwrap();
        let report: CheckReport = spool.check(at(1, 20)).unwrap();
        let named = path.file_name().unwrap().to_str().unwrap();
        let [Damage::Body(damaged)] = report.damaged[..] else { panic!("seed {seed}: {report:?}") };
        assert_eq!(damaged.to_string(), named);
        assert_eq!(lost(&spool).len(), 1, "seed {seed}");
        assert_eq!(spool.seen(&damaged).unwrap(), None, "a good copy is welcome");
        assert!(spool.check(at(1, 20)).unwrap().damaged.is_empty());
        assert!(disk.files().iter().all(|(p, _)| p != path), "the bad file is gone");
    }
}

#[test]
fn a_segment_of_a_newer_format_is_refused_not_damaged() {
    let (disk, _) = made();
    let first = Path::new("log/00000001.seg");
    disk.rot(first, |bytes| {
        for copy in [0, 4096] {
            bytes[copy + 9] = 2;
            let seed = u64::from_be_bytes(bytes[copy + 14..copy + 22].try_into().unwrap());
            let check = xxhash_rust::xxh3::xxh3_64_with_seed(&bytes[copy..copy + 22], seed);
            bytes[copy + 22..copy + 30].copy_from_slice(&check.to_be_bytes());
        }
    });
    let refused = try_open(&disk, 1).err().unwrap();
    assert!(matches!(refused, SpoolError::NewerFormat { segment: 1, version: 2 }));
}
