//! How long things take on the line: when an answer is late, and how much may be on the way.

/// Before a round trip was seen.
const DELAY_FIRST_MS: u64 = 1_000;
/// A longer one was a cut.
const DELAY_MAX_MS: u64 = 20_000;
/// Beyond a round trip until an answer is late, for ends that look at their ports now and then.
const PATIENCE_MS: u64 = 50;
/// On the way at least, and at most: what a cut costs, and what is remembered of it.
const WINDOW_MIN: u64 = 4 << 10;
const WINDOW_MAX: u64 = 256 << 10;
/// What else a round trip may meet: a status that waits, and frames before it.
const WINDOW_SLACK_MS: u64 = 250;

/// Round trips that were seen, and what follows from them.
#[derive(Debug)]
pub struct Trips {
    bits_per_s: u64,
    window_min: u64,
    /// From a frame to the status that names it.
    delay_ms: Option<u64>,
    /// From a question to its answer.
    trip_ms: Option<u64>,
}

impl Trips {
    /// A burst may always be on the way, where there are bursts.
    pub fn new(bits_per_s: u32, burst_bytes: Option<usize>) -> Self {
        Self {
            bits_per_s: u64::from(bits_per_s).max(1),
            window_min: burst_bytes.map_or(WINDOW_MIN, |bytes| WINDOW_MIN + bytes as u64),
            delay_ms: None,
            trip_ms: None,
        }
    }

    /// The last round trip that was seen.
    pub fn trip_ms(&self) -> Option<u64> {
        self.trip_ms.or(self.delay_ms)
    }

    /// A question was answered after so long.
    pub fn note_trip(&mut self, trip_ms: u64) {
        self.trip_ms = Some(trip_ms.min(DELAY_MAX_MS));
        self.note_delay(trip_ms);
    }

    /// A status named a frame after so long.
    pub fn note_delay(&mut self, delay_ms: u64) {
        let delay_ms = delay_ms.min(DELAY_MAX_MS);
        let before = self.delay_ms.unwrap_or(delay_ms);
        // Up at once, down slowly: too small a window leaves a line idle.
        self.delay_ms = Some(delay_ms.max(before - before.saturating_sub(delay_ms) / 8));
    }

    /// Bytes that may be on the way.
    pub fn window_bytes(&self) -> u64 {
        let ms = self.delay_ms.unwrap_or(DELAY_FIRST_MS) * 5 / 4 + WINDOW_SLACK_MS;
        (ms * self.bits_per_s / 10_000).max(self.window_min).min(WINDOW_MAX)
    }

    /// Until the answer to a question is late, where frames are so long; or until a status is, that
    /// comes by itself.
    pub fn answer_ms(&self, asked: bool, frame_bytes: usize) -> u64 {
        let trip_ms = if asked { self.trip_ms.or(self.delay_ms) } else { self.delay_ms };
        let frame_ms = frame_bytes as u64 * 10_000 / self.bits_per_s;
        trip_ms.unwrap_or(DELAY_FIRST_MS) * 5 / 4 + PATIENCE_MS + 2 * frame_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_grows_with_the_line_and_the_way_and_stays_within_bounds() {
        let window = |bits_per_s, delay_ms| {
            let mut trips = Trips::new(bits_per_s, None);
            trips.note_delay(delay_ms);
            trips.window_bytes()
        };
        assert_eq!(window(115_200, 700), 1_125 * 115_200 / 10_000);
        assert_eq!(window(9_600, 0), WINDOW_MIN);
        assert_eq!(window(u32::MAX, u64::MAX), WINDOW_MAX);
        assert!(Trips::new(9_600, Some(1_920)).window_bytes() >= 1_920);
    }

    #[test]
    fn a_longer_way_counts_at_once_and_a_shorter_one_in_time() {
        let mut trips = Trips::new(115_200, None);
        trips.note_trip(10);
        trips.note_trip(600);
        assert_eq!(trips.answer_ms(true, 0), 600 * 5 / 4 + PATIENCE_MS);
        trips.note_trip(10);
        assert!(trips.answer_ms(true, 0) < 100 && trips.answer_ms(false, 0) > 600);
        (0..60).for_each(|_| trips.note_delay(10));
        assert!(trips.answer_ms(false, 0) < 100);
    }
}
