//! `get`: ask for a file that somebody shares.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use postrider_base::{Lifetime, Niceness};

use super::{
    Context, Ended, Stop,
    asker::{Asker, absolute},
    failure::{object_with_code, usage},
    parse,
    send::{LOOK_AGAIN, WAIT_RAN_OUT, WAIT_TIME},
    text,
};
use crate::{
    api::{self, Events},
    desk::{
        Failure, FailureKind,
        reply::{Happening, RequestLine, Saved, SourceLine},
    },
};

/// Ask for a file that somebody shares, or which files there are
#[derive(Debug, Args)]
#[command(after_help = "\
A path is a share and names in it; the last may be a pattern with * and ?, in quotes.

Examples:
  postrider get Bob --list                     then: get Bob maps --list
  postrider get Bob,Carol maps/north.pdf --wait    Carol, if Bob does not send it
  postrider get Bob 'photos/*.jpg' -o Pictures --timeout 2h
  postrider get --resume 3f2a                  what came of it, saved here")]
pub(super) struct Get {
    /// Whom: contacts' names or ids; the first, then the next if that one does not send
    #[arg(value_name = "WHO,…", required_unless_present_any = ["resume", "ls"])]
    who: Option<String>,
    /// Which file, as maps/north.pdf
    path: Option<String>,
    /// Where to save it; waits for it
    #[arg(short, long = "output", value_name = "FILE|DIR")]
    output: Option<PathBuf>,
    /// Ask what there is in that place
    #[arg(long)]
    list: bool,
    /// Of a list, what follows this name
    #[arg(long, value_name = "NAME", requires = "list")]
    after: Option<String>,
    /// Only these bytes, counted from 0
    #[arg(long, value_name = "A-B", value_parser = range, conflicts_with = "list")]
    range: Option<(u64, Option<u64>)>,
    /// Also if it came before and has not changed
    #[arg(long)]
    again: bool,
    /// Wait for the answer, and save it
    #[arg(long)]
    wait: bool,
    /// Of several, how long nothing may come before the next is asked [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    patience: Option<Duration>,
    /// How long to wait at most [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    timeout: Option<Duration>,
    /// How long the request lives [default: as configured]
    #[arg(long, value_name = "TIME", value_parser = parse::lifetime)]
    ttl: Option<Lifetime>,
    /// Niceness of the request, 1 (first) to 255 (last)
    #[arg(long, value_name = "N", value_parser = parse::niceness, hide = true)]
    nice: Option<Niceness>,
    /// Go on with a request: an id
    #[arg(long, value_name = "ID", conflicts_with_all = ["who", "path", "ls"])]
    resume: Option<String>,
    /// What I asked for
    #[arg(long, conflicts_with_all = ["who", "path"])]
    ls: bool,
}

impl Get {
    pub(super) fn run(self, context: &Context) -> Ended {
        if self.ls {
            return list_mine(context, &context.ask(api::GetLs::default())?);
        }
        let asker = context.asker()?;
        // Before it is asked, so that nothing that happens to it is missed.
        let events = match asker.daemon() {
            Some(client) if self.waits() => Some(client.events()?),
            _ => None,
        };
        let line = match &self.resume {
            Some(id) => asker.ask(api::GetState { id: id.clone() })?,
            None => self.ask(&asker)?,
        };
        // Whoever waits for the spool need not wait for our reader.
        drop(asker);
        if self.resume.is_none() {
            self.say_asked(context, &line)?;
            if !self.waits() {
                return Ok(ExitCode::SUCCESS);
            }
        }
        self.wait(context, line, events.as_ref())
    }

    fn waits(&self) -> bool {
        self.wait || self.timeout.is_some() || self.output.is_some() && self.resume.is_none()
    }

    fn ask(&self, asker: &Asker<'_>) -> Result<RequestLine, Stop> {
        if self.path.is_none() && !self.list {
            let next = "nothing was asked; see what there is: postrider get WHO --list";
            return Err(usage("which file is wanted?", next));
        }
        let (from, length) = self.range.map_or((None, None), |(from, length)| (Some(from), length));
        Ok(asker.ask(api::Get {
            to: self.who.iter().flat_map(|who| who.split(',')).map(|it| it.trim().into()).collect(),
            path: self.path.clone().unwrap_or_default(),
            list: self.list,
            after: self.after.clone(),
            from,
            length,
            again: self.again,
            patience_s: self.patience.map(|it| it.as_secs()),
            nice: self.nice.map(|nice| nice.value()),
            lifetime_s: self.ttl.map(Lifetime::seconds),
        })?)
    }

