//! Asking a daemon: the blocking other end of the socket.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::Instant,
};

use super::{
    Reply, Verb,
    body::{ERROR_TRAILER, REPLY_TRAILER},
    socket_path,
    wire::{self, Progress, cut, kind, parse},
};
use crate::desk::{
    Event, ExportForm, Failure, FailureKind, Unit, Watch,
    reply::{ErrorLine, Happening, Shown, Tossed},
};

/// The longest line of a reply: a toss that lists many thousand messages.
const LINE_MAX: u64 = 256 << 20;
/// The head of an answer.
const HEAD_MAX: u64 = 64 << 10;
/// Events read ahead.
const AHEAD: usize = 64;
/// Pieces of a stream.
const PIECE_BYTES: usize = 64 << 10;

/// A daemon that answers.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// The daemon of a home, if one listens.
    pub fn find(home: &Path) -> Option<Self> {
        let path = socket_path(home).ok()?;
        UnixStream::connect(&path).ok()?;
        Some(Self { path })
    }

    /// Asks for a verb.
    pub fn ask<V: Verb>(&self, verb: &V, watch: &dyn Watch) -> Result<V::Reply, Failure> {
        let body = serde_json::to_vec(verb).map_err(|error| {
            Failure::new(FailureKind::Usage, "that cannot be given to the daemon")
                .next("a path must be UTF-8 for it; nothing was changed")
                .because(error)
        })?;
        let mut answer = self.send("POST", &format!("/v1/{}?progress=1", V::NAME), &body)?;
        V::Reply::read(&mut || answer.line(watch))
    }

    /// What waits, as one stream.
    pub fn pack(
        &self,
        whom: &[String],
        out: &mut dyn Write,
        watch: &dyn Watch,
    ) -> Result<Tossed, Failure> {
        let whom: Vec<String> = whom.iter().map(|who| escaped(who)).collect();
        let answer = self.send("POST", &format!("/v1/pack?whom={}", whom.join(",")), b"")?;
        copy(answer, out, "packing", watch)
    }

    /// One bundle, or its payload.
    pub fn export(
        &self,
        id: &str,
        form: ExportForm,
        out: &mut dyn Write,
        watch: &dyn Watch,
    ) -> Result<Shown, Failure> {
        let payload = if form == ExportForm::Payload { "&payload=1" } else { "" };
        let path = format!("/v1/bundle/export?id={}{payload}", escaped(id));
        copy(self.send("POST", &path, b"")?, out, "exporting", watch)
    }

    /// Takes what another has packed.
    pub fn unpack(
        &self,
        mut from: impl Read + Send + 'static,
        watch: &dyn Watch,
    ) -> Result<Tossed, Failure> {
        let mut stream = self.connect()?;
        let head = "POST /v1/unpack?progress=1 HTTP/1.1\r\nhost: postrider\r\n\
                    content-type: application/octet-stream\r\ntransfer-encoding: chunked\r\n\
                    connection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).map_err(|error| lost(&error))?;
        let mut to = stream.try_clone().map_err(|error| lost(&error))?;
        // Ends with its input, with the socket, or with the process: it may be blocked in a read.
        thread::spawn(move || {
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                let n = match from.read(&mut piece) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    // Without its last chunk the daemon knows that this was not all.
                    Err(_) => return drop(to.shutdown(std::net::Shutdown::Write)),
                    Ok(n) => n,
                };
                let size = format!("{n:x}\r\n");
                let chunk = [size.as_bytes(), &piece[..n], b"\r\n"].concat();
                if to.write_all(&chunk).is_err() || n == 0 {
                    return;
                }
            }
        });
        let mut answer = Answer::read(stream)?;
        Tossed::read(&mut || answer.line(watch))
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> Result<Events, Failure> {
        let answer = self.send("GET", "/v1/events", b"")?;
        let mut lines = BufReader::new(answer.body);
        // The first comment says that somebody is told from here on.
        let mut first = Vec::new();
        read_line(&mut lines, &mut first)?;
        let (to, events) = sync_channel(AHEAD);
        // Ends with the daemon, with our receiver, or with the process.
        thread::spawn(move || {
            let mut line = Vec::new();
            while read_line(&mut lines, &mut line).is_ok_and(|n| n > 0) {
                let happening = line.strip_prefix(b"data: ").and_then(|data| parse(data).ok());
                if let Some(happening) = happening
                    && to.send(happening).is_err()
                {
                    return;
                }
                line.clear();
            }
        });
        Ok(Events { events })
    }

    fn connect(&self) -> Result<UnixStream, Failure> {
        UnixStream::connect(&self.path).map_err(|error| lost(&error))
    }

    fn send(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer, Failure> {
        let mut stream = self.connect()?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: postrider\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\nte: trailers\r\n\r\n",
            body.len()
        );
        // A daemon that refuses may close before it has read everything; its answer counts.
        let written = stream.write_all(&[head.as_bytes(), body].concat());
        Answer::read(stream).map_err(|failure| match written {
            Err(error) => lost(&error),
            Ok(()) => failure,
        })
    }
}

