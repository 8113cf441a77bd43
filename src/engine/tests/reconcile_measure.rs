//! Measures reconciliation: symbols for a difference over many keys, and the time they take.
//!
//! ```text
//! cargo test --release -p postrider-engine --test reconcile_measure -- --ignored --nocapture
//! ```
#![allow(clippy::unwrap_used, reason = "a measurement that fails shall say where")]

use std::time::{Duration, Instant};

use postrider_engine::reconcile::{ItemId, Peeler, Progress, SYMBOL_BYTES, SessionKey, Sketcher};

fn id(seed: u64, n: u64) -> ItemId {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&seed.to_be_bytes());
    out[8..].copy_from_slice(&n.to_be_bytes());
    out
}

fn peel(theirs: &mut Sketcher, ours: &mut Peeler) -> usize {
    while let Progress::More = ours.push(theirs.next_symbol().unwrap()) {}
    ours.symbols()
}

/// Mean, 99th percentile and worst number of symbols for a difference.
fn distribution(differences: u64, seeds: u64) {
    let mut all: Vec<usize> = (0..seeds)
        .map(|seed| {
            let key = SessionKey(id(seed, 0));
            let mut theirs = Sketcher::new(key, (0..differences).map(|n| id(1, n))).unwrap();
            peel(&mut theirs, &mut Peeler::new(key, []).unwrap())
        })
        .collect();
    all.sort_unstable();
    let mean = all.iter().sum::<usize>() as f64 / all.len() as f64;
    let (p99, worst) = (all[all.len() * 99 / 100 - 1], all[all.len() - 1]);
    println!(
        "{differences:>6} differences: {mean:>8.1} symbols, p99 {p99}, worst {worst} of {seeds}; {:.0} B, p99 {} B, {:.2} symbols each",
        mean * SYMBOL_BYTES as f64,
        p99 * SYMBOL_BYTES,
        mean / differences as f64
    );
}

/// How long the longest single push takes when a difference is large.
fn longest_push(differences: u64) {
    let key = SessionKey([1; 16]);
    let mut theirs = Sketcher::new(key, (0..differences).map(|n| id(1, n))).unwrap();
    let mut ours = Peeler::new(key, []).unwrap();
    let mut longest = Duration::ZERO;
    let start = Instant::now();
    loop {
        let symbol = theirs.next_symbol().unwrap();
        let pushed = Instant::now();
        let progress = ours.push(symbol);
        longest = longest.max(pushed.elapsed());
        if progress != Progress::More {
            break;
        }
    }
    println!("{differences:>8} differences: longest push {longest:?} of {:?}", start.elapsed());
}

fn times(items: u64, symbols: usize) {
    let key = SessionKey([1; 16]);
    let start = Instant::now();
    let mut theirs = Sketcher::new(key, (0..items).map(|n| id(1, n))).unwrap();
    let begun = start.elapsed();
    theirs.next_symbols(1);
    let first = start.elapsed();
    theirs.next_symbols(symbols - 1);
    println!(
        "{items:>8} items: begun in {begun:?}, 1 symbol {first:?}, {symbols} {:?}",
        start.elapsed()
    );

    let mut theirs = Sketcher::new(key, (0..items).map(|n| id(1, n))).unwrap();
    let mut ours = Peeler::new(key, (5..items + 5).map(|n| id(1, n))).unwrap();
    let start = Instant::now();
    let needed = peel(&mut theirs, &mut ours);
    println!(
        "{items:>8} items: 10 differences peeled, both ends, in {:?} ({needed} symbols)",
        start.elapsed()
    );
}

#[test]
#[ignore = "a measurement"]
fn symbols_and_times() {
    for (differences, seeds) in [(1, 1_000), (10, 1_000), (100, 1_000), (1_000, 100), (10_000, 10)]
    {
        distribution(differences, seeds);
    }
    times(100_000, 64);
    times(1_000_000, 64);
    times(1_000_000, 1_500);
    longest_push(10_000);
    longest_push(190_000);
}
