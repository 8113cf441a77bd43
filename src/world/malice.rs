//! Malice: what leaves a node that does not keep to the protocol.
//!
//! Its engine is a real one and means well; what it says is changed, held back or added to on the
//! way out, and soon it is as confused as a liar's own books. The laws are asked of all others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use postrider_base::bundle::{Hop, Receipt};
use postrider_engine::{
    exchange::{Begin, Offered, Unit},
    node::{Ending, Event, LinkId, Output, ShortId, Verdict},
    router::{NodeHint, hint},
};

use crate::{
    chance::Chance,
    letters::{Letters, node_id},
    roads::RoadId,
    world::World,
};

/// Units that it remembers, to bring them again.
const REMEMBERED_MAX: usize = 64;
/// Of a thousand units, with how many it does what it is bad for.
const OFTEN_PERMILLE: u64 = 300;
/// Nodes of which one Meets lies, at most.
const MEETS_LIES: usize = 64;

/// What a node does to what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malice {
    /// It takes bundles, settles them as kept, and never offers any; nor does it hand receipts on.
    /// All that it has was offered, so it says.
    Drops,
    /// The same, but it does not say so: once it repents ([`World::repent`]) it offers them.
    Holds,
    /// One byte of a Begin or a Data is another. Hop data, which nobody signs, is for [`Self::Lies`].
    Tampers,
    /// Units end too early.
    Truncates,
    /// The head of one bundle on the payload of another, the bytes of one body in another.
    Splices,
    /// Units come again that it sent or was sent, over any of its links.
    Replays,
    /// A unit waits for the next one and goes behind it.
    Reorders,
    /// Receipts of nothing, or with the secret of another bundle; settles of what it never got;
    /// offers of what it does not have; marks, wants and withdrawals at random.
    Forges,
    /// Hop data and Meets at random: tokens, hops, ages, and how near it is to everybody.
    Lies,
}

/// One that does.
pub(crate) struct Liar {
    /// `None` once it repented.
    malice: Option<Malice>,
    /// Its own units and those of its neighbours.
    remembered: VecDeque<Bytes>,
    /// What waits to go behind the next unit.
    waiting: BTreeMap<LinkId, Bytes>,
    /// Handles that its neighbours have given so far, by its end of the link.
    given: BTreeMap<LinkId, u64>,
    /// Its ends of links that have had a Hello.
    links: BTreeSet<LinkId>,
    misdeeds: u64,
}

/// How often somebody was caught, or what he did came to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caught {
    /// Links that an honest node ended because of what came over them.
    pub halted: u64,
    /// Bundles that an honest node called damaged or forged.
    pub declined: u64,
}

impl World {
    /// A node is malicious from its next links on.
    pub fn corrupt(&mut self, at: usize, malice: Malice) {
        self.laws.liars.insert(at);
        self.laws.hops_lie |= malice == Malice::Lies;
        let liar = Liar {
            malice: Some(malice),
            remembered: VecDeque::new(),
            waiting: BTreeMap::new(),
            given: BTreeMap::new(),
            links: BTreeSet::new(),
            misdeeds: 0,
        };
        self.liars.insert(at, liar);
    }

    /// A node is honest again, over new links. What it did is done: the laws are still not asked of it.
    pub fn repent(&mut self, at: usize) {
        if let Some(liar) = self.liars.get_mut(&at) {
            liar.malice = None;
        }
        for road in 0..self.roads.roads.len() {
            if self.roads.roads[road].ends.contains(&at) {
                self.cut(RoadId(road));
            }
        }
    }

    /// Units that malicious nodes have held back, changed or made up.
    pub fn misdeeds(&self) -> u64 {
        self.liars.values().map(|liar| liar.misdeeds).sum()
    }

    /// How often honest nodes noticed.
    pub fn caught(&self) -> Caught {
        self.caught
    }

    /// Whether the other end of a link is, or was, malicious.
    pub(crate) fn faces_liar(&self, link: LinkId) -> bool {
        self.facing.contains(&link)
    }

