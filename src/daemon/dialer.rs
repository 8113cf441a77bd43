//! Keeps a link to each peer that is named: dials, and dials again.
//!
//! After a failure the next try waits 1, 2, 4, 8, 15, then 30 s, each a little shortened by
//! chance; a link that comes down is dialled again at once. A change of the machine's own addresses
//! and routes ends every wait, and begins a dial beside one that is under way: what was sent over a
//! network that is gone may be waited for long.

use std::sync::Arc;

use postrider_base::{NodeId, link::Address};
use postrider_transports::contract::{Link, Transport, TransportError};
use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::node::Node;

/// Waits between tries. 30 s is the longest that a person should wait for a link that is there.
const WAITS_S: [u64; 6] = [1, 2, 4, 8, 15, 30];
/// The wait after a try during which the network changed.
const WAIT_IN_CHANGE: Duration = Duration::from_millis(250);
/// A link that lived shorter than this counts as a failure: its other end does not want it.
const SHORT_LIFE: Duration = Duration::from_secs(5);
/// What changes so soon after a dial began belongs to what it was begun for.
const YOUNG: Duration = Duration::from_secs(2);
/// How often a link that is up is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Somebody to keep a link to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub address: Address,
    pub node: Option<NodeId>,
}

/// Dials one peer until told to stop: by `stop`, which is a child of the node's own.
pub(super) async fn keep(
    node: Arc<Node>,
    transport: Arc<dyn Transport>,
    peer: Peer,
    mut changes: watch::Receiver<u64>,
    stop: CancellationToken,
) {
    let mut failures = 0;
    loop {
        // What changed while a link was up says nothing of the dial that follows it.
        changes.mark_unchanged();
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = dial_and_stay(&node, &*transport, &peer, &mut changes) => ended,
        };
        let wait = match ended {
            Ended::Lived => {
                failures = 0;
                continue;
            }
            // The kernel may still have refused for what it knew before the change.
            Ended::FailedInChange => {
                failures = 0;
                WAIT_IN_CHANGE
            }
            Ended::Failed => {
                failures += 1;
                shortened(WAITS_S[(failures - 1).min(WAITS_S.len() - 1)])
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(wait) => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                failures = 0;
            }
        }
    }
}

/// How it went with a peer.
enum Ended {
    /// There was a link worth the name.
    Lived,
    Failed,
    /// And meanwhile the network was not what it had been.
    FailedInChange,
}

async fn dial_and_stay(
    node: &Arc<Node>,
    transport: &dyn Transport,
    peer: &Peer,
    changes: &mut watch::Receiver<u64>,
) -> Ended {
    if peer.node.is_some_and(|peer| node.board.is_linked(&peer)) {
        while peer.node.is_some_and(|peer| node.board.is_linked(&peer)) {
            sleep(LOOK_EVERY).await;
        }
        return Ended::Lived;
    }
    let before = *changes.borrow();
    let link = match dial(transport, peer, changes).await {
        Ok(link) => link,
        Err(error) => {
            tracing::debug!(address = %peer.address, %error, "no link");
            let same = before == *changes.borrow();
            return if same { Ended::Failed } else { Ended::FailedInChange };
        }
    };
    let begun = Instant::now();
    let ended = node.adopt(link, peer.node);
    let _ = ended.await;
    if begun.elapsed() >= SHORT_LIFE { Ended::Lived } else { Ended::Failed }
}

/// Dials; after a change also anew, and the first to answer is taken. Of many changes the last
/// counts, so there are never more than two dials. One that had only just begun is given up for the new one, once:
/// a machine that comes into a network sees several changes, and on a slow line two handshakes are in each
/// other's way.
async fn dial(
    transport: &dyn Transport,
    peer: &Peer,
    changes: &mut watch::Receiver<u64>,
) -> Result<Link, TransportError> {
    let mut first = transport.dial(&peer.address, peer.node);
    let mut young = Some(Instant::now());
    loop {
        tokio::select! {
            dialled = &mut first => return dialled,
            Ok(()) = changes.changed() => {}
        }
        let mut anew = transport.dial(&peer.address, peer.node);
        if young.take().is_some_and(|begun| begun.elapsed() < YOUNG) {
            first = anew;
            continue;
        }
        tokio::select! {
            dialled = &mut anew => match dialled {
                Ok(link) => return Ok(link),
                // What the first one is told may still be better.
                Err(_) => continue,
            },
            dialled = &mut first => match dialled {
                Ok(link) => return Ok(link),
                Err(_) => first = anew,
            },
            Ok(()) = changes.changed() => changes.mark_changed(),
        }
    }
}

/// Up to a quarter shorter, so that many nodes do not dial a broker all at once.
fn shortened(wait_s: u64) -> Duration {
    let mut byte = [0];
    // Without randomness the wait is whole.
    let _ = getrandom::fill(&mut byte);
    Duration::from_millis(wait_s * (1000 - u64::from(byte[0])))
}
