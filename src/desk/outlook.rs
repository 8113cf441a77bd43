//! Whom a bundle that waits here is for, and what meetings say of when it arrives.
//!
//! Headers of hidden bundles name nobody; who wrote one, or has the card of whom it is for, knows all
//! the same.

use postrider_base::{Head, NodeId};
use postrider_engine::{node::Row, router::Outlook};
use postrider_spool::{Destination, DurableSpool, Entry, Spool};

use super::{
    Desk, Failure, Watch,
    ledger::{OwnNote, SentNote, space},
    live::row,
    meetings::near,
    people::{name_of, tagged},
};
use crate::home::Contacts;

/// A bundle that waits here to be brought to somebody.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The first one of the message, or the one that was asked for.
    pub row: Row,
    /// For whom.
    pub to: NodeId,
    /// What they are called here.
    pub name: String,
}

impl Desk {
    /// What waits behind an id; `None` where nothing does, or it is for nobody that is named, or it is
    /// kept here.
    pub fn waiting(&self, id: &str, watch: &dyn Watch) -> Result<Option<Waiting>, Failure> {
        let Some(row) = self.rows(id, watch).unwrap_or_default().into_iter().next() else {
            return Ok(None);
        };
        let Some(to) = row.recipient().and_then(|key| NodeId::from_bytes(&key).ok()) else {
            return Ok(None);
        };
        let contacts = self.home.contacts()?;
        if to == self.home.card.node || contacts.rosters().revoked_by(&to).is_some() {
            return Ok(None);
        }
        Ok(Some(Waiting { name: name_of(&contacts, &to), row, to }))
    }

    /// How soon it may arrive, from what the spool remembers of meetings. A running node knows more:
    /// whom its neighbours meet.
    pub fn outlook(&self, waiting: &Waiting, watch: &dyn Watch) -> Result<Outlook, Failure> {
        let mine = near(self.spool(watch)?, &*self.home.contacts()?, &waiting.to)?;
        Ok(Outlook::of(mine, waiting.row.hop.level))
    }
}

/// A bundle of the spool as the engine sees it, with whom it is for.
pub(super) fn row_for(
    spool: &DurableSpool,
    contacts: &Contacts,
    entry: &Entry,
) -> Result<Row, Failure> {
    let tagged_for = match entry.summary.destination {
        Destination::Tag(_) => tagged_for(spool, contacts, entry)?,
        _ => None,
    };
    Ok(Row { tagged_for, ..row(entry) })
}

