//! `demo`, `completion`, `man`, `version`: the program itself.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, Command};
use clap_complete::Shell;
use serde::Serialize;

use super::{Context, Ended};

/// See it work: two nodes that never meet, and a stranger who carries the stick
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider demo
  TMPDIR=/var/tmp postrider demo      where there is more room")]
pub(super) struct Demo {}

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
        crate::demo::run(&mut stdout)?;
        stdout.flush()?;
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
