//! How much is carried for others, and what goes when it is too much.
//!
//! The decision stands here once; both spools ask it and show it what they have through
//! [`Carried`], so that the simulated node and the real one drop the same bundles.
//!
//! When a class is over its quota with the newcomer counted in, bundles go in this order until it
//! is not:
//! 1. what has outlived its lifetime;
//! 2. of a neighbour that has half as much again as its part, the whole shared by all neighbours and
//!    one more (what no proven neighbour brought is one neighbour's): keys of sources are free, and
//!    neighbours are not, so a thousand sources behind one neighbour have no more than one. And if
//!    among its sources there is one with half as much again as its part of that, shared in the same
//!    way (hidden ones are one source's), of that source;
//! 3. else of all;
//! 4. among these, the nicest; of equally nice ones what is worth least for its bytes; of these the
//!    oldest.
//!
//! The newcomer is among them: when its turn comes it is not kept, and nothing goes for it. Among the
//! sources of a neighbour that has too much it also gives way to its equals: else new keys would only
//! have to keep coming, and everything would be passed on before it goes.
//!
//! What a bundle is worth is for routing to say ([`NewBundle::worth`](crate::contract::NewBundle)): on
//! made-up towns twice as much arrives by it as by age alone, where there is little room.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use crate::{
    contract::{BundleId, Class, Entry, Why},
    error::SpoolError,
};

/// What a bundle counts at least: about what its record and its rows take beside the body, so that
/// floods of tiny ones are not free.
pub const COUNTED_MIN: u64 = 512;
/// Bundles that one group drops at most: with [`DROP_BYTES`] this bounds what it adds to the log.
/// A large newcomer among very many tiny bundles needs more; then this many go, it is told that
/// there is no room now, and finds some when it comes again.
pub(crate) const DROPS_MAX: usize = 4096;
/// What the record of a dropped bundle takes in the log at most.
pub(crate) const DROP_BYTES: usize = 96;
/// Expired bundles looked at for those of one class; whoever runs a spool retires them anyway.
pub(crate) const EXPIRED_MAX: usize = 64;
/// Neighbours, or sources of one, that share alike are counted so far: with more, whoever has less
/// than a twentieth never has too much.
pub(crate) const PARTIES_MAX: usize = 32;
/// A party has too much beyond its part times 3/2: less, and chance alone makes many have too much,
/// so that worth does not count; more, and floods take more before anything stops them.
const OVER: (u128, u128) = (3, 2);

/// What a body of this length counts against a quota.
#[must_use]
pub fn counted_bytes(length: u64) -> u64 {
    length.max(COUNTED_MIN)
}

/// Most that the bundles of one class may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// In bytes, each bundle counted as by [`counted_bytes`].
    pub bytes: u64,
    /// In bundles.
    pub bundles: u64,
}

impl Quota {
    /// No limit.
    pub const UNLIMITED: Self = Self { bytes: u64::MAX, bundles: u64::MAX };

    pub(crate) fn allows(&self, bytes: u64, bundles: u64) -> bool {
        bytes <= self.bytes && bundles <= self.bundles
    }
}

/// The quotas of what is carried. What is this node's own has none: it is never dropped before its
/// lifetime ends or a receipt comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Of what is to or from contacts.
    pub contact: Quota,
    /// Of what is to or from their friends.
    pub friend: Quota,
    /// Of what is carried blind.
    pub stranger: Quota,
}

impl Quotas {
    /// No limits.
    pub const UNLIMITED: Self =
        Self { contact: Quota::UNLIMITED, friend: Quota::UNLIMITED, stranger: Quota::UNLIMITED };

    /// Of one class.
    #[must_use]
    pub fn of(&self, class: Class) -> Quota {
        match class {
            Class::Own => Quota::UNLIMITED,
            Class::Contact => self.contact,
            Class::Friend => self.friend,
            Class::Stranger => self.stranger,
        }
    }
}

/// A neighbour or a source, or that there is none, as far as shares tell them apart: the beginning
/// of a key. Another key with the same one takes 2^64 tries and gains a place in the same share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Party(pub(crate) [u8; 9]);

impl Party {
    pub(crate) fn of(key: Option<&[u8; 32]>) -> Self {
        let mut party = [0; 9];
        if let Some(key) = key {
            party[0] = 1;
            party[1..].copy_from_slice(&key[..8]);
        }
        Self(party)
    }
}

/// Of whom a bundle is, for shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(crate) class: Class,
    pub(crate) neighbour: Party,
    pub(crate) source: Party,
}

impl Owner {
    pub(crate) fn of(entry: &Entry) -> Self {
        Self {
            class: entry.class,
            neighbour: Party::of(entry.from.as_ref()),
            source: Party::of(entry.summary.source.as_ref()),
        }
    }
}

/// A share in the order in which shares are cut: the largest first, then by name.
pub(crate) type Rank = (Reverse<u64>, Party);
/// A bundle in the order in which they go: the nicest first, then what is worth least for its bytes,
/// then the oldest.
pub(crate) type Turn = (Reverse<u8>, u16, u64);

