//! The radio form: bundles made by hand, their forms, and forms with one thing wrong.

use postrider_base::{
    NodeId, NodeSecret, SealPublic,
    bundle::{Head, HeadError, Hop, Receipt, SmallBundle},
    radio::{
        self, FORM_MAX, FormError, Knowledge, Pieces, Reader, Station, Taken, cut, expand, pack,
        shrink, unpack,
    },
    unseal::Keyring,
};
use serde_json::{Value, json};

use crate::{
    cbor::{V, b},
    craft::{ALICE, BOB, Craft, MALLORY, mail, node, seed},
    vector::{Vector, bad, good, hex, unhex},
};

const GROUP: [u8; 16] = [0x67; 16];
const HOP: Hop = Hop { tokens: 2, hops: 1, age_s: 86_400, level: 0 };
/// A day of thirty: 8 of 256 parts, rounded down, are 81,000 seconds.
const AGE: u64 = 81_000;

type Refused = &'static str;

/// The crate's reading of a radio vector.
pub(crate) fn run(kind: &str, bytes: &[u8], vector: &Value) -> Result<Value, Refused> {
    match kind {
        "radio" => form(bytes, vector),
        "radio-pieces" => {
            let mut pieces = Pieces::default();
            for before in vector["before"].as_array().unwrap() {
                pieces.take(&unhex(before.as_str().unwrap()));
            }
            match pieces.take(bytes) {
                Taken::Whole(form) => Ok(json!({ "form": hex(form) })),
                _ => Err("radio"),
            }
        }
        "radio-receipts" => {
            let receipts = unpack(bytes).map_err(|_| "radio")?;
            let pairs = receipts.iter().map(|one| json!([hex(one.id_prefix), hex(one.r)]));
            Ok(json!({ "receipts": pairs.collect::<Vec<_>>() }))
        }
        _ => {
            let station = Station::of_frame(bytes).map_err(|_| "radio")?;
            Ok(json!({ "call": station.call.to_string(), "ax25": hex(station.call.ax25()) }))
        }
    }
}

fn form(bytes: &[u8], vector: &Value) -> Result<Value, Refused> {
    let texts = |key: &str| -> Vec<Vec<u8>> {
        let list = vector[key].as_array().map_or(&[][..], |list| &list[..]);
        list.iter().map(|text| unhex(text.as_str().unwrap())).collect()
    };
    let nodes: Vec<NodeId> =
        texts("nodes").iter().map(|bytes| NodeId::from_bytes(bytes).unwrap()).collect();
    let groups: Vec<[u8; 16]> =
        texts("groups").iter().map(|bytes| bytes[..].try_into().unwrap()).collect();
    let me = vector["recipient_seed"].as_str();
    let me = me.map(|s| NodeSecret::from_seed(unhex(s).try_into().unwrap()));
    let mine = me.as_ref().map(|me| (me.id(), [me.first_seal_key()]));
    let me = mine.as_ref().map(|(node, keys)| Keyring { node, keys, senders: &[] });
    let known = Knowledge { me, nodes: &nodes, groups: &groups };
    let (bundle, hop) = expand(bytes, &known).map_err(|error| match error {
        FormError::Bundle(HeadError::Header(_)) => "header",
        FormError::Forged => "signature",
        _ => "radio",
    })?;
    Ok(json!({
        "bundle": hex(bundle.encode()), "id": hex(bundle.head.id(&bundle.payload).0),
        "tokens": hop.tokens, "hops": hop.hops, "age": hop.age_s, "level": hop.level,
    }))
}

/// A bundle, and the form that the crate makes of it for a reader who knows that much.
struct Case {
    bundle: Vec<u8>,
    hop: Hop,
    nodes: Vec<NodeId>,
    groups: Vec<[u8; 16]>,
    /// Whether Bob reads.
    bob: bool,
}

impl Case {
    fn of(craft: &Craft) -> Self {
        Self { bundle: craft.build(), hop: HOP, nodes: vec![], groups: vec![], bob: false }
    }

