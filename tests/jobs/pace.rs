//! Many jobs one after the other: nothing piles up. Says how long one takes.

use std::{fs, time::Instant};

use super::job::{Job, well};

/// Our own children that ended and were not waited for.
fn unburied() -> usize {
    let me = std::process::id().to_string();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let ended = stats.filter(|stat| {
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut fields = fields.split_ascii_whitespace();
        fields.next() == Some("Z") && fields.next() == Some(&*me)
    });
    // Those of other tests at this moment are no more than there are threads.
    ended.count()
}

#[test]
fn nothing_piles_up() {
    let jobs = if std::env::var("POSTRIDER_STORM").is_ok() { 200 } else { 20 };
    let times = |narrow: bool| {
        let mut times: Vec<f64> = (0..jobs)
            .map(|_| {
                let job = Job::new(&["/bin/true"]);
                let job = if narrow { job.narrow() } else { job };
                job.place();
                let since = Instant::now();
                let outcome = job.finish();
                let took = since.elapsed().as_secs_f64() * 1e3;
                well(&job, &outcome);
                assert!(!job.dir().join("outcome.new").exists());
                took
            })
            .collect();
        times.sort_by(f64::total_cmp);
        (times[jobs / 2], times[jobs * 19 / 20])
    };
    let (own, without) = (times(false), times(true));
    println!(
        "with namespaces {:.1} ms (p95 {:.1}), without {:.1} ms (p95 {:.1})",
        own.0, own.1, without.0, without.1
    );
    assert!(unburied() < 50, "ended supervisors pile up");
}
