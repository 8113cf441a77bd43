//! What two nodes lack is found without a cursor, and without naming what both have.

use postrider_engine::{
    carriage::length_prefix,
    exchange::{FEATURE_SKETCH, Hello, PLAIN_MAX, RECONCILED_AT_ONCE, Unit},
    node::{Class, Ending, Input, Instance, LinkId, People, Seen, Violation},
};
use proptest::prelude::*;

use crate::{
    net::{Chance, Net, Wire},
    store::{Made, made, node},
};

const MANY: u64 = 100_000;

/// Bytes both ways of everything but bundles.
fn spoken(net: &Net) -> usize {
    let units = [net.units(0, 1), net.units(1, 0)].concat();
    let told = units.iter().filter(|(_, name, _)| !["Begin", "Data"].contains(name));
    told.map(|(_, _, bytes)| bytes + length_prefix(*bytes).len()).sum()
}

fn count(net: &Net, from: usize, to: usize, name: &str) -> usize {
    net.units(from, to).iter().filter(|unit| unit.1 == name).count()
}

/// So many real bundles between the nodes 1 and 2, by one of them.
fn letters(from: u8, count: u64) -> Vec<Made> {
    (1..=count).map(|counter| made(from, 3 - from, 160, 60, counter)).collect()
}

/// Two nodes that share `many` and know nothing of each other; each has `own` more.
fn strangers(many: u64, own: u64) -> (Net, Vec<Made>) {
    let mut net = Net::new(2);
    let now = net.now();
    let mut all = Vec::new();
    for at in [0, 1] {
        net.nodes[at].store.fill(now, 0..many);
        let letters = letters(at as u8 + 1, own);
        letters.iter().for_each(|letter| net.lay(at, letter, Class::Own));
        all.extend(letters);
    }
    (net, all)
}

fn all_have(net: &Net, all: &[Made]) -> bool {
    all.iter().all(|letter| net.nodes.iter().all(|node| node.store.has(&letter.id)))
}

#[test]
fn ten_differences_among_100_000_cost_at_most_1_kb() {
    let (mut net, all) = strangers(MANY, 5);
    net.connect(0, 1, Wire::default());
    net.run();
    assert!(all_have(&net, &all));
    let bytes = spoken(&net);
    println!("10 differences among {MANY}: {bytes} B beside the bundles");
    println!("{:?}\n{:?}", net.units(0, 1), net.units(1, 0));
    assert!(bytes <= 1000, "{bytes} bytes");
    // Both cursors are good from now on.
    for (at, peer) in [(0, 2), (1, 1)] {
        let mine = net.nodes[at].store.cursors[&node(peer)].0.unwrap();
        assert!(mine.bundles >= MANY, "{mine:?}");
    }
}

/// What a difference costs depends on the key, and not on the size of the sets.
#[test]
fn ten_differences_seldom_cost_more_than_1_kb_whatever_the_key() {
    let mut all: Vec<usize> = (0..100)
        .map(|seed| {
            let (mut net, letters) = strangers(200, 5);
            net.chance = Chance(seed);
            net.connect(0, 1, Wire::default());
            net.run();
            assert!(all_have(&net, &letters));
            spoken(&net)
        })
        .collect();
    all.sort_unstable();
    println!("10 differences, 100 keys: p50 {} B, p95 {} B, worst {} B", all[50], all[95], all[99]);
    assert!(all[95] <= 1000 && all[99] <= 1500, "{all:?}");
}

#[test]
fn equal_sets_cost_one_symbol_and_no_offer() {
    let (mut net, _) = strangers(10_000, 0);
    net.connect(0, 1, Wire::default());
    net.run();
    let bytes = spoken(&net);
    println!("equal sets: {bytes} B");
    assert!(bytes <= 150, "{bytes} bytes");
    assert_eq!((count(&net, 0, 1, "Offer"), count(&net, 1, 0, "Offer")), (0, 0));
}

#[test]
fn sets_that_have_nothing_in_common_cost_a_quarter_more_than_their_list() {
    let own = 3 * PLAIN_MAX as u64;
    let (mut net, all) = strangers(0, own);
    net.connect(0, 1, Wire::default());
    net.run();
    assert!(all_have(&net, &all));
    let units = [net.units(0, 1), net.units(1, 0)].concat();
    let bytes_of = |what: &str| -> usize {
        units.iter().filter(|(_, name, _)| *name == what).map(|(_, _, bytes)| bytes).sum()
    };
    let (sketch, offers) = (bytes_of("Sketch"), bytes_of("Offer"));
    assert!(sketch > 0 && sketch * 4 <= offers, "{sketch} bytes beside {offers}");
}

