//! `bundle`: single bundles, by hand.

use std::{
    fs::OpenOptions,
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};

use super::{
    Context, Ended, Stop,
    asker::{Asked, Asker, absolute},
    failure::usage,
    inbox, queue, text,
};
use crate::{
    api,
    desk::{ExportForm, Failure, reply::Shown},
};

/// Look at single bundles, take them out and bring them in
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider bundle show 3f2a
  postrider bundle export 3f2a > one.bundle
  postrider bundle import one.bundle")]
pub(super) struct Bundle {
    #[command(subcommand)]
    verb: BundleVerb,
}

#[derive(Debug, Subcommand)]
enum BundleVerb {
    /// List every bundle that is here
    Ls,
    /// Show what anybody can read of one
    Show {
        /// An id, or its first digits
        id: String,
    },
    /// Check its id, hash and signature
    Verify {
        /// An id, or its first digits
        id: String,
    },
    /// Write one to standard output or a file
    Export {
        /// An id, or its first digits
        id: String,
        /// Only the payload: what stock age opens when it was sealed by age
        #[arg(long)]
        payload: bool,
        /// Into this file, which must not exist
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Take one from a file; also what stock age sealed to me
    Import {
        /// The file
        file: PathBuf,
    },
}

impl Bundle {
    pub(super) fn run(self, context: &Context) -> Ended {
        let asker = context.asker()?;
        match self.verb {
            BundleVerb::Ls => {
                queue::list(context, "bundle ls", &asker.ask(api::BundleLs::default())?)?;
            }
            BundleVerb::Show { id } => show(context, &asker.ask(api::BundleShow { id })?)?,
            BundleVerb::Verify { id } => {
                show(context, &asker.ask(api::BundleVerify { id })?)?;
            }
            BundleVerb::Export { id, payload, output } => {
                let form = if payload { ExportForm::Payload } else { ExportForm::Bundle };
                export(context, &asker, &id, form, output.as_deref())?;
            }
            BundleVerb::Import { file } => {
                let file = absolute(&file)?;
                let messages = asker.ask(api::BundleImport { file })?;
                context.out.list("bundle import", &messages)?;
                for message in &messages {
                    context.out.say(inbox::row(message))?;
                }
                if messages.is_empty() {
                    context.out.hint("Taken; nothing in it is for me, or it was here already.")?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn export(
    context: &Context,
    asker: &Asker<'_>,
    id: &str,
    form: ExportForm,
    output: Option<&Path>,
) -> Result<(), Stop> {
    let write = |out: &mut dyn Write| {
        asker.of(|asked| match asked {
            Asked::Desk(desk) => desk.bundle_export(id, form, out, &context.watch),
            Asked::Daemon(client) => client.export(id, form, out, &context.watch),
        })
    };
    let Some(path) = output else {
        let stdout = io::stdout();
        if stdout.is_terminal() || context.out.is_json() {
            return Err(usage(
                "a bundle is no text",
                "postrider bundle export ID > FILE, or with --output FILE",
            ));
        }
        let mut out = BufWriter::with_capacity(1 << 16, stdout.lock());
        write(&mut out)?;
        return Ok(out.flush()?);
    };
    let failed = |error| Failure::file("write", path, error);
    let file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 16, &file);
    let written = write(&mut out).and_then(|shown| {
        out.flush().and_then(|()| file.sync_all()).map_err(failed).map(|()| shown)
    });
    let shown = written.inspect_err(|_| {
        // Half a bundle is of no use; that it could not be written is what counts.
        let _ = std::fs::remove_file(path);
    })?;
    show(context, &shown)
}

fn show(context: &Context, shown: &Shown) -> Result<(), Stop> {
    let out = &context.out;
    out.object(shown)?;
    out.say(out.strong(&shown.id))?;
    out.say(format!("  envelope  {}", shown.envelope))?;
    out.say(format!("  to        {}", text::line(&shown.to)))?;
    out.say(format!("  from      {}", text::line(shown.from.as_deref().unwrap_or("(hidden)"))))?;
    out.say(format!("  payload   {}, seal {}", text::bytes(shown.bytes), shown.seal))?;
    out.say(format!("  niceness  {}", shown.nice))?;
    out.say(format!("  lifetime  {}", text::span(shown.lifetime_s.into())))?;
    if let Some((epoch, counter)) = shown.sequence {
        out.say(format!("  sequence  {epoch:08x} {counter}"))?;
    }
    out.say(format!("  verified  {}", if shown.verified { "yes" } else { "not checked" }))
}
