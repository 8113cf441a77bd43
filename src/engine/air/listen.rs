//! When to begin where others are heard: carrier sense with a random back-off.
//!
//! - a frame waits until the channel has been free for a moment, then a random number of slots of free
//!   channel more;
//! - a slot is as long as a preamble and a header: after it, whoever began is heard;
//! - from how many slots chance draws follows from how busy the channel was within the last minute,
//!   as this radio measured it. No frame says anything that counts: who lies gains nothing.
//!
//! While others speak the count stands still, so who waited longer goes sooner. Time is microseconds of
//! any clock that never goes back. A radio that cannot sense a carrier tells of frames as it receives
//! them.

use super::regions::Silence;

/// How the load is measured: twelve parts of five seconds.
const PART_US: u64 = 5_000_000;
const PARTS: u64 = 12;
const PLACES: usize = 12;
/// Up to which load, in thousandths, chance draws from how many slots. A judgement: with n others
/// waiting for the same moment, two choose the same slot about once in slots / n times; the load
/// stands for n, and a quiet channel is not worth a wait.
const WINDOWS: [(u64, u64); 4] = [(100, 8), (250, 16), (400, 32), (600, 64)];
const WINDOW_MAX: u64 = 128;

/// What the radio senses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Nobody.
    Free,
    /// Somebody else.
    Busy,
    /// This node speaks, and hears nothing.
    Own,
}

/// What a frame that waits is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// No frame waits.
    Rest,
    /// Ask again then, if the carrier does not change before.
    At(u64),
    /// Somebody else has been speaking since then. It is for the caller to say so when this goes on:
    /// nothing goes, for a carrier that never ends may be a fault, and may be a call for help.
    Busy(u64),
    /// This node has been speaking itself since then.
    Own(u64),
    /// Send now.
    Speak,
}

/// The carrier as one radio hears it, and the frame that waits for it.
#[derive(Clone, Debug)]
pub struct Listen {
    slot_us: u64,
    /// The channel must have been free for so long before anything.
    guard_us: u64,
    /// After a frame of ours.
    pause_us: u64,
    /// When that is over.
    paused_us: u64,
    carrier: Carrier,
    since_us: u64,
    now_us: u64,
    load: Load,
    /// Slots that are still to pass.
    slots: Option<u64>,
    /// From when on they count, if the channel stays free.
    count_us: u64,
}

impl Listen {
    /// `slot_us` is [`super::lora::Modulation::start_us`]; `rule` what the law wants.
    pub fn new(now_us: u64, slot_us: u64, rule: Option<Silence>) -> Self {
        let (before_us, after_us) = rule.map_or((0, 0), |rule| (rule.before_us, rule.after_us));
        let slot_us = slot_us.max(1);
        let guard_us = slot_us.max(u64::from(before_us));
        Self {
            slot_us,
            guard_us,
            pause_us: u64::from(after_us),
            paused_us: now_us,
            carrier: Carrier::Free,
            since_us: now_us,
            now_us,
            load: Load::default(),
            slots: None,
            count_us: now_us.saturating_add(guard_us),
        }
    }

    /// The carrier is this from now on.
    pub fn handle_carrier(&mut self, now_us: u64, carrier: Carrier) {
        self.pass(now_us);
        if carrier == self.carrier {
            return;
        }
        if self.carrier == Carrier::Free {
            let passed = self.now_us.saturating_sub(self.count_us) / self.slot_us;
            self.slots = self.slots.map(|slots| slots.saturating_sub(passed));
        }
        if self.carrier == Carrier::Own {
            self.paused_us = self.now_us.saturating_add(self.pause_us);
        }
        (self.carrier, self.since_us) = (carrier, self.now_us);
        if carrier == Carrier::Free {
            self.count_us = self.now_us.saturating_add(self.guard_us).max(self.paused_us);
        }
    }

    /// A frame wants to go; `random` is any number. One that waits already keeps its place.
    pub fn begin(&mut self, now_us: u64, random: u32) {
        self.pass(now_us);
        if self.slots.is_none() {
            self.slots = Some((u64::from(random) * self.window()) >> 32);
            // Silence from before counts as the moment that must be free, not as slots.
            self.count_us = self.count_us.max(self.now_us);
        }
    }

    /// The frame does not want to go any more.
    pub fn cancel(&mut self) {
        self.slots = None;
    }

    /// What to do now. After [`Step::Speak`] no frame waits: tell of [`Carrier::Own`] when it begins.
    pub fn step(&mut self, now_us: u64) -> Step {
        self.pass(now_us);
        let Some(slots) = self.slots else { return Step::Rest };
        match self.carrier {
            Carrier::Busy => Step::Busy(self.since_us),
            Carrier::Own => Step::Own(self.since_us),
            Carrier::Free => {
                let due_us = self.count_us.saturating_add(slots.saturating_mul(self.slot_us));
                if self.now_us < due_us {
                    return Step::At(due_us);
                }
                self.slots = None;
                Step::Speak
            }
        }
    }

