//! What the router wants remembered: meetings, and how near those are who have been offered a bundle;
//! and what it asks by whom mail is for.

use std::collections::BTreeMap;

use postrider_base::{BundleId, NodeId, bundle::Hop};
use postrider_engine::{
    node::{Answer, Place},
    router::{Meeting, NodeHint},
};
use postrider_spool::{Change, Cursor, DurableSpool, Queue, Spool};

use super::{
    Failure, clock,
    inbox::note_keys,
    ledger::{MeetingNote, remove_note, set_note, space},
    live::Live,
};
use crate::home::Contacts;

/// Changes that are written in one group.
const GROUP: usize = 1024;

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
            rows.extend(self.rows(&page)?);
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
            if changes.len() == GROUP {
                self.spool.commit(clock::now(), std::mem::take(&mut changes))?;
            }
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
        if list.is_empty() {
            return Ok(());
        }
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

/// How near this node is to another, as a level, from what the spool remembers of meetings and what the
/// owner says of them. A running node knows more: whom its neighbours meet.
pub(super) fn near(
    spool: &DurableSpool,
    contacts: &Contacts,
    node: &NodeId,
) -> Result<u8, Failure> {
    let note = spool.note(space::MEETING, node.as_bytes())?;
    let met = note.as_deref().and_then(MeetingNote::read);
    let held_ms = spool.held_ms(clock::now());
    let met = met.map_or(0, |note| note.meeting().level_at(held_ms));
    let said = contacts.of(node).and_then(|contact| contact.meets);
    Ok(met.max(said.map_or(0, Meeting::expected)))
}

#[cfg(test)]
mod tests {
    use postrider_base::Niceness;
    use postrider_engine::router::hint;

    use super::*;
    use crate::desk::{AddRequest, Desk, InitRequest, SendRequest, Silent};

    #[test]
    fn meetings_and_levels_outlive_the_process_and_mail_is_found_by_whom_it_is_for() {
        let dir = tempfile::tempdir().unwrap();
        let desk = |name: &str| {
            let home = dir.path().join(name);
            let request = InitRequest { home, name: Some(name.into()), even_if_public: false };
            Desk::init(&request).unwrap().0
        };
        let (alice, bob, carl) = (desk("Alice"), desk("Bob"), desk("Carl"));
        for other in [&bob, &carl] {
            alice.add(&AddRequest { card: other.home().card.clone(), name: None }).unwrap();
        }
        for (to, nice) in
            [("Bob", Niceness::BULK), ("Carl", Niceness::NORMAL), ("Bob", Niceness::NORMAL)]
        {
            let request = SendRequest {
                to: to.into(),
                text: Some("hi".into()),
                files: Vec::new(),
                nice: Some(nice),
                lifetime: None,
                hidden: None,
                reply_to: None,
                supersede: None,
            };
            alice.send(&request, &Silent).unwrap();
        }
        let [to_bob, to_carl] = [&bob, &carl].map(|desk| desk.home().card.node);
        let live = alice.open_live(&Silent).unwrap();
        let page = |nodes: &[NodeId], after, limit| {
            let hints: Vec<NodeHint> = nodes.iter().map(hint).collect();
            match live.toward(&hints, after, limit).unwrap() {
                Answer::Rows { rows, more, .. } => (rows, more),
                other => panic!("{other:?}"),
            }
        };
        let (rows, more) = page(&[to_bob, to_carl], None, 9);
        assert_eq!(rows.iter().map(|row| row.nice).collect::<Vec<_>>(), [160, 224, 160]);
        assert!(!more);
        let (first, more) = page(&[to_bob, to_carl], None, 1);
        let after = first.first().map(|row| Place { nice: row.nice, arrival: row.arrival });
        assert!(more);
        assert_eq!(page(&[to_bob, to_carl], after, 9).0, rows[1..]);
        let id = rows[0].id;
        live.raise(&BTreeMap::from([(id, 40), (BundleId([7; 32]), 9)])).unwrap();
        live.raise(&BTreeMap::from([(id, 30)])).unwrap();
        let meeting = Meeting { worth: 1500, counted_ms: 77 };
        live.remember_meetings(&BTreeMap::from([(to_bob, meeting), (to_carl, meeting)])).unwrap();
        live.remember_meetings(&BTreeMap::from([(to_carl, Meeting::default())])).unwrap();
        drop(alice);
        let alice = Desk::open(&dir.path().join("Alice")).unwrap();
        let live = alice.open_live(&Silent).unwrap();
        assert_eq!(live.meetings().unwrap(), [(to_bob, meeting)]);
        let hop = live.load(&id).unwrap().unwrap().hop;
        assert_eq!((hop.level, hop.tokens), (40, Hop::TOKENS_NORMAL), "a level never falls");
    }
}
