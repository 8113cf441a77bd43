//! The allow-list: what others may have run here, and what becomes of what they send with it.
//!
//! An entry is a handle and a command with slots; whoever asks gives the handle and what fills the
//! slots, and nothing else: no path, no environment, no shell. What is not on the list is not run.
//!
//! - `template`: a command with slots, as its operator wrote it;
//! - `value`: whether what somebody sent may fill a slot;
//! - `judge`: from a list and a request to a command, or to a reason that can be sent back;
//! - `text`: the list as a file that people edit;
//! - `trial`: what belongs to a command whose work is on trial;
//! - `shown`: a command before a person's eyes, so that nothing in it can hide.
//!
//! Everything here is a function of its arguments: who somebody is, which attachments there are and
//! what time it is the caller knows.

mod judge;
mod shown;
mod template;
mod text;
mod trial;
mod value;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

use postrider_base::packet::{Handle, PacketError};

pub use self::{
    judge::{Asked, Attached, Here, Refusal, Rendered, Verdict, given_name, judge},
    shown::shown,
    template::{Template, TemplateError},
    text::{AllowError, TEXT_MAX, entry_text},
    trial::{STARTS, Trial, WITHIN_S},
};
use crate::contract::{Limits, Reach};

/// A list has at most so many entries: a person keeps it.
pub const ENTRIES_MAX: usize = 1024;
/// A command that may be run again is run at most so many times again.
pub const RERUNS: u8 = 3;
/// At most so many words say who may, and so many paths what is within reach.
const WORDS_MAX: usize = 256;
/// A word that says who may is at most this long: a role of a roster, with its name.
const WHO_MAX: usize = 128;
/// The longest that a command may run: a month.
const WALL_MAX: u32 = 31 * 86_400;
/// A user's name, as Linux takes it.
const USER_MAX: usize = 32;

/// What others may have run here, by handle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(pub BTreeMap<Handle, Entry>);

/// One command that others may have run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is run.
    pub command: Template,
    /// Who may, in the words of `[acl]`; nothing: those whom `[acl] run` names.
    pub who: Option<Vec<String>>,
    /// How many others must agree.
    pub approvals: u8,
    /// Who may agree, in the same words; nothing: those who may have it run.
    pub approvers: Option<Vec<String>>,
    /// What it may use, where that is not as usual.
    pub limits: LimitsSaid,
    /// What it may reach.
    pub reach: Reach,
    /// How often it is run again when nobody can say how it ended; 0 unless that does no harm.
    pub reruns: u8,
    /// Of the commands of one group one runs at a time.
    pub group: Option<Handle>,
    /// BLAKE3 of the program's file.
    pub pin: Option<[u8; 32]>,
    /// Whether it is run where not every bound can be enforced.
    pub best_effort: bool,
    /// When in the day it may begin.
    pub window: Option<Window>,
    /// Bytes of standard input that it takes.
    pub stdin: Option<u64>,
    /// Bytes of attachments that it takes, together.
    pub files: Option<u64>,
    /// What it changes is on trial.
    pub trial: Option<Trial>,
}

/// Limits as far as an entry says them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsSaid {
    /// As in [`Limits`].
    pub wall_s: Option<u32>,
    /// As in [`Limits`].
    pub cpu_s: Option<u32>,
    /// As in [`Limits`].
    pub memory_bytes: Option<u64>,
    /// As in [`Limits`].
    pub processes: Option<u32>,
    /// As in [`Limits`].
    pub output_bytes: Option<u64>,
    /// As in [`Limits`].
    pub scratch_bytes: Option<u64>,
}

/// A time of the day, UTC, in minutes from midnight; it may go over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From this minute.
    pub from: u16,
    /// Up to this one, and not in it.
    pub to: u16,
}

