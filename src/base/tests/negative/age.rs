//! Age files that must not open: the header, its MAC, the stanzas, the chunks.

use std::io::{Read, Write};

use postrider_base::seal::age;

use crate::{
    doors::{ALICE, BOB, node},
    points::small_order_u,
    seals::Age,
};

/// Sealed bytes of a full chunk, its tag included (age's specification, "Payload").
const CHUNK: usize = 64 * 1024 + 16;

fn to(readers: &[u8]) -> Age {
    let keys = readers.iter().map(|n| *node(*n).first_seal_key().public().as_bytes());
    Age { recipients: keys.collect(), ..Age::to([0; 32]) }
}

fn open_as(reader: u8, file: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let mut reader = age::open_with(&[node(reader).first_seal_key()], file).ok()?;
    reader.read_to_end(&mut plain).ok()?;
    Some(plain)
}

fn open(file: &[u8]) -> Option<Vec<u8>> {
    open_as(BOB, file)
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().finalize_xof().fill(&mut out);
    out
}

/// Where the header ends and the payload's nonce begins.
fn header_end(file: &[u8]) -> usize {
    let mac = file.windows(5).position(|w| w == b"\n--- ").unwrap() + 1;
    mac + file[mac..].iter().position(|byte| *byte == b'\n').unwrap() + 1
}

#[test]
fn every_length_around_a_chunk_comes_back_whole() {
    let chunk = 64 * 1024;
    for bytes in [0, 1, 15, 16, chunk - 1, chunk, chunk + 1, 2 * chunk, 2 * chunk + 1] {
        let plain = noise(bytes);
        assert_eq!(open(&to(&[BOB]).seal(&plain)).as_ref(), Some(&plain).filter(|_| bytes > 0));
        let key = node(BOB).first_seal_key().public();
        let mut writer = age::seal_to(&[key], Vec::new()).unwrap();
        writer.write_all(&plain).unwrap();
        assert_eq!(open(&writer.finish().unwrap()), Some(plain), "{bytes}");
    }
}

#[test]
fn a_header_changed_under_way_is_refused() {
    let file = to(&[BOB, ALICE]).seal(b"hello");
    assert!(open(&file).is_some() && open_as(ALICE, &file).is_some());
    for at in 0..header_end(&file) {
        for bit in 0..8 {
            let mut spoiled = file.clone();
            spoiled[at] ^= 1 << bit;
            assert_eq!(open(&spoiled), None, "bit {bit} of byte {at}");
        }
        let mut shorter = file.clone();
        shorter.remove(at);
        assert_eq!(open(&shorter), None, "without byte {at}");
        assert_eq!(open(&file[..at]), None, "cut at {at}");
    }
}

type Lines = fn(&mut Vec<u8>);

