//! A node's home directory: who it is, whom it knows, how it is set up, and its spool.
//!
//! ```text
//! config.toml   what a person may edit            contacts    whom I know, one line each
//! key           the secrets (0600)                spool/      the mail
//! card          my contact card, as text      rosters/    whose rosters I follow
//! allow.toml    what others may have run          shares.toml what others may ask for
//! ```

mod acl;
mod air;
mod allow;
mod bluetooth;
mod config;
mod contacts;
mod elsewhere;
mod files;
mod hooks;
mod key_file;
mod links;
mod roster_key;
mod rosters;
mod shares;

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

pub use acl::{Acl, Right};
pub use air::Air;
pub use allow::AllowFileError;
pub use bluetooth::{Bluetooth, Profile};
pub use config::{Config, ConfigError};
pub use contacts::{Added, By, Contact, Contacts, ContactsError, Introduced, Trust};
pub use files::{is_private, replace};
pub use key_file::{KeyFile, KeyFileError};
pub use links::LinkRule;
use postrider_base::{
    Card, NodeId, NodeSecret, Roster,
    card::{CardError, Facts},
};
pub use roster_key::{BYTES_MAX as ROSTER_KEY_MAX, RosterKey, RosterKeyError};
pub use rosters::{FOLLOWED_MAX, Followed, Rosters, RostersError, Taken};
pub use shares::{Share, Shares, SharesError};

/// An opened home: identity, card and settings. Contacts and spool are opened when needed.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    /// Secrets.
    pub key: KeyFile,
    /// My own card.
    pub card: Card,
    /// Settings.
    pub config: Config,
    /// The contacts as they were last read, and of which file.
    known: Mutex<Option<(FileMark, Arc<Contacts>)>>,
}

/// What changes whenever the contacts file or one of the rosters is replaced: their inodes and times.
pub type FileMark = (Option<(u64, u64, i64, i64)>, Vec<(u64, i64, i64)>);

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// There is none.
    #[error("there is no Postrider home in {0}")]
    Missing(PathBuf),
    /// The key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The suggested name cannot stand in a card.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The file system keeps no permissions, so others could read the key.
    #[error("the file system of {0} cannot keep the key private")]
    NotPrivate(PathBuf),
    /// Something about the files.
    #[error("{what} {path}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// Whether a home was there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// Made just now.
    New,
    /// Found; nothing was changed.
    AlreadyThere,
}

impl Home {
    /// Opens a home that exists.
    pub fn open(dir: &Path) -> Result<Self, HomeError> {
        let mut key = match KeyFile::read(&dir.join("key")) {
            Err(KeyFileError::Missing) => return Err(HomeError::Missing(dir.to_owned())),
            key => key?,
        };
        let config = Config::read(&dir.join("config.toml"))?;
        let card = own_card(dir, &mut key, &config)?;
        Ok(Self { dir: dir.to_owned(), key, card, config, known: Mutex::default() })
    }

