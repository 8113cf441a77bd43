//! Replies about jobs: mine at others, and what others want of me.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ReceivedFile, Word};

/// A job that this node asked another to run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "type", rename = "job")]
pub struct JobLine {
    /// Its id: the same here and at its target.
    pub id: String,
    /// Whom, by petname.
    pub to: String,
    /// By which handle.
    pub handle: String,
    /// queued, held, admitted, running; exited, unknown, refused, unknown-handle, not-begun, expired,
    /// cancelled, superseded, skipped, undone; of a fleet also waiting, not-sent. The list only grows.
    pub state: Word,
    /// The status of its command, where that ended by itself.
    pub exit_code: Option<u8>,
    /// The number of the signal that ended its command.
    pub signal: Option<u8>,
    /// What its command wrote, as text; nothing where nothing is known of it, and in lists.
    pub stdout: Option<String>,
    /// The same, of standard error.
    pub stderr: Option<String>,
    /// Milliseconds that its command ran.
    pub ran_ms: Option<u64>,
    /// Of a job that exited: exited, signalled, overran or killed; else as `state`.
    pub how: Word,
    /// Why, for a person.
    pub why: Option<String>,
    /// Whether its target said so, and not only this node.
    pub said: bool,
    /// Seconds since the last that its target said of it came here.
    pub said_s: Option<u64>,
    /// Seconds since it was saved.
    pub age_s: u64,
    /// How its bundle stands: saved, carried, delivered, expired, cancelled, refused.
    pub sent: Word,
    /// What fills the slots of its handle.
    pub args: Vec<String>,
    /// Attachments, standard input among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ReceivedFile>,
    /// In which queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// After which jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// The job that it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<String>,
    /// The run over a fleet that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<String>,
    /// Its place there, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u32>,
    /// Seconds since it was taken back here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back_s: Option<u64>,
    /// Milliseconds that it waited at its target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<u64>,
    /// Bytes that its command wrote to standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout_bytes: Option<u64>,
    /// And to standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr_bytes: Option<u64>,
    /// When its target said how it ended, in Unix seconds of its clock, if that can be trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<u64>,
    /// Which bounds were enforced, and by what.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub enforced: BTreeMap<String, String>,
    /// The head of its target's audit chain when it said how it ended, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
}

/// What is here of one output of a job's command.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "type", rename = "output")]
pub struct OutputLine {
    /// Of which job.
    pub id: String,
    /// stdout or stderr.
    pub stream: Word,
    /// Bytes that were written.
    pub bytes: u64,
    /// BLAKE3 of all of them.
    pub blake3: String,
    /// Bytes that are not here.
    pub missing: u64,
    /// Why they are not: not-sent, on-the-way or not-kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_why: Option<Word>,
    /// Where what is here lies, for who may read this home; then it does not stand in `head` and
    /// `tail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Bytes before the gap.
    pub head_bytes: u64,
    /// Bytes behind it.
    pub tail_bytes: u64,
    /// The bytes before the gap, in hexadecimal.
    #[serde(default)]
    pub head: String,
    /// The bytes behind it.
    #[serde(default)]
    pub tail: String,
}

/// A job of somebody else's that this node held, and lets go on.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "type", rename = "job-released")]
pub struct JobReleased {
    /// The job.
    pub id: String,
    /// Who wants it run.
    pub from: String,
    /// By which handle.
    pub handle: String,
}

/// A job of somebody that its target wants others to agree to.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "type", rename = "proposal")]
pub struct ProposalLine {
    /// The job.
    pub id: String,
    /// Who wants it run.
    pub from: String,
    /// Their id, `pr1…`.
    pub from_id: String,
    /// Where: who asks for agreement.
    pub to: String,
    /// By which handle.
    pub handle: String,
    /// The command as it would run, lossily.
    pub argv: Vec<String>,
    /// Its words so that nothing in them can hide.
    pub shown: Vec<String>,
    /// BLAKE3 of each attachment, standard input included.
    pub given: Vec<String>,
    /// How many must agree.
    pub needed: u8,
    /// What is agreed to: a hash of the job and of the command.
    pub approval: String,
    /// Seconds since it came.
    pub age_s: u64,
    /// Whether this node wants it run itself, and so cannot agree to it.
    pub mine: bool,
    /// Whether this node has agreed to exactly this.
    pub agreed: bool,
}

/// Something on trial here whose starts are counted.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "type", rename = "trial")]
pub struct TrialLine {
    /// The job whose command changed it.
    pub id: String,
    /// arm, restart, check, keep, undo, back, kept or undone.
    pub stage: Word,
    /// Starts since it was armed.
    pub starts: u8,
    /// Those that it has.
    pub of: u8,
    /// Why it is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
