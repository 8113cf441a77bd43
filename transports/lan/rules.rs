//! Which interfaces take part, and how.

use std::fmt;

use regex_lite::RegexBuilder;

/// Longest pattern: a few interface names, of 15 characters at most.
const PATTERN_MAX: usize = 256;
/// Memory for one pattern; `(a{99}){99}` is refused.
const COMPILED_MAX_BYTES: usize = 64 << 10;

/// What holds for the interfaces that a pattern names.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Whose whole name matches.
    pub interfaces: Pattern,
    /// Show this node there.
    pub beacons: bool,
    /// Listen for others there.
    pub listen: bool,
    /// Where somebody is heard on several interfaces, the lowest is dialled.
    pub priority: u8,
}

impl Default for Rule {
    /// Everything on every interface.
    fn default() -> Self {
        let interfaces = Pattern::new(".*").expect("a valid pattern");
        Self { interfaces, beacons: true, listen: true, priority: 128 }
    }
}

/// A regular expression that a whole interface name has to match, as in `eth.*`.
#[derive(Clone)]
pub struct Pattern(regex_lite::Regex);

/// Why a text is not a [`Pattern`].
#[derive(Debug, thiserror::Error)]
#[error("not a pattern for interfaces")]
pub struct PatternError(#[source] Option<regex_lite::Error>);

impl Pattern {
    /// Compiles a pattern.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.len() > PATTERN_MAX {
            return Err(PatternError(None));
        }
        let compiled = |text: &str| {
            let regex = RegexBuilder::new(text).size_limit(COMPILED_MAX_BYTES).build();
            regex.map_err(|error| PatternError(Some(error)))
        };
        // By itself first: `a)(b` is a pattern only with brackets around it.
        compiled(text)?;
        compiled(&format!("^(?:{text})$")).map(Self)
    }

    fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// The first rule for an interface of this name; none if it takes no part.
pub(super) fn rule_for<'a>(rules: &'a [Rule], name: &str) -> Option<&'a Rule> {
    let rule = rules.iter().find(|rule| rule.interfaces.matches(name));
    rule.filter(|rule| rule.beacons || rule.listen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, listen: bool) -> Rule {
        let interfaces = Pattern::new(pattern).unwrap();
        Rule { interfaces, beacons: listen, listen, priority: 1 }
    }

    #[test]
    fn a_pattern_names_whole_interfaces_and_the_first_rule_decides() {
        let rules = [rule("docker.*|veth.*", false), rule("eth.*|wlan[0-9]+", true)];
        for (name, takes_part) in [
            ("eth0", true),
            ("eth", true),
            ("wlan12", true),
            ("wlan", false),
            ("beth0", false),
            ("veth1", false),
            ("docker0", false),
            ("lo", false),
        ] {
            assert_eq!(rule_for(&rules, name).is_some(), takes_part, "{name}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let long = "a".repeat(PATTERN_MAX + 1);
        for text in ["(", "*", "a{1000}{1000}{1000}", "a)(b", &long] {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
    }
}
