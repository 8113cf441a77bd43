//! What an introduction, a roster and a right change, and what they do not.

use postrider::desk::{
    Desk, FailureKind, IntroduceRequest, RosterChange, Silent, reply::ContactLine,
};
use postrider_base::{
    Head, Lifetime, Niceness, NodeSecret, Roster,
    bundle::{Destination, Sequence, SmallBundle},
    compose::{Letter, Padding, Privacy, To, seal},
    packet::{Body, Introduction, Packet, Tail},
    roster::{Day, Entry, Member, RosterFacts},
};

use crate::town::{Town, know_each_other, send, state, texts, toss};

fn introduce(by: &Desk, who: &str, to: &str) {
    let request = IntroduceRequest { who: who.into(), to: to.into(), note: None, both: false };
    by.introduce(&request, &Silent).unwrap();
}

fn contact(desk: &Desk, name: &str) -> Option<ContactLine> {
    desk.contacts().unwrap().into_iter().find(|line| line.name == name)
}

/// A roster under a key of the tests' own: these nodes are on it, those marked are revoked.
fn roster(key: u8, number: u64, list: &[(&Desk, bool)]) -> Roster {
    let secret = NodeSecret::from_seed([key; 32]);
    let mut facts = RosterFacts {
        key: secret.id(),
        number,
        issued: Day(20_000),
        name: "Relief".into(),
        entries: vec![],
    };
    for (desk, revoked) in list {
        let card = desk.home().card.clone();
        facts.put(Entry {
            name: card.name.clone(),
            who: Member::Card(Box::new(card)),
            role: "medic".into(),
            groups: vec![],
            until: None,
            revoked: *revoked,
        });
    }
    Roster::sign(&facts, &secret).unwrap()
}

/// The second roster of a node, with 200 keys on it.
pub fn large_roster(anna: &Desk) -> Roster {
    let key = anna.home().card.node;
    let entries = (0..200).map(|n| Entry {
        who: Member::Key(NodeSecret::from_seed([n; 32]).id()),
        name: format!("Member {n}"),
        role: "medic".into(),
        groups: vec![],
        until: None,
        revoked: false,
    });
    let mut many = RosterFacts { key, ..(*roster(1, 2, &[])).clone() };
    entries.for_each(|entry| many.put(entry));
    Roster::sign(&many, &anna.home().key.node).unwrap()
}

/// A file with an open bundle for a group, as anybody can make it.
fn to_group(town: &Town, name: &str, n: u64, group: [u8; 16], packet: &[u8]) -> std::path::PathBuf {
    let mallory = NodeSecret::from_seed([66; 32]);
    let letter = Letter {
        author: &mallory,
        to: To::Public(Destination::Group(group)),
        sequence: Sequence { epoch: 1, counter: n },
        created: 0,
        lifetime: Lifetime::DEFAULT,
        nice: Niceness::FLASH,
        privacy: Privacy::Open,
        padding: Padding::Bare,
    };
    let sealed = seal(&letter, packet, &[7; 32]).unwrap();
    let path = town.path(name);
    let bytes = if sealed.head.header().is_small() {
        SmallBundle { head: sealed.head, payload: sealed.payload }.encode()
    } else {
        let head: Head = sealed.head;
        [head.encode(), sealed.payload].concat()
    };
    std::fs::write(&path, bytes).unwrap();
    path
}

fn roster_packet(bytes: &[u8]) -> Vec<u8> {
    Packet { body: Body::Roster(bytes.to_vec()), tail: Tail::default() }.encode()
}

/// Bundles of a roster that lie in a spool.
fn carried(desk: &Desk) -> usize {
    let queue = desk.queue(&Silent).unwrap();
    queue.iter().filter(|row| row.to.contains("Relief") || row.to.starts_with("group ")).count()
}

