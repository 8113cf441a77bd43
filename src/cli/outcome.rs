//! Waiting for a job, and ending as its command did: its output to ours, its status as ours.

use std::{
    fs::File,
    io::{self, IsTerminal, Read, Write},
    path::Path,
    process::{self, ExitCode},
    thread,
    time::{Duration, Instant},
};

use super::{
    Context, Ended, Stop, eprint_line,
    failure::{object_with_code, tell},
    output::Loudness,
    raw::pour,
    text,
};
use crate::{
    api::{self, Events},
    desk::{
        Failure, FailureKind,
        reply::{JobLine, OutputLine},
    },
};

/// The wait ran out; the job is on its way.
const WAIT_RAN_OUT: u8 = 7;
/// Its command took longer than it may: as timeout(1) says it.
const OVERRAN: u8 = 124;
/// It could not be begun; it may not be run there; nothing there has that name: as env(1) and shells
/// say it, with a refusal in the place of what cannot be run.
const NOT_BEGUN: u8 = 125;
const REFUSED: u8 = 126;
const NO_SUCH_HANDLE: u8 = 127;
/// Nobody can say how it ended: EX_TEMPFAIL, and nothing tries again by itself.
const UNKNOWN: u8 = 75;
/// States of jobs that have not ended.
const OPEN: [&str; 4] = ["queued", "held", "admitted", "running"];
/// How often a job is looked at where there is no daemon to tell of it.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// And where there is one: what it tells may be lost with it.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);

/// With which code a command ends whose job ended like this.
pub(super) fn code(line: &JobLine) -> u8 {
    match (&*line.state, line.exit_code, line.signal) {
        ("exited", Some(code), _) => code,
        ("exited", None, Some(signal)) => signal.saturating_add(128),
        ("exited", None, None) if line.how == "overran" => OVERRAN,
        ("unknown", ..) => UNKNOWN,
        ("refused", ..) => REFUSED,
        ("unknown-handle", ..) => NO_SUCH_HANDLE,
        ("not-begun", ..) => NOT_BEGUN,
        // Expired, or taken back in one of the ways there are.
        _ => FailureKind::Ended.exit_code(),
    }
}

/// How a job stands, in words.
pub(super) fn stands(line: &JobLine) -> String {
    let state = match (&*line.state, line.exit_code, line.signal) {
        ("exited", Some(code), _) => format!("exited with {code}"),
        ("exited", None, Some(signal)) => format!("ended by signal {signal}"),
        ("exited", None, None) => line.how.to_string(),
        ("unknown-handle", ..) => "refused: no such handle".to_owned(),
        ("not-begun", ..) => "could not be begun".to_owned(),
        _ => line.state.to_string(),
    };
    match line.said_s {
        Some(age_s) => format!("{state}, said {}", text::ago(age_s)),
        None => state,
    }
}

/// Waits until a job has ended and ends as it did. Without a time it waits for ever, where a daemon
/// tells of it.
pub(super) fn wait(
    context: &Context,
    job: &JobLine,
    events: Option<&Events>,
    timeout: Option<Duration>,
) -> Ended {
    say_when_interrupted(&job.id, context);
    let until = timeout.map(|time| Instant::now() + time);
    let over = |until: Option<Instant>| until.is_some_and(|until| Instant::now() >= until);
    let mut state = job.state.clone();
    loop {
        let now = context.ask(api::JobShow { id: job.id.clone() })?;
        if now.state != state {
            state = now.state.clone();
            context.out.object(&now)?;
            if context.out.loudness == Loudness::Verbose {
                eprint_line(&format!("{} {}", stands(&now), text::short_id(&now.id)));
            }
        }
        // Without a daemon and without a time nothing will happen that is worth waiting for.
        let no_use = over(until) || events.is_none() && until.is_none();
        if !OPEN.contains(&&*state) && (no_use || !is_on_the_way(context, &now)?) {
            return ended(context, &now);
        }
        if no_use {
            return ran_out(context, &now, events.is_some());
        }
        next(events, until, &job.id)?;
    }
}

