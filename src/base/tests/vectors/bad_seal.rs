//! Malformed: seals, and what stands at the start and the end of a hidden bundle's inside.

use crate::{
    bad_outside::basepoint_signature,
    cbor::{V, b},
    craft::{ALICE, BOB, Craft, MALLORY, dk, mail, node, seed},
    vector::{Vector, bad},
};

pub(crate) fn all() -> Vec<Vector> {
    [compact_seals(), age_seals(), inner_heads(), inner_signatures()]
        .into_iter()
        .flatten()
        .collect()
}

fn case(stage: &str, name: &str, what: &str, craft: &Craft) -> Vector {
    bad(&format!("{stage}-{name}"), what, "bundle", &craft.build(), stage).for_seed(seed(BOB))
}

fn id(n: u8) -> [u8; 32] {
    *node(n).id().as_bytes()
}

fn age() -> Craft {
    Craft::new(2, false)
}

fn compact_seals() -> Vec<Vector> {
    let case = |name: &str, what: &str, craft: Craft| {
        case("seal", &format!("compact-{name}"), what, &craft)
    };
    let core =
        |craft: Craft, change: fn(&mut Vec<V>)| craft.with(|c| c.core = Some(Box::new(change)));
    let payload =
        |change: fn(&mut Vec<u8>)| Craft::open().with(|c| c.payload = Some(Box::new(change)));
    vec![
        case("lock", "a lock that the seal's secret does not open", {
            Craft::open().header(|h| h[6] = b([7; 8]))
        }),
        case("stolen", "somebody else's payload under an own header and signature (A3)", {
            let craft = Craft::open().with(|c| c.author = node(MALLORY));
            core(craft, |h| h[7] = b(id(ALICE)))
        }),
        case("swapped-core", "epoch and counter in each other's place since the sealing", {
            core(Craft::open(), |h| h.swap(8, 9))
        }),
        case("niceness-changed", "another niceness than was sealed", {
            core(Craft::open(), |h| h[4] = V::U(224))
        }),
        case("created-changed", "another time than was sealed", {
            core(Craft::open(), |h| h[10] = V::U(1))
        }),
        case("hidden-lifetime-changed", "hidden: a variant with another lifetime (B5)", {
            core(Craft::hidden(), |h| h[3] = V::U(60))
        }),
        case("hidden-niceness-changed", "hidden: a variant with another niceness (B5)", {
            core(Craft::hidden(), |h| h[4] = V::U(224))
        }),
        case("zero-share", "an encapsulated key of small order: the secret is known to all", {
            Craft::open().with(|c| c.zero_shared = true)
        }),
        case("info-of-another", "sealed for another recipient's name", {
            Craft::open().with(|c| c.binding = Some(id(MALLORY).to_vec()))
        }),
        case("info-without-recipient", "sealed without the recipient in the info", {
            Craft::open().with(|c| c.binding = Some(vec![]))
        }),
        case("other-key", "sealed to a key that is not the recipient's", {
            Craft::open().with(|c| c.seal_key = node(MALLORY).first_seal_key().public())
        }),
        case("flipped-share", "a bit of the encapsulated key flipped", payload(|p| p[3] ^= 1)),
        case("flipped-text", "a bit of the ciphertext flipped", payload(|p| p[40] ^= 1)),
        case("flipped-tag", "a bit of the authentication tag flipped", {
            payload(|p| *p.last_mut().unwrap() ^= 1)
        }),
        case("cut", "the last byte missing", payload(|p| p.truncate(p.len() - 1))),
    ]
}

fn age_seals() -> Vec<Vector> {
    let case =
        |name: &str, what: &str, craft: Craft| case("seal", &format!("age-{name}"), what, &craft);
    let payload =
        |craft: Craft, change: fn(&mut Vec<u8>)| craft.with(|c| c.payload = Some(Box::new(change)));
    let start = |change: fn(&mut Vec<u8>)| age().with(|c| c.age_start = Some(Box::new(change)));
    let core =
        |craft: Craft, change: fn(&mut Vec<V>)| craft.with(|c| c.core = Some(Box::new(change)));
    let of_plain = |bytes: usize| {
        let packet = V::A(mail("meet me at the old mill")).bytes().len();
        age().with(|c| c.after = vec![0; bytes - 48 - packet])
    };
    vec![
        case("stolen", "somebody else's payload under an own header and signature (A3)", {
            core(age().with(|c| c.author = node(MALLORY)), |h| h[7] = b(id(ALICE)))
        }),
        case("niceness-changed", "another niceness than was sealed", {
            core(age(), |h| h[4] = V::U(224))
        }),
        case("hidden-lifetime-changed", "hidden: a variant with another lifetime (B5)", {
            core(Craft::new(2, true), |h| h[3] = V::U(60))
        }),
        case("core-hash", "a wrong hash of the core inside", start(|s| s[0] ^= 1)),
        case("lock", "an r that does not open the lock", start(|s| s[32] ^= 1)),
        case("headless", "a plaintext shorter than its 48 bytes of head", {
            start(|s| s.truncate(40)).with(|c| c.plain = Some(Box::new(Vec::clear)))
        }),
        case("version", "version 2 of the age format", payload(age(), |p| p[20] = b'2')),
        case("mac", "another header MAC", {
            payload(age(), |p| {
                let at = header_end(p) + 4;
                p[at] = if p[at] == b'A' { b'B' } else { b'A' };
            })
        }),
        case("stanza-added", "a recipient added after the MAC was made", {
            payload(age(), |p| {
                p.splice(22..22, b"-> X AAAA\nAAAA\n".iter().copied());
            })
        }),
        case("stanza-body", "a bit of the wrapped file key changed", {
            payload(age(), |p| {
                let at = header_end(p) - 40;
                p[at] = if p[at] == b'A' { b'B' } else { b'A' };
            })
        }),
        case("other-key", "for another recipient only", {
            let other = *node(MALLORY).first_seal_key().public().as_bytes();
            age().with(|c| c.age.recipients = vec![other])
        }),
        case("zero-share", "an ephemeral share of small order: the secret is known to all", {
            age().with(|c| c.age.zero_share = Some([0; 32]))
        }),
        case("cut", "the last byte missing", payload(age(), |p| p.truncate(p.len() - 1))),
        case("trailing", "a byte behind the last chunk", payload(age(), |p| p.push(0))),
        case("last-chunk-missing", "cut at the border of two chunks", {
            payload(of_plain(70_000), |p| p.truncate(168 + 16 + 65_536 + 16))
        }),
        case("empty-last-chunk", "an empty last chunk behind a full one", {
            of_plain(65_536).with(|c| c.age.empty_last = true)
        }),
        case("flipped", "a bit of the ciphertext flipped", {
            payload(age(), |p| {
                let at = p.len() - 30;
                p[at] ^= 1;
            })
        }),
    ]
}

