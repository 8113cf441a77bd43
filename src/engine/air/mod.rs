//! Air discipline: how long a frame takes on the air, what the law and others leave for it, when it may
//! go, and what that costs.
//!
//! - [`lora`]: how long a frame is on the air, in whole microseconds (it stands in base: drivers pace by it);
//! - [`regions`]: what may be done on a frequency, as dated data;
//! - [`ledger`]: what was spent, over restarts too, and when there is room again; it counts what is
//!   [`spent`] within a sliding hour or day, and [`stored`] is its form on a disk;
//! - [`listen`]: when to begin where others are heard;
//! - [`cost`]: what a message would take in frames, time and money, before it is sent.
//!
//! A frame goes its way so: [`regions::find`] once, for the radio; [`ledger::Ledger::outlook`] says
//! which lane's frame may go; [`ledger::Ledger::book`] counts it and the ledger is made durable;
//! [`listen::Listen`] says when it is sent, for nothing may come between hearing and speaking; then
//! [`ledger::Ledger::settle`] says what it was.
//! Units and sources stand in `docs/air.md`.

pub mod cost;
pub mod ledger;
pub mod listen;
pub mod regions;
mod spent;
mod stored;

use postrider_base::Niceness;

pub use postrider_base::lora;
pub use spent::Span;
pub use stored::StoredError;

/// How urgent a frame is to this node. What a bundle says of itself is its author's word: whoever runs
/// a radio decides whom it believes a call for help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// A call for help.
    Sos,
    /// What cannot wait.
    Urgent,
    /// Messages.
    Normal,
    /// Whatever fills the rest.
    Bulk,
}

impl Lane {
    /// The first goes first.
    pub const ALL: [Self; 4] = [Self::Sos, Self::Urgent, Self::Normal, Self::Bulk];

    /// The lane for a niceness that is believed.
    pub fn of(nice: Niceness) -> Self {
        match nice {
            nice if nice <= Niceness::FLASH => Self::Sos,
            nice if nice <= Niceness::PRIORITY => Self::Urgent,
            nice if nice <= Niceness::NORMAL => Self::Normal,
            _ => Self::Bulk,
        }
    }

    /// What this lane may have of so much; the rest is kept for those before it. A tenth, which is what
    /// a call for help has to itself, is a frame of 228 bytes: at SF7 of a duty of 0.1 %, at SF10 of 1 %.
    pub fn share(self, most: u64) -> u64 {
        match self {
            Self::Sos => most,
            Self::Urgent => most - most.div_ceil(10),
            Self::Normal => most - most.div_ceil(5),
            Self::Bulk => most / 2,
        }
    }
}

/// Whether a frame may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// Now.
    Now,
    /// By this clock in milliseconds, if nothing else is spent until then, and why not before.
    At(u64, Why),
    /// However long it waits.
    Never(Why),
}

/// Why a frame waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// All is spent that may be.
    Spent,
    /// There is some left, and it is kept for lanes that are more urgent.
    Reserve,
    /// A frame of this lane is waiting before it.
    Behind(Lane),
    /// It alone is more than its lane may ever have.
    TooMuch,
    /// It is longer than one frame may be here.
    TooLong,
    /// What goes around it leaves no room in a frame.
    NoRoom,
    /// The ledger holds as many accounts as it can.
    Accounts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_leaves_something_for_those_before_it() {
        let shares = |most| Lane::ALL.map(|lane| lane.share(most));
        assert_eq!(shares(36_000_000), [36_000_000, 32_400_000, 28_800_000, 18_000_000]);
        // Where it does not divide, the reserve is the larger part.
        assert_eq!(shares(11), [11, 9, 8, 5]);
        assert_eq!(shares(0), [0; 4]);
        assert_eq!(Lane::Normal.share(u64::MAX), u64::MAX / 5 * 4);
    }

    #[test]
    fn niceness_has_a_lane() {
        let lane = |nice| Lane::of(Niceness::new(nice).unwrap());
        let nice = [1, 32, 33, 96, 97, 160, 161, 224, 255];
        let lanes = nice.map(lane);
        use Lane::{Bulk, Normal, Sos, Urgent};
        assert_eq!(lanes, [Sos, Sos, Urgent, Urgent, Normal, Normal, Bulk, Bulk, Bulk]);
    }
}
