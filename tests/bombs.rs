//! Small input that asks for much: refused, or at least answered, within 16 MiB; a manifest that
//! comes compressed, within 32 MiB.
//!
//! What is measured is what Rust code allocates; the C code of zstd has a window of 8 MiB at most,
//! which `window_log_max` bounds. One test in a program of its own, because the count is of the
//! whole process.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "fuzz/bodies/mod.rs"]
mod bodies;

use peak_alloc::PeakAlloc;
use postrider_base::{
    packet::{Body, Packet, Tail, compress_part},
    wire,
};
use serde_bytes::{ByteBuf, Bytes};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Reliability's bound for 64 KiB of input.
const BYTES_MAX: usize = 16 << 20;
/// A manifest of the greatest length and as many names as it may have, in memory: see the bounds in
/// docs/format.md. Whoever takes files of strangers has this much.
const MANIFEST_BYTES_MAX: usize = 32 << 20;
const INPUT_MAX: usize = 64 * 1024;

struct Bomb {
    what: String,
    body: &'static str,
    input: Vec<u8>,
}

fn bomb(body: &'static str, what: impl Into<String>, input: Vec<u8>) -> Bomb {
    assert!(input.len() <= INPUT_MAX, "{body}: {} bytes are no small input", input.len());
    Bomb { what: what.into(), body, input }
}

#[test]
fn nothing_small_takes_much_memory() {
    let mut worst = (0, String::new());
    // Once before, so that what is made once and kept is not counted.
    for (_, _, body, seeds) in bodies::BODIES {
        body(&seeds()[0]);
    }
    for Bomb { what, body, input } in bombs() {
        ALLOCATED.reset_peak_usage();
        let before = ALLOCATED.current_usage();
        let accepted = bodies::run(body, &input);
        let taken = ALLOCATED.peak_usage().saturating_sub(before);
        println!("{body}: {what}: {taken} B{}", if accepted { ", accepted" } else { "" });
        let most = if what.starts_with("manifest") { MANIFEST_BYTES_MAX } else { BYTES_MAX };
        assert!(taken <= most, "{body}: {what}: {taken} bytes for {}", input.len());
        worst = worst.max((taken, format!("{body}: {what}")));
    }
    println!("most: {} B for {}", worst.0, worst.1);
}

fn bombs() -> Vec<Bomb> {
    let mut all = lengths();
    all.extend(arrays());
    all.extend(compressed());
    all.extend(sealed());
    all.extend(media());
    all
}

const CBOR: [&str; 9] = [
    "wire",
    "header",
    "head",
    "small_bundle",
    "packet",
    "manifest",
    "job",
    "job_result",
    "job_word",
];

/// Stated lengths beyond all that there is, of every kind of item.
fn lengths() -> Vec<Bomb> {
    let mut all = Vec::new();
    for major in [2_u8, 3, 4, 5] {
        for length in [1 << 31, 1 << 32, 1 << 62, 1 << 63, u64::MAX] {
            let item = [&[major << 5 | 27], &u64::to_be_bytes(length)[..], &[0; 100]].concat();
            for body in CBOR {
                let what = format!("a length of {length:#x}, major type {major}");
                all.push(bomb(body, what.clone(), item.clone()));
                all.push(bomb(body, what, [&[0x82, 0], &item[..]].concat()));
            }
        }
    }
    all
}

/// Nested without end, and as many items as fit.
fn arrays() -> Vec<Bomb> {
    let mut all = Vec::new();
    let many = |item: &[u8]| {
        let count = (INPUT_MAX - 16) / item.len();
        let head = [&[0x9a][..], &u32::try_from(count).unwrap().to_be_bytes()].concat();
        [head, item.repeat(count)].concat()
    };
    for body in CBOR {
        all.push(bomb(body, "arrays in arrays", vec![0x81; INPUT_MAX]));
        all.push(bomb(body, "empty byte strings", many(&[0x40])));
        all.push(bomb(body, "empty texts", many(&[0x60])));
        all.push(bomb(body, "empty arrays", many(&[0x80])));
        all.push(bomb(body, "nulls", many(&[0xf6])));
    }
    let names = [&[0x84, 0xf6, 0xf6, 0x81, 0x85][..], &many(&[0x60])[..INPUT_MAX - 64]].concat();
    all.push(bomb("manifest", "a path of empty names", names));
    let arguments = [&[0x88, 0x61, b'a'][..], &many(&[0x40])[..INPUT_MAX - 64]].concat();
    all.push(bomb("job", "empty arguments", arguments));
    let start = [&[0x87, 0x58, 32][..], &[5; 32], &[4, 0x58, 32], &[5; 32], b"\x61a"].concat();
    let words = [&start[..], &many(&[0x40])[..INPUT_MAX - 96]].concat();
    all.push(bomb("job_word", "empty words", words));
    all.push(bomb("card", "a card of empty byte strings", many(&[0x40])));
    all.push(bomb("card_body", "hints", many(&[0x60])));
    all
}

