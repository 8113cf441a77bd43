//! Malformed: what a relay sees around the header, and addresses that are not ours.

use curve25519_dalek::{EdwardsPoint, Scalar};
use sha2::{Digest, Sha512};

use crate::{
    cbor::{V, b, t},
    craft::{ALICE, BOB, Craft, MALLORY, Signed, node, seed},
    vector::{Vector, bad},
};

pub(crate) fn all() -> Vec<Vector> {
    [envelopes(), signatures(), payloads(), addresses()].into_iter().flatten().collect()
}

fn case(stage: &str, name: &str, what: &str, bytes: &[u8]) -> Vector {
    bad(name, what, "bundle", bytes, stage).for_seed(seed(BOB))
}

fn age_large() -> Craft {
    Craft::new(2, false).with(|c| c.after = vec![0; 5000])
}

fn envelopes() -> Vec<Vector> {
    let good = Craft::open().build();
    let case = |name: &str, what: &str, bytes: &[u8]| {
        case("envelope", &format!("envelope-{name}"), what, bytes)
    };
    let changed = |name: &str, what: &str, change: fn(&mut Vec<V>)| {
        case(name, what, &Craft::open().envelope(change).build())
    };
    let hidden = |name: &str, what: &str, change: fn(&mut Vec<V>)| {
        case(name, what, &Craft::hidden().envelope(change).build())
    };
    let large = age_large().build();
    let array = large.len() - large_payload(&large).len();
    vec![
        case("empty", "no bytes at all", &[]),
        case("cut", "the last byte is missing", &good[..good.len() - 1]),
        case("trailing", "a byte after the array", &[&good[..], &[0]].concat()),
        case(
            "indefinite",
            "an array of indefinite length",
            &[&[0x9f], &good[1..], &[0xff]].concat(),
        ),
        case("tag", "a CBOR tag in front", &[&[0xd9, 0xd9, 0xf7], &good[..]].concat()),
        case(
            "long-array-head",
            "the array's length in a byte of its own",
            &[&[0x98, 3], &good[1..]].concat(),
        ),
        case("not-an-array", "a byte string instead of an array", &b(&good).bytes()),
        case(
            "map",
            "a map instead of an array",
            &[&[0xa1], &b([1]).bytes()[..], &b([2]).bytes()].concat(),
        ),
        changed("long-header-head", "the header's length in two bytes where one does", |e| {
            e[0] = e[0].long(2);
        }),
        changed("long-payload-head", "the payload's length in four bytes", |e| e[2] = e[2].long(4)),
        changed("header-as-text", "the header as a text", |e| {
            if let V::B(header) = &e[0] {
                let head = [&[0x78, u8::try_from(header.len()).unwrap()], &header[..]].concat();
                e[0] = V::Raw(head);
            }
        }),
        changed("no-signature", "open, but without a signature", |e| drop(e.remove(1))),
        changed("no-payload", "open, but without a payload", |e| drop(e.pop())),
        changed("extra", "a fourth element", |e| e.push(b([]))),
        changed("extra-null", "a null as fourth element", |e| e.push(V::Null)),
        changed("signature-63", "a signature of 63 bytes", |e| cut(&mut e[1], 63)),
        changed("signature-null", "null in place of the signature", |e| e[1] = V::Null),
        hidden("hidden-with-signature", "hidden, but with a signature", |e| {
            e.insert(1, b([7; 64]))
        }),
        hidden("hidden-text-payload", "a text in place of the payload", |e| e[1] = t("payload")),
        case("large-inside", "a payload above 4096 bytes inside the array", &{
            let mut envelope = vec![0x83];
            envelope.extend(&large[1..array]);
            envelope.extend(b(large_payload(&large)).bytes());
            envelope
        }),
        case("small-outside", "a payload of at most 4096 bytes behind the array", &{
            let small = postrider_base::bundle::SmallBundle::decode(&good).unwrap();
            [small.head.encode(), small.payload].concat()
        }),
    ]
}

/// What follows the array.
fn large_payload(bytes: &[u8]) -> &[u8] {
    &bytes[postrider_base::wire::item_len(bytes).unwrap()..]
}

fn cut(item: &mut V, size: usize) {
    if let V::B(bytes) = item {
        bytes.truncate(size);
    }
}

fn signatures() -> Vec<Vector> {
    let case = |name: &str, what: &str, craft: Craft| {
        case("signature", &format!("signature-{name}"), what, &craft.build())
    };
    let signed = |name: &str, what: &str, change: fn(&mut Signed)| {
        case(name, what, Craft::open().with(|c| c.signature = Some(Box::new(change))))
    };
    vec![
        signed("flipped-r", "one bit of R flipped", |s| s.signature[0] ^= 1),
        signed("flipped-s", "one bit of S flipped", |s| s.signature[32] ^= 1),
        signed("zero", "all zero", |s| s.signature = [0; 64]),
        signed("s-plus-l", "S + L: the same signature in another spelling", |s| {
            add_l(&mut s.signature)
        }),
        signed("small-order-r", "R is the neutral element, S fits it", |s| {
            let (secret, public) = (scalar_of(ALICE), node(ALICE).id());
            let mut r = [0; 32];
            r[0] = 1;
            let k = challenge(&r, public.as_bytes(), &s.message);
            s.signature[..32].copy_from_slice(&r);
            s.signature[32..].copy_from_slice((k * secret).as_bytes());
        }),
        case("by-another", "signed by somebody else", {
            let alice = *node(ALICE).id().as_bytes();
            Craft::open().with(|c| c.author = node(MALLORY)).header(move |h| h[7] = b(alice))
        }),
        case(
            "hidden-domain",
            "signed under the domain of hidden bundles",
            Craft::open().with(|c| c.open_domain = b"postrider bundle hidden v1"),
        ),
        case("card-domain", "signed under the domain of cards", {
            Craft::open().with(|c| c.open_domain = b"postrider card v1")
        }),
        case(
            "no-domain",
            "signed under an empty domain",
            Craft::open().with(|c| c.open_domain = b""),
        ),
        signed("without-domain", "the bare id signed", |s| {
            use ed25519_dalek::Signer;
            let key = ed25519_dalek::SigningKey::from_bytes(&seed(ALICE));
            s.signature = key.sign(&s.message[32..]).to_bytes();
        }),
        case("payload-changed", "a payload changed under way", {
            Craft::open().with(|c| c.carried = Some(Box::new(|p| p[40] ^= 1)))
        }),
        case("hash-covered", "large: a header changed under way", {
            age_large().with(|c| {
                c.signature = Some(Box::new(|s| s.signature[5] ^= 4));
            })
        }),
    ]
}

