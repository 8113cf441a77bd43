//! `allow`: which commands others may have run here, and what a request would run.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use postrider_exec::allow::{STARTS, Trial, WITHIN_S, shown};

use super::{Context, Ended, Stop, failure::usage, parse, text};
use crate::{
    api,
    desk::{
        Failure, FailureKind,
        reply::{AllowLine, AllowVerdict},
    },
};

/// Say which commands others may have run on this machine
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider allow set uptime --for contacts -- /usr/bin/uptime
  postrider allow set pump --for Bob,@operator -- /usr/local/bin/pump '--level={level:int(0..9)}'
  postrider allow test pump --as Bob 3      shows the command, word for word")]
pub(super) struct Allow {
    #[command(subcommand)]
    verb: AllowVerb,
}

#[derive(Debug, Subcommand)]
enum AllowVerb {
    /// List what others may have run
    Ls,
    Set(Box<Set>),
    /// Let nobody have it run any more
    Rm {
        /// What it is called
        handle: String,
    },
    Test(Test),
}

/// Let others have a command run; what its handle stood for before is forgotten
#[derive(Debug, Args)]
#[command(after_help = "\
Slots: {name} {n:int(1..10)} {x:enum(on,off)} {x:re([a-z]+)} {x:text(200)} {who:contact} {f:file};
{name?} need not be filled, {name...} takes the rest. No shell reads the command.
More, in docs/jobs.md: --approvers  --group  --user  --window; for updates  --check  --undo  --arm …

Examples:
  postrider allow set light --for Bob -- /usr/local/bin/light '{state:enum(on,off)}'
  postrider allow set print --for contacts --files 10M -- /usr/bin/lp -- '{page:file}'")]
struct Set {
    /// What others call it: a-z 0-9 . _ -
    handle: String,
    /// Who may: names, @role, %group, contacts, * [default: as [acl] run]
    #[arg(long = "for", value_name = "WHO,…", value_delimiter = ',')]
    who: Option<Vec<String>>,
    /// How many others must agree each time
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    approvals: u8,
    /// Who may agree [default: as --for]
    #[arg(long, value_name = "WHO,…", value_delimiter = ',', hide = true)]
    approvers: Option<Vec<String>>,
    /// Running it twice does no harm: try again after a crash
    #[arg(long)]
    idempotent: bool,
    /// End it after this time [default: 10m]
    #[arg(long, value_name = "D", value_parser = parse::duration)]
    timeout: Option<Duration>,
    /// Memory that it may use [default: 256M]
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    memory: Option<u64>,
    /// Let it use the network
    #[arg(long)]
    net: bool,
    /// Let it read this, too; may stand several times
    #[arg(long, value_name = "PATH")]
    read: Vec<PathBuf>,
    /// Let it write this, too
    #[arg(long, value_name = "PATH")]
    write: Vec<PathBuf>,
    /// Standard input that it takes [default: none]
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    stdin: Option<u64>,
    /// Attachments that it takes, together [default: none]
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    files: Option<u64>,
    /// Run it under another user's name
    #[arg(long, value_name = "NAME", hide = true)]
    user: Option<String>,
    /// Of the commands of one group one runs at a time
    #[arg(long, value_name = "NAME", hide = true)]
    group: Option<String>,
    /// When in the day it may begin, UTC
    #[arg(long, value_name = "22:00-06:00", hide = true)]
    window: Option<String>,
    /// Only while the program is as it is now
    #[arg(long)]
    pin: bool,
    /// Also where not every limit can be enforced
    #[arg(long)]
    best_effort: bool,
    #[command(flatten)]
    trial: TrialSaid,
    /// The command, its program by absolute path
    #[arg(last = true, required = true)]
    argv: Vec<String>,
}

/// What it changes is on trial. Words between blanks; a word with a blank in it is written in allow.toml.
#[derive(Debug, Args)]
struct TrialSaid {
    /// Puts what is new in its place
    #[arg(long, value_name = "COMMAND", hide = true, requires = "check")]
    arm: Option<String>,
    /// Starts it, outside the cage
    #[arg(long, value_name = "COMMAND", hide = true, requires = "check")]
    restart: Option<String>,
    /// Ends with 0 where all is well
    #[arg(long, value_name = "COMMAND", hide = true, requires = "undo")]
    check: Option<String>,
    /// Makes it stay
    #[arg(long, value_name = "COMMAND", hide = true, requires = "check")]
    keep: Option<String>,
    /// Puts what was in its place again
    #[arg(long, value_name = "COMMAND", hide = true, requires = "check")]
    undo: Option<String>,
    /// Uptime in which all must be well
    #[arg(long, value_name = "D", hide = true, requires = "check", value_parser = parse::duration)]
    within: Option<Duration>,
    /// Starts after which it is undone
    #[arg(long, value_name = "N", hide = true, requires = "check")]
    starts: Option<u8>,
}

