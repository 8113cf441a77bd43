//! The contract between the scheduler of a node's jobs and whatever runs it: read this first.
//!
//! One [`Scheduler`](super::Scheduler) owns every decision about the jobs that others sent here: when
//! each begins, and which answer it gets. It does nothing itself. A shell feeds it [`Input`]s and
//! obeys its [`Output`]s, in order, until there is none.
//!
//! What holds:
//! - Every job that arrived is answered, once, by one of [`How`], whatever crashes.
//! - A word about a job (taken back, agreed to) is kept until what follows from it is durable: the
//!   shell forgets it in one group with the notes ([`Output::Note`]) that it led to, and names it again
//!   after a start.
//! - Before a command can run, that it may have begun is durable ([`Phase::Starting`]); before that,
//!   its folder is. So whoever finds no such record knows that it never ran, and whoever finds one
//!   asks the folder ([`crate::contract::Standing`]).
//! - An answer and the record that it was given are one durable group.
//! - A job that was taken back before [`Phase::Starting`] was recorded never runs.
//! - What a command on trial changes is answered only when it is kept or undone ([`Stage`]).
//! - After a start the shell names every record that is durable ([`Input::Known`]), then says
//!   [`Input::Began`]; nothing begins before that.
//! - Answers of the shell to outputs of before a crash are not given.

use postrider_base::{
    BundleId, NodeId,
    bundle::Sequence,
    packet::{Fact, Handle, Turn},
};

use crate::contract::{Outcome, Standing};

pub use super::{
    record::{Phase, Record},
    trial::{OnTrial, Stage, Trial},
};

/// Two clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The custody clock in milliseconds: for ages and timers. It never goes back.
    pub held_ms: u64,
    /// Unix seconds, where the clock can be trusted.
    pub wall_s: Option<u64>,
}

/// What is asked for, as far as it says when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who asks.
    pub issuer: NodeId,
    /// Its number among those of its issuer for this node.
    pub sequence: Sequence,
    /// When it is to be run.
    pub turn: Turn,
    /// The custody clock when it arrived.
    pub arrived_ms: u64,
    /// How old it was then.
    pub age_s: u32,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// At a start: a record that is durable, and what was asked, if that is still here.
    Known {
        /// Of which job.
        job: BundleId,
        /// What was asked; nothing for a job that has not come.
        asked: Option<Box<Asked>>,
        /// What is durable; [`Record::new`] for a job of which nothing was recorded yet.
        record: Record,
    },
    /// All records were named.
    Began,
    /// A job came, whole.
    Arrived {
        /// Which.
        job: BundleId,
        /// What it asks for.
        asked: Box<Asked>,
    },
    /// Somebody takes a job back.
    Cancel {
        /// Which, whether it came or not.
        job: BundleId,
        /// Who.
        by: NodeId,
        /// Whether this node lets them end the jobs of others.
        admin: bool,
        /// Whether its command is ended if it runs.
        force: bool,
    },
    /// Somebody agrees to a command.
    Approve {
        /// Of which job.
        job: BundleId,
        /// Who.
        by: NodeId,
        /// To what.
        what: [u8; 32],
    },
    /// The issuer wants its answer again.
    Again {
        /// Of which job.
        job: BundleId,
        /// Who asks.
        by: NodeId,
        /// Whether all of its output is wanted.
        full: bool,
    },
    /// Somebody here lets a job go on that is held.
    Release {
        /// Which.
        job: BundleId,
    },
    /// The answer to [`Output::Judge`].
    Judged {
        /// Which job.
        job: BundleId,
        /// What the allow-list says of it now.
        verdict: Verdict,
    },
    /// The answer to [`Output::Place`]: whether its folder is durable.
    Placed {
        /// Whose.
        job: BundleId,
        /// Why it is not.
        result: Result<(), String>,
    },
    /// The answer to [`Output::Record`]: it is durable; or not now.
    Recorded {
        /// Whose.
        job: BundleId,
        /// Whether it is.
        durable: bool,
    },
    /// The answer to [`Output::Start`] and [`Output::Look`]: what its folder says. Where that is
    /// [`Standing::Running`], another follows when that ends.
    Stands {
        /// Whose.
        job: BundleId,
        /// What it says.
        standing: Standing,
    },
    /// The answer to [`Output::Forbid`]: what its folder says since then. [`Standing::NotStarted`] is
    /// final; where it is [`Standing::Running`], an [`Input::Stands`] follows when that ends.
    Forbidden {
        /// Whose.
        job: BundleId,
        /// What it says.
        standing: Standing,
    },
    /// The answer to [`Output::Try`].
    Tried {
        /// Of which job.
        job: BundleId,
        /// What was to be done.
        stage: Stage,
        /// Whether that went well; else what it did, as "ended with 1".
        result: Result<(), String>,
    },
    /// The answer to [`Output::Answer`]: it is durable and on its way; or not now.
    Answered {
        /// Whose.
        job: BundleId,
        /// Whether it is.
        durable: bool,
    },
    /// The time of [`Scheduler::poll_timeout`](super::Scheduler::poll_timeout) has come.
    Timeout,
}

