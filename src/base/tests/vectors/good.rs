//! Golden vectors: the crate's encoder wrote them, with every choice said.

use postrider_base::{
    Lifetime, Niceness, SealPublic,
    bundle::{Destination, Receipt, Sequence, SmallBundle},
    card::{Card, Facts},
    compose::{Letter, Padding, Privacy, Sealed, To, seal},
    id::{BundleId, SetId},
    packet::{Body, Content, FileEntry, Introduction, Manifest, Packet, PartHead, PartList, Tail},
    roster::{Day, Entry, Member, Roster, RosterFacts},
};
use serde_json::{Value, json};

use crate::{
    bad_packet::short_block,
    cbor::{V, b},
    craft::{ALICE, BOB, Craft, MALLORY, mail, node, seed},
    decode::describe,
    jobs, requests,
    vector::{Vector, good, hex, merged},
};

const ENTROPY: [u8; 32] = [0xe1; 32];
const HINT: Privacy = Privacy::Hidden { known: true };
const FULL: Privacy = Privacy::Hidden { known: false };

pub(crate) fn all() -> Vec<Vector> {
    [letters(), about_jobs(), crafted(), cards(), rosters(), identities(), receipts()]
        .into_iter()
        .flatten()
        .collect()
}

/// A letter of Alice's to Bob, spelled out and changed where a case asks for it.
fn letter(author: &postrider_base::NodeSecret, privacy: Privacy) -> Letter<'_> {
    Letter {
        author,
        to: To::One(node(BOB).id(), node(BOB).first_seal_key().public()),
        sequence: Sequence { epoch: 0xdead_beef, counter: 5 },
        created: 1_800_000_000,
        lifetime: Lifetime::DEFAULT,
        nice: Niceness::NORMAL,
        privacy,
        padding: Padding::Class,
    }
}

fn text(text: &str) -> Packet {
    Packet { body: Body::Mail(text.into()), tail: Tail::default() }
}

/// Bytes that no dictionary shortens.
fn noise(bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut out);
    out
}

fn bundle_bytes(sealed: &Sealed<Vec<u8>>) -> Vec<u8> {
    if sealed.head.header().is_small() {
        SmallBundle { head: sealed.head.clone(), payload: sealed.payload.clone() }.encode()
    } else {
        [sealed.head.encode(), sealed.payload.clone()].concat()
    }
}

/// What the sender knows of what it sent; nothing here was decoded from the bytes.
fn expectation(letter: &Letter<'_>, sealed: &Sealed<Vec<u8>>, packet: &Packet) -> Value {
    let hidden = letter.privacy != Privacy::Open;
    let header = sealed.head.header();
    let seal_name = ["none", "compact", "age"][usize::from(header.seal.number())];
    let mut expect = merged([
        json!({
            "envelope": if hidden { "hidden" } else { "open" }, "id": hex(sealed.id.0),
            "lifetime": letter.lifetime.seconds(), "niceness": letter.nice.value(),
            "seal": seal_name,
            "length": sealed.payload.len(), "source": hex(letter.author.id().as_bytes()),
            "epoch": letter.sequence.epoch, "counter": letter.sequence.counter,
            "created": letter.created, "r": sealed.secret.as_ref().map(|r| hex(r.0)),
            "lock": header.lock.as_bytes().map(hex),
            "destination": hex(header.destination.as_bytes()),
        }),
        describe(packet),
    ]);
    if let Privacy::Hidden { known } = letter.privacy {
        expect["hint"] = json!(known);
    }
    if !header.is_small() {
        expect["hash"] = json!(hex(blake3::hash(&sealed.payload).as_bytes()));
    }
    expect
}

fn sent(name: &str, what: &str, letter: &Letter<'_>, packet: &Packet) -> Vector {
    let sealed = seal(letter, &packet.encode(), &ENTROPY).unwrap();
    let expect = expectation(letter, &sealed, packet);
    let vector = good(name, what, "bundle", &bundle_bytes(&sealed), expect);
    match letter.to {
        To::One(..) => {
            vector.for_seed(seed(BOB)).senders(&[MALLORY, ALICE].map(|n| *node(n).id().as_bytes()))
        }
        _ => vector,
    }
}

