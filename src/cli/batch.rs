//! `send --batch`: many messages over one standard input and one standard output.
//!
//! The desk makes up to 64 messages durable with one sync. It is given the lines that are there and
//! no more: a program that writes one line and waits for its answer gets it, and one that writes
//! thousands gets large groups.

use std::{
    io::{self, BufRead, Read},
    path::PathBuf,
    process::ExitCode,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use postrider_base::{Lifetime, Niceness};
use serde::{Deserialize, Serialize};

use super::{
    Context, Ended, Stop,
    asker::{Asked, Asker, absolute},
    failure,
    output::write_object,
    parse,
};
use crate::{
    api::{self, Client, SendOne},
    desk::{Failure, FailureKind, SendRequest, reply::Sent},
};

/// Lines read ahead: one group of the desk's.
const AHEAD: usize = 64;
/// A line: the longest text of a message (256 KiB) with every character escaped (`\u0000`), and the
/// other keys.
const LINE_MAX: usize = 2 << 20;

/// Texts of a group that goes to a daemon: with everything in them escaped, and the last one of any
/// length that is allowed, a request stays below what it takes.
const GROUP_BYTES: usize = 64 << 10;

/// What the lines do not say themselves.
#[derive(Debug)]
pub(super) struct Defaults {
    pub(super) nice: Option<Niceness>,
    pub(super) lifetime: Option<Lifetime>,
    pub(super) hidden: Option<bool>,
}

/// One line of input.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    to: String,
    text: Option<String>,
    file: Option<OneOrMore>,
    nice: Option<u8>,
    ttl: Option<String>,
    hidden: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(PathBuf),
    More(Vec<PathBuf>),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "summary")]
struct BatchSummary {
    verb: &'static str,
    sent: u64,
    failed: u64,
}

/// A line as it came, without its end.
type Line = Result<Vec<u8>, Failure>;

pub(super) fn run(asker: &Asker<'_>, defaults: &Defaults, context: &Context) -> Ended {
    let (to, lines) = sync_channel(AHEAD);
    // Ends with its input, with our receiver, or with the process: it may be blocked in a read.
    thread::spawn(move || read_lines(io::stdin().lock(), &to));
    let mut outcomes = Outcomes::default();
    while let Ok(first) = lines.recv() {
        let mut requests =
            Ready { first: Some(first), lines: &lines }.map(|line| request(line, defaults));
        let mut closed = None;
        let mut each = |outcome| {
            if let Err(stop) = outcomes.take(outcome) {
                closed = Some(stop);
            }
        };
        asker.of(|asked| match asked {
            Asked::Desk(desk) => desk.send_batch(&mut requests, &mut each, &context.watch),
            Asked::Daemon(client) => send_there(client, &mut requests, &mut each, context),
        })?;
        if let Some(stop) = closed {
            return Err(stop);
        }
    }
    if context.out.is_json() {
        let (sent, failed) = (outcomes.sent, outcomes.failed);
        write_object(&BatchSummary { verb: "send", sent, failed })?;
    }
    Ok(outcomes.exit_code())
}

/// Asks the daemon, a group at a time.
fn send_there(
    client: &Client,
    requests: &mut dyn Iterator<Item = Result<SendRequest, Failure>>,
    each: &mut dyn FnMut(Result<Sent, Failure>),
    context: &Context,
) -> Result<(), Failure> {
    let mut requests = requests.peekable();
    while requests.peek().is_some() {
        let (mut messages, mut bytes, mut wrong) = (Vec::new(), 0, Vec::new());
        while messages.len() + wrong.len() < AHEAD && bytes < GROUP_BYTES {
            let Some(request) = requests.next() else { break };
            let at = messages.len() + wrong.len();
            match request.and_then(one) {
                Ok(message) => {
                    bytes += message.text.as_ref().map_or(0, String::len);
                    messages.push(message);
                }
                Err(failure) => wrong.push((at, failure)),
            }
        }
        let sent = client.ask(&api::SendBatch { messages }, &context.watch)?;
        let mut sent = sent.0.into_iter();
        let mut at = 0;
        for (place, failure) in wrong {
            sent.by_ref().take(place - at).for_each(&mut *each);
            each(Err(failure));
            at = place + 1;
        }
        sent.for_each(&mut *each);
    }
    Ok(())
}

