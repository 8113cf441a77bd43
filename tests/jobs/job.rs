//! One job in a folder of its own, and what a test asks of it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use postrider_exec::{
    cage::{Supervisor, place, start},
    contract::{End, Limits, Order, Outcome, Reach, Standing},
};

/// Nothing here takes longer; a test that waits for something waits so long and then fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Job {
    root: tempfile::TempDir,
    at: Option<PathBuf>,
    denied: &'static [i64],
    pub order: Order,
}

impl Job {
    /// A shell's script as a job.
    pub fn sh(script: &str) -> Self {
        Self::new(&["/bin/sh", "-c", script])
    }

    pub fn new(argv: &[&str]) -> Self {
        let argv = argv.iter().map(|word| word.as_bytes().to_vec()).collect();
        let limits = Limits { wall_s: 50, ..Limits::default() };
        let root = tempfile::tempdir().unwrap();
        let order = Order {
            // As ids are: no two the same, so that each runs as a user of its own.
            job: *blake3::hash(root.path().as_os_str().as_encoded_bytes()).as_bytes(),
            from: "alice".to_owned(),
            argv,
            pin: None,
            stdin: None,
            limits,
            reach: Reach::default(),
            best_effort: false,
            told: BTreeMap::new(),
        };
        // As a daemon's home must be where its jobs run under users of their own.
        open_to_all(root.path());
        Self { root, at: None, denied: &[], order }
    }

    /// The same, in a folder of its own.
    pub fn same(&self) -> Self {
        let root = tempfile::tempdir().unwrap();
        open_to_all(root.path());
        Self { root, at: None, denied: self.denied, order: self.order.clone() }
    }

    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.order.limits);
        self
    }

    pub fn reach(mut self, change: impl FnOnce(&mut Reach)) -> Self {
        change(&mut self.order.reach);
        self
    }

    /// As on a machine where no namespace can be made.
    pub fn narrow(mut self) -> Self {
        self.denied = &[libc::SYS_unshare];
        self
    }

    /// As on a machine that can confine nothing but by the oldest means.
    pub fn bare(mut self) -> Self {
        self.denied = &[libc::SYS_unshare, libc::SYS_landlock_create_ruleset];
        self
    }

    /// Puts its folder somewhere else.
    pub fn on(&mut self, dir: &Path) {
        self.at = Some(dir.to_owned());
    }

    pub fn dir(&self) -> PathBuf {
        self.at.as_deref().unwrap_or(self.root.path()).join("job")
    }

    pub fn work(&self, name: &str) -> PathBuf {
        self.dir().join("work").join(name)
    }

    /// Makes the folder, for whoever wants to put something there.
    pub fn place(&self) -> PathBuf {
        place(&self.dir(), &self.order).unwrap();
        self.dir()
    }

    pub fn start(&self) -> Supervisor {
        let start = || {
            start(&self.dir(), program().as_os_str(), &[OsString::from("job-supervisor")]).unwrap()
        };
        if self.denied.is_empty() {
            return start();
        }
        // What a thread may not, those may not that it starts.
        std::thread::scope(|scope| {
            let started = scope.spawn(|| {
                deny(self.denied);
                start()
            });
            started.join().unwrap()
        })
    }

    /// From the folder to the outcome.
    pub fn run(&self) -> Outcome {
        self.place();
        self.finish()
    }

    pub fn finish(&self) -> Outcome {
        ended(self.start().wait(&self.dir()).unwrap(), &self.dir())
    }

    pub fn stdout(&self) -> String {
        text(&self.dir().join("stdout"))
    }

    pub fn stderr(&self) -> String {
        text(&self.dir().join("stderr"))
    }
}

/// Takes system calls away from this thread, as a kernel does that does not know them.
fn deny(calls: &[i64]) {
    use seccompiler::{SeccompAction, SeccompFilter, apply_filter};
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let denied = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, arch).unwrap();
    let program: Vec<seccompiler::sock_filter> = filter.try_into().unwrap();
    apply_filter(&program).unwrap();
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

pub fn ended(standing: Standing, dir: &Path) -> Outcome {
    match standing {
        Standing::Ended(outcome) => *outcome,
        other => {
            panic!("{other:?}; {}", fs::read_to_string(dir.join("trouble")).unwrap_or_default())
        }
    }
}

pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_postrider"))
}

pub fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Exit 0, or everything that is known of why not.
#[track_caller]
pub fn well(job: &Job, outcome: &Outcome) {
    assert_eq!(outcome.end, End::Exited(0), "{outcome:?}\n{}\n{}", job.stdout(), job.stderr());
}

/// Waits until something is so. There is nobody who could tell: it happens in another's process.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !so() {
        assert!(since.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}

/// The processes whose command line has this in it.
pub fn with_mark(mark: &str) -> Vec<i32> {
    let numbers = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let found = line.windows(mark.len()).any(|window| window == mark.as_bytes());
        (found && pid != i32::try_from(std::process::id()).ok()?).then_some(pid)
    });
    numbers.collect()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