#[test]
fn only_a_chosen_contact_introduces() {
    let town = Town::new();
    let [alice, bob, carol, dora] = ["alice", "bob", "carol", "dora"].map(|name| town.node(name));
    know_each_other(&alice, &bob);
    know_each_other(&alice, &carol);
    know_each_other(&carol, &dora);
    let stick = town.stick("stick");
    introduce(&alice, "carol", "bob");
    toss(&alice, &stick);
    toss(&bob, &stick);
    assert!(contact(&bob, "carol").unwrap().pending);
    assert_eq!(bob.friends().unwrap(), [carol.home().card.node]);
    // Carol is known to Bob by an introduction alone: she vouches for nobody.
    carol.add(&postrider::desk::AddRequest { card: bob.home().card.clone(), name: None }).unwrap();
    introduce(&carol, "dora", "bob");
    toss(&carol, &stick);
    toss(&bob, &stick);
    assert!(contact(&bob, "dora").is_none());
    assert_eq!(bob.inbox(&Silent).unwrap().len(), 2);
    bob.change_contact("carol", &postrider::desk::ContactChange::Accept).unwrap();
    assert_eq!(bob.friends().unwrap(), []);
    introduce(&carol, "dora", "bob");
    toss(&carol, &stick);
    toss(&bob, &stick);
    assert_eq!(contact(&bob, "dora").unwrap().by.as_deref(), Some("carol"));
    // The card in the message itself can be taken too.
    let message = bob.inbox(&Silent).unwrap().pop().unwrap();
    assert_eq!(message.kind, "introduction");
    let card = bob.card_from_message(&message.id, &Silent).unwrap();
    assert_eq!(card.node, dora.home().card.node);
}

/// Every byte of the card in an introduction, spoiled: nobody becomes a contact by it.
#[test]
fn a_forged_card_introduces_nobody() {
    let town = Town::new();
    let (alice, bob, carol) = (town.node("alice"), town.node("bob"), town.node("carol"));
    know_each_other(&alice, &bob);
    let good = carol.home().card.as_bytes();
    for at in 0..good.len() {
        let mut card = good.to_vec();
        card[at] ^= 1 << (at % 8);
        let said = Introduction { card, note: None };
        let packet = Packet { body: Body::Introduction(said), tail: Tail::default() };
        let letter = Letter {
            author: &alice.home().key.node,
            to: To::One(bob.home().card.node, *bob.home().card.seal_key()),
            sequence: Sequence { epoch: 9, counter: at as u64 + 1 },
            created: 0,
            lifetime: Lifetime::DEFAULT,
            nice: Niceness::NORMAL,
            privacy: Privacy::Open,
            padding: Padding::Class,
        };
        let sealed = seal(&letter, &packet.encode(), &[7; 32]).unwrap();
        let path = town.path("bundle");
        let bundle = SmallBundle { head: sealed.head, payload: sealed.payload };
        std::fs::write(&path, bundle.encode()).unwrap();
        bob.bundle_import(&path, &Silent).unwrap();
    }
    assert_eq!(bob.contacts().unwrap().len(), 1);
    assert_eq!(bob.inbox(&Silent).unwrap().len(), good.len());
}

#[test]
fn only_a_newer_roster_of_the_followed_key_counts_and_one_bundle_of_it_stays() {
    let town = Town::new();
    let [bob, nick] = ["bob", "nick"].map(|name| town.node(name));
    let first = roster(1, 5, &[(&nick, false)]);
    bob.follow_roster(first.key, Some(&first), &Silent).unwrap();
    assert_eq!(carried(&bob), 1);
    let group = first.group();
    let newer = roster(1, 6, &[(&nick, true)]);
    let junk = |n: u64, packet: &[u8]| {
        let path = to_group(&town, "junk", n, group, packet);
        let refused = bob.bundle_import(&path, &Silent).unwrap_err();
        assert_eq!(refused.kind, FailureKind::Refused, "{refused}");
    };
    // Forged, of another key, older, no roster at all.
    let good = newer.as_bytes();
    for at in 0..good.len() {
        let mut spoiled = good.to_vec();
        spoiled[at] ^= 1 << (at % 8);
        junk(at as u64 + 1, &roster_packet(&spoiled));
    }
    junk(2000, &roster_packet(roster(2, 9, &[(&nick, true)]).as_bytes()));
    junk(2001, &roster_packet(roster(1, 4, &[(&nick, true)]).as_bytes()));
    let text = Packet { body: Body::Mail("hello".into()), tail: Tail::default() };
    junk(2002, &text.encode());
    let line = &bob.rosters().unwrap()[0];
    assert_eq!((line.number, line.revoked, carried(&bob)), (5, 0, 1));
    // The newer one is taken whoever made its bundle, and the one before is let go.
    let path = to_group(&town, "newer", 3000, group, &roster_packet(good));
    bob.bundle_import(&path, &Silent).unwrap();
    let line = &bob.rosters().unwrap()[0];
    assert_eq!((line.number, line.revoked, carried(&bob)), (6, 1, 1));
    // Another bundle of the same adds nothing.
    let path = to_group(&town, "again", 3001, group, &roster_packet(good));
    bob.bundle_import(&path, &Silent).unwrap();
    assert_eq!(carried(&bob), 1);
    assert_eq!(contact(&bob, "nick").unwrap().revoked_by.as_deref(), Some("Relief"));
}

