//! Full disks and getting space back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at what they do not expect")]

mod common;

use std::sync::Arc;

use common::{at, body_of, bundle, difference, entropy, id, picture};
use postrider_spool::{
    Appender, Body, Change, Delivered, DurableSpool, NewBundle, Options, Outcome, Place, Recovery,
    Seen, Spool, SpoolError, Why, contract::BLOB_FROM,
};
use postrider_testkit::{CrashDisk, Fault, Names};

fn options(ballast_bytes: u64) -> Options {
    let mut options = Options::default();
    options.segment_bytes = 32 << 10;
    options.ballast_bytes = ballast_bytes;
    options
}

fn open(disk: &CrashDisk, ballast_bytes: u64) -> Result<(DurableSpool, Recovery), SpoolError> {
    let place = Place::on(Arc::new(disk.clone()), entropy(2));
    DurableSpool::open(place, &options(ballast_bytes))
}

fn log_bytes(disk: &CrashDisk) -> u64 {
    disk.files().iter().filter(|(p, _)| p.starts_with("log")).map(|(_, len)| len).sum()
}

/// A sequence of everything, the same each time; stops at the first error.
fn work(spool: &DurableSpool, acked: &mut Vec<u64>) -> Result<(), SpoolError> {
    let now = at(1, 100);
    for n in 0..14u64 {
        let mut new = bundle(n, &vec![3; 3000]);
        if n == 5 {
            let mut staging = spool.stage()?;
            staging.append(&vec![4; BLOB_FROM + 10])?;
            new.summary.length = staging.len_bytes();
            new.body = Body::Staged(staging.finish()?);
        }
        let outcomes = spool.commit(now, vec![Change::Bundle(new)])?;
        assert!(matches!(outcomes[0], Outcome::Admitted | Outcome::Duplicate));
        acked.push(n);
        let delivered = Delivered { source: [1; 32], epoch: 1, counter: n, id8: [1; 8] };
        let note = Change::Note { space: 1, key: b"k".to_vec(), value: Some(vec![9; 500]) };
        spool.commit(now, vec![Change::Delivered(delivered), note])?;
        if n % 3 == 0 {
            spool.commit(now, vec![Change::Retire { id: id(n), why: Why::Read }])?;
        }
        if n == 9 {
            spool.compact(now)?;
        }
    }
    Ok(())
}

/// Fails each changing operation of [`work`] in turn, once.
fn at_every_operation(fault: Fault, allowed: impl Fn(&SpoolError) -> bool) {
    let count = {
        let disk = CrashDisk::new(Names::Atomic);
        work(&open(&disk, 0).unwrap().0, &mut Vec::new()).unwrap();
        disk.ops()
    };
    assert!(count > 60, "the sequence does something: {count}");
    for op in 0..count {
        let disk = CrashDisk::new(Names::Atomic);
        disk.fail_at(op, fault);
        let mut acked = Vec::new();
        let failed = open(&disk, 0).and_then(|(spool, _)| {
            let result = work(&spool, &mut acked);
            for n in &acked {
                assert!(spool.seen(&id(*n)).unwrap().is_some(), "op {op}: lost {n} at once");
            }
            result
        });
        if let Err(e) = &failed {
            assert!(allowed(e), "op {op}: {e:?}");
        }
        disk.heal();
        // After the end of the process, and after a power cut: nothing acknowledged is lost, and
        // the same work goes through.
        for cut in [false, true] {
            if cut {
                disk.power_cut(op);
            } else {
                disk.kill();
            }
            let (spool, recovery) = open(&disk, 0).unwrap();
            assert!(recovery.damage.is_empty(), "op {op}: {recovery:?}");
            for n in &acked {
                assert!(spool.seen(&id(*n)).unwrap().is_some(), "op {op}: lost {n}");
            }
        }
        let (spool, _) = open(&disk, 0).unwrap();
        let again = spool.commit(at(1, 200), vec![Change::Bundle(bundle(99, b"again"))]);
        assert_eq!(again.unwrap(), [Outcome::Admitted], "op {op}");
        assert!(spool.check(at(1, 200)).unwrap().damaged.is_empty(), "op {op}");
        if acked.contains(&5) {
            assert_eq!(body_of(&spool, &id(5)).unwrap().len(), BLOB_FROM + 10, "op {op}");
        }
    }
}

