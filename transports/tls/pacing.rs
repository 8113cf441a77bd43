//! How much may be under way on a slow line: what it takes in about a second.
//!
//! A modem and the network behind it hold many seconds of what is sent, and TCP fills all of that. What is
//! lost then comes again behind everything else: on a line that lives for twenty seconds at a time that is
//! never, and what came after it is thrown away with the connection. An urgent unit waits as long.
//!
//! So as long as a line may be slow the kernel is asked to send no faster than the line takes (BBR, which also
//! does not take each loss for a full line; where the kernel has it and lets us), and when it is known to be slow
//! the kernel gets no more of it than the line takes in that time. A line that is not slow is left as it was.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{client, server};

use super::socket::{UNSENT_BYTES, set_unsent};

/// How often it is looked how much was taken. The first look sees how much the kernel itself took.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOKS_SKIPPED: usize = 1;
/// The line is as fast as on the average of so many looks, since it takes what it is given in bursts; fewer than
/// [`LOOKS_LEAST`] say nothing.
const LOOKS: usize = 8;
const LOOKS_LEAST: usize = 3;
/// Bytes per second below which a line is slow: at 512 kbit/s the kernel's own bounds begin to hurt less
/// than ours would.
const SLOW: u64 = 64 << 10;
/// How much the kernel may have, in milliseconds of the line's rate. It takes twice what it is told, for its
/// own overhead, which is less: so this is about a second. Less would hold up a line by satellite, with 0.6 s
/// there and back.
const AHEAD_MS: u64 = 600;
/// Some segments, or nothing would be sent together.
const LEAST_BYTES: u64 = 6 << 10;
/// So many bytes within a look are more than any buffer of the kernel's takes at first: the line is not slow.
const FAST_BYTES: u64 = 512 << 10;
/// A record on a line that may be slow: one that was not whole when the line went down came for nothing. Each
/// costs 22 bytes.
const RECORD_BYTES: usize = 2 << 10;

/// A stream over TCP.
pub(super) trait OverTcp {
    /// Over which.
    fn tcp(&self) -> &TcpStream;
}

impl OverTcp for client::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl OverTcp for server::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A stream that minds how much of it is under way.
pub(super) struct Paced<S> {
    stream: S,
    pace: Pace,
    /// How the kernel decides what is under way, on lines that are not slow.
    usual: Option<String>,
}

impl<S: OverTcp> Paced<S> {
    pub(super) fn new(stream: S) -> Self {
        let usual = spare(stream.tcp());
        Self { stream, pace: Pace::new(Instant::now()), usual }
    }

    fn wrote(&mut self, polled: &Poll<io::Result<usize>>) {
        let bytes = match polled {
            Poll::Ready(Ok(bytes)) => Some(*bytes as u64),
            Poll::Ready(Err(_)) => return,
            Poll::Pending => None,
        };
        // Where the kernel does not want that, it stays as it is.
        match self.pace.wrote(bytes, Instant::now()) {
            Some(Change::Under(bytes)) => {
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                let _ = SockRef::from(self.stream.tcp()).set_send_buffer_size(bytes);
            }
            Some(Change::Fast) => {
                let _ = set_unsent(self.stream.tcp(), UNSENT_BYTES);
                if let Some(usual) = &self.usual {
                    let _ = set_congestion(self.stream.tcp(), usual);
                }
            }
            None => {}
        }
    }
}

