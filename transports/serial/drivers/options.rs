//! What is said to a driver: names and values, each at most once, and none that it does not know.

use postrider_base::{
    air::Modulated,
    lora::{Lora, Modulation},
};

/// As LoRaWAN has it, and most boards; without the 4.25 that the chip adds.
const PREAMBLE_DEFAULT: u16 = 8;
/// Light is no radio.
const FREQUENCY_MAX_HZ: u64 = 300_000_000_000;
/// From teleprinters over short waves to the fastest packet radio.
const AIR_RATE: std::ops::RangeInclusive<u32> = 10..=10_000_000;

/// The options of one address.
#[derive(Clone, Copy)]
pub(super) struct Options<'a>(&'a [(String, String)]);

impl<'a> Options<'a> {
    /// Refuses what is not among `known` with `list`, which says what there is.
    pub(super) fn new(
        options: &'a [(String, String)],
        known: &[&str],
        list: &'static str,
    ) -> Result<Self, &'static str> {
        for (n, (name, _)) in options.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(list);
            }
            if options[..n].iter().any(|(before, _)| before == name) {
                return Err("an option stands there twice");
            }
        }
        Ok(Self(options))
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A whole number within a range; `fault` says which.
    pub(super) fn number(
        &self,
        name: &str,
        within: std::ops::RangeInclusive<u32>,
        fault: &'static str,
    ) -> Result<Option<u32>, &'static str> {
        let read = |text: &str| whole(text).filter(|number| within.contains(number)).ok_or(fault);
        self.text(name).map(read).transpose()
    }

    pub(super) fn yes(
        &self,
        name: &str,
        fault: &'static str,
    ) -> Result<Option<bool>, &'static str> {
        let read = |text| match text {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err(fault),
        };
        self.text(name).map(read).transpose()
    }

    /// `freq=868.1MHz`, in hertz.
    pub(super) fn frequency(&self) -> Result<Option<u64>, &'static str> {
        let fault = "freq looks like 868.1MHz";
        let read = |text| hertz(text).filter(|hz| (1..=FREQUENCY_MAX_HZ).contains(hz)).ok_or(fault);
        self.text("freq").map(read).transpose()
    }

    /// `air=1200`, or `air=sf8,bw125,cr5` with `pre16` perhaps.
    pub(super) fn air(&self) -> Result<Option<Air>, &'static str> {
        let fault = "air looks like air=1200, or air=sf8,bw125,cr5";
        self.text("air").map(|text| air(text).ok_or(fault)).transpose()
    }
}

/// What goes over the air, as it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Air {
    /// Bits per second.
    Plain(u32),
    /// LoRa.
    Lora(LoraAir),
}

/// LoRa, as it was said or as a radio tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoraAir {
    pub(super) spreading: u8,
    pub(super) bandwidth_hz: u32,
    pub(super) coding: u8,
    pub(super) preamble: u16,
}

impl LoraAir {
    /// Whether there is such a LoRa.
    pub(super) fn exists(&self) -> bool {
        self.lora().is_some()
    }

    fn lora(&self) -> Option<Lora> {
        Lora::new(self.spreading, self.bandwidth_hz, self.coding, self.preamble).ok()
    }

    /// How bytes become time where the radio puts so many bytes of its own into every frame. They are counted
    /// as symbols before it, rounded up: a frame never takes longer than is said, and hardly less.
    pub(super) fn modulated(&self, around_bytes: u16) -> Modulated {
        let symbol_us = self.lora().map_or(0, |lora| lora.symbol_us());
        // From 16 ms on two bits of each symbol are not used.
        let slow = 2 * u16::from(symbol_us >= 16_000);
        let bits = 4 * u16::from(self.spreading).saturating_sub(slow).max(1);
        let groups = around_bytes.saturating_mul(8).div_ceil(bits);
        let symbols = groups.saturating_mul(u16::from(self.coding));
        Modulated::Lora {
            spreading: self.spreading,
            coding: self.coding,
            preamble: self.preamble.saturating_add(symbols),
        }
    }

    /// What it carries while it sends, in bits per second.
    pub(super) fn bits_per_s(&self) -> u32 {
        let Some(lora) = self.lora() else { return 1 };
        let most = 255;
        let us = Modulation::Lora(lora).air_us(most).max(1);
        u32::try_from(most * 8_000_000 / us).unwrap_or(u32::MAX).max(1)
    }
}

fn air(text: &str) -> Option<Air> {
    if let Some(rate) = whole(text) {
        return AIR_RATE.contains(&rate).then_some(Air::Plain(rate));
    }
    let (mut spreading, mut bandwidth_hz, mut coding, mut preamble) = (None, None, None, None);
    for part in text.split(',') {
        let at = part.find(|c: char| c.is_ascii_digit())?;
        let (name, value) = part.split_at(at);
        let is_new = match name {
            "sf" => spreading.replace(u8::try_from(whole(value)?).ok()?).is_none(),
            "bw" => bandwidth_hz.replace(bandwidth(value)?).is_none(),
            "cr" => coding.replace(u8::try_from(whole(value)?).ok()?).is_none(),
            "pre" => preamble.replace(u16::try_from(whole(value)?).ok()?).is_none(),
            _ => false,
        };
        if !is_new {
            return None;
        }
    }
    let lora = LoraAir {
        spreading: spreading?,
        bandwidth_hz: bandwidth_hz?,
        coding: coding.unwrap_or(5),
        preamble: preamble.unwrap_or(PREAMBLE_DEFAULT),
    };
    lora.exists().then_some(Air::Lora(lora))
}