#[test]
fn no_space_at_any_operation_is_said_and_costs_nothing_acknowledged() {
    at_every_operation(Fault::Enospc, SpoolError::is_disk_full);
}

#[test]
fn a_disk_error_at_any_operation_is_said_and_costs_nothing_acknowledged() {
    at_every_operation(Fault::Eio, |e| {
        matches!(e, SpoolError::Io { source, .. } if source.raw_os_error() == Some(5))
            || matches!(e, SpoolError::Poisoned)
    });
}

#[test]
fn a_full_disk_refuses_admissions_but_lets_room_be_made_and_recovers_by_itself() {
    let ballast = 100 << 10;
    let disk = CrashDisk::new(Names::Atomic);
    disk.set_capacity(1 << 20);
    let (spool, _) = open(&disk, ballast).unwrap();
    let now = at(1, 100);
    let mut admitted = 0;
    let full = loop {
        match spool.commit(now, vec![Change::Bundle(bundle(admitted, &[7; 4000]))]) {
            Ok(_) => admitted += 1,
            Err(e) => break e,
        }
        assert!(admitted < 1000);
    };
    assert!(matches!(full, SpoolError::Full(_)), "{full:?}");
    assert!(admitted > 150);
    assert_eq!(spool.seen(&id(admitted)).unwrap(), None);
    for n in 0..admitted {
        assert_eq!(spool.seen(&id(n)).unwrap(), Some(Seen::Live));
    }

    // A reader's group goes through, and retiring and compaction make room.
    let d = Delivered { source: [1; 32], epoch: 1, counter: 1, id8: [1; 8] };
    let note = Change::Note { space: 1, key: b"mail".to_vec(), value: Some(vec![1; 3000]) };
    let retire = Change::Retire { id: id(0), why: Why::Read };
    spool.commit(now, vec![Change::Delivered(d), note, retire]).unwrap();
    let refused = spool.commit(now, vec![Change::Bundle(bundle(admitted, &[7; 10]))]);
    assert!(matches!(refused, Err(SpoolError::Full(_))), "the ballast is not for admissions");
    for n in 1..admitted * 9 / 10 {
        let retire = vec![Change::Retire { id: id(n), why: Why::Dropped }];
        assert_eq!(spool.commit(now, retire).unwrap(), [Outcome::Done], "{n}");
    }
    let report = spool.compact(now).unwrap();
    assert!(report.freed_bytes > 400 << 10, "{report:?}");
    let again = spool.commit(now, vec![Change::Bundle(bundle(admitted, &[7; 4000]))]);
    assert_eq!(again.unwrap(), [Outcome::Admitted]);
    let before = picture(&spool, now);
    drop(spool);

    // It also opens on a disk without a byte left.
    disk.set_capacity(disk.used_bytes());
    let (spool, _) = open(&disk, ballast).unwrap();
    assert_eq!(difference(&picture(&spool, now), &before), None);
    let refused = spool.commit(now, vec![Change::Bundle(bundle(5000, &[7; 4000]))]);
    assert!(matches!(refused, Err(SpoolError::Full(_))));
    disk.set_capacity(4 << 20);
    let again = spool.commit(now, vec![Change::Bundle(bundle(5000, &[7; 4000]))]);
    assert_eq!(again.unwrap(), [Outcome::Admitted], "space returned");
}

#[test]
fn an_appender_on_a_full_disk_says_so_and_works_when_space_returns() {
    let disk = CrashDisk::new(Names::Atomic);
    let open = || Appender::open(Place::on(Arc::new(disk.clone()), entropy(3))).unwrap().0;
    let send = |n, appender: &Appender| {
        appender.commit(at(1, 10), vec![Change::Bundle(bundle(n, &[1; 5000]))])
    };
    send(1, &open()).unwrap();
    disk.set_capacity(disk.used_bytes() + 100);
    let appender = open();
    assert!(matches!(send(2, &appender), Err(SpoolError::Full(_))));
    disk.set_capacity(1 << 20);
    send(3, &appender).unwrap();
    drop(appender);
    disk.power_cut(1);
    let place = Place::on(Arc::new(disk.clone()), entropy(4));
    let (spool, recovery) = DurableSpool::open(place, &options(0)).unwrap();
    assert!(recovery.damage.is_empty());
    let seen = [1, 2, 3].map(|n| spool.seen(&id(n)).unwrap().is_some());
    assert_eq!(seen, [true, false, true]);
}

