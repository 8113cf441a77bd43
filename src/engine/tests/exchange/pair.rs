//! Two nodes and what they owe each other.

use bytes::Bytes;
use postrider_base::{
    BundleId, Niceness,
    bundle::{Hop, Receipt},
};
use postrider_engine::{
    exchange::{Begin, OFFERS_MAX, Offered, Unit},
    node::{
        CarriedMax, Class, Custody, Ending, Event, Input, Kept, Policy, Reason, ShortId, Verdict,
        Violation,
    },
};

use crate::{
    net::{Net, Wire, engine_with},
    store::{Made, made, made_sealed, node},
};

#[test]
fn a_ping_that_somebody_wants_is_answered_once_and_over_its_own_link() {
    let mut net = Net::new(2);
    let (link, _) = net.connect(0, 1, Wire::default());
    net.run();
    for nonce in [1 << 32, u64::MAX] {
        net.feed(0, Input::Ping { link, nonce });
        net.run();
        let answered = |e: &&Event| **e == Event::Answered { link, nonce };
        assert_eq!(net.nodes[0].events.iter().filter(answered).count(), 1);
    }
    assert!(!net.nodes[1].events.iter().any(|e| matches!(e, Event::Answered { .. })));
}

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

#[test]
fn an_urgent_bundle_overtakes_bulk_at_the_next_chunk() {
    let mut net = Net::new(2);
    net.lay(0, &made(1, 2, 224, 50 << 20, 1), Class::Own);
    net.connect(0, 1, Wire { rate_bps: 1_000_000, latency_ms: 20, ..Wire::default() });
    net.pass(5000);
    let mut waits = Vec::new();
    for n in 0..40 {
        let urgent = made(1, 2, 32, 1024, 2 + n);
        let sent_ms = net.now_ms;
        net.send(0, &urgent);
        assert!(net.run_until(|net| net.has(1, &urgent)));
        waits.push(net.now_ms - sent_ms);
        let pause_ms = 500 + net.chance.below(1000);
        net.pass(pause_ms);
    }
    waits.sort_unstable();
    let (p50, p95) = (waits[20], waits[38]);
    println!("urgent 1 KiB during bulk at 1 Mbit/s: p50 {p50} ms, p95 {p95} ms");
    assert!(p95 <= 2000, "p95 {p95} ms");
    // Bulk goes on meanwhile: most of the line is its own.
    let seconds = (net.now_ms - 1000) / 1000;
    assert!(net.bytes(0, 1) > seconds * 100_000, "{} bytes in {seconds} s", net.bytes(0, 1));
}

#[test]
fn what_is_small_and_new_and_for_the_neighbour_goes_without_being_asked_for() {
    let mut net = Net::new(2);
    net.connect(0, 1, Wire { latency_ms: 100, ..Wire::default() });
    net.run();
    let small = made(1, 2, 160, 1000, 1);
    let sent_ms = net.now_ms;
    net.send(0, &small);
    assert!(net.run_until(|net| net.has(1, &small)));
    assert!(net.now_ms - sent_ms < 200, "{} ms", net.now_ms - sent_ms);
    // For others, or larger, or many at once: they are asked for.
    let more: Vec<_> = (2..40).map(|n| made(1, 2, 160, 900, n)).collect();
    more.iter().for_each(|made| net.send(0, made));
    let others = [made(1, 3, 160, 1000, 50), made(1, 2, 160, 5000, 51)];
    others.iter().for_each(|made| net.send(0, made));
    net.run();
    assert!(more.iter().chain(&others).all(|made| net.has(1, made)));
    assert_eq!(admitted(&net, 1).len(), 41);
    assert_eq!(net.nodes[0].carried.len(), 41);
    let wants = |unit: &&(_, &str, _)| unit.1 == "Want";
    assert!(net.units(1, 0).iter().filter(wants).count() > 0);
}

