//! What can go wrong, told so that a tired person knows what to do next.

use std::{error::Error, fmt};

use postrider_base::{card::CardError, roster::RosterError};
use postrider_spool::SpoolError;
use serde::{Deserialize, Serialize};

use super::reply::ErrorLine;
use crate::home::{
    AllowFileError, ConfigError, ContactsError, HomeError, KeyFileError, RostersError, SharesError,
};

/// Every failure of a verb: what happened, whether mail is safe, what to do next.
#[derive(Debug)]
pub struct Failure {
    /// What sort of failure; decides the exit code.
    pub kind: FailureKind,
    /// What happened.
    pub what: String,
    /// What to run or do next, and whether anything was lost.
    pub next: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Sorts of failure, with their exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// It could not be done.
    Failed = 1,
    /// The command or the configuration is wrong.
    Usage = 2,
    /// Some of it was done; the rest was listed.
    Partial = 3,
    /// Not allowed to.
    NotAuthorised = 4,
    /// No such contact or message.
    Unknown = 5,
    /// Only a running daemon can do this.
    NeedsDaemon = 6,
    /// Disk, quota or medium full.
    Full = 10,
    /// Damaged or forged data was seen.
    Damaged = 11,
    /// Refused by policy.
    Refused = 12,
    /// Expired or cancelled.
    Ended = 13,
    /// A fault of ours.
    Fault = 70,
    /// Interrupted; the state is safe.
    Interrupted = 130,
}

impl FailureKind {
    /// The exit code.
    pub const fn exit_code(self) -> u8 {
        self as u8
    }
}

/// What is said when another process has the spool.
const LOCKED: &str = "another postrider process is using this home";

impl Failure {
    /// Whether another process had the spool for as long as was waited.
    pub fn is_locked(&self) -> bool {
        self.what == LOCKED
    }

    /// A failure without a cause below it.
    pub fn new(kind: FailureKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), next: None, source: None }
    }

    /// Adds what to do next.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Adds the cause.
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An operation on a file failed.
    pub fn file(what: &str, path: &std::path::Path, error: std::io::Error) -> Self {
        let full = matches!(
            error.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
        );
        let kind = if full { FailureKind::Full } else { FailureKind::Failed };
        Self::new(kind, format!("could not {what} {}", path.display())).because(error)
    }

    /// The causes, outermost first.
    pub fn causes(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut next = self.source();
        while let Some(error) = next {
            let text = error.to_string();
            if out.last() != Some(&text) {
                out.push(text);
            }
            next = error.source();
        }
        out
    }
}

/// A failure as an object.
impl From<&Failure> for ErrorLine {
    fn from(failure: &Failure) -> Self {
        let code = serde_json::to_value(failure.kind).ok();
        Self {
            code: code.as_ref().and_then(|code| code.as_str()).unwrap_or("failed").to_owned(),
            what: failure.what.clone(),
            because: failure.causes(),
            next: failure.next.clone(),
        }
    }
}

/// A failure of another process, as it told it.
impl From<ErrorLine> for Failure {
    fn from(line: ErrorLine) -> Self {
        let kind = serde_json::from_value(line.code.into()).unwrap_or(FailureKind::Failed);
        let told = line.because.into_iter().rev();
        let source = told.fold(None, |below, what| Some(Box::new(Told { what, below })));
        Self { kind, what: line.what, next: line.next, source: source.map(|told| told as _) }
    }
}

