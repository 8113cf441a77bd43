//! `inbox`: what arrived.

use std::{
    collections::HashSet,
    mem,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};

use super::{Context, Ended, Stop, asker::absolute, failure::usage, output::Loudness, text};
use crate::{
    api::{self, Client},
    desk::{
        LOCK_WAIT,
        reply::{Coming, Received, Saved, Summary},
    },
};

/// How often `--follow` looks; it opens the spool each time, so that others can have it in between.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long `--follow` waits for another process: a long toss must not end it.
const FOLLOW_LOCK_WAIT: Duration = Duration::from_secs(24 * 3600);
/// How long until one daemon is asked again while it ends or another begins.
const BETWEEN_DAEMONS: Duration = Duration::from_millis(50);
/// Characters of a text that a list shows.
const PREVIEW_CHARS: usize = 48;
/// Characters of a file's name beside how far it has come.
const NAME_CHARS: usize = 24;

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
    let asker = context.asker()?;
    let messages = asker.ask(api::InboxLs::default())?;
    let coming = asker.ask(api::InboxArriving::default())?;
    drop(asker);
    messages.iter().try_for_each(|message| context.out.object(message))?;
    coming.iter().try_for_each(|coming| context.out.object(coming))?;
    // What has not arrived is no message.
    context.out.object(&Summary { verb: "inbox ls".into(), count: messages.len() })?;
    for message in &messages {
        context.out.say(row(message))?;
    }
    if !coming.is_empty() {
        context.out.say("\nOn the way here:")?;
        coming.iter().try_for_each(|coming| context.out.say(on_the_way(coming)))?;
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

/// How far something has come.
fn on_the_way(coming: &Coming) -> String {
    let from = match &*coming.from {
        "" => "somebody".to_owned(),
        name => text::line(name),
    };
    let here = text::bytes(coming.bytes_here);
    match (&coming.files[..], coming.parts, coming.bytes) {
        ([first, rest @ ..], Some(parts), Some(bytes)) => {
            let more = if rest.is_empty() { String::new() } else { format!(" (+{})", rest.len()) };
            let name = text::beginning(&first.name, NAME_CHARS);
            let (of, bytes) = (coming.parts_here, text::bytes(bytes));
            format!("  {name}{more}: {of} of {parts} parts, {here} of {bytes}, from {from}")
        }
        _ => {
            let parts = text::count(coming.parts_here, "part");
            format!("  {parts} of something, {here}, from {from}: what it is is still on its way")
        }
    }
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

/// Shows messages as they become complete. The ids that were shown are all that is kept, so each is
/// shown once, whoever answers in between.
fn follow(context: &Context) -> Ended {
    let mut shown: HashSet<String> = HashSet::new();
    let mut looked = Instant::now();
    let mut ended = false;
    loop {
        if let Some(client) = Client::find(&context.home()?) {
            let (stop, answered) = told(context, &client, &mut shown);
            if answered {
                looked = Instant::now();
                ended = false;
            }
            // One that answered and went away leaves the home to us, or to another one; one that is
            // going, or just coming, answers nobody for a while.
            let patient = answered || ended && looked.elapsed() < LOCK_WAIT;
            if matches!(stop, Stop::Closed) || !patient && Client::find(&context.home()?).is_some()
            {
                return Err(stop);
            }
            if !mem::replace(&mut ended, true) {
                tell(context);
            }
            if Client::find(&context.home()?).is_some() {
                thread::sleep(BETWEEN_DAEMONS);
                continue;
            }
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

/// For a person, and never among the messages.
fn tell(context: &Context) {
    if context.out.loudness != Loudness::Quiet {
        super::eprint_line("the daemon has ended; what arrives is still shown, however it comes");
    }
}

/// Follows by the events of a daemon, until it or our reader goes away. Also whether it ever answered.
fn told(context: &Context, client: &Client, shown: &mut HashSet<String>) -> (Stop, bool) {
    let mut answered = false;
    let follow = |shown: &mut HashSet<String>, answered: &mut bool| -> Result<(), Stop> {
        // Before the first look, so that nothing comes in between.
        let events = client.events()?;
        loop {
            let messages = client.ask(&api::InboxLs::default(), &context.watch)?;
            *answered = true;
            show_new(context, &messages, shown)?;
            while events.next(None)?.is_some_and(|happening| happening.what != "message") {}
            events.skip_waiting();
        }
    };
    let stop = follow(shown, &mut answered).err().unwrap_or(Stop::Closed);
    (stop, answered)
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
