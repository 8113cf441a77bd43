//! The thread that stages: bodies are written here piece by piece, in the order in which they come,
//! and parts of files for us opened.
//!
//! What is whole goes on to the keeper, so that the next body is written while the last is opened
//! and synced.

use std::collections::HashMap;

use bytes::Bytes;
use postrider_base::{
    BundleId, NodeId,
    bundle::{Hop, Receipt},
};
use postrider_engine::{
    node::{Answer, Body, Custody, Input, NewBundle, Seen, Ticket, TransferId},
    router::Meeting,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{board::Board, cut::Taker, engine_task::ToEngine, keeper::Task};
use crate::desk::{
    Failure, FailureKind,
    live::{Arrival, Arrivals, Arriving},
};

/// What the engine orders; in order.
#[derive(Debug)]
pub(super) enum Order {
    Stage {
        transfer: TransferId,
        length: u64,
        head: Bytes,
        custody: Custody,
    },
    /// The permit is freed when the bytes are written, so that a link is read no faster than that.
    Append {
        transfer: TransferId,
        bytes: Bytes,
        permit: Option<OwnedSemaphorePermit>,
    },
    Read {
        ticket: Ticket,
        transfer: TransferId,
        at: u64,
        bytes: usize,
    },
    Drop {
        transfer: TransferId,
    },
    Keep {
        ticket: Ticket,
        bundle: Box<NewBundle>,
    },
    Change {
        ticket: Ticket,
        id: BundleId,
        hop: Hop,
    },
    Raise {
        id: BundleId,
        level: u8,
    },
    Met {
        node: NodeId,
        meeting: Meeting,
    },
    TakeReceipts {
        ticket: Ticket,
        from: Option<NodeId>,
        list: Vec<Receipt>,
    },
    Remember {
        peer: NodeId,
        mine: Option<Seen>,
        theirs: Option<Seen>,
    },
    Carried {
        id: BundleId,
        peer: NodeId,
    },
    Held {
        id: BundleId,
        peer: NodeId,
        at: u64,
    },
    HandOut {
        transfer: TransferId,
        to: Taker,
    },
}

pub(super) struct Stager<'a> {
    pub arrivals: Arrivals<'a>,
    pub engine: mpsc::Sender<ToEngine>,
    pub keeper: mpsc::Sender<Task>,
    pub board: &'a Board,
    pub bodies: HashMap<TransferId, Arriving>,
}

impl Stager<'_> {
    /// Works until nobody orders any more.
    pub(super) fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some(order) = orders.blocking_recv() {
            let Some(task) = self.obey(order) else { continue };
            if self.keeper.blocking_send(task).is_err() {
                return;
            }
        }
    }

    /// Does what concerns bodies; the rest is for the keeper.
    fn obey(&mut self, order: Order) -> Option<Task> {
        Some(match order {
            Order::Stage { transfer, length, head, custody } => {
                match self.stage(length, &head, custody) {
                    Ok(arriving) => {
                        self.bodies.insert(transfer, arriving);
                    }
                    Err(failure) => self.lost(transfer, &failure),
                }
                return None;
            }
            Order::Append { transfer, bytes, permit } => {
                if let Some(arriving) = self.bodies.get_mut(&transfer)
                    && let Err(failure) = self.arrivals.append(arriving, &bytes)
                {
                    self.bodies.remove(&transfer);
                    self.lost(transfer, &failure);
                }
                drop(permit);
                return None;
            }
            Order::Read { ticket, transfer, at, bytes } => {
                let read = self.read(transfer, at, bytes);
                let answer = Input::Done { ticket, answer: Answer::Read(read) };
                // The engine's task may be gone already; then nobody waits for it.
                let _ = self.engine.blocking_send(ToEngine::input(answer));
                return None;
            }
            Order::Drop { transfer } => {
                self.bodies.remove(&transfer);
                return None;
            }
            Order::HandOut { transfer, to } => {
                if let Some(arriving) = self.bodies.remove(&transfer) {
                    // Whoever asked may have lost patience; then it comes again.
                    let _ = to.try_send(arriving);
                }
                return None;
            }
            Order::Keep { ticket, bundle } => {
                let arriving = match &bundle.body {
                    Body::Staged(transfer) => self.bodies.remove(transfer),
                    Body::Inline(_) => None,
                };
                Task::Keep { ticket, arrival: Box::new(Arrival { bundle, arriving }) }
            }
            Order::Change { ticket, id, hop } => Task::Change { ticket, id, hop },
            Order::Raise { id, level } => Task::Raise { id, level },
            Order::Met { node, meeting } => Task::Met { node, meeting },
            Order::TakeReceipts { ticket, from, list } => Task::TakeReceipts { ticket, from, list },
            Order::Remember { peer, mine, theirs } => Task::Remember { peer, mine, theirs },
            Order::Carried { id, peer } => Task::Carried { id, peer },
            Order::Held { id, peer, at } => Task::Held { id, peer, at },
        })
    }

    fn stage(&self, length: u64, head: &[u8], custody: Custody) -> Result<Arriving, Failure> {
        if length > self.board.free_bytes() {
            return Err(Failure::new(FailureKind::Full, "there is no room for a body"));
        }
        self.arrivals.begin(head, length, custody)
    }

    fn read(&self, transfer: TransferId, at: u64, bytes: usize) -> Option<Bytes> {
        self.bodies.get(&transfer)?.read(at, bytes).unwrap_or_else(|failure| {
            self.board.trouble(&failure);
            None
        })
    }

    fn lost(&self, transfer: TransferId, failure: &Failure) {
        self.board.trouble(failure);
        let full = failure.kind == FailureKind::Full;
        // The engine's task may be gone already; then nobody waits for it.
        let _ = self.engine.blocking_send(ToEngine::input(Input::StageLost { transfer, full }));
    }
}
