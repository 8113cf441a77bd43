//! KISS: the dialect of packet radio's modems, and of many boards with LoRa.
//!
//! - `framing`: frames on a line of bytes; `ax25`: ours within those of amateur radio.
//!
//! A modem says nothing of itself: it is spoken to, and believed to be there. It takes frames without end and
//! stores them, so each is followed by the time that it is on the air, later where others are heard meanwhile;
//! or by the modem's word that it went, where it does say that (`ack=yes`).

mod ax25;
pub(super) mod framing;

use std::{collections::VecDeque, time::Duration};

use self::{
    ax25::Call,
    framing::{Deframer, enframe},
};
use super::{
    options::{Air, Options},
    run::{Act, Dialect},
};
use crate::{
    contract::{Heard, Modulated, OutFrame, RadioFacts, Refusal, Strength},
    frames::FRAME_MAX,
    serial::address::PortAddress,
};

const KNOWN: [&str; 15] = [
    "call",
    "raw",
    "air",
    "clear",
    "ack",
    "port",
    "mtu",
    "freq",
    "txdelay",
    "persist",
    "slot",
    "tail",
    "fullduplex",
    "enter",
    "listens",
];
const LIST: &str = "its options are call or raw, air, clear, ack, port, mtu, freq, txdelay, persist, \
                    slot, tail, fullduplex, enter, listens, rate and flow";

/// The commands of KISS, and the one that asks for a word when the frame has gone.
const DATA: u8 = 0x00;
const TX_DELAY: u8 = 0x01;
const PERSISTENCE: u8 = 0x02;
const SLOT: u8 = 0x03;
const TAIL: u8 = 0x04;
const FULL_DUPLEX: u8 = 0x05;
const ACK_DATA: u8 = 0x0c;
/// Given in units of 10 ms, in one byte.
const UNIT_MS: u32 = 10;
const BYTE_UNITS_MS: u32 = 2_550;
/// What KISS says a modem does where nobody sets it: 50 units.
const TX_DELAY_DEFAULT_MS: u32 = 500;
/// What frames on the air have beside their bytes: two flags, a checksum, and the bits that are put in
/// between long rows of ones, on average.
const AROUND_BYTES: u16 = 8;
/// The longest frame of LoRa.
const LORA_BYTES: u16 = 255;
/// Two seconds after being told to, a modem has left what it did before.
const ENTERS: Duration = Duration::from_secs(2);
/// Beyond the frame itself: others may be heard for long.
const ACK_WAITS: Duration = Duration::from_secs(60);
/// A channel on which others are heard for so long without end will not be waited for.
const OTHERS_WAIT: Duration = Duration::from_secs(60);
/// Frames in a row whose going was not told: nobody is there, or it does not do that.
const SILENT_MAX: u8 = 3;

/// A modem that speaks KISS.
#[derive(Debug)]
pub(super) struct Kiss {
    facts: RadioFacts,
    head: Vec<u8>,
    /// The port of the modem, in the upper half of a command.
    port: u8,
    acks: bool,
    /// It hears others while it sends.
    is_full_duplex: bool,
    /// What is written first; then it is waited, then what is set is written.
    enter: Option<&'static [u8]>,
    settings: Vec<(u8, u8)>,
    /// How long a byte takes to the modem.
    byte: Duration,
    deframer: Deframer,
    acts: VecDeque<Act>,
    state: State,
    /// Tells the words of the modem apart.
    ack: u16,
    silent: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Entering {
        until: Duration,
    },
    Free,
    /// A frame was given, takes so long, and is over at that time; no later than at the last.
    Sending {
        number: u32,
        air: Duration,
        until: Duration,
        last: Duration,
    },
}

