//! `reply`, `thread`, `search`: what was said, and answering it.

use std::{collections::HashMap, process::ExitCode};

use clap::Args;

use super::{Context, Ended, Stop, send::Letter, text};
use crate::{
    api,
    desk::{Failure, FailureKind, reply::Said},
};

/// Characters of what is answered that a thread shows.
const ANSWERED_CHARS: usize = 50;
/// Characters of a text that a list shows.
const FOUND_CHARS: usize = 40;
/// Files of a message that are named in a thread.
const FILES_SHOWN: usize = 8;

/// Answer a message: to whoever wrote it, or to whom I wrote it
#[derive(Debug, Args)]
#[command(after_help = "\
Without TEXT and FILE the text comes from standard input.

Examples:
  postrider reply 3f2a 'We are four, and well'
  postrider reply 3f2a -f list.txt --urgent")]
pub(super) struct Reply {
    /// What is answered: an id, or its first digits
    id: String,
    #[command(flatten)]
    letter: Letter,
}

/// Show a conversation in the order in which it was said
#[derive(Debug, Args)]
#[command(after_help = "\
An answer stands behind what it answers, and what one sender wrote in the order of its numbers; no
clock is asked. Mine say how they stand: saved (here), carried (somebody else has a copy), delivered
(a receipt came that only the recipient could make), expired, cancelled, refused.

Examples:
  postrider thread 3f2a
  postrider thread Bob                all that Bob and I wrote to each other")]
pub(super) struct Thread {
    /// A message's id or its first digits, or a contact's name
    #[arg(value_name = "ID|WHO")]
    of: String,
}

/// Find messages by their words
#[derive(Debug, Args)]
#[command(after_help = "\
All words must occur, in any case, in the text or the names of the files. The newest stand last.

Examples:
  postrider search insulin
  postrider search bridge closed --from Bob
  postrider search map --from me --to Carol")]
pub(super) struct Search {
    /// What to look for
    #[arg(required = true)]
    words: Vec<String>,
    /// Only what they wrote (me: what I wrote)
    #[arg(long, value_name = "WHO")]
    from: Option<String>,
    /// Only what was written to them (me: what came)
    #[arg(long, value_name = "WHO")]
    to: Option<String>,
}

impl Reply {
    pub(super) fn run(self, context: &Context) -> Ended {
        // By itself: nobody else waits for the spool while somebody types the text.
        let said = context.ask(api::MessageShow { id: self.id })?;
        if !said.known_peer {
            let id = text::short_id(&said.id);
            return Err(Failure::new(
                FailureKind::Unknown,
                format!("{} is no contact", text::line(&said.peer)),
            )
            .next(format!("nothing was sent; take the card that came along: postrider add {id}"))
            .into());
        }
        let text = self.letter.read_text()?;
        let answered = api::bundle_id(&said.id);
        self.letter.send(context, context.asker()?, said.peer, text, answered)
    }
}

impl Thread {
    pub(super) fn run(self, context: &Context) -> Ended {
        let all = context.ask(api::ThreadOf { of: self.of })?;
        context.out.list("thread", &all)?;
        let begins: HashMap<&str, String> =
            all.iter().map(|said| (&*said.id, gist(said, ANSWERED_CHARS))).collect();
        for (n, said) in all.iter().enumerate() {
            if n > 0 {
                context.out.say("")?;
            }
            show(context, said, &begins)?;
        }
        if all.is_empty() {
            context.out.hint("Nothing was said yet.")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Search {
    pub(super) fn run(self, context: &Context) -> Ended {
        let Self { words, from, to } = self;
        let found = context.ask(api::Search { words, from, to })?;
        context.out.list("search", &found)?;
        for said in &found {
            let who = if said.mine {
                format!("to {}", text::line(&said.to))
            } else {
                text::line(&said.from)
            };
            context.out.say(format!(
                "{}  {}  {}  {}",
                text::short_id(&said.id),
                text::column(&who, 14),
                text::column(&text::ago(said.age_s), 11),
                gist(said, FOUND_CHARS)
            ))?;
        }
        if found.is_empty() {
            context.out.hint("No message says that.")?;
        } else {
            context
                .out
                .hint("\nread one: postrider inbox read ID   around it: postrider thread ID")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(context: &Context, said: &Said, begins: &HashMap<&str, String>) -> Result<(), Stop> {
    let out = &context.out;
    let who = match (said.mine, said.known_peer) {
        (true, _) => format!("me to {}", text::line(&said.to)),
        (false, true) => text::line(&said.from),
        (false, false) => format!("? {}", text::line(&said.from)),
    };
    let state = match &*said.state {
        "received" if said.read => String::new(),
        "received" => ", new".to_owned(),
        state => format!(", {state}"),
    };
    let (id, ago) = (text::short_id(&said.id), text::ago(said.age_s));
    out.say(format!("{id}  {}  {ago}{state}", out.strong(&who)))?;
    if let Some(answered) = &said.reply_to {
        let short = text::short_id(answered);
        let what = match begins.get(&**answered).filter(|_| said.answered_is_here) {
            Some(words) => format!("{short}: {words}"),
            None if said.answered_is_here => short.to_owned(),
            None => format!("a message that is not here ({short})"),
        };
        out.say(format!("  answers {what}"))?;
    }
    if !said.text.is_empty() {
        out.say(text::paragraph(&said.text, "    "))?;
    }
    for file in said.files.iter().take(FILES_SHOWN) {
        out.say(format!("    [{}, {}]", text::line(&file.name), text::bytes(file.bytes)))?;
    }
    if let Some(more) = said.files.len().checked_sub(FILES_SHOWN).filter(|more| *more > 0) {
        out.say(format!("    [and {}]", text::count(more as u64, "more file")))?;
    }
    Ok(())
}

/// What a message is, in a few words.
fn gist(said: &Said, chars: usize) -> String {
    match &said.files[..] {
        _ if !said.text.trim().is_empty() => text::beginning(&said.text, chars),
        [] => format!("({})", said.kind),
        [first, ..] => text::beginning(&first.name, chars),
    }
}