/// What the allow-list says of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be run.
    Run(Terms),
    /// Not at this time of the day.
    NotNow,
    /// It may not be run, and why.
    Refused(String),
    /// There is nothing of that name.
    NoSuchHandle,
}

/// On which terms a job may be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Of the commands of one group one runs at a time.
    pub group: Option<Handle>,
    /// How often it may be run again when nobody knows how it ended.
    pub reruns: u8,
    /// How many must agree.
    pub approvals: u8,
    /// To what.
    pub what: [u8; 32],
    /// What it changes is on trial.
    pub trial: Option<OnTrial>,
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Ask the allow-list of a job.
    Judge {
        /// Which.
        job: BundleId,
    },
    /// Make a folder for a job's command, durably.
    Place {
        /// Whose.
        job: BundleId,
        /// For which run of it, from 0.
        attempt: u8,
    },
    /// Make this durable, in place of what was recorded of it; it is answered. The job may run then.
    Record {
        /// Of which job.
        job: BundleId,
        /// What.
        record: Record,
    },
    /// Make this durable, in place of what was recorded of it; it is not answered.
    Note {
        /// Of which job.
        job: BundleId,
        /// What.
        record: Record,
    },
    /// Start a supervisor for a folder that was placed.
    Start {
        /// Whose.
        job: BundleId,
        /// For which run.
        attempt: u8,
    },
    /// Say what a folder says.
    Look {
        /// Whose.
        job: BundleId,
        /// Of which run.
        attempt: u8,
    },
    /// Let nothing begin in a folder any more; then say what it says.
    Forbid {
        /// Whose.
        job: BundleId,
        /// Which run of it.
        attempt: u8,
    },
    /// Do what belongs to a stage of a trial; it is answered. It may have been done before, or be under way.
    Try {
        /// Of which job.
        job: BundleId,
        /// Which run of it.
        attempt: u8,
        /// What is to be done.
        stage: Stage,
    },
    /// Ask a command to end.
    End {
        /// Whose.
        job: BundleId,
        /// Which run of it.
        attempt: u8,
    },
    /// Send the issuer its answer, and make this record durable in the same group.
    Answer {
        /// Of which job.
        job: BundleId,
        /// What became of it.
        how: How,
        /// Which run of it that is about, if it ran.
        attempt: u8,
        /// What is durable then.
        record: Record,
    },
    /// Send the issuer the answer that it was given once more.
    Repeat {
        /// Of which job.
        job: BundleId,
        /// Whether with all of its output.
        full: bool,
    },
    /// Tell the issuer how a job stands. Nothing depends on it.
    Say {
        /// Of which job.
        job: BundleId,
        /// What.
        fact: Fact,
        /// Why, for a person.
        why: Option<String>,
    },
    /// Ask those who must agree. Nothing depends on it, and it may come again after a start.
    Propose {
        /// Of which job.
        job: BundleId,
    },
    /// Forget a job: its record and its folder.
    Forget {
        /// Which.
        job: BundleId,
    },
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum How {
    /// Its command ran.
    Ended(Box<Outcome>),
    /// Its command ran, and what it changed did not stand its trial: why, and how it ended itself.
    Undone(String, Option<Box<Outcome>>),
    /// It was begun, and nobody can say how it ended.
    Unknown,
    /// It could not be begun.
    NotBegun(String),
    /// It may not be run here.
    Refused(String),
    /// There is nothing of that name here.
    NoSuchHandle,
    /// Its time was over.
    Expired(&'static str),
    /// It was taken back.
    Cancelled,
    /// A newer one took its place.
    Superseded,
    /// What it waited for did not come, or did not end well.
    Skipped(&'static str),
}
