//! What is left to a direct link, where cursors say little: a neighbour that is reconciled, a link
//! that does not carry everything, an end that has not proven itself.

use postrider_base::{Niceness, link::LinkFacts};
use postrider_engine::{
    exchange::{Hello, Unit},
    introduce,
    node::{Class, Input, Instance, Kept, LinkId, LinkPolicy},
};

use crate::{
    net::{Net, Wire},
    store::{Made, made, node},
};

/// Numbers in the net: two ends, and the neighbour that would carry what goes between them.
const A: usize = 0;
const B: usize = 1;
const M: usize = 2;

/// Bundles from A to B.
fn letters(count: u64) -> Vec<Made> {
    (1..=count).map(|counter| made(1, 2, 160, 60, counter)).collect()
}

fn count(net: &Net, from: usize, to: usize, name: &str) -> usize {
    net.units(from, to).iter().filter(|unit| unit.1 == name).count()
}

fn all_at(net: &Net, at: usize, all: &[Made]) -> bool {
    all.iter().all(|letter| net.has(at, letter))
}

fn none_at(net: &Net, at: usize, all: &[Made]) -> bool {
    !all.iter().any(|letter| net.has(at, letter))
}

/// All share 200 bundles, and A has a link to B. That falls silent, which A does not notice for 4 s;
/// meanwhile it has bundles for B, and M comes, of which it knows nothing.
fn left_to_a_silent_link(letters: &[Made]) -> (Net, LinkId, LinkId) {
    let mut net = Net::new(3);
    let now = net.now();
    net.nodes.iter_mut().for_each(|node| node.store.fill(now, 0..200));
    let (direct, _) = net.connect(A, B, Wire::default());
    net.run();
    net.mute(direct);
    letters.iter().for_each(|letter| net.lay(A, letter, Class::Own));
    let (link, _) = net.connect(A, M, Wire::default());
    net.pass(1500);
    assert!(count(&net, A, M, "Sketch") > 0, "{:?}", net.units(A, M));
    assert!(none_at(&net, M, letters), "they are left to the direct link");
    (net, direct, link)
}

#[test]
fn what_a_reconciliation_finds_is_left_to_a_direct_link_until_that_is_silent() {
    // The second number is more than can wait for a neighbour.
    for number in [5, 1100] {
        let letters = letters(number);
        let (mut net, ..) = left_to_a_silent_link(&letters);
        net.pass(8000);
        assert!(all_at(&net, M, &letters), "of {number}");
        assert_eq!(net.nodes[M].store.twice, []);
    }
}

#[test]
fn what_a_reconciliation_found_and_left_comes_over_the_next_link() {
    for (number, begins_anew) in [(5, false), (5, true), (1100, false), (1100, true)] {
        let letters = letters(number);
        let (mut net, direct, link) = left_to_a_silent_link(&letters);
        net.cut(link);
        net.cut(direct);
        if begins_anew {
            net.restart(A);
        }
        net.connect(A, M, Wire::default());
        net.pass(8000);
        assert!(all_at(&net, M, &letters), "of {number}, anew: {begins_anew}");
    }
}

/// A has a link to B, who answers but has no room, and one to M, to whom nothing may go of that.
/// That is more than can wait for a neighbour. First A has `others`, which M may have.
fn left_to_a_full_neighbour(letters: &[Made], others: &[Made], wire: Wire) -> Net {
    let mut net = Net::new(3);
    net.nodes[B].store.keep_answer = Some(Kept::Full);
    others.iter().chain(letters).for_each(|letter| net.lay(A, letter, Class::Own));
    net.connect(A, B, Wire::default());
    net.pass(1000);
    net.connect(A, M, wire);
    net
}

#[test]
fn what_is_left_beyond_bounds_is_read_ever_more_seldom_while_nothing_changes() {
    let letters = letters(1100);
    let mut net = left_to_a_full_neighbour(&letters, &[], Wire::default());
    net.pass(60_000);
    let mut read = || {
        let before = net.nodes[A].store.rows_read;
        net.pass(60_000);
        net.nodes[A].store.rows_read - before
    };
    assert_eq!([(); 3].map(|()| read()), [1100; 3]);
    assert!(none_at(&net, M, &letters));
}

#[test]
fn what_is_left_beyond_bounds_comes_soon_when_its_link_is_gone() {
    let letters = letters(1100);
    let mut net = left_to_a_full_neighbour(&letters, &[], Wire::default());
    net.pass(120_000);
    assert!(none_at(&net, M, &letters));
    net.mute(LinkId(1));
    net.pass(8000);
    assert!(all_at(&net, M, &letters));
}

/// They are less urgent, and the link is slow: when the others are looked for, most still wait.
#[test]
fn nothing_that_waits_for_room_is_forgotten_when_what_was_left_is_read_again() {
    let letters = letters(1100);
    let others: Vec<Made> = (1..=1500).map(|n| made(1, 4, 224, 60, n)).collect();
    let slow = Wire { rate_bps: 200_000, ..Wire::default() };
    let mut net = left_to_a_full_neighbour(&letters, &others, slow);
    net.pass(5000);
    assert!(!all_at(&net, M, &others), "the link is too fast for this test");
    net.pass(180_000);
    assert!(all_at(&net, M, &others));
}

