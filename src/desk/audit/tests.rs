//! The chain of a real home: reopened after every step, and changed by hand.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{fs, path::Path};

use postrider_base::BundleId;
use postrider_spool::Spool;

use super::{Entry, FORGET, HEAD, KEPT_MAX, Record};
use crate::desk::{
    Desk, Failure, FailureKind, InitRequest, Silent, clock,
    ledger::{remove_note, set_note, space},
};

fn home() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("Bob");
    Desk::init(&InitRequest { home, name: Some("Bob".into()), even_if_public: false }).unwrap();
    dir
}

fn open(dir: &Path) -> Desk {
    Desk::open(&dir.join("Bob")).unwrap()
}

fn entry(n: u64) -> Entry {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&n.to_be_bytes());
    Entry { what: "ended".into(), job: Some(BundleId(id)), ..Entry::default() }
}

/// Adds some in one group.
fn add(desk: &Desk, count: u64) -> Result<(), Failure> {
    let spool = desk.spool(&Silent)?;
    let mut audit = desk.audit(spool)?;
    (0..count).try_for_each(|n| audit.add(entry(n)))?;
    Spool::commit(spool, clock::now(), audit.changes())?;
    audit.done();
    Ok(())
}

fn check(desk: &Desk) -> Result<(u64, u64, u64), Failure> {
    let checked = desk.check_audit(None, &Silent)?;
    Ok((checked.first, checked.last, checked.signed))
}

#[test]
fn what_was_not_committed_is_not_there_and_the_chain_goes_on() {
    let dir = home();
    let desk = open(dir.path());
    assert_eq!(check(&desk).unwrap(), (1, 0, 0));
    add(&desk, 2).unwrap();
    {
        // Whoever began and died, or whose commit failed, has added nothing.
        let spool = desk.spool(&Silent).unwrap();
        let mut audit = desk.audit(spool).unwrap();
        audit.add(entry(9)).unwrap();
        assert!(!audit.changes().is_empty());
    }
    add(&desk, 1).unwrap();
    drop(desk);
    let desk = open(dir.path());
    add(&desk, 1).unwrap();
    desk.keep_audit(true, &Silent).unwrap();
    desk.keep_audit(true, &Silent).unwrap();
    assert_eq!(check(&desk).unwrap(), (1, 5, 4));
    let whats: Vec<String> =
        desk.audit_log(&Silent).unwrap().into_iter().map(|line| line.what).collect();
    assert_eq!(whats, ["ended", "ended", "ended", "ended", "signed"]);
}

#[test]
fn a_changed_allow_list_stands_before_whatever_comes_next() {
    let dir = home();
    let desk = open(dir.path());
    add(&desk, 1).unwrap();
    fs::write(dir.path().join("Bob/allow.toml"), "[up]\nargv = [\"/usr/bin/uptime\"]\n").unwrap();
    add(&desk, 1).unwrap();
    add(&desk, 1).unwrap();
    let lines = desk.audit_log(&Silent).unwrap();
    let whats: Vec<&str> = lines.iter().map(|line| &*line.what).collect();
    assert_eq!(whats, ["ended", "allow-list", "ended", "ended"]);
    assert_eq!(lines[1].blake3.as_ref().map(String::len), Some(64));
}

#[test]
fn whoever_changes_it_by_hand_is_told_on_with_the_place() {
    let dir = home();
    let desk = open(dir.path());
    add(&desk, 6).unwrap();
    let spool = desk.spool(&Silent).unwrap();
    let key = |n: u64| n.to_be_bytes();
    let read = |n: u64| spool.note(space::AUDIT, &key(n)).unwrap().unwrap();
    let good: Vec<Vec<u8>> = (1..=6).map(read).collect();
    let head = spool.note(space::AUDIT_HEAD, HEAD).unwrap().unwrap();
    let restore = || {
        let records = (1..).zip(&good);
        let mut changes: Vec<_> =
            records.map(|(n, bytes)| set_note(space::AUDIT, &key(n), bytes.clone())).collect();
        changes.push(set_note(space::AUDIT_HEAD, HEAD, head.clone()));
        spool.commit(clock::now(), changes).unwrap();
        assert_eq!(check(&desk).unwrap(), (1, 6, 0));
    };
    let broken = |at: u64, why: &str| {
        let failure = check(&desk).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Damaged);
        let what = failure.what;
        assert!(what.contains(&format!("at record {at}: ")) && what.contains(why), "{what}");
        restore();
    };
    let mut record = Record::decode(&good[2]).unwrap();
    record.entry.what = "refused".into();
    spool.commit(clock::now(), vec![set_note(space::AUDIT, &key(3), record.encode())]).unwrap();
    broken(4, "does not follow from 3");
    spool.commit(clock::now(), vec![remove_note(space::AUDIT, &key(3))]).unwrap();
    broken(3, "not there");
    let swapped = vec![
        set_note(space::AUDIT, &key(2), good[4].clone()),
        set_note(space::AUDIT, &key(5), good[1].clone()),
    ];
    spool.commit(clock::now(), swapped).unwrap();
    broken(2, "the one with number 5");
    spool.commit(clock::now(), vec![remove_note(space::AUDIT, &key(6))]).unwrap();
    broken(6, "not there");
    spool.commit(clock::now(), vec![remove_note(space::AUDIT_HEAD, HEAD)]).unwrap();
    broken(0, "head");
    // What its issuers kept of it finds the cut that leaves no other trace.
    let kept = super::link(&good[5]);
    assert_eq!(desk.check_audit(Some(&kept), &Silent).unwrap().has, Some(6));
    let mut cut = super::Head::decode(&head).unwrap();
    (cut.number, cut.link) = (5, super::link(&good[4]));
    let changes =
        vec![remove_note(space::AUDIT, &key(6)), set_note(space::AUDIT_HEAD, HEAD, cut.encode())];
    spool.commit(clock::now(), changes).unwrap();
    assert_eq!(check(&desk).unwrap(), (1, 5, 0));
    let failure = desk.check_audit(Some(&kept), &Silent).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Damaged);
}

#[test]
fn the_oldest_make_room_and_what_is_left_follows_from_them() {
    let dir = home();
    let desk = open(dir.path());
    let all = KEPT_MAX + 2 * FORGET;
    (0..all / 512).for_each(|_| add(&desk, 512).unwrap());
    let (first, last, _) = check(&desk).unwrap();
    assert!(first > 1 && (first - 1).is_multiple_of(FORGET), "{first}");
    assert!((KEPT_MAX..KEPT_MAX + FORGET).contains(&(last - first + 1)), "{first} {last}");
    assert!(desk.audit_log(&Silent).unwrap().iter().any(|line| line.what == "forgotten"));
}
