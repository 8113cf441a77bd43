//! What must hold in every world, and after which step it did not.
//!
//! The cheap laws are asked at every input, output and commit; the slow ones now and then and at
//! the end ([`World::look_closely`]).

use std::collections::{BTreeMap, BTreeSet};

use postrider_base::{BundleId, bundle::Hop};
use postrider_engine::{
    exchange::{
        CHUNK_MAX, LINKS_MAX, OFFERS_MAX, PARTIALS_MAX, RECEIPTS_MAX, ROWS_MAX, WANTS_OPEN,
    },
    node::{Custody, Ending, NewBundle, Output, Policy},
};
use postrider_spool::{Dropping, Spool, Why};

use crate::{
    letters::{Letter, node_id},
    node::Node,
    shell::Deed,
    world::World,
};

/// Outputs to one input: a full unit of wants or settles, for each of its entries a few.
const OUTPUTS_MAX: usize = 8 * LINKS_MAX + 16 * OFFERS_MAX;
/// Questions without an answer: of each wanted bundle one, and a few more, on each of many links.
const ASKED_MAX: usize = 4 * WANTS_OPEN * 64;
/// Timeouts in a row after which the deadline has not moved: an engine that spins.
const SPINS_MAX: u32 = 3;
/// Clocks that are too fast make ages that are too high, by at most so much (one in a thousand).
const DRIFT_SHARE: u64 = 1000;

/// What became of each letter so far.
#[derive(Debug, Default)]
pub(crate) struct Laws {
    fates: BTreeMap<BundleId, Fate>,
    /// Roads were dark: engines may find that nobody reads.
    pub darkened: bool,
    /// Malicious nodes, of which nothing is asked.
    pub liars: BTreeSet<usize>,
    /// Some of them lie in hop data, which nobody signs: ages mean nothing, tokens are what one believes.
    pub hops_lie: bool,
    /// How nodes make room.
    pub dropping: Dropping,
}

#[derive(Debug)]
struct Fate {
    from: usize,
    to: usize,
    sent_ms: u64,
    lifetime_s: u64,
    locked: bool,
    delivered_ms: Option<u64>,
    proved: bool,
    /// How often its author gave it all its tokens anew.
    renewals: u64,
    /// Who has a copy.
    live: BTreeSet<usize>,
    expectation: Expectation,
    /// Written only to fill others' spools.
    noise: bool,
}

/// What became of a letter so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who wrote it.
    pub from: usize,
    /// For whom.
    pub to: usize,
    /// When it was written.
    pub sent_ms: u64,
    /// When it arrived, if it has.
    pub delivered_ms: Option<u64>,
}

impl Told {
    /// How long it took.
    pub fn took_ms(&self) -> Option<u64> {
        Some(self.delivered_ms?.saturating_sub(self.sent_ms))
    }
}

impl Fate {
    fn is_delivered(&self) -> bool {
        self.delivered_ms.is_some()
    }

    fn told(&self) -> Told {
        let Self { from, to, sent_ms, delivered_ms, .. } = *self;
        Told { from, to, sent_ms, delivered_ms }
    }
}

/// What is to become of a letter in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// It arrives, its author hears of it, and no copy is left.
    Freed,
    /// It arrives and its author hears of it. Copies may stay where no receipt comes.
    Proved,
    /// It arrives.
    Delivered,
    /// It may arrive.
    Nothing,
    /// It does not arrive.
    Kept,
}

impl Laws {
    pub fn letters_count(&self) -> u64 {
        self.fates.len() as u64
    }

    /// A letter lies in a spool; it is noise where that is nobody's who needs it.
    pub fn sent(&mut self, at: usize, letter: &Letter, noise: bool, now_ms: u64) {
        let locked = letter.secret.is_some();
        let fate = Fate {
            from: at,
            to: letter.to,
            sent_ms: now_ms,
            lifetime_s: u64::from(letter.header.lifetime.seconds()),
            locked,
            delivered_ms: None,
            proved: false,
            renewals: 0,
            live: [at].into(),
            expectation: match (noise, locked) {
                (true, _) => Expectation::Nothing,
                (false, true) => Expectation::Freed,
                (false, false) => Expectation::Delivered,
            },
            noise,
        };
        self.fates.insert(letter.id, fate);
    }

