//! Requests for files and what is said to them: golden and malformed, in bundles whose seals open.

use postrider_base::{
    BundleId,
    packet::{Body, Listed, No, Packet, Range, Request, Tail, Told},
};
use serde_json::{Value, json};

use crate::{
    cbor::{V, b, t},
    craft::{BOB, Craft, seed},
    vector::{Vector, bad, hex},
};

const REQUEST: u64 = 10;

/// What is said of a request in a vector.
pub(crate) fn request(request: &Request) -> Value {
    match request {
        Request::List { path, glob, after } => json!({
            "kind": "request", "said": "list", "path": path, "glob": glob, "after": after,
        }),
        Request::Get { path, glob, range, known } => json!({
            "kind": "request", "said": "get", "path": path, "glob": glob,
            "range": range.map(|range| json!([range.from, range.length])),
            "known": known.iter().map(|(bytes, hash)| json!([bytes, hex(hash)])).collect::<Vec<_>>(),
        }),
        Request::Rest { path, bytes, blake3, ranges } => json!({
            "kind": "request", "said": "rest", "path": path, "bytes": bytes,
            "blake3": hex(blake3), "ranges": ranges,
        }),
        Request::Answer { request, said } => {
            let of = json!({ "kind": "request", "request": hex(request.0) });
            crate::vector::merged([of, answer(said)])
        }
    }
}

fn answer(said: &Told) -> Value {
    match said {
        Told::No(why) => {
            let (why, most) = match why {
                No::NotFound => ("not-found", None),
                No::NotAllowed => ("not-allowed", None),
                No::Directory => ("directory", None),
                No::Special => ("special", None),
                No::TooLarge { most } => ("too-large", Some(*most)),
                No::Spent => ("spent", None),
                No::Waiting => ("waiting", None),
                No::Changing => ("changing", None),
                No::Unreadable => ("unreadable", None),
                No::Beyond => ("beyond", None),
            };
            json!({ "said": "no", "why": why, "most": most })
        }
        Told::Listing { entries, more } => json!({
            "said": "listing", "more": more,
            "entries": entries.iter().map(|it| json!({
                "name": it.name, "directory": it.directory, "bytes": it.bytes, "mtime": it.mtime,
            })).collect::<Vec<_>>(),
        }),
        Told::Same { bytes, blake3 } => {
            json!({ "said": "same", "bytes": bytes, "blake3": hex(blake3) })
        }
    }
}

fn names(path: &[&str]) -> Vec<String> {
    path.iter().map(ToString::to_string).collect()
}

/// Golden ones, by name.
pub(crate) fn good() -> Vec<(&'static str, &'static str, Packet)> {
    let packet = |request| Packet { body: Body::Request(Box::new(request)), tail: Tail::default() };
    let told = |said| packet(Request::Answer { request: BundleId([0x10; 32]), said });
    let shares = Request::List { path: vec![], glob: None, after: None };
    let next = Request::List {
        path: names(&["photos", "2026"]),
        glob: Some("*.j?g".into()),
        after: Some("IMG_1024.jpg".into()),
    };
    let get = |range, known| Request::Get {
        path: names(&["maps", "north", "Straße 7.pdf"]),
        glob: None,
        range,
        known,
    };
    let many = Request::Get {
        path: names(&["photos"]),
        glob: Some("*.jpg".into()),
        range: None,
        known: vec![],
    };
    let rest = Some(Range { from: 1 << 40, length: None });
    let some = Some(Range { from: 0, length: Some(4096) });
    let listing = Told::Listing {
        entries: vec![
            Listed {
                name: "IMG.jpg".into(),
                directory: false,
                bytes: 3 << 20,
                mtime: Some(1_800_000_000),
            },
            Listed { name: "old".into(), directory: true, bytes: 0, mtime: None },
        ],
        more: true,
    };
    let nothing = Told::Listing { entries: vec![], more: false };
    let lack = |bytes, ranges: &[(u64, u64)]| Request::Rest {
        path: names(&["films", "north.mkv"]),
        bytes,
        blake3: [7; 32],
        ranges: ranges.to_vec(),
    };
    vec![
        ("request-rest", "the end of a known file", packet(lack(100, &[(60, 40)]))),
        (
            "request-rest-holes",
            "what a known file lacks in three places",
            packet(lack(1 << 40, &[(0, 1), (2, 1 << 30), (1 << 39, 1 << 39)])),
        ),
        ("request-shares", "which shares are there", packet(shares)),
        ("request-list", "more of a directory's files that fit a pattern", packet(next)),
        ("request-get", "a file", packet(get(None, vec![]))),
        (
            "request-get-known",
            "a file, unless it is a known one",
            packet(get(None, vec![(5, [7; 32])])),
        ),
        ("request-get-rest", "the rest of a file", packet(get(rest, vec![]))),
        ("request-get-some", "some bytes of a file", packet(get(some, vec![]))),
        ("request-get-many", "all files that fit a pattern", packet(many)),
        ("request-no", "there is none", told(Told::No(No::NotFound))),
        (
            "request-too-large",
            "more than is sent at once",
            told(Told::No(No::TooLarge { most: 1 << 30 })),
        ),
        ("request-listing", "a listing, and there is more", told(listing)),
        ("request-nothing", "an empty directory", told(nothing)),
        ("request-same", "it is the known one", told(Told::Same { bytes: 5, blake3: [7; 32] })),
    ]
}

