//! From a list and a request to the command that will run, or to a reason that can be sent back.

use std::collections::BTreeMap;

use postrider_base::{
    BundleId,
    packet::{ARGV_BYTES_MAX, ARGV_MAX, Handle, JOB_FILES_MAX, WHY_MAX, approval_of, is_component},
};

use super::{
    AllowList, Entry,
    template::{Piece, Slot, Template, Times, would_be_option},
    value::{Known, filled},
};
use crate::contract::Order;

/// What somebody asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// By which handle.
    pub handle: &'a Handle,
    /// What fills the slots.
    pub args: &'a [Vec<u8>],
    /// Bytes of standard input, if there is some.
    pub stdin_bytes: Option<u64>,
    /// What else came along, standard input not among it; a file's number is its place here.
    pub files: &'a [Attached],
}

/// An attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// What its sender calls it.
    pub name: String,
    /// How long it is.
    pub bytes: u64,
}

/// What the caller knows.
#[derive(Clone, Copy)]
pub struct Here<'a> {
    /// Whether whoever asks is meant by one of these words, or, where an entry has none, may have
    /// jobs run at all.
    pub may: &'a dyn Fn(Option<&[String]>) -> bool,
    /// The id, as text, of the one contact of that name.
    pub contact: &'a dyn Fn(&str) -> Option<String>,
}

/// What the attachment of that number in [`Asked::files`] is called in the job's folder `given/`:
/// never as its sender calls it.
pub fn given_name(at: usize) -> String {
    at.to_string()
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// This is run, once enough have agreed.
    Run(Rendered<'a>),
    /// It is not run.
    Refused(Refusal),
    /// Nothing here has that name.
    NoSuchHandle,
}

/// A command as it will run.
#[derive(Debug)]
pub struct Rendered<'a> {
    /// By which entry.
    pub entry: &'a Entry,
    /// The words, of which no shell ever reads one.
    pub argv: Vec<Vec<u8>>,
}

/// Why a request is refused; its text can be sent back: a line of printable characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The entry is for others.
    #[error("{0} is not for you here")]
    NotForYou(Handle),
    /// Fewer arguments than slots that must be filled.
    #[error("{got} arguments, and {handle} takes {usage}")]
    TooFew {
        /// The handle.
        handle: Handle,
        /// What it takes.
        usage: String,
        /// How many came.
        got: usize,
    },
    /// More arguments than slots.
    #[error("{got} arguments, and {handle} takes {usage}")]
    TooMany {
        /// The handle.
        handle: Handle,
        /// What it takes.
        usage: String,
        /// How many came.
        got: usize,
    },
    /// An argument that may not fill its slot.
    #[error("argument {at} ({slot}): {why}")]
    Argument {
        /// Which, from 1.
        at: usize,
        /// The name of its slot.
        slot: String,
        /// Why.
        why: String,
    },
    /// It would be taken for an option.
    #[error("argument {at} ({slot}): it begins with a dash and would be an option")]
    Option {
        /// Which, from 1.
        at: usize,
        /// The name of its slot.
        slot: String,
    },
    /// The command would be too long.
    #[error("the command would have more than 512 words or 262144 bytes")]
    TooLong,
    /// Standard input, or too much.
    #[error("{got} bytes of standard input, and {handle} takes {limit}")]
    Stdin {
        /// The handle.
        handle: Handle,
        /// How many it takes.
        limit: u64,
        /// How many came.
        got: u64,
    },
    /// Attachments, or too much.
    #[error("{got} bytes in {count} attachments, and {handle} takes {limit} bytes")]
    Files {
        /// The handle.
        handle: Handle,
        /// How many bytes it takes.
        limit: u64,
        /// How many came.
        got: u64,
        /// In how many.
        count: usize,
    },
    /// Two attachments of one name, or one whose name cannot be one.
    #[error("the attachments cannot be told apart by their names")]
    FileNames,
}

/// Judges a request.
pub fn judge<'a>(list: &'a AllowList, asked: &Asked<'_>, here: &Here<'_>) -> Verdict<'a> {
    let Some(entry) = list.0.get(asked.handle) else { return Verdict::NoSuchHandle };
    match rendered(entry, asked, here) {
        Ok(argv) => Verdict::Run(Rendered { entry, argv }),
        Err(refusal) => Verdict::Refused(refusal),
    }
}

impl Rendered<'_> {
    /// What is to be run, for this job and whoever wants it.
    pub fn order(&self, job: [u8; 32], from: String) -> Order {
        Order {
            job,
            from,
            argv: self.argv.clone(),
            pin: self.entry.pin,
            stdin: None,
            limits: self.entry.limits(),
            reach: self.entry.reach.clone(),
            best_effort: self.entry.best_effort,
            told: BTreeMap::new(),
        }
    }

    /// How many must agree, and to what; nothing where nobody has to.
    pub fn needs_approvals(&self, job: [u8; 32]) -> Option<(u8, [u8; 32])> {
        let needed = self.entry.approvals;
        (needed > 0).then(|| (needed, approval_of(&BundleId(job), &self.argv)))
    }
}

