//! How often the line damages a byte, and how long a body is best then.
//!
//! A body of `n` bytes among `h` others arrives with probability `exp(-e (n + h))` where a byte is
//! damaged with probability `e`. What arrives for each byte sent is most for
//! `n = (sqrt(h² + 4 h / e) - h) / 2`. `e` is losses over bytes at risk. Of a frame that was lost
//! only the bytes before the first damaged one were at risk, as for whatever dies once.
//!
//! From some rate on frames are written so that they can be repaired, which takes a fifteenth and wins
//! more. Then the other end says how many bytes it repaired, and so whether the line is good again.

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

/// Damaged bytes of all from which on repairing carries more: every 27,000th bit. The best bodies
/// carry 91.6 % there without it, 92 % with it.
const REPAIR_FROM: f64 = 3e-4;
/// And below which it is given up again.
const REPAIR_UNTIL: f64 = 1.5e-4;
/// Losses that have to be remembered for it, beside those that a line begins with: one is chance.
const REPAIR_LOSSES: f64 = 3.0;
/// Nothing is said of a line that is repaired before so many bytes came, and no more than twice as many
/// are remembered: from one damaged bit in 1,000 to none it takes six halvings.
const REPAIR_AT_RISK_MIN: f64 = 16_384.0;
/// What a lost frame that could have been repaired had at least, in one of its blocks.
const REPAIR_BEYOND: f64 = 9.0;
/// Bytes around a body that can be repaired, in one block.
const REPAIR_AROUND: f64 = 25.0;
/// Cells of bodies that fill one to four blocks: between them a block would say little.
const REPAIR_CELLS: [usize; 4] = [7, 14, 22, 29];

/// An estimate that follows the line.
#[derive(Debug)]
pub struct Quality {
    losses: f64,
    at_risk: f64,
    together: u32,
    repairing: Option<Repairing>,
}

/// What is known of a line while its frames are repaired.
#[derive(Debug)]
struct Repairing {
    damaged: f64,
    at_risk: f64,
}

impl Default for Quality {
    fn default() -> Self {
        Self { losses: LOSSES_FIRST, at_risk: AT_RISK_FIRST, together: 0, repairing: None }
    }
}

impl Quality {
    /// The fates of several frames become known at once.
    pub fn begin(&mut self) {
        self.together = 0;
    }

    /// Whether frames are to be written so that they can be repaired.
    pub fn repairs(&self) -> bool {
        self.repairing.is_some()
    }

    /// So many bytes were damaged and repaired.
    pub fn note_repaired(&mut self, bytes: u8) {
        if let Some(repairing) = &mut self.repairing {
            repairing.damaged += f64::from(bytes);
        }
    }

    /// A frame of so many bytes arrived. One that was written otherwise than frames are now says
    /// nothing.
    pub fn note_arrived(&mut self, bytes: u32, repairable: bool) {
        if repairable != self.repairs() {
            return;
        }
        self.look_at_repairs(f64::from(bytes));
        self.at_risk += f64::from(bytes);
        if self.at_risk > AT_RISK_MAX {
            self.fade(AT_RISK_MAX / self.at_risk);
        }
    }

    /// A frame of so many bytes did not.
    pub fn note_lost(&mut self, bytes: u32, repairable: bool) {
        self.together += 1;
        if self.together > TOGETHER_MAX || repairable != self.repairs() {
            return;
        }
        if let Some(repairing) = &mut self.repairing {
            repairing.damaged += REPAIR_BEYOND;
            repairing.at_risk += f64::from(bytes);
        }
        let (rate, bytes) = (self.rate(), f64::from(bytes));
        // The mean of an exponential distribution that is cut off at the frame's end.
        let until = 1.0 / rate - bytes / (rate * bytes).exp_m1();
        self.losses += 1.0;
        self.at_risk += until.clamp(1.0, bytes.max(1.0));
        if self.losses > LOSSES_MAX {
            self.fade(0.5);
        }
        if !self.repairs() && self.losses >= REPAIR_LOSSES && self.rate() > REPAIR_FROM {
            self.repairing =
                Some(Repairing { damaged: self.rate() * AT_RISK_FIRST, at_risk: AT_RISK_FIRST });
            // Of frames that are repaired nothing is known; most arrive.
            (self.losses, self.at_risk) = (LOSSES_FIRST, REPAIR_AT_RISK_MIN);
        }
    }

