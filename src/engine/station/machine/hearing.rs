//! What a frame that was heard means: nothing of it is believed further than it must be.

use std::cmp::Ordering;

use postrider_base::{
    air::Strength,
    radio::{FrameType, Station as Called, unpack},
};

use super::{
    super::{
        beacon::{BEACON, Beacon},
        code::{Gathered, Key, is_sum},
        contract::{FormNumber, ItemId, Listening, Now, Output, Verdict},
        forms::{Came, Form},
        neighbours::News,
        wants::{Said, WANTS},
    },
    Asker, Carrier, Seen, Station,
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
        match self.gathering.take(now.us, frame) {
            Gathered::Whole(form) => {
                let key = super::super::code::key_of(&form);
                self.wants.done(key);
                self.whole(now, &form, Some(key), strength);
            }
            Gathered::Lacks { key, frames, over } => {
                let (pace, chance) = (&self.pace, &mut self.chance);
                self.wants.lacks(now.us, key, frames, over, pace, chance);
            }
            Gathered::Known { key, passed_on } => self.known(now, key, passed_on),
            Gathered::Refused => {}
        }
    }

    /// A frame of a form that is here.
    fn known(&mut self, now: Now, key: Key, passed_on: bool) {
        let own = self.items.by_key(key);
        match own.or_else(|| self.forms.by_key(key)) {
            Some(id) if own.is_some() && passed_on => self.seen(now, id, Seen::PassedOn),
            // Of our own frames, or of one that we heard already: a repetition, if any time has passed.
            Some(id) if own.is_none() => self.again(now, id),
            _ => {}
        }
    }

    /// A form is whole; `key` if it came in pieces.
    fn whole(&mut self, now: Now, form: &[u8], key: Option<Key>, strength: Strength) {
        if !matches!(FrameType::of(form.first().copied().unwrap_or(0)), Some(FrameType::Bundle)) {
            return;
        }
        if let Some((id, how_far)) = self.items.same(form).filter(|_| key.is_none()) {
            match how_far {
                Ordering::Greater => self.seen(now, id, Seen::PassedOn),
                // Our own frame, come back; or from before us: they do not know that we have it.
                Ordering::Equal => {}
                Ordering::Less => self.again(now, id),
            }
            return;
        }
        match self.forms.came(now.us, form) {
            Came::New(number) => self.give(number, form, strength),
            Came::Is(id) => self.is(now, id, form.get(1).copied().unwrap_or(0)),
            Came::Unread => self.wants.unread(super::super::code::key_of(form)),
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
        match self.items.farther(&id, hop) {
            Some(Ordering::Greater) => self.seen(now, id, Seen::PassedOn),
            Some(Ordering::Equal) => {}
            Some(Ordering::Less) | None => self.again(now, id),
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
        if answers && self.saying.may_answer(now.us, prefix) {
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
            let after_us = 4 * self.pace.want_us;
            self.items.wanted(now.us, key, by, usize::from(frames), after_us);
            let (pace, chance) = (&self.pace, &mut self.chance);
            self.wants.heard(now.us, key, frames, &self.gathering, pace, chance);
        }
    }
}
