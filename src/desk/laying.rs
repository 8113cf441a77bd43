//! The inbox folders: what comes from NAME is laid in `inbox/NAME/`, whole or not at all, and once.
//!
//! ```text
//! HOME/inbox/.new/<id>/         a message's files as they are being written
//! HOME/inbox/.new/<id>.whole/   all of them, durable; from here they are moved to inbox/NAME/
//! ```
//!
//! 1. In one group with the message a note becomes durable: it is to be laid.
//! 2. The files are written and synced where nobody looks, then their folder gets its second name.
//! 3. One after the other they are moved to NAME's folder, which overwrites nothing, and synced there.
//! 4. The note is forgotten, and after that the empty folder.
//!
//! Whoever stops goes on there: what has left the second folder is laid, what is still in it is not. So
//! nothing has to be found again among other people's files, under whatever name it is by then.

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use postrider_base::{BundleId, NodeId, packet::Body};
use postrider_spool::{Change, DurableSpool, Spool, contract::PAGE_MAX};
use rustix::{
    fs::{CWD, Mode, OFlags, RenameFlags, mkdirat, openat, renameat, renameat_with},
    io::Errno,
};

use super::{
    Desk, Failure, FailureKind, Silent, Watch, clock, hex,
    inbox::{Kept, note_keys},
    ledger::{remove_note, set_note, space},
    save::{fresh, safe_name, sync_dir, write_new},
};
use crate::home::{Contact, Contacts, Home};

/// The folder of all of them, in the home.
const INBOX: &str = "inbox";
/// Where files are written before they are laid; no contact has a folder of this name.
const NEW: &str = ".new";
/// Ends the name of a folder whose files are all there.
const WHOLE: &str = ".whole";
/// Folders that are made before anything has come for them; more contacts than anybody has.
const FOLDERS_MAX: usize = 4096;
/// Notes forgotten in one commit.
const TOGETHER: usize = 256;

/// The inbox folders of a home.
pub struct Laying<'a> {
    desk: &'a Desk,
    spool: &'a DurableSpool,
}

/// A message that is to be laid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToLay {
    key: Vec<u8>,
    /// Which.
    pub id: BundleId,
    /// Whose.
    pub author: NodeId,
}

/// A message that was laid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Laid {
    /// Who wrote it, by my name.
    pub from: String,
    /// Where its files are now.
    pub paths: Vec<PathBuf>,
}

/// The change that has a message laid, oldest first.
pub(super) fn to_lay(message: &BundleId, author: &NodeId, held_ms: u64) -> Change {
    set_note(space::TO_LAY, &key_of(message, held_ms), author.as_bytes().to_vec())
}

/// Names are not paths: of a name that cannot be a folder's only its like is one.
pub(crate) fn is_folder_name(name: &str) -> bool {
    !name.starts_with('.') && !name.contains('/')
}

/// A contact's folder. Where its name cannot be one, the key tells it from others.
fn folder_name(contact: &Contact) -> String {
    if is_folder_name(&contact.name) {
        return contact.name.clone();
    }
    format!("{} {}", safe_name(&contact.name), hex(&contact.card.node.as_bytes()[..4]))
}

/// A contact's folder in a home.
pub(super) fn folder_of(home: &Home, contact: &Contact) -> PathBuf {
    home.dir().join(INBOX).join(folder_name(contact))
}

/// Whether a message that came at that time is still to be laid.
pub(super) fn is_to_be_laid(
    spool: &DurableSpool,
    message: &BundleId,
    held_ms: u64,
) -> Result<bool, Failure> {
    Ok(spool.note(space::TO_LAY, &key_of(message, held_ms))?.is_some())
}

fn key_of(message: &BundleId, held_ms: u64) -> Vec<u8> {
    [&held_ms.to_be_bytes()[..], &message.0].concat()
}

/// Whose mail is laid, and told to hooks: whom I chose, and who stands on a roster of mine.
pub(super) fn is_known(contacts: &Contacts, node: &NodeId) -> bool {
    contacts.of(node).is_some() && contacts.linked().any(|contact| contact.card.node == *node)
}

impl Desk {
    /// Opens the inbox folders.
    pub fn open_laying(&self, watch: &dyn Watch) -> Result<Laying<'_>, Failure> {
        Ok(Laying { desk: self, spool: self.spool(watch)? })
    }
}

