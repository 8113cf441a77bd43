//! Runs over fleets: `run --on`, and what `job` says and does where a name is one of those.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use super::{
    Context, Ended, Stop, eprint_line,
    failure::object_with_code,
    outcome::stands,
    output::{Loudness, write_object},
    text,
};
use crate::{
    api::{self, Events},
    desk::{
        Failure, FailureKind,
        reply::{FleetLine, JobLine, Summary},
    },
};

/// How often one is looked at that somebody waits for.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// And where a daemon tells of news: what it tells may be lost with it.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);
/// The wait ran out; the fleet goes on.
const WAIT_RAN_OUT: u8 = 7;
/// Some ended well, and some did not.
const PARTIAL: u8 = 3;

/// The run over a fleet that is meant, if it is one.
pub(super) fn named(context: &Context, name: &str) -> Result<Option<FleetLine>, Failure> {
    match context.ask(api::FleetShow { name: name.to_owned() }) {
        Ok(fleet) => Ok(Some(fleet)),
        Err(failure) if failure.kind == FailureKind::Unknown => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Says whom a run would be for.
pub(super) fn dry_run(context: &Context, targets: api::FleetTargets) -> Ended {
    let out = &context.out;
    let all = context.ask(targets)?;
    out.list("run --dry-run", &all)?;
    for it in &all {
        let name = text::column(&text::line(&it.name), 20);
        match &it.left_out {
            Some(why) => out.say(format!("{name}  left out: {why}"))?,
            None if it.canary => out.say(format!("{name}  canary"))?,
            None => out.say(name.trim_end())?,
        }
    }
    let goes = all.iter().filter(|it| it.left_out.is_none()).count();
    out.hint(format!("{} would get it; nothing was sent.", text::count(goes as u64, "target")))?;
    Ok(ExitCode::SUCCESS)
}

/// That one is under way, and what follows.
pub(super) fn told(context: &Context, fleet: &FleetLine, has_daemon: bool) -> Result<(), Stop> {
    let out = &context.out;
    let name = text::line(&fleet.name);
    if out.loudness == Loudness::Quiet {
        return out.say(&name);
    }
    let of = text::count(u64::from(fleet.of), "target");
    out.say(format!("{} {name}: {} of {of} sent", fleet.state, fleet.sent))?;
    if let Some(why) = &fleet.why {
        out.say(format!("  {}", text::line(why)))?;
    }
    if !has_daemon {
        out.say("  it goes with the next stick: postrider toss PATH")?;
    }
    out.say(format!("  see: postrider job show {name}"))
}

/// One line of `job ls`.
pub(super) fn line(fleet: &FleetLine) -> String {
    let word = if fleet.over { "not sent" } else { "waiting" };
    let counts: Vec<String> = [
        (fleet.well, "ok"),
        (fleet.failed, "failed"),
        (fleet.taken_back, "taken back"),
        (open(fleet), "open"),
        (unsent(fleet), word),
    ]
    .into_iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, what)| format!("{n} {what}"))
    .collect();
    format!(
        "{}  {}  {}  {}: {}",
        text::column(&text::line(&fleet.name), 26),
        text::column(&text::line(&fleet.handle), 16),
        text::column(&text::ago(fleet.age_s), 14),
        fleet.state,
        counts.join(", "),
    )
}

/// Targets of which nobody has said how it ended.
fn open(fleet: &FleetLine) -> u32 {
    let known = fleet.well + fleet.failed + fleet.taken_back + unsent(fleet);
    fleet.of.saturating_sub(known)
}

fn unsent(fleet: &FleetLine) -> u32 {
    ["waiting", "not-sent"].iter().filter_map(|state| fleet.states.get(*state)).sum()
}

/// One, with how each of its targets stands.
pub(super) fn show(context: &Context, fleet: &FleetLine) -> Result<(), Stop> {
    let out = &context.out;
    let jobs = context.ask(api::FleetJobs { name: fleet.name.clone() })?;
    if out.is_json() {
        write_object(fleet)?;
        jobs.iter().try_for_each(write_object)?;
        return write_object(&Summary { verb: "job show".into(), count: jobs.len() });
    }
    let quoted = |arg: &String| format!(" {}", postrider_exec::allow::shown(arg.as_bytes()));
    let args: String = fleet.args.iter().map(quoted).collect();
    let (handle, on) = (text::line(&fleet.handle), text::line(&fleet.on.join(",")));
    out.say(out.strong(&format!("{handle}{args} on {on}")))?;
    out.say(format!("  name     {}", text::line(&fleet.name)))?;
    out.say(format!("  state    {}", fleet.state))?;
    if let Some(why) = &fleet.why {
        out.say(format!("  why      {}", text::line(why)))?;
    }
    let rest = fleet.max_failures.map(|n| format!(", halts after {n} failed")).unwrap_or_default();
    let FleetLine { of, canary, sent, well, failed, .. } = fleet;
    out.say(format!("  targets  {of}, {canary} of them first{rest}"))?;
    out.say(format!("  so far   {sent} sent, {well} ok, {failed} failed"))?;
    out.say(format!(
        "  asked    {}; ends in {}",
        text::ago(fleet.age_s),
        text::span(fleet.ends_s)
    ))?;
    jobs.iter().try_for_each(|job| out.say(target(job)))
}

