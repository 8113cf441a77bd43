//! `log --audit`: what was done here for others, and whether that record holds.

use std::process::ExitCode;

use postrider_base::roster::Day;

use super::{Context, Ended, text};
use crate::{
    api,
    desk::{date, reply::AuditLine},
};

/// Shows all that is kept.
pub(super) fn show(context: &Context) -> Ended {
    let out = &context.out;
    let all = context.ask(api::AuditLs::default())?;
    out.list("log --audit", &all)?;
    all.iter().try_for_each(|record| out.say(line(record)))?;
    if all.is_empty() {
        out.hint("Nothing was done here for others yet.")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks it.
pub(super) fn verify(context: &Context, has: Option<String>) -> Ended {
    let out = &context.out;
    let checked = context.ask(api::AuditVerify { has })?;
    out.object(&checked)?;
    let records = text::count(checked.records, "record");
    out.say(format!("{records} hold, {} to {}", checked.first, checked.last))?;
    out.say(format!("  head     {}", checked.head))?;
    out.say(format!("  signed   up to {}", checked.signed))?;
    if let Some(number) = checked.has {
        out.say(format!("  has it   behind record {number}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(record: &AuditLine) -> String {
    let when = match record.clock {
        Some(clock) => time(clock),
        None => "-".to_owned(),
    };
    let mut words = vec![
        format!("{:>6}", record.number),
        text::column(&when, 20),
        text::column(&text::line(&record.what), 14),
    ];
    words.extend(record.job.as_deref().map(|job| text::short_id(job).to_owned()));
    words.extend(record.who.as_deref().map(text::line));
    words.extend(record.handle.as_deref().map(text::line));
    let mut line = words.join("  ");
    if let Some(why) = &record.why {
        line.push_str(&format!(": {}", text::line(why)));
    }
    line
}

/// A time by the calendar, UTC, to the second.
fn time(clock: u64) -> String {
    let (days, s) = (clock / 86_400, clock % 86_400);
    let day = date(Day(u32::try_from(days).unwrap_or(u32::MAX)));
    format!("{day}T{:02}:{:02}:{:02}Z", s / 3600, s / 60 % 60, s % 60)
}