pub(crate) fn turn_of(entry: &Entry) -> Turn {
    let value = value(entry.worth, counted_bytes(entry.summary.length));
    (Reverse(entry.summary.nice), value, entry.arrival)
}

/// What a bundle is worth for what it counts: worth is in eighths of doublings, and so is this.
fn value(worth: u8, counted: u64) -> u16 {
    let doublings = (counted / COUNTED_MIN).max(1).ilog2();
    (256 + u16::from(worth)).saturating_sub(8 * u16::try_from(doublings).unwrap_or(u16::MAX / 8))
}

/// Among which bundles the next one to go is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Among {
    /// All of a class.
    Class(Class),
    /// Those that a neighbour brought.
    Neighbour(Class, Party),
    /// Those of one source that a neighbour brought.
    Owner(Owner),
}

impl Among {
    pub(crate) fn holds(self, owner: Owner) -> bool {
        match self {
            Self::Class(class) => owner.class == class,
            Self::Neighbour(class, neighbour) => {
                (owner.class, owner.neighbour) == (class, neighbour)
            }
            Self::Owner(one) => owner == one,
        }
    }
}

/// What a spool carries.
pub(crate) trait Carried {
    /// Bytes as counted, and bundles of a class.
    fn counted(&self, class: Class) -> Result<(u64, u64), SpoolError>;
    /// Up to [`EXPIRED_MAX`] bundles of any class that have ended by then, first ended first.
    fn ended(&self, held_ms: u64) -> Result<Vec<Entry>, SpoolError>;
    /// What a neighbour's bundles of a class count.
    fn of_neighbour(&self, class: Class, neighbour: Party) -> Result<u64, SpoolError>;
    /// What a source's bundles from a neighbour count.
    fn of_source(&self, owner: Owner) -> Result<u64, SpoolError>;
    /// Up to [`PARTIES_MAX`] neighbours behind a rank; none only when there are no more.
    fn neighbours(&self, class: Class, after: Option<Rank>) -> Result<Vec<Rank>, SpoolError>;
    /// Up to [`PARTIES_MAX`] sources of a neighbour behind a rank; none only when there are no more.
    fn sources(
        &self,
        class: Class,
        neighbour: Party,
        after: Option<Rank>,
    ) -> Result<Vec<Rank>, SpoolError>;
    /// The next bundle among some.
    fn next_bundle(&self, among: Among, after: Option<Turn>) -> Result<Option<Entry>, SpoolError>;
}

/// A bundle that asks to be admitted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newcomer {
    pub(crate) owner: Owner,
    pub(crate) nice: u8,
    pub(crate) worth: u8,
    pub(crate) counted: u64,
}

/// What is done for a newcomer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// Whether it is kept.
    pub(crate) keeps: bool,
    /// What goes, and why.
    pub(crate) drops: Vec<(BundleId, Why)>,
}

/// Decides what goes so that a newcomer fits, or that it does not; at most `most` bundles go.
///
/// Costs a few rows for each bundle that goes, whatever is carried.
pub(crate) fn make_room(
    carried: &impl Carried,
    quota: Quota,
    new: &Newcomer,
    held_ms: u64,
    most: usize,
) -> Result<Room, SpoolError> {
    if quota == Quota::UNLIMITED {
        return Ok(Room { keeps: true, drops: Vec::new() });
    }
    if !quota.allows(new.counted, 1) {
        return Ok(Room::default());
    }
    let class = new.owner.class;
    let (bytes, bundles) = carried.counted(class)?;
    let (mut bytes, mut bundles) = (bytes.saturating_add(new.counted), bundles.saturating_add(1));
    if quota.allows(bytes, bundles) {
        return Ok(Room { keeps: true, drops: Vec::new() });
    }
    let mut cutting = Cutting::begin(carried, new)?;
    let mut drops = Vec::new();
    let mut ended = carried.ended(held_ms)?.into_iter().filter(|entry| entry.class == class);
    while !quota.allows(bytes, bundles) {
        if drops.len() == most {
            return Ok(Room { keeps: false, drops });
        }
        let (entry, why) = match ended.next() {
            Some(entry) => (entry, Why::Expired),
            None => match cutting.victim(bytes)? {
                Some(entry) => (entry, Why::Dropped),
                // The newcomer itself; what was chosen before it stays.
                None => return Ok(Room::default()),
            },
        };
        cutting.take(&entry)?;
        bytes = bytes.saturating_sub(counted_bytes(entry.summary.length));
        bundles = bundles.saturating_sub(1);
        drops.push((entry.id, why));
    }
    Ok(Room { keeps: true, drops })
}

/// Shares as they would be without what was chosen so far, and with the newcomer.
struct Cutting<'a, C> {
    carried: &'a C,
    new: &'a Newcomer,
    neighbours: Ranking,
    sources: BTreeMap<Party, Ranking>,
    /// How far bundles have been chosen in their order.
    turns: BTreeMap<Among, Turn>,
    /// What was chosen.
    gone: BTreeSet<BundleId>,
}

