//! Trust that spreads, between built commands: an organisation whose third node is cut off, two who
//! are introduced, a guest who ends by themselves, a key in two places.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::node::{Folder, Node, of_type, text, until, with_json};

/// An organisation: Anna makes its roster with a key of its own, Ben, Cleo and Nick are on it, and
/// all follow it. Nobody of them is anybody's contact but by the roster.
struct Org {
    anna: Node,
    ben: Node,
    cleo: Node,
    nick: Node,
}

impl Org {
    fn new(folder: &Folder) -> Self {
        let [anna, ben, cleo, nick] = ["Anna", "Ben", "Cleo", "Nick"].map(|name| folder.node(name));
        for member in [&ben, &cleo, &nick] {
            anna.meet(member);
        }
        anna.run(["roster", "new", "Relief", "--key", "relief.key"]).ok();
        for name in ["Anna", "Ben", "Cleo", "Nick"] {
            let who = if name == "Anna" { text(&anna.json(["id"])[0], "id") } else { name.into() };
            anna.run(["roster", "add", &who, "--role", "medic"]).ok();
        }
        anna.run(["roster", "export", "relief.roster"]).ok();
        for member in [&ben, &cleo, &nick] {
            member.run(["roster", "follow", "relief.roster"]).ok();
        }
        Self { anna, ben, cleo, nick }
    }

    fn revoke_nick(&self) {
        self.anna.run(["--yes", "roster", "revoke", "Nick"]).ok();
    }
}

/// What a node says of somebody on the roster.
fn standing(node: &Node, name: &str) -> String {
    standing_in(node, "Relief", name)
}

fn standing_in(node: &Node, roster: &str, name: &str) -> String {
    let members = node.json(["roster", "show", roster]);
    let member = of_type(&members, "member").into_iter().find(|member| member["name"] == name);
    text(member.unwrap_or_else(|| panic!("no {name} in {members:?}")), "state")
}

fn contact(node: &Node, name: &str) -> Option<Value> {
    let contacts = node.json(["contact", "ls"]);
    of_type(&contacts, "contact").into_iter().find(|contact| contact["name"] == name).cloned()
}

/// As a person does it who moves a home and forgets to end the old one.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
}

/// Where a daemon listens.
fn listens_at(node: &Node) -> String {
    node.json(["up"]).remove(0)["listening"][0].as_str().unwrap().to_owned()
}

/// How many messages from somebody are in an inbox.
fn mail_from(node: &Node, name: &str) -> usize {
    let inbox = node.json(["inbox", "ls"]);
    of_type(&inbox, "message").iter().filter(|message| message["from"] == name).count()
}

fn courier(from: &Node, stranger: &Node, to: &Node, stick: &Path, other: &Path) {
    from.toss(stick);
    stranger.toss(stick);
    stranger.toss(other);
    to.toss(other);
}

crate::node::in_both_modes! {
    a_revocation_comes_by_a_stranger_with_a_stick_and_counts_from_then_on
}

