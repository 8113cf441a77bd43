//! The link layer for byte lines: a port that loses, damages and delays bytes becomes a pipe of
//! reliable, ordered bytes, on which everything else runs as on any pipe.
//!
//! - [`coding`] and [`framing`]: what stands between two 00, and what of it can be believed;
//!   [`checksum`] begins with what both ends know, [`repairing`] puts damage right and
//!   [`mending`] what it did to a 00;
//! - [`opening`]: two ends find each other, or notice that the other began anew;
//! - [`letters`]: what passes while two ends open, and needs no pipe;
//! - [`turns`]: who may speak where only one is heard at a time;
//! - [`sending`], by the line's [`quality`] and its [`trips`], and [`receiving`]: the two directions.
//!
//! The format stands in `docs/line.md`. The shell gives [`Line::receive`] whatever its port gave,
//! hands its port what [`Line::transmit`] has whenever the port takes bytes and at
//! [`Line::next_timeout`], and keeps little in the port: a quarter of a second at most, or what must
//! be sent again waits behind it.

mod checksum;
mod coding;
mod framing;
mod letters;
mod mending;
mod opening;
mod quality;
mod receiving;
mod repairing;
mod sending;
mod trips;
mod turns;

use std::collections::VecDeque;

use coding::Coding;
use framing::{BODY_CELLS_MAX, CELL_BYTES, Deframer, Frame, Status, Written};
use letters::Letters;
use mending::Mending;
use opening::{Met, Opening};
use receiving::Receiving;
use sending::Sending;
use turns::Turns;

pub use opening::Caller;
pub use turns::Duplex;

/// Statuses that come by themselves may take a twentieth of a slow line; on others they come so often.
const STATUS_BYTES: u64 = 12;
const STATUS_SHARE: u64 = 20;
const STATUS_EVERY_MIN_MS: u64 = 100;
/// A frame keeps others waiting for this long at most.
const FRAME_MS: u64 = 500;
/// Behind so long a silence a 00 goes first: what the line made up meanwhile ends there.
const SILENCE_MS: u64 = 20;
/// What is left of a ramp, and what noise put in; longer pieces are none.
const RAMP_MAX: usize = 32;
/// Polls after which the next is written so that every line lets it through, and its answer: a status
/// that is said again is the same again, and may hold a byte that the line swallows.
const POLLS_PLAIN: u32 = 2;
/// For the acknowledgement of an end alone: the other closed as well, and may have gone.
const LAST_PATIENCE_MS: u64 = 10_000;
/// One may get lost, and whoever waits for it has nothing else to do.
const LAST_STATUSES: u8 = 2;
/// What an end says that there is room for before it is asked; the other may send so much at first.
const ROOM_FIRST: usize = 8 << 10;

/// What is known of a line beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The rate of the port; a byte takes ten bits.
    pub bits_per_s: u32,
    /// The same at both ends.
    pub duplex: Duplex,
    /// Bytes that were written and have not arrived; 1 KiB to 256 KiB.
    pub sending_bytes: usize,
    /// Bytes that came and were not read; 8 KiB to 256 KiB.
    pub receiving_bytes: usize,
    /// How long an answer is waited for before the session is over.
    pub patience_ms: u64,
    /// Whether this end can begin what runs on the pipe: the other is told, in the session number.
    pub calls: bool,
}

impl Settings {
    /// A line of that rate.
    pub fn new(bits_per_s: u32) -> Self {
        Self {
            bits_per_s,
            duplex: Duplex::Full,
            sending_bytes: 256 << 10,
            receiving_bytes: 256 << 10,
            patience_ms: 120_000,
            calls: false,
        }
    }
}

/// How a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody answered yet.
    Opening,
    /// The other end is there.
    Open,
    /// The session is over.
    Closed(Ending),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both ends closed, and all arrived. Or the other fell silent when it had acknowledged everything
    /// but the end itself.
    Finished,
    /// The other end began anew. What it had not acknowledged may be lost.
    Restarted,
    /// No answer came for as long as the settings say.
    Silent,
}