/// Whatever the MAC covers is still no age file when its form is wrong.
#[test]
fn a_header_of_a_wrong_form_is_refused_although_its_mac_holds() {
    let same = Age { header: Some(|_| {}), ..to(&[BOB]) };
    assert!(open(&same.seal(b"hello")).is_some());
    let cases: &[(&str, Lines)] = &[
        ("no recipients", |h| h.truncate(22)),
        ("another version", |h| h[20] = b'2'),
        ("a blank behind the version", |h| h.insert(21, b' ')),
        ("a carriage return", |h| h.insert(21, b'\r')),
        ("a stanza of another type", |h| replace(h, "X25519", "X25518")),
        ("a type in lower case", |h| replace(h, "X25519", "x25519")),
        ("an argument more", |h| replace(h, "\n", " more\n")),
        ("no argument", |h| {
            let (start, end) = line(h, 1);
            h.splice(start..end, b"-> X25519".iter().copied());
        }),
        ("an argument with padding", |h| {
            let (_, end) = line(h, 1);
            h.insert(end, b'=');
        }),
        ("an argument cut", |h| {
            let (_, end) = line(h, 1);
            h.remove(end - 1);
        }),
        ("an argument in a second spelling", |h| {
            let (_, end) = line(h, 1);
            h[end - 1] = respelled(h[end - 1]);
        }),
        ("a body cut", |h| {
            let (_, end) = line(h, 2);
            h.drain(end - 4..end);
        }),
        ("a body extended", |h| {
            let (_, end) = line(h, 2);
            h.splice(end..end, *b"AAAA");
        }),
        ("a body in a second spelling", |h| {
            let (_, end) = line(h, 2);
            h[end - 1] = respelled(h[end - 1]);
        }),
        ("a body on two lines", |h| {
            let (start, _) = line(h, 2);
            h.insert(start + 20, b'\n');
        }),
        ("no body", |h| {
            let (start, end) = line(h, 2);
            h.drain(start..end);
        }),
        ("an empty line", |h| h.insert(22, b'\n')),
        ("a line that is no stanza", |h| {
            h.splice(22..22, b"hello\n".iter().copied());
        }),
        ("a stanza without type", |h| {
            h.splice(22..22, b"-> \n\n".iter().copied());
        }),
        ("a passphrase beside a recipient", |h| {
            let stanza = b"-> scrypt AAAAAAAAAAAAAAAAAAAAAA 10\n\
                AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
            h.splice(22..22, stanza.iter().copied());
        }),
        ("more stanzas than anybody needs", |h| {
            h.splice(22..22, b"-> X AAAA\n\n".repeat(2000));
        }),
    ];
    for (what, change) in cases {
        let file = Age { header: Some(*change), ..to(&[BOB]) }.seal(b"hello");
        assert_eq!(open(&file), None, "{what}");
    }
}

/// The first and last byte of a line, its line feed excluded; line 0 is the version.
fn line(header: &[u8], which: usize) -> (usize, usize) {
    let mut start = 0;
    for line in header.split_inclusive(|byte| *byte == b'\n').take(which) {
        start += line.len();
    }
    (start, start + header[start..].iter().position(|byte| *byte == b'\n').unwrap())
}

/// Replaces the first occurrence behind the version line.
fn replace(header: &mut Vec<u8>, from: &str, to: &str) {
    let at = 22 + header[22..].windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
    header.splice(at..at + from.len(), to.bytes());
}

/// A character whose unused low bits are set: the same bytes for a lenient base64.
fn respelled(character: u8) -> u8 {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = ALPHABET.iter().position(|c| *c == character).unwrap();
    ALPHABET[value ^ 1]
}

#[test]
fn only_whoever_is_named_opens() {
    let both = to(&[ALICE, BOB]).seal(b"hello");
    assert_eq!(open(&both).as_deref(), Some(&b"hello"[..]));
    assert_eq!(open_as(6, &both), None);
    assert_eq!(open(&to(&[ALICE, 6]).seal(b"hello")), None, "several, none of them us");
    assert_eq!(open(&to(&[ALICE]).seal(b"hello")), None);
    let unknown: Lines = |h| {
        h.splice(22..22, b"-> later kind of recipient\nAAAA\n".iter().copied());
    };
    let beside = Age { header: Some(unknown), ..to(&[ALICE, BOB]) };
    assert!(open(&beside.seal(b"hello")).is_some(), "unknown kinds are passed over");
    assert_eq!(open_as(6, &beside.seal(b"hello")), None);
    assert!(age::open_with(&[], &both[..]).is_err(), "no keys");
}

#[test]
fn a_share_of_small_order_is_refused() {
    for u in small_order_u() {
        let file = Age { zero_share: Some(u), ..to(&[BOB]) }.seal(b"hello");
        assert_eq!(open(&file), None, "{u:02x?}");
    }
}

