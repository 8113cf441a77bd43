//! The tables `[[links]]` of the settings: what may go over which links.

use postrider_base::{link::LinkFacts, roster::Day};
use serde::{Deserialize, Serialize};

use super::{Acl, ConfigError, Contacts, acl::wrong_word};

/// What holds for the links that some words name. Of several that fit a link each narrows it further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct LinkRule {
    /// To whom, in the words of `[acl]`, or a kind of link with its colon, as `pipe:`.
    #[serde(rename = "for")]
    pub to: Vec<String>,
    /// The longest bundle, in bytes: what is longer waits for another way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<u64>,
    /// The nicest bundle, 1 to 255: what is nicer waits for another way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nicest: Option<u8>,
    /// Whether what is neither for nor from the two ends goes over it.
    pub relay: bool,
    /// Bytes cost money: silence is not filled with pings, and copies count.
    pub metered: bool,
}

impl Default for LinkRule {
    fn default() -> Self {
        Self { to: Vec::new(), longest: None, nicest: None, relay: true, metered: false }
    }
}

/// Kinds of links.
const KINDS: [&str; 5] = ["tls:", "pipe:", PORT, OVERLAY, "bluetooth:"];
/// Over a port, here or behind a terminal server.
const PORT: &str = "serial:";
/// Through another network of ours, over whatever that uses.
const OVERLAY: &str = "ygg:";
/// Each of them is looked at for every link.
const RULES_MAX: usize = 64;
/// A short message with its seal and its signature fits; less could let nothing at all through.
const LONGEST_MIN: u64 = 1024;

/// Refuses what cannot be meant.
pub(super) fn check(rules: &[LinkRule]) -> Result<(), ConfigError> {
    let wrong = |key, range| Err(ConfigError::Range { key, range });
    if rules.len() > RULES_MAX {
        return wrong("[[links]]", "64 of them at most");
    }
    for rule in rules {
        if rule.to.is_empty() {
            return wrong("for in [[links]]", "whom, or a kind of link as pipe:");
        }
        if rule.longest.is_some_and(|longest| longest < LONGEST_MIN) {
            return wrong("longest in [[links]]", "1024 or more");
        }
        if rule.nicest == Some(0) {
            return wrong("nicest in [[links]]", "1 to 255");
        }
        let is_wrong = |word: &&String| match word.ends_with(':') {
            true => !KINDS.contains(&word.as_str()),
            false => wrong_word(word),
        };
        if let Some(word) = rule.to.iter().find(is_wrong) {
            return Err(ConfigError::Link(word.clone()));
        }
    }
    Ok(())
}

impl LinkRule {
    /// Whether it holds for a link.
    pub fn is_for(&self, facts: &LinkFacts, contacts: &Contacts, today: Day) -> bool {
        let scheme = format!("{}:", facts.address.scheme());
        let kind = match &*scheme {
            _ if facts.overlay => OVERLAY,
            "serial+tcp:" | "kiss+tcp:" => PORT,
            scheme => scheme,
        };
        let is_kind = self.to.iter().any(|word| word == kind);
        is_kind || Acl::means(&self.to, contacts, facts.peer.as_ref(), today)
    }

    /// What holds for one link where all these do.
    pub fn together<'a>(rules: impl Iterator<Item = &'a Self>) -> Self {
        rules.fold(Self::default(), |all, rule| Self {
            to: Vec::new(),
            longest: least(all.longest, rule.longest),
            nicest: least(all.nicest, rule.nicest),
            relay: all.relay && rule.relay,
            metered: all.metered || rule.metered,
        })
    }
}

fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

/// The tables as text.
pub(super) fn text(rules: &[LinkRule]) -> String {
    let table = |rule: &LinkRule| {
        let mut text = format!("\n[[links]]\nfor = {}\n", serde_json::Value::from(&*rule.to));
        let mut line = |key: &str, value: Option<u64>| {
            text.extend(value.map(|value| format!("{key} = {value}\n")));
        };
        line("longest", rule.longest);
        line("nicest", rule.nicest.map(u64::from));
        text + &format!("relay = {}\nmetered = {}\n", rule.relay, rule.metered)
    };
    rules.iter().map(table).collect()
}