/// Until something has happened to a job, or it is time to look at it anyway.
fn next(events: Option<&Events>, until: Option<Instant>, id: &str) -> Result<(), Failure> {
    let soonest = |after: Duration| {
        let look = Instant::now() + after;
        until.map_or(look, |until| until.min(look))
    };
    let Some(events) = events else {
        thread::sleep(soonest(LOOK_AGAIN).saturating_duration_since(Instant::now()));
        return Ok(());
    };
    let look = soonest(LOOK_ANYWAY);
    while let Some(happening) = events.next(Some(look))? {
        if happening.id.as_deref() == Some(id) {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether output of a job that has ended still comes.
fn is_on_the_way(context: &Context, job: &JobLine) -> Result<bool, Failure> {
    for stderr in [false, true] {
        let bytes = if stderr { job.stderr_bytes } else { job.stdout_bytes };
        if bytes.unwrap_or(0) > 0 {
            let output = context.ask(api::JobLog { id: job.id.clone(), stderr })?;
            if output.missing_why.as_deref() == Some("on-the-way") {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Tells how a job ended, and ends like it.
fn ended(context: &Context, job: &JobLine) -> Ended {
    let code = code(job);
    if context.out.is_json() {
        return Ok(ExitCode::from(code));
    }
    for stderr in [false, true] {
        let bytes = if stderr { job.stderr_bytes } else { job.stdout_bytes };
        if bytes.unwrap_or(0) > 0 {
            let output = context.ask(api::JobLog { id: job.id.clone(), stderr })?;
            if stderr {
                show(&output, &mut io::stderr())
            } else {
                show(&output, &mut io::stdout())
            }?;
        }
    }
    if job.exit_code.is_none() {
        let why = job.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        let what = format!("{}{why}", stands(&JobLine { said_s: None, ..job.clone() }));
        let next = format!("postrider job show {}", text::short_id(&job.id));
        let failure = Failure::new(FailureKind::Failed, what).next(next);
        tell(&failure, context.out.form, context.out.colors)?;
    }
    Ok(ExitCode::from(code))
}

fn ran_out(context: &Context, job: &JobLine, daemon: bool) -> Ended {
    let id = text::short_id(&job.id);
    let (what, next) = if daemon {
        let why = job.why.as_deref().map(|why| format!("; {why}")).unwrap_or_default();
        (
            format!("the job is {}{why}", stands(job)),
            format!("it goes on by itself: postrider job wait {id}, postrider why {id}"),
        )
    } else {
        (
            "no daemon runs, so nothing carries it by itself".to_owned(),
            format!(
                "the job is {} and safe: postrider up, or postrider toss STICK; then postrider job \
                 wait {id}",
                job.state
            ),
        )
    };
    if context.out.is_json() {
        object_with_code("wait-ran-out", &what, &next)?;
    } else {
        eprint_line(&format!("{}\n  next: {next}", text::line(&what)));
    }
    Ok(ExitCode::from(WAIT_RAN_OUT))
}

/// An output as it came; where something of it is not here, that is said on standard error in its
/// place.
pub(super) fn show(output: &OutputLine, to: &mut (impl Write + IsTerminal)) -> Result<(), Stop> {
    let [head, tail] = ends(output)?;
    pour(head, to)?;
    if output.missing > 0 {
        eprint_line(&missing(output));
    }
    pour(tail, to)?;
    Ok(())
}

/// What is said of what is missing.
pub(super) fn missing(output: &OutputLine) -> String {
    let OutputLine { missing, stream, id, .. } = output;
    let why = match output.missing_why.as_deref() {
        Some("on-the-way") => "they are on their way".to_owned(),
        Some("not-kept") => "where it ran they were not kept".to_owned(),
        _ => format!("ask for them: postrider job log {} --full", text::short_id(id)),
    };
    format!("[postrider: {missing} bytes of {stream} are not here; {why}]")
}

/// The beginning and the end of what is here.
pub(super) fn ends(output: &OutputLine) -> Result<[Box<dyn Read>; 2], Failure> {
    let Some(file) = &output.file else {
        let bytes = |hex: &str| api::from_hex(hex).map(|bytes| Box::new(io::Cursor::new(bytes)));
        let damaged = || Failure::new(FailureKind::Failed, "the answer cannot be understood");
        return Ok([
            bytes(&output.head).ok_or_else(damaged)?,
            bytes(&output.tail).ok_or_else(damaged)?,
        ]);
    };
    let open = |from: u64, bytes: u64| {
        let path = Path::new(file);
        let failed = |error| Failure::file("read", path, error);
        let mut file = File::open(path).map_err(failed)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(from)).map_err(failed)?;
        Ok::<_, Failure>(Box::new(file.take(bytes)) as Box<dyn Read>)
    };
    Ok([open(0, output.head_bytes)?, open(output.head_bytes, output.tail_bytes)?])
}

/// Whoever interrupts the wait learns that the job goes on, and how to wait again.
fn say_when_interrupted(id: &str, context: &Context) {
    if context.out.is_json() {
        return;
    }
    let id = text::short_id(id).to_owned();
    // Without it an interrupt ends the wait all the same, in silence.
    let hearing = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let Ok(hearing) = hearing else { return };
    // Ends with the process.
    thread::spawn(move || {
        if hearing.block_on(tokio::signal::ctrl_c()).is_ok() {
            eprint_line(&format!(
                "\ninterrupted; the job goes on\n  next: postrider job wait {id}, or postrider job \
                 cancel {id}"
            ));
            process::exit(i32::from(FailureKind::Interrupted.exit_code()));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_ends_as_its_job_did() {
        let line = |state: &'static str, how: &'static str| JobLine {
            state: state.into(),
            how: how.into(),
            ..JobLine::default()
        };
        let exited = |code| JobLine { exit_code: Some(code), ..line("exited", "exited") };
        let signalled = JobLine { signal: Some(9), ..line("exited", "signalled") };
        for (line, wanted, words) in [
            (exited(0), 0, "exited with 0"),
            (exited(3), 3, "exited with 3"),
            (exited(255), 255, "exited with 255"),
            (signalled, 137, "ended by signal 9"),
            (line("exited", "overran"), 124, "overran"),
            (line("exited", "killed"), 13, "killed"),
            (line("unknown", "unknown"), 75, "unknown"),
            (line("refused", "refused"), 126, "refused"),
            (line("unknown-handle", "unknown-handle"), 127, "refused: no such handle"),
            (line("not-begun", "not-begun"), 125, "could not be begun"),
            (line("expired", "expired"), 13, "expired"),
            (line("cancelled", "cancelled"), 13, "cancelled"),
            (line("superseded", "superseded"), 13, "superseded"),
            (line("skipped", "skipped"), 13, "skipped"),
            (line("undone", "undone"), 13, "undone"),
        ] {
            assert_eq!((code(&line), stands(&line)), (wanted, words.to_owned()));
        }
        let said = JobLine { said_s: Some(3 * 3600), ..line("running", "running") };
        assert_eq!(stands(&said), "running, said 3 h ago");
    }

    #[test]
    fn what_is_missing_is_said_with_what_helps() {
        for (why, helps) in [
            (None, "postrider job log aabbccdd --full"),
            (Some("not-sent"), "--full"),
            (Some("on-the-way"), "on their way"),
            (Some("not-kept"), "not kept"),
        ] {
            let output = OutputLine {
                id: "aabbccddee".into(),
                stream: "stdout".into(),
                missing: 7,
                missing_why: why.map(Into::into),
                ..OutputLine::default()
            };
            let said = missing(&output);
            assert!(said.contains("7 bytes of stdout") && said.contains(helps), "{said}");
        }
    }
}