    pub fn told(&self) -> impl Iterator<Item = Told> {
        self.fates.values().filter(|fate| !fate.noise).map(Fate::told)
    }

    /// Asked of an output before it is obeyed.
    pub fn question(output: &Output) -> Option<String> {
        let (what, got, most) = match output {
            Output::Since { limit, .. } | Output::Page { limit, .. } => ("rows", *limit, ROWS_MAX),
            Output::Toward { limit, .. } => ("rows", *limit, ROWS_MAX),
            Output::Look { ids, .. } => ("ids", ids.len(), OFFERS_MAX),
            Output::Read { bytes, .. } | Output::ReadStaged { bytes, .. } => {
                ("bytes", *bytes, CHUNK_MAX)
            }
            Output::TakeReceipts { list, .. } => ("receipts", list.len(), RECEIPTS_MAX),
            Output::ReceiptsSince { limit, .. } => ("receipts", *limit, RECEIPTS_MAX),
            _ => return None,
        };
        (got > most).then(|| format!("an engine asks for {got} {what} at once"))
    }

    /// Asked after each input.
    pub fn bounds(node: &mut Node, outputs: usize, timeout: bool, mono_ms: u64) -> Option<String> {
        let at = node.at;
        let (idle, bytes) = node.engine.partials();
        if idle > PARTIALS_MAX || bytes > Policy::default().partial_bytes_max {
            return Some(format!("node {at} has {idle} cut bodies of {bytes} bytes"));
        }
        if outputs > OUTPUTS_MAX {
            return Some(format!("node {at} has {outputs} outputs to one input"));
        }
        if node.asked.len() > ASKED_MAX {
            return Some(format!("node {at} has {} questions open", node.asked.len()));
        }
        let due = node.engine.poll_timeout().is_some_and(|due| due <= mono_ms);
        node.spins = if due && timeout { node.spins + 1 } else { 0 };
        (node.spins > SPINS_MAX).then(|| format!("node {at} spins"))
    }

    /// Asked when an engine ends a link to an honest one: these may not blame each other.
    pub fn ending(&self, at: usize, why: &Ending) -> Option<String> {
        let fine = match why {
            Ending::Protocol(_) | Ending::Myself | Ending::Duplicate => false,
            Ending::Halted { reason, .. } => *reason >= 17,
            Ending::Stuck => self.darkened,
            Ending::Silent | Ending::Blocked | Ending::Disk | Ending::Crowded => true,
        };
        (!fine).then(|| format!("node {at} ends a link: {why:?}"))
    }

    /// Asked of a bundle that is to be kept: hops and ages.
    pub fn keeping(&self, at: usize, bundle: &NewBundle, now_ms: u64) -> Option<String> {
        let row = &bundle.row;
        let fate = self.fates.get(&row.id)?;
        let hops = row.hop.hops;
        if hops == 0 || hops > Hop::HOPS_MAX {
            return Some(format!("node {at} keeps {} after {hops} hops", row.id));
        }
        let most_s = at_most_s(now_ms.saturating_sub(fate.sent_ms));
        let age_s = u64::from(row.hop.age_s);
        if age_s > most_s && !self.hops_lie {
            return Some(format!("{} is {age_s} s old at node {at}, not {most_s} s", row.id));
        }
        if age_s >= fate.lifetime_s && bundle.custody == Custody::Carry {
            return Some(format!("node {at} keeps {}, which is over", row.id));
        }
        None
    }

