//! How much is handed to a carriage: enough to keep it busy, so little that urgent mail passes.
//!
//! What lies in a carriage cannot be overtaken. So it holds at most half a second of what the link
//! moves, and one chunk a quarter. The link's rate is what its transport says, or what is measured:
//! bytes that left the carriage while there was always something to send.

use super::limits::{CHUNK_MAX, CHUNK_MIN, DEBT_MAX};

/// Assumed until something is known: 1 Mbit/s, chunks of 31 KiB. A narrower link says so itself.
const START_BPS: u64 = 1_000_000;
/// Nothing is slower: below this the shortest chunk is all there is.
const RATE_MIN_BPS: u64 = 100;
/// A sample spans at least this: what stands behind the carriage (a kernel's buffer) swallows some
/// 64 KiB at once, which says nothing about the link.
const SAMPLE_MS: u64 = 250;
/// After so long any sample counts, and counts fully.
const SAMPLE_LONG_MS: u64 = 1000;
/// A carriage that was empty for longer had nothing to do; a shorter gap is that of a fast link.
const GAP_MS: u64 = 50;
/// Smaller samples tell about scheduling, not about the link.
const SAMPLE_MIN_BYTES: u64 = 4 << 10;

/// The sender's account of one carriage.
#[derive(Debug)]
pub(crate) struct Pace {
    room_bytes: u64,
    in_carriage: u64,
    rate_bps: u64,
    since_ms: u64,
    /// When bytes last left.
    left_ms: u64,
    left_bytes: u64,
    /// Something had to wait during this sample.
    pressed: bool,
}

impl Pace {
    pub fn new(room_bytes: u64, rate_bps: Option<u64>) -> Self {
        Self {
            room_bytes: room_bytes.max(CHUNK_MIN as u64),
            in_carriage: 0,
            rate_bps: rate_bps.unwrap_or(START_BPS).max(RATE_MIN_BPS),
            since_ms: 0,
            left_ms: 0,
            left_bytes: 0,
            pressed: false,
        }
    }

    /// Bytes that one chunk may have.
    pub fn chunk_bytes(&self, both_max: usize) -> usize {
        let quarter = usize::try_from(self.rate_bps / 32).unwrap_or(CHUNK_MAX);
        let room = usize::try_from(self.room_bytes / 2).unwrap_or(CHUNK_MAX);
        quarter.min(room).min(both_max).clamp(CHUNK_MIN, CHUNK_MAX)
    }

    /// Whether a unit of so many bytes may go now; one may always go into an empty carriage.
    pub fn may_send(&mut self, bytes: usize) -> bool {
        let most = self.room_bytes.min(self.rate_bps / 16);
        let may = self.in_carriage == 0 || self.in_carriage + bytes as u64 <= most;
        self.pressed |= !may;
        may
    }

    /// A unit was given to the carriage.
    pub fn sent(&mut self, bytes: usize, now_ms: u64) {
        if self.in_carriage == 0 && now_ms.saturating_sub(self.left_ms) > GAP_MS {
            (self.since_ms, self.left_bytes, self.pressed) = (now_ms, 0, false);
        }
        self.in_carriage += bytes as u64;
    }

    /// Bytes have left the carriage.
    pub fn left(&mut self, bytes: u64, now_ms: u64) {
        // A shell that counts wrongly must not stop the link: no more leaves than was there.
        let bytes = bytes.min(self.in_carriage);
        self.in_carriage -= bytes;
        self.left_bytes += bytes;
        self.left_ms = now_ms;
        let elapsed = now_ms.saturating_sub(self.since_ms);
        let half = self.room_bytes.min(self.rate_bps / 16) / 2;
        let much = self.left_bytes >= SAMPLE_MIN_BYTES.min(half);
        if elapsed < SAMPLE_MS || elapsed < SAMPLE_LONG_MS && !much {
            return;
        }
        let sample = self.left_bytes.saturating_mul(8000) / elapsed.max(1);
        if self.pressed {
            // Up by half of the way. Down the further the longer it took: a short pause is likelier
            // than a slower wire.
            self.rate_bps = if sample > self.rate_bps {
                self.rate_bps + (sample - self.rate_bps) / 2
            } else {
                let part = elapsed.min(SAMPLE_LONG_MS);
                self.rate_bps - (self.rate_bps - sample) / SAMPLE_LONG_MS * part
            }
            .max(RATE_MIN_BPS);
        }
        (self.since_ms, self.left_bytes, self.pressed) = (now_ms, 0, false);
    }