    fn say_asked(&self, context: &Context, line: &RequestLine) -> Result<(), Stop> {
        let out = &context.out;
        out.object(line)?;
        let mut whom = text::line(&line.to);
        let others: Vec<_> = line.sources.iter().skip(1).map(|it| text::line(&it.to)).collect();
        if !others.is_empty() {
            whom = format!("{whom}, then {}", others.join(", "));
        }
        out.say(format!("asked {}  {whom}", line.id))?;
        if !self.waits() {
            let id = text::short_id(&line.id);
            out.hint(format!("  when it has come: postrider get --resume {id}"))?;
        }
        Ok(())
    }

    /// Follows a request until what was asked for is here, or nobody sends it.
    fn wait(&self, context: &Context, asked: RequestLine, events: Option<&Events>) -> Ended {
        let until = Instant::now() + self.timeout.unwrap_or(WAIT_TIME);
        let mut known = asked.state.to_string();
        let mut line = asked;
        loop {
            if known != line.state {
                known = line.state.to_string();
                context.out.object(&line)?;
            }
            if is_good(&line) {
                return self.finish(context, &line);
            }
            let unasked = line.sources.iter().any(|source| source.state == "unasked");
            if is_over(&line) && !unasked {
                return Err(failure(&line).into());
            }
            if !self.waits() || !self.news(&line.id, events, until)? {
                return self.ran_out(context, &line, events.is_some());
            }
            line = context.ask(api::GetState { id: line.id.clone() })?;
        }
    }

    /// Whether something may have changed before the time is up.
    fn news(&self, id: &str, events: Option<&Events>, until: Instant) -> Result<bool, Failure> {
        let Some(events) = events else {
            // Without a daemon and without a time nothing will happen that is worth waiting for.
            let left = until.saturating_duration_since(Instant::now());
            thread::sleep(LOOK_AGAIN.min(left));
            return Ok(self.timeout.is_some() && !left.is_zero());
        };
        let concerns = |it: &Happening| {
            ["answer", "message"].contains(&&*it.what) || it.id.as_ref().is_some_and(|of| of == id)
        };
        loop {
            match events.next(Some(until))? {
                Some(happening) if concerns(&happening) => return Ok(true),
                Some(_) => {}
                None => return Ok(false),
            }
        }
    }