    /// Asked of everything that became durable.
    pub fn deed(&mut self, at: usize, deed: Deed, now_ms: u64) -> Option<String> {
        let (Deed::Admitted(id, _)
        | Deed::Delivered(id)
        | Deed::Retired(id, _)
        | Deed::Proved(id)
        | Deed::Renewed(id)) = deed;
        let Some(fate) = self.fates.get_mut(&id) else {
            return Some(format!("node {at} has {id}, which nobody wrote"));
        };
        match deed {
            Deed::Admitted(..) => {
                let fresh = fate.live.insert(at);
                (!fresh).then(|| format!("node {at} admits {id} twice"))
            }
            Deed::Delivered(_) => {
                let again = fate.delivered_ms.replace(now_ms).is_some();
                let wrong = again || at != fate.to || fate.expectation == Expectation::Kept;
                wrong.then(|| format!("{id} is delivered at node {at}: again {again}"))
            }
            Deed::Retired(_, why) => {
                let had = fate.live.remove(&at);
                let lived_s = at_most_s(now_ms.saturating_sub(fate.sent_ms));
                match why {
                    _ if !had => Some(format!("node {at} retires {id}, which it does not have")),
                    Why::Receipt if !fate.is_delivered() => {
                        Some(format!("node {at} frees {id}, which has not arrived"))
                    }
                    Why::Dropped if at == fate.from && self.dropping != Dropping::Published => {
                        Some(format!("node {at} drops {id}, which is its own"))
                    }
                    // A neighbour made it older than it is; its author knows better.
                    Why::Expired
                        if lived_s < fate.lifetime_s && self.hops_lie && at != fate.from =>
                    {
                        None
                    }
                    Why::Expired if lived_s < fate.lifetime_s => {
                        Some(format!("node {at} drops {id} after {lived_s} s"))
                    }
                    Why::Expired => {
                        fate.expectation = Expectation::Nothing;
                        None
                    }
                    _ => None,
                }
            }
            Deed::Renewed(_) => {
                fate.renewals += 1;
                let wrong = fate.proved || at != fate.from || fate.renewals > 2;
                wrong.then(|| format!("node {at} renews {id}, {} times now", fate.renewals))
            }
            Deed::Proved(_) => {
                fate.proved = true;
                let wrong = !fate.is_delivered() || at != fate.from;
                wrong.then(|| format!("node {at} believes that {id} arrived"))
            }
        }
    }

    /// Something that has not become as it should; `None` when all has.
    pub fn outstanding(&self) -> Option<String> {
        self.fates.iter().find_map(|(id, fate)| {
            let Fate { from, to, locked, .. } = fate;
            let want = fate.expectation;
            let arrives =
                matches!(want, Expectation::Freed | Expectation::Proved | Expectation::Delivered);
            if arrives && !fate.is_delivered() {
                let live = &fate.live;
                Some(format!("{id} from {from} to {to} has not arrived; copies at {live:?}"))
            } else if matches!(want, Expectation::Freed | Expectation::Proved) && !fate.proved {
                Some(format!("{from} does not know that {id} arrived at {to} (lock {locked})"))
            } else if want == Expectation::Freed && !fate.live.is_subset(&self.liars) {
                Some(format!("{id} has arrived at {to} and is still at {:?}", fate.live))
            } else {
                None
            }
        })
    }
}

/// The most that honest clocks can make of a time: in seconds, rounded up.
fn at_most_s(ms: u64) -> u64 {
    (ms + ms / DRIFT_SHARE).div_ceil(1000)
}

impl World {
    /// Says what is to become of a letter, where that is not the usual.
    pub fn expect(&mut self, id: &BundleId, expectation: Expectation) {
        if let Some(fate) = self.laws.fates.get_mut(id) {
            fate.expectation = expectation;
        }
    }

    /// From now on copies may stay, of all letters so far: no receipt comes everywhere.
    pub fn expect_copies_to_stay(&mut self) {
        for fate in self.laws.fates.values_mut().filter(|f| f.expectation == Expectation::Freed) {
            fate.expectation = Expectation::Proved;
        }
    }

    /// Something that has not become as it should.
    pub fn outstanding(&self) -> Option<String> {
        self.laws.outstanding()
    }

    /// Letters that have arrived.
    pub fn arrived(&self) -> usize {
        self.laws.fates.values().filter(|fate| fate.is_delivered()).count()
    }

