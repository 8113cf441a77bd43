//! A job's folder on disk: what is made durable when, and what can be read from it at any moment.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::{FallocateFlags, FlockOperation, fallocate, fcntl_lock},
    io::Errno,
    process::{Flock, FlockOffsetType, FlockType, Signal, fcntl_getlk, geteuid, kill_process},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::contract::{Order, Outcome, Standing};

/// How long a command has between being asked to end and being ended, if nobody says otherwise.
pub const GRACE: Duration = Duration::from_secs(10);

pub(super) const ORDER: &str = "order";
/// The order before it has its name.
const ORDER_NEW: &str = "order.new";
pub(super) const LOCK: &str = "lock";
pub(super) const STARTED: &str = "started";
pub(super) const STDIN: &str = "stdin";
pub(super) const GIVEN: &str = "given";
pub(super) const WORK: &str = "work";
pub(super) const STDOUT: &str = "stdout";
pub(super) const STDERR: &str = "stderr";
pub(super) const KILL: &str = "kill";
pub(super) const OUTCOME: &str = "outcome";
pub(super) const TROUBLE: &str = "trouble";
/// Where the outcome is written before it has its name, and what keeps room for it.
const RESERVE: &str = "outcome.new";

/// A kernel takes no more arguments than this by far; beyond it the file is no order of ours.
const ORDER_BYTES_MAX: u64 = 16 << 20;
/// An outcome is a few hundred bytes, a reason that is cut at a thousand, and what is few of two streams: ten
/// thousand at the most.
const OUTCOME_BYTES_MAX: u64 = 64 << 10;
/// Whoever asks about the lock has it for microseconds; who has it longer than this is stuck.
const ASKER_MAX: Duration = Duration::from_secs(2);

/// Why a job's folder cannot be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The system refused something.
    #[error("{}: {what}", path.display())]
    Io {
        /// What could not be done.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { what, path, source }
}

/// Makes a job's folder, durably: `order` is there last, so a folder with an order is whole.
///
/// A folder that a crash left without an order is made anew; one with an order is left as it is, and
/// that is an error. Whoever decides puts `stdin` and what belongs in `given/` there afterwards.
pub fn place(dir: &Path, order: &Order) -> Result<(), FolderError> {
    put(dir, order, true)?;
    settle(dir)
}

/// As [`place`], but nothing is durable before [`settle`]: a supervisor that was started ahead can confine its
/// cell meanwhile.
///
/// For whoever takes note that it settled, and makes the folder anew where that note is missing: what it
/// says means nothing then.
pub fn lay(dir: &Path, order: &Order) -> Result<(), FolderError> {
    put(dir, order, false)
}

fn put(dir: &Path, order: &Order, durably: bool) -> Result<(), FolderError> {
    let path = dir.join(ORDER);
    if path.exists() {
        return Err(failed("is there already", &path)(io::ErrorKind::AlreadyExists.into()));
    }
    bare(dir)?;
    let bytes = encode(order);
    let write = || {
        let fresh = dir.join(ORDER_NEW);
        let mut file = private(&fresh, true)?;
        file.write_all(&bytes)?;
        if durably {
            file.sync_all()?;
        }
        fs::rename(&fresh, &path)
    };
    write().map_err(failed("cannot be written", &path))
}

/// Makes a folder for whatever job comes next, or what is missing of it: [`lay`] finds it there.
pub fn bare(dir: &Path) -> Result<(), FolderError> {
    // A command under another user must come through to `work`; all else here is for us alone.
    let whole = if geteuid().is_root() { 0o711 } else { 0o700 };
    for (at, mode) in [(dir, whole), (&dir.join(WORK), 0o700), (&dir.join(GIVEN), 0o755)] {
        match DirBuilder::new().mode(mode).create(at) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("cannot be made", at)(error));
            }
            _ => {}
        }
        // The creation mask may have taken something away.
        fs::set_permissions(at, Permissions::from_mode(mode))
            .map_err(failed("cannot be made", at))?;
    }
    for name in [LOCK, ORDER_NEW] {
        private(&dir.join(name), true).map_err(failed("cannot be made", dir))?;
    }
    Ok(())
}