fn tagged_for(
    spool: &DurableSpool,
    contacts: &Contacts,
    entry: &Entry,
) -> Result<Option<[u8; 32]>, Failure> {
    let Some(envelope) = spool.envelope(&entry.id)? else { return Ok(None) };
    if let Some(own) = envelope.own.as_deref().and_then(OwnNote::read) {
        let message = match own.set() {
            Some(set) => spool.note(space::SENT_SET, &set.0)?,
            None => Some(entry.id.0.to_vec()),
        };
        let sent = message.map(|id| spool.note(space::SENT, &id)).transpose()?.flatten();
        let sent = sent.as_deref().and_then(SentNote::read);
        return Ok(sent.and_then(|sent| sent.1.as_slice().try_into().ok()));
    }
    let Ok(head) = Head::decode(&envelope.head) else { return Ok(None) };
    Ok(tagged(contacts, head.header()).map(|contact| *contact.card.node.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use postrider_engine::{
        node::Answer,
        router::{Holder, Meeting, WORTH_UNKNOWN},
    };

    use super::*;
    use crate::desk::{AddRequest, ContactChange, InitRequest, SendRequest, Silent};

    fn person(dir: &std::path::Path, name: &str) -> Desk {
        let request =
            InitRequest { home: dir.join(name), name: Some(name.into()), even_if_public: false };
        Desk::init(&request).unwrap().0
    }

    fn hidden(desk: &Desk, to: &str) -> String {
        let request = SendRequest {
            to: to.into(),
            text: Some("hidden".into()),
            files: Vec::new(),
            nice: None,
            lifetime: None,
            hidden: Some(true),
            reply_to: None,
            supersede: None,
        };
        desk.send(&request, &Silent).unwrap().id
    }

    /// The engine is told, so that it goes to them over any link; by the author, and by whoever has
    /// the card.
    #[test]
    fn of_a_hidden_bundle_it_is_known_whom_it_is_for_where_that_can_be_known() {
        let dir = tempfile::tempdir().unwrap();
        let [alice, bob, sam, eve] =
            ["Alice", "Bob", "Sam", "Eve"].map(|name| person(dir.path(), name));
        for desk in [&alice, &sam] {
            desk.add(&AddRequest { card: bob.home().card.clone(), name: None }).unwrap();
        }
        hidden(&alice, "Bob");
        let mut packed = Vec::new();
        alice.pack(&[], &mut packed, &Silent).unwrap();
        let to = |desk: &Desk| {
            let rows = desk.open_live(&Silent).unwrap().since(0, 9).unwrap();
            let Answer::Rows { rows, .. } = rows else { panic!("{rows:?}") };
            assert_eq!(rows.len(), 1);
            rows[0].recipient()
        };
        sam.change_contact("Bob", &ContactChange::Meets(Some(30))).unwrap();
        for desk in [&sam, &eve] {
            desk.unpack(&mut &packed[..], &Silent).unwrap();
        }
        let for_bob = Some(*bob.home().card.node.as_bytes());
        assert_eq!([&alice, &sam, &eve].map(to), [for_bob, for_bob, None]);
        // What came without a link is worth what the spool knows of meetings.
        let worth = |desk: &Desk| desk.spool(&Silent).unwrap().since(0, 1).unwrap()[0].worth;
        assert_eq!([&sam, &eve].map(worth), [Meeting::expected(30), WORTH_UNKNOWN]);
        assert!(Meeting::expected(30) > WORTH_UNKNOWN);
    }

    #[test]
    fn without_a_running_node_the_spool_tells_how_often_the_recipient_is_met() {
        let dir = tempfile::tempdir().unwrap();
        let (alice, bob) = (person(dir.path(), "Alice"), person(dir.path(), "Bob"));
        alice.add(&AddRequest { card: bob.home().card.clone(), name: None }).unwrap();
        let id = hidden(&alice, "Bob");
        let outlook = || {
            let waiting = alice.waiting(&id, &Silent).unwrap().unwrap();
            assert_eq!(waiting.name, "Bob");
            alice.outlook(&waiting, &Silent).unwrap()
        };
        assert_eq!(outlook(), Outlook::Unknown);
        alice.change_contact("Bob", &ContactChange::Meets(Some(3))).unwrap();
        let Outlook::Meets { by: Holder::Here, half_s, .. } = outlook() else { panic!("said") };
        assert_eq!(half_s, 7 * 86_400, "three a month are worth one");
        let live = alice.open_live(&Silent).unwrap();
        let met = Meeting { worth: 4096, counted_ms: live.held_ms() };
        live.remember_meetings(&BTreeMap::from([(bob.home().card.node, met)])).unwrap();
        assert_eq!(outlook().half_s(), Some(7 * 86_400 / 4));
        let row = alice.rows(&id, &Silent).unwrap().remove(0);
        live.raise(&BTreeMap::from([(row.id, u8::MAX)])).unwrap();
        assert!(matches!(outlook(), Outlook::Meets { by: Holder::Elsewhere, .. }));
        // Nothing is said of what has ended, and nothing of nobody.
        alice.cancel(&id, &Silent).unwrap();
        assert!(alice.waiting(&id, &Silent).unwrap().is_none());
        assert!(alice.waiting("abcdef", &Silent).unwrap().is_none());
    }
}