impl Kiss {
    pub(super) fn new(of: &PortAddress) -> Result<Self, &'static str> {
        let said = Options::new(&of.options, &KNOWN, LIST)?;
        let yes = |name, fault| Ok::<_, &'static str>(said.yes(name, fault)?.unwrap_or(false));
        let call = said
            .text("call")
            .map(|text| Call::parse(text).ok_or("call is a call sign, as in call=DL1ABC-7"));
        let call = call.transpose()?;
        let is_raw = yes("raw", "raw is yes or no")?;
        if call.is_some() == is_raw {
            return Err("say call=SIGN for amateur radio, or raw=yes where no call sign is needed");
        }
        let ms = |name, fault| said.number(name, 0..=BYTE_UNITS_MS, fault);
        let tx_delay = ms("txdelay", "txdelay is in ms, 2550 at most")?;
        let tail = ms("tail", "tail is in ms, 2550 at most")?;
        let slot = ms("slot", "slot is in ms, 2550 at most")?;
        let persistence = said.number("persist", 0..=255, "persist is 0 to 255")?;
        let full_duplex = said.yes("fullduplex", "fullduplex is yes or no")?;
        let set = |command, units: Option<u32>| {
            units.and_then(|units| u8::try_from(units).ok()).map(|units| (command, units))
        };
        let units = |ms: Option<u32>| ms.map(|ms| ms.div_ceil(UNIT_MS));
        let settings = [
            set(TX_DELAY, units(tx_delay)),
            set(PERSISTENCE, persistence),
            set(SLOT, units(slot)),
            set(TAIL, units(tail)),
            set(FULL_DUPLEX, full_duplex.map(u32::from)),
        ];
        let lead_ms = tx_delay.unwrap_or(TX_DELAY_DEFAULT_MS) + tail.unwrap_or(0);
        let acks = yes("ack", "ack is yes or no")?;
        let head = call.as_ref().map(Call::head).unwrap_or_default();
        Ok(Self {
            facts: facts(said, call.is_some(), acks, lead_ms)?,
            head,
            port: port(said)?,
            acks,
            is_full_duplex: full_duplex.unwrap_or(false),
            enter: enter(said)?,
            settings: settings.into_iter().flatten().collect(),
            byte: Duration::from_secs(10) / of.bits_per_s.max(1),
            deframer: Deframer::new(FRAME_MAX + ax25::HEAD_BYTES_MAX + 1),
            acts: VecDeque::new(),
            state: State::New,
            ack: 0,
            silent: 0,
        })
    }

    fn write(&mut self, parts: &[&[u8]]) -> usize {
        let line = enframe(parts);
        let length = line.len();
        self.acts.push_back(Act::Write(line));
        length
    }

    /// Who hears does not send: a frame that was given before has its time still before it.
    fn was_hearing(&mut self, now: Duration) {
        if let State::Sending { air, until, last, .. } = &mut self.state
            && !self.acks
            && !self.is_full_duplex
        {
            *until = (*until).max(now + *air).min(*last);
        }
    }

    fn set_up(&mut self) {
        for (command, value) in self.settings.clone() {
            self.write(&[&[self.port | command, value]]);
        }
        self.acts.push_back(Act::Ready(self.facts.clone()));
        self.state = State::Free;
    }

    fn handle(&mut self, now: Duration, frame: &[u8]) {
        let [command, data @ ..] = frame else { return };
        if command & 0xf0 != self.port {
            return;
        }
        match command & 0x0f {
            DATA => {
                self.was_hearing(now);
                let ours = if self.head.is_empty() { Some(data) } else { ax25::ours(data) };
                if let Some(ours) = ours {
                    let (bytes, strength) = (ours.to_vec(), Strength::default());
                    self.acts.push_back(Act::Tell(Heard::Frame { bytes, strength }));
                }
            }
            ACK_DATA if self.acks && data == self.ack.to_be_bytes() => {
                if let State::Sending { number, .. } = self.state {
                    self.silent = 0;
                    self.state = State::Free;
                    self.acts.push_back(Act::Tell(Heard::Sent { number }));
                }
            }
            // What else a modem says is of no use here.
            _ => {}
        }
    }
}

fn facts(
    said: Options<'_>,
    is_signed: bool,
    tells_sent: bool,
    lead_ms: u32,
) -> Result<RadioFacts, &'static str> {
    let air = match said.air()? {
        None if is_signed => Air::Plain(1200),
        None => return Err("say what goes over the air, as air=sf8,bw125,cr5 or air=1200"),
        Some(air) => air,
    };
    let lead_us = lead_ms * 1000;
    let around_bytes = AROUND_BYTES + if is_signed { ax25::HEAD_BYTES } else { 0 };
    let (modulation, bits_per_s, bandwidth_hz, longest) = match air {
        Air::Plain(bits_per_s) => {
            let plain = Modulated::Plain { bits_per_s, lead_us, around_bytes };
            (plain, bits_per_s, None, ax25::INFO_MAX)
        }
        Air::Lora(lora) => {
            // A board adds nothing to what LoRa does by itself.
            let head = if is_signed { ax25::HEAD_BYTES } else { 0 };
            let longest = LORA_BYTES - head;
            (lora.modulated(head), lora.bits_per_s(), Some(lora.bandwidth_hz), longest)
        }
    };
    let most = if is_signed || bandwidth_hz.is_some() { u32::from(longest) } else { 2_048 };
    let mtu =
        said.number("mtu", 16..=most, "mtu is 16 to 256, of LoRa to 255, with raw to 2048")?;
    let mtu_bytes = mtu.and_then(|mtu| u16::try_from(mtu).ok()).unwrap_or(longest);
    Ok(RadioFacts {
        mtu_bytes,
        modulation: Some(modulation),
        bits_per_s,
        frequency_hz: said.frequency()?,
        bandwidth_hz,
        // Modems of packet radio do, and have since KISS was made; of boards nobody knows.
        listens: said.yes("listens", "listens is yes or no")?.unwrap_or(is_signed),
        tells_sent,
        broadcasts: true,
        // With a call sign it is most likely a band where nothing may be enciphered.
        clear_only: said.yes("clear", "clear is yes or no")?.unwrap_or(is_signed),
        signs: is_signed,
        tariff: None,
    })
}

