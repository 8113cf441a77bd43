//! What is for somebody else: whose it is, and into the group. Whether there is room for it, and
//! what goes for it, the spool decides when it is committed.

use postrider_base::{
    BundleId, Head, NodeId,
    bundle::{Destination, Hop},
};
use postrider_engine::router::WORTH_UNKNOWN;
use postrider_spool::{Body as SpoolBody, Change, Class, NewBundle};

use super::{Brought, Intake, Refusal, lock};
use crate::{
    desk::{Failure, meetings::near, people::tagged, store::summary},
    home::Right,
};

impl Intake<'_> {
    /// Whose a bundle is, from where we stand, when no link brought it.
    pub(super) fn class_of(&self, head: &Head) -> Class {
        let contacts = lock(&self.contacts);
        let known = |node: &NodeId| contacts.is_chosen(node);
        if let Destination::Group(group) = head.header().destination
            && contacts.rosters().of_group(&group).is_some()
        {
            return Class::Contact;
        }
        let to_contact = match head.header().destination {
            Destination::Node(node) => known(&node),
            Destination::Tag(_) => tagged(&contacts, head.header()).is_some(),
            Destination::Group(_) => false,
        };
        let from_contact = head.header().source().is_some_and(|(source, _)| known(&source));
        let friend = |node: &NodeId| contacts.is_friend(node, self.today);
        let source = head.header().source().map(|(source, _)| source);
        let to_friend =
            matches!(&head.header().destination, Destination::Node(node) if friend(node));
        if to_contact || from_contact {
            Class::Contact
        } else if to_friend || source.is_some_and(|source| friend(&source)) {
            Class::Friend
        } else {
            Class::Stranger
        }
    }

    /// How near this node is to whom a bundle is for, when no link brought it.
    fn worth_of(&self, head: &Head) -> Result<u8, Failure> {
        let contacts = lock(&self.contacts);
        let recipient = match head.header().destination {
            Destination::Node(node) => Some(node),
            Destination::Tag(_) => tagged(&contacts, head.header()).map(|c| c.card.node),
            Destination::Group(_) => None,
        };
        recipient.map_or(Ok(WORTH_UNKNOWN), |node| near(self.spool, &contacts, &node))
    }

    /// Refuses what no quota has room for, before it is read.
    pub(super) fn check_length(&self, class: Class, bytes: u64) -> Result<(), Refusal> {
        match self.longest[class as usize] {
            0 => Err(Refusal::NotCarried("nothing is carried for strangers")),
            longest if bytes > longest => Err(Refusal::NotCarried("it is longer than is carried")),
            _ => Ok(()),
        }
    }

    /// Whether a bundle is carried, for the sake of whoever wrote it or of whom it is for.
    fn check_author(&self, head: &Head) -> Result<(), Refusal> {
        let contacts = lock(&self.contacts);
        let source = head.header().source().map(|(source, _)| source);
        if source.is_some_and(|source| contacts.is_blocked(&source)) {
            return Err(Refusal::Unwanted("its author is not carried"));
        }
        let may = |who: Option<&NodeId>| self.acl.may(&contacts, who, Right::Relay, self.today);
        let allowed = may(source.as_ref())
            || match head.header().destination {
                Destination::Node(node) => may(Some(&node)),
                Destination::Tag(_) => tagged(&contacts, head.header())
                    .is_some_and(|contact| may(Some(&contact.card.node))),
                Destination::Group(_) => false,
            };
        if allowed { Ok(()) } else { Err(Refusal::Unwanted("nothing is carried for its author")) }
    }

    pub(super) fn carry(
        &self,
        id: BundleId,
        head: &Head,
        (hop, brought): (Hop, Brought),
        followed: bool,
        body: SpoolBody,
    ) -> Result<(), Refusal> {
        let length = head.header().length;
        if let Some((source, _)) = head.header().source()
            && source == self.node
        {
            // Our own came back. What is known of it was settled before this.
            self.check_own(&id, head)?;
            return Err(Refusal::Unwanted("it is our own"));
        }
        if !followed {
            self.check_author(head)?;
        }
        let (hop, from, class, worth) = match brought {
            Brought::Unchecked => {
                let hop = hop.admitted(head.header().nice);
                (hop, None, self.class_of(head), self.worth_of(head)?)
            }
            Brought::ByLink(from, class, worth) => (Some(hop), from, class, worth),
        };
        self.check_length(class, length)?;
        let hop = hop.ok_or(Refusal::NotCarried("it has passed too many nodes"))?;
        if hop.age_s >= head.header().lifetime.seconds() {
            return Err(Refusal::NotCarried("its lifetime is over"));
        }
        let summary = summary(head);
        let inline = match &body {
            SpoolBody::Inline(bytes) => bytes.len(),
            SpoolBody::Staged(_) => 0,
        };
        let head = head.encode();
        let bundle = NewBundle { id, head, summary, hop, class, worth, from, own: None, body };
        let mut group = lock(&self.group);
        if !group.ids.insert(id) {
            return Err(Refusal::Known);
        }
        let at = group.changes.len();
        group.carried.push((at, id, length));
        group.changes.push(Change::Bundle(bundle));
        group.bytes += inline + 512;
        group.pending.taken += 1;
        group.pending.bytes += length;
        Ok(self.flush_if_full(&mut group)?)
    }
}
