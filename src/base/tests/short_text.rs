//! What a text of a hundred characters costs as a packet: `cargo test -p postrider-base --test short_text -- --nocapture`.
#![allow(clippy::unwrap_used, missing_docs)]

use postrider_base::packet::{Body, Packet, Tail};

/// 20 texts of exactly 100 characters in each of these languages, in this order, never trained on:
/// 15 as people write them, five from literature and reference works.
const HUNDRED: &str = include_str!("../dict/heldout/hundred.txt");
const LANGUAGES: [&str; 4] = ["English", "German", "Spanish", "French"];

/// What a hidden bundle to a contact leaves for a body in one radio frame of 230 bytes, whatever its
/// counter below 65,536 (docs/format.md, section 17).
const ROOM: usize = 72;

/// The compressed body of a text, without the packet round it.
fn body_bytes(text: &str) -> usize {
    let packet = Packet { body: Body::Mail(text.into()), tail: Tail::default() }.encode();
    assert_eq!(Packet::decode(&packet).unwrap().body, Body::Mail(text.into()));
    // Array, kind, and a byte string's head, which has two bytes from 24 on.
    packet.len() - 4
}

#[test]
fn a_hundred_characters_are_short_enough_for_one_radio_frame() {
    println!("{:10} {:>6} {:>6} {:>5} {:>5} {:>8}", "", "bytes", "body", "least", "most", "<= 72");
    let lines: Vec<&str> = HUNDRED.lines().collect();
    assert_eq!(lines.len(), 20 * LANGUAGES.len());
    let mut all = Vec::new();
    for (language, lines) in LANGUAGES.iter().zip(lines.chunks(20)) {
        assert!(lines.iter().all(|line| line.chars().count() == 100), "{language}");
        let sizes: Vec<usize> = lines.iter().map(|line| body_bytes(line)).collect();
        row(language, lines.iter().map(|line| line.len()).sum(), &sizes);
        all.extend(sizes);
    }
    row("all", lines.iter().map(|line| line.len()).sum(), &all);
    assert!(all.iter().all(|size| *size <= ROOM), "{all:?}");
}

fn row(name: &str, raw: usize, sizes: &[usize]) {
    let mean = |sum: usize| sum as f64 / sizes.len() as f64;
    println!(
        "{name:10} {:6.1} {:6.1} {:5} {:5} {:5}/{}",
        mean(raw),
        mean(sizes.iter().sum()),
        sizes.iter().min().unwrap(),
        sizes.iter().max().unwrap(),
        sizes.iter().filter(|size| **size <= ROOM).count(),
        sizes.len(),
    );
}
