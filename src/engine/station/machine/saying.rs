//! When a beacon is due, and what it says: rarely, when there is something new, and never more than a
//! twentieth of what may be sent.

use super::{
    super::{
        beacon::Beacon,
        contract::{ItemId, Now},
        pace::{Pace, around},
    },
    Station,
};
use crate::meeting::chance::Chance;

/// With nothing new a beacon goes every half hour.
const EVERY_US: u64 = 1_800_000_000;
/// A neighbour is gone when four of these were not heard.
pub(super) const GONE_US: u64 = 4 * EVERY_US;
/// What beacons may take of the airtime; however much that is, they are as far apart as questions for
/// receipts.
const PART: u64 = 20;
/// After coming up, within this.
const FIRST_US: u64 = 10_000_000;
/// Receipts that were asked for and are not asked for again at once.
const ANSWERED_MAX: usize = 32;

#[derive(Debug)]
pub(super) struct Saying {
    gap_us: u64,
    last_us: Option<u64>,
    /// When the next one goes anyway.
    every_us: u64,
    /// When the next one goes because something is new.
    news_us: u64,
    stopped: bool,
    answered: Vec<([u8; 3], u64)>,
}

/// What a beacon on its way says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    slice: super::super::beacon::Slice,
    asked: Option<ItemId>,
}

impl Saying {
    pub fn new(now_us: u64, pace: &Pace, chance: &mut Chance) -> Self {
        let air_us = pace.air_us(&[0; super::super::beacon::BEACON_BYTES]);
        let part_us = u128::from((pace.hour_us / PART).max(1));
        let gap_us = u128::from(air_us) * u128::from(3_600_000_000_u64) / part_us;
        let gap_us = u64::try_from(gap_us).unwrap_or(u64::MAX).max(pace.ask_us());
        Self {
            gap_us,
            last_us: None,
            every_us: now_us.saturating_add(chance.up_to(FIRST_US)),
            news_us: u64::MAX,
            stopped: false,
            answered: Vec::new(),
        }
    }

    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// There is something that others may not know: whoever sent it waits to hear of it. Time enough for
    /// passing it on, or for a receipt, which say it as well.
    pub fn tell(&mut self, now_us: u64, pace: &Pace, chance: &mut Chance) {
        let wait_us = pace.frame_us + pace.begun_us() + chance.up_to(48 * pace.slot_us);
        self.news_us = self.news_us.min(now_us.saturating_add(wait_us));
    }

    /// What is new is not said before that.
    pub fn wait(&mut self, until_us: u64) {
        if self.news_us < u64::MAX {
            self.news_us = self.news_us.max(until_us);
        }
    }

    /// Somebody is there who does not know who is here.
    pub fn greet(&mut self, now_us: u64, pace: &Pace, chance: &mut Chance) {
        let wait_us = chance.up_to(FIRST_US.max(64 * pace.slot_us));
        self.every_us = self.every_us.min(now_us.saturating_add(wait_us));
    }

    /// Whether a receipt is to be looked for that somebody asks for.
    pub fn may_answer(&mut self, now_us: u64, prefix: [u8; 3], pace: &Pace) -> bool {
        self.answered.retain(|(_, us)| now_us.saturating_sub(*us) < pace.again_us());
        if self.answered.len() >= ANSWERED_MAX || self.answered.iter().any(|(p, _)| *p == prefix) {
            return false;
        }
        self.answered.push((prefix, now_us));
        true
    }
}

impl Station {
    /// When the next beacon is due.
    pub(super) fn beacon_us(&self) -> u64 {
        if self.saying.stopped {
            return u64::MAX;
        }
        let news_us =
            if self.held.unsaid().next().is_some() { self.saying.news_us } else { u64::MAX };
        let ask_us = self.items.asking().map_or(u64::MAX, |(_, us)| us);
        let due_us = self.saying.every_us.min(news_us).min(ask_us);
        let earliest_us = self.saying.last_us.map_or(0, |us| us.saturating_add(self.saying.gap_us));
        due_us.max(earliest_us)
    }

    pub(super) fn make_beacon(&mut self, now: Now) -> (Vec<u8>, Said) {
        let [n0, n1, first] = self.chance.bytes();
        let (slice, held) = self.held.slice(first, self.items.ids());
        let load = self.listen.load_permille(now.us) / 4;
        let asked = self.items.asking().filter(|(_, us)| *us <= now.us).map(|(id, _)| id);
        let prefix = |id: ItemId| [id.0[0], id.0[1], id.0[2]];
        let beacon = Beacon::new(
            &self.settings.key,
            [n0, n1],
            u8::try_from(load).unwrap_or(u8::MAX),
            slice,
            self.held.newest().map_or([0; 3], prefix),
            asked.map_or([0; 3], prefix),
            held,
        );
        (beacon.encode().to_vec(), Said { slice, asked })
    }

    pub(super) fn beacon_aired(&mut self, now: Now, said: Said) {
        self.held.said_in(now.us, said.slice);
        if let Some(id) = said.asked {
            self.items.asked(now.us, &id);
        }
        self.saying.last_us = Some(now.us);
        self.saying.news_us = if self.held.unsaid().next().is_some() { now.us } else { u64::MAX };
        self.saying.every_us = now.us.saturating_add(around(&mut self.chance, EVERY_US));
    }
}
