//! A node between two, and the link that they have or get without it.

use postrider_engine::node::{Class, Contact, Input, People};

use crate::{
    net::{Net, Wire},
    pair::admitted,
    store::{made, node},
};

/// Numbers in the net: two ends, and the one between.
const A: usize = 0;
const B: usize = 1;
const M: usize = 2;
const SLOW: Wire = Wire { rate_bps: 1_000_000, seen: true, ..WIRE };
const WIRE: Wire = Wire {
    rate_bps: 100_000_000,
    latency_ms: 5,
    told: false,
    proven: true,
    dialled: false,
    clear_only: false,
    seen: false,
};

/// Both know each other, and have dialled the one between.
fn net() -> Net {
    let mut net = Net::new(3);
    for (at, other) in [(A, 2), (B, 1)] {
        let contacts = vec![Contact { node: node(other), seal_keys: vec![], meets_per_month: 0 }];
        net.feed(at, Input::People(People { contacts, ..People::default() }));
        net.connect(at, M, SLOW);
    }
    net.run();
    net
}

#[test]
fn two_that_write_to_each_other_are_introduced() {
    let mut net = net();
    net.send(A, &made(1, 2, 160, 100, 1));
    net.run();
    for (at, other) in [(A, B), (B, A)] {
        let seen = format!("198.51.100.{}:4000{}", other + 1, other + 1);
        let expected = (node(u8::try_from(other + 1).unwrap()), seen.parse().unwrap());
        assert_eq!(net.nodes[at].meetings, [expected]);
    }
    assert_eq!(net.nodes[M].meetings, []);
    net.send(A, &made(1, 2, 160, 100, 2));
    net.run();
    assert_eq!(net.nodes[A].meetings.len(), 1, "one meeting is under way");
}

#[test]
fn nobody_is_introduced_to_whom_only_one_knows() {
    let mut net = net();
    net.feed(B, Input::People(People::default()));
    net.send(A, &made(1, 2, 160, 100, 1));
    net.run();
    assert!(net.nodes.iter().all(|node| node.meetings.is_empty()));
}

#[test]
fn a_bundle_under_way_moves_to_the_direct_link_and_is_sent_once() {
    let mut net = net();
    let bundles: Vec<_> = (1..=4).map(|n| made(1, 2, 160, 200_000, n)).collect();
    bundles.iter().for_each(|bundle| net.send(A, bundle));
    net.pass(600);
    let before = net.bytes(A, M);
    assert!(before < 200_000, "it has not come far yet");
    net.connect(A, B, WIRE);
    net.pass(3000);
    assert!(bundles.iter().all(|bundle| net.has(B, bundle)));
    assert_eq!(admitted(&net, B).len(), 4);
    assert!(net.bytes(A, M) < before + 130_000, "what lay in the carriage, and no more");
    assert!(!net.has(M, &bundles[3]));
    // A cut between the two must not leave a cursor that has passed what was withdrawn.
    let units: Vec<&str> = net.units(A, M).into_iter().map(|(_, name, _)| name).collect();
    let at = units.iter().position(|name| *name == "Withdraw").unwrap();
    assert_eq!(units[at - 1], "Mark", "{units:?}");
}

#[test]
fn a_direct_link_that_falls_silent_does_not_keep_bundles_to_itself() {
    let mut net = net();
    let (link, _) = net.connect(A, B, WIRE);
    net.run();
    let bundle = made(1, 2, 160, 100_000, 1);
    net.mute(link);
    net.send(A, &bundle);
    net.pass(4000);
    assert!(!net.has(B, &bundle));
    net.pass(5000);
    assert!(net.has(B, &bundle), "through the one between");
    assert_eq!(admitted(&net, B).len(), 1);
}

#[test]
fn what_was_left_to_a_direct_link_comes_when_that_breaks_and_all_begins_anew() {
    for pass_ms in [0, 5, 20, 100, 600, 1200, 2500] {
        let mut net = net();
        let bundles: Vec<_> = (1..=6).map(|n| made(1, 2, 160, 50_000, n)).collect();
        bundles.iter().for_each(|bundle| net.send(A, bundle));
        net.pass(300);
        let (link, _) = net.connect(A, B, Wire { rate_bps: 200_000, ..WIRE });
        net.pass(pass_ms);
        net.cut(link);
        net.cut_all();
        // The cursors are what is left: they may have passed nothing that has not come.
        net.connect(A, M, SLOW);
        net.pass(20_000);
        net.cut_all();
        net.connect(B, M, SLOW);
        net.pass(20_000);
        let here = bundles.iter().filter(|bundle| net.has(B, bundle)).count();
        assert_eq!(here, 6, "after {pass_ms} ms");
        assert_eq!(admitted(&net, B).len(), 6, "after {pass_ms} ms");
    }
}

#[test]
fn a_relay_leaves_a_bundle_to_its_recipient() {
    let mut net = Net::new(4);
    let bundle = made(1, 2, 160, 100_000, 1);
    net.connect(M, B, WIRE);
    net.connect(M, 3, WIRE);
    net.run();
    net.lay(A, &bundle, Class::Own);
    net.connect(A, M, WIRE);
    net.pass(3000);
    assert!(net.has(B, &bundle) && !net.has(3, &bundle));
}