impl TrialSaid {
    fn trial(self) -> Result<Option<Trial>, Stop> {
        let words = |said: Option<String>| -> Vec<String> {
            said.iter().flat_map(|said| said.split_whitespace()).map(str::to_owned).collect()
        };
        if self.check.is_none() {
            return Ok(None);
        }
        let within_s = self.within.map(|time| u32::try_from(time.as_secs())).transpose();
        let within_s = within_s.map_err(|_| {
            usage("a week is the longest that a trial takes", "nothing was changed")
        })?;
        Ok(Some(Trial {
            arm: words(self.arm),
            restart: words(self.restart),
            check: words(self.check),
            keep: words(self.keep),
            undo: words(self.undo),
            within_s: within_s.unwrap_or(WITHIN_S),
            starts: self.starts.unwrap_or(STARTS),
        }))
    }
}

/// Show what a request would run, word for word; nothing is run
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider allow test pump 3
  postrider allow test pump --as Bob -- -3       refused, and why")]
struct Test {
    /// What others call it
    handle: String,
    /// On whose behalf: a contact [default: it is not asked who may]
    #[arg(long = "as", value_name = "WHO")]
    who: Option<String>,
    /// As if an attachment of this name came along; may stand several times
    #[arg(long, value_name = "NAME")]
    file: Vec<String>,
    /// As if so much standard input came along
    #[arg(long, value_name = "SIZE", value_parser = parse::size)]
    stdin: Option<u64>,
    /// What fills the slots; behind -- where the first begins with a dash
    #[arg(trailing_var_arg = true, value_name = "ARG")]
    args: Vec<String>,
}

impl Allow {
    pub(super) fn run(self, context: &Context) -> Ended {
        match self.verb {
            AllowVerb::Ls => list(context, &context.ask(api::AllowLs::default())?),
            AllowVerb::Set(set) => {
                let line = context.ask(set.request()?)?;
                told(context, &line)
            }
            AllowVerb::Rm { handle } => {
                let line = context.ask(api::AllowRm { handle })?;
                context.out.object(&line)?;
                context.out.hint(format!("Nobody may have {} run any more.", line.handle))?;
                Ok(ExitCode::SUCCESS)
            }
            AllowVerb::Test(Test { handle, who, file, stdin, args }) => {
                let request = api::AllowTest { handle, args, who, files: file, stdin };
                judged(context, &context.ask(request)?)
            }
        }
    }
}

impl Set {
    fn request(self) -> Result<api::AllowSet, Stop> {
        let timeout_s = self.timeout.map(|time| u32::try_from(time.as_secs())).transpose();
        let timeout_s = timeout_s.map_err(|_| {
            usage("a month is the longest that a command may take", "nothing was changed")
        })?;
        // "Bob, Carol", as people write it.
        let trimmed = |words: Vec<String>| words.iter().map(|it| it.trim().to_owned()).collect();
        Ok(api::AllowSet {
            handle: self.handle,
            argv: self.argv,
            who: self.who.map(trimmed),
            approvals: self.approvals,
            approvers: self.approvers.map(trimmed),
            idempotent: self.idempotent,
            timeout_s,
            memory: self.memory,
            net: self.net,
            read: self.read,
            write: self.write,
            user: self.user,
            group: self.group,
            pin: self.pin,
            best_effort: self.best_effort,
            window: self.window,
            stdin: self.stdin,
            files: self.files,
            trial: self.trial.trial()?,
        })
    }
}

