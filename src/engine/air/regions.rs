//! What may be done on a frequency, as dated data: which sub-band a signal lies in and what holds there.
//!
//! The table is second-hand: it says what public summaries and the makers of radios say, was not
//! checked by anybody who knows the law, and a licence or a country may say otherwise. It errs on the
//! careful side: a frequency that is not in it is refused. What was left out, and why, stands in
//! `docs/air.md`.

use thiserror::Error;

use super::ledger::Limit;

/// When the table was put together.
pub const AS_OF: &str = "2026-11-20";

/// A whole hour in microseconds.
const HOUR_US: u64 = 3_600_000_000;

/// Whose rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Region {
    /// The European Union and those who do as it does.
    Europe,
    /// The United States.
    UnitedStates,
    /// Japan.
    Japan,
    /// Australia and New Zealand.
    Australia,
    /// India.
    India,
    /// Amateur radio, by whoever has a licence for it: nothing may be encrypted.
    Amateur,
}

/// What a power is measured as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Radiated, against a dipole, in milliwatts.
    Erp(u32),
    /// Radiated, against a point, in milliwatts.
    Eirp(u32),
    /// What the radio gives its antenna, in milliwatts.
    Conducted(u32),
    /// Whatever the operator's licence says.
    Licence,
}

/// What must be heard before a frame, and left after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// The channel must have been free for so long.
    pub before_us: u32,
    /// Above this it is not free.
    pub threshold_dbm: i16,
    /// After a frame of ours there is none for so long.
    pub after_us: u32,
}

/// Whether payloads may be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// They may.
    Allowed,
    /// Clear text alone, with a call sign.
    Forbidden,
}

/// A range of frequencies in which one rule holds, and one account of airtime is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubBand {
    /// Its account in the ledger: lies on disks, is never given to another sub-band.
    pub key: u16,
    /// Whose rule it is.
    pub region: Region,
    /// First and last hertz that a signal may fill.
    pub range_hz: (u32, u32),
    /// How wide a signal may be, in hertz.
    pub bandwidth_hz: (u32, u32),
    /// The share of any hour that one transmitter may be on, in thousandths; none if that is not ruled.
    pub duty_permille: Option<u16>,
    /// How strong.
    pub power: Power,
    /// How long one frame may be, in microseconds.
    pub frame_max_us: Option<u64>,
    /// Whether one must listen first.
    pub listen: Option<Silence>,
    /// Whether payloads may be sealed.
    pub secrecy: Secrecy,
}

/// Why nothing is sent on a frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// Nothing is known of it.
    #[error("nothing in the table of {AS_OF} says what may be sent at {0} Hz in this region")]
    Unknown(u32),
    /// The signal is wider than what is left of the sub-band.
    #[error(
        "a signal {bandwidth_hz} Hz wide at {centre_hz} Hz is not within {from_hz} to {to_hz} Hz"
    )]
    Edge {
        /// The middle of the signal.
        centre_hz: u32,
        /// How wide it is.
        bandwidth_hz: u32,
        /// Where the sub-band begins.
        from_hz: u32,
        /// Where it ends.
        to_hz: u32,
    },
    /// No rule is for a signal so wide.
    #[error("no rule at {centre_hz} Hz is for a signal {bandwidth_hz} Hz wide")]
    Bandwidth {
        /// The middle of the signal.
        centre_hz: u32,
        /// How wide it is.
        bandwidth_hz: u32,
    },
}

impl SubBand {
    /// The account that airtime here goes into, and how many microseconds of an hour it may hold.
    pub fn limit(&self) -> Limit {
        let most_us = self.duty_permille.map(|permille| HOUR_US / 1_000 * u64::from(permille));
        Limit::new(self.key, most_us)
    }

    /// Whether one frame may be so long.
    pub fn may_last(&self, frame_us: u64) -> bool {
        self.frame_max_us.is_none_or(|most_us| frame_us <= most_us)
    }

    fn has(&self, hz: u32) -> bool {
        (self.range_hz.0..=self.range_hz.1).contains(&hz)
    }

    fn is_for(&self, bandwidth_hz: u32) -> bool {
        (self.bandwidth_hz.0..=self.bandwidth_hz.1).contains(&bandwidth_hz)
    }

    /// Whether the whole signal lies in here.
    fn holds(&self, centre_hz: u32, bandwidth_hz: u32) -> bool {
        let half = bandwidth_hz.div_ceil(2);
        let (low, high) = (centre_hz.checked_sub(half), centre_hz.checked_add(half));
        low.is_some_and(|hz| self.has(hz)) && high.is_some_and(|hz| self.has(hz))
    }
}

