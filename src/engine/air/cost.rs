//! What a message would take in frames, time on the air, waiting and money, before it is sent.
//!
//! Money of a tariff is kept in a [`Ledger`] of [`super::Span::Day`], as airtime is in one of an hour,
//! with the same lanes and reserves; amounts are thousandths of whatever money the tariff is in.
//!
//! A preview supposes that nothing else is sent meanwhile, that all arrives, and that the channel is
//! free. So it is what the message costs at least, and when it is sent at the earliest.

use super::{
    Lane, May, Why,
    ledger::{Ledger, Limit},
    lora::Modulation,
};

/// Waits that are gone through one by one; after them it goes on as regularly as the limit makes it.
const STEPS_MAX: usize = 2_000;

/// What frames cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// For each frame, in thousandths: an SMS.
    pub frame: u32,
    /// For each so many bytes of a frame or part of them; 0 if bytes cost nothing: satellites count 50.
    pub unit_bytes: u32,
    /// For each such unit, in thousandths.
    pub unit: u32,
}

impl Price {
    /// What a frame of so many bytes costs, in thousandths.
    pub fn of(&self, frame_bytes: u64) -> u64 {
        let units = match u64::from(self.unit_bytes) {
            0 => 0,
            unit_bytes => frame_bytes.div_ceil(unit_bytes),
        };
        u64::from(self.frame).saturating_add(units.saturating_mul(u64::from(self.unit)))
    }
}

/// A way that frames take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The longest frame, in bytes.
    pub mtu_bytes: u64,
    /// What of each frame is not the message.
    pub overhead_bytes: u64,
    /// How long one frame may be on the air, if the law says so.
    pub frame_max_us: Option<u64>,
    /// How bytes become time.
    pub modulation: Modulation,
    /// How they become money.
    pub price: Price,
}

impl Way {
    /// The longest frame that may be sent, in bytes.
    pub fn frame_bytes(&self) -> u64 {
        let by_law = match self.frame_max_us {
            Some(most_us) => self.modulation.bytes_within(most_us).unwrap_or(0),
            None => u64::MAX,
        };
        self.mtu_bytes.min(by_law)
    }
}

/// An account that frames are taken from.
#[derive(Clone, Copy, Debug)]
pub struct Purse<'a> {
    /// Where it is kept.
    pub ledger: &'a Ledger,
    /// Which it is, and what it may hold.
    pub limit: Limit,
}

/// All accounts that a frame is taken from, as far as there are any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Purses<'a> {
    /// That of the sub-band.
    pub air: Option<Purse<'a>>,
    /// That of the tariff.
    pub money: Option<Purse<'a>>,
}

/// What a message would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preview {
    /// How many frames.
    pub frames: u64,
    /// All of them on the air, in microseconds.
    pub airtime_us: u64,
    /// All of them, in thousandths.
    pub money: u64,
    /// How many bytes of the message may go at once, before the first wait.
    pub now_bytes: u64,
    /// When all of it is sent.
    pub done: Done,
}

/// When all of a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// After so many milliseconds of the ledger's clock, without a wait.
    Straight(u64),
    /// After so many milliseconds, of which the first wait is for that reason.
    Waiting(u64, Why),
    /// Never, so.
    Never(Why),
}

/// What `bytes` of a message would take on a way, if they began now. No ledger is changed.
pub fn preview(now_ms: u64, bytes: u64, lane: Lane, way: &Way, purses: Purses<'_>) -> Preview {
    let frame_bytes = way.frame_bytes();
    let room_bytes = frame_bytes.saturating_sub(way.overhead_bytes);
    if room_bytes == 0 && bytes > 0 {
        let why = if way.mtu_bytes > frame_bytes { Why::TooLong } else { Why::NoRoom };
        return Preview {
            frames: 0,
            airtime_us: 0,
            money: 0,
            now_bytes: 0,
            done: Done::Never(why),
        };
    }
    let frames = bytes.div_ceil(room_bytes.max(1));
    let full = frames.saturating_sub(1);
    let last_bytes = bytes - full * room_bytes;
    let kinds = [(full, frame_bytes), (frames - full, last_bytes + way.overhead_bytes)];
    let sum = |of: &dyn Fn(u64) -> u64| {
        kinds.iter().fold(0u64, |sum, (count, bytes)| {
            sum.saturating_add(count.saturating_mul(if *count == 0 { 0 } else { of(*bytes) }))
        })
    };
    let mut course = Course {
        now_ms,
        lane,
        purses: [purses.air, purses.money]
            .map(|purse| purse.map(|purse| (purse.ledger.clone(), purse.limit))),
        waited: None,
        steps: 0,
    };
    let mut now_frames = 0;
    let mut never = None;
    for (count, frame_bytes) in kinds {
        let frame = Frame {
            us: way.modulation.air_us(frame_bytes),
            amounts: [way.modulation.air_us(frame_bytes), way.price.of(frame_bytes)],
        };
        match course.send(count, frame) {
            Ok(at_once) => now_frames += at_once,
            Err(why) => {
                never = Some(why);
                break;
            }
        }
    }
    let took_ms = course.now_ms.saturating_sub(now_ms);
    Preview {
        frames,
        airtime_us: sum(&|bytes| way.modulation.air_us(bytes)),
        money: sum(&|bytes| way.price.of(bytes)),
        now_bytes: bytes.min(now_frames.saturating_mul(room_bytes)),
        done: match (never, course.waited) {
            (Some(why), _) => Done::Never(why),
            (None, Some(why)) => Done::Waiting(took_ms, why),
            (None, None) => Done::Straight(took_ms),
        },
    }
}

