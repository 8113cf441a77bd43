//! How often the line damages a byte, and how long a body is best then.
//!
//! A body of `n` bytes among `h` others arrives with probability `exp(-e (n + h))` where a byte is
//! damaged with probability `e`. What arrives for each byte sent is most for
//! `n = (sqrt(h² + 4 h / e) - h) / 2`. `e` is losses over bytes at risk. Of a frame that was lost
//! only the bytes before the first damaged one were at risk, as for whatever dies once.

/// Bytes around a body that go down with it: delimiter, code, head, checksum.
const AROUND: f64 = 8.0;
/// With these numbers a line begins as if every 4,000th byte were damaged, which is soon outvoted:
/// bodies of 175 bytes, 350 after the first 3,000 bytes that arrive.
const LOSSES_FIRST: f64 = 0.25;
const AT_RISK_FIRST: f64 = 1_000.0;
/// More than so many losses are not remembered: they give the rate to a quarter, which moves the
/// best length by an eighth and the yield by far less than a percent.
const LOSSES_MAX: f64 = 16.0;
/// Nor more bytes without a loss, or a line that goes bad would be noticed late.
const AT_RISK_MAX: f64 = 65_536.0;
/// Losses of one status that count: a cut loses all that was on the way, and says little of bytes.
const TOGETHER_MAX: u32 = 8;
/// Beyond this a body cannot help any more.
const RATE_MAX: f64 = 0.05;

/// An estimate that follows the line.
#[derive(Debug)]
pub struct Quality {
    losses: f64,
    at_risk: f64,
    together: u32,
}

impl Default for Quality {
    fn default() -> Self {
        Self { losses: LOSSES_FIRST, at_risk: AT_RISK_FIRST, together: 0 }
    }
}

impl Quality {
    /// The fates of several frames become known at once.
    pub fn begin(&mut self) {
        self.together = 0;
    }

    /// A frame of so many bytes arrived.
    pub fn note_arrived(&mut self, bytes: u32) {
        self.at_risk += f64::from(bytes);
        if self.at_risk > AT_RISK_MAX {
            self.fade(AT_RISK_MAX / self.at_risk);
        }
    }

    /// A frame of so many bytes did not.
    pub fn note_lost(&mut self, bytes: u32) {
        self.together += 1;
        if self.together > TOGETHER_MAX {
            return;
        }
        let (rate, bytes) = (self.rate(), f64::from(bytes));
        // The mean of an exponential distribution that is cut off at the frame's end.
        let until = 1.0 / rate - bytes / (rate * bytes).exp_m1();
        self.losses += 1.0;
        self.at_risk += until.clamp(1.0, bytes.max(1.0));
        if self.losses > LOSSES_MAX {
            self.fade(0.5);
        }
    }

    fn fade(&mut self, factor: f64) {
        self.losses *= factor;
        self.at_risk *= factor;
    }

    fn rate(&self) -> f64 {
        (self.losses / self.at_risk).min(RATE_MAX)
    }

    /// The best length of a body, in whole cells, at least one and at most `most`.
    pub fn body_cells(&self, cell_bytes: u16, most: usize) -> usize {
        let best = ((AROUND * AROUND + 4.0 * AROUND / self.rate()).sqrt() - AROUND) / 2.0;
        (1..most)
            .take_while(|cells| (cells_f64(*cells) + 0.5) * f64::from(cell_bytes) < best)
            .count()
            + 1
    }
}

fn cells_f64(cells: usize) -> f64 {
    u32::try_from(cells).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of the best length over a line with that rate, each lost in its turn.
    fn settled(rate: f64, mut quality: Quality, bytes: u32) -> usize {
        let (mut sent, mut debt) = (0, 0.0);
        while sent < bytes {
            let length = u32::try_from(quality.body_cells(32, 32) * 32 + 8).unwrap();
            quality.begin();
            debt += 1.0 - (-rate * f64::from(length)).exp();
            if debt >= 1.0 {
                debt -= 1.0;
                quality.note_lost(length);
            } else {
                quality.note_arrived(length);
            }
            sent += length;
        }
        quality.body_cells(32, 32) * 32
    }

    #[test]
    fn a_body_gets_the_length_that_is_best_for_the_line() {
        for (bit_rate, shortest, longest) in
            [(1e-8, 1024, 1024), (1e-5, 224, 416), (1e-4, 64, 128), (1e-3, 32, 32)]
        {
            let body = settled(8.0 * bit_rate, Quality::default(), 150_000);
            assert!((shortest..=longest).contains(&body), "{bit_rate}: {body}");
        }
    }

    #[test]
    fn a_line_that_goes_bad_is_noticed_within_some_ten_kilobytes_and_so_is_one_that_recovers() {
        let mut quality = Quality::default();
        (0..1000).for_each(|_| quality.note_arrived(1000));
        assert_eq!(quality.body_cells(32, 32), 32);
        assert!(settled(8e-4, quality, 30_000) <= 192);
        let mut quality = Quality::default();
        for _ in 0..100 {
            quality.begin();
            quality.note_lost(40);
        }
        assert_eq!(quality.body_cells(32, 32), 1);
        (0..10_000).for_each(|_| quality.note_arrived(40));
        assert!(quality.body_cells(32, 32) >= 20);
    }
}