/// Nick may write to Cleo, until she hears of it, by two sticks and a node that follows nothing.
fn a_revocation_comes_by_a_stranger_with_a_stick_and_counts_from_then_on(folder: &Folder) {
    let org = Org::new(folder);
    let stranger = folder.node("Stranger");
    let [stick, other, own] = ["stick", "other", "own"].map(|name| folder.dir(name));
    // Members are contacts by the roster alone.
    let nick = contact(&org.cleo, "Nick").unwrap();
    assert_eq!((&nick["trust"], &nick["by"]), (&"introduced".into(), &"Relief".into()));
    org.nick.send(["Cleo", "before"]);
    org.nick.toss(&own);
    org.cleo.toss(&own);
    assert_eq!(mail_from(&org.cleo, "Nick"), 1);
    let waiting = org.cleo.send(["Nick", "an answer"]);

    org.revoke_nick();
    assert_eq!(standing(&org.anna, "Nick"), "revoked");
    assert_eq!(standing(&org.cleo, "Nick"), "good");
    courier(&org.anna, &stranger, &org.cleo, &stick, &other);
    assert_eq!(standing(&org.cleo, "Nick"), "revoked");
    assert_eq!(standing(&org.cleo, "Ben"), "good");
    assert!(stranger.run(["roster", "ls"]).ok().out.contains("None"));

    // What waited for him stops, and says why; nothing new is written to him.
    let queue = org.cleo.json(["queue", "ls"]);
    let bundle = of_type(&queue, "bundle").into_iter().find(|b| b["message"] == waiting).unwrap();
    assert_eq!(bundle["state"], "refused");
    assert!(text(bundle, "reason").contains("Relief"), "{bundle}");
    assert!(org.cleo.run(["why", &waiting]).ok().out.contains("revoked by the roster Relief"));
    let refused = org.cleo.run(["send", "Nick", "more"]).code(12);
    assert!(refused.err.contains("revoked by the roster Relief"), "{}", refused.err);
    let listed = org.cleo.run(["contact", "ls"]).ok().out;
    assert!(listed.contains("REVOKED by Relief"), "{listed}");

    // What he writes is refused from then on, whoever brings it, and others' mail comes.
    org.nick.send(["Cleo", "after"]);
    org.ben.send(["Cleo", "from Ben"]);
    for from in [&org.nick, &org.ben] {
        from.toss(&own);
    }
    courier(&org.nick, &stranger, &org.cleo, &stick, &other);
    let brought = org.cleo.toss(&own);
    assert!(brought["left_out"].to_string().contains("revoked"), "{brought}");
    assert_eq!((mail_from(&org.cleo, "Nick"), mail_from(&org.cleo, "Ben")), (1, 1));
    // And he hears himself that his key counts no more.
    org.nick.toss(&stick);
    let health = text(&org.nick.json(["status"])[0], "health");
    assert!(health.contains("revoked by Relief"), "{health}");

    // A newer roster takes it back, and what waited goes on.
    org.anna.run(["roster", "add", "Nick"]).ok();
    courier(&org.anna, &stranger, &org.cleo, &stick, &other);
    assert_eq!(standing(&org.cleo, "Nick"), "good");
    for node in [&org.cleo, &org.nick, &org.cleo] {
        node.toss(&own);
    }
    assert_eq!((mail_from(&org.cleo, "Nick"), mail_from(&org.nick, "Cleo")), (2, 1));
}

/// Cleo meets Ben again, over a link; Nick's own link ends in the moment in which she hears of it.
#[test]
fn a_revocation_comes_with_the_next_link_and_ends_the_links_of_whom_it_is_about() {
    let folder = Folder::new();
    let mut org = Org::new(&folder);
    let stick = folder.dir("stick");
    org.revoke_nick();
    org.anna.toss(&stick);
    org.ben.toss(&stick);
    let listening = ["--no-lan", "--listen", "tls://127.0.0.1:0"];
    org.cleo.start_daemon(&listening);
    let peer = format!("tls://{}#Cleo", listens_at(&org.cleo));
    let linked = |node: &Node, name: &str| {
        let peers = node.json(["peers"]);
        of_type(&peers, "peer").iter().any(|peer| peer["name"] == name && peer["up"] == true)
    };
    org.nick.start_daemon(&["--no-lan", "--peer", &peer]);
    until("Nick's link", || linked(&org.cleo, "Nick"));
    assert_eq!(standing(&org.cleo, "Nick"), "good");
    org.ben.start_daemon(&["--no-lan", "--peer", &peer]);
    until("the revocation", || standing(&org.cleo, "Nick") == "revoked");
    until("the end of Nick's link", || !linked(&org.cleo, "Nick"));
    assert!(linked(&org.cleo, "Ben"));
    let told = org.cleo.json(["log"]);
    assert!(of_type(&told, "event").iter().any(|event| event["what"] == "roster"), "{told:?}");
    let sent = org.ben.send(["Cleo", "over the link"]);
    until("Ben's mail", || mail_from(&org.cleo, "Ben") == 1);
    org.nick.send(["Cleo", "let me in"]);
    until("Ben's receipt", || {
        let traced = org.ben.json(["trace", &sent]);
        traced.iter().any(|event| event["what"] == "delivered")
    });
    assert_eq!(mail_from(&org.cleo, "Nick"), 0);
}

