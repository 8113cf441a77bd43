//! How much may be under way on a slow line: what it takes in about a second.
//!
//! A modem and the network behind it hold many seconds of what is sent, and TCP fills all of that. What is
//! lost then comes again behind everything else: on a line that lives for twenty seconds at a time that is
//! never, and what came after it is thrown away with the connection. An urgent unit waits as long.
//!
//! So as long as a line may be slow the kernel is asked to send no faster than the line takes (BBR, which also
//! does not take each loss for a full line; where the kernel has it and lets us), and when it is known to be slow
//! the kernel gets no more of it than the line takes in that time. Where the handshake took long that is so from
//! the first byte on: what the kernel begins with is two seconds of such a line. A line that is not slow is left as
//! it was.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{client, server};

use super::socket::{UNSENT_BYTES, set_unsent};

/// How often it is looked how much was taken. The first look after a change sees how much the kernel itself took.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOKS_SKIPPED: usize = 1;
/// The line is as fast as on the average of so many looks, since it takes what it is given in bursts; fewer than
/// [`LOOKS_LEAST`] say nothing.
const LOOKS: usize = 8;
const LOOKS_LEAST: usize = 3;
/// Bytes per second below which a line is slow: at 512 kbit/s the kernel's own bounds begin to hurt less
/// than ours would.
const SLOW: u64 = 64 << 10;
/// The kernel may have what the line takes in a round trip, and so much more that waits. What is not full then
/// shows a higher rate at the next look, until it is.
const WAITING: Duration = Duration::from_millis(300);
/// What a round trip counts as, at least and at most: some of the handshake may have been lost.
const ROUND_TRIP_MIN: Duration = Duration::from_millis(500);
const ROUND_TRIP_MAX: Duration = Duration::from_secs(1);
/// After a handshake that took so long a line may be slow: by cable nothing on Earth is so far away.
const SUSPECT: Duration = Duration::from_millis(400);
/// Eight segments: with fewer the line stands still whenever one is lost.
const LEAST_BYTES: u64 = 12 << 10;
/// Where the kernel may have so much, or takes it within a look, which is more than any buffer of its own at
/// first, the line is not slow.
const MUCH_BYTES: u64 = 256 << 10;
const FAST_BYTES: u64 = 512 << 10;
/// What the kernel may have of a line that was taken for a slow one, as far as it lets anybody.
const ENOUGH_BYTES: u64 = 4 << 20;
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
    /// After a handshake that took so long: about a round trip.
    pub(super) fn new(stream: S, handshake: Duration) -> Self {
        let usual = spare(stream.tcp());
        let paced = Self { stream, pace: Pace::new(Instant::now(), handshake), usual };
        paced.pace.allowed.into_iter().for_each(|bytes| paced.make(Change::Under(bytes)));
        paced
    }

    /// Where the kernel does not want that, it stays as it is.
    fn make(&self, change: Change) {
        let tcp = self.stream.tcp();
        let allow = |bytes| {
            let _ = SockRef::from(tcp).set_send_buffer_size(kernel_bytes(bytes));
        };
        match change {
            Change::Under(bytes) => allow(bytes),
            // What does not fill a packet waits while one like that is under way: each costs 66 bytes, and as much
            // for its acknowledgement. As long as nothing waits for the line, it goes at once.
            Change::Full => {
                let _ = tcp.set_nodelay(false);
            }
            Change::Fast => {
                let _ = tcp.set_nodelay(true);
                // What was said once the kernel does not change any more.
                if self.pace.allowed.is_some() {
                    allow(ENOUGH_BYTES);
                }
                let _ = set_unsent(tcp, UNSENT_BYTES);
                if let Some(usual) = &self.usual {
                    let _ = set_congestion(tcp, usual);
                }
            }
        }
    }

    fn wrote(&mut self, polled: &Poll<io::Result<usize>>) {
        let bytes = match polled {
            Poll::Ready(Ok(bytes)) => Some(*bytes as u64),
            Poll::Ready(Err(_)) => return,
            Poll::Pending => None,
        };
        if let Some(change) = self.pace.wrote(bytes, Instant::now()) {
            self.make(change);
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

/// Whether the kernel would take more; if not, `cx` is woken when it does. To write and see does not tell: what
/// waits in the kernel as one packet grows to 64 KiB whatever was said.
fn has_room(stream: &TcpStream, cx: &mut Context<'_>) -> bool {
    let asked = || {
        let mut fds = [PollFd::new(stream, PollFlags::OUT)];
        match poll(&mut fds, Some(&Timespec::default()))? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    };
    loop {
        match stream.try_io(Interest::WRITABLE, asked) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // What is wrong with it the write will say.
            _ => return true,
        }
        if stream.poll_write_ready(cx).is_pending() {
            return false;
        }
    }
}

/// What is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// So many bytes may be under way.
    Under(u64),
    /// A line that may be slow has no room for more.
    Full,
    /// The line is not slow.
    Fast,
}