    /// Makes a home and an identity, or opens the one that is there and changes nothing.
    ///
    /// `seed` is 32 random bytes. `even_if_public` accepts a file system without permissions.
    pub fn create(
        dir: &Path,
        name: Option<&str>,
        seed: [u8; 32],
        even_if_public: bool,
    ) -> Result<(Self, Created), HomeError> {
        if dir.join("key").exists() {
            return Ok((Self::open(dir)?, Created::AlreadyThere));
        }
        let failed = |what, path: PathBuf| move |source| HomeError::Io { what, path, source };
        files::create_private_dir(dir).map_err(failed("could not create", dir.to_owned()))?;
        let private =
            files::is_private(dir).map_err(failed("could not write in", dir.to_owned()))?;
        if !private && !even_if_public {
            return Err(HomeError::NotPrivate(dir.to_owned()));
        }
        let config = Config { name: name.unwrap_or_default().to_owned(), ..Config::default() };
        let key = KeyFile::new(NodeSecret::from_seed(seed));
        let card = make_card(&key, &config)?;
        let write = |file: &str, text: String, mode| {
            let path = dir.join(file);
            files::replace(&path, text.as_bytes(), mode).map_err(failed("could not write", path))
        };
        write("config.toml", config.to_text(), 0o644)?;
        write("card", format!("{card}\n"), 0o644)?;
        // Last: with the key there, the home is there.
        write("key", key.to_text().to_string(), 0o600)?;
        let known = Mutex::default();
        Ok((Self { dir: dir.to_owned(), key, card, config, known }, Created::New))
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the mail is.
    pub fn spool_dir(&self) -> PathBuf {
        self.dir.join("spool")
    }

    /// What changes whenever somebody changed the contacts or a roster.
    pub fn people_mark(&self) -> FileMark {
        let contacts = std::fs::metadata(self.dir.join("contacts"))
            .ok()
            .map(|file| (file.ino(), file.size(), file.mtime(), file.mtime_nsec()));
        (contacts, Rosters::mark(&self.rosters_dir()))
    }

    fn rosters_dir(&self) -> PathBuf {
        self.dir.join("rosters")
    }

    /// The contacts beside the rosters that are followed; read again only when one of their files was
    /// replaced, by whichever process.
    pub fn contacts(&self) -> Result<Arc<Contacts>, ContactsError> {
        let path = self.dir.join("contacts");
        // Before the files are read: at worst they are read once more than needed.
        let mark = self.people_mark();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, contacts)) = &*known
            && *of == mark
        {
            return Ok(Arc::clone(contacts));
        }
        let rosters = Arc::new(Rosters::read(&self.rosters_dir())?);
        let contacts = Arc::new(Contacts::read(&path)?.beside(rosters));
        *known = Some((mark, Arc::clone(&contacts)));
        Ok(contacts)
    }

    /// Changes the contacts; see [`Contacts::edit`].
    pub fn edit_contacts<T>(
        &self,
        change: impl FnOnce(&mut Contacts) -> Result<T, ContactsError>,
    ) -> Result<T, ContactsError> {
        let edited = Contacts::edit(&self.dir.join("contacts"), change);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
        edited
    }

    /// Changes which rosters are followed; see [`Rosters::edit`].
    pub fn edit_rosters<T>(
        &self,
        change: impl FnOnce(&mut Rosters) -> Result<T, RostersError>,
    ) -> Result<T, RostersError> {
        let edited = Rosters::edit(&self.rosters_dir(), change);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
        edited
    }

    /// Takes a roster whose signature held, if its key is followed and it is the newest; durable when
    /// it returns. Its members come first: a cut in between takes them once more.
    pub fn take_roster(&self, roster: &Roster) -> Result<Taken, RostersError> {
        self.edit_rosters(|rosters| {
            let taken = rosters.take(roster);
            if taken == Taken::Newer {
                self.edit_contacts(|contacts| {
                    contacts.take_roster(roster, &self.card.node);
                    Ok(())
                })?;
            }
            Ok(taken)
        })
    }

    /// Follows a roster no more, and forgets whom only it brought.
    pub fn leave_roster(&self, key: &NodeId) -> Result<(), RostersError> {
        self.edit_rosters(|rosters| {
            self.edit_contacts(|contacts| {
                contacts.leave_roster(key);
                Ok(())
            })?;
            rosters.leave(key);
            Ok(())
        })
    }
}

impl Home {
    /// Changes to whom links are kept, in the file of settings; everything else in it stays as it
    /// is. What was read when the home was opened does not change.
    pub fn edit_peers<T>(
        &self,
        change: impl FnOnce(&mut Vec<String>) -> T,
    ) -> Result<T, ConfigError> {
        config::edit_peers(&self.dir.join("config.toml"), change)
    }
}

/// My card: the file, if it says what key and settings say. Where only the settings have changed it
/// is made anew under a higher number, and goes along with mail to all contacts until they answer.
fn own_card(dir: &Path, key: &mut KeyFile, config: &Config) -> Result<Card, HomeError> {
    let path = dir.join("card");
    let stored = std::fs::read_to_string(&path).ok().and_then(|t| Card::decode_kept(&t).ok());
    let current = |card: &Card| {
        card.node == key.node.id()
            && card.number >= key.card_number
            && card.seal_key() == &key.seal_keys[0].1.public()
    };
    let stored = stored.filter(current);
    if let Some(card) = &stored {
        // Settings that say no name leave it as it is.
        let name = if config.name.is_empty() { card.name.clone() } else { config.name.clone() };
        let config = &Config { name, ..config.clone() };
        let wanted = facts(key, config);
        let same = (&card.name, &card.hints, card.features)
            == (&wanted.name, &wanted.hints, wanted.features);
        if same {
            return Ok(card.clone());
        }
        let before = key.card_number;
        key.card_number = card.number.max(before).saturating_add(1);
        // First of all a card that cannot be made: then it is the settings that are wrong.
        make_card(key, config)?;
        if let Err(error) = announce(dir, key) {
            // A home on read-only media still works, with the card that it has.
            tracing::debug!(%error, "the card stays as it was");
            key.card_number = before;
            return Ok(card.clone());
        }
        return Ok(keep_card(&path, make_card(key, config)?));
    }
    Ok(keep_card(&path, make_card(key, config)?))
}

