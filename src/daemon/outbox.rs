//! Folders to drop files into: what lies complete in `outbox/NAME/` is sent to NAME.
//!
//! 1. Every contact has a folder; what is complete is for [`super::ripening`] to say.
//! 2. The message and the file's mark become durable in one commit.
//! 3. The file is moved to `sent/` beside it, which overwrites nothing, and synced there.
//! 4. The mark is forgotten. Whoever stops before that goes on at 3 after the next start.
//!
//! What cannot be sent stays where it is, with the reason in a file beside it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use postrider_transports::media::FolderWatch;
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use tokio::time::{Duration, sleep};

use super::{
    node::Node,
    ripening::{Identity, Ripening},
};
use crate::desk::{Desk, Failure, SendRequest, Silent, is_folder_name, reply::Sent};

/// Folders looked into; more contacts than anybody has.
const FOLDERS_MAX: usize = 4096;
/// Files looked at in one go; the others come when these have gone.
const FILES_MAX: usize = 4096;
/// Copies of one name in `sent`.
const SAME_NAME_MAX: usize = 10_000;
/// How often is looked while a file is about to be complete.
const LOOK_SOON: Duration = Duration::from_secs(1);
/// How often is looked although nobody told of a change.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Changes come in crowds.
const SETTLE: Duration = Duration::from_millis(200);
/// Where files go that were sent.
const SENT: &str = "sent";
/// The reason why a file was not sent stands in a file of its name with this behind it.
const REASON: &str = ".error.txt";
/// How programs name what they have not finished, or keep of what was there before.
const UNFINISHED: [&str; 6] = [".part", ".partial", ".crdownload", ".filepart", ".tmp", "~"];

/// What lies in the outbox.
#[derive(Debug, Default)]
struct Listing {
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Identity>,
}

/// Sends what becomes complete, until told to stop.
pub(super) async fn run(node: Arc<Node>) {
    let stop = node.stop.clone();
    let begun = Instant::now();
    let now_ms = || u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut watch = FolderWatch::new().ok();
    let mut ripening = Ripening::default();
    let (mut is_first, mut is_told) = (true, false);
    loop {
        if let Some(watch) = &watch {
            ripening.hear(watch.take());
        }
        match node.ask(list).await {
            Ok(listing) => {
                is_told = false;
                if let Some(watch) = &mut watch {
                    watch.watch(&listing.folders);
                }
                if std::mem::take(&mut is_first) {
                    forget_old_marks(&node, &listing).await;
                }
                for (path, identity) in ripening.look(now_ms(), &listing.files) {
                    if stop.is_cancelled() {
                        return;
                    }
                    let file = path.clone();
                    match node.ask(move |desk| post(desk, &file, &identity)).await {
                        Ok(posted) => tell(&node, &path, posted),
                        Err(failure) => {
                            ripening.failed(&path, now_ms());
                            refuse(&node, &path, &failure);
                        }
                    }
                }
            }
            // Once, not every time it is looked at.
            Err(failure) if !std::mem::replace(&mut is_told, true) => node.board.trouble(&failure),
            Err(_) => {}
        }
        let changed = async {
            match &watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(if ripening.is_waiting() { LOOK_SOON } else { LOOK_EVERY }) => {}
            () = async { changed.await; sleep(SETTLE).await } => {}
        }
    }
}

/// Marks of files that are no longer there were for nothing but a crash that did not come.
async fn forget_old_marks(node: &Arc<Node>, listing: &Listing) {
    let marks = listing.files.iter().map(|(path, identity)| identity.mark(path)).collect();
    let forgotten = node.ask(move |desk| desk.forget_marks_but(&marks, &Silent)).await;
    if let Err(failure) = forgotten {
        node.board.trouble(&failure);
    }
}

fn tell(node: &Node, path: &Path, posted: Option<Sent>) {
    // `None`: it was sent before a restart and is now put aside, or it is being changed.
    if let Some(sent) = posted {
        let detail = Some(path.display().to_string());
        node.board.happened("sent", Some(sent.id), Some(sent.to), detail);
    }
}

fn refuse(node: &Node, path: &Path, failure: &Failure) {
    let mut text = format!("{failure}\n");
    for line in failure.causes().iter().chain(&failure.next) {
        text += &format!("{line}\n");
    }
    if let Err(error) = fs::write(reason_of(path), text) {
        tracing::warn!(%error, path = %path.display(), "no room for a reason");
    }
    let detail = format!("{failure}; {} says more", reason_of(path).display());
    node.board.happened("outbox-trouble", None, Some(path.display().to_string()), Some(detail));
}

fn reason_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(REASON);
    path.with_file_name(name)
}

