//! What there is to send, and when each of it is due: once, then ever more rarely until it is taken back.

use std::{cmp::Ordering, collections::BTreeMap};

use postrider_base::{NodeId, radio::FrameType};

use super::{
    code::{Coded, Follows, Key},
    contract::{Asks, Ending, Item, ItemId, Now, Repeats, Source, To},
    fair::{Asker, Budgets, Shares},
    pace::{GAP_MOST_US, Pace, REST_US, around},
};
use crate::{air::Lane, meeting::chance::Chance};

/// Items at a time: with forms of two frames each 250 KiB, of the longest 2.3 MiB.
pub(super) const ITEMS_MAX: usize = 512;
/// Frames that are booked together: one write of the ledger for them, and what is more urgent waits for
/// one of them at most.
const BURST_MAX: usize = 8;
/// How soon after it was on the air somebody who says that it lacks an item can have missed it.
const MISSED_US: u64 = 20_000_000;
/// Who may want frames of one item at a time.
const ASKERS_MAX: usize = 16;

/// What is to be done with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Its pieces go out for the first time.
    First,
    /// Somebody lacks something of it.
    Repair(Asker),
    /// It goes out again: all of it if it is one frame, else a sum of its pieces, which tells whoever
    /// lacks any.
    Again,
    /// As many sums behind that as others wanted and did not get.
    More,
    /// The same as again, before its time, because somebody says that it lacks it.
    Offer(Asker),
}

/// What somebody wants of an item.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    by: Asker,
    frames: usize,
    due_us: u64,
}

/// Who seems to have an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Somebody passed it on.
    PassedOn,
    /// A beacon named it.
    Named(Option<NodeId>),
}

/// A frame of an item.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub bytes: Vec<u8>,
    pub part: Part,
}

/// Of what a frame is: of an item as it was given then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub id: ItemId,
    pub turn: Turn,
    arrival: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub lane: Lane,
    pub source: Source,
    pub times: u32,
    to: To,
    asks: Asks,
    repeats: Repeats,
    coded: Coded,
    ends_ms: u64,
    arrival: u64,
    /// The next piece of the first time.
    next: usize,
    due_us: u64,
    gap_us: u64,
    /// Frames that others lack. One that goes out is for all of them.
    wanted: Vec<Wanted>,
    seed: u16,
    /// It seems to be with whoever is to have it.
    resting: bool,
    /// It seems to be with somebody, since it was on the air last.
    passed: bool,
    /// Who lacks it, and when it is offered to them.
    offer: Option<(Asker, u64)>,
    aired_us: u64,
    ask_us: u64,
    ask_gap_us: u64,
}

/// All items.
#[derive(Debug, Default)]
pub(super) struct Items {
    entries: BTreeMap<ItemId, Entry>,
    pub shares: Shares,
    arrivals: u64,
}

/// What a station is given to decide with.
pub(super) struct Means<'a> {
    pub pace: &'a Pace,
    pub chance: &'a mut Chance,
}

impl Items {
    /// Takes an item in; one that had to go for it.
    pub fn put(
        &mut self,
        now: Now,
        item: Item,
        mtu_bytes: usize,
        means: Means<'_>,
    ) -> Result<Option<ItemId>, Ending> {
        let first = item.form.first().copied().and_then(FrameType::of);
        if first != Some(FrameType::Bundle) {
            return Err(Ending::Form);
        }
        let coded = Coded::new(&item.form, mtu_bytes).map_err(|_| Ending::Form)?;
        let ends_ms = now.custody_ms.saturating_add(item.lives_ms);
        if let Some(entry) = self.entries.get_mut(&item.id)
            && entry.is_like(&item, &coded)
        {
            entry.ends_ms = ends_ms;
            (entry.asks, entry.repeats) = (item.asks, item.repeats);
            // What others have begun to put together goes on under its key.
            if coded.is_one() {
                entry.coded = coded;
            }
            return Ok(None);
        }
        self.entries.remove(&item.id);
        let gone = if self.entries.len() >= ITEMS_MAX { self.least(item.lane)? } else { None };
        if let Some(gone) = gone {
            self.entries.remove(&gone);
        }
        if !self.entries.values().any(|entry| entry.source == item.source) {
            let others = self.entries.values().map(|entry| entry.source);
            self.shares.join(item.source, others);
        }
        self.arrivals += 1;
        let entry = Entry {
            lane: item.lane,
            source: item.source,
            times: 0,
            to: item.to,
            asks: item.asks,
            repeats: item.repeats,
            ends_ms,
            arrival: self.arrivals,
            next: 0,
            due_us: now.us,
            gap_us: means.pace.first_gap_us(item.lane, coded.frames().len()),
            coded,
            wanted: Vec::new(),
            seed: u16::from_be_bytes(means.chance.bytes()),
            resting: false,
            passed: false,
            offer: None,
            aired_us: 0,
            ask_us: u64::MAX,
            ask_gap_us: means.pace.ask_us(),
        };
        self.entries.insert(item.id, entry);
        Ok(gone)
    }

