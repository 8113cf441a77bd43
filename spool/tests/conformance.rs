//! What the contract says, one behaviour at a time, on every implementation.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at what they do not expect")]

mod common;

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use common::{at, body_of, bundle, entropy, id, node};
use postrider_spool::{
    Body, Change, Class, Delivered, Destination, DurableSpool, Hop, MemorySpool, NewBundle,
    Options, Outcome, Place, Queue, Quota, Quotas, Seen, Spool, SpoolError, Why,
    contract::{BLOB_FROM, COUNTED_MIN, HEAD_MAX, NOTE_KEY_MAX, NOTE_MAX, OWN_MAX},
};
use postrider_testkit::{CrashDisk, Names};

/// Runs a test on a fresh spool of each kind.
fn on_both(test: impl Fn(&dyn Spool)) {
    test(&MemorySpool::new(entropy(1)));
    let place = Place::on(Arc::new(CrashDisk::new(Names::Atomic)), entropy(1));
    test(&DurableSpool::open(place, &Options::default()).unwrap().0);
}

fn admit(spool: &dyn Spool, bundle: NewBundle) -> Outcome {
    spool.commit(at(1, 10), vec![Change::Bundle(bundle)]).unwrap()[0]
}

#[test]
fn an_admitted_bundle_is_there_with_everything_it_came_with() {
    on_both(|spool| {
        let mut new = bundle(1, b"body");
        new.own = Some(b"secret".to_vec());
        new.from = Some([5; 32]);
        let (summary, hop) = (new.summary, new.hop);
        assert_eq!(admit(spool, new), Outcome::Admitted);
        let entry = spool.entry(&id(1)).unwrap().unwrap();
        assert_eq!((entry.id, entry.summary, entry.hop), (id(1), summary, hop));
        assert_eq!((entry.class, entry.from), (Class::Contact, Some([5; 32])));
        let envelope = spool.envelope(&id(1)).unwrap().unwrap();
        assert_eq!(envelope.head, b"head 1");
        assert_eq!(envelope.own.as_deref(), Some(&b"secret"[..]));
        assert_eq!(body_of(spool, &id(1)).unwrap(), b"body");
        assert_eq!(spool.seen(&id(1)).unwrap(), Some(Seen::Live));
        assert_eq!(spool.read(&id(1), 2, &mut [0; 9]).unwrap(), Some(2));
        assert_eq!(spool.read(&id(1), u64::MAX, &mut [0; 9]).unwrap(), Some(0));
        assert_eq!(spool.read(&id(2), 0, &mut [0; 9]).unwrap(), None);
    });
}