/// One frame: how long it is, and what it takes from either purse.
#[derive(Clone, Copy)]
struct Frame {
    us: u64,
    amounts: [u64; 2],
}

/// Frames that are sent in thought.
struct Course {
    now_ms: u64,
    lane: Lane,
    purses: [Option<(Ledger, Limit)>; 2],
    waited: Option<Why>,
    steps: usize,
}

impl Course {
    /// Sends so many like this; how many of them before anything had to wait.
    fn send(&mut self, count: u64, frame: Frame) -> Result<u64, Why> {
        let mut left = count;
        let mut at_once = 0;
        while left > 0 {
            if let Some(why) = self.wait(frame)? {
                self.waited.get_or_insert(why);
            }
            if self.steps >= STEPS_MAX {
                self.leap(left, frame);
                return Ok(at_once);
            }
            self.steps += 1;
            let together = self.together(left, frame);
            self.spend(together, frame);
            left -= together;
            if self.waited.is_none() {
                at_once += together;
            }
        }
        Ok(at_once)
    }

    /// Waits until one may go; why it had to.
    fn wait(&mut self, frame: Frame) -> Result<Option<Why>, Why> {
        let mut waited = None;
        // Either purse may have to be waited for, and while one is, the other only fills.
        for _ in 0..=self.purses.len() {
            let mut until_ms = None;
            for (purse, amount) in self.purses.iter_mut().zip(frame.amounts) {
                let Some((ledger, limit)) = purse else { continue };
                match ledger.may(self.now_ms, *limit, self.lane, amount) {
                    May::Now => {}
                    May::At(at_ms, why) => {
                        if until_ms.is_none_or(|(until_ms, _)| at_ms > until_ms) {
                            until_ms = Some((at_ms, why));
                        }
                    }
                    May::Never(why) => return Err(why),
                }
            }
            let Some((at_ms, why)) = until_ms else { break };
            self.now_ms = self.now_ms.max(at_ms);
            waited.get_or_insert(why);
        }
        Ok(waited)
    }

    /// How many may go one after the other; one at least.
    fn together(&mut self, left: u64, frame: Frame) -> u64 {
        let mut together = left;
        for (purse, amount) in self.purses.iter_mut().zip(frame.amounts) {
            let Some((ledger, limit)) = purse else { continue };
            if let Some(room) = ledger.room(self.now_ms, *limit, self.lane) {
                together = together.min(room / amount.max(1));
            }
        }
        together.max(1)
    }

    fn spend(&mut self, count: u64, frame: Frame) {
        let took_ms = count.saturating_mul(frame.us).div_ceil(1_000);
        let ended_ms = self.now_ms.saturating_add(took_ms);
        for (purse, amount) in self.purses.iter_mut().zip(frame.amounts) {
            let Some((ledger, limit)) = purse else { continue };
            let amount = count.saturating_mul(amount);
            // There is room: it was waited for.
            if let Ok(booking) = ledger.book(self.now_ms, *limit, self.lane, amount) {
                ledger.settle(ended_ms, booking, amount);
            }
        }
        self.now_ms = ended_ms;
    }

