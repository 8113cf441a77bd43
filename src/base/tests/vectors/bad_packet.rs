//! Malformed: packets, in bundles that pass every relay and whose seals open.

use std::io::Write as _;

use crate::{
    cbor::{V, b, t},
    craft::{BOB, Craft, seed},
    vector::{Vector, bad},
};

pub(crate) fn all() -> Vec<Vector> {
    [packets(), compression(), parts(), manifests()].into_iter().flatten().collect()
}

fn case(name: &str, what: &str, craft: &Craft) -> Vector {
    bad(&format!("packet-{name}"), what, "bundle", &craft.build(), "packet").for_seed(seed(BOB))
}

fn age() -> Craft {
    Craft::new(2, false)
}

fn packet_case(name: &str, what: &str, packet: Vec<V>) -> Vector {
    case(name, what, &Craft::open().packet(packet))
}

fn packets() -> Vec<Vector> {
    let tail = |tail: V| vec![V::U(0), b("hi"), tail];
    let after = |name: &str, what: &str, craft: Craft, after: Vec<u8>| {
        case(name, what, &craft.with(|c| c.after = after))
    };
    let mut out: Vec<Vector> = [8, 9, 10, 11, 12, 14, 16, 17, 18, 23]
        .into_iter()
        .map(|kind| {
            let what = "a kind that is reserved or unknown";
            packet_case(&format!("kind-{kind}"), what, vec![V::U(kind), b("hi")])
        })
        .collect();
    out.extend([
        packet_case("kind-24", "a kind of two bytes", vec![V::U(24), b("hi")]),
        packet_case("kind-long", "the kind in two bytes", vec![V::U(0).long(1), b("hi")]),
        packet_case("kind-null", "null as kind", vec![V::Null, b("hi")]),
        packet_case("1-element", "a kind and nothing else", vec![V::U(0)]),
        packet_case("4-elements", "a fourth element", {
            vec![V::U(0), b("hi"), V::A(vec![b([1; 32]), V::Null]), V::Null]
        }),
        packet_case("body-text", "the body as a text", vec![V::U(0), t("hi")]),
        packet_case("body-null", "no body", vec![V::U(0), V::Null]),
        packet_case("body-long", "the body's length in two bytes", vec![V::U(0), b("hi").long(2)]),
        packet_case("body-indefinite", "a body in chunks", {
            vec![V::U(0), V::Raw(vec![0x5f, 0x42, b'h', b'i', 0xff])]
        }),
        packet_case("body-cut", "a body that claims more than is there", {
            vec![V::U(0), V::Raw(vec![0x5a, 0xff, 0xff, 0xff, 0xff])]
        }),
        packet_case("text-latin-1", "a text that is not UTF-8", vec![V::U(0), b(b"gr\xfc\xdfe")]),
        packet_case("text-surrogate", "a text with a surrogate half", {
            vec![V::U(0), b(b"\xed\xa0\x80")]
        }),
        packet_case("text-overlong", "a text with an overlong zero", vec![V::U(0), b(b"\xc0\x80")]),
        packet_case("tail-empty", "a tail that says nothing", tail(V::A(vec![V::Null, V::Null]))),
        packet_case("tail-null", "null as tail", tail(V::Null)),
        packet_case("tail-1", "a tail of one element", tail(V::A(vec![b([1; 32])]))),
        packet_case("tail-3", "a tail of three elements", {
            tail(V::A(vec![b([1; 32]), V::Null, V::Null]))
        }),
        packet_case(
            "tail-reply-31",
            "a reply-to of 31 bytes",
            tail(V::A(vec![b([1; 31]), V::Null])),
        ),
        packet_case("tail-card-601", "a card of 601 bytes", tail(V::A(vec![V::Null, b([1; 601])]))),
        packet_case("card-601", "a card of 601 bytes", vec![V::U(6), b([1; 601])]),
        after("padding-first", "something in the first byte of the padding", Craft::open(), {
            [&[1][..], &[0; 30]].concat()
        }),
        after("padding-last", "something in the last byte of the padding", Craft::open(), {
            [&[0; 30][..], &[1]].concat()
        }),
        after(
            "padding-none-seal",
            "something in the padding of an unsealed packet",
            Craft::new(0, false),
            vec![0, 0, 9],
        ),
        after("padding-age", "something in the padding under age", age(), {
            [&[0; 3000][..], &[1]].concat()
        }),
        after("padding-hidden", "something in the padding of a hidden bundle", Craft::hidden(), {
            [&[0; 30][..], &[1]].concat()
        }),
        case("empty", "no packet at all, only padding", &{
            Craft::open().with(|c| c.plain = Some(Box::new(|p| *p = vec![0; 40])))
        }),
        case("text-65537", "a text of one byte too many", &{
            age().packet(vec![V::U(0), b(vec![b'x'; 65_537])])
        }),
    ]);
    out
}

