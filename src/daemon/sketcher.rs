//! The thread that computes sketches: what takes long and needs nothing but a processor.

use postrider_engine::{
    node::{Answer, Input, Ticket},
    reconcile::Work,
};
use tokio::sync::mpsc;

use super::engine_task::ToEngine;

/// Works until nobody asks any more. One thread: reconciliations wait for each other, not the links.
pub(super) fn run(mut asked: mpsc::Receiver<(Ticket, Box<Work>)>, engine: &mpsc::Sender<ToEngine>) {
    while let Some((ticket, work)) = asked.blocking_recv() {
        let answer = Answer::Sketched(Box::new(work.run()));
        if engine.blocking_send(ToEngine::input(Input::Done { ticket, answer })).is_err() {
            return;
        }
    }
}
