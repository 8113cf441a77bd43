//! What is written: cut into cells, sent, and sent again when it is known to be lost.
//!
//! A line keeps the order. So whatever was sent before something that arrived, and did not arrive
//! itself, is lost: known after one round trip, without a timer. Only where nothing follows, a timer
//! asks: the answer to a poll is about all that was sent before it.
//!
//! Bytes are cut into cells when they are first sent, and keep their number. A frame carries as many
//! as suit the line at that moment: a long one that was lost on a bad line goes again in short ones.

use std::collections::VecDeque;

use super::{
    Settings,
    framing::{BODY_CELLS_MAX, CELL_BYTES, CELLS_MAX, Frame, Status},
    quality::Quality,
    trips::Trips,
};

/// A cell that is lost so often although it is sent in a short frame holds a byte that the line
/// swallows. Where one short frame in four is lost, that happens to one cell in a million.
const STUBBORN_LOSSES: u8 = 10;
const SHORT_CELLS: usize = 2;
/// Polls that follow each other so closely: on a bad line some are lost. Then twice as long each time.
const POLLS_CLOSE: u32 = 3;
/// Polls of which an answer may still come.
const POLLS_KEPT: usize = 16;
const POLL_EVERY_MAX_MS: u64 = 5_000;
/// Room is said in KiB.
const CELLS_PER_KIB: u64 = 1024 / CELL_BYTES as u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Unsent,
    Flying,
    Lost,
    Arrived,
}

#[derive(Debug)]
struct Cell {
    bytes: [u8; CELL_BYTES],
    length: usize,
    fate: Fate,
    losses: u8,
}

impl Cell {
    fn is_end(&self) -> bool {
        self.length == 0
    }
}

/// A frame of which nothing is known yet.
#[derive(Debug)]
struct Flight {
    order: u64,
    sent_ms: u64,
    first: u64,
    cells: usize,
    wire_bytes: u32,
    repairable: bool,
}

#[derive(Debug)]
struct Polled {
    number: u8,
    order: u64,
    sent_ms: u64,
}

/// One direction's near end.
#[derive(Debug)]
pub struct Sending {
    /// The number of the first cell that is not known to have arrived.
    base: u64,
    cells: VecDeque<Cell>,
    /// How many of those were sent at least once.
    begun: usize,
    lost: usize,
    flights: VecDeque<Flight>,
    flying_bytes: u64,
    /// Counts frames that a status can be about.
    order: u64,
    /// Cells below this have room at the other end.
    room_end: u64,
    quality: Quality,
    arrived_frames: u64,
    lost_frames: u64,
    stubborn: bool,
    ended: bool,
    bound_cells: usize,
    trips: Trips,
    poll_at: Option<u64>,
    polls_unanswered: u32,
    /// Polls without an answer, the last behind: the answer may be slower than the next poll, as long
    /// as nothing is known of the round trip.
    polled: VecDeque<Polled>,
    polls: u8,
}

impl Sending {
    /// Sends no more than `room_bytes` before it heard a status; a burst may always be on the way.
    pub fn new(settings: &Settings, room_bytes: usize, burst_bytes: Option<usize>) -> Self {
        Self {
            base: 0,
            cells: VecDeque::new(),
            begun: 0,
            lost: 0,
            flights: VecDeque::new(),
            flying_bytes: 0,
            order: 0,
            room_end: (room_bytes / CELL_BYTES) as u64,
            quality: Quality::default(),
            arrived_frames: 0,
            lost_frames: 0,
            stubborn: false,
            ended: false,
            bound_cells: (settings.sending_bytes / CELL_BYTES).max(1),
            trips: Trips::new(settings.bits_per_s, burst_bytes),
            poll_at: None,
            polls_unanswered: 0,
            polled: VecDeque::new(),
            polls: 0,
        }
    }

