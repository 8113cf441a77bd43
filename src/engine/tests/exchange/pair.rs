//! Two nodes and what they owe each other.

use postrider_engine::node::{Class, Custody, Event};

use crate::{
    net::{Net, Wire},
    store::made,
};

#[test]
fn both_directions_exchange_at_once() {
    let mut net = Net::new(2);
    let (there, back) = (made(1, 2, 160, 300_000, 1), made(2, 1, 160, 300_000, 1));
    net.lay(0, &there, Class::Own);
    net.lay(1, &back, Class::Own);
    net.connect(0, 1, Wire { rate_bps: 2_000_000, ..Wire::default() });
    net.run();
    assert!(net.has(1, &there) && net.has(0, &back));
    // 300 kB take 1.2 s in one direction; one after the other would take twice that.
    assert!(net.now_ms < 1000 + 1600, "{} ms", net.now_ms - 1000);
    for at in [0, 1] {
        assert_eq!(net.nodes[at].carried.len(), 1);
        assert_eq!(net.nodes[at].store.admitted.len(), 1);
        let delivered = |e: &Event| matches!(e, Event::Received { custody: Custody::Deliver, .. });
        assert_eq!(net.nodes[at].events.iter().filter(|e| delivered(e)).count(), 1);
    }
}
