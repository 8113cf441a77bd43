//! What came: put in order within bounds, and what is said about it.

use std::collections::VecDeque;

use super::framing::{CELL_BYTES, CELLS_MAX, Status};

/// Frames of data after which a status is sent in any case.
const FRAMES_PER_STATUS: u32 = 16;
const KIB: usize = 1024;

/// One direction's far end. Holds at most what it said that there is room for.
#[derive(Debug)]
pub struct Receiving {
    /// The number of the first cell that is missing.
    base: u64,
    /// From there on, what came out of order; the first is missing.
    early: VecDeque<Option<Vec<u8>>>,
    /// In order, for the program.
    ready: VecDeque<u8>,
    room_bytes: usize,
    /// The end of all that the other end writes came, behind everything else.
    has_ended: bool,
    status_at: Option<u64>,
    status_every_ms: u64,
    frames_unsaid: u32,
    echo: Option<u8>,
    /// Repaired bytes of which nothing was said yet.
    repaired: usize,
    /// What there was room for when it was last said.
    said_kib: usize,
}

impl Receiving {
    pub fn new(room_bytes: usize, status_every_ms: u64) -> Self {
        Self {
            base: 0,
            early: VecDeque::new(),
            ready: VecDeque::new(),
            room_bytes,
            has_ended: false,
            status_at: None,
            status_every_ms,
            frames_unsaid: 0,
            echo: None,
            repaired: 0,
            said_kib: room_bytes / KIB,
        }
    }

    pub fn base(&self) -> u64 {
        self.base
    }

    /// All came, its end included.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// All came, its end included, and was read.
    pub fn is_read(&self) -> bool {
        self.has_ended && self.ready.is_empty()
    }

    pub fn next_timeout(&self) -> Option<u64> {
        self.status_at
    }

    /// Bytes that are held, in order or not.
    pub fn held_bytes(&self) -> usize {
        self.ready.len() + self.early.iter().flatten().map(Vec::len).sum::<usize>()
    }

    /// Whole KiB that may come from the first missing cell on. Never takes back what it said: what
    /// is put in order moves the base as far as it takes room.
    fn room_kib(&self) -> usize {
        let room = self.room_bytes.saturating_sub(self.ready.len()).min(CELLS_MAX_BYTES);
        (room / KIB).min(usize::from(u8::MAX))
    }

    fn status_by(&mut self, at_ms: u64) {
        self.status_at = Some(self.status_at.map_or(at_ms, |due| due.min(at_ms)));
    }

    /// Cells from `number` on.
    pub fn handle_data(&mut self, now_ms: u64, number: u64, ask: bool, body: &[u8]) {
        let mut cells: Vec<&[u8]> = body.chunks(CELL_BYTES).collect();
        if cells.is_empty() {
            cells.push(&[]);
        }
        let room = (self.room_bytes.saturating_sub(self.ready.len())) / CELL_BYTES;
        for (nth, cell) in cells.into_iter().enumerate() {
            // The end needs no room.
            let within = |at: &usize| *at < room || cell.is_empty() && *at <= room;
            let at = number.saturating_add(nth as u64).checked_sub(self.base);
            let at = at.and_then(|at| usize::try_from(at).ok()).filter(within);
            let Some(at) = at.filter(|_| !self.has_ended) else { continue };
            if self.early.len() <= at {
                self.early.resize(at + 1, None);
            }
            self.early[at].get_or_insert_with(|| cell.to_vec());
        }
        while let (false, Some(Some(cell))) = (self.has_ended, self.early.front()) {
            self.has_ended = cell.is_empty();
            self.ready.extend(cell);
            self.early.pop_front();
            self.base += 1;
        }
        if self.has_ended {
            self.early = VecDeque::new();
        }
        self.frames_unsaid += 1;
        let at_once = ask || self.has_ended || self.frames_unsaid >= FRAMES_PER_STATUS;
        self.status_by(now_ms + if at_once { 0 } else { self.status_every_ms });
    }

    /// So many bytes of a frame with data were damaged and repaired.
    pub fn note_repaired(&mut self, bytes: usize) {
        self.repaired = self.repaired.saturating_add(bytes).min(usize::from(u8::MAX));
    }

    /// A status is wanted.
    pub fn handle_poll(&mut self, now_ms: u64, number: u8) {
        self.echo = Some(number);
        self.status_by(now_ms);
    }

    /// A status is due in any case, as after a hello that asks whether we are there.
    pub fn say(&mut self, now_ms: u64) {
        self.status_by(now_ms);
    }

