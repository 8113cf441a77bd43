//! Rosters: the list of an organisation, signed whole: who belongs to it, as what, until when, and
//! whose key counts no more.
//!
//! Anybody may carry and read one; only its key makes the next. Nothing here reads a clock: whoever
//! asks what an entry still stands for says which day it is, if that is known.

use serde_bytes::ByteBuf;

use crate::{
    card::{CARD_MAX, Card, CardError},
    domain,
    id::{NodeId, NodeIdError},
    key::NodeSecret,
    wire::{self, WireError},
};

/// Entries of a roster: an organisation, not a country; 4,096 bare ones fit [`ROSTER_MAX`].
pub const ENTRIES_MAX: usize = 4096;
/// Bytes of a roster: it travels to every member, also on slow links.
pub const ROSTER_MAX: usize = 256 * 1024;
/// Bytes of a roster's or member's name, as on a card.
pub const NAME_MAX: usize = 64;
/// Bytes of a role or a group.
pub const WORD_MAX: usize = 32;
/// Groups of one entry.
pub const GROUPS_MAX: usize = 8;
const VERSION: u8 = 1;
const REVOKED: u8 = 1;

/// A roster whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    facts: RosterFacts,
    bytes: Vec<u8>,
}

/// What a roster says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterFacts {
    /// Whose roster it is: the key that signs it.
    pub key: NodeId,
    /// Counts up with every change; only a higher one replaces another.
    pub number: u64,
    /// The day on which it was signed. A clock that stands before it is wrong.
    pub issued: Day,
    /// What it calls itself.
    pub name: String,
    /// Who is on it, ascending by key, each once.
    pub entries: Vec<Entry>,
}

/// One member, guest or former member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose entry it is.
    pub who: Member,
    /// What to call them.
    pub name: String,
    /// What they are, as `guest`; may be empty.
    pub role: String,
    /// To which groups they belong.
    pub groups: Vec<String>,
    /// The last day on which role and groups count; for ever without one.
    pub until: Option<Day>,
    /// Whether the key counts no more at all.
    pub revoked: bool,
}

/// Whom an entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// A key alone: enough to let somebody in or to shut them out.
    Key(NodeId),
    /// A key with its card: enough to write to them.
    Card(Box<Card>),
}

/// A day by the calendar, UTC: days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

/// What an entry stands for on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Role and groups count.
    Good,
    /// Its last day is over: role and groups count no more.
    Ended,
    /// The key counts no more at all.
    Revoked,
}