/// The elements of a good one, to be spoiled.
pub(crate) fn elements(said: u64) -> Vec<V> {
    let path = V::A(vec![t("maps"), t("north")]);
    match said {
        0 => vec![V::U(0), path, t("*.pdf"), t("a.pdf")],
        1 => {
            let range = V::A(vec![V::U(7), V::U(100)]);
            vec![V::U(1), path, V::Null, range, V::A(vec![V::A(vec![V::U(5), b([7; 32])])])]
        }
        2 => vec![V::U(2), b([5; 32]), V::U(4), V::U(1000)],
        3 => {
            let entry = |name: &str, kind: u64, bytes: u64| {
                V::A(vec![t(name), V::U(kind), V::U(bytes), V::Null])
            };
            vec![V::U(3), b([5; 32]), V::A(vec![entry("a", 1, 0), entry("b", 0, 7)]), V::U(1)]
        }
        4 => vec![V::U(4), b([5; 32]), V::U(5), b([7; 32])],
        _ => {
            let range = |from, length| V::A(vec![V::U(from), V::U(length)]);
            let content = V::A(vec![V::U(100), b([7; 32])]);
            vec![V::U(5), path, content, V::A(vec![range(0, 10), range(20, 80)])]
        }
    }
}

fn inner(elements: &mut [V], at: usize) -> &mut Vec<V> {
    match &mut elements[at] {
        V::A(items) => items,
        other => panic!("{other:?} is no list"),
    }
}