    /// A malicious node hears a unit.
    pub(crate) fn overhear(&mut self, at: usize, link: LinkId, unit: &Bytes) {
        let Some(liar) = self.liars.get_mut(&at) else { return };
        if let Ok(Unit::Offer(offers)) = Unit::decode(unit) {
            *liar.given.entry(link).or_default() += offers.len() as u64;
        }
        liar.remember(unit);
    }

    /// A malicious node says something: what goes out, over which links.
    pub(crate) fn misuse(&mut self, at: usize, link: LinkId, unit: Bytes) -> Vec<(LinkId, Bytes)> {
        let nodes = self.nodes.len();
        let (chance, letters) = (&mut self.chance, &self.letters);
        let Some(liar) = self.liars.get_mut(&at) else { return vec![(link, unit)] };
        liar.links.insert(link);
        let ends = &self.roads.ends;
        liar.links.retain(|link| ends.get(link).is_some_and(|end| !end.cut && !end.down));
        let said = Unit::decode(&unit);
        let (Some(malice), Ok(said)) = (liar.malice, said) else { return vec![(link, unit)] };
        // Who does not even greet is nobody's neighbour.
        if matches!(said, Unit::Hello(_)) {
            return vec![(link, unit)];
        }
        let often = chance.permille(OFTEN_PERMILLE);
        let body = matches!(said, Unit::Begin(_) | Unit::Data { .. });
        let out = match malice {
            Malice::Drops | Malice::Holds => silenced(malice, &said).then(Vec::new),
            Malice::Tampers => {
                (often && body).then(|| vec![(link, tampered(&said, &unit, chance))])
            }
            Malice::Truncates => (often && unit.len() > 1).then(|| {
                let length = 1 + chance.index(unit.len() - 1);
                vec![(link, unit.slice(..length))]
            }),
            Malice::Splices => liar.splice(&said, chance).map(|unit| vec![(link, unit)]),
            Malice::Replays => often.then(|| liar.replay((link, &unit), chance)).flatten(),
            Malice::Reorders => liar.reorder((link, &unit), often),
            Malice::Forges => often.then(|| {
                let forged = liar.forge(link, &said, (letters, chance));
                forged.into_iter().map(|unit| (link, whole(&unit))).collect()
            }),
            Malice::Lies => lie(&said, nodes, chance)
                .map(|units| units.iter().map(|unit| (link, whole(unit))).collect()),
        };
        liar.remember(&unit);
        liar.misdeeds += u64::from(out.is_some());
        out.unwrap_or_else(|| vec![(link, unit)])
    }

    /// A unit of a node goes out, changed if the node is malicious. What is wrong with it.
    pub(crate) fn say(&mut self, at: usize, link: LinkId, parts: (Bytes, Bytes)) -> Option<String> {
        if !self.liars.contains_key(&at) {
            return self.roads.transmit(link, parts, &mut self.time, &mut self.chance);
        }
        let unit = Bytes::from([&parts.0[..], &parts.1[..]].concat());
        for (link, unit) in self.misuse(at, link, unit) {
            self.trace(at, "misuses", link, ShortId([0; 16]), unit.len() as u64);
            let parts = (unit, Bytes::new());
            self.roads.transmit(link, parts, &mut self.time, &mut self.chance);
        }
        None
    }

    /// A law does not hold at a node; of a malicious one nothing is asked.
    pub(crate) fn blame(&mut self, at: usize, what: String) {
        if !self.liars.contains_key(&at) {
            self.fault(at, what);
        }
    }

    /// Notes that an honest node noticed something.
    pub(crate) fn note_caught(&mut self, at: usize, output: &Output) {
        let (link, halted) = match output {
            Output::Close { link, why: Ending::Protocol(_) } => (*link, 1),
            Output::Event(Event::Declined {
                link,
                verdict: Verdict::Damaged | Verdict::Forged,
                ..
            }) => (*link, 0),
            _ => return,
        };
        if !self.liars.contains_key(&at) && self.faces_liar(link) {
            self.caught.halted += halted;
            self.caught.declined += 1 - halted;
        }
    }
}