/// Makes durable what [`lay`] made.
pub fn settle(dir: &Path) -> Result<(), FolderError> {
    let sync = || {
        // The order first: with it most file systems write down the names, too.
        File::open(dir.join(ORDER))?.sync_all()?;
        sync_dir(dir)?;
        sync_dir(dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
    };
    sync().map_err(failed("cannot be made durable", dir))
}

/// What is known of a job's folder at this moment. Takes nothing, waits for nobody.
pub fn look(dir: &Path) -> Result<Standing, FolderError> {
    let lock = dir.join(LOCK);
    let lock = File::options().read(true).open(&lock).map_err(failed("cannot be read", &lock))?;
    loop {
        // Before the lock is asked about: a `started` of now and a lock that is free afterwards mean
        // that its supervisor is gone, for whoever finds `started` runs nothing.
        let started = dir.join(STARTED).exists();
        let holder = holder(&lock).map_err(failed("cannot be asked", dir))?;
        if holder.is_some_and(|holder| holder.typ == FlockType::WriteLock) {
            return Ok(Standing::Running);
        }
        let path = dir.join(OUTCOME);
        if let Some(outcome) = read::<Outcome>(&path, OUTCOME_BYTES_MAX)? {
            // Its supervisor may have died between the rename and its sync.
            sync_dir(dir).map_err(failed("cannot be made durable", &path))?;
            return Ok(Standing::Ended(Box::new(outcome)));
        }
        if started {
            return Ok(Standing::Unknown);
        }
        if !dir.join(STARTED).exists() {
            return Ok(Standing::NotStarted);
        }
        // A supervisor came between: from the beginning.
    }
}

/// Waits until no supervisor has the job, without polling, then looks.
///
/// Blocks its thread; nothing but the end of the supervisor ends that. A supervisor that was just
/// started may not have the job yet: whoever started it waits for its process
/// ([`super::Supervisor::wait`]).
pub fn wait(dir: &Path) -> Result<Standing, FolderError> {
    let path = dir.join(LOCK);
    let lock = File::options().read(true).open(&path).map_err(failed("cannot be read", &path))?;
    rustix::io::retry_on_intr(|| fcntl_lock(&lock, FlockOperation::LockShared))
        .and_then(|()| fcntl_lock(&lock, FlockOperation::Unlock))
        .map_err(|errno| failed("cannot be waited for", &path)(errno.into()))?;
    look(dir)
}

/// Asks the supervisor of a job to end its command: SIGTERM, then SIGKILL to everything once `grace` is
/// over. A supervisor that comes later runs nothing. The first who asks decides about the grace.
pub fn ask_to_end(dir: &Path, grace: Duration) -> Result<(), FolderError> {
    let path = dir.join(KILL);
    let write = || {
        let fresh = dir.join("kill.new");
        let mut file = private(&fresh, true)?;
        write!(file, "{}", grace.as_millis())?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        sync_dir(dir)
    };
    if !path.exists() {
        write().map_err(failed("cannot be written", &path))?;
    }
    // It looks by itself, but not all the time. Where it cannot be told, it comes to know of it then.
    if let Ok(lock) = File::open(dir.join(LOCK))
        && let Ok(Some(holder)) = holder(&lock)
        && holder.typ == FlockType::WriteLock
        && let Some(pid) = holder.pid
    {
        let _ = kill_process(pid, Signal::TERM);
    }
    Ok(())
}

/// How long the command has, if somebody wants it to end.
pub(super) fn asked_to_end(dir: &Path) -> Option<Duration> {
    let file = File::open(dir.join(KILL)).ok()?;
    let mut text = String::new();
    // Whatever stands there: that it is there says enough.
    let _ = file.take(32).read_to_string(&mut text);
    Some(text.trim().parse().map_or(GRACE, Duration::from_millis))
}

/// The lock of a job, until its outcome is durable. No other descriptor of the file may be closed before:
/// a record lock is gone with the first.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Gives it up.
    pub(super) fn let_go(self) {
        drop(self.0);
    }

    /// Takes it, or says that a supervisor has it.
    pub(super) fn take(dir: &Path) -> io::Result<Option<Self>> {
        let file = private(&dir.join(LOCK), false)?;
        let since = Instant::now();
        loop {
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Self(file))),
                Err(Errno::AGAIN | Errno::ACCESS) => {}
                Err(errno) => return Err(errno.into()),
            }
            // Somebody who waited has it for a moment: that is nobody who runs it.
            if holder(&file)?.is_some_and(|holder| holder.typ == FlockType::WriteLock) {
                return Ok(None);
            }
            if since.elapsed() > ASKER_MAX {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::yield_now();
        }
    }
}

