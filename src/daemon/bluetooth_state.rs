//! How Bluetooth stands in a running node, for people to see.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use postrider_base::NodeId;
use tokio::sync::Notify;

use crate::desk::reply::{BluetoothLine, NearLine};

/// What is shown, and the bell of whoever wants to know who is here.
#[derive(Debug, Default)]
pub struct BluetoothState {
    now: Mutex<Now>,
    #[cfg_attr(not(all(feature = "bluetooth", target_os = "linux")), expect(dead_code))]
    pub(super) search: Notify,
}

/// What is known at present.
#[derive(Clone, Debug, Default)]
pub(super) struct Now {
    /// It is used at all.
    pub on: bool,
    /// Why none of it can be used, and whether that is all right: a machine that has no Bluetooth.
    pub trouble: Option<(String, bool)>,
    pub adapters: BTreeMap<u16, AdapterNow>,
    pub near: Vec<NearNow>,
    pub strangers: usize,
}

/// One adapter.
#[derive(Clone, Debug, Default)]
pub(super) struct AdapterNow {
    pub name: String,
    /// Why it cannot be used.
    pub trouble: Option<String>,
    /// What it cannot do although it can be used.
    pub lacks: Vec<String>,
}

/// A contact who is heard or linked.
#[derive(Clone, Debug)]
pub(super) struct NearNow {
    pub node: NodeId,
    pub name: String,
    pub linked: bool,
    pub ago_s: Option<u64>,
    pub strength_dbm: Option<i16>,
}

impl BluetoothState {
    pub(super) fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens without a pause for a while, for a person who waits.
    pub fn search(&self) {
        #[cfg(all(feature = "bluetooth", target_os = "linux"))]
        self.search.notify_one();
    }

    /// How it stands.
    pub fn line(&self) -> BluetoothLine {
        self.now().line()
    }
}

impl Now {
    pub(super) fn line(&self) -> BluetoothLine {
        let (usable, unusable): (Vec<&AdapterNow>, Vec<_>) =
            self.adapters.values().partition(|adapter| adapter.trouble.is_none());
        let (state, why) = match (&self.trouble, usable.is_empty(), unusable.first()) {
            _ if !self.on => ("off", "it is switched off in the settings".to_owned()),
            (_, false, _) => ("on", self.said(&usable)),
            (Some((why, true)), ..) => ("absent", why.clone()),
            (Some((why, false)), ..) => ("trouble", why.clone()),
            (None, true, Some(adapter)) => {
                let why = adapter.trouble.as_deref().unwrap_or_default();
                ("trouble", format!("{}: {why}", adapter.name))
            }
            (None, true, None) => ("absent", "no adapter was seen yet".to_owned()),
        };
        let near = |near: &NearNow| NearLine {
            id: near.node.to_string(),
            name: near.name.clone(),
            linked: near.linked,
            ago_s: near.ago_s,
            strength_dbm: near.strength_dbm,
        };
        BluetoothLine {
            state: state.into(),
            why,
            adapters: usable.iter().map(|adapter| adapter.name.clone()).collect(),
            near: self.near.iter().map(near).collect(),
            strangers: self.strangers as u64,
        }
    }

    fn said(&self, usable: &[&AdapterNow]) -> String {
        let names: Vec<&str> = usable.iter().map(|adapter| &*adapter.name).collect();
        let lacks: String = usable
            .iter()
            .flat_map(|adapter| {
                adapter.lacks.iter().map(|what| format!("; {}: {what}", adapter.name))
            })
            .collect();
        let linked: Vec<&str> =
            self.near.iter().filter(|near| near.linked).map(|near| &*near.name).collect();
        let heard: Vec<&str> =
            self.near.iter().filter(|near| !near.linked).map(|near| &*near.name).collect();
        let mut said = format!("by {}", names.join(", "));
        for (what, names) in [("linked to", linked), ("hears", heard)] {
            if !names.is_empty() {
                said.push_str(&format!("; {what} {}", names.join(", ")));
            }
        }
        if self.near.is_empty() {
            said.push_str("; nobody whom you know is heard");
        }
        if self.strangers > 0 {
            said.push_str(&format!("; adverts of others: {}", self.strangers));
        }
        said + &lacks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(name: &str, trouble: Option<&str>) -> AdapterNow {
        AdapterNow { name: name.into(), trouble: trouble.map(str::to_owned), lacks: Vec::new() }
    }

    #[test]
    fn one_line_says_how_it_stands() {
        let state = BluetoothState::default();
        assert_eq!(state.line().state, "off");
        state.now().on = true;
        state.now().trouble = Some(("there is no adapter".into(), true));
        let line = state.line();
        assert_eq!((&*line.state, &*line.why), ("absent", "there is no adapter"));
        state.now().trouble = None;
        state.now().adapters.insert(0, adapter("hci0", Some("it is blocked")));
        let line = state.line();
        assert_eq!((&*line.state, &*line.why), ("trouble", "hci0: it is blocked"));
        state.now().adapters.insert(1, adapter("hci1", None));
        let line = state.line();
        assert_eq!(&*line.state, "on");
        assert_eq!(line.why, "by hci1; nobody whom you know is heard");
        assert_eq!(line.adapters, ["hci1"]);
        let node = postrider_base::NodeSecret::from_seed([1; 32]).id();
        let near = |name: &str, linked| NearNow {
            node,
            name: name.into(),
            linked,
            ago_s: Some(2),
            strength_dbm: Some(-60),
        };
        state.now().near = vec![near("Bob", true), near("Sam", false)];
        state.now().strangers = 3;
        assert_eq!(state.line().why, "by hci1; linked to Bob; hears Sam; adverts of others: 3");
    }
}
