//! Cut through: a relay passes a large body on while it comes, and has it before anybody else does.

use postrider_engine::node::{Event, Kept};

use crate::{
    net::{Net, SLOW, Wire},
    pair::admitted,
    store::{Made, made},
};

/// Of [`SLOW`], four seconds.
const LENGTH: usize = 500_000;

/// Nodes in a row, the first with something for the last.
fn row(count: u8, wires: &[Wire]) -> (Net, Made) {
    let mut net = Net::new(count);
    net.commit_ms = 20;
    let bundle = made(1, count, 160, LENGTH, 1);
    for (at, wire) in wires.iter().enumerate() {
        net.connect(at, at + 1, *wire);
    }
    net.run();
    (net, bundle)
}

fn sent(net: &Net, from: usize, to: usize) -> u64 {
    let ways = net.past.iter().chain(net.ways.values().map(|(way, _)| way));
    ways.filter(|way| (way.from, way.to) == (from, to)).map(|way| way.body_bytes).sum()
}

#[test]
fn along_a_row_of_relays_a_body_takes_little_longer_than_over_one_link() {
    let (mut net, bundle) = row(5, &[SLOW; 4]);
    let began_ms = net.now_ms;
    net.send(0, &bundle);
    for at in 1..5 {
        assert!(net.run_until(|net| net.has(at, &bundle)), "node {at}");
    }
    let took_ms = net.now_ms - began_ms;
    println!("500 kB at 1 Mbit/s over four links: {took_ms} ms");
    // One link takes 4 s, four one after the other 16 s.
    assert!(took_ms < 6000, "{took_ms} ms");
    net.run();
    for at in 1..5 {
        assert_eq!(admitted(&net, at).len(), 1, "node {at}");
        assert_eq!(sent(&net, at - 1, at), LENGTH as u64, "node {at}");
    }
}

#[test]
fn nobody_has_the_whole_before_it_is_durable_where_it_came_from() {
    let (mut net, bundle) = row(4, &[SLOW; 3]);
    net.commit_ms = 3000;
    net.send(0, &bundle);
    for at in 1..4 {
        net.run_until(|net| net.has(at, &bundle));
        assert!((at + 1..4).all(|next| !net.has(next, &bundle)), "after node {at}");
    }
    assert!(net.has(3, &bundle));
}

#[test]
fn what_is_damaged_under_way_is_blamed_on_nobody_but_who_brought_it() {
    // The tenth unit from the first node is a piece of the body.
    let (mut net, bundle) = row(3, &[SLOW; 2]);
    net.spoil = Some((0, 1, net.units(0, 1).len() + 8, 5000, 1));
    net.send(0, &bundle);
    net.run();
    let declined = |net: &Net, at: usize| {
        net.nodes[at].events.iter().any(|e| matches!(e, Event::Declined { .. }))
    };
    assert!(declined(&net, 1), "nothing was damaged");
    assert!(!declined(&net, 2) && !net.has(2, &bundle));
    assert!(sent(&net, 1, 2) > 0, "nothing was passed on");
    net.spoil = None;
    // It comes whole at the next contact; what the last node has of it is found out there.
    for _ in 0..2 {
        net.cut_all();
        net.connect(0, 1, SLOW);
        net.connect(1, 2, SLOW);
        net.pass(30_000);
    }
    assert!(net.has(1, &bundle) && net.has(2, &bundle));
    assert_eq!(admitted(&net, 2).len(), 1);
}

#[test]
fn what_stops_coming_is_withdrawn_and_goes_on_where_it_was() {
    let (mut net, bundle) = row(3, &[SLOW; 2]);
    net.send(0, &bundle);
    net.pass(2000);
    let first = net.ways.keys().next().copied().unwrap();
    net.cut(first);
    net.pass(1000);
    let before = sent(&net, 1, 2);
    assert!(before > 100_000, "{before} bytes were passed on");
    // The link to the third is free for what there is.
    let other = made(2, 3, 160, 50_000, 2);
    net.send(1, &other);
    net.pass(1000);
    assert!(net.has(2, &other) && !net.has(2, &bundle));
    net.connect(0, 1, SLOW);
    net.pass(10_000);
    assert!(net.has(2, &bundle));
    let twice = sent(&net, 1, 2) - 50_000 - LENGTH as u64;
    assert!(twice <= 31_250, "{twice} bytes went twice");
    assert_eq!(admitted(&net, 2).len(), 2);
}

#[test]
fn what_comes_slowly_does_not_keep_a_fast_link_from_others() {
    let fast = Wire { rate_bps: 4_000_000, ..SLOW };
    let (mut net, bundle) = row(3, &[SLOW, fast]);
    net.send(0, &bundle);
    net.pass(1000);
    assert_eq!(sent(&net, 1, 2), 0, "it is too early");
    let other = made(2, 3, 160, LENGTH, 2);
    net.send(1, &other);
    net.pass(1200);
    assert!(net.has(2, &other));
    net.run_until(|net| net.has(1, &bundle));
    let passed = sent(&net, 1, 2) - LENGTH as u64;
    assert!(passed > LENGTH as u64 / 2, "{passed} bytes were passed on");
    net.run();
    assert!(net.has(2, &bundle));
}

#[test]
fn what_is_not_kept_is_passed_on_to_nobody() {
    let (mut net, bundle) = row(3, &[SLOW; 2]);
    net.nodes[1].store.keep_answer = Some(Kept::Refused);
    net.send(0, &bundle);
    net.run();
    assert!(!net.has(1, &bundle) && !net.has(2, &bundle));
    assert!(sent(&net, 1, 2) < LENGTH as u64);
    assert!(!net.nodes[2].events.iter().any(|e| matches!(e, Event::Declined { .. })));
}

#[test]
fn copies_that_are_counted_wait_until_they_are_durable() {
    let mut net = Net::delegating(4);
    net.connect(0, 1, SLOW);
    net.connect(1, 2, SLOW);
    net.connect(1, 3, SLOW);
    net.run();
    let bundle = made(1, 4, 160, LENGTH, 1);
    net.send(0, &bundle);
    net.pass(3000);
    // To whom it is for it goes at once; the third would cost a token.
    assert!(sent(&net, 1, 3) > 0);
    assert_eq!(sent(&net, 1, 2), 0);
    net.run();
    assert!(net.has(3, &bundle));
}

#[test]
fn what_falls_silent_under_way_is_overtaken_and_passed_on_once() {
    let fast = Wire { rate_bps: 20_000_000, ..SLOW };
    let (mut net, bundle) = row(3, &[SLOW; 2]);
    net.send(0, &bundle);
    net.pass(1500);
    net.connect(0, 1, fast);
    let link = *net.ways.keys().next().unwrap();
    net.mute(link);
    net.pass(30_000);
    assert!(net.has(1, &bundle) && net.has(2, &bundle));
    assert_eq!([admitted(&net, 1).len(), admitted(&net, 2).len()], [1, 1]);
}