/// A frame without magic: descriptor, fields, then blocks as they are given.
fn frame(descriptor: u8, fields: &[u8], blocks: &[Vec<u8>]) -> V {
    b([&[descriptor], fields, &blocks.concat()].concat())
}

fn block(kind: u32, size: usize, last: bool, content: &[u8]) -> Vec<u8> {
    let head = u32::from(last) | kind << 1 | u32::try_from(size).unwrap() << 3;
    [&head.to_le_bytes()[..3], content].concat()
}

fn raw_block(content: &[u8]) -> Vec<u8> {
    block(0, content.len(), true, content)
}

/// One segment, content size in one byte.
const SINGLE: u8 = 0x20;
/// One segment, content size in four bytes.
const SINGLE_LONG: u8 = 0xa0;

fn compression() -> Vec<Vector> {
    let mail = |name: &str, what: &str, body: V| {
        packet_case(&format!("zstd-{name}"), what, vec![V::U(1), body])
    };
    let hello = || [raw_block(b"hello")];
    let rle = |size: usize, last: bool| block(1, size, last, b"x");
    vec![
        mail("empty", "a compressed body of no bytes", b([])),
        mail("plain", "a text that is not compressed although it says so", b("hello")),
        mail("bomb", "64 KiB and one byte announced", {
            frame(SINGLE_LONG, &65_537_u32.to_le_bytes(), &[rle(65_537, true)])
        }),
        mail("bomb-announced", "2^62 bytes announced", {
            frame(0xe0, &(1_u64 << 62).to_le_bytes(), &[rle(100, true)])
        }),
        mail("bomb-unannounced", "5 bytes announced, 100,000 there", {
            frame(SINGLE, &[5], &[rle(100_000, true)])
        }),
        mail("more", "5 bytes announced, 6 there", frame(SINGLE, &[5], &[raw_block(b"hello!")])),
        mail("fewer", "6 bytes announced, 5 there", frame(SINGLE, &[6], &hello())),
        mail("no-size", "a frame that does not state its size", frame(0, &[0x50], &hello())),
        mail("dictionary-id", "a frame that names dictionary 1", frame(0x21, &[1, 5], &hello())),
        mail("dictionary-other", "a frame that names another dictionary", {
            frame(0x21, &[7, 5], &hello())
        }),
        mail("checksum", "a frame with its checksum", {
            let checksum = [0x62, 0x35, 0x35, 0x7a];
            frame(0x24, &[5], &[raw_block(b"hello"), checksum.to_vec()])
        }),
        mail("unused-bit", "the unused bit of the descriptor", frame(0x30, &[5], &hello())),
        mail("reserved-bit", "the reserved bit of the descriptor", frame(0x28, &[5], &hello())),
        mail("reserved-block", "a block of the reserved type", {
            frame(SINGLE, &[5], &[block(3, 5, true, b"hello")])
        }),
        mail("magic", "a frame with its magic", {
            let magic = [0x28, 0xb5, 0x2f, 0xfd];
            b([&magic[..], &[SINGLE, 5], &raw_block(b"hello")].concat())
        }),
        mail("cut", "the last byte missing", frame(SINGLE, &[5], &[block(0, 5, true, b"hell")])),
        mail("no-last-block", "no block is the last", {
            frame(SINGLE, &[5], &[block(0, 5, false, b"hello")])
        }),
        mail("trailing", "a byte behind the frame", {
            frame(SINGLE, &[5], &[raw_block(b"hello"), vec![0]])
        }),
        mail("two-frames", "an empty second frame behind the first", {
            let second = [vec![SINGLE, 0], raw_block(b"")].concat();
            frame(SINGLE, &[5], &[raw_block(b"hello"), second])
        }),
        mail("beyond-dictionary", "a match that reaches further back than the dictionary", {
            b(beyond_dictionary())
        }),
        mail("not-utf-8", "compressed, and not UTF-8 inside", {
            frame(SINGLE, &[2], &[raw_block(b"\xff\xfe")])
        }),
        mail("block-cut", "a block without its frame, cut in its literals", {
            b(&short_block(SENTENCE, SENTENCE.len())[..10])
        }),
        mail("block-trailing", "a byte behind a block without its frame", {
            b([&short_block(SENTENCE, SENTENCE.len())[..], &[0]].concat())
        }),
        mail("block-1025", "a block without its frame that yields 1025 bytes", {
            b(short_block(SENTENCE, 1025))
        }),
        packet_case("zstd-block-card-601", "a card of 601 bytes, a block without its frame", {
            vec![V::U(7), b(short_block(SENTENCE, 601))]
        }),
        packet_case("zstd-card-601", "a card of 601 bytes, compressed", {
            vec![V::U(7), frame(0x60, &(601_u16 - 256).to_le_bytes(), &[rle(601, true)])]
        }),
    ]
}