fn letters() -> Vec<Vector> {
    let alice = node(ALICE);
    let open = letter(&alice, Privacy::Open);
    let hundred = "The water is rising, we are going up to the church with the children. \
                   Please bring blankets, Tom.";
    let card = alice_card();
    let replying = Packet {
        tail: Tail { reply_to: Some(BundleId([0x11; 32])), card: Some(card.as_bytes().to_vec()) },
        ..text("yes")
    };
    let group = To::Group([0x67; 16], vec![node(BOB).first_seal_key().public()]);
    let public = To::Public(Destination::Group([0x70; 16]));
    let to_followers = To::Public(Destination::Group(relief().group()));
    let long = "Nobody knows when the trains will run again. ".repeat(200);
    let noisy = hex(noise(5000));
    let several: Vec<SealPublic> =
        [BOB, MALLORY].map(|n| node(n).first_seal_key().public()).to_vec();
    vec![
        sent("open-compact-mail", "a compressed text, padded to a class", &open, &text(hundred)),
        sent(
            "open-compact-bare",
            "a text too short to compress, without padding",
            &Letter { padding: Padding::Bare, ..open.clone() },
            &text("ok"),
        ),
        sent("open-compact-empty", "an empty text", &open, &text("")),
        sent("open-compact-reply", "a reply that carries the sender's card", &open, &replying),
        sent(
            "open-compact-scripts",
            "a text in many scripts",
            &open,
            &text("Zażółć gęślą jaźń · всё хорошо · 我们都很安全 · مرحبا · ठीक है · 👍🏽"),
        ),
        sent(
            "open-compact-urgent",
            "largest counter, epoch, time and lifetime, lowest niceness",
            &Letter {
                sequence: Sequence { epoch: u32::MAX, counter: u64::MAX },
                created: u64::MAX,
                lifetime: Lifetime::new(u32::MAX).unwrap(),
                nice: Niceness::new(1).unwrap(),
                ..open.clone()
            },
            &text(hundred),
        ),
        sent(
            "open-compact-least",
            "smallest counter, epoch, time and lifetime, highest niceness",
            &Letter {
                sequence: Sequence { epoch: 0, counter: 1 },
                created: 0,
                lifetime: Lifetime::new(1).unwrap(),
                nice: Niceness::new(255).unwrap(),
                ..open.clone()
            },
            &text(hundred),
        ),
        sent("open-age-long", "a long compressed text under age", &open, &text(&noisy)),
        sent("open-compact-long", "a repetitive text: 9,000 bytes in few", &open, &text(&long)),
        sent(
            "open-none-board",
            "an unsealed text for a board",
            &Letter { to: public.clone(), ..open.clone() },
            &text(hundred),
        ),
        sent(
            "open-none-large",
            "an unsealed text above 4096 bytes: hash in the header, payload behind the array",
            &Letter { to: public, ..open.clone() },
            &text(&hex(noise(4096))),
        ),
        relay_only(
            "open-compact-group",
            "sealed to a group's key: no lock",
            &Letter { to: group, ..open.clone() },
            &text(hundred),
        ),
        relay_only(
            "open-age-two-readers",
            "sealed to two keys of a group: no lock",
            &Letter { to: To::Group([0x67; 16], several), ..open.clone() },
            &text(hundred),
        ),
        sent(
            "hidden-compact",
            "hidden, the sender's key in full",
            &letter(&alice, FULL),
            &text(hundred),
        ),
        sent(
            "hidden-compact-hint",
            "hidden, to somebody who knows the sender: 8 bytes of hint",
            &letter(&alice, HINT),
            &text(hundred),
        ),
        sent(
            "hidden-age-hint",
            "hidden under age, with a hint",
            &letter(&alice, HINT),
            &text(&noisy),
        ),
        sent("hidden-age", "hidden under age, key in full", &letter(&alice, FULL), &text(&noisy)),
        sent("open-card", "somebody else's card, passed on", &open, &card_packet()),
        sent("open-introduction", "Mallory's card, vouched for", &open, &introduction()),
        sent(
            "open-none-roster",
            "a roster for all who follow it",
            &Letter { to: to_followers, ..open.clone() },
            &roster_packet(),
        ),
        sent("open-manifest-inline", "two small files and a folder", &open, &inline_files()),
        sent("open-manifest-parts", "a manifest of two parts", &open, &files_in_parts()),
    ]
}

