//! Links that break, and bundles that come over several.

use postrider_base::bundle::Hop;
use postrider_engine::node::{Class, Event};

use crate::{
    net::{Net, SLOW, Wire},
    pair::admitted,
    store::made,
};

#[test]
fn a_transfer_cut_after_any_unit_goes_on_where_it_was() {
    let chunk = 31_250;
    let length = 150_000;
    for cut_after in 0..12 {
        let mut net = Net::new(2);
        let bundle = made(1, 2, 160, length, 1);
        net.lay(0, &bundle, Class::Own);
        net.connect(0, 1, SLOW);
        net.run_until(|net| net.units(0, 1).len() + net.units(1, 0).len() > cut_after);
        net.cut_all();
        net.run();
        net.connect(0, 1, SLOW);
        net.run();
        assert!(net.has(1, &bundle), "cut after {cut_after}");
        assert_eq!(admitted(&net, 1).len(), 1);
        let sent: u64 = net
            .past
            .iter()
            .chain(net.ways.values().map(|(way, _)| way))
            .map(|way| way.body_bytes)
            .sum();
        assert!(sent <= length as u64 + chunk, "cut after {cut_after}: {sent} bytes");
    }
}

#[test]
fn a_transfer_goes_on_over_another_link_from_another_node() {
    let mut net = Net::new(3);
    let bundle = made(1, 3, 160, 500_000, 1);
    net.lay(0, &bundle, Class::Own);
    net.lay(1, &bundle, Class::Stranger);
    net.connect(0, 2, SLOW);
    net.pass(2000);
    net.cut_all();
    net.connect(1, 2, SLOW);
    net.run();
    assert!(net.has(2, &bundle));
    let resumed = |e: &Event| matches!(e, Event::Resumed { at, .. } if *at > 100_000);
    assert!(net.nodes[2].events.iter().any(resumed), "{:?}", net.nodes[2].events);
    assert!(net.bytes(1, 2) < 400_000);
}

/// Ages ride unsigned. The beginning of a body came from somebody who says that it is nearly over, and
/// it was over when the rest had come from another: then it is fetched again, at its true age. Of
/// whoever brings all of it, it is refused.
#[test]
fn what_is_over_when_its_body_has_come_is_not_carried() {
    for honest in [false, true] {
        let mut net = Net::new(3);
        let bundle = made(1, 9, 160, 500_000, 1);
        let hop = Hop { age_s: bundle.header.lifetime.seconds() - 2, hops: 1, ..Hop::fresh() };
        let now = net.now();
        net.nodes[0].store.put(now, &bundle, hop, Class::Stranger);
        net.connect(0, 2, SLOW);
        net.pass(1000);
        if honest {
            net.cut_all();
            net.lay(1, &bundle, Class::Stranger);
            net.connect(1, 2, SLOW);
        }
        net.pass(20_000);
        assert_eq!(net.has(2, &bundle), honest);
        assert_eq!(net.nodes[2].engine.partials().0, 0);
        let resumed = |e: &Event| matches!(e, Event::Resumed { .. });
        assert_eq!(net.nodes[2].events.iter().any(resumed), honest);
    }
}

#[test]
fn a_hundred_cuts_cost_at_most_two_percent() {
    let mut net = Net::new(2);
    let length = 50 << 20;
    let bundle = made(1, 2, 160, length, 1);
    net.lay(0, &bundle, Class::Own);
    let wire = Wire { rate_bps: 20_000_000, latency_ms: 2, ..Wire::default() };
    for _ in 0..100 {
        net.connect(0, 1, wire);
        let ms = 150 + net.chance.below(60);
        net.pass(ms);
        assert!(!net.has(1, &bundle), "it was over before the last cut");
        net.cut_all();
    }
    net.connect(0, 1, wire);
    net.run();
    assert!(net.has(1, &bundle));
    let ways = net.past.iter().chain(net.ways.values().map(|(way, _)| way));
    let sent: u64 = ways.map(|way| way.body_bytes).sum();
    let again = sent - length as u64;
    println!(
        "100 cuts in 50 MiB at 20 Mbit/s: {again} B again, {}/1000",
        again * 1000 / length as u64
    );
    assert!(again * 100 <= 2 * length as u64);
}

#[test]
fn the_same_bundle_over_two_links_comes_once() {
    let mut net = Net::new(3);
    let bundle = made(1, 3, 160, 300_000, 1);
    net.lay(0, &bundle, Class::Own);
    net.lay(1, &bundle, Class::Stranger);
    net.connect(0, 2, SLOW);
    net.connect(1, 2, SLOW);
    net.run();
    assert!(net.has(2, &bundle));
    assert_eq!(admitted(&net, 2).len(), 1);
    assert!(net.bytes(0, 2) + net.bytes(1, 2) < 310_000, "its body came twice");
    // Both know now that it is there.
    assert_eq!([net.nodes[0].carried.len(), net.nodes[1].carried.len()], [1, 1]);
}

#[test]
fn a_link_that_stalls_is_overtaken_by_another() {
    let mut net = Net::new(3);
    let bundle = made(1, 3, 160, 300_000, 1);
    net.lay(0, &bundle, Class::Own);
    net.lay(1, &bundle, Class::Stranger);
    let (link, _) = net.connect(0, 2, SLOW);
    net.pass(1000);
    net.connect(1, 2, SLOW);
    net.pass(100);
    net.mute(link);
    net.pass(9000);
    assert!(!net.has(2, &bundle), "nobody waits so short");
    net.pass(6000);
    assert!(net.has(2, &bundle));
    assert_eq!(admitted(&net, 2).len(), 1);
    assert!(net.bytes(1, 2) < 250_000, "what had come was asked for again");
}

#[test]
fn a_staged_body_that_is_lost_is_asked_for_again() {
    let mut net = Net::new(2);
    let bundle = made(1, 2, 160, 300_000, 1);
    net.lay(0, &bundle, Class::Own);
    net.connect(0, 1, SLOW);
    net.pass(1500);
    net.lose_staged(1);
    net.pass(80_000);
    assert!(net.has(1, &bundle));
}

#[test]
fn cut_bodies_are_kept_within_bounds_oldest_dropped() {
    let mut net = Net::new(2);
    for counter in 1..=80 {
        net.lay(0, &made(1, 2, 160, 100_000, counter), Class::Own);
    }
    net.connect(0, 1, SLOW);
    // All wanted ones begin; their bodies follow one after the other, so cut many times.
    for _ in 0..80 {
        net.pass(300);
        net.cut_all();
        let at = net.nodes[0].store.live.keys().next().copied();
        // The one that had begun is gone at its sender: it stays a partial.
        let begun = at.map(|at| net.nodes[0].store.live[&at].row.id);
        begun.into_iter().for_each(|id| net.nodes[0].store.retire(&id));
        net.connect(0, 1, SLOW);
    }
    net.cut_all();
    let (count, bytes) = net.nodes[1].engine.partials();
    assert!(count <= 64 && count > 32, "{count} partials of {bytes} bytes");
    assert_eq!(net.nodes[1].store.staged.len(), count);
}
