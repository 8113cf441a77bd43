//! `status`, `queue`, `trace`, `why`: what waits, and why.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use postrider_base::Niceness;

use super::{Context, Ended, Stop, send::Urgency, text};
use crate::{
    api,
    desk::reply::{self, Queued, Sent, Traced},
};

/// Show how this node is
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider status
  postrider status --json | jq .out")]
pub(super) struct Status {}

/// List what waits, and rearrange it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider queue
  postrider queue cancel 3f2a
  postrider queue bump 3f2a --urgent")]
pub(super) struct Queue {
    #[command(subcommand)]
    verb: Option<QueueVerb>,
}

#[derive(Debug, Subcommand)]
enum QueueVerb {
    /// List what waits
    Ls,
    /// Show one bundle
    Show {
        /// An id, or its first digits
        id: String,
    },
    /// Take a message back: copies on the way may still arrive
    Cancel {
        /// An id, or its first digits
        id: String,
    },
    /// Let a message go earlier or later
    Bump {
        /// An id, or its first digits
        id: String,
        #[command(flatten)]
        urgency: Urgency,
    },
}

/// Show where a message went
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider trace 3f2a
  postrider trace 3f2a --json")]
pub(super) struct Trace {
    /// An id, or its first digits
    id: String,
}

/// Show why a message waits
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postrider why 3f2a
  postrider why 3f2a --json")]
pub(super) struct Why {
    /// An id, or its first digits
    id: String,
}