    fn known(mut self, nodes: &[u8], groups: &[[u8; 16]]) -> Self {
        self.nodes = nodes.iter().map(|n| node(*n).id()).collect();
        self.groups = groups.to_vec();
        self
    }

    fn by_bob(mut self) -> Self {
        self.bob = true;
        self
    }

    fn form(&self) -> Vec<u8> {
        let keys: [SealPublic; 1] = [node(BOB).first_seal_key().public()];
        let bob = node(BOB).id();
        let mut reader = Reader { nodes: &self.nodes, groups: &self.groups, ..Reader::STRANGER };
        if self.bob {
            reader.node = Some(&bob);
            reader.seal_keys = &keys;
        }
        shrink(&SmallBundle::decode(&self.bundle).unwrap(), self.hop, &reader).unwrap()
    }

    fn tell(&self, vector: Vector) -> Vector {
        let nodes: Vec<String> = self.nodes.iter().map(|n| hex(n.as_bytes())).collect();
        let groups: Vec<String> = self.groups.iter().map(hex).collect();
        let vector = vector.set("nodes", json!(nodes)).set("groups", json!(groups));
        if self.bob { vector.for_seed(seed(BOB)) } else { vector }
    }

    fn good(&self, name: &str, what: &str) -> Vector {
        let bundle = SmallBundle::decode(&self.bundle).unwrap();
        let age = if self.hop == HOP { AGE } else { u64::from(self.hop.age_s) };
        let expect = json!({
            "bundle": hex(&self.bundle), "id": hex(bundle.head.id(&bundle.payload).0),
            "tokens": self.hop.tokens, "hops": self.hop.hops, "age": age, "level": self.hop.level,
        });
        self.tell(good(&format!("radio-{name}"), what, "radio", &self.form(), expect))
    }

    /// The form with something wrong.
    fn bad(&self, name: &str, what: &str, stage: &str, spoil: impl Fn(&mut Vec<u8>)) -> Vector {
        let mut form = self.form();
        spoil(&mut form);
        self.tell(bad(&format!("radio-{name}"), what, "radio", &form, stage))
    }
}

fn to_group(craft: Craft) -> Craft {
    let binding = Some(GROUP.to_vec());
    craft.header(|h| h[2] = b(GROUP)).with(|c| {
        (c.binding, c.hidden_binding) = (binding.clone(), binding);
        c.locked = false;
    })
}

fn to_node_in_clear() -> Craft {
    Craft::hidden().header(|h| h[2] = b(node(BOB).id().as_bytes()))
}

fn unlocked(craft: Craft) -> Craft {
    craft.with(|c| c.locked = false)
}

fn nonce(craft: Craft) -> Craft {
    craft.with(|c| c.nonce_lock = true)
}

fn clear() -> Craft {
    Craft::new(0, false)
}

fn age(hidden: bool) -> Craft {
    Craft::new(2, hidden)
}

