//! Commands that use more than they may: bombs, hogs, floods and fillers.

use std::{fs, process::Command};

use postrider_exec::contract::{Bound, End, Limits};

use super::job::{Job, ended, open_to_all, until, well, with_mark};

#[test]
fn a_fork_bomb_ends_with_its_time_and_nothing_is_left() {
    // The mark is in the command line of each.
    let bomb = "b() { b 987010 | b & b; }; b";
    let job = Job::sh(bomb).limits(|l| (l.wall_s, l.processes) = (2, 40));
    let outcome = job.run();
    assert!(!matches!(outcome.end, End::NotBegun(_)), "{outcome:?}");
    assert!(with_mark("987010").is_empty());
    println!("{:?} after {} ms, {}", outcome.end, outcome.ran_ms, outcome.enforced["processes"]);
}

#[test]
fn a_bomb_in_sessions_of_its_own_ends_too() {
    let bomb = "cat >b.sh <<'E'\ntrap '' TERM HUP\nsetsid sh b.sh 987011 & setsid sh b.sh 987011 & wait\nE\n\
                sh b.sh 987011";
    let job = Job::sh(bomb).limits(|l| (l.wall_s, l.processes) = (1, 40));
    job.place();
    let mut supervisor = job.start();
    until("it forks", || with_mark("b.sh\0987011").len() > 5);
    postrider_exec::cage::ask_to_end(&job.dir(), std::time::Duration::ZERO).unwrap();
    supervisor.wait(&job.dir()).unwrap();
    assert!(with_mark("987011").is_empty());
}

#[test]
fn more_processes_than_it_may_have_are_refused() {
    let many = "for i in $(seq 60); do sleep 987012 & done; jobs -p | wc -l";
    let job = Job::sh(many).limits(|l| l.processes = 20);
    let outcome = job.run();
    // The shell gives up or counts what it got; either way it got no more than it may.
    let got: u32 = job.stdout().trim().parse().unwrap_or(0);
    assert!(got < 20, "{got}, {outcome:?}");
    assert!(job.stderr().contains("fork"), "{}", job.stderr());
    assert!(with_mark("987012").is_empty());
    let job = Job::sh("for i in $(seq 15); do sleep 0.1 & done; wait; echo all")
        .limits(|l| l.processes = 20);
    well(&job, &job.run());
    assert_eq!(job.stdout(), "all\n");
}

#[test]
fn more_memory_than_it_may_have_is_refused() {
    // tail keeps one endless line in memory.
    let hog = "head -c 400000000 /dev/zero | tail -n 1 | wc -c";
    let job = Job::sh(hog).limits(|l| l.memory_bytes = 100 << 20);
    let outcome = job.run();
    assert_ne!(job.stdout().trim(), "400000000", "{outcome:?}");
    println!("{:?}, {}", outcome.end, outcome.enforced["memory"]);
    let job = Job::sh("head -c 400000000 /dev/zero | tail -n 1 | wc -c")
        .limits(|l| l.memory_bytes = 1 << 30);
    well(&job, &job.run());
    assert_eq!(job.stdout().trim(), "400000000");
}

#[test]
fn a_hog_is_ended_and_it_is_said_for_what() {
    let job =
        Job::new(&["/usr/bin/tail", "-n", "1", "/dev/zero"]).limits(|l| l.memory_bytes = 64 << 20);
    let outcome = job.run();
    let counted = outcome.enforced["memory"].starts_with("cgroup");
    let end = if counted { End::Overran(Bound::Memory) } else { End::Exited(1) };
    assert_eq!(outcome.end, end, "{outcome:?}");
}

#[test]
fn more_processor_than_it_may_have_ends_it() {
    let job = Job::sh("while :; do :; done").limits(|l| l.cpu_s = 1);
    assert_eq!(job.run().end, End::Overran(Bound::Cpu));
}

#[test]
fn it_stands_back_for_all_else_whatever_sessions_it_begins() {
    let shown = "nice; cat /proc/self/autogroup; setsid sh -c 'nice; cat /proc/self/cgroup'";
    let job = Job::sh(shown);
    well(&job, &job.run());
    let said = job.stdout();
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("10"), "{said}");
    if std::path::Path::new("/proc/self/autogroup").exists() {
        assert!(lines.next().is_some_and(|line| line.ends_with(" nice 10")), "{said}");
    }
    assert_eq!(lines.next(), Some("10"), "{said}");
    // Where somebody of this user may make one.
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let first = groups.lines().find(|line| line.split(':').nth(1) == Some("cpu"));
    let writable = first.and_then(|line| line.split(':').nth(2)).is_some_and(|below| {
        let probe = format!("/sys/fs/cgroup/cpu{below}/probe-{}", std::process::id());
        fs::create_dir(&probe).is_ok_and(|()| fs::remove_dir(&probe).is_ok())
    });
    if writable {
        let shared = lines.find(|line| line.split(':').nth(1) == Some("cpu"));
        assert!(shared.is_some_and(|line| line.contains("postrider-job-")), "{said}");
    }
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let job = Job::sh("head -c 3000000 /dev/zero >file; echo $?; ls -l file | cut -d' ' -f5")
        .limits(|l| l.scratch_bytes = 1 << 20);
    job.run();
    assert!(fs::metadata(job.work("file")).unwrap().len() <= 1 << 20);
    assert!(!job.stdout().starts_with("0\n"), "{}", job.stdout());
}