/// Why an entry cannot stand on the list.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryError {
    /// Its name.
    #[error("a handle has 1 to 64 of a-z 0-9 . _ - and begins with a letter or a digit")]
    Handle,
    /// Its command.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A word that means nobody.
    #[error("{0:?} in {1} means nobody; it can be a contact's name, @role, %group, contacts or *")]
    Who(String, &'static str),
    /// A number out of range.
    #[error("{0} must be {1}")]
    Range(&'static str, &'static str),
    /// A path that is not one place.
    #[error("{0:?} in {1} must be an absolute path without .. in it")]
    Path(PathBuf, &'static str),
    /// A user's name.
    #[error("{0:?} is no user's name")]
    User(String),
    /// A time of the day.
    #[error("window must be two different times of the day, UTC, as 22:00-06:00")]
    Window,
    /// A hash.
    #[error("pin must be the 64 hexadecimal digits of the program's BLAKE3")]
    Pin,
    /// Slots for attachments, and no attachments.
    #[error("its command has a slot for a file, so files must say how many bytes it takes")]
    NoFiles,
    /// Who may agree, where nobody has to.
    #[error("approvers say who may agree, and approvals says that nobody has to")]
    NoApprovals,
}

impl Entry {
    /// A command with everything as usual.
    pub fn new(command: Template) -> Self {
        Self {
            command,
            who: None,
            approvals: 0,
            approvers: None,
            limits: LimitsSaid::default(),
            reach: Reach::default(),
            reruns: 0,
            group: None,
            pin: None,
            best_effort: false,
            window: None,
            stdin: None,
            files: None,
            trial: None,
        }
    }

    /// The limits that hold for it.
    pub fn limits(&self) -> Limits {
        let (said, usual) = (&self.limits, Limits::default());
        Limits {
            wall_s: said.wall_s.unwrap_or(usual.wall_s),
            cpu_s: said.cpu_s.unwrap_or(usual.cpu_s),
            memory_bytes: said.memory_bytes.unwrap_or(usual.memory_bytes),
            processes: said.processes.unwrap_or(usual.processes),
            output_bytes: said.output_bytes.unwrap_or(usual.output_bytes),
            scratch_bytes: said.scratch_bytes.unwrap_or(usual.scratch_bytes),
        }
    }

    /// Whether it can stand on the list.
    pub fn check(&self) -> Result<(), EntryError> {
        for (words, key) in [(&self.who, "for"), (&self.approvers, "approvers")] {
            let words = words.as_deref().unwrap_or_default();
            if words.len() > WORDS_MAX {
                return Err(EntryError::Range(key, "at most 256 words"));
            }
            if let Some(wrong) = words.iter().find(|word| !is_who(word)) {
                return Err(EntryError::Who(wrong.clone(), key));
            }
        }
        if self.approvers.is_some() && self.approvals == 0 {
            return Err(EntryError::NoApprovals);
        }
        self.check_limits()?;
        for (paths, key) in [(&self.reach.read, "read"), (&self.reach.write, "write")] {
            if paths.len() > WORDS_MAX {
                return Err(EntryError::Range(key, "at most 256 paths"));
            }
            if let Some(wrong) = paths.iter().find(|path| !is_place(path)) {
                return Err(EntryError::Path(wrong.clone(), key));
            }
        }
        if let Some(user) = self.reach.user.as_ref().filter(|user| !is_user(user)) {
            return Err(EntryError::User(user.clone()));
        }
        if self.window.is_some_and(|window| !window.is_sound()) {
            return Err(EntryError::Window);
        }
        if self.command.takes_files() && self.files.is_none() {
            return Err(EntryError::NoFiles);
        }
        self.trial.as_ref().map_or(Ok(()), Trial::check)
    }

    fn check_limits(&self) -> Result<(), EntryError> {
        let limits = self.limits();
        let range =
            |fits, key, range| if fits { Ok(()) } else { Err(EntryError::Range(key, range)) };
        let day = 1..=WALL_MAX;
        range(day.contains(&limits.wall_s), "timeout-s", "1 to 2678400 seconds")?;
        range(day.contains(&limits.cpu_s), "cpu-s", "1 to 2678400 seconds")?;
        range(limits.memory_bytes >= 1 << 20, "memory", "at least 1048576 bytes")?;
        range((1..=65_536).contains(&limits.processes), "processes", "1 to 65536")?;
        range(limits.output_bytes <= 1 << 40, "output", "at most 1099511627776 bytes")?;
        range(limits.scratch_bytes <= 1 << 50, "scratch", "at most 1125899906842624 bytes")?;
        range(self.approvals <= 16, "approvals", "0 to 16")?;
        range(self.reruns <= 100, "reruns", "0 to 100")
    }
}

impl Window {
    /// Minutes until it may begin, at a minute of the day.
    pub fn wait(self, minute: u16) -> u16 {
        let day = 24 * 60;
        let minute = minute % day;
        let open = if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        };
        if open { 0 } else { (self.from + day - minute) % day }
    }

    fn is_sound(self) -> bool {
        self.from < 24 * 60 && self.to < 24 * 60 && self.from != self.to
    }
}