fn target(job: &JobLine) -> String {
    let id = if job.id.is_empty() { "-" } else { text::short_id(&job.id) };
    let why = match (&*job.state, &job.why) {
        ("refused" | "unknown" | "expired" | "not-begun", Some(why)) => {
            format!(": {}", text::line(why))
        }
        _ => String::new(),
    };
    let to = text::column(&text::line(&job.to), 20);
    format!("  {}  {to}  {}{why}", text::column(id, 8), stands(job))
}

/// Takes one back.
pub(super) fn cancel(context: &Context, fleet: FleetLine, force: bool) -> Result<(), Stop> {
    let out = &context.out;
    let fleet = context.ask(api::FleetCancel { name: fleet.name, force })?;
    out.object(&fleet)?;
    let name = text::line(&fleet.name);
    let open = text::count(u64::from(open(&fleet)), "target");
    out.say(format!("{} {name}: nobody else is sent to; taken back from {open}", fleet.state))?;
    if !force {
        out.hint("  a command that has begun goes on; --force ends it")?;
    }
    out.hint(format!("  see: postrider job show {name}"))
}

/// Lets the rest of one go.
pub(super) fn release(context: &Context, fleet: FleetLine) -> Result<(), Stop> {
    let fleet = context.ask(api::FleetRelease { name: fleet.name })?;
    context.out.object(&fleet)?;
    let (name, of) = (text::line(&fleet.name), fleet.of);
    context.out.say(format!("{} {name}: {} of {of} sent", fleet.state, fleet.sent))
}

/// Waits until nothing is left to be done or to be heard, and ends by how many ended well.
pub(super) fn wait(
    context: &Context,
    fleet: &FleetLine,
    events: Option<&Events>,
    timeout: Option<Duration>,
) -> Ended {
    let until = timeout.map(|time| Instant::now() + time);
    let mut before = (fleet.state.clone(), fleet.well, fleet.failed, fleet.sent);
    let mut first = true;
    loop {
        let now = context.ask(api::FleetShow { name: fleet.name.clone() })?;
        let stands = (now.state.clone(), now.well, now.failed, now.sent);
        if stands != before || std::mem::take(&mut first) {
            before = stands;
            context.out.object(&now)?;
            if context.out.loudness == Loudness::Verbose && !context.out.is_json() {
                eprint_line(&line(&now));
            }
        }
        if now.over {
            return ended(context, &now);
        }
        let over = until.is_some_and(|until| Instant::now() >= until);
        // A person must say what comes of it; and without a daemon and a time nothing happens.
        if over || now.state == "waits" || events.is_none() && until.is_none() {
            return ran_out(context, &now, events.is_some());
        }
        let soonest = |after: Duration| {
            let look = Instant::now() + after;
            until.map_or(look, |until| until.min(look))
        };
        match events {
            None => {
                let look = soonest(LOOK_AGAIN);
                std::thread::sleep(look.saturating_duration_since(Instant::now()));
            }
            Some(events) => {
                // What happens to any job may be news of one of them.
                let look = soonest(LOOK_ANYWAY);
                while let Some(happening) = events.next(Some(look))? {
                    if happening.what == "job" {
                        break;
                    }
                }
            }
        }
    }
}

fn ended(context: &Context, fleet: &FleetLine) -> Ended {
    if !context.out.is_json() {
        context.out.say(line(fleet))?;
    }
    Ok(ExitCode::from(code(fleet)))
}

/// 0 where all ended well, 1 where none did, 3 between.
fn code(fleet: &FleetLine) -> u8 {
    match fleet.well {
        well if well == fleet.of => 0,
        0 => 1,
        _ => PARTIAL,
    }
}

fn ran_out(context: &Context, fleet: &FleetLine, daemon: bool) -> Ended {
    let name = text::line(&fleet.name);
    let what = line(fleet);
    let next = match (&*fleet.state, daemon) {
        ("waits", _) => format!("postrider job release {name}, or postrider job cancel {name}"),
        (_, true) => format!("it goes on by itself: postrider job wait {name}"),
        (_, false) => format!(
            "no daemon runs: postrider up, or postrider toss STICK; then postrider job wait {name}"
        ),
    };
    if context.out.is_json() {
        object_with_code("wait-ran-out", &what, &next)?;
    } else {
        eprint_line(&format!("{what}\n  next: {next}"));
    }
    Ok(ExitCode::from(WAIT_RAN_OUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_by_how_many_ended_well() {
        for (well, failed, wanted) in [(3, 0, 0), (2, 1, 3), (1, 0, 3), (0, 3, 1), (0, 0, 1)] {
            let fleet = FleetLine { of: 3, well, failed, ..FleetLine::default() };
            assert_eq!(code(&fleet), wanted, "{well} {failed}");
        }
    }
}
