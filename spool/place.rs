//! Where a spool lives: a disk, the right to use it alone, and a source of chance.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use postrider_base::disk::Disk;
use rustix::fs::{FlockOperation, flock};

use crate::{disk::RealDisk, error::SpoolError};

/// Fills a slice with random bytes. Segment seeds and epochs come from it, so it must be
/// unpredictable; tests pass a seeded one.
pub type Entropy = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// How often a waiting process looks whether the lock is free: short beside the seconds a person
/// notices, long beside the microseconds a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A place for a spool that nobody else is using.
pub struct Place {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) entropy: Entropy,
    /// The directory, where there is a real one: the index does its own file work.
    pub(crate) root: Option<PathBuf>,
    /// Held for as long as the place is; the kernel frees it when the process dies.
    _lock: Option<File>,
}

impl Place {
    /// Takes a directory, creating it when it is missing. When another process has it, calls
    /// `waiting` once and tries for up to `patience`.
    pub fn take(
        root: &Path,
        entropy: Entropy,
        patience: Duration,
        waiting: &mut dyn FnMut(),
    ) -> Result<Self, SpoolError> {
        let disk =
            RealDisk::create(root).map_err(SpoolError::io("creating the spool's directory"))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(root.join("lock"))
            .map_err(SpoolError::io("opening the lock"))?;
        let started = Instant::now();
        let mut told = false;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(e) if e == rustix::io::Errno::WOULDBLOCK => {}
                Err(e) if e == rustix::io::Errno::INTR => continue,
                Err(e) => return Err(SpoolError::io("locking")(io::Error::from(e))),
            }
            let waited = started.elapsed();
            if waited >= patience {
                return Err(SpoolError::Locked { waited });
            }
            if !told {
                told = true;
                waiting();
            }
            // flock has no timed form; the only other way is a thread that may wait for ever.
            thread::sleep(LOOK_EVERY.min(patience.saturating_sub(waited)));
        }
        Ok(Self { disk: Arc::new(disk), entropy, root: Some(root.to_owned()), _lock: Some(lock) })
    }

    /// Whether another process owns the spool in this directory at this moment.
    #[must_use]
    pub fn is_taken(root: &Path) -> bool {
        // Without a lock file nobody ever took it.
        let Ok(lock) = OpenOptions::new().write(true).open(root.join("lock")) else { return false };
        matches!(
            flock(&lock, FlockOperation::NonBlockingLockExclusive),
            Err(rustix::io::Errno::WOULDBLOCK)
        )
    }

    /// Takes a disk that the caller knows nobody else uses: doubles and simulations. The index
    /// then lives in memory.
    #[must_use]
    pub fn on(disk: Arc<dyn Disk>, entropy: Entropy) -> Self {
        Self { disk, entropy, root: None, _lock: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_user_is_told_and_gets_a_typed_error_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let entropy: Entropy = Arc::new(|out| out.fill(1));
        let mut never = || panic!("nobody has it");
        let first = Place::take(dir.path(), entropy.clone(), Duration::ZERO, &mut never).unwrap();
        let mut told = 0;
        let second =
            Place::take(dir.path(), entropy.clone(), Duration::from_millis(1), &mut || {
                told += 1;
            });
        assert!(matches!(second, Err(SpoolError::Locked { .. })));
        assert_eq!(told, 1);
        drop(first);
        Place::take(dir.path(), entropy, Duration::ZERO, &mut never).unwrap();
    }
}
