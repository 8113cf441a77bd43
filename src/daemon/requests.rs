//! The thread that answers others' requests for files, and looks after this node's own.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use postrider_base::{BundleId, NodeId};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::node::Node;
use crate::desk::{Failure, Heard, Requests, Silent};

/// How often is looked although nobody told of anything: a disk that was full may have room again, and a
/// file of shares that had a mistake may have none.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How often while somebody else may have to be asked for a file: whoever was asked is given up so much
/// later than they could be.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Answers until told to stop.
pub(super) fn run(node: &Arc<Node>, handle: &Handle, stop: &CancellationToken) {
    let clerk = match node.desk.open_requests(&Silent) {
        Ok(requests) => Clerk { node, handle, requests, stop },
        Err(failure) => return node.board.trouble(&failure),
    };
    // What came while nobody ran.
    let heard = Heard { all: true, ..Heard::default() };
    clerk.look(heard);
    while !stop.is_cancelled() {
        clerk.answer_all();
        let every = if clerk.ask_next() { ASK_EVERY } else { LOOK_EVERY };
        clerk.look(clerk.requests.wait(every));
    }
}

struct Clerk<'a> {
    node: &'a Arc<Node>,
    handle: &'a Handle,
    requests: Requests<'a>,
    stop: &'a CancellationToken,
}

impl Clerk<'_> {
    /// Answers one of each of those who ask, until nobody waits but whom there is trouble with.
    fn answer_all(&self) {
        let mut failed = BTreeSet::new();
        loop {
            let mut waiting = match self.requests.waiting() {
                Ok(waiting) => waiting,
                Err(failure) => return self.trouble(&failure),
            };
            waiting.retain(|request| !failed.contains(request));
            if waiting.is_empty() {
                return;
            }
            for request in waiting {
                if self.stop.is_cancelled() {
                    return;
                }
                match self.requests.answer(&request) {
                    Ok(None) => {}
                    Ok(Some(given)) => {
                        let (id, what) = (request.id.to_string(), given.what.into_owned());
                        self.node.board.happened("asked", Some(id), Some(given.to), Some(what));
                        self.tell_gone(given.gone);
                    }
                    // It waits, and those of the same asker with it.
                    Err(failure) => {
                        self.trouble(&failure);
                        failed.insert(request);
                    }
                }
            }
        }
    }

    /// Asks the next of several sources where it is time; whether there are such still.
    fn ask_next(&self) -> bool {
        let near = |node: &NodeId| self.node.board.is_linked(node);
        match self.node.desk.advance_gets(&near, &Silent) {
            Ok(gone) => self.tell_gone(gone),
            Err(failure) => self.trouble(&failure),
        }
        self.requests.has_unasked().unwrap_or_default()
    }

    /// What came may answer a request of this node.
    fn look(&self, heard: Heard) {
        if heard.all {
            match self.requests.settle_all() {
                Ok(gone) => self.tell_gone(gone),
                Err(failure) => self.trouble(&failure),
            }
        }
        for message in heard.messages {
            match self.requests.settle(message) {
                Ok(None) => {}
                Ok(Some(settled)) => {
                    let line = settled.line;
                    let what = line.why.unwrap_or(line.state).into_owned();
                    self.node.board.happened("answer", Some(line.id), Some(line.to), Some(what));
                    self.tell_gone(settled.gone);
                }
                Err(failure) => self.trouble(&failure),
            }
        }
    }

    /// Requests that need no answer any more are offered to nobody.
    fn tell_gone(&self, gone: Vec<BundleId>) {
        if !gone.is_empty() {
            self.handle.block_on(self.node.gone(gone));
        }
    }

    fn trouble(&self, failure: &Failure) {
        self.node.board.trouble(failure);
    }
}
