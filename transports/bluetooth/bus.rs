//! BlueZ's daemon over the system bus: what it tells of adapters and devices, and what it is asked.
//!
//! bluer tells that a device is there, but neither what it said nor that the daemon has ended, and each
//! question more is a round trip per stranger in the room. So the signals are read here, by a connection
//! of our own; bluer has what takes an object on the bus: advertisements, GATT, profiles.
//!
//! Anybody may send signals over the system bus: only those of whoever owns BlueZ's name count.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dbus::{
    Message,
    arg::{PropMap, RefArg, Variant, prop_cast},
    message::{MatchRule, SignalArgs as _},
    nonblock::{
        MsgMatch, Proxy, SyncConnection,
        stdintf::org_freedesktop_dbus::{
            ObjectManager as _, ObjectManagerInterfacesAdded, ObjectManagerInterfacesRemoved,
            Properties as _, PropertiesPropertiesChanged,
        },
    },
    strings::Path,
};
use tokio::{sync::mpsc, task::AbortHandle};

use super::{AddressKind, SAID_BYTES, SERVICE, Trouble};

/// BlueZ's name on the bus.
const BLUEZ: &str = "org.bluez";
/// The bus itself, by name and by interface.
const DBUS: &str = "org.freedesktop.DBus";
const OWNER_CHANGED: &str = "NameOwnerChanged";
const ADAPTER: &str = "org.bluez.Adapter1";
const ADVERTISING: &str = "org.bluez.LEAdvertisingManager1";
const DEVICE: &str = "org.bluez.Device1";
/// BlueZ answers within milliseconds, and within seconds while an adapter starts.
pub(super) const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// What was told and not yet looked at. In a full room a scan finds a few hundred devices a minute;
/// what is more is lost, and all of it asked for again.
const TOLD_MAX: usize = 1024;

/// What a controller says that cannot tell how strongly it heard (Core Specification, volume 4, part E, 7.7.65.13).
const UNKNOWN_DBM: i16 = 127;

/// What the bus tells.
#[derive(Debug)]
pub(super) enum Told {
    /// The daemon is there, or not any more.
    Service(bool),
    /// Something about an adapter changed, or it came, or it is gone.
    Adapter(u16),
    /// Something about a device.
    Device {
        /// By which adapter.
        adapter: u16,
        /// Which one.
        address: [u8; 6],
        /// What.
        seen: Seen,
    },
    /// The bus itself is gone.
    Lost,
}

/// What was told about a device, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) kind: Option<AddressKind>,
    pub(super) said: Option<[u8; SAID_BYTES]>,
    pub(super) strength_dbm: Option<i16>,
    pub(super) connected: Option<bool>,
    pub(super) paired: Option<bool>,
    /// Whether it has our service over RFCOMM.
    pub(super) rfcomm: bool,
}

/// What BlueZ knows about an adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AdapterState {
    pub(super) powered: bool,
    pub(super) address: [u8; 6],
    pub(super) random: bool,
    /// What the machine calls itself.
    pub(super) name: String,
    /// What others are told.
    pub(super) alias: String,
    /// Whether it can advertise.
    pub(super) le: bool,
    /// Whether each advertisement may have an address of its own (extended advertising).
    pub(super) extended: bool,
}

/// A connection to the bus; ends when dropped.
pub(super) struct Bus {
    pub(super) calls: Calls,
    told: mpsc::Receiver<Told>,
    /// Something was told and lost.
    missed: Arc<AtomicBool>,
    carrier: AbortHandle,
    _matches: Vec<MsgMatch>,
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

impl Bus {
    /// Connects and subscribes.
    pub(super) async fn connect() -> Result<Self, dbus::Error> {
        let connecting = tokio::task::spawn_blocking(dbus_tokio::connection::new_system_sync);
        let (carrier, connection) =
            connecting.await.map_err(|error| dbus::Error::new_failed(&error.to_string()))??;
        let (tell, told) = mpsc::channel(TOLD_MAX);
        let lost = tell.clone();
        let owner: Owner = Arc::default();
        let owned = owner.clone();
        let carrier = tokio::spawn(async move {
            carrier.await;
            // Nobody is there to answer: nothing more is asked.
            *held(&owned) = None;
            let _ = lost.send(Told::Lost).await;
        });
        let carrier = carrier.abort_handle();
        let missed = Arc::new(AtomicBool::new(false));
        let calls = Calls { connection, owner };
        let mut bus = Self { calls, told, missed, carrier, _matches: Vec::new() };
        bus.subscribe(&tell).await?;
        bus.calls.find_owner().await;
        Ok(bus)
    }

