//! `share`: which files others may ask for.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};

use super::{Context, Ended, Stop, asker::absolute, parse, text};
use crate::{api, desk::reply::ShareLine};

/// Say which files others may ask for; they can change nothing
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider share set maps /srv/maps --for contacts
  postrider share set drop ~/drop --for Bob --unlisted     only by names that he knows
  postrider share ls")]
pub(super) struct Share {
    #[command(subcommand)]
    verb: ShareVerb,
}

#[derive(Debug, Subcommand)]
enum ShareVerb {
    /// List what others may ask for
    Ls,
    Set(Set),
    /// Let nobody ask for it any more
    Rm {
        /// What it is called
        name: String,
    },
}

/// Let others ask for a file, or for what is in a directory; what the name was before is forgotten
#[derive(Debug, Args)]
#[command(after_help = "\
No link in there is followed, and nothing but plain files is sent.

Examples:
  postrider share set maps /srv/maps --for Bob,@medic
  postrider share set news ~/news.txt --for contacts --max 1M")]
struct Set {
    /// What others call it: a-z 0-9 . _ -
    name: String,
    /// The file or directory
    path: PathBuf,
    /// Who may: names, @role, %group, contacts, * [default: as [acl] files]
    #[arg(long = "for", value_name = "WHO,…", value_delimiter = ',')]
    who: Option<Vec<String>>,
    /// They get only what they know the name of
    #[arg(long)]
    unlisted: bool,
    /// Names that begin with a dot are there, too
    #[arg(long)]
    hidden: bool,
    /// Most that is sent for one request [default: 1G]
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    max: Option<u64>,
}

impl Share {
    pub(super) fn run(self, context: &Context) -> Ended {
        match self.verb {
            ShareVerb::Ls => list(context, &context.ask(api::ShareLs::default())?),
            ShareVerb::Set(set) => {
                // "Bob, Carol", as people write it.
                let trimmed =
                    |words: Vec<String>| words.iter().map(|it| it.trim().to_owned()).collect();
                let line = context.ask(api::ShareSet {
                    name: set.name,
                    path: absolute(&set.path)?,
                    who: set.who.map(trimmed),
                    unlisted: set.unlisted,
                    hidden: set.hidden,
                    max_bytes: set.max,
                })?;
                told(context, &line)
            }
            ShareVerb::Rm { name } => {
                let line = context.ask(api::ShareRm { name })?;
                context.out.object(&line)?;
                context.out.hint(format!("Nobody may ask for {} any more.", line.name))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn told(context: &Context, line: &ShareLine) -> Ended {
    let out = &context.out;
    out.object(line)?;
    let (name, path) = (&line.name, text::line(&line.path));
    out.hint(match line.done.as_deref() {
        Some("same") => format!("{name} is shared already; nothing was changed."),
        Some("changed") => format!("Changed: {name} is {path}"),
        _ => format!("Shared: {name} is {path}"),
    })?;
    out.hint(format!("  for  {}", people(line)))?;
    warn(context, &line.warnings)?;
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context, lines: &[ShareLine]) -> Ended {
    let out = &context.out;
    out.list("share ls", lines)?;
    if lines.is_empty() {
        out.hint("Nothing is shared here. Share something: postrider share set --help")?;
    }
    for line in lines {
        out.say(format!("{}  {}", out.strong(&line.name), text::line(&line.path)))?;
        out.say(format!("  for   {}", people(line)))?;
        let mut more = vec![format!("at most {} at once", text::bytes(line.max_bytes))];
        more.extend((!line.list).then(|| "only by name".to_owned()));
        more.extend(line.hidden.then(|| "hidden names too".to_owned()));
        out.say(format!("  and   {}", more.join(", ")))?;
        warn(context, &line.warnings)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn people(line: &ShareLine) -> String {
    match &line.r#for {
        None => "those of [acl] files".to_owned(),
        Some(words) if words.is_empty() => "nobody".to_owned(),
        Some(words) => text::line(&words.join(", ")),
    }
}

fn warn(context: &Context, warnings: &[String]) -> Result<(), Stop> {
    warnings.iter().try_for_each(|it| context.out.say(format!("  warning: {}", text::line(it))))
}