impl Liar {
    fn remember(&mut self, unit: &Bytes) {
        // Hello, Sketch, Ping, Pong and Halt are worth nothing a second time.
        if !matches!(unit.first(), Some(2..=7)) {
            return;
        }
        if self.remembered.len() == REMEMBERED_MAX {
            self.remembered.pop_front();
        }
        self.remembered.push_back(unit.clone());
    }

    /// Puts something of a unit that it remembers into this one.
    fn splice(&self, said: &Unit, chance: &mut Chance) -> Option<Bytes> {
        let other = self.remembered.get(chance.index(self.remembered.len()))?;
        let other = Unit::decode(other).ok()?;
        let first = chance.permille(500);
        let unit = match (said, other) {
            (Unit::Begin(mine), Unit::Begin(other)) if other.head != mine.head => {
                let mut begin = mine.clone();
                if first {
                    begin.head = other.head
                } else {
                    begin.payload = other.payload
                }
                Unit::Begin(begin)
            }
            (Unit::Data { handle, bytes }, Unit::Data { handle: of, bytes: other }) => {
                if first {
                    Unit::Data { handle: of, bytes: bytes.clone() }
                } else {
                    Unit::Data { handle: *handle, bytes: other }
                }
            }
            _ => return None,
        };
        (unit != *said).then(|| whole(&unit))
    }

    /// What goes out, and something old behind it over any link.
    fn replay(
        &self,
        (link, unit): (LinkId, &Bytes),
        chance: &mut Chance,
    ) -> Option<Vec<(LinkId, Bytes)>> {
        let old = self.remembered.get(chance.index(self.remembered.len()))?.clone();
        let links: Vec<LinkId> = self.links.iter().copied().collect();
        let over = if chance.permille(500) { link } else { chance.one_of(&links)? };
        Some(vec![(link, unit.clone()), (over, old)])
    }

    fn reorder(
        &mut self,
        (link, unit): (LinkId, &Bytes),
        often: bool,
    ) -> Option<Vec<(LinkId, Bytes)>> {
        let links = &self.links;
        self.waiting.retain(|link, _| links.contains(link));
        if let Some(waiting) = self.waiting.remove(&link) {
            return Some(vec![(link, unit.clone()), (link, waiting)]);
        }
        if often {
            self.waiting.insert(link, unit.clone());
        }
        often.then(Vec::new)
    }

    /// What it says, changed or with something made up behind it.
    fn forge(
        &self,
        link: LinkId,
        said: &Unit,
        (letters, chance): (&Letters, &mut Chance),
    ) -> Vec<Unit> {
        if let (Unit::Offer(offers), true) = (said, chance.permille(500)) {
            return vec![Unit::Offer(falsely_offered(offers, letters, chance))];
        }
        let mut handle = || {
            // Mostly one that means something.
            let given = self.given.get(&link).copied().unwrap_or_default();
            let beyond = u64::from(chance.permille(50));
            u32::try_from(chance.below(given + beyond)).unwrap_or(0)
        };
        let handles = [handle(), handle(), handle()];
        let forged = match chance.below(8) {
            0..=2 => Unit::Receipt((0..3).filter_map(|_| false_receipt(letters, chance)).collect()),
            3..=4 => {
                let verdicts = [Verdict::Kept, Verdict::Known, Verdict::Later(5), Verdict::Forged];
                let verdict = chance.one_of(&verdicts).unwrap_or(Verdict::Kept);
                Unit::Settle(handles.map(|handle| (handle, verdict)).to_vec())
            }
            5 => {
                let far = if chance.permille(500) { chance.below(20) } else { chance.draw() };
                Unit::Mark { bundles: far, receipts: chance.below(1000) }
            }
            6 => Unit::Want(handles.map(|handle| (handle, chance.below(9000))).to_vec()),
            _ if chance.permille(500) => Unit::Stop(handles.to_vec()),
            _ => Unit::Withdraw(handles.to_vec()),
        };
        if matches!(&forged, Unit::Receipt(list) if list.is_empty()) {
            return vec![said.clone()];
        }
        vec![said.clone(), forged]
    }
}

