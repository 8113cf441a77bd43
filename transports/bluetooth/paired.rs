//! RFCOMM, for two machines that somebody has paired: their links are enciphered by Bluetooth as well, and
//! a few times as fast.
//!
//! BlueZ publishes the profile and takes the links; this end dials the number itself, for BlueZ hands over
//! links of both directions alike.

use std::{io, sync::Arc, time::Duration};

use bluer::{Session, Uuid, rfcomm};
use futures_util::StreamExt as _;
use tokio::{sync::mpsc, time::timeout};

use super::{AddressKind, BluetoothEvent, Place, Shared, link, pipes, slots::Slot};
use crate::contract::{Link, TransportError};

/// What says that somebody has our service: the service's own with the next number but two.
pub const PROFILE: Uuid = Uuid::from_u128(0x1a78_a0c6_cfd4_4b99_a7e5_817b_1874_be6c);
/// The RFCOMM channel: one that no profile of BlueZ's own has (they have 1 to 16, and 17, 24 and 25).
const CHANNEL: u8 = 22;
/// A machine that is near and paired answers within a few seconds.
const DIAL_TIME_MAX: Duration = Duration::from_secs(10);

/// Publishes the profile; the handle yields links that others dial, until it is dropped.
pub(super) async fn publish(session: &Session) -> bluer::Result<rfcomm::ProfileHandle> {
    let profile = rfcomm::Profile {
        uuid: PROFILE,
        // Machines without it show it to people as one more serial port.
        name: Some("Serial".to_owned()),
        role: Some(rfcomm::Role::Server),
        channel: Some(CHANNEL.into()),
        require_authentication: Some(true),
        require_authorization: Some(false),
        auto_connect: Some(false),
        ..rfcomm::Profile::default()
    };
    session.register_profile(profile).await
}

/// Takes links until the profile or whoever takes them is gone.
pub(super) async fn take(
    mut profile: rfcomm::ProfileHandle,
    shared: Arc<Shared>,
    events: mpsc::Sender<BluetoothEvent>,
) {
    while let Some(request) = profile.next().await {
        let from = Place { address: *request.device(), kind: AddressKind::Public };
        let Ok(stream) = request.accept() else { continue };
        let Ok(own) = stream.as_ref().local_addr() else { continue };
        let Some((adapter, slots)) = shared.adapter_at(*own.addr) else { continue };
        let Some(slot) = slots.take(from.address) else { continue };
        let link = link(adapter, from, false, pipes::classic(stream, slot));
        if events.send(BluetoothEvent::Link { adapter, from, link }).await.is_err() {
            return;
        }
    }
}

/// One attempt, at a device that is paired.
pub(super) async fn dial(
    own: [u8; 6],
    adapter: u16,
    to: Place,
    slot: Slot,
) -> Result<Link, TransportError> {
    let failed = |source| TransportError::Connect { to: to.to_string(), source };
    let connect = || -> io::Result<_> {
        let socket = rfcomm::Socket::new()?;
        socket.bind(rfcomm::SocketAddr::new(own.into(), 0))?;
        socket
            .set_security(rfcomm::Security { level: rfcomm::SecurityLevel::Medium, key_size: 0 })?;
        Ok(socket.connect(rfcomm::SocketAddr::new(to.address.into(), CHANNEL)))
    };
    let stream = timeout(DIAL_TIME_MAX, connect().map_err(failed)?)
        .await
        .map_err(|_| TransportError::Timeout { to: to.to_string(), limit: DIAL_TIME_MAX })?
        .map_err(failed)?;
    Ok(link(adapter, to, true, pipes::classic(stream, slot)))
}