/// `125`, `62.5` or `125kHz`: kilohertz where nothing else is said.
pub(super) fn bandwidth(text: &str) -> Option<u32> {
    let hz = decimal(text, 3).or_else(|| hertz(text))?;
    u32::try_from(hz).ok()
}

/// `868.1MHz` as hertz; the unit must be there.
fn hertz(text: &str) -> Option<u64> {
    let units = [("GHz", 9), ("MHz", 6), ("kHz", 3), ("Hz", 0)];
    let (number, places) =
        units.iter().find_map(|(unit, places)| Some((text.strip_suffix(unit)?, *places)))?;
    decimal(number, places)
}

/// A number with at most so many digits behind its point, times ten to the power of that.
pub(super) fn decimal(text: &str, places: u32) -> Option<u64> {
    let (front, behind) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let digits = u32::try_from(behind.len()).ok()?;
    if !is_digits(front) || !is_digits(behind) || digits > places.max(1) {
        return None;
    }
    let scale = 10_u64.checked_pow(places)?;
    let whole = front.parse::<u64>().ok()?.checked_mul(scale)?;
    let behind = behind.parse::<u64>().ok()?;
    let part = match places.checked_sub(digits) {
        Some(rest) => behind.checked_mul(10_u64.pow(rest))?,
        // A single zero behind a point where there are no parts.
        None => (behind == 0).then_some(0)?,
    };
    whole.checked_add(part)
}

/// A whole number, of digits alone.
pub(super) fn whole(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_and_widths_are_read_to_the_hertz() {
        for (text, hz) in [
            ("868.1MHz", Some(868_100_000)),
            ("433775kHz", Some(433_775_000)),
            ("869525000Hz", Some(869_525_000)),
            ("2.4GHz", Some(2_400_000_000)),
            ("868.1", None),
            ("868,1MHz", None),
            ("-1MHz", None),
            (".1MHz", None),
            ("1.MHz", None),
            ("868.1000001MHz", None),
            ("99999999999999999999MHz", None),
        ] {
            assert_eq!(hertz(text), hz, "{text}");
        }
        for (text, hz) in
            [("125", Some(125_000)), ("62.5", Some(62_500)), ("250kHz", Some(250_000)), ("x", None)]
        {
            assert_eq!(bandwidth(text), hz, "{text}");
        }
    }

    #[test]
    fn what_goes_over_the_air_is_a_rate_or_a_lora() {
        let lora = |spreading, bandwidth_hz, coding, preamble| {
            Some(Air::Lora(LoraAir { spreading, bandwidth_hz, coding, preamble }))
        };
        for (text, said) in [
            ("1200", Some(Air::Plain(1200))),
            ("sf8,bw125,cr5", lora(8, 125_000, 5, 8)),
            ("bw62.5,sf12,cr8,pre16", lora(12, 62_500, 8, 16)),
            ("sf7,bw500", lora(7, 500_000, 5, 8)),
            ("9", None),
            ("sf8", None),
            ("sf13,bw125", None),
            ("sf8,bw126.5x", None),
            ("sf8,bw100", None),
            ("sf8,sf8,bw125", None),
            ("sf8,bw125,", None),
            ("", None),
        ] {
            assert_eq!(air(text), said, "{text}");
        }
    }

    #[test]
    fn bytes_that_a_radio_adds_never_make_a_frame_longer_than_is_said() {
        for spreading in 5..=12 {
            for (bandwidth_hz, coding) in [(62_500, 5), (125_000, 5), (250_000, 8), (500_000, 6)] {
                let said = LoraAir { spreading, bandwidth_hz, coding, preamble: 16 };
                let Modulated::Lora { preamble, .. } = said.modulated(21) else { panic!() };
                let reckoned = Lora::new(spreading, bandwidth_hz, coding, preamble).unwrap();
                let real = said.lora().unwrap();
                for bytes in [0, 1, 20, 100, 233] {
                    let (reckoned, real) = (reckoned.air_us(bytes), real.air_us(bytes + 21));
                    let group =
                        real.max(1) / 5 + u64::from(coding) * said.lora().unwrap().symbol_us();
                    assert!(reckoned >= real && reckoned - real <= group, "{said:?} {bytes}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_known_or_said_twice_is_refused() {
        let options = |text: &str| -> Vec<(String, String)> {
            let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap());
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let known = options("a=1&b=yes");
        let read = Options::new(&known, &["a", "b", "c"], "a, b, c").unwrap();
        assert_eq!(read.number("a", 0..=9, "a is small"), Ok(Some(1)));
        assert_eq!(read.number("a", 2..=9, "a is 2 to 9"), Err("a is 2 to 9"));
        assert_eq!((read.yes("b", "yes or no"), read.yes("c", "")), (Ok(Some(true)), Ok(None)));
        assert_eq!(read.yes("a", "yes or no"), Err("yes or no"));
        for (text, fault) in [("d=1", "a, b, c"), ("a=1&a=2", "an option stands there twice")] {
            assert_eq!(
                Options::new(&options(text), &["a", "b", "c"], "a, b, c").err(),
                Some(fault)
            );
        }
    }
}