/// What happens, as it is told.
#[derive(Debug)]
pub struct Events {
    events: Receiver<Happening>,
}

impl Events {
    /// The next event; `None` when the time is over. Without a time it waits for ever.
    pub fn next(&self, until: Option<Instant>) -> Result<Option<Happening>, Failure> {
        let Some(until) = until else { return self.events.recv().map(Some).map_err(|_| cut()) };
        let left = until.saturating_duration_since(Instant::now());
        match self.events.recv_timeout(left) {
            Ok(happening) => Ok(Some(happening)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(cut()),
        }
    }

    /// Whether more has happened already; it is forgotten.
    pub fn skip_waiting(&self) {
        while self.events.try_recv().is_ok() {}
    }
}

/// An answer whose head was read.
struct Answer {
    body: Body,
    buffered: Vec<u8>,
}

/// The body of an answer.
struct Body {
    from: BufReader<UnixStream>,
    form: Form,
    trailers: Vec<(String, String)>,
}

enum Form {
    /// Bytes that are left of a chunk; the first chunk has not begun at `None`.
    Chunked {
        left: Option<u64>,
    },
    Length {
        left: u64,
    },
    Over,
}

impl Answer {
    fn read(stream: UnixStream) -> Result<Self, Failure> {
        let mut from = BufReader::new(stream);
        let status = head_line(&mut from)?;
        if !status.starts_with("HTTP/1.1 ") {
            return Err(cut());
        }
        let mut form = Form::Over;
        let mut left = HEAD_MAX;
        loop {
            let line = head_line(&mut from)?;
            if line.is_empty() {
                break;
            }
            left = left.checked_sub(line.len() as u64).ok_or_else(cut)?;
            let (name, value) = line.split_once(':').ok_or_else(cut)?;
            if name.eq_ignore_ascii_case("transfer-encoding") {
                form = Form::Chunked { left: None };
            } else if name.eq_ignore_ascii_case("content-length") {
                form = Form::Length { left: value.trim().parse().map_err(|_| cut())? };
            }
        }
        Ok(Self { body: Body { from, form, trailers: Vec::new() }, buffered: Vec::new() })
    }

    /// The next line that is no progress; progress goes to who watches.
    fn line(&mut self, watch: &dyn Watch) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            let Some(line) = self.any_line()? else { return Ok(None) };
            if kind(&line)? != "progress" {
                return Ok(Some(line));
            }
            watch.event(Event::from(parse::<Progress>(&line)?));
        }
    }

    fn any_line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffered[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.buffered.split_off(searched + at + 1);
                return Ok(Some(std::mem::replace(&mut self.buffered, rest)));
            }
            searched = self.buffered.len();
            if searched as u64 > LINE_MAX {
                return Err(cut());
            }
            let mut piece = [0; 16 << 10];
            let n = self.body.read(&mut piece).map_err(|error| lost(&error))?;
            if n == 0 {
                return Ok(None);
            }
            self.buffered.extend_from_slice(&piece[..n]);
        }
    }
}

impl Read for Body {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let left = match &mut self.form {
            Form::Over => return Ok(0),
            Form::Length { left } => left,
            Form::Chunked { left } => match left {
                Some(left) if *left > 0 => left,
                _ => {
                    if left.is_some() {
                        // The line end behind a chunk.
                        head_line(&mut self.from).map_err(|_| bad())?;
                    }
                    let size = head_line(&mut self.from).map_err(|_| bad())?;
                    let size = size.split(';').next().unwrap_or_default().trim();
                    let size = u64::from_str_radix(size, 16).map_err(|_| bad())?;
                    if size == 0 {
                        self.form = Form::Over;
                        self.read_trailers().map_err(|_| bad())?;
                        return Ok(0);
                    }
                    left.insert(size)
                }
            },
        };
        if *left == 0 {
            self.form = Form::Over;
            return Ok(0);
        }
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(to.len());
        let n = self.from.read(&mut to[..most])?;
        if n == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= n as u64;
        Ok(n)
    }
}