/// The key lies elsewhere; without it nobody changes the roster, and with it any home can.
#[test]
fn a_rosters_key_lives_on_a_stick_and_is_needed_for_every_change() {
    let folder = Folder::new();
    let org = Org::new(&folder);
    let safe = folder.dir("safe");
    let key = folder.path("relief.key");
    let text_of_key = std::fs::read(&key).unwrap();
    std::fs::rename(&key, safe.join("relief.key")).unwrap();
    let away = org.anna.run(["roster", "add", "Ben", "--role", "boss"]).code(1);
    assert!(away.err.contains("--key"), "{}", away.err);
    org.anna.run(["roster", "add", "Ben", "--role", "boss", "--key", "safe/relief.key"]).ok();
    let from_input = ["roster", "add", "Ben", "--group", "field", "--key", "-"];
    org.anna.run_with(from_input, &text_of_key).ok();
    let members = org.anna.json(["roster", "show"]);
    let ben = of_type(&members, "member").into_iter().find(|m| m["name"] == "Ben").unwrap();
    assert_eq!((&ben["role"], &ben["groups"]), (&"boss".into(), &serde_json::json!(["field"])));
    // Another roster's key, a file that is none, and a forged roster change nothing.
    org.anna.run(["roster", "new", "Other", "--key", "other.key"]).ok();
    let wrong = ["roster", "revoke", "Ben", "--roster", "Relief", "--key", "other.key"];
    org.anna.run(wrong).code(2);
    org.anna
        .run(["roster", "revoke", "Ben", "--roster", "Relief", "--key", "relief.roster"])
        .code(1);
    let good = std::fs::read(folder.path("relief.roster")).unwrap();
    for at in (0..good.len()).step_by(97) {
        let mut spoiled = good.clone();
        spoiled[at] ^= 4;
        let file = folder.file("spoiled.roster", &spoiled);
        org.ben.run(["roster".as_ref(), "import".as_ref(), file.as_os_str()]).code(11);
    }
    // Nor does an old one.
    org.anna.run(["roster", "export", "new.roster", "--roster", "Relief"]).ok();
    org.ben.run(["roster", "import", "new.roster"]).ok();
    org.ben.run(["roster", "import", "relief.roster"]).code(12);
    assert_eq!(standing(&org.ben, "Ben"), "good");
}

#[test]
fn a_guest_ends_by_themselves_and_a_member_is_told_before() {
    let folder = Folder::new();
    let (anna, guest) = (folder.node("Anna"), folder.node("Guest"));
    anna.meet(&guest);
    anna.run(["roster", "new", "House"]).ok();
    let add = |until: &str| {
        anna.run(["roster", "add", "Guest", "--role", "guest", "--until", until]).ok();
        let members = anna.json(["roster", "show"]);
        text(of_type(&members, "member")[0], "state")
    };
    assert_eq!(add("2020-01-31"), "ended");
    assert_eq!(add("never"), "good");
    assert_eq!(add("14d"), "good");
    anna.run(["roster", "export", "house.roster"]).ok();
    guest.run(["roster", "follow", "house.roster"]).ok();
    let health = text(&guest.json(["status"])[0], "health");
    assert!(health.contains("ends in 14 days"), "{health}");
    let health = text(&anna.json(["status"])[0], "health");
    assert!(health.contains("1 on the roster House"), "{health}");
    anna.run(["roster", "new", "Another"]).code(2);
    // A roster can come as mail, and is followed only when its reader says so.
    anna.run(["roster", "send", "Guest"]).ok();
    guest.run(["roster", "leave", "House"]).ok();
    let stick = folder.dir("stick");
    anna.toss(&stick);
    guest.toss(&stick);
    let inbox = guest.json(["inbox", "ls"]);
    let message = of_type(&inbox, "message")[0];
    assert_eq!(message["kind"], "roster");
    assert!(text(message, "text").contains("House"), "{message}");
    assert!(guest.run(["roster", "ls"]).ok().out.contains("None"));
    guest.run(["roster", "follow", &text(message, "id")]).ok();
    assert_eq!(standing_in(&guest, "House", "Guest"), "good");
    anna.run(["roster", "add", "Guest", "--until", "soon"]).code(2);
    anna.run(["roster", "add", "Nobody"]).code(5);
    anna.run(["roster", "add", "Guest", "--role", "Big Boss"]).code(2);
}