fn add_l(signature: &mut [u8; 64]) {
    let l: [u8; 32] = {
        let mut bytes = (-Scalar::ONE).to_bytes();
        bytes[0] += 1;
        bytes
    };
    let mut carry = 0_u16;
    for (byte, l) in signature[32..].iter_mut().zip(l) {
        carry += u16::from(*byte) + u16::from(l);
        [*byte, _] = carry.to_le_bytes();
        carry >>= 8;
    }
}

/// The secret scalar of a node.
pub(crate) fn scalar_of(n: u8) -> Scalar {
    let digest = Sha512::digest(seed(n));
    let mut raw: [u8; 32] = digest[..32].try_into().unwrap();
    raw[0] &= 248;
    raw[31] = raw[31] & 127 | 64;
    Scalar::from_bytes_mod_order(raw)
}

pub(crate) fn challenge(r: &[u8; 32], public: &[u8; 32], message: &[u8]) -> Scalar {
    let digest =
        Sha512::new().chain_update(r).chain_update(public).chain_update(message).finalize();
    Scalar::from_bytes_mod_order_wide(&digest.into())
}

fn payloads() -> Vec<Vector> {
    let case = |name: &str, what: &str, craft: Craft| {
        case("payload", &format!("payload-{name}"), what, &craft.build())
    };
    vec![
        case("longer-than-said", "one byte more than the header's length", {
            Craft::open().late(|h| add_to_length(h, -1))
        }),
        case("shorter-than-said", "one byte less than the header's length", {
            Craft::open().late(|h| add_to_length(h, 1))
        }),
        case("hidden-length", "hidden, one byte less than the header's length", {
            Craft::hidden().late(|h| add_to_length(h, 1))
        }),
        case("large-flipped", "large: a bit flipped", {
            age_large().with(|c| c.carried = Some(Box::new(|p| p[4999] ^= 1)))
        }),
        case("large-cut", "large: the last byte missing", {
            age_large().with(|c| c.carried = Some(Box::new(|p| p.truncate(p.len() - 1))))
        }),
        case("large-extended", "large: one byte more", {
            age_large().with(|c| c.carried = Some(Box::new(|p| p.push(0))))
        }),
        case("large-wrong-hash", "large: signed with a wrong hash", {
            age_large().late(|h| h[12] = b([9; 32]))
        }),
        case("large-wrong-length", "large: signed with a wrong length", {
            age_large().late(|h| add_to_length(h, -1))
        }),
    ]
}

fn add_to_length(header: &mut [V], by: i64) {
    let at = header.len() - 2;
    if let V::U(length) = &mut header[at] {
        *length = length.saturating_add_signed(by);
    }
}

fn addresses() -> Vec<Vector> {
    let case = |name: &str, what: &str, bytes: &[u8], reader: u8| {
        bad(name, what, "bundle", bytes, "tag").for_seed(seed(reader))
    };
    let mallory_tag = Craft::hidden()
        .with(|c| c.seal_key = node(MALLORY).first_seal_key().public())
        .tag(&[0x4e; 8]);
    vec![
        case(
            "tag-of-another",
            "a tag made of another's seal key",
            &{
                let craft = Craft::hidden().with(|c| c.nonce_lock = true);
                craft.header(move |h| h[2] = b(mallory_tag)).build()
            },
            BOB,
        ),
        case(
            "tag-flipped",
            "one bit of the tag flipped",
            &{
                let flip = |h: &mut Vec<V>| {
                    if let V::B(tag) = &mut h[2] {
                        tag[7] ^= 1;
                    }
                };
                Craft::hidden().header(flip).build()
            },
            BOB,
        ),
        case(
            "tag-of-lock-and-nothing",
            "a tag under the seal key itself, not under the key derived from it",
            &{
                let key = *node(BOB).first_seal_key().public().as_bytes();
                let tag =
                    blake3::keyed_hash(&key, &[&b"postrider tag v1"[..], &[0x4e; 8]].concat());
                let tag = tag.as_bytes()[..8].to_vec();
                Craft::hidden()
                    .with(|c| c.nonce_lock = true)
                    .header(move |h| h[2] = b(&tag))
                    .build()
            },
            BOB,
        ),
        case("node-of-another", "addressed to another node", &Craft::open().build(), MALLORY),
    ]
}

/// Only for keys that are wrong on purpose.
pub(crate) fn basepoint_signature() -> [u8; 64] {
    // With the neutral element as key, R = B and S = 1 fit every message.
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(EdwardsPoint::mul_base(&Scalar::ONE).compress().as_bytes());
    signature[32] = 1;
    signature
}
