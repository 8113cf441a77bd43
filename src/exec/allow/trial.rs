//! What belongs to a command whose work is on trial: the operator's own words, without slots.

use serde::{Deserialize, Serialize};

use super::EntryError;

/// Uptime in which all must be well, where an entry does not say.
pub const WITHIN_S: u32 = 600;
/// Starts after which it is undone, where an entry does not say.
pub const STARTS: u8 = 3;
/// The longest that something is on trial: a week.
const WITHIN_MAX: u32 = 7 * 86_400;
const STARTS_MAX: u8 = 100;
/// Words of one of its commands, and bytes of each.
const WORDS_MAX: usize = 256;
const WORD_MAX: usize = 4096;

/// How an update or a new start of the machine stands its trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Puts what is new in the place of what was; nothing, if the command itself does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arm: Vec<String>,
    /// Starts it: the machine, or this program. Runs outside the cage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart: Vec<String>,
    /// Ends with 0 where all is well.
    pub check: Vec<String>,
    /// Makes it stay; nothing, if that needs nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
    /// Puts what was in its place again.
    pub undo: Vec<String>,
    /// Seconds of uptime in which all must be well.
    #[serde(default = "within_s")]
    pub within_s: u32,
    /// Starts of this program after which it is undone.
    #[serde(default = "starts")]
    pub starts: u8,
}

fn within_s() -> u32 {
    WITHIN_S
}

fn starts() -> u8 {
    STARTS
}

impl Trial {
    /// Whether it can stand on the list.
    pub(super) fn check(&self) -> Result<(), EntryError> {
        for (key, words) in [
            ("arm", &self.arm),
            ("restart", &self.restart),
            ("check", &self.check),
            ("keep", &self.keep),
            ("undo", &self.undo),
        ] {
            let Some(program) = words.first() else {
                if key == "check" || key == "undo" {
                    return Err(EntryError::Range(key, "there, where something is on trial"));
                }
                continue;
            };
            let plain = |word: &String| {
                !word.is_empty() && word.len() <= WORD_MAX && !word.chars().any(char::is_control)
            };
            if !program.starts_with('/') {
                return Err(EntryError::Range(key, "a command that begins with an absolute path"));
            }
            if words.len() > WORDS_MAX || !words.iter().all(plain) {
                return Err(EntryError::Range(key, "at most 256 words of printable characters"));
            }
        }
        if !(1..=WITHIN_MAX).contains(&self.within_s) {
            return Err(EntryError::Range("trial-s", "1 to 604800 seconds"));
        }
        if !(1..=STARTS_MAX).contains(&self.starts) {
            return Err(EntryError::Range("starts", "1 to 100"));
        }
        Ok(())
    }
}
