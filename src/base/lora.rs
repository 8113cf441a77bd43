//! How long a frame is on the air, in whole microseconds.
//!
//! The formula is that of Semtech's data sheets SX1276 (§4.1.1.7) and SX1261/2 (§6.1.4), which differ for
//! SF5 and SF6 alone; the latter's counts here. Every bandwidth is 500 kHz divided by a whole
//! number, so a symbol lasts a whole number of microseconds, a quarter of one too, and nothing is rounded.

use thiserror::Error;

/// The longest frame of the LoRa physical layer.
pub const LORA_BYTES_MAX: u64 = 255;
/// The longest frame of anything else that is reckoned with.
const PLAIN_BYTES_MAX: u64 = 65_535;
/// Symbols that the header and the first of the payload take, whatever they hold.
const FIRST_SYMBOLS: u64 = 8;
/// From a symbol of 16 ms on the low data rate rule is on.
const SLOW_SYMBOL_US: u64 = 16_000;
/// What 500 kHz is divided by, and what the data sheets call that: 500, 250, 125, 62.5, 41.7, 31.25,
/// 20.8, 15.6, 10.4, 7.8 kHz.
const DIVISORS: [u64; 10] = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64];
const WIDEST_HZ: u64 = 500_000;
/// Names are rounded to three digits: 10.4 is 10.417, 7.81 is 7.8125.
const NAME_PERCENT: u64 = 1;

/// Why there is no such LoRa.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LoraError {
    /// Not 5 to 12.
    #[error("there is no spreading factor {0}, only 5 to 12")]
    Spreading(u8),
    /// None of the ten.
    #[error("LoRa has no bandwidth of {0} Hz")]
    Bandwidth(u32),
    /// Not 5 to 8.
    #[error("there is no coding rate 4/{0}, only 4/5 to 4/8")]
    Coding(u8),
}

/// LoRa as a radio is set. Frames have an explicit header and a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lora {
    spreading: u8,
    divisor: u64,
    coding: u8,
    preamble: u16,
}

impl Lora {
    /// `spreading` is 5 to 12, `coding` the 5 of 4/5 to the 8 of 4/8, `preamble` in symbols without the
    /// 4.25 that the radio adds (8 for LoRaWAN, 16 for Meshtastic).
    pub fn new(
        spreading: u8,
        bandwidth_hz: u32,
        coding: u8,
        preamble: u16,
    ) -> Result<Self, LoraError> {
        if !(5..=12).contains(&spreading) {
            return Err(LoraError::Spreading(spreading));
        }
        if !(5..=8).contains(&coding) {
            return Err(LoraError::Coding(coding));
        }
        let named = u64::from(bandwidth_hz);
        let is_named = |divisor: &&u64| {
            (named * **divisor).abs_diff(WIDEST_HZ) <= WIDEST_HZ * NAME_PERCENT / 100
        };
        let divisor = DIVISORS.iter().find(is_named).ok_or(LoraError::Bandwidth(bandwidth_hz))?;
        Ok(Self { spreading, divisor: *divisor, coding, preamble })
    }

    /// How wide it is, rounded up to whole hertz.
    pub fn bandwidth_hz(&self) -> u32 {
        u32::try_from(WIDEST_HZ.div_ceil(self.divisor)).unwrap_or(u32::MAX)
    }

    /// How long one symbol is.
    pub fn symbol_us(&self) -> u64 {
        self.quarters_us(4)
    }

    /// How long a frame with so many bytes is; nothing longer than [`LORA_BYTES_MAX`] can be sent, but
    /// it is reckoned.
    pub fn air_us(&self, bytes: u64) -> u64 {
        let spreading = u64::from(self.spreading);
        let low_rate = 2 * u64::from(self.symbol_us() >= SLOW_SYMBOL_US);
        let checksum_bits = 16;
        let header_bits = if self.spreading < 7 { 20 } else { 28 };
        let bits = bytes.saturating_mul(8).saturating_add(checksum_bits + header_bits);
        let groups = bits.saturating_sub(4 * spreading).div_ceil(4 * (spreading - low_rate));
        let symbols = groups.saturating_mul(u64::from(self.coding));
        self.start_us().saturating_add(self.quarters_us(symbols.saturating_mul(4)))
    }