    /// How busy others kept the channel within the last minute, of the time in which we did not speak
    /// ourselves, in thousandths.
    pub fn load_permille(&mut self, now_us: u64) -> u64 {
        self.pass(now_us);
        self.load.permille()
    }

    /// From how many slots chance draws.
    fn window(&self) -> u64 {
        let load = self.load.permille();
        let window = WINDOWS.iter().find(|(up_to, _)| load < *up_to);
        window.map_or(WINDOW_MAX, |(_, slots)| *slots)
    }

    fn pass(&mut self, now_us: u64) {
        let now_us = now_us.max(self.now_us);
        self.load.note(self.now_us, now_us, self.carrier);
        self.now_us = now_us;
    }
}

/// What was heard, in parts of the last minute.
#[derive(Clone, Debug, Default)]
struct Load {
    /// Which part it is, heard microseconds, busy ones; at the place of its number modulo their count.
    parts: [(u64, u64, u64); PLACES],
    newest: u64,
}

impl Load {
    fn note(&mut self, from_us: u64, to_us: u64, carrier: Carrier) {
        self.newest = to_us / PART_US;
        let first = (from_us / PART_US).max(self.newest.saturating_sub(PARTS - 1));
        for part in first..=self.newest {
            let begins_us = part * PART_US;
            let us = to_us.min(begins_us.saturating_add(PART_US)) - from_us.max(begins_us);
            let Some(held) = self.parts.get_mut(place(part)) else { continue };
            if held.0 != part {
                *held = (part, 0, 0);
            }
            match carrier {
                Carrier::Free => held.1 += us,
                Carrier::Busy => (held.1, held.2) = (held.1 + us, held.2 + us),
                Carrier::Own => {}
            }
        }
    }

    fn permille(&self) -> u64 {
        let oldest = self.newest.saturating_sub(PARTS - 1);
        let held = self.parts.iter().filter(|(part, ..)| *part >= oldest);
        let (heard, busy) =
            held.fold((0, 0), |(heard, busy), part| (heard + part.1, busy + part.2));
        busy * 1_000 / heard.max(1)
    }
}

