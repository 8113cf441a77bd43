//! Supervisors that were started before there was a job for them.

use std::{
    ffi::OsString,
    fs, io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use postrider_exec::{
    cage::{Ahead, GRACE, Supervisor, ask_to_end, look},
    contract::{End, Outcome, Standing},
};
use rustix::process::{Pid, Signal, kill_process};

use super::job::{Job, ended, program, until, well};

/// They are found among all of this process's children: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One for a job with its folder beside this one's.
fn ahead(job: &Job) -> Ahead {
    let arguments = [OsString::from("job-supervisor")];
    Ahead::start(program().as_os_str(), &arguments, job.dir().parent().unwrap()).unwrap()
}

/// Gives one a folder, and lets it begin.
fn take(mut ahead: Ahead, dir: &Path) -> io::Result<Supervisor> {
    ahead.prepare(dir)?;
    ahead.begin()
}

fn finish(job: &Job, mut supervisor: Supervisor) -> Outcome {
    ended(supervisor.wait(&job.dir()).unwrap(), &job.dir())
}

/// Processes that were started by this one and have these words as their command.
fn children(of: u32, words: &[&str]) -> Vec<Pid> {
    let numbers = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()?;
        let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let said: Vec<&str> = line.trim_end_matches('\0').split('\0').skip(1).collect();
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        (parent == of && said == words).then_some(pid)
    });
    numbers.collect()
}

fn supervisors() -> Vec<Pid> {
    children(std::process::id(), &["job-supervisor"])
}

/// The cell of the only supervisor that waits.
fn cell() -> Pid {
    let mut found = None;
    until("a supervisor has its cell", || {
        let [supervisor] = supervisors()[..] else { return false };
        let cells = children(supervisor.as_raw_nonzero().get().unsigned_abs(), &["job-cell"]);
        found = cells.first().copied();
        found.is_some()
    });
    found.unwrap()
}

