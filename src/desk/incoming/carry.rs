//! What is for somebody else: whose it is, and into the group. Whether there is room for it, and
//! what goes for it, the spool decides when it is committed.

use postrider_base::{
    BundleId, Head, NodeId,
    bundle::{Destination, Hop, resolve_tag},
};
use postrider_spool::{Body as SpoolBody, Change, Class, NewBundle};

use super::{Brought, Intake, Refusal, lock};
use crate::desk::store::summary;

impl Intake<'_> {
    /// Whose a bundle is, from where we stand, when no link brought it.
    pub(super) fn class_of(&self, head: &Head) -> Class {
        let contacts = lock(&self.contacts);
        let known = |node: &NodeId| contacts.of(node).is_some_and(|contact| !contact.blocked);
        let to_contact = match head.header().destination {
            Destination::Node(node) => known(&node),
            Destination::Tag(_) => {
                let keys = contacts.iter().map(|contact| contact.card.seal_key());
                resolve_tag(head.header(), keys).is_some()
            }
            Destination::Group(_) => false,
        };
        let from_contact = head.header().source().is_some_and(|(source, _)| known(&source));
        if to_contact || from_contact { Class::Contact } else { Class::Stranger }
    }

    /// Refuses what no quota has room for, before it is read.
    pub(super) fn check_length(&self, class: Class, bytes: u64) -> Result<(), Refusal> {
        match self.longest[class as usize] {
            0 => Err(Refusal::NotCarried("nothing is carried for strangers")),
            longest if bytes > longest => Err(Refusal::NotCarried("it is longer than is carried")),
            _ => Ok(()),
        }
    }

    pub(super) fn carry(
        &self,
        id: BundleId,
        head: &Head,
        hop: Hop,
        brought: Brought,
        body: SpoolBody,
    ) -> Result<(), Refusal> {
        let length = head.header().length;
        let (hop, from, class) = match brought {
            Brought::Unchecked => (hop.admitted(), None, self.class_of(head)),
            Brought::ByLink(from, class) => (Some(hop), from, class),
        };
        self.check_length(class, length)?;
        let hop = hop.ok_or(Refusal::NotCarried("it has passed too many nodes"))?;
        if hop.age_s >= head.header().lifetime.seconds() {
            return Err(Refusal::NotCarried("its lifetime is over"));
        }
        if let Some((source, _)) = head.header().source()
            && (source == self.node
                || lock(&self.contacts).of(&source).is_some_and(|contact| contact.blocked))
        {
            // Our own came back (and was settled), or somebody whom we refuse.
            return Err(Refusal::NotCarried("its author is not carried"));
        }
        let summary = summary(head);
        let inline = match &body {
            SpoolBody::Inline(bytes) => bytes.len(),
            SpoolBody::Staged(_) => 0,
        };
        let bundle =
            NewBundle { id, head: head.encode(), summary, hop, class, from, own: None, body };
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
