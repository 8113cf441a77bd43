//! Opens links together with nodes that cannot be dialled, when the engine says so.

use std::{net::SocketAddr, sync::Arc};

use postrider_base::NodeId;
use postrider_engine::{
    introduce::MEETINGS_MAX,
    node::{Input, LinkId},
};
use postrider_transports::tls::TlsTransport;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Duration, timeout},
};

use super::{engine_task::ToEngine, node::Node};

/// How long two nodes try. Where it works at all it takes a round trip or two; a first SYN that the
/// other's NAT threw away is sent again after 1 and after 3 s.
const MEETING_TIME_MAX: Duration = Duration::from_secs(10);
/// Orders that wait: the engine has no more meetings under way.
pub(super) const ORDERS_MAX: usize = MEETINGS_MAX;

/// With whom, where, and from which link's port.
#[derive(Debug)]
pub(super) struct Meet {
    pub link: LinkId,
    pub node: NodeId,
    pub at: SocketAddr,
}

/// Obeys until told to stop.
pub(super) async fn run(node: Arc<Node>, tls: Arc<TlsTransport>, mut orders: mpsc::Receiver<Meet>) {
    let mut meetings = JoinSet::new();
    loop {
        // Both lose nothing when the other comes first.
        tokio::select! {
            () = node.stop.cancelled() => return,
            order = orders.recv() => match order {
                Some(order) => drop(meetings.spawn(meet(Arc::clone(&node), Arc::clone(&tls), order))),
                None => return,
            },
            Some(_) = meetings.join_next() => {}
        }
    }
}

async fn meet(node: Arc<Node>, tls: Arc<TlsTransport>, order: Meet) {
    let Meet { link, node: other, at } = order;
    let here = node.board.links().into_iter().find(|row| row.link == link);
    let here = here.and_then(|row| Some(row.facts.ends?.here));
    if let Some(here) = here {
        tracing::debug!(%other, %at, "meeting");
        match timeout(MEETING_TIME_MAX, tls.meet(here, at, other)).await {
            Ok(Ok(link)) => {
                // One that does not stay may never have come to the engine.
                if timeout(MEETING_TIME_MAX, node.adopt(link, Some(other))).await.is_err() {
                    return;
                }
            }
            Ok(Err(error)) => tracing::debug!(%other, %at, %error, "no meeting"),
            Err(_) => tracing::debug!(%other, %at, "no meeting in time"),
        }
    }
    let failed = ToEngine::input(Input::MeetFailed { node: other });
    let _ = node.engine.send(failed).await;
}
