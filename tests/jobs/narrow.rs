//! The same where no namespace can be made, as on many a user's machine: what must hold there too.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    time::Duration,
};

use postrider_exec::{
    cage::{ask_to_end, look},
    contract::{Bound, End, Standing},
};
use rustix::process::{Pid, Signal, kill_process};

use super::job::{Job, open_to_all, until, well, with_mark};

fn sh(script: &str) -> Job {
    Job::sh(script).narrow()
}

#[test]
fn it_is_said_what_holds_the_command() {
    let job = sh("echo out; exit 127");
    let outcome = job.run();
    assert_eq!((outcome.end, job.stdout()), (End::Exited(127), "out\n".to_owned()));
    println!("{:#?}", outcome.enforced);
    assert_eq!(outcome.enforced["ends-with-supervisor"], "none");
    assert_eq!(outcome.enforced["net"], "seccomp");
    assert!(outcome.enforced["reach"].starts_with("landlock"));
    assert!(!outcome.enforced["reach"].contains("root"));
}

#[test]
fn signals_and_failures_to_begin_are_told_apart() {
    assert_eq!(sh("kill -SEGV $$").run().end, End::Signalled(11));
    let job = Job::new(&["/no/such/program"]).narrow();
    assert!(matches!(job.run().end, End::NotBegun(_)));
    let dir = tempfile::tempdir().unwrap();
    open_to_all(dir.path());
    let path = dir.path().join("program");
    for (text, runs) in [("no program", false), ("#!/bin/sh\necho $1\n", true)] {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let job = Job::new(&[path.to_str().unwrap(), "argument"]).narrow();
        let end = job.run().end;
        assert_eq!(matches!(end, End::NotBegun(_)), !runs, "{end:?}");
        if runs {
            assert_eq!(job.stdout(), "argument\n");
        }
    }
}

#[test]
fn nothing_is_left_of_those_that_leave() {
    let job = sh(
        "setsid sh -c 'trap \"\" TERM HUP; (trap \"\" TERM; exec sleep 987030) & exec sleep 987030' \
         </dev/null >/dev/null 2>&1 & sleep 0.2; echo done",
    );
    well(&job, &job.run());
    assert!(with_mark("987030").is_empty());
    let job = sh("sleep 987031 & sleep 987031").limits(|l| l.wall_s = 1);
    assert_eq!(job.run().end, End::Overran(Bound::Wall));
    assert!(with_mark("987031").is_empty());
}

#[test]
fn a_bomb_in_sessions_of_its_own_ends() {
    let bomb = "cat >b.sh <<'E'\ntrap '' TERM HUP\nsetsid sh b.sh 987032 & setsid sh b.sh 987032 & wait\nE\n\
                sh b.sh 987032";
    let job = sh(bomb).limits(|l| l.processes = 40);
    job.place();
    let mut supervisor = job.start();
    until("it forks", || with_mark("b.sh\0987032").len() > 5);
    ask_to_end(&job.dir(), Duration::ZERO).unwrap();
    supervisor.wait(&job.dir()).unwrap();
    assert!(with_mark("987032").is_empty());
}

#[test]
fn the_command_does_not_outlive_its_supervisor() {
    let job = sh("exec sleep 987033");
    let dir = job.place();
    let mut supervisor = job.start();
    until("it runs", || !with_mark("987033").is_empty());
    for pid in with_mark("job-supervisor") {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let ours = dir.as_os_str().as_encoded_bytes();
        if line.windows(ours.len()).any(|window| window == ours) {
            kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        }
    }
    assert_eq!(supervisor.wait(&dir).unwrap(), Standing::Unknown);
    until("it is gone", || with_mark("987033").is_empty());
    assert_eq!(look(&dir).unwrap(), Standing::Unknown);
}

#[test]
fn files_and_sockets_beyond_its_reach_are_not_reached() {
    let other = tempfile::tempdir().unwrap();
    open_to_all(other.path());
    let (secret, bus) = (other.path().join("secret"), other.path().join("bus"));
    fs::write(&secret, "secret").unwrap();
    let listener = UnixListener::bind(&bus).unwrap();
    listener.set_nonblocking(true).unwrap();
    for path in [&secret, &bus] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    }
    let path = secret.display();
    let script = format!(
        "cat {path}; echo x >{path}; truncate -s0 {path}; cat ../order; ls ..; echo y >../z"
    );
    let job = sh(&script);
    job.run();
    assert_eq!(job.stdout(), "", "{}", job.stderr());
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
    if std::path::Path::new("/usr/bin/python3").exists() {
        let script = format!(
            "import socket; s = socket.socket(socket.AF_UNIX); s.connect('{}')",
            bus.display()
        );
        let job = Job::new(&["/usr/bin/python3", "-c", &script]).narrow();
        assert_eq!(job.run().end, End::Exited(1), "{}", job.stderr());
        assert!(job.stderr().contains("PermissionError"), "{}", job.stderr());
        assert!(listener.accept().is_err());
    }
}

#[test]
fn ordinary_programs_work() {
    let job = sh(
        "set -e; mkdir a; echo x >a/b; tar cf a.tar a; mkdir c; tar xf a.tar -C c; cmp a/b c/a/b; \
         ps >/dev/null 2>&1 || true; echo $$ >/dev/null; mktemp >/dev/null; cat <a/b",
    );
    well(&job, &job.run());
    assert_eq!(job.stdout(), "x\n");
}

#[test]
fn what_cannot_be_enforced_is_refused_or_said() {
    let job = Job::sh("touch ran").bare();
    let outcome = job.run();
    let End::NotBegun(why) = &outcome.end else { panic!("{outcome:?}") };
    assert!(why.contains("reach"), "{why}");
    assert_eq!(outcome.enforced["reach"], "none");
    assert!(!job.work("ran").exists() && !job.dir().join("started").exists());

    let mut job = Job::sh("touch ran").bare();
    job.order.best_effort = true;
    let outcome = job.run();
    well(&job, &outcome);
    assert_eq!(outcome.enforced["reach"], "none");
    assert!(job.work("ran").exists());
}
