//! Whom I know: petnames for cards.
//!
//! One line per contact, each with its own checksum, in a file that is replaced as a whole; the
//! version before stays as `contacts.before`. A damaged line costs that line, and is taken from the
//! version before when it stands there.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use postrider_base::{
    Card, NodeId, Roster,
    roster::{Day, Entry},
};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{files::replace, rosters::Rosters};

/// How sure I am that a key is who the petname says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// I was given a card.
    Unverified,
    /// A contact introduced them.
    Introduced,
    /// The words were compared by voice or in person.
    Verified,
    /// A card with another key came under this name.
    Changed,
}

/// A person or machine whose card I keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// What I call them.
    pub name: String,
    /// How sure I am.
    pub trust: Trust,
    /// Whether I refuse what they send.
    #[serde(default)]
    pub blocked: bool,
    /// Whether mail to them is hidden, where I decided; else their card does.
    #[serde(default)]
    pub hidden: Option<bool>,
    /// How often a month I expect to meet them, if I said so.
    #[serde(default)]
    pub meets: Option<u16>,
    /// Under which labels I run something on several at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Whether they have shown that they know me: then mail need not bring my card again.
    #[serde(default)]
    pub answered: bool,
    /// Who introduced them.
    #[serde(default)]
    pub by: Option<By>,
    /// Introduced, and not accepted by me yet.
    #[serde(default)]
    pub pending: bool,
    /// Their card.
    #[serde(with = "card_text")]
    pub card: Card,
}

/// Who introduced a contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Another contact, by its id.
    Contact(String),
    /// A roster that is followed, by its key.
    Roster(String),
}

/// All contacts.
#[derive(Clone, Debug, Default)]
pub struct Contacts {
    path: PathBuf,
    list: Vec<Contact>,
    damaged: usize,
    repaired: usize,
    /// The rosters that were followed when the contacts were read; none for those who edit them.
    rosters: Arc<Rosters>,
}

/// Introductions that wait to be accepted: some for every day of a month, and a file that is read
/// in no time.
pub const PENDING_MAX: usize = 256;
/// Of those, what one contact may bring: eight who introduce at random leave room for others.
pub const PENDING_OF_ONE: usize = 32;

/// What an introduction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Introduced {
    /// A new contact, which waits to be accepted.
    New,
    /// A newer card of a known contact; nothing else of it changed.
    Updated,
    /// Nothing.
    Nothing,
}

/// Why contacts cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContactsError {
    /// The file cannot be read or written.
    #[error("could not use the contacts file {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The name stands for somebody else already.
    #[error("the name {0} already stands for another key")]
    NameTaken(String),
    /// The name cannot be one.
    #[error(
        "{0:?} cannot be a name: use 1 to 64 bytes, no control characters, no leading or trailing blanks, and not an id"
    )]
    BadName(String),
    /// Nobody of that name.
    #[error("no contact is called {0}")]
    Unknown(String),
    /// The rosters beside them cannot be read.
    #[error("could not use the rosters")]
    Rosters(#[source] Box<super::RostersError>),
    /// Several names begin like that.
    #[error("{0} could be any of {1}")]
    Ambiguous(String, String),
}

impl From<super::RostersError> for ContactsError {
    fn from(error: super::RostersError) -> Self {
        Self::Rosters(Box::new(error))
    }
}

/// What adding a card did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// A new contact.
    New,
    /// A newer card of a known contact.
    Updated,
    /// Nothing: the card was known, or older than the one I have.
    Known,
}

