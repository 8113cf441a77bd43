//! RNode: boards with a LoRa chip that are told everything about it over the dialect of KISS.
//!
//! 1. It is asked whether it is one, until it answers: opening the port may have started it anew.
//! 2. Frequency, width, spreading, coding, power and locks are set one by one; each is answered with what
//!    holds now, and that must be what was said.
//! 3. The radio is switched on.
//!
//! After a frame its time on the air is waited for, then the board is asked whether it has room for the next:
//! it listens before it sends, and stores what it cannot send yet. What it may spend is counted by it as
//! well: while its lock is shut, a frame is refused at once.

mod settings;

use std::{collections::VecDeque, time::Duration};

use self::settings::{
    BANDWIDTH, CODING, FREQUENCY, LONG_LOCK, POWER, SHORT_LOCK, SPREADING, STATE, Settings,
};
use super::{
    kiss::framing::{Deframer, enframe},
    run::{Act, Dialect},
};
use crate::{
    contract::{Heard, OutFrame, RadioFacts, Refusal, Strength},
    frames::FRAME_MAX,
    serial::{
        address::PortAddress,
        looks::{SAMPLE_BYTES, looks_like},
    },
};

const DATA: u8 = 0x00;
const DETECT: u8 = 0x08;
const DETECT_QUESTION: u8 = 0x73;
const DETECT_ANSWER: u8 = 0x46;
const READY: u8 = 0x0f;
const RSSI: u8 = 0x23;
const SNR: u8 = 0x24;
const CHANNEL: u8 = 0x25;
const VERSION: u8 = 0x50;
const RESET: u8 = 0x55;
const ERROR: u8 = 0x90;
/// What stands for 0 dBm.
const RSSI_OFFSET: i16 = 157;

/// A board that starts anew needs two seconds, some need five.
const DETECT_EVERY: Duration = Duration::from_secs(1);
const DETECT_TRIES: u8 = 10;
/// A question is answered within this, or asked again.
const ANSWER: Duration = Duration::from_secs(2);
const ASKS_MAX: u8 = 3;
/// A board that is full is asked again after so long, and the frame is given up after so many times.
const FULL_EVERY: Duration = Duration::from_secs(1);
const FULL_TRIES: u8 = 60;
/// A board with nothing to do is asked whether it is still there.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// What it said of its channel holds for so long; it says so every second.
const CHANNEL_HOLDS: Duration = Duration::from_secs(5);

/// A board that speaks to a LoRa chip.
#[derive(Debug)]
pub(super) struct Rnode {
    settings: Settings,
    facts: RadioFacts,
    byte: Duration,
    deframer: Deframer,
    acts: VecDeque<Act>,
    state: State,
    /// When something is to be done although nothing was said.
    due: Duration,
    /// How often the last question was asked.
    asked: u8,
    /// What it said until it was known, for people.
    sample: Vec<u8>,
    version: Option<(u8, u8)>,
    /// It says whether it has room.
    tells_room: bool,
    /// How the next frame was heard.
    strength: Strength,
    /// Until when its lock counts as shut.
    locked: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Detecting,
    /// Which of the settings is under way.
    Setting(usize),
    /// The last question before it is ready: whether it says that it has room.
    Trying,
    Free,
    /// It is asked whether it is there.
    Looking,
    /// The frame is on the air.
    Sending(u32),
    /// It is asked whether the next may come.
    Asking(u32),
    /// It has no room.
    Full(u32, u8),
}

