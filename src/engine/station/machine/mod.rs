//! The machine of a station: inputs in, outputs out.
//!
//! - `hearing`: what a frame that was heard means;
//! - `sending`: the way of a frame through ledger and listening onto the air;
//! - `saying`: when a beacon is due, and what it says.

mod hearing;
mod saying;
mod sending;

use std::{collections::VecDeque, fmt};

use postrider_base::bundle::Receipt;
use thiserror::Error;

use super::{
    MTU_LEAST,
    code::{Gathering, Standing},
    contract::{Beacons, Ending, Input, Item, ItemId, Now, Output, Settings},
    fair::{Asker, Budgets},
    forms::Forms,
    held::Held,
    items::{Items, Means, Seen},
    neighbours::Neighbours,
    pace::Pace,
    wants::Wants,
};
use crate::{
    air::{
        Lane,
        ledger::Ledger,
        listen::{Carrier, Listen},
    },
    meeting::chance::Chance,
};
use saying::Saying;
use sending::Sending;

/// Receipts that wait to be passed on. What is more is asked for again.
const RECEIPTS_MAX: usize = 256;
/// Frames longer than this are nobody's: ports give none.
const HEARD_BYTES_MAX: usize = 2_048;
/// Every wait ends within this, so that clocks that drift apart do no harm.
const LOOK_US: u64 = 3_600_000_000;

/// Why there is no such station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Frames below [`MTU_LEAST`].
    #[error("frames of {0} bytes are too short, a station needs {MTU_LEAST}")]
    Mtu(usize),
}

/// One radio channel. After each input take outputs until there are none, and come back when
/// `poll_timeout` says.
pub struct Station {
    settings: Settings,
    pace: Pace,
    chance: Chance,
    listen: Listen,
    /// What the modem told of others last.
    carrier: Carrier,
    items: Items,
    receipts: VecDeque<(Lane, Receipt)>,
    budgets: Budgets,
    gathering: Gathering,
    wants: Wants,
    forms: Forms,
    held: Held,
    neighbours: Neighbours,
    saying: Saying,
    sending: Sending,
    timeout_us: u64,
    outputs: VecDeque<Output>,
}