/// Makes the folders of those I know, and lists what lies in all of them.
fn list(desk: &Desk) -> Result<Listing, Failure> {
    let top = desk.home().dir().join("outbox");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| Failure::file("look into", &path, error)
    };
    make_folder(&top).map_err(failed(&top))?;
    for contact in desk.home().contacts()?.linked() {
        // Names are not paths: a contact whose name cannot be a folder's has none.
        if is_folder_name(&contact.name) {
            let folder = top.join(&contact.name);
            make_folder(&folder).map_err(failed(&folder))?;
        }
    }
    let mut listing = Listing::default();
    listing.folders.insert(top.clone());
    for folder in fs::read_dir(&top).map_err(failed(&top))?.flatten() {
        let is_ours = folder.file_type().is_ok_and(|kind| kind.is_dir())
            && folder.file_name().to_str().is_some_and(is_folder_name);
        if !is_ours || listing.folders.len() > FOLDERS_MAX {
            continue;
        }
        let folder = folder.path();
        for file in fs::read_dir(&folder).map_err(failed(&folder))?.flatten() {
            // Links are not followed; folders are for `postrider send -f`.
            let Ok(about) = file.metadata() else { continue };
            if listing.files.len() < FILES_MAX
                && about.is_file()
                && !is_left_alone(&file.file_name().to_string_lossy())
            {
                listing.files.insert(file.path(), Identity::of(&about));
            }
        }
        listing.folders.insert(folder);
    }
    Ok(listing)
}

fn make_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn is_left_alone(name: &str) -> bool {
    let lower = name.to_lowercase();
    name.starts_with('.')
        || lower.ends_with(REASON)
        || UNFINISHED.iter().any(|ending| lower.ends_with(ending))
}

/// Sends a file, unless that was done, and puts it aside.
fn post(desk: &Desk, path: &Path, identity: &Identity) -> Result<Option<Sent>, Failure> {
    let to = path.parent().and_then(Path::file_name).unwrap_or_default();
    let request = SendRequest {
        to: to.to_string_lossy().into_owned(),
        text: None,
        files: vec![path.to_owned()],
        nice: None,
        lifetime: None,
        hidden: None,
        reply_to: None,
        supersede: None,
    };
    let is_same = || fs::symlink_metadata(path).is_ok_and(|file| Identity::of(&file) == *identity);
    if !is_same() {
        // Somebody is at it again: it will be complete later.
        return Ok(None);
    }
    let mark = identity.mark(path);
    let sent = desk.send_once(&request, &mark, &Silent)?;
    if !is_same() {
        // What is there now is another version, which will be sent in its turn.
        desk.forget_mark(&mark, &Silent)?;
        return Ok(sent);
    }
    match put_aside(path) {
        // Somebody took it away: it was sent all the same.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        aside => aside.map_err(|error| {
            Failure::file("put aside", path, error).next("it was sent, and will not be sent again")
        })?,
    }
    desk.forget_mark(&mark, &Silent)?;
    let _ = fs::remove_file(reason_of(path));
    Ok(sent)
}

/// Moves a file to `sent` beside it, under the first name that is free there, and makes that
/// durable.
fn put_aside(path: &Path) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let sent = folder.join(SENT);
    make_folder(&sent)?;
    for number in 1..=SAME_NAME_MAX {
        match move_to_new(path, &sent.join(numbered(Path::new(name), number))) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => {
                // Before the mark is forgotten, or a power cut could bring the file back.
                File::open(&sent)?.sync_all()?;
                return File::open(folder)?.sync_all();
            }
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn move_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not on every file system; a link does not replace anything either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        moved => Ok(moved?),
    }
}

/// The name itself, then `name 2.txt`.
fn numbered(name: &Path, number: usize) -> OsString {
    if number == 1 {
        return name.as_os_str().to_owned();
    }
    let mut out = name.file_stem().unwrap_or_default().to_owned();
    out.push(format!(" {number}"));
    if let Some(ending) = name.extension() {
        out.push(".");
        out.push(ending);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_hidden_and_own_files_are_left_alone() {
        for name in [".x", "x.part", "x.TMP", "x~", "x.pdf.crdownload", "x.pdf.error.txt"] {
            assert!(is_left_alone(name), "{name}");
        }
        for name in ["x", "x.pdf", "part", "tmp.txt", "error.txt"] {
            assert!(!is_left_alone(name), "{name}");
        }
    }

    #[test]
    fn a_name_that_would_lead_elsewhere_is_no_folder() {
        for name in ["..", ".", "a/b", "/etc", ".hidden"] {
            assert!(!is_folder_name(name), "{name}");
        }
        assert!(is_folder_name("Zoë at home"));
    }

    #[test]
    fn what_is_put_aside_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        for text in ["one", "two", "three"] {
            fs::write(&path, text).unwrap();
            put_aside(&path).unwrap();
            assert!(!path.exists());
        }
        for (name, text) in [("a.txt", "one"), ("a 2.txt", "two"), ("a 3.txt", "three")] {
            assert_eq!(fs::read_to_string(dir.path().join(SENT).join(name)).unwrap(), text);
        }
    }
}
