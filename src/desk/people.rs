//! `add`, `contact`: whom I know.

use postrider_base::{Card, NodeId, words};
use serde::{Deserialize, Serialize};

use super::{Desk, Failure, FailureKind, reply::ContactLine};
use crate::home::{Added, Contact, Contacts, Trust};

/// Cards to accept.
#[derive(Clone, Debug)]
pub struct AddRequest {
    /// The card.
    pub card: Card,
    /// What to call its owner; the suggested name by default.
    pub name: Option<String>,
}

/// A change to a contact.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContactChange {
    /// Another petname.
    Rename(String),
    /// The words were compared.
    Verify,
    /// Refuse what they send, or no longer.
    Block(bool),
    /// Hidden envelopes to them: always, never, or as their card says.
    Hidden(Option<bool>),
    /// Forget them.
    Remove,
}

impl Desk {
    /// Takes a card. One's own, or an older one, changes nothing.
    pub fn add(&self, request: &AddRequest) -> Result<ContactLine, Failure> {
        if request.card.node == self.home.card.node {
            return Err(Failure::new(FailureKind::Usage, "this is your own card")
                .next("give it to others; add the card that they give you"));
        }
        let line = self.home.edit_contacts(|contacts| {
            let (added, contact) =
                contacts.add(request.card.clone(), request.name.as_deref(), Trust::Unverified)?;
            let added = match added {
                Added::New => "new",
                Added::Updated => "updated",
                Added::Known => "known",
            };
            Ok(ContactLine { added: Some(added.into()), ..contact_line(contact, false) })
        })?;
        // The words take a tenth of a second: not while others wait for the file.
        let words = words::words(&request.card.node).map(str::to_owned).to_vec();
        Ok(ContactLine { words: Some(words), ..line })
    }

    /// Everybody I know.
    pub fn contacts(&self) -> Result<Vec<ContactLine>, Failure> {
        Ok(self.home.contacts()?.iter().map(|contact| contact_line(contact, false)).collect())
    }

    /// One contact, with the comparison words.
    pub fn contact(&self, who: &str) -> Result<ContactLine, Failure> {
        Ok(contact_line(self.home.contacts()?.resolve(who)?, true))
    }

    /// Changes one contact; returns it as it is (or was, when forgotten).
    pub fn change_contact(
        &self,
        who: &str,
        change: &ContactChange,
    ) -> Result<ContactLine, Failure> {
        let changed = self.home.edit_contacts(|contacts| {
            let node = contacts.resolve(who)?.card.node;
            let before = contact_line(contacts.resolve(who)?, false);
            match change {
                ContactChange::Rename(name) => contacts.rename(&node, name)?,
                ContactChange::Verify => {
                    contacts.change(&node, |contact| contact.trust = Trust::Verified);
                }
                ContactChange::Block(blocked) => {
                    contacts.change(&node, |contact| contact.blocked = *blocked);
                }
                ContactChange::Hidden(hidden) => {
                    contacts.change(&node, |contact| contact.hidden = *hidden);
                }
                ContactChange::Remove => contacts.remove(&node),
            }
            Ok(contacts.of(&node).map_or(before, |contact| contact_line(contact, false)))
        })?;
        Ok(changed)
    }
}

/// The petname of a key, or the key itself.
pub(super) fn name_of(contacts: &Contacts, node: &NodeId) -> String {
    contacts.of(node).map_or_else(|| node.to_string(), |contact| contact.name.clone())
}

/// Whether mail to this contact goes in hidden envelopes: my choice, else their card's wish.
pub(super) fn is_hidden(contact: &Contact) -> bool {
    contact.hidden.unwrap_or_else(|| contact.card.wants_hidden())
}

fn contact_line(contact: &Contact, with_words: bool) -> ContactLine {
    ContactLine {
        name: contact.name.clone(),
        id: contact.card.node.to_string(),
        trust: contact.trust,
        blocked: contact.blocked,
        hidden: is_hidden(contact),
        words: with_words.then(|| words::words(&contact.card.node).map(str::to_owned).to_vec()),
        added: None,
    }
}
