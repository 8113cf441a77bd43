//! What an RNode is set to: read from the address, said to the board, compared with its answer.

use crate::{
    contract::RadioFacts,
    serial::drivers::options::{LoraAir, Options, bandwidth, decimal},
};

pub(super) const FREQUENCY: u8 = 0x01;
pub(super) const BANDWIDTH: u8 = 0x02;
pub(super) const POWER: u8 = 0x03;
pub(super) const SPREADING: u8 = 0x04;
pub(super) const CODING: u8 = 0x05;
pub(super) const STATE: u8 = 0x06;
pub(super) const SHORT_LOCK: u8 = 0x0b;
pub(super) const LONG_LOCK: u8 = 0x0c;

const KNOWN: [&str; 7] = ["freq", "bw", "sf", "cr", "power", "lock15s", "lock1h"];
const LIST: &str = "its options are freq, bw, sf, cr, power, lock15s, lock1h, rate and flow";

/// Radios that reach 22 dBm are common, with an amplifier 30 and more.
const POWER_MAX_DBM: u32 = 37;
/// 25 mW, which most bands without a licence allow.
const POWER_DEFAULT_DBM: u8 = 14;
/// With its own byte in front a frame fills what LoRa carries; longer ones it would cut in two, and
/// either half may be lost.
const MTU_BYTES: u16 = 254;
const OWN_BYTES: u16 = 1;
/// The board sends a preamble of at least so many symbols, and of at least so long.
const PREAMBLE_MIN: u64 = 18;
const PREAMBLE_MIN_US: u64 = 24_000;
/// The chip rounds to steps of 61 Hz.
const FREQUENCY_STEP_HZ: u32 = 100;

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    frequency_hz: u32,
    lora: LoraAir,
    power_dbm: u8,
    /// In hundredths of a percent: of 15 seconds, and of an hour.
    pub(super) short_lock: Option<u16>,
    pub(super) long_lock: Option<u16>,
    steps: Vec<(u8, u32)>,
}

impl Settings {
    pub(super) fn new(options: &[(String, String)]) -> Result<Self, &'static str> {
        let said = Options::new(options, &KNOWN, LIST)?;
        let frequency = said.frequency()?.ok_or("say on which frequency, as freq=868.1MHz")?;
        let frequency_hz = u32::try_from(frequency).map_err(|_| "freq is below 4.2GHz")?;
        let wide = "bw is that of a LoRa, as bw=125kHz";
        let bandwidth_hz = said.text("bw").map_or(Some(125_000), bandwidth).ok_or(wide)?;
        let small = |name, within, fault, default: u8| {
            let number = said.number(name, within, fault)?;
            Ok::<_, &str>(number.and_then(|number| u8::try_from(number).ok()).unwrap_or(default))
        };
        let lora = LoraAir {
            spreading: small("sf", 5..=12, "sf is 5 to 12", 8)?,
            bandwidth_hz,
            coding: small("cr", 5..=8, "cr is 5 to 8", 5)?,
            preamble: 0,
        };
        if !lora.exists() {
            return Err(wide);
        }
        let fault = "power is in dBm, 0 to 37";
        let power_dbm = small("power", 0..=POWER_MAX_DBM, fault, POWER_DEFAULT_DBM)?;
        let lock = |name| said.text(name).map(|text| percent(text).ok_or(LOCK)).transpose();
        let (short_lock, long_lock) = (lock("lock15s")?, lock("lock1h")?);
        let mut steps = vec![
            (FREQUENCY, frequency_hz),
            (BANDWIDTH, bandwidth_hz),
            (POWER, power_dbm.into()),
            (SPREADING, lora.spreading.into()),
            (CODING, lora.coding.into()),
        ];
        steps.extend(short_lock.map(|lock| (SHORT_LOCK, lock.into())));
        steps.extend(long_lock.map(|lock| (LONG_LOCK, lock.into())));
        steps.push((STATE, 1));
        Ok(Self { frequency_hz, lora, power_dbm, short_lock, long_lock, steps })
    }

    /// What is said to the board, one after the other.
    pub(super) fn steps(&self) -> &[(u8, u32)] {
        &self.steps
    }

    pub(super) fn facts(&self) -> RadioFacts {
        let symbol_us =
            (1_000_000 << self.lora.spreading) / u64::from(self.lora.bandwidth_hz.max(1));
        let preamble = PREAMBLE_MIN_US.div_ceil(symbol_us.max(1)).max(PREAMBLE_MIN);
        let lora = LoraAir { preamble: u16::try_from(preamble).unwrap_or(u16::MAX), ..self.lora };
        RadioFacts {
            mtu_bytes: MTU_BYTES,
            modulation: Some(lora.modulated(OWN_BYTES)),
            bits_per_s: lora.bits_per_s(),
            frequency_hz: Some(self.frequency_hz.into()),
            bandwidth_hz: Some(self.lora.bandwidth_hz),
            listens: true,
            // It says when there is room for another, which is not the same.
            tells_sent: false,
            broadcasts: true,
            clear_only: false,
            signs: false,
            tariff: None,
        }
    }
}