fn port(said: Options<'_>) -> Result<u8, &'static str> {
    let fault = "port is that of a modem with several, 0 to 15";
    let port = said.number("port", 0..=15, fault)?.unwrap_or(0);
    Ok(u8::try_from(port).unwrap_or(0) << 4)
}

/// What makes a modem with commands of its own leave those.
fn enter(said: Options<'_>) -> Result<Option<&'static [u8]>, &'static str> {
    match said.text("enter") {
        None => Ok(None),
        Some("tnc2") => Ok(Some(b"\x03\rKISS ON\rRESTART\r")),
        Some("kantronics") => Ok(Some(b"\x03\rINTFACE KISS\rRESET\r")),
        Some(_) => Err("enter is tnc2 or kantronics"),
    }
}

impl Dialect for Kiss {
    fn handle_bytes(&mut self, now: Duration, said: &[u8]) {
        for byte in said {
            if let Some(frame) = self.deframer.push(*byte) {
                // What it says before it is spoken to is of another time.
                if matches!(self.state, State::Free | State::Sending { .. }) {
                    self.handle(now, &frame);
                }
            }
        }
    }

    fn handle_frame(&mut self, now: Duration, frame: OutFrame) {
        let OutFrame { number, bytes } = frame;
        let head = std::mem::take(&mut self.head);
        self.ack = self.ack.wrapping_add(1);
        let length = if self.acks {
            let ack = self.ack.to_be_bytes();
            self.write(&[&[self.port | ACK_DATA], &ack, &head, &bytes])
        } else {
            self.write(&[&[self.port | DATA], &head, &bytes])
        };
        self.head = head;
        let air = Duration::from_micros(self.facts.air_us(bytes.len() as u64));
        let plug = self.byte.saturating_mul(u32::try_from(length).unwrap_or(u32::MAX));
        let waits = if self.acks { ACK_WAITS } else { Duration::ZERO };
        let until = now + plug + air + waits;
        self.state = State::Sending { number, air, until, last: until + OTHERS_WAIT };
    }

    fn handle_timeout(&mut self, now: Duration) {
        match self.state {
            State::New => match self.enter.take() {
                Some(words) => {
                    self.acts.push_back(Act::Write(words.to_vec()));
                    self.state = State::Entering { until: now + ENTERS };
                }
                None => self.set_up(),
            },
            State::Entering { until } if until <= now => self.set_up(),
            State::Sending { number, until, .. } if until <= now => {
                self.state = State::Free;
                if !self.acks {
                    self.acts.push_back(Act::Tell(Heard::Sent { number }));
                    return;
                }
                self.silent += 1;
                let why = Refusal::Silent;
                self.acts.push_back(Act::Tell(Heard::Refused { number, why }));
                if self.silent == SILENT_MAX {
                    let why = "the modem does not say when a frame has gone: it is off, or does \
                               not do that; leave ack=yes out then";
                    self.acts.push_back(Act::End(why.into()));
                }
            }
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    fn poll_timeout(&self) -> Option<Duration> {
        match self.state {
            State::Entering { until } | State::Sending { until, .. } => Some(until),
            State::New | State::Free => None,
        }
    }

    fn takes_frame(&self) -> bool {
        self.state == State::Free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(options: &str) -> Result<PortAddress, String> {
        let text = format!("serial:///dev/ttyS0?driver=kiss&rate=9600&{options}");
        PortAddress::parse(&text.parse().unwrap()).map_err(|error| error.to_string())
    }

    /// Set up, and what was written for that.
    fn ready(options: &str) -> (Kiss, Vec<u8>, RadioFacts) {
        let mut kiss = Kiss::new(&address(options).unwrap()).unwrap();
        kiss.handle_timeout(Duration::ZERO);
        let mut written = Vec::new();
        loop {
            match kiss.poll() {
                Some(Act::Write(bytes)) => written.extend(bytes),
                Some(Act::Ready(facts)) => return (kiss, written, facts),
                Some(act) => panic!("{act:?}"),
                None => {
                    let at = kiss.poll_timeout().unwrap();
                    kiss.handle_timeout(at);
                }
            }
        }
    }

    fn write(kiss: &mut Kiss) -> Vec<u8> {
        match kiss.poll() {
            Some(Act::Write(bytes)) => bytes,
            act => panic!("{act:?}"),
        }
    }

    fn frame(number: u32, bytes: &[u8]) -> OutFrame {
        OutFrame { number, bytes: bytes.to_vec() }
    }

    #[test]
    fn what_is_set_is_said_to_the_modem_and_nothing_else() {
        let (_, written, facts) = ready("call=DL1ABC-7");
        assert_eq!(written, [0; 0]);
        assert_eq!((facts.mtu_bytes, facts.bits_per_s, facts.listens), (256, 1200, true));
        assert!(facts.clear_only && facts.signs && facts.broadcasts && !facts.tells_sent);
        let set = "raw=yes&air=9600&txdelay=300&persist=192&slot=95&tail=20&fullduplex=no&port=12";
        let (_, written, facts) = ready(set);
        // The port's number 12 makes a mark of the command for data; only that is escaped.
        let expected = [
            [0xc0, 0xc1, 30, 0xc0],
            [0xc0, 0xc2, 192, 0xc0],
            [0xc0, 0xc3, 10, 0xc0],
            [0xc0, 0xc4, 2, 0xc0],
            [0xc0, 0xc5, 0, 0xc0],
        ];
        assert_eq!(written.len(), expected.concat().len() + 1, "192 is a mark");
        assert_eq!(written[..4], expected[0]);
        let plain = Modulated::Plain { bits_per_s: 9600, lead_us: 320_000, around_bytes: 8 };
        assert_eq!(facts.modulation, Some(plain));
        assert!(!facts.clear_only && !facts.signs && !facts.listens);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_before_the_port_is_opened() {
        for (options, word) in [
            ("", "call=SIGN"),
            ("call=DL1ABC&raw=yes", "call=SIGN"),
            ("call=NOBODY", "call sign"),
            ("raw=yes", "air=sf8"),
            ("raw=yes&air=fast", "air looks like"),
            ("call=DL1ABC&speed=3", "its options are call or raw"),
            ("call=DL1ABC&mtu=257", "mtu"),
            ("call=DL1ABC&txdelay=9999", "txdelay"),
            ("call=DL1ABC&port=16", "port"),
            ("call=DL1ABC&enter=basic", "tnc2"),
            ("call=DL1ABC&freq=144.8", "freq looks like"),
            ("call=DL1ABC&duplex=half", "duplex"),
        ] {
            let why = address(options).unwrap_err();
            assert!(why.contains(word), "{options}: {why}");
        }
    }

    #[test]
    fn a_frame_has_its_call_sign_and_is_over_when_its_time_is() {
        let (mut kiss, _, facts) = ready("call=DL1ABC-7&txdelay=100");
        let now = Duration::from_secs(5);
        kiss.handle_frame(now, frame(3, b"\xc0hello"));
        let line = write(&mut kiss);
        assert_eq!((line[0], line[1], line[line.len() - 1]), (0xc0, 0x00, 0xc0));
        assert!(line.ends_with(b"\x03\xf0\xdb\xdchello\xc0"));
        assert!(!kiss.takes_frame());
        let until = kiss.poll_timeout().unwrap();
        let air = Duration::from_micros(facts.air_us(6));
        assert!(until >= now + air && until < now + air + Duration::from_millis(50));
        assert_eq!(air, Duration::from_micros(100_000 + (6 + 24) * 8_000_000 / 1200));
        kiss.handle_timeout(until);
        assert!(matches!(kiss.poll(), Some(Act::Tell(Heard::Sent { number: 3 }))));
        assert!(kiss.takes_frame());
    }

    #[test]
    fn only_what_is_for_this_port_and_from_our_own_is_heard() {
        let (mut kiss, ..) = ready("call=DL1ABC-7&port=2");
        let ours = Call::parse("DB0XYZ").unwrap().head();
        let mut theirs = ours.clone();
        theirs[0] = b'A' << 1;
        let said = [
            enframe(&[&[0x20], &theirs, b"theirs"]),
            enframe(&[&[0x00], &ours, b"another port"]),
            enframe(&[&[0x26], b"hardware"]),
            b"KISS ON\r\n".to_vec(),
            enframe(&[&[0x20], &ours, b"mine"]),
        ];
        kiss.handle_bytes(Duration::ZERO, &said.concat());
        let Some(Act::Tell(Heard::Frame { bytes, .. })) = kiss.poll() else { panic!("not heard") };
        assert_eq!(bytes, b"mine");
        assert!(kiss.poll().is_none());
    }

    #[test]
    fn while_others_are_heard_a_frame_still_waits_but_not_for_ever() {
        let (mut kiss, _, facts) = ready("raw=yes&air=1200&txdelay=100");
        let air = Duration::from_micros(facts.air_us(1));
        kiss.handle_frame(Duration::ZERO, frame(3, b"x"));
        write(&mut kiss);
        let begun = kiss.poll_timeout().unwrap();
        let (mut now, mut heard) = (Duration::ZERO, 0);
        while now < kiss.poll_timeout().unwrap() {
            kiss.handle_bytes(now, &enframe(&[&[0x00], b"theirs"]));
            heard += u32::from(kiss.poll().is_some());
            assert!(kiss.poll_timeout().unwrap() >= (now + air).min(begun + OTHERS_WAIT));
            now += air / 2;
        }
        kiss.handle_timeout(now);
        assert!(matches!(kiss.poll(), Some(Act::Tell(Heard::Sent { number: 3 }))));
        assert!(heard > 100 && now >= begun + OTHERS_WAIT && now <= begun + OTHERS_WAIT + air);
        // Whoever hears and sends at once is not held up.
        let (mut kiss, ..) = ready("raw=yes&air=1200&txdelay=100&fullduplex=yes");
        kiss.handle_frame(Duration::ZERO, frame(4, b"x"));
        let until = kiss.poll_timeout();
        kiss.handle_bytes(Duration::from_millis(50), &enframe(&[&[0x00], b"theirs"]));
        assert_eq!(kiss.poll_timeout(), until);
    }

    #[test]
    fn a_modem_that_says_what_went_is_believed_for_that_frame_alone() {
        let (mut kiss, _, facts) = ready("raw=yes&air=sf8,bw125,cr5&ack=yes");
        assert!(facts.tells_sent);
        assert_eq!((facts.mtu_bytes, facts.bandwidth_hz), (255, Some(125_000)));
        let now = Duration::from_secs(1);
        kiss.handle_frame(now, frame(8, b"x"));
        assert_eq!(write(&mut kiss), [0xc0, 0x0c, 0, 1, b'x', 0xc0]);
        for other in [&[0x0c, 0, 2][..], &[0x1c, 0, 1], &[0x0c, 0], &[0x0c, 0, 1, 0]] {
            kiss.handle_bytes(now, &enframe(&[other]));
            assert!(kiss.poll().is_none(), "{other:?}");
        }
        kiss.handle_bytes(now, &enframe(&[&[0x0c, 0, 1]]));
        assert!(matches!(kiss.poll(), Some(Act::Tell(Heard::Sent { number: 8 }))));
    }

    #[test]
    fn a_modem_that_stops_saying_so_is_given_up_after_three() {
        let (mut kiss, ..) = ready("raw=yes&air=9600&ack=yes");
        for number in 0..3 {
            kiss.handle_frame(Duration::ZERO, frame(number, b"x"));
            write(&mut kiss);
            let until = kiss.poll_timeout().unwrap();
            kiss.handle_timeout(until);
            let told = kiss.poll();
            assert!(matches!(told, Some(Act::Tell(Heard::Refused { why: Refusal::Silent, .. }))));
        }
        let Some(Act::End(why)) = kiss.poll() else { panic!("goes on") };
        assert!(why.contains("ack=yes"), "{why}");
    }

    #[test]
    fn a_modem_with_commands_is_told_to_leave_them() {
        let (_, written, _) = ready("call=DL1ABC&enter=tnc2&txdelay=300");
        assert!(written.starts_with(b"\x03\rKISS ON\rRESTART\r"), "{written:?}");
        assert!(written.ends_with(&[0xc0, 0x01, 30, 0xc0]));
    }
}