#[test]
fn over_two_links_to_one_neighbour_a_small_bundle_is_given_once() {
    let mut net = Net::new(2);
    net.connect(0, 1, Wire::default());
    net.connect(0, 1, Wire::default());
    net.run();
    net.send(0, &made(1, 2, 160, 1000, 1));
    net.run();
    assert_eq!(admitted(&net, 1).len(), 1);
    let begun = net.units(0, 1).iter().filter(|(_, name, _)| *name == "Begin").count();
    assert_eq!(begun, 1);
}

#[test]
fn a_large_bundle_that_nobody_asked_for_is_a_violation() {
    let (mut net, link) = alone();
    let bundle = made(1, 2, 160, 50_000, 1);
    net.inject(1, link, &offer(&bundle));
    let (handle, hop, head) = (0, Hop::fresh(), bundle.head.clone());
    net.inject(1, link, &Unit::Begin(Begin { handle, hop, head, payload: Bytes::new() }));
    assert_eq!(net.nodes[1].ended, [Ending::Protocol(Violation::Handle)]);
}

#[test]
fn nothing_is_settled_before_its_commit_returned() {
    for length in [100, 50_000] {
        let mut net = Net::new(2);
        net.commit_ms = 60_000;
        net.lay(0, &made(1, 2, 160, length, 1), Class::Own);
        net.connect(0, 1, Wire::default());
        net.pass(59_000);
        let units = net.units(1, 0);
        assert!(units.iter().all(|(_, name, _)| *name != "Settle"), "{units:?}");
        assert!(net.nodes[0].carried.is_empty());
        net.pass(2000);
        assert_eq!(net.nodes[0].carried.len(), 1);
    }
}

#[test]
fn an_urgent_bundle_is_wanted_although_the_window_is_full_of_bulk() {
    let mut net = Net::new(2);
    for counter in 1..=3 {
        net.lay(0, &made(1, 2, 224, 9 << 20, counter), Class::Own);
    }
    net.connect(0, 1, Wire { rate_bps: 1_000_000, ..Wire::default() });
    // By now the second is wanted beside the first, and neither comes within the next minute.
    net.pass(10_000);
    let urgent = made(1, 2, 96, 900, 9);
    net.send(0, &urgent);
    net.pass(4_000);
    assert!(net.has(1, &urgent));
}

#[test]
fn a_disk_that_is_slower_than_the_link_holds_the_link_back() {
    let mut net = Net::new(2);
    // Longer than the test: no commit returns.
    net.commit_ms = 1_000_000;
    for counter in 1..=8 {
        net.lay(0, &made(1, 2, 200, 8 << 20, counter), Class::Own);
    }
    net.connect(0, 1, Wire { rate_bps: 1_000_000_000, ..Wire::default() });
    net.pass(20_000);
    let begun = net.units(0, 1).iter().filter(|(_, name, _)| *name == "Begin").count();
    assert!((4..=5).contains(&begun), "{begun} of 8 bodies were asked for");
}

#[test]
fn a_full_node_is_asked_again_later_and_its_cursor_waits() {
    let mut net = Net::new(2);
    let bundle = made(1, 2, 160, 100, 1);
    net.lay(0, &bundle, Class::Own);
    net.nodes[1].store.keep_answer = Some(Kept::Full);
    net.connect(0, 1, Wire::default());
    net.pass(5000);
    assert!(net.nodes[0].carried.is_empty());
    let cursor = net.nodes[1].store.cursors.get(&node(1)).and_then(|c| c.0);
    assert_eq!(cursor, None, "the cursor passed what was not kept");
    net.nodes[1].store.keep_answer = None;
    net.pass(70_000);
    assert!(net.has(1, &bundle));
    assert_eq!(net.nodes[1].store.cursors[&node(1)].0.unwrap().bundles, 1);
}

#[test]
fn what_is_refused_for_good_is_not_offered_again() {
    let mut net = Net::new(2);
    net.lay(0, &made(1, 2, 160, 100, 1), Class::Own);
    net.nodes[1].store.keep_answer = Some(Kept::Refused);
    for _ in 0..3 {
        net.connect(0, 1, Wire::default());
        net.pass(100_000);
        net.cut_all();
    }
    let offers = net.units(0, 1).iter().filter(|(_, name, _)| *name == "Offer").count();
    assert_eq!(offers, 1);
    assert!(net.nodes[0].carried.is_empty());
}

