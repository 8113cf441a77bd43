//! Replies about the audit chain.

use serde::{Deserialize, Serialize};

/// One record of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "type", rename = "audit")]
pub struct AuditLine {
    /// Its number, from 1.
    pub number: u64,
    /// What happened: started, ended, refused, unknown-handle, not-begun, unknown, expired, superseded,
    /// skipped, cancelled, undone; held, approved, taken-back, released; allow-list, signed, forgotten.
    pub what: String,
    /// With which job.
    pub job: Option<String>,
    /// Whose job; of approved and taken-back, who said so: a name, or an id.
    pub who: Option<String>,
    /// Their id, `pr1…`.
    pub who_id: Option<String>,
    /// By which handle.
    pub handle: Option<String>,
    /// BLAKE3: of started, of the job and its command, as it is agreed to; of allow-list, of the file.
    pub blake3: Option<String>,
    /// Why, or how.
    pub why: Option<String>,
    /// Unix seconds, where the clock could be trusted.
    pub clock: Option<u64>,
    /// Milliseconds of the custody clock.
    pub held_ms: u64,
    /// The link of the one before it.
    pub before: String,
    /// Its own link: the head, when it was the newest.
    pub link: String,
    /// Of signed, this node's signature under `before`.
    pub signature: Option<String>,
}

/// What a check of it found, where all of it holds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "type", rename = "audit-checked")]
pub struct AuditChecked {
    /// How many records there are.
    pub records: u64,
    /// The number of the oldest; those before it were forgotten.
    pub first: u64,
    /// The number of the newest.
    pub last: u64,
    /// The link of the newest.
    pub head: String,
    /// Up to which number this node's own signature speaks for it.
    pub signed: u64,
    /// Behind which number stands the link that was asked for.
    pub has: Option<u64>,
}