#[test]
fn who_is_introduced_waits_to_be_accepted_and_can_be_written_to() {
    let folder = Folder::new();
    let (alice, bob) = folder.acquainted();
    let (carol, stick) = (folder.node("Carol"), folder.dir("stick"));
    for (one, other) in [(&alice, &carol), (&carol, &alice)] {
        one.meet(other);
    }
    let note = "she has the boat";
    let sent = alice.json(["contact", "introduce", "Carol", "Bob", "--note", note, "--both"]);
    assert_eq!(of_type(&sent, "message").len(), 2);
    alice.toss(&stick);
    bob.toss(&stick);
    carol.toss(&stick);
    let known = contact(&bob, "Carol").unwrap();
    assert_eq!((&known["trust"], &known["pending"]), (&"introduced".into(), &true.into()));
    let listed = bob.run(["contact", "ls"]).ok().out;
    assert!(listed.contains("introduced by Alice, not yet accepted"), "{listed}");
    let inbox = bob.json(["inbox", "ls"]);
    let message = of_type(&inbox, "message")[0];
    assert_eq!(message["kind"], "introduction");
    assert!(text(message, "text").contains(note), "{message}");
    bob.send(["Carol", "hello, I am Bob"]);
    bob.toss(&stick);
    carol.toss(&stick);
    assert_eq!(mail_from(&carol, "Bob"), 1);
    bob.run(["contact", "accept", "Carol"]).ok();
    assert_eq!(contact(&bob, "Carol").unwrap()["pending"], false);
    alice.run(["contact", "introduce", "Bob", "Bob"]).code(2);
    alice.run(["contact", "introduce", "Bob", "Nobody"]).code(5);
}

/// A home that was copied and runs twice: the second's mail comes back to the first.
#[test]
fn a_key_in_two_places_is_an_alarm_until_it_is_cleared() {
    let folder = Folder::new();
    let (alice, _bob) = folder.acquainted();
    let stick = folder.dir("stick");
    let clone = folder.nobody("Clone");
    copy(alice.home(), clone.home());
    // Mail of one's own that comes back is none.
    alice.send(["Bob", "mine"]);
    alice.toss(&stick);
    alice.toss(&stick);
    assert_eq!(alice.json(["status"])[0]["health"], "ok");
    clone.send(["Bob", "not mine"]);
    clone.toss(&stick);
    alice.toss(&stick);
    let status = alice.json(["status"]).remove(0);
    assert!(text(&status, "health").contains("ALARM"), "{status}");
    assert_eq!(status["alarms"].as_array().unwrap().len(), 1);
    let found = alice.run(["doctor"]).code(1);
    assert!(found.out.contains("--clear-alarm"), "{}", found.out);
    alice.run(["doctor", "--clear-alarm"]).ok();
    alice.toss(&stick);
    assert_eq!(alice.json(["status"])[0]["health"], "ok");
    clone.send(["Bob", "again"]);
    clone.toss(&stick);
    alice.toss(&stick);
    assert!(text(&alice.json(["status"])[0], "health").contains("ALARM"));
}

/// The same over a link: the second calls where the first listens.
#[test]
fn a_link_to_ones_own_key_elsewhere_is_an_alarm_and_one_to_oneself_is_none() {
    let folder = Folder::new();
    let mut alice = folder.node("Alice");
    let mut clone = folder.nobody("Clone");
    copy(alice.home(), clone.home());
    alice.start_daemon(&["--no-lan", "--listen", "tls://127.0.0.1:0"]);
    let id = text(&alice.json(["id"])[0], "id");
    let own = format!("tls://{}#{id}", listens_at(&alice));
    alice.run(with_json(["link", "test", &own]));
    assert_eq!(alice.json(["status"])[0]["health"], "ok");
    clone.start_daemon(&["--no-lan", "--peer", &own]);
    for node in [&alice, &clone] {
        until("the alarm", || text(&node.json(["status"])[0], "health").contains("ALARM"));
    }
    let told = alice.json(["log"]);
    assert!(of_type(&told, "event").iter().any(|event| event["what"] == "alarm"), "{told:?}");
}