impl Contacts {
    /// Reads the contacts; a missing file means none.
    pub fn read(path: &Path) -> Result<Self, ContactsError> {
        let read = |path: &Path| match fs::read(path) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(ContactsError::Io { path: path.to_owned(), source }),
        };
        let (mut list, damaged) = parse(&read(path)?);
        let mut repaired = 0;
        if damaged > 0 {
            let (before, _) = parse(&read(&before(path)).unwrap_or_default());
            for contact in before {
                if repaired < damaged && !list.iter().any(|c| c.card.node == contact.card.node) {
                    list.push(contact);
                    repaired += 1;
                }
            }
        }
        Ok(Self { path: path.to_owned(), list, damaged, repaired, rosters: Arc::default() })
    }

    /// Reads the contacts, lets `change` change them, and writes them, while no other process does
    /// the same: a long toss must not write back what it read before somebody added a contact.
    pub fn edit<T>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, ContactsError>,
    ) -> Result<T, ContactsError> {
        let failed = |source| ContactsError::Io { path: path.to_owned(), source };
        let lock = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.with_extension("lock"))
            .map_err(failed)?;
        // Freed when the file is closed, however this ends.
        flock(&lock, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
        let mut contacts = Self::read(path)?;
        let before = (contacts.list.clone(), contacts.damaged);
        let made = change(&mut contacts)?;
        if (&contacts.list, 0) != (&before.0, before.1) {
            contacts.save()?;
        }
        Ok(made)
    }

    /// My card has changed: from now on nobody has shown to have it.
    pub fn await_answers(&mut self) {
        self.list.iter_mut().for_each(|contact| contact.answered = false);
    }

    /// How many lines were damaged, and how many of those the version before still had.
    pub fn damage(&self) -> (usize, usize) {
        (self.damaged, self.repaired)
    }

    /// Everybody, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Contact> {
        self.list.iter()
    }

    /// The contact with this key.
    pub fn of(&self, node: &NodeId) -> Option<&Contact> {
        self.list.iter().find(|contact| contact.card.node == *node)
    }

    /// These contacts beside the rosters that are followed.
    pub(super) fn beside(self, rosters: Arc<Rosters>) -> Self {
        Self { rosters, ..self }
    }

    /// The rosters that are followed.
    pub fn rosters(&self) -> &Rosters {
        &self.rosters
    }

    /// Whether nothing is taken from a node or carried for it: I refuse it, or its key is revoked.
    pub fn is_blocked(&self, node: &NodeId) -> bool {
        self.of(node).is_some_and(|contact| contact.blocked)
            || self.rosters.revoked_by(node).is_some()
    }

    /// Whether a node is a contact from whom something is taken.
    pub fn is_known(&self, node: &NodeId) -> bool {
        self.of(node).is_some() && !self.is_blocked(node)
    }

    /// Whether a node is a contact that I chose myself, and from whom something is taken.
    pub fn is_chosen(&self, node: &NodeId) -> bool {
        self.of(node).is_some_and(|contact| !contact.pending) && !self.is_blocked(node)
    }

    /// Whether others vouch for a node that I have not chosen: a contact introduced it, or it stands in
    /// a roster and its last day is not over.
    pub fn is_friend(&self, node: &NodeId, today: Day) -> bool {
        let waits =
            |contact: &Contact| contact.pending && matches!(contact.by, Some(By::Contact(_)));
        let vouched = self.of(node).is_some_and(waits)
            || self.rosters.standing_of(node, today).next().is_some();
        vouched && !self.is_blocked(node) && !self.is_chosen(node)
    }

    /// Those to whom links are made without being asked: whom I chose, and whom a roster brought.
    pub fn linked(&self) -> impl Iterator<Item = &Contact> {
        self.list.iter().filter(|contact| {
            let invited = !contact.pending || matches!(contact.by, Some(By::Roster(_)));
            let shut = contact.blocked || self.rosters.revoked_by(&contact.card.node).is_some();
            invited && !shut
        })
    }

    /// Every key from which nothing is taken.
    pub fn blocked(&self) -> impl Iterator<Item = NodeId> {
        let refused = self.list.iter().filter(|contact| contact.blocked);
        refused.map(|contact| contact.card.node).chain(self.rosters.revoked())
    }

    /// Who is meant: a petname (any case), or an id.
    pub fn resolve(&self, who: &str) -> Result<&Contact, ContactsError> {
        let unknown = || ContactsError::Unknown(who.to_owned());
        if let Ok(node) = who.parse() {
            return self.of(&node).ok_or_else(unknown);
        }
        if let Some(exact) = self.list.iter().find(|c| c.name == who) {
            return Ok(exact);
        }
        let alike: Vec<&Contact> =
            self.list.iter().filter(|c| c.name.to_lowercase() == who.to_lowercase()).collect();
        match alike[..] {
            [contact] => Ok(contact),
            [] => Err(unknown()),
            _ => {
                let names: Vec<&str> = alike.iter().map(|c| &*c.name).collect();
                Err(ContactsError::Ambiguous(who.to_owned(), names.join(", ")))
            }
        }
    }

    /// Takes a card under a name (the suggested one by default). A key under a known name never
    /// changes silently, and an older card never replaces a newer.
    pub fn add(
        &mut self,
        card: Card,
        name: Option<&str>,
        trust: Trust,
    ) -> Result<(Added, &Contact), ContactsError> {
        if let Some(at) = self.list.iter().position(|c| c.card.node == card.node) {
            let newer = card.number > self.list[at].card.number;
            if newer {
                self.list[at].card = card;
            }
            if std::mem::take(&mut self.list[at].pending) {
                // Whoever adds the card of somebody introduced has accepted them.
                let node = self.list[at].card.node;
                name.map_or(Ok(()), |name| self.rename(&node, name))?;
                return Ok((Added::New, &self.list[at]));
            }
            let known = &self.list[at];
            return Ok((if newer { Added::Updated } else { Added::Known }, known));
        }
        let short = || card.node.to_string().chars().take(10).collect::<String>();
        let suggested = if card.name.trim().is_empty() { short() } else { card.name.clone() };
        let name = check_name(name.unwrap_or(suggested.trim()))?;
        if self.is_taken(&name) {
            return Err(ContactsError::NameTaken(name));
        }
        self.list.push(Contact {
            name,
            trust,
            blocked: false,
            hidden: None,
            meets: None,
            labels: Vec::new(),
            answered: false,
            by: None,
            pending: false,
            card,
        });
        Ok((Added::New, &self.list[self.list.len() - 1]))
    }

    /// Takes a card that somebody vouches for. Whom I know keeps name, key and trust; whom I block
    /// keeps everything. Beyond the bounds the oldest introduction of the same contact gives way, and
    /// never one of another.
    pub fn introduce(&mut self, card: Card, by: &NodeId) -> Introduced {
        if let Some(known) = self.list.iter_mut().find(|c| c.card.node == card.node) {
            if known.blocked || card.number <= known.card.number {
                return Introduced::Nothing;
            }
            known.card = card;
            return Introduced::Updated;
        }
        let by = By::Contact(by.to_string());
        let waits = |c: &&Contact| c.pending && !c.blocked && matches!(c.by, Some(By::Contact(_)));
        let theirs = |c: &Contact| waits(&c) && c.by.as_ref() == Some(&by);
        let all = self.list.iter().filter(waits).count();
        let of_one = self.list.iter().filter(|c| theirs(c)).count();
        if all >= PENDING_MAX || of_one >= PENDING_OF_ONE {
            let Some(oldest) = self.list.iter().position(theirs) else {
                return Introduced::Nothing;
            };
            self.list.remove(oldest);
        }
        let name = self.free_name(&card.name, &card.node);
        self.vouched(card, name, by);
        Introduced::New
    }

    /// Makes those on a roster contacts, and takes away those who are no longer on it, unless I have
    /// accepted them. Whom I know keeps name, key and trust.
    pub fn take_roster(&mut self, roster: &Roster, me: &NodeId) {
        let by = By::Roster(roster.key.to_string());
        // One who is revoked stays, so that it can be seen that they are.
        let on_it = |contact: &Contact| roster.entry(&contact.card.node).is_some();
        let only_by_it = |c: &Contact| c.pending && !c.blocked && c.by.as_ref() == Some(&by);
        self.list.retain(|contact| !only_by_it(contact) || on_it(contact));
        let known: HashMap<NodeId, usize> =
            self.list.iter().enumerate().map(|(at, contact)| (contact.card.node, at)).collect();
        let others = |entry: &&Entry| !entry.revoked && entry.node() != *me;
        for entry in roster.entries.iter().filter(others) {
            let Some(card) = entry.card() else { continue };
            match known.get(&card.node).map(|at| &mut self.list[*at]) {
                Some(contact) if contact.blocked || card.number <= contact.card.number => {}
                Some(contact) => contact.card = card.clone(),
                None => {
                    let name = self.free_name(&entry.name, &card.node);
                    self.vouched(card.clone(), name, by.clone());
                }
            }
        }
    }

    /// A roster is followed no more: those whom only it brought are forgotten.
    pub fn leave_roster(&mut self, key: &NodeId) {
        let by = Some(By::Roster(key.to_string()));
        self.list.retain(|contact| !contact.pending || contact.blocked || contact.by != by);
    }

    fn vouched(&mut self, card: Card, name: String, by: By) {
        self.list.push(Contact {
            name,
            trust: Trust::Introduced,
            blocked: false,
            hidden: None,
            meets: None,
            labels: Vec::new(),
            answered: false,
            by: Some(by),
            pending: true,
            card,
        });
    }

    /// A name for a card that came by itself: the suggested one, or that with a number behind it.
    pub fn free_name(&self, suggested: &str, node: &NodeId) -> String {
        let short: String = node.to_string().chars().take(10).collect();
        let base = check_name(suggested.trim()).unwrap_or(short);
        let cut: String = base.chars().take(16).collect();
        std::iter::once(base)
            .chain((2..).map(|n| format!("{cut} {n}")))
            .find(|name| !self.is_taken(name))
            .unwrap_or_default()
    }

    /// Changes one contact.
    pub fn change(&mut self, node: &NodeId, change: impl FnOnce(&mut Contact)) -> Option<&Contact> {
        let contact = self.list.iter_mut().find(|contact| contact.card.node == *node)?;
        change(contact);
        Some(contact)
    }

    /// Gives a contact another name.
    pub fn rename(&mut self, node: &NodeId, name: &str) -> Result<(), ContactsError> {
        let name = check_name(name)?;
        if self.list.iter().any(|c| c.card.node != *node && same_name(&c.name, &name)) {
            return Err(ContactsError::NameTaken(name));
        }
        self.change(node, |contact| contact.name = name);
        Ok(())
    }

    /// Forgets a contact.
    pub fn remove(&mut self, node: &NodeId) {
        self.list.retain(|contact| contact.card.node != *node);
    }

    /// Writes the contacts durably; the version before is kept beside them.
    fn save(&self) -> Result<(), ContactsError> {
        let failed = |source| ContactsError::Io { path: self.path.clone(), source };
        let mut text = String::new();
        for contact in &self.list {
            let json = serde_json::to_string(contact).map_err(io::Error::other).map_err(failed)?;
            text.push_str(&format!("{} {json}\n", checksum(&json)));
        }
        if let Ok(current) = fs::read(&self.path) {
            replace(&before(&self.path), &current, 0o600).map_err(failed)?;
        }
        replace(&self.path, text.as_bytes(), 0o600).map_err(failed)
    }

    fn is_taken(&self, name: &str) -> bool {
        self.list.iter().any(|contact| same_name(&contact.name, name))
    }
}