/// Whatever is said of jobs and of files that are asked for, from Alice to Bob.
fn about_jobs() -> Vec<Vector> {
    let alice = node(ALICE);
    let open = letter(&alice, Privacy::Open);
    let all = jobs::good().into_iter().chain(requests::good());
    all.map(|(name, what, packet)| sent(&format!("open-{name}"), what, &open, &packet)).collect()
}

/// For a group: no seed of its own opens it here, relays check it all the same.
fn relay_only(name: &str, what: &str, letter: &Letter<'_>, packet: &Packet) -> Vector {
    let mut vector = sent(name, what, letter, packet);
    let expect = vector.json["expect"].as_object_mut().unwrap();
    let relay = [
        "envelope",
        "id",
        "lifetime",
        "niceness",
        "seal",
        "length",
        "source",
        "epoch",
        "counter",
        "created",
        "lock",
        "destination",
    ];
    expect.retain(|key, _| relay.contains(&key.as_str()));
    vector
}

fn alice_card() -> Card {
    let alice = node(ALICE);
    let facts = Facts {
        node: alice.id(),
        number: 3,
        seal_keys: vec![(1, alice.first_seal_key().public())],
        name: "Alice".into(),
        hints: vec![],
        features: 0,
    };
    Card::sign(facts, &alice).unwrap()
}

fn card_packet() -> Packet {
    let card = mallory_card().as_bytes().to_vec();
    Packet { body: Body::Card(card), tail: Tail::default() }
}

fn mallory_card() -> Card {
    let mallory = node(MALLORY);
    let key = |n: u8| node(n).first_seal_key().public();
    let facts = Facts {
        node: mallory.id(),
        number: u64::MAX,
        seal_keys: vec![(u32::MAX, key(9)), (7, key(8)), (0, mallory.first_seal_key().public())],
        name: "Małgorzata 山".into(),
        hints: vec!["tls://[2001:db8::1]:7531".into(), "media:/blue stick".into()],
        features: 1,
    };
    Card::sign(facts, &mallory).unwrap()
}

fn introduction() -> Packet {
    let note = Some("she knows the way over the pass".into());
    let said = Introduction { card: mallory_card().as_bytes().to_vec(), note };
    Packet { body: Body::Introduction(said), tail: Tail::default() }
}

fn roster_packet() -> Packet {
    Packet { body: Body::Roster(relief().as_bytes().to_vec()), tail: Tail::default() }
}

/// A member with a card, a guest and a revoked key.
fn relief() -> Roster {
    let entry = |who: Member, name: &str, role: &str| Entry {
        who,
        name: name.into(),
        role: role.into(),
        groups: vec![],
        until: None,
        revoked: false,
    };
    let mut facts = RosterFacts {
        key: node(ALICE).id(),
        number: 2,
        issued: Day(20_800),
        name: "Relief".into(),
        entries: vec![],
    };
    let member = entry(Member::Card(Box::new(mallory_card())), "Małgorzata", "medic");
    facts.put(Entry { groups: vec!["field".into(), "night-1".into()], ..member });
    let guest = entry(Member::Key(node(BOB).id()), "Bob", "guest");
    facts.put(Entry { until: Some(Day(20_830)), ..guest });
    facts.put(Entry { revoked: true, ..entry(Member::Key(node(9).id()), "Nick", "") });
    Roster::sign(&facts, &node(ALICE)).unwrap()
}

