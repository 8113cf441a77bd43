//! Supervisors that are killed, that come twice, and whose starters are gone.

use std::{
    fs::{self, File},
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use postrider_exec::{
    cage::{look, place, wait},
    contract::{End, Standing},
};
use rustix::process::{Pid, Signal, kill_process};

use super::job::{Job, program, until, with_mark};

/// A command that leaves a line each time it runs, where nothing takes it back.
fn counting(more: &str) -> Job {
    Job::sh(&format!("echo ran >>ran; {more}"))
}

fn runs(job: &Job) -> usize {
    fs::read_to_string(job.work("ran")).map_or(0, |text| text.lines().count())
}

fn supervisor(job: &Job) -> std::process::Child {
    Command::new(program())
        .arg("job-supervisor")
        .arg(job.dir())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn two_supervisors_at_once_run_it_once() {
    for _ in 0..20 {
        let job = counting("");
        job.place();
        let mut both = [supervisor(&job), supervisor(&job)];
        for one in &mut both {
            assert!(one.wait().unwrap().success());
        }
        let Standing::Ended(outcome) = look(&job.dir()).unwrap() else { panic!() };
        assert_eq!((outcome.end, runs(&job)), (End::Exited(0), 1));
        // Nor does a third, later.
        assert!(supervisor(&job).wait().unwrap().success());
        assert_eq!(runs(&job), 1);
    }
}

#[test]
fn somebody_who_looks_and_waits_all_the_time_keeps_nobody_from_running() {
    let job = counting("");
    let dir = job.place();
    assert_eq!(look(&dir).unwrap(), Standing::NotStarted);
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // Each of these may be true; an error, or a doubt, is not.
                    match wait(&dir).unwrap() {
                        Standing::Unknown => panic!("nobody crashed"),
                        Standing::NotStarted | Standing::Running | Standing::Ended(_) => {}
                    }
                }
            });
        }
        let standing = job.start().wait(&dir).unwrap();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(matches!(standing, Standing::Ended(_)), "{standing:?}");
    });
}

#[test]
fn a_folder_is_made_once() {
    let job = counting("");
    let dir = job.place();
    assert!(place(&dir, &job.order).is_err());
    fs::remove_file(dir.join("order")).unwrap();
    place(&dir, &job.order).unwrap();
    assert_eq!(look(&dir).unwrap(), Standing::NotStarted);
}

#[test]
fn a_damaged_order_is_never_run() {
    let job = counting("");
    let dir = job.place();
    fs::write(dir.join("order"), b"\x00").unwrap();
    assert_eq!(job.start().wait(&dir).unwrap(), Standing::NotStarted);
    assert!(fs::read_to_string(dir.join("trouble")).unwrap().contains("damaged"));
    assert_eq!(runs(&job), 0);
}

/// The starter is a process of its own, which is killed as soon as the command runs.
#[test]
fn the_true_outcome_comes_even_if_the_starter_is_killed() {
    let job = counting("echo $$ >pid; while [ ! -e go ]; do sleep 0.01; done; echo end; exit 4");
    let dir = job.place();
    let script = format!("{} job-supervisor {} & wait", program().display(), dir.display());
    let mut starter = Command::new("sh").args(["-c", &script]).spawn().unwrap();
    until("it runs", || job.work("pid").exists());
    starter.kill().unwrap();
    starter.wait().unwrap();
    assert_eq!(look(&dir).unwrap(), Standing::Running);
    let waiting = thread::spawn({
        let dir = dir.clone();
        move || wait(&dir).unwrap()
    });
    File::create(job.work("go")).unwrap();
    let Standing::Ended(outcome) = waiting.join().unwrap() else { panic!() };
    assert_eq!((outcome.end, runs(&job)), (End::Exited(4), 1));
    assert_eq!(job.stdout(), "end\n");
}

#[test]
fn when_its_supervisor_is_killed_everything_ends_and_nobody_says_how() {
    let job = counting("(setsid sleep 987020 &); echo $$ >pid; exec sleep 987020");
    let dir = job.place();
    let mut one = supervisor(&job);
    until("it runs", || with_mark("987020").len() == 2);
    one.kill().unwrap();
    one.wait().unwrap();
    assert_eq!(look(&dir).unwrap(), Standing::Unknown);
    until("all of it is gone", || with_mark("987020").is_empty());
    assert!(supervisor(&job).wait().unwrap().success());
    assert_eq!((look(&dir).unwrap(), runs(&job)), (Standing::Unknown, 1));
}

/// kill -9 at points spread over the life of a supervisor: the command ran at most once, and what is
/// said of it is true. Then it is started again until that is settled.
#[test]
fn a_supervisor_killed_anywhere_ran_the_command_at_most_once() {
    let cycles: u32 = std::env::var("POSTRIDER_STORM")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(60)
        .min(10_000);
    let (mut unknown, mut again, mut ended) = (0, 0, 0);
    let since = Instant::now();
    let job = counting("");
    job.place();
    assert!(supervisor(&job).wait().unwrap().success());
    let whole = since.elapsed().mul_f64(1.3);
    for cycle in 0..cycles {
        let job = counting("");
        let dir = job.place();
        let mut one = supervisor(&job);
        let pid = Pid::from_child(&one);
        // From its first instruction to beyond its end. Nothing is waited for: each point is as good.
        let since = Instant::now();
        let point = whole.mul_f64(f64::from(cycle) / f64::from(cycles));
        while since.elapsed() < point {
            std::hint::spin_loop();
        }
        let _ = kill_process(pid, Signal::KILL);
        one.wait().unwrap();
        until("what it started is gone", || with_mark(&dir.display().to_string()).is_empty());
        match look(&dir).unwrap() {
            Standing::NotStarted => {
                again += 1;
                assert_eq!(runs(&job), 0);
                assert!(!dir.join("started").exists());
                let Standing::Ended(outcome) = job.start().wait(&dir).unwrap() else { panic!() };
                assert_eq!((outcome.end, runs(&job)), (End::Exited(0), 1));
            }
            Standing::Unknown => {
                unknown += 1;
                assert!(runs(&job) <= 1 && dir.join("started").exists());
                assert!(supervisor(&job).wait().unwrap().success());
                assert!(runs(&job) <= 1, "it was run again");
                assert_eq!(look(&dir).unwrap(), Standing::Unknown);
            }
            Standing::Ended(outcome) => {
                ended += 1;
                assert_eq!((outcome.end, runs(&job)), (End::Exited(0), 1));
            }
            Standing::Running => panic!("its lock outlived it"),
        }
    }
    println!("{again} not started, {unknown} unknown, {ended} ended of {cycles}");
}
