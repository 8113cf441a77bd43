//! To whom links are kept: peers that are named in the settings, on the command line, or by hand
//! while the daemon runs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use postrider_base::{NodeId, link::Address};
use postrider_transports::{
    contract::Transport,
    pipe::PipeTransport,
    serial::{PortAddress, SerialTransport},
    tls::TlsTransport,
};
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    task::JoinSet,
    time::{Duration, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    board::LinkRow,
    dialer::{self, Peer},
    node::{LINKS_MAX, Node},
    ports::{self, Port},
    transport_failure, unusable,
};
use crate::desk::{Desk, Failure, FailureKind};

/// How long a call waits for its link: a dial, its handshake, and a little.
const CALL_TIME_MAX: Duration = Duration::from_secs(90);

/// The same over a port: some hellos of an end that says them slowly.
const PORT_TIME_MAX: Duration = Duration::from_secs(20);

/// The ways of dialling, and who is dialled again and again.
#[derive(Debug)]
pub struct Peers {
    /// The first whose scheme fits is dialled.
    transports: Vec<Arc<dyn Transport>>,
    changed: watch::Receiver<u64>,
    kept: Mutex<BTreeMap<String, Kept>>,
    tasks: Mutex<JoinSet<()>>,
}

/// Somebody that a link is kept to.
#[derive(Debug)]
struct Kept {
    stop: CancellationToken,
    /// Over which port, if it is one.
    port: Option<Arc<Port>>,
}

impl Peers {
    pub(super) fn new(
        tls: Arc<TlsTransport>,
        others: &[Arc<dyn Transport>],
        changed: watch::Receiver<u64>,
    ) -> Self {
        let pipe = PipeTransport::new(Arc::new(|address, line| {
            tracing::info!(%address, line);
        }));
        let serial = SerialTransport::all();
        let mut transports: Vec<Arc<dyn Transport>> = vec![tls, Arc::new(pipe)];
        transports.extend(serial.map(|serial| Arc::new(serial) as Arc<dyn Transport>));
        transports.extend(others.iter().map(Arc::clone));
        Self { transports, changed, kept: Mutex::default(), tasks: Mutex::default() }
    }

    /// Keeps a link to a peer from now on; whether that is new.
    pub fn keep(&self, node: &Arc<Node>, uri: &str) -> Result<bool, Failure> {
        let peer = parse(&node.desk, uri)?;
        let transport = self.transport(&peer.address)?;
        let mut kept = lock(&self.kept);
        if kept.contains_key(uri) {
            return Ok(false);
        }
        if kept.len() >= LINKS_MAX {
            return Err(Failure::new(FailureKind::Refused, "there are too many links already")
                .next("postrider link rm URI makes room"));
        }
        let stop = node.stop.child_token();
        let port = transport.opens_ports().then(|| Arc::new(Port::new(peer.address.clone())));
        kept.insert(uri.to_owned(), Kept { stop: stop.clone(), port: port.clone() });
        drop(kept);
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        let (node, changed) = (Arc::clone(node), self.changed.clone());
        match port {
            Some(port) => tasks.spawn(ports::keep(node, transport, peer, port, false, stop)),
            None => tasks.spawn(dialer::keep(node, transport, peer, changed, stop)),
        };
        Ok(true)
    }

    /// The ports that are kept open, or would be.
    pub fn ports(&self) -> Vec<Arc<Port>> {
        lock(&self.kept).values().filter_map(|kept| kept.port.clone()).collect()
    }

    /// Keeps no link to a peer any more, and closes the one there is; whether one was kept.
    pub fn drop_peer(&self, node: &Node, uri: &str) -> bool {
        let Some(kept) = lock(&self.kept).remove(uri) else { return false };
        kept.stop.cancel();
        if let Ok(peer) = parse(&node.desk, uri) {
            node.board.close(|row| is_link_to(row, &peer));
        }
        true
    }

    /// Everybody a link is kept to, and whether it is up.
    pub fn list(&self, node: &Node) -> Vec<(String, bool)> {
        let uris: Vec<String> = lock(&self.kept).keys().cloned().collect();
        let links = node.board.links();
        let is_up = |uri: &String| {
            let peer = parse(&node.desk, uri);
            peer.is_ok_and(|peer| links.iter().any(|row| is_link_to(row, &peer)))
        };
        uris.into_iter().map(|uri| (is_up(&uri), uri)).map(|(up, uri)| (uri, up)).collect()
    }

    /// The link to a peer, if it is up.
    pub fn link_to(&self, node: &Node, uri: &str) -> Option<LinkRow> {
        let peer = parse(&node.desk, uri).ok()?;
        node.board.links().into_iter().find(|row| is_link_to(row, &peer))
    }