#[test]
fn the_mac_has_one_spelling_and_is_there() {
    let file = to(&[BOB]).seal(b"hello");
    let (end, mac) = (header_end(&file), header_end(&file) - 44);
    assert_eq!(&file[mac - 4..mac], b"--- ");
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = file.clone();
        change(&mut file);
        open(&file)
    };
    assert!(changed(&|_| {}).is_some());
    assert_eq!(changed(&|f| f[end - 2] = respelled(f[end - 2])), None, "second spelling");
    assert_eq!(changed(&|f| f.insert(end - 1, b'=')), None, "padding");
    assert_eq!(changed(&|f| drop(f.drain(mac..end - 1))), None, "empty");
    assert_eq!(changed(&|f| drop(f.drain(mac - 1..end - 1))), None, "not even a blank");
    assert_eq!(changed(&|f| f[mac..end - 1].fill(b'A')), None, "zero");
}

#[test]
fn chunks_stay_in_their_order_and_all_are_there() {
    let plain = noise(3 * 64 * 1024 + 100);
    let file = to(&[BOB]).seal(&plain);
    let first = header_end(&file) + 16;
    let chunk = |n: usize| first + n * CHUNK..first + (n + 1) * CHUNK;
    let last = first + 3 * CHUNK..file.len();
    assert_eq!(open(&file), Some(plain));
    let built = |parts: &[std::ops::Range<usize>]| {
        let mut out = file[..first].to_vec();
        parts.iter().for_each(|part| out.extend(&file[part.clone()]));
        open(&out)
    };
    let [a, b, c] = [0, 1, 2].map(chunk);
    for (what, parts) in [
        ("two changed places", vec![b.clone(), a.clone(), c.clone(), last.clone()]),
        ("the first is missing", vec![b.clone(), c.clone(), last.clone()]),
        ("one is missing", vec![a.clone(), c.clone(), last.clone()]),
        ("the last is missing", vec![a.clone(), b.clone(), c.clone()]),
        ("only the last is there", vec![last.clone()]),
        ("nothing is there", vec![]),
        ("one stands twice", vec![a.clone(), a.clone(), b.clone(), c.clone(), last.clone()]),
        (
            "the last stands twice",
            vec![a.clone(), b.clone(), c.clone(), last.clone(), last.clone()],
        ),
        ("the last comes before", vec![a.clone(), b.clone(), last.clone(), c.clone()]),
        ("the file stands twice", vec![a, b, c, last.clone(), 0..file.len()]),
    ] {
        assert_eq!(built(&parts), None, "{what}");
    }
}

/// Whether the chunk of that number, of so many, is marked as the last.
type Marks = fn(usize, usize) -> bool;

#[test]
fn the_last_chunk_says_so_and_no_other_does() {
    let plain = noise(2 * 64 * 1024 + 100);
    let cases: &[(&str, Marks)] = &[
        ("none", |_, _| false),
        ("all", |_, _| true),
        ("the first", |index, _| index == 0),
        ("the last and the one before", |index, count| index + 2 >= count),
    ];
    for (what, last) in cases {
        assert_eq!(open(&Age { last: *last, ..to(&[BOB]) }.seal(&plain)), None, "{what}");
    }
    for bytes in [64 * 1024, 2 * 64 * 1024] {
        let empty = Age { empty_last: true, ..to(&[BOB]) };
        assert_eq!(open(&empty.seal(&noise(bytes))), None, "an empty last behind {bytes}");
    }
}

#[test]
fn a_payload_cut_anywhere_extended_or_flipped_is_refused() {
    let file = to(&[BOB]).seal(&noise(64 * 1024 + 100));
    let payload = header_end(&file);
    let (nonce_end, border) = (payload + 16, payload + 16 + CHUNK);
    let near = |at: usize| at.saturating_sub(20)..at + 20;
    for at in (payload..nonce_end + 40).chain(near(border)).chain(file.len() - 120..file.len()) {
        assert_eq!(open(&file[..at]), None, "cut at {at}");
        let mut spoiled = file.clone();
        spoiled[at] ^= 0x40;
        assert_eq!(open(&spoiled), None, "byte {at}");
    }
    for more in [&[0][..], &[0; 16], &[0; 17], b"\n", &file[border..]] {
        assert_eq!(open(&[&file[..], more].concat()), None, "{} bytes more", more.len());
    }
}
