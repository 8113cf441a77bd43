//! Control groups: the exact bound of memory and of processes and a share of the processor, where this user
//! may make groups.
//!
//! A group of the second version is made beside or below our own if it has both controllers there, which is
//! so where a service manager delegates them; else groups of the first version. A group in a slice that the
//! service manager keeps for itself is never made.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use super::bounds::NICE;
use crate::contract::Limits;

/// Names begin so; what follows is the pid of the supervisor.
const PREFIX: &str = "postrider-job-";
const JOIN: &str = "cgroup.procs";
/// What the kernel gives to [`NICE`] where a process as usual gets 1024.
const SHARES: &str = "110";

/// The groups of one job.
#[derive(Debug, Default)]
pub(super) struct Groups {
    dirs: Vec<PathBuf>,
    /// What bounds memory, and processes.
    pub(super) memory_by: Option<String>,
    pub(super) processes_by: Option<String>,
    /// Where a share of the processor is joined: a session that a command begins counts as a whole
    /// otherwise, whatever its processes have of `nice`.
    pub(super) share: Option<PathBuf>,
    /// Where that share is set, and to what.
    stands_back: Option<(PathBuf, String)>,
    /// Where the bound of memory is set, and that of swap, with what it is set to.
    memory: Option<PathBuf>,
    swap: Option<(PathBuf, Swap)>,
    /// Where the kernel counts whom it killed for memory.
    counted: Option<PathBuf>,
    /// Nobody can fork any more once this is 0.
    forks: Option<PathBuf>,
    kill: Option<PathBuf>,
    /// The group of that share, where it is one of its own.
    shared: Option<PathBuf>,
}

/// How swap is bounded: by itself, or together with memory.
#[derive(Clone, Copy, Debug)]
enum Swap {
    Alone,
    WithMemory,
}

impl Groups {
    /// Makes what can be made of the second version, else a group for memory; nothing is bounded yet.
    ///
    /// Joining one takes the kernel up to 10 ms, so that happens before there is an order.
    pub(super) fn make() -> Self {
        let mut groups = Self::default();
        let (ours, mounts) = own();
        if !groups.make_second(&ours, &mounts) {
            groups.make_memory(&ours, &mounts);
            groups.make_share(&ours, &mounts);
        }
        groups
    }

    /// Sets the bounds. `extra` processes of ours are in it. `exact`: the limit of the kernel counts
    /// nobody else's processes, and a group for that alone would bring nothing.
    ///
    /// Returns the files in which the cell joins what was made only now.
    pub(super) fn bound(&mut self, limits: &Limits, extra: u32, exact: bool) -> Vec<PathBuf> {
        let memory = limits.memory_bytes.to_string();
        if self.memory.as_ref().is_none_or(|most| set(most, &memory).is_err()) {
            self.memory_by = None;
        }
        if let Some((most, how)) = &self.swap {
            let value = match how {
                Swap::Alone => "0",
                Swap::WithMemory => &memory,
            };
            // Not where swap is not counted.
            let _ = set(most, value);
        }
        let processes = (u64::from(limits.processes) + u64::from(extra)).to_string();
        match &self.forks {
            Some(most) if set(most, &processes).is_ok() => Vec::new(),
            Some(_) => {
                self.processes_by = None;
                Vec::new()
            }
            None if exact => Vec::new(),
            None => self.make_processes(&processes),
        }
    }

    fn make_second(&mut self, ours: &str, mounts: &str) -> bool {
        let Some(own) = place(ours, mounts, None) else { return false };
        // Beyond the top there is another file system.
        let above = own.parent().filter(|above| above.join(JOIN).exists());
        for parent in [Some(&*own), above].into_iter().flatten() {
            if parent.extension().is_some_and(|kind| kind == "slice") {
                continue;
            }
            let Some(dir) = make_dir(parent) else { continue };
            let (most, count) = (dir.join("memory.max"), dir.join("pids.max"));
            if !most.exists() || !count.exists() {
                // Delegated, but not handed on yet; refused where it is not ours to do.
                let _ = set(&parent.join("cgroup.subtree_control"), "+memory +pids");
            }
            if set(&most, "max").is_ok() && set(&count, "max").is_ok() {
                let weight = dir.join("cpu.weight.nice");
                if !weight.exists() {
                    let _ = set(&parent.join("cgroup.subtree_control"), "+cpu");
                }
                // Its processes are in it already; where it is not shared out, nice is what there is.
                self.stands_back = Some((weight, NICE.to_string()));
                self.memory_by = Some("cgroup".to_owned());
                self.processes_by = Some("cgroup".to_owned());
                self.memory = Some(most);
                self.swap = Some((dir.join("memory.swap.max"), Swap::Alone));
                self.counted = Some(dir.join("memory.events"));
                self.forks = Some(count);
                self.kill = Some(dir.join("cgroup.kill")).filter(|path| path.exists());
                self.dirs.push(dir);
                return true;
            }
            let _ = fs::remove_dir(dir);
        }
        false
    }