impl Station {
    /// Begins. `seed` is random.
    pub fn new(mut settings: Settings, seed: [u8; 32], now: Now) -> Result<Self, SettingsError> {
        if settings.mtu_bytes < MTU_LEAST {
            return Err(SettingsError::Mtu(settings.mtu_bytes));
        }
        settings.mtu_bytes = settings.mtu_bytes.min(HEARD_BYTES_MAX);
        let pace = Pace::new(settings.modulation, settings.mtu_bytes, settings.limit);
        let mut chance = Chance::new(seed);
        let mut station = Self {
            listen: Listen::new(now.us, pace.slot_us, settings.silence),
            carrier: Carrier::Free,
            items: Items::default(),
            receipts: VecDeque::new(),
            budgets: Budgets::new(now.us, pace.hour_us),
            gathering: Gathering::default(),
            wants: Wants::default(),
            forms: Forms::default(),
            held: Held::default(),
            neighbours: Neighbours::default(),
            saying: Saying::new(now.us, &pace, &mut chance),
            sending: Sending::default(),
            timeout_us: now.us,
            outputs: VecDeque::new(),
            settings,
            pace,
            chance,
        };
        if station.settings.beacons == Beacons::Silent {
            station.saying.stop();
        }
        Ok(station)
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Now, ledger: &mut Ledger, input: Input<'_>) {
        match input {
            Input::Send(item) => self.put(now, item),
            Input::TakeBack { id } => {
                self.items.remove(&id);
            }
            Input::Receipts { receipts, lane } => self.pass_on(receipts, lane),
            Input::Heard { frame, strength } if frame.len() <= HEARD_BYTES_MAX => {
                self.heard(now, frame, strength);
            }
            Input::Heard { .. } | Input::Timeout => {}
            Input::Sent { number } => self.fate(now, ledger, number, None),
            Input::Refused { number, why } => self.fate(now, ledger, number, Some(why)),
            Input::Carrier { busy } => {
                self.carrier = if busy { Carrier::Busy } else { Carrier::Free };
                if !self.sending.is_on_air() {
                    self.listen.handle_carrier(now.us, self.carrier);
                }
            }
            Input::LedgerDurable { write } => self.written(now, write),
            Input::Judged { form, verdict } => {
                if let Some(form) = self.forms.judged(form, verdict) {
                    self.judged(now, form, verdict);
                }
            }
            Input::Contacts(contacts) => self.neighbours.know(contacts),
            Input::Held(ids) => self.held.replace(ids),
        }
        self.look_after(now);
        self.drive(now, ledger);
        self.timeout_us = self.next_us(now);
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due, by [`Now::us`].
    pub fn poll_timeout(&self) -> u64 {
        self.timeout_us
    }

    /// The radio is gone, or is not to be used any more: gives back what was booked and not sent, which
    /// else counts until the ledger is read again. What may be on the air was sent.
    pub fn end(mut self, now: Now, ledger: &mut Ledger) {
        self.settle_all(now, ledger);
    }

    /// How busy others kept the channel within the last minute, in thousandths.
    pub fn load_permille(&mut self, now: Now) -> u64 {
        self.listen.load_permille(now.us)
    }

    fn put(&mut self, now: Now, item: Item) {
        let id = item.id;
        let means = Means { pace: &self.pace, chance: &mut self.chance };
        match self.items.put(now, item, self.settings.mtu_bytes, means) {
            Ok(None) => {}
            Ok(Some(gone)) => self.let_go(gone, Ending::Full),
            Err(ending) => return self.let_go(id, ending),
        }
        self.note_own(now, id);
    }

    /// What others send of an item is not put together here.
    fn note_own(&mut self, now: Now, id: ItemId) {
        let Some(entry) = self.items.entry(&id).filter(|entry| !entry.coded().is_one()) else {
            return;
        };
        let contents = entry.coded().contents();
        self.gathering.note(now.us, entry.key(), Standing::True, contents);
    }

    fn pass_on(&mut self, receipts: Vec<Receipt>, lane: Lane) {
        for receipt in receipts {
            let waits = self.receipts.iter().any(|(_, waiting)| *waiting == receipt);
            if waits || self.sending.has(&receipt) {
                continue;
            }
            if self.receipts.len() >= RECEIPTS_MAX {
                self.receipts.pop_front();
            }
            self.receipts.push_back((lane, receipt));
        }
    }

    fn let_go(&mut self, id: ItemId, ending: Ending) {
        self.items.remove(&id);
        self.outputs.push_back(Output::Ended { id, ending });
    }

    /// Somebody seems to have an item.
    fn seen(&mut self, now: Now, id: ItemId, seen: Seen) {
        if self.items.seen(now.us, &id, seen, &mut self.chance) {
            let by = match seen {
                Seen::PassedOn => None,
                Seen::Named(by) => by,
            };
            self.outputs.push_back(Output::Taken { id, by });
        }
    }

    fn look_after(&mut self, now: Now) {
        for id in self.items.expire(now) {
            self.outputs.push_back(Output::Ended { id, ending: Ending::Expired });
        }
        for node in self.neighbours.gone(now.us, saying::GONE_US) {
            self.outputs.push_back(Output::NeighbourGone { node });
        }
        self.wants.prune(&self.gathering);
    }

    fn next_us(&self, now: Now) -> u64 {
        let expires_us = self.items.expires_ms().map_or(u64::MAX, |ms| by_us(now, ms));
        let gone_us = self.neighbours.next_us(saying::GONE_US);
        let next_us = self.sending.wake_us().min(expires_us).min(gone_us);
        // Never at once, or a clock that stands would be asked for ever.
        next_us.min(now.us.saturating_add(LOOK_US)).max(now.us.saturating_add(1))
    }
}

/// When the other clock shows what the custody clock shows then, if both go on.
fn by_us(now: Now, custody_ms: u64) -> u64 {
    let wait_ms = custody_ms.saturating_sub(now.custody_ms);
    now.us.saturating_add(wait_ms.saturating_mul(1_000))
}

impl fmt::Debug for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Station").field("sending", &self.sending).finish_non_exhaustive()
    }
}