    async fn subscribe(&mut self, tell: &mpsc::Sender<Told>) -> Result<(), dbus::Error> {
        let (root, below) = (Path::from("/"), Path::from("/org/bluez"));
        let mut changes = PropertiesPropertiesChanged::match_rule(None, Some(&below));
        changes.path_is_namespace = true;
        let rules = [
            MatchRule::new_signal(DBUS, OWNER_CHANGED),
            ObjectManagerInterfacesAdded::match_rule(None, Some(&root)).static_clone(),
            ObjectManagerInterfacesRemoved::match_rule(None, Some(&root)).static_clone(),
            changes.static_clone(),
        ];
        for rule in rules {
            let (tell, missed, owner) =
                (tell.clone(), self.missed.clone(), self.calls.owner.clone());
            let heard = move |message: Message| {
                for told in read(&message, &owner) {
                    if tell.try_send(told).is_err() {
                        missed.store(true, Ordering::Relaxed);
                    }
                }
                true
            };
            let subscribed = self.calls.connection.add_match(rule).await?;
            self._matches.push(subscribed.msg_cb(heard));
        }
        Ok(())
    }

    /// The next that is told. Cancel-safe.
    pub(super) async fn next(&mut self) -> Told {
        self.told.recv().await.unwrap_or(Told::Lost)
    }

    /// Whether something was told that nobody read, since this was asked last.
    pub(super) fn has_missed(&self) -> bool {
        self.missed.swap(false, Ordering::Relaxed)
    }
}

/// What BlueZ can be asked; clones belong to one connection.
#[derive(Clone)]
pub(super) struct Calls {
    connection: Arc<SyncConnection>,
    /// The unique name of whoever is BlueZ.
    owner: Owner,
}

type Owner = Arc<Mutex<Option<String>>>;

fn held(owner: &Owner) -> MutexGuard<'_, Option<String>> {
    owner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Calls {
    /// Whether the daemon is there. Nothing is asked of one that is not: the bus would start it, and
    /// whoever stopped it has a reason.
    pub(super) fn has_service(&self) -> bool {
        held(&self.owner).is_some()
    }

    async fn find_owner(&self) {
        let bus = Proxy::new(DBUS, "/org/freedesktop/DBus", ANSWER_TIME_MAX, &*self.connection);
        let asked = bus.method_call(DBUS, "GetNameOwner", (BLUEZ,)).await;
        let owner = asked.ok().map(|(owner,): (String,)| owner);
        *held(&self.owner) = owner;
    }

    fn proxy<'a>(
        &'a self,
        path: impl Into<Path<'a>>,
    ) -> Result<Proxy<'a, &'a SyncConnection>, dbus::Error> {
        if !self.has_service() {
            return Err(dbus::Error::new_custom(
                "org.freedesktop.DBus.Error.ServiceUnknown",
                "BlueZ is not there",
            ));
        }
        Ok(Proxy::new(BLUEZ, path, ANSWER_TIME_MAX, &*self.connection))
    }

    /// The adapters there are, and every device that said something of ours, as if it was told.
    pub(super) async fn all(&self) -> Result<(Vec<u16>, Vec<Told>), dbus::Error> {
        let objects = self.proxy("/")?.get_managed_objects().await?;
        let mut adapters = Vec::new();
        let mut devices = Vec::new();
        for (path, interfaces) in objects {
            match object(&path) {
                Some(Object::Adapter(number)) if interfaces.contains_key(ADAPTER) => {
                    adapters.push(number)
                }
                Some(Object::Device(adapter, address)) => {
                    if let Some(properties) = interfaces.get(DEVICE) {
                        devices.push(Told::Device { adapter, address, seen: seen(properties) });
                    }
                }
                _ => {}
            }
        }
        adapters.sort_unstable();
        Ok((adapters, devices))
    }

