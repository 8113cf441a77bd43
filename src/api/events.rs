//! What happens, as server-sent events.

use std::sync::Arc;

use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::{Duration, interval},
};

use super::{body::Told, wire::line};
use crate::{daemon::Node, desk::reply::Happening};

/// A comment this often: a listener that has gone is noticed by it.
const STILL_THERE_EVERY: Duration = Duration::from_secs(15);

/// Tells what happens until nobody listens or the daemon ends. `after` is the number of the last
/// event that the listener has; without it only what is new is told.
pub(super) async fn tell(node: Arc<Node>, after: Option<u64>, to: mpsc::Sender<Told>) {
    let mut heard = node.board.listen();
    let mut last = after.unwrap_or(0);
    let mut ticks = interval(STILL_THERE_EVERY);
    if after.is_some() && !catch_up(&node, &mut last, &to).await {
        return;
    }
    loop {
        // Receiving loses nothing when something else comes first.
        let told = tokio::select! {
            happening = heard.recv() => match happening {
                Ok(happening) if happening.number > last => {
                    send(&happening, &mut last, &to).await
                }
                Ok(_) => true,
                Err(RecvError::Lagged(_)) => catch_up(&node, &mut last, &to).await,
                Err(RecvError::Closed) => false,
            },
            _ = ticks.tick() => to.send(Told::Bytes(": still there\n\n".into())).await.is_ok(),
            () = node.stop_requested() => false,
        };
        if !told {
            return;
        }
    }
}

/// What is remembered beyond the last that was told.
async fn catch_up(node: &Node, last: &mut u64, to: &mpsc::Sender<Told>) -> bool {
    for happening in node.board.since(*last) {
        if !send(&happening, last, to).await {
            return false;
        }
    }
    true
}

async fn send(happening: &Happening, last: &mut u64, to: &mpsc::Sender<Told>) -> bool {
    let Ok(line) = line(happening) else { return true };
    *last = happening.number;
    // A line ends with its newline; an empty line ends the event.
    let event = [format!("id: {last}\ndata: ").as_bytes(), &line, b"\n"].concat();
    to.send(Told::Bytes(event.into())).await.is_ok()
}
