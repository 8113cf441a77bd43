//! What a profile says about the air behind a modem: numbers, or options that say them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    options::{Chosen, Spec},
    profile::Amount,
};
use crate::contract::{Modulated, RadioFacts, Tariff};

/// Where nothing is known of it.
const BITS_PER_S_USUAL: u64 = 9_600;

/// A transparent radio.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Line {
    /// On the air.
    bits_per_s: Amount,
    /// Where only one end is heard at a time.
    turn_ms: Option<Amount>,
}

/// The air of a modem that takes frames.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Air {
    lora: Option<Lora>,
    plain: Option<Plain>,
    bits_per_s: Option<Amount>,
    frequency_hz: Option<Amount>,
    #[serde(default)]
    listens: bool,
    /// All that are near hear it.
    #[serde(default)]
    broadcasts: bool,
    tariff: Option<Cost>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Lora {
    spreading: Amount,
    coding: Amount,
    preamble: Amount,
    bandwidth_khz: Amount,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Plain {
    bits_per_s: Amount,
    lead_us: Amount,
    around_bytes: Amount,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Cost {
    frame: Amount,
    unit_bytes: Amount,
    unit: Amount,
    day_most: Amount,
}

impl Amount {
    pub(super) fn check(&self, options: &BTreeMap<String, Spec>) -> Result<(), String> {
        match self {
            Self::Option(name) if !options.contains_key(name) => {
                Err(format!("there is no option {name}"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn number(&self, chosen: &Chosen) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Option(name) => chosen.number(name),
        }
    }

    /// The same where only so many bits are meant.
    fn narrow<T: TryFrom<u64>>(&self, what: &str, chosen: &Chosen) -> Result<T, String> {
        let number = self.number(chosen).and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("{what} is no number that can be meant"))
    }
}

impl Line {
    pub(super) fn check(&self, options: &BTreeMap<String, Spec>) -> Result<(), String> {
        self.bits_per_s.check(options)?;
        self.turn_ms.iter().try_for_each(|amount| amount.check(options))
    }

    pub(super) fn bits_per_s(&self, chosen: &Chosen) -> Result<u32, String> {
        let rate = self.bits_per_s.narrow("bits-per-s", chosen)?;
        if rate == 0 { Err("a line without bits carries nothing".into()) } else { Ok(rate) }
    }

    pub(super) fn turn_ms(&self, chosen: &Chosen) -> Result<Option<u32>, String> {
        self.turn_ms.as_ref().map(|turn| turn.narrow("turn-ms", chosen)).transpose()
    }
}

impl Air {
    pub(super) fn check(&self, options: &BTreeMap<String, Spec>) -> Result<(), String> {
        let lora = self
            .lora
            .iter()
            .flat_map(|it| [&it.spreading, &it.coding, &it.preamble, &it.bandwidth_khz]);
        let plain =
            self.plain.iter().flat_map(|it| [&it.bits_per_s, &it.lead_us, &it.around_bytes]);
        let tariff =
            self.tariff.iter().flat_map(|it| [&it.frame, &it.unit_bytes, &it.unit, &it.day_most]);
        let rest = self.bits_per_s.iter().chain(&self.frequency_hz);
        lora.chain(plain).chain(tariff).chain(rest).try_for_each(|amount| amount.check(options))
    }

    /// What is known once the options are.
    pub(super) fn facts(
        &self,
        chosen: &Chosen,
        mtu_bytes: usize,
        tells_sent: bool,
        clear_only: bool,
    ) -> Result<RadioFacts, String> {
        let mut facts = RadioFacts {
            mtu_bytes: u16::try_from(mtu_bytes).map_err(|_| "payload is too long")?,
            modulation: None,
            bits_per_s: match &self.bits_per_s {
                Some(rate) => rate.narrow("bits-per-s", chosen)?,
                None => Amount::Number(BITS_PER_S_USUAL).narrow("bits-per-s", chosen)?,
            },
            frequency_hz: self.frequency_hz.as_ref().and_then(|hertz| hertz.number(chosen)),
            bandwidth_hz: None,
            listens: self.listens,
            tells_sent,
            broadcasts: self.broadcasts,
            clear_only,
            signs: false,
            tariff: None,
        };
        if let Some(lora) = &self.lora {
            let khz: u32 = lora.bandwidth_khz.narrow("bandwidth-khz", chosen)?;
            let spreading = lora.spreading.narrow("spreading", chosen)?;
            let coding = lora.coding.narrow("coding", chosen)?;
            if !(5..=12).contains(&spreading) || !(5..=8).contains(&coding) {
                return Err("LoRa has spreading 5 to 12 and coding 5 to 8".into());
            }
            facts.bandwidth_hz = Some(khz.saturating_mul(1000));
            let preamble = lora.preamble.narrow("preamble", chosen)?;
            facts.modulation = Some(Modulated::Lora { spreading, coding, preamble });
        } else if let Some(plain) = &self.plain {
            facts.modulation = Some(Modulated::Plain {
                bits_per_s: plain.bits_per_s.narrow("bits-per-s", chosen)?,
                lead_us: plain.lead_us.narrow("lead-us", chosen)?,
                around_bytes: plain.around_bytes.narrow("around-bytes", chosen)?,
            });
        }
        if let Some(cost) = &self.tariff {
            facts.tariff = Some(Tariff {
                frame: cost.frame.narrow("frame", chosen)?,
                unit_bytes: cost.unit_bytes.narrow("unit-bytes", chosen)?,
                unit: cost.unit.narrow("unit", chosen)?,
                day_most: cost.day_most.narrow("day-most", chosen)?,
            });
        }
        Ok(facts)
    }
}