    /// Takes as much as there is room for.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && !self.ended {
            let last = self
                .cells
                .back_mut()
                .filter(|cell| cell.fate == Fate::Unsent && cell.length < CELL_BYTES);
            if let Some(cell) = last {
                let take = rest.len().min(CELL_BYTES - cell.length);
                cell.bytes[cell.length..][..take].copy_from_slice(&rest[..take]);
                cell.length += take;
                rest = &rest[take..];
            } else if self.cells.len() < self.bound_cells {
                self.push_cell();
            } else {
                break;
            }
        }
        // A cell that was begun for nothing would be taken for the end.
        if self.cells.back().is_some_and(Cell::is_end) && !self.ended {
            self.cells.pop_back();
        }
        bytes.len() - rest.len()
    }

    fn push_cell(&mut self) {
        let cell = Cell { bytes: [0; CELL_BYTES], length: 0, fate: Fate::Unsent, losses: 0 };
        self.cells.push_back(cell);
    }

    /// Nothing more is written: the end is a cell without bytes.
    pub fn end(&mut self) {
        if !self.ended {
            self.ended = true;
            self.push_cell();
        }
    }

    /// Nothing more is written.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// There is something that was never sent.
    pub fn has_unsent(&self) -> bool {
        self.begun < self.cells.len()
    }

    /// As [`Self::has_unsent`], in bytes; rather a few too many.
    pub fn unsent_bytes(&self) -> usize {
        (self.cells.len() - self.begun) * CELL_BYTES
    }

    /// Frames of data that arrived, and those that did not.
    pub fn fates(&self) -> (u64, u64) {
        (self.arrived_frames, self.lost_frames)
    }

    /// The last round trip that was seen.
    pub fn trip_ms(&self) -> Option<u64> {
        self.trips.trip_ms()
    }

    /// All that was written arrived, and its end did.
    pub fn is_done(&self) -> bool {
        self.ended && self.cells.is_empty()
    }

    /// Only of the end it is not known whether it arrived.
    pub fn is_all_but_done(&self) -> bool {
        self.ended && self.cells.len() == 1
    }

    /// Bytes that are held.
    pub fn held_bytes(&self) -> usize {
        self.cells.len() * CELL_BYTES
    }

    pub fn base(&self) -> u64 {
        self.base
    }

    pub fn next_timeout(&self) -> Option<u64> {
        self.poll_at
    }

    /// Polls in a row that nothing answered.
    pub fn polls_unanswered(&self) -> u32 {
        self.polls_unanswered
    }

    /// Something is on the way, or waits for room that only a status can tell of.
    pub fn waits_for_status(&self) -> bool {
        !self.flights.is_empty()
            || self.lost == 0 && self.begun < self.cells.len() && !self.has_room(self.begun)
    }

    /// Cells that a line swallows whatever happens were found since this was last asked.
    pub fn take_stubborn(&mut self) -> bool {
        std::mem::take(&mut self.stubborn)
    }

    /// A question was answered after so long.
    pub fn note_trip(&mut self, trip_ms: u64) {
        self.trips.note_trip(trip_ms);
    }

    /// Until the answer to a question is late; or until a status is, that comes by itself.
    pub fn answer_ms(&self, asked: bool) -> u64 {
        self.trips.answer_ms(asked, self.body_cells(BODY_CELLS_MAX) * CELL_BYTES)
    }

    fn body_cells(&self, most: usize) -> usize {
        self.quality.body_cells(u16::try_from(CELL_BYTES).unwrap_or(u16::MAX), most)
    }

    fn has_room(&self, at: usize) -> bool {
        let number = self.base + at as u64;
        let end_cells = u64::from(self.cells.get(at).is_some_and(Cell::is_end));
        number < self.room_end + end_cells && (at as u64) < CELLS_MAX - 1
    }

    /// The next frame of data: what was lost first, then what is new.
    pub fn poll_data(&mut self, now_ms: u64, body_cells_max: usize) -> Option<Frame> {
        if self.flying_bytes >= self.trips.window_bytes() {
            return None;
        }
        let (at, fate) = if self.lost > 0 {
            (self.cells.iter().position(|cell| cell.fate == Fate::Lost)?, Fate::Lost)
        } else {
            (self.begun, Fate::Unsent)
        };
        let most = self.body_cells(body_cells_max);
        let (mut body, mut count) = (Vec::new(), 0);
        while count < most && self.has_room(at + count) {
            let Some(cell) = self.cells.get_mut(at + count) else { break };
            if cell.fate != fate || cell.is_end() && count > 0 {
                break;
            }
            cell.fate = Fate::Flying;
            body.extend_from_slice(&cell.bytes[..cell.length]);
            count += 1;
            if cell.length < CELL_BYTES {
                break;
            }
        }
        if count == 0 {
            return None;
        }
        if fate == Fate::Lost {
            self.lost -= count;
        } else {
            self.begun += count;
        }
        self.order += 1;
        self.flights.push_back(Flight {
            order: self.order,
            sent_ms: now_ms,
            first: self.base + at as u64,
            cells: count,
            wire_bytes: 0,
            repairable: self.quality.repairs(),
        });
        let ask = self.lost == 0 && !(self.begun < self.cells.len() && self.has_room(self.begun));
        if ask || self.poll_at.is_none() {
            self.poll_at = Some(now_ms + self.answer_ms(ask));
        }
        Some(Frame::Data { number: self.base + at as u64, ask, body })
    }

    /// Whether data is to be written so that it can be repaired.
    pub fn repairs(&self) -> bool {
        self.quality.repairs()
    }

    /// How long the frame became that was given out last.
    pub fn note_length(&mut self, wire_bytes: usize) {
        if let Some(flight) = self.flights.back_mut() {
            flight.wire_bytes = u32::try_from(wire_bytes).unwrap_or(u32::MAX);
            self.flying_bytes += u64::from(flight.wire_bytes);
        }
    }

    /// There is data that may go now.
    pub fn has_more(&self) -> bool {
        let fits = self.flying_bytes < self.trips.window_bytes();
        fits && (self.lost > 0 || self.has_unsent() && self.has_room(self.begun))
    }

    /// A poll is due by then.
    pub fn poll_by(&mut self, at_ms: u64) {
        self.poll_at = Some(self.poll_at.map_or(at_ms, |at| at.min(at_ms)));
    }

    /// The poll that is due.
    pub fn poll_poll(&mut self, now_ms: u64) -> Option<Frame> {
        if self.poll_at.is_none_or(|at| now_ms < at) {
            return None;
        }
        if !self.waits_for_status() {
            self.poll_at = None;
            return None;
        }
        self.polls = self.polls.wrapping_add(1);
        self.order += 1;
        if self.polled.len() == POLLS_KEPT {
            self.polled.pop_front();
        }
        self.polled.push_back(Polled { number: self.polls, order: self.order, sent_ms: now_ms });
        self.polls_unanswered += 1;
        let answer_ms = self.answer_ms(true);
        let longer = answer_ms << self.polls_unanswered.saturating_sub(POLLS_CLOSE).min(8);
        self.poll_at = Some(now_ms + longer.min(POLL_EVERY_MAX_MS.max(answer_ms)));
        Some(Frame::Poll(self.polls))
    }

    /// What arrived, as the other end says. One that cannot be true is not believed.
    pub fn handle_status(&mut self, now_ms: u64, status: &Status) {
        let [.., high, low] = self.base.to_be_bytes();
        let moved = status.base_low.wrapping_sub(u16::from_be_bytes([high, low]));
        let moved = usize::from(moved);
        if moved > self.begun {
            return;
        }
        let base = self.base + moved as u64;
        let known_end = if status.more { base + 1 + status.map.len() as u64 } else { u64::MAX };
        let has_arrived = |number: u64| {
            let behind = number.checked_sub(base + 1).and_then(|at| usize::try_from(at).ok());
            number < base || behind.is_some_and(|at| status.map.get(at) == Some(&true))
        };
        self.room_end = self.room_end.max(base + u64::from(status.room_kib) * CELLS_PER_KIB);

        let echoed = self.polled.iter().position(|poll| status.echo == Some(poll.number));
        let echoed = echoed.and_then(|at| self.polled.drain(..=at).next_back());
        let (mut newest, mut newest_ms) = (0, None);
        if let Some(poll) = echoed {
            newest = poll.order;
            self.trips.note_trip(now_ms.saturating_sub(poll.sent_ms));
        }
        for flight in &self.flights {
            if flight.order > newest && has_arrived(flight.first) {
                (newest, newest_ms) = (flight.order, Some(flight.sent_ms));
            }
        }
        self.quality.note_repaired(status.repaired);
        self.settle_flights(newest, known_end, has_arrived);
        for cell in self.cells.drain(..moved) {
            self.lost -= usize::from(cell.fate == Fate::Lost);
        }
        self.base = base;
        self.begun -= moved;

        if let Some(sent_ms) = newest_ms {
            self.trips.note_delay(now_ms.saturating_sub(sent_ms));
        }
        self.polls_unanswered = 0;
        self.poll_at = self.waits_for_status().then(|| now_ms + self.answer_ms(false));
    }

    /// Of all flights up to `newest` it is known now whether they arrived.
    fn settle_flights(&mut self, newest: u64, known_end: u64, has_arrived: impl Fn(u64) -> bool) {
        self.quality.begin();
        let mut left = VecDeque::new();
        for flight in std::mem::take(&mut self.flights) {
            let unknown = flight.first + flight.cells as u64 > known_end;
            if flight.order > newest || unknown {
                left.push_back(flight);
                continue;
            }
            self.flying_bytes -= u64::from(flight.wire_bytes);
            if has_arrived(flight.first) {
                self.quality.note_arrived(flight.wire_bytes, flight.repairable);
                self.arrived_frames += 1;
            } else {
                self.quality.note_lost(flight.wire_bytes, flight.repairable);
                self.lost_frames += 1;
            }
            self.settle_cells(&flight, &has_arrived);
        }
        self.flights = left;
    }

    fn settle_cells(&mut self, flight: &Flight, has_arrived: impl Fn(u64) -> bool) {
        let short = flight.cells <= SHORT_CELLS;
        for number in flight.first..flight.first + flight.cells as u64 {
            let at = number.checked_sub(self.base).and_then(|at| usize::try_from(at).ok());
            let Some(cell) = at.and_then(|at| self.cells.get_mut(at)) else { continue };
            if has_arrived(number) {
                cell.fate = Fate::Arrived;
                continue;
            }
            cell.fate = Fate::Lost;
            self.lost += 1;
            cell.losses += u8::from(short);
            if cell.losses >= STUBBORN_LOSSES {
                cell.losses = 0;
                self.stubborn = true;
            }
        }
    }

    /// The other end is not the one to which all this was sent: nothing of it is on the way.
    pub fn begin_again(&mut self) {
        let flights = std::mem::take(&mut self.flights);
        for flight in &flights {
            self.settle_cells(flight, |_| false);
        }
        (self.flying_bytes, self.poll_at) = (0, None);
        self.polled.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sending(bytes: usize) -> Sending {
        let mut sending = Sending::new(&Settings::new(115_200), 8 << 10, None);
        assert_eq!(sending.write(&vec![7; bytes]), bytes);
        sending
    }

    /// The next frame of data: its first cell and how many.
    fn sent(sending: &mut Sending, now_ms: u64) -> Option<(u64, usize)> {
        match sending.poll_data(now_ms, 1)? {
            Frame::Data { number, body, .. } => {
                sending.note_length(body.len() + 7);
                Some((number, body.len().div_ceil(CELL_BYTES)))
            }
            _ => None,
        }
    }

    fn status(base_low: u16, map: &[bool]) -> Status {
        Status { base_low, room_kib: 255, map: map.to_vec(), ..Status::default() }
    }

    #[test]
    fn what_was_sent_before_something_that_arrived_is_lost_and_what_was_sent_after_is_not() {
        let mut end = sending(5 * CELL_BYTES);
        (0..5).for_each(|n| assert_eq!(sent(&mut end, n), Some((n, 1))));
        // 0 and 3 arrived; of 4 nothing is known.
        end.handle_status(20, &status(1, &[false, true]));
        assert_eq!(
            [sent(&mut end, 20), sent(&mut end, 20), sent(&mut end, 20)],
            [Some((1, 1)), Some((2, 1)), None]
        );
        // The second time 1 is lost again, and 4 was on its way.
        end.handle_status(40, &status(1, &[true, true, true]));
        assert_eq!((sent(&mut end, 40), sent(&mut end, 40)), (Some((1, 1)), None));
        end.handle_status(60, &status(5, &[]));
        assert_eq!((end.held_bytes(), end.next_timeout()), (0, None));
    }

    #[test]
    fn an_answer_that_is_slower_than_the_next_poll_counts() {
        let mut end = sending(CELL_BYTES);
        end.note_trip(10);
        assert!(sent(&mut end, 0).is_some());
        let (mut polls, mut now_ms) = (Vec::new(), 0);
        while polls.len() < 3 {
            now_ms += 1;
            polls.extend(match end.poll_poll(now_ms) {
                Some(Frame::Poll(number)) => Some(number),
                _ => None,
            });
        }
        end.handle_status(now_ms, &Status { echo: Some(polls[0]), ..status(0, &[]) });
        assert_eq!(sent(&mut end, now_ms), Some((0, 1)));
    }

    #[test]
    fn a_status_that_cannot_be_true_changes_nothing() {
        let mut end = sending(3 * CELL_BYTES);
        assert!(sent(&mut end, 0).is_some());
        for base_low in [2, 3, 9, u16::MAX] {
            end.handle_status(1, &status(base_low, &[true; 40]));
            assert_eq!((end.base(), end.held_bytes()), (0, 3 * CELL_BYTES));
        }
        end.handle_status(1, &status(0, &[true; 40]));
        assert_eq!((end.base(), sent(&mut end, 1)), (0, Some((1, 1))));
    }

    #[test]
    fn a_map_that_was_cut_off_says_nothing_of_what_is_behind_it() {
        let mut end = sending(12 * CELL_BYTES);
        (0..12).for_each(|n| assert_eq!(sent(&mut end, 0), Some((n, 1))));
        end.handle_status(9, &Status { more: true, ..status(0, &[true; 7]) });
        assert_eq!((sent(&mut end, 9), sent(&mut end, 9)), (Some((0, 1)), None));
    }

    #[test]
    fn a_cell_of_a_short_frame_that_never_arrives_is_stubborn() {
        let mut end = sending(2 * CELL_BYTES);
        assert_eq!(sent(&mut end, 0), Some((0, 1)));
        assert_eq!(sent(&mut end, 0), Some((1, 1)));
        end.handle_status(0, &status(0, &[true]));
        for n in 1..u8::MAX {
            assert!(!end.take_stubborn());
            assert_eq!(sent(&mut end, 0), Some((0, 1)));
            end.poll_by(0);
            assert_eq!(end.poll_poll(0), Some(Frame::Poll(n)));
            end.handle_status(0, &Status { echo: Some(n), ..status(0, &[true]) });
            if n == STUBBORN_LOSSES - 1 {
                break;
            }
        }
        assert!(end.take_stubborn());
    }
}
