//! A connected socket as the stream of a link.
//!
//! Two things of Linux have to be made good here. Until 6.11 it goes on granting credit to the other end
//! of an LE channel whose receive buffer is full, and then loses what comes, silently: so such a socket is
//! emptied by a task, always, and a link whose reader is too slow ends. And closing a channel drops what
//! has not been sent yet: so a shutdown waits until all is.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bluer::{l2cap, rfcomm};
use tokio::{
    io::{
        AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, ReadHalf,
        SimplexStream, WriteHalf,
    },
    task::AbortHandle,
    time::{Instant, Sleep, sleep},
};

use super::slots::Slot;

/// What waits here for a link's reader: some twenty seconds of a fast link, should a disk be busy that
/// long. It takes memory only while it waits.
const HELD_MAX: usize = 4 << 20;
/// Of a link with flow control of its own little has to wait here.
const HELD_IN_FLOW_MAX: usize = 64 << 10;
/// What is read from a socket at once.
const READ_BYTES: usize = 16 << 10;
/// How long a shutdown waits for what has not been sent, and how often it looks.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// The half of a socket that sends.
pub(super) trait Sending: AsyncWrite + Send + Unpin {
    /// Bytes that the kernel would still take; most when all is sent.
    fn room_bytes(&self) -> io::Result<u32>;
}

impl Sending for l2cap::stream::OwnedWriteHalf {
    fn room_bytes(&self) -> io::Result<u32> {
        self.as_ref().as_ref().output_buffer()
    }
}

impl Sending for rfcomm::stream::OwnedWriteHalf {
    fn room_bytes(&self) -> io::Result<u32> {
        self.as_ref().as_ref().output_buffer()
    }
}

/// A socket in both directions.
pub(super) struct SocketPipe<W> {
    input: ReadHalf<SimplexStream>,
    output: W,
    /// Most that one write hands to the kernel.
    piece_bytes: usize,
    /// The room when nothing waited.
    empty_room: Option<u32>,
    drain: Option<Drain>,
    reader: AbortHandle,
    _slot: Slot,
}

struct Drain {
    until: Instant,
    look: Pin<Box<Sleep>>,
}

/// Over LE, with pieces of so many bytes.
pub(super) fn le(
    stream: l2cap::Stream,
    piece_bytes: usize,
    slot: Slot,
) -> SocketPipe<l2cap::stream::OwnedWriteHalf> {
    let (input, output) = stream.into_split();
    SocketPipe::new(input, output, piece_bytes, HELD_MAX, slot)
}

/// Over RFCOMM.
pub(super) fn classic(
    stream: rfcomm::Stream,
    slot: Slot,
) -> SocketPipe<rfcomm::stream::OwnedWriteHalf> {
    let (input, output) = stream.into_split();
    SocketPipe::new(input, output, READ_BYTES, HELD_IN_FLOW_MAX, slot)
}

impl<W: Sending> SocketPipe<W> {
    fn new(
        from: impl AsyncRead + Send + Unpin + 'static,
        output: W,
        piece_bytes: usize,
        held_max: usize,
        slot: Slot,
    ) -> Self {
        let (input, to) = tokio::io::simplex(held_max);
        let in_flow = held_max == HELD_IN_FLOW_MAX;
        // The task belongs to the link: it ends when the link is dropped.
        let reader = tokio::spawn(empty(from, to, in_flow)).abort_handle();
        let empty_room = output.room_bytes().ok();
        Self { input, output, piece_bytes, empty_room, drain: None, reader, _slot: slot }
    }

    fn is_sent(&self) -> bool {
        match (self.empty_room, self.output.room_bytes()) {
            (Some(empty), Ok(room)) => room >= empty,
            // Whatever cannot tell has nothing to wait for.
            _ => true,
        }
    }
}

impl<W> Drop for SocketPipe<W> {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected)
}

/// Moves what comes from a socket to where it waits for its reader.
async fn empty(mut from: impl AsyncRead + Unpin, mut to: WriteHalf<SimplexStream>, in_flow: bool) {
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(got @ 1..) = from.read(&mut buffer).await {
        let writing = to.write_all(&buffer[..got]);
        let written = tokio::select! {
            biased;
            written = writing => written.is_ok(),
            // Full: bytes would be lost behind it.
            () = std::future::ready(()), if !in_flow => false,
        };
        if !written {
            break;
        }
    }
    // What was read before is still read; then the link ends.
    let _ = to.shutdown().await;
}