    /// Preamble and header: after so long another's frame is heard for what it is.
    pub fn start_us(&self) -> u64 {
        // In quarters of a symbol: what stands for the start of the frame is 4.25 symbols or 6.25.
        let sync = if self.spreading < 7 { 25 } else { 17 };
        self.quarters_us(4 * (u64::from(self.preamble) + FIRST_SYMBOLS) + sync)
    }

    /// At 500 kHz a symbol has 2^SF chips of 2 µs: a quarter is 2^SF / 2 µs, times the divisor.
    fn quarters_us(&self, quarters: u64) -> u64 {
        quarters.saturating_mul((1 << (self.spreading - 1)) * self.divisor)
    }
}

/// How bytes become time on the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modulation {
    /// LoRa.
    Lora(Lora),
    /// A plain rate.
    Plain(Plain),
}

/// A radio that sends bits one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// On the air; 0 counts as 1.
    pub bits_per_s: u32,
    /// 8, or 10 where start and stop bits are sent too.
    pub bits_per_byte: u8,
    /// Before the first byte: preamble, transmitter delay.
    pub lead_us: u32,
    /// What the radio puts around the bytes of a frame.
    pub around_bytes: u16,
}

impl Plain {
    fn air_us(&self, bytes: u64) -> u64 {
        let bits = bytes
            .saturating_add(u64::from(self.around_bytes))
            .saturating_mul(u64::from(self.bits_per_byte));
        let rate = u64::from(self.bits_per_s.max(1));
        let us = bits.saturating_mul(1_000_000).div_ceil(rate);
        us.saturating_add(u64::from(self.lead_us))
    }
}

impl Modulation {
    /// How long a frame with so many bytes is on the air.
    pub fn air_us(&self, bytes: u64) -> u64 {
        match self {
            Self::Lora(lora) => lora.air_us(bytes),
            Self::Plain(plain) => plain.air_us(bytes),
        }
    }

    /// The part of every frame that comes before its bytes: others know by then that it is there.
    pub fn start_us(&self) -> u64 {
        match self {
            Self::Lora(lora) => lora.start_us(),
            Self::Plain(plain) => plain.air_us(0),
        }
    }