    fn look_at_repairs(&mut self, bytes: f64) {
        let Some(repairing) = &mut self.repairing else { return };
        repairing.at_risk += bytes;
        if repairing.at_risk > 2.0 * REPAIR_AT_RISK_MIN {
            repairing.damaged /= 2.0;
            repairing.at_risk /= 2.0;
        }
        let rate = repairing.damaged / repairing.at_risk;
        if repairing.at_risk >= REPAIR_AT_RISK_MIN && rate < REPAIR_UNTIL {
            // What was damaged was so before, mostly: the line is taken for better than that, and
            // losses soon outvote it where it is not.
            (self.losses, self.at_risk) = (LOSSES_FIRST, REPAIR_AT_RISK_MIN);
            self.repairing = None;
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
        let around = if self.repairs() { REPAIR_AROUND } else { AROUND };
        let best = ((around * around + 4.0 * around / self.rate()).sqrt() - around) / 2.0;
        let cells = (1..most)
            .take_while(|cells| (cells_f64(*cells) + 0.5) * f64::from(cell_bytes) < best)
            .count()
            + 1;
        let whole = REPAIR_CELLS.into_iter().rfind(|whole| *whole <= cells);
        whole.filter(|_| self.repairs()).unwrap_or(cells)
    }
}

fn cells_f64(cells: usize) -> f64 {
    u32::try_from(cells).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of the best length over a line with that rate, each lost in its turn; none that can be
    /// repaired is, but for its damage.
    fn settled(rate: f64, mut quality: Quality, bytes: u32) -> Quality {
        let (mut sent, mut debt, mut damage) = (0, 0.0, 0.0);
        while sent < bytes {
            let length = u32::try_from(quality.body_cells(32, 32) * 32 + 8).unwrap();
            let repairs = quality.repairs();
            quality.begin();
            sent += length;
            if repairs {
                damage += rate * f64::from(length);
                let whole = (0..255).rfind(|whole| f64::from(*whole) <= damage).unwrap();
                damage -= f64::from(whole);
                quality.note_repaired(whole);
                quality.note_arrived(length, true);
                continue;
            }
            debt += 1.0 - (-rate * f64::from(length)).exp();
            if debt >= 1.0 {
                debt -= 1.0;
                quality.note_lost(length, false);
            } else {
                quality.note_arrived(length, false);
            }
        }
        quality
    }

    #[test]
    fn a_body_gets_the_length_that_is_best_for_the_line() {
        for (bit_rate, shortest, longest) in [(1e-8, 1024, 1024), (1e-5, 224, 416)] {
            let quality = settled(8.0 * bit_rate, Quality::default(), 150_000);
            let body = quality.body_cells(32, 32) * 32;
            assert!((shortest..=longest).contains(&body), "{bit_rate}: {body}");
            assert!(!quality.repairs(), "{bit_rate}");
        }
    }

    #[test]
    fn a_bad_line_is_repaired_until_it_is_good_again() {
        for bit_rate in [5e-5, 1e-4, 1e-3] {
            let quality = settled(8.0 * bit_rate, Quality::default(), 30_000);
            assert!(quality.repairs(), "{bit_rate}");
            assert_eq!(quality.body_cells(32, 32), 29);
            assert_eq!(quality.body_cells(32, 15), 14, "as many whole blocks as there is room for");
            let quality = settled(8.0 * bit_rate, quality, 200_000);
            assert!(quality.repairs(), "{bit_rate}");
            let quality = settled(8.0 * 1e-6, quality, 150_000);
            assert!(!quality.repairs(), "{bit_rate}");
            assert_eq!(quality.body_cells(32, 32), 32);
        }
    }

    #[test]
    fn frames_that_were_written_otherwise_say_nothing() {
        let mut quality = settled(8e-4, Quality::default(), 30_000);
        for _ in 0..1000 {
            quality.begin();
            quality.note_lost(100, false);
            quality.note_arrived(100, false);
        }
        assert!(quality.repairs() && quality.body_cells(32, 32) == 29);
    }

    #[test]
    fn a_line_that_goes_bad_is_noticed_within_some_ten_kilobytes_and_so_is_one_that_recovers() {
        let mut quality = Quality::default();
        (0..1000).for_each(|_| quality.note_arrived(1000, false));
        assert_eq!(quality.body_cells(32, 32), 32);
        let quality = settled(8e-4, quality, 30_000);
        assert!(quality.repairs() || quality.body_cells(32, 32) * 32 <= 192);
        assert!(settled(8e-4, quality, 30_000).repairs());
        let mut quality = Quality::default();
        for _ in 0..100 {
            quality.begin();
            quality.note_lost(40, quality.repairs());
        }
        assert_eq!(quality.body_cells(32, 32), 1);
        (0..10_000).for_each(|_| quality.note_arrived(40, quality.repairs()));
        assert!(quality.body_cells(32, 32) >= 20 && !quality.repairs());
    }
}