#[test]
fn who_listens_is_told_of_a_commit_once_it_can_be_seen() {
    let place = Place::on(Arc::new(CrashDisk::new(Names::Atomic)), entropy(1));
    let spool = DurableSpool::open(place, &Options::default()).unwrap().0;
    let told = Arc::new(AtomicU64::new(0));
    let listener = Arc::clone(&told);
    assert!(spool.on_commit(move || {
        listener.fetch_add(1, Ordering::Relaxed);
    }));
    assert!(!spool.on_commit(|| ()), "there is one listener");
    admit(&spool, bundle(1, b"body"));
    assert_eq!(told.load(Ordering::Relaxed), 1);
    // Known already: nothing is written, and there is nothing to see.
    assert_eq!(admit(&spool, bundle(1, b"body")), Outcome::Duplicate);
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

#[test]
fn a_body_that_is_not_kept_can_be_read_once() {
    on_both(|spool| {
        for size in [0, 5, BLOB_FROM - 1, 2 * BLOB_FROM + 7] {
            let body: Vec<u8> = (0u8..251).cycle().take(size).collect();
            let mut staging = spool.stage().unwrap();
            body.chunks(77_777).for_each(|piece| staging.append(piece).unwrap());
            let mut back = Vec::new();
            staging.into_reader().unwrap().read_to_end(&mut back).unwrap();
            assert!(back == body, "{size}");
        }
    });
}

#[test]
fn what_was_added_of_a_body_can_be_read_while_it_grows() {
    on_both(|spool| {
        let body: Vec<u8> = (0u8..251).cycle().take(2 * BLOB_FROM + 7).collect();
        let mut staging = spool.stage().unwrap();
        let mut here = 0;
        for piece in body.chunks(77_777) {
            staging.append(piece).unwrap();
            here += piece.len();
            for at in [0, here / 3, here - piece.len(), here - 1, here, here + 9] {
                let mut back = vec![0; 100_000];
                let n = staging.read_at(at as u64, &mut back).unwrap();
                let there = &body[at.min(here)..here];
                assert!(back[..n] == there[..there.len().min(back.len())], "{at} of {here}");
            }
        }
        assert!(staging.finish().is_ok());
    });
}

#[test]
fn arrivals_are_numbered_from_one_and_listed_from_any_number() {
    on_both(|spool| {
        assert_eq!(spool.numbering().latest, 0);
        for n in 1..=5 {
            assert_eq!(admit(spool, bundle(n, b"x")), Outcome::Admitted);
            assert_eq!(spool.numbering().latest, n);
        }
        let numbers = |after, limit| -> Vec<u64> {
            spool.since(after, limit).unwrap().iter().map(|entry| entry.arrival).collect()
        };
        assert_eq!(numbers(0, 9), [1, 2, 3, 4, 5]);
        assert_eq!(numbers(2, 2), [3, 4]);
        assert_eq!(numbers(5, 9), []);
        assert_eq!(numbers(u64::MAX, 9), []);
        let gone = Change::Retire { id: id(5), why: Why::Read };
        spool.commit(at(1, 20), vec![gone]).unwrap();
        assert_eq!(numbers(3, 9), [4]);
        let before = spool.numbering();
        assert_eq!(before.latest, 5, "a number that was given out stays given out");
        spool.redraw_epoch(at(1, 30)).unwrap();
        assert_ne!(spool.numbering().epoch, before.epoch);
    });
}

#[test]
fn bodies_of_every_size_come_back_whether_staged_or_not() {
    on_both(|spool| {
        let sizes = [0, 1, 4096, BLOB_FROM - 1, BLOB_FROM, 3 * BLOB_FROM + 7];
        for (n, size) in (0u64..).zip(sizes) {
            let body: Vec<u8> = (0u8..251).cycle().take(size).collect();
            let mut staged = bundle(100 + n, &body);
            let mut staging = spool.stage().unwrap();
            body.chunks(77_777).for_each(|piece| staging.append(piece).unwrap());
            assert_eq!(staging.len_bytes(), size as u64);
            staged.body = Body::Staged(staging.finish().unwrap());
            assert_eq!(admit(spool, staged), Outcome::Admitted);
            assert_eq!(admit(spool, bundle(n, &body)), Outcome::Admitted);
            assert!(body_of(spool, &id(n)).unwrap() == body, "inline, {size} bytes");
            assert!(body_of(spool, &id(100 + n)).unwrap() == body, "staged, {size} bytes");
        }
    });
}

#[test]
fn an_id_is_admitted_once_until_its_tombstone_ends() {
    on_both(|spool| {
        let mut new = bundle(1, b"body");
        new.summary.lifetime_s = 1000;
        assert_eq!(admit(spool, new), Outcome::Admitted);
        assert_eq!(admit(spool, bundle(1, b"other")), Outcome::Duplicate);
        let retire = || vec![Change::Retire { id: id(1), why: Why::Receipt }];
        assert_eq!(spool.commit(at(1, 500), retire()).unwrap(), [Outcome::Done]);
        assert_eq!(spool.commit(at(1, 500), retire()).unwrap(), [Outcome::Unknown]);
        assert_eq!(spool.seen(&id(1)).unwrap(), Some(Seen::Retired(Why::Receipt)));
        assert!(spool.entry(&id(1)).unwrap().is_none());
        let again = |s| spool.commit(at(1, s), vec![Change::Bundle(bundle(1, b"b"))]).unwrap()[0];
        assert_eq!(again(1009), Outcome::Duplicate, "one lifetime from our first sight at 10");
        assert_eq!(again(1010), Outcome::Admitted);
    });
}

#[test]
fn a_damaged_bundle_is_welcome_again_at_once() {
    on_both(|spool| {
        for round in 0..2 {
            let body = vec![round; BLOB_FROM];
            assert_eq!(admit(spool, bundle(1, &body)), Outcome::Admitted);
            assert!(body_of(spool, &id(1)).unwrap() == body);
            let retire = Change::Retire { id: id(1), why: Why::Damaged };
            let again = Change::Bundle(bundle(1, &body));
            let outcomes = spool.commit(at(1, 20), vec![retire, again]).unwrap();
            assert_eq!(outcomes, [Outcome::Done, Outcome::Admitted]);
            assert!(body_of(spool, &id(1)).unwrap() == body, "round {round}");
            let retire = Change::Retire { id: id(1), why: Why::Damaged };
            spool.commit(at(1, 20), vec![retire]).unwrap();
            assert_eq!(spool.seen(&id(1)).unwrap(), None);
        }
    });
}

#[test]
fn a_known_delivery_makes_its_whole_group_a_no_op() {
    on_both(|spool| {
        let d = |counter, id8| {
            Change::Delivered(Delivered { source: [1; 32], epoch: 7, counter, id8: [id8; 8] })
        };
        let note = || Change::Note { space: 1, key: b"mail".to_vec(), value: Some(vec![1]) };
        admit(spool, bundle(1, b"body"));
        let group = vec![d(1, 1), note(), Change::Retire { id: id(1), why: Why::Read }];
        let first = spool.commit(at(1, 10), group).unwrap();
        assert_eq!(first, [Outcome::New, Outcome::Done, Outcome::Done]);

        admit(spool, bundle(2, b"body"));
        let remove = Change::Note { space: 1, key: b"mail".to_vec(), value: None };
        let group = vec![remove, Change::Retire { id: id(2), why: Why::Read }, d(2, 1), d(1, 1)];
        let second = spool.commit(at(1, 10), group).unwrap();
        assert_eq!(second, [Outcome::Void, Outcome::Void, Outcome::Void, Outcome::Duplicate]);
        assert_eq!(spool.note(1, b"mail").unwrap(), Some(vec![1]));
        assert_eq!(spool.seen(&id(2)).unwrap(), Some(Seen::Live));
        assert!(spool.delivered(&[1; 32], 7, 2).unwrap().is_empty());

        assert_eq!(spool.commit(at(1, 10), vec![d(1, 9)]).unwrap(), [Outcome::Equivocation]);
        assert_eq!(spool.delivered(&[1; 32], 7, 1).unwrap(), [[1; 8], [9; 8]]);
        assert_eq!(spool.commit(at(1, 10), vec![d(1, 9)]).unwrap(), [Outcome::Duplicate]);
    });
}

#[test]
fn queues_are_ordered_by_niceness_then_admission() {
    on_both(|spool| {
        for (n, nice) in [(1, 160), (2, 32), (3, 160), (4, 224), (5, 32)] {
            let mut new = bundle(n, b"body");
            new.summary.nice = nice;
            if n == 3 {
                new.class = Class::Own;
            }
            admit(spool, new);
        }
        let ids = |queue, after, limit| -> Vec<u64> {
            let page = spool.page(queue, after, limit).unwrap();
            page.iter().map(|e| u64::from_be_bytes(e.id.0[24..].try_into().unwrap())).collect()
        };
        let to = Queue::Destination(node(1));
        assert_eq!(ids(to, None, 10), [2, 5, 1, 3, 4]);
        assert_eq!(ids(Queue::Class(Class::Contact), None, 10), [2, 5, 1, 4]);
        let second = spool.page(to, None, 2).unwrap()[1].cursor();
        assert_eq!(ids(to, Some(second), 2), [1, 3]);
        assert!(ids(Queue::Destination(Destination::Tag([1; 8])), None, 10).is_empty());

        let hop = Hop { tokens: 1, hops: 3, age_s: 0, level: 0 };
        let change = Change::Hop { id: id(2), hop, class: Class::Stranger };
        assert_eq!(spool.commit(at(1, 11), vec![change]).unwrap(), [Outcome::Done]);
        assert_eq!(ids(Queue::Class(Class::Contact), None, 10), [5, 1, 4]);
        assert_eq!(ids(Queue::Class(Class::Stranger), None, 10), [2]);
        let stats = spool.stats().unwrap();
        assert_eq!(
            stats.classes.map(|share| (share.bundles, share.bytes)),
            [(1, 4), (3, 12), (0, 0), (1, 4)]
        );
    });
}

#[test]
fn age_only_grows_and_expiry_is_never_early() {
    on_both(|spool| {
        let mut new = bundle(1, b"body");
        new.summary.lifetime_s = 100;
        new.hop.age_s = 40;
        admit(spool, new);
        let hop = Hop { tokens: 1, hops: 1, age_s: 10, level: 0 };
        spool.commit(at(1, 20), vec![Change::Hop { id: id(1), hop, class: Class::Own }]).unwrap();
        assert_eq!(spool.entry(&id(1)).unwrap().unwrap().hop.age_s, 40);
        assert!(spool.expired(at(1, 69), 10).unwrap().is_empty());
        let held_ms = spool.held_ms(at(1, 69));
        assert_eq!(spool.entry(&id(1)).unwrap().unwrap().age_s(held_ms), 99);
        // Switched off for a year: that counts nothing.
        assert!(spool.expired(at(2, 31_536_000), 10).unwrap().is_empty());
        assert_eq!(spool.expired(at(2, 31_536_001), 10).unwrap(), [id(1)]);
    });
}

#[test]
fn a_renewed_bundle_comes_after_all_others_and_is_no_younger() {
    on_both(|spool| {
        for n in 1..=3 {
            admit(spool, bundle(n, b"body"));
        }
        let before = spool.entry(&id(1)).unwrap().unwrap();
        let hop = Hop { tokens: 16, hops: 0, age_s: 0, level: 3 };
        let renew = |n| Change::Renew { id: id(n), hop };
        let done = spool.commit(at(1, 50), vec![renew(1), renew(9)]).unwrap();
        assert_eq!(done, [Outcome::Done, Outcome::Unknown]);
        let after = spool.entry(&id(1)).unwrap().unwrap();
        assert_eq!((after.arrival, after.hop), (4, hop));
        assert_eq!((after.class, after.arrived_held_ms), (before.class, before.arrived_held_ms));
        let ids = |entries: Vec<postrider_spool::Entry>| {
            entries.iter().map(|entry| entry.id).collect::<Vec<_>>()
        };
        assert_eq!(spool.numbering().latest, 4);
        assert_eq!(ids(spool.since(3, 10).unwrap()), [id(1)]);
        assert_eq!(ids(spool.since(0, 10).unwrap()), [id(2), id(3), id(1)]);
        for queue in [Queue::Class(Class::Contact), Queue::Destination(node(1))] {
            assert_eq!(ids(spool.page(queue, None, 10).unwrap()), [id(2), id(3), id(1)]);
        }
        // What it counts has not changed, and its end frees all of it.
        assert_eq!(spool.stats().unwrap().classes[Class::Contact as usize].bundles, 3);
        assert_eq!(spool.expired(at(1, 86_411), 10).unwrap(), [id(2), id(3), id(1)]);
        let gone = vec![Change::Retire { id: id(1), why: Why::Receipt }, renew(1)];
        assert_eq!(spool.commit(at(1, 60), gone).unwrap(), [Outcome::Done, Outcome::Unknown]);
        assert_eq!(ids(spool.since(0, 10).unwrap()), [id(2), id(3)]);
        admit(spool, bundle(4, b"body"));
        assert_eq!(spool.entry(&id(4)).unwrap().unwrap().arrival, 5);
    });
}

/// Numbers are what neighbours remember: one that stood for two bundles would hide one of them.
#[test]
fn no_number_is_given_twice_whatever_becomes_of_the_one_that_was_renewed() {
    let mut options = Options::default();
    (options.segment_bytes, options.ballast_bytes) = (24 << 10, 0);
    let disk = CrashDisk::new(Names::Atomic);
    let open = || {
        let place = Place::on(Arc::new(disk.clone()), entropy(1));
        DurableSpool::open(place, &options).unwrap().0
    };
    let hop = Hop { tokens: 8, hops: 0, age_s: 0, level: 0 };
    let renew = |spool: &DurableSpool, n| {
        let done = spool.commit(at(1, 20), vec![Change::Renew { id: id(n), hop }]).unwrap();
        assert_eq!(done, [Outcome::Done]);
        spool.entry(&id(n)).unwrap().unwrap().arrival
    };
    let mut spool = open();
    // It fills its segment, which is left as it is: renewals are compacted without it.
    admit(&spool, bundle(0, &[1; 200_000]));
    let (mut numbers, mut last) = (1, 1);
    for n in 1..90 {
        // Bodies that go away, so that what was written in between is compacted.
        admit(&spool, bundle(n, &[7; 3900]));
        numbers += 1;
        if n % 16 < 5 {
            last = renew(&spool, 0);
            numbers += 1;
            assert_eq!(last, numbers, "{n}");
        }
        spool.commit(at(1, 21), vec![Change::Retire { id: id(n), why: Why::Damaged }]).unwrap();
        match n % 4 {
            // As after a power cut: no goodbye, and the index is made anew.
            0 => {
                disk.power_cut(n);
                spool = open();
            }
            1 => {
                spool.compact(at(1, 22)).unwrap();
            }
            2 => {
                drop(spool);
                spool = open();
            }
            _ => {}
        }
        assert_eq!(spool.entry(&id(0)).unwrap().unwrap().arrival, last, "{n}");
        assert_eq!(spool.since(0, 10).unwrap().len(), 1, "{n}");
        assert_eq!(spool.numbering().latest, numbers, "{n}");
    }
}

#[test]
fn sequences_count_per_destination_and_restart_under_a_new_epoch() {
    on_both(|spool| {
        let a = spool.take_sequence(&node(1)).unwrap();
        let b = spool.take_sequence(&node(1)).unwrap();
        let other = spool.take_sequence(&node(2)).unwrap();
        assert_eq!((a.counter, b.counter, other.counter), (1, 2, 1));
        assert_eq!(a.epoch, b.epoch);
        let done = spool.commit(at(1, 10), vec![Change::Sequence(b)]).unwrap();
        assert_eq!(done, [Outcome::Done]);
        spool.redraw_epoch(at(1, 11)).unwrap();
        let fresh = spool.take_sequence(&node(1)).unwrap();
        assert_eq!(fresh.counter, 1);
        assert_ne!(fresh.epoch, a.epoch);
    });
}

#[test]
fn notes_are_kept_replaced_listed_and_removed() {
    on_both(|spool| {
        let set = |key: &[u8], value: Option<&[u8]>| {
            let (key, value) = (key.to_vec(), value.map(<[u8]>::to_vec));
            spool.commit(at(1, 10), vec![Change::Note { space: 3, key, value }]).unwrap();
        };
        set(b"b", Some(b"1"));
        set(b"a2", Some(b""));
        set(b"a1", Some(&vec![7; NOTE_MAX]));
        set(b"b", Some(b"2"));
        assert_eq!(spool.note(3, b"b").unwrap().as_deref(), Some(&b"2"[..]));
        assert_eq!(spool.note(3, b"a2").unwrap().as_deref(), Some(&b""[..]));
        assert_eq!(spool.note(3, b"a1").unwrap().map(|v| v.len()), Some(NOTE_MAX));
        assert_eq!(spool.note(4, b"b").unwrap(), None);
        assert_eq!(spool.notes(3, b"", None, 9).unwrap(), [&b"a1"[..], b"a2", b"b"]);
        assert_eq!(spool.notes(3, b"a", Some(b"a1"), 9).unwrap(), [b"a2"]);
        set(b"a1", None);
        assert_eq!(spool.notes(3, b"a", None, 9).unwrap(), [b"a2"]);
    });
}

#[test]
fn what_breaks_a_limit_is_refused_and_changes_nothing() {
    on_both(|spool| {
        let refused = |change: Change| {
            let good = Change::Note { space: 1, key: b"k".to_vec(), value: Some(vec![]) };
            let error = spool.commit(at(1, 10), vec![good, change]).unwrap_err();
            assert_eq!(spool.note(1, b"k").unwrap(), None);
            error
        };
        let mut long_head = bundle(1, b"");
        long_head.head = vec![0; HEAD_MAX + 1];
        let mut long_own = bundle(1, b"");
        long_own.own = Some(vec![0; OWN_MAX + 1]);
        let note = |key: usize, value: usize| Change::Note {
            space: 1,
            key: vec![0; key],
            value: Some(vec![0; value]),
        };
        for change in [
            Change::Bundle(long_head),
            Change::Bundle(long_own),
            note(NOTE_KEY_MAX + 1, 0),
            note(1, NOTE_MAX + 1),
        ] {
            assert!(matches!(refused(change), SpoolError::TooLarge { .. }));
        }
        let mut short = bundle(1, b"body");
        short.summary.length = 5;
        assert!(matches!(
            refused(Change::Bundle(short)),
            SpoolError::LengthMismatch { declared: 5, got: 4 }
        ));
    });
}

#[test]
fn a_prefix_of_an_id_finds_live_and_retired_bundles() {
    on_both(|spool| {
        for n in 0..4 {
            admit(spool, bundle(n, b""));
        }
        spool.commit(at(1, 11), vec![Change::Retire { id: id(3), why: Why::Expired }]).unwrap();
        let full = id(2).to_string();
        assert_eq!(spool.resolve(&full).unwrap(), [id(2)]);
        assert_eq!(spool.resolve(&full[..6].to_uppercase()).unwrap(), [id(2)]);
        let mut both = [id(0), id(3)];
        both.sort_unstable();
        assert_eq!(spool.resolve("a500").unwrap(), both);
        assert!(spool.resolve("ffff").unwrap().is_empty());
        assert!(matches!(spool.resolve("a5"), Err(SpoolError::BadPrefix)));
    });
}

/// Room for so many bundles of strangers, and no other limit.
fn strangers(spool: &dyn Spool, bundles: u64) {
    let stranger = Quota { bytes: u64::MAX, bundles };
    spool.set_quotas(Quotas { stranger, ..Quotas::UNLIMITED });
}

/// A stranger's bundle, brought by `from`, written by `source`.
fn carried(n: u64, from: u8, source: u8) -> NewBundle {
    let mut new = bundle(n, b"body");
    new.class = Class::Stranger;
    new.from = (from > 0).then_some([from; 32]);
    new.summary.source = (source > 0).then_some([source; 32]);
    new
}

fn live(spool: &dyn Spool, ns: impl IntoIterator<Item = u64>) -> Vec<u64> {
    ns.into_iter().filter(|n| spool.seen(&id(*n)).unwrap() == Some(Seen::Live)).collect()
}

#[test]
fn a_class_that_is_full_drops_the_nicest_and_then_the_oldest_for_a_newcomer() {
    on_both(|spool| {
        strangers(spool, 3);
        let nice = |n, nice| {
            let mut new = carried(n, 5, 7);
            new.summary.nice = nice;
            new
        };
        for (n, niceness) in [(1, 200), (2, 160), (3, 160)] {
            assert_eq!(admit(spool, nice(n, niceness)), Outcome::Admitted);
        }
        assert_eq!(admit(spool, nice(4, 160)), Outcome::Admitted);
        assert_eq!(live(spool, 1..=4), [2, 3, 4]);
        assert_eq!(admit(spool, nice(5, 160)), Outcome::Admitted);
        assert_eq!(live(spool, 1..=5), [3, 4, 5]);
        // Nicer than all that is there, it is itself the one that would go.
        assert_eq!(admit(spool, nice(6, 161)), Outcome::Full);
        assert_eq!(live(spool, 1..=6), [3, 4, 5]);
        assert_eq!(spool.seen(&id(6)).unwrap(), None);
        assert_eq!(spool.stats().unwrap().classes[3].counted_bytes, 3 * COUNTED_MIN);
    });
}

#[test]
fn what_was_dropped_does_not_come_back_before_it_would_have_expired() {
    on_both(|spool| {
        strangers(spool, 1);
        assert_eq!(admit(spool, carried(1, 5, 7)), Outcome::Admitted);
        assert_eq!(admit(spool, carried(2, 5, 7)), Outcome::Admitted);
        assert_eq!(spool.seen(&id(1)).unwrap(), Some(Seen::Retired(Why::Dropped)));
        assert_eq!(spool.envelope(&id(1)).unwrap(), None);
        assert_eq!(admit(spool, carried(1, 5, 7)), Outcome::Duplicate);
        strangers(spool, 2);
        let again = |at_s| {
            let change = Change::Bundle(carried(1, 5, 7));
            spool.commit(at(1, at_s), vec![change]).unwrap()[0]
        };
        assert_eq!(again(86_400), Outcome::Duplicate);
        assert_eq!(again(86_411), Outcome::Admitted);
    });
}

#[test]
fn a_flood_from_one_neighbour_only_pushes_out_its_own_whatever_keys_it_writes_with() {
    on_both(|spool| {
        strangers(spool, 20);
        let honest: Vec<u64> = (1..=6).collect();
        honest.iter().for_each(|n| {
            let from = if *n < 4 { 1 } else { 2 };
            assert_eq!(admit(spool, carried(*n, from, 7)), Outcome::Admitted);
        });
        for n in 100..200_u64 {
            let mut new = carried(n, 9, u8::try_from(n).unwrap());
            // More urgent than anything that is there, and from a key of its own.
            new.summary.nice = 2;
            let wanted = if n < 114 { Outcome::Admitted } else { Outcome::Full };
            assert_eq!(admit(spool, new), wanted, "a new key alone displaces nothing");
        }
        let mut urgent = carried(99, 9, 98);
        urgent.summary.nice = 1;
        assert_eq!(admit(spool, urgent), Outcome::Admitted);
        assert_eq!(live(spool, honest.iter().copied()), honest);
        assert_eq!(live(spool, 99..200).len(), 14);
        // Who has less than its part gets it from the flood.
        let late: Vec<u64> = (10..14).collect();
        late.iter().for_each(|n| assert_eq!(admit(spool, carried(*n, 3, 8)), Outcome::Admitted));
        assert_eq!(live(spool, late.iter().copied()), late);
        assert_eq!(live(spool, honest.iter().copied()), honest);
        assert_eq!(live(spool, 99..200).len(), 10);
    });
}

#[test]
fn what_is_worth_least_goes_first_where_nobody_has_too_much() {
    on_both(|spool| {
        strangers(spool, 4);
        let worth = |n, from, worth| NewBundle { worth, ..carried(n, from, 7) };
        for (n, from, worthy) in [(1, 1, 30), (2, 2, 50), (3, 3, 0), (4, 4, 0)] {
            assert_eq!(admit(spool, worth(n, from, worthy)), Outcome::Admitted);
        }
        // Of equals the oldest goes; what is worth less than all goes itself.
        assert_eq!(admit(spool, worth(5, 5, 0)), Outcome::Admitted);
        assert_eq!(live(spool, 1..=5), [1, 2, 4, 5]);
        assert_eq!(admit(spool, worth(6, 6, 60)), Outcome::Admitted);
        assert_eq!(admit(spool, worth(7, 7, 40)), Outcome::Admitted);
        assert_eq!(live(spool, 1..=7), [1, 2, 6, 7]);
        assert_eq!(admit(spool, worth(8, 8, 29)), Outcome::Full);
        // More urgent is more, whatever it is worth.
        let mut urgent = worth(9, 8, 0);
        urgent.summary.nice = 96;
        assert_eq!(admit(spool, urgent), Outcome::Admitted);
        assert_eq!(live(spool, 1..=9), [2, 6, 7, 9]);
        // A neighbour that has too much loses, whatever its bundles are worth.
        assert_eq!(admit(spool, worth(10, 6, 200)), Outcome::Admitted);
        assert_eq!(admit(spool, worth(11, 6, 201)), Outcome::Admitted);
        assert_eq!(live(spool, 1..=11), [2, 7, 9, 11]);
        assert_eq!(admit(spool, worth(12, 6, 199)), Outcome::Full);
        assert_eq!(admit(spool, worth(13, 1, 41)), Outcome::Admitted);
        assert_eq!(live(spool, 1..=13), [2, 9, 11, 13]);
    });
}

#[test]
fn nobody_is_one_neighbour_and_behind_one_neighbour_sources_share_alike() {
    on_both(|spool| {
        strangers(spool, 6);
        // Hidden ones count as one source's, unproven neighbours as one.
        for (n, source) in [(1, 0), (2, 0), (3, 0), (4, 0), (5, 7)] {
            assert_eq!(admit(spool, carried(n, 0, source)), Outcome::Admitted);
        }
        assert_eq!(admit(spool, carried(6, 4, 7)), Outcome::Admitted);
        assert_eq!(admit(spool, carried(7, 4, 7)), Outcome::Admitted);
        assert_eq!(live(spool, 1..=7), [2, 3, 4, 5, 6, 7]);
        assert_eq!(admit(spool, carried(8, 0, 7)), Outcome::Admitted);
        assert_eq!(live(spool, 1..=8), [3, 4, 5, 6, 7, 8]);
    });
}

#[test]
fn what_has_ended_goes_before_anything_else() {
    on_both(|spool| {
        strangers(spool, 3);
        let mut brief = carried(1, 2, 7);
        (brief.summary.lifetime_s, brief.summary.nice) = (60, 1);
        assert_eq!(admit(spool, brief), Outcome::Admitted);
        assert_eq!(admit(spool, carried(2, 5, 7)), Outcome::Admitted);
        assert_eq!(admit(spool, carried(3, 5, 7)), Outcome::Admitted);
        let change = Change::Bundle(carried(4, 5, 7));
        assert_eq!(spool.commit(at(1, 100), vec![change]).unwrap(), [Outcome::Admitted]);
        assert_eq!(live(spool, 1..=4), [2, 3, 4]);
        assert_eq!(spool.seen(&id(1)).unwrap(), None, "its tombstone has ended as well");
    });
}

#[test]
fn bytes_count_and_what_fits_no_quota_drops_nothing() {
    on_both(|spool| {
        let stranger = Quota { bytes: 10_000, bundles: 1000 };
        spool.set_quotas(Quotas { stranger, ..Quotas::UNLIMITED });
        let large = |n, from, bytes: usize| {
            let new = bundle(n, &vec![1; bytes]);
            NewBundle { class: Class::Stranger, from: Some([from; 32]), ..new }
        };
        assert_eq!(admit(spool, large(1, 1, 4000)), Outcome::Admitted);
        assert_eq!(admit(spool, large(2, 2, 4000)), Outcome::Admitted);
        assert_eq!(admit(spool, large(3, 3, 10_001)), Outcome::Full);
        // Nothing smaller goes for something that is worth as little.
        assert_eq!(admit(spool, large(4, 3, 6000)), Outcome::Full);
        assert_eq!(live(spool, 1..=4), [1, 2]);
        assert_eq!(admit(spool, large(5, 3, 3000)), Outcome::Admitted);
        assert_eq!(live(spool, 1..=5), [2, 5]);
        // Tiny ones count for more than they have; and a neighbour's only bundle goes, too, when it
        // is the largest part of all.
        for n in 20..40 {
            assert_eq!(admit(spool, large(n, 4, 1)), Outcome::Admitted);
        }
        let there = live(spool, 20..40);
        assert_eq!((there.len(), live(spool, [2, 5])), (13, vec![5]));
        // Other classes are not concerned, and own mail knows no limit.
        let contact = NewBundle { class: Class::Contact, ..large(50, 4, 20_000) };
        let own = NewBundle { class: Class::Own, ..large(51, 4, 20_000) };
        assert_eq!(admit(spool, contact), Outcome::Admitted);
        assert_eq!(admit(spool, own), Outcome::Admitted);
        assert_eq!(live(spool, 20..40), there);
    });
}

#[test]
fn very_many_tiny_ones_make_room_for_a_large_one_in_steps() {
    on_both(|spool| {
        let tiny = 10_000;
        let stranger = Quota { bytes: tiny * COUNTED_MIN, bundles: u64::MAX };
        spool.set_quotas(Quotas { stranger, ..Quotas::UNLIMITED });
        for from in (0..tiny).step_by(2000) {
            let all = (from..from + 2000).map(|n| Change::Bundle(carried(n, 9, 7))).collect();
            spool.commit(at(1, 10), all).unwrap();
        }
        let large = || {
            let body = vec![1; usize::try_from(4500 * COUNTED_MIN).unwrap()];
            NewBundle { class: Class::Stranger, ..bundle(tiny, &body) }
        };
        assert_eq!(admit(spool, large()), Outcome::Full);
        assert_eq!(spool.stats().unwrap().classes[3].bundles, tiny - 4096);
        assert_eq!(admit(spool, large()), Outcome::Admitted);
        assert_eq!(spool.stats().unwrap().classes[3].bundles, tiny - 4500 + 1);
    });
}