impl Rnode {
    pub(super) fn new(of: &PortAddress) -> Result<Self, &'static str> {
        let settings = Settings::new(&of.options)?;
        Ok(Self {
            facts: settings.facts(),
            settings,
            byte: Duration::from_secs(10) / of.bits_per_s.max(1),
            deframer: Deframer::new(FRAME_MAX + 1),
            acts: VecDeque::new(),
            state: State::Detecting,
            due: Duration::ZERO,
            asked: 0,
            sample: Vec::new(),
            version: None,
            tells_room: false,
            strength: Strength::default(),
            locked: None,
        })
    }

    fn write(&mut self, command: u8, data: &[u8]) {
        self.acts.push_back(Act::Write(enframe(&[&[command], data])));
    }

    fn tell(&mut self, heard: Heard) {
        self.acts.push_back(Act::Tell(heard));
    }

    fn end(&mut self, why: impl Into<String>) {
        self.acts.push_back(Act::End(why.into()));
    }

    /// Goes on to a state whose question was not asked yet.
    fn enter(&mut self, state: State, due: Duration) {
        (self.state, self.due, self.asked) = (state, due, 0);
    }

    fn is_ready(&self) -> bool {
        !matches!(self.state, State::Detecting | State::Setting(_) | State::Trying)
    }

    fn handle(&mut self, now: Duration, frame: &[u8]) {
        let [command, data @ ..] = frame else { return };
        match (*command, data) {
            (DATA, bytes) if self.is_ready() => {
                let strength = std::mem::take(&mut self.strength);
                self.tell(Heard::Frame { bytes: bytes.to_vec(), strength });
            }
            (RSSI, [rssi]) => self.strength.rssi_dbm = Some(i16::from(*rssi) - RSSI_OFFSET),
            (SNR, [snr]) => self.strength.snr_quarter_db = Some(i16::from(snr.cast_signed())),
            (VERSION, [major, minor]) => self.version = Some((*major, *minor)),
            (DETECT, [DETECT_ANSWER]) => match self.state {
                State::Detecting => self.set(now, 0),
                State::Looking => self.enter(State::Free, now + LOOK_EVERY),
                _ => {}
            },
            (READY, [room, ..]) => self.handle_room(now, *room != 0),
            (CHANNEL, [s0, s1, l0, l1, ..]) => {
                let (short, long) =
                    (u16::from_be_bytes([*s0, *s1]), u16::from_be_bytes([*l0, *l1]));
                let is_shut = |lock: Option<u16>, spent| lock.is_some_and(|lock| spent >= lock);
                let locked = is_shut(self.settings.short_lock, short)
                    || is_shut(self.settings.long_lock, long);
                self.locked = locked.then_some(now + CHANNEL_HOLDS);
            }
            (RESET, _) if self.is_ready() => self.end("the board started anew"),
            (RESET, _) => self.enter(State::Detecting, now + DETECT_EVERY),
            // What is no RNode yet tells no errors.
            (ERROR, [code, ..]) if self.state != State::Detecting => self.handle_error(now, *code),
            (command, data) => self.handle_answer(now, command, data),
        }
    }

    fn handle_answer(&mut self, now: Duration, command: u8, data: &[u8]) {
        let State::Setting(step) = self.state else { return };
        let Some((asked, said)) = self.settings.steps().get(step).copied() else { return };
        if asked != command {
            return;
        }
        match settings::value(data) {
            Some(value) if settings::is_same(command, said, value) => self.set(now, step + 1),
            Some(value) => self.end(self.unlike(command, said, value)),
            None => {}
        }
    }

    fn unlike(&self, command: u8, said: u32, value: u32) -> String {
        let what = match command {
            FREQUENCY => "freq, in Hz",
            BANDWIDTH => "bw, in Hz",
            POWER => "power",
            SPREADING => "sf",
            CODING => "cr",
            SHORT_LOCK => "lock15s, in hundredths of a percent",
            LONG_LOCK => "lock1h, in hundredths of a percent",
            STATE => return format!("the radio cannot be switched on{}", self.firmware()),
            _ => "something",
        };
        format!("the radio was told {said} for {what}, and took {value}{}", self.firmware())
    }

    fn firmware(&self) -> String {
        self.version
            .map_or(String::new(), |(major, minor)| format!(" (firmware {major}.{minor:02})"))
    }

    /// Says the setting of that number, or that it is all set.
    fn set(&mut self, now: Duration, step: usize) {
        self.sample = Vec::new();
        let state =
            if step < self.settings.steps().len() { State::Setting(step) } else { State::Trying };
        self.enter(state, now);
        self.ask(now);
    }

    fn handle_room(&mut self, now: Duration, has_room: bool) {
        match self.state {
            State::Trying => {
                self.tells_room = true;
                self.ready(now);
            }
            State::Asking(number) | State::Full(number, _) if has_room => {
                self.tell(Heard::Sent { number });
                self.enter(State::Free, now + LOOK_EVERY);
            }
            State::Asking(number) => self.enter(State::Full(number, 1), now + FULL_EVERY),
            State::Full(number, FULL_TRIES) => {
                self.refuse(now, number, Refusal::Busy);
            }
            State::Full(number, times) if self.asked > 0 => {
                self.enter(State::Full(number, times + 1), now + FULL_EVERY);
            }
            _ => {}
        }
    }

    fn ready(&mut self, now: Duration) {
        self.acts.push_back(Act::Ready(self.facts.clone()));
        self.strength = Strength::default();
        self.enter(State::Free, now + LOOK_EVERY);
    }

    fn refuse(&mut self, now: Duration, number: u32, why: Refusal) {
        self.tell(Heard::Refused { number, why });
        self.enter(State::Free, now + LOOK_EVERY);
    }

    fn handle_error(&mut self, now: Duration, code: u8) {
        let under_way = match self.state {
            State::Sending(number) | State::Asking(number) | State::Full(number, _) => Some(number),
            _ => None,
        };
        match (code, under_way) {
            (0x01, _) => self.end("the radio chip of the board does not start"),
            (0x02, Some(number)) => {
                self.refuse(now, number, Refusal::Other("the radio could not send it".into()));
            }
            (0x03, _) => {
                self.end("the memory of the board is locked: it has no firmware of its own")
            }
            (0x04, Some(number)) => self.refuse(now, number, Refusal::Busy),
            (0x06, _) => self.end("the radio chip of the board does not answer"),
            (_, Some(number)) => {
                self.refuse(
                    now,
                    number,
                    Refusal::Other(format!("the board tells error {code:#04x}")),
                );
            }
            // It concerns nothing that is under way.
            _ => {}
        }
    }

    /// Asks what is asked in this state, or gives up.
    fn ask(&mut self, now: Duration) {
        let most = if self.state == State::Detecting { DETECT_TRIES } else { ASKS_MAX };
        if self.asked >= most {
            return self.give_up(now);
        }
        self.asked += 1;
        self.due = now + ANSWER;
        if self.is_ready() {
            // While it sends, old firmware hears nobody; it may just have begun with what waited for others.
            let longest = self.facts.air_us(self.facts.mtu_bytes.into());
            self.due += Duration::from_micros(longest);
        }
        match self.state {
            State::Detecting => {
                self.due = now + DETECT_EVERY;
                self.write(DETECT, &[DETECT_QUESTION]);
                self.write(VERSION, &[0]);
            }
            State::Looking => self.write(DETECT, &[DETECT_QUESTION]),
            State::Setting(step) => {
                if let Some((command, value)) = self.settings.steps().get(step).copied() {
                    self.write(command, settings::data(command, value).as_slice());
                }
            }
            State::Trying | State::Asking(_) | State::Full(..) => self.write(READY, &[0]),
            State::Free | State::Sending(_) => {}
        }
    }

    fn give_up(&mut self, now: Duration) {
        match self.state {
            // Old firmware does not say; then the clock has to do.
            State::Trying => self.ready(now),
            State::Detecting if self.sample.is_empty() => {
                self.end("nothing answers: there is no RNode, or it is off");
            }
            State::Detecting => {
                let looks = looks_like(&self.sample);
                self.end(format!("this is no RNode: what answers looks like {looks}"));
            }
            State::Setting(step) => {
                let command = self.settings.steps().get(step).map_or(0, |(command, _)| *command);
                let what = settings::name(command);
                self.end(format!(
                    "the board does not answer when {what} is set{}",
                    self.firmware()
                ));
            }
            _ => self.end("the board does not answer any more"),
        }
    }
}

