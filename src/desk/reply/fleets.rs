//! Replies about runs over fleets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Word;

/// One run over a fleet.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "type", rename = "fleet")]
pub struct FleetLine {
    /// What it is called.
    pub name: String,
    /// On whom it was, as it was said.
    pub on: Vec<String>,
    /// By which handle.
    pub handle: String,
    /// What fills its slots.
    pub args: Vec<String>,
    /// canaries, waits, going; done, halting, halted, cancelling, cancelled, expired.
    pub state: Word,
    /// Why, for a person.
    pub why: Option<String>,
    /// Whether nothing is left to be done here.
    pub over: bool,
    /// How many targets there are.
    pub of: u32,
    /// How many of the first go ahead.
    pub canary: u32,
    /// After so many failures nobody else begins; nothing where none are too many.
    pub max_failures: Option<u32>,
    /// Targets that were sent their job.
    pub sent: u32,
    /// Those whose command ended with 0.
    pub well: u32,
    /// Those that ended otherwise: a refusal, an unknown end and a job that came too late among them.
    pub failed: u32,
    /// Those from which it was taken back before it began, or while it ran.
    pub taken_back: u32,
    /// How many are in each state of a job: as in `job`, and waiting or not-sent.
    pub states: BTreeMap<Word, u32>,
    /// Seconds since it was saved.
    pub age_s: u64,
    /// Seconds until none of its jobs can begin any more.
    pub ends_s: u64,
}

/// One of those that a run would be for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "type", rename = "target")]
pub struct TargetLine {
    /// What I call them.
    pub name: String,
    /// `pr1…`.
    pub id: String,
    /// Whether they go ahead of the others.
    pub canary: bool,
    /// Why they are left out, if they are.
    pub left_out: Option<Word>,
}