fn place(part: u64) -> usize {
    usize::try_from(part % PARTS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT_US: u64 = 100_000;

    fn listen() -> Listen {
        Listen::new(0, SLOT_US, None)
    }

    #[test]
    fn a_quiet_channel_is_waited_for_a_few_slots_at_most() {
        let mut quiet = listen();
        assert_eq!(quiet.step(10_000_000), Step::Rest);
        quiet.begin(10_000_000, 0);
        assert_eq!(quiet.step(10_000_000), Step::Speak);
        assert_eq!(quiet.step(10_000_000), Step::Rest);
        quiet.begin(10_000_000, u32::MAX);
        assert_eq!(quiet.step(10_000_000), Step::At(10_700_000));
        assert_eq!(quiet.step(10_699_999), Step::At(10_700_000));
        assert_eq!(quiet.step(10_700_000), Step::Speak);
    }

    #[test]
    fn slots_pass_only_while_nobody_speaks() {
        let mut channel = listen();
        channel.begin(10_000_000, u32::MAX);
        channel.handle_carrier(10_250_000, Carrier::Busy);
        assert_eq!(channel.step(10_250_000), Step::Busy(10_250_000));
        // A new frame of the same node does not draw again.
        channel.begin(10_900_000, 0);
        assert_eq!(channel.step(11_000_000), Step::Busy(10_250_000));
        channel.handle_carrier(11_000_000, Carrier::Free);
        // One that must be free, and five that are left of seven.
        assert_eq!(channel.step(11_000_000), Step::At(11_600_000));
        // A blip within the first one costs none of the five.
        channel.handle_carrier(11_050_000, Carrier::Busy);
        channel.handle_carrier(11_060_000, Carrier::Free);
        assert_eq!(channel.step(11_060_000), Step::At(11_660_000));
        channel.cancel();
        assert_eq!(channel.step(12_000_000), Step::Rest);
    }

    #[test]
    fn what_the_law_wants_is_waited_for() {
        let rule = Silence { before_us: 5_000, threshold_dbm: -80, after_us: 50_000 };
        let mut channel = Listen::new(0, 1_000, Some(rule));
        channel.handle_carrier(1_000_000, Carrier::Busy);
        channel.begin(1_500_000, 0);
        channel.handle_carrier(2_000_000, Carrier::Free);
        assert_eq!(channel.step(2_000_000), Step::At(2_005_000));
        assert_eq!(channel.step(2_005_000), Step::Speak);
        channel.handle_carrier(2_005_000, Carrier::Own);
        channel.begin(2_100_000, 0);
        assert_eq!(channel.step(2_100_000), Step::Own(2_005_000));
        channel.handle_carrier(3_000_000, Carrier::Free);
        assert_eq!(channel.step(3_000_000), Step::At(3_050_000));
        // Somebody else in between does not end the pause.
        channel.handle_carrier(3_010_000, Carrier::Busy);
        channel.handle_carrier(3_020_000, Carrier::Free);
        assert_eq!(channel.step(3_020_000), Step::At(3_050_000));
        assert_eq!(channel.step(3_050_000), Step::Speak);
        // One that has just been switched on has not listened yet.
        let mut new = Listen::new(7, 1_000, Some(rule));
        new.begin(7, 0);
        assert_eq!(new.step(7), Step::At(5_007));
    }

    #[test]
    fn the_window_grows_with_what_was_heard_and_shrinks_in_a_minute() {
        for (busy_us, load, slots) in [
            (0, 0, 8),
            (50_000, 50, 8),
            (150_000, 150, 16),
            (300_000, 300, 32),
            (500_000, 500, 64),
            (600_000, 600, 128),
        ] {
            let mut channel = listen();
            for second in 0..120 {
                if busy_us > 0 {
                    channel.handle_carrier(second * 1_000_000, Carrier::Busy);
                }
                channel.handle_carrier(second * 1_000_000 + busy_us, Carrier::Free);
            }
            let now_us = 120_000_000;
            assert_eq!(channel.load_permille(now_us), load);
            channel.begin(now_us, u32::MAX);
            let due_us = now_us + (slots - 1) * SLOT_US;
            assert_eq!(channel.step(now_us), Step::At(due_us), "{load}");
            assert_eq!(channel.load_permille(now_us + 60_000_000), 0);
        }
    }

    #[test]
    fn what_this_node_sends_is_not_load_and_how_often_it_asks_changes_nothing() {
        let mut channel = listen();
        channel.handle_carrier(0, Carrier::Own);
        channel.handle_carrier(30_000_000, Carrier::Free);
        channel.handle_carrier(40_000_000, Carrier::Busy);
        let mut asked = channel.clone();
        (40_000_000..50_000_000).step_by(77_777).for_each(|us| {
            asked.load_permille(us);
        });
        for channel in [&mut channel, &mut asked] {
            channel.handle_carrier(50_000_000, Carrier::Free);
            assert_eq!(channel.load_permille(60_000_000 - 1), 333);
        }
        // Far apart, and a clock that goes back.
        assert_eq!(channel.load_permille(u64::MAX), 0);
        assert_eq!(channel.step(0), Step::Rest);
    }

    /// Stations that all hear each other and always have a frame of ten slots: shares of frames that
    /// collided, in percent, and of time that carried good ones.
    fn crowd(stations: usize, seed: u64) -> (u64, u64) {
        let mut state = seed;
        let mut random = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            u32::try_from(state >> 32).unwrap()
        };
        let mut all: Vec<Listen> = (0..stations).map(|_| listen()).collect();
        let (mut good, mut lost, mut now_us) = (0, 0, 0);
        while now_us < 3_600_000_000 {
            for station in &mut all {
                station.begin(now_us, random());
            }
            let due = all.iter_mut().map(|station| match station.step(now_us) {
                Step::At(us) => us,
                Step::Speak => now_us,
                other => panic!("{other:?}"),
            });
            let due: Vec<u64> = due.collect();
            let first = *due.iter().min().unwrap();
            // Within a slot of the first nobody knows of it yet.
            let speaks: Vec<bool> = due.iter().map(|us| *us < first + SLOT_US).collect();
            let count = speaks.iter().filter(|speaks| **speaks).count() as u64;
            if count == 1 {
                good += 1
            } else {
                lost += count
            }
            let end_us = first + 10 * SLOT_US;
            for (station, speaks) in all.iter_mut().zip(&speaks) {
                if *speaks {
                    station.step(first);
                    station.cancel();
                }
                let carrier = if *speaks { Carrier::Own } else { Carrier::Busy };
                station.handle_carrier(first, carrier);
                station.handle_carrier(end_us, Carrier::Free);
            }
            now_us = end_us;
        }
        (lost * 100 / (lost + good), good * 10 * SLOT_US * 100 / now_us)
    }

    #[test]
    fn a_crowd_that_always_has_something_to_say_mostly_gets_through() {
        for stations in [1, 2, 3, 5, 10, 20] {
            let (lost, carried) = crowd(stations, 7);
            println!("{stations} stations: {lost} % of frames lost, {carried} % of time carried");
            assert!(lost <= 40, "{stations}: {lost} %");
            assert!(carried >= 25, "{stations}: {carried} %");
        }
    }
}
