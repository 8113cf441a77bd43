//! Meeting on one segment, in virtual time: how fast, how many sessions, who is reached.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod net;

use std::{collections::BTreeSet, net::Ipv6Addr};

use net::{LAN, Net, Spec, address, secret};
use postrider_engine::meeting::{
    Role,
    beacon::{Beacon, ContactKey, Head},
    limits::{BEACON_EVERY_MS, DIALS_BURST, DIALS_KEPT, DIALS_PER_S, SESSIONS_MAX},
};

fn strangers(nodes: usize) -> Vec<Spec> {
    vec![Spec { carrier: true, ..Spec::default() }; nodes]
}

/// Private nodes that all know each other.
fn friends(nodes: usize) -> Vec<Spec> {
    let knows = |n| (0..nodes).filter(|m| *m != n).collect();
    (0..nodes).map(|n| Spec { knows: knows(n), ..Spec::default() }).collect()
}

fn all(nodes: usize) -> BTreeSet<usize> {
    (0..nodes).collect()
}

fn all_up(specs: Vec<Spec>) -> Net {
    let mut net = Net::new(specs);
    (0..net.nodes.len()).for_each(|n| net.up(n));
    net
}

fn assert_capped(net: &Net) {
    let most = net.nodes.iter().map(|node| node.most_sessions).max().unwrap();
    assert!(most <= SESSIONS_MAX, "{most} sessions");
}

#[test]
fn two_fresh_contacts_are_linked_by_one_link_at_once() {
    let mut net = all_up(friends(2));
    let took = net.until(10_000, |net| net.linked(0, 1)).unwrap();
    assert!(took <= 300, "{took} ms");
    net.run(60_000);
    assert_eq!(net.history.len(), 1, "one end dials");
}

#[test]
fn a_newcomer_is_answered_and_linked_long_before_the_next_beacon() {
    for (first, second) in [(0, 1), (1, 0)] {
        let mut net = Net::new(friends(2));
        net.up(first);
        net.run(300_000);
        net.up(second);
        let took = net.until(10_000, |net| net.linked(0, 1)).unwrap();
        assert!(took <= 300, "{took} ms");
    }
}

#[test]
fn lost_beacons_cost_little() {
    let mut slowest = 0;
    for chance in 0..20 {
        let mut net = Net::new(friends(2));
        net.loses = Some(2);
        net.chance = chance;
        net.up(0);
        net.up(1);
        slowest = slowest.max(net.until(20_000, |net| net.linked(0, 1)).unwrap());
    }
    assert!(slowest <= 8_000, "{slowest} ms");
}

#[test]
fn strangers_meet_as_guests_only_where_both_do() {
    for (one, other) in [(false, false), (false, true), (true, false)] {
        let specs = [one, other].map(|carrier| Spec { carrier, ..Spec::default() });
        let mut net = all_up(specs.into());
        net.run(120_000);
        assert!(net.history.is_empty(), "{one} {other}");
        assert!(net.nodes.iter().all(|node| node.dials.is_empty()));
    }
    let mut net = all_up(strangers(2));
    assert!(net.until(300, |net| net.linked(0, 1)).is_some());
    assert!(net.nodes.iter().flat_map(|node| &node.dials).all(|dial| dial.2 == Role::Guest));
}

#[test]
fn members_of_a_group_meet_as_themselves() {
    let member = |group| Spec { groups: vec![[9; 32], [group; 32]], ..Spec::default() };
    let mut net = all_up([1, 1].map(member).into());
    assert!(net.until(300, |net| net.linked(0, 1)).is_some());
    assert!(net.nodes.iter().flat_map(|node| &node.dials).all(|dial| dial.2 == Role::Known));
}

#[test]
fn the_blocked_are_not_dialled_even_in_a_group() {
    let member = || Spec { groups: vec![[1; 32]], carrier: true, ..Spec::default() };
    let mut net = all_up(vec![Spec { blocks: vec![1], ..member() }, member()]);
    net.run(60_000);
    assert!(net.nodes[0].dials.is_empty());
    assert!(net.history.is_empty());
}

#[test]
fn who_knows_the_other_dials_though_the_other_does_not() {
    for knows in 0..2 {
        let mut specs = strangers(2);
        specs[knows].carrier = false;
        specs[knows].knows = vec![1 - knows];
        let mut net = all_up(specs);
        let took = net.until(10_000, |net| net.linked(0, 1)).unwrap();
        assert!(took <= 2_500, "{took} ms");
    }
}