#[test]
fn many_files_that_are_too_much_together_end_it() {
    let script = "i=0; while :; do head -c 500000 /dev/zero >$i; i=$((i+1)); done";
    let job = Job::sh(script).limits(|l| l.scratch_bytes = 1 << 20);
    assert_eq!(job.run().end, End::Overran(Bound::Scratch));
}

#[test]
fn files_without_a_name_count_too() {
    let open = "for n in 3 4 5 6 7 8 9; do eval \"exec $n>file\"; rm file; head -c 500000 /dev/zero >&$n; done";
    let job = Job::sh(&format!("{open}; exec sleep 987013")).limits(|l| l.scratch_bytes = 1 << 20);
    assert_eq!(job.run().end, End::Overran(Bound::Scratch));
    assert!(with_mark("987013").is_empty());
}

#[test]
fn a_flood_keeps_its_beginning_and_its_end_and_costs_nothing_more() {
    let storm = std::env::var("POSTRIDER_STORM").is_ok();
    let bytes: u64 = if storm { 10_000_000_000 } else { 300_000_000 };
    let job = Job::sh(&format!("echo first; head -c {bytes} /dev/zero; echo last"))
        .limits(|l| (l.output_bytes, l.wall_s, l.cpu_s) = (1 << 20, 600, 600));
    let dir = job.place();
    let mut supervisor = job.start();
    let kept = dir.join("stdout");
    until("it floods", || fs::metadata(&kept).is_ok_and(|found| found.len() == 1 << 20));
    let most = with_mark(&dir.display().to_string())
        .into_iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok())
        .filter_map(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        })
        .max();
    let outcome = ended(supervisor.wait(&dir).unwrap(), &dir);
    assert_eq!(outcome.end, End::Exited(0));
    println!("at most {most:?} KiB of memory");
    // Gone before it could be asked: then it was no flood for it.
    assert!(most.is_none_or(|kib| kib < 64 << 10), "{most:?} KiB");
    assert_eq!(outcome.stdout.bytes, bytes + 11);
    assert_eq!(outcome.stdout.cut_at, Some(1 << 19));
    let kept = fs::read(job.dir().join("stdout")).unwrap();
    assert_eq!(kept.len(), 1 << 20);
    assert!(kept.starts_with(b"first\n\0") && kept.ends_with(b"\0last\n"));
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"first\n");
    let zeros = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(1 << 20);
        hasher.update(&zeros[..usize::try_from(now).unwrap()]);
        left -= now;
    }
    hasher.update(b"last\n");
    assert_eq!(outcome.stdout.blake3, *hasher.finalize().as_bytes());
    println!("{bytes} bytes in {} ms", outcome.ran_ms);
}

/// A file system of a few hundred KiB, if this user may make one.
fn small_disk() -> Option<(tempfile::TempDir, Unmount)> {
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=400k,mode=755", "postrider-test"])
        .arg(dir.path())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: no file system can be mounted here");
        return None;
    }
    let unmount = Unmount(dir.path().to_owned());
    Some((dir, unmount))
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_hides_no_outcome() {
    let Some((disk, unmount)) = small_disk() else { return };
    open_to_all(disk.path());
    let mut job = Job::sh("echo first; head -c 1000000 /dev/zero; echo last; exit 5")
        .limits(|l: &mut Limits| l.output_bytes = 1 << 20);
    job.on(disk.path());
    let outcome = job.run();
    assert_eq!(outcome.end, End::Exited(5));
    assert_eq!(outcome.stdout.bytes, 1_000_011);
    let kept = fs::read(job.dir().join("stdout")).unwrap();
    assert!(kept.starts_with(b"first\n"));
    assert_eq!(outcome.stdout.cut_at, Some(kept.len() as u64), "it says where it is cut");
    drop(unmount);
}

#[test]
fn a_command_that_fills_the_disk_hides_no_outcome() {
    let Some((disk, unmount)) = small_disk() else { return };
    open_to_all(disk.path());
    let mut job = Job::sh("head -c 1000000 /dev/zero >fill; echo said; exit 6");
    job.on(disk.path());
    assert_eq!(job.run().end, End::Exited(6));
    drop(unmount);
}
