//! How commands end, and that nothing is left of them.

use std::{
    fs,
    time::{Duration, Instant},
};

use postrider_exec::{
    cage::{ask_to_end, look, wait},
    contract::{Bound, End, Standing},
};

use super::job::{Job, until, well, with_mark};

#[test]
fn a_status_and_both_streams_come_back() {
    let job = Job::sh("echo out; echo err >&2; exit 3");
    let outcome = job.run();
    assert_eq!(outcome.end, End::Exited(3));
    assert_eq!((job.stdout(), job.stderr()), ("out\n".into(), "err\n".into()));
    assert_eq!((outcome.stdout.bytes, outcome.stdout.cut_at), (4, None));
    assert_eq!(outcome.stderr.blake3, *blake3::hash(b"err\n").as_bytes());
    println!("{:#?}", outcome.enforced);
}

#[test]
fn a_signal_that_nobody_here_sent_is_told() {
    assert_eq!(Job::sh("kill -SEGV $$").run().end, End::Signalled(11));
    assert_eq!(Job::sh("kill -TERM $$").run().end, End::Signalled(15));
}

#[test]
fn statuses_of_shells_are_not_taken_for_a_failure_to_begin() {
    for code in [126, 127, 255] {
        assert_eq!(Job::sh(&format!("exit {code}")).run().end, End::Exited(code));
    }
}

#[test]
fn standard_input_is_the_file_or_ends_at_once() {
    let job = Job::new(&["/bin/cat"]);
    let since = Instant::now();
    well(&job, &job.run());
    assert!(since.elapsed() < Duration::from_secs(20), "a read of nothing hung");
    let job = Job::new(&["/bin/cat"]);
    fs::write(job.place().join("stdin"), "for it\n").unwrap();
    well(&job, &job.finish());
    assert_eq!(job.stdout(), "for it\n");
}

#[test]
fn what_takes_too_long_is_ended_with_all_its_children() {
    let job = Job::sh("sleep 987001 & sleep 987001").limits(|l| l.wall_s = 1);
    let outcome = job.run();
    assert_eq!(outcome.end, End::Overran(Bound::Wall));
    assert!((1000..9000).contains(&outcome.ran_ms), "{}", outcome.ran_ms);
    assert!(with_mark("987001").is_empty());
}

#[test]
fn children_that_leave_the_session_and_their_parents_end_with_the_command() {
    // A daemon as they are made: forked twice, in a session of its own, deaf to polite signals.
    let job = Job::sh(
        "setsid sh -c 'trap \"\" TERM HUP INT; (trap \"\" TERM; exec sleep 987002) & exec sleep 987002' \
         </dev/null >/dev/null 2>&1 & sleep 0.2; echo done",
    );
    let outcome = job.run();
    well(&job, &outcome);
    assert_eq!(job.stdout(), "done\n");
    assert!(with_mark("987002").is_empty());
    assert!(outcome.ran_ms < 8000, "the outcome waited for what was left: {}", outcome.ran_ms);
}

#[test]
fn an_orphan_that_holds_the_streams_does_not_hold_the_outcome() {
    let job = Job::sh("(setsid sleep 987003 &) ; echo done");
    well(&job, &job.run());
    assert_eq!(job.stdout(), "done\n");
    assert!(with_mark("987003").is_empty());
}

#[test]
fn whoever_wants_it_to_end_gets_it_ended() {
    let job = Job::sh("echo on; exec sleep 987004");
    let dir = job.place();
    let mut supervisor = job.start();
    until("it runs", || !with_mark("987004").is_empty());
    assert_eq!(look(&dir).unwrap(), Standing::Running);
    ask_to_end(&dir, Duration::from_secs(30)).unwrap();
    let Standing::Ended(outcome) = wait(&dir).unwrap() else { panic!() };
    assert_eq!(outcome.end, End::Killed);
    assert!(outcome.ran_ms < 20_000, "it went by SIGTERM, long before its grace was over");
    assert!(with_mark("987004").is_empty());
    supervisor.wait(&dir).unwrap();
}

#[test]
fn whoever_does_not_hear_is_killed_after_its_grace() {
    let job = Job::sh("trap '' TERM; touch deaf; while :; do sleep 987005; done");
    let dir = job.place();
    let mut supervisor = job.start();
    until("it is deaf", || job.work("deaf").exists() && !with_mark("987005").is_empty());
    ask_to_end(&dir, Duration::from_millis(100)).unwrap();
    let standing = supervisor.wait(&dir).unwrap();
    let Standing::Ended(outcome) = standing else { panic!("{standing:?}") };
    assert_eq!(outcome.end, End::Killed);
    assert!(with_mark("987005").is_empty());
}

#[test]
fn a_polite_signal_to_the_supervisor_ends_the_command_and_is_told() {
    let job = Job::sh("exec sleep 987006");
    let dir = job.place();
    let mut supervisor = job.start();
    until("it runs", || !with_mark("987006").is_empty());
    let mark = dir.display().to_string();
    let pids = with_mark(&mark);
    for pid in pids {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if line.contains("job-supervisor") {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        }
    }
    let standing = supervisor.wait(&dir).unwrap();
    let Standing::Ended(outcome) = standing else { panic!("{standing:?}") };
    assert_eq!(outcome.end, End::Killed);
}

#[test]
fn what_was_to_end_before_it_began_never_runs() {
    let job = Job::sh("touch ran");
    let dir = job.place();
    ask_to_end(&dir, Duration::ZERO).unwrap();
    let outcome = job.finish();
    assert!(matches!(outcome.end, End::NotBegun(_)), "{outcome:?}");
    assert!(!job.work("ran").exists() && !dir.join("started").exists());
}
