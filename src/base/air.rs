//! Links as values: what is known about a radio before anything is sent. A driver reports it; how long
//! a frame takes, what the law leaves for it and what it costs is decided by it.

use crate::lora::{Lora, Modulation, Plain};

/// What is known about a radio, or about whatever else sends frames that all may hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RadioFacts {
    /// Bytes of the longest frame that it takes from us, its own head and tail left out.
    pub mtu_bytes: u16,
    /// How bytes become time on the air; `None` where nobody can tell: then by [`Self::bits_per_s`].
    pub modulation: Option<Modulated>,
    /// What its plug or its air carries, in bits per second.
    pub bits_per_s: u32,
    /// The middle of its channel, in hertz, where it has one that is known.
    pub frequency_hz: Option<u64>,
    /// The width of its channel, in hertz.
    pub bandwidth_hz: Option<u32>,
    /// It listens before it sends, by itself: what is given to it goes when the channel is free.
    pub listens: bool,
    /// It says when a frame has left the antenna; else that is reckoned.
    pub tells_sent: bool,
    /// All that are near hear what is sent; else one other end does.
    pub broadcasts: bool,
    /// Nothing may be enciphered here.
    pub clear_only: bool,
    /// Every frame says whose station sent it.
    pub signs: bool,
    /// What each frame costs, where it costs money.
    pub tariff: Option<Tariff>,
}

impl RadioFacts {
    /// How bytes become time, as far as that is known.
    pub fn airtime(&self) -> Option<Modulation> {
        match self.modulation? {
            Modulated::Lora { spreading, coding, preamble } => {
                let lora = Lora::new(spreading, self.bandwidth_hz?, coding, preamble);
                lora.ok().map(Modulation::Lora)
            }
            Modulated::Plain { bits_per_s, lead_us, around_bytes } => {
                let plain = Plain { bits_per_s, bits_per_byte: 8, lead_us, around_bytes };
                Some(Modulation::Plain(plain))
            }
        }
    }

    /// How long a frame with so many bytes is on the air, in microseconds; by the rate where nothing better
    /// is known.
    pub fn air_us(&self, bytes: u64) -> u64 {
        let by_rate =
            || bytes.saturating_mul(8_000_000).div_ceil(u64::from(self.bits_per_s.max(1)));
        self.airtime().map_or_else(by_rate, |modulation| modulation.air_us(bytes))
    }
}

/// How bytes become time on the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modulated {
    /// LoRa, with explicit header and checksum.
    Lora {
        /// 5 to 12.
        spreading: u8,
        /// 5 to 8: four bits go as so many.
        coding: u8,
        /// Symbols before the header.
        preamble: u16,
    },
    /// Bits one after the other.
    Plain {
        /// On the air.
        bits_per_s: u32,
        /// Before the first byte: preamble, transmitter delay.
        lead_us: u32,
        /// What the radio puts around the bytes of a frame.
        around_bytes: u16,
    },
}

/// What frames cost, in thousandths of whatever money it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tariff {
    /// For each frame: an SMS.
    pub frame: u32,
    /// For each so many bytes of a frame or part of them; 0 if bytes cost nothing: satellites count 50.
    pub unit_bytes: u32,
    /// For each such unit.
    pub unit: u32,
    /// What may be spent within a day.
    pub day_most: u32,
}

/// How well a frame was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strength {
    /// In dBm.
    pub rssi_dbm: Option<i16>,
    /// Signal above noise, in quarters of a decibel, as LoRa chips count it.
    pub snr_quarter_db: Option<i16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_long_as_its_modulation_or_its_rate_makes_it() {
        let mut facts = RadioFacts {
            mtu_bytes: 255,
            modulation: Some(Modulated::Lora { spreading: 8, coding: 5, preamble: 8 }),
            bits_per_s: 1_000,
            frequency_hz: None,
            bandwidth_hz: Some(125_000),
            listens: false,
            tells_sent: false,
            broadcasts: true,
            clear_only: false,
            signs: false,
            tariff: None,
        };
        let lora = Lora::new(8, 125_000, 5, 8).unwrap();
        assert_eq!(facts.air_us(228), lora.air_us(228));
        facts.bandwidth_hz = None;
        assert_eq!(facts.air_us(228), 228 * 8_000);
        let plain = Modulated::Plain { bits_per_s: 1_200, lead_us: 300_000, around_bytes: 20 };
        facts.modulation = Some(plain);
        assert_eq!(facts.air_us(130), 1_300_000);
        (facts.modulation, facts.bits_per_s) = (None, 0);
        assert_eq!(facts.air_us(u64::MAX), u64::MAX);
    }
}
