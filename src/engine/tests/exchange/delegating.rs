//! A copy without tokens goes up the gradient of meetings, also when a neighbour's cursor has passed it;
//! and tokens that a radio or a full node holds back go when something better comes.

use postrider_base::bundle::Hop;
use postrider_engine::node::{Class, Input};

use crate::{
    net::{Net, Wire},
    pair::admitted,
    store::made,
};

const HOUR_MS: u64 = 3_600_000;

/// Two meet, and part.
fn meet(net: &mut Net, a: usize, b: usize) {
    net.connect(a, b, Wire::default());
    net.run();
    net.cut_all();
    net.run();
    net.now_ms += HOUR_MS;
}

fn level(net: &Net, at: usize, made: &crate::store::Made) -> u8 {
    net.nodes[at].store.get(&made.id).unwrap().row.hop.level
}

#[test]
fn what_a_cursor_has_passed_goes_when_the_neighbour_is_nearer() {
    let mut net = Net::delegating(4);
    let bundle = made(1, 4, 160, 100, 1);
    let now = net.now();
    net.nodes[0].store.put(now, &bundle, Hop { tokens: 1, ..Hop::fresh() }, Class::Own);
    // The second knows nobody: it waits, and the cursor passes it.
    meet(&mut net, 0, 1);
    assert!(!net.has(1, &bundle));
    meet(&mut net, 1, 3);
    meet(&mut net, 0, 1);
    assert!(net.has(1, &bundle), "it has met the recipient");
    let hop = net.nodes[1].store.get(&bundle.id).unwrap().row.hop;
    assert_eq!((hop.tokens, hop.level), (0, level(&net, 0, &bundle)));
    assert!(hop.level > 0);
    // The third is as near as the second: no copy more.
    meet(&mut net, 2, 3);
    meet(&mut net, 0, 2);
    assert!(!net.has(2, &bundle));
    meet(&mut net, 2, 3);
    meet(&mut net, 2, 3);
    meet(&mut net, 0, 2);
    assert!(net.has(2, &bundle), "now it is nearer");
    meet(&mut net, 1, 3);
    assert_eq!(admitted(&net, 3).len(), 1);
}

#[test]
fn a_neighbour_is_asked_for_what_it_is_nearer_to_and_for_nothing_else() {
    let mut net = Net::delegating(4);
    let now = net.now();
    let waits: Vec<_> = (0..3000).map(|n| made(1, 3, 160, 100, n)).collect();
    let goes: Vec<_> = (0..2500).map(|n| made(1, 4, 160, 100, 5000 + n)).collect();
    for bundle in waits.iter().chain(&goes) {
        let hop = Hop { tokens: 1, ..Hop::fresh() };
        net.nodes[0].store.put(now, bundle, hop, Class::Stranger);
    }
    meet(&mut net, 0, 1);
    meet(&mut net, 1, 3);
    net.nodes[0].store.rows_read = 0;
    meet(&mut net, 0, 1);
    assert!(goes.iter().all(|bundle| net.has(1, bundle)));
    assert!(!waits.iter().any(|bundle| net.has(1, bundle)));
    let read = net.nodes[0].store.rows_read;
    assert!((2500..2600).contains(&read), "{read}");
    net.nodes[0].store.rows_read = 0;
    let bytes: u64 = net.past.iter().map(|way| way.bytes).sum();
    meet(&mut net, 0, 1);
    let again: u64 = net.past.iter().map(|way| way.bytes).sum::<u64>() - bytes;
    assert!(again < 400, "what it was offered is not offered again: {again}");
}

#[test]
fn meetings_are_remembered_and_told_once() {
    let mut net = Net::delegating(3);
    meet(&mut net, 0, 1);
    assert_eq!(net.nodes[0].met.len(), 1);
    assert!(net.units(0, 1).iter().all(|(_, name, _)| *name != "Meets"), "nobody else is known");
    meet(&mut net, 0, 2);
    net.connect(0, 1, Wire::default());
    net.run();
    assert_eq!(net.nodes[0].met.len(), 3, "an hour later it is another meeting");
    // The first tells the second of the third.
    let told = |net: &Net| {
        let all = net.units(0, 1).into_iter().filter(|(_, name, _)| *name == "Meets");
        all.map(|(.., bytes)| bytes).collect::<Vec<_>>()
    };
    assert_eq!(told(&net), [11]);
    // While that does not change it is not said again.
    net.pass(HOUR_MS / 2 + 1);
    net.run();
    assert_eq!(told(&net).len(), 1);
}

