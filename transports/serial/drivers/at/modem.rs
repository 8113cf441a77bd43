//! A modem that is set up, sends frames and tells what it heard: a profile at work, without a port.
//!
//! One talk at a time: the setup first, then a frame, or a script that a line or the clock asked for. A line is
//! first for the talk under way; then it may refuse it; then it may be something that the modem tells by itself.
//! What follows from that waits in a queue, and no frame is taken before that is empty.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    super::run::{Act, Dialect},
    chat::{self, Answer, Script, Talk},
    codec::{self, Data},
    options::Chosen,
    pdu,
    profile::{Frames, Rule},
    reading::{Piece, Reading, Want},
    words::{DATA, LEN, Values, show},
};
use crate::contract::{Heard, OutFrame, RadioFacts, Refusal, Strength};

/// Scripts that wait: as many messages as a SIM card holds.
const WAITING_MAX: usize = 64;
/// A year between two looks is never.
const EVERY_MAX_S: u64 = 366 * 86_400;
/// A modem that is silent so often in a row has gone: it is opened anew.
const SILENCES_MAX: u32 = 3;
/// A script that failed is begun again after this, where frames depend on it.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// So often in a row: then the modem is opened anew.
const AGAIN_MAX: u32 = 5;
/// Scripts that scripts ask for, one after the other: whoever says that there is always more lies.
const CHAIN_MAX: u32 = 64;

/// A profile at work.
pub(in super::super) struct Modem {
    setup: Arc<Script>,
    frames: Arc<Course>,
    facts: Option<RadioFacts>,
    options: Values,
    number: String,
    reading: Reading,
    talk: Option<(Task, Talk)>,
    waiting: VecDeque<Asked>,
    /// Scripts that the clock asks for: when, and how often.
    polls: Vec<Poll>,
    again: Option<(Duration, usize)>,
    /// The line behind this one is a frame.
    next: Option<(usize, Values)>,
    strength: Strength,
    silences: u32,
    failures: u32,
    /// Scripts that scripts asked for, since something else asked.
    chain: u32,
    /// The clock has come by since the last script: one that lets frames pass may begin.
    is_turn: bool,
    /// Frames in a row that found no network, and until when the next waits.
    lost: usize,
    rest: Option<Duration>,
    now: Duration,
    acts: VecDeque<Act>,
    has_ended: bool,
    secret: Arc<AtomicBool>,
}

/// A script that waits, and what is known in it.
struct Asked {
    script: usize,
    values: Values,
    /// A frame that is there already goes before it.
    lets_pass: bool,
}

/// Scripts as talks take them.
struct Course {
    of: Frames,
    send: Arc<Script>,
    scripts: Vec<Arc<Script>>,
}

#[derive(Clone, Copy)]
struct Poll {
    script: usize,
    every: Duration,
    due: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Task {
    Setup,
    /// A frame, and whether it has gone.
    Send {
        number: u32,
        has_gone: bool,
    },
    Script(usize),
}

impl Modem {
    /// A modem at a port that was just opened.
    /// `secret` is set when something secret was said while it was set up, and refused.
    pub(super) fn new(
        setup: Script,
        frames: Frames,
        chosen: Chosen,
        facts: RadioFacts,
        secret: Arc<AtomicBool>,
    ) -> Self {
        let polls = frames.polls.iter().filter_map(|(script, every)| {
            let every = Duration::from_secs(every.number(&chosen)?.min(EVERY_MAX_S));
            let poll = Poll { script: *script, every, due: Duration::ZERO };
            (!every.is_zero()).then_some(poll)
        });
        let polls = polls.collect();
        let holding = frames.heard.iter().map(|rule| rule.line.clone());
        let reading = Reading::holding(holding.filter(|line| line.has(DATA)));
        let number = frames.from.as_ref().map(|name| chosen.values.value(name));
        let number = String::from_utf8_lossy(number.unwrap_or_default()).into_owned();
        let (send, scripts) = (frames.send.clone(), frames.scripts.iter().cloned());
        let scripts = scripts.map(Arc::new).collect();
        Self {
            setup: Arc::new(setup),
            frames: Arc::new(Course { of: frames, send: Arc::new(send), scripts }),
            facts: Some(facts),
            options: chosen.values,
            number,
            reading,
            talk: None,
            waiting: VecDeque::new(),
            polls,
            again: None,
            next: None,
            strength: Strength::default(),
            silences: 0,
            failures: 0,
            chain: 0,
            is_turn: false,
            lost: 0,
            rest: None,
            now: Duration::ZERO,
            acts: VecDeque::new(),
            has_ended: false,
            secret,
        }
    }

