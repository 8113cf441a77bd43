//! The way of a frame: chosen, booked, written, listened for, on the air, settled.
//!
//! Frames of one item are booked together as a burst, for one write of the ledger; between two of them
//! whatever is more urgent goes first, and what was booked and not sent is given back.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use postrider_base::{bundle::Receipt, radio::pack};

use super::{
    super::{
        code::Key,
        contract::{Beacons, Ending, ItemId, Listening, Now, Output, Refusal, Waiting},
        fair::Asker,
        items::{Means, Part, Turn},
        wants::{self, Wants},
    },
    Station, by_us,
    saying::Said,
};
use crate::air::{
    Lane, May, Why,
    ledger::{Booking, Ledger},
    listen::{Carrier, Step},
};

/// A modem that is busy is asked again after this, then after twice as long.
const BUSY_US: u64 = 500_000;
const BUSY_DOUBLINGS: u32 = 7;
/// One that has sent as much as it may is left alone for so long.
const MODEM_DUTY_US: u64 = 600_000_000;
/// Somebody who speaks for so long is told of.
const SPEAKS_US: u64 = 60_000_000;
/// Bytes of one receipt in a frame, and of what comes before them.
const RECEIPT_BYTES: usize = 24;

/// Where the frames that were chosen are.
#[derive(Debug, Default)]
pub(super) struct Sending {
    stage: Stage,
    burst: VecDeque<Ready>,
    out: Option<Ready>,
    writes: u32,
    number: u32,
    wake_us: u64,
    /// The modem is left alone until then.
    hold_us: u64,
    refusals: u32,
    /// When the call sign was said last.
    called_us: Option<u64>,
    /// Why items wait, as was told.
    told: BTreeMap<ItemId, Why>,
    silence_told_us: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    /// The ledger is being written.
    Writing,
    Listening,
    OnAir,
}

/// A frame that is booked.
#[derive(Debug)]
struct Ready {
    bytes: Vec<u8>,
    lane: Lane,
    what: What,
    booking: Booking,
}

/// Of what a frame is.
#[derive(Clone, Debug)]
enum What {
    Call,
    Beacon(Said),
    Wants(Vec<(Key, u8)>),
    Receipts(Vec<Receipt>),
    Item(Part),
}

/// What is next in a lane.
#[derive(Clone, Copy, Debug)]
enum Next {
    Wants,
    Receipts,
    Beacon,
    Item(ItemId, Turn),
}

impl Sending {
    pub fn is_on_air(&self) -> bool {
        self.stage == Stage::OnAir
    }

    /// Whether a receipt is on its way.
    pub fn has(&self, receipt: &Receipt) -> bool {
        let under_way = self.burst.iter().chain(&self.out);
        let mut receipts = under_way.filter_map(|ready| match &ready.what {
            What::Receipts(receipts) => Some(receipts),
            _ => None,
        });
        receipts.any(|receipts| receipts.contains(receipt))
    }

    pub fn wake_us(&self) -> u64 {
        self.wake_us
    }
}

impl Station {
    /// Goes on until something has to be waited for.
    pub(super) fn drive(&mut self, now: Now, ledger: &mut Ledger) {
        loop {
            self.sending.wake_us = u64::MAX;
            let goes_on = match self.sending.stage {
                Stage::Idle => self.plan(now, ledger),
                Stage::Listening => self.listen(now, ledger),
                Stage::Writing | Stage::OnAir => false,
            };
            if !goes_on {
                return;
            }
        }
    }

    fn wake(&mut self, us: u64) {
        self.sending.wake_us = self.sending.wake_us.min(us);
    }

    /// Chooses what goes next and books it. False if nothing goes now.
    fn plan(&mut self, now: Now, ledger: &mut Ledger) -> bool {
        if now.us < self.sending.hold_us {
            self.wake(self.sending.hold_us);
            return false;
        }
        let mut next = [None; 4];
        for (lane, next) in Lane::ALL.into_iter().zip(&mut next) {
            match self.next(now, lane) {
                Ok(found) => *next = Some(found),
                Err(later_us) => self.wake(later_us),
            }
        }
        let mut amounts = [None; 4];
        for ((lane, next), amount) in Lane::ALL.into_iter().zip(next).zip(&mut amounts) {
            *amount = next.map(|next| self.amount(now, lane, next));
        }
        let told = ledger.outlook(now.custody_ms, self.settings.limit, amounts);
        for ((lane, next), may) in Lane::ALL.into_iter().zip(next).zip(told) {
            match (next, may) {
                (Some(next), Some(May::Now)) => return self.book(now, ledger, lane, next),
                (Some(next), Some(May::At(ms, why))) => {
                    self.wake(by_us(now, ms));
                    self.tell_wait(next, ms, why);
                }
                (Some(next), Some(May::Never(why))) => {
                    self.never(lane, next, why);
                    return true;
                }
                _ => {}
            }
        }
        false
    }