impl Laying<'_> {
    /// Makes the folders, and removes what stayed of messages that nobody waits for.
    pub fn tidy(&self) -> Result<(), Failure> {
        let top = self.top()?;
        for contact in self.desk.home.contacts()?.linked().take(FOLDERS_MAX) {
            // One that cannot be made is in the way of nobody else's; it is said when something comes.
            let _ = make_folder(&top.join(folder_name(contact)));
        }
        let waiting: HashSet<String> = note_keys(self.spool, space::TO_LAY)?
            .iter()
            .filter_map(|key| Some(hex(key.get(8..)?) + WHOLE))
            .collect();
        let new = top.join(NEW);
        let failed = |error| Failure::file("look into", &new, error);
        for entry in fs::read_dir(&new).map_err(failed)?.flatten() {
            if !waiting.contains(&*entry.file_name().to_string_lossy()) {
                fs::remove_dir_all(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Messages that are to be laid, oldest first, after that one: a page of them.
    pub fn waiting(&self, after: Option<&ToLay>) -> Result<Vec<ToLay>, Failure> {
        let after = after.map(|waiting| &*waiting.key);
        let mut found = Vec::new();
        for key in self.spool.notes(space::TO_LAY, &[], after, PAGE_MAX)? {
            let author = self.spool.note(space::TO_LAY, &key)?.unwrap_or_default();
            let author = NodeId::from_bytes(&author).ok();
            let id = key.get(8..).and_then(|id| id.try_into().ok()).map(BundleId);
            match id.zip(author) {
                Some((id, author)) => found.push(ToLay { key, id, author }),
                // Of no version of this program.
                None => self.forget(vec![key])?,
            }
        }
        Ok(found)
    }

    /// Lays a message, unless there is nothing to lay; it is forgotten by [`Self::settle`], not before.
    pub fn lay(&self, waiting: &ToLay) -> Result<Option<Laid>, Failure> {
        let contacts = self.desk.home.contacts()?;
        let kept = self.desk.kept(self.spool, waiting.id)?;
        let Some(kept) = kept.filter(|kept| is_mail(self.spool, kept)) else { return Ok(None) };
        // Who is no contact any more has no folder: that message is in the inbox alone.
        let contact = contacts.of(&kept.author).filter(|_| is_known(&contacts, &kept.author));
        let Some(contact) = contact else { return Ok(None) };
        let top = self.top()?;
        let folder = top.join(folder_name(contact));
        make_folder(&folder)?;
        let whole = top.join(NEW).join(hex(&kept.id.0) + WHOLE);
        if !whole.is_dir() {
            self.write(&kept, &top.join(NEW), &whole)?;
        }
        let paths = move_all(&whole, &folder)?;
        Ok(Some(Laid { from: contact.name.clone(), paths }))
    }

    /// Forgets messages that are laid, or need not be.
    pub fn settle(&self, laid: &[ToLay]) -> Result<(), Failure> {
        self.forget(laid.iter().map(|laid| laid.key.clone()).collect())?;
        for laid in laid {
            // A leftover is removed by the next start.
            let name = hex(&laid.id.0) + WHOLE;
            let _ = fs::remove_dir(self.desk.home.dir().join(INBOX).join(NEW).join(name));
        }
        Ok(())
    }

    fn forget(&self, keys: Vec<Vec<u8>>) -> Result<(), Failure> {
        for some in keys.chunks(TOGETHER) {
            let changes = some.iter().map(|key| remove_note(space::TO_LAY, key)).collect();
            Spool::commit(self.spool, clock::now(), changes)?;
        }
        Ok(())
    }

    /// The folder of all, and where files are written; neither is anywhere else.
    fn top(&self) -> Result<PathBuf, Failure> {
        let top = self.desk.home.dir().join(INBOX);
        for path in [top.clone(), top.join(NEW)] {
            make_folder(&path)?;
            check_folder(&path)?;
        }
        Ok(top)
    }

    /// Writes a message's files where nobody looks, and makes them durable.
    fn write(&self, kept: &Kept, new: &Path, whole: &Path) -> Result<(), Failure> {
        let dir = new.join(hex(&kept.id.0));
        clear(&dir)?;
        DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(|error| Failure::file("make", &dir, error))?;
        let written = self.write_into(kept, &dir).and_then(|()| sync_tree(&dir));
        let written = written.and_then(|()| {
            fs::rename(&dir, whole).map_err(|error| Failure::file("write", whole, error))?;
            sync_dir(new)
        });
        if written.is_err() {
            // On a full disk it would be in the way of mail.
            let _ = fs::remove_dir_all(&dir);
        }
        written
    }

    fn write_into(&self, kept: &Kept, dir: &Path) -> Result<(), Failure> {
        let text = match &kept.packet.body {
            Body::Mail(text) => Some(text),
            Body::Files(manifest) => {
                // What nobody looked at is not made to be run.
                self.desk.save_files(kept, manifest, dir, false, &Silent)?;
                manifest.text.as_ref().filter(|text| !text.is_empty())
            }
            _ => None,
        };
        if let Some(text) = text {
            // No clock is asked for its name: many have none that is right.
            let name = format!("message-{}.txt", &kept.id.to_string()[..8]);
            let path = write_new(&dir.join(name), text.as_bytes())?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))
                .map_err(|error| Failure::file("write", &path, error))?;
        }
        Ok(())
    }
}

/// Whether a message is what people write to each other, and not the answer to something asked for.
pub(super) fn is_mail(spool: &DurableSpool, kept: &Kept) -> bool {
    let is_noted = |space| matches!(spool.note(space, &kept.id.0), Ok(Some(_)));
    matches!(kept.packet.body, Body::Mail(_) | Body::Files(_))
        && !is_noted(space::ANSWERS)
        && !is_noted(space::DOUBLE)
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Failure::file("make", path, error).next(NOTHING_LOST))
        }
        _ => Ok(()),
    }
}