impl<'a, C: Carried> Cutting<'a, C> {
    fn begin(carried: &'a C, new: &'a Newcomer) -> Result<Self, SpoolError> {
        let Owner { class, neighbour, source } = new.owner;
        let mut neighbours = Ranking::default();
        neighbours.set(neighbour, carried.of_neighbour(class, neighbour)? + new.counted);
        let mut of_neighbour = Ranking::default();
        of_neighbour.set(source, carried.of_source(new.owner)? + new.counted);
        let sources = BTreeMap::from([(neighbour, of_neighbour)]);
        let (turns, gone) = (BTreeMap::new(), BTreeSet::new());
        Ok(Self { carried, new, neighbours, sources, turns, gone })
    }

    /// What goes next, while the class counts so much; `None` when that is the newcomer.
    fn victim(&mut self, counted: u64) -> Result<Option<Entry>, SpoolError> {
        let among = self.among(counted)?;
        let mut after = self.turns.get(&among).copied();
        let next = loop {
            match self.carried.next_bundle(among, after)? {
                Some(entry) if self.gone.contains(&entry.id) => after = Some(turn_of(&entry)),
                next => break next,
            }
        };
        let goes_before_new = |entry: &Entry| {
            let (nice, value_here, _) = turn_of(entry);
            let new = (Reverse(self.new.nice), value(self.new.worth, self.new.counted));
            let gives_way = matches!(among, Among::Neighbour(..));
            (nice, value_here) < new || (nice, value_here) == new && !gives_way
        };
        let next = next.filter(|entry| !among.holds(self.new.owner) || goes_before_new(entry));
        self.turns.extend(next.as_ref().map(|entry| (among, turn_of(entry))));
        Ok(next)
    }

    /// Whose turn it is.
    fn among(&mut self, counted: u64) -> Result<Among, SpoolError> {
        let (carried, class) = (self.carried, self.new.owner.class);
        let over = self.neighbours.over(counted, |after| carried.neighbours(class, after))?;
        let Some((share, neighbour)) = over else { return Ok(Among::Class(class)) };
        let sources = self.sources.entry(neighbour).or_default();
        let over = sources.over(share, |after| carried.sources(class, neighbour, after))?;
        Ok(match over {
            Some((_, source)) => Among::Owner(Owner { class, neighbour, source }),
            None => Among::Neighbour(class, neighbour),
        })
    }

    /// A bundle was chosen.
    fn take(&mut self, entry: &Entry) -> Result<(), SpoolError> {
        let owner = Owner::of(entry);
        let counted = counted_bytes(entry.summary.length);
        let carried = self.carried;
        let before = || carried.of_neighbour(owner.class, owner.neighbour);
        self.neighbours.cut(owner.neighbour, counted, before)?;
        let sources = self.sources.entry(owner.neighbour).or_default();
        sources.cut(owner.source, counted, || carried.of_source(owner))?;
        self.gone.insert(entry.id);
        Ok(())
    }
}

/// Shares in their order, read from the spool as far as they are asked for.
#[derive(Default)]
struct Ranking {
    /// What was read or has changed.
    shares: BTreeMap<Party, u64>,
    order: BTreeSet<Rank>,
    /// How far the spool's order was read: whoever stands behind it has no more.
    read_to: Option<Rank>,
    read_all: bool,
}

impl Ranking {
    fn set(&mut self, party: Party, share: u64) {
        if let Some(before) = self.shares.insert(party, share) {
            self.order.remove(&(Reverse(before), party));
        }
        if share > 0 {
            self.order.insert((Reverse(share), party));
        }
    }

    fn cut(
        &mut self,
        party: Party,
        by: u64,
        before: impl Fn() -> Result<u64, SpoolError>,
    ) -> Result<(), SpoolError> {
        let share = match self.shares.get(&party) {
            Some(share) => *share,
            None => before()?,
        };
        self.set(party, share.saturating_sub(by));
        Ok(())
    }

    /// Who has the most, with its share, if that is too much of so much.
    fn over(
        &mut self,
        whole: u64,
        more: impl Fn(Option<Rank>) -> Result<Vec<Rank>, SpoolError>,
    ) -> Result<Option<(u64, Party)>, SpoolError> {
        let is_known = |ranking: &Self| {
            let first = ranking.order.first().copied();
            ranking.order.len() >= PARTIES_MAX && first <= ranking.read_to
        };
        while !self.read_all && !is_known(self) {
            let ranks = more(self.read_to)?;
            self.read_all = ranks.is_empty();
            for rank in ranks {
                self.read_to = Some(rank);
                if !self.shares.contains_key(&rank.1) {
                    self.set(rank.1, rank.0.0);
                }
            }
        }
        // With room for one more: of two, half is too much.
        let parties = self.order.len().min(PARTIES_MAX) as u128 + 1;
        let first = self.order.first().map(|(share, party)| (share.0, *party));
        Ok(first.filter(|(share, _)| {
            u128::from(*share) * OVER.1 * parties > u128::from(whole) * OVER.0
        }))
    }
}
