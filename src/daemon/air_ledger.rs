//! The ledgers of all radios of this node: of airtime, which what one of them sends spends for the others
//! on its band too, and of money.

use std::sync::{Mutex, MutexGuard, PoisonError};

use postrider_engine::air::{
    Span,
    ledger::{Ledger, Limit},
};

use super::node::Node;
use crate::desk::Failure;

/// What this node's radios have spent within a span.
pub(super) struct AirLedger {
    span: Span,
    ledger: Mutex<Ledger>,
    /// What was written before could not be read.
    spoiled: bool,
    /// Held while it becomes durable: an older state must not come to lie above a newer one.
    saving: tokio::sync::Mutex<()>,
}

impl AirLedger {
    /// As the spool has it.
    pub async fn open(node: &Node, span: Span) -> Result<Self, Failure> {
        let (read, now_ms) =
            node.ask(move |desk| Ok((desk.air_ledger(span)?, desk.held_ms()))).await?;
        let spoiled = read.is_none();
        let ledger = Mutex::new(read.unwrap_or_else(|| Ledger::new(span, now_ms)));
        Ok(Self { span, ledger, spoiled, saving: tokio::sync::Mutex::default() })
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
        let (span, bytes) = (self.span, self.lock().encode());
        node.ask(move |desk| desk.keep_air_ledger(span, bytes)).await
    }

    /// The ledger itself; nothing waits while it is locked.
    pub fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