/// A large roster does not fit into a small bundle; it goes another way in.
#[test]
fn a_large_roster_spreads_like_a_small_one() {
    let town = Town::new();
    let [anna, bob, nick] = ["anna", "bob", "nick"].map(|name| town.node(name));
    know_each_other(&anna, &nick);
    anna.begin_roster("Relief", None).unwrap();
    let key = anna.home().card.node;
    let large = large_roster(&anna);
    anna.take_roster(&large, &Silent).unwrap();
    bob.follow_roster(key, None, &Silent).unwrap();
    assert_eq!(bob.rosters().unwrap()[0].number, 0);
    let revoke = RosterChange::Revoke { who: "nick".into() };
    anna.change_roster(None, &revoke, &Silent).unwrap();
    let stick = town.stick("stick");
    toss(&anna, &stick);
    toss(&bob, &stick);
    let line = &bob.rosters().unwrap()[0];
    assert_eq!((&*line.name, line.members, line.revoked), ("Relief", 200, 1));
    assert!(anna.queue(&Silent).unwrap()[0].bytes > 4096);
}

/// A roster that came by while nobody followed it counts from the moment in which somebody does; and
/// one whose bundle is gone is written again.
#[test]
fn what_was_carried_blind_is_found_and_what_is_lost_is_written_again() {
    let town = Town::new();
    let [anna, bob, cleo, nick] = ["anna", "bob", "cleo", "nick"].map(|name| town.node(name));
    know_each_other(&anna, &nick);
    anna.begin_roster("Relief", None).unwrap();
    anna.change_roster(None, &RosterChange::Revoke { who: "nick".into() }, &Silent).unwrap();
    let (stick, other) = (town.stick("stick"), town.stick("other"));
    toss(&anna, &stick);
    toss(&bob, &stick);
    assert!(bob.rosters().unwrap().is_empty());
    let key = anna.home().card.node;
    let line = bob.follow_roster(key, None, &Silent).unwrap();
    assert_eq!((line.number, line.revoked), (2, 1));
    // Bob's spool is lost, not his home: what he follows is on its way again with the next visit.
    let home = bob.home().dir().to_owned();
    drop(bob);
    std::fs::remove_dir_all(home.join("spool")).unwrap();
    let bob = Desk::open(&home).unwrap();
    toss(&bob, &other);
    assert_eq!(carried(&bob), 1);
    cleo.follow_roster(key, None, &Silent).unwrap();
    toss(&cleo, &other);
    assert_eq!(cleo.rosters().unwrap()[0].revoked, 1);
}

/// The roster is taken first, then its bundle: a cut in between must not leave the old one to spread.
#[test]
fn a_cut_between_a_roster_and_its_bundle_is_made_good() {
    let town = Town::new();
    let [bob, cleo, nick] = ["bob", "cleo", "nick"].map(|name| town.node(name));
    let (first, newer) = (roster(1, 5, &[(&nick, false)]), roster(1, 6, &[(&nick, true)]));
    for desk in [&bob, &cleo] {
        desk.follow_roster(first.key, Some(&first), &Silent).unwrap();
        desk.home().take_roster(&newer).unwrap();
    }
    // By the next visit, or by another bundle of the same that comes before it.
    let (stick, dora) = (town.stick("stick"), town.node("dora"));
    toss(&bob, &stick);
    let path = to_group(&town, "newer", 1, newer.group(), &roster_packet(newer.as_bytes()));
    cleo.bundle_import(&path, &Silent).unwrap();
    assert_eq!((carried(&bob), carried(&cleo)), (1, 1));
    dora.follow_roster(first.key, None, &Silent).unwrap();
    toss(&dora, &stick);
    assert_eq!(dora.rosters().unwrap()[0].number, 6);
}

