//! Which adapters there are and which of them are used, through everything that can happen to them: they
//! are switched off, blocked, unplugged, and the service ends and comes back.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use bluer::Session;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};

use super::{
    AddressKind, BluetoothEvent, Place, Shared, Trouble,
    adapter::{Opening, keep},
    bus::{self, ANSWER_TIME_MAX, Bus, Seen, Told},
    paired,
};
use crate::contract::Stop;

/// Adapters used at once; more are left out. A machine has one, a test bench a few.
pub const ADAPTERS_MAX: usize = 16;
/// Devices of ours that are remembered, to be forgotten in BlueZ when they have not been heard for some
/// time. A room has some dozens, and each is another with every new address.
const DEVICES_MAX: usize = 256;
/// BlueZ itself forgets a stranger after half a minute without a word, unless it was told to keep all.
const DEVICE_AGE_MAX: Duration = Duration::from_secs(180);
/// As each is two questions to BlueZ, and nothing else is looked at meanwhile.
const FORGOTTEN_AT_ONCE_MAX: usize = 32;
/// How often all is looked at though nobody told of a change, and devices are forgotten.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// After an adapter that could not be opened, or a bus that was not there.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long adapters may take to close together.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(8);

/// Keeps the adapters in use until stopped, or until nobody listens any more.
pub(super) async fn run(shared: Arc<Shared>, events: mpsc::Sender<BluetoothEvent>, stop: Stop) {
    let mut keeper = Keeper {
        shared,
        events,
        told: BTreeMap::new(),
        rooms: BTreeMap::new(),
        tasks: JoinSet::new(),
        devices: BTreeMap::new(),
        pause: PAUSE_MIN,
        retry_at: None,
        session: None,
        profile: None,
    };
    loop {
        match timeout(ANSWER_TIME_MAX, Bus::connect()).await {
            Ok(Ok(bus)) => {
                keeper.keep(bus, &stop).await;
            }
            Ok(Err(error)) => keeper.down(None, bus::trouble(&error)).await,
            Err(_) => keeper.down(None, Trouble::NoService).await,
        }
        let events = keeper.events.clone();
        tokio::select! {
            () = sleep(keeper.pause) => {}
            () = stop.cancelled() => return,
            () = events.closed() => return,
        }
        keeper.pause = (keeper.pause * 2).min(PAUSE_MAX);
    }
}

struct Keeper {
    shared: Arc<Shared>,
    events: mpsc::Sender<BluetoothEvent>,
    /// What was told to be wrong, of each adapter and of all.
    told: BTreeMap<Option<u16>, Trouble>,
    /// Adapters in use.
    rooms: BTreeMap<u16, Room>,
    tasks: JoinSet<(u16, Result<(), ()>)>,
    /// Devices of ours: when each was heard last.
    devices: BTreeMap<(u16, [u8; 6]), Device>,
    pause: Duration,
    /// When to look again for an adapter that could not be opened.
    retry_at: Option<Instant>,
    session: Option<Session>,
    /// What takes links over RFCOMM: only one node under a BlueZ has it.
    profile: Option<AbortHandle>,
}

struct Room {
    address: [u8; 6],
    stop: Stop,
}

#[derive(Clone, Copy)]
struct Device {
    kind: AddressKind,
    heard: Instant,
}

impl Keeper {
    async fn keep(&mut self, mut bus: Bus, stop: &Stop) {
        let events = self.events.clone();
        let mut look = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked = false;
        loop {
            if bus.has_missed() {
                looked = false;
            }
            if !looked {
                looked = true;
                if !bus.calls.has_service() {
                    self.down(None, Trouble::NoService).await;
                } else if self.session.is_none() && !self.connect().await {
                    self.down(None, Trouble::NoService).await;
                    self.retry_later();
                } else {
                    if !self.is_first() {
                        self.profile = self.publish().await;
                    }
                    self.look_at_all(&bus).await;
                }
            }
            let retry = async {
                match self.retry_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            // All are cancel-safe.
            tokio::select! {
                told = bus.next() => match told {
                    Told::Service(true) => looked = false,
                    Told::Service(false) => {
                        self.all_down(Trouble::NoService).await;
                        self.withdraw();
                    }
                    Told::Adapter(adapter) => {
                        self.look_at(&bus, adapter).await;
                        self.see_whether_any(&bus).await;
                    }
                    Told::Device { adapter, address, seen } => self.hear(&bus, adapter, address, seen).await,
                    Told::Lost => {
                        self.session = None;
                        self.all_down(Trouble::NoService).await;
                        break;
                    }
                },
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok((adapter, result)) => {
                        self.rooms.remove(&adapter);
                        if result.is_err() {
                            self.retry_later();
                        }
                    }
                    // A panic below us: whose it was shows when all are looked at.
                    Err(_) => {
                        self.close_all().await;
                        self.retry_later();
                    }
                },
                _ = look.tick() => {
                    // A minute without trouble: the next is not one of a row.
                    if self.retry_at.is_none() {
                        self.pause = PAUSE_MIN;
                    }
                    self.forget(&bus).await;
                    looked = false;
                }
                () = retry => (self.retry_at, looked) = (None, false),
                () = stop.cancelled() => break,
                () = events.closed() => break,
            }
        }
        // While the bus can still be asked, and while nobody else can be the first.
        self.close_all().await;
        self.withdraw();
    }