/// A request as a daemon understands it.
pub(super) fn one(request: SendRequest) -> Result<SendOne, Failure> {
    let files = request.files.iter().map(|file| absolute(file)).collect::<Result<_, _>>()?;
    Ok(SendRequest { files, ..request }.into())
}

/// The lines that are there now.
struct Ready<'a> {
    first: Option<Line>,
    lines: &'a Receiver<Line>,
}

impl Iterator for Ready<'_> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        self.first.take().or_else(|| self.lines.try_recv().ok())
    }
}

/// What became of the messages so far.
#[derive(Debug, Default)]
struct Outcomes {
    sent: u64,
    failed: u64,
    full: bool,
    damaged: bool,
}

impl Outcomes {
    /// Counts one and tells it.
    fn take(&mut self, outcome: Result<Sent, Failure>) -> Result<(), Stop> {
        match outcome {
            Ok(sent) => {
                self.sent += 1;
                write_object(&sent)
            }
            Err(failure) => {
                self.failed += 1;
                self.full |= failure.kind == FailureKind::Full;
                self.damaged |= failure.kind == FailureKind::Damaged;
                failure::object(&failure)
            }
        }
    }

    /// Of several, 10 wins over 11, and 11 over 3.
    fn exit_code(&self) -> ExitCode {
        let kind = match self {
            Self { failed: 0, .. } => return ExitCode::SUCCESS,
            Self { full: true, .. } => FailureKind::Full,
            Self { damaged: true, .. } => FailureKind::Damaged,
            _ => FailureKind::Partial,
        };
        ExitCode::from(kind.exit_code())
    }
}

fn read_lines(mut input: impl BufRead, to: &SyncSender<Line>) {
    loop {
        let line = read_line(&mut input);
        let last = matches!(line, Ok(None) | Err(_));
        let line = line.map_err(|error| {
            Failure::file("read", "standard input".as_ref(), error)
                .next("what was answered is saved; send the rest again")
        });
        if let Some(line) = line.transpose()
            && to.send(line.and_then(|line| line)).is_err()
        {
            return;
        }
        if last {
            return;
        }
    }
}

/// The next line that is not blank; a line that is too long is read to its end and refused.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Line>> {
    loop {
        let mut line = Vec::new();
        let limit = LINE_MAX as u64 + 1;
        let read = Read::take(&mut *input, limit).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        let ended = line.last() == Some(&b'\n');
        if !ended && line.len() > LINE_MAX {
            skip_line(input)?;
            let what = format!("a line is longer than {LINE_MAX} bytes");
            return Ok(Some(Err(Failure::new(FailureKind::Usage, what)
                .next("this one was not sent; a file is sent by its name"))));
        }
        if !line.trim_ascii().is_empty() {
            return Ok(Some(Ok(line)));
        }
    }
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        let (skipped, ended) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        input.consume(skipped);
        if ended {
            return Ok(());
        }
    }
}

