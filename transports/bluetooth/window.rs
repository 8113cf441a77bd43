//! An LE channel as the stream of a link, with a window: no more is on its way than was taken there.
//!
//! Until 6.11 Linux goes on granting credit to the other end of an LE channel whose reader is slow, and then
//! loses what comes, without a word. So both ends count: each may have [`WINDOW_BYTES`] on the way, which
//! the kernel holds, and is told by the other's *grants* when its reader has taken some. The frames are
//! those of docs/bluetooth.md:
//!
//! ```text
//! data    length (2, not 0) ‖ bytes of the stream
//! grant   0 (2) ‖ how many more (2)
//! ```

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bluer::l2cap;
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
        BufReader, ReadBuf, ReadHalf, SimplexStream, WriteHalf,
    },
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

use super::{
    pipes::{Drain, Sending, is_closed},
    slots::Slot,
};

/// What may be on its way in one direction. The kernel's receive buffer of 208 KiB holds some 60 KiB of a
/// stream that comes in packets of 251 bytes, each with its own bookkeeping; and at 30 to 50 ms there and
/// as much back, half of that is as fast as LE goes.
const WINDOW_BYTES: usize = 32 << 10;
/// Granted in steps of a quarter, so that neither end waits for the other.
const GRANT_BYTES: usize = WINDOW_BYTES / 4;
/// What is sent at once, as one unit of the channel; as measured, see docs/bluetooth.md.
const UNIT_BYTES: usize = 4096;
const HEADER_BYTES: usize = 2;
/// What is read from a socket at once.
const READ_BYTES: usize = 16 << 10;
/// What the kernel is asked to hold; it takes as much as it is set up for.
const KERNEL_HELD_BYTES: i32 = 1 << 20;

/// Both directions of a link.
pub(super) struct Windowed {
    input: ReadHalf<SimplexStream>,
    output: WriteHalf<SimplexStream>,
    taken: Arc<Taken>,
    broke: Arc<Broke>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
    _slot: Slot,
}

/// What the link's reader has taken and the other end was not told yet.
#[derive(Default)]
struct Taken {
    bytes: AtomicUsize,
    enough: Notify,
}

/// How a channel broke, if it did not just end: who dials next depends on that.
#[derive(Default)]
struct Broke {
    by: OnceLock<io::ErrorKind>,
    /// For the reader, of what only the writer was told.
    told: Notify,
}

impl Broke {
    fn by(&self, error: &io::Error) {
        if !is_closed(error) && error.kind() != io::ErrorKind::UnexpectedEof {
            let _ = self.by.set(error.kind());
        }
    }
}

/// A channel that was connected or taken.
pub(super) fn le(stream: l2cap::Stream, slot: Slot) -> Windowed {
    let _ = stream.as_ref().set_recv_buffer(KERNEL_HELD_BYTES);
    let (from, to) = stream.into_split();
    Windowed::new(from, to, slot)
}

impl Windowed {
    fn new(
        from: impl AsyncRead + Send + Unpin + 'static,
        to: impl Sending + 'static,
        slot: Slot,
    ) -> Self {
        // What comes always has room: it is as much as the other end may send.
        let (input, came) = tokio::io::simplex(WINDOW_BYTES);
        let (leaves, output) = tokio::io::simplex(UNIT_BYTES);
        let window = Arc::new(Semaphore::new(WINDOW_BYTES));
        let taken = Arc::new(Taken::default());
        let broke = Arc::new(Broke::default());
        // The tasks belong to the link: they end when it is dropped.
        let reader = tokio::spawn(come(from, came, window.clone(), broke.clone()));
        let writer = tokio::spawn(go(leaves, to, window, taken.clone(), broke.clone()));
        Self { input, output, taken, broke, reader, writer, _slot: slot }
    }
}