    /// Whether this is the first node under this BlueZ.
    fn is_first(&self) -> bool {
        self.profile.as_ref().is_some_and(|profile| !profile.is_finished())
    }

    fn withdraw(&mut self) {
        if let Some(profile) = self.profile.take() {
            profile.abort();
        }
    }

    /// bluer's own connection, for what takes an object on the bus. It lives as long as the bus: each one
    /// that is dropped leaves a descriptor open.
    async fn connect(&mut self) -> bool {
        self.session = timeout(ANSWER_TIME_MAX, Session::new()).await.ok().and_then(Result::ok);
        self.session.is_some()
    }

    async fn publish(&mut self) -> Option<AbortHandle> {
        let session = self.session.as_ref()?;
        // Another program may have its number; then there is no RFCOMM.
        let profile = timeout(ANSWER_TIME_MAX, paired::publish(session)).await.ok()?.ok()?;
        let taking = paired::take(profile, self.shared.clone(), self.events.clone());
        Some(tokio::spawn(taking).abort_handle())
    }

    fn retry_later(&mut self) {
        self.retry_at = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    async fn look_at_all(&mut self, bus: &Bus) {
        let (adapters, devices) = match bus.calls.all().await {
            Ok(all) => all,
            Err(error) => {
                self.down(None, bus::trouble(&error)).await;
                return self.retry_later();
            }
        };
        let gone: Vec<u16> = self.told.keys().flatten().chain(self.rooms.keys()).copied().collect();
        for adapter in adapters.iter().copied().chain(gone) {
            self.look_at(bus, adapter).await;
        }
        self.any(&adapters).await;
        for told in devices {
            // What BlueZ remembers is not what is said now; only whom it is to forget matters.
            if let Told::Device { adapter, address, seen } = told
                && seen.said.is_some()
                && !self.devices.contains_key(&(adapter, address))
            {
                self.remember(adapter, address, seen.kind, Instant::now());
            }
        }
    }

    async fn see_whether_any(&mut self, bus: &Bus) {
        if let Ok((adapters, _)) = bus.calls.all().await {
            self.any(&adapters).await;
        }
    }

    async fn any(&mut self, adapters: &[u16]) {
        if adapters.iter().any(|adapter| self.is_wanted(*adapter)) {
            self.told.remove(&None);
        } else {
            self.down(None, Trouble::NoAdapter).await;
        }
    }

    fn is_wanted(&self, adapter: u16) -> bool {
        let names = &self.shared.options.adapters;
        names.is_empty() || names.iter().any(|name| *name == format!("hci{adapter}"))
    }

    async fn look_at(&mut self, bus: &Bus, adapter: u16) {
        if !self.is_wanted(adapter) {
            return;
        }
        let state = match bus.calls.adapter(adapter).await {
            Ok(Some(state)) => state,
            Ok(None) => return self.down(Some(adapter), Trouble::Gone).await,
            Err(error) => return self.down(Some(adapter), bus::trouble(&error)).await,
        };
        if !state.powered {
            let trouble = if is_blocked(adapter) { Trouble::Blocked } else { Trouble::Off };
            return self.down(Some(adapter), trouble).await;
        }
        if !state.le {
            return self.down(Some(adapter), Trouble::NoLe).await;
        }
        if self.rooms.get(&adapter).is_some_and(|room| room.address == state.address) {
            return;
        }
        self.close(adapter).await;
        let Some(session) = self.session.clone() else { return };
        if self.rooms.len() >= ADAPTERS_MAX {
            return;
        }
        self.told.remove(&Some(adapter));
        let stop = Stop::new();
        self.rooms.insert(adapter, Room { address: state.address, stop: stop.clone() });
        let (shared, calls, events) = (self.shared.clone(), bus.calls.clone(), self.events.clone());
        let first = self.is_first();
        let opening = Opening { shared, calls, session, adapter, state, events, stop, first };
        self.tasks.spawn(async move { (adapter, keep(opening).await) });
    }

    /// Tells of what is wrong, once.
    async fn down(&mut self, adapter: Option<u16>, trouble: Trouble) {
        if let Some(adapter) = adapter {
            self.close(adapter).await;
            let was_up = self.shared.down(adapter);
            // It was never there, as far as anybody was told.
            if trouble == Trouble::Gone && !was_up && !self.told.contains_key(&Some(adapter)) {
                return;
            }
        }
        if self.told.insert(adapter, trouble) == Some(trouble) {
            return;
        }
        let _ = self.events.send(BluetoothEvent::Down { adapter, trouble }).await;
    }

    async fn all_down(&mut self, trouble: Trouble) {
        self.close_all().await;
        for adapter in self.shared.all_up() {
            self.down(Some(adapter), trouble).await;
        }
        self.down(None, trouble).await;
    }

    async fn close(&mut self, adapter: u16) {
        let Some(room) = self.rooms.get(&adapter) else { return };
        room.stop.cancel();
        let closing = async {
            while self.rooms.contains_key(&adapter) {
                match self.tasks.join_next().await {
                    Some(Ok((ended, _))) => drop(self.rooms.remove(&ended)),
                    Some(Err(_)) => {}
                    None => break,
                }
            }
        };
        let _ = timeout(CLOSE_TIME_MAX, closing).await;
        self.rooms.remove(&adapter);
    }

    async fn close_all(&mut self) {
        self.rooms.values().for_each(|room| room.stop.cancel());
        let closing = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(CLOSE_TIME_MAX, closing).await.is_err() {
            self.tasks.shutdown().await;
        }
        self.rooms.clear();
    }

    async fn hear(&mut self, bus: &Bus, adapter: u16, address: [u8; 6], seen: Seen) {
        let Some(open) = self.shared.open(adapter) else { return };
        match seen.connected {
            Some(true) => open.connected(address),
            Some(false) => open.desk.gone(address),
            None => {}
        }
        let Some(said) = seen.said else { return };
        let mut kind =
            seen.kind.or(self.devices.get(&(adapter, address)).map(|device| device.kind));
        if kind.is_none() {
            kind = bus.calls.device(adapter, address).await.and_then(|seen| seen.kind);
        }
        let Some(kind) = kind else { return };
        self.remember(adapter, address, Some(kind), Instant::now());
        let from = Place { address, kind };
        // Full: lost, as much that is said is.
        let heard = BluetoothEvent::Heard { adapter, from, said, strength_dbm: seen.strength_dbm };
        let _ = self.events.try_send(heard);
    }

    fn remember(
        &mut self,
        adapter: u16,
        address: [u8; 6],
        kind: Option<AddressKind>,
        heard: Instant,
    ) {
        let at = (adapter, address);
        let Some(kind) = kind else { return };
        if self.devices.len() >= DEVICES_MAX && !self.devices.contains_key(&at) {
            let oldest =
                self.devices.iter().min_by_key(|(_, device)| device.heard).map(|(at, _)| *at);
            oldest.and_then(|oldest| self.devices.remove(&oldest));
        }
        self.devices.insert(at, Device { kind, heard });
    }

    /// Has BlueZ forget devices that have not been heard for some time.
    async fn forget(&mut self, bus: &Bus) {
        let old = |device: &Device| device.heard.elapsed() > DEVICE_AGE_MAX;
        let old: Vec<_> = self
            .devices
            .iter()
            .filter(|(_, device)| old(device))
            .map(|(at, _)| *at)
            .take(FORGOTTEN_AT_ONCE_MAX)
            .collect();
        for (adapter, address) in old {
            self.devices.remove(&(adapter, address));
            bus.calls.forget(adapter, address).await;
        }
    }
}

/// Whether a switch of the machine, or a flight mode, keeps an adapter off.
fn is_blocked(adapter: u16) -> bool {
    let Ok(entries) = fs::read_dir(format!("/sys/class/bluetooth/hci{adapter}")) else {
        return false;
    };
    let switches =
        entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("rfkill"));
    let on =
        |path: std::path::PathBuf| fs::read_to_string(path).is_ok_and(|text| text.trim() != "0");
    switches
        .into_iter()
        .any(|switch| ["soft", "hard"].iter().any(|kind| on(switch.path().join(kind))))
}
