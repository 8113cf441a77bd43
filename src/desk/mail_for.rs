//! For whom something waits: those to whom a link is worth most.

use std::collections::{BTreeMap, BTreeSet};

use postrider_base::NodeId;
use postrider_spool::{Destination, Queue, Spool};

use super::{
    Failure,
    live::{Live, row},
};

/// Of mail that hides whom it is for only so much is looked at, the most urgent.
const HIDDEN_LOOK: usize = 256;

impl Live<'_> {
    /// Those of `nodes` for whom something waits here, the most urgent first.
    pub fn mail_for(&self, nodes: &BTreeSet<NodeId>) -> Result<Vec<NodeId>, Failure> {
        let mut nicest: BTreeMap<NodeId, u8> = BTreeMap::new();
        for node in nodes {
            let queue = Queue::Destination(Destination::Node(*node.as_bytes()));
            if let Some(first) = self.spool.page(queue, None, 1)?.first() {
                nicest.insert(*node, row(first).nice);
            }
        }
        // Queues are by what headers say; of hidden mail only its author knows more.
        let own = Queue::Class(postrider_spool::Class::Own);
        let own = self.spool.page(own, None, HIDDEN_LOOK)?;
        for row in self.rows(&own)?.iter().filter(|row| row.tagged_for.is_some()) {
            let node = row.recipient().and_then(|key| NodeId::from_bytes(&key).ok());
            let Some(node) = node.filter(|node| nodes.contains(node)) else { continue };
            let nice = nicest.entry(node).or_insert(row.nice);
            *nice = (*nice).min(row.nice);
        }
        let mut order: Vec<(u8, NodeId)> = nicest.into_iter().map(|(node, n)| (n, node)).collect();
        order.sort_unstable();
        Ok(order.into_iter().map(|(_, node)| node).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::{AddRequest, Desk, InitRequest, SendRequest, Silent};

    fn person(dir: &std::path::Path, name: &str) -> Desk {
        let request =
            InitRequest { home: dir.join(name), name: Some(name.into()), even_if_public: false };
        Desk::init(&request).unwrap().0
    }

    fn write(desk: &Desk, to: &str, nice: Option<u8>, hidden: bool) {
        let request = SendRequest {
            to: to.into(),
            text: Some("news".into()),
            files: Vec::new(),
            nice: nice.and_then(postrider_base::Niceness::new),
            lifetime: None,
            hidden: Some(hidden),
            reply_to: None,
            supersede: None,
        };
        desk.send(&request, &Silent).unwrap();
    }

    #[test]
    fn those_are_named_for_whom_something_waits_the_most_urgent_first() {
        let dir = tempfile::tempdir().unwrap();
        let [alice, bob, sam, eve] =
            ["Alice", "Bob", "Sam", "Eve"].map(|name| person(dir.path(), name));
        let others = [&bob, &sam, &eve].map(|desk| desk.home().card.node);
        for desk in [&bob, &sam, &eve] {
            alice.add(&AddRequest { card: desk.home().card.clone(), name: None }).unwrap();
        }
        let mail = || alice.open_live(&Silent).unwrap().mail_for(&BTreeSet::from(others)).unwrap();
        assert!(mail().is_empty());
        write(&alice, "Bob", Some(200), false);
        assert_eq!(mail(), [others[0]]);
        // Hidden, its header names nobody.
        write(&alice, "Sam", Some(32), true);
        assert_eq!(mail(), [others[1], others[0]]);
        let only = BTreeSet::from([others[0]]);
        assert_eq!(alice.open_live(&Silent).unwrap().mail_for(&only).unwrap(), [others[0]]);
    }
}
