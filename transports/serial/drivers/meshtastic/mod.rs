//! Meshtastic: radios with a mesh of their own, of which one hop and one port is used.
//!
//! - `stream`: messages on a line of bytes; `wire`: their fields; `messages`: what they mean.
//!
//! 1. The radio is woken and asked for all it has to tell, until it begins; opening the port may have started
//!    it anew.
//! 2. Its region must be set and it must be allowed to send: what it is set to is what it is like.
//! 3. Each frame is a packet to everybody in the port of programs. The radio says whether it took it; what
//!    it has not sent when the frame's time on the air is over is asked for with a heartbeat.
//!
//! It keeps to the duty of its region by itself, and says when that is used up.

mod messages;
mod stream;
mod wire;

use std::{collections::VecDeque, time::Duration};

use self::{
    messages::{AROUND_BYTES, LoraConfig, Queue, Said},
    stream::{Deframer, WAKE, enframe},
};
use super::{
    options::Options,
    run::{Act, Dialect},
};
use crate::{
    contract::{Heard, OutFrame, RadioFacts, Refusal},
    serial::{
        address::PortAddress,
        looks::{SAMPLE_BYTES, looks_like},
    },
};

const KNOWN: [&str; 4] = ["hops", "channel", "freq", "clear"];
const LIST: &str = "its options are hops, channel, freq, clear, rate and flow";

/// What a packet of Meshtastic holds.
const MTU_BYTES: u16 = 233;
/// Where it is not known how a radio is modulated: about what the slowest preset in use carries.
const BITS_UNKNOWN: u32 = 300;
/// A radio that starts anew takes up to ten seconds until it answers.
const WAKE_EVERY: Duration = Duration::from_secs(3);
const WAKE_TRIES: u8 = 7;
/// Hundreds of nodes are told one by one, but never with such a gap.
const TELLS: Duration = Duration::from_secs(15);
/// A question is answered within this.
const ANSWER: Duration = Duration::from_secs(3);
const ASKS_MAX: u8 = 3;
/// A queue that is not empty is looked at again after so long, so many times.
const FULL_EVERY: Duration = Duration::from_secs(1);
const FULL_TRIES: u8 = 60;
/// It forgets who says nothing for 15 minutes.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A radio of that mesh.
#[derive(Debug)]
pub(super) struct Meshtastic {
    hops: u32,
    channel: u32,
    frequency_hz: Option<u64>,
    is_clear: Option<bool>,
    byte: Duration,
    deframer: Deframer,
    acts: VecDeque<Act>,
    state: State,
    due: Duration,
    asked: u8,
    sample: Vec<u8>,
    /// Under which number its words were asked for last.
    asked_for: u32,
    me: u32,
    lora: Option<LoraConfig>,
    facts: Option<RadioFacts>,
    /// The number of the next packet: radios pass over those that they had.
    next_id: u32,
    /// When the packet that it has is over, as it is reckoned.
    over: Duration,
    /// It answers a heartbeat with how its queue stands.
    tells_room: bool,
    /// It says of each packet whether it took it.
    tells_taken: bool,
    /// Packets in a row of which it did not.
    silent: u8,
    /// What it said last for people.
    notice: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waking,
    /// It tells what it has to tell.
    Telling,
    /// The last question before it is ready.
    Trying,
    Free,
    Looking,
    /// It has a packet and has not said whether it takes it.
    Giving {
        number: u32,
        id: u32,
    },
    /// It is on the air.
    Sending {
        number: u32,
        id: u32,
    },
    /// It is asked whether it is still in the queue.
    Asking {
        number: u32,
        id: u32,
        times: u8,
    },
    /// It is.
    Full {
        number: u32,
        id: u32,
        times: u8,
    },
}

