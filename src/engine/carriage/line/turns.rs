//! Who may speak where only one can be heard at a time.
//!
//! An end speaks in bursts. The last frame of a burst is a poll or a status that says so: it gives the
//! turn away. If that is lost, or nobody spoke for a while, whoever has something to say begins, after
//! a time that chance has a part in.

/// Whether both ends can be heard at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplex {
    /// A wire for each direction.
    Full,
    /// One channel: a radio that needs this long to change between sending and hearing.
    Half {
        /// In milliseconds.
        turn_ms: u64,
    },
}

/// A burst: each costs two turns and a status.
const BURST_MS: u64 = 2_000;
/// So many times as long it may be where the other had nothing to say at its last turn.
const ALONE: usize = 2;
/// Beyond what the line takes, before a silence means that nobody speaks.
const PATIENCE_MS: u64 = 50;

/// When an end may speak.
#[derive(Debug)]
pub struct Turns {
    turn_ms: Option<u64>,
    /// Not before this.
    from_ms: u64,
    /// The longest frame takes so long.
    frame_ms: u64,
    burst_bytes: usize,
    burst_max: usize,
    /// The other gave back the last turn that it was given.
    is_alone: bool,
    jitter: u64,
}

impl Turns {
    pub fn new(duplex: Duplex, bits_per_s: u32, random: [u8; 16]) -> Self {
        let (turn_ms, bits_per_s) = match duplex {
            Duplex::Full => (None, bits_per_s),
            Duplex::Half { turn_ms } => (Some(turn_ms), bits_per_s),
        };
        let bits_per_s = u64::from(bits_per_s).max(1);
        let [.., last] = random;
        Self {
            turn_ms,
            from_ms: 0,
            frame_ms: (11_000_000 / bits_per_s).min(1_000),
            burst_bytes: 0,
            burst_max: usize::try_from(BURST_MS * bits_per_s / 10_000)
                .unwrap_or(usize::MAX / ALONE),
            is_alone: false,
            jitter: u64::from(last),
        }
    }

    pub fn is_half(&self) -> bool {
        self.turn_ms.is_some()
    }

    /// Bytes of the longest burst, if there are bursts.
    pub fn burst_max(&self) -> Option<usize> {
        self.turn_ms.map(|_| self.burst_max * ALONE)
    }

    /// Not before then may anything be said that is due.
    pub fn not_before_ms(&self) -> u64 {
        if self.is_half() { self.from_ms } else { 0 }
    }

    pub fn may_speak(&self, now_ms: u64) -> bool {
        now_ms >= self.not_before_ms()
    }

    /// Data was said in this burst.
    pub fn has_begun(&self) -> bool {
        self.is_half() && self.burst_bytes > 0
    }

    pub fn is_used_up(&self) -> bool {
        let most = if self.is_alone { self.burst_max * ALONE } else { self.burst_max };
        self.is_half() && self.burst_bytes >= most
    }

    pub fn note_data(&mut self, bytes: usize) {
        self.burst_bytes += bytes;
    }

    /// The turn is the other's. It has so long to begin.
    pub fn give(&mut self, now_ms: u64, answer_ms: u64) {
        self.burst_bytes = 0;
        self.jitter = (self.jitter * 5 + 3) % 256;
        let turns_ms = 2 * self.turn_ms.unwrap_or(0);
        self.from_ms = now_ms + turns_ms + answer_ms + self.jitter * self.frame_ms.max(20) / 64;
    }

    /// The other speaks, and may go on.
    pub fn hear(&mut self, now_ms: u64) {
        let silence_ms = self.frame_ms + self.turn_ms.unwrap_or(0) + PATIENCE_MS;
        self.from_ms = self.from_ms.max(now_ms + silence_ms);
    }

    /// The other gave the turn; `at_once` if it had nothing to say in it.
    pub fn take(&mut self, now_ms: u64, at_once: bool) {
        (self.burst_bytes, self.is_alone) = (0, at_once);
        self.from_ms = now_ms + self.turn_ms.unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_given_taken_and_expires() {
        let mut turns = Turns::new(Duplex::Half { turn_ms: 20 }, 9600, [7; 16]);
        assert!(turns.may_speak(0) && !turns.has_begun());
        turns.note_data(1919);
        assert!(turns.has_begun() && !turns.is_used_up());
        turns.note_data(1);
        assert!(turns.is_used_up());
        turns.give(1000, 100);
        assert!(!turns.may_speak(1140) && turns.may_speak(10_000) && !turns.has_begun());
        turns.hear(1100);
        assert!(!turns.may_speak(1100 + 1000));
        turns.take(1200, false);
        assert!(!turns.may_speak(1219) && turns.may_speak(1220));
    }

    #[test]
    fn a_burst_may_be_longer_where_the_other_has_nothing_to_say() {
        let mut turns = Turns::new(Duplex::Half { turn_ms: 20 }, 9600, [7; 16]);
        for (at_once, most) in [(true, 3840), (false, 1920)] {
            turns.take(0, at_once);
            turns.note_data(most - 1);
            assert!(!turns.is_used_up());
            turns.note_data(1);
            assert!(turns.is_used_up());
        }
        assert_eq!(turns.burst_max(), Some(3840));
    }

    #[test]
    fn where_both_are_heard_everybody_may_always_speak() {
        let mut turns = Turns::new(Duplex::Full, 9600, [7; 16]);
        turns.give(1000, 100);
        turns.hear(1000);
        turns.note_data(1 << 20);
        assert!(turns.may_speak(1000) && !turns.is_used_up() && !turns.has_begun());
    }
}