impl Status {
    pub(super) fn run(self, context: &Context) -> Ended {
        let status = context.ask(api::StatusVerb::default())?;
        context.out.object(&status)?;
        show(context, &status)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Queue {
    pub(super) fn run(self, context: &Context) -> Ended {
        let asker = context.asker()?;
        match self.verb.unwrap_or(QueueVerb::Ls) {
            QueueVerb::Ls => list(context, "queue ls", &asker.ask(api::QueueLs::default())?)?,
            QueueVerb::Show { id } => bundle(context, &asker.ask(api::QueueShow { id })?)?,
            QueueVerb::Cancel { id } => {
                let sent = asker.ask(api::QueueCancel { id })?;
                context.out.object(&sent)?;
                let Sent { id, to, state, .. } = &sent;
                let (id, to) = (text::short_id(id), text::line(to));
                context.out.say(format!("{state} {id}, for {to}"))?;
            }
            QueueVerb::Bump { id, urgency } => {
                // To bump without a number means: earlier than normal.
                let nice = urgency.niceness().unwrap_or(Niceness::PRIORITY);
                bundle(context, &asker.ask(api::QueueBump { id, nice: nice.value() })?)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Trace {
    pub(super) fn run(self, context: &Context) -> Ended {
        let asker = context.asker()?;
        let events = asker.ask(api::Trace { id: self.id.clone() })?;
        // Only while it waits; and what happened is told in any case.
        let waiting = if context.out.is_json() {
            None
        } else {
            asker.ask(api::QueueShow { id: self.id }).ok()
        };
        drop(asker);
        context.out.list("trace", &events)?;
        for Traced { what, who, via, age_s, .. } in &events {
            context.out.say(format!(
                "{}  {}  {}",
                text::column(&text::ago(*age_s), 16),
                text::column(&text::line(what), 10),
                text::line(format!("{who}  {via}").trim()),
            ))?;
        }
        if let Some(bundle) = waiting {
            let (now, waits) = (text::column("now", 16), text::column("waits", 10));
            context.out.say(format!("{now}  {waits}  copies: {}", copies(&bundle)))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Why {
    pub(super) fn run(self, context: &Context) -> Ended {
        let reasons = context.ask(api::Why { id: self.id })?;
        context.out.list("why", &reasons)?;
        for reason in &reasons {
            context.out.say(text::line(&reason.reason))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A list of bundles.
pub(super) fn list(context: &Context, verb: &'static str, all: &[Queued]) -> Result<(), Stop> {
    let out = &context.out;
    out.list(verb, all)?;
    if all.is_empty() {
        return out.hint("Nothing waits.");
    }
    for bundle in all {
        out.say(format!(
            "{}  {}  {}  nice {}  {}  {}",
            text::short_id(bundle.message.as_deref().unwrap_or(&bundle.id)),
            text::column(&text::line(&bundle.to), 16),
            text::column(&text::bytes(bundle.bytes), 8),
            text::column(&bundle.nice.to_string(), 3),
            text::column(&text::span(bundle.age_s), 12),
            text::line(&bundle.reason),
        ))?;
    }
    Ok(())
}

fn bundle(context: &Context, bundle: &Queued) -> Result<(), Stop> {
    let out = &context.out;
    out.object(bundle)?;
    out.say(out.strong(&format!("{} for {}", bundle.id, text::line(&bundle.to))))?;
    if let Some(message) = &bundle.message {
        out.say(format!("  message  {message}"))?;
    }
    out.say(format!("  state    {}, {}", bundle.state, text::line(&bundle.reason)))?;
    out.say(format!("  size     {}, niceness {}", text::bytes(bundle.bytes), bundle.nice))?;
    out.say(format!(
        "  age      {}, expires in {}",
        text::span(bundle.age_s),
        text::span(bundle.expires_in_s)
    ))?;
    if let Some((received, all)) = bundle.parts {
        out.say(format!("  parts    {received} of {all} received"))?;
    }
    out.say(format!("  copies   {}", copies(bundle)))
}

/// How many copies are left here, and when one may be there.
fn copies(bundle: &Queued) -> String {
    let expected = match bundle.eta_s {
        None => String::new(),
        Some(0) => "; a link to whom it is for is up".to_owned(),
        Some(eta_s) => format!("; half of such arrive within {}", text::span(eta_s)),
    };
    format!("{} more may leave here{expected}", bundle.tokens.saturating_sub(1))
}

fn show(context: &Context, status: &reply::Status) -> Result<(), Stop> {
    let out = &context.out;
    let name = if status.name.is_empty() { "(no name)" } else { &status.name };
    out.say(format!("{}  {}", out.strong(&text::line(name)), status.id))?;
    let links = if status.links.is_empty() {
        "none (sticks only)".to_owned()
    } else {
        let names: Vec<&str> = status.links.iter().map(|link| &*link.name).collect();
        text::line(&names.join(", "))
    };
    out.say(format!("  links    {links}"))?;
    let oldest = if status.out + status.carried == 0 {
        String::new()
    } else {
        format!(", the oldest for {}", text::span(status.oldest_s))
    };
    out.say(format!("  waiting  {} of mine{oldest}", text::count(status.out, "bundle")))?;
    out.say(format!("  unread   {}", text::count(status.unread, "message")))?;
    out.say(format!(
        "  carried  {} of others ({})",
        text::count(status.carried, "bundle"),
        text::bytes(status.carried_bytes)
    ))?;
    for line in status.classes.iter().filter(|line| line.bundles > 0) {
        if let Some(quota) = line.quota_bytes {
            let (counted, quota) = (text::bytes(line.counted_bytes), text::bytes(quota));
            out.say(format!("           {}s: {counted} of {quota}", line.class))?;
        }
    }
    out.say(format!("  disk     {} free", text::bytes(status.disk_free)))?;
    out.say(format!("  health   {}", text::line(&status.health)))?;
    for port in &status.ports {
        let line = format!("{}: {}: {}", port.address, port.state, port.why);
        out.say(format!("  port     {}", text::line(&line)))?;
    }
    if let Some(bluetooth) = &status.bluetooth {
        let line = format!("{}, {}", bluetooth.state, bluetooth.why);
        out.say(format!("  nearby   {}", text::line(&line)))?;
    }
    for medium in &status.media {
        let stick = text::line(&format!("{} ({})", medium.label, medium.device));
        out.say(format!("  stick    {stick} is {}: {}", medium.state, text::line(&medium.why)))?;
    }
    if status.out > 0 {
        out.hint("carry it: postrider toss PATH")?;
    }
    Ok(())
}