pub(crate) fn golden() -> Vec<Vector> {
    let of = |craft: &Craft| Case::of(craft);
    let both = [ALICE, BOB];
    let mut all = vec![
        of(&Craft::hidden()).good("hidden", "hidden, compact: tag and lock"),
        of(&nonce(Craft::hidden())).good("hidden-nonce", "hidden with a nonce"),
        of(&age(true)).good("hidden-by-age", "hidden, a small age file"),
        of(&nonce(age(true))).good("hidden-by-age-nonce", "the same with a nonce"),
        of(&to_node_in_clear()).good("hidden-node", "hidden, the recipient in clear, a lock"),
        of(&unlocked(to_node_in_clear())).good("hidden-node-unlocked", "the same without a lock"),
        of(&to_group(nonce(Craft::hidden()))).good("hidden-group", "hidden, a group in clear"),
        of(&to_group(age(true))).good("hidden-group-by-age", "the same under age, without a nonce"),
        of(&Craft::hidden()).by_bob().good("hidden-reader", "to its recipient: no tag, no lock"),
        of(&nonce(Craft::hidden()))
            .by_bob()
            .good("hidden-reader-nonce", "to its recipient: a nonce, no tag"),
        of(&Craft::open()).good("open", "open, both keys in full"),
        of(&unlocked(Craft::open())).good("open-unlocked", "open without a lock"),
        of(&age(false)).good("open-by-age", "open, a small age file"),
        of(&unlocked(age(false))).good("open-by-age-unlocked", "the same without a lock"),
        of(&clear()).good("open-clear", "open, not sealed, to a node"),
        of(&to_group(clear())).good("open-clear-group", "open, not sealed, to a group"),
        of(&to_group(Craft::open())).good("open-group", "open, sealed to a group"),
        of(&Craft::open()).known(&both, &[]).good("open-hints", "hints of both keys"),
        of(&Craft::open()).known(&[ALICE], &[]).good("open-hint-source", "a hint of the source"),
        of(&Craft::open()).known(&[BOB], &[]).good("open-hint-destination", "of the destination"),
        of(&to_group(clear()))
            .known(&[ALICE], &[GROUP])
            .good("open-hint-group", "hints of the source and of a group"),
        of(&Craft::open())
            .known(&[ALICE], &[])
            .by_bob()
            .good("open-reader", "to its recipient: no destination, no lock"),
        of(&age(false))
            .by_bob()
            .good("open-reader-by-age", "the same under age: the lock is there"),
        of(&clear()).by_bob().good("open-reader-clear", "not sealed, to whom it is for"),
    ];
    let mut twins = of(&Craft::open()).known(&[ALICE, BOB, MALLORY], &[]);
    let form = twins.form();
    twins.nodes.splice(0..0, [twin(ALICE, 1), twin(ALICE, 2), twin(BOB, 3)]);
    assert_eq!(form, twins.form());
    all.push(
        twins.good("open-hints-of-several", "hints that fit several keys: the signature decides"),
    );

    let class = |lifetime: u64, nice: u64| {
        Craft::hidden().header(move |h| (h[3], h[4]) = (V::U(lifetime), V::U(nice)))
    };
    all.extend([
        of(&class(600, 32)).good_at_0("class-least", "ten minutes, 32: class 0"),
        of(&class(3650 * 86_400, 223)).good_at_0("class-most", "3,650 days, 223: the last class"),
        of(&class(601, 160)).good_at_0("in-full-lifetime", "a lifetime without a class"),
        of(&class(2_592_000, 161)).good_at_0("in-full-niceness", "a niceness without a class"),
    ]);
    let open = |counter: u64, created: u64| {
        Craft::open().header(move |h| (h[9], h[10]) = (V::U(counter), V::U(created)))
    };
    all.extend([
        of(&open(0xff_ffff, u64::from(u32::MAX))).good("counter-most", "the last that are short"),
        of(&open(0x100_0000, 0)).good("in-full-counter", "a counter of 2^24"),
        of(&open(1, 1 << 32)).good("in-full-created", "a time of 2^32"),
    ]);
    let hop = |hop: Hop| Case { hop, ..Case::of(&Craft::hidden()) };
    all.extend([
        hop(Hop { level: 7, ..HOP }).good_aged("level", "with a level"),
        Case { hop: Hop { level: 255, ..HOP }, ..Case::of(&open(0x100_0000, 0)) }
            .good_aged("level-in-full", "a level before what is in full"),
        hop(Hop { tokens: 16, hops: 31, age_s: 0, level: 0 }).good("hop-most", "as many as can be"),
        hop(Hop { tokens: 6, hops: 0, age_s: 2_592_000 / 256 * 255, level: 0 })
            .good("age-most", "nearly over"),
    ]);
    all.extend(frames());
    all
}

impl Case {
    /// Of no age: what an age of parts means depends on the lifetime.
    fn good_at_0(mut self, name: &str, what: &str) -> Vector {
        self.hop.age_s = 0;
        self.good(name, what)
    }

