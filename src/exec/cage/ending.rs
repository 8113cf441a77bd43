//! That nothing is left of a command, where no namespace ends it all at once.
//!
//! Its supervisor adopts whoever loses a parent, so whatever the command started is a descendant of the
//! supervisor's for as long as it lives: when there is no child left, there is nothing left.

use std::{collections::BTreeMap, fs, os::fd::AsFd, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, Signal, WaitOptions, getpid, kill_process, wait},
};

use super::groups::Groups;

/// Rounds in which processes are stopped before any is killed. A process that is stopped still counts
/// against the bound of processes, so that the others cannot fork in its place.
const STOPS_MAX: usize = 50;
/// Between two rounds, unless a child ends before.
const ROUND: Duration = Duration::from_millis(5);

/// Ends every descendant of this process and buries it. `signals` wakes when a child ends.
pub(super) fn end_everything(groups: &Groups, signals: impl AsFd) {
    groups.kill();
    loop {
        for _ in 0..STOPS_MAX {
            let running: Vec<_> = descendants().into_iter().filter(|found| found.runs).collect();
            if running.is_empty() {
                break;
            }
            for found in running {
                let _ = kill_process(found.pid, Signal::STOP);
            }
        }
        for found in descendants() {
            let _ = kill_process(found.pid, Signal::KILL);
        }
        if bury() {
            return;
        }
        let mut fds = [PollFd::new(&signals, PollFlags::IN)];
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(ROUND.subsec_nanos()) };
        let _ = poll(&mut fds, Some(&timeout));
    }
}

/// Buries the children that have ended; whether there are no others.
fn bury() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return false,
            // Only having none is an error here.
            Err(_) => return true,
        }
    }
}

/// A process that came of this one.
pub(super) struct Found {
    pub(super) pid: Pid,
    /// Neither stopped nor ended.
    runs: bool,
}

/// Everything that descends from this process.
pub(super) fn descendants() -> Vec<Found> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut children: BTreeMap<i32, Vec<(i32, char)>> = BTreeMap::new();
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // `pid (name) state parent …`; a name may hold anything, so from its last bracket on.
        let Ok(stat) = fs::read(entry.path().join("stat")) else { continue };
        let text = String::from_utf8_lossy(&stat);
        let Some((_, rest)) = text.rsplit_once(')') else { continue };
        let mut fields = rest.split_ascii_whitespace();
        let (Some(state), Some(parent)) = (fields.next(), fields.next()) else { continue };
        let (Some(state), Ok(parent)) = (state.chars().next(), parent.parse()) else { continue };
        children.entry(parent).or_default().push((pid, state));
    }
    let mut found = Vec::new();
    let mut open = vec![getpid().as_raw_nonzero().get()];
    while let Some(parent) = open.pop() {
        for (pid, state) in children.remove(&parent).unwrap_or_default() {
            open.push(pid);
            if let Some(pid) = Pid::from_raw(pid) {
                found.push(Found { pid, runs: !matches!(state, 'T' | 't' | 'Z' | 'X' | 'x') });
            }
        }
    }
    found
}
