//! What every task of the daemon shares: the desk, the board, and the way to the engine.

use std::sync::{Arc, Mutex, PoisonError};

use postrider_base::{NodeId, NodeSecret};
use postrider_engine::node::{LinkPolicy, Seen};
use postrider_transports::contract::Link;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{board::Board, engine_task::ToEngine, link_task};
use crate::desk::{Desk, Failure, FailureKind, Silent};

/// Links at once; the engine refuses more.
pub(super) const LINKS_MAX: usize = postrider_engine::exchange::LINKS_MAX;

/// The running node.
pub struct Node {
    /// What people ask for.
    pub desk: Arc<Desk>,
    /// What is shown of the daemon.
    pub board: Board,
    pub(super) engine: mpsc::Sender<ToEngine>,
    pub(super) stop: CancellationToken,
    links: Mutex<JoinSet<()>>,
}

impl Node {
    pub(super) fn new(
        desk: Arc<Desk>,
        engine: mpsc::Sender<ToEngine>,
        stop: CancellationToken,
    ) -> Self {
        Self { board: Board::new(Arc::clone(&desk)), desk, engine, stop, links: Mutex::default() }
    }

    /// Takes a link over and runs it in a task of its own. `expect` is who must be at the other end
    /// of a link that proves nobody.
    /// The receiver hears when the link has ended.
    pub(super) fn adopt(
        self: &Arc<Self>,
        link: Link,
        expect: Option<NodeId>,
    ) -> oneshot::Receiver<()> {
        let (ended, end) = oneshot::channel();
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        while links.try_join_next().is_some() {}
        if links.len() >= LINKS_MAX {
            tracing::warn!(address = %link.facts.address, "all places for links are taken");
            return end;
        }
        let node = Arc::clone(self);
        links.spawn(async move {
            let address = link.facts.address.clone();
            if let Err(error) = link_task::run(node, link, expect).await {
                tracing::debug!(%address, %error, "a link ended");
            }
            drop(ended);
        });
        end
    }

    /// Waits for all links to end.
    pub(super) async fn drained(&self) {
        let mut links = {
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *links)
        };
        while links.join_next().await.is_some() {}
    }

    pub(super) fn secret(&self) -> &NodeSecret {
        &self.desk.home().key.node
    }

    /// Whether this node may have a link at all.
    pub(super) fn admits(&self, peer: &NodeId) -> bool {
        self.desk.admits(peer)
    }

    pub(super) fn link_policy(&self) -> LinkPolicy {
        LinkPolicy { transit: self.desk.home().config.carry_strangers, ..LinkPolicy::default() }
    }

    pub(super) async fn recall(
        &self,
        peer: NodeId,
    ) -> Result<(Option<Seen>, Option<Seen>), Failure> {
        self.ask(move |desk| desk.open_live(&Silent)?.recall(&peer)).await
    }

    /// Asks the desk, which may wait for the disk, without stopping the others.
    pub async fn ask<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&Desk) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let desk = Arc::clone(&self.desk);
        let asked = tokio::task::spawn_blocking(move || verb(&desk)).await;
        asked.unwrap_or_else(|_| Err(Failure::new(FailureKind::Fault, "a verb panicked")))
    }
}
