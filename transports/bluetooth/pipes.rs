//! A connected RFCOMM socket as the stream of a link, and what closing any socket of Bluetooth takes: it drops
//! what has not been sent yet, so a shutdown waits until all is.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bluer::{l2cap, rfcomm};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::slots::Slot;

/// How long a shutdown waits for what has not been sent, and how often it looks.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// What sends, and tells when all is sent.
pub(super) trait Sending: AsyncWrite + Send + Sync + Unpin {
    /// Bytes that the kernel would still take; most when all is sent.
    fn room_bytes(&self) -> io::Result<u32>;
}

impl Sending for l2cap::stream::OwnedWriteHalf {
    fn room_bytes(&self) -> io::Result<u32> {
        self.as_ref().as_ref().output_buffer()
    }
}

impl Sending for rfcomm::Stream {
    fn room_bytes(&self) -> io::Result<u32> {
        self.as_ref().output_buffer()
    }
}

/// A socket in both directions.
pub(super) struct SocketPipe<S> {
    socket: S,
    drain: Drain,
    _slot: Slot,
}

/// Over RFCOMM, which has flow control of its own.
pub(super) fn classic(stream: rfcomm::Stream, slot: Slot) -> SocketPipe<rfcomm::Stream> {
    SocketPipe { drain: Drain::of(&stream), socket: stream, _slot: slot }
}

impl<S: AsyncRead + Unpin> AsyncRead for SocketPipe<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: Sending> AsyncWrite for SocketPipe<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, drain, .. } = &mut *self;
        ready!(drain.poll(socket, context));
        match ready!(Pin::new(socket).poll_shutdown(context)) {
            // The other end has closed it already.
            Err(error) if is_closed(&error) => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }
}

/// Whether an error says only that the other end has closed it.
pub(super) fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected)
}

/// Until a socket has sent all, or long enough.
pub(super) struct Drain {
    /// The room when nothing waited.
    empty_room: Option<u32>,
    waits: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Drain {
    /// Of a socket that nothing was written to yet.
    pub(super) fn of(socket: &impl Sending) -> Self {
        Self { empty_room: socket.room_bytes().ok(), waits: None }
    }

    pub(super) fn poll(&mut self, socket: &impl Sending, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match (self.empty_room, socket.room_bytes()) {
                (Some(empty), Ok(room)) if room < empty => {}
                // Whatever cannot tell has nothing to wait for.
                _ => return Poll::Ready(()),
            }
            let (until, look) = self.waits.get_or_insert_with(|| {
                (Instant::now() + DRAIN_TIME_MAX, Box::pin(sleep(DRAIN_LOOK)))
            });
            if Instant::now() >= *until {
                return Poll::Ready(());
            }
            ready!(look.as_mut().poll(context));
            look.as_mut().reset(Instant::now() + DRAIN_LOOK);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    };

    use tokio::{io::AsyncWriteExt as _, sync::mpsc};

    use super::*;
    use crate::bluetooth::slots::Slots;

    /// Sends when it is told to.
    #[derive(Clone, Default)]
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
            self.waiting.fetch_add(u32::try_from(bytes.len()).unwrap(), Ordering::SeqCst);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.shut.store(true, Ordering::SeqCst);
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }
    }

    fn pipe(slow: &Slow) -> SocketPipe<Slow> {
        let slot = Slots::new(mpsc::channel(1).0).dial([0; 6]);
        SocketPipe { drain: Drain::of(slow), socket: slow.clone(), _slot: slot }
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_waits_until_all_is_sent() {
        let slow = Slow::default();
        let mut pipe = pipe(&slow);
        pipe.write_all(&[7; 300]).await.unwrap();
        let closing = tokio::spawn(async move { pipe.shutdown().await });
        sleep(Duration::from_secs(1)).await;
        assert!(!slow.shut.load(Ordering::SeqCst));
        slow.waiting.store(0, Ordering::SeqCst);
        closing.await.unwrap().unwrap();
        assert!(slow.shut.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_ends_though_nothing_is_sent() {
        let slow = Slow::default();
        let mut pipe = pipe(&slow);
        pipe.write_all(&[7; 10]).await.unwrap();
        let began = Instant::now();
        pipe.shutdown().await.unwrap();
        assert!(slow.shut.load(Ordering::SeqCst));
        assert!(began.elapsed() >= DRAIN_TIME_MAX);
    }
}
