//! One interface as the machine sees it: when its beacons go, and who was heard there.

use std::net::Ipv6Addr;

use super::{
    beacon::Beacon,
    chance::{Chance, Rate},
    limits::{
        ANSWER_GAP_MS, ANSWER_MS, BEACON_EVERY_MS, BEACON_GAPS_MS, FRESH_MS, NEWS_BURST, NEWS_PER_S,
    },
    neighbours::Neighbours,
};

/// One interface that is up.
#[derive(Debug)]
pub(super) struct Segment {
    pub address: Ipv6Addr,
    pub priority: u8,
    pub beacons: bool,
    pub neighbours: Neighbours,
    /// How many new beacons are looked into.
    pub news: Rate,
    /// What is sent; made anew when what it says changes.
    pub beacon: Option<Beacon>,
    up_ms: u64,
    next_ms: u64,
    /// Gaps since it came up.
    step: usize,
    sent_ms: Option<u64>,
    answer_ms: Option<u64>,
}

impl Segment {
    pub fn new(address: Ipv6Addr, priority: u8, beacons: bool, now_ms: u64) -> Self {
        Self {
            address,
            priority,
            beacons,
            neighbours: Neighbours::default(),
            news: Rate::new(NEWS_BURST, NEWS_PER_S),
            beacon: None,
            up_ms: now_ms,
            next_ms: now_ms,
            step: 0,
            sent_ms: None,
            answer_ms: None,
        }
    }

    /// Whether its links from before it came up may be unknown to others.
    pub fn fresh(&self, now_ms: u64) -> bool {
        now_ms < self.up_ms + FRESH_MS
    }

    /// Somebody is here who does not know us yet.
    pub fn answer(&mut self, now_ms: u64, chance: &mut Chance) {
        let drawn = now_ms + chance.up_to(ANSWER_MS);
        let earliest = self.sent_ms.map_or(0, |sent| sent + ANSWER_GAP_MS);
        self.answer_ms.get_or_insert(drawn.max(earliest));
    }

    /// What it says has changed: everybody should hear it soon.
    pub fn announce(&mut self, now_ms: u64) {
        self.beacon = None;
        (self.step, self.next_ms) = (0, now_ms);
    }

    /// Whether a beacon is due; if so it counts as sent.
    pub fn due(&mut self, now_ms: u64, chance: &mut Chance) -> bool {
        let answers = self.answer_ms.is_some_and(|at| at <= now_ms);
        if self.next_ms > now_ms && !answers {
            return false;
        }
        if self.next_ms <= now_ms {
            let gap = BEACON_GAPS_MS.get(self.step).copied().unwrap_or(BEACON_EVERY_MS);
            self.step += 1;
            // Those who came up together should not stay together.
            self.next_ms = now_ms + gap - chance.up_to(gap / 4);
        }
        self.answer_ms = None;
        self.sent_ms = Some(now_ms);
        self.beacons
    }

    /// When the next beacon is due.
    pub fn next_ms(&self) -> u64 {
        if !self.beacons {
            return u64::MAX;
        }
        self.next_ms.min(self.answer_ms.unwrap_or(u64::MAX))
    }
}