    /// Whether a letter has arrived.
    pub fn has_arrived(&self, id: &BundleId) -> bool {
        self.laws.fates.get(id).is_some_and(|fate| fate.is_delivered())
    }

    /// Whether a node has a copy.
    pub fn has_copy(&self, at: usize, id: &BundleId) -> bool {
        self.laws.fates.get(id).is_some_and(|fate| fate.live.contains(&at))
    }

    /// The slow laws: every spool holds what the deeds say, and every copy is the author's bytes;
    /// every letter has arrived, or is over, or its author still has it. Where tokens count, no bundle
    /// has more of them than it began with and was given with each renewal, and none that is on its way
    /// has none.
    pub fn look_closely(&mut self) {
        let mut faults = Vec::new();
        let mut copies = 0;
        let mut tokens: BTreeMap<BundleId, u64> = BTreeMap::new();
        for node in &self.nodes {
            let mut after = 0;
            while let Ok(page) = node.spool.since(after, ROWS_MAX)
                && let Some(last) = page.last()
            {
                after = last.arrival;
                copies += page.len();
                for entry in &page {
                    if entry.hop.tokens > Hop::TOKENS_MAX {
                        faults.push((
                            node.at,
                            format!("node {} believes in {} tokens", node.at, entry.hop.tokens),
                        ));
                    }
                    *tokens.entry(entry.id).or_default() += u64::from(entry.hop.tokens);
                }
                faults.extend(page.iter().filter_map(|entry| {
                    let same = self.is_as_written(node, &entry.id);
                    (!same).then(|| (node.at, format!("node {} has spoiled {}", node.at, entry.id)))
                }));
            }
        }
        let told: usize = self.laws.fates.values().map(|fate| fate.live.len()).sum();
        // What goes by a medium has one token more each time: a stick can be copied.
        let most = self.scheme.tokens().filter(|_| self.couriers.is_empty());
        let most = |id| {
            let times = 1 + self.laws.fates.get(id).map_or(0, |fate| fate.renewals);
            most.map_or(u64::MAX, |all| u64::from(all) * times)
        };
        // Who is malicious says the same tokens twice.
        let counted = tokens.iter().filter(|_| self.laws.liars.is_empty());
        if let Some((id, sum)) = counted.into_iter().find(|(id, sum)| **sum > most(id)) {
            faults.push((0, format!("{id} has {sum} tokens, not {}", most(id))));
        }
        let none = |(id, sum): &(&BundleId, &u64)| {
            let fate = self.laws.fates.get(id);
            **sum == 0 && fate.is_some_and(|f| !f.is_delivered() && f.live.contains(&f.from))
        };
        if let Some((id, _)) = tokens.iter().find(none) {
            faults.push((0, format!("{id} is on its way and has no token")));
        }
        if copies != told {
            faults.push((0, format!("the spools have {copies} bundles, their deeds say {told}")));
        }
        for (id, fate) in &self.laws.fates {
            let to = &self.nodes[fate.to];
            let over = matches!(fate.expectation, Expectation::Nothing);
            if fate.is_delivered() != to.has_delivered(id) {
                faults.push((fate.to, format!("node {} has forgotten {id}", fate.to)));
            } else if !fate.is_delivered() && !over && !fate.live.contains(&fate.from) {
                faults.push((fate.from, format!("{id} is lost")));
            }
        }
        if let Some((at, fault)) = faults.into_iter().next() {
            self.fault(at, fault);
        }
    }

    fn is_as_written(&self, node: &Node, id: &BundleId) -> bool {
        let Some(letter) = self.letters.of(id) else { return false };
        let mut body = vec![0; letter.body.len()];
        let read = node.spool.read(id, 0, &mut body);
        let head = node.spool.envelope(id).ok().flatten().map(|envelope| envelope.head);
        let source = node.spool.entry(id).ok().flatten().and_then(|entry| entry.summary.source);
        let open = letter.header.source().map(|_| *node_id(letter.from).as_bytes());
        matches!(read, Ok(Some(n)) if n == body.len())
            && body == letter.body
            && head.as_deref() == Some(&letter.head[..])
            && source == open
    }
}
