//! LE channels: taken from whoever dials, and dialled. No pairing, no security of the link's own: the
//! carriage proves who is there.

use std::{io, sync::Arc, time::Duration};

use bluer::{AddressType, l2cap};
use tokio::{
    sync::mpsc,
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
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(taken) => taken,
            Err(_) => {
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let kind = match from.addr_type {
            AddressType::LeRandom => AddressKind::Random,
            _ => AddressKind::Public,
        };
        let from = Place { address: *from.addr, kind };
        // No room: it learns so at once, by the end of its link.
        let Some(slot) = slots.take(from.address) else { continue };
        let link = link(adapter, from, false, window::le(stream, slot));
        if events.send(BluetoothEvent::Link { adapter, from, link }).await.is_err() {
            return;
        }
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
    let kind = match to.kind {
        AddressKind::Public => AddressType::LePublic,
        AddressKind::Random => AddressType::LeRandom,
    };
    let at = l2cap::SocketAddr::new(to.address.into(), kind, channel.into());
    let connecting = socket(own).map_err(failed)?.connect(at);
    let stream = timeout(DIAL_TIME_MAX, connecting)
        .await
        .map_err(|_| TransportError::Timeout { to: to.to_string(), limit: DIAL_TIME_MAX })?
        .map_err(failed)?;
    Ok(link(adapter, to, true, window::le(stream, slot)))
}
