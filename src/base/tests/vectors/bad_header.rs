//! Malformed: headers. Each field wrong in its own way, sealed and signed all the same.

use crate::{
    bad_outside::basepoint_signature,
    cbor::{V, b, t},
    craft::{BOB, Craft, node, seed},
    vector::{Vector, bad},
};

/// p + 3 and p + 4 decode, on lenient decoders, as the points with y = 3 and y = 4.
const UNREDUCED: [u8; 32] = {
    let mut y = [0xff; 32];
    y[0] = 0xf0;
    y[31] = 0x7f;
    y
};
/// The neutral element: as a key it fits every signature made for it.
const NEUTRAL: [u8; 32] = {
    let mut y = [0; 32];
    y[0] = 1;
    y
};
/// y = 2 is on no point of the curve.
const NO_POINT: [u8; 32] = {
    let mut y = [0; 32];
    y[0] = 2;
    y
};
/// Of order 8.
const ORDER_EIGHT: [u8; 32] = [
    0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
    0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
];
/// The neutral element with the sign bit of x set although x is zero.
const NEGATIVE_ZERO: [u8; 32] = {
    let mut y = NEUTRAL;
    y[31] = 0x80;
    y
};

pub(crate) const BAD_KEYS: [(&str, &str, [u8; 32]); 6] = [
    ("weak", "the neutral element, which fits every signature", NEUTRAL),
    ("order-8", "a point of order 8", ORDER_EIGHT),
    ("zero", "all zero: a point of order 4", [0; 32]),
    ("unreduced", "y not reduced: another spelling of a key", UNREDUCED),
    ("negative-zero", "x = 0 with its sign bit set", NEGATIVE_ZERO),
    ("no-point", "not on the curve", NO_POINT),
];

pub(crate) fn all() -> Vec<Vector> {
    [shapes(), open_fields(), hidden_fields(), sizes(), keys()].into_iter().flatten().collect()
}

fn case(name: &str, what: &str, craft: &Craft) -> Vector {
    bad(&format!("header-{name}"), what, "bundle", &craft.build(), "header").for_seed(seed(BOB))
}

fn open(name: &str, what: &str, change: impl Fn(&mut Vec<V>) + 'static) -> Vector {
    case(name, what, &Craft::open().header(change))
}

fn hidden(name: &str, what: &str, change: impl Fn(&mut Vec<V>) + 'static) -> Vector {
    case(name, what, &Craft::hidden().header(change))
}

fn shapes() -> Vec<Vector> {
    let bytes = |name: &str, what: &str, change: fn(&mut Vec<u8>)| {
        case(name, what, &Craft::open().with(|c| c.header_bytes = Some(Box::new(change))))
    };
    vec![
        bytes("trailing", "a byte after the array", |h| h.push(0)),
        bytes("cut", "the last byte missing", |h| h.truncate(h.len() - 1)),
        bytes("indefinite", "an array of indefinite length", |h| {
            h[0] = 0x9f;
            h.push(0xff);
        }),
        bytes("empty", "no bytes", Vec::clear),
        bytes("not-an-array", "a byte string", |h| *h = b(&h).bytes()),
        open("12-elements", "one element missing", |h| h.truncate(h.len() - 1)),
        open("14-elements", "one element more", |h| h.push(V::Null)),
        hidden("8-elements", "hidden, one element missing", |h| h.truncate(h.len() - 1)),
        hidden("10-elements", "hidden, one element more", |h| h.insert(7, V::U(0))),
        open("version-0", "version 0", |h| h[0] = V::U(0)),
        open("version-2", "version 2", |h| h[0] = V::U(2)),
        open("version-true", "true in place of the version", |h| h[0] = V::Raw(vec![0xf5])),
        open("flag-unknown", "an unknown flag", |h| h[1] = V::U(4)),
        hidden("hidden-flag-unknown", "hidden, and an unknown flag", |h| h[1] = V::U(9)),
        open("flag-hidden", "the hidden flag over 13 elements", |h| h[1] = V::U(1)),
        hidden("flag-open", "no hidden flag over 9 elements", |h| h[1] = V::U(0)),
        open("flag-nonce", "a nonce in place of the lock, in an open header", |h| h[1] = V::U(2)),
        open("flags-long", "flags in two bytes", |h| h[1] = V::U(0).long(1)),
    ]
}

