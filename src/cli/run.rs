//! `run`: ask somebody's machine to run something.

use std::{
    fs::{self, OpenOptions},
    io::{self, IsTerminal, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, ValueEnum};
use postrider_base::Lifetime;

use super::{
    Context, Ended, Stop, asker::absolute, failure::usage, fleet, outcome, output::Loudness, parse,
    text,
};
use crate::{
    api,
    desk::{Failure, FailureKind, Share, hex, reply::JobLine},
};

/// Standard input is read into memory up to here; beyond it is a file.
const STDIN_MAX: u64 = 16 << 20;

/// Ask a contact's machine to run what it allows; when this returns it survives power loss
#[derive(Debug, Args)]
#[command(
    override_usage = "postrider run [OPTIONS] <WHO | --on WHOM> -- HANDLE [ARG]...",
    after_help = "\
Examples:
  postrider run Bob --wait -- pump 3 < plan       its output here, its exit status
  postrider run --on role=pump-station --canary 1 --max-failures 10% -- pump 0"
)]
pub(super) struct Run {
    /// Whose machine; with --on what it is called there
    // Options may stand behind it, so it is no part of the list.
    #[arg(value_name = "WHO", hide = true)]
    first: Option<String>,
    /// What it is called there, and what fills its slots
    #[arg(trailing_var_arg = true, value_name = "HANDLE [ARG]", hide = true)]
    others: Vec<String>,
    /// On several: role=R, group=G, label=L, names; a job each
    #[arg(long, value_name = "WHOM", conflicts_with_all = ["queue", "after", "if_ok"])]
    on: Vec<String>,
    /// The first N or N% alone; the rest once they ended well
    #[arg(long, value_name = "N", requires = "on", value_parser = share)]
    canary: Option<String>,
    /// After so many, N or N%, nobody else begins
    #[arg(long, value_name = "N", requires = "on", value_parser = share)]
    max_failures: Option<String>,
    /// What the run is called [default: HANDLE-digits]
    #[arg(long, value_name = "NAME", requires = "on")]
    name: Option<String>,
    /// Say whom it would be for; send nothing
    #[arg(long, requires = "on")]
    dry_run: bool,
    /// A file to send along; may stand several times
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Its standard input, in place of ours
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
    /// Leave our standard input alone
    #[arg(short, long, conflicts_with = "stdin")]
    no_stdin: bool,
    /// Wait for its end; print its output and end as it did
    #[arg(long)]
    wait: bool,
    /// Wait so long at most [default: until it ends]
    #[arg(long, value_name = "D", value_parser = parse::duration)]
    timeout: Option<Duration>,
    /// How old it may be when it begins [default: as configured]
    #[arg(long, value_name = "D", value_parser = parse::lifetime)]
    ttl: Option<Lifetime>,
    /// Send back how it ended and its last words, no more
    #[arg(long)]
    brief: bool,
    /// After my last one in this queue there
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// After these jobs of mine there; may stand several times
    #[arg(long, value_name = "ID", conflicts_with = "if_ok")]
    after: Vec<String>,
    /// The same, and only if they ended well
    #[arg(long, value_name = "ID")]
    if_ok: Vec<String>,
    /// Wait so long for those that do not come [default: as --ttl]
    #[arg(long, value_name = "D", value_parser = parse::duration)]
    patience: Option<Duration>,
    /// Then: run, skip or hold [default: skip]
    #[arg(long = "else", value_enum, value_name = "WHAT", hide_possible_values = true)]
    otherwise: Option<Otherwise>,
    /// Not before: a time such as 2026-12-31T22:00Z, or +2h
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    not_before: Option<u64>,
    /// Not after
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    not_after: Option<u64>,
    /// Instead of mine with this key that have not begun
    #[arg(long, value_name = "KEY")]
    supersede: Option<String>,
}

/// What becomes of a job whose patience ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Otherwise {
    Run,
    Skip,
    Hold,
}

/// What came on standard input, as a file for as long as this lives.
struct Input(PathBuf);

impl Run {
    pub(super) fn run(mut self, context: &Context) -> Ended {
        // A time to wait for means to wait.
        self.wait |= self.timeout.is_some();
        let several = !self.on.is_empty();
        if self.dry_run {
            let (on, canary) = (self.on, self.canary);
            return fleet::dry_run(context, api::FleetTargets { on, canary });
        }
        if self.first.is_none() || !several && self.others.is_empty() {
            let next = "nothing was sent; postrider run WHO -- HANDLE, or --on WHOM -- HANDLE";
            return Err(usage("it is not said what is to be run", next));
        }
        let input = self.input(context)?;
        let asker = context.asker()?;
        // Before it is sent, so that nothing that happens to it is missed.
        let events = match asker.daemon() {
            Some(client) if self.wait => Some(client.events()?),
            _ => None,
        };
        let (wait, timeout) = (self.wait, self.timeout);
        if several {
            let line = asker.ask(self.fleet(input.as_ref())?)?;
            let has_daemon = asker.daemon().is_some();
            drop((asker, input));
            context.out.object(&line)?;
            if wait {
                return fleet::wait(context, &line, events.as_ref(), timeout);
            }
            fleet::told(context, &line, has_daemon)?;
            return Ok(ExitCode::SUCCESS);
        }
        let job = asker.ask(self.request(false, input.as_ref())?)?;
        let has_daemon = asker.daemon().is_some();
        // Whoever waits for the spool need not wait for our reader.
        drop((asker, input));
        context.out.object(&job)?;
        if wait {
            return outcome::wait(context, &job, events.as_ref(), timeout);
        }
        told(context, &job, has_daemon)?;
        Ok(ExitCode::SUCCESS)
    }