fn rosters() -> Vec<Vector> {
    let full = relief();
    let of = |entry: &Entry, card: Option<&Card>| {
        json!({
            "node": hex(entry.node().as_bytes()), "card": card.map(|card| hex(card.as_bytes())),
            "name": entry.name, "role": entry.role, "groups": entry.groups,
            "until": entry.until.map(|day| day.0), "revoked": entry.revoked,
        })
    };
    let says = |name: &str, what: &str, roster: &Roster| {
        let entries: Vec<Value> =
            roster.entries.iter().map(|entry| of(entry, entry.card())).collect();
        let expect = json!({
            "key": hex(roster.key.as_bytes()), "number": roster.number,
            "issued": roster.issued.0, "name": roster.name, "entries": entries,
            "group": hex(roster.group()),
        });
        good(name, what, "roster", roster.as_bytes(), expect)
    };
    let empty = RosterFacts { entries: vec![], number: u64::MAX, ..(*full).clone() };
    vec![
        says("roster", "a member with a card, a guest with a last day, a revoked key", &full),
        says(
            "roster-empty",
            "nobody on it, and the largest number",
            &Roster::sign(&empty, &node(ALICE)).unwrap(),
        ),
    ]
}

fn file(path: &[&str], bytes: &[u8]) -> FileEntry {
    FileEntry {
        path: path.iter().map(ToString::to_string).collect(),
        bytes: bytes.len() as u64,
        blake3: *blake3::hash(bytes).as_bytes(),
        mtime: Some(1_800_000_000),
        executable: false,
        directory: false,
    }
}

fn inline_files() -> Packet {
    let files = vec![
        FileEntry { directory: true, mtime: None, ..file(&["plans"], b"") },
        file(&["plans", "bridge.txt"], b"the bridge holds 3.5 t\n"),
        FileEntry { executable: true, ..file(&["run.sh"], b"#!/bin/sh\nuptime\n") },
    ];
    let content = b"the bridge holds 3.5 t\n#!/bin/sh\nuptime\n".to_vec();
    let manifest =
        Manifest { text: Some("see the plans".into()), files, content: Content::Inline(content) };
    Packet { body: Body::Files(manifest), tail: Tail::default() }
}

fn files_in_parts() -> Packet {
    let files = vec![
        FileEntry { bytes: 1_500_000, ..file(&["film", "Straße 1.mp4"], b"a stand-in") },
        FileEntry { bytes: 500_000, mtime: None, ..file(&["film", "notes"], b"another") },
    ];
    let content = Content::Parts(PartList {
        set: SetId([0x5e; 16]),
        part_bytes: 1 << 20,
        total_bytes: 2_000_000,
        hashes: vec![[0xaa; 32], [0xbb; 32]],
    });
    let manifest = Manifest { text: None, files, content };
    Packet { body: Body::Files(manifest), tail: Tail::default() }
}