/// Where the age header's last line begins.
fn header_end(file: &[u8]) -> usize {
    file.windows(4).position(|w| w == b"--- ").unwrap()
}

fn inner_heads() -> Vec<Vector> {
    let case = |name: &str, what: &str, change: fn(&mut Vec<V>)| {
        case("inner", name, what, &Craft::hidden().with(|c| c.inner = Some(Box::new(change))))
    };
    vec![
        case("5-elements", "an element missing", |i| drop(i.pop())),
        case("8-elements", "an element too many", |i| {
            i.extend([V::A(vec![b([1; 32]), V::Null]), V::Null]);
        }),
        case("sender-16", "a sender of 16 bytes", |i| i[0] = b([7; 16])),
        case("sender-null", "no sender", |i| i[0] = V::Null),
        case("epoch-33-bits", "epoch 2^32", |i| i[1] = V::U(1 << 32)),
        case("epoch-long", "epoch in two bytes", |i| i[1] = i[1].long(1)),
        case("counter-0", "counter 0", |i| i[2] = V::U(0)),
        case("created-null", "no time", |i| i[3] = V::Null),
        case("created-float", "a float as time", |i| i[3] = V::Raw(vec![0xf9, 0, 0])),
    ]
}

fn inner_signatures() -> Vec<Vector> {
    let case = |name: &str, what: &str, craft: Craft| case("inner", name, what, &craft);
    let hint = |sender: u8, reader: u8| {
        let key = node(reader).first_seal_key().public();
        let hint = dk("postrider 2026 sender hint v1", &[&id(sender), key.as_bytes()]);
        b(&hint[..8])
    };
    let both = |name: &str, what: &str, change: fn(&mut Craft)| {
        [(1, ""), (2, "-age")].map(|(seal, suffix)| {
            case(&format!("{name}{suffix}"), what, Craft::new(seal, true).with(change))
        })
    };
    let mut out = vec![
        case("no-signature", "nothing but a signature", {
            Craft::hidden().with(|c| c.plain = Some(Box::new(Vec::clear)))
        }),
        case("sender-weak", "a weak key as sender, with the signature that fits it", {
            let mut neutral = [0; 32];
            neutral[0] = 1;
            Craft::hidden().with(|c| {
                c.sender = Some(b(neutral));
                c.inner_signature = Some(Box::new(|s| *s = basepoint_signature()));
            })
        }),
        case("hint-unknown", "the hint of a sender whom the reader does not know", {
            Craft::hidden().with(|c| c.sender = Some(hint(ALICE, BOB)))
        }),
        case("hint-for-another", "a hint made for another reader", {
            Craft::hidden().with(|c| c.sender = Some(hint(ALICE, MALLORY)))
        })
        .senders(&[id(ALICE)]),
        case("hint-of-another", "the hint of somebody else than the signer", {
            Craft::hidden().with(|c| c.sender = Some(hint(MALLORY, BOB)))
        })
        .senders(&[id(ALICE), id(MALLORY)]),
    ];
    out.extend(both("flipped", "a bit of the inner signature flipped", |c| {
        c.inner_signature = Some(Box::new(|s| s[9] ^= 1));
    }));
    out.extend(both("forged", "signed by another than the stated sender", |c| {
        c.sender = Some(b(id(ALICE)));
        c.author = node(MALLORY);
    }));
    out.extend(both("open-domain", "signed under the domain of open bundles", |c| {
        c.hidden_domain = b"postrider bundle open v1";
    }));
    out.extend(both("for-another", "signed for another recipient: passed on as if to us", |c| {
        c.hidden_binding = Some(id(MALLORY).to_vec());
    }));
    out.extend(both("for-nobody", "signed without a recipient", |c| {
        c.hidden_binding = Some(vec![]);
    }));
    out
}