fn has_ended(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.map_or(true, |stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

#[test]
fn a_job_ends_as_it_does_without() {
    let _alone = alone();
    let mut reads = Job::new(&["/bin/cat"]);
    reads.order.stdin = Some(b"in and out".to_vec());
    let jobs = [
        reads,
        Job::sh("exit 7"),
        Job::sh("kill -TERM $$"),
        Job::sh("echo out; echo err >&2; id -u; pwd; ls /; ls -A; env"),
        // By itself: of several, whom the kernel ends for memory is not the same every time.
        Job::new(&["/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=400M", "count=1"])
            .limits(|it| it.memory_bytes = 32 << 20),
        Job::sh("sleep 60").limits(|it| it.wall_s = 1),
        Job::sh("head -c 3000000 /dev/zero").limits(|it| it.output_bytes = 1000),
        Job::sh("for n in 1 2 3 4 5 6 7 8 9; do sleep 60 & done; echo $?")
            .limits(|it| it.processes = 4),
        // Nothing more is to be seen, and nothing less.
        Job::sh("find / -xdev -path /proc -prune -o -print; cut -d' ' -f2- /proc/mounts; ls -A /*"),
        Job::sh("ls /etc/ssl; cat /proc/1/mountinfo; ls -l /proc/1/fd /proc/1/cwd")
            .reach(|it| it.read = vec!["/root".into()]),
        Job::sh("echo more >> /etc/passwd; mkdir /new; mount -t tmpfs none /tmp; ls -ld / /tmp/."),
        Job::sh("cat /proc/net/dev").reach(|it| it.net = true),
        Job::sh("cat < /dev/tcp/127.0.0.1/1 || cat /proc/net/dev"),
        Job::new(&["/nowhere/at/all"]),
    ];
    for job in jobs {
        let other = job.same();
        let one = job.run();
        other.place();
        let taken = take(ahead(&other), &other.dir());
        // What is to have a network is left to others.
        assert_eq!(taken.is_err(), other.order.reach.net);
        let two = taken.map_or_else(|_| other.finish(), |taken| finish(&other, taken));
        assert_eq!(one.end, two.end, "{one:?}\n{two:?}");
        assert_eq!(one.enforced, two.enforced);
        assert_eq!((one.stdout.bytes, one.stderr.bytes), (two.stdout.bytes, two.stderr.bytes));
    }
}

#[test]
fn what_a_job_was_given_is_there() {
    let _alone = alone();
    let job = Job::sh("cat; cat ../given/0; echo mine > made; ls -A / | grep jobs; ls ..");
    let dir = job.place();
    let long = "in and out ".repeat(10_000);
    fs::write(dir.join("stdin"), &long).unwrap();
    fs::write(dir.join("given/0"), "given\n").unwrap();
    well(&job, &finish(&job, take(ahead(&job), &dir).unwrap()));
    assert_eq!(job.stdout(), format!("{long}given\ngiven\nwork\n"));
    assert_eq!(fs::read_to_string(job.work("made")).unwrap(), "mine\n");
}

#[test]
fn what_is_mounted_elsewhere_is_not_in_use_by_one_that_waits() {
    let _alone = alone();
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root mounts something");
        return;
    }
    let job = Job::sh("true");
    let stick = job.dir().with_file_name("stick");
    fs::create_dir(&stick).unwrap();
    let none = rustix::mount::MountFlags::empty();
    rustix::mount::mount("stick", &stick, "tmpfs", none, None).unwrap();
    let _ready = ahead(&job);
    let mounts = || fs::read_to_string(format!("/proc/{}/mounts", cell().as_raw_nonzero()));
    // Its root is its own by then, or never.
    until("it has its root", || mounts().is_ok_and(|mounts| mounts.starts_with("postrider / ")));
    assert!(!mounts().unwrap().contains(stick.to_str().unwrap()));
    rustix::mount::unmount(&stick, rustix::mount::UnmountFlags::empty()).unwrap();
}

#[test]
fn one_that_is_not_needed_leaves_nothing() {
    let _alone = alone();
    let ready = ahead(&Job::sh("true"));
    let cell = cell();
    drop(ready);
    assert_eq!(supervisors(), []);
    until("its cell is gone", || has_ended(cell));
}

#[test]
fn where_its_cell_has_died_nothing_runs_and_another_may_be_started() {
    let _alone = alone();
    let job = Job::sh("echo ran >> again");
    job.place();
    let ready = ahead(&job);
    let cell = cell();
    kill_process(cell, Signal::KILL).unwrap();
    until("it ended", || has_ended(cell));
    // Whether it has ended before it is told.
    if let Ok(mut supervisor) = take(ready, &job.dir()) {
        assert_eq!(supervisor.wait(&job.dir()).unwrap(), Standing::NotStarted);
    }
    well(&job, &job.finish());
    assert_eq!(fs::read_to_string(job.work("again")).unwrap(), "ran\n");
}

#[test]
fn one_that_has_ended_takes_no_job() {
    let _alone = alone();
    let job = Job::sh("true");
    job.place();
    let ready = ahead(&job);
    cell();
    let supervisor = supervisors()[0];
    kill_process(supervisor, Signal::KILL).unwrap();
    until("it ended", || has_ended(supervisor));
    assert!(take(ready, &job.dir()).is_err());
    well(&job, &job.finish());
}

#[test]
fn nothing_begins_before_it_may() {
    let _alone = alone();
    let mut job = Job::sh("echo ran >> again");
    // Nor is it said then why nothing can.
    for argv in [job.order.argv.clone(), vec![b"/nowhere/at/all".to_vec()]] {
        job.order.argv = argv;
        let _ = fs::remove_dir_all(job.dir());
        job.place();
        let mut ready = ahead(&job);
        ready.prepare(&job.dir()).unwrap();
        until("it has the job", || look(&job.dir()).unwrap() == Standing::Running);
        let cell = cell();
        drop(ready);
        until("its cell is gone", || has_ended(cell));
        assert_eq!(look(&job.dir()).unwrap(), Standing::NotStarted);
        for name in ["started", "outcome", "trouble", "work/again"] {
            assert!(!job.dir().join(name).exists(), "{name}");
        }
        assert_eq!(job.finish().end, job.same().run().end);
    }
    assert!(!job.work("again").exists());
}

#[test]
fn one_that_was_to_end_before_it_may_begin_runs_nothing() {
    let _alone = alone();
    let job = Job::sh("echo ran >> again");
    job.place();
    let mut ready = ahead(&job);
    ready.prepare(&job.dir()).unwrap();
    until("it has the job", || look(&job.dir()).unwrap() == Standing::Running);
    ask_to_end(&job.dir(), GRACE).unwrap();
    let outcome = finish(&job, ready.begin().unwrap());
    assert!(matches!(outcome.end, End::NotBegun(_)), "{outcome:?}");
    assert!(!job.work("again").exists());
}

#[test]
fn two_that_are_given_one_folder_run_it_once() {
    let _alone = alone();
    let job = Job::sh("echo ran >> again; sleep 0.2");
    job.place();
    let (one, two) = (ahead(&job), ahead(&job));
    let mut both = [take(one, &job.dir()).unwrap(), take(two, &job.dir()).unwrap()];
    for supervisor in &mut both {
        let _ = supervisor.wait(&job.dir());
    }
    let outcome = ended(postrider_exec::cage::wait(&job.dir()).unwrap(), &job.dir());
    assert_eq!(outcome.end, End::Exited(0));
    assert_eq!(fs::read_to_string(job.work("again")).unwrap(), "ran\n");
}
