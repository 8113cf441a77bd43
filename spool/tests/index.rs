//! The index beside a good log: deleted, garbage, of another time, damaged. Everything is back
//! after the next open, and the reason is told.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at what they do not expect")]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use common::{at, build, bundle, difference, entropy, id, picture, random_group};
use postrider_spool::{
    Appender, Change, DurableSpool, IndexState, MemorySpool, Options, Place, Recovery, Seen, Spool,
};
use postrider_testkit::Seeded;
use tempfile::TempDir;

/// Each opening draws other numbers, as a real one does: segments of two logs differ by their seed.
fn place(root: &Path) -> Place {
    static OPENED: AtomicU64 = AtomicU64::new(0);
    let seed = OPENED.fetch_add(1, Ordering::Relaxed);
    Place::take(root, entropy(seed), Duration::ZERO, &mut || true).unwrap()
}

fn open(root: &Path) -> (DurableSpool, Recovery) {
    let mut options = Options::default();
    options.ballast_bytes = 0;
    options.segment_bytes = 32 << 10;
    DurableSpool::open(place(root), &options).unwrap()
}

/// A closed spool with random content, and its twin.
fn made(seed: u64, groups: u64) -> (TempDir, MemorySpool) {
    let dir = tempfile::tempdir().unwrap();
    let twin = MemorySpool::new(entropy(1));
    let (spool, _) = open(dir.path());
    add(&spool, &twin, seed, groups, 0);
    drop(spool);
    (dir, twin)
}

fn add(spool: &dyn Spool, twin: &MemorySpool, seed: u64, groups: u64, from_s: u64) {
    let mut chance = Seeded::new(seed);
    for step in 0..groups {
        let now = at(1, from_s + step * 7);
        let group = random_group(&mut chance);
        let a = spool.commit(now, build(spool, &group).unwrap()).unwrap();
        assert_eq!(a, twin.commit(now, build(twin, &group).unwrap()).unwrap());
    }
}