fn request(line: Line, defaults: &Defaults) -> Result<SendRequest, Failure> {
    let wrong = |what: String| {
        Failure::new(FailureKind::Usage, what)
            .next("this one was not sent; a line is {\"to\":WHO,\"text\":TEXT} or {\"to\":WHO,\"file\":PATH}")
    };
    let item: Item =
        serde_json::from_slice(&line?).map_err(|e| wrong(format!("not an object to send: {e}")))?;
    let files = match item.file {
        None => Vec::new(),
        Some(OneOrMore::One(file)) => vec![file],
        Some(OneOrMore::More(files)) => files,
    };
    if files.is_empty() && item.text.as_ref().is_none_or(String::is_empty) {
        return Err(wrong("there is nothing to send".into()));
    }
    let nice = match item.nice {
        None => defaults.nice,
        Some(n) => Some(Niceness::new(n).ok_or_else(|| wrong("nice is 1 to 255".into()))?),
    };
    let lifetime = match item.ttl {
        None => defaults.lifetime,
        Some(ttl) => Some(parse::lifetime(&ttl).map_err(|e| wrong(format!("ttl: {e}")))?),
    };
    Ok(SendRequest {
        to: item.to,
        text: item.text,
        files,
        nice,
        lifetime,
        hidden: item.hidden.or(defaults.hidden),
        reply_to: None,
        supersede: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Defaults = Defaults { nice: None, lifetime: None, hidden: None };

    fn lines(input: &[u8]) -> Vec<Line> {
        let (to, lines) = sync_channel(100);
        read_lines(input, &to);
        drop(to);
        lines.iter().collect()
    }

    #[test]
    fn lines_end_with_or_without_a_newline_and_blank_ones_are_skipped() {
        let read: Vec<Vec<u8>> =
            lines(b"one\n\n \r\ntwo").into_iter().map(Result::unwrap).collect();
        assert_eq!(read, [b"one\n".to_vec(), b"two".to_vec()]);
    }

    #[test]
    fn a_line_without_end_is_refused_and_the_next_one_read() {
        let mut input = vec![b'x'; LINE_MAX + 70_000];
        input.extend_from_slice(b"\nnext\n");
        let read = lines(&input);
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].as_ref().unwrap_err().kind, FailureKind::Usage);
        assert_eq!(read[1].as_ref().unwrap(), b"next\n");
    }

    #[test]
    fn a_line_overrides_what_the_command_said() {
        let defaults = Defaults { nice: Some(Niceness::BULK), hidden: Some(true), ..NONE };
        let line = |text: &str| request(Ok(text.into()), &defaults);
        let plain = line(r#"{"to":"Bob","text":"hi"}"#).unwrap();
        assert_eq!((plain.nice, plain.hidden), (Some(Niceness::BULK), Some(true)));
        let own = r#"{"to":"Bob","file":["a","b"],"nice":96,"ttl":"2h","hidden":false}"#;
        let own = line(own).unwrap();
        assert_eq!((own.nice, own.hidden), (Some(Niceness::PRIORITY), Some(false)));
        assert_eq!(own.lifetime.map(Lifetime::seconds), Some(7200));
        assert_eq!(own.files.len(), 2);
    }

    #[test]
    fn a_wrong_line_is_refused_alone() {
        for wrong in [
            "",
            "hello",
            "{}",
            r#"{"to":"Bob"}"#,
            r#"{"to":"Bob","text":""}"#,
            r#"{"to":"Bob","txet":"hi"}"#,
            r#"{"to":"Bob","text":"hi","nice":0}"#,
            r#"{"to":"Bob","text":"hi","ttl":"soon"}"#,
        ] {
            let failure = request(Ok(wrong.into()), &NONE).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Usage, "{wrong}");
        }
    }

    #[test]
    fn a_full_disk_is_the_worst_of_several_ends() {
        let mut outcomes = Outcomes::default();
        assert_eq!(outcomes.exit_code(), ExitCode::SUCCESS);
        for (kind, code) in [
            (FailureKind::Usage, FailureKind::Partial),
            (FailureKind::Damaged, FailureKind::Damaged),
            (FailureKind::Full, FailureKind::Full),
            (FailureKind::Unknown, FailureKind::Full),
        ] {
            outcomes.failed += 1;
            outcomes.full |= kind == FailureKind::Full;
            outcomes.damaged |= kind == FailureKind::Damaged;
            assert_eq!(outcomes.exit_code(), ExitCode::from(code.exit_code()));
        }
    }
}