pub(crate) fn malformed() -> Vec<Vector> {
    let mut out = Vec::new();
    let mut case = |said: u64, name: &str, what: &str, spoil: &dyn Fn(&mut Vec<V>)| {
        let mut items = elements(said);
        spoil(&mut items);
        // What is long goes under age.
        let body = V::A(items).bytes();
        let seal = if body.len() > 2000 { 2 } else { 1 };
        let craft = Craft::new(seal, false).packet(vec![V::U(REQUEST), b(body)]);
        let of = ["list", "get", "no", "listing", "same", "rest"][usize::try_from(said).unwrap()];
        let name = format!("packet-request-{of}-{name}");
        out.push(bad(&name, what, "bundle", &craft.build(), "packet").for_seed(seed(BOB)));
    };
    case(0, "number-5", "an unknown number", &|it| it[0] = V::U(5));
    case(0, "number-null", "null as number", &|it| it[0] = V::Null);
    case(0, "3", "a list of three elements", &|it| drop(it.pop()));
    case(0, "5", "a list of five elements", &|it| it.push(V::Null));
    case(0, "path-up", "a path that goes up", &|it| inner(it, 1)[1] = t(".."));
    case(0, "glob-empty", "a pattern of nothing", &|it| it[2] = t(""));
    case(0, "glob-slash", "a pattern for two names", &|it| it[2] = t("*/*"));
    case(0, "after-dot", "behind a name that is none", &|it| it[3] = t("."));
    for (name, what, component) in [
        ("up", "a path that goes up", ".."),
        ("here", "a path that stays", "."),
        ("empty", "an empty name", ""),
        ("slash", "two names in one", "a/b"),
        ("absolute", "an absolute path in a name", "/etc/passwd"),
        ("backslash", "a backslash in a name", "a\\b"),
        ("nul", "a zero byte in a name", "a\0b"),
        ("escape", "an escape in a name", "\u{1b}[2J"),
        ("c1", "a control character of two bytes", "a\u{85}b"),
    ] {
        let name = format!("path-{name}");
        case(1, &name, what, &|it| inner(it, 1)[1] = t(component));
    }
    case(1, "path-text", "a path as one text", &|it| it[1] = t("maps/north"));
    case(1, "path-bytes", "a name as bytes", &|it| inner(it, 1)[0] = b("maps"));
    case(1, "path-none", "a path of no names", &|it| inner(it, 1).clear());
    case(1, "path-65", "a path of 65 names", &|it| it[1] = V::A(vec![t("n"); 65]));
    case(1, "path-256", "a name of 256 bytes", &|it| inner(it, 1)[0] = t("x".repeat(256)));
    case(1, "path-4097", "a path of more than 4,096 bytes", &|it| {
        it[1] = V::A([vec![t("x".repeat(255)); 16], vec![t("x")]].concat());
    });
    case(1, "range-glob", "the same bytes of many files", &|it| it[2] = t("*"));
    case(1, "range-empty", "a range of no bytes", &|it| inner(it, 3)[1] = V::U(0));
    case(1, "range-far", "a range beyond all numbers", &|it| inner(it, 3)[0] = V::U(u64::MAX));
    case(1, "range-1", "a range of one element", &|it| drop(inner(it, 3).pop()));
    case(1, "known-17", "17 known contents", &|it| {
        it[4] = V::A(vec![V::A(vec![V::U(5), b([7; 32])]); 17]);
    });
    case(1, "known-31", "a hash of 31 bytes", &|it| {
        it[4] = V::A(vec![V::A(vec![V::U(5), b([7; 31])])]);
    });
    case(1, "4", "a get of four elements", &|it| drop(it.pop()));
    case(2, "request-31", "an id of 31 bytes", &|it| it[1] = b([5; 31]));
    case(2, "why-10", "an unknown reason", &|it| it[2] = V::U(10));
    case(2, "most-missing", "too large, and for what", &|it| it[3] = V::Null);
    case(2, "most-vain", "a bound that was not met", &|it| it[2] = V::U(0));
    case(3, "falling", "names that do not rise", &|it| inner(it, 2).reverse());
    case(3, "twice", "a name twice", &|it| {
        let first = inner(it, 2)[0].clone();
        inner(it, 2)[1] = first;
    });
    case(3, "up", "a name that goes up", &|it| {
        it[2] = V::A(vec![V::A(vec![t(".."), V::U(1), V::U(0), V::Null])]);
    });
    case(3, "kind-2", "neither file nor directory", &|it| {
        it[2] = V::A(vec![V::A(vec![t("a"), V::U(2), V::U(0), V::Null])]);
    });
    case(3, "directory", "a directory with bytes", &|it| {
        it[2] = V::A(vec![V::A(vec![t("a"), V::U(1), V::U(1), V::Null])]);
    });
    case(3, "1025", "1,025 names", &|it| {
        let entry = |n| V::A(vec![t(format!("{n:04}")), V::U(0), V::U(0), V::Null]);
        it[2] = V::A((0..1025).map(entry).collect());
    });
    case(3, "more-2", "more, neither yes nor no", &|it| it[3] = V::U(2));
    case(3, "more-nothing", "more behind nothing", &|it| inner(it, 2).clear());
    case(4, "31", "a hash of 31 bytes", &|it| it[3] = b([7; 31]));
    case(4, "5", "five elements", &|it| it.push(V::Null));
    case(0, "number-6", "an unknown number", &|it| it[0] = V::U(6));
    case(5, "3", "three elements", &|it| drop(it.pop()));
    case(5, "path-none", "a path of no names", &|it| inner(it, 1).clear());
    case(5, "path-up", "a path that goes up", &|it| inner(it, 1)[1] = t(".."));
    case(5, "content-31", "a hash of 31 bytes", &|it| inner(it, 2)[1] = b([7; 31]));
    case(5, "ranges-none", "no bytes at all", &|it| inner(it, 3).clear());
    case(5, "ranges-empty", "a range of no bytes", &|it| {
        inner(it, 3)[0] = V::A(vec![V::U(0), V::U(0)]);
    });
    case(5, "ranges-fall", "ranges that do not rise", &|it| inner(it, 3).reverse());
    case(5, "ranges-touch", "two ranges that are one", &|it| {
        inner(it, 3)[0] = V::A(vec![V::U(0), V::U(20)]);
    });
    case(5, "ranges-long", "a range beyond the end", &|it| {
        inner(it, 3)[1] = V::A(vec![V::U(20), V::U(81)]);
    });
    case(5, "ranges-far", "a range beyond all numbers", &|it| {
        inner(it, 3)[1] = V::A(vec![V::U(20), V::U(u64::MAX)]);
    });
    case(5, "ranges-65", "65 ranges", &|it| {
        it[3] = V::A((0..65).map(|n| V::A(vec![V::U(n * 2), V::U(1)])).collect());
        it[2] = V::A(vec![V::U(1000), b([7; 32])]);
    });
    let body = [V::A(elements(1)).bytes(), vec![0]].concat();
    let craft = Craft::open().packet(vec![V::U(REQUEST), b(body)]);
    let vector = bad(
        "packet-request-trailing",
        "a byte behind the body",
        "bundle",
        &craft.build(),
        "packet",
    );
    out.push(vector.for_seed(seed(BOB)));
    out
}

/// Each malformed one but for its fault would be a good one.
#[test]
fn the_elements_are_good_until_they_are_spoiled() {
    for said in 0..6 {
        let bytes = V::A(vec![V::U(REQUEST), b(V::A(elements(said)).bytes())]).bytes();
        let read = Packet::decode(&bytes);
        assert!(read.is_ok(), "{said}: {read:?}");
    }
}
