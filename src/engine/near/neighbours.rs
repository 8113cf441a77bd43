//! Whom we know and where they are said to be: a bounded table.
//!
//! A neighbour is a node. What was heard of it leads to *spots*, and anybody can make those up by
//! saying its words again: so there are few of them, one that has led to a link is believed more than
//! all others, and one that led nowhere is tried after those that were not tried.

use std::{cmp::Reverse, collections::BTreeMap};

use postrider_base::NodeId;

use super::{
    advert::NONCE,
    contract::{AdapterId, Place},
    duty::Pace,
    limits::{
        LEFT_MS, NEIGHBOURS_MAX, RETRY_MS, RETRY_PROVEN_MS, SPOTS_MAX, STRONGER_DB, STUCK_MS,
    },
};

/// Where a neighbour may take links.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    /// By which of our adapters it is reached.
    pub adapter: AdapterId,
    pub place: Place,
    /// `None`: it cannot be dialled, only heard.
    pub channel: Option<u8>,
    pub nonce: [u8; NONCE],
    /// Since when it is known with that nonce.
    pub since_ms: u64,
    pub heard_ms: u64,
    /// How long that adapter had listened in all when it heard this.
    pub listened_ms: u64,
    pub strength_dbm: Option<i16>,
    failures: u32,
    /// A dial was in vain, and nothing was heard from here since.
    is_doubted: bool,
    /// The strongest it was when a dial was in vain.
    failed_dbm: i16,
    /// A link to there has proven who it is.
    proven: bool,
}

impl Spot {
    fn is_at(&self, adapter: AdapterId, place: Place) -> bool {
        self.adapter == adapter && self.place == place
    }
}

/// What an advert told of a neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    pub adapter: AdapterId,
    pub place: Place,
    pub channel: Option<u8>,
    pub nonce: [u8; NONCE],
    pub listened_ms: u64,
    pub strength_dbm: Option<i16>,
    /// These words were never heard before.
    pub new: bool,
}

/// Somebody we know.
#[derive(Debug, Default)]
pub(super) struct Neighbour {
    pub spots: Vec<Spot>,
    /// When the last link to it ended in peace.
    visited_ms: Option<u64>,
    /// Since when a link to it has been due, and none was of use.
    pub missed_ms: Option<u64>,
    /// Dials in vain since the last link.
    pub failures: u32,
    /// When the last of those was.
    failed_ms: u64,
    /// Not dialled before this.
    retry_ms: u64,
    /// Visits in a row that left mail behind.
    stuck: u32,
    stuck_until_ms: u64,
    /// A link has proven it since it was last away.
    had_link: bool,
}

impl Neighbour {
    /// When a link to it is due; with `mail`, for that alone.
    pub fn due_ms(&self, mail: bool, pace: Pace) -> u64 {
        match self.visited_ms {
            None => 0,
            Some(_) if mail => self.stuck_until_ms,
            Some(at) => at + pace.visit_ms,
        }
    }

    /// It is not dialled before this, because dials were in vain; `turn_ms` is how long the other end
    /// has to dial first. Two whose dials have met begin together again otherwise.
    pub fn retry_ms(&self, turn_ms: u64) -> u64 {
        let turn = if self.failures > 0 { self.failed_ms + turn_ms } else { 0 };
        self.retry_ms.max(turn)
    }

    /// When it was last visited, for those who have waited longest.
    pub fn visited_ms(&self) -> u64 {
        self.visited_ms.unwrap_or(0)
    }

    /// Where to dial it: nowhere twice without having heard it again, and not where it was before it said
    /// something else from somewhere else. Whoever has gone costs one dial.
    pub fn best(&self) -> Option<&Spot> {
        let left = |old: &Spot| {
            let later = |spot: &Spot| spot.listened_ms > old.listened_ms + LEFT_MS;
            self.spots.iter().any(|spot| spot.adapter == old.adapter && later(spot))
        };
        let dialled = self.spots.iter().filter(|spot| {
            let Spot { channel, is_doubted, .. } = spot;
            channel.is_some() && !is_doubted && !left(spot)
        });
        dialled.min_by_key(|spot| (spot.failures, Reverse(spot.heard_ms), spot.place))
    }

