//! What goes to everybody on a local network at once, and who there has it.
//!
//! A small bundle for a group would go over every link of a network, and be offered on many more. Where
//! at least [`EARS_MIN`] neighbours are linked over one network it is *cast* there instead, once, by
//! whoever has it first, and links leave it to that for a while:
//!
//! ```text
//! engine   a fresh row for a group, links over a network     -> Output::Cast
//! shell    sends its form to all on the network
//! others   Input::CastHeard, then keep it like anything else
//! all      say what they have, in one datagram for all       -> Output::Haves
//! engine   whoever has it is offered nothing; whoever has not, after the wait, gets it by link
//! ```
//!
//! What somebody has is believed of the other end of a link alone: each end of a link gives the other a
//! key (the unit Ear), and every statement carries a tag for each link. A lie costs the liar an offer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use postrider_base::{bundle::SMALL_PAYLOAD_MAX, domain};

use super::contract::{Destination, LinkId, NetworkId, Now, Output, Row, ShortId};

/// Fewer links cost less than telling all.
pub const EARS_MIN: usize = 3;
/// How long links leave a bundle to a cast: until pieces that got lost are repaired, it is durable
/// everywhere, and everybody has said so, on a machine that is busy.
pub const CAST_WAIT_MS: u64 = 4_000;
/// Only what came so lately is cast: whoever comes later lacks more than one bundle, and links know what.
const FRESH_MS: u64 = 10_000;
/// What is to be said waits for more of it, and drawn, so that not all speak at once.
const SAY_AFTER_MS: u64 = 200;
const SAY_WITHIN_MS: u64 = 600;
/// Bundles that are remembered as cast on a network, and as had by a neighbour: a busy hour.
const REMEMBERED_MAX: usize = 1_024;
/// What waits to be said. What is more is not: whoever is told nothing offers it by link.
const SAY_MAX: usize = 256;
/// Bundles in one statement, and links that one is for. What is more waits for the next.
const NAMED_MAX: usize = 16;
/// A node has 8 sessions on a network; others come by its settings.
const TAGGED_MAX: usize = 32;
/// Bytes of an id in a statement. Who makes two with the same ones spares the second an offer.
const ID_BYTES: usize = 8;
/// Bytes of a tag: one of 2³² that are guessed costs one offer.
const TAG_BYTES: usize = 4;

/// Bytes of the longest statement.
pub const HAVES_MAX: usize = 1 + NAMED_MAX * ID_BYTES + TAGGED_MAX * TAG_BYTES;

/// A key that one end of a link gives the other: what is told to the first is tagged with it.
pub(crate) type EarKey = [u8; 16];
type Named = [u8; ID_BYTES];

/// All networks that links run over.
#[derive(Debug, Default)]
pub(crate) struct Casts {
    networks: BTreeMap<NetworkId, Network>,
    ears: BTreeMap<LinkId, Ear>,
}

/// One end of a link over a network.
#[derive(Debug)]
struct Ear {
    network: NetworkId,
    peer: Option<[u8; 32]>,
    /// What comes from the other end is tagged with this.
    mine: EarKey,
    /// What goes there, with this.
    theirs: Option<EarKey>,
    has: Recent,
}

#[derive(Debug, Default)]
struct Network {
    /// Until when links wait for what is cast.
    waits: BTreeMap<ShortId, u64>,
    cast: VecDeque<ShortId>,
    /// What was said, and what is to be.
    said: Recent,
    say: BTreeSet<Named>,
    say_ms: Option<u64>,
    /// Draws when to speak.
    seed: EarKey,
}

/// The newest of what was named.
#[derive(Debug, Default)]
struct Recent {
    ids: BTreeSet<Named>,
    order: VecDeque<Named>,
}

impl Casts {
    /// A link came up over a network; the key for its other end.
    pub fn link_up(
        &mut self,
        link: LinkId,
        network: NetworkId,
        peer: Option<[u8; 32]>,
        random: &[u8; 16],
    ) {
        let mine = ear_key(random);
        let ear = Ear { network, peer, mine, theirs: None, has: Recent::default() };
        self.ears.insert(link, ear);
        self.networks.entry(network).or_default().seed = mine;
    }

    /// What its other end is given.
    pub fn key(&self, link: LinkId) -> Option<EarKey> {
        self.ears.get(&link).map(|ear| ear.mine)
    }