/// Frames that grow: within the cap they come out, beyond it the stated length says so.
fn compressed() -> Vec<Bomb> {
    let mut all = Vec::new();
    for (what, plain) in grown() {
        let packet = Packet {
            // The one body that is any bytes; the reader is told other kinds as well.
            body: Body::Card(plain),
            tail: Tail::default(),
        };
        let (_, frame): (u8, ByteBuf) = wire::decode(&packet.encode()).unwrap();
        all.push(bomb("compressed", what, frame.into_vec()));
    }
    for length in [1 << 24, 1 << 40, u64::MAX] {
        // No magic; the content size in 8 bytes; one block that repeats a byte 2^21 - 1 times.
        let frame = [&[0xe0], &u64::to_le_bytes(length)[..], &[0xfb, 0xff, 0xff, 0]].concat();
        all.push(bomb("compressed", format!("a frame of {length} bytes"), frame));
    }
    all
}

/// What shrinks to nearly nothing: texts, and manifests full of names.
fn grown() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("zeros, as many as a text may have", vec![0; 64 * 1024]),
        ("zeros, as many as a manifest may have", vec![0; 8 << 20]),
        ("zeros, one more", vec![0; (8 << 20) + 1]),
        ("zeros, far too many", vec![0; 32 << 20]),
        ("a job of a million empty arguments", {
            let head = [0x88, 0x61, b'a', 0x9a, 0, 0x0f, 0xff, 0xf0];
            [&head[..], &[0x40; (1 << 20) - 16]].concat()
        }),
        ("manifest with a path of 8 million empty names", manifest(1, 8_000_000, &[0x60])),
        ("manifest with a path of 4 million names", manifest(1, 4_000_000, b"\x61a")),
        ("manifest with 50,000 paths of 60 names", manifest(50_000, 60, b"\x61a")),
        ("manifest with 200,000 files", manifest(200_000, 1, &[0x60])),
    ]
}

fn manifest(files: u32, names: u32, name: &[u8]) -> Vec<u8> {
    let array = |count: u32, item: &[u8]| {
        let head = match count {
            0..24 => vec![0x80 | u8::try_from(count).unwrap()],
            24..256 => vec![0x98, u8::try_from(count).unwrap()],
            256..65_536 => [&[0x99][..], &u16::try_from(count).unwrap().to_be_bytes()].concat(),
            _ => [&[0x9a][..], &count.to_be_bytes()].concat(),
        };
        [head, item.repeat(usize::try_from(count).unwrap())].concat()
    };
    let hash = wire::encode(&Bytes::new(blake3::hash(b"").as_bytes()));
    let file = [&[0x85][..], &array(names, name), &[0], &hash, &[0xf6, 0]].concat();
    [&[0x84, 0xf6, 0xf6][..], &array(files, &file), &[0x40]].concat()
}