    /// The first of a lane, or when there may be one.
    fn next(&mut self, now: Now, lane: Lane) -> Result<Next, u64> {
        let mut later_us = u64::MAX;
        if lane == Lane::Normal {
            let wants_us = self.wants.next_us();
            if wants_us <= now.us && !self.wants.due(now.us, &self.gathering).is_empty() {
                match self.budgets.may(now.us, Asker::Strangers, self.pace.want_us) {
                    Ok(()) => return Ok(Next::Wants),
                    Err(ready_us) => later_us = later_us.min(ready_us),
                }
            } else if wants_us > now.us {
                later_us = later_us.min(wants_us);
            }
        }
        if self.receipts.iter().any(|(of, _)| *of == lane) {
            return Ok(Next::Receipts);
        }
        if lane == Lane::Normal {
            let beacon_us = self.beacon_us();
            if beacon_us <= now.us {
                return Ok(Next::Beacon);
            }
            later_us = later_us.min(beacon_us);
        }
        let found = self.items.choose(now.us, lane, &self.pace, &mut self.budgets);
        found.map(|(id, turn)| Next::Item(id, turn)).map_err(|us| us.min(later_us))
    }

    /// What its first frame takes of the airtime, with a call sign before it if that is due.
    fn amount(&self, now: Now, lane: Lane, next: Next) -> u64 {
        let bytes = match next {
            Next::Wants => wants::bytes(self.wants.due(now.us, &self.gathering).len()),
            Next::Receipts => {
                let waiting = self.receipts.iter().filter(|(of, _)| *of == lane).count();
                1 + RECEIPT_BYTES * waiting.min(self.receipts_most())
            }
            Next::Beacon => super::super::beacon::BEACON_BYTES,
            Next::Item(id, turn) => self.items.bytes(&id, turn),
        };
        let call_us = self.call(now).map_or(0, |frame| self.pace.air_us(&frame));
        call_us.saturating_add(self.pace.air_us(&vec![0; bytes]))
    }

    fn receipts_most(&self) -> usize {
        ((self.settings.mtu_bytes - 1) / RECEIPT_BYTES).max(1)
    }

    /// The frame that says whose station this is, if it has to be said before the next.
    fn call(&self, now: Now) -> Option<Vec<u8>> {
        let said_s = self.sending.called_us.map(|us| us / 1_000_000);
        let call = self.settings.call.filter(|call| call.is_due(said_s, now.us / 1_000_000));
        call.map(|call| call.frame())
    }

    /// Books the frames of what goes next, as far as there is room, and has the ledger written.
    fn book(&mut self, now: Now, ledger: &mut Ledger, lane: Lane, next: Next) -> bool {
        let call = self.call(now).map(|frame| (frame, What::Call));
        let frames: Vec<(Vec<u8>, What)> = match next {
            Next::Wants => {
                let wants = self.wants.due(now.us, &self.gathering);
                let [nonce] = self.chance.bytes();
                let named = self.settings.beacons == Beacons::Sent;
                let key = named.then_some(&self.settings.key);
                vec![(wants::encode(key, nonce, &wants), What::Wants(wants))]
            }
            Next::Receipts => {
                let of_lane = self.receipts.iter().filter(|(of, _)| *of == lane);
                let most = self.receipts_most();
                let receipts: Vec<Receipt> =
                    of_lane.map(|(_, receipt)| *receipt).take(most).collect();
                self.receipts.retain(|(of, receipt)| *of != lane || !receipts.contains(receipt));
                let frames = pack(&receipts, self.settings.mtu_bytes).into_iter();
                frames.map(|frame| (frame, What::Receipts(receipts.clone()))).collect()
            }
            Next::Beacon => {
                let (frame, said) = self.make_beacon(now);
                vec![(frame, What::Beacon(said))]
            }
            Next::Item(id, turn) => {
                let frames = self.items.frames(&id, turn).into_iter();
                frames.map(|frame| (frame.bytes, What::Item(frame.part))).collect()
            }
        };
        for (bytes, what) in call.into_iter().chain(frames) {
            let us = self.pace.air_us(&bytes);
            match ledger.book(now.custody_ms, self.settings.limit, lane, us) {
                Ok(booking) => self.sending.burst.push_back(Ready { bytes, lane, what, booking }),
                Err(_) => break,
            }
        }
        if self.sending.burst.is_empty() {
            return false;
        }
        self.sending.writes = self.sending.writes.wrapping_add(1);
        self.sending.stage = Stage::Writing;
        self.outputs.push_back(Output::WriteLedger { write: self.sending.writes });
        true
    }