impl Refusal {
    /// As it is sent back: no longer than a result's reason.
    pub fn why(&self) -> String {
        let mut why = self.to_string();
        if why.len() > WHY_MAX {
            let end = (0..=WHY_MAX - 3).rev().find(|at| why.is_char_boundary(*at)).unwrap_or(0);
            why.truncate(end);
            why.push_str("...");
        }
        why
    }
}

fn rendered(entry: &Entry, asked: &Asked<'_>, here: &Here<'_>) -> Result<Vec<Vec<u8>>, Refusal> {
    // First of all: to whom it is not for nothing more is said of it.
    if !(here.may)(entry.who.as_deref()) {
        return Err(Refusal::NotForYou(asked.handle.clone()));
    }
    check_input(entry, asked)?;
    let command = &entry.command;
    let values = values(command, asked, here)?;
    let (mut argv, mut bytes) = (Vec::new(), 0);
    for (at, word) in command.words.iter().enumerate() {
        // A word whose slot is not filled is left out; one that takes the rest is as many as that.
        let times = Template::slots_of(word).map(|slot| values[slot].len()).min().unwrap_or(1);
        for turn in 0..times {
            let word = word_of(command, at, &values, turn)?;
            bytes += word.len();
            if argv.len() == ARGV_MAX || bytes > ARGV_BYTES_MAX {
                return Err(Refusal::TooLong);
            }
            argv.push(word.into_bytes());
        }
    }
    Ok(argv)
}

/// A word of a command with its slots filled, for the n-th time.
fn word_of(
    command: &Template,
    at: usize,
    values: &[Values],
    turn: usize,
) -> Result<String, Refusal> {
    let value = |slot: usize| &values[slot][turn];
    if let Some(Piece::Slot(slot)) = command.words[at].first() {
        let (Slot { name, kind, .. }, (number, value)) = (&command.slots[*slot], value(*slot));
        if would_be_option(kind, command.ended[at], value) {
            return Err(Refusal::Option { at: *number, slot: name.clone() });
        }
    }
    let pieces = command.words[at].iter().map(|piece| match piece {
        Piece::Text(text) => text.as_str(),
        Piece::Slot(slot) => &value(*slot).1,
    });
    Ok(pieces.collect())
}

fn check_input(entry: &Entry, asked: &Asked<'_>) -> Result<(), Refusal> {
    let limit = entry.stdin.unwrap_or(0);
    if let Some(got) = asked.stdin_bytes
        && (entry.stdin.is_none() || got > limit)
    {
        return Err(Refusal::Stdin { handle: asked.handle.clone(), limit, got });
    }
    let got = asked.files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
    let (limit, count) = (entry.files.unwrap_or(0), asked.files.len());
    if count > 0 && (entry.files.is_none() || got > limit || count > JOB_FILES_MAX) {
        return Err(Refusal::Files { handle: asked.handle.clone(), limit, got, count });
    }
    let twice = |at: usize| asked.files[..at].iter().any(|file| file.name == asked.files[at].name);
    if (0..count).any(|at| twice(at) || !is_component(&asked.files[at].name)) {
        return Err(Refusal::FileNames);
    }
    Ok(())
}

/// What fills one slot, each with the number of the argument that it comes from.
type Values = Vec<(usize, String)>;

/// For each slot what fills it.
fn values(command: &Template, asked: &Asked<'_>, here: &Here<'_>) -> Result<Vec<Values>, Refusal> {
    let (slots, got) = (&command.slots, asked.args.len());
    let (handle, usage) = (asked.handle.clone(), takes(command));
    let least = slots.iter().filter(|slot| slot.times == Times::Once).count();
    if got < least {
        return Err(Refusal::TooFew { handle, usage, got });
    }
    let takes_rest = slots.last().is_some_and(|slot| slot.times == Times::Rest);
    if got > slots.len() && !takes_rest {
        return Err(Refusal::TooMany { handle, usage, got });
    }
    let known = Outside { here, files: asked.files };
    let mut values = vec![Vec::new(); slots.len()];
    for (at, arg) in asked.args.iter().enumerate() {
        let number = at.min(slots.len().saturating_sub(1));
        let slot = &slots[number];
        let value = filled(slot, arg, &known).map_err(|why| Refusal::Argument {
            at: at + 1,
            slot: slot.name.clone(),
            why,
        })?;
        values[number].push((at + 1, value));
    }
    Ok(values)
}

fn takes(command: &Template) -> String {
    let usage = command.usage();
    if usage.is_empty() { "none".to_owned() } else { usage }
}

struct Outside<'a> {
    here: &'a Here<'a>,
    files: &'a [Attached],
}

impl Known for Outside<'_> {
    fn contact(&self, name: &str) -> Option<String> {
        (self.here.contact)(name)
    }

    fn file(&self, name: &str) -> Option<String> {
        let at = self.files.iter().position(|file| file.name == name)?;
        // From the command's own directory `work/`. So the words are the same wherever the job's folder
        // is, and what was agreed to is what runs.
        Some(format!("../given/{}", given_name(at)))
    }
}