    /// What goes when one of this lane comes: of the least urgent lane, from whoever has most there,
    /// what came last. Nothing that is more urgent.
    fn least(&self, lane: Lane) -> Result<Option<ItemId>, Ending> {
        let last = self.entries.values().map(|entry| entry.lane).max();
        let Some(last) = last.filter(|last| *last >= lane) else { return Err(Ending::Full) };
        let of_lane = || self.entries.iter().filter(move |(_, entry)| entry.lane == last);
        let mut counts: BTreeMap<Source, usize> = BTreeMap::new();
        for (_, entry) in of_lane() {
            *counts.entry(entry.source).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(source, _)| source);
        let theirs = of_lane().filter(|(_, entry)| Some(entry.source) == most);
        Ok(theirs.max_by_key(|(_, entry)| entry.arrival).map(|(id, _)| *id))
    }

    pub fn remove(&mut self, id: &ItemId) -> bool {
        self.entries.remove(id).is_some()
    }

    pub fn entry(&self, id: &ItemId) -> Option<&Entry> {
        self.entries.get(id)
    }

    pub fn ids(&self) -> impl Iterator<Item = ItemId> {
        self.entries.keys().copied()
    }

    /// Takes out what has lived long enough.
    pub fn expire(&mut self, now: Now) -> Vec<ItemId> {
        let over = self.entries.iter().filter(|(_, entry)| entry.ends_ms <= now.custody_ms);
        let over: Vec<ItemId> = over.map(|(id, _)| *id).collect();
        for id in &over {
            self.entries.remove(id);
        }
        over
    }

    /// When the next one has, by the custody clock.
    pub fn expires_ms(&self) -> Option<u64> {
        self.entries.values().map(|entry| entry.ends_ms).min()
    }

    /// What of a lane is next: what was begun, then whatever is of the source that had least, of that
    /// what was never sent. And when there may be something, if there is nothing now.
    pub fn choose(
        &self,
        now_us: u64,
        lane: Lane,
        pace: &Pace,
        budgets: &mut Budgets,
    ) -> Result<(ItemId, Turn), u64> {
        let mut ready = Vec::new();
        let mut later_us = u64::MAX;
        for (id, entry) in self.entries.iter().filter(|(_, entry)| entry.lane == lane) {
            for (turn, due_us) in entry.turns() {
                if due_us > now_us {
                    later_us = later_us.min(due_us);
                    continue;
                }
                let asker = Entry::asker(turn);
                let may = asker.map_or(Ok(()), |asker| budgets.may(now_us, asker, pace.frame_us));
                if let Err(ready_us) = may {
                    later_us = later_us.min(ready_us);
                    continue;
                }
                let begun =
                    entry.next > 0 && turn == Turn::First || matches!(turn, Turn::Repair(_));
                let had_us = self.shares.had_us(entry.source);
                let rank = (!begun, had_us, entry.times > 0, entry.arrival);
                ready.push((rank, *id, turn));
                break;
            }
        }
        let best = ready.into_iter().min_by_key(|(rank, ..)| *rank);
        best.map(|(_, id, turn)| (id, turn)).ok_or(later_us)
    }

    /// How long the next frame of that turn is.
    pub fn bytes(&self, id: &ItemId, turn: Turn) -> usize {
        let Some(entry) = self.entries.get(id) else { return 0 };
        let frames = entry.coded.frames();
        let length = |at: usize| frames.get(at).map_or(0, Vec::len);
        match turn {
            Turn::First => length(entry.next),
            Turn::Again | Turn::Offer(_) if entry.coded.is_one() => length(0),
            // A sum's head is a byte longer than that of a piece.
            Turn::Again | Turn::More | Turn::Repair(_) | Turn::Offer(_) => length(0) + 1,
        }
    }

