//! The live legs: two daemons on loopback, over TLS, with everything durable.

use std::{path::PathBuf, sync::Arc, time::Instant};

use tokio::{
    runtime::Runtime,
    sync::broadcast::{Receiver, error::RecvError},
    time::{Duration, timeout},
};

use super::{measure_failure, message, noise_text};
use crate::{
    daemon::{Daemon, DaemonOptions, Happening},
    desk::{Desk, Failure, SendRequest, Silent},
};

/// Small messages of the rate figure.
const SMALL: usize = 2000;
/// Messages of the latency figure, one after the other.
const ALONE: usize = 50;
/// Longer than anything here takes on a machine worth measuring.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the live legs took.
pub(super) struct Figures {
    /// Seconds from the sending of the file until it was whole at the other end.
    pub file_s: f64,
    /// Seconds for what was queued before the link came up.
    pub queued_s: f64,
    /// How many that were.
    pub queued: usize,
    /// Seconds from one small message's sending until it was in the inbox; the median.
    pub alone_s: f64,
}

/// Measures between two homes; the second listens.
pub(super) fn run(alice: &Arc<Desk>, bob: &Arc<Desk>, file: PathBuf) -> Result<Figures, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| measure_failure("no runtime").because(error))?;
    let mut requests = (0..SMALL).map(|n| Ok(message(Some(noise_text(n)), vec![])));
    let mut queued = 0;
    alice.send_batch(&mut requests, &mut |sent| queued += usize::from(sent.is_ok()), &Silent)?;

    let listen = "tls://127.0.0.1:0".parse().map_err(|_| measure_failure("no address"))?;
    let options = DaemonOptions { listen: vec![listen], ..DaemonOptions::default() };
    let at_bob = Daemon::start(Arc::clone(bob), &options, &runtime)?;
    let mut heard = at_bob.node().board.listen();
    let to = at_bob.listening().first().ok_or_else(|| measure_failure("nobody listens"))?;
    let peers = vec![format!("tls://{to}#{}", bob.home().card.node)];
    let begun = Instant::now();
    let at_alice = Daemon::start(
        Arc::clone(alice),
        &DaemonOptions { peers, ..DaemonOptions::default() },
        &runtime,
    )?;
    await_messages(&runtime, &mut heard, SMALL)?;
    let queued_s = begun.elapsed().as_secs_f64();

    let mut alone = Vec::with_capacity(ALONE);
    for n in 0..ALONE {
        let begun = Instant::now();
        alice.send(&message(Some(noise_text(SMALL + n)), vec![]), &Silent)?;
        await_messages(&runtime, &mut heard, 1)?;
        alone.push(begun.elapsed().as_secs_f64());
    }
    alone.sort_by(f64::total_cmp);

    let begun = Instant::now();
    let request = SendRequest { text: None, ..message(None, vec![file]) };
    alice.send(&request, &Silent)?;
    await_messages(&runtime, &mut heard, 1)?;
    let file_s = begun.elapsed().as_secs_f64();

    runtime.block_on(async {
        at_alice.stop().await;
        at_bob.stop().await;
    });
    Ok(Figures { file_s, queued_s, queued, alone_s: alone[alone.len() / 2] })
}

fn await_messages(
    runtime: &Runtime,
    heard: &mut Receiver<Happening>,
    mut count: usize,
) -> Result<(), Failure> {
    let wait = async {
        while count > 0 {
            match heard.recv().await {
                Ok(happening) => count -= usize::from(happening.what == "message"),
                // Too fast to follow: what was missed arrived.
                Err(RecvError::Lagged(missed)) => {
                    count = count.saturating_sub(usize::try_from(missed).unwrap_or(0) / 2);
                }
                Err(RecvError::Closed) => return,
            }
        }
    };
    runtime
        .block_on(async { timeout(PATIENCE, wait).await })
        .map_err(|_| measure_failure("messages did not arrive over the link"))
}