    /// Of an age that is a whole number of parts.
    fn good_aged(mut self, name: &str, what: &str) -> Vector {
        self.hop.age_s = 81_000;
        self.good(name, what)
    }
}

/// A key of the same last four bytes.
fn twin(of: u8, salt: u8) -> NodeId {
    let mut bytes = *node(of).id().as_bytes();
    bytes[0] = salt;
    let all = (0..=u8::MAX).map(|n| {
        bytes[1] = n;
        NodeId::from_bytes(&bytes).ok()
    });
    all.flatten().next().unwrap()
}

fn pieces(name: &str, form: &[u8], frames: &[Vec<u8>]) -> Vector {
    let (last, before) = frames.split_last().unwrap();
    let before: Vec<String> = before.iter().map(hex).collect();
    let expect = json!({ "form": hex(form) });
    good(&format!("radio-pieces-{name}"), "pieces of a form", "radio-pieces", last, expect)
        .set("before", json!(before))
}

fn receipts() -> Vec<Receipt> {
    (0..42).map(|n| Receipt { id_prefix: [n; 8], r: [n + 100; 16] }).collect()
}

fn frames() -> Vec<Vector> {
    let stranger = Case::of(&Craft::hidden().with(|c| c.after = vec![0; 200])).form();
    let two = cut(&stranger, 230).unwrap();
    let mut backwards = cut(&stranger, 40).unwrap();
    backwards.reverse();
    let batch = |name: &str, count: usize| {
        let receipts = &receipts()[..count];
        let frame = &pack(receipts, 2000)[0];
        let pairs: Vec<Value> =
            receipts.iter().map(|one| json!([hex(one.id_prefix), hex(one.r)])).collect();
        let expect = json!({ "receipts": pairs });
        good(&format!("radio-receipts-{name}"), "receipts", "radio-receipts", frame, expect)
    };
    let station = |name: &str, call: &str, ax25: [u8; 7]| {
        let frame = [&[3], call.as_bytes()].concat();
        let expect = json!({ "call": call, "ax25": hex(ax25) });
        good(&format!("radio-station-{name}"), "a call sign", "radio-station", &frame, expect)
    };
    vec![
        pieces("two", &stranger, &two),
        pieces("many-backwards", &stranger, &backwards),
        pieces("twice", &stranger, &[&two[..1], &two[..]].concat()),
        batch("one", 1),
        batch("many", 42),
        station("plain", "K1A", [0x96, 0x62, 0x82, 0x40, 0x40, 0x40, 0x60]),
        station("number", "DL1ABC-15", [0x88, 0x98, 0x62, 0x82, 0x84, 0x86, 0x7e]),
    ]
}

