//! Measures a spool on a real disk: durable commits with many writers, opening and asking at scale.
//!
//! ```text
//! cargo run --release -p postrider-spool --example measure -- DIR [BUNDLES]
//! ```
//!
//! DIR must be new or empty and should be on the disk that matters (a tmpfs has no fsync to pay).
//! `measure DIR BUNDLES full` fills a quota and goes on admitting: each newcomer then drops one.
//! Every step runs in a process of its own, so that memory is its own.
#![allow(clippy::unwrap_used, reason = "a measurement that fails shall say where")]

use std::{
    env, fs,
    path::Path,
    process::{Command, ExitCode},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use postrider_spool::{
    Appender, Body, BundleId, Change, Class, Destination, DurableSpool, Hop, NewBundle, Now,
    Options, Place, Queue, Quota, Quotas, Spool, Summary,
};

const WRITERS: u64 = 64;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let Some(dir) = args.first() else {
        eprintln!("usage: measure DIR [BUNDLES]");
        return ExitCode::from(2);
    };
    let root = Path::new(dir);
    let number = |i: usize, default| args.get(i).and_then(|n| n.parse().ok()).unwrap_or(default);
    match args.get(2).map(String::as_str) {
        Some("fill") => fill(root, number(1, 0), number(3, 0)),
        Some("full") => full(root, number(1, 0), number(3, 1000)),
        Some("append") => append(root, number(3, 0)),
        Some("open") => open(root),
        Some("check") => check(root),
        _ => all(dir, number(1, 100_000)),
    }
    ExitCode::SUCCESS
}

fn all(dir: &str, bundles: u64) {
    let step = |name: &str, from: u64, bundles: u64| {
        let me = env::current_exe().unwrap();
        let (from, bundles) = (from.to_string(), bundles.to_string());
        let done = Command::new(me).args([dir, &bundles, name, &from]).status().unwrap();
        assert!(done.success(), "{name}");
    };
    let index = Path::new(dir).join("index");
    step("append", 1 << 40, 0);
    step("fill", 0, bundles);
    step("append", 2 << 40, 0);
    println!("opening, as it was left by others");
    step("open", 0, 0);
    println!("opening, index current");
    step("open", 0, 0);
    println!("opening, after a kill");
    fs::remove_file(Path::new(dir).join("index.sum")).unwrap();
    step("open", 0, 0);
    println!("opening, index deleted");
    fs::remove_dir_all(&index).unwrap();
    step("open", 0, 0);
    step("check", 0, 0);
    let size = size_of(&index);
    println!("index: {size} bytes, {} per bundle", size / bundles.max(1));
}

fn place(root: &Path) -> Place {
    let entropy: postrider_spool::Entropy = Arc::new(|out| {
        use std::io::Read;
        fs::File::open("/dev/urandom").unwrap().read_exact(out).unwrap();
    });
    Place::take(root, entropy, Duration::from_secs(5), &mut || true).unwrap()
}

fn now() -> Now {
    Now { boot: [1; 16], boottime_ms: 1000 }
}

fn bundle(n: u64) -> NewBundle {
    let mut id = [0; 32];
    // Ids are hashes: neighbours in time are none in order.
    for (part, salt) in id.chunks_mut(8).zip(1u64..) {
        let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_mul(2 * salt + 1);
        part.copy_from_slice(&(mixed ^ (mixed >> 29)).to_le_bytes());
    }
    id[..8].reverse();
    let mut to = [3; 32];
    to[0] = n.to_le_bytes()[0];
    NewBundle {
        id: BundleId(id),
        head: vec![5; 220],
        summary: Summary {
            destination: Destination::Node(to),
            source: Some([2; 32]),
            nice: [32, 160, 160, 224][usize::from(n.to_le_bytes()[1] & 3)],
            lifetime_s: 86_400,
            length: 1024,
        },
        hop: Hop::fresh(),
        class: Class::Contact,
        worth: 0,
        from: Some([4; 32]),
        own: None,
        body: Body::Inline(vec![n.to_le_bytes()[0]; 1024]),
    }
}