impl Meshtastic {
    /// `first_id` is the number of the first packet; it must not be one of the last hours.
    pub(super) fn new(of: &PortAddress, first_id: u32) -> Result<Self, &'static str> {
        let said = Options::new(&of.options, &KNOWN, LIST)?;
        Ok(Self {
            hops: said.number("hops", 0..=7, "hops is 0 to 7")?.unwrap_or(0),
            channel: said.number("channel", 0..=7, "channel is 0 to 7")?.unwrap_or(0),
            frequency_hz: said.frequency()?,
            is_clear: said.yes("clear", "clear is yes or no")?,
            byte: Duration::from_secs(10) / of.bits_per_s.max(1),
            deframer: Deframer::default(),
            acts: VecDeque::new(),
            state: State::Waking,
            due: Duration::ZERO,
            asked: 0,
            sample: Vec::new(),
            asked_for: first_id.max(1),
            me: 0,
            lora: None,
            facts: None,
            next_id: first_id,
            over: Duration::ZERO,
            tells_room: false,
            tells_taken: false,
            silent: 0,
            notice: String::new(),
        })
    }

    fn write(&mut self, message: &[u8]) {
        self.acts.push_back(Act::Write(enframe(message)));
    }

    fn tell(&mut self, heard: Heard) {
        self.acts.push_back(Act::Tell(heard));
    }

    fn end(&mut self, why: impl Into<String>) {
        self.acts.push_back(Act::End(why.into()));
    }

    fn enter(&mut self, state: State, due: Duration) {
        (self.state, self.due, self.asked) = (state, due, 0);
    }

    fn free(&mut self, now: Duration, fate: Heard) {
        self.tell(fate);
        self.enter(State::Free, now + LOOK_EVERY);
    }

    fn is_ready(&self) -> bool {
        !matches!(self.state, State::Waking | State::Telling | State::Trying)
    }

    fn handle(&mut self, now: Duration, said: Said) {
        if self.state == State::Waking && matches!(said, Said::Me(_)) {
            self.enter(State::Telling, now + TELLS);
        }
        match self.state {
            State::Telling => self.due = now + TELLS,
            // Whatever it says, it is there.
            State::Looking => self.enter(State::Free, now + LOOK_EVERY),
            _ => {}
        }
        match said {
            Said::Me(me) => self.me = me,
            Said::Lora(lora) => self.lora = Some(lora),
            Said::Complete(number) if number == self.asked_for && self.state == State::Telling => {
                self.told(now);
            }
            Said::Rebooted if self.is_ready() => self.end("the radio started anew"),
            Said::Rebooted => self.enter(State::Waking, now + WAKE_EVERY),
            Said::Queue(queue) => self.handle_queue(now, queue),
            Said::Heard(packet) if self.is_ready() && packet.from != self.me => {
                let (bytes, strength) = (packet.payload, packet.strength);
                self.tell(Heard::Frame { bytes, strength });
            }
            Said::Routed { id, error } if error != 0 => {
                if let Some((number, _)) = self.under_way().filter(|(_, ours)| *ours == id) {
                    let why = self.refusal(error);
                    self.free(now, Heard::Refused { number, why });
                }
            }
            Said::Notice(notice) => self.notice = notice,
            _ => {}
        }
    }

    fn under_way(&self) -> Option<(u32, u32)> {
        match self.state {
            State::Giving { number, id }
            | State::Sending { number, id }
            | State::Asking { number, id, .. }
            | State::Full { number, id, .. } => Some((number, id)),
            _ => None,
        }
    }

    /// All was told: whether that is enough to send.
    fn told(&mut self, now: Duration) {
        let Some(lora) = self.lora else {
            return self.end("the radio does not say how it is set: its firmware is too old");
        };
        if lora.region == 0 {
            let why = "the radio has no region, so it does not send: set it as in \
                       `meshtastic --set lora.region EU_868`";
            return self.end(why);
        }
        if !lora.may_send {
            let why = "the radio is set not to send: `meshtastic --set lora.tx_enabled true`";
            return self.end(why);
        }
        let air = lora.air();
        self.facts = Some(RadioFacts {
            mtu_bytes: MTU_BYTES,
            modulation: air.map(|air| air.modulated(AROUND_BYTES)),
            bits_per_s: air.map_or(BITS_UNKNOWN, |air| air.bits_per_s()),
            frequency_hz: self.frequency_hz.or(lora.frequency_hz()),
            bandwidth_hz: air.map(|air| air.bandwidth_hz),
            listens: true,
            tells_sent: false,
            broadcasts: true,
            clear_only: self.is_clear.unwrap_or(lora.is_amateurs()),
            signs: false,
            tariff: None,
        });
        self.enter(State::Trying, now);
        self.ask(now);
    }

    fn ready(&mut self, now: Duration) {
        if let Some(facts) = self.facts.clone() {
            self.acts.push_back(Act::Ready(facts));
        }
        self.enter(State::Free, now + LOOK_EVERY);
    }

    fn handle_queue(&mut self, now: Duration, queue: Queue) {
        let is_empty = queue.free >= queue.most;
        match self.state {
            // Said of nothing in particular, it is an answer.
            State::Trying if queue.id == 0 => {
                self.tells_room = true;
                self.ready(now);
            }
            State::Giving { number, id } if queue.id == id => {
                (self.tells_taken, self.silent) = (true, 0);
                if queue.error == 0 {
                    self.sends(now, number, id);
                } else {
                    let why = self.refusal(queue.error);
                    self.free(now, Heard::Refused { number, why });
                }
            }
            State::Asking { number, .. } | State::Full { number, .. } if is_empty => {
                self.free(now, Heard::Sent { number });
            }
            // Others' packets stand in it as well, so it need not ever be empty.
            State::Asking { number, times: FULL_TRIES, .. } => {
                let fate = match queue.free {
                    0 => Heard::Refused { number, why: Refusal::Busy },
                    _ => Heard::Sent { number },
                };
                self.free(now, fate);
            }
            State::Asking { number, id, times } => {
                self.enter(State::Full { number, id, times: times + 1 }, now + FULL_EVERY);
            }
            _ => {}
        }
    }

    /// The packet is the radio's now: over when its time is.
    fn sends(&mut self, now: Duration, number: u32, id: u32) {
        self.enter(State::Sending { number, id }, self.over.max(now));
    }

    /// What an error of the radio means; its numbers are those of its routing and of its queue.
    fn refusal(&mut self, error: u32) -> Refusal {
        match error {
            7 => Refusal::TooLong,
            9 => Refusal::Duty,
            4 | 33 => Refusal::Other("the radio has no chip to send with".into()),
            6 => Refusal::Other(format!("the radio has no channel {}", self.channel)),
            34 => Refusal::Other("the radio is set not to send".into()),
            38 => Refusal::Busy,
            _ if !self.notice.is_empty() => Refusal::Other(std::mem::take(&mut self.notice)),
            error => Refusal::Other(format!("the radio tells error {error}")),
        }
    }

    /// Asks what is asked in this state, or gives up.
    fn ask(&mut self, now: Duration) {
        let most = if self.state == State::Waking { WAKE_TRIES } else { ASKS_MAX };
        if self.asked >= most {
            return self.give_up(now);
        }
        self.asked += 1;
        self.due = now + ANSWER;
        match self.state {
            State::Waking => {
                self.due = now + WAKE_EVERY;
                self.asked_for = self.asked_for.wrapping_add(1).max(1);
                self.acts.push_back(Act::Write(WAKE.to_vec()));
                self.write(&messages::want_config(self.asked_for));
            }
            _ => self.write(&messages::heartbeat()),
        }
    }

    fn give_up(&mut self, now: Duration) {
        match self.state {
            State::Waking if self.sample.is_empty() => {
                self.end("nothing answers: there is no Meshtastic radio, or it is off");
            }
            State::Waking => {
                let looks = looks_like(&self.sample);
                self.end(format!("no Meshtastic radio answers; what speaks looks like {looks}"));
            }
            // Old firmware says nothing of its queue; then the clock has to do.
            State::Trying => self.ready(now),
            _ => self.end("the radio does not answer any more"),
        }
    }

    /// Nothing was said of a packet.
    fn untold(&mut self, now: Duration, number: u32, id: u32) {
        if !self.tells_taken {
            return self.sends(now, number, id);
        }
        self.silent += 1;
        self.free(now, Heard::Refused { number, why: Refusal::Silent });
        if self.silent == ASKS_MAX {
            self.end("the radio does not answer any more");
        }
    }
}