    fn is_ready(&self) -> bool {
        self.facts.is_none() && !self.has_ended
    }

    fn end(&mut self, why: String) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.acts.push_back(Act::End(why));
        }
    }

    /// Takes what came, piece by piece.
    fn read(&mut self) {
        loop {
            let want = self.talk.as_ref().map_or(Want::Lines, |(_, talk)| talk.want());
            // A frame that stands in the next line is no prompt.
            let want = if self.next.is_some() { Want::Lines } else { want };
            let Some(piece) = self.reading.poll(want) else { return };
            self.handle_piece(piece);
        }
    }

    fn handle_piece(&mut self, piece: Piece) {
        let for_talk = match &mut self.talk {
            // What a rule waits for is a frame, whatever it looks like.
            Some(_) if self.next.is_some() && matches!(piece, Piece::Line(_)) => false,
            Some((_, talk)) => talk.handle_piece(self.now, &piece),
            None => false,
        };
        if for_talk {
            self.silences = 0;
        } else if let Piece::Line(line) = piece {
            self.handle_line(&line);
        }
        self.settle();
    }

    fn handle_line(&mut self, line: &[u8]) {
        if !self.is_ready() {
            return;
        }
        let course = Arc::clone(&self.frames);
        if let Some((rule, values)) = self.next.take() {
            if let Some(rule) = course.of.heard.get(rule) {
                self.hear(rule, line, values);
            }
            return;
        }
        if let Some((Task::Send { has_gone: false, .. }, talk)) = &mut self.talk
            && course.of.refused.iter().any(|(pattern, _)| pattern.take(line).is_some())
        {
            talk.refuse(line);
            return;
        }
        if course.of.anew.iter().any(|pattern| pattern.take(line).is_some()) {
            self.end(format!("the modem has begun anew: \"{}\"", show(line)));
            return;
        }
        let rules = course.of.heard.iter().enumerate();
        let found = rules.filter_map(|(at, rule)| Some((at, rule, rule.line.take(line)?))).next();
        let Some((at, rule, values)) = found else { return };
        if rule.next {
            self.next = Some((at, values));
        } else if rule.line.has(DATA) {
            let data = values.value(DATA).to_vec();
            self.hear(rule, &data, values);
        } else {
            let strength = strength(&values);
            if strength != Strength::default() {
                self.strength = strength;
            }
            if let Some(script) = rule.run {
                self.chain = 0;
                self.queue(script, values, false);
            }
        }
    }

    /// Something was heard, as it stands in a line.
    fn hear(&mut self, rule: &Rule, data: &[u8], values: Values) {
        let told = strength(&values);
        let before = std::mem::take(&mut self.strength);
        let strength = Strength {
            rssi_dbm: told.rssi_dbm.or(before.rssi_dbm),
            snr_quarter_db: told.snr_quarter_db.or(before.snr_quarter_db),
        };
        let bytes = self.decode(data);
        if let Some(script) = rule.run {
            self.queue(script, values.clone(), false);
        }
        if let Some(bytes) = bytes {
            self.acts.push_back(Act::Tell(Heard::Frame { bytes, strength }));
            if let Some(script) = rule.ours {
                self.queue(script, values, false);
            }
        }
    }

    fn decode(&self, data: &[u8]) -> Option<Vec<u8>> {
        match self.frames.of.data {
            Data::Plain => codec::from_plain(data),
            Data::Hex => codec::from_hex(data),
            Data::Sum => Some(data.to_vec()),
            Data::Sms => {
                let came = pdu::deliver(&codec::from_hex(data)?)?;
                let from_all = self.number.is_empty();
                (from_all || pdu::same_number(&came.from, &self.number)).then_some(came.frame)
            }
        }
    }

    /// The frame as it is said, and how long the modem wants it said to be.
    fn encode(&self, frame: &[u8]) -> Option<(Vec<u8>, usize)> {
        match self.frames.of.data {
            Data::Plain => Some(codec::plain(frame)).map(|coded| (coded.clone(), coded.len())),
            Data::Hex => Some((codec::hex(frame), frame.len())),
            Data::Sum => Some(([frame, &codec::sum(frame)].concat(), frame.len())),
            Data::Sms => {
                let (pdu, length) = pdu::submit(&self.number, frame)?;
                Some((codec::hex(&pdu), length))
            }
        }
    }

    fn queue(&mut self, script: usize, values: Values, lets_pass: bool) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(Asked { script, values, lets_pass });
        }
    }

    /// Does what the talk wants, and what follows from its end.
    fn settle(&mut self) {
        loop {
            while let Some(act) = self.talk.as_mut().and_then(|(_, talk)| talk.poll()) {
                self.obey(act);
            }
            let ended = self.talk.take_if(|(_, talk)| talk.ended().is_some());
            if let Some((task, talk)) = ended {
                match talk.ended() {
                    Some(Err(failure)) => self.handle_failure(task, &failure.clone()),
                    _ => self.handle_end(task),
                }
            }
            if self.talk.is_some() || !self.begin_next() {
                return;
            }
        }
    }

    fn obey(&mut self, act: chat::Act) {
        match act {
            chat::Act::Write(bytes) => self.acts.push_back(Act::Write(bytes)),
            // A profile with frames has none.
            chat::Act::Wire(..) => {}
            chat::Act::Came(bytes) => {
                let strength = std::mem::take(&mut self.strength);
                self.acts.push_back(Act::Tell(Heard::Frame { bytes, strength }));
            }
            chat::Act::Run(script) => {
                let known = self.talk.as_ref().map(|(_, talk)| talk.values().clone());
                self.chain += 1;
                if self.chain <= CHAIN_MAX {
                    self.queue(script, known.unwrap_or_default(), true);
                }
            }
            chat::Act::Sent => {
                if let Some((Task::Send { number, has_gone }, _)) = &mut self.talk {
                    *has_gone = true;
                    self.acts.push_back(Act::Tell(Heard::Sent { number: *number }));
                    self.lost = 0;
                }
            }
        }
    }

    fn handle_end(&mut self, task: Task) {
        self.silences = 0;
        match task {
            Task::Setup => {
                if let Some(facts) = self.facts.take() {
                    self.acts.push_back(Act::Ready(facts));
                }
                self.after();
            }
            Task::Send { number, has_gone } => {
                if !has_gone {
                    self.lost = 0;
                    self.acts.push_back(Act::Tell(Heard::Sent { number }));
                }
                self.after();
            }
            Task::Script(_) => self.failures = 0,
        }
    }

    fn handle_failure(&mut self, task: Task, failure: &chat::Failure) {
        let is_silent = matches!(failure.answer, Answer::Silence(..));
        if is_silent {
            self.silences += 1;
        }
        match task {
            Task::Setup => {
                self.secret.store(failure.secret, Ordering::Relaxed);
                return self.end(failure.to_string());
            }
            Task::Send { number, has_gone } => {
                if !has_gone {
                    let why = self.refusal(failure);
                    self.acts.push_back(Act::Tell(Heard::Refused { number, why }));
                }
                self.after();
            }
            Task::Script(script) => {
                self.failures += 1;
                if self.frames.of.after == Some(script) {
                    self.again = Some((self.now + AGAIN_AFTER, script));
                }
            }
        }
        if self.silences >= SILENCES_MAX || self.failures >= AGAIN_MAX {
            self.end(failure.to_string());
        }
    }

    fn refusal(&mut self, failure: &chat::Failure) -> Refusal {
        let Answer::Line(line) = &failure.answer else { return Refusal::Silent };
        self.silences = 0;
        let refused = &self.frames.of.refused;
        let found = refused.iter().find(|(pattern, _)| pattern.take(line).is_some());
        let why = found.map_or_else(
            || Refusal::Other(failure.to_string()),
            |(_, why)| why.refusal(&show(line)),
        );
        if why == Refusal::NoNetwork {
            let rests = &self.frames.of.rests;
            let rest = rests.get(self.lost).or(rests.last());
            self.rest = rest.map(|rest| self.now + *rest);
            self.lost += 1;
        }
        why
    }

    fn after(&mut self) {
        if let Some(script) = self.frames.of.after {
            let values = Values::default();
            self.waiting.push_front(Asked { script, values, lets_pass: false });
        }
    }

    /// Begins what waits, or what the clock asks for.
    fn begin_next(&mut self) -> bool {
        if !self.is_ready() {
            return false;
        }
        let now = self.now;
        let Some((script, more)) = self.asked(now) else { return false };
        let Some(steps) = self.frames.scripts.get(script).map(Arc::clone) else { return false };
        self.is_turn = false;
        let mut values = self.options.clone();
        values.take_all(more);
        self.talk = Some((Task::Script(script), Talk::new(steps, values, now)));
        true
    }

    fn asked(&mut self, now: Duration) -> Option<(usize, Values)> {
        if let Some((_, script)) = self.again.take_if(|(at, _)| *at <= now) {
            return Some((script, Values::default()));
        }
        if let Some(first) = self.waiting.front() {
            if first.lets_pass && !self.is_turn {
                return None;
            }
            return self.waiting.pop_front().map(|asked| (asked.script, asked.values));
        }
        let poll = self.polls.iter_mut().find(|poll| poll.due <= now)?;
        poll.due = now + poll.every;
        self.chain = 0;
        Some((poll.script, Values::default()))
    }
}

