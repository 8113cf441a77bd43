//! One adapter in use: its name, its voice and ear, its doors, until it is closed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bluer::Session;
use tokio::{
    sync::{Mutex, Semaphore, mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    AdapterFacts, BluetoothEvent, Shared,
    air::{Ear, Voice},
    bus::{AdapterState, Calls, Told},
    channels::{self, Own},
    gatt::Desk,
    privacy,
    slots::{Ended, Slots},
};
use crate::contract::Stop;

/// What everybody can read as this machine's name while it has none of its own: BlueZ would show the
/// machine's, which is often its owner's.
pub const NEUTRAL_NAME: &str = "Bluetooth";
/// Devices without a link that are to be forgotten; what is more BlueZ forgets itself, later.
const ENDED_MAX: usize = 64;
/// BlueZ keeps a connection for ever that its daemon has looked at, and two of them with one device confuse
/// both ends. So whoever dialled ends it, once what was sent last is through; the other end waits longer,
/// for the case that this one has gone.
const END_AFTER: Duration = Duration::from_secs(1);
const END_AFTER_TAKEN: Duration = Duration::from_secs(5);
/// Devices that connected and are not yet taken note of; of more, none is missed but the note.
const CONNECTED_MAX: usize = 64;
/// Somebody connected: that the controller stopped saying what it said is told after this, so that many who
/// connect at once cost one new address.
const SILENCED_AFTER: Duration = Duration::from_millis(500);
/// Dials that wait for their turn.
pub const DIALS_WAITING_MAX: usize = 8;
/// What has to be given back when it closes takes a few questions to BlueZ, which takes two seconds to end
/// a connection.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(6);
/// A dial waits so long for connections of this end's to end, and then goes on.
const ENDED_TIME_MAX: Duration = Duration::from_secs(5);
/// A dial waits so long for the ear to be closed, and then goes on with it open.
const HUSH_TIME_MAX: Duration = Duration::from_secs(3);

/// An adapter that is open, for whoever dials.
pub(super) struct Open {
    pub(super) own: Own,
    pub(super) channel: u8,
    pub(super) facts: AdapterFacts,
    pub(super) slots: Arc<Slots>,
    pub(super) calls: Calls,
    /// One dial at a time: a controller makes one connection after the other.
    pub(super) turn: Mutex<()>,
    pub(super) waiting: Semaphore,
    /// How many dial or wait to.
    dialling: watch::Sender<usize>,
    hears: watch::Sender<bool>,
    /// Whether connections are still to be ended that this end has made.
    ending: watch::Sender<bool>,
    connected: mpsc::Sender<[u8; 6]>,
    pub(super) desk: Arc<Desk>,
}

impl Open {
    /// The ear is closed until this is dropped: a controller that scans hardly connects.
    pub(super) async fn hush(&self) -> Hush<'_> {
        self.dialling.send_modify(|dialling| *dialling += 1);
        let hush = Hush(&self.dialling);
        let mut hears = self.hears.subscribe();
        let _ = timeout(HUSH_TIME_MAX, hears.wait_for(|hears| !hears)).await;
        hush
    }

    /// Until the connections are ended that this end has made and has no link over any more: the next may
    /// be to the same device, under another address.
    pub(super) async fn ended(&self) {
        let mut ending = self.ending.subscribe();
        let _ = timeout(ENDED_TIME_MAX, ending.wait_for(|ending| !ending)).await;
    }

    /// A device is connected.
    pub(super) fn connected(&self, of: [u8; 6]) {
        let _ = self.connected.try_send(of);
    }
}

/// See [`Open::hush`].
pub(super) struct Hush<'a>(&'a watch::Sender<usize>);

impl Drop for Hush<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|dialling| *dialling = dialling.saturating_sub(1));
    }
}

/// What an adapter is opened with.
pub(super) struct Opening {
    pub(super) shared: Arc<Shared>,
    pub(super) calls: Calls,
    pub(super) session: Session,
    pub(super) adapter: u16,
    pub(super) state: AdapterState,
    pub(super) events: mpsc::Sender<BluetoothEvent>,
    pub(super) stop: Stop,
    /// No other node is under this BlueZ.
    pub(super) first: bool,
}