pub(crate) fn malformed() -> Vec<Vector> {
    let hidden = Case::of(&Craft::hidden());
    let open = Case::of(&Craft::open());
    let clear = Case::of(&clear());
    let hints = Case::of(&Craft::open()).known(&[ALICE, BOB], &[]);
    let reader = Case::of(&Craft::hidden()).by_bob();
    let levelled = Case { hop: Hop { level: 7, ..HOP }, ..Case::of(&Craft::hidden()) };
    let full = Case::of(&Craft::open().header(|h| h[3] = V::U(601)));
    let first = |byte: u8| move |form: &mut Vec<u8>| form[0] = byte;
    let long = Case::of(&clear_of(4096));
    vec![
        hidden.bad("empty", "no bytes", "radio", Vec::clear),
        hidden.bad("type-3f", "the last type that is the link's own", "radio", first(0x3f)),
        hidden.bad(
            "type-hidden-20",
            "left out, and no lock to compute a tag of",
            "radio",
            first(0x54),
        ),
        hidden.bad("type-hidden-21", "left out under age", "radio", first(0x55)),
        hidden.bad("type-hidden-24", "number 24 of a hidden form", "radio", first(0x58)),
        open.bad("type-open-25", "number 25 of an open form", "radio", first(0x99)),
        hidden.bad("cut-class", "cut before its class", "radio", |form| form.truncate(3)),
        hidden.bad("cut-tag", "cut in its tag", "radio", |form| form.truncate(11)),
        hidden.bad("cut-lock", "cut in its lock", "radio", |form| form.truncate(19)),
        open.bad("cut-signature", "cut in its signature", "radio", |form| form.truncate(150)),
        clear.bad("no-payload", "no payload", "header", |form| form.truncate(143)),
        hidden
            .bad("payload-48", "a compact payload of 48 bytes", "header", |form| form.truncate(68)),
        hidden.bad("tag-without-lock", "a tag, and no lock to make it of", "header", first(0x42)),
        hidden.bad("group-lock", "a lock for a group", "header", |form| {
            form[0] = 0x4c;
            form.splice(4..12, GROUP);
        }),
        hidden.bad("class-24", "lifetime 24", "radio", |form| form[3] = 24 << 3),
        hidden.bad("class-31", "lifetime 31, and not in full", "radio", |form| form[3] = 0xfe),
        levelled.bad("level-0", "a level of 0", "radio", |form| form[4] = 0),
        full.bad("lifetime-0", "a lifetime of 0 in full", "radio", |form| form[4..8].fill(0)),
        full.bad("niceness-0", "a niceness of 0 in full", "radio", |form| form[8] = 0),
        open.bad("counter-0", "counter 0", "header", |form| form[80..83].fill(0)),
        open.bad("source-zero", "a source that is no usable key", "header", |form| {
            form[4..36].fill(0)
        }),
        open.bad("destination-no-point", "a destination that is no point", "header", |form| {
            form[36..68].fill(0xff);
        }),
        open.bad("signature-flipped", "one bit of the signature", "signature", |form| {
            form[90] ^= 1
        }),
        open.bad("payload-flipped", "one bit of the payload", "signature", |form| form[160] ^= 1),
        open.bad("class-changed", "another lifetime", "signature", |form| form[3] ^= 8),
        open.bad("payload-cut", "the last byte missing", "signature", |form| {
            form.pop();
        }),
        hints.bad("hints-class-changed", "another lifetime, with hints", "radio", |form| {
            form[3] ^= 8
        }),
        hints.bad("hint-unknown", "a hint of nobody", "radio", |form| form[4] ^= 1),
        hints.bad("hints-exchanged", "source and destination exchanged", "radio", |form| {
            form[4..12].rotate_left(4);
        }),
        {
            let mut twins = Case::of(&Craft::open()).known(&[ALICE, BOB], &[]);
            let form = twins.form();
            twins.nodes[0] = twin(ALICE, 1);
            let what = "a hint that only another's key fits";
            twins.tell(bad("radio-hint-of-another", what, "radio", &form, "radio"))
        },
        {
            let what = "without what only its recipient has";
            bad("radio-reader-stranger", what, "radio", &reader.form(), "radio")
        },
        {
            let what = "for another recipient";
            let vector = bad("radio-reader-other", what, "radio", &reader.form(), "radio");
            vector.for_seed(seed(MALLORY))
        },
        reader.bad(
            "reader-class-changed",
            "another lifetime: the seal stays shut",
            "radio",
            |form| {
                form[3] ^= 8;
            },
        ),
        reader
            .bad("reader-payload-flipped", "one bit of the payload", "radio", |form| form[50] ^= 1),
        long.bad("payload-4097", "a payload of 4,097 bytes", "header", |form| form.push(0)),
        long.bad("too-long", "a byte more than any form has", "radio", |form| {
            form.resize(FORM_MAX + 1, 0);
        }),
    ]
    .into_iter()
    .chain(bad_frames())
    .collect()
}

/// A clear bundle whose payload has so many bytes.
fn clear_of(bytes: usize) -> Craft {
    let packet = V::A(mail("meet me at the old mill")).bytes().len();
    clear().with(|c| c.after = vec![0; bytes - packet])
}