    /// The ledger is durable.
    pub(super) fn written(&mut self, now: Now, write: u32) {
        if self.sending.stage == Stage::Writing && write == self.sending.writes {
            let random = u32::from_be_bytes(self.chance.bytes());
            self.begin_listening(now, random);
        }
    }

    fn begin_listening(&mut self, now: Now, random: u32) {
        self.sending.stage = Stage::Listening;
        self.listen.begin(now.us, random);
    }

    /// Waits for the moment of the first frame, if it is still to go. False if that is not now.
    fn listen(&mut self, now: Now, ledger: &mut Ledger) -> bool {
        let Some(ready) = self.sending.burst.front() else {
            self.listen.cancel();
            self.sending.stage = Stage::Idle;
            return true;
        };
        if !self.still(now, &ready.what) {
            if let Some(ready) = self.sending.burst.pop_front() {
                self.give_back(now, ledger, ready);
            }
            return true;
        }
        if self.settings.listening == Listening::Modem {
            return self.speak(now);
        }
        match self.listen.step(now.us) {
            Step::Speak => return self.speak(now),
            Step::At(us) => self.wake(us),
            Step::Rest => {
                let random = u32::from_be_bytes(self.chance.bytes());
                self.listen.begin(now.us, random);
                return true;
            }
            Step::Own(_) => {}
            Step::Busy(since_us) => self.tell_silence(now, since_us),
        }
        false
    }

    fn speak(&mut self, now: Now) -> bool {
        let Some(ready) = self.sending.burst.pop_front() else { return true };
        self.listen.cancel();
        self.listen.handle_carrier(now.us, Carrier::Own);
        self.sending.number = self.sending.number.wrapping_add(1);
        self.sending.stage = Stage::OnAir;
        self.sending.silence_told_us = None;
        let frame = ready.bytes.clone();
        self.outputs.push_back(Output::Transmit { number: self.sending.number, frame });
        self.sending.out = Some(ready);
        false
    }

    /// Whether a frame still says something that is not known.
    fn still(&self, now: Now, what: &What) -> bool {
        match what {
            What::Call | What::Receipts(_) => true,
            What::Beacon(_) => self.beacon_us() <= now.us,
            What::Wants(wants) => {
                let due = self.wants.due(now.us, &self.gathering);
                wants.iter().any(|(key, _)| due.iter().any(|(due, _)| due == key))
            }
            What::Item(part) => self.items.still(now.us, part),
        }
    }

    /// A frame that was booked does not go.
    fn give_back(&mut self, now: Now, ledger: &mut Ledger, ready: Ready) {
        ledger.settle(now.custody_ms, ready.booking, 0);
        if let What::Receipts(receipts) = ready.what {
            for receipt in receipts {
                self.receipts.push_front((ready.lane, receipt));
            }
        }
    }

    /// The radio is gone: what is booked is given back, but for what may be on the air.
    pub(super) fn settle_all(&mut self, now: Now, ledger: &mut Ledger) {
        for ready in mem::take(&mut self.sending.burst) {
            self.give_back(now, ledger, ready);
        }
        if let Some(ready) = self.sending.out.take() {
            let us = ready.booking.amount();
            ledger.settle(now.custody_ms, ready.booking, us);
        }
    }