const SENTENCE: &[u8] = b"Zwx needs 27 kg of rice and Qvortrup has it, says the man at gate 4. ";

/// The block of a sentence that is repeated up to so many bytes, without its frame.
pub(crate) fn short_block(sentence: &[u8], bytes: usize) -> Vec<u8> {
    let dictionary = include_bytes!("../../dict/postrider-1.dict");
    let text: Vec<u8> = sentence.iter().copied().cycle().take(bytes).collect();
    let mut z = zstd::bulk::Compressor::with_dictionary(19, dictionary).unwrap();
    z.set_parameter(zstd::zstd_safe::CParameter::DictIdFlag(false)).unwrap();
    let frame = z.compress(&text).unwrap();
    // Magic, descriptor, content size in one byte or two.
    let at = 4 + if bytes < 256 { 2 } else { 3 };
    let block = &frame[at + 3..];
    let head = u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], 0]);
    assert_eq!(head, 5 | u32::try_from(block.len()).unwrap() << 3, "one compressed block");
    assert_ne!(block[0] & 0x1f, 0, "it could be taken for a frame");
    block.to_vec()
}

/// A sentence compressed against a longer dictionary than ours, which begins with it.
fn beyond_dictionary() -> Vec<u8> {
    let sentence = b"a sentence that stands at the very beginning of the long dictionary";
    let mut dictionary = sentence.to_vec();
    let mut filler = vec![0; 100_000];
    blake3::Hasher::new().update(b"filler").finalize_xof().fill(&mut filler);
    dictionary.extend(filler);
    let mut z = zstd::bulk::Compressor::with_dictionary(19, &dictionary).unwrap();
    z.set_parameter(zstd::zstd_safe::CParameter::ContentSizeFlag(true)).unwrap();
    z.set_parameter(zstd::zstd_safe::CParameter::DictIdFlag(false)).unwrap();
    let frame = z.compress(sentence).unwrap();
    assert!(frame.len() < 30, "the match was found");
    frame[4..].to_vec()
}