    /// Shows a list, or saves what came.
    fn finish(&self, context: &Context, line: &RequestLine) -> Ended {
        if line.state == "listed" {
            return show(context, line);
        }
        let to = absolute(self.output.as_deref().unwrap_or(Path::new(".")))?;
        let saved = context.ask(api::GetSave { id: line.id.clone(), to: to.clone() })?;
        if line.state == "same" {
            context.out.hint("It has not changed since it came; this is what came then.")?;
        }
        if line.other {
            let who = text::line(&line.to);
            let what =
                format!("This is all of the file of {who}: another one than had begun to come.");
            context.out.hint(what)?;
        }
        for Saved { path, bytes, .. } in &saved {
            context.out.say(format!("{}  {}", text::line(path), text::bytes(*bytes)))?;
        }
        saved.iter().try_for_each(|saved| context.out.object(saved))?;
        if let [only] = &saved[..] {
            // The desk knew better than we whether that is a directory.
            let given = Path::new(&only.path).parent() == to.parent() && !to.is_dir();
            let name = if given { to.file_name().and_then(|it| it.to_str()) } else { None };
            let name = name.or_else(|| line.path.rsplit('/').next()).unwrap_or_default();
            let taken = Path::new(&only.path).with_file_name(name);
            if self.range.is_none() && taken.exists() && taken != Path::new(&only.path) {
                let taken = text::line(&taken.display().to_string());
                context.out.hint(format!("  {taken} was there already and was not touched"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn ran_out(&self, context: &Context, line: &RequestLine, daemon: bool) -> Ended {
        let id = text::short_id(&line.id);
        let what = match line.parts {
            Some((here, all)) => format!("{here} of {all} parts are here"),
            None => format!("no answer has come yet; the request is {}", line.state),
        };
        let next = if daemon {
            format!("it goes on by itself: postrider get --resume {id} --wait")
        } else {
            format!(
                "no daemon runs, so nothing carries it by itself: postrider up, or postrider toss \
                 STICK; then postrider get --resume {id}"
            )
        };
        if context.out.is_json() {
            object_with_code("wait-ran-out", &what, &next)?;
        } else {
            super::eprint_line(&format!("{what}\n  next: {next}"));
        }
        Ok(ExitCode::from(WAIT_RAN_OUT))
    }
}

fn is_good(line: &RequestLine) -> bool {
    ["here", "same", "listed"].contains(&&*line.state)
}

fn is_over(line: &RequestLine) -> bool {
    ["refused", "expired", "cancelled"].contains(&&*line.state)
}

/// What to say when nobody sent anything: of several reasons one that can be changed.
fn failure(line: &RequestLine) -> Failure {
    let path = &line.path;
    let alone = SourceLine {
        to: line.to.clone(),
        state: line.state.clone(),
        why: line.why.clone(),
        most: line.most,
    };
    let told = |line: &SourceLine| -> (FailureKind, String, &'static str) {
        let who = &line.to;
        let see = "see what there is: postrider get WHO --list";
        match line.why.as_deref() {
            None => (FailureKind::Ended, format!("the request is {}", line.state), "ask again"),
            Some("not-found") => {
                (FailureKind::Unknown, format!("{who} has no {path} for you"), see)
            }
            Some("not-allowed") => (
                FailureKind::NotAuthorised,
                format!("{who} lets you ask for nothing"),
                "ask them to share it with you: postrider share set NAME PATH --for YOU",
            ),
            Some("directory") => (
                FailureKind::Refused,
                format!("{path} is a directory at {who}"),
                "see what is in it: --list; or ask for its files: 'PATH/*'",
            ),
            Some("too-large") => {
                let most = text::bytes(line.most.unwrap_or(0));
                let what = format!("{path} is more than the {most} that {who} sends at once");
                (FailureKind::Refused, what, "ask for it in pieces: --range A-B")
            }
            Some("spent") => (
                FailureKind::Refused,
                format!("{who} sends you no more than that within a day"),
                "ask again tomorrow",
            ),
            Some("waiting") => (
                FailureKind::Refused,
                format!("too many answers of {who} are on their way to you"),
                "ask again when they have come",
            ),
            Some("beyond") => {
                (FailureKind::Refused, format!("{path} is not that long at {who}"), see)
            }
            Some("special") => {
                (FailureKind::Refused, format!("{path} is no plain file at {who}"), see)
            }
            Some("other") => (
                FailureKind::Failed,
                format!("what {who} sent fits no {path} that had begun to come"),
                "ask again",
            ),
            Some("changing") => (
                FailureKind::Failed,
                format!("{path} changed whenever {who} read it"),
                "ask again when it is complete",
            ),
            Some(_) => (FailureKind::Failed, format!("{path} cannot be read at {who}"), "ask them"),
        }
    };
    let mut all: Vec<_> = line.sources.iter().map(told).collect();
    if all.is_empty() {
        all.push(told(&alone));
    }
    all.sort_by_key(|(kind, ..)| match kind {
        FailureKind::Refused => 0,
        FailureKind::Failed => 1,
        FailureKind::NotAuthorised => 2,
        FailureKind::Unknown => 3,
        _ => 4,
    });
    match all.into_iter().next() {
        Some((kind, what, next)) => Failure::new(kind, what).next(next),
        None => Failure::new(FailureKind::Fault, "nobody was asked"),
    }
}

/// What there is.
fn show(context: &Context, line: &RequestLine) -> Ended {
    let out = &context.out;
    for entry in &line.entries {
        let (size, end) = match &*entry.kind {
            "directory" => (String::new(), "/"),
            _ => (text::bytes(entry.bytes), ""),
        };
        out.say(format!("{size:>10}  {}{end}", text::line(&entry.name)))?;
    }
    if out.is_json() {
        out.object(line)?;
    } else if line.entries.is_empty() {
        out.hint("There is nothing.")?;
    }
    if line.more
        && let Some(last) = line.entries.last()
    {
        let last = text::line(&last.name);
        out.hint(format!("There is more: --list --after '{last}'"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list_mine(context: &Context, lines: &[RequestLine]) -> Ended {
    let out = &context.out;
    out.list("get ls", lines)?;
    if lines.is_empty() {
        out.hint("Nothing was asked for.")?;
    }
    for line in lines {
        let state = line.why.as_deref().unwrap_or(&line.state);
        let what = if line.list { "list of " } else { "" };
        out.say(format!(
            "{}  {}  {}  {}  {what}{}",
            text::short_id(&line.id),
            text::column(state, 11),
            text::column(&text::line(&line.to), 16),
            text::column(&text::ago(line.age_s), 14),
            text::line(&line.path),
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `A-B`, both ends included, or `A-`: where they begin, and how many they are.
fn range(text: &str) -> Result<(u64, Option<u64>), String> {
    let wrong = || "a range is like 0-1023, or 1024- for all that follow".to_owned();
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let from: u64 = from.parse().map_err(|_| wrong())?;
    if to.is_empty() {
        return Ok((from, None));
    }
    let to: u64 = to.parse().map_err(|_| wrong())?;
    let length = to.checked_sub(from).and_then(|it| it.checked_add(1)).ok_or_else(wrong)?;
    Ok((from, Some(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_both_its_ends() {
        for (text, read) in [
            ("0-0", Some((0, Some(1)))),
            ("100-199", Some((100, Some(100)))),
            ("7-", Some((7, None))),
            ("5-4", None),
            ("-5", None),
            ("a-b", None),
            ("5", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(range(text).ok(), read, "{text}");
        }
    }
}
