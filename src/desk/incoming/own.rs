//! What comes back with this node's own signature: known as ours, or a sign that somebody else has
//! the key, or that this home was set back to an older state.

use postrider_base::{
    BundleId, Head,
    bundle::{Destination, SealKind, Sequence},
};
use postrider_spool::Spool;

use super::{Intake, Refusal};
use crate::desk::{
    Failure, alarm, clock,
    ledger::{set_note, space},
};

impl Intake<'_> {
    /// Looks at a bundle with our signature whose id is not known, and raises the alarm if this node
    /// cannot have made it. Each does so once.
    pub(super) fn check_own(&self, id: &BundleId, head: &Head) -> Result<(), Refusal> {
        let header = head.header();
        let Some((_, sequence)) = header.source() else { return Ok(()) };
        // What is remembered of parts and rosters ends with their lifetime; their numbers do not.
        let forgotten = header.seal != SealKind::Compact;
        let noted = |space| self.spool.note(space, &id.0).map(|note| note.is_some());
        let ours = noted(space::SENT)?
            || noted(space::ALARMED)?
            || forgotten && self.is_used(&header.destination, sequence)?;
        if ours {
            return Ok(());
        }
        self.alarms.raise(
            self.spool,
            alarm::Kind::Identity,
            "a bundle came that was signed with this node's key, and not by this node",
        )?;
        // The same bundle must not raise again what was cleared. It is not called known: whoever
        // reads that on a stick would think it delivered, and it may be mail that nobody has yet.
        let note = set_note(space::ALARMED, &id.0, Vec::new());
        self.spool.commit(clock::now(), vec![note])?;
        Ok(())
    }

    /// Whether this node has used a number.
    fn is_used(&self, destination: &Destination, sequence: Sequence) -> Result<bool, Failure> {
        // Taken to look at and not used; numbers may be skipped.
        let next = self.spool.take_sequence(&(*destination).into())?;
        if next.epoch == sequence.epoch {
            return Ok(sequence.counter < next.counter);
        }
        Ok(self.spool.note(space::EPOCH, &sequence.epoch.to_be_bytes())?.is_some())
    }
}
