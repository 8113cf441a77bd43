//! Links to contacts where their cards, or their keys, say that they are.
//!
//! The contacts are looked at every few seconds, so a card that comes, is renewed or is forgotten
//! counts at once. Whoever is linked already by another way is not dialled.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use postrider_base::{NodeId, link::Address};
use postrider_transports::{contract::Transport, tls::TlsTransport};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{Duration, sleep},
};

use super::{
    dialer::{self, Peer},
    node::Node,
};
use crate::home::Contact;

/// How often contacts are looked at; their file is read only when it has changed.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Addresses that are dialled. Those who are not there cost a dial each half minute.
const DIALLED_MAX: usize = 256;

/// Dials contacts at the `tls:` addresses on their cards until told to stop.
pub(super) async fn run(node: Arc<Node>, tls: Arc<TlsTransport>, changes: watch::Receiver<u64>) {
    let mut dials = Dials::new(Arc::clone(&node), tls as Arc<dyn Transport>, changes);
    while !node.stop.is_cancelled() {
        dials.renew(|contact| on_card(contact, "tls"));
        tokio::select! {
            () = node.stop.cancelled() => {}
            () = sleep(LOOK_EVERY) => {}
        }
    }
    dials.end().await;
}

/// What a card says of a transport.
pub(super) fn on_card(contact: &Contact, scheme: &str) -> Vec<Address> {
    contact.addresses().filter(|address| address.scheme() == scheme).collect()
}

/// The dials of one transport.
pub(super) struct Dials {
    node: Arc<Node>,
    transport: Arc<dyn Transport>,
    changes: watch::Receiver<u64>,
    dialled: BTreeMap<(NodeId, String), AbortHandle>,
    tasks: JoinSet<()>,
}

impl Dials {
    pub fn new(
        node: Arc<Node>,
        transport: Arc<dyn Transport>,
        changes: watch::Receiver<u64>,
    ) -> Self {
        Self { node, transport, changes, dialled: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Dials those who are contacts now, where `addresses` says, and nobody else any more.
    pub fn renew(&mut self, addresses: impl Fn(&Contact) -> Vec<Address>) {
        // What cannot be read now is read in two seconds.
        let Ok(contacts) = self.node.desk.home().contacts() else { return };
        let own = self.node.desk.home().card.node;
        let wanted: BTreeSet<(NodeId, String)> = contacts
            .linked()
            .filter(|contact| contact.card.node != own)
            .flat_map(|contact| {
                let node = contact.card.node;
                addresses(contact).into_iter().map(move |address| (node, address.to_string()))
            })
            .take(DIALLED_MAX)
            .collect();
        self.dialled.retain(|peer, task| {
            let stays = wanted.contains(peer);
            if !stays {
                task.abort();
            }
            stays
        });
        while self.tasks.try_join_next().is_some() {}
        for (peer, address) in wanted {
            if self.dialled.contains_key(&(peer, address.clone())) {
                continue;
            }
            let Ok(at) = address.parse() else { continue };
            let to = Peer { address: at, node: Some(peer) };
            let dialling = dialer::keep(
                Arc::clone(&self.node),
                Arc::clone(&self.transport),
                to,
                self.changes.clone(),
                self.node.stop.clone(),
            );
            let task = self.tasks.spawn(dialling);
            self.dialled.insert((peer, address), task);
        }
    }

    /// Dials nobody any more.
    pub async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}