/// The sub-band that the whole of a signal lies in.
pub fn find(
    region: Region,
    centre_hz: u32,
    bandwidth_hz: u32,
) -> Result<&'static SubBand, Refused> {
    let here = || TABLE.iter().filter(move |band| band.region == region && band.has(centre_hz));
    if here().next().is_none() {
        return Err(Refused::Unknown(centre_hz));
    }
    let Some(band) = here().find(|band| band.is_for(bandwidth_hz)) else {
        return Err(Refused::Bandwidth { centre_hz, bandwidth_hz });
    };
    if band.holds(centre_hz, bandwidth_hz) {
        return Ok(band);
    }
    let (from_hz, to_hz) = band.range_hz;
    Err(Refused::Edge { centre_hz, bandwidth_hz, from_hz, to_hz })
}

/// The account of whatever no rule is known for, since it says no frequency: a modem that sees to the
/// rules by itself, a wire that many hear.
pub fn unruled() -> Limit {
    Limit::new(0, None)
}

/// Every sub-band that is known.
pub fn all() -> &'static [SubBand] {
    &TABLE
}

const ANY_WIDTH: (u32, u32) = (1, u32::MAX);
const KHZ: u32 = 1_000;

/// What most rows are like.
const fn row(key: u16, region: Region, from_khz: u32, to_khz: u32) -> SubBand {
    SubBand {
        key,
        region,
        range_hz: (from_khz * KHZ, to_khz * KHZ),
        bandwidth_hz: ANY_WIDTH,
        duty_permille: None,
        power: Power::Licence,
        frame_max_us: None,
        listen: None,
        secrecy: Secrecy::Allowed,
    }
}

const fn europe(
    key: u16,
    from_khz: u32,
    to_khz: u32,
    permille: u16,
    erp_milliwatts: u32,
) -> SubBand {
    SubBand {
        duty_permille: Some(permille),
        power: Power::Erp(erp_milliwatts),
        ..row(key, Region::Europe, from_khz, to_khz)
    }
}

const fn amateur(key: u16, from_khz: u32, to_khz: u32) -> SubBand {
    SubBand { secrecy: Secrecy::Forbidden, ..row(key, Region::Amateur, from_khz, to_khz) }
}