    /// Its other end hears what is tagged with this.
    pub fn take_key(&mut self, link: LinkId, key: EarKey) {
        if let Some(ear) = self.ears.get_mut(&link) {
            ear.theirs = Some(key);
        }
    }

    /// A link is gone.
    pub fn link_down(&mut self, link: LinkId) {
        let Some(ear) = self.ears.remove(&link) else { return };
        if !self.ears.values().any(|other| other.network == ear.network) {
            self.networks.remove(&ear.network);
        }
    }

    /// Whether the other end of a link has said that it has this.
    pub fn has(&self, link: LinkId, id: &ShortId) -> bool {
        self.ears.get(&link).is_some_and(|ear| ear.has.ids.contains(&name(id)))
    }

    /// Whether a link leaves a row to a cast: one that is under way, or begins with this.
    pub fn takes(
        &mut self,
        now: Now,
        link: LinkId,
        row: &Row,
        outputs: &mut VecDeque<Output>,
    ) -> bool {
        let Some(network) = self.ears.get(&link).map(|ear| ear.network) else { return false };
        let id = row.short();
        if let Some(waits) = self.networks.get(&network).and_then(|of| of.waits.get(&id)) {
            let waits = now.mono_ms < *waits;
            self.say(now.mono_ms, network, &id);
            return waits;
        }
        if !self.is_to_be_cast(now, network, row) {
            return false;
        }
        self.note(now.mono_ms, network, id);
        self.say(now.mono_ms, network, &id);
        outputs.push_back(Output::Cast { network, id: row.id });
        true
    }

    /// Somebody casts this on a network. `here`: this node had it before.
    pub fn heard(&mut self, now_ms: u64, network: NetworkId, id: ShortId, here: bool) {
        if !self.networks.contains_key(&network) {
            return;
        }
        self.note(now_ms, network, id);
        if here {
            self.say(now_ms, network, &id);
        }
    }

    /// What somebody said on a network: believed of the links for which it carries a tag.
    pub fn take_haves(&mut self, network: NetworkId, said: &[u8]) {
        let Some((count, rest)) = said.split_first() else { return };
        let count = usize::from(*count);
        let Some((ids, tags)) = rest.split_at_checked(count * ID_BYTES) else { return };
        let fits = (1..=NAMED_MAX).contains(&count)
            && tags.len().is_multiple_of(TAG_BYTES)
            && tags.len() <= TAGGED_MAX * TAG_BYTES;
        if !fits {
            return;
        }
        let body = &said[..said.len() - tags.len()];
        for ear in self.ears.values_mut().filter(|ear| ear.network == network) {
            let tag = tag(&ear.mine, body);
            if tags.chunks_exact(TAG_BYTES).any(|other| other == tag) {
                for id in ids.as_chunks().0 {
                    ear.has.add(*id);
                }
            }
        }
    }

    /// When something is to be said.
    pub fn due_ms(&self) -> Option<u64> {
        self.networks.values().filter_map(|network| network.say_ms).min()
    }

    /// Says what is due.
    pub fn tick(&mut self, now_ms: u64, outputs: &mut VecDeque<Output>) {
        let due = |network: &Network| network.say_ms.is_some_and(|at| now_ms >= at);
        let due: Vec<NetworkId> =
            self.networks.iter().filter(|(_, of)| due(of)).map(|(network, _)| *network).collect();
        for network in due {
            let keys = self.ears.values().filter(|ear| ear.network == network);
            let keys: Vec<EarKey> = keys.filter_map(|ear| ear.theirs).take(TAGGED_MAX).collect();
            let Some(of) = self.networks.get_mut(&network) else { continue };
            let mut said = vec![0];
            let mut count: u8 = 0;
            while let Some(id) = of.say.pop_first() {
                said.extend(id);
                count += 1;
                if usize::from(count) == NAMED_MAX {
                    break;
                }
            }
            of.say_ms = (!of.say.is_empty()).then(|| now_ms.saturating_add(SAY_AFTER_MS));
            said[0] = count;
            let tags: Vec<u8> = keys.iter().flat_map(|key| tag(key, &said)).collect();
            if count > 0 && !tags.is_empty() {
                said.extend(tags);
                outputs.push_back(Output::Haves { network, said });
            }
        }
    }

