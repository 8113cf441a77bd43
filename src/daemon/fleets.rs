//! The thread that lets runs over fleets take their next steps when something came in about jobs, and
//! has the head of the audit chain signed every hour.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::node::Node;
use crate::desk::Silent;

/// How often is looked although there was no news: a run may be too old by now.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Works until told to stop.
pub(super) fn run(node: &Arc<Node>, handle: &Handle, stop: &CancellationToken) {
    let mut times = 0;
    let mut kept: Option<Instant> = None;
    while !stop.is_cancelled() {
        match node.desk.advance_fleets(&Silent) {
            Ok(gone) if gone.is_empty() => {}
            // What was called back is offered to nobody.
            Ok(gone) => handle.block_on(node.gone(gone)),
            Err(failure) => node.board.trouble(&failure),
        }
        // Not with each news: whoever runs jobs adds to the chain at that moment.
        if kept.is_none_or(|kept| kept.elapsed() >= LOOK_EVERY) {
            kept = Some(Instant::now());
            if let Err(failure) = node.desk.keep_audit(false, &Silent) {
                node.board.trouble(&failure);
            }
        }
        times = node.desk.job_news_beyond(times, LOOK_EVERY);
    }
}
