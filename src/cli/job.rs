//! `job`: what became of what I asked others to run, and my yes to what others ask for.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand};

use super::{
    Context, Ended, Stop,
    failure::usage,
    fleet,
    outcome::{self, stands},
    output::write_object,
    run, text,
};
use crate::{
    api,
    desk::{
        Failure, FailureKind,
        reply::{JobLine, JobReleased, OutputLine, ProposalLine, Summary},
    },
};

/// See what became of what I asked others to run
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider job show 3f2a           the first digits of an id are enough
  postrider job show pump-3f2a      a run over a fleet, by its name
  postrider job wait 3f2a           its output here, its exit status")]
pub(super) struct Job {
    #[command(subcommand)]
    verb: JobVerb,
}

#[derive(Debug, Subcommand)]
enum JobVerb {
    /// List my jobs at others, oldest first; a run over a fleet on one line
    Ls,
    /// Show one, with what it wrote; of a fleet, each target
    Show {
        /// An id, or its first digits; or a fleet's name
        id: String,
    },
    Log(Log),
    /// Wait for its end; print its output and end as it did. Of a fleet: 0 all ended well, 1 none, 3
    /// some, 7 it goes on or waits for job release
    Wait {
        /// An id, or its first digits; or a fleet's name
        id: String,
        /// Wait so long at most [default: until it ends]
        #[arg(long, value_name = "D", value_parser = super::parse::duration)]
        timeout: Option<Duration>,
    },
    Cancel(Cancel),
    Approve(Approve),
    /// Let a job of somebody else's go on that this node holds; or the rest of a fleet of mine
    Release {
        /// An id, or its first digits; or a fleet's name
        id: String,
    },
    /// Count a start for what is on trial here, before a daemon that may not come up
    Guard,
    /// Ask for the same once more, as a new job
    Rerun {
        /// An id, or its first digits
        id: String,
    },
}

/// Print what it wrote, as it came: standard output to ours, standard error to ours
#[derive(Debug, Args)]
#[command(after_help = "\
On a terminal control characters are shown as marks; a pipe gets every byte.

Examples:
  postrider job log 3f2a | less
  postrider job log 3f2a --full          ask for what did not come along")]
struct Log {
    /// An id, or its first digits
    id: String,
    /// Its standard error alone, to our standard output
    #[arg(long)]
    stderr: bool,
    /// Into a new file
    #[arg(long, value_name = "FILE", conflicts_with = "full")]
    out: Option<PathBuf>,
    /// Ask where it ran for all of it, once more
    #[arg(long)]
    full: bool,
}

/// Take a job back; one that has begun ends only with --force
#[derive(Debug, Args)]
#[command(after_help = "\
Where it has left, its target says what came first: cancelled, or how it ended.

Examples:
  postrider job cancel 3f2a
  postrider job cancel 3f2a --force && postrider job wait 3f2a")]
struct Cancel {
    /// An id, or its first digits; or a fleet's name
    id: String,
    /// Also end its command if that runs
    #[arg(long)]
    force: bool,
}

/// Agree to a job of somebody else, word for word
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider job approve                  what waits for an answer
  postrider job approve 3f2a             shows the command, and asks")]
struct Approve {
    /// An id, or its first digits
    id: Option<String>,
}