#[test]
fn a_node_that_has_nothing_is_offered_all_after_one_word() {
    let mut net = Net::new(2);
    let all = letters(1, 100);
    all.iter().for_each(|letter| net.lay(0, letter, Class::Own));
    net.connect(0, 1, Wire::default());
    net.run();
    assert!(all_have(&net, &all));
    assert_eq!((count(&net, 0, 1, "Sketch"), count(&net, 1, 0, "Sketch")), (1, 1));
}

#[test]
fn few_rows_are_offered_without_a_sketch() {
    let (mut net, all) = strangers(0, PLAIN_MAX as u64);
    net.connect(0, 1, Wire::default());
    net.run();
    assert!(all_have(&net, &all));
    assert_eq!((count(&net, 0, 1, "Sketch"), count(&net, 1, 0, "Sketch")), (0, 0));
}

/// The spool's numbering was renamed, as after a restored backup. What the other has from here it
/// would not offer back; it is in both sets all the same.
#[test]
fn a_cursor_lost_at_one_side_costs_only_the_difference() {
    let mut net = Net::new(2);
    letters(1, 300).iter().for_each(|letter| net.lay(0, letter, Class::Own));
    // They go through node 2 to somebody else: there they stay live.
    let through: Vec<Made> = (1..=300).map(|counter| made(1, 3, 160, 60, counter)).collect();
    through.iter().for_each(|letter| net.lay(0, letter, Class::Own));
    net.connect(0, 1, Wire::default());
    net.run();
    net.cut_all();
    net.past.clear();
    net.rename(0, Instance([77; 4]));
    let new = made(1, 3, 160, 60, 1000);
    net.lay(0, &new, Class::Own);
    net.connect(0, 1, Wire::default());
    net.run();
    assert!(net.has(1, &new));
    let bytes = spoken(&net);
    assert!(bytes <= 300, "{bytes} bytes: {:?} {:?}", net.units(0, 1), net.units(1, 0));
    assert_eq!(net.nodes[1].store.cursors[&node(1)].0.unwrap().instance, Instance([77; 4]));
}

#[test]
fn a_cursor_beyond_the_numbering_is_reconciled_too() {
    let (mut net, all) = strangers(1000, 2);
    let instance = net.nodes[0].store.instance;
    let beyond = Seen { instance, bundles: 1 << 40, receipts: 0 };
    net.nodes[1].store.cursors.insert(node(1), (Some(beyond), None));
    net.connect(0, 1, Wire::default());
    net.run();
    assert!(all_have(&net, &all));
    assert!(spoken(&net) <= 1000, "{} bytes", spoken(&net));
}

/// A bundle that the neighbour lost behind its cursor is found within a day of link time.
#[test]
fn what_a_cursor_hides_is_found_after_a_day_of_links() {
    const HOUR_MS: u64 = 3_600_000;
    let mut net = Net::new(2);
    let through: Vec<Made> = (1..=100).map(|counter| made(1, 3, 160, 60, counter)).collect();
    through.iter().for_each(|letter| net.lay(0, letter, Class::Own));
    net.connect(0, 1, Wire::default());
    net.run();
    net.nodes[1].store.lose(&through[50].id);
    // Time without a link does not count.
    for _ in 0..3 {
        net.pass(7 * HOUR_MS);
        net.cut_all();
        net.pass(10 * HOUR_MS);
        net.connect(0, 1, Wire::default());
    }
    net.run();
    assert!(!net.has(1, &through[50]));
    net.pass(4 * HOUR_MS);
    assert!(net.has(1, &through[50]));
}

fn blocking(blocked: &[u8]) -> Input {
    let blocked = blocked.iter().map(|n| node(*n)).collect();
    Input::People(People { blocked, ..People::default() })
}

