//! Little of what is written lies in the kernel: what must be sent again would wait behind it.
//!
//! The system says how much it still has of a port, but not all ports tell it: a pseudo terminal has
//! nothing ever, an adapter may have a buffer of its own. So the bytes are counted as well, at the
//! rate at which a line can carry them, and the higher number holds.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Duration, Instant, Sleep, sleep_until},
};

use crate::contract::StreamPipe;

/// What the kernel may hold of a line: a machine that is busy for so long leaves no gap.
const HELD: Duration = Duration::from_millis(200);
/// Where the turn changes, whoever gives it away should have spoken by then.
const HELD_IN_TURNS: Duration = Duration::from_millis(40);
/// However slow the line: a short frame.
const HELD_MIN: u64 = 16;
/// Refilled in so many steps: each is a call to the system.
const STEPS: u64 = 8;

/// A stream of which it is known how much it has not sent yet.
pub(super) trait Waiting {
    /// Bytes that the system has of it; 0 where it does not tell.
    fn waiting_bytes(&self) -> u64;
}

/// By the clock alone.
impl Waiting for Box<dyn StreamPipe> {
    fn waiting_bytes(&self) -> u64 {
        0
    }
}

/// A stream that takes no more than it can soon send.
pub(super) struct Paced<S> {
    stream: S,
    pace: Pace,
    /// Runs while there is no room.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, bits_per_s: u32, in_turns: bool) -> Self {
        let held = if in_turns { HELD_IN_TURNS } else { HELD };
        Self { stream, pace: Pace::new(bits_per_s, held, Instant::now()), timer: None }
    }
}

/// How much of a line waits, by the clock.
#[derive(Debug)]
struct Pace {
    byte: Duration,
    held_bytes: u64,
    /// When the line will have carried everything that it was given.
    free: Instant,
}

impl Pace {
    fn new(bits_per_s: u32, held: Duration, now: Instant) -> Self {
        let byte = Duration::from_secs(10) / bits_per_s.max(1);
        let bytes = held.as_nanos() / byte.as_nanos().max(1);
        let held_bytes = u64::try_from(bytes).unwrap_or(u64::MAX).max(HELD_MIN);
        Self { byte, held_bytes, free: now }
    }

    /// Bytes that may be given now, or when to look again.
    fn room(&self, now: Instant, waiting_bytes: u64) -> Result<usize, Instant> {
        let by_clock = self.free.saturating_duration_since(now).as_nanos() / self.byte.as_nanos();
        let waiting = u64::try_from(by_clock).unwrap_or(u64::MAX).max(waiting_bytes);
        let room = self.held_bytes.saturating_sub(waiting);
        let step = (self.held_bytes / STEPS).max(1);
        if room >= step {
            return Ok(usize::try_from(room).unwrap_or(usize::MAX));
        }
        let missing = u32::try_from(step - room).unwrap_or(u32::MAX);
        Err(now + self.byte.saturating_mul(missing))
    }

    fn give(&mut self, now: Instant, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.free = self.free.max(now) + self.byte.saturating_mul(bytes);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Waiting + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        loop {
            if let Some(timer) = &mut this.timer {
                std::task::ready!(timer.as_mut().poll(context));
                this.timer = None;
            }
            let now = Instant::now();
            match this.pace.room(now, this.stream.waiting_bytes()) {
                Ok(room) => {
                    let bytes = &bytes[..bytes.len().min(room)];
                    let wrote = Pin::new(&mut this.stream).poll_write(context, bytes);
                    if let Poll::Ready(Ok(wrote)) = &wrote {
                        this.pace.give(now, *wrote);
                    }
                    return wrote;
                }
                Err(later) => this.timer = Some(Box::pin(sleep_until(later))),
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_never_has_more_than_it_sends_soon_and_never_runs_dry() {
        let begun = Instant::now();
        let mut pace = Pace::new(115_200, HELD, begun);
        let (mut now, mut given) = (begun, 0);
        while now < begun + Duration::from_secs(10) {
            match pace.room(now, 0) {
                Ok(room) => {
                    pace.give(now, room);
                    given += room as u64;
                }
                Err(later) => {
                    assert!(later > now);
                    now = later;
                }
            }
            let micros = u64::try_from(now.duration_since(begun).as_micros()).unwrap();
            let carried = micros * 11_520 / 1_000_000;
            assert!(given <= carried + 2_305, "{given} {carried}");
            assert!(given >= carried, "{given} {carried}");
        }
    }

    #[test]
    fn what_the_system_says_that_waits_counts_as_well() {
        let now = Instant::now();
        let pace = Pace::new(9600, HELD, now);
        assert_eq!(pace.room(now, 0), Ok(192));
        assert_eq!(pace.room(now, 100), Ok(92));
        assert!(pace.room(now, 5_000).is_err());
    }

    #[test]
    fn the_slowest_line_takes_a_short_frame_and_the_fastest_does_not_divide_by_zero() {
        let now = Instant::now();
        assert_eq!(Pace::new(50, HELD, now).room(now, 0), Ok(16));
        assert!(Pace::new(u32::MAX, HELD, now).room(now, 0).is_ok());
    }
}