/// Two names that a person would confuse.
fn same_name(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

fn check_name(name: &str) -> Result<String, ContactsError> {
    let good = (1..=64).contains(&name.len())
        && name.trim() == name
        && !name.chars().any(char::is_control)
        && name.parse::<NodeId>().is_err();
    if good { Ok(name.to_owned()) } else { Err(ContactsError::BadName(name.to_owned())) }
}

fn before(path: &Path) -> PathBuf {
    path.with_extension("before")
}

/// The contacts of a file, and how many of its lines are damaged.
fn parse(file: &[u8]) -> (Vec<Contact>, usize) {
    let (mut list, mut damaged): (Vec<Contact>, usize) = (Vec::new(), 0);
    for line in file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match parse_line(line) {
            Some(contact) => list.push(contact),
            // A damaged line end makes one line of two.
            None => damaged += line.windows(8).filter(|w| w == b"\"name\":\"").count().max(1),
        }
    }
    (list, damaged)
}

fn parse_line(line: &[u8]) -> Option<Contact> {
    let (sum, json) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    if sum != checksum(json) {
        return None;
    }
    serde_json::from_str(json).ok()
}

fn checksum(json: &str) -> String {
    blake3::hash(json.as_bytes()).to_hex()[..16].to_owned()
}

mod card_text {
    use postrider_base::Card;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(card: &Card, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(card)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Card, D::Error> {
        // The line's checksum held: it is what we wrote, of a card that was checked when it came.
        Card::decode_kept(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::{NodeSecret, card::Facts};

    use super::*;

    fn card(n: u8, name: &str, number: u64) -> Card {
        let secret = NodeSecret::from_seed([n; 32]);
        let facts = Facts {
            node: secret.id(),
            number,
            seal_keys: vec![(1, secret.first_seal_key().public())],
            name: name.into(),
            hints: vec![],
            features: 0,
        };
        Card::sign(facts, &secret).unwrap()
    }

    fn contacts(dir: &Path) -> Contacts {
        let mut contacts = Contacts::read(&dir.join("contacts")).unwrap();
        for (n, name) in [(1, "Alice"), (2, "Bob"), (3, "Carol")] {
            contacts.add(card(n, name, 5), None, Trust::Unverified).unwrap();
        }
        contacts.save().unwrap();
        contacts
    }

    #[test]
    fn names_resolve_in_any_case_and_only_to_contacts() {
        let dir = tempfile::tempdir().unwrap();
        let contacts = contacts(dir.path());
        assert_eq!(contacts.resolve("bob").unwrap().name, "Bob");
        let id = card(2, "x", 1).node.to_string();
        assert_eq!(contacts.resolve(&id).unwrap().name, "Bob");
        assert!(matches!(contacts.resolve("Bo"), Err(ContactsError::Unknown(_))));
    }

    #[test]
    fn edits_at_the_same_time_keep_each_others_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("contacts");
        std::thread::scope(|scope| {
            for n in 1..=8 {
                let path = &path;
                scope.spawn(move || {
                    let card = card(n, &format!("N{n}"), 1);
                    Contacts::edit(path, |all| all.add(card, None, Trust::Unverified).map(drop))
                });
            }
        });
        assert_eq!(Contacts::read(&path).unwrap().iter().count(), 8);
    }

    #[test]
    fn a_name_never_changes_its_key_and_an_old_card_never_returns() {
        let dir = tempfile::tempdir().unwrap();
        let mut contacts = contacts(dir.path());
        let mallory = card(6, "ALICE", 9);
        assert!(matches!(
            contacts.add(mallory.clone(), None, Trust::Unverified),
            Err(ContactsError::NameTaken(_))
        ));
        assert_eq!(contacts.free_name(&mallory.name, &mallory.node), "ALICE 2");
        for (number, what) in [(4, Added::Known), (5, Added::Known), (6, Added::Updated)] {
            let (added, contact) =
                contacts.add(card(1, "Alice", number), None, Trust::Unverified).unwrap();
            assert_eq!((added, contact.name.as_str()), (what, "Alice"), "{number}");
        }
    }

    fn node(n: u8) -> NodeId {
        NodeSecret::from_seed([n; 32]).id()
    }

    #[test]
    fn an_introduction_adds_somebody_who_waits_and_changes_nobody_who_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let mut contacts = contacts(dir.path());
        contacts.change(&node(1), |contact| contact.trust = Trust::Verified);
        contacts.change(&node(3), |contact| contact.blocked = true);
        let by = node(2);
        for (what, card, did) in [
            ("somebody new", card(6, "Dora", 1), Introduced::New),
            ("the same again", card(6, "Dora", 1), Introduced::Nothing),
            ("a newer card of theirs", card(6, "Eve", 2), Introduced::Updated),
            ("a known name", card(7, "ALICE", 9), Introduced::New),
            ("a known key under another name", card(1, "Boss", 5), Introduced::Nothing),
            ("an older card", card(1, "Alice", 4), Introduced::Nothing),
            ("a newer card", card(1, "Boss", 6), Introduced::Updated),
            ("a blocked key", card(3, "Carol", 6), Introduced::Nothing),
        ] {
            assert_eq!(contacts.introduce(card, &by), did, "{what}");
        }
        let shown: Vec<_> = contacts
            .iter()
            .map(|c| (&*c.name, c.trust, c.blocked, c.pending, c.card.number))
            .collect();
        use Trust::{Introduced as I, Unverified as U, Verified as V};
        assert_eq!(
            shown,
            [
                ("Alice", V, false, false, 6),
                ("Bob", U, false, false, 5),
                ("Carol", U, true, false, 5),
                ("Dora", I, false, true, 2),
                ("ALICE 2", I, false, true, 9),
            ]
        );
        assert!(!contacts.is_chosen(&node(6)) && contacts.is_known(&node(6)));
        // Whoever adds the card has accepted them, and may give another name.
        contacts.add(card(6, "Dora", 2), Some("Dora B"), Trust::Unverified).unwrap();
        assert_eq!(contacts.of(&node(6)).unwrap().name, "Dora B");
        assert!(contacts.is_chosen(&node(6)));
    }

    #[test]
    fn of_too_many_introductions_the_oldest_of_the_same_contact_gives_way() {
        let many = |n: u16| {
            let mut seed = [9; 32];
            seed[..2].copy_from_slice(&n.to_be_bytes());
            let secret = NodeSecret::from_seed(seed);
            let seal_keys = vec![(1, secret.first_seal_key().public())];
            let (name, node) = (format!("M{n}"), secret.id());
            let facts = Facts { node, number: 1, seal_keys, name, hints: vec![], features: 0 };
            Card::sign(facts, &secret).unwrap()
        };
        let mut contacts = Contacts::default();
        let waiting = |contacts: &Contacts, by: u8| {
            let by = Some(By::Contact(node(by).to_string()));
            contacts.iter().filter(|contact| contact.by == by).count()
        };
        (0..40).for_each(|n| _ = contacts.introduce(many(n), &node(1)));
        assert_eq!(waiting(&contacts, 1), PENDING_OF_ONE);
        assert!(contacts.resolve("M7").is_err() && contacts.resolve("M8").is_ok());
        // Whom I block or accept gives way to nobody.
        let of = |n| many(n).node;
        contacts.change(&of(8), |contact| contact.blocked = true);
        contacts.change(&of(9), |contact| contact.pending = false);
        (40..80).for_each(|n| _ = contacts.introduce(many(n), &node(1)));
        assert!(contacts.resolve("M8").is_ok() && contacts.resolve("M9").is_ok());
        for by in 2..=9 {
            let from = u16::from(by) * 100;
            (from..from + 40).for_each(|n| _ = contacts.introduce(many(n), &node(by)));
        }
        let pending = contacts.iter().filter(|c| c.pending && !c.blocked).count();
        assert_eq!((pending, waiting(&contacts, 9)), (PENDING_MAX, 0));
        assert_eq!(waiting(&contacts, 8), PENDING_OF_ONE);
    }

    #[test]
    fn a_roster_brings_and_takes_its_own_and_nobody_else() {
        let roster = |number, list: &[(u8, &str, bool)]| {
            let (key, name) = (node(9), "Relief".to_owned());
            let issued = postrider_base::roster::Day(1);
            let mut facts =
                postrider_base::roster::RosterFacts { key, number, issued, name, entries: vec![] };
            for (n, name, revoked) in list {
                facts.put(Entry {
                    who: postrider_base::roster::Member::Card(Box::new(card(*n, name, 7))),
                    name: (*name).into(),
                    role: String::new(),
                    groups: vec![],
                    until: None,
                    revoked: *revoked,
                });
            }
            Roster::sign(&facts, &NodeSecret::from_seed([9; 32])).unwrap()
        };
        let dir = tempfile::tempdir().unwrap();
        let mut contacts = contacts(dir.path());
        let me = node(8);
        let all = [
            (1, "Boss", false),
            (4, "Dora", false),
            (5, "bob", false),
            (6, "Nick", false),
            (7, "Eve", false),
            (8, "Me", false),
        ];
        contacts.take_roster(&roster(1, &all), &me);
        let names = |contacts: &Contacts| {
            contacts.iter().map(|contact| contact.name.clone()).collect::<Vec<_>>()
        };
        let mut wanted = vec!["Alice", "Bob", "Carol", "Dora", "bob 2", "Nick", "Eve"];
        let mut got = names(&contacts);
        got.sort();
        wanted.sort_unstable();
        assert_eq!(got, wanted);
        assert_eq!(contacts.of(&node(1)).unwrap().card.number, 7);
        // Dora was accepted, Nick is revoked, Eve and the second Bob are gone.
        contacts.change(&node(4), |contact| contact.pending = false);
        contacts.take_roster(&roster(2, &[(6, "Nick", true)]), &me);
        let mut got = names(&contacts);
        got.sort();
        assert_eq!(got, ["Alice", "Bob", "Carol", "Dora", "Nick"]);
        contacts.leave_roster(&node(9));
        assert_eq!(names(&contacts).len(), 4);
    }

    #[test]
    fn bad_names_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut contacts = contacts(dir.path());
        let id = card(1, "", 1).node.to_string();
        for name in ["", " x", "a\nb", "\u{1b}[2J", &id, &"x".repeat(65)] {
            let verdict = contacts.add(card(6, "", 1), Some(name), Trust::Unverified);
            assert!(matches!(verdict, Err(ContactsError::BadName(_))), "{name:?}");
        }
    }

    #[test]
    fn a_flipped_bit_costs_nothing_while_the_version_before_has_the_line() {
        let dir = tempfile::tempdir().unwrap();
        contacts(dir.path()).save().unwrap();
        let path = dir.path().join("contacts");
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(7) {
            let mut spoiled = good.clone();
            spoiled[at] ^= 4;
            fs::write(&path, &spoiled).unwrap();
            let contacts = Contacts::read(&path).unwrap();
            assert_eq!(contacts.iter().count(), 3, "byte {at}");
            assert!(contacts.damage().0 >= 1);
        }
    }
}