/// Opens an adapter, tells so, and keeps it until it is told to stop. An error means that it could not be
/// opened.
pub(super) async fn keep(with: Opening) -> Result<(), ()> {
    let Opening { shared, calls, session, adapter, state, events, stop, first } = with;
    let name = format!("hci{adapter}");
    let bluez = session.adapter(&name).map_err(drop)?;
    let own = Own { address: state.address, random: state.random };
    let (ended, ends) = mpsc::channel(ENDED_MAX);
    let (connected, connects) = mpsc::channel(CONNECTED_MAX);
    let slots = Slots::new(ended);
    let (listener, channel) = channels::open(own).map_err(drop)?;
    let nameless = state.alias == state.name || state.alias == NEUTRAL_NAME;
    if nameless && state.alias != NEUTRAL_NAME {
        let _ = calls.set_alias(adapter, NEUTRAL_NAME).await;
    }
    end_what_was_left(&calls, adapter).await;
    let desk = Desk::new(adapter, calls.clone(), slots.clone(), events.clone());
    // Without it there are still the channels.
    let _service = desk.serve(&bluez, first).await.ok();
    let facts = AdapterFacts {
        name: (!nameless).then_some(state.alias),
        addresses: privacy::addresses(state.extended),
    };
    let open = Arc::new(Open {
        own,
        channel,
        facts,
        slots: slots.clone(),
        calls: calls.clone(),
        turn: Mutex::new(()),
        waiting: Semaphore::new(DIALS_WAITING_MAX),
        dialling: watch::Sender::new(0),
        hears: watch::Sender::new(false),
        ending: watch::Sender::new(false),
        connected,
        desk,
    });
    shared.opened(adapter, open.clone());
    let mut speaker = Speaker {
        adapter,
        open: open.clone(),
        voice: Voice::new(bluez),
        ear: Ear::new(calls.clone(), adapter),
        ends,
        connects,
        done_with: BTreeMap::new(),
        silenced_at: None,
        events: events.clone(),
    };
    let up = events.send(BluetoothEvent::Up { adapter, name });
    let told = tokio::select! {
        told = up => told.is_ok(),
        () = stop.cancelled() => false,
    };
    if told {
        let taking = channels::take(listener, adapter, slots, events.clone());
        let speaking = speaker.speak(&shared);
        tokio::select! {
            () = taking => {}
            () = speaking => {}
            () = stop.cancelled() => {}
        }
    }
    shared.closed(adapter);
    let give_back = async {
        speaker.fall_silent().await;
        if nameless {
            let _ = calls.set_alias(adapter, "").await;
        }
    };
    let _ = timeout(CLOSE_TIME_MAX, give_back).await;
    Ok(())
}

/// Ends connections to our like of which nobody knows any more: this program was killed while it had them.
async fn end_what_was_left(calls: &Calls, adapter: u16) {
    let Ok((_, devices)) = calls.all().await else { return };
    for told in devices {
        if let Told::Device { adapter: by, address, seen } = told
            && by == adapter
            && seen.said.is_some()
            && seen.connected == Some(true)
        {
            calls.dismiss(adapter, address).await;
        }
    }
}

/// What is said and heard, and the devices that links have ended with.
struct Speaker {
    adapter: u16,
    open: Arc<Open>,
    voice: Voice,
    ear: Ear,
    ends: mpsc::Receiver<Ended>,
    connects: mpsc::Receiver<[u8; 6]>,
    /// Devices whose connections are to be ended, and when.
    done_with: BTreeMap<[u8; 6], (Ended, Instant)>,
    silenced_at: Option<Instant>,
    events: mpsc::Sender<BluetoothEvent>,
}

impl Speaker {
    /// Says and hears what is wished. Never ends.
    async fn speak(&mut self, shared: &Shared) {
        let mut wishes = shared.wishes(self.adapter);
        let mut dialling = self.open.dialling.subscribe();
        loop {
            let wish = *wishes.borrow_and_update();
            let dials = *dialling.borrow_and_update() > 0;
            // The ear first: of two that begin together, the one that speaks last finds the other listening. What
            // comes while BlueZ begins to listen may be lost.
            self.ear.listen(wish.listen && !dials).await;
            self.open.hears.send_replace(self.ear.hears());
            self.voice.say(wish.said).await;
            let ending = self.done_with.values().any(|(ended, _)| ended.dialled);
            self.open.ending.send_replace(ending);
            let done_with = self.done_with.values().map(|(_, at)| *at).min();
            let times = [self.voice.retry_at(), self.ear.retry_at(), self.silenced_at, done_with];
            let next = times.into_iter().flatten().min();
            let timer = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // All are cancel-safe. The senders live in `shared` and `open`.
            tokio::select! {
                _ = wishes.changed() => {}
                _ = dialling.changed() => {}
                Some(of) = self.connects.recv() => {
                    self.done_with.remove(&of);
                    // From the first on: whoever connects again and again must not keep it silent.
                    self.silenced_at.get_or_insert(Instant::now() + SILENCED_AFTER);
                    let connected = BluetoothEvent::Connected { adapter: self.adapter };
                    let _ = self.events.send(connected).await;
                }
                Some(ended) = self.ends.recv() => self.end(ended),
                () = timer => {}
            }
            if self.silenced_at.is_some_and(|at| at <= Instant::now()) {
                self.silenced_at = None;
                if self.voice.fall_silent() {
                    let silenced = BluetoothEvent::Silenced { adapter: self.adapter };
                    let _ = self.events.send(silenced).await;
                }
            }
            self.end_connections(Instant::now()).await;
        }
    }

    fn end(&mut self, ended: Ended) {
        let after = if ended.dialled { END_AFTER } else { END_AFTER_TAKEN };
        if self.done_with.len() < ENDED_MAX {
            self.done_with.insert(ended.of, (ended, Instant::now() + after));
        }
    }

    async fn end_connections(&mut self, due: Instant) {
        let due: Vec<_> =
            self.done_with.iter().filter(|(_, (_, at))| *at <= due).map(|(of, _)| *of).collect();
        for of in due {
            self.done_with.remove(&of);
            if !self.open.slots.has(of) {
                self.open.calls.dismiss(self.adapter, of).await;
            }
        }
    }

    async fn fall_silent(&mut self) {
        self.voice.say(None).await;
        self.ear.listen(false).await;
        while let Ok(ended) = self.ends.try_recv() {
            self.end(ended);
        }
        self.end_connections(Instant::now() + END_AFTER_TAKEN).await;
    }
}
