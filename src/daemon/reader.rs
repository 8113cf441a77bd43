//! The thread that reads: what the engine asks of the spool, without waiting for a sync.

use postrider_base::BundleId;
use postrider_engine::{
    carriage::Lent,
    exchange::CHUNK_MAX,
    node::{Answer, Class, Input, Place, ShortId, Ticket},
    router::NodeHint,
};
use tokio::sync::mpsc;

use super::{board::Board, engine_task::ToEngine};
use crate::desk::{Failure, live::Live};

/// A question, with the ticket of its answer.
#[derive(Debug)]
pub(super) enum Question {
    Since { after: u64, limit: usize },
    Page { class: Class, after: Option<Place>, limit: usize },
    Toward { nodes: Vec<NodeHint>, after: Option<Place>, limit: usize },
    Look { ids: Vec<ShortId> },
    Load { id: BundleId },
    Read { id: BundleId, at: u64, bytes: usize },
    ReceiptsSince { after: u64, limit: usize },
}

/// Answers until nobody asks any more.
pub(super) fn run(
    live: Live<'_>,
    mut questions: mpsc::Receiver<(Ticket, Question)>,
    engine: &mpsc::Sender<ToEngine>,
    board: &Board,
) {
    let mut lent = Lent::default();
    while let Some((ticket, question)) = questions.blocking_recv() {
        let answer = answer(live, question, &mut lent).unwrap_or_else(|failure| {
            board.trouble(&failure);
            Answer::Failed
        });
        if engine.blocking_send(ToEngine::input(Input::Done { ticket, answer })).is_err() {
            return;
        }
    }
}

fn answer(live: Live<'_>, question: Question, lent: &mut Lent) -> Result<Answer, Failure> {
    Ok(match question {
        Question::Since { after, limit } => live.since(after, limit)?,
        Question::Page { class, after, limit } => live.page(class, after, limit)?,
        Question::Toward { nodes, after, limit } => live.toward(&nodes, after, limit)?,
        Question::Look { ids } => Answer::Looked(live.look(&ids)?),
        Question::Load { id } => Answer::Loaded(live.load(&id)?),
        Question::Read { id, at, bytes } => {
            let large = bytes == CHUNK_MAX;
            let memory = if large { lent.take() } else { None };
            let read = live.read(&id, at, bytes, memory.unwrap_or_default())?;
            match &read {
                Some(piece) if large => lent.note(piece),
                _ => lent.note_small(),
            }
            Answer::Read(read)
        }
        Question::ReceiptsSince { after, limit } => live.receipts_since(after, limit)?,
    })
}
