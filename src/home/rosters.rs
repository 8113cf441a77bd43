//! Which rosters I follow, each in a file of its own in `rosters/`.
//!
//! A file says whose rosters are followed, what I call them, and has the newest of them, whole. It is
//! replaced as a whole; the version before stays beside it and is read where the new one is damaged:
//! then a revocation may be forgotten until the roster comes again, and `status` says so.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use postrider_base::{
    NodeId, Roster,
    roster::{Day, Entry, ROSTER_MAX, Standing, group_of},
    wire,
};
use rustix::fs::{FlockOperation, flock};
use serde_bytes::ByteBuf;

use super::{
    contacts::ContactsError,
    files::{create_private_dir, replace},
};

/// Rosters that can be followed: the organisations of one person.
pub const FOLLOWED_MAX: usize = 16;
/// A roster, and what stands around it in its file.
const FILE_MAX: u64 = ROSTER_MAX as u64 + 1024;
const VERSION: u8 = 1;
const ENDING: &str = "roster";
const BEFORE: &str = "before";

/// A roster that I follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Whose rosters.
    pub key: NodeId,
    /// What I call it.
    pub name: String,
    /// Where its secret key is, if I make it: nothing for my own key.
    pub made_with: Option<Option<PathBuf>>,
    /// The newest that I have.
    pub roster: Option<Roster>,
}

/// All rosters that I follow.
#[derive(Clone, Debug, Default)]
pub struct Rosters {
    list: Vec<Followed>,
    damaged: usize,
}

/// Why rosters cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RostersError {
    /// A file cannot be read or written.
    #[error("could not use {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The contacts could not be changed with them.
    #[error(transparent)]
    Contacts(#[from] ContactsError),
    /// Not one more.
    #[error("{FOLLOWED_MAX} rosters are followed already")]
    TooMany,
}

/// What taking a roster did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is the newest now.
    Newer,
    /// The newest known is this one.
    Same,
    /// A newer one is known.
    Older,
    /// Its key is not followed.
    NotFollowed,
}

type FileWire = (u8, ByteBuf, String, bool, Option<String>, Option<ByteBuf>);

impl Rosters {
    /// Reads all of a directory; a missing one means none.
    pub fn read(dir: &Path) -> Result<Self, RostersError> {
        let mut all = Self::default();
        for path in files_in(dir)? {
            let read = read_file(&path)?;
            all.damaged += usize::from(read.is_none());
            let read = match read {
                None => read_file(&path.with_extension(BEFORE))?,
                read => read,
            };
            all.list.extend(read);
        }
        all.list.sort_by(|a, b| (&a.name, a.key).cmp(&(&b.name, b.key)));
        Ok(all)
    }

    /// What changes whenever one of the files is replaced.
    pub(super) fn mark(dir: &Path) -> Vec<(u64, i64, i64)> {
        let mut mark: Vec<_> = files_in(dir)
            .unwrap_or_default()
            .iter()
            .filter_map(|path| fs::metadata(path).ok())
            .map(|file| (file.ino(), file.mtime(), file.mtime_nsec()))
            .collect();
        mark.sort_unstable();
        mark
    }