    /// The frames of that turn, as many as go together.
    pub fn frames(&mut self, id: &ItemId, turn: Turn) -> Vec<Frame> {
        let Some(entry) = self.entries.get_mut(id) else { return Vec::new() };
        let part = Part { id: *id, turn, arrival: entry.arrival };
        let frame = |bytes| Frame { bytes, part };
        match turn {
            Turn::First => {
                let left = entry.coded.frames().iter().skip(entry.next).take(BURST_MAX);
                left.cloned().map(frame).collect()
            }
            Turn::Again | Turn::Offer(_) if entry.coded.is_one() => {
                entry.coded.frames().iter().cloned().map(frame).collect()
            }
            Turn::Offer(_) => vec![frame(entry.sum(true))],
            Turn::Again | Turn::More => {
                // On its own time it may cost as much as it did the first time.
                let sums = entry.most_wanted().clamp(1, entry.coded.frames().len());
                let turns = (0..sums).map(|at| if at == 0 { Turn::Again } else { Turn::More });
                let turns: Vec<Turn> = turns.collect();
                let sum = |(at, turn)| Frame {
                    bytes: entry.sum(at + 1 == sums),
                    part: Part { turn, ..part },
                };
                turns.into_iter().enumerate().map(sum).collect()
            }
            Turn::Repair(by) => {
                let wanted = entry.wanted.iter().find(|wanted| wanted.by == by);
                let frames = wanted.map_or(0, |wanted| wanted.frames);
                let burst = frames.min(BURST_MAX);
                (1..=burst).map(|at| frame(entry.sum(at == frames))).collect()
            }
        }
    }

    /// Whether a frame that was made still is to go.
    pub fn still(&self, now_us: u64, part: &Part) -> bool {
        let entry = self.entries.get(&part.id).filter(|entry| entry.arrival == part.arrival);
        let due = |(turn, due_us): &(Turn, u64)| *turn == part.turn && *due_us <= now_us;
        entry.is_some_and(|entry| part.turn == Turn::More || entry.turns().iter().any(due))
    }

    /// A frame was on the air. Whether that was all of it, once more.
    pub fn aired(
        &mut self,
        now_us: u64,
        part: &Part,
        us: u64,
        budgets: &mut Budgets,
        means: Means<'_>,
    ) -> bool {
        if let Some(asker) = Entry::asker(part.turn) {
            budgets.spend(now_us, asker, us);
        }
        let entry = self.entries.get_mut(&part.id);
        let Some(entry) = entry.filter(|entry| entry.arrival == part.arrival) else { return false };
        self.shares.spend(entry.source, us);
        entry.aired_us = now_us;
        entry.passed = false;
        match part.turn {
            Turn::First => {
                entry.next += 1;
                if entry.next < entry.coded.frames().len() {
                    return false;
                }
            }
            Turn::Again => entry.serve(),
            Turn::Offer(_) => {
                entry.serve();
                entry.offer = None;
                entry.times = entry.times.saturating_add(1);
                return true;
            }
            Turn::Repair(_) | Turn::More => {
                entry.serve();
                let rest_us = means.pace.window_us() * 2;
                entry.due_us = entry.due_us.max(now_us.saturating_add(rest_us));
                return false;
            }
        }
        entry.offer = None;
        entry.times = entry.times.saturating_add(1);
        entry.due_us = now_us.saturating_add(around(means.chance, entry.gap_us));
        let growth = if entry.resting { 2 } else { Pace::growth(entry.lane) };
        entry.gap_us = entry.gap_us.saturating_mul(growth).min(GAP_MOST_US);
        true
    }