fn parts() -> Vec<Vector> {
    let fields = |set: &[u8], index: u64, stored: u64, plain: u64| {
        V::A(vec![b(set), V::U(index), V::U(stored), V::U(plain)])
    };
    let part = |name: &str, what: &str, kind: u64, fields: V, after: &[u8]| {
        let craft = age().packet(vec![V::U(kind), fields]).with(|c| c.after = after.to_vec());
        case(&format!("part-{name}"), what, &craft)
    };
    let set = [0x5e; 16];
    let raw = [7; 100];
    let data = b"postrider ".repeat(200);
    let packed = {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.write_all(&data).unwrap();
        encoder.finish().unwrap()
    };
    let size = |bytes: &[u8]| bytes.len() as u64;
    let zeros = |bytes: &[u8]| [bytes, &[0; 200]].concat();
    let (n, stored) = (size(&data), size(&packed));
    // Its last block is there, the one that says so is not: all the bytes come out, and yet it is cut.
    let unfinished = {
        let head = block(0, data.len(), false, &data);
        [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50][..], &head].concat()
    };
    let twice = [&packed[..], &zstd::encode_all(&b""[..], 3).unwrap()].concat();
    let skippable = [&packed[..], &[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9]].concat();
    vec![
        part("more-stored", "more stored bytes than are there", 4, fields(&set, 0, 101, 101), &raw),
        part(
            "unequal",
            "not compressed, and yet of two lengths",
            4,
            fields(&set, 0, 99, 100),
            &raw,
        ),
        part("empty", "of no bytes", 4, fields(&set, 0, 0, 0), &raw),
        part(
            "huge",
            "of more than 63 MiB",
            5,
            fields(&set, 0, stored, (63 << 20) + 1),
            &zeros(&packed),
        ),
        part("set-15", "a set id of 15 bytes", 4, fields(&set[..15], 0, 100, 100), &raw),
        part("index-33-bits", "index 2^32", 4, fields(&set, 1 << 32, 100, 100), &raw),
        part("3-fields", "three fields", 4, V::A(vec![b(set), V::U(0), V::U(100)]), &raw),
        part("padding", "something behind the stored bytes", 4, fields(&set, 0, 99, 99), &raw),
        part("not-zstd", "bytes that are no zstd frame", 5, fields(&set, 0, 100, 100), &raw),
        part(
            "yields-more",
            "a frame of more than announced",
            5,
            fields(&set, 0, stored, n - 1),
            &zeros(&packed),
        ),
        part(
            "yields-less",
            "a frame of less than announced",
            5,
            fields(&set, 0, stored, n + 1),
            &zeros(&packed),
        ),
        part("cut-frame", "a frame without its last byte", 5, fields(&set, 0, stored - 1, n), &{
            zeros(&packed[..packed.len() - 1])
        }),
        part(
            "unfinished-frame",
            "a frame without a last block",
            5,
            fields(&set, 0, size(&unfinished), n),
            &zeros(&unfinished),
        ),
        part(
            "two-frames",
            "an empty second frame behind the first",
            5,
            fields(&set, 0, size(&twice), n),
            &zeros(&twice),
        ),
        part(
            "skippable-frame",
            "a frame to be skipped behind the first",
            5,
            fields(&set, 0, size(&skippable), n),
            &zeros(&skippable),
        ),
        case("part-in-compact", "a part under a compact seal", &{
            let craft = Craft::open().packet(vec![V::U(4), fields(&set, 0, 100, 100)]);
            craft.with(|c| c.after = raw.to_vec())
        }),
    ]
}