    /// Reads the rosters, lets `change` change them, and writes what changed, while no other process
    /// does the same.
    pub fn edit<T>(
        dir: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, RostersError>,
    ) -> Result<T, RostersError> {
        let failed = |source| RostersError::Io { path: dir.to_owned(), source };
        create_private_dir(dir).map_err(failed)?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("lock"))
            .map_err(failed)?;
        // Freed when the file is closed, however this ends.
        flock(&lock, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
        let mut all = Self::read(dir)?;
        let before = all.list.clone();
        let made = change(&mut all)?;
        for gone in before.iter().filter(|old| all.of(&old.key).is_none()) {
            for path in [place(dir, &gone.key), place(dir, &gone.key).with_extension(BEFORE)] {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(failed(error));
                    }
                    _ => {}
                }
            }
        }
        let whole = all.damaged == 0;
        for followed in all.list.iter().filter(|followed| !(whole && before.contains(followed))) {
            followed.save(dir).map_err(failed)?;
        }
        Ok(made)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Followed> {
        self.list.iter()
    }

    /// How many files are damaged.
    pub fn damaged(&self) -> usize {
        self.damaged
    }

    /// The one of a key.
    pub fn of(&self, key: &NodeId) -> Option<&Followed> {
        self.list.iter().find(|followed| followed.key == *key)
    }

    /// The one whose rosters go to this group.
    pub fn of_group(&self, group: &[u8; 16]) -> Option<&Followed> {
        self.list.iter().find(|followed| followed.group() == *group)
    }

    /// Who is meant: what I call it (any case), or its key.
    pub fn resolve(&self, which: &str) -> Option<&Followed> {
        if let Ok(key) = which.parse() {
            return self.of(&key);
        }
        let is = |followed: &&Followed| followed.name.to_lowercase() == which.to_lowercase();
        self.list.iter().find(is)
    }

    /// Follows a key from now on, under a name that is free.
    pub fn follow(&mut self, key: NodeId, name: &str) -> Result<(), RostersError> {
        if self.of(&key).is_some() {
            return Ok(());
        }
        if self.list.len() >= FOLLOWED_MAX {
            return Err(RostersError::TooMany);
        }
        let name = self.free_name(name);
        self.list.push(Followed { key, name, made_with: None, roster: None });
        Ok(())
    }

    /// Says where the secret key of a roster is.
    pub fn make_with(&mut self, key: &NodeId, file: Option<PathBuf>) {
        if let Some(followed) = self.list.iter_mut().find(|followed| followed.key == *key) {
            followed.made_with = Some(file);
        }
    }

    /// Follows a key no more.
    pub fn leave(&mut self, key: &NodeId) {
        self.list.retain(|followed| followed.key != *key);
    }

    /// Takes a roster whose signature held, if it is the newest.
    pub fn take(&mut self, roster: &Roster) -> Taken {
        let Some(at) = self.list.iter().position(|followed| followed.key == roster.key) else {
            return Taken::NotFollowed;
        };
        let newest = self.list[at].roster.as_ref().map(|newest| newest.number);
        match newest.cmp(&Some(roster.number)) {
            std::cmp::Ordering::Equal => Taken::Same,
            std::cmp::Ordering::Greater => Taken::Older,
            std::cmp::Ordering::Less => {
                if newest.is_none() && self.list[at].is_nameless() {
                    self.list[at].name = self.free_name(&roster.name);
                }
                self.list[at].roster = Some(roster.clone());
                Taken::Newer
            }
        }
    }

    /// The name of the roster that revokes a key, if one does.
    pub fn revoked_by(&self, node: &NodeId) -> Option<&str> {
        self.entries_of(node).find(|(_, entry)| entry.revoked).map(|(of, _)| &*of.name)
    }

    /// Everything that the rosters say of a key.
    pub fn entries_of(&self, node: &NodeId) -> impl Iterator<Item = (&Followed, &Entry)> {
        self.list
            .iter()
            .filter_map(|followed| Some((followed, followed.roster.as_ref()?.entry(node)?)))
    }

    /// Entries of a key whose role and groups count on this day.
    pub fn standing_of(
        &self,
        node: &NodeId,
        today: Day,
    ) -> impl Iterator<Item = (&Followed, &Entry)> {
        self.entries_of(node).filter(move |(followed, entry)| {
            let of = followed.roster.as_ref();
            of.is_some_and(|roster| roster.standing(entry, today) == Standing::Good)
        })
    }

    /// Every key that one of the rosters revokes.
    pub fn revoked(&self) -> impl Iterator<Item = NodeId> {
        let rosters = self.list.iter().filter_map(|followed| followed.roster.as_ref());
        let entries = rosters.flat_map(|roster| &roster.entries);
        entries.filter(|entry| entry.revoked).map(Entry::node)
    }

    fn free_name(&self, wanted: &str) -> String {
        std::iter::once(wanted.to_owned())
            .chain((2..).map(|n| format!("{wanted} {n}")))
            .find(|name| !self.list.iter().any(|f| f.name.to_lowercase() == name.to_lowercase()))
            .unwrap_or_default()
    }
}

impl Followed {
    /// The group that its rosters are addressed to.
    pub fn group(&self) -> [u8; 16] {
        group_of(&self.key)
    }

    /// What a key is called of which nothing else is known.
    pub fn short(key: &NodeId) -> String {
        key.to_string().chars().take(10).collect()
    }

    fn is_nameless(&self) -> bool {
        self.name == Self::short(&self.key)
    }

    fn save(&self, dir: &Path) -> io::Result<()> {
        let file = match &self.made_with {
            Some(Some(file)) => {
                Some(file.to_str().ok_or(io::ErrorKind::InvalidFilename)?.to_owned())
            }
            _ => None,
        };
        let roster = self.roster.as_ref().map(|roster| ByteBuf::from(roster.as_bytes()));
        let key = ByteBuf::from(*self.key.as_bytes());
        let wire: FileWire =
            (VERSION, key, self.name.clone(), self.made_with.is_some(), file, roster);
        let body = wire::encode(&wire);
        let bytes = [blake3::hash(&body).as_bytes(), &body[..]].concat();
        let path = place(dir, &self.key);
        // What is damaged must not replace what was whole.
        if let Ok(current) = fs::read(&path)
            && Self::parse(&current).is_some()
        {
            replace(&path.with_extension(BEFORE), &current, 0o600)?;
        }
        replace(&path, &bytes, 0o600)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (sum, body) = bytes.split_first_chunk::<32>()?;
        if blake3::hash(body).as_bytes() != sum {
            return None;
        }
        let (version, key, name, made, file, roster): FileWire = wire::decode(body).ok()?;
        if version != VERSION {
            return None;
        }
        let roster = match roster {
            Some(bytes) => Some(Roster::decode_kept(&bytes).ok()?),
            None => None,
        };
        let key = NodeId::from_bytes(&key).ok()?;
        let made_with = made.then(|| file.map(PathBuf::from));
        Some(Self { key, name, made_with, roster })
    }
}