/// What passed, for people who ask how good a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes that the port gave.
    pub bytes: u64,
    /// Frames that came whole.
    pub frames: u64,
    /// Pieces between two 00 that were none.
    pub damaged: u64,
    /// Frames of data of ours that arrived.
    pub arrived: u64,
    /// Those that did not.
    pub lost: u64,
    /// Hellos of our own that came back.
    pub echoes: u64,
}

/// One end of a line.
#[derive(Debug)]
pub struct Line {
    settings: Settings,
    now_ms: u64,
    deframer: Deframer,
    mending: Mending,
    /// The piece before the one that came, if it may be a ramp.
    ramp: Vec<u8>,
    opening: Opening,
    turns: Turns,
    letters: Letters,
    sending: Sending,
    receiving: Receiving,
    /// At least this, whatever the other end says: what it was written in had bytes that never arrive.
    coding_least: Coding,
    /// That of the last poll: a status that answers it is written like it at least.
    answer_coding: Coding,
    /// The last data came so that it could be repaired: the other end knows the line as bad, and
    /// what is said of its data goes the same way.
    hears_damage: bool,
    /// Coded bytes that the port has not taken.
    port: VecDeque<u8>,
    spoke_ms: Option<u64>,
    /// When it was last asked for bytes.
    asked_ms: Option<u64>,
    /// Since when an answer is waited for.
    waiting_since: Option<u64>,
    /// How often the last status is still said: who hears it may go at once.
    last_statuses: u8,
    /// Somebody said hello after the session was over.
    is_called_again: bool,
    tally: Tally,
    ending: Option<Ending>,
}

impl Line {
    /// An end that says hello. `random` must differ each time.
    pub fn new(settings: Settings, random: [u8; 16], now_ms: u64) -> Self {
        let settings = Settings {
            bits_per_s: settings.bits_per_s.max(1),
            sending_bytes: settings.sending_bytes.clamp(1 << 10, 256 << 10),
            receiving_bytes: settings.receiving_bytes.clamp(ROOM_FIRST, 256 << 10),
            ..settings
        };
        let turns = Turns::new(settings.duplex, settings.bits_per_s, random);
        let status_ms = STATUS_BYTES * STATUS_SHARE * 10_000 / u64::from(settings.bits_per_s);
        Self {
            settings,
            now_ms,
            deframer: Deframer::default(),
            mending: Mending::default(),
            ramp: Vec::new(),
            opening: Opening::new(random, settings.calls, now_ms),
            letters: Letters::default(),
            sending: Sending::new(&settings, ROOM_FIRST, turns.burst_max()),
            turns,
            receiving: Receiving::new(settings.receiving_bytes, status_ms.max(STATUS_EVERY_MIN_MS)),
            coding_least: Coding::Plain,
            answer_coding: Coding::Plain,
            hears_damage: false,
            port: VecDeque::new(),
            spoke_ms: None,
            asked_ms: None,
            waiting_since: None,
            last_statuses: 0,
            is_called_again: false,
            tally: Tally::default(),
            ending: None,
        }
    }

    /// How it stands. One that has finished still answers the other end, if its last
    /// acknowledgement was lost: keep it for a few seconds.
    pub fn state(&self) -> State {
        match self.ending {
            Some(ending) => State::Closed(ending),
            None if self.opening.is_open() => State::Open,
            None => State::Opening,
        }
    }

    /// Which end begins what runs on the pipe; `None` until the other end is there. Both say the same.
    pub fn caller(&self) -> Option<Caller> {
        self.opening.caller().filter(|_| self.opening.is_open())
    }

    /// A session that is over, and somebody has begun another: nothing is left to say in this one.
    pub fn is_called_again(&self) -> bool {
        self.is_called_again
    }

    /// What passed so far.
    pub fn tally(&self) -> Tally {
        let (arrived, lost) = self.sending.fates();
        Tally { arrived, lost, ..self.tally }
    }

    /// The last round trip that was seen.
    pub fn trip_ms(&self) -> Option<u64> {
        self.sending.trip_ms()
    }

    /// Bytes that were written and never sent: whoever writes little ahead lets what is urgent pass.
    pub fn unsent_bytes(&self) -> usize {
        self.sending.unsent_bytes()
    }

