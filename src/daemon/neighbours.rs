//! Writes down now and then which neighbours were heard of.

use std::sync::Arc;

use tokio::time::{Duration, MissedTickBehavior, interval};

use super::node::Node;
use crate::desk::Silent;

/// What is lost of "last seen" when the machine stops at once.
const WRITE_EVERY: Duration = Duration::from_secs(60);

/// Writes until told to stop, and once more then.
pub(super) async fn remember(node: Arc<Node>) {
    let mut ticks = interval(WRITE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = false;
    while !last {
        tokio::select! {
            () = node.stop.cancelled() => last = true,
            _ = ticks.tick() => {}
        }
        let seen = node.board.take_seen();
        if seen.is_empty() {
            continue;
        }
        if let Err(failure) = node.ask(move |desk| desk.remember_neighbours(&seen, &Silent)).await {
            node.board.trouble(&failure);
        }
    }
}
