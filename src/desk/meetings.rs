//! What the router wants remembered: meetings, and how near those are who have been offered a bundle;
//! and what it asks by whom mail is for.

use std::collections::BTreeMap;

use postrider_base::{BundleId, NodeId, bundle::Hop};
use postrider_engine::{
    node::{Answer, Place},
    router::{Meeting, NodeHint},
};
use postrider_spool::{Change, Cursor, Queue, Spool};

use super::{
    Failure, clock,
    inbox::note_keys,
    ledger::{MeetingNote, remove_note, set_note, space},
    live::{Live, row},
};

impl Live<'_> {
    /// Live rows for nodes with these hints, in their order.
    pub fn toward(
        &self,
        nodes: &[NodeHint],
        after: Option<Place>,
        limit: usize,
    ) -> Result<Answer, Failure> {
        let upto = self.latest();
        let mut after = after.map(|place| Cursor { nice: place.nice, arrival: place.arrival });
        let mut rows = Vec::new();
        for hint in nodes {
            let left = limit - rows.len();
            let page = self.spool.page(Queue::Toward(*hint), after.take(), left)?;
            rows.extend(page.iter().map(row));
            if rows.len() >= limit {
                break;
            }
        }
        Ok(Answer::Rows { more: rows.len() >= limit, rows, upto })
    }

    /// Raises the levels of live bundles. What is written meanwhile must not be older than this: the
    /// keeper writes one thing after another.
    pub fn raise(&self, list: &BTreeMap<BundleId, u8>) -> Result<(), Failure> {
        let mut changes = Vec::new();
        for (id, level) in list {
            let Some(entry) = self.spool.entry(id)? else { continue };
            let hop = Hop { level: *level, ..entry.hop };
            changes.push(Change::Hop { id: *id, hop, class: entry.class });
        }
        if !changes.is_empty() {
            self.spool.commit(clock::now(), changes)?;
        }
        Ok(())
    }

    /// What is remembered of meetings.
    pub fn meetings(&self) -> Result<Vec<(NodeId, Meeting)>, Failure> {
        let mut list = Vec::new();
        for key in note_keys(self.spool, space::MEETING)? {
            let note = self.spool.note(space::MEETING, &key)?;
            let meeting = note.as_deref().and_then(MeetingNote::read).map(MeetingNote::meeting);
            list.extend(NodeId::from_bytes(&key).ok().zip(meeting));
        }
        Ok(list)
    }

    /// Remembers meetings; one that is worth nothing is forgotten.
    pub fn remember_meetings(&self, list: &BTreeMap<NodeId, Meeting>) -> Result<(), Failure> {
        let change = |(node, meeting): (&NodeId, &Meeting)| {
            let key = node.as_bytes();
            if meeting.worth == 0 {
                remove_note(space::MEETING, key)
            } else {
                set_note(space::MEETING, key, MeetingNote::new(*meeting).encode())
            }
        };
        self.spool.commit(clock::now(), list.iter().map(change).collect())?;
        Ok(())
    }
}