/// Made by hand: forms that the crate's encoder has no occasion to write, and decoders accept.
fn crafted() -> Vec<Vector> {
    let raw = noise(5000);
    let head = |compressed: bool, stored: &[u8], plain: &[u8]| PartHead {
        set: SetId([0x5e; 16]),
        index: 1,
        stored_bytes: stored.len() as u64,
        plain_bytes: plain.len() as u64,
        compressed,
    };
    let frame = zstd::encode_all(&b"postrider ".repeat(2000)[..], 3).unwrap();
    let part = |hidden: bool, compressed: bool, stored: &[u8], plain: &[u8]| {
        let head = head(compressed, stored, plain);
        let fields =
            V::A(vec![b(head.set.0), V::U(1), V::U(stored.len() as u64), V::U(plain.len() as u64)]);
        let craft = Craft::new(2, hidden)
            .packet(vec![V::U(4 + u64::from(compressed)), fields])
            .with(|c| c.after = [stored, &[0; 300]].concat());
        let packet = Packet { body: Body::Part(head), tail: Tail::default() };
        let data = json!({ "data": hex(blake3::hash(plain).as_bytes()), "padding": 300 });
        (craft.build(), merged([describe(&packet), data]))
    };
    let made = |name: &str, what: &str, (bytes, expect): (Vec<u8>, Value)| {
        good(name, what, "bundle", &bytes, expect).for_seed(seed(BOB))
    };
    let said = json!({ "text": "meet me at the old mill", "kind": "mail" });
    let says = |more: Value| merged([said.clone(), more]);
    let alice = hex(node(ALICE).id().as_bytes());
    let node_destination = |h: &mut Vec<V>| h[2] = b(node(BOB).id().as_bytes());
    vec![
        made("open-part", "a part as it is, below 8 KiB", part(false, false, &raw, &raw)),
        made(
            "open-part-compressed",
            "a part as one zstd frame",
            part(false, true, &frame, &b"postrider ".repeat(2000)),
        ),
        made(
            "hidden-part",
            "a hidden part: the signature comes last",
            part(true, false, &raw, &raw),
        ),
        made(
            "open-age-short",
            "age below 4096 bytes: no hash, the payload inside the array",
            (Craft::new(2, false).build(), says(json!({ "seal": "age", "hash": null }))),
        ),
        made(
            "open-compact-block-1024",
            "a block without its frame of as many bytes as it may be",
            {
                let sentence =
                    b"Zwx needs 27 kg of rice and Qvortrup has it, says the man at gate 4. ";
                let text: String =
                    sentence.iter().cycle().take(1024).map(|byte| char::from(*byte)).collect();
                let body = b(short_block(sentence, 1024));
                (Craft::open().packet(vec![V::U(1), body]).build(), json!({ "text": text }))
            },
        ),
        made(
            "open-compact-frame",
            "a short text in a frame of its own, which a block would do for",
            {
                // One segment of 23 bytes in one last block that is not compressed.
                let head = [0x20, 23, 1 | 23 << 3, 0, 0];
                let body = b([&head[..], b"meet me at the old mill"].concat());
                (Craft::open().packet(vec![V::U(1), body]).build(), said.clone())
            },
        ),
        made("open-age-second-reader", "an age file whose first stanza is for somebody else", {
            let other = *node(MALLORY).first_seal_key().public().as_bytes();
            let craft = Craft::new(2, false).with(|c| c.age.recipients.insert(0, other));
            (craft.build(), said.clone())
        }),
        made("hidden-compact-nonce", "hidden without a lock: 8 bytes of nonce make the tag", {
            let craft = Craft::hidden().with(|c| c.nonce_lock = true);
            (craft.build(), says(json!({ "flags": 3, "r": null, "source": alice })))
        }),
        made("hidden-age-nonce", "the same under age", {
            let craft = Craft::new(2, true).with(|c| c.nonce_lock = true);
            (craft.build(), says(json!({ "flags": 3, "r": null, "source": alice })))
        }),
        made("hidden-node", "hidden, but with the recipient in clear and no lock", {
            let craft = Craft::hidden().with(|c| c.locked = false);
            (craft.header(node_destination).build(), says(json!({ "lock": null, "r": null })))
        }),
        made("open-compact-unlocked", "compact without a lock", {
            let craft = Craft::open().with(|c| c.locked = false);
            (craft.build(), says(json!({ "lock": null, "r": null })))
        }),
        made("open-compact-4096", "a payload of exactly 4096 bytes: still small, no hash", {
            let packet = V::A(mail("meet me at the old mill")).bytes().len();
            let craft = Craft::open().with(|c| c.after = vec![0; 4096 - 48 - packet]);
            (craft.build(), says(json!({ "length": 4096, "hash": null })))
        }),
        made("open-age-4097", "a payload of exactly 4097 bytes: hash, and behind the array", {
            let short = {
                let craft = Craft::new(2, false).with(|c| c.after = vec![0; 3000]);
                craft.build()
            };
            let payload = short.len() - short_overhead(&short);
            let craft = Craft::new(2, false).with(|c| c.after = vec![0; 3000 + 4097 - payload]);
            (craft.build(), says(json!({ "length": 4097 })))
        }),
    ]
}

/// What stands around the payload of a small bundle.
fn short_overhead(bytes: &[u8]) -> usize {
    let bundle = SmallBundle::decode(bytes).unwrap();
    bytes.len() - bundle.payload.len()
}