    /// The spot heard last.
    pub fn last(&self) -> Option<&Spot> {
        self.spots.iter().max_by_key(|spot| spot.heard_ms)
    }

    /// Takes in what was heard; whether something else is due now.
    fn hear(&mut self, now_ms: u64, heard: Sighting, pace: Pace) -> bool {
        let Sighting { adapter, place, channel, nonce, listened_ms, strength_dbm, new } = heard;
        let here = |spot: &Spot| spot.adapter == adapter;
        let silent = |spot: &Spot| listened_ms >= spot.listened_ms + pace.silence_ms;
        let back = self.spots.is_empty() || self.spots.iter().all(|s| here(s) && silent(s));
        let mut came = new || back;
        // That it says something else is no reason: with each link it does.
        if back {
            self.forgive();
        }
        let at = |spot: &&mut Spot| spot.is_at(adapter, place) && spot.channel == channel;
        if let Some(spot) = self.spots.iter_mut().find(at) {
            if spot.nonce != nonce {
                (spot.nonce, spot.since_ms) = (nonce, now_ms);
            }
            (spot.heard_ms, spot.listened_ms) = (now_ms, listened_ms);
            spot.strength_dbm = strength_dbm;
            came |= std::mem::take(&mut spot.is_doubted);
            let nearer =
                strength_dbm.is_some_and(|dbm| dbm >= spot.failed_dbm.saturating_add(STRONGER_DB));
            if spot.failures > 0 && nearer {
                // The strongest stays remembered: this cannot go on for ever.
                spot.failures = 0;
                (self.failures, self.retry_ms) = (0, 0);
                came = true;
            }
            return came;
        }
        let believed = |spot: &Spot| spot.proven && here(spot) && spot.nonce == nonce;
        if self.spots.iter().any(believed) {
            return came;
        }
        if self.spots.len() >= SPOTS_MAX {
            let worth = |spot: &Spot| (spot.proven, Reverse(spot.failures), spot.heard_ms);
            let least = (0..self.spots.len()).min_by_key(|n| worth(&self.spots[*n]));
            least.map(|least| self.spots.swap_remove(least));
        }
        self.spots.push(Spot {
            adapter,
            place,
            channel,
            nonce,
            since_ms: now_ms,
            heard_ms: now_ms,
            listened_ms,
            strength_dbm,
            failures: 0,
            is_doubted: false,
            failed_dbm: i16::MIN,
            proven: false,
        });
        true
    }

    /// It is here anew: what was before does not count.
    fn forgive(&mut self) {
        (self.failures, self.retry_ms, self.visited_ms) = (0, 0, None);
        (self.stuck, self.stuck_until_ms) = (0, 0);
        self.spots.iter_mut().for_each(|spot| spot.failures = 0);
    }

    /// A link has proven it; `at` is where it was dialled.
    pub fn proven(&mut self, at: Option<(AdapterId, Place)>) {
        let Some((adapter, place)) = at else { return };
        let Some(spot) = self.spots.iter_mut().find(|spot| spot.is_at(adapter, place)) else {
            return;
        };
        (spot.failures, spot.proven) = (0, true);
        // Who says the same elsewhere only repeats it.
        let nonce = spot.nonce;
        self.spots.retain(|s| s.adapter != adapter || s.nonce != nonce || s.place == place);
    }

    /// A dial was in vain, or a link ended before it was of use. `chance` shortens the pause by up to
    /// a quarter.
    pub fn failed(&mut self, now_ms: u64, at: Option<(AdapterId, Place)>, chance: u64) {
        let most = if self.had_link { RETRY_PROVEN_MS } else { u64::MAX };
        let step = usize::try_from(self.failures).unwrap_or(usize::MAX).min(RETRY_MS.len() - 1);
        let pause = RETRY_MS[step].min(most);
        self.failures = self.failures.saturating_add(1);
        self.failed_ms = now_ms;
        self.retry_ms = now_ms + pause - chance % (pause / 4 + 1);
        for spot in &mut self.spots {
            if at.is_some_and(|(adapter, place)| spot.is_at(adapter, place)) {
                spot.failures = spot.failures.saturating_add(1);
                spot.is_doubted = true;
                spot.failed_dbm = spot.failed_dbm.max(spot.strength_dbm.unwrap_or(i16::MIN));
            }
        }
    }

