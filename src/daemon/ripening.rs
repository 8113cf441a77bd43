//! When a file that somebody puts into a folder is complete.
//!
//! Nothing tells that for certain, so: it was closed after writing, or moved in, and has not changed
//! for a while since. Of a file that nobody saw come, as those that lie there when the daemon
//! starts, only the second can be known, and the while is longer. A file that was seen to begin and
//! not to end is never complete.

use std::{
    collections::BTreeMap,
    fs::Metadata,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use postrider_transports::media::Touched;

/// How long a file must not have changed after it was closed: a program that writes in several
/// goes opens it again at once.
const QUIET_MS: u64 = 2000;
/// The same where nobody saw it being closed: longer than a copy over a bad line pauses.
const QUIET_UNSEEN_MS: u64 = 10_000;
/// After a failure a file is tried again this much later, or when it changes.
const RETRY_MS: u64 = 300_000;

/// What makes a file the same one with the same content, as far as the file system tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub device: u64,
    pub inode: u64,
    pub bytes: u64,
    pub mtime_s: i64,
    pub mtime_ns: i64,
}

impl Identity {
    pub(super) fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            bytes: file.size(),
            mtime_s: file.mtime(),
            mtime_ns: file.mtime_nsec(),
        }
    }

    /// As a key, together with the folder that the file lies in: moved to another, it is for
    /// somebody else. Without the device, whose number may be another after a restart.
    pub(super) fn mark(&self, path: &Path) -> Vec<u8> {
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
        let mut hasher = blake3::Hasher::new_derive_key("postrider 2026 outbox mark v1");
        for part in [self.inode, self.bytes] {
            hasher.update(&part.to_be_bytes());
        }
        for part in [self.mtime_s, self.mtime_ns] {
            hasher.update(&part.to_be_bytes());
        }
        hasher.update(folder.as_bytes());
        hasher.finalize().as_bytes().to_vec()
    }
}

/// What was seen of a file's writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    /// Nothing.
    #[default]
    Unseen,
    /// Its begin.
    Begun,
    /// Its end.
    Finished,
}

#[derive(Debug, Default)]
struct Waiting {
    way: Way,
    /// As it was when it was looked at last.
    identity: Option<Identity>,
    /// When it was first seen like that.
    since_ms: u64,
    failed_ms: Option<u64>,
}

/// The files that wait to be complete. Memory grows with what is listed.
#[derive(Debug, Default)]
pub(super) struct Ripening {
    files: BTreeMap<PathBuf, Waiting>,
}

impl Ripening {
    /// Takes in what the system told before the next [`Ripening::look`].
    pub(super) fn hear(&mut self, touched: Touched) {
        if touched.incomplete {
            // The end of what began may be among what was not told.
            self.files.values_mut().for_each(|file| file.way = Way::Unseen);
        }
        let begun = touched.begun.into_iter().map(|path| (path, Way::Begun));
        let finished = touched.finished.into_iter().map(|path| (path, Way::Finished));
        for (path, way) in begun.chain(finished) {
            self.files.entry(path).or_default().way = way;
        }
    }

    /// What lies there now, listed after [`Ripening::hear`]; returns what is complete.
    pub(super) fn look(
        &mut self,
        now_ms: u64,
        seen: &BTreeMap<PathBuf, Identity>,
    ) -> Vec<(PathBuf, Identity)> {
        self.files.retain(|path, _| seen.contains_key(path));
        let mut complete = Vec::new();
        for (path, identity) in seen {
            let file = self.files.entry(path.clone()).or_default();
            if file.identity != Some(*identity) {
                (file.identity, file.since_ms, file.failed_ms) = (Some(*identity), now_ms, None);
            }
            let quiet_ms = now_ms.saturating_sub(file.since_ms);
            let is_complete = match file.way {
                Way::Begun => false,
                Way::Finished => quiet_ms >= QUIET_MS,
                Way::Unseen => quiet_ms >= QUIET_UNSEEN_MS,
            };
            let is_due =
                file.failed_ms.is_none_or(|failed| now_ms.saturating_sub(failed) >= RETRY_MS);
            if is_complete && is_due {
                complete.push((path.clone(), *identity));
            }
        }
        complete
    }

