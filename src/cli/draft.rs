//! `draft`: messages that are kept and not sent.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use postrider_base::BundleId;

use super::{
    Context, Ended, Stop,
    asker::{Asker, absolute},
    send::Letter,
    text,
};
use crate::{
    api,
    desk::{
        SendRequest,
        reply::{DraftFile, DraftLine},
    },
};

/// Characters of a text that a list shows.
const PREVIEW_CHARS: usize = 44;

/// Write messages now and send them later
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
The text is kept here, as what arrives is; files stay where they are and are read when it is sent.

Examples:
  postrider draft write Bob 'Dear Bob,' -f report.pdf
  postrider send Bob 'Not yet' --draft       the same
  postrider draft send 3f2a                  the first digits are enough"
)]
pub(super) struct Draft {
    #[command(subcommand)]
    verb: Option<DraftVerb>,
}

#[derive(Debug, Subcommand)]
enum DraftVerb {
    /// List them, oldest first
    Ls,
    /// Show one
    Show {
        /// An id, or its first digits
        id: String,
    },
    /// Keep a message without sending it
    Write(Box<Write>),
    /// Send one; it is a draft no more
    Send {
        /// An id, or its first digits
        id: String,
    },
    /// Forget one
    Rm {
        /// An id, or its first digits
        id: String,
    },
}

#[derive(Debug, Args)]
struct Write {
    /// For whom: a contact's name or id
    who: String,
    /// The text (- is standard input)
    text: Option<String>,
    /// A file or directory to send along; may be given several times
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Draft {
    pub(super) fn run(self, context: &Context) -> Ended {
        match self.verb {
            None | Some(DraftVerb::Ls) => list(context),
            Some(DraftVerb::Show { id }) => {
                let draft = context.ask(api::DraftShow { id })?;
                context.out.object(&draft)?;
                show(context, &draft)?;
                Ok(ExitCode::SUCCESS)
            }
            Some(DraftVerb::Write(write)) => {
                let Write { who, text, files } = *write;
                Letter::plain(text, files).keep(context, who)
            }
            Some(DraftVerb::Send { id }) => {
                let sent = context.ask(api::DraftSend { id })?;
                context.out.object(&sent)?;
                context.out.say(format!("{} {}", sent.state, sent.id))?;
                let to = text::line(&sent.to);
                context.out.hint(format!("  {} for {to}", text::bytes(sent.bytes)))?;
                Ok(ExitCode::SUCCESS)
            }
            Some(DraftVerb::Rm { id }) => {
                let draft = context.ask(api::DraftRm { id })?;
                context.out.object(&draft)?;
                context.out.say(format!("removed {}", draft.id))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// Keeps a message as a draft.
pub(super) fn write(context: &Context, asker: &Asker<'_>, request: SendRequest) -> Ended {
    let files = request.files.iter().map(|file| absolute(file)).collect::<Result<_, _>>()?;
    let draft = asker.ask(api::DraftWrite {
        to: request.to,
        text: request.text,
        files,
        nice: request.nice.map(|nice| nice.value()),
        lifetime_s: request.lifetime.map(postrider_base::Lifetime::seconds),
        hidden: request.hidden,
        reply_to: request.reply_to.as_ref().map(BundleId::to_string),
    })?;
    context.out.object(&draft)?;
    context.out.say(format!("kept {}", draft.id))?;
    let id = text::short_id(&draft.id);
    context.out.hint(format!("  nothing was sent; when it is time: postrider draft send {id}"))?;
    if !draft.files.is_empty() {
        context.out.hint("  its files are not copied: they are read when it is sent")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context) -> Ended {
    let drafts = context.ask(api::DraftLs::default())?;
    context.out.list("draft ls", &drafts)?;
    for draft in &drafts {
        let what = match (&*draft.text, &draft.files[..]) {
            ("", [first, ..]) => text::beginning(&first.path, PREVIEW_CHARS),
            (words, []) => text::beginning(words, PREVIEW_CHARS),
            (words, files) => {
                let words = text::beginning(words, PREVIEW_CHARS - 10);
                format!("{words} (+{})", files.len())
            }
        };
        context.out.say(format!(
            "{}  {}  {}  {what}",
            text::short_id(&draft.id),
            text::column(&text::line(&draft.to), 12),
            text::column(&text::ago(draft.age_s), 10),
        ))?;
    }
    if drafts.is_empty() {
        context.out.hint("There is no draft; to write one: postrider draft write WHO TEXT")?;
    } else {
        context
            .out
            .hint("\nsend one: postrider draft send ID   forget it: postrider draft rm ID")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(context: &Context, draft: &DraftLine) -> Result<(), Stop> {
    let out = &context.out;
    out.say(out.strong(&format!("For {}", text::line(&draft.to))))?;
    out.say(format!("  written {}, id {}", text::ago(draft.age_s), draft.id))?;
    if let Some(id) = &draft.reply_to {
        out.say(format!("  answers {}", text::short_id(id)))?;
    }
    if !draft.text.is_empty() {
        out.say(format!("\n{}", text::paragraph(&draft.text, "  ")))?;
    }
    if !draft.files.is_empty() {
        out.say("")?;
    }
    for DraftFile { path, bytes } in &draft.files {
        let bytes = bytes.map_or_else(|| "is not there".to_owned(), text::bytes);
        out.say(format!("  {}  {bytes}", text::line(path)))?;
    }
    Ok(())
}