    /// A link ended in peace. Only what lasts shows that dials are not in vain: whoever does not want us
    /// may close each at once.
    pub fn visited(&mut self, now_ms: u64, mail_left: bool, pace: Pace) {
        (self.failures, self.retry_ms, self.had_link) = (0, 0, true);
        self.visited_ms = Some(now_ms);
        self.missed_ms = None;
        self.stuck = if mail_left { self.stuck.saturating_add(1).min(16) } else { 0 };
        let pause = if mail_left { STUCK_MS << (self.stuck - 1) } else { 0 };
        self.stuck_until_ms = now_ms + pause.min(pace.visit_ms);
    }

    /// There is mail for it that was not there before.
    pub fn has_mail(&mut self) {
        (self.stuck, self.stuck_until_ms) = (0, 0);
    }

    /// It is to be visited as soon as may be.
    pub fn is_due(&mut self) {
        self.visited_ms = None;
    }

    /// A link broke: it must be heard before it is dialled, and is then dialled at once.
    pub fn lost(&mut self) {
        self.spots.clear();
        self.forgive();
        (self.missed_ms, self.had_link) = (None, true);
    }
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Neighbours(BTreeMap<NodeId, Neighbour>);

impl Neighbours {
    /// Takes in what was heard of somebody we know; whether something else is due now.
    pub fn hear(
        &mut self,
        now_ms: u64,
        node: NodeId,
        heard: Sighting,
        pace: Pace,
        keep: impl Fn(&NodeId) -> bool,
    ) -> bool {
        self.entry(node, keep).is_some_and(|neighbour| neighbour.hear(now_ms, heard, pace))
    }

    /// The neighbour, who is new if it has to be; the one longest unheard makes room. `keep` says who
    /// never does.
    pub fn entry(
        &mut self,
        node: NodeId,
        keep: impl Fn(&NodeId) -> bool,
    ) -> Option<&mut Neighbour> {
        if !self.0.contains_key(&node) && self.0.len() >= NEIGHBOURS_MAX {
            let heard_ms = |n: &Neighbour| n.last().map_or(0, |spot| spot.heard_ms);
            let least = self.0.iter().filter(|(node, _)| !keep(node));
            let least = least.min_by_key(|(_, n)| heard_ms(n)).map(|(node, _)| *node)?;
            self.0.remove(&least);
        }
        Some(self.0.entry(node).or_default())
    }

    pub fn get_mut(&mut self, node: &NodeId) -> Option<&mut Neighbour> {
        self.0.get_mut(node)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Neighbour)> {
        self.0.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&NodeId, &mut Neighbour)> {
        self.0.iter_mut()
    }

    /// Forgets those who are meant.
    pub fn retain(&mut self, keep: impl Fn(&NodeId) -> bool) {
        self.0.retain(|node, _| keep(node));
    }

    /// Forgets what was heard on an adapter.
    pub fn adapter_down(&mut self, adapter: AdapterId) {
        self.0.values_mut().for_each(|n| n.spots.retain(|spot| spot.adapter != adapter));
    }

    /// Forgets what was not heard for long; when it has to be looked at again.
    pub fn expire(&mut self, now_ms: u64, pace: Pace, keep: impl Fn(&NodeId) -> bool) -> u64 {
        let mut next_ms = u64::MAX;
        self.0.retain(|node, neighbour| {
            neighbour.spots.retain(|spot| spot.heard_ms + pace.expires_ms > now_ms);
            for spot in &neighbour.spots {
                next_ms = next_ms.min(spot.heard_ms + pace.expires_ms);
            }
            if neighbour.spots.is_empty() {
                neighbour.missed_ms = None;
            }
            // When it was visited counts for as long as that keeps it from being visited.
            let until_ms = neighbour.due_ms(false, pace).max(neighbour.retry_ms);
            let stays = !neighbour.spots.is_empty() || keep(node) || until_ms > now_ms;
            if stays && neighbour.spots.is_empty() && until_ms > now_ms {
                next_ms = next_ms.min(until_ms);
            }
            stays
        });
        next_ms
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}