fn bad_frames() -> Vec<Vector> {
    let stranger = Case::of(&Craft::hidden().with(|c| c.after = vec![0; 200])).form();
    let pieces = |name: &str, what: &str, spoil: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut frames = cut(&stranger, 230).unwrap();
        spoil(&mut frames);
        let last = frames.pop().unwrap();
        let before: Vec<String> = frames.iter().map(hex).collect();
        bad(&format!("radio-pieces-{name}"), what, "radio-pieces", &last, "radio")
            .set("before", json!(before))
    };
    let receipts = |name: &str, what: &str, bytes: &[u8]| {
        bad(&format!("radio-receipts-{name}"), what, "radio-receipts", bytes, "radio")
    };
    let station = |name: &str, what: &str, text: &str| {
        let frame = [&[3], text.as_bytes()].concat();
        bad(&format!("radio-station-{name}"), what, "radio-station", &frame, "radio")
    };
    let batch = pack(&self::receipts(), 2000).remove(0);
    vec![
        pieces("one-lacking", "the first is not there", &|f| drop(f.remove(0))),
        pieces("flipped", "one bit of the first", &|f| f[0][20] ^= 1),
        pieces("key", "another key in the last", &|f| f[1][1] ^= 1),
        pieces("alone", "a form in one piece", &|f| {
            let form = [&f[0][7..], &f[1][7..]].concat();
            let head = [&f[0][..5], &[0, 0]].concat();
            *f = vec![[head, form].concat()];
        }),
        pieces("beyond-last", "number 2 of 0 to 1", &|f| f[1][5] = 2),
        pieces("empty", "a last piece of no bytes", &|f| f[1].truncate(7)),
        pieces("last-longer", "a last piece that is longer than the first", &|f| {
            let moved = f[0].pop().unwrap();
            f[1].insert(7, moved);
        }),
        pieces("out-of-proportion", "more than any form has", &|f| {
            f[1][5..7].copy_from_slice(&[254, 255]);
        }),
        receipts("none", "no receipt", &batch[..1]),
        receipts("cut", "a byte missing", &batch[..24]),
        receipts("43", "43 receipts", &[&batch[..], &[0; 24]].concat()),
        receipts("type", "another type", &[&[2], &batch[1..25]].concat()),
        station("lower-case", "lower case", "dl1abc"),
        station("zero", "the number 0, which is not written", "DL1ABC-0"),
        station("16", "the number 16", "DL1ABC-16"),
        station("leading-zero", "a number with a zero before it", "DL1ABC-07"),
        station("long", "seven characters", "DL1ABCD"),
        station("letters", "no digit", "DLABC"),
        station("empty", "no call sign", ""),
    ]
}

/// The table of docs/format.md, section 17: what a form has beside its payload.
#[test]
fn forms_are_as_short_as_the_text_says() {
    let payload = |case: &Case| -> usize {
        let bundle = SmallBundle::decode(&case.bundle).unwrap();
        let head: &Head = &bundle.head;
        assert_eq!(head.header().length, bundle.payload.len() as u64);
        bundle.payload.len()
    };
    for (case, more) in [
        (Case::of(&Craft::hidden()), 20),
        (Case::of(&Craft::hidden()).by_bob(), 4),
        (Case::of(&nonce(Craft::hidden())).by_bob(), 12),
        (Case::of(&Craft::open()), 151),
        (Case::of(&unlocked(Craft::open())), 143),
        (Case::of(&to_group(clear())), 127),
        (Case::of(&Craft::open()).known(&[ALICE, BOB], &[]), 95),
        (Case::of(&to_group(clear())).known(&[ALICE], &[GROUP]), 127 - 28 - 12),
        (Case::of(&Craft::open()).by_bob(), 151 - 32 - 8),
        (Case::of(&Craft::open()).known(&[ALICE], &[]).by_bob(), 151 - 28 - 32 - 8),
    ] {
        assert_eq!(case.form().len(), more + payload(&case));
    }
    assert_eq!(radio::PIECE_HEAD, 7);
}