    /// Somebody seems to have it; whether that is news.
    pub fn seen(&mut self, now_us: u64, id: &ItemId, seen: Seen, chance: &mut Chance) -> bool {
        let Some(entry) = self.entries.get_mut(id) else { return false };
        // What was never sent is sent once: nothing that is heard keeps it back.
        if entry.times == 0 || entry.resting {
            return false;
        }
        let meant = match (entry.to, seen) {
            (To::Anybody, Seen::PassedOn) => true,
            // Whoever has what only passes through here may be whom it came from.
            (To::Anybody, Seen::Named(_)) => !entry.passes_through(),
            (To::Neighbour(node), Seen::Named(by)) => by == Some(node),
            (To::Neighbour(_), Seen::PassedOn) => false,
        };
        if meant {
            entry.resting = true;
            entry.gap_us = entry.gap_us.max(REST_US);
            entry.due_us = now_us.saturating_add(around(chance, entry.gap_us));
            if entry.asks == Asks::Receipt {
                entry.ask_us = now_us.saturating_add(entry.ask_gap_us);
            }
            return true;
        }
        // Somebody else's having it puts off one repetition, and not the next one again.
        if !entry.passed {
            entry.passed = true;
            let gap_us = entry.gap_us.saturating_mul(2).min(REST_US);
            entry.due_us = entry.due_us.max(now_us.saturating_add(around(chance, gap_us)));
        }
        false
    }

    /// Somebody else sends it: whoever lacks it has heard that too.
    pub fn offered(&mut self, id: &ItemId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.offer = None;
        }
    }

    /// Somebody says that it lacks it.
    pub fn lacked(&mut self, now_us: u64, id: &ItemId, by: Option<NodeId>, after_us: u64) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let meant = match entry.to {
            To::Anybody => true,
            To::Neighbour(node) => by == Some(node),
        };
        let missed = now_us.saturating_sub(entry.aired_us) > MISSED_US;
        let due_us = now_us.saturating_add(after_us);
        // A contact that lacks it does not stand behind strangers who say so.
        let new = entry.offer.is_none_or(|(asker, _)| asker == Asker::Strangers && by.is_some());
        let later = due_us < entry.due_us;
        if meant && missed && new && later && entry.times > 0 && entry.wanted.is_empty() {
            entry.offer = Some((by.map_or(Asker::Strangers, Asker::Contact), due_us));
        }
    }

    /// Somebody else sends a sum of it: that is for all who lack any. What lacks then is sent from here
    /// when they end.
    pub fn served(&mut self, now_us: u64, id: &ItemId, wait_us: u64) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.serve();
        for wanted in &mut entry.wanted {
            wanted.due_us = wanted.due_us.max(now_us.saturating_add(wait_us));
        }
    }

    /// Somebody wants so many more frames of a form. Who has sent of it last answers first.
    pub fn wanted(&mut self, now_us: u64, key: Key, by: Asker, frames: usize, means: Means<'_>) {
        let Means { pace, chance } = means;
        let of_key = self.entries.values_mut().filter(|entry| entry.coded.key() == key);
        for entry in of_key.filter(|entry| entry.times > 0 && !entry.coded.is_one()) {
            let frames = frames.min(entry.coded.frames().len());
            let sent = now_us.saturating_sub(entry.aired_us) < 2 * pace.window_us();
            let drawn_us = if sent { 0 } else { chance.up_to(pace.window_us()) };
            let due_us = now_us.saturating_add(pace.want_us).saturating_add(drawn_us);
            if let Some(wanted) = entry.wanted.iter_mut().find(|wanted| wanted.by == by) {
                wanted.frames = wanted.frames.max(frames);
            } else if entry.wanted.len() < ASKERS_MAX {
                // Whom we know goes first: strangers may have asked for too much already.
                let at = entry.wanted.partition_point(|wanted| wanted.by > by);
                entry.wanted.insert(at, Wanted { by, frames, due_us });
            }
        }
    }

    /// Whose form a key names.
    pub fn by_key(&self, key: Key) -> Option<ItemId> {
        self.entries.iter().find(|(_, entry)| entry.coded.key() == key).map(|(id, _)| *id)
    }

    /// The item that a form is of which came in one frame, but for how far and how old it is.
    pub fn same(&self, form: &[u8]) -> Option<(ItemId, Ordering)> {
        let [shape, hop, _, rest @ ..] = form else { return None };
        self.entries.iter().find_map(|(id, entry)| {
            let [own_shape, own_hop, _, own @ ..] = &entry.coded.frames().first()?[..] else {
                return None;
            };
            let same = entry.coded.is_one() && own_shape == shape && own == rest;
            same.then(|| (*id, hops(*hop).cmp(&hops(*own_hop))))
        })
    }

    /// How far a form that came has come beside what this node sends of it.
    pub fn farther(&self, id: &ItemId, hop: u8) -> Option<Ordering> {
        let own = self.entries.get(id)?.hop()?;
        Some(hops(hop).cmp(&hops(own)))
    }

    /// For which item to ask next for a receipt.
    pub fn asking(&self) -> Option<(ItemId, u64)> {
        let asking = self.entries.iter().filter(|(_, entry)| entry.ask_us < u64::MAX);
        asking.map(|(id, entry)| (*id, entry.ask_us)).min_by_key(|(_, us)| *us)
    }

    /// Somebody asks for a receipt, and this node has the message: where the receipt got lost nobody
    /// knows. If it seems to have gone on it is asked for from here too, else the message goes again.
    pub fn ask_on(
        &mut self,
        now_us: u64,
        prefix: [u8; 3],
        asker: Asker,
        after_us: u64,
        pace: &Pace,
    ) {
        let named = self.entries.iter_mut().filter(|(id, _)| id.0.starts_with(&prefix));
        for (_, entry) in named {
            let missed = now_us.saturating_sub(entry.aired_us) > pace.again_us();
            if entry.resting {
                entry.ask_us = entry.ask_us.min(now_us.saturating_add(entry.ask_gap_us));
            } else if missed && entry.times > 0 && entry.offer.is_none() {
                entry.offer = Some((asker, now_us.saturating_add(after_us)));
            }
        }
    }

    /// It was asked for.
    pub fn asked(&mut self, now_us: u64, id: &ItemId) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.ask_gap_us = (entry.ask_gap_us.saturating_mul(3) / 2).min(GAP_MOST_US);
            entry.ask_us = now_us.saturating_add(entry.ask_gap_us);
        }
    }
}