/// Whether it keeps this to itself. What was not offered cannot be withdrawn either.
fn silenced(malice: Malice, said: &Unit) -> bool {
    match said {
        Unit::Offer(_) | Unit::Begin(_) | Unit::Data { .. } | Unit::Receipt(_) => true,
        Unit::Withdraw(_) => true,
        Unit::Mark { .. } => malice == Malice::Holds,
        _ => false,
    }
}

/// Offers of what it does not have, or of another length.
fn falsely_offered(offers: &[Offered], letters: &Letters, chance: &mut Chance) -> Vec<Offered> {
    let mut offers = offers.to_vec();
    let at = chance.index(offers.len());
    if let Some(offer) = offers.get_mut(at) {
        match letters.any(chance) {
            Some(letter) if chance.permille(500) => offer.id = ShortId::of(&letter.id),
            _ => offer.length = chance.within(1, 100_000),
        }
    }
    offers
}

/// With a secret of nothing, or of another bundle; now and then the beginning of a real id.
fn false_receipt(letters: &Letters, chance: &mut Chance) -> Option<Receipt> {
    let letter = letters.any(chance)?;
    let other = letters.any(chance).filter(|other| other.id != letter.id);
    let mut r = [0; 16];
    chance.fill(&mut r);
    if let Some(secret) = other.and_then(|other| other.secret).filter(|_| chance.permille(500)) {
        r = secret;
    }
    Some(Receipt { id_prefix: letter.id.prefix(), r })
}

/// Another byte in the head, the payload, the bytes of a body, or somewhere before them.
fn tampered(said: &Unit, unit: &Bytes, chance: &mut Chance) -> Bytes {
    let mut change = |bytes: &Bytes| {
        let mut bytes = bytes.to_vec();
        let at = chance.index(bytes.len());
        let other = u8::try_from(chance.within(1, 255)).unwrap_or(1);
        bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= other);
        Bytes::from(bytes)
    };
    match said {
        Unit::Begin(begin) => {
            let begin = if begin.payload.is_empty() || begin.handle % 2 == 0 {
                Begin { head: change(&begin.head), ..begin.clone() }
            } else {
                Begin { payload: change(&begin.payload), ..begin.clone() }
            };
            whole(&Unit::Begin(begin))
        }
        _ => change(unit),
    }
}

/// Hop data and levels that are not so; `None` where there is nothing to lie about.
fn lie(said: &Unit, nodes: usize, chance: &mut Chance) -> Option<Vec<Unit>> {
    match said {
        Unit::Begin(begin) => {
            let Hop { tokens, hops, age_s, level } = begin.hop;
            // Up to a month, which is what letters live, or beyond all of it.
            let ages = [0, age_s, 30 * 86_400 - 60, u32::MAX];
            let hop = Hop {
                tokens: chance.one_of(&[0, tokens, 255])?,
                hops: chance.one_of(&[0, hops, 16, 31, 255])?,
                age_s: chance.one_of(&ages)?,
                level: chance.one_of(&[0, level, 255])?,
            };
            (hop != begin.hop).then(|| vec![Unit::Begin(Begin { hop, ..begin.clone() })])
        }
        Unit::Meets(_) | Unit::Mark { .. } | Unit::Settle(_) => {
            let near = |at: usize| (hint(&node_id(at)), u8::MAX);
            let mut meets: Vec<(NodeHint, u8)> = (0..nodes.min(MEETS_LIES)).map(near).collect();
            meets.sort_unstable();
            let meets = Unit::Meets(meets);
            let is_meets = matches!(said, Unit::Meets(_));
            Some(if is_meets { vec![meets] } else { vec![said.clone(), meets] })
        }
        _ => None,
    }
}

fn whole(unit: &Unit) -> Bytes {
    let (head, body) = unit.encode();
    Bytes::from([&head[..], &body[..]].concat())
}