fn manifests() -> Vec<Vector> {
    let hash = *blake3::hash(b"x").as_bytes();
    let file = move |path: V, bytes: u64, flags: u64| {
        V::A(vec![path, V::U(bytes), b(hash), V::Null, V::U(flags)])
    };
    let path = |names: &[&str]| V::A(names.iter().map(|name| t(*name)).collect());
    let honest = move || file(path(&["a"]), 1, 0);
    let case = |name: &str, what: &str, manifest: Vec<V>| {
        packet_case(&format!("manifest-{name}"), what, vec![V::U(2), b(V::A(manifest).bytes())])
    };
    let with_file = |name: &str, what: &str, file: V| {
        case(name, what, vec![V::Null, V::Null, V::A(vec![file]), b("x")])
    };
    let with_path = |name: &str, what: &str, names: &[&str]| {
        with_file(&format!("path-{name}"), what, file(path(names), 1, 0))
    };
    let with_content = |name: &str, what: &str, set: V, content: V| {
        case(name, what, vec![set, V::Null, V::A(vec![honest()]), content])
    };
    let parts = |bytes: u64, total: u64, hashes: usize| {
        V::A(vec![V::U(bytes), V::U(total), b(vec![7; hashes])])
    };
    let set = || b([0x5e; 16]);
    let long = "n".repeat(256);
    vec![
        with_path("dot-dot", "a path that climbs", &["a", "..", "b"]),
        with_path("dot", "a path component that is a dot", &["."]),
        with_path("slash", "a slash in a component", &["a/b"]),
        with_path("absolute", "a component that starts with a slash", &["/etc", "passwd"]),
        with_path("backslash", "a backslash in a component", &["..\\b"]),
        with_path("nul", "a NUL in a component", &["a\0b"]),
        with_path("escape", "a control character in a component", &["a\u{1b}[2J"]),
        with_path("line-feed", "a line feed in a component", &["a\nb"]),
        with_path("c1", "a control character beyond ASCII", &["a\u{9b}b"]),
        with_path("empty-name", "a component of no bytes", &["a", ""]),
        with_path("empty", "a path of no components", &[]),
        with_path("256", "a component of 256 bytes", &[&long]),
        with_path("65-deep", "65 components", &["d"; 65]),
        with_file("path-bytes", "a component as a byte string", file(V::A(vec![b("a")]), 1, 0)),
        with_file("path-text", "a text in place of the components", file(t("a"), 1, 0)),
        with_file("flag-unknown", "an unknown flag", file(path(&["a"]), 1, 4)),
        with_file("directory-bytes", "a directory with bytes", file(path(&["a"]), 1, 2)),
        with_file("4-fields", "a file of four fields", {
            V::A(vec![path(&["a"]), V::U(1), b(hash), V::Null])
        }),
        with_file("hash-31", "a hash of 31 bytes", {
            V::A(vec![path(&["a"]), V::U(1), b(&hash[..31]), V::Null, V::U(0)])
        }),
        with_file("mtime-negative", "a time before 1970", {
            V::A(vec![path(&["a"]), V::U(1), b(hash), V::Raw(vec![0x20]), V::U(0)])
        }),
        with_file("sum", "less content than the files have", file(path(&["a"]), 2, 0)),
        with_file("sum-overflow", "a size beyond everything", file(path(&["a"]), u64::MAX, 0)),
        with_content("hash", "content that does not match its hash", V::Null, b("y")),
        with_content("inline-set", "a set id although the content is inside", set(), b("x")),
        with_content("parts-no-set", "parts without a set id", V::Null, parts(1 << 20, 1, 32)),
        with_content("parts-set-15", "a set id of 15 bytes", b([1; 15]), parts(1 << 20, 1, 32)),
        with_content("parts-0", "parts of no bytes", set(), parts(0, 1, 32)),
        with_content("parts-small", "parts below 1 MiB", set(), parts((1 << 20) - 1, 1, 32)),
        with_content("parts-large", "parts above 63 MiB", set(), parts((63 << 20) + 1, 1, 32)),
        with_content("parts-total", "another total than the files'", set(), parts(1 << 20, 2, 32)),
        with_content("parts-hashes", "a part hash too many", set(), parts(1 << 20, 1, 64)),
        with_content("parts-half-hash", "half a part hash", set(), parts(1 << 20, 1, 16)),
        case("no-files", "no files", vec![V::Null, t("hi"), V::A(vec![]), b([])]),
        case("3-elements", "three elements", vec![V::Null, V::Null, V::A(vec![honest()])]),
        case("text-bytes", "the text as a byte string", {
            vec![V::Null, b("hi"), V::A(vec![honest()]), b("x")]
        }),
        packet_case("manifest-trailing", "a byte behind the manifest", {
            let manifest = V::A(vec![V::Null, V::Null, V::A(vec![honest()]), b("x")]).bytes();
            vec![V::U(2), b([&manifest[..], &[0]].concat())]
        }),
        packet_case("manifest-deep", "arrays nested deeper than eight", {
            let mut deep = V::U(0);
            for _ in 0..9 {
                deep = V::A(vec![deep]);
            }
            vec![V::U(2), b(deep.bytes())]
        }),
    ]
}