fn fill(root: &Path, bundles: u64, from: u64) {
    let (spool, _) = DurableSpool::open(place(root), &Options::default()).unwrap();
    let started = Instant::now();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let spool = &spool;
            scope.spawn(move || {
                for n in (writer..bundles).step_by(usize::try_from(WRITERS).unwrap()) {
                    spool.commit(now(), vec![Change::Bundle(bundle(from + n))]).unwrap();
                }
            });
        }
    });
    let took = started.elapsed();
    println!(
        "{bundles} durable commits of 1 KiB by {WRITERS} writers: {took:.2?}, {:.0}/s; {}",
        bundles as f64 / took.as_secs_f64(),
        memory()
    );
    let started = Instant::now();
    drop(spool);
    println!("  closing: {:.2?}", started.elapsed());
}

/// As many bundles as the quota allows, then as many again, from so many sources behind 16
/// neighbours.
fn full(root: &Path, bundles: u64, sources: u64) {
    let (spool, _) = DurableSpool::open(place(root), &Options::default()).unwrap();
    let contact = Quota { bytes: u64::MAX, bundles };
    spool.set_quotas(Quotas { contact, ..Quotas::UNLIMITED });
    for (what, from) in [("empty", 0), ("full", bundles)] {
        let started = Instant::now();
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let spool = &spool;
                scope.spawn(move || {
                    for n in (writer..bundles).step_by(usize::try_from(WRITERS).unwrap()) {
                        let mut new = bundle(from + n);
                        let mixed = (from + n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
                        let mut source = [0; 32];
                        source[..8].copy_from_slice(&(mixed % sources).to_le_bytes());
                        new.summary.source = Some(source);
                        new.from = Some([u8::try_from(mixed % 16).unwrap(); 32]);
                        spool.commit(now(), vec![Change::Bundle(new)]).unwrap();
                    }
                });
            }
        });
        let took = started.elapsed();
        let stats = spool.stats().unwrap();
        println!(
            "quota {what}: {bundles} admitted in {took:.2?}, {:.0}/s; {} here; {}",
            bundles as f64 / took.as_secs_f64(),
            stats.bundles(),
            memory()
        );
    }
}

fn append(root: &Path, from: u64) {
    let mut times = Vec::new();
    for n in 0..200 {
        let started = Instant::now();
        let (appender, _) = Appender::open(place(root)).unwrap();
        let to = Destination::Node([9; 32]);
        let sequence = appender.take_sequence(&to);
        let group = vec![Change::Bundle(bundle(from + n)), Change::Sequence(sequence)];
        appender.commit(now(), group).unwrap();
        drop(appender);
        times.push(started.elapsed());
    }
    times.sort();
    let (p50, p95) = (times[100], times[190]);
    println!("append by a process without index: p50 {p50:.2?}, p95 {p95:.2?}; {}", memory());
}

fn open(root: &Path) {
    let before = memory();
    let started = Instant::now();
    let (spool, recovery) = DurableSpool::open(place(root), &Options::default()).unwrap();
    println!("  open: {:.2?} {:?}; {before} -> {}", started.elapsed(), recovery.index, memory());
    let started = Instant::now();
    let stats = spool.stats().unwrap();
    let asked = started.elapsed();
    let started = Instant::now();
    let mut next = 0;
    for to in 0..=255u8 {
        let mut key = [3; 32];
        key[0] = to;
        let queue = Queue::Destination(Destination::Node(key));
        next += spool.page(queue, None, 1).unwrap().len();
    }
    println!(
        "  {} bundles; totals {asked:.2?}; next to send {:.2?} each ({next} queues); {}",
        stats.bundles(),
        started.elapsed() / 256,
        memory()
    );
    let started = Instant::now();
    drop(spool);
    println!("  closing: {:.2?}; {}", started.elapsed(), memory());
}

fn check(root: &Path) {
    let (spool, _) = DurableSpool::open(place(root), &Options::default()).unwrap();
    let started = Instant::now();
    let report = spool.check(now()).unwrap();
    println!("check: {:.2?} {report:?}; {}", started.elapsed(), memory());
}

/// Resident now, and at most since the process began.
fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(0.0) / 1024.0
    };
    format!("RSS {:.1} MiB (peak {:.1} MiB)", mib("VmRSS:"), mib("VmHWM:"))
}

fn size_of(dir: &Path) -> u64 {
    let items = fs::read_dir(dir).unwrap().map(Result::unwrap);
    items
        .map(|item| {
            let facts = item.metadata().unwrap();
            if facts.is_dir() { size_of(&item.path()) } else { facts.len() }
        })
        .sum()
}