impl Body {
    fn read_trailers(&mut self) -> Result<(), Failure> {
        loop {
            let line = head_line(&mut self.from)?;
            if line.is_empty() {
                return Ok(());
            }
            if self.trailers.len() >= 8 {
                return Err(cut());
            }
            let (name, value) = line.split_once(':').ok_or_else(cut)?;
            self.trailers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}

/// Copies a stream, and reads what stands behind it.
fn copy<T: Reply>(
    mut answer: Answer,
    out: &mut dyn Write,
    what: &str,
    watch: &dyn Watch,
) -> Result<T, Failure> {
    if matches!(answer.body.form, Form::Length { .. }) {
        // A failure before the first byte is an answer of its own.
        return T::read(&mut || answer.line(watch));
    }
    watch.event(Event::Begin { what: what.into(), total: None, unit: Unit::Bytes });
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let n = answer.body.read(&mut piece).map_err(|error| lost(&error))?;
        if n == 0 {
            break;
        }
        out.write_all(&piece[..n]).map_err(|error| {
            let full = error.kind() == io::ErrorKind::StorageFull;
            let kind = if full { FailureKind::Full } else { FailureKind::Failed };
            Failure::new(kind, "could not write the stream").because(error)
        })?;
        watch.event(Event::Advance(n as u64));
    }
    watch.event(Event::End);
    for (name, value) in &answer.body.trailers {
        match &**name {
            ERROR_TRAILER => return Err(parse::<ErrorLine>(value.as_bytes())?.into()),
            REPLY_TRAILER => {
                let mut line = Some(value.as_bytes().to_vec());
                return T::read(&mut || Ok(line.take()));
            }
            _ => {}
        }
    }
    Err(wire::cut())
}

/// A line of a head, without its end.
fn head_line(from: &mut impl BufRead) -> Result<String, Failure> {
    let mut line = Vec::new();
    from.take(HEAD_MAX).read_until(b'\n', &mut line).map_err(|error| lost(&error))?;
    if line.pop() != Some(b'\n') {
        return Err(cut());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| cut())
}

fn read_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> Result<usize, Failure> {
    from.take(LINE_MAX).read_until(b'\n', line).map_err(|error| lost(&error))
}

/// A text as a value in a query.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

fn lost(error: &io::Error) -> Failure {
    cut().because(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::Silent;

    /// An answer as it came over the socket, which then closed.
    fn answer(bytes: &[u8]) -> Result<Answer, Failure> {
        let (here, mut there) = UnixStream::pair().unwrap();
        there.write_all(bytes).unwrap();
        drop(there);
        Answer::read(here)
    }

    fn lines(bytes: &[u8]) -> Result<Vec<String>, Failure> {
        let mut answer = answer(bytes)?;
        let mut all = Vec::new();
        while let Some(line) = answer.line(&Silent)? {
            all.push(String::from_utf8(line).unwrap().trim_end().to_owned());
        }
        Ok(all)
    }

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

    #[test]
    fn lines_come_whole_however_they_were_cut_and_progress_is_no_line() {
        let whole = "{\"type\":\"a\"}\n\
                     {\"v\":1,\"type\":\"progress\",\"event\":\"advance\",\"n\":7}\n\
                     {\"type\":\"b\"}\n";
        for size in [1, 2, 7, 13, whole.len()] {
            let chunk = |c: &[u8]| {
                let text = std::str::from_utf8(c).unwrap();
                format!("{:x};ext=1\r\n{text}\r\n", c.len())
            };
            let body: String = whole.as_bytes().chunks(size).map(chunk).collect();
            let read = lines(format!("{CHUNKED}{body}0\r\n\r\n").as_bytes()).unwrap();
            assert_eq!(read, [r#"{"type":"a"}"#, r#"{"type":"b"}"#], "{size}");
        }
        let known = b"HTTP/1.1 404 x\r\ncontent-length: 13\r\n\r\n{\"type\":\"a\"}\nbeyond";
        assert_eq!(lines(known).unwrap(), [r#"{"type":"a"}"#]);
    }

    #[test]
    fn an_answer_that_is_cut_or_nonsense_is_a_failure() {
        for body in ["", "5\r\n{\"ty", "5\r\n{\"type", "zz\r\n", "-1\r\n", "ffffffffffffffffff\r\n"]
        {
            assert!(lines(format!("{CHUNKED}{body}").as_bytes()).is_err(), "{body:?}");
        }
        for head in
            ["", "HTTP/1.1 200", "SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"]
        {
            assert!(answer(head.as_bytes()).is_err(), "{head:?}");
        }
    }

    #[test]
    fn a_stream_ends_in_its_reply_or_in_its_failure() {
        let stream = |trailer: &str| {
            let whole = format!("{CHUNKED}3\r\nabc\r\n0\r\n{trailer}\r\n");
            let mut out = Vec::new();
            let copied: Result<Tossed, Failure> =
                copy(answer(whole.as_bytes()).unwrap(), &mut out, "packing", &Silent);
            (out, copied)
        };
        let reply = serde_json::to_string(&Tossed { out: 2, ..Tossed::default() }).unwrap();
        let (out, copied) = stream(&format!("{REPLY_TRAILER}: {reply}\r\n"));
        assert_eq!((&out[..], copied.unwrap().out), (&b"abc"[..], 2));
        let error = r#"{"type":"error","code":"damaged","what":"w","next":null}"#;
        let (_, copied) = stream(&format!("{ERROR_TRAILER}: {error}\r\n"));
        assert_eq!(copied.unwrap_err().kind, FailureKind::Damaged);
        // Without either nobody knows whether that was all.
        assert!(stream("").1.is_err());
    }

    #[test]
    fn a_value_in_a_query_is_escaped() {
        assert_eq!(escaped("Zoë & Al"), "Zo%C3%AB%20%26%20Al");
    }
}