const LOCK: &str = "lock15s and lock1h are in percent, as lock1h=1 or lock1h=0.1";

/// `1` or `0.25` percent, in hundredths.
fn percent(text: &str) -> Option<u16> {
    let hundredths = decimal(text.trim_end_matches('%'), 2)?;
    u16::try_from(hundredths).ok().filter(|lock| (1..=10_000).contains(lock))
}

/// What a setting is called in the address.
pub(super) fn name(command: u8) -> &'static str {
    match command {
        FREQUENCY => "freq",
        BANDWIDTH => "bw",
        POWER => "power",
        SPREADING => "sf",
        CODING => "cr",
        SHORT_LOCK => "lock15s",
        LONG_LOCK => "lock1h",
        _ => "the radio",
    }
}

/// A value as the board takes it.
pub(super) fn data(command: u8, value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let from = match command {
        FREQUENCY | BANDWIDTH => 0,
        SHORT_LOCK | LONG_LOCK => 2,
        _ => 3,
    };
    bytes[from..].to_vec()
}

/// A value as the board tells it.
pub(super) fn value(data: &[u8]) -> Option<u32> {
    (1..=4)
        .contains(&data.len())
        .then(|| data.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

/// Whether the board took what it was told.
pub(super) fn is_same(command: u8, said: u32, took: u32) -> bool {
    let off = said.abs_diff(took);
    off == 0 || command == FREQUENCY && off <= FREQUENCY_STEP_HZ
}

#[cfg(test)]
mod tests {
    use postrider_base::{air::Modulated, lora::Lora};

    use super::*;

    fn settings(text: &str) -> Result<Settings, &'static str> {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        let options: Vec<_> = pairs.map(|(name, value)| (name.into(), value.into())).collect();
        Settings::new(&options)
    }

    #[test]
    fn what_is_said_becomes_what_the_board_is_told() {
        let said =
            settings("freq=868.1MHz&bw=62.5&sf=12&cr=8&power=17&lock15s=33.3&lock1h=1%").unwrap();
        let told: Vec<_> = said.steps().iter().map(|(c, v)| (*c, data(*c, *v))).collect();
        assert_eq!(
            told,
            [
                (0x01, vec![0x33, 0xbe, 0x27, 0xa0]),
                (0x02, vec![0x00, 0x00, 0xf4, 0x24]),
                (0x03, vec![17]),
                (0x04, vec![12]),
                (0x05, vec![8]),
                (0x0b, vec![0x0d, 0x02]),
                (0x0c, vec![0x00, 0x64]),
                (0x06, vec![1]),
            ]
        );
        assert!(told.iter().zip(said.steps()).all(|((_, data), (_, v))| value(data) == Some(*v)));
        assert_eq!((value(&[]), value(&[0; 5])), (None, None));
    }

    #[test]
    fn a_frame_is_reckoned_with_the_boards_own_byte_and_preamble() {
        for (options, preamble) in [("sf=8", 18), ("sf=7&bw=500", 94), ("sf=5&bw=125", 94)] {
            let said = settings(&format!("freq=868.1MHz&{options}")).unwrap();
            let facts = said.facts();
            let Some(Modulated::Lora { spreading, coding, .. }) = facts.modulation else {
                panic!()
            };
            let real = Lora::new(spreading, facts.bandwidth_hz.unwrap(), coding, preamble).unwrap();
            for bytes in [1, 100, 254] {
                let (reckoned, real) = (facts.air_us(bytes), real.air_us(bytes + 1));
                assert!(reckoned >= real && reckoned <= real + real / 4, "{options} {bytes}");
            }
        }
    }

    #[test]
    fn what_no_board_does_is_refused() {
        for (text, word) in [
            ("sf=8", "freq=868.1MHz"),
            ("freq=868.1", "freq looks like"),
            ("freq=5GHz", "4.2GHz"),
            ("freq=868.1MHz&bw=100", "bw"),
            ("freq=868.1MHz&sf=13", "sf"),
            ("freq=868.1MHz&cr=4", "cr"),
            ("freq=868.1MHz&power=99", "power"),
            ("freq=868.1MHz&lock1h=0", "lock1h"),
            ("freq=868.1MHz&lock1h=101", "lock1h"),
            ("freq=868.1MHz&speed=1", "its options are freq"),
        ] {
            let why = settings(text).unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
    }

    #[test]
    fn a_frequency_may_be_rounded_and_nothing_else() {
        assert!(is_same(FREQUENCY, 868_100_000, 868_099_975));
        assert!(!is_same(FREQUENCY, 868_100_000, 868_200_000));
        assert!(!is_same(POWER, 22, 17));
    }
}
