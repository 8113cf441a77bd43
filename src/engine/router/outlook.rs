//! How soon a bundle may be with whom it is for, as far as meetings tell.
//!
//! Meetings at an interval T, each worth half after seven days, are worth 7 d / (T ln 2) in the long
//! run. Who is met at random moments with that rate is met within T ln 2 in half of all cases: that is
//! seven days over what the meetings are worth, and needs no logarithm.

use super::{
    level::{ONE, amount},
    meetings::HALF_LIFE_MS,
};

/// What is known of when a bundle arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// A link to whom it is for is up.
    Now,
    /// Somebody who has a copy meets whom it is for.
    Meets {
        /// Who.
        by: Holder,
        /// Half of such bundles arrive within so many seconds.
        half_s: u64,
        /// Seconds between two meetings, about.
        every_s: u64,
    },
    /// Nobody of whom this node knows has met whom it is for.
    Unknown,
}

/// Who has a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This node: it meets the recipient, or those who do.
    Here,
    /// Whoever was offered a copy before, as its level says.
    Elsewhere,
}

impl Outlook {
    /// From how near this node is to whom a bundle is for, and how near whoever was offered a copy.
    pub fn of(mine: u8, copies: u8) -> Self {
        let by = if copies > mine { Holder::Elsewhere } else { Holder::Here };
        let worth = u64::from(amount(mine.max(copies)));
        if worth == 0 {
            return Self::Unknown;
        }
        let half_s = HALF_LIFE_MS / 1000 * u64::from(ONE) / worth;
        // 1 / ln 2 in thousandths.
        Self::Meets { by, half_s, every_s: half_s * 1443 / 1000 }
    }

    /// Seconds within which half of such bundles arrive, where that is known.
    pub fn half_s(self) -> Option<u64> {
        match self {
            Self::Now => Some(0),
            Self::Meets { half_s, .. } => Some(half_s),
            Self::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use postrider_base::NodeSecret;

    use super::*;
    use crate::{
        node::Now,
        router::{hint, meetings::Meetings},
    };

    const DAY_S: u64 = 86_400;

    /// How near somebody is who was met every so many hours for a long time, the last time just now.
    fn steady(hours: usize) -> u8 {
        let node = NodeSecret::from_seed([9; 32]).id();
        let mut meetings = Meetings::default();
        let mut now = Now::default();
        for hour in (0..=24 * 200).step_by(hours) {
            now.held_ms = hour * 3_600_000;
            meetings.begin(now, node);
            meetings.end(now, &node);
        }
        meetings.mine(now, hint(&node))
    }

    #[test]
    fn meetings_at_an_interval_come_back_as_that_interval() {
        for hours in [2_u32, 12, 24, 48, 120] {
            let Outlook::Meets { by, half_s, every_s } = Outlook::of(steady(hours as usize), 0)
            else {
                panic!("{hours}: they meet");
            };
            assert_eq!(by, Holder::Here);
            // Levels are eighths of a doubling, and the meeting that is just over counts in full.
            let is_s = u64::from(hours) * 3600;
            assert!((is_s * 75 / 100..is_s * 115 / 100).contains(&every_s), "{hours}: {every_s}");
            let of_them = half_s * 1000 / every_s;
            assert!((690..=696).contains(&of_them), "ln 2 of the interval: {of_them}");
        }
    }

    #[test]
    fn the_nearest_of_those_who_have_a_copy_counts_and_nobody_is_nobody() {
        assert_eq!(Outlook::of(0, 0), Outlook::Unknown);
        assert_eq!(Outlook::Unknown.half_s(), None);
        assert_eq!(Outlook::Now.half_s(), Some(0));
        let [near, far] = [steady(24), steady(120)];
        let by = |mine, copies| match Outlook::of(mine, copies) {
            Outlook::Meets { by, half_s, .. } => (by, half_s),
            other => panic!("{other:?}"),
        };
        assert_eq!(by(near, far).0, Holder::Here);
        assert_eq!(by(far, near).0, Holder::Elsewhere);
        assert_eq!(by(far, near).1, by(near, 0).1);
        // A level from outside may be any: nothing divides by nothing, and nothing overflows.
        assert_eq!(by(0, u8::MAX).1, 0);
        assert!(by(1, 0).1 > 400 * DAY_S);
    }
}