impl Dialect for Meshtastic {
    fn handle_bytes(&mut self, now: Duration, said: &[u8]) {
        if self.state == State::Waking {
            let room = SAMPLE_BYTES.saturating_sub(self.sample.len());
            self.sample.extend(said.iter().take(room));
        }
        for byte in said {
            let message = self.deframer.push(*byte);
            if let Some(said) = message.and_then(|message| messages::read(&message)) {
                self.handle(now, said);
            }
        }
    }

    fn handle_frame(&mut self, now: Duration, frame: OutFrame) {
        let OutFrame { number, bytes } = frame;
        // 0 would have the radio choose.
        let id = self.next_id.max(1);
        self.next_id = id.wrapping_add(1);
        let message = messages::packet(id, self.channel, self.hops, &bytes);
        let plug = self.byte.saturating_mul(u32::try_from(message.len()).unwrap_or(u32::MAX));
        self.write(&message);
        self.enter(State::Giving { number, id }, now + plug + ANSWER);
        if let Some(facts) = &self.facts {
            let air = Duration::from_micros(facts.air_us(bytes.len() as u64));
            self.over = now + plug + air;
        }
    }

    fn handle_timeout(&mut self, now: Duration) {
        if now < self.due {
            return;
        }
        match self.state {
            State::Telling => self.end("the radio stopped in the middle of what it told"),
            State::Free if self.tells_room => {
                self.enter(State::Looking, now);
                self.ask(now);
            }
            State::Free => {
                self.write(&messages::heartbeat());
                self.due = now + LOOK_EVERY;
            }
            State::Giving { number, id } => self.untold(now, number, id),
            State::Sending { number, id } if self.tells_room => {
                self.enter(State::Asking { number, id, times: 1 }, now);
                self.ask(now);
            }
            State::Sending { number, .. } => self.free(now, Heard::Sent { number }),
            State::Full { number, id, times } => {
                self.enter(State::Asking { number, id, times }, now);
                self.ask(now);
            }
            _ => self.ask(now),
        }
    }

    fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    fn poll_timeout(&self) -> Option<Duration> {
        Some(self.due)
    }

    fn takes_frame(&self) -> bool {
        matches!(self.state, State::Free | State::Looking)
    }
}

#[cfg(test)]
mod tests;