impl FromStr for Window {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, EntryError> {
        let minute = |time: &str| {
            let (hour, minute) = time.split_once(':')?;
            let two = |text: &str, below: u16| {
                let digits = text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit());
                text.parse::<u16>().ok().filter(|number| digits && *number < below)
            };
            Some(two(hour, 24)? * 60 + two(minute, 60)?)
        };
        let (from, to) = text.split_once('-').ok_or(EntryError::Window)?;
        let window = minute(from).zip(minute(to)).map(|(from, to)| Self { from, to });
        window.filter(|window| window.is_sound()).ok_or(EntryError::Window)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

impl From<PacketError> for EntryError {
    fn from(_: PacketError) -> Self {
        Self::Handle
    }
}

fn is_who(word: &str) -> bool {
    let bare = word.strip_prefix(['@', '%']).unwrap_or(word);
    (1..=WHO_MAX).contains(&word.len())
        && !bare.is_empty()
        && !bare.ends_with('/')
        && bare.trim() == bare
        && !word.chars().any(char::is_control)
}

fn is_place(path: &Path) -> bool {
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    path.is_absolute()
        && path.components().all(plain)
        && path.to_str().is_some_and(|path| !path.chars().any(char::is_control))
}

fn is_user(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"_-".contains(&c);
    (1..=USER_MAX).contains(&name.len())
        && name.bytes().all(fits)
        && !name.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry::new(Template::parse(&["/bin/true".to_owned()]).unwrap())
    }

    #[test]
    fn an_entry_that_says_nothing_has_the_usual_limits_and_names_nobody() {
        let entry = entry();
        assert_eq!(entry.check(), Ok(()));
        assert_eq!(entry.limits(), Limits::default());
        assert_eq!((entry.who, entry.reach, entry.reruns), (None, Reach::default(), 0));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_key() {
        type Change = fn(&mut Entry);
        let trial = |change: fn(&mut Trial)| {
            let words = |program: &str| vec![program.to_owned()];
            let (arm, restart, keep) = (Vec::new(), Vec::new(), Vec::new());
            let (check, undo) = (words("/bin/ok"), words("/bin/undo"));
            let mut trial = Trial { arm, restart, check, keep, undo, within_s: 60, starts: 3 };
            change(&mut trial);
            trial.check().map_err(|error| error.to_string())
        };
        assert_eq!(trial(|_| {}), Ok(()));
        type TrialChange = fn(&mut Trial);
        let trials: [(&str, TrialChange); 5] = [
            ("check", |it| it.check.clear()),
            ("undo", |it| it.undo = vec!["undo".into()]),
            ("arm", |it| it.arm = vec!["/bin/arm".into(), "\u{1b}".into()]),
            ("trial-s", |it| it.within_s = 0),
            ("starts", |it| it.starts = 0),
        ];
        for (key, change) in trials {
            assert!(trial(change).unwrap_err().contains(key), "{key}");
        }
        let cases: [(&str, Change); 13] = [
            ("for", |it| it.who = Some(vec!["@".into()])),
            ("for", |it| it.who = Some(vec![" Bob".into()])),
            ("for", |it| it.who = Some(vec!["a\u{1b}".into()])),
            ("approvers", |it| it.approvers = Some(vec!["Bob".into()])),
            ("timeout-s", |it| it.limits.wall_s = Some(0)),
            ("memory", |it| it.limits.memory_bytes = Some(5)),
            ("processes", |it| it.limits.processes = Some(0)),
            ("reruns", |it| it.reruns = 101),
            ("read", |it| it.reach.read = vec!["etc".into()]),
            ("write", |it| it.reach.write = vec!["/srv/../etc".into()]),
            ("user", |it| it.reach.user = Some("0".into())),
            ("window", |it| it.window = Some(Window { from: 60, to: 60 })),
            ("files", |it| {
                let words = ["/bin/cat", "{x:file}"].map(str::to_owned);
                it.command = Template::parse(&words).unwrap();
            }),
        ];
        for (key, change) in cases {
            let mut entry = entry();
            change(&mut entry);
            let error = entry.check().unwrap_err().to_string();
            assert!(error.contains(key), "{key}: {error}");
        }
    }

    #[test]
    fn a_window_may_go_over_midnight() {
        let day = Window { from: 8 * 60, to: 18 * 60 };
        let night = Window { from: 22 * 60, to: 6 * 60 };
        for (hour, by_day, by_night) in
            [(0, 480, 0), (7, 60, 900), (8, 0, 840), (17, 0, 300), (18, 840, 240), (23, 540, 0)]
        {
            assert_eq!((day.wait(hour * 60), night.wait(hour * 60)), (by_day, by_night), "{hour}");
        }
    }
}
