//! What comes in about files on request: others' for this node, and what is said to mine.

use std::io::Read;

use postrider_base::{
    BundleId, NodeId,
    packet::{Body, Packet, Request},
};
use postrider_spool::{Change, Spool};

use super::{Group, Intake, jobs::Came, lock};
use crate::desk::{
    Failure, clock,
    ledger::{MessageNote, event, set_note, space},
    requests::{AnswerNote, AskedNote, CameNote, key},
};

/// Requests of one who asks that wait; more than anybody asks by hand before a node answers.
const WAITING_MAX: usize = 256;

impl Intake<'_> {
    /// Puts bytes that another source sent in the place of a part that has not come. Whether they are
    /// that part.
    pub(in crate::desk) fn fill(
        &self,
        key: &[u8; 24],
        index: u32,
        bytes: &mut dyn Read,
    ) -> Result<bool, Failure> {
        let mut group = lock(&self.group);
        group.sound()?;
        let mut changes = Vec::new();
        let Some(completed) = self.sets.fill(key, index, bytes, &mut changes)? else {
            return Ok(false);
        };
        if let Some(whole) = completed {
            let held_ms = self.spool.held_ms(clock::now());
            if let Some((receipt, until)) = whole.receipt {
                self.hand_on(&mut group, &receipt, until)?;
            }
            let author = self.spool.note(space::MESSAGE, &whole.message.0)?;
            let author = author.as_deref().and_then(MessageNote::read);
            let author = author.and_then(|note| NodeId::from_bytes(&note.1).ok());
            let author = author.map_or_else(String::new, |author| author.to_string());
            changes.push(event(&whole.message, held_ms, 1, ("received", &author, "")));
            group.pending.messages.push(whole.message);
        }
        group.changes.append(&mut changes);
        Ok(true)
    }

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
                Request::List { .. } | Request::Get { .. } | Request::Rest { .. } => {
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
        // Whoever was asked answers, and nobody else does.
        let asked = self.spool.note(space::REQUESTED, &request.0)?;
        let asked = asked.as_deref().and_then(AskedNote::read);
        if asked.is_none_or(|asked| asked.to() != Some(came.author)) {
            return Ok(());
        }
        // What waits in the group must be findable.
        self.flush_locked(group)?;
        // The first answer stands, unless it is of files that are not all here: another one takes its
        // place, since they may have changed before all of them were sent.
        if let Some(before) = self.spool.note(space::ANSWERED, &request.0)? {
            let before = AnswerNote::read(&before).and_then(|before| before.message());
            let Some(before) = before else { return Ok(()) };
            if self.is_complete(before)? {
                return Ok(());
            }
            for one in [before, came.id] {
                let rival = [request.0, one.0].concat();
                changes.push(set_note(space::RIVAL, &rival, Vec::new()));
            }
        }
        changes.push(set_note(space::ANSWERED, &request.0, note.encode()));
        changes.push(set_note(space::ANSWERS, &came.id.0, request.0.to_vec()));
        group.pending.answers.push(came.id);
        Ok(())
    }

    /// Whether nothing is missing of a message that came.
    fn is_complete(&self, message: BundleId) -> Result<bool, Failure> {
        let note = self.spool.note(space::MESSAGE, &message.0)?;
        // Without a set it came in one piece, or is no message any more.
        let in_parts = note.as_deref().and_then(MessageNote::read).is_some_and(|it| it.5.is_some());
        Ok(!in_parts || self.spool.note(space::COMPLETE, &message.0)?.is_some())
    }
}