/// How many nodes a form has passed, by its second byte.
pub(super) fn hops(hop: u8) -> u8 {
    hop & 0x1f
}

impl Entry {
    pub fn key(&self) -> Key {
        self.coded.key()
    }

    pub fn coded(&self) -> &Coded {
        &self.coded
    }

    /// The second byte of the form.
    fn hop(&self) -> Option<u8> {
        // The first piece begins behind its head as the form does.
        if self.coded.is_one() {
            self.coded.frames().first()?.get(1).copied()
        } else {
            self.coded.contents().next()?.get(1).copied()
        }
    }

    /// Whether it came here from another node.
    fn passes_through(&self) -> bool {
        self.hop().is_some_and(|hop| hops(hop) > 0)
    }

    /// What is to be done with it, and when; what comes first goes first.
    fn turns(&self) -> Vec<(Turn, u64)> {
        if self.times == 0 {
            return vec![(Turn::First, self.due_us)];
        }
        let wanted = self.wanted.iter().map(|wanted| (Turn::Repair(wanted.by), wanted.due_us));
        let offer = self.offer.map(|(by, us)| (Turn::Offer(by), us));
        let again = (self.repeats == Repeats::Ever).then_some((Turn::Again, self.due_us));
        wanted.chain(again).chain(offer).collect()
    }

    /// For whom that is, if not for the sake of the item.
    fn asker(turn: Turn) -> Option<Asker> {
        match turn {
            Turn::First | Turn::Again | Turn::More => None,
            Turn::Repair(by) | Turn::Offer(by) => Some(by),
        }
    }

    fn most_wanted(&self) -> usize {
        self.wanted.iter().map(|wanted| wanted.frames).max().unwrap_or(0)
    }

    /// One sum was on the air.
    fn serve(&mut self) {
        for wanted in &mut self.wanted {
            wanted.frames = wanted.frames.saturating_sub(1);
        }
        self.wanted.retain(|wanted| wanted.frames > 0);
    }

    fn is_like(&self, item: &Item, coded: &Coded) -> bool {
        let shape = |coded: &Coded| {
            let first = coded.contents().next().and_then(|piece| piece.first()).copied();
            let one = coded.frames().first().and_then(|frame| frame.first()).copied();
            (coded.is_one(), if coded.is_one() { one } else { first }, coded.frames().len())
        };
        self.lane == item.lane
            && self.to == item.to
            && self.source == item.source
            && shape(&self.coded) == shape(coded)
    }

    fn sum(&mut self, is_last: bool) -> Vec<u8> {
        let follows = if is_last { Follows::Nothing } else { Follows::More };
        self.seed = self.seed.wrapping_add(1);
        self.coded.repair(self.seed, follows)
    }
}