#[test]
fn mail_turns_a_meeting_of_guests_into_one_of_contacts() {
    for knows in 0..2 {
        let mut specs = strangers(2);
        specs[knows].knows = vec![1 - knows];
        let mut net = all_up(specs);
        net.run(5_000);
        net.want(knows, &[1 - knows]);
        net.run(5_000);
        assert!(net.linked(0, 1));
        let last = net.nodes[knows].dials.last().unwrap();
        assert_eq!(last.2, Role::Known);
        assert_eq!(net.links.len(), 1);
    }
}

#[test]
fn forty_nodes_reach_each_other_with_few_sessions() {
    for specs in [strangers(40), friends(40)] {
        let mut net = all_up(specs);
        let took = net.until(5_000, |net| net.connected(&all(40))).unwrap();
        assert!(took <= 3_000, "{took} ms");
        net.run(30_000);
        assert!(net.connected(&all(40)));
        assert_capped(&net);
        let sessions = 2 * net.links.len();
        assert!(sessions <= 40 * SESSIONS_MAX);
    }
}

#[test]
fn two_hundred_nodes_reach_each_other() {
    let mut net = all_up(strangers(200));
    net.run(5_000);
    assert!(net.connected(&all(200)));
    assert_capped(&net);
}

#[test]
fn mail_gets_a_link_of_its_own_among_forty() {
    let mut net = all_up(friends(40));
    net.run(10_000);
    for n in 0..10 {
        net.want(n, &[n + 20]);
        assert!(net.until(1_000, |net| net.linked(n, n + 20)).is_some(), "node {n}");
    }
    assert!(net.connected(&all(40)));
    assert_capped(&net);
}

#[test]
fn a_node_that_everybody_wants_keeps_its_cap_and_serves_them_in_turn() {
    let mut net = all_up(friends(40));
    net.run(10_000);
    (1..40).for_each(|n| net.want(n, &[0]));
    net.run(300_000);
    assert_capped(&net);
    assert!(net.connected(&all(40)));
    let served: BTreeSet<usize> =
        net.history.iter().filter(|(_, _, to)| *to == 0).map(|(_, from, _)| *from).collect();
    assert!(served.len() >= 20, "only {} were served", served.len());
}

/// Whoever comes and goes, and whoever knows whom: all carriers that are there reach each other.
#[test]
fn whoever_is_there_is_reached_whoever_knows_whom() {
    for seed in 0..8_u64 {
        let mut draw = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = move |bound: usize| {
            draw ^= draw << 13;
            draw ^= draw >> 7;
            draw ^= draw << 17;
            usize::try_from(draw % bound as u64).unwrap()
        };
        let nodes = 2 + below(60);
        let mut specs = strangers(nodes);
        for (n, spec) in specs.iter_mut().enumerate() {
            spec.knows = (0..nodes).filter(|m| *m != n && below(3) == 0).collect();
        }
        let mut net = Net::new(specs);
        net.loses = (seed % 2 == 0).then_some(10);
        let mut here = BTreeSet::new();
        for _ in 0..4 {
            for _ in 0..1 + below(nodes) {
                let n = below(nodes);
                if here.insert(n) {
                    net.up(n);
                } else if here.len() > 1 && below(3) == 0 {
                    here.remove(&n);
                    net.leave(n);
                }
                net.run(below(500) as u64);
            }
            net.run(70_000);
            assert!(net.connected(&here), "seed {seed}: {} nodes are split", here.len());
        }
        assert_capped(&net);
    }
}

#[test]
fn a_pulled_cable_is_forgotten_within_a_second_of_its_return() {
    for who in 0..2 {
        let mut net = all_up(friends(2));
        net.run(20_000);
        for away_ms in [1_000, 20_000, 600_000] {
            net.down(who);
            net.run(away_ms);
            net.up(who);
            let took = net.until(10_000, |net| net.linked(0, 1)).unwrap();
            assert!(took <= 1_000, "away {away_ms}: {took} ms");
            net.run(20_000);
        }
    }
}

/// Once a neighbour that came up twice within the time in which its beacons call it fresh was not
/// seen to have lost its link, and every second return took two seconds.
#[test]
fn a_cable_that_is_pulled_soon_after_its_return_is_forgotten_as_fast() {
    for who in 0..2 {
        let mut net = all_up(friends(2));
        net.run(1_000);
        for pull in 0..20 {
            net.down(who);
            net.run(100 + 40 * pull);
            net.up(who);
            let took = net.until(10_000, |net| net.linked(0, 1)).unwrap();
            assert!(took <= 1_000, "pull {pull}: {took} ms");
            net.run(600 + 100 * pull);
        }
    }
}

#[test]
fn a_restart_is_noticed_by_the_other_end() {
    for who in 0..2 {
        let mut net = all_up(friends(2));
        net.run(20_000);
        net.restart(who);
        net.run(2_000);
        assert!(!net.linked(0, 1));
        net.up(who);
        let took = net.until(10_000, |net| net.linked(0, 1)).unwrap();
        assert!(took <= 2_500, "{took} ms");
    }
}