/// What has ended takes a role, and nobody's mail.
#[test]
fn mail_of_a_member_that_has_ended_is_carried_and_delivered() {
    let town = Town::new();
    let [anna, bob, guest] = ["anna", "bob", "guest"].map(|name| town.node(name));
    know_each_other(&anna, &guest);
    let bob = right(&town, bob, "run = [\"@guest\"]");
    know_each_other(&bob, &guest);
    anna.begin_roster("House", None).unwrap();
    let until = |day| RosterChange::Add {
        who: "guest".into(),
        role: Some("guest".into()),
        groups: None,
        until: Some(day),
    };
    anna.change_roster(None, &until(18_000), &Silent).unwrap();
    let stick = town.stick("stick");
    bob.follow_roster(anna.home().card.node, None, &Silent).unwrap();
    let sent = send(&guest, "bob", "still here");
    let back = send(&bob, "guest", "and to you");
    for desk in [&anna, &guest, &bob, &anna, &guest, &bob] {
        toss(desk, &stick);
    }
    assert_eq!(texts(&bob), ["still here"]);
    assert_eq!(texts(&guest), ["and to you"]);
    assert_eq!(
        (state(&guest, &sent), state(&bob, &back)),
        ("delivered".into(), "delivered".into())
    );
    assert_eq!(bob.roster_members(None).unwrap()[0].state, "ended");
}

/// The same home, with this in its `[acl]`.
fn right(town: &Town, desk: Desk, line: &str) -> Desk {
    town.set(desk, "# At the end", &format!("[acl]\n{line}\n# At the end"))
}

/// The rights are asked of whoever signed: here two nodes away, through one that may.
#[test]
fn a_stranger_two_nodes_away_is_refused_by_whom_they_may_not_reach() {
    let town = Town::new();
    let [stranger, relay, friend] = ["stranger", "relay", "friend"].map(|name| town.node(name));
    let target = right(&town, town.node("target"), "reach = [\"contacts\"]");
    know_each_other(&relay, &target);
    know_each_other(&friend, &target);
    let card = target.home().card.clone();
    stranger.add(&postrider::desk::AddRequest { card, name: None }).unwrap();
    let (one, two) = (town.stick("one"), town.stick("two"));
    let sent = send(&stranger, "target", "let me in");
    send(&friend, "target", "hello");
    for desk in [&stranger, &friend, &relay] {
        toss(desk, &one);
    }
    toss(&relay, &two);
    let brought = toss(&target, &two);
    assert_eq!(texts(&target), ["hello"]);
    assert_eq!(brought.left_out.len(), 1, "{:?}", brought.left_out);
    assert_eq!(brought.damaged, 0);
    for desk in [&relay, &stranger] {
        toss(desk, &two);
    }
    assert_eq!(state(&stranger, &sent), "saved");
}

#[test]
fn nothing_is_relayed_for_those_who_may_not() {
    let town = Town::new();
    let [friend, stranger, far] = ["friend", "stranger", "far"].map(|name| town.node(name));
    let relay = right(&town, town.node("relay"), "relay = [\"contacts\"]");
    know_each_other(&relay, &friend);
    for one in [&friend, &stranger] {
        know_each_other(one, &far);
    }
    know_each_other(&friend, &stranger);
    let stick = town.stick("stick");
    send(&stranger, "far", "for nobody's sake");
    send(&stranger, "friend", "for the sake of whom it is for");
    send(&friend, "far", "for the sake of whom it is from");
    toss(&stranger, &stick);
    let taken = toss(&relay, &stick);
    assert_eq!(taken.left_out.values().sum::<u64>(), 1, "{:?}", taken.left_out);
    let to = |desk: &Desk| -> Vec<String> {
        desk.queue(&Silent).unwrap().into_iter().map(|row| row.to).collect()
    };
    assert_eq!(to(&relay), ["friend"]);
    toss(&friend, &stick);
    toss(&relay, &stick);
    assert_eq!(to(&relay), [far.home().card.node.to_string()]);
}
