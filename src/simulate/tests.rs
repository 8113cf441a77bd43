//! What simulations show, with small crowds.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use postrider_base::Lifetime;
use postrider_world::{Meetings, Scheme};

use super::*;
use crate::desk::Silent;

/// Ten in a ring; each meets the next for ten seconds, one pair after the other, ten rounds.
fn ring() -> String {
    let meeting = |n: u32| format!("{} {} n{} n{}\n", n * 20, n * 20 + 10, n % 10, (n + 1) % 10);
    (0..100).map(meeting).collect()
}

fn simulation(scheme: (&'static str, Scheme), seed: u64) -> Simulation {
    Simulation {
        scheme,
        messages: 60,
        ttl: Lifetime::DEFAULT,
        buffer: None,
        dropping: None,
        receipts: true,
        attackers: 0,
        keys: 1,
        bytes: 600,
        rate_bps: RATE_DEFAULT,
        seed,
    }
}

/// What part of its mail each delivers. At once, since each takes its time and they share nothing.
fn delivered<const N: usize>(meetings: &Meetings, all: [&Simulation; N]) -> [f64; N] {
    let told = |of: &Simulation| run(meetings, of, &Silent).unwrap().delivered;
    std::thread::scope(|scope| {
        let told = &told;
        all.map(|of| scope.spawn(move || told(of))).map(|thread| thread.join().unwrap())
    })
}

#[test]
fn everybody_helping_brings_more_mail_sooner_and_costs_more_than_waiting_for_whom_it_is_for() {
    let ring = Meetings::read(ring().as_bytes()).unwrap();
    let told = |scheme| run(&ring, &simulation(scheme, 1), &Silent).unwrap();
    let all = told(("epidemic", Scheme::Epidemic));
    let direct = told(("direct", Scheme::Direct));
    assert_eq!((all.nodes, all.meetings, all.messages), (10, 100, 60));
    assert!(all.delivered > 0.9, "{}", all.delivered);
    // Two of nine are neighbours on the ring.
    assert!((0.05..0.5).contains(&direct.delivered), "{}", direct.delivered);
    assert!((direct.transmissions_per_message - direct.delivered).abs() < 1e-9);
    assert!(all.transmissions_per_message > 2.0 * direct.transmissions_per_message);
    assert!(all.delay_p50_s <= all.delay_p95_s && all.delay_p95_s.unwrap() <= 2000.0);
    assert!(all.copies_mean > 1.0);
    let drawn = plot(&[all, direct]);
    assert!(drawn.starts_with("<svg") && drawn.ends_with("</svg>\n"));
    assert_eq!(drawn.matches("fill=\"none\"").count(), 2);
}

#[test]
fn a_seed_says_all() {
    let ring = Meetings::read(ring().as_bytes()).unwrap();
    let told = |seed| {
        let run = run(&ring, &simulation(("ours", Scheme::Epidemic), seed), &Silent).unwrap();
        (serde_json::to_string(&run).unwrap(), run.delays_s)
    };
    assert_eq!(told(7), told(7));
    assert_ne!(told(7).1, told(8).1);
}

#[test]
fn a_short_life_and_a_small_buffer_cost_mail() {
    let ring = Meetings::read(ring().as_bytes()).unwrap();
    let full = simulation(("epidemic", Scheme::Epidemic), 3);
    let short = Simulation { ttl: Lifetime::new(40).unwrap(), ..full.clone() };
    let small = Simulation { buffer: Some(1), ..full.clone() };
    let [full, short, small] =
        [full, short, small].map(|of| run(&ring, &of, &Silent).unwrap().delivered);
    assert!(short < full && small < full, "{short} {small} {full}");
}

#[test]
fn where_room_is_scarce_what_is_worth_least_goes_and_more_arrives_than_by_age() {
    let town = crowd(Mobility::Town, 40, 48, 1).unwrap();
    let scarce = Simulation {
        messages: 300,
        buffer: Some(2),
        ttl: Lifetime::new(86_400).unwrap(),
        ..simulation(("ours", Scheme::Ours { copies: 8 }), 1)
    };
    let by_age = Simulation { dropping: Some(Dropping::Oldest), ..scarce.clone() };
    let flooded = Simulation { scheme: ("epidemic", Scheme::Epidemic), ..scarce.clone() };
    let stronger = Simulation { dropping: Some(Dropping::Oldest), ..flooded.clone() };
    let attacked = Simulation { attackers: 2, keys: 50, ..scarce.clone() };
    let all = [&scarce, &by_age, &flooded, &stronger, &attacked];
    let [ours, by_age, flooded, stronger, attacked] = delivered(&town, all);
    assert!(ours > 1.2 * by_age && ours > 1.25 * stronger, "{ours} {by_age} {stronger}");
    // As it is published flooding drops what one wrote oneself, and takes again what it dropped.
    assert!(ours > 2.0 * flooded, "{ours} {flooded}");
    // Who floods gets little of what others have.
    assert!(attacked > 0.85 * ours, "{attacked} of {ours}");
}

#[test]
fn where_most_are_not_met_again_flooding_as_published_brings_less_and_the_stronger_rival_comes_near()
 {
    let conference = crowd(Mobility::Conference, 60, 24, 1).unwrap();
    let scarce = Simulation {
        messages: 200,
        buffer: Some(2),
        ttl: Lifetime::new(43_200).unwrap(),
        ..simulation(("ours", Scheme::Ours { copies: 8 }), 1)
    };
    let flooded = Simulation { scheme: ("epidemic", Scheme::Epidemic), ..scarce.clone() };
    let stronger = Simulation { dropping: Some(Dropping::Oldest), ..flooded.clone() };
    let [ours, flooded, stronger] = delivered(&conference, [&scarce, &flooded, &stronger]);
    assert!(ours > 1.7 * flooded && ours > 1.1 * stronger, "{ours} {flooded} {stronger}");
    assert!(stronger > 1.4 * flooded, "{stronger} {flooded}");
}

#[test]
fn a_trace_is_read_packed_and_plain_and_what_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (plain, packed) = (dir.path().join("plain"), dir.path().join("packed.gz"));
    std::fs::write(&plain, ring()).unwrap();
    let mut gzip = GzEncoder::new(std::fs::File::create(&packed).unwrap(), Compression::fast());
    gzip.write_all(ring().as_bytes()).unwrap();
    gzip.finish().unwrap();
    assert_eq!(read_trace(&plain).unwrap(), read_trace(&packed).unwrap());

    let cut = std::fs::read(&packed).unwrap();
    std::fs::write(&packed, &cut[..cut.len() / 2]).unwrap();
    assert_eq!(read_trace(&packed).unwrap_err().kind, FailureKind::Failed);
    std::fs::write(&plain, "0 5 a b\nhello\n").unwrap();
    let refused = read_trace(&plain).unwrap_err();
    assert_eq!(refused.kind, FailureKind::Usage);
    assert!(refused.what.contains("line 2"), "{}", refused.what);
    assert!(read_trace(&dir.path().join("none")).is_err());
}