    /// Whether the peer has stopped reading.
    pub fn is_stuck(&self) -> bool {
        self.in_carriage > self.room_bytes + DEBT_MAX
    }

    /// The rate that is reckoned with.
    pub fn rate_bps(&self) -> u64 {
        self.rate_bps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends all it may over a link of that rate, told every 10 ms; the rate it believes then.
    fn measured(rate_bps: u64, for_ms: u64) -> Pace {
        let mut pace = Pace::new(8 << 20, None);
        let mut waiting = 0;
        for now_ms in (0..for_ms).step_by(10) {
            loop {
                let chunk = pace.chunk_bytes(CHUNK_MAX);
                if !pace.may_send(chunk) {
                    break;
                }
                pace.sent(chunk, now_ms);
                waiting += chunk as u64;
            }
            let left = waiting.min(rate_bps / 800);
            waiting -= left;
            pace.left(left, now_ms + 10);
        }
        pace
    }

    #[test]
    fn finds_the_rate_of_fast_and_slow_links() {
        for rate in [64_000, 1_000_000, 20_000_000, 300_000_000] {
            let found = measured(rate, 20_000).rate_bps();
            assert!((rate / 2..=rate * 2).contains(&found), "{rate} was taken for {found}");
        }
    }

    #[test]
    fn a_buffer_behind_the_carriage_is_not_taken_for_a_fast_link() {
        const BUFFER: u64 = 64 << 10;
        const BYTES_PER_MS: u64 = 125;
        let mut pace = Pace::new(1 << 20, None);
        let (mut waiting, mut buffered, mut highest) = (std::collections::VecDeque::new(), 0, 0);
        for now_ms in 0..20_000 {
            // A second's pause, after which the buffer is empty again.
            let busy = !(8000..9000).contains(&now_ms);
            let chunk = pace.chunk_bytes(CHUNK_MAX);
            while busy && pace.may_send(chunk) {
                pace.sent(chunk, now_ms);
                waiting.push_back((chunk as u64, chunk as u64));
            }
            buffered -= buffered.min(BYTES_PER_MS);
            // As a task that writes does: it tells of a unit when the last byte of it was taken.
            while let Some((unit, left)) = waiting.front_mut() {
                let taken = (*left).min(BUFFER - buffered);
                (buffered, *left) = (buffered + taken, *left - taken);
                if *left > 0 {
                    break;
                }
                pace.left(*unit, now_ms);
                waiting.pop_front();
            }
            highest = highest.max(pace.rate_bps());
        }
        assert!(highest < 4_000_000, "1 Mbit/s was taken for {highest}");
        assert!((500_000..2_000_000).contains(&pace.rate_bps()), "{}", pace.rate_bps());
    }

    #[test]
    fn a_slow_link_gets_small_chunks_and_half_a_second_of_them() {
        let mut pace = Pace::new(8 << 20, Some(9600));
        assert_eq!(pace.chunk_bytes(CHUNK_MAX), CHUNK_MIN);
        assert!(pace.may_send(512));
        pace.sent(512, 0);
        assert!(!pace.may_send(512), "two chunks are more than half a second");
        pace.left(512, 430);
        assert!(pace.may_send(512));
    }

    #[test]
    fn a_lone_small_unit_says_nothing_about_the_rate() {
        let mut pace = Pace::new(1 << 20, None);
        pace.sent(60, 0);
        pace.left(60, 1000);
        assert_eq!(pace.rate_bps(), START_BPS);
    }
}