impl<W: Unpin> AsyncRead for SocketPipe<W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_read(context, buffer)
    }
}

impl<W: Sending> AsyncWrite for SocketPipe<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let piece = &bytes[..bytes.len().min(self.piece_bytes)];
        Pin::new(&mut self.output).poll_write(context, piece)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_sent() {
            let drain = self.drain.get_or_insert_with(|| Drain {
                until: Instant::now() + DRAIN_TIME_MAX,
                look: Box::pin(sleep(DRAIN_LOOK)),
            });
            if Instant::now() >= drain.until {
                break;
            }
            ready!(drain.look.as_mut().poll(context));
            drain.look.as_mut().reset(Instant::now() + DRAIN_LOOK);
        }
        match ready!(Pin::new(&mut self.output).poll_shutdown(context)) {
            // The other end has closed it already.
            Err(error) if is_closed(&error) => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    };

    use tokio::sync::mpsc;

    use super::*;
    use crate::bluetooth::slots::Slots;

    /// Takes so many bytes, sends them when it is told to.
    struct Slow {
        waiting: Arc<AtomicU32>,
        shut: Arc<AtomicBool>,
    }

    impl Sending for Slow {
        fn room_bytes(&self) -> io::Result<u32> {
            Ok(1000 - self.waiting.load(Ordering::SeqCst))
        }
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let got = u32::try_from(bytes.len()).unwrap();
            self.waiting.fetch_add(got, Ordering::SeqCst);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.shut.store(true, Ordering::SeqCst);
            Poll::Ready(Ok(()))
        }
    }

    fn slot() -> Slot {
        Slots::new(mpsc::channel(1).0).dial([0; 6])
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_waits_until_all_is_sent() {
        let (waiting, shut) = <(Arc<AtomicU32>, Arc<AtomicBool>)>::default();
        let slow = Slow { waiting: waiting.clone(), shut: shut.clone() };
        let mut pipe = SocketPipe::new(tokio::io::empty(), slow, 100, HELD_MAX, slot());
        assert_eq!(pipe.write(&[7; 300]).await.unwrap(), 100, "no more than a piece");
        let closing = tokio::spawn(async move { pipe.shutdown().await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!shut.load(Ordering::SeqCst));
        waiting.store(0, Ordering::SeqCst);
        closing.await.unwrap().unwrap();
        assert!(shut.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_ends_though_nothing_is_sent() {
        let (waiting, shut) = <(Arc<AtomicU32>, Arc<AtomicBool>)>::default();
        let slow = Slow { waiting, shut: shut.clone() };
        let mut pipe = SocketPipe::new(tokio::io::empty(), slow, 100, HELD_MAX, slot());
        pipe.write_all(&[7; 10]).await.unwrap();
        let began = Instant::now();
        pipe.shutdown().await.unwrap();
        assert!(shut.load(Ordering::SeqCst));
        assert!(began.elapsed() >= DRAIN_TIME_MAX);
    }

    #[tokio::test]
    async fn a_reader_that_is_too_slow_gets_all_up_to_an_end() {
        let slow = Slow { waiting: Default::default(), shut: Default::default() };
        let sent = io::Cursor::new(vec![7; HELD_MAX + 10 * READ_BYTES]);
        let mut pipe = SocketPipe::new(sent, slow, 100, HELD_MAX, slot());
        while !pipe.reader.is_finished() {
            tokio::task::yield_now().await;
        }
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, vec![7; HELD_MAX], "as much as can wait, and no more");
    }

    #[tokio::test]
    async fn what_has_flow_control_waits_for_its_reader() {
        let slow = Slow { waiting: Default::default(), shut: Default::default() };
        let sent = vec![7; 4 * HELD_IN_FLOW_MAX];
        let mut pipe =
            SocketPipe::new(io::Cursor::new(sent.clone()), slow, 100, HELD_IN_FLOW_MAX, slot());
        let mut all = Vec::new();
        pipe.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, sent);
    }
}
