//! The table `[air]` of the settings: whose rules hold for this node's radios, and who is a licensed
//! station.

use postrider_engine::air::regions::Region;
use serde::{Deserialize, Serialize};

/// What a person says of their radios.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Air {
    /// Whose rules hold: one of [`REGIONS`]. Empty: a radio on a known frequency sends nothing.
    pub region: String,
    /// Contacts who are licensed stations, as this node is: what is between them may go over a band on
    /// which nothing may be enciphered.
    pub stations: Vec<String>,
}

/// The words for regions.
const REGIONS: [(&str, Region); 6] = [
    ("europe", Region::Europe),
    ("united-states", Region::UnitedStates),
    ("japan", Region::Japan),
    ("australia", Region::Australia),
    ("india", Region::India),
    ("amateur", Region::Amateur),
];
/// What they are, for a message.
pub(super) const REGION_RANGE: &str =
    "europe, united-states, japan, australia, india or amateur, or nothing";

impl Air {
    /// Whose rules hold, if that is said.
    pub fn region(&self) -> Option<Region> {
        REGIONS.iter().find(|(word, _)| *word == self.region).map(|(_, region)| *region)
    }

    /// Whether it says something that means nothing.
    pub(super) fn is_wrong(&self) -> bool {
        !self.region.is_empty() && self.region().is_none()
    }

    pub(super) fn text(&self) -> String {
        let region = serde_json::Value::from(&*self.region);
        let stations = serde_json::Value::from(&*self.stations);
        format!("\n[air]\nregion = {region}\nstations = {stations}\n")
    }
}
