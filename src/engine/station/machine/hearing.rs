//! What a frame that was heard means: nothing of it is believed further than it must be.

use std::cmp::Ordering;

use postrider_base::{
    air::Strength,
    radio::{FrameType, Station as Called, unpack},
};

use super::{
    super::{
        beacon::{BEACON, Beacon},
        code::{Gathered, Key, is_sum, key_in, key_of},
        contract::{FormNumber, ItemId, Listening, Now, Output, Verdict},
        forms::{Came, Form},
        neighbours::News,
        wants::{Said, WANTS},
    },
    Asker, Carrier, Means, Seen, Station,
};

/// Somebody who lacks an item is offered it within so many slots, so that of many who have it one
/// begins and the others hear that.
const OFFER_SLOTS: u64 = 64;

impl Station {
    pub(super) fn heard(&mut self, now: Now, frame: &[u8], strength: Strength) {
        let Some(first) = frame.first().copied() else { return };
        self.note_carrier(now);
        match FrameType::of(first) {
            Some(FrameType::Receipts) => {
                if let Ok(receipts) = unpack(frame) {
                    self.outputs.push_back(Output::Receipts(receipts));
                }
            }
            Some(FrameType::Piece) => self.fragment(now, frame, strength),
            Some(FrameType::Station) => {
                if let Ok(station) = Called::of_frame(frame) {
                    self.outputs.push_back(Output::Called(station.call));
                }
            }
            Some(FrameType::Bundle) => self.whole(now, frame, None, strength),
            None if is_sum(first) => self.fragment(now, frame, strength),
            None if first == BEACON => self.beacon(now, frame, strength),
            None if first == WANTS => self.wanted(now, frame),
            _ => {}
        }
    }

    /// A modem that cannot tell who speaks tells at least what it heard.
    fn note_carrier(&mut self, now: Now) {
        let senses = self.settings.listening == Listening::Here && self.carrier == Carrier::Free;
        if senses && !self.sending.is_on_air() {
            self.listen.handle_carrier(now.us, Carrier::Busy);
            self.listen.handle_carrier(now.us, Carrier::Free);
        }
    }

    fn fragment(&mut self, now: Now, frame: &[u8], strength: Strength) {
        // Our own, come back: nothing of it lacks here.
        if let Some(id) = key_in(frame).and_then(|key| self.items.by_key(key)) {
            self.items.offered(&id);
            if frame.first().copied().is_some_and(is_sum) {
                let wait_us = 3 * self.pace.frame_us + self.chance.up_to(self.pace.window_us());
                self.items.served(now.us, &id, wait_us);
            }
            return;
        }
        match self.gathering.take(now.us, frame) {
            Gathered::Whole(form) => {
                let key = key_of(&form);
                self.wants.done(key);
                self.whole(now, &form, Some(key), strength);
            }
            Gathered::Lacks { key, frames, over } => {
                let (pace, chance) = (&self.pace, &mut self.chance);
                self.wants.lacks(now.us, key, frames, over, pace, chance);
            }
            Gathered::Known { key, heard_as, idle_us } => self.known(now, key, heard_as, idle_us),
            Gathered::Refused => {}
        }
    }

    /// A frame of a form that is here.
    fn known(&mut self, now: Now, key: Key, heard_as: Key, idle_us: u64) {
        if let Some(id) = self.items.by_key(key) {
            // What was put together here under that key came from before us; else it goes on.
            match self.forms.by_key(heard_as) {
                Some(form) => self.is(now, id, form.hop),
                None => self.sent_by_others(now, id, Ordering::Greater),
            }
        } else if idle_us < 2 * self.pace.window_us() {
            // It goes on for others: what would be said now would be in their way.
            self.saying.wait(now.us.saturating_add(self.pace.window_us()));
        } else if let Some(id) = self.forms.by_key(key).and_then(|form| form.id()) {
            self.again(now, id);
        }
    }

    /// A form is whole; `key` if it came in pieces.
    fn whole(&mut self, now: Now, form: &[u8], key: Option<Key>, strength: Strength) {
        if !matches!(FrameType::of(form.first().copied().unwrap_or(0)), Some(FrameType::Bundle)) {
            return;
        }
        if let Some((id, how_far)) = self.items.same(form).filter(|_| key.is_none()) {
            return self.sent_by_others(now, id, how_far);
        }
        match self.forms.came(now.us, form) {
            Came::New(number) => self.give(number, form, strength),
            Came::Is(id) => self.is(now, id, form.get(1).copied().unwrap_or(0)),
            Came::Unread => self.wants.unread(key_of(form)),
            Came::Nothing => {}
        }
    }

    fn give(&mut self, form: FormNumber, bytes: &[u8], strength: Strength) {
        self.outputs.push_back(Output::Form { form, bytes: bytes.to_vec(), strength });
    }