/// A cause that another process told of.
#[derive(Debug)]
struct Told {
    what: String,
    below: Option<Box<Told>>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Told {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.below.as_deref().map(|told| told as _)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        match error {
            HomeError::Missing(_) => Self::new(FailureKind::Usage, error.to_string())
                .next("create one: postrider init --name YOUR-NAME"),
            HomeError::Key(error) => error.into(),
            HomeError::Config(error) => error.into(),
            HomeError::NotPrivate(_) => Self::new(FailureKind::Refused, error.to_string()).next(
                "others with access to that disk could read the key and be you; choose another \
                 place with --home DIR, or accept it with --yes",
            ),
            HomeError::Card(_) => Self::new(FailureKind::Usage, error.to_string())
                .next("choose a name of at most 64 bytes without control characters"),
            HomeError::Io { what, path, source } => Self::file(what, &path, source),
        }
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        let kind = match error {
            KeyFileError::Damaged(_) | KeyFileError::Incomplete => FailureKind::Damaged,
            _ => FailureKind::Failed,
        };
        Self::new(kind, error.to_string())
            .next("nothing was changed; mail in the spool is safe and needs that key to be read")
            .because(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(FailureKind::Usage, error.to_string())
            .next("correct the file; docs/config.md describes every key")
    }
}

impl From<AllowFileError> for Failure {
    fn from(error: AllowFileError) -> Self {
        match error {
            AllowFileError::Io { path, source } => Self::file("use", &path, source),
            AllowFileError::List(_) => Self::new(FailureKind::Usage, error.to_string())
                .next("nothing was changed; correct the file, docs/jobs.md describes every key"),
        }
    }
}

impl From<SharesError> for Failure {
    fn from(error: SharesError) -> Self {
        match error {
            SharesError::Io { path, source } => Self::file("use", &path, source),
            _ => Self::new(FailureKind::Usage, error.to_string())
                .next("nothing was changed; correct the file, docs/files.md describes every key"),
        }
    }
}

impl From<ContactsError> for Failure {
    fn from(error: ContactsError) -> Self {
        let kind = match &error {
            ContactsError::Unknown(_) => FailureKind::Unknown,
            ContactsError::NameTaken(_)
            | ContactsError::BadName(_)
            | ContactsError::Ambiguous(..) => FailureKind::Usage,
            _ => FailureKind::Failed,
        };
        let next = match &error {
            ContactsError::Unknown(_) => {
                Some("see who is known: postrider contact ls; take a card: postrider add FILE")
            }
            ContactsError::NameTaken(_) => Some("choose another: postrider add CARD --as NAME"),
            ContactsError::Ambiguous(..) => Some("write the name exactly, or use the id"),
            _ => None,
        };
        let failure = Self::new(kind, error.to_string());
        match next {
            Some(next) => failure.next(next),
            None => failure.because(error),
        }
    }
}

impl From<RostersError> for Failure {
    fn from(error: RostersError) -> Self {
        match error {
            RostersError::Contacts(error) => error.into(),
            RostersError::TooMany => Self::new(FailureKind::Full, error.to_string())
                .next("nothing was changed; leave one: postrider roster leave NAME"),
            RostersError::Io { path, source } => Self::file("use", &path, source),
        }
    }
}

impl From<RosterError> for Failure {
    fn from(error: RosterError) -> Self {
        let kind = match error {
            RosterError::Field(_) | RosterError::TooLong(_) => FailureKind::Usage,
            _ => FailureKind::Damaged,
        };
        Self::new(kind, error.to_string()).next("nothing was changed")
    }
}

impl From<CardError> for Failure {
    fn from(error: CardError) -> Self {
        Self::new(FailureKind::Damaged, error.to_string())
            .next("nothing was changed; ask for the card again (postrider id --card FILE)")
    }
}

impl From<SpoolError> for Failure {
    fn from(error: SpoolError) -> Self {
        match &error {
            SpoolError::Full(_) => Self::new(FailureKind::Full, "the disk is full")
                .next(
                    "nothing was lost and nothing was added; free some space and do it again \
                     (postrider spool gc gives back what is no longer needed)",
                )
                .because(error),
            SpoolError::Locked { .. } => Self::new(FailureKind::Failed, LOCKED)
                .next("nothing was changed; try again when it has finished"),
            _ => Self::new(FailureKind::Failed, format!("the spool: {error}")).because(error),
        }
    }
}
