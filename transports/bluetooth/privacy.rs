//! Whether the address changes together with what is said. That is BlueZ's to set, not ours.

use std::fs;

/// Where BlueZ is set up on most systems.
const SET_UP_IN: &str = "/etc/bluetooth/main.conf";

/// How an adapter's address changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Addresses {
    /// With everything new that is said.
    Changing,
    /// Every quarter of an hour, whatever is said: the adapter has no extended advertising (Bluetooth 5).
    Slow,
    /// Never: who was here yesterday is known by its address. `Privacy = device` in the section
    /// `[General]` of `/etc/bluetooth/main.conf`, and a restart of the service, change that.
    Fixed,
}

/// What holds for an adapter, as far as it can be told: as BlueZ is set up now, which it reads at start.
pub(super) fn addresses(extended: bool) -> Addresses {
    let set_up = fs::read_to_string(SET_UP_IN).unwrap_or_default();
    match (is_private(&set_up), extended) {
        (false, _) => Addresses::Fixed,
        (true, true) => Addresses::Changing,
        (true, false) => Addresses::Slow,
    }
}

/// Whether addresses change, by the text of BlueZ's settings.
fn is_private(text: &str) -> bool {
    let mut section = "";
    let mut private = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if let Some((key, value)) = line.split_once('=') {
            if section == "General" && key.trim() == "Privacy" {
                // "limited-…" shows the address while discoverable, which ours is not.
                private = !matches!(value.trim(), "off" | "");
            }
        }
    }
    private
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privacy_is_what_the_last_line_of_its_section_says() {
        for (text, private) in [
            ("", false),
            ("[General]\n#Privacy = device\n", false),
            ("[General]\nPrivacy = device\n", true),
            ("[General]\nPrivacy=network/on\n", true),
            ("[General]\nPrivacy = off\n", false),
            ("[Policy]\nPrivacy = device\n", false),
            ("[General]\n Privacy = device\nPrivacy = off\n", false),
        ] {
            assert_eq!(is_private(text), private, "{text:?}");
        }
    }
}