const NOTHING_LOST: &str =
    "nothing was lost: it is in postrider inbox, and is laid there as soon as that is possible";

/// Whether it is a folder, and no link to one.
fn check_folder(path: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(found) => Err(no_folder(path, found.is_symlink())),
        Err(error) => Err(Failure::file("look into", path, error)),
    }
}

fn no_folder(path: &Path, is_link: bool) -> Failure {
    let what = if is_link { "a link, which is not followed" } else { "no folder" };
    let what = format!("{} is {what}: remove it, and a folder is made there", path.display());
    Failure::new(FailureKind::Refused, what).next(NOTHING_LOST)
}

/// Moves everything from one folder to another, under names that are free there, and makes that durable.
fn move_all(from: &Path, to: &Path) -> Result<Vec<PathBuf>, Failure> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(CWD, to, flags, Mode::empty());
    let folder = File::from(folder.map_err(|errno| match errno {
        Errno::LOOP | Errno::NOTDIR => no_folder(to, to.is_symlink()),
        errno => Failure::file("open", to, errno.into()).next(NOTHING_LOST),
    })?);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| Failure::file("lay", &path, error).next(NOTHING_LOST)
    };
    let entries: io::Result<Vec<_>> = fs::read_dir(from).map_err(failed(from))?.collect();
    let mut entries = entries.map_err(failed(from))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut laid = Vec::new();
    for entry in entries {
        let path = entry.path();
        let free = |target: &Path| {
            let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
            match renameat_with(CWD, &path, &folder, name, RenameFlags::NOREPLACE) {
                // A file system that cannot be told so: the name is taken first, then replaced.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                    replace_own(&path, &folder, Path::new(name))
                }
                moved => Ok(moved?),
            }
        };
        laid.push(fresh(&to.join(entry.file_name()), free).map_err(|it| it.next(NOTHING_LOST))?);
    }
    folder.sync_all().map_err(failed(to))?;
    sync_dir(from)?;
    Ok(laid)
}

/// Takes a name by something empty of the same kind, and moves it there.
fn replace_own(path: &Path, folder: &File, name: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        mkdirat(folder, name, Mode::RWXU)?;
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?;
    }
    Ok(renameat(CWD, path, folder, name)?)
}

fn clear(dir: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::file("remove", dir, error))
        }
        _ => Ok(()),
    }
}

/// Syncs every file and folder of a tree, deepest first.
fn sync_tree(dir: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::file("sync", dir, error);
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path()).and_then(|file| file.sync_all()).map_err(failed)?;
        }
    }
    sync_dir(dir)
}