    /// Takes what the program writes, as much as there is room for; nothing after [`Self::close`].
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        if self.ending.is_some() { 0 } else { self.sending.write(bytes) }
    }

    /// Says something once, as soon as the other end is known, before and beside all that is written. It may
    /// get lost. On a line where one is heard at a time nothing is said so.
    pub fn post(&mut self, letter: Vec<u8>) {
        if !self.turns.is_half() {
            self.letters.post(letter);
        }
    }

    /// The next of what the other end said so; a few in each session.
    pub fn take_letter(&mut self) -> Option<Vec<u8>> {
        self.letters.take()
    }

    /// Nothing more is written. What was written still arrives, and then its end.
    pub fn close(&mut self) {
        self.sending.end();
    }

    /// [`Self::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.sending.has_ended()
    }

    /// All that was written is known to have arrived; and its end, if it was closed.
    pub fn has_all_arrived(&self) -> bool {
        self.sending.held_bytes() == 0
    }

    /// Gives the program what came, in order; 0 while there is nothing.
    pub fn read(&mut self, out: &mut [u8]) -> usize {
        self.receiving.read(self.now_ms, out)
    }

    /// The other end closed, and all that it wrote was read.
    pub fn is_read_to_end(&self) -> bool {
        self.receiving.is_read()
    }

    /// Bytes that are held in both directions.
    pub fn held_bytes(&self) -> usize {
        let port = self.port.len() + self.deframer.held_bytes() + self.mending.held_bytes();
        port + self.letters.held_bytes() + self.sending.held_bytes() + self.receiving.held_bytes()
    }

    /// When [`Self::transmit`] has something although nothing was received or written.
    pub fn next_timeout(&self) -> Option<u64> {
        match self.ending {
            None | Some(Ending::Finished) => {}
            Some(_) => return None,
        }
        let silent = self.silent_at();
        let status = self.opening.outgoing().and(self.receiving.next_timeout());
        let poll = self.opening.outgoing().and(self.sending.next_timeout());
        let silent = silent.filter(|_| self.ending.is_none());
        let letter = self.opening.outgoing().filter(|_| self.letters.has_some());
        let letter = letter.and(self.asked_ms);
        let said = [self.opening.next_timeout(), letter, status, poll].into_iter().flatten().min();
        let said = said.map(|at| at.max(self.turns.not_before_ms()));
        // Data waits for a turn as well.
        let turn = (self.turns.is_half() && self.sending.has_more())
            .then(|| self.turns.not_before_ms())
            .filter(|at| self.asked_ms.is_none_or(|asked| *at > asked))
            .filter(|_| self.opening.outgoing().is_some());
        [said, turn, silent].into_iter().flatten().min()
    }

    /// Takes what the port gave, whatever that is.
    pub fn receive(&mut self, now_ms: u64, bytes: &[u8]) {
        self.now_ms = now_ms;
        self.tally.bytes += bytes.len() as u64;
        for byte in bytes {
            let Some(piece) = self.deframer.push(*byte) else { continue };
            let key = self.opening.incoming();
            match Frame::decode(&piece, key, self.receiving.base()) {
                Some((frame, written)) => {
                    self.mending.note_read(piece.len(), written.coding == Coding::Repairable);
                    self.handle_frame(frame, written);
                }
                None => {
                    let damaged = !self.ramp.is_empty() || piece.len() > RAMP_MAX;
                    self.tally.damaged += u64::from(damaged);
                    self.mend(&piece);
                    self.ramp = if piece.len() <= RAMP_MAX { piece } else { Vec::new() };
                }
            }
        }
    }

    /// Looks for frames where a 00 is too many or one is lacking.
    fn mend(&mut self, piece: &[u8]) {
        for guess in self.mending.guesses(piece) {
            let (key, near) = (self.opening.incoming(), self.receiving.base());
            if let Some((frame, written)) = Frame::decode_repairable(&guess, key, near) {
                self.mending.note_read(guess.len(), true);
                self.handle_frame(frame, written);
            }
        }
    }

    fn handle_frame(&mut self, frame: Frame, written: Written) {
        let now_ms = self.now_ms;
        let ramp = std::mem::take(&mut self.ramp);
        self.tally.frames += 1;
        self.tally.damaged += u64::from(!ramp.is_empty() && !matches!(frame, Frame::Hello(_)));
        if !matches!(self.ending, None | Some(Ending::Finished)) {
            return;
        }
        match &frame {
            Frame::Status(Status { over: true, .. }) => self.turns.take(now_ms, true),
            Frame::Poll(_) | Frame::Hello(_) => self.turns.take(now_ms, false),
            _ => self.turns.hear(now_ms),
        }
        if let Frame::Hello(hello) = frame {
            return match self.opening.handle_hello(now_ms, hello, &ramp) {
                Met::Echo => self.tally.echoes += 1,
                Met::Restarted => {
                    self.is_called_again = self.ending.is_some();
                    self.end(Ending::Restarted);
                }
                met => {
                    if met == Met::New {
                        self.sending.begin_again();
                    }
                    if self.opening.knows_us(hello) {
                        // It is to hear of us; the first data does that as well.
                        if self.opening.is_open() || !self.sending.has_unsent() {
                            self.receiving.say(now_ms);
                        }
                        self.open();
                    }
                }
            };
        }
        self.open();
        self.waiting_since = self.waiting_since.map(|_| now_ms);
        match frame {
            Frame::Data { number, ask, body } => {
                self.receiving.note_repaired(written.repaired);
                self.receiving.handle_data(now_ms, number, ask, &body);
                self.hears_damage = written.coding == Coding::Repairable;
            }
            Frame::Status(status) => {
                self.sending.handle_status(now_ms, &status);
                if self.sending.take_stubborn() {
                    self.coding_least = self.coding().safer();
                }
            }
            Frame::Poll(number) => {
                self.receiving.handle_poll(now_ms, number);
                self.answer_coding = written.coding;
            }
            Frame::Letter(letter) => self.letters.handle(letter),
            Frame::Hello(_) => {}
        }
        self.look_for_end();
    }

    fn open(&mut self) {
        if let Some(delay_ms) = self.opening.open(self.now_ms) {
            self.sending.note_trip(delay_ms);
        }
    }

    fn look_for_end(&mut self) {
        if self.ending.is_none() && self.receiving.has_ended() && self.sending.is_done() {
            self.end(Ending::Finished);
        }
    }

    fn end(&mut self, ending: Ending) {
        if self.ending.is_none() {
            self.ending = Some(ending);
            self.waiting_since = None;
            if ending == Ending::Finished {
                self.last_statuses = LAST_STATUSES;
                self.receiving.say(self.now_ms);
            }
        }
    }

    fn coding(&self) -> Coding {
        self.opening.coding().max(self.coding_least)
    }

    fn repairable_if(&self, bad: bool) -> Coding {
        if bad && self.coding() == Coding::Plain { Coding::Repairable } else { Coding::Plain }
    }

    /// Hands out bytes for the port behind those in `out`, at most `room`.
    pub fn transmit(&mut self, now_ms: u64, room: usize, out: &mut Vec<u8>) {
        (self.now_ms, self.asked_ms) = (now_ms, Some(now_ms));
        self.look_at_clock();
        let mut room = room;
        while room > 0 {
            if self.port.is_empty() && !self.fill_port() {
                break;
            }
            let bytes = room.min(self.port.len());
            out.extend(self.port.drain(..bytes));
            room -= bytes;
            self.spoke_ms = Some(now_ms);
        }
        if !self.sending.waits_for_status() || self.opening.outgoing().is_none() {
            self.waiting_since = None;
        } else if self.waiting_since.is_none() && self.ending.is_none() {
            self.waiting_since = Some(now_ms);
        }
    }

    fn look_at_clock(&mut self) {
        if self.silent_at().is_some_and(|at| self.now_ms >= at) {
            self.end(if self.is_all_but_finished() { Ending::Finished } else { Ending::Silent });
        }
    }

    fn silent_at(&self) -> Option<u64> {
        let patience_ms = self.settings.patience_ms;
        let last = self.is_all_but_finished();
        let patience_ms = if last { patience_ms.min(LAST_PATIENCE_MS) } else { patience_ms };
        self.waiting_since.map(|since| since.saturating_add(patience_ms))
    }

    /// Everything is here and there, except for word that our end arrived.
    fn is_all_but_finished(&self) -> bool {
        self.receiving.has_ended() && self.sending.is_all_but_done()
    }

    /// The next frame for the port, if there is anything to say.
    fn fill_port(&mut self) -> bool {
        let now_ms = self.now_ms;
        match self.ending {
            None | Some(Ending::Finished) => {}
            Some(_) => return false,
        }
        if !self.turns.may_speak(now_ms) {
            return false;
        }
        let mut coded = Vec::new();
        if self.spoke_ms.is_none_or(|spoke| now_ms >= spoke + SILENCE_MS) {
            coded.push(0);
        }
        let begun = coded.len();
        if let Some(hello) = self.opening.poll_hello(now_ms) {
            if begun == 0 {
                coded.push(0);
            }
            coded.extend_from_slice(&framing::RAMP);
            coded.push(0);
            self.write_frame(&hello, Coding::SevenBit, &mut coded);
            self.turns.give(now_ms, self.sending.answer_ms(true));
        } else if self.opening.outgoing().is_none() {
            return false;
        } else if let Some(letter) = self.letters.next() {
            self.write_frame(&Frame::Letter(letter), Coding::Plain, &mut coded);
        } else if let Some(mut status) = self.receiving.poll_status(now_ms) {
            status.over =
                self.turns.is_half() && !self.turns.has_begun() && !self.sending.has_more();
            if status.over {
                self.turns.give(now_ms, 0);
            }
            let least = match self.answer_coding {
                asked @ (Coding::Avoiding | Coding::SevenBit) if status.echo.is_some() => asked,
                _ => self.repairable_if(self.hears_damage),
            };
            self.write_frame(&Frame::Status(status), least, &mut coded);
            if self.last_statuses > 1 {
                self.last_statuses -= 1;
                self.receiving.say(now_ms);
            }
        } else if let Some(poll) = self.next_poll() {
            let again = self.sending.polls_unanswered() > POLLS_PLAIN;
            let least = if again { Coding::SevenBit } else { Coding::Plain };
            self.write_frame(&poll, least, &mut coded);
            self.turns.give(now_ms, self.sending.answer_ms(true));
        } else if let Some(data) = self.next_data() {
            let least = self.repairable_if(self.sending.repairs());
            self.write_frame(&data, least, &mut coded);
            self.sending.note_length(coded.len() - begun);
            self.turns.note_data(coded.len());
        } else {
            return false;
        }
        self.port.extend(coded);
        true
    }

    fn next_data(&mut self) -> Option<Frame> {
        let most = self.body_cells_max();
        let mut data = self.sending.poll_data(self.now_ms, most)?;
        if let (Frame::Data { ask, .. }, true) = (&mut data, self.turns.is_half()) {
            // The poll at the end of the burst asks.
            *ask = false;
        }
        Some(data)
    }

    /// The poll that is due; one ends every burst.
    fn next_poll(&mut self) -> Option<Frame> {
        let begun = self.turns.has_begun();
        if begun && (self.turns.is_used_up() || !self.sending.has_more()) {
            self.sending.poll_by(self.now_ms);
        } else if begun {
            return None;
        }
        self.sending.poll_poll(self.now_ms)
    }

    fn body_cells_max(&self) -> usize {
        let bytes = u64::from(self.settings.bits_per_s) * FRAME_MS / 10_000;
        let cells = usize::try_from(bytes).unwrap_or(usize::MAX) / CELL_BYTES;
        cells.clamp(SLOW_CELLS, BODY_CELLS_MAX)
    }

    fn write_frame(&self, frame: &Frame, least: Coding, coded: &mut Vec<u8>) {
        // A hello needs none.
        let key = self.opening.outgoing().unwrap_or(framing::Key::NONE);
        let coding = match self.coding() {
            Coding::Plain => least,
            asked => asked.max(least),
        };
        frame.encode(key, self.sending.base(), coding, coded);
        coded.push(0);
    }
}

/// Even a slow line sends so much at once: half of it would be overhead otherwise.
const SLOW_CELLS: usize = 2;
