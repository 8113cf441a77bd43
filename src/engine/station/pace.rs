//! How long things take on this channel, from which all that waits has its times.

use crate::{
    air::{Lane, ledger::Limit, lora::Modulation},
    meeting::chance::Chance,
};

/// Airtime within an hour where no law says how much: a tenth, as the friendliest law does.
const UNRULED_HOUR_US: u64 = 360_000_000;
/// Bytes of the wants that are drawn for: one of them.
const WANT_BYTES: u64 = 10;
/// How long a node takes to keep what it got durably, and to look what goes on.
const KEEPING_US: u64 = 300_000;
/// Repetitions come no rarer than twice a day.
pub(super) const GAP_MOST_US: u64 = 12 * 3_600_000_000;
/// What seems to be with somebody is repeated after half an hour, then an hour, then two.
pub(super) const REST_US: u64 = 1_800_000_000;

/// A receipt is asked for after no less and no more at first.
const ASK_LEAST_US: u64 = 5_000_000;
const ASK_MOST_US: u64 = 60_000_000;
/// On a slow channel others ask for the same meanwhile: a question is looked after so often.
const AGAIN_MOST_US: u64 = 30_000_000;

/// Times of a channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    modulation: Modulation,
    /// A preamble and a header: after it others know that somebody speaks.
    pub slot_us: u64,
    /// The longest frame.
    pub frame_us: u64,
    /// Somebody says what it lacks, and others have heard it.
    pub want_us: u64,
    /// What may be spent within an hour.
    pub hour_us: u64,
}

impl Pace {
    pub fn new(modulation: Modulation, mtu_bytes: usize, limit: Limit) -> Self {
        let bytes = u64::try_from(mtu_bytes).unwrap_or(u64::MAX);
        let slot_us = modulation.start_us().max(1);
        Self {
            modulation,
            slot_us,
            frame_us: modulation.air_us(bytes),
            want_us: modulation.air_us(WANT_BYTES).saturating_add(slot_us),
            hour_us: limit.share(Lane::Sos).unwrap_or(UNRULED_HOUR_US),
        }
    }

    pub fn air_us(&self, frame: &[u8]) -> u64 {
        self.modulation.air_us(u64::try_from(frame.len()).unwrap_or(u64::MAX))
    }

    /// How long after its first sending an item is repeated, if nobody seems to have it. What is urgent
    /// waits until somebody who passes it on must have begun; the rest until it is passed on.
    pub fn first_gap_us(&self, lane: Lane, pieces: usize) -> u64 {
        let own = match lane {
            Lane::Sos | Lane::Urgent => self.begun_us(),
            Lane::Normal => self.begun_us() + 4 * self.frame_us,
            Lane::Bulk => 60_000_000 + 8 * self.frame_us,
        };
        // Of a long one others say first what they lack.
        if pieces > 1 { own.max(self.window_us() + 4 * self.frame_us) } else { own }
    }

    /// How long a receipt is waited for before it is asked for, once somebody has what it is for: on a
    /// channel that is fast nobody would understand a minute, on a slow one it takes as long until it
    /// came by itself.
    pub fn ask_us(&self) -> u64 {
        (self.window_us() + 40 * self.frame_us).clamp(ASK_LEAST_US, ASK_MOST_US)
    }

    /// A question for the same receipt means something new after this: whoever asked has asked again,
    /// having waited for what the last question brought.
    pub fn again_us(&self) -> u64 {
        self.ask_us().min(AGAIN_MOST_US)
    }

    /// By how much the next gap is longer.
    pub fn growth(lane: Lane) -> u64 {
        if lane <= Lane::Urgent { 3 } else { 4 }
    }

    /// Within this whoever passes something on, or receipts it, has begun to say so.
    pub fn begun_us(&self) -> u64 {
        12 * self.slot_us + KEEPING_US
    }

    /// After a burst others say within this what they lack.
    pub fn window_us(&self) -> u64 {
        34 * self.want_us
    }
}

/// A quarter more or less, so that what began together does not go on together.
pub(super) fn around(chance: &mut Chance, us: u64) -> u64 {
    (us - us / 4).saturating_add(chance.up_to(us / 2))
}
