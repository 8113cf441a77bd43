//! A radio with a true clock, a custody clock that loses time, a disk, and a judge who listens.

use postrider_engine::air::{
    Lane, May, Span,
    ledger::{Booking, Ledger, Limit},
};

pub const HOUR_US: u64 = 3_600_000_000;
pub const KEY: u16 = 3;

/// Numbers from a seed.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// Below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn lane(&mut self) -> Lane {
        [Lane::Sos, Lane::Urgent, Lane::Normal, Lane::Bulk][usize::try_from(self.below(4)).unwrap()]
    }
}

/// When a radio writes its ledger.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// As it must.
    Before,
    /// When it is too late.
    Afterwards,
}

/// What became of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Burst {
    Sent,
    Crashed,
}

pub struct Radio {
    pub true_us: u64,
    custody_us: u64,
    /// What the custody clock falls back to at most.
    point_us: u64,
    pub ledger: Ledger,
    disk: Vec<u8>,
    writes: Writes,
    pub limit: Limit,
    pub most_us: u64,
    /// What the judge heard: from when to when, by the true clock.
    pub aired: Vec<(u64, u64)>,
}

impl Radio {
    pub fn new(permille: u64, writes: Writes) -> Self {
        let most_us = HOUR_US / 1_000 * permille;
        let ledger = Ledger::new(Span::Hour, 0);
        Self {
            true_us: 0,
            custody_us: 0,
            point_us: 0,
            disk: ledger.encode(),
            ledger,
            writes,
            limit: Limit::new(KEY, Some(most_us)),
            most_us,
            aired: Vec::new(),
        }
    }

    pub fn now_ms(&self) -> u64 {
        self.custody_us / 1_000
    }

    pub fn pass(&mut self, us: u64) {
        self.true_us += us;
        self.custody_us += us;
    }

    /// Waits until the custody clock shows that.
    pub fn pass_until(&mut self, at_ms: u64) {
        self.pass((at_ms * 1_000).saturating_sub(self.custody_us));
    }

    /// The custody clock is written, as it is now and then.
    pub fn point(&mut self) {
        self.point_us = self.custody_us;
    }

    /// The node dies and comes back after a while, with whatever is on its disk.
    pub fn crash(&mut self, chance: &mut Chance) {
        if chance.one_in(2) {
            self.true_us += chance.below(2 * HOUR_US);
        }
        let shown_us = self.custody_us - self.point_us;
        self.custody_us = match chance.below(3) {
            0 => self.custody_us,
            1 => self.point_us,
            _ => self.point_us + chance.below(shown_us + 1),
        };
        self.point_us = self.custody_us;
        if chance.one_in(12) {
            self.disk.truncate(3);
        }
        let now_ms = self.now_ms();
        self.ledger = Ledger::decode(&self.disk, Span::Hour, now_ms).unwrap_or_else(|_| {
            let mut ledger = Ledger::new(Span::Hour, now_ms);
            ledger.exhaust(now_ms, self.limit);
            ledger
        });
        self.disk = self.ledger.encode();
    }

    /// Books frames, as many of them as there is room for; why the first that may not go may not.
    pub fn book(&mut self, lane: Lane, frames: &[u64]) -> (Vec<Booking>, Option<May>) {
        let mut booked = Vec::new();
        for us in frames {
            match self.ledger.book(self.now_ms(), self.limit, lane, *us) {
                Ok(booking) => booked.push(booking),
                Err(not) => return (booked, Some(not)),
            }
        }
        (booked, None)
    }

    /// Sends what was booked, with whatever can happen then.
    pub fn send(&mut self, booked: Vec<Booking>, chance: &mut Chance) -> Burst {
        if self.writes == Writes::Before {
            self.disk = self.ledger.encode();
        }
        let dies = chance.one_in(6).then(|| chance.below(booked.len() as u64 + 1));
        for (at, booking) in (0..).zip(booked) {
            if chance.one_in(2) {
                // Somebody else was speaking.
                self.pass(chance.below(20_000_000));
            }
            let mut us = booking.amount();
            if chance.one_in(8) {
                us = chance.below(us + 1);
            }
            self.aired.push((self.true_us, self.true_us + us));
            self.pass(us);
            if dies == Some(at) {
                self.crash(chance);
                return Burst::Crashed;
            }
            if chance.one_in(4) {
                // The radio says so later.
                self.pass(chance.below(5_000_000));
            }
            let now_ms = self.now_ms();
            self.ledger.settle(now_ms, booking, us);
        }
        if self.writes == Writes::Afterwards {
            self.disk = self.ledger.encode();
        }
        Burst::Sent
    }

    /// The most that was on the air within any hour.
    pub fn worst_us(&self) -> u64 {
        worst_us(&self.aired, HOUR_US)
    }
}

/// The most of `aired` within any window: one that is fullest ends with a frame or begins with one.
pub fn worst_us(aired: &[(u64, u64)], window_us: u64) -> u64 {
    let within = |from_us: u64, to_us: u64, (begun_us, ended_us): &(u64, u64)| {
        (*ended_us).min(to_us).saturating_sub((*begun_us).max(from_us))
    };
    let mut worst = 0;
    for (at, (begun_us, ended_us)) in aired.iter().enumerate() {
        let from_us = ended_us.saturating_sub(window_us);
        let before = aired[..=at].iter().rev().take_while(|(_, end_us)| *end_us >= from_us);
        let ending: u64 = before.map(|frame| within(from_us, *ended_us, frame)).sum();
        let to_us = begun_us + window_us;
        let after = aired[at..].iter().take_while(|(begin_us, _)| *begin_us <= to_us);
        let beginning: u64 = after.map(|frame| within(*begun_us, to_us, frame)).sum();
        worst = worst.max(ending).max(beginning);
    }
    worst
}