    /// The shell says what a form is.
    pub(super) fn judged(&mut self, now: Now, form: Form, verdict: Verdict) {
        match verdict {
            Verdict::Kept(id) => {
                self.gathering.confirm(form.key);
                self.held.came(id);
                self.saying.tell(now.us, &self.pace, &mut self.chance);
                if self.gathering.has(form.key) {
                    self.saying.wait(now.us.saturating_add(self.pace.window_us()));
                }
            }
            Verdict::Known(id) => {
                self.gathering.confirm(form.key);
                self.held.add(id);
                self.is(now, id, form.hop);
            }
            Verdict::Unwanted => self.gathering.forget(form.key),
            Verdict::Unread => {
                self.gathering.forget(form.key);
                self.wants.unread(form.key);
            }
        }
    }

    /// A form of what is here was heard.
    fn is(&mut self, now: Now, id: ItemId, hop: u8) {
        let how_far = self.items.farther(&id, hop).unwrap_or(Ordering::Less);
        self.sent_by_others(now, id, how_far);
    }

    /// Somebody sends what is here, farther on its way than it is sent from here or less far.
    fn sent_by_others(&mut self, now: Now, id: ItemId, how_far: Ordering) {
        self.items.offered(&id);
        match how_far {
            Ordering::Greater => self.seen(now, id, Seen::PassedOn),
            // From somebody who got it where we did; or our own, come back.
            Ordering::Equal => {}
            // From before us: they may not know that it is here.
            Ordering::Less => self.again(now, id),
        }
    }

    /// Somebody sends what is here: they may not know that.
    fn again(&mut self, now: Now, id: ItemId) {
        // What was said just now crossed this.
        let crossing_us = 4 * self.pace.frame_us + 32 * self.pace.slot_us;
        if self.held.said_since(&id, now.us.saturating_sub(crossing_us)) {
            return;
        }
        self.outputs.push_back(Output::Again { id });
        // What is still to be sent will say it.
        if self.items.entry(&id).is_none_or(|entry| entry.times > 0) {
            self.held.unsay(id);
            self.saying.tell(now.us, &self.pace, &mut self.chance);
        }
    }

    fn beacon(&mut self, now: Now, frame: &[u8], strength: Strength) {
        let Some(beacon) = Beacon::decode(frame) else { return };
        if beacon.is_from(&self.settings.key) || self.neighbours.is_repeated(frame) {
            return;
        }
        let by = self.neighbours.resolve(|key| beacon.is_from(key));
        if let Some(node) = by {
            let news = self.neighbours.hear(now.us, node, strength);
            if news != News::Nothing {
                self.outputs.push_back(Output::Neighbour { node, strength });
            }
            if news == News::New {
                // It does not know either who is here.
                self.saying.greet(now.us, &self.pace, &mut self.chance);
            }
        }
        // What somebody has said of what is here need not be said by all.
        let named: Vec<ItemId> =
            self.held.unsaid().filter(|id| beacon.has(id) == Some(true)).copied().collect();
        named.iter().for_each(|id| self.held.told(id));
        let ids: Vec<ItemId> = self.items.ids().collect();
        for id in ids {
            match beacon.has(&id) {
                Some(true) => self.seen(now, id, Seen::Named(by)),
                Some(false) => {
                    let after_us = self.chance.up_to(OFFER_SLOTS * self.pace.slot_us);
                    self.items.lacked(now.us, &id, by, after_us);
                }
                None => {}
            }
        }
        self.asked(now, beacon.asked, by.map_or(Asker::Strangers, Asker::Contact));
    }

    /// Somebody asks for a receipt.
    fn asked(&mut self, now: Now, prefix: [u8; 3], asker: Asker) {
        let us = self.pace.want_us;
        let answers = prefix != [0; 3] && self.budgets.may(now.us, asker, us).is_ok();
        if answers && self.saying.may_answer(now.us, prefix, &self.pace) {
            let after_us = self.chance.up_to(OFFER_SLOTS * self.pace.slot_us);
            self.items.ask_on(now.us, prefix, asker, after_us, &self.pace);
            self.budgets.spend(now.us, asker, us);
            self.outputs.push_back(Output::ReceiptWanted { prefix });
        }
    }

    fn wanted(&mut self, now: Now, frame: &[u8]) {
        let Some(said) = Said::of(frame) else { return };
        if self.neighbours.is_repeated(frame) {
            return;
        }
        let by = self.neighbours.resolve(|key| said.is_from(key));
        let by = by.map_or(Asker::Strangers, Asker::Contact);
        for (key, frames) in said.wants() {
            if frames == 0 {
                if let Some(id) = self.items.by_key(key) {
                    self.outputs.push_back(Output::Unread { id });
                }
                continue;
            }
            let means = Means { pace: &self.pace, chance: &mut self.chance };
            self.items.wanted(now.us, key, by, usize::from(frames), means);
            let (pace, chance) = (&self.pace, &mut self.chance);
            self.wants.heard(now.us, key, frames, &self.gathering, pace, chance);
        }
    }
}