/// The same inside both seals, and parts that stand for more than they bring.
fn sealed() -> Vec<Bomb> {
    let packet = |kind: u8, body: &[u8]| wire::encode(&(kind, Bytes::new(body)));
    let mut all = Vec::new();
    // Kind 3 is files, the largest that a frame may be.
    let manifest = |bomb: &Bomb| bomb.what.starts_with("manifest with 50,000");
    for compressed in compressed().into_iter().filter(manifest) {
        let plain = [&[0], &packet(3, &compressed.input)[..]].concat();
        all.push(bomb("compact_inside", compressed.what, plain));
    }
    for (stored, plain_bytes) in [(1_u64 << 63, 1_u64 << 63), (100, 60 << 20), (u64::MAX, 1)] {
        for kind in [4_u8, 5] {
            let head = wire::encode(&(kind, (Bytes::new(&[3; 16]), 0_u32, stored, plain_bytes)));
            let plain = [&[0], &head[..], &[0x28; 100]].concat();
            all.push(bomb("age_inside", format!("a part of {stored} for {plain_bytes}"), plain));
        }
    }
    // 60 MiB of zeros in a part: more than is kept, but it streams.
    let zeros = compress_part(&vec![0; 60 << 20]).unwrap();
    let stored = zeros.len() as u64;
    let head = wire::encode(&(5_u8, (Bytes::new(&[3; 16]), 0_u32, stored, 60_u64 << 20)));
    all.push(bomb("age_inside", "a part of 60 MiB of zeros", [&[0], &head[..], &zeros].concat()));
    all
}

/// Containers, notes, streams and texts that state more than they hold.
fn media() -> Vec<Bomb> {
    let mut all = Vec::new();
    let trailer = |count: u32, length: u32| {
        let start = [b"PRC1", &[7; 8][..], b"PRX1", &count.to_be_bytes(), &[0; 40]].concat();
        [&start[..], &length.to_be_bytes(), b"PRCE"].concat()
    };
    for count in [0, 1, 65_536, u32::MAX] {
        for length in [32, 32 + 42, 32 + 42 * 65_536, u32::MAX] {
            let what = format!("a trailer of {count} entries in {length} bytes");
            all.push(bomb("container", what, trailer(count, length)));
        }
    }
    let magics = [b"PRC1", &[7; 8][..], &b"PRR1".repeat(16_000)].concat();
    all.push(bomb("container", "nothing but the starts of records", magics));
    let endless = [&[2, 255][..], &[0x50; 255]].concat().repeat(200);
    all.push(bomb("forged_container", "noise between records", endless));
    let many = [0, 1, 0, 7].repeat(4000);
    all.push(bomb("forged_container", "as many records as fit", many));
    for counts in [[u32::MAX; 3], [16_384, 0, 0], [0, 32_768, 0], [1 << 31, 1, 1]] {
        let front = counts.map(u32::to_be_bytes).concat();
        let what = format!("notes that count to {counts:?}");
        all.push(bomb("forged_notes", what, [b"PRN1", &front[..], &[1; 100]].concat()));
    }
    for length in [0, 512, 513, u16::MAX] {
        let front = [&[1, 0, 0, 0, 0, 0][..], &length.to_be_bytes()].concat();
        let what = format!("a stream with a head of {length} bytes");
        all.push(bomb("stream", what, [b"PRS1", &front[..], &[0x81; 600]].concat()));
    }
    for length in [0, 1 << 24, u32::MAX] {
        let what = format!("a log record of {length} bytes");
        let record = [&[1, 1, 7, 0][..], &length.to_be_bytes(), &[0; 100]].concat();
        let seed = bodies::BODIES.iter().find(|body| body.0 == "log_segment").unwrap().3();
        all.push(bomb("log_segment", what, [&seed[0][..], &record].concat()));
    }
    all.push(bomb(
        "config",
        "arrays in arrays",
        [b"name = ".to_vec(), b"[".repeat(60_000)].concat(),
    ));
    all.push(bomb("config", "tables in tables", b"[a.a.a.a.a.a.a.a]\n".repeat(3000)));
    all.push(bomb("contacts", "arrays in arrays", b"[".repeat(60_000)));
    all.push(bomb("contacts", "lines of nothing", b"x\n".repeat(30_000)));
    all.push(bomb("key_file", "lines of nothing", b"seal 1 x\n".repeat(1000)));
    all.push(bomb("card", "a text of blanks", [b"prcard1".to_vec(), b" ".repeat(60_000)].concat()));
    all.push(bomb(
        "card",
        "a text without end",
        [b"prcard1".to_vec(), b"q".repeat(60_000)].concat(),
    ));
    all.push(bomb(
        "node_text",
        "a text without end",
        [b"pr1".to_vec(), b"q".repeat(60_000)].concat(),
    ));
    all
}