    /// Tries a file again later.
    pub(super) fn failed(&mut self, path: &Path, now_ms: u64) {
        if let Some(file) = self.files.get_mut(path) {
            file.failed_ms = Some(now_ms);
        }
    }

    /// Whether time alone can make something complete soon.
    pub(super) fn is_waiting(&self) -> bool {
        self.files.values().any(|file| file.way != Way::Begun && file.failed_ms.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(bytes: u64) -> Identity {
        Identity { device: 1, inode: 2, bytes, mtime_s: 3, mtime_ns: 4 }
    }

    fn seen(bytes: u64) -> BTreeMap<PathBuf, Identity> {
        BTreeMap::from([("f".into(), identity(bytes))])
    }

    fn begun() -> Touched {
        Touched { begun: ["f".into()].into(), ..Touched::default() }
    }

    fn finished() -> Touched {
        Touched { finished: ["f".into()].into(), ..Touched::default() }
    }

    #[test]
    fn a_file_that_was_closed_is_complete_two_seconds_later() {
        let mut ripening = Ripening::default();
        ripening.hear(begun());
        ripening.hear(finished());
        assert_eq!(ripening.look(1000, &seen(5)), []);
        assert_eq!(ripening.look(2999, &seen(5)), []);
        assert_eq!(ripening.look(3000, &seen(5)), [("f".into(), identity(5))]);
    }

    #[test]
    fn every_change_begins_the_wait_anew() {
        let mut ripening = Ripening::default();
        ripening.hear(finished());
        ripening.look(0, &seen(5));
        assert_eq!(ripening.look(2000, &seen(6)), []);
        assert_eq!(ripening.look(3999, &seen(6)), []);
        assert_eq!(ripening.look(4000, &seen(6)).len(), 1);
    }

    #[test]
    fn a_file_that_was_not_closed_is_never_complete() {
        let mut ripening = Ripening::default();
        ripening.hear(begun());
        for now_ms in [0, 10_000, 1_000_000_000] {
            assert_eq!(ripening.look(now_ms, &seen(5)), []);
        }
        assert!(!ripening.is_waiting());
    }

    #[test]
    fn what_nobody_saw_come_waits_longer() {
        let mut ripening = Ripening::default();
        assert_eq!(ripening.look(0, &seen(5)), []);
        assert_eq!(ripening.look(9999, &seen(5)), []);
        assert!(ripening.is_waiting());
        assert_eq!(ripening.look(10_000, &seen(5)).len(), 1);
    }

    #[test]
    fn a_missed_end_is_not_waited_for() {
        let mut ripening = Ripening::default();
        ripening.hear(begun());
        ripening.look(0, &seen(5));
        ripening.hear(Touched { incomplete: true, ..Touched::default() });
        assert_eq!(ripening.look(10_000, &seen(5)).len(), 1);
    }

    #[test]
    fn a_failure_is_tried_again_when_the_file_changes_or_much_later() {
        let mut ripening = Ripening::default();
        ripening.hear(finished());
        ripening.look(0, &seen(5));
        assert_eq!(ripening.look(2000, &seen(5)).len(), 1);
        ripening.failed(Path::new("f"), 2000);
        assert_eq!(ripening.look(301_999, &seen(5)), []);
        assert_eq!(ripening.look(302_000, &seen(5)).len(), 1);
        ripening.failed(Path::new("f"), 302_000);
        ripening.look(303_000, &seen(6));
        assert_eq!(ripening.look(305_000, &seen(6)).len(), 1);
    }

    #[test]
    fn what_went_is_forgotten() {
        let mut ripening = Ripening::default();
        ripening.hear(finished());
        ripening.look(0, &seen(5));
        ripening.look(1, &BTreeMap::new());
        assert!(!ripening.is_waiting());
    }
}
