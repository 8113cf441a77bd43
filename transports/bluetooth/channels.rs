//! LE channels: taken from whoever dials, and dialled. No pairing, no security of the link's own: the
//! carriage proves who is there.

use std::{io, sync::Arc, time::Duration};

use bluer::{AddressType, l2cap};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    AddressKind, BluetoothEvent, Place, link,
    slots::{Slot, Slots},
    window,
};
use crate::contract::{Link, TransportError};

/// Connections that wait to be taken; they are taken at once, so this is for a burst.
const BACKLOG: u32 = 4;
/// Somebody who is near answers within a second or two, and somebody at the edge of it within some ten; the
/// kernel itself waits for twenty.
pub const DIAL_TIME_MAX: Duration = Duration::from_secs(15);
/// The longest unit that this end takes, and with it what the other end may send without being told to go
/// on: the kernel grants as many packets as such a unit takes. With twice as much it was no faster, with a tenth a
/// third as fast.
const UNIT_MAX: u16 = 32_768;
/// After an error that says nothing of the other end, such as no descriptor being left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What both ends say first: that it is us, and in which version.
const HELLO: [u8; 4] = *b"PR\0\x01";
/// A hello and its answer are there and back; BlueZ talks on the same connection meanwhile.
const HELLO_TIME_MAX: Duration = Duration::from_secs(8);

/// An adapter's own address, as sockets name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) address: [u8; 6],
    pub(super) random: bool,
}

impl Own {
    fn at(self, channel: u16) -> l2cap::SocketAddr {
        let kind = if self.random { AddressType::LeRandom } else { AddressType::LePublic };
        l2cap::SocketAddr::new(self.address.into(), kind, channel)
    }
}

/// A door for others, and its number.
pub(super) fn open(own: Own) -> io::Result<(l2cap::StreamListener, u8)> {
    let socket = socket(own)?;
    let listener = socket.listen(BACKLOG)?;
    let channel = listener.as_ref().local_addr()?.psm;
    let channel = u8::try_from(channel).map_err(|_| io::ErrorKind::AddrNotAvailable)?;
    Ok((listener, channel))
}

/// A socket of an adapter, on a channel that is free.
fn socket(own: Own) -> io::Result<l2cap::Socket<l2cap::Stream>> {
    let socket = l2cap::Socket::new_stream()?;
    socket.bind(own.at(0))?;
    socket.set_security(l2cap::Security { level: l2cap::SecurityLevel::Low, key_size: 0 })?;
    // Kernels differ in what they take; what they had before will do.
    let _ = socket.set_recv_mtu(UNIT_MAX);
    Ok(socket)
}

/// Takes links until nobody wants them any more.
pub(super) async fn take(
    listener: l2cap::StreamListener,
    adapter: u16,
    slots: Arc<Slots>,
    events: mpsc::Sender<BluetoothEvent>,
) {
    // No more than there are slots.
    let mut greeting = JoinSet::new();
    loop {
        // Both are cancel-safe.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(greeted) = greeting.join_next() => {
                let Ok(Some((from, stream, slot))) = greeted else { continue };
                let link = link(adapter, from, false, window::le(stream, slot));
                if events.send(BluetoothEvent::Link { adapter, from, link }).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let Ok((mut stream, from)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let kind = match from.addr_type {
            AddressType::LeRandom => AddressKind::Random,
            _ => AddressKind::Public,
        };
        let from = Place { address: *from.addr, kind };
        // No room: it learns so at once, by the end of its link.
        let Some(slot) = slots.take(from.address) else { continue };
        greeting.spawn(async move {
            let greeted = timeout(HELLO_TIME_MAX, answer(&mut stream)).await;
            matches!(greeted, Ok(Ok(()))).then_some((from, stream, slot))
        });
    }
}

/// One attempt.
pub(super) async fn dial(
    own: Own,
    adapter: u16,
    to: Place,
    channel: u8,
    slot: Slot,
) -> Result<Link, TransportError> {
    let failed = |source| TransportError::Connect { to: to.to_string(), source };
    let late = |limit| TransportError::Timeout { to: to.to_string(), limit };
    let kind = match to.kind {
        AddressKind::Public => AddressType::LePublic,
        AddressKind::Random => AddressType::LeRandom,
    };
    let at = l2cap::SocketAddr::new(to.address.into(), kind, channel.into());
    let connecting = socket(own).map_err(failed)?.connect(at);
    let connected = timeout(DIAL_TIME_MAX, connecting).await;
    let mut stream = connected.map_err(|_| late(DIAL_TIME_MAX))?.map_err(failed)?;
    let greeted = timeout(HELLO_TIME_MAX, greet(&mut stream)).await;
    greeted.map_err(|_| late(HELLO_TIME_MAX))?.map_err(failed)?;
    Ok(link(adapter, to, true, window::le(stream, slot)))
}

/// Whoever dialled says hello, at once, and waits for the answer.
///
/// At once, because Linux (6.1, at least) remembers of a channel that it took the number of the request, and
/// takes the next response with this number, to a request of its own, for one about that channel: it then
/// sends our bytes into BlueZ's channel for GATT. The first unit that comes gives the channel another
/// number, long before BlueZ asks for its own.
async fn greet(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    stream.write_all(&HELLO).await?;
    hear_hello(stream).await
}

async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    hear_hello(stream).await?;
    stream.write_all(&HELLO).await
}

async fn hear_hello(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut said = HELLO;
    stream.read_exact(&mut said).await?;
    if said == HELLO { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_ends_say_hello() {
        let (mut here, mut there) = tokio::io::duplex(64);
        let (greeted, answered) = tokio::join!(greet(&mut here), answer(&mut there));
        greeted.unwrap();
        answered.unwrap();
    }

    #[tokio::test]
    async fn whoever_says_something_else_is_not_answered() {
        let (mut here, mut there) = tokio::io::duplex(64);
        there.write_all(b"GET / HTTP").await.unwrap();
        assert_eq!(answer(&mut here).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(here);
        let mut rest = Vec::new();
        there.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    }
}