/// On read-only media the card is made anew each time.
fn keep_card(path: &Path, card: Card) -> Card {
    let _ = files::replace(path, format!("{card}\n").as_bytes(), 0o644);
    card
}

/// Makes a new card's number durable. Contacts come first: a cut in between costs some of them a
/// card that they have.
fn announce(dir: &Path, key: &KeyFile) -> Result<(), HomeError> {
    let contacts = dir.join("contacts");
    if contacts.exists() {
        let edited = Contacts::edit(&contacts, |contacts| {
            contacts.await_answers();
            Ok(())
        });
        edited.map_err(|error| HomeError::Io {
            what: "could not write",
            path: contacts,
            source: std::io::Error::other(error),
        })?;
    }
    let path = dir.join("key");
    files::replace(&path, key.to_text().as_bytes(), 0o600).map_err(|source| HomeError::Io {
        what: "could not write",
        path,
        source,
    })
}

fn facts(key: &KeyFile, config: &Config) -> Facts {
    Facts {
        node: key.node.id(),
        number: key.card_number,
        seal_keys: key.seal_keys.iter().map(|(n, secret)| (*n, secret.public())).collect(),
        name: config.name.clone(),
        hints: config.addresses.clone(),
        features: if config.hidden { Facts::HIDDEN } else { 0 },
    }
}

fn make_card(key: &KeyFile, config: &Config) -> Result<Card, CardError> {
    Card::sign(facts(key, config), &key.node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_made_once_and_then_only_opened() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("alice");
        assert!(matches!(Home::open(&home), Err(HomeError::Missing(_))));
        let (made, how) = Home::create(&home, Some("Alice"), [1; 32], false).unwrap();
        assert_eq!(how, Created::New);
        let (found, how) = Home::create(&home, Some("Bob"), [2; 32], false).unwrap();
        assert_eq!(how, Created::AlreadyThere);
        assert_eq!(made.card, found.card);
        assert_eq!(found.card.name, "Alice");
        assert_eq!(Home::open(&home).unwrap().card, made.card);
    }

    #[test]
    fn a_lost_or_damaged_card_file_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let (home, _) = Home::create(dir.path(), Some("Alice"), [1; 32], false).unwrap();
        for damage in [&b"prcard1qqqqqqqq"[..], b"", b"\xff\xff"] {
            std::fs::write(dir.path().join("card"), damage).unwrap();
            assert_eq!(Home::open(dir.path()).unwrap().card, home.card);
        }
    }

    #[test]
    fn what_the_settings_say_of_me_stands_on_a_newer_card() {
        let dir = tempfile::tempdir().unwrap();
        let (home, _) = Home::create(dir.path(), Some("Alice"), [1; 32], false).unwrap();
        let (bob, _) = Home::create(&dir.path().join("bob"), Some("Bob"), [2; 32], false).unwrap();
        home.edit_contacts(|all| {
            all.add(bob.card.clone(), None, Trust::Unverified)?;
            all.change(&bob.card.node, |contact| contact.answered = true);
            Ok(())
        })
        .unwrap();
        let path = dir.path().join("config.toml");
        let settings = "name = 'Alice B'\nhidden = true\naddresses = ['tls://a.example']\n";
        std::fs::write(&path, settings).unwrap();
        let changed = Home::open(dir.path()).unwrap();
        assert_eq!((changed.card.number, &*changed.card.name), (2, "Alice B"));
        assert_eq!(changed.card.hints, ["tls://a.example"]);
        assert_eq!(changed.card.features, Facts::HIDDEN);
        assert!(!changed.contacts().unwrap().of(&bob.card.node).unwrap().answered);
        assert_eq!(Home::open(dir.path()).unwrap().card, changed.card, "once");
        std::fs::write(&path, "hidden = true\naddresses = ['tls://a.example']\n").unwrap();
        assert_eq!(Home::open(dir.path()).unwrap().card, changed.card, "no name says nothing");
        std::fs::write(&path, settings).unwrap();
        // The number does not depend on the card's file.
        std::fs::remove_file(dir.path().join("card")).unwrap();
        assert_eq!(Home::open(dir.path()).unwrap().card, changed.card);
        // What fits on no card changes nothing.
        std::fs::write(&path, format!("name = '{}'", "x".repeat(65))).unwrap();
        assert!(matches!(Home::open(dir.path()), Err(HomeError::Card(_))));
        std::fs::write(&path, settings).unwrap();
        assert_eq!(Home::open(dir.path()).unwrap().card, changed.card);
    }
}