fn same(spool: &DurableSpool, twin: &MemorySpool, what: &str) {
    let now = at(1, 5000);
    if let Some(line) = difference(&picture(spool, now), &picture(twin, now)) {
        panic!("{what}: (left durable)\n{line}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).unwrap();
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for item in fs::read_dir(dir).unwrap() {
        let item = item.unwrap();
        if item.file_type().unwrap().is_dir() {
            found.extend(files(&item.path()));
        } else if item.metadata().unwrap().len() > 0 {
            found.push(item.path());
        }
    }
    found.sort();
    found
}

#[test]
fn an_index_that_was_closed_properly_is_used_as_it_is() {
    let (dir, twin) = made(1, 60);
    let (spool, recovery) = open(dir.path());
    assert_eq!(recovery.index, IndexState::Current);
    same(&spool, &twin, "reopened");
    assert_eq!(spool.check(at(1, 5000)).unwrap().repaired, 0);
}

#[test]
fn a_deleted_index_is_made_anew() {
    let (dir, twin) = made(2, 60);
    fs::remove_dir_all(dir.path().join("index")).unwrap();
    let (spool, recovery) = open(dir.path());
    assert!(matches!(recovery.index, IndexState::Rebuilt { .. }), "{recovery:?}");
    same(&spool, &twin, "deleted");
}

#[test]
fn garbage_in_place_of_the_index_is_moved_aside() {
    for seed in 0..4 {
        let (dir, twin) = made(seed, 40);
        let index = dir.path().join("index");
        if seed % 2 == 0 {
            fs::remove_file(dir.path().join("index.sum")).unwrap();
        }
        if seed / 2 == 0 {
            fs::write(index.join("db"), Seeded::new(seed).bytes(300_000)).unwrap();
        } else {
            fs::remove_dir_all(&index).unwrap();
            fs::write(&index, b"not even a directory").unwrap();
        }
        let (spool, recovery) = open(dir.path());
        assert!(matches!(recovery.index, IndexState::Rebuilt { .. }), "{recovery:?}");
        // Without the sum, sled itself may take garbage for an empty tree.
        assert!(seed == 0 || dir.path().join("index.bad-1").exists(), "{recovery:?}");
        same(&spool, &twin, "garbage");
    }
}

#[test]
fn what_an_appender_added_is_indexed_by_the_next_open() {
    let (dir, twin) = made(3, 30);
    let (appender, _) = Appender::open(place(dir.path())).unwrap();
    for n in [500, 501] {
        let now = at(1, 4000);
        appender.commit(now, vec![Change::Bundle(bundle(n, b"mail"))]).unwrap();
        twin.commit(now, vec![Change::Bundle(bundle(n, b"mail"))]).unwrap();
    }
    drop(appender);
    let (spool, recovery) = open(dir.path());
    assert!(matches!(recovery.index, IndexState::CaughtUp { .. }), "{recovery:?}");
    assert_eq!(spool.seen(&id(501)).unwrap(), Some(Seen::Live));
    same(&spool, &twin, "appended");
}

#[test]
fn an_aged_index_catches_up_or_is_made_anew() {
    for with_sum in [true, false] {
        let (dir, twin) = made(4, 40);
        let aged = tempfile::tempdir().unwrap();
        copy(&dir.path().join("index"), &aged.path().join("index"));
        let (spool, _) = open(dir.path());
        add(&spool, &twin, 5, 80, 1000);
        drop(spool);
        fs::remove_dir_all(dir.path().join("index")).unwrap();
        copy(&aged.path().join("index"), &dir.path().join("index"));
        if !with_sum {
            fs::remove_file(dir.path().join("index.sum")).unwrap();
        }
        let (spool, recovery) = open(dir.path());
        assert_ne!(recovery.index, IndexState::Current, "{recovery:?}");
        same(&spool, &twin, "aged");
    }
}

#[test]
fn an_index_of_another_log_or_of_its_future_is_not_believed() {
    let (dir, twin) = made(6, 40);
    let (other, _) = made(7, 40);
    let log = tempfile::tempdir().unwrap();
    copy(&dir.path().join("log"), &log.path().join("log"));

    // The future: the log (with its bodies) is set back.
    let (spool, _) = open(dir.path());
    for n in 800..820 {
        spool.commit(at(1, 4000), vec![Change::Bundle(bundle(n, &[1; 900]))]).unwrap();
    }
    drop(spool);
    fs::remove_dir_all(dir.path().join("log")).unwrap();
    copy(&log.path().join("log"), &dir.path().join("log"));
    let (spool, recovery) = open(dir.path());
    assert!(matches!(recovery.index, IndexState::Rebuilt { .. }), "{recovery:?}");
    same(&spool, &twin, "set back");
    drop(spool);

    // Another log's.
    for name in ["index", "index.sum"] {
        let (from, to) = (other.path().join(name), dir.path().join(name));
        if name == "index" {
            fs::remove_dir_all(&to).unwrap();
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
    let (spool, recovery) = open(dir.path());
    assert!(matches!(recovery.index, IndexState::Rebuilt { .. }), "{recovery:?}");
    same(&spool, &twin, "another log's");
}

#[test]
fn a_damaged_index_never_costs_anything() {
    let (dir, twin) = made(8, 80);
    for seed in 0..200 {
        let mut chance = Seeded::new(seed);
        let damaged = tempfile::tempdir().unwrap();
        copy(dir.path(), damaged.path());
        // Half of them as after a kill: without the sum that a proper end leaves.
        if seed % 2 == 0 {
            fs::remove_file(damaged.path().join("index.sum")).unwrap();
        }
        let files = files(&damaged.path().join("index"));
        let path = &files[chance.index(files.len())];
        let mut bytes = fs::read(path).unwrap();
        let at_byte = chance.index(bytes.len());
        match seed % 4 {
            0 | 1 => bytes[at_byte] ^= 1 << chance.below(8),
            2 => bytes.truncate(at_byte),
            _ => {
                let end = (at_byte + 4096).min(bytes.len());
                bytes[at_byte..end].fill(0);
            }
        }
        fs::write(path, bytes).unwrap();
        let what = format!("seed {seed}: {} at {at_byte}", path.display());
        let (spool, recovery) = open(damaged.path());
        same(&spool, &twin, &format!("{what}, {:?}", recovery.index));
    }
}