/// What a line was seen to take.
struct Pace {
    round_trip: Duration,
    since: Instant,
    /// When something was last written or waited, and whether it waits still.
    last: Instant,
    waits: bool,
    /// Looks since the last change.
    looks: usize,
    fast: bool,
    /// Bytes since then, and whether more would have been written.
    bytes: u64,
    blocked: bool,
    /// Bytes per second, newest last.
    rates: VecDeque<u64>,
    allowed: Option<u64>,
    /// It has once had no room.
    full: bool,
    /// While every change made it faster: how fast it was before the last.
    was: Option<u64>,
}

impl Pace {
    /// After a handshake that took so long.
    fn new(now: Instant, handshake: Duration) -> Self {
        Self {
            round_trip: handshake.clamp(ROUND_TRIP_MIN, ROUND_TRIP_MAX),
            since: now,
            last: now,
            waits: false,
            looks: 0,
            fast: false,
            bytes: 0,
            blocked: false,
            rates: VecDeque::new(),
            allowed: (handshake >= SUSPECT).then_some(LEAST_BYTES),
            full: false,
            was: Some(0),
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
            if self.blocked && !self.fast {
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
            change = Some(Change::Fast);
        }
        self.fast |= change == Some(Change::Fast);
        change
    }

    /// There is no room for more: whether that is so for the first time on a line that is taken for a slow one.
    fn is_first_full(&mut self) -> bool {
        let first = self.allowed.is_some() && !self.full;
        self.full |= first;
        first
    }

    /// The kernel has all that was written.
    fn flushed(&mut self, now: Instant) {
        (self.last, self.waits) = (now, false);
    }

    fn decide(&mut self) -> Option<Change> {
        let rate = self.rates.iter().sum::<u64>() / self.rates.len().max(1) as u64;
        let needed = if self.was.is_some() { LOOKS_LEAST } else { LOOKS };
        if self.rates.len() < needed {
            return None;
        }
        let ms = u64::try_from((self.round_trip + WAITING).as_millis()).unwrap_or(u64::MAX);
        let wanted = (rate.saturating_mul(ms) / 1000).max(LEAST_BYTES);
        // Once it is set it must follow a line that becomes faster.
        if self.allowed.is_none() && rate >= SLOW || wanted >= MUCH_BYTES {
            return Some(Change::Fast);
        }
        // A line that gets more and is no faster is full: what it takes is looked at for longer.
        self.was = self.was.filter(|was| rate > was + was / 4).map(|_| rate);
        let near = |was: u64| wanted.abs_diff(was) <= was / 4;
        if self.allowed.is_some_and(near) || self.was.is_none() && self.rates.len() < LOOKS {
            return None;
        }
        (self.allowed, self.looks) = (Some(wanted), 0);
        self.rates.clear();
        Some(Change::Under(wanted))
    }
}

/// What the kernel is told so that it takes so many bytes: it doubles that, for what it needs itself, which is
/// less.
fn kernel_bytes(bytes: u64) -> usize {
    usize::try_from(bytes - bytes / 4).unwrap_or(usize::MAX)
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
                Poll::Ready(Ok(())) if has_room(self.stream.tcp(), cx) => {
                    self.pace.flushed(Instant::now());
                    most = RECORD_BYTES;
                }
                Poll::Ready(Ok(())) => {
                    if self.pace.is_first_full() {
                        self.make(Change::Full);
                    }
                    self.wrote(&Poll::Pending);
                    return Poll::Pending;
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

    /// A line like that, with nothing before it.
    const LINE: Duration = Duration::from_millis(100);
    const FAR: Duration = Duration::from_millis(700);

    #[test]
    fn a_slow_line_has_a_second_under_way_and_a_fast_one_is_left_alone() {
        let begin = Instant::now();
        let mut slow = Pace::new(begin, LINE);
        let now = allowed(&mut slow, begin, 7000, 900);
        assert_eq!(slow.allowed, None, "too soon to say");
        let now = allowed(&mut slow, now, 7000, 5000);
        assert_eq!(slow.allowed.unwrap(), LEAST_BYTES);
        // It becomes faster, and so does what it may have; then it stalls for a moment.
        let now = allowed(&mut slow, now, 200_000, 8000);
        let more = slow.allowed.unwrap();
        assert!((120_000..240_000).contains(&more), "{more}");
        let now = allowed(&mut slow, now, 0, 500);
        assert!(slow.allowed.unwrap() > 100_000);
        assert!(!slow.fast);
        allowed(&mut slow, now, 800_000, 8000);
        assert!(slow.fast);

        let mut fast = Pace::new(begin, LINE);
        allowed(&mut fast, begin, 100_000, 10_000);
        assert_eq!((fast.allowed, fast.fast), (None, true));
        let mut faster = Pace::new(begin, LINE);
        assert_eq!(faster.wrote(Some(1 << 20), begin), Some(Change::Fast));
        assert_eq!(faster.wrote(Some(1 << 20), begin), None);
    }

    #[test]
    fn a_line_that_is_only_long_gets_more_until_it_is_full() {
        let begin = Instant::now();
        // What it may have goes in a round trip, at most so fast; after so many seconds?
        let after = |line: u64, seconds: u64| {
            let mut pace = Pace::new(begin, FAR);
            let mut now = begin;
            for _ in 0..seconds * 4 {
                let may = pace.allowed.unwrap() * 1000 / 700;
                now = allowed(&mut pace, now, may.min(line), 250);
            }
            pace
        };
        let wide = after(2_000_000, 12);
        assert!(wide.fast, "{:?}", wide.allowed);
        let narrow = after(8000, 60);
        assert_eq!((narrow.allowed, narrow.fast), (Some(LEAST_BYTES), false));
        let middling = after(30_000, 60).allowed.unwrap();
        assert!((20_000..40_000).contains(&middling), "{middling}");
    }

    impl OverTcp for TcpStream {
        fn tcp(&self) -> &TcpStream {
            self
        }
    }

    #[tokio::test]
    async fn whoever_found_no_room_goes_on_when_there_is_some() {
        let listener = tokio::net::TcpSocket::new_v4().unwrap();
        listener.set_recv_buffer_size(4 << 10).unwrap();
        listener.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = listener.listen(1).unwrap();
        let to = listener.local_addr().unwrap();
        let (stream, other) = tokio::join!(TcpStream::connect(to), listener.accept());
        let (stream, mut other) = (stream.unwrap(), other.unwrap().0);
        set_unsent(&stream, 8 << 10).unwrap();
        let mut paced = Paced::new(stream, FAR);
        let mut waiting = 0;
        let fill = std::future::poll_fn(|cx| {
            while let Poll::Ready(wrote) = Pin::new(&mut paced).poll_write(cx, &[7; 8 << 10]) {
                waiting += wrote.unwrap();
            }
            Poll::Ready(())
        });
        fill.await;
        assert!((1..40 << 10).contains(&waiting), "{waiting}");
        // It goes on whenever the other end has read.
        let mut left = (64 << 10) - waiting;
        let rest = async {
            while left > 0 {
                let write = |cx: &mut Context<'_>| {
                    Pin::new(&mut paced).poll_write(cx, &vec![7; left.min(8 << 10)])
                };
                left -= std::future::poll_fn(write).await.unwrap();
            }
        };
        let mut came = vec![0; 64 << 10];
        let (_, read) =
            tokio::join!(rest, tokio::io::AsyncReadExt::read_exact(&mut other, &mut came));
        assert_eq!(read.unwrap(), came.len());
    }

    #[test]
    fn a_line_that_was_idle_is_not_taken_for_a_slow_one() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin, LINE);
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
        let mut pace = Pace::new(begin, LINE);
        for n in 1..1000 {
            pace.wrote(Some(100), begin + Duration::from_millis(100) * n);
        }
        assert_eq!((pace.allowed, pace.rates.len()), (None, 0));
    }
}