#[test]
fn what_was_blocked_when_the_cursor_passed_it_is_offered_when_it_is_not_any_more() {
    // Whoever lifts it, the sender or the receiver, and while there is a link or not.
    for (who, linked) in [(0, true), (0, false), (1, true), (1, false)] {
        let mut net = Net::new(2);
        net.feed(who, blocking(&[3]));
        let (passed, blocked) = (made(1, 2, 160, 60, 1), made(3, 2, 160, 60, 1));
        net.lay(0, &blocked, Class::Stranger);
        net.lay(0, &passed, Class::Own);
        net.connect(0, 1, Wire::default());
        net.run();
        assert!(net.has(1, &passed) && !net.has(1, &blocked));
        assert_eq!(net.nodes[1].store.cursors[&node(1)].0.unwrap().bundles, 2);
        if !linked {
            net.cut_all();
        }
        net.feed(who, blocking(&[]));
        if !linked {
            net.connect(0, 1, Wire::default());
        }
        net.run();
        assert!(net.has(1, &blocked), "lifted by {who}, linked: {linked}");
        // Once is enough.
        let sketches = count(&net, 0, 1, "Sketch") + count(&net, 1, 0, "Sketch");
        net.cut_all();
        net.connect(0, 1, Wire::default());
        net.run();
        assert_eq!(count(&net, 0, 1, "Sketch") + count(&net, 1, 0, "Sketch"), sketches);
    }
}

#[test]
fn what_arrives_meanwhile_is_offered_at_once() {
    let (mut net, all) = strangers(10_000, 2);
    let (_, link) = net.connect(0, 1, Wire::default());
    // The other end stops in the middle of it.
    assert!(net.run_until(|net| count(net, 1, 0, "Sketch") >= 2));
    let urgent = made(1, 2, 32, 60, 99);
    net.hold_back(link, "Sketch");
    net.send(0, &urgent);
    net.pass(1000);
    assert!(net.has(1, &urgent));
    assert!(!all_have(&net, &all));
}

#[test]
fn links_beyond_the_bound_take_the_plain_list() {
    let peers = RECONCILED_AT_ONCE as u8 + 2;
    let mut net = Net::new(peers);
    let letters: Vec<Made> = (1..=100).map(|counter| made(1, 15, 160, 60, counter)).collect();
    letters.iter().for_each(|letter| net.lay(0, letter, Class::Own));
    net.answer_ms = 500;
    for at in 1..usize::from(peers) {
        net.connect(0, at, Wire::default());
    }
    net.run();
    for at in 1..usize::from(peers) {
        assert!(letters.iter().all(|letter| net.nodes[at].store.has(&letter.id)), "node {at}");
    }
}

/// A node with 200 letters, at whose other end the test itself speaks. It has said Open.
fn spoken_to() -> (Net, LinkId) {
    let mut net = Net::new(2);
    letters(1, 200).iter().for_each(|letter| net.lay(0, letter, Class::Own));
    let (link, _) = net.connect(0, 1, Wire { dialled: true, ..Wire::default() });
    net.mute(link);
    let (instance, features) = (Instance([9; 4]), FEATURE_SKETCH);
    let hello = Hello { features, instance, seen: None, chunk_log2: 18, nice_max: 0 };
    net.inject(0, link, &Unit::Hello(hello));
    net.run();
    assert_eq!(count(&net, 0, 1, "Sketch"), 1);
    (net, link)
}

fn say(net: &mut Net, link: LinkId, kind: u8, rest: &[u8]) {
    net.inject(0, link, &Unit::Sketch([&[kind][..], rest].concat().into()));
    net.run();
}

fn offered(net: &Net) -> bool {
    count(net, 0, 1, "Offer") > 0
}

/// A side whose set is as large as ours.
fn side() -> Vec<u8> {
    [&[0xff; 16][..], &200_u32.to_be_bytes()].concat()
}

#[test]
fn symbols_that_are_made_up_end_in_the_plain_list() {
    let mut chance = Chance(5);
    for _ in 0..20 {
        let (mut net, link) = spoken_to();
        say(&mut net, link, 1, &side());
        for _ in 0..100 {
            if offered(&net) {
                break;
            }
            let symbols: Vec<u8> = (0..12 * 8).map(|_| chance.next() as u8).collect();
            say(&mut net, link, 2, &symbols);
        }
        assert!(offered(&net) && net.nodes[0].ended.is_empty());
    }
}

#[test]
fn symbols_that_nobody_asked_for_end_the_link() {
    let (mut net, link) = spoken_to();
    net.answer_ms = 1000;
    say(&mut net, link, 1, &side());
    for _ in 0..2 {
        net.inject(0, link, &Unit::Sketch([&[2][..], &[7; 24]].concat().into()));
    }
    assert_eq!(net.nodes[0].ended, [Ending::Protocol(Violation::Order)]);
}

