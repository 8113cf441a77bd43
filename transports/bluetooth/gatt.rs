//! A link as two characteristics, for telephones: what is written to one comes in, what goes out is
//! indicated by the other. See docs/bluetooth.md for whoever programs one.
//!
//! BlueZ has one value and one set of subscribers per characteristic, whoever they are, so there is one
//! such link at a time; what others write meanwhile is refused. The cheaper ways through BlueZ are not
//! taken: its sockets do not say who wrote, so that two telephones would write into one link; and
//! notifications are queued in it without a bound, where an indication waits for the one before.

use std::{
    io,
    num::NonZeroU16,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bluer::{
    Uuid,
    gatt::local::{
        Application, ApplicationHandle, Characteristic, CharacteristicNotifier,
        CharacteristicNotify, CharacteristicNotifyMethod, CharacteristicWrite,
        CharacteristicWriteMethod, CharacteristicWriteRequest, ReqError, ReqResult, Service,
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf},
    sync::mpsc,
    time::timeout,
};

use super::{
    AddressKind, BluetoothEvent, Place, SERVICE,
    bus::Calls,
    link,
    slots::{Slot, Slots},
};
use crate::contract::Stop;

/// What a telephone writes to: the service's UUID with the next number.
pub const WRITTEN: Uuid = Uuid::from_u128(0x1a78_a0c4_cfd4_4b99_a7e5_817b_1874_be6c);
/// What indicates to a telephone: the next number but one.
pub const INDICATED: Uuid = Uuid::from_u128(0x1a78_a0c5_cfd4_4b99_a7e5_817b_1874_be6c);

/// Where the service stands in an adapter's table: the same for all nodes. Left to choose, BlueZ takes the next
/// number that was never used, and whoever reads the table, or the hash over it, sees how often a node has
/// begun since BlueZ did, and knows it again. Far behind what others have. Only one node may ask for it: BlueZ 5.66,
/// asked twice for one service at one place, frees it twice.
const PLACE: NonZeroU16 = NonZeroU16::new(0x4000).unwrap();
/// Longest value of a characteristic (Core Specification, volume 3, part F, 3.2.9).
const VALUE_MAX: usize = 512;
/// What every telephone can take, and what a header takes of each packet (the same, 3.4.7).
const VALUE_MIN: usize = 20;
const HEADER_BYTES: usize = 3;
/// What waits in either direction: writes are answered when there is room.
const HELD_MAX: usize = 8 << 10;
/// A telephone takes a request for lost after thirty seconds (the same, 3.3.3), and so does this end.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(25);
const CONFIRM_TIME_MAX: Duration = Duration::from_secs(30);

/// The GATT link of one adapter.
pub(super) struct Desk {
    adapter: u16,
    calls: Calls,
    slots: Arc<Slots>,
    events: mpsc::Sender<BluetoothEvent>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Somebody subscribed, and nobody has written yet.
    subscribed: Option<CharacteristicNotifier>,
    now: Option<Now>,
}

/// The link there is.
struct Now {
    of: [u8; 6],
    written: mpsc::Sender<Vec<u8>>,
    end: Stop,
}

impl Desk {
    pub(super) fn new(
        adapter: u16,
        calls: Calls,
        slots: Arc<Slots>,
        events: mpsc::Sender<BluetoothEvent>,
    ) -> Arc<Self> {
        Arc::new(Self { adapter, calls, slots, events, state: Mutex::default() })
    }

    /// Shows the service until the handle is dropped; `first`: no other node is under this BlueZ.
    pub(super) async fn serve(
        self: &Arc<Self>,
        adapter: &bluer::Adapter,
        first: bool,
    ) -> bluer::Result<ApplicationHandle> {
        if first
            && let Ok(shown) = adapter.serve_gatt_application(self.application(Some(PLACE))).await
        {
            return Ok(shown);
        }
        // Somebody else has that place, or this BlueZ gives none.
        adapter.serve_gatt_application(self.application(None)).await
    }

    fn application(self: &Arc<Self>, place: Option<NonZeroU16>) -> Application {
        let (desk, other) = (self.clone(), self.clone());
        let written = Characteristic {
            uuid: WRITTEN,
            write: Some(CharacteristicWrite {
                write: true,
                method: CharacteristicWriteMethod::Fun(Box::new(move |value, request| {
                    Box::pin(desk.clone().write(value, request))
                })),
                ..CharacteristicWrite::default()
            }),
            ..Characteristic::default()
        };
        let indicated = Characteristic {
            uuid: INDICATED,
            notify: Some(CharacteristicNotify {
                indicate: true,
                method: CharacteristicNotifyMethod::Fun(Box::new(move |notifier| {
                    other.state().subscribed = Some(notifier);
                    Box::pin(std::future::ready(()))
                })),
                ..CharacteristicNotify::default()
            }),
            ..Characteristic::default()
        };
        let service = Service {
            uuid: SERVICE,
            handle: place,
            primary: true,
            characteristics: vec![written, indicated],
            ..Service::default()
        };
        Application { services: vec![service], ..Application::default() }
    }

    /// A device is no more connected.
    pub(super) fn gone(&self, of: [u8; 6]) {
        if let Some(now) = self.state().now.as_ref().filter(|now| now.of == of) {
            now.end.cancel();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(
        self: Arc<Self>,
        value: Vec<u8>,
        request: CharacteristicWriteRequest,
    ) -> ReqResult<()> {
        if value.len() > VALUE_MAX || request.offset != 0 || request.prepare_authorize {
            return Err(ReqError::InvalidValueLength);
        }
        let of = *request.device_address;
        let piece_bytes =
            usize::from(request.mtu).saturating_sub(HEADER_BYTES).clamp(VALUE_MIN, VALUE_MAX);
        let (written, begun) = self.stream_of(of, piece_bytes)?;
        if let Some((pipe, end)) = begun {
            let seen = self.calls.device(self.adapter, of).await;
            let kind = seen.and_then(|seen| seen.kind).unwrap_or(AddressKind::Random);
            let from = Place { address: of, kind };
            let link = link(self.adapter, from, false, pipe);
            let event = BluetoothEvent::Link { adapter: self.adapter, from, link };
            if !matches!(timeout(ANSWER_TIME_MAX, self.events.send(event)).await, Ok(Ok(()))) {
                end.cancel();
                return Err(ReqError::Failed);
            }
        }
        // An empty write only says hello.
        if value.is_empty() {
            return Ok(());
        }
        match timeout(ANSWER_TIME_MAX, written.send(value)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(ReqError::Failed),
        }
    }

    /// Where a device's bytes go; begins a link if there is none.
    #[expect(clippy::type_complexity, reason = "used once, right above")]
    fn stream_of(
        self: &Arc<Self>,
        of: [u8; 6],
        piece_bytes: usize,
    ) -> ReqResult<(mpsc::Sender<Vec<u8>>, Option<(GattPipe, Stop)>)> {
        let mut state = self.state();
        if let Some(now) = &state.now {
            return if now.of == of {
                Ok((now.written.clone(), None))
            } else {
                Err(ReqError::InProgress)
            };
        }
        let subscribed = state.subscribed.take().filter(|notifier| !notifier.is_stopped());
        let notifier = subscribed.ok_or(ReqError::NotPermitted)?;
        let Some(slot) = self.slots.take(of) else {
            state.subscribed = Some(notifier);
            return Err(ReqError::InProgress);
        };
        let (ours, stream) = tokio::io::duplex(HELD_MAX);
        let (written, values) = mpsc::channel(1);
        let end = Stop::new();
        state.now = Some(Now { of, written: written.clone(), end: end.clone() });
        // The task belongs to the link: it ends when either end of it does.
        let desk = self.clone();
        let ending = end.clone();
        tokio::spawn(async move {
            let stopped = notifier.stopped();
            tokio::select! {
                () = come_in_and_go_out(ours, values, notifier, piece_bytes) => {}
                () = stopped => {}
                () = ending.cancelled() => {}
            }
            desk.state().now = None;
        });
        Ok((written, Some((GattPipe { stream, _slot: slot }, end))))
    }
}

/// Moves bytes both ways until one of them ends.
async fn come_in_and_go_out(
    ours: DuplexStream,
    mut values: mpsc::Receiver<Vec<u8>>,
    mut notifier: CharacteristicNotifier,
    piece_bytes: usize,
) {
    let (mut from, mut to) = tokio::io::split(ours);
    let incoming = async {
        while let Some(value) = values.recv().await {
            if to.write_all(&value).await.is_err() {
                break;
            }
        }
    };
    let outgoing = async {
        let mut piece = vec![0; piece_bytes];
        while let Ok(got @ 1..) = from.read(&mut piece).await {
            let indicated = notifier.notify(piece[..got].to_vec());
            if !matches!(timeout(CONFIRM_TIME_MAX, indicated).await, Ok(Ok(()))) {
                break;
            }
        }
    };
    tokio::select! {
        () = incoming => {}
        () = outgoing => {}
    }
}

/// The stream of a GATT link.
struct GattPipe {
    stream: DuplexStream,
    _slot: Slot,
}

impl AsyncRead for GattPipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for GattPipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
