//! `inbox`: what arrived.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};

use super::{Context, Ended, Stop, asker::absolute, failure::usage, text};
use crate::{
    api::{self, Client},
    desk::reply::{Received, Saved},
};

/// How often `--follow` looks; it opens the spool each time, so that others can have it in between.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long `--follow` waits for another process: a long toss must not end it.
const FOLLOW_LOCK_WAIT: Duration = Duration::from_secs(24 * 3600);
/// Characters of a text that a list shows.
const PREVIEW_CHARS: usize = 48;

/// List, read and save what arrived
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  postrider inbox
  postrider inbox read 3f2a           the first digits of an id are enough
  postrider inbox save 3f2a Downloads"
)]
pub(super) struct Inbox {
    #[command(subcommand)]
    verb: Option<InboxVerb>,
    /// Go on showing what arrives, until interrupted
    #[arg(long)]
    follow: bool,
}

#[derive(Debug, Subcommand)]
enum InboxVerb {
    /// List everything, oldest first
    Ls {
        /// Go on showing what arrives, until interrupted
        #[arg(long)]
        follow: bool,
    },
    /// Show a message and mark it as read
    Read {
        /// An id, or its first digits
        id: String,
    },
    /// Save the files of a message (or its text) under names that are free
    Save {
        /// An id, or its first digits
        id: String,
        /// Where
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
}

impl Inbox {
    pub(super) fn run(self, context: &Context) -> Ended {
        match self.verb {
            None if self.follow => follow(context),
            Some(InboxVerb::Ls { follow: true }) => follow(context),
            None | Some(InboxVerb::Ls { follow: false }) => list(context),
            Some(InboxVerb::Read { id }) => read(context, &id),
            Some(InboxVerb::Save { id, dir }) => save(context, &id, &dir),
        }
    }
}

fn list(context: &Context) -> Ended {
    let messages = context.ask(api::InboxLs::default())?;
    context.out.list("inbox ls", &messages)?;
    for message in &messages {
        context.out.say(row(message))?;
    }
    if messages.is_empty() {
        context.out.hint("Nothing has arrived.")?;
    } else {
        context
            .out
            .hint("\nread one: postrider inbox read ID   its files: postrider inbox save ID")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(context: &Context, id: &str) -> Ended {
    let message = context.ask(api::InboxRead { id: id.to_owned() })?;
    context.out.object(&message)?;
    show(context, &message)?;
    Ok(ExitCode::SUCCESS)
}

fn save(context: &Context, id: &str, dir: &Path) -> Ended {
    let saved = context.ask(api::InboxSave { id: id.to_owned(), dir: absolute(dir)? })?;
    if saved.is_empty() {
        return Err(usage("there is nothing to save in that message", "postrider inbox read ID"));
    }
    context.out.list("inbox save", &saved)?;
    for Saved { path, bytes, .. } in &saved {
        context.out.say(format!("{}  {}", text::line(path), text::bytes(*bytes)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows messages as they become complete. The ids that were shown are all that is kept.
fn follow(context: &Context) -> Ended {
    let mut shown: HashSet<String> = HashSet::new();
    let mut looked = Instant::now();
    loop {
        if let Some(client) = Client::find(&context.home()?) {
            let stop = told(context, &client, &mut shown);
            // A daemon that goes away leaves the home to us.
            if matches!(stop, Stop::Closed) || Client::find(&context.home()?).is_some() {
                return Err(stop);
            }
            looked = Instant::now();
        }
        let desk = context.desk()?;
        let messages = desk.inbox(&context.watch);
        drop(desk);
        match messages {
            Ok(messages) => show_new(context, &messages, &mut shown)?,
            // It may be a daemon that is just beginning.
            Err(failure) if failure.is_locked() && looked.elapsed() < FOLLOW_LOCK_WAIT => continue,
            Err(failure) => return Err(failure.into()),
        }
        looked = Instant::now();
        // Nobody is there to tell of what arrives.
        thread::sleep(LOOK_AGAIN);
    }
}

/// Follows by the events of a daemon, until it or our reader goes away.
fn told(context: &Context, client: &Client, shown: &mut HashSet<String>) -> Stop {
    let follow = |shown: &mut HashSet<String>| -> Result<(), Stop> {
        // Before the first look, so that nothing comes in between.
        let events = client.events()?;
        loop {
            let messages = client.ask(&api::InboxLs::default(), &context.watch)?;
            show_new(context, &messages, shown)?;
            while events.next(None)?.is_some_and(|happening| happening.what != "message") {}
            events.skip_waiting();
        }
    };
    match follow(shown) {
        Err(stop) => stop,
        Ok(()) => Stop::Closed,
    }
}

fn show_new(
    context: &Context,
    messages: &[Received],
    shown: &mut HashSet<String>,
) -> Result<(), Stop> {
    for message in messages.iter().filter(|message| message.complete) {
        if shown.insert(message.id.clone()) {
            context.out.object(message)?;
            context.out.say(row(message))?;
        }
    }
    Ok(())
}

/// A message in a list.
pub(super) fn row(message: &Received) -> String {
    let state = match message {
        Received { complete: false, parts: (here, all), .. } => format!("{here}/{all}"),
        Received { read: true, .. } => "read".to_owned(),
        _ => "new".to_owned(),
    };
    let from = if message.known_sender {
        text::line(&message.from)
    } else {
        format!("? {}", text::line(&message.from))
    };
    format!(
        "{}  {}  {}  {}  {}",
        text::short_id(&message.id),
        text::column(&state, 6),
        text::column(&from, 16),
        text::column(&text::ago(message.age_s), 14),
        preview(message)
    )
}

/// What a message is, in a few words.
pub(super) fn preview(message: &Received) -> String {
    if !message.text.trim().is_empty() {
        return text::beginning(&message.text, PREVIEW_CHARS);
    }
    let bytes = message.files.iter().map(|file| file.bytes).sum();
    match &message.files[..] {
        [] => format!("({})", message.kind),
        [one] => format!("{} ({})", text::beginning(&one.name, PREVIEW_CHARS), text::bytes(bytes)),
        [first, ..] => format!(
            "{} and {} more ({})",
            text::beginning(&first.name, PREVIEW_CHARS),
            message.files.len() - 1,
            text::bytes(bytes)
        ),
    }
}

fn show(context: &Context, message: &Received) -> Result<(), Stop> {
    let out = &context.out;
    let short = text::short_id(&message.id);
    out.say(out.strong(&format!("From {}", text::line(&message.from))))?;
    out.say(format!("  {}, id {}", text::ago(message.age_s), message.id))?;
    if let Some(id) = &message.reply_to {
        out.say(format!("  answers {}", text::short_id(id)))?;
    }
    if let Some(alarm) = &message.alarm {
        out.say(out.strong(&format!("  careful: {alarm}")))?;
    }
    if !message.text.is_empty() {
        out.say(format!("\n{}", text::paragraph(&message.text, "  ")))?;
    }
    if !message.files.is_empty() {
        out.say("")?;
        for file in &message.files {
            out.say(format!("  {}  {}", text::line(&file.name), text::bytes(file.bytes)))?;
        }
    }
    if !message.complete {
        let (here, all) = message.parts;
        out.hint(format!("\n{here} of {all} parts are here; the rest comes with the next stick."))?;
    } else if !message.files.is_empty() {
        out.hint(format!("\nsave: postrider inbox save {short} DIR"))?;
    }
    if !message.known_sender {
        out.hint(format!("The sender is no contact; to answer: postrider add {short}"))?;
    }
    Ok(())
}