    /// The most bytes of a frame that is on the air for at most so long; none if not even an empty one is.
    pub fn bytes_within(&self, most_us: u64) -> Option<u64> {
        let most = match self {
            Self::Lora(_) => LORA_BYTES_MAX,
            Self::Plain(_) => PLAIN_BYTES_MAX,
        };
        // Longer frames never take less time.
        let (mut fits, mut low) = (None, 0);
        let mut high = most + 1;
        while low < high {
            let middle = low + (high - low) / 2;
            if self.air_us(middle) <= most_us {
                (fits, low) = (Some(middle), middle + 1);
            } else {
                high = middle;
            }
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lora(spreading: u8, bandwidth_hz: u32, coding: u8, preamble: u16) -> Lora {
        Lora::new(spreading, bandwidth_hz, coding, preamble).unwrap()
    }

    /// Microseconds for 0, 16, 51, 228 and 255 bytes, made with another program from the same formula in
    /// floating point: SF, bandwidth, coding, preamble.
    #[test]
    fn is_as_long_as_a_second_program_says() {
        for (spreading, bandwidth_hz, coding, preamble, us) in [
            (5, 500_000, 5, 8, [1_744, 3_984, 8_464, 30_864, 34_384]),
            (5, 125_000, 5, 8, [6_976, 15_936, 33_856, 123_456, 137_536]),
            (5, 250_000, 8, 16, [4_896, 12_064, 26_400, 98_080, 109_344]),
            (5, 62_500, 6, 12, [16_512, 38_016, 81_024, 296_064, 329_856]),
            (5, 10_417, 7, 8, [89_856, 240_384, 541_440, 2_046_720, 2_283_264]),
            (6, 500_000, 5, 8, [3_488, 6_688, 14_368, 52_128, 57_888]),
            (6, 125_000, 5, 8, [13_952, 26_752, 57_472, 208_512, 231_552]),
            (6, 250_000, 8, 16, [9_792, 20_032, 44_608, 165_440, 183_872]),
            (6, 62_500, 6, 12, [33_024, 63_744, 137_472, 499_968, 555_264]),
            (6, 10_417, 7, 8, [179_712, 394_752, 910_848, 3_448_320, 3_835_392]),
            (7, 500_000, 5, 8, [6_464, 12_864, 25_664, 89_664, 99_904]),
            (7, 125_000, 5, 8, [25_856, 51_456, 102_656, 358_656, 399_616]),
            (7, 250_000, 8, 16, [18_560, 39_040, 80_000, 284_800, 317_568]),
            (7, 62_500, 6, 12, [61_952, 123_392, 246_272, 860_672, 958_976]),
            (7, 10_417, 7, 8, [334_848, 764_928, 1_625_088, 5_925_888, 6_614_016]),
            (8, 500_000, 5, 8, [12_928, 23_168, 46_208, 158_848, 176_768]),
            (8, 125_000, 5, 8, [51_712, 92_672, 184_832, 635_392, 707_072]),
            (8, 250_000, 8, 16, [37_120, 69_888, 143_616, 504_064, 561_408]),
            (8, 62_500, 6, 12, [123_904, 222_208, 443_392, 1_524_736, 1_696_768]),
            (8, 10_417, 7, 8, [669_696, 1_529_856, 3_594_240, 13_744_128, 15_292_416]),
            (9, 500_000, 5, 8, [25_856, 41_216, 82_176, 281_856, 312_576]),
            (9, 125_000, 5, 8, [103_424, 164_864, 328_704, 1_127_424, 1_250_304]),
            (9, 250_000, 8, 16, [74_240, 123_392, 254_464, 893_440, 991_744]),
            (9, 62_500, 6, 12, [247_808, 395_264, 788_480, 2_705_408, 3_000_320]),
            (9, 10_417, 7, 8, [1_339_392, 2_715_648, 6_156_288, 23_703_552, 26_456_064]),
            (10, 500_000, 5, 8, [51_712, 82_432, 154_112, 512_512, 573_952]),
            (10, 125_000, 5, 8, [206_848, 329_728, 616_448, 2_050_048, 2_295_808]),
            (10, 250_000, 8, 16, [148_480, 246_784, 476_160, 1_623_040, 1_819_648]),
            (10, 62_500, 6, 12, [495_616, 888_832, 1_675_264, 6_098_944, 6_688_768]),
            (10, 10_417, 7, 8, [2_678_784, 5_431_296, 10_936_320, 41_902_080, 46_030_848]),
            (11, 500_000, 5, 8, [82_944, 144_384, 287_744, 943_104, 1_045_504]),
            (11, 125_000, 5, 8, [331_776, 659_456, 1_314_816, 4_509_696, 5_001_216]),
            (11, 250_000, 8, 16, [231_424, 428_032, 886_784, 2_983_936, 3_311_616]),
            (11, 62_500, 6, 12, [794_624, 1_581_056, 3_153_920, 10_821_632, 12_001_280]),
            (11, 10_417, 7, 8, [3_981_312, 9_486_336, 20_496_384, 74_170_368, 82_427_904]),
            (12, 500_000, 5, 8, [165_888, 288_768, 534_528, 1_722_368, 1_927_168]),
            (12, 125_000, 5, 8, [663_552, 1_318_912, 2_465_792, 8_200_192, 9_019_392]),
            (12, 250_000, 8, 16, [462_848, 987_136, 1_904_640, 6_492_160, 7_147_520]),
            (12, 62_500, 6, 12, [1_589_248, 3_162_112, 5_914_624, 19_677_184, 21_643_264]),
            (12, 10_417, 7, 8, [7_962_624, 18_972_672, 38_240_256, 134_578_176, 148_340_736]),
        ] {
            let lora = lora(spreading, bandwidth_hz, coding, preamble);
            let is = [0, 16, 51, 228, 255].map(|bytes| lora.air_us(bytes));
            assert_eq!(is, us, "SF{spreading} {bandwidth_hz} Hz 4/{coding}");
        }
    }

    /// Figures of the design, in hundredths of a second and rounded as they are there.
    #[test]
    fn is_as_long_as_the_design_says() {
        let long_fast = lora(11, 250_000, 5, 16);
        let rnode = lora(8, 125_000, 5, 18);
        let slow = lora(12, 125_000, 5, 8);
        for (bytes, by_long_fast, by_rnode, tenths_slow) in [
            (228, 195, 66, 82),
            (98, 97, 32, 39),
            (18, 40, 11, 13),
            (24, 44, 13, 15),
            (122, 117, 38, 48),
            (188, 167, 55, 69),
        ] {
            let rounded = |lora: Lora, us: u64| (lora.air_us(bytes) + us / 2) / us;
            assert_eq!(rounded(long_fast, 10_000), by_long_fast, "{bytes} LongFast");
            assert_eq!(rounded(rnode, 10_000), by_rnode, "{bytes} RNode");
            assert_eq!(rounded(slow, 100_000), tenths_slow, "{bytes} SF12");
        }
        assert_eq!([rnode, slow].map(|lora| 36_000_000 / lora.air_us(228)), [54, 4]);
    }

    #[test]
    fn names_of_bandwidths_are_understood() {
        for (named, exact) in [
            (500_000, 500_000),
            (250_000, 250_000),
            (125_000, 125_000),
            (62_500, 62_500),
            (41_700, 41_667),
            (41_670, 41_667),
            (31_250, 31_250),
            (20_800, 20_834),
            (15_600, 15_625),
            (10_400, 10_417),
            (7_800, 7_813),
        ] {
            assert_eq!(lora(9, named, 5, 8).bandwidth_hz(), exact);
        }
        for wrong in [0, 1, 100_000, 200_000, 812_500, u32::MAX] {
            assert_eq!(Lora::new(9, wrong, 5, 8), Err(LoraError::Bandwidth(wrong)));
        }
        assert_eq!(Lora::new(4, 125_000, 5, 8), Err(LoraError::Spreading(4)));
        assert_eq!(Lora::new(13, 125_000, 5, 8), Err(LoraError::Spreading(13)));
        assert_eq!(Lora::new(7, 125_000, 4, 8), Err(LoraError::Coding(4)));
        assert_eq!(Lora::new(7, 125_000, 9, 8), Err(LoraError::Coding(9)));
    }

    #[test]
    fn a_longer_frame_never_takes_less_and_the_longest_within_a_time_is_found() {
        for (spreading, bandwidth_hz) in [(5, 500_000), (7, 125_000), (11, 125_000), (12, 7_800)] {
            let modulation = Modulation::Lora(lora(spreading, bandwidth_hz, 8, 8));
            for bytes in 0..255 {
                let (this, next) = (modulation.air_us(bytes), modulation.air_us(bytes + 1));
                assert!(this <= next);
                let within = modulation.bytes_within(this).unwrap();
                assert!(within >= bytes && modulation.air_us(within) == this);
            }
            assert_eq!(modulation.bytes_within(u64::MAX), Some(255));
            assert_eq!(modulation.bytes_within(modulation.air_us(0) - 1), None);
            assert!(modulation.start_us() <= modulation.air_us(0));
        }
        // LoRaWAN's longest frame within the 400 ms of the United States is 24 bytes at SF10; at SF12
        // there is none.
        let within =
            |spreading| Modulation::Lora(lora(spreading, 125_000, 5, 8)).bytes_within(400_000);
        assert!(within(10).is_some_and(|bytes| bytes >= 24));
        assert_eq!(within(12), None);
    }

    #[test]
    fn a_plain_rate_counts_bits_and_what_comes_before_them() {
        let plain =
            Plain { bits_per_s: 1_200, bits_per_byte: 8, lead_us: 300_000, around_bytes: 20 };
        let modulation = Modulation::Plain(plain);
        assert_eq!(modulation.air_us(100), 300_000 + 800_000);
        assert_eq!(modulation.start_us(), 300_000 + 133_334);
        assert_eq!(modulation.bytes_within(1_100_000), Some(100));
        let stopped = Modulation::Plain(Plain { bits_per_s: 0, ..plain });
        assert_eq!(stopped.air_us(1), 300_000 + 168_000_000);
    }

    #[test]
    fn nothing_that_is_asked_overflows() {
        for modulation in [
            Modulation::Lora(lora(12, 7_800, 8, u16::MAX)),
            Modulation::Plain(Plain {
                bits_per_s: 0,
                bits_per_byte: u8::MAX,
                lead_us: u32::MAX,
                around_bytes: u16::MAX,
            }),
        ] {
            assert!(modulation.air_us(u64::MAX) >= modulation.air_us(1 << 40));
        }
    }
}