    /// What became of the frame on the air; `why` if it was not sent.
    pub(super) fn fate(
        &mut self,
        now: Now,
        ledger: &mut Ledger,
        number: u32,
        why: Option<Refusal>,
    ) {
        if number != self.sending.number {
            return;
        }
        let Some(ready) = self.sending.out.take() else { return };
        self.listen.handle_carrier(now.us, self.carrier);
        self.sending.stage = Stage::Idle;
        match why {
            None | Some(Refusal::Unknown) => {
                let us = ready.booking.amount();
                ledger.settle(now.custody_ms, ready.booking, us);
                self.aired(now, ready.what, us);
                self.sending.refusals = 0;
            }
            Some(Refusal::Later | Refusal::Duty) => {
                let wait_us = if why == Some(Refusal::Duty) {
                    MODEM_DUTY_US
                } else {
                    BUSY_US << self.sending.refusals.min(BUSY_DOUBLINGS)
                };
                self.sending.refusals = self.sending.refusals.saturating_add(1);
                self.sending.hold_us = now.us.saturating_add(wait_us);
                if let (What::Item(part), Some(Refusal::Duty)) = (&ready.what, why) {
                    let waits = Output::Waits { id: part.id, waiting: Waiting::Modem };
                    self.outputs.push_back(waits);
                }
                self.give_back(now, ledger, ready);
            }
            Some(Refusal::Never) => {
                ledger.settle(now.custody_ms, ready.booking, 0);
                match ready.what {
                    What::Item(part) => self.let_go(part.id, Ending::Form),
                    What::Beacon(_) => self.saying.stop(),
                    What::Wants(wants) => wants.iter().for_each(|(key, _)| self.wants.done(*key)),
                    What::Call => self.sending.called_us = Some(now.us),
                    What::Receipts(_) => {}
                }
            }
        }
        self.go_on(now, ledger);
    }

    /// The rest of a burst follows at once, if nothing is more urgent and the modem takes it.
    fn go_on(&mut self, now: Now, ledger: &mut Ledger) {
        let Some(lane) = self.sending.burst.front().map(|ready| ready.lane) else { return };
        let before: Vec<Lane> = Lane::ALL.into_iter().filter(|other| *other < lane).collect();
        let urgent = before.into_iter().any(|other| self.next(now, other).is_ok());
        if urgent || now.us < self.sending.hold_us {
            for ready in mem::take(&mut self.sending.burst) {
                self.give_back(now, ledger, ready);
            }
            return;
        }
        self.begin_listening(now, 0);
    }

    /// A frame was on the air.
    fn aired(&mut self, now: Now, what: What, us: u64) {
        match what {
            What::Call => self.sending.called_us = Some(now.us),
            What::Beacon(said) => self.beacon_aired(now, said),
            What::Wants(wants) => {
                self.budgets.spend(now.us, Asker::Strangers, us);
                self.wants.said(now.us, &wants, &self.pace, &mut self.chance);
            }
            What::Receipts(receipts) => {
                let ids = receipts.iter().map(|receipt| ItemId(receipt.id_prefix));
                ids.for_each(|id| self.held.said(now.us, &id));
            }
            What::Item(part) => {
                let id = part.id;
                let means = Means { pace: &self.pace, chance: &mut self.chance };
                let all = self.items.aired(now.us, &part, us, &mut self.budgets, means);
                let Some(entry) = self.items.entry(&id).filter(|_| all) else { return };
                let times = entry.times;
                if !entry.coded().is_one() {
                    // Others say now what they lack.
                    let listens_us = now.us.saturating_add(4 * self.pace.want_us);
                    self.sending.hold_us = self.sending.hold_us.max(listens_us);
                    self.note_own(now, id);
                }
                self.held.said(now.us, &id);
                self.sending.told.remove(&id);
                self.outputs.push_back(Output::Aired { id, times });
            }
        }
    }

    /// It alone is more than there is room for, ever.
    fn never(&mut self, lane: Lane, next: Next, why: Why) {
        match next {
            Next::Item(id, _) => self.let_go(id, Ending::Never(why)),
            Next::Receipts => self.receipts.retain(|(of, _)| *of != lane),
            Next::Beacon => self.saying.stop(),
            Next::Wants => self.wants = Wants::default(),
        }
    }

    fn tell_wait(&mut self, next: Next, ms: u64, why: Why) {
        let Next::Item(id, _) = next else { return };
        self.sending.told.retain(|id, _| self.items.entry(id).is_some());
        if self.sending.told.insert(id, why) != Some(why) {
            self.outputs.push_back(Output::Waits { id, waiting: Waiting::Airtime(ms, why) });
        }
    }

    /// Somebody speaks and does not end: that is told, and waited for.
    fn tell_silence(&mut self, now: Now, since_us: u64) {
        let tell_us = since_us.saturating_add(SPEAKS_US);
        if now.us < tell_us {
            self.wake(tell_us);
            return;
        }
        let what = self.sending.burst.front().map(|ready| &ready.what);
        if let Some(What::Item(part)) = what
            && self.sending.silence_told_us != Some(since_us)
        {
            self.outputs
                .push_back(Output::Waits { id: part.id, waiting: Waiting::Silence(since_us) });
            self.sending.silence_told_us = Some(since_us);
        }
    }
}