fn cards() -> Vec<Vector> {
    let card = |name: &str, what: &str, card: &Card| {
        let keys: Vec<Value> =
            card.seal_keys.iter().map(|(n, key)| json!([n, hex(key.as_bytes())])).collect();
        let expect = json!({
            "node": hex(card.node.as_bytes()), "number": card.number, "keys": keys,
            "name": card.name, "hints": card.hints, "features": card.features,
            "text": card.to_string(),
        });
        good(name, what, "card", card.as_bytes(), expect)
    };
    let alice = alice_card();
    let spread: String = alice
        .to_string()
        .as_bytes()
        .chunks(40)
        .map(|c| format!("  {}\r\n", std::str::from_utf8(c).unwrap()))
        .collect();
    vec![
        card("card", "one key, no hints", &alice),
        card("card-full", "several keys, hints, features, a name beyond ASCII", &mallory_card()),
        good(
            "card-text-broken-lines",
            "a card's text after a mail program broke its lines",
            "card-text",
            spread.as_bytes(),
            json!({ "node": hex(alice.node.as_bytes()), "number": 3, "name": "Alice" }),
        ),
    ]
}

fn identities() -> Vec<Vector> {
    let counting: Vec<u8> = (0..32).collect();
    let seeds: [(&str, [u8; 32], &str); 3] = [
        ("zeros", [0; 32], "202:24ae:c219:8a4a:de94:eae2:b97e:ac87"),
        ("counting", counting.try_into().unwrap(), "206:2f7c:2006:18f7:a0f1:4791:738c:5a1f"),
        ("ones", [0xff; 32], "201:257a:9b7e:ed64:6c2b:bb66:90d6:3167"),
    ];
    let mut out = Vec::new();
    for (name, raw, address) in seeds {
        let secret = postrider_base::NodeSecret::from_seed(raw);
        let (id, key) = (secret.id(), secret.first_seal_key());
        let mut expect = json!({
            "text": id.to_string(), "address": address, "node": hex(id.as_bytes()),
        });
        if name != "ones" {
            let words = postrider_base::words::words(&id);
            let list = bip39::Language::English.word_list();
            let number = |word: &&str| list.iter().position(|w| w == word).unwrap();
            expect["word_numbers"] = json!(words.iter().map(number).collect::<Vec<_>>());
        }
        let what = "text, address and comparison words of a key";
        out.push(good(&format!("node-{name}"), what, "node-id", id.as_bytes(), expect));
        let expect = json!({
            "node": hex(id.as_bytes()), "seal_secret": hex(key.as_bytes()),
            "seal_public": hex(key.public().as_bytes()), "recipient": key.public().to_string(),
        });
        let what = "what follows from a seed: node key, first seal key, age recipient";
        out.push(good(&format!("seed-{name}"), what, "seed", &raw, expect));
    }
    let id = node(ALICE).id();
    out.push(good(
        "node-text-upper-case",
        "a node's text in upper case, as QR codes prefer",
        "node-id-text",
        id.to_string().to_uppercase().as_bytes(),
        json!({ "node": hex(id.as_bytes()) }),
    ));
    out
}

fn receipts() -> Vec<Vector> {
    let alice = node(ALICE);
    let of = |name: &str, what: &str, privacy: Privacy, packet: &Packet| {
        let letter = letter(&alice, privacy);
        let sealed = seal(&letter, &packet.encode(), &ENTROPY).unwrap();
        let secret = sealed.secret.clone().unwrap();
        let receipt = Receipt::new(&sealed.id, &secret);
        let expect = json!({ "prefix": hex(&sealed.id.0[..8]), "r": hex(secret.0) });
        good(name, what, "receipt", &receipt.encode(), expect)
            .set("bundle", json!(hex(bundle_bytes(&sealed))))
    };
    vec![
        of("receipt-compact", "opens a compact lock", Privacy::Open, &text("hello")),
        of("receipt-hidden", "opens the lock of a hidden bundle", HINT, &text("hello")),
        of("receipt-age", "opens an age lock", Privacy::Open, &text(&hex(noise(5000)))),
    ]
}
