//! Bundles for groups on a local network: once for all, and by link to whoever missed that.

use postrider_engine::node::{CAST_WAIT_MS, LinkId, NetworkId};

use crate::{
    net::{Net, Wire},
    store::{Made, made, made_for_all},
};

const NODES: usize = 15;
/// Bytes of a bulletin.
const LENGTH: usize = 4096;

/// All on one network; each has links to its next two neighbours on a ring, and to one across.
fn network() -> Net {
    let mut net = Net::new(15);
    net.policy.network = Some(NetworkId(3));
    net.commit_ms = 20;
    for at in 0..NODES {
        for step in [1, 4] {
            net.connect(at, (at + step) % NODES, Wire::default());
        }
    }
    net.pass(1000);
    net
}

fn all_have(net: &Net, what: &Made) -> bool {
    (0..NODES).all(|at| net.has(at, what))
}

/// Bytes over all links.
fn linked_bytes(net: &Net) -> u64 {
    net.ways.values().map(|(way, _)| way.bytes).sum()
}

#[test]
fn a_bulletin_for_all_goes_once_and_no_link_says_a_word_about_it() {
    let mut net = network();
    let before = linked_bytes(&net);
    let bulletin = made_for_all(1, LENGTH, 1);
    net.send(0, &bulletin);
    net.pass(60_000);
    assert!(all_have(&net, &bulletin));
    assert_eq!(net.casts, [(0, bulletin.id)]);
    assert_eq!(linked_bytes(&net) - before, 0);
    assert_eq!(net.haves.len(), NODES, "each has said once that it has it");
    assert!(net.haves.iter().all(|bytes| *bytes <= 1 + 8 + 4 * 4), "{:?}", net.haves);
}

#[test]
fn whoever_missed_it_gets_it_by_link_soon_after() {
    for (seed, lost_permille) in (1..=20).zip([50, 200, 500, 1000].into_iter().cycle()) {
        let mut net = network();
        net.chance.0 = seed;
        net.lost_permille = lost_permille;
        let bulletin = made_for_all(1, LENGTH, 1);
        net.send(0, &bulletin);
        net.pass(CAST_WAIT_MS + 4_000);
        assert!(all_have(&net, &bulletin), "seed {seed}, {lost_permille} of 1000 lost");
        assert_eq!(net.casts, [(0, bulletin.id)], "nobody casts what was cast");
        assert!(net.nodes.iter().all(|node| node.store.twice.is_empty()));
    }
}

#[test]
fn what_comes_from_elsewhere_is_cast_by_the_one_who_brought_it() {
    let mut net = network();
    let elsewhere = Net::new(15).policy;
    let here = std::mem::replace(&mut net.policy, elsewhere);
    // The last one leaves the network, and has a wire to one there.
    let links: Vec<LinkId> =
        net.ways.iter().filter(|(_, (way, _))| way.from == 14).map(|w| *w.0).collect();
    links.into_iter().for_each(|link| net.cut(link));
    net.connect(14, 3, Wire::default());
    net.policy = here;
    net.pass(1000);
    let bulletin = made_for_all(14, LENGTH, 1);
    net.send(14, &bulletin);
    net.pass(10_000);
    assert!(all_have(&net, &bulletin));
    assert_eq!(net.casts, [(3, bulletin.id)]);
}

#[test]
fn mail_for_one_and_long_bundles_go_by_link_as_ever() {
    let mut net = network();
    let mail = made(1, 9, 160, 100, 1);
    let long = made_for_all(1, LENGTH + 1, 2);
    net.send(0, &mail);
    net.send(0, &long);
    net.pass(2_000);
    assert!(net.has(8, &mail) && all_have(&net, &long));
    assert!(net.casts.is_empty());
}

#[test]
fn a_newcomer_is_told_by_link_of_what_was_cast_before() {
    let mut net = network();
    for counter in 1..=5 {
        net.send(0, &made_for_all(1, LENGTH, counter));
        net.pass(3_000);
    }
    net.pass(20_000);
    net.restart(7);
    let lost: Vec<_> = net.nodes[7].store.live.values().map(|stored| stored.row.id).collect();
    lost.iter().for_each(|id| net.nodes[7].store.lose(id));
    let casts = net.casts.len();
    net.connect(7, 8, Wire::default());
    net.pass(10_000);
    assert!((1..=5).all(|counter| net.has(7, &made_for_all(1, LENGTH, counter))));
    assert_eq!(net.casts.len(), casts);
}
