//! What is done when this machine may be reached by other ways than before.
//!
//! Whoever is waited for is dialled at once ([`dialer`](super::dialer)). Links that are up are
//! doubted: each is pinged, and one on which nothing comes is closed, so that it is dialled anew and
//! what it was bringing is asked for elsewhere. An address of somebody else is never believed for
//! this: it is where a proven link comes from.

use std::sync::{Arc, atomic::Ordering};

use postrider_engine::node::LinkId;
use postrider_transports::changes::{About, Changes};
use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep_until},
};

use super::{board::LinkRow, node::Node};

/// At least this between two rounds: where containers come and go, something changes all the time.
const ROUNDS_APART: Duration = Duration::from_secs(1);
/// How long a doubted link may be silent, if it has never been faster.
const PATIENCE_MIN: Duration = Duration::from_millis(700);
/// However slow it was.
const PATIENCE_MAX: Duration = Duration::from_secs(5);
/// Round trips that fit into the patience: a ping waits behind a chunk or two.
const ROUND_TRIPS: u32 = 4;

/// Waits for changes until told to stop.
pub(super) async fn run(node: Arc<Node>, told: Arc<watch::Sender<u64>>) {
    let mut changes = Changes::new(About::Ways);
    loop {
        let changed = tokio::select! {
            () = node.stop.cancelled() => return,
            changed = changes.next(false) => changed,
        };
        if !changed {
            continue;
        }
        let begun = Instant::now();
        told.send_modify(|n| *n += 1);
        for row in node.board.links() {
            node.doubt(row);
        }
        tokio::select! {
            () = node.stop.cancelled() => return,
            () = sleep_until(begun + ROUNDS_APART) => {}
        }
    }
}

/// Closes a link unless something comes over it soon.
pub(super) async fn doubt(node: Arc<Node>, row: LinkRow) {
    let received = || row.traffic.received_bytes.load(Ordering::Relaxed);
    let before = received();
    if node.ping(row.link, patience(&row)).await.is_none() && received() == before {
        tracing::debug!(address = %row.facts.address, "a link does not answer any more");
        row.closing.cancel();
    }
}

/// Those whose other end dialled again although they are up.
pub(super) fn overtaken(links: Vec<LinkRow>, by: LinkId) -> Vec<LinkRow> {
    let Some(new) = links.iter().find(|row| row.link == by).cloned() else { return Vec::new() };
    let older = |row: &LinkRow| {
        row.link < new.link
            && row.facts.peer == new.facts.peer
            && !row.facts.dialled
            && !new.facts.dialled
    };
    if new.facts.peer.is_none() {
        return Vec::new();
    }
    links.into_iter().filter(older).collect()
}

fn patience(row: &LinkRow) -> Duration {
    let measured = row.rtt.unwrap_or_default() * ROUND_TRIPS;
    (PATIENCE_MIN + measured).min(PATIENCE_MAX)
}