impl Job {
    pub(super) fn run(self, context: &Context) -> Ended {
        let out = &context.out;
        match self.verb {
            JobVerb::Ls => list(context)?,
            JobVerb::Show { id } => {
                if let Some(fleet) = fleet::named(context, &id)? {
                    fleet::show(context, &fleet)?;
                    return Ok(ExitCode::SUCCESS);
                }
                let job = context.ask(api::JobShow { id })?;
                out.object(&job)?;
                show(context, &job)?;
            }
            JobVerb::Log(log) => log.run(context)?,
            JobVerb::Wait { id, timeout } => {
                let asker = context.asker()?;
                // Before it is looked at, so that nothing that happens to it is missed.
                let events = asker.daemon().map(api::Client::events).transpose()?;
                match asker.ask(api::FleetShow { name: id.clone() }) {
                    Ok(fleet) => {
                        drop(asker);
                        return fleet::wait(context, &fleet, events.as_ref(), timeout);
                    }
                    Err(failure) if failure.kind == FailureKind::Unknown => {}
                    Err(failure) => return Err(failure.into()),
                }
                let job = asker.ask(api::JobShow { id })?;
                drop(asker);
                out.object(&job)?;
                return outcome::wait(context, &job, events.as_ref(), timeout);
            }
            JobVerb::Cancel(Cancel { id, force }) => {
                if let Some(fleet) = fleet::named(context, &id)? {
                    fleet::cancel(context, fleet, force)?;
                    return Ok(ExitCode::SUCCESS);
                }
                let job = context.ask(api::JobCancel { id, force })?;
                out.object(&job)?;
                cancelled(context, &job, force)?;
            }
            JobVerb::Approve(Approve { id: None }) => list_proposals(context)?,
            JobVerb::Approve(Approve { id: Some(id) }) => approve(context, id)?,
            JobVerb::Release { id } => {
                if let Some(fleet) = fleet::named(context, &id)? {
                    fleet::release(context, fleet)?;
                    return Ok(ExitCode::SUCCESS);
                }
                let released = context.ask(api::JobRelease { id })?;
                out.object(&released)?;
                let JobReleased { id, from, handle } = released;
                let who = text::line(&from);
                out.say(format!("{} of {who} goes on: {handle}", &id[..8]))?;
            }
            JobVerb::Guard => {
                let lines = context.ask(api::JobGuard {})?;
                out.list("job guard", &lines)?;
                if lines.is_empty() {
                    out.hint("Nothing is on trial here.")?;
                }
                for line in &lines {
                    let why = line.why.as_deref().map(text::line).unwrap_or_default();
                    let (id, stage) = (&line.id[..8], &line.stage);
                    out.say(format!(
                        "{id}  {stage:<8}  start {} of {}  {why}",
                        line.starts, line.of
                    ))?;
                }
            }
            JobVerb::Rerun { id } => {
                let asker = context.asker()?;
                let job = asker.ask(api::JobRerun { id })?;
                out.object(&job)?;
                run::told(context, &job, asker.daemon().is_some())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Log {
    fn run(self, context: &Context) -> Result<(), Stop> {
        let Self { id, stderr, out: file, full } = self;
        if full {
            let job = context.ask(api::JobAsk { id })?;
            context.out.object(&job)?;
            let (id, to) = (text::short_id(&job.id), text::line(&job.to));
            return context.out.hint(format!(
                "Asked {to} for all of it. When it has come: postrider job log {id}"
            ));
        }
        let ask = |stderr| context.ask(api::JobLog { id: id.clone(), stderr });
        let output = ask(stderr)?;
        if let Some(file) = file {
            write_to(&file, &output)?;
            context.out.object(&output)?;
            if output.missing > 0 {
                super::eprint_line(&outcome::missing(&output));
            }
            let bytes = text::bytes(output.head_bytes + output.tail_bytes);
            return context
                .out
                .say(format!("{}  {bytes}", text::line(&file.display().to_string())));
        }
        if context.out.is_json() {
            let more = if stderr { None } else { Some(ask(true)?) };
            let all: Vec<OutputLine> = [output].into_iter().chain(more).collect();
            return context.out.list("job log", &all);
        }
        outcome::show(&output, &mut io::stdout())?;
        if !stderr {
            outcome::show(&ask(true)?, &mut io::stderr())?;
        }
        Ok(())
    }
}

/// Into a file that was not there. What is missing is missing in it without a trace, so it is said.
fn write_to(file: &Path, output: &OutputLine) -> Result<(), Failure> {
    let failed = |error| Failure::file("write", file, error);
    let mut to = OpenOptions::new().write(true).create_new(true).open(file).map_err(failed)?;
    for mut end in outcome::ends(output)? {
        io::copy(&mut end, &mut to).map_err(failed)?;
    }
    to.flush().and_then(|()| to.sync_all()).map_err(failed)
}

fn list(context: &Context) -> Result<(), Stop> {
    let out = &context.out;
    let asker = context.asker()?;
    let jobs = asker.ask(api::JobLs::default())?;
    let fleets = asker.ask(api::FleetLs::default())?;
    let proposals = asker.ask(api::JobProposals::default())?;
    drop(asker);
    if out.is_json() {
        fleets.iter().try_for_each(write_object)?;
        jobs.iter().try_for_each(write_object)?;
        let count = fleets.len() + jobs.len();
        return write_object(&Summary { verb: "job ls".into(), count });
    }
    fleets.iter().try_for_each(|it| out.say(fleet::line(it)))?;
    for job in &jobs {
        out.say(format!(
            "{}  {}  {}  {}  {}",
            text::short_id(&job.id),
            text::column(&text::line(&job.to), 16),
            text::column(&text::line(&job.handle), 16),
            text::column(&text::ago(job.age_s), 14),
            stands(job),
        ))?;
    }
    if jobs.is_empty() && fleets.is_empty() {
        out.hint("Nobody was asked to run anything: postrider run --help")?;
    }
    let waiting = proposals.iter().filter(|it| !it.mine && !it.agreed).count();
    if waiting > 0 {
        let what = text::count(waiting as u64, "job");
        out.hint(format!("{what} of others may wait for your yes: postrider job approve"))?;
    }
    Ok(())
}

fn show(context: &Context, job: &JobLine) -> Result<(), Stop> {
    let out = &context.out;
    let args: String = job
        .args
        .iter()
        .map(|arg| format!(" {}", postrider_exec::allow::shown(arg.as_bytes())))
        .collect();
    out.say(out.strong(&format!("{}{args} at {}", text::line(&job.handle), text::line(&job.to))))?;
    out.say(format!("  id       {}", job.id))?;
    out.say(format!("  state    {}", stands(job)))?;
    if let Some(why) = &job.why {
        out.say(format!("  why      {}", text::line(why)))?;
    }
    out.say(format!("  bundle   {}; asked for {}", job.sent, text::ago(job.age_s)))?;
    if let (Some(ran_ms), Some(waited_ms)) = (job.ran_ms, job.waited_ms) {
        out.say(format!("  ran      {}, waited {} before", millis(ran_ms), millis(waited_ms)))?;
    }
    for file in &job.files {
        let (name, bytes) = (text::line(&file.name), text::bytes(file.bytes));
        out.say(format!("  with     {name}  {bytes}  {}", file.blake3))?;
    }
    if let Some(queue) = &job.queue {
        out.say(format!("  queue    {}", text::line(queue)))?;
    }
    if !job.after.is_empty() {
        let ids: Vec<&str> = job.after.iter().map(|id| text::short_id(id)).collect();
        out.say(format!("  after    {}", ids.join(", ")))?;
    }
    if let Some(old) = &job.rerun_of {
        out.say(format!("  repeats  {}", text::short_id(old)))?;
    }
    if let Some(age_s) = job.taken_back_s {
        out.say(format!("  back     taken back {}", text::ago(age_s)))?;
    }
    if !job.enforced.is_empty() {
        let each = job.enforced.iter().map(|(bound, means)| format!("{bound} by {means}"));
        out.say(format!("  bounds   {}", text::line(&each.collect::<Vec<_>>().join(", "))))?;
    }
    if let Some(head) = &job.audit {
        out.say(format!("  audit    {head}"))?;
    }
    let outputs =
        [("stdout", &job.stdout, job.stdout_bytes), ("stderr", &job.stderr, job.stderr_bytes)];
    for (name, said, bytes) in outputs {
        match (said, bytes.unwrap_or(0)) {
            (_, 0) => {}
            (Some(said), bytes) => {
                out.say(format!("  {name}   {}", text::bytes(bytes)))?;
                out.say(text::paragraph(said, "    "))?;
            }
            (None, bytes) => {
                let id = text::short_id(&job.id);
                out.say(format!("  {name}   {}: postrider job log {id}", text::bytes(bytes)))?;
            }
        }
    }
    Ok(())
}

/// A time that a command took.
fn millis(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => text::span(ms / 1000),
    }
}

fn cancelled(context: &Context, job: &JobLine, force: bool) -> Result<(), Stop> {
    let out = &context.out;
    let (id, to) = (text::short_id(&job.id), text::line(&job.to));
    if job.state == "cancelled" {
        return out.say(format!("cancelled {id}: no copy of it is known to have left"));
    }
    out.say(format!("taken back {id}; {to} is told before everything else"))?;
    out.hint(format!("  so far it is {}; what came first {to} will say", stands(job)))?;
    if !force {
        out.hint("  a command that has begun goes on; --force ends it")?;
    }
    out.hint(format!("  see: postrider job show {id}"))
}

fn list_proposals(context: &Context) -> Result<(), Stop> {
    let out = &context.out;
    let proposals = context.ask(api::JobProposals::default())?;
    out.list("job approve", &proposals)?;
    for it in &proposals {
        let state = match it {
            ProposalLine { mine: true, .. } => "mine",
            ProposalLine { agreed: true, .. } => "agreed",
            _ => "open",
        };
        out.say(format!(
            "{}  {}  {}  {}  {} at {}",
            text::short_id(&it.id),
            text::column(state, 6),
            text::column(&text::line(&it.from), 16),
            text::column(&text::ago(it.age_s), 14),
            text::line(&it.handle),
            text::line(&it.to),
        ))?;
    }
    if proposals.is_empty() {
        out.hint("Nobody asks you to agree to anything.")?;
    } else {
        out.hint("\nsee one, word for word, and answer: postrider job approve ID")?;
    }
    Ok(())
}

fn approve(context: &Context, id: String) -> Result<(), Stop> {
    let out = &context.out;
    let proposal = context.ask(api::JobProposal { id })?;
    let short = text::short_id(&proposal.id).to_owned();
    if proposal.agreed {
        out.object(&proposal)?;
        return out.hint(format!("You have agreed to {short} already; nothing was sent."));
    }
    if !proposal.mine {
        propose(context, &proposal)?;
        if !context.yes && !context.can_ask() {
            let what = "nobody is here to be asked whether that may run";
            return Err(usage(what, "nothing was sent; --yes agrees to exactly what is shown"));
        }
        if !context.confirm("May this run?") {
            let what = "you did not agree";
            return Err(Failure::new(FailureKind::Failed, what)
                .next("nothing was sent; the job waits until it is too old")
                .into());
        }
    }
    let ProposalLine { id, approval, .. } = proposal;
    // Exactly what was shown.
    let agreed = context.ask(api::JobApprove { id, approval: Some(approval) })?;
    out.object(&agreed)?;
    out.say(format!("agreed to {short}; {} is told", text::line(&agreed.to)))
}

/// What somebody wants run: one word a line, nothing in one can pass for another.
fn propose(context: &Context, it: &ProposalLine) -> Result<(), Stop> {
    let out = &context.out;
    let (from, to, handle) = (text::line(&it.from), text::line(&it.to), text::line(&it.handle));
    out.say(out.strong(&format!("{from} wants {handle} run at {to}")))?;
    out.say(format!("  from     {}", it.from_id))?;
    out.say(format!("  job      {}", it.id))?;
    let others =
        if it.needed == 1 { "one other".to_owned() } else { format!("{} others", it.needed) };
    out.say(format!("  needs    {others} to agree"))?;
    for (n, word) in it.shown.iter().enumerate() {
        out.say(format!("  {}  {}", if n == 0 { "runs   " } else { "       " }, text::line(word)))?;
    }
    for hash in &it.given {
        out.say(format!("  with     {}", text::line(hash)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_commands_read_well() {
        for (ms, words) in
            [(7, "7 ms"), (1234, "1.2 s"), (59_999, "59.9 s"), (90_000, "1 min 30 s")]
        {
            assert_eq!(millis(ms), words);
        }
    }
}