/// The sub-bands; new ones get new keys.
static TABLE: [SubBand; 14] = [
    // Europe: Commission decision (EU) 2017/1483 and EN 300 220-2 V3.2.1, as LoRaWAN's makers sum them
    // up: bands K, L, M, N, P, Q. The gaps between them are for alarms. The other choice there,
    // to listen and change the frequency for 100 s an hour in 200 kHz, is not made use of.
    europe(1, 863_000, 865_000, 1, 25),
    europe(2, 865_000, 868_000, 10, 25),
    europe(3, 868_000, 868_600, 10, 25),
    europe(4, 868_700, 869_200, 1, 25),
    europe(5, 869_400, 869_650, 100, 500),
    europe(6, 869_700, 870_000, 10, 25),
    // 433 MHz: the same decision.
    europe(7, 433_050, 434_790, 100, 10),
    // United States: 47 CFR 15.247. From 500 kHz on there is no limit in time; what is narrower must
    // hop, and stay 400 ms on a channel.
    SubBand {
        bandwidth_hz: (500 * KHZ, 26_000 * KHZ),
        power: Power::Conducted(1_000),
        ..row(16, Region::UnitedStates, 902_000, 928_000)
    },
    SubBand {
        bandwidth_hz: (1, 500 * KHZ - 1),
        // With 25 to 49 channels; 1 W is for 50 and more.
        power: Power::Conducted(250),
        frame_max_us: Some(400_000),
        ..row(17, Region::UnitedStates, 902_000, 928_000)
    },
    // Japan: ARIB STD-T108, the part that is listened in for 5 ms; up to 5 channels of 200 kHz as one.
    SubBand {
        bandwidth_hz: (1, 1_000 * KHZ),
        power: Power::Conducted(20),
        frame_max_us: Some(4_000_000),
        listen: Some(Silence { before_us: 5_000, threshold_dbm: -80, after_us: 50_000 }),
        ..row(32, Region::Japan, 920_500, 923_500)
    },
    // Australia's class licence for low interference devices and New Zealand's general one: the
    // part that both have.
    SubBand { power: Power::Eirp(1_000), ..row(48, Region::Australia, 915_000, 928_000) },
    // India: G.S.R. 564(E) of 2005.
    SubBand {
        bandwidth_hz: (1, 200 * KHZ),
        power: Power::Conducted(1_000),
        ..row(64, Region::India, 865_000, 867_000)
    },
    // What is amateur radio's in all three regions of the ITU.
    amateur(80, 144_000, 146_000),
    amateur(81, 430_000, 440_000),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn found(region: Region, khz: u32, bandwidth_khz: u32) -> Result<u16, Refused> {
        find(region, khz * KHZ, bandwidth_khz * KHZ).map(|band| band.key)
    }

    #[test]
    fn a_signal_lies_in_the_sub_band_of_its_frequency() {
        for (khz, bandwidth_khz, key, permille, milliwatts) in [
            (864_000, 125, 1, 1, 25),
            (867_100, 125, 2, 10, 25),
            (868_100, 125, 3, 10, 25),
            (868_300, 250, 3, 10, 25),
            (868_900, 125, 4, 1, 25),
            (869_525, 125, 5, 100, 500),
            (869_525, 250, 5, 100, 500),
            (869_850, 125, 6, 10, 25),
            (433_175, 125, 7, 100, 10),
        ] {
            let band = find(Region::Europe, khz * KHZ, bandwidth_khz * KHZ).unwrap();
            assert_eq!(band.key, key, "{khz}");
            assert_eq!(band.duty_permille, Some(permille), "{khz}");
            assert_eq!(band.power, Power::Erp(milliwatts), "{khz}");
            assert_eq!(band.limit(), Limit::new(key, Some(3_600_000 * u64::from(permille))));
        }
    }

    #[test]
    fn what_is_not_known_or_reaches_out_is_refused() {
        let refused = |khz, bandwidth_khz| found(Region::Europe, khz, bandwidth_khz).unwrap_err();
        assert_eq!(refused(868_650, 125), Refused::Unknown(868_650_000));
        assert_eq!(refused(915_000, 125), Refused::Unknown(915_000_000));
        assert_eq!(refused(0, 125), Refused::Unknown(0));
        // 500 kHz do not fit into 250.
        let edge = |centre_hz, bandwidth_hz, from_hz, to_hz| Refused::Edge {
            centre_hz,
            bandwidth_hz,
            from_hz,
            to_hz,
        };
        assert_eq!(refused(869_525, 500), edge(869_525_000, 500_000, 869_400_000, 869_650_000));
        // Half of it would be in the sub-band of 1 %, half of it in another.
        assert_eq!(refused(868_000, 125), edge(868_000_000, 125_000, 865_000_000, 868_000_000));
        let wide = Refused::Bandwidth { centre_hz: 866_000_000, bandwidth_hz: 250_000 };
        assert_eq!(found(Region::India, 866_000, 250), Err(wide));
        assert!(find(Region::Amateur, u32::MAX, u32::MAX).is_err());
        assert!(find(Region::Amateur, 144_000_000, u32::MAX).is_err());
        assert!(
            Refused::Unknown(1).to_string().contains(AS_OF),
            "whoever is refused sees how old the table is"
        );
    }

    #[test]
    fn each_region_has_its_own_rule() {
        let wide = find(Region::UnitedStates, 915_000_000, 500_000).unwrap();
        assert!(wide.may_last(u64::MAX) && wide.duty_permille.is_none());
        let narrow = find(Region::UnitedStates, 915_000_000, 125_000).unwrap();
        assert!(narrow.may_last(400_000) && !narrow.may_last(400_001));
        let japan = find(Region::Japan, 922_000_000, 125_000).unwrap();
        // 228 bytes at SF12 are 8.2 s.
        assert!(japan.may_last(4_000_000) && !japan.may_last(8_200_192));
        assert_eq!(japan.listen.map(|silence| silence.before_us), Some(5_000));
        assert_eq!(found(Region::Australia, 916_800, 125), Ok(48));
        assert_eq!(found(Region::India, 865_400, 125), Ok(64));
        assert_eq!(found(Region::Amateur, 433_775, 125), Ok(81));
        for band in all() {
            let clear = band.secrecy == Secrecy::Forbidden;
            assert_eq!(clear, band.region == Region::Amateur, "{band:?}");
        }
    }

    #[test]
    fn no_two_rules_are_for_the_same_signal_and_no_account_is_shared() {
        let keys: BTreeSet<u16> = all().iter().map(|band| band.key).collect();
        assert_eq!(keys.len(), all().len());
        for (at, band) in all().iter().enumerate() {
            assert!(
                band.range_hz.0 < band.range_hz.1 && band.bandwidth_hz.0 <= band.bandwidth_hz.1
            );
            assert!(band.duty_permille.is_none_or(|permille| (1..=1_000).contains(&permille)));
            for other in all()[at + 1..].iter().filter(|other| other.region == band.region) {
                // They may touch: no signal fits across an edge.
                let apart = |one: (u32, u32), two: (u32, u32)| one.1 <= two.0 || two.1 <= one.0;
                let by_range = apart(band.range_hz, other.range_hz);
                let by_width = apart(band.bandwidth_hz, other.bandwidth_hz)
                    && band.bandwidth_hz.0 != other.bandwidth_hz.0;
                assert!(by_range || by_width, "{band:?} {other:?}");
            }
        }
    }
}