    /// Whether a row goes to all on a network at once: new here, for a group, and not from there.
    fn is_to_be_cast(&self, now: Now, network: NetworkId, row: &Row) -> bool {
        let there = || self.ears.values().filter(|ear| ear.network == network);
        let is_fresh = now.held_ms < row.arrived_held_ms.saturating_add(FRESH_MS);
        let ears = there().filter(|ear| ear.theirs.is_some()).count();
        matches!(row.destination, Destination::Group(_))
            && row.length <= SMALL_PAYLOAD_MAX
            && is_fresh
            && ears >= EARS_MIN
            && !there().any(|ear| ear.peer.is_some() && ear.peer == row.from)
    }

    fn note(&mut self, now_ms: u64, network: NetworkId, id: ShortId) {
        let of = self.networks.entry(network).or_default();
        if of.waits.insert(id, now_ms.saturating_add(CAST_WAIT_MS)).is_none() {
            of.cast.push_back(id);
        }
        if of.cast.len() > REMEMBERED_MAX
            && let Some(oldest) = of.cast.pop_front()
        {
            of.waits.remove(&oldest);
        }
    }

    /// This node has it, and says so once.
    fn say(&mut self, now_ms: u64, network: NetworkId, id: &ShortId) {
        let Some(of) = self.networks.get_mut(&network) else { return };
        if of.say.len() >= SAY_MAX || !of.said.add(name(id)) {
            return;
        }
        of.say.insert(name(id));
        let [a, b, ..] = domain::derive(domain::CAST_CHANCE, &[&of.seed, &id.0]);
        let drawn_ms = u64::from(u16::from_be_bytes([a, b])) % SAY_WITHIN_MS;
        of.say_ms.get_or_insert(now_ms.saturating_add(SAY_AFTER_MS + drawn_ms));
    }
}

