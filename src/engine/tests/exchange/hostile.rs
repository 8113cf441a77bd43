//! A peer that sends anything: the link may end, nothing else happens.

use bytes::Bytes;
use postrider_base::bundle::Hop;
use postrider_engine::{
    exchange::{Begin, Offered, PARTIALS_MAX, Unit},
    node::{Class, Input, ShortId},
};
use proptest::prelude::*;

use crate::{
    net::{Net, Wire},
    store::made,
};

/// Replays what an honest node sends over a link, with one byte changed, while another link works.
fn spoil(unit: usize, at: usize, bit: u8) {
    let mut net = Net::new(3);
    for counter in 1..=3 {
        net.lay(0, &made(1, 2, 160, 100, counter), Class::Own);
        net.lay(2, &made(3, 2, 160, 20_000, counter), Class::Own);
    }
    net.lay(0, &made(1, 2, 200, 60_000, 9), Class::Own);
    net.lay(1, &made(2, 1, 160, 100, 1), Class::Own);
    net.spoil = Some((0, 1, unit, at, bit));
    net.connect(0, 1, Wire::default());
    net.connect(2, 1, Wire::default());
    net.pass(200_000);
    for counter in 1..=3 {
        assert!(net.has(1, &made(3, 2, 160, 20_000, counter)), "another link was disturbed");
    }
    // What was kept is what its author wrote.
    for stored in net.nodes[1].store.live.values() {
        let head = postrider_base::Head::decode(&stored.head).unwrap();
        assert_eq!(head.id(&stored.body), stored.row.id);
        if let Some(hash) = head.header().hash {
            assert_eq!(blake3::hash(&stored.body), blake3::Hash::from(hash));
        }
    }
    assert_eq!(net.nodes[1].store.staged.len(), net.nodes[1].engine.partials().0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn one_changed_bit_in_any_unit_harms_nobody_else(unit in 0_usize..16, at: usize, bit in 0_u8..8) {
        spoil(unit, at, bit);
    }

    #[test]
    fn any_units_in_any_order_never_panic(
        units in proptest::collection::vec((0_u8..14, 0_u32..6, 0_u64..300), 1..40)
    ) {
        let mut net = Net::new(2);
        net.lay(1, &made(2, 1, 160, 100, 1), Class::Own);
        net.lay(1, &made(2, 1, 160, 9000, 2), Class::Own);
        let (_, link) = net.connect(0, 1, Wire::default());
        net.run();
        for (kind, a, b) in units {
            let bundle = made(1, 2, 160, if b % 2 == 0 { 80 } else { 5000 }, b);
            let unit = crate::pair::any_unit(kind, a, b, &bundle);
            net.inject(1, link, &unit);
            net.run();
        }
        prop_assert_eq!(net.nodes[1].store.staged.len() >= net.nodes[1].engine.partials().0, true);
    }
}

#[test]
fn a_peer_that_does_not_read_is_let_go() {
    let mut net = Net::new(2);
    let (_, link) = net.connect(0, 1, Wire::default());
    net.run();
    net.mute(link);
    let (head, _) = Unit::Ping(u64::MAX).encode();
    for _ in 0..400_000 {
        net.feed(1, Input::Unit { link, unit: Bytes::clone(&head) });
        if !net.nodes[1].ended.is_empty() {
            break;
        }
    }
    assert_eq!(net.nodes[1].ended, [postrider_engine::node::Ending::Stuck]);
}

/// Each body that is begun and withdrawn stays for whoever else has it. A peer that does nothing
/// else filled the disk with such beginnings as long as its link lived.
#[test]
fn bodies_that_are_begun_and_withdrawn_are_bounded_while_their_link_lives() {
    let mut net = Net::new(2);
    let (_, link) = net.connect(0, 1, Wire::default());
    net.run();
    net.mute(link);
    for handle in 0..2 * PARTIALS_MAX as u32 {
        let bundle = made(1, 2, 160, 5000, u64::from(handle) + 1);
        let offered = Offered { id: ShortId::of(&bundle.id), nice: 160, length: 5000 };
        let (head, bytes) = (bundle.head.clone(), bundle.body.slice(..1000));
        let begin = Begin { handle, hop: Hop::fresh(), head, payload: Bytes::new() };
        for unit in [
            Unit::Offer(vec![offered]),
            Unit::Begin(begin),
            Unit::Data { handle, bytes },
            Unit::Withdraw(vec![handle]),
        ] {
            net.inject(1, link, &unit);
            net.run();
        }
    }
    assert!(net.nodes[1].ended.is_empty(), "{:?}", net.nodes[1].ended);
    let (cut, _) = net.nodes[1].engine.partials();
    assert_eq!((cut, net.nodes[1].store.staged.len()), (PARTIALS_MAX, PARTIALS_MAX));
}