    /// Dials once, and hands the link to the node.
    pub async fn call(&self, node: &Arc<Node>, uri: &str) -> Result<LinkRow, Failure> {
        let peer = parse(&node.desk, uri)?;
        if let Some(row) = node.board.links().into_iter().find(|row| is_link_to(row, &peer)) {
            return Ok(row);
        }
        let mut heard = node.board.listen();
        let transport = self.transport(&peer.address)?;
        if transport.opens_ports() {
            return self.call_over_port(node, uri, peer, transport).await;
        }
        let dialled = transport.dial(&peer.address, peer.node).await;
        let mut ended = node.adopt(dialled.map_err(transport_failure)?, peer.node);
        let found = || node.board.links().into_iter().find(|row| is_link_to(row, &peer));
        let up = async {
            loop {
                if let Some(row) = found() {
                    return Some(row);
                }
                tokio::select! {
                    _ = &mut ended => return found(),
                    happening = heard.recv() => {
                        if matches!(happening, Err(RecvError::Closed)) {
                            return None;
                        }
                    }
                }
            }
        };
        timeout(CALL_TIME_MAX, up).await.ok().flatten().ok_or_else(|| {
            Failure::new(FailureKind::Failed, format!("the link to {uri} ended at once"))
                .next("whoever answers there may not want this node; postrider log tells more")
        })
    }

    /// Opens a port for one link, unless it is kept open anyway, and waits for a link over it.
    async fn call_over_port(
        &self,
        node: &Arc<Node>,
        uri: &str,
        peer: Peer,
        transport: Arc<dyn Transport>,
    ) -> Result<LinkRow, Failure> {
        let mut heard = node.board.listen();
        let kept = lock(&self.kept).get(uri).and_then(|kept| kept.port.clone());
        let (is_new, stop) = (kept.is_none(), node.stop.child_token());
        let port = kept.unwrap_or_else(|| Arc::new(Port::new(peer.address.clone())));
        if is_new {
            let (node, peer) = (Arc::clone(node), peer.clone());
            let opening = ports::keep(node, transport, peer, Arc::clone(&port), true, stop.clone());
            lock(&self.tasks).spawn(opening);
        }
        let up = async {
            loop {
                if let Some(row) = node.board.links().into_iter().find(|row| is_link_to(row, &peer))
                {
                    return Some(row);
                }
                if port.is_shut() {
                    return None;
                }
                if let Err(RecvError::Closed) = heard.recv().await {
                    return None;
                }
            }
        };
        if let Some(row) = timeout(PORT_TIME_MAX, up).await.ok().flatten() {
            return Ok(row);
        }
        if is_new {
            stop.cancel();
        }
        Err(Failure::new(
            FailureKind::Failed,
            format!("no link over {uri}: {}", port.line(None).why),
        )
        .next("postrider link test tells more"))
    }

    /// Waits until nobody is dialled any more.
    pub(super) async fn ended(&self) {
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        while tasks.join_next().await.is_some() {}
    }

    /// Whether a URI can be dialled.
    pub fn check(&self, desk: &Desk, uri: &str) -> Result<(), Failure> {
        self.transport(&parse(desk, uri)?.address).map(drop)
    }

    fn transport(&self, to: &Address) -> Result<Arc<dyn Transport>, Failure> {
        let found = self.transports.iter().find(|transport| transport.scheme() == to.scheme());
        found.map(Arc::clone).ok_or_else(|| unusable(to.as_str(), "no transport of that name here"))
    }
}

/// Whether a daemon of this program can dial a URI.
pub fn check(desk: &Desk, uri: &str) -> Result<(), Failure> {
    let address = parse(desk, uri)?.address;
    let known = ["pipe", "tls"].contains(&address.scheme()) || is_port(&address);
    if known { Ok(()) } else { Err(unusable(uri, "no transport of that name here")) }
}

fn is_link_to(row: &LinkRow, peer: &Peer) -> bool {
    match peer.node {
        // Whatever other links there are, a port is kept for its own.
        _ if is_port(&peer.address) => row.facts.address == peer.address,
        Some(node) => row.facts.peer == Some(node),
        None => row.facts.dialled && row.facts.address == peer.address,
    }
}

/// An address, and behind a `#` who is there: a contact or an id.
fn parse(desk: &Desk, text: &str) -> Result<Peer, Failure> {
    let (address, who) = match text.rsplit_once('#') {
        Some((address, who)) => (address, Some(who)),
        None => (text, None),
    };
    let address = address.parse().map_err(|_| unusable(text, "not an address"))?;
    let node = match who {
        Some(who) => Some(match who.parse::<NodeId>() {
            Ok(node) => node,
            Err(_) => desk.home().contacts()?.resolve(who)?.card.node,
        }),
        None => None,
    };
    let peer = Peer { address, node };
    if is_port(&peer.address) {
        // Without a name the other end has to call.
        PortAddress::parse(&peer.address).map_err(|error| {
            Failure::new(FailureKind::Usage, error.to_string())
                .next("nothing was changed; docs/radio.md describes ports")
        })?;
        return Ok(peer);
    }
    // Other links prove nobody by themselves, so whoever dials must know whom it expects.
    if peer.address.scheme() != "tls" && peer.node.is_none() {
        return Err(unusable(text, "such a link needs to be told who is there, behind a #"));
    }
    Ok(peer)
}

/// Whether an address is that of a port.
pub(super) fn is_port(address: &Address) -> bool {
    SerialTransport::all().iter().any(|transport| transport.scheme() == address.scheme())
}

/// The same of a text, with or without who is there.
pub fn is_port_uri(uri: &str) -> bool {
    uri.split('#').next().unwrap_or_default().parse().is_ok_and(|address| is_port(&address))
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