    /// The status that is due.
    pub fn poll_status(&mut self, now_ms: u64) -> Option<Status> {
        if self.status_at.is_none_or(|at| now_ms < at) {
            return None;
        }
        self.status_at = None;
        self.frames_unsaid = 0;
        self.said_kib = self.room_kib();
        let [.., high, low] = self.base.to_be_bytes();
        Some(Status {
            base_low: u16::from_be_bytes([high, low]),
            room_kib: u8::try_from(self.said_kib).unwrap_or(u8::MAX),
            echo: self.echo.take(),
            map: self.early.iter().skip(1).map(Option::is_some).collect(),
            more: false,
            repaired: u8::try_from(std::mem::take(&mut self.repaired)).unwrap_or(u8::MAX),
            over: false,
        })
    }

    /// Gives the program what is in order. It is said at once when much room came of it, for the
    /// other end may be waiting.
    pub fn read(&mut self, now_ms: u64, out: &mut [u8]) -> usize {
        let bytes = out.len().min(self.ready.len());
        for (to, from) in out.iter_mut().zip(self.ready.drain(..bytes)) {
            *to = from;
        }
        let all = self.room_bytes / KIB;
        if self.said_kib < all / 2 && self.room_kib() >= self.said_kib + all / 4 && !self.has_ended
        {
            self.status_by(now_ms);
        }
        if self.ready.is_empty() {
            self.ready = VecDeque::new();
        }
        bytes
    }
}

/// What numbers reach.
#[allow(clippy::cast_possible_truncation, reason = "8,192 cells; try_from is not const")]
const CELLS_MAX_BYTES: usize = CELLS_MAX as usize * CELL_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(receiving: &mut Receiving) -> Vec<u8> {
        let mut out = vec![0; 100_000];
        let bytes = receiving.read(0, &mut out);
        out.truncate(bytes);
        out
    }

    #[test]
    fn what_comes_out_of_order_is_put_in_order_and_named() {
        let mut end = Receiving::new(64 << 10, 100);
        end.handle_data(0, 2, false, &[2; 64]);
        end.handle_data(5, 5, false, &[5; 7]);
        assert_eq!(end.poll_status(99), None);
        let status = end.poll_status(100).unwrap();
        assert_eq!((status.base_low, status.room_kib, status.echo), (0, 64, None));
        assert_eq!(status.map, [false, true, true, false, true]);
        assert!(read_all(&mut end).is_empty());
        end.handle_data(6, 0, false, &[0; 64]);
        end.handle_data(6, 4, true, &[4; 32]);
        end.handle_data(6, 4, true, &[9; 32]);
        assert_eq!(end.poll_status(6).unwrap().base_low, 6);
        assert_eq!(read_all(&mut end), [&[0; 64][..], &[2; 64], &[4; 32], &[5; 7]].concat());
    }

    #[test]
    fn no_more_is_held_than_there_is_room_for_whatever_comes() {
        let mut end = Receiving::new(2048, 100);
        for number in (0..500).rev().chain(0..500).chain([u64::MAX, u64::MAX - 1]) {
            end.handle_data(0, number, false, &[7; 320]);
            assert!(end.held_bytes() <= 2048 && end.early.len() <= 64);
        }
        assert_eq!(end.poll_status(0).unwrap().room_kib, 0);
        assert_eq!(end.poll_status(9999), None);
        assert_eq!(read_all(&mut end).len(), 2048);
        assert_eq!(end.poll_status(0).unwrap().room_kib, 2, "room again is said at once");
    }

    #[test]
    fn a_status_is_due_after_a_while_after_sixteen_frames_and_when_asked_for() {
        let mut end = Receiving::new(64 << 10, 100);
        (0..15).for_each(|n| end.handle_data(n, n, false, &[1; 32]));
        assert_eq!((end.next_timeout(), end.poll_status(99)), (Some(100), None));
        end.handle_data(15, 15, false, &[1; 32]);
        assert!(end.poll_status(15).is_some());
        end.handle_poll(20, 7);
        assert_eq!(end.poll_status(20).unwrap().echo, Some(7));
        assert_eq!((end.poll_status(500), end.next_timeout()), (None, None));
    }

    #[test]
    fn nothing_comes_behind_the_end() {
        let mut end = Receiving::new(64 << 10, 100);
        end.handle_data(0, 1, false, &[]);
        end.handle_data(0, 2, false, &[9; 32]);
        assert!(!end.has_ended());
        end.handle_data(0, 0, false, &[1; 3]);
        end.handle_data(0, 2, false, &[9; 32]);
        assert!(end.has_ended() && !end.is_read());
        assert_eq!(end.poll_status(0).unwrap().base_low, 2);
        assert_eq!(read_all(&mut end), [1; 3]);
        assert!(end.is_read());
    }
}
