//! Flooding over several nodes: everywhere once.

use postrider_engine::node::Class;

use crate::{
    net::{Net, Wire},
    pair::admitted,
    store::made,
};

#[test]
fn a_relay_passes_on_what_two_never_exchange_directly() {
    let mut net = Net::new(3);
    let bundles = [made(1, 3, 160, 100, 1), made(1, 3, 160, 50_000, 2)];
    bundles.iter().for_each(|bundle| net.lay(0, bundle, Class::Own));
    net.connect(0, 1, Wire::default());
    net.run();
    net.cut_all();
    net.connect(1, 2, Wire::default());
    net.run();
    assert!(bundles.iter().all(|bundle| net.has(2, bundle)));
    assert_eq!([admitted(&net, 1).len(), admitted(&net, 2).len()], [2, 2]);
}

#[test]
fn a_ring_is_flooded_once_each() {
    let mut net = Net::new(6);
    for at in 0..6 {
        net.connect(at, (at + 1) % 6, Wire::default());
    }
    net.run();
    let bundles: Vec<_> =
        (1..=20_u64).map(|n| made(1, 4, 160, if n % 5 == 0 { 40_000 } else { 200 }, n)).collect();
    for bundle in &bundles {
        net.send(0, bundle);
        net.pass(7);
    }
    net.run();
    for at in 1..6 {
        assert!(bundles.iter().all(|bundle| net.has(at, bundle)), "node {at}");
        assert_eq!(admitted(&net, at).len(), bundles.len(), "node {at}");
    }
    assert!(net.nodes[0].store.admitted.is_empty());
}

#[test]
fn flooding_ends_after_sixteen_nodes() {
    let mut net = Net::new(2);
    let bundle = made(1, 3, 160, 100, 1);
    let now = net.now();
    let hop = |hops| postrider_base::bundle::Hop { tokens: 1, hops, age_s: 0, level: 0 };
    net.nodes[0].store.put(now, &bundle, hop(16), Class::Stranger);
    let near = made(1, 3, 160, 100, 2);
    net.nodes[0].store.put(now, &near, hop(15), Class::Stranger);
    net.connect(0, 1, Wire::default());
    net.run();
    assert!(net.has(1, &near) && !net.has(1, &bundle));
}