#[test]
fn a_dial_that_fails_is_tried_again_within_thirty_seconds_as_long_as_beacons_come() {
    let mut net = all_up(friends(2));
    net.run(5_000);
    net.restart(1);
    // Beacons of 1 come, but nobody is there.
    let beacon = net.nodes[1].beacons.last().unwrap().1.clone();
    let start = net.now_ms;
    net.leave(0);
    net.up(0);
    for _ in 0..40 {
        net.forge(0, address(1), &beacon);
        net.run(10_000);
    }
    let dials: Vec<u64> =
        net.nodes[0].dials.iter().map(|dial| dial.0).filter(|at| *at > start).collect();
    let gaps: Vec<u64> = dials.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[0] <= 3_000 + 1_000 + 2_100 + 10, "{gaps:?}");
    assert!(gaps.iter().all(|gap| *gap <= 30_000 + 3_000 + 10), "{gaps:?}");
    assert!((10..40).contains(&dials.len()), "{gaps:?}");
    // Silence ends it.
    net.run(60_000);
    let dials = net.nodes[0].dials.len();
    net.run(600_000);
    assert_eq!(net.nodes[0].dials.len(), dials);
}

#[test]
fn a_flood_of_false_beacons_is_dialled_slowly_and_hides_nobody() {
    let mut specs = friends(3);
    specs[0].carrier = true;
    let mut net = Net::new(specs);
    net.up(0);
    net.up(1);
    net.run(3_000);
    let key = ContactKey::of(&secret(999).first_seal_key().public());
    let dials_before = net.nodes[0].dials.len();
    for n in 0..3_000_usize {
        let from = Ipv6Addr::from((0xfe80_u128 << 112) | (0xbad << 64) | n as u128);
        let guest = secret(10_000 + n).id();
        let nonce = (n as u64).to_be_bytes();
        let head = Head { carrier: true, fresh: true, nonce, port: 9, guest };
        let beacon = Beacon::new(head, from, &guest, &key, &[], &[3; 128]);
        net.forge(0, from, beacon.as_bytes());
        net.run(10);
    }
    let dials = net.nodes[0].dials.len() - dials_before;
    let most = DIALS_BURST - DIALS_KEPT + DIALS_PER_S * 30;
    assert!(dials <= usize::try_from(most).unwrap(), "{dials} dials in 30 s");
    assert!(net.linked(0, 1), "who was here stays");
    net.up(2);
    let took = net.until(20_000, |net| net.linked(0, 2)).unwrap();
    assert!(took <= 1_000, "a contact is linked in {took} ms");
    let answers = net.nodes[0].beacons.iter().filter(|(at, _)| *at > 4_000).count();
    assert!(answers <= 5 * 31 + 5, "{answers} answers");
}

#[test]
fn an_idle_node_sends_a_beacon_in_a_quarter_of_a_minute() {
    let mut net = all_up(friends(1));
    net.run(3_600_000);
    let times: Vec<u64> = net.nodes[0].beacons.iter().map(|(at, _)| *at).collect();
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap <= BEACON_EVERY_MS), "{gaps:?}");
    assert!(times.len() <= 400, "{} beacons in an hour", times.len());
}

/// What somebody who follows a node by its beacons has: nothing that outlives a nonce.
#[test]
fn nothing_of_a_beacon_outlives_its_nonce() {
    let mut net = all_up(friends(1));
    net.run(2 * 3_600_000);
    let mut by_nonce: Vec<&[u8]> = Vec::new();
    let beacons = net.nodes[0].beacons.iter().filter(|(at, _)| *at > 10_000);
    for (_, beacon) in beacons {
        if by_nonce.last().is_none_or(|last| last[2..10] != beacon[2..10]) {
            by_nonce.push(beacon);
        }
    }
    assert!(by_nonce.len() >= 8, "rotates every 15 minutes");
    for (n, a) in by_nonce.iter().enumerate() {
        for b in &by_nonce[n + 1..] {
            // Version, flags and port are those of everybody.
            let runs = (12..a.len() - 3).filter(|i| a[*i..i + 3] == b[*i..i + 3]);
            assert_eq!(runs.count(), 0);
        }
    }
}

#[test]
fn a_link_outlives_new_names() {
    let mut net = all_up(strangers(2));
    net.run(2 * 3_600_000);
    assert!(net.linked(0, 1));
    assert_eq!(net.history.len(), 1, "nobody dials again because of a new name");
    assert_eq!(net.nodes[0].meeting.heard_on(LAN).count(), 1);
}
