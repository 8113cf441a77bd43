//! A line that is connected, until it is hung up: the other end does that, or this end when it lets go.
//!
//! That the other end did shows by the modem's carrier line, where there is one. Else the modem says so among the
//! bytes: whoever is at the other end can say it too, and hangs up then.
//!
//! Letting go lowers DTR, at which a modem hangs up (`&D2`). Where there is no such line it is told: a pause,
//! `+++`, a pause, `ATH0`. That takes some seconds, in which the port stays taken.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::{Duration, Interval, MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    contract::StreamPipe,
    serial::wires::{Wire, Wires},
};

const GONE: &[u8] = b"\r\nNO CARRIER\r\n";
/// Between two looks at the carrier.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// S12 of most modems: nothing is said for so long before and behind the escape, and a little more.
pub(super) const GUARD: Duration = Duration::from_millis(1_200);
/// A modem that takes nothing is let go all the same.
const HANG_UP_TIME_MAX: Duration = Duration::from_secs(6);

/// A line that is connected.
pub(super) struct Connected {
    /// Until it is let go.
    port: Option<Box<dyn StreamPipe>>,
    wires: Option<Wires>,
    /// What came behind the word that it is connected.
    rest: Vec<u8>,
    /// The carriage return behind that word was its end; the line feed is still to come.
    awaits_feed: bool,
    /// Looks at the carrier, where there is one.
    look: Option<Interval>,
    /// Of the modem's word, so many bytes came.
    matched: usize,
    is_gone: bool,
}

impl Connected {
    /// `shows`: the carrier line shows whether it is connected.
    pub(super) fn new(
        port: Box<dyn StreamPipe>,
        wires: Option<Wires>,
        shows: bool,
        rest: Vec<u8>,
    ) -> Self {
        let look = shows.then(|| {
            let mut look = interval(LOOK_EVERY);
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            look
        });
        let (port, awaits_feed) = (Some(port), true);
        Self { port, wires, rest, awaits_feed, look, matched: 0, is_gone: false }
    }

    /// What came from the modem, in a buffer behind `before`: the end of its word is not of the line.
    fn take(&mut self, before: usize, buffer: &mut ReadBuf<'_>) {
        let came = &mut buffer.filled_mut()[before..];
        if came.is_empty() {
            return;
        }
        let is_feed = std::mem::take(&mut self.awaits_feed) && came[0] == b'\n';
        if is_feed {
            came.rotate_left(1);
            let filled = buffer.filled().len();
            buffer.set_filled(filled - 1);
        }
        if self.look.is_none() {
            self.watch(&buffer.filled()[before..]);
        }
    }

    /// Looks for the modem's word in what came.
    fn watch(&mut self, came: &[u8]) {
        for byte in came {
            self.matched = match GONE.get(self.matched) {
                Some(next) if next == byte => self.matched + 1,
                _ if GONE.first() == Some(byte) => 1,
                _ => 0,
            };
            if self.matched == GONE.len() {
                self.is_gone = true;
                return;
            }
        }
    }

    fn poll_carrier(&mut self, context: &mut Context<'_>) {
        while let Some(look) = &mut self.look
            && look.poll_tick(context).is_ready()
        {
            if self.wires.as_ref().is_some_and(|wires| !wires.has_carrier()) {
                (self.is_gone, self.look) = (true, None);
            }
        }
    }
}

fn hung_up() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the line was hung up")
}

impl AsyncRead for Connected {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        // A line feed alone is nothing, and nothing would be an end.
        while buffer.remaining() > 0 && buffer.filled().len() == before {
            if !this.rest.is_empty() {
                let length = this.rest.len().min(buffer.remaining());
                buffer.put_slice(&this.rest[..length]);
                this.rest.drain(..length);
                this.take(before, buffer);
                continue;
            }
            this.poll_carrier(context);
            let Some(port) = this.port.as_mut().filter(|_| !this.is_gone) else {
                return Poll::Ready(Err(hung_up()));
            };
            ready!(Pin::new(port).poll_read(context, buffer))?;
            if buffer.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            this.take(before, buffer);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connected {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // A modem that is not connected would take them for commands.
        let is_gone = self.is_gone;
        match self.port.as_mut().filter(|_| !is_gone) {
            Some(port) => Pin::new(port).poll_write(context, bytes),
            None => Poll::Ready(Err(hung_up())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.port {
            Some(port) => Pin::new(port).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let Some(port) = self.port.take().filter(|_| !self.is_gone) else { return };
        let lowered = self.wires.take().is_some_and(|wires| wires.set(Wire::Dtr, false).is_ok());
        if lowered {
            return;
        }
        // It ends by itself, and the port with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(timeout(HANG_UP_TIME_MAX, hang_up(port)));
        }
    }
}

async fn hang_up(mut port: Box<dyn StreamPipe>) -> io::Result<()> {
    sleep(GUARD).await;
    port.write_all(b"+++").await?;
    sleep(GUARD).await;
    port.write_all(b"ATH0\r").await?;
    // What is written must leave before the port is closed.
    sleep(GUARD).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn the_line_ends_with_the_modems_word_however_it_is_cut() {
        for cut in 0..=GONE.len() {
            let (near, mut far) = duplex(64);
            let mut line = Connected::new(Box::new(near), None, false, b"first".to_vec());
            far.write_all(&[b"\r\nNO \r", &GONE[..cut]].concat()).await.unwrap();
            let mut came = [0; 5];
            line.read_exact(&mut came).await.unwrap();
            assert_eq!(&came, b"first");
            let before = line.read(&mut [0; 64]).await.unwrap();
            assert_eq!(before, 6 + cut);
            far.write_all(&GONE[cut..]).await.unwrap();
            let mut rest = Vec::new();
            let why = line.read_to_end(&mut rest).await.unwrap_err();
            assert_eq!(why.to_string(), "the line was hung up");
            assert!(line.write_all(b"secret").await.is_err());
            drop(line);
            let mut said = Vec::new();
            far.read_to_end(&mut said).await.unwrap();
            assert!(said.is_empty(), "a modem that is not connected is told nothing: {said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn letting_go_hangs_up() {
        let (near, mut far) = duplex(64);
        drop(Connected::new(Box::new(near), None, false, Vec::new()));
        let mut said = String::new();
        far.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "+++ATH0\r");
    }
}
