//! What comes in a first message may have been recorded: it is answered, and no more.

use postrider_engine::{
    exchange::{Hello, Offered, Unit},
    node::{Class, Ending, Input, Instance, LinkId, LinkPolicy, Seen, ShortId, Violation},
};

use crate::{
    net::{Net, Wire},
    store::{made, node},
};

/// A net whose second node has a link to the first, over which nothing has come.
fn fresh() -> (Net, LinkId) {
    let mut net = Net::new(2);
    let bundle = made(2, 1, 160, 100, 1);
    net.lay(1, &bundle, Class::Own);
    let (_, link) = net.connect(0, 1, Wire { dialled: true, ..Wire::default() });
    net.mute(link);
    let facts = postrider_base::link::LinkFacts {
        peer: Some(node(1)),
        ..postrider_base::link::LinkFacts::stream("pipe:".parse().unwrap())
    };
    let (policy, random) = (LinkPolicy::default(), [0; 16]);
    let (room_bytes, mine, theirs) = (1 << 20, None, None);
    net.feed(1, Input::LinkUp { link, facts, policy, room_bytes, mine, theirs, random });
    (net, link)
}

fn early(net: &mut Net, link: LinkId, unit: &Unit) {
    let (head, body) = unit.encode();
    net.feed(1, Input::Early { link, unit: [head, body].concat().into() });
}

fn hello(seen: Option<Seen>) -> Unit {
    let instance = Instance([9; 4]);
    Unit::Hello(Hello { features: 0, instance, seen, chunk_log2: 18, nice_max: 0 })
}

/// A cursor at the beginning.
fn seen_nothing(net: &Net) -> Option<Seen> {
    Some(Seen { instance: net.nodes[1].store.instance, ..Seen::default() })
}

fn names(net: &Net) -> Vec<&'static str> {
    net.units(1, 0).iter().map(|(_, name, _)| *name).collect()
}

#[test]
fn an_early_flight_is_answered_and_nothing_is_marked_before_its_sender_is_proven() {
    let (mut net, link) = fresh();
    let seen = seen_nothing(&net);
    early(&mut net, link, &hello(seen));
    let offered = Offered { id: ShortId([7; 16]), nice: 160, length: 100 };
    early(&mut net, link, &Unit::Offer(vec![offered]));
    net.run();
    let mut told = names(&net);
    told.sort_unstable();
    assert_eq!(told, ["Hello", "Offer", "Want"]);
    assert!(net.nodes[1].store.cursors.is_empty());
    net.inject(1, link, &Unit::Pong(0));
    net.run();
    assert_eq!(names(&net)[3..], ["Mark"]);
}

/// Without a cursor all rows are read: too much for somebody who may not be there.
#[test]
fn a_recorded_hello_reconciles_nothing() {
    let (mut net, link) = fresh();
    early(&mut net, link, &hello(None));
    net.run();
    assert_eq!(names(&net), ["Hello"]);
    net.inject(1, link, &Unit::Pong(0));
    net.run();
    assert_eq!(names(&net), ["Hello", "Offer", "Mark"]);
}

#[test]
fn only_a_hello_and_offers_come_early() {
    let seen = Unit::Mark { bundles: 1, receipts: 0 };
    for unit in [seen, Unit::Want(vec![(0, 0)]), Unit::Pong(0), Unit::Stop(vec![0])] {
        let (mut net, link) = fresh();
        early(&mut net, link, &hello(None));
        net.run();
        early(&mut net, link, &unit);
        assert_eq!(net.nodes[1].ended, [Ending::Protocol(Violation::Order)], "{unit:?}");
    }
}

#[test]
fn a_flush_is_told_behind_all_that_follows_from_what_came() {
    let (mut net, link) = fresh();
    net.answer_ms = 1000;
    let seen = seen_nothing(&net);
    early(&mut net, link, &hello(seen));
    let offered = Offered { id: ShortId([7; 16]), nice: 160, length: 100 };
    early(&mut net, link, &Unit::Offer(vec![offered]));
    net.feed(1, Input::Flush { link });
    assert!(net.nodes[1].flushed.is_empty(), "the spool has not answered");
    assert!(net.run_until(|net| !net.nodes[1].flushed.is_empty()));
    let mut told = names(&net);
    told.sort_unstable();
    assert_eq!(told, ["Hello", "Offer", "Want"]);
    net.run();
    assert_eq!(net.nodes[1].flushed, [link]);
}

#[test]
fn a_flush_waits_for_no_commit() {
    let (mut net, link) = fresh();
    net.commit_ms = 60_000;
    net.inject(1, link, &hello(None));
    let bundle = made(1, 2, 160, 100, 5);
    let offered = Offered { id: ShortId::of(&bundle.id), nice: 160, length: 100 };
    net.inject(1, link, &Unit::Offer(vec![offered]));
    net.pass(100);
    net.inject(1, link, &crate::pair::any_unit(3, 0, 0, &bundle));
    net.feed(1, Input::Flush { link });
    assert_eq!(net.nodes[1].flushed, [link]);
}
