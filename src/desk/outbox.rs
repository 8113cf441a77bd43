//! Sending what lies in an outbox exactly once.
//!
//! A file is marked as sent in the same commit as its message. Whoever stops between that and
//! putting the file aside finds the mark, and does not send it again.

use std::collections::BTreeSet;

use postrider_base::packet::Body;
use postrider_spool::Spool;

use super::{
    Desk, Failure, SendRequest, Watch,
    call_back::Beside,
    clock,
    inbox::note_keys,
    ledger::{remove_note, set_note, space},
    reply::Sent,
};

/// Marks removed in one commit.
const TOGETHER: usize = 256;

impl Desk {
    /// Sends a message unless one was sent under this mark; then `None`.
    pub fn send_once(
        &self,
        request: &SendRequest,
        mark: &[u8],
        watch: &dyn Watch,
    ) -> Result<Option<Sent>, Failure> {
        let spool = self.spool(watch)?;
        if spool.note(space::OUTBOX, mark)?.is_some() {
            return Ok(None);
        }
        let more = vec![set_note(space::OUTBOX, mark, Vec::new())];
        Ok(Some(self.send_by(spool, request, &Body::Files, Beside::Changes(more), watch)?.0))
    }

    /// Forgets a mark: what it stood for was put aside.
    pub fn forget_mark(&self, mark: &[u8], watch: &dyn Watch) -> Result<(), Failure> {
        self.spool(watch)?.commit(clock::now(), vec![remove_note(space::OUTBOX, mark)])?;
        Ok(())
    }

    /// Forgets every mark but these.
    pub fn forget_marks_but(
        &self,
        marks: &BTreeSet<Vec<u8>>,
        watch: &dyn Watch,
    ) -> Result<(), Failure> {
        let spool = self.spool(watch)?;
        let mut old = note_keys(spool, space::OUTBOX)?;
        old.retain(|mark| !marks.contains(mark));
        for some in old.chunks(TOGETHER) {
            let changes = some.iter().map(|mark| remove_note(space::OUTBOX, mark)).collect();
            spool.commit(clock::now(), changes)?;
        }
        Ok(())
    }
}
