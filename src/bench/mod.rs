//! `postrider bench`: how fast this machine is at the main jobs.
//!
//! Every figure comes with a yardstick measured in the same run (the disk's own speed, one sync), so
//! that figures of different machines can be compared as ratios.

mod live;

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use crate::{
    demo::undisturbed,
    desk::{
        AddRequest, Desk, Failure, FailureKind, SendRequest, Silent, TossDirection, TossRequest,
        reply::Measured,
    },
};

/// Writers of the group commit figure, and what each sends.
const WRITERS: usize = 64;
const EACH: usize = 200;

/// Measures in a folder that must not exist yet, and removes it. `file_mib` is the size of the
/// large file.
pub fn run(
    folder: &Path,
    file_mib: u64,
    tell: &mut dyn FnMut(Measured) -> Result<(), Failure>,
) -> Result<(), Failure> {
    fs::create_dir(folder).map_err(|error| Failure::file("create", folder, error))?;
    let outcome = measure(folder, file_mib, tell);
    let removed = fs::remove_dir_all(folder);
    outcome?;
    removed.map_err(|error| Failure::file("remove", folder, error))
}

fn measure(
    folder: &Path,
    file_mib: u64,
    tell: &mut dyn FnMut(Measured) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let node = |name: &str| undisturbed(&folder.join(name), name);
    let (alice, bob) = (node("alice")?, node("bob")?);
    for (desk, other) in [(&alice, &bob), (&bob, &alice)] {
        desk.add(&AddRequest { card: other.home().card.clone(), name: None })?;
    }
    let big = folder.join("big");
    let copy_s = write_noise(&big, file_mib)?;
    let mib = |seconds: f64| file_mib as f64 / seconds;
    let told = |name: &'static str, value: f64, unit: &'static str, of_disk: Option<f64>| {
        Measured { name, value, unit, of_disk }
    };
    tell(told("disk.write_sync", mib(copy_s), "MiB/s", None))?;
    let sync_s = one_sync(folder)?;
    tell(told("disk.sync", sync_s * 1e3, "ms", None))?;

    let stick = folder.join("stick");
    fs::create_dir(&stick).map_err(|error| Failure::file("create", &stick, error))?;
    let begun = Instant::now();
    let mut leg = Instant::now();
    let mut lap = |name: &'static str| {
        let seconds = leg.elapsed().as_secs_f64();
        leg = Instant::now();
        told(name, mib(seconds), "MiB/s", Some(copy_s / seconds))
    };
    let sent = alice.send(&message(None, vec![big.clone()]), &Silent)?;
    tell(lap("file.send"))?;
    toss(&alice, &stick)?;
    tell(lap("file.toss_out"))?;
    toss(&bob, &stick)?;
    tell(lap("file.toss_in"))?;
    let saved = bob.save_message(&sent.id, folder, &Silent)?;
    tell(lap("file.save"))?;
    let all = begun.elapsed().as_secs_f64();
    tell(told("file.end_to_end", mib(all), "MiB/s", Some(copy_s / all)))?;
    same(&big, saved.first().map_or("", |saved| &saved.path))?;

    // Opens the spool: from here on this process owns it and its threads share syncs.
    alice.status(&Silent)?;
    let begun = Instant::now();
    let failed = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let alice = &alice;
                scope.spawn(move || {
                    (0..EACH).try_for_each(|n| {
                        let text = noise_text(writer * EACH + n);
                        alice.send(&message(Some(text), vec![]), &Silent).map(drop)
                    })
                })
            })
            .collect();
        writers.into_iter().find_map(|writer| match writer.join() {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            Err(_) => Some(Failure::new(FailureKind::Fault, "a writer panicked")),
        })
    });
    if let Some(failure) = failed {
        return Err(failure);
    }
    let rate = (WRITERS * EACH) as f64 / begun.elapsed().as_secs_f64();
    tell(told("messages.64_writers", rate, "durable sealed bundles/s", None))?;

    // Two fresh nodes: what was measured before must not be in the way.
    let (carol, dave) = (Arc::new(node("carol")?), Arc::new(node("bob2")?));
    for (desk, other, name) in [(&carol, &dave, "bob"), (&dave, &carol, "carol")] {
        let card = other.home().card.clone();
        desk.add(&AddRequest { card, name: Some(name.into()) })?;
    }
    let live = live::run(&carol, &dave, big)?;
    tell(told("live.file", mib(live.file_s), "MiB/s", Some(copy_s / live.file_s)))?;
    tell(told("live.queued", live.queued as f64 / live.queued_s, "durable bundles/s", None))?;
    tell(told("live.latency", live.alone_s * 1e3, "ms", None))
}

fn measure_failure(what: &str) -> Failure {
    Failure::new(FailureKind::Failed, what)
}

fn message(text: Option<String>, files: Vec<PathBuf>) -> SendRequest {
    SendRequest {
        to: "bob".into(),
        text,
        files,
        nice: None,
        lifetime: None,
        hidden: None,
        reply_to: None,
        supersede: None,
    }
}

/// A text of 1 KiB that no dictionary shortens much.
fn noise_text(seed: usize) -> String {
    let mut bytes = vec![0; 1024];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes.iter().map(|byte| char::from(b'!' + byte % 90)).collect()
}

fn toss(desk: &Desk, stick: &Path) -> Result<(), Failure> {
    let request = TossRequest {
        path: stick.to_owned(),
        direction: TossDirection::Both,
        dry_run: false,
        budget: None,
        init: false,
        with_card: false,
    };
    desk.toss(&request, &Silent).map(drop)
}

/// Writes and syncs a file; returns the seconds that the disk took.
fn write_noise(path: &Path, mib: u64) -> Result<f64, Failure> {
    let failed = |error| Failure::file("write", path, error);
    let mut file = File::create(path).map_err(failed)?;
    let mut noise = blake3::Hasher::new().update(b"postrider bench").finalize_xof();
    let mut chunk = vec![0; 1 << 20];
    let mut seconds = 0.0;
    for _ in 0..mib {
        noise.fill(&mut chunk);
        let begun = Instant::now();
        file.write_all(&chunk).map_err(failed)?;
        seconds += begun.elapsed().as_secs_f64();
    }
    let begun = Instant::now();
    file.sync_all().map_err(failed)?;
    Ok(seconds + begun.elapsed().as_secs_f64())
}

/// The median of some appends of 1 KiB with a sync each.
fn one_sync(folder: &Path) -> Result<f64, Failure> {
    let path = folder.join("sync");
    let failed = |error| Failure::file("write", &path, error);
    let mut file = File::create(&path).map_err(failed)?;
    let mut seconds = Vec::new();
    for _ in 0..21 {
        let begun = Instant::now();
        file.write_all(&[7; 1024]).and_then(|()| file.sync_data()).map_err(failed)?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2])
}

fn same(a: &Path, b: &str) -> Result<(), Failure> {
    let hash = |path: &Path| -> Result<blake3::Hash, Failure> {
        let failed = |error| Failure::file("read", path, error);
        let mut file = File::open(path).map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        let mut chunk = vec![0; 1 << 20];
        loop {
            match file.read(&mut chunk).map_err(failed)? {
                0 => return Ok(hasher.finalize()),
                n => hasher.update(&chunk[..n]),
            };
        }
    };
    if hash(a)? == hash(Path::new(b))? {
        return Ok(());
    }
    Err(Failure::new(FailureKind::Fault, "the file that arrived is not the file that was sent"))
}