#[test]
fn a_node_declines_offers_by_the_policy_of_the_link() {
    let mut net = Net::new(2);
    net.lay(0, &made(1, 2, 200, 100, 1), Class::Own);
    net.connect(0, 1, Wire::default());
    net.cut_all();
    net.policy.nice_max = Niceness::NORMAL;
    let (_, link) = net.connect(0, 1, Wire::default());
    net.run();
    // A peer that offers it all the same is told.
    let offered = Offered { id: ShortId([7; 16]), nice: 200, length: 100 };
    net.inject(1, link, &Unit::Offer(vec![offered]));
    net.run();
    let declined =
        Event::Declined { link, id: ShortId([7; 16]), verdict: Verdict::Refused(Reason::Nice) };
    assert!(net.nodes[1].events.contains(&declined));
    assert!(net.units(0, 1).iter().all(|(_, name, _)| *name != "Begin"));
}

/// A node at the other end of which the test itself speaks.
fn alone() -> (Net, postrider_engine::node::LinkId) {
    let mut net = Net::new(2);
    let (_, link) = net.connect(0, 1, Wire::default());
    net.run();
    net.mute(link);
    (net, link)
}

fn offer(made: &Made) -> Unit {
    let offered = Offered {
        id: ShortId::of(&made.id),
        nice: made.header.nice.value(),
        length: made.header.length,
    };
    Unit::Offer(vec![offered])
}

fn begin(made: &Made, handle: u32, payload: Bytes) -> Unit {
    let hop = Hop { tokens: 8, hops: 0, age_s: 0, level: 0 };
    Unit::Begin(Begin { handle, hop, head: made.head.clone(), payload })
}

#[test]
fn of_a_forged_bundle_nothing_is_kept_and_eight_end_the_link() {
    for length in [100, 50_000] {
        let (mut net, link) = alone();
        for handle in 0..8 {
            // Mallory signs for somebody else.
            let honest = made(1, 2, 160, length, u64::from(handle) + 1);
            let mallory = postrider_base::NodeSecret::from_seed([9; 32]);
            let forged = postrider_base::Head::sign(honest.header.clone(), &honest.body, &mallory);
            let forged = Made { head: forged.encode().into(), ..honest };
            net.inject(1, link, &offer(&forged));
            net.run();
            let payload = if length <= 4096 { forged.body.clone() } else { Bytes::new() };
            net.inject(1, link, &begin(&forged, handle, payload));
            let id = ShortId::of(&forged.id);
            let declined = Event::Declined { link, id, verdict: Verdict::Forged };
            assert!(net.nodes[1].events.contains(&declined), "{:?}", net.nodes[1].events);
        }
        assert!(net.nodes[1].store.live.is_empty() && net.nodes[1].store.staged.is_empty());
        assert_eq!(net.nodes[1].ended, [Ending::Protocol(Violation::Forged)]);
    }
}

#[test]
fn a_body_that_does_not_hash_to_its_head_is_dropped() {
    let (mut net, link) = alone();
    let bundle = made(1, 2, 160, 50_000, 1);
    net.inject(1, link, &offer(&bundle));
    net.run();
    net.inject(1, link, &begin(&bundle, 0, Bytes::new()));
    let mut spoiled = bundle.body.to_vec();
    spoiled[40_000] ^= 1;
    assert_eq!(net.nodes[1].store.staged.len(), 1);
    net.inject(1, link, &Unit::Data { handle: 0, bytes: spoiled.into() });
    net.run();
    assert!(net.nodes[1].store.staged.is_empty() && net.nodes[1].store.live.is_empty());
    let verdict = Verdict::Damaged;
    let declined = Event::Declined { link, id: ShortId::of(&bundle.id), verdict };
    assert!(net.nodes[1].events.contains(&declined));
}