fn strength(values: &Values) -> Strength {
    let text = |name| std::str::from_utf8(values.value(name)).ok();
    let narrow = |number: i64| i16::try_from(number).ok();
    // Whole decibels, or with a fraction.
    let snr = text("snr").and_then(|snr| snr.parse::<f32>().ok()).filter(|snr| snr.abs() < 100.0);
    #[allow(clippy::cast_possible_truncation, reason = "it is below 400")]
    let quarters = snr.map(|snr| (snr * 4.0).round() as i16);
    Strength { rssi_dbm: values.number("rssi").and_then(narrow), snr_quarter_db: quarters }
}

impl Dialect for Modem {
    fn handle_bytes(&mut self, now: Duration, said: &[u8]) {
        self.now = now;
        let mut rest = said;
        while !rest.is_empty() && !self.has_ended {
            let taken = self.reading.handle(rest);
            rest = &rest[taken..];
            self.read();
        }
    }

    fn handle_frame(&mut self, now: Duration, frame: OutFrame) {
        self.now = now;
        let number = frame.number;
        let Some((data, len)) = self.encode(&frame.bytes) else {
            self.acts.push_back(Act::Tell(Heard::Refused { number, why: Refusal::TooLong }));
            return;
        };
        let mut values = self.options.clone();
        values.put(DATA, data);
        values.put(LEN, len.to_string());
        let script = Arc::clone(&self.frames.send);
        self.chain = 0;
        let task = Task::Send { number, has_gone: false };
        self.talk = Some((task, Talk::new(script, values, now)));
        self.settle();
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.now = now;
        if self.rest.is_some_and(|until| until <= now) {
            self.rest = None;
        }
        // An answer may stand behind a line that promises more than comes.
        self.reading.impatient(true);
        self.read();
        self.reading.impatient(false);
        match &mut self.talk {
            Some((_, talk)) => talk.handle_timeout(now),
            None if self.facts.is_some() && !self.has_ended => {
                let setup = Talk::new(Arc::clone(&self.setup), self.options.clone(), now);
                self.talk = Some((Task::Setup, setup));
            }
            None => self.is_turn = true,
        }
        self.settle();
    }

    fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    fn poll_timeout(&self) -> Option<Duration> {
        if self.has_ended {
            return None;
        }
        let talk = self.talk.as_ref().and_then(|(_, talk)| talk.poll_timeout());
        if talk.is_some() || !self.is_ready() {
            return talk;
        }
        let waiting = (!self.waiting.is_empty()).then_some(self.now);
        let polls = self.polls.iter().map(|poll| poll.due);
        let again = self.again.map(|(at, _)| at);
        polls.chain(again).chain(self.rest).chain(waiting).min()
    }

    fn takes_frame(&self) -> bool {
        self.is_ready() && self.talk.is_none() && self.rest.is_none() && self.again.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::address::PortAddress;

    const SECOND: Duration = Duration::from_secs(1);

    /// A modem, what it was told, and what was told of it.
    struct Bench {
        modem: Modem,
        now: Duration,
        said: Vec<String>,
        told: Vec<Heard>,
        ended: Option<String>,
    }

    impl Bench {
        /// Set up by these answers.
        fn new(options: &str, answers: &str) -> Self {
            let text = format!("serial:///dev/ttyS0?driver=at&{options}");
            let of = PortAddress::parse(&text.parse().unwrap()).unwrap();
            let modem = super::super::modem(&of).unwrap();
            let (said, told) = (Vec::new(), Vec::new());
            let mut bench = Self { modem, now: Duration::ZERO, said, told, ended: None };
            bench.modem.handle_timeout(bench.now);
            bench.answers(answers);
            bench
        }

        fn answers(&mut self, answers: &str) {
            for answer in answers.split_inclusive('\n') {
                self.modem.handle_bytes(self.now, answer.as_bytes());
                self.drain();
            }
        }

        fn frame(&mut self, number: u32) {
            assert!(self.modem.takes_frame());
            self.modem.handle_frame(self.now, OutFrame { number, bytes: b"hi".to_vec() });
            self.drain();
        }

        /// Lets time pass, each moment that the modem asks for in its turn.
        fn passes(&mut self, time: Duration) {
            let until = self.now + time;
            while let Some(at) = self.modem.poll_timeout().filter(|at| *at <= until) {
                self.now = self.now.max(at);
                self.modem.handle_timeout(self.now);
                self.drain();
            }
            self.now = until;
        }

        fn drain(&mut self) {
            while let Some(act) = self.modem.poll() {
                match act {
                    Act::Write(bytes) => self.said.push(show(&bytes)),
                    Act::Tell(heard) => self.told.push(heard),
                    Act::End(why) => self.ended = Some(why),
                    Act::Ready(_) => self.said.clear(),
                }
            }
        }
    }

    const IRIDIUM: &str = "OK\r\nOK\r\nOK\r\nIRIDIUM 9600\r\nOK\r\nOK\r\n0\r\nOK\r\n";
    const RN2483: &str = "RN2483 1\r\n1\r\nok\r\nok\r\nok\r\nok\r\nok\r\nok\r\nok\r\nok\r\nok\r\n";

    #[test]
    fn without_a_network_each_frame_waits_longer_until_one_goes() {
        let mut bench = Bench::new("profile=iridium", IRIDIUM);
        for rest in [5, 15, 30] {
            bench.frame(1);
            bench.answers("READY\r\n0\r\nOK\r\n+SBDIX: 32, 1, 2, 0, 0, 0\r\nOK\r\n");
            let told = bench.told.pop();
            assert!(matches!(told, Some(Heard::Refused { why: Refusal::NoNetwork, .. })));
            bench.passes((rest - 1) * SECOND);
            assert!(!bench.modem.takes_frame(), "{rest}");
            bench.passes(SECOND);
            assert!(bench.modem.takes_frame(), "{rest}");
        }
        bench.frame(2);
        bench.answers("READY\r\n0\r\nOK\r\n+SBDIX: 0, 1, 0, 0, 0, 0\r\nOK\r\n");
        assert!(matches!(bench.told.pop(), Some(Heard::Sent { number: 2 })));
        assert!(bench.modem.takes_frame());
        assert_eq!(bench.ended, None);
    }

    #[test]
    fn what_waits_in_the_sky_is_fetched_between_frames_and_not_for_ever() {
        let mut bench = Bench::new("profile=iridium", IRIDIUM);
        let always = "0\r\nOK\r\n+SBDIX: 0, 1, 1, 1, 2, 9\r\nOK\r\n";
        let fetched = |bench: &mut Bench| {
            bench.answers(always);
            bench.modem.handle_bytes(bench.now, b"\x00\x02hi\x00\xd1\r\nOK\r\n");
            bench.drain();
        };
        bench.answers("SBDRING\r\n");
        fetched(&mut bench);
        assert!(bench.modem.takes_frame() && bench.modem.poll_timeout() == Some(bench.now));
        for _ in 0..CHAIN_MAX {
            bench.passes(Duration::ZERO);
            assert!(!bench.modem.takes_frame());
            fetched(&mut bench);
        }
        assert_eq!(bench.modem.poll_timeout(), None);
        assert_eq!(bench.told.len(), 65);
    }

    #[test]
    fn what_is_asked_from_time_to_time_is_asked_then_and_waits_for_a_frame_under_way() {
        let mut bench = Bench::new("profile=iridium&poll=100", IRIDIUM);
        let session = "0\r\nOK\r\n+SBDIX: 0, 1, 0, 0, 0, 0\r\nOK\r\n";
        // At once, since nobody knows what waits.
        assert_eq!(bench.said, ["AT+SBDD0"]);
        bench.answers(session);
        bench.passes(99 * SECOND);
        assert_eq!(bench.said.len(), 2);
        bench.frame(1);
        bench.answers("READY\r\n0\r\nOK\r\n");
        bench.passes(5 * SECOND);
        assert_eq!(bench.said.last().unwrap(), "AT+SBDIX");
        bench.answers("+SBDIX: 0, 1, 0, 0, 0, 0\r\nOK\r\n");
        assert_eq!(bench.said.last().unwrap(), "AT+SBDD0");
    }

    #[test]
    fn a_modem_that_will_not_listen_is_asked_again_and_given_up() {
        let mut bench = Bench::new("profile=rn2483", RN2483);
        bench.answers("invalid_param\r\n");
        assert!(!bench.modem.takes_frame(), "nobody would be heard");
        bench.passes(SECOND);
        bench.answers("ok\r\n");
        assert!(bench.modem.takes_frame());
        assert_eq!(bench.said, ["radio rx 0"; 2]);
        bench.answers("radio_err\r\n");
        for _ in 0..5 {
            assert_eq!(bench.ended, None);
            bench.answers("invalid_param\r\n");
            bench.passes(SECOND);
        }
        let why = bench.ended.unwrap();
        assert_eq!(why, "to \"radio rx 0\" the modem answers \"invalid_param\"");
    }

    #[test]
    fn what_somebody_sends_while_a_frame_is_under_way_is_heard() {
        let mut bench = Bench::new("profile=rn2483", RN2483);
        bench.answers("ok\r\n");
        bench.frame(7);
        bench.answers("radio_rx  6869\r\nok\r\n");
        assert!(matches!(&bench.told[..], [Heard::Frame { bytes, .. }] if bytes == b"hi"));
        bench.answers("ok\r\nradio_tx_ok\r\n");
        assert!(matches!(bench.told.last(), Some(Heard::Sent { number: 7 })));
        // It is told to listen, and again for what was heard: it does already.
        bench.answers("ok\r\nbusy\r\n");
        assert!(bench.modem.takes_frame() && bench.ended.is_none());
    }
}
