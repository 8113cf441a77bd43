//! What comes in about files on request: others' for this node, and what is said to mine.

use postrider_base::packet::{Body, Packet, Request};
use postrider_spool::{Change, Spool};

use super::{Group, Intake, jobs::Came, lock};
use crate::desk::{
    Failure,
    ledger::{set_note, space},
    requests::{AnswerNote, AskedNote, CameNote, key},
};

/// Requests of one who asks that wait; more than anybody asks by hand before a node answers.
const WAITING_MAX: usize = 256;

impl Intake<'_> {
    /// Notes what a packet asks or answers, in the group that delivers it.
    ///
    /// Nothing is decided here: a request is kept until it was answered, whether this node answers now
    /// or not.
    pub(super) fn note_request(
        &self,
        came: &Came,
        packet: &Packet,
        group: &mut Group,
        changes: &mut Vec<Change>,
    ) -> Result<(), Failure> {
        let (request, note) = match (&packet.body, packet.tail.reply_to) {
            (Body::Request(request), _) => match &**request {
                Request::Answer { request: of, .. } => {
                    (*of, AnswerNote::said(request, came.held_ms))
                }
                Request::List { .. } | Request::Get { .. } => {
                    // Whoever is no contact could not be answered.
                    let known = lock(&self.contacts).of(&came.author).is_some();
                    let asker = came.author.as_bytes();
                    let waiting = self.spool.notes(space::REQUEST, asker, None, WAITING_MAX)?;
                    if !known || waiting.len() >= WAITING_MAX {
                        return Ok(());
                    }
                    let note = CameNote::new(request, came.held_ms);
                    let key = key(&came.author, &came.id);
                    changes.push(set_note(space::REQUEST, &key, note.encode()));
                    group.pending.asked = true;
                    return Ok(());
                }
            },
            (Body::Files(_), Some(of)) => (of, AnswerNote::files(&came.id, came.held_ms)),
            _ => return Ok(()),
        };
        // Whoever was asked answers, and nobody else does. The first answer stands.
        let asked = self.spool.note(space::REQUESTED, &request.0)?;
        let asked = asked.as_deref().and_then(AskedNote::read);
        if asked.is_none_or(|asked| asked.to() != Some(came.author))
            || self.spool.note(space::ANSWERED, &request.0)?.is_some()
        {
            return Ok(());
        }
        changes.push(set_note(space::ANSWERED, &request.0, note.encode()));
        changes.push(set_note(space::ANSWERS, &came.id.0, request.0.to_vec()));
        group.pending.answers.push(came.id);
        Ok(())
    }
}