impl Drop for Windowed {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

/// Takes frames apart, until the channel ends or breaks or the other end breaks the rules.
///
/// Linux tells once that a channel is lost. If that is told to the writer, the socket is ready for the reader for
/// ever, and every read of it would block: so the writer says so.
async fn come(
    from: impl AsyncRead + Unpin,
    mut came: WriteHalf<SimplexStream>,
    window: Arc<Semaphore>,
    broke: Arc<Broke>,
) {
    let ended = {
        let from = BufReader::with_capacity(READ_BYTES, from);
        let mut taking = pin!(take_apart(from, &mut came, &window));
        // The order matters: reads that would block for ever leave nothing of this turn.
        tokio::select! {
            biased;
            // What has come is there at once.
            () = broke.told.notified() => {
                match poll_fn(|context| Poll::Ready(taking.as_mut().poll(context))).await {
                    Poll::Ready(ended) => ended,
                    Poll::Pending => Ok(()),
                }
            }
            ended = &mut taking => ended,
        }
    };
    if let Err(error) = ended {
        broke.by(&error);
    }
    // What was read before is still read; then the link ends, also for whoever waits to write.
    let _ = came.shutdown().await;
    window.close();
}

async fn take_apart(
    mut from: BufReader<impl AsyncRead + Unpin>,
    came: &mut WriteHalf<SimplexStream>,
    window: &Semaphore,
) -> io::Result<()> {
    loop {
        let mut left = usize::from(from.read_u16().await?);
        if left == 0 {
            let granted = usize::from(from.read_u16().await?);
            if window.available_permits() + granted > WINDOW_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            window.add_permits(granted);
            continue;
        }
        while left > 0 {
            let got = from.fill_buf().await?;
            let part = &got[..got.len().min(left)];
            if part.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (count, writing) = (part.len(), came.write_all(part));
            tokio::select! {
                biased;
                written = writing => written?,
                // More than was granted.
                () = std::future::ready(()) => return Err(io::ErrorKind::InvalidData.into()),
            }
            from.consume(count);
            left -= count;
        }
    }
}

/// Makes frames of what leaves, as the window allows, and of what was taken.
async fn go(
    mut leaves: ReadHalf<SimplexStream>,
    mut to: impl Sending,
    window: Arc<Semaphore>,
    taken: Arc<Taken>,
    broke: Arc<Broke>,
) {
    let mut drain = Drain::of(&to);
    let mut unit = vec![0; UNIT_BYTES];
    loop {
        let next = async {
            // Only looked at: what was read is then taken from it.
            drop(window.acquire().await.ok()?);
            let most = window.available_permits().min(UNIT_BYTES - HEADER_BYTES);
            leaves.read(&mut unit[HEADER_BYTES..HEADER_BYTES + most]).await.ok()
        };
        // Both are cancel-safe. Grants first: the other end waits for them.
        let length = tokio::select! {
            biased;
            () = taken.enough.notified() => {
                let granted = taken.bytes.swap(0, Ordering::AcqRel);
                let Ok(count) = u16::try_from(granted) else { break };
                unit[..2].fill(0);
                unit[2..4].copy_from_slice(&count.to_be_bytes());
                4
            }
            got = next => {
                let Some(got @ 1..) = got else { break };
                window.forget_permits(got);
                let Ok(length) = u16::try_from(got) else { break };
                unit[..HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
                HEADER_BYTES + got
            }
        };
        if let Err(error) = to.write_all(&unit[..length]).await {
            broke.by(&error);
            broke.told.notify_one();
            return;
        }
    }
    poll_fn(|context| drain.poll(&to, context)).await;
    let _ = to.shutdown().await;
}

impl AsyncRead for Windowed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.input).poll_read(context, buffer))?;
        let got = buffer.filled().len() - before;
        if got == 0
            && buffer.remaining() > 0
            && let Some(kind) = self.broke.by.get()
        {
            return Poll::Ready(Err((*kind).into()));
        }
        if self.taken.bytes.fetch_add(got, Ordering::AcqRel) + got >= GRANT_BYTES {
            self.taken.enough.notify_one();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Windowed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.writer.is_finished() {
            let kind = self.broke.by.get().copied().unwrap_or(io::ErrorKind::BrokenPipe);
            return Poll::Ready(Err(kind.into()));
        }
        Pin::new(&mut self.output).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.output).poll_shutdown(context))?;
        if !self.writer.is_finished() {
            // A panic below is an end like any other.
            let _ = ready!(Pin::new(&mut self.writer).poll(context));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::DuplexStream, sync::mpsc};

    use super::*;
    use crate::bluetooth::slots::Slots;

    /// A channel that takes and holds all.
    const CHANNEL_BYTES: usize = 1 << 20;

    impl Sending for WriteHalf<SimplexStream> {
        fn room_bytes(&self) -> io::Result<u32> {
            Ok(0)
        }
    }

    fn slot() -> Slot {
        Slots::new(mpsc::channel(1).0).dial([0; 6])
    }

    fn two() -> (Windowed, Windowed) {
        let (from_a, to_b) = tokio::io::simplex(CHANNEL_BYTES);
        let (from_b, to_a) = tokio::io::simplex(CHANNEL_BYTES);
        (Windowed::new(from_a, to_a, slot()), Windowed::new(from_b, to_b, slot()))
    }

    /// One end, and the bare channel at the other.
    fn one() -> (Windowed, DuplexStream) {
        let (here, there) = tokio::io::duplex(CHANNEL_BYTES);
        let (from, mut comes) = tokio::io::simplex(CHANNEL_BYTES);
        let (mut goes, to) = tokio::io::simplex(CHANNEL_BYTES);
        tokio::spawn(async move {
            let (mut of, mut into) = tokio::io::split(here);
            let _ = tokio::join!(
                tokio::io::copy(&mut of, &mut comes),
                tokio::io::copy(&mut goes, &mut into)
            );
        });
        (Windowed::new(from, to, slot()), there)
    }

    /// A channel that is lost, of which only the writer is told.
    struct Lost;

    impl Sending for Lost {
        fn room_bytes(&self) -> io::Result<u32> {
            Ok(0)
        }
    }

    impl AsyncWrite for Lost {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// And what its reader sees then: what came before, and after that neither bytes nor an end, at once.
    struct NeverBlocks(&'static [u8]);

    impl AsyncRead for NeverBlocks {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.0.is_empty() {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            buffer.put_slice(std::mem::take(&mut self.0));
            Poll::Ready(Ok(()))
        }
    }

    fn pattern(count: usize) -> Vec<u8> {
        (0..count).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    #[tokio::test]
    async fn bytes_go_both_ways_at_once_and_all_arrive_before_the_end() {
        let (a, b) = two();
        let sent = pattern(10 * WINDOW_BYTES + 17);
        let side = |end: Windowed, sent: Vec<u8>| async move {
            let (mut from, mut to) = tokio::io::split(end);
            let mut got = vec![0; sent.len()];
            let (read, written) = tokio::join!(from.read_exact(&mut got), async {
                to.write_all(&sent).await?;
                to.flush().await
            });
            read.unwrap();
            written.unwrap();
            assert!(got == sent);
            to.shutdown().await.unwrap();
            let mut rest = Vec::new();
            from.read_to_end(&mut rest).await.unwrap();
            assert!(rest.is_empty());
        };
        tokio::join!(side(a, sent.clone()), side(b, sent));
    }

    #[tokio::test]
    async fn a_channel_whose_loss_only_the_writer_learns_ends_for_the_reader() {
        let mut end = Windowed::new(NeverBlocks(b"\0\x04last"), Lost, slot());
        end.write_all(b"x").await.unwrap();
        let mut all = Vec::new();
        let reading = end.read_to_end(&mut all);
        let ended = tokio::time::timeout(std::time::Duration::from_secs(60), reading).await;
        assert_eq!(ended.expect("an end").unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(all, b"last");
        assert_eq!(end.write(b"x").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_on_its_way_than_was_taken() {
        let (mut end, mut channel) = one();
        let writing = tokio::spawn(async move {
            let _ = end.write_all(&pattern(5 * WINDOW_BYTES)).await;
            end
        });
        let mut sent = 0;
        let mut header = [0; HEADER_BYTES];
        while sent < WINDOW_BYTES {
            channel.read_exact(&mut header).await.unwrap();
            let mut bytes = vec![0; usize::from(u16::from_be_bytes(header))];
            channel.read_exact(&mut bytes).await.unwrap();
            sent += bytes.len();
        }
        assert_eq!(sent, WINDOW_BYTES);
        let waiting = tokio::time::timeout(std::time::Duration::from_secs(60), channel.read_u8());
        assert!(waiting.await.is_err(), "nothing comes without a grant");
        channel.write_all(&[0, 0, 0x10, 0]).await.unwrap();
        channel.read_exact(&mut header).await.unwrap();
        assert!(u16::from_be_bytes(header) > 0);
        writing.abort();
    }

    #[tokio::test]
    async fn whoever_sends_more_than_was_granted_is_cut_off() {
        let (mut end, mut channel) = one();
        let piece = pattern(4096);
        for _ in 0..WINDOW_BYTES / 4096 + 1 {
            channel.write_all(&[0x10, 0]).await.unwrap();
            channel.write_all(&piece).await.unwrap();
        }
        while !end.reader.is_finished() {
            tokio::task::yield_now().await;
        }
        let mut all = Vec::new();
        let error = end.read_to_end(&mut all).await.unwrap_err();
        assert_eq!((all.len(), error.kind()), (WINDOW_BYTES, io::ErrorKind::InvalidData));
    }

    #[tokio::test]
    async fn whoever_grants_more_than_was_sent_is_cut_off() {
        let (mut end, mut channel) = one();
        channel.write_all(&[0, 0, 0, 1]).await.unwrap();
        let mut all = Vec::new();
        let error = end.read_to_end(&mut all).await.unwrap_err();
        assert_eq!((all.len(), error.kind()), (0, io::ErrorKind::InvalidData));
        while !end.writer.is_finished() {
            tokio::task::yield_now().await;
        }
        assert!(end.write(b"x").await.is_err());
    }
}
