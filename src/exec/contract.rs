//! The contract between whoever decides that a job runs and what runs it: read this first.
//!
//! Every job that runs has a folder, which is made once. Whoever decides writes the order there,
//! durably, and starts a supervisor: a process of its own, which outlives whoever started it.
//!
//! ```text
//! order     what is to be run: written to a name of its own, synced, renamed, the folder synced; or
//!           synced with the folder by whoever takes note of that
//! lock      locked by the supervisor until the outcome is durable, or for as long as it lives; never
//!           waited for. A record lock of fcntl: it can be asked about without being taken, so that
//!           looking disturbs nobody
//! started   durable before the command's first instruction; never removed
//! stdin     what the command reads, where that is more than an order holds; whoever decides puts it there
//! given/    attachments under generated names, read-only for the command
//! work/     the command's own: its current directory, HOME and TMPDIR
//! stdout    what came out, at most the order's bound: its beginning and its end. What is few stands in
//!           the outcome, too, and is durable only there
//! stderr    the same
//! kill      made by whoever wants the command to end: how many milliseconds it has for that
//! outcome   how it ended: written as the order is; nothing changes after it
//! trouble   why a supervisor could do nothing at all, in words, for a person
//! ```
//!
//! What holds:
//! - A supervisor that finds the lock taken, or `started` or `outcome` there, runs nothing. So two
//!   supervisors of one folder run the command once, and one that was started again after a crash
//!   runs it only if it is certain that it never ran.
//! - A supervisor that was started ahead may do all that comes before `started` while the folder is not
//!   durable yet; it waits for a word then, without which it ends as if it had never been.
//! - `outcome` without a reader's doubt: it is there whole or not at all. Room for it is set aside
//!   before anything runs, so that a full disk does not hide how a command ended.
//! - While the lock is taken the standing is [`Standing::Running`], even if `outcome` is there: until
//!   then it may not be durable. Whoever started the supervisor is told an outcome that holds all of the
//!   output sooner, and has to make durable itself what follows from it.
//! - When the supervisor dies the command dies with it; then `started` without `outcome` stays for
//!   ever, and the standing is [`Standing::Unknown`].
//! - Everything that the command started is ended before `outcome` is written.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// What a command reads is part of its order up to here, in bytes: one file less to make durable, which
/// takes as long as starting the command.
pub const STDIN_MAX: u64 = 16 << 10;

/// What is to be run, within which bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The job's id, for `POSTRIDER_JOB_ID`.
    pub job: [u8; 32],
    /// Who asked for it, as text, for `POSTRIDER_JOB_FROM`.
    pub from: String,
    /// What is run: an absolute path, then the arguments. No shell reads them.
    pub argv: Vec<Vec<u8>>,
    /// BLAKE3 of the program's file, where the entry pins it: checked on the open file that is run.
    pub pin: Option<[u8; 32]>,
    /// What the command reads, if it is no more than [`STDIN_MAX`]; else it is the file `stdin`.
    #[serde(with = "serde_bytes")]
    pub stdin: Option<Vec<u8>>,
    /// What holds for it.
    pub limits: Limits,
    /// What it may reach beyond its own folder.
    pub reach: Reach,
    /// Whether it runs where something of this cannot be enforced; else it is refused there.
    pub best_effort: bool,
    /// Further variables of its environment, which this node's owner is told by (`POSTRIDER_…`), in place of
    /// those of a job. A job has none: nothing that came from outside names a variable.
    #[serde(default)]
    pub told: BTreeMap<String, String>,
}

/// How much a command may use. Where each is enforced is in [`Outcome::enforced`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Seconds from its start to its end.
    pub wall_s: u32,
    /// Seconds of processor, each process.
    pub cpu_s: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Processes and threads at once.
    pub processes: u32,
    /// Bytes kept of standard output and of standard error, each: half of them from the beginning,
    /// half from the end.
    pub output_bytes: u64,
    /// Bytes in its own folder, and of any file that it writes.
    pub scratch_bytes: u64,
}

impl Default for Limits {
    /// A judgement: enough for a script of a careful operator, too little to hurt.
    fn default() -> Self {
        Self {
            wall_s: 600,
            cpu_s: 300,
            memory_bytes: 256 << 20,
            processes: 64,
            output_bytes: 64 << 20,
            scratch_bytes: 100 << 20,
        }
    }
}

/// What a command may reach beyond the system's own programs and libraries, which it may read and
/// run, and its own folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Whether it has a network.
    pub net: bool,
    /// What it may read.
    pub read: Vec<PathBuf>,
    /// What it may write.
    pub write: Vec<PathBuf>,
    /// Whose name it runs under, where this node may choose that.
    pub user: Option<String>,
}

/// What is known of a job's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It certainly never ran: a supervisor may be started, again.
    NotStarted,
    /// A supervisor has it.
    Running,
    /// It ended.
    Ended(Box<Outcome>),
    /// It was started, and nobody can say how it ended.
    Unknown,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// In which way.
    pub end: End,
    /// Milliseconds from start to end, by a clock that does not jump.
    pub ran_ms: u64,
    /// What it wrote to standard output.
    pub stdout: Captured,
    /// What it wrote to standard error.
    pub stderr: Captured,
    /// Which bounds were enforced here, and how: a bound's name, then the means ("landlock", "none").
    pub enforced: BTreeMap<String, String>,
}

impl Outcome {
    /// Whether it holds all that the command wrote.
    pub fn stands_alone(&self) -> bool {
        self.stdout.few.is_some() && self.stderr.few.is_some()
    }
}

/// In which way a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// By itself, with this status.
    Exited(u8),
    /// By a signal that it did not get from its supervisor.
    Signalled(u8),
    /// It used more than it may, and was ended for that.
    Overran(Bound),
    /// Somebody wanted it to end.
    Killed,
    /// It did not begin, and why.
    NotBegun(String),
}

/// A bound that ends a command which goes beyond it. At the others it gets an error and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bound {
    /// [`Limits::wall_s`].
    Wall,
    /// [`Limits::cpu_s`].
    Cpu,
    /// [`Limits::memory_bytes`].
    Memory,
    /// [`Limits::scratch_bytes`].
    Scratch,
}

/// What came out of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// Bytes that the command wrote.
    pub bytes: u64,
    /// BLAKE3 of all of them, whether kept or not.
    pub blake3: [u8; 32],
    /// Where in the kept file the end begins, if something between is missing. Where that is the
    /// length of the file, nothing of the end was kept: the disk was full.
    pub cut_at: Option<u64>,
    /// All of them, where they are few: then the file says the same but is not durable.
    #[serde(default, with = "serde_bytes", skip_serializing_if = "Option::is_none")]
    pub few: Option<Vec<u8>>,
}