/// Who has the lock: a supervisor to write, somebody who waited to read.
fn holder(lock: &File) -> io::Result<Option<Flock>> {
    let question = Flock {
        start: 0,
        length: 0,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    Ok(fcntl_getlk(lock, &question)?)
}

/// The order of a folder.
pub(super) fn order(dir: &Path) -> Result<Order, FolderError> {
    let path = dir.join(ORDER);
    read(&path, ORDER_BYTES_MAX)?
        .ok_or_else(|| failed("cannot be read", &path)(io::ErrorKind::NotFound.into()))
}

/// Makes `started` durable.
pub(super) fn mark_started(dir: &Path) -> io::Result<()> {
    let mut file = private(&dir.join(STARTED), true)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    // For a person. What counts is that it is there, so its name is synced and its text is not.
    writeln!(file, "{} {}", std::process::id(), boot.trim())?;
    sync_dir(dir)
}

/// Room for the outcome, which is there before anything runs.
#[derive(Debug)]
pub(super) struct Reserve {
    file: File,
    dir: PathBuf,
}

impl Reserve {
    pub(super) fn make(dir: &Path) -> io::Result<Self> {
        let mut file = private(&dir.join(RESERVE), true)?;
        match fallocate(&file, FallocateFlags::empty(), 0, OUTCOME_BYTES_MAX) {
            Ok(()) => {}
            // Not every file system can: then it is written.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                file.write_all(&vec![0; usize::try_from(OUTCOME_BYTES_MAX).unwrap_or(0)])?;
            }
            Err(errno) => return Err(errno.into()),
        }
        Ok(Self { file, dir: dir.to_owned() })
    }

    /// Writes the outcome into it and gives it its name, durably.
    pub(super) fn fill(self, outcome: &Outcome) -> io::Result<()> {
        let bytes = encode(outcome);
        rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.file, &bytes, 0))
            .map_err(io::Error::from)
            .and_then(|n| {
                if n == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
            })?;
        self.file.set_len(bytes.len() as u64)?;
        self.file.sync_all()?;
        fs::rename(self.dir.join(RESERVE), self.dir.join(OUTCOME))?;
        sync_dir(&self.dir)
    }
}

/// A file for us alone.
pub(super) fn private(path: &Path, anew: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(anew).mode(0o600).open(path)
}

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Nothing in these values can fail to encode; an empty file would be found damaged.
    serde_cbor::to_vec(value).unwrap_or_default()
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The value in a file; `None` where there is no file.
fn read<T: DeserializeOwned>(path: &Path, bytes_max: u64) -> Result<Option<T>, FolderError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("cannot be read", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes).map_err(failed("cannot be read", path))?;
    serde_cbor::from_slice(&bytes)
        .map(Some)
        .map_err(|_| FolderError::Damaged { path: path.to_owned() })
}
