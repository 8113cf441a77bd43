//! `demo`, `bench`, `completion`, `man`, `version`: the program itself.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Command};
use clap_complete::Shell;
use serde::Serialize;

use super::{Context, Ended, failure::Stop};
use crate::desk::{Failure, FailureKind};

/// See it work: two nodes that never meet, and a stranger who carries the stick
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider demo
  postrider demo --radio              three radios on simulated air
  TMPDIR=/var/tmp postrider demo      where there is more room")]
pub(super) struct Demo {
    /// Three radios, one of them between the others, and frames that get lost
    #[arg(long)]
    radio: bool,
}

/// Measure this machine: a large file by stick, and many small messages
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider bench
  postrider bench --mib 1024 --dir /var/tmp      a larger file, on another disk")]
pub(super) struct Bench {
    /// Size of the large file, in MiB
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    mib: u64,
    /// Where to work; four times the file's size must be free there
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Write the completions of a shell to standard output
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider completion bash > ~/.local/share/bash-completion/completions/postrider
  postrider completion fish > ~/.config/fish/completions/postrider.fish")]
pub(super) struct Completion {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Write the manual page of a verb, or of the whole, to standard output
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider man | man -l -
  postrider man toss > postrider-toss.1")]
pub(super) struct Man {
    /// Which verb
    verb: Option<String>,
}

/// Show the version
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider version
  postrider version --json")]
pub(super) struct Version {}

#[derive(Serialize)]
#[serde(tag = "type", rename = "version")]
struct VersionObject {
    version: &'static str,
}

impl Demo {
    pub(super) fn run(self, _: &Context) -> Ended {
        let mut stdout = io::stdout().lock();
        match self.radio {
            true => crate::demo::radio::run(&mut stdout)?,
            false => crate::demo::run(&mut stdout)?,
        }
        stdout.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Bench {
    pub(super) fn run(self, context: &Context) -> Ended {
        let dir = self.dir.unwrap_or_else(std::env::temp_dir);
        let folder = dir.join(format!("postrider-bench-{}", std::process::id()));
        crate::bench::run(&folder, self.mib, &mut |figure| {
            let told = context.out.object(&figure).and_then(|()| {
                let share = figure
                    .of_disk
                    .map_or(String::new(), |share| format!("  ({share:.2} x the disk itself)"));
                context
                    .out
                    .say(format!("{:24} {:10.1} {}{share}", figure.name, figure.value, figure.unit))
            });
            told.map_err(|stop| match stop {
                Stop::Failure(failure) => failure,
                Stop::Closed => Failure::new(FailureKind::Failed, "the output was closed")
                    .because(io::Error::from(io::ErrorKind::BrokenPipe)),
            })
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Completion {
    pub(super) fn run(self, grammar: &mut Command) -> Ended {
        // The generator unwraps its writes: a closed pipe must not reach it.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, grammar, "postrider", &mut script);
        io::stdout().lock().write_all(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Man {
    pub(super) fn run(self, mut grammar: Command) -> Ended {
        grammar.build();
        let page = match &self.verb {
            None => grammar,
            Some(verb) => {
                let found = grammar.find_subcommand(verb).filter(|verb| !verb.is_hide_set());
                found.cloned().ok_or_else(|| {
                    super::failure::usage(format!("there is no verb {verb}"), "postrider --help")
                })?
            }
        };
        let mut text = Vec::new();
        clap_mangen::Man::new(page).render(&mut text)?;
        io::stdout().lock().write_all(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Version {
    pub(super) fn run(self, context: &Context) -> Ended {
        let version = env!("CARGO_PKG_VERSION");
        context.out.object(&VersionObject { version })?;
        context.out.say(format!("postrider {version}"))?;
        Ok(ExitCode::SUCCESS)
    }
}
