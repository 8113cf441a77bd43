//! The way from whoever finds the rest of a body to the engine and the stager, who have its beginning.

use std::{
    sync::mpsc::{SyncSender, sync_channel},
    time::Duration,
};

use postrider_base::BundleId;
use postrider_engine::node::{Beginning, CutBody};
use tokio::sync::mpsc;

use super::engine_task::{HandOut, Look, ToEngine};
use crate::desk::{CutBodies, live::Arriving};

/// What is asked waits behind what came over links before, which the disk may hold back.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the engine. Blocks: for threads that may.
pub(super) struct Asking(pub mpsc::Sender<ToEngine>);

/// Where a body is handed to.
pub(super) type Taker = SyncSender<Arriving>;

impl CutBodies for Asking {
    fn look(&self, id: &BundleId) -> Beginning {
        let (tell, told) = sync_channel(1);
        let id = *id;
        let ask = Look(Box::new(move |engine| {
            // Whoever asked may have lost patience.
            let _ = tell.try_send(engine.beginning(&id));
        }));
        match self.0.blocking_send(ToEngine::Look(ask)) {
            // That it was not said in time is no proof that nothing is here.
            Ok(()) => told.recv_timeout(PATIENCE).unwrap_or(Beginning::Coming),
            Err(_) => Beginning::Coming,
        }
    }

    fn hand_out(&self, id: &BundleId, cut: &CutBody) -> Option<Arriving> {
        let (to, taken) = sync_channel(1);
        let ask = HandOut { id: *id, transfer: cut.transfer, at: cut.at, to };
        self.0.blocking_send(ToEngine::HandOut(ask)).ok()?;
        // Who refuses drops the way back.
        taken.recv_timeout(PATIENCE).ok()
    }
}
