//! `spool`, `config`, `doctor`: upkeep.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Context, Ended, Stop, text};
use crate::{
    api,
    desk::{
        FailureKind,
        reply::{Checked, Finding},
    },
    home,
};

/// Look after the mail on this disk
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider spool check
  postrider spool gc")]
pub(super) struct Spool {
    #[command(subcommand)]
    verb: SpoolVerb,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum SpoolVerb {
    /// Say how much is here, and of what
    Stats,
    /// Read everything and say what is damaged
    Check,
    /// Make the index anew from the log
    Rebuild,
    /// Give back what is no longer needed
    Gc,
}

/// Check or show the settings
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider config check
  postrider config show")]
pub(super) struct Config {
    #[command(subcommand)]
    verb: ConfigVerb,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum ConfigVerb {
    /// Read config.toml and say what is wrong with it
    Check,
    /// Show every setting, also those that are not in the file
    Show,
}

/// Look for what is wrong, and say what to do about it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider doctor
  postrider doctor --clear-alarm      after having done what it asks for")]
pub(super) struct Doctor {
    /// Clear alarms: what they speak of has been dealt with
    #[arg(long)]
    clear_alarm: bool,
}

/// The settings as an object.
#[derive(Serialize)]
#[serde(tag = "type", rename = "config")]
struct Settings<'a> {
    #[serde(flatten)]
    config: &'a home::Config,
}

impl Spool {
    pub(super) fn run(self, context: &Context) -> Ended {
        let asker = context.asker()?;
        let checked = match self.verb {
            SpoolVerb::Stats => {
                let rows = asker.ask(api::SpoolStats::default())?;
                context.out.list("spool stats", &rows)?;
                for row in &rows {
                    let check = text::column(&text::line(&row.check), 24);
                    context.out.say(format!("{check}  {}", text::line(&row.detail)))?;
                }
                return Ok(ExitCode::SUCCESS);
            }
            SpoolVerb::Check => asker.ask(api::SpoolCheck::default())?,
            SpoolVerb::Rebuild => asker.ask(api::SpoolRebuild::default())?,
            SpoolVerb::Gc => asker.ask(api::SpoolGc::default())?,
        };
        context.out.object(&checked)?;
        tell(context, &checked)?;
        let damaged = FailureKind::Damaged.exit_code();
        Ok(if checked.damaged > 0 { ExitCode::from(damaged) } else { ExitCode::SUCCESS })
    }
}

impl Config {
    pub(super) fn run(self, context: &Context) -> Ended {
        // Opening a home reads its settings and refuses wrong ones.
        let desk = context.desk()?;
        let config = &desk.home().config;
        context.out.object(&Settings { config })?;
        match self.verb {
            ConfigVerb::Check => context.out.say("config.toml is right")?,
            ConfigVerb::Show => context.out.say(config.to_whole_text().trim_end())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Doctor {
    pub(super) fn run(self, context: &Context) -> Ended {
        let findings = if self.clear_alarm {
            context.ask(api::AlarmClear::default())?
        } else {
            context.ask(api::Doctor::default())?
        };
        context.out.list("doctor", &findings)?;
        for finding in &findings {
            show(context, finding)?;
        }
        let failed = findings.iter().any(|finding| finding.verdict == "fail");
        let code = FailureKind::Failed.exit_code();
        Ok(if failed { ExitCode::from(code) } else { ExitCode::SUCCESS })
    }
}

fn tell(context: &Context, checked: &Checked) -> Result<(), Stop> {
    let out = &context.out;
    out.say(format!(
        "{}: {}, {} damaged, {} repaired",
        checked.verb,
        text::count(checked.bundles, "bundle"),
        checked.damaged,
        checked.repaired
    ))?;
    for finding in &checked.findings {
        out.say(format!("  {}", text::line(finding)))?;
    }
    Ok(())
}

fn show(context: &Context, finding: &Finding) -> Result<(), Stop> {
    let out = &context.out;
    let verdict = text::column(&finding.verdict, 4);
    let verdict = if finding.verdict == "ok" { verdict } else { out.strong(&verdict) };
    let check = text::column(&text::line(&finding.check), 20);
    out.say(format!("{verdict}  {check}  {}", text::line(&finding.detail)))?;
    match &finding.next {
        Some(next) => out.say(format!("      next: {}", text::line(next))),
        None => Ok(()),
    }
}
