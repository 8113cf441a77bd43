//! Links through a Yggdrasil network, for as long as this machine has an address in one.
//!
//! The address is looked for every few seconds: soon nothing goes through a network that has gone.
//! While it is there, a listener stands on it and every contact is dialled where its key says that
//! it would be, and where its card says. When it goes, the listener, the
//! dialling and all links through it end; mail waits in the spool as it does without any network.

use std::{net::Ipv6Addr, sync::Arc};

use postrider_base::NodeId;
use postrider_transports::{
    contract::Transport,
    tls::{PORT, TlsOptions},
    ygg::{ADMIN_SOCKETS, AdminSocket, Listen, YggTransport, address_of, ask, own_address},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    ARRIVALS_MAX,
    contacts::{Dials, LOOK_EVERY, on_card},
    node::Node,
    take_in,
};

/// Uses the network whenever it is there, until told to stop.
pub(super) async fn run(node: Arc<Node>, changes: watch::Receiver<u64>) {
    let stop = node.stop.clone();
    loop {
        if let Some(own) = own_address() {
            stay(&node, own, &changes).await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(LOOK_EVERY) => {}
        }
    }
}

/// Listens and dials until the address has gone.
async fn stay(node: &Arc<Node>, own: Ipv6Addr, changes: &watch::Receiver<u64>) {
    // As it may stand in `addresses`, for others to find this node there.
    let shown = format!("ygg://[{own}]:{PORT}");
    let is_by_key = address_of(&node.desk.home().card.node).as_str() == shown;
    let detail = if is_by_key { "under this node's key" } else { "under another key" };
    let shown = Some(shown);
    node.board.happened("overlay-up", None, shown.clone(), Some(detail.to_owned()));
    let gone = node.stop.child_token();
    let mut tasks = JoinSet::new();
    match transport(node, own, &gone) {
        Ok(transport) => {
            let (arrivals, arrived) = mpsc::channel(ARRIVALS_MAX);
            tasks.spawn(take_in(Arc::clone(node), arrived));
            let (listening, stop) = (Arc::clone(&transport), gone.clone());
            tasks.spawn(async move {
                if let Err(error) = listening.run(arrivals, stop).await {
                    tracing::warn!(%error, "listening in the overlay ended");
                }
            });
            tasks.spawn(tell_itself(own));
            let dialling = Arc::clone(&transport) as Arc<dyn Transport>;
            let mut dials = Dials::new(Arc::clone(node), dialling, changes.clone());
            while own_address() == Some(own) && !node.stop.is_cancelled() {
                dials.renew(|contact| {
                    let by_key = address_of(&contact.card.node);
                    [by_key].into_iter().chain(on_card(contact, "ygg")).collect()
                });
                tokio::select! {
                    () = node.stop.cancelled() => {}
                    () = sleep(LOOK_EVERY) => {}
                }
            }
            dials.end().await;
        }
        Err(error) => {
            tracing::warn!(%error, "the overlay cannot be used");
            while own_address() == Some(own) && !node.stop.is_cancelled() {
                tokio::select! {
                    () = node.stop.cancelled() => {}
                    () = sleep(LOOK_EVERY) => {}
                }
            }
        }
    }
    gone.cancel();
    tasks.shutdown().await;
    node.board.happened("overlay-down", None, shown, None);
}

/// Where a listener on all addresses has the port already, what comes in there is a link through
/// the overlay all the same.
fn transport(
    node: &Arc<Node>,
    own: Ipv6Addr,
    gone: &CancellationToken,
) -> Result<Arc<YggTransport>, postrider_transports::contract::TransportError> {
    let new = |listen| {
        let asked = Arc::clone(&node.desk);
        let options = TlsOptions {
            public: node.desk.home().config.public,
            admission: Arc::new(move |peer: &NodeId| asked.admits(peer)),
            ..TlsOptions::default()
        };
        YggTransport::new(Arc::new(node.secret().clone()), own, listen, options, gone.clone())
    };
    new(Listen::Here).or_else(|_| new(Listen::Elsewhere)).map(Arc::new)
}

/// For the log: what the Yggdrasil on this machine says of itself, where it may be asked.
async fn tell_itself(own: Ipv6Addr) {
    for at in ADMIN_SOCKETS {
        match ask(&AdminSocket::parse(at)).await {
            Ok(it) if it.address == own => return tracing::info!(key = it.key, "yggdrasil runs"),
            Ok(it) => tracing::debug!(address = %it.address, at, "another yggdrasil answers"),
            Err(error) => tracing::debug!(%error, at, "no yggdrasil to ask"),
        }
    }
}