#[test]
fn what_a_radio_holds_back_goes_over_a_better_link_to_the_same_neighbour() {
    let mut net = Net::delegating(4);
    let bundle = made(1, 4, 160, 100, 1);
    let radio = Wire { rate_bps: 9600, told: true, ..Wire::default() };
    let tokens = |net: &Net, at: usize| {
        net.nodes[at].store.get(&bundle.id).map(|stored| stored.row.hop.tokens)
    };
    net.send(0, &bundle);
    for (other, wire, there, left) in [
        (1, radio, Some(1), 7),
        (2, radio, None, 7),
        (2, Wire::default(), Some(2), 5),
        (1, Wire::default(), Some(1), 5),
    ] {
        net.connect(0, other, wire);
        net.run();
        net.cut_all();
        net.run();
        assert_eq!((tokens(&net, other), tokens(&net, 0)), (there, Some(left)), "{other}");
    }
}

#[test]
fn what_a_full_node_holds_back_goes_when_there_is_room_again() {
    let mut net = Net::delegating(6);
    let bundle = made(1, 6, 160, 100, 1);
    net.feed(0, Input::Pressure(true));
    net.send(0, &bundle);
    (1..5).for_each(|other| meet(&mut net, 0, other));
    let has = |net: &Net| (1..5).map(|at| net.has(at, &bundle)).collect::<Vec<_>>();
    assert_eq!(has(&net), [true, true, true, false]);
    // One whose link is up, and one that is met later.
    net.connect(0, 4, Wire::default());
    net.run();
    assert!(!net.has(4, &bundle));
    net.feed(0, Input::Pressure(false));
    net.run();
    assert_eq!(has(&net), [true; 4]);
    assert_eq!(net.nodes[0].store.get(&bundle.id).unwrap().row.hop.tokens, 3);
}

fn begun(net: &Net, to: usize) -> usize {
    net.units(0, to).iter().filter(|(_, name, _)| *name == "Begin").count()
}

#[test]
fn what_is_sprayed_again_goes_to_whoever_lacks_it_and_tokens_to_nobody_else() {
    let mut net = Net::delegating(4);
    let bundle = made(1, 4, 160, 100, 1);
    let tokens = |net: &Net, at: usize| {
        net.nodes[at].store.get(&bundle.id).map(|stored| stored.row.hop.tokens)
    };
    net.send(0, &bundle);
    meet(&mut net, 0, 1);
    assert_eq!((tokens(&net, 0), tokens(&net, 1)), (Some(6), Some(2)));
    // One that has it is linked, one that has seen it when there were none to spare comes back.
    net.nodes[0].store.change(&bundle.id, Hop { tokens: 1, ..Hop::fresh() });
    meet(&mut net, 0, 2);
    net.connect(0, 1, Wire::default());
    net.run();
    let offers = |net: &Net| net.units(0, 1).iter().filter(|(_, n, _)| *n == "Offer").count();
    let before = offers(&net);
    net.nodes[0].store.renew(&bundle.id, 8);
    net.feed(0, Input::Arrived { id: bundle.id });
    net.run();
    assert_eq!((offers(&net), begun(&net, 1)), (before + 1, 1), "it is offered, and known");
    assert_eq!((tokens(&net, 0), tokens(&net, 1)), (Some(8), Some(2)));
    // Told again, it is no news.
    net.feed(0, Input::Arrived { id: bundle.id });
    net.run();
    assert_eq!(offers(&net), before + 1);
    meet(&mut net, 0, 2);
    assert_eq!((tokens(&net, 0), tokens(&net, 2)), (Some(6), Some(2)));
}

/// What is small and for the neighbour goes without being asked for, if it came while the link was up.
#[test]
fn what_is_sprayed_again_is_not_given_to_whom_it_is_for() {
    let mut net = Net::delegating(2);
    let bundle = made(1, 2, 160, 100, 1);
    net.send(0, &bundle);
    let (_, back) = net.connect(0, 1, Wire::default());
    net.hold_back(back, "Receipt");
    net.run();
    assert_eq!((admitted(&net, 1).len(), begun(&net, 1)), (1, 1));
    net.cut_all();
    net.now_ms += HOUR_MS;
    let (_, back) = net.connect(0, 1, Wire::default());
    net.hold_back(back, "Receipt");
    net.run();
    net.nodes[0].store.renew(&bundle.id, 8);
    net.feed(0, Input::Arrived { id: bundle.id });
    net.run();
    assert_eq!((admitted(&net, 1).len(), begun(&net, 1)), (1, 1));
}
