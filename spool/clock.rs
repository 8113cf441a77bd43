//! The custody clock: how long this spool's machine has been on, by monotonic clocks alone.
//!
//! Wall clocks jump, start in 1970 and can be set by anybody; CLOCK_BOOTTIME cannot, but begins
//! anew at every boot. So the clock's last point (boot, boottime, held) is stored now and then:
//! within one boot the difference counts in full, whoever ran; after another boot the clock goes
//! on from the last stored point. Time switched off counts nothing, time between the last point
//! and a power cut is forgotten: the clock may be late, never early, and so is expiry.

use crate::contract::Now;

/// A group that is written anyway stores a point when the last is this old.
pub(crate) const POINT_EVERY_MS: u64 = 60_000;
/// An idle program stores a point this often (the design's "at least hourly").
pub(crate) const TICK_EVERY_MS: u64 = 3_600_000;

/// A stored point of the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) held_ms: u64,
    pub(crate) boot: [u8; 16],
    pub(crate) boottime_ms: u64,
}

/// The running clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct CustodyClock {
    stored: Point,
    /// Where counting started in the present boot; set by the first look in it.
    base: Option<Point>,
    /// The latest reading; the clock never runs backwards, whatever it is told.
    latest_ms: u64,
}

impl CustodyClock {
    /// Goes on from a stored point.
    pub(crate) fn from_point(stored: Point) -> Self {
        Self { stored, base: None, latest_ms: stored.held_ms }
    }

    /// What the clock shows now.
    pub(crate) fn read(&mut self, now: Now) -> u64 {
        let base = match self.base {
            Some(base) if base.boot == now.boot => base,
            _ if self.stored.boot == now.boot => self.stored,
            _ => {
                let held_ms = self.latest_ms;
                Point { held_ms, boot: now.boot, boottime_ms: now.boottime_ms }
            }
        };
        self.base = Some(base);
        let held_ms = base.held_ms + now.boottime_ms.saturating_sub(base.boottime_ms);
        self.latest_ms = self.latest_ms.max(held_ms);
        self.latest_ms
    }

    /// What the clock showed when it was last read.
    pub(crate) fn latest_ms(&self) -> u64 {
        self.latest_ms
    }

    /// The point to store now, when the stored one is `older_ms` old or of another boot.
    pub(crate) fn point_due(&mut self, now: Now, older_ms: u64) -> Option<Point> {
        let point = self.point(now);
        let due = self.stored.boot != now.boot
            || point.held_ms.saturating_sub(self.stored.held_ms) >= older_ms;
        due.then_some(point)
    }

    /// The point as of now.
    pub(crate) fn point(&mut self, now: Now) -> Point {
        Point { held_ms: self.read(now), boot: now.boot, boottime_ms: now.boottime_ms }
    }

    /// The latest point without looking at a clock, for records written where no time is known.
    pub(crate) fn last_point(&self) -> Point {
        self.stored
    }

    /// Notes that a point is durable, or was found in the log.
    pub(crate) fn stored(&mut self, point: Point) {
        self.stored = point;
        self.latest_ms = self.latest_ms.max(point.held_ms);
    }

    /// Notes that something was admitted when the clock showed `held_ms`: it was that late.
    pub(crate) fn at_least(&mut self, held_ms: u64) {
        self.latest_ms = self.latest_ms.max(held_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: u8, boottime_ms: u64) -> Now {
        Now { boot: [boot; 16], boottime_ms }
    }

    #[test]
    fn counts_a_boot_in_full_and_time_switched_off_not_at_all() {
        let mut clock = CustodyClock::default();
        assert_eq!(clock.read(at(1, 5_000)), 0);
        assert_eq!(clock.read(at(1, 9_000)), 4_000);
        let point = clock.point_due(at(1, 9_000), POINT_EVERY_MS).expect("the first boot is new");
        clock.stored(point);
        assert!(clock.point_due(at(1, 60_000), POINT_EVERY_MS).is_none());
        assert!(clock.point_due(at(1, 69_000), POINT_EVERY_MS).is_some());

        // Another process in the same boot: the full difference counts, though nobody ran.
        let mut clock = CustodyClock::from_point(point);
        assert_eq!(clock.read(at(1, 109_000)), 104_000);

        // Another boot: on from the stored point, whatever that boot's clock shows.
        let mut clock = CustodyClock::from_point(point);
        assert_eq!(clock.read(at(2, 900_000)), 4_000);
        assert_eq!(clock.read(at(2, 901_000)), 5_000);
        assert!(clock.point_due(at(2, 901_000), POINT_EVERY_MS).is_some());
    }

    #[test]
    fn never_runs_backwards() {
        let mut clock = CustodyClock::default();
        clock.read(at(1, 1_000));
        assert_eq!(clock.read(at(1, 8_000)), 7_000);
        assert_eq!(clock.read(at(1, 2_000)), 7_000);
        assert_eq!(clock.read(at(2, 0)), 7_000);
        assert_eq!(clock.read(at(1, 9_000)), 7_000);
    }
}
