//! The table `[hooks]` of the settings: what runs when mail or a job's result comes, and when it is quiet.

use std::path::{Component, Path};

use postrider_exec::allow::Window;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// What runs when something comes. Each command is a program's absolute path and its arguments; no shell
/// reads them, and nothing from outside is ever among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Hooks {
    /// Runs for each message of a contact.
    #[serde(alias = "on_message")]
    pub on_message: Vec<String>,
    /// Runs for each result of a job of mine.
    #[serde(alias = "on_job")]
    pub on_job: Vec<String>,
    /// When only calls for help run `on-message`, local time, as `22:00-07:00`; never, if empty.
    pub quiet: String,
    /// Seconds until a hook is ended.
    pub timeout: u32,
    /// Whether hooks have a network.
    pub net: bool,
    /// What hooks may read beside the system's own.
    pub read: Vec<String>,
    /// What they may write.
    pub write: Vec<String>,
    /// Whose name they run under, where the daemon may choose that; else a user of their own.
    pub user: String,
    /// Whether they run where something of their bounds cannot be enforced.
    pub best_effort: bool,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            on_message: Vec::new(),
            on_job: Vec::new(),
            quiet: String::new(),
            // Long enough for a device that is slow to wake.
            timeout: 60,
            net: false,
            read: Vec::new(),
            write: Vec::new(),
            user: String::new(),
            best_effort: false,
        }
    }
}

impl Hooks {
    /// Refuses what cannot be meant.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, range| Err(ConfigError::Range { key, range });
        let is_place = |path: &String| {
            let path = Path::new(path);
            path.is_absolute() && !path.components().any(|part| part == Component::ParentDir)
        };
        let is_command = |argv: &[String]| argv.first().is_none_or(is_place);
        let program = "a program's absolute path, then its arguments";
        if !is_command(&self.on_message) {
            return wrong("on-message in [hooks]", program);
        }
        if !is_command(&self.on_job) {
            return wrong("on-job in [hooks]", program);
        }
        if [&self.on_message, &self.on_job].into_iter().flatten().any(|word| word.contains('\0')) {
            return wrong("on-message and on-job in [hooks]", "without NUL");
        }
        if !self.quiet.is_empty() && self.quiet.parse::<Window>().is_err() {
            return wrong("quiet in [hooks]", "two different times of the day, as 22:00-07:00");
        }
        if !(1..=3600).contains(&self.timeout) {
            return wrong("timeout in [hooks]", "1 to 3600");
        }
        if !self.read.iter().chain(&self.write).all(is_place) {
            return wrong("read and write in [hooks]", "absolute paths without .. in them");
        }
        Ok(())
    }

    /// When it is quiet.
    pub fn quiet_hours(&self) -> Option<Window> {
        self.quiet.parse().ok()
    }

    /// The table as it stands in a file.
    pub(super) fn text(&self) -> String {
        let value = |text: &str| serde_json::Value::from(text).to_string();
        let list = |list: &[String]| serde_json::Value::from(list).to_string();
        format!(
            "\n[hooks]\non-message = {}\non-job = {}\nquiet = {}\ntimeout = {}\nnet = {}\n\
             read = {}\nwrite = {}\nuser = {}\nbest-effort = {}\n",
            list(&self.on_message),
            list(&self.on_job),
            value(&self.quiet),
            self.timeout,
            self.net,
            list(&self.read),
            list(&self.write),
            value(&self.user),
            self.best_effort,
        )
    }
}