impl Recent {
    /// Whether that is news.
    fn add(&mut self, id: Named) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

fn name(id: &ShortId) -> Named {
    let [named @ .., _, _, _, _, _, _, _, _] = id.0;
    named
}

fn ear_key(random: &[u8; 16]) -> EarKey {
    let [key @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
        domain::derive(domain::CAST_EAR, &[random]);
    key
}

fn tag(key: &EarKey, said: &[u8]) -> [u8; TAG_BYTES] {
    let key = domain::derive(domain::CAST_TAG, &[key]);
    let [a, b, c, d, ..] = *blake3::keyed_hash(&key, said).as_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use postrider_base::{BundleId, bundle::Hop};

    use super::*;
    use crate::node::Class;

    const NETWORK: NetworkId = NetworkId(2);

    fn id(n: u8) -> ShortId {
        ShortId([n; 16])
    }

    fn row(n: u8) -> Row {
        Row {
            id: BundleId([n; 32]),
            destination: Destination::Group([1; 16]),
            tagged_for: None,
            source: None,
            nice: 160,
            lifetime_s: 1000,
            length: 4096,
            hop: Hop::fresh(),
            class: Class::Own,
            from: None,
            arrived_held_ms: 0,
            arrival: 1,
        }
    }

    fn at(ms: u64) -> Now {
        Now { mono_ms: ms, held_ms: ms }
    }

    /// A node with so many links over a network, each with the key of its other end.
    fn linked(links: u8) -> Casts {
        let mut casts = Casts::default();
        for n in 0..links {
            casts.link_up(LinkId(n.into()), NETWORK, Some([n; 32]), &[n; 16]);
            casts.take_key(LinkId(n.into()), [100 + n; 16]);
        }
        casts
    }

    fn takes(casts: &mut Casts, ms: u64, link: u64, row: &Row) -> (bool, Vec<Output>) {
        let mut outputs = VecDeque::new();
        let takes = casts.takes(at(ms), LinkId(link), row, &mut outputs);
        (takes, outputs.into())
    }

    fn said(casts: &mut Casts) -> Vec<Vec<u8>> {
        let mut outputs = VecDeque::new();
        while let Some(due_ms) = casts.due_ms() {
            casts.tick(due_ms, &mut outputs);
        }
        let said = outputs.into_iter().filter_map(|output| match output {
            Output::Haves { said, .. } => Some(said),
            _ => None,
        });
        said.collect()
    }

    #[test]
    fn a_fresh_small_bundle_for_a_group_is_cast_once_and_links_wait() {
        let mut casts = linked(3);
        let (takes_it, outputs) = takes(&mut casts, 0, 0, &row(7));
        assert!(takes_it && matches!(&outputs[..], [Output::Cast { network: NETWORK, .. }]));
        for link in [1, 2, 0] {
            let (takes_it, outputs) = takes(&mut casts, CAST_WAIT_MS - 1, link, &row(7));
            assert!(takes_it && outputs.is_empty(), "link {link}");
        }
        let (takes_it, outputs) = takes(&mut casts, CAST_WAIT_MS, 1, &row(7));
        assert!(!takes_it && outputs.is_empty(), "it goes by link, and is not cast again");
    }

    #[test]
    fn what_is_for_one_or_long_or_old_or_from_there_or_for_few_goes_by_link() {
        let node = Row { destination: Destination::Node([9; 32]), ..row(1) };
        let long = Row { length: SMALL_PAYLOAD_MAX + 1, ..row(2) };
        let from_there = Row { from: Some([1; 32]), ..row(3) };
        for row in [node, long, from_there] {
            let (takes_it, outputs) = takes(&mut linked(3), 0, 0, &row);
            assert!(!takes_it && outputs.is_empty());
        }
        assert!(!takes(&mut linked(3), FRESH_MS, 0, &row(4)).0);
        assert!(!takes(&mut linked(2), 0, 0, &row(5)).0);
        let mut deaf = linked(3);
        deaf.link_up(LinkId(0), NETWORK, None, &[0; 16]);
        assert!(!takes(&mut deaf, 0, 0, &row(6)).0, "one end has not said what it hears");
    }

    #[test]
    fn who_says_that_it_has_something_is_believed_of_its_own_link_alone() {
        let (mut a, mut b) = (linked(0), linked(0));
        for (casts, random) in [(&mut a, [1; 16]), (&mut b, [2; 16])] {
            casts.link_up(LinkId(5), NETWORK, None, &random);
            casts.link_up(LinkId(6), NETWORK, None, &[9; 16]);
        }
        let (of_a, of_b) = (a.key(LinkId(5)).unwrap(), b.key(LinkId(5)).unwrap());
        a.take_key(LinkId(5), of_b);
        b.take_key(LinkId(5), of_a);
        a.heard(0, NETWORK, id(7), false);
        assert!(said(&mut a).is_empty(), "it is not there yet");
        a.heard(0, NETWORK, id(7), true);
        a.heard(0, NETWORK, id(8), true);
        let statements = said(&mut a);
        assert_eq!(statements.len(), 1, "both in one");
        b.take_haves(NetworkId(3), &statements[0]);
        assert!(!b.has(LinkId(5), &id(7)), "another network");
        b.take_haves(NETWORK, &statements[0]);
        assert!(b.has(LinkId(5), &id(7)) && b.has(LinkId(5), &id(8)));
        assert!(!b.has(LinkId(6), &id(7)) && !b.has(LinkId(5), &id(9)));
        a.heard(0, NETWORK, id(7), true);
        assert!(said(&mut a).is_empty(), "said once");
    }

    #[test]
    fn what_nobody_on_a_link_said_changes_nothing() {
        let mut casts = linked(3);
        let mut good = vec![1];
        good.extend([7; ID_BYTES]);
        let key = casts.key(LinkId(1)).unwrap();
        let mark = tag(&key, &good);
        good.extend(mark);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            casts.take_haves(NETWORK, &bad);
            casts.take_haves(NETWORK, &good[..at]);
        }
        let many = [vec![255], vec![7; 255 * ID_BYTES + 4]].concat();
        casts.take_haves(NETWORK, &many);
        casts.take_haves(NETWORK, &[]);
        assert!((0..3).all(|link| !casts.has(LinkId(link), &id(7))));
        casts.take_haves(NETWORK, &good);
        assert!(casts.has(LinkId(1), &id(7)));
    }

    #[test]
    fn whoever_floods_is_remembered_within_bounds() {
        let mut casts = linked(3);
        for n in 0..10_000_u32 {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            casts.heard(0, NETWORK, ShortId(id), true);
        }
        let of = &casts.networks[&NETWORK];
        assert_eq!((of.waits.len(), of.cast.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert!(of.said.ids.len() <= REMEMBERED_MAX);
        assert!(of.say.len() <= SAY_MAX);
        assert!(said(&mut casts).iter().all(|said| said.len() <= 1 + 16 * 8 + 3 * 4));
    }

    #[test]
    fn a_network_without_links_is_forgotten() {
        let mut casts = linked(3);
        casts.heard(0, NETWORK, id(1), true);
        (0..3).for_each(|link| casts.link_down(LinkId(link)));
        casts.heard(0, NETWORK, id(2), true);
        assert!(casts.networks.is_empty() && casts.due_ms().is_none());
    }
}
