//! What goes back: one piece, or pieces as a verb tells them.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{
    HeaderMap,
    body::{Body, Frame, SizeHint},
    header::HeaderValue,
};
use tokio::sync::mpsc;

use super::wire::{self, Progress, line};
use crate::desk::{Event, Failure, FailureKind, Watch, reply::ErrorLine};

/// Lines are gathered up to this size before they are sent.
const GATHER_BYTES: usize = 16 << 10;
/// Pieces that wait for a slow reader; then the verb waits.
pub(super) const PIECES_MAX: usize = 16;
/// How often advances are told: a bar is drawn eight times a second.
const ADVANCE_EVERY: Duration = Duration::from_millis(100);
/// Behind a stream of bytes: the reply of the verb, or its failure.
pub(super) const REPLY_TRAILER: &str = "postrider-reply";
pub(super) const ERROR_TRAILER: &str = "postrider-error";

/// What a verb tells while it runs.
#[derive(Debug)]
pub(super) enum Told {
    /// Lines, or a piece of a stream.
    Bytes(Bytes),
    /// It failed; nothing follows.
    Failed(Failure),
    /// What is said behind a stream; nothing follows.
    Reply(Vec<u8>),
}

/// What stands at the end of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// A failure is one more line.
    Lines,
    /// A failure or a reply is a trailer.
    Stream,
}

/// The body of an answer.
pub(super) struct Pieces {
    first: Option<Bytes>,
    rest: Option<mpsc::Receiver<Told>>,
    ends: Ends,
    /// What makes the pieces, where that is no thread of its own.
    beside: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Pieces {
    /// One piece.
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { first: Some(bytes.into()), rest: None, ends: Ends::Lines, beside: None }
    }

    /// A first piece, and those that come.
    pub(super) fn told(first: Option<Bytes>, rest: mpsc::Receiver<Told>, ends: Ends) -> Self {
        Self { first, rest: Some(rest), ends, beside: None }
    }

    /// Pieces that a future makes, which runs as long as somebody reads them.
    pub(super) fn made_by(
        rest: mpsc::Receiver<Told>,
        maker: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self { first: None, rest: Some(rest), ends: Ends::Lines, beside: Some(Box::pin(maker)) }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Some(maker) = &mut this.beside
            && maker.as_mut().poll(cx).is_ready()
        {
            this.beside = None;
        }
        let Some(rest) = &mut this.rest else { return Poll::Ready(None) };
        let told = std::task::ready!(rest.poll_recv(cx));
        let frame = match (told, this.ends) {
            (None, _) => None,
            (Some(Told::Bytes(bytes)), _) => Some(Frame::data(bytes)),
            (Some(Told::Failed(failure)), Ends::Lines) => {
                Some(Frame::data(error_line(&failure).into()))
            }
            (Some(Told::Failed(failure)), Ends::Stream) => {
                Some(trailer(ERROR_TRAILER, &error_line(&failure)))
            }
            (Some(Told::Reply(reply)), Ends::Lines) => Some(Frame::data(reply.into())),
            (Some(Told::Reply(reply)), Ends::Stream) => Some(trailer(REPLY_TRAILER, &reply)),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.first, &self.rest) {
            (first, None) => SizeHint::with_exact(first.as_ref().map_or(0, Bytes::len) as u64),
            _ => SizeHint::default(),
        }
    }
}

/// A failure as a line.
pub(super) fn error_line(failure: &Failure) -> Vec<u8> {
    line(&ErrorLine::from(failure)).unwrap_or_default()
}

/// A line as a trailer: ASCII, so the rest is escaped as JSON can.
fn trailer(name: &'static str, line: &[u8]) -> Frame<Bytes> {
    let mut ascii = String::new();
    for c in String::from_utf8_lossy(line).trim_end().chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    let mut trailers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&ascii) {
        trailers.insert(name, value);
    }
    Frame::trailers(trailers)
}

/// Lines or bytes on their way to the socket, from a thread that may wait.
pub(super) struct Frames<'a> {
    to: &'a mpsc::Sender<Told>,
    gathered: Vec<u8>,
}

impl<'a> Frames<'a> {
    pub(super) fn new(to: &'a mpsc::Sender<Told>) -> Self {
        Self { to, gathered: Vec::new() }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() < GATHER_BYTES { Ok(()) } else { self.send() }
    }

    pub(super) fn send(&mut self) -> Result<(), Failure> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.gathered).into();
        self.to.blocking_send(Told::Bytes(bytes)).map_err(|_| gone())
    }
}

impl std::io::Write for Frames<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let pushed = self.push(bytes).map(|()| bytes.len());
        pushed.map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.send().map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
}

fn gone() -> Failure {
    Failure::new(FailureKind::Interrupted, "whoever asked has gone")
}

/// Watches a verb for somebody at the other end of the socket.
pub(super) struct Telling {
    /// Nobody there wants to know; then what matters goes to the log.
    to: Option<mpsc::Sender<Told>>,
    advanced: Mutex<(u64, Option<Instant>)>,
}

impl Telling {
    pub(super) fn new(to: Option<mpsc::Sender<Told>>) -> Self {
        Self { to, advanced: Mutex::default() }
    }

    fn tell(&self, to: &mpsc::Sender<Told>, event: Event) {
        if let Ok(line) = wire::line(&Progress::from(event)) {
            // Whoever has gone needs no progress.
            let _ = to.blocking_send(Told::Bytes(line.into()));
        }
    }
}

impl Watch for Telling {
    fn event(&self, event: Event) {
        let Some(to) = &self.to else {
            match event {
                Event::Warn(text) => tracing::warn!("{text}"),
                Event::Note(text) => tracing::info!("{text}"),
                _ => {}
            }
            return;
        };
        let mut advanced = self.advanced.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::Advance(n) = event {
            advanced.0 = advanced.0.saturating_add(n);
            if advanced.1.is_some_and(|last| last.elapsed() < ADVANCE_EVERY) {
                return;
            }
            advanced.1 = Some(Instant::now());
        }
        let n = std::mem::take(&mut advanced.0);
        drop(advanced);
        if n > 0 {
            self.tell(to, Event::Advance(n));
        }
        if !matches!(event, Event::Advance(_)) {
            self.tell(to, event);
        }
    }
}
