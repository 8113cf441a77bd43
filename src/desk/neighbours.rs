//! Nodes that links went to: who, where, and when something was last heard of them.

use postrider_base::NodeId;
use postrider_spool::Spool;

use super::{
    Desk, Failure, Watch, clock,
    inbox::note_keys,
    ledger::{NeighbourNote, remove_note, set_note, space},
};

/// Neighbours that are remembered. A listening node is dialled by whoever likes; beyond this the
/// one heard of longest ago is forgotten.
const NEIGHBOURS_MAX: usize = 1024;

/// A node that a link went to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Who.
    pub node: NodeId,
    /// Where it was dialled last, if it ever was.
    pub address: String,
    /// Seconds since something was heard of it, by this node's running time.
    pub last_seen_s: u64,
}

impl Desk {
    /// Neighbours of all times, the latest first.
    pub fn neighbours(&self, watch: &dyn Watch) -> Result<Vec<Neighbour>, Failure> {
        let spool = self.spool(watch)?;
        let held_ms = self.held_ms();
        let mut found = Vec::new();
        for key in note_keys(spool, space::NEIGHBOUR)? {
            let note = spool.note(space::NEIGHBOUR, &key)?;
            let (Some(note), Ok(node)) =
                (note.as_deref().and_then(NeighbourNote::read), NodeId::from_bytes(&key))
            else {
                continue;
            };
            let last_seen_s = held_ms.saturating_sub(note.2) / 1000;
            found.push(Neighbour { node, address: note.1, last_seen_s });
        }
        found.sort_by_key(|neighbour| neighbour.last_seen_s);
        Ok(found)
    }

    /// Remembers neighbours: who, where, and seconds since something was heard of them.
    pub fn remember_neighbours(
        &self,
        list: &[Neighbour],
        watch: &dyn Watch,
    ) -> Result<(), Failure> {
        let spool = self.spool(watch)?;
        let held_ms = self.held_ms();
        let mut changes = Vec::new();
        for Neighbour { node, address, last_seen_s } in list {
            let old = spool.note(space::NEIGHBOUR, node.as_bytes())?;
            let old = old.as_deref().and_then(NeighbourNote::read).map(|note| note.1);
            // Where it was when it dialled is no place to dial it.
            let address =
                if address.is_empty() { old.unwrap_or_default() } else { address.clone() };
            let note = NeighbourNote::new(&address, held_ms.saturating_sub(last_seen_s * 1000));
            changes.push(set_note(space::NEIGHBOUR, node.as_bytes(), note.encode()));
        }
        spool.commit(clock::now(), changes)?;
        let all = self.neighbours(watch)?;
        let over = all.get(NEIGHBOURS_MAX..).unwrap_or_default();
        if !over.is_empty() {
            let forget = |old: &Neighbour| remove_note(space::NEIGHBOUR, old.node.as_bytes());
            spool.commit(clock::now(), over.iter().map(forget).collect())?;
        }
        Ok(())
    }
}
