//! The thread that lays what comes in the inbox folders.
//!
//! One folder that cannot be used keeps nobody else's mail from being laid; what is for it waits, and is
//! tried again.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use postrider_base::NodeId;
use tokio_util::sync::CancellationToken;

use super::node::Node;
use crate::desk::{Failure, FailureKind, Laid, Laying, Silent, ToLay};

/// How often is looked although nobody told of anything: contacts come, and folders are removed.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How soon is looked again where there was trouble.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Messages whose notes are forgotten in one commit.
const TOGETHER: usize = 64;
/// What the board calls this trouble.
const TROUBLE: &str = "inbox folders";

/// Lays until told to stop.
pub(super) fn run(node: &Arc<Node>, stop: &CancellationToken) {
    let laying = match node.desk.open_laying(&Silent) {
        Ok(laying) => laying,
        Err(failure) => return node.board.trouble(&failure),
    };
    let mut clerk = Clerk { node, laying, stop, shut: HashMap::new(), tidied: None };
    let mut times = 0;
    while !stop.is_cancelled() {
        let trouble = clerk.look();
        let wait = if trouble.is_some() { LOOK_AGAIN } else { LOOK_EVERY };
        node.board.ill(TROUBLE, trouble);
        times = node.desk.job_news_beyond(times, wait);
    }
}

struct Clerk<'a> {
    node: &'a Node,
    laying: Laying<'a>,
    stop: &'a CancellationToken,
    /// Whose folders cannot be used, since when, and why.
    shut: HashMap<NodeId, (Instant, String)>,
    tidied: Option<Instant>,
}

impl Clerk<'_> {
    /// Lays all that waits; what kept some of it from that.
    fn look(&mut self) -> Option<String> {
        if self.tidied.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            if let Err(failure) = self.laying.tidy() {
                return Some(said(&failure));
            }
            self.tidied = Some(Instant::now());
        }
        // News that comes meanwhile is no reason to try them again.
        self.shut.retain(|_, (since, _)| since.elapsed() < LOOK_AGAIN / 2);
        let mut trouble = None;
        let mut last: Option<ToLay> = None;
        loop {
            let page = match self.laying.waiting(last.as_ref()) {
                Ok(page) => page,
                Err(failure) => return Some(said(&failure)),
            };
            last = page.last().cloned();
            if last.is_none() {
                return trouble;
            }
            for some in page.chunks(TOGETHER) {
                match self.lay(some) {
                    Ok(Some((FailureKind::Full, said))) => return Some(said),
                    Ok(Some((_, said))) => trouble = Some(said),
                    Ok(None) => {}
                    Err(failure) => return Some(said(&failure)),
                }
                if self.stop.is_cancelled() {
                    return trouble;
                }
            }
        }
    }

    /// Lays some; what kept one of them from that.
    fn lay(&mut self, some: &[ToLay]) -> Result<Option<(FailureKind, String)>, Failure> {
        let (mut trouble, mut done, mut laid) = (None, Vec::new(), Vec::new());
        for waiting in some {
            if self.stop.is_cancelled() {
                break;
            }
            if let Some((_, said)) = self.shut.get(&waiting.author) {
                trouble = Some((FailureKind::Failed, said.clone()));
                continue;
            }
            match self.laying.lay(waiting) {
                Ok(it) => {
                    laid.extend(it.map(|it| (waiting.id.to_string(), it)));
                    done.push(waiting.clone());
                }
                Err(failure) => {
                    let (kind, said) = (failure.kind, said(&failure));
                    self.shut.insert(waiting.author, (Instant::now(), said.clone()));
                    trouble = Some((kind, said));
                    if kind == FailureKind::Full {
                        break;
                    }
                }
            }
        }
        self.laying.settle(&done)?;
        if !laid.is_empty() && !self.node.desk.home().config.hooks.on_message.is_empty() {
            // A hook may wait for what is there now.
            self.node.desk.ring_jobs();
        }
        for (id, Laid { from, paths }) in laid {
            let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            self.node.board.happened("laid", Some(id), Some(from), Some(paths.join(", ")));
        }
        Ok(trouble)
    }
}

/// All of a failure in one line.
fn said(failure: &Failure) -> String {
    let whole = [failure.what.clone()].into_iter().chain(failure.causes());
    whole.collect::<Vec<_>>().join(": ")
}