/// Has a line spared as one that may be slow; how it was before, if that changed.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn spare(stream: &TcpStream) -> Option<String> {
    let usual = rustix::net::sockopt::tcp_congestion(stream).ok()?;
    set_congestion(stream, "bbr").ok().map(|()| usual)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn spare(_: &TcpStream) -> Option<String> {
    None
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_congestion(stream: &TcpStream, how: &str) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_tcp_congestion(stream, how)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_congestion(_: &TcpStream, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// So many bytes may be under way.
    Under(u64),
    /// The line is not slow.
    Fast,
}

/// What a line was seen to take.
struct Pace {
    since: Instant,
    /// When something was last written or waited, and whether it waits still.
    last: Instant,
    waits: bool,
    /// Looks so far.
    looks: usize,
    fast: bool,
    /// Bytes since then, and whether more would have been written.
    bytes: u64,
    blocked: bool,
    /// Bytes per second, newest last.
    rates: VecDeque<u64>,
    allowed: Option<u64>,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            last: now,
            waits: false,
            looks: 0,
            fast: false,
            bytes: 0,
            blocked: false,
            rates: VecDeque::new(),
            allowed: None,
        }
    }

    /// Something was written, or could not be.
    fn wrote(&mut self, bytes: Option<u64>, now: Instant) -> Option<Change> {
        // Where there was nothing to write for a while that is not the line's fault.
        if !self.waits && now.saturating_duration_since(self.last) >= LOOK_EVERY {
            (self.since, self.bytes, self.blocked) = (now, 0, false);
        }
        (self.last, self.waits) = (now, bytes.is_none());
        let took = now.saturating_duration_since(self.since);
        let mut change = None;
        if took >= LOOK_EVERY {
            // Where nothing waited it says how much there was, and not what the line takes.
            if self.blocked {
                self.looks += 1;
                let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
                if self.looks > LOOKS_SKIPPED {
                    self.rates.push_back(self.bytes.saturating_mul(1000) / ms);
                }
                if self.rates.len() > LOOKS {
                    self.rates.pop_front();
                }
                change = self.decide();
            }
            (self.since, self.bytes, self.blocked) = (now, 0, false);
        }
        match bytes {
            Some(bytes) => self.bytes += bytes,
            None => self.blocked = true,
        }
        // So much in one look is not what the kernel itself takes.
        if !self.fast && change.is_none() && self.bytes >= FAST_BYTES {
            self.fast = true;
            change = Some(Change::Fast);
        }
        change
    }

    /// The kernel has all that was written.
    fn flushed(&mut self, now: Instant) {
        (self.last, self.waits) = (now, false);
    }

    fn decide(&mut self) -> Option<Change> {
        let rate = self.rates.iter().sum::<u64>() / self.rates.len().max(1) as u64;
        let known = self.rates.len() >= LOOKS_LEAST;
        // Once it is set it must follow a line that becomes faster.
        if !known || self.allowed.is_none() && rate >= SLOW {
            let news = known && !self.fast;
            self.fast |= known;
            return news.then_some(Change::Fast);
        }
        let wanted = (rate.saturating_mul(AHEAD_MS) / 1000).max(LEAST_BYTES);
        let near = |was: u64| wanted.abs_diff(was) <= was / 4;
        if self.allowed.is_some_and(near) {
            return None;
        }
        self.allowed = Some(wanted);
        Some(Change::Under(wanted))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + OverTcp + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut most = usize::MAX;
        if !self.pace.fast {
            // Nothing more before the kernel has the last record: what waits before it cannot be seen.
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.pace.flushed(Instant::now());
                    most = RECORD_BYTES;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.wrote(&Poll::Pending);
                    return Poll::Pending;
                }
            }
        }
        let polled = Pin::new(&mut self.stream).poll_write(cx, &buf[..buf.len().min(most)]);
        self.wrote(&polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        match polled {
            Poll::Pending => self.wrote(&Poll::Pending),
            Poll::Ready(_) => self.pace.flushed(Instant::now()),
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a line of so many bytes per second is allowed after so long, when there is always more.
    fn allowed(pace: &mut Pace, from: Instant, rate: u64, ms: u64) -> Instant {
        let end = from + Duration::from_millis(ms);
        let mut now = from;
        while now < end {
            now += Duration::from_millis(50);
            pace.wrote(Some(rate / 20), now);
            pace.wrote(None, now);
        }
        end
    }

    #[test]
    fn a_slow_line_has_seconds_under_way_and_a_fast_one_is_left_alone() {
        let begin = Instant::now();
        let mut slow = Pace::new(begin);
        let now = allowed(&mut slow, begin, 8000, 900);
        assert_eq!(slow.allowed, None, "too soon to say");
        let now = allowed(&mut slow, now, 8000, 5000);
        let bytes = slow.allowed.unwrap();
        assert_eq!(bytes, LEAST_BYTES);
        // It becomes faster, and so does what it may have; then it stalls for a moment.
        let now = allowed(&mut slow, now, 400_000, 5000);
        let more = slow.allowed.unwrap();
        assert!(more > 180_000, "{more}");
        allowed(&mut slow, now, 0, 500);
        assert!(slow.allowed.unwrap() > 150_000);

        let mut fast = Pace::new(begin);
        allowed(&mut fast, begin, 100_000, 10_000);
        assert_eq!((fast.allowed, fast.fast), (None, true));
        let mut faster = Pace::new(begin);
        assert_eq!(faster.wrote(Some(1 << 20), begin), Some(Change::Fast));
        assert_eq!(faster.wrote(Some(1 << 20), begin), None);
    }

    #[test]
    fn a_line_that_was_idle_is_not_taken_for_a_slow_one() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        for n in 1..100 {
            // A message that waited for a moment, and a minute without one.
            let now = begin + Duration::from_secs(60) * n;
            pace.wrote(Some(100), now);
            pace.wrote(None, now);
            pace.flushed(now + Duration::from_millis(1));
        }
        assert_eq!((pace.allowed, pace.rates.len()), (None, 0));
    }

    #[test]
    fn what_is_written_now_and_then_says_nothing_of_the_line() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        for n in 1..1000 {
            pace.wrote(Some(100), begin + Duration::from_millis(100) * n);
        }
        assert_eq!((pace.allowed, pace.rates.len()), (None, 0));
    }
}