    fn fleet(&mut self, input: Option<&Input>) -> Result<api::RunFleet, Stop> {
        Ok(api::RunFleet {
            on: std::mem::take(&mut self.on),
            name: self.name.take(),
            canary: self.canary.take(),
            max_failures: self.max_failures.take(),
            run: Some(self.request(true, input)?),
        })
    }

    fn request(&mut self, several: bool, input: Option<&Input>) -> Result<api::Run, Stop> {
        let mut words = self.first.take().into_iter().chain(std::mem::take(&mut self.others));
        // Its first word says on whom, if nothing else does.
        let to = if several { String::new() } else { words.next().unwrap_or_default() };
        let if_ok = !self.if_ok.is_empty();
        let stdin = self.stdin.as_deref().or(input.map(|input| &*input.0));
        let patience_s = self.patience.map(|time| u32::try_from(time.as_secs()));
        let then = self.otherwise.map(|otherwise| match otherwise {
            Otherwise::Run => "run",
            Otherwise::Skip => "skip",
            Otherwise::Hold => "hold",
        });
        Ok(api::Run {
            to,
            handle: words.next().unwrap_or_default(),
            args: words.collect(),
            files: self.files.iter().map(|path| absolute(path)).collect::<Result<_, _>>()?,
            stdin: stdin.map(absolute).transpose()?,
            queue: self.queue.clone(),
            after: if if_ok { self.if_ok.clone() } else { self.after.clone() },
            if_ok,
            patience_s: patience_s.map(|s| s.unwrap_or(u32::MAX)),
            then: then.map(Into::into),
            supersede: self.supersede.clone(),
            lifetime_s: self.ttl.map(Lifetime::seconds),
            not_before: self.not_before,
            not_after: self.not_after,
            brief: self.brief,
        })
    }

    /// Our standard input, unless it is a terminal, is not to be read, or is empty.
    fn input(&self, context: &Context) -> Result<Option<Input>, Failure> {
        if self.no_stdin || self.stdin.is_some() || io::stdin().is_terminal() {
            return Ok(None);
        }
        let bytes = read_input(io::stdin().lock())?;
        if bytes.is_empty() { Ok(None) } else { Input::write(&context.home()?, &bytes).map(Some) }
    }
}

impl Input {
    /// In the home: nobody else may read it there.
    fn write(home: &Path, bytes: &[u8]) -> Result<Self, Failure> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| {
            Failure::new(FailureKind::Failed, "the system gives no random numbers").because(error)
        })?;
        let path = home.join(format!("stdin-{}", hex(&random)));
        let failed = |error| Failure::file("write", &path, error);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        // From here on it is removed, whatever happens.
        let input = Self(path.clone());
        file.write_all(bytes).map_err(failed)?;
        Ok(input)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // Where it cannot be removed nothing is lost but its room.
        let _ = fs::remove_file(&self.0);
    }
}

fn read_input(input: impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    input
        .take(STDIN_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::file("read", Path::new("standard input"), error))?;
    if bytes.len() as u64 > STDIN_MAX {
        let what = format!("more than {} on standard input", text::bytes(STDIN_MAX));
        return Err(Failure::new(FailureKind::Usage, what)
            .next("nothing was sent; put it into a file: postrider run --stdin FILE, or -f FILE"));
    }
    Ok(bytes)
}

/// So many, or of each hundred so many: looked at here, so that a slip is wrong usage.
fn share(text: &str) -> Result<String, String> {
    text.parse::<Share>().map(|_| text.to_owned())
}

/// That a job is queued, and what follows.
pub(super) fn told(context: &Context, job: &JobLine, has_daemon: bool) -> Result<(), Stop> {
    if context.out.loudness == Loudness::Quiet {
        return context.out.say(&job.id);
    }
    context.out.say(format!("{} {}", job.state, job.id))?;
    let goes = if has_daemon {
        "it goes by itself when there is a way"
    } else {
        "it goes with the next stick: postrider toss PATH"
    };
    let (handle, to) = (text::line(&job.handle), text::line(&job.to));
    context.out.say(format!("  {handle} for {to}; {goes}"))?;
    if let Some(last) = job.after.last() {
        context.out.say(format!("  after {}", text::short_id(last)))?;
    }
    context.out.say(format!("  see: postrider job show {}", text::short_id(&job.id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_is_bounded_and_lies_in_a_file_only_for_a_while() {
        assert_eq!(read_input(&b"\xff\0"[..]).unwrap(), b"\xff\0");
        let endless = read_input(io::repeat(b'x')).unwrap_err();
        assert_eq!(endless.kind, FailureKind::Usage);
        assert!(endless.next.unwrap().contains("--stdin FILE"));
        let home = tempfile::tempdir().unwrap();
        let input = Input::write(home.path(), b"hi").unwrap();
        assert_eq!(fs::read(&input.0).unwrap(), b"hi");
        drop(input);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
