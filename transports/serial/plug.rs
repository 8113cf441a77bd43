//! Waiting for a port that is not there: until it is plugged in.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::media::FolderWatch;

/// A look although nothing was told: what is watched may be the folder of a folder.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// udev makes the device, then sets who may use it, then the names by which it is known.
const SETTLES: Duration = Duration::from_millis(20);
/// Names that lead to names.
const STEPS_MAX: usize = 8;

/// Waits until a port is not as it was when this was called, or may not be.
pub(super) fn until_changed(path: PathBuf) -> impl Future<Output = ()> + Send + 'static {
    let before = state(&path);
    async move { wait(&path, before).await }
}

async fn wait(path: &Path, before: Option<State>) {
    let mut watch = FolderWatch::new().ok();
    loop {
        if let Some(watch) = &mut watch {
            watch.watch(&folders(path));
        }
        // Behind the watch, or what happened just before it began would be missed.
        if state(path) != before {
            return tokio::time::sleep(SETTLES).await;
        }
        let told = async {
            match &watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        // Who has it, or who may use it, can change without a word.
        if tokio::time::timeout(LOOK_EVERY, told).await.is_err() && before.is_some() {
            return;
        }
    }
}

/// Which device a path leads to, and who may use it.
type State = (u64, u32, u32);

fn state(path: &Path) -> Option<State> {
    use std::os::unix::fs::MetadataExt as _;
    let file = std::fs::metadata(path).ok()?;
    Some((file.rdev(), file.mode(), file.gid()))
}

/// The folders in which a name on the way to the port would come or go.
fn folders(path: &Path) -> BTreeSet<PathBuf> {
    let (mut folders, mut path) = (BTreeSet::new(), path.to_owned());
    for _ in 0..STEPS_MAX {
        let Some(there) = path.ancestors().skip(1).find(|folder| folder.is_dir()) else { break };
        folders.insert(there.to_owned());
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = there.join(target);
    }
    folders
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_name_is_waited_for_where_it_would_come() {
        let dir = tempfile::tempdir().unwrap();
        let (here, by_id) = (dir.path().to_owned(), dir.path().join("serial/by-id/port"));
        assert_eq!(folders(&by_id), BTreeSet::from([here.clone()]));
        fs::create_dir_all(by_id.parent().unwrap()).unwrap();
        assert_eq!(folders(&by_id), BTreeSet::from([here.join("serial/by-id")]));
        symlink("../../ttyX", &by_id).unwrap();
        let both = folders(&by_id).into_iter().map(|folder| folder.canonicalize().unwrap());
        let both: BTreeSet<_> = both.collect();
        let canonical = |path: &Path| path.canonicalize().unwrap();
        assert_eq!(both, [canonical(&here), canonical(&here.join("serial/by-id"))].into());
        symlink("a", here.join("a")).unwrap();
        assert_eq!(folders(&here.join("a")), BTreeSet::from([here]));
    }

    #[tokio::test]
    async fn a_port_that_comes_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("port");
        let waiting = tokio::spawn(until_changed(path.clone()));
        symlink("/dev/null", &path).unwrap();
        tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap().unwrap();
    }
}