impl Dialect for Rnode {
    fn handle_bytes(&mut self, now: Duration, said: &[u8]) {
        if self.state == State::Detecting {
            let room = SAMPLE_BYTES.saturating_sub(self.sample.len());
            self.sample.extend(said.iter().take(room));
        }
        for byte in said {
            if let Some(frame) = self.deframer.push(*byte) {
                self.handle(now, &frame);
            }
        }
    }

    fn handle_frame(&mut self, now: Duration, frame: OutFrame) {
        let OutFrame { number, bytes } = frame;
        if self.locked.is_some_and(|until| now < until) {
            return self.refuse(now, number, Refusal::Duty);
        }
        self.write(DATA, &bytes);
        let air = Duration::from_micros(self.facts.air_us(bytes.len() as u64));
        let plug = self.byte.saturating_mul(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.enter(State::Sending(number), now + plug + air);
    }

    fn handle_timeout(&mut self, now: Duration) {
        if now < self.due {
            return;
        }
        match self.state {
            State::Free => {
                self.enter(State::Looking, now);
                self.ask(now);
            }
            State::Sending(number) if self.tells_room => {
                self.enter(State::Asking(number), now);
                self.ask(now);
            }
            State::Sending(number) => {
                self.tell(Heard::Sent { number });
                self.enter(State::Free, now + LOOK_EVERY);
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