#[test]
fn more_bytes_than_a_body_has_end_the_link() {
    let (mut net, link) = alone();
    let bundle = made(1, 2, 160, 5000, 1);
    net.inject(1, link, &offer(&bundle));
    net.run();
    net.inject(1, link, &begin(&bundle, 0, Bytes::new()));
    net.inject(1, link, &Unit::Data { handle: 0, bytes: vec![0; 5001].into() });
    assert_eq!(net.nodes[1].ended, [Ending::Protocol(Violation::Limit)]);
}

#[test]
fn offers_beyond_the_limit_end_the_link() {
    let (mut net, link) = alone();
    // No answers come from the spool, so all stay open.
    net.answer_ms = 1_000_000;
    for batch in 0..5_u32 {
        let id = |n: usize| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&batch.to_be_bytes());
            id[8..].copy_from_slice(&(n as u64).to_be_bytes());
            ShortId(id)
        };
        let entries: Vec<Offered> =
            (0..OFFERS_MAX).map(|n| Offered { id: id(n), nice: 1, length: 1 }).collect();
        assert!(net.nodes[1].ended.is_empty());
        net.inject(1, link, &Unit::Offer(entries));
    }
    assert_eq!(net.nodes[1].ended, [Ending::Protocol(Violation::Limit)]);
}