#[test]
fn a_step_that_is_none_ends_the_link() {
    for bad in [&[7][..], &[], &[2, 1, 2, 3], &[0, 1], &[3, 0], &[4]] {
        let (mut net, link) = spoken_to();
        net.inject(0, link, &Unit::Sketch(bad.to_vec().into()));
        assert_eq!(net.nodes[0].ended, [Ending::Protocol(Violation::Malformed)], "{bad:?}");
    }
}

#[test]
fn steps_outside_of_a_session_mean_nothing() {
    let (mut net, link) = spoken_to();
    say(&mut net, link, 6, &[]);
    assert!(offered(&net));
    for (kind, rest) in [(1, side()), (2, vec![7; 12]), (3, vec![]), (4, vec![7; 8]), (5, vec![])] {
        say(&mut net, link, kind, &rest);
    }
    assert!(net.nodes[0].ended.is_empty(), "{:?}", net.nodes[0].ended);
}

#[test]
fn an_end_that_says_nothing_more_gets_the_plain_list() {
    let (mut net, _) = spoken_to();
    net.pass(110_000);
    assert!(!offered(&net));
    net.pass(20_000);
    assert!(offered(&net) && net.nodes[0].ended.is_empty());
}

#[test]
fn one_that_is_asked_for_again_and_again_is_refused() {
    let (mut net, link) = spoken_to();
    say(&mut net, link, 6, &[]);
    for _ in 0..10 {
        say(&mut net, link, 0, &side());
        say(&mut net, link, 6, &[]);
    }
    let said: Vec<usize> =
        net.units(0, 1).iter().filter(|u| u.1 == "Sketch").map(|u| u.2).collect();
    // What opened it, one answer with a symbol, and then the word for the plain list.
    assert_eq!(said, [&[22, 22, 14][..], &[2; 9]].concat());
}

#[test]
fn what_is_asked_for_and_not_there_is_not_offered() {
    let (mut net, link) = spoken_to();
    // The lower share peels: this end makes symbols.
    say(&mut net, link, 0, &[&[0; 16][..], &200_u32.to_be_bytes()].concat());
    say(&mut net, link, 4, &[0xab; 8 * 100]);
    say(&mut net, link, 5, &[]);
    assert!(!offered(&net) && net.nodes[0].ended.is_empty(), "{:?}", net.nodes[0].ended);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Two sets of any overlap, cursors good or lost, answers in any order, a cut in the middle: in
    /// the end both have everything, as by the plain list.
    #[test]
    fn both_have_everything_in_the_end(
        both in 0_u64..200,
        own in proptest::array::uniform2(0_u64..120),
        answer_ms in 0_u64..40,
        cut_after_ms in 0_u64..200,
        lost: [bool; 2],
        seed: u64,
    ) {
        let mut net = Net::new(3);
        net.chance = Chance(seed);
        net.answer_ms = answer_ms;
        // For a third node, so that they stay live where they come.
        let all = both + own[0] + own[1];
        let letters: Vec<Made> = (0..all).map(|n| made(3, 9, 160, 60, n + 1)).collect();
        for (n, letter) in (0..).zip(&letters) {
            let at = if n < both { 0..2 } else if n < both + own[0] { 0..1 } else { 1..2 };
            at.for_each(|at| net.lay(at, letter, Class::Stranger));
        }
        for (at, lost) in lost.iter().enumerate() {
            if !lost {
                let instance = net.nodes[1 - at].store.instance;
                let mine = Seen { instance, bundles: 0, receipts: 0 };
                net.nodes[at].store.cursors.insert(node(2 - at as u8), (Some(mine), None));
            }
        }
        net.connect(0, 1, Wire::default());
        net.pass(cut_after_ms);
        net.cut_all();
        net.connect(0, 1, Wire::default());
        net.run();
        prop_assert!(net.nodes.iter().all(|node| node.ended.is_empty()));
        for at in [0, 1] {
            prop_assert_eq!(net.nodes[at].store.live.len() as u64, all);
        }
        for (at, peer) in [(0, 2), (1, 1)] {
            let upto = net.nodes[1 - at].store.live.len() as u64;
            let mine = net.nodes[at].store.cursors.get(&node(peer)).and_then(|c| c.0);
            prop_assert!(mine.map_or(0, |mine| mine.bundles) + 64 >= upto.min(all), "{:?}", mine);
        }
    }
}