    /// An adapter as it is; `None` if there is none with this number.
    pub(super) async fn adapter(&self, number: u16) -> Result<Option<AdapterState>, dbus::Error> {
        let path = format!("/org/bluez/hci{number}");
        let proxy = self.proxy(path)?;
        let properties: PropMap = match proxy.get_all(ADAPTER).await {
            Ok(properties) => properties,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let advertising: Result<PropMap, _> = proxy.get_all(ADVERTISING).await;
        let text = |key| prop_cast::<String>(&properties, key).cloned().unwrap_or_default();
        let secondary = |advertising: &PropMap| {
            let channels = advertising.get("SupportedSecondaryChannels");
            channels
                .and_then(|channels| channels.0.as_iter())
                .is_some_and(|mut all| all.next().is_some())
        };
        Ok(Some(AdapterState {
            powered: prop_cast::<bool>(&properties, "Powered").copied().unwrap_or_default(),
            address: address(&text("Address"), ':').unwrap_or_default(),
            random: text("AddressType") == "random",
            name: text("Name"),
            alias: text("Alias"),
            le: advertising.is_ok(),
            extended: advertising.as_ref().is_ok_and(secondary),
        }))
    }

    /// What is known about a device.
    pub(super) async fn device(&self, adapter: u16, of: [u8; 6]) -> Option<Seen> {
        let proxy = self.proxy(device_path(adapter, of)).ok()?;
        let properties: PropMap = proxy.get_all(DEVICE).await.ok()?;
        Some(seen(&properties))
    }

    /// Begins to hear, or, if this end should be `hearing` already, asks for that anew.
    ///
    /// "In progress" says either that this end hears already or that the kernel is not free to begin, as in the
    /// ten seconds after BlueZ was killed while it heard, and then nothing is heard.
    pub(super) async fn start_hearing(
        &self,
        adapter: u16,
        hearing: bool,
    ) -> Result<(), dbus::Error> {
        let proxy = self.proxy(format!("/org/bluez/hci{adapter}"))?;
        // With any filter BlueZ also tells of those that are not "discoverable", which ours are not. The
        // duplicates are what says that somebody is still there.
        let mut filter = PropMap::new();
        filter.insert("Transport".into(), Variant(Box::new("le".to_owned())));
        filter.insert("DuplicateData".into(), Variant(Box::new(true)));
        let () = proxy.method_call(ADAPTER, "SetDiscoveryFilter", (filter,)).await?;
        match proxy.method_call(ADAPTER, "StartDiscovery", ()).await {
            Err(error) if error.name() == Some("org.bluez.Error.InProgress") => {
                if hearing {
                    return Ok(());
                }
                // Whichever it was, it is known now how that stands.
                let _ = self.stop_hearing(adapter).await;
                Err(error)
            }
            other => other,
        }
    }

    /// Hears no more.
    pub(super) async fn stop_hearing(&self, adapter: u16) -> Result<(), dbus::Error> {
        let proxy = self.proxy(format!("/org/bluez/hci{adapter}"))?;
        proxy.method_call(ADAPTER, "StopDiscovery", ()).await
    }

    /// Sets the name that others are told; empty: the machine's.
    pub(super) async fn set_alias(&self, adapter: u16, alias: &str) -> Result<(), dbus::Error> {
        self.proxy(format!("/org/bluez/hci{adapter}"))?.set(ADAPTER, "Alias", alias).await
    }

    /// Forgets a device that is neither connected nor paired; whether it is forgotten.
    pub(super) async fn forget(&self, adapter: u16, of: [u8; 6]) -> bool {
        let Some(seen) = self.device(adapter, of).await else { return true };
        if seen.connected == Some(true) || seen.paired != Some(false) {
            return false;
        }
        self.remove(adapter, of).await
    }

    /// Ends whatever connection there is to a device that is not paired, and forgets it.
    pub(super) async fn dismiss(&self, adapter: u16, of: [u8; 6]) {
        let Some(seen) = self.device(adapter, of).await else { return };
        if seen.paired == Some(false) {
            self.remove(adapter, of).await;
        }
    }

    async fn remove(&self, adapter: u16, of: [u8; 6]) -> bool {
        let Ok(proxy) = self.proxy(format!("/org/bluez/hci{adapter}")) else { return false };
        let removed: Result<(), _> = proxy
            .method_call(ADAPTER, "RemoveDevice", (Path::from(device_path(adapter, of)),))
            .await;
        removed.is_ok()
    }
}

/// What an error of the bus or of BlueZ means.
pub(super) fn trouble(error: &dbus::Error) -> Trouble {
    match error.name().unwrap_or_default() {
        "org.freedesktop.DBus.Error.AccessDenied" | "org.freedesktop.DBus.Error.AuthFailed" => {
            Trouble::Forbidden
        }
        "org.bluez.Error.NotReady" => Trouble::Off,
        _ => Trouble::NoService,
    }
}

fn is_absent(error: &dbus::Error) -> bool {
    let name = error.name().unwrap_or_default();
    ["UnknownObject", "UnknownInterface", "UnknownMethod", "InvalidArgs"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// What a path of BlueZ's names.
enum Object {
    Adapter(u16),
    Device(u16, [u8; 6]),
}

fn object(path: &str) -> Option<Object> {
    let rest = path.strip_prefix("/org/bluez/hci")?;
    match rest.split_once('/') {
        None => Some(Object::Adapter(rest.parse().ok()?)),
        Some((number, device)) => {
            Some(Object::Device(number.parse().ok()?, address(device.strip_prefix("dev_")?, '_')?))
        }
    }
}

fn device_path(adapter: u16, [a, b, c, d, e, f]: [u8; 6]) -> String {
    format!("/org/bluez/hci{adapter}/dev_{a:02X}_{b:02X}_{c:02X}_{d:02X}_{e:02X}_{f:02X}")
}

fn address(text: &str, between: char) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(between);
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

/// Reads a signal; also takes note of who is BlueZ.
fn read(message: &Message, owner: &Owner) -> Vec<Told> {
    let sender = message.sender();
    let sender = sender.as_deref().unwrap_or_default();
    if sender == DBUS {
        let Ok((name, _, new)) = message.read3::<String, String, String>() else {
            return Vec::new();
        };
        if name != BLUEZ || message.member().as_deref() != Some(OWNER_CHANGED) {
            return Vec::new();
        }
        let there = !new.is_empty();
        // One that is replaced at once was away all the same: all that it knew of us is gone.
        let was_there = std::mem::replace(&mut *held(owner), there.then_some(new)).is_some();
        let gone = (was_there || !there).then_some(Told::Service(false));
        return gone.into_iter().chain(there.then_some(Told::Service(true))).collect();
    }
    if held(owner).as_deref() != Some(sender) {
        return Vec::new();
    }
    let path = message.path();
    let path = path.as_deref().unwrap_or_default();
    let told = if let Some(added) = ObjectManagerInterfacesAdded::from_message(message) {
        match object(&added.object) {
            Some(Object::Adapter(number)) => Some(Told::Adapter(number)),
            Some(Object::Device(adapter, address)) => added
                .interfaces
                .get(DEVICE)
                .map(|all| Told::Device { adapter, address, seen: seen(all) }),
            None => None,
        }
    } else if let Some(removed) = ObjectManagerInterfacesRemoved::from_message(message) {
        match object(&removed.object) {
            Some(Object::Adapter(number)) => Some(Told::Adapter(number)),
            Some(Object::Device(adapter, address))
                if removed.interfaces.iter().any(|name| name == DEVICE) =>
            {
                let seen = Seen { connected: Some(false), ..Seen::default() };
                Some(Told::Device { adapter, address, seen })
            }
            _ => None,
        }
    } else if let Some(changed) = PropertiesPropertiesChanged::from_message(message) {
        let all = &changed.changed_properties;
        match (object(path), changed.interface_name.as_str()) {
            (Some(Object::Adapter(number)), ADAPTER) => {
                all.contains_key("Powered").then_some(Told::Adapter(number))
            }
            (Some(Object::Device(adapter, address)), DEVICE) => {
                Some(Told::Device { adapter, address, seen: seen(all) })
            }
            _ => None,
        }
    } else {
        None
    };
    // Strangers who say nothing of ours are most of a room.
    let matters = |told: &Told| match told {
        Told::Device { seen, .. } => seen.said.is_some() || seen.connected.is_some(),
        _ => true,
    };
    told.into_iter().filter(matters).collect()
}

/// What properties of a device say.
fn seen(properties: &PropMap) -> Seen {
    let kind = prop_cast::<String>(properties, "AddressType").map(|kind| match kind.as_str() {
        "random" => AddressKind::Random,
        _ => AddressKind::Public,
    });
    let uuids = properties.get("UUIDs").and_then(|uuids| uuids.0.as_iter());
    let rfcomm = super::paired::PROFILE.to_string();
    Seen {
        kind,
        said: properties.get("ServiceData").and_then(|data| said(&*data.0)),
        strength_dbm: prop_cast::<i16>(properties, "RSSI")
            .copied()
            .filter(|dbm| *dbm != UNKNOWN_DBM),
        connected: prop_cast::<bool>(properties, "Connected").copied(),
        paired: prop_cast::<bool>(properties, "Paired").copied(),
        rfcomm: uuids.is_some_and(|mut uuids| uuids.any(|uuid| uuid.as_str() == Some(&rfcomm))),
    }
}

/// What is said under our service, in a dictionary of services.
fn said(data: &dyn RefArg) -> Option<[u8; SAID_BYTES]> {
    let ours = SERVICE.to_string();
    let mut all = data.as_iter()?;
    while let (Some(service), Some(value)) = (all.next(), all.next()) {
        if service.as_str().is_some_and(|service| service.eq_ignore_ascii_case(&ours)) {
            return bytes(value);
        }
    }
    None
}

/// Exactly as many bytes, be they within a variant or not.
fn bytes(value: &dyn RefArg) -> Option<[u8; SAID_BYTES]> {
    let mut said = [0; SAID_BYTES];
    let mut all = value.as_iter()?;
    let first = all.next()?;
    if first.as_u64().is_none() {
        return all.next().is_none().then(|| bytes(first)).flatten();
    }
    let mut numbers = std::iter::once(first)
        .chain(all)
        .map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()));
    for byte in &mut said {
        *byte = numbers.next()??;
    }
    numbers.next().is_none().then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(uuid: String, bytes: Vec<u8>) -> PropMap {
        let mut services = PropMap::new();
        services.insert(uuid, Variant(Box::new(bytes)));
        let mut properties = PropMap::new();
        properties.insert("ServiceData".into(), Variant(Box::new(services)));
        properties.insert("RSSI".into(), Variant(Box::new(-60_i16)));
        properties.insert("AddressType".into(), Variant(Box::new("random".to_owned())));
        properties
    }

    #[test]
    fn what_is_said_is_ten_bytes_under_our_service() {
        let ten: Vec<u8> = (1..=10).collect();
        let seen_of = |uuid: String, bytes: &[u8]| seen(&data(uuid, bytes.to_vec()));
        let good = seen_of(SERVICE.to_string(), &ten);
        assert_eq!(good.said, Some([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
        assert_eq!((good.kind, good.strength_dbm), (Some(AddressKind::Random), Some(-60)));
        assert_eq!(seen_of(SERVICE.to_string(), &ten[..9]).said, None);
        assert_eq!(seen_of(SERVICE.to_string(), &[ten.clone(), vec![11]].concat()).said, None);
        assert_eq!(seen_of(SERVICE.to_string(), &[]).said, None);
        assert_eq!(seen_of("0000180f-0000-1000-8000-00805f9b34fb".into(), &ten).said, None);
    }

    #[test]
    fn properties_of_other_types_are_nothing() {
        let mut odd = PropMap::new();
        odd.insert("ServiceData".into(), Variant(Box::new(7_u32)));
        odd.insert("RSSI".into(), Variant(Box::new("loud".to_owned())));
        odd.insert("UUIDs".into(), Variant(Box::new(true)));
        odd.insert("Connected".into(), Variant(Box::new(1_u8)));
        assert_eq!(seen(&odd), Seen::default());
    }

    #[test]
    fn paths_name_adapters_and_devices() {
        assert!(matches!(object("/org/bluez/hci3"), Some(Object::Adapter(3))));
        let path = device_path(1, [0xc0, 0xde, 0, 0, 0, 1]);
        assert_eq!(path, "/org/bluez/hci1/dev_C0_DE_00_00_00_01");
        let Some(Object::Device(1, address)) = object(&path) else { panic!("a device") };
        assert_eq!(address, [0xc0, 0xde, 0, 0, 0, 1]);
        for none in [
            "/",
            "/org/bluez",
            "/org/bluez/hci",
            "/org/bluez/hci99999",
            "/org/bluez/hci0/dev_C0",
            "/org/bluez/hci0/dev_C0_DE_00_00_00_01/service1",
        ] {
            assert!(object(none).is_none(), "{none}");
        }
    }

    #[test]
    fn signals_of_others_than_bluez_are_not_believed() {
        let owner: Owner = Arc::new(Mutex::new(Some(":1.7".to_owned())));
        let changed = PropertiesPropertiesChanged {
            interface_name: DEVICE.to_owned(),
            changed_properties: data(SERVICE.to_string(), (1..=10).collect()),
            invalidated_properties: Vec::new(),
        };
        let from = |sender: &str| {
            let mut message = changed.to_emit_message(&Path::from(device_path(0, [1; 6])));
            message.set_sender(Some(sender.into()));
            read(&message, &owner)
        };
        assert!(from(":1.8").is_empty());
        assert_eq!(from(":1.7").len(), 1);
    }
}
