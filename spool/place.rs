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
    /// Takes a directory, creating it when it is missing. While another process has it, tries for
    /// up to `patience`, or until `go_on`, which is asked before every wait, says no.
    pub fn take(
        root: &Path,
        entropy: Entropy,
        patience: Duration,
        go_on: &mut dyn FnMut() -> bool,
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
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(e) if e == rustix::io::Errno::WOULDBLOCK => {}
                Err(e) if e == rustix::io::Errno::INTR => continue,
                Err(e) => return Err(SpoolError::io("locking")(io::Error::from(e))),
            }
            let waited = started.elapsed();
            if waited >= patience || !go_on() {
                return Err(SpoolError::Locked { waited });
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
    fn a_second_user_waits_as_long_as_it_likes_and_gets_a_typed_error() {
        let dir = tempfile::tempdir().unwrap();
        let entropy: Entropy = Arc::new(|out| out.fill(1));
        let mut never = || panic!("nobody has it");
        let first = Place::take(dir.path(), entropy.clone(), Duration::ZERO, &mut never).unwrap();
        let mut asked = 0;
        let second = Place::take(dir.path(), entropy.clone(), Duration::MAX, &mut || {
            asked += 1;
            asked < 3
        });
        assert!(matches!(second, Err(SpoolError::Locked { .. })));
        assert_eq!(asked, 3);
        let third = Place::take(dir.path(), entropy.clone(), Duration::ZERO, &mut || {
            panic!("there is no time to wait")
        });
        assert!(matches!(third, Err(SpoolError::Locked { .. })));
        drop(first);
        Place::take(dir.path(), entropy, Duration::ZERO, &mut never).unwrap();
    }
}
