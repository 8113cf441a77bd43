//! Two ends and one between, word for word.

use postrider_base::NodeSecret;

use super::*;

const FIRST: LinkId = LinkId(1);
const SECOND: LinkId = LinkId(2);
const A: &str = "198.51.100.1:40001";
const B: &str = "198.51.100.2:40002";
const M: &str = "203.0.113.1:443";

fn id(n: u8) -> NodeId {
    NodeSecret::from_seed([n; 32]).id()
}

fn key(n: u8) -> Key {
    *id(n).as_bytes()
}

fn facts(peer: u8, dialled: bool, here: &str, there: &str) -> LinkFacts {
    let ends = Ends { here: here.parse().unwrap(), there: there.parse().unwrap() };
    let facts = LinkFacts::stream("tls://m:443".parse().unwrap());
    LinkFacts { peer: Some(id(peer)), dialled, ends: Some(ends), ..facts }
}

/// A node that has dialled M (3), and knows the other.
fn end(other: u8) -> Introductions {
    let mut end = Introductions::default();
    end.set_contacts([id(other)].into_iter());
    end.link_up(FIRST, &facts(3, true, "192.168.1.2:40001", M));
    end.greeted(FIRST, FEATURE);
    end
}

/// M, whom A (1) and B (2) have dialled.
fn between() -> Introductions {
    let mut m = Introductions::default();
    for (link, peer, seen) in [(FIRST, 1, A), (SECOND, 2, B)] {
        m.link_up(link, &facts(peer, false, M, seen));
        m.greeted(link, FEATURE);
    }
    m
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// An end that has asked for B.
fn asking() -> Introductions {
    let mut a = end(2);
    assert_eq!(a.wish(0, FIRST, key(2)), Some(Said::Reach(key(2))));
    a
}

#[test]
fn two_who_ask_for_each_other_are_introduced() {
    let (mut a, mut b, mut m) = (asking(), end(1), between());
    assert_eq!(m.reach(10, FIRST, key(2)), [(SECOND, Said::Reach(key(1)))]);
    assert_eq!(b.reach(20, FIRST, key(1)), [(FIRST, Said::Reach(key(1)))]);
    let said = m.reach(30, SECOND, key(1));
    let to_b = Said::Introduce { node: key(1), at: at(A) };
    let to_a = Said::Introduce { node: key(2), at: at(B) };
    assert_eq!(said, [(SECOND, to_b), (FIRST, to_a)]);
    assert_eq!(a.introduce(40, FIRST, key(2), at(B)), Some(id(2)));
    assert_eq!(b.introduce(40, FIRST, key(1), at(A)), Some(id(1)));
}

#[test]
fn two_who_ask_at_once_are_introduced_at_once() {
    let mut m = between();
    assert_eq!(m.reach(10, FIRST, key(2)).len(), 1);
    assert_eq!(m.reach(10, SECOND, key(1)).len(), 2);
    // The Reach that was passed on finds somebody who has asked.
    let mut b = end(1);
    assert!(b.wish(5, FIRST, key(1)).is_some());
    assert_eq!(b.reach(20, FIRST, key(1)), []);
}

#[test]
fn an_address_is_told_to_nobody_whose_own_wish_is_missing() {
    let mut m = between();
    for now_ms in [0, 100, PAIR_EVERY_MS - 1] {
        let said = m.reach(now_ms, FIRST, key(2));
        assert!(!said.iter().any(|(_, said)| matches!(said, Said::Introduce { .. })));
    }
}

#[test]
fn consent_is_given_to_contacts_only() {
    let mut b = end(9);
    assert_eq!(b.reach(0, FIRST, key(1)), []);
}

#[test]
fn a_pair_is_served_once_a_minute() {
    let mut m = between();
    assert_eq!(m.reach(0, FIRST, key(2)).len(), 1);
    assert_eq!(m.reach(1, FIRST, key(2)), [], "asked for again");
    assert_eq!(m.reach(2, SECOND, key(1)).len(), 2);
    for now_ms in [3, PAIR_EVERY_MS] {
        assert_eq!(m.reach(now_ms, FIRST, key(2)), [], "introduced already");
    }
    let again = PAIR_EVERY_MS + 2;
    assert_eq!(m.reach(again, FIRST, key(2)).len(), 1);
}

#[test]
fn an_old_wish_is_no_consent() {
    let mut m = between();
    assert_eq!(m.reach(0, FIRST, key(2)).len(), 1);
    assert_eq!(m.reach(CONSENT_MS, SECOND, key(1)), []);
}

#[test]
fn nobody_is_introduced_to_who_is_not_there_or_cannot_be_seen() {
    let mut m = between();
    assert_eq!(m.reach(0, FIRST, key(9)), [], "not there");
    assert_eq!(m.reach(0, FIRST, key(1)), [], "to itself");
    for hidden in [
        LinkFacts { ends: None, ..facts(4, false, M, B) },
        LinkFacts { overlay: true, ..facts(4, false, M, B) },
        LinkFacts { metered: true, ..facts(4, false, M, B) },
        facts(4, true, M, B),
        facts(4, false, M, "[fe80::1]:9"),
        facts(4, false, M, "192.168.7.7:9"),
        facts(4, false, "[2001:db8::1]:443", "[2001:db8::2]:9"),
    ] {
        m.link_up(LinkId(3), &hidden);
        m.greeted(LinkId(3), FEATURE);
        assert_eq!(m.reach(0, FIRST, key(4)), [], "{hidden:?}");
    }
    m.link_up(LinkId(3), &facts(4, false, M, B));
    m.greeted(LinkId(3), 0);
    assert_eq!(m.reach(0, FIRST, key(4)), [], "it does not know what this is");
}

#[test]
fn who_did_not_ask_is_not_led_anywhere() {
    let mut a = end(2);
    assert_eq!(a.introduce(0, FIRST, key(2), at(B)), None);
    let mut a = asking();
    assert_eq!(a.introduce(1, SECOND, key(2), at(B)), None, "over another link");
    assert_eq!(a.introduce(CONSENT_MS, FIRST, key(2), at(B)), None, "too late");
    for lie in ["127.0.0.1:22", "192.168.1.1:80", "224.0.0.1:9", "[2001:db8::1]:9"] {
        assert_eq!(a.introduce(1, FIRST, key(2), at(lie)), None, "{lie}");
    }
    assert_eq!(a.introduce(1, FIRST, key(2), at(B)), Some(id(2)));
    assert_eq!(a.introduce(2, FIRST, key(2), at(B)), None, "one meeting at a time");
}

#[test]
fn failures_keep_apart_for_longer_and_longer() {
    let mut a = end(2);
    let mut now_ms = 0;
    for pause in [60_000, 300_000, 1_800_000, 1_800_000] {
        assert!(a.wish(now_ms, FIRST, key(2)).is_some(), "{now_ms}");
        assert!(a.introduce(now_ms, FIRST, key(2), at(B)).is_some());
        a.failed(now_ms, &id(2));
        assert_eq!(a.wish(now_ms + pause - 1, FIRST, key(2)), None);
        assert_eq!(a.reach(now_ms + pause - 1, FIRST, key(2)), []);
        now_ms += pause;
    }
    assert!(a.wish(now_ms, FIRST, key(2)).is_some());
    assert!(a.introduce(now_ms, FIRST, key(2), at(B)).is_some());
    a.link_up(SECOND, &facts(2, true, "192.168.1.2:40001", B));
    a.greeted(SECOND, 0);
    a.link_down(now_ms, SECOND);
    a.failed(now_ms, &id(2));
    assert_eq!(a.tries[&key(2)].failures, 0, "a link came of it");
    a.set_contacts([].into_iter());
    assert!(a.tries.is_empty(), "what is no contact is forgotten");
}

#[test]
fn who_has_a_link_needs_no_introduction() {
    let mut a = end(2);
    a.link_up(SECOND, &facts(2, false, "192.168.1.2:7531", "192.168.1.3:40000"));
    a.greeted(SECOND, 0);
    assert_eq!(a.wish(0, FIRST, key(2)), None);
    assert_eq!(a.reach(0, FIRST, key(2)), []);
}

/// A recorded first message opens a link in somebody's name, which nobody ever greets over.
#[test]
fn a_link_that_nobody_has_greeted_over_changes_nothing() {
    let mut a = asking();
    assert!(a.introduce(0, FIRST, key(2), at(B)).is_some());
    a.failed(0, &id(2));
    let recorded = facts(2, false, "192.168.1.2:7531", "192.168.1.3:40000");
    a.link_up(SECOND, &recorded);
    assert_eq!(a.tries[&key(2)].failures, 1, "the pauses go on growing");
    let now_ms = BACK_OFF_MS[0];
    assert_eq!(a.wish(now_ms, FIRST, key(2)), Some(Said::Reach(key(2))));
    assert_eq!(a.introduce(now_ms, FIRST, key(2), at(B)), Some(id(2)));
    a.failed(now_ms, &id(2));
    a.link_down(now_ms, SECOND);
    assert_eq!(a.tries[&key(2)].failures, 2, "one each");
}

#[test]
fn a_link_that_ends_before_a_greeting_is_a_meeting_that_failed() {
    let mut a = asking();
    assert!(a.introduce(0, FIRST, key(2), at(B)).is_some());
    a.link_up(SECOND, &facts(2, true, "192.168.1.2:40001", B));
    a.link_down(0, SECOND);
    assert_eq!(a.tries[&key(2)].failures, 1);
    assert!(a.wish(BACK_OFF_MS[0], FIRST, key(2)).is_some(), "and is over");
}

#[test]
fn few_meetings_are_under_way_at_once() {
    let mut a = Introductions::default();
    a.set_contacts((10..20).map(id));
    a.link_up(FIRST, &facts(3, true, "192.168.1.2:40001", M));
    a.greeted(FIRST, FEATURE);
    let meets = |n: u8| {
        let _ = a.wish(0, FIRST, key(n));
        a.introduce(0, FIRST, key(n), at(B)).is_some()
    };
    assert_eq!((10..20).map(meets).filter(|met| *met).count(), MEETINGS_MAX);
}

#[test]
fn a_flood_of_wishes_is_remembered_within_bounds() {
    let mut m = between();
    for n in 0..WISHES_MAX + 9 {
        let mut from = [0; 32];
        from[..8].copy_from_slice(&n.to_be_bytes());
        m.wishes.insert((from, key(9)), Wish { at_ms: 1, introduced: false });
    }
    assert_eq!(m.reach(1, FIRST, key(2)), [], "full");
    assert_eq!(m.reach(1 + PAIR_EVERY_MS, FIRST, key(2)).len(), 1, "and empty again");
}