fn open_fields() -> Vec<Vector> {
    let me = *node(BOB).id().as_bytes();
    vec![
        open("destination-31", "a destination of 31 bytes", move |h| h[2] = b(&me[..31])),
        open("destination-33", "a destination of 33 bytes", move |h| {
            h[2] = b([&me[..], &[0]].concat());
        }),
        open("destination-empty", "a destination of no bytes", |h| h[2] = b([])),
        open("destination-text", "a text as destination", |h| h[2] = t("sixteen bytes ..")),
        open("destination-tag", "a tag in an open header", |h| h[2] = b([7; 8])),
        open("lifetime-0", "lifetime 0", |h| h[3] = V::U(0)),
        open("lifetime-33-bits", "lifetime 2^32", |h| h[3] = V::U(1 << 32)),
        open("lifetime-long", "lifetime in eight bytes where four do", |h| h[3] = h[3].long(8)),
        open("lifetime-float", "lifetime as a float", |h| h[3] = V::Raw(vec![0xf9, 0x7b, 0xff])),
        open("niceness-0", "niceness 0", |h| h[4] = V::U(0)),
        open("niceness-256", "niceness 256", |h| h[4] = V::U(256)),
        open("niceness-long", "niceness in two bytes where one does", |h| h[4] = h[4].long(2)),
        open("seal-3", "a reserved seal", |h| h[5] = V::U(3)),
        open("seal-255", "an unknown seal", |h| h[5] = V::U(255)),
        open("lock-7", "a compact lock of 7 bytes", |h| h[6] = b([7; 7])),
        open("lock-16", "a compact lock of 16 bytes", |h| h[6] = b([7; 16])),
        open("lock-number", "a number in place of the lock", |h| h[6] = V::U(7)),
        open("lock-undefined", "undefined in place of null", |h| h[6] = V::Raw(vec![0xf7])),
        case("age-lock-8", "an age lock of 8 bytes", &{
            Craft::new(2, false).header(|h| h[6] = b([7; 8]))
        }),
        case("none-lock", "a lock on an unsealed payload", &{
            Craft::new(0, false).header(|h| h[6] = b([7; 8]))
        }),
        open("group-lock", "a lock on a bundle for a group", |h| h[2] = b([7; 16])),
        open("source-31", "a source of 31 bytes", |h| h[7] = b([9; 31])),
        open("source-hint", "a hint in place of the source", |h| h[7] = b([9; 8])),
        open("epoch-33-bits", "epoch 2^32", |h| h[8] = V::U(1 << 32)),
        open("epoch-long", "epoch in two bytes", |h| h[8] = h[8].long(1)),
        open("counter-0", "counter 0", |h| h[9] = V::U(0)),
        open("counter-bignum", "a counter beyond 64 bits", |h| {
            h[9] = V::Raw(vec![0xc2, 0x49, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        }),
        open("created-negative", "a time before 1970", |h| h[10] = V::Raw(vec![0x20])),
        open("created-null", "null in place of the time", |h| h[10] = V::Null),
    ]
}

fn hidden_fields() -> Vec<Vector> {
    vec![
        hidden("tag-without-lock", "a tag, and no lock to make it of", |h| h[6] = V::Null),
        hidden("nonce-without-nonce", "the nonce flag, and no nonce", |h| {
            h[1] = V::U(3);
            h[6] = V::Null;
            h[2] = b(node(BOB).id().as_bytes());
        }),
        hidden("nonce-9", "a nonce of 9 bytes", |h| {
            h[1] = V::U(3);
            h[6] = b([7; 9]);
        }),
        hidden("hidden-unsealed", "hidden without a seal", |h| {
            h[5] = V::U(0);
            h[6] = V::Null;
            h[2] = b(node(BOB).id().as_bytes());
        }),
    ]
}

fn sizes() -> Vec<Vector> {
    let large = || Craft::new(2, false).with(|c| c.after = vec![0; 5000]);
    let late = |name: &str, what: &str, craft: Craft, change: fn(&mut Vec<V>)| {
        case(name, what, &craft.late(change))
    };
    vec![
        late("length-null", "null in place of the length", Craft::open(), |h| h[11] = V::Null),
        late("length-long", "the length in four bytes", Craft::open(), |h| h[11] = h[11].long(4)),
        late("hash-on-small", "a hash although the payload is small", Craft::open(), |h| {
            h[12] = b([7; 32]);
        }),
        late("no-hash-on-large", "no hash although the payload is large", large(), |h| {
            h[12] = V::Null;
        }),
        late("hash-31", "a hash of 31 bytes", large(), |h| {
            if let V::B(hash) = &mut h[12] {
                hash.truncate(31);
            }
        }),
        late("length-beyond", "a length above 64 MiB", large(), |h| h[11] = V::U((64 << 20) + 1)),
        case("compact-large", "a compact seal above 4096 bytes", &{
            Craft::open().with(|c| c.after = vec![0; 4096])
        }),
        case("compact-short", "a compact payload that holds nothing", &{
            Craft::open().with(|c| c.payload = Some(Box::new(|p| p.truncate(48))))
        }),
        case("age-short", "an age payload shorter than any age file", &{
            Craft::new(2, false).with(|c| c.payload = Some(Box::new(|p| p.truncate(199))))
        }),
        case("none-empty", "an unsealed payload of no bytes", &{
            Craft::new(0, false).with(|c| c.payload = Some(Box::new(Vec::clear)))
        }),
    ]
}

fn keys() -> Vec<Vector> {
    let mut out = Vec::new();
    for (name, what, key) in BAD_KEYS {
        out.push(open(&format!("destination-{name}"), &format!("destination: {what}"), move |h| {
            h[2] = b(key);
        }));
        // The forgery that a weak key allows is made, so that only the key's check refuses it.
        let forged = Craft::open()
            .header(move |h| h[7] = b(key))
            .with(|c| c.signature = Some(Box::new(|s| s.signature = basepoint_signature())));
        out.push(case(&format!("source-{name}"), &format!("source: {what}"), &forged));
    }
    out.push(open("swapped-lengths", "destination and lock in each other's place", |h| {
        h.swap(2, 6);
    }));
    out
}