fn place(dir: &Path, key: &NodeId) -> PathBuf {
    dir.join(key.to_string()).with_extension(ENDING)
}

fn files_in(dir: &Path) -> Result<Vec<PathBuf>, RostersError> {
    let failed = |source| RostersError::Io { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) {
            found.push(path);
        }
    }
    found.sort();
    found.truncate(FOLLOWED_MAX);
    Ok(found)
}

/// What a file says; `None` when it is damaged or not there.
fn read_file(path: &Path) -> Result<Option<Followed>, RostersError> {
    let failed = |source| RostersError::Io { path: path.to_owned(), source };
    let length = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?.len(),
    };
    if length > FILE_MAX {
        return Ok(None);
    }
    Ok(Followed::parse(&fs::read(path).map_err(failed)?))
}

#[cfg(test)]
mod tests {
    use postrider_base::{
        NodeSecret,
        roster::{Member, RosterFacts},
    };

    use super::*;

    fn secret(n: u8) -> NodeSecret {
        NodeSecret::from_seed([n; 32])
    }

    fn roster(number: u64, revoked: &[u8]) -> Roster {
        let (key, name) = (secret(1).id(), "Relief".to_owned());
        let mut facts = RosterFacts { key, number, issued: Day(100), name, entries: vec![] };
        for n in 2..5 {
            facts.put(Entry {
                who: Member::Key(secret(n).id()),
                name: format!("N{n}"),
                role: "guest".into(),
                groups: vec![],
                until: Some(Day(110)),
                revoked: revoked.contains(&n),
            });
        }
        Roster::sign(&facts, &secret(1)).unwrap()
    }

    fn following(dir: &Path) -> Rosters {
        let key = secret(1).id();
        Rosters::edit(dir, |all| all.follow(key, &Followed::short(&key))).unwrap();
        Rosters::edit(dir, |all| Ok(all.take(&roster(2, &[])))).unwrap();
        Rosters::read(dir).unwrap()
    }

    #[test]
    fn only_a_higher_number_of_a_followed_key_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let all = following(dir.path());
        assert_eq!(all.resolve("relief").unwrap().roster, Some(roster(2, &[])));
        for (number, revoked, taken) in [
            (1, &[2][..], Taken::Older),
            (2, &[2], Taken::Same),
            (3, &[3], Taken::Newer),
            (2, &[], Taken::Older),
        ] {
            let did = Rosters::edit(dir.path(), |all| Ok(all.take(&roster(number, revoked))));
            assert_eq!(did.unwrap(), taken, "{number}");
        }
        let all = Rosters::read(dir.path()).unwrap();
        assert_eq!(all.revoked().collect::<Vec<_>>(), [secret(3).id()]);
        assert_eq!(all.revoked_by(&secret(3).id()), Some("Relief"));
        assert_eq!(all.revoked_by(&secret(2).id()), None);
        let nobodys = Rosters::default().take(&roster(9, &[]));
        assert_eq!(nobodys, Taken::NotFollowed);
    }

    #[test]
    fn who_has_ended_stands_for_nothing_and_is_not_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let all = following(dir.path());
        for (today, stands) in [(0, 1), (110, 1), (111, 0)] {
            assert_eq!(all.standing_of(&secret(2).id(), Day(today)).count(), stands, "{today}");
        }
        assert_eq!(all.revoked().count(), 0);
    }

    #[test]
    fn a_damaged_file_is_taken_from_the_version_before_and_said() {
        let dir = tempfile::tempdir().unwrap();
        following(dir.path());
        Rosters::edit(dir.path(), |all| Ok(all.take(&roster(3, &[3])))).unwrap();
        let path = place(dir.path(), &secret(1).id());
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(5) {
            let mut spoiled = good.clone();
            spoiled[at] ^= 4;
            fs::write(&path, &spoiled).unwrap();
            let all = Rosters::read(dir.path()).unwrap();
            assert_eq!((all.damaged(), all.iter().count()), (1, 1), "byte {at}");
            assert_eq!(all.iter().next().unwrap().roster, Some(roster(2, &[])), "byte {at}");
        }
    }

    #[test]
    fn what_is_left_is_gone_and_names_do_not_collide() {
        let dir = tempfile::tempdir().unwrap();
        following(dir.path());
        let other = secret(7).id();
        Rosters::edit(dir.path(), |all| all.follow(other, "RELIEF")).unwrap();
        let all = Rosters::read(dir.path()).unwrap();
        assert_eq!(all.of(&other).unwrap().name, "RELIEF 2");
        Rosters::edit(dir.path(), |all| {
            all.leave(&secret(1).id());
            Ok(())
        })
        .unwrap();
        let all = Rosters::read(dir.path()).unwrap();
        assert_eq!(all.iter().map(|followed| followed.key).collect::<Vec<_>>(), [other]);
        assert!(!place(dir.path(), &secret(1).id()).with_extension(BEFORE).exists());
    }
}