    /// The rest of many, as fast as the limits let them go for ever.
    fn leap(&mut self, left: u64, frame: Frame) {
        let mut took_ms = left.saturating_mul(frame.us).div_ceil(1_000);
        for (purse, amount) in self.purses.iter().zip(frame.amounts) {
            let Some((ledger, limit)) = purse else { continue };
            let Some(share) = limit.share(self.lane) else { continue };
            let span = ledger.span;
            let each_time = (share / amount.max(1)).max(1);
            let times = left.div_ceil(each_time);
            took_ms = took_ms.max(times.saturating_mul(span.ms() + span.slot_ms()));
        }
        self.now_ms = self.now_ms.saturating_add(took_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::air::{
        Span,
        lora::{Lora, Plain},
    };

    const HOUR_MS: u64 = 3_600_000;
    const FREE: Price = Price { frame: 0, unit_bytes: 0, unit: 0 };

    /// LongFast: 222 bytes of which 8 are not the message.
    fn long_fast() -> Way {
        Way {
            mtu_bytes: 222,
            overhead_bytes: 8,
            frame_max_us: None,
            modulation: Modulation::Lora(Lora::new(11, 250_000, 5, 16).unwrap()),
            price: FREE,
        }
    }

    /// Ten seconds each, nine cents.
    fn sms() -> Way {
        let plain =
            Plain { bits_per_s: 1_120, bits_per_byte: 8, lead_us: 9_000_000, around_bytes: 0 };
        Way {
            mtu_bytes: 140,
            overhead_bytes: 6,
            frame_max_us: None,
            modulation: Modulation::Plain(plain),
            price: Price { frame: 90, ..FREE },
        }
    }

    const NONE: Purses<'static> = Purses { air: None, money: None };

    fn one_percent(ledger: &Ledger) -> Purses<'_> {
        let limit = Limit::new(3, Some(36_000_000));
        Purses { air: Some(Purse { ledger, limit }), money: None }
    }

    #[test]
    fn a_message_of_a_few_frames_goes_at_once() {
        let ledger = Ledger::new(Span::Hour, 0);
        let short = preview(0, 100, Lane::Normal, &long_fast(), one_percent(&ledger));
        let us = long_fast().modulation.air_us(108);
        assert_eq!((short.frames, short.airtime_us, short.now_bytes), (1, us, 100));
        assert_eq!(short.done, Done::Straight(us.div_ceil(1_000)));
        let nothing = preview(0, 0, Lane::Normal, &long_fast(), one_percent(&ledger));
        assert_eq!((nothing.frames, nothing.done), (0, Done::Straight(0)));
        // One byte more than a frame holds is a second frame, and a short one.
        let two = preview(0, 215, Lane::Normal, &long_fast(), NONE);
        let air_us = |bytes| long_fast().modulation.air_us(bytes);
        assert_eq!((two.frames, two.airtime_us), (2, air_us(222) + air_us(9)));
    }

    #[test]
    fn a_long_one_takes_hours_and_its_beginning_could_go_now() {
        let ledger = Ledger::new(Span::Hour, 0);
        let long = preview(0, 30_000, Lane::Normal, &long_fast(), one_percent(&ledger));
        // 1.911 s each, of 28.8: fifteen in an hour and a slot.
        assert_eq!((long.frames, long.now_bytes), (141, 15 * 214));
        let Done::Waiting(took_ms, Why::Reserve) = long.done else { panic!("{long:?}") };
        assert_eq!(took_ms / HOUR_MS, 9, "141 frames are nine hours and a few");
        // For a call for help there is more.
        let sos = preview(0, 30_000, Lane::Sos, &long_fast(), one_percent(&ledger));
        assert_eq!(sos.now_bytes, 18 * 214);
        assert!(matches!(sos.done, Done::Waiting(ms, Why::Spent) if ms < took_ms));
    }

    #[test]
    fn what_was_spent_already_counts() {
        let mut ledger = Ledger::new(Span::Hour, 0);
        let limit = Limit::new(3, Some(36_000_000));
        let booking = ledger.book(0, limit, Lane::Sos, 36_000_000).unwrap();
        ledger.settle(0, booking, 36_000_000);
        let kept = ledger.clone();
        let told = preview(60_000, 100, Lane::Normal, &long_fast(), one_percent(&ledger));
        let us = told.airtime_us;
        assert_eq!(told.now_bytes, 0);
        let waits_ms = HOUR_MS + 30_000 - 60_000;
        assert_eq!(told.done, Done::Waiting(waits_ms + us.div_ceil(1_000), Why::Spent));
        assert_eq!(ledger, kept, "a preview spends nothing");
    }

    #[test]
    fn money_of_a_day_is_kept_like_airtime_of_an_hour() {
        let ledger = Ledger::new(Span::Day, 0);
        // A thousand a day: bulk may have half of it, five messages.
        let purse = Purse { ledger: &ledger, limit: Limit::new(1, Some(1_000)) };
        let told = preview(0, 1_000, Lane::Bulk, &sms(), Purses { air: None, money: Some(purse) });
        assert_eq!((told.frames, told.money, told.now_bytes), (8, 720, 5 * 134));
        let Done::Waiting(took_ms, Why::Reserve) = told.done else { panic!("{told:?}") };
        assert_eq!(took_ms / HOUR_MS, 24);
        let urgent =
            preview(0, 1_000, Lane::Urgent, &sms(), Purses { air: None, money: Some(purse) });
        assert!(matches!(urgent.done, Done::Straight(ms) if ms <= 80_000));
        // Less than one of them costs.
        let poor = Purse { ledger: &ledger, limit: Limit::new(1, Some(89)) };
        let never = preview(0, 1, Lane::Sos, &sms(), Purses { air: None, money: Some(poor) });
        assert_eq!(never.done, Done::Never(Why::TooMuch));
        // A satellite counts by fifties.
        let price = Price { frame: 10, unit_bytes: 50, unit: 40 };
        assert_eq!([0, 1, 50, 51, 340].map(|bytes| price.of(bytes)), [10, 50, 50, 90, 290]);
    }

    #[test]
    fn the_slower_of_two_purses_decides() {
        let (air, money) = (Ledger::new(Span::Hour, 0), Ledger::new(Span::Day, 0));
        let way = Way { price: Price { frame: 100, ..FREE }, ..long_fast() };
        let purse = Purse { ledger: &money, limit: Limit::new(1, Some(1_000)) };
        let both = preview(
            0,
            20 * 214,
            Lane::Sos,
            &way,
            Purses { money: Some(purse), ..one_percent(&air) },
        );
        // Eighteen an hour, but ten a day.
        assert_eq!((both.frames, both.money, both.now_bytes), (20, 2_000, 10 * 214));
        assert!(matches!(both.done, Done::Waiting(ms, _) if (24..25).contains(&(ms / HOUR_MS))));
    }

    #[test]
    fn what_cannot_be_sent_at_all_says_why() {
        let way = Way { overhead_bytes: 222, ..long_fast() };
        let told = preview(0, 1, Lane::Sos, &way, NONE);
        assert_eq!(told.done, Done::Never(Why::NoRoom));
        // 400 ms of LongFast hold 22 bytes, 14 of a message.
        let dwell = Way { frame_max_us: Some(400_000), ..long_fast() };
        assert_eq!(dwell.frame_bytes(), 22);
        assert_eq!(preview(0, 140, Lane::Sos, &dwell, NONE).frames, 10);
        let shorter = Way { frame_max_us: Some(200_000), ..long_fast() };
        let told = preview(0, 1, Lane::Sos, &shorter, NONE);
        assert_eq!(told.done, Done::Never(Why::TooLong));
    }

    /// The same, frame by frame: a preview is early by a rounded millisecond a frame at most, and late by
    /// what it sends together.
    #[test]
    fn is_as_long_as_it_takes() {
        for bytes in [1, 5_000, 60_000, 700_000] {
            for lane in Lane::ALL {
                let mut ledger = Ledger::new(Span::Hour, 0);
                let limit = Limit::new(3, Some(36_000_000));
                let told = preview(0, bytes, lane, &long_fast(), one_percent(&ledger));
                let mut now_ms = 0;
                let mut left = bytes;
                while left > 0 {
                    let us = long_fast().modulation.air_us(left.min(214) + 8);
                    match ledger.book(now_ms, limit, lane, us) {
                        Ok(booking) => {
                            now_ms += us.div_ceil(1_000);
                            ledger.settle(now_ms, booking, us);
                            left -= left.min(214);
                        }
                        Err(May::At(at_ms, _)) => now_ms = at_ms,
                        Err(other) => panic!("{other:?}"),
                    }
                }
                let (Done::Straight(ms) | Done::Waiting(ms, _)) = told.done else {
                    panic!("{told:?}")
                };
                assert!(
                    now_ms <= ms + told.frames && ms <= now_ms + now_ms / 20 + 1,
                    "{bytes} {lane:?}: {now_ms} {ms}"
                );
            }
        }
    }

    #[test]
    fn nothing_that_is_asked_takes_long_or_overflows() {
        let ledger = Ledger::new(Span::Hour, u64::MAX - 5);
        for bytes in [1 << 40, u64::MAX] {
            let told = preview(u64::MAX - 5, bytes, Lane::Bulk, &long_fast(), one_percent(&ledger));
            assert!(matches!(told.done, Done::Waiting(..)));
            let all = Way {
                mtu_bytes: u64::MAX,
                overhead_bytes: u64::MAX - 1,
                price: Price { frame: u32::MAX, unit_bytes: 1, unit: u32::MAX },
                ..sms()
            };
            assert_eq!(preview(0, bytes, Lane::Sos, &all, NONE).money, u64::MAX);
        }
        // After many waits it goes on regularly: a gigabyte takes some 32 years.
        let ledger = Ledger::new(Span::Hour, 0);
        let told = preview(0, 1 << 30, Lane::Sos, &long_fast(), one_percent(&ledger));
        let Done::Waiting(ms, _) = told.done else { panic!("{told:?}") };
        let hours = told.frames / 18;
        assert!((hours..hours + hours / 50).contains(&(ms / HOUR_MS)), "{ms} {hours}");
    }
}