    fn make_memory(&mut self, ours: &str, mounts: &str) {
        let own = place(ours, mounts, Some("memory"));
        let Some(dir) = own.and_then(|own| make_dir(&own)) else { return };
        self.memory_by = Some("cgroup v1".to_owned());
        self.memory = Some(dir.join("memory.limit_in_bytes"));
        self.swap = Some((dir.join("memory.memsw.limit_in_bytes"), Swap::WithMemory));
        self.counted = Some(dir.join("memory.oom_control"));
        self.dirs.push(dir);
    }

    fn make_share(&mut self, ours: &str, mounts: &str) {
        let own = place(ours, mounts, Some("cpu"));
        let Some(dir) = own.and_then(|own| make_dir(&own)) else { return };
        self.share = Some(dir.join(JOIN));
        self.stands_back = Some((dir.join("cpu.shares"), SHARES.to_owned()));
        self.shared = Some(dir);
    }

    /// From now on whoever is in it stands back for everything else on the machine: the command, and not the
    /// cell before, for which somebody waits.
    pub(super) fn stand_back(&self) {
        if let Some((file, value)) = &self.stands_back {
            let _ = set(file, value);
        }
    }

    fn make_processes(&mut self, processes: &str) -> Vec<PathBuf> {
        let (ours, mounts) = own();
        let own = place(&ours, &mounts, Some("pids"));
        let Some(dir) = own.and_then(|own| make_dir(&own)) else { return Vec::new() };
        let count = dir.join("pids.max");
        if set(&count, processes).is_ok() {
            self.processes_by = Some("cgroup v1".to_owned());
            self.forks = Some(count);
        }
        let join = dir.join(JOIN);
        self.dirs.push(dir);
        vec![join]
    }

    /// The files in which a process joins by writing 0.
    pub(super) fn join(&self) -> Vec<PathBuf> {
        self.dirs.iter().map(|dir| dir.join(JOIN)).collect()
    }

    /// Nobody in it forks any more; where the kernel can, everybody is killed at once.
    pub(super) fn kill(&self) {
        if let Some(forks) = &self.forks {
            let _ = set(forks, "0");
        }
        if let Some(kill) = &self.kill {
            let _ = set(kill, "1");
        }
    }

    /// Whether the kernel killed somebody in it for memory.
    pub(super) fn out_of_memory(&self) -> bool {
        let text = self.counted.as_ref().and_then(|path| fs::read_to_string(path).ok());
        text.is_some_and(|text| {
            text.lines()
                .any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
        })
    }

    /// Takes them away; what is not empty stays, and the next supervisor tries again.
    pub(super) fn remove(&self) {
        for dir in self.dirs.iter().chain(&self.shared) {
            let _ = fs::remove_dir(dir);
        }
    }
}

/// Which groups this process is in, and where groups are mounted.
fn own() -> (String, String) {
    let read = |name: &str| fs::read_to_string(name).unwrap_or_default();
    (read("/proc/self/cgroup"), read("/proc/self/mountinfo"))
}

/// Writes into a file that the kernel made; where it made none, there is nothing to set.
fn set(path: &Path, value: &str) -> std::io::Result<()> {
    fs::File::options().write(true).open(path)?.write_all(value.as_bytes())
}

/// Makes our group below `parent`, and takes away those of supervisors that are gone.
fn make_dir(parent: &Path) -> Option<PathBuf> {
    let dir = parent.join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir(&dir).ok()?;
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
    Some(dir)
}

/// Where our own group of a controller is in the file system; of the second version with none.
fn place(ours: &str, mounts: &str, controller: Option<&str>) -> Option<PathBuf> {
    let path = ours.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let found = match controller {
            Some(name) => controllers.split(',').any(|one| one == name),
            None => controllers.is_empty(),
        };
        found.then_some(path)
    })?;
    let (root, at) = mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, at) = (mount.next()?, mount.next()?);
        let mut kind = kind.split(' ');
        let (system, options) = (kind.next()?, kind.nth(1)?);
        let found = match controller {
            Some(name) => system == "cgroup" && options.split(',').any(|one| one == name),
            None => system == "cgroup2",
        };
        found.then_some((root, at))
    })?;
    let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
    Some(Path::new(at).join(below.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_group_is_found_however_groups_are_mounted() {
        let mounts = "\
30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
31 1 0:27 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
32 1 0:28 /docker/1 /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory";
        let ours = "8:pids:/a\n4:cpu,memory:/docker/1/b\n0::/user.slice/x.service";
        for (controller, at) in [
            (None, "/sys/fs/cgroup/user.slice/x.service"),
            (Some("pids"), "/sys/fs/cgroup/pids/a"),
            (Some("memory"), "/sys/fs/cgroup/memory/b"),
        ] {
            assert_eq!(place(ours, mounts, controller), Some(at.into()), "{controller:?}");
        }
        assert_eq!(place(ours, mounts, Some("cpu")), None);
        assert_eq!(place("", mounts, None), None);
    }
}
