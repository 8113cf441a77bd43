//! The one ledger of all radios of this node: what one of them sends is spent for the others on its
//! band.

use std::sync::{Mutex, MutexGuard, PoisonError};

use postrider_engine::air::ledger::{Ledger, Limit};

use super::node::Node;
use crate::desk::Failure;

/// What this node's radios have sent within an hour.
pub(super) struct AirLedger {
    ledger: Mutex<Ledger>,
    /// What was written before could not be read.
    spoiled: bool,
    /// Held while it becomes durable: an older state must not come to lie above a newer one.
    saving: tokio::sync::Mutex<()>,
}

impl AirLedger {
    /// As the spool has it.
    pub async fn open(node: &Node) -> Result<Self, Failure> {
        let read = node.ask(|desk| Ok((desk.air_ledger()?, desk.held_ms()))).await?;
        let spoiled = read.0.is_none();
        let ledger =
            read.0.unwrap_or_else(|| Ledger::new(postrider_engine::air::Span::Hour, read.1));
        Ok(Self { ledger: Mutex::new(ledger), spoiled, saving: tokio::sync::Mutex::default() })
    }

    /// A radio begins: if nobody knows what was spent, all that may be is.
    pub fn begin(&self, now_ms: u64, limit: Limit) {
        let mut ledger = self.lock();
        if self.spoiled && ledger.spent(now_ms, limit.key()) == 0 {
            ledger.exhaust(now_ms, limit);
        }
    }

    /// Makes it durable as it is now.
    pub async fn save(&self, node: &Node) -> Result<(), Failure> {
        let _saving = self.saving.lock().await;
        let bytes = self.lock().encode();
        node.ask(move |desk| desk.keep_air_ledger(bytes)).await
    }

    /// The ledger itself; nothing waits while it is locked.
    pub fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