#[test]
fn compaction_gives_back_what_is_dead_and_nothing_else() {
    let disk = CrashDisk::new(Names::Atomic);
    let (spool, _) = open(&disk, 0).unwrap();
    let now = at(1, 100);
    for n in 0..120 {
        spool.commit(now, vec![Change::Bundle(bundle(n, &[5; 2000]))]).unwrap();
        let d = Delivered { source: [1; 32], epoch: 1, counter: n, id8: [1; 8] };
        let note = Change::Note { space: 1, key: vec![b'a', n.to_le_bytes()[0] % 7], value: None };
        let value = Some(n.to_be_bytes().to_vec());
        let set = Change::Note { space: 1, key: n.to_be_bytes().to_vec(), value };
        spool.commit(now, vec![Change::Delivered(d), note, set]).unwrap();
        if n % 10 != 0 {
            spool.commit(now, vec![Change::Retire { id: id(n), why: Why::Read }]).unwrap();
        }
    }
    let (full, before) = (log_bytes(&disk), picture(&spool, now));
    let report = spool.compact(now).unwrap();
    let left = log_bytes(&disk);
    assert!(report.segments > 3 && left < full / 2, "{full} -> {left}, {report:?}");
    for reopened in [false, true] {
        let other = open(&disk.fork(), 0).unwrap().0;
        let spool = if reopened { &other } else { &spool };
        assert_eq!(difference(&picture(spool, now), &before), None, "reopened: {reopened}");
        for n in 0..120u64 {
            assert_eq!(spool.delivered(&[1; 32], 1, n).unwrap(), [[1; 8]]);
            assert_eq!(spool.note(1, &n.to_be_bytes()).unwrap().unwrap(), n.to_be_bytes());
        }
    }
    // With nothing more to gain, nothing more is written for it.
    let ops = disk.ops();
    for _ in 0..3 {
        spool.compact(now).unwrap();
    }
    assert!(disk.ops() - ops < 100, "compaction settles");
}

#[test]
fn a_body_file_that_nobody_owns_is_swept() {
    let disk = CrashDisk::new(Names::Atomic);
    let (spool, _) = open(&disk, 0).unwrap();
    spool.commit(at(1, 1), vec![Change::Bundle(bundle(1, &vec![1; BLOB_FROM]))]).unwrap();
    let (owned, _) = disk.files().into_iter().find(|(path, _)| path.starts_with("blobs")).unwrap();
    let orphan = owned.with_file_name("a5".repeat(32));
    postrider_base::disk::Disk::create(&disk, &orphan).unwrap();
    assert_eq!(spool.compact(at(1, 2)).unwrap().orphans, 1);
    let left: Vec<_> = disk.files().into_iter().map(|(path, _)| path).collect();
    assert!(left.contains(&owned) && !left.contains(&orphan));
}

/// The file that the log still owns must not make way for the same bytes before the log says so: a
/// cut in between may leave neither (seen on FAT).
#[test]
fn a_body_that_comes_again_in_the_group_that_ends_it_survives_a_cut_at_any_operation() {
    let body = vec![5; BLOB_FROM + 10];
    let now = at(1, 100);
    let comes = |spool: &DurableSpool| {
        let mut staging = spool.stage().unwrap();
        staging.append(&body)?;
        let staged = Body::Staged(staging.finish()?);
        Ok::<_, SpoolError>(Change::Bundle(NewBundle { body: staged, ..bundle(5, &body) }))
    };
    let again = |spool: &DurableSpool| {
        let retire = Change::Retire { id: id(5), why: Why::Damaged };
        spool.commit(now, vec![retire, comes(spool)?])
    };
    for names in [Names::Atomic, Names::Fat] {
        let mut failed = 0;
        for (op, cut) in (0..30).flat_map(|op| (0..4).map(move |cut| (op, cut))) {
            let disk = CrashDisk::new(names);
            let (spool, _) = open(&disk, 0).unwrap();
            spool.commit(now, vec![comes(&spool).unwrap()]).unwrap();
            disk.fail_at(disk.ops() + op, Fault::Power);
            failed += u32::from(again(&spool).is_err());
            drop(spool);
            disk.power_cut(cut);
            let (spool, _) = open(&disk, 0).unwrap();
            assert_eq!(body_of(&spool, &id(5)).unwrap(), body, "op {op} cut {cut}");
        }
        assert!(failed > 8, "the cuts hit something");
    }
}