/// Why something is not a roster.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RosterError {
    /// Longer than [`ROSTER_MAX`].
    #[error("a roster of {0} bytes is too long")]
    TooLong(usize),
    /// Not canonical CBOR of the right shape.
    #[error("the roster is damaged: {0}")]
    Wire(#[from] WireError),
    /// A roster of another version.
    #[error("a roster of version {0}, which this program does not know")]
    Version(u8),
    /// A key in it is not usable.
    #[error("a key in the roster: {0}")]
    Node(#[from] NodeIdError),
    /// A card in it does not hold.
    #[error("a card in the roster: {0}")]
    Card(#[from] CardError),
    /// A field has a value that it cannot have.
    #[error("the roster's {0} has an impossible value")]
    Field(&'static str),
    /// The signature does not hold.
    #[error("the roster is damaged or forged: its signature does not hold")]
    Signature,
}

type EntryWire = (ByteBuf, String, String, Vec<String>, Option<u32>, u8);
type ReadCard = fn(&[u8]) -> Result<Card, CardError>;
type BodyWire = (u8, ByteBuf, u64, u32, String, Vec<EntryWire>);

impl Roster {
    /// Signs a roster.
    pub fn sign(facts: &RosterFacts, secret: &NodeSecret) -> Result<Self, RosterError> {
        facts.check()?;
        let body = facts.encode();
        let signature = secret.sign(&domain::ROSTER, &digest(&body));
        // Signed with another key, or too long: decoding says so.
        Self::decode(&wire::encode(&(ByteBuf::from(body), ByteBuf::from(signature))))
    }

    /// Reads a roster; its signature is checked before anything in its entries is.
    pub fn decode(bytes: &[u8]) -> Result<Self, RosterError> {
        if bytes.len() > ROSTER_MAX {
            return Err(RosterError::TooLong(bytes.len()));
        }
        let (body, signature): (ByteBuf, ByteBuf) = wire::decode(bytes)?;
        let (wire, key) = RosterFacts::parse(&body)?;
        if !key.is_torsion_free() {
            return Err(NodeIdError::Point.into());
        }
        let signature = signature.as_slice().try_into().map_err(|_| RosterError::Signature)?;
        if !key.verify(&domain::ROSTER, &digest(&body), signature) {
            return Err(RosterError::Signature);
        }
        Ok(Self { facts: RosterFacts::from_wire(wire, key, Card::decode)?, bytes: bytes.to_vec() })
    }

    /// Reads a roster that was checked when it came and has been kept since under a checksum of our
    /// own: signatures, which take most of the time, are not checked again.
    pub fn decode_kept(bytes: &[u8]) -> Result<Self, RosterError> {
        let (body, _): (ByteBuf, ByteBuf) = wire::decode(bytes)?;
        let (wire, key) = RosterFacts::parse(&body)?;
        let facts = RosterFacts::from_wire(wire, key, Card::decode_kept_bytes)?;
        Ok(Self { facts, bytes: bytes.to_vec() })
    }

    /// The roster's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The group that its bundles are addressed to.
    pub fn group(&self) -> [u8; 16] {
        group_of(&self.facts.key)
    }
}

impl std::ops::Deref for Roster {
    type Target = RosterFacts;

    fn deref(&self) -> &RosterFacts {
        &self.facts
    }
}

/// The group to which the rosters of a key are addressed.
pub fn group_of(key: &NodeId) -> [u8; 16] {
    domain::prefix(&domain::derive(domain::ROSTER_GROUP, &[key.as_bytes()]))
}

impl RosterFacts {
    /// The body that is signed.
    pub fn encode(&self) -> Vec<u8> {
        let entries: Vec<EntryWire> = self.entries.iter().map(Entry::to_wire).collect();
        let key = ByteBuf::from(*self.key.as_bytes());
        wire::encode(&(VERSION, key, self.number, self.issued.0, &self.name, entries))
    }

    /// Reads a body that nobody has signed yet.
    pub fn decode(body: &[u8]) -> Result<Self, RosterError> {
        if body.len() > ROSTER_MAX {
            return Err(RosterError::TooLong(body.len()));
        }
        let (wire, key) = Self::parse(body)?;
        Self::from_wire(wire, key, Card::decode)
    }

    /// The entry of a key.
    pub fn entry(&self, node: &NodeId) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| entry.node().cmp(node)).ok()?;
        self.entries.get(at)
    }

    /// Puts an entry in its place, instead of the one of its key if there is one.
    pub fn put(&mut self, entry: Entry) {
        match self.entries.binary_search_by(|other| other.node().cmp(&entry.node())) {
            Ok(at) => self.entries[at] = entry,
            Err(at) => self.entries.insert(at, entry),
        }
    }

    /// What an entry stands for. A day before the roster was signed is a clock that is wrong, and
    /// takes nothing from anybody.
    pub fn standing(&self, entry: &Entry, today: Day) -> Standing {
        if entry.revoked {
            return Standing::Revoked;
        }
        let over = entry.until.is_some_and(|until| today > until);
        if over && today >= self.issued { Standing::Ended } else { Standing::Good }
    }

    fn parse(body: &[u8]) -> Result<(BodyWire, NodeId), RosterError> {
        let wire: BodyWire = wire::decode(body)?;
        if wire.0 != VERSION {
            return Err(RosterError::Version(wire.0));
        }
        if wire.5.len() > ENTRIES_MAX {
            return Err(RosterError::Field("list of entries"));
        }
        let key = NodeId::from_bytes(&wire.1)?;
        Ok((wire, key))
    }

    fn from_wire(wire: BodyWire, key: NodeId, card: ReadCard) -> Result<Self, RosterError> {
        let (_, _, number, issued, name, entries) = wire;
        let entries = entries
            .into_iter()
            .map(|entry| Entry::from_wire(entry, card))
            .collect::<Result<_, _>>()?;
        let facts = Self { key, number, issued: Day(issued), name, entries };
        facts.check()?;
        Ok(facts)
    }

    fn check(&self) -> Result<(), RosterError> {
        if self.number == 0 {
            return Err(RosterError::Field("number"));
        }
        if !is_name(&self.name) {
            return Err(RosterError::Field("name"));
        }
        let rising = self.entries.windows(2).all(|pair| pair[0].node() < pair[1].node());
        if self.entries.len() > ENTRIES_MAX || !rising {
            return Err(RosterError::Field("list of entries"));
        }
        self.entries.iter().try_for_each(Entry::check)
    }
}

impl Entry {
    /// Whose entry it is.
    pub fn node(&self) -> NodeId {
        match &self.who {
            Member::Key(node) => *node,
            Member::Card(card) => card.node,
        }
    }

    /// Their card, where it is there.
    pub fn card(&self) -> Option<&Card> {
        match &self.who {
            Member::Key(_) => None,
            Member::Card(card) => Some(card),
        }
    }

    fn to_wire(&self) -> EntryWire {
        let who = match &self.who {
            Member::Key(node) => ByteBuf::from(*node.as_bytes()),
            Member::Card(card) => ByteBuf::from(card.as_bytes()),
        };
        let flags = if self.revoked { REVOKED } else { 0 };
        let until = self.until.map(|day| day.0);
        (who, self.name.clone(), self.role.clone(), self.groups.clone(), until, flags)
    }

    fn from_wire(wire: EntryWire, card: ReadCard) -> Result<Self, RosterError> {
        let (who, name, role, groups, until, flags) = wire;
        if flags & !REVOKED != 0 {
            return Err(RosterError::Field("flags"));
        }
        let who = match who.len() {
            0..=32 => Member::Key(NodeId::from_bytes(&who)?),
            33..=CARD_MAX => Member::Card(Box::new(card(&who)?)),
            _ => return Err(RosterError::Field("card")),
        };
        let until = until.map(Day);
        Ok(Self { who, name, role, groups, until, revoked: flags & REVOKED != 0 })
    }

    fn check(&self) -> Result<(), RosterError> {
        if !is_name(&self.name) {
            return Err(RosterError::Field("member's name"));
        }
        if !self.role.is_empty() && !is_word(&self.role) {
            return Err(RosterError::Field("role"));
        }
        if self.groups.len() > GROUPS_MAX || !self.groups.iter().all(|group| is_word(group)) {
            return Err(RosterError::Field("list of groups"));
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name.trim() == name
        && !name.chars().any(char::is_control)
}

/// Whether this can be a role or a group: lower-case letters, digits, `-` and `_`, so that it stands
/// in settings without quoting and looks like no other.
pub fn is_word(word: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_".contains(&c);
    (1..=WORD_MAX).contains(&word.len()) && word.bytes().all(fits)
}

fn digest(body: &[u8]) -> [u8; 32] {
    domain::derive(domain::ROSTER_DIGEST, &[body])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Facts;

    fn secret(n: u8) -> NodeSecret {
        NodeSecret::from_seed([n; 32])
    }

    fn card(n: u8) -> Card {
        let secret = secret(n);
        let seal_keys = vec![(1, secret.first_seal_key().public())];
        let (name, hints) = (format!("N{n}"), vec![]);
        let facts = Facts { node: secret.id(), number: 1, seal_keys, name, hints, features: 0 };
        Card::sign(facts, &secret).unwrap()
    }

    fn entry(who: Member) -> Entry {
        let groups = vec!["field".to_owned()];
        Entry { who, name: "Bob".into(), role: String::new(), groups, until: None, revoked: false }
    }

    fn facts() -> RosterFacts {
        let mut facts = RosterFacts {
            key: secret(1).id(),
            number: 3,
            issued: Day(20_700),
            name: "Relief".into(),
            entries: vec![],
        };
        facts.put(entry(Member::Card(Box::new(card(2)))));
        facts.put(Entry { revoked: true, ..entry(Member::Key(secret(3).id())) });
        let guest = entry(Member::Key(secret(4).id()));
        facts.put(Entry { role: "guest".into(), until: Some(Day(20_730)), ..guest });
        facts
    }

    #[test]
    fn rosters_round_trip_and_find_their_entries() {
        let roster = Roster::sign(&facts(), &secret(1)).unwrap();
        assert_eq!(Roster::decode(roster.as_bytes()), Ok(roster.clone()));
        assert_eq!(Roster::decode_kept(roster.as_bytes()), Ok(roster.clone()));
        assert_eq!(RosterFacts::decode(&facts().encode()), Ok(facts()));
        assert!(roster.entry(&secret(3).id()).unwrap().revoked);
        assert!(roster.entry(&secret(5).id()).is_none());
        let mut again = facts();
        again.put(Entry { name: "Bert".into(), ..entry(Member::Key(secret(2).id())) });
        assert_eq!(
            (again.entries.len(), &*again.entry(&secret(2).id()).unwrap().name),
            (3, "Bert")
        );
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let bytes = Roster::sign(&facts(), &secret(1)).unwrap().bytes;
        for at in 0..bytes.len() {
            assert!(Roster::decode(&bytes[..at]).is_err(), "cut at {at}");
            let mut spoiled = bytes.clone();
            spoiled[at] ^= 1 << (at % 8);
            assert!(Roster::decode(&spoiled).is_err(), "byte {at}");
        }
    }

    #[test]
    fn nobody_signs_for_another_key() {
        assert_eq!(Roster::sign(&facts(), &secret(6)), Err(RosterError::Signature));
    }

    #[test]
    fn impossible_values_are_refused() {
        type Spoil = fn(&mut RosterFacts);
        let cases: [(&str, Spoil); 10] = [
            ("number", |f| f.number = 0),
            ("name", |f| f.name = String::new()),
            ("name", |f| f.name = "a\u{1b}[2J".into()),
            ("list of entries", |f| f.entries.reverse()),
            ("list of entries", |f| f.entries.push(f.entries[2].clone())),
            ("member's name", |f| f.entries[0].name = "x".repeat(65)),
            ("role", |f| f.entries[0].role = "Admin".into()),
            ("role", |f| f.entries[0].role = "x".repeat(33)),
            ("list of groups", |f| f.entries[0].groups = vec!["a b".into()]),
            ("list of groups", |f| f.entries[0].groups = vec!["a".into(); 9]),
        ];
        for (field, spoil) in cases {
            let mut facts = facts();
            spoil(&mut facts);
            assert_eq!(Roster::sign(&facts, &secret(1)), Err(RosterError::Field(field)), "{field}");
        }
    }

    #[test]
    fn as_many_as_may_be_on_it_fit() {
        let keys = (0..ENTRIES_MAX).map(|n| {
            let mut seed = [7; 32];
            seed[..8].copy_from_slice(&(n as u64).to_be_bytes());
            NodeSecret::from_seed(seed).id()
        });
        let mut facts = RosterFacts { entries: vec![], ..facts() };
        facts.entries.extend(keys.map(|node| Entry {
            name: "Member 1234".into(),
            groups: vec![],
            ..entry(Member::Key(node))
        }));
        facts.entries.sort_by_key(Entry::node);
        let roster = Roster::sign(&facts, &secret(1)).unwrap();
        assert!(roster.as_bytes().len() < ROSTER_MAX);
        let long = vec![0x82; ROSTER_MAX + 1];
        assert_eq!(Roster::decode(&long), Err(RosterError::TooLong(ROSTER_MAX + 1)));
    }

    #[test]
    fn an_entry_ends_after_its_last_day_and_never_by_a_clock_that_is_behind() {
        let facts = facts();
        let [guest, revoked] = [4, 3].map(|n| facts.entry(&secret(n).id()).unwrap());
        for (today, standing) in [
            (0, Standing::Good),
            (20_699, Standing::Good),
            (20_730, Standing::Good),
            (20_731, Standing::Ended),
        ] {
            assert_eq!(facts.standing(guest, Day(today)), standing, "{today}");
            assert_eq!(facts.standing(revoked, Day(today)), Standing::Revoked, "{today}");
        }
        // Signed after its end, read by a clock from before: nothing is known of the time.
        let late = RosterFacts { issued: Day(20_800), ..facts.clone() };
        assert_eq!(late.standing(guest, Day(20_790)), Standing::Good);
        assert_eq!(late.standing(guest, Day(20_800)), Standing::Ended);
    }
}