#[test]
fn units_out_of_order_end_the_link() {
    type Case = (&'static str, fn() -> Unit, Violation);
    let cases: [Case; 4] = [
        ("a second Hello", hello, Violation::Order),
        ("a want of nothing", || Unit::Want(vec![(0, 0)]), Violation::Handle),
        ("a settle of nothing", || Unit::Settle(vec![(9, Verdict::Kept)]), Violation::Handle),
        ("data of nothing", || Unit::Data { handle: 0, bytes: vec![1].into() }, Violation::Handle),
    ];
    for (what, unit, violation) in cases {
        let mut net = Net::new(2);
        let (_, link) = net.connect(0, 1, Wire::default());
        net.run();
        net.inject(1, link, &unit());
        assert_eq!(net.nodes[1].ended, [Ending::Protocol(violation)], "{what}");
        net.run();
        assert!(matches!(net.nodes[0].ended[..], [Ending::Halted { .. }]), "{what}");
    }
}

fn hello() -> Unit {
    let instance = postrider_engine::node::Instance([5; 4]);
    let (features, seen, chunk_log2, nice_max) = (0, None, 18, 0);
    Unit::Hello(postrider_engine::exchange::Hello {
        features,
        instance,
        seen,
        chunk_log2,
        nice_max,
    })
}

#[test]
fn a_bundle_grows_older_by_the_time_it_is_held_and_under_way() {
    let mut net = Net::new(3);
    let bundle = made(1, 3, 160, 100_000, 1);
    net.send(0, &bundle);
    net.pass(100_000);
    // 100 kB at 16 kbit/s take 50 s.
    net.connect(0, 1, Wire { rate_bps: 16_000, told: true, ..Wire::default() });
    net.run();
    let at_relay = &net.nodes[1].store.get(&bundle.id).unwrap().row;
    assert_eq!(at_relay.hop.hops, 1);
    assert!((150..=152).contains(&at_relay.hop.age_s), "{:?}", at_relay.hop);
    net.pass(50_000);
    net.connect(1, 2, Wire::default());
    net.run();
    let hop = net.nodes[2].store.get(&bundle.id).unwrap().row.hop;
    assert_eq!(hop.hops, 2);
    assert!((200..=203).contains(&hop.age_s), "{hop:?}");
}

#[test]
fn a_bundle_that_has_passed_too_many_nodes_is_refused() {
    let (mut net, link) = alone();
    let bundle = made(1, 2, 160, 100, 1);
    net.inject(1, link, &offer(&bundle));
    net.run();
    let hop = Hop { tokens: 1, hops: Hop::HOPS_MAX, age_s: 0, level: 0 };
    let (head, payload) = (bundle.head.clone(), bundle.body.clone());
    net.inject(1, link, &Unit::Begin(Begin { handle: 0, hop, head, payload }));
    let verdict = Verdict::Refused(Reason::Hops);
    let declined = Event::Declined { link, id: ShortId::of(&bundle.id), verdict };
    assert!(net.nodes[1].events.contains(&declined));
}

#[test]
fn an_unproven_peer_may_bring_but_its_settles_prove_nothing() {
    let mut net = Net::new(2);
    let (there, back) = (made(1, 2, 160, 100, 1), made(2, 1, 160, 100, 1));
    net.lay(0, &there, Class::Own);
    net.lay(1, &back, Class::Own);
    net.connect(0, 1, Wire { proven: false, ..Wire::default() });
    net.run();
    assert!(net.has(1, &there) && net.has(0, &back));
    for at in [0, 1] {
        assert!(net.nodes[at].carried.is_empty() && net.nodes[at].store.cursors.is_empty());
    }
}

#[test]
fn a_receipt_frees_copies_and_goes_on_but_not_back() {
    let mut net = Net::new(3);
    let bundle = made(1, 3, 160, 100, 1);
    net.lay(0, &bundle, Class::Own);
    net.connect(0, 1, Wire::default());
    net.connect(1, 2, Wire::default());
    net.run();
    assert!(net.has(2, &bundle));
    let receipt = Receipt { id_prefix: bundle.id.prefix(), r: [5; 16] };
    net.nodes[2].store.take_receipt(receipt);
    net.feed(2, Input::Receipts);
    net.run();
    for at in [0, 1, 2] {
        assert!(net.nodes[at].store.live.is_empty(), "node {at} still holds it");
        assert_eq!(net.nodes[at].store.receipts, [receipt]);
    }
    let told = |from, to| net.units(from, to).iter().filter(|u| u.1 == "Receipt").count();
    assert_eq!([told(2, 1), told(1, 0), told(1, 2), told(0, 1)], [1, 1, 0, 0]);
}

#[test]
fn an_offer_is_withdrawn_when_its_bundle_is_retired() {
    let mut net = Net::new(2);
    let bundle = made(1, 2, 224, 1 << 20, 1);
    net.lay(0, &bundle, Class::Own);
    net.connect(0, 1, Wire { rate_bps: 1_000_000, ..Wire::default() });
    net.pass(2000);
    net.nodes[0].store.retire(&bundle.id);
    net.feed(0, Input::Gone { id: bundle.id });
    net.run();
    assert!(net.now_ms < 5000, "it was sent on: {} ms", net.now_ms);
    assert!(net.units(0, 1).iter().any(|(_, name, _)| *name == "Withdraw"));
    assert!(net.nodes[1].store.live.is_empty());
}

#[test]
fn nothing_sealed_goes_over_a_link_that_must_be_clear() {
    let mut net = Net::new(2);
    let (clear, sealed) = (made(1, 2, 160, 200, 1), made_sealed(1, 2, 200, 2));
    net.lay(0, &sealed, Class::Own);
    net.lay(0, &clear, Class::Own);
    net.connect(0, 1, Wire { clear_only: true, ..Wire::default() });
    net.run();
    assert!(net.has(1, &clear) && !net.nodes[1].store.has(&sealed.id));
    // Another link may carry it.
    net.cut_all();
    net.connect(0, 1, Wire::default());
    net.run();
    assert!(net.has(1, &sealed));
}

#[test]
fn what_one_link_does_not_carry_comes_over_the_next() {
    let (mut net, bundle) = (Net::new(2), made(1, 3, 200, 100, 1));
    net.lay(0, &bundle, Class::Stranger);
    // This one goes over any link, and a mark behind it.
    net.lay(0, &made(1, 2, 160, 100, 2), Class::Own);
    let open = net.policy.clone();
    // The sender does not offer it.
    net.policy.transit = false;
    net.connect(0, 1, Wire::default());
    net.run();
    net.cut_all();
    // The receiver refuses it.
    net.policy = open.clone();
    net.connect(0, 1, Wire { dialled: true, ..Wire::default() });
    net.policy.nice_max = Niceness::NORMAL;
    net.run();
    net.cut_all();
    assert!(!net.has(1, &bundle));
    net.policy = open;
    net.connect(0, 1, Wire::default());
    net.run();
    assert!(net.has(1, &bundle));
}

#[test]
fn a_restricted_link_does_not_repeat_its_offers_at_each_contact() {
    let mut net = Net::new(2);
    let stranger = made(1, 3, 160, 100, 1);
    net.lay(0, &stranger, Class::Stranger);
    let own: Vec<Made> = (2..=40).map(|counter| made(1, 2, 160, 100, counter)).collect();
    own.iter().for_each(|bundle| net.lay(0, bundle, Class::Own));
    let open = net.policy.clone();
    net.policy.transit = false;
    for contact in 0..3 {
        // Whoever dials speaks first, before it heard how far the other has seen.
        let (a, b) = if contact == 1 { (1, 0) } else { (0, 1) };
        net.connect(a, b, Wire { dialled: true, ..Wire::default() });
        net.run();
        net.cut_all();
        assert!(own.iter().all(|bundle| net.has(1, bundle)));
    }
    let offers = net.units(0, 1).iter().filter(|(_, name, _)| *name == "Offer").count();
    assert_eq!(offers, 1);
    // The cursor has waited, and another link brings the rest.
    net.policy = open;
    net.connect(0, 1, Wire::default());
    net.run();
    assert!(net.has(1, &stranger));
}

/// What a neighbour wants again, it is offered again, also over a restricted link.
#[test]
fn a_restricted_link_repeats_what_came_damaged() {
    let mut net = Net::new(2);
    net.lay(0, &made(1, 3, 160, 100, 1), Class::Stranger);
    let bundle = made(1, 2, 160, 100, 2);
    net.lay(0, &bundle, Class::Own);
    net.policy.transit = false;
    // The fourth unit is the beginning of the bundle; this byte is in its payload.
    net.spoil = Some((0, 1, 3, 200, 0));
    net.connect(0, 1, Wire::default());
    net.run();
    assert!(!net.has(1, &bundle) && net.nodes[1].ended.is_empty(), "{:?}", net.units(0, 1));
    net.spoil = None;
    net.cut_all();
    net.connect(0, 1, Wire::default());
    net.run();
    assert!(net.has(1, &bundle));
}

#[test]
fn a_cursor_from_before_a_rollback_is_set_back() {
    let mut net = Net::new(2);
    (1..=5).for_each(|counter| net.lay(0, &made(1, 2, 160, 100, counter), Class::Own));
    net.connect(0, 1, Wire::default());
    net.run();
    net.cut_all();
    // An older copy of the first spool, whose numbers have not been renamed.
    net.nodes[0].store = crate::store::Store::new(1);
    let bundle = made(1, 2, 160, 100, 6);
    net.lay(0, &bundle, Class::Own);
    net.connect(0, 1, Wire::default());
    net.run();
    assert!(net.has(1, &bundle));
    assert_eq!(net.nodes[1].store.cursors[&node(1)].0.unwrap().bundles, 1);
}

#[test]
fn silence_is_filled_with_pings_and_ends_after_three() {
    let mut net = Net::new(2);
    net.policy.keepalive = true;
    let (link, _) = net.connect(0, 1, Wire::default());
    net.pass(100_000);
    assert!(net.nodes[0].ended.is_empty());
    // The other end falls silent: it is gone, and nobody says so.
    net.mute(link);
    net.pass(100_000);
    assert_eq!(net.nodes[0].ended, [Ending::Silent]);
}

#[test]
fn links_to_blocked_nodes_and_to_oneself_are_closed() {
    let mut net = Net::new(2);
    net.connect(0, 1, Wire::default());
    net.run();
    let people = postrider_engine::node::People { blocked: vec![node(2)], ..Default::default() };
    net.feed(0, Input::People(people));
    assert_eq!(net.nodes[0].ended, [Ending::Blocked]);
    net.run();
    net.connect(0, 1, Wire::default());
    assert_eq!(net.nodes[0].ended, [Ending::Blocked, Ending::Blocked]);
    let mut net = Net::new(1);
    net.connect(0, 0, Wire::default());
    net.run();
    assert!(net.nodes[0].ended.contains(&Ending::Myself), "{:?}", net.nodes[0].ended);
}

/// Everything that was ever admitted came once.
pub fn admitted(net: &Net, at: usize) -> &[BundleId] {
    assert!(net.nodes[at].store.twice.is_empty(), "{:?}", net.nodes[at].store.twice);
    &net.nodes[at].store.admitted
}

/// Any unit, made of small numbers so that some of them mean something.
pub fn any_unit(kind: u8, a: u32, b: u64, bundle: &Made) -> Unit {
    match kind {
        0 => hello(),
        1 => offer(bundle),
        2 => Unit::Want(vec![(a, b)]),
        3 => begin(
            bundle,
            a,
            if bundle.body.len() > 4096 { Bytes::new() } else { bundle.body.clone() },
        ),
        4 => Unit::Data {
            handle: a,
            bytes: bundle.body.slice(..bundle.body.len().min(1 + b as usize * 20)),
        },
        5 => Unit::Settle(vec![(
            a,
            [Verdict::Kept, Verdict::Later(0), Verdict::Damaged][b as usize % 3],
        )]),
        6 => Unit::Receipt(vec![Receipt { id_prefix: [a as u8; 8], r: [b as u8; 16] }]),
        7 => Unit::Mark { bundles: b, receipts: u64::from(a) },
        8 => Unit::Sketch(any_step(b as u8 % 8, a)),
        9 => Unit::Ping(b),
        10 => Unit::Pong(b),
        11 => Unit::Halt { reason: a as u8, retry_after_s: 0 },
        12 => Unit::Stop(vec![a]),
        _ => Unit::Withdraw(vec![a]),
    }
}

/// Any step of a reconciliation, and one that is none.
fn any_step(kind: u8, a: u32) -> Bytes {
    let rest = match kind {
        0 | 1 => [&[a as u8; 16][..], &a.to_be_bytes()].concat(),
        2 => vec![a as u8; 12 * (1 + a as usize)],
        4 => vec![a as u8; 8 * (1 + a as usize)],
        _ => vec![],
    };
    [&[kind][..], &rest].concat().into()
}

/// What no quota has room for is refused when its head has come, and own mail never is.
#[test]
fn what_is_longer_than_is_carried_is_refused_before_its_body() {
    let mut net = Net::new(2);
    let carried = CarriedMax { stranger_bytes: 20_000, ..CarriedMax::ANY };
    let instance = net.nodes[1].store.instance;
    net.nodes[1].engine = engine_with(2, instance, Policy { carried, ..Policy::default() });
    let long = made(1, 3, 160, 20_001, 1);
    let fits = made(1, 3, 160, 20_000, 2);
    let own = made(1, 2, 160, 50_000, 3);
    [&long, &fits, &own].into_iter().for_each(|bundle| net.lay(0, bundle, Class::Own));
    net.connect(0, 1, Wire::default());
    net.run();
    assert!(!net.has(1, &long) && net.has(1, &fits) && net.has(1, &own));
    let declined = net.nodes[1].events.iter().any(|event| {
        matches!(event, Event::Declined { id, verdict: Verdict::Refused(Reason::Size), .. }
            if *id == ShortId::of(&long.id))
    });
    assert!(declined, "{:?}", net.nodes[1].events);
    assert!(net.nodes[1].store.staged.is_empty());
    let carried = CarriedMax { stranger_bytes: 0, ..CarriedMax::ANY };
    assert_eq!(carried.refuses(Class::Stranger, 1), Some(Reason::Transit));
    assert_eq!(carried.refuses(Class::Own, u64::MAX), None);
}
