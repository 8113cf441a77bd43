//! Being woken when something changes in a few folders.
//!
//! What the system tells is only a reason to look: events are not counted on, not kept in order,
//! and dropped beyond a bound, which is said. Folders are watched one by one, never a whole tree: a
//! tree on a medium is as deep as its last writer liked.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use notify::{
    Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};
use tokio::sync::Notify;

/// Files whose writing is remembered until somebody asks; more are forgotten, and that is said.
const TOUCHED_MAX: usize = 4096;

/// What became of files since it was asked last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Made, or opened for writing.
    pub begun: BTreeSet<PathBuf>,
    /// Closed after writing, or moved in.
    pub finished: BTreeSet<PathBuf>,
    /// There was more than could be remembered.
    pub incomplete: bool,
}

/// A watch on folders.
#[derive(Debug)]
pub struct FolderWatch {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    wake: Notify,
    touched: Mutex<Touched>,
}

impl FolderWatch {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let told = Arc::clone(&shared);
        let watcher = RecommendedWatcher::new(
            move |event: notify::Result<Event>| told.hear(event),
            Config::default().with_follow_symlinks(false),
        );
        let watcher = watcher.map_err(io::Error::other)?;
        Ok(Self { watcher, watched: BTreeSet::new(), shared })
    }

    /// Watches exactly these folders, as far as they are there. A folder that went and came again
    /// is another one: forget it with [`FolderWatch::watch`] while it is gone.
    pub fn watch(&mut self, folders: &BTreeSet<PathBuf>) {
        for gone in self.watched.difference(folders).cloned().collect::<Vec<_>>() {
            // The kernel may have forgotten it before us.
            let _ = self.watcher.unwatch(&gone);
            self.watched.remove(&gone);
        }
        for folder in folders {
            if !self.watched.contains(folder)
                && self.watcher.watch(folder, RecursiveMode::NonRecursive).is_ok()
            {
                self.watched.insert(folder.clone());
            }
        }
    }

    /// Waits until something changed since this was waited for last. Cancel-safe.
    pub async fn changed(&self) {
        self.shared.wake.notified().await;
    }

    /// What became of files since this was asked last.
    pub fn take(&self) -> Touched {
        std::mem::take(&mut *self.shared.lock())
    }
}

impl Shared {
    fn hear(&self, event: notify::Result<Event>) {
        let Ok(event) = event else {
            self.lock().incomplete = true;
            return self.wake.notify_one();
        };
        if event.need_rescan() {
            self.lock().incomplete = true;
            return self.wake.notify_one();
        }
        let finished = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)) => Some(true),
            EventKind::Create(CreateKind::File) => Some(false),
            // Reading is what we do ourselves.
            EventKind::Access(_) => return,
            _ => None,
        };
        // Of a move within what is watched the last path is where it went.
        if let (Some(finished), Some(path)) = (finished, event.paths.last()) {
            self.lock().add(path, finished);
        }
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Touched> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Touched {
    fn add(&mut self, path: &Path, finished: bool) {
        if self.begun.len() + self.finished.len() >= TOUCHED_MAX {
            self.incomplete = true;
            return;
        }
        if finished {
            self.begun.remove(path);
            self.finished.insert(path.to_owned());
        } else {
            self.finished.remove(path);
            self.begun.insert(path.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, time::Duration};

    use tokio::time::timeout;

    use super::*;

    /// Nothing here takes longer on a machine that does anything at all.
    const PATIENCE: Duration = Duration::from_secs(60);

    async fn until(watch: &FolderWatch, meant: impl Fn(&Touched) -> bool) -> Touched {
        let mut all = Touched::default();
        let wait = async {
            while !meant(&all) {
                watch.changed().await;
                let new = watch.take();
                all.begun.extend(new.begun);
                all.finished.extend(new.finished);
            }
        };
        timeout(PATIENCE, wait).await.unwrap();
        all
    }

    #[tokio::test]
    async fn a_file_is_finished_when_it_is_closed_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = FolderWatch::new().unwrap();
        watch.watch(&BTreeSet::from([dir.path().to_owned()]));
        assert!(watch.watched.contains(dir.path()));
        let path = dir.path().join("letter");
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        let seen = until(&watch, |seen| seen.begun.contains(&path)).await;
        assert!(seen.finished.is_empty());
        drop(file);
        until(&watch, |seen| seen.finished.contains(&path)).await;
    }

    #[tokio::test]
    async fn a_file_moved_in_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("in");
        fs::create_dir(&inside).unwrap();
        fs::write(dir.path().join("x"), b"whole").unwrap();
        let mut watch = FolderWatch::new().unwrap();
        watch.watch(&BTreeSet::from([inside.clone()]));
        fs::rename(dir.path().join("x"), inside.join("x")).unwrap();
        until(&watch, |seen| seen.finished.contains(&inside.join("x"))).await;
    }

    #[test]
    fn more_files_than_are_remembered_are_said() {
        let mut touched = Touched::default();
        for n in 0..=TOUCHED_MAX {
            touched.add(&PathBuf::from(n.to_string()), n % 2 == 0);
        }
        assert!(touched.incomplete);
        assert_eq!(touched.begun.len() + touched.finished.len(), TOUCHED_MAX);
    }
}
