//! The table `[bluetooth]` of the settings: how much is done to find who is near, and with what.

use postrider_engine::near;
use serde::{Deserialize, Serialize};

/// What a person says of Bluetooth.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Bluetooth {
    /// How much is done to find others and to be found.
    pub profile: Profile,
    /// The adapters that are used, by their names, as `hci0`. None: all there are.
    pub adapters: Vec<String>,
}

/// How much is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Found within seconds.
    #[default]
    Quick,
    /// Found within half a minute, for a tenth of the listening.
    Saver,
    /// Not at all.
    Off,
}

/// Adapters that can be named: as many as are used.
const ADAPTERS_MAX: usize = near::limits::ADAPTERS_MAX;
/// What names of adapters are, for a message.
pub(super) const ADAPTERS_RANGE: &str = "up to 8 names of adapters, as hci0";

impl Profile {
    /// The word in the settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Saver => "saver",
            Self::Off => "off",
        }
    }
}

impl From<Profile> for near::Profile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Quick => Self::Quick,
            Profile::Saver => Self::Saver,
            Profile::Off => Self::Off,
        }
    }
}

impl Bluetooth {
    /// Whether anything is done at all.
    pub fn is_on(&self) -> bool {
        self.profile != Profile::Off
    }

    /// Whether it says something that means nothing.
    pub(super) fn is_wrong(&self) -> bool {
        let number = |name: &String| name.strip_prefix("hci").map(str::parse::<u16>);
        let is_name = |name| matches!(number(name), Some(Ok(_)));
        self.adapters.len() > ADAPTERS_MAX || !self.adapters.iter().all(is_name)
    }

    pub(super) fn text(&self) -> String {
        let adapters = serde_json::Value::from(&*self.adapters);
        format!("\n[bluetooth]\nprofile = \"{}\"\nadapters = {adapters}\n", self.profile.word())
    }
}