fn told(context: &Context, line: &AllowLine) -> Ended {
    let out = &context.out;
    out.object(line)?;
    let usage = [line.handle.as_str(), &line.usage].join(" ");
    let usage = usage.trim_end();
    out.hint(match line.done.as_deref() {
        Some("same") => format!("{usage} is allowed already; nothing was changed."),
        Some("changed") => format!("Changed: {usage}"),
        _ => format!("Allowed: {usage}"),
    })?;
    out.hint(format!("  for  {}", people(line)))?;
    warn(context, &line.warnings)?;
    if line.done.as_deref() != Some("same") {
        let usage = text::line(&line.usage);
        out.hint(format!("  Look at what it runs: postrider allow test {} {usage}", line.handle))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(context: &Context, lines: &[AllowLine]) -> Ended {
    let out = &context.out;
    out.list("allow ls", lines)?;
    if lines.is_empty() {
        out.hint("Others may have nothing run here. Allow something: postrider allow set --help")?;
    }
    for line in lines {
        let usage = [line.handle.as_str(), &line.usage].join(" ");
        out.say(out.strong(usage.trim_end()))?;
        let words: Vec<String> = line.argv.iter().map(|word| as_typed(word)).collect();
        out.say(format!("  runs  {}", words.join(" ")))?;
        out.say(format!("  for   {}", people(line)))?;
        let more = more(line);
        if !more.is_empty() {
            out.say(format!("  and   {}", text::line(&more.join(", "))))?;
        }
        warn(context, &line.warnings)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A word of a command among others on a line: in quotes where it could be taken for another.
fn as_typed(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:,@+{}".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        shown(word.as_bytes())
    }
}

/// What an entry says beyond its command and its people.
fn more(line: &AllowLine) -> Vec<String> {
    let size =
        |what: &str, bytes: Option<u64>| bytes.map(|n| format!("{} of {what}", text::bytes(n)));
    let some = |said: bool, word: &str| said.then(|| word.to_owned());
    [
        (line.approvals > 0).then(|| format!("{} others must agree", line.approvals)),
        some(line.net, "with the network"),
        (!line.read.is_empty()).then(|| format!("reads {}", line.read.join(" "))),
        (!line.write.is_empty()).then(|| format!("writes {}", line.write.join(" "))),
        size("standard input", line.stdin),
        size("attachments", line.files),
        line.user.as_ref().map(|user| format!("as {user}")),
        line.group.as_ref().map(|group| format!("one at a time in {group}")),
        line.window.as_ref().map(|window| format!("{window} UTC")),
        some(line.reruns > 0, "run again after a crash"),
        some(line.pin.is_some(), "only while the program is as it was"),
        some(line.best_effort, "also where limits cannot be enforced"),
        line.trial.as_ref().map(|trial| {
            let (check, undo) = (trial.check.join(" "), trial.undo.join(" "));
            format!("on trial: undone by {undo} where {check} does not end well")
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn people(line: &AllowLine) -> String {
    match &line.r#for {
        None => "those of [acl] run".to_owned(),
        Some(words) if words.is_empty() => "nobody".to_owned(),
        Some(words) => text::line(&words.join(", ")),
    }
}

/// A command word for word, or why there is none.
fn judged(context: &Context, verdict: &AllowVerdict) -> Ended {
    let out = &context.out;
    out.object(verdict)?;
    let refused = verdict.verdict != "run";
    if out.is_json() {
        let refused_code = ExitCode::from(FailureKind::Refused.exit_code());
        return Ok(if refused { refused_code } else { ExitCode::SUCCESS });
    }
    if refused {
        let why = verdict.why.clone().unwrap_or_default();
        return Err(Failure::new(FailureKind::Refused, format!("refused: {why}"))
            .next("nothing was run; this is what would be sent back. See postrider allow ls")
            .into());
    }
    // One word a line: nothing in one can pass for another.
    verdict.shown.iter().try_for_each(|word| out.say(word))?;
    let once = match verdict.approvals {
        0 => String::new(),
        1 => ", once another agrees".to_owned(),
        n => format!(", once {n} others agree"),
    };
    let when = verdict.window.as_ref().map(|window| format!(", {window} UTC")).unwrap_or_default();
    let whose = match &verdict.r#as {
        Some(name) => format!(" for {}", text::line(name)),
        None => " for whoever may".to_owned(),
    };
    out.hint(format!("It would be run{whose}{once}{when}."))?;
    warn(context, &verdict.warnings)?;
    Ok(ExitCode::SUCCESS)
}

fn warn(context: &Context, warnings: &[String]) -> Result<(), Stop> {
    warnings.iter().try_for_each(|it| context.out.say(format!("  warning: {}", text::line(it))))
}
