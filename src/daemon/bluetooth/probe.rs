//! How Bluetooth stands, told by what the transport tells: in a daemon and without one.

use std::collections::BTreeSet;

use postrider_base::NodeId;
use postrider_engine::near::advert::{NearKey, Said};
use postrider_transports::{
    bluetooth::{Bluetooth, BluetoothEvent, Trouble},
    contract::Stop,
};
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, timeout_at},
};

use super::{EVENTS_MAX, key, options, radio::Radio};
use crate::{
    daemon::bluetooth_state::{AdapterNow, NearNow, Now},
    desk::{Desk, reply::BluetoothLine},
};

/// What Bluetooth is good for on this machine, without a daemon: listens for so long, and says nothing.
pub async fn probe_bluetooth(desk: &Desk, listen: Duration) -> BluetoothLine {
    let settings = &desk.home().config.bluetooth;
    let radio = Bluetooth::new(options(settings));
    let keys: Vec<(NodeId, NearKey)> = desk
        .home()
        .contacts()
        .map_or_else(|_| Vec::new(), |known| known.linked().map(key).collect());
    let (events, mut heard) = mpsc::channel(EVENTS_MAX);
    let stop = Stop::new();
    let (mut now, mut others) = (Now { on: true, ..Now::default() }, BTreeSet::new());
    let until = Instant::now() + listen;
    let running = radio.run(events, stop.clone());
    let listening = async {
        while let Ok(Some(event)) = timeout_at(until, heard.recv()).await {
            match event {
                BluetoothEvent::Up { adapter, name } => {
                    now.up(adapter, &name);
                    radio.listen(adapter, true);
                    now.lacks(adapter, radio.lacks(adapter));
                }
                BluetoothEvent::Down { adapter, trouble } => now.down(adapter, trouble),
                BluetoothEvent::Heard { said, strength_dbm, .. } => {
                    now.hear(desk, &keys, &mut others, &said, strength_dbm);
                }
                _ => {}
            }
            // Nothing will be heard.
            if now.trouble.is_some() {
                break;
            }
        }
        stop.cancel();
    };
    // It ends when told to.
    tokio::join!(running, listening);
    now.strangers = others.len();
    now.line()
}

/// As many as are counted.
const OTHERS_MAX: usize = 1_024;

impl Now {
    pub(super) fn up(&mut self, adapter: u16, name: &str) {
        self.trouble = None;
        let up = AdapterNow { name: name.to_owned(), ..AdapterNow::default() };
        self.adapters.insert(adapter, up);
    }

    pub(super) fn down(&mut self, adapter: Option<u16>, trouble: Trouble) {
        let said = trouble.to_string();
        let Some(adapter) = adapter else {
            self.adapters.clear();
            self.trouble = Some((said, matches!(trouble, Trouble::NoService | Trouble::NoAdapter)));
            return;
        };
        if trouble == Trouble::Gone {
            self.adapters.remove(&adapter);
            return;
        }
        let down = self.adapters.entry(adapter).or_default();
        down.name = format!("hci{adapter}");
        (down.trouble, down.lacks) = (Some(said), Vec::new());
    }

    pub(super) fn lacks(&mut self, adapter: u16, lacks: Vec<String>) {
        if let Some(adapter) = self.adapters.get_mut(&adapter) {
            adapter.lacks = lacks;
        }
    }

    fn hear(
        &mut self,
        desk: &Desk,
        keys: &[(NodeId, NearKey)],
        others: &mut BTreeSet<Said>,
        said: &Said,
        strength_dbm: Option<i16>,
    ) {
        match keys.iter().find(|(_, key)| key.read(said).is_some()) {
            Some((node, _)) if self.near.iter().all(|near| near.node != *node) => {
                let (name, ago_s) = (desk.name_of(node), Some(0));
                self.near.push(NearNow { node: *node, name, linked: false, ago_s, strength_dbm });
            }
            Some(_) => {}
            None if others.len() < OTHERS_MAX => drop(others.insert(*said)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_transport_tells_is_shown_and_what_is_over_is_not() {
        let mut now = Now { on: true, ..Now::default() };
        now.down(None, Trouble::NoService);
        assert_eq!(now.line().state, "absent");
        now.up(0, "hci0");
        assert_eq!(now.line().state, "on");
        now.lacks(0, vec!["it takes no links and only dials".to_owned()]);
        assert!(now.line().why.ends_with("hci0: it takes no links and only dials"));
        now.down(Some(0), Trouble::Blocked);
        let line = now.line();
        assert_eq!(line.state, "trouble");
        assert!(line.why.starts_with("hci0: ") && line.why.contains("rfkill"), "{}", line.why);
        now.up(0, "hci0");
        assert_eq!(now.line().why, "by hci0; nobody whom you know is heard");
        now.down(Some(0), Trouble::Gone);
        assert_eq!(now.line().state, "absent");
        now.down(None, Trouble::Forbidden);
        assert_eq!(now.line().state, "trouble");
    }
}
