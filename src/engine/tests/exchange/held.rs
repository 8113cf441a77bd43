//! What a sender knows to be with a neighbour when a body is cut, and the beginning that is handed out
//! to whoever has the rest.

use postrider_engine::{
    exchange::{HAVE_EVERY_BYTES, HELD_FROM_BYTES},
    node::{Beginning, Class, Input, TransferId},
};

use crate::{
    net::{Net, SLOW, Wire},
    store::{Made, made, node},
};

const FAST: Wire = Wire { rate_bps: 20_000_000, latency_ms: 2, ..SLOW };

/// What node 0 was told last of what node 1 has of a bundle.
fn told(net: &Net, bundle: &Made) -> Option<u64> {
    let of = |(id, to, _): &&(_, _, u64)| *id == bundle.id && *to == node(2);
    net.nodes[0].held.iter().rfind(of).map(|(_, _, at)| *at)
}

fn is_here(net: &Net, bundle: &Made) -> u64 {
    match net.nodes[1].engine.beginning(&bundle.id) {
        Beginning::Cut(cut) => cut.at,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_said_to_be_there_is_there_when_the_link_is_cut() {
    for (wire, pass_ms) in [(FAST, 800), (SLOW, 19_000)] {
        let mut net = Net::new(2);
        let bundle = made(1, 2, 160, 4 << 20, 1);
        net.lay(0, &bundle, Class::Own);
        net.connect(0, 1, wire);
        net.pass(pass_ms);
        net.cut_all();
        net.run();
        let (told, here) = (told(&net, &bundle).unwrap(), is_here(&net, &bundle));
        assert!((HELD_FROM_BYTES..=here).contains(&told), "{told} of {here}");
        assert!(here - told <= 2 * HAVE_EVERY_BYTES, "{told} of {here}");
        // The next link says at once where it goes on.
        net.connect(0, 1, wire);
        net.pass(300);
        assert_eq!(self::told(&net, &bundle).map(|at| at >= here), Some(true));
        net.run();
        assert!(net.has(1, &bundle));
        assert_eq!(net.nodes[0].carried.len(), 1);
    }
}

/// It goes to a relay, or it is small: then nothing of it is remembered.
#[test]
fn only_long_bodies_for_the_neighbour_itself_are_spoken_of() {
    for (to, length) in [(9, 1 << 20), (2, 60_000)] {
        let mut net = Net::new(2);
        let bundle = made(1, to, 160, length, 1);
        net.lay(0, &bundle, Class::Own);
        net.connect(0, 1, FAST);
        net.run();
        assert_eq!(net.nodes[0].held, [], "{length}");
    }
}

#[test]
fn a_receiver_that_began_anew_says_that_it_has_nothing() {
    let mut net = Net::new(2);
    let bundle = made(1, 2, 160, 4 << 20, 1);
    net.lay(0, &bundle, Class::Own);
    net.connect(0, 1, FAST);
    net.pass(800);
    assert!(told(&net, &bundle) > Some(0));
    net.restart(1);
    net.run_until(|net| net.nodes[0].held.last().is_some_and(|(_, _, at)| *at == 0));
    net.connect(0, 1, FAST);
    net.pass(20);
    assert_eq!(told(&net, &bundle), Some(0));
}

#[test]
fn a_cut_body_is_handed_out_once_and_not_while_a_link_brings_it() {
    let mut net = Net::new(2);
    let bundle = made(1, 2, 160, 4 << 20, 1);
    net.lay(0, &bundle, Class::Own);
    net.connect(0, 1, FAST);
    net.pass(800);
    let beginning = |net: &Net| net.nodes[1].engine.beginning(&bundle.id);
    assert!(matches!(beginning(&net), Beginning::Coming));
    let (id, first) = (bundle.id, TransferId(1));
    net.feed(1, Input::HandOut { id, transfer: first, at: 1 });
    net.cut_all();
    net.run();
    let Beginning::Cut(cut) = beginning(&net) else { panic!() };
    let (transfer, at) = (cut.transfer, cut.at);
    net.feed(1, Input::HandOut { id, transfer, at: at - 1 });
    net.feed(1, Input::HandOut { id, transfer: TransferId(77), at });
    assert_eq!(net.nodes[1].handed_out, []);
    net.feed(1, Input::HandOut { id, transfer, at });
    net.feed(1, Input::HandOut { id, transfer, at });
    assert_eq!(net.nodes[1].handed_out, [transfer]);
    assert_eq!(net.nodes[1].engine.partials(), (0, 0));
    assert!(matches!(beginning(&net), Beginning::Nothing));
    // Should whoever took it come to nothing, a link brings all of it.
    net.connect(0, 1, FAST);
    net.run();
    assert!(net.has(1, &bundle));
}
