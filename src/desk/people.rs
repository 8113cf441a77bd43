//! `add`, `contact`: whom I know.

use std::collections::HashSet;

use postrider_base::{
    Card, Head, Header, NodeId, SealPublic, bundle::resolve_tag, packet::Handle, words,
};
use postrider_spool::{Destination, Summary};
use serde::{Deserialize, Serialize};

use super::{Desk, Failure, FailureKind, reply::ContactLine};
use crate::home::{Added, By, Contact, Contacts, Trust};

/// Labels of one contact: a line of them.
const LABELS_MAX: usize = 16;

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
    /// They were introduced, and are a contact as any other from now on.
    Accept,
    /// Refuse what they send, or no longer.
    Block(bool),
    /// Hidden envelopes to them: always, never, or as their card says.
    Hidden(Option<bool>),
    /// How often a month they are met, as far as I can say; nothing leaves it to what happens.
    Meets(Option<u16>),
    /// Under which labels something is run on several at once.
    Labels(Vec<String>),
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
        let known = self.home.contacts()?;
        let line = self.home.edit_contacts(|contacts| {
            let (added, contact) =
                contacts.add(request.card.clone(), request.name.as_deref(), Trust::Unverified)?;
            let added = match added {
                Added::New => "new",
                Added::Updated => "updated",
                Added::Known => "known",
            };
            let line = contact_line(&known, contact, false);
            Ok(ContactLine { added: Some(added.into()), ..line })
        })?;
        // The words take a tenth of a second: not while others wait for the file.
        let words = words::words(&request.card.node).map(str::to_owned).to_vec();
        Ok(ContactLine { words: Some(words), ..line })
    }

    /// Everybody I know.
    pub fn contacts(&self) -> Result<Vec<ContactLine>, Failure> {
        let contacts = self.home.contacts()?;
        Ok(contacts.iter().map(|contact| contact_line(&contacts, contact, false)).collect())
    }

    /// One contact, with the comparison words.
    pub fn contact(&self, who: &str) -> Result<ContactLine, Failure> {
        let contacts = self.home.contacts()?;
        Ok(contact_line(&contacts, contacts.resolve(who)?, true))
    }

    /// Changes one contact; returns it as it is (or was, when forgotten).
    pub fn change_contact(
        &self,
        who: &str,
        change: &ContactChange,
    ) -> Result<ContactLine, Failure> {
        if let ContactChange::Labels(labels) = change {
            check_labels(labels)?;
        }
        let known = self.home.contacts()?;
        let changed = self.home.edit_contacts(|contacts| {
            let node = contacts.resolve(who)?.card.node;
            let before = contact_line(&known, contacts.resolve(who)?, false);
            match change {
                ContactChange::Rename(name) => contacts.rename(&node, name)?,
                ContactChange::Verify => {
                    contacts.change(&node, |contact| {
                        contact.trust = Trust::Verified;
                        contact.pending = false;
                    });
                }
                ContactChange::Accept => {
                    contacts.change(&node, |contact| contact.pending = false);
                }
                ContactChange::Block(blocked) => {
                    // Whom I block is my own affair from then on: no roster takes them away again.
                    contacts.change(&node, |contact| contact.blocked = *blocked);
                }
                ContactChange::Hidden(hidden) => {
                    contacts.change(&node, |contact| contact.hidden = *hidden);
                }
                ContactChange::Meets(meets) => {
                    contacts.change(&node, |contact| contact.meets = *meets);
                }
                ContactChange::Labels(labels) => {
                    contacts.change(&node, |contact| contact.labels.clone_from(labels));
                }
                ContactChange::Remove => contacts.remove(&node),
            }
            Ok(contacts.of(&node).map_or(before, |contact| contact_line(&known, contact, false)))
        })?;
        Ok(changed)
    }
}

/// Whom the tag of a hidden bundle stands for, if that is a contact.
pub(super) fn tagged<'a>(contacts: &'a Contacts, header: &Header) -> Option<&'a Contact> {
    let key = resolve_tag(header, contacts.iter().map(|contact| contact.card.seal_key()))?;
    contacts.iter().find(|contact| contact.card.seal_key() == key)
}

/// The petname of a key, or the key itself.
pub(super) fn name_of(contacts: &Contacts, node: &NodeId) -> String {
    contacts.of(node).map_or_else(|| node.to_string(), |contact| contact.name.clone())
}

/// For whom nothing goes out, made ready to be asked for every bundle of a spool.
pub(super) struct Shut {
    nodes: HashSet<[u8; 32]>,
    /// They resolve tags, at a hash each.
    keys: Vec<SealPublic>,
}

impl Shut {
    pub(super) fn new(contacts: &Contacts) -> Self {
        let nodes: HashSet<_> = contacts.blocked().map(|node| *node.as_bytes()).collect();
        let shut = contacts.iter().filter(|c| nodes.contains(c.card.node.as_bytes()));
        let keys = shut.map(|contact| *contact.card.seal_key()).collect();
        Self { nodes, keys }
    }

    /// Whether a bundle is for one of them.
    pub(super) fn has(&self, of: &Summary, head: &[u8]) -> bool {
        match of.destination {
            Destination::Group(_) => false,
            Destination::Node(node) => self.nodes.contains(&node),
            Destination::Tag(_) => {
                let fits = |head: Head| resolve_tag(head.header(), &self.keys).is_some();
                !self.keys.is_empty() && Head::decode(head).is_ok_and(fits)
            }
        }
    }
}

/// Whether mail to this contact goes in hidden envelopes: my choice, else their card's wish.
pub(super) fn is_hidden(contact: &Contact) -> bool {
    contact.hidden.unwrap_or_else(|| contact.card.wants_hidden())
}

/// A label is called as a handle is: it stands among the words of a command line, between commas.
fn check_labels(labels: &[String]) -> Result<(), Failure> {
    let wrong = labels.iter().find(|label| label.parse::<Handle>().is_err());
    let what = match wrong {
        Some(wrong) => {
            format!("{wrong:?} is no label: 1 to 64 of a-z 0-9 . _ -, a letter or digit first")
        }
        None if labels.len() > LABELS_MAX => format!("a contact has at most {LABELS_MAX} labels"),
        None => return Ok(()),
    };
    Err(Failure::new(FailureKind::Usage, what).next("nothing was changed"))
}

fn contact_line(contacts: &Contacts, contact: &Contact, with_words: bool) -> ContactLine {
    let rosters = contacts.rosters();
    let named = |id: &String, name: &dyn Fn(&NodeId) -> Option<String>| {
        id.parse().ok().and_then(|node| name(&node)).unwrap_or_else(|| id.clone())
    };
    let by = contact.by.as_ref().map(|by| match by {
        By::Contact(id) => named(id, &|node| Some(name_of(contacts, node))),
        By::Roster(key) => named(key, &|key| Some(rosters.of(key)?.name.clone())),
    });
    ContactLine {
        name: contact.name.clone(),
        id: contact.card.node.to_string(),
        trust: contact.trust,
        blocked: contact.blocked,
        hidden: is_hidden(contact),
        meets_per_month: contact.meets,
        labels: contact.labels.clone(),
        by,
        pending: contact.pending,
        revoked_by: rosters.revoked_by(&contact.card.node).map(str::to_owned),
        words: with_words.then(|| words::words(&contact.card.node).map(str::to_owned).to_vec()),
        added: None,
    }
}