/// The neighbour loses what it had; the daily look finds that while a direct link works.
#[test]
fn what_was_lost_behind_a_cursor_is_left_and_not_passed() {
    const DAY_MS: u64 = 24 * 3_600_000;
    let mut net = Net::new(3);
    let letters = letters(100);
    letters.iter().for_each(|letter| net.lay(A, letter, Class::Own));
    net.connect(A, M, Wire::default());
    net.run();
    assert!(all_at(&net, M, &letters));
    net.nodes[M].store.lose(&letters[50].id);
    net.pass(DAY_MS - 2000);
    net.nodes[B].store.keep_answer = Some(Kept::Full);
    let (direct, _) = net.connect(A, B, Wire::default());
    net.pass(4000);
    assert!(count(&net, A, M, "Sketch") > 0);
    assert!(!net.has(M, &letters[50]));
    net.cut(direct);
    net.cut_all();
    net.connect(A, M, Wire::default());
    net.pass(8000);
    assert!(net.has(M, &letters[50]));
}

#[test]
fn a_cursor_moves_on_when_what_was_left_has_been_retired() {
    let mut net = Net::new(3);
    net.connect(A, B, Wire::default());
    net.connect(A, M, Wire::default());
    net.run();
    let (left, through) = (made(1, 2, 160, 60, 1), made(1, 4, 160, 60, 1));
    net.send(A, &left);
    net.send(A, &through);
    net.run();
    assert!(net.has(B, &left) && !net.has(M, &left) && net.has(M, &through));
    let cursor = |net: &Net| net.nodes[M].store.cursors[&node(1)].0.unwrap().bundles;
    assert_eq!(cursor(&net), 0);
    // As its receipt does.
    net.nodes[A].store.retire(&left.id);
    net.feed(A, Input::Gone { id: left.id });
    net.run();
    assert_eq!(cursor(&net), 2);
}

/// The sender remembers how far such a link has come, and begins there.
#[test]
fn what_was_left_is_not_passed_over_a_link_that_does_not_carry_everything() {
    for begins_anew in [false, true] {
        let mut net = Net::new(3);
        let (direct, _) = net.connect(A, B, Wire::default());
        net.run();
        let whole = net.policy.clone();
        let narrow = LinkPolicy { nice_max: Niceness::NORMAL, ..whole };
        net.policy = narrow;
        net.lay(A, &made(1, 3, 224, 60, 1), Class::Own);
        net.lay(A, &made(1, 3, 160, 60, 2), Class::Own);
        let (link, _) = net.connect(A, M, Wire::default());
        net.run();
        net.mute(direct);
        let left = made(1, 2, 160, 60, 1);
        net.send(A, &left);
        net.pass(1000);
        assert!(!net.has(M, &left));
        net.cut(link);
        net.cut(direct);
        if begins_anew {
            net.restart(A);
        }
        net.connect(A, M, Wire::default());
        net.pass(3000);
        assert!(net.has(M, &left), "anew: {begins_anew}");
    }
}

/// A link at the first node to somebody who says it is the node `peer`, and may be a recording.
fn early(net: &mut Net, peer: usize, seen: bool) -> LinkId {
    let wire = Wire { dialled: true, seen, ..Wire::default() };
    let (_, link) = net.connect(peer, 0, wire);
    net.mute(link);
    let mut facts = LinkFacts::stream("pipe:".parse().unwrap());
    facts.peer = Some(node(u8::try_from(peer + 1).unwrap()));
    facts.dialled = false;
    if seen {
        let here = "203.0.113.1:443".parse().unwrap();
        let there = "198.51.100.9:40009".parse().unwrap();
        facts.ends = Some(postrider_base::link::Ends { here, there });
    }
    let (policy, random) = (LinkPolicy::default(), [0; 16]);
    let (room_bytes, mine, theirs) = (1 << 20, None, None);
    net.feed(0, Input::LinkUp { link, facts, policy, room_bytes, mine, theirs, random });
    let (features, instance) = (introduce::FEATURE, Instance([9; 4]));
    let hello = Unit::Hello(Hello { features, instance, seen: None, chunk_log2: 18, nice_max: 0 });
    net.feed(0, Input::Early { link, unit: hello.encode().0 });
    net.run();
    link
}

#[test]
fn nothing_is_left_to_somebody_who_may_be_a_recording() {
    let mut net = Net::new(3);
    net.connect(A, M, Wire::default());
    early(&mut net, B, false);
    let letter = made(1, 2, 160, 60, 1);
    net.send(A, &letter);
    net.run();
    assert!(net.has(M, &letter));
}

#[test]
fn somebody_who_may_be_a_recording_is_asked_for_no_introduction() {
    let mut net = Net::new(3);
    let (_, asking) = net.connect(1, 0, Wire { seen: true, ..Wire::default() });
    net.run();
    let link = early(&mut net, 2, true);
    let wish = Unit::Reach(*node(3).as_bytes());
    net.inject(0, asking, &wish);
    net.run();
    assert_eq!(count(&net, 0, 2, "Reach"), 0);
    net.inject(0, link, &Unit::Pong(0));
    net.inject(0, asking, &wish);
    net.run();
    assert_eq!(count(&net, 0, 2, "Reach"), 1);
}
